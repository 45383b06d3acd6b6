"""Import: every row as it came, with its place; broken lines whole; bad input named before work starts."""

import json
import os
from datetime import UTC, date, datetime
from io import BytesIO
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs import finding, importing
from jobs.console import Problem, Usage
from jobs.sources import source, text
from jobs.sources.text import clocks, csv_records, escape, json_lines, unescape
from jobs.tables import DELIVERED, table
from jobs.warehouse import Warehouse, warehouse
from tests.imports import asked

ITEMS = "item_id,title\ni1,Tea\n"
TIMES = ("2017-08-14T00:00:00Z", "yesterday", "1999-01-01T00:00:00Z", "2031-01-01T00:00:00Z", "2017-12-31T23:59:00Z")


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A delivery of the sample's layout, by hand: one row a table, and a few more searches."""
    folder = tmp_path / "delivery"
    folder.mkdir()
    (folder / "items-0.csv").write_text(ITEMS)
    (folder / "visitors-0.csv").write_text("visitor_id,name\np1,Ann\n")
    (folder / "offers-0.csv").write_text("offer_id,item_id,campaign_id\no1,i1,c1\n")
    (folder / "judgements-0.csv").write_text("query,item_id,rater,grade\ntea,i1,r,3\n")
    for name in ("rankings", "interactions", "reviews", "tickets", "offer_events", "promotions"):
        required = {column.name: "x" for column in table("clean", name).columns if column.required}
        (folder / f"{name}-0.jsonl").write_text(json.dumps({**required, "event_time": "2017-09-01T10:00:00Z"}) + "\n")
    told = {"visitor_id": "p1", "query": "tea"}
    searches = [json.dumps({"search_id": f"s{n}", "event_time": t, **told}) for n, t in enumerate(TIMES)]
    (folder / "searches-0.jsonl").write_bytes("\n".join(searches).encode() + b'\n\n{"query": "\xff\\n"}\n{"torn": \n')
    return folder


def shas(house: Warehouse, name: str) -> dict[str, str]:
    return {mark.day: mark.sha256 for mark in house.marks("raw", name)}


@given(st.binary(max_size=60))
def test_an_escaped_line_gives_its_bytes_back(line: bytes) -> None:
    assert unescape(escape(line)) == line


def test_json_lines_keep_numbers_as_written_and_broken_lines_whole() -> None:
    lines = b'{"a": 1.10, "b": "x"}\r\n\n{"a": \n["no object"]\n{"a": "\xff"}\n{"a": "\\ud800"}\n{"a": 1, "a": 2}\n'
    rows = list(json_lines(BytesIO(lines)))
    assert rows[0][:2] == (1, {"a": "1.10", "b": "x"})
    assert [(number, row) for number, row, _ in rows[1:]] == [(3, None), (4, None), (5, None), (6, None), (7, None)]
    assert [line for _, _, line in rows[1:]] == lines.replace(b"\r\n", b"\n").split(b"\n")[2:7]


def test_csv_quotes_may_hold_newlines_and_a_wrong_count_of_fields_is_unreadable() -> None:
    lines = b'a,b\r\n"one\ntwo, ""three""",4\r\nonly one\r\n5,\xff\r\n"7",8\r\n'
    rows = list(csv_records(BytesIO(lines)))
    assert [(number, row) for number, row, _ in rows] == [
        (2, {"a": 'one\ntwo, "three"', "b": "4"}),
        (4, None),
        (5, None),
        (6, {"a": "7", "b": "8"}),
    ]
    assert [line for _, row, line in rows if row is None] == [b"only one", b"5,\xff"]


def test_a_quote_that_never_closes_loses_no_line() -> None:
    rows = list(csv_records(BytesIO(b'a,b\n"open,1\n2,3\n4,5\n')))
    assert [(number, row) for number, row, _ in rows] == [
        (2, None), (3, {"a": "2", "b": "3"}), (4, {"a": "4", "b": "5"}),
    ]  # fmt: skip


def test_quotes_that_open_no_field_join_no_lines() -> None:
    rows = list(csv_records(BytesIO(b'a\tb\nx\t5" pipe\ny\t6" pipe\n\t\n'), "\t"))
    assert [(number, row) for number, row, _ in rows] == [
        (2, {"a": "x", "b": '5" pipe'}), (3, {"a": "y", "b": '6" pipe'}), (4, {"a": None, "b": None}),
    ]  # fmt: skip


