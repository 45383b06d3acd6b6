"""How well a search bundle answers: human judgements, the whole catalogue ranked, candidate against champion.

A text that nobody judged counts as not relevant. Items with equal texts are one answer, graded by the best of their
grades. A grade is the median of its raters. Only queries with at least one relevant item are counted: on others every
system scores the same zero. Nothing is chosen here; what was chosen on validation stands in the bundle's settings.
"""

import shutil
import statistics
import uuid
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.console import Problem, narrate
from jobs.events import normalised
from jobs.tables import WHOLE
from jobs.warehouse import code_version, home, warehouse
from models.bundle import building, seal
from models.encoder import FILES, Encoder, export, load_base
from models.evaluation.attacks import attacked, attributes, unknown_members
from models.evaluation.comparing import LEVEL, beyond_right, latencies, paired, reproduced, sizes
from models.evaluation.losses import losses
from models.evaluation.metrics import measured
from models.evaluation.segments import judged as judged_segments
from models.evaluation.segments import missing, of_queries, shelves
from models.evaluation.targets import EncoderTarget, encoder_targets, encoder_vectors, quasi_identifiers
from models.retrieval.fusion import FusionSettings
from models.retrieval.indexing import Catalogue, catalogue, vectors_of
from models.retrieval.lexical import Lexical
from models.retrieval.searching import Finder, fusion_settings, lexical_settings
from models.retrieval.vectors import Vectors
from models.statistics import bootstrap_mean
from models.tracking import locked
from models.training.encoder import KIND, LEARNT, EncoderTraining, settings_of

if TYPE_CHECKING:
    from models.bundle import Bundle

PRIMARY = "ndcg@10"
FIGURES = (PRIMARY, "recall@100", "mrr@10", "map@100", "hit@10")
K, DEEP = 10, 100
ROUNDS = 2  # in which every query is asked, to see how long an answer takes
EXEMPT = "an answer's scores are sums of reciprocal ranks: they order it, and are no probabilities"
EXAMPLES = 3
CHAMPION, CANDIDATE = "champion", "candidate"

Grades = dict[str, dict[int, float]]
"""Query -> row of a distinct text -> grade."""
Rankings = dict[str, list[int]]
"""Query -> rows of distinct texts, best first."""


# --- The baseline ---


def untrained(shop: str, base: str = "minilm") -> Path:
    """The exported untrained encoder of `base`; made at the first use, then kept beside the indexes. Two that want it
    at once make it once."""
    name = "".join(c if c.isalnum() else "-" for c in base)[-60:]
    folder = home() / shop / "indexes" / "encoders" / name
    with locked(f"untrained-{shop}"):
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


def rankings(finder: Finder, asked: Grades) -> Rankings:
    """The first hundred rows of each query, by the way that serving takes."""
    return {query: [found.row for found in finder.find(query, DEEP)] for query in asked}


def summary(figures: Mapping[str, Sequence[float]], *, seed: int = 1) -> dict[str, Any]:
    """Each metric's mean with its bootstrap interval by query."""
    return {name: bootstrap_mean(values, seed=seed).as_dict() for name, values in figures.items()}


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


def tellable(shop: str, queries: Iterable[str]) -> list[str]:
    """Those of `queries` that a report may show: made by enough visitors, or by none (the raters' own)."""
    house = warehouse(shop)
    often = set(house.read("stats", "query_stats", columns=["query"])["query"].unique().to_pylist())
    texts = house.read("safe", "searches", columns=["query"])["query"].unique().to_pylist()
    rare = {normalised(text) for text in texts if text} - often
    return [query for query in queries if normalised(query) not in rare]


