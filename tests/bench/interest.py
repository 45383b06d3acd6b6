"""Do vectors help the recommender? `python -m tests.bench.interest SHOP`; needs the shop's examples and its index.

What validation asks, and nothing else: the test window is not read. The scorer is trained as `models train recommender`
trains it, and once more with two inputs beside its own: how near each candidate lies to the visitor's interest (the
mean of the vectors of what they bought, by decayed counts) and its rank by that; and a third time with the nearest
items of the catalogue as candidates of visitors who bought few. Each is trained with several seeds, a visitor's figure
is the mean over them, and the difference is paired by visitor. Beside it stands what an attack on membership finds.

The second table is for visitors of whom nothing is known but one touch: the first item of their next basket. How much
of the rest of that basket is among ten answers? The third asks the same without a scorer, so that it can ask at the
moments of training too: of each item that too few bought to have factors, by how much it was bought, is it the popular
or the nearest items that are found in the rest of the basket?
"""

import argparse
import itertools
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from jobs.console import Problem, grid, say
from jobs.events import Session, Touch
from models.evaluation.attacks import membership
from models.evaluation.metrics import ndcg
from models.evaluation.targets import ScorerTarget
from models.promotions import find_champion
from models.recommender import (
    Floats,
    History,
    Indices,
    Items,
    Recommender,
    Settings,
    candidates,
    counted,
    decayed_at,
    features,
    known_items,
    top,
)
from models.retrieval.interest import ItemVectors, distances
from models.statistics import Interval, bootstrap_mean, paired_bootstrap
from models.training.recommender import (
    LATER,
    LOOP,
    TRAINED,
    Lesson,
    Question,
    Scored,
    early_scorer,
    items_at,
    lesson,
    members,
    moments,
    next_baskets,
    nonmembers,
    read_purchases,
    read_questions,
    similar_to,
)
from tests.bench.measure import machine

SHORT = 5  # items bought, up to which a history is short
NEAREST = 100  # candidates by vectors of a short history
SHELF = 50  # of the nearest items, those among which the popular are first
TOUCHES = 500  # touches of a moment that are tried, of items that nobody had bought lately, and of others
BOUGHT = (-1.0, 0.0, 1.0, 3.0, 10.0, 30.0, math.inf)  # decayed purchases of what is touched
FEW = 20  # visitors, below which a line of the third table says nothing
K = 10


@dataclass(frozen=True)
class Way:
    """What vectors are used for."""

    name: str
    inputs: bool = False
    candidates: bool = False


WAYS = (
    Way("as it is"),
    Way("nearness and its rank", inputs=True),
    Way("the same, and candidates", inputs=True, candidates=True),
)


@dataclass(frozen=True)
class Placed:
    """Items of one moment, and the row of each in the matrix of vectors (-1: none)."""

    items: Items
    rows: Indices
    vectors: ItemVectors

    def nearness(self, history: History, chosen: Indices) -> Floats | None:
        """Cosine of each chosen item to the visitor's interest, 0 where there is no telling; None without interest."""
        wanted = self.vectors.interest(history.items, history.decayed)
        if wanted is None:
            return None
        found: Floats = 1 - distances(self.vectors.vectors.matrix, wanted, self.rows[chosen])
        return np.nan_to_num(found)

    def nearest(self, history: History, count: int) -> Indices:
        """The `count` items nearest to the visitor's interest, best first, of equally near ones the popular first."""
        wanted = self.vectors.interest(history.items, history.decayed)
        if wanted is None:
            return np.zeros(0, np.int64)
        near = np.append(self.vectors.vectors.matrix @ wanted, np.float32(-1))[self.rows]
        first = top(near, 3 * count)
        return first[np.lexsort((-self.items.popularity[first], -np.round(near[first], 5)))][:count]


