"""The mapping of a shop of one's own: the example of its page is imported; faults are told at once, with what to do."""

import gzip
import json
import os
import re
import shutil
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobs import mapping
from jobs.console import Problem, Refused, Usage
from jobs.guessing import guess, propose
from jobs.sources import source
from jobs.warehouse import warehouse
from tests.imports import load

PAGE = Path(__file__).resolve().parents[2] / "docs" / "mapping.md"
EXAMPLE = re.findall(r"```toml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)[0]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The three files of the example."""
    shop = tmp_path / "corner"
    shop.mkdir()
    (shop / "endcap.toml").write_text(EXAMPLE, encoding="utf-8")
    (shop / "products.csv").write_bytes(
        "ArtNr;Name;Marke;Cent;Farbe;intern_lager\n1;Thé;Müller;250;grün;7\n2;Cup;;x;;\n".encode("latin-1")
    )
    orders: list[dict[str, Any]] = [
        {"order": {"id": 7, "line": 1, "at": "2024-01-05T00:30:00"}, "customer": "c1", "sku": "1", "pieces": 2,
         "paid": 5.0, "status": "paid"},
        {"order": {"id": 7, "line": 2, "at": "2024-01-05T10:00:00Z"}, "customer": "c1", "sku": "2", "pieces": 1,
         "paid": 1, "status": "sent"},
        {"order": {"id": 8, "line": 1, "at": "soon"}, "customer": "c2", "sku": "2", "pieces": 1, "paid": 1,
         "status": "open"},
    ]  # fmt: skip
    (shop / "orders-1.jsonl.gz").write_bytes(gzip.compress("\n".join(map(json.dumps, orders)).encode()))
    visits = [
        "when\twho\tsku\twhat", "31.01.2024 23:30\tc1\t1\tlook", "01.02.2024 00:30\tc9\t1\ttap",
        "05.01.2024 08:00\tx\t1\trobot",
    ]  # fmt: skip
    (shop / "visits.tsv").write_text("\n".join(visits))
    return shop


def findings(folder: Path) -> list[mapping.Finding]:
    return mapping.check(source("files"), folder)[1]


def test_the_example_of_the_page_is_imported_as_it_says(home: Path, folder: Path) -> None:
    assert findings(folder) == []
    load(folder)
    items = warehouse("files").read("raw", "items").to_pylist()
    assert [(r["item_id"], r["title"], r["brand"], r["price"], r["currency"], r["extra"]) for r in items] == [
        ("1", "Thé", "Müller", "2.5", "EUR", '{"Farbe": "grün"}'),
        ("2", "Cup", None, "x", "EUR", None),
    ]
    done = warehouse("files").read("raw", "interactions").to_pylist()
    told = {r["interaction_id"]: (str(r["day"]), r["event_time"], r["kind"]) for r in done if not r["unreadable"]}
    assert told == {
        "7-1": ("2024-01-04", "2024-01-05T00:30:00+01:00", "purchase"),  # in Vienna it was the next day already
        "7-2": ("2024-01-05", "2024-01-05T10:00:00+00:00", "purchase"),
        "visits.tsv:2": ("2024-01-31", "2024-01-31T23:30:00+01:00", "view"),
        "visits.tsv:3": ("2024-01-31", "2024-02-01T00:30:00+01:00", "click"),
    }
    assert sorted(row["source_file"] for row in done if row["unreadable"]) == ["orders-1.jsonl.gz", "visits.tsv"]
    first = next(row for row in done if row["interaction_id"] == "7-2")
    assert first["known_time"].isoformat() == "2024-01-05T10:05:00+00:00"


def test_check_imports_nothing_and_says_what_next(home: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert load(folder, check=True) == 0
    out, err = capsys.readouterr()
    assert "no findings: items, interactions" in out
    assert "next: python -m jobs import files --from" in out
    assert "products.csv: kept in 'extra', as nothing maps them: Farbe" in err
    assert not home.exists()


@pytest.mark.parametrize(
    ("old", "new", "what", "do"),
    [
        ('item_id = "ArtNr"', 'item_id = "ArtNo"', "products.csv has no field 'ArtNo'", "did you mean 'ArtNr'?"),
        ('title = "Name"', 'titel = "Name"', "unknown column of items 'titel'", "did you mean 'title'?"),
        ('title = "Name"', 'titel = "Name"', "items needs 'title'", 'title = "their name for it"'),
        ("[items]", "[item]", "unknown table 'item'", "did you mean 'items'?"),
        ("first = 2024-01-01", "frist = 2024-01-01", "unknown setting or table 'frist'", "did you mean 'first'?"),
        ("first = 2024-01-01", "", "first is missing", "first = 2024-01-31"),
        ("first = 2024-01-01", "first = 2025-01-01", "before the first", "exchange"),
        ("first = 2024-01-01", 'first = "2024-01-01"', "first is no day", "without quotes"),
        ('"Europe/Vienna"', '"Europe/Vienne"', "unknown zone", "Europe/Vienna"),
        ("delay_minutes = 5", 'delay_minutes = "5"', "no number of minutes", "like 5"),
        ('files = "products.csv"', 'files = "product.csv"', "no file is called 'product.csv'", "'products.csv'?"),
        ('files = "products.csv"', 'files = "../products.csv"', "names no files", "inside the folder"),
        ('files = "products.csv"', 'files = "**products.csv"', "names no files", "inside the folder"),
        ('files = "products.csv"', 'files = "."', "names no files", "inside the folder"),
        ("last = 2024-01-31", "last = 9999-12-31", "is too long a span", "at most 3,660"),
        ('files = "products.csv"', 'files = "visits.tsv"\nformat = "xls"', "format", "format ="),
        ('delimiter = ";"', 'delimiter = ";;"', "not one character", "delimiter"),
        ('encoding = "latin-1"', 'encoding = "latin-99"', "unknown encoding", "latin-1"),
        ('encoding = "latin-1"', 'encodign = "latin-1"', "unknown word 'encodign'", "did you mean 'encoding'?"),
        ("divide = 100", "divide = 0", "no whole number above 0", "divide = 100"),
        ('time = "%d.%m.%Y %H:%M"', 'time = "german"', "no way to read a time", "seconds"),
        ('{ value = "EUR" }', '{ valu = "EUR" }', "one of value, from, join", "value ="),
        ('join = ["order.id", "order.line"]', 'join = ["order.id", "order.lien"]', "'order.lien'", "order.line"),
        ('where = { status', 'where = { state', "no field 'state'", "status"),
        ("[items.columns]", "[items.columns", "no TOML", "mend"),
        ("divide = 100", "divide = 100, words = { x = 1 }", "words and divide cannot be done", "leave one of them out"),
        ('value = "EUR"', 'value = "EUR", time = "iso"', "'time' has no meaning beside 'value'", "leave one"),
        ('value = "EUR"', 'value = ["EUR"]', "value is no text", "value ="),
        ('with = ":"', 'with = ":", words = { a = "b" }', "'words' has no meaning beside 'join'", "leave one"),
        ('time = "%d.%m.%Y %H:%M"', 'divide = 1000', "divide and time cannot be done", "milliseconds"),
        ('time = "%d.%m.%Y %H:%M"', 'time = "%s"', "'%s' is no way to read a time", "strptime"),
        ('time = "%d.%m.%Y %H:%M"', 'time = "%Y %Y"', "is no way to read a time", "strptime"),
        ('time = "%d.%m.%Y %H:%M"', 'time = "%H:%M"', "is no way to read a time", "with a year"),
        ('unless = { what = "robot" }', 'unless = { what = { is = "robot" } }', "unless names no fields", "write"),
    ],
)  # fmt: skip
def test_every_fault_of_a_mapping_is_told_with_what_to_do(
    home: Path, folder: Path, old: str, new: str, what: str, do: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert old in EXAMPLE
    (folder / "endcap.toml").write_text(EXAMPLE.replace(old, new, 1), encoding="utf-8")
    told = [finding for finding in findings(folder) if what in finding.what]
    assert told, [str(finding) for finding in findings(folder)]
    assert do in told[0].do
    assert load(folder, check=True) == 2
    assert "finding: " in capsys.readouterr().out
    with pytest.raises(Usage, match="findings in the mapping: "):
        load(folder)
    assert not home.exists()


def test_a_mark_of_byte_order_spoils_no_mapping(folder: Path) -> None:
    (folder / "endcap.toml").write_text(EXAMPLE, encoding="utf-8-sig")
    assert findings(folder) == []


def test_all_findings_are_told_at_once(folder: Path) -> None:
    spoiled = EXAMPLE.replace('"ArtNr"', '"ArtNo"').replace("last = ", "lsat = ").replace('"who"', '"whom"')
    (folder / "endcap.toml").write_text(spoiled, encoding="utf-8")
    assert len(findings(folder)) == 4  # an unknown setting, a missing one, two fields


def test_without_a_mapping_one_is_proposed_that_is_nearly_right(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "Products.csv").write_text("SKU,Product Name,Price,Colour\n1,Tea,2.5,green\n")
    (tmp_path / "orders.jsonl").write_text('{"OrderID": 1, "customerId": "c", "sku": "1", "createdAt": "2024-01-05"}\n')
    pq.write_table(pa.table({"search_term": ["tea"], "user_id": ["c"]}), tmp_path / "queries.parquet")
    (tmp_path / "notes.txt").write_text("no table")
    assert load(tmp_path, check=True) == 0
    proposed = capsys.readouterr().out
    told = mapping.tomllib.loads(proposed)
    assert told["items"][0]["columns"] == {"item_id": "SKU", "title": "Product Name", "price": "Price"}
    assert told["interactions"][0]["columns"]["visitor_id"] == "customerId"
    assert told["interactions"][0]["columns"]["event_time"] == "createdAt"
    assert told["searches"][0]["columns"] == {"visitor_id": "user_id", "query": "search_term"}
    assert '# kind = ""  # required: ' in proposed
    assert "# not mapped, kept in 'extra': Colour" in proposed
    (tmp_path / "endcap.toml").write_text(proposed)
    left = {finding.what.split(" (")[0] for finding in findings(tmp_path)}
    assert left == {"interactions needs 'kind'", "searches needs 'search_id'", "searches needs 'event_time'"}


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("items[2024] \U0001f600.csv", "item_id,title,a\x7f\n1,Tea,\n", {"item_id": "item_id", "title": "title"}),
        ("items.csv", 'item_id,title,"Preis\nin EUR"\n1,Tea,2\n', {"item_id": "item_id", "title": "title"}),
        ("items.csv", 'item_id;"title";"x,y,z,u"\n1;Tea;2\n', {"item_id": "item_id", "title": "title"}),
        ("items.csv", "item_id|title\n1|Tea\n", {"item_id": "item_id", "title": "title"}),
        ("items.tsv", "SKU,title\n1,Tea\n", {"item_id": "SKU", "title": "title"}),
        ("items.csv", "item_id\ttitle\tGr\xf6\xdfe\n1\tTea\t\n".encode("latin-1"), {"item_id": "item_id"}),
        ("items.csv", b"item_id,title\n1,Th\xe9\n", {"item_id": "item_id", "title": "title"}),
        ("items.csv", "item_id;title\n1;Th\xe9\n".encode("utf-16"), {"item_id": "item_id", "title": "title"}),
        ("items.jsonl", b'{"item_id": 1, "title": "Th\xe9"}\n', {"item_id": "item_id", "title": "title"}),
        ("items.csv.gz", gzip.compress(b"item_id;title\n1;Tea\n", mtime=0), {"item_id": "item_id", "title": "title"}),
    ],
)
def test_a_proposal_survives_odd_names_and_finds_delimiter_and_encoding(
    home: Path, tmp_path: Path, name: str, content: str | bytes, told: dict[str, str]
) -> None:
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    (tmp_path / "._items.csv").write_bytes(b"\0\5")
    proposed = propose(tmp_path)
    assert mapping.tomllib.loads(proposed)["items"][0]["columns"].items() >= told.items()
    (tmp_path / "endcap.toml").write_text(proposed)
    assert findings(tmp_path) == []
    load(tmp_path)
    row = warehouse("files").read("raw", "items").to_pylist()[0]
    assert (row["item_id"], row["title"][:2], row["unreadable"]) == ("1", {"e": "Te", "h": "Th"}[row["title"][1]], None)


def test_a_field_that_comes_late_in_a_long_file_is_a_note(home: Path, tmp_path: Path) -> None:
    lines = ['{"id": "1", "kind": "view"}'] * 1000
    lines += ['{"id": "2", "at": "2023-01-02", "who": "a", "sku": "x", "kind": "purchase"}']
    (tmp_path / "orders.jsonl").write_text("\n".join(lines))
    told = ORDERS.replace(".csv", ".jsonl").replace(
        "[interactions.columns]", 'where = { kind = "purchase" }\n[interactions.columns]'
    )
    (tmp_path / "endcap.toml").write_text(YEAR_2023 + told)
    _, found, notes = mapping.check(source("files"), tmp_path)
    assert found == []
    assert [
        note for note in notes if "orders.jsonl has no 'at', mapped for interactions, in its first 1,000 lines" in note
    ]
    assert load(tmp_path) == 0
    (tmp_path / "orders.jsonl").write_text("\n".join(lines[:1000]))
    assert "has no field 'at'" in str(findings(tmp_path))


# Files ----------------------------------------------------------------------------------------


ITEMS = '[items]\nfiles = "{}"\ncolumns = { item_id = "id", title = "name" }\n'


def test_hidden_files_are_not_the_shops(home: Path, tmp_path: Path) -> None:
    (tmp_path / "a" / ".ipynb_checkpoints").mkdir(parents=True)
    for name in ("a/items.csv", "a/.ipynb_checkpoints/items-checkpoint.csv"):
        (tmp_path / name).write_text(f"id,name\n1,{name}\n")
    (tmp_path / "a" / "._items.csv").write_bytes(b"\0\5\x16\7\0")
    (tmp_path / "endcap.toml").write_text(ITEMS.replace("{}", "**/*.csv"))
    assert findings(tmp_path) == []
    load(tmp_path)
    assert warehouse("files").read("raw", "items")["title"].to_pylist() == ["a/items.csv"]


def test_a_file_beside_its_gzipped_self_is_told(home: Path, tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_text("id,name\n1,Tea\n")
    (tmp_path / "items.csv.gz").write_bytes(gzip.compress(b"id,name\n1,Cup\n"))
    (tmp_path / "endcap.toml").write_text(ITEMS.replace("{}", "items.csv"))
    told = findings(tmp_path)
    assert [(finding.what, finding.do) for finding in told] == [
        ("both items.csv and items.csv.gz are there", "leave one of them")
    ]
    with pytest.raises(Problem, match="both items"):
        load(tmp_path)


def test_a_name_that_is_no_text_is_told(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    odd = os.fsencode(tmp_path) + b"/Verk\xe4ufe.csv"
    with open(odd, "w") as file:
        file.write("id,name\n1,Tea\n")
    assert "Verk\\udce4ufe.csv" in propose(tmp_path)
    (tmp_path / "endcap.toml").write_text(ITEMS.replace("{}", "*.csv"))
    assert [finding.do for finding in findings(tmp_path)] == ["rename it"]
    with pytest.raises(Problem, match="is not UTF-8"):
        load(tmp_path)
    (tmp_path / "endcap.toml").write_text(ITEMS.replace("{}", "items.csv"))
    assert load(tmp_path, check=True) == 2
    capsys.readouterr().out.encode()


def test_a_folder_without_tables_proposes_nothing(tmp_path: Path) -> None:
    with pytest.raises(mapping.Problem, match="no file of csv"):
        propose(tmp_path)


@pytest.mark.parametrize(
    ("file", "fields", "table"),
    [
        ("customers.csv", ["customer_id", "email", "zip"], "visitors"),
        ("reviews.json", ["id", "stars", "body", "sku", "user", "date"], "reviews"),
        ("labels.tsv", ["query", "product_id", "grade", "judge"], "judgements"),
        ("x.csv", ["sku", "name"], "items"),
    ],
)
def test_guesses(file: str, fields: list[str], table: str) -> None:
    assert guess(file, fields)[0] == table


_TOML = st.recursive(
    st.booleans() | st.integers(-5, 5) | st.text(max_size=5) | st.floats(allow_nan=False),
    lambda more: st.lists(more, max_size=3) | st.dictionaries(
        st.sampled_from([*mapping.SETTINGS, *mapping.ENTRY, *mapping.CELL, "items", "searches", "item_id", "x"]), more,
        max_size=4),
    max_leaves=12,
)  # fmt: skip


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.sampled_from([*mapping.SETTINGS, "items", "searches", "itmes"]), _TOML, max_size=5))
def test_whatever_a_mapping_says_it_is_read_or_told(tmp_path: Path, told: dict[str, Any]) -> None:
    (tmp_path / "a.csv").write_text("a,b\n1,2\n")
    found: Any = mapping._Findings()
    made = mapping.parse(source("files"), told, found)
    if made is not None:
        mapping.look(made, tmp_path, found)
    assert made is not None or found
    assert all(finding.what and finding.do for finding in found)


@given(st.text(max_size=20), st.sampled_from(["iso", "seconds", "milliseconds", "%d.%m.%Y"]))
def test_a_time_is_a_time_or_stays_as_it_came(text: str, pattern: str) -> None:
    from zoneinfo import ZoneInfo

    found = mapping.when(text, pattern, ZoneInfo("Europe/Vienna"))
    assert found == text or datetime.fromisoformat(found).tzinfo is not None


ORDERS = """
[interactions]
files = "orders.csv"

[interactions.columns]
interaction_id = "id"
event_time = "at"
visitor_id = "who"
item_id = "sku"
kind = { value = "purchase" }
"""
YEAR_2023 = "first = 2023-01-01\nlast = 2023-01-31\n"


@pytest.fixture
def orders(tmp_path: Path) -> Path:
    """One order in a file of its own, and in a delivery."""
    folder = tmp_path / "orders"
    (folder / "2023-01-02").mkdir(parents=True)
    for place in (folder, folder / "2023-01-02"):
        (place / "orders.csv").write_text("id,at,who,sku\n1,2023-01-02T10:00:00Z,a,x\n")
    return folder


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("first = 2024-01-01\nlast = 2024-01-31\n", YEAR_2023),
        (YEAR_2023, "first = 2023-01-01\ndeliveries = true\n"),
        ("first = 2023-01-01\ndeliveries = true\n", YEAR_2023),
    ],
)
def test_rows_of_two_mappings_never_stand_beside_each_other(home: Path, orders: Path, before: str, after: str) -> None:
    (orders / "endcap.toml").write_text(before + ORDERS)
    assert load(orders) == 0
    stood = warehouse("files").marks("raw", "interactions")
    (orders / "endcap.toml").write_text(after + ORDERS)
    with pytest.raises(Refused, match="another mapping stands in shop 'files'") as caught:
        load(orders)
    assert "python -m jobs reset --shop files" in caught.value.do
    assert warehouse("files").marks("raw", "interactions") == stood
    shutil.rmtree(home / "files")  # what reset does
    assert load(orders) == 0
    assert sum(mark.rows for mark in warehouse("files").marks("raw", "interactions")) == 1


