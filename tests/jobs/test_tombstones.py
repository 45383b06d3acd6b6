"""Who was erased stays out: of every later import, whatever door it comes by; and others are not touched."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from jobs import tombstones
from jobs.console import Problem
from jobs.showing import balance
from jobs.tables import DELIVERED, WHOLE, table
from jobs.warehouse import Warehouse, warehouse
from tests.imports import load

GONE, STAYS = "v00017", "v00018"
DAY = "2017-09-01"


@pytest.fixture
def shop(home: Path, tmp_path: Path) -> Path:
    """The sample's layout by hand: each table with a row of either visitor, and lines that cannot be read."""
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "items-0.csv").write_text("item_id,title\ni1,Tea\n")
    (folder / "visitors-0.csv").write_text(f"visitor_id,name\n{GONE},Ann\n{STAYS},Bob\n {GONE} ,Ann\n")
    (folder / "offers-0.csv").write_text("offer_id,item_id,campaign_id\no1,i1,c1\n")
    (folder / "judgements-0.csv").write_text("query,item_id,rater,grade\ntea,i1,r,3\n")
    for name in ("searches", "rankings", "interactions", "reviews", "tickets", "offer_events", "promotions"):
        required = {column.name: "x" for column in table("clean", name).columns if column.required}
        rows = [{**required, "event_time": f"{DAY}T10:00:00Z", "visitor_id": who} for who in (GONE, STAYS)]
        (folder / f"{name}-0.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with (folder / "tickets-0.jsonl").open("a") as stream:
        stream.write('{"ticket_id": "t", "visitor_id": "v00017", "text": \n{"visitor_id": "v000171", "text": \n')
    return folder


def raw_ids(house: Warehouse) -> set[str]:
    names = [name for name in DELIVERED if "visitor_id" in table("raw", name).names]
    return {str(id).strip() for name in names for id in house.read("raw", name)["visitor_id"].to_pylist() if id}


def test_an_import_keeps_out_who_was_erased_and_counts_them(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert load(shop, "sample") == 0
    house = warehouse("sample")
    assert raw_ids(house) == {GONE, STAYS}
    tombstones.bury(house, [GONE], 1)
    before = {path: path.stat().st_mtime_ns for path in house.root.rglob("*.parquet")}
    assert load(shop, "sample") == 0
    assert raw_ids(house) == {STAYS}
    assert all(path.stat().st_mtime_ns == at for path, at in before.items() if path.exists())
    law = {row["table"]: row for row in balance(house)}
    assert all(row["ok"] for row in law.values())
    assert (law["visitors"]["in"], law["visitors"]["erased"], law["visitors"]["out"]) == (3, 2, 1)
    # Two rows and two broken lines: the row and the line of who was erased; another's id only begins alike.
    assert (law["tickets"]["in"], law["tickets"]["erased"], law["tickets"]["out"]) == (4, 2, 2)
    assert law["items"].get("erased", 0) == 0
    told = capsys.readouterr().err
    assert "kept out: " in told and "2 visitors" in told and GONE not in told


def test_a_delivery_keeps_them_out_too_and_comes_again_without_a_change(home: Path, tmp_path: Path) -> None:
    folder = tmp_path / "deliveries"
    mapping = 'first = 2024-01-01\ndeliveries = true\n[reviews]\nfiles = "r*.jsonl"\n[reviews.columns]\n' + "\n".join(
        f'{column} = "{field}"' for column, field in (("review_id", "id"), ("event_time", "at"), ("visitor_id", "who"))
    ) + '\nitem_id = { value = "i" }\n'  # fmt: skip
    for day, ids in (("2024-01-01", (STAYS, GONE)), ("2024-01-02", (GONE,)), ("2024-01-03", (STAYS, GONE))):
        (folder / day).mkdir(parents=True)
        rows = [{"id": f"{who}-{day}", "at": f"{day}T10:00:00Z", "who": who} for who in ids]
        (folder / day / "r.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "endcap.toml").write_text(mapping)
    house = warehouse("files", must_exist=False)
    tombstones.bury(house, [GONE], 1)
    assert load(folder) == 0
    counts = {mark.day: dict(mark.counts) for mark in house.marks("raw", "reviews")}
    assert counts["2024-01-01"] == {"in": 2, "out": 1, "erased": 1}
    assert counts["2024-01-02"] == {"in": 1, "out": 0, "erased": 1}
    assert raw_ids_of(house) == {STAYS} and all(row["ok"] for row in balance(house))
    marks = house.marks("raw", "reviews")
    assert load(folder) == 0 and house.marks("raw", "reviews") == marks
    late = {"id": "late", "at": "2024-01-01T11:00:00Z", "who": STAYS}
    (folder / "2024-01-04").mkdir()
    (folder / "2024-01-04" / "r.jsonl").write_text(json.dumps(late) + "\n")
    assert load(folder) == 0
    (first,) = house.marks("raw", "reviews", "2024-01-01", "2024-01-01")
    assert dict(first.counts) == {"in": 3, "out": 2, "erased": 1}  # what stood there is still told


def test_what_was_landed_stays_no_longer_than_its_import_where_somebody_was_erased(shop: Path, home: Path) -> None:
    assert load(shop.as_uri(), "sample") == 0
    assert (home / "sample" / "landed").is_dir()
    tombstones.bury(warehouse("sample"), [GONE], 1)
    assert load(shop.as_uri(), "sample") == 0
    assert not (home / "sample" / "landed").exists() and raw_ids(warehouse("sample")) == {STAYS}


def raw_ids_of(house: Warehouse) -> set[str]:
    return set(house.read("raw", "reviews")["visitor_id"].to_pylist())


def test_nothing_is_read_twice_where_nobody_was_erased(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load(shop, "sample") == 0
    house = warehouse("sample")
    (mark,) = house.marks("raw", "visitors")
    monkeypatch.setattr(pq, "ParquetFile", None)
    assert not tombstones.keep_out(house, house.attempt_of(mark))
    assert mark.day == WHOLE


def test_a_ledger_that_a_power_cut_tore_is_closed_and_an_id_is_entered_once(home: Path) -> None:
    house = warehouse("toy", must_exist=False)
    tombstones.bury(house, ["a1"], 1)
    with house.erasures.open("a") as stream:
        stream.write('{"erasure": 2, "visi')
    tombstones.bury(house, ["b2", "a1"], 3)
    known = tombstones.load(house)
    assert [known.number(id) for id in ("a1", " b2 ", "c3")] == [1, 3, None]
    assert len(house.erasures.read_bytes().splitlines()) == 3


def test_a_damaged_key_keeps_nobody_out_and_is_told(home: Path) -> None:
    house = warehouse("toy", must_exist=False)
    tombstones.bury(house, ["a1"], 1)
    tombstones.key_file("toy").write_text("no key")
    with pytest.raises(Problem, match="lost or damaged"):
        tombstones.load(house)
