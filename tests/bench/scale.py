"""How the way from raw to safe grows: `python -m tests.bench.scale 1000000 10000000` (`make bench-scale`).

For each number of events a generated shop of that size is made and taken through import, clean, anonymise and validate
by the real commands. Beside them stands, in the same run, Spark reading the raw rows and writing them by day as they
are, with its own reader and writer; and for the longest table DuckDB doing what clean does to it. Whole commands are
timed with their start, tables without. Memory is the driver's JVM at its highest, and that of all processes together.

Beyond ten million the generated shop is lived through several times, one span of days after the other: its generator is
one process of Python a core, and half an hour of it measures nothing of the way.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from datetime import date, timedelta
from pathlib import Path

from jobs import counting
from jobs.cleaning import OWNERS
from jobs.console import grid, narrate
from jobs.house import processes
from jobs.house.environment import QUIET
from jobs.tables import LINKS, table
from jobs.warehouse import Attempt, Mark, Warehouse, arrow_schema, in_threads, rows_of, warehouse
from tests.bench.measure import SHOP, machine

EVENTS_A_SCALE = 73_700  # dated rows of the generated shop at scale 1
AT_ONCE = 10_000_000  # events that are generated; more are the same again, later
RAW = ("searches", "rankings", "interactions", "reviews", "tickets", "offer_events")
LONGEST = "rankings"
OWN_IDS = ("search_id", "ranking_id", "interaction_id", "review_id", "ticket_id", "session_id", "basket_id",
           "offer_event_id")  # fmt: skip
STEPS = ("clean", "anonymise", "validate")
ALONE = {"clean": "clean", "anonymise": "anonymise", "validate": "profile"}
"""What each step calls its work on one table."""
ROOT = Path(__file__).resolve().parents[2]

# What clean does to a ranking: types, required columns, ranges, clocks, orphans, duplicates, order, a file a day.
DUCK = """
COPY (
  SELECT * EXCLUDE (why, nth) FROM (
    SELECT *, row_number() OVER (PARTITION BY day, ranking_id, position ORDER BY source_file, source_row) AS nth
    FROM (
      SELECT nullif(trim(r.ranking_id), '') AS ranking_id, try_cast(trim(r.event_time) AS TIMESTAMPTZ) AS event_time,
             v.kept AS visitor_id, nullif(trim(r.search_id), '') AS search_id,
             nullif(trim(r.surface), '') AS surface, i.kept AS item_id,
             try_cast(r.position AS BIGINT) AS position, try_cast(r.propensity AS DOUBLE) AS propensity,
             r.source_file, r.source_row, r.known_time, r.simulated, r.day,
             CASE WHEN r.ranking_id IS NULL OR r.visitor_id IS NULL OR r.item_id IS NULL THEN 'missing'
                  WHEN try_cast(r.position AS BIGINT) IS NULL OR try_cast(r.propensity AS DOUBLE) IS NULL
                    OR try_cast(r.event_time AS TIMESTAMPTZ) IS NULL THEN 'bad_type'
                  WHEN try_cast(r.position AS BIGINT) < 1 OR NOT try_cast(r.propensity AS DOUBLE) BETWEEN 0 AND 1
                    THEN 'out_of_range'
                  WHEN CAST(try_cast(r.event_time AS TIMESTAMPTZ) AS DATE) <> r.day
                    OR try_cast(r.event_time AS TIMESTAMPTZ) > r.known_time THEN 'clock'
                  WHEN i.kept IS NULL OR v.kept IS NULL THEN 'orphan' END AS why
      FROM read_parquet({raw}, hive_partitioning = false) r
      LEFT JOIN ({items}) i ON trim(r.item_id) = i.id
      LEFT JOIN ({visitors}) v ON trim(r.visitor_id) = v.id)
    WHERE why IS NULL)
  WHERE nth = 1 ORDER BY day, ranking_id, position
) TO '{out}' (FORMAT parquet, PARTITION_BY (day), COMPRESSION zstd, OVERWRITE)
"""
# The clean ids of one kind, and of each row that was merged into another the id that is kept.
IDS = """
SELECT {column} AS id, {column} AS kept FROM read_parquet({clean}, hive_partitioning = false)
"""
MERGED = "UNION ALL SELECT {column}, kept_id FROM read_parquet({links}, hive_partitioning = false) WHERE merged"
COPY = """
import sys
from pyspark.sql import functions as F
from jobs.console import narrate
from jobs.spark import session
with session("copy", rows=int(sys.argv[1])) as spark:
    for given in sys.argv[3:]:
        name, _, folders = given.partition("=")
        with narrate(f"copy {name}"):
            rows = spark.read.parquet(*folders.split(",")).withColumn("_day", F.col("day"))
            filed = rows.repartition("_day").write.partitionBy("_day").option("compression", "zstd")
            filed.parquet(f"{sys.argv[2]}/{name}")
