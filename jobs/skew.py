"""skew: does what serving looks up equal what training was told? Drawn moments of the past are replayed, and compared.

At each moment entities are drawn; the writer of `materialise` writes what was known of them by then, and nothing else,
into a scratch store; they are looked up in it, and asked of the history. At the last moment, the present, the shop's
own store is asked too. Every feature must be the same, to the type and to the bit; the limit is zero.
"""

import argparse
import fcntl
import json
import os
import random
import shutil
import struct
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.console import Refused, Usage, grid, narrate
from jobs.feature_store import KEYS, REAL_TIME, SERVICES, folder, store, views
from jobs.features import Looked, end_of_day, look_up, shop_now, training_rows
from jobs.tables import tables
from jobs.warehouse import Warehouse, home, up_to, warehouse, write_atomically

if TYPE_CHECKING:
    import pyarrow as pa

MOMENTS, SAMPLE = 8, 10_000
LIMIT = 0
BEGINNING = datetime(1970, 1, 2, tzinfo=UTC)
ELSEWHERE = ("ENDCAP_REDIS", "ENDCAP_REGISTRY")
"""Settings of stores outside the home: a replay writes to none of them."""
NOT_YET, NEVER = 0.08, 0.02
"""Shares of the draws that may not be known yet, and that never were: what is unknown must be the same, too."""
SHOWN = 20

Entity = tuple[tuple[str, str], ...]
"""The keys of an entity with their values, in the order of the service's keys."""


@dataclass(frozen=True)
class Difference:
    """A feature that training and serving were told differently. No id: the draw is found again by seed and number."""

    service: str
    feature: str
    store: str
    moment: int
    draw: int
    offline: str
    online: str


@dataclass
class Tally:
    """What was compared: values by feature, mismatches by feature, answers by their state, and the first examples."""

    compared: Counter[str] = field(default_factory=Counter)
    wrong: Counter[str] = field(default_factory=Counter)
    states: Counter[str] = field(default_factory=Counter)
    examples: list[Difference] = field(default_factory=list)

    def add(self, name: str, fine: bool, example: Difference) -> None:
        """Count one compared value."""
        self.compared[name] += 1
        if not fine:
            self.wrong[name] += 1
            of_it = [
                each for each in self.examples if (each.service, each.feature) == (example.service, example.feature)
            ]
            if len(of_it) < 3:
                self.examples.append(example)


# ---- what is the same -----------------------------------------------------------------------------


def same(offline: Any, online: Any) -> bool:
    """Whether two values are one: of the same type, floats bit by bit, lists place by place, times to the second, which
    is all that Feast's stores keep.

    >>> same(1, 1.0), same(0.1 + 0.2, 0.3), same([1.0, None], [1.0, None]), same(0.0, -0.0), same(None, 0)
    (False, False, True, False, False)
    """
    if type(offline) is not type(online):
        return False
    if isinstance(offline, float):
        return struct.pack("<d", offline) == struct.pack("<d", online)
    if isinstance(offline, list):
        return len(offline) == len(online) and all(map(same, offline, online))
    if isinstance(offline, datetime):
        return bool(offline.replace(microsecond=0) == online.replace(microsecond=0))
    return bool(offline == online)


def told(value: Any, personal: bool) -> str:
    """A value as a report may show it: of a visitor's only the kind."""
    if value is None:
        return "nothing"
    if personal:
        return f"({type(value).__name__}, not shown)"
    return str(value)[:80]


# ---- what is drawn --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pool:
    """Entities of these keys that have statistics, in order, since when each is known, and since when all is."""

    keys: tuple[str, ...]
    rows: "pa.Table"
    since: Sequence[datetime]
    latest: datetime = BEGINNING

    def draw(self, dice: random.Random, known: Sequence[int]) -> tuple[str, ...]:
        """One of the entities, most often of those that are `known`; or one that never was."""
        luck = dice.random()
        if luck < NEVER or not self.rows.num_rows:
            return tuple(f"nobody-{dice.randrange(1_000_000)}" for _ in self.keys)
        all_or_known = range(self.rows.num_rows) if luck < NEVER + NOT_YET or not known else known
        n = dice.choice(all_or_known)
        return tuple(self.rows[key][n].as_py() for key in self.keys)


