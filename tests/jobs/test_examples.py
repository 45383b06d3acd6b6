"""Splits by time, labels by hand, no feature from after a question, pairs from log and catalogue."""

from argparse import Namespace
from collections.abc import Callable
from datetime import date, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from jobs import examples
from jobs.console import Problem
from jobs.features import end_of_day
from jobs.warehouse import warehouse

pytestmark = pytest.mark.filterwarnings("ignore")  # of Feast and what it imports, none of them ours
FIRST, LAST = date(2017, 9, 1), date(2017, 12, 31)  # 122 days: test, validation and one training cutoff


def test_cutoffs_lie_a_label_apart_and_never_overlap() -> None:
    found = examples.cutoffs(date(2017, 12, 31), date(2017, 1, 1))
    assert [c.split for c in found] == ["test", "validation", "train", "train", "train", "train"]
    assert found[0].time == end_of_day(date(2017, 12, 3))
    for later, earlier in pairwise(found):
        assert earlier.time + examples.HORIZON == later.time
    assert found[0].time + examples.HORIZON == end_of_day(date(2017, 12, 31))


@pytest.mark.parametrize(("days", "count"), [(111, 0), (112, 3), (139, 3), (140, 4), (168, 5), (400, 6)])
def test_every_cutoff_has_four_weeks_before_it(days: int, count: int) -> None:
    last = date(2017, 12, 31)
    first = last - timedelta(days=days - 1)
    if not count:
        with pytest.raises(Problem, match="too few for a split by time"):
            examples.cutoffs(last, first)
    else:
        assert len(examples.cutoffs(last, first)) == count


def row(n: int, when: datetime, visitor: str, item: str, kind: str = "purchase", **more: Any) -> dict[str, Any]:
    return {
        "interaction_id": f"n{n}",
        "event_time": when,
        "known_time": when,
        "visitor": visitor,
        "item_id": item,
        "kind": kind,
        "simulated": False,
        "day": when.date(),
        **more,
    }


@pytest.fixture
def shop(put: Callable[..., Any]) -> str:
    """A shop with purchases around each cutoff, statistics and a small log of searches."""
    test, validation, train = (c.time for c in examples.cutoffs(LAST, FIRST))
    hour = timedelta(hours=1)
    bought = [
        # Before and exactly at the cutoff: no label.
        row(0, test, "v1", "before"),
        # The first basket after it is b1, which goes on after b2 has begun.
        row(1, test + hour, "v1", "b", basket_id="b1"),
        row(2, test + 2 * hour, "v1", "x", basket_id="b2"),
        row(3, test + 3 * hour, "v1", "a", basket_id="b1"),
        # Without baskets: all of the day.
        row(4, test + 30 * hour, "v2", "d"),
        row(5, test + 31 * hour, "v2", "c"),
        row(6, test + 60 * hour, "v2", "c"),
        row(7, test + 61 * hour, "v2", "e"),
        row(8, end_of_day(LAST), "v3", "last"),
        row(9, validation + hour, "v1", "b"),
        row(10, train + hour, "v1", "b"),
    ]
    asked = []
    shown = []
    for n, (visitor, when) in enumerate(
        [("v1", train), ("v2", train), ("v3", validation + hour), ("v4", validation + hour), ("v1", test + hour)]
    ):
        asked.append(
            {
                "search_id": f"s{n}",
                "event_time": when,
                "known_time": when,
                "visitor": visitor,
                "query": "Tea ",
                "language": "en",
                "simulated": True,
                "day": when.date(),
            }
        )
        for position, item in ((1, "a"), (2, "c"), (4, "b")):
            shown.append(
                {
                    "ranking_id": f"r{n}",
                    "event_time": when,
                    "known_time": when,
                    "visitor": visitor,
                    "search_id": f"s{n}",
                    "item_id": item,
                    "position": position,
                    "propensity": 0.5,
                    "simulated": True,
                    "day": when.date(),
                }
            )
    asked.append({**asked[0], "search_id": "third", "visitor": "v5"})  # the third visitor, before the validation
    # Three visitors made it, but only two of them before the validation's beginning: nothing to learn, but to ask.
    for n, (visitor, when) in enumerate([("v1", train), ("v2", train), ("v3", validation + hour)]):
        asked.append({**asked[0], "search_id": f"l{n}", "query": "late", "visitor": visitor, "event_time": when,
                      "known_time": when, "day": when.date()})  # fmt: skip
        shown.append({**shown[0], "ranking_id": f"rl{n}", "search_id": f"l{n}", "event_time": when,
                      "known_time": when, "day": when.date()})  # fmt: skip
    # Three made it by the test's beginning, but of the third it was known only after it.
    for n, visitor in enumerate(("v1", "v2", "v3")):
        known = test + hour if n == 2 else train
        asked.append({**asked[0], "search_id": f"u{n}", "query": "unheard", "visitor": visitor, "known_time": known})
        shown.append({**shown[0], "ranking_id": f"ru{n}", "search_id": f"u{n}"})
    asked.append({**asked[0], "search_id": "rare", "query": "rare"})
    shown.append({**shown[0], "ranking_id": "rr", "search_id": "rare"})
    bought += [
        row(20, train + hour, "v1", "a", "click", ranking_id="r0"),
        row(21, train + hour, "v2", "b", "click", ranking_id="r1"),
        row(22, validation + 2 * hour, "v3", "a", "click", ranking_id="r2"),
        row(23, validation + 2 * hour, "v4", "a", "purchase", ranking_id="r3"),
        row(24, validation + 2 * hour, "v4", "b", "purchase", ranking_id="r3"),
        row(27, validation + 2 * hour, "v4", "c", "purchase", ranking_id="r3"),
        row(25, test + 2 * hour, "v1", "b", "click", ranking_id="r4"),
        row(26, train + hour, "v1", "a", "click", ranking_id="rr"),
        row(28, train + hour, "v1", "a", "click", ranking_id="rl0"),
        row(29, validation + 2 * hour, "v3", "a", "click", ranking_id="rl2"),
        row(30, train + hour, "v1", "a", "click", ranking_id="ru0"),
    ]
    for name, rows in (("interactions", bought), ("searches", asked), ("rankings", shown)):
        for day in sorted({r["day"] for r in rows} | ({FIRST, LAST} if name == "interactions" else set())):
            put("made", "safe", name, [r for r in rows if r["day"] == day], day.isoformat())
    put(
        "made",
        "safe",
        "items",
        [
            {
                "item_id": i,
                "title": f"{i} green tea leaves",
                "brand": "Leaf",
                "category": "Tea",
                "language": "en",
                "known_time": train,
                "simulated": False,
            }
            for i in ("a", "b", "c")
        ],
    )
    for at, count in ((validation, 1), (test, 2), (test + hour, 99)):
        day = at.date()
        base = {"event_time": at, "known_time": at, "day": day}
        put("made", "stats", "item_stats", [{**base, "item_id": "a", "purchases_28d": count}], day.isoformat())
        put("made", "stats", "visitor_stats", [{**base, "visitor": "v1", "purchases_28d": count}], day.isoformat())
        put(
            "made",
            "stats",
            "visitor_history",
            [{**base, "visitor": "v1", "items": [f"i{count}"], "times": [at], "counts": [count], "decayed": [0.5]}],
            day.isoformat(),
        )
    return "made"


