"""materialise: the latest published value of each item, visitor and query -> Feast's online store.

Only what is new since the last time is brought: days that were published since. If a day that was brought is another
now, or is gone, everything is read again, and what is no longer published goes out of the store. Rows stream through in
batches, in the order of their entities, and a note beside the values says how far it came: cut off, it goes on there.
"""

import argparse
import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from itertools import chain, islice, repeat
from typing import TYPE_CHECKING, Any

from jobs import entity_keys
from jobs.console import Refused, grid, say
from jobs.events import SESSION_SPAN
from jobs.feast_values import encoded
from jobs.feature_store import REAL_TIME, SERVICES, alone, registry, store, table_of
from jobs.features import end_of_day, shop_now
from jobs.online import ZERO, Brought, Written, brought, note, telling
from jobs.pseudonyms import serving_file
from jobs.warehouse import Mark, Warehouse, home, warehouse, write_atomically

if TYPE_CHECKING:
    import pyarrow as pa

BATCH = 2_000
"""Rows a batch. A visitor's history is some 10 kB in Python: 20 MB a batch."""
EVERY = 2.0
"""Seconds between two notes of how far it came."""


# Rows ------------------------------------------------------------------------------------------------


def rows_of(rows: "pa.Table", keys: Sequence[str], names: Sequence[str]) -> list[Written]:
    """What an online store writes of an Arrow table: entity key, values, event time, known time."""
    key_of = entity_keys.writer(list(keys))
    entities = rows.select(list(keys)).to_pylist()
    values = zip(*(encoded(rows[name]) for name in names), strict=True) if names else repeat((), rows.num_rows)
    return list(
        zip(map(key_of, entities), values, _moments(rows["event_time"]), _moments(rows["known_time"]), strict=True)
    )


def _moments(column: "pa.ChunkedArray") -> list[datetime]:
    """Moments of a column of microseconds, each different one made once: statistics are true at ends of days."""
    import pyarrow as pa

    known: dict[int, datetime] = {}
    return [
        known.get(at) or known.setdefault(at, ZERO + timedelta(microseconds=at))
        for at in column.cast(pa.timestamp("us", tz="UTC")).cast(pa.int64()).to_pylist()
    ]


def epoch_of(visitors: "pa.ChunkedArray") -> int | None:
    """The newest epoch of these pseudonyms; None if none has one.

    >>> import pyarrow as pa
    >>> epoch_of(pa.chunked_array([["v9_a", "v10_b", "v9_c"]]))
    10
    """
    import pyarrow.compute as pc

    found = pc.extract_regex(visitors, r"^v(?P<epoch>[0-9]+)_").drop_null()
    return max(map(int, pc.struct_field(found, "epoch").unique().to_pylist()), default=None)


def of_newest(rows: "pa.Table") -> "pa.Table":
    """Without the rows of visitors under pseudonyms of an older epoch, if there are newer ones."""
    import pyarrow.compute as pc

    epoch = epoch_of(rows["visitor"])
    return rows if epoch is None else rows.filter(pc.starts_with(rows["visitor"], f"v{epoch}_"))