"""


def timed(words: list[str], home: Path) -> tuple[float, int, int, str]:
    """A command: seconds, highest memory in bytes of its JVM (resident) and of all its processes (PSS), its words."""
    environ = {**os.environ, "ENDCAP_HOME": str(home), "ENDCAP_BENCH": "1"}
    began, jvm, most = time.monotonic(), 0, 0
    with tempfile.TemporaryFile("w+") as told:
        running = subprocess.Popen([sys.executable, *words], env=environ, cwd=ROOT, text=True,
                                   stdout=told, stderr=subprocess.STDOUT)  # fmt: skip
        done = threading.Event()

        def watch() -> None:
            nonlocal jvm, most
            while not done.wait(0.5):
                pids = processes.marked("ENDCAP_BENCH", "1", home)
                most = max(most, processes.proportional_memory(pids))
                jvm = max([jvm, *(resident(pid) for pid in pids if is_java(pid))])

        watcher = threading.Thread(target=watch)
        watcher.start()
        code = running.wait()
        done.set()
        watcher.join()
        seconds = time.monotonic() - began
        told.seek(0)
        text = told.read()
    if code:
        raise SystemExit(f"{words[:4]} failed: {text[-800:]}")
    return seconds, jvm, most, text


def is_java(pid: int) -> bool:
    """Whether a process is a JVM."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip() == "java"
    except OSError:
        return False


def resident(pid: int) -> int:
    """Resident memory in bytes; 0 of a process that is gone."""
    try:
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
        return int(found.group(1)) << 10 if found else 0
    except OSError:
        return 0


def of_one(text: str, step: str, name: str) -> float:
    """Seconds that a step told for one table."""
    found = re.search(rf"^{step} {name}: ([\d.]+) s", text, re.M)
    return float(found.group(1)) if found else 0.0


def lived_again(house: Warehouse, times: int) -> None:
    """Raw events as if the shop's days had come `times` times, one span after the other, each with ids of its own."""
    import duckdb
    import pyarrow.parquet as pq

    begins, ends = house.days("raw", LONGEST)[0], house.days("raw", LONGEST)[-1]
    span = (date.fromisoformat(ends) - date.fromisoformat(begins)).days + 1
    engine = duckdb.connect(config={"threads": "1"})
    engine.execute("SET TimeZone = 'UTC'")

    def one(given: tuple[str, Mark, Attempt, int]) -> tuple[str, Attempt, str, int]:
        name, mark, attempt, n = given
        schema = arrow_schema(table("raw", name))
        later = f"INTERVAL {span * n} DAY"
        put = {
            "event_time": f"coalesce(strftime(try_cast(event_time AS TIMESTAMPTZ) + {later}, '%Y-%m-%dT%H:%M:%S.%fZ'), "
            "event_time)",
            "known_time": f"known_time + {later}",
            "day": f"CAST(day + {later} AS DATE)",
            **{column: f"{column} || '-{n}'" for column in schema.names if column in OWN_IDS},
            "source_file": f"'{n}-' || source_file",
        }
        columns = ", ".join(f"{put.get(column, column)} AS {column}" for column in schema.names)
        files = [str(path) for path in house.files([mark])]
        found = engine.cursor().sql(f"SELECT {columns} FROM read_parquet({files}, hive_partitioning = false)")
        rows = found.to_arrow_table().cast(schema)
        day = (date.fromisoformat(mark.day) + timedelta(days=span * n)).isoformat()
        attempt.folder(day).mkdir()
        pq.write_table(rows, attempt.folder(day) / "part-0.parquet", compression="zstd")
        return name, attempt, day, rows.num_rows

    for name in RAW:
        with house.attempt("raw", name) as attempt:
            marks = [mark for mark in house.marks("raw", name) if mark.rows]
            made = in_threads(one, [(name, mark, attempt, n) for n in range(1, times) for mark in marks])
            house.propose_days(
                attempt,
                [day for _, _, day, _ in made],
                step="import",
                counts={day: counting.terms(count, out=count) for _, _, day, count in made},
            )


