"""raw -> clean: types, text, duplicates, clocks, orphans, robots; what is refused lies in quarantine with a reason.

One scan and one shuffle a table: every row is judged where it is read, rows of a day meet in one
task, sorted by key, and each row is written under its outcome (a day; a day and a reason). Rows of
the outcome `duplicate` are counted and dropped; refused rows are fetched whole from the raw table
and kept as JSON in quarantine. Counts come from the footers of written files.
"""

import argparse
import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from itertools import chain
from typing import TYPE_CHECKING

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs import behaviour, counting, links, values
from jobs.cleaning_policy import Policy, load, path_of
from jobs.console import Problem, Refused, Usage, grid, narrate, say
from jobs.judging import CORRECTED, SPLIT, detail, judged, settled
from jobs.pseudonyms import load_key
from jobs.spark import filed, read, session, side_by_side, write, write_file
from jobs.tables import ADDED, DELIVERED, LINKS, WHOLE, Table, table
from jobs.warehouse import (
    DAY_FOLDER,
    Attempt,
    Mark,
    Refusal,
    Warehouse,
    arrow_schema,
    code_version,
    rows_of,
    schema_fingerprint,
    warehouse,
)

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

STEP = "clean"
ROWS_A_TASK = 300_000  # days share a task up to here: sorted in memory on a small machine


OWNERS = {"item_id": "items", "visitor_id": "visitors"}
"""Ids, and the table that says which there are: cleaned before the tables that name them."""

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


def over_limit(
    name: str, policy: Policy, rows: dict[str, int], found: dict[tuple[str, str, str], int]
) -> dict[str, tuple[str, ...]]:
    """The days on which more rows than the policy bears were refused for one reason, and why, in words.

    A day of at least `refused_from` rows is judged by itself; if all days are shorter, they are judged together. Pure.
    """
    long = [day for day in rows if rows[day] >= policy.refused_from]
    parts = [[day] for day in long] if long else [list(rows)] if sum(rows.values()) >= policy.refused_from else []
    over: dict[str, tuple[str, ...]] = {}
    for days in parts:
        total, faults = sum(rows[day] for day in days), dict[str, dict[str, int]]()
        for (day, reason, column), count in found.items():
            if day in days and reason not in ("", "duplicate", CORRECTED):
                columns = faults.setdefault(reason, {})
                columns[column] = columns.get(column, 0) + count
        why = []
        for reason, columns in sorted(faults.items()):
            count, most = sum(columns.values()), max(columns, key=lambda column: (columns[column], column))
            if count > policy.most(reason) * total:
                why.append(f"{count:,} of {total:,} rows refused: {reason}, mostly '{detail(name, reason, most)}'")
        if why:
            over |= dict.fromkeys(days, tuple(why))
    return over


# The step -------------------------------------------------------------------------------------


