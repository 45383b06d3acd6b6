"""What is true at the end of a day: windows, decay, distinct visitors, late rows, one visitor's history by hand."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs import aggregating
from jobs import spark as sparks
from jobs.console import Problem
from jobs.tables import table
from jobs.warehouse import arrow_schema, warehouse
from tests.kills import copied

START = datetime(2017, 3, 1, 10, tzinfo=UTC)


def at(day: int, hour: int = 10) -> datetime:
    return datetime(2017, 3, 1, hour, tzinfo=UTC) + timedelta(days=day)


def end(day: int) -> datetime:
    return datetime(2017, 3, 1, tzinfo=UTC) + timedelta(days=day + 1, microseconds=-1)


def frame(spark: Any, name: str, rows: Sequence[Mapping[str, Any]]) -> Any:
    names = table("safe", name).names
    filled = [{"known_time": row.get("event_time"), "simulated": False, **row} for row in rows]
    for row in filled:
        if "day" in names:
            row.setdefault("day", row["event_time"].date())
    values = [tuple(row.get(column) for column in names) for row in filled]
    return spark.createDataFrame(values, sparks.ddl(table("safe", name)))


def did(kind: str, when: datetime, visitor: str = "v", item: str = "a", **more: Any) -> dict[str, Any]:
    return {
        "interaction_id": f"{kind}{when}{visitor}{item}{more}",
        "kind": kind,
        "event_time": when,
        "visitor": visitor,
        "item_id": item,
        **more,
    }


def search(when: datetime, visitor: str, query: str, id: str = "") -> dict[str, Any]:
    return {"search_id": id or f"{when}{visitor}{query}", "event_time": when, "visitor": visitor, "query": query}


def by_day(rows: Any, first: date = date(2017, 3, 1)) -> dict[int, Any]:
    return {(row.day - first).days: row for row in rows.collect()}


def test_an_item_by_hand(spark: Any) -> None:
    bought = [
        did("purchase", at(0), quantity=2, amount=Decimal("3.00")),
        did("purchase", at(0, 12), quantity=1, amount=Decimal("3.00")),
        did("click", at(0)),
        did("purchase", at(27)),
        did("purchase", at(28)),
    ]
    shown = [
        {"ranking_id": "r", "event_time": at(1), "visitor": "v", "item_id": "a", "position": p, "propensity": 1.0}
        for p in (1, 2, 4)
    ]
    reviews = [
        {"review_id": f"{d}", "event_time": at(d), "visitor": "v", "item_id": "a", "rating": stars}
        for d, stars in ((2, 5), (27, 2))
    ]
    items = [{"item_id": "a", "title": "A", "price": Decimal("9.50"), "known_time": at(2)}]
    rows = by_day(
        aggregating.item_stats(
            frame(spark, "interactions", bought),
            frame(spark, "rankings", shown),
            frame(spark, "reviews", reviews),
            frame(spark, "items", items),
        )
    )
    assert sorted(rows) == [0, 1, 2, 27, 28]
    assert [rows[d].purchases_28d for d in (0, 1, 2, 27, 28)] == [2, 2, 2, 3, 2]  # day 0 has left by day 28
    assert [rows[d].clicks_28d for d in (0, 27, 28)] == [1, 1, 0]
    assert [rows[d].shown_28d for d in (0, 1, 27, 28)] == [0, 1.75, 1.75, 1.75]
    assert [rows[d].rating for d in (1, 2, 28)] == [None, 5, 3.5]
    # Paid: 6.00 for 3. The catalogue's price counts from when the catalogue was known (day 2).
    assert [rows[d].price for d in (0, 1, 2, 28)] == [2.0, None, 9.5, 9.5]
    for day, row in rows.items():
        exact = sum(
            0.5 ** ((end(day) - b["event_time"]).total_seconds() / 86400 / 60)
            for b in bought
            if b["kind"] == "purchase" and b["event_time"] <= end(day)
        )
        assert row.purchases_decayed == pytest.approx(exact, rel=1e-9)
        assert row.event_time.replace(tzinfo=UTC) == end(day) or row.event_time == end(day).replace(tzinfo=None)


def test_decay_halves_in_sixty_days(spark: Any) -> None:
    empty = {name: frame(spark, name, []) for name in ("rankings", "reviews", "items")}
    clicks = [did("purchase", end(0)), did("click", at(60))]
    rows = by_day(aggregating.item_stats(frame(spark, "interactions", clicks), **empty))
    assert (rows[0].purchases_decayed, rows[60].purchases_decayed) == (pytest.approx(1.0), pytest.approx(0.5))


def test_a_late_row_is_known_late_and_so_is_all_that_rests_on_it(spark: Any) -> None:
    rows = [did("purchase", at(0)), did("purchase", at(1), known_time=at(9)), did("purchase", at(2))]
    empty = {name: frame(spark, name, []) for name in ("rankings", "reviews", "items")}
    of_item = by_day(aggregating.item_stats(frame(spark, "interactions", rows), **empty))
    of_visitor = by_day(
        aggregating.visitor_stats(frame(spark, "interactions", rows), frame(spark, "searches", []), empty["reviews"])
    )
    for stats in (of_item, of_visitor):
        assert [_utc(stats[day].known_time) for day in (0, 1, 2)] == [end(0), at(9), at(9)]


def _utc(when: datetime) -> datetime:
    return when.replace(tzinfo=UTC) if when.tzinfo is None else when


def test_a_visitor_by_hand(spark: Any) -> None:
    bought = [
        did("purchase", at(0), amount=Decimal("1.50"), basket_id="x"),
        did("purchase", at(0), item="b", amount=Decimal("2.00"), basket_id="x"),
        did("purchase", at(0, 20), item="b", amount=Decimal("0.25"), basket_id="y"),
        did("click", at(3)),
        did("purchase", at(30), amount=None),
        did("purchase", at(30), item="c", amount=Decimal("4.00")),
    ]
    searched = [search(at(3), "v", "tea"), search(at(5), "v", "tea"), search(at(5), "w", "tea")]
    stats = aggregating.visitor_stats(
        frame(spark, "interactions", bought), frame(spark, "searches", searched), frame(spark, "reviews", [])
    )
    rows = by_day(stats.where("visitor = 'v'"))
    assert sorted(rows) == [0, 3, 5, 30]
    assert [rows[d].purchases_28d for d in (0, 3, 5, 30)] == [3, 3, 3, 2]
    assert [rows[d].spend_28d for d in (0, 3, 5, 30)] == [3.75, 3.75, 3.75, 4.0]
    assert [rows[d].baskets_28d for d in (0, 3, 5, 30)] == [2, 2, 2, 1]
    assert [rows[d].searches_28d for d in (0, 3, 5, 30)] == [0, 1, 2, 2]
    assert [rows[d].days_since_purchase for d in (0, 3, 5, 30)] == [None, 3.0, 5.0, 30.0]
    other = by_day(stats.where("visitor = 'w'"))[5]
    assert (other.purchases_28d, other.spend_28d, other.days_since_purchase) == (0, 0.0, None)


def queries(
    spark: Any, searches: list[dict[str, Any]], interactions: Any = (), rankings: Any = (), items: Any = ()
) -> Any:
    return aggregating.query_stats(
        aggregating.with_normal_query(frame(spark, "searches", searches)),
        frame(spark, "rankings", list(rankings)),
        frame(spark, "interactions", list(interactions)),
        frame(spark, "items", list(items)),
        "2017-03-01",
        "2017-12-31",
    )


def test_a_query_counts_only_once_three_visitors_made_it(spark: Any) -> None:
    made = [search(at(0), "a", "Green TEA"), search(at(1), "b", "green tea"), search(at(1), "b", "green  tea", "again")]
    made += [search(at(2), "c", "ｇreen tea", "third"), search(at(2), "c", "rare"), search(at(40), "a", "green tea")]
    shown = [
        {
            "ranking_id": "r",
            "search_id": "third",
            "event_time": at(2),
            "visitor": "c",
            "item_id": i,
            "position": 1,
            "propensity": 1.0,
        }
        for i in "xy"
    ]
    clicks = [did("click", at(2), ranking_id="r"), did("click", at(3), ranking_id="r"), did("click", at(3))]
    rows = queries(spark, made, clicks, shown).collect()
    assert {(r["query"], (r.day - date(2017, 3, 1)).days) for r in rows} == {("green tea", 2), ("green tea", 40)}
    first, later = sorted(rows, key=lambda r: r.day)
    assert (first.searches_28d, first.visitors_28d, first.clicks_28d) == (4, 3, 1)
    assert (later.searches_28d, later.visitors_28d, later.clicks_28d) == (1, 1, 0)


def test_what_is_rare_is_counted_by_day_and_written_nowhere(spark: Any, put: Callable[..., Any]) -> None:
    """On day 0 both queries are rare; on day 1 the third visitor makes "tea" one that may be told; "rare" stays so."""
    asked = {0: [("a", "tea"), ("b", "Tea"), ("a", "rare"), ("a", "rare ")], 1: [("c", "tea"), ("b", "rare")], 2: []}
    for day, made in asked.items():
        rows = [{**search(at(day), who, text, f"{day}-{n}"), "day": at(day).date(), "known_time": at(day),
                 "simulated": False} for n, (who, text) in enumerate(made)]  # fmt: skip
        put("rare", "safe", "searches", rows, at(day).date().isoformat())
    days = [at(day).date().isoformat() for day in asked]
    marks = aggregating.aggregate(spark, warehouse("rare"), days, {"query_stats": days})["query_stats"]
    assert [mark.notes["rare"] for mark in marks] == [
        {"queries": 2, "searches": 4}, {"queries": 1, "searches": 1}, {"queries": 0, "searches": 0}]  # fmt: skip
    told = warehouse("rare").read("stats", "query_stats").to_pylist()
    assert [(row["query"], row["day"], row["visitors_28d"]) for row in told] == [("tea", at(1).date(), 3)]
    one = aggregating.aggregate(spark, warehouse("rare"), days[1:2], {"query_stats": days[1:2]})["query_stats"]
    assert one[0].notes["rare"] == marks[1].notes["rare"]  # a day by itself counts the same


def test_distinct_visitors_of_a_window_as_counted_one_by_one(spark: Any) -> None:
    import random

    draw = random.Random(5)
    made = [search(at(draw.randrange(70), draw.randrange(24)), draw.choice("abcdef"), "q", f"s{n}") for n in range(60)]
    for row in queries(spark, made).collect():
        day = (row.day - date(2017, 3, 1)).days
        inside = [s for s in made if 0 <= (row.day - s["event_time"].date()).days < 28]
        assert row.visitors_28d == len({s["visitor"] for s in inside}), day
        assert row.searches_28d == len(inside)


# ---- any shop, counted one by one ------------------------------------------------------------------


LONG_AGO = at(-9)


def any_shop(seed: int) -> dict[str, list[dict[str, Any]]]:
    """A random shop of 100 days: every kind of act, late rows, things without price, category, brand or channel, an
    item that no catalogue knows and two that it knows late."""
    import random

    draw = random.Random(seed)

    def when() -> datetime:
        return at(draw.randrange(100), 0) + timedelta(seconds=draw.randrange(86_400))

    def late(moment: datetime) -> datetime:
        return moment + timedelta(days=draw.choice([0] * 30 + [4]))

    items = [
        {"item_id": f"i{n}", "title": "x" * draw.randrange(1, 9), "description": draw.choice([None, "long"]),
         "category": draw.choice([None, "c", "d", "e"]), "brand": draw.choice([None, "b", "B"]), "language": "en",
         "price": draw.choice([None, Decimal("2.50")]), "known_time": [LONG_AGO, at(30), at(95)][max(n - 6, 0)]}
        for n in range(9)
    ]  # fmt: skip
    searches = []
    for n in range(120):
        moment = when()
        for again in range(draw.choice([1, 1, 2])):
            soon = min(moment + timedelta(minutes=7 * again), end((moment - at(0, 0)).days))
            searches.append({**search(soon, draw.choice("uvwx") if not again else searches[-1]["visitor"],
                                      draw.choice(["tea", "cup", "pot"]), f"s{n}-{again}"),
                             "known_time": late(soon), "channel": "web"})  # fmt: skip
    rankings = [
        {"ranking_id": f"r{n}", "event_time": asked["event_time"], "visitor": asked["visitor"],
         "search_id": draw.choice([asked["search_id"]] * 4 + [None]), "item_id": f"i{draw.randrange(10)}",
         "position": place, "propensity": 1.0, "known_time": asked["known_time"]}
        for n, asked in enumerate(searches)
        for place in range(1, draw.randrange(2, 5))
    ]  # fmt: skip
    acts = []
    for n in range(900):
        kind = draw.choice(["view", "click", "click", "cart", "purchase", "purchase", "dwell", "return", "cancel"])
        moment = when()
        sold = kind in ("purchase", "return", "cancel")
        acts.append(did(kind, moment, draw.choice("uvwxyz"), f"i{draw.randrange(10)}", interaction_id=f"n{n}",
                        known_time=late(moment), channel=draw.choice([None, "web", "app", "store"]),
                        ranking_id=draw.choice([None, f"r{draw.randrange(len(searches))}"]),
                        quantity=draw.choice([1, 2, 3, 0, None]) if sold else None,
                        amount=draw.choice([None, Decimal(draw.randrange(5000)) / 100]) if sold else None))  # fmt: skip
    reviews = [
        {"review_id": f"w{n}", "event_time": (moment := when()), "visitor": "u", "item_id": f"i{draw.randrange(10)}",
         "rating": draw.choice([None, 1, 4, 5]), "known_time": late(moment)}
        for n in range(40)
    ]  # fmt: skip
    return {"items": items, "searches": searches, "rankings": rankings, "interactions": acts, "reviews": reviews}


def within(rows: Sequence[Mapping[str, Any]], day: date, length: int) -> list[Mapping[str, Any]]:
    """The rows of the last `length` days up to `day`."""
    return [row for row in rows if 0 <= (day - row["event_time"].date()).days < length]


def of_kind(rows: Sequence[Mapping[str, Any]], *kinds: str) -> list[Mapping[str, Any]]:
    return [row for row in rows if row["kind"] in kinds]


def top_shares(keys: Sequence[Any]) -> tuple[Any, Any]:
    """The ten most frequent keys, ties in order, and their shares."""
    from collections import Counter

    found = sorted(Counter(key for key in keys if key is not None).items(), key=lambda pair: (-pair[1], pair[0]))
    total = sum(n for _, n in found)
    return ([key for key, _ in found[:10]] or None, [n / total for _, n in found[:10]] or None)


@pytest.fixture(scope="module")
def any_of() -> dict[str, list[dict[str, Any]]]:
    return any_shop(1)


def frames(spark: Any, shop: Mapping[str, list[dict[str, Any]]], *names: str) -> list[Any]:
    return [frame(spark, name, shop[name]) for name in names]


def test_any_item_is_what_counting_one_by_one_gives(spark: Any, any_of: dict[str, list[dict[str, Any]]]) -> None:
    catalogue = {row["item_id"]: row for row in any_of["items"]}
    made = aggregating.item_stats(*frames(spark, any_of, "interactions", "rankings", "reviews", "items")).collect()
    touched = {(r["item_id"], r["event_time"].date()) for r in any_of["interactions"] + any_of["rankings"]}
    touched |= {(r["item_id"], r["event_time"].date()) for r in any_of["reviews"] if r["rating"] is not None}
    assert {(row.item_id, row.day) for row in made} == touched
    for row in made:
        acts = [act for act in any_of["interactions"] if act["item_id"] == row.item_id]
        shown = [place for place in any_of["rankings"] if place["item_id"] == row.item_id]
        stars = [each for each in any_of["reviews"] if each["item_id"] == row.item_id and each["rating"] is not None]
        for length in (1, 7, 28):
            recent = within(acts, row.day, length)
            assert row[f"views_{length}d"] == len(of_kind(recent, "view"))
            assert row[f"clicks_{length}d"] == len(of_kind(recent, "click"))
            assert row[f"carts_{length}d"] == len(of_kind(recent, "cart"))
            back = len(of_kind(recent, "return", "cancel"))
            assert row[f"purchases_{length}d"] == max(len(of_kind(recent, "purchase")) - back, 0)
        ranked = [act for act in within(acts, row.day, 28) if act["ranking_id"]]
        views = sum(1 / place["position"] for place in within(shown, row.day, 28))
        assert row.shown_28d == pytest.approx(views)
        assert row.click_rate_28d == pytest.approx((len(of_kind(ranked, "click")) + 1) / (views + 20))
        assert row.purchase_rate_28d == pytest.approx((len(of_kind(ranked, "purchase")) + 1) / (views + 100))

        def paid(length: int, acts: Any = acts, row: Any = row) -> float | None:
            sold = [
                a
                for a in of_kind(within(acts, row.day, length), "purchase")
                if a["quantity"] and a["amount"] is not None
            ]
            return float(sum(a["amount"] for a in sold)) / sum(a["quantity"] for a in sold) if sold else None

        listed = catalogue.get(row.item_id)
        known = _utc(row.known_time)
        if not listed or listed["known_time"] > known:
            listed = dict.fromkeys(("price", "category", "brand", "language"))
        else:
            assert (row.title_length, row.description_length) == (
                len(listed["title"]),
                len(listed["description"] or ""),
            )
        if listed["language"] is None:
            assert row.title_length is None and row.description_length is None
        assert (row.category, row.brand, row.language) == (listed["category"], listed["brand"], listed["language"])
        price = paid(1) if paid(1) is not None else float(listed["price"]) if listed["price"] else None
        assert row.price == (pytest.approx(price) if price is not None else None)
        usual = paid(28)
        assert row.price_28d == (pytest.approx(usual) if usual is not None else None)
        change = price / usual - 1 if price is not None and usual else None
        assert row.price_change_28d == (pytest.approx(change, abs=1e-9) if change is not None else None)
        everything = [r["event_time"].date() for r in acts + shown + stars if r["event_time"].date() <= row.day]
        sold = [a["event_time"].date() for a in of_kind(acts, "purchase") if a["event_time"].date() <= row.day]
        assert row.days_since_first_seen == (row.day - min(everything)).days
        assert row.days_since_sold == ((row.day - max(sold)).days if sold else None)
        so_far = [each for each in stars if each["event_time"].date() <= row.day]
        assert row.ratings == len(so_far)
        assert row.rating == (pytest.approx(sum(s["rating"] for s in so_far) / len(so_far)) if so_far else None)
        rests_on = [r["known_time"] for r in acts + shown + stars if r["event_time"].date() <= row.day]
        assert known == max([end((row.day - date(2017, 3, 1)).days), *rests_on])


def test_any_visitor_is_what_counting_one_by_one_gives(spark: Any, any_of: dict[str, list[dict[str, Any]]]) -> None:
    acts, searches = any_of["interactions"], any_of["searches"]
    for row in aggregating.visitor_stats(*frames(spark, any_of, "interactions", "searches", "reviews")).collect():
        own = [r for r in acts + searches + any_of["reviews"] if r["visitor"] == row.visitor]
        active = sorted({r["event_time"].date() for r in own if r["event_time"].date() <= row.day})
        assert row.active_days_28d == sum((row.day - day).days < 28 for day in active)
        assert row.days_since_active == ((row.day - active[-2]).days if len(active) > 1 else None)
        baskets = {a["event_time"].date() for a in within(of_kind(acts, "purchase"), row.day, 28)
                   if a["visitor"] == row.visitor}  # fmt: skip
        assert row.baskets_28d == len(baskets)
        assert row.spend_per_basket_28d == (pytest.approx(row.spend_28d / len(baskets)) if baskets else None)


def test_any_habits_are_what_counting_one_by_one_gives(spark: Any, any_of: dict[str, list[dict[str, Any]]]) -> None:
    catalogue = {row["item_id"]: row for row in any_of["items"]}
    made = aggregating.visitor_habits(*frames(spark, any_of, "interactions", "items"), "2017-03-01", "2017-12-31")
    every = of_kind(any_of["interactions"], "view", "click", "cart", "purchase")
    rows = made.collect()
    assert {(row.visitor, row.day) for row in rows} == {(a["visitor"], a["event_time"].date()) for a in every}
    for row in rows:
        own = [act for act in every if act["visitor"] == row.visitor]
        recent = within(own, row.day, 84)
        moment = end((row.day - date(2017, 3, 1)).days)
        listed = [catalogue[a["item_id"]] for a in recent if a["item_id"] in catalogue]
        listed = [each for each in listed if each["known_time"] <= moment]
        units = [
            int(a["amount"] * 100) // a["quantity"]
            for a in of_kind(recent, "purchase")
            if a["quantity"] and a["amount"]
        ]
        parts = [("night", "morning", "afternoon", "evening")[a["event_time"].hour // 6] for a in recent]
        for names, of_each, keys in (
            ("categories", "category_shares", [each["category"] for each in listed]),
            ("brands", "brand_shares", [each["brand"] for each in listed]),
            ("price_bands", "price_band_shares", [len(f"{unit:b}") for unit in units if unit]),
            ("dayparts", "daypart_shares", parts),
            ("channels", "channel_shares", [a["channel"] for a in recent]),
        ):
            assert (row[names], row[of_each]) == top_shares(keys), names
        so_far = [a["known_time"] for a in own if a["event_time"].date() <= row.day]
        assert (_utc(row.event_time), _utc(row.known_time)) == (moment, max(moment, *so_far))


def test_any_cycle_is_what_counting_one_by_one_gives(spark: Any, any_of: dict[str, list[dict[str, Any]]]) -> None:
    import itertools
    import statistics

    catalogue = {row["item_id"]: row for row in any_of["items"] if row["category"]}
    bought = [a for a in of_kind(any_of["interactions"], "purchase") if a["item_id"] in catalogue]
    rows = aggregating.visitor_cycles(*frames(spark, any_of, "interactions", "items")).collect()
    assert {(r.visitor, r.category, r.day) for r in rows} == {
        (a["visitor"], catalogue[a["item_id"]]["category"], a["event_time"].date()) for a in bought
    }
    for row in rows:
        own = [a for a in bought if a["visitor"] == row.visitor and a["event_time"].date() <= row.day
               and catalogue[a["item_id"]]["category"] == row.category]  # fmt: skip
        days = sorted({a["event_time"].date() for a in own})
        gaps = [(b - a).days for a, b in itertools.pairwise(days)]
        assert row.purchase_days == len(days)
        assert row.cycle_days == (pytest.approx(statistics.fmean(gaps)) if gaps else None)
        assert row.cycle_spread == (pytest.approx(statistics.pstdev(gaps), abs=1e-6) if gaps else None)
        known = [max(a["known_time"], catalogue[a["item_id"]]["known_time"]) for a in own]
        assert _utc(row.known_time) == max(end((row.day - date(2017, 3, 1)).days), *known)


def test_any_query_is_what_counting_one_by_one_gives(spark: Any, any_of: dict[str, list[dict[str, Any]]]) -> None:
    from collections import Counter
    from math import log2

    catalogue = {row["item_id"]: row for row in any_of["items"]}
    asked = {s["search_id"]: s for s in any_of["searches"]}
    answers = {r["ranking_id"]: r["search_id"] for r in any_of["rankings"] if r["search_id"]}
    clicks = [a for a in of_kind(any_of["interactions"], "click") if a["ranking_id"] in answers]
    rows = queries(spark, any_of["searches"], any_of["interactions"], any_of["rankings"], any_of["items"]).collect()
    assert len(rows) > 50
    for row in rows:
        own = [s for s in any_of["searches"] if s["query"] == row["query"]]
        for length in (1, 7, 28):
            assert row[f"searches_{length}d"] == len(within(own, row.day, length))
        again = 0
        for made in within(own, row.day, 28):
            later = [s for s in any_of["searches"] if s["visitor"] == made["visitor"]
                     and s["event_time"].date() == made["event_time"].date()
                     and (s["event_time"], s["search_id"]) > (made["event_time"], made["search_id"])]  # fmt: skip
            following = min(later, key=lambda s: (s["event_time"], s["search_id"]), default=None)
            if following and following["query"] != made["query"]:
                again += following["event_time"] - made["event_time"] <= timedelta(minutes=10)
        assert row.reformulation_rate_28d == pytest.approx(again / row.searches_28d)
        recent = [c for c in within(clicks, row.day, 28) if asked[answers[c["ranking_id"]]]["query"] == row["query"]]
        assert row.clicks_28d == len(recent)
        parts = [n / len(recent) for n in Counter(c["item_id"] for c in recent).values()]
        bits = -sum(p * log2(p) for p in parts) if parts else None
        assert row.click_entropy_28d == (pytest.approx(bits, abs=1e-8) if bits is not None else None)
        moment = end((row.day - date(2017, 3, 1)).days)
        listed = [catalogue[c["item_id"]] for c in recent if c["item_id"] in catalogue]
        kinds = [each["category"] for each in listed if each["known_time"] <= moment]
        assert (row.categories, row.category_shares) == top_shares(kinds)


# ---- one visitor's history ------------------------------------------------------------------------


def purchases(rows: Sequence[tuple[str, datetime]], known: Sequence[datetime] | None = None) -> pa.Table:
    schema = arrow_schema(table("safe", "interactions"))
    wanted = pa.schema([schema.field(n) for n in ("visitor", "item_id", "event_time", "known_time", "day")])
    return pa.Table.from_pylist(
        [
            {
                "visitor": "v",
                "item_id": i,
                "event_time": t,
                "known_time": (known or [])[n] if known else t,
                "day": t.date(),
            }
            for n, (i, t) in enumerate(rows)
        ],
        schema=wanted,
    )


def test_a_history_by_hand() -> None:
    half = timedelta(days=60)
    rows = [("b", at(0)), ("a", at(0)), ("c", end(0) - half * 0), ("a", at(0, 12)), ("b", end(60))]
    got = aggregating.histories(purchases(rows), date(2017, 3, 1), date(2017, 12, 31)).to_pylist()
    assert [row["event_time"] for row in got] == [end(0), end(60)]
    first, second = got
    assert first["items"] == ["c", "a", "b"]  # newest first
    assert first["counts"] == [1, 2, 1]
    assert first["times"] == [end(0).replace(microsecond=0), at(0, 12), at(0)]
    assert first["decayed"][0] == pytest.approx(1.0)
    assert second["items"] == ["b", "c", "a"]
    assert second["counts"] == [2, 1, 2]
    old = 0.5 ** ((end(60) - at(0)) / half)
    assert second["decayed"] == pytest.approx([1 + old, 0.5, 0.5 ** ((end(60) - at(0, 12)) / half) + old])


def test_ties_are_ordered_by_id_and_only_the_last_200_stay() -> None:
    many = [(f"i{n:03d}", at(0)) for n in range(150)] + [(f"j{n:03d}", at(1)) for n in range(150)]
    got = aggregating.histories(purchases(many), date(2017, 3, 1), date(2017, 3, 31)).to_pylist()
    assert got[0]["items"] == [f"i{n:03d}" for n in range(150)]
    assert got[1]["items"] == [f"j{n:03d}" for n in range(150)] + [f"i{n:03d}" for n in range(50)]


def test_an_item_that_fell_out_comes_back_with_its_count() -> None:
    many = [("old", at(0))] + [(f"i{n:03d}", at(1)) for n in range(200)] + [("old", at(2))]
    got = aggregating.histories(purchases(many), date(2017, 3, 1), date(2017, 3, 31)).to_pylist()
    assert "old" not in got[1]["items"]
    assert (got[2]["items"][0], got[2]["counts"][0]) == ("old", 2)


def test_a_late_purchase_makes_the_history_known_late() -> None:
    rows = [("a", at(0)), ("b", at(1)), ("c", at(2))]
    got = aggregating.histories(purchases(rows, [at(0), at(9), at(2)]), date(2017, 3, 1), date(2017, 3, 31))
    assert got["known_time"].to_pylist() == [end(0), at(9), at(9)]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abcdefg"), st.integers(0, 40 * 24 - 1)), min_size=1, max_size=60))
def test_any_history_is_what_counting_afresh_gives(drawn: list[tuple[str, int]]) -> None:
    rows = [(item, START.replace(hour=0) + timedelta(hours=hour)) for item, hour in drawn]
    for got in aggregating.histories(purchases(rows), date(2017, 3, 1), date(2017, 12, 31)).to_pylist():
        seen = [(i, t) for i, t in rows if t <= got["event_time"]]
        latest = {i: max(t for j, t in seen if j == i) for i, _ in seen}
        order = sorted(latest, key=lambda i: (-latest[i].timestamp(), i))
        assert got["items"] == order
        assert got["times"] == [latest[i] for i in order]
        assert got["counts"] == [sum(j == i for j, _ in seen) for i in order]
        weights = [
            sum(0.5 ** ((got["event_time"] - t).total_seconds() / 86400 / 60) for j, t in seen if j == i) for i in order
        ]
        assert got["decayed"] == pytest.approx(weights, rel=1e-9)


COMPILED = {"spark.sql.codegen.wholeStage": "true", "spark.sql.codegen.factoryMode": "FALLBACK"}
"""As for many rows."""


def test_a_range_gives_the_bytes_of_its_days_in_any_order_of_rows_and_compiled(
    spark: Any, put: Callable[..., Any]
) -> None:
    import random

    draw = random.Random(3)
    for shop, shuffled in (("one", False), ("two", True)):
        fresh = random.Random(11)
        for day in range(5):
            rows = [
                did(
                    fresh.choice(["purchase", "click"]),
                    at(day, fresh.randrange(24)),
                    f"v{fresh.randrange(3)}",
                    f"i{fresh.randrange(6)}",
                    amount=Decimal(fresh.randrange(900)) / 100,
                    quantity=1,
                    interaction_id=f"{day}-{n}",
                    day=at(day).date(),
                    known_time=at(day, 23),
                    simulated=False,
                )
                for n in range(30)
            ]
            if shuffled:
                draw.shuffle(rows)
            searched = [
                {**search(at(day), f"v{n}", "tea", f"{day}-{n}"), "day": at(day).date(), "known_time": at(day)}
                for n in range(4)
            ]
            put(shop, "safe", "interactions", rows, at(day).date().isoformat())
            put(shop, "safe", "searches", searched, at(day).date().isoformat())
        put_items(put, shop, "2.00")
    days = [at(day).date().isoformat() for day in range(5)]
    whole = aggregating.aggregate(sparks.sibling(spark, COMPILED), warehouse("one"), days)
    parts = [aggregating.aggregate(spark, warehouse("two"), [day]) for day in (days[3], days[4])]
    for name, marks in whole.items():
        filled = [mark.rows > 0 for mark in marks]
        assert all(filled) or (name == "visitor_session" and any(filled)), name  # a touch known hours later is in none
        assert [mark.sha256 for mark in marks[3:]] == [part[name][0].sha256 for part in parts], name


def test_a_day_that_is_not_published_is_refused(home: Any) -> None:
    have = ["2017-03-01", "2017-03-03"]
    with pytest.raises(Problem, match="nothing published for 1 of 3 days, the first is 2017-03-02"):
        aggregating._range(have, None, None, "s")
    assert aggregating._range(have, date(2017, 3, 3), None, "s") == ["2017-03-03"]


def test_a_shop_without_a_log_is_told_so(put: Callable[..., Any], capsys: pytest.CaptureFixture[str]) -> None:
    from argparse import Namespace

    put("quiet", "safe", "items", [{"item_id": "a", "title": "A"}])
    aggregating.run(Namespace(shop="quiet", first=None, last=None, stale=False))
    assert "no statistics to write" in capsys.readouterr().out
    assert warehouse("quiet").days("stats", "item_stats") == []


# ---- what is stale --------------------------------------------------------------------------------


def filled(
    put: Callable[..., Any], shop: str, day: int, *, seed: int = 0, kinds: str = "irs", visitors: str = "uvw"
) -> None:
    """One day of a toy shop, a function of the day and the seed: purchases and clicks, reviews, searches, rankings."""
    import random

    draw, visitors = random.Random(day * 1000 + seed), "uvw"
    common = {"day": at(day).date(), "known_time": at(day, 23), "simulated": False}
    name = at(day).date().isoformat()
    if "i" in kinds:
        rows = [
            did(draw.choice(["purchase", "click"]), at(day, draw.randrange(20)), draw.choice(visitors),
                f"i{draw.randrange(5)}", amount=Decimal(draw.randrange(900)) / 100, quantity=1,
                interaction_id=f"{day}-{n}", **common)
            for n in range(12)
        ]  # fmt: skip
        put(shop, "safe", "interactions", rows, name)
    if "r" in kinds:
        rows = [
            {"review_id": f"{day}-{n}", "event_time": at(day), "visitor": draw.choice(visitors), "item_id": f"i{n}",
             "rating": draw.randrange(1, 6), **common}
            for n in range(3)
        ]  # fmt: skip
        put(shop, "safe", "reviews", rows, name)
    if "s" in kinds:
        searched = [{**search(at(day), v, "tea", f"{day}-{v}"), **common} for v in visitors]
        put(shop, "safe", "searches", searched, name)
        shown = [
            {"ranking_id": f"r{day}", "search_id": f"{day}-u", "event_time": at(day), "visitor": "u",
             "item_id": f"i{p}", "position": p, "propensity": 1.0, **common}
            for p in (1, 2)
        ]  # fmt: skip
        put(shop, "safe", "rankings", shown, name)


def put_items(put: Callable[..., Any], shop: str, price: str) -> None:
    rows = [{"item_id": f"i{n}", "title": "x", "price": Decimal(price), "known_time": at(0), "simulated": False,
             "category": f"c{n % 2}", "brand": "b"} for n in range(5)]  # fmt: skip
    put(shop, "safe", "items", rows)


def every(days: list[str]) -> dict[str, list[str]]:
    return dict.fromkeys(aggregating.TABLES, days)


def refresh(spark: Any, shop: str) -> dict[str, list[str]]:
    """What `aggregate --stale` does, without the session of its own; which days it wrote, by table."""
    house = warehouse(shop)
    have = sorted({day for name in aggregating.SOURCES for day in house.days("safe", name)})
    only = aggregating._stale(house, have)
    if only:
        aggregating.aggregate(spark, house, sorted({d for chosen in only.values() for d in chosen}), only)
    return only


def hashes(shop: str) -> dict[tuple[str, str], str]:
    house = warehouse(shop)
    return {(name, m.day): m.sha256 for name in aggregating.TABLES for m in house.marks("stats", name)}


def attempts(shop: str) -> dict[tuple[str, str], str]:
    house = warehouse(shop)
    return {(name, m.day): m.attempt for name in aggregating.TABLES for m in house.marks("stats", name)}


DAYS = 6


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the home of `shops` is kept once it was made."""
    return tmp_path_factory.mktemp("aggregated") / "home"


