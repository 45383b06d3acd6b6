"""The one feature path: what training joins, what serving looks up, from the same definitions.

`training_rows` answers for the past, `look_up` for now; both know `ttl`, both give None for what is
unknown or expired. Feast costs seconds to import: it is imported when the first question is asked.
"""

import fcntl
import hashlib
import json
import os
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from jobs.console import Problem, one_of
from jobs.tables import tables
from jobs.warehouse import home, warehouse, write_atomically

if TYPE_CHECKING:
    import pyarrow as pa

SERVICES: Mapping[str, tuple[str, ...]] = {
    "recommender": ("visitor_history", "visitor_stats"),
    "items": ("item_stats",),
    "queries": ("query_stats",),
}
"""Each service and its views; features.py says the same to Feast (a test compares)."""
KEYS: Mapping[str, str] = {"recommender": "visitor", "items": "item_id", "queries": "query"}
State = Literal["present", "absent", "expired"]
_ONE_AT_A_TIME = threading.Lock()  # SQLite's one connection is shared by the threads of the API


def definitions_file() -> Path:
    """feature_repo/features.py beside this package, or in the folder that ENDCAP_FEATURE_REPO names."""
    folder = os.environ.get("ENDCAP_FEATURE_REPO")
    path = (Path(folder) if folder else Path(__file__).resolve().parents[1] / "feature_repo") / "features.py"
    if not path.is_file():
        raise Problem(
            "the feature definitions are missing", where=str(path), do="set ENDCAP_FEATURE_REPO to their folder"
        )
    return path


def folder(shop: str) -> Path:
    """The Feast folder of a shop: settings, registry, online store."""
    return home() / shop / "feast"


def settings(shop: str) -> dict[str, Any]:
    """What feature_store.yaml holds. With ENDCAP_REDIS ("host:port,db=0") the online store is Redis."""
    redis = os.environ.get("ENDCAP_REDIS")
    online: dict[str, Any] = {
        "type": "jobs.feast_store.GuardedSqliteOnlineStore",
        "path": str(folder(shop) / "online.db"),
    }
    if redis:
        online = {"type": "jobs.feast_redis.GuardedRedisOnlineStore", "connection_string": redis}
    return {
        "project": shop,
        "provider": "local",
        "registry": {
            "registry_type": "sql",
            "path": f"sqlite:///{folder(shop) / 'registry.db'}",
            "cache_ttl_seconds": 60,
        },
        "offline_store": {"type": "jobs.feast_store.PublishedDuckDBOfflineStore"},
        "online_store": online,
        "materialization": {"pull_latest_features": True},
        "entity_key_serialization_version": 3,
    }


