"""What serves now: the champions of a shop, opened; a newer promotion takes over without failing a request.

A request takes the opened champion once and keeps it to its end; a reload builds the next one beside it and
swaps one reference. Whatever goes wrong while opening, the one that served before goes on serving, and
/health says why.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jobs.console import Problem, say
from jobs.tables import tables
from jobs.warehouse import home, warehouse
from models.bundle import Bundle
from models.serving.faults import Fault

NAMES = ("search", "recommend")
POLL = 3.0  # seconds between two looks at the promotions
AGAIN = 30.0  # seconds before a champion that could not be opened is tried again


@dataclass(frozen=True)
class Opened:
    """A champion that can answer: its bundle and record, the engine that answers, what the shop says of an item, what
    of its index goes on a receipt, the partitions that index and catalogue were made from, and why higher records were
    passed over."""

    bundle: Bundle
    sequence: int
    engine: Any
    item: Callable[[str], Mapping[str, Any]]
    data: tuple[str, ...] = ()
    index: Mapping[str, Any] | None = None
    words: Callable[[str], list[str]] = str.split
    terms: Callable[[str], Sequence[str]] = lambda text: text.lower().split()
    passed_over: tuple[str, ...] = ()
    opened_at: datetime = field(default_factory=lambda: datetime.now(UTC))


Opener = Callable[[str], Opened | None]
"""Opens the champion of a shop; None if nothing was promoted yet; a `Problem` if it cannot be opened."""


def open_search(shop: str) -> Opened | None:
    """The champion of search with its index."""
    from models.promotions import find_champion
    from models.retrieval.lexical import segment
    from models.retrieval.searching import Searcher

    found = find_champion(shop, "search")
    if found is None:
        return None
    searcher = Searcher.of(found.bundle)
    searcher.search("warm up 预热", 1)  # dictionaries and groups are read at the first query: this one
    index = {"name": f"search {searcher.version}", "items": searcher.mark, "encoder": searcher.finder.encoder.hash}
    return Opened(
        found.bundle,
        found.record.sequence,
        searcher,
        searcher.item,
        (searcher.mark,),
        index,
        lambda query: segment(query).split(),
        searcher.finder.lexical.terms,
        passed_over=found.passed_over,
    )


def open_recommend(shop: str) -> Opened | None:
    """The champion of recommendations, with the catalogue as it is published now."""
    from models.promotions import find_champion
    from models.recommender import Recommender

    found = find_champion(shop, "recommend")
    if found is None:
        return None
    catalogue = Catalogue(shop)
    return Opened(found.bundle, found.record.sequence, Recommender.open(found.bundle), catalogue.item, catalogue.data,
                  passed_over=found.passed_over)  # fmt: skip


class Catalogue:
    """What the shop says of its items: the published items, read once."""

    def __init__(self, shop: str) -> None:
        house = warehouse(shop)
        self.data = tuple(mark.name for mark in house.marks("safe", "items"))
        self._rows = house.read("safe", "items", columns=("item_id", "title", "brand", "category", "price", "currency"))
        self._places = {item: place for place, item in enumerate(self._rows["item_id"].to_pylist())}

    def item(self, item_id: str) -> dict[str, Any]:
        """One item; empty if it is not in the catalogue."""
        place = self._places.get(item_id)
        return {} if place is None else self._rows.slice(place, 1).to_pylist()[0]


OPENERS: Mapping[str, Opener] = {"search": open_search, "recommend": open_recommend}


def stamp(shop: str, name: str) -> tuple[tuple[str, int, int], ...]:
    """Changes when a promotion of `name` was added or replaced, an index of search, or the items. A few dozen stats."""
    root = home() / shop
    found = list(root.glob(f"promotions/{name}/*.json"))
    found += (
        root.glob("indexes/search/*.json") if name == "search" else root.glob("warehouse/safe/items/published/*.json")
    )
    return tuple(sorted((str(path.relative_to(root)), *_stat(path)) for path in found))


def _stat(path: Path) -> tuple[int, int]:
    try:
        about = path.stat()
    except FileNotFoundError:
        return 0, 0
    return about.st_mtime_ns, about.st_size


def known_until(shop: str) -> datetime | None:
    """The moment up to which the shop's statistics are true, by the shop's own clock; None if it has none.

    Answers are made as of this moment. A shop whose data end in 2017 is answered as in 2017; one that is
    refreshed each night, as of last midnight.
    """
    from jobs.features import shop_now

    house = warehouse(shop)
    return shop_now(shop) if any(house.days("stats", declared.name) for declared in tables("stats")) else None


class Champions:
    """The opened champions of one shop, kept up to date by a thread that looks every `poll` seconds."""

    def __init__(self, shop: str, openers: Mapping[str, Opener] | None = None, poll: float = POLL) -> None:
        self.shop = shop
        self._openers = OPENERS if openers is None else openers
        self._poll = poll
        self._opened: dict[str, Opened] = {}
        self._reasons: dict[str, str] = {}
        self._mends: dict[str, str] = {}
        self._stamps: dict[str, Any] = {}
        self._tried: dict[str, float] = {}
        self._one = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.as_of: datetime | None = None

    def get(self, name: str) -> Opened:
        """The champion `name`, or a `Fault` (503) that says what is missing and which command brings it."""
        opened = self._opened.get(name)
        if opened is None:
            reason = self._reasons.get(name, "it is being opened")
            first = f"run 'python -m models baseline {name} --shop {self.shop}'"
            raise Fault(
                503,
                f"{name} cannot answer: {reason}",
                where=f"champion of {name}",
                do=f"{self._mends.get(name) or first}; this process takes it up by itself",
            )
        return opened

    def reasons(self) -> dict[str, str]:
        """Why a champion could not be opened, or why a newer one was not taken up."""
        passed = {name: "; ".join(each.passed_over) for name, each in self._opened.items() if each.passed_over}
        return {**passed, **self._reasons}

    def opened(self) -> dict[str, Opened]:
        """The champions that can answer."""
        return dict(self._opened)

    def refresh(self) -> list[str]:
        """Open what changed since the last look, and again what could not be opened; returns the names looked at."""
        with self._one:
            self.as_of = known_until(self.shop)
            looked = []
            for name, opener in self._openers.items():
                now = stamp(self.shop, name)
                again = name in self._reasons and time.monotonic() - self._tried[name] > AGAIN
                if now != self._stamps.get(name) or again:
                    self._tried[name] = time.monotonic()
                    self._open(name, opener)
                    self._stamps[name] = now
                    looked.append(name)
            return looked

    def _open(self, name: str, opener: Opener) -> None:
        before = self._opened.get(name)
        self._mends.pop(name, None)
        try:
            opened = opener(self.shop)
            if opened is None:
                reason = "nothing is promoted"
            elif before is not None and opened.sequence < before.sequence:
                lost = [why for why in opened.passed_over if why.startswith(f"record {before.sequence}:")]
                reason = (
                    f"{(lost or [f'record {before.sequence} is not to be found any more'])[0]}, and an earlier one is "
                    "not gone back to"
                )
            else:
                for why in opened.passed_over:
                    say(f"{name}: passed over {why}; version {opened.bundle.version} serves")
                self._opened = {**self._opened, name: opened}
                self._reasons = {each: why for each, why in self._reasons.items() if each != name}
                return
        except Problem as problem:
            reason, self._mends[name] = problem.what, problem.do
        except Exception as fault:  # the one that serves goes on serving, whatever the next one does
            reason = f"it could not be opened ({type(fault).__name__})"
        if self._reasons.get(name) != reason:
            say(f"{name}: {reason}{'; the one before goes on serving' if before else ''}")
        self._reasons = {**self._reasons, name: reason}

    def start(self) -> None:
        """Open the champions, then watch."""
        self.refresh()
        self._thread = threading.Thread(target=self._watch, name="champions", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the watch."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=30)

    def _watch(self) -> None:
        while not self._stop.wait(self._poll):
            began = time.monotonic()
            try:
                looked = [name for name in self.refresh() if name not in self._reasons]
                if looked:
                    say(f"{' and '.join(looked)}: the newest champion serves ({time.monotonic() - began:.1f} s)")
            except Exception as fault:  # the watch must live on, whatever a disk says
                say(f"error: the watch of promotions met {type(fault).__name__}; it goes on")
