"""Rows of a shop's files -> raw rows, each filed under its day. What a declaration of `jobs.sources` means, row by row.

Guarantees. Every row of a file becomes a row of each table whose declaration claims it, at most once in each; a row
that none claims, and a line that cannot be read, is kept whole in `unreadable` of the first table. Fields that no
declaration names are kept in `extra`. A file that lacks a declared field stops the import by name. The same file gives
the same bytes, whatever the range of days. Memory is bounded by `_HELD` rows a table, however many
days they are of.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.console import Problem
from jobs.sources import FILE, PLACE, Cell, Row, RowFile, Side, named, text_of
from jobs.sources import field as value_of
from jobs.sources.text import Reading, escape, header, nearest, records
from jobs.tables import WHOLE, Table, table
from jobs.warehouse import Attempt, arrow_schema

if TYPE_CHECKING:
    import pyarrow as pa

OURS = ("source_file", "source_row", "known_time", "simulated", "unreadable", "extra", "day")
"""Raw columns that the import fills, not the publisher."""
_GROUP = 20_000  # rows of a day in one Parquet row group
_BYTES = 1 << 26  # bytes of lines after which a row group ends too: an Arrow column holds 2 GB
_HELD = 400_000  # rows of a table that are held in memory, of all days: about 0.3 GB of interactions
_HELD_BYTES = 1 << 28  # bytes of lines after which they are put aside too
_FAULTS = (ValueError, TypeError, ArithmeticError, LookupError, AttributeError, OSError, RecursionError)
"""What a cell that cannot be made fails with."""

_NEVER = datetime.max.replace(tzinfo=UTC)

Clock = Callable[[str | None], tuple[date, datetime]]
"""The day under which an event's time is filed, and when the shop could know it."""


@dataclass(frozen=True)
class Delivered:
    """A file to read: its name in the shop's folder (the `source_file` of its rows), and where it lies."""

    name: str
    path: Path


@dataclass
class Filed:
    """What became of the rows of one table."""

    table: str
    read: Counter[str] = field(default_factory=Counter)  # rows by day, of the days that were wanted
    unreadable: int = 0  # lines that could not be read
    unclaimed: int = 0  # rows that no table claims
    erased: Counter[str] = field(default_factory=Counter)  # of those, rows of visitors who were erased, by day
    late: int = 0  # rows whose day had ended more than a day before they were known
    extra: set[str] = field(default_factory=set)  # names of fields that no declaration names
    seen: int = 0  # rows, whatever their day
    files: dict[str, str] = field(default_factory=dict)  # name -> SHA-256


