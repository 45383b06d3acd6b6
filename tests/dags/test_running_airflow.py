"""Airflow's real scheduler runs the real DAGs. A backfill of three days: a broken and a refused one fail, and hold up
no other; behind the refusal the steps go on. An erasure: it is certified, and no id is in Airflow afterwards.

What the tasks run is a stand-in for `python -m jobs`, which writes down its words and fails on the broken day: this is
about when, and not about what. `erase` alone is the real one, on a real home. One start for all tests of this file;
they run in the order of the file.
"""

import contextlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jobs import requesting, scanning
from jobs.house import processes, services
from jobs.house.environment import run_folder
from jobs.warehouse import warehouse
from tests.jobs import test_erasing as toy

pytestmark = pytest.mark.long
ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 600.0
DAYS = BROKEN, GOOD, REFUSED = ("2017-12-01", "2017-12-02", "2017-12-03")

STAND_IN = """
import json, os, sys
if sys.argv[1] == "erase":
    os.environ["PYTHONPATH"] = "ROOT"
    os.execv(sys.executable, [sys.executable, "-m", "jobs", *sys.argv[1:]])
with open(os.environ["WRITTEN_DOWN"], "a") as file:
    file.write(json.dumps(sys.argv[1:]) + "\\n")
if sys.argv[1] == "import" and "--first=BROKEN" in sys.argv:
    print("error: the counting law is broken")
    sys.exit(3)
if sys.argv[1] == "clean":
    with open(os.environ["WRITTEN_DOWN"]) as file:
        if sum(json.loads(line)[0] == "clean" for line in file) == 2:  # of the last day: on the broken one it never ran
            print("error: too many rows are refused")
            sys.exit(3)
""".replace("BROKEN", BROKEN).replace("ROOT", str(ROOT))
MODELS = """
import json, os, sys
if sys.argv[1] == "review" and "--review=auto" in sys.argv:  # there is no report: the real one would be tried again
    print(json.dumps({"asks": False, "why": "nobody is asked"}))
    sys.exit()
if "--review=human" in sys.argv or "review" == sys.argv[1]:
    os.environ["PYTHONPATH"] = "ROOT"
    os.execv(sys.executable, [sys.executable, "-m", "models", *sys.argv[1:]])
with open(os.environ["WRITTEN_DOWN"], "a") as file:
    file.write(json.dumps(["models", *sys.argv[1:]]) + "\\n")
""".replace("ROOT", str(ROOT))


class Airflow:
    """A client of the REST API."""

    def __init__(self, home: Path, port: int, log: Path) -> None:
        self.home, self.base, self.log = home, f"http://127.0.0.1:{port}", log
        self.tokens: dict[str, str] = {}

    def fetch(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, bytes]:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self.base + path, method=method, data=data, headers={"Content-Type": "application/json", **(headers or {})}
        )
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as refusal:
            return refusal.code, refusal.read()

    def bearer(self, user: str = "admin") -> dict[str, str]:
        if user not in self.tokens:
            password = json.loads((self.home / "run" / "passwords.json").read_text())[user]
            status, told = self.fetch("POST", "/auth/token", {"username": user, "password": password})
            assert status < 300, told
            self.tokens[user] = json.loads(told)["access_token"]
        return {"Authorization": f"Bearer {self.tokens[user]}"}

    def call(self, method: str, path: str, body: Any = None) -> Any:
        status, told = self.fetch(method, f"/api/v2{path}", body, self.bearer())
        assert status < 300, told
        return json.loads(told or b"null")

    def runs(self) -> dict[str, dict[str, Any]]:
        """Runs of the DAG by partition."""
        found = self.call("GET", "/dags/refresh_data/dagRuns")["dag_runs"]
        return {run["partition_key"]: run for run in found if run["partition_key"]}

    def tasks(self, run: str, dag: str = "refresh_data") -> dict[str, str]:
        found = self.call("GET", f"/dags/{dag}/dagRuns/{run}/taskInstances")["task_instances"]
        return {task["task_id"]: task["state"] for task in found}

    def unpause(self, dag: str) -> None:
        """The DAG processor has to read the file first."""
        until = time.monotonic() + PATIENCE
        while self.fetch("GET", f"/api/v2/dags/{dag}", headers=self.bearer())[0] != 200:
            assert time.monotonic() < until, f"{dag} is not known"
            time.sleep(1)
        self.call("PATCH", f"/dags/{dag}", {"is_paused": False})

    def trigger(self, dag: str, **conf: Any) -> str:
        return str(self.call("POST", f"/dags/{dag}/dagRuns", {"logical_date": None, "conf": conf})["dag_run_id"])

    def ended(self, dag: str, run: str, task: str) -> str:
        """The state in which a task ended."""
        until = time.monotonic() + PATIENCE
        while (state := self.tasks(run, dag).get(task)) not in ("success", "failed", "upstream_failed", "skipped"):
            assert time.monotonic() < until, f"{task} of {dag} is {state}"
            time.sleep(1)
        return state

    def waits(self, dag: str, run: str, task: str) -> None:
        """Wait until a task waits for an answer, and the scheduler has seen that it does.

        An answer that comes before is lost, and asked for again in another attempt (docs/stack.md).
        """
        until, log = time.monotonic() + PATIENCE, self.home / "run" / "logs" / "airflow-scheduler.log"
        seen = f"TaskInstance Finished: dag_id={dag}, task_id={task}, run_id={run},"
        while (now := self.tasks(run, dag).get(task)) != WAITING or seen not in log.read_text():
            assert time.monotonic() < until and now not in ("success", "failed", "upstream_failed", "skipped"), now
            time.sleep(0.5)

    def told(self, dag: str, run: str, task: str, attempt: int = 1) -> str:
        """The log of a task, as the UI shows it."""
        path = f"/api/v2/dags/{dag}/dagRuns/{run}/taskInstances/{task}/logs/{attempt}"
        return self.fetch("GET", path, headers={**self.bearer(), "Accept": "application/json"})[1].decode()

    def commands(self) -> list[list[str]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]