class Cleaner:
    """One run over one shop: what every table needs."""

    def __init__(self, spark: "SparkSession", house: Warehouse):
        self.house, self.policy = house, load(house.shop)
        self.chinese = values.simplified_pairs(spark) if self.policy.simplify else None
        self.robots: list[tuple[str, date]] = []

    def watch(self, days: Iterable[str]) -> None:
        """Find out who browsed as no person does on these days; to be called before their tables are cleaned."""
        wanted = set(days)
        marks = {
            name: [mark for mark in self.house.marks("raw", name) if mark.day in wanted and mark.rows]
            for name in ("searches", "interactions")
        }
        files = {name: self.house.files(found) for name, found in marks.items()}
        self.robots = behaviour.robots(files["searches"], files["interactions"], self.policy)

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
                # A kill between the two tables leaves a merged row among the ids still: each id must be here once.
                ids = ids.join(F.broadcast(merged), column, "left_anti")
                known[column] = ids.select(F.col(column).alias("_id"), F.col(column).alias("_kept")).unionByName(
                    merged.select(F.col(column).alias("_id"), F.col("kept_id").alias("_kept"))
                )
                judges += [*marks, *linked]
        return known, judges

    def lonely(self, marks: Sequence[Mark]) -> list[tuple[str, int]]:
        """Returns and cancellations without a purchase before them, by file and row."""
        reach = within_return(self.house, marks[0].day, marks[-1].day, self.policy)
        merged = [
            (owner, row[column], row["kept_id"])
            for column, owner in OWNERS.items()
            for row in self.house.read("clean", LINKS[owner]).to_pylist()
            if row["merged"]
        ]
        return behaviour.unmatched(self.house.files(reach), marks[0].day, marks[-1].day, merged, self.policy)

    def table(self, spark: "SparkSession", name: str, marks: list[Mark]) -> dict[str, int]:
        """Clean one table for the days of `marks`, publish them, and return the law's terms added up."""
        house, declared = self.house, table("clean", name)
        raw = read(spark, house, "raw", name, marks)
        known, judges = self.known(spark, declared)
        tasks = max(2, min(200, rows_of(marks) // ROWS_A_TASK + 1))
        lonely = self.lonely(marks) if name == "interactions" else []
        rows = judged(raw, declared, known, self.policy, robots=self.robots, lonely=lonely, chinese=self.chinese)
        with house.attempt("clean", name) as attempt, house.attempt("quarantine", f"{STEP}.{name}") as refused:
            write(settled(rows, declared, tasks, self.policy, delivered=house.delivered), attempt)
            found = outcomes(attempt)
            over = over_limit(name, self.policy, {mark.day: mark.rows for mark in marks}, found)
            bad_days = {day for day, reason, _ in found if reason not in ("", "duplicate")}
            if bad_days:
                there = read(spark, house, "raw", name, [m for m in marks if m.day in bad_days])
                write(filed(refused_rows(spark, there, attempt, declared), table("quarantine", refused.table)), refused)
            kept = {day: count for (day, _, _), count in outcomes(refused).items()}
            for folder in attempt.path.glob(f"{DAY_FOLDER}=*{SPLIT}*"):
                shutil.rmtree(folder)
            merged = self.merge(name, attempt, marks) if name in LINKS and not over else 0
            out = {day: count for (day, _, _), count in outcomes(attempt).items()}
            by_day = law(marks, found, kept, out, merged)
            counting.check(STEP, name, by_day)
            good = [mark for mark in marks if mark.day not in over]
            inputs = {mark.day: [mark] for mark in good}
            for day in over:
                shutil.rmtree(attempt.folder(day), ignore_errors=True)
                shutil.rmtree(refused.folder(day), ignore_errors=True)
            stale = set(house.days("quarantine", f"{STEP}.{name}"))
            house.propose_days(refused, [d for d in inputs if d in bad_days or d in stale], step=STEP, inputs=inputs)
            rests = {mark.day: [*judges, *rests_on(house, name, mark, by_day[mark.day], self.policy)] for mark in good}
            house.propose_days(attempt, inputs, step=STEP, counts=by_day, inputs=rests, keep=True)
        for day in inputs:
            house.forgive("clean", name, STEP, day)
        if over:
            self.refuse(name, marks, over)
        return counting.total(by_day.values())

    def refuse(self, name: str, marks: Iterable[Mark], over: dict[str, tuple[str, ...]]) -> None:
        """Remember the days that are refused, and raise `Refused`."""
        for mark in marks:
            if mark.day in over:
                asked = refused_as(mark, self.policy)
                self.house.refuse("clean", name, Refusal(STEP, mark.day, asked, over[mark.day]))
        day, why = next(iter(sorted(over.items())))
        raise Refused(
            f"{name}: {'; '.join(why)}",
            where=f"{len(over)} of its days, first {day}, which were not published",
            do=f"mend the source; or, if it is meant so, raise 'refused' of this reason in {path_of(self.house.shop)}",
        )

    def merge(self, name: str, attempt: Attempt, marks: list[Mark]) -> int:
        """List which clean rows are about the same thing, and, if the policy says so, keep the fullest of them only.
        Returns how many were merged away."""
        wanted, declared, count = getattr(self.policy, name), table("clean", LINKS[name]), 0
        files = sorted(attempt.folder(WHOLE).glob("*.parquet"))
        with self.house.attempt("clean", declared.name) as listed:
            if wanted != "off" and files:
                key = links.salt(load_key(self.house.shop))
                found = links.links(files, table("clean", name), likeness=self.policy.likeness, salt=key)
                count = found.num_rows
                told = found.append_column("merged", pa.array([wanted == "merge"] * count, pa.bool_()))
                if count:
                    rows = iter(told.select(list(declared.names)).to_batches())
                    write_file(listed.folder(WHOLE) / "part-00000.parquet", arrow_schema(declared), rows)
                if count and wanted == "merge":  # the table is one file, which is replaced by what is left of it
                    (whole,), id = files, declared.key[0]
                    left = links.without([whole], id, found[id].to_pylist())
                    write_file(whole, arrow_schema(table("clean", name)), left)
            self.house.propose_days(listed, [WHOLE], step=STEP, inputs={WHOLE: marks})
        return count if wanted == "merge" else 0


def within_return(house: Warehouse, first: str, last: str, policy: Policy) -> list[Mark]:
    """Raw interactions of these days, and of those before them from which something can still come back."""
    earliest = date.fromisoformat(first) - timedelta(days=policy.return_days)
    return house.marks("raw", "interactions", earliest.isoformat(), last)


def setting(policy: Policy) -> str:
    """How the policy stands among the inputs."""
    return f"policy/cleaning/{WHOLE}@{policy.sha256}"


def refused_as(raw: Mark, policy: Policy) -> tuple[str, ...]:
    """What a refusal is about: the rows, the policy, and the code that refused them."""
    return (raw.name, setting(policy), f"code@{code_version()}")


def rests_on(house: Warehouse, name: str, raw: Mark, counts: Mapping[str, int], policy: Policy) -> list[Mark | str]:
    """What a clean partition hangs on, beside the ids that the shop has: if one of these changes, it is stale.

    Its raw rows and the policy; where robots leave rows, whatever tells robots of that day; and if a return waited for
    its purchase, every day on which that may lie.
    """
    watched = [
        mark
        for other in ("searches", "interactions")
        if name in behaviour.BROWSED and (mark := house.mark("raw", other, raw.day)) is not None and mark.rows
    ]
    lonely = counts.get(f"{counting.REASON}unmatched", 0)
    before = within_return(house, raw.day, raw.day, policy) if name == "interactions" and lonely else []
    return [raw, setting(policy), *watched, *before]


def stale(house: Warehouse, name: str, marks: Iterable[Mark], policy: Policy) -> list[Mark]:
    """The raw partitions whose clean one is missing, was made of something else (`rests_on`), or lacks rows that
    named an item or a visitor which has been delivered since (within the policy's days of grace). Not those that were
    refused as they are, nor those that were retired."""
    judges = {
        mark.name
        for column, owner in OWNERS.items()
        if column in table("clean", name).names and owner != name
        for mark in house.marks("clean", owner)
    }
    days = house.days("raw", name)
    newest = max((day for day in days if day != WHOLE), default=None)
    grace = (date.fromisoformat(newest) - timedelta(days=policy.grace_days)).isoformat() if newest else ""

    known, retired = house.refusals("clean", name, STEP), house.retired("clean")

    def fresh(raw: Mark) -> bool:
        if raw.day < retired or (raw.day in known and known[raw.day].of == refused_as(raw, policy)):
            return True
        done = house.mark("clean", name, raw.day)
        if done is None or done.schema != schema_fingerprint(table("clean", name)):
            return False
        needed = {i if isinstance(i, str) else i.name for i in rests_on(house, name, raw, done.counts, policy)}
        if done.counts.get(f"{counting.REASON}orphan", 0) and raw.day >= grace:
            needed |= judges
        return needed <= set(done.inputs)

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
    with session(STEP, rows=rows) as spark:
        work = Cleaner(spark, house)
        totals: dict[str, dict[str, int]] = {}
        refused: list[Refused] = []
        for tables in (owners, others):
            wanted = due(tables)
            if tables is others:
                work.watch({mark.day for marks in wanted.values() for mark in marks} - {WHOLE})

            def one(spark: "SparkSession", name: str, wanted: dict[str, list[Mark]] = wanted) -> dict[str, int]:
                with narrate(f"clean {name}"):
                    try:
                        return work.table(spark, name, wanted[name])
                    except Refused as fault:
                        refused.append(fault)
                        return {}

            totals |= side_by_side(spark, one, {name: rows_of(marks) for name, marks in wanted.items()})
            if refused and tables is owners:
                break  # every other table would be judged by ids that are no longer the shop's
    print(summary(totals))
    say(f"{time.monotonic() - began:.0f} s; clean tables lie in {house.root / 'clean'}")
    for fault in refused[1:]:
        say(f"error: {fault}")
    if refused:
        raise refused[0]
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
