"""Candidate beside champion: what the reports of all bundles say in the same words. Pure, but for the clock."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from models.bundle import Bundle
from models.evaluation.metrics import Grades, coverage, intra_list, novelty, serendipity
from models.statistics import detectable, draws_for, paired_bootstrap, paired_randomisation

LEVEL = 0.95
POWER = 0.8
Q = TypeVar("Q")
Figures = Mapping[str, Sequence[float]]
"""Metric -> its figure of each question."""


def paired(
    metric: str,
    candidate: Sequence[float],
    champion: Sequence[float],
    *,
    clusters: Sequence[Any] | None = None,
    level: float = LEVEL,
) -> dict[str, Any]:
    """The proof: candidate less champion over the same queries or visitors, and what the test could have shown.

    `paired` holds the mean difference, its interval at `level`, the two-sided p of the randomisation test and the
    standard deviation of the differences; `power` the smallest true difference that would have been shown with a
    chance of 80 %.
    """
    spread = np.subtract(candidate, champion).std(ddof=1) if len(candidate) > 1 else None
    draws = draws_for(level)
    found = paired_bootstrap(candidate, champion, level=level, draws=draws, clusters=clusters).as_dict()
    p = paired_randomisation(candidate, champion, draws=draws, clusters=clusters)
    least = detectable(candidate, champion, level=level, power=POWER, clusters=clusters)
    return {
        "paired": {"metric": metric, **{name: finite(value) for name, value in found.items()}, "p": p, "level": level,
                   "deltas_sd": None if spread is None else float(spread)},
        "power": {"detectable": finite(least), "level": level, "power": POWER, "n": len(candidate)},
    }  # fmt: skip


def finite(value: float) -> float | None:
    """A number as reports hold it: JSON knows no infinity, and None is what nothing can be said of."""
    return value if np.isfinite(value) else None


def beyond_right(
    rankings: Mapping[Q, Sequence[Any]],
    truths: Mapping[Q, Grades],
    obvious: Mapping[Q, Sequence[Any]],
    *,
    share: Callable[[Any], float],
    shelf: Callable[[Any], Sequence[str | None]],
    items: int,
    k: int,
) -> dict[str, float]:
    """Diversity of answers: distance within a list, coverage of all `items`, novelty in bits, serendipity.

    `shelf` names where an item stands, from the floor to the shelf; `share` is its part of all purchases, above 0.
    `obvious` are the answers of the plain system that everybody would have thought of.
    """

    def mean(values: Iterable[float]) -> float:
        return float(np.mean(list(values)))

    def distance(a: Any, b: Any) -> float:
        return apart(shelf(a), shelf(b))

    relevant = {one: {item for item, grade in grades.items() if grade > 0} for one, grades in truths.items()}
    return {
        "intra_list": mean(intra_list(ranked, distance, k) for ranked in rankings.values()),
        "coverage": coverage(rankings.values(), items, k),
        "novelty": mean(novelty(ranked, share, k) for ranked in rankings.values()),
        "serendipity": mean(serendipity(rankings.get(one, ()), relevant[one], obvious[one][:k], k) for one in relevant),
    }


def apart(a: Sequence[str | None], b: Sequence[str | None]) -> float:
    """How far two items stand from each other: the share of their levels that differ (after Ziegler 2005).

    What is not known differs from everything.

    >>> apart(("Grocery", "Tea"), ("Grocery", "Coffee"))
    0.5
    """
    return sum(x is None or x != y for x, y in zip(a, b, strict=True)) / len(a)


def sizes(bundles: Mapping[str, Bundle]) -> dict[str, int]:
    """Bytes of each bundle's files."""
    return {role: sum(path.stat().st_size for path in bundle.folder.glob("*")) for role, bundle in bundles.items()}


def latencies(asks: Mapping[str, Callable[[Q], Any]], questions: Sequence[Q], warm: int = 1) -> dict[str, Any]:
    """p50 and p99 of one answer after another, ms, of each system by the way that serving takes; `n` answers each.

    The systems take turns at each question, so that whatever else the machine does falls on all alike. The first
    `warm` questions are asked once beforehand, and do not count.
    """
    taken: dict[str, list[float]] = {name: [] for name in asks}
    for place, question in enumerate([*questions[:warm], *questions]):
        for name, ask in asks.items():
            began = time.perf_counter()
            ask(question)
            if place >= min(warm, len(questions)):
                taken[name].append(1000 * (time.perf_counter() - began))
    return {name: {"p50": round(float(np.percentile(each, 50)), 2), "p99": round(float(np.percentile(each, 99)), 2),
                   "n": len(each)} for name, each in taken.items()}  # fmt: skip


def reproduced(metric: str, first: Figures, again: Figures) -> dict[str, Any]:
    """Whether every figure of every question was the same when the candidate was opened and asked anew.

    `again` may hold the first questions only: `n` says how many were asked twice. `first` and `again` of what is
    returned are the means of `metric` over these.
    """
    count = len(again[metric])
    same = first.keys() == again.keys() and all(list(first[name][:count]) == list(again[name]) for name in again)
    means = [float(np.mean(figures[metric][:count])) for figures in (first, again)]
    return {"same": same, "first": means[0], "again": means[1], "n": count}
