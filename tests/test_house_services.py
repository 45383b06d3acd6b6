"""The real services, started and ended: Airflow's scheduler runs a DAG of ours, MLflow answers, nothing stays behind.

One start for all tests of this file: it costs half a minute. The tests run in the order of the file.
"""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jobs.console import Problem
from jobs.house import processes, services
from jobs.house.services import USERS, free_port

pytestmark = pytest.mark.long
PATIENCE = 240.0


class House:
    """The services of one home, and a client of Airflow's REST API."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.environ = {k: v for k, v in os.environ.items() if not k.startswith("AIRFLOW")} | {"ENDCAP_HOME": str(home)}

    def command(self, *words: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "jobs", *words], env=self.environ, capture_output=True, text=True, check=False
        )

    def record(self, name: str) -> dict[str, Any]:
        return json.loads((self.home / "run" / f"{name}.json").read_text())

    def call(self, method: str, path: str, body: Any = None, user: str = "admin") -> tuple[int, Any]:
        base = f"http://127.0.0.1:{self.record('airflow-api')['port']}"
        headers = {"Content-Type": "application/json"}
        if path != "/auth/token":
            password = json.loads((self.home / "run" / "passwords.json").read_text())[user]
            _, told = self.call("POST", "/auth/token", {"username": user, "password": password})
            headers["Authorization"] = f"Bearer {told['access_token']}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(base + path, method=method, data=data, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as refusal:
            return refusal.code, refusal.read().decode()

    def trigger(self, dag: str, conf: dict[str, Any], user: str = "admin") -> tuple[int, Any]:
        return self.call("POST", f"/api/v2/dags/{dag}/dagRuns", {"logical_date": None, "conf": conf}, user)

    def states(self, dag: str, run: str) -> dict[str, str | None]:
        found = self.call("GET", f"/api/v2/dags/{dag}/dagRuns/{run}/taskInstances")[1]["task_instances"]
        return {task["task_id"]: task["state"] for task in found}

    def until(self, dag: str, run: str, task: str, wanted: set[str]) -> str:
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            state = self.states(dag, run).get(task)
            if state in wanted:
                return str(state)
            time.sleep(1)
        raise AssertionError(f"{task} is not {wanted}: {self.states(dag, run)}")

    def marked(self) -> list[int]:
        return processes.marked("ENDCAP_SERVICE", None, self.home)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """All services up, beside a program that holds Airflow's usual port; whatever happens they go down again."""
    home = tmp_path_factory.mktemp("house") / "home"
    made = House(home)
    with socket.socket() as holder:
        wanted = free_port(8080)
        holder.bind(("127.0.0.1", wanted))
        holder.listen()
        try:
            up = made.command("up", "--shop", "sample", "--wait", str(PATIENCE))
            assert up.returncode == 0, up.stderr + up.stdout
            made.first, made.held = up, wanted  # type: ignore[attr-defined]
            yield made
        finally:
            made.command("down")
            processes.end(made.marked())


def test_a_port_in_use_is_said_and_passed_by(house: House) -> None:
    port = house.record("airflow-api")["port"]
    assert port > house.held  # type: ignore[attr-defined]
    assert f"airflow-api will listen on {port}" in house.first.stderr  # type: ignore[attr-defined]
    assert f"http://127.0.0.1:{port}" in house.first.stdout  # type: ignore[attr-defined]


def test_what_cannot_start_yet_says_why(house: House) -> None:
    told = house.first.stdout  # type: ignore[attr-defined]
    assert "no features of 'sample' yet" in told and "no champion of 'sample' yet" in told


def test_passwords_are_generated_and_ours_alone(house: House) -> None:
    path = house.home / "run" / "passwords.json"
    assert path.stat().st_mode & 0o777 == 0o600
    passwords = json.loads(path.read_text())
    assert set(passwords) == {"admin", "reviewer", "viewer"} and len(set(passwords.values())) == 3
    for name in ("airflow/airflow.cfg", "airflow/airflow.db", "run/logs/airflow-api.log"):
        assert (house.home / name).stat().st_mode & 0o077 == 0, name


