"""`import`: a shop's files -> raw tables. Every row is kept as it came, with its place and when it became known.

Guarantees. A row of a file is a row of the raw zone, in text, or the import fails: rows read = rows written, by
table and day. A line that cannot be read, or that no table claims, is kept whole in `unreadable`
(`jobs.sources.text.unescape` gives its bytes back); a field that no declaration names is kept in `extra`. A file that
lacks a declared field, or that changes while it is read, stops the import. All tables are written and checked before
the first is published. The same files give the same bytes. Two doors: rows are streamed in batches with bounded memory,
without Spark (`jobs.filing`); SQL over Parquet goes through one Spark session.
"""

import argparse
import json
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import date
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from jobs import delivering, tombstones
from jobs.console import Problem, Refused, Usage, grid, narrate, say, suggest
from jobs.fetching import is_address, landed, shown, told_of_there
from jobs.filing import Days, Delivered, Filed, Filing, Plan, look_ups, names_its_file
from jobs.finding import Files, check_room, find, folder_of, prepare, state_of, tables_of, unchanged, with_span
from jobs.guessing import propose
from jobs.mapping import NAME, check, keep_to, shop_of
from jobs.sources import ParquetStream, ParquetTable, Source, View, named, source
from jobs.sources.text import clocks, nearest
from jobs.tables import WHOLE, table
from jobs.warehouse import Attempt, Mark, Warehouse, arrow_schema, days, sha256, warehouse

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import DataFrame, SparkSession

STEP = "import"
_BATCH = 1 << 18  # rows of a streamed Parquet file held at a time


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
    unclaimed: int
    marks: tuple[Mark, ...]


def run(args: argparse.Namespace) -> int:
    """Find the files, write every table, publish them all, and end with a grid."""
    began = time.monotonic()
    shop = source(args.shop)
    try:
        if not args.folder or not is_address(args.folder):
            return imported(args, shop, folder_of(shop, args.folder), began)
        folder = landed(shop.name, args.folder)
        with told_of_there(folder, args.folder):
            return imported(args, shop, folder, began)
    finally:
        tombstones.drop_copies(warehouse(shop.name, must_exist=False))


def imported(args: argparse.Namespace, shop: Source, given: Path | None, began: float) -> int:
    """Import what lies in a folder of this machine, or in none."""
    if args.check:
        return looked_at(shop, given, shown(args.folder) if args.folder and is_address(args.folder) else None)
    if shop.mapped and given is not None:
        shop = shop_of(shop, given)
    if not 0 < args.scale <= 10_000:
        raise Usage(f"--scale {args.scale:g} is out of range", do="give a size above 0 and up to 10000; 1 is a fixture")
    if not shop.span_found and not shop.deliveries:
        span_of(shop, args.first, args.last)
    house = warehouse(shop.name, must_exist=False)
    if shop.deliveries and args.tables:
        raise Usage("--tables has no meaning with deliveries: a file is read for all its tables", do="leave it out")
    if shop.mapped and given is not None:
        keep_to(house, given, None if shop.deliveries else shop.last)
    if shop.deliveries and given is not None:
        return delivering.run(house, shop, given, args.first, args.last)
    if args.tables:
        shop = only(shop, args.tables.split(","))
    files = find(shop, prepare(shop, given, args.scale, args.seed))
    shop = with_span(shop, files)
    span = span_of(shop, args.first, args.last)
    check_room(sum(path.stat().st_size for path in files.all.values()))
    with ExitStack() as held:
        before = {name: state_of(path) for name, path in files.all.items()}
        with narrate(f"read {len(files.all)} files"):
            hashes = {name: sha256(path) for name, path in sorted(files.all.items())}
        attempts = {name: held.enter_context(house.attempt("raw", name)) for name in tables_of(shop, files)}
        filed = row_tables(shop, span, files, attempts, hashes)
        if files.views:
            filed += parquet_tables(shop, span, files, attempts, hashes)
        unchanged(files.all, before)
        for one in filed:
            one.erased = tombstones.keep_out(house, attempts[one.table])
        tombstones.tell(filed)
        done = publish_all(house, span, attempts, filed)
    print(summary(shop, house, done, time.monotonic() - began))
    return 0


