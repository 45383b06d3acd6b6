"""Feast's own monitor over published partitions; drift and freshness, quiet where they should be and loud where not."""

import json
import random
from argparse import Namespace
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import pytest

from jobs import catalogue, feature_store, features, materialising, watching
from jobs.console import Refused

pytestmark = pytest.mark.filterwarnings("ignore")  # of Feast and what it imports, none of them ours
FIRST = date(2017, 3, 1)
DAYS = 35
QUIET = {"row_count": 400, "null_count": 0, "feature_type": "numeric", "min_val": 0, "p50": 2, "p75": 3, "p90": 5,
         "p95": 7, "p99": 9, "max_val": 30}  # fmt: skip


def filled(put: Callable[..., Any], shop: str, dear: int = 99, empty: int = 99) -> None:
    """Five weeks of items, whose prices rise tenfold on day `dear`, and which have no rating from day `empty` on."""
    draw = random.Random(1)
    for n in range(DAYS):
        day = FIRST + timedelta(days=n)
        at = {"event_time": features.end_of_day(day), "known_time": features.end_of_day(day), "day": day}
        rows = [
            {**at, "item_id": f"i{i}", "purchases_28d": draw.randrange(9), "purchases_decayed": draw.random() * 5,
             "price": draw.uniform(1, 9) * (10 if n >= dear else 1), "rating": None if n >= empty else 4.5}
            for i in range(60)
        ]  # fmt: skip
        put(shop, "stats", "item_stats", rows, str(day))
        histories = [
            {**at, "visitor": f"v1_{v}", "items": [f"secret-{v}-{k}" for k in range(draw.randrange(1, 9))]}
            for v in range(30)
        ]
        put(shop, "stats", "visitor_history", histories, str(day))


def check(shop: str) -> None:
    watching.run(Namespace(shop=shop))


def materialised(shop: str) -> None:
    materialising.run(Namespace(shop=shop, first=None, last=None))


def test_a_quiet_shop_is_looked_at_and_nothing_is_said(
    put: Callable[..., Any], capsys: pytest.CaptureFixture[str], home: Any
) -> None:
    filled(put, "quiet")
    materialised("quiet")
    check("quiet")
    out = capsys.readouterr().out
    assert "0 drifted above" in out
    found = watching.last("quiet")
    seen = {(each["view"], each["feature"]): each for each in found["features"]}
    assert seen["item_stats", "price"]["rows"] == 7 * 60 and seen["item_stats", "price"]["drift"] < 0.05
    assert seen["visitor_history", "items"]["rows"] == 7 * 30  # a list is as long as it is
    kept = b"".join(path.read_bytes() for path in (feature_store.folder("quiet") / "feast_monitoring").iterdir())
    assert kept and b"secret-" not in kept  # stock, its monitor would keep the commonest histories whole
    page = (home / "quiet" / "docs" / "features.html").read_text()
    assert "<script" not in page and "http" not in page and "v1_" not in page and "secret-" not in page
    for name in ("item_stats", "visitor_session", "purchases_decayed", "session_items", "0 days old of the 365"):
        assert name in page
    assert "features get --shop quiet --item i0" in page


def test_prices_that_rise_tenfold_and_ratings_that_vanish_are_an_alarm(put: Callable[..., Any]) -> None:
    filled(put, "loud", dear=28, empty=28)
    materialised("loud")
    with pytest.raises(Refused, match="item_stats:price: its last week drifted") as refused:
        check("loud")
    assert "item_stats:rating" in str(refused.value) and "purchases_28d" not in str(refused.value)
    assert "class='alarm'" in catalogue.html("loud")


def test_a_table_that_stopped_and_a_store_that_was_left_behind_are_an_alarm(put: Callable[..., Any]) -> None:
    filled(put, "stopped")
    materialised("stopped")
    for n in range(DAYS, DAYS + 4):
        day = FIRST + timedelta(days=n)
        at = {"event_time": features.end_of_day(day), "known_time": features.end_of_day(day), "day": day}
        put("stopped", "stats", "query_stats", [{**at, "query": "tea", "searches_28d": 3}], str(day))
    with pytest.raises(Refused) as refused:
        check("stopped")
    said = str(refused.value)
    assert "item_stats: its newest value is 4 days older than the shop's data" in said
    assert "query_stats: the online store does not know it" in said


def test_what_cannot_be_counted_is_a_clear_error(put: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    from jobs.console import Problem
    from jobs.feast_store import PublishedDuckDBOfflineStore

    filled(put, "broken")

    def fails(**_: Any) -> None:
        raise OSError("disk")

    monkeypatch.setattr(PublishedDuckDBOfflineStore, "compute_monitoring_metrics", staticmethod(fails))
    with pytest.raises(Problem, match=r"monitor failed on 'visitor_history' \(OSError\)"):
        check("broken")


@pytest.mark.parametrize(
    ("changed", "low", "high"),
    [
        ({}, 0.0, 0.0),
        ({"row_count": 800}, 0.0, 0.0),
        ({"null_count": 400}, 0.5, 1.0),
        ({"min_val": 100, "p50": 120, "p75": 130, "p90": 140, "p95": 150, "p99": 160, "max_val": 200}, 0.5, 1.0),
        ({"p50": 2.2, "p75": 3.1}, 0.0, 0.05),
    ],
)
def test_drift_by_hand(changed: dict[str, Any], low: float, high: float) -> None:
    far = watching.drift({**QUIET, **changed}, QUIET)
    assert far is not None and low <= far <= high


def test_a_few_rows_say_nothing() -> None:
    assert watching.drift({**QUIET, "row_count": 19}, QUIET) is None


def test_texts_drift_by_their_values() -> None:
    def texts(**seen: int) -> dict[str, Any]:
        values = [{"value": value, "count": count} for value, count in seen.items()]
        return {"feature_type": "categorical", "row_count": sum(seen.values()), "null_count": 0,
                "histogram": {"values": values, "other_count": 0, "unique_count": len(values)}}  # fmt: skip

    assert watching.drift(texts(tea=500, milk=500), texts(tea=50, milk=50)) == 0
    assert (watching.drift(texts(beer=900), texts(tea=500, milk=500)) or 0) > 0.5


def test_a_bundle_uses_what_its_partitions_rest_on(put: Callable[..., Any], home: Any) -> None:
    from jobs.warehouse import warehouse

    put("used", "safe", "items", [{"item_id": "a", "title": "A"}])
    house = warehouse("used")
    with house.attempt("examples", "recommender") as attempt:
        attempt.folder("whole").mkdir(parents=True)
        rests = ["stats/visitor_history/2017-03-01@0123456789abcdef", "safe/interactions/2017-03-01@0123456789abcdef"]
        made = house.propose(attempt, "whole", step="test", inputs=rests)
    assert catalogue.sources(house, made.name) == {"visitor_history"}
    gone = "examples/recommender_items/whole@0123456789abcdef"
    assert catalogue.sources(house, gone) == {"visitor_history", "visitor_stats", "item_stats"}
    seal = home / "used" / "bundles" / "recommend" / "3" / "bundle.json"
    seal.parent.mkdir(parents=True)
    seal.write_text(json.dumps({"data": [made.name, "stats/query_stats/2017-03-01@0123456789abcdef"]}))
    assert catalogue.used_by(house) == {"visitor_history": ["recommend 3"], "query_stats": ["recommend 3"]}
