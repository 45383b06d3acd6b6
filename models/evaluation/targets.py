"""What of each bundle learnt from visitors, as an attack sees it: one `models.evaluation.attacks.Target` a part.

A new model brings one class here: whom it learnt from, its losses by visitor, and how a model like it is made without
some of them. It then passes through the gate as all others do.
"""

import io
import itertools
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass, field, fields, replace
from functools import cache, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from jobs.tables import table
from jobs.warehouse import warehouse
from models.bundle import Bundle
from models.encoder import Encoder, load_base
from models.evaluation.attacks import Flags, Numbers, Target, drawn
from models.recommender import (
    Floats,
    History,
    Indices,
    Items,
    Recommender,
    Scorer,
    Settings,
    confidence,
    fold_in,
    known_items,
)
from models.retrieval.indexing import Catalogue, catalogue
from models.training import loop
from models.training.encoder import (
    EncoderTraining,
    Pair,
    chosen,
    embedded,
    fine_tune,
    read_pairs,
    training_tokenizer,
)
from models.training.recommender import (
    HIDDEN,
    LOOP,
    Lesson,
    Purchases,
    Question,
    fit_scorer,
    item_factors,
    items_at,
    lesson,
    members,
    moments,
    nonmembers,
    read_purchases,
    read_questions,
    rows_of,
    similar_to,
)

HEART = 60  # epochs in which the canary's scorer learns a few visitors by heart


def _flags(visitors: Sequence[str], outside: frozenset[str]) -> Flags:
    return np.array([visitor in outside for visitor in visitors], bool)


# --- The recommender ---


@dataclass(frozen=True)
class ScorerTarget:
    """The network that orders candidates: softmax loss of a visitor's lessons, as it was trained.

    Features are those of the candidate's training for all; the reference differs in whose lessons it saw.
    """

    visitors: Sequence[str]
    nonmember: Flags
    lessons: Sequence[Lesson]
    owner: NDArray[np.int64]
    scorer: Scorer
    training: loop.Settings
    epoch: int
    part: str = "scorer"
    reference_is: str = "a scorer of the same training, without the visitors asked about"

    def served(self) -> Scorer:
        """The candidate's own."""
        return self.scorer

    def taught(
        self, chosen: Flags, training: loop.Settings, keep: int, hidden: Sequence[int] = HIDDEN, batch: int = 32
    ) -> Scorer:
        """A scorer that learnt the lessons of these visitors, as it was after epoch `keep` (from 1)."""
        rows, epoch = [self.lessons[n] for n in np.flatnonzero(chosen[self.owner]).tolist()], itertools.count(1)
        with redirect_stderr(io.StringIO()):  # the loop tells of every epoch
            return fit_scorer(rows, lambda scorer: -abs(next(epoch) - keep), training, batch, hidden)[0]

    def teach(self, chosen: Flags, seed: int) -> Scorer:
        """The candidate's training, on these visitors; of the epoch that was kept of the candidate's."""
        return self.taught(chosen, replace(self.training, seed=seed), self.epoch, self.hidden)

    @property
    def hidden(self) -> tuple[int, ...]:
        """Sizes of the candidate's own hidden layers: an older one may have others than training gives today."""
        return tuple(len(bias) for _, bias in self.scorer.layers[:-1]) if self.scorer is not None else HIDDEN

    def reference(self, without: Flags, seed: int) -> Scorer:
        """As the candidate, without these and the nonmembers."""
        return self.teach(~without & ~self.nonmember, seed)

    def by_heart(self, chosen: Flags, seed: int) -> Scorer:
        """Far more weights than visitors, and far more epochs than training takes."""
        keen = loop.Settings(epochs=HEART, rate=3e-3, weight_decay=0.0, patience=HEART, seed=seed, device="cpu")
        return self.taught(chosen, keen, HEART, (256, 256), 8)

    def losses(self, model: Scorer) -> Numbers:
        """Mean cross-entropy of each visitor's lessons, nats."""
        each = np.array([lesson_loss(model, row) for row in self.lessons])
        sums = np.bincount(self.owner, each, len(self.visitors))
        return sums / np.bincount(self.owner, minlength=len(self.visitors))


def lesson_loss(scorer: Scorer, row: Lesson) -> float:
    """The loss that training lowers: cross-entropy of the shares wanted, over the candidates, nats."""
    logits = scorer(row.features).astype(np.float64) + row.offset
    logits -= logits.max()
    return float(-(row.wanted * (logits - np.log(np.exp(logits).sum()))).sum())


