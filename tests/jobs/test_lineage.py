"""From a partition down to the shop's files, by hand; and which partitions are stale."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jobs import lineage
from jobs.console import Problem, Usage
from jobs.warehouse import Ancestry, Mark, Name, Warehouse, stale, up_to, warehouse

DAY = "2017-01-01"


def mark(house: Warehouse, zone: str, name: str, day: str = DAY, **told: Any) -> Mark:
    """A published partition without rows."""
    with house.attempt(zone, name) as attempt:
        return house.publish(house.propose(attempt, day, step="test", **told))


@pytest.fixture
def house(home: Path) -> Warehouse:
    return warehouse("toy", must_exist=False)


def test_a_name_in_its_parts() -> None:
    assert Name.of("safe/items/whole@0123") == Name("safe", "items", "whole", "0123")
    assert Name.of("safe/a+b/..2017-01-01@01") == Name("safe", "a+b", "..2017-01-01", "01")


def test_the_tree_goes_down_to_the_files_and_says_what_was_replaced(house: Warehouse) -> None:
    raw = mark(house, "raw", "reviews", notes={"files": {"b.csv": "ff" * 32, "a.csv": "ee" * 32}})
    items = mark(house, "clean", "items", "whole")
    clean = mark(house, "clean", "reviews", inputs=[raw, items])
    safe = mark(house, "safe", "reviews", inputs=[clean, "policy/key_epoch/whole@1"])
    gone = f"safe/reviews/{DAY}@0000000000000000"
    top = mark(house, "stats", "item_stats", inputs=[safe, gone, f"safe/reviews/..{DAY}@11", items])
    lines = [(step.depth, step.name, step.said) for step in lineage.tree(house, top)]
    assert [(depth, name) for depth, name, _ in lines] == [
        (0, top.name),
        (1, items.name),
        (1, f"safe/reviews/..{DAY}@11"),
        (1, gone),
        (1, safe.name),
        (2, clean.name),
        (3, items.name),
        (3, raw.name),
        (4, "file a.csv"),
        (4, "file b.csv"),
        (2, "policy/key_epoch/whole@1"),
    ]
    words = {name: text for _, name, text in lines}
    assert words["file a.csv"] == "sha256 eeeeeeeeeeeeeeee"
    assert words[gone] == f"replaced since, now @{safe.sha256[:16]}"
    assert words["policy/key_epoch/whole@1"] == "a setting"
    assert words[f"safe/reviews/..{DAY}@11"] == "all up to this day; one was replaced since"
    assert words[items.name].endswith("; see above")


def test_the_command_finds_the_table_furthest_on_the_way(house: Warehouse) -> None:
    for zone in ("clean", "safe"):
        mark(house, zone, "reviews")
        mark(house, zone, "reviews", "2017-01-02")
    assert lineage.whose(house, "reviews", None) == ("safe", "reviews")
    assert lineage.whose(house, "clean/reviews", None) == ("clean", "reviews")
    assert lineage.start(house, "safe", "reviews", None).day == "2017-01-02"
    with pytest.raises(Usage, match="did you mean 'reviews'"):
        lineage.whose(house, "review", None)
    with pytest.raises(Problem, match="no partition of 'tickets'"):
        lineage.whose(house, "tickets", None)
    with pytest.raises(Problem, match="a day from 2017-01-01 to 2017-01-02"):
        lineage.start(house, "safe", "reviews", "2018-01-01")
    done = subprocess.run(
        [sys.executable, "-m", "jobs", "tables", "--shop", "toy", "--lineage", "reviews", "--day", DAY],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.startswith(f"safe/reviews/{DAY}@"), done.stderr


# ---- staleness ----------------------------------------------------------------------------------------


def test_stale_is_what_is_missing_or_rests_on_something_else(house: Warehouse) -> None:
    one, two = mark(house, "raw", "reviews"), mark(house, "raw", "reviews", "2017-01-02")
    done = mark(house, "clean", "reviews", inputs=[one])
    inputs = {one.day: [one], two.day: [two]}
    assert stale([done], inputs) == {two.day: "missing"}
    assert stale([done], {one.day: [one]}) == {}
    assert stale([done], {one.day: [replace(one, sha256="f" * 64)]}) == {one.day: f"changed: raw/reviews/{DAY}"}
    assert stale([done], {one.day: [one, two]}) == {one.day: "changed: raw/reviews/2017-01-02"}
    assert stale([done], {one.day: []}) == {one.day: f"changed: raw/reviews/{DAY}"}
    assert stale([replace(done, schema="old")], {one.day: [one]}) == {one.day: "its schema is not the declared one"}


def test_the_proposal_counts_behind_the_gate_and_the_published_one_elsewhere(house: Warehouse) -> None:
    with house.attempt("safe", "reviews") as attempt:
        house.propose(attempt, DAY, step="test", inputs=["clean/reviews/x@1"])
    assert house.stale("safe", "reviews", {DAY: ["clean/reviews/x@1"]}) == {}
    mark(house, "clean", "reviews", inputs=["raw/reviews/x@1"])
    (house.folder("clean", "reviews") / "published" / f"{DAY}.json").unlink()  # killed between the two pointers
    assert house.stale("clean", "reviews", {DAY: ["raw/reviews/x@1"]}) == {DAY: "missing"}


def test_a_name_leads_to_its_mark_until_it_is_replaced(put: Callable[..., Any], house: Warehouse) -> None:
    old = put("toy", "clean", "reviews", [], DAY)
    assert house.find(old.name) == house.mark("clean", "reviews", DAY)
    assert house.find(f"clean/reviews/{DAY}@{'0' * 16}") is None
    for name in ("policy/key_epoch/whole@1", "safe/*/..2017-01-01@1", "safe/reviews/*@1", "nothing"):
        assert house.find(name) is None


def test_one_name_stands_for_all_up_to_a_day_until_one_of_them_is_replaced(
    put: Callable[..., Any], house: Warehouse
) -> None:
    days = ("2017-01-01", "2017-01-02", "2017-01-04")
    marks = [mark(house, "safe", name, day) for name in ("reviews", "searches") for day in days]
    names = up_to("safe", ("reviews", "searches"), marks)
    assert sorted(names) == list(days) and names[days[1]].startswith("safe/reviews+searches/..2017-01-02@")
    ancestry = Ancestry(house)
    assert ancestry.behind(names[days[1]]) == [m for m in marks if m.day != days[2]]
    without = names[days[1]].replace(days[1], "2017-01-03")  # a day on which nothing happened
    assert ancestry.behind(without) == ancestry.behind(names[days[1]])
    assert ancestry.behind(marks[0].name) == [marks[0]]
    for wrong in (names[days[0]].replace(days[0], days[2]), "safe/nix/..2017-01-02@1", "nix/reviews/..2017-01-02@1"):
        assert ancestry.behind(wrong) == []
    put("toy", "safe", "reviews", [{"review_id": "r1"}], days[1])
    assert Ancestry(house).behind(names[days[0]]) and not Ancestry(house).behind(names[days[1]])
