"""Metrics: pure functions of what was answered and of what is true. Checked against ir-measures and scikit-learn.

A ranking and its grades give one figure; `measured` gives those of two whole tables, rankings and truths. Gains are
the grades themselves, what nobody judged is 0, relevant is a grade above 0, and the discount is 1 / log2(position + 1):
the measures of trec_eval. A ranking is taken as it comes; an id that stands twice counts at its first place only.
"""

import math
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.statistics import placements

Grades = Mapping[Any, float]
"""Item -> grade; relevant above 0."""


# --- One ranking ---


def _first_places(ranked: Sequence[Any], k: int) -> list[Any]:
    """The first `k` ids, each once."""
    return list(dict.fromkeys(ranked))[:k]


def dcg(gains: Iterable[float]) -> float:
    """Discounted cumulative gain (Järvelin and Kekäläinen 2002).

    >>> round(dcg([3, 2]), 4)
    4.2619
    """
    return sum(gain / math.log2(place + 2) for place, gain in enumerate(gains))


def ndcg(ranked: Sequence[Any], grades: Grades, k: int) -> float:
    """DCG of the first `k` over the best that was possible; 0 where nothing is relevant.

    >>> ndcg(["b", "a"], {"a": 1}, 10) == 1 / math.log2(3)
    True
    """
    best = dcg(sorted((grade for grade in grades.values() if grade > 0), reverse=True)[:k])
    return dcg(max(0, grades.get(item, 0)) for item in _first_places(ranked, k)) / best if best else 0.0


def recall(ranked: Sequence[Any], relevant: Collection[Any], k: int) -> float:
    """Share of the relevant that is among the first `k`; 0 where nothing is relevant."""
    wanted = set(relevant)
    return len(wanted & set(_first_places(ranked, k))) / len(wanted) if wanted else 0.0


def precision(ranked: Sequence[Any], relevant: Collection[Any], k: int) -> float:
    """Share of the first `k` places that hold something relevant; an empty place holds nothing."""
    return len(set(relevant) & set(_first_places(ranked, k))) / k


def mrr(ranked: Sequence[Any], relevant: Collection[Any], k: int) -> float:
    """One over the place of the first relevant among the first `k`; 0 if there is none."""
    wanted = set(relevant)
    return next((1 / place for place, item in enumerate(_first_places(ranked, k), 1) if item in wanted), 0.0)


def average_precision(ranked: Sequence[Any], relevant: Collection[Any], k: int) -> float:
    """Precision at the place of each relevant item of the first `k`, over all that are relevant; its mean is MAP.

    >>> average_precision(["a", "x", "b"], {"a", "b"}, 10) == (1 + 2 / 3) / 2
    True
    """
    wanted, found, total = set(relevant), 0, 0.0
    for place, item in enumerate(_first_places(ranked, k), 1):
        if item in wanted:
            found += 1
            total += found / place
    return total / len(wanted) if wanted else 0.0


def hit(ranked: Sequence[Any], relevant: Collection[Any], k: int) -> float:
    """1 if something relevant is among the first `k`, else 0; its mean is the hit rate."""
    return float(not set(relevant).isdisjoint(_first_places(ranked, k)))


# --- Two tables: rankings and truths ---


def _of_relevant(measure: Callable[[Sequence[Any], Collection[Any], int], float]) -> Callable[..., float]:
    return lambda ranked, grades, k: measure(ranked, {item for item, grade in grades.items() if grade > 0}, k)


MEASURES: Mapping[str, Callable[[Sequence[Any], Grades, int], float]] = {
    "ndcg": ndcg, "recall": _of_relevant(recall), "precision": _of_relevant(precision), "mrr": _of_relevant(mrr),
    "map": _of_relevant(average_precision), "hit": _of_relevant(hit),
}  # fmt: skip


def measured(
    names: Iterable[str], rankings: Mapping[Any, Sequence[Any]], truths: Mapping[Any, Grades]
) -> dict[str, list[float]]:
    """Each of the measures `names` ("ndcg@10") of every question that has a truth, in the order of `truths`.

    A question that was not answered scores as an empty ranking: leaving it out would flatter whoever kept silent. What
    was answered without a truth does not count. Raises ValueError for a measure that is not among MEASURES.

    >>> measured(["hit@1", "mrr@10"], {"q": ["x", "a"]}, {"q": {"a": 1}, "unanswered": {"b": 1}})
    {'hit@1': [0.0, 0.0], 'mrr@10': [0.5, 0.0]}
    """
    found: dict[str, list[float]] = {}
    for name in names:
        kind, _, depth = name.partition("@")
        if kind not in MEASURES or not depth.isdecimal() or int(depth) < 1:
            raise ValueError(f"no measure '{name}': one of {', '.join(MEASURES)}, then @ and a depth")
        found[name] = [MEASURES[kind](rankings.get(one, ()), grades, int(depth)) for one, grades in truths.items()]
    return found


# --- What an answer is beyond right ---


def coverage(rankings: Iterable[Sequence[Hashable]], items: int, k: int) -> float:
    """Share of all `items` that stand among the first `k` of at least one ranking."""
    shown = {item for ranked in rankings for item in ranked[:k]}
    return len(shown) / items if items else 0.0


def intra_list(ranked: Sequence[Any], distance: Callable[[Any, Any], float], k: int) -> float:
    """Mean `distance` of all pairs of the first `k` (Ziegler 2005); 0 for fewer than two items."""
    pairs = list(combinations(_first_places(ranked, k), 2))
    return sum(distance(a, b) for a, b in pairs) / len(pairs) if pairs else 0.0


