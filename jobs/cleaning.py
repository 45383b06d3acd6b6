"""raw -> clean: types, text, duplicates, clock faults and orphans; what is refused lies in quarantine with a reason.

One scan and one shuffle a table: every row is judged where it is read, rows of a day meet in one
task, sorted by key, and each row is written under its outcome (a day; a day and a reason). Rows of
the outcome `duplicate` are counted and dropped; refused rows are fetched whole from the raw table
and kept as JSON in quarantine. Counts come from the footers of written files.
"""

import argparse
import shutil
import time
from collections.abc import Iterable
from datetime import date
from itertools import chain
from typing import TYPE_CHECKING

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from jobs import counting
from jobs.console import Problem, grid, narrate, say
from jobs.expectations import LIMITS
from jobs.spark import conform, filed, read, session, side_by_side, write
from jobs.tables import DELIVERED, WHOLE, Table, table, text_column
from jobs.warehouse import DAY_FOLDER, Attempt, Mark, Warehouse, rows_of, warehouse

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

STEP = "clean"
SPLIT = "~"  # parts day, reason and column in the name of an outcome
ROWS_A_TASK = 300_000  # days share a task up to here: sorted in memory on a small machine

OWNERS = {"item_id": "items", "visitor_id": "visitors"}
"""Ids, and the table that says which there are: cleaned before the tables that name them."""

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
}


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


# Values ---------------------------------------------------------------------------------------


def composed(text: Column) -> Column:
    """NFKC, full-width forms included: by ICU, in the JVM; only text beyond ASCII pays for it."""
    ascii_only = ~text.rlike(r"[^\x00-\x7f]")
    return F.when(text.isNull() | ascii_only, text).otherwise(
        F.reflect(F.lit("com.ibm.icu.text.Normalizer"), F.lit("compose"), text, F.lit(True))
    )


def without_markup(text: Column) -> Column:
    """Tags, comments, scripts, common entities and control characters out; white space single; empty is null."""
    bare = F.regexp_replace(text, r"(?is)<(script|style)\b.*?</\1\s*>|<!--.*?-->", " ")
    bare = F.regexp_replace(bare, r"</?[A-Za-z][^<>]*>", " ")
    for entity, character in (("nbsp", " "), ("lt", "<"), ("gt", ">"), ("quot", '"'), ("#39", "'"), ("amp", "&")):
        bare = F.regexp_replace(bare, f"(?i)&{entity};", character)
    bare = F.regexp_replace(bare, r"</?[A-Za-z][^<>]*>", " ")  # a tag that was written with entities
    bare = F.when(text.rlike("[<&]"), bare).otherwise(text)  # most texts have none
    spaced = F.regexp_replace(F.regexp_replace(bare, r"\p{Cf}+", ""), r"[\s\p{Z}\p{Cc}]+", " ")
    return tidy(F.when(bare.rlike(r"[^\x21-\x7e ]|  "), spaced).otherwise(bare))


def tidy(text: Column) -> Column:
    """Trimmed; null if nothing is left."""
    return F.nullif(F.trim(text), F.lit(""))


def typed(text: Column, kind: str) -> Column:
    """`text` as `kind`, or null where it is not one. No time of day without a date, no NaN, no part of an integer."""
    if kind == "string":
        return text
    if kind in ("date", "timestamp"):
        # Spark would read '12:30' as today, and '2017' as a day.
        return F.when(text.rlike(r"^\d{4}-\d{2}-\d{2}"), text.try_cast(kind))
    if kind == "double":
        number = text.try_cast("double")
        return F.when(~F.isnan(number) & (F.abs(number) != float("inf")), number)
    if kind == "long":
        number = text.try_cast("decimal(38,6)")
        return F.when(number == F.floor(number), number.try_cast("bigint"))
    return text.try_cast(kind)


