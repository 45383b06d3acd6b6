"""What the step says and refuses; what the stores do is in test_features.py."""

from argparse import Namespace
from collections.abc import Callable
from datetime import date
from typing import Any

import pytest

from jobs import materialising
from jobs.console import Problem, Refused
from jobs.features import end_of_day

pytestmark = pytest.mark.filterwarnings("ignore")  # of Feast and what it imports, none of them ours
DAY = date(2017, 3, 1)
ALL = {"first": None, "last": None}


def test_rows_that_cannot_be_written_are_a_refusal(
    put: Callable[..., Any], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    at = {"event_time": end_of_day(DAY), "known_time": end_of_day(DAY), "day": DAY}
    put("lost", "stats", "item_stats", [{**at, "item_id": "a"}], str(DAY))
    # Filed under a day at whose end it is not yet true: nothing lies between the moments asked for.
    put("lost", "stats", "query_stats", [{**at, "query": "q", "event_time": end_of_day(date(2017, 3, 9))}], str(DAY))
    with pytest.raises(Refused, match="rows in, but none written: query_stats"):
        materialising.run(Namespace(shop="lost", **ALL))
    out = capsys.readouterr().out
    assert [line.split() for line in out.splitlines() if line.startswith("item_stats")] == [
        ["item_stats", "1", "1", "all", "days"]
    ]


def test_without_statistics_the_step_before_is_named(put: Callable[..., Any]) -> None:
    put("early", "safe", "interactions", [], str(DAY))
    with pytest.raises(Problem, match=r"python -m jobs aggregate --shop early"):
        materialising.run(Namespace(shop="early", **ALL))


def test_a_shop_without_a_log_has_nothing_to_look_up(
    put: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    put("quiet", "safe", "items", [{"item_id": "a", "title": "A"}])
    materialising.run(Namespace(shop="quiet", **ALL))
    assert "nothing to look up" in capsys.readouterr().out
