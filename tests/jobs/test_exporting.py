"""A person gets all that is held of them, and nothing of others; what was exported goes with an erasure."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobs.__main__ import parser
from jobs.console import run_command
from jobs.pseudonyms import load_key, pseudonym
from jobs.tables import WHOLE

SHOP, ANN, BOB = "toy", "v00017", "v00018"


@pytest.fixture
def shop(home: Path, put: Callable[..., Any]) -> Path:
    """Two visitors: raw and safe rows, a line of the feedback log, a refused row."""
    key = load_key(SHOP)
    put(SHOP, "raw", "visitors", [{"visitor_id": f" {ANN}", "name": "Ann"}, {"visitor_id": BOB, "name": "Bob"}])
    put(SHOP, "quarantine", "clean.visitors", [{"reason": "missing", "row": json.dumps({"visitor_id": ANN})}], WHOLE)
    put(SHOP, "safe", "visitors", [{"visitor": pseudonym(key, who), "age": "65+"} for who in (ANN, BOB)])
    (home / SHOP / "feedback").mkdir()
    lines = [json.dumps({"visitor_id": who, "kind": "click"}) for who in (BOB, ANN)]
    (home / SHOP / "feedback" / "2026-01-01.jsonl").write_text("\n".join(["   ", *lines]) + "\n")
    return home / SHOP


def export(*words: str) -> int:
    return run_command(parser(), ["export", "--shop", SHOP, *words])


def test_everything_of_one_person_with_its_meaning_and_nothing_of_another(shop: Path, tmp_path: Path) -> None:
    out = tmp_path / "ann.json"
    assert export("--visitor", ANN, "--out", str(out)) == 0
    told = json.loads(out.read_text())
    assert {zone: list(tables) for zone, tables in told["tables"].items()} == {
        "raw": ["visitors"], "safe": ["visitors"], "quarantine": ["clean.visitors"],
    }  # fmt: skip
    raw = told["tables"]["raw"]["visitors"]
    assert [row["name"] for row in raw["rows"]] == ["Ann"] and raw["columns"]["name"] == "name of the person"
    assert told["pseudonyms"] == [pseudonym(load_key(SHOP), ANN)] and "Bob" not in out.read_text()
    assert [line["visitor_id"] for line in told["feedback"]["lines"]] == [ANN]
    assert out.stat().st_mode & 0o777 == 0o600


def test_the_same_home_gives_the_same_bytes_under_a_name_without_an_id(
    shop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export("--visitor", ANN) == 0
    (path,) = (shop / "exports").iterdir()
    before, told = path.read_bytes(), capsys.readouterr()
    assert ANN not in path.name and ANN not in told.out + told.err and str(path) in told.out
    assert export("--visitor", ANN) == 0 and path.read_bytes() == before
    assert (shop / "exports").stat().st_mode & 0o777 == 0o700


def test_of_an_unknown_person_nothing_is_written(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert export("--visitor", "nobody") == 2 and export() == 2
    assert not (shop / "exports").exists() and "nothing is known of this visitor" in capsys.readouterr().err


def test_an_erasure_takes_the_export_along(shop: Path) -> None:
    assert export("--visitor", ANN) == 0 and export("--visitor", BOB) == 0
    assert run_command(parser(), ["erase", "--shop", SHOP, "--visitor", ANN]) == 0
    assert [json.loads(path.read_text())["accounts"] for path in (shop / "exports").iterdir()] == [[BOB]]
