"""Look-ups equal what training was told; broken on purpose, the difference is found, and shows nobody."""

import json
import random
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from jobs import feature_store, features, materialising, skew
from jobs.console import Refused, Usage

pytestmark = [
    pytest.mark.usefixtures("feast"),
    pytest.mark.filterwarnings("ignore"),  # of Feast and what it imports, none of them ours
]
DAY0 = date(2017, 3, 1)
DAYS = 12


def end(day: int) -> datetime:
    return features.end_of_day(DAY0 + timedelta(days=day))


@pytest.fixture
def shop(put: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> str:
    """Days of statistics, some of them known late, and an online store that is up to date."""
    monkeypatch.delenv("ENDCAP_REDIS", raising=False)
    dice = random.Random(1)
    for day in range(DAYS):
        at = {"event_time": end(day), "day": DAY0 + timedelta(days=day)}

        def known(day: int = day) -> dict[str, Any]:
            return {"known_time": end(day) + timedelta(hours=dice.choice([0, 5, 50, 100]))}

        items = [
            {**at, **known(), "item_id": f"i{n}", "purchases_28d": day, "price": dice.random() * 100,
             "purchases_decayed": dice.random()} for n in range(20) if dice.random() < 0.4
        ]  # fmt: skip
        visitors = [f"v1_{n:04x}" for n in range(12) if dice.random() < 0.3]
        stats = [{**at, **known(), "visitor": v, "purchases_28d": day, "spend_28d": dice.random()} for v in visitors]
        histories = [
            {**at, **known(), "visitor": v, "items": ["i1", "茶"][: day % 3], "times": [end(0), end(1)][: day % 3],
             "counts": [1, 2][: day % 3], "decayed": [dice.random(), 0.1 + 0.2][: day % 3]} for v in visitors
        ]  # fmt: skip
        rows = {"item_stats": items, "visitor_stats": stats, "visitor_history": histories}
        for name, of_day in rows.items():
            if of_day:
                put("month", "stats", name, of_day, at["day"].isoformat())
    materialising.run(Namespace(shop="month", first=None, last=None))
    return "month"


def measured(shop: str, moments: int = 3, sample: int = 60) -> dict[str, Any]:
    skew.run(Namespace(shop=shop, moments=moments, sample=sample, seed=1))
    return dict(json.loads(skew.report_file(shop).read_text()))


def refused(shop: str) -> tuple[str, dict[str, Any]]:
    """Why the measurement was refused, and the report that it left all the same."""
    with pytest.raises(Refused) as wrong:
        measured(shop, moments=2)
    return str(wrong.value), json.loads(skew.report_file(shop).read_text())


def test_training_and_serving_are_told_the_same(shop: str, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = measured(shop)
    assert (found["draws"], found["mismatches"], found["limit"], found["examples"]) == (60, 0, 0, [])
    # All kinds of answers were compared, of every view, its event time included.
    assert found["states"]["present"] > 20 and found["states"]["absent"] > 5
    compared = {name.split(".")[0] for name in found["features"]}
    assert compared == {view for views in feature_store.SERVICES.values() for view in views}
    assert {"item_stats.event_time", "item_stats.price", "visitor_history.decayed"} <= set(found["features"])
    assert found["moments"] == sorted(found["moments"]) and len(found["moments"]) == 3
    out = capsys.readouterr().out
    assert "0 mismatches, limit 0" in out and out.splitlines()[-1].startswith("next: ")
    # The same draws give the same report; nothing of the replay is left in the home.
    measured(shop, moments=1)
    before = skew.report_file(shop).read_bytes()
    measured(shop, moments=1)
    assert skew.report_file(shop).read_bytes() == before
    assert not list(feature_store.folder(shop).glob("replay-*"))


def test_a_writer_that_drops_precision_is_found(shop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from jobs import feast_store

    attach = feast_store.attach

    def coarse(live: Any, config: Any, source: Any, *files: Any) -> None:
        attach(live, config, source, *files)
        if source.path == "stats/visitor_stats" and feast_store.as_of():  # what the replay's writer reads, and no other
            live.execute("ALTER VIEW source RENAME TO fine")
            short = "SELECT * REPLACE (spend_28d::FLOAT::DOUBLE AS spend_28d) FROM fine"
            live.execute(f"CREATE TEMP VIEW source AS {short}")

    monkeypatch.setattr(feast_store, "attach", coarse)
    said, found = refused(shop)
    assert "in visitor_stats.spend_28d." in said
    assert {name for name, of in found["features"].items() if of["mismatches"]} == {"visitor_stats.spend_28d"}
    # Nobody is shown: no pseudonym, and of a visitor no value.
    text = json.dumps(found)
    assert "v1_" not in text
    assert {(e["offline"], e["online"]) for e in found["examples"]} == {("(float, not shown)", "(float, not shown)")}


def test_a_late_row_that_is_seen_too_early_is_found(shop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def never(_: datetime, among: Any) -> Iterator[None]:
        yield

    monkeypatch.setattr("jobs.feast_store.known_until", never)
    said, found = refused(shop)
    wrong = {name.partition(".") for name, of in found["features"].items() if of["mismatches"]}
    assert {view for view, _, feature in wrong if feature == "event_time"} == {view for view, *_ in wrong}
    assert "mend the writer" in said and {example["store"] for example in found["examples"]} == {"replay"}


def test_a_store_that_lags_behind_is_found_and_what_to_do_is_said(shop: str, put: Callable[..., Any]) -> None:
    day = DAY0 + timedelta(days=DAYS)
    row = {"item_id": "i1", "event_time": end(DAYS), "known_time": end(DAYS), "purchases_28d": 7, "day": day}
    put(shop, "stats", "item_stats", [row], day.isoformat())
    said, found = refused(shop)
    assert "run 'python -m jobs materialise --shop month'" in said
    assert {example["store"] for example in found["examples"]} == {"live"}
    materialising.run(Namespace(shop=shop, first=None, last=None))
    assert measured(shop, moments=1)["mismatches"] == 0


@pytest.mark.parametrize(
    ("offline", "online", "equal"),
    [
        (1, 1, True), (1, 1.0, False), (True, 1, False), (None, None, True), (None, 0, False), ("", None, False),
        (0.1 + 0.2, 0.3, False), (float("nan"), float("nan"), True), (0.0, -0.0, False),
        ([1, None], [1, None], True), ([1], [1, 1], False), ([], None, False), ([1.0], [1], False),
        (datetime(2017, 3, 1, 1, 1, 1, 5, UTC), datetime(2017, 3, 1, 1, 1, 1, 0, UTC), True),
        (datetime(2017, 3, 1, 1, 1, 1, 0, UTC), datetime(2017, 3, 1, 1, 1, 2, 0, UTC), False),
    ],
    ids=repr,
)  # fmt: skip
def test_what_is_the_same(offline: Any, online: Any, equal: bool) -> None:
    assert skew.same(offline, online) is equal


def test_moments_are_spread_over_the_past_and_end_with_the_present() -> None:
    found = skew.moments_of(end(0), end(80), 8, random.Random(3))
    assert len(found) == 8 and found[-1] == end(80) and found == sorted(found)
    stretch, day = (end(80) - end(0)) / 7, timedelta(days=1)
    assert all(stretch * n <= each - end(0) <= stretch * (n + 1) + day for n, each in enumerate(found[:-1]))
    assert sum(each == features.end_of_day(each.date()) for each in found) == 4
    assert skew.moments_of(end(0), end(80), 1, random.Random(3)) == [end(80)]


def test_keys_that_belong_together_are_drawn_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(skew, "SERVICES", {"cycles": (), "recommender": ()})
    monkeypatch.setattr(skew, "KEYS", {"cycles": ("visitor", "category"), "recommender": ("visitor",)})
    pairs = pa.table({"category": ["tea", "cup"], "visitor": ["v1", "v2"]})
    among = [skew.Pool(("category", "visitor"), pairs, [end(0), end(5)]),
             skew.Pool(("visitor",), pa.table({"visitor": ["v3"]}), [end(0)])]  # fmt: skip
    draws = skew.drawn(among, end(1), 400, random.Random(1))
    seen = {entity for entity in draws["cycles"] if "nobody" not in str(entity)}
    assert seen == {(("visitor", "v1"), ("category", "tea")), (("visitor", "v2"), ("category", "cup"))}
    known = sum(entity == (("visitor", "v1"), ("category", "tea")) for entity in draws["cycles"])
    assert known > 340  # most are known at the moment; some are not yet, and some never were
    assert {len(entity) for entity in draws["recommender"]} == {1}


def test_a_shop_without_statistics_has_no_skew(put: Callable[..., Any], capsys: pytest.CaptureFixture[str]) -> None:
    put("quiet", "safe", "items", [{"item_id": "a", "title": "A"}])
    assert measured("quiet")["draws"] == 0
    assert "nothing that training and serving could be told differently" in capsys.readouterr().out
    with pytest.raises(Usage, match="a draw at each"):
        skew.run(Namespace(shop="quiet", moments=8, sample=7, seed=1))
