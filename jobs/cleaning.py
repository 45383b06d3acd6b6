"""raw -> clean: types, text, duplicates, clocks, orphans, robots; what is refused lies in quarantine with a reason.

One scan and one shuffle a table: every row is judged where it is read, rows of a day meet in one
task, sorted by key, and each row is written under its outcome (a day; a day and a reason). Rows of
the outcome `duplicate` are counted and dropped; refused rows are fetched whole from the raw table
and kept as JSON in quarantine. Counts come from the footers of written files.
"""

import argparse
import shutil
import time
from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from itertools import chain
from typing import TYPE_CHECKING

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from jobs import behaviour, counting, links, values
from jobs.cleaning_policy import Policy, load, path_of
from jobs.console import Problem, Refused, Usage, grid, narrate, say
from jobs.expectations import LIMITS
from jobs.pseudonyms import load_key
from jobs.spark import conform, ddl, filed, read, session, side_by_side, write
from jobs.tables import ADDED, DELIVERED, LINKS, WHOLE, Table, table, text_column
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
    "internal": "{column}: one of the shop's own people, by the cleaning policy",
    "robot": "{column}: browsed that day as no person does, by the cleaning policy",
    "unmatched": "{column}: nothing was bought that could come back",
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
    robots: DataFrame | None = None,
    chinese: tuple[str, str] | None = None,
) -> DataFrame:
    """Shaped rows with `_why`: null, or `reason~column`.

    `known` holds, by column, the shop's ids (`_id`) and the id under which each is kept (`_kept`), which takes its
    place; `robots` who browsed as no person does (visitor_id, day).
    """
    rows = shaped(raw, declared, chinese).withColumn("_why", why(declared, policy))
    if robots is not None and declared.dated and "visitor_id" in declared.names:
        who = robots.select(F.col("visitor_id").alias("_v"), F.col("day").alias("_d"), F.lit(True).alias("_robot"))
        rows = rows.join(F.broadcast(who), (F.col("visitor_id") == F.col("_v")) & (F.col("day") == F.col("_d")), "left")
        seen = F.when(F.col("_robot") & behaviour.browsing(declared.name), _fault("robot", "visitor_id"))
        rows = rows.withColumn("_why", F.coalesce("_why", seen)).drop("_v", "_d", "_robot")
    for column, ids in known.items():
        rows = rows.join(F.broadcast(ids), F.col(column) == F.col("_id"), "left")
        orphan = F.when(F.col("_kept").isNull(), _fault("orphan", column))
        rows = rows.withColumns({"_why": F.coalesce("_why", orphan), column: F.coalesce("_kept", column)})
        rows = rows.drop("_id", "_kept")
    return rows.drop("_unreadable", *[c for c in rows.columns if c.startswith("_had_")])


def without_purchase(rows: DataFrame, lonely: DataFrame) -> DataFrame:
    """Judged rows, those named by `lonely` (source_file, source_row) refused."""
    named = lonely.select(
        F.col("source_file").alias("_f"), F.col("source_row").alias("_r"), F.lit(True).alias("_lonely")
    )
    same = (F.col("source_file") == F.col("_f")) & (F.col("source_row") == F.col("_r"))
    told = F.when(F.col("_lonely"), _fault("unmatched", "kind"))
    joined = rows.join(F.broadcast(named), same, "left")
    return joined.withColumn("_why", F.coalesce("_why", told)).drop("_f", "_r", "_lonely")