def test_words_for_people_and_comments_make_no_other_mapping_and_a_failed_import_binds_nobody(
    home: Path, orders: Path
) -> None:
    (orders / "endcap.toml").write_text(YEAR_2023.replace("31", "30") + ORDERS)
    with pytest.raises(Problem, match="no row of any table"):
        load(orders, first=date(2023, 1, 8), last=date(2023, 1, 9))
    (orders / "endcap.toml").write_text(YEAR_2023 + ORDERS)
    load(orders)
    (orders / "endcap.toml").write_text('# mended\ndoc = "a shop"\n' + YEAR_2023 + ORDERS)
    assert load(orders) == 0


def test_a_span_may_grow_at_its_end_and_not_shrink(home: Path, orders: Path) -> None:
    (orders / "endcap.toml").write_text(YEAR_2023 + ORDERS)
    assert load(orders) == 0
    days = warehouse("files").days("raw", "interactions")
    (orders / "endcap.toml").write_text(YEAR_2023.replace("2023-01-31", "2023-02-15") + ORDERS)
    assert load(orders) == 0 and warehouse("files").days("raw", "interactions")[-1] == "2023-02-15"
    (orders / "endcap.toml").write_text(YEAR_2023 + ORDERS)
    with pytest.raises(Refused, match="as far as 2023-02-15"):
        load(orders)
    assert days[-1] == "2023-01-31"


