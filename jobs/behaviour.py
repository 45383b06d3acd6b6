"""What rows tell of those who made them: robots, visits, and what came back. Functions from tables to tables.

Each looks at whole UTC days only, so that a range of days gives what single days give.
"""

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from jobs.cleaning_policy import Policy
from jobs.values import typed

BROWSING = ("view", "click")
"""Interactions that a robot makes by the thousand; whoever pays is a customer."""
BACK = ("return", "cancel")
"""Interactions that undo a purchase."""


def robots(searches: DataFrame | None, interactions: DataFrame | None, policy: Policy) -> DataFrame | None:
    """Takes raw searches and interactions; gives (visitor_id, day) of those who browsed as no person does.

    Deliveries that repeat their rows make nobody a robot: an id counts once.
    """
    parts = []
    if searches is not None:
        parts.append(searches.select("visitor_id", "day", "event_time", F.col("search_id").alias("_id")))
    if interactions is not None:
        clicks = interactions.where(F.trim("kind").isin(*BROWSING))
        parts.append(clicks.select("visitor_id", "day", "event_time", F.col("interaction_id").alias("_id")))
    if not parts:
        return None
    events = parts[0] if len(parts) == 1 else parts[0].unionByName(parts[1])
    who = [F.trim("visitor_id").alias("visitor_id"), F.col("day")]
    floor = min(policy.robot_rows, policy.robot_burst)
    many = events.groupBy(*who).agg(F.count(F.lit(1)).alias("_n")).where(F.col("_n") >= floor)
    moments = typed(F.trim("event_time"), "timestamp").cast("double")
    counted = (
        events.withColumn("visitor_id", F.trim("visitor_id"))
        .join(F.broadcast(many.drop("_n")), ["visitor_id", "day"])
        .groupBy("visitor_id", "day")
        .agg(F.count_distinct("_id").alias("_n"), (F.max(moments) - F.min(moments)).alias("_span"))
    )
    burst = (F.col("_n") >= policy.robot_burst) & (F.col("_span") < policy.robot_pace * (F.col("_n") - 1))
    return counted.where((F.col("_n") >= policy.robot_rows) | burst).select("visitor_id", "day")


def browsing(name: str) -> Column:
    """True for rows of table `name` that a robot's visit leaves."""
    if name == "interactions":
        return F.col("kind").isin(*BROWSING, "cart", "dwell")
    return F.lit(name in ("searches", "rankings"))


def unmatched(back: DataFrame, purchases: DataFrame, policy: Policy) -> DataFrame:
    """Of the rows `back` (returns, cancellations), those without a purchase before them, by file and row.

    Both have visitor_id, item_id, basket_id and event_time. A row that names a basket must find that basket.
    """
    bought = purchases.select(
        F.col("visitor_id").alias("_v"),
        F.col("item_id").alias("_i"),
        F.col("basket_id").alias("_b"),
        F.col("event_time").alias("_t"),
    )
    age = F.col("event_time").cast("double") - F.col("_t").cast("double")
    fits = (
        (F.col("visitor_id") == F.col("_v"))
        & (F.col("item_id") == F.col("_i"))
        & (F.col("basket_id").isNull() | (F.col("basket_id") == F.col("_b")))
        & age.between(0, policy.return_days * 86_400)
    )
    return back.join(bought, fits, "left_anti").select("source_file", "source_row")


def visits(rows: DataFrame, policy: Policy) -> DataFrame:
    """Searches with the shop's own `session_id`, or, where it gives none, one of ours: a visit of one visitor in one
    channel ends after `session_gap` minutes without a search, and with the UTC day."""
    same = Window.partitionBy("day", "visitor_id", F.coalesce("channel", F.lit("")))
    ordered = same.orderBy("event_time", "source_file", "source_row")
    gap = F.col("event_time").cast("double") - F.lag("event_time").over(ordered).cast("double")
    begins = F.when(gap.isNull() | (gap > policy.session_gap * 60), F.col("event_time"))
    began = F.last(begins, ignorenulls=True).over(ordered)
    name = F.sha2(F.concat_ws("\x1f", "visitor_id", "channel", began.cast("string")), 256)
    own = F.concat(F.lit("s-"), F.substr(name, F.lit(1), F.lit(24)))
    return rows.withColumn("session_id", F.coalesce("session_id", own))
