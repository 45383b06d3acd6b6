"""The residue attack: whatever of a person stands below the closed zone is found, and stops the command."""

import ast
import json
import sqlite3
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs import residue
from jobs.__main__ import parser
from jobs.console import REFUSED, run_command
from jobs.opening import Piece
from jobs.residue import Shapes, numbers, own, told_by_digits
from jobs.tables import WHOLE, table
from jobs.warehouse import Warehouse, arrow_schema, warehouse

KNOWN = {"known_time": datetime(2017, 1, 1, tzinfo=UTC), "simulated": True}
ANN = {"visitor_id": "900", "name": "Ann Lee", "email": "ann@shop.example", "phone": "+1 423 235 1224",
       "address": "44 Mill Road", "source_file": "v.csv", "source_row": 1, **KNOWN}  # fmt: skip
BEA = {"visitor_id": "901", "name": "周涛", "phone": "138 1234 5678", "source_file": "v.csv", "source_row": 2, **KNOWN}


def put(house: Warehouse, zone: str, name: str, rows: dict[str, list[dict[str, Any]]]) -> None:
    """Published rows by day."""
    with house.attempt(zone, name) as attempt:
        for day, of_day in rows.items():
            attempt.folder(day).mkdir()
            made = pa.Table.from_pylist(of_day, schema=arrow_schema(table(zone, name)))
            pq.write_table(made, attempt.folder(day) / "part-00000.parquet", compression="zstd")
        for mark in house.propose_days(attempt, rows, step="test"):
            house.publish(mark)


def review(day: str, text: str) -> dict[str, Any]:
    when = datetime.fromisoformat(f"{day}T10:00:00+00:00")
    return {"review_id": "r1", "event_time": when, "visitor": "v1_00ff", "item_id": "900", "rating": 5, "text": text,
            "known_time": when, "simulated": True, "day": date.fromisoformat(day)}  # fmt: skip


@pytest.fixture
def house(home: Path, monkeypatch: pytest.MonkeyPatch) -> Warehouse:
    """A shop of two visitors and two days. The canaries have tests of their own (`test_scanning`)."""
    monkeypatch.setattr(residue, "prove", lambda search: ["planted"])
    made = warehouse("shop", must_exist=False)
    put(made, "clean", "visitors", {WHOLE: [ANN, BEA]})
    put(made, "safe", "reviews", {day: [review(day, "good, 900 times")] for day in ("2017-01-01", "2017-01-02")})
    for path in (
        "feedback/2017-01-01.jsonl",
        "keys/x",
        "source/v.csv",
        "landed/a",
        "truth/t.json",
        "erasures/pending/1.json",
        "erasures/requests/r0.json",
    ):
        (home / "shop" / path).parent.mkdir(parents=True, exist_ok=True)
        (home / "shop" / path).write_text(json.dumps(ANN, default=str))
    return made


def scan(*words: str) -> int:
    return run_command(parser(), ["scan", "--shop", "shop", *words])


def report(home: Path) -> dict[str, Any]:
    return dict(json.loads((home / "shop" / "reports" / "residue.json").read_text()))


