"""Rows of files -> raw rows: none is lost, whatever a file holds; what no declaration names is kept."""

import gzip
import json
from collections.abc import Callable, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobs import filing, importing
from jobs.console import Problem
from jobs.sources import Made, RowFile, Source, always
from jobs.sources.text import Reading, json_lines, records, unescape
from jobs.warehouse import Attempt, warehouse
from tests import imports

PLAIN = RowFile("reviews", "*.jsonl", "jsonl", {"review_id": "id", "event_time": "at", "text": "said"})
SHEET = RowFile("items", "*.csv", "csv", {"item_id": "sku", "title": "name"})
Load = Callable[..., None]


@pytest.fixture
def load(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    """Import these declarations from `tmp_path`/shop, as shop `files`."""
    (tmp_path / "shop").mkdir()

    def run(*rows: RowFile, **more: Any) -> None:
        shop = Source("files", "by hand", date(2024, 1, 1), date(2024, 1, 3), timedelta(0), "none", rows, **more)
        monkeypatch.setattr(importing, "source", lambda name: shop)
        imports.load(tmp_path / "shop")

    return run


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    return tmp_path / "shop"


def raw(name: str) -> list[dict[str, Any]]:
    return warehouse("files").read("raw", name).to_pylist()


def unpublished() -> bool:
    house = warehouse("files", must_exist=False)
    return not [name for name in ("items", "reviews", "tickets") if house.days("raw", name)]


# Claims ---------------------------------------------------------------------------------------


def test_a_line_may_feed_two_tables_and_one_that_none_claims_is_kept_whole(load: Load, shop: Path) -> None:
    rows = ['{"id": "1", "at": "2024-01-01", "said": "good", "kind": "both"}', '{"id": "2", "kind": "none"}', "torn"]
    (shop / "a.jsonl").write_text("\n".join(rows))
    both = RowFile(**{**vars(PLAIN), "where": lambda row: row["kind"] == "both", "reads": ("kind",)})
    ticket = RowFile("tickets", "*.jsonl", "jsonl", {"ticket_id": "id", "event_time": "at"},
                     where=lambda row: row["kind"] == "both", reads=("kind",))  # fmt: skip
    load(both, ticket)
    assert [
        (r["source_row"], r["review_id"], r["unreadable"] and unescape(r["unreadable"]).decode())
        for r in raw("reviews")
    ] == [
        (1, "1", None),
        (2, None, rows[1]),
        (3, None, rows[2]),
    ]
    assert [row["ticket_id"] for row in raw("tickets")] == ["1"]


def test_one_line_is_never_two_rows_of_one_table(load: Load, shop: Path) -> None:
    (shop / "a.jsonl").write_text('{"id": "1", "at": "2024-01-01", "said": "good"}\n')
    with pytest.raises(Problem, match="would be two rows of reviews"):
        load(PLAIN, PLAIN)
    with pytest.raises(Problem, match="would be read twice"):
        load(PLAIN, RowFile(**{**vars(PLAIN), "pattern": "a*"}))
    assert unpublished()


def test_a_cell_that_cannot_be_made_leaves_its_row_whole(load: Load, shop: Path) -> None:
    (shop / "a.csv").write_text("sku,name\n1,10\n2,ten\n")
    load(
        RowFile(
            "items", "*.csv", "csv", {"item_id": "sku", "title": Made(lambda r: str(int(r["name"]) + 1), ("name",))}
        )
    )
    assert [(r["title"], r["unreadable"]) for r in raw("items")] == [("11", None), (None, "2,ten")]


# Drift ----------------------------------------------------------------------------------------


def test_fields_that_no_declaration_names_are_kept_and_named(
    load: Load, shop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (shop / "a.csv").write_text("sku,name,colour,weight\n1,Tea,green,\n2,Cup,,\n")
    load(SHEET)
    assert [row["extra"] for row in raw("items")] == ['{"colour": "green"}', None]
    assert "items has 1 fields that no mapping declares, kept in 'extra': colour" in capsys.readouterr().err


def test_dots_lead_into_objects_and_the_rest_of_them_is_kept(load: Load, shop: Path) -> None:
    line = {"id": "1", "at": "2024-01-01", "who": {"name": "Ann", "said": "good", "age": 7}, "who.else": "x"}
    (shop / "a.jsonl").write_text(json.dumps(line))
    load(RowFile("reviews", "*.jsonl", "jsonl", {"review_id": "id", "event_time": "at", "text": "who.said"}))
    assert raw("reviews")[0]["text"] == "good"
    assert json.loads(raw("reviews")[0]["extra"]) == {"who": {"name": "Ann", "age": "7"}, "who.else": "x"}


@pytest.mark.parametrize(
    ("name", "content", "says", "do"),
    [
        ("a.csv", b"SKU,name\n1,Tea\n", "a.csv lacks 'sku', declared for items", "did you mean 'SKU'?"),
        ("a.csv", b"sku,title\n", "a.csv lacks 'name'", "it has: sku, title"),
        ("a.csv", b"sku,name,name\n1,a,b\n", "names 'name' twice", "a name of its own"),
        ("a.jsonl", b'{"id": 1, "At": "2024-01-01", "said": "x"}\n' * 3, "lacks 'at'", "did you mean 'At'?"),
        ("a.jsonl", b"no json\nat all\n", "no line of a.jsonl can be read", "format and encoding"),
    ],
)
def test_a_file_that_lacks_a_declared_field_stops_the_import(
    load: Load, shop: Path, name: str, content: bytes, says: str, do: str
) -> None:
    (shop / "b.csv").write_text("sku,name\n9,Fine\n")
    (shop / name).write_bytes(content)
    with pytest.raises(Problem) as caught:
        load(SHEET, *([PLAIN] if name.endswith("jsonl") else []))
    assert says in caught.value.what
    assert do in caught.value.do
    assert name in caught.value.where
    assert unpublished()


def test_an_optional_field_may_be_missing_and_one_row_that_has_a_field_is_enough(load: Load, shop: Path) -> None:
    (shop / "a.jsonl").write_text('{"id": "1"}\n{"id": "2", "at": "2024-01-02", "said": null}\n')
    load(PLAIN)
    assert [row["review_id"] for row in raw("reviews")] == ["2", "1"]  # the first has no day: the last day's
    (shop / "a.csv").write_text("sku\n1\n")
    load(RowFile(**{**vars(SHEET), "optional": frozenset(["name"])}))
    assert [row["item_id"] for row in raw("items")] == ["1"]


def test_a_parquet_schema_is_told_before_a_row_is_read(load: Load, shop: Path) -> None:
    pq.write_table(pa.table({"sku": [1], "nom": ["Tea"]}), shop / "a.parquet")
    with pytest.raises(Problem, match=r"a\.parquet lacks 'name'"):
        load(RowFile("items", "*.parquet", "parquet", {"item_id": "sku", "title": "name"}))


def test_a_view_names_what_lacks_and_keeps_what_is_new(tmp_path: Path, spark: Any) -> None:
    from jobs.sources import View

    pq.write_table(pa.table({"id": [1, 2], "new": [None, "x"], "known": [0, 0]}), tmp_path / "a.parquet")
    with pytest.raises(Problem, match=r"a\.parquet lacks 'price'"):
        importing.check_view(View("a.parquet", ("id", "price")), tmp_path / "a.parquet")
    importing.open_view(spark, "drift", [tmp_path / "a.parquet"], View("a.parquet", ("id",), left_out=("known",)))
    rows = spark.sql("SELECT id, extra, source_row FROM drift ORDER BY id").collect()
    assert [tuple(row) for row in rows] == [(1, None, 1), (2, '{"new":"x"}', 2)]


def test_a_column_of_ours_in_a_stream_is_kept_too() -> None:
    rows = pa.RecordBatch.from_pydict({"a": [1, None], "b": ["x", None]})
    assert importing.as_json(rows).to_pylist() == ['{"a": "1", "b": "x"}', None]


# Files ----------------------------------------------------------------------------------------


def test_the_same_file_under_another_name_is_read_once_and_said(
    load: Load, shop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (shop / "a.csv").write_text("sku,name\n1,Tea\n")
    (shop / "b.csv").write_text("sku,name\n1,Tea\n")
    load(SHEET)
    assert [(row["item_id"], row["source_file"]) for row in raw("items")] == [("1", "a.csv")]
    assert "b.csv is the same file as a.csv: read once" in capsys.readouterr().err
    mark = warehouse("files").mark("raw", "items", "whole")
    assert mark is not None
    assert set(mark.notes["files"]) == {"a.csv", "b.csv"}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "latin-1", "cp1252", "gb18030"])
def test_declared_encodings_are_read_and_gzip_is_found_by_itself(load: Load, shop: Path, encoding: str) -> None:
    text = 'sku,name\n1,"Größe\n""L"""\n2,Thé\n'
    (shop / "a.csv.gz").write_bytes(gzip.compress(text.encode(encoding)))
    load(RowFile(**{**vars(SHEET), "encoding": encoding}))
    assert [row["title"] for row in raw("items")] == ['Größe\n"L"', "Thé"]
    assert [row["source_row"] for row in raw("items")] == [2, 4]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.csv", "sku,name\n1,Tea\n".encode("utf-16"), "header cannot be read"),
        ("a.csv", b"\xef\xbb\xbf", "no header"),
        ("a.csv", b"\n\n\n", "no header"),
        ("a.csv", gzip.compress(b"sku,name\n" + b"1,Tea\n" * 9999, mtime=0)[:-20], "no whole gzip file"),
        ("a.csv", b"\x1f\x8bnonsense", "no whole gzip file"),
        ("a.csv", b"", "is empty"),
        ("a.parquet", b"PAR1....PAR1", "no whole Parquet file"),
    ],
)
def test_a_spoiled_file_is_one_line_and_publishes_nothing(
    load: Load, shop: Path, name: str, content: bytes, says: str
) -> None:
    (shop / name).write_bytes(content)
    with pytest.raises(Problem, match=says) as caught:
        load(SHEET if name.endswith("csv") else RowFile("items", "*.parquet", "parquet", {"item_id": "sku"}))
    assert caught.value.do
    assert "\n" not in str(caught.value)
    assert unpublished()


