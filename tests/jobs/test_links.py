"""What is about the same thing, by hand; and that the law counts what is merged."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.links import groups


@pytest.fixture(scope="module")
def items(spark: Any) -> Any:
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
    made = [(*row[:4], None if row[4] is None else Decimal(row[4]), row[5]) for row in rows]
    return spark.createDataFrame(
        [(*row, None, "USD") for row in made],
        "item_id string, title string, brand string, category string, price decimal(12,2), description string,"
        "size string, currency string",
    )


def test_items_that_differ_in_wording_only_are_twins(items: Any) -> None:
    from jobs.links import item_pairs

    found = {(row["item_id"], row["other"]) for row in item_pairs(items, 0.9).collect()}
    assert found == {("i2", "i1"), ("i8", "i7")}


def test_the_fullest_stays_and_the_evidence_is_kept(items: Any) -> None:
    from jobs.links import item_pairs, linked

    found = {row["item_id"]: row for row in linked(items, item_pairs(items, 0.9), "item_id").collect()}
    assert {id: row["kept_id"] for id, row in found.items()} == {"i2": "i1", "i7": "i8"}
    assert found["i2"]["evidence"] == "title 1.0"


def test_accounts_of_one_person_are_found_by_e_mail_or_by_number_and_name(spark: Any) -> None:
    from jobs.links import linked, visitor_pairs

    rows = [
        ("app-1", "Ann Lee", "Ann@X.example", None, None),
        ("web-1", "A. Lee", "ann@x.example ", None, "10001"),
        ("store-1", "Ann Lee", None, "+1 (415) 555-0100", None),
        ("store-2", "Bo Lee", None, "415 555 0100", None),  # the same telephone, another person
        ("store-3", "ann  lee", None, "415-555-0100", None),
        ("web-2", None, None, "415-555-0100", None),
        ("web-3", None, "not an address", None, None),
        ("web-4", None, "not an address", None, None),
    ]
    people = spark.createDataFrame(rows, "visitor_id string, name string, email string, phone string, postcode string")
    pairs = visitor_pairs(people, "salt")
    assert {(r["visitor_id"], r["other"]) for r in pairs.collect()} == {("web-1", "app-1"), ("store-3", "store-1")}
    found = {r["visitor_id"]: r for r in linked(people, pairs, "visitor_id").collect()}
    assert {id: row["kept_id"] for id, row in found.items()} == {"app-1": "web-1", "store-3": "store-1"}
    assert "x.example" not in str(found)
    assert found["app-1"]["evidence"].startswith("e-mail ")


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
