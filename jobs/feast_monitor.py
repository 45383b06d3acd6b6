"""What Feast's own feature monitor asks of an offline store, answered over published partitions.

The monitor (`feast.monitoring`, `feast monitor run`) counts rows, empty values, quantiles and frequent values of every
feature in a window of event times, and keeps them beside the registry. Stock, its DuckDB store opens a source's path as
a file; our paths name tables. It also takes a list for a single value: it would count, and keep, whole histories. Here
a list is as long as it is, and a text that few entities have is not told.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

from feast.infra.offline_stores import duckdb as stock

from jobs.duck import arrow, engine
from jobs.tables import LEAST_VISITORS, table


class Monitored:
    """The two questions; the rest, how figures are kept and read, is Feast's."""

    @staticmethod
    def compute_monitoring_metrics(
        config: Any,
        data_source: Any,
        feature_columns: list[tuple[str, str]],
        timestamp_field: str,
        start_date: datetime | None = None,
        end_date: datetime | None = None,
        histogram_bins: int = 20,
        top_n: int = 10,
    ) -> list[dict[str, Any]]:
        """Feast's figures of each feature (name, "numeric" or "categorical") of the rows with an event time within the
        dates, both included; of a list its length. Its days end with the second 23:59:59, ours a microsecond before
        midnight: the whole of the last second counts."""
        from jobs.feast_store import attach

        zone, _, name = data_source.path.partition("/")
        kinds = {column.name: column.kind for column in table(zone, name).columns}
        lists = [each for each, _ in feature_columns if kinds[each].startswith("array")]
        numeric = [each for each, kind in feature_columns if kind == "numeric" or each in lists]
        where = " AND ".join(
            f"\"{timestamp_field}\" {sign} TIMESTAMPTZ '{when.astimezone(UTC).isoformat()}'"
            for sign, when in ((">=", start_date), ("<", end_date and end_date + timedelta(seconds=1)))
            if when
        )
        with engine() as live:
            attach(live, config, data_source)
            shorter = ", ".join(f'len("{each}") AS "{each}"' for each in lists)
            replaced = f"REPLACE ({shorter})" if lists else ""
            live.execute(f"CREATE TEMP VIEW watched AS SELECT * {replaced} FROM source")  # noqa: S608
            found = stock._duckdb_numeric_stats(live, "watched", numeric, where, histogram_bins) if numeric else []
            for each in (name for name, _ in feature_columns if name not in numeric):
                found.append(_common(stock._duckdb_categorical_stats(live, "watched", each, where, top_n)))
        return list(found)

    @staticmethod
    def get_monitoring_max_timestamp(config: Any, data_source: Any, timestamp_field: str) -> datetime | None:
        """The newest event time of what is published; None if nothing is."""
        from jobs.feast_store import attach

        with engine() as live:
            attach(live, config, data_source)
            newest: datetime | None = arrow(live, f'SELECT max("{timestamp_field}") FROM source')[0][0].as_py()  # noqa: S608
        return newest


def _common(metric: dict[str, Any]) -> dict[str, Any]:
    """Without the values that fewer entities have than a query needs visitors to be told; they are counted."""
    told = metric["histogram"]
    if told:
        kept = [each for each in told["values"] if each["count"] >= LEAST_VISITORS]
        rare = sum(each["count"] for each in told["values"]) - sum(each["count"] for each in kept)
        metric["histogram"] = {**told, "values": kept, "other_count": told["other_count"] + rare}
    return metric
