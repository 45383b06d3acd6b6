"""How well a search bundle answers: human judgements, the whole catalogue ranked, candidate against champion.

A text that nobody judged counts as not relevant. Items with equal texts are one answer, graded by the best of their
grades. A grade is the median of its raters. Only queries with at least one relevant item are counted: on others every
system scores the same zero. Nothing is chosen here; what was chosen on validation stands in the bundle's settings.
"""

import shutil
import statistics
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.console import Problem, narrate
from jobs.tables import WHOLE
from jobs.warehouse import code_version, home, warehouse
from models.bundle import building, seal
from models.encoder import FILES, Encoder, export, load_base
from models.evaluation.metrics import mrr, ndcg, recall
from models.retrieval.fusion import FusionSettings
from models.retrieval.indexing import Catalogue, catalogue, vectors_of
from models.retrieval.lexical import HAN, Lexical
from models.retrieval.searching import Finder, fusion_settings, lexical_settings
from models.retrieval.vectors import Vectors
from models.statistics import bootstrap_mean, paired_bootstrap, paired_randomisation
from models.training.encoder import KIND, EncoderTraining, settings_of

if TYPE_CHECKING:
    from models.bundle import Bundle

PRIMARY = "ndcg@10"
DEEP = 100
EXAMPLES = 3
CHAMPION, CANDIDATE = "champion", "candidate"

Grades = dict[str, dict[int, float]]
"""Query -> row of a distinct text -> grade."""


# --- The baseline ---


def untrained(shop: str, base: str) -> Path:
    """The exported untrained encoder of `base`; made at the first use, then kept beside the indexes."""
    name = "".join(c if c.isalnum() else "-" for c in base)[-60:]
    folder = home() / shop / "indexes" / "encoders" / name
    if not all((folder / file).is_file() for file in FILES):
        made = folder.with_name(f".{name}-{uuid.uuid4().hex[:8]}")
        with narrate(f"export of the untrained encoder '{base}'"):
            export(load_base(base), base, made, precision=EncoderTraining(0).precision)
        shutil.rmtree(folder, ignore_errors=True)
        made.rename(folder)
    return folder


def baseline(shop: str, base: str = "minilm") -> Path:
    """The untrained baseline as a sealed bundle: BM25 and the untrained encoder, equal weights, k = 60."""
    mark = warehouse(shop).require("safe", "items", step="validate")[0]
    ready = untrained(shop, base)
    with building(shop, "search") as folder:
        for file in FILES:
            shutil.copyfile(ready / file, folder / file)
        settings = settings_of(base, Encoder.open(folder), FusionSettings(), None, share=0.0)
        seal(folder, shop=shop, name="search", kind=KIND, settings=settings, data=[mark.name])
        return folder


# --- The judgements ---


def grades(shop: str, of: Catalogue) -> Grades:
    """Queries with at least one relevant text, in order. A judged item that is not in the catalogue is left out."""
    house = warehouse(shop)
    house.require("safe", "judgements", step="validate")
    raters: dict[tuple[str, str], list[float]] = {}
    for row in house.read("safe", "judgements", columns=["query", "item_id", "grade"]).to_pylist():
        raters.setdefault((row["query"], row["item_id"]), []).append(float(row["grade"]))
    row_of = of.rows_by_id()
    found: Grades = {}
    for (query, item_id), given in sorted(raters.items()):
        if (row := row_of.get(item_id)) is not None:
            judged = found.setdefault(query, {})
            judged[row] = max(judged.get(row, 0.0), statistics.median(given))
    return {query: judged for query, judged in found.items() if max(judged.values()) > 0}


# --- The figures ---


def figures(ranked: Sequence[int], judged: Mapping[int, float]) -> dict[str, float]:
    """nDCG@10, recall@100 and MRR@10 of one ranking of rows."""
    ids = [str(row) for row in ranked]
    graded = {str(row): grade for row, grade in judged.items()}
    relevant = {row for row, grade in graded.items() if grade > 0}
    return {PRIMARY: ndcg(ids, graded, 10), "recall@100": recall(ids, relevant, DEEP), "mrr@10": mrr(ids, relevant, 10)}


