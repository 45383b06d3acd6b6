"""Cleaning: each fault is found, named and kept; good rows pass unharmed; the same input gives the same bytes."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from jobs import counting
from jobs.warehouse import Warehouse, warehouse

KNOWN = datetime(2020, 1, 4, tzinfo=UTC)
DAY1, DAY2 = "2020-01-01", "2020-01-02"


def origin(row: int, file: str = "f.csv", **more: Any) -> dict[str, Any]:
    return {"source_file": file, "source_row": row, "known_time": KNOWN, "simulated": False, **more}


def interaction(row: int, day: str = DAY1, **changed: Any) -> dict[str, Any]:
    fields = {
        "interaction_id": f"n{row}",
        "event_time": f"{day} 10:00:00",
        "visitor_id": "ann",
        "item_id": "i1",
        "kind": "purchase",
        "quantity": "1",
        "amount": "2.50",
        "day": datetime.fromisoformat(day).date(),
    }
    return {**fields, **origin(row), **changed}


FAULTS: list[tuple[str, str, dict[str, Any]]] = [
    ("unreadable", "the line", {"unreadable": "\x00broken", "interaction_id": None, "event_time": None}),
    ("missing", "visitor_id", {"visitor_id": "  "}),
    ("missing", "event_time", {"event_time": None}),
    ("bad_type", "event_time", {"event_time": "yesterday"}),
    ("bad_type", "event_time", {"event_time": "12:30"}),
    ("bad_type", "quantity", {"quantity": "1.5"}),
    ("bad_type", "quantity", {"quantity": "two"}),
    ("bad_type", "dwell_seconds", {"dwell_seconds": "NaN"}),
    ("out_of_range", "quantity", {"quantity": "-1"}),
    ("out_of_range", "amount", {"amount": "-0.01"}),
    ("out_of_range", "dwell_seconds", {"dwell_seconds": "-3"}),
    ("out_of_range", "kind", {"kind": "stare"}),
    ("clock_past", "event_time", {"event_time": "1970-01-01 00:00:00"}),
    ("clock_future", "event_time", {"event_time": "2031-01-01 00:00:00"}),
    ("clock_future", "event_time", {"known_time": datetime(2020, 1, 1, 9, tzinfo=UTC)}),
    ("orphan", "item_id", {"item_id": "i404"}),
    ("orphan", "visitor_id", {"visitor_id": "nobody"}),
]


def shop(put: Callable[..., Any]) -> Warehouse:
    """Two items, two visitors, two days of interactions with every fault, a duplicate and a conflict."""
    put(
        "toy",
        "raw",
        "items",
        [
            {"item_id": "i1", "title": "ＴＥＡ　<b>green</b>&amp; black", "price": "3.999", **origin(1, "items.csv")},
            {"item_id": "i2", "title": "无线蓝牙耳机", "price": "199", **origin(2, "items.csv")},
            {"item_id": "i3", "title": "", "price": "1", **origin(3, "items.csv")},
            {"item_id": "i1", "title": "tea", "price": "3.999", **origin(4, "items.csv")},
        ],
    )
    put("toy", "raw", "visitors", [{"visitor_id": v, **origin(n, "v.csv")} for n, v in enumerate(("ann", "bo"), 1)])
    rows = [interaction(n, **change) for n, (_, _, change) in enumerate(FAULTS, 100)]
    rows += [interaction(1), interaction(2, quantity="2.0"), interaction(1, source_row=50)]
    rows += [interaction(2, source_row=51, quantity="3")]
    put("toy", "raw", "interactions", rows, DAY1)
    put("toy", "raw", "interactions", [interaction(3, DAY2)], DAY2)
    return warehouse("toy")


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "jobs", *words]


def clean(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command("clean", "--shop", "toy", *words), capture_output=True, text=True, check=False)


def hashes(house: Warehouse) -> dict[str, str]:
    zones = (("clean", "interactions"), ("clean", "items"), ("quarantine", "clean.interactions"))
    return {f"{z}/{t}/{m.day}": m.sha256 for z, t in zones for m in house.marks(z, t)}


def test_every_fault_is_found_and_none_is_lost_and_a_second_run_gives_the_same_bytes(
    put: Callable[..., Any],
) -> None:
    house = shop(put)
    done = clean()
    assert done.returncode == 0, done.stderr

    kept = house.read("clean", "interactions").to_pylist()
    assert sorted(row["interaction_id"] for row in kept) == ["n1", "n2", "n3"]
    first = next(row for row in kept if row["interaction_id"] == "n2")
    assert (first["quantity"], first["amount"], first["source_row"]) == (2, Decimal("2.50"), 2)

    refused = house.read("quarantine", "clean.interactions").to_pylist()
    expected = Counter((reason, 100 + n) for n, (reason, _, _) in enumerate(FAULTS))
    expected["key_conflict", 51] += 1
    assert Counter((row["reason"], row["source_row"]) for row in refused) == expected
    for row in refused:
        if row["source_row"] >= 100:
            _, about, change = FAULTS[row["source_row"] - 100]
            assert about in row["detail"], row["detail"]
            whole = json.loads(row["row"])
            for column, value in change.items():
                if isinstance(value, str):
                    assert whole[column] == value  # as it came, not as it was understood

    counts = house.marks("clean", "interactions")[0].counts
    assert (counts["in"], counts["out"], counts["duplicates"]) == (len(FAULTS) + 4, 2, 1)
    assert counts["quarantined"] == len(FAULTS) + 1
    assert counting.holds(counts)

    items = {row["item_id"]: row for row in house.read("clean", "items").to_pylist()}
    assert items["i1"]["title"] == "TEA green & black"
    assert items["i1"]["price"] == Decimal("4.00")
    assert (items["i1"]["language"], items["i2"]["language"]) == ("en", "zh")
    assert set(items) == {"i1", "i2"}
    assert [r["reason"] for r in house.read("quarantine", "clean.items").to_pylist()] == ["missing", "key_conflict"]

    before = hashes(house)
    assert clean().returncode == 0
    assert hashes(house) == before


def test_killed_at_a_random_moment_leaves_nothing_half_and_the_next_run_gives_the_same_bytes(
    put: Callable[..., Any], home: Path
) -> None:
    house = shop(put)
    done = clean()
    assert done.returncode == 0, done.stderr
    expected = hashes(house)
    for zone in ("clean", "quarantine"):
        subprocess.run(["rm", "-r", str(house.root / zone)], check=True)

    seed = random.randrange(10**6)
    moment = random.Random(seed).uniform(4.0, 12.0)
    running = subprocess.Popen(command("clean", "--shop", "toy"), start_new_session=True, stderr=subprocess.DEVNULL)
    time.sleep(moment)
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    for name, sha in hashes(house).items():
        assert sha == expected[name], f"seed {seed}: {name} is visible and not whole"
    assert clean().returncode == 0, f"seed {seed}"
    assert hashes(house) == expected, f"seed {seed}"


def test_a_range_touches_only_its_days(put: Callable[..., Any]) -> None:
    house = shop(put)
    assert clean("--first", DAY2, "--last", DAY2).returncode == 0
    assert house.days("clean", "interactions") == [DAY2]


def test_nothing_to_clean_and_a_backward_range_are_errors_that_help(put: Callable[..., Any]) -> None:
    put("toy", "raw", "items", [])
    empty = clean()
    assert (empty.returncode, "python -m jobs import" in empty.stderr) == (1, True)
    assert clean("--first", DAY2, "--last", DAY1).returncode == 2


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("7", "long", 7),
        ("7.0", "long", 7),
        ("7.5", "long", None),
        ("0.25", "double", 0.25),
        ("inf", "double", None),
        ("1e3", "double", 1000.0),
        ("1.005", "decimal(12,2)", Decimal("1.01")),
        ("x", "decimal(12,2)", None),
        ("2020-01-31", "date", datetime(2020, 1, 31).date()),  # noqa: DTZ001
        ("2020-02-31", "date", None),
        ("12:30", "timestamp", None),
        ("2020-01-01T10:00:00+02:00", "timestamp", datetime(2020, 1, 1, 8)),  # noqa: DTZ001
    ],
)
def test_typed(spark: Any, text: str, kind: str, value: Any) -> None:
    from pyspark.sql import functions as F

    from jobs.cleaning import typed

    rows = spark.createDataFrame([(text,)], "t string").select(typed(F.col("t"), kind).alias("v"))
    if kind == "timestamp":  # the session's zone is UTC, whatever the machine's is
        rows = rows.select(F.date_format("v", "yyyy-MM-dd HH:mm").alias("v"))
        value = value and value.strftime("%Y-%m-%d %H:%M")
    assert rows.first()["v"] == value


@pytest.mark.parametrize(
    ("text", "plain", "tongue"),
    [
        ("plain text", "plain text", "en"),
        ("ＡＢＣ　１２３", "ABC 123", "en"),
        ("<p>Good<br/>tea</p><script>x()</script>", "Good tea", "en"),
        ("&lt;b&gt;bold&lt;/b&gt; &amp; more", "bold & more", "en"),
        ("3 < 5 and <3 you", "3 < 5 and <3 you", "en"),
        ("zero\u200bwidth\tand\u00a0space", "zerowidth and space", "en"),
        ("Sony 无线耳机", "Sony 无线耳机", "zh"),
        ("ｶﾞ ひらがな", "ガ ひらがな", "other"),
        ("12345", "12345", "other"),
        ("   ", None, "other"),
        (None, None, "other"),
    ],
)
def test_text_and_language(spark: Any, text: str | None, plain: str | None, tongue: str) -> None:
    from pyspark.sql import functions as F

    from jobs.cleaning import composed, language, without_markup

    rows = spark.createDataFrame([(text,)], "t string").select(composed(F.col("t")).alias("t"))
    row = rows.select(without_markup(F.col("t")).alias("t")).select("t", language(F.col("t")).alias("l")).first()
    assert (row["t"], row["l"]) == (plain, tongue)
