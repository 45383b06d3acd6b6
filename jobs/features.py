"""The one feature path: what training joins, what serving looks up, from the same definitions.

`training_rows` answers for the past, `look_up` for now; both know `ttl`, both give None for what is
unknown or expired. Feast costs seconds to import: it is imported when the first question is asked.
What models have to know of services and views is named here too, so that there is one door.
"""

import asyncio
import fcntl
import os
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import product
from typing import TYPE_CHECKING, Any, Literal

from jobs import metrics
from jobs.console import Problem, one_of
from jobs.events import Session, Touch, fold
from jobs.feature_store import KEYS as KEYS
from jobs.feature_store import REAL_TIME as REAL_TIME
from jobs.feature_store import SERVICES as SERVICES
from jobs.feature_store import folder, store, views
from jobs.feature_store import table_of as table_of
from jobs.online import Down, Row, View, down, newest, present, telling
from jobs.online import end_of_day as end_of_day
from jobs.tables import table
from jobs.warehouse import Warehouse, arrow_schema, warehouse

if TYPE_CHECKING:
    import pyarrow as pa

State = Literal["present", "absent", "expired"]


# ---- the past -------------------------------------------------------------------------------------

QUESTIONS = 1_000_000
"""Questions that are joined at a time: what a join holds in memory does not grow with how many are asked."""


def training_rows(
    shop: str, entities: "pa.Table", service: str, *, labels_from: str | None = None, present: datetime | None = None
) -> "pa.Table":
    """Entities (the service's keys and `event_time`) with what was known of each at its event time.

    Rows out are rows in, in their order; feature columns follow, null for what was unknown or expired,
    and `VIEW__event_time`, the moment a view's values are true at. Reads published partitions only.
    `labels_from` names a column with the moment at which a question's label begins, `present` is the end of what is
    known: `Refused` if a question could see its answer or asks about the future, or if a definition leaks
    (`jobs.leaks`).
    """
    import pyarrow as pa

    parts = training_batches(shop, [entities], service, labels_from=labels_from, present=present)
    return pa.concat_tables(parts)


def training_batches(
    shop: str,
    entities: "Iterable[pa.Table]",
    service: str,
    *,
    labels_from: str | None = None,
    present: datetime | None = None,
) -> "Iterator[pa.Table]":
    """As `training_rows`, of questions that come and go in parts: for more of them than memory holds."""
    from jobs import leaks

    one_of("service", service, SERVICES)
    definitions = [leaks.definition_of(view) for view in views(shop, service)]
    leaks.refuse(leaks.of_definitions(definitions), f"features of '{service}'")
    for whole in entities:
        for column in (*KEYS[service], "event_time", *([labels_from] if labels_from else [])):
            if column not in whole.column_names:
                raise Problem(f"entities of '{service}' need the column '{column}'")
        request = leaks.request_of(whole, labels_from=labels_from, present=present)
        leaks.refuse(leaks.of_request(request, definitions), f"questions about '{service}'")
        for start in range(0, max(whole.num_rows, 1), QUESTIONS):
            yield _answered(shop, whole.slice(start, QUESTIONS), service)


def _answered(shop: str, entities: "pa.Table", service: str) -> "pa.Table":
    """Questions with their answers, joined at once."""
    keys, live = KEYS[service], store(shop)
    job = live.get_historical_features(
        entity_df=entities.select([*keys, "event_time"]).rename_columns([*keys, "event_timestamp"]).to_pandas(),
        features=live.get_feature_service(service),
        filter_by_created_timestamp=True,
    )
    found = job.to_arrow()
    if found.num_rows != entities.num_rows:
        raise Problem(f"the point-in-time join made {found.num_rows:,} rows of {entities.num_rows:,}")
    for name in found.column_names:
        if name not in (*keys, "event_timestamp"):
            entities = entities.append_column(name, found[name])
    return entities