def test_a_file_that_changes_while_it_is_read_stops_the_import(
    load: Load, shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (shop / "a.csv").write_text("sku,name\n1,Tea\n")

    def grows(row: Any) -> str:
        if row["sku"] == "1":
            with (shop / "a.csv").open("a") as stream:
                stream.write("2,Cup\n")
        return "Tea"

    with pytest.raises(Problem, match=r"a\.csv changed while it was read"):
        load(RowFile("items", "*.csv", "csv", {"item_id": "sku", "title": Made(grows, ("name",))}))
    assert unpublished()


def test_a_row_that_is_nested_too_deep_is_kept_whole(load: Load, shop: Path) -> None:
    depths = (10, 300, 900, 960, 990, 1_000, 1_100, 50_000)
    deep = [f'{{"id": "1", "at": "2024-01-01", "said": "x", "more": {"[" * n + "]" * n}}}' for n in depths]
    (shop / "a.jsonl").write_text("\n".join(deep))
    load(PLAIN)
    kept = raw("reviews")
    assert len(kept) == len(depths)
    assert all(row["extra"] or row["unreadable"] for row in kept)


def test_huge_values_are_kept(load: Load, shop: Path) -> None:
    huge = "x" * 3_000_000
    (shop / "a.csv").write_text(f"sku,name\n1,{huge}\n{'9' * 5000},n\n")
    load(SHEET)
    assert [len(row["title"]) for row in raw("items")] == [3_000_000, 1]
    assert raw("items")[1]["item_id"] == "9" * 5000


def test_values_of_parquet_become_text(load: Load, shop: Path) -> None:
    table = pa.table(
        {
            "sku": pa.array([1, None], pa.int64()),
            "name": pa.array([b"\xff\\", None], pa.binary()),
            "when": pa.array([1, None], pa.timestamp("ns", tz="UTC")),
            "list": pa.array([[1, 2], None]),
            "word": pa.array(["a", None]).dictionary_encode(),
            "flag": [True, None],
            "real": [0.1, None],
        }
    )
    pq.write_table(table, shop / "a.parquet")
    load(RowFile("items", "*.parquet", "parquet", {"item_id": "sku", "title": "name"}))
    first, second = raw("items")
    assert (first["item_id"], first["title"]) == ("1", "\\xff\\\\")
    assert json.loads(first["extra"]) == {
        "when": "1970-01-01 00:00:00.000000Z", "list": "[1, 2]", "word": "a", "flag": "true", "real": "0.1",
    }  # fmt: skip
    assert (second["item_id"], second["extra"], second["unreadable"]) == (None, None, None)


# Memory ---------------------------------------------------------------------------------------


def written(path: Path, rows: Sequence[tuple[str, str]]) -> dict[str, bytes]:
    """The files of these rows (day, title), one row of `items` each."""
    attempt = Attempt("raw", "items", "x", path)
    attempt.path.mkdir()
    out = filing.Days(attempt)
    for day, title in rows:
        out.add(day, [title if name == "title" else None for name in out.schema.names], len(title))
    out.close()
    return {p.relative_to(path).as_posix(): p.read_bytes() for p in path.rglob("*") if p.is_file()}


def test_rows_that_were_put_aside_give_the_same_bytes_as_those_that_were_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filing, "_GROUP", 7)
    monkeypatch.setattr(filing, "_BYTES", 20)
    rows = [(f"2024-01-{1 + n * n % 3:02}", "long title" * (n % 4 == 0) + str(n)) for n in range(100)]
    held = written(tmp_path / "held", rows)
    groups = [pq.ParquetFile(tmp_path / "held" / name).metadata.num_row_groups for name in sorted(held)]
    assert groups[0] > 5 and groups[1] > 10  # 34 and 66 rows: groups end by their bytes too
    for name, limit in (("_HELD", 5), ("_HELD_BYTES", 30), ("_HELD", 1)):
        with monkeypatch.context() as small:
            small.setattr(filing, name, limit)
            assert written(tmp_path / f"{name}-{limit}", rows) == held
    assert [title for _, title in rows if _ == "2024-01-01"] == pq.read_table(
        tmp_path / "held" / "_day=2024-01-01" / "part-0.parquet"
    )["title"].to_pylist()