def pools(shop: str) -> list[Pool]:
    """The entities that can be drawn, those of several keys first; visitors of the newest epoch alone.

    Views of one table hold the same rows, so that each table is read once.
    """
    every = all_views(shop)  # before Feast is imported in any other way, which takes four times as long
    from jobs.feast_store import keys_of
    from jobs.materialising import of_newest

    known: dict[tuple[str, ...], dict[str, Any]] = {}
    for view in every:
        known.setdefault(tuple(keys_of(view)), {})[view.batch_source.path] = view.batch_source
    found = []
    for keys in sorted(known, key=lambda keys: (-len(keys), keys)):
        rows = known_of(shop, keys, list(known[keys].values()))
        last = max(filter(None, rows["last"].to_pylist()), default=BEGINNING)
        rows = (of_newest(rows) if "visitor" in keys else rows).combine_chunks()
        found.append(Pool(keys, rows, rows["since"].to_pylist(), last))
    return found


def known_of(shop: str, keys: Sequence[str], sources: Sequence[Any]) -> "pa.Table":
    """Each entity of these sources once, in order: when its first value was to be seen (`since`), and when the last of
    its values became known (`last`)."""
    from jobs.duck import arrow, engine
    from jobs.feast_store import attach

    columns, config = ", ".join(f'"{key}"' for key in keys), store(shop).config
    with engine() as live:
        for n, source in enumerate(sources):
            attach(live, config, source)
            event, known = f'"{source.timestamp_field}"', f'"{source.created_timestamp_column}"'
            seen = f"min(greatest({event}, {known})) AS since, max({known}) AS last"
            live.register(f"part{n}", arrow(live, f"SELECT {columns}, {seen} FROM source GROUP BY ALL"))  # noqa: S608
        union = " UNION ALL ".join(f"SELECT * FROM part{n}" for n, _ in enumerate(sources))  # noqa: S608
        whole = f"SELECT {columns}, min(since) AS since, max(last) AS last FROM ({union}) GROUP BY ALL"  # noqa: S608
        return arrow(live, f"{whole} ORDER BY {columns}")


def drawn(pools: Sequence[Pool], moment: datetime, count: int, dice: random.Random) -> dict[str, list[Entity]]:
    """By service, `count` entities at a moment. Keys that belong together are drawn together."""
    known = {pool.keys: [n for n, since in enumerate(pool.since) if since <= moment] for pool in pools}
    draws: dict[str, list[Entity]] = {service: [] for service in SERVICES}
    for _ in range(count):
        for service in SERVICES:
            entity: dict[str, str] = {}
            for pool in pools:
                if set(pool.keys) <= set(KEYS[service]) and not set(pool.keys) <= set(entity):
                    entity = {**dict(zip(pool.keys, pool.draw(dice, known[pool.keys]), strict=True)), **entity}
            draws[service].append(tuple((key, entity[key]) for key in KEYS[service]))
    return draws


def moments_of(first: datetime, present: datetime, count: int, dice: random.Random) -> list[datetime]:
    """`count` moments in order, the last the present: one in each of as many equal stretches of the past, every other
    one at the very end of a day, where a value begins to be true."""
    stretch = (present - first) / max(count - 1, 1)
    found = [first + stretch * (n + dice.random()) for n in range(count - 1)]
    ends = [end_of_day(each.date()) if n % 2 else each.replace(microsecond=0) for n, each in enumerate(found)]
    return [*sorted(min(each, present) for each in ends), present]


def span(shop: str, pooled: Sequence[Pool]) -> tuple[datetime, datetime] | None:
    """From the first moment at which a value was known to the present: when all that is published is known."""
    sinces = [min(pool.since) for pool in pooled if pool.since]
    latest = max((pool.latest for pool in pooled), default=BEGINNING)
    return (min(sinces), max(shop_now(shop), latest)) if sinces else None


def all_views(shop: str) -> list[Any]:
    """The views of all services, each once."""
    by_name = {view.name: view for service in SERVICES for view in views(shop, service)}
    return list(by_name.values())


# ---- the replay -----------------------------------------------------------------------------------


