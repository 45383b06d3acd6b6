"""What nobody points to is collected, and nothing else; at every instant each mark points to files that are there."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs import keeping
from jobs.tables import WHOLE, table
from jobs.warehouse import STATES, Mark, Warehouse, arrow_schema, fingerprint, warehouse

KNOWN = {"known_time": datetime(2017, 1, 1, tzinfo=UTC), "simulated": False}
ITEM = {"item_id": "1", "title": "Apple", **KNOWN}
DAYS = ("2017-01-01", "2017-01-02", "2017-01-03")


def review(n: int, day: str) -> dict[str, Any]:
    when = datetime.fromisoformat(f"{day}T10:00:00+00:00")
    return {"review_id": f"r{n}", "event_time": when, "visitor": "v", "item_id": "1", "rating": 5, "known_time": when,
            "simulated": False, "day": date.fromisoformat(day)}  # fmt: skip


def write(house: Warehouse, zone: str, name: str, rows: dict[str, list[dict[str, Any]]], files: int = 1) -> list[Mark]:
    """One attempt of several days, each in `files` files of whole runs of rows; published."""
    schema = arrow_schema(table(zone, name))
    with house.attempt(zone, name) as attempt:
        for day, of_day in rows.items():
            attempt.folder(day).mkdir()
            share = -(-len(of_day) // files)
            for n in range(files):
                part = pa.Table.from_pylist(of_day[n * share : (n + 1) * share], schema=schema)
                pq.write_table(part, attempt.folder(day) / f"part-{n:05d}.parquet")
        return [house.publish(mark) for mark in house.propose_days(attempt, rows, step="test")]


def age(path: Path, hours: float) -> None:
    """As if it had been written so long ago."""
    then = time.time() - hours * 3600
    for each in (path, *path.rglob("*")):
        os.utime(each, (then, then))


def command(*words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-m", "jobs", *words], capture_output=True, text=True, check=False)


def whole(house: Warehouse) -> bool:
    """Every mark of the shop points to files that hash to what it says."""
    marks = [
        mark
        for zone in ("raw", "clean", "safe", "stats")
        for folder in (house.root / zone).glob("*")
        for state in STATES
        for mark in house.marks(zone, folder.name, state=state)
    ]
    return all(fingerprint(house.files([mark])) == mark.sha256 for mark in marks if mark.rows)


@pytest.fixture
def house(home: Path) -> Warehouse:
    return warehouse("toy", must_exist=False)


# ---- collect ------------------------------------------------------------------------------------------


def test_an_attempt_that_lost_its_mark_is_collected_once_readers_had_time(house: Warehouse) -> None:
    (old,) = write(house, "safe", "items", {WHOLE: [ITEM]})
    age(house.root, 100)
    (new,) = write(house, "safe", "items", {WHOLE: [{**ITEM, "title": "Pear"}]})
    # Written 100 hours ago, but replaced just now: a step that began before may still read it.
    assert list(keeping.collectable(house, 24)) == []
    age(house.root, 25)
    assert [thing.path for thing in keeping.collectable(house, 24)] == [house.attempt_of(old).path]
    assert "nothing to collect" in command("collect", "--shop", "toy", "--keep-hours", "48").stdout

    told = command("collect", "--shop", "toy", "--dry-run")
    assert "Nothing was removed" in told.stdout and house.attempt_of(old).path.exists()
    done = command("collect", "--shop", "toy")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[2].split()[:5] == ["safe", "items", "1", "0", "1"]
    assert not house.attempt_of(old).path.exists() and house.attempt_of(new).path.exists()
    assert house.read("safe", "items", columns=["title"]).to_pylist() == [{"title": "Pear"}]


def test_a_replaced_day_goes_from_an_attempt_that_other_days_hold(house: Warehouse) -> None:
    rows = {day: [review(n, day)] for n, day in enumerate(DAYS)}
    first = write(house, "safe", "reviews", rows)
    write(house, "safe", "reviews", {DAYS[1]: [review(9, DAYS[1])]})
    age(house.root, 25)
    found = list(keeping.collectable(house, 24))
    assert [(thing.day, thing.path) for thing in found] == [(DAYS[1], house.attempt_of(first[1]).folder(DAYS[1]))]
    assert command("collect", "--shop", "toy").returncode == 0
    assert [r["review_id"] for r in house.read("safe", "reviews").to_pylist()] == ["r0", "r9", "r2"]
    assert list(keeping.collectable(house, 0)) == [] and whole(house)


def test_a_proposal_that_waits_is_not_collected(house: Warehouse) -> None:
    write(house, "safe", "items", {WHOLE: [ITEM]})
    with house.attempt("safe", "items") as attempt:
        attempt.folder(WHOLE).mkdir()
        house.propose(attempt, WHOLE, step="test")
    age(house.root, 100)
    assert list(keeping.collectable(house, 0)) == []


def test_a_collection_killed_half_way_is_finished_by_the_next(house: Warehouse) -> None:
    old = write(house, "safe", "reviews", {day: [review(1, day)] for day in DAYS})
    write(house, "safe", "reviews", {day: [review(2, day)] for day in DAYS})
    files = house.files(old)
    files[0].unlink()  # where a removal was killed
    age(house.root, 25)
    assert whole(house)
    assert command("collect", "--shop", "toy").returncode == 0
    assert not any(path.exists() for path in files) and whole(house)


def test_two_collections_at_once_do_no_harm(house: Warehouse) -> None:
    write(house, "safe", "items", {WHOLE: [ITEM]})
    (new,) = write(house, "safe", "items", {WHOLE: [{**ITEM, "title": "Pear"}]})
    age(house.root, 25)
    (thing,) = keeping.collectable(house, 24)
    shutil.rmtree(thing.path)  # the other one was quicker
    keeping.remove(thing.path)
    assert keeping.modified(thing.path) == 0 and house.attempt_of(new).path.exists()


def test_hours_below_nothing_are_refused(put: Callable[..., Any], house: Warehouse) -> None:
    put("toy", "clean", "items", [])
    done = command("collect", "--shop", "toy", "--keep-hours=-1")
    assert (done.returncode, "--keep-hours -1 is below 0" in done.stderr) == (2, True)
