"""Airflow's real scheduler backfills four days through the real DAG: a broken and a refused one fail, and hold up no
other; behind the refusal the steps go on.

What the tasks run is a stand-in for `python -m jobs`, which writes down its words and fails on the broken day: this is
about when, and not about what. One start for all tests of this file; they run in the order of the file.
"""

import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jobs.house import processes, services
from jobs.house.environment import run_folder

pytestmark = pytest.mark.long
ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 300.0
DAYS = ("2017-12-01", "2017-12-02", "2017-12-03", "2017-12-04")
BROKEN, REFUSED = DAYS[1], DAYS[3]

STAND_IN = """
import json, os, sys
with open(os.environ["WRITTEN_DOWN"], "a") as file:
    file.write(json.dumps(sys.argv[1:]) + "\\n")
if sys.argv[1] == "import" and "--first=BROKEN" in sys.argv:
    print("error: the counting law is broken")
    sys.exit(3)
if sys.argv[1] == "clean":
    with open(os.environ["WRITTEN_DOWN"]) as file:
        if sum(json.loads(line)[0] == "clean" for line in file) == 3:  # of the last day: on the broken one it never ran
            print("error: too many rows are refused")
            sys.exit(3)
""".replace("BROKEN", BROKEN)


class Airflow:
    """A client of the REST API."""

    def __init__(self, home: Path, port: int, log: Path) -> None:
        self.home, self.base, self.log = home, f"http://127.0.0.1:{port}", log
        self.token = ""

    def fetch(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, bytes]:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self.base + path, method=method, data=data, headers={"Content-Type": "application/json", **(headers or {})}
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as refusal:
            return refusal.code, refusal.read()

    def call(self, method: str, path: str, body: Any = None) -> Any:
        if not self.token:
            password = json.loads((self.home / "run" / "passwords.json").read_text())["admin"]
            status, told = self.fetch("POST", "/auth/token", {"username": "admin", "password": password})
            assert status < 300, told
            self.token = json.loads(told)["access_token"]
        status, told = self.fetch(method, f"/api/v2{path}", body, {"Authorization": f"Bearer {self.token}"})
        assert status < 300, told
        return json.loads(told or b"null")

    def runs(self) -> dict[str, dict[str, Any]]:
        """Runs of the DAG by partition."""
        found = self.call("GET", "/dags/refresh_data/dagRuns")["dag_runs"]
        return {run["partition_key"]: run for run in found if run["partition_key"]}

    def tasks(self, run: str) -> dict[str, str]:
        found = self.call("GET", f"/dags/refresh_data/dagRuns/{run}/taskInstances")["task_instances"]
        return {task["task_id"]: task["state"] for task in found}

    def commands(self) -> list[list[str]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]


@pytest.fixture(scope="module")
def airflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Airflow]:
    """API server, scheduler and DAG processor, with a stand-in for our commands first on their path."""
    folder = tmp_path_factory.mktemp("backfill")
    home, jobs, log = folder / "home", folder / "path" / "jobs", folder / "written_down.jsonl"
    jobs.mkdir(parents=True)
    (jobs / "__init__.py").touch()
    (jobs / "__main__.py").write_text(STAND_IN)
    for shared in ("tables.py", "console.py", "sources"):
        (jobs / shared).symlink_to(ROOT / "jobs" / shared)
    docs = home / "sample" / "docs"
    docs.mkdir(parents=True)
    (docs / "index.html").write_text("<h1>Data Docs</h1>")
    (home / "sample" / "keys").mkdir()
    (home / "sample" / "keys" / "secret.html").write_text("a secret")
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(("AIRFLOW", "ENDCAP_FROM"))]:
            patch.delenv(name)
        patch.setenv("ENDCAP_HOME", str(home))
        patch.setenv("PYTHONPATH", str(jobs.parent))
        patch.setenv("WRITTEN_DOWN", str(log))
        log.touch()
        run_folder()
        services._passwords()
        port = services.free_port(18080)
        try:
            services.migrate("sample", port)
            for service in services._airflow("sample", port):
                record = services.start(service)
                assert not (fault := services.wait(record, services._answers(service.name), PATIENCE)), fault
            yield Airflow(home, port, log)
        finally:
            for name in services.AIRFLOW:
                services.stop(name)
            processes.end(processes.marked(services.MARK, None, home))


