"""A standalone Spark cluster on this machine: one master and two workers, on loopback."""

import os
import re
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MEMORY = "1g"


def _daemon(folder: Path, name: str, *words: str) -> "subprocess.Popen[bytes]":
    """A daemon of Spark in a process group of its own, its words in a file."""
    import pyspark

    home = Path(pyspark.__file__).parent
    environ = {**os.environ, "SPARK_HOME": str(home), "SPARK_LOCAL_IP": "127.0.0.1", "PYTHONPATH": str(ROOT),
               "SPARK_WORKER_DIR": str(folder / "work"), "SPARK_DAEMON_MEMORY": "256m"}  # fmt: skip
    with (folder / f"{name}.log").open("wb") as log:
        return subprocess.Popen([str(home / "bin" / "spark-class"), *words], env=environ, stdout=log, stderr=log,
                                start_new_session=True)  # fmt: skip


def _told(path: Path, pattern: str, seconds: float = 240) -> str:
    """What a daemon says in its log, waited for."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := re.search(pattern, path.read_text(errors="replace")):
            return found.group(1)
        time.sleep(0.2)
    raise TimeoutError(f"{path.name} did not say {pattern!r}: {path.read_text(errors='replace')[-500:]}")


@contextmanager
def cluster(folder: Path, workers: int = 2) -> Iterator[Mapping[str, str]]:
    """Settings for our steps' environment, while the cluster lives."""
    package = "org.apache.spark.deploy"
    running = [_daemon(folder, "master", f"{package}.master.Master", "--host", "127.0.0.1", "--port", "0",
                       "--webui-port", "0")]  # fmt: skip
    try:
        master = _told(folder / "master.log", r"Starting Spark master at (spark://\S+)")
        for n in range(workers):
            running.append(_daemon(folder, f"worker-{n}", f"{package}.worker.Worker", "--host", "127.0.0.1",
                                   "--cores", "1", "--memory", MEMORY, "--webui-port", "0", master))  # fmt: skip
        for n in range(workers):
            _told(folder / f"worker-{n}.log", r"(Successfully registered with master)")
        yield {
            "ENDCAP_SPARK_MASTER": master,
            "ENDCAP_SPARK_CONF": f"spark.executor.memory={MEMORY};spark.executor.cores=1;spark.driver.memory=1g;"
            "spark.driver.host=127.0.0.1;spark.driver.bindAddress=127.0.0.1",
        }
    finally:
        for daemon in reversed(running):
            daemon.terminate()
        for daemon in running:
            daemon.wait(timeout=30)