@pytest.fixture(scope="module")
def airflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Airflow]:
    """API server, scheduler and DAG processor, with a stand-in for our commands first on their path."""
    folder = tmp_path_factory.mktemp("backfill")
    home, jobs, log = folder / "home", folder / "path" / "jobs", folder / "written_down.jsonl"
    jobs.mkdir(parents=True)
    for package, program in ((jobs, STAND_IN), (jobs.with_name("models"), MODELS)):
        package.mkdir(parents=True, exist_ok=True)
        (package / "__init__.py").touch()
        (package / "__main__.py").write_text(program)
    for shared in ("tables.py", "console.py", "sources"):
        (jobs / shared).symlink_to(ROOT / "jobs" / shared)
    docs = home / "sample" / "docs"
    docs.mkdir(parents=True)
    (docs / "index.html").write_text("<h1>Data Docs</h1>")
    (docs / "privacy.html").write_text("<h1>Privacy</h1>")
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(("AIRFLOW", "ENDCAP_FROM"))]:
            patch.delenv(name)
        patch.setenv("ENDCAP_HOME", str(home))
        patch.setenv("PYTHONPATH", str(jobs.parent))
        patch.setenv("WRITTEN_DOWN", str(log))
        patch.setenv("AIRFLOW__API__EXPOSE_STACKTRACE", "True")
        patch.setenv("AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME", "0.2")  # or each task waits for a second
        patch.setenv("AIRFLOW__SCHEDULER__TRIGGER_TIMEOUT_CHECK_INTERVAL", "2")  # of answers that do not come, too
        patch.setenv("AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL", "3600")  # no DAG changes meanwhile
        patch.setenv("AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT", "60")  # 5 s are too few on a machine that is very busy
        patch.setattr(toy, "SHOP", "sample")
        toy.built(warehouse("sample", must_exist=False))
        toy.beside(warehouse("sample"))
        (home / "sample" / "keys" / "secret.html").write_text("a secret")
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
    airflow.unpause("refresh_data")
    until = time.monotonic() + PATIENCE
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
    assert judged == [["validate", "--shop=sample", "--stale"]] * 2  # a refusal is not tried again
    states = airflow.tasks(airflow.runs()[BROKEN]["dag_run_id"])
    assert (states["import"], states["clean"], states["validate"]) == ("failed", *2 * ["upstream_failed"])
    states = airflow.tasks(airflow.runs()[GOOD]["dag_run_id"])
    assert states["materialise"] == "success" and states["examples_encoder"] == "skipped"


def test_behind_a_refusal_the_steps_go_on_with_what_is_published_but_for_training_sets(airflow: Airflow) -> None:
    states = airflow.tasks(airflow.runs()[REFUSED]["dag_run_id"])
    went_on = ("import", "anonymise", "validate", "aggregate", "materialise", "dictionary", "privacy")
    assert {states[name] for name in went_on} == {"success"}
    assert (states["clean"], states["examples_encoder"]) == ("failed", "upstream_failed")


