"""Spark: one session a step, and the one way in which a step reads and writes tables."""

import os
import shutil
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from jobs.tables import WHOLE, Table, table
from jobs.warehouse import DAY_FOLDER, Attempt, Mark, Warehouse, arrow_schema

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import Column, DataFrame, SparkSession

R = TypeVar("R")
ROW_GROUP = 1 << 18  # rows of a file held at a time by the task that writes it

_DEFAULTS = {
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.sql.ui.explainMode": "simple",  # a page that nobody opens is written all the same, at every stage of a query
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.shuffle.partitions": "8",
    "spark.sql.legacy.parquet.nanosAsLong": "true",  # publishers' nanosecond columns arrive as longs, not as an error
    "spark.sql.sources.parallelPartitionDiscovery.threshold": "10000",  # the driver lists a year faster
    "spark.sql.ansi.enabled": "false",  # a bad value is a null that `clean` gives a reason, not the end of a run
    # Batches for Python are bounded by rows; to bound them by bytes too, Spark measures the batch at every row (17 %).
    "spark.sql.execution.arrow.maxBytesPerBatch": str((1 << 31) - 1),
    # In which line a column was made, which only Spark's own errors tell, is asked and kept at every word of a query.
    "spark.python.sql.dataFrameDebugging.enabled": "false",
    "spark.sql.dataFrameQueryContext.enabled": "false",
    "spark.driver.memory": "3g",
    "spark.log.level": "ERROR",
}


SMALL = 200_000
"""Rows below which a step ends before compiling its queries, or compiling bytecode well, would have paid."""
_SMALL = {
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    # One task reads a whole table (`read`): nothing is shuffled, nothing is there to adapt to, a table is one stage.
    "spark.sql.shuffle.partitions": "1",
    "spark.sql.adaptive.enabled": "false",
}


ARCHIVE = Path(sys.prefix) / "share" / "endcap" / "spark.jsa"
"""Spark's classes, kept by `python -m jobs warm`."""


CODE = "-XX:ReservedCodeCacheSize=240m"
"""With one tier of compilation Java sets 48 MB aside for it; four steps in one JVM fill those, and the rest is slow."""


def java_options(*options: str) -> str:
    """How the driver's JVM is started, as a setting "key=value"."""
    return f"spark.driver.defaultJavaOptions={' '.join(['-Xlog:cds=off', '-Xlog:cds+dynamic=off', *options])}"


def _java(small: bool) -> str:
    """As `java_options`: with the archive of classes, if there is one; for little work, with little compilation."""
    kept = [f"-XX:SharedArchiveFile={ARCHIVE}"] if ARCHIVE.is_file() else []
    return java_options(*kept, *(["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", CODE] if small else []))


def _wanted(small: bool, settings: Mapping[str, str]) -> dict[str, str]:
    """All settings: ours, then a step's, then those of `ENDCAP_SPARK_CONF`."""
    pairs = [_java(small), *os.environ.get("ENDCAP_SPARK_CONF", "").split(";")]
    given = dict(pair.split("=", 1) for pair in pairs if pair)
    return {**_DEFAULTS, **(_SMALL if small else {}), **settings, **given}


@contextmanager
def kept_jvm() -> Iterator[None]:
    """A JVM for little work that the steps which this process starts meanwhile find in their environment, and use one
    after another.

    Each has its own context in it, and stops that; what stays is classes, and their compilation. Two at once are
    refused by Spark. The JVM reads a pipe of this process, and so it ends with it, however that ends.
    """
    from pyspark import SparkConf
    from pyspark.java_gateway import launch_gateway

    os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    gateway = launch_gateway(SparkConf(loadDefaults=False).setAll(list(_wanted(True, {}).items())))
    port, secret = gateway.gateway_parameters.port, gateway.gateway_parameters.auth_token
    gateway.close()  # this process asks nothing of it
    os.environ.update(zip(GATEWAY, (str(port), secret), strict=True))
    try:
        yield
    finally:
        for name in GATEWAY:
            del os.environ[name]
        gateway.proc.stdin.close()
        gateway.proc.wait()


GATEWAY = ("PYSPARK_GATEWAY_PORT", "PYSPARK_GATEWAY_SECRET")
"""Where PySpark looks for a JVM that runs already."""


