"""aggregate: safe -> stats. What was true of each item, visitor and query at the end of each day.

A row is written for each day on which something happened to the item, visitor or query (of sessions: for each moment,
see jobs/sessions.py). Its `event_time` is the end of that day, its `known_time` the latest of the rows
it rests on, never before `event_time`: a value that rests on a late row counts as known only from then on.

All history before a range is read as well, so a range gives the same bytes as its days one by one.
Sums are exact and do not depend on the order of rows: money is added up in cents, weights as whole
multiples of 2^-40 within a day, carried from day to day in one order. Shares are quotients of counts (jobs.habits).
"""

import argparse
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from jobs import counting, habits, spark
from jobs.console import Problem, Refused, grid, narrate, say
from jobs.events import normalised
from jobs.pseudonyms import require_one_epoch
from jobs.sessions import COLUMNS, day_before, sessions
from jobs.tables import LEAST_VISITORS, WITH_CATALOGUE, rests_on, table
from jobs.warehouse import Mark, Warehouse, arrow_schema, days, rows_of, up_to, warehouse

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from pyspark.sql import SparkSession

TABLES = (
    "item_stats",
    "visitor_stats",
    "visitor_history",
    "visitor_habits",
    "visitor_cycles",
    "visitor_session",
    "query_stats",
)
RESTS_ON = {name: rests_on(name) for name in TABLES}
"""Each table, and the dated tables that it reads; some read the catalogue, too (`WITH_CATALOGUE`)."""
SOURCES = ("interactions", "rankings", "searches", "reviews")
ACTS = ("view", "click", "cart", "purchase")
"""What tells how a visitor shops. Looking at an item for long is no other act than opening it."""
WINDOW_DAYS = 28
WEEK_DAYS = 7
CLICKED, BOUGHT = (1, 19), (1, 99)
"""Beta priors (a, b) of a click and of a purchase in an expected view: as if of 20 views one, of 100 one had ended so.
The posterior mean is (events + a) / (expected views + a + b): Wang et al., "Click-through rate estimation for rare
events" (2011), over expected views as in Zhang and Jones, "Comparing click logs and editorial labels" (2007). They are
fixed: one fitted on the shop would make each item's value as late as the latest row of any."""
AGAIN_SECONDS = 600
"""Another search of the same visitor within so many seconds of the same day says that the first did not do."""
HALF_LIFE_DAYS = 60
LAST_ITEMS = 200
UNIT = 1 << 40
"""Weights within a day are whole multiples of 1/UNIT: sums of longs are exact in any order."""
ORIGIN = date(2000, 1, 1)
"""Decayed sums are carried as sum of 2^((t - ORIGIN) / half-life): a double bears that until the year 2168,
with a relative error of at most (purchases + 1) x 2^-40, far below one purchase."""
_DAY_US = 86_400_000_000


# ---- small words ----------------------------------------------------------------------------------


def _number(day: str = "day") -> Column:
    """Days since ORIGIN."""
    return F.datediff(F.col(day), F.lit(ORIGIN.isoformat()).cast("date")).cast("long")


def _end_of_day(day: Column) -> Column:
    return F.date_add(day, 1).cast("timestamp") - F.expr("INTERVAL 1 MICROSECOND")


def _left_of_day() -> Column:
    """Microseconds from event_time to the end of its day."""
    return F.unix_micros(_end_of_day(F.to_date("event_time"))) - F.unix_micros("event_time")


def _exp2(power: Column) -> Column:
    return F.pow(F.lit(2.0), power)


def _cents() -> Column:
    """The amount in hundredths: longs add up exactly, and many times faster than decimals."""
    return (F.col("amount") * 100).cast("long")


def _count(kind: str) -> Column:
    return F.sum(F.when(F.col("kind") == kind, 1).otherwise(0))


def _sign() -> Column:
    """1 for a purchase, -1 for what undoes one, 0 for everything else."""
    return F.when(F.col("kind") == "purchase", 1).when(F.col("kind").isin("return", "cancel"), -1).otherwise(0)


def _rate(events: Column, shown: Column, prior: tuple[int, int]) -> Column:
    """Events over expected views, drawn to the prior's mean. Above 1 where places that few look at are clicked much."""
    a, b = prior
    return (events + F.lit(a)) / (shown + F.lit(float(a + b)))


def _so_far(by: str) -> Any:
    return Window.partitionBy(by).orderBy("n").rowsBetween(Window.unboundedPreceding, 0)


def _last_days(what: Column, by: str, length: int = WINDOW_DAYS) -> Column:
    """A sum or count of whole numbers over the last `length` days of one entity, this day included.

    All so far, less all before them: Spark adds up each row's sliding frame anew, but a growing one only once. Longs
    that overflow wrap around, so the difference is right as long as it fits by itself. None of many is 0, not null.
    """
    before = Window.partitionBy(by).orderBy("n").rangeBetween(Window.unboundedPreceding, -length)
    return what.over(_so_far(by)) - F.coalesce(what.over(before), F.lit(0))


