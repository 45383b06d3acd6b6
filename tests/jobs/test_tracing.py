"""Every step tells of itself: events of the specified shape, tables and counts by name; no row, and no step held up."""

import json
import subprocess
import sys
import threading
from argparse import Namespace
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import jsonschema
import pytest

from jobs import expectations, tracing
from jobs.__main__ import parser
from jobs.console import Problem, Refused
from jobs.warehouse import Refusal, warehouse

DAY = "2017-01-01"
KNOWN = {"known_time": datetime(2017, 1, 1, tzinfo=UTC), "simulated": False}
SECRET = "Ann Smith"

_FACETS = {
    "type": "object",
    "additionalProperties": {
        "type": "object",
        "required": ["_producer", "_schemaURL"],
        "properties": {"_producer": {"format": "uri"}, "_schemaURL": {"pattern": r"^https://openlineage\.io/spec/"}},
    },
}


def _dataset(more: str) -> dict[str, Any]:
    named = {"namespace": {"type": "string", "minLength": 1}, "name": {"type": "string", "minLength": 1}}
    return {"type": "object", "required": list(named), "properties": {**named, "facets": _FACETS, more: _FACETS}}


# What the specification (OpenLineage 2, RunEvent) demands, in our words.
RUN_EVENT = {
    "type": "object",
    "required": ["eventType", "eventTime", "run", "job", "producer", "schemaURL"],
    "properties": {
        "eventType": {"enum": ["START", "RUNNING", "COMPLETE", "ABORT", "FAIL", "OTHER"]},
        "eventTime": {"type": "string", "format": "date-time"},
        "producer": {"type": "string", "format": "uri", "pattern": "^urn:endcap:"},
        "schemaURL": {"pattern": r"^https://openlineage\.io/spec/2-.*RunEvent$"},
        "run": {
            "type": "object",
            "required": ["runId"],
            "properties": {"runId": {"type": "string", "format": "uuid"}, "facets": _FACETS},
        },
        "job": _dataset("facets"),
        "inputs": {"type": "array", "items": _dataset("inputFacets")},
        "outputs": {"type": "array", "items": _dataset("outputFacets")},
    },
}


