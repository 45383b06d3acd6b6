"""Sources: one file a shop, saying how its files become raw tables. Declarations only; `jobs.importing` does the work.

Standard library only, so that any step may ask a source for its span and its clock.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from fnmatch import fnmatchcase
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from jobs.console import one_of

Format = Literal["jsonl", "bulk", "csv", "json.zip", "parquet"]
"""What a file holds, gzipped or not: JSON lines; OpenSearch's bulk lines; separated values with a header; a zipped
JSON list; Parquet."""

Row = Mapping[str, Any]
FILE, PLACE = "@file", "@row"
"""Fields that every row has beside the publisher's: the file's name in the shop's folder, and the row's place in it."""


def field(row: Row, path: str) -> Any:
    """The value of a field; dots lead into objects. None if there is none.

    >>> field({"a.b": 1}, "a.b"), field({"a": {"b": 2}}, "a.b"), field({"a": None}, "a.b")
    (1, 2, None)
    """
    if path in row:
        return row[path]
    head, _, rest = path.partition(".")
    inner = row.get(head)
    return field(inner, rest) if rest and isinstance(inner, Mapping) else None


def text_of(value: Any) -> str | None:
    """A publisher's value as raw text, wherever it is read: lists and objects as JSON. None if there is none.

    >>> text_of("a"), text_of(True), text_of(1.5), text_of(["é"]), text_of(date(2024, 1, 31)), text_of(None)
    ('a', 'true', '1.5', '["é"]', '2024-01-31', None)
    """
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, date | time):  # of a mapping
        return value.isoformat()
    return json.dumps(value, ensure_ascii=False)


@dataclass(frozen=True)
class Made:
    """A raw column that a function makes of the publisher's row. `of` names the fields that it reads: they must be
    there. A function that fails (ValueError, TypeError, ...) makes its row unreadable: kept whole, never dropped.
    """

    make: Callable[[Row], str | None]
    of: tuple[str, ...] = ()


Cell = str | Made
"""Where a raw column comes from: the publisher's field of that name (`field`), or what is made of the row."""


def always(text: str) -> Made:
    """The same text in every row."""
    return Made(lambda row: text)


@dataclass(frozen=True)
class Side:
    """A small file beside: its `columns` join every row whose field `on` equals the file's `key`.

    It is held in memory. A key that stands twice, with different values, stops the import: nobody knows which is meant.
    """

    pattern: str
    on: str
    key: str
    columns: tuple[str, ...]
    format: Format = "csv"
    delimiter: str = ","
    encoding: str = "utf-8"


@dataclass(frozen=True)
class RowFile:
    """Files that are read row by row: each row that `where` holds of gives one row of `table`.

    Declarations with the same pattern are read together, so that a line may feed several tables. A line that cannot be
    read, and one that no declaration claims, is a row of the first one's table, whole, in its column `unreadable`.

    A field that is named here, and not `optional`, must be in the file: in the header, in the schema, or in at least
    one line. One that is not named is kept in `extra`, except those `left_out` (patterns as of file names; say why in
    the source's docstring).
    """

    table: str
    pattern: str  # a glob in the shop's folder; the same name with .gz at its end is meant too
    format: Format
    columns: Mapping[str, Cell]
    simulated: bool = False
    delimiter: str = ","
    encoding: str = "utf-8"
    where: Callable[[Row], bool] | None = None
    reads: tuple[str, ...] = ()  # fields that `where` reads
    optional: frozenset[str] = frozenset()
    left_out: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()  # fields that are kept in `extra` as well, as something else was made of them
    sides: tuple[Side, ...] = ()

    @property
    def joined(self) -> frozenset[str]:
        """Fields that come from files beside, not from the row's own."""
        return frozenset(column for side in self.sides for column in side.columns)

    @property
    def declared(self) -> frozenset[str]:
        """The publisher's fields that this declaration names."""
        cells = [(cell,) if isinstance(cell, str) else cell.of for cell in self.columns.values()]
        named = {*self.reads, *(side.on for side in self.sides), *(name for cell in cells for name in cell)}
        return frozenset(named - {FILE, PLACE} - self.joined)

    @property
    def required(self) -> frozenset[str]:
        """Those without which a file is refused."""
        return self.declared - self.optional


