"""Intervals and tests. Pure: numbers in, numbers out; the same seed gives the same figures.

The unit that is drawn again is the query or the visitor, or the cluster that several of them belong
to: rows of one visitor are not independent (Sakai 2006, Smucker 2007).
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

DRAWS = 10_000


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


def bootstrap_mean(
    values: ArrayLike, *, seed: int = 1, draws: int = DRAWS, level: float = 0.95, clusters: Sequence[Any] | None = None
) -> Interval:
    """Mean of `values` and its percentile bootstrap interval; `clusters` (one label a value) are drawn whole.

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
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(mean, float(low), float(high), len(numbers))


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
    a: ArrayLike, b: ArrayLike, *, seed: int = 1, draws: int = DRAWS, clusters: Sequence[Any] | None = None
) -> float:
    """Two-sided p of Fisher's randomisation test: how often flipped signs differ at least as much as a - b.

    Never below 1 / (draws + 1), since the observed assignment counts as one (Smucker 2007). With
    `clusters` the sign of a whole cluster is flipped.
    """
    differences = _differences(a, b)
    if not len(differences):
        raise ValueError("a test needs at least one pair")
    sums, _ = _sums(differences, clusters)
    observed, random, hits = abs(sums.sum()), np.random.default_rng(seed), 0
    step = max(1, 2_000_000 // len(sums))
    for at in range(0, draws, step):
        signs = random.integers(0, 2, size=(min(step, draws - at), len(sums)), dtype=np.int8) * 2.0 - 1.0
        hits += int((np.abs(signs @ sums) >= observed - 1e-12).sum())
    return (hits + 1) / (draws + 1)


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