class Days:
    """Parquet files of an attempt, one a day. Where a row group ends depends on a day's own rows only, so that a range
    of days gives the same bytes as the whole.

    Rows that are too many to be held are spilled, all days' into one file beside, and come back a day at a time when
    the files are written: a shop of ten years, not sorted by time, needs neither the memory nor the open files of all
    its days at once.
    """

    def __init__(self, attempt: Attempt, part: str = "part-0") -> None:
        self.attempt, self.part = attempt, f"{part}.parquet"
        self.schema: pa.Schema = arrow_schema(table("raw", attempt.table))
        self.held: dict[str, list[list[Any]]] = {}
        self.rows = self.bytes = 0  # held, of all days
        self.groups: dict[str, list[int]] = {}  # rows of each row group
        self.size: Counter[str] = Counter()  # bytes of the last group of a day
        self.spill: Spill | None = None

    def add(self, day: str, values: Sequence[Any], size: int = 0) -> None:
        """One row; `size` is about how many bytes it holds."""
        columns = self.held.get(day)
        if columns is None:
            columns = self.held[day] = [[] for _ in self.schema]
        for column, value in zip(columns, values, strict=True):
            column.append(value)
        self._count(day, size)
        self.rows += 1
        self.bytes += size
        if self.rows >= _HELD or self.bytes >= _HELD_BYTES:
            self._put_aside()

    def _count(self, day: str, size: int) -> None:
        groups = self.groups.setdefault(day, [0])
        if groups[-1] >= _GROUP or self.size[day] >= _BYTES:
            groups.append(0)
            self.size[day] = 0
        groups[-1] += 1
        self.size[day] += size

    def _batch(self, day: str) -> "pa.RecordBatch":
        import pyarrow as pa

        arrays = [pa.array(c, type=f.type) for c, f in zip(self.held.pop(day), self.schema, strict=True)]
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)

    def _put_aside(self) -> None:
        self.spill = self.spill or Spill(self.attempt.path / f".{self.part}.spilled", self.schema)
        for day in list(self.held):
            self.spill.add(day, self._batch(day))
        self.rows = self.bytes = 0

    def close(self) -> None:
        """Write every day's file, one after another, and remove what was spilled."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        if self.spill:
            self.spill.close()
        for day in sorted(self.groups):
            folder = self.attempt.folder(day)
            folder.mkdir(parents=True, exist_ok=True)
            batches = chain(self.spill.of(day) if self.spill else (), [self._batch(day)] if day in self.held else ())
            with pq.ParquetWriter(folder / self.part, self.schema, compression="zstd") as writer:
                for group in cut(batches, self.groups[day]):
                    writer.write_table(pa.Table.from_batches(group).combine_chunks())
        self.groups.clear()
        if self.spill:
            self.spill.remove()


class Spill:
    """Rows of many days in one file, which come back day by day in the order in which they went."""

    def __init__(self, path: Path, schema: "pa.Schema") -> None:
        import pyarrow as pa

        self.path, self.count = path, 0
        self.places: dict[str, list[int]] = {}
        self.writer = pa.ipc.new_file(path, schema, options=pa.ipc.IpcWriteOptions(compression="lz4"))

    def add(self, day: str, batch: "pa.RecordBatch") -> None:
        self.writer.write_batch(batch)
        self.places.setdefault(day, []).append(self.count)
        self.count += 1

    def close(self) -> None:
        """No row comes any more."""
        import pyarrow as pa

        self.writer.close()
        self.reader = pa.ipc.open_file(pa.memory_map(str(self.path)))

    def of(self, day: str) -> Iterator["pa.RecordBatch"]:
        """What a day has here."""
        return (self.reader.get_batch(place) for place in self.places.get(day, ()))

    def remove(self) -> None:
        self.path.unlink()


def cut(batches: Iterable["pa.RecordBatch"], lengths: Iterable[int]) -> Iterator[list["pa.RecordBatch"]]:
    """The rows of batches in groups of these lengths, which are as many rows together."""
    coming = iter(batches)
    rest: pa.RecordBatch | None = None
    for length in lengths:
        group, lacking = [], length
        while lacking:
            batch = rest if rest is not None else next(coming)
            group.append(batch.slice(0, lacking))
            rest = batch.slice(lacking) if batch.num_rows > lacking else None
            lacking -= group[-1].num_rows
        yield group


class Plan:
    """A declaration made ready: functions of a row, and which of its fields are spoken for."""

    def __init__(self, declared: RowFile) -> None:
        raw = table("raw", declared.table)
        self.declared, self.raw = declared, raw
        self.delivered = [name for name in raw.names if name not in OURS]
        self.cells = [_maker(declared.columns.get(name)) for name in self.delivered]
        self.event = self.delivered.index("event_time") if raw.dated else None

    def event_of(self, row: Row) -> str | None:
        """The event's time as the publisher's row gives it; None for tables without days."""
        cell = None if self.event is None else self.cells[self.event]
        try:
            return cell and cell(row)
        except _FAULTS:
            return None

    def holds(self, row: Row) -> bool:
        """Whether the row is one of this table's."""
        try:
            return self.declared.where is None or bool(self.declared.where(row))
        except _FAULTS:
            return False

    def values(self, row: Row) -> list[str | None] | None:
        """The delivered columns, in order; None if one cannot be made."""
        try:
            return [None if cell is None else cell(row) for cell in self.cells]
        except _FAULTS:
            return None


class Names:
    """Which of a row's fields are named by the declarations that claim it, or left out by one of them."""

    def __init__(self, declared: Sequence[RowFile]) -> None:
        paths = {path for one in declared for path in one.declared}
        self.left_out = tuple(pattern for one in declared for pattern in one.left_out)
        self.kept = {path for one in declared for path in one.kept}
        self.named = {path: path not in self.kept for path in paths}  # and what was asked once
        self.parents = {path[:n] for path in paths for n, sign in enumerate(path) if sign == "."}
        self.plain = frozenset(paths - self.kept)

    def unnamed(self, row: Row) -> dict[str, Any]:
        """What the publisher gives and no declaration names. Fields without a value are left away."""
        return {} if row.keys() <= self.plain else dict(self._unnamed(row, ""))

    def _unnamed(self, row: Row, above: str) -> Iterator[tuple[str, Any]]:
        for name, value in row.items():
            path = above + name
            if value is None or self._is_named(path):
                continue
            if path in self.parents and isinstance(value, Mapping):
                inner = dict(self._unnamed(value, path + "."))
                if inner:
                    yield name, inner
            else:
                yield name, value

    def _is_named(self, path: str) -> bool:
        found = self.named.get(path)
        if found is None:
            found = self.named[path] = named(path, self.left_out)
        return found


