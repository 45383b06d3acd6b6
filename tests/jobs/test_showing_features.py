"""Look-ups for people: words and states, and the shop's own id goes no further than its pseudonym."""

import re
from argparse import Namespace
from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any

import pytest

from jobs import crossing, materialising, showing_features
from jobs.console import Problem, Usage
from jobs.features import end_of_day
from jobs.tables import tables

pytestmark = pytest.mark.filterwarnings("ignore")  # of Feast and what it imports, none of them ours
DAY = date(2017, 3, 1)


def get(shop: str, **asked: str) -> None:
    show(shop, "get", **asked)


def show(shop: str, what: str, **asked: str) -> None:
    words = {"visitor": None, "item": None, "query": None, "category": None, **asked}
    showing_features.run(Namespace(shop=shop, what=what, **words))


def test_a_look_up_as_a_person_reads_it(put: Callable[..., Any], capsys: pytest.CaptureFixture[str]) -> None:
    pseudonyms = pytest.importorskip("jobs.pseudonyms")
    at = {"event_time": end_of_day(DAY), "known_time": end_of_day(DAY), "day": DAY}
    pseudonym = pseudonyms.pseudonym(pseudonyms.load_key("shown"), "household-7")
    put("shown", "stats", "item_stats", [{**at, "item_id": "A1", "purchases_28d": 1234, "price": 2.5}], str(DAY))
    put("shown", "stats", "visitor_stats", [{**at, "visitor": pseudonym, "spend_28d": 12.345}], str(DAY))
    put("shown", "stats", "query_stats", [{**at, "query": "green tea", "searches_28d": 5}], str(DAY))
    materialising.run(Namespace(shop="shown", first=None, last=None))
    capsys.readouterr()
    get("shown", visitor="household-7", item="A1", query=" Green  TEA")
    out = capsys.readouterr().out
    assert "household-7" not in out
    lines = [line.split() for line in out.splitlines()]
    assert ["purchases_28d", "1,234", "2017-03-01", "23:59:59", "present"] in lines
    assert ["spend_28d", "12.35", "2017-03-01", "23:59:59", "present"] in lines or "12.3" in out
    assert ["searches_28d", "5", "2017-03-01", "23:59:59", "present"] in lines
    assert ["items", "-", "-", "absent"] in lines
    get("shown", item="unheard of")
    assert "Nothing is known" in capsys.readouterr().out
    with pytest.raises(Usage, match="nothing to look up"):
        get("shown")
    showing_features.run(Namespace(shop="shown", what="list"))
    out = capsys.readouterr().out
    around = {"event_time", "known_time", "day"}
    told = sum(len({*declared.names} - {*declared.key} - around) for declared in tables("stats"))
    assert f"{told} features" in out and "purchases, each halved every 60 days" in out


def test_how_an_item_suits_a_visitor_is_shown_where_both_are_named(
    put: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    from jobs.pseudonyms import load_key, pseudonym

    at = {"event_time": end_of_day(DAY), "known_time": end_of_day(DAY), "day": DAY}
    known = pseudonym(load_key("suits"), "household-7")
    liked = {"categories": ["tea", "cup"], "category_shares": [0.75, 0.25]}
    put("suits", "stats", "visitor_habits", [{**at, "visitor": known, **liked}], str(DAY))
    put("suits", "stats", "item_stats", [{**at, "item_id": "A1", "category": "cup", "price": 2.5}], str(DAY))
    materialising.run(Namespace(shop="suits", first=None, last=None))
    capsys.readouterr()
    get("suits", visitor="household-7", item="A1")
    out = capsys.readouterr().out
    lines = [line.split()[:2] for line in out.splitlines()]
    assert ["category_affinity", "0.25"] in lines and ["brand_affinity", "-"] in lines
    assert all(meaning in out for meaning in crossing.CROSSES.values()) and "household-7" not in out
    get("suits", item="A1")
    assert "affinity" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "-"),
        (1234, "1,234"),
        (0.123456, "0.1235"),
        (123456.7, "123,457"),
        ([], "(none)"),
        (["a", "b"], "a, b"),
        (list("abcd"), "a, b, c, ... (4 in all)"),
        (datetime(2017, 3, 1, 9, 5, tzinfo=UTC), "2017-03-01 09:05"),
    ],
)
def test_values_in_words(value: Any, words: str) -> None:
    assert showing_features.in_words(value) == words


@pytest.fixture
def corrected(put: Callable[..., Any]) -> str:
    """An item with two days of statistics; the first was computed again, and known two days later."""
    from datetime import timedelta

    def row(day: int, bought: int, known: int) -> dict[str, Any]:
        at = end_of_day(DAY + timedelta(days=day))
        return {"item_id": "A1", "purchases_28d": bought, "price": 2.5, "event_time": at,
                "known_time": at + timedelta(days=known), "day": (DAY + timedelta(days=day))}  # fmt: skip

    put("told", "stats", "item_stats", [row(0, 3, 0), row(0, 4, 2)], str(DAY))
    put("told", "stats", "item_stats", [row(1, 9, 0)], str(DAY + timedelta(days=1)))
    return "told"


def test_a_feature_over_time_and_at_two_moments(corrected: str, capsys: pytest.CaptureFixture[str]) -> None:
    show(corrected, "history", name="purchases_28d", item="A1")
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    stamps = ["2017-03-01 23:59:59", "2017-03-03 23:59:59", "2017-03-02 23:59:59"]
    first, late, second = (stamp.split() for stamp in stamps)
    assert lines[3:6] == [[*first, *first, "3"], [*first, *late, "4"], [*second, *second, "9"]]
    show(corrected, "compare", earlier="2017-03-01", later="2017-03-02", item="A1")
    out = capsys.readouterr().out
    assert ["purchases_28d", "3", "9", "changed"] in [line.split() for line in out.splitlines()]
    assert ["price", "2.5", "2.5"] in [line.split() for line in out.splitlines()] and "1 values differ" in out


def test_a_feature_is_described_by_any_of_its_names(corrected: str, capsys: pytest.CaptureFixture[str]) -> None:
    show(corrected, "describe", name="rating")
    out = capsys.readouterr().out
    assert "item_stats:rating" in out and "mean stars so far" in out and "365 days" in out and "of a person" in out
    show(corrected, "describe", name="visitor_session")
    out = capsys.readouterr().out
    assert out.count("30 minutes") >= 4 and "by POST /events" in out


@pytest.mark.parametrize(
    ("what", "asked", "says"),
    [
        ("describe", {"name": "ratting"}, "did you mean 'rating'?"),
        ("history", {"name": "spend_28d", "item": "A1"}, "give --visitor"),
        ("history", {"name": "price"}, "nothing to look up"),
        ("compare", {"earlier": "yesterday", "later": "2017-03-02", "item": "A1"}, "is no moment"),
        ("compare", {"earlier": "2017-03-02T12:00:00", "later": "2017-03-02", "item": "A1"}, "is no moment"),
        ("compare", {"earlier": "2017-03-02", "later": "2717-03-02", "item": "A1"}, "nobody knows the future"),
        ("get", {"category": "tea"}, "name no entity"),
    ],
)
def test_a_slip_of_the_hand_is_told_what_to_do(corrected: str, what: str, asked: dict[str, str], says: str) -> None:
    with pytest.raises(Problem, match=re.escape(says)):
        show(corrected, what, **asked)
