"""How an item suits a visitor: by hand, and the same of the past as of now."""

from argparse import Namespace
from collections.abc import Callable
from datetime import date, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest

from jobs import materialising
from jobs.console import Problem
from jobs.crossing import CROSSES, Cycle, Tastes, crossed, crosses_now, crosses_then
from jobs.features import end_of_day

pytestmark = pytest.mark.filterwarnings("ignore")  # of Feast and what it imports, none of them ours
DAY0 = date(2017, 3, 1)
TASTES = Tastes.of(
    {"categories": ["tea", "cup"], "category_shares": [0.75, 0.25], "brands": None, "brand_shares": None,
     "price_bands": [8], "price_band_shares": [1.0]}
)  # fmt: skip
NOTHING = dict.fromkeys(CROSSES)


def end(day: int) -> datetime:
    return end_of_day(DAY0 + timedelta(days=day))


def test_a_cross_by_hand() -> None:
    item = {"category": "cup", "brand": "b", "price": 2.0}
    assert crossed(TASTES, item, Cycle(end(0), 4.0), end(6)) == {
        "category_affinity": 0.25, "brand_affinity": None, "price_affinity": 1.0, "category_lateness": 1.5}  # fmt: skip
    other = crossed(TASTES, {"category": "pot", "brand": "b", "price": 1.27}, None, end(6))
    assert other == {**NOTHING, "category_affinity": 0.0, "price_affinity": 0.0}  # known, and none of it
    assert crossed(TASTES, dict.fromkeys(item), None, end(6)) == NOTHING
    assert crossed(Tastes(), item, None, end(6)) == NOTHING
    assert crossed(TASTES, {**item, "price": 0.0}, None, end(6))["price_affinity"] is None


@pytest.fixture
def shop(put: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> str:
    """A visitor whose habits change on day 5, and who bought tea on days 0 and 5; three items; and their look-ups."""
    monkeypatch.delenv("ENDCAP_REDIS", raising=False)

    def bring(name: str, day: int, *rows: dict[str, Any]) -> None:
        at = {"event_time": end(day), "known_time": end(day), "day": DAY0 + timedelta(days=day)}
        put("suits", "stats", name, [{**at, **row} for row in rows], at["day"].isoformat())

    for day, shares in ((0, [1.0]), (5, [0.9, 0.1])):
        liked = {"categories": ["tea", "cup"][: len(shares)], "category_shares": shares}
        bring("visitor_habits", day, {"visitor": "v1_a", **liked, "price_bands": [9], "price_band_shares": [1.0]})
    bring("visitor_cycles", 0, {"visitor": "v1_a", "category": "tea", "purchase_days": 1})
    bring("visitor_cycles", 5, {"visitor": "v1_a", "category": "tea", "purchase_days": 2, "cycle_days": 5.0,
                                "cycle_spread": 0.0})  # fmt: skip
    bring("item_stats", 0, {"item_id": "i1", "category": "tea", "price": 3.99}, {"item_id": "i2", "category": "cup"},
          {"item_id": "i3", "brand": "b", "price": 0.4})  # fmt: skip
    bring("item_stats", 8, {"item_id": "i1", "category": "tea", "price": 7.0})
    materialising.run(Namespace(shop="suits", first=None, last=None))
    return "suits"


def asked(*pairs: tuple[str, str, datetime]) -> pa.Table:
    visitors, items, times = zip(*pairs, strict=True)
    return pa.table({"visitor": visitors, "item_id": items, "n": list(range(len(pairs))),
                     "event_time": pa.array(times, pa.timestamp("us", tz="UTC"))})  # fmt: skip


def test_the_past_and_now_give_the_same(shop: str) -> None:
    items = ["i1", "i2", "i3", "i9", "i1"]
    now = end(8)
    for visitor in ("v1_a", "v1_nobody"):
        then = crosses_then(shop, asked(*((visitor, item, now) for item in items))).to_pylist()
        assert [row["n"] for row in then] == list(range(5))
        told = crosses_now(shop, visitor, items, now=now)
        assert [{name: row[name] for name in CROSSES} for row in then] == told
    (first, second, third, unknown, again) = crosses_now(shop, "v1_a", items, now=now)
    assert first == again == {"category_affinity": 0.9, "brand_affinity": None, "price_affinity": 0.0,
                              "category_lateness": 3 / 5}  # fmt: skip
    assert second["category_affinity"] == 0.1 and second["category_lateness"] is None
    assert third["price_affinity"] == 0.0 and third["category_affinity"] is None
    assert unknown == NOTHING
    assert crosses_now(shop, "v1_a", []) == []


def test_the_past_is_as_it_was_known_then(shop: str) -> None:
    second = timedelta(microseconds=1)
    rows = crosses_then(
        shop, asked(("v1_a", "i1", end(5) - second), ("v1_a", "i1", end(5)), ("v1_a", "i1", end(0) - second))
    ).to_pylist()
    assert [row["category_affinity"] for row in rows] == [1.0, 0.9, None]
    assert [row["price_affinity"] for row in rows] == [1.0, 1.0, None]
    assert [row["category_lateness"] for row in rows] == [None, 0.0, None]
    with pytest.raises(Problem, match="pairs need the column 'item_id'"):
        crosses_then(shop, asked(("v1_a", "i1", end(5))).drop_columns(["item_id"]))
    assert crosses_then(shop, asked(("v1_a", "i1", end(5))).slice(0, 0)).num_rows == 0
