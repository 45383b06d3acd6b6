"""The audit log: every command that touches the closed zone, no word of a row, and a change that shows."""

import argparse
import fcntl
import json
import os
import stat
import subprocess
import sys
import threading
from argparse import Namespace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from jobs import audit
from jobs.__main__ import parser as jobs_parser
from jobs.audit import append, audited, chain, log_file
from jobs.console import OK, Refused, run_command
from jobs.entry import entered
from models.__main__ import parser as models_parser

NOW = datetime(2026, 11, 22, 14, tzinfo=UTC)


@pytest.fixture
def shop(home: Path) -> str:
    (home / "toy" / "warehouse").mkdir(parents=True)
    return "toy"


def lines(shop: str) -> list[dict[str, object]]:
    return chain(log_file(shop)).lines


def every_command(parser: argparse.ArgumentParser) -> dict[str, argparse.Namespace]:
    """The commands of a parser by their names, with the defaults that each sets."""
    found = {}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, one in action.choices.items():
                inner = every_command(one)
                found |= {f"{name} {each}": value for each, value in inner.items()} or {name: one._defaults}
    return found


def test_every_command_is_known_as_open_or_is_written_down() -> None:
    """A command that nobody thought of here is written down: open ones are listed, and no others."""
    known = {**every_command(jobs_parser()), **every_command(models_parser())}
    assert set(known) >= audit.OPEN and set(audit.TOUCHES) <= set(known)
    assert not audit.OPEN & set(audit.TOUCHES)
    assert {"import", "clean", "anonymise", "quarantine", "features get", "retire", "reset", "rotate", "release",
            "recommend", "serve"} <= set(known) - audit.OPEN  # fmt: skip
    for name, defaults in known.items():
        assert " " in name or defaults["command"] == name


def test_a_command_is_written_down_before_and_after(shop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CTX_DAG_RUN_ID", "nightly-7")
    args = Namespace(shop=shop, command="features", what="get", visitor="household-7", query="my secret", stale=True)
    with audited(args, lambda: NOW) as ended:
        ended(OK)
    begins, ends = lines(shop)
    assert (begins["what"], begins["command"], begins["touches"]) == ("begins", "features get", ["keys"])
    assert begins["run"] == "nightly-7" and begins["user"] and begins["words"] == {"stale": "True"}
    assert (ends["what"], ends["exit"], ends["id"]) == ("ends", 0, begins["id"])
    text = log_file(shop).read_text()
    assert "household-7" not in text and "secret" not in text
    assert stat.S_IMODE(log_file(shop).stat().st_mode) == 0o600


@pytest.mark.parametrize(("fault", "code"), [(Refused("no"), 3), (ValueError("x"), 1), (KeyboardInterrupt(), 130)])
def test_an_end_that_is_a_fault_has_its_code(shop: str, fault: BaseException, code: int) -> None:
    with pytest.raises(type(fault)), audited(Namespace(shop=shop, command="clean")):
        raise fault
    assert [line.get("exit") for line in lines(shop)] == [None, code]


def test_what_was_pointed_to_is_told_by_table_and_days(shop: str, put: object) -> None:
    with audited(Namespace(shop=shop, command="anonymise")) as ended:
        for day in ("2020-01-02", "2020-01-01"):
            put(shop, "stats", "item_stats", [], day)  # type: ignore[operator]
        ended(OK)
    assert lines(shop)[-1]["wrote"] == ["stats/item_stats: 2 days, 2020-01-01 to 2020-01-02"]


def test_open_commands_and_shops_without_a_home_leave_no_line(home: Path, shop: str) -> None:
    for args in (Namespace(shop=shop, command="tables"), Namespace(command="doctor"),
                 Namespace(shop="smaple", command="clean")):  # fmt: skip
        with audited(args):
            pass
    assert not log_file(shop).exists() and not (home / "smaple").exists()


def test_a_change_a_gap_and_a_cut_end_show(shop: str, capsys: pytest.CaptureFixture[str]) -> None:
    heads = [append(shop, {"at": str(n), "command": f"c{n}"}) for n in range(5)]
    path, words = log_file(shop), Namespace(shop=shop, verify=True, head=heads[2], last_lines=3)
    whole = path.read_bytes()
    assert audit.run(words) == 0 and heads[-1] in capsys.readouterr().out
    rows = whole.splitlines(keepends=True)
    for changed, place in ((whole.replace(b"c1", b"cX"), 3), (b"".join(rows[:2] + rows[3:]), 3),
                           (b"".join([rows[1], rows[0], *rows[2:]]), 1)):  # fmt: skip
        path.write_bytes(changed)
        with pytest.raises(Refused, match=f"line {place} does not hold"):
            audit.run(words)
    path.write_bytes(b"".join(rows[:2]))  # a chain that is cut short is whole; an earlier head is missed
    audit.run(Namespace(**{**vars(words), "head": None}))
    with pytest.raises(Refused, match="the end was cut off"):
        audit.run(words)


def test_a_line_that_a_kill_cut_short_is_closed_and_part_of_the_chain(shop: str) -> None:
    append(shop, {"command": "a"})
    with log_file(shop).open("ab") as stream:
        stream.write(b'{"command": "b", "bef')
    append(shop, {"command": "c"})
    found = chain(log_file(shop))
    assert (found.broken, found.torn, [line["command"] for line in found.lines]) == ([], [2], ["a", "c"])
    text = log_file(shop).read_bytes()
    log_file(shop).write_bytes(text.replace(b'"b"', b'"x"'))  # not even in such a line does a change pass
    assert chain(log_file(shop)).broken == [3]


def test_long_lines_are_read_backwards_whole(shop: str) -> None:
    for size in (10, 70_000, 200_000, 5):
        append(shop, {"pad": "é" * size})
    assert chain(log_file(shop)).broken == [] and len(lines(shop)) == 4


def test_writers_take_turns(shop: str) -> None:
    """Whoever would write while another does waits, so that no two lines name the same one before them."""
    folder = log_file(shop).parent
    folder.mkdir()
    with (folder / ".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        writer = threading.Thread(target=append, args=(shop, {"n": 1}))
        writer.start()
        writer.join(0.5)
        assert writer.is_alive() and not log_file(shop).exists()
        fcntl.flock(lock, fcntl.LOCK_UN)
    writer.join()
    assert len(lines(shop)) == 1


def test_the_door_of_both_rooms_leads_by_it(home: Path, shop: str) -> None:
    """The real command line, in a process of its own."""
    environ = {**os.environ, "ENDCAP_HOME": str(home)}
    words = [sys.executable, "-m", "jobs", "quarantine", "--shop", shop]
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=environ)
    ends = lines(shop)[-1]
    assert (ends["command"], ends["exit"]) == ("quarantine", done.returncode)
    assert stat.S_IMODE((home / shop / "audit").stat().st_mode) == 0o700
    for room in ("jobs", "models"):
        text = (Path(__file__).parents[2] / room / "__main__.py").read_text()
        assert "around=entered" in text


def test_a_command_that_cannot_be_written_down_does_not_run(
    shop: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> str:
        raise OSError(28, "no space left")

    monkeypatch.setattr(audit, "append", full)
    assert run_command(jobs_parser(), ["quarantine", "--shop", shop], around=entered) == 1
    assert capsys.readouterr().out == ""


def test_no_line_is_anything_but_json(shop: str) -> None:
    append(shop, {"words": "a\nb\u2028c"})
    assert len(log_file(shop).read_bytes().split(b"\n")) == 2
    assert json.loads(log_file(shop).read_text())["words"] == "a\nb\u2028c"
