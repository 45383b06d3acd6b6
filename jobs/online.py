"""What reads and writes of the online store share, below Feast's API: views, rows, clocks, notes. No Feast.

A store (jobs.feast_store on SQLite, jobs.feast_redis) keeps Feast's own bytes and offers, beside Feast's interface:
`read_rows` (many views and entities in one exchange), `write_rows` (an older row never replaces a newer one), `held`
and `forget` (what there is, and its end), and notes of what `materialise` has brought.
"""

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Any, Protocol
from weakref import WeakKeyDictionary

from jobs import entity_keys
from jobs.console import Problem
from jobs.feast_values import decoder
from jobs.tables import tables
from jobs.warehouse import POINTED, Warehouse

Row = tuple[datetime | None, Sequence[bytes | None]]
"""When the values are true at (None: nothing is stored), and the bytes of each feature that was asked for."""
Written = tuple[bytes, Sequence[bytes], datetime, datetime | None]
"""An entity's key, the bytes of its features, event time and known time."""
ZERO = datetime(1970, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)


class Down(Problem):
    """The online store cannot be reached, read or written; what it holds is as it was."""


@dataclass(frozen=True)
class View:
    """One Feast view, as reads and writes need it: everything that is the same for all entities is made once."""

    feast: Any
    name: str
    keys: tuple[str, ...]
    names: tuple[str, ...]
    kinds: tuple[str, ...]
    ttl: timedelta | None
    personal: bool
    key_of: Callable[[Mapping[str, str]], bytes] = field(repr=False, compare=False)
    decoders: tuple[Callable[[bytes], Any], ...] = field(repr=False, compare=False)
    alike: Mapping[str, Mapping[str, Any]] = field(repr=False, compare=False)
    """For each state, the same word for every feature; under 'nothing' a None for each."""

    @classmethod
    def of(cls, feast: Any, wanted: Sequence[str] | None = None) -> "View":
        """The view with all its features, or with those that are wanted, in the view's order."""
        fields = [each for each in feast.features if wanted is None or each.name in wanted]
        names, keys = tuple(each.name for each in fields), tuple(sorted(feast.join_keys))
        kinds = tuple(str(each.dtype) for each in fields)
        words = {word: dict.fromkeys(names, word) for word in ("present", "expired", "absent")}
        return cls(
            feast=feast,
            name=feast.name,
            keys=keys,
            names=names,
            kinds=kinds,
            ttl=feast.ttl or None,
            personal=feast.tags.get("personal", "no") != "no",
            key_of=entity_keys.writer(keys),
            decoders=tuple(map(decoder, kinds)),
            alike={**words, "nothing": dict.fromkeys(names)},
        )


class Store(Protocol):
    """What both stores do. Times are UTC; SQLite keeps whole seconds, as Feast does there."""

    def read_rows(self, config: Any, asked: Sequence[tuple[View, Sequence[bytes]]]) -> list[list[Row]]:
        """For each view the row of each key, in order."""

    def write_rows(self, config: Any, table: Any, names: Sequence[str], rows: Sequence[Written]) -> int:
        """Write rows of a view, each whole or not at all; those older than what is stored are left out. How many were
        written."""

    def held(self, config: Any, table: Any) -> Iterator[tuple[bytes, dict[str, str], datetime]]:
        """Every entity of which a view holds something: key, names, event time."""

    def forget(self, config: Any, table: Any, keys: Sequence[bytes]) -> None:
        """Remove what a view holds of these entities."""

    def tidy(self, config: Any) -> None:
        """Give freed room back."""

    def notes(self, config: Any) -> dict[str, str]:
        """What was written down beside the values."""

    def note(self, config: Any, name: str, text: str) -> None:
        """Write something down beside the values, for the next reader."""


def whole(stored: datetime) -> datetime:
    """The event time as the tables have it: SQLite keeps whole seconds, and statistics are true at ends of days, so a
    moment within the last second of a day is its last microsecond."""
    if stored.hour == 23 and stored.minute == 59 and stored.second == 59:
        return stored.replace(microsecond=999_999)
    return stored


# The shop's present ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Present:
    """What is published of the statistics: the shop's clock, and the newest partition of each table."""

    now: datetime
    newest: Mapping[str, str]
    signature: tuple[int, ...]
    settled: bool
    """Whether a change after this reading would show in the folders' times."""