def test_a_year_that_is_not_sorted_needs_few_open_files_and_few_rows_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filing, "_HELD", 50)
    monkeypatch.setattr(filing, "_GROUP", 2)
    most, put = [0], filing.Spill.add

    def counted(self: filing.Spill, day: str, batch: pa.RecordBatch) -> None:
        most.append(len(list(Path("/proc/self/fd").iterdir())))
        put(self, day, batch)

    monkeypatch.setattr(filing.Spill, "add", counted)
    before = len(list(Path("/proc/self/fd").iterdir()))
    year = [(date(2024, 1, 1) + timedelta(days=n)).isoformat() for n in range(366)]
    files = written(tmp_path / "year", [(day, "x") for _ in range(3) for day in year])
    assert len(files) == 366
    assert max(most) <= before + 3


# Whatever the bytes ---------------------------------------------------------------------------

QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@QUICK
@given(lines=st.lists(st.binary(max_size=80).map(lambda b: b.replace(b"\n", b"").replace(b"\r", b"")), max_size=12))
def test_no_line_of_json_is_lost(tmp_path: Path, lines: list[bytes]) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\n".join(lines))
    if path.read_bytes()[:2] == b"\x1f\x8b":
        return
    found = {number: (row, line) for number, row, line in records(path, Reading("jsonl"))}
    first = lines[0].removeprefix(b"\xef\xbb\xbf") if lines else b""
    expected = {n: line for n, line in enumerate([first, *lines[1:]], 1) if line.strip()}
    assert {number: line for number, (_, line) in found.items()} == expected


