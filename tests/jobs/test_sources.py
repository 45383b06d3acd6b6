"""Sources: what is declared fits the tables; Spark's reading of time agrees with the importer's own."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs import importing
from jobs.console import Usage
from jobs.sources import source
from jobs.sources.text import clocks
from jobs.spark import conform
from jobs.tables import DELIVERED, table

SHOPS = ("sample", "grocer", "electronics", "wands", "esci", "open_bandit", "ubi", "files")


@pytest.mark.parametrize("name", SHOPS)
def test_a_source_fills_columns_that_exist_and_views_that_are_declared(name: str) -> None:
    shop = source(name)
    assert shop.name == name
    assert shop.opened < shop.closed
    for rows in shop.rows:
        assert set(rows.columns) <= set(table("raw", rows.table).names)
    for made in shop.parquet:
        assert made.table in DELIVERED
        assert set(made.views) <= set(shop.views or {})


def test_the_spans_are_those_of_the_data() -> None:
    assert (source("sample").last - source("sample").first).days + 1 == 140
    assert (source("grocer").last - source("grocer").first).days == 365


def test_an_unknown_shop_gets_a_suggestion() -> None:
    with pytest.raises(Usage) as caught:
        source("grocery")
    assert "grocer" in caught.value.do


def test_weeks_of_the_grocer_begin_on_mondays_but_the_first() -> None:
    week = source("grocer").streams[0].time
    assert [week(1), week(2), week(53)] == ["2017-01-01T00:00:00Z", "2017-01-02T00:00:00Z", "2017-12-25T00:00:00Z"]


def test_spark_and_the_text_door_file_a_time_alike(spark: Any) -> None:
    shop = source("sample")
    times = [
        "2017-08-14T00:00:00Z",
        "yesterday",
        "1999-01-01T00:00:00Z",
        "2031-01-01T00:00:00Z",
        "2017-12-31T23:59:00Z",
        None,
    ]
    values = ", ".join(f"('{n}', {'null' if time is None else repr(time)}, 'f', {n})" for n, time in enumerate(times))
    rows = spark.sql(f"SELECT * FROM VALUES {values} AS t(search_id, event_time, source_file, source_row)")
    made = importing.raw_rows(rows, shop, "searches")
    found = made.selectExpr("day", "cast(known_time as string) AS known").orderBy("source_row").collect()
    for row, time in zip(found, times, strict=True):
        filed, known = clocks(shop, time)
        assert (row["day"], row["known"]) == (filed, known.strftime("%Y-%m-%d %H:%M:%S")), time
    assert made.columns == list(table("raw", "searches").names)


def test_a_publishers_nanoseconds_and_titles_are_read(spark: Any, tmp_path: Path) -> None:
    when = pa.array([datetime(2017, 3, 3, tzinfo=UTC)], pa.timestamp("ns"))
    pq.write_table(pa.table({"coupon_upc": [7], "product_id": [9], "campaign_id": [1]}), tmp_path / "coupons.parquet")
    pq.write_table(
        pa.table({"campaign_id": [1], "campaign_type": ["Type B"], "start_date": when, "end_date": when}),
        tmp_path / "campaign_descriptions.parquet",
    )
    products = {
        "product_id": [9], "manufacturer_id": [2], "department": ["GROCERY"], "brand": ["National"],
        "product_category": ["FRZN ICE"], "product_type": ["ICE - CRUSHED/CUBED"], "package_size": ["22 LB"],
    }  # fmt: skip
    pq.write_table(pa.table(products), tmp_path / "products.parquet")
    for view in ("coupons", "campaign_descriptions", "products"):
        importing.open_view(spark, view, [tmp_path / f"{view}.parquet"])
    shop = source("grocer")
    sql = {made.table: made.sql for made in shop.parquet}

    def first(name: str) -> Any:
        return conform(importing.raw_rows(spark.sql(sql[name]), shop, name), table("raw", name)).collect()[0]

    offer, item = first("offers"), first("items")
    assert (offer["offer_id"], offer["item_id"], offer["first_day"], offer["source_row"]) == ("7", "9", "2017-03-03", 1)
    assert (item["title"], item["source_file"]) == ("Ice - Crushed/cubed 22 LB, Frzn Ice", "products.parquet")
