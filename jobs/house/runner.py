"""Runs DAGs in this process with Airflow's own `dag.test()`: no scheduler, the same database, the same grid.

    python -m jobs.house.runner PROGRESS '[[["refresh_data", {"shop": "sample"}]], ...]'

The plan is a list of stages, each a list of runs (DAG, conf) that go side by side, as the scheduler would have them.
One JSON line for each task that starts or ends goes to the file PROGRESS; Airflow's own talk goes to standard
output. Exit code 0 if all runs succeed, 1 otherwise; a stage begins only if the one before it succeeded.
"""

import json
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from jobs.house.environment import dags_folder
from jobs.spark import kept_jvm

TABLES = "refresh_data"  # the DAG whose steps use Spark
SAMPLE = "sample"  # the shop that is known to be small before its rows are counted
BY = "dag_test"  # the user under whom Airflow files runs of dag.test()


def load(dag_id: str) -> Any:
    """A DAG of our folder; any import error there is an error here."""
    from airflow.dag_processing.dagbag import BundleDagBag

    folder = dags_folder()
    bag = BundleDagBag(dag_folder=str(folder), bundle_path=folder, bundle_name="dags-folder")
    if bag.import_errors:
        raise RuntimeError("; ".join(f"{Path(k).name}: {v.splitlines()[-1]}" for k, v in bag.import_errors.items()))
    return bag.dags[dag_id]


def close_stale_runs(dag_id: str) -> int:
    """Runs of ours that a crash left `running` are failed, so that no scheduler ever takes them up again."""
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session
    from airflow.utils.state import DagRunState
    from sqlalchemy import select

    with create_session() as session:
        stale = session.scalars(
            select(DagRun).where(
                DagRun.dag_id == dag_id, DagRun.state == DagRunState.RUNNING, DagRun.triggering_user_name == BY
            )
        ).all()
        for run in stale:
            run.state = DagRunState.FAILED
        return len(stale)


def watched(dag: Any, tell: Callable[..., None]) -> Any:
    """The DAG, telling of each task that is not skipped when it starts and how it ends.

    A failure is final: a person is watching.
    """

    def started(context: Any) -> None:
        if getattr(context["task"], "when", "yes") == "yes":
            tell(event="start", task=context["ti"].task_id)

    def ended(state: str) -> Callable[[Any], None]:
        def told(context: Any) -> None:
            fault = context.get("exception")
            tell(event="end", task=context["ti"].task_id, state=state, why=str(fault)[:500] if fault else "")

        return told

    for task in dag.tasks:
        task.retries = 0
        task.on_execute_callback = [started]
        task.on_success_callback = [ended("success")]
        task.on_failure_callback = [ended("failed")]
    return dag


def perform(progress: Path, dag_id: str, conf: dict[str, Any]) -> bool:
    """Run one DAG to its end; whether it succeeded."""
    with progress.open("a", encoding="utf-8") as stream:

        def tell(**what: Any) -> None:
            stream.write(json.dumps({"dag": dag_id, "at": time.time(), **what}) + "\n")
            stream.flush()

        try:
            run = watched(load(dag_id), tell).test(run_conf=conf)
        except Exception as fault:
            tell(event="refused", why=f"{type(fault).__name__}: {str(fault).splitlines()[0][:300]}")
            return False
        tell(event="done", state=str(run.state), run=run.run_id)
        return str(run.state) == "success"


def alone(*run: Any) -> None:
    """`perform`, in a process of its own."""
    sys.exit(0 if perform(*run) else 1)


def side_by_side(progress: Path, stage: Sequence[tuple[str, dict[str, Any]]]) -> bool:
    """Run one stage; whether all its runs succeeded.

    The tables' steps of a little shop share a JVM: they come one after another, and each would spend half of its time
    on loading and compiling the same classes.
    """
    for dag_id in {dag_id for dag_id, _ in stage}:
        close_stale_runs(dag_id)
    (dag_id, conf), *others = stage
    beside = [get_context("spawn").Process(target=alone, args=(progress, *other)) for other in others]
    for process in beside:
        process.start()
    with kept_jvm() if dag_id == TABLES and conf["shop"] == SAMPLE else nullcontext():
        good = perform(progress, dag_id, conf)
    for process in beside:
        process.join()
    return good and not any(process.exitcode for process in beside)


def main(argv: list[str]) -> int:
    """Run each stage in turn."""
    progress, plan = Path(argv[0]), json.loads(argv[1])
    return 0 if all(side_by_side(progress, stage) for stage in plan) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
