"""The visitors' policy: fitted once, kept by version, read strictly; shown and fitted anew by a command."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from jobs import generalising as g
from jobs import generalising_policy as gp
from jobs.console import Problem
from jobs.warehouse import warehouse

KNOWN = {"source_file": "f.csv", "known_time": datetime(2020, 1, 3, tzinfo=UTC), "simulated": False}


def people(put: Callable[..., Any], *groups: tuple[int, str | None, str | None]) -> None:
    """Clean visitors: so many of each age and income."""
    rows = [(age, income) for count, age, income in groups for _ in range(count)]
    put("toy", "clean", "visitors", [
        {"visitor_id": f"u{n}", "age": age, "income": pay, "source_row": n, **KNOWN}
        for n, (age, pay) in enumerate(rows)
    ])  # fmt: skip


def command(*words: str) -> int:
    from jobs.__main__ import parser
    from jobs.console import run_command

    return run_command(parser(), ["policy", "--shop", "toy", *words])


def test_a_policy_is_written_and_read_again(tmp_path: Path) -> None:
    path = tmp_path / "policy.json"
    assert gp.load(path) is None
    policy = g.fit(("kids",), {("0",): 10, ("1",): 10}, k=10)
    path.write_text(gp.dump(policy))
    assert gp.load(path) == policy


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("{", "no JSON"),
        ("[]", "no levels"),
        ("{}", "no levels"),
        ('{"levels": {"age": 7}}', "no level 7"),
        ('{"levels": {"age": true}}', "no level True"),
        ('{"levels": {}, "k": "10"}', "k must be a whole number"),
        ('{"levels": {}, "l": 0}', "l must be a whole number"),
        ('{"levels": {}, "max_suppressed": 5}', "share from 0 to 1"),
        ('{"levels": {}, "max_supressed": 0.1}', "did you mean 'max_suppressed'"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_words(tmp_path: Path, text: str, fault: str) -> None:
    path = tmp_path / "policy.json"
    path.write_text(text)
    with pytest.raises(Problem, match=fault) as told:
        gp.load(path)
    assert str(path) in str(told.value)


def test_a_file_from_before_there_was_an_l_asks_for_two(tmp_path: Path) -> None:
    path = tmp_path / "policy.json"
    old = {
        "levels": {"age": 1},
        "k": 10,
        "max_suppressed": 0.05,
        "version": 3,
        "fitted_on": ["a"],
        "reached": True,
        "loss": 1,
    }
    path.write_text(json.dumps(old))
    policy = gp.load(path)
    assert policy is not None and (policy.l, policy.version, policy.fitted_on) == (2, 3, ("a",))
    assert gp.setting(policy) != gp.setting(replace(policy, l=1))  # what it means now stands in the marks' inputs


def test_groups_are_counted_as_spark_would(put: Callable[..., Any]) -> None:
    people(put, (2, " 19-24 ", None), (1, "19-24", None), (1, None, "15-24K"), (1, "\u00a019-24", None))
    house = warehouse("toy")
    counts = gp.counted(house.files(house.marks("clean", "visitors")), ["age", "income"])
    assert counts == {("19-24", "unknown"): 3, ("unknown", "15-24K"): 1, ("\u00a019-24", "unknown"): 1}
    assert gp.counted([], ["age"]) == {}


def test_the_policy_is_fitted_once_and_again_only_once_anybody_can_be_shown(
    put: Callable[..., Any], home: Path
) -> None:
    columns = gp.quasi(gp.table("clean", "visitors"))

    def policy() -> g.Policy:
        house = warehouse("toy")
        marks = house.marks("clean", "visitors")
        return gp.policy_for("toy", gp.counted(house.files(marks), columns), marks)

    people(put, (9, "19-24", None))
    few = policy()
    assert (few.reached, few.version) == (False, 1)
    assert policy() == few and not gp.kept_at("toy", 1).exists()
    people(put, (30, "19-24", None), (30, "65+", None))
    enough = policy()
    assert (enough.reached, enough.version, enough.levels["age"]) == (True, 2, 0)
    assert gp.load(gp.kept_at("toy", 1)) == few
    people(put, *((1, f"{n}-{n + 9}", None) for n in range(20, 60)))
    assert policy() == enough  # whoever does not fit is suppressed, or stops the run; the levels stand
    gp.path_of("toy").write_text(gp.dump(replace(enough, levels={"age": 0})))
    with pytest.raises(Problem, match=r"no level for .*income"):
        policy()


def test_the_command_shows_and_refits(put: Callable[..., Any], home: Path, capsys: Any) -> None:
    assert command() == 2  # no such shop
    people(put, (40, "19-24", "Under 15K"), (40, "65+", "75-99K"))
    assert command() == 0
    told = capsys.readouterr()
    assert "Nothing was written" in told.err and not gp.path_of("toy").exists()
    assert command("--refit") == 0
    first = gp.load(gp.path_of("toy"))
    assert first is not None and (first.version, first.l) == (1, 2)
    capsys.readouterr()

    asked = replace(first, k=20, l=1, max_suppressed=0.0, refit_above=0.2)  # as a person would set it in the file
    gp.path_of("toy").write_text(gp.dump(asked))
    before = gp.path_of("toy").read_text()
    assert command("--refit") == 0
    second = gp.load(gp.path_of("toy"))
    assert second is not None
    assert (second.version, second.k, second.l, second.max_suppressed, second.refit_above) == (2, 20, 1, 0.0, 0.2)
    assert second.levels["age"] == second.levels["income"] == 0  # without l nothing need be given up
    assert second.fitted_on == (warehouse("toy").marks("clean", "visitors")[0].name,)
    assert gp.kept_at("toy", 1).read_text() == before
    told = capsys.readouterr()
    assert "anonymise --shop toy --stale" in told.err and "could set 0 visitors" in told.err
    assert command() == 0
    told = capsys.readouterr()
    assert "20, 1 (distinct income)" in told.out and "0 (0.0%)" in told.out


def test_two_tables_of_two_policies_together_show_the_finer_of_each_column() -> None:
    columns = gp.quasi(gp.table("clean", "visitors"))
    counts = {tuple(age if c == "age" else kids if c == "kids" else "x" for c in columns): 10
              for age in ("19-24", "65+") for kids in ("0", "3+")}  # fmt: skip
    coarse = {c: g.top(c) for c in columns}
    ages, kids = g.Policy({**coarse, "age": 0}, k=20), g.Policy({**coarse, "kids": 0}, k=20)
    assert all(size == 20 for one in (ages, kids) for size in g.merged(columns, counts, one.levels).values())
    assert gp.exposed(counts, ages, kids) == 40  # each alone has groups of 20; together, of 10
    assert gp.exposed(counts, ages, ages) == 0
    assert gp.exposed(counts, ages, replace(kids, reached=False)) == 0