class Latest:
    """The latest row of each entity of a view, among the rows of some published files that are true between two moments
    and, of visitors, bear the newest pseudonyms. Read in batches, in the order of the entities; DuckDB spills what it
    sorts, so memory does not grow with the rows."""

    def __init__(
        self, live: Any, table: Any, files: Sequence[str], low: datetime, high: datetime, *, least_epoch: int = 0
    ) -> None:
        from jobs.feast_store import _name, attach

        source = table.batch_source
        self._duck = self._engine()
        attach(self._duck, live.config, source, files)
        self.keys, self.names = sorted(table.join_keys), [feature.name for feature in table.features]
        event, created = source.timestamp_field, source.created_timestamp_column or source.timestamp_field
        self._keys = ", ".join(map(_name, self.keys))
        given = {"low": low.astimezone(UTC), "high": high.astimezone(UTC)}
        within = f"{_name(event)} BETWEEN $low AND $high"
        self.epoch = None
        if "visitor" in self.keys:
            self.epoch = self._epoch(within, given, least_epoch)
            if self.epoch is not None:
                within += f" AND starts_with(visitor, 'v{self.epoch}_')"
        self._ask(
            f"CREATE TEMP TABLE latest AS SELECT {self._keys}, {_name(event)} AS e, at_file, at_row FROM source "  # noqa: S608
            f"WHERE {within} QUALIFY row_number() OVER (PARTITION BY {self._keys} "
            f"ORDER BY {_name(event)} DESC, {_name(created)} DESC, at_file, at_row) = 1",
            given,
        )
        ((self.count,),) = self._ask("SELECT count(*) FROM latest")
        self._columns = ", ".join(f"source.{_name(name)}" for name in [*self.keys, *self.names, event, created])

    @staticmethod
    def _engine() -> Any:
        from jobs.duck import engine

        live = engine()
        live.execute("SET memory_limit='512MB'")
        return live

    def _ask(self, sql: str, given: Mapping[str, Any] | None = None) -> list[Any]:
        """The whole answer: a connection with half an answer takes no other question."""
        found = self._duck.execute(sql, given).fetchall() if given else self._duck.execute(sql).fetchall()
        return list(found)

    def _epoch(self, within: str, given: Mapping[str, datetime], least: int) -> int | None:
        """The newest epoch of these pseudonyms, never one older than is looked up by now; None if none bears one."""
        ((found,),) = self._ask(
            "SELECT max(TRY_CAST(nullif(regexp_extract(visitor, '^v([0-9]+)_', 1), '') AS INTEGER)) "  # noqa: S608
            f"FROM source WHERE {within}",
            given,
        )
        return None if found is None else max(int(found), least)

    def batches(self, skip: int = 0) -> Iterator["pa.Table"]:
        """The rows from the place `skip` on."""
        import pyarrow as pa

        ordered = ", ".join(f"latest.{key}" for key in self._keys.split(", "))
        found = self._duck.sql(
            f"SELECT {self._columns} FROM latest JOIN source ON source.at_file = latest.at_file "  # noqa: S608
            f"AND source.at_row = latest.at_row ORDER BY {ordered} OFFSET {int(skip)}"
        )
        for batch in found.to_arrow_reader(BATCH):
            for start in range(0, batch.num_rows, BATCH):
                yield pa.Table.from_batches([batch.slice(start, BATCH)])

    def others(self, held: Iterator[tuple[bytes, dict[str, str], datetime]]) -> Iterator[list[bytes]]:
        """Keys of what a store holds that is no longer published, or was published for a later moment than now is the
        latest: in batches. Pseudonyms of another epoch are left alone: they are looked up until `turn_epoch`."""
        import pyarrow as pa

        kinds = [("stored", pa.binary()), ("at", pa.int64()), *((key, pa.string()) for key in self.keys)]
        columns = ", ".join(f'"{name}" {"BLOB" if name == "stored" else "BIGINT" if name == "at" else "VARCHAR"}'
                            for name, _ in kinds)  # fmt: skip
        self._ask(f"CREATE TEMP TABLE held ({columns})")
        while some := list(islice(filter(self._of_epoch, held), BATCH)):
            rows = [{"stored": key, "at": int(at.timestamp()), **entity} for key, entity, at in some]
            self._duck.register("arrived", pa.Table.from_pylist(rows, schema=pa.schema(kinds)))
            self._ask("INSERT INTO held SELECT * FROM arrived")
        found = self._duck.execute(
            f"SELECT held.stored FROM held LEFT JOIN latest USING ({self._keys}) "  # noqa: S608
            "WHERE latest.e IS NULL OR held.at > epoch_us(latest.e) // 1000000"
        )
        while gone := found.fetchmany(BATCH):
            yield [key for (key,) in gone]

    def _of_epoch(self, held: tuple[bytes, dict[str, str], datetime]) -> bool:
        return self.epoch is None or held[1]["visitor"].startswith(f"v{self.epoch}_")

    def close(self) -> None:
        """Let DuckDB's memory and files go."""
        self._duck.close()


def materialise(live: Any, name: str, low: datetime, high: datetime) -> tuple[int, int | None]:
    """Write the latest row of each entity of one view, of the published rows true between `low` and `high`.

    Returns how many entities were written, and, of a view of visitors, the epoch of their pseudonyms.
    """
    from jobs.feast_store import published

    table = live.get_feature_view(name)
    with closing(Latest(live, table, published(live.config, table.batch_source), low, high)) as rows:
        return write(live, table, rows), rows.epoch