def test_a_shop_without_residue_passes_and_the_closed_zone_is_left_out(
    house: Warehouse, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert scan() == 0
    made = report(home)
    assert made["passed"] and made["total"] == 0 and made["canaries"] == {"found": 1, "planted": ["planted"]}
    assert made["needles"] == {"address": 1, "email": 1, "name": 2, "phone": 6, "visitor_id": 2}
    assert {"warehouse/raw", "warehouse/clean", "warehouse/quarantine", "keys", "feedback"} <= set(made["left_out"])
    assert "no identifier below the closed zone" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("mail ANN@shop.example", {"any email", "email"}),
        ("call 4232351224 now", {"phone"}),
        ("call 423-235-1224 now", {"any phone"}),
        ("call 13812345678 now", {"any phone", "phone"}),
        ("signed, Ann Lee", {"name"}),
        ("收货人周涛收", {"name"}),
        ("to 44 mill road", {"address"}),
        ("visitor_id=900", {"visitor_id"}),
    ],
)
def test_an_identifier_in_a_safe_text_is_found_and_told_without_being_said(
    house: Warehouse, home: Path, capsys: pytest.CaptureFixture[str], text: str, what: set[str]
) -> None:
    put(house, "safe", "reviews", {"2017-01-02": [review("2017-01-02", text)]})
    assert scan() == REFUSED
    made, told = report(home), capsys.readouterr()
    assert {each["what"] for each in made["found"] if each["decoded"]} == what and not made["passed"]
    assert all("warehouse" in each["path"] or "safe/reviews" in each["path"] for each in made["found"])
    assert "safe/reviews/attempts" in told.err and "2017-01-02" in told.err
    for secret in ("ann@", "423235", "423-235", "138123", "Ann Lee", "周涛", "mill road"):
        assert secret.lower() not in (told.err + told.out + json.dumps(made, ensure_ascii=False)).lower(), secret


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("shop/receipts/2017-01-01.jsonl", '{"receipt_id": "1", "visitor": "900"}'),
        ("shop/reports/search.json", '{"examples": [{"visitor_id": "901"}]}'),
        ("shop/logs/api.log", "GET /recommend?visitor=900"),
        ("mlflow/artifacts/run/rows.csv", "visitor_id,score\n900,0.5\n"),
        ("run/logs/api.log", "ann%40shop.example"),
        ("airflow/logs/a.log", "python -m jobs erase --visitor 900"),
    ],
)
def test_what_lies_beside_the_tables_is_searched_too(house: Warehouse, home: Path, path: str, text: str) -> None:
    (home / path).parent.mkdir(parents=True, exist_ok=True)
    (home / path).write_text(text)
    assert scan() == REFUSED
    assert {each["path"] for each in report(home)["found"]} == {path.removeprefix("shop/")}


def test_the_online_store_is_searched_with_its_free_pages(house: Warehouse, home: Path) -> None:
    (home / "shop" / "feast").mkdir()
    base = sqlite3.connect(home / "shop" / "feast" / "online.db")
    base.execute("PRAGMA secure_delete=OFF")
    base.execute("CREATE TABLE t(k BLOB)")
    base.executemany("INSERT INTO t VALUES(?)", [(b"\x08\x01x" * 9,), (b"\x00\x01ann@shop.example\x02",)])
    base.commit()
    assert scan() == REFUSED
    assert {(each["what"], each["decoded"]) for each in report(home)["found"]} >= {("email", True), ("email", False)}
    base.execute("DELETE FROM t WHERE rowid=2")
    base.commit()
    base.close()
    assert scan() == REFUSED
    assert {(each["what"], each["decoded"]) for each in report(home)["found"]} == {("email", False)}


def test_with_days_only_what_is_published_of_them_is_searched(house: Warehouse, home: Path) -> None:
    put(house, "safe", "reviews", {"2017-01-02": [review("2017-01-02", "mail ann@shop.example")]})
    assert scan("--last", "2017-01-01") == 0
    assert scan("--first", "2017-01-02", "--last", "2017-01-02") == REFUSED
    put(house, "safe", "reviews", {"2017-01-02": [review("2017-01-02", "mail nobody")]})
    assert scan("--first", "2017-01-02") == 0
    assert scan() == REFUSED  # what no mark points to any more still lies there
    assert scan("--first", "2017-01-03", "--last", "2017-01-02") == 2


def test_without_visitors_there_is_nothing_to_be_sought(home: Path) -> None:
    warehouse("shop", must_exist=False).root.mkdir(parents=True)
    assert scan() == 1


def test_a_search_whose_canaries_are_not_found_gives_no_answer(
    house: Warehouse, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from jobs import canaries, opening

    monkeypatch.setattr(residue, "prove", canaries.prove)
    monkeypatch.delitem(opening.OPENERS, "zstd")
    assert scan() == REFUSED
    assert not residue.report_file("shop").exists()


def shapes(text: str) -> set[str]:
    return {hit.name for hit in Shapes().hits(Piece("text", "", text.encode()))}


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("a.b+c@mail.example.org", "any email"),
        ("4111 1111 1111 1111", "any card"),
        ("4111-1111-1111-1111.", "any card"),
        ("card 378282246310005 please", "any card"),
        ("order 2017 4111 1111 1111 1111", "any card"),
        ("6222021234567890128", "any card"),
        ("身份证11010519491231002X。", "any resident id"),
        ("id 11010519491231002x", "any resident id"),
        ("手机13812345678。", "any phone"),
        ("138-1234-5678", "any phone"),
        ("+44 20 7946 0958", "any phone"),
        ("(423) 235-1224", "any phone"),
        ("423-235-1224", "any phone"),
        ("DE89370400440532013000", "any iban"),
    ],
)
def test_what_has_the_shape_of_an_identifier_is_one(text: str, kind: str) -> None:
    assert kind in shapes(text)


