"""Every DAG is rendered whole, and every command line is held against the real parser.

Airflow is imported in one process of its own: it takes seconds, and sets up logging and a home.
"""

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobs.__main__ import parser as jobs_parser
from jobs.requesting import NAME
from jobs.tables import tables
from models.__main__ import parser as models_parser

DAGS = Path(__file__).resolve().parents[2] / "dags"

RENDER = """
import json, sys
from types import SimpleNamespace
from airflow.dag_processing.dagbag import BundleDagBag
folder, cases = sys.argv[1], json.loads(sys.argv[2])
bag = BundleDagBag(dag_folder=folder, bundle_path=folder, bundle_name="dags-folder")
out = {"errors": bag.import_errors, "dags": {}, "cases": []}
for dag in bag.dags.values():
    out["dags"][dag.dag_id] = {
        "tasks": [t.task_id for t in dag.topological_sort()], "doc": dag.doc_md, "max": dag.max_active_runs,
        "down": {t.task_id: sorted(t.downstream_task_ids) for t in dag.tasks},
        "retries": {t.task_id: t.retries for t in dag.tasks},
        "assets": {t.task_id: sorted(a.name for a in t.outlets) for t in dag.tasks if t.outlets},
        "links": {t.task_id: [x.name for x in t.operator_extra_links] for t in dag.tasks if t.operator_extra_links},
        "titles": {n: dag.params.get_param(n).description for n in dag.params},
    }
for dag_id, conf, key in cases:
    dag = bag.dags[dag_id]
    import copy
    params = copy.deepcopy(dag.params)
    try:
        params.update(conf)
        values = params.validate()
    except Exception as fault:
        out["cases"].append({"refused": str(fault)})
        continue
    kind = "manual" if key is None else "scheduled"
    if key and key.startswith("backfill "):
        kind, key = key.split()
    context = {"params": values, "dag_run": SimpleNamespace(partition_key=key, run_type=kind)}
    commands = {}
    for task in dag.tasks:
        if hasattr(task, "words"):
            fields = (getattr(task, f) for f in ("words", "options", "flags", "when"))
            words, options, flags, when = (task.render_template(field, context) for field in fields)
            if when == "yes":
                fresh = copy.copy(task)
                object.__setattr__(fresh, "words", words)
                object.__setattr__(fresh, "options", options)
                object.__setattr__(fresh, "flags", flags)
                commands[task.task_id] = fresh.command()
    people = {}
    for task in dag.tasks:
        if hasattr(task, "options_of"):
            fields = ("options_of", "review", "when", "hours")
            options, review, when, hours = (task.render_template(getattr(task, f), context) for f in fields)
            if when == "yes":
                fresh = copy.copy(task)
                object.__setattr__(fresh, "options_of", options)
                people[task.task_id] = {"json": fresh.command("--json", f"--review={review}"), "hours": hours,
                                        "watch": fresh.command(f"--watch={hours}", f"--review={review}"),
                                        "users": [user["id"] for user in getattr(task, "assigned_users", [])],
                                        "defaults": getattr(task, "defaults", []), "fields": sorted(task.params),
                                        "mode": getattr(task, "mode", "")}
    triggers = {}
    for task in dag.tasks:
        if hasattr(task, "trigger_dag_id") and task.render_template(task.when, context) == "yes":
            conf = json.loads(task.render_template(task.conf, context))
            asked = copy.deepcopy(bag.dags[task.trigger_dag_id].params)
            asked.update(conf)
            triggers[task.trigger_dag_id] = [conf, asked.validate()]
    out["cases"].append({"commands": commands, "triggers": triggers, "asked": people})
print("RESULT" + json.dumps(out))
"""

