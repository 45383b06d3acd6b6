"""The join by time beside DuckDB's own as-of join of the same columns, and beside Feast's: part of `make bench`.

A year of statistics of three views, a thousand entities each, is generated in a home of its own, which is gone at the
end. DuckDB's own join knows event times alone: no known times, no ttl, nothing that superseded. The join of ten
million questions runs in parts, in a process of its own, whose peak of memory is told.

`python -m tests.bench.point_in_time [QUESTIONS]`: a million without a number.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from jobs.console import grid, say
from tests.bench.measure import machine

SHOP = "bench"
VIEWS = {"item_stats": "item_id", "visitor_stats": "visitor", "query_stats": "query"}
ENTITIES, DAYS, FIRST = 1_000, 364, date(2017, 1, 1)
FEW = 20_000
"""Questions that Feast's own join is asked: it compares each with every snapshot of its entity."""
MANY = 10_000_000
MOMENT = pa.timestamp("us", tz="UTC")


def column(kind: Any, rows: int, dice: np.random.Generator) -> pa.Array:
    """Values of a declared type."""
    if pa.types.is_floating(kind):
        return pa.array(dice.random(rows), kind)
    if pa.types.is_integer(kind):
        return pa.array(dice.integers(0, 1_000, rows), kind)
    if pa.types.is_string(kind):
        return pa.array([f"word {n}" for n in dice.integers(0, 50, rows)], kind)
    return pa.nulls(rows, kind)


def fill() -> None:
    """A year of days of each view; one value in ten is known up to three days late."""
    from jobs.tables import table
    from jobs.warehouse import arrow_schema, warehouse

    house, dice = warehouse(SHOP, must_exist=False), np.random.default_rng(1)
    for name, key in VIEWS.items():
        schema = arrow_schema(table("stats", name))
        with house.attempt("stats", name) as attempt:
            days = [FIRST + timedelta(days=n) for n in range(DAYS)]
            for day in days:
                late = np.where(dice.random(ENTITIES) < 0.1, dice.integers(0, 3 * 86_400, ENTITIES), 0)
                end = np.datetime64(day + timedelta(days=1), "us") - np.timedelta64(1, "us")
                made = {
                    key: pa.array([f"{key}{n:06d}" for n in range(ENTITIES)]),
                    "event_time": pa.array(np.full(ENTITIES, end)).cast(MOMENT),
                    "known_time": pa.array(end + late.astype("timedelta64[s]")).cast(MOMENT),
                    "day": pa.array([day] * ENTITIES),
                }
                rows = [made.get(field.name, column(field.type, ENTITIES, dice)) for field in schema]
                attempt.folder(day.isoformat()).mkdir(parents=True)
                pq.write_table(pa.table(rows, schema=schema), attempt.folder(day.isoformat()) / "part-0.parquet")
            for day in days:
                house.publish(house.propose(attempt, day.isoformat(), step="bench"))


def questions(rows: int, seed: int) -> pa.Table:
    """Entities of all views and moments, drawn."""
    dice = np.random.default_rng(seed)
    begin = int(datetime(2017, 1, 1, tzinfo=UTC).timestamp())
    times = pa.array(begin + dice.integers(0, DAYS * 86_400, rows)).cast(pa.timestamp("s")).cast(pa.timestamp("us"))
    keys = {key: pa.array([f"{key}{n:06d}" for n in dice.integers(0, ENTITIES, rows)]) for key in VIEWS.values()}
    return pa.table({**keys, "event_timestamp": times.cast(MOMENT)})


def asked(live: Any) -> list[str]:
    """Every feature of the three views, but lists, as Feast names them."""
    views = [live.get_feature_view(name) for name in VIEWS]
    return [f"{view.name}:{f.name}" for view in views for f in view.features if not str(f.dtype).startswith("Array")]


def ours(live: Any, rows: pa.Table) -> pa.Table:
    """The whole way: through Feast's own call, tables of pandas included."""
    return live.get_historical_features(
        entity_df=rows.to_pandas(), features=asked(live), full_feature_names=True, filter_by_created_timestamp=True
    ).to_arrow()


def duckdbs(live: Any, rows: pa.Table) -> list[pa.Table]:
    """DuckDB's as-of join on the event time alone, of the same columns of the same files, a table a view."""
    from jobs.duck import arrow, engine
    from jobs.feast_store import published

    found, names = [], [ref.split(":") for ref in asked(live)]
    with engine() as duck:
        duck.register("question", rows)
        for view, key in VIEWS.items():
            files = ", ".join(f"'{file}'" for file in published(live.config, live.get_feature_view(view).batch_source))
            columns = ", ".join(f's."{name}"' for of, name in names if of == view)
            found.append(arrow(duck, (
                f"SELECT q.*, {columns}, s.event_time FROM question q ASOF LEFT JOIN "
                f"(SELECT * FROM read_parquet([{files}])) s ON q.{key} = s.{key} AND q.event_timestamp >= s.event_time"
            )))  # fmt: skip
    return found


