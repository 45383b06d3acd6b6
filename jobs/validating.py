"""The data gate: safe partitions that fulfil their suite are published; a day that does not stays proposed.

Spark makes a profile of every table by one group-by (one scan); `jobs.profiles` sets each day beside the days before
it, from their marks; Great Expectations judges the profile, a row a day, and writes Data Docs. Schema is checked on
every file before its mark is made, in `jobs.warehouse`. A refused day holds up no other, and is remembered: `--stale`
judges it again only once it was written again.
"""

import argparse
import os
import shutil
import threading
import time
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs import data_docs, expectations, profiles
from jobs.cleaning import bounds
from jobs.console import REFUSED, Problem, grid, narrate, say
from jobs.duck import engine
from jobs.expectations import Expectation
from jobs.spark import read, session, side_by_side
from jobs.tables import DELIVERED, WHOLE, table
from jobs.warehouse import Mark, Refusal, Warehouse, arrow_schema, home, in_threads, rows_of, warehouse

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

STEP = "validate"
BOUGHT = "kind = 'purchase' AND amount IS NOT NULL"
SHOWN = 10  # lines of refusals and warnings on screen
Profile = list[dict[str, Any]]
"""One row a day."""
Broken = dict[str, list[Expectation]]
"""Days, and the expectations that they break."""


def profile(spark: "SparkSession", house: Warehouse, name: str, marks: list[Mark]) -> Profile:
    """One row a day: rows, `off_mark`, repeated keys, faults, and what `jobs.profiles` keeps. Empty days have zeros."""
    from pyspark.sql import functions as F

    declared = table("safe", name)
    tests = {fault.column: fault.test for fault in expectations.faults(declared)}
    tests |= {f"no {column}": f"`{column}` is null" for column in expectations.emptiable(declared)}
    for column, values in expectations.SHARES.get(name, {}).items():
        tests |= {f"share:{column}={value}": f"`{column}` = '{value}'" for value in values}
    sums = [F.sum(F.expr(test).cast("long")).alias(column) for column, test in tests.items()]
    if name not in expectations.BIG:
        # 64 bits of hash: a day of a million keys shows a false repeat once in forty million runs.
        sums.append((F.count(F.lit(1)) - F.count_distinct(F.xxhash64(*declared.key))).alias("repeated"))
    if name == "interactions":
        sums.append(F.sum(F.when(F.expr(BOUGHT), (F.col("amount") * 100).cast("long"))).alias("cents"))
    rows = read(spark, house, "safe", name, marks)
    day = F.col("day").cast("string") if declared.dated else F.lit(WHOLE)
    grouped = rows.groupBy(day.alias("_d")).agg(F.count(F.lit(1)).alias("rows"), *sums).collect()
    found = {row["_d"]: row.asDict() for row in grouped}
    columns = ["rows", *tests]
    columns += ["repeated"] if name not in expectations.BIG else []
    columns += ["cents"] if name == "interactions" else []
    out = []
    for mark in marks:
        counted = {column: int(found.get(mark.day, {}).get(column) or 0) for column in columns}
        out.append({"day": mark.day, **counted, "off_mark": counted["rows"] - mark.rows})
    return out


# Beside other tables, and other days -----------------------------------------------------------------


def newest(house: Warehouse, name: str, first: str | None, last: str | None) -> list[Mark]:
    """A day's proposal, which is never older than what is published."""
    return house.marks("safe", name, first, last, "proposed")


def referring(house: Warehouse, name: str, marks: list[Mark]) -> dict[str, float]:
    """By day, the share of ids that refer to something that is not there, with `profiles.PRIOR` good ones added.

    Counts are made by DuckDB from two columns. Nothing is told of a shop that has no such table at all.
    """
    column, other, back = expectations.REFERS[name]
    days = [date.fromisoformat(mark.day) for mark in marks if mark.rows]
    if not days or not house.days("safe", other, "proposed"):
        return {}
    there = newest(house, other, (min(days) - timedelta(days=back)).isoformat(), max(days).isoformat())
    asks = "kind = 'click' AND" if name == "interactions" else ""
    with engine() as live:
        for view, zone_table, found in (("asking", name, marks), ("asked", other, there)):
            view_of(live, view, house, "safe", zone_table, found)
        rows = live.execute(
            f"""
            SELECT CAST(a.day AS VARCHAR), count(*), count(*) FILTER (
                WHERE b.id IS NULL OR b.first > a.day OR b.last < a.day - {back})
            FROM (SELECT DISTINCT day, {column} AS id FROM asking WHERE {asks} {column} IS NOT NULL) a
            LEFT JOIN (SELECT {column} AS id, min(day) AS first, max(day) AS last FROM asked GROUP BY 1) b USING (id)
            GROUP BY 1
            """  # noqa: S608  names of ours
        ).fetchall()
    return {day: round(lost / (asking + profiles.PRIOR), 4) for day, asking, lost in rows}