_LINE = st.text(st.sampled_from('abä1,"\t é\x00'), max_size=12).map(str.encode) | st.binary(max_size=12).map(
    lambda b: b.replace(b"\n", b"").replace(b"\r", b"")
)


@QUICK
@given(lines=st.lists(_LINE, max_size=12))
def test_no_byte_of_separated_values_is_lost(tmp_path: Path, lines: list[bytes]) -> None:
    """The lines of all records, put together again, are the lines of the file: joined by quotes, parted, or blank."""
    path = tmp_path / "a.csv"
    path.write_bytes(b"\n".join([b"a,b", *lines]))
    kept = [line for _, _, line in records(path, Reading("csv"))]
    told = [part for line in kept for part in (line or b"").split(b"\n") if part.strip(b" ")]
    assert told == [line for line in lines if line.strip(b" ")]


_STARTS = (b"", b"\x1f\x8b\x08\x00", b"PAR1", b"PK\x03\x04", b"\xff\xfe", b"sku,name\n")
_FORMATS = ("csv", "jsonl", "bulk", "parquet", "json.zip")


@QUICK
@given(content=st.binary(max_size=300), ending=st.sampled_from(_FORMATS), start=st.sampled_from(_STARTS))
def test_any_bytes_give_rows_or_one_line_that_says_why(
    tmp_path: Path, content: bytes, ending: Any, start: bytes
) -> None:
    path = tmp_path / "any"
    path.write_bytes(start + content)
    try:
        for number, row, line in records(path, Reading(ending)):
            assert number >= 1
            assert row is not None or line is not None
    except Problem as problem:
        assert problem.where and problem.do and "\n" not in str(problem)