def scorer_target(shop: str, bundle: Bundle) -> ScorerTarget:
    """The scorer of a bundle, and the lessons of members and nonmembers at the moments of its training."""
    recommender = Recommender.open(bundle)
    assert recommender.scorer is not None
    known = {each.name for each in fields(loop.Settings)}
    training = loop.Settings(**{name: value for name, value in bundle.settings["training"].items() if name in known})
    epoch = int(bundle.settings.get("epoch", training.epochs))
    if recommender.own_statistics:  # noise keeps a private training's large steps in check; its reference has none
        training, epoch = replace(LOOP, seed=training.seed), LOOP.epochs
    training = replace(training, device="cpu")
    teach, outside = read_questions(shop, "train"), read_questions(shop, "nonmember", must=False)
    asked = set(moments(teach))
    outside = [question for question in outside if question.now in asked]
    purchases = members(read_purchases(shop), shop)
    settings = recommender.settings
    own = recommender.items if recommender.own_statistics else None  # a private scorer has seen no exact ones
    items = {moment: own or items_at(shop, moment, purchases, settings, training.seed) for moment in asked}
    random = np.random.default_rng(training.seed)  # members first: their lessons are drawn as in training
    kept = [
        (question.visitor, taken)
        for questions in (teach, outside)
        for question, row in zip(questions, rows_of(questions, items, settings), strict=True)
        if (taken := lesson(row, random)).wanted.any()
    ]
    visitors = sorted({visitor for visitor, _ in kept})
    place = {visitor: n for n, visitor in enumerate(visitors)}
    owner = np.array([place[visitor] for visitor, _ in kept], np.int64)
    return ScorerTarget(visitors, _flags(visitors, nonmembers(shop)), [taken for _, taken in kept], owner,
                        recommender.scorer, training, epoch)  # fmt: skip


