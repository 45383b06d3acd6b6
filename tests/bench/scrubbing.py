"""The scrubber beside Presidio's pattern recognisers: what each finds, and how fast, on the same texts and cores.

`make bench-privacy`. Presidio runs as its users run it, in as many processes as there are cores, with no language model
and no network. Ours runs every recogniser, names and addresses too, on Spark with as many threads. The first run of
each is not counted.
"""

import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from jobs.console import grid
from tests import personal
from tests.bench.measure import machine
from tests.personal import Score, Span, Text

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
TIMES = 3
THROUGH = 1_200_000
"""Texts that Spark is given, the same ones again and again, so that its start does not count."""


# Presidio -------------------------------------------------------------------------------------


def presidio() -> Callable[[str], list[Span]]:
    """Presidio's pattern recognisers for English in one process; the best-scored span where several overlap."""
    import tldextract
    from presidio_analyzer import AnalyzerEngine, RecognizerRegistry
    from presidio_analyzer.nlp_engine import NlpArtifacts, NlpEngine

    class NoModel(NlpEngine):  # pattern recognisers need no words
        def load(self) -> None: ...

        def is_loaded(self) -> bool:
            return True

        def process_text(self, text: str, language: str) -> NlpArtifacts:
            return NlpArtifacts([], [], [], [], self, language)

        def process_batch(self, texts: Any, language: str, **_: Any) -> Iterator[tuple[str, NlpArtifacts]]:
            return ((text, self.process_text(text, language)) for text in texts)

        def is_stopword(self, word: str, language: str) -> bool:
            return False

        def is_punct(self, word: str, language: str) -> bool:
            return False

        def get_supported_entities(self) -> list[str]:
            return []

        def get_supported_languages(self) -> list[str]:
            return ["en"]

    tldextract.extract = tldextract.TLDExtract(suffix_list_urls=(), cache_dir=None)  # its own list, no network
    registry = RecognizerRegistry(supported_languages=["en"])
    registry.load_predefined_recognizers(languages=["en"])
    registry.recognizers = [r for r in registry.recognizers if type(r).__name__ != "SpacyRecognizer"]
    engine = AnalyzerEngine(registry=registry, nlp_engine=NoModel(), supported_languages=["en"])

    kinds = sorted(personal.THEIRS)  # what is not compared costs it no time

    def find(text: str) -> list[Span]:
        best: list[Span] = []
        hits = engine.analyze(text, language="en", entities=kinds)
        for hit in sorted(hits, key=lambda hit: (-hit.score, hit.start - hit.end)):
            kind = personal.THEIRS.get(hit.entity_type)
            if kind and not any(a < hit.end and hit.start < b for a, b, _ in best):
                best.append((hit.start, hit.end, kind))
        return best

    return find


_find: Callable[[str], list[Span]] | None = None


def _begin() -> None:
    global _find
    _find = presidio()


def _of(texts: list[str]) -> list[list[Span]]:
    assert _find
    return [_find(text) for text in texts]


def by_presidio(texts: Sequence[str]) -> tuple[list[list[Span]], float]:
    """What Presidio finds, and texts a second on all cores."""
    cores = len(os.sched_getaffinity(0))
    parts = [list(texts[n::cores]) for n in range(cores)]
    with ProcessPoolExecutor(cores, initializer=_begin) as pool:
        taken = []
        for _ in range(TIMES + 1):
            began = time.perf_counter()
            found = list(pool.map(_of, parts))
            taken.append(time.perf_counter() - began)
    spans: list[list[Span]] = [[] for _ in texts]
    for n, part in enumerate(found):
        spans[n::cores] = part
    return spans, len(texts) / statistics.median(taken[1:])


# Ours -----------------------------------------------------------------------------------------


def by_spark(spark: Any, texts: Sequence[str]) -> tuple[list[list[Span]], float]:
    """What our recognisers find; and texts a second, from text to placeholder."""
    from pyspark.sql import functions as F

    from jobs import scrubbing

    rows = spark.createDataFrame(list(enumerate(texts)), "n int, text string")
    rows, held = scrubbing.found(rows, "text")
    told = {row["n"]: row["held"] for row in rows.select("n", held.alias("held")).collect()}
    spans = [scrubbing.spans(told[n]) for n in range(len(texts))]

    cores = len(os.sched_getaffinity(0))
    plain = spark.createDataFrame([(text,) for text in texts], "text string")
    each = spark.range(THROUGH // len(texts) + 1).withColumnRenamed("id", "visitor").crossJoin(plain)
    each = each.withColumns({"visitor": F.concat(F.lit("u"), "visitor"), "_secret": F.lit(b"k" * 32)})
    each = each.repartition(cores).cache()
    many = each.count()
    taken = []
    for _ in range(TIMES + 1):
        began = time.perf_counter()
        scrubbing.scrubbed(each, "text", visitor="visitor").agg(F.sum(F.length("text"))).collect()
        taken.append(time.perf_counter() - began)
    each.unpersist()
    return spans, many / statistics.median(taken[1:])


# The table ------------------------------------------------------------------------------------


def told(name: str, ours: Score, theirs: Score | None) -> Iterator[tuple[str, ...]]:
    """A line for each kind, and one for all."""
    kinds = sorted({*ours.found, *ours.missed, *(k for k, n in ours.false.items() if n)})
    for kind in (*kinds, ""):
        of = (kind,) if kind else ()
        count, *figures = ours.of(*of)
        peer = [f"{x:.3f}" for x in theirs.of(*of)[1:]] if theirs else ["", "", ""]
        yield (name, kind or "all", str(count), *(f"{x:.3f}" for x in figures), *peer)


def main() -> None:
    from jobs.spark import session

    texts: dict[str, list[Text]] = personal.read(DATA / "pii_texts")
    texts["values en"] = personal.generated(6_000, "en")
    texts["values zh"] = personal.generated(6_000, "zh")
    texts["chinese"] = personal.chinese(600)
    spared = {"orders en": personal.orders(2_000, "en"), "orders zh": personal.orders(2_000, "zh")}
    spared["catalogue"] = personal.catalogue(DATA / "electronics")
    lines: list[tuple[str, ...]] = []
    speed: list[tuple[str, ...]] = []
    with session("bench", rows=THROUGH) as spark:
        for name, each in texts.items():
            plain = [t.text for t in each]
            ours, quick = by_spark(spark, plain)
            theirs, slow = by_presidio(plain) if name not in ("values zh", "chinese") else (None, 0.0)
            lines += told(name, personal.score(each, ours), theirs and personal.score(each, theirs))
            if slow:
                speed.append((name, f"{quick:,.0f}", f"{slow:,.0f}", f"{quick / slow:.0f}"))
        for name, each in spared.items():
            ours, quick = by_spark(spark, [t.text for t in each])
            theirs, slow = by_presidio([t.text for t in each]) if name != "orders zh" else ([], 0.0)
            kept = [f"{1 - sum(map(bool, found)) / len(each):.3f}" if found else "" for found in (ours, theirs)]
            lines.append((name, "untouched", str(len(each)), kept[0], "", "", kept[1], "", ""))
            if slow:
                speed.append((name, f"{quick:,.0f}", f"{slow:,.0f}", f"{quick / slow:.0f}"))
    head = ("texts", "kind", "spans", "recall", "precision", "F2", "Presidio recall", "precision", "F2")
    print(grid(head, lines))
    print(grid(("texts", "ours, texts/s", "Presidio, texts/s", "ratio"), speed))
    print(machine())


if __name__ == "__main__":
    main()