def seen(question: Question, similar: Floats | None, placed: Placed, way: Way, settings: Settings) -> Scored:
    """As `scored` of the training, with what vectors add."""
    history, items = question.history, placed.items
    rows, known = known_items(history, items)
    chosen = candidates(known, similar, items, settings)
    if way.candidates and len(known) <= SHORT:
        near = placed.nearest(history, NEAREST)
        chosen = np.concatenate([chosen, near[~np.isin(near, chosen)]])
    given = features(history, rows, known, chosen, similar, items, question.now, settings)
    if way.inputs:
        near = placed.nearness(history, chosen)
        more = np.zeros((len(chosen), 2), np.float32)
        if near is not None:
            more[:, 0], more[:, 1] = near, -np.log1p(np.argsort(np.lexsort((chosen, -near))))
        given = np.hstack([given, more])
    counts = counted(chosen, decayed_at(history, question.now, settings.half_life)[rows], items)
    ids = [items.ids[i] for i in chosen]
    wanted = np.array([1.0 if i in question.next_basket else LATER if i in question.next_28d else 0.0 for i in ids])
    return Scored(given, (wanted / max(wanted.sum(), 1e-9)).astype(np.float32), counts, chosen)


def all_seen(
    questions: list[Question], placed: Mapping[float, Placed], way: Way, settings: Settings
) -> Iterator[Scored]:
    """Every question with the items of its moment; ordered by moment."""
    for moment in moments(questions):
        now = [question for question in questions if question.now == moment]
        similar = similar_to(Recommender(placed[moment].items, settings), now)
        for question, scores in zip(now, similar, strict=True):
            yield seen(question, scores, placed[moment], way, settings)


@dataclass(frozen=True)
class Asked:
    """The questions of a shop that training and validation ask, and its items at their moments."""

    shop: str
    teach: list[Question]
    outside: list[Question]
    check: list[Question]
    placed: Mapping[float, Placed]

    @property
    def last(self) -> Placed:
        """Items as validation sees them."""
        return self.placed[moments(self.check)[-1]]

    @staticmethod
    def of(shop: str, vectors: ItemVectors) -> "Asked":
        """Read a shop; factors as `train` makes them, of members alone."""
        teach, check = read_questions(shop, "train"), read_questions(shop, "validation")
        check = [question for question in check if question.now == moments(check)[-1]]
        asked = {*moments(teach)}
        outside = [each for each in read_questions(shop, "nonmember", must=False) if each.now in asked]
        purchases, placed = members(read_purchases(shop), shop), {}
        for moment in [*moments(teach), *moments(check)]:
            items = items_at(shop, moment, purchases, TRAINED, seed=1)
            placed[moment] = Placed(items, vectors.rows(items.ids), vectors)
        return Asked(shop, teach, outside, check, placed)


@dataclass(frozen=True)
class Trained:
    """One way: NDCG@10 of each validation visitor over the seeds, of one touch, and the attack's entry."""

    ndcg: list[float]
    touched: list[float]
    epochs: list[int]
    attack: Mapping[str, Any] | None


def trained(asked: Asked, way: Way, seeds: Sequence[int], touches: list[Question], *, attack: bool) -> Trained:
    """Train one way with each seed, and judge it on validation."""
    random = np.random.default_rng(1)
    lessons = [lesson(row, random) for row in all_seen(asked.teach, asked.placed, way, TRAINED)]
    held = list(all_seen(asked.check, asked.placed, way, TRAINED))
    one = list(all_seen(touches, asked.placed, way, TRAINED))
    items = asked.last.items
    figures, touched, epochs, scorers = [], [], [], []
    for seed in seeds:
        scorer, epoch, _ = early_scorer(
            lessons, lambda s: next_baskets(s, 1.0, asked.check, held, items), replace(LOOP, seed=seed, device="cpu")
        )
        figures.append(next_baskets(scorer, 1.0, asked.check, held, items))
        touched.append([rest(q, row.chosen[top(scorer(row.features), K + 1)], items)
                        for q, row in zip(touches, one, strict=True)])  # fmt: skip
        scorers.append(scorer)
        epochs.append(epoch + 1)
        say(f"  {way.name}: seed {seed}, epoch {epoch + 1}, {np.mean(figures[-1]):.4f}")
    found = None
    if attack:
        target = attackable(asked, way, lessons, random, scorers[0], seeds[0], epochs[0])
        found = membership(target)
    return Trained(np.mean(figures, 0).tolist(), np.mean(touched, 0).tolist(), epochs, found)


