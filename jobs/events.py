"""An event as it is sent to the API: its kinds, its fields, and what is wrong with one that is refused.

Standard library only; part of the language that every room shares (docs/decisions/0002).
"""

import math
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

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
    """
    return " ".join(unicodedata.normalize("NFKC", query).lower().split())


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