@dataclass(frozen=True)
class View:
    """Parquet files that a query can name. A file that lacks one of `columns` is refused; a column that is named
    neither there nor in `left_out` is kept in the view's column `extra`."""

    pattern: str
    columns: tuple[str, ...]
    left_out: tuple[str, ...] = ()
    optional: frozenset[str] = frozenset()


@dataclass(frozen=True)
class ParquetTable:
    """A raw table made by one SQL query over Parquet files.

    The files named by `views` can be queried as views with the publisher's columns and `source_file`, `source_row` and
    `extra`. The query gives the raw columns it can (the others become null), and must give `source_file` and
    `source_row`; it may give `extra` and `simulated`.
    """

    table: str
    sql: str
    views: tuple[str, ...]


@dataclass(frozen=True)
class ParquetStream:
    """A raw table whose rows are a Parquet file's, in its order, and whose time is told by one whole-number column.

    For files too long to shuffle: it is streamed without Spark. `time` gives the event's time for a value of `by`.
    """

    table: str
    view: str
    by: str
    time: Callable[[int], str]
    columns: Mapping[str, str]  # raw column -> the publisher's


@dataclass(frozen=True)
class Maker:
    """What makes a shop's files: "module:function", called with the shop's home, `scale` and `seed`, and, if it works
    on top of the publisher's real files, with their folder. It writes into the home's folder `source`."""

    function: str
    on_top: bool  # of the publisher's files; else it makes them all, unless --from gives them
    room: int = 0  # bytes of disk that it wants, for a shop of scale 1 or less


@dataclass(frozen=True)
class Source:
    """A shop's delivery: what it holds and which span of time it covers."""

    name: str
    doc: str
    first: date  # first day of the span (UTC)
    last: date  # last day of the span (UTC), included
    delay: timedelta  # known_time = event_time + delay, for imported history
    licence: str
    rows: tuple[RowFile, ...] = ()
    parquet: tuple[ParquetTable, ...] = ()
    streams: tuple[ParquetStream, ...] = ()
    views: Mapping[str, View] | None = None
    needs_folder: bool = False  # its files are the user's: `--from DIR` is required
    wheel: str = ""  # "package/folder": an installed package of data that holds its files, if --from gives none
    maker: Maker | None = None
    mapped: bool = False  # the folder says itself how its files become tables (see docs/mapping.md)
    span_found: bool = False  # the span is that of the times in its files; first and last stand for none of them
    deliveries: bool = False  # its files lie in sub-folders named by the time of their delivery
    end: datetime | None = None  # when the delivery was closed, if that is not the end of the last day
    cleaning: Mapping[str, Any] | None = None  # what differs from the defaults of `clean`'s policy

    @property
    def fed(self) -> frozenset[str]:
        """The raw tables that it has files for; none yet, if the folder says itself how they become tables."""
        made: tuple[RowFile | ParquetTable | ParquetStream, ...] = (*self.rows, *self.parquet, *self.streams)
        return frozenset(each.table for each in made)

    @property
    def opened(self) -> datetime:
        """The shop's first moment (UTC): an event before it has a wrong clock."""
        return datetime.combine(self.first, time(), UTC)

    @property
    def closed(self) -> datetime:
        """When the delivery was closed (UTC): nothing in it can have happened later."""
        return self.end or datetime.combine(self.last + timedelta(days=1), time(), UTC)


def named(name: str, patterns: tuple[str, ...]) -> bool:
    """Whether one of `patterns` (as of file names, in small and capital letters) fits `name`."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


_READERS = ("text",)  # files beside the shops' own: how files are read


def source(name: str) -> Source:
    """The source called `name`; `Usage` with a suggestion if there is none."""
    found = import_module(f"jobs.sources.{one_of('shop', name, names())}").SOURCE
    assert isinstance(found, Source)
    return found


def names() -> list[str]:
    """All sources, in order."""
    return sorted(path.stem for path in Path(__file__).parent.glob("[a-z]*.py") if path.stem not in _READERS)


def declared(name: str) -> Mapping[str, Any]:
    """What the source called `name` wants of `clean` beside its defaults; nothing if there is no such source."""
    return (source(name).cleaning if name in names() else None) or {}
