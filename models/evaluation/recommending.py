"""How good recommendations are: the test split's visitors, every item of the catalogue ranked, no sampling.

Judged once, on what each visitor bought in the 28 days after the test cutoff; nothing is chosen here.
The baselines stand in the same table: popularity, purchase counts, counts halved every 60 days, ALS,
and the last two added up.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from jobs.console import Refused, narrate
from jobs.warehouse import code_version, warehouse
from models.bundle import Bundle, building, seal
from models.evaluation.metrics import coverage, ndcg, recall
from models.recommender import (
    DAY,
    Floats,
    History,
    Indices,
    Items,
    Numbers,
    Recommender,
    Settings,
    decayed_at,
    known_items,
    top,
    write_items,
)
from models.statistics import bootstrap_mean, paired_bootstrap
from models.training.recommender import (
    Question,
    data_names,
    items_at,
    read_purchases,
    read_questions,
    served_moment,
    similar_to,
)

PRIMARY = "ndcg@10"
K = 10
DRAWS = 2_000  # of each system's own interval; the deciding paired one takes more
Ranker = Callable[[Question, Floats | None], list[str]]


def baseline(shop: str) -> Path:
    """The first champion: counts halved every 60 days, popularity for the rest. Needs no training."""
    settings = Settings(kind="counts", similar=0, factors=0, mix=0.0)
    with building(shop, "recommend") as folder:
        items = items_at(shop, served_moment(shop), None, settings, seed=1)
        write_items(items, folder)
        seal(folder, shop=shop, name="recommend", kind="decayed counts",
             settings={**asdict(settings), "as_of": items.as_of}, data=data_names(shop))  # fmt: skip
    return folder


def _by_scores(scores: Numbers | Floats, items: Items) -> list[str]:
    return [items.ids[i] for i in top(scores, K)]


def _known_scores(question: Question, items: Items, decayed: bool) -> Numbers:
    """A score for all items: (decayed) counts of the bought, popularity below the least of them as the fill."""
    rows, known = known_items(question.history, items)
    values = decayed_at(question.history, question.now, 60.0) if decayed else question.history.counts
    least = float(values[rows].min()) if len(rows) else 1.0
    scores = items.popularity / (float(items.popularity.max()) + 1e-9) * least * 1e-3
    scores[known] += values[rows]
    return scores


def baselines(items: Items) -> dict[str, Ranker]:
    """Each baseline as a function of a question and the similarities of its history to all items."""
    popular = [items.ids[i] for i in items.by_popularity[:K]]

    def fused(question: Question, similar: Floats | None) -> list[str]:
        counts = _known_scores(question, items, decayed=True)
        return _by_scores(counts if similar is None else counts + similar, items)

    return {
        "popularity": lambda question, similar: popular,
        "counts": lambda question, similar: _by_scores(_known_scores(question, items, decayed=False), items),
        "decayed counts": lambda question, similar: _by_scores(_known_scores(question, items, decayed=True), items),
        "als": lambda question, similar: popular if similar is None else _by_scores(similar, items),
        "decayed counts + als": fused,
    }


def rankings(rankers: Mapping[str, Ranker], items: Items, questions: list[Question]) -> dict[str, list[list[str]]]:
    """The first ten of every system for every question; rankers of one set of items share its similarities."""
    out: dict[str, list[list[str]]] = {name: [] for name in rankers}
    similar = similar_to(Recommender(items, Settings()), questions)
    for question, scores in zip(questions, similar, strict=True):
        for name, ranker in rankers.items():
            out[name].append(ranker(question, scores))
    return out


def bundle_ranker(recommender: Recommender) -> Ranker:
    """A served bundle, through the code that serves it."""
    return lambda question, similar: recommender.ranking(question.history, question.now, similar, K)


def figures(ranked: list[list[str]], questions: list[Question]) -> dict[str, list[float]]:
    """Each metric of each question, in their order."""
    pairs = list(zip(ranked, questions, strict=True))
    return {
        "ndcg@10": [ndcg(r, dict.fromkeys(q.next_basket, 1), K) for r, q in pairs],
        "recall@10": [recall(r, q.next_basket, K) for r, q in pairs],
        "ndcg_28d@10": [ndcg(r, dict.fromkeys(q.next_28d, 1), K) for r, q in pairs],
        "recall_28d@10": [recall(r, q.next_28d, K) for r, q in pairs],
    }


def reference(shop: str, candidate: Recommender | None) -> Items:
    """Items with factors as of the test cutoff: the candidate's own, which are made the same way, else made anew."""
    moment = served_moment(shop)
    if candidate is not None and candidate.items.as_of == moment and candidate.items.factors.shape[1]:
        return candidate.items
    return items_at(shop, moment, read_purchases(shop), Settings(), seed=1)


def refuse_foresight(bundle: Bundle, moment: float) -> None:
    """`Refused` if a bundle has seen purchases after the test cutoff: it would be judged on what it knows."""
    if float(bundle.settings["as_of"]) > moment:
        raise Refused(f"{bundle.shop}.{bundle.name} {bundle.version} was made after the test cutoff",
                      do="make the examples for later days first, or train again")  # fmt: skip


