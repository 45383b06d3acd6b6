"""An event as it is sent to the API: its kinds, its fields, and what is wrong with one that is refused; and the fold
that makes a visitor's session of their events, which the API, `aggregate` and every replay share.

Standard library only; part of the language that every room shares (docs/decisions/0002).
"""

import math
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from jobs.console import Problem, suggest

KINDS = ("view", "click", "cart", "purchase", "dwell")
"""What a visitor can do with an item. The same words as in `interactions.kind`."""
CHANNELS = ("web", "app", "store", "social")
LONGEST = 200
"""Characters of an id. Longer ones are not ids."""
AHEAD = timedelta(minutes=5)
"""How far a sender's clock may be ahead of ours."""


def normalised(query: str) -> str:
    """A query as it is counted, learned from and looked up: NFKC, lower case, single spaces.

    >>> normalised("  Ｒed   APPLE ")
    'red apple'

    What stands for a value that was scrubbed is its kind alone, not whose: no visitor's query is told apart by it.

    >>> normalised("Call <PHONE_ghijklmn>")
    'call <phone>'
    """
    return _TIED.sub(r"<\1>", " ".join(unicodedata.normalize("NFKC", query).lower().split()))


_TIED = re.compile(r"<([a-z_]+?)_[g-v]{8}>")


@dataclass(frozen=True)
class Field:
    """A field of an event: which kinds must have it, what it means, and how one value is read."""

    name: str
    doc: str
    read: Callable[[Any], Any]
    required_by: tuple[str, ...] = ()


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError("must be a text that is not empty")
    if len(value) > LONGEST or not value.isprintable():
        raise ValueError(f"must be at most {LONGEST} printable characters")
    return value.strip()


def _among(choices: tuple[str, ...]) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        if not isinstance(value, str) or value not in choices:
            raise ValueError(suggest(str(value)[:50], choices))
        return value

    return read


