"""`run`: words are checked before work, progress is understood, the page shows what the reports hold."""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from jobs.__main__ import parser
from jobs.console import Problem, Usage
from jobs.house import page, running

GIB = 1 << 30


def args(*words: str) -> argparse.Namespace:
    return parser().parse_args(["run", *words])


def test_params_that_were_not_given_are_left_to_the_dag() -> None:
    first, then = running.confs(args("--shop", "sample"), ["encoder", "recommender"])
    assert first == [("refresh_data", {"shop": "sample", "examples": ["encoder", "recommender"]})]
    assert then == [
        ("train_models", {"shop": "sample", "review": "later", "models": [model]})
        for model in ("encoder", "recommender")
    ]


def test_params_that_were_given(tmp_path: Path) -> None:
    words = (
        "--shop",
        "electronics",
        "--from",
        str(tmp_path),
        "--first",
        "2017-01-01",
        "--last",
        "2017-01-31",
        "--pairs",
        "64",
    )
    [refresh], [train] = running.confs(args(*words), ["encoder"])
    assert refresh[1] == {
        "shop": "electronics",
        "examples": ["encoder"],
        "folder": str(tmp_path),
        "first": "2017-01-01",
        "last": "2017-01-31",
    }
    assert train[1] == {"shop": "electronics", "review": "later", "models": ["encoder"], "pairs": 64}


@pytest.mark.parametrize(
    ("shop", "models"),
    [("sample", ["encoder", "recommender"]), ("electronics", ["encoder"]), ("open_bandit", [])],
)
def test_a_shop_teaches_what_its_tables_can(shop: str, models: list[str]) -> None:
    assert running.learnable(args("--shop", shop)) == models
    assert len(running.confs(args("--shop", shop), models)) == (2 if models else 1)


MAPPED = """
first = 2020-01-01
last = 2020-01-02

[items]
files = "goods.csv"
[items.columns]
item_id = "sku"
title = "name"

[judgements]
files = "grades.csv"
[judgements.columns]
query = "asked"
item_id = "sku"
grade = "grade"
rater = { value = "us" }
"""


def test_a_folder_of_files_teaches_what_its_mapping_names(tmp_path: Path) -> None:
    (tmp_path / "goods.csv").write_text("sku,name\n1,tea\n")
    (tmp_path / "grades.csv").write_text("asked,sku,grade\ntea,1,3\n")
    (tmp_path / "endcap.toml").write_text(MAPPED)
    assert running.learnable(args("--shop", "files", "--from", str(tmp_path))) == ["encoder"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--shop", "smaple"), "did you mean 'sample'"),
        (("--shop", "sample", "--from", "/no/such/folder"), "no folder"),
        (("--shop", "electronics"), "FROM=DIR"),
        (("--shop", "sample", "--first", "2017-02-01", "--last", "2017-01-01"), "exchange them"),
        (("--shop", "sample", "--last", "2999-01-01"), "yet to come"),
        (("--shop", "sample", "--pairs", "0"), "below 1"),
        (("--shop", "files", "--from", "s3://key:secret@shop/raw"), "stand in Airflow's records"),
    ],
)
def test_words_are_checked_before_work(home: Path, words: tuple[str, ...], told: str) -> None:
    with pytest.raises(Usage, match=told):
        running.check(args(*words))
    assert not home.exists()


def test_without_java_nothing_starts(home: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "jobs", "run", "--shop", "sample"],
        capture_output=True,
        text=True,
        env={**os.environ, "ENDCAP_HOME": str(home), "PATH": str(tmp_path), "JAVA_HOME": ""},
        check=False,
    )
    assert done.returncode == 1
    assert "Java is missing" in done.stderr and "openjdk-17-jre-headless" in done.stderr
    assert not home.exists()


def test_a_run_of_the_same_shop_is_not_doubled(home: Path) -> None:
    with running.registered("sample"):
        with pytest.raises(Problem, match="a run of 'sample' is going on"), running.registered("sample"):
            pass
        with running.registered("grocer"):
            pass
    assert list((home / "run").glob("run-*.json")) == []


def test_nothing_of_a_run_outlives_it(home: Path) -> None:
    from jobs.house import processes

    with running.registered("sample") as mark:
        child = subprocess.Popen(
            ["sleep", "60"], start_new_session=True, env={**os.environ, "ENDCAP_HOME": str(home), running.MARK: mark}
        )
        assert running.runners_left() == []
    assert processes.started(child.pid) is None
    child.wait()


