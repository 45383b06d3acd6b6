"""How files are read: JSON lines, bulk lines, separated values, zipped JSON and Parquet, streamed, gzipped or not.

Line numbers are physical lines from 1; a CSV record that spans lines has the number of its first one, and the
header is line 1. Blank lines are no rows. A line that cannot be read is given whole, as bytes. What spoils a whole file
(no header, half a gzip file, an encoding that does not fit) is a `Problem`: the import stops, and nothing is published.
"""

import codecs
import csv
import gzip
import io
import json
import zipfile
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol

from jobs.console import Problem
from jobs.sources import Format, Row, RowFile, Side, Source

if TYPE_CHECKING:
    import pyarrow as pa

Record = tuple[int, Row | None, bytes | None]
"""Place, the publisher's row (None where it could not be read), and the line as it came (None for rows of Parquet)."""
Parsed = tuple[int, Row | None, str | None]
"""Place, the publisher's row, or the line as it came (`escape`) where it could not be read."""

_RECORD = 1 << 20  # bytes after which an open quote is taken for a fault of its own line
_JOINED = 20  # lines in quotes after which it is asked whether they are rows
_LINE = 1 << 26  # bytes of the longest line: a longer one is no line, and would not fit into a column
_BATCH = 4_096  # rows of Parquet held at a time
_ACTIONS = frozenset(("index", "create", "update", "delete"))
csv.field_size_limit(_LINE)


class Lines(Protocol):
    """What lines are read from."""

    def readline(self, limit: int = -1, /) -> bytes: ...


@dataclass(frozen=True)
class Reading:
    """How a file is to be read."""

    format: Format
    delimiter: str = ","
    encoding: str = "utf-8"

    @classmethod
    def of(cls, declared: RowFile | Side) -> "Reading":
        """As declared."""
        return cls(declared.format, declared.delimiter, declared.encoding)


# Lines ----------------------------------------------------------------------------------------


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


class _Utf8:
    """Lines of a file in another encoding, as UTF-8. What does not fit the encoding is an error, never replaced."""

    def __init__(self, stream: IO[bytes], encoding: str) -> None:
        self.text = io.TextIOWrapper(stream, encoding=encoding, errors="strict", newline="\n")

    def readline(self, limit: int = -1, /) -> bytes:
        return self.text.readline(limit).encode("utf-8", "surrogatepass")


@contextmanager
def opened(path: Path, encoding: str = "utf-8") -> Iterator[Lines]:
    """A file's lines, unpacked if it is gzip, in UTF-8."""
    with path.open("rb") as plain:
        packed = plain.peek(2)[:2] == b"\x1f\x8b"
        stream: IO[bytes] = gzip.GzipFile(fileobj=plain) if packed else plain  # type: ignore[assignment]
        unicode = codecs.lookup(encoding).name == "utf-8"
        yield stream if unicode else _Utf8(stream, encoding)


@contextmanager
def whole(path: Path) -> Iterator[None]:
    """What goes wrong with a file as a whole, as a `Problem` that names it."""
    try:
        yield
    except Problem as problem:
        raise Problem(problem.what, where=problem.where or str(path), do=problem.do) from problem
    except (EOFError, zlib.error, gzip.BadGzipFile) as fault:
        raise Problem(f"{path.name} is no whole gzip file", where=str(path), do="fetch the file again") from fault
    except UnicodeError as fault:
        raise Problem(
            f"{path.name} is not in the encoding that was declared: {getattr(fault, 'reason', fault)}",
            where=str(path),
            do="declare the encoding that it has, or save it as UTF-8",
        ) from fault


def lines_of(stream: Lines) -> Iterator[tuple[int, bytes]]:
    """Physical lines from 1, without a mark of byte order."""
    number = 0
    while line := stream.readline(_LINE):
        number += 1
        if len(line) >= _LINE and not line.endswith(b"\n"):
            raise Problem(
                f"line {number} is longer than {_LINE >> 20} MB", do="check that the file is one of text lines"
            )
        yield number, line.removeprefix(codecs.BOM_UTF8) if number == 1 else line


def json_lines(stream: Lines) -> Iterator[Record]:
    """One JSON object a line. Numbers stay as they were written. A name that stands twice makes a line unreadable."""
    for number, line in lines_of(stream):
        bare = line.rstrip(b"\r\n")
        if bare.strip():
            yield number, json_row(bare), bare