def _as_of(rows: DataFrame, known: str = "known") -> DataFrame:
    """event_time and known_time of rows that have a `day` and the latest known time of what they rest on."""
    return rows.withColumn("event_time", _end_of_day(F.col("day"))).withColumn(
        "known_time", F.greatest(F.col("event_time"), F.col(known))
    )


# ---- tables to tables -----------------------------------------------------------------------------


def item_stats(interactions: DataFrame, rankings: DataFrame, reviews: DataFrame, items: DataFrame) -> DataFrame:
    """`stats.item_stats` of every day on which an item was touched, shown or reviewed.

    What came back takes its purchase away again, from the moment when it came back.

    `shown_28d` examines position k with probability 1/k: a plain prior (Joachims 2017 uses the same
    shape), until the shop's own examination is estimated.
    """
    daily = _daily_items(interactions, rankings, reviews)
    so_far = _so_far("item_id")

    def recent(what: str, length: int = WINDOW_DAYS) -> Column:
        return _last_days(F.sum(what), "item_id", length)

    # n counts from ORIGIN and the end of a day is n + 1 days after it.
    growth = _exp2((F.col("n") + 1) / F.lit(float(HALF_LIFE_DAYS)))
    nothing, sold = F.lit(0).cast("long"), F.when(F.col("sold") > 0, F.col("n"))
    shown = recent("shown") / F.lit(float(UNIT))
    rows = daily.select(
        "item_id",
        "day",
        F.greatest(F.col("purchases"), nothing).alias("purchases_1d"),
        F.greatest(recent("purchases", WEEK_DAYS), nothing).alias("purchases_7d"),
        F.greatest(recent("purchases"), nothing).alias("purchases_28d"),
        *[F.col(what).alias(f"{what}_1d") for what in ("views", "clicks", "carts")],
        *[recent(what, WEEK_DAYS).alias(f"{what}_7d") for what in ("views", "clicks", "carts")],
        *[recent(what).alias(f"{what}_28d") for what in ("views", "clicks", "carts")],
        shown.alias("shown_28d"),
        _rate(recent("ranked_clicks"), shown, CLICKED).alias("click_rate_28d"),
        _rate(recent("ranked_purchases"), shown, BOUGHT).alias("purchase_rate_28d"),
        F.greatest(F.sum(F.col("weight") / F.lit(float(UNIT)) * growth).over(so_far) / growth, F.lit(0.0)).alias(
            "purchases_decayed"
        ),
        (F.col("cents") / F.col("quantity") / 100).alias("paid"),
        (recent("cents") / recent("quantity") / 100).alias("price_28d"),
        (F.sum("stars").over(so_far) / F.sum("ratings").over(so_far)).alias("rating"),
        F.sum("ratings").over(so_far).alias("ratings"),
        (F.col("n") - F.min("n").over(so_far)).cast("double").alias("days_since_first_seen"),
        (F.col("n") - F.max(sold).over(so_far)).cast("double").alias("days_since_sold"),
        F.max("known").over(so_far).alias("known"),
    )
    told = _as_of(rows).join(_catalogue(items), "item_id", "left")
    # What the catalogue says counts only where the catalogue was known by then.
    by_then = F.col("listed_known") <= F.col("known_time")
    listed = {name: F.when(by_then, F.col(f"listed.{name}")) for name in LISTED}
    price = F.coalesce("paid", listed.pop("price"))
    return told.withColumns({**listed, "price": price, "price_change_28d": price / F.col("price_28d") - 1})


def _daily_items(interactions: DataFrame, rankings: DataFrame, reviews: DataFrame) -> DataFrame:
    """Whole numbers of each item on each day: what was done to it, where it was shown, which stars it got."""
    bought, ranked = F.col("kind") == "purchase", F.col("ranking_id").isNotNull()
    priced = bought & (F.col("quantity") > 0) & F.col("amount").isNotNull()
    weight = _exp2(-_left_of_day() / F.lit(float(HALF_LIFE_DAYS * _DAY_US)))
    touched = interactions.groupBy("item_id", "day").agg(
        F.sum(_sign()).alias("purchases"),
        _count("purchase").alias("sold"),
        _count("view").alias("views"),
        _count("click").alias("clicks"),
        _count("cart").alias("carts"),
        F.sum(F.when(ranked & (F.col("kind") == "click"), 1).otherwise(0)).alias("ranked_clicks"),
        F.sum(F.when(ranked & bought, 1).otherwise(0)).alias("ranked_purchases"),
        F.sum(F.round(weight * UNIT).cast("long") * _sign()).alias("weight"),
        F.sum(F.when(priced, _cents())).alias("cents"),
        F.sum(F.when(priced, F.col("quantity"))).alias("quantity"),
        F.max("known_time").alias("known"),
    )
    shown = rankings.groupBy("item_id", "day").agg(
        F.sum(F.round(F.lit(UNIT) / F.col("position")).cast("long")).alias("shown"), F.max("known_time").alias("known")
    )
    rated = (
        reviews.where("rating is not null")
        .groupBy("item_id", "day")
        .agg(F.sum("rating").alias("stars"), F.count("rating").alias("ratings"), F.max("known_time").alias("known"))
    )
    amounts = ("cents", "quantity")  # none is not 0 of these
    counts = [
        c for part in (touched, shown, rated) for c in part.columns if c not in {"item_id", "day", "known", *amounts}
    ]
    filled = [
        part.withColumns({name: F.lit(0).cast("long") for name in counts if name not in part.columns}).withColumns(
            {name: F.lit(None).cast("long") for name in amounts if name not in part.columns}
        )
        for part in (touched, shown, rated)
    ]
    return (
        filled[0]
        .unionByName(filled[1])
        .unionByName(filled[2])
        .groupBy("item_id", "day")
        .agg(*[F.sum(name).alias(name) for name in (*counts, *amounts)], F.max("known").alias("known"))
        .withColumn("n", _number())
    )


