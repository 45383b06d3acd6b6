"""Which raw rows become clean ones, and why the others do not. Functions from tables to tables: no files, no clock.

A row is shaped (typed, normalised), judged by itself and by what is known of the shop, and settled against the rows
that share its key. The outcome of every row stands in one column, from which the step files it.
"""

from collections.abc import Sequence
from datetime import date
from typing import Any

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from jobs import behaviour, values
from jobs.cleaning_policy import Policy
from jobs.expectations import LIMITS
from jobs.spark import conform, shared_out
from jobs.tables import ADDED, WHOLE, Table, table, text_column
from jobs.warehouse import DAY_FOLDER

SPLIT = "~"  # parts day, reason and column in the name of an outcome
FEW = 1_000  # keys that stand in a plan as they are: a join costs a second of planning
CORRECTED = "corrected"

PROSE = {
    "items": ("title", "description", "brand", "category", "department", "size"),
    "visitors": ("name", "email", "phone", "address"),
    "judgements": ("query",),
    "searches": ("query",),
    "reviews": ("text",),
    "tickets": ("topic", "text"),
}
"""Columns that people wrote: normalised (NFKC), freed of markup and of stray white space. Ids are only trimmed."""

WORDS = {
    "unreadable": "the line could not be read into columns",
    "clock_past": "{column}: before the day under which the delivery could file it",
    "clock_future": "{column}: after the delivery's last day, or after it was known",
    "key_conflict": "another row came first with the same key and other content",
    "internal": "{column}: one of the shop's own people, by the cleaning policy",
    "robot": "{column}: browsed that day as no person does, by the cleaning policy",
    "unmatched": "{column}: nothing was bought that could come back",
    CORRECTED: "a later delivery brought this key with other content",
}
REASONS = ("missing", "bad_type", "out_of_range", "orphan", *WORDS)
"""Every reason for which `clean` refuses a row."""


def detail(name: str, reason: str, column: str) -> str:
    """Which column and which limit, never the value."""
    if reason == "missing":
        return f"{column}: required, and empty"
    if reason == "bad_type":
        return f"{column}: not a {table('clean', name)[column].kind}"
    if reason == "out_of_range":
        return f"{column}: must be {LIMITS[name, column].words}"
    if reason == "orphan":
        return f"{column}: not among the shop's {'items' if column == 'item_id' else 'visitors'}"
    return WORDS[reason].format(column=column)


# Rows -----------------------------------------------------------------------------------------


def shaped(raw: DataFrame, declared: Table, chinese: tuple[str, str] | None = None) -> DataFrame:
    """Columns of the clean table, typed; `_had_NAME` says of each that can fail whether there was something to type.

    `chinese`: pairs of characters, if traditional ones shall become simplified.
    """
    delivered = [c for c in declared.columns if c.name not in ADDED]
    prose = PROSE.get(declared.name, ())
    tongue = text_column(declared.name)
    trimmed = raw.select(
        *[(values.composed(F.col(c.name)) if c.name in prose else values.tidy(F.col(c.name))).alias(c.name)
          for c in delivered],
        *[F.col(n) for n in ADDED if n in raw.columns],
        F.col("unreadable").isNotNull().alias("_unreadable"),
    )  # fmt: skip

    def understood(column: str, kind: str) -> Column:
        text = F.col(column)
        if column in prose:
            plain = values.without_markup(text)
            return values.simplified(plain, chinese) if chinese else plain
        if (declared.name, column) == ("items", "price"):
            return values.typed(values.amount(text), kind)
        if (declared.name, column) == ("items", "currency"):
            return values.currency(F.col("price"), text)
        return values.typed(text, kind)

    rows = trimmed.select(
        *[understood(c.name, c.kind).alias(c.name) for c in delivered],
        *[F.col(c.name).isNotNull().alias(f"_had_{c.name}") for c in delivered if c.kind != "string"],
        *[F.col(n) for n in ADDED if n in raw.columns],
        "_unreadable",
    )
    if declared.name == "items":
        much, unit = values.sized(F.col("size"))
        rows = rows.withColumns({"size_amount": much, "size_unit": unit})
    return rows.withColumn("language", values.language(F.col(tongue))) if tongue else rows


def why(declared: Table, policy: Policy) -> Column:
    """`reason~column` of the first fault that a shaped row shows by itself; null if it shows none."""
    faults = [F.when(F.col("_unreadable"), _fault("unreadable", ""))]
    if "visitor_id" in declared.names and policy.internal:
        faults.append(F.when(F.col("visitor_id").rlike(policy.internal), _fault("internal", "visitor_id")))
    delivered = [c for c in declared.columns if c.name not in ADDED]
    typed_columns = [c for c in delivered if c.kind != "string"]
    had = {c.name: F.col(f"_had_{c.name}") for c in typed_columns}
    for c in delivered:
        if c.required:
            faults.append(F.when(~had.get(c.name, F.col(c.name).isNotNull()), _fault("missing", c.name)))
    faults += [F.when(had[c.name] & F.col(c.name).isNull(), _fault("bad_type", c.name)) for c in typed_columns]
    faults += [
        F.when(~F.expr(limit.test), _fault("out_of_range", column))
        for (name, column), limit in LIMITS.items()
        if name == declared.name
    ]
    if declared.dated:
        # A row lies under the date of its event, or, if that date is outside the delivery, under its last day.
        happened = F.to_date("event_time")
        faults += [
            F.when(happened < F.col("day"), _fault("clock_past", "event_time")),
            F.when(
                (happened > F.col("day")) | (F.col("event_time") > F.col("known_time")),
                _fault("clock_future", "event_time"),
            ),
        ]
    return F.coalesce(*faults)


