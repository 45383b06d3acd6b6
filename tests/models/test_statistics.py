"""Intervals and tests, against answers that can be known beforehand."""

import numpy as np
import pytest

from models.statistics import bootstrap_mean, holm, paired_bootstrap, paired_randomisation


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