STRANGE = "/data/a b; rm -rf / $(id) --yes"
RANGE = {"shop": "grocer", "first": "2017-01-01", "last": "2017-12-31"}
CASES: dict[str, tuple[str, dict[str, Any], str | None]] = {
    "by hand": ("refresh_data", {"shop": "sample"}, None),
    "range": ("refresh_data", RANGE, None),
    "scheduled": ("refresh_data", {}, "2017-03-05"),
    "a param overrides the partition": ("refresh_data", {"first": "2017-03-01"}, "2017-03-05"),
    "strange folder": ("refresh_data", {"shop": "electronics", "folder": STRANGE}, None),
    "one training set": ("refresh_data", {"shop": "electronics", "examples": ["encoder"]}, None),
    "scale": ("refresh_data", {"shop": "sample", "scale": 2.5}, None),
    "backfill": ("refresh_data", {"shop": "sample"}, "backfill 2017-03-05"),
    "stale by hand": ("refresh_data", {"stale": True, "first": "2017-03-01", "last": "2017-03-31"}, None),
    "train": ("train_models", {"shop": "sample", "pairs": 64, "base": "minilm"}, None),
    "train one": ("train_models", {"shop": "electronics", "models": ["encoder"]}, None),
    "train other": ("train_models", {"models": ["recommender"]}, None),
    "train privately": ("train_models", {"shop": "sample", "private": True, "epsilon": 0.5}, None),
    "train for a reviewer": ("train_models", {"shop": "sample", "review": "human"}, None),
    "train for a reviewer in MLflow": (
        "train_models",
        {"shop": "sample", "review": "human", "place": "mlflow", "hours": 0.5},
        None,
    ),
    "an epsilon alone": ("train_models", {"shop": "sample", "epsilon": 0.5}, None),
    "erase": ("erase_visitor", {"shop": "sample", "request": "r0123456789ab", "models": "retire"}, None),
    "erase and train": (
        "erase_visitor",
        {"shop": "sample", "request": "r0123456789ab", "models": "retrain", "examples": ["encoder"]},
        None,
    ),
}
BAD: dict[str, tuple[str, dict[str, Any], str | None]] = {
    "shop": ("refresh_data", {"shop": "smaple"}, None),
    "scale of nothing": ("refresh_data", {"scale": 0}, None),
    "scale below nothing": ("refresh_data", {"scale": -1}, None),
    "scale too large": ("refresh_data", {"scale": 1001}, None),
    "first": ("refresh_data", {"first": "2017-13-01"}, None),
    "last": ("refresh_data", {"last": "yesterday"}, None),
    "examples": ("refresh_data", {"examples": ["ranker"]}, None),
    "no models": ("train_models", {"models": []}, None),
    "models": ("train_models", {"models": ["rankr"]}, None),
    "pairs of nothing": ("train_models", {"pairs": 0}, None),
    "half a pair": ("train_models", {"pairs": 1.5}, None),
    "private by word": ("train_models", {"private": "yes"}, None),
    "epsilon of nothing": ("train_models", {"private": True, "epsilon": 0}, None),
    "epsilon too large": ("train_models", {"private": True, "epsilon": 20.5}, None),
    "review by nobody": ("train_models", {"review": "none"}, None),
    "a review at home": ("train_models", {"place": "home"}, None),
    "no hours for a reviewer": ("train_models", {"hours": 0}, None),
    "a month for a reviewer": ("train_models", {"hours": 720}, None),
    "no request": ("erase_visitor", {"shop": "sample"}, None),
    "an id for a request": ("erase_visitor", {"shop": "sample", "request": "v00017"}, None),
    "what of models": ("erase_visitor", {"request": "r0123456789ab", "models": "forget"}, None),
}


