"""Feast's embedded stores, mended where they would mislead (see docs/decisions and the tests).

Offline: a source's path names a table of the warehouse and is resolved to published partitions, so
nothing unpublished is read; the point-in-time join is DuckDB's as-of join, one row out for each in.
Online: on SQLite an older value never replaces a newer one, as it already is on Redis.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import duckdb
import pyarrow as pa
from feast.infra.key_encoding_utils import serialize_entity_key
from feast.infra.offline_stores.duckdb import DuckDBOfflineStore, DuckDBOfflineStoreConfig
from feast.infra.offline_stores.offline_store import RetrievalJob, RetrievalMetadata
from feast.infra.online_stores.sqlite import SqliteOnlineStore, SqliteOnlineStoreConfig, _quote_id, _table_id

from jobs.console import Problem
from jobs.duck import arrow, engine
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


def _attach(live: duckdb.DuckDBPyConnection, config: Any, source: Any) -> None:
    """The view `source`: published rows, each with the place it comes from (`at_file`, `at_row`)."""
    files = published(config, source)
    if files:
        listed = ", ".join(map(_quoted, files))
        rows = f"read_parquet([{listed}], hive_partitioning=false, filename=true, file_row_number=true)"
        view = f"SELECT *, filename AS at_file, file_row_number AS at_row FROM {rows}"  # noqa: S608
        live.execute(f"CREATE OR REPLACE TEMP VIEW source AS {view}")
        return
    zone, _, name = source.path.partition("/")
    empty = arrow_schema(table(zone, name)).empty_table()
    empty = empty.append_column("at_file", pa.array([], pa.string())).append_column("at_row", pa.array([], pa.int64()))
    live.register("nothing", empty)
    live.execute("CREATE OR REPLACE TEMP VIEW source AS SELECT * FROM nothing")


JOIN = """
WITH stamps AS (
    SELECT {key} AS k, {event} AS e, {created} AS c, greatest({event}, {created}) AS seen, at_file, at_row
    FROM source WHERE {key} IN (SELECT k FROM question) AND {event} IS NOT NULL AND {created} IS NOT NULL
), best AS (
    SELECT *, max(e) OVER (PARTITION BY k ORDER BY seen, e, c ROWS UNBOUNDED PRECEDING) AS newest FROM stamps
), visible AS (
    SELECT * FROM best WHERE e >= newest
    QUALIFY row_number() OVER (PARTITION BY k, seen ORDER BY e DESC, c DESC, at_file, at_row) = 1
), found AS (
    SELECT question.n, CASE WHEN {live} THEN visible.at_file END AS at_file,
           CASE WHEN {live} THEN visible.at_row END AS at_row
    FROM question ASOF LEFT JOIN visible ON question.k = visible.k AND question.t >= visible.seen
)
SELECT {columns} FROM found
LEFT JOIN source ON source.at_file = found.at_file AND source.at_row = found.at_row
ORDER BY found.n
"""
"""A row can be seen from the moment `seen` on, when it has happened and is known. In the order of
`seen`, a row that is older than one already seen is never an answer; of the rest the latest is. So an
as-of join on `seen` gives exactly: the latest event time of all rows with event time <= question and
known time <= question. A row is fetched whole only once it has been chosen."""


def join_view(
    live: duckdb.DuckDBPyConnection,
    *,
    key: str,
    event: str,
    created: str,
    features: Sequence[tuple[str, str]],
    event_as: str,
    ttl: timedelta | None,
) -> pa.Table:
    """Features of the view `source` for the table `question(n, k, t)`, in the order of n, one row each."""
    columns = ", ".join([f"source.{_name(have)} AS {_name(want)}" for have, want in features])
    # Without a ttl everything lives; with one, what is as old as the ttl still does (as in Feast).
    alive = f"visible.e + to_microseconds({ttl // timedelta(microseconds=1)}) >= question.t" if ttl else "true"
    sql = JOIN.format(
        key=_name(key),
        event=_name(event),
        created=_name(created),
        columns=f"{columns}, source.{_name(event)} AS {_name(event_as)}",
        live=alive,
    )
    return arrow(live, sql)


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


class PublishedDuckDBOfflineStoreConfig(DuckDBOfflineStoreConfig):  # type: ignore[misc]
    """Settings of the store below: none of its own."""

    type: str = "jobs.feast_store.PublishedDuckDBOfflineStore"


class PublishedDuckDBOfflineStore(DuckDBOfflineStore):  # type: ignore[misc]
    """DuckDB over published partitions. Known times are always respected, whatever the caller passes."""

    def validate_data_source(self, config: Any, data_source: Any) -> None:
        """A source must be a table that the warehouse declares."""
        zone, _, name = data_source.path.partition("/")
        table(zone, name)

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
        if not filter_by_created_timestamp:
            raise Problem("a training row may see only what was known", do="pass filter_by_created_timestamp=True")
        if isinstance(entity_df, str):
            raise Problem("entities must be a table, not SQL")
        time_column = "event_timestamp" if "event_timestamp" in entity_df.columns else "event_time"

        def make() -> pa.Table:
            rows = pa.Table.from_pandas(entity_df, preserve_index=False)
            with engine() as live:
                for view in feature_views:
                    rows = _with_view(live, config, view, feature_refs, rows, time_column, full_feature_names)
            return rows

        keys = [name for name in entity_df.columns if name != time_column]
        return ArrowJob(make, RetrievalMetadata(feature_refs, keys), full_feature_names)

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
                _attach(live, config, data_source)
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
                _attach(live, config, data_source)
                sql = f"SELECT {wanted} FROM source WHERE {_name(timestamp_field)} BETWEEN $low AND $high"  # noqa: S608
                return arrow(live, sql, low=low, high=high)

        return ArrowJob(make, None, False)


def _with_view(
    live: duckdb.DuckDBPyConnection,
    config: Any,
    view: Any,
    feature_refs: Sequence[str],
    rows: pa.Table,
    time_column: str,
    full_names: bool,
) -> pa.Table:
    """`rows` with the features of one view added; refuses to answer if a row was lost or doubled."""
    source, label = view.batch_source, view.projection.name_to_use()
    ((key, asked),) = (view.projection.join_key_map or {c.name: c.name for c in view.entity_columns}).items()
    names = [ref.split(":")[1] for ref in feature_refs if ref.split(":")[0] == label]
    question = pa.table(
        {
            "n": pa.array(range(rows.num_rows), pa.int64()),
            "k": rows[asked].cast(pa.string()),
            "t": rows[time_column].cast(pa.timestamp("us", tz="UTC")),
        }
    )
    live.register("question", question)
    _attach(live, config, source)
    found = join_view(
        live,
        key=key,
        event=source.timestamp_field,
        created=source.created_timestamp_column or source.timestamp_field,
        features=[(name, f"{label}__{name}" if full_names else name) for name in names],
        event_as=f"{label}__event_time",
        ttl=view.ttl or None,
    )
    if found.num_rows != rows.num_rows:
        raise Problem(f"the point-in-time join of {label} made {found.num_rows:,} rows of {rows.num_rows:,}")
    for name in found.column_names:
        rows = rows.append_column(name, found[name])
    return rows


class GuardedSqliteOnlineStoreConfig(SqliteOnlineStoreConfig):  # type: ignore[misc]
    """Settings of the store below: those of Feast's SQLite store."""

    type: Literal["jobs.feast_store.GuardedSqliteOnlineStore"] = "jobs.feast_store.GuardedSqliteOnlineStore"