def bulk_lines(stream: Lines) -> Iterator[Record]:
    """OpenSearch's bulk lines: an action, then its document; a document without an action is a row too.

    A row has the place of its document, and the action's `_index` and `_id` beside the document's fields. An action
    that no document follows is a row of its own that cannot be read.
    """
    waiting: tuple[int, bytes, Row] | None = None
    for number, row, line in json_lines(stream):
        action = _action(row)
        if action is not None:
            if waiting:
                yield waiting[0], None, waiting[1]
            waiting = (number, line or b"", action)
            continue
        lines = b"\n".join([*([waiting[1]] if waiting else []), line or b""])
        if row is not None and waiting:
            row = {**row, **{name: waiting[2][name] for name in ("_index", "_id") if name in waiting[2]}}
        yield number, row, lines
        waiting = None
    if waiting:
        yield waiting[0], None, waiting[1]


def _action(row: Row | None) -> Row | None:
    if row is None or len(row) != 1:
        return None
    name, about = next(iter(row.items()))
    return about if name in _ACTIONS and isinstance(about, dict) else None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice: one of its values would be lost")
    return found


# One decoder for all lines: json.loads with settings makes a new one for each.
_JSON = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=str, object_pairs_hook=_object)


def json_row(line: bytes) -> Row | None:
    """The object that a line holds, or None."""
    try:
        row = _JSON.decode(line.decode("utf-8"))
        if not isinstance(row, dict):
            return None
        if b"\\u" in line:  # half a surrogate pair is no text
            json.dumps(row, ensure_ascii=False).encode("utf-8")
        return row
    except (ValueError, RecursionError):
        return None


def csv_records(stream: Lines, delimiter: str = ",") -> Iterator[Record]:
    """Separated records with a header; quoted fields may hold delimiters, quotes and newlines."""
    header: list[str] | None = None
    for number, record, cells in _records(stream, delimiter):
        if header is None:
            header = _header(cells)
        elif cells is None or len(cells) != len(header):
            yield number, None, record
        else:
            yield number, {k: v if v != "" else None for k, v in zip(header, cells, strict=True)}, record
    if header is None:
        raise Problem("there is no header", do="give a file whose first line names its columns")


def _records(stream: Lines, delimiter: str) -> Iterator[tuple[int, bytes, list[str] | None]]:
    """Records that are not blank, with their cells: lines, joined while a quote is open.

    Lines that make no record together were joined by a stray quote (a title that ends in 17", a quote that never
    closes). Then the first is a record of its own, and joining begins anew with the next: no good line is lost to it.
    """
    lines, back = lines_of(stream), deque[tuple[int, bytes]]()
    held: list[tuple[int, bytes]] = []
    width = size = 0
    open_quote = False
    while True:
        line = back.popleft() if back else next(lines, None)
        if line is not None:
            held.append(line)
            size += len(line[1])
            open_quote ^= line[1].count(b'"') % 2 == 1
            if open_quote and size <= _RECORD:
                continue
        elif not held:
            return
        number, record = held[0][0], b"".join(line for _, line in held).rstrip(b"\r\n")
        cells = _cells(record, delimiter)
        if len(held) > 1 and (open_quote or _strays([line for _, line in held], cells, width, delimiter)):
            back.extendleft(reversed(held[1:]))
            record = held[0][1].rstrip(b"\r\n")
            cells = _cells(record, delimiter)
        if record.strip(b" \r\n"):
            width = width or len(cells or ())
            yield number, record, cells
        held, size, open_quote = [], 0, False


def _strays(lines: list[bytes], cells: list[str] | None, width: int, delimiter: str) -> bool:
    """Whether lines were joined by stray quotes: they have not the header's number of cells together, or so many of
    them have it each by itself that they are rows, not the lines of one field."""
    if cells is None or (width and len(cells) != width):
        return True
    if len(lines) <= _JOINED or width < 2:
        return False
    rows = sum(len(_cells(line.rstrip(b"\r\n"), delimiter) or ()) == width for line in lines[1:-1])
    return rows >= 0.9 * (len(lines) - 2)


def _cells(record: bytes, delimiter: str) -> list[str] | None:
    try:  # one string, not lines of it: a stray carriage return would be the end of a record, and the rest lost
        return next(csv.reader([record.decode("utf-8")], delimiter=delimiter, strict=True))
    except (ValueError, csv.Error, StopIteration):
        return None


def _header(cells: list[str] | None) -> list[str]:
    if cells is None:
        raise Problem(
            "the header cannot be read", do="give a file in UTF-8 with a header line, or declare its encoding"
        )
    twice = sorted({cell for cell in cells if cells.count(cell) > 1})
    if twice:
        raise Problem(f"the header names '{twice[0]}' twice", do="give every column a name of its own")
    return cells


