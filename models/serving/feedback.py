"""The feedback log: what visitors were shown and what they did, as received, never changed.

Closed zone: it keeps the shop's own visitor id and the query, because rotation of keys and erasure have
one path, from here through clean and anonymise. One file a UTC day of receipt, SHOP/feedback/DAY.jsonl.

Guarantees: when `append` returns, the events survive a power cut. Sending an event again, to this process
or another, within the same or the next UTC day adds nothing. Beyond that day it adds a copy, which
`clean` drops as an exact duplicate.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from jobs.warehouse import home
from models.serving.faults import Fault
from models.serving.journal import Journal, line_of

Event = dict[str, Any]


def utc_now() -> datetime:
    """The clock of the wall."""
    return datetime.now(UTC)


@dataclass
class _Seen:
    """The events of one day's file that were read so far: digest of the content by id."""

    until: int = 0
    digests: dict[str, bytes] = field(default_factory=dict)


class Feedback:
    """The log of one shop. `name` gives an event's id, unique among events of its type; of a visitor whom `erased` says
    to be erased, nothing is written."""

    def __init__(
        self,
        shop: str,
        name: Callable[[Event], str],
        erased: Callable[[str], bool],
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self.journal = Journal(home() / shop / "feedback")
        self._name, self._erased, self._clock = name, erased, clock
        self._seen: dict[str, _Seen] = {}

    def append(self, events: Sequence[Event]) -> list[bool]:
        """Write down the events that are new, all or none; for each that is kept, whether it was new.

        An id that is known with another content is a `Fault` (409), and nothing is written. Who was erased is looked
        up while nobody else writes: an erasure enters its tombstones before it takes the log's turn to blank lines.
        """
        with self.journal.turn():
            now = self._clock()
            events = [event for event in events if not self._erased(event.get("visitor_id", ""))]
            known = self._known(now)
            fresh: dict[str, Event] = {}
            new = [self._is_new(event, known, fresh) for event in events]
            if fresh:
                lines = [line_of({"known_time": now.isoformat(), **event}) for event in fresh.values()]
                self.journal.append(now.date().isoformat(), lambda start: lines, durable=True)
            return new

    def _is_new(self, event: Event, known: list[dict[str, bytes]], fresh: dict[str, Event]) -> bool:
        name, digest = self._name(event), _digest(event)
        earlier = next((day[name] for day in known if name in day), None)
        if earlier is None and name in fresh:
            earlier = _digest(fresh[name])
        if earlier is not None and earlier != digest:
            raise Fault(
                409,
                "an event with this id was received before, with another content",
                where="event id",
                do="give each event an id of its own",
            )
        if earlier is None:
            fresh[name] = event
        return earlier is None

    def _known(self, now: datetime) -> list[dict[str, bytes]]:
        """Ids of today's and yesterday's files, read on from where this process stopped reading."""
        days = [(now.date() - timedelta(days=back)).isoformat() for back in (0, 1)]
        self._seen = {day: self._seen.get(day, _Seen()) for day in days}
        for day, seen in self._seen.items():
            rows, seen.until = self.journal.lines(day, seen.until)
            for row in rows:
                row.pop("known_time", None)
                seen.digests[self._name(row)] = _digest(row)
        return [seen.digests for seen in self._seen.values()]


def _digest(event: Event) -> bytes:
    return hashlib.sha256(json.dumps(event, sort_keys=True).encode()).digest()[:12]