@pytest.fixture(scope="module")
def airflow_environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An Airflow of its own, with no database: rendering needs none."""
    home = tmp_path_factory.mktemp("airflow")
    given = {k: v for k, v in os.environ.items() if not k.startswith(("AIRFLOW", "ENDCAP_SHOP", "ENDCAP_FROM"))}
    return {**given, "AIRFLOW_HOME": str(home), "AIRFLOW__CORE__LOAD_EXAMPLES": "False", "HOME": str(home)}


@pytest.fixture(scope="module")
def rendered(airflow_environment: dict[str, str]) -> dict[str, Any]:
    """All DAGs, and the commands of every case."""
    cases = json.dumps([*CASES.values(), *BAD.values()])
    done = subprocess.run(
        [sys.executable, "-c", RENDER, str(DAGS), cases],
        env=airflow_environment,
        check=False,
        capture_output=True,
        text=True,
    )
    line = next((line for line in done.stdout.splitlines() if line.startswith("RESULT")), None)
    assert line, done.stderr[-3000:] + done.stdout[-1000:]
    found = json.loads(line[len("RESULT") :])
    found["cases"] = dict(zip([*CASES, *(f"bad {name}" for name in BAD)], found["cases"], strict=True))
    return found


def commands(rendered: dict[str, Any], case: str) -> dict[str, list[str]]:
    return rendered["cases"][case]["commands"]


def parse(command: list[str]) -> Any:
    """What the real parser makes of a command line."""
    assert command[:2] == [sys.executable, "-m"]
    parsers: dict[str, Callable[[], Any]] = {"jobs": jobs_parser, "models": models_parser}
    return parsers[command[2]]().parse_args(command[3:])


def test_every_dag_is_known_and_imports(rendered: dict[str, Any]) -> None:
    assert rendered["errors"] == {}
    assert set(rendered["dags"]) == {"refresh_data", "train_models", "erase_visitor"}
    for dag in rendered["dags"].values():
        assert dag["doc"].startswith("# ")
        assert dag["max"] == 1
        assert all(dag["titles"].values()), "every Param is explained in the form"


def test_the_way_of_the_data(rendered: dict[str, Any]) -> None:
    dag = rendered["dags"]["refresh_data"]
    assert dag["tasks"][:7] == ["check_params", "import", "clean", "anonymise", "validate", "aggregate", "materialise"]
    assert dag["down"]["materialise"] == [
        "attack", "dictionary", "examples_encoder", "examples_recommender", "skew", "watch_features",
    ]  # fmt: skip
    assert dag["links"] == {
        "validate": ["Data Docs", "Data dictionary"], "privacy": ["Privacy"], "watch_features": ["Features"],
    }  # fmt: skip


def test_what_was_published_is_attacked_before_a_model_learns_of_it(rendered: dict[str, Any]) -> None:
    down = rendered["dags"]["refresh_data"]["down"]
    assert down["attack"] == ["examples_encoder", "examples_recommender", "scan"]
    assert down["scan"] == ["examples_encoder", "examples_recommender", "privacy"]
    made = parse(commands(rendered, "scheduled")["scan"])
    assert made.first.isoformat() == made.last.isoformat() == "2017-03-05"
    assert "attack" in (by_hand := commands(rendered, "by hand")) and "scan" not in by_hand, "a year's takes minutes"
    assert not {"attack", "scan"} & set(commands(rendered, "backfill"))


def test_what_is_published_is_an_asset_that_exists(rendered: dict[str, Any]) -> None:
    made = rendered["dags"]["refresh_data"]["assets"]
    assert made["validate"] == ["safe.interactions", "safe.items", "safe.rankings", "safe.searches"]
    assert made["aggregate"] == [f"stats.{t.name}" for t in sorted(tables("stats"), key=lambda t: t.name)]
    assert made["examples_encoder"] == ["examples.encoder"]


def test_failures_are_tried_again_once(rendered: dict[str, Any]) -> None:
    dag = rendered["dags"]["refresh_data"]
    assert dag["down"]["examples_encoder"] == []
    assert {task: n for task, n in dag["retries"].items() if n != 1} == {"check_params": 0}


def test_the_way_of_the_models(rendered: dict[str, Any]) -> None:
    down = rendered["dags"]["train_models"]["down"]
    assert down["check_params"] == ["baseline_recommend", "baseline_search"]
    way = ["baseline_search", "train_encoder", "evaluate_search"]
    assert all(down[one] == [two] for one, two in itertools.pairwise(way))
    assert down["evaluate_search"] == ["review_search", "review_search_in_mlflow"]
    assert down["review_search"] == down["review_search_in_mlflow"] == ["promote_search"]
    assert down["promote_search"] == ["index"]
    assert down["promote_recommend"] == []
    links = rendered["dags"]["train_models"]["links"]
    assert links == {"evaluate_search": ["Privacy"], "evaluate_recommend": ["Privacy"]}


@pytest.mark.parametrize("case", CASES)
def test_the_parser_takes_every_command(rendered: dict[str, Any], case: str) -> None:
    for command in commands(rendered, case).values():
        assert parse(command).shop == CASES[case][1].get("shop", "grocer")


def test_a_range_reaches_every_step(rendered: dict[str, Any]) -> None:
    made = commands(rendered, "range")
    for task in ("import", "clean", "anonymise", "validate", "aggregate", "materialise"):
        got = parse(made[task])
        assert (got.first.isoformat(), got.last.isoformat()) == ("2017-01-01", "2017-12-31")
    assert parse(made["examples_encoder"]).as_of.isoformat() == "2017-12-31"


def test_a_scheduled_run_is_its_partition(rendered: dict[str, Any]) -> None:
    got = parse(commands(rendered, "scheduled")["import"])
    assert got.first.isoformat() == got.last.isoformat() == "2017-03-05"


@pytest.mark.parametrize("case", ["scheduled", "backfill"])
def test_a_run_of_one_day_refreshes_whatever_is_stale(rendered: dict[str, Any], case: str) -> None:
    made = commands(rendered, case)
    for task in ("clean", "anonymise", "validate", "aggregate"):
        got = parse(made[task])
        assert (got.stale, got.first, got.last) == (True, None, None)
    assert parse(made["materialise"]).first is None  # what was refreshed lies on other days, too
    assert "dictionary" in made


def test_a_backfill_writes_no_training_sets_which_would_know_less(rendered: dict[str, Any]) -> None:
    assert {"examples_recommender", "examples_encoder"} <= set(commands(rendered, "scheduled"))
    assert not {"examples_recommender", "examples_encoder"} & set(commands(rendered, "backfill"))


def test_training_sets_wait_for_the_skew_of_their_features(rendered: dict[str, Any]) -> None:
    assert rendered["dags"]["refresh_data"]["down"]["skew"] == ["examples_encoder", "examples_recommender"]
    got = parse(commands(rendered, "scheduled")["skew"])
    assert (got.moments, got.sample) == (1, 1000)
    assert "skew" not in commands(rendered, "backfill")


def test_by_hand_all_days_given_are_written_unless_only_what_is_stale_is_asked_for(rendered: dict[str, Any]) -> None:
    assert not parse(commands(rendered, "range")["aggregate"]).stale
    assert not parse(commands(rendered, "a param overrides the partition")["validate"]).stale
    got = parse(commands(rendered, "stale by hand")["aggregate"])
    assert (got.stale, got.first.isoformat(), got.last.isoformat()) == (True, "2017-03-01", "2017-03-31")


def test_a_param_overrides_the_partition(rendered: dict[str, Any]) -> None:
    got = parse(commands(rendered, "a param overrides the partition")["clean"])
    assert got.first.isoformat() == "2017-03-01"
    assert got.last is None


def test_without_days_the_step_decides(rendered: dict[str, Any]) -> None:
    assert commands(rendered, "by hand")["clean"][2:] == ["jobs", "clean", "--shop=sample"]


def test_a_strange_folder_stays_one_word(rendered: dict[str, Any]) -> None:
    command = commands(rendered, "strange folder")["import"]
    assert command[2:5] == ["jobs", "import", "electronics"]
    assert f"--from={STRANGE}" in command
    assert parse(command).folder == STRANGE


def test_only_what_was_asked_for_is_trained(rendered: dict[str, Any]) -> None:
    assert "examples_recommender" not in commands(rendered, "one training set")
    assert set(commands(rendered, "train one")) == {
        "baseline_search",
        "train_encoder",
        "evaluate_search",
        "promote_search",
        "index",
    }
    assert set(commands(rendered, "train other")) == {
        "baseline_recommend",
        "train_recommender",
        "evaluate_recommend",
        "promote_recommend",
    }


def test_limits_reach_their_commands(rendered: dict[str, Any]) -> None:
    assert parse(commands(rendered, "scale")["import"]).scale == 2.5
    got = parse(commands(rendered, "train")["train_encoder"])
    assert (got.pairs, got.base) == (64, "minilm")


def test_the_recommender_alone_is_trained_privately_and_only_if_asked(rendered: dict[str, Any]) -> None:
    made = commands(rendered, "train privately")
    got = parse(made["train_recommender"])
    assert (got.private, got.epsilon, got.delta) == (True, 0.5, None)
    assert not parse(made["train_encoder"]).private
    for case in ("train", "an epsilon alone"):
        plain = parse(commands(rendered, case)["train_recommender"])
        assert (plain.private, plain.epsilon) == (False, None)


def test_an_erasure_is_asked_for_by_the_name_of_a_request(rendered: dict[str, Any]) -> None:
    made = commands(rendered, "erase")
    got = parse(made["erase"])
    assert (got.request, got.models, got.visitor, got.visitors) == ("r0123456789ab", "retire", None, None)
    assert NAME.fullmatch(got.request)  # the form takes what the command prints
    assert rendered["dags"]["erase_visitor"]["down"]["erase"] == ["anonymise"]
    assert all(parse(made[step]).stale for step in ("anonymise", "validate", "aggregate"))


def test_models_are_trained_again_behind_their_training_sets_if_it_was_asked_for(rendered: dict[str, Any]) -> None:
    down = rendered["dags"]["erase_visitor"]["down"]
    assert down["examples_recommender"] == down["examples_encoder"] == ["retrain"]
    assert rendered["cases"]["erase"]["triggers"] == {}
    ((dag, (conf, params)),) = rendered["cases"]["erase and train"]["triggers"].items()
    assert (dag, conf) == ("train_models", {"shop": "sample", "models": ["encoder"]})
    assert params["models"] == ["encoder"] and set(params) == set(rendered["dags"]["train_models"]["titles"])


def test_a_reviewer_is_asked_only_by_a_command_and_nobody_answered_is_a_rejection(rendered: dict[str, Any]) -> None:
    asked = rendered["cases"]["train for a reviewer"]["asked"]
    assert set(asked) == {"review_search", "review_recommend"}
    for task, told in asked.items():
        got = parse(told["json"])
        assert (got.command, f"review_{got.bundle}", got.shop, got.json) == ("review", task, "sample", True)
        assert (got.review, told["hours"], told["users"], told["defaults"]) == ("human", "24", ["reviewer"], ["Reject"])
        assert told["fields"] == ["reason", "report"]
        assert parse(commands(rendered, "train for a reviewer")[f"promote_{got.bundle}"]).review == "human"
    assert set(rendered["cases"]["train one"]["asked"]) == {"review_search"}
    assert parse(rendered["cases"]["train one"]["asked"]["review_search"]["json"]).review == "auto"


def test_an_answer_in_mlflow_is_looked_for_without_holding_a_slot(rendered: dict[str, Any]) -> None:
    asked = rendered["cases"]["train for a reviewer in MLflow"]["asked"]
    assert set(asked) == {"review_search_in_mlflow", "review_recommend_in_mlflow"}
    told = asked["review_search_in_mlflow"]
    got = parse(told["watch"])
    assert (got.bundle, got.watch, got.review, told["mode"]) == ("search", 0.5, "human", "reschedule")


def test_where_production_says_human_no_form_says_anything_else(airflow_environment: dict[str, str]) -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import person; "
        "print('RESULT', person.REVIEW.schema['enum'], person.REVIEW.value, person.reviewers())"
    )
    environ = {**airflow_environment, "ENDCAP_REVIEW": "human", "ENDCAP_REVIEWERS": "ann, bob"}
    done = subprocess.run([sys.executable, "-c", code, str(DAGS)], env=environ, capture_output=True, text=True)
    assert "RESULT ['human'] human ['ann', 'bob']" in done.stdout, done.stderr[-2000:]


@pytest.mark.parametrize("case", BAD)
def test_params_out_of_range_are_refused(rendered: dict[str, Any], case: str) -> None:
    assert "refused" in rendered["cases"][f"bad {case}"], rendered["cases"][f"bad {case}"]


OPERATE = """
import sys, json, threading, time
sys.path.insert(0, sys.argv[1])
from types import SimpleNamespace
import command_line
out = {}
for code in (0, 1, 2, 3):
    task = command_line.CommandLine(task_id=f"t{code}", words=["ending", str(code)])
    try:
        task.hook = None
        type(task).execute.__wrapped__(task, {}) if hasattr(type(task).execute, "__wrapped__") else task.execute({})
        out[str(code)] = "ok"
    except Exception as fault:
        out[str(code)] = f"{type(fault).__name__}: {fault}"
