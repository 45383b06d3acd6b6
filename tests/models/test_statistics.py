"""Intervals and tests, against answers that can be known beforehand."""

import numpy as np
import pytest

from models.statistics import (
    bootstrap_mean,
    detectable,
    draws_for,
    holm,
    paired_bootstrap,
    paired_randomisation,
    standard_error,
    surely_worse,
)


def test_a_constant_has_an_interval_of_no_width() -> None:
    found = bootstrap_mean([2.0] * 10)
    assert (found.mean, found.low, found.high, found.n) == (2.0, 2.0, 2.0, 10)


def test_the_interval_is_that_of_the_normal_law_for_many_values() -> None:
    values = np.random.default_rng(0).normal(size=2000)
    found, error = bootstrap_mean(values), values.std() / np.sqrt(2000)
    assert found.low == pytest.approx(values.mean() - 1.96 * error, abs=0.1 * error)
    assert found.high == pytest.approx(values.mean() + 1.96 * error, abs=0.1 * error)


def test_it_covers_the_truth_about_as_often_as_it_says() -> None:
    random = np.random.default_rng(1)
    samples = (bootstrap_mean(random.normal(size=60), draws=500) for _ in range(200))
    hits = sum(found.low <= 0 <= found.high for found in samples)
    assert 178 <= hits <= 199  # 95% of 200 is 190


def test_ends_far_out_are_those_of_students_law_and_not_nearer() -> None:
    """Twelve values of the normal law: plain quantiles of draws would err in 5 % where 2.5 % are promised."""
    random = np.random.default_rng(5)
    samples = [bootstrap_mean(random.normal(size=12), draws=2000) for _ in range(1000)]
    assert 12 <= sum(found.low > 0 for found in samples) <= 40  # 2.5 % of 1,000, four standard errors


def test_the_same_seed_gives_the_same_figures_and_another_gives_others() -> None:
    values = [0.0, 1.0, 5.0, 2.0, 9.0]
    assert bootstrap_mean(values, seed=3) == bootstrap_mean(values, seed=3)
    assert bootstrap_mean(list(range(50)), seed=3) != bootstrap_mean(list(range(50)), seed=4)


def test_rows_of_one_cluster_do_not_count_as_so_many_proofs() -> None:
    values = np.repeat(np.random.default_rng(2).normal(size=20), 50)
    naive, honest = bootstrap_mean(values), bootstrap_mean(values, clusters=np.repeat(range(20), 50))
    assert honest.mean == naive.mean
    assert (honest.high - honest.low) > 5 * (naive.high - naive.low)


def test_one_cluster_alone_proves_nothing() -> None:
    assert not bootstrap_mean([1.0, 2.0], clusters=["a", "a"]).excludes_zero


def test_pairs_are_compared_one_by_one() -> None:
    base = np.random.default_rng(3).normal(scale=100, size=200)
    found = paired_bootstrap(base + 0.1, base)
    assert found.excludes_zero and found.mean == pytest.approx(0.1)
    assert not paired_bootstrap(base, base).excludes_zero


@pytest.mark.parametrize("bad", [[], [1.0, float("nan")], [float("inf")]])
def test_no_interval_of_nothing_or_of_what_is_no_number(bad: list[float]) -> None:
    with pytest.raises(ValueError):
        bootstrap_mean(bad)


def test_pairs_and_clusters_must_be_as_many() -> None:
    with pytest.raises(ValueError):
        paired_bootstrap([1.0], [1.0, 2.0])
    with pytest.raises(ValueError):
        bootstrap_mean([1.0, 2.0], clusters=["a"])


def test_randomisation_agrees_with_counting_all_signs() -> None:
    # 4 differences of +1: of the 16 assignments of signs, 2 reach |sum| = 4.
    assert paired_randomisation([1, 1, 1, 1], [0, 0, 0, 0]) == pytest.approx(2 / 16, abs=0.01)
    assert paired_randomisation([1, 0], [0, 1]) == 1.0


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.9]) == [1.0, 1.0]


def test_one_sided_randomisation_agrees_with_counting_all_signs() -> None:
    # 4 differences of -1: of the 16 assignments of signs one lies as far below zero; all lie at or above their own sum.
    assert paired_randomisation([0] * 4, [1] * 4, alternative="less") == pytest.approx(1 / 16, abs=0.01)
    assert paired_randomisation([1] * 4, [0] * 4, alternative="less") == 1.0


def test_worse_is_proven_only_beyond_the_margin() -> None:
    base = np.random.default_rng(11).random(300)
    worse = base - 0.05 + np.random.default_rng(12).normal(0, 0.05, 300)
    assert surely_worse(worse, base, 0.02) < 0.001
    assert surely_worse(worse, base, 0.08) > 0.99
    assert surely_worse(base, base, 0.0) == 1.0


def test_at_the_margin_itself_it_errs_as_often_as_it_says() -> None:
    random, found = np.random.default_rng(13), 0
    for _ in range(400):
        found += surely_worse(random.normal(-0.02, 0.1, 60), np.zeros(60), 0.02, draws=500) < 0.05
    assert 8 <= found <= 34  # 5 % of 400 are 20, give or take 4.4


def test_clusters_are_one_draw_each_for_the_standard_error() -> None:
    values = np.random.default_rng(14).normal(size=400)
    assert standard_error(values) == pytest.approx(values.std(ddof=1) / 20)
    repeated = np.repeat(values[:20], 30)
    assert standard_error(repeated, np.repeat(range(20), 30).tolist()) == pytest.approx(standard_error(values[:20]))
    assert standard_error([1.0, 2.0], ["a", "a"]) == np.inf


def test_the_detectable_difference_is_seen_four_times_of_five() -> None:
    random, hits, trials = np.random.default_rng(15), 0, 400
    spread = random.normal(0, 0.1, 100)
    truth = detectable(spread, np.zeros(100), level=0.95, power=0.8) / (spread.std(ddof=1) / 0.1)
    for _ in range(trials):
        values = random.normal(truth, 0.1, 100)
        hits += paired_bootstrap(values, np.zeros(100), draws=500).low > 0
    assert 0.74 <= hits / trials <= 0.87


def test_a_stricter_interval_draws_more() -> None:
    assert draws_for(0.95) == 10_000 < draws_for(0.99) < draws_for(0.999) <= draws_for(1.0)
