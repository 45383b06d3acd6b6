"""An answer: champion, features, reasons and receipt put together. The API and the command line both ask here.

Nothing here knows the shop's own id of a visitor: the edge has replaced it.
"""

import math
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from jobs.console import Usage
from jobs.events import Touch, in_time, normalised
from jobs.warehouse import code_version, warehouse
from models.serving import reasons
from models.serving.champions import Champions, Opened
from models.serving.faults import Fault
from models.serving.receipts import Receipts

if TYPE_CHECKING:
    from jobs.features import Looked

PROPENSITY = 1.0  # with which an item is shown at its place: a ranking is decided, not drawn
FRESH = 60.0  # seconds for which statistics of an item, and names of partitions, are remembered
SERVICES = {"visitor": ("recommender", "visitor"), "item": ("items", "item_id"), "query": ("queries", "query")}
SHOWN = ("title", "brand", "category", "price", "currency")


@dataclass(frozen=True)
class Answer:
    """A ranking with its reasons. `known`: whether the visitor has a history; None where nobody asked."""

    surface: str
    ranking_id: str
    receipt_id: str
    bundle: Mapping[str, Any]
    items: Sequence[Mapping[str, Any]]
    took_ms: float
    as_of: datetime | None
    known: bool | None = None

    def told(self) -> dict[str, Any]:
        """As the API tells it."""
        told = {
            "ranking_id": self.ranking_id,
            "receipt_id": self.receipt_id,
            "took_ms": self.took_ms,
            "as_of": plain(self.as_of),
            "bundle": dict(self.bundle),
            "items": list(self.items),
        }
        return told if self.known is None else {**told, "known": self.known}


class Remembered:
    """Values by key, each asked for again after `seconds`. Bounded: emptied when it holds `most`."""

    def __init__(self, seconds: float = FRESH, most: int = 50_000) -> None:
        self._seconds, self._most = seconds, most
        self._held: dict[Any, tuple[float, Any]] = {}
        self._one = threading.Lock()

    def get(self, keys: Iterable[Any], ask: Callable[[list[Any]], Mapping[Any, Any]]) -> dict[Any, Any]:
        """The values of `keys`; those not held, or held too long, are asked for in one go."""
        wanted, now = list(dict.fromkeys(keys)), time.monotonic()
        with self._one:
            held = {key: kept[1] for key in wanted if (kept := self._held.get(key)) and now - kept[0] < self._seconds}
        if missing := [key for key in wanted if key not in held]:
            found = ask(missing)
            with self._one:
                if len(self._held) + len(found) > self._most:
                    self._held.clear()
                self._held.update({key: (now, value) for key, value in found.items()})
            held.update(found)
        return held


