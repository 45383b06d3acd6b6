"""A person's word on a candidate: about exactly one report, signed, by a reviewer, and kept whatever it was."""

import hashlib
import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from jobs.console import Problem, Refused, run_command
from models import reviewing
from models.__main__ import parser
from models.bundle import bundles, seal
from models.evaluation.gates import Policy, gates
from models.reviewing import SHORT, decision, decisions, record
from tests.reports import paired, passing

SHOP, NAME = "sample", "search"
BUNDLE, REPORT, LATER = "b" * 64, "c" * 64, "d" * 64
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def told(word: Any = "approve", report: str = REPORT, responder: str = "reviewer", source: Any = "airflow") -> Any:
    return record(SHOP, NAME, 3, BUNDLE, report, word, responder=responder, reason="reads well", source=source, now=NOW)


def files(home: Path) -> list[Path]:
    return sorted((home / SHOP / "reviews" / NAME / "3").iterdir())


# ---- what is kept -----------------------------------------------------------------------------------


def test_a_decision_is_about_one_bundle_and_one_report(home: Path) -> None:
    assert decision(SHOP, NAME, 3, BUNDLE, REPORT) is None
    made = told()
    assert decision(SHOP, NAME, 3, BUNDLE, REPORT) == made and made.approved and made.at == "2026-01-02T03:04:05+00:00"
    assert made.told == "approved by reviewer (airflow): reads well"
    assert decision(SHOP, NAME, 3, BUNDLE, LATER) is None
    assert decision(SHOP, NAME, 3, REPORT, REPORT) is None
    assert decision(SHOP, NAME, 4, BUNDLE, REPORT) is None


def test_the_last_decision_counts_and_rejections_are_kept(home: Path) -> None:
    told("reject", responder="", source="airflow")
    told("approve")
    last = told("reject")
    assert decision(SHOP, NAME, 3, BUNDLE, REPORT) == last and not last.approved
    kept = decisions(SHOP, NAME, 3)
    assert [each.decision for each in kept] == ["reject", "approve", "reject"]
    assert kept[0].told == "rejected because nobody answered in time: reads well"
    assert [path.name for path in files(home)] == ["000001.json", "000002.json", "000003.json"]


@pytest.mark.parametrize("field", ["decision", "responder", "reason", "report", "bundle", "version", "source", "at"])
def test_one_word_changed_and_no_review_of_the_version_counts(home: Path, field: str) -> None:
    told("reject")
    (path,) = files(home)
    values = json.loads(path.read_text())
    values[field] = {"decision": "approve", "version": 4}.get(field, "x")
    path.write_text(json.dumps(values))
    with pytest.raises(Problem, match="signature of a review is wrong"):
        decision(SHOP, NAME, 3, BUNDLE, REPORT)


def test_a_review_of_another_version_put_in_this_ones_place_is_found(home: Path) -> None:
    told()
    (path,) = files(home)
    (other := path.parents[1] / "4").mkdir()
    (other / path.name).write_bytes(path.read_bytes())
    with pytest.raises(Problem, match="lies at another place"):
        decision(SHOP, NAME, 4, BUNDLE, REPORT)


def test_a_file_that_is_no_review_is_a_problem_and_not_an_approval(home: Path) -> None:
    told()
    files(home)[0].write_text("{}")
    with pytest.raises(Problem, match="cannot be read"):
        decision(SHOP, NAME, 3, BUNDLE, REPORT)


# ---- who may ----------------------------------------------------------------------------------------


def test_only_a_reviewer_approves_and_who_is_none_any_more_has_not(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for who in ("admin", ""):
        with pytest.raises(Refused):
            told(responder=who)
    assert decisions(SHOP, NAME, 3) == []
    told()
    monkeypatch.setenv("ENDCAP_REVIEWERS", "ann, bob")
    with pytest.raises(Refused, match="'reviewer' is no reviewer"):
        decision(SHOP, NAME, 3, BUNDLE, REPORT)
    told(responder="bob")
    assert decision(SHOP, NAME, 3, BUNDLE, REPORT) is not None


def test_the_key_is_the_owners_alone(home: Path) -> None:
    told()
    key = home / SHOP / "keys" / "review.ed25519"
    assert key.stat().st_mode & 0o777 == 0o600
    key.chmod(0o640)
    with pytest.raises(Problem, match="can be read by others"):
        told()


# ---- the command ------------------------------------------------------------------------------------


def judged(home: Path, low: float = 0.01, version: int = 2) -> str:
    """A sealed candidate, and a report about it; the SHA-256 of the report."""
    (home / SHOP / "warehouse").mkdir(parents=True, exist_ok=True)
    folder = bundles(SHOP, NAME) / str(version)
    if not folder.is_dir():
        folder.mkdir(parents=True)
        (folder / "words.json").write_text("{}")
        seal(folder, shop=SHOP, name=NAME, kind="toy", settings={})
    path = reviewing.report_file(SHOP, NAME)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(good(low, version)))
    return hashlib.sha256(path.read_bytes()).hexdigest()