@pytest.fixture
def step(home: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Run a function as if it were the step of a command."""

    def run(does: Callable[..., Any], command: str = "clean", **more: Any) -> int:
        module = ModuleType("step_of_a_test")
        module.does = does  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, module.__name__, module)
        args = {"shop": "toy", "command": command, "traced": "step_of_a_test:does", "first": None, "last": None, **more}
        return tracing.run(Namespace(**args))

    return run


def events(home: Path) -> list[dict[str, Any]]:
    """All events of the shop, each of the specified shape."""
    files = sorted((home / "toy" / "lineage").glob("*.jsonl"))
    found = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    for event in found:
        jsonschema.validate(event, RUN_EVENT, format_checker=jsonschema.FormatChecker())
        datetime.fromisoformat(event["eventTime"])
    return found


def test_a_step_tells_its_start_and_what_it_read_and_wrote(
    put: Callable[..., Any], home: Path, step: Callable[..., int]
) -> None:
    row = {"review_id": "r", "visitor_id": SECRET, "text": SECRET, "item_id": SECRET, "source_file": "f.csv",
           "source_row": 1, "event_time": KNOWN["known_time"], "day": date(2017, 1, 1), **KNOWN}  # fmt: skip
    raw = put("toy", "raw", "reviews", [{k: str(v) if k == "event_time" else v for k, v in row.items()}], DAY)

    def does(args: Namespace) -> None:
        house = warehouse("toy")
        made = put("toy", "clean", "reviews", [row, {**row, "review_id": "r2"}], DAY)
        with house.attempt("clean", "reviews") as attempt:
            attempt.folder(DAY).mkdir()
            for file in house.files([made]):
                (attempt.folder(DAY) / file.name).write_bytes(file.read_bytes())
            house.propose(attempt, DAY, step="clean", inputs=[raw, "policy/key_epoch/whole@1"])

    assert step(does, first=date(2017, 1, 1), last=date(2017, 1, 2)) == 0
    began, ended = events(home)
    assert (began["eventType"], ended["eventType"]) == ("START", "COMPLETE")
    assert began["run"]["runId"] == ended["run"]["runId"]
    assert ended["job"]["namespace"] == "endcap.toy" and ended["job"]["name"] == "clean"
    assert ended["run"]["facets"]["nominalTime"]["nominalStartTime"] == "2017-01-01T00:00:00+00:00"
    assert ended["run"]["facets"]["nominalTime"]["nominalEndTime"] == "2017-01-03T00:00:00+00:00"
    (read,), (wrote,) = ended["inputs"], ended["outputs"]
    assert (read["name"], read["inputFacets"]["dataQualityMetrics"]["rowCount"]) == ("raw/reviews", 1)
    assert wrote["name"] == "clean/reviews"
    assert wrote["outputFacets"]["outputStatistics"]["rowCount"] == 2
    assert wrote["outputFacets"]["outputStatistics"]["size"] > 0
    fields = {field["name"]: field for field in wrote["facets"]["schema"]["fields"]}
    assert (fields["rating"]["type"], fields["rating"]["description"]) == ("long", "1 to 5 stars")
    assert wrote["facets"]["version"]["datasetVersion"] != read["facets"]["version"]["datasetVersion"]
    assert SECRET not in json.dumps([began, ended])


def test_an_import_names_its_files_by_hash(put: Callable[..., Any], home: Path, step: Callable[..., int]) -> None:
    def does(args: Namespace) -> None:
        house = warehouse("toy", must_exist=False)
        with house.attempt("raw", "reviews") as attempt:
            house.propose(attempt, DAY, step="import", notes={"files": {"reviews.csv": "ab" * 32}})

    step(does, "import")
    (file,) = events(home)[-1]["inputs"]
    assert file["name"] == "source/reviews.csv" and file["facets"]["version"]["datasetVersion"]


def test_a_range_by_one_hash_names_every_table_behind_it(
    put: Callable[..., Any], home: Path, step: Callable[..., int]
) -> None:
    def does(args: Namespace) -> None:
        house = warehouse("toy", must_exist=False)
        with house.attempt("stats", "visitor_stats") as attempt:
            house.propose(attempt, DAY, step="aggregate", inputs=[f"safe/interactions+searches/..{DAY}@01"])

    step(does, "aggregate")
    read = events(home)[-1]["inputs"]
    assert [each["name"] for each in read] == ["safe/interactions", "safe/searches"]
    assert all("inputFacets" not in each or not each["inputFacets"] for each in read)  # nobody counted them


def test_a_judgement_tells_its_verdicts(put: Callable[..., Any], home: Path, step: Callable[..., int]) -> None:
    mark = put("toy", "safe", "reviews", [], DAY)
    house = warehouse("toy")
    house.refuse("safe", "reviews", Refusal("validate", "2017-01-02", ("x",), ("visitor is a pseudonym: 3",)))

    def does(args: Namespace) -> int:
        house.publish(mark, {"validation": {"warnings": ["has rows of the last 14 days: 20"]}})
        return 3

    assert step(does, "validate") == 3
    ended = events(home)[-1]
    assert ended["eventType"] == "FAIL"
    assert ended["run"]["facets"]["errorMessage"]["message"] == "exit code 3: a check refused"
    told = {a["description"]: a for a in ended["inputs"][0]["inputFacets"]["dataQualityAssertions"]["assertions"]}
    assert len(told) == len({one.words for one in expectations.suite("reviews")})
    assert {words for words, one in told.items() if not one["success"]} == {
        "visitor is a pseudonym",
        "has rows of the last 14 days",
    }
    assert (told["visitor is a pseudonym"]["severity"], told["visitor is a pseudonym"]["column"]) == (
        "error",
        "visitor",
    )


@pytest.mark.parametrize(
    ("fault", "state", "why"),
    [
        (Refused("the law is broken", do="run it again"), "FAIL", "the law is broken. To do: run it again."),
        (Problem("no rows"), "FAIL", "no rows."),
        (ValueError(f"could not convert '{SECRET}'"), "FAIL", "ValueError"),
        (SystemExit(1), "FAIL", "SystemExit"),
        (KeyboardInterrupt(), "ABORT", None),
    ],
)
def test_a_failure_passes_unchanged_and_quotes_no_row(
    fault: BaseException, state: str, why: str | None, home: Path, step: Callable[..., int]
) -> None:
    def does(args: Namespace) -> None:
        raise fault

    with pytest.raises(type(fault)) as raised:
        step(does)
    assert raised.value is fault
    ended = events(home)[-1]
    assert ended["eventType"] == state
    assert ended["run"]["facets"].get("errorMessage", {}).get("message") == why
    assert SECRET not in json.dumps(ended)


def test_the_step_goes_on_where_no_event_can_be_written(
    home: Path, step: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "toy").mkdir(parents=True)
    (home / "toy" / "lineage").write_text("a file where the folder should be")
    assert step(lambda args: 0) == 0
    assert "lineage event could not be written (FileExistsError); the step goes on" in capsys.readouterr().err


@pytest.fixture
def server() -> Iterator[tuple[str, list[tuple[str, str | None, Any]]]]:
    """An OpenLineage server on loopback, and what it was sent: path, authorisation, event."""
    got: list[tuple[str, str | None, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            got.append((self.path, self.headers.get("Authorization"), json.loads(body)))
            self.send_response(201)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as made:
        threading.Thread(target=made.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{made.server_port}", got
        made.shutdown()


def test_events_go_to_a_server_if_there_is_one(
    home: Path, step: Callable[..., int], server: tuple[str, list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    address, got = server
    monkeypatch.setenv("OPENLINEAGE_URL", address)
    monkeypatch.setenv("OPENLINEAGE_API_KEY", "k")
    assert step(lambda args: 0) == 0
    assert [(path, key, event["eventType"]) for path, key, event in got] == [
        ("/api/v1/lineage", "Bearer k", "START"),
        ("/api/v1/lineage", "Bearer k", "COMPLETE"),
    ]
    assert events(home) == []


def test_a_server_that_is_away_holds_nothing_up_and_loses_nothing(
    home: Path, step: Callable[..., int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OPENLINEAGE_URL", "http://127.0.0.1:9")  # nobody listens there
    assert step(lambda args: 0) == 0
    assert "OPENLINEAGE_URL did not take an event" in capsys.readouterr().err
    assert [event["eventType"] for event in events(home)] == ["START", "COMPLETE"]


def test_every_dated_step_is_traced_and_no_other_command() -> None:
    words = {
        "import": ["import", "sample"],
        "examples": ["examples", "encoder", "--shop", "s"],
        **{name: [name, "--shop", "s"] for name in ("clean", "anonymise", "validate", "aggregate", "materialise")},
    }
    for name, line in words.items():
        args = parser().parse_args(line)
        assert (args.step, args.command) == ("jobs.tracing:run", name)
        assert args.traced.endswith(":run")
    assert parser().parse_args(["tables", "--shop", "s"]).step == "jobs.showing:tables"


def test_a_real_command_tells_and_exits_as_ever(put: Callable[..., Any], home: Path) -> None:
    put("toy", "safe", "items", [{"item_id": "i", "title": "tea", **KNOWN}])
    done = subprocess.run(
        [sys.executable, "-m", "jobs", "examples", "recommender", "--shop", "toy"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: toy has no interactions to learn from")
    ended = events(home)[-1]
    assert (ended["eventType"], ended["job"]["name"]) == ("FAIL", "examples.recommender")