def feasts(live: Any, rows: pa.Table) -> pa.Table:
    """Feast's DuckDB store, reading the published files."""
    from types import ModuleType

    sys.modules.setdefault("pyarrow_hotfix", ModuleType("pyarrow_hotfix"))
    import ibis
    from feast.infra.offline_stores.ibis import get_historical_features_ibis

    from jobs.feast_store import published

    return get_historical_features_ibis(
        config=live.config,
        feature_views=[live.get_feature_view(name) for name in VIEWS],
        feature_refs=asked(live),
        entity_df=rows.to_pandas(),
        registry=live.registry,
        project=SHOP,
        full_feature_names=True,
        data_source_reader=lambda source, _: ibis.read_parquet(published(live.config, source), hive_partitioning=False),
        data_source_writer=lambda *_: None,
        filter_by_created_timestamp=True,
    ).to_arrow()


def peak(rows: int) -> dict[str, float]:
    """In this process: so many questions about items, a million at a time, to a file. Seconds and the peak in GiB."""
    from jobs.features import training_batches, training_rows

    few = questions(1_000, 0).select(["item_id", "event_timestamp"]).rename_columns(["item_id", "event_time"])
    training_rows(SHOP, few, "items")
    least = highest()
    began, target, out = time.perf_counter(), Path(os.environ["ENDCAP_HOME"]) / "answers.parquet", None
    parts = (questions(min(1_000_000, rows - start), start).select(["item_id", "event_timestamp"])
             for start in range(0, rows, 1_000_000))  # fmt: skip
    named = (part.rename_columns(["item_id", "event_time"]) for part in parts)
    count = 0
    for answer in training_batches(SHOP, named, "items"):
        out = out or pq.ParquetWriter(target, answer.schema)
        out.write_table(answer)
        count += answer.num_rows
    if out:
        out.close()
    assert count == rows
    return {"seconds": time.perf_counter() - began, "before": least, "peak": highest()}


def highest() -> float:
    """The most memory that this process held so far, in GiB. (`getrusage` would tell its parent's, too.)"""
    told = Path("/proc/self/status").read_text(encoding="ascii")
    return int(next(line.split()[1] for line in told.splitlines() if line.startswith("VmHWM"))) / (1 << 20)


def beside(ours: Callable[[], Any], theirs: Callable[[], Any], times: int) -> tuple[float, float, float]:
    """Seconds of each, the median of so many in turns, and the ratio of what they took of the processor: a busy machine
    makes both slow, but not at the same moment."""
    taken: dict[str, list[tuple[float, float]]] = {"ours": [], "theirs": []}
    for _ in range(times):
        for name, work in (("ours", ours), ("theirs", theirs)):
            began, used = time.perf_counter(), time.process_time()
            work()
            taken[name].append((time.perf_counter() - began, time.process_time() - used))
    wall, cpu = ([statistics.median(pair[n] for pair in taken[name]) for name in taken] for n in (0, 1))
    return wall[0], wall[1], cpu[0] / cpu[1]


def peaks(rows: int) -> dict[str, float]:
    """`peak` in a process of its own."""
    done = subprocess.run([sys.executable, "-m", "tests.bench.point_in_time", "--peak", str(rows)],
                          check=True, capture_output=True, text=True)  # fmt: skip
    return dict(json.loads(done.stdout.splitlines()[-1]))


def figures(rows: int) -> Iterator[tuple[Any, ...]]:
    """Each figure with its peer's."""
    from jobs.feature_store import store

    fill()
    live, many, few = store(SHOP), questions(rows, 1), questions(min(FEW, rows), 2)
    same = ours(live, few).sort_by([(name, "ascending") for name in few.column_names])
    theirs = feasts(live, few).sort_by([(name, "ascending") for name in few.column_names])
    for name in theirs.column_names:
        if not same[name].cast(theirs[name].type).equals(theirs[name]):
            raise SystemExit(f"ours and Feast's differ in {name}")
    told = beside(lambda: ours(live, many), lambda: duckdbs(live, many), 3)
    yield f"join {rows:,} rows x 3 views", "DuckDB's own as-of", *told
    told = beside(lambda: ours(live, few), lambda: feasts(live, few), 1)
    yield f"join {few.num_rows:,} rows x 3 views", "Feast's own join", *told


def main() -> int:
    """Measure, and print a table."""
    if sys.argv[1:2] == ["--peak"]:
        print(json.dumps(peak(int(sys.argv[2]))))
        return 0
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    folder = Path(tempfile.mkdtemp(prefix="endcap-bench-"))
    os.environ["ENDCAP_HOME"] = str(folder)
    print(f"{machine()}; the join by time; {ENTITIES:,} entities x {DAYS} days a view", flush=True)
    try:
        lines = [
            (what, round(ours, 2), round(theirs, 2), peer, f"{ours / theirs:.2f}", f"{cpu:.2f}")
            for what, peer, ours, theirs, cpu in figures(rows)
        ]
        heads = ("what", "ours, s", "theirs, s", "they are", "ours / theirs", "of processor time")
        print(grid(heads, lines), flush=True)
        for many in (rows, 10 * rows):
            say(f"{many:,} questions in parts")
            found = peaks(many)
            print(f"{many:,} rows of items in parts: {found['seconds']:.1f} s, peak {found['peak']:.2f} GiB "
                  f"({found['before']:.2f} before), limit 4", flush=True)  # fmt: skip
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