def good(low: float = 0.01, version: int = 2, name: str = NAME, champion: int = 1) -> dict[str, Any]:
    """A report that the gate accepts, if `low` is above zero."""
    sides = {"candidate": {"version": version, "name": "new"}, "champion": {"version": champion, "name": "old"}}
    figure = {"ndcg@10": {"mean": 0.4, "low": 0.3, "high": 0.5, "n": 100}}
    return passing(
        shop=SHOP, bundle=name, paired=paired(low=low), systems=dict.fromkeys(sides, figure),
        test={"what": "queries", "n": 100}, **sides,
    )  # fmt: skip


@pytest.fixture
def tagged(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What MLflow is told, without its six seconds; tests/dags/test_running_airflow.py asks the real one."""
    from models import registry

    seen: list[Any] = []
    monkeypatch.setattr(registry, "tag", lambda *words: seen.append(words))
    return seen


def review(*words: str) -> int:
    return run_command(parser(), ["review", NAME, "--shop", SHOP, *words])


def test_an_answer_is_taken_down_and_told(home: Path, tagged: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    digest = judged(home)
    assert review("--reject", "--reason", "the first\nhit is wrong") == 0
    (kept,) = decisions(SHOP, NAME, 2)
    assert (kept.report, kept.decision, kept.source) == (digest, "reject", "command")
    assert kept.reason == "the first hit is wrong" and kept.responder
    assert tagged == [(SHOP, NAME, 2, kept.tags)] and tagged[0][3]["review"] == "rejected"
    assert "next: python -m models promote search" in capsys.readouterr().out
    assert review("--approve", "--source=airflow", "--responder=reviewer", f"--report={digest[:SHORT]}") == 0
    assert review() == 0
    out = capsys.readouterr().out
    assert "rejected" in out and "approved" in out and "this report" in out and "the gate says accept" in out


def test_an_answer_to_an_older_report_is_refused(
    home: Path, tagged: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    digest = judged(home)
    judged(home, 0.011)
    for word in (digest[:SHORT], "", digest[:4]):
        assert review("--approve", "--source=airflow", "--responder=reviewer", f"--report={word}") == 3
        assert "it was judged anew since" in capsys.readouterr().err
    assert decisions(SHOP, NAME, 2) == [] and tagged == []


@pytest.mark.parametrize("who", ["--responder=admin", "--responder=", "--source=airflow"])
def test_nobody_else_approves(home: Path, tagged: list[Any], who: str) -> None:
    judged(home)
    assert review("--approve", "--source=airflow", who) == 3
    assert decisions(SHOP, NAME, 2) == []


def test_nobody_speaks_in_anothers_name_from_a_shell(home: Path, tagged: list[Any]) -> None:
    judged(home)
    assert review("--approve", "--responder=reviewer") == 2


def test_what_the_gate_refuses_is_asked_of_nobody_and_approved_by_nobody(
    home: Path, tagged: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    judged(home, low=-0.01)
    assert review("--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert not told["asks"] and "not proven better" in told["why"]
    assert review("--approve") == 3
    assert decisions(SHOP, NAME, 2) == []


def test_what_is_asked_names_the_report_and_its_page(
    home: Path, tagged: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    digest = judged(home)
    assert review("--json") == 0
    assert "decides alone" in json.loads(capsys.readouterr().out)["why"]
    assert review("--json", "--review=human") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["asks"] and told["report"] == digest[:SHORT] and told["version"] == 2
    assert "version 2 serve?" in told["subject"] and "| yes | better |" in told["body"]
    page = home / SHOP / "docs" / told["page"]
    assert page.name == "review-search-2.html" and digest[:SHORT] in page.read_text()
    assert review("--approve") == 0 and review("--json", "--review=human") == 0
    again = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert not again["asks"] and "was approved by" in again["why"]


def test_words_of_data_are_text_in_a_form() -> None:
    assert reviewing._cell("a|b [x](http://e) <b> `c`\n*d*_") == r"a\|b \[x\](http://e) \<b> \`c\` \*d\*\_"


@pytest.mark.parametrize("text", [None, "{", "[]", "{}", '{"candidate": {"version": "x"}}', '{"candidate": null}'])
def test_without_a_report_about_a_candidate_there_is_nothing_to_decide(home: Path, text: str | None) -> None:
    judged(home)
    path = reviewing.report_file(SHOP, NAME)
    path.unlink() if text is None else path.write_text(text)
    assert review("--approve") == 1


def test_a_bundle_that_was_swapped_is_not_approved(home: Path, tagged: list[Any]) -> None:
    judged(home)
    (bundles(SHOP, NAME) / "2" / "words.json").write_text('{"a": 1}')
    assert review("--approve") == 1
    assert decisions(SHOP, NAME, 2) == []


def test_where_mlflow_is_down_the_decision_is_kept(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def down(*words: Any) -> None:
        raise ConnectionError("refused")

    monkeypatch.setattr("models.registry.tag", down)
    judged(home)
    assert review("--approve", "--reason", "fine") == 0
    assert "MLflow could not be told (ConnectionError)" in capsys.readouterr().err
    assert decisions(SHOP, NAME, 2)[0].approved


def test_the_environment_says_that_a_person_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    words: Callable[..., str] = reviewing.wanted
    assert (words(), words("auto"), words("human"), words("later")) == ("auto", "auto", "human", "later")
    assert words("later", "auto", {"ENDCAP_REVIEW": "human"}) == words("later", "human", {}) == "human"
    with pytest.raises(Problem, match="'perhaps'"):
        words("auto", "auto", {"ENDCAP_REVIEW": "perhaps"})
    assert gates(good(), Policy()).accepted  # the toy report of this file


# ---- in MLflow --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("status", "worth"), [(401, True), (200, False), (403, False), (500, False)])
def test_a_tag_is_worth_something_where_the_server_asks_who_writes(status: int, worth: bool) -> None:
    class Server(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()

        def log_message(self, *words: Any) -> None:
            """Silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        assert reviewing.knows_its_writers(f"http://127.0.0.1:{server.server_port}/") is worth
    finally:
        server.shutdown()
        server.server_close()
    with pytest.raises(Problem, match="does not answer"):
        reviewing.knows_its_writers(f"http://127.0.0.1:{server.server_port}")
    assert not reviewing.knows_its_writers("sqlite:////mlflow.db")


@pytest.fixture
def version(home: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The tags of version 2 on a server that asks who writes."""
    tags: dict[str, str] = {"review": "approve"}  # from before anybody asked
    judged(home)
    monkeypatch.setattr(reviewing, "answerers", lambda about: ["ann", "reviewer"])
    monkeypatch.setenv("ENDCAP_REVIEWERS", "reviewer, ann")
    monkeypatch.setattr("models.registry.tag", lambda shop, name, version, values: tags.update(values))
    monkeypatch.setattr("models.registry.tags", lambda shop, name, version: dict(tags))
    return tags


def look(hours: float = 24, after: timedelta = timedelta()) -> dict[str, Any]:
    return reviewing.watch(reviewing.asked(SHOP, NAME), hours, NOW + after)


def test_an_answer_in_mlflow_counts_from_the_question_on(version: dict[str, str]) -> None:
    assert not look()["decided"] and version["review"].startswith("waits")
    assert not look()["decided"] and decisions(SHOP, NAME, 2) == []
    version |= {"review": " Approve ", "review.reason": "fine"}
    assert look()["decided"]
    (kept,) = decisions(SHOP, NAME, 2)
    assert (kept.decision, kept.source, kept.reason) == ("approve", "mlflow", "fine")
    assert kept.responder == "one of ann, reviewer", "MLflow does not say who"
    assert version["review"] == "approved"


def test_an_approval_by_one_of_several_ends_with_the_first_who_is_no_reviewer_any_more(
    version: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    look()
    version["review"] = "approve"
    look()
    about = reviewing.asked(SHOP, NAME)
    assert (found := decision(SHOP, NAME, 2, about.bundle, about.digest)) is not None and found.approved
    monkeypatch.setenv("ENDCAP_REVIEWERS", "reviewer")
    with pytest.raises(Refused, match="'ann' is no reviewer"):
        decision(SHOP, NAME, 2, about.bundle, about.digest)


def test_a_rejection_and_a_silence_in_mlflow_are_rejections(version: dict[str, str]) -> None:
    look()
    version["review"] = "reject"
    assert "rejected by one of ann, reviewer (mlflow)" in look()["why"]
    version["review.asked"] = ""
    look()
    assert not look(hours=1, after=timedelta(minutes=59))["decided"]
    version["review"] = "approve"
    assert "nobody answered in 1 hours" in look(hours=1, after=timedelta(minutes=61))["why"], "too late is too late"
    assert [each.decision for each in decisions(SHOP, NAME, 2)] == ["reject", "reject"]


def test_an_answer_to_an_older_report_in_mlflow_counts_for_nothing(version: dict[str, str], home: Path) -> None:
    look()
    version["review"] = "approve"
    judged(home, 0.012)
    assert not look()["decided"] and version["review"].startswith("waits") and decisions(SHOP, NAME, 2) == []


def test_a_tag_that_anyone_may_write_is_no_answer(home: Path, tagged: list[Any]) -> None:
    judged(home)
    assert review("--watch=24", "--review=human") == 3
    assert decisions(SHOP, NAME, 2) == [] and tagged == []
