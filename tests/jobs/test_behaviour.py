"""What rows tell of those who made them, by hand."""

from datetime import date
from pathlib import Path
from typing import Any

from jobs.behaviour import robots, unmatched, visits
from jobs.cleaning_policy import Policy
from jobs.tables import table
from jobs.warehouse import arrow_schema

DAY = date(2020, 1, 1)


def raw(folder: Path, name: str, rows: list[dict[str, Any]]) -> list[Path]:
    """Raw rows as a file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = folder / f"{name}.parquet"
    pq.write_table(pa.Table.from_pylist(rows, schema=arrow_schema(table("raw", name))), path)
    return [path]


def test_robots_are_told_by_number_or_by_pace_and_repeats_do_not_count(tmp_path: Path) -> None:
    def search(who: str, n: int, second: float) -> dict[str, Any]:
        at = f"2020-01-01T10:{int(second) // 60:02d}:{int(second) % 60:02d}.{int(second * 10) % 10}Z"
        return {"visitor_id": who, "day": DAY, "event_time": at, "search_id": f"{who}-{n}"}

    rows = [search("fast", n, n * 0.5) for n in range(9)]  # nine in five seconds, and a click
    rows += [search("slow", n, n * 60) for n in range(10)]  # ten in ten minutes
    rows += [search("many", n, n * 60) for n in range(20)]
    rows += [search("twice", n % 5, 1.0) for n in range(10)]  # five searches, delivered twice
    rows += [search("", n, 1.0) for n in range(30)]
    at = {"day": DAY, "event_time": "2020-01-01T10:00:01Z"}
    clicks = [{"visitor_id": " fast ", "interaction_id": "c1", "kind": "click", **at}]
    clicks += [{"visitor_id": "buyer", "interaction_id": f"p{n}", "kind": "purchase", **at} for n in range(50)]
    policy = Policy(robot_rows=20, robot_burst=10, robot_pace=1.0)
    files = raw(tmp_path, "searches", rows), raw(tmp_path, "interactions", clicks)
    assert robots(*files, policy) == [("fast", DAY), ("many", DAY)]
    assert robots([], files[1], policy) == robots([], [], policy) == []


def test_what_comes_back_must_have_been_bought_before_within_the_days_and_in_its_basket(tmp_path: Path) -> None:
    def row(number: int, kind: str, visitor: str, item: str, basket: str | None, at: str) -> dict[str, Any]:
        return {"source_file": "f", "source_row": number, "kind": kind, "visitor_id": visitor, "item_id": item,
                "basket_id": basket, "event_time": f"{at}Z", "day": date.fromisoformat(at[:10])}  # fmt: skip

    files = raw(
        tmp_path,
        "interactions",
        [
            row(1, "purchase", "ann", "tea", "b1", "2020-01-01T10:00:00"),
            row(2, "purchase", "ann", "tea", "b2", "2020-01-05T10:00:00"),
            row(10, "return", "ann", "tea", "b1", "2020-01-02T10:00:00"),
            row(11, "cancel", "ann", "tea", " ", "2020-01-02T10:00:00"),
            row(12, "return", "ann", "tea", "b2", "2020-01-02T10:00:00"),  # before it was bought
            row(13, "return", "ann", "cup", None, "2020-01-02T10:00:00"),
            row(14, "return", "bo", "tea", None, "2020-01-02T10:00:00"),
            row(15, "return", "ann", "tea", None, "2020-01-01T09:59:59"),
            row(16, "return", "ann", "tea", "b1", "2020-02-02T10:00:00"),  # too late
            row(17, "return", "app-ann", "TEA", None, "2020-01-02T10:00:00"),  # the same person, the same thing
        ],
    )
    merged = [("visitors", "app-ann", "ann"), ("items", "TEA", "tea")]

    def lonely(first: str, last: str, known: list[tuple[str, str, str]]) -> list[int]:
        return [number for _, number in unmatched(files, first, last, known, Policy(return_days=30))]

    assert lonely("2020-01-01", "2020-02-28", merged) == [12, 13, 14, 15, 16]
    assert lonely("2020-01-02", "2020-01-02", []) == [12, 13, 14, 17]


def test_a_visit_ends_after_the_gap_and_the_shops_own_id_stays(spark: Any) -> None:
    from pyspark.sql import functions as F

    rows = [
        (1, "ann", "web", None, "10:00"),
        (2, "ann", "web", None, "10:29"),
        (3, "ann", "web", None, "11:00"),  # 31 minutes later
        (4, "ann", "app", None, "10:01"),  # another channel
        (5, "bo", "web", None, "10:00"),
        (6, "bo", "web", "theirs", "10:01"),
    ]
    columns = "source_row long, visitor_id string, channel string, session_id string, event_time string"
    made = spark.createDataFrame(rows, columns).withColumns({"day": F.lit(DAY), "source_file": F.lit("f")})
    made = made.withColumn("event_time", F.concat(F.lit("2020-01-01 "), "event_time").cast("timestamp"))
    found = {row["source_row"]: row["session_id"] for row in visits(made, Policy(session_gap=30)).collect()}
    assert found[1] == found[2]
    assert len({found[1], found[3], found[4], found[5]}) == 4
    assert found[6] == "theirs"
    assert all(found[n].startswith("s-") for n in range(1, 6))
