"""One feature path: what the past knew. What is known now is in test_online_stores.py."""

import random
from collections.abc import Callable
from datetime import date, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest

from jobs import feature_store, features
from jobs.console import Problem, Usage
from jobs.warehouse import warehouse

pytestmark = pytest.mark.filterwarnings("ignore")  # of Feast and what it imports, none of them ours
DAY0 = date(2017, 3, 1)


def end(day: int) -> datetime:
    return features.end_of_day(DAY0 + timedelta(days=day))


def stat(item: str, day: int, bought: int = 1, known: datetime | None = None, **more: Any) -> dict[str, Any]:
    return {
        "item_id": item,
        "event_time": end(day),
        "known_time": known or end(day),
        "purchases_28d": bought,
        "clicks_28d": 0,
        "shown_28d": 0.5,
        "purchases_decayed": float(bought),
        "day": DAY0 + timedelta(days=day),
        **more,
    }


def put_items(put: Callable[..., Any], shop: str, rows: list[dict[str, Any]]) -> None:
    for day in sorted({row["day"] for row in rows}):
        put(shop, "stats", "item_stats", [row for row in rows if row["day"] == day], day.isoformat())


def ask(shop: str, questions: list[tuple[str, datetime]]) -> list[dict[str, Any]]:
    table = pa.table(
        {
            "item_id": [item for item, _ in questions],
            "event_time": pa.array([when for _, when in questions], pa.timestamp("us", tz="UTC")),
            "place": list(range(len(questions))),
        }
    )
    rows = features.training_rows(shop, table, "items").to_pylist()
    assert [row["place"] for row in rows] == table["place"].to_pylist()
    return rows


# ---- the past -------------------------------------------------------------------------------------


def test_a_question_sees_the_last_value_before_it(put: Callable[..., Any]) -> None:
    put_items(put, "past", [stat("a", 0, 1), stat("a", 5, 2), stat("b", 5, 7)])
    second = timedelta(microseconds=1)
    questions = [("a", end(5)), ("a", end(5) - second), ("a", end(0) - second), ("b", end(300)), ("none", end(9))]
    rows = ask("past", questions)
    assert [row["purchases_28d"] for row in rows] == [2, 1, None, 7, None]
    assert [row["item_stats__event_time"] for row in rows] == [end(5), end(0), None, end(5), None]


def test_a_value_that_was_not_known_does_not_leak(put: Callable[..., Any]) -> None:
    put_items(put, "late", [stat("a", 0, 1), stat("a", 5, 99, known=end(8))])
    assert [row["purchases_28d"] for row in ask("late", [("a", end(7)), ("a", end(8))])] == [1, 99]


def test_an_older_moment_that_becomes_known_later_does_not_hide_a_newer_one(put: Callable[..., Any]) -> None:
    put_items(put, "order", [stat("a", 2, 2, known=end(9)), stat("a", 5, 5)])
    assert [row["purchases_28d"] for row in ask("order", [("a", end(5)), ("a", end(9))])] == [5, 5]


def test_a_value_expires_after_its_ttl(put: Callable[..., Any]) -> None:
    put_items(put, "old", [stat("a", 0, 3)])
    rows = ask("old", [("a", end(365)), ("a", end(365) + timedelta(microseconds=1))])
    assert [row["purchases_28d"] for row in rows] == [3, None]
    assert rows[1]["item_stats__event_time"] is None


def test_what_is_not_published_is_not_seen(put: Callable[..., Any]) -> None:
    put_items(put, "half", [stat("a", 0, 1), stat("a", 1, 2)])
    house = warehouse("half")
    (house.folder("stats", "item_stats") / "published" / f"{DAY0 + timedelta(days=1)}.json").unlink()
    stray = house.attempt_of(house.marks("stats", "item_stats")[0]).folder(str(DAY0)).parent / "stray.parquet"
    stray.write_bytes(b"not a file of the partition")
    assert ask("half", [("a", end(9))])[0]["purchases_28d"] == 1


def test_a_table_without_any_partition_gives_nulls(put: Callable[..., Any]) -> None:
    put("bare", "safe", "items", [{"item_id": "a", "title": "A"}])
    assert ask("bare", [("a", end(0))])[0]["purchases_28d"] is None


def test_the_same_entity_may_be_asked_twice_at_one_moment(put: Callable[..., Any]) -> None:
    put_items(put, "twice", [stat("a", 0, 4)])
    assert [row["purchases_28d"] for row in ask("twice", [("a", end(1))] * 3)] == [4, 4, 4]