def _examples(of: Catalogue, found: Mapping[str, Finder], asked: Sequence[str]) -> list[dict[str, Any]]:
    """Three queries, spread over the test, with the three first titles of each side."""
    titles = [document["title"] for document in of.documents()]
    queries = asked[:: max(1, len(asked) // EXAMPLES)][:EXAMPLES]
    sides = [name for name in (CHAMPION, CANDIDATE) if name in found]
    return [
        {"query": query, **{name: [titles[one.row] for one in found[name].find(query, 3)] for name in sides}}
        for query in queries
    ]


def bought(shop: str, of: Catalogue) -> tuple[Counter[int], int]:
    """Purchases of each distinct text, and of all; none where a shop has no log."""
    import pyarrow.compute as pc

    rows = warehouse(shop).read("safe", "interactions", columns=["kind", "item_id"])
    rows = rows.filter(pc.field("kind") == "purchase").group_by("item_id").aggregate([([], "count_all")])
    row_of, counts = of.rows_by_id(), Counter[int]()
    for item, count in zip(rows["item_id"].to_pylist(), rows["count_all"].to_pylist(), strict=True):
        if item in row_of:
            counts[row_of[item]] += count
    return counts, sum(counts.values())


def diversity(shop: str, of: Catalogue, ranked: Mapping[str, Rankings], asked: Grades) -> dict[str, dict[str, float]]:
    """Diversity of the first ten of candidate and champion; the obvious answers are those of BM25."""
    counts, total = bought(shop, of)
    places, first = shelves(of.items), dict[int, str]()
    for item, row in zip(of.item_ids, of.text_row.tolist(), strict=True):
        first.setdefault(row, item)
    return {
        role: beyond_right(ranked[role], asked, ranked["bm25"], shelf=lambda row: places[first[row]],
                           share=lambda row: (counts[row] + 1) / (total + len(of.texts)), items=len(of.texts), k=K)
        for role in (CANDIDATE, CHAMPION) if role in ranked
    }  # fmt: skip


def again(shop: str, of: Catalogue, candidate: "Bundle", asked: Grades) -> dict[str, list[float]]:
    """The candidate's figures once more: its files opened anew, its index built anew, every query asked anew."""
    lexical = Lexical.build(of.documents(), settings=lexical_settings(candidate.settings))
    finder = _finder(shop, of, lexical, candidate.folder, fusion_settings(candidate.settings))
    return measured(FIGURES, rankings(finder, asked), asked)


def newest(shop: str) -> str:
    """The newest day of what was judged on: of the log, by which segments are told, else when judgements were known."""
    house = warehouse(shop)
    logged = [days[-1] for name in ("searches", "interactions") if (days := house.days("safe", name))]
    if logged:
        return max(logged)
    known = house.read("safe", "judgements", columns=["known_time"])["known_time"].to_pylist()
    return str(max(known).date().isoformat())


def evaluate(
    shop: str, candidate: "Bundle | None", champion: "Bundle | None", *, level: float = LEVEL
) -> dict[str, Any]:
    """The report of the search: every system's figures with intervals, and candidate - champion by query.

    `level` is that of the deciding interval, below 1: of several tries each has to show more.
    """
    of = catalogue(shop)
    asked = grades(shop, of)
    if not asked:
        raise Problem(f"no judged query of shop '{shop}' has a relevant item", do="import judgements")
    with narrate("vectors of the catalogue"):
        found = systems(shop, of, candidate, champion)
    with narrate(f"{len(asked)} queries, {len(found)} systems"):
        ranked = {name: rankings(finder, asked) for name, finder in found.items()}
        values = {name: measured(FIGURES, each, asked) for name, each in ranked.items()}
    judged = candidate or champion
    assert judged is not None
    roles = {role: bundle for role, bundle in ((CANDIDATE, candidate), (CHAMPION, champion)) if bundle is not None}
    with narrate("latency"):
        quick = latencies({role: partial(found[role].find, k=K) for role in roles}, list(asked) * ROUNDS)
    house = warehouse(shop)
    found_out = privacy(shop, judged)
    marks = [mark for name in ("items", "judgements") if (mark := house.mark("safe", name, WHOLE)) is not None]
    report: dict[str, Any] = {
        "shop": shop, "bundle": "search", "primary": PRIMARY, "newest": newest(shop),
        "test": {"what": "judged queries with a relevant item; whole catalogue; unjudged is 0; equal texts are one",
                 "n": len(asked), "first": None, "last": None,
                 "items": of.items.num_rows, "texts": len(of.texts)},
        "systems": {name: summary(each) for name, each in values.items()},
        **{role: side(bundle) for role, bundle in roles.items()},
        "weights": {"fusion": dict(judged.settings["fusion"]), "share": judged.settings.get("share"),
                    "validation": judged.settings.get("validation")},
        "latency_ms": quick[CANDIDATE if candidate else CHAMPION], "size_bytes": sizes(roles),
        "calibration": {"exempt": EXEMPT}, "diversity": diversity(shop, of, ranked, asked),
        "data": [mark.name for mark in marks], "code": code_version(),
        "examples": _examples(of, found, tellable(shop, asked)),
        **found_out,
    }  # fmt: skip
    if candidate is not None:
        with narrate("the candidate once more"):
            report["reproduced"] = reproduced(PRIMARY, values[CANDIDATE], again(shop, of, candidate, asked))
    if len(roles) == 2:
        with narrate("candidate against champion, by segment"):
            groups = of_queries(shop, of, asked)
            mine, theirs = values[CANDIDATE][PRIMARY], values[CHAMPION][PRIMARY]
            report |= paired(PRIMARY, mine, theirs, level=level)
            report["losses"] = losses(list(asked), mine, theirs, set(tellable(shop, asked)))
            report |= {"segments": judged_segments(groups, mine, theirs), "segments_missing": missing(groups),
                       "latency_champion_ms": quick[CHAMPION]}  # fmt: skip
    return report


def privacy(shop: str, bundle: "Bundle") -> dict[str, Any]:
    """What of the judged bundle learnt from visitors, and what attacks on it found."""
    targets = encoder_targets(shop, bundle, lambda: untrained(shop, bundle.settings["base"]))
    marks = [mark.name for name in LEARNT for mark in warehouse(shop).marks("examples", name)]
    found = (unknown_members(targets, bundle.data, marks) or {}) if targets else {}
    if targets and not found:
        found = attacked(targets)
        with narrate("attack on attributes"):
            found |= told_by_vectors(shop, targets["encoder"]())
    return {"learnt_from_visitors": list(targets), "privacy": found}


def told_by_vectors(shop: str, target: EncoderTarget) -> dict[str, Any]:
    """Whether vectors of queries and of items tell more of who asked and took than the untrained encoder's do."""
    known = quasi_identifiers(shop, target.visitors)
    learnt, plain = (encoder_vectors(target, model) for model in (target.embedded, target.untrained))
    return {f"attributes: {name}": attributes(learnt[name], known, beside=plain[name]) for name in learnt}