class Answering:
    """Answers of one shop, by its champions."""

    def __init__(self, shop: str, champions: Champions, receipts: Receipts) -> None:
        self.shop, self.champions, self.receipts = shop, champions, receipts
        self._house = warehouse(shop)
        self._marks = Remembered()
        self._items = Remembered()

    def look_up(
        self, service: str, entities: list[dict[str, str]], names: Sequence[str] | None = None
    ) -> "list[Looked]":
        """Feature values of entities, in order; None where unknown, or expired: by the shop's clock, or by ours for
        what is written as it happens. A `Usage` for a service or feature that there is not, a `Fault` (503) if the
        store does not answer."""
        from jobs.features import REAL_TIME, SERVICES, look_up

        live = set(SERVICES.get(service, ())) <= set(REAL_TIME)  # a visit goes by this machine's clock
        try:
            now = datetime.now(UTC) if live else self.champions.as_of
            return look_up(self.shop, service, entities, names=names, now=now)
        except Usage:
            raise
        except Exception as fault:
            raise Fault(
                503,
                "the feature store does not answer",
                where=f"features of '{service}'",
                do=f"run 'python -m jobs materialise --shop {self.shop}', then ask again",
            ) from fault

    def touched(self, events: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
        """Enter events (pseudonym, event as it was checked) into the sessions of their visitors; a `Problem` if the
        feature store does not take them. One of long ago, sent late, enters none."""
        from jobs.features import push

        now, by_visitor = datetime.now(UTC), dict[str, list[Touch]]()
        for visitor, event in events:
            happened = datetime.fromisoformat(event["event_time"]) if event.get("event_time") else now
            if in_time(happened.timestamp(), now.timestamp()):
                by_visitor.setdefault(visitor, []).append(Touch.of(event["item_id"], event["kind"], happened))
        push(self.shop, by_visitor, known=now)

    def search(self, query: str, k: int, visitor: str | None = None) -> Answer:
        """The `k` items that answer `query` best. `visitor` is a pseudonym, for the receipt."""
        began = time.perf_counter()
        opened = self.champions.get("search")
        hits = opened.engine.search(query, k)
        words = opened.words(query) if hits else []
        items = []
        for position, hit in enumerate(hits, start=1):
            about = opened.item(hit.item_id)
            fields = [about.get(name) for name in ("title", "brand", "category", "description")]
            why = reasons.of_search(hit.why, reasons.matched(words, fields, opened.terms))
            items.append(shown(position, hit, about, why))
        return self._answer("search", opened, hits, items, began, visitor=visitor)

    def recommend(self, visitor: str, k: int) -> Answer:
        """The `k` items for a visitor, by pseudonym, and by what they do now; what is popular if nothing is known."""
        from jobs.features import session_of
        from models.recommender import History

        began = time.perf_counter()
        opened = self.champions.get("recommend")
        looked = self.look_up("recommender", [{"visitor": visitor}])[0]
        visit = self.look_up("session", [{"visitor": visitor}])[0]
        now = self.champions.as_of or datetime.now(UTC)
        past = History.of(looked.values, looked.event_times.get("items"))
        half_life = opened.engine.settings.half_life
        history = past.with_session(session_of(visit.values), now.timestamp(), half_life)
        stats: dict[str, Any] = {}

        def item_stats(ids: list[str]) -> dict[str, Any]:
            stats.update(self._items.get(ids, self._ask_items))
            return {
                item: {**each.values, "event_time": each.event_times.get("purchases_decayed")}
                for item, each in stats.items()
            }

        hits = opened.engine.recommend(history, now, k, item_stats)
        known = bool(history.items)
        items = [
            shown(n, hit, opened.item(hit.item_id), reasons.of_recommendation(hit.why, known))
            for n, hit in enumerate(hits, start=1)
        ]
        used = {hit.item_id: stats[hit.item_id] for hit in hits if hit.item_id in stats}
        told = {"visitor": with_times(looked), "session": with_times(visit)}
        features = {**told, "items": {item: with_times(each) for item, each in used.items()}}
        data = self._partitions([("visitor", looked), *(("item", each) for each in used.values())])
        return self._answer(
            "recommend", opened, hits, items, began, visitor=visitor, known=known, features=features, data=data
        )

    def _ask_items(self, ids: list[Any]) -> dict[Any, Any]:
        looked = self.look_up("items", [{"item_id": item} for item in ids])
        return dict(zip(ids, looked, strict=True))

    def _answer(
        self,
        surface: str,
        opened: Opened,
        hits: Sequence[Any],
        items: list[dict[str, Any]],
        began: float,
        *,
        visitor: str | None,
        known: bool | None = None,
        features: Mapping[str, Any] | None = None,
        data: Iterable[str] = (),
    ) -> Answer:
        ranking_id, as_of = secrets.token_hex(12), self.champions.as_of
        made_with = {
            "surface": surface,
            "ranking_id": ranking_id,
            "visitor": visitor,
            "as_of": plain(as_of),
            "code": code_version(),
            **served_by(opened),
            "features": features or {},
            "data": sorted({*opened.data, *data}),
            "ranking": [ranked(position, hit) for position, hit in enumerate(hits, start=1)],
        }
        receipt_id = self.receipts.write(made_with)
        bundle = {"name": opened.bundle.name, "version": opened.bundle.version}
        took = round((time.perf_counter() - began) * 1000, 2)
        return Answer(surface, ranking_id, receipt_id, bundle, items, took, as_of, known)

    def _partitions(self, looked: "Iterable[tuple[str, Looked]]") -> list[str]:
        """Names of the published partitions that hold these values, by the views of the service that was asked: those
        of the days at whose end they are true. A session has none: it is written as it happens."""
        from jobs import features

        wanted = {
            (features.table_of(view), each.astimezone(UTC).date())
            for kind, one in looked
            for each in times_of(one)
            for view in features.SERVICES[SERVICES[kind][0]]
        }
        found = self._marks.get(wanted, lambda keys: {key: self._mark_name(*key) for key in keys})
        return [name for name in found.values() if name]

    def _mark_name(self, table: str, day: date) -> str | None:
        mark = self._house.mark("stats", table, day.isoformat())
        return mark.name if mark else None


def look_up_all(answering: Answering, wanted: Mapping[str, Sequence[str]]) -> dict[str, list[dict[str, Any]]]:
    """Feature values by kind of entity, in the order of the ids; visitors by pseudonym."""
    found = {}
    for kind, ids in wanted.items():
        service, key = SERVICES[kind]
        entities = [{key: normalised(each) if kind == "query" else each} for each in ids]
        looked = answering.look_up(service, entities) if entities else []
        found[kind] = told(looked)
    return found


def told(looked: "Iterable[Looked]") -> list[dict[str, Any]]:
    """What look-ups found, as JSON can hold it. Many values are true at one moment: it is written out once."""
    words: dict[datetime | None, str | None] = {None: None}

    def moment(at: datetime | None) -> str | None:
        return words[at] if at in words else words.setdefault(at, plain(at))

    return [
        {
            "known": any(value is not None for value in each.values.values()),
            "values": {name: plain(value) for name, value in each.values.items()},
            "event_times": {name: moment(at) for name, at in each.event_times.items()},
            "states": dict(each.states),
            "stale": list(each.stale),
        }
        for each in looked
    ]


def served_by(opened: Opened) -> dict[str, Any]:
    """The bundle and the index, for a receipt."""
    bundle = opened.bundle
    about = {"name": bundle.name, "version": bundle.version, "kind": bundle.kind, "sha256": bundle.sha256}
    return {"bundle": {**about, "sequence": opened.sequence}, "index": dict(opened.index) if opened.index else None}


def ranked(position: int, hit: Any) -> dict[str, Any]:
    """One place of a ranking, for a receipt: numbers only."""
    return {
        "item_id": hit.item_id,
        "position": position,
        "score": number(hit.score),
        "propensity": PROPENSITY,
        "parts": numbers(hit.why),
    }


def with_times(looked: "Looked") -> dict[str, Any]:
    """Values and their event times, as JSON can hold them."""
    return {
        "values": {name: plain(value) for name, value in looked.values.items()},
        "event_times": {name: plain(value) for name, value in looked.event_times.items()},
    }


def times_of(looked: "Looked") -> set[datetime]:
    """The moments at which the values are true."""
    return {time for time in looked.event_times.values() if time is not None}


def shown(position: int, hit: Any, about: Mapping[str, Any], why: str) -> dict[str, Any]:
    """One item of an answer; what the catalogue does not say is null."""
    return {
        "position": position,
        "id": hit.item_id,
        **{name: plain(about.get(name)) for name in SHOWN},
        "score": number(hit.score),
        "why": why,
    }


def number(value: Any) -> float | None:
    """A number that JSON can hold."""
    value = float(value)
    return round(value, 6) if math.isfinite(value) else None


def numbers(why: Mapping[str, Any]) -> dict[str, Any]:
    """The numbers of a reason: a receipt holds no texts."""
    return {name: plain(value) for name, value in why.items() if isinstance(value, int | float)}


def plain(value: Any) -> Any:
    """A value as JSON can hold it: times as ISO text in UTC, decimals as numbers, lists of them, NaN as null."""
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).astimezone(UTC).isoformat()
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Decimal):
        return float(value)
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return value