def only(shop: Source, wanted: Sequence[str]) -> Source:
    """The source as far as it feeds these tables; `Usage` for a table that it does not feed."""
    for name in wanted:
        if name not in shop.fed:
            raise Usage(f"'{shop.name}' has no table '{name}'", do=suggest(name, shop.fed))
    parquet = tuple(made for made in shop.parquet if made.table in wanted)
    streams = tuple(made for made in shop.streams if made.table in wanted)
    used = {view for made in parquet for view in made.views} | {made.view for made in streams}
    return replace(
        shop,
        rows=tuple(made for made in shop.rows if made.table in wanted),
        parquet=parquet,
        streams=streams,
        views={name: view for name, view in (shop.views or {}).items() if name in used},
    )


def looked_at(shop: Source, folder: Path | None, address: str | None = None) -> int:
    """`--check`: say all that is wrong with a folder's mapping and files, or propose a mapping; nothing is imported.

    2 if there are findings, else 0. A folder that was landed is called by its address.
    """
    if not shop.mapped or folder is None:
        raise Usage(f"'{shop.name}' has no mapping to check", do="leave out --check, or import 'files' with --from DIR")
    place, save = (address, "upload") if address else (folder, "save")
    if not (folder / NAME).is_file():
        print(propose(folder), end="")
        say(f"There is no {NAME} in {place}. This one was guessed: look at every line, {save} it there, check again.")
        return 0
    found, findings, notes = check(shop, folder)
    for note in notes:
        say(f"note: {note}")
    for finding in findings:
        print(f"finding: {finding}")
    if findings or found is None:
        again = "upload it there, and check again" if address else "and check again"
        print(f"findings: {len(findings)}. To do: mend {place}/{NAME}, {again}.")
        return 2
    tables = ", ".join(dict.fromkeys(rows.table for rows in found.rows))
    print(f"no findings: {tables}.\nnext: python -m jobs import {shop.name} --from {place}")
    return 0


def span_of(shop: Source, first: date | None, last: date | None) -> Span:
    """The range of days asked for, inside the source's own."""
    chosen = first or shop.first, last or shop.last
    if not shop.first <= chosen[0] <= chosen[1] <= shop.last:
        raise Usage(
            f"days {chosen[0]} to {chosen[1]} are no range of '{shop.name}'",
            do=f"choose days from {shop.first} to {shop.last}, the first before the last",
        )
    return Span(chosen[0].isoformat(), chosen[1].isoformat())


def row_tables(
    shop: Source, span: Span, files: Files, attempts: Mapping[str, Attempt], hashes: Mapping[str, str]
) -> list[Filed]:
    """Write the tables that come row by row: every file is read once, streamed."""
    names = list(dict.fromkeys(declared.table for group, _ in files.groups for declared in group))
    found = {name: Filed(name) for name in names}
    outs = {name: Days(attempts[name]) for name in names}
    for place, (group, delivered) in enumerate(files.groups):
        tables = list(dict.fromkeys(declared.table for declared in group))
        with narrate(f"{STEP} {', '.join(tables)}"):
            beside = files.beside(group)
            looked = look_ups(beside)
            clock = partial(clocks, shop)
            plans = [Plan(declared) for declared in group]
            filing = Filing(plans, looked, outs, found, clock, shop.opened, span.holds)
            for file in delivered if any(map(names_its_file, group)) else once(delivered, hashes):
                filing.file(file)
            for name in tables:
                used = [*delivered, *(file for _, side in beside for file in side)]
                found[name].files.update({file.name: hashes[file.name] for file in used})
            later = {declared.table for other, _ in files.groups[place + 1 :] for declared in other}
            for name in set(tables) - later:  # what is held is given back before the next files are read
                outs.pop(name).close()
    for filed in found.values():
        tell_extra(filed.table, filed.extra)
    return list(found.values())


def once(files: Iterable[Delivered], hashes: Mapping[str, str]) -> Iterable[Delivered]:
    """Each content once: a file that was delivered again under another name has no new rows. It is said."""
    first: dict[str, str] = {}
    for file in files:
        other = first.setdefault(hashes[file.name], file.name)
        if other == file.name:
            yield file
        else:
            say(f"note: {file.name} is the same file as {other}: read once")


def tell_extra(name: str, extra: Iterable[str]) -> None:
    """Say which fields no declaration names."""
    fields = sorted(extra)
    if fields:
        shown = ", ".join(fields[:8])
        few = "" if len(fields) <= 8 else f" and {len(fields) - 8} more"
        say(f"note: {name} has {len(fields)} fields that no mapping declares, kept in 'extra': {shown}{few}")


