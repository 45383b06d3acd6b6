"""Reset lists exactly what goes, and takes nothing else."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


def reset(home: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "jobs", "reset", *words],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "ENDCAP_HOME": str(home)},
        stdin=subprocess.DEVNULL,
    )


@pytest.fixture
def two_shops(home: Path) -> Path:
    for shop in ("sample", "grocer"):
        (home / shop / "warehouse").mkdir(parents=True)
        (home / shop / "warehouse" / "file").write_text("12345")
    (home / "mlflow").mkdir()
    return home


def test_dry_run_lists_and_takes_nothing(two_shops: Path) -> None:
    done = reset(two_shops, "--shop", "sample", "--dry-run")
    assert done.returncode == 0
    assert str(two_shops / "sample" / "warehouse") in done.stdout
    assert "grocer" not in done.stdout
    assert (two_shops / "sample" / "warehouse" / "file").exists()


def test_yes_takes_one_shop_only(two_shops: Path) -> None:
    assert reset(two_shops, "--shop", "sample", "--yes").returncode == 0
    assert not (two_shops / "sample").exists()
    assert (two_shops / "grocer" / "warehouse" / "file").exists()


def test_a_program_must_say_yes(two_shops: Path) -> None:
    done = reset(two_shops, "--shop", "sample")
    assert done.returncode == 2
    assert "--yes" in done.stderr
    assert (two_shops / "sample").exists()


@pytest.mark.parametrize("name", ["smaple", "mlflow", "..", ".", "sample/warehouse", "/"])
def test_only_a_shop_can_be_reset(two_shops: Path, name: str) -> None:
    done = reset(two_shops, "--shop", name, "--yes")
    assert done.returncode == 2, done.stdout
    assert (two_shops / "sample" / "warehouse" / "file").exists()
    if name == "smaple":
        assert "did you mean 'sample'?" in done.stderr


def test_a_shop_that_is_served_is_not_reset(two_shops: Path) -> None:
    import json

    from jobs.house import processes

    record = {
        "name": "api",
        "pid": os.getpid(),
        "started": processes.started(os.getpid()),
        "port": 1,
        "health": "",
        "shop": "sample",
        "log": "",
    }
    (two_shops / "run").mkdir()
    (two_shops / "run" / "api.json").write_text(json.dumps(record))
    done = reset(two_shops, "--shop", "sample", "--yes")
    assert done.returncode == 1
    assert "make down" in done.stderr
    assert (two_shops / "sample").exists()
    assert reset(two_shops, "--shop", "grocer", "--yes").returncode == 0
