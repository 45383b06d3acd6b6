"""What is about the same thing, by hand; and that the law counts what is merged."""

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.links import groups, links, without
from jobs.tables import table
from jobs.warehouse import arrow_schema

Folder = Callable[[str, list[dict[str, Any]]], list[Path]]


@pytest.fixture
def clean(tmp_path: Path) -> Folder:
    """Rows as the files of a clean table."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    def put(name: str, rows: list[dict[str, Any]]) -> list[Path]:
        origin = {"source_file": "f", "known_time": datetime(2020, 1, 1, tzinfo=UTC), "simulated": False}
        whole = [{**origin, "source_row": n, **row} for n, row in enumerate(rows)]
        pq.write_table(
            pa.Table.from_pylist(whole, schema=arrow_schema(table("clean", name))), tmp_path / "part.parquet"
        )
        return [tmp_path / "part.parquet"]

    return put


def found(files: list[Path], name: str) -> dict[str, dict[str, Any]]:
    rows = links(files, table("clean", name), likeness=0.9, salt="salt").to_pylist()
    return {row[f"{name[:-1]}_id"]: row for row in rows}


@pytest.fixture
def items(clean: Folder) -> list[Path]:
    rows = [
        ("i1", "Acme green tea, 500 g", "Acme", "tea", "4.00", "fine leaves"),
        ("i2", "ACME Green Tea 500 g.", "acme", "Tea", "4.10", None),  # the same in other words
        ("i3", "Acme green tea, 250 g", "Acme", "tea", "4.00", None),  # another size
        ("i4", "Acme green tea, 500 g", "Acme", "tea", "5.00", None),  # another price
        ("i5", "Acme green tea, 500 g", "Other", "tea", "4.00", None),  # another brand
        ("i6", "Acme black coffee beans, 500 g", "Acme", "tea", "4.00", None),
        ("i7", "无线蓝牙耳机 白色", "Acme", "ear", None, None),
        ("i8", "无线蓝牙耳机，白色", "Acme", "ear", None, "longer"),
    ]
    names = ("item_id", "title", "brand", "category", "price", "description")
    made = [dict(zip(names, row, strict=True)) for row in rows]
    return clean("items", [{**row, "price": row["price"] and Decimal(row["price"]), "currency": "USD"} for row in made])


def test_items_that_differ_in_wording_only_are_twins_and_the_fullest_stays(items: list[Path]) -> None:
    twins = found(items, "items")
    assert {id: row["kept_id"] for id, row in twins.items()} == {"i2": "i1", "i7": "i8"}
    assert twins["i2"]["evidence"] == "title 1.0"
    left = [id for batch in without(items, "item_id", twins) for id in batch.column("item_id").to_pylist()]
    assert left == ["i1", "i3", "i4", "i5", "i6", "i8"]


def test_a_cheap_item_hides_no_twins_of_its_name(clean: Folder) -> None:
    rows = [("a", "4.00"), ("b", "10.00"), ("c", "10.00")]
    files = clean("items", [{"item_id": id, "title": "Green tea", "price": Decimal(price)} for id, price in rows])
    assert {id: row["kept_id"] for id, row in found(files, "items").items()} == {"c": "b"}


def test_what_a_crowd_shares_makes_nobody_the_same(clean: Folder) -> None:
    crowd = [{"visitor_id": f"v{n}", "email": "noreply@shop.example"} for n in range(6)]
    assert found(clean("visitors", crowd), "visitors") == {}
    assert len(found(clean("visitors", crowd[:5]), "visitors")) == 4


def test_a_little_unlike_is_found_and_more_is_not(clean: Folder) -> None:
    title = "a rather long title of a thing that a shop sells to people who like long titles"
    files = clean("items", [{"item_id": "a", "title": title}, {"item_id": "b", "title": title[:-1]},
                            {"item_id": "c", "title": title[:40]}, {"item_id": "d", "title": "ab"}])  # fmt: skip
    twins = found(files, "items")
    assert {id: row["kept_id"] for id, row in twins.items()} == {"b": "a"}
    assert 0.9 < float(twins["b"]["evidence"].split()[1]) < 1


def test_accounts_of_one_person_are_found_by_e_mail_or_by_number_and_name(clean: Folder) -> None:
    rows = [
        ("app-1", "Ann Lee", "Ann@X.example", None, None),
        ("web-1", "A. Lee", "ann@x.example", None, "10001"),
        ("store-1", "Ann Lee", None, "+1 (415) 555-0100", None),
        ("store-2", "Bo Lee", None, "415 555 0100", None),  # the same telephone, another person
        ("store-3", "ann  lee", None, "415-555-0100", None),
        ("web-2", None, None, "415-555-0100", None),
        ("web-3", None, "not an address", None, None),
        ("web-4", None, "not an address", None, None),
    ]
    names = ("visitor_id", "name", "email", "phone", "postcode")
    people = found(clean("visitors", [dict(zip(names, row, strict=True)) for row in rows]), "visitors")
    assert {id: row["kept_id"] for id, row in people.items()} == {"app-1": "web-1", "store-3": "store-1"}
    assert "x.example" not in str(people)
    assert people["app-1"]["evidence"].startswith("e-mail ")


def test_a_table_without_rows_has_no_links(clean: Folder) -> None:
    assert found(clean("items", []), "items") == found(clean("visitors", []), "visitors") == {}


@given(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.sampled_from("abcdefgh")), max_size=20))
def test_groups_are_the_connected_components(pairs: list[tuple[str, str]]) -> None:
    led = groups(pairs)
    assert set(led) == {id for pair in pairs for id in pair}
    for one, other in pairs:
        assert led[one] == led[other]
    for id, leader in led.items():
        assert leader == min(other for other in led if led[other] == led[id])
        # nothing is joined that no chain of pairs joins
        reached = {id}
        while more := {x for p in pairs if reached & set(p) for x in p} - reached:
            reached |= more
        assert leader in reached