def test_published_days_are_partitions_of_assets(airflow: Airflow) -> None:
    found = airflow.call("GET", "/assets/events?limit=200")["asset_events"]
    days = {
        name: sorted(event["partition_key"] for event in found if event["name"] == name)
        for name in ("safe.interactions", "stats.visitor_history")
    }
    assert days == {name: [GOOD, REFUSED] for name in days}


def test_the_task_links_to_pages_that_answer_whoever_is_logged_in(airflow: Airflow) -> None:
    run = airflow.runs()[GOOD]["dag_run_id"]
    links = airflow.call("GET", f"/dags/refresh_data/dagRuns/{run}/taskInstances/validate/links")["extra_links"]
    assert links["Data Docs"] == f"{airflow.base}/endcap/sample/index.html"
    assert links["Data dictionary"].endswith("/endcap/sample/dictionary.html")
    page = airflow.call("GET", f"/dags/refresh_data/dagRuns/{run}/taskInstances/privacy/links")["extra_links"][
        "Privacy"
    ]
    path = links["Data Docs"].removeprefix(airflow.base)
    assert airflow.fetch("GET", path)[0] == 401
    cookie = {"Cookie": f"_token={airflow.tokens['admin']}"}  # as a browser that is logged in
    assert airflow.fetch("GET", path, headers=cookie) == (200, b"<h1>Data Docs</h1>")
    assert airflow.fetch("GET", page.removeprefix(airflow.base), headers=cookie) == (200, b"<h1>Privacy</h1>")
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


# ---- an erasure -----------------------------------------------------------------------------------------

STRANGER = "nobody-of-ours"
ERASE = "erase_visitor"


def asked(*ids: str) -> str:
    """A request, as `python -m jobs erase --later` writes it down."""
    return requesting.ask(warehouse("sample"), ids, "privacy office")


def jobs(airflow: Airflow, *words: str) -> "subprocess.CompletedProcess[str]":
    """The real command line, on the home of the running Airflow."""
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "ENDCAP_HOME": str(airflow.home)}
    return subprocess.run(
        [sys.executable, "-m", "jobs", *words], env=environ, capture_output=True, text=True, check=False
    )


@contextlib.contextmanager
def writing(database: Path, seconds: float) -> Iterator[None]:
    """Somebody else writes to an SQLite database for so long, as happens where disks are slow; none may beside them."""
    with contextlib.closing(sqlite3.connect(database, timeout=PATIENCE, check_same_thread=False)) as connection:
        connection.execute("begin immediate")
        timer = threading.Timer(seconds, connection.commit)
        timer.start()
        try:
            yield
        finally:
            timer.join()


def test_an_unknown_person_fails_the_run_in_words_without_the_id(airflow: Airflow) -> None:
    for dag in (ERASE, "train_models"):
        airflow.unpause(dag)
    request = asked(STRANGER)
    with writing(airflow.home / "airflow" / "airflow.db", seconds=8):  # SQLite's own patience is 5
        run = airflow.trigger(ERASE, shop="sample", request=request)
    assert airflow.ended(ERASE, run, "erase") == "failed"
    log = airflow.told(ERASE, run, "erase")
    assert "nothing is known of this visitor in shop 'sample'" in log and STRANGER not in log
    assert airflow.ended(ERASE, run, "retrain") == "upstream_failed"
    assert requesting.waiting(warehouse("sample")) == []


