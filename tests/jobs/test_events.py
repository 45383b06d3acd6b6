"""Which events are taken, and that a refusal names every fault and repeats no value."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from jobs.console import Problem
from jobs.events import FIELDS, KINDS, check_event, normalised

CLICK = {"kind": "click", "visitor_id": "7", "item_id": "A"}
NOW = datetime(2017, 6, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_can_be_sent(kind: str) -> None:
    extra = {"purchase": {"quantity": 2}, "dwell": {"dwell_seconds": 3.5}}.get(kind, {})
    assert check_event({**CLICK, "kind": kind, **extra})["kind"] == kind


def test_what_is_null_is_left_out_and_times_become_utc() -> None:
    read = check_event({**CLICK, "event_time": "2017-06-01T14:00:00+02:00", "channel": None})
    assert read == {**CLICK, "event_time": NOW}


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"kind": "clik"}, "kind: did you mean 'click'?"),
        ({"kind": None}, "kind: is missing"),
        ({"item_id": None}, "item_id: is missing"),
        ({"item_id": 12}, "item_id: must be a text"),
        ({"item_id": "x" * 201}, "item_id: must be at most 200"),
        ({"visitor_id": "a\nb"}, "visitor_id: must be at most 200 printable"),
        ({"kind": "purchase"}, "quantity: is missing"),
        ({"kind": "purchase", "quantity": 0}, "quantity: must be a whole number"),
        ({"kind": "purchase", "quantity": True}, "quantity: must be a whole number"),
        ({"kind": "dwell", "dwell_seconds": float("nan")}, "dwell_seconds: must be a number"),
        ({"amount": -1}, "amount: must be a number"),
        ({"event_time": "2017-06-01T12:00:00"}, "event_time: must have a time zone"),
        ({"event_time": "yesterday"}, "event_time: must be a time like"),
        ({"event_time": (NOW + timedelta(hours=1)).isoformat()}, "event_time: lies in the future"),
        ({"visitr_id": "7"}, "visitr_id: unknown, did you mean 'visitor_id'?"),
    ],
)
def test_what_is_wrong_is_said_by_field(change: dict[str, Any], fault: str) -> None:
    with pytest.raises(Problem) as refused:
        check_event({**CLICK, **change}, now=NOW)
    assert fault in refused.value.where


def test_all_faults_are_named_at_once_and_no_visitor_is() -> None:
    with pytest.raises(Problem) as refused:
        check_event({"kind": "click", "visitor_id": "secret-person\x00", "item_id": 1, "amount": "much"})
    assert refused.value.where.count(";") == 2
    assert "secret" not in str(refused.value)


def test_something_else_than_an_object_is_refused() -> None:
    with pytest.raises(Problem, match="must be an object"):
        check_event(["click"])  # type: ignore[arg-type]


def test_fields_have_one_name_each() -> None:
    assert len({field.name for field in FIELDS}) == len(FIELDS)


@pytest.mark.parametrize(
    ("typed", "normal"),
    [("  Ｒed\tAPPLE ", "red apple"), ("無線  耳機", "無線 耳機"), ("ﬁsh", "fish"), ("", "")],
)
def test_queries_are_compared_in_one_form(typed: str, normal: str) -> None:
    assert normalised(typed) == normal == normalised(normalised(typed))
