"""Shares and entropies are what counting one by one gives, of a range of days as of each day by itself."""

from collections import Counter
from datetime import UTC, date, datetime, timedelta
from math import log2
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs import habits

FIRST = date(2017, 3, 1)
EVER = (date(2017, 1, 1), date(2018, 12, 31))
MOMENT = pa.timestamp("us", tz="UTC")


def at(day: int, hour: int = 0) -> datetime:
    return datetime(2017, 3, 1, hour, tzinfo=UTC) + timedelta(days=day)


def acts(rows: list[dict[str, Any]]) -> pa.Table:
    """Acts of one visitor; what is not given is unknown."""
    kinds = {"visitor": pa.string(), "day": pa.date32(), "known_time": MOMENT, "hour": pa.int32(),
             "channel": pa.string(), "cents": pa.int64(), "category": pa.string(), "brand": pa.string(),
             "listed_known": MOMENT}  # fmt: skip
    filled = [{"visitor": "v", "hour": 0, "day": FIRST + timedelta(days=r["n"]), "known_time": at(r["n"]), **r}
              for r in rows]  # fmt: skip
    return pa.Table.from_pylist(filled, schema=pa.schema(list(kinds.items())))


def clicks(rows: list[dict[str, Any]], made: list[int]) -> pa.Table:
    """Clicks of one query, and the days on which it was made."""
    kinds = {"query": pa.string(), "day": pa.date32(), "item_id": pa.string(), "category": pa.string(),
             "listed_known": MOMENT}  # fmt: skip
    filled = [{"query": "q", "day": FIRST + timedelta(days=r["n"]), **r} for r in [*rows, *({"n": n} for n in made)]]
    return pa.Table.from_pylist(filled, schema=pa.schema(list(kinds.items())))


def test_habits_by_hand() -> None:
    rows = [
        {"n": 0, "hour": 5, "channel": "web", "cents": 100, "category": "tea", "brand": "b", "listed_known": at(-1)},
        {"n": 0, "hour": 6, "channel": "web", "cents": 127, "category": "tea", "listed_known": at(-1)},
        {"n": 0, "hour": 18, "channel": "app", "cents": 128, "category": "cup", "listed_known": at(3)},
        {"n": 3, "hour": 23},
        {"n": 84, "hour": 12, "cents": 0, "known_time": at(90)},
    ]
    first, second, third = habits.habits(acts(rows), *EVER).to_pylist()
    assert (first["categories"], first["category_shares"]) == (["tea"], [1.0])
    assert (second["categories"], second["category_shares"]) == (["tea", "cup"], [2 / 3, 1 / 3])  # known by then
    assert (first["price_bands"], first["price_band_shares"]) == ([7, 8], [2 / 3, 1 / 3])
    assert first["dayparts"] == ["evening", "morning", "night"]  # as often each: in order
    assert (first["channels"], first["brands"]) == (["web", "app"], ["b"])
    assert second["daypart_shares"] == [0.5, 0.25, 0.25] and second["dayparts"][0] == "evening"
    # Day 0 is 84 days back: what is left knows no category, no price and no channel.
    assert third["dayparts"] == ["afternoon", "evening"]
    for name in ("categories", "category_shares", "brands", "price_bands", "channels", "channel_shares"):
        assert third[name] is None
    assert [row["known_time"] for row in (first, third)] == [at(1) - timedelta(microseconds=1), at(90)]


def test_only_the_ten_most_frequent_are_told_and_shares_are_of_all() -> None:
    rows = [{"n": 0, "category": f"c{n:02d}", "listed_known": at(0)} for n in range(12) for _ in range(1 + (n == 11))]
    (row,) = habits.habits(acts(rows), *EVER).to_pylist()
    assert row["categories"] == ["c11", *(f"c{n:02d}" for n in range(9))]
    assert row["category_shares"] == [2 / 13, *[1 / 13] * 9]