task = command_line.CommandLine(task_id="skip", words=["ending", "1"], when="no")
try:
    type(task).execute.__wrapped__(task, {})
except BaseException as fault:
    out["skip"] = type(fault).__name__
task = command_line.CommandLine(task_id="kill", words=["ending", "sleep"])
threading.Timer(2.5, task.on_kill).start()
began = time.monotonic()
try:
    type(task).execute.__wrapped__(task, {})
except Exception as fault:
    out["kill"] = str(fault)
out["seconds"] = time.monotonic() - began
def refusal(params, given=None, declared=("shop", "first", "last", "folder")):
    try:
        command_line.check(params, declared=list(declared), given=given or {})
    except ValueError as fault:
        return str(fault)
    return ""
out["checks"] = {
    "fine": refusal({"first": "2017-01-01", "last": "2017-01-01", "folder": None}),
    "name": refusal({}, {"frist": "2017-01-01"}),
    "order": refusal({"first": "2017-01-02", "last": "2017-01-01"}),
    "folder": refusal({"folder": "/no/such/folder"}),
    "relative": refusal({"folder": "."}),
}
class Log:
    lines = []
def first_task(key, folder, kind="scheduled", conf=None):
    with command_line_dag() as dag:
        task = command_line.CheckParams(task_id="check_params")
    try:
        type(task).execute.__wrapped__(task, {
            "params": {"shop": "sample", "folder": folder, **(conf or {})},
            "dag_run": SimpleNamespace(partition_key=key, conf=conf or {}, run_type=kind)})
        return "ok"
    except BaseException as fault:
        return type(fault).__name__
