"""Intervals and tests. Pure: numbers in, numbers out; the same seed gives the same figures.

The unit that is drawn again is the query or the visitor, or the cluster that several of them belong
to: rows of one visitor are not independent (Sakai 2006, Smucker 2007).
"""

import functools
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

DRAWS = 10_000
TAIL = 100  # draws that each end of an interval, at least, lies on: fewer would leave it to luck
MOST_DRAWS = 100_000


@dataclass(frozen=True)
class Interval:
    """A mean, the ends of its interval, and how many values it is the mean of."""

    mean: float
    low: float
    high: float
    n: int

    @property
    def excludes_zero(self) -> bool:
        """Whether the whole interval lies on one side of zero; a bound of exactly zero does not."""
        return self.low > 0 or self.high < 0

    def as_dict(self) -> dict[str, Any]:
        """As reports hold it."""
        return asdict(self)


def _sums(
    values: NDArray[np.float64], clusters: Sequence[Any] | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sum and size of each cluster; every value is its own cluster where none are given."""
    if clusters is None:
        return values, np.ones(len(values))
    if len(clusters) != len(values):
        raise ValueError(f"{len(values)} values, but {len(clusters)} clusters")
    _, index = np.unique(np.asarray(clusters), return_inverse=True)
    return np.bincount(index, values).astype(np.float64), np.bincount(index).astype(np.float64)


@functools.cache
def expanded(level: float, count: int) -> tuple[float, float]:
    """The quantiles of bootstrapped means of `count` clusters at which an interval of this level ends.

    Those of the expanded percentile interval (Hesterberg 2015, section 5.2): means drawn again spread less than the
    mean itself, as n - 1 to n, and follow the normal law where the mean follows Student's. At 300 clusters the plain
    quantiles err 1.03 times as often as they say at 95 %, and 1.2 times far out.

    >>> [round(share, 4) for at in (10, 300) for share in expanded(0.95, at)]
    [0.0086, 0.9914, 0.0243, 0.9757]
    """
    from scipy.special import ndtr, stdtrit

    low = float(ndtr(math.sqrt(count / (count - 1)) * stdtrit(count - 1, (1 - level) / 2)))
    return low, 1 - low


def bootstrap_mean(
    values: ArrayLike, *, seed: int = 1, draws: int = DRAWS, level: float = 0.95, clusters: Sequence[Any] | None = None
) -> Interval:
    """Mean of `values` and its bootstrap interval (see `expanded`); `clusters` (one label a value) are drawn whole.

    Raises ValueError for no values, or one that is not a finite number. With one cluster alone the
    interval is the whole line: nothing can be said of another draw.
    """
    numbers = np.asarray(values, dtype=np.float64).ravel()
    if not len(numbers) or not np.isfinite(numbers).all():
        raise ValueError("a mean needs at least one value, and finite ones")
    sums, sizes = _sums(numbers, clusters)
    mean, count = float(numbers.mean()), len(sums)
    if count < 2:
        return Interval(mean, -np.inf, np.inf, len(numbers))
    random = np.random.default_rng(seed)
    means = np.empty(draws)
    step = max(1, 2_000_000 // count)  # 16 MB of indices at a time
    for at in range(0, draws, step):
        drawn = random.integers(0, count, size=(min(step, draws - at), count))
        means[at : at + len(drawn)] = sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    low, high = np.quantile(means, expanded(level, count))
    return Interval(mean, float(low), float(high), len(numbers))


def draws_for(level: float) -> int:
    """How many draws an interval of this level needs: its ends must not rest on a handful of them.

    >>> draws_for(0.95), draws_for(0.999)
    (10000, 100000)
    """
    return min(MOST_DRAWS, max(DRAWS, math.ceil(2 * TAIL / max(1 - level, 1e-9))))


def _differences(a: ArrayLike, b: ArrayLike) -> NDArray[np.float64]:
    first, second = np.asarray(a, dtype=np.float64).ravel(), np.asarray(b, dtype=np.float64).ravel()
    if len(first) != len(second):
        raise ValueError(f"pairs need equal lengths, not {len(first)} and {len(second)}")
    return first - second


def paired_bootstrap(
    a: ArrayLike,
    b: ArrayLike,
    *,
    seed: int = 1,
    draws: int = DRAWS,
    level: float = 0.95,
    clusters: Sequence[Any] | None = None,
) -> Interval:
    """Mean of a - b over the same queries or visitors, in the same order, with its interval."""
    return bootstrap_mean(_differences(a, b), seed=seed, draws=draws, level=level, clusters=clusters)


def paired_randomisation(
    a: ArrayLike,
    b: ArrayLike,
    *,
    seed: int = 1,
    draws: int = DRAWS,
    clusters: Sequence[Any] | None = None,
    alternative: Literal["two-sided", "less"] = "two-sided",
) -> float:
    """p of Fisher's randomisation test: how often flipped signs differ at least as much as a - b.

    With "less" only those count that lie as far below zero: a small p says that a is surely less than b. Never below
    1 / (draws + 1), since the observed assignment counts as one (Smucker 2007). With `clusters` the sign of a whole
    cluster is flipped.
    """
    differences = _differences(a, b)
    if not len(differences):
        raise ValueError("a test needs at least one pair")
    sums, _ = _sums(differences, clusters)
    two = alternative == "two-sided"
    observed, random, hits = abs(sums.sum()) if two else -sums.sum(), np.random.default_rng(seed), 0
    step = max(1, 2_000_000 // len(sums))
    for at in range(0, draws, step):
        signs = random.integers(0, 2, size=(min(step, draws - at), len(sums)), dtype=np.int8) * 2.0 - 1.0
        flipped = signs @ sums
        hits += int(((np.abs(flipped) if two else -flipped) >= observed - 1e-12).sum())
    return (hits + 1) / (draws + 1)


def surely_worse(
    a: ArrayLike,
    b: ArrayLike,
    margin: float,
    *,
    seed: int = 1,
    draws: int = DRAWS,
    clusters: Sequence[Any] | None = None,
) -> float:
    """One-sided p of the hypothesis that a is at most `margin` worse than b in the mean; small says it is worse still.

    The differences are moved by the margin, so that the hypothesis' border lies at zero, and their signs are flipped.
    Exact where differences lie evenly about their mean, and near it for tens of them.
    """
    return paired_randomisation(
        _differences(a, b) + margin, 0 * _differences(a, b), seed=seed, draws=draws, clusters=clusters,
        alternative="less",
    )  # fmt: skip


def standard_error(values: ArrayLike, clusters: Sequence[Any] | None = None) -> float:
    """Standard error of the mean of `values`, clusters counting as one draw each; infinite for fewer than two."""
    numbers = np.asarray(values, dtype=np.float64).ravel()
    sums, sizes = _sums(numbers, clusters)
    if len(sums) < 2:
        return math.inf
    residuals = sums - numbers.mean() * sizes
    return float(np.sqrt((residuals**2).sum() * len(sums) / (len(sums) - 1))) / len(numbers)


def detectable(
    a: ArrayLike, b: ArrayLike, *, level: float = 0.95, power: float = 0.8, clusters: Sequence[Any] | None = None
) -> float:
    """The smallest true difference that a two-sided paired comparison of this size shows with this `power`.

    By the normal law, from the spread of the differences that were seen (Cohen 1988; Sakai 2016). Infinite for fewer
    than two clusters: one alone shows nothing.

    >>> round(detectable([0.1, -0.1] * 50, [0.0] * 100), 4)
    0.0282
    """
    law = NormalDist()
    reach = law.inv_cdf((1 + level) / 2) + law.inv_cdf(power)
    return reach * standard_error(_differences(a, b), clusters)


def auc(positives: ArrayLike, negatives: ArrayLike, *, level: float = 0.95) -> Interval:
    """Probability that a positive scores above a negative, ties one half, with its interval (DeLong 1988).

    `n` is the smaller group's size. Raises ValueError for a group of fewer than two, or a number that is not finite.

    >>> auc([3, 4, 5], [0, 1, 3]).mean.__round__(4)
    0.9444
    """
    above, below = (np.asarray(values, dtype=np.float64).ravel() for values in (positives, negatives))
    if min(len(above), len(below)) < 2 or not (np.isfinite(above).all() and np.isfinite(below).all()):
        raise ValueError("an area under the curve needs two finite numbers of each kind")
    mine, theirs = placements(above, below), 1 - placements(below, above)
    mean = float(mine.mean())
    spread = float(np.sqrt(mine.var(ddof=1) / len(mine) + theirs.var(ddof=1) / len(theirs)))
    reach = NormalDist().inv_cdf((1 + level) / 2) * spread
    return Interval(mean, max(0.0, mean - reach), min(1.0, mean + reach), min(len(above), len(below)))


def placements(values: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """For each value the share of `others` below it, equal ones by half."""
    order = np.sort(others)
    left, right = np.searchsorted(order, values, "left"), np.searchsorted(order, values, "right")
    return (left + right) / (2 * len(order))


def bca(
    value: NDArray[np.float64],
    drawn: NDArray[np.float64],
    left_out: NDArray[np.float64],
    *,
    level: float = 0.95,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Ends of the bias-corrected and accelerated bootstrap interval of several figures at once (Efron 1987).

    `value` (figures,) are the figures, `drawn` (draws, figures) those of the bootstrap, `left_out` (clusters, figures)
    those without one cluster each. Few large weights among many small ones make figures skewed: the percentile interval
    is then too short on the side where the truth is, and this one less so. A figure that no draw changes has no width.
    """
    normal = NormalDist()
    low, high = np.empty_like(value), np.empty_like(value)
    below = ((drawn < value).sum(axis=0) + 0.5 * (drawn == value).sum(axis=0)) / len(drawn)
    gaps = left_out.mean(axis=0) - left_out
    spread = (gaps**2).sum(axis=0) ** 1.5
    bent = np.divide((gaps**3).sum(axis=0), 6 * spread, out=np.zeros_like(spread), where=spread > 0)
    for figure, share in enumerate(below):
        bias = normal.inv_cdf(min(max(share, 0.5 / len(drawn)), 1 - 0.5 / len(drawn)))
        ends = []
        for end in ((1 - level) / 2, (1 + level) / 2):
            moved = bias + normal.inv_cdf(end)
            ends.append(normal.cdf(bias + moved / max(1 - bent[figure] * moved, 0.05)))
        low[figure], high[figure] = np.quantile(drawn[:, figure], ends)
    return low, high


def empirical_bernstein(values: ArrayLike, span: float, *, level: float = 0.95) -> Interval:
    """Mean of independent `values` that lie within `span`, with an interval that holds for every number of them
    (Maurer and Pontil 2009, theorem 4, on both sides). It is wide, and asks for no normality and no bootstrap."""
    numbers = np.asarray(values, dtype=np.float64).ravel()
    if len(numbers) < 2 or not np.isfinite(numbers).all():
        raise ValueError("an interval needs at least two values, and finite ones")
    log = np.log(2 / ((1 - level) / 2))
    reach = np.sqrt(2 * numbers.var(ddof=1) * log / len(numbers)) + 7 * span * log / (3 * (len(numbers) - 1))
    mean = float(numbers.mean())
    return Interval(mean, float(mean - reach), float(mean + reach), len(numbers))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p values, in the order given (Holm 1979).

    >>> [round(p, 6) for p in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]
    """
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted
