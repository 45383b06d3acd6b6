"""Finding by words: BM25 over the fields of the items, in English and Chinese (tantivy).

Words are cut the same way in items and in queries: Unicode NFKC, Chinese runs cut into words by rjieba, everything
that is neither letter nor digit is a border, lower case, accents off, English stems. A query is never parsed: its
words become terms, so no input can raise or reach an operator of the query language.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jobs.console import Problem

FIELDS = ("title", "brand", "category", "description")
BOOSTS: Mapping[str, float] = {"title": 1.0, "brand": 1.0, "category": 1.0, "description": 1.0}
MOST_WORDS = 64  # of a query; what comes after is not looked at
HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]+")
_ANALYSER = "shop"
_MEMORY = 128_000_000  # bytes the writer may hold before it writes a segment


@dataclass(frozen=True)
class LexicalSettings:
    """How much a match in each field counts."""

    boosts: Mapping[str, float] = field(default_factory=lambda: dict(BOOSTS))


def segment(text: str) -> str:
    """`text` with a space around every Chinese word; other scripts stay as they are.

    >>> segment("无线蓝牙耳机 Pro")
    '无线 蓝牙 耳机 Pro'
    """
    import rjieba

    def cut(run: re.Match[str]) -> str:
        return f" {' '.join(rjieba.cut(run.group()))} "

    return " ".join(HAN.sub(cut, unicodedata.normalize("NFKC", text)).split())


def _analyser() -> Any:
    import tantivy

    return (
        tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.simple())
        .filter(tantivy.Filter.remove_long(64))
        .filter(tantivy.Filter.lowercase())
        .filter(tantivy.Filter.ascii_fold())
        .filter(tantivy.Filter.stemmer("English"))
        .build()
    )


def _schema() -> Any:
    import tantivy

    builder = tantivy.SchemaBuilder()
    builder.add_unsigned_field("row", stored=False, indexed=True, fast=True)
    for name in FIELDS:
        builder.add_text_field(name, stored=False, tokenizer_name=_ANALYSER, index_option="freq")
    return builder.build()


class Lexical:
    """A BM25 index over rows 0..n-1. Searching is safe from several threads."""

    def __init__(self, index: Any, settings: LexicalSettings) -> None:
        self._index, self._schema, self._analyser, self.settings = index, _schema(), _analyser(), settings
        self._index.register_tokenizer(_ANALYSER, self._analyser)
        self._index.reload()
        self._searcher = self._index.searcher()

    @classmethod
    def build(
        cls,
        documents: Iterable[Mapping[str, str | None]],
        folder: Path | None = None,
        settings: LexicalSettings | None = None,
    ) -> "Lexical":
        """Index `documents` (the four fields; any may be missing), in memory or into `folder`.

        One thread writes, so that equal documents tie in the same order on every run.
        """
        import tantivy

        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        index = tantivy.Index(_schema(), path=None if folder is None else str(folder))
        index.register_tokenizer(_ANALYSER, _analyser())
        writer = index.writer(heap_size=_MEMORY, num_threads=1)
        for row, document in enumerate(documents):
            entry = tantivy.Document()
            entry.add_unsigned("row", row)
            for name in FIELDS:
                if text := segment(document.get(name) or ""):
                    entry.add_text(name, text)
            writer.add_document(entry)
        writer.commit()
        writer.wait_merging_threads()
        return cls(index, settings or LexicalSettings())

    @classmethod
    def open(cls, folder: Path, settings: LexicalSettings | None = None) -> "Lexical":
        """The index in `folder`."""
        import tantivy

        if not (folder / "meta.json").is_file():
            raise Problem("the lexical index is missing", where=str(folder), do="run 'python -m models index' again")
        return cls(tantivy.Index.open(str(folder)), settings or LexicalSettings())

    @property
    def rows(self) -> int:
        """How many documents it holds."""
        return int(self._searcher.num_docs)

    def terms(self, query: str) -> list[str]:
        """The distinct words of a query, as they stand in the index, in their order."""
        return list(dict.fromkeys(self._analyser.analyze(segment(query))))[:MOST_WORDS]

    def search(self, query: str, k: int) -> list[tuple[int, float]]:
        """The `k` best rows with their BM25 scores, best first, equals by row; none without one of the words."""
        import tantivy

        terms = self.terms(query)
        if not terms or k <= 0:
            return []
        wanted = [
            (
                tantivy.Occur.Should,
                tantivy.Query.boost_query(tantivy.Query.term_query(self._schema, name, term, "freq"), boost),
            )
            for name, boost in self.settings.boosts.items()
            if boost > 0
            for term in terms
        ]
        found = self._searcher.search(tantivy.Query.boolean_query(wanted), limit=k, count=False).hits
        rows = self._searcher.fast_field_values("row", [address for _, address in found]) if found else []
        return sorted(((int(row), float(score)) for (score, _), row in zip(found, rows, strict=True)), key=_order)


def _order(hit: tuple[int, float]) -> tuple[float, int]:
    return -hit[1], hit[0]


def rows_of(hits: Sequence[tuple[int, float]]) -> list[int]:
    """Only the rows, in order."""
    return [row for row, _ in hits]