@contextmanager
def session(step: str, *, rows: int = SMALL, **settings: str) -> Iterator["SparkSession"]:
    """A session for one step over about `rows` rows. `ENDCAP_SPARK_MASTER` (default local[*]) and `ENDCAP_SPARK_CONF`
    ("key=value" by ';') carry a cluster's settings; nothing else differs between laptop and cluster.

    Steps inside another session of this process share its JVM, each with the settings that can change while it runs.
    """
    from pyspark.sql import SparkSession

    os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    wanted = _wanted(rows < SMALL, settings)
    if _open:
        yield sibling(_open[-1], wanted)
        return
    builder = SparkSession.builder.appName(f"endcap {step}").master(os.environ.get("ENDCAP_SPARK_MASTER", "local[*]"))
    scratch = tempfile.mkdtemp(prefix="endcap-spark-")
    for key, value in {"spark.sql.warehouse.dir": scratch, SCRATCH: scratch, **wanted}.items():
        builder = builder.config(key, value)
    spark = builder.getOrCreate()
    _remember(spark.sparkContext._jvm)
    _placed(spark)
    _open.append(spark)
    try:
        yield spark
    finally:
        _open.remove(spark)
        spark.stop()
        shutil.rmtree(scratch, ignore_errors=True)


SCRATCH = "spark.endcap.scratch"
"""The setting that names a folder on this machine, which goes when the session ends."""
_open: "list[SparkSession]" = []
_ASKED = {
    "org.apache.spark.sql.functions": ("col", "lit", "when", "regexp_replace"),
    "functions": ("col", "expr", "sum"),
    "PythonSQLUtils": (),
    "PythonUtils": ("toSeq",),
}
"""What PySpark asks for by name at every word of a query: classes, and members of each."""


def _remember(jvm: Any) -> None:
    """Each class and member is asked of the JVM once, and kept where PySpark looks before it asks.

    To find a class by its short name the JVM goes through all of Spark's 280 jars: a tenth of the time of a small step.
    """
    for name, members in _ASKED.items():
        found = getattr(jvm, name)
        for member in members:
            setattr(found, member, getattr(found, member))
        setattr(jvm, name, found)


def _placed(spark: "SparkSession") -> None:
    """Tells Spark from where this thread asks; or it walks through the JVM's stack for the place at each operator."""
    for form in ("short", "long"):
        spark.sparkContext.setLocalProperty(f"callSite.{form}", "endcap")


def sibling(spark: "SparkSession", settings: Mapping[str, str] | None = None) -> "SparkSession":
    """Another session of the same JVM, with the same settings and then these, as far as a running JVM takes them."""
    from pyspark.sql import SparkSession

    # A clone has them at once; to read each there and to set it here would be two hundred questions to the JVM.
    other = SparkSession(spark.sparkContext, spark._jsparkSession.cloneSession())
    for key, value in (settings or {}).items():
        if other.conf.isModifiable(key):
            other.conf.set(key, value)
    return other


def side_by_side(
    spark: "SparkSession", work: "Callable[[SparkSession, str], R]", sizes: Mapping[str, int]
) -> dict[str, R]:
    """`work` of each table, two at a time, the largest first; answers in the order of `sizes` (rows by table).

    While Spark plans one, or its marks are written, the other computes. Each has a session of its own, so that no
    table's settings reach another. The first failure is raised when what had begun is done; what had not is left.
    """

    def one(other: "SparkSession", name: str) -> R:
        _placed(other)
        return work(other, name)

    with ThreadPoolExecutor(2) as pool:
        largest_first = sorted(sizes, key=lambda name: -sizes[name])
        jobs = {name: pool.submit(one, sibling(spark), name) for name in largest_first}
        try:
            return {name: jobs[name].result() for name in sizes}
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


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
    rows = spark.read.schema(ddl(declared)).parquet(*folders)
    return rows.coalesce(1) if one_task(spark) else rows


def one_task(spark: "SparkSession") -> bool:
    """Whether this session is for so little work that one task does all of a table."""
    return str(spark.conf.get("spark.sql.shuffle.partitions")) == "1"


def shared_out(rows: "DataFrame", tasks: int | None, *by: str) -> "DataFrame":
    """Rows among this many tasks (None: as many as the session has), those that agree in `by` in one of them; where the
    work is little, all in one."""
    if one_task(rows.sparkSession):
        return rows.coalesce(1)
    return rows.repartition(tasks, *by) if tasks else rows.repartition(*by)