@contextmanager
def alone(shop: str) -> Iterator[None]:
    """One process of a shop at a time applies definitions or writes the online store."""
    folder(shop).mkdir(parents=True, exist_ok=True)
    with (folder(shop) / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _definitions() -> list[Any]:
    """Feast's objects of features.py."""
    import importlib.util

    from feast import Entity, FeatureService, FeatureView

    path = definitions_file()
    spec = importlib.util.spec_from_file_location("endcap_features", path)
    if spec is None or spec.loader is None:
        raise Problem("the feature definitions cannot be read", where=str(path))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found = [value for value in vars(module).values() if isinstance(value, Entity | FeatureView | FeatureService)]
    return [value for _, value in sorted(enumerate(found), key=lambda pair: isinstance(pair[1], FeatureService))]


@cache
def load_feast() -> None:
    """Import Feast in 2.5 s instead of 8: without torch, and without checks of types in its own classes.

    It takes torch in where it finds it and bears its absence (feast/torch_wrapper.py); no look-up needs it. A process
    that has torch already is left as it is.
    """
    import typeguard

    checked: Any = typeguard.typechecked
    hidden = "torch" not in sys.modules
    if hidden:
        sys.modules["torch"] = None  # type: ignore[assignment]  # an import of it fails, as where it is not installed
    typeguard.typechecked = _unchecked
    try:
        import feast  # noqa: F401
    finally:
        typeguard.typechecked = checked
        if hidden:
            del sys.modules["torch"]


def _unchecked(target: Any = None, **_: Any) -> Any:
    return target if target is not None else _unchecked


@lru_cache(maxsize=8)
def _open(shop: str, at: str, text: str) -> Any:
    """The FeatureStore of a shop; applies definitions and settings if they changed since they last were."""
    os.environ.setdefault("FEAST_USAGE", "False")
    load_feast()
    from feast import FeatureStore

    path = Path(at)
    stamp = hashlib.sha256(text.encode() + definitions_file().read_bytes()).hexdigest()
    applied = path / "applied.json"
    with alone(shop):
        done = json.loads(applied.read_text())["sha256"] if applied.is_file() else ""
        if done != stamp:
            write_atomically(path / "feature_store.yaml", text)  # JSON is YAML
        store = FeatureStore(repo_path=str(path))
        if done != stamp or not (path / "registry.db").is_file():
            store.apply(_definitions())
            write_atomically(applied, json.dumps({"sha256": stamp}) + "\n")
    return store


def store(shop: str) -> Any:
    """Feast's FeatureStore of a shop, opened once a process; `Usage` if the shop has no home."""
    warehouse(shop)
    return _open(shop, str(folder(shop)), json.dumps(settings(shop), indent=1) + "\n")


@lru_cache(maxsize=64)
def _views(shop: str, at: str, service: str) -> tuple[Any, ...]:
    live = store(shop)
    return tuple(live.get_feature_view(view) for view in SERVICES[service])


def views(shop: str, service: str) -> tuple[Any, ...]:
    """The Feast views of a service, kept: reading them from the registry costs milliseconds."""
    return _views(shop, str(folder(shop)), one_of("service", service, SERVICES))


# ---- the past -------------------------------------------------------------------------------------


def training_rows(shop: str, entities: "pa.Table", service: str) -> "pa.Table":
    """Entities (the service's key and `event_time`) with what was known of each at its event time.

    Rows out are rows in, in their order; feature columns follow, null for what was unknown or expired,
    and `VIEW__event_time`, the moment a view's values are true at. Reads published partitions only.
    """
    import pyarrow as pa

    one_of("service", service, SERVICES)
    for column in (KEYS[service], "event_time"):
        if column not in entities.column_names:
            raise Problem(f"entities of '{service}' need the column '{column}'")
    asked = entities.select([KEYS[service], "event_time"])
    if not asked.num_rows:
        asked = asked.slice(0, 0)
    live = store(shop)
    job = live.get_historical_features(
        entity_df=asked.rename_columns([KEYS[service], "event_timestamp"]).to_pandas(),
        features=live.get_feature_service(service),
        filter_by_created_timestamp=True,
    )
    found = job.to_arrow()
    if found.num_rows != entities.num_rows:
        raise Problem(f"the point-in-time join made {found.num_rows:,} rows of {entities.num_rows:,}")
    rows = entities
    for name in found.column_names:
        if name not in (KEYS[service], "event_timestamp"):
            rows = rows.append_column(name, found[name])
    return pa.table(rows)


# ---- now ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Looked:
    """What is known of one entity: by feature its value, the moment it is true at, and its state.

    An expired value is None, and keeps its event time so that one can see how old it was.
    """

    entity: Mapping[str, str]
    values: Mapping[str, Any]
    event_times: Mapping[str, datetime | None]
    states: Mapping[str, State] = field(default_factory=dict)


def shop_now(shop: str) -> datetime:
    """The shop's present: the end of the last day that has statistics, for an imported history has a clock
    of its own. A shop without statistics is at the present of this machine."""
    house = warehouse(shop)
    found = [days[-1] for declared in tables("stats") if (days := house.days("stats", declared.name))]
    return end_of_day(date.fromisoformat(max(found))) if found else datetime.now(UTC)


def end_of_day(day: date) -> datetime:
    """The last microsecond of a day, UTC."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=1, microseconds=-1)


def _whole(stored: datetime | None) -> datetime | None:
    """The event time as the tables have it. SQLite keeps whole seconds; values of ours are true at ends of
    days, so one within the last second of a day is at its last microsecond."""
    if stored is None or stored.timestamp() <= 0:
        return None
    last = end_of_day(stored.date())
    return last if last - stored < timedelta(seconds=1) else stored


def _plain(value: Any) -> Any:
    """The Python value of Feast's ValueProto; None if it is empty. Times are UTC."""
    kind = value.WhichOneof("val") if value is not None else None
    if kind is None or kind == "null_val":
        return None
    inner = getattr(value, kind)
    if kind == "unix_timestamp_val":
        return datetime.fromtimestamp(inner, UTC)
    if kind == "unix_timestamp_list_val":
        return [datetime.fromtimestamp(each, UTC) for each in inner.val]
    return list(inner.val) if kind.endswith("_list_val") else inner


def look_up(
    shop: str, service: str, entities: Sequence[Mapping[str, str]], *, now: datetime | None = None
) -> list[Looked]:
    """What is known now of each entity ({key: id}), in order; None for what is unknown or expired.

    The same on SQLite and Redis, for an entity that was never written too. `now` decides what is
    expired; without it, the shop's own present (`shop_now`).
    """
    one_of("service", service, SERVICES)
    key = KEYS[service]
    for entity in entities:
        if set(entity) != {key}:
            raise Problem(f"an entity of '{service}' is named by '{key}' alone")
    if not entities:
        return []
    moment = now or shop_now(shop)
    found = [_read(shop, view, key, [entity[key] for entity in entities], moment) for view in views(shop, service)]
    looked = []
    for n, entity in enumerate(entities):
        parts = [of_view[n] for of_view in found]
        values = {name: value for part in parts for name, value in part[0].items()}
        times = {name: at for part in parts for name, at in part[1].items()}
        states = {name: part[2] for part in parts for name in part[0]}
        looked.append(Looked(dict(entity), values, times, states))
    return looked


def _read(
    shop: str, view: Any, key: str, ids: Sequence[str], now: datetime
) -> list[tuple[dict[str, Any], dict[str, datetime | None], State]]:
    """Values, event times and state of one view for each id: Feast's store, read below its API."""
    from feast.protos.feast.types.EntityKey_pb2 import EntityKey
    from feast.protos.feast.types.Value_pb2 import Value

    live = store(shop)
    names = [feature.name for feature in view.features]
    online = live._get_provider().online_store
    answers: list[Any] = []
    for start in range(0, len(ids), 500):  # SQLite bears some 32,000 parameters a statement
        keys = [EntityKey(join_keys=[key], entity_values=[Value(string_val=each)]) for each in ids[start : start + 500]]
        with _ONE_AT_A_TIME:
            answers += online.online_read(live.config, view, keys, names)
    return [_judged(names, *answer, ttl=view.ttl, now=now) for answer in answers]


def _judged(
    names: Sequence[str],
    stored: datetime | None,
    values: Mapping[str, Any] | None,
    *,
    ttl: timedelta | None,
    now: datetime,
) -> tuple[dict[str, Any], dict[str, datetime | None], State]:
    """Values, event times and state of one answer: as old as the ttl is present, older is expired."""
    at = _whole(stored) if values else None
    expired = at is not None and bool(ttl) and at + (ttl or timedelta()) < now
    state: State = "absent" if at is None else "expired" if expired else "present"
    read = {name: _plain((values or {}).get(name)) if state == "present" else None for name in names}
    return read, dict.fromkeys(names, at), state
