"""`ubi`: searches and events in the layout of User Behavior Insights (OpenSearch), from files named `ubi*json*`.

The folder (`--from DIR`) holds bulk lines (an action line, then its document) or plain JSON lines, gzipped or not. A
document with words and without an action is a query: a row of `searches`. An event whose action is an impression is a
row of `rankings`; one that says what a visitor did with an item (ACTIONS) is a row of `interactions`. All other events
(filters, sorting, pages, and browsers' own copies of queries) have no word in our tables: they are kept whole, counted
as `unclaimed`, in `unreadable` of `searches`.

`client_id` is the visitor. Positions count from 0 and become ours, from 1. Times come in ISO 8601 or in milliseconds
since 1970, and become ISO. UBI says nothing of propensities: a search engine does not draw lots, so what was shown was
shown with certainty, and the propensity is 1. Nothing can be learned from it about rankings that were not shown. An
event has the id of its action line, else one made of its content: the same event twice is then an exact duplicate. The
span is that of the times in the files; events are known at once.
"""

import hashlib
import json
from datetime import UTC, date, datetime, timedelta

from jobs.sources import Made, Row, RowFile, Source, always, field

ACTIONS = {
    "click": "click",
    "item_click": "click",
    "product_click": "click",
    "add_to_cart": "cart",
    "purchase": "purchase",
    "product_hover": "view",
    "product_view": "view",
    "view_item": "view",
}
SHOWN = ("impression", "product_impression", "item_impression")
_ITEM = "event_attributes.object.object_id"
_ORDINAL = "event_attributes.position.ordinal"
_DWELL = "event_attributes.dwell_time"


def when(row: Row) -> str | None:
    """The time in ISO 8601; anything that is none stays as it came."""
    told = row.get("timestamp")
    if told is None or not str(told).isdigit():
        return None if told is None else str(told)
    return datetime.fromtimestamp(int(told) / 1000, UTC).isoformat(timespec="milliseconds")


def place(row: Row) -> str | None:
    """Positions from 1; anything that is no whole number stays as it came."""
    told = field(row, _ORDINAL)
    return None if told is None else str(int(told) + 1) if str(told).isdigit() else str(told)


def event_id(row: Row) -> str:
    """The id of the action line, else a hash of the document."""
    told = json.dumps(row, sort_keys=True, ensure_ascii=False)
    return str(row.get("_id") or hashlib.sha256(told.encode()).hexdigest()[:24])


_WHEN = Made(when, ("timestamp",))
_ASKED = ("action_name", "user_query")

SOURCE = Source(
    name="ubi",
    doc="searches, impressions and clicks in the User Behavior Insights layout",
    licence="the publisher's",
    first=date(2024, 6, 4),
    last=date(2025, 3, 31),
    span_found=True,
    delay=timedelta(0),
    needs_folder=True,
    rows=(
        RowFile(
            table="searches",
            pattern="ubi*json*",
            format="bulk",
            columns={
                "search_id": "query_id",
                "event_time": _WHEN,
                "visitor_id": "client_id",
                "session_id": "session_id",
                "channel": always("web"),
                "query": "user_query",
            },
            where=lambda row: "action_name" not in row and row.get("user_query") is not None,
            reads=_ASKED,
            optional=frozenset(("action_name", "user_query", "session_id")),
            left_out=("_index", "_id"),
        ),
        RowFile(
            table="rankings",
            pattern="ubi*json*",
            format="bulk",
            columns={
                "ranking_id": "query_id",
                "event_time": _WHEN,
                "visitor_id": "client_id",
                "search_id": "query_id",
                "surface": always("search"),
                "item_id": _ITEM,
                "position": Made(place, (_ORDINAL,)),
                "propensity": always("1"),
            },
            where=lambda row: row.get("action_name") in SHOWN,
            reads=("action_name",),
            optional=frozenset(("action_name",)),
            left_out=("_index",),
        ),
        RowFile(
            table="interactions",
            pattern="ubi*json*",
            format="bulk",
            columns={
                "interaction_id": Made(event_id, ("_id",)),
                "event_time": _WHEN,
                "visitor_id": "client_id",
                "item_id": _ITEM,
                "kind": Made(lambda row: ACTIONS.get(str(row["action_name"])), ("action_name",)),
                "ranking_id": "query_id",
                "dwell_seconds": _DWELL,
                "channel": always("web"),
            },
            where=lambda row: row.get("action_name") in ACTIONS,
            reads=("action_name",),
            optional=frozenset(("_id", "action_name", _DWELL)),
            left_out=("_index",),
        ),
    ),
)
