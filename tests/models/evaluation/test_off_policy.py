"""Off-policy estimates: by hand, against a known value, and never a conclusion from numbers that do not bear it."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from jobs.simulator import shop
from jobs.simulator.ranking import SHOWN, show
from models.evaluation.off_policy import (
    ESTIMATORS,
    Floats,
    Ints,
    Limits,
    Log,
    Target,
    beside,
    estimated,
    folds_of,
    threshold,
    weights_amiss,
)
from models.statistics import Interval
from tests.bench.off_policy import bandit, covered, rankings

TRIFLES = Limits(ess=0, tail=0, rewards=0, visitors=0)


def single(items: list[int], propensity: list[float], reward: list[float]) -> Log:
    """Impressions at one position, each of a visitor of its own."""
    n = len(items)
    return Log(np.arange(n), np.zeros(n, np.int64), np.zeros(n, np.int64), np.array(items), np.arange(n),
               np.array(propensity), np.array(reward))  # fmt: skip


def always(item: int, log: Log) -> Target:
    """The policy that shows this item everywhere."""
    return Target(np.arange(len(log)), np.full(len(log), item), np.ones(len(log)))


def test_estimates_by_hand() -> None:
    log = single([0, 0, 1, 1], [0.5, 0.5, 0.5, 0.25], [1, 0, 1, 0])
    found = estimated(log, always(1, log), limits=TRIFLES)
    value = {name: found["estimates"][name]["value"]["mean"] for name in ESTIMATORS}
    assert found["logged"]["mean"] == pytest.approx(0.5)
    assert value["ips"] == pytest.approx((2 * 1 + 4 * 0) / 4)  # weights 0, 0, 2, 4
    assert value["snips"] == pytest.approx(2 / 6)
    assert found["estimates"]["ips"]["difference"]["mean"] == pytest.approx(0.0)
    assert found["ess"] == pytest.approx(6**2 / (4 + 16))
    assert (found["max_weight"], found["mean_weight"], found["rewards_ess"]) == (4.0, 1.5, 1.0)


def test_a_ranking_earns_the_sum_of_its_positions() -> None:
    """Two rankings of two: swapped with probability 0.5; the target never swaps. Item 0 is clicked at the top alone."""
    log = Log(np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1]), np.zeros(4, np.int64), np.array([0, 1, 1, 0]),
              np.array([0, 0, 1, 1]), np.full(4, 0.5), np.array([1.0, 0, 0, 0]))  # fmt: skip
    target = Target(np.arange(4), np.array([0, 1, 0, 1]), np.ones(4))
    found = estimated(log, target, limits=TRIFLES)["estimates"]
    assert found["ips"]["value"]["mean"] == pytest.approx(1.0)  # 2 x 1 click over two rankings
    assert found["snips"]["value"]["mean"] == pytest.approx(1.0)  # at position 1 2/2 a ranking, at 2 nothing


def test_the_logging_policy_itself_has_weights_of_one() -> None:
    world = bandit("near", 60, 10, 0.1, 1.0, 1.5)
    log, _ = world.draw(np.random.default_rng(1))
    target = Target(np.arange(len(log)), log.item, log.propensity)
    found = estimated(log, target)
    for name in ("ips", "snips"):
        assert found["estimates"][name]["value"]["mean"] == pytest.approx(found["logged"]["mean"])
        assert found["estimates"][name]["difference"] == {
            end: pytest.approx(0, abs=1e-12) if end != "n" else len(log) for end in ("mean", "low", "high", "n")
        }
    assert found["ess"] == pytest.approx(len(log))


def test_the_model_alone_decides_above_the_threshold() -> None:
    weight, residual = np.array([*[1.0] * 99, 500.0]), np.array([*[0.01] * 99, 500.0])
    assert threshold(weight, residual, 100) == 500.0  # dropping the heavy row could hide 5 rewards a ranking
    assert threshold(weight, residual, 100, most=1e-3) < 500.0  # unless rewards are tiny


def test_what_is_foretold_of_a_visitor_was_not_learnt_from_them() -> None:
    visitor = np.repeat(np.arange(50), 3)
    fold = folds_of(visitor)
    assert all(len(set(fold[visitor == one])) == 1 for one in range(50))
    assert sorted(np.bincount(fold)) == [30] * 5


# --- Numbers that bear no conclusion ---


@pytest.mark.parametrize(
    ("broken", "why"),
    [(np.nan, "missing"), (0.0, "zero"), (-0.2, "zero or below"), (1.5, "above one")],
    ids=["missing", "zero", "negative", "above one"],
)
def test_a_propensity_that_is_none_stops_the_estimate(broken: float, why: str) -> None:
    log, target = bandit("near", 60, 10, 0.1, 1.0, 1.5).draw(np.random.default_rng(1))
    propensity = log.propensity.copy()
    propensity[7] = broken
    found = estimated(replace(log, propensity=propensity), target)
    assert (found["concluded"], found["estimates"]) == (False, {})
    assert why in found["why"][0] and f"in 1 of {len(log)} rows" in found["why"][0]


def test_an_empty_log_and_a_missing_reward_stop_the_estimate() -> None:
    log, target = bandit("near", 60, 10, 0.1, 1.0, 1.5).draw(np.random.default_rng(1))
    reward = log.reward.copy()
    reward[3] = np.nan
    assert "reward is missing" in estimated(replace(log, reward=reward), target)["why"][0]
    none = Log(*(getattr(log, name)[:0] for name in Log.__dataclass_fields__))
    assert estimated(none, Target(*(np.array([]).astype(kind) for kind in (int, int, float))))["why"] == [
        "the log is empty"]  # fmt: skip


def test_a_log_without_chance_covers_no_other_policy() -> None:
    log, target = rankings("shuffled", 100, "uniform").draw(np.random.default_rng(1))
    found = estimated(replace(log, propensity=np.ones(len(log))), target)
    assert not found["concluded"] and "does not cover the target" in found["why"][0]


def test_a_target_that_shows_what_was_never_shown_is_not_covered() -> None:
    log, target = rankings("shuffled", 100, "uniform").draw(np.random.default_rng(1))
    elsewhere = replace(target, item=np.where(target.item == 0, SHOWN, target.item))
    found = estimated(log, elsewhere)
    assert not found["concluded"] and "does not cover the target" in " ".join(found["why"])


@pytest.mark.parametrize(("factor", "why"), [(0.8, "too low"), (1.2, "too high")], ids=["too low", "too high"])
def test_propensities_that_are_not_true_are_found_out(factor: float, why: str) -> None:
    log, target = rankings("shuffled", 1500, "uniform").draw(np.random.default_rng(1))
    limits = Limits()
    assert weights_amiss(log, target.of_the_shown(log) / log.propensity, limits) == []
    wrong = np.minimum(log.propensity * factor, 1.0)
    assert why in weights_amiss(log, target.of_the_shown(log) / wrong, limits)[0]


def test_too_few_effective_rankings_conclude_nothing_but_show_their_intervals() -> None:
    log, target = rankings("reordered, few", 100, "order").draw(np.random.default_rng(1))
    found = estimated(log, target)
    assert not found["concluded"] and found["says"] == "nothing"
    assert any("effective rankings are" in why for why in found["why"])
    assert set(found["estimates"]) == set(ESTIMATORS)


def test_one_visitor_alone_says_nothing_of_another() -> None:
    log = single([0, 1], [0.5, 0.5], [1, 0])
    log = replace(log, visitor=np.zeros(2, np.int64))
    found = estimated(log, always(1, log), limits=TRIFLES)
    assert (found["concluded"], found["estimates"]) == (False, {}) and found["why"] != []


# --- Intervals ---


def test_intervals_hold_the_known_value() -> None:
    """A small run of tests.bench.off_policy: 120 logs; a true 95 % gives 107 or more in 99.5 of 100 such runs."""
    for world in (bandit("near", 150, 10, 0.1, 1.0, 1.5), rankings("shuffled", 120, "uniform")):
        lines = {line["estimator"]: line for line in covered(world, 120)}
        for name in ("ips", "snips", "dr", "switch_dr"):
            assert lines[name]["coverage"] >= 107 / 120, (world.name, name)
        assert lines["bernstein"]["coverage"] == 1.0
        assert lines["dm"]["coverage"] < 0.8, "the model alone is not to be relied on, and the bench has to see it"


def test_the_same_log_gives_the_same_figures() -> None:
    log, target = bandit("near", 60, 10, 0.1, 1.0, 1.5).draw(np.random.default_rng(1))
    assert estimated(log, target) == estimated(log, target)


def test_rows_in_another_order_give_the_same_figures() -> None:
    log, target = rankings("shuffled", 60, "uniform").draw(np.random.default_rng(1))
    order = np.random.default_rng(2).permutation(len(log))
    place = np.argsort(order)
    moved = Log(*(getattr(log, name)[order] for name in Log.__dataclass_fields__))
    one, other = estimated(log, target), estimated(moved, replace(target, row=place[target.row]))
    for name in ESTIMATORS:
        assert one["estimates"][name]["value"] == pytest.approx(other["estimates"][name]["value"])


def test_a_log_of_its_own_is_within_or_not() -> None:
    estimates = {name: {"value": {"mean": 1.0, "low": 0.7, "high": 1.4}} for name in ESTIMATORS}
    apart = beside(estimates, Interval(0.5, 0.1, 0.9, 10))["ips"]
    assert (apart["low"], apart["high"]) == (pytest.approx(0.0), pytest.approx(0.5 + np.hypot(0.4, 0.4)))
    assert not beside(estimates, Interval(0.4, 0.1, 0.6, 10))["ips"]["within"]


# --- Logged propensities are true frequencies ---


def unlikely(shown: Ints, propensity: Floats) -> float:
    """The least p, over positions, of Pearson's chi-square test that items stand there as often as was logged; times
    the number of positions (Bonferroni). `shown` and `propensity` are (rankings, positions) of one query."""
    from scipy.stats import chisquare

    found = []
    for position in range(shown.shape[1]):
        items, first, counts = np.unique(shown[:, position], return_index=True, return_counts=True)
        logged = propensity[first, position]
        assert np.allclose(logged[np.searchsorted(items, shown[:, position])], propensity[:, position]), "not one each"
        if not np.isclose(logged.sum(), 1):
            return 0.0
        found.append(chisquare(counts, logged / logged.sum() * counts.sum()).pvalue)
    return min(1.0, min(found) * len(found))


def broken_base(shown: Ints, propensity: Floats) -> Floats:
    """As if what stands in place were shown with 0.80, and the rest with 1/45."""
    return np.where(propensity > 0.5, 0.80, 0.2 / 9)


def broken_positions(shown: Ints, propensity: Floats) -> Floats:
    """As if the ranking were drawn with more chance at the top than it was."""
    told = propensity.copy()
    told[:, 0] = np.where(propensity[:, 0] > 0.5, 0.73, 0.03)
    return told


def test_the_logged_propensities_are_true_frequencies() -> None:
    base = shop.world(1).base[5, 3]
    shown, propensity = show(np.random.default_rng(11), np.tile(base, (40_000, 1)))
    assert unlikely(shown, propensity) > 0.01


@pytest.mark.parametrize("broken", [broken_base, broken_positions], ids=["everywhere", "at the top"])
def test_propensities_that_are_broken_are_seen(broken: Callable[[Ints, Floats], Floats]) -> None:
    base = shop.world(1).base[5, 3]
    shown, propensity = show(np.random.default_rng(11), np.tile(base, (40_000, 1)))
    assert unlikely(shown, broken(shown, propensity)) < 1e-6


def test_the_bench_knows_its_own_truth() -> None:
    """The known value is what the target would earn if it showed: played out, not computed."""
    world = rankings("reordered", 1_000, "order")
    log, target = world.draw(np.random.default_rng(3))
    played: Any = replace(log, propensity=np.ones(len(log)))
    shown_as_wanted = target.of_the_shown(log) == 1.0
    earned = [played.reward[shown_as_wanted & (log.position == k)].mean() for k in range(SHOWN)]
    assert sum(earned) == pytest.approx(world.value, abs=0.1)