from airflow.sdk import DAG
def command_line_dag():
    return DAG("d", params={"shop": "sample", "folder": None})
out["first"] = {"by hand": first_task(None, None), "night, archive": first_task("2017-01-01", None),
                "night, deliveries": first_task("2017-01-01", "/tmp"),
                "backfill, archive": first_task("2017-01-01", None, "backfill"),
                "a name that is not known": first_task(None, None, conf={"visitor": "v00017"})}
print("RESULT" + json.dumps(out))
"""

ENDING = """
import subprocess, sys, time
if sys.argv[1] == "sleep":
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    open(sys.argv[0] + ".pid", "w").write(str(child.pid))
    time.sleep(60)
print("error: what and why")
sys.exit(int(sys.argv[1]))
"""


@pytest.fixture(scope="module")
def operated(airflow_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the operators do with real processes."""
    folder = tmp_path_factory.mktemp("modules")
    (folder / "ending.py").write_text(ENDING)
    done = subprocess.run(
        [sys.executable, "-c", OPERATE, str(DAGS)],
        capture_output=True,
        text=True,
        check=False,
        env={**airflow_environment, "PYTHONPATH": str(folder)},
    )
    line = next((line for line in done.stdout.splitlines() if line.startswith("RESULT")), None)
    assert line, done.stderr[-3000:] + done.stdout[-1000:]
    return {
        **json.loads(line[len("RESULT") :]),
        "pid": (folder / "ending.py.pid").read_text(),
        "log": done.stdout + done.stderr,
    }