def write(live: Any, table: Any, rows: Latest, skip: int = 0, tell: Callable[[int], None] = lambda done: None) -> int:
    """Write the rows from the place `skip` on through the store's guard; `tell` hears how many have arrived.

    Returns how many were handed over: one that is older than what is stored is not written, and counts.
    """
    online, done = live._get_provider().online_store, skip
    for batch in rows.batches(skip):
        online.write_rows(live.config, table, rows.names, rows_of(batch, rows.keys, rows.names))
        done += batch.num_rows
        tell(done)
    return done - skip


# What is new -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Work:
    """What of a view is to be brought: partitions, whether all there are, and which note is left at the end."""

    marks: tuple[Mark, ...]
    whole: bool
    after: Brought

    @property
    def digest(self) -> str:
        """Tells a run that goes on from one that has something else to bring."""
        return hashlib.sha256("\n".join([str(self.whole), *(mark.name for mark in self.marks)]).encode()).hexdigest()

    @property
    def rows(self) -> int:
        """Rows of these partitions."""
        return sum(mark.rows for mark in self.marks)


def work(before: Brought, marks: Sequence[Mark], first: date | None, last: date | None) -> Work:
    """What to bring, of all published marks of a table, when so much was brought before.

    Days of a range that is asked for are brought whatever was before. Else the days that are new; or all of them, if
    nothing was brought yet, or if a day that was is another now or is gone.
    """
    now = {mark.day: mark.name for mark in marks}
    newest = marks[-1].name if marks else ""
    if first or last:
        chosen = [m for m in marks if (not first or m.day >= str(first)) and (not last or m.day <= str(last))]
        days = {**before.days, **{mark.day: mark.name for mark in chosen}}
        return Work(tuple(chosen), False, Brought(days, newest if newest in days.values() else before.newest))
    after = Brought(now, newest)
    if before.days and all(now.get(day) == name for day, name in before.days.items()):
        return Work(tuple(mark for mark in marks if mark.day not in before.days), False, after)
    return Work(tuple(marks), True, after)


def bring(house: Warehouse, live: Any, table: Any, asked: Work, before: Brought) -> tuple[int, int, int | None]:
    """Bring one view up to date: how many entities were written, how many went, and the epoch of the pseudonyms."""
    online, name = live._get_provider().online_store, table.name
    going_on = before.doing == asked.digest
    skip = before.done if going_on else 0
    doing = replace(before, doing=asked.digest, done=skip)
    low = end_of_day(date.fromisoformat(asked.marks[0].day) - timedelta(days=1)) + timedelta(microseconds=1)
    high = end_of_day(date.fromisoformat(asked.marks[-1].day))
    files = [str(file) for file in house.files(asked.marks)]
    told = time.monotonic()

    def tell(done: int) -> None:
        nonlocal told
        if time.monotonic() - told > EVERY:
            note(online, live.config, name, replace(doing, done=done))
            say(f"materialise: {name}: {done:,} of {rows.count:,}")
            told = time.monotonic()

    with closing(Latest(live, table, files, low, high, least_epoch=serving_epoch(house.shop))) as rows:
        if asked.rows and not rows.count:
            return 0, 0, None
        if going_on:
            say(f"materialise: {name}: goes on after {skip:,} of {rows.count:,}")
        note(online, live.config, name, doing)
        gone = 0
        if asked.whole and before.days:
            for keys in rows.others(online.held(live.config, table)):
                online.forget(live.config, table, keys)
                gone += len(keys)
        written = write(live, table, rows, skip, tell)
        with registry(house.shop):
            live.registry.apply_materialization(table, live.project, low, high)
        note(online, live.config, name, replace(asked.after, at=datetime.now(UTC).isoformat(timespec="seconds")))
        return written, gone, rows.epoch


def serving_epoch(shop: str) -> int:
    """The epoch of the pseudonyms that are looked up by now; 0 if none was brought yet."""
    path = serving_file(shop)
    return int(path.read_text(encoding="ascii")) if path.exists() else 0


