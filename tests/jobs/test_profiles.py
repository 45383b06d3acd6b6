"""What a day is compared with, by hand: weekdays by median and spread, shares by divergence, and no false alarms."""

import math
import random
from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs import expectations
from jobs.profiles import Profile, compared, counted, days_before, divergence, likeness, same_weekday, spreads
from jobs.tables import table

MONDAY = date(2017, 1, 2)
SEARCHES = table("safe", "searches")


def day(n: int) -> str:
    return (MONDAY + timedelta(days=n)).isoformat()


def usual(n: int, rows: int = 100, web: float = 0.5, none: int = 0) -> Profile:
    there = rows - none
    shares = {"channel": {"web": round(there * web), "app": there - round(there * web)}, "language": {"en": rows}}
    return Profile(day(n), rows, shares, {"channel": none})


def history(days: int, **more: Any) -> dict[str, Profile]:
    return {day(n): usual(n, **more) for n in range(days)}


def test_spreads_by_hand() -> None:
    assert spreads(100, [90, 100, 110]) is None  # three weeks tell nothing
    assert spreads(100, [100] * 8) == 0
    assert spreads(200, [100] * 8) == 10  # a tenth of the median
    assert spreads(8, [4] * 8) == 2  # chance: the root of 4
    assert spreads(0, [0] * 8) == 0 and spreads(3, [0] * 8) == 3
    # Deviations 100, 50, 0, 50, 100: their median 50, scaled to 74.13.
    assert spreads(100, [900, 950, 1000, 1050, 1100]) == round(-900 / 100, 2)
    assert spreads(100, [600, 800, 1000, 1200, 1400]) == round(-900 / (1.4826 * 200), 2)
    # One closed Christmas does not move what is usual.
    assert spreads(1000, [0, 1000, 1000, 1000, 1000, 1000]) == 0
    assert spreads(130, [50] * 8) == 11.31 and spreads(130, [50] * 8, cluster=10) == 3.58


def test_divergence_by_hand() -> None:
    assert divergence({}, {"a": 1}) is None and divergence({"a": 1}, {}) is None
    assert divergence({"a": 7, "b": 7}, {"a": 100, "b": 100}) == 0
    # A day of 900 rows of b beside days of a alone: 100 rows of a are mixed in, p = (0.1, 0.9), q = (1, 0).
    p, q = {"a": 0.1, "b": 0.9}, {"a": 1.0, "b": 0.0}
    by_hand = sum(x * math.log2(x / ((p[k] + q[k]) / 2)) / 2 for d in (p, q) for k, x in d.items() if x)
    assert divergence({"b": 900}, {"a": 5000}) == pytest.approx(by_hand, abs=1e-4)
    small, large = divergence({"b": 5}, {"a": 5000}), divergence({"b": 50_000}, {"a": 5000})
    assert small is not None and large is not None
    assert small < expectations.DRIFT["warn"] < expectations.DRIFT["stop"] < large


@given(
    st.dictionaries(st.sampled_from("abcd"), st.integers(0, 10_000)),
    st.dictionaries(st.sampled_from("abcd"), st.integers(0, 10_000)),
)
def test_any_divergence_lies_between_nothing_and_everything(one: Mapping[str, int], two: Mapping[str, int]) -> None:
    found = divergence(one, two)
    assert found is None or 0 <= found <= 1


def test_only_the_same_weekday_of_the_last_eight_weeks_counts() -> None:
    known = {day(n): Profile(day(n), n) for n in range(80)}
    assert same_weekday(day(77), known) == [70, 63, 56, 49, 42, 35, 28, 21]
    del known[day(63)]  # refused, or not published yet
    assert same_weekday(day(77), known) == [70, 56, 49, 42, 35, 28, 21]


def test_the_days_before_are_added_up_and_a_day_never_judges_itself() -> None:
    known = history(40)
    before = days_before(day(35), known)
    assert before is not None
    assert (before.rows, before.shares["channel"]["web"]) == (2800, 1400)
    assert days_before(day(6), known) is None  # six days tell nothing
    closed = {**known, day(34): Profile(day(34), 0)}
    found = days_before(day(35), closed)
    assert found is not None and found.rows == 2800  # a closed day is passed by