def attackable(
    asked: Asked, way: Way, lessons: list[Lesson], random: np.random.Generator, scorer: Any, seed: int, epoch: int
) -> ScorerTarget:
    """A scorer with the lessons of those it learnt from and of those it did not, as `scorer_target` puts a bundle's."""
    others = [lesson(row, random) for row in all_seen(asked.outside, asked.placed, way, TRAINED)]
    order = sorted(asked.teach, key=lambda q: q.now), sorted(asked.outside, key=lambda q: q.now)
    kept = [(q.visitor, row) for questions, rows in zip(order, (lessons, others), strict=True)
            for q, row in zip(questions, rows, strict=True) if row.wanted.any()]  # fmt: skip
    visitors = sorted({visitor for visitor, _ in kept})
    place, out = {visitor: n for n, visitor in enumerate(visitors)}, nonmembers(asked.shop)
    return ScorerTarget(
        visitors, np.array([visitor in out for visitor in visitors], bool), [row for _, row in kept],
        np.array([place[visitor] for visitor, _ in kept], np.int64), scorer, replace(LOOP, seed=seed, device="cpu"),
        epoch,
    )  # fmt: skip


# ---- one touch ------------------------------------------------------------------------------------


def clicked(item: str, now: float) -> History:
    """What is known of a stranger who clicked an item just now."""
    return History().with_session(Session((Touch(int(now), item, "click"),)), now, TRAINED.half_life)


def one_touch(questions: list[Question], items: Items) -> list[Question]:
    """The same moments, of visitors nobody knows who just clicked the first item (by name) of their next basket;
    those whose basket has more. Wanted is the rest."""
    found = []
    for question in questions:
        basket = sorted(item for item in question.next_basket if item in items.index)
        if len(basket) < 2:
            continue
        others = frozenset(basket[1:])
        known = clicked(basket[0], question.now)
        found.append(replace(question, history=known, next_basket=others, next_28d=others))
    return found


def rest(question: Question, best: Sequence[int] | Indices, items: Items) -> float:
    """NDCG@10 of the rest of a basket; what was touched is no answer."""
    told = [items.ids[i] for i in best if items.ids[i] not in question.history.items][:K]
    return ndcg(told, dict.fromkeys(question.next_basket, 1), K)


def orders(placed: Placed, history: History) -> dict[str, Indices]:
    """What needs no scorer: the popular; the nearest, of one text the popular first; the most popular of the nearest
    `SHELF`; popular and nearest by turns."""
    items = placed.items
    popular, near = items.by_popularity[: K + 1], placed.nearest(history, NEAREST)
    shelf = near[:SHELF]
    turns = [place for pair in zip(near, popular, strict=False) for place in pair]
    return {
        "popular": popular,
        "nearest": near[: K + 1],
        f"popular of the {SHELF} nearest": shelf[np.argsort(-items.popularity[shelf], kind="stable")][: K + 1],
        "by turns": np.array(list(dict.fromkeys(turns)), np.int64),
    }


@dataclass(frozen=True)
class Tried:
    """One touch: the visitor, how often its item was bought lately (decayed), and the figure of each order."""

    visitor: str
    bought: float
    figures: Mapping[str, float]


def tried(asked: Asked, seed: int = 1) -> Iterator[Tried]:
    """Touches of items without factors, at every moment before the test; a sample of those that nobody had bought
    lately, and as many of the others."""
    random = np.random.default_rng(seed)
    for moment, placed in asked.placed.items():
        items, touches = placed.items, dict[bool, list[tuple[Question, str]]]()
        for question in (*asked.teach, *asked.outside, *asked.check):
            basket = sorted(item for item in question.next_basket if item in items.index)
            for item in basket if question.now == moment and len(basket) > 1 else ():
                place = items.index[item]
                if not items.factors[place].any():
                    touches.setdefault(bool(items.popularity[place] > 0), []).append((question, item))
        for pairs in touches.values():
            for n in sorted(random.permutation(len(pairs))[:TOUCHES].tolist()):
                question, item = pairs[n]
                known = clicked(item, moment)
                wanted = frozenset(question.next_basket - {item})
                asking = replace(question, history=known, next_basket=wanted)
                figures = {name: rest(asking, best, items) for name, best in orders(placed, known).items()}
                yield Tried(question.visitor, float(items.popularity[items.index[item]]), figures)