def test_a_broken_day_of_a_backfill_holds_up_no_other(airflow: Airflow, tmp_path: Path) -> None:
    until = time.monotonic() + PATIENCE
    while True:  # the DAG processor has to read the file first
        try:
            airflow.call("PATCH", "/dags/refresh_data", {"is_paused": False})
            break
        except AssertionError:
            assert time.monotonic() < until
            time.sleep(1)
    asked = {
        "dag_id": "refresh_data",
        "from_date": f"{DAYS[0]}T00:00:00Z",
        "to_date": f"{DAYS[-1]}T23:59:00Z",
        "max_active_runs": 1,
        "dag_run_conf": {"shop": "sample", "folder": str(tmp_path)},
    }
    dry = airflow.call("POST", "/backfills/dry_run", asked)
    assert [run["partition_key"] for run in dry["backfills"]] == list(DAYS)
    airflow.call("POST", "/backfills", asked)
    while not all((run := airflow.runs().get(day)) and run["state"] in ("success", "failed") for day in DAYS):
        assert time.monotonic() < until + PATIENCE, {day: run["state"] for day, run in airflow.runs().items()}
        time.sleep(2)
    assert {day: airflow.runs()[day]["state"] for day in DAYS} == {
        day: "failed" if day in (BROKEN, REFUSED) else "success" for day in DAYS
    }


def test_each_day_ran_its_own_commands_once_and_in_order(airflow: Airflow) -> None:
    loaded = [words[-2:] for words in airflow.commands() if words[0] == "import"]
    assert loaded == [[f"--first={day}", f"--last={day}"] for day in DAYS]
    judged = [words for words in airflow.commands() if words[0] == "validate"]
    assert judged == [["validate", "--shop=sample", "--stale"]] * 3  # a refusal is not tried again
    states = airflow.tasks(airflow.runs()[BROKEN]["dag_run_id"])
    assert (states["import"], states["clean"], states["validate"]) == ("failed", *2 * ["upstream_failed"])
    states = airflow.tasks(airflow.runs()[DAYS[2]]["dag_run_id"])
    assert states["materialise"] == "success" and states["examples_encoder"] == "skipped"


def test_behind_a_refusal_the_steps_go_on_with_what_is_published_but_for_training_sets(airflow: Airflow) -> None:
    states = airflow.tasks(airflow.runs()[REFUSED]["dag_run_id"])
    went_on = ("import", "anonymise", "validate", "aggregate", "materialise", "dictionary")
    assert {states[name] for name in went_on} == {"success"}
    assert (states["clean"], states["examples_encoder"]) == ("failed", "upstream_failed")


def test_published_days_are_partitions_of_assets(airflow: Airflow) -> None:
    found = airflow.call("GET", "/assets/events?limit=200")["asset_events"]
    days = {
        name: sorted(event["partition_key"] for event in found if event["name"] == name)
        for name in ("safe.interactions", "stats.visitor_history")
    }
    assert days == {name: [DAYS[0], DAYS[2], DAYS[3]] for name in days}


def test_the_task_links_to_pages_that_answer_whoever_is_logged_in(airflow: Airflow) -> None:
    run = airflow.runs()[DAYS[0]]["dag_run_id"]
    links = airflow.call("GET", f"/dags/refresh_data/dagRuns/{run}/taskInstances/validate/links")["extra_links"]
    assert links["Data Docs"] == f"{airflow.base}/endcap/sample/index.html"
    assert links["Data dictionary"].endswith("/endcap/sample/dictionary.html")
    path = links["Data Docs"].removeprefix(airflow.base)
    assert airflow.fetch("GET", path)[0] == 401
    cookie = {"Cookie": f"_token={airflow.token}"}  # as a browser that is logged in
    assert airflow.fetch("GET", path, headers=cookie) == (200, b"<h1>Data Docs</h1>")
    for elsewhere in (
        "/endcap/sample/dictionary.html",
        "/endcap/sample/../keys/secret.html",
        "/endcap/sample/%2e%2e/keys/secret.html",
        "/endcap/%2e%2e/sample/keys/secret.html",
        "/endcap/sample/..%2fkeys%2fsecret.html",
    ):
        status, told = airflow.fetch("GET", elsewhere, headers=cookie)
        assert b"a secret" not in told
        assert status in (404, 422) or elsewhere.count("..") == 1
