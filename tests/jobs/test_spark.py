"""The writer of files: the same rows, the same bytes, however they were cut; and nothing is lost in silence. And the
JVM that steps share."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs import spark as sparks
from jobs.house import processes
from jobs.spark import filed, read, sibling
from jobs.tables import table
from jobs.warehouse import DAY_FOLDER, arrow_schema, warehouse

DECLARED = table("safe", "judgements")


def batches(rows: int, size: int, folders: list[str]) -> Iterator[pa.RecordBatch]:
    """`rows` rows in each folder, one after the other, cut into batches of `size`."""
    lines = [
        {"query": f"q{n:05}", "item_id": "i", "rater": "r", "grade": n % 4, DAY_FOLDER: folder}
        for folder in folders
        for n in range(rows)
    ]
    schema = arrow_schema(DECLARED).append(pa.field(DAY_FOLDER, pa.string()))
    yield from pa.Table.from_pylist(lines, schema=schema).to_batches(max_chunksize=size)


def write(folder: Path, *given: pa.RecordBatch) -> dict[str, bytes]:
    """What one task writes: bytes by file."""
    list(sparks._writer(str(folder), DECLARED)(iter(given)))
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_where_batches_were_cut_does_not_show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sparks, "ROW_GROUP", 100)
    folders = ["2017-01-01", "2017-01-02"]
    made = [write(tmp_path / str(size), *batches(250, size, folders)) for size in (7, 64, 1000)]
    assert made[0] == made[1] == made[2]
    assert sorted(made[0]) == [f"{DAY_FOLDER}={folder}/part-00000.parquet" for folder in folders]
    file = pq.ParquetFile(tmp_path / "7" / sorted(made[0])[0])
    assert [file.metadata.row_group(n).num_rows for n in range(file.num_row_groups)] == [100, 100, 50]
    assert file.read()["query"].to_pylist() == [f"q{n:05}" for n in range(250)]


def test_a_folder_that_comes_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="do not lie together"):
        write(tmp_path, *batches(3, 10, ["a", "b", "a"]))


@pytest.mark.parametrize(("partitions", "shuffled"), [("1", False), ("2", True)])
def test_little_work_is_one_task_and_nothing_is_shuffled(
    spark: Any, put: Callable[..., Any], partitions: str, shuffled: bool
) -> None:
    days = ["2020-01-01", "2020-01-02"]
    for day in days:
        rows = [
            {"search_id": f"{day}-{n}", "visitor": f"v{n}", "query": "tea", "day": date.fromisoformat(day)}
            for n in range(4)
        ]
        put("little", "safe", "searches", rows, day)
    house, live = warehouse("little"), sibling(spark, {"spark.sql.shuffle.partitions": partitions})
    rows = read(live, house, "safe", "searches", house.marks("safe", "searches"))
    made = filed(rows.join(rows.groupBy("visitor").count(), "visitor"), table("safe", "searches"))
    assert made.count() == 8
    plan = made._jdf.queryExecution().executedPlan().toString()
    assert bool(re.search(r"\bExchange\b", plan)) == shuffled  # a BroadcastExchange shuffles nothing
    assert (made.rdd.getNumPartitions() == 1) != shuffled


STEP = """
from jobs.spark import session

with session("a step") as spark:
    print(spark._jvm.java.lang.ProcessHandle.current().pid(), spark.sparkContext.applicationId, spark.range(5).count())
    input()
"""


def step() -> "subprocess.Popen[str]":
    """A step in a process of its own, which ends when it is told to."""
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-c", STEP], stdin=pipe, stdout=pipe, stderr=pipe, text=True)


def test_steps_share_a_kept_jvm_one_after_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENDCAP_SPARK_CONF", "spark.driver.memory=512m")
    with sparks.kept_jvm():
        said = [step().communicate("\n")[0].split() for _ in range(2)]
        holding = step()
        assert holding.stdout and holding.stdout.readline().split()[0] == said[0][0]
        second = step()
        assert "Only one SparkContext" in second.communicate("\n")[1] and second.returncode, "two at once"
        holding.kill()
        holding.communicate()
        pid = int(said[0][0])
        assert processes.started(pid) is not None
    assert [pid == int(words[0]) for words in said] == [True, True] and said[0][1] != said[1][1]
    assert [words[2] for words in said] == ["5", "5"]
    assert processes.started(pid) is None, "it ends with who started it, though a step was killed in it"
    assert not set(sparks.GATEWAY) & set(os.environ)