def novelty(ranked: Sequence[Any], share: Callable[[Any], float], k: int) -> float:
    """Mean surprise of the first `k`, bits: minus log2 of each item's share of all purchases (Zhou 2010).

    `share` is above 0. 0 for an empty ranking.

    >>> novelty(["a", "b"], {"a": 0.5, "b": 0.125}.__getitem__, 10)
    2.0
    """
    shown = _first_places(ranked, k)
    return sum(-math.log2(share(item)) for item in shown) / len(shown) if shown else 0.0


def serendipity(ranked: Sequence[Any], relevant: Collection[Any], expected: Collection[Any], k: int) -> float:
    """Share of the first `k` places that hold something relevant which an obvious system did not show (Ge 2010)."""
    return precision(ranked, set(relevant) - set(expected), k)


# --- Probabilities ---


def _probabilities(scores: ArrayLike, truths: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    given, true = np.asarray(scores, np.float64).ravel(), np.asarray(truths).ravel().astype(np.bool_)
    if len(given) != len(true) or not len(given):
        raise ValueError(f"probabilities and truths come in pairs, not {len(given)} and {len(true)}")
    if not ((given >= 0) & (given <= 1)).all():  # false for what is not a number, too
        raise ValueError("a probability lies between 0 and 1")
    return given, true


def reliability(scores: ArrayLike, truths: ArrayLike, bins: int = 10) -> list[tuple[float, float, float, float, int]]:
    """(low, high, mean score, rate of truths, n) of each of `bins` bins of equal width that holds a score.

    A score on a border belongs to the bin below it (Guo 2017).
    """
    given, true = _probabilities(scores, truths)
    edges = np.linspace(0, 1, bins + 1)
    place = np.searchsorted(edges[1:-1], given)
    return [(float(edges[n]), float(edges[n + 1]), float(given[place == n].mean()), float(true[place == n].mean()),
             int((place == n).sum())) for n in np.unique(place)]  # fmt: skip


def calibration_error(scores: ArrayLike, truths: ArrayLike, bins: int = 10) -> float:
    """Expected calibration error: how far bins' mean scores lie from their rates, by their sizes (Guo 2017)."""
    found = reliability(scores, truths, bins)
    return float(sum(n * abs(score - rate) for _, _, score, rate, n in found) / len(np.ravel(scores)))


def brier(scores: ArrayLike, truths: ArrayLike) -> float:
    """Mean squared distance of probabilities from what came true (Brier 1950)."""
    given, true = _probabilities(scores, truths)
    return float(((given - true) ** 2).mean())


def log_loss(scores: ArrayLike, truths: ArrayLike) -> float:
    """Mean surprise at what came true, nats; a probability of exactly 0 or 1 counts as the next number to it."""
    given, true = _probabilities(scores, truths)
    tiny = float(np.finfo(np.float64).eps)
    sure = np.clip(np.where(true, given, 1 - given), tiny, 1 - tiny)
    return float(-np.log(sure).mean())


def auc(scores: ArrayLike, truths: ArrayLike) -> float:
    """Probability that a true one scores above a false one, ties one half; scores may be any numbers.

    Raises ValueError where all are true or all false: there is nothing to tell apart.
    """
    given, true = np.asarray(scores, np.float64).ravel(), np.asarray(truths).ravel().astype(np.bool_)
    if len(given) != len(true) or true.all() or not true.any() or not np.isfinite(given).all():
        raise ValueError("an area under the curve needs finite scores of true ones and of false ones")
    return float(placements(given[true], given[~true]).mean())


def calibration(scores: ArrayLike, truths: ArrayLike, bins: int = 10) -> dict[str, Any]:
    """How far probabilities can be believed, as reports hold it; `auc` is None where only one outcome came true."""
    _, true = _probabilities(scores, truths)
    both = bool(true.any() and not true.all())
    return {
        "ece": calibration_error(scores, truths, bins), "brier": brier(scores, truths),
        "log_loss": log_loss(scores, truths), "auc": auc(scores, truths) if both else None, "n": len(true),
        "bins": [list(one) for one in reliability(scores, truths, bins)],
    }  # fmt: skip


# --- Classes ---


def _pairs(said: Sequence[Any], truths: Sequence[Any]) -> list[tuple[Any, Any]]:
    if len(said) != len(truths) or not len(truths):
        raise ValueError(f"answers and truths come in pairs, not {len(said)} and {len(truths)}")
    return list(zip(said, truths, strict=True))


def accuracy(said: Sequence[Any], truths: Sequence[Any]) -> float:
    """Share of the answers that are the truth."""
    return sum(bool(a == b) for a, b in _pairs(said, truths)) / len(truths)


def class_recall(said: Sequence[Any], truths: Sequence[Any], wanted: Any) -> float:
    """Share of the truths `wanted` that were said so; 0 where there are none.

    Of the class of what no intent covers it is the out-of-scope recall (Larson 2019).
    """
    found = [a == wanted for a, b in _pairs(said, truths) if b == wanted]
    return sum(found) / len(found) if found else 0.0


def f1(said: Sequence[Any], truths: Sequence[Any]) -> float:
    """Mean over all classes, said or true, of the harmonic mean of precision and recall: the macro F1."""
    pairs, classes = _pairs(said, truths), list(dict.fromkeys([*truths, *said]))
    hits = dict.fromkeys(classes, 0)
    named = dict.fromkeys(classes, 0)
    for a, b in pairs:
        hits[a] += a == b
        named[a] += 1
        named[b] += 1
    return sum(2 * hits[one] / named[one] for one in classes) / len(classes)
