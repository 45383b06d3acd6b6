"""Sources: one file a shop, saying how its files become raw tables. Declarations only; `jobs.importing` does the work.

Standard library only, so that any step may ask a source for its span and its clock.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from jobs.console import one_of

Format = Literal["jsonl", "csv", "json.zip"]
Row = Mapping[str, Any]
Cell = str | Callable[[Row], str | None]
"""Where a raw column comes from: the publisher's column of that name, or a function of the publisher's row."""


@dataclass(frozen=True)
class TextFile:
    """Files of text that are read line by line: each good row gives one row of `table`, each broken one too."""

    table: str
    pattern: str  # a glob in the shop's folder
    format: Format
    columns: Mapping[str, Cell]
    simulated: bool = False


@dataclass(frozen=True)
class ParquetTable:
    """A raw table made by one SQL query over Parquet files.

    The files named by `views` can be queried as views with the publisher's columns and `source_file`,
    `source_row`. The query gives the raw columns it can (the others become null), and must give
    `source_file` and `source_row`; it may give `simulated`.
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
class Source:
    """A shop's delivery: what it holds and which span of time it covers."""

    name: str
    doc: str
    first: date  # first day of the span (UTC)
    last: date  # last day of the span (UTC), included
    delay: timedelta  # known_time = event_time + delay, for imported history
    licence: str
    texts: tuple[TextFile, ...] = ()
    parquet: tuple[ParquetTable, ...] = ()
    streams: tuple[ParquetStream, ...] = ()
    views: Mapping[str, str] | None = None  # view -> glob of Parquet files, in one of the source's folders
    needs_folder: bool = False  # its files are the user's: `--from DIR` is required
    end: datetime | None = None  # when the delivery was closed, if that is not the end of the last day
    cleaning: Mapping[str, Any] = field(default_factory=dict)  # what differs from the defaults of `clean`'s policy

    @property
    def opened(self) -> datetime:
        """The shop's first moment (UTC): an event before it has a wrong clock."""
        return datetime.combine(self.first, time(), UTC)

    @property
    def closed(self) -> datetime:
        """When the delivery was closed (UTC): nothing in it can have happened later."""
        return self.end or datetime.combine(self.last + timedelta(days=1), time(), UTC)


def source(name: str) -> Source:
    """The source called `name`; `Usage` with a suggestion if there is none."""
    found = import_module(f"jobs.sources.{one_of('shop', name, _names())}").SOURCE
    assert isinstance(found, Source)
    return found


def _names() -> list[str]:
    return [path.stem for path in Path(__file__).parent.glob("[a-z]*.py")]


def declared(name: str) -> Mapping[str, Any]:
    """What the source called `name` wants of `clean` beside its defaults; nothing if there is no such source."""
    return source(name).cleaning if name in _names() else {}