class GuardedSqliteOnlineStore(SqliteOnlineStore):  # type: ignore[misc]
    """Feast's SQLite store, but an older value never replaces a newer one, and a batch is one statement."""

    def online_write_batch(
        self,
        config: Any,
        table: Any,
        data: list[tuple[Any, dict[str, Any], datetime, datetime | None]],
        progress: Callable[[int], Any] | None,
    ) -> None:
        """Write rows of (entity key, values, event time, known time); an equal event time is a correction."""
        live = self._get_conn(config)
        name = _quote_id(_table_id(config.project, table, config.registry.enable_online_feature_view_versioning))
        sql = (
            f"INSERT INTO {name} (entity_key, feature_name, value, event_ts, created_ts) VALUES (?, ?, ?, ?, ?) "  # noqa: S608
            "ON CONFLICT (entity_key, feature_name) DO UPDATE SET value = excluded.value, "
            "event_ts = excluded.event_ts, created_ts = excluded.created_ts WHERE excluded.event_ts >= event_ts"
        )
        version = config.entity_key_serialization_version
        rows = []
        for entity_key, values, event, created in data:
            key = serialize_entity_key(entity_key, entity_key_serialization_version=version)
            # Whole seconds, as Feast's own adapter writes and reads them: naive times on the machine's clock.
            at = int(event.astimezone(UTC).replace(tzinfo=None).timestamp())
            known = int(created.astimezone(UTC).replace(tzinfo=None).timestamp()) if created else None
            rows += [(key, feature, value.SerializeToString(), at, known) for feature, value in values.items()]
        with live:
            live.executemany(sql, rows)
        if progress:
            progress(len(data))
