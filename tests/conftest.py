"""What tests share: a home of their own, one Spark, and rows put into a warehouse by hand."""

import fcntl
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain, groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.kills import Undisturbed

# One JVM compiles for hundreds of tests: in the 48 MB that is usual at this level its code soon drives itself out.
os.environ.setdefault("JDK_JAVA_OPTIONS", "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC -XX:ReservedCodeCacheSize=240m")
os.environ.setdefault("ENDCAP_SPARK_MASTER", "local[2]")
for library in ("OMP", "OPENBLAS"):  # a process of the tests for each core: more threads only wait for one another
    os.environ.setdefault(f"{library}_NUM_THREADS", "1")
os.environ.setdefault(  # a page is zeroed before it takes its few rows: 16 MB of it, if Spark chooses
    "ENDCAP_SPARK_CONF", "spark.driver.memory=1g;spark.buffer.pageSize=1m"
)

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests that take minutes go first, so that no process waits for the last of them.

    pytest-xdist begins by giving each process as many tests, in this order: the long ones are dealt out, file by file,
    and each hand is filled up with the others.
    """
    hands: list[list[pytest.Item]] = [[] for _ in range(getattr(config, "workerinput", {}).get("workercount", 1))]
    long = [item for item in items if item.get_closest_marker("long")]
    others = [item for item in items if not item.get_closest_marker("long")]
    for n, (_, file) in enumerate(groupby(long, key=lambda item: item.path)):
        hands[n % len(hands)].extend(file)
    for n, hand in enumerate(hands):
        wanted = len(items) * (n + 1) // len(hands) - len(items) * n // len(hands) - len(hand)
        hand += others[:wanted]
        del others[:wanted]
    items[:] = chain(*hands)


def once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], Any]) -> Path:
    """A folder that the first process of a run to ask for it makes; the others wait, and find it made."""
    own = factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / name
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (made := folder.with_suffix(".made")).exists():
            make(folder)
            made.touch()
    return folder


def real_data(name: str) -> Path:
    """The folder of a public data set; skips the test, with the reason, where it is absent."""
    folder = DATA / name
    if not folder.is_dir():
        pytest.skip(f"needs the public data set '{name}' in {folder}")
    return folder


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty $ENDCAP_HOME."""
    folder = tmp_path / "home"
    monkeypatch.setenv("ENDCAP_HOME", str(folder))
    return folder


@pytest.fixture(scope="session")
def spark() -> Iterator[Any]:
    """One Spark session for all that one process of the tests asks of Spark."""
    from jobs.spark import session

    # As for little work: to compile a query takes longer than to ask it of a few rows. (test_aggregating.py does.)
    with session("tests", rows=0) as live:
        yield live


@pytest.fixture
def jobs(spark: Any, capsys: pytest.CaptureFixture[str]) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """A command `python -m jobs ...`, its words parsed and its end told as ever, but within the tests' own session."""
    from jobs.__main__ import parser
    from jobs.console import run_command

    def _jobs(*words: str) -> "subprocess.CompletedProcess[str]":
        capsys.readouterr()
        code = run_command(parser(), words)
        told = capsys.readouterr()
        return subprocess.CompletedProcess(words, code, told.out, told.err)

    return _jobs


@pytest.fixture(scope="session")
def run_here(spark: Any) -> Callable[..., None]:
    """Runs `jobs WORDS` on a home (first argument) within the tests' own session; fails if it fails."""
    from jobs.__main__ import parser
    from jobs.console import run_command

    def _run(home: Path, *words: str) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("ENDCAP_HOME", str(home))
            assert run_command(parser(), words) == 0, words

    return _run


@pytest.fixture(scope="session")
def undisturbed(run_here: Callable[..., None], tmp_path_factory: pytest.TempPathFactory) -> "Undisturbed":
    """A small shop before and after each of two steps, made once. Tests take copies of links (`kills.copied`)."""
    from tests.kills import Undisturbed, undisturbed

    steps = ["clean", "anonymise"]
    return Undisturbed.under(
        once(tmp_path_factory, "undisturbed", lambda folder: undisturbed(folder, steps, run_here)), steps
    )


@pytest.fixture(scope="session")
def week(run_here: Callable[..., None], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a week of the small shop, from its files to the online store, made once. Tests take copies."""
    from tests.kills import A_WEEK, STEPS

    def make(home: Path) -> None:
        run_here(home, *A_WEEK)
        for step in (*STEPS, "materialise"):
            run_here(home, step, "--shop", "sample")

    return once(tmp_path_factory, "week", make)


@pytest.fixture
def put(home: Path) -> Callable[..., Any]:
    """Put rows (dicts; missing columns are null) into one partition, as a step would: proposed, and published."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from jobs.tables import WHOLE, table
    from jobs.warehouse import Mark, arrow_schema, warehouse

    def _put(shop: str, zone: str, name: str, rows: Sequence[Mapping[str, Any]], day: str = WHOLE) -> Mark:
        house = warehouse(shop, must_exist=False)
        with house.attempt(zone, name) as attempt:
            folder = attempt.folder(day)
            folder.mkdir(parents=True)
            pq.write_table(
                pa.Table.from_pylist(list(rows), schema=arrow_schema(table(zone, name))), folder / "part-0.parquet"
            )
            return house.publish(house.propose(attempt, day, step="test"))

    return _put
