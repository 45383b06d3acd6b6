"""The commands as a person runs them: serve in one and in several processes, search, recommend; what they import."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

ROOT = Path(__file__).resolve().parents[3]
NEVER = ("pyspark", "torch", "mlflow", "models.training", "models.evaluation", "sentence_transformers", "transformers")


def python(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)


def wait_for(check: Callable[[], bool], seconds: float = 120) -> None:
    until = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < until, "waited too long"
        time.sleep(0.1)


def test_answering_never_imports_what_only_learning_needs(shop: str) -> None:
    code = f"""
import sys
from fastapi.testclient import TestClient
from models.serving import asking
from models.serving.app import create_app
from models.serving.keys import load_or_create
with TestClient(create_app("{shop}"), headers={{"X-API-Key": load_or_create("{shop}")}}) as client:
    assert client.get("/search?q=milk").status_code == 200
    assert client.app.state.api.warm.wait(150)
    assert client.get("/recommend?visitor=household-42").json()["known"]
print([name for name in {NEVER!r} if name in sys.modules])
"""
    done = python("-c", code)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip() == "[]"


def test_serve_tells_its_address_answers_and_ends_cleanly(shop: str, home: Path, tmp_path: Path) -> None:
    out, err = tmp_path / "out", tmp_path / "err"
    with out.open("w") as o, err.open("w") as e:
        words = [sys.executable, "-m", "models", "serve", "--shop", shop, "--port", "0"]
        server = subprocess.Popen(words, cwd=ROOT, stdout=o, stderr=e)
    try:
        wait_for(lambda: "next:" in out.read_text() or server.poll() is not None)
        address = next(word for word in out.read_text().split() if word.startswith("http://127.0.0.1:"))
        key = (home / shop / "keys" / "api.key").read_text().strip()
        with httpx.Client(base_url=address, headers={"X-API-Key": key}, timeout=60) as client:
            assert client.get("/health").status_code == 200
            assert client.get("/search?q=secretwords&visitor=household-42").status_code == 200
            assert client.get("/search?q=" + "secretwords" * 1000).status_code == 400
            wait_for(lambda: "features: ready" in err.read_text(), 150)
            assert client.get("/recommend?visitor=household-42").json()["known"] is True
    finally:
        server.send_signal(signal.SIGTERM)
        ended = server.wait(timeout=60)
    said = out.read_text() + err.read_text()
    assert ended == 0, said
    assert "secretwords" not in said and "household-42" not in said and key not in said and "Traceback" not in said


def test_several_processes_share_the_key_the_log_and_the_receipts(shop: str, home: Path, tmp_path: Path) -> None:
    from models.serving.app import bind
    from models.serving.keys import load_or_create

    key = load_or_create(shop)
    with bind("127.0.0.1", 0) as free:
        port = free.getsockname()[1]
    words = [sys.executable, "-m", "uvicorn", "--factory", "models.serving.app:factory", "--workers", "2",
             "--timeout-worker-healthcheck", "60",  # 5 s are too few on a machine that is very busy
             "--port", str(port), "--no-access-log", "--log-level", "warning"]  # fmt: skip
    log = tmp_path / "log"
    with log.open("w") as stream:
        environment = {**os.environ, "ENDCAP_SHOP": shop}
        server = subprocess.Popen(words, cwd=ROOT, env=environment, stdout=stream, stderr=stream)
    try:

        def up() -> bool:
            try:
                return httpx.get(f"http://127.0.0.1:{port}/health", timeout=60).status_code == 200
            except httpx.TransportError:
                return False

        wait_for(up)
        wait_for(lambda: log.read_text().count("features: ready") >= 2, 240)
        event = {"kind": "click", "visitor_id": "household-42", "item_id": "i03"}
        new = 0
        for n in range(40):  # a connection each, so that both processes are asked
            headers = {"X-API-Key": key, "Connection": "close"}
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=60) as client:
                new += client.post("/events", json={**event, "event_id": f"e-{n // 4}"}).json()["new"]
                receipt = client.get("/search?q=milk").json()["receipt_id"]
            assert (
                httpx.get(f"http://127.0.0.1:{port}/receipts/{receipt}", headers=headers, timeout=60).status_code == 200
            )
        assert new == 10
        lines = [
            json.loads(line)
            for file in (home / shop / "feedback").glob("*.jsonl")
            for line in file.read_text().splitlines()
        ]
        assert sorted(line["event_id"] for line in lines) == sorted(f"e-{n}" for n in range(10))
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(timeout=60)
    assert "household-42" not in log.read_text()


@pytest.fixture
def models(capsys: pytest.CaptureFixture[str]) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """A command `python -m models ...`, its words parsed and its end told as ever, within this process."""
    from jobs.console import run_command
    from models.__main__ import parser

    def _models(*words: str) -> "subprocess.CompletedProcess[str]":
        capsys.readouterr()
        code = run_command(parser(), words)
        told = capsys.readouterr()
        return subprocess.CompletedProcess(words, code, told.out, told.err)

    return _models


@pytest.mark.parametrize(
    ("words", "first"), [(["search", "frozen pizza"], "i01"), (["recommend", "household-42"], "i03")]
)
def test_asking_prints_the_same_items_as_a_table_and_as_json(
    shop: str, models: Callable[..., Any], words: list[str], first: str
) -> None:
    table = models(*words, "--shop", shop, "--k", "2")
    assert table.returncode == 0, table.stderr
    assert first in table.stdout and "receipt: " in table.stdout and len(table.stdout.splitlines()) <= 8
    told: dict[str, Any] = json.loads(models(*words, "--shop", shop, "--k", "2", "--json").stdout)
    assert told["items"][0]["id"] == first and len(told["items"]) == 2


@pytest.mark.parametrize(("words", "code", "says"), [
    (["search", "milk", "--shop", "corne"], 2, "did you mean 'corner'?"),
    (["search", "", "--shop", "corner"], 1, "the query is empty"),
    (["search", "milk", "--shop", "corner", "--k", "0"], 1, "from 1 to 100"),
    (["serve", "--shop", "corner", "--port", "70000"], 2, "choose one from 1 to 65535"),
    (["serve", "--shop", "corne"], 2, "did you mean 'corner'?"),
])  # fmt: skip
def test_wrong_words_end_in_one_line_and_an_honest_code(
    shop: str, models: Callable[..., Any], words: list[str], code: int, says: str
) -> None:
    done = models(*words)
    assert (done.returncode, says in done.stderr.splitlines()[-1]) == (code, True), done.stderr
    assert "Traceback" not in done.stderr
