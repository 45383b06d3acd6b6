"""Steps killed in the middle and run again, and a training run twice, give the same bytes: the real commands, one after
another on one small generated shop. (The steps before these are killed in test_kills.py.)
"""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from jobs.features import look_up
from jobs.warehouse import warehouse
from tests import kills
from tests.crashing import STRUCK, crashing

STEPS = (["materialise"], ["examples", "recommender"])
LOAD = """
import duckdb, jobs.examples, jobs.materialising, jobs.feast_store, pandas, pyarrow.compute, pyarrow.parquet
from jobs.feature_store import load_feast
load_feast()
"""


def answers(home: Path) -> list[Any]:
    """What the online store of a home answers for every item, with the times of the values."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ENDCAP_HOME", str(home))
        items = warehouse(kills.SHOP).read("safe", "items", columns=["item_id"])["item_id"].to_pylist()
        return [vars(found) for found in look_up(kills.SHOP, "items", [{"item_id": item} for item in sorted(items)])]


def learn(home: Path, *words: str) -> None:
    """A command of the learning room, in a process of its own."""
    done = subprocess.run([sys.executable, "-m", "models", *words, "--shop", kills.SHOP], env=kills.environ(home),
                          cwd=kills.ROOT, capture_output=True, text=True)  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]


def bundle(home: Path) -> dict[str, str]:
    """SHA-256 of every file of the newest bundle of recommendations."""
    folders = (home / kills.SHOP / "bundles" / "recommend").iterdir()
    newest = max((folder for folder in folders if folder.name.isdigit()), key=lambda folder: int(folder.name))
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in newest.iterdir()}


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")  # of Feast
def test_each_step_killed_and_run_again_and_training_twice_give_the_same_bytes(
    tmp_path: Path, undisturbed: kills.Undisturbed, run_here: kills.Run
) -> None:
    home = tmp_path / "home"
    shutil.copytree(undisturbed.after["anonymise"], home)  # no links: databases are written in place
    for name in ("validate", "aggregate"):
        run_here(home, name, "--shop", kills.SHOP)
    with crashing(LOAD) as crash:
        for step in STEPS:
            now = shutil.copytree(home, tmp_path / step[0])
            before = kills.visible(home)[0]
            code, _, took = crash(home, 0, *step, "--shop", kills.SHOP)
            assert code == 0, step
            after, told = kills.visible(home), answers(home)
            assert crash(now, took * 0.7, *step, "--shop", kills.SHOP).code == STRUCK, step
            assert kills.judge(now, before, after[0]) == "", step
            assert crash(now, 0, *step, "--shop", kills.SHOP).code == 0, step
            assert (kills.visible(now), answers(now)) == (after, told), step

    made = []
    for _ in range(2):
        learn(home, "train", "recommender")
        made.append(bundle(home))
    assert made[0] == made[1]
    assert {"scorer.safetensors", "bundle.json"} <= set(made[0])