def _whole(lowest: int, highest: int) -> Callable[[Any], int]:
    def read(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not lowest <= value <= highest:
            raise ValueError(f"must be a whole number from {lowest} to {highest:,}")
        return value

    return read


def _number(highest: float) -> Callable[[Any], float]:
    def read(value: Any) -> float:
        plain = isinstance(value, int | float) and not isinstance(value, bool)
        if not plain or not math.isfinite(value) or not 0 <= value <= highest:
            raise ValueError(f"must be a number from 0 to {highest:,.0f}")
        return float(value)

    return read


def moment(value: Any) -> datetime:
    """An ISO 8601 time with an offset, as UTC; ValueError without one, for a time without a zone is a guess."""
    try:
        read = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise ValueError("must be a time like 2017-01-31T12:00:00Z") from None
    if read.tzinfo is None:
        raise ValueError("must have a time zone, like 2017-01-31T12:00:00Z")
    return read.astimezone(UTC)


FIELDS: tuple[Field, ...] = (
    Field("kind", "what the visitor did", _among(KINDS), KINDS),
    Field("visitor_id", "the shop's own id of the visitor", _text, KINDS),
    Field("item_id", "the shop's id of the item", _text, KINDS),
    Field("event_time", "when it happened, ISO 8601 with an offset; none: when it was received", moment),
    Field("event_id", "the sender's id of the event, so that sending it twice counts once", _text),
    Field("ranking_id", "the ranking it answers: the `ranking_id` of our reply", _text),
    Field("quantity", "how many were bought", _whole(1, 100_000), ("purchase",)),
    Field("amount", "what was paid for them", _number(10_000_000)),
    Field("dwell_seconds", "how long the item was looked at", _number(86_400), ("dwell",)),
    Field("channel", "where", _among(CHANNELS)),
    Field("store_id", "which store, in the store channel", _text),
    Field("basket_id", "the basket of a purchase", _text),
)
NAMES: tuple[str, ...] = tuple(field.name for field in FIELDS)


def check_event(event: Mapping[str, Any], *, now: datetime | None = None) -> dict[str, Any]:
    """The event with its values read; fields that were not sent, or sent as null, are left out.

    `Problem` names every fault at once, by field, and never repeats a visitor's values except words
    that must be one of ours. `now` is the receiver's clock; with it, an event from the future is refused.
    """
    if not isinstance(event, Mapping):
        raise Problem("an event must be an object", do=f"send the fields {', '.join(NAMES)}")
    faults = [f"{str(name)[:50]}: unknown, {suggest(str(name)[:50], NAMES)}" for name in event if name not in NAMES]
    read: dict[str, Any] = {}
    for field in FIELDS:
        value = event.get(field.name)
        try:
            if value is not None:
                read[field.name] = field.read(value)
            elif event.get("kind") in field.required_by or field.name == "kind":
                raise ValueError("is missing")
        except ValueError as fault:
            faults.append(f"{field.name}: {fault}")
    if now is not None and (happened := read.get("event_time")) is not None and happened > now + AHEAD:
        faults.append("event_time: lies in the future")
    if faults:
        raise Problem("the event was refused", where="; ".join(faults), do="mend these fields and send it again")
    return read


# Sessions ----------------------------------------------------------------------------------------------

SESSION_GAP = timedelta(minutes=30)
"""After so long without an event a session is over."""
SESSION_SPAN = timedelta(hours=2)
"""What a session holds happened within so long of its newest event."""
SESSION_TOUCHES = 50
"""And it holds no more than this many touches."""


class Touch(NamedTuple):
    """What a visitor did with an item, at a whole second since 1970 (UTC), which is all that every store keeps."""

    at: int
    item_id: str
    kind: str

    @classmethod
    def of(cls, item_id: str, kind: str, at: datetime) -> "Touch":
        """Of a moment with a zone.

        >>> Touch.of("a", "click", datetime(1970, 1, 1, 0, 1, 2, 999_999, tzinfo=UTC))
        Touch(at=62, item_id='a', kind='click')
        """
        return cls((at - _ZERO) // timedelta(seconds=1), item_id, kind)


_ZERO = datetime(1970, 1, 1, tzinfo=UTC)


class Session(NamedTuple):
    """What a visitor touched lately: of the two hours before the newest touch the last 50, newest first, ties by id."""

    touches: tuple[Touch, ...] = ()

    @property
    def last(self) -> int:
        """When the newest happened; ValueError if there is none."""
        if not self.touches:
            raise ValueError("nothing was touched")
        return self.touches[0].at

    @property
    def started(self) -> int:
        """When the first of those happened that no gap of more than 30 minutes parts from the newest; the session is
        older than that only where more than 50 touches or two hours lie between.

        >>> Session((Touch(9_000, "c", "cart"), Touch(8_000, "b", "view"), Touch(6_000, "a", "view"))).started
        8000
        """
        started = self.last
        for touch in self.touches:
            if started - touch.at > SESSION_GAP.total_seconds():
                break
            started = touch.at
        return started


def fold(session: Session, touches: Iterable[Touch]) -> Session:
    """The session after these touches, too.

    It depends on the set of touches alone: not on their order, on how many come at once, or on one that comes twice.
    For what is left out (too long before the newest, or beyond the 50 newest) can only be left out by what comes later.

    >>> early, late = Touch(100, "a", "view"), Touch(200, "b", "cart")
    >>> fold(fold(Session(), [late]), [early, late]) == fold(fold(Session(), [early]), [late])
    True
    """
    known = sorted({*session.touches, *touches}, key=lambda touch: (-touch.at, touch.item_id, touch.kind))
    if not known:
        return session
    oldest = known[0].at - SESSION_SPAN.total_seconds()
    return Session(tuple(touch for touch in known[:SESSION_TOUCHES] if touch.at > oldest))


def in_time(happened: float, known: float) -> bool:
    """Whether an event (seconds since 1970) became known while its session may have lasted; later ones enter none.

    >>> in_time(0.0, 1_800.0), in_time(0.0, 1_800.1)
    (True, False)
    """
    return known - happened <= SESSION_GAP.total_seconds()
