"""A partition is visible whole or not at all, whatever happens while it is written."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.console import Problem, Usage
from jobs.tables import WHOLE, table
from jobs.warehouse import Warehouse, arrow_schema, days, fingerprint, warehouse, write_atomically

ITEM = {"item_id": "1", "title": "Apple", "known_time": datetime(2017, 1, 1, tzinfo=UTC), "simulated": False}


@pytest.fixture
def house(home: Path) -> Warehouse:
    return warehouse("shop", must_exist=False)


def write(house: Warehouse, rows: list[dict[str, Any]], zone: str = "safe", name: str = "items") -> Any:
    with house.attempt(zone, name) as attempt:
        folder = attempt.folder(WHOLE)
        folder.mkdir()
        pq.write_table(pa.Table.from_pylist(rows, schema=arrow_schema(table(zone, name))), folder / "part-0.parquet")
        return house.propose(attempt, WHOLE, step="test")


def test_days_include_both_ends() -> None:
    assert days(date(2016, 2, 28), date(2016, 3, 1)) == ["2016-02-28", "2016-02-29", "2016-03-01"]


def test_a_gated_partition_is_read_only_once_published(house: Warehouse) -> None:
    mark = write(house, [ITEM])
    assert house.marks("safe", "items") == []
    assert house.read("safe", "items").num_rows == 0
    house.publish(mark, {"suite": "passed"})
    assert house.read("safe", "items", columns=["title"]).to_pylist() == [{"title": "Apple"}]
    published = house.mark("safe", "items", WHOLE)
    assert published is not None and published.notes == {"suite": "passed"} and published.rows == 1


def test_a_new_proposal_leaves_the_published_one_readable(house: Warehouse) -> None:
    house.publish(write(house, [ITEM]))
    write(house, [{**ITEM, "title": "Pear"}])
    assert house.read("safe", "items", columns=["title"]).to_pylist() == [{"title": "Apple"}]


def test_the_same_rows_have_the_same_hash_in_two_attempts(house: Warehouse) -> None:
    first, second = write(house, [ITEM]), write(house, [ITEM])
    assert first.attempt != second.attempt and first.sha256 == second.sha256
    assert write(house, [{**ITEM, "title": "Pear"}]).sha256 != first.sha256


def test_a_file_with_another_schema_is_refused(house: Warehouse) -> None:
    with pytest.raises(Problem, match="another schema"), house.attempt("clean", "items") as attempt:
        attempt.folder(WHOLE).mkdir()
        pq.write_table(pa.table({"item_id": ["1"]}), attempt.folder(WHOLE) / "part-0.parquet")
        house.propose(attempt, WHOLE, step="test")
    assert house.marks("clean", "items") == []
    assert list((house.folder("clean", "items") / "attempts").iterdir()) == []  # nothing half-done stays


def test_an_empty_day_is_known_and_not_missing(house: Warehouse) -> None:
    with house.attempt("clean", "reviews") as attempt:
        house.propose(attempt, "2017-01-01", step="test")
    assert house.days("clean", "reviews") == ["2017-01-01"]
    assert house.read("clean", "reviews").num_rows == 0


def test_ranges_of_days(put: Callable[..., Any], house: Warehouse) -> None:
    for day in ("2017-01-01", "2017-01-02", "2017-01-03"):
        put("shop", "clean", "reviews", [], day)
    assert [m.day for m in house.marks("clean", "reviews", "2017-01-02", "2017-01-03")] == ["2017-01-02", "2017-01-03"]


def test_a_missing_step_and_a_missing_shop_say_what_to_run(house: Warehouse, put: Callable[..., Any]) -> None:
    with pytest.raises(Problem, match="run 'python -m jobs clean --shop shop'"):
        house.require("clean", "items", step="clean")
    put("shop", "clean", "items", [])
    with pytest.raises(Usage, match="did you mean 'shop'"):
        warehouse("shpo")
    with pytest.raises(Usage, match="did you mean 'title'"):
        house.read("safe", "items", columns=["titel"])


def test_a_mark_is_old_or_new_but_never_torn(tmp_path: Path) -> None:
    """A reader beside a writer sees one of the two texts, whole, at every moment."""
    path, texts, seen = tmp_path / "mark.json", ["a" * 20_000, "b" * 20_000], set()
    write_atomically(path, texts[0])
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            seen.add(path.read_text())

    reader = threading.Thread(target=read)
    reader.start()
    for turn in range(100):
        write_atomically(path, texts[turn % 2])
    stop.set()
    reader.join()
    assert seen <= set(texts)
    assert list(tmp_path.iterdir()) == [path]


_WRITER = """
import itertools, sys, pyarrow as pa, pyarrow.parquet as pq
from datetime import datetime, UTC
from jobs.tables import WHOLE, table
from jobs.warehouse import arrow_schema, warehouse
house = warehouse("shop", must_exist=False)
print("ready", flush=True)
for turn in itertools.count():
    with house.attempt("clean", "items") as attempt:
        attempt.folder(WHOLE).mkdir()
        for part in range(3):
            rows = [{"item_id": f"{part}-{n}", "title": f"turn {turn}", "source_file": "f", "source_row": n,
                     "known_time": datetime(2017, 1, 1, tzinfo=UTC), "simulated": False} for n in range(50)]
            pq.write_table(pa.Table.from_pylist(rows, schema=arrow_schema(table("clean", "items"))),
                           attempt.folder(WHOLE) / f"part-{part}.parquet")
        house.propose(attempt, WHOLE, step="test")
"""


@pytest.mark.parametrize("wait", [0.02, 0.05, 0.11])
def test_a_writer_killed_at_any_moment_leaves_one_whole_version(house: Warehouse, wait: float) -> None:
    writer = subprocess.Popen([sys.executable, "-c", _WRITER], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None and writer.stdout.readline() == "ready\n"
    while not house.marks("clean", "items"):
        assert writer.poll() is None
    threading.Event().wait(wait)
    os.kill(writer.pid, signal.SIGKILL)
    writer.wait()
    writer.stdout.close()
    (mark,) = house.marks("clean", "items")
    assert fingerprint(house.files([mark])) == mark.sha256
    rows = house.read("clean", "items", columns=["title"])
    assert rows.num_rows == 150
    assert len(set(rows.column("title").to_pylist())) == 1  # never a mixture of two turns


def test_a_hash_is_taken_by_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "part-0.parquet"
    path.write_bytes(b"rows" * 1_000_000)
    told = fingerprint([path])
    monkeypatch.setattr(Path, "read_bytes", lambda _: pytest.fail("a partition was read into memory whole"))
    assert fingerprint([path]) == told