def publish_all(
    house: Warehouse, span: Span, attempts: Mapping[str, Attempt], filed: Sequence[Filed]
) -> list[Imported]:
    """Point to every table, after the counting law was checked for all of them."""
    for one in filed:
        check_law(attempts[one.table], span, one.read, one.files, seen=one.seen, erased=one.erased)
    if not any(sum(one.read.values()) for one in filed):
        raise Problem(
            f"no row of any table lies from {span.first} to {span.last}",
            do="check that --first and --last meet its days",
        )
    return [
        Imported(
            one.table,
            sum(one.read.values()),
            one.unreadable,
            one.unclaimed,
            point(house, attempts[one.table], span, one.read, one.files, one.erased),
        )
        for one in filed
    ]


def publish(
    house: Warehouse, attempt: Attempt, span: Span, read: Mapping[str, int], files: Mapping[str, str]
) -> tuple[Mark, ...]:
    """Point to every day of the range, days without rows too, after the counting law was checked."""
    check_law(attempt, span, read, files, seen=sum(read.values()))
    return point(house, attempt, span, read, files)


def check_law(
    attempt: Attempt,
    span: Span,
    read: Mapping[str, int],
    files: Mapping[str, str],
    *,
    seen: int,
    erased: Mapping[str, int] | None = None,
) -> None:
    """Rows read = rows written + rows of erased visitors, by day; and files without a row (`seen`) are not the
    shop's."""
    if not seen:
        raise Problem(
            f"{attempt.table}: no row in {', '.join(sorted(files))}",
            do="check that these are the shop's files, and that --first and --last meet its days",
        )
    for day in days_of(attempt, span):
        written, gone = rows_of(attempt.folder(day)), (erased or {}).get(day, 0)
        if read.get(day, 0) != written + gone:
            raise Refused(
                f"the counting law is broken: {read.get(day, 0)} rows of {attempt.table} read, {written} written"
                + (f", {gone} erased" if gone else ""),
                where=day,
                do="run the import again with --verbose; nothing was published",
            )


def days_of(attempt: Attempt, span: Span) -> list[str]:
    """The days of an attempt, those without rows too."""
    return span.days if table("raw", attempt.table).dated else [WHOLE]


def point(
    house: Warehouse,
    attempt: Attempt,
    span: Span,
    read: Mapping[str, int],
    files: Mapping[str, str],
    erased: Mapping[str, int] | None = None,
) -> tuple[Mark, ...]:
    """A mark for every day."""
    wanted = days_of(attempt, span)
    counts = {day: {"in": read.get(day, 0), "out": rows_of(attempt.folder(day))} for day in wanted}
    for day, gone in (erased or {}).items():
        counts[day]["erased"] = gone
    notes = {day: {"files": dict(files)} for day in wanted}
    return tuple(house.propose_days(attempt, wanted, step=STEP, counts=counts, notes=notes))


def rows_of(folder: Path) -> int:
    """Rows in the Parquet files of a folder, from their footers."""
    import pyarrow.parquet as pq

    return sum(pq.read_metadata(file).num_rows for file in folder.glob("*.parquet"))


def parquet_tables(
    shop: Source, span: Span, files: Files, attempts: Mapping[str, Attempt], hashes: Mapping[str, str]
) -> list[Filed]:
    """Write all tables that come from Parquet: the very long ones streamed, the others in one Spark session.

    Two tables are written at a time: a publisher's file of one row group is read by one task, and
    leaves the other cores idle. The largest go first.
    """
    from jobs.spark import session

    declared = shop.views or {}
    for name, view in declared.items():
        for path in files.views[name]:
            check_view(view, path)

    def size(made: ParquetTable) -> int:
        return sum(path.stat().st_size for view in made.views for path in files.views[view])

    def filed(name: str, views: Iterable[str], read: Mapping[str, int]) -> Filed:
        paths = [path for view in views for path in files.views[view]]
        extra = {column for view in views for path in files.views[view] for column in undeclared(declared[view], path)}
        names = {path.name: hashes[path.name] for path in paths}
        return Filed(name, Counter(read), extra=extra, seen=sum(map(rows_in, paths)), files=names)

    def one(made: ParquetTable) -> Filed:
        with narrate(f"{STEP} {made.table}"):
            return filed(made.table, made.views, write_parquet(spark, attempts[made.table], shop, span, made))

    def streamed(made: ParquetStream) -> Filed:
        with narrate(f"{STEP} {made.table}"):
            read = stream_parquet(attempts[made.table], shop, span, made, files.views[made.view][0])
            return filed(made.table, [made.view], read)

    with session(STEP) as spark, ThreadPoolExecutor(2) as pool:
        running = [pool.submit(streamed, made) for made in shop.streams]
        for name in {view for made in shop.parquet for view in made.views}:
            open_view(spark, name, files.views[name], declared[name])
        running += [pool.submit(one, made) for made in sorted(shop.parquet, key=size, reverse=True)]
        done = [job.result() for job in running]
    for table_done in done:
        tell_extra(table_done.table, table_done.extra)
    order = [*(made.table for made in shop.parquet), *(made.table for made in shop.streams)]
    return sorted(done, key=lambda of: order.index(of.table))


