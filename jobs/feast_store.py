"""Feast's embedded stores, mended where they would mislead (see docs/decisions and the tests).

Offline: a source's path names a table of the warehouse and is resolved to published partitions, so
nothing unpublished is read; the point-in-time join is DuckDB's as-of join, one row out for each in.
Online: on SQLite an older value never replaces a newer one, as it already is on Redis.
"""

import os
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Literal
from urllib.parse import quote

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from feast.infra.key_encoding_utils import serialize_entity_key
from feast.infra.offline_stores.duckdb import DuckDBOfflineStore, DuckDBOfflineStoreConfig
from feast.infra.offline_stores.offline_store import RetrievalJob, RetrievalMetadata
from feast.infra.online_stores.sqlite import SqliteOnlineStore, SqliteOnlineStoreConfig, _quote_id, _table_id

from jobs import entity_keys
from jobs.console import Problem
from jobs.duck import arrow, engine
from jobs.feast_monitor import Monitored
from jobs.online import ZERO, Row, View, Written, whole
from jobs.tables import table
from jobs.warehouse import Warehouse, arrow_schema


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _name(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def house_of(config: Any) -> Warehouse:
    """The warehouse beside the Feast folder of a shop: the two lie in one home."""
    return Warehouse(config.project, config.repo_path.parent / "warehouse")


def published(config: Any, source: Any) -> list[str]:
    """The published files of a source; `Problem` for a path that is not a table, never any other file."""
    zone, _, name = source.path.partition("/")
    house = house_of(config)
    return [str(file) for file in house.files(house.marks(zone, table(zone, name).name))]


@dataclass(frozen=True)
class AsOf:
    """A moment after which nothing became known; and, by the path of a source, the keys of its only entities."""

    moment: datetime
    among: Mapping[str, pa.Table]


_AS_OF: ContextVar[AsOf | None] = ContextVar("as_of", default=None)


@contextmanager
def known_until(moment: datetime, among: Mapping[str, pa.Table] | None = None) -> Iterator[None]:
    """Within, the offline stores hold what was known by `moment`, as they did then: to replay the past. With `among`
    they hold of each source that it names these entities alone (a column for each key), and of others everything.

    Feast's own functions have no place for such parameters."""
    token = _AS_OF.set(AsOf(moment.astimezone(UTC), among or {}))
    try:
        yield
    finally:
        _AS_OF.reset(token)


def as_of() -> AsOf | None:
    """What the `known_until` says that we are within, if we are within one."""
    return _AS_OF.get()


def attach(live: duckdb.DuckDBPyConnection, config: Any, source: Any, files: Sequence[str] | None = None) -> None:
    """The view `source`: published rows (of these files of them), each with the place it comes from (`at_file`,
    `at_row`)."""
    if files := published(config, source) if files is None else files:
        read = f"read_parquet([{', '.join(map(_quoted, files))}], hive_partitioning=false) AS lying"
        then = f" WHERE {' AND '.join(held)}" if (held := _held(live, source)) else ""
        view = f"SELECT *, file_index AS at_file, file_row_number AS at_row FROM {read}{then}"  # noqa: S608
        live.execute(f"CREATE OR REPLACE TEMP VIEW source AS {view}")
        return
    zone, _, name = source.path.partition("/")
    empty = arrow_schema(table(zone, name)).empty_table()
    empty = empty.append_column("at_file", pa.array([], pa.uint64())).append_column("at_row", pa.array([], pa.int64()))
    live.register("nothing", empty)
    live.execute("CREATE OR REPLACE TEMP VIEW source AS SELECT * FROM nothing")


def _held(live: duckdb.DuckDBPyConnection, source: Any) -> list[str]:
    """Conditions of the rows that a source holds as of the moment that is replayed; none in the present."""
    replayed = as_of()
    if replayed is None:
        return []
    known = _name(source.created_timestamp_column or source.timestamp_field)
    held = [f"{known} <= TIMESTAMPTZ {_quoted(replayed.moment.isoformat())}"]
    if (among := replayed.among.get(source.path)) is not None:
        live.register("among", among)
        same = " AND ".join(f"among.{_name(key)} = lying.{_name(key)}" for key in among.column_names)
        held.append(f"EXISTS (SELECT 1 FROM among WHERE {same})")  # noqa: S608
    return held


JOIN = """
WITH stamps AS (
    SELECT names.k, {columns}{event} AS e, {created} AS c, greatest({event}, {created}) AS seen, {place} AS place
    FROM source JOIN names ON {named} WHERE {event} IS NOT NULL AND {created} IS NOT NULL
), ordered AS (
    SELECT *, max(e) OVER life AS newest, lead(seen) OVER life AS next FROM stamps
    WINDOW life AS (PARTITION BY k ORDER BY seen, e, c, place ROWS UNBOUNDED PRECEDING)
), visible AS (
    SELECT * FROM ordered WHERE e >= newest AND next IS DISTINCT FROM seen
), found AS (
    SELECT question.n, {alive} AS alive, visible.* FROM question ASOF LEFT JOIN visible
    ON question.k = visible.k AND question.t >= visible.seen
)
SELECT {answer} FROM found ORDER BY n
"""
"""A row can be seen from the moment `seen` on, when it has happened and is known. In the order of `seen`, a row that is
older than one already seen is never an answer; of the rest the latest is, and of rows seen from one moment on, the
last. So an as-of join on `seen` gives exactly: the latest event time of all rows with event time <= question and known
time <= question."""


PLACE = "at_file::BIGINT * 4294967296 + at_row"
"""Where a row lies, as one number: no file of ours holds four thousand million rows."""


def join_view(
    live: duckdb.DuckDBPyConnection,
    *,
    keys: Sequence[str],
    event: str,
    created: str,
    features: Sequence[tuple[str, str]],
    event_as: str,
    ttl: timedelta | None,
) -> pa.Table:
    """Features of the view `source` for the table `question(n, k, t)`, in the order of n, one row each.

    The table `names(k, k0, k1, ...)` says which entity k is: numbers are sorted and compared faster than texts. `keys`
    are the source's columns for k0, k1, ...; `features` are pairs of a column and what it is to be called.
    """
    nested = {name for name, kind, *_ in live.sql("DESCRIBE source").fetchall() if kind.endswith("[]")}
    flat = [have for have, _ in features if have not in nested]
    # Lists stay where they are until a row has been chosen: a history is some 10 kB.
    # Without a ttl everything lives; with one, what is as old as the ttl still does (as in Feast).
    alive = f"visible.e + to_microseconds({ttl // timedelta(microseconds=1)}) >= question.t" if ttl else "true"
    wanted = [*(f"f{n}" for n, _ in enumerate(flat)), "e", *(["place"] if len(flat) < len(features) else [])]
    sql = JOIN.format(
        columns="".join(f"source.{_name(have)} AS f{n}, " for n, have in enumerate(flat)),
        event=f"source.{_name(event)}",
        created=f"source.{_name(created)}",
        place=PLACE,
        named=" AND ".join(f"source.{_name(key)} = names.k{n}" for n, key in enumerate(keys)),
        alive=alive,
        answer=", ".join(f"CASE WHEN alive THEN {name} END AS {name}" for name in wanted),
    )
    found = arrow(live, sql)
    answer = {have: found[f"f{n}"] for n, have in enumerate(flat)}
    if len(flat) < len(features):
        answer |= _fetched(live, found["place"], [have for have, _ in features if have in nested])
    return pa.table({**{want: answer[have] for have, want in features}, event_as: found["e"]})


def _fetched(
    live: duckdb.DuckDBPyConnection, places: pa.ChunkedArray, names: Sequence[str]
) -> dict[str, pa.ChunkedArray]:
    """Columns of the rows of `source` that lie at these places, in their order; null for none."""
    live.register("chosen", pa.table({"place": places, "n": pa.array(range(len(places)))}))
    wanted = ", ".join(map(_name, names))
    sql = (
        f"SELECT {wanted} FROM chosen LEFT JOIN (SELECT {wanted}, {PLACE} AS place FROM source) USING (place) "  # noqa: S608
        "ORDER BY chosen.n"
    )
    whole = arrow(live, sql)
    return {name: whole[name] for name in names}


def numbered(columns: Sequence[pa.ChunkedArray]) -> tuple[pa.ChunkedArray, pa.Table]:
    """A number for each row, equal for equal values of all columns and null if one of them is, and the table
    names(k, k0, k1, ...) of what each number stands for.

    >>> numbers, names = numbered([pa.chunked_array([["a", "b", "a", None]]), pa.chunked_array([["x", "x", "x", "x"]])])
    >>> numbers.to_pylist(), names.to_pylist()
    ([0, 1, 0, None], [{'k': 0, 'k0': 'a', 'k1': 'x'}, {'k': 1, 'k0': 'b', 'k1': 'x'}])
    """
    encoded = [column.combine_chunks().dictionary_encode() for column in columns]
    numbers = encoded[0].indices.cast(pa.int64())
    for each in encoded[1:]:
        numbers = pc.add(pc.multiply(numbers, max(len(each.dictionary), 1)), each.indices.cast(pa.int64()))
    rest = found = pc.unique(numbers).drop_null().to_numpy()
    names: list[Any] = []
    for each in reversed(encoded):
        rest, place = np.divmod(rest, max(len(each.dictionary), 1))
        names.insert(0, each.dictionary.take(pa.array(place)))
    columns_of = {f"k{n}": values for n, values in enumerate(names)}
    return pa.chunked_array([numbers]), pa.table({"k": pa.array(found, pa.int64()), **columns_of})


def keys_of(view: Any) -> dict[str, str]:
    """The key columns of a view's source, and what the entities call them."""
    return view.projection.join_key_map or {column.name: column.name for column in view.entity_columns}


def named(view: Any, feature_refs: Sequence[str], full_names: bool) -> list[tuple[str, str]]:
    """The features asked of a view: the source's column, and its name in the answer."""
    label = view.projection.name_to_use()
    names = [name for of, _, name in (ref.partition(":") for ref in feature_refs) if of == label]
    return [(name, f"{label}__{name}" if full_names else name) for name in names]


def checked(entity_df: Any, filter_by_created_timestamp: bool) -> None:
    """`Problem` for a request that could see what was not known, or whose rows cannot be counted."""
    if not filter_by_created_timestamp:
        raise Problem("a training row may see only what was known", do="pass filter_by_created_timestamp=True")
    if entity_df is None or isinstance(entity_df, str):
        raise Problem("entities must be a table, not SQL or a range of dates")


def time_of(columns: Sequence[str]) -> str:
    """Which column of the entities says when they are asked about."""
    return "event_timestamp" if "event_timestamp" in columns else "event_time"


def metadata_of(feature_refs: list[str], columns: Sequence[str]) -> RetrievalMetadata:
    """What Feast wants to know of an answer before it is made."""
    return RetrievalMetadata(feature_refs, [name for name in columns if name != time_of(columns)])


def joined(
    rows: pa.Table, views: Sequence[Any], time_column: str, join: Callable[[Any, pa.Table, pa.Table], pa.Table]
) -> pa.Table:
    """`rows` with the features of each view, as `join` finds them for the tables question(n, k, t) and names(k, k0, k1,
    ...), in the order of n; refuses to answer if a row was lost or doubled."""
    asked = rows
    # Cut to whole microseconds, never rounded up: a question must not see what comes after it.
    when = rows[time_column].cast(pa.timestamp("us", tz="UTC"), safe=False)
    for view in views:
        numbers, names = numbered([asked[name].cast(pa.string()) for name in keys_of(view).values()])
        found = join(view, pa.table({"n": pa.array(np.arange(asked.num_rows)), "k": numbers, "t": when}), names)
        if found.num_rows != asked.num_rows:
            label = view.projection.name_to_use()
            raise Problem(f"the point-in-time join of {label} made {found.num_rows:,} rows of {asked.num_rows:,}")
        for name in found.column_names:
            rows = rows.append_column(name, found[name])
    return rows


class ArrowJob(RetrievalJob):  # type: ignore[misc]
    """A retrieval that is an Arrow table once it is asked for."""

    def __init__(self, make: Callable[[], pa.Table], metadata: RetrievalMetadata | None, full_names: bool) -> None:
        self._make, self._metadata, self._full_names = make, metadata, full_names

    def _to_arrow_internal(self, timeout: int | None = None) -> pa.Table:
        return self._make()

    def _to_df_internal(self, timeout: int | None = None) -> Any:
        return self._make().to_pandas()

    @property
    def full_feature_names(self) -> bool:
        return self._full_names

    @property
    def on_demand_feature_views(self) -> list[Any]:
        return []

    @property
    def metadata(self) -> RetrievalMetadata | None:
        return self._metadata

    def persist(self, storage: Any, allow_overwrite: bool = False, timeout: int | None = None) -> None:
        raise Problem("saved data sets are not kept here", do="write a table of the examples zone")


class OverTables:
    """An offline store whose sources are tables of the warehouse."""

    def validate_data_source(self, config: Any, data_source: Any) -> None:
        """A source must be a table that the warehouse declares."""
        zone, _, name = data_source.path.partition("/")
        table(zone, name)


class PublishedDuckDBOfflineStoreConfig(DuckDBOfflineStoreConfig):  # type: ignore[misc]
    """Settings of the store below: none of its own."""

    type: str = "jobs.feast_store.PublishedDuckDBOfflineStore"


class PublishedDuckDBOfflineStore(Monitored, OverTables, DuckDBOfflineStore):  # type: ignore[misc]
    """DuckDB over published partitions. Known times are always respected, whatever the caller passes."""

    @staticmethod
    def get_historical_features(
        config: Any,
        feature_views: list[Any],
        feature_refs: list[str],
        entity_df: Any,
        registry: Any,
        project: str,
        full_feature_names: bool = False,
        filter_by_created_timestamp: bool = False,
    ) -> RetrievalJob:
        """Rows of `entity_df` in their order, each with the features known at its event time, and for
        each view the column VIEW__event_time: the moment its values are true at."""
        checked(entity_df, filter_by_created_timestamp)

        def one(live: duckdb.DuckDBPyConnection, view: Any, question: pa.Table, names: pa.Table) -> pa.Table:
            source, label = view.batch_source, view.projection.name_to_use()
            live.register("question", question)
            live.register("names", names)
            attach(live, config, source)
            return join_view(
                live,
                keys=list(keys_of(view)),
                event=source.timestamp_field,
                created=source.created_timestamp_column or source.timestamp_field,
                features=named(view, feature_refs, full_feature_names),
                event_as=f"{label}__event_time",
                ttl=view.ttl or None,
            )

        def make() -> pa.Table:
            rows = pa.Table.from_pandas(entity_df, preserve_index=False)
            with engine() as live:
                return joined(rows, feature_views, time_of(entity_df.columns), lambda *asked: one(live, *asked))

        return ArrowJob(make, metadata_of(feature_refs, entity_df.columns), full_feature_names)

    @staticmethod
    def pull_latest_from_table_or_query(
        config: Any,
        data_source: Any,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None,
        start_date: datetime,
        end_date: datetime,
    ) -> RetrievalJob:
        """The latest row of each entity with an event time within the dates, both included."""
        created = created_timestamp_column or timestamp_field
        keys = ", ".join(map(_name, join_key_columns))
        wanted = ", ".join(
            f"source.{_name(c)}" for c in [*join_key_columns, *feature_name_columns, timestamp_field, created]
        )
        sql = (
            f"SELECT {wanted} FROM source JOIN (SELECT at_file AS f, at_row AS r FROM source "  # noqa: S608
            f"WHERE {_name(timestamp_field)} BETWEEN $low AND $high QUALIFY row_number() OVER (PARTITION BY {keys} "
            f"ORDER BY {_name(timestamp_field)} DESC, {_name(created)} DESC, at_file, at_row) = 1) AS latest "
            f"ON source.at_file = latest.f AND source.at_row = latest.r ORDER BY {keys}"
        )

        def make() -> pa.Table:
            with engine() as live:
                attach(live, config, data_source)
                low, high = (when.astimezone(UTC) for when in (start_date, end_date))
                return arrow(live, sql, low=low, high=high)

        return ArrowJob(make, None, False)

    @staticmethod
    def pull_all_from_table_or_query(
        config: Any,
        data_source: Any,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None = None,
        start_date: datetime | None = None,
        end_date: datetime | None = None,
    ) -> RetrievalJob:
        """All published rows with an event time within the dates, both included."""
        created = [created_timestamp_column] if created_timestamp_column else []
        wanted = ", ".join(map(_name, [*join_key_columns, *feature_name_columns, timestamp_field, *created]))
        low = (start_date or datetime(1, 1, 2, tzinfo=UTC)).astimezone(UTC)
        high = (end_date or datetime(9999, 12, 30, tzinfo=UTC)).astimezone(UTC)

        def make() -> pa.Table:
            with engine() as live:
                attach(live, config, data_source)
                sql = f"SELECT {wanted} FROM source WHERE {_name(timestamp_field)} BETWEEN $low AND $high"  # noqa: S608
                return arrow(live, sql, low=low, high=high)

        return ArrowJob(make, None, False)


class GuardedSqliteOnlineStoreConfig(SqliteOnlineStoreConfig):  # type: ignore[misc]
    """Settings of the store below: those of Feast's SQLite store."""

    type: Literal["jobs.feast_store.GuardedSqliteOnlineStore"] = "jobs.feast_store.GuardedSqliteOnlineStore"


class GuardedSqliteOnlineStore(SqliteOnlineStore):  # type: ignore[misc]
    """Feast's SQLite store, read and written below its API; an older value never replaces a newer one.

    Whoever reads has a connection of their own (one a thread), and the file keeps a log (WAL), so that nobody waits for
    a writer and everybody sees whole batches only.
    """

    FAULTS = (sqlite3.Error, OSError)

    def __init__(self) -> None:
        super().__init__()
        self._readers, self._one_writer = threading.local(), threading.RLock()
        self._names, self._path = dict[str, str](), ""

    def address(self, config: Any) -> str:
        """The file."""
        return str(self._get_db_path(config))

    def update(self, config: Any, *given: Any, **more: Any) -> None:
        """Make the tables of the views, and let the file keep a log.

        Feast's own index by entity goes: the primary key begins with the entity, and to keep both costs a third of the
        time and a quarter of the room of whatever is written.
        """
        with self._one_writer:
            super().update(config, *given, **more)
            live = self._get_conn(config)
            live.execute("PRAGMA journal_mode = WAL")
            named = (
                "SELECT name FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL AND name = tbl_name || '_ek'"
            )
            for (name,) in live.execute(named).fetchall():
                live.execute(f"DROP INDEX {_quote_id(name)}")

    # Reading ------------------------------------------------------------------------------------------

    def _reader(self, config: Any) -> sqlite3.Connection:
        """This thread's connection; a new one if the file was replaced. Times stay the numbers that are stored."""
        self._path = self._path or self._get_db_path(config)
        inode = os.stat(self._path).st_ino  # noqa: PTH116  asked at every look-up
        if getattr(self._readers, "inode", None) != inode:
            self._readers.live = sqlite3.connect(f"file:{quote(self._path)}?mode=rw", uri=True, isolation_level=None)
            self._readers.live.execute("PRAGMA query_only = ON")
            self._readers.inode = inode
        live: sqlite3.Connection = self._readers.live
        return live

    def read_rows(self, config: Any, asked: Sequence[tuple[View, Sequence[bytes]]]) -> list[list[Row]]:
        """For each view the row of each key, in order."""
        live = self._reader(config)
        return [self._read(live, config, view, keys) for view, keys in asked]

    def _read(self, live: sqlite3.Connection, config: Any, view: View, keys: Sequence[bytes]) -> list[Row]:
        name = self._table(config, view.feast)
        if len(keys) == 1:
            sql = f"SELECT feature_name, value, event_ts FROM {name} WHERE entity_key = ?"  # noqa: S608
            rows = live.execute(sql, keys).fetchall()
            if not rows:
                return [(None, ())]
            values = {feature: value for feature, value, _ in rows}
            return [(_stored(rows[0][2]), [values.get(feature) for feature in view.names])]
        by_key: dict[bytes, dict[str, bytes]] = {}
        times: dict[bytes, int] = {}
        for start in range(0, len(keys), 500):
            part = keys[start : start + 500]
            marks = ",".join("?" * len(part))
            sql = f"SELECT entity_key, feature_name, value, event_ts FROM {name} WHERE entity_key IN ({marks})"  # noqa: S608
            for key, feature, value, at in live.execute(sql, part).fetchall():
                try:
                    by_key[key][feature] = value
                except KeyError:
                    by_key[key], times[key] = {feature: value}, at
        names = view.names
        return [
            (_stored(times[key]), list(map(by_key[key].get, names))) if key in by_key else (None, ()) for key in keys
        ]

    # Writing ------------------------------------------------------------------------------------------

    def online_write_batch(
        self,
        config: Any,
        table: Any,
        data: list[tuple[Any, dict[str, Any], datetime, datetime | None]],
        progress: Callable[[int], Any] | None,
    ) -> None:
        """Write rows of (entity key, values, event time, known time), as Feast's API gives them."""
        version = config.entity_key_serialization_version
        cells = []
        for entity_key, values, event, known in data:
            key = serialize_entity_key(entity_key, entity_key_serialization_version=version)
            some = [value.SerializeToString() for value in values.values()]
            cells += _cells(key, list(values), some, event, known)
        self._put(config, table, cells)
        if progress:
            progress(len(data))

    def write_rows(self, config: Any, table: Any, names: Sequence[str], rows: Sequence[Written]) -> int:
        """Write rows of a view in one transaction; those older than what is stored are left out. How many were
        written."""
        if not names:
            return 0
        cells = [cell for key, values, event, known in rows for cell in _cells(key, names, values, event, known)]
        return self._put(config, table, cells) // len(names)

    def _put(self, config: Any, table: Any, cells: Sequence[tuple[Any, ...]]) -> int:
        """Write cells in one transaction; an equal event time is a correction. How many were written."""
        live, name = self._get_conn(config), self._table(config, table)
        sql = (
            f"INSERT INTO {name} (entity_key, feature_name, value, event_ts, created_ts) VALUES (?, ?, ?, ?, ?) "  # noqa: S608
            "ON CONFLICT (entity_key, feature_name) DO UPDATE SET value = excluded.value, "
            "event_ts = excluded.event_ts, created_ts = excluded.created_ts WHERE excluded.event_ts >= event_ts"
        )
        with self._one_writer, live:
            return int(live.executemany(sql, cells).rowcount)

    # What there is, and its end -----------------------------------------------------------------------

    def _table(self, config: Any, table: Any) -> str:
        """The name of a view's table, quoted."""
        if (name := self._names.get(table.name)) is None:
            versions = config.registry.enable_online_feature_view_versioning
            name = self._names[table.name] = str(_quote_id(_table_id(config.project, table, versions)))
        return name

    def held(self, config: Any, table: Any) -> Iterator[tuple[bytes, dict[str, str], datetime]]:
        """Every entity of which a view holds something: key, names, event time."""
        sql = f"SELECT entity_key, max(event_ts) FROM {self._table(config, table)} GROUP BY entity_key"  # noqa: S608
        for key, at in self._reader(config).execute(sql):
            yield key, entity_keys.read(key)[0], _stored(at) or ZERO

    def forget(self, config: Any, table: Any, keys: Sequence[bytes]) -> None:
        """Remove what a view holds of these entities."""
        live, name = self._get_conn(config), self._table(config, table)
        with self._one_writer, live:
            live.executemany(f"DELETE FROM {name} WHERE entity_key = ?", [(key,) for key in keys])  # noqa: S608

    def forget_others(self, config: Any, table: Any, key: str, beginning: str) -> int:
        """Remove the entities of a view whose `key` does not begin so, from the file's free pages and log too; returns
        how many there were."""
        gone = [stored for stored, entity, _ in self.held(config, table) if not entity[key].startswith(beginning)]
        if gone:
            self.forget(config, table, gone)
            self.tidy(config)
        return len(gone)

    def tidy(self, config: Any) -> None:
        """Give freed room back: the file's free pages go, and so does its log, in which they may stand still."""
        live = self._get_conn(config)
        with self._one_writer:
            live.execute("VACUUM")
            live.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    # Notes --------------------------------------------------------------------------------------------

    def notes(self, config: Any) -> dict[str, str]:
        """What was written down beside the values."""
        live = self._reader(config)
        if not live.execute("SELECT 1 FROM sqlite_master WHERE name = 'endcap_notes'").fetchone():
            return {}
        return dict(live.execute("SELECT name, note FROM endcap_notes"))

    def note(self, config: Any, name: str, text: str) -> None:
        """Write something down beside the values, for the next reader."""
        live = self._get_conn(config)
        with self._one_writer, live:
            live.execute("CREATE TABLE IF NOT EXISTS endcap_notes (name TEXT PRIMARY KEY, note TEXT)")
            live.execute("INSERT OR REPLACE INTO endcap_notes VALUES (?, ?)", (name, text))


@lru_cache(maxsize=4096)
def _stored(at: int) -> datetime | None:
    """The moment of a stored number: whole seconds of a naive time on the machine's clock, as Feast's adapter writes
    and reads them; the last second of a day is the end of the day."""
    return whole(datetime.fromtimestamp(at).replace(tzinfo=UTC)) if at > 0 else None  # noqa: DTZ006


def _cells(
    key: bytes, names: Sequence[str], values: Sequence[bytes], event: datetime, known: datetime | None
) -> list[tuple[Any, ...]]:
    """One row of the file for each feature."""
    at, since = _seconds(event), _seconds(known) if known else None
    return [(key, name, value, at, since) for name, value in zip(names, values, strict=True)]


@lru_cache(maxsize=4096)
def _seconds(moment: datetime) -> int:
    """Whole seconds, as Feast's own adapter writes and reads them: naive times on the machine's clock."""
    return int(moment.astimezone(UTC).replace(tzinfo=None).timestamp())