def test_two_stray_quotes_spoil_their_own_lines_and_no_row_between() -> None:
    lines = b'id,title\n1,"good"\n2,"bad\n3,c\n4,"also bad\n5,"two\nlines"\n6,f\n'
    assert [(number, row and row["title"]) for number, row, _ in csv_records(BytesIO(lines))] == [
        (2, "good"), (3, None), (4, "c"), (5, None), (6, "two\nlines"), (8, "f"),
    ]  # fmt: skip


def test_a_title_is_not_made_of_thousands_of_rows() -> None:
    between = "".join(f"{n},ok\n" for n in range(2, 2000))
    rows = list(csv_records(BytesIO(f'id,title\n1,"bad\n{between}2000,17 inch"\n2001,x\n'.encode())))
    assert rows[0] == (2, None, b'1,"bad')
    assert [row["id"] for _, row, _ in rows if row] == [str(n) for n in range(2, 2002)]


def test_a_long_text_in_quotes_stays_one_field() -> None:
    log = "\n".join(f"line {n}, of a log, and more" if n % 3 else "short" for n in range(500))
    rows = list(csv_records(BytesIO(f'id,text\n1,"{log}"\n2,x\n'.encode())))
    assert [row and row["text"] for _, row, _ in rows] == [log, "x"]


def test_reading_takes_no_time_that_grows_with_the_square_of_stray_quotes() -> None:
    read, lines = [0], BytesIO(b"id,title\n" + b'1,5" pipe\n2,x\n3,"open\n' * 20_000)
    cells = text._cells

    def counted(record: bytes, delimiter: str) -> list[str] | None:
        read[0] += len(record)
        return cells(record, delimiter)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text, "_cells", counted)
        rows = list(csv_records(lines))
    assert len(rows) == 60_000
    assert read[0] < 5 * len(lines.getvalue())


def test_the_day_and_the_known_time_are_the_events_or_the_deliverys() -> None:
    shop, closed = source("sample"), datetime(2018, 1, 1, tzinfo=UTC)
    days = [clocks(shop, time) for time in TIMES]
    assert [day for day, _ in days] == [date(2017, 8, 14), *[date(2017, 12, 31)] * 4]
    assert days[0][1] == datetime(2017, 8, 14, 0, 5, tzinfo=UTC)
    assert [known for _, known in days[1:]] == [closed] * 4  # the last: its five minutes end with the delivery


def test_import_keeps_every_row_and_files_it_under_its_day(home: Path, small: Path) -> None:
    importing.run(asked("sample", small))
    house = warehouse("sample")
    rows = house.read("raw", "searches")
    assert sorted(rows["source_row"].to_pylist()) == [1, 2, 3, 4, 5, 7, 8]
    broken = {
        n: text for n, text in zip(*(rows[c].to_pylist() for c in ("source_row", "unreadable")), strict=True) if text
    }
    assert unescape(broken[7]) == b'{"query": "\xff\\n"}'
    assert broken[8] == '{"torn": '
    assert len(house.days("raw", "searches")) == 140  # days without rows are known to be empty
    last = house.mark("raw", "searches", "2017-12-31")
    assert last is not None
    assert last.counts == {"in": 6, "out": 6}
    assert set(last.notes["files"]) == {"searches-0.jsonl"}


def test_the_same_files_give_the_same_bytes_and_a_range_replaces_its_days_only(home: Path, small: Path) -> None:
    importing.run(asked("sample", small))
    house = warehouse("sample")
    before, attempts = shas(house, "searches"), {m.day: m.attempt for m in house.marks("raw", "searches")}
    importing.run(asked("sample", small, first=date(2017, 8, 14), last=date(2017, 9, 1)))
    assert shas(house, "searches") == before
    changed = {m.day for m in house.marks("raw", "searches") if m.attempt != attempts[m.day]}
    assert (min(changed), max(changed), len(changed)) == ("2017-08-14", "2017-09-01", 19)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda folder: (folder / "items-0.csv").unlink(), "lacks items-*.csv"),
        (lambda folder: (folder / "items-0.csv").write_text(""), "items-0.csv is empty"),
        (lambda folder: (folder / "items-0.csv").write_text("item_id,title\n"), "items: no row"),
        (lambda folder: (folder / "items-0.csv").write_bytes(b"\xff\n1\n"), "the header cannot be read"),
    ],
)
def test_bad_files_are_named(home: Path, small: Path, spoil, says: str) -> None:  # type: ignore[no-untyped-def]
    spoil(small)
    with pytest.raises(Problem) as caught:
        importing.run(asked("sample", small))
    assert says in caught.value.what
    assert caught.value.do
    assert not warehouse("sample", must_exist=False).marks("raw", "items")