def test_a_silent_feed_is_not_a_closed_shop() -> None:
    known, silent = history(60), Profile(day(60), 0, {"channel": {}, "language": {}})
    assert likeness(SEARCHES, silent, known, sisters=2)["empty"] == 1
    assert likeness(SEARCHES, silent, known, sisters=0)["empty"] == 0  # nothing else either: Christmas
    assert likeness(SEARCHES, silent, history(20), sisters=2)["empty"] == 0  # too early to tell
    assert likeness(SEARCHES, silent, history(60, rows=19), sisters=2)["empty"] == 0  # by chance
    assert likeness(SEARCHES, usual(60), known, sisters=2)["empty"] == 0


def test_shares_that_move_and_columns_that_empty_are_seen() -> None:
    known = history(30, rows=1000)
    assert likeness(SEARCHES, usual(30, rows=1000), known, 2)["drift:channel"] == 0
    other = likeness(SEARCHES, usual(30, rows=1000, web=0.0), known, 2)
    assert expectations.DRIFT["warn"] < other["drift:channel"] < expectations.DRIFT["stop"]
    gone = likeness(SEARCHES, usual(30, rows=1000, none=1000), known, 2)
    assert gone["drift:no channel"] > expectations.DRIFT["stop"]
    assert gone["drift:no session_id"] == 0
    assert likeness(SEARCHES, usual(3), history(3), 2)["drift:channel"] is None


def row(profile: Profile) -> dict[str, Any]:
    """As the scan makes it."""
    shares = {f"share:{c}={v}": profile.shares.get(c, {}).get(v, 0)
              for c, values in expectations.SHARES["searches"].items() for v in values}  # fmt: skip
    empty = {f"no {c}": profile.empty.get(c, 0) for c in expectations.emptiable(SEARCHES)}
    return {"day": profile.day, "rows": profile.rows, **shares, **empty}


def test_a_profile_goes_into_a_mark_and_comes_back() -> None:
    made = counted(SEARCHES, row(usual(0, none=4)))
    assert made.shares["channel"] == {"web": 48, "app": 48, "store": 0, "social": 0, "(other)": 0}
    back = Profile.of(day(0), 100, {"validation": {"profile": made.note()}})
    assert (back.shares["channel"], back.empty) == ({"web": 48, "app": 48}, {"channel": 4})
    assert Profile.of(day(0), 100, {}) == Profile(day(0), 100)
    assert counted(SEARCHES, {**row(usual(0)), "rows": 110}).shares["channel"]["(other)"] == 10


def test_a_refused_day_is_nothing_to_compare_with() -> None:
    rows = [row(usual(n, rows=1000)) for n in range(20)]
    rows += [row(usual(n, rows=1000, none=1000)) for n in (20, 21)]
    refused = lambda one: (one["drift:no channel"] or 0) > 0.5  # noqa: E731
    found = compared(SEARCHES, reversed(rows), {}, lambda _: 2, refused)
    assert [one["day"] for one in found] == [day(n) for n in range(22)]
    assert [refused(one) for one in found] == [False] * 20 + [True] * 2  # the second is not used to the first


@pytest.mark.parametrize("rows", [5, 30, 300])
def test_ordinary_weeks_of_any_size_raise_no_alarm(rows: int) -> None:
    """Half a year by chance: three times as many on Saturdays, two channels; no stop, and hardly a warning."""
    draw = random.Random(rows)

    def poisson(mean: float) -> int:
        return sum(draw.random() < mean / (20 * rows) for _ in range(20 * rows))

    made = []
    for n in range(180):
        total = poisson(rows * (3 if n % 7 == 5 else 1))
        web = sum(draw.random() < 0.6 for _ in range(total))
        none = sum(draw.random() < 0.1 for _ in range(total - web))
        shares = {"channel": {"web": web, "app": total - web - none}, "language": {"en": total}}
        made.append(row(Profile(day(n), total, shares, {"channel": none})))
    suite = [one for one in expectations.unlike(SEARCHES) if one.column != "age"]
    broken = [
        (one.severity, one.column, found["day"])
        for found in compared(SEARCHES, made, {}, lambda _: 2, lambda _: False)
        for one in suite
        if not one.holds(found[one.column])
    ]
    assert broken == []
