"""One behaviour of the past on every offline store: DuckDB, and Spark; and what Feast's own Spark store answers."""

import random
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs import feature_store, features
from jobs.console import Problem, Usage
from jobs.warehouse import warehouse

pytestmark = pytest.mark.filterwarnings("ignore")  # of Feast and what it imports, none of them ours
DAY0 = date(2017, 3, 1)
MOMENT = pa.timestamp("us", tz="UTC")
TICK = timedelta(microseconds=1)


def end(day: int) -> datetime:
    return features.end_of_day(DAY0 + timedelta(days=day))


def stat(item: str, day: int, bought: int | None, known: int | None = None, **more: Any) -> dict[str, Any]:
    at = {"event_time": end(day), "known_time": end(day if known is None else known), "day": DAY0 + timedelta(days=day)}
    return {"item_id": item, **at, "purchases_28d": bought, "price": 0.1 + 0.2, **more}


def publish(put: Callable[..., Any], shop: str, rows: list[dict[str, Any]]) -> None:
    for day in sorted({row["day"] for row in rows}):
        put(shop, "stats", "item_stats", [row for row in rows if row["day"] == day], day.isoformat())


@pytest.fixture(params=["duckdb", "spark"])
def store(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Which store answers; Spark's is the session of all tests."""
    monkeypatch.setenv("ENDCAP_OFFLINE", request.param)
    if request.param == "spark":
        request.getfixturevalue("spark")
    return str(request.param)


def asked(shop: str, questions: list[tuple[str | None, datetime]]) -> pa.Table:
    times = pa.array([when for _, when in questions], MOMENT)
    items = pa.array([item for item, _ in questions], pa.string())
    return features.training_rows(shop, pa.table({"item_id": items, "event_time": times}), "items")


def test_what_the_past_knew(store: str, put: Callable[..., Any]) -> None:
    publish(put, "past", [
        stat("a", 0, 1), stat("a", 5, 2), stat("b", 5, 7), stat("none yet", 5, None),
        stat("late", 0, 1), stat("late", 5, 99, known=8),
        stat("older", 2, 2, known=9), stat("older", 5, 5),
        stat("hidden", 1, 1), stat("hidden", 20, 2),
    ])  # fmt: skip
    house = warehouse("past")
    (house.pointers("stats", "item_stats") / f"{DAY0 + timedelta(days=20)}.json").unlink()
    cases: list[tuple[str | None, datetime, int | None, datetime | None]] = [
        ("a", end(5), 2, end(5)),  # the very moment counts
        ("a", end(5) - TICK, 1, end(0)),
        ("a", end(0) - TICK, None, None),
        ("b", end(300), 7, end(5)),
        ("b", end(5 + 365), 7, end(5)),  # as old as the ttl lives
        ("b", end(5 + 365) + TICK, None, None),
        ("late", end(8) - TICK, 1, end(0)),
        ("late", end(8), 99, end(5)),
        ("older", end(5), 5, end(5)),
        ("older", end(9), 5, end(5)),  # what becomes known later and is older hides nothing
        ("hidden", end(30), 1, end(1)),  # the other day is not published
        ("none yet", end(9), None, end(5)),  # a value that is null is not the same as none
        ("never", end(9), None, None),
        (None, end(9), None, None),
        ("a", end(5), 2, end(5)),  # asked twice
    ]
    rows = asked("past", [(item, when) for item, when, *_ in cases])
    assert rows["item_id"].to_pylist() == [item for item, *_ in cases]
    assert rows["purchases_28d"].to_pylist() == [value for *_, value, _ in cases]
    assert rows["item_stats__event_time"].to_pylist() == [at for *_, at in cases]
    assert asked("past", []).num_rows == 0


def test_a_table_without_any_partition_gives_nulls(store: str, put: Callable[..., Any]) -> None:
    put("bare", "safe", "items", [{"item_id": "a", "title": "A"}])
    assert asked("bare", [("a", end(0))])["purchases_28d"].to_pylist() == [None]


def test_a_caller_who_forgets_known_times_is_refused(store: str, put: Callable[..., Any]) -> None:
    import pandas as pd

    publish(put, "strict", [stat("a", 0, 1)])
    live = feature_store.store("strict")
    frame = pd.DataFrame({"item_id": ["a"], "event_timestamp": [end(1)]})
    with pytest.raises(Problem, match="only what was known"):
        live.get_historical_features(entity_df=frame, features=live.get_feature_service("items")).to_df()


def test_stores_give_the_same_tables_and_feasts_spark_store_the_same_values(
    spark: Any, put: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    dice = random.Random(5)
    drawn = [(item, day) for item in "abcde" for day in range(30) if dice.random() < 0.4]
    rows = [stat(item, day, n, known=day + dice.choice([0, 0, 0, 1, 7, 20])) for n, (item, day) in enumerate(drawn)]
    publish(put, "both", rows)
    times = [datetime(2017, 3, 1, tzinfo=UTC), datetime(2017, 3, 2, 5, 6, 7, tzinfo=UTC)]
    history = {"visitor": "v1", "items": ["i1", "茶"], "times": times, "counts": [1, 2], "decayed": [0.3, 1e-9]}
    at = {"event_time": end(3), "known_time": end(3), "day": DAY0 + timedelta(days=3)}
    put("both", "stats", "visitor_history", [{**at, **history}, {**at, "visitor": "v2"}], at["day"].isoformat())
    moments = [end(dice.randrange(-1, 40)) - timedelta(seconds=dice.choice([0, 1, 50_000])) for _ in range(80)]
    questions = list(dict.fromkeys((dice.choice("abcdef"), moment) for moment in [*moments, end(380)]))
    visitors = pa.table({"visitor": ["v1", "v2", "v3"], "event_time": pa.array([end(9)] * 3, MOMENT)})

    def answers() -> list[pa.Table]:
        """What was known, what is the latest, and all of it, as of the end and as of a moment."""
        from jobs.feast_store import known_until

        live = feature_store.store("both")
        offline, view = live._get_provider().offline_store, live.get_feature_view("item_stats")
        given = (live.config, view.batch_source, ["item_id"], ["purchases_28d"], "event_time", "known_time",
                 end(0), end(25))  # fmt: skip
        whole = offline.pull_all_from_table_or_query(*given).to_arrow()
        found = [asked("both", questions), features.training_rows("both", visitors, "recommender"),
                 offline.pull_latest_from_table_or_query(*given).to_arrow(),
                 whole.sort_by([(name, "ascending") for name in whole.column_names])]  # fmt: skip
        with known_until(end(12)):
            found.append(offline.pull_latest_from_table_or_query(*given).to_arrow())
        with known_until(end(40), {"stats/item_stats": pa.table({"item_id": ["b", "none"]})}):
            found.append(offline.pull_latest_from_table_or_query(*given).to_arrow())
        return found

    monkeypatch.setenv("ENDCAP_OFFLINE", "duckdb")
    ours = answers()
    monkeypatch.setenv("ENDCAP_OFFLINE", "spark")
    theirs = answers()
    for one, other in zip(ours, theirs, strict=True):
        assert one.schema.equals(other.schema) and one.to_pylist() == other.to_pylist()
    assert (
        ours[5]["item_id"].to_pylist() == ["b"] and ours[2].num_rows == 5 and ours[4].to_pylist() != ours[2].to_pylist()
    )
    assert feasts_own(spark, tmp_path, questions) == asked("both", questions)["purchases_28d"].to_pylist()


def feasts_own(spark: Any, folder: Path, questions: list[tuple[str, datetime]]) -> list[int | None]:
    """Feast's Spark store over a plain copy of what is published."""
    import pandas as pd
    from feast import RepoConfig
    from feast.infra.offline_stores.contrib.spark_offline_store.spark import SparkOfflineStore
    from feast.infra.offline_stores.contrib.spark_offline_store.spark_source import SparkSource

    live = feature_store.store("both")
    rows = warehouse("both").read("stats", "item_stats")
    pq.write_table(rows, folder / "rows.parquet")
    view = live.get_feature_view("item_stats")
    view.batch_source = SparkSource(name="rows", path=str(folder / "rows.parquet"), file_format="parquet",
                                    timestamp_field="event_time", created_timestamp_column="known_time")  # fmt: skip
    config = RepoConfig(project="both", provider="local", registry=str(folder / "registry.db"),
                        offline_store={"type": "spark"}, entity_key_serialization_version=3)  # fmt: skip
    frame = pd.DataFrame(questions, columns=["item_id", "event_timestamp"])
    frame["place"] = range(len(frame))
    job = SparkOfflineStore.get_historical_features(
        config, [view], ["item_stats:purchases_28d"], frame, live.registry, "both", filter_by_created_timestamp=True
    )
    found = job.to_df().sort_values("place")["purchases_28d"]
    return [None if pd.isna(value) else int(value) for value in found]


def test_questions_come_and_go_in_parts(put: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    publish(put, "parts", [stat(f"i{n}", n % 7, n) for n in range(20)])
    questions = [(f"i{n % 23}", end(n % 9)) for n in range(50)]
    whole = asked("parts", questions)
    monkeypatch.setattr(features, "QUESTIONS", 7)
    assert asked("parts", questions).equals(whole)
    halves = [whole.select(["item_id", "event_time"]).slice(0, 20), whole.select(["item_id", "event_time"]).slice(20)]
    parts = list(features.training_batches("parts", halves, "items"))
    assert [part.num_rows for part in parts] == [7, 7, 6, 7, 7, 7, 7, 2]
    assert pa.concat_tables(parts).equals(whole)


def test_a_store_that_there_is_not_is_told(put: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    put("wrong", "safe", "items", [{"item_id": "a", "title": "A"}])
    monkeypatch.setenv("ENDCAP_OFFLINE", "sparc")
    with pytest.raises(Usage, match="unknown ENDCAP_OFFLINE 'sparc'"):
        asked("wrong", [("a", end(0))])
