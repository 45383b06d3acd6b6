"""Text files -> raw rows: JSON lines, CSV and zipped JSON lists, streamed, broken lines kept whole.

Line numbers are physical lines from 1; a CSV record that spans lines has the number of its first one, and the
header is line 1. Blank lines are no rows. Memory is bounded by `_GROUP` rows a day, whatever the file's size.
"""

import csv
import json
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from jobs.console import Problem
from jobs.sources import Cell, Row, Source, TextFile
from jobs.tables import WHOLE, table
from jobs.warehouse import Attempt, arrow_schema

if TYPE_CHECKING:
    import pyarrow as pa

Parsed = tuple[int, Row | None, str | None]
"""Line, the publisher's row, or the line as it came where it could not be read."""

_OURS = ("source_file", "source_row", "known_time", "simulated", "unreadable", "day")
_GROUP = 20_000  # rows of a day in one Parquet row group
_RECORD = 1 << 20  # bytes after which an open quote is taken for a fault of its own line


def escape(line: bytes) -> str:
    r"""A line as text without loss: backslashes doubled, bytes that are no UTF-8 as \xNN.

    >>> escape(b'{"a": "\xff"}')
    '{"a": "\\xff"}'
    """
    return line.replace(b"\\", b"\\\\").decode("utf-8", "backslashreplace")


def unescape(text: str) -> bytes:
    """The bytes that `escape` was given."""
    pieces = [piece.split("\\x") for piece in text.split("\\\\")]
    return b"\\".join(
        b"".join([parts[0].encode(), *(bytes([int(part[:2], 16)]) + part[2:].encode() for part in parts[1:])])
        for parts in pieces
    )


def json_lines(stream: BinaryIO) -> Iterator[Parsed]:
    """One JSON object a line. Numbers stay as they were written."""
    for number, line in enumerate(stream, 1):
        bare = line.rstrip(b"\r\n")
        if bare.strip():
            row = _json_row(bare)
            yield (number, row, None) if row is not None else (number, None, escape(bare))


def _json_row(line: bytes) -> Row | None:
    try:
        row = json.loads(line.decode("utf-8"), parse_int=str, parse_float=str, parse_constant=str)
        if not isinstance(row, dict):
            return None
        if b"\\u" in line:  # half a surrogate pair is no text
            json.dumps(row, ensure_ascii=False).encode("utf-8")
        return row
    except (ValueError, RecursionError):
        return None


def csv_records(stream: BinaryIO) -> Iterator[Parsed]:
    """Comma-separated records with a header; quoted fields may hold commas, quotes and newlines."""
    header: list[str] | None = None
    for number, record in _quoted(stream):
        if not record.strip():
            continue
        try:
            cells = next(csv.reader([record.decode("utf-8-sig" if number == 1 else "utf-8")], strict=True))
        except (ValueError, csv.Error, StopIteration):
            cells = None
        if header is None:
            if cells is None:
                raise Problem("the header cannot be read", do="give a CSV file in UTF-8 with a header line")
            header = cells
        elif cells is None or len(cells) != len(header):
            yield number, None, escape(record)
        else:
            yield number, {k: v if v != "" else None for k, v in zip(header, cells, strict=True)}, None