def mlflow_says(house: House, user: str | None, path: str, **values: Any) -> int:
    """The HTTP status of MLflow's answer to a user, or to nobody: a page, or a word to be written."""
    headers = {"Content-Type": "application/json"}
    if user is not None:
        password = json.loads((house.home / "run" / "passwords.json").read_text())[user]
        headers["Authorization"] = f"Basic {b64encode(f'{user}:{password}'.encode()).decode()}"
    base = f"http://127.0.0.1:{house.record('mlflow')['port']}"
    request = urllib.request.Request(base + path, json.dumps(values).encode() if values else None, headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as refusal:
        return refusal.code


def test_mlflow_shows_nothing_to_nobody_and_lets_the_administrator_alone_write(house: House) -> None:
    assert mlflow_says(house, None, "/") == 401
    assert {user: mlflow_says(house, user, "/") for user in USERS} == dict.fromkeys(USERS, 200)
    word = {"experiment_id": "0", "key": "note", "value": "seen"}
    written = {
        user: mlflow_says(house, user, "/api/2.0/mlflow/experiments/set-experiment-tag", **word) for user in USERS
    }
    assert written == {"admin": 200, "reviewer": 403, "viewer": 403}
    secrets = ("mlflow/accounts.ini", "mlflow/accounts.db")
    assert {name: (house.home / name).stat().st_mode & 0o077 for name in secrets} == dict.fromkeys(secrets, 0)


def test_passwords_that_mlflow_does_not_know_are_said(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENDCAP_HOME", str(house.home))
    record = services.record_of("mlflow")
    assert record is not None
    with pytest.raises(Problem, match=r"does not take the user 'reviewer' \(HTTP 401\)"):
        services._acquaint(record, dict.fromkeys(USERS, "another password"))


def listening(pids: set[int]) -> set[str]:
    """Addresses on which these processes listen (hex, as in /proc/net/tcp)."""
    sockets = {os.readlink(link) for pid in pids for link in Path(f"/proc/{pid}/fd").iterdir() if link.is_symlink()
               and link.exists()}  # fmt: skip
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in sockets:
                found.add(fields[1].partition(":")[0])
    return found


def test_only_loopback_is_listened_on(house: House) -> None:
    assert listening(set(house.marked())) == {"0100007F"}


def test_up_twice_keeps_what_runs(house: House) -> None:
    before = {
        name: house.record(name)["pid"] for name in ("airflow-api", "airflow-scheduler", "airflow-dags", "mlflow")
    }
    again = house.command("up", "--shop", "sample")
    assert again.returncode == 0, again.stderr
    assert before == {name: house.record(name)["pid"] for name in before}


def test_a_service_that_died_is_started_again(house: House) -> None:
    before = house.record("mlflow")["pid"]
    processes.end([before])
    assert house.command("up", "--shop", "sample", "--wait", str(PATIENCE)).returncode == 0
    after = house.record("mlflow")
    assert after["pid"] != before
    with urllib.request.urlopen(f"http://127.0.0.1:{after['port']}/health", timeout=10) as answer:
        assert answer.read() == b"OK"
    assert mlflow_says(house, "viewer", "/") == 200  # known from before


def test_who_may_trigger_what(house: House) -> None:
    assert house.trigger("refresh_data", {"shop": "smaple"})[0] == 400
    assert house.trigger("refresh_data", {"shop": "sample"}, user="viewer")[0] == 403


def test_a_changed_param_reaches_the_command_and_a_killed_task_leaves_no_process(house: House) -> None:
    """The real scheduler runs the first steps on a small shop; then `clean` is marked failed while it works."""
    dag = "refresh_data"
    assert house.call("PATCH", f"/api/v2/dags/{dag}", {"is_paused": False})[0] == 200
    code, run = house.trigger(dag, {"shop": "sample", "scale": 0.05})
    assert code == 200, run
    name = run["dag_run_id"]
    assert house.until(dag, name, "import", {"success", "failed"}) == "success"
    path = f"/api/v2/dags/{dag}/dagRuns/{name}/taskInstances"
    _, task = house.call("GET", f"{path}/import")
    assert task["rendered_fields"]["options"]["--scale"] == "0.05"
    house.until(dag, name, "clean", {"running"})
    end = time.monotonic() + 60
    while not any("jobs clean" in processes.command(pid) for pid in house.marked()) and time.monotonic() < end:
        time.sleep(0.2)
    assert house.call("PATCH", f"{path}/clean", {"new_state": "failed"})[0] == 200
    end = time.monotonic() + 60
    while any("jobs clean" in processes.command(pid) for pid in house.marked()) and time.monotonic() < end:
        time.sleep(0.5)
    assert not [pid for pid in house.marked() if "jobs clean" in processes.command(pid)]


def test_down_leaves_no_process(house: House) -> None:
    leaders = [house.record(name)["pid"] for name in ("airflow-api", "airflow-scheduler", "airflow-dags", "mlflow")]
    orphan = subprocess.Popen(["sleep", "300"], env={**house.environ, "ENDCAP_SERVICE": "api"}, start_new_session=True)
    time.sleep(0.5)
    assert orphan.pid in house.marked()
    down = house.command("down")
    assert down.returncode == 0, down.stderr
    assert house.marked() == []
    assert all(processes.started(pid) is None for pid in [*leaders, orphan.pid])
    orphan.wait()
    assert not list((house.home / "run").glob("airflow-*.json"))
    assert "nothing ran" in house.command("down").stdout
