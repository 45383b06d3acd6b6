"""The gate's policy of a shop: the defaults, a file that changes some, and what is wrong with a file."""

import json
from pathlib import Path
from typing import Any

import pytest

from jobs.console import Problem
from models.evaluation.gates import Policy
from models.evaluation.policy import load, path_of


def put(values: Any) -> Path:
    path = path_of("tiny")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(values if isinstance(values, str) else json.dumps(values))
    return path


def test_without_a_file_the_defaults_hold_and_none_is_written(home: Path) -> None:
    assert load("tiny") == Policy() and not path_of("tiny").exists()


def test_a_file_changes_what_it_names(home: Path) -> None:
    put({"review": "human", "p99_ms": 200, "report_days": 1})
    assert load("tiny") == Policy(review="human", p99_ms=200, report_days=1)


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"reveiw": "human"}, "did you mean 'review'?"), ("{", "no JSON object"), ([], "no JSON object"),
        ({"review": "nobody"}, "auto or human"), ({"least": 1.5}, "whole number"), ({"least": 0}, "must not be 0"),
        ({"p99_ms": "500"}, "must be a number"), ({"p99_ms": True}, "must be a number"),
        ('{"p99_ms": Infinity}', "must be a number"), ({"draws": -1}, "below 0"), ({"worse": 1.1}, "a share"),
        ({"alpha": 0}, "between 0 and 0.5"), ({"alpha": 0.5}, "between 0 and 0.5"), ({"tries": 1}, "2 or more"),
        ({"segment_alpha": 0.6}, "at most 0.5"), ({"segment_doubt": 0.6}, "at most 0.5"),
    ],
    ids=str,
)  # fmt: skip
def test_what_cannot_be_meant_is_refused(home: Path, values: Any, word: str) -> None:
    path = put(values)
    with pytest.raises(Problem) as found:
        load("tiny")
    assert word in str(found.value) and str(path) in str(found.value)
