"""The same steps on one JVM and on a cluster of a master and two workers: the same bytes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import kills
from tests.cluster import cluster

STEPS = ("clean", "anonymise")


@pytest.mark.long
def test_a_cluster_gives_the_bytes_of_one_machine(tmp_path: Path) -> None:
    alone = kills.imported(tmp_path / "alone")
    spread = kills.copied(alone, tmp_path / "spread")
    for step in STEPS:
        kills.finish(alone, step, "--shop", kills.SHOP)
    (tmp_path / "cluster").mkdir()
    with cluster(tmp_path / "cluster") as settings:
        for step in STEPS:
            done = subprocess.run([sys.executable, "-m", "jobs", step, "--shop", kills.SHOP], cwd=kills.ROOT,
                                  env={**os.environ, "ENDCAP_HOME": str(spread), **settings},
                                  capture_output=True, text=True)  # fmt: skip
            assert done.returncode == 0, done.stderr[-2000:]
        assert "Registered app" in (tmp_path / "cluster" / "master.log").read_text()  # it was not done locally
    found, broken = kills.visible(spread)
    assert broken == []
    assert found == kills.visible(alone)[0]
