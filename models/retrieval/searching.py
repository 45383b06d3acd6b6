"""Search: a query's way through the champion. Words and meaning are looked up, their rankings fused.

`Finder` answers in rows of distinct texts; evaluation and serving both use it, so that what is measured is what is
served. `Searcher` puts items to the rows. Items with equal texts (a grocer has 92,331 items and 20,770 texts) are one
hit: the first item by id stands for them, and `why` says how many there are.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.console import Problem
from jobs.warehouse import home
from models.encoder import Encoder, normalise
from models.retrieval.fusion import FusionSettings, fuse
from models.retrieval.lexical import Lexical, LexicalSettings
from models.retrieval.vectors import Vectors

if TYPE_CHECKING:
    import pyarrow as pa

    from models.bundle import Bundle

LONGEST_QUERY = 512  # characters that are looked at


@dataclass(frozen=True)
class Hit:
    """An item that answers, its fused score, and why: ranks from 1 and raw scores of each way that found it."""

    item_id: str
    score: float
    why: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Found:
    """A row of a distinct text, before it becomes an item."""

    row: int
    score: float
    why: Mapping[str, Any]


@dataclass(frozen=True)
class Finder:
    """Lexical index, vectors and encoder over the same rows, with the weights of their fusion."""

    lexical: Lexical
    vectors: Vectors
    encoder: Encoder
    fusion: FusionSettings

    def rankings(self, query: str) -> dict[str, list[tuple[int, float]]]:
        """What each way finds, `fusion.depth` deep; a way of weight 0 is not walked."""
        text = cleaned(query)
        if not text:
            return {}
        ways: dict[str, list[tuple[int, float]]] = {}
        if self.fusion.lexical > 0:
            ways["lexical"] = self.lexical.search(text, self.fusion.depth)
        if self.fusion.vector > 0:
            ways["vector"] = self.vectors.search(self.encoder.encode([text])[0], self.fusion.depth)
        return ways

    def find(self, query: str, k: int) -> list[Found]:
        """The `k` best rows, best first. An empty query finds nothing."""
        ways = self.rankings(query)
        ranks = {name: {row: (rank, score) for rank, (row, score) in enumerate(hits, 1)} for name, hits in ways.items()}
        fused = fuse({name: list(of) for name, of in ranks.items()}, self.fusion.weights, self.fusion.k)
        return [Found(row, score, _why(row, ranks)) for row, score in fused[: max(k, 0)]]


def cleaned(query: str) -> str:
    """The query as it is looked up: one spelling, no lone surrogates, at most `LONGEST_QUERY` characters.

    >>> cleaned("  Ｗｉｆｉ   router ")
    'Wifi router'
    """
    return normalise(query[: 4 * LONGEST_QUERY].encode("utf-8", "ignore").decode())[:LONGEST_QUERY]


def _why(row: int, ranks: Mapping[str, Mapping[int, tuple[int, float]]]) -> dict[str, Any]:
    why: dict[str, Any] = {}
    for name, of in ranks.items():
        rank, score = of.get(row, (None, None))
        why[f"{name}_rank"] = rank
        why[f"{name}_score"] = score if score is None else round(score, 4)
    return why


def fusion_settings(settings: Mapping[str, Any]) -> FusionSettings:
    """The weights of the fusion, from a bundle's settings."""
    return FusionSettings(**settings["fusion"])


def lexical_settings(settings: Mapping[str, Any]) -> LexicalSettings:
    """The boosts of the fields, from a bundle's settings."""
    return LexicalSettings(dict(settings["lexical"]["boosts"]))


def index_pointer(shop: str, version: int | str) -> Path:
    """The file that points to the index of one version of the search bundle."""
    return home() / shop / "indexes" / "search" / f"{version}.json"


class Searcher:
    """A bundle and its index, ready to answer. Safe to use from several threads."""

    def __init__(self, finder: Finder, items: "pa.Table", version: int | str, mark: str) -> None:
        self.finder, self.items, self.version, self.mark = finder, items, version, mark
        self._rows = {item: row for row, item in enumerate(items["item_id"].to_pylist())}

    @classmethod
    def open(cls, shop: str) -> "Searcher":
        """The champion of `shop` with its index; a `Problem` that names the step to run first."""
        from models.promotions import champion

        bundle = champion(shop, "search")
        if bundle is None:
            raise Problem(
                f"shop '{shop}' has no champion for search yet",
                do=f"run 'python -m models baseline search --shop {shop}' first",
            )
        return cls.of(bundle)

    @classmethod
    def of(cls, bundle: "Bundle") -> "Searcher":
        """A bundle with the index that `python -m models index` has built from it."""
        import pyarrow.parquet as pq

        pointer = index_pointer(bundle.shop, bundle.version)
        try:
            index = json.loads(pointer.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise Problem(
                f"search version {bundle.version} of shop '{bundle.shop}' has no index yet",
                where=str(pointer),
                do=f"run 'python -m models index --shop {bundle.shop}'",
            ) from None
        folder = pointer.parent / "attempts" / index["attempt"]
        finder = Finder(
            Lexical.open(folder / "lexical", lexical_settings(bundle.settings)),
            Vectors.open(folder / "vectors.npy"),
            Encoder.open(bundle.folder),
            fusion_settings(bundle.settings),
        )
        if index["encoder"] != finder.encoder.hash:
            raise Problem(f"the index of search version {bundle.version} is another encoder's", where=str(pointer),
                          do=f"run 'python -m models index --shop {bundle.shop}'")  # fmt: skip
        return cls(finder, pq.read_table(folder / "items.parquet"), bundle.version, index["items"])

    def search(self, query: str, k: int = 10) -> list[Hit]:
        """The `k` items that answer best, best first, one for each distinct text. An empty query finds nothing."""
        hits = []
        for found in self.finder.find(query, k):
            item_id, same = self._groups[found.row]
            hits.append(Hit(item_id, found.score, {**found.why, "same_text": same}))
        return hits

    def item(self, item_id: str) -> dict[str, Any]:
        """What the shop says of an item; empty for an id that the index does not hold."""
        row = self._rows.get(item_id)
        if row is None:
            return {}
        values: dict[str, Any] = self.items.slice(row, 1).to_pylist()[0]
        values.pop("text_row")
        return values

    @cached_property
    def _groups(self) -> dict[int, tuple[str, int]]:
        """For each row of a distinct text: the first of its items by id, and how many they are."""
        groups: dict[int, tuple[str, int]] = {}
        for item_id, row in zip(self.items["item_id"].to_pylist(), self.items["text_row"].to_pylist(), strict=True):
            first, count = groups.get(row, (item_id, 0))
            groups[row] = (min(first, item_id), count + 1)
        return groups