def cents_in_clean(house: Warehouse, marks: list[Mark]) -> dict[str, int]:
    """By day, what purchases come to in the clean partition that a safe one was made of; not if it was replaced."""
    named = {mark.day: [house.find(each) for each in mark.inputs if each.startswith("clean/")] for mark in marks}
    found = [each for of_day in named.values() for each in of_day if each is not None and each.table == "interactions"]
    with engine() as live:
        view_of(live, "cleaned", house, "clean", "interactions", found)
        rows = live.execute(
            f"SELECT CAST(day AS VARCHAR), sum(CAST(amount * 100 AS BIGINT)) FROM cleaned WHERE {BOUGHT} GROUP BY 1"  # noqa: S608
        ).fetchall()
    return {each.day: 0 for each in found} | {day: int(cents or 0) for day, cents in rows}


def view_of(live: Any, view: str, house: Warehouse, zone: str, name: str, marks: list[Mark]) -> None:
    """The rows of these partitions as a view of DuckDB."""
    files = ", ".join("'" + str(file).replace("'", "''") + "'" for file in house.files(marks))
    if files:
        live.execute(f"CREATE VIEW {view} AS SELECT * FROM read_parquet([{files}], hive_partitioning=false)")  # noqa: S608
    else:
        live.register(view, arrow_schema(table(zone, name)).empty_table())


def across(house: Warehouse, name: str, marks: list[Mark], rows: Profile) -> Profile:
    """The profile, with what other tables say of it."""
    lost = referring(house, name, marks) if name in expectations.REFERS else {}
    clean = cents_in_clean(house, marks) if name == "interactions" else {}
    out = []
    for row in rows:
        more: dict[str, Any] = {}
        if name in expectations.REFERS:
            more[f"lost:{expectations.REFERS[name][0]}"] = lost.get(row["day"])
        if name == "interactions":
            more["off_clean"] = row["cents"] - clean[row["day"]] if row["day"] in clean else None
        out.append({**row, **more})
    return out


def beside(house: Warehouse, name: str, marks: list[Mark], rows: Profile, last: str) -> Profile:
    """The profile, with how each day compares with those before it; `last` is the run's last day."""
    declared = table("safe", name)
    published = {mark.day: mark for mark in house.marks("safe", name)}
    if not declared.dated:
        before = published.get(WHOLE)
        share = rows[0]["rows"] / before.rows if before is not None and before.rows else None
        return [{**rows[0], "left": share}]
    history = {day: profiles.Profile.of(day, mark.rows, mark.notes) for day, mark in published.items()}
    open_days = {
        other: {mark.day for mark in newest(house, other, marks[0].day, marks[-1].day) if mark.rows}
        for other in expectations.EVERY_DAY
        if other != name
    }
    suite = [one for one in expectations.suite(name) if one.severity == "stop"]
    full = profiles.compared(
        declared,
        rows,
        history,
        sisters=lambda day: sum(day in days for days in open_days.values()),
        refused=lambda row: not all(one.holds(row.get(one.column)) for one in suite),
    )
    with_rows = [mark.day for mark in [*published.values(), *newest(house, name, None, last)] if mark.rows]
    newest_day = max((day for day in with_rows if day <= last), default=None)
    age = (date.fromisoformat(last) - date.fromisoformat(newest_day)).days if newest_day else None
    return [{**row, "age": age if row["day"] == newest_day else None} for row in full]


# Judging -----------------------------------------------------------------------------------------------


