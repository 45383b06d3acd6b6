"""Metrics of one ranking: pure, from ids. Checked against ir-measures in the tests.

Gains are the grades themselves, unjudged is 0, the discount is 1 / log2(position + 1): the nDCG of
trec_eval. A ranking is taken as it comes; an id that stands twice counts at its first place only.
"""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence


def _first_places(ranked: Sequence[str], k: int) -> list[str]:
    """The first `k` ids, each once."""
    return list(dict.fromkeys(ranked))[:k]


def dcg(gains: Iterable[float]) -> float:
    """Discounted cumulative gain.

    >>> round(dcg([3, 2]), 4)
    4.2619
    """
    return sum(gain / math.log2(place + 2) for place, gain in enumerate(gains))


def ndcg(ranked: Sequence[str], grades: Mapping[str, float], k: int) -> float:
    """DCG of the first `k` over the best that was possible; 0 where nothing is relevant.

    >>> ndcg(["b", "a"], {"a": 1}, 10) == 1 / math.log2(3)
    True
    """
    best = dcg(sorted((grade for grade in grades.values() if grade > 0), reverse=True)[:k])
    return dcg(max(0, grades.get(item, 0)) for item in _first_places(ranked, k)) / best if best else 0.0


def recall(ranked: Sequence[str], relevant: Collection[str], k: int) -> float:
    """Share of the relevant that is among the first `k`; 0 where nothing is relevant."""
    wanted = set(relevant)
    return len(wanted & set(_first_places(ranked, k))) / len(wanted) if wanted else 0.0


def precision(ranked: Sequence[str], relevant: Collection[str], k: int) -> float:
    """Share of the first `k` places that hold something relevant; an empty place holds nothing."""
    return len(set(relevant) & set(_first_places(ranked, k))) / k


def mrr(ranked: Sequence[str], relevant: Collection[str], k: int) -> float:
    """One over the place of the first relevant among the first `k`; 0 if there is none."""
    wanted = set(relevant)
    return next((1 / place for place, item in enumerate(_first_places(ranked, k), 1) if item in wanted), 0.0)


def coverage(rankings: Iterable[Sequence[str]], items: int, k: int) -> float:
    """Share of all `items` that stand among the first `k` of at least one ranking."""
    shown = {item for ranked in rankings for item in ranked[:k]}
    return len(shown) / items if items else 0.0
