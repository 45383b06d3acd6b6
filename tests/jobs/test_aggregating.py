"""What is true at the end of a day: windows, decay, distinct visitors, late rows, one visitor's history by hand."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
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


def queries(spark: Any, searches: list[dict[str, Any]], interactions: Any = (), rankings: Any = ()) -> Any:
    return aggregating.query_stats(
        aggregating.with_normal_query(frame(spark, "searches", searches)),
        frame(spark, "rankings", list(rankings)),
        frame(spark, "interactions", list(interactions)),
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


def test_distinct_visitors_of_a_window_as_counted_one_by_one(spark: Any) -> None:
    import random

    draw = random.Random(5)
    made = [search(at(draw.randrange(70), draw.randrange(24)), draw.choice("abcdef"), "q", f"s{n}") for n in range(60)]
    for row in queries(spark, made).collect():
        day = (row.day - date(2017, 3, 1)).days
        inside = [s for s in made if 0 <= (row.day - s["event_time"].date()).days < 28]
        assert row.visitors_28d == len({s["visitor"] for s in inside}), day
        assert row.searches_28d == len(inside)


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


def test_a_range_gives_the_bytes_of_its_days_in_any_order_of_rows(spark: Any, put: Callable[..., Any]) -> None:
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
    days = [at(day).date().isoformat() for day in range(5)]
    whole = aggregating.aggregate(spark, warehouse("one"), days)
    parts = [aggregating.aggregate(spark, warehouse("two"), [day]) for day in (days[3], days[4])]
    for name, marks in whole.items():
        assert [mark.rows > 0 for mark in marks] == [True] * 5, name
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
    rows = [{"item_id": f"i{n}", "title": "x", "price": Decimal(price), "known_time": at(0), "simulated": False}
            for n in range(5)]  # fmt: skip
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


@pytest.fixture
def shops(spark: Any, put: Callable[..., Any]) -> list[str]:
    """`kept`, with all its statistics written; and the days' names."""
    put_items(put, "kept", "2.00")
    for day in range(DAYS):
        filled(put, "kept", day)
    days = [at(day).date().isoformat() for day in range(DAYS)]
    assert refresh(spark, "kept") == every(days)
    assert refresh(spark, "kept") == {}
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
    assert refresh(spark, "kept") == {"item_stats": shops}
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
    assert changed == {("item_stats", shops[1]), ("visitor_stats", shops[1]), ("visitor_history", shops[1])}
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
