"""Deliveries: late rows go to their own days, corrections stand beside, nothing is published twice, no order tells."""

import argparse
import json
import shutil
from collections.abc import Iterable
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobs import delivering, importing
from jobs.console import Problem, Refused, Usage
from jobs.keeping import compact
from jobs.sources import source
from jobs.warehouse import Mark, Warehouse, warehouse
from tests.imports import load

MAPPING = """
first = 2024-01-01
deliveries = true

[reviews]
files = "reviews*.jsonl"
optional = ["said"]

[reviews.columns]
review_id = "id"
event_time = "at"
visitor_id = { value = "v" }
item_id = { value = "i" }
text = "said"

[items]
files = "items.csv"
columns = { item_id = "sku", title = "name" }
"""


def deliver(
    folder: Path, name: str, rows: Iterable[tuple[str, str, str]] = (), items: str = "", part: str = ""
) -> None:
    """Put a delivery into the folder: reviews (id, time, words) and items."""
    (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "endcap.toml").write_text(MAPPING)
    lines = [json.dumps({"id": review, "at": at, "said": said}) for review, at, said in rows]
    if lines:
        (folder / name / f"reviews{part}.jsonl").write_text("\n".join(lines))
    if items:
        (folder / name / "items.csv").write_text(f"sku,name\n{items}")


def load_in_order(folder: Path, names: Iterable[str]) -> None:
    """Import these deliveries one after another, whatever their times."""
    shop, house = importing.shop_of(source("files"), folder), warehouse("files", must_exist=False)
    importing.keep_to(house, folder)
    with delivering.alone(shop):
        ledger = delivering.ledger_of(house)
        for name in names:
            delivering.import_one(house, shop, delivering.delivery(folder / name), ledger)


def marks(name: str = "reviews") -> dict[str, Mark]:
    return {mark.day: mark for mark in warehouse("files").marks("raw", name)}