def test_only_a_failure_is_tried_again(operated: dict[str, Any]) -> None:
    assert operated["0"] == "ok"
    assert operated["1"].startswith("AirflowException: exit code 1: error: what and why")
    assert operated["2"] == operated["3"] == "AirflowFailException: error: what and why"
    assert operated["skip"] == "AirflowSkipException"


def test_a_killed_task_takes_its_whole_group_along(operated: dict[str, Any]) -> None:
    assert operated["seconds"] < 30
    assert "exit code -15" in operated["kill"]
    stat = Path(f"/proc/{operated['pid']}/stat")
    assert not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z"


def test_the_first_task_says_what_to_mend(operated: dict[str, Any]) -> None:
    checks = operated["checks"]
    assert checks["fine"] == ""
    assert "did you mean 'first'?" in checks["name"]
    assert "after last day" in checks["order"]
    assert "no folder '/no/such/folder'" in checks["folder"]
    assert "absolute" in checks["relative"]


def test_a_night_without_deliveries_is_skipped(operated: dict[str, Any]) -> None:
    assert operated["first"] == {
        "by hand": "ok",
        "night, archive": "AirflowSkipException",
        "night, deliveries": "ok",
        "backfill, archive": "ok",
        "a name that is not known": "AirflowFailException",
    }


def test_what_a_param_holds_that_nobody_declared_stands_in_no_log(operated: dict[str, Any]) -> None:
    assert "shop = 'sample'" in operated["log"] and "v00017" not in operated["log"]
