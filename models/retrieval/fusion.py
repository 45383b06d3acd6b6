"""Two rankings become one: weighted reciprocal rank fusion (Cormack 2009). Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

K = 60  # Cormack's constant: how flat the top of a ranking is


@dataclass(frozen=True)
class FusionSettings:
    """Weights of the two rankings, the constant k, and how deep each ranking is read."""

    lexical: float = 1.0
    vector: float = 1.0
    k: int = K
    depth: int = 200

    @property
    def weights(self) -> dict[str, float]:
        """By the ranking's name."""
        return {"lexical": self.lexical, "vector": self.vector}


def fuse(rankings: Mapping[str, Sequence[int]], weights: Mapping[str, float], k: int = K) -> list[tuple[int, float]]:
    """Every id that a ranking of positive weight holds, with the sum of weight / (k + rank), best first.

    Ranks start at 1; an id absent from a ranking gets nothing from it. Equal scores: the better rank first, then the
    smaller id, so the result does not depend on the order of the rankings.

    >>> fuse({"lexical": [7, 8], "vector": [8, 9]}, {"lexical": 1.0, "vector": 1.0}, k=1)
    [(8, 0.8333333333333333), (7, 0.5), (9, 0.3333333333333333)]
    """
    scores: dict[int, float] = {}
    best: dict[int, int] = {}
    for name in sorted(rankings):
        weight = weights.get(name, 0.0)
        if weight <= 0:
            continue
        for rank, row in enumerate(rankings[name], start=1):
            scores[row] = scores.get(row, 0.0) + weight / (k + rank)
            best[row] = min(best.get(row, rank), rank)
    return sorted(scores.items(), key=lambda entry: (-entry[1], best[entry[0]], entry[0]))