def settled(rows: DataFrame, declared: Table, tasks: int, policy: Policy) -> DataFrame:
    """Judged rows with `_day`, the outcome: DAY for a clean row, DAY~duplicate, or DAY~reason~column.

    Of rows with one key on one day the first by (source_file, source_row) stays. Rows that equal it
    in every delivered column are duplicates; others are conflicts. The only shuffle is by day.
    """
    by_day = ["day"] if declared.dated else []
    rows = rows.withColumn("_good", F.col("_why").isNull())
    rows = rows.repartition(tasks, *by_day) if by_day else rows.coalesce(1)
    if declared.name == "searches":
        rows = behaviour.visits(rows, policy)
    key = Window.partitionBy(*by_day, "_good", *declared.key).orderBy("source_file", "source_row")
    others = [c.name for c in declared.columns if c.name not in (*ADDED, *declared.key)]
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
    columns = [c for c in raw.columns if c not in ADDED]
    faults = {(reason, column) for _, reason, column in outcomes(attempt) if reason not in ("", "duplicate")}
    words = [(F.lit(f"{r}{SPLIT}{c}"), F.lit(detail(declared.name, r, c))) for r, c in sorted(faults)]
    told = F.create_map(*chain.from_iterable(words))
    return raw.join(refused, (F.col("source_file") == F.col("_f")) & (F.col("source_row") == F.col("_r"))).select(
        F.lit(STEP).alias("step"),
        F.col("_o")[1].alias("reason"),
        told[F.concat_ws(SPLIT, F.col("_o")[1], F.col("_o")[2])].alias("detail"),
        F.to_json(F.struct(*columns), {"ignoreNullFields": "true"}).alias("row"),
        *[n for n in ADDED if n in raw.columns and n != "day"],
        (F.col("day") if declared.dated else F.to_date("known_time")).alias("day"),
    )


def law(
    marks: Iterable[Mark],
    found: dict[tuple[str, str, str], int],
    kept: dict[str, int],
    out: dict[str, int],
    merged: int = 0,
) -> dict[str, dict[str, int]]:
    """The terms by day: in from the raw marks, the others from written files.

    `kept` counts the quarantine files by day and `out` the clean ones; reasons come from the outcomes. Two ways to
    the same number.
    """
    by_day = {}
    for mark in marks:
        reasons: dict[str, int] = {}
        for (day, reason, _), rows in found.items():
            if day == mark.day and reason not in ("", "duplicate"):
                reasons[reason] = reasons.get(reason, 0) + rows
        by_day[mark.day] = counting.terms(
            mark.rows,
            out=out.get(mark.day, 0),
            duplicates=found.get((mark.day, "duplicate", ""), 0),
            quarantined=kept.get(mark.day, 0),
            merged=merged,
            reasons=reasons,
        )
    return by_day


def check_limits(shop: str, name: str, policy: Policy, rows: int, found: dict[tuple[str, str, str], int]) -> None:
    """`Refused` if more rows than the policy bears were refused for one reason: then something else is wrong."""
    faults: dict[str, dict[str, int]] = {}
    for (_, reason, column), count in found.items():
        if reason not in ("", "duplicate"):
            columns = faults.setdefault(reason, {})
            columns[column] = columns.get(column, 0) + count
    for reason, columns in sorted(faults.items()):
        count, most = sum(columns.values()), max(columns, key=lambda column: (columns[column], column))
        if rows >= policy.refused_from and count > policy.most(reason) * rows:
            days = sorted(day for day, why, _ in found if why == reason)
            raise Refused(
                f"{count:,} of {rows:,} rows of {name} are refused: {reason}, mostly '{detail(name, reason, most)}'",
                where=f"{len(days)} days, first {days[0]}; nothing of {name} was published",
                do=f"mend the source; or, if it is meant so, raise 'refused' for '{reason}' in {path_of(shop)}",
            )


# The step -------------------------------------------------------------------------------------


