"""materialise: the latest published value of each item, visitor and query -> Feast's online store."""

import argparse
import time
from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from jobs.console import Refused, grid, say
from jobs.features import SERVICES, alone, end_of_day, settings, shop_now, store
from jobs.warehouse import home, warehouse

if TYPE_CHECKING:
    import pyarrow as pa

BATCH = 2_000
"""Rows a batch. A visitor's history is some 10 kB in Python: 20 MB a batch."""


def _scalar(name: str) -> Callable[[Any], Any]:
    from feast.protos.feast.types.Value_pb2 import Value

    return lambda value: Value() if value is None else Value(**{name: value})


def _list(name: str, kind: str) -> Callable[[Any], Any]:
    from feast.protos.feast.types import Value_pb2

    make = getattr(Value_pb2, kind)
    return lambda value: Value_pb2.Value() if value is None else Value_pb2.Value(**{name: make(val=value)})


def protos(column: "pa.ChunkedArray") -> Iterator[Any]:
    """Feast's values of an Arrow column; times as whole seconds, which is all that Feast keeps."""
    import pyarrow as pa

    seconds = pa.timestamp("s", tz="UTC")
    kind = column.type
    if kind == pa.string():
        make = _scalar("string_val")
    elif kind == pa.int64():
        make = _scalar("int64_val")
    elif kind == pa.float64():
        make = _scalar("double_val")
    elif pa.types.is_list(kind) and pa.types.is_timestamp(kind.value_type):
        column = column.cast(pa.list_(seconds), safe=False).cast(pa.list_(pa.int64()))
        make = _list("unix_timestamp_list_val", "Int64List")
    elif pa.types.is_list(kind):
        name, of = {
            pa.string(): ("string_list_val", "StringList"),
            pa.int64(): ("int64_list_val", "Int64List"),
            pa.float64(): ("double_list_val", "DoubleList"),
        }[kind.value_type]
        make = _list(name, of)
    else:
        raise TypeError(f"no online value for a column of {kind}")
    return (make(value) for value in column.to_pylist())


def written(rows: "pa.Table", key: str, names: list[str]) -> Iterator[list[Any]]:
    """Batches of what an online store writes: entity key, values, event time, known time."""
    from feast.protos.feast.types.EntityKey_pb2 import EntityKey

    for start in range(0, rows.num_rows, BATCH):
        part = rows.slice(start, BATCH)
        keys = [EntityKey(join_keys=[key], entity_values=[value]) for value in protos(part[key])]
        values = [dict(zip(names, row, strict=True)) for row in zip(*(protos(part[n]) for n in names), strict=True)]
        yield list(zip(keys, values, part["event_time"].to_pylist(), part["known_time"].to_pylist(), strict=True))


def materialise(live: Any, name: str, low: datetime, high: datetime) -> int:
    """Write the latest row of each entity of one view, of the rows true between `low` and `high`."""
    view = live.get_feature_view(name)
    provider, key = live._get_provider(), view.entity_columns[0].name
    names = [feature.name for feature in view.features]
    source = view.batch_source
    rows = provider.offline_store.pull_latest_from_table_or_query(
        live.config, source, [key], names, source.timestamp_field, source.created_timestamp_column, low, high
    ).to_arrow()
    done, told = 0, time.monotonic()
    for batch in written(rows, key, names):
        provider.online_write_batch(live.config, view, batch, None)
        done += len(batch)
        if time.monotonic() - told > 5:
            say(f"materialise: {name}: {done:,} of {rows.num_rows:,}")
            told = time.monotonic()
    live.registry.apply_materialization(view, live.project, low, high)
    return done


def run(args: argparse.Namespace) -> None:
    """Bring the online store of a shop up to the last published day."""
    house, began = warehouse(args.shop), time.monotonic()
    names = [name for service in SERVICES.values() for name in service]
    low = end_of_day((args.first or date(1970, 1, 2)) - timedelta(days=1)) + timedelta(microseconds=1)
    high = end_of_day(args.last) if args.last else shop_now(args.shop)
    rows_in = {
        name: sum(
            mark.rows
            for mark in house.marks(
                "stats", name, args.first and args.first.isoformat(), args.last and args.last.isoformat()
            )
        )
        for name in names
    }
    if not any(house.days("stats", name) for name in names):
        if any(house.days("safe", name) for name in ("interactions", "rankings", "searches", "reviews")):
            house.require("stats", names[0], step="aggregate")
        house.require("safe", "items", step="validate")
        print(f"{args.shop}: no statistics, because no interactions: there is nothing to look up.")
        return
    live = store(args.shop)
    report = []
    with alone(args.shop):
        for name in names:
            start = time.monotonic()
            entities = materialise(live, name, low, high)
            say(f"materialise: {name}: {entities:,} entities in {time.monotonic() - start:.1f} s")
            report.append((name, rows_in[name], entities))
    where = settings(args.shop)["online_store"]
    print(grid(("view", "rows in", "entities written"), report))
    print(f"in {time.monotonic() - began:.1f} s to {where.get('path') or where['type'].rpartition('.')[2]}")
    if empty := [name for name, have, entities in report if have and not entities]:
        raise Refused(f"rows in, but none written: {', '.join(empty)}", where=str(home() / args.shop / "feast"))
    print(f"next: python -m jobs features list --shop {args.shop}")
