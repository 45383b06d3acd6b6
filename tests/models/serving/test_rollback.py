"""A rollback while a real API answers fifty requests a second, and files that are swapped under its feet."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from models.encoder import MODEL

ROOT = Path(__file__).resolve().parents[3]
RATE = 50.0  # requests a second
LONGEST = 60.0  # seconds that a rollback may take, to the first answer of the old champion


@dataclass
class Load:
    """What came back of requests that were sent at a fixed rate, whether or not earlier ones were answered."""

    answers: list[tuple[float, float, int]] = field(default_factory=list)  # sent at, seconds, version
    faults: list[str] = field(default_factory=list)

    def first(self, version: int, since: float) -> float | None:
        """When the first request was sent that this version answered."""
        return next((at for at, _, answered in sorted(self.answers) if answered == version and at >= since), None)


@contextmanager
def asked(address: str, key: str, path: str, rate: float = RATE) -> Iterator[Load]:
    """Ask all the while, `rate` times a second."""
    load, stop = Load(), threading.Event()
    with (
        httpx.Client(base_url=address, headers={"X-API-Key": key}, timeout=60) as client,
        ThreadPoolExecutor(64) as pool,
    ):

        def once() -> None:
            at = time.monotonic()
            try:
                answer = client.get(path)
                if answer.status_code == 200:
                    load.answers.append((at, time.monotonic() - at, answer.json()["bundle"]["version"]))
                else:
                    load.faults.append(answer.text)
            except httpx.HTTPError as fault:
                load.faults.append(f"{type(fault).__name__}: {fault}")

        def pace() -> None:
            began = time.monotonic()
            for n in range(1_000_000):
                if stop.wait(max(0.0, began + n / rate - time.monotonic())):
                    return
                pool.submit(once)

        pacing = threading.Thread(target=pace)
        pacing.start()
        try:
            yield load
        finally:
            stop.set()
            pacing.join()


@contextmanager
def served(shop: str, home: Path, folder: Path) -> Iterator[tuple[str, str]]:
    """The API as a process of its own: its address and its key."""
    out = folder / "out"
    words = [sys.executable, "-m", "models", "serve", "--shop", shop, "--port", "0"]
    with out.open("w") as stream, (folder / "err").open("w") as errors:
        server = subprocess.Popen(words, cwd=ROOT, stdout=stream, stderr=errors)
    try:
        until = time.monotonic() + 120
        while "next:" not in out.read_text():
            assert server.poll() is None and time.monotonic() < until, (folder / "err").read_text()
            time.sleep(0.1)
        address = next(word for word in out.read_text().split() if word.startswith("http://127.0.0.1:"))
        yield address, (home / shop / "keys" / "api.key").read_text().strip()
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(timeout=60)


def wait_for(check: Callable[[], Any], seconds: float = 120) -> None:
    until = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < until, "waited too long"
        time.sleep(0.05)


@pytest.fixture
def two_champions(shop: str, new_search: Callable[..., Any]) -> str:
    """Version 2 of search serves, version 1 before it."""
    from models.promotions import serve

    serve(shop, new_search(shop, 2, [], weight=2.0), "promote")
    return shop


def test_a_rollback_under_load_fails_no_request_and_is_answered_within_a_minute(
    two_champions: str, home: Path, tmp_path: Path
) -> None:
    """The registry is a server that is down: that is when a rollback must work."""
    environ = {**os.environ, "MLFLOW_TRACKING_URI": "http://127.0.0.1:9", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    words = [sys.executable, "-m", "models", "rollback", "search", "--shop", two_champions]
    with served(two_champions, home, tmp_path) as (address, key):
        with asked(address, key, "/search?q=milk&k=3") as load:
            wait_for(lambda: len(load.answers) > RATE)
            began = time.monotonic()
            rolling = subprocess.Popen(words, cwd=ROOT, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                       text=True)  # fmt: skip
            try:
                wait_for(lambda: load.first(1, began) is not None)
                time.sleep(1)
            finally:
                rate = len(load.answers) / (time.monotonic() - min(load.answers)[0])
        out, err = rolling.communicate(timeout=300)
        ended = time.monotonic()
    assert rolling.returncode == 0, err
    assert "What is signed stands" in err and "search" in out
    first = load.first(1, began)
    assert load.faults == [] and first is not None
    assert {version for at, _, version in load.answers if at < began} == {2}
    assert {version for at, _, version in load.answers if at > first + 5} <= {1}
    taken = sorted(seconds for _, seconds, _ in load.answers)
    print(f"{len(load.answers)} answers, {rate:.0f} a second, {len(load.faults)} failed; old champion after "
          f"{first - began:.1f} s, command {ended - began:.1f} s; p50 {1000 * taken[len(taken) // 2]:.0f} ms, "
          f"p99 {1000 * taken[int(0.99 * len(taken))]:.0f} ms")  # fmt: skip
    assert first - began < LONGEST


def test_a_newer_champion_whose_file_was_swapped_is_not_taken_up_and_health_says_why(
    client: TestClient, shop: str, new_search: Callable[..., Any]
) -> None:
    from models.promotions import serve

    newer = new_search(shop, 2, [], weight=2.0)
    swapped = newer.folder / MODEL
    swapped.write_bytes(swapped.read_bytes()[:-1] + b"x")
    serve(shop, newer, "promote")
    client.app.state.api.champions.refresh()  # type: ignore[attr-defined]
    assert client.get("/search?q=milk&k=1").json()["bundle"]["version"] == 1
    state = client.get("/health").json()["champions"]["search"]
    assert state["newer"] == "record 2: 'encoder.onnx' is not as it was sealed"


def test_a_file_that_is_swapped_while_its_champion_serves_changes_no_answer(
    client: TestClient, shop: str, home: Path, two_champions: str
) -> None:
    champions = client.app.state.api.champions  # type: ignore[attr-defined]
    champions.refresh()
    before = client.get("/search?q=milk&k=3").json()
    assert before["bundle"]["version"] == 2
    (home / shop / "bundles" / "search" / "2" / MODEL).unlink()
    (home / shop / "bundles" / "search" / "2" / MODEL).write_bytes(b"\x08 another model")
    (home / shop / "promotions" / "search" / "000003.json").write_text("{}")  # it looks again
    champions.refresh()
    after = client.get("/search?q=milk&k=3").json()
    assert (after["bundle"], after["items"]) == (before["bundle"], before["items"])
    said = client.get("/health").json()["champions"]["search"]["newer"]
    assert "record 2: 'encoder.onnx' is not as it was sealed" in said and "an earlier one is not gone back to" in said


def test_an_index_of_another_encoder_is_not_served(
    client: TestClient, shop: str, home: Path, new_search: Callable[..., Any]
) -> None:
    import json

    from models.promotions import serve

    newer = new_search(shop, 2, [], weight=2.0)
    pointer = home / shop / "indexes" / "search" / "2.json"
    pointer.write_text(json.dumps({**json.loads(pointer.read_text()), "encoder": "0" * 64}))
    serve(shop, newer, "promote")
    client.app.state.api.champions.refresh()  # type: ignore[attr-defined]
    assert client.get("/search?q=milk&k=1").json()["bundle"]["version"] == 1
    assert "another encoder's" in client.get("/health").json()["champions"]["search"]["newer"]
