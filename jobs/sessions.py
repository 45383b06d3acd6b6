"""Sessions of the past: what `visitor_session` would have held at each moment, by the fold that the API uses.

A row is written each time that something became known which happened at most 30 minutes before: later it can be in no
session any more. So a row rests on events of its own day and of the day before, and on no others.
"""

from collections.abc import Iterable, Iterator
from datetime import date, timedelta
from itertools import groupby
from typing import TYPE_CHECKING, Any

from jobs.events import KINDS, Session, Touch, fold, in_time
from jobs.tables import table
from jobs.warehouse import arrow_schema

if TYPE_CHECKING:
    import pyarrow as pa

COLUMNS = ("visitor", "item_id", "kind", "event_time", "known_time", "day")


def moments(touches: Iterable[tuple[int, Touch]]) -> Iterator[tuple[int, Session]]:
    """The session after each moment at which something became known; takes (when it could be seen, what)."""
    session = Session()
    for seen, group in groupby(sorted(touches), key=lambda pair: pair[0]):
        session = fold(session, (touch for _, touch in group))
        yield seen, session


def sessions(events: "pa.Table", first: date, last: date) -> "pa.Table":
    """`stats.visitor_session` of ONE visitor, for the days from `first` to `last` on which something became known.

    Takes COLUMNS of the visitor's events, of these days and the one before. Other kinds than a visit's (what came back)
    touch nothing. A touch is seen from when it happened and was known.
    """
    import pyarrow as pa

    whole = pa.int64()
    happened, known = (events[name].cast(whole).to_pylist() for name in ("event_time", "known_time"))
    filed = [day * _DAY for day in events["day"].cast(pa.int32()).to_pylist()]
    touches = [
        (max(at, told), Touch(at // _SECOND, item, kind))
        for item, kind, at, told, day in zip(
            events["item_id"].to_pylist(), events["kind"].to_pylist(), happened, known, filed, strict=True
        )
        if kind in KINDS and in_time(at / _SECOND, told / _SECOND) and day <= at < day + _DAY
    ]
    low, high = ((day - date(1970, 1, 1)).days * _DAY for day in (first, last + timedelta(days=1)))
    found = [(seen, session) for seen, session in moments(touches) if low <= seen < high]
    visitor = events["visitor"][0].as_py() if events.num_rows else ""

    def lists(field: int) -> list[list[Any]]:
        return [[touch[field] for touch in session.touches] for _, session in found]

    moment, seconds = pa.timestamp("us", tz="UTC"), pa.timestamp("s", tz="UTC")
    columns = {
        "visitor": pa.array([visitor] * len(found), pa.string()),
        "event_time": pa.array([session.last for _, session in found], whole).cast(seconds).cast(moment),
        "known_time": pa.array([seen for seen, _ in found], whole).cast(moment),
        "session_items": pa.array(lists(1), pa.list_(pa.string())),
        "session_kinds": pa.array(lists(2), pa.list_(pa.string())),
        "session_times": pa.array(lists(0), pa.list_(whole)).cast(pa.list_(seconds)).cast(pa.list_(moment)),
        "session_started": pa.array([session.started for _, session in found], whole).cast(seconds).cast(moment),
        "day": pa.array([seen // _DAY for seen, _ in found], pa.int32()).cast(pa.date32()),
    }
    return pa.table(columns).cast(arrow_schema(table("stats", "visitor_session")))


_SECOND = 1_000_000
_DAY = 86_400 * _SECOND


def day_before(day: str) -> str:
    """The day before one, as ISO text.

    >>> day_before("2017-03-01")
    '2017-02-28'
    """
    return (date.fromisoformat(day) - timedelta(days=1)).isoformat()