# Values ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("robot", ["true", '"true"', '[true, "maybe"]'])
@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_true_and_numbers_are_the_same_text_in_files_conditions_and_words(
    home: Path, tmp_path: Path, ending: str, robot: str
) -> None:
    rows = [{"id": n, "at": "2023-01-02", "who": "a", "sku": n == 1, "bot": n == 3, "buy": n == 1} for n in (1, 2, 3)]
    (tmp_path / "orders.jsonl").write_text("\n".join(map(json.dumps, rows)))
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "orders.parquet")
    told = YEAR_2023 + ORDERS.replace("orders.csv", f"orders.{ending}").replace(
        '{ value = "purchase" }', '{ from = "buy", words = { true = "purchase", false = "view" } }'
    ).replace('"id"', '{ join = ["id", "buy"] }')
    told = told.replace("[interactions.columns]", f"unless = {{ bot = {robot}, id = 5 }}\n[interactions.columns]")
    (tmp_path / "endcap.toml").write_text(told)
    load(tmp_path)
    found = warehouse("files").read("raw", "interactions").to_pylist()
    assert sorted((r["interaction_id"] or "", r["item_id"], r["kind"], bool(r["unreadable"])) for r in found) == [
        ("", None, None, True), ("1-true", "true", "purchase", False), ("2-false", "false", "view", False),
    ]  # fmt: skip