LISTED = ("price", "category", "brand", "language", "title_length", "description_length")
"""What statistics take from the catalogue."""


def _catalogue(items: DataFrame) -> DataFrame:
    """What the catalogue says of each item, as `listed`, and since when that is known, `listed_known`."""
    said = F.struct(
        F.col("price").cast("double").alias("price"),
        "category",
        "brand",
        "language",
        F.length("title").cast("long").alias("title_length"),
        F.coalesce(F.length("description"), F.lit(0)).cast("long").alias("description_length"),
    )
    return items.groupBy("item_id").agg(
        F.max_by(said, "known_time").alias("listed"), F.max("known_time").alias("listed_known")
    )


def visitor_stats(interactions: DataFrame, searches: DataFrame, reviews: DataFrame) -> DataFrame:
    """`stats.visitor_stats`. A basket counts on each day on which something was put into it."""
    bought = F.col("kind") == "purchase"
    none = F.lit(0).cast("long")
    acted = interactions.groupBy("visitor", "day").agg(
        _count("purchase").alias("purchases"),
        F.sum(_sign()).alias("net"),
        F.sum(F.when(_sign() != 0, _cents() * _sign())).alias("spend"),
        # Purchases without a basket's id are one basket a day.
        F.countDistinct(F.when(bought, F.coalesce("basket_id", F.lit("")))).alias("baskets"),
        none.alias("searches"),
        F.max("known_time").alias("known"),
    )
    zero = {"purchases": none, "net": none, "spend": F.lit(None).cast("long"), "baskets": none}
    searched = searches.groupBy("visitor", "day").agg(
        F.count(F.lit(1)).alias("searches"), F.max("known_time").alias("known")
    )
    reviewed = (
        reviews.groupBy("visitor", "day").agg(F.max("known_time").alias("known")).withColumn("searches", F.lit(0))
    )
    for part in (searched, reviewed):
        acted = acted.unionByName(part.withColumns(zero))
    daily = (
        acted.groupBy("visitor", "day")
        .agg(*[F.sum(c).alias(c) for c in (*zero, "searches")], F.max("known").alias("known"))
        .withColumn("n", _number())
    )
    so_far, recent = _so_far("visitor"), partial(_last_days, by="visitor")
    each = Window.partitionBy("visitor").orderBy("n")
    before = each.rowsBetween(Window.unboundedPreceding, -1)
    last = F.max(F.when(F.col("purchases") > 0, F.col("n"))).over(before)
    return _as_of(
        daily.select(
            "visitor",
            "day",
            F.greatest(recent(F.sum("net")), F.lit(0)).alias("purchases_28d"),
            (F.coalesce(recent(F.sum("spend")), F.lit(0)) / 100).alias("spend_28d"),
            recent(F.sum("baskets")).alias("baskets_28d"),
            recent(F.sum("searches")).alias("searches_28d"),
            (F.col("n") - last).cast("double").alias("days_since_purchase"),
            (F.col("n") - F.lag("n").over(each)).cast("double").alias("days_since_active"),
            recent(F.count(F.lit(1))).alias("active_days_28d"),
            F.max("known").over(so_far).alias("known"),
        )
    ).withColumn("spend_per_basket_28d", F.when(F.col("baskets_28d") > 0, F.col("spend_28d") / F.col("baskets_28d")))


def query_stats(
    searches: DataFrame, rankings: DataFrame, interactions: DataFrame, items: DataFrame, first: str, last: str
) -> DataFrame:
    """`stats.query_stats`: days on which a query was made that at least `LEAST_VISITORS` had made by then; intents of
    the days from `first` to `last`."""
    counted = counted_queries(searches, rankings, interactions)
    return often(with_intents(counted, searches, rankings, interactions, items, first, last))


