"""The data gate: safe partitions that fulfil their suite are published; a day that does not stays proposed.

Spark makes a profile of every table by one group-by (one scan); Great Expectations judges the
profile, a row a day, and writes Data Docs. Schema is checked on every file before its mark is made,
in `jobs.warehouse`.
"""

import argparse
import os
import shutil
import threading
import time
import warnings
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs import expectations
from jobs.cleaning import bounds
from jobs.console import REFUSED, Problem, grid, narrate, say
from jobs.spark import read, session, side_by_side
from jobs.tables import DELIVERED, WHOLE, table
from jobs.warehouse import Mark, Warehouse, home, in_threads, rows_of, warehouse

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

STEP = "validate"
Profile = list[dict[str, Any]]
Broken = dict[str, list[str]]
"""Days, and the words of the expectations that they break."""


def profile(spark: "SparkSession", house: Warehouse, name: str, marks: list[Mark]) -> Profile:
    """One row a day: `rows`, `off_mark`, `repeated` keys, and the faults of `expectations`. Empty days have zeros."""
    from pyspark.sql import functions as F

    declared = table("safe", name)
    faults = expectations.faults(declared)
    sums = [F.sum(F.expr(fault.test).cast("long")).alias(fault.column) for fault in faults]
    if name not in expectations.BIG:
        # 64 bits of hash: a day of a million keys shows a false repeat once in forty million runs.
        sums.append((F.count(F.lit(1)) - F.count_distinct(F.xxhash64(*declared.key))).alias("repeated"))
    rows = read(spark, house, "safe", name, marks)
    day = F.col("day").cast("string") if declared.dated else F.lit(WHOLE)
    found = {
        row["_d"]: row.asDict()
        for row in rows.groupBy(day.alias("_d")).agg(F.count(F.lit(1)).alias("rows"), *sums).collect()
    }
    columns = ["rows", *[fault.column for fault in faults], *([] if name in expectations.BIG else ["repeated"])]
    out = []
    for mark in marks:
        counted = {column: int(found.get(mark.day, {}).get(column) or 0) for column in columns}
        out.append({"day": mark.day, **counted, "off_mark": counted["rows"] - mark.rows})
    return out


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
        shutil.rmtree(docs, ignore_errors=True)
        self.context.add_data_docs_site(
            "docs",
            {
                "class_name": "SiteBuilder",
                "store_backend": {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(docs)},
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
        outcome = checkpoint.run(batch_parameters={"dataframe": pd.DataFrame(rows)})
        words = {one.column: one for one in expected}
        stops: Broken = {}
        warns: Broken = {}
        for run in outcome.run_results.values():
            for result in run.results:
                one = words[result.expectation_config.kwargs["column"]]
                if not result.success:
                    if "unexpected_index_list" not in result.result:
                        raise Problem(f"the expectation '{one.words}' of {name} could not be computed")
                    for at in result.result["unexpected_index_list"]:
                        (stops if one.severity == "stop" else warns).setdefault(at["day"], []).append(one.words)
        return stops, warns

    def write(self) -> None:
        """Data Docs as static pages."""
        self.context.build_data_docs()


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
    docs = home() / args.shop / "docs"
    threading.Thread(target=import_module, args=("great_expectations",)).start()  # six seconds, while Spark starts

    def one(spark: "SparkSession", name: str) -> Profile:
        with narrate(f"profile {name}"):
            return profile(spark, house, name, chosen[name])

    sizes = {name: rows_of(marks) for name, marks in chosen.items()}
    with session(STEP, rows=sum(sizes.values())) as spark:
        profiles = side_by_side(spark, one, sizes)
    lines, refused = [], []
    with narrate("judge the profiles"):
        judge = Judge(docs)
        for name, marks in chosen.items():
            stops, warns = judge(name, profiles[name])
            passed = [mark for mark in marks if mark.day not in stops]
            in_threads(partial(publish, house, len(expectations.suite(name)), warns), passed)
            refused += [f"{name} {day}: {'; '.join(words)}" for day, words in sorted(stops.items())]
            checks = len(expectations.suite(name))
            lines.append([name, len(marks), rows_of(marks), checks, len(marks) - len(stops), len(stops), len(warns)])
        judge.write()
    print(grid(["table", "days", "rows", "checks", "published", "refused", "warned"], lines))
    say(f"{time.monotonic() - began:.0f} s; report {docs / 'index.html'}")
    if refused:
        for line in refused[:10]:
            say(f"refused: {line}")
        say(
            f"error: {len(refused)} partitions of shop '{args.shop}' broke their expectations and stay proposed. "
            f"To do: mend the source and run clean, anonymise and validate for these days again."
        )
        return REFUSED
    say(f"Next: python -m jobs aggregate --shop {args.shop}")
    return 0


def publish(house: Warehouse, checks: int, warned: Broken, mark: Mark) -> None:
    """Publish a partition that passed; the suite's result goes into the mark."""
    note = {"suite": expectations.VERSION, "checks": checks, "warnings": warned.get(mark.day, [])}
    house.publish(mark, {"validation": note})
