"""The shop's wishes for `clean`: defaults are written once, and what cannot be meant is said."""

import json
from pathlib import Path
from typing import Any

import pytest

from jobs.cleaning_policy import Policy, dump, load, path_of, wrong
from jobs.console import Problem


def test_defaults_are_written_once_with_what_the_source_declares(home: Path) -> None:
    assert load("toy") == Policy()
    assert load("sample").items == "merge"
    path = path_of("toy")
    path.write_text(dump(Policy(simplify=True)))
    assert load("toy").simplify
    assert Policy(simplify=True).sha256 != Policy().sha256


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"likenes": 0.9}, "did you mean 'likeness'?"),
        ({"likeness": 2}, "likeness"),
        ({"items": "maybe"}, "off, report or merge"),
        ({"robot_rows": "many"}, "robot_rows"),
        ({"robot_rows": True}, "robot_rows"),
        ({"grace_days": -1}, "grace_days"),
        ({"internal": "("}, "regular expression"),
        ({"refused": {"orphan": 7}}, "refused.orphan"),
    ],
)
def test_what_cannot_be_meant_is_said_with_its_place(home: Path, values: dict[str, Any], word: str) -> None:
    path = path_of("toy")
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(values))
    with pytest.raises(Problem) as fault:
        load("toy")
    assert word in str(fault.value) + str(fault.value.do)
    assert str(path) in str(fault.value.where)


def test_a_policy_that_is_no_json_is_a_problem(home: Path) -> None:
    path = path_of("toy")
    path.parent.mkdir(parents=True)
    path.write_text("[1")
    with pytest.raises(Problem, match="no JSON object"):
        load("toy")


def test_the_share_of_a_reason_goes_before_that_of_any() -> None:
    policy = Policy(refused={"any": 0.1, "orphan": 0.6})
    assert (policy.most("orphan"), policy.most("missing"), Policy(refused={}).most("x")) == (0.6, 0.1, 1.0)
    assert wrong(policy) is None