class Cleaner:
    """One run over one shop: what every table needs."""

    def __init__(self, spark: "SparkSession", house: Warehouse):
        self.house, self.policy = house, load(house.shop)
        self.chinese = values.simplified_pairs(spark) if self.policy.simplify else None
        self.watched: list[Mark] = []
        self.robots: list[tuple[str, date]] = []

    def watch(self, spark: "SparkSession", days: Iterable[str]) -> None:
        """Find out who browsed as no person does on these days; to be called before their tables are cleaned."""
        wanted = set(days)
        by_table = {
            name: [mark for mark in self.house.marks("raw", name) if mark.day in wanted and mark.rows]
            for name in ("searches", "interactions")
        }
        seen = {name: read(spark, self.house, "raw", name, marks) for name, marks in by_table.items() if marks}
        found = behaviour.robots(seen.get("searches"), seen.get("interactions"), self.policy)
        self.watched = [mark for marks in by_table.values() for mark in marks]
        self.robots = [] if found is None else sorted((row["visitor_id"], row["day"]) for row in found.collect())

    def known(self, spark: "SparkSession", declared: Table) -> tuple[dict[str, DataFrame], list[Mark]]:
        """The shop's clean ids for each column that must be one of them, the merged ones under the id that is kept;
        none if the shop delivers no such table. And the marks that they came from."""
        known: dict[str, DataFrame] = {}
        judges: list[Mark] = []
        for column, owner in OWNERS.items():
            if column in declared.names and declared.name != owner and self.house.days("raw", owner):
                marks, linked = self.house.marks("clean", owner), self.house.marks("clean", LINKS[owner])
                ids = read(spark, self.house, "clean", owner, marks).select(column)
                merged = read(spark, self.house, "clean", LINKS[owner], linked).where("merged")
                known[column] = ids.select(F.col(column).alias("_id"), F.col(column).alias("_kept")).unionByName(
                    merged.select(F.col(column).alias("_id"), F.col("kept_id").alias("_kept"))
                )
                judges += [*marks, *linked]
        return known, judges

    def lonely(self, spark: "SparkSession", rows: DataFrame, marks: Sequence[Mark]) -> DataFrame | None:
        """Returns and cancellations without a purchase, if there are any at all."""
        back = rows.where(F.col("kind").isin(*behaviour.BACK) & F.col("_why").isNull()).cache()
        if back.isEmpty():
            return None
        first = date.fromisoformat(marks[0].day) - timedelta(days=self.policy.return_days)
        before = self.house.marks("raw", "interactions", first.isoformat(), marks[-1].day)
        bought = read(spark, self.house, "raw", "interactions", before).where(F.trim("kind") == "purchase")
        declared = table("clean", "interactions")
        known, _ = self.known(spark, declared)
        purchases = judged(bought, declared, known, self.policy).where("_why is null")
        return behaviour.unmatched(back, purchases, self.policy)

    def table(self, spark: "SparkSession", name: str, marks: list[Mark]) -> dict[str, int]:
        """Clean one table for the days of `marks`, publish them, and return the law's terms added up."""
        house, declared = self.house, table("clean", name)
        raw = read(spark, house, "raw", name, marks)
        known, judges = self.known(spark, declared)
        tasks = max(2, min(200, rows_of(marks) // ROWS_A_TASK + 1))
        robots = spark.createDataFrame(self.robots, "visitor_id string, day date") if self.robots else None
        rows = judged(raw, declared, known, self.policy, robots, self.chinese)
        if name == "interactions" and (lonely := self.lonely(spark, rows, marks)) is not None:
            rows = without_purchase(rows, lonely)
        with house.attempt("clean", name) as attempt, house.attempt("quarantine", f"{STEP}.{name}") as refused:
            write(settled(rows, declared, tasks, self.policy), attempt)
            found = outcomes(attempt)
            check_limits(house.shop, name, self.policy, rows_of(marks), found)
            bad_days = {day for day, reason, _ in found if reason not in ("", "duplicate")}
            if bad_days:
                there = read(spark, house, "raw", name, [m for m in marks if m.day in bad_days])
                write(filed(refused_rows(spark, there, attempt, declared), table("quarantine", refused.table)), refused)
            kept = {day: count for (day, _, _), count in outcomes(refused).items()}
            for folder in attempt.path.glob(f"{DAY_FOLDER}=*{SPLIT}*"):
                shutil.rmtree(folder)
            merged = self.merge(spark, name, attempt, marks) if name in LINKS else 0
            out = {day: count for (day, _, _), count in outcomes(attempt).items()}
            by_day = law(marks, found, kept, out, merged)
            counting.check(STEP, name, by_day)
            inputs = {mark.day: [mark] for mark in marks}
            stale = set(house.days("quarantine", f"{STEP}.{name}"))
            house.propose_days(refused, [d for d in inputs if d in bad_days or d in stale], step=STEP, inputs=inputs)
            watched = [m for m in self.watched if robots is not None and "visitor_id" in declared.names]
            judged_by = {
                day: [*own, *judges, *[m for m in watched if m.day == day and m.table != name]]
                for day, own in inputs.items()
            }
            notes = {day: {"policy": self.policy.sha256} for day in inputs}
            house.propose_days(attempt, inputs, step=STEP, counts=by_day, inputs=judged_by, notes=notes)
        return counting.total(by_day.values())

    def merge(self, spark: "SparkSession", name: str, attempt: Attempt, marks: list[Mark]) -> int:
        """List which clean rows are about the same thing, and, if the policy says so, keep the fullest of them only.
        Returns how many were merged away."""
        wanted = getattr(self.policy, name)
        column, declared = next(c for c, owner in OWNERS.items() if owner == name), table("clean", LINKS[name])
        merges = wanted == "merge"
        with self.house.attempt("clean", LINKS[name]) as listed:
            if wanted != "off" and outcomes(attempt):
                rows = spark.read.schema(ddl(table("clean", name))).parquet(str(attempt.folder(WHOLE)))
                pairs = (
                    links.item_pairs(rows, self.policy.likeness)
                    if name == "items"
                    else links.visitor_pairs(rows, links.salt(load_key(self.house.shop)))
                )
                found = links.linked(rows, pairs, column).withColumn("merged", F.lit(merges))
                write(filed(found, declared), listed)
            count = sum(outcomes(listed).values())
            if merges and count:
                with self.house.attempt("clean", name) as rest:
                    gone = spark.read.parquet(str(listed.folder(WHOLE))).select(column)
                    left = rows.join(F.broadcast(gone), column, "left_anti")
                    write(filed(left, table("clean", name)), rest)
                    shutil.rmtree(attempt.folder(WHOLE))
                    rest.folder(WHOLE).rename(attempt.folder(WHOLE))
                    shutil.rmtree(rest.path)
            self.house.propose_days(listed, [WHOLE], step=STEP, inputs={WHOLE: marks})
        return count if merges else 0


def stale(house: Warehouse, name: str, marks: Iterable[Mark], policy: Policy) -> list[Mark]:
    """The raw partitions whose clean one is missing, was made of other rows or by another policy, or lacks rows that
    named an item or a visitor which has been delivered since (within the policy's days of grace)."""
    judges = {
        mark.name
        for column, owner in OWNERS.items()
        if column in table("clean", name).names and owner != name
        for mark in house.marks("clean", owner)
    }
    days = house.days("raw", name)
    newest = max((day for day in days if day != WHOLE), default=None)
    grace = (date.fromisoformat(newest) - timedelta(days=policy.grace_days)).isoformat() if newest else ""

    def fresh(raw: Mark) -> bool:
        done = house.mark("clean", name, raw.day)
        if done is None or raw.name not in done.inputs or done.notes.get("policy") != policy.sha256:
            return False
        waiting = done.counts.get(f"{counting.REASON}orphan", 0) and raw.day >= grace
        return not waiting or judges <= set(done.inputs)

    return [mark for mark in marks if not fresh(mark)]


def run(args: argparse.Namespace) -> int:
    """`python -m jobs clean`: every delivered table, items and visitors first, for a range of days."""
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
    clean(house, chosen, only_stale=args.stale)
    say(f"Refused rows, by reason: python -m jobs quarantine --shop {args.shop}")
    say(f"Next: python -m jobs anonymise --shop {args.shop}")
    return 0


def clean(house: Warehouse, chosen: dict[str, list[Mark]], *, only_stale: bool = False) -> dict[str, dict[str, int]]:
    """Clean these raw partitions, the owners of ids first, and print the law; returns its terms by table."""
    began = time.monotonic()
    policy = load(house.shop)

    def due(tables: Iterable[str]) -> dict[str, list[Mark]]:
        """What is to be done of these tables, as far as it can be told now."""
        wanted = {name: stale(house, name, chosen[name], policy) if only_stale else chosen[name] for name in tables}
        return {name: marks for name, marks in wanted.items() if marks}

    owners = [name for name in chosen if name in OWNERS.values()]
    others = [name for name in chosen if name not in owners]
    if only_stale and not due(chosen):
        say("every clean partition is up to date: nothing to do")
        return {}
    rows = sum(map(rows_of, due(chosen).values()))
    with session(STEP, rows=rows, **{"spark.sql.adaptive.enabled": "true"}) as spark:
        work = Cleaner(spark, house)
        totals: dict[str, dict[str, int]] = {}
        for tables in (owners, others):
            wanted = due(tables)
            if tables is others:
                work.watch(spark, {mark.day for marks in wanted.values() for mark in marks} - {WHOLE})

            def one(spark: "SparkSession", name: str, wanted: dict[str, list[Mark]] = wanted) -> dict[str, int]:
                with narrate(f"clean {name}"):
                    return work.table(spark, name, wanted[name])

            totals |= side_by_side(spark, one, {name: rows_of(marks) for name, marks in wanted.items()})
    print(summary(totals))
    say(f"{time.monotonic() - began:.0f} s; clean tables lie in {house.root / 'clean'}")
    return totals


def refusals(house: Warehouse, tables: Iterable[str], reason: str | None) -> dict[tuple[str, str], dict[str, int]]:
    """Quarantined rows by (table, reason) and day, from the marks."""
    found: dict[tuple[str, str], dict[str, int]] = {}
    for name in tables:
        for mark in house.marks("clean", name):
            for why, rows in counting.reasons(mark.counts).items():
                if reason in (None, why):
                    found.setdefault((name, why), {})[mark.day] = rows
    return found


def replay(args: argparse.Namespace) -> int:
    """`python -m jobs quarantine --replay`: after a fix, send refused rows through again, with all rows of their days:
    a row that passes takes its place among the others as if it had never been refused."""
    house = warehouse(args.shop)
    tables = [args.table] if args.table else list(DELIVERED)
    before = refusals(house, tables, args.reason)
    if not before:
        say("nothing is in quarantine" + (" for this table or reason" if args.table or args.reason else ""))
        return 0
    days = {name: {day for (of, _), by_day in before.items() if of == name for day in by_day} for name, _ in before}
    clean(house, {name: [m for m in house.marks("raw", name) if m.day in wanted] for name, wanted in days.items()})
    after = refusals(house, days, args.reason)
    rows = []
    for name, why in sorted({*before, *after}):
        was, now = (sum(by.get((name, why), {}).values()) for by in (before, after))
        rows.append([name, why, was, now, was - now])
    print(grid(["table", "reason", "refused before", "refused now", "passed now"], rows))
    say(f"Next: python -m jobs anonymise --shop {args.shop} --stale")
    return 0


def bounds(first: date | None, last: date | None) -> tuple[str | None, str | None]:
    """The range as ISO text; a `Problem` if it runs backwards."""
    if first and last and first > last:
        raise Usage(f"--first {first} is after --last {last}", do="give the earlier day first")
    return (first.isoformat() if first else None, last.isoformat() if last else None)


def summary(totals: dict[str, dict[str, int]]) -> str:
    """The law by table, as a small grid: only terms that occur."""
    shown = ["in", *[t for t in counting.TERMS if t == "out" or any(c.get(t) for c in totals.values())]]
    rows = [[name, *[counts.get(term, 0) for term in shown]] for name, counts in totals.items()]
    rows.append(["all", *[sum(c.get(term, 0) for c in totals.values()) for term in shown]])
    return grid(["table", *shown], rows)