# ---- now ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Looked:
    """What is known of one entity: by feature its value, the moment it is true at, and its state.

    An expired value is None, and keeps its event time so that one can see how old it was. `stale` names the views of
    which something newer is published than the online store has: materialise has not run since, or did not end.
    """

    entity: Mapping[str, str]
    values: Mapping[str, Any]
    event_times: Mapping[str, datetime | None]
    states: Mapping[str, State] = field(default_factory=dict)
    stale: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plan:
    """All of a look-up that is the same for every entity, made once a process."""

    shop: str
    service: str
    keys: frozenset[str]
    views: tuple[View, ...]
    house: Warehouse
    store: Any
    config: Any

    @property
    def names(self) -> tuple[str, ...]:
        """Every feature, in order."""
        return tuple(name for view in self.views for name in view.names)


_PLANS: dict[Any, Plan] = {}


def _at(shop: str, service: str, names: Sequence[str] | None) -> tuple[Any, ...]:
    """What a plan is made of, and where: the home and the server may change within a process, as in tests."""
    about = os.environ.get("ENDCAP_HOME"), os.environ.get("ENDCAP_REDIS")
    return (shop, service, None if names is None else tuple(names), *about)


def plan(shop: str, service: str, names: Sequence[str] | None = None) -> Plan:
    """The plan of a look-up of a service's features, all or these; `Usage` for a service or feature there is not."""
    at = _at(shop, service, names)
    if (found := _PLANS.get(at)) is not None:
        return found
    one_of("service", service, SERVICES)
    known = views(shop, service)
    for name in names or ():
        one_of(f"feature of '{service}'", name, [feature.name for view in known for feature in view.features])
    live = store(shop)
    chosen = tuple(each for view in known if (each := View.of(view, names)).names)
    online = live._get_provider().online_store
    made = Plan(shop, service, frozenset(KEYS[service]), chosen, warehouse(shop), online, live.config)
    if len(_PLANS) > 256:
        _PLANS.clear()
    return _PLANS.setdefault(at, made)


def shop_now(shop: str) -> datetime:
    """The shop's present: the end of the last day that has statistics, for an imported history has a clock
    of its own. A shop without statistics is at the present of this machine."""
    return present(warehouse(shop)).now


def look_up(
    shop: str,
    service: str,
    entities: Sequence[Mapping[str, str]],
    *,
    names: Sequence[str] | None = None,
    now: datetime | None = None,
) -> list[Looked]:
    """What is known now of each entity ({key: id, ...}), in order; None for what is unknown or expired.

    The same on SQLite and Redis, for an entity that was never written too. `names` are the features wanted, all of the
    service's by default. `now` decides what is expired; without it, the shop's own present (`shop_now`). `Usage` for a
    service or feature there is not, `Problem` for entities or a time that make no sense, `Down` if the store does not
    answer.
    """
    began = time.perf_counter()
    made = plan(shop, service, names)
    if not entities:
        return []
    try:
        asked, moment, stale = _asked(made, entities, now)
        found = made.store.read_rows(made.config, asked)
    except made.store.FAULTS as fault:
        raise _failed(made, fault) from fault
    return _together(made, entities, found, moment, stale, began)


async def look_up_async(
    shop: str,
    service: str,
    entities: Sequence[Mapping[str, str]],
    *,
    names: Sequence[str] | None = None,
    now: datetime | None = None,
) -> list[Looked]:
    """`look_up` that lets others go on while the store answers: over Redis by its own event loop, over SQLite, whose
    reads are calls, in a thread."""
    began = time.perf_counter()
    made = _PLANS.get(_at(shop, service, names))
    if made is None:
        made = await asyncio.to_thread(plan, shop, service, names)
    if not hasattr(made.store, "read_rows_async"):
        return await asyncio.to_thread(look_up, shop, service, entities, names=names, now=now)
    if not entities:
        return []
    try:
        asked, moment, stale = _asked(made, entities, now)
        found = await made.store.read_rows_async(made.config, asked)
    except made.store.FAULTS as fault:
        raise _failed(made, fault) from fault
    return _together(made, entities, found, moment, stale, began)


def _failed(made: Plan, fault: BaseException) -> Down:
    """A fault of the store as a `Down`; it is counted."""
    metrics.failed(made.service)
    return down(made.store, made.config, "read", fault)


