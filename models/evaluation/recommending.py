"""How good recommendations are: the test split's visitors, every item of the catalogue ranked, no sampling.

Judged once, on what each visitor bought in the 28 days after the test cutoff; nothing is chosen here.
The baselines stand in the same table: popularity, purchase counts, counts halved every 60 days, ALS,
and the last two added up.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from jobs.console import Refused, narrate
from jobs.warehouse import code_version, warehouse
from models.bundle import Bundle, building, seal
from models.evaluation.attacks import attacked, attributes, unknown_members
from models.evaluation.comparing import LEVEL, beyond_right, latencies, paired, reproduced, sizes
from models.evaluation.losses import losses
from models.evaluation.metrics import Grades, coverage, measured
from models.evaluation.segments import judged as judged_segments
from models.evaluation.segments import missing, of_visitors, shelves
from models.evaluation.targets import SERVED, quasi_identifiers, recommender_targets, recommender_vectors
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
from models.statistics import bootstrap_mean
from models.training.recommender import (
    LEAST_BUYERS,
    Purchases,
    Question,
    data_names,
    items_at,
    members,
    read_purchases,
    read_questions,
    served_moment,
    similar_to,
)

PRIMARY = "ndcg@10"
FIGURES = (PRIMARY, "recall@10", "hit@10")
LATER = {"ndcg@10": "ndcg_28d@10", "recall@10": "recall_28d@10"}
K = 10
DRAWS = 2_000  # of each system's own interval; the deciding paired one takes more
CALLS = 200  # answers whose latency is measured
WARM = 10  # answers before that
WORST = 5  # visitors whose losses are shown
RARE = "an item that few bought"
TWICE = 256  # visitors whom the candidate answers a second time: as many as are answered at once
EXEMPT = "scores are comparable within one answer only: they order it, and are no probabilities"
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
    """Each metric of each question, in their order: of the next basket, and of all bought in 28 days."""
    answers = dict(enumerate(ranked))
    basket: dict[int, Grades] = {n: dict.fromkeys(question.next_basket, 1.0) for n, question in enumerate(questions)}
    later: dict[int, Grades] = {n: dict.fromkeys(question.next_28d, 1.0) for n, question in enumerate(questions)}
    found = measured(FIGURES, answers, basket)
    return found | {LATER[name]: values for name, values in measured(LATER, answers, later).items()}


def reference(shop: str, candidate: Recommender | None) -> Items:
    """Items with the baseline's factors as of the test cutoff: the candidate's own if made the same way, else anew."""
    moment = served_moment(shop)
    same = candidate is not None and replace(candidate.settings, mix=Settings.mix) == Settings()
    if candidate is not None and same and candidate.items.as_of == moment:
        return candidate.items
    return items_at(shop, moment, members(read_purchases(shop), shop), Settings(), seed=1)


def refuse_foresight(bundle: Bundle, moment: float) -> None:
    """`Refused` if a bundle has seen purchases after the test cutoff: it would be judged on what it knows."""
    if float(bundle.settings["as_of"]) > moment:
        raise Refused(f"{bundle.shop}.{bundle.name} {bundle.version} was made after the test cutoff",
                      do="make the examples for later days first, or train again")  # fmt: skip


def evaluate(shop: str, candidate: Bundle | None, champion: Bundle | None, *, level: float = LEVEL) -> dict[str, Any]:
    """The report of candidate, champion and baselines on the test split, as a dict without a verdict.

    `level` is that of the deciding interval, below 1: of several tries each has to show more.
    """
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
        found = {name: figures(ranks, questions) for name, ranks in ranked.items()}
        systems = {name: {metric: bootstrap_mean(values, draws=DRAWS).as_dict() for metric, values in each.items()}
                   for name, each in found.items()}  # fmt: skip
    span = _span(questions)
    report: dict[str, Any] = {
        "shop": shop,
        "bundle": "recommend",
        "primary": PRIMARY,
        "newest": span["last"],
        "test": {"what": "visitors", "n": len(questions), "items": len(items.ids), **span},
        "systems": systems,
        "coverage": {name: coverage(ranks, len(items.ids), K) for name, ranks in ranked.items()},
        "calibration": {"exempt": EXEMPT},
        "diversity": diversity(shop, ranked, questions, items),
        "size_bytes": sizes(roles),
        "data": data_names(shop),
        "code": code_version(),
    }
    for role, bundle in roles.items():
        report[role] = {"version": bundle.version, "name": bundle.kind, "sha256": bundle.sha256}
    if candidate is not None:
        report["weights"] = _weights(candidate)
        with narrate("the candidate once more"):
            report["reproduced"] = reproduced(PRIMARY, found["candidate"], again(candidate, questions[:TWICE]))
    if len(roles) == 2:
        with narrate("candidate against champion, by segment"):
            visitors = [question.visitor for question in questions]
            groups = of_visitors(shop, questions, items, quasi_identifiers(shop, visitors))
            mine, theirs = found["candidate"][PRIMARY], found["champion"][PRIMARY]
            report |= paired(PRIMARY, mine, theirs, clusters=visitors, level=level)
            report |= {"segments": judged_segments(groups, mine, theirs, clusters=visitors),
                       "segments_missing": missing(groups),
                       "losses": lost(shop, questions, ranked, mine, theirs)}  # fmt: skip
    if opened:
        quick = latencies({role: bundle_answer(r) for role, r in opened.items()}, questions[:CALLS], WARM)
        report["latency_ms"] = quick["candidate" if candidate else "champion"]
        report |= {"latency_champion_ms": quick["champion"]} if len(roles) == 2 else {}
        report["examples"] = list(examples(shop, opened, items))
    return report | privacy(shop, candidate or champion)


def lost(
    shop: str, questions: list[Question], ranked: Mapping[str, list[list[str]]], candidate: list[float],
    champion: list[float],
) -> dict[str, Any]:  # fmt: skip
    """As `losses`, of the visitors who lose most: their rank, what both showed them, and what they bought then.

    Nobody is named, and no item that points at a person: a title stands there if `LEAST_BUYERS` visitors bought it.
    Who knows a visitor's basket may still know it again, and sees which common items they bought before: the report is
    for those who may read histories.
    """
    names = [str(n) for n in range(len(questions))]
    found = losses(names, candidate, champion, names, WORST)
    places = [int(row.pop("query")) for row in found["shown"]]
    asked = [(sorted(questions[n].next_basket), {role: ranked[role][n] for role in ("champion", "candidate")})
             for n in places]  # fmt: skip
    ids = {item for basket, answers in asked for each in (basket, *answers.values()) for item in each}
    titles = _titles(shop, sorted(ids)) | dict.fromkeys(ids - common(read_purchases(shop)), RARE)
    for rank, (row, (basket, answers)) in enumerate(zip(found["shown"], asked, strict=True), 1):
        told = apart([item for each in (*answers.values(), basket) for item in each], titles)
        row |= {"visitor": rank, "bought": sorted(told[item] for item in basket),
                "answers": {role: [told[item] for item in items] for role, items in answers.items()}}  # fmt: skip
    return found


def apart(items: Iterable[str], titles: Mapping[str, str]) -> dict[str, str]:
    """A name for each of these items, in their order: its title, numbered from the second of the same title on.

    >>> apart(["a", "b", "a", "c"], {"a": "hat", "b": "hat", "c": "cap"})
    {'a': 'hat', 'b': 'hat (2)', 'c': 'cap'}
    """
    seen, found = Counter[str](), dict[str, str]()
    for item in dict.fromkeys(items):
        seen[titles[item]] += 1
        found[item] = titles[item] if seen[titles[item]] == 1 else f"{titles[item]} ({seen[titles[item]]})"
    return found


def common(purchases: Purchases) -> frozenset[str]:
    """The items that enough different visitors bought to point at none of them."""
    pairs = np.unique(purchases.visitor * len(purchases.items) + purchases.item)
    buyers = np.bincount(pairs % len(purchases.items), minlength=len(purchases.items))
    return frozenset(np.array(purchases.items)[buyers >= LEAST_BUYERS].tolist())


def bundle_answer(recommender: Recommender) -> Callable[[Question], Any]:
    """One answer of a served bundle, by the way that serving takes."""
    return lambda question: recommender.recommend(question.history, datetime.fromtimestamp(question.now, UTC), K)


def again(candidate: Bundle, questions: list[Question]) -> dict[str, list[float]]:
    """The candidate's figures of these questions once more, its files opened anew."""
    anew = Recommender.open(candidate)
    ranked = rankings({"candidate": bundle_ranker(anew)}, anew.items, questions)
    return figures(ranked["candidate"], questions)