@contextmanager
def scratch(shop: str) -> Iterator[Path]:
    """A home for the replay, inside the shop's own and gone at the end: its published tables, and stores of its own.
    What a killed replay left is removed by the next."""
    own = folder(shop)
    own.mkdir(parents=True, exist_ok=True)
    with (own / ".replay.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for left in own.glob("replay-*"):
            shutil.rmtree(left, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix="replay-", dir=own) as name:
            (Path(name) / shop).mkdir()
            (Path(name) / shop / "warehouse").symlink_to(warehouse(shop).root)
            yield Path(name)


@contextmanager
def within(replay: Path) -> Iterator[None]:
    """Settings, definitions, writer and reader are the shop's; only the folder in which they find a home is another."""
    before = {name: os.environ.get(name) for name in ("ENDCAP_HOME", *ELSEWHERE)}
    os.environ["ENDCAP_HOME"] = str(replay)
    for name in ELSEWHERE:
        os.environ.pop(name, None)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def among(shop: str, draws: Mapping[str, Sequence[Entity]]) -> "dict[str, pa.Table]":
    """By the path of each view's source, the keys of what was drawn of it."""
    import pyarrow as pa

    from jobs.feast_store import keys_of

    found: dict[str, pa.Table] = {}
    for view in all_views(shop):
        keys = tuple(keys_of(view))
        asked = [dict(each) for service, drawn in draws.items() if view.name in SERVICES[service] for each in drawn]
        once = sorted({tuple(entity[key] for key in keys) for entity in asked})
        rows = pa.table({key: pa.array([values[n] for values in once], pa.string()) for n, key in enumerate(keys)})
        path = view.batch_source.path
        found[path] = pa.concat_tables([found[path], rows]) if path in found else rows
    return found


def write_as_of(shop: str, moment: datetime, entities: "Mapping[str, pa.Table]") -> None:
    """Bring these entities of the online store to `moment`, as `materialise` would have then: with what was known, by
    the same writer."""
    from jobs.feast_store import known_until
    from jobs.materialising import materialise

    live = store(shop)
    with known_until(moment, entities):
        for view in all_views(shop):
            materialise(live, view.name, BEGINNING, moment)


# ---- the comparison -------------------------------------------------------------------------------


def history(shop: str, service: str, entities: Sequence[Entity], moment: datetime) -> list[dict[str, Any]]:
    """What training would be told of each entity at the moment."""
    import pyarrow as pa

    columns = {key: [dict(entity)[key] for entity in entities] for key in KEYS[service]}
    times = pa.array([moment] * len(entities), pa.timestamp("us", tz="UTC"))
    rows: list[dict[str, Any]] = training_rows(shop, pa.table({**columns, "event_time": times}), service).to_pylist()
    return rows


@dataclass(frozen=True)
class Place:
    """Where a comparison is made: the service, which store, which moment and whose values are hidden."""

    service: str
    store: str
    moment: int
    view_of: Mapping[str, str]
    personal: frozenset[str]


def compare(tally: Tally, place: Place, draw: int, offline: Mapping[str, Any], online: Looked) -> None:
    """Count each feature of one entity, and of each view the moment its values are true at."""
    names = [name for name in offline if name not in (*KEYS[place.service], "event_time") and "__" not in name]
    for name in dict.fromkeys([*names, *online.values]):
        missing = name not in offline or name not in online.values
        have, got = offline.get(name), online.values.get(name)
        hidden = place.view_of.get(name) in place.personal or name not in place.view_of
        shown = told(have, hidden), told(got, hidden)
        example = Difference(place.service, name, place.store, place.moment, draw, *shown)
        tally.add(f"{place.view_of.get(name, place.service)}.{name}", not missing and same(have, got), example)
    for view in dict.fromkeys(place.view_of.values()):
        first = next(name for name, of in place.view_of.items() if of == view)
        state = online.states.get(first, "absent")
        tally.states[state] += 1
        have = offline.get(f"{view}__event_time")
        got = online.event_times.get(first) if state == "present" else None
        example = Difference(place.service, f"{view}.event_time", place.store, place.moment, draw, str(have), str(got))
        tally.add(f"{view}.event_time", same(have, got), example)


def asked(tally: Tally, shop: str, place: Place, entities: Mapping[Entity, int], moment: datetime,
          truth: Sequence[Mapping[str, Any]]) -> None:  # fmt: skip
    """Look up entities in the store of the present home, and compare with what the history says."""
    looked = look_up(shop, place.service, [dict(entity) for entity in entities], now=moment)
    for draw, offline, online in zip(entities.values(), truth, looked, strict=True):
        compare(tally, place, draw, offline, online)


def measure(shop: str, pooled: Sequence[Pool], moments: Sequence[datetime], sample: int, dice: random.Random) -> Tally:
    """Replay each moment and compare what is drawn there: `sample` draws in all, as many at each moment."""
    tally = Tally()
    shares = [sample // len(moments) + (n < sample % len(moments)) for n in range(len(moments))]
    with scratch(shop) as replay:
        for number, (moment, count) in enumerate(zip(moments, shares, strict=True)):
            draws = drawn(pooled, moment, count, dice)
            with narrate(f"skew: {count:,} draws at {moment.isoformat(timespec='seconds')}"), within(replay):
                write_as_of(shop, moment, among(shop, draws))
            for service, entities in draws.items():
                once = {entity: n for n, entity in reversed(list(enumerate(entities)))}
                once = dict(sorted(once.items(), key=lambda pair: pair[1]))
                truth = history(shop, service, list(once), moment)
                view_of = {feature.name: view.name for view in views(shop, service) for feature in view.features}
                personal = frozenset(v.name for v in views(shop, service) if v.tags.get("personal") != "no")
                with within(replay):
                    place = Place(service, "replay", number, view_of, personal)
                    asked(tally, shop, place, once, moment, truth)
                if number == len(moments) - 1 and not set(SERVICES[service]) & set(REAL_TIME):  # by the clock of now
                    asked(tally, shop, Place(service, "live", number, view_of, personal), once, moment, truth)
    return tally


# ---- the step -------------------------------------------------------------------------------------


def report_file(shop: str) -> Path:
    """Where the last measurement lies."""
    return home() / shop / "reports" / "skew.json"


def data_of(house: Warehouse) -> list[str]:
    """The statistics that were compared, a name for all days of each table."""
    marks = {declared.name: house.marks("stats", declared.name) for declared in tables("stats")}
    return [max(up_to("stats", [name], found).items())[1] for name, found in marks.items() if found]


def report(shop: str, seed: int, moments: Iterable[datetime], draws: int, tally: Tally) -> dict[str, Any]:
    """What the gate and people read: no clock, no id."""
    features = {
        name: {"compared": compared, "mismatches": tally.wrong[name]}
        for name, compared in sorted(tally.compared.items())
    }
    return {
        "shop": shop,
        "seed": seed,
        "moments": [moment.isoformat() for moment in moments],
        "draws": draws,
        "compared": tally.compared.total(),
        "mismatches": tally.wrong.total(),
        "limit": LIMIT,
        "states": dict(sorted(tally.states.items())),
        "features": features,
        "examples": [vars(each) for each in tally.examples],
        "data": data_of(warehouse(shop)),
    }


def run(args: argparse.Namespace) -> None:
    """Measure the skew of a shop's features; `Refused` if there is any."""
    if args.moments < 1 or args.sample < args.moments:
        raise Usage("there must be a moment, and a draw at each", do="give --moments 8 --sample 10000")
    house, began, dice = warehouse(args.shop), time.monotonic(), random.Random(args.seed)  # noqa: S311
    pooled = pools(args.shop) if any(house.days("stats", declared.name) for declared in tables("stats")) else []
    reach = span(args.shop, pooled)
    path = report_file(args.shop)
    if reach is None:
        write_atomically(path, _text(report(args.shop, args.seed, [], 0, Tally())))
        print(f"{args.shop}: no statistics: there is nothing that training and serving could be told differently.")
        return
    moments = moments_of(*reach, args.moments, dice)
    tally = measure(args.shop, pooled, moments, args.sample, dice)
    found = report(args.shop, args.seed, moments, args.sample, tally)
    write_atomically(path, _text(found))
    print(grid(("feature", "compared", "mismatches"),
               [(name, of["compared"], of["mismatches"]) for name, of in found["features"].items()]))  # fmt: skip
    print(f"{found['draws']:,} draws at {len(moments)} moments, {found['compared']:,} values compared, "
          f"{found['mismatches']:,} mismatches, limit {LIMIT}")  # fmt: skip
    print(f"in {time.monotonic() - began:.1f} s, in {path}")
    if found["mismatches"] > LIMIT:
        heads = ("feature", "store", "moment", "draw", "training was told", "serving was told")
        print(
            grid(heads, [(e.feature, e.store, e.moment, e.draw, e.offline, e.online) for e in tally.examples[:SHOWN]])
        )
        live = {each.store for each in tally.examples} == {"live"}
        raise Refused(
            f"{found['mismatches']:,} of {found['compared']:,} values differ between training and serving, "
            f"in {', '.join(sorted(tally.wrong))}",
            where=str(path),
            do=f"run 'python -m jobs materialise --shop {args.shop}', then measure again" if live
            else "mend the writer or the definition that is named; until then no candidate is promoted",
        )  # fmt: skip
    print(f"next: python -m jobs examples recommender --shop {args.shop}")


def _text(values: Mapping[str, Any]) -> str:
    return json.dumps(values, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