class Judge:
    """Great Expectations over profiles: one context, one set of Data Docs for a run."""

    def __init__(self, docs: Path) -> None:
        os.environ["GX_ANALYTICS_ENABLED"] = "false"
        warnings.filterwarnings("ignore", module="great_expectations")
        import great_expectations as gx
        from great_expectations.data_context.types.base import ProgressBarsConfig

        self.gx = gx
        self.context = gx.get_context(mode="ephemeral")
        self.context.variables.progress_bars = ProgressBarsConfig(globally=False)
        self.source = self.context.data_sources.add_pandas("profiles")
        for site in list(self.context.get_site_names()):
            self.context.delete_data_docs_site(site)
        shutil.rmtree(docs / data_docs.FOLDER, ignore_errors=True)
        self.context.add_data_docs_site(
            "docs",
            {
                "class_name": "SiteBuilder",
                "store_backend": {
                    "class_name": "TupleFilesystemStoreBackend",
                    "base_directory": str(docs / data_docs.FOLDER),
                },
                "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
                "show_how_to_buttons": False,
            },
        )

    def __call__(self, name: str, rows: Profile) -> tuple[Broken, Broken]:
        """Days that break an expectation of severity stop, and of severity warn."""
        import pandas as pd

        gx = self.gx
        expected = expectations.suite(name)
        built = gx.ExpectationSuite(name=name)
        for one in expected:
            built.add_expectation(
                gx.expectations.ExpectColumnValuesToBeBetween(
                    column=one.column,
                    min_value=one.least,
                    max_value=one.most,
                    notes=one.words,
                    severity="critical" if one.severity == "stop" else "warning",
                )
            )
        asset = self.source.add_dataframe_asset(name)
        batch = asset.add_batch_definition_whole_dataframe("days")
        self.context.suites.add(built)
        definition = self.context.validation_definitions.add(
            gx.ValidationDefinition(name=name, data=batch, suite=built)
        )
        checkpoint = self.context.checkpoints.add(
            gx.Checkpoint(
                name=name,
                validation_definitions=[definition],
                result_format={"result_format": "COMPLETE", "unexpected_index_column_names": ["day"]},
            )
        )
        frame = pd.DataFrame(rows)
        told = [column for column in frame.columns if column != "day"]
        frame[told] = frame[told].astype(float)  # what could not be told is NaN, which breaks nothing
        outcome = checkpoint.run(batch_parameters={"dataframe": frame})
        known = {(one.column, one.least, one.most): one for one in expected}
        stops: Broken = {}
        warns: Broken = {}
        for run in outcome.run_results.values():
            for result in run.results:
                given = result.expectation_config.kwargs
                one = known[given["column"], given.get("min_value"), given.get("max_value")]
                if not result.success:
                    if "unexpected_index_list" not in result.result:
                        raise Problem(f"the expectation '{one.words}' of {name} could not be computed")
                    for at in result.result["unexpected_index_list"]:
                        (stops if one.severity == "stop" else warns).setdefault(at["day"], []).append(one)
        return stops, warns

    def write(self) -> None:
        """Data Docs as static pages."""
        self.context.build_data_docs()


def unjudged(house: Warehouse, name: str, marks: list[Mark]) -> list[Mark]:
    """Proposals that `--stale` judges: neither published under this suite, nor refused under it, as they lie there."""
    published = {mark.day: mark for mark in house.marks("safe", name)}
    refused = house.refusals("safe", name, STEP)

    def settled(mark: Mark) -> bool:
        live = published.get(mark.day)
        suite = live.notes.get("validation", {}).get("suite") if live is not None else None
        passed = live is not None and (live.attempt, live.inputs, suite) == (
            mark.attempt,
            mark.inputs,
            expectations.VERSION,
        )
        return passed or (mark.day in refused and refused[mark.day].of == asked_of(mark))

    return [mark for mark in marks if not settled(mark)]


def asked_of(mark: Mark) -> tuple[str, ...]:
    """What a verdict is about: this writing of the partition, and this suite."""
    return (mark.attempt, f"suite@{expectations.VERSION}")


def run(args: argparse.Namespace) -> int:
    """`python -m jobs validate`: judge what is proposed, publish the good days; exit code 3 if a day is refused."""
    began = time.monotonic()
    house = warehouse(args.shop)
    first, last = bounds(args.first, args.last)
    chosen = {name: marks for name in DELIVERED if (marks := house.marks("safe", name, first, last, "proposed"))}
    if not any(map(rows_of, chosen.values())):
        raise Problem(
            f"shop '{args.shop}' has proposed nothing for these days",
            where=str(house.root / "safe"),
            do=f"run 'python -m jobs anonymise --shop {args.shop}' first",
        )
    last = last or max((mark.day for marks in chosen.values() for mark in marks if mark.day != WHOLE), default=WHOLE)
    if args.stale:
        chosen = {name: marks for name, found in chosen.items() if (marks := unjudged(house, name, found))}
        if not chosen:
            print("nothing is stale: every proposal was judged by this suite")
            still_refused(house)
            say(f"Next: python -m jobs aggregate --shop {args.shop} --stale")
            return 0
    docs = home() / args.shop / "docs"
    threading.Thread(target=import_module, args=("great_expectations",)).start()  # six seconds, while Spark starts

    def one(spark: "SparkSession", name: str) -> Profile:
        with narrate(f"profile {name}"):
            return across(house, name, chosen[name], profile(spark, house, name, chosen[name]))

    sizes = {name: rows_of(marks) for name, marks in chosen.items()}
    with session(STEP, rows=sum(sizes.values())) as spark:
        found = side_by_side(spark, one, sizes)
    verdicts = []
    with narrate("judge the profiles"):
        judge = Judge(docs)
        for name, marks in chosen.items():
            rows = beside(house, name, marks, found[name], last)
            verdicts.append(settle(house, name, marks, rows, *judge(name, rows), accepted=args.accept))
        judge.write()
        data_docs.write(house, docs)
    return told(args.shop, verdicts, docs, time.monotonic() - began)