@QUICK
@given(cut=st.integers(1, 400), kind=st.sampled_from(["gzip", "parquet", "zip"]))
def test_half_a_packed_file_is_told(tmp_path: Path, cut: int, kind: str) -> None:
    import io
    import zipfile

    rows = [{"sku": str(n), "name": f"item {n * 7919}"} for n in range(200)]
    if kind == "gzip":
        whole, how = gzip.compress("\n".join(map(json.dumps, rows)).encode()), Reading("jsonl")
    elif kind == "parquet":
        out = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(rows), out)
        whole, how = out.getvalue(), Reading("parquet")
    else:
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as archive:
            archive.writestr("a.json", json.dumps(rows))
        whole, how = out.getvalue(), Reading("json.zip")
    path = tmp_path / "half"
    path.write_bytes(whole[:-cut] or b"x")
    try:
        list(records(path, how))
    except Problem as problem:
        assert problem.do
    else:
        raise AssertionError("half a file was read as if it were whole")


_SIMPLE = st.none() | st.booleans() | st.floats() | st.text() | st.integers()
_JSON = st.recursive(_SIMPLE, lambda more: st.lists(more) | st.dictionaries(st.text(), more), max_leaves=8)


@QUICK
@given(_JSON)
def test_whatever_json_says_a_row_is_a_row(value: Any) -> None:
    import io

    line = json.dumps(value).encode()
    (found,) = json_lines(io.BytesIO(line + b"\n"))
    assert (found[1] is not None) <= isinstance(value, dict)
    assert found[2] == line


def test_a_constant_needs_no_field() -> None:
    assert always("x").of == ()
    assert RowFile("items", "*", "csv", {"currency": always("EUR")}).required == frozenset()
