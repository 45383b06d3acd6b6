"""Measurements, each against a named peer or limit in the same run, as a ratio: `make bench`. Never part of the tests.

A generated shop is taken as far as its features in a home of its own, which is gone at the end. Each figure is the
median of the repetitions; the first of each, which warms up, is not counted.
"""

import os
import platform
import shutil
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

from jobs.console import grid
from jobs.house.demo import SHOP, TABLES, models, steps
from jobs.house.environment import QUIET

SCALE = "0.5"
DAYS, ROWS = 366, 36_600


def median(work: Callable[[], Any], times: int = 5) -> float:
    """Seconds of `work`: the median of `times`, after one that is not counted."""
    taken = []
    for _ in range(times + 1):
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken[1:])


def machine() -> str:
    """What it was measured on."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    cores = len(os.sched_getaffinity(0))
    load = os.getloadavg()[0]
    return (
        f"{cores} cores ({platform.machine()}), {memory:.0f} GiB, Python {platform.python_version()}, load {load:.1f}"
    )


def a_year_of_files(folder: Path) -> Iterator[tuple[Any, ...]]:
    """Writing a year of days, a file each: our writer beside Spark's own, on the same rows, sorted the same way."""
    from pyspark.sql import functions as F

    from jobs.spark import session, write
    from jobs.tables import WHOLE, table
    from jobs.warehouse import DAY_FOLDER, Attempt

    declared = table("safe", "promotions")
    with session("bench") as spark:
        texts = {name: F.sha2(F.concat_ws(name, F.col("id").cast("string")), 256) for name in ("item_id", "store_id")}
        day = F.date_add(F.lit(date(2017, 1, 1)), (F.col("id") % DAYS).cast("int"))
        plain = spark.range(ROWS).withColumn("day", day).withColumns(texts)
        for column in declared.columns:
            if column.name not in plain.columns:
                kind = {"long": "bigint"}.get(column.kind, column.kind)
                plain = plain.withColumn(column.name, F.lit(None).cast(kind))
        rows = plain.select(*declared.names, F.col("day").cast("string").alias(DAY_FOLDER)).repartition(2, DAY_FOLDER)
        target = folder / "year"

        def ours() -> None:
            shutil.rmtree(target, ignore_errors=True)
            write(rows, Attempt("safe", "promotions", WHOLE, target))

        def theirs() -> None:
            ordered = rows.sortWithinPartitions(DAY_FOLDER, *declared.key)
            ordered.write.mode("overwrite").partitionBy(DAY_FOLDER).parquet(str(target))

        yield f"write {ROWS:,} rows as {DAYS} files", "s", median(ours, 3), "Spark's own writer", median(theirs, 3)


def cleaning() -> Iterator[tuple[Any, ...]]:
    """Cleaning a table, beside Spark reading and writing the same raw rows by days and doing nothing to them."""
    from jobs.cleaning import Cleaner
    from jobs.spark import filed, read, session, write
    from jobs.tables import table
    from jobs.warehouse import rows_of, warehouse

    house = warehouse(SHOP)
    with session("bench", rows=0) as spark:
        for name in ("rankings", "reviews"):
            marks = house.marks("raw", name)

            def copy(name: str = name, marks: Any = marks) -> None:
                with house.attempt("raw", name) as attempt:
                    write(filed(read(spark, house, "raw", name, marks), table("raw", name), 2), attempt)
                shutil.rmtree(attempt.path)

            def clean(name: str = name, marks: Any = marks) -> None:
                Cleaner(spark, house).table(spark, name, marks)

            rows = rows_of(marks)
            yield (
                f"clean {rows:,} {name}",
                "rows/s",
                rows / median(clean, 3),
                "copied as they are",
                rows / median(copy, 3),
            )


def look_ups() -> Iterator[tuple[Any, ...]]:
    """A feature look-up in process, beside one bare SELECT by primary key on the same file."""
    from jobs.feature_store import folder
    from jobs.features import look_up
    from jobs.warehouse import warehouse

    ids = warehouse(SHOP).read("safe", "items", columns=["item_id"])["item_id"].to_pylist()
    look_up(SHOP, "items", [{"item_id": ids[0]}])
    online = sqlite3.connect(folder(SHOP) / "online.db")
    name = next(n for (n,) in online.execute("SELECT name FROM sqlite_master WHERE type='table'") if "item" in n)
    keys = [key for (key,) in online.execute(f'SELECT DISTINCT entity_key FROM "{name}"')]

    def bare(keys: list[Any]) -> None:
        asked = ",".join("?" * len(keys))
        online.execute(f'SELECT * FROM "{name}" WHERE entity_key IN ({asked})', keys).fetchall()

    for n in (1, 100):
        ours = median(lambda n=n: look_up(SHOP, "items", [{"item_id": i} for i in ids[:n]]), 200)
        yield f"look up {n} items", "ms", ours * 1e3, "a bare SELECT", median(lambda n=n: bare(keys[:n]), 200) * 1e3


def searching() -> Iterator[tuple[Any, ...]]:
    """An answered search, receipt and reasons included, beside BM25 alone on the same catalogue."""
    from models.retrieval.searching import Searcher
    from models.serving.answering import Answering
    from models.serving.champions import OPENERS, Champions
    from models.serving.receipts import Receipts

    champions = Champions(SHOP, {"search": OPENERS["search"]})
    champions.refresh()
    answering = Answering(SHOP, champions, Receipts(SHOP))
    lexical = Searcher.open(SHOP).finder.lexical
    ours = median(lambda: answering.search("green tea", 10), 200)
    yield "answer a search", "ms", ours * 1e3, "BM25 alone", median(lambda: lexical.search("green tea", 10), 200) * 1e3


def main() -> int:
    """Measure all, and print a table."""
    folder = Path(tempfile.mkdtemp(prefix="endcap-bench-"))
    os.environ.update({**QUIET, "ENDCAP_HOME": str(folder)})
    print(f"{machine()}; make bench; sample at scale {SCALE}", flush=True)
    try:
        steps(SCALE, TABLES)
        models("baseline", "search")
        models("index")
        found = [*a_year_of_files(folder), *cleaning(), *look_ups(), *searching()]
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    lines = []
    for what, unit, ours, peer, theirs in found:
        ratio = ours / theirs if unit.endswith("/s") else theirs / ours
        figures = [f"{figure:,.0f}" if figure >= 100 else f"{figure:.3g}" for figure in (ours, theirs)]
        lines.append((what, unit, *figures, peer, round(ratio, 2)))
    print(grid(("what", "unit", "ours", "theirs", "they are", "our speed / theirs"), lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