def _fault(reason: str, column: str) -> Column:
    return F.lit(f"{reason}{SPLIT}{column}")


def judged(
    raw: DataFrame,
    declared: Table,
    known: dict[str, DataFrame],
    policy: Policy,
    *,
    robots: Sequence[tuple[str, date]] = (),
    lonely: Sequence[tuple[str, int]] = (),
    chinese: tuple[str, str] | None = None,
) -> DataFrame:
    """Shaped rows with `_why`: null, or `reason~column`.

    `known` holds, by column, the shop's ids (`_id`) and the id under which each is kept (`_kept`), which takes its
    place; `robots` who browsed as no person does (visitor_id, day), and `lonely` what came back without having been
    bought (source_file, source_row).
    """
    rows = shaped(raw, declared, chinese).withColumn("_why", why(declared, policy))
    if robots and declared.dated and "visitor_id" in declared.names:
        rows = among(rows, "_robot", robots, F.col("visitor_id"), F.col("day").cast("string"))
        seen = F.when(F.col("_robot") & behaviour.browsing(declared.name), _fault("robot", "visitor_id"))
        rows = rows.withColumn("_why", F.coalesce("_why", seen)).drop("_robot")
    if lonely:
        rows = among(rows, "_lonely", lonely, F.col("source_file"), F.col("source_row").cast("string"))
        told = F.when(F.col("_lonely"), _fault("unmatched", "kind"))
        rows = rows.withColumn("_why", F.coalesce("_why", told)).drop("_lonely")
    for column, ids in known.items():
        rows = rows.join(F.broadcast(ids), F.col(column) == F.col("_id"), "left")
        orphan = F.when(F.col("_kept").isNull(), _fault("orphan", column))
        rows = rows.withColumns({"_why": F.coalesce("_why", orphan), column: F.coalesce("_kept", column)})
        rows = rows.drop("_id", "_kept")
    return rows.drop("_unreadable", *[c for c in rows.columns if c.startswith("_had_")])


def among(rows: DataFrame, name: str, pairs: Sequence[tuple[Any, Any]], *columns: Column) -> DataFrame:
    """`rows` with `name`: whether the two columns are one of the pairs. A few stand in the plan, many are joined."""
    keys = [f"{one}\x1f{other}" for one, other in pairs]
    key = F.concat_ws("\x1f", *columns)
    if len(keys) <= FEW:
        return rows.withColumn(name, key.isin(keys))
    listed = rows.sparkSession.createDataFrame([(k,) for k in keys], "_key string").withColumn(name, F.lit(True))
    joined = rows.withColumn("_of", key).join(F.broadcast(listed), F.col("_of") == F.col("_key"), "left")
    return joined.withColumn(name, F.coalesce(name, F.lit(False))).drop("_of", "_key")


def settled(rows: DataFrame, declared: Table, tasks: int, policy: Policy, *, delivered: bool = False) -> DataFrame:
    """Judged rows with `_day`, the outcome: DAY for a clean row, DAY~duplicate, or DAY~reason~column.

    Of rows with one key on one day the first by (source_file, source_row) stays. Rows that equal it
    in every delivered column are duplicates; others are conflicts. The only shuffle is by day.

    Where rows came in deliveries (`delivered`), the one that was known last stays, since it corrects the others; it is
    known from when its content was first delivered.
    """
    by_day = ["day"] if declared.dated else []
    rows = rows.withColumn("_good", F.col("_why").isNull())
    rows = shared_out(rows, tasks, *by_day) if by_day else rows.coalesce(1)
    if declared.name == "searches":
        rows = behaviour.visits(rows, policy)
    place = [F.col("source_file"), F.col("source_row")]
    order = [F.col("known_time").desc(), *place] if delivered else place
    key = Window.partitionBy(*by_day, "_good", *declared.key).orderBy(*order)
    others = [c.name for c in declared.columns if c.name not in (*ADDED, *declared.key)]
    later = F.row_number().over(key) > 1
    same: Column = F.lit(True)
    if others:
        content = F.struct(*others)
        first = F.first(content).over(key.rowsBetween(Window.unboundedPreceding, Window.currentRow))
        same = content.eqNullSafe(first)
    other = _fault("key_conflict", "")
    if delivered:
        newest = F.first("known_time").over(key.rowsBetween(Window.unboundedPreceding, Window.currentRow))
        other = F.when(F.col("known_time") < newest, _fault(CORRECTED, "")).otherwise(other)
        all_of_key = key.rowsBetween(Window.unboundedPreceding, Window.unboundedFollowing)
        rows = rows.withColumns({"_same": same, "_other": other, "_later": later})
        since = F.min(F.when(F.col("_same"), F.col("known_time"))).over(all_of_key)
        rows = rows.withColumn("_since", since).withColumn(
            "known_time", F.when(~F.col("_later"), F.col("_since")).otherwise(F.col("known_time"))
        )
        later, same, other = F.col("_later"), F.col("_same"), F.col("_other")
    repeat = F.when(later & same, F.lit("duplicate")).when(later, other)
    outcome = F.coalesce("_why", repeat)
    day = F.col("day").cast("string") if by_day else F.lit(WHOLE)
    return conform(rows, declared, F.concat_ws(SPLIT, day, outcome).alias(DAY_FOLDER))