@pytest.mark.parametrize(
    "text",
    [
        "item 1095275", "4111111111111112", "1511366400000000", "0.4111111111111111", "v1_4111111111111111",
        "x4111111111111111", "4111111111111111a", "2017-01-01 10:00:00", "20170101100000", "110105194912310020",
        "11010519491331002X", "12345678901", "10000000000", "icon@2x.png", "a @ b.org", "safe/items/whole@c2e6f4eafd69",
        "DE89370400440532013001", "423 235", "1 2 3 4 5 6 7 8 9 0 1", "9" * 500,
    ],
)  # fmt: skip
def test_other_numbers_and_names_are_none(text: str) -> None:
    assert shapes(text) == set()


def test_the_lines_of_a_drawing_are_no_numbers_of_persons() -> None:
    def of(text: bytes) -> set[str]:
        return {hit.name for hit in Shapes().hits(Piece("html", "", text))}

    assert of(b'<path d="M 4111 1111 1111 1111 L 423-235-1224"/>') == set()
    assert of(b'<p id="4111 1111 1111 1111">423-235-1224</p>') == {"any card", "any phone"}


def test_two_values_side_by_side_have_no_shape() -> None:
    def of(rows: list[str]) -> set[str]:
        return {hit.name for hit in Shapes().hits(Piece("parquet", "", pa.array(rows)))}

    assert of(["41111111", "11111111", "ann@", "shop.example"]) == set()
    assert of(["x", "4111111111111111", None, "ann@shop.example"]) == {"any card", "any email"}


def test_checksums_are_those_of_the_standards() -> None:
    assert residue.luhn("4242424242424242") and not residue.luhn("4242424242424241")
    assert residue.resident("11010519491231002X") and not residue.resident("110105194912310021")
    assert told_by_digits(b"4242424242424242", b"", b"") == "card"
    assert list(residue.runs(b"12 3456789012", np.array([0, 13])))


def test_ids_are_sought_of_whoever_did_something_and_shapes_where_nobody_visits(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(residue, "prove", lambda search: ["planted"])
    made = warehouse("shop", must_exist=False)
    put(made, "clean", "items", {WHOLE: [{"item_id": "i1"}]})
    assert scan() == 0 and "has no visitors" in capsys.readouterr().err
    put(made, "safe", "reviews", {"2017-01-01": [review("2017-01-01", "card 4242424242424242")]})
    assert scan() == REFUSED and {"any card"} == {each["what"] for each in report(home)["found"]}
    put(made, "clean", "reviews", {"2017-01-01": [{"review_id": "r", "visitor_id": "household-77", "text": "x"}]})
    put(made, "safe", "reviews", {"2017-01-01": [review("2017-01-01", "from household-77")]})
    assert scan() == REFUSED and "visitor_id" in {each["what"] for each in report(home)["found"]}


def test_needles_of_visitors_leave_out_what_is_many_peoples() -> None:
    rows = [
        ANN,
        {"visitor_id": "1", "name": "Ann"},
        {"name": "王"},
        {"address": "x"},
        {"email": "none"},
        {"phone": "12"},
    ]
    kinds = sorted(residue.kind_of(name) for name in own(rows))
    assert kinds == ["address", "email", "name", "phone", "phone", "phone", "visitor_id", "visitor_id"]
    assert numbers("13812345678") == ["13812345678", "8613812345678"]
    assert len(own([ANN, ANN])) == len(own([ANN]))


@pytest.mark.parametrize("name", ["residue", "scanning", "opening", "canaries"])
def test_it_shares_nothing_with_the_scrubbing(name: str) -> None:
    tree = ast.parse(Path(residue.__file__).with_name(f"{name}.py").read_text(encoding="utf-8"))
    known = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    known |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not {"jobs.scrubbing", "jobs.anonymising", "jobs.values", "pyspark"} & known