def evaluate(shop: str, candidate: Bundle | None, champion: Bundle | None) -> dict[str, Any]:
    """The report of candidate, champion and baselines on the test split, as a dict without a verdict."""
    questions = read_questions(shop, "test")
    roles = {role: bundle for role, bundle in (("candidate", candidate), ("champion", champion)) if bundle}
    for bundle in roles.values():
        refuse_foresight(bundle, served_moment(shop))
    opened = {role: Recommender.open(bundle) for role, bundle in roles.items()}
    with narrate(f"rankings of {len(questions):,} visitors"):
        items = reference(shop, opened.get("candidate"))
        rankers = baselines(items)
        rankers |= {role: bundle_ranker(r) for role, r in opened.items() if r.items is items}
        ranked = rankings(rankers, items, questions)
        for role, recommender in opened.items():
            if recommender.items is not items:
                ranked |= rankings({role: bundle_ranker(recommender)}, recommender.items, questions)
    with narrate("intervals"):
        measured = {name: figures(ranks, questions) for name, ranks in ranked.items()}
        systems = {name: {metric: bootstrap_mean(values, draws=DRAWS).as_dict() for metric, values in found.items()}
                   for name, found in measured.items()}  # fmt: skip
    report: dict[str, Any] = {
        "shop": shop,
        "bundle": "recommend",
        "primary": PRIMARY,
        "test": {"what": "visitors", "n": len(questions), "items": len(items.ids), **_span(questions)},
        "systems": systems,
        "coverage": {name: coverage(ranks, len(items.ids), K) for name, ranks in ranked.items()},
        "data": data_names(shop),
        "code": code_version(),
    }
    for role, bundle in roles.items():
        report[role] = {"version": bundle.version, "name": bundle.kind, "sha256": bundle.sha256}
    if candidate is not None:
        report["weights"] = _weights(candidate)
    if len(roles) == 2:
        visitors = [question.visitor for question in questions]
        mine, theirs = measured["candidate"][PRIMARY], measured["champion"][PRIMARY]
        report["paired"] = {"metric": PRIMARY, **paired_bootstrap(mine, theirs, clusters=visitors).as_dict()}
    judged = opened.get("candidate") or opened.get("champion")
    if judged is not None:
        report["latency_ms"] = latency(judged, questions)
        report["examples"] = list(examples(shop, opened, items))
    return report


def _span(questions: list[Question]) -> dict[str, str]:
    now = datetime.fromtimestamp(questions[-1].now, UTC)
    last = datetime.fromtimestamp(questions[-1].now + 27 * DAY, UTC)
    return {"first": now.date().isoformat(), "last": last.date().isoformat()}


def _weights(bundle: Bundle) -> dict[str, Any]:
    """What was chosen on validation, and by which figures."""
    chosen = {name: bundle.settings[name] for name in ("mix", "epoch") if name in bundle.settings}
    return {**chosen, "validation": bundle.settings.get("validation", {})}


def latency(recommender: Recommender, questions: list[Question], calls: int = 200) -> dict[str, float]:
    """Milliseconds of one answer on this machine, by the served path, one after another, after ten to warm up."""
    took = []
    for question in (questions[:10] + questions)[: calls + 10]:
        began = time.perf_counter()
        recommender.recommend(question.history, datetime.fromtimestamp(question.now, UTC), K)
        took.append((time.perf_counter() - began) * 1000)
    p50, p99 = np.percentile(took[10:] or took, [50, 99])
    return {"p50": round(float(p50), 2), "p99": round(float(p99), 2)}


def examples(shop: str, opened: Mapping[str, Recommender], items: Items) -> Iterator[dict[str, Any]]:
    """Answers for invented visitors, who bought a few popular items: a report shows nobody's real history."""
    popular = items.by_popularity
    for places in ([0, 5, 9], [20, 31], [60, 75, 90]):
        picks = popular[[place for place in places if place < len(popular)]]
        history = _invented(picks, items)
        answers = {role: [hit.item_id for hit in r.recommend(history, datetime.fromtimestamp(items.as_of, UTC), 5)]
                   for role, r in opened.items()}  # fmt: skip
        titles = _titles(shop, [items.ids[i] for i in picks] + [item for ids in answers.values() for item in ids])
        yield {"given": [titles[items.ids[i]] for i in picks],
               **{role: [titles[item] for item in ids] for role, ids in answers.items()}}  # fmt: skip


def _invented(picks: Indices, items: Items) -> History:
    days: Numbers = (3 + 7 * np.arange(len(picks))).astype(np.float64)
    counts: Numbers = np.arange(len(picks), 0, -1).astype(np.float64)
    return History(tuple(items.ids[i] for i in picks), items.as_of - days * DAY, counts, counts * 0.5 ** (days / 60),
                   items.as_of, float(counts.sum()), 3.0)  # fmt: skip


def _titles(shop: str, ids: list[str]) -> dict[str, str]:
    """Titles by id, the id itself where the catalogue has none."""
    import pyarrow as pa
    import pyarrow.compute as pc

    rows = warehouse(shop).read("safe", "items", columns=["item_id", "title"])
    rows = rows.filter(pc.is_in(rows["item_id"], pa.array(ids, pa.string())))
    known = dict(zip(rows["item_id"].to_pylist(), rows["title"].to_pylist(), strict=True))
    return {item: known.get(item) or item for item in ids}
