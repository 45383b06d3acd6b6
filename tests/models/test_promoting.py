"""From the examples to a champion, through the real commands, MLflow and signatures, on a tiny shop."""

import hashlib
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from models import promotions

END = datetime(2024, 7, 1, tzinfo=UTC)
VISITORS, ITEMS = 40, 30

pytestmark = [pytest.mark.filterwarnings("ignore")]  # MLflow's and its database's own


def bought() -> list[tuple[int, int, datetime]]:
    """Every visitor buys their own four items again and again, and now and then something else."""
    dice, out = random.Random(3), []
    for visitor in range(VISITORS):
        habits = dice.sample(range(ITEMS), 4)
        for week in range(26):
            when = END - timedelta(days=7 * week + 1 + dice.randrange(5))
            out += [(visitor, item, when) for item in habits if dice.random() < 0.6]
            out += [(visitor, dice.randrange(ITEMS), when)] if dice.random() < 0.4 else []
    return sorted(out, key=lambda row: row[2])


def fill(put: Callable[..., Any]) -> None:
    """The three tables that the recommender reads."""
    rows, questions, stats = bought(), [], []
    for months, split in ((1, "test"), (2, "validation"), (3, "train")):
        cutoff = END - timedelta(days=28 * months)
        past = [row for row in rows if row[2] < cutoff]
        for visitor in range(VISITORS):
            mine = [(item, when) for v, item, when in past if v == visitor]
            later = [(i, when) for v, i, when in rows if v == visitor and cutoff <= when < cutoff + timedelta(days=28)]
            if not later:
                continue
            ids = list(dict.fromkeys(item for item, _ in reversed(mine)))
            weights = {i: [0.5 ** ((cutoff - w).total_seconds() / 86400 / 60) for j, w in mine if j == i] for i in ids}
            questions.append({
                "visitor": f"v1_{visitor}", "event_time": cutoff, "split": split, "history_time": cutoff,
                "history_items": [f"i{i}" for i in ids],
                "history_times": [max(w for j, w in mine if j == i) for i in ids],
                "history_counts": [len(weights[i]) for i in ids], "history_decayed": [sum(weights[i]) for i in ids],
                "purchases_28d": 10, "spend_28d": 1.0, "baskets_28d": 4,
                "next_basket": sorted({f"i{i}" for i, when in later if when == later[0][1]}),
                "next_28d": sorted({f"i{i}" for i, _ in later}),
            })  # fmt: skip
        for item in range(ITEMS):
            decayed = sum(0.5 ** ((cutoff - w).days / 60) for _, i, w in past if i == item)
            stats.append({"item_id": f"i{item}", "event_time": cutoff, "split": split, "stats_time": cutoff,
                          "purchases_28d": 3, "purchases_decayed": decayed, "price": 1.0})  # fmt: skip
    put("tiny", "examples", "recommender", questions)
    put("tiny", "examples", "recommender_items", stats)
    days: dict[date, list[dict[str, Any]]] = {}
    for n, (visitor, item, when) in enumerate(rows):
        day = when.date().replace(day=1)  # filed by month: a partition costs a tenth of a second
        days.setdefault(day, []).append({
            "interaction_id": f"n{n}", "event_time": when, "visitor": f"v1_{visitor}", "item_id": f"i{item}",
            "kind": "purchase", "known_time": when, "simulated": False, "day": day})  # fmt: skip
    for day, found in sorted(days.items()):
        put("tiny", "safe", "interactions", found, day.isoformat())


def command(*words: str) -> None:
    """Run a command as a person would; it must end well."""
    from models.__main__ import parser, run_command

    assert run_command(parser(), [*words, "--shop", "tiny", "--verbose"]) == 0


def champion() -> int:
    found = promotions.champion("tiny", "recommend")
    assert found is not None
    return found.version