def test_a_field_without_a_value_is_not_the_word_none(home: Path, orders: Path) -> None:
    (orders / "orders.csv").write_text("id,at,who,sku\n1,2023-01-02,,x\n2,2023-01-02,None,x\n")
    claims = 'where = { who = "None" }\n[interactions.columns]'
    (orders / "endcap.toml").write_text(YEAR_2023 + ORDERS.replace("[interactions.columns]", claims))
    load(orders)
    found = warehouse("files").read("raw", "interactions").to_pylist()
    assert [row["interaction_id"] for row in found if not row["unreadable"]] == ["2"]


@pytest.mark.parametrize(
    ("cell", "date", "hour"),
    [
        ('{ join = ["date", "hour"], with = "T" }', "2023-01-02", "00:30"),
        ('{ join = ["date", "hour"], with = " ", time = "%d.%m.%Y %H:%M" }', "02.01.2023", "00:30"),
        ("{ value = 2023-01-02T00:30:00 }", "", ""),
    ],
)
def test_a_time_however_it_is_made_has_the_shops_zone(
    home: Path, orders: Path, cell: str, date: str, hour: str
) -> None:
    (orders / "orders.csv").write_text(f"id,date,hour,who,sku\n1,{date},{hour},a,x\n")
    told = 'zone = "Europe/Vienna"\n' + YEAR_2023 + ORDERS.replace('event_time = "at"', f"event_time = {cell}")
    (orders / "endcap.toml").write_text(told)
    load(orders)
    row = warehouse("files").read("raw", "interactions").to_pylist()[0]
    assert (row["event_time"], str(row["day"])) == ("2023-01-02T00:30:00+01:00", "2023-01-01")
