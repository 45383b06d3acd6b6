"""What nobody points to is collected, and nothing else; at every instant each mark points to files that are there."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import jobs.warehouse
from jobs import keeping
from jobs.console import Refused
from jobs.tables import WHOLE, ZONES, table
from jobs.warehouse import Mark, Refusal, Warehouse, arrow_schema, fingerprint, stale, states, warehouse

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
        for zone in ZONES
        for folder in (house.root / zone).glob("*")
        for state in states(zone)
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


# ---- retire -------------------------------------------------------------------------------------------


def filled(house: Warehouse) -> None:
    """Three days in raw, clean and safe, one replaced, one only proposed; and a table without days."""
    for zone in ("clean", "safe"):
        write(house, zone, "reviews", {day: [{**review(n, day), **ORIGIN[zone]}] for n, day in enumerate(DAYS)})
        write(house, zone, "reviews", {DAYS[0]: [{**review(9, DAYS[0]), **ORIGIN[zone]}]})
    write(house, "safe", "items", {WHOLE: [ITEM]})
    (house.folder("safe", "reviews") / "published" / f"{DAYS[1]}.json").unlink()
    house.refuse("safe", "reviews", Refusal("validate", DAYS[1], ("x",), ("bad",)))


ORIGIN: dict[str, dict[str, Any]] = {"clean": {"visitor_id": "u", "source_file": "f", "source_row": 1}, "safe": {}}


def files_of(house: Warehouse) -> list[str]:
    """Days of which any file is left, of any attempt."""
    return sorted({p.parent.name.partition("=")[2] for p in house.root.rglob("*.parquet")} - {WHOLE})


def test_days_that_are_too_old_go_with_every_copy_and_the_others_stay(house: Warehouse) -> None:
    filled(house)
    age(house.root, 2)
    listed = command("retire", "--shop", "toy", "--before", DAYS[2], "--dry-run")
    assert [line.split()[:6] for line in listed.stdout.splitlines()[2:4]] == [
        ["clean", "reviews", "2", DAYS[0], DAYS[1], "2"],
        ["safe", "reviews", "2", DAYS[0], DAYS[1], "2"],
    ]
    assert "Nothing was removed" in listed.stdout and files_of(house) == list(DAYS)
    alone = command("retire", "--shop", "toy", "--before", DAYS[2])
    assert (alone.returncode, "nobody is there to be asked" in alone.stderr) == (2, True)

    done = command("retire", "--shop", "toy", "--before", DAYS[2], "--yes")
    assert done.returncode == 0, done.stderr
    assert "python -m jobs aggregate --shop toy --stale" in done.stderr
    assert files_of(house) == [DAYS[2]] and whole(house)
    assert [house.days(zone, "reviews", "proposed") for zone in ("clean", "safe")] == [[DAYS[2]]] * 2
    assert house.refusals("safe", "reviews", "validate") == {}
    assert house.days("safe", "items") == [WHOLE]
    assert (house.retired("safe"), house.retired("clean")) == (DAYS[2], DAYS[2])
    assert house.stale("safe", "reviews", {day: ["x"] for day in DAYS}) == {DAYS[2]: "changed: x"}
    assert "nothing is older" in command("retire", "--shop", "toy", "--before", DAYS[2], "--yes").stdout


def test_only_the_zone_that_was_asked_for_is_retired(house: Warehouse) -> None:
    filled(house)
    assert command("retire", "--shop", "toy", "--before", DAYS[1], "--zone", "clean", "--yes").returncode == 0
    assert house.days("clean", "reviews") == list(DAYS[1:]) and DAYS[0] in house.days("safe", "reviews")


class Killed(BaseException):
    """As kill -9: nothing of ours runs after it."""


@pytest.mark.parametrize("step", range(26))
def test_a_retirement_killed_anywhere_leaves_whole_marks_and_is_finished_by_the_next(
    house: Warehouse, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    filled(house)
    age(house.root, 2)
    left = [step]

    def counted(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **more: Any) -> Any:
            left[0] -= 1
            if left[0] < 0:
                raise Killed
            return real(*args, **more)

        return call

    with monkeypatch.context() as dying:
        dying.setattr(Path, "unlink", counted(Path.unlink))
        dying.setattr(jobs.warehouse, "sync", counted(jobs.warehouse.sync))
        dying.setattr(keeping, "remove", counted(keeping.remove))
        args = Namespace(shop="toy", before=date(2017, 1, 3), zone=None, dry_run=False, yes=True)
        with suppress(Killed):
            keeping.retire(args)
    assert whole(house)  # no mark points to nothing
    assert house.read("safe", "reviews", DAYS[2], DAYS[2]).num_rows == 1
    age(house.root, 2)
    assert keeping.retire(args) == 0
    assert files_of(house) == [DAYS[2]] and whole(house)


def test_a_day_that_is_written_anew_meanwhile_stays(house: Warehouse) -> None:
    filled(house)
    live = house.mark("safe", "reviews", DAYS[0])
    assert live is not None
    house.unmark(replace(live, attempt="another"), "published")
    assert house.mark("safe", "reviews", DAYS[0]) == live
    with house.attempt("safe", "reviews") as attempt:  # being written: no mark yet
        attempt.folder(DAYS[1]).mkdir()
        assert attempt.folder(DAYS[1]) not in keeping.leavings(house, DAYS[2], ["safe"])


def test_what_a_mark_has_just_left_is_not_collected_however_old_it_is(house: Warehouse) -> None:
    (old,) = write(house, "clean", "items", {WHOLE: [{**ITEM, **ORIGIN["clean"]}]})
    age(house.root, 100)
    write(house, "clean", "items", {WHOLE: [{**ITEM, **ORIGIN["clean"], "title": "Pear"}]})
    assert list(keeping.collectable(house, 24)) == []
    age(house.attempt_of(old).path, 25)  # the newer mark's age does not count: it may be renewed every night
    assert [thing.path for thing in keeping.collectable(house, 24)] == [house.attempt_of(old).path]


# ---- compact ------------------------------------------------------------------------------------------


def many(house: Warehouse, rows: int = 9) -> Mark:
    return write(house, "safe", "reviews", {DAYS[0]: [review(n, DAYS[0]) for n in range(rows)]}, files=3)[0]


def test_many_files_become_one_of_the_same_rows_under_the_same_name(house: Warehouse) -> None:
    old = many(house)
    write(house, "safe", "reviews", {DAYS[1]: [review(1, DAYS[1])]})
    before = house.read("safe", "reviews")
    told = command("compact", "--shop", "toy", "--dry-run")
    assert told.stdout.splitlines()[2].split()[:5] == ["safe", "reviews", "1", "3", "1"]
    assert house.mark("safe", "reviews", DAYS[0]) == old

    assert command("compact", "--shop", "toy").returncode == 0
    new = house.mark("safe", "reviews", DAYS[0])
    assert new is not None and new == replace(house.marks("safe", "reviews", DAYS[0], DAYS[0], "proposed")[0])
    assert house.read("safe", "reviews").equals(before) and whole(house)
    assert len(house.files([new])) == 1
    assert (new.name, new.rows, new.counts, new.inputs, new.step) == (old.name, 9, old.counts, old.inputs, old.step)
    assert house.find(old.name) == new  # what rests on it still finds it, and is not stale
    assert stale([replace(old, inputs=(old.name,))], {DAYS[0]: [new]}) == {}
    assert "nothing to put together" in command("compact", "--shop", "toy").stdout
    age(house.root, 25)
    assert [thing.path for thing in keeping.collectable(house, 24)] == [house.attempt_of(old).path]


def test_what_was_judged_stays_judged_and_a_new_proposal_stays_where_it_is(house: Warehouse) -> None:
    old = many(house)
    house.publish(old, {"validation": {"suite": 2}})
    waiting = many(house, 12)
    (house.folder("safe", "reviews") / "published" / f"{DAYS[0]}.json").write_text(
        json.dumps({**asdict(old), "notes": {"validation": {"suite": 2}}})
    )
    assert command("compact", "--shop", "toy").returncode == 0
    live = house.mark("safe", "reviews", DAYS[0])
    assert live is not None and live.rows == 9 and live.notes["validation"] == {"suite": 2}
    assert house.mark("safe", "reviews", DAYS[0], "proposed") == replace(waiting)


def test_a_compaction_that_is_killed_or_comes_too_late_changes_nothing(
    house: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = many(house)

    def killed(*_: Any) -> bool:
        raise Killed

    with monkeypatch.context() as dying:
        dying.setattr(Warehouse, "replace", killed)
        with pytest.raises(Killed):
            keeping.together(house, old)
    assert house.mark("safe", "reviews", DAYS[0]) == old and whole(house)
    new = many(house, 12)  # published while the old one was being put together
    assert keeping.together(house, old) is None
    assert house.mark("safe", "reviews", DAYS[0]) == new and whole(house)


def test_rows_that_would_come_out_otherwise_move_no_pointer(house: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    old = many(house)
    real = keeping.batches
    turned = iter([real, real, lambda files: (rows.slice(0, 5) for rows in real(files))])
    monkeypatch.setattr(keeping, "batches", lambda files: next(turned)(files))
    with pytest.raises(Refused, match="would not hold the same rows"):
        keeping.together(house, old)
    assert house.mark("safe", "reviews", DAYS[0]) == old


@given(st.lists(st.integers(0, 25), min_size=1, max_size=6), st.integers(1, 10))
def test_any_files_are_cut_into_pieces_of_one_size_in_order(sizes: list[int], piece: int) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(keeping, "ROWS", piece)
        files, at = [], 0
        for n, size in enumerate(sizes):
            files.append(Path(folder) / f"{n}.parquet")
            pq.write_table(pa.table({"n": pa.array(range(at, at + size), pa.int64())}), files[-1])
            at += size
        found = list(keeping.batches(files))
    assert [n for rows in found for n in rows["n"].to_pylist()] == list(range(at))
    assert all(rows.num_rows == piece for rows in found[:-1])


def test_large_files_are_left_as_they_are(house: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    old = many(house)
    assert keeping.pays(house.files([old]))
    monkeypatch.setattr(keeping, "SMALL_FILE", 10)
    assert not keeping.pays(house.files([old]))