def test_a_missing_folder_a_forgotten_one_and_a_wrong_day_are_told_before_work(home: Path, tmp_path: Path) -> None:
    with pytest.raises(Problem, match="there is no folder"):
        importing.run(asked("electronics", tmp_path / "nowhere"))
    with pytest.raises(Usage, match="needs its publisher's files"):
        importing.run(asked("electronics"))
    with pytest.raises(Usage, match="no range"):
        importing.run(asked("sample", first=date(2017, 1, 1)))
    with pytest.raises(Usage, match="--scale"):
        importing.run(asked("sample", scale=0.0))
    assert not home.exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_closed_file_is_named(home: Path, small: Path) -> None:
    (small / "items-0.csv").chmod(0)
    with pytest.raises(Problem, match="cannot be read"):
        importing.run(asked("sample", small))


def test_a_torn_parquet_file_and_a_full_disk_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.parquet").write_bytes(b"PAR1 no more")
    with pytest.raises(Problem, match="no whole Parquet"):
        finding.check_readable(tmp_path / "x.parquet")
    monkeypatch.setenv("ENDCAP_HOME", str(tmp_path / "not" / "yet"))
    finding.check_room(1)
    with pytest.raises(Problem, match="too little disk"):
        finding.check_room(10**15)


def test_a_stream_of_parquet_keeps_order_place_and_day(home: Path, tmp_path: Path) -> None:
    shop = source("grocer")
    made = shop.streams[0]
    weeks = [1, 1, 2, 2, 2, 53]
    columns = {"product_id": range(6), "store_id": [7] * 6, "display_location": ["0"] * 6, "mailer_location": ["A"] * 6}
    pq.write_table(
        pa.table({**{k: list(v) for k, v in columns.items()}, "week": weeks}), tmp_path / "promotions.parquet"
    )
    house, span = warehouse("grocer", must_exist=False), importing.Span("2017-01-01", "2017-12-30")
    with house.attempt("raw", "promotions") as attempt:
        read = importing.stream_parquet(attempt, shop, span, made, tmp_path / "promotions.parquet")
        marks = importing.publish(house, attempt, span, read, {"promotions.parquet": "x"})
    assert read == {"2017-01-01": 2, "2017-01-02": 3, "2017-12-25": 1}
    assert sum(mark.rows for mark in marks) == 6
    rows = house.read("raw", "promotions", "2017-01-02", "2017-01-02").to_pylist()
    assert [(row["source_row"], row["item_id"], row["event_time"]) for row in rows] == [
        (3, "2", "2017-01-02T00:00:00Z"),
        (4, "3", "2017-01-02T00:00:00Z"),
        (5, "4", "2017-01-02T00:00:00Z"),
    ]


def test_electronics_as_its_publisher_lays_it_out(home: Path) -> None:
    folder = Path(__file__).resolve().parents[3] / "shared" / "data" / "electronics"
    if not folder.is_dir():
        pytest.skip(f"needs the public data set 'electronics' in {folder}")
    importing.run(asked("electronics", folder))
    house = warehouse("electronics")
    items, judgements = house.read("raw", "items"), house.read("raw", "judgements")
    assert (items.num_rows, judgements.num_rows) == (19_406, 2_367)
    first = items.slice(0, 1).to_pylist()[0]
    assert (first["item_id"], first["brand"], first["price"], first["source_row"]) == ("3920564", "Xerox", "49.95", 1)
    assert judgements.slice(0, 1).to_pylist()[0]["source_row"] == 2  # the header is line 1


def test_only_some_tables_are_imported_if_so_asked_for(home: Path, small: Path) -> None:
    importing.run(asked("sample", small, tables="items,searches"))
    house = warehouse("sample")
    assert {name for name in DELIVERED if house.days("raw", name)} == {"items", "searches"}
    with pytest.raises(Usage, match="no table 'serches'") as fault:
        importing.run(asked("sample", small, tables="serches"))
    assert "searches" in str(fault.value.do)