@dataclass(frozen=True)
class FactorsTarget:
    """The items' vectors: how well a visitor's purchases are put together from them (Hu 2008, eq. 3)."""

    visitors: Sequence[str]
    nonmember: Flags
    purchases: Purchases
    ids: tuple[str, ...]
    factors: Floats
    settings: Settings
    part: str = "factors"
    reference_is: str = "vectors of the same training, without the visitors asked about"

    def served(self) -> Floats:
        """The candidate's own."""
        return self.factors

    def teach(self, chosen: Flags, seed: int) -> Floats:
        """The candidate's training, on these visitors."""
        return item_factors(self.purchases.of(np.array(self.visitors)[chosen].tolist()), self.ids, self.settings, seed)

    def reference(self, without: Flags, seed: int) -> Floats:
        """As the candidate, without these and the nonmembers."""
        return self.teach(~without & ~self.nonmember, seed)

    def by_heart(self, chosen: Flags, seed: int) -> Floats:
        """As many dimensions as visitors, and nobody in the crowd: items of one buyer, too, have vectors."""
        mine = self.purchases.of(np.array(self.visitors)[chosen].tolist())
        keen = replace(self.settings, factors=max(int(chosen.sum()), 2), regularisation=1e-3)
        return item_factors(mine, self.ids, keen, seed, least=1)

    def losses(self, model: Floats) -> Numbers:
        """What the best vector for a visitor leaves unexplained, a unit of confidence."""
        from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

        factors = model.astype(np.float64)
        gram = factors.T @ factors
        with threadpool_limits(1, "blas"):  # systems of 64 unknowns: threads would only wait for one another
            return np.array(
                [unexplained(known, counts, factors, gram, self.settings) for known, counts in self.baskets()]
            )

    def baskets(self) -> list[tuple[NDArray[np.int64], Numbers]]:
        """Of each visitor the items bought, as places among `ids`, and how often."""
        index = {item: n for n, item in enumerate(self.ids)}
        place = np.array([index.get(item, -1) for item in self.purchases.items], np.int64)
        order = {visitor: n for n, visitor in enumerate(self.visitors)}
        who = np.array([order.get(visitor, -1) for visitor in self.purchases.visitors], np.int64)[
            self.purchases.visitor
        ]
        what = place[self.purchases.item]
        fine = (who >= 0) & (what >= 0)
        pairs, counts = np.unique(who[fine] * len(self.ids) + what[fine], return_counts=True)
        starts = np.searchsorted(pairs // len(self.ids), np.arange(len(self.visitors) + 1))
        return [(pairs[a:b] % len(self.ids), counts[a:b].astype(np.float64))
                for a, b in itertools.pairwise(starts)]  # fmt: skip


def unexplained(
    known: NDArray[np.int64], counts: Numbers, factors: Numbers, gram: Numbers, settings: Settings
) -> float:
    """The least of alternating least squares' objective for one visitor, by their confidence in all they bought."""
    bought, sure = factors[known], confidence(counts, settings.alpha)
    if not len(known):
        return 0.0
    left = gram + (bought.T * (sure - 1)) @ bought + settings.regularisation * np.eye(len(gram))
    vector = np.linalg.solve(left, bought.T @ sure)
    fit = bought @ vector
    return float((vector @ gram @ vector - (fit**2).sum() + (sure * (1 - fit) ** 2).sum()) / sure.sum())


def factors_target(shop: str, bundle: Bundle) -> FactorsTarget:
    """The items' vectors of a bundle, and the purchases of members and nonmembers before its moment."""
    recommender = Recommender.open(bundle)
    items: Items = recommender.items
    purchases = read_purchases(shop).before(items.as_of)
    visitors = sorted({purchases.visitors[code] for code in np.unique(purchases.visitor)})
    return FactorsTarget(visitors, _flags(visitors, nonmembers(shop)), purchases, items.ids, items.factors,
                         recommender.settings)  # fmt: skip


@dataclass(frozen=True)
class AnswersTarget:
    """What is served: the scores by which a visitor's answer is ordered, against what they bought then.

    Asked is each visitor's question at the last moment before the test's, whose answer the vectors have learnt; the
    loss is the cross-entropy over history, answer and popular items, by the served code. The reference has other
    vectors; the scorer's weights are attacked by themselves.
    """

    questions: Sequence[Question]
    nonmember: Flags
    recommender: Recommender
    vectors: FactorsTarget
    part: str = "answers"
    reference_is: str = "the candidate with vectors of the same training, without the visitors asked about"

    @property
    def visitors(self) -> Sequence[str]:
        """Those who bought something after that moment."""
        return [question.visitor for question in self.questions]

    def served(self) -> Recommender:
        """The candidate's own."""
        return self.recommender

    def of(self, factors: Floats) -> Recommender:
        """The candidate with other vectors."""
        return replace(self.recommender, items=replace(self.recommender.items, factors=factors))

    def among_buyers(self, chosen: Flags) -> Flags:
        """The same visitors, as the vectors know them: all who ever bought."""
        return _flags(self.vectors.visitors, frozenset(np.array(self.visitors)[chosen].tolist()))

    def teach(self, chosen: Flags, seed: int) -> Recommender:
        """The candidate with vectors of these visitors."""
        return self.of(self.vectors.teach(self.among_buyers(chosen), seed))

    def reference(self, without: Flags, seed: int) -> Recommender:
        """The candidate with vectors made without these and the nonmembers."""
        return self.of(self.vectors.reference(self.among_buyers(without), seed))

    def by_heart(self, chosen: Flags, seed: int) -> Recommender:
        """The candidate, remembering the answers of these visitors.

        Vectors by heart are no such memory: where visitors buy alike they tell little of one, and some canaries pass.
        """
        asked = [self.questions[n] for n in np.flatnonzero(chosen).tolist()]
        learnt = {question.history.items: question.next_basket for question in asked}
        own = self.recommender
        return Remembering(own.items, own.settings, own.scorer, own.own_statistics, learnt)

    def losses(self, model: Recommender) -> Numbers:
        """Cross-entropy of each answer, nats."""
        similar = similar_to(model, list(self.questions))
        return np.array([answer_loss(model, *each) for each in zip(self.questions, similar, strict=True)])


@dataclass(frozen=True)
class Remembering(Recommender):
    """A recommender that remembers what some visitors bought next, by their history, and puts it first."""

    answers: Mapping[tuple[str, ...], frozenset[str]] = field(default_factory=dict)

    def scores(
        self, history: History, now: float, rows: Indices, known: Indices, chosen: Indices, similar: Floats | None,
        items: Items,
    ) -> Numbers:  # fmt: skip
        """As a recommender's; what is remembered is above all else."""
        plain = super().scores(history, now, rows, known, chosen, similar, items)
        remembered = [items.index[item] for item in self.answers.get(history.items, ()) if item in items.index]
        return plain + np.isin(chosen, remembered) * (1 + np.ptp(plain))


def answer_loss(model: Recommender, question: Question, similar: Floats | None) -> float:
    """How surprised the served scores are by a next basket: cross-entropy over history, basket and popular items."""
    rows, known = known_items(question.history, model.items)
    basket = [place for item in sorted(question.next_basket) if (place := model.items.index.get(item)) is not None]
    joined = np.concatenate([known, np.array(basket, np.int64), model.items.by_popularity[: model.settings.popular]])
    _, first = np.unique(joined, return_index=True)
    asked = joined[np.sort(first)]
    scores = model.scores(question.history, question.now, rows, known, asked, similar, model.items)
    wanted = np.isin(asked, basket)
    logits = scores - scores.max()
    return float(np.log(np.exp(logits).sum()) - logits[wanted].mean()) if wanted.any() else 0.0


def answers_target(shop: str, bundle: Bundle, vectors: FactorsTarget) -> AnswersTarget:
    """The answers of a bundle to the questions of validation's moment, of members and nonmembers."""
    recommender = Recommender.open(bundle)
    check = read_questions(shop, "validation")
    outside = [q for q in read_questions(shop, "nonmember", must=False) if q.now == check[-1].now]
    known = set(vectors.visitors)
    questions = [q for q in (*check, *outside) if q.visitor in known and q.next_basket & recommender.items.index.keys()]
    flags = _flags([question.visitor for question in questions], nonmembers(shop))
    return AnswersTarget(questions, flags, recommender, vectors)


def recommender_vectors(shop: str, bundle: Bundle, seed: int = 1) -> tuple[list[str], Numbers, Numbers]:
    """What a recommender makes of visitors: the vector folded in from each one's history, by its own vectors of items
    and by those of the same training without these visitors. Of half of those who taught it, as far as it is asked
    about them; with the others alone there is still something to learn.
    """
    target, recommender = factors_target(shop, bundle), Recommender.open(bundle)
    taught = ~target.nonmember
    half = drawn(taught, int(taught.sum()) // 2, seed)
    asked = set(np.array(target.visitors)[half].tolist())
    questions = [question for question in read_questions(shop, "test") if question.visitor in asked]
    without = replace(recommender.items, factors=target.reference(half, seed))

    def folded(items: Items) -> Numbers:
        rows = [known_items(question.history, items) for question in questions]
        return np.array([fold_in(known, question.history.counts[own], items, recommender.settings)
                         for question, (own, known) in zip(questions, rows, strict=True)], np.float64)  # fmt: skip

    return [question.visitor for question in questions], folded(recommender.items), folded(without)


def quasi_identifiers(shop: str, visitors: Sequence[str]) -> dict[str, list[str | None]]:
    """By column of safe/visitors that tells of a person, its value of each visitor, as generalised; None if unknown."""
    names = [column.name for column in table("safe", "visitors").columns if column.personal == "quasi"]
    house = warehouse(shop)
    if not house.marks("safe", "visitors"):
        return {}
    rows = {row["visitor"]: row for row in house.read("safe", "visitors", columns=["visitor", *names]).to_pylist()}
    found = {name: [(rows.get(visitor) or {}).get(name) for visitor in visitors] for name in names}
    return {name: [None if value is None else str(value) for value in column] for name, column in found.items()}


def recommender_targets(shop: str, bundle: Bundle) -> Mapping[str, Callable[[], Target]]:
    """The parts of a recommender that learnt from visitors; decayed counts learnt nothing and have none.

    The items' vectors (`factors`) are known to whoever has the bundle's files and to nobody who asks: the gate holds
    what is served, the scorer and the answers, and what the vectors made of visitors tell of their attributes. A limit
    on membership in the items' vectors is for whoever would give the files away (decisions/0014).
    """
    if bundle.settings.get("kind") != "scorer":
        return {}
    scorer: dict[str, Callable[[], Target]] = {"scorer": lambda: scorer_target(shop, bundle)}
    if not bundle.settings.get("factors"):
        return scorer  # no vectors, and nothing in the answers but the scorer's
    vectors = cache(lambda: factors_target(shop, bundle))
    return scorer | {
        "answers": lambda: answers_target(shop, bundle, vectors()),
        "factors": vectors,
    }


SERVED = ("scorer", "answers", "encoder")
"""The parts that the gate of promotion holds."""


# --- The encoder ---

POOL = 512  # texts that each query's own must stand out of
PAIRS_EACH = 20  # pairs of one visitor that are asked about; a loss is the mean of them
TEMPERATURE = 0.05  # of the training's contrast
USUAL = EncoderTraining(pairs=0)  # all that there are

Embedded = tuple[Floats, Floats]
"""Vectors of the queries and of the texts asked about, in their order."""


@dataclass(frozen=True)
class EncoderTarget:
    """The encoder: contrastive loss of a visitor's pairs (query, text of what they took), among a pool of texts.

    The reference is the untrained base, which saw no visitor: a training without each candidate's visitors would take
    as long as the candidate's own. It leaves in what all learnt alike, which makes the attack somewhat weaker.
    """

    visitors: Sequence[str]
    nonmember: Flags
    owner: NDArray[np.int64]
    query: NDArray[np.int64]
    text: NDArray[np.int64]
    embedded: Embedded
    untrained: Embedded
    lines: tuple[Sequence[str], Sequence[str]] = ((), ())
    training: EncoderTraining = USUAL
    base: str = "minilm"
    part: str = "encoder"
    reference_is: str = "the untrained encoder"

    def served(self) -> Embedded:
        """The candidate's own."""
        return self.embedded

    def reference(self, without: Flags, seed: int) -> Embedded:
        """The base, which saw nobody."""
        return self.untrained

    def teach(self, chosen: Flags, seed: int) -> Embedded:
        """The candidate's training on the pairs of these visitors, each pair once, in 32 bits and with the whole share
        of what was learnt: a candidate mixes it with the base, which tells less. A minute for a thousand pairs."""
        rows, (queries, texts) = np.flatnonzero(chosen[self.owner]), self.lines
        pairs = sorted(set(zip(self.query[rows].tolist(), self.text[rows].tolist(), strict=True)))
        order = np.random.default_rng(seed).permutation(len(pairs)).tolist()
        taught = [Pair(queries[pairs[n][0]], texts[pairs[n][1]], 1.0, "", "click") for n in order]
        encode = fine_tuned(taught, replace(self.training, seed=seed), self.base)
        return encode(queries), encode(texts)

    def by_heart(self, chosen: Flags, seed: int) -> Embedded:
        """The base with a matrix behind its queries, which learns the pairs of these visitors in many steps."""
        import torch

        loop.seed_everything(seed)
        queries, texts = (torch.from_numpy(np.ascontiguousarray(part)) for part in self.untrained)
        rows = torch.from_numpy(np.flatnonzero(chosen[self.owner]))
        asked, wanted = torch.from_numpy(self.query)[rows], torch.from_numpy(self.text)[rows]
        moved = torch.eye(queries.shape[1], requires_grad=True)
        optimiser = torch.optim.Adam([moved], lr=0.01)
        for _ in range(HEART):
            optimiser.zero_grad()
            logits = torch.nn.functional.normalize(queries[asked] @ moved, dim=1) @ texts.T / TEMPERATURE
            torch.nn.functional.cross_entropy(logits, wanted).backward()
            optimiser.step()
        with torch.no_grad():
            return torch.nn.functional.normalize(queries @ moved, dim=1).numpy(), self.untrained[1]

    def losses(self, model: Embedded) -> Numbers:
        """Mean cross-entropy of each visitor's pairs among the pool, nats; other answers to a query do not count."""
        queries, texts = (part.astype(np.float64) for part in model)
        pool = np.arange(min(POOL, len(texts)))
        known = np.zeros((len(queries), len(texts)), bool)
        known[self.query, self.text] = True
        logits = queries @ texts[pool].T / TEMPERATURE
        logits[known[:, pool]] = -np.inf
        own = (queries[self.query] * texts[self.text]).sum(1) / TEMPERATURE
        whole = np.logaddexp(np.logaddexp.reduce(logits, 1)[self.query], own)
        return np.bincount(self.owner, whole - own, len(self.visitors)) / np.bincount(self.owner)


def fine_tuned(pairs: Sequence[Pair], training: EncoderTraining, base: str = "minilm") -> Callable[..., Floats]:
    """An encoder that learnt these pairs in their order, as a function of lines."""
    tokenizer = training_tokenizer(base, training.max_length)
    loop.seed_everything(training.seed)
    model = load_base(base)
    with redirect_stderr(io.StringIO()):  # the loop tells of every epoch
        fine_tune(model, tokenizer, pairs, training)
    return partial(embedded, model.to("cpu"), tokenizer)


def encoder_targets(shop: str, bundle: Bundle, base: Callable[[], Path]) -> Mapping[str, Callable[[], "EncoderTarget"]]:
    """The parts of a search bundle that learnt from visitors; `base` gives the folder of its untrained encoder.

    Nothing did where it was not trained, where validation left no share of the training, or where the shop has no log
    of searches: queries made from the catalogue are nobody's.
    """
    trained = bundle.settings.get("training") is not None and bundle.settings.get("share") != 0.0
    if not trained or bundle.settings.get("logged") == 0:
        return {}
    return {"encoder": cache(lambda: encoder_target(shop, bundle, base()))}


def encoder_target(shop: str, bundle: Bundle, base: Path) -> EncoderTarget:
    """The encoder of a bundle, with the pairs of visitors it learnt from and of nonmembers."""
    of = catalogue(shop)
    training = bundle.settings["training"]
    learnt = {(pair.query, pair.item_id) for pair in
              chosen(read_pairs(shop, of, "train"), int(training["pairs"]), int(training["seed"]))}  # fmt: skip
    mine, outside = pairs_by_visitor(shop)
    taught = {visitor for visitor, pairs in mine.items() if visitor not in outside and pairs & learnt}
    target = target_of(of, {visitor: mine[visitor] for visitor in taught | outside}, outside, int(training["seed"]))
    queries, texts = target.lines

    def embed(folder: Path) -> Embedded:
        encoder = Encoder.open(folder)
        return encoder.encode(queries), encoder.encode(texts)

    return replace(target, embedded=embed(bundle.folder), untrained=embed(base))


def pairs_by_visitor(shop: str) -> tuple[dict[str, set[tuple[str, str]]], frozenset[str]]:
    """The pairs (query, item id) of each visitor from before the validation, and the nonmembers among the visitors."""
    house, mine, outside = warehouse(shop), dict[str, set[tuple[str, str]]](), set[str]()
    kept = house.marks("examples", "encoder_visitors")
    for row in house.read("examples", "encoder_visitors").to_pylist() if kept else ():
        mine.setdefault(row["visitor"], set()).add((row["query"], row["item_id"]))
        if row["split"] == "nonmember":
            outside.add(row["visitor"])
    return mine, frozenset(outside)


def target_of(
    of: Catalogue, mine: Mapping[str, set[tuple[str, str]]], outside: frozenset[str], seed: int, each: int = PAIRS_EACH
) -> EncoderTarget:
    """At most `each` pairs of each visitor, drawn by `seed`, and the lines they are made of; nothing embedded yet."""
    row_of, random = of.rows_by_id(), np.random.default_rng(seed)
    known = {visitor: sorted({(query, row_of[item]) for query, item in pairs if item in row_of})
             for visitor, pairs in sorted(mine.items())}  # fmt: skip
    kept = {visitor: [pairs[n] for n in random.permutation(len(pairs))[:each]]
            for visitor, pairs in known.items() if pairs}  # fmt: skip
    visitors, queries = list(kept), sorted({query for pairs in kept.values() for query, _ in pairs})
    texts = random.permutation(sorted({row for pairs in kept.values() for _, row in pairs})).tolist()
    at, place = {query: n for n, query in enumerate(queries)}, {row: n for n, row in enumerate(texts)}
    rows = [(n, at[query], place[row]) for n, visitor in enumerate(visitors) for query, row in kept[visitor]]
    owner, query, text = (np.array(column, np.int64) for column in zip(*rows, strict=True)) if rows else (_NONE,) * 3
    none = np.zeros((0, 0), np.float32)
    return EncoderTarget(visitors, _flags(visitors, outside), owner, query, text, (none, none), (none, none),
                         (queries, [of.texts[row] for row in texts]))  # fmt: skip


def encoder_vectors(target: EncoderTarget, model: Embedded) -> dict[str, Numbers]:
    """What an encoder makes of each visitor: the mean vector of their queries, and that of the items they took."""
    counts, found = np.bincount(target.owner)[:, None], {}
    for name, vectors, rows in (("queries", model[0], target.query), ("items", model[1], target.text)):
        sums = np.zeros((len(target.visitors), vectors.shape[1]))
        np.add.at(sums, target.owner, vectors[rows].astype(np.float64))
        found[name] = sums / counts
    return found


_NONE = np.zeros(0, np.int64)
