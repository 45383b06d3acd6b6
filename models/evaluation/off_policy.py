"""What another policy would have earned, from the log of the one that showed: pure functions of arrays.

A row is an item shown at a position of a ranking, with the propensity with which the logging policy showed it there and
the reward that it got. The value of a policy is the reward of a ranking that it shows, summed over positions. A row
counts by its weight: the target's probability of showing this item here, over the propensity. That is unbiased where a
reward rests on the item, its position and who asks, and not on what stands beside it (Li 2018, 1804.10488).

    ips        inverse propensity scores                                  (Horvitz and Thompson 1952)
    snips      the same, over the sum of weights at each position         (Swaminathan and Joachims 2015)
    dm         direct method: a model of the reward; biased as it is, so nothing is concluded from it
    dr         doubly robust: the model, and the weighted rest that it missed        (Dudik 2011, 1103.4601)
    switch_dr  the same, but the model alone where the weight is above a threshold   (Wang 2017, 1612.01205)

The model is fitted without the visitors whose rewards it foretells (cross-fitting, Chernozhukov 2018). Intervals are by
bootstrap of whole visitors. Where it ends: intervals hold for the traffic of the log; a policy that changes who comes
back, or how people look, earns something else.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.statistics import Interval, bca, empirical_bernstein

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

ESTIMATORS = ("ips", "snips", "dm", "dr", "switch_dr")
PRIMARY = "dr"
DRAWS = 2_000
FOLDS = 5
_SMOOTH = 1.0  # expected rewards that a pair must have had to count as much as what is known without it


@dataclass(frozen=True)
class Log:
    """Rows in any order, all arrays (rows,). Codes count from 0; `position` is a code, too. A missing number is NaN."""

    ranking: Ints
    position: Ints
    context: Ints
    item: Ints
    visitor: Ints
    propensity: Floats
    reward: Floats

    def __len__(self) -> int:
        return len(self.ranking)


@dataclass(frozen=True)
class Target:
    """What the target policy shows: at row `row` (its ranking and position) item `item` with `probability`."""

    row: Ints
    item: Ints
    probability: Floats

    def of_the_shown(self, log: Log) -> Floats:
        """Its probability of the item that was shown, of every row of the log."""
        same = self.item == log.item[self.row]
        return np.bincount(self.row[same], self.probability[same], len(log)).astype(np.float64)


@dataclass(frozen=True)
class Limits:
    """What a log must have for a conclusion; each was chosen where tests.bench.off_policy sees coverage fall.

    `ess`: effective rankings. `tail`: rows that carry the heaviest tenth of the weight. `rewards`: effective rewarded
    rows. `visitors`: clusters to draw from. `amiss`: how far the mean weight at a position may be from 1, beyond chance
    at level `surely` over all positions.
    """

    ess: float = 50
    tail: float = 10
    rewards: float = 20
    visitors: int = 30
    amiss: float = 0.02
    surely: float = 0.999


# --- What is wrong with a log ---


def faults(log: Log, shown: Floats) -> list[str]:
    """Why nothing may be computed from these numbers, in words; empty if it may."""
    p, found = log.propensity, []
    for wrong, what in (
        (np.isnan(p), "the propensity is missing"),
        (p <= 0, "the propensity is zero or below: what was shown cannot have been impossible"),
        (p > 1, "the propensity is above one"),
        (~np.isfinite(log.reward), "the reward is missing"),
        (~((shown >= 0) & (shown <= 1 + 1e-9)), "the target's probability is not one"),
    ):
        if wrong.any():
            found.append(f"in {int(wrong.sum()):,} of {len(log):,} rows {what}")
    return found or ([] if len(log) else ["the log is empty"])


def weights_amiss(log: Log, weight: Floats, limits: Limits) -> list[str]:
    """Whether the mean weight, at a position or over all, is not 1, as it must be where propensities are true and cover
    the target; in words.

    Below 1: the target shows what the log could not have, or propensities are too high; above 1: they are too low
    (the test of the control variate: Bottou 2013; Li, Kim and Zitouni 2015). Chance is reckoned over whole visitors.
    Where it ends: in a small log a small gap looks like chance.
    """
    positions, visitors = int(log.position.max()) + 1, int(log.visitor.max()) + 1
    cell, whole = log.visitor * positions + log.position, np.ones(len(log))
    count, total = (
        np.bincount(cell, each, visitors * positions).reshape(visitors, positions) for each in (whole, weight)
    )
    count, total = (np.column_stack([each, each.sum(axis=1)]) for each in (count, total))
    there = count.sum(axis=0) > 0
    count, total = count[:, there], total[:, there]
    mean = total.sum(axis=0) / count.sum(axis=0)
    error = np.sqrt(((total - mean * count) ** 2).sum(axis=0)) / count.sum(axis=0)
    reach = limits.amiss + NormalDist().inv_cdf(1 - (1 - limits.surely) / 2 / len(mean)) * error
    worst = int(np.argmax(np.abs(mean - 1) - reach))
    if abs(mean[worst] - 1) <= reach[worst]:
        return []
    where = "on average" if worst == len(mean) - 1 else f"on average at position {np.flatnonzero(there)[worst] + 1}"
    low = mean[worst] < 1
    why = "the log does not cover the target, or propensities are too high" if low else "propensities are too low"
    return [f"weights are {mean[worst]:.3f} {where}, and must be 1: {why}"]


def never_shown(log: Log, target: Target, limits: Limits) -> list[str]:
    """Whether the target shows items that the log does not hold at all; in words."""
    share = float(target.probability[~np.isin(target.item, log.item)].sum()) / len(log)
    if share <= limits.amiss:
        return []
    return [f"the log does not cover the target: {share:.1%} of what it shows was never shown"]


def effective(values: Floats) -> float:
    """Effective sample size of weights: how many equal ones would be as good (Kish 1965).

    >>> effective(np.array([1.0, 1.0, 1.0, 0.0]))
    3.0
    """
    squares = float((values**2).sum())
    return float(values.sum() ** 2 / squares) if squares else 0.0


def tail(values: Floats, share: float = 0.1) -> int:
    """How many rows carry the heaviest `share` of the weight. Few mean that more of that kind may have been missed,
    which the effective sample size cannot see: it is at its highest in the logs that by chance hold none of them.

    >>> tail(np.array([50.0, 25.0, 25.0]), 0.1), tail(np.ones(100), 0.1)
    (1, 10)
    """
    heaviest = np.sort(values)[::-1].cumsum()
    return int(np.searchsorted(heaviest, share * heaviest[-1] * (1 - 1e-9)) + 1) if heaviest[-1] > 0 else 0


# --- The model of the reward ---


def folds_of(visitor: Ints, folds: int = FOLDS, *, seed: int = 1) -> Ints:
    """A fold for each row; rows of one visitor share it."""
    of = np.random.default_rng(seed).permutation(int(visitor.max()) + 1) % folds
    return of[visitor].astype(np.int64)


def foretold(log: Log, target: Target, *, seed: int = 1) -> tuple[Floats, Floats]:
    """The model's reward of the shown item, and of what the target shows there: (rows,) each.

    Reward of an item for a context at a position: the position's mean reward times how much more than that the pair
    got, drawn towards how much more the item got, and that towards 1 (clicks over expected clicks, Zhang and Jones
    2007). Each fold is foretold by a model of the others.
    """
    fold, items = folds_of(log.visitor, seed=seed), int(max(log.item.max(), target.item.max())) + 1
    of_shown, of_target = np.zeros(len(log)), np.zeros(len(log))
    pair, wanted = log.context * items + log.item, log.context[target.row] * items + target.item
    known, code = np.unique(pair, return_inverse=True)
    place = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
    there = known[place] == wanted
    for one in range(int(fold.max()) + 1):
        inside, asked = fold == one, np.flatnonzero(fold[target.row] == one)
        rate, ratio, of_pair = _fitted(log, ~inside, code, known % items, items)
        of_shown[inside] = rate[log.position[inside]] * of_pair[code[inside]]
        more = np.where(there[asked], of_pair[place[asked]], ratio[target.item[asked]])
        worth = target.probability[asked] * rate[log.position[target.row[asked]]] * more
        of_target += np.bincount(target.row[asked], worth, len(log))
    return of_shown, of_target


def _fitted(log: Log, taken: NDArray[np.bool_], pair: Ints, item_of: Ints, items: int) -> tuple[Floats, Floats, Floats]:
    """Mean reward of each position, and how many times that each item and each pair got."""
    positions, reward = int(log.position.max()) + 1, log.reward[taken]
    count = np.bincount(log.position[taken], minlength=positions)
    rate = np.bincount(log.position[taken], reward, positions) / np.maximum(count, 1)
    due = rate[log.position[taken]]

    def ratio(code: Ints, size: int, before: Floats | float) -> Floats:
        got, expected = np.bincount(code, reward, size), np.bincount(code, due, size)
        return np.asarray((got + _SMOOTH * before) / (expected + _SMOOTH))

    of_item = ratio(log.item[taken], items, 1.0)
    return rate, of_item, ratio(pair[taken], len(item_of), of_item[item_of])


# --- The estimates ---


def threshold(weight: Floats, residual: Floats, rankings: int, *, most: float = 1.0) -> float:
    """Above which weight the model is trusted instead: the least estimated error among a few (Wang 2017, section 3.3).

    Error: the variance of what stays weighted, and the square of the most that the model can be wrong by, which is the
    share of the target's rewards (each at most `most`) that lies above the threshold.
    """
    tried = np.unique(np.quantile(weight, [0.9, 0.95, 0.98, 0.99, 0.995, 1.0]))
    errors = []
    for at in tried:
        kept = np.where(weight <= at, residual, 0.0)
        variance = float(((kept - kept.mean()) ** 2).sum()) / rankings**2
        errors.append(variance + (most * float(weight[weight > at].sum()) / rankings) ** 2)
    return float(tried[int(np.argmin(errors))])


def _columns(log: Log, weight: Floats, model: tuple[Floats, Floats], above: float) -> Floats:
    """What estimates are made of, summed by visitor: (visitors, 6 + 3 x positions)."""
    positions, visitors = int(log.position.max()) + 1, int(log.visitor.max()) + 1
    _, first = np.unique(log.ranking, return_index=True)
    one = np.zeros(len(log))
    one[first] = 1.0
    rest = weight * (log.reward - model[0])
    plain = [one, log.reward, weight * log.reward, model[1], rest, np.where(weight <= above, rest, 0.0)]
    cell = log.visitor * positions + log.position
    return np.column_stack(
        [*(np.bincount(log.visitor, each, visitors) for each in plain)]
        + [np.bincount(cell, each, visitors * positions).reshape(visitors, positions)
           for each in (np.ones(len(log)), weight, weight * log.reward)]
    )  # fmt: skip


def _values(sums: Floats) -> Floats:
    """(n, 1 + estimators): the log's own mean, and every estimate, of each row of sums."""
    rankings, reward, weighted, model, rest, switched = sums[:, :6].T
    count, weight, earned = np.split(sums[:, 6:], 3, axis=1)
    own = (count * np.divide(earned, weight, out=np.zeros_like(earned), where=weight > 0)).sum(axis=1)
    found = np.column_stack([reward, weighted, own, model, model + rest, model + switched])
    return np.asarray(found / np.maximum(rankings, 1)[:, None])


