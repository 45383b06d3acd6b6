"""Planted faults: rows added to a file, each with the reason for which `clean` must refuse it.

An added row is a copy of a good one, spoilt in one way under a key of its own, so that no other row hangs on it;
duplicates and key conflicts keep the key and stand later in the file than the row they repeat. Rows of the reason
`merged` are no faults: they are about something that another, fuller row is about.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np

Row = dict[str, Any]
Spoil = Callable[[Row], Row | bytes | list[Row]]


@dataclass
class Line:
    """A line of a file: a row, or bytes that are none; and the fault it bears, if any."""

    row: Row | bytes
    reason: str | None = None
    detail: str = ""


def _set(**values: Any) -> Spoil:
    return lambda row: {**row, **values}


def _without(column: str) -> Spoil:
    return lambda row: {name: value for name, value in row.items() if name != column}


def _torn(row: Row) -> bytes:
    """A JSON line cut in its middle."""
    line = json.dumps(row, ensure_ascii=False).encode()
    return line[: max(2, len(line) // 2)].decode("utf-8", "ignore").encode()


def _broken(row: Row) -> bytes:
    """A JSON line with two bytes that are no UTF-8."""
    return json.dumps(row, ensure_ascii=False).encode().replace(b'": "', b'": "\xff\xfe', 1)


def _short(row: Row) -> bytes:
    """A CSV line with too few fields."""
    return str(next(iter(row.values()))).encode() + b",only two"


def _broken_csv(row: Row) -> bytes:
    return (
        ",".join(str(v or "").replace(",", " ").replace("\n", " ").replace('"', "") for v in row.values()).encode()
        + b"\xc3"
    )


def _burst(row: Row) -> list[Row]:
    """What a robot leaves: 120 searches in as many half seconds."""
    start = datetime.fromisoformat(str(row["event_time"]))
    return [
        {
            **row,
            "search_id": f"{row['search_id']}-{n}",
            "visitor_id": "crawler",
            "event_time": (start.replace(hour=12) + timedelta(milliseconds=500 * n)).isoformat(),
        }
        for n in range(120)
    ]


def _reworded(row: Row) -> Row:
    """The same item again, a little shorter and with other punctuation."""
    return {**row, "title": f" {row['title']}.", "description": ""}


_PAST, _FUTURE = "1999-12-31T23:59:59Z", "2031-05-06T07:08:09Z"
_EARLY = "2017-08-14T00:00:01Z"
PLAN: Mapping[str, tuple[tuple[str, str, Spoil], ...]] = {
    "items": (
        ("bad_type", "price is a word", _set(price="cheap")),
        ("missing", "no title", _set(title="")),
        ("out_of_range", "price below zero", _set(price="-5.00")),
        ("unreadable", "too few fields", _short),
        ("duplicate", "", _set()),
        ("key_conflict", "another brand", _set(brand="Somebody Else")),
        ("merged", "the same in other words", _reworded),
        ("merged", "the same in other words", _reworded),
    ),
    "visitors": (
        ("duplicate", "", _set()),
        ("key_conflict", "another postcode", _set(postcode="00000")),
        ("missing", "no id", _set(visitor_id="")),
        ("unreadable", "broken UTF-8", _broken_csv),
        ("merged", "a second account with the same e-mail", _set(phone="", address="", kids="")),
        ("internal", "one of the shop's own", _set(visitor_id="test-0001")),
    ),
    "judgements": (
        ("bad_type", "grade is a word", _set(grade="good")),
        ("out_of_range", "grade above 3", _set(grade="7")),
        ("orphan", "unknown item", _set(item_id="i999999")),
    ),
    "searches": (
        ("duplicate", "", _set()),
        ("key_conflict", "another query", _set(query="something else")),
        ("bad_type", "event_time is a word", _set(event_time="yesterday")),
        ("missing", "no query", _without("query")),
        ("clock_past", "before the shop", _set(event_time=_PAST)),
        ("clock_future", "after the delivery", _set(event_time=_FUTURE)),
        ("unreadable", "broken UTF-8", _broken),
        ("internal", "one of the shop's own", _set(visitor_id="test-0002")),
        ("robot", "120 searches in a minute", _burst),
        ("robot", "120 searches in a minute", _burst),
    ),
    "rankings": (
        ("duplicate", "", _set()),
        ("bad_type", "position is a word", _set(position="second")),
        ("missing", "no item", _without("item_id")),
        ("orphan", "unknown item", _set(item_id="i999998")),
        ("out_of_range", "propensity above 1", _set(propensity=2.0)),
        ("unreadable", "truncated", _torn),
    ),
    "interactions": (
        ("duplicate", "", _set()),
        ("duplicate", "", _set()),
        ("key_conflict", "another channel", _set(channel="carrier pigeon")),
        ("bad_type", "quantity is a word", _set(quantity="two")),
        ("missing", "no item", _without("item_id")),
        ("clock_past", "before the shop", _set(event_time=_PAST)),
        ("clock_future", "after the delivery", _set(event_time=_FUTURE)),
        ("orphan", "unknown item", _set(item_id="i999997")),
        ("orphan", "unknown visitor", _set(visitor_id="p999999")),
        ("out_of_range", "quantity below zero", _set(quantity=-3)),
        ("unmatched", "came back without a purchase", _set(kind="return", basket_id="b-none", event_time=_EARLY)),
        ("unmatched", "cancelled before it was bought", _set(kind="cancel", basket_id=None, event_time=_EARLY)),
        ("unreadable", "truncated", _torn),
    ),
    "reviews": (
        ("duplicate", "", _set()),
        ("bad_type", "rating is a word", _set(rating="great")),
        ("missing", "no visitor", _without("visitor_id")),
        ("clock_past", "before the shop", _set(event_time=_PAST)),
        ("orphan", "unknown item", _set(item_id="i999996")),
        ("out_of_range", "rating above 5", _set(rating=9)),
        ("unreadable", "broken UTF-8", _broken),
    ),
    "tickets": (
        ("key_conflict", "another text", _set(text="Never mind.")),
        ("clock_future", "after the delivery", _set(event_time=_FUTURE)),
        ("orphan", "unknown visitor", _set(visitor_id="p999998")),
    ),
}
_KEYS = {
    "items": "item_id",
    "visitors": "visitor_id",
    "judgements": "query",
    "searches": "search_id",
    "rankings": "ranking_id",
    "interactions": "interaction_id",
    "reviews": "review_id",
    "tickets": "ticket_id",
}


def plant(rng: np.random.Generator, table: str, rows: list[Row]) -> list[Line]:
    """The rows as lines, with the planned faults of the table at random places among them."""
    lines = [Line(row) for row in rows]
    added: list[tuple[int, Line]] = []
    for number, (reason, detail, spoil) in enumerate(PLAN.get(table, ())):
        if not rows:
            break
        of = int(rng.integers(len(rows)))
        row = dict(rows[of])
        same = reason in ("duplicate", "key_conflict")
        if not same:
            row[_KEYS[table]] = f"{row[_KEYS[table]]}-x{number}"
        at = int(rng.integers(of + 1, len(rows) + 1)) if same else int(rng.integers(len(rows) + 1))
        spoilt = spoil(row)
        added += [(at, Line(one, reason, detail)) for one in (spoilt if isinstance(spoilt, list) else [spoilt])]
    for at, line in sorted(added, key=lambda pair: -pair[0]):
        lines.insert(at, line)
    return lines