def test_the_recommenders_examples_by_hand(shop: str, capsys: pytest.CaptureFixture[str]) -> None:
    examples.run(Namespace(shop=shop, model="recommender", as_of=None))
    assert "recommender_items  test" in capsys.readouterr().out
    house = warehouse(shop)
    rows = house.read("examples", "recommender").to_pylist()
    test = {r["visitor"]: r for r in rows if r["split"] == "test"}
    assert sorted(test) == ["v1", "v2", "v3"]
    assert (test["v1"]["next_basket"], test["v1"]["next_28d"]) == (["a", "b"], ["a", "b", "x"])
    assert (test["v2"]["next_basket"], test["v2"]["next_28d"]) == (["c", "d"], ["c", "d", "e"])
    assert test["v3"]["next_28d"] == ["last"]
    # What was known: the value at the cutoff itself, never the one an hour later.
    assert (test["v1"]["purchases_28d"], test["v1"]["history_items"]) == (2, ["i2"])
    assert test["v2"]["history_items"] is None
    by_split = {(r["split"], r["visitor"]): r for r in rows}
    assert by_split["validation", "v1"]["history_counts"] == [1]
    train = by_split["train", "v1"]
    assert (train["history_items"], train["next_28d"]) == (None, ["b"])
    items = house.read("examples", "recommender_items").to_pylist()
    assert len(items) == 3 * 3
    assert {(r["split"], r["purchases_28d"]) for r in items if r["item_id"] == "a"} == {
        ("test", 2),
        ("validation", 1),
        ("train", None),
    }
    for r in rows + items:
        known = r.get("history_time") or r.get("stats_time")
        assert known is None or known <= r["event_time"]


def test_the_encoders_pairs_by_hand(shop: str, capsys: pytest.CaptureFixture[str]) -> None:
    examples.run(Namespace(shop=shop, model="encoder", as_of=None))
    rows = warehouse(shop).read("examples", "encoder").to_pylist()
    logged = {
        (r["query"], r["item_id"], r["source"]): (r["split"], r["weight"]) for r in rows if r["source"] != "catalogue"
    }
    assert logged == {
        ("tea", "a", "click"): ("train", 2.0),  # 1 / (0.5 x 1/1); clicked again later: still training
        ("tea", "b", "click"): ("train", 8.0),  # 1 / (0.5 x 1/4); bought later: still training
        ("tea", "c", "purchase"): ("validation", 4.0),
        ("late", "a", "click"): ("validation", 2.0),  # too rare to learn from, before the validation began
    }
    # What training learns of a pair, validation does not ask. "rare" was made by one visitor only, and of the third
    # who made "unheard" nothing was known by then: both are left out, and counted.
    assert not any(query in ("rare", "unheard") for query, *_ in logged)
    assert warehouse(shop).marks("examples", "encoder")[0].notes["rare"] == {"queries": 2, "searches": 4}
    said = capsys.readouterr().err
    assert "rare queries (fewer than 3 visitors) left out: 2, with 4 searches" in said
    assert "the gate will promote no trained model" in said  # before anybody waits for a training in vain
    assert sum(r["source"] == "catalogue" for r in rows) == 6
    assert {r["weight"] for r in rows if r["source"] == "catalogue"} == {1.0}