def with_intents(
    counted: DataFrame, searches: DataFrame, rankings: DataFrame, interactions: DataFrame, items: DataFrame, first: str,
    last: str,
) -> DataFrame:  # fmt: skip
    """`counted_queries` with what the clicks say, where enough visitors made the query for it to be told at all."""
    since, until = date.fromisoformat(first), date.fromisoformat(last)
    told = searches.groupBy("query").agg(F.countDistinct("visitor").alias("n")).where(F.col("n") >= LEAST_VISITORS)
    shelf = _catalogue(items).select("item_id", "listed.category", "listed_known")
    clicks = _clicks(searches, rankings, interactions).join(shelf, "item_id", "left")
    wanted = ["query", "day", "item_id", "category", "listed_known"]
    made = searches.select("query", "day").distinct()
    rows = clicks.select(*wanted).unionByName(made, allowMissingColumns=True).join(told, "query", "left_semi")

    def one(rows: "pa.Table") -> "pa.Table":
        return habits.intents(rows, since, until)

    return counted.join(rows.groupBy("query").applyInArrow(one, schema=habits.INTENTS), ["query", "day"], "left")


def _clicks(searches: DataFrame, rankings: DataFrame, interactions: DataFrame) -> DataFrame:
    """Clicks on rankings that answered a search, each with the search's query."""
    answered = rankings.where("search_id is not null").select("ranking_id", "search_id").distinct()
    return (
        interactions.where("kind = 'click' and ranking_id is not null")
        .select("ranking_id", "item_id", "day", "known_time")
        .join(answered, "ranking_id")
        .join(searches.select("search_id", "query"), "search_id")
    )


def _reformulated(searches: DataFrame) -> DataFrame:
    """Searches, and whether the visitor's next one, of the same day, came soon and was for something else (`again`)."""
    each = Window.partitionBy("visitor", "day").orderBy("event_time", "search_id")
    later = F.unix_micros(F.lead("event_time").over(each)) - F.unix_micros("event_time")
    soon = (later <= AGAIN_SECONDS * 1_000_000) & (F.lead("query").over(each) != F.col("query"))
    return searches.withColumn("again", soon).withColumn("next_known", F.lead("known_time").over(each))


def often(counted: DataFrame) -> DataFrame:
    """The rows that may be told, of `counted_queries`. A visitor counts from the day of their search on, never before;
    and the row is known when all is known that it rests on."""
    return _as_of(counted.where(F.col("visitors") >= LEAST_VISITORS))


def rare(counted: DataFrame) -> dict[str, dict[str, int]]:
    """What `often` leaves out, by day: distinct queries, and searches with them."""
    left = counted.where(F.col("visitors") < LEAST_VISITORS).groupBy(F.col("day").cast("string").alias("at"))
    rows = left.agg(F.count(F.lit(1)).alias("queries"), F.sum("today").alias("searches")).collect()
    return {row["at"]: {"queries": row["queries"], "searches": row["searches"]} for row in rows}


def counted_queries(searches: DataFrame, rankings: DataFrame, interactions: DataFrame) -> DataFrame:
    """Each query on each day on which it was made: `today` searches, those and the clicks and visitors of 28 days,
    `visitors` so far, and when all of it was `known`. Rare queries too: for counting, not for reading.

    `searches` has the query normalised. Distinct visitors of a window are counted without listing
    them: a visitor's search covers the days until the next one, at most 28, so each covered day has
    each visitor once, and a running sum of beginnings and ends counts them.
    """
    daily = (
        _reformulated(searches)
        .groupBy("query", "day")
        .agg(
            F.count(F.lit(1)).alias("searches"),
            F.sum(F.when(F.col("again"), 1).otherwise(0)).alias("reformulated"),
            F.max(F.greatest("known_time", F.when(F.col("again"), F.col("next_known")))).alias("known"),
        )
    )
    visits = searches.select("query", "visitor", "day").distinct().withColumn("n", _number())
    each = Window.partitionBy("query", "visitor").orderBy("n")
    visits = visits.withColumn("until", F.least(F.lead("n").over(each), F.col("n") + WINDOW_DAYS)).withColumn(
        "first", (F.row_number().over(each) == 1).cast("long")
    )
    begins = visits.select("query", "n", F.lit(1).alias("covered"), F.col("first"))
    # A cover without a next search ends after 28 days; `least` passes over the null of the last one.
    ends = visits.select("query", F.col("until").alias("n"), F.lit(-1).alias("covered"), F.lit(0).alias("first"))
    cover = begins.unionByName(ends).groupBy("query", "n").agg(F.sum("covered").alias("c"), F.sum("first").alias("f"))

    clicks = (
        _clicks(searches, rankings, interactions)
        .groupBy("query", "day")
        .agg(F.count(F.lit(1)).alias("clicks"), F.max("known_time").alias("clicks_known"))
    )
    rows = (
        daily.join(clicks, ["query", "day"], "full")
        .withColumn("n", _number())
        .join(cover, ["query", "n"], "full")
        .fillna(0, ["searches", "reformulated", "clicks", "c", "f"])
    )
    so_far, recent = _so_far("query"), partial(_last_days, by="query")
    counted = rows.select(
        "query",
        "day",
        F.col("searches").alias("today"),
        F.col("searches").alias("searches_1d"),
        recent(F.sum("searches"), length=WEEK_DAYS).alias("searches_7d"),
        recent(F.sum("searches")).alias("searches_28d"),
        (recent(F.sum("reformulated")) / recent(F.sum("searches"))).alias("reformulation_rate_28d"),
        recent(F.sum("clicks")).alias("clicks_28d"),
        F.sum("c").over(so_far).alias("visitors_28d"),
        F.sum("f").over(so_far).alias("visitors"),
        F.max(F.greatest("known", "clicks_known")).over(so_far).alias("known"),
    )
    return counted.where(F.col("today") > 0)