def by_bought(found: Sequence[Tried]) -> Iterator[tuple[str, ...]]:
    """Lines of the third table: how often it was bought, touches, visitors, popular, and each order's change."""
    for low, high in itertools.pairwise(BOUGHT):
        some = [each for each in found if low < each.bought <= high]
        who = [each.visitor for each in some]
        if len(set(who)) < FEW:
            continue
        popular, *others = some[0].figures
        told = {name: [each.figures[name] for each in some] for name in (popular, *others)}
        changes = (said(paired_bootstrap(told[name], told[popular], clusters=who, draws=2_000), "+") for name in others)
        words = "0" if high == 0 else f"up to {high:g}" if np.isfinite(high) else "more"
        yield (words, f"{len(some)}", f"{len(set(who))}", f"{np.mean(told[popular]):.4f}", *changes)


# ---- tables ---------------------------------------------------------------------------------------


def said(interval: Interval, sign: str = "") -> str:
    """A figure with its interval."""
    return f"{interval.mean:{sign}.4f} ({interval.low:{sign}.4f} to {interval.high:{sign}.4f})"


def line(name: str, mine: list[float], theirs: list[float], some: list[bool]) -> tuple[str, ...]:
    """A way, its figure and its difference to the first, of all and of some."""
    few, few_theirs = ([v for v, kept in zip(values, some, strict=True) if kept] for values in (mine, theirs))
    change = "" if mine is theirs else said(paired_bootstrap(mine, theirs), "+")
    change_few = "" if mine is theirs or not few else said(paired_bootstrap(few, few_theirs), "+")
    return (name, said(bootstrap_mean(mine)), change, f"{np.mean(few):.4f}" if few else "", change_few)


def main(argv: list[str]) -> int:
    """Train each way, and print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shop")
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args(argv)
    champion = find_champion(args.shop, "search")
    if champion is None:
        raise Problem(f"'{args.shop}' has no champion of search, and so no index",
                      do=f"run 'python -m models baseline search --shop {args.shop}'")  # fmt: skip
    vectors = ItemVectors.open(args.shop, champion.bundle.version)
    print(f"{machine()}; python -m tests.bench.interest {' '.join(argv)}", flush=True)
    asked = Asked.of(args.shop, vectors)
    items, seeds = asked.last.items, range(1, args.seeds + 1)
    touches = one_touch(asked.check, items)
    found = {way.name: trained(asked, way, seeds, touches, attack=True) for way in WAYS}
    first = found[WAYS[0].name]

    short = [len(known_items(q.history, items)[1]) <= SHORT for q in asked.check]
    print(f"validation: {len(asked.check)} visitors, {sum(short)} of them with at most {SHORT} items; NDCG@{K} of the "
          f"next basket, {len(items.ids):,} items, encoder {vectors.encoder[:8]}, {args.seeds} seeds")  # fmt: skip
    rows = []
    for name, each in found.items():
        attack = each.attack or {}
        area = f"{attack['figure']:.3f} ({attack['interval'][0]:.3f} to {attack['interval'][1]:.3f})" \
            if attack.get("figure") is not None else str(attack.get("invalid"))  # fmt: skip
        epochs = " ".join(str(epoch) for epoch in each.epochs)
        rows.append((*line(name, each.ndcg, first.ndcg, short), epochs, area))
    print(grid(("scorer", "NDCG@10", "change", "short", "change", "epochs", "membership"), rows))

    alone = [not items.factors[items.index[q.history.items[0]]].any() for q in touches]
    print(f"one touch: {len(touches)} visitors, {sum(alone)} of them touched an item without factors")
    plain = [{name: rest(q, best, items) for name, best in orders(asked.last, q.history).items()} for q in touches]
    by_way = {name: each.touched for name, each in found.items()}
    by_way |= {name: [each[name] for each in plain] for name in (plain[0] if plain else ())}
    print(grid(("order", f"NDCG@{K} of the rest", "change", "without factors", "change"),
               [line(name, values, first.touched, alone) for name, values in by_way.items()]))  # fmt: skip

    lines = list(by_bought(list(tried(asked))))
    print(f"one touch of an item without factors, {len(asked.placed)} moments; NDCG@{K} of the rest, change to popular")
    print(grid(("bought lately", "touches", "visitors", "popular", "nearest", f"popular of the {SHELF} nearest",
                "by turns"), lines))  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
