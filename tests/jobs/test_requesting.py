"""A request holds the ids, its name tells nothing of them, and an erasure by it ends as one by the ids does."""

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from jobs import requesting
from jobs.console import Usage
from jobs.warehouse import Warehouse, warehouse

ANN, BOB = "v00017", "v00018"


@pytest.fixture
def house(home: Path) -> Warehouse:
    made = warehouse("toy", must_exist=False)
    made.root.mkdir(parents=True)
    return made


def test_a_request_lies_in_the_closed_zone_under_a_name_that_tells_nothing(house: Warehouse) -> None:
    name, other = requesting.ask(house, [ANN, "家 42"], "privacy office"), requesting.ask(house, [ANN], "me")
    assert requesting.NAME.fullmatch(name) and name != other and ANN not in name
    assert requesting.read(house, name) == ([ANN, "家 42"], "privacy office")
    assert requesting.waiting(house) == sorted([name, other])
    folder = requesting.folder(house)
    assert stat.S_IMODE(folder.stat().st_mode) == stat.S_IMODE(folder.parent.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}


def test_an_erasure_answers_the_requests_that_name_nobody_else(house: Warehouse) -> None:
    both, one, other = (requesting.ask(house, ids, "me") for ids in ([ANN, BOB], [ANN], [BOB]))
    assert requesting.about(house, [ANN, "more"]) == [one]
    assert requesting.about(house, [ANN, BOB]) == sorted([both, one, other])
    requesting.drop(house, [one, one])
    assert requesting.read(house, one) is None and requesting.waiting(house) == sorted([both, other])


@pytest.mark.parametrize("word", [ANN, "r99", "../../keys/tombstone", "R0123456789AB", "r0123456789ac\n", ""])
def test_what_is_no_name_of_a_request_is_refused_and_not_repeated(word: str, house: Warehouse) -> None:
    with pytest.raises(Usage) as refused:
        requesting.read(house, word)
    assert not word.strip() or word.strip() not in str(refused.value)


def test_a_shop_where_nobody_asked_has_no_request(house: Warehouse) -> None:
    assert requesting.waiting(house) == requesting.about(house, [ANN]) == []
    requesting.drop(house, ["r0123456789ab"])
    assert requesting.read(house, "r0123456789ab") is None


def test_half_a_request_is_none(house: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    def cut(*given: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("os.link", cut)
    with pytest.raises(KeyboardInterrupt):
        requesting.ask(house, [ANN], "me")
    assert requesting.waiting(house) == []
    assert ANN not in json.dumps([path.name for path in house.root.parent.rglob("*")])
