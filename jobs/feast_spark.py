"""Feast's Spark offline store over published partitions: the answers of `jobs.feast_store`, for more than one machine.

Feast's own Spark store reads folders, and answers a row for each two that are equally late. This one reads what marks
point to, respects known times whatever the caller passes, and finds the answer in one sorted pass over rows and
questions of an entity: of the rows seen so far the latest, by event time and then by known time.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from feast.infra.offline_stores.contrib.spark_offline_store.spark import SparkOfflineStore, SparkOfflineStoreConfig
from feast.infra.offline_stores.offline_store import RetrievalJob

from jobs.feast_store import (
    ArrowJob,
    OverTables,
    as_of,
    checked,
    house_of,
    joined,
    keys_of,
    metadata_of,
    named,
    time_of,
)
from jobs.spark import read, session
from jobs.tables import table
from jobs.warehouse import arrow_schema

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


def source_rows(spark: "SparkSession", config: Any, source: Any) -> "DataFrame":
    """The published rows of a source that were known by the moment that is replayed, if one is."""
    from pyspark.sql import functions as F

    zone, _, name = source.path.partition("/")
    house = house_of(config)
    rows = read(spark, house, zone, name, house.marks(zone, table(zone, name).name))
    if (replayed := as_of()) is None:
        return rows
    rows = rows.where(F.col(source.created_timestamp_column or source.timestamp_field) <= F.lit(replayed.moment))
    if (among := replayed.among.get(source.path)) is not None:
        rows = rows.join(spark.createDataFrame(among), among.column_names, "left_semi")
    return rows


def join_view(
    rows: "DataFrame",
    questions: "DataFrame",
    names: "DataFrame",
    *,
    keys: Sequence[str],
    event: str,
    created: str,
    features: Sequence[str],
    ttl: timedelta | None,
) -> "DataFrame":
    """n, the features f0, f1, ... and `e`, their event time, of each question (n, k, t); null if unknown.

    `names` (k, k0, k1, ...) says which entity k is; `keys` are the source's columns for k0, k1, ...
    """
    from pyspark.sql import Window
    from pyspark.sql import functions as F

    e, c = F.col(event), F.col(created)
    asked_for = names.withColumnsRenamed({f"k{n}": key for n, key in enumerate(keys)})
    stamps = (
        rows.where(e.isNotNull() & c.isNotNull())
        .join(F.broadcast(asked_for), list(keys))
        .select(
            "k",
            F.greatest(e, c).alias("at"),
            F.lit(0).alias("asks"),
            F.lit(None).cast("bigint").alias("n"),
            F.struct(e.alias("e"), c.alias("c")).alias("stamp"),
            F.struct(e.alias("e"), *[F.col(name).alias(f"f{n}") for n, name in enumerate(features)]).alias("row"),
        )
    )
    asked = questions.select(
        "k",
        F.col("t").alias("at"),
        F.lit(1).alias("asks"),
        "n",
        F.lit(None).cast(stamps.schema["stamp"].dataType).alias("stamp"),
        F.lit(None).cast(stamps.schema["row"].dataType).alias("row"),
    )
    so_far = Window.partitionBy("k").orderBy("at", "asks").rowsBetween(Window.unboundedPreceding, 0)
    seen = stamps.unionByName(asked).withColumn("best", F.max_by("row", "stamp").over(so_far)).where("asks = 1")
    # Without a ttl everything lives; with one, what is as old as the ttl still does (as in Feast).
    age = F.unix_micros("at") - F.unix_micros("best.e")
    alive = age <= F.lit(ttl // timedelta(microseconds=1)) if ttl else F.lit(True)
    best = F.when(alive, F.col("best"))
    return seen.select("n", *[best[f"f{n}"].alias(f"f{n}") for n, _ in enumerate(features)], best["e"].alias("e"))


class PublishedSparkOfflineStoreConfig(SparkOfflineStoreConfig):  # type: ignore[misc]
    """Settings of the store below: none of its own. What Spark is told, `jobs.spark` says."""

    type: str = "jobs.feast_spark.PublishedSparkOfflineStore"


class PublishedSparkOfflineStore(OverTables, SparkOfflineStore):  # type: ignore[misc]
    """Spark over published partitions, in the session that is open, or in one that ends with the answer."""

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
        **_: Any,
    ) -> RetrievalJob:
        """As of `jobs.feast_store.PublishedDuckDBOfflineStore`: the same columns, rows and order."""
        checked(entity_df, filter_by_created_timestamp)

        def one(spark: "SparkSession", view: Any, question: pa.Table, names: pa.Table) -> pa.Table:
            source, wanted = view.batch_source, named(view, feature_refs, full_feature_names)
            found = join_view(
                source_rows(spark, config, source),
                spark.createDataFrame(question),
                spark.createDataFrame(names),
                keys=list(keys_of(view)),
                event=source.timestamp_field,
                created=source.created_timestamp_column or source.timestamp_field,
                features=[have for have, _ in wanted],
                ttl=view.ttl or None,
            )
            answer = found.orderBy("n").toArrow()
            schema = arrow_schema(table(*source.path.split("/", 1)))
            columns = {want: answer[f"f{n}"].cast(schema.field(have).type) for n, (have, want) in enumerate(wanted)}
            at = answer["e"].cast(schema.field(source.timestamp_field).type)
            return pa.table({**columns, f"{view.projection.name_to_use()}__event_time": at})

        def make() -> pa.Table:
            rows = pa.Table.from_pandas(entity_df, preserve_index=False)
            with session("features", rows=rows.num_rows) as spark:
                return joined(rows, feature_views, time_of(entity_df.columns), lambda *asked: one(spark, *asked))

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
        columns = [*join_key_columns, *feature_name_columns, timestamp_field, created]

        def make() -> pa.Table:
            from pyspark.sql import Window
            from pyspark.sql import functions as F

            latest = Window.partitionBy(*join_key_columns).orderBy(F.desc(timestamp_field), F.desc(created))
            with session("features") as spark:
                rows = _between(source_rows(spark, config, data_source), timestamp_field, start_date, end_date)
                first = rows.withColumn("place", F.row_number().over(latest)).where("place = 1")
                return _shaped(first.orderBy(*join_key_columns).select(*columns), data_source)

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
        columns = [*join_key_columns, *feature_name_columns, timestamp_field, *created]

        def make() -> pa.Table:
            with session("features") as spark:
                rows = _between(source_rows(spark, config, data_source), timestamp_field, start_date, end_date)
                return _shaped(rows.select(*columns), data_source)

        return ArrowJob(make, None, False)


def _between(rows: "DataFrame", column: str, low: datetime | None, high: datetime | None) -> "DataFrame":
    from pyspark.sql import functions as F

    first = (low or datetime(1, 1, 2, tzinfo=UTC)).astimezone(UTC)
    last = (high or datetime(9999, 12, 30, tzinfo=UTC)).astimezone(UTC)
    return rows.where((F.col(column) >= F.lit(first)) & (F.col(column) <= F.lit(last)))


def _shaped(rows: "DataFrame", source: Any) -> pa.Table:
    """The rows in Arrow, each column of the type that its table declares."""
    schema = arrow_schema(table(*source.path.split("/", 1)))
    found = rows.toArrow()
    return pa.table({name: found[name].cast(schema.field(name).type) for name in found.column_names})
