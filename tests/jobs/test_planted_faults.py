"""The generated shop's planted faults: each is found with its reason, nothing else is refused, no row is lost."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from jobs.counting import TERMS
from jobs.judging import REASONS
from jobs.tables import DELIVERED, LINKS, table
from jobs.warehouse import Warehouse
from tests.conftest import once


@pytest.fixture(scope="module")
def cleaned(run_here: Callable[..., None], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home in which the whole shop was imported and cleaned by the real commands."""

    def make(home: Path) -> None:
        run_here(home, "import", "sample", "--scale", "0.3")
        run_here(home, "clean", "--shop", "sample")

    return once(tmp_path_factory, "planted", make)


@pytest.fixture
def house(cleaned: Path) -> Warehouse:
    return Warehouse("sample", cleaned / "sample" / "warehouse")


def planted(cleaned: Path) -> dict[tuple[str, str, int], str]:
    """What the simulator knows: the reason for each planted fault, by table, file and row."""
    faults = json.loads((cleaned / "sample" / "truth" / "faults.json").read_text())
    return {(fault["table"], fault["file"], fault["row"]): fault["reason"] for fault in faults}


def test_every_planted_fault_is_found_with_its_reason_and_nothing_else_is(cleaned: Path, house: Warehouse) -> None:
    found = {
        (name, row["source_file"], row["source_row"]): row["reason"]
        for name in DELIVERED
        for row in house.read("quarantine", f"clean.{name}").to_pylist()
    }
    known = planted(cleaned)
    assert found == {place: reason for place, reason in known.items() if reason not in ("duplicate", "merged")}
    assert set(known.values()) == {*REASONS, "duplicate", "merged"} - {"corrected"}  # every reason code is among them


def test_every_planted_twin_is_merged_and_nothing_else_is(cleaned: Path, house: Warehouse) -> None:
    for name, links in LINKS.items():
        key = table("clean", name).key[0]
        raw = {(r["source_file"], r["source_row"]): r[key] for r in house.read("raw", name).to_pylist()}
        twins = {
            raw[place[1:]] for place, reason in planted(cleaned).items() if place[0] == name and reason == "merged"
        }
        rows = house.read("clean", links).to_pylist()
        assert {row[key] for row in rows} == twins, name
        assert all(row["merged"] and row["kept_id"] == row[key].partition("-x")[0] for row in rows)
        assert house.marks("clean", name)[0].counts["merged"] == len(twins) > 0
        assert not twins & set(house.read("clean", name, columns=[key])[key].to_pylist())


def test_every_planted_duplicate_is_dropped_and_counted(cleaned: Path, house: Warehouse) -> None:
    for name in DELIVERED:
        twice = [place for place, reason in planted(cleaned).items() if place[0] == name and reason == "duplicate"]
        assert sum(mark.counts["duplicates"] for mark in house.marks("clean", name)) == len(twice)
        rows = house.read("clean", name, columns=["source_file", "source_row"]).to_pylist()
        kept = {(name, row["source_file"], row["source_row"]) for row in rows}
        assert not kept & set(twice)


def test_rows_in_are_rows_out_plus_all_that_has_a_reason(house: Warehouse) -> None:
    for name in DELIVERED:
        raw = sum(mark.rows for mark in house.marks("raw", name))
        out = house.read("clean", name).num_rows
        refused = house.read("quarantine", f"clean.{name}").num_rows
        marks = house.marks("clean", name)
        assert sum(mark.counts["in"] for mark in marks) == raw
        assert sum(mark.counts[term] for mark in marks for term in TERMS) == raw
        assert raw == out + refused + sum(mark.counts[term] for mark in marks for term in ("duplicates", "merged"))