def _drawn(sums: Floats, draws: int, seed: int) -> Floats:
    """Sums over visitors drawn again with replacement: (draws, columns)."""
    random, visitors = np.random.default_rng(seed), len(sums)
    out, step = np.empty((draws, sums.shape[1])), max(1, 2_000_000 // visitors)
    for at in range(0, draws, step):
        n = min(step, draws - at)
        cells = random.integers(0, visitors, size=(n, visitors)) + np.arange(n)[:, None] * visitors
        out[at : at + n] = np.bincount(cells.ravel(), minlength=n * visitors).reshape(n, visitors) @ sums
    return out


def estimated(
    log: Log,
    target: Target,
    *,
    limits: Limits = Limits(),
    level: float = 0.95,
    draws: int = DRAWS,
    seed: int = 1,
) -> dict[str, Any]:
    """Every estimate of the target's value with its interval, what it rests on, and whether it may be relied on.

    `estimates[NAME]`: {value, difference} as intervals; difference is to the log's own mean, drawn together with it.
    `logged` is that mean. `bernstein`: ips with an interval that needs no large numbers, as far as no weight is above
    the greatest seen. `ess`: how many rankings of the target itself would tell as much. `concluded` is False with its
    reasons in `why`; where the numbers themselves are wrong there are no estimates at all.
    """
    shown = target.of_the_shown(log)
    wrong = faults(log, shown)
    if wrong:
        return {"concluded": False, "why": wrong, "rows": len(log), "estimates": {}}
    weight, rankings = shown / log.propensity, len(np.unique(log.ranking))
    model = foretold(log, target, seed=seed)
    above = threshold(weight, weight * (log.reward - model[0]), rankings, most=float(log.reward.max() or 1.0))
    sums = _columns(log, weight, model, above)
    sums = sums[sums[:, 6 : 6 + int(log.position.max()) + 1].sum(axis=1) > 0]  # visitors without a row are none
    about = {
        "rows": len(log), "rankings": rankings, "visitors": len(sums), "rewarded": int((log.reward > 0).sum()),
        "ess": effective(weight) * rankings / len(log), "rewards_ess": effective(weight * log.reward),
        "tail": tail(weight),
        "mean_weight": float(weight.mean()), "max_weight": float(weight.max()), "threshold": above,
    }  # fmt: skip
    why = [*never_shown(log, target, limits), *weights_amiss(log, weight, limits), *_too_few(about, limits)]
    if len(sums) < 2:
        return {"concluded": False, "why": [*why, "all rows are one visitor's"], **about, "estimates": {}}
    whole = sums.sum(axis=0)
    value = _values(whole[None, :])[0]
    drawn, left_out = _values(_drawn(sums, draws, seed)), _values(whole - sums)
    low, high = bca(value, drawn, left_out, level=level)
    gap, gaps, gaps_out = (each[..., 1:] - each[..., :1] for each in (value, drawn, left_out))
    gap_low, gap_high = bca(gap, gaps, gaps_out, level=level)
    intervals = [Interval(float(m), float(a), float(b), rankings) for m, a, b in zip(value, low, high, strict=True)]
    apart = [Interval(float(m), float(a), float(b), rankings) for m, a, b in zip(gap, gap_low, gap_high, strict=True)]
    a_visitor = sums[:, 2] * len(sums) / rankings
    sure = empirical_bernstein(a_visitor, weight.max() * sums[:, 1].max() * len(sums) / rankings, level=level)
    return {
        "concluded": not why, "why": why, **about, "level": level, "logged": asdict(intervals[0]),
        "estimates": {name: {"value": asdict(each), "difference": asdict(other)}
                      for name, each, other in zip(ESTIMATORS, intervals[1:], apart, strict=True)},
        "bernstein": {**asdict(sure), "low": max(0.0, sure.low), "n": rankings},
        "says": _said(apart[ESTIMATORS.index(PRIMARY)]) if not why else "nothing",
    }  # fmt: skip


def _too_few(about: dict[str, Any], limits: Limits) -> list[str]:
    """Which numbers are too low for a conclusion."""
    return [
        f"{what} {about[name]:,.0f}, and {least:,.0f} are needed"
        for name, least, what in (
            ("visitors", limits.visitors, "visitors to draw from are"),
            ("ess", limits.ess, "effective rankings are"),
            ("tail", limits.tail, "rows carrying the heaviest tenth of the weight are"),
            ("rewards_ess", limits.rewards, "effective rewarded rows are"),
        )
        if about[name] < least
    ]


def _said(apart: Interval) -> str:
    """More, less, or neither is shown, of the target's value against the log's own."""
    return "undecided" if not apart.excludes_zero else "more" if apart.low > 0 else "less"


def beside(estimates: dict[str, Any], own: Interval, names: Sequence[str] = ESTIMATORS) -> dict[str, Any]:
    """Each estimate less the mean of a log that the target itself made, another one, so independent: the squares of
    half the two widths add up on each side (Newcombe 1998)."""
    found = {}
    for name in names:
        value = estimates[name]["value"]
        mean = value["mean"] - own.mean
        low = mean - np.hypot(value["mean"] - value["low"], own.high - own.mean)
        high = mean + np.hypot(value["high"] - value["mean"], own.mean - own.low)
        found[name] = {"mean": mean, "low": float(low), "high": float(high), "within": bool(low <= 0 <= high)}
    return found