def _maker(cell: Cell | None) -> Callable[[Row], str | None] | None:
    if cell is None:
        return None
    if not isinstance(cell, str):
        return cell.make
    return (lambda row: text_of(value_of(row, cell))) if "." in cell else (lambda row: text_of(row.get(cell)))


# Files beside ---------------------------------------------------------------------------------


Looked = list[tuple[str, dict[str | None, Row]]]
"""For each side file: the field that is looked up, and what joins the row, by its value."""


def look_ups(sides: Iterable[tuple[Side, Sequence[Delivered]]]) -> Looked:
    """The side files, read whole. A line that cannot be read, or a key with two meanings, is a `Problem`."""
    return [(side.on, _look_up(side, files)) for side, files in sides]


def _look_up(side: Side, files: Sequence[Delivered]) -> dict[str | None, Row]:
    found: dict[str | None, Row] = {}
    for file in files:
        for number, row, _ in records(file.path, Reading.of(side)):
            if row is None:
                raise Problem(f"row {number} of {file.name} cannot be read", where=str(file.path), do="mend that line")
            lacking = [name for name in (side.key, *side.columns) if name not in row]
            if lacking:
                raise Problem(
                    f"{file.name} lacks the column '{lacking[0]}'",
                    where=str(file.path),
                    do=nearest(list(row), lacking[0]) or "give the file as its publisher lays it out",
                )
            joined = {name: row[name] for name in side.columns}
            if found.setdefault(text_of(row[side.key]), joined) != joined:
                raise Problem(
                    f"{file.name} gives {side.key} of row {number} a second meaning",
                    where=str(file.path),
                    do=f"leave one row for each {side.key}",
                )
    return found


# Rows -----------------------------------------------------------------------------------------


@dataclass
class Filing:
    """Rows on their way from files that are read in one way into the tables that `plans` declare.

    `outs` and `found` are by table; `clock` files a row of a dated table, `since` is the known time of the others; only
    rows of days that are `wanted` are written.
    """

    plans: Sequence[Plan]
    looked: Looked
    outs: Mapping[str, Days] = field(default_factory=dict)
    found: Mapping[str, Filed] = field(default_factory=dict)
    clock: Clock = lambda event: (date.max, _NEVER)
    since: datetime = _NEVER
    wanted: Callable[[str], bool] = lambda day: True

    def __post_init__(self) -> None:
        self.names: dict[tuple[int, ...], Names] = {}
        self.places = any(name in {FILE, PLACE} for plan in self.plans for name in _reads(plan.declared))

    def file(self, file: Delivered) -> None:
        """Write every row of a file."""
        how = Reading.of(self.plans[0].declared)
        columns = _Columns(self.plans, file, header(file.path, how))
        for number, row, line in records(file.path, how):
            columns.saw(row)
            claimed = [] if row is None else self._claimed(row, file, number)
            if not claimed or row is None:
                first = self.found[self.plans[0].raw.name]
                first.unreadable += row is None
                first.unclaimed += row is not None
                self._keep(self.plans[0], file, number, row, line)
            else:
                columns.fed(claimed, row)
                self._row(claimed, file, number, row, line)
        columns.check()

    def _claimed(self, row: Row, file: Delivered, number: int) -> list[int]:
        """Which plans claim a row; two of one table would make one row two."""
        full = self.full(row, file, number)
        claimed = [n for n, plan in enumerate(self.plans) if plan.holds(full)]
        tables = [self.plans[n].raw.name for n in claimed]
        if len(set(tables)) < len(tables):
            twice = next(name for name in tables if tables.count(name) > 1)
            raise Problem(
                f"row {number} of {file.name} would be two rows of {twice}",
                where=str(file.path),
                do="let the declarations of one table exclude each other by 'where'",
            )
        return claimed

    def full(self, row: Row, file: Delivered, number: int) -> Row:
        """The row with its place, and with what the files beside say of it."""
        if not self.places and not self.looked:
            return row
        beside = {k: v for on, found in self.looked for k, v in found.get(text_of(value_of(row, on)), {}).items()}
        return {FILE: file.name, PLACE: str(number), **row, **beside}

    def _row(self, claimed: list[int], file: Delivered, number: int, row: Row, line: bytes | None) -> None:
        """One row for each table that claims it; what none of them names goes to the first."""
        full = self.full(row, file, number)
        names = self.names.get(tuple(claimed))
        if names is None:
            names = self.names[tuple(claimed)] = Names([self.plans[n].declared for n in claimed])
        extra = names.unnamed(row)
        told = _json(extra)
        for n in claimed:
            plan = self.plans[n]
            values = plan.values(full)
            if values is None or (extra and told is None):
                self.found[plan.raw.name].unreadable += 1
                self._keep(plan, file, number, row, line)
                continue
            self.found[plan.raw.name].extra.update(extra.keys() - names.kept)
            self._put(plan, file, number, [*values], None, told, len(line or b""))
            extra, told = {}, None

    def _keep(self, plan: Plan, file: Delivered, number: int, row: Row | None, line: bytes | None) -> None:
        """A row that is kept whole, as it came."""
        whole = line if line is not None else json.dumps(row, ensure_ascii=False).encode("utf-8", "backslashreplace")
        self._put(plan, file, number, [None] * len(plan.delivered), escape(whole), None, len(whole))

    def _put(
        self,
        plan: Plan,
        file: Delivered,
        number: int,
        values: list[str | None],
        unreadable: str | None,
        extra: str | None,
        size: int,
    ) -> None:
        of = self.found[plan.raw.name]
        filed, known = self.clock(values[plan.event]) if plan.event is not None else (None, self.since)
        day = filed.isoformat() if filed else WHOLE
        of.seen += 1
        if self.wanted(day):
            of.read[day] += 1
            of.late += filed is not None and (known.date() - filed).days > 1
            tail = [file.name, number, known, plan.declared.simulated, unreadable, extra, *([filed] if filed else [])]
            self.outs[plan.raw.name].add(day, [*values, *tail], size)