def turn_epoch(shop: str, live: Any, epoch: int) -> int:
    """Let look-ups use the pseudonyms of this epoch, and forget the entities of all others; returns how many.

    All views of visitors bear the new pseudonyms by now, so nobody is unknown for a moment in between.
    """
    write_atomically(serving_file(shop), f"{epoch}\n")
    online, gone = live._get_provider().online_store, 0
    for view in live.list_feature_views():
        if "visitor" in view.join_keys:
            forgotten = online.forget_others(live.config, view, "visitor", f"v{epoch}_")
            gone = max(gone, forgotten)  # one visitor stands in every view
    return gone


def compact(live: Any, now: datetime) -> list[tuple[str, int]]:
    """Remove what is expired at `now` from the online store, and give the room back; how many entities of each view."""
    online, found = live._get_provider().online_store, []
    for table in sorted(live.list_feature_views(), key=lambda view: str(view.name)):
        end = datetime.now(UTC) - SESSION_SPAN if table.name in REAL_TIME else now  # a late act may take up a session
        expired = [key for key, _, at in online.held(live.config, table) if table.ttl and at + table.ttl < end]
        for start in range(0, len(expired), BATCH):
            online.forget(live.config, table, expired[start : start + BATCH])
        found.append((table.name, len(expired)))
    online.tidy(live.config)
    return found


# The command -----------------------------------------------------------------------------------------


def run(args: argparse.Namespace) -> None:
    """Bring the online store of a shop up to the last published day."""
    house, began = warehouse(args.shop), time.monotonic()
    names = brought_views()
    if not any(house.days("stats", table_of(name)) for name in names):
        if any(house.days("safe", name) for name in ("interactions", "rankings", "searches", "reviews")):
            house.require("stats", table_of(names[0]), step="aggregate")
        house.require("safe", "items", step="validate")
        print(f"{args.shop}: no statistics, because no interactions: there is nothing to look up.")
        return
    live = store(args.shop)
    online = live._get_provider().online_store
    with alone(args.shop), telling(online, live.config, "written"):
        report, newest, gone = _bring_all(args, house, live, names)
        older = turn_epoch(args.shop, live, newest) if newest else 0
        compacted = compact(live, shop_now(args.shop)) if getattr(args, "compact", False) else []
    print(grid(("view", "rows in", "entities written", "of"), report))
    if gone:
        print(f"{gone:,} entities that are no longer published are gone from the online store")
    if older:
        print(f"{older:,} entities under pseudonyms of an older key are gone from the online store")
    if compacted:
        print(grid(("view", "expired entities removed"), compacted))
    print(f"in {time.monotonic() - began:.1f} s to {online.address(live.config)}")
    if empty := [name for name, have, entities, _ in report if have and not entities]:
        raise Refused(f"rows in, but none written: {', '.join(empty)}", where=str(home() / args.shop / "feast"))
    print(f"next: python -m jobs features list --shop {args.shop}")


def brought_views() -> list[str]:
    """The views that are brought from statistics; the others are written as things happen."""
    return [name for name in dict.fromkeys(chain.from_iterable(SERVICES.values())) if name not in REAL_TIME]


def _bring_all(
    args: argparse.Namespace, house: Warehouse, live: Any, names: Sequence[str]
) -> tuple[list[tuple[str, int, int, str]], int, int]:
    """Every view: lines of the report, the newest epoch of pseudonyms (0 if none is new), entities that went."""
    online, report, newest, gone = live._get_provider().online_store, [], 0, 0
    for name in names:
        start = time.monotonic()
        before = brought(online, live.config, name)
        asked = work(before, house.marks("stats", table_of(name)), args.first, args.last)
        if not asked.marks:
            report.append((name, 0, 0, "nothing new"))
            continue
        with registry(args.shop):
            table = live.get_feature_view(name)
        entities, went, epoch = bring(house, live, table, asked, before)
        newest, gone = max(newest, epoch or 0), gone + went
        say(f"materialise: {name}: {entities:,} entities in {time.monotonic() - start:.1f} s")
        days = len(asked.marks)
        report.append((name, asked.rows, entities, "all days" if asked.whole else f"{days:,} day{'s' * (days > 1)}"))
    return report, newest, gone