@pytest.mark.parametrize("seed", range(3))
def test_the_join_is_what_a_plain_search_and_feasts_own_join_find(put: Callable[..., Any], seed: int) -> None:
    draw = random.Random(seed)
    days = [(item, day) for item in "abcde" for day in range(30) if draw.random() < 0.4]
    rows = [
        stat(item, day, n, known=end(day) + timedelta(days=draw.choice([0, 0, 0, 1, 7, 20])))
        for n, (item, day) in enumerate(days)
    ]
    shop = f"random{seed}"
    put_items(put, shop, rows)
    # Far questions too: one beyond the ttl of 365 days.
    moments = [end(draw.randrange(-1, 40)) - timedelta(seconds=draw.choice([0, 1, 50_000])) for _ in range(150)]
    questions = [(draw.choice("abcdef"), moment) for moment in [*moments, end(365 + 15)]]

    def plain(item: str, when: datetime) -> int | None:
        seen = [
            row
            for row in rows
            if row["item_id"] == item
            and max(row["event_time"], row["known_time"]) <= when
            and row["event_time"] + timedelta(days=365) >= when
        ]
        return max(seen, key=lambda row: (row["event_time"], row["known_time"]))["purchases_28d"] if seen else None

    got = [row["purchases_28d"] for row in ask(shop, questions)]
    assert got == [plain(*question) for question in questions]
    assert got == _feasts_own(shop, questions)
    assert None in got and len(set(got)) > 20


def _feasts_own(shop: str, questions: list[tuple[str, datetime]]) -> list[int | None]:
    """Feast's inequality join over the same published files."""
    import sys
    from types import ModuleType

    # ibis asks for it; it mends a fault of pyarrow before 14.0.1 and has nothing to do for ours.
    sys.modules.setdefault("pyarrow_hotfix", ModuleType("pyarrow_hotfix"))
    import ibis
    import pandas as pd
    from feast.infra.offline_stores.ibis import get_historical_features_ibis

    from jobs.feast_store import published

    live = feature_store.store(shop)
    frame = pd.DataFrame(questions, columns=["item_id", "event_timestamp"])
    frame["place"] = range(len(frame))
    job = get_historical_features_ibis(
        config=live.config,
        feature_views=[live.get_feature_view("item_stats")],
        feature_refs=["item_stats:purchases_28d"],
        entity_df=frame,
        registry=live.registry,
        project=shop,
        data_source_reader=lambda source, _: ibis.read_parquet(published(live.config, source), hive_partitioning=False),
        data_source_writer=lambda *_: None,
        filter_by_created_timestamp=True,
    )
    found = job.to_df().sort_values("place")["purchases_28d"]
    return [None if pd.isna(value) else int(value) for value in found]


def test_a_caller_who_forgets_known_times_is_refused(put: Callable[..., Any]) -> None:
    import pandas as pd

    put_items(put, "strict", [stat("a", 0)])
    live = feature_store.store("strict")
    frame = pd.DataFrame({"item_id": ["a"], "event_timestamp": [end(1)]})
    with pytest.raises(Problem, match="only what was known"):
        live.get_historical_features(entity_df=frame, features=live.get_feature_service("items")).to_df()


def test_wrong_names_are_told(put: Callable[..., Any]) -> None:
    put("named", "safe", "items", [{"item_id": "a", "title": "A"}])
    with pytest.raises(Usage, match="unknown service 'item'") as wrong:
        features.training_rows("named", pa.table({"item_id": ["a"]}), "item")
    assert "did you mean 'items'?" in str(wrong.value)
    with pytest.raises(Problem, match="need the column 'event_time'"):
        features.training_rows("named", pa.table({"item_id": ["a"]}), "items")


def test_definitions_and_constants_say_the_same(put: Callable[..., Any]) -> None:
    put("defined", "safe", "items", [{"item_id": "a", "title": "A"}])
    live = feature_store.store("defined")
    services = {s.name: tuple(p.name for p in s.feature_view_projections) for s in live.list_feature_services()}
    assert {
        name: views for name, views in services.items() if name not in feature_store.MODELS
    } == feature_store.SERVICES
    for service, keys in feature_store.KEYS.items():
        assert {c.name for view in feature_store.views("defined", service) for c in view.entity_columns} == set(keys)