@pytest.fixture
def shops(spark: Any, put: Callable[..., Any], home: Path, template: Path) -> list[str]:
    """`kept`, with all its statistics written, in a home of links to what was made once; and the days' names."""
    days = [at(day).date().isoformat() for day in range(DAYS)]
    if template.is_dir():
        copied(template, home)
        return days
    put_items(put, "kept", "2.00")
    for day in range(DAYS):
        filled(put, "kept", day)
    assert refresh(spark, "kept") == every(days)
    assert refresh(spark, "kept") == {}
    copied(home, template)
    return days


def fresh(spark: Any, put: Callable[..., Any], **changed: Any) -> dict[tuple[str, str], str]:
    """The hashes of a shop that had the changed days from the beginning, by one full run."""
    put_items(put, "fresh", changed.get("price", "2.00"))
    for day in range(changed.get("days", DAYS)):
        filled(put, "fresh", day)
    for day, how in changed.get("again", {}).items():
        filled(put, "fresh", day, **how)
    days = [at(day).date().isoformat() for day in range(changed.get("days", DAYS))]
    aggregating.aggregate(spark, warehouse("fresh"), days)
    return hashes("fresh")


def test_a_changed_day_refreshes_itself_and_what_comes_after_and_gives_the_bytes_of_a_full_run(
    spark: Any, put: Callable[..., Any], shops: list[str]
) -> None:
    before = attempts("kept")
    filled(put, "kept", 2, seed=7)
    written = refresh(spark, "kept")
    assert written == every(shops[2:])
    assert hashes("kept") == fresh(spark, put, again={2: {"seed": 7}})
    after = attempts("kept")
    assert all(after[name, day] == before[name, day] for name in aggregating.TABLES for day in shops[:2])
    assert refresh(spark, "kept") == {}