def test_the_meter_finds_the_peak_and_measures_only_what_grew(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []
    measure = running.processes.proportional_memory
    monkeypatch.setattr(running.processes, "proportional_memory", lambda pids: taken.append(1) or measure(pids))
    meter = running.Meter("nobody", running.Told())
    meter.sample()
    before = meter.peak
    for _ in range(5):
        meter.sample()
    assert len(taken) == 1, "nothing grew"
    held = bytearray(os.urandom(1 << 20) * 200)
    meter.sample()
    assert len(taken) == 2 and meter.peak - before > len(held) * 0.95
    del held
    meter.sample()
    assert len(taken) == 2 and meter.peak > before
    meter.told.tasks.append(running.Task("refresh_data", "clean", 0.0))
    meter.sample()
    assert len(taken) == 3 and 0 < meter.told.tasks[0].peak < meter.peak, "each task has a peak of its own"


def test_what_a_dead_run_left_is_ended(home: Path) -> None:
    from jobs.house import processes

    child = subprocess.Popen(
        ["sleep", "60"], start_new_session=True, env={**os.environ, "ENDCAP_HOME": str(home), running.MARK: "dead"}
    )
    (home / "run").mkdir(parents=True)
    (home / "run" / "run-dead.json").write_text(
        json.dumps({"mark": "dead", "shop": "sample", "pid": child.pid, "started": 1})
    )
    assert running.runners_left() == [child.pid]
    with running.registered("sample"):
        assert processes.started(child.pid) is None
    child.wait()


def test_progress() -> None:
    told = running.Told()
    for line in (
        {"event": "start", "dag": "d", "task": "clean", "at": 10.0},
        {"event": "end", "dag": "d", "task": "clean", "at": 12.5, "state": "success", "why": ""},
        {"event": "end", "dag": "d", "task": "index", "at": 13.0, "state": "skipped", "why": ""},
        {"event": "start", "dag": "d", "task": "promote", "at": 13.0},
        {"event": "end", "dag": "d", "task": "promote", "at": 14.0, "state": "failed", "why": "no"},
    ):
        told.hear(json.dumps(line))
    assert [(t.name, t.seconds, t.state) for t in told.tasks] == [
        ("clean", 2.5, "success"),
        ("index", 0.0, "skipped"),
        ("promote", 1.0, "failed"),
    ]
    assert told.faults == ["promote: no"]


RESULTS: dict[str, Any] = {
    "shop": "sample",
    "seconds": 90.0,
    "peak": 3 * GIB,
    "tasks": [
        {"dag": "refresh_data", "task": "clean", "state": "success", "seconds": 12.5, "peak": GIB},
        {"dag": "train_models", "task": "index", "state": "skipped", "seconds": 0.0, "peak": 0},
    ],
    "law": {
        "ok": True,
        "reasons": {"bad_price": 2},
        "steps": [{"step": "clean", "table": "items", "in": 10, "out": 8, "quarantined": 2, "ok": True}],
    },
    "privacy": {
        "k": 5,
        "suppressed": 2,
        "columns_dropped": {"visitors": ["name", "email"]},
        "columns_generalised": {"age": {"level": 1, "of": 3}},
        "scrubbed": {"reviews": {"EMAIL": 3}, "tickets": {"EMAIL": 4}},
        "residue": {"reviews": {"email": 0}},
    },
    "search": {
        "primary": "ndcg@10",
        "test": {"what": "queries", "n": 82},
        "systems": {
            "BM25 <b>": {
                "recall@10": {"mean": 0.5, "low": 0.4, "high": 0.6},
                "ndcg@10": {"mean": 0.6721, "low": 0.61, "high": 0.73},
            }
        },
        "paired": {"metric": "ndcg@10", "mean": 0.011, "low": -0.002, "high": 0.025, "n": 82},
    },
    "recommend": None,
    "models": [{"bundle": "search", "version": 2, "verdict": "refused", "why": "the interval holds zero"}],
    "examples": [
        {
            "kind": "search",
            "asked": "耳机 <script>",
            "answer": [{"item_id": "1", "title": "无线耳机", "why": {"bm25": 3.2}}],
        }
    ],
}


def test_the_page_on_screen() -> None:
    told = page.summary(RESULTS)
    for word in (
        "1.5 minutes",
        "3.00 GiB",
        "quarantined",
        "identifiers left in texts: 0",
        "found and replaced in texts: 7 EMAIL",
        "age 1 of 3",
        "2 bad_price",
        "0.672 [0.610, 0.730]",
        "candidate minus champion, ndcg@10: 0.011 [-0.002, 0.025], n = 82",
        "refused",
        "clean 12 s",
        "无线耳机",
    ):
        assert word in told, word
    assert "index" not in told, "a skipped task took no time"
    assert told.count("\n") < 45


def test_the_page_of_html_is_whole_and_inert() -> None:
    made = page.html(RESULTS)
    assert "<script" not in made and "BM25 &lt;b&gt;" in made and "耳机 &lt;script&gt;" in made
    assert "http" not in made, "nothing is fetched"
    for word in (
        "Rows and refusals by step",
        "Privacy",
        "Promoted or refused",
        "Time by step",
        "the interval holds zero",
    ):
        assert word in made, word


def test_what_no_report_holds_is_left_out() -> None:
    bare = {**RESULTS, "law": None, "privacy": None, "search": None, "models": None, "examples": []}
    assert "Privacy" not in page.html(bare) and "Privacy" not in page.summary(bare)
