"""The parts of serving, one by one: keys, journal, feedback, receipts, edge, reasons, ports."""

import fcntl
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from jobs import tombstones
from jobs.console import Problem
from jobs.warehouse import warehouse
from models.serving import reasons
from models.serving.app import bind
from models.serving.edge import NOBODY, Edge
from models.serving.faults import Fault
from models.serving.feedback import Feedback
from models.serving.journal import Journal
from models.serving.keys import key_path, load_or_create, same
from models.serving.receipts import Receipts, trace

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def by_id(event: dict[str, Any]) -> str:
    return str(event["event_id"])


def nobody(visitor_id: str) -> bool:
    """Who was erased: nobody."""
    return False


def test_the_key_is_made_once_long_and_for_its_owner_only(home: Path) -> None:
    key = load_or_create("s")
    assert len(key) >= 43 and load_or_create("s") == key and mode(key_path("s")) == 0o600
    assert [path.name for path in key_path("s").parent.iterdir()] == ["api.key"]


def test_a_key_that_others_may_read_or_that_is_short_is_refused(home: Path) -> None:
    load_or_create("s")
    key_path("s").chmod(0o640)
    with pytest.raises(Problem, match="can be read by others"):
        load_or_create("s")
    key_path("s").chmod(0o600)
    key_path("s").write_text("short\n")
    with pytest.raises(Problem, match="too short"):
        load_or_create("s")


def test_keys_are_compared_whole() -> None:
    assert same("abc", "abc")
    assert not any(same(given, "abc") for given in ("", "ab", "abcd", "ABC", "é", "\ud800"))


APPEND_MANY = """
import json, sys
from pathlib import Path
from models.serving.journal import Journal
journal = Journal(Path(sys.argv[1]))
for n in range(50):
    with journal.turn():
        row = lambda start: [json.dumps({"at": start, "w": int(sys.argv[2]), "n": n}).encode() + bytes([10])]
        journal.append("d", row, durable=False)
"""


def test_processes_that_write_at_once_lose_nothing_and_know_where_each_line_is(tmp_path: Path) -> None:
    writers = [subprocess.Popen([sys.executable, "-c", APPEND_MANY, str(tmp_path), str(w)]) for w in range(3)]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    journal = Journal(tmp_path)
    rows, _ = journal.lines("d")
    assert {(row["w"], row["n"]) for row in rows} == {(w, n) for w in range(3) for n in range(50)}
    assert all(journal.line_at("d", row["at"]) == row for row in rows)
    assert mode(journal.path("d")) == 0o600


