"""What Feast does by itself with the past, and what it does here: each known failure of it is shown, then its mending.

Should one of these fail because Feast was mended, the mending here can go.
"""

import sys
from collections.abc import Callable
from datetime import date, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs import feature_store, features
from jobs.console import Problem
from jobs.warehouse import warehouse

pytestmark = pytest.mark.filterwarnings("ignore")  # of Feast and what it imports, none of them ours
DAY0 = date(2017, 3, 1)


def end(day: int) -> datetime:
    return features.end_of_day(DAY0 + timedelta(days=day))


def stat(day: int, bought: int, known: int | None = None) -> dict[str, Any]:
    moment = {"event_time": end(day), "known_time": end(day if known is None else known)}
    return {"item_id": "a", **moment, "purchases_28d": bought, "day": DAY0 + timedelta(days=day)}


def stock(folder: Path, kind: str, path: str) -> Any:
    """A feature store as Feast's own quick start makes it, over the rows at `path`."""
    feature_store.load_feast()
    # ibis asks for it; it mends a fault of pyarrow before 14.0.1 and has nothing to do for ours.
    sys.modules.setdefault("pyarrow_hotfix", ModuleType("pyarrow_hotfix"))
    from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
    from feast.data_format import ParquetFormat
    from feast.types import Int64, String

    home = folder / kind
    home.mkdir()
    config = RepoConfig(
        project="stock",
        provider="local",
        registry=str(home / "registry.db"),
        offline_store={"type": kind},
        online_store={"type": "sqlite", "path": str(home / "online.db")},
        entity_key_serialization_version=3,
    )
    item = Entity(name="item", join_keys=["item_id"], value_type=ValueType.STRING)
    source = FileSource(name="rows", path=path, timestamp_field="event_time", created_timestamp_column="known_time",
                        file_format=ParquetFormat())  # fmt: skip
    schema = [Field(name="item_id", dtype=String), Field(name="purchases_28d", dtype=Int64)]
    view = FeatureView(name="view", entities=[item], schema=schema, source=source, ttl=timedelta(days=365))
    made = FeatureStore(config=config)
    made.apply([item, view])
    return made


def written(folder: Path, rows: list[dict[str, Any]]) -> str:
    """Rows as a plain file."""
    pq.write_table(pa.Table.from_pylist(rows), folder / "rows.parquet")
    return str(folder / "rows.parquet")


def asked(live: Any, *days: int, **more: Any) -> list[int | None]:
    """What a stock store answers for the item at the ends of these days."""
    entities = pd.DataFrame({"item_id": "a", "event_timestamp": [pd.Timestamp(end(day)) for day in days]})
    job = live.get_historical_features(entity_df=entities, features=["view:purchases_28d"], **more)
    found = job.to_df().sort_values("event_timestamp")["purchases_28d"]
    return [None if pd.isna(value) else int(value) for value in found]


def ours(shop: str, *days: int) -> list[int | None]:
    times = pa.array([end(day) for day in days], pa.timestamp("us", tz="UTC"))
    rows = features.training_rows(shop, pa.table({"item_id": ["a"] * len(days), "event_time": times}), "items")
    return rows["purchases_28d"].to_pylist()


def publish(put: Callable[..., Any], shop: str, rows: list[dict[str, Any]]) -> None:
    for row in rows:
        put(shop, "stats", "item_stats", [row], row["day"].isoformat())


def test_the_store_that_feast_takes_by_default_loses_questions(put: Callable[..., Any], tmp_path: Path) -> None:
    rows = [stat(5, 1)]
    # One before there was a value, one that asks twice, one after the value expired: two answers of four.
    days = (0, 6, 6, 500)
    assert len(asked(stock(tmp_path, "dask", written(tmp_path, rows)), *days)) < len(days)
    publish(put, "kept", rows)
    assert ours("kept", *days) == [None, 1, 1, None]


def test_late_rows_leak_unless_one_knows_to_ask(put: Callable[..., Any], tmp_path: Path) -> None:
    rows = [stat(0, 1), stat(5, 99, known=8)]
    live = stock(tmp_path, "duckdb", written(tmp_path, rows))
    assert asked(live, 7) == [99]
    assert asked(live, 7, filter_by_created_timestamp=True) == [1]
    publish(put, "late", rows)
    assert ours("late", 7, 8) == [1, 99]
    frame = pd.DataFrame({"item_id": ["a"], "event_timestamp": [end(7)]})
    of_items = feature_store.store("late").get_feature_service("items")
    with pytest.raises(Problem, match="only what was known"):
        feature_store.store("late").get_historical_features(entity_df=frame, features=of_items).to_df()


def test_a_path_holds_what_nobody_published(put: Callable[..., Any], tmp_path: Path) -> None:
    publish(put, "half", [stat(0, 1), stat(1, 2)])
    house = warehouse("half")
    (house.pointers("stats", "item_stats") / f"{DAY0 + timedelta(days=1)}.json").unlink()
    path = str(house.folder("stats", "item_stats") / "attempts" / "*" / "*" / "*.parquet")
    assert asked(stock(tmp_path, "duckdb", path), 9) == [2]
    assert ours("half", 9) == [1]
