"""A shop's feature store: its services and views, its settings, and Feast's store opened once, with the definitions
of feature_repo/features.py applied.

Feast costs seconds to import: it is imported when a store is first opened.
"""

import fcntl
import hashlib
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from jobs import feature_registry
from jobs.console import Problem, one_of, say
from jobs.online import telling
from jobs.warehouse import home, warehouse, write_atomically

SERVICES: Mapping[str, tuple[str, ...]] = {
    "recommender": ("visitor_history", "visitor_stats"),
    "session": ("visitor_session",),
    "items": ("item_stats",),
    "queries": ("query_stats", "query_intent"),
    "habits": ("visitor_habits", "visitor_activity"),
    "facts": ("item_facts", "item_popularity"),
    "cycles": ("visitor_cycles",),
}
"""Each service and its views; features.py says the same to Feast (a test compares)."""
REAL_TIME: tuple[str, ...] = ("visitor_session",)
"""Views that are written as it happens, by `push` alone: `materialise` never writes them, and they are never stale. Now
is for them the moment of this machine's clock, not the shop's present."""
KEYS: Mapping[str, tuple[str, ...]] = {
    "recommender": ("visitor",),
    "session": ("visitor",),
    "items": ("item_id",),
    "queries": ("query",),
    "habits": ("visitor",),
    "facts": ("item_id",),
    "cycles": ("visitor", "category"),
}
"""What names an entity of each service: one key or several. A view is asked by those of them that are its own."""
TABLES: Mapping[str, str] = {
    "item_popularity": "item_stats",
    "item_facts": "item_stats",
    "visitor_activity": "visitor_stats",
    "query_intent": "query_stats",
}
"""Views of columns of a table that bears another name than they: what is not always wanted is not always read."""
MODELS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "recommender_v1": {
        "visitor_history": ("items", "times", "counts", "decayed"),
        "visitor_stats": ("purchases_28d", "baskets_28d"),
        "item_stats": ("purchases_28d", "purchases_decayed", "price"),
    },
}
"""What a version of a model reads, by view. A bundle names its version; one that is named stays as it is."""
OFFLINE: Mapping[str, str] = {
    "duckdb": "jobs.feast_store.PublishedDuckDBOfflineStore",
    "spark": "jobs.feast_spark.PublishedSparkOfflineStore",
}
"""What answers for the past, by the name in ENDCAP_OFFLINE; DuckDB without one."""


def table_of(view: str) -> str:
    """The table of the stats zone that a view shows."""
    return TABLES.get(view, view)


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
    """What feature_store.yaml holds. With ENDCAP_REDIS ("host:port,db=0") the online store is Redis; with
    ENDCAP_REGISTRY the registry is a database that machines share; ENDCAP_OFFLINE says whether DuckDB (the default) or
    Spark joins the past."""
    redis = os.environ.get("ENDCAP_REDIS")
    online: dict[str, Any] = {
        "type": "jobs.feast_store.GuardedSqliteOnlineStore",
        "path": str(folder(shop) / "online.db"),
    }
    if redis:
        # Feast puts the environment's words in when it reads the file, so that no password stands in it.
        online = {"type": "jobs.feast_redis.GuardedRedisOnlineStore", "connection_string": "${ENDCAP_REDIS}"}
    return {
        "project": shop,
        "provider": "local",
        "registry": feature_registry.settings(folder(shop)),
        "offline_store": {
            "type": OFFLINE[one_of("ENDCAP_OFFLINE", os.environ.get("ENDCAP_OFFLINE") or "duckdb", OFFLINE)]
        },
        "online_store": online,
        "materialization": {"pull_latest_features": True},
        "data_quality_monitoring": {"auto_baseline": False},  # lets Feast's page show what `features check` counted
        "entity_key_serialization_version": 3,
    }