def _json(extra: dict[str, Any]) -> str | None:
    """Fields as JSON; None if there are none, or if they are nested too deep to be written."""
    try:
        return json.dumps(extra, ensure_ascii=False) if extra else None
    except RecursionError:
        return None


def names_its_file(declared: RowFile) -> bool:
    """Whether what a row means depends on its file's name: then the same bytes under another name are other rows."""
    return FILE in _reads(declared)


def _reads(declared: RowFile) -> set[str]:
    cells = [(cell,) if isinstance(cell, str) else cell.of for cell in declared.columns.values()]
    return {*declared.reads, *(name for cell in cells for name in cell)}


class _Columns:
    """Which declared fields a file has: told by its header, or else by its rows."""

    def __init__(self, plans: Sequence[Plan], file: Delivered, head: list[str] | None) -> None:
        self.file, self.by_rows = file, head is None
        self.rows = self.read = 0
        self.names: set[str] = set(head or ())
        self.lacking = [(plan, set(plan.declared.required)) for plan in plans] if head is None else []
        self.fed_plans: set[int] = set()
        if head is not None:
            for plan in plans:
                self._refuse(plan.raw, plan.declared.required - self.names)

    def saw(self, row: Row | None) -> None:
        """A row was read, or a line that is none. Fields that decide whose a row is may stand in any."""
        self.rows += 1
        self.read += row is not None
        for plan, lacking in self.lacking:
            if lacking and row is not None:
                self.names.update(row)
                lacking -= {name for name in lacking & set(plan.declared.reads) if has(row, name)}

    def fed(self, claimed: Sequence[int], row: Row) -> None:
        """A row of the tables of these plans was read."""
        self.fed_plans.update(claimed)
        for n in claimed:
            if self.lacking and self.lacking[n][1]:
                self.lacking[n][1].difference_update([name for name in self.lacking[n][1] if has(row, name)])

    def check(self) -> None:
        """Refuse a file of which no line could be read, and one that lacks a declared field in every row."""
        if self.by_rows and self.rows and not self.read:
            raise Problem(
                f"no line of {self.file.name} can be read",
                where=str(self.file.path),
                do="check its format and encoding: JSON objects, one a line, in UTF-8",
            )
        for n, (plan, lacking) in enumerate(self.lacking):
            if self.read:
                self._refuse(plan.raw, lacking if n in self.fed_plans else lacking & set(plan.declared.reads))

    def _refuse(self, raw: Table, lacking: Iterable[str]) -> None:
        missing = sorted(lacking)
        if missing:
            others = sorted(self.names - set(missing))
            near = next((hint for name in missing if (hint := nearest(others, name))), "")
            raise Problem(
                f"{self.file.name} lacks {', '.join(repr(name) for name in missing)}, declared for {raw.name}",
                where=str(self.file.path),
                do=near or f"give files as declared; it has: {', '.join(others[:12]) or '(nothing)'}",
            )


def has(row: Row, path: str) -> bool:
    """Whether a field is there, with a value or without one."""
    if path in row:
        return True
    head, _, rest = path.partition(".")
    inner = row.get(head)
    return bool(rest) and isinstance(inner, Mapping) and has(inner, rest)
