"""Runs in MLflow: parameters, metrics with their intervals, data partitions, code, artifacts.

The store is SQLite under $ENDCAP_HOME/mlflow unless MLFLOW_TRACKING_URI names another. MLflow costs six
seconds to import, so it is imported when a run starts. A run never stays RUNNING for ever: one that
raises ends FAILED, one that was killed is closed as FAILED by the next start on the same machine.
"""

import fcntl
import os
import socket
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from jobs.console import say
from jobs.warehouse import code_version, home
from models.statistics import Interval

WHERE = "MLFLOW_TRACKING_URI"
PROCESS, HOST = "endcap.process", "endcap.host"


def tracking_uri() -> str:
    """Where runs are kept."""
    return os.environ.get(WHERE) or f"sqlite:///{home() / 'mlflow' / 'mlflow.db'}"


@contextmanager
def locked(name: str = "mlflow") -> Iterator[None]:
    """One process at a time: the store's first start makes its tables, and versions are numbered in turn."""
    path = home() / "mlflow" / f".{name}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def client() -> Any:
    """MLflow's client on our store, its telemetry off; tables are made at the first use."""
    return _client(tracking_uri())


@cache
def _client(uri: str) -> Any:
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("DO_NOT_TRACK", "true")
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    # A server that does not answer is told of in seconds: 7 tries of 120 seconds each, with pauses, are its own ways.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its many dependencies, at import
        import mlflow
        from mlflow.tracking import MlflowClient

        _quiet()
        told = os.environ.get(WHERE)
        with locked("start"):
            mlflow.set_tracking_uri(uri)
            if told is None:
                os.environ.pop(WHERE, None)  # MLflow sets it; another home in this process has another store
            made = MlflowClient(tracking_uri=uri, registry_uri=uri)
            made.search_experiments(max_results=1)
    return made


def _quiet() -> None:
    """Its migrations tell thirty lines of tables; errors are still told."""
    import logging

    for name in ("alembic", "mlflow.store.db.utils", "mlflow"):
        logging.getLogger(name).setLevel(logging.ERROR)


def process_id(pid: int | None = None) -> str:
    """A process by id and start, so that a later one with the same id is not taken for it; '' if it is gone."""
    pid = os.getpid() if pid is None else pid
    try:
        return f"{pid}:{Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[19]}"
    except (OSError, IndexError):
        return str(pid) if pid == os.getpid() else ""


def experiment(live: Any, shop: str, name: str) -> str:
    """Id of the experiment of one bundle; made at the first use, its artifacts beside the store."""
    with locked("start"):
        found = live.get_experiment_by_name(f"{shop}.{name}")
        if found is not None:
            return str(found.experiment_id)
        place = None if tracking_uri().startswith("http") else (home() / "mlflow" / "artifacts").as_uri()
        return str(live.create_experiment(f"{shop}.{name}", artifact_location=place))


def close_orphans(live: Any, experiment_id: str) -> int:
    """Mark runs FAILED whose process, on this machine, is gone; returns how many."""
    mine = f"attributes.status = 'RUNNING' and tags.`{HOST}` = '{socket.gethostname()}'"
    closed = 0
    for found in live.search_runs([experiment_id], mine):
        process = found.data.tags.get(PROCESS, "0:0")
        if process_id(int(process.partition(":")[0])) != process:
            live.set_tag(found.info.run_id, "endcap.end", "its process was gone")
            live.set_terminated(found.info.run_id, status="FAILED")
            closed += 1
    return closed


def _named(name: str) -> str:
    return name.replace("@", "_at_")


@dataclass(frozen=True)
class Run:
    """A run that is going on."""

    id: str
    live: Any

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Numbers by name, in one write; MLflow has no '@' in a name, so it becomes '_at_'."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self.live.log_batch(self.id, metrics=[Metric(_named(n), float(v), now, step) for n, v in values.items()])

    def intervals(self, values: Mapping[str, Interval | Mapping[str, Any]]) -> None:
        """Metrics and the ends of their intervals: NAME, NAME.low, NAME.high; an end that nobody knows is left out."""
        flat: dict[str, float | None] = {}
        for name, interval in values.items():
            found = interval.as_dict() if isinstance(interval, Interval) else interval
            flat |= {name: found["mean"], f"{name}.low": found["low"], f"{name}.high": found["high"]}
        self.metrics({name: value for name, value in flat.items() if value is not None})

    def interval(self, name: str, interval: Interval | Mapping[str, Any]) -> None:
        """One metric with its interval."""
        self.intervals({name: interval})

    def params(self, values: Mapping[str, Any]) -> None:
        """Parameters; a name is given once in a run."""
        from mlflow.entities import Param

        self.live.log_batch(self.id, params=[Param(_named(name), str(value)) for name, value in values.items()])

    def tags(self, values: Mapping[str, Any]) -> None:
        """Words to find the run by."""
        from mlflow.entities import RunTag

        self.live.log_batch(self.id, tags=[RunTag(name, str(value)[:4000]) for name, value in values.items()])

    def artifact(self, path: Path) -> None:
        """Keep a copy of a file, or of all files of a folder, with the run."""
        if path.is_dir():
            self.live.log_artifacts(self.id, str(path), path.name)
        else:
            self.live.log_artifact(self.id, str(path))


@contextmanager
def run(
    shop: str, name: str, params: Mapping[str, Any], *, step: str = "train", data: Iterable[str] = ()
) -> Iterator[Run]:
    """A run of `step` on the bundle `name` of `shop`: FINISHED at the end, FAILED on an exception or Ctrl-C."""
    live = client()
    where = experiment(live, shop, name)
    if closed := close_orphans(live, where):
        say(f"closed {closed} run(s) whose process was gone")
    tags = {
        PROCESS: process_id(), HOST: socket.gethostname(), "endcap.shop": shop, "endcap.step": step,
        "mlflow.source.git.commit": code_version().partition("+")[2], "mlflow.source.name": f"python -m models {step}",
        "endcap.code": code_version(),
    }  # fmt: skip
    made = Run(live.create_run(where, run_name=f"{step} {name}", tags=tags).info.run_id, live)
    try:
        made.params(params)
        live.log_text(made.id, "\n".join(data) + "\n", "data.txt")
        made.tags({"endcap.data": ", ".join(data)})
        yield made
    except BaseException as fault:
        made.tags({"endcap.end": f"{type(fault).__name__}: {fault}"})
        live.set_terminated(made.id, status="FAILED")
        raise
    live.set_terminated(made.id, status="FINISHED")
