"""The data gate: good days are published, a bad day stays proposed and is named, and the exit code is 3."""

import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from jobs import expectations
from jobs.tables import DELIVERED
from jobs.warehouse import warehouse

V = "v1_" + "0" * 32


def event(n: int, day: int = 1, **changed: Any) -> dict[str, Any]:
    when = datetime(2020, 1, day, 10, tzinfo=UTC)
    row = {"interaction_id": f"n{n}", "event_time": when, "visitor": V, "item_id": "i1", "kind": "purchase"}
    return {**row, "known_time": when, "simulated": False, "day": date(2020, 1, day), **changed}


def propose(put: Callable[..., Any], name: str, rows: list[dict[str, Any]], day: str = "whole") -> None:
    """Proposed, not published: what `put` published is taken back."""
    mark = put("toy", "safe", name, rows, day)
    (warehouse("toy").folder("safe", name) / "published" / f"{mark.day}.json").unlink()


def test_good_days_pass_and_bad_days_are_named(put: Callable[..., Any], home: Path) -> None:
    known = {"known_time": datetime(2020, 1, 1, tzinfo=UTC), "simulated": False}
    propose(put, "items", [{"item_id": "i1", "title": "tea", **known}])
    propose(put, "interactions", [event(1), event(2)], "2020-01-01")
    propose(put, "interactions", [event(1, 2), event(1, 2, quantity=2), event(3, 2, visitor="ann")], "2020-01-02")
    propose(put, "interactions", [], "2020-01-03")
    done = subprocess.run(
        [sys.executable, "-m", "jobs", "validate", "--shop", "toy"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 3, done.stderr
    house = warehouse("toy")
    assert house.days("safe", "items") == ["whole"]
    assert house.days("safe", "interactions") == ["2020-01-01", "2020-01-03"]
    assert "interactions 2020-01-02" in done.stderr
    assert "unique by interaction_id" in done.stderr
    assert "visitor is a pseudonym" in done.stderr
    empty = house.mark("safe", "interactions", "2020-01-03")
    assert empty is not None
    assert empty.notes["validation"]["warnings"] == ["has rows"]  # a shop may be closed
    assert (home / "toy" / "docs" / "index.html").is_file()


@pytest.mark.parametrize("name", DELIVERED)
def test_every_table_has_a_suite_over_columns_that_its_profile_has(name: str) -> None:
    from jobs.tables import table

    columns = {"rows", "off_mark", "repeated", *[fault.column for fault in expectations.faults(table("safe", name))]}
    suite = expectations.suite(name)
    assert {one.column for one in suite} <= columns
    assert all(one.words for one in suite)
    assert [one.column for one in suite].count("off_mark") == 1
