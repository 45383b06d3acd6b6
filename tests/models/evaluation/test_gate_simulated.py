"""What the gate promises, on a few trials: `make bench-gate` has the thousand, and says how sure the shares are."""

import numpy as np
import pytest

from models.evaluation.gates import Policy, gates, level
from models.statistics import paired_bootstrap, paired_randomisation
from tests.bench.gate import (
    GROCER,
    SAMPLE,
    Line,
    Shape,
    agree,
    answered,
    better_by,
    bootstrap_ends,
    by_segments,
    copies,
    halved,
    promoted_ever,
    report,
    segmented,
    verdicts,
    worse_within,
)

TRIALS = 60


def test_many_trials_at_once_have_the_statistics_of_each() -> None:
    agree()
    values = copies(SAMPLE)(np.random.default_rng(4), 2)
    low, _ = bootstrap_ends(values, [0.95, level(7, Policy())])
    assert abs(low[1] - paired_bootstrap(values[:, 1], 0 * values[:, 1], level=level(7, Policy())).low) < 1e-12
    assert paired_randomisation(values[:, 0], 0 * values[:, 0]) > 0


@pytest.mark.parametrize("shape", [GROCER, SAMPLE], ids=["grocer", "sample"])
def test_differences_are_as_wide_and_as_often_zero_as_the_reports_were(shape: Shape) -> None:
    values = copies(shape)(np.random.default_rng(3), 200)
    assert values.std() == pytest.approx(shape.spread, rel=0.05) and abs(values.mean()) < shape.spread / 100
    assert (values == 0).mean() == pytest.approx(shape.zeros, abs=0.02)
    assert sum(len(rows) for (kind, _), rows in segmented(shape.n).items() if kind == "category") == shape.n


def test_a_copy_of_the_champion_is_hardly_ever_promoted() -> None:
    found = verdicts(copies(SAMPLE), SAMPLE, TRIALS, 1)
    assert answered(found, "accept") <= 0.1 * TRIALS and answered(found, "refuse") >= 0.7 * TRIALS
    same = gates(report(SAMPLE, np.random.default_rng(0), (0.0, 0.0, 0.0), 1))
    assert same.answer == "refuse"


def test_a_better_model_is_mostly_promoted_and_one_that_is_worse_somewhere_is_not() -> None:
    good = verdicts(better_by(SAMPLE, SAMPLE.effect), SAMPLE, TRIALS, 2)
    assert answered(good, "accept") >= 0.7 * TRIALS and by_segments(good, False) <= 0.05 * TRIALS
    bad = verdicts(worse_within(SAMPLE), SAMPLE, TRIALS, 3)
    assert answered(bad, "refuse") >= 0.85 * TRIALS and answered(bad, "accept") == 0
    assert sum(any("category, 0" in check.name for check in v.reasons if not check.passed) for v in bad) >= 0.9 * TRIALS


def test_a_smaller_model_is_promoted_unless_it_is_worse() -> None:
    assert answered(halved(copies(GROCER), GROCER, TRIALS, 4), "accept") >= 0.9 * TRIALS
    worse = -2 * Policy().worse * GROCER.champion
    assert answered(halved(better_by(GROCER, worse), GROCER, TRIALS, 5), "accept") == 0


def test_a_year_of_tries_errs_no_more_often_than_one() -> None:
    found = promoted_ever(SAMPLE, TRIALS, 1.0, 6)
    assert found["the gate's"] <= 0.12 * TRIALS and found["every try at 95 %"] >= 0.5 * TRIALS
    assert found["counted anew every 4 weeks"] >= 0.2 * TRIALS


def test_a_line_of_the_table_says_whether_the_promise_was_kept() -> None:
    assert Line("x", 5, 100, "at most 5 %").cells()[-1] == "kept" == Line("x", 80, 100, "at least 80 %").cells()[-1]
    assert Line("x", 6, 100, "at most 5 %").cells()[-1] == "BROKEN" == Line("x", 79, 100, "at least 80 %").cells()[-1]
    assert Line("x", 6, 100).cells()[-1] == ""