def _asked(
    made: Plan, entities: Sequence[Mapping[str, str]], now: datetime | None
) -> tuple[list[tuple[View, list[bytes]]], datetime, tuple[str, ...]]:
    """What to ask the store, the moment that decides what is expired, and the views that are stale."""
    keys = made.keys
    for entity in entities:
        if entity.keys() != keys:
            raise _misnamed(made.service, entity)
        for value in entity.values():
            if type(value) is not str:
                raise Problem(f"an id is a text, not {type(value).__name__}", where=named_by(made.service))
    published = present(made.house)
    brought = newest(made.store, made.config)
    stale = tuple(
        view.name
        for view in made.views
        if view.name not in REAL_TIME
        and (have := published.newest.get(table_of(view.name)))
        and ((told := brought.get(view.name)) is None or told["newest"] != have or told["doing"])
    )
    if now is not None:
        _possible(now, published.now)
    written: dict[tuple[str, ...], list[bytes]] = {}
    try:
        for view in made.views:
            if view.keys not in written:
                written[view.keys] = [view.key_of(entity) for entity in entities]
    except UnicodeEncodeError:
        raise Problem("an id holds half a character (a surrogate), which no store keeps") from None
    return [(view, written[view.keys]) for view in made.views], now or published.now, stale


def _possible(now: datetime, shops: datetime) -> None:
    """A `Problem` for a moment without a zone, or one that has not come by the shop's clock nor by this machine's."""
    if now.tzinfo is None:
        raise Problem("the time has no zone", where="now", do="give it one: datetime(..., tzinfo=UTC)")
    if now > shops and now > datetime.now(UTC):
        raise Problem(
            f"{now:%Y-%m-%d %H:%M} has not come yet, so nothing is known of it",
            where="now",
            do=f"ask for a moment up to now; the shop's own present is {shops:%Y-%m-%d %H:%M} UTC",
        )


def _misnamed(service: str, entity: Mapping[str, str]) -> Problem:
    """An entity of another kind, with the service that would know it."""
    other = [name for name, keys in KEYS.items() if entity.keys() == set(keys)]
    wanted = ", ".join(f"'{key}': ..." for key in KEYS[service])
    return Problem(
        f"an entity of '{service}' is named by {named_by(service)} alone",
        where=f"keys given: {', '.join(sorted(map(str, entity))) or 'none'}",
        do=f"give {{{wanted}}}" + (f", or ask the service '{other[0]}'" if other else ""),
    )


def named_by(service: str) -> str:
    """The keys of a service, in words: 'visitor', or 'visitor' and 'category'."""
    return " and ".join(f"'{key}'" for key in KEYS[service])


def _together(
    made: Plan,
    entities: Sequence[Mapping[str, str]],
    found: Sequence[Sequence[Row]],
    now: datetime,
    stale: tuple[str, ...],
    began: float,
) -> list[Looked]:
    """The answers put together: as old as the ttl is present, older is expired."""
    judged, counts = list[list[Judged]](), dict[tuple[str, str], int]()
    for view, rows in zip(made.views, found, strict=True):
        judged.append([_judged(view, row, now) for row in rows])
        for _, _, state in judged[-1]:
            counts[view.name, state] = counts.get((view.name, state), 0) + 1
    first, *others = (view.alike for view in made.views)
    looked = []
    for entity, parts in zip(entities, zip(*judged, strict=True), strict=True):
        values, times, state = parts[0]
        states = dict(first[state])
        for alike, (more, when, other) in zip(others, parts[1:], strict=True):
            values.update(more)
            times.update(when)
            states.update(alike[other])
        looked.append(Looked(dict(entity), values, times, states, stale))
    metrics.answered(made.service, counts, time.perf_counter() - began)
    return looked


Judged = tuple[dict[str, Any], dict[str, datetime | None], State]
"""Values and event times by feature, and the state of them all."""