def test_an_erasure_is_certified_and_what_hangs_on_it_is_made_again(airflow: Airflow, tmp_path: Path) -> None:
    before = len(airflow.commands())
    run = airflow.trigger(ERASE, shop="sample", request=asked(toy.ANN), models="retrain")
    assert airflow.ended(ERASE, run, "retrain") == "success", airflow.tasks(run, ERASE)
    again = [words[0] for words in airflow.commands()[before:] if words[0] != "models"]
    assert again[:4] == ["anonymise", "validate", "aggregate", "materialise"] and again[4:] == ["examples"] * 2
    (trained,) = airflow.call("GET", "/dags/train_models/dagRuns")["dag_runs"]
    assert trained["conf"] == {"shop": "sample", "models": ["recommender", "encoder"]}

    certificate = toy.certificate(warehouse("sample"))
    who = tmp_path / "who"
    who.write_text(toy.ANN)
    done = jobs(airflow, "erase", "--shop", "sample", "--verify", str(certificate), "--visitors", str(who))
    assert done.returncode == 0 and "by privacy office" in done.stdout, done.stderr
    searched = json.loads(certificate.read_text())["search"]
    assert {"airflow", "run"} <= set(searched["beside the home"]) and searched["files"] > 50
    done = jobs(airflow, "scan", "--shop", "sample")
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_second_erasure_ends_green_with_the_certificate_of_then(airflow: Airflow) -> None:
    run = airflow.trigger(ERASE, shop="sample", request=asked(toy.TWIN))
    assert airflow.ended(ERASE, run, "erase") == "success"
    log = airflow.told(ERASE, run, "erase")
    assert "erased before" in log and "certificates/000001.json" in log
    assert not toy.certificate(warehouse("sample"), 2).exists()


def test_no_id_is_in_airflows_database_or_in_any_log(airflow: Airflow) -> None:
    requests = [run["conf"]["request"] for run in airflow.call("GET", f"/dags/{ERASE}/dagRuns")["dag_runs"]]
    assert len(requests) == 3
    sought = {"ann": toy.ANN, "twin": toy.TWIN, "stranger": STRANGER, "email": toy.OWN[toy.ANN]["email"]}
    folders = [airflow.home / "airflow", airflow.home / "run"]
    assert [(each.name, each.path, each.place) for each in scanning.find(folders, sought)] == []
    # The same search finds what Airflow was told instead: in its table of runs, in its audit log, in the tasks' logs.
    found = scanning.find(folders, dict.fromkeys(["request"], requests[0]))
    assert {"dag_run.conf", "log.extra"} <= {each.place for each in found}
    assert any("logs/" in each.path for each in found)


# ---- a person is asked ------------------------------------------------------------------------------------

TRAIN = "train_models"
WAITING = "awaiting_input"


def candidate(name: str) -> int:
    """A bundle of words that asks to serve, and the report of its evaluation; its version."""
    from models import evidence, promotions, registry
    from models.bundle import building, bundles, open_bundle, seal
    from tests.models.test_reviewing import good
    from tests.reports import paired

    with building("sample", name) as folder:
        (folder / "words.json").write_text(json.dumps(os.urandom(8).hex()))
        seal(folder, shop="sample", name=name, kind="words", settings={})
        version = registry.register("sample", name, folder)
    made, champion = open_bundle(bundles("sample", name) / str(version)), promotions.champion("sample", name)
    tries = evidence.tries("sample", name, made, champion)
    told = good(name=name) | {"newest": evidence.newest("sample"), "paired": paired(tries=tries)}
    if champion is None:
        del told["champion"]
    evidence.keep("sample", name, evidence.finished("sample", name, told, made, champion))
    return version


@pytest.fixture(scope="module")
def waiting(airflow: Airflow) -> str:
    """A run that waits for two answers: versions 2 of both bundles would be promoted, versions 1 serve."""
    from models import promotions
    from models.bundle import bundles, open_bundle

    for name in ("search", "recommend"):
        shutil.rmtree(bundles("sample", name), ignore_errors=True)  # those of the erasure
        first = candidate(name)
        bundle = open_bundle(bundles("sample", name) / str(first))
        promotions.serve("sample", bundle, "baseline", verdict={"accepted": True, "why": "the first"})
        candidate(name)
    airflow.unpause(TRAIN)
    run = airflow.trigger(TRAIN, shop="sample", review="human")
    for task in ("review_search", "review_recommend"):
        airflow.waits(TRAIN, run, task)
    return run


def serving(name: str) -> int:
    from models import promotions

    champion = promotions.champion("sample", name)
    assert champion is not None
    return champion.version


def answer(airflow: Airflow, run: str, bundle: str, user: str, word: str, **form: str) -> int:
    """What the API says of an answer that is given as the page of Required Actions gives it."""
    path = f"/api/v2/dags/{TRAIN}/dagRuns/{run}/taskInstances/review_{bundle}/-1/hitlDetails"
    shown = json.loads(airflow.fetch("GET", path, headers=airflow.bearer(user))[1])
    given = {"reason": "", "report": shown["params"]["report"]["value"], **form}
    body = {"chosen_options": [word], "params_input": given}
    return airflow.fetch("PATCH", path, body, airflow.bearer(user))[0]