def _quoted(stream: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Lines, joined while a quote is open. A quote that never closes spoils its own line only."""
    held: list[bytes] = []
    first = size = 0
    open_quote = False

    def loose(lines: list[bytes], start: int) -> Iterator[tuple[int, bytes]]:
        for offset, line in enumerate(lines):
            yield start + offset, line.rstrip(b"\r\n")

    for number, line in enumerate(stream, 1):
        first = first if held else number
        held.append(line)
        size += len(line)
        open_quote ^= line.count(b'"') % 2 == 1
        if not open_quote:
            yield first, b"".join(held).rstrip(b"\r\n")
        elif size > _RECORD:
            yield from loose(held, first)
        else:
            continue
        held, size, open_quote = [], 0, False
    yield from loose(held, first)


def json_list(path: Path) -> Iterator[Parsed]:
    """A zipped JSON list of objects; the number is the place in the list. One file is held at a time."""
    try:
        with zipfile.ZipFile(path) as archive:
            rows = json.loads(archive.read(archive.namelist()[0]), parse_int=str, parse_float=str, parse_constant=str)
    except (zipfile.BadZipFile, ValueError, IndexError, OSError) as fault:
        raise Problem(f"{path.name} holds no zipped JSON", where=str(path), do="fetch the file again") from fault
    if not isinstance(rows, list):
        raise Problem(f"{path.name} holds no list of objects", where=str(path), do="check that it is the shop's file")
    for number, row in enumerate(rows, 1):
        good = isinstance(row, dict)
        yield number, row if good else None, None if good else escape(json.dumps(row, ensure_ascii=False).encode())


def parsed(path: Path, format: str) -> Iterator[Parsed]:
    """Every row of a file."""
    if format == "json.zip":
        yield from json_list(path)
        return
    with path.open("rb") as stream:
        try:
            yield from json_lines(stream) if format == "jsonl" else csv_records(stream)
        except Problem as problem:
            raise Problem(problem.what, where=str(path), do=problem.do) from problem


def moment(text: str | None) -> datetime | None:
    """A time in ISO 8601, as UTC; None if it is none. A time without a zone is UTC."""
    try:
        found = datetime.fromisoformat(text) if text else None
        if found is None:
            return None
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def clocks(shop: Source, event_time: str | None) -> tuple[date, datetime]:
    """The day under which a row is filed, and when the shop could know it (see `jobs.importing.raw_rows`)."""
    happened = moment(event_time)
    if happened is None:
        return shop.last, shop.closed
    day = happened.date()
    known = min(happened + shop.delay, shop.closed) if shop.opened <= happened <= shop.closed else shop.closed
    return (day if shop.first <= day <= shop.last else shop.last), known


def _text(value: Any) -> str | None:
    """A JSON value as text; nested ones as JSON."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return json.dumps(value, ensure_ascii=False)


def _cell(row: Row, cell: Cell) -> str | None:
    return cell(row) if callable(cell) else _text(row.get(cell))


class _Days:
    """Parquet files of an attempt, one a day. Row groups depend on a day's own rows only, so that a range of days
    gives the same bytes as the whole."""

    def __init__(self, attempt: Attempt, schema: "pa.Schema") -> None:
        self.attempt, self.schema = attempt, schema
        self.held: dict[str, list[list[Any]]] = {}
        self.writers: dict[str, Any] = {}

    def add(self, day: str, values: Sequence[Any]) -> None:
        columns = self.held.get(day)
        if columns is None:
            columns = self.held[day] = [[] for _ in self.schema]
        for column, value in zip(columns, values, strict=True):
            column.append(value)
        if len(columns[0]) >= _GROUP:
            self.flush(day)

    def flush(self, day: str) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        if day not in self.writers:
            folder = self.attempt.folder(day)
            folder.mkdir(parents=True)
            self.writers[day] = pq.ParquetWriter(folder / "part-0.parquet", self.schema, compression="zstd")
        arrays = [pa.array(c, type=f.type) for c, f in zip(self.held.pop(day), self.schema, strict=True)]
        self.writers[day].write_table(pa.Table.from_arrays(arrays, schema=self.schema))

    def close(self) -> None:
        for day in sorted(self.held):
            self.flush(day)
        for writer in self.writers.values():
            writer.close()


def import_text(
    attempt: Attempt, shop: Source, text: TextFile, paths: Sequence[Path], wanted: Callable[[str], bool]
) -> tuple[Counter[str], Counter[str], set[str]]:
    """Write the rows of `paths` whose day is `wanted`; returns rows read and unreadable rows by day, and the names
    of fields that the source does not declare (of files that carry our own columns)."""
    declared = table("raw", attempt.table)
    delivered = [name for name in declared.names if name not in _OURS]
    cells = [text.columns.get(column) for column in delivered]
    own = {cell for cell in text.columns.values() if isinstance(cell, str)} if text.format == "jsonl" else None
    read: Counter[str] = Counter()
    broken: Counter[str] = Counter()
    extra: set[str] = set()
    out = _Days(attempt, arrow_schema(declared))
    for path in paths:
        for number, row, unreadable in parsed(path, text.format):
            values = [None if cell is None or row is None else _cell(row, cell) for cell in cells]
            event = values[delivered.index("event_time")] if declared.dated else None
            filed, known = clocks(shop, event) if declared.dated else (None, shop.opened)
            day = filed.isoformat() if filed else WHOLE
            if not wanted(day):
                continue
            if own is not None and row is not None and not own.issuperset(row):
                extra |= set(row) - own
            read[day] += 1
            broken[day] += unreadable is not None
            tail = [path.name, number, known, text.simulated, unreadable, *([filed] if declared.dated else [])]
            out.add(day, [*values, *tail])
    out.close()
    return read, broken, extra