def rows(name: str = "reviews") -> list[tuple[str, str, str, str]]:
    """Day, id, words and known time of all reviews."""
    found = warehouse("files").read("raw", name).to_pylist()
    return sorted((str(r["day"]), r["review_id"], r["text"], r["known_time"].isoformat()[:16]) for r in found)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two deliveries by hand. The second has a row that is four days late, and a correction."""
    folder = tmp_path / "shop"
    deliver(
        folder, "2024-01-05", [("a", "2024-01-05T10:00:00Z", "good"), ("b", "2024-01-04T10:00:00Z", "bad")], "1,Tea\n"
    )
    deliver(folder, "2024-01-06T0300Z", [("c", "2024-01-05T23:00:00Z", "late, but not very"),
                                         ("d", "2024-01-01T10:00:00Z", "very late"),
                                         ("b", "2024-01-04T10:00:00Z", "not bad")])  # fmt: skip
    return folder


def test_known_time_is_the_deliverys_and_a_row_lies_on_its_own_day(
    home: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert load(folder) == 0
    assert rows() == [
        ("2024-01-01", "d", "very late", "2024-01-06T03:00"),
        ("2024-01-04", "b", "bad", "2024-01-06T00:00"),
        ("2024-01-04", "b", "not bad", "2024-01-06T03:00"),  # beside what it corrects
        ("2024-01-05", "a", "good", "2024-01-06T00:00"),
        ("2024-01-05", "c", "late, but not very", "2024-01-06T03:00"),
    ]
    assert sorted(marks()) == [f"2024-01-0{n}" for n in range(1, 7)]  # days without rows are known to be empty
    out = capsys.readouterr().out
    assert "days touched: 2024-01-01, 2024-01-04, 2024-01-05" in out
    first, second = (line.split() for line in out.splitlines() if line.startswith("2024"))
    assert first == ["2024-01-05", "2", "3", "1", "2"]  # files, rows, late rows, days
    assert second == ["2024-01-06T0300Z", "1", "3", "2", "3"]
    assert "next: python -m jobs clean --shop files --first 2024-01-01 --last 2024-01-05" in out


def test_a_late_row_leaves_the_days_earlier_files_as_they_were_and_other_days_alone(home: Path, folder: Path) -> None:
    load_in_order(folder, ["2024-01-05"])
    before, house = marks(), warehouse("files")
    bytes_before = {path.name: path.read_bytes() for path in house.files([before["2024-01-04"]])}
    load_in_order(folder, ["2024-01-06T0300Z"])
    after = marks()
    files = {path.name: path.read_bytes() for path in house.files([after["2024-01-04"]])}
    assert len(files) == 2
    assert bytes_before.items() < files.items()
    untouched = {"2024-01-02", "2024-01-03"}
    assert {day for day in before if after[day] == before[day]} == untouched
    assert after["2024-01-04"].counts == {"in": 2, "out": 2}
    assert set(after["2024-01-04"].notes["files"]) == {"2024-01-05/reviews.jsonl", "2024-01-06T0300Z/reviews.jsonl"}
    assert marks("items") == {"whole": marks("items")["whole"]}


def test_the_same_delivery_twice_changes_no_byte(home: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    load(folder)
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in home.rglob("*") if path.is_file()}
    capsys.readouterr()
    assert load(folder) == 0
    after = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in home.rglob("*") if path.is_file()}
    changed = {path.name for path in before if before[path] != after[path]} | {
        p.name for p in after.keys() - before.keys()
    }
    assert changed <= {"deliveries.lock"}
    assert "nothing new: no byte was changed" in capsys.readouterr().out


def test_a_killed_import_is_repeated_and_what_it_had_published_is_not_published_again(
    home: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(delivering, "enter", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            load_in_order(folder, ["2024-01-05"])
    before = marks()
    load_in_order(folder, ["2024-01-05"])
    assert marks() == before
    load(folder)
    assert len(rows()) == 5


def test_the_same_content_twice_is_read_once_as_of_the_earlier_delivery(home: Path, tmp_path: Path) -> None:
    told = [("a", "2024-01-02T10:00:00Z", "good"), ("x", "never", "no time")]
    states = []
    for order in (["2024-01-03", "2024-01-05"], ["2024-01-05", "2024-01-03"]):
        shutil.rmtree(home, ignore_errors=True)
        deliver(tmp_path, "2024-01-03", told)
        deliver(tmp_path, "2024-01-05", told)
        load_in_order(tmp_path, order)
        assert [row[3] for row in rows()] == ["2024-01-04T00:00"] * 2
        states.append(state())
    assert states[0] == states[1]


def test_a_delivery_that_was_changed_or_another_mapping_is_refused(home: Path, folder: Path) -> None:
    load(folder)
    before = marks()
    deliver(folder, "2024-01-05", [("a", "2024-01-05T10:00:00Z", "excellent")])
    with pytest.raises(Refused, match="was changed after it was imported") as caught:
        load(folder)
    assert "a delivery of its own" in caught.value.do
    deliver(folder, "2024-01-05", [("a", "2024-01-05T10:00:00Z", "good"), ("b", "2024-01-04T10:00:00Z", "bad")])
    load(folder)
    (folder / "endcap.toml").write_text(MAPPING.replace('"said"', '"words"'))
    with pytest.raises(Refused, match="another mapping"):
        load(folder)
    assert marks() == before


def test_a_file_that_is_added_to_a_delivery_is_imported_too(home: Path, folder: Path) -> None:
    load(folder)
    deliver(folder, "2024-01-05", [("z", "2024-01-05T12:00:00Z", "found again")], part="-2")
    load(folder)
    assert ("2024-01-05", "z", "found again", "2024-01-06T00:00") in rows()
    assert len(rows()) == 6


def test_names_that_are_no_delivery_and_empty_ranges_are_told(home: Path, folder: Path) -> None:
    from datetime import date

    with pytest.raises(Problem, match="no delivery to import"):
        load(folder, first=date(2024, 2, 1))
    load(folder, first=date(2024, 1, 6), last=date(2024, 1, 6))
    assert len(rows()) == 3
    (folder / "2024-1-7").mkdir()
    with pytest.raises(Usage, match="names no delivery"):
        load(folder)
    shutil.rmtree(folder / "2024-1-7")
    deliver(folder, "2023-12-31", [("o", "2023-12-31T00:00:00Z", "old")])
    with pytest.raises(Usage, match="before the shop's first day"):
        load(folder)
    shutil.rmtree(folder / "2023-12-31")
    deliver(folder, "2042-01-05", [("f", "2024-01-05T00:00:00Z", "far")])
    with pytest.raises(Usage, match="more than 3,660 days after"):
        load(folder)


def test_two_imports_at_once_are_one(home: Path, folder: Path) -> None:
    shop = importing.shop_of(source("files"), folder)
    with delivering.alone(shop), pytest.raises(Problem, match="another import"):
        load(folder)


def test_a_spoiled_file_in_a_delivery_publishes_nothing_of_it(home: Path, folder: Path) -> None:
    (folder / "2024-01-06T0300Z" / "items.csv").write_text("sku,name\n2,Cup\n")
    delivered = importing.check(source("files"), folder)
    assert delivered[1] == []
    (folder / "2024-01-06T0300Z" / "reviews-2.jsonl").write_text("torn\ntorn\n")
    with pytest.raises(Problem, match="no line of"):
        load_in_order(folder, ["2024-01-05", "2024-01-06T0300Z"])
    assert {row[3] for row in rows()} == {"2024-01-06T00:00"}
    assert marks("items")["whole"].rows == 1


def test_one_file_that_is_read_in_two_ways_is_two_sets_of_rows(home: Path, tmp_path: Path) -> None:
    (tmp_path / "shop" / "2024-01-01").mkdir(parents=True)
    (tmp_path / "shop" / "2024-01-01" / "all.csv").write_text("id,name\n1,a\n2,b\n")
    (tmp_path / "shop" / "endcap.toml").write_text("""
        first = 2024-01-01
        deliveries = true
        items = { files = "all.csv", columns = { item_id = "id", title = "name" } }
        visitors = { files = "all.csv", encoding = "latin-1", columns = { visitor_id = "id" } }
    """)
    load(tmp_path / "shop")
    assert [warehouse("files").read("raw", name).num_rows for name in ("items", "visitors")] == [2, 2]


def test_compact_leaves_the_files_of_deliveries_by_which_rows_are_taken_back(home: Path, folder: Path) -> None:
    deliver(folder, "2024-01-07", [("e", "2024-01-05T11:00:00Z", "again")])
    load(folder)
    before = marks()
    assert len(warehouse("files").files([before["2024-01-05"]])) == 3
    compact(argparse.Namespace(shop="files", zone=None, dry_run=False))
    assert marks() == before
    deliver(folder, "2024-01-05", [("e", "2024-01-05T11:00:00Z", "again")], part="-2")  # known earlier, as it turns out
    load(folder)
    assert [row for row in rows() if row[1] == "e"] == [("2024-01-05", "e", "again", "2024-01-06T00:00")]


def test_room_is_asked_for_what_is_to_be_read_only(home: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(delivering, "check_room", asked.append)
    (folder / "2024-01-05" / "film.mp4").write_bytes(b"x" * 10_000)
    load(folder)
    assert asked == [
        sum(path.stat().st_size for path in (folder / name).iterdir() if path.suffix != ".mp4")
        for name in ("2024-01-05", "2024-01-06T0300Z")
    ]
    load(folder)
    assert len(asked) == 2


def test_tables_cannot_be_chosen_from_deliveries(home: Path, folder: Path) -> None:
    with pytest.raises(Usage, match="--tables has no meaning with deliveries"):
        load(folder, tables="items")
    assert not warehouse("files", must_exist=False).days("raw", "items")


# Order ----------------------------------------------------------------------------------------


def state() -> dict[str, Any]:
    """All that a partition is, but for attempts and clocks."""
    house: Warehouse = warehouse("files")
    return {
        f"{name} {mark.day}": (
            mark.sha256,
            mark.rows,
            mark.counts,
            mark.notes,
            sorted(p.name for p in house.files([mark])),
        )
        for name in ("reviews", "items")
        for mark in house.marks("raw", name)
    }


_AT = st.sampled_from(["2024-01-01T01:00:00Z", "2024-01-03T01:00:00Z", "2024-01-05T12:00:00Z", "2031-01-01", "soon"])
_REVIEW = st.tuples(st.sampled_from("abc"), _AT, st.sampled_from(["good", "bad"]))
_NAMES = ("2024-01-03", "2024-01-04T0300Z", "2024-01-05")


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.tuples(*[st.lists(_REVIEW, min_size=1, max_size=3)] * 3), st.sets(st.sampled_from(_NAMES)))
def test_no_order_of_deliveries_changes_a_byte(
    tmp_path_factory: pytest.TempPathFactory, told: tuple[list[Any], ...], with_items: set[str]
) -> None:
    folder = tmp_path_factory.mktemp("deliveries")
    for name, reviews in zip(_NAMES, told, strict=True):
        deliver(folder, name, reviews, "1,Tea\n2,Cup\n" if name in with_items else "")
    states: list[dict[str, Any]] = []
    with pytest.MonkeyPatch.context() as patch:
        for n, order in enumerate(permutations(_NAMES)):
            patch.setenv("ENDCAP_HOME", str(folder / f".home-{n}"))
            load_in_order(folder, order)
            states.append(state())
    assert all(one == states[0] for one in states)
    different = {json.dumps(reviews) for reviews in told}
    rows_in = sum(len(json.loads(reviews)) for reviews in different)
    assert sum(value[1] for key, value in states[0].items() if key.startswith("reviews")) == rows_in
