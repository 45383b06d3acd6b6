"""A few kills of each kind, in every run of the tests; `make kills` does a hundred."""

from pathlib import Path

import pytest

from tests import kills


@pytest.mark.long
def test_import_ended_at_any_act_leaves_old_or_new_and_the_next_run_gives_the_same_bytes(tmp_path: Path) -> None:
    outcomes: list[kills.Outcome] = []
    kills.points(tmp_path, 10, outcomes.append)
    assert [outcome for outcome in outcomes if outcome.fault] == []
    assert sum(outcome.hit for outcome in outcomes) == 10


@pytest.mark.long
def test_steps_of_spark_killed_at_random_moments_likewise(
    tmp_path: Path, undisturbed: kills.Undisturbed, run_here: kills.Run
) -> None:
    outcomes: list[kills.Outcome] = []
    kills.spark(tmp_path, undisturbed, 2, 1, outcomes.append, run_here)
    assert [outcome for outcome in outcomes if outcome.fault] == []
    assert sum(outcome.hit for outcome in outcomes) == 2


@pytest.mark.long
def test_two_attempts_at_once_give_the_bytes_of_one(
    tmp_path: Path, undisturbed: kills.Undisturbed, run_here: kills.Run
) -> None:
    assert kills.at_once(tmp_path, undisturbed, run_here) == ""
