"""The same steps on one JVM and on a cluster of a master and two workers: the same bytes."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests import kills
from tests.cluster import cluster

STEPS = """
import sys
from jobs.__main__ import parser
from jobs.console import run_command
from jobs.spark import session

with session("cluster"):  # one application for all steps
    sys.exit(max(run_command(parser(), [step, "--shop", sys.argv[1]]) for step in sys.argv[2:]))
"""
SHARED_OUT = "spark.sql.shuffle.partitions=3;spark.buffer.pageSize=1m"
"""Among another number of tasks than on one machine."""


@pytest.mark.long
def test_a_cluster_gives_the_bytes_of_one_machine(tmp_path: Path, undisturbed: kills.Undisturbed) -> None:
    steps = list(undisturbed.before)
    spread = kills.copied(undisturbed.before[steps[0]], tmp_path / "spread")
    (tmp_path / "cluster").mkdir()
    with cluster(tmp_path / "cluster") as found:
        settings = {**found, "ENDCAP_SPARK_CONF": f"{found['ENDCAP_SPARK_CONF']};{SHARED_OUT}"}
        done = subprocess.run([sys.executable, "-c", STEPS, kills.SHOP, *steps], cwd=kills.ROOT,
                              env=kills.environ(spread, **settings), capture_output=True, text=True)  # fmt: skip
        assert done.returncode == 0, done.stderr[-2000:]
        assert "Registered app" in (tmp_path / "cluster" / "master.log").read_text()  # it was not done locally
    assert kills.visible(spread) == kills.visible(undisturbed.after[steps[-1]])
