"""What rows tell of those who made them, by hand."""

from datetime import date
from typing import Any

from jobs.cleaning_policy import Policy

DAY = date(2020, 1, 1)


def test_robots_are_told_by_number_or_by_pace_and_repeats_do_not_count(spark: Any) -> None:
    from jobs.behaviour import robots

    def search(who: str, n: int, second: float) -> tuple[Any, ...]:
        at = f"2020-01-01T10:{int(second) // 60:02d}:{int(second) % 60:02d}.{int(second * 10) % 10}Z"
        return who, DAY, at, f"{who}-{n}"

    rows = [search("fast", n, n * 0.5) for n in range(10)]  # ten in five seconds
    rows += [search("slow", n, n * 60) for n in range(10)]  # ten in ten minutes
    rows += [search("many", n, n * 60) for n in range(20)]
    rows += [search("twice", n % 5, 1.0) for n in range(10)]  # five searches, delivered twice
    schema = "visitor_id string, day date, event_time string, search_id string"
    clicks = spark.createDataFrame(
        [
            (" fast ", DAY, "2020-01-01T10:00:01Z", "c1", "click"),
            ("buyer", DAY, "2020-01-01T10:00:01Z", "p1", "purchase"),
        ]
        + [("buyer", DAY, "2020-01-01T10:00:01Z", f"p{n}", "purchase") for n in range(50)],
        "visitor_id string, day date, event_time string, interaction_id string, kind string",
    )
    policy = Policy(robot_rows=20, robot_burst=10, robot_pace=1.0)
    found = robots(spark.createDataFrame(rows, schema), clicks, policy)
    assert found is not None
    assert sorted(tuple(row) for row in found.collect()) == [("fast", DAY), ("many", DAY)]


def test_what_comes_back_must_have_been_bought_before_within_the_days_and_in_its_basket(spark: Any) -> None:
    from pyspark.sql import functions as F

    from jobs.behaviour import unmatched

    columns = "source_row long, visitor_id string, item_id string, basket_id string, event_time string"

    def table(rows: list[tuple[Any, ...]]) -> Any:
        made = spark.createDataFrame(rows, columns).withColumn("source_file", F.lit("f"))
        return made.withColumn("event_time", F.col("event_time").cast("timestamp"))

    bought = table([(1, "ann", "tea", "b1", "2020-01-01 10:00:00"), (2, "ann", "tea", "b2", "2020-01-05 10:00:00")])
    back = table(
        [
            (10, "ann", "tea", "b1", "2020-01-02 10:00:00"),
            (11, "ann", "tea", None, "2020-01-02 10:00:00"),
            (12, "ann", "tea", "b2", "2020-01-02 10:00:00"),  # before it was bought
            (13, "ann", "cup", None, "2020-01-02 10:00:00"),
            (14, "bo", "tea", None, "2020-01-02 10:00:00"),
            (15, "ann", "tea", None, "2020-01-01 09:59:59"),
            (16, "ann", "tea", "b1", "2020-02-02 10:00:00"),  # too late
        ]
    )
    lonely = unmatched(back, bought, Policy(return_days=30)).collect()
    assert sorted(row["source_row"] for row in lonely) == [12, 13, 14, 15, 16]


def test_a_visit_ends_after_the_gap_and_the_shops_own_id_stays(spark: Any) -> None:
    from pyspark.sql import functions as F

    from jobs.behaviour import visits

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