def test_only_tables_that_read_what_changed_are_refreshed(
    spark: Any, put: Callable[..., Any], shops: list[str]
) -> None:
    filled(put, "kept", 4, seed=7, kinds="r")
    assert refresh(spark, "kept") == {"item_stats": shops[4:], "visitor_stats": shops[4:]}
    assert hashes("kept") == fresh(spark, put, again={4: {"seed": 7, "kinds": "r"}})
    put_items(put, "kept", "3.00")
    assert refresh(spark, "kept") == dict.fromkeys(
        ("item_stats", "visitor_habits", "visitor_cycles", "query_stats"), shops
    )
    put_items(put, "fresh", "3.00")
    aggregating.aggregate(spark, warehouse("fresh"), shops)
    assert hashes("kept") == hashes("fresh")


def test_a_later_day_that_comes_out_as_it_was_keeps_its_partition(
    spark: Any, put: Callable[..., Any], shops: list[str]
) -> None:
    """A visitor who comes once: the histories of the others are written again, and are the same bytes."""
    house, before = warehouse("kept"), attempts("kept")
    rows = house.read("safe", "interactions", shops[1], shops[1]).to_pylist()
    rows.append(did("purchase", at(1), "once", "i9", interaction_id="x", day=at(1).date(), known_time=at(1, 23),
                    simulated=False))  # fmt: skip
    put("kept", "safe", "interactions", rows, shops[1])
    assert refresh(spark, "kept") == every(shops[1:])
    after = attempts("kept")
    changed = {key for key in after if after[key] != before[key]}
    of_visitors = ("visitor_stats", "visitor_history", "visitor_habits")
    assert changed == {("item_stats", shops[1]), *((name, shops[1]) for name in of_visitors)}
    left = [p.name for p in (house.folder("stats", "query_stats") / "attempts").iterdir()]
    assert left == [before["query_stats", shops[0]]]  # what came out the same twice is not kept twice
    assert refresh(spark, "kept") == {}