def language(text: Column) -> Column:
    """en, zh or other, by the share of scripts: honest for shops that are English, Chinese or both.

    zh if Han characters are at least a third as many as Latin letters (one carries about three
    letters' worth) and there is no kana; en if Latin letters lead; other scripts and none are other.
    """

    def count(outside: str) -> Column:
        return F.length(F.regexp_replace(text, outside, ""))

    han, latin, letters = count(r"[^\p{IsHan}]"), count(r"[^\p{IsLatin}]"), count(r"[^\p{L}]")
    kana = text.rlike(r"[\p{IsHiragana}\p{IsKatakana}]")
    foreign = letters - han - latin
    return (
        F.when(text.isNull() | (letters == 0) | kana | (foreign > han + latin), "other")
        .when(han * 3 >= latin, "zh")
        .otherwise("en")
    )


# Rows -----------------------------------------------------------------------------------------


def shaped(raw: DataFrame, declared: Table) -> DataFrame:
    """Columns of the clean table, typed; those of raw beside them as `_raw_NAME` where a cast can fail."""
    delivered = [c for c in declared.columns if c.name not in _CARRIED]
    prose = PROSE.get(declared.name, ())
    trimmed = raw.select(
        *[(composed(F.col(c.name)) if c.name in prose else tidy(F.col(c.name))).alias(c.name) for c in delivered],
        *[F.col(n) for n in _CARRIED if n in raw.columns],
        F.col("unreadable").isNotNull().alias("_unreadable"),
    )
    tongue = text_column(declared.name)
    values = [
        without_markup(F.col(c.name)).alias(c.name) if c.name in prose else typed(F.col(c.name), c.kind).alias(c.name)
        for c in delivered
    ]
    rows = trimmed.select(
        *values,
        *[F.col(c.name).isNotNull().alias(f"_had_{c.name}") for c in delivered if c.kind != "string"],
        *[F.col(n) for n in _CARRIED if n in raw.columns],
        "_unreadable",
    )
    return rows.withColumn("language", language(F.col(tongue))) if tongue else rows


_CARRIED = ("language", "source_file", "source_row", "known_time", "simulated", "day")


def why(declared: Table) -> Column:
    """`reason~column` of the first fault of a shaped row; null if it has none. Orphans are told apart later."""
    faults = [F.when(F.col("_unreadable"), _fault("unreadable", ""))]
    delivered = [c for c in declared.columns if c.name not in _CARRIED]
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


def judged(raw: DataFrame, declared: Table, known: dict[str, DataFrame]) -> DataFrame:
    """Shaped rows with `_why`: null, or `reason~column`. `known` holds the shop's ids by column name."""
    rows = shaped(raw, declared).withColumn("_why", why(declared))
    for column, ids in known.items():
        listed = ids.select(F.col(column).alias("_id"), F.lit(True).alias("_listed"))
        rows = rows.join(F.broadcast(listed), F.col(column) == F.col("_id"), "left").drop("_id")
        orphan = F.when(F.col("_listed").isNull(), _fault("orphan", column))
        rows = rows.withColumn("_why", F.coalesce("_why", orphan)).drop("_listed")
    return rows.drop("_unreadable", *[c for c in rows.columns if c.startswith("_had_")])


def settled(rows: DataFrame, declared: Table, tasks: int) -> DataFrame:
    """Judged rows with `_day`, the outcome: DAY for a clean row, DAY~duplicate, or DAY~reason~column.

    Of rows with one key on one day the first by (source_file, source_row) stays. Rows that equal it
    in every delivered column are duplicates; others are conflicts. The only shuffle is by day.
    """
    by_day = ["day"] if declared.dated else []
    rows = rows.withColumn("_good", F.col("_why").isNull())
    rows = rows.repartition(tasks, *by_day) if by_day else rows.coalesce(1)
    key = Window.partitionBy(*by_day, "_good", *declared.key).orderBy("source_file", "source_row")
    others = [c.name for c in declared.columns if c.name not in (*_CARRIED, *declared.key)]
    later = F.row_number().over(key) > 1
    same: Column = F.lit(True)
    if others:
        content = F.struct(*others)
        first = F.first(content).over(key.rowsBetween(Window.unboundedPreceding, Window.currentRow))
        same = content.eqNullSafe(first)
    repeat = F.when(later & same, F.lit("duplicate")).when(later, _fault("key_conflict", ""))
    outcome = F.coalesce("_why", repeat)
    day = F.col("day").cast("string") if by_day else F.lit(WHOLE)
    return conform(rows, declared, F.concat_ws(SPLIT, day, outcome).alias(DAY_FOLDER))


