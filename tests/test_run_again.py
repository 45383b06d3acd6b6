"""Steps killed in the middle and run again, and a training run twice, give the same bytes: the real commands, one after
another on one small generated shop. (The steps before these are killed in test_kills.py.)
"""

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jobs.tables import ZONES
from jobs.warehouse import State, Warehouse

ROOT = Path(__file__).resolve().parents[1]
SHOP = "sample"
BEFORE = ("clean", "anonymise", "validate", "aggregate")
STEPS = (["materialise"], ["examples", "recommender"])
ANSWERS = """
import json
from jobs.features import look_up
from jobs.warehouse import warehouse

rows = warehouse("sample").read("safe", "items", columns=["item_id"])
asked = [{"item_id": item} for item in sorted(rows["item_id"].to_pylist())]
print(json.dumps([vars(found) for found in look_up("sample", "items", asked)], default=str))
"""


def start(home: Path, words: list[str]) -> subprocess.Popen[str]:
    """One command, in a group of its own."""
    environ = {**os.environ, "ENDCAP_HOME": str(home)}
    return subprocess.Popen(
        [sys.executable, "-m", *words], env=environ, cwd=ROOT, text=True, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip


def finish(home: Path, words: list[str]) -> float:
    """Run a command to its end; seconds."""
    began = time.monotonic()
    running = start(home, words)
    _, told = running.communicate(timeout=300)
    assert running.returncode == 0, told[-2000:]
    return time.monotonic() - began


def marked(home: Path) -> dict[str, str]:
    """The hash of every partition that is proposed or published, by its name."""
    house = Warehouse(SHOP, home / SHOP / "warehouse")
    names = [(zone, folder.name) for zone in ZONES for folder in (house.root / zone).glob("*")]
    states: tuple[State, ...] = ("proposed", "published")
    return {
        f"{state} {zone}/{name}/{mark.day}": mark.sha256
        for zone, name in names
        for state in states
        for mark in house.marks(zone, name, state=state)
    }


def answers(home: Path) -> str:
    """What the online store answers for every item, with the times of the values."""
    environ = {**os.environ, "ENDCAP_HOME": str(home)}
    done = subprocess.run([sys.executable, "-c", ANSWERS], env=environ, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def bundle(home: Path) -> dict[str, str]:
    """SHA-256 of every file of the newest bundle of recommendations."""
    folders = (home / SHOP / "bundles" / "recommend").iterdir()
    newest = max((folder for folder in folders if folder.name.isdigit()), key=lambda folder: int(folder.name))
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in newest.iterdir()}


@pytest.mark.long
def test_each_step_killed_and_run_again_and_training_twice_give_the_same_bytes(tmp_path: Path) -> None:
    home = tmp_path / "home"
    finish(home, ["jobs", "import", SHOP, "--scale", "0.1"])
    for name in BEFORE:
        finish(home, ["jobs", name, "--shop", SHOP])
    for step in STEPS:
        words = ["jobs", *step, "--shop", SHOP]
        took = finish(home, words)
        first = marked(home)
        told = answers(home) if step == ["materialise"] else ""
        running = start(home, words)
        time.sleep(took * 0.7)
        os.killpg(running.pid, signal.SIGKILL)
        running.communicate()
        assert set(marked(home)) == set(first), step  # each partition is the old one or the new one, and whole
        finish(home, words)
        assert marked(home) == first, step
        assert not told or told == answers(home)

    finish(home, ["models", "baseline", "recommend", "--shop", SHOP])
    made = []
    for _ in range(2):
        finish(home, ["models", "train", "recommender", "--shop", SHOP])
        made.append(bundle(home))
    assert made[0] == made[1]
    assert {"scorer.safetensors", "bundle.json"} <= set(made[0])