def _judged(view: View, row: Row, now: datetime) -> Judged:
    """Values, event times and state of one row of a view: as old as the ttl is present, older is expired."""
    at, stored = row
    if at is None:
        return dict(view.alike["nothing"]), dict(view.alike["nothing"]), "absent"
    if view.ttl is not None and at + view.ttl < now:
        return dict(view.alike["nothing"]), dict.fromkeys(view.names, at), "expired"
    values = [read(value) if value else None for read, value in zip(view.decoders, stored, strict=True)]
    return dict(zip(view.names, values, strict=True)), dict.fromkeys(view.names, at), "present"


def counted() -> bytes:
    """Look-ups of this process, counted and timed, in Prometheus's text format."""
    return metrics.text()


def entities(shop: str, service: str, among: Mapping[str, Collection[str]]) -> list[dict[str, str]]:
    """The entities of a service of which the online store holds something and whose keys are `among` these values:
    all that is known of a visitor under a key of several parts. In the order of their names.

    A service of the one key that is asked for needs no search: the values are its entities.
    """
    keys = KEYS[one_of("service", service, SERVICES)]
    if set(keys) == set(among):
        return [dict(zip(keys, values, strict=True)) for values in product(*(sorted(among[key]) for key in keys))]
    live, found = store(shop), dict[tuple[str, ...], dict[str, str]]()
    online = live._get_provider().online_store
    for view in views(shop, service):
        if set(keys) == set(view.join_keys):
            for _, entity, _ in online.held(live.config, view):
                if all(entity[key] in values for key, values in among.items()):
                    found[tuple(entity[key] for key in keys)] = entity
    return [found[name] for name in sorted(found)]


# ---- as it happens --------------------------------------------------------------------------------


def session_of(values: Mapping[str, Any]) -> Session:
    """The session that the values of `visitor_session` tell; the empty one for None."""
    names = ("session_times", "session_items", "session_kinds")
    rows = zip(*(() if values.get(name) is None else values[name] for name in names), strict=True)
    return Session(tuple(Touch.of(item, kind, at) for at, item, kind in rows))


def session_values(session: Session) -> dict[str, Any]:
    """What `visitor_session` holds of a session, and the moment it is true at; the inverse of `session_of`."""
    moments = [datetime.fromtimestamp(touch.at, UTC) for touch in session.touches]
    return {
        "event_time": moments[0],
        "session_items": [touch.item_id for touch in session.touches],
        "session_kinds": [touch.kind for touch in session.touches],
        "session_times": moments,
        "session_started": datetime.fromtimestamp(session.started, UTC),
    }


def push(shop: str, touched: Mapping[str, Iterable[Touch]], *, known: datetime) -> None:
    """Fold what visitors (by pseudonym) touched into their sessions, in the online store, by the writer of
    `materialise`; on return the next look-up sees it. `Down` if the store does not take it.

    Whoever else does so meanwhile, in this process or another, waits for its turn: no touch is lost. To send the same
    again, or in another order, changes nothing.
    """
    import pyarrow as pa

    from jobs.materialising import rows_of

    if not touched:
        return
    live, (view,) = store(shop), views(shop, "session")
    online, names = live._get_provider().online_store, [feature.name for feature in view.features]
    with telling(online, live.config, "written"), _turn(shop, live):
        # Before all time nothing is expired: what is older than 30 minutes may be within the two hours of the fold.
        before = look_up(shop, "session", [{"visitor": each} for each in touched], now=_BEFORE)
        rows = [
            {"visitor": visitor, "known_time": known, **session_values(fold(session_of(had.values), touches))}
            for (visitor, touches), had in zip(touched.items(), before, strict=True)
        ]
        told = pa.Table.from_pylist(rows, schema=arrow_schema(table("stats", "visitor_session")))
        online.write_rows(live.config, view, names, rows_of(told, ["visitor"], names))


_BEFORE = datetime(1970, 1, 1, tzinfo=UTC)


@contextmanager
def _turn(shop: str, live: Any) -> Iterator[None]:
    """One at a time reads a session, folds and writes it: on this machine by a file; on Redis, which machines share, by
    a lock there, which is free again by itself if its holder is killed."""
    online = live._get_provider().online_store
    if hasattr(online, "turn"):
        with online.turn(live.config):
            yield
        return
    with (folder(shop) / ".sessions").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