def measured(finder: Finder, asked: Grades) -> list[dict[str, float]]:
    """The figures of each query, in the order of `asked`."""
    return [figures([found.row for found in finder.find(query, DEEP)], judged) for query, judged in asked.items()]


def summary(values: Sequence[Mapping[str, float]], *, seed: int = 1) -> dict[str, Any]:
    """Each metric's mean with its bootstrap interval by query."""
    return {name: bootstrap_mean([one[name] for one in values], seed=seed).as_dict() for name in values[0]}


def latency(ask: Callable[[str], Any], queries: Sequence[str], rounds: int = 3) -> dict[str, float]:
    """p50 and p99 in ms of one query after another through the way that serving takes."""
    import numpy as np

    ask(queries[0])
    taken = []
    for query in [*queries] * rounds:
        began = time.perf_counter()
        ask(query)
        taken.append(1000 * (time.perf_counter() - began))
    p50, p99 = np.percentile(taken, [50, 99])
    return {"p50": round(float(p50), 2), "p99": round(float(p99), 2), "n": len(taken)}


# --- Candidate against champion ---


def _finder(shop: str, of: Catalogue, lexical: Lexical, folder: Path, fusion: FusionSettings) -> Finder:
    encoder = Encoder.open(folder)
    return Finder(lexical, Vectors(vectors_of(shop, encoder, of.texts)), encoder, fusion)


def systems(shop: str, of: Catalogue, candidate: "Bundle | None", champion: "Bundle | None") -> dict[str, Finder]:
    """What is compared, by name. The untrained encoder is that of the base the judged bundle came from."""
    judged = candidate or champion
    if judged is None:
        raise Problem(
            f"shop '{shop}' has neither a candidate nor a champion for search",
            do=f"run 'python -m models baseline search --shop {shop}' first",
        )
    lexical = Lexical.build(of.documents(), settings=lexical_settings(judged.settings))
    base = judged.settings["base"]
    found: dict[str, Finder] = {}
    if champion is not None:
        champion_lexical = replace_lexical(lexical, of, champion)
        found[CHAMPION] = _finder(shop, of, champion_lexical, champion.folder, fusion_settings(champion.settings))
    if candidate is not None:
        found[CANDIDATE] = _finder(shop, of, lexical, candidate.folder, fusion_settings(candidate.settings))
    plain = found.get(CHAMPION)
    if champion is None or champion.settings["training"] is not None or champion.settings["base"] != base:
        plain = _finder(shop, of, lexical, untrained(shop, base), FusionSettings())
    assert plain is not None
    found["bm25"] = replace(plain, fusion=FusionSettings(vector=0.0))
    found["untrained"] = replace(plain, fusion=FusionSettings(lexical=0.0))
    if candidate is not None:
        found["fine-tuned"] = replace(found[CANDIDATE], fusion=FusionSettings(lexical=0.0))
    if plain is not found.get(CHAMPION):
        found["fused untrained"] = plain
    return found


def replace_lexical(lexical: Lexical, of: Catalogue, bundle: "Bundle") -> Lexical:
    """The same index if the bundle's boosts are the same, else one with the bundle's."""
    wanted = lexical_settings(bundle.settings)
    return lexical if wanted == lexical.settings else Lexical.build(of.documents(), settings=wanted)


def side(bundle: "Bundle") -> dict[str, Any]:
    """A bundle's version, and what it is, in words for the report."""
    settings = bundle.settings
    if settings["training"] is None:
        return {"version": bundle.version, "name": f"BM25 and {settings['base']}, untrained"}
    learnt = f"fine-tuned on {settings['learnt']:,} pairs, share {settings['share']:g}"
    return {"version": bundle.version, "name": f"BM25 and {settings['base']}, {learnt}"}