def rows_in(path: Path) -> int:
    """Rows of a Parquet file, from its footer."""
    import pyarrow.parquet as pq

    return int(pq.read_metadata(path).num_rows)


def undeclared(view: View, path: Path) -> list[str]:
    """Columns of a Parquet file that its view neither declares nor leaves out."""
    import pyarrow.parquet as pq

    return [name for name in pq.read_schema(path).names if name not in view.columns and not named(name, view.left_out)]


def check_view(view: View, path: Path) -> None:
    """A `Problem` that names the declared columns which a Parquet file lacks."""
    import pyarrow.parquet as pq

    there = pq.read_schema(path).names
    lacking = [name for name in view.columns if name not in there and name not in view.optional]
    if lacking:
        raise Problem(
            f"{path.name} lacks {', '.join(repr(name) for name in lacking)}",
            where=str(path),
            do=nearest(undeclared(view, path), lacking[0])
            or f"give files as declared; it has: {', '.join(there[:12])}",
        )


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
    others = undeclared((shop.views or {})[made.view], path)
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
                    else as_json(part.select(others))
                    if field.name == "extra" and others
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


def as_json(rows: "pa.RecordBatch") -> "pa.Array":
    """Each row as JSON, without fields that have no value; null if none has. Values are text, as in all of raw."""
    import pyarrow as pa

    told = [
        {k: v if isinstance(v, str) else str(v) for k, v in row.items() if v is not None} for row in rows.to_pylist()
    ]
    return pa.array([json.dumps(row, ensure_ascii=False) if row else None for row in told], pa.string())


def open_view(spark: "SparkSession", view: str, paths: Sequence[Path], declared: View | None = None) -> None:
    """The publisher's columns, with the place of each row, and in `extra` what `declared` does not name."""
    from pyspark.sql import functions as F

    rows = spark.read.parquet(*map(str, paths))
    for column, kind in rows.dtypes:  # publishers write nanoseconds (longs to Spark) and times without a zone
        if column in nanoseconds(paths[0]) and kind == "bigint":
            rows = rows.withColumn(column, F.expr(f"timestamp_micros(`{column}` div 1000)"))
        elif kind == "timestamp_ntz":
            rows = rows.withColumn(column, F.col(column).cast("timestamp"))
    place = F.col("_metadata.file_name").alias("source_file"), (F.col("_metadata.row_index") + 1).alias("source_row")
    others = [column for column in rows.columns if column in (undeclared(declared, paths[0]) if declared else ())]
    told = F.to_json(F.struct(*[F.col(f"`{name}`").cast("string").alias(name) for name in others])) if others else None
    extra = F.lit(None).cast("string") if told is None else F.nullif(told, F.lit("{}"))
    rows.select(*[F.col(f"`{name}`") for name in rows.columns if name not in others], *place, extra.alias("extra")
    ).createOrReplaceTempView(view)  # fmt: skip


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
            i.unclaimed,
            Counter(bool(m.rows) for m in i.marks)[True],
        )
        for i in done
    ]
    return "\n".join(
        [
            grid(["raw table", "rows in", "rows out", "unreadable", "unclaimed", "days with rows"], lines),
            f"{sum(line[1] for line in lines):,} rows in, {sum(line[2] for line in lines):,} out; {seconds:.1f} s; "
            f"days {shop.first} to {shop.last}; in {house.root / 'raw'}",
            f"next: python -m jobs clean --shop {shop.name}",
        ]
    )