def duck(house: Warehouse, marks: list[Mark], folder: Path) -> tuple[float, int]:
    """DuckDB doing what clean does to the longest table, on as many threads as there are cores: seconds, rows."""
    import duckdb

    def files(name: str) -> str:
        return str([str(path) for path in house.files(house.marks("clean", name))])

    ids = {}
    for column, owner in OWNERS.items():
        links = files(LINKS[owner])
        merged = MERGED.format(column=column, links=links) if links != "[]" else ""
        ids[owner] = IDS.format(column=column, clean=files(owner)) + merged
    began = time.monotonic()
    with duckdb.connect(config={"memory_limit": "6GB", "temp_directory": str(folder / "spill")}) as engine:
        engine.execute("SET TimeZone = 'UTC'")
        raw = str([str(path) for path in house.files(marks)])
        engine.execute(DUCK.format(raw=raw, out=folder / "duck", **ids))
        seconds = time.monotonic() - began
        count = engine.execute(f"SELECT count(*) FROM read_parquet('{folder}/duck/**/*.parquet')").fetchone()
    return seconds, int(count[0]) if count else 0


def measure(events: int) -> list[tuple[object, ...]]:
    """One size: a line for each step."""
    home = Path(tempfile.mkdtemp(prefix="endcap-scale-"))
    os.environ.update({**QUIET, "ENDCAP_HOME": str(home)})
    lines: list[tuple[object, ...]] = []
    try:
        times = -(-events // AT_ONCE)
        scale = events / times / EVENTS_A_SCALE
        with narrate(f"import {events // times:,} events"):
            seconds, jvm, most, _ = timed(["-m", "jobs", "import", SHOP, "--scale", f"{scale:.3f}"], home)
        house = warehouse(SHOP)
        made = rows_of(m for n in RAW for m in house.marks("raw", n))
        if times > 1:
            with narrate(f"the same again, {times - 1} times later"):
                lived_again(house, times)
        marks = house.marks("raw", LONGEST)
        rows = rows_of(m for n in RAW for m in house.marks("raw", n))

        def given(name: str) -> str:
            """A table and its folders, as the copy takes them."""
            return f"{name}={','.join(str(folder) for folder in house.folders(house.marks('raw', name)))}"

        lines.append(("import, generating included", made, seconds, made / seconds, "", jvm >> 20, most >> 20))
        told = {}
        for step in STEPS:
            with narrate(step):
                seconds, jvm, most, told[step] = timed(["-m", "jobs", step, "--shop", SHOP], home)
            lines.append((step, rows, seconds, rows / seconds, "", jvm >> 20, most >> 20))
        with narrate("plain copy"):
            copied, _, _, copying = timed(["-c", COPY, str(rows), str(home / "copy"), *map(given, RAW)], home)
        with narrate(f"DuckDB doing what clean does to {LONGEST}"):
            theirs, kept = duck(house, marks, home)
        out = rows_of(house.marks("clean", LONGEST))
        assert kept == out, f"DuckDB kept {kept} rows of {LONGEST}, clean {out}"
        way = sum(seconds for _, _, seconds, *_ in lines[1:])
        lines += [
            ("clean, anonymise, validate", rows, way, rows / way, "", "", ""),
            ("Spark's plain copy of the same rows", rows, copied, rows / copied, "", "", ""),
        ]
        lines = [(*line[:4], f"{float(str(line[2])) / copied:.2f}", *line[5:]) for line in lines]
        own = rows_of(marks)
        plain = of_one(copying, "copy", LONGEST)
        alone = {"plain copy": plain, "DuckDB doing what clean does": theirs}
        alone |= {step: of_one(told[step], zone, LONGEST) for step, zone in ALONE.items()}
        for what, took in alone.items():
            lines.append((f"{LONGEST}: {what}", own, took, own / max(took, 0.01), f"{took / plain:.2f}", "", ""))
    finally:
        shutil.rmtree(home, ignore_errors=True)
    return lines


def main(argv: list[str]) -> int:
    """Measure each size, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("events", type=int, nargs="+")
    args = parser.parse_args(argv)
    print(f"{machine()}; python -m tests.bench.scale {' '.join(map(str, args.events))}", flush=True)
    for events in args.events:
        lines = [
            (what, f"{rows:,}", f"{seconds:.1f}", f"{speed:,.0f}", ratio, jvm, most)
            for what, rows, seconds, speed, ratio, jvm, most in measure(events)
        ]
        heads = ("what", "rows", "seconds", "rows/s", "of the copy's time", "JVM MiB", "all MiB")
        print(grid(heads, lines), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