def test_a_line_cut_short_by_a_crash_is_closed_and_costs_no_other(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    with journal.turn():
        journal.append("d", lambda start: [b'{"n": 1}\n'], durable=True)
    with journal.path("d").open("ab") as stream:
        stream.write(b'{"n": 2, "tor')
    assert [row["n"] for row in journal.lines("d")[0]] == [1]
    with journal.turn():
        at = journal.append("d", lambda start: [b'{"n": 3}\n'], durable=True)
    assert [row["n"] for row in journal.lines("d")[0]] == [1, 3] and journal.line_at("d", at) == {"n": 3}


def test_an_event_is_known_to_every_process_and_after_midnight(home: Path) -> None:
    now = [NOON]
    one, other = (Feedback("s", by_id, nobody, lambda: now[0]) for _ in range(2))
    event = {"event_id": "e", "visitor_id": "家 42"}
    assert one.append([event]) == [True] and other.append([event]) == [False]
    now[0] = NOON.replace(month=2, day=1)
    assert one.append([event]) == [False] and Feedback("s", by_id, nobody, lambda: now[0]).append([event]) == [False]
    now[0] = NOON.replace(month=2, day=2)
    assert one.append([event]) == [True], "two days on it is a copy, for clean to drop"
    files = sorted(path.name for path in (home / "s" / "feedback").glob("*.jsonl"))
    assert files == ["2026-01-31.jsonl", "2026-02-02.jsonl"]
    assert mode(home / "s" / "feedback" / files[0]) == 0o600 and mode(home / "s" / "feedback") == 0o700


def test_who_was_erased_is_looked_up_while_nobody_else_writes(home: Path) -> None:
    def gone(visitor_id: str) -> bool:
        with (home / "s" / "feedback" / ".lock").open("a") as lock, pytest.raises(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return visitor_id == "gone"

    log = Feedback("s", by_id, gone, lambda: NOON)
    events = [{"event_id": who, "visitor_id": who} for who in ("gone", "stays", "gone", "stays")]
    assert log.append(events) == [True, False] and log.append(events[:1]) == []
    assert [row["visitor_id"] for row in log.journal.lines("2026-01-31")[0]] == ["stays"]


def test_an_account_kept_under_an_erased_one_is_erased_with_it(put: Callable[..., Any], home: Path) -> None:
    link = {"visitor_id": "twin", "kept_id": "ann", "evidence": "e-mail", "merged": True, "known_time": NOON}
    put("s", "clean", "visitor_links", [{**link, "simulated": False}])
    edge, house = Edge("s"), warehouse("s")
    assert edge("twin") == edge("ann") != edge("bob")
    tombstones.bury(house, ["ann"], 1)
    assert edge("twin") == edge("ann") == NOBODY and edge("bob").startswith("v1_")
    assert [edge.erased(who) for who in ("twin", " ann ", "bob", "")] == [True, True, False, False]
    tombstones.bury(house, ["bob"], 2)  # the ledger has grown: it is read again
    assert edge("bob") == NOBODY


def test_one_request_may_hold_an_event_twice_but_not_two_with_one_id(home: Path) -> None:
    log = Feedback("s", by_id, nobody, lambda: NOON)
    assert log.append([{"event_id": "a"}, {"event_id": "b"}, {"event_id": "a"}]) == [True, True, False]
    with pytest.raises(Fault) as refused:
        log.append([{"event_id": "c"}, {"event_id": "c", "x": 1}])
    assert refused.value.status == 409
    assert [row["event_id"] for row in log.journal.lines("2026-01-31")[0]] == ["a", "b"]


def test_threads_that_send_the_same_event_write_it_once(home: Path) -> None:
    log, new = Feedback("s", by_id, nobody, lambda: NOON), []
    threads = [threading.Thread(target=lambda: new.extend(log.append([{"event_id": "e"}]))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(new) == [False] * 7 + [True]


def test_a_receipt_is_found_by_its_id_alone(home: Path) -> None:
    receipts = Receipts("s", lambda: NOON)
    ids = [receipts.write({"n": n, "text": "é" * n}) for n in range(20)]
    assert [receipts.read(each)["n"] for each in ids] == list(range(20))
    day, offset, nonce = ids[3].rsplit("-", 2)
    for wrong in (
        f"{day}-{offset}-{'0' * 16}",
        f"{day}-1-{nonce}",
        f"{day}-ffff-{nonce}",
        "",
        "..",
        f"2026-02-30-0-{nonce}",
    ):
        with pytest.raises(Fault) as missing:
            receipts.read(wrong)
        assert missing.value.status == 404


def test_trace_follows_inputs_to_files_and_names_what_was_replaced(put: Any) -> None:
    from jobs.warehouse import up_to, warehouse

    house = warehouse("s", must_exist=False)
    marks = {}
    for zone, inputs, notes in (
        ("raw", [], {"files": {"items.csv": "a" * 64}}),
        ("clean", ["raw"], {}),
        ("safe", ["clean"], {}),
    ):
        with house.attempt(zone, "items") as attempt:
            marks[zone] = house.publish(
                house.propose(attempt, "whole", step="t", inputs=[marks[i] for i in inputs], notes=notes)
            )
    name = up_to("safe", ["items"], [marks["safe"]])["whole"]  # one name for many leads there too
    found = trace("s", [name])
    assert [each["name"] for each in found["partitions"]][:2] == [marks["clean"].name, marks["raw"].name]
    assert [each["inputs"] for each in found["partitions"] if each["name"] == name] == [[marks["safe"].name]]
    assert found["files"] == [{"file": "items.csv", "sha256": "a" * 64}] and found["missing"] == []
    put("s", "clean", "items", [{"item_id": "a"}])
    found = trace("s", [name])
    assert found["files"] == [] and found["missing"] == [marks["clean"].name]


@pytest.mark.parametrize("name", ["", "safe", "safe/items", "nix/items/whole@a", "safe/nix/whole@a",
                                  "safe/items/../../x@a", "/etc/passwd",
                                  "safe/items/.hidden@a"])  # fmt: skip
def test_a_name_that_is_no_mark_leads_nowhere(put: Any, name: str) -> None:
    from jobs.warehouse import warehouse

    put("s", "safe", "items", [])
    assert warehouse("s").find(name) is None


def test_the_edge_gives_the_pseudonym_of_jobs_and_refuses_what_is_no_id(home: Path) -> None:
    from jobs.pseudonyms import load_key, pseudonym

    edge = Edge("s")
    assert edge("household-42") == pseudonym(load_key("s"), "household-42") and "household" not in edge("household-42")
    for wrong in ("", " a", "a ", "a\n", "\0", "x" * 201, "\ud800"):
        with pytest.raises(Fault) as refused:
            edge(wrong)
        assert refused.value.status == 400 and (len(wrong) < 3 or wrong not in str(refused.value))


def test_a_reason_is_said_in_words() -> None:
    assert reasons.of_search({"vector_rank": 2}, []) == "similar meaning"
    assert (
        reasons.of_search({"lexical_rank": 1, "same_text": 3}, ["milk"])
        == "matches the word 'milk'; one of 3 items with this text"
    )
    assert reasons.bought(2, 0.1) == "bought twice, today"


def test_a_taken_port_is_passed_over_and_said(capsys: pytest.CaptureFixture[str]) -> None:
    with bind("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with bind("127.0.0.1", port) as second:
            assert port < second.getsockname()[1] < port + 20 and second.getsockname()[0] == "127.0.0.1"
            assert f"port {port} is taken; using {second.getsockname()[1]}" in capsys.readouterr().err


def test_an_address_of_another_machine_is_a_problem() -> None:
    with pytest.raises(Problem, match="cannot be bound"):
        bind("192.0.2.1", 8200)
    with pytest.raises(Problem, match="cannot be bound"):
        bind("no such host", 8200)