def diversity(
    shop: str, ranked: Mapping[str, list[list[str]]], questions: list[Question], items: Items
) -> dict[str, dict[str, float]]:
    """Diversity of candidate and champion; the obvious answers are those of decayed counts, which everybody expects."""
    places = shelves(warehouse(shop).read("safe", "items", columns=["item_id", "department", "category"]))
    total = float(items.popularity.sum()) + len(items.ids)
    baskets = {n: dict.fromkeys(question.next_basket, 1.0) for n, question in enumerate(questions)}
    obvious = dict(enumerate(ranked["decayed counts"]))

    def share(item: str) -> float:
        return (float(items.popularity[items.index[item]]) + 1) / total if item in items.index else 1 / total

    return {
        role: beyond_right(dict(enumerate(ranked[role])), baskets, obvious, share=share,
                           shelf=lambda item: places.get(item, (None, None)), items=len(items.ids), k=K)
        for role in ("candidate", "champion") if role in ranked
    }  # fmt: skip


def privacy(shop: str, bundle: Bundle | None) -> dict[str, Any]:
    """What of the judged bundle learnt from visitors, and what attacks on it found."""
    targets = recommender_targets(shop, bundle) if bundle else {}
    held = [part for part in targets if part in SERVED]
    found: dict[str, Any] = {"learnt_from_visitors": held, "privacy": {}}
    if bundle is None or not targets:
        return found
    marks = [
        mark.name for name in ("recommender", "recommender_items") for mark in warehouse(shop).marks("examples", name)
    ]
    found["privacy"] = unknown_members(targets, bundle.data, marks) or attacked(targets)
    if bundle.settings.get("factors"):
        with narrate("attack on attributes"):
            visitors, vectors, beside = recommender_vectors(shop, bundle)
            asked = quasi_identifiers(shop, visitors)
            found["privacy"]["attributes: visitors"] = attributes(vectors, asked, beside=beside)
    return found


def _span(questions: list[Question]) -> dict[str, str]:
    now = datetime.fromtimestamp(questions[-1].now, UTC)
    last = datetime.fromtimestamp(questions[-1].now + 27 * DAY, UTC)
    return {"first": now.date().isoformat(), "last": last.date().isoformat()}


def _weights(bundle: Bundle) -> dict[str, Any]:
    """What was chosen on validation, and by which figures."""
    chosen = {name: bundle.settings[name] for name in ("mix", "epoch") if name in bundle.settings}
    return {**chosen, "validation": bundle.settings.get("validation", {})}


def examples(shop: str, opened: Mapping[str, Recommender], items: Items) -> Iterator[dict[str, Any]]:
    """Answers for invented visitors, who bought a few popular items: whole answers to whole histories, and nobody's."""
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
