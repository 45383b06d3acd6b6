"""What could leak is refused: each fault by itself, all of them together, and nothing that is right."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest

from jobs import leaks
from jobs.console import Refused

GOOD = leaks.Definition("item_stats", "stats/item_stats", "event_time", "known_time", timedelta(days=1), ("price",))
NOON = datetime(2017, 3, 1, 12, tzinfo=UTC)
MOMENT = pa.timestamp("us", tz="UTC")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"known": ""}, "does not say when its values became known"),
        ({"known": "event_time"}, "does not say when its values became known"),
        ({"event": ""}, "does not say when its values are true"),
        ({"ttl": None}, "has no ttl"),
        ({"ttl": timedelta(0)}, "has no ttl"),
        ({"source": "/data/items.parquet"}, "of which nothing is published"),
        ({"source": "raw/items"}, "of which nothing is published"),
        ({"source": "stats/item_stat"}, "of which nothing is published"),
    ],
    ids=["no known time", "known as it happens", "no event time", "no ttl", "ttl of nothing", "a path", "raw", "typo"],
)
def test_a_definition_that_could_leak_is_told(wrong: dict[str, Any], said: str) -> None:
    assert leaks.of_definitions([GOOD]) == []
    (fault,) = leaks.of_definitions([replace(GOOD, **wrong)])
    assert fault.startswith("item_stats ") and said in fault


def test_two_features_of_one_name_are_told() -> None:
    (fault,) = leaks.of_definitions([GOOD, replace(GOOD, view="other")])
    assert fault == "other and item_stats both have a feature 'price': one would hide the other"


def asking(*times: Any, labels: Any = None, kind: Any = MOMENT, **more: Any) -> list[str]:
    columns = {"event_time": pa.array(times, kind)}
    if labels is not None:
        columns["labelled"] = pa.array(labels, MOMENT)
    found = leaks.request_of(pa.table(columns), labels_from="labelled" if labels is not None else None, **more)
    return leaks.of_request(found)


def test_questions_that_could_leak_are_told() -> None:
    hour = timedelta(hours=1)
    assert asking(NOON) == [] and asking() == []
    assert "no time zone" in asking(NOON.replace(tzinfo=None), kind=pa.timestamp("us"))[0]
    assert "no time zone" in asking("2017-03-01", kind=pa.string())[0]
    assert asking(NOON, None) == ["1 questions have no event_time"]
    assert asking(NOON, NOON, labels=[NOON + hour, None]) == []
    (fault,) = asking(NOON, NOON, NOON, labels=[NOON + hour, NOON, NOON - hour])
    assert fault.startswith("2 questions do not lie before their labels")
    assert asking(NOON, present=NOON) == []
    assert "what is known ends at 2017-03-01T11:00" in asking(NOON, present=NOON - hour)[0]


def test_a_question_may_not_bring_a_column_of_a_features_name() -> None:
    found = leaks.request_of(pa.table({"event_time": pa.array([NOON], MOMENT), "price": [1.0]}))
    assert leaks.of_request(found, [GOOD]) == ["the questions have columns with the names of features: price"]


def test_splits_are_a_label_apart() -> None:
    day, order = timedelta(days=1), ["train", "validation", "test"]
    spans = {"test": (NOON + 2 * day, NOON + 2 * day), "validation": (NOON + day, NOON + day),
             "train": (NOON - day, NOON), "nonmember": (NOON - day, NOON + 9 * day)}  # fmt: skip
    assert leaks.of_splits(spans, order, day) == []
    found = leaks.of_splits(spans, order, 2 * day)
    assert [fault.split()[2].strip("'") for fault in found] == ["train", "validation"]
    assert leaks.of_splits({"test": spans["test"]}, order, day) == []


def test_all_faults_are_told_at_once() -> None:
    leaks.refuse([], "nothing")
    with pytest.raises(Refused, match="one; two"):
        leaks.refuse(["one", "two"], "features of 'items'")