def test_the_band_of_a_price_is_the_same_for_items_and_for_visitors() -> None:
    prices = [*range(1, 300), *(2**n + step for n in range(8, 40) for step in (-1, 0, 1))]
    for price in prices:
        (row,) = habits.habits(acts([{"n": 0, "cents": price}]), *EVER).to_pylist()
        assert row["price_bands"] == [habits.band_of(price)]
    assert habits.band_of(0) is None and habits.band_of(-5) is None


def test_entropy_by_hand() -> None:
    counts = np.array([[1, 1, 1, 1], [8, 0, 0, 0], [2, 1, 1, 0], [0, 0, 0, 0]], np.int64)
    assert habits.entropy(counts)[:3].tolist() == pytest.approx([2.0, 0.0, 1.5])
    assert np.isnan(habits.entropy(counts)[3])


act = st.fixed_dictionaries(
    {"n": st.integers(0, 200), "hour": st.integers(0, 23), "category": st.sampled_from([None, "c", "d", "e"]),
     "brand": st.sampled_from([None, "b"]), "channel": st.sampled_from([None, "web", "app"]),
     "cents": st.sampled_from([None, 0, 1, 99, 5000]),
     "listed_known": st.sampled_from([None, at(-1), at(60, 9), at(199)])}
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.lists(act, min_size=1, max_size=40), st.integers(0, 200))
def test_any_habits_are_what_counting_gives_and_a_range_gives_its_days(drawn: list[dict[str, Any]], one: int) -> None:
    made = habits.habits(acts(drawn), *EVER)
    for row in made.to_pylist():
        day = (row["day"] - FIRST).days
        recent = [a for a in drawn if 0 <= day - a["n"] < 84]
        listed = [
            a["category"] for a in recent if a["category"] and a["listed_known"] and a["listed_known"] < at(day + 1)
        ]
        count = Counter(listed)
        assert dict(zip(row["categories"] or [], row["category_shares"] or [], strict=True)) == {
            key: n / len(listed) for key, n in count.items()
        }
        bands = Counter(len(f"{a['cents']:b}") for a in recent if a["cents"])
        assert dict(zip(row["price_bands"] or [], row["price_band_shares"] or [], strict=True)) == {
            key: n / bands.total() for key, n in bands.items()
        }
    day = FIRST + timedelta(days=one)
    alone = habits.habits(acts(drawn[::-1]), day, day)
    assert alone.to_pylist() == [row for row in made.to_pylist() if row["day"] == day]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 60), st.sampled_from("abcdefgh")), max_size=60),
    st.lists(st.integers(0, 60), min_size=1, max_size=20),
)
def test_any_intent_is_what_counting_gives_and_a_range_gives_its_days(
    drawn: list[tuple[int, str]], made: list[int]
) -> None:
    rows = [{"n": n, "item_id": item, "category": item.upper(), "listed_known": at(0)} for n, item in drawn]
    whole = habits.intents(clicks(rows, made), *EVER).to_pylist()
    assert [(row["day"] - FIRST).days for row in whole] == sorted(set(made))
    for row in whole:
        found = Counter(item for n, item in drawn if 0 <= (row["day"] - FIRST).days - n < 28)
        parts = [n / found.total() for n in found.values()]
        bits = -sum(part * log2(part) for part in parts) if parts else None
        assert row["click_entropy_28d"] == (pytest.approx(bits, abs=1e-8) if parts else None)
        assert (row["categories"] or []) == [k.upper() for k in sorted(found, key=lambda k: (-found[k], k))]
        # Clicks of later days, and their items, leave not a bit of it different.
        (alone,) = habits.intents(clicks([r for r in rows[::-1] if FIRST + timedelta(days=r["n"]) <= row["day"]], made),
                                  row["day"], row["day"]).to_pylist()  # fmt: skip
        assert alone == row


def test_many_days_and_keys_are_counted_a_part_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"n": n % 90, "category": f"c{n % 7}", "listed_known": at(0)} for n in range(300)]
    whole = habits.habits(acts(rows), *EVER)
    monkeypatch.setattr(habits, "CELLS", 50)
    assert habits.habits(acts(rows), *EVER).equals(whole)
