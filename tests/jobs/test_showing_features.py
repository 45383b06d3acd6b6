"""Look-ups for people: words and states, and the shop's own id goes no further than its pseudonym."""

from argparse import Namespace
from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any

import pytest

from jobs import materialising, showing_features
from jobs.console import Usage
from jobs.features import end_of_day

pytestmark = pytest.mark.filterwarnings("ignore")  # of Feast and what it imports, none of them ours
DAY = date(2017, 3, 1)


def get(shop: str, **asked: str) -> None:
    words = {"visitor": None, "item": None, "query": None, **asked}
    showing_features.run(Namespace(shop=shop, what="get", **words))


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
    assert "18 features" in out and "purchases, each halved every 60 days" in out


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
