"""Processes are ended whole, and never the wrong one."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.house import processes

SLEEP = "import time; time.sleep(60)"
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(60)"
)


def start(code: str, home: Path, **marks: str) -> "subprocess.Popen[str]":
    environ = {**os.environ, "ENDCAP_HOME": str(home), **marks}
    return subprocess.Popen(
        [sys.executable, "-c", code], env=environ, start_new_session=True, text=True, stdout=subprocess.PIPE
    )


@pytest.fixture
def sleeper(tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    child = start(SLEEP, tmp_path, ENDCAP_TEST="a")
    yield child
    child.kill()
    child.wait()


def test_a_process_is_its_id_and_its_start(sleeper: "subprocess.Popen[str]") -> None:
    began = processes.started(sleeper.pid)
    assert began is not None and processes.alive(sleeper.pid, began)
    assert not processes.alive(sleeper.pid, began + 1), "another program with the same id"


def test_a_zombie_is_not_alive(tmp_path: Path) -> None:
    child = start("", tmp_path)
    time.sleep(1.0)
    assert processes.started(child.pid) is None
    child.wait()


def test_marked_finds_only_this_home_and_value(sleeper: "subprocess.Popen[str]", tmp_path: Path) -> None:
    time.sleep(0.3)
    assert processes.marked("ENDCAP_TEST", "a", tmp_path) == [sleeper.pid]
    assert processes.marked("ENDCAP_TEST", None, tmp_path) == [sleeper.pid]
    assert processes.marked("ENDCAP_TEST", "b", tmp_path) == []
    assert processes.marked("ENDCAP_TEST", "a", tmp_path / "other") == []


def test_grandchildren_inherit_the_mark(tmp_path: Path) -> None:
    nested = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {SLEEP!r}], start_new_session=True)"
    start(nested, tmp_path, ENDCAP_TEST="c").wait()
    left = processes.marked("ENDCAP_TEST", "c", tmp_path)
    assert len(left) == 1
    assert processes.end(left) == []
    assert processes.marked("ENDCAP_TEST", "c", tmp_path) == []


def test_a_stubborn_process_is_killed(tmp_path: Path) -> None:
    child = start(STUBBORN, tmp_path)
    assert child.stdout is not None and child.stdout.readline() == "ready\n"
    began = time.monotonic()
    assert processes.end([child.pid], patience=0.5) == [child.pid]
    assert 0.4 < time.monotonic() - began < 5
    assert processes.started(child.pid) is None


def test_memory_is_measured(sleeper: "subprocess.Popen[str]") -> None:
    time.sleep(0.5)
    assert 1 << 20 < processes.proportional_memory([sleeper.pid]) < 1 << 28
    assert processes.proportional_memory([2**22 + 1]) == 0