_PRESENT: dict[str, tuple[float, int, Present]] = {}
"""By shop: when the folders were last looked at, how many pointers this process had moved by then, what was found."""
_LOOK_AGAIN = 0.1
"""Seconds after which another process's publication is seen; one of this process is seen at once."""
_TICK = 50_000_000
"""Nanoseconds within which two changes of a folder may bear the same time: file systems count in ticks of some 4 ms."""


@lru_cache(maxsize=16)
def _folders(house: Warehouse) -> tuple[str, ...]:
    return tuple(str(house.pointers("stats", declared.name)) for declared in tables("stats"))


def _changed(folder: str) -> int:
    try:
        return os.stat(folder).st_mtime_ns  # noqa: PTH116  a look-up asks this for every table: Path costs four times as much
    except FileNotFoundError:
        return 0


def present(house: Warehouse) -> Present:
    """What is published now. Read again whenever a folder of marks has changed."""
    folders, at = _folders(house), time.monotonic()
    when, moved, known = _PRESENT.get(folders[0], (0.0, -1, None))
    if known is not None and moved == len(POINTED) and at - when < _LOOK_AGAIN and known.settled:
        return known
    signature, moved = tuple(map(_changed, folders)), len(POINTED)
    if known is not None and known.settled and known.signature == signature:
        _PRESENT[folders[0]] = (at, moved, known)
        return known
    newest, last = {}, ""
    for declared in tables("stats"):
        if days := house.days("stats", declared.name):
            mark, last = house.mark("stats", declared.name, days[-1]), max(last, days[-1])
            newest[declared.name] = mark.name if mark else ""
    now = end_of_day(date.fromisoformat(last)) if last else datetime.now(UTC)
    settled = bool(last) and max(signature) < time.time_ns() - _TICK
    found = Present(now, newest, signature, settled)
    _PRESENT[folders[0]] = (at, moved, found)
    return found


def end_of_day(day: date) -> datetime:
    """The last microsecond of a day, UTC."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=1, microseconds=-1)


# Notes of what was brought ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Brought:
    """What `materialise` has brought of a view: its partitions by day, the newest of them, when it was last at it, and,
    if it was cut off, which partitions it was bringing and how many rows had arrived."""

    days: Mapping[str, str] = field(default_factory=dict)
    newest: str = ""
    at: str = ""
    doing: str = ""
    done: int = 0


def brought(online: Store, config: Any, name: str) -> Brought:
    """The note of one view; an empty one if there is none."""
    text = online.notes(config).get(name)
    return Brought(**json.loads(text)) if text else Brought()


def note(online: Store, config: Any, name: str, about: Brought) -> None:
    """Write the note of a view, and let this process's look-ups see it at once."""
    online.note(config, name, json.dumps(vars(about), sort_keys=True))
    short = {"newest": about.newest, "at": about.at, "doing": about.doing}
    online.note(config, f"{name}:newest", json.dumps(short, sort_keys=True))
    _NEWEST.clear()


_NEWEST: "WeakKeyDictionary[Any, tuple[float, Mapping[str, Mapping[str, str]]]]" = WeakKeyDictionary()
_REMEMBERED = 1.0
"""Seconds for which a look-up believes what it knows of the last materialisation."""


def newest(online: Store, config: Any) -> Mapping[str, Mapping[str, str]]:
    """By view: the newest partition that was brought, when, and whether one was cut off; at most a second old."""
    now = time.monotonic()
    held = _NEWEST.get(online)
    if held is None or now - held[0] > _REMEMBERED:
        found = {name.removesuffix(":newest"): json.loads(text) for name, text in online.notes(config).items()
                 if name.endswith(":newest")}  # fmt: skip
        held = _NEWEST[online] = (now, found)
    return held[1]


# Faults ----------------------------------------------------------------------------------------------


@contextmanager
def telling(online: Any, config: Any, doing: str) -> Iterator[None]:
    """Faults of the store's own become one `Down`: what could not be done, where (never a password), and what to do."""
    try:
        yield
    except online.FAULTS as fault:
        raise down(online, config, doing, fault) from fault


def down(online: Any, config: Any, doing: str, fault: BaseException) -> Down:
    """A fault of the store's own in our words."""
    why = str(fault).splitlines()[0][:120] if str(fault) else type(fault).__name__
    return Down(
        f"the online store cannot be {doing}: {why}",
        where=online.address(config),
        do="start it, or make room for it, and ask again; what it held before is still there, and "
        f"'python -m jobs materialise --shop {config.project}' goes on where it was cut off",
    )