# Counting and quarantine ------------------------------------------------------------------------


def outcomes(attempt: Attempt) -> dict[tuple[str, str, str], int]:
    """Rows by (day, reason, column), from the footers of the files; reason is '' for clean rows."""
    import pyarrow.parquet as pq

    found: dict[tuple[str, str, str], int] = {}
    for file in attempt.path.glob(f"{DAY_FOLDER}=*/*.parquet"):
        day, reason, column = [*file.parent.name.split("=", 1)[1].split(SPLIT), "", ""][:3]
        found[day, reason, column] = found.get((day, reason, column), 0) + pq.read_metadata(file).num_rows
    return found


def refused_rows(spark: "SparkSession", raw: DataFrame, attempt: Attempt, declared: Table) -> DataFrame:
    """The quarantine table: every refused row whole, as it came, found again in raw by file and row."""
    folders = [str(p) for p in attempt.path.glob(f"{DAY_FOLDER}=*{SPLIT}*") if not p.name.endswith("duplicate")]
    outcome = F.split(DAY_FOLDER, SPLIT)
    refused = (
        spark.read.schema(f"source_file string, source_row bigint, {DAY_FOLDER} string")
        .option("basePath", str(attempt.path))
        .parquet(*folders)
        .select(F.col("source_file").alias("_f"), F.col("source_row").alias("_r"), outcome.alias("_o"))
    )
    columns = [c for c in raw.columns if c not in _CARRIED]
    faults = {(reason, column) for _, reason, column in outcomes(attempt) if reason not in ("", "duplicate")}
    words = [(F.lit(f"{r}{SPLIT}{c}"), F.lit(detail(declared.name, r, c))) for r, c in sorted(faults)]
    told = F.create_map(*chain.from_iterable(words))
    return raw.join(refused, (F.col("source_file") == F.col("_f")) & (F.col("source_row") == F.col("_r"))).select(
        F.lit(STEP).alias("step"),
        F.col("_o")[1].alias("reason"),
        told[F.concat_ws(SPLIT, F.col("_o")[1], F.col("_o")[2])].alias("detail"),
        F.to_json(F.struct(*columns), {"ignoreNullFields": "true"}).alias("row"),
        *[n for n in _CARRIED if n in raw.columns and n != "day"],
        (F.col("day") if declared.dated else F.to_date("known_time")).alias("day"),
    )


def law(
    marks: Iterable[Mark], found: dict[tuple[str, str, str], int], kept: dict[str, int]
) -> dict[str, dict[str, int]]:
    """The terms by day: in from the raw marks, out and duplicates from written files, quarantined from `kept`.

    `kept` counts the quarantine files by day; the reasons come from the outcomes. Two ways to the same number.
    """
    by_day = {}
    for mark in marks:
        reasons: dict[str, int] = {}
        for (day, reason, _), rows in found.items():
            if day == mark.day and reason not in ("", "duplicate"):
                reasons[reason] = reasons.get(reason, 0) + rows
        by_day[mark.day] = counting.terms(
            mark.rows,
            out=found.get((mark.day, "", ""), 0),
            duplicates=found.get((mark.day, "duplicate", ""), 0),
            quarantined=kept.get(mark.day, 0),
            reasons=reasons,
        )
    return by_day


