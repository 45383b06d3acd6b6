"""Cleaning: each fault is found, named and kept; good rows pass unharmed; the same input gives the same bytes."""

import json
import subprocess
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


Clean = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def clean(jobs: Callable[..., Any]) -> Clean:
    """`python -m jobs clean` of the toy shop."""
    return lambda *words: jobs("clean", "--shop", "toy", *words)


def hashes(house: Warehouse) -> dict[str, str]:
    zones = (("clean", "interactions"), ("clean", "items"), ("quarantine", "clean.interactions"))
    return {f"{z}/{t}/{m.day}": m.sha256 for z, t in zones for m in house.marks(z, t)}


def test_every_fault_is_found_and_none_is_lost_and_a_second_run_gives_the_same_bytes(
    put: Callable[..., Any],
    clean: Clean,
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


def test_a_range_touches_only_its_days(put: Callable[..., Any], clean: Clean) -> None:
    house = shop(put)
    assert clean("--first", DAY2, "--last", DAY2).returncode == 0
    assert house.days("clean", "interactions") == [DAY2]


def test_nothing_to_clean_and_a_backward_range_are_errors_that_help(put: Callable[..., Any], clean: Clean) -> None:
    put("toy", "raw", "items", [])
    empty = clean()
    assert (empty.returncode, "python -m jobs import" in empty.stderr) == (1, True)
    assert clean("--first", DAY2, "--last", DAY1).returncode == 2


def policy(home: Path, **values: Any) -> None:
    """The shop's cleaning policy, with these values."""
    path = home / "toy" / "policy" / "cleaning.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values))


def test_a_day_with_too_many_refusals_is_not_published_and_holds_up_no_other(
    put: Callable[..., Any], clean: Clean, home: Path
) -> None:
    house = shop(put)
    put("toy", "raw", "interactions", [interaction(n, DAY2) for n in range(200, 220)], DAY2)
    policy(home, refused_from=10, refused={"any": 1.0, "bad_type": 0.2})
    done = clean()
    assert done.returncode == 3
    last = done.stderr.strip().splitlines()[-1]
    assert "interactions: 5 of 21 rows refused: bad_type, mostly" in last
    assert "cleaning.json" in last
    assert house.days("clean", "interactions") == house.days("clean", "interactions") == [DAY2]
    assert house.days("quarantine", "clean.interactions") == []
    assert house.days("clean", "items") == ["whole"]
    again = clean("--stale")  # nothing has changed, so it is not asked the same again
    assert (again.returncode, "up to date" in again.stderr) == (0, True)
    policy(home, refused_from=10)
    assert clean("--stale").returncode == 0
    assert house.days("clean", "interactions") == [DAY1, DAY2]


def test_short_days_are_judged_together_and_a_few_rows_never() -> None:
    from jobs.cleaning import over_limit
    from jobs.cleaning_policy import Policy

    found = {("a", "", ""): 6, ("a", "orphan", "item_id"): 4, ("b", "", ""): 9, ("b", "missing", "kind"): 1}
    tell = Policy(refused_from=10, refused={"any": 0.3})
    assert list(over_limit("interactions", tell, {"a": 10, "b": 10}, found)) == ["a"]
    together = Policy(refused_from=20, refused={"any": 0.15})
    assert list(over_limit("interactions", together, {"a": 10, "b": 10}, found)) == ["a", "b"]
    assert over_limit("interactions", Policy(refused={"any": 0.0}), {"a": 10, "b": 10}, found) == {}


def test_only_what_is_stale_is_cleaned_again(put: Callable[..., Any], clean: Clean, home: Path) -> None:
    """A day whose raw rows changed; a day with orphans, once what they name was delivered; and nothing else."""
    house = shop(put)
    policy(home)

    def rests() -> dict[str, tuple[str, ...]]:
        return {m.day: m.inputs for m in house.marks("clean", "interactions")}

    def refreshed() -> set[str]:
        before = rests()
        done = clean("--stale")
        assert done.returncode == 0, done.stderr
        return {day for day, inputs in rests().items() if before.get(day) != inputs}

    assert refreshed() == {DAY1, DAY2}  # nothing was there
    assert refreshed() == set()
    put("toy", "raw", "interactions", [interaction(3, DAY2), interaction(4, DAY2)], DAY2)
    assert refreshed() == {DAY2}
    items = [{"item_id": i, "title": f"thing {i}", "price": "1", **origin(n, "items.csv")}
             for n, i in enumerate(("i1", "i2", "i404"), 1)]  # fmt: skip
    put("toy", "raw", "items", items)
    assert refreshed() == {DAY1}  # its orphan has found its item
    assert "i404" in house.read("clean", "interactions", columns=["item_id"])["item_id"].to_pylist()
    assert refreshed() == set()
    names = [mark.name for mark in house.marks("clean", "interactions")]
    policy(home, robot_rows=5)
    assert refreshed() == {DAY1, DAY2}  # judged by another policy
    assert [m.name for m in house.marks("clean", "interactions")] == names  # which finds the same: nothing hangs on it


def test_a_day_hangs_on_what_tells_of_its_robots_and_returns(put: Callable[..., Any]) -> None:
    from jobs.cleaning import rests_on, stale
    from jobs.cleaning_policy import load

    house, policy = shop(put), load("toy")

    def cleaned(day: str, **counts: int) -> None:
        """As a run of `clean` leaves a day."""
        raw = house.require("raw", "interactions", day, day, step="import")[0]
        inputs = rests_on(house, "interactions", raw, counts, policy)
        with house.attempt("clean", "interactions") as attempt:
            house.propose(attempt, day, step="clean", counts=counts, inputs=inputs)

    def due() -> list[str]:
        return [mark.day for mark in stale(house, "interactions", house.marks("raw", "interactions"), policy)]

    cleaned(DAY1)
    cleaned(DAY2, **{f"{counting.REASON}unmatched": 1})  # something came back that nobody had bought
    assert due() == []
    search = {
        "search_id": "s1",
        "event_time": f"{DAY1} 10:00:00",
        "visitor_id": "ann",
        "query": "tea",
        "channel": "web",
    }
    put("toy", "raw", "searches", [{**search, "day": datetime.fromisoformat(DAY1).date(), **origin(1)}], DAY1)
    assert due() == [DAY1]  # who asked for too much is a robot in the other tables, too
    cleaned(DAY1)
    put("toy", "raw", "interactions", [interaction(1), interaction(9)], DAY1)
    assert due() == [DAY1, DAY2]  # the purchase may be among the new rows


def test_refused_rows_are_sent_through_again_after_a_fix(
    put: Callable[..., Any], clean: Clean, jobs: Callable[..., Any]
) -> None:
    house = shop(put)
    assert clean().returncode == 0
    untouched = house.mark("clean", "interactions", DAY2)
    put(
        "toy",
        "raw",
        "visitors",
        [{"visitor_id": v, **origin(n, "v.csv")} for n, v in enumerate(("ann", "bo", "nobody"))],
    )
    assert clean("--first", "2020-01-03", "--last", "2020-01-03").returncode == 0  # the visitors alone
    done = jobs("quarantine", "--shop", "toy", "--replay", "--reason", "orphan", "--table", "interactions")
    assert done.returncode == 0, done.stderr
    line = next(line for line in done.stdout.splitlines() if line.startswith("interactions") and "orphan" in line)
    assert line.split() == ["interactions", "orphan", "2", "1", "1"]
    assert house.mark("clean", "interactions", DAY2) == untouched
    assert "nobody" in house.read("clean", "interactions", columns=["visitor_id"])["visitor_id"].to_pylist()


def test_a_person_with_two_accounts_is_one_visitor_everywhere(
    put: Callable[..., Any], clean: Clean, spark: Any
) -> None:
    from argparse import Namespace

    from jobs.showing_features import given_keys

    put("toy", "raw", "items", [{"item_id": "i1", "title": "tea", **origin(1, "items.csv")}])
    people = [
        {"visitor_id": "app-ann", "email": "ann@x.example", **origin(1, "v.csv")},
        {"visitor_id": "ann", "email": "Ann@X.example", "name": "Ann Lee", **origin(2, "v.csv")},
    ]
    put("toy", "raw", "visitors", people)
    put("toy", "raw", "interactions", [interaction(1), interaction(2, visitor_id="app-ann")], DAY1)
    assert clean().returncode == 0
    house = warehouse("toy")
    assert house.read("clean", "visitors", columns=["visitor_id"])["visitor_id"].to_pylist() == ["ann"]
    counts = house.marks("clean", "visitors")[0].counts
    assert (counts["in"], counts["out"], counts["merged"]) == (2, 1, 1)
    assert set(house.read("clean", "interactions")["visitor_id"].to_pylist()) == {"ann"}
    assert house.kept("visitors", "app-ann") == house.kept("visitors", "ann") == "ann"
    named = [Namespace(shop="toy", visitor=given, item=None, query=None) for given in ("app-ann", "ann")]
    assert given_keys(named[0]) == given_keys(named[1]) != {}

    # As a kill between the two tables leaves it: the links are new, the visitors old.
    put("toy", "clean", "visitors", people)
    from jobs.cleaning import Cleaner
    from jobs.tables import table

    known, _ = Cleaner(spark, house).known(spark, table("clean", "interactions"))
    assert sorted(tuple(r) for r in known["visitor_id"].collect()) == [("ann", "ann"), ("app-ann", "ann")]


def test_the_later_delivery_of_a_key_corrects_the_earlier_and_the_same_again_is_a_duplicate(
    put: Callable[..., Any], clean: Clean, home: Path
) -> None:
    """Without deliveries the first stays; with them the last, known from when its content was first delivered."""
    shop(put)
    day = {n: datetime(2020, 1, n, 12, tzinfo=UTC) for n in (2, 3, 4)}
    rows = [
        interaction(1, source_file="a", known_time=day[2], quantity="1"),
        interaction(1, source_file="b", known_time=day[3], quantity="2"),
        interaction(1, source_file="c", known_time=day[4], quantity="2"),
        interaction(2, source_file="c", known_time=day[4], quantity="5", source_row=9),
        interaction(2, source_file="c", known_time=day[4], quantity="6", source_row=10),
    ]
    put("toy", "raw", "interactions", rows, DAY1)
    house = warehouse("toy")
    for delivered, kept, reasons in (
        (False, {("n1", 1, day[2]), ("n2", 5, day[4])}, ["key_conflict"] * 3),
        (True, {("n1", 2, day[3]), ("n2", 5, day[4])}, ["corrected", "key_conflict"]),
    ):
        if delivered:
            house.ledger.write_text("{}")
        assert clean().returncode == 0
        found = house.read("clean", "interactions", DAY1, DAY1).to_pylist()
        assert {(r["interaction_id"], r["quantity"], r["known_time"]) for r in found} == kept
        refused = house.read("quarantine", "clean.interactions", DAY1, DAY1).to_pylist()
        assert sorted(r["reason"] for r in refused) == reasons


def test_robots_and_the_shops_own_people_are_refused_and_who_pays_is_not(
    put: Callable[..., Any], clean: Clean, home: Path
) -> None:
    shop(put)
    policy(home, robot_rows=3, robot_burst=3)
    rows = [interaction(n, kind="click", quantity=None, amount=None) for n in range(1, 5)]
    rows += [interaction(5), interaction(6, visitor_id="bo"), interaction(7, visitor_id="test-7")]
    put("toy", "raw", "interactions", rows, DAY1)
    assert clean().returncode == 0
    house = warehouse("toy")
    refused = {r["source_row"]: r["reason"] for r in house.read("quarantine", "clean.interactions").to_pylist()}
    assert refused == {1: "robot", 2: "robot", 3: "robot", 4: "robot", 7: "internal"}