# Whole files ----------------------------------------------------------------------------------


def json_list(path: Path) -> Iterator[Record]:
    """A zipped JSON list of objects; the number is the place in the list. One file is held at a time."""
    try:
        with zipfile.ZipFile(path) as archive:
            rows = json.loads(archive.read(archive.namelist()[0]), parse_int=str, parse_float=str, parse_constant=str)
    except (zipfile.BadZipFile, zlib.error, ValueError, LookupError, OSError, RuntimeError, EOFError) as fault:
        raise Problem(f"{path.name} holds no zipped JSON", where=str(path), do="fetch the file again") from fault
    if not isinstance(rows, list):
        raise Problem(f"{path.name} holds no list of objects", where=str(path), do="check that it is the shop's file")
    for number, row in enumerate(rows, 1):
        good = isinstance(row, dict)
        yield number, row if good else None, None if good else json.dumps(row, ensure_ascii=False).encode()


def parquet_rows(path: Path) -> Iterator[Record]:
    """Rows of a Parquet file as text, by batches: numbers and times as Arrow writes them, nested ones as JSON."""
    import pyarrow.parquet as pq

    place = 0
    with whole_parquet(path):
        file = pq.ParquetFile(path)
        names = _header(list(file.schema_arrow.names))
        for batch in file.iter_batches(_BATCH):
            columns = [_texts(column) for column in batch.columns]
            for cells in zip(*columns, strict=True):
                place += 1
                yield place, dict(zip(names, cells, strict=True)), None


@contextmanager
def whole_parquet(path: Path) -> Iterator[None]:
    """What Arrow cannot read of a Parquet file, as a `Problem` that names it."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError, UnicodeError) as fault:
        raise Problem(
            f"{path.name} is no whole Parquet file, or holds text that is not UTF-8",
            where=str(path),
            do="fetch the file again",
        ) from fault


def _texts(column: "pa.Array") -> list[str | None]:
    import pyarrow as pa

    kind = column.type
    if pa.types.is_dictionary(kind):
        column, kind = column.dictionary_decode(), kind.value_type
    if pa.types.is_timestamp(kind) and kind.unit == "ns":  # the tables hold microseconds
        column = column.cast(pa.timestamp("us", tz=kind.tz), safe=False)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        texts: list[str | None] = column.to_pylist()
        return texts
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        return [None if value is None else escape(value) for value in column.to_pylist()]
    if pa.types.is_nested(kind):
        return [None if v is None else json.dumps(v, ensure_ascii=False, default=str) for v in column.to_pylist()]
    texts = column.cast(pa.string()).to_pylist()
    return texts


def records(path: Path, how: Reading) -> Iterator[Record]:
    """Every row of a file, in order."""
    if how.format == "json.zip":
        yield from json_list(path)
    elif how.format == "parquet":
        yield from parquet_rows(path)
    else:
        readers: dict[str, Callable[[Lines], Iterator[Record]]] = {
            "jsonl": json_lines,
            "bulk": bulk_lines,
            "csv": lambda lines: csv_records(lines, how.delimiter),
        }
        with whole(path), opened(path, how.encoding) as stream:
            yield from readers[how.format](stream)


def parsed(path: Path, format: Format) -> Iterator[Parsed]:
    """Every row of a file; the line as text where it could not be read."""
    for number, row, line in records(path, Reading(format)):
        yield number, row, None if row is not None else escape(line or b"")


def header(path: Path, how: Reading) -> list[str] | None:
    """The columns that a file says it has; None for formats in which each row says so itself."""
    if how.format == "parquet":
        import pyarrow.parquet as pq

        with whole(path), whole_parquet(path):
            return _header(list(pq.read_schema(path).names))
    if how.format != "csv":
        return None
    with whole(path), opened(path, how.encoding) as stream:
        for _, _, cells in _records(stream, how.delimiter):
            return _header(cells)
        raise Problem("there is no header", do="give a file whose first line names its columns")


# Time -----------------------------------------------------------------------------------------


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


def nearest(names: Sequence[str], name: str) -> str:
    """' Did you mean ...?' for a field of the file that is nearly called so; '' if there is none."""
    import difflib

    folded = {other.casefold(): other for other in names}
    near = difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=0.6)
    return f"did you mean '{folded[near[0]]}'?" if near else ""
