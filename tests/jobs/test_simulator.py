"""The generated shop: the same seed gives the same bytes, its truth holds, its faults are where it says they are."""

import json
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from jobs.judging import REASONS as CLEAN_REASONS
from jobs.simulator import people, shop
from jobs.simulator.grocer import plain
from jobs.simulator.ranking import EXAMINATION, SHOWN, click, show
from jobs.sources.text import parsed

REASONS = ({*CLEAN_REASONS} - {"corrected"}) | {"duplicate", "merged"}  # the generated shop has no deliveries


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("sample")
    shop.generate(home, scale=0.1, seed=1)
    return home


def rows(home: Path, name: str) -> list[dict[str, Any]]:
    ending = "csv" if name in shop.CSV else "jsonl"
    found = sorted((home / "source").glob(f"{name}-*.{ending}"))
    return [dict(row) for path in found for _, row, _ in parsed(path, ending) if row is not None]


def test_the_same_seed_gives_the_same_bytes(made: Path, tmp_path: Path) -> None:
    shop.generate(tmp_path, scale=0.1, seed=1)
    for path in sorted((made / "source").iterdir()):
        assert path.read_bytes() == (tmp_path / "source" / path.name).read_bytes(), path.name


def test_every_reason_is_planted_five_times_in_a_shop_of_full_size() -> None:
    from jobs.simulator.faults import PLAN

    once = ("items", "judgements")  # one file, however many blocks
    planned = Counter(r for name, plan in PLAN.items() for r, *_ in plan for _ in range(1 if name in once else 3))
    assert set(planned) == set(REASONS)
    assert min(planned.values()) >= 5


def test_faults_lie_where_the_truth_says(made: Path) -> None:
    faults = json.loads((made / "truth" / "faults.json").read_text())
    assert {fault["reason"] for fault in faults} == set(REASONS)
    for fault in faults:
        path = made / "source" / fault["file"]
        found = {number: (row, broken) for number, row, broken in parsed(path, path.suffix[1:])}
        row, broken = found[fault["row"]]
        assert (broken is not None) == (fault["reason"] == "unreadable"), fault
        if fault["reason"] == "duplicate":
            assert any(other == row for number, (other, _) in found.items() if number < fault["row"]), fault


def test_planted_values_stand_where_the_truth_says(made: Path) -> None:
    ending = {"visitors": "csv"}
    for value in pq.read_table(made / "truth" / "planted-00000.parquet").to_pylist():
        path = made / "source" / value["file"]
        row = {n: r for n, r, _ in parsed(path, ending.get(value["table"], "jsonl"))}[value["row"]]
        assert row is not None
        assert str(row[value["column"]])[value["start"] : value["end"]] == value["value"]


def test_queries_come_from_many_and_a_tail_from_few(made: Path) -> None:
    askers: dict[str, set[str]] = defaultdict(set)
    searches = rows(made, "searches")
    for row in searches:
        if row.get("query") and row.get("visitor_id"):
            askers[row["query"]].add(row["visitor_id"])
    assert any(len(who) >= 3 for who in askers.values())
    assert any(len(who) == 1 for who in askers.values())
    assert any("一" <= character <= "鿿" for query in askers for character in query)


def test_the_policy_shows_each_item_as_often_as_it_says() -> None:
    rng = np.random.default_rng(7)
    shown, propensity = show(rng, np.tile(np.arange(SHOWN), (40_000, 1)))
    assert sorted(set(np.round(propensity.ravel(), 9))) == [0.02, 0.82]
    assert np.mean(shown[:, 0] == 0) == pytest.approx(0.82, abs=0.01)
    assert np.mean(shown[:, 0] == 5) == pytest.approx(0.02, abs=0.005)
    assert np.mean(1 / propensity[:, 0] * (shown[:, 0] == 3)) == pytest.approx(1, abs=0.2)  # unbiased


def test_clicks_are_examination_times_attraction() -> None:
    clicked = click(np.random.default_rng(7), np.full((40_000, SHOWN), 3), (0.0, 0.0, 0.0, 0.5))
    assert clicked.mean(axis=0) == pytest.approx(EXAMINATION * 0.5, abs=0.01)


def test_habits_come_back_after_their_interval(made: Path) -> None:
    truth = pq.read_table(made / "truth" / "visitors-00000.parquet").to_pylist()
    days: dict[tuple[str, str], list[np.datetime64]] = defaultdict(list)
    for row in rows(made, "interactions"):
        if row.get("kind") == "purchase" and row.get("item_id") and "-x" not in row["interaction_id"]:
            days[row["visitor_id"], row["item_id"]].append(np.datetime64(row["event_time"][:10]))
    gaps = [
        np.median(np.diff(sorted(days[v["visitor_id"], item])).astype(int)) / every
        for v in truth
        for item, every in zip(v["habits"], v["every_days"], strict=True)
        if len(days[v["visitor_id"], item]) >= 4
    ]
    assert len(gaps) > 50
    assert np.median(gaps) == pytest.approx(1, abs=0.15)


def test_above_scale_ten_the_files_are_parquet_and_the_blocks_are_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shop, "TEXT_UP_TO", 0.01)
    monkeypatch.setattr(shop, "BLOCK", 5)
    shop.generate(tmp_path, scale=0.05, seed=1)
    files = sorted(path.name for path in (tmp_path / "source").glob("searches-*"))
    assert files == ["searches-00000.parquet", "searches-00001.parquet", "searches-00002.parquet"]
    made = pq.read_table(tmp_path / "source" / "visitors-00000.parquet")
    assert made.num_rows == 5
    assert set(map(str, made.schema.types)) == {"string"}


@pytest.mark.parametrize("seed", range(20))
def test_made_up_identifiers_hold_their_checksums(seed: int) -> None:
    rng = np.random.default_rng(seed)
    card = people.card(rng).replace(" ", "")
    assert people.luhn_digit(card[:-1]) == card[-1]
    assert len(card) == 16
    account = people.iban(rng)
    assert len(account) == 22
    assert int(account[4:] + "1314" + account[2:4]) % 97 == 1
    resident = people.resident_id(rng)
    weights = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)  # as GB 11643 prints them
    assert "10X98765432"[sum(int(d) * w for d, w in zip(resident, weights, strict=False)) % 11] == resident[17]


def test_abbreviations_are_said_in_plain_words() -> None:
    assert plain("FRZN FRENCH FRIES") == "frozen french fries"
    assert plain("CATSUP") == "ketchup"