def visitor_history(interactions: DataFrame, first: str, last: str) -> DataFrame:
    """`stats.visitor_history` of the days from `first` to `last`, from all purchases given."""
    declared = table("stats", "visitor_history")
    purchases = interactions.where("kind = 'purchase'").select("visitor", "item_id", "event_time", "known_time", "day")
    since, until = date.fromisoformat(first), date.fromisoformat(last)

    def one(rows: "pa.Table") -> "pa.Table":
        return histories(rows, since, until)

    return purchases.groupBy("visitor").applyInArrow(one, schema=spark.ddl(declared))


def visitor_session(interactions: DataFrame, first: str, last: str) -> DataFrame:
    """`stats.visitor_session` of the days from `first` to `last`, from the events of these and of the day before."""
    declared, since, until = table("stats", "visitor_session"), date.fromisoformat(first), date.fromisoformat(last)
    events = interactions.where(F.col("day").between(day_before(first), last)).select(*COLUMNS)

    def one(rows: "pa.Table") -> "pa.Table":
        return sessions(rows, since, until)

    return events.groupBy("visitor").applyInArrow(one, schema=spark.ddl(declared))


def visitor_habits(interactions: DataFrame, items: DataFrame, first: str, last: str) -> DataFrame:
    """`stats.visitor_habits` of the days from `first` to `last`, from all acts given."""
    since, until = date.fromisoformat(first), date.fromisoformat(last)
    priced = (F.col("kind") == "purchase") & (F.col("quantity") > 0) & F.col("amount").isNotNull()
    shelf = _catalogue(items).select("item_id", "listed.category", "listed.brand", "listed_known")
    acts = (
        interactions.where(F.col("kind").isin(*ACTS))
        .withColumn("cents", F.when(priced, F.floor(_cents() / F.col("quantity"))))
        .select("visitor", "item_id", "day", "known_time", F.hour("event_time").alias("hour"), "channel", "cents")
        .join(shelf, "item_id", "left")
        .drop("item_id")
    )

    def one(rows: "pa.Table") -> "pa.Table":
        return habits.habits(rows, since, until)

    return acts.groupBy("visitor").applyInArrow(one, schema=spark.ddl(table("stats", "visitor_habits")))


def visitor_cycles(interactions: DataFrame, items: DataFrame) -> DataFrame:
    """`stats.visitor_cycles`: of each category the days on which a visitor bought of it. Known when the catalogue was,
    too: without it there is no category to speak of."""
    shelf = _catalogue(items).select("item_id", "listed.category", "listed_known").where("category is not null")
    daily = (
        interactions.where("kind = 'purchase'")
        .select("visitor", "item_id", "day", "known_time")
        .join(shelf, "item_id")
        .groupBy("visitor", "category", "day")
        .agg(F.max(F.greatest("known_time", "listed_known")).alias("known"))
        .withColumn("n", _number())
    )
    each = Window.partitionBy("visitor", "category").orderBy("n")
    so_far = each.rowsBetween(Window.unboundedPreceding, 0)
    gaps, total, squares = (F.col(name) for name in ("gaps", "total", "squares"))
    rows = (
        daily.withColumn("gap", F.col("n") - F.lag("n").over(each))
        .select(
            "visitor",
            "category",
            "day",
            F.count(F.lit(1)).over(so_far).alias("purchase_days"),
            F.count("gap").over(so_far).alias("gaps"),
            F.sum("gap").over(so_far).alias("total"),
            F.sum(F.col("gap") * F.col("gap")).over(so_far).alias("squares"),
            F.max("known").over(so_far).alias("known"),
        )
        .withColumn("cycle_days", total / gaps)
        .withColumn("cycle_spread", F.sqrt(gaps * squares - total * total) / gaps)
    )
    return _as_of(rows)


# ---- one visitor's history ------------------------------------------------------------------------


