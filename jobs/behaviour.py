"""What rows tell of those who made them: robots, what came back, and visits.

Each looks at whole UTC days only, so that a range of days gives what single days give. Robots and returns are few, and
are looked up in the raw files by DuckDB before Spark starts on the table; visits are a window over Spark's rows.
"""

from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from jobs.cleaning_policy import Policy
from jobs.duck import engine
from jobs.tables import table
from jobs.warehouse import arrow_schema

if TYPE_CHECKING:
    import duckdb

BROWSING = ("view", "click")
"""Interactions that a robot makes by the thousand; whoever pays is a customer."""
BACK = ("return", "cancel")
"""Interactions that undo a purchase."""

_TIME = "CASE WHEN regexp_matches({0}, '^\\d{{4}}-\\d{{2}}-\\d{{2}}') THEN try_cast({0} AS TIMESTAMPTZ) END"

ROBOTS = f"""
WITH events AS (
  SELECT trim(visitor_id) AS visitor_id, day, trim(event_time) AS told, search_id AS id FROM searches
  UNION ALL
  SELECT trim(visitor_id), day, trim(event_time), interaction_id FROM interactions WHERE trim(kind) IN {BROWSING}),
counted AS (
  SELECT visitor_id, day, count(DISTINCT id) AS n,
         epoch(max({_TIME.format("told")})) - epoch(min({_TIME.format("told")})) AS span
  FROM events WHERE visitor_id <> '' GROUP BY visitor_id, day HAVING count(*) >= least($rows, $burst))
SELECT visitor_id, day FROM counted WHERE n >= $rows OR (n >= $burst AND span < $pace * (n - 1)) ORDER BY ALL
"""  # noqa: S608  words of ours

UNMATCHED = f"""
WITH rows AS (
  SELECT coalesce(v.kept_id, trim(r.visitor_id)) AS visitor, coalesce(i.kept_id, trim(r.item_id)) AS item,
         nullif(trim(r.basket_id), '') AS basket, {_TIME.format("trim(r.event_time)")} AS happened,
         trim(r.kind) AS kind,
         r.day, r.source_file, r.source_row
  FROM interactions r LEFT JOIN merged v ON v.id = trim(r.visitor_id) AND v.of = 'visitors'
                      LEFT JOIN merged i ON i.id = trim(r.item_id) AND i.of = 'items'
  WHERE trim(r.kind) IN {(*BACK, "purchase")}),
bought AS (SELECT * FROM rows WHERE kind = 'purchase'),
back AS (SELECT * FROM rows WHERE kind <> 'purchase' AND day BETWEEN $first AND $last)
SELECT source_file, source_row FROM back ANTI JOIN bought
  ON back.visitor = bought.visitor AND back.item = bought.item AND (back.basket IS NULL OR back.basket = bought.basket)
 AND epoch(back.happened) - epoch(bought.happened) BETWEEN 0 AND $days * 86400
ORDER BY ALL
"""  # noqa: S608  words of ours


def _open(live: "duckdb.DuckDBPyConnection", name: str, files: Sequence[Path]) -> None:
    """Make the raw table `name` a view: the rows of these files, or none."""
    if files:
        live.read_parquet([str(file) for file in files], hive_partitioning=False).create_view(name)
    else:
        live.register(name, arrow_schema(table("raw", name)).empty_table())


def robots(searches: Sequence[Path], interactions: Sequence[Path], policy: Policy) -> list[tuple[str, date]]:
    """(visitor_id, day) of those who browsed as no person does, from files of raw searches and interactions.

    Deliveries that repeat their rows make nobody a robot: an id counts once.
    """
    given = {"rows": policy.robot_rows, "burst": policy.robot_burst, "pace": policy.robot_pace}
    with engine() as live:
        _open(live, "searches", searches)
        _open(live, "interactions", interactions)
        return [(visitor, day) for visitor, day in live.execute(ROBOTS, given).fetchall()]


BROWSED = ("searches", "rankings", "interactions")
"""Tables in which a robot's visit leaves rows."""


def browsing(name: str) -> Column:
    """True for rows of table `name` that a robot's visit leaves."""
    if name == "interactions":
        return F.col("kind").isin(*BROWSING, "cart", "dwell")
    return F.lit(name in BROWSED)


def unmatched(
    interactions: Sequence[Path], first: str, last: str, merged: Sequence[tuple[str, str, str]], policy: Policy
) -> list[tuple[str, int]]:
    """Returns and cancellations of the days `first` to `last` without a purchase before them, by file and row.

    `interactions` are raw files that reach back far enough; `merged` says (items or visitors, id, kept id) of what is
    kept under another id. A row that names a basket must find that basket.
    """
    import pyarrow as pa

    with engine() as live:
        _open(live, "interactions", interactions)
        columns: list[list[str]] = [list(column) for column in zip(*merged, strict=True)] if merged else [[], [], []]
        live.register("merged", pa.table(dict(zip(("of", "id", "kept_id"), columns, strict=True)),
                                         pa.schema([(c, pa.string()) for c in ("of", "id", "kept_id")])))  # fmt: skip
        given = {"first": first, "last": last, "days": policy.return_days}
        return [(file, row) for file, row in live.execute(UNMATCHED, given).fetchall()]


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
