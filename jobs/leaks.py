"""A look-up of the past that could see what was not known then is refused before it is made.

Pure functions of definitions and requests: every fault is told, not only the first. What they cannot know: whether a
known time is true, and what a model does with its labels.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from jobs.console import Refused
from jobs.tables import ZONES, tables

if TYPE_CHECKING:
    import pyarrow as pa

BELOW_THE_GATE = ("safe", "stats")
"""Zones that features may come from: what is read there is published, and no id or text of the closed zone."""


@dataclass(frozen=True)
class Definition:
    """Of a view, what decides whether it may be asked about the past. `source` is ZONE/TABLE; no `ttl` is for ever."""

    view: str
    source: str
    event: str
    known: str
    ttl: timedelta | None
    features: tuple[str, ...] = ()


@dataclass(frozen=True)
class Request:
    """Of a table of questions, what decides whether they may be asked: counts and ends, no row.

    `zoned`: the column of times bears a time zone. `nulls`: questions without a moment. `late`: questions whose moment
    is not before their label begins, of those that have one. `last`: the latest moment. `present`: the end of what the
    shop knows, or None if the future may be asked about (its values are those of the present).
    """

    zoned: bool
    nulls: int = 0
    late: int = 0
    last: datetime | None = None
    present: datetime | None = None
    columns: tuple[str, ...] = ()


def definition_of(view: Any) -> Definition:
    """What matters of a view of Feast's."""
    source = view.batch_source
    return Definition(
        view.name,
        getattr(source, "path", "") or "",
        source.timestamp_field or "",
        source.created_timestamp_column or "",
        view.ttl or None,
        tuple(feature.name for feature in view.features),
    )


def request_of(entities: "pa.Table", *, labels_from: str | None = None, present: datetime | None = None) -> Request:
    """What matters of questions: a table with `event_time` and, of a training set, the column `labels_from`: the moment
    at which the label of each begins."""
    import pyarrow as pa
    import pyarrow.compute as pc

    times = entities["event_time"]
    zoned = pa.types.is_timestamp(times.type) and times.type.tz is not None
    last = pc.max(times).as_py() if zoned else None
    late = pc.sum(pc.greater_equal(times, entities[labels_from])).as_py() if labels_from and zoned else 0
    return Request(zoned, times.null_count, late or 0, last, present, tuple(entities.column_names))


def of_definitions(definitions: Iterable[Definition]) -> list[str]:
    """Why look-ups by these definitions could leak, or would mislead; empty if they cannot."""
    faults, seen = list[str](), dict[str, str]()
    known_tables = {f"{zone}/{table.name}" for zone in ZONES if zone in BELOW_THE_GATE for table in tables(zone)}
    for each in definitions:
        if not each.event:
            faults.append(f"{each.view} does not say when its values are true: give its source a timestamp_field")
        if not each.known or each.known == each.event:
            faults.append(
                f"{each.view} does not say when its values became known, so that late rows would be seen too early: "
                "give its source a created_timestamp_column"
            )
        if not each.ttl:
            faults.append(f"{each.view} has no ttl: a value of any age would pass for the present one")
        if each.source not in known_tables:
            faults.append(
                f"{each.view} reads '{each.source}', of which nothing is published: let it read a table of "
                f"{' or '.join(BELOW_THE_GATE)}"
            )
        for feature in each.features:
            if feature in seen:
                faults.append(
                    f"{each.view} and {seen[feature]} both have a feature '{feature}': one would hide the other"
                )
            seen.setdefault(feature, each.view)
    return faults


def of_request(request: Request, definitions: Iterable[Definition] = ()) -> list[str]:
    """Why these questions could leak, or mean something else than they say; empty if they cannot."""
    faults = []
    if not request.zoned:
        faults.append("event_time has no time zone: a moment of another zone may lie hours later; give it UTC")
    if request.nulls:
        faults.append(f"{request.nulls:,} questions have no event_time")
    if request.late:
        faults.append(f"{request.late:,} questions do not lie before their labels: a feature would know the answer")
    if request.present and request.last and request.last > request.present:
        faults.append(
            f"questions reach to {request.last.isoformat()}, and what is known ends at {request.present.isoformat()}: "
            "a later day would answer otherwise"
        )
    taken = sorted({f for each in definitions for f in each.features} & set(request.columns))
    if taken:
        faults.append(f"the questions have columns with the names of features: {', '.join(taken)}")
    return faults


def of_splits(spans: Mapping[str, tuple[datetime, datetime]], order: Sequence[str], reach: timedelta) -> list[str]:
    """Why splits are not apart: `spans` are the first and last question of each, and a label reaches so far after its
    question. The gap between the questions of two splits is at least `reach`, so that no label lies in another's time.

    >>> day, later = datetime(2017, 1, 1), datetime(2017, 1, 3)
    >>> of_splits({"train": (day, day), "test": (later, later)}, ["train", "test"], timedelta(days=2))
    []
    """
    present = [name for name in order if name in spans]
    return [
        f"labels of '{earlier}' reach to {spans[earlier][1] + reach}, after '{later}' begins at {spans[later][0]}"
        for n, earlier in enumerate(present)
        for later in present[n + 1 :]
        if spans[earlier][1] + reach > spans[later][0]
    ]


def refuse(faults: Sequence[str], what: str) -> None:
    """`Refused` with every fault, if there is any."""
    if faults:
        raise Refused(
            f"{what} could leak: {'; '.join(faults)}", do="mend the definitions or the questions, not the join"
        )