def test_nonmembers_teach_no_model_but_are_asked_about(
    shop: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(examples, "nonmembers", lambda visitors: ["v1"])
    examples.run(Namespace(shop=shop, model="recommender", as_of=None))
    rows = warehouse(shop).read("examples", "recommender").to_pylist()
    assert {r["split"] for r in rows if r["visitor"] == "v1"} == {"nonmember", "test"}
    assert len([r for r in rows if r["split"] == "nonmember"]) == 2  # at validation's cutoff and at training's
    assert not [r for r in rows if r["split"] == "nonmember" and r["visitor"] != "v1"]
    examples.run(Namespace(shop=shop, model="encoder", as_of=None))
    house = warehouse(shop)
    pairs = {(r["query"], r["item_id"], r["source"]) for r in house.read("examples", "encoder").to_pylist()}
    assert ("tea", "a", "click") in pairs  # clicked by v3 too, later: now it is theirs alone
    split = {(r["query"], r["item_id"], r["source"]): r["split"] for r in house.read("examples", "encoder").to_pylist()}
    assert split["tea", "a", "click"] == "validation" and split["tea", "b", "click"] == "train"
    whose = house.read("examples", "encoder_visitors").to_pylist()
    assert {(r["visitor"], r["item_id"], r["split"]) for r in whose} == {("v1", "a", "nonmember"), ("v2", "b", "train")}


def test_who_is_a_nonmember_depends_on_the_pseudonym_and_on_how_many_there_are() -> None:
    few, many = [f"v{n}" for n in range(300)], [f"v{n}" for n in range(20_000)]
    out = examples.nonmembers(few)
    assert out == examples.nonmembers(few[::-1]) and 30 <= len(out) <= 90  # a fifth
    grown = examples.nonmembers(many)
    assert 850 <= len(grown) <= 1150  # a thousand are enough
    assert {v for v in grown if v in set(few)} <= set(
        out
    )  # nobody who taught a model turns nonmember as the shop grows
    assert examples.nonmembers(few[:149]) == []  # fewer than 30 could show nothing: nobody is held out in vain
    assert "of 149 visitors 0 are held out" in examples.few(149, 0) and "some 150 or more" in examples.few(149, 0)


def test_same_input_same_bytes(shop: str) -> None:
    hashes = set()
    for _ in range(2):
        examples.run(Namespace(shop=shop, model="encoder", as_of=None))
        hashes.add(warehouse(shop).marks("examples", "encoder")[0].sha256)
    assert len(hashes) == 1


def test_a_shop_without_a_log_has_catalogue_pairs_and_no_recommender(
    put: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    items = [
        {
            "item_id": str(n),
            "title": f"wireless headphones model {n} black",
            "brand": "Boom",
            "category": "Headphones",
            "language": "en",
            "simulated": False,
        }
        for n in range(40)
    ]
    put("quiet", "safe", "items", items)
    examples.run(Namespace(shop="quiet", model="encoder", as_of=None))
    rows = warehouse("quiet").read("examples", "encoder").to_pylist()
    assert {r["source"] for r in rows} == {"catalogue"} and {r["split"] for r in rows} == {"train", "validation"}
    assert "boom headphones" in {r["query"] for r in rows}
    with pytest.raises(Problem, match="no interactions to learn from"):
        examples.run(Namespace(shop="quiet", model="recommender", as_of=None))


def test_catalogue_pairs_are_drawn_by_hash_alone() -> None:
    items = [
        {
            "item_id": f"i{n}",
            "title": f"red apple number {n} fresh",
            "brand": None,
            "category": "Fruit",
            "language": "en",
        }
        for n in range(300)
    ]
    some = examples.catalogue_pairs(items, limit=100)
    assert len(some) == 100
    assert some == examples.catalogue_pairs(reversed(items), limit=100)
    whole = examples.catalogue_pairs(items)
    split = {pair["item_id"]: set() for pair in whole}
    for pair in whole:
        split[pair["item_id"]].add(pair["split"])
    assert all(len(of) == 1 for of in split.values())  # an item is whole in one split
    held = sum("validation" in of for of in split.values())
    assert 10 <= held <= 60


@pytest.mark.parametrize("title", ["无线蓝牙耳机黑色", "one two three four five", "tea", "绿茶", "green tea"])
def test_a_fragment_is_a_part_of_its_title(title: str) -> None:
    for seed in range(2000):
        part = examples.fragment(title, seed * 977)
        assert part and part in title
        assert len(part.split() if " " in title else part) >= min(2, len(title.split() if " " in title else title))