def histories(purchases: "pa.Table", first: date, last: date) -> "pa.Table":
    """The history of ONE visitor at the end of each day from `first` to `last` on which they bought.

    Takes visitor, item_id, event_time, known_time and day of all their purchases. Newest first by the
    whole second of the last purchase (what every store can keep), ties by item id. Items beyond the
    200th are forgotten for good unless they are bought again, but their counts are not.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    ids = pc.unique(purchases["item_id"]).sort()
    item = pc.index_in(purchases["item_id"], ids).to_numpy().astype(np.int64)
    when = purchases["event_time"].cast(pa.int64()).to_numpy()
    known = purchases["known_time"].cast(pa.int64()).to_numpy()
    filed = purchases["day"].cast(pa.int32()).to_numpy().astype(np.int64)
    order = np.lexsort((item, when, filed))
    item, when, known, filed = item[order], when[order], known[order], filed[order]

    days_active, starts = np.unique(filed, return_index=True)
    ends = np.append(starts[1:], len(filed))
    epoch = (ORIGIN - date(1970, 1, 1)).days
    per_day = 1.0 / HALF_LIFE_DAYS
    gain = np.exp2((when / _DAY_US - epoch) * per_day)
    lasts, counts, weights = np.zeros(len(ids), np.int64), np.zeros(len(ids), np.int64), np.zeros(len(ids))
    recent = np.empty(0, np.int64)
    latest_known = np.maximum.accumulate(known)
    chosen: list[np.ndarray[Any, Any]] = []
    columns: dict[str, list[np.ndarray[Any, Any]]] = {"times": [], "counts": [], "decayed": []}
    moments, knowns, filed_days = [], [], []
    low, high = (first - date(1970, 1, 1)).days, (last - date(1970, 1, 1)).days
    for day, start, end in zip(days_active, starts, ends, strict=True):
        bought = slice(start, end)
        np.maximum.at(lasts, item[bought], when[bought] // 1_000_000)
        np.add.at(counts, item[bought], 1)
        np.add.at(weights, item[bought], gain[bought])
        today = np.unique(item[bought])
        # A row that is filed under a later day than it happened on can be older than what is already there.
        recent = np.concatenate([today, recent[~np.isin(recent, today)]])
        recent = recent[np.lexsort((recent, -lasts[recent]))][:LAST_ITEMS]
        if low <= day <= high:
            chosen.append(recent)
            columns["times"].append(lasts[recent])
            columns["counts"].append(counts[recent])
            columns["decayed"].append(weights[recent] * np.exp2(-(float(day) + 1 - epoch) * per_day))
            moments.append((int(day) + 1) * _DAY_US - 1)
            knowns.append(max(moments[-1], int(latest_known[end - 1])))
            filed_days.append(int(day))
    return _history_table(purchases, ids, chosen, columns, moments, knowns, filed_days)


def _history_table(
    purchases: "pa.Table",
    ids: "pa.Array",
    chosen: Sequence["np.ndarray[Any, Any]"],
    columns: dict[str, list["np.ndarray[Any, Any]"]],
    moments: Sequence[int],
    knowns: Sequence[int],
    filed_days: Sequence[int],
) -> "pa.Table":
    """The rows of one visitor in the declared schema."""
    import numpy as np
    import pyarrow as pa

    schema = arrow_schema(table("stats", "visitor_history"))
    offsets = pa.array(np.cumsum([0, *[len(c) for c in chosen]]), pa.int32())

    def flat(parts: Sequence["np.ndarray[Any, Any]"], kind: Any) -> "np.ndarray[Any, Any]":
        return np.concatenate(parts) if parts else np.empty(0, kind)

    moment = pa.timestamp("us", tz="UTC")
    lists = {
        "items": ids.take(pa.array(flat(chosen, np.int64))),
        "times": pa.array(flat(columns["times"], np.int64) * 1_000_000, pa.int64()).cast(moment),
        "counts": pa.array(flat(columns["counts"], np.int64), pa.int64()),
        "decayed": pa.array(flat(columns["decayed"], np.float64), pa.float64()),
    }
    visitor = purchases["visitor"][0].as_py() if purchases.num_rows else ""
    return pa.table(
        {
            "visitor": pa.array([visitor] * len(moments), pa.string()),
            "event_time": pa.array(moments, pa.int64()).cast(moment),
            "known_time": pa.array(knowns, pa.int64()).cast(moment),
            **{
                name: pa.ListArray.from_arrays(offsets, values.cast(schema.field(name).type.value_type))
                for name, values in lists.items()
            },
            "day": pa.array(filed_days, pa.int32()).cast(pa.date32()),
        }
    ).cast(schema)


# ---- the step -------------------------------------------------------------------------------------


def with_normal_query(searches: DataFrame) -> DataFrame:
    """Searches with the query as `jobs.events.normalised` has it; each distinct text is normalised once."""

    def batches(rows: Iterator["pa.RecordBatch"]) -> Iterator["pa.RecordBatch"]:
        import pyarrow as pa

        for batch in rows:
            texts = batch.column("query")
            yield pa.RecordBatch.from_arrays([texts, pa.array([normalised(t.as_py()) for t in texts])], ["query", "q"])

    texts = searches.select("query").where("query is not null").distinct()
    normal = texts.mapInArrow(batches, schema="query string, q string")
    return searches.join(normal, "query").drop("query").withColumnRenamed("q", "query").where("query <> ''")


def _inputs(name: str, marks: Sequence[Mark], asked: Sequence[str]) -> dict[str, list[str]]:
    """What the statistics of each day rest on: that day's marks by name, and all up to it by one.

    No window cuts this short: a decayed count, a mean rating, a history, the days since a purchase and known_time
    hang on every earlier day. The catalogue is named on every day of a table that reads it.
    """
    own = [mark for mark in marks if mark.table in RESTS_ON[name]]
    always = [mark.name for mark in marks if mark.table == "items" and name in WITH_CATALOGUE]
    so_far = up_to("safe", RESTS_ON[name], own)
    today: dict[str, list[str]] = {}
    for mark in own:
        today.setdefault(mark.day, []).append(mark.name)
    inputs: dict[str, list[str]] = {}
    for day in sorted({*so_far, *asked}):
        last = max((each for each in so_far if each <= day), default=None)
        inputs[day] = [*sorted(today.get(day, [])), *always, *([so_far[last]] if last else [])]
    return inputs


def inputs_of(house: Warehouse, name: str, asked: Sequence[str]) -> dict[str, list[str]]:
    """What each of these days of a table rests on now."""
    marks = [mark for source in (*RESTS_ON[name], "items") for mark in house.marks("safe", source, None, max(asked))]
    made = _inputs(name, marks, asked)
    return {day: made[day] for day in asked}


def waiting(house: Warehouse) -> dict[str, list[str]]:
    """Days that have a proposal and nothing published, by source: they were refused, or not judged yet."""
    return {name: sorted({*house.days("safe", name, "proposed")} - {*house.days("safe", name)}) for name in SOURCES}


def stale_days(house: Warehouse, have: Sequence[str]) -> dict[str, dict[str, str]]:
    """By table, the days of `have` whose statistics rest on something else than there is now, with the reason.

    A day of which a source waits to be published is left for later: half a day would be taken for a whole one.
    """
    waits = {day for days in waiting(house).values() for day in days}
    days = [day for day in have if day not in waits]
    return {name: house.stale("stats", name, inputs_of(house, name, days)) if days else {} for name in TABLES}


def _range(have: Sequence[str], first: date | None, last: date | None, shop: str) -> list[str]:
    """The days to write: those asked for, each of which must be published."""
    if not have:
        return []
    low, high = first or date.fromisoformat(have[0]), last or date.fromisoformat(have[-1])
    if low > high:
        raise Problem(f"--first {low} is after --last {high}")
    asked = days(low, high)
    missing = [day for day in asked if day not in set(have)]
    if missing:
        raise Problem(
            f"safe has nothing published for {len(missing)} of {len(asked)} days, the first is {missing[0]}",
            do=f"run 'python -m jobs validate --shop {shop}' for these days first",
        )
    return asked


def check_keys(house: Warehouse, marks: Sequence[Mark]) -> None:
    """Each key once a day, read back from the files; `Refused` if not."""
    import duckdb

    if not (files := [str(file) for file in house.files(marks)]):
        return
    name = marks[0].table
    key = ", ".join(table("stats", name).key)
    listed = ", ".join("'" + file.replace("'", "''") + "'" for file in files)
    with duckdb.connect() as engine:
        twice = engine.execute(
            f"SELECT count(*) FROM (SELECT {key}, day FROM read_parquet([{listed}], hive_partitioning=false) "  # noqa: S608
            f"GROUP BY ALL HAVING count(*) > 1)"
        ).fetchone()
    if twice and twice[0]:
        raise Refused(f"stats/{name} has {twice[0]:,} keys more than once a day", do="report this: it is a fault")


def _transformed(
    live: "SparkSession", house: Warehouse, marks: Mapping[str, list[Mark]], name: str, asked: Sequence[str]
) -> DataFrame:
    """One of the tables, of the days asked for and of no other."""

    def rows(source: str) -> DataFrame:
        return spark.read(live, house, "safe", source, marks[source])

    if name == "visitor_history":
        return visitor_history(rows("interactions"), asked[0], asked[-1])
    if name == "visitor_session":
        near = [mark for mark in marks["interactions"] if mark.day >= day_before(asked[0])]
        return visitor_session(spark.read(live, house, "safe", "interactions", near), asked[0], asked[-1])
    if name == "visitor_habits":
        return visitor_habits(rows("interactions"), rows("items"), asked[0], asked[-1])
    if name == "item_stats":
        made = item_stats(rows("interactions"), rows("rankings"), rows("reviews"), rows("items"))
    elif name == "visitor_stats":
        made = visitor_stats(rows("interactions"), rows("searches"), rows("reviews"))
    elif name == "visitor_cycles":
        made = visitor_cycles(rows("interactions"), rows("items"))
    else:
        given = with_normal_query(rows("searches")), rows("rankings"), rows("interactions")
        made = with_intents(counted_queries(*given), *given, rows("items"), asked[0], asked[-1])
    return made.where(F.col("day").between(asked[0], asked[-1]))


def _of_days(rows: DataFrame, asked: Sequence[str]) -> DataFrame:
    """Rows of these days; where they are one run of days the plan is left as it is."""
    span = days(date.fromisoformat(asked[0]), date.fromisoformat(asked[-1]))
    return rows if len(span) == len(asked) else rows.where(F.col("day").cast("string").isin(list(asked)))


def aggregate(
    live: Any, house: Warehouse, asked: Sequence[str], only: Mapping[str, Sequence[str]] | None = None
) -> dict[str, list[Mark]]:
    """Write and publish the tables of the days asked for, and all marks of them, by table.

    `only` names tables, each with days of its own, in order. A day whose rows come out as they were keeps its
    partition: what rests on it is not stale then.
    """
    chosen = only or dict.fromkeys(TABLES, asked)
    marks = {name: house.marks("safe", name, None, max(map(max, chosen.values()))) for name in SOURCES}
    require_one_epoch(house.shop, chain.from_iterable(marks.values()))
    marks["items"] = house.marks("safe", "items")

    def one(live: "SparkSession", name: str) -> list[Mark]:
        mine = chosen[name]
        read = {source: [m for m in found if source == "items" or m.day <= mine[-1]] for source, found in marks.items()}
        rests = _inputs(name, [mark for found in read.values() for mark in found], mine)
        with narrate(f"aggregate: {name}"), house.attempt("stats", name) as attempt:
            rows = _of_days(_transformed(live, house, read, name, mine), mine)
            notes: dict[str, dict[str, Any]] = {}
            if name == "query_stats":
                counted = rows.persist()  # written without what is rare, and counted with it
                found = rare(counted)
                notes = {day: {"rare": found.get(day, {"queries": 0, "searches": 0})} for day in mine}
                rows = often(counted)
            spark.write(spark.filed(rows, table("stats", name)), attempt)
            if name == "query_stats":
                counted.unpersist()
            written = house.propose_days(attempt, mine, step="aggregate", inputs=rests, notes=notes, keep=True)
        check_keys(house, written)
        return written

    # To open the small files of a little shop costs more than what is done with their rows: once, not for each table.
    little = rows_of(chain.from_iterable(marks.values())) < spark.SMALL
    held = [spark.read(live, house, "safe", name, found).persist() for name, found in marks.items() if found and little]
    try:
        return spark.side_by_side(live, one, dict.fromkeys(chosen, 0))
    finally:
        for rows in held:
            rows.unpersist()


def run(args: argparse.Namespace) -> None:
    """Write and publish the statistics of a range of days."""
    house, began = warehouse(args.shop), time.monotonic()
    have = sorted({day for name in SOURCES for day in house.days("safe", name)})
    if not have:
        house.require("safe", "items", step="validate")
        print(f"{args.shop}: no interactions, searches, rankings or reviews: there are no statistics to write.")
        print(f"next: python -m jobs examples encoder --shop {args.shop}")
        return
    only = None
    if args.stale:
        only = _stale(house, [day for day in have if _inside(day, args.first, args.last)])
        if not only:
            print("nothing is stale: the statistics rest on what is published now")
            print(f"next: python -m jobs materialise --shop {args.shop}")
            return
        asked = sorted({day for chosen in only.values() for day in chosen})
    else:
        asked = _range(have, args.first, args.last, args.shop)
    rows_in = {name: rows_of(house.marks("safe", name, None, asked[-1])) for name in SOURCES}
    before = {(m.table, m.day): m.attempt for name in TABLES for m in house.marks("stats", name)}
    with spark.session("aggregate", rows=sum(rows_in.values())) as live:
        written = aggregate(live, house, asked, only)
    report = [
        (
            name,
            len(m),
            sum(before.get((name, x.day)) != x.attempt for x in m),
            rows_of(m),
            sum(x.bytes for x in m) / 1e6,
        )
        for name, m in written.items()
    ]
    print(grid(("table", "days", "changed", "rows", "MB"), report))
    print(", ".join(f"{rows:,} {name}" for name, rows in rows_in.items()) + f" read up to {asked[-1]}")
    if left := counting.total(mark.notes.get("rare", {}) for mark in written.get("query_stats", [])):
        print(f"rare queries (fewer than {LEAST_VISITORS} visitors) left out: {left['searches']:,} searches")
    print(f"in {time.monotonic() - began:.1f} s, in {house.root / 'stats'}")
    print(f"next: python -m jobs materialise --shop {args.shop}")


def _inside(day: str, first: date | None, last: date | None) -> bool:
    return (first is None or day >= first.isoformat()) and (last is None or day <= last.isoformat())


def _stale(house: Warehouse, have: Sequence[str]) -> dict[str, list[str]]:
    """What `--stale` writes, by table; says why, and what it leaves because a source of the day waits."""
    for name, held in waiting(house).items():
        if left := [day for day in held if day in set(have)]:
            say(f"left for later: {len(left)} days whose {name} are not published, the first is {left[0]}")
    found = {name: stale for name, stale in stale_days(house, have).items() if stale}
    for name, stale in found.items():
        say(f"stale: {name} {len(stale)} days from {min(stale)}; {stale[min(stale)]}")
    return {name: sorted(stale) for name, stale in found.items()}