def clean_table(spark: "SparkSession", house: Warehouse, name: str, marks: list[Mark]) -> dict[str, int]:
    """Clean one table for the days of `marks`, publish them, and return the law's terms added up."""
    declared = table("clean", name)
    raw = read(spark, house, "raw", name, marks)
    known, judges = ids_of_shop(spark, house, declared)
    tasks = max(2, min(200, rows_of(marks) // ROWS_A_TASK + 1))
    with house.attempt("clean", name) as attempt, house.attempt("quarantine", f"{STEP}.{name}") as refused:
        write(settled(judged(raw, declared, known), declared, tasks), attempt)
        found = outcomes(attempt)
        bad_days = {day for day, reason, _ in found if reason not in ("", "duplicate")}
        if bad_days:
            there = read(spark, house, "raw", name, [m for m in marks if m.day in bad_days])
            write(filed(refused_rows(spark, there, attempt, declared), table("quarantine", refused.table)), refused)
        kept = {day: rows for (day, _, _), rows in outcomes(refused).items()}
        by_day = law(marks, found, kept)
        counting.check(STEP, name, by_day)
        for folder in attempt.path.glob(f"{DAY_FOLDER}=*{SPLIT}*"):
            shutil.rmtree(folder)
        inputs = {mark.day: [mark] for mark in marks}
        stale = set(house.days("quarantine", f"{STEP}.{name}"))
        house.propose_days(refused, [d for d in inputs if d in bad_days or d in stale], step=STEP, inputs=inputs)
        judged_by = {day: [*own, *judges] for day, own in inputs.items()}
        house.propose_days(attempt, inputs, step=STEP, counts=by_day, inputs=judged_by)
    return counting.total(by_day.values())


def ids_of_shop(spark: "SparkSession", house: Warehouse, declared: Table) -> tuple[dict[str, DataFrame], list[Mark]]:
    """The shop's clean ids for each column that must be one of them; none if the shop delivers no such table."""
    known: dict[str, DataFrame] = {}
    judges: list[Mark] = []
    for column, owner in OWNERS.items():
        if column in declared.names and declared.name != owner and house.days("raw", owner):
            marks = house.marks("clean", owner)
            known[column] = read(spark, house, "clean", owner, marks).select(column)
            judges += marks
    return known, judges


def run(args: argparse.Namespace) -> int:
    """`python -m jobs clean`: every delivered table, items and visitors first, for a range of days."""
    began = time.monotonic()
    house = warehouse(args.shop)
    first, last = bounds(args.first, args.last)
    chosen = {name: marks for name in DELIVERED if (marks := house.marks("raw", name, first, last))}
    if not any(map(rows_of, chosen.values())):
        span = f" from {first or 'the first day'} to {last or 'the last'}"
        raise Problem(
            f"shop '{args.shop}' has no raw rows{span if first or last else ''}",
            where=str(house.root / "raw"),
            do=f"run 'python -m jobs import {args.shop}' first",
        )

    def one(spark: "SparkSession", name: str) -> dict[str, int]:
        with narrate(f"clean {name}"):
            return clean_table(spark, house, name, chosen[name])

    sizes = {name: rows_of(marks) for name, marks in chosen.items()}
    owners = {name: rows for name, rows in sizes.items() if name in OWNERS.values()}
    others = {name: rows for name, rows in sizes.items() if name not in owners}
    with session(STEP, rows=sum(sizes.values()), **{"spark.sql.adaptive.enabled": "true"}) as spark:
        totals = side_by_side(spark, one, owners) | side_by_side(spark, one, others)
    print(summary(totals))
    say(f"{time.monotonic() - began:.0f} s; clean tables lie in {house.root / 'clean'}")
    say(f"Refused rows, by reason: python -m jobs quarantine --shop {args.shop}")
    say(f"Next: python -m jobs anonymise --shop {args.shop}")
    return 0


def bounds(first: date | None, last: date | None) -> tuple[str | None, str | None]:
    """The range as ISO text; a `Problem` if it runs backwards."""
    from jobs.console import Usage

    if first and last and first > last:
        raise Usage(f"--first {first} is after --last {last}", do="give the earlier day first")
    return (first.isoformat() if first else None, last.isoformat() if last else None)


def summary(totals: dict[str, dict[str, int]]) -> str:
    """The law by table, as a small grid: only terms that occur."""
    shown = ["in", *[t for t in counting.TERMS if t == "out" or any(c.get(t) for c in totals.values())]]
    rows = [[name, *[counts.get(term, 0) for term in shown]] for name, counts in totals.items()]
    rows.append(["all", *[sum(c.get(term, 0) for c in totals.values()) for term in shown]])
    return grid(["table", *shown], rows)