def _examples(of: Catalogue, found: Mapping[str, Finder], asked: Grades) -> list[dict[str, Any]]:
    """Three queries, spread over the test, with the three first titles of each side."""
    titles = [document["title"] for document in of.documents()]
    queries = list(asked)[:: max(1, len(asked) // EXAMPLES)][:EXAMPLES]
    sides = [name for name in (CHAMPION, CANDIDATE) if name in found]
    return [
        {"query": query, **{name: [titles[one.row] for one in found[name].find(query, 3)] for name in sides}}
        for query in queries
    ]


def _segments(values: Mapping[str, Sequence[Mapping[str, float]]], asked: Grades) -> dict[str, Any]:
    """The primary metric of queries with and without Chinese words, where the test has both."""
    chinese = [bool(HAN.search(query)) for query in asked]
    if len(set(chinese)) < 2:
        return {}
    return {
        segment: {name: _mean(each, [one is wanted for one in chinese]) for name, each in values.items()}
        for segment, wanted in (("chinese", True), ("other", False))
    }


def _mean(values: Sequence[Mapping[str, float]], within: Sequence[bool]) -> dict[str, Any]:
    return bootstrap_mean([one[PRIMARY] for one, inside in zip(values, within, strict=True) if inside]).as_dict()


def evaluate(shop: str, candidate: "Bundle | None", champion: "Bundle | None") -> dict[str, Any]:
    """The report of the search: every system's figures with intervals, and candidate - champion by query."""
    of = catalogue(shop)
    asked = grades(shop, of)
    if not asked:
        raise Problem(f"no judged query of shop '{shop}' has a relevant item", do="import judgements")
    with narrate("vectors of the catalogue"):
        found = systems(shop, of, candidate, champion)
    with narrate(f"{len(asked)} queries, {len(found)} systems"):
        values = {name: measured(finder, asked) for name, finder in found.items()}
    judged = candidate or champion
    assert judged is not None
    serving = found[CANDIDATE if candidate else CHAMPION]
    house = warehouse(shop)
    marks = [mark for name in ("items", "judgements") if (mark := house.mark("safe", name, WHOLE)) is not None]
    return {
        "shop": shop, "bundle": "search", "primary": PRIMARY,
        "test": {"what": "judged queries with a relevant item; whole catalogue; unjudged is 0; equal texts are one",
                 "n": len(asked), "first": None, "last": None,
                 "items": of.items.num_rows, "texts": len(of.texts)},
        "systems": {name: summary(each) for name, each in values.items()},
        **{role: side(bundle) for role, bundle in ((CANDIDATE, candidate), (CHAMPION, champion)) if bundle is not None},
        **_paired(values), "segments": _segments(values, asked),
        "weights": {"fusion": dict(judged.settings["fusion"]), "share": judged.settings.get("share"),
                    "validation": judged.settings.get("validation")},
        "latency_ms": latency(lambda query: serving.find(query, 10), list(asked)),
        "size_mb": round(sum(path.stat().st_size for path in judged.folder.glob("*")) / 1e6, 1),
        "data": [mark.name for mark in marks], "code": code_version(),
        "examples": _examples(of, found, asked),
    }  # fmt: skip


def _paired(values: Mapping[str, Sequence[Mapping[str, float]]]) -> dict[str, Any]:
    """Candidate - champion by query: mean difference, its interval, and the p of the randomisation test."""
    if CANDIDATE not in values or CHAMPION not in values:
        return {}
    ours, theirs = ([one[PRIMARY] for one in values[name]] for name in (CANDIDATE, CHAMPION))
    interval = paired_bootstrap(ours, theirs, seed=1).as_dict()
    return {"paired": {"metric": PRIMARY, **interval, "p": paired_randomisation(ours, theirs, seed=1)}}
