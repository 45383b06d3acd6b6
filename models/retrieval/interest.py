"""Interest and distance: what a visitor bought, as one vector, and how far items lie from it.

By the matrix of `models index`, in training and in serving alike: `interest` and `distances` are the only functions
for it. Vectors are never in the feature store; a model that uses them names the encoder that made them. None does
today, since none gained by them: decisions/0024.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from jobs.console import Problem
from models.retrieval.searching import index_pointer
from models.retrieval.vectors import Vectors

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]
    Integers = NDArray[np.int64]


def interest(
    matrix: "Floats", rows: "Sequence[int] | Integers", weights: "Sequence[float] | NDArray[np.float64]"
) -> "Floats | None":
    """The weighted mean of these rows, of length one; None without rows, without weight, or if they cancel out.

    `matrix` (n, d) has rows of length one. With decayed counts as weights the moment does not matter: as all of them
    fade alike, their mean does not turn. Added up in double precision, in the order given.
    """
    import numpy as np

    share = np.asarray(weights, np.float64)
    if not len(rows) or not (share > 0).any():
        return None
    mean = share @ np.asarray(matrix[np.asarray(rows, np.int64)], np.float64)
    length = float(np.sqrt(mean @ mean))
    return (mean / length).astype(np.float32) if length > 1e-9 * float(share.sum()) else None


def distances(matrix: "Floats", wanted: "Floats | None", rows: "Sequence[int] | Integers") -> "Floats":
    """How far each of these rows lies from an interest: 1 - cosine, 0 to 2; NaN without an interest, or for row -1."""
    import numpy as np

    places = np.asarray(rows, np.int64)
    if wanted is None:
        return np.full(len(places), np.nan, np.float32)
    # Row by row: a product of matrices would round an item by what else is asked about.
    cosines = np.einsum("ij,j->i", np.asarray(matrix[np.maximum(places, 0)], np.float64), wanted.astype(np.float64))
    return np.where(places >= 0, 1 - cosines, np.nan).astype(np.float32)


@dataclass(frozen=True)
class ItemVectors:
    """The matrix of an index and whose rows they are. `encoder` is the hash of the encoder that made it."""

    vectors: Vectors
    ids: tuple[str, ...]
    text_rows: "Integers"
    encoder: str

    @cached_property
    def index(self) -> Mapping[str, int]:
        """The row of each item; items that share a text share a row."""
        return dict(zip(self.ids, self.text_rows.tolist(), strict=True))

    def rows(self, items: Sequence[str]) -> "Integers":
        """The row of each item, -1 of one that the index does not have."""
        import numpy as np

        return np.array([self.index.get(item, -1) for item in items], np.int64)

    def interest(self, items: Sequence[str], weights: "Sequence[float] | NDArray[np.float64]") -> "Floats | None":
        """What a visitor with these items and weights (their decayed counts) is after."""
        import numpy as np

        rows = self.rows(items)
        known = rows >= 0
        return interest(self.vectors.matrix, rows[known], np.asarray(weights, np.float64)[known])

    def distances(self, wanted: "Floats | None", items: Sequence[str]) -> "Floats":
        """How far each of these items lies from an interest; NaN where there is no telling."""
        return distances(self.vectors.matrix, wanted, self.rows(items))

    @staticmethod
    def open(shop: str, version: int) -> "ItemVectors":
        """The vectors of the index of one version of the search bundle, mapped into memory; `Problem` if there is
        none."""
        import numpy as np
        import pyarrow.parquet as pq

        pointer = index_pointer(shop, version)
        if not pointer.is_file():
            raise Problem("there is no index of this version", where=str(pointer), do="run 'python -m models index'")
        made = json.loads(pointer.read_text(encoding="utf-8"))
        folder = pointer.parent / "attempts" / made["attempt"]
        items = pq.read_table(folder / "items.parquet", columns=["item_id", "text_row"])
        return ItemVectors(
            Vectors.open(folder / "vectors.npy"),
            tuple(items["item_id"].to_pylist()),
            items["text_row"].to_numpy().astype(np.int64),
            made["encoder"],
        )
