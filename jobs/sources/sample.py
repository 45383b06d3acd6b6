"""`sample`: the generated bilingual shop, made by `jobs.simulator.shop` with a known truth.

Up to `--scale 10` it comes as text (JSON lines for events, CSV for items, visitors, offers and judgements), with
planted faults; above that as Parquet. Events reach the shop's collector within five minutes.
"""

from datetime import date, timedelta

from jobs.sources import ParquetTable, Source, TextFile
from jobs.tables import ADDED, table

_CSV = ("items", "visitors", "offers", "judgements")
_JSON = ("searches", "rankings", "interactions", "reviews", "tickets", "offer_events", "promotions")


def columns(name: str) -> tuple[str, ...]:
    """The delivered columns: those of the clean table that the publisher fills."""
    return tuple(column for column in table("clean", name).names if column not in ADDED)


SOURCE = Source(
    name="sample",
    doc="400 items and 300 visitors, in English and Chinese, with a known truth",
    licence="generated",
    first=date(2017, 8, 14),
    last=date(2017, 12, 31),
    cleaning={"items": "merge"},
    delay=timedelta(minutes=5),
    texts=tuple(
        TextFile(
            table=name,
            pattern=f"{name}-*.csv" if name in _CSV else f"{name}-*.jsonl",
            format="csv" if name in _CSV else "jsonl",
            columns={column: column for column in columns(name)},
            simulated=True,
        )
        for name in (*_CSV, *_JSON)
    ),
    views={name: f"{name}-*.parquet" for name in (*_CSV, *_JSON)},
    parquet=tuple(ParquetTable(name, f"SELECT *, true AS simulated FROM {name}", (name,)) for name in (*_CSV, *_JSON)),  # noqa: S608
)