@dataclass(frozen=True)
class Verdict:
    """What became of the days of one table."""

    table: str
    marks: list[Mark]
    stops: dict[str, list[str]]
    warns: dict[str, list[str]]


def settle(
    house: Warehouse, name: str, marks: list[Mark], rows: Profile, stops: Broken, warns: Broken, *, accepted: bool
) -> Verdict:
    """Publish the good days, remember the bad ones. `accepted`: what is only unlike other days is published, too."""
    if accepted:
        spared = {day: broken for day, broken in stops.items() if all(map(expectations.may_be_accepted, broken))}
        stops = {day: broken for day, broken in stops.items() if day not in spared}
        warns = {day: [*spared.get(day, []), *warns.get(day, [])] for day in {*spared, *warns}}
    by_day = {row["day"]: row for row in rows}
    verdict = Verdict(
        name,
        marks,
        {day: words(broken, by_day[day]) for day, broken in stops.items()},
        {day: words(broken, by_day[day]) for day, broken in warns.items()},
    )
    passed = [mark for mark in marks if mark.day not in stops]
    in_threads(lambda mark: publish(house, by_day[mark.day], verdict.warns.get(mark.day, []), mark), passed)
    for mark in passed:
        house.forgive("safe", name, STEP, mark.day)
    for mark in marks:
        if mark.day in stops:
            refusal = Refusal(STEP, mark.day, asked_of(mark), tuple(verdict.stops[mark.day]))
            house.refuse("safe", name, refusal)
    return verdict


def words(broken: Iterable[Expectation], row: Mapping[str, Any]) -> list[str]:
    """Expectations in words, with the value that broke them where it says more than that there is one."""
    return [f"{one.words}: {row[one.column]:g}" if row[one.column] != 1 else one.words for one in broken]


def publish(house: Warehouse, row: Mapping[str, Any], warned: list[str], mark: Mark) -> None:
    """Publish a partition that passed; the suite's result and the day's profile go into the mark."""
    note = {
        "suite": expectations.VERSION,
        "checks": len(expectations.suite(mark.table)),
        "warnings": warned,
        "profile": profiles.counted(table("safe", mark.table), dict(row)).note(),
    }
    house.publish(mark, {"validation": note})


def still_refused(house: Warehouse) -> None:
    """Say which days stay refused, though nobody asked again."""
    for name in DELIVERED:
        if days := sorted(house.refusals("safe", name, STEP)):
            say(f"note: {name} stays refused for {len(days)} days: {', '.join(days[:5])}")


def told(shop: str, verdicts: list[Verdict], docs: Path, seconds: float) -> int:
    """The table of what became of each day, the first refusals and warnings, and the exit code."""
    lines = []
    for verdict in verdicts:
        days, stops = len(verdict.marks), len(verdict.stops)
        checks = len(expectations.suite(verdict.table))
        lines.append([verdict.table, days, rows_of(verdict.marks), checks, days - stops, stops, len(verdict.warns)])
    print(grid(["table", "days", "rows", "checks", "published", "refused", "warned"], lines))
    say(f"{seconds:.0f} s; report {docs / 'index.html'}")
    warned = [f"{v.table} {day}: {'; '.join(b)}" for v in verdicts for day, b in sorted(v.warns.items())]
    refused = [f"{v.table} {day}: {'; '.join(b)}" for v in verdicts for day, b in sorted(v.stops.items())]
    for kind, found in (("warned", warned), ("refused", refused)):
        for line in found[:SHOWN]:
            say(f"{kind}: {line}")
        if len(found) > SHOWN:
            say(f"... and {len(found) - SHOWN} more {kind}; all are in the report")
    if refused:
        say(
            f"error: {len(refused)} partitions of shop '{shop}' broke their expectations and stay proposed. "
            f"To do: mend the source and run clean, anonymise and validate for these days again; or, where a day is "
            f"only unlike others and right all the same, 'python -m jobs validate --accept' for that day."
        )
        return REFUSED
    say(f"Next: python -m jobs aggregate --shop {shop}")
    return 0