def conform(rows: "DataFrame", declared: Table, *others: "Column") -> "DataFrame":
    """Exactly the declared columns, in order, of the declared types, and `others`; a missing one is an error."""
    from pyspark.sql import functions as F

    kinds = {"long": "bigint", "array<long>": "array<bigint>"}
    return rows.select(
        *[F.col(c.name).cast(kinds.get(c.kind, c.kind)).alias(c.name) for c in declared.columns], *others
    )


def filed(rows: "DataFrame", declared: Table, tasks: int | None = None) -> "DataFrame":
    """The declared columns and `_day`, the folder of each row; all rows of a day in one task, so that a day is a file.

    `tasks` is among how many tasks the days are shared out; 0 leaves the rows in the tasks that they lie in.
    """
    from pyspark.sql import functions as F

    if not declared.dated:
        return conform(rows, declared, F.lit(WHOLE).alias(DAY_FOLDER)).coalesce(1)
    shaped = conform(rows, declared, F.date_format("day", "yyyy-MM-dd").alias(DAY_FOLDER))
    if tasks == 0:
        return shaped
    return shared_out(shaped, tasks, DAY_FOLDER)


def write(rows: "DataFrame", attempt: Attempt) -> None:
    """Write a table, filed already, into its attempt: each task one file a folder, in the order of the key.

    The files are written by Arrow in Spark's Python workers. Spark's own writer forks three `chmod` a file where
    Hadoop's native library is missing: 366 days took it 4.5 s, and take this 0.7 s. And its footers differ from one
    JVM to the next; Arrow's are the same bytes for the same rows.
    """
    declared = table(attempt.zone, attempt.table)
    # The key first, then every other column: rows that share a key still have one order.
    order = [*declared.key, *(n for n in declared.names if n not in declared.key)]
    lying = rows.sortWithinPartitions(DAY_FOLDER, *order)
    lying.mapInArrow(_writer(str(attempt.path), declared), schema="files bigint").collect()


def _writer(root: str, declared: Table) -> "Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]":
    """What a Python worker does with the sorted rows of one task: a file for each run of `_day`."""

    def task(batches: "Iterator[pa.RecordBatch]") -> "Iterator[pa.RecordBatch]":
        import pyarrow as pa
        from pyspark import TaskContext

        context = TaskContext.get()
        name = f"part-{context.partitionId() if context else 0:05d}.parquet"
        written: set[str] = set()
        for folder, runs in groupby(_runs(batches), key=itemgetter(0)):
            if folder in written:
                raise ValueError(f"the rows of {folder} do not lie together: the second part would replace the first")
            write_file(Path(root) / f"{DAY_FOLDER}={folder}" / name, arrow_schema(declared), map(itemgetter(1), runs))
            written.add(folder)
        yield pa.RecordBatch.from_pydict({"files": pa.array([len(written)], pa.int64())})

    return task


def _runs(batches: "Iterator[pa.RecordBatch]") -> "Iterator[tuple[str, pa.RecordBatch]]":
    """Slices of the batches in which `_day` does not change, each with its `_day`, which is taken out."""
    import pyarrow.compute as pc

    for batch in batches:
        folders = batch.column(DAY_FOLDER)
        rest = batch.drop_columns([DAY_FOLDER])
        runs = pc.run_end_encode(folders)
        start = 0
        for end, folder in zip(runs.run_ends.to_pylist(), runs.values.to_pylist(), strict=True):
            yield folder, rest.slice(start, end - start)
            start = end


def write_file(path: Path, schema: "pa.Schema", batches: "Iterator[pa.RecordBatch]") -> None:
    """One Parquet file; it bears its name only once it is whole, so a task that is tried again leaves no second one."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.stem}.{uuid.uuid4().hex}")
    held: list[pa.RecordBatch] = []
    with pq.ParquetWriter(unfinished, schema, compression="zstd") as file:
        for batch in batches:
            held.append(batch)
            while sum(b.num_rows for b in held) >= ROW_GROUP:
                rows = _joined(held, schema)
                file.write_table(rows.slice(0, ROW_GROUP))
                held = rows.slice(ROW_GROUP).to_batches()
        if held:
            file.write_table(_joined(held, schema))
    unfinished.replace(path)


def _joined(batches: "Sequence[pa.RecordBatch]", schema: "pa.Schema") -> "pa.Table":
    """One table in one piece: where the batches were cut must not show in the file."""
    import pyarrow as pa

    return pa.Table.from_batches(batches).cast(schema).combine_chunks()