def test_the_whole_way_of_a_recommender(
    home: Path, put: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    fill(put)
    command("baseline", "recommend")
    assert champion() == 1
    command("train", "recommender")
    command("evaluate", "recommend")
    capsys.readouterr()

    report_file = home / "tiny" / "reports" / "recommend.json"
    report = json.loads(report_file.read_text())
    assert set(report["systems"]) == {
        "popularity", "counts", "decayed counts", "als", "decayed counts + als", "candidate", "champion"}  # fmt: skip
    assert (
        report["systems"]["champion"] == report["systems"]["decayed counts"]
    )  # the served code ranks as the baseline says
    assert report["paired"]["n"] == report["test"]["n"] == len(questions_of(home))
    page = report_file.with_suffix(".html").read_text()
    assert "<svg" in page and "http://" not in page.replace("http://www.w3.org", "").replace(
        "http://purl.org", ""
    ).replace("http://creativecommons.org", "")

    # The gate refuses what is not proven better; the champion goes on.
    def told(low: float) -> bytes:
        report["paired"] |= {"mean": 0.02, "low": low, "high": 0.04}
        report["test"]["n"] = report["paired"]["n"] = 40
        report["latency_ms"]["p99"] = 5.0
        report_file.write_text(json.dumps(report))
        return report_file.read_bytes()

    told(-0.01)
    command("promote", "recommend")
    out = capsys.readouterr().out
    assert "refused: version 2" in out and "not proven better" in out and champion() == 1
    assert promotions.records("tiny", "recommend")[0][-1].action == "refuse"

    text = told(0.01)
    command("promote", "recommend")
    assert "promoted: version 2" in capsys.readouterr().out and champion() == 2
    record = promotions.records("tiny", "recommend")[0][-1]
    assert (record.action, record.report) == ("promote", hashlib.sha256(text).hexdigest())

    command("list", "--json")
    rows = json.loads(capsys.readouterr().out)
    assert [(row["version"], row["alias"], row["verdict"]) for row in rows] == [
        (2, "champion", "promote"), (1, None, "baseline")]  # fmt: skip
    assert rows[0]["low"] <= rows[0]["mean"] <= rows[0]["high"]

    command("rollback", "recommend")
    assert champion() == 1
    runs_are_finished_and_orphans_closed()


def questions_of(home: Path) -> list[Any]:
    from models.training.recommender import read_questions

    return read_questions("tiny", "test")


def runs_are_finished_and_orphans_closed() -> None:
    """Every run of the way above is FINISHED; one left RUNNING by a dead process is closed at the next start."""
    from models import tracking

    live = tracking.client()
    where = tracking.experiment(live, "tiny", "recommend")
    assert {found.info.status for found in live.search_runs([where])} == {"FINISHED"}
    dead = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True, check=True
    )
    tags = {tracking.PROCESS: f"{dead.stdout.strip()}:1", tracking.HOST: os.uname().nodename}
    orphan = live.create_run(where, tags=tags).info.run_id
    with pytest.raises(RuntimeError), tracking.run("tiny", "recommend", {"a": 1}) as run:
        raise RuntimeError("broken")
    assert live.get_run(orphan).info.status == "FAILED"
    assert live.get_run(run.id).info.status == "FAILED"


def test_a_report_about_other_bundles_decides_nothing(home: Path) -> None:
    from jobs.console import Problem
    from models.bundle import Bundle
    from models.promoting import _current_report, report_file

    def bundle(version: int) -> Bundle:
        return Bundle("tiny", "recommend", version, home, {}, sha256=f"hash {version}")

    path = report_file("tiny", "recommend")
    with pytest.raises(Problem, match="not judged yet"):
        _current_report("tiny", "recommend", bundle(2), bundle(1))
    path.parent.mkdir(parents=True)
    sides = {role: {"version": n, "sha256": f"hash {n}"} for role, n in (("candidate", 2), ("champion", 1))}
    path.write_text(json.dumps(sides))
    assert _current_report("tiny", "recommend", bundle(2), bundle(1))
    for candidate, serving in ((3, 1), (2, 4)):
        with pytest.raises(Problem, match="the report judged"):
            _current_report("tiny", "recommend", bundle(candidate), bundle(serving))
    with pytest.raises(Problem, match="no champion"):
        _current_report("tiny", "recommend", bundle(2), None)
    path.write_text("{")
    with pytest.raises(Problem, match="cannot be read"):
        _current_report("tiny", "recommend", bundle(2), bundle(1))