def test_a_new_day_is_the_only_one_that_is_written(spark: Any, put: Callable[..., Any], shops: list[str]) -> None:
    filled(put, "kept", DAYS)
    new = at(DAYS).date().isoformat()
    assert refresh(spark, "kept") == every([new])
    assert hashes("kept") == fresh(spark, put, days=DAYS + 1)


def test_a_day_of_which_a_part_waits_is_left_for_later(
    spark: Any, put: Callable[..., Any], shops: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    filled(put, "kept", DAYS)
    filled(put, "kept", DAYS + 1)
    broken, good = (at(day).date().isoformat() for day in (DAYS, DAYS + 1))
    house = warehouse("kept")
    mark = house.mark("safe", "searches", broken)
    assert mark is not None
    (house.folder("safe", "searches") / "published" / f"{broken}.json").unlink()
    assert refresh(spark, "kept") == every([good])
    assert f"left for later: 1 days whose searches are not published, the first is {broken}" in capsys.readouterr().err
    house.publish(mark)  # mended: the day itself, and what was counted without it
    assert refresh(spark, "kept") == {
        "item_stats": [broken],
        "visitor_history": [broken],
        "visitor_habits": [broken],
        "visitor_cycles": [broken],
        "visitor_session": [broken],
        "visitor_stats": [broken, good],
        "query_stats": [broken, good],
    }
    assert hashes("kept") == fresh(spark, put, days=DAYS + 2)


def test_without_anything_stale_no_spark_is_started(
    spark: Any, put: Callable[..., Any], shops: list[str], monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    from argparse import Namespace

    monkeypatch.setattr(aggregating.spark, "session", lambda *_, **__: pytest.fail("a session was started"))
    aggregating.run(Namespace(shop="kept", first=None, last=None, stale=True))
    assert "nothing is stale" in capsys.readouterr().out