@contextmanager
def alone(shop: str, patience: float = 600.0) -> Iterator[None]:
    """One process of a shop at a time applies definitions or writes the online store. `Problem` if another is still at
    it after so many seconds."""
    folder(shop).mkdir(parents=True, exist_ok=True)
    path = folder(shop) / ".lock"
    with path.open("a") as lock:
        end, told = time.monotonic() + patience, False
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= end:
                    raise Problem(
                        f"another process has been writing the features of '{shop}' for {patience:.0f} s",
                        where=str(path),
                        do="wait for it, or end it, and run the same command again",
                    ) from None
            if not told:
                told = True
                say(f"waiting for another process that writes the features of '{shop}' ...")
            time.sleep(0.05)
        yield


@contextmanager
def registry(shop: str) -> Iterator[None]:
    """Faults of the registry's database, locked as a rule, become a `Problem`."""
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except SQLAlchemyError as fault:
        why = str(getattr(fault, "orig", None) or type(fault).__name__).splitlines()[0]
        raise Problem(
            f"the registry of features does not answer: {why}",
            where=str(folder(shop) / "feature_store.yaml"),
            do="end what holds it, or wait, and run the same command again; who has looked up before still can",
        ) from fault


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
def _open(shop: str, at: str, text: str, redis: str | None, registered: str) -> Any:
    """The FeatureStore of a shop, one server and one registry; applies definitions and settings if they changed since
    they last were."""
    os.environ.setdefault("FEAST_USAGE", "False")
    load_feast()
    from feast import FeatureStore

    path = Path(at)
    parts = (text.encode(), registered.encode(), definitions_file().read_bytes())
    stamp = hashlib.sha256(b"".join(parts)).hexdigest()
    applied = path / "applied.json"

    def done() -> bool:
        there = all((path / name).is_file() for name in _files(shop))
        return there and applied.is_file() and json.loads(applied.read_text())["sha256"] == stamp

    with registry(shop):
        if not done():  # who only reads waits for no writer
            with alone(shop), feature_registry.turn(shop):
                if not done():
                    write_atomically(path / "feature_store.yaml", text)  # JSON is YAML
                    feature_registry.apply(FeatureStore(repo_path=str(path)), _definitions())
                    write_atomically(applied, json.dumps({"sha256": stamp}) + "\n")
        return FeatureStore(repo_path=str(path))


def _files(shop: str) -> tuple[str, ...]:
    """What applying leaves in the Feast folder."""
    kept = settings(shop)
    own = ["registry.db"] if kept["registry"]["path"].startswith("sqlite") else []
    return ("feature_store.yaml", *own, *(["online.db"] if "path" in kept["online_store"] else []))


def store(shop: str) -> Any:
    """Feast's FeatureStore of a shop, opened once a process; `Usage` if the shop has no home."""
    warehouse(shop)
    text = json.dumps(settings(shop), indent=1) + "\n"
    return _open(shop, str(folder(shop)), text, os.environ.get("ENDCAP_REDIS"), feature_registry.place())


def elsewhere(shop: str) -> list[str]:
    """What a shop has outside its home, in words: values on Redis, definitions in a registry that machines share."""
    if not folder(shop).is_dir():
        return []
    on_redis = ["the online store on Redis"] if os.environ.get("ENDCAP_REDIS") else []
    return on_redis + ([f"the definitions in {feature_registry.place()}"] if feature_registry.place() else [])


def take_down(shop: str) -> None:
    """Remove what a shop has outside its home; a `Problem` if a store does not answer."""
    if not (told := elsewhere(shop)):
        return
    live = store(shop)
    with alone(shop), registry(shop), feature_registry.turn(shop):
        if os.environ.get("ENDCAP_REDIS"):
            online = live._get_provider().online_store
            with telling(online, live.config, "emptied"):
                online.teardown(live.config, live.list_feature_views(), [])
        if feature_registry.place():
            live.registry.delete_project(shop)
    say(f"  removed {' and '.join(told)}")


@lru_cache(maxsize=64)
def _views(shop: str, at: str, service: str) -> tuple[Any, ...]:
    live = store(shop)
    with registry(shop):
        found = tuple(live.get_feature_view(view) for view in SERVICES[service])
    feature_registry.warn(found)
    return found


def views(shop: str, service: str) -> tuple[Any, ...]:
    """The Feast views of a service, kept: reading them from the registry costs milliseconds."""
    return _views(shop, str(folder(shop)), one_of("service", service, SERVICES))