def test_what_a_reviewer_reads_is_a_link_away(airflow: Airflow, waiting: str) -> None:
    found = airflow.call("GET", f"/dags/{TRAIN}/dagRuns/{waiting}/hitlDetails")["hitl_details"]
    (told,) = [each for each in found if each["task_instance"]["task_id"] == "review_search"]
    assert told["subject"] == "sample.search: may version 2 serve?" and told["defaults"] == ["Reject"]
    assert "**The gate would accept it**" in told["body"] and told["assigned_users"][0]["id"] == "reviewer"
    link = told["body"].partition("(")[2].partition(")")[0]
    assert link == f"{airflow.base}/endcap/sample/review-search-2.html"
    status, page = airflow.fetch("GET", link.removeprefix(airflow.base), headers={
        "Cookie": f"_token={airflow.tokens['admin']}"})  # fmt: skip
    assert status == 200 and told["params"]["report"]["value"].encode() in page


@pytest.mark.parametrize("user", ["admin", "viewer"])
def test_nobody_else_answers(airflow: Airflow, waiting: str, user: str) -> None:
    assert answer(airflow, waiting, "search", user, "Approve", reason="let me") == 403
    assert airflow.tasks(waiting, TRAIN)["review_search"] == WAITING


def test_what_a_reviewer_approves_serves_and_says_so(airflow: Airflow, waiting: str) -> None:
    from models import registry, reviewing

    assert answer(airflow, waiting, "search", "reviewer", "Approve", reason="reads well; $(id) 'x' --reject") == 200
    assert answer(airflow, waiting, "search", "reviewer", "Reject") == 409  # once is enough
    assert airflow.ended(TRAIN, waiting, "promote_search") == "success", airflow.told(TRAIN, waiting, "promote_search")
    assert serving("search") == 2
    (kept,) = reviewing.decisions("sample", "search", 2)
    assert (kept.decision, kept.responder, kept.source) == ("approve", "reviewer", "airflow")
    assert kept.reason == "reads well; $(id) 'x' --reject"
    tags = registry.versions("sample", "search")[0]["tags"]
    assert (tags["review"], tags["review.by"]) == ("approved", "reviewer") and tags["review.reason"] == kept.reason


def test_what_a_reviewer_rejects_does_not_serve_and_is_kept(airflow: Airflow, waiting: str) -> None:
    from models import promotions, reviewing

    assert answer(airflow, waiting, "recommend", "reviewer", "Reject", reason="too many hats") == 200
    assert airflow.ended(TRAIN, waiting, "promote_recommend") == "success"
    assert serving("recommend") == 1
    assert "too many hats" in promotions.records("sample", "recommend")[0][-1].verdict["why"]
    assert [each.decision for each in reviewing.decisions("sample", "recommend", 2)] == ["reject"]


@pytest.fixture(scope="module")
def again(airflow: Airflow, waiting: str) -> str:
    """A run that waits for twenty seconds: version 3 of the search, and version 3 of the recommendations."""
    airflow.ended(TRAIN, waiting, "index")
    for name in ("search", "recommend"):
        candidate(name)
    run = airflow.trigger(TRAIN, shop="sample", review="human", hours=20 / 3600)
    airflow.waits(TRAIN, run, "review_search")
    return run


def test_a_state_set_by_hand_promotes_nothing(airflow: Airflow, again: str) -> None:
    from models import reviewing

    path = f"/dags/{TRAIN}/dagRuns/{again}/taskInstances/review_search"
    airflow.call("PATCH", path, {"new_state": "success"})
    forged = {"chosen_options": ["Approve"], "responded_by_user": {"id": "reviewer", "name": "reviewer"}}
    airflow.call("POST", f"{path}/xcomEntries", {"key": "return_value", "value": forged})
    assert airflow.ended(TRAIN, again, "promote_search") == "failed"
    assert "waits for a person" in airflow.told(TRAIN, again, "promote_search")
    assert serving("search") == 2 and reviewing.decisions("sample", "search", 3) == []


def test_nobody_answered_is_a_rejection(airflow: Airflow, again: str) -> None:
    from models import reviewing

    assert airflow.ended(TRAIN, again, "promote_recommend") == "success"
    assert serving("recommend") == 1
    (kept,) = reviewing.decisions("sample", "recommend", 3)
    assert (kept.decision, kept.responder) == ("reject", "") and "nobody answered" in kept.told
