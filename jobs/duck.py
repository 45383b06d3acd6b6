"""DuckDB, in memory: for joins by time and counts over published files, where Spark would take longer to start."""

from collections.abc import Iterable, Mapping
from typing import Any

import duckdb
import pyarrow as pa

from jobs.tables import table
from jobs.warehouse import Mark, Warehouse, arrow_schema


def engine() -> duckdb.DuckDBPyConnection:
    """DuckDB in memory, in UTC, that spills to disk above 2 GB."""
    live = duckdb.connect()
    live.execute("SET TimeZone='UTC'; SET memory_limit='2GB'; SET preserve_insertion_order=false")
    return live


def engine_over(house: Warehouse, marks: Mapping[str, Iterable[Mark]]) -> duckdb.DuckDBPyConnection:
    """`engine` with one view for each table of `safe`, over the files of these marks and no others."""
    live = engine()
    for name, found in marks.items():
        files = ", ".join("'" + str(file).replace("'", "''") + "'" for file in house.files(found))
        if files:
            live.execute(f"CREATE VIEW {name} AS SELECT * FROM read_parquet([{files}], hive_partitioning=false)")  # noqa: S608
        else:
            live.register(name, arrow_schema(table("safe", name)).empty_table())
    return live


def arrow(live: duckdb.DuckDBPyConnection, sql: str, **given: Any) -> pa.Table:
    """The answer to a query with named parameters, without a second copy of its rows."""
    return live.sql(sql, params=given).to_arrow_table() if given else live.sql(sql).to_arrow_table()
