"""Spark: one session a step, and the one way in which a step reads and writes tables."""

import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from jobs.tables import WHOLE, Table, table
from jobs.warehouse import DAY_FOLDER, Attempt, Mark, Warehouse

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

_DEFAULTS = {
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.shuffle.partitions": "8",
    "spark.sql.legacy.parquet.nanosAsLong": "true",  # publishers' nanosecond columns arrive as longs, not as an error
    "spark.sql.parquet.compression.codec": "zstd",
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",  # Spark's own INT96 is nanoseconds without a zone
    "spark.sql.sources.parallelPartitionDiscovery.threshold": "10000",  # the driver lists a year faster
    "spark.sql.ansi.enabled": "false",  # a bad value is a null that `clean` gives a reason, not the end of a run
    # Without its native library Hadoop forks a `chmod` for every local file; the raw file system does not, and writes
    # no .crc files (a mark holds a SHA-256).
    "spark.hadoop.fs.file.impl": "org.apache.hadoop.fs.RawLocalFileSystem",
    "spark.hadoop.mapreduce.fileoutputcommitter.algorithm.version": "2",  # nobody reads an attempt before its mark
    "spark.driver.memory": "3g",
    "spark.log.level": "ERROR",
}


@contextmanager
def session(step: str, **settings: str) -> Iterator["SparkSession"]:
    """A session for one step. `ENDCAP_SPARK_MASTER` (default local[*]) and `ENDCAP_SPARK_CONF`
    ("key=value" by ';') carry a cluster's settings; nothing else differs between laptop and cluster."""
    from pyspark.sql import SparkSession

    os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    given = dict(pair.split("=", 1) for pair in os.environ.get("ENDCAP_SPARK_CONF", "").split(";") if pair)
    builder = SparkSession.builder.appName(f"endcap {step}").master(os.environ.get("ENDCAP_SPARK_MASTER", "local[*]"))
    scratch = tempfile.mkdtemp(prefix="endcap-spark-")
    for key, value in {**_DEFAULTS, "spark.sql.warehouse.dir": scratch, **settings, **given}.items():
        builder = builder.config(key, value)
    spark = builder.getOrCreate()
    try:
        yield spark
    finally:
        spark.stop()
        import shutil

        shutil.rmtree(scratch, ignore_errors=True)


def ddl(declared: Table) -> str:
    """The Spark schema of a table."""
    kinds = {"long": "bigint", "array<long>": "array<bigint>"}
    return ", ".join(f"`{c.name}` {kinds.get(c.kind, c.kind)}" for c in declared.columns)


def read(spark: "SparkSession", house: Warehouse, zone: str, name: str, marks: list[Mark]) -> "DataFrame":
    """The rows of these partitions, with the declared schema; an empty table if they hold none."""
    declared = table(zone, name)
    folders = [str(folder) for folder in house.folders(marks)]
    if not folders:
        return spark.createDataFrame([], ddl(declared))
    return spark.read.schema(ddl(declared)).parquet(*folders)


def conform(rows: "DataFrame", declared: Table) -> "DataFrame":
    """Exactly the declared columns, in order, of the declared types; a missing one is an error of the step."""
    from pyspark.sql import functions as F

    kinds = {"long": "bigint", "array<long>": "array<bigint>"}
    return rows.select(*[F.col(c.name).cast(kinds.get(c.kind, c.kind)).alias(c.name) for c in declared.columns])


def write(rows: "DataFrame", attempt: Attempt) -> None:
    """Write a table into its attempt: one folder and one file a day, rows in the order of the key.

    One task writes a day, sorted, so that the same rows give the same bytes however many cores there are.
    """
    from pyspark.sql import functions as F

    declared = table(attempt.zone, attempt.table)
    shaped = conform(rows, declared)
    if declared.dated:
        shaped = shaped.withColumn(DAY_FOLDER, F.date_format("day", "yyyy-MM-dd")).repartition(DAY_FOLDER)
    else:
        shaped = shaped.withColumn(DAY_FOLDER, F.lit(WHOLE)).coalesce(1)
    # The key first, then every other column: rows that share a key still have one order.
    order = [*declared.key, *(n for n in declared.names if n not in declared.key)]
    shaped.sortWithinPartitions(DAY_FOLDER, *order).write.mode("append").partitionBy(DAY_FOLDER).parquet(
        str(attempt.path)
    )


def propose(
    house: Warehouse,
    attempt: Attempt,
    days: list[str],
    *,
    step: str,
    counts: Mapping[str, Mapping[str, int]],
    inputs: Mapping[str, list[Mark]],
) -> list[Mark]:
    """Point to every day of `days` (days without rows too: empty is known, not missing).

    `counts` and `inputs` are by day.
    """
    return [
        house.propose(attempt, day, step=step, counts=counts.get(day, {}), inputs=inputs.get(day, ())) for day in days
    ]
