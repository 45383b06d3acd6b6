"""The recommender's training: rows by time, factors of each moment from the past of it, the scorer by the one loop.

No row sees its future: statistics are those of its cutoff, and alternating least squares is fitted
anew for each cutoff on purchases that happened and were known before it. What is chosen (the epoch,
the mixing weight) is chosen on the validation cutoff; the test cutoff is not read here, but for the
factors and items as of that moment, which the bundle is judged and served with.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from jobs.console import Problem, narrate, say
from jobs.features import session_of
from jobs.warehouse import warehouse
from models.bundle import building, seal
from models.evaluation.metrics import ndcg
from models.recommender import (
    FEATURES,
    Floats,
    History,
    Indices,
    Items,
    Numbers,
    Recommender,
    Scorer,
    Settings,
    candidates,
    confidence,
    counted,
    decayed_at,
    features,
    known_items,
    mixed,
    top,
    with_mix,
    write_items,
    write_scorer,
)
from models.training import loop

if TYPE_CHECKING:
    import pyarrow as pa

TRAINED = Settings(factors=4, crowd=0.05)
"""More dimensions, or vectors of items that few bought, gave visitors away and found no more (decisions/0014)."""
LEAST_BUYERS = 10  # an item needs as many buyers to have neighbours: fewer would point at persons
MIXES = (0.0, 0.25, 0.5, 0.75, 1.0)
HISTORY = ("history_items", "history_times", "history_counts", "history_decayed")
LATER = 0.3  # weight of what was bought in the 28 days, but not in the next basket
HIDDEN = (48, 24)
LOOP = loop.Settings(epochs=4, rate=3e-3, warmup=0.05, patience=2)
SAMPLE = 100  # candidates of a question, beside history and answer, that are learnt from


@dataclass(frozen=True)
class Question:
    """A visitor at a moment: what was known, and what they bought then."""

    visitor: str
    now: float
    history: History
    next_basket: frozenset[str]
    next_28d: frozenset[str]


@dataclass(frozen=True)
class Purchases:
    """Every purchase: visitor and item as codes, times in seconds; in the order of `known`, when it was known."""

    visitor: Indices
    item: Indices
    time: Numbers
    known: Numbers
    items: tuple[str, ...]
    visitors: tuple[str, ...] = ()

    def before(self, moment: float) -> "Purchases":
        """Those that had happened and were known before `moment`."""
        return self.where((self.time < moment) & (self.known < moment))

    def of(self, visitors: Iterable[str]) -> "Purchases":
        """Those of these visitors."""
        wanted = set(visitors)
        return self.where(np.array([name in wanted for name in self.visitors], bool)[self.visitor])

    def where(self, rows: NDArray[np.bool_]) -> "Purchases":
        """These rows, with the same codes."""
        return replace(self, visitor=self.visitor[rows], item=self.item[rows], time=self.time[rows],
                       known=self.known[rows])  # fmt: skip


def _seconds(column: "pa.ChunkedArray") -> Numbers:
    import pyarrow as pa

    micro: Numbers = column.cast(pa.int64()).to_numpy().astype(np.float64)
    return micro / 1e6


def read_purchases(shop: str) -> Purchases:
    """All published purchases of a shop, from safe/interactions."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.dataset as ds

    house = warehouse(shop)
    marks = house.require("safe", "interactions", step="validate")
    scanned = ds.dataset([str(file) for file in house.files(marks)], format="parquet")
    rows = scanned.to_table(columns=["visitor", "item_id", "event_time", "known_time"],
                            filter=pc.field("kind") == "purchase")  # fmt: skip
    if not rows.num_rows:
        raise Problem(f"shop '{shop}' has no purchases to learn from", where=str(house.folder("safe", "interactions")))
    names = np.unique(rows["item_id"].to_numpy(zero_copy_only=False).astype(str))
    visitors = rows["visitor"].combine_chunks().dictionary_encode()
    return Purchases(
        visitors.indices.to_numpy().astype(np.int64),
        pc.index_in(rows["item_id"], pa.array(names, pa.string())).to_numpy().astype(np.int64),
        _seconds(rows["event_time"]),
        _seconds(rows["known_time"]),
        tuple(names.tolist()),
        tuple(visitors.dictionary.to_pylist()),
    )


def members(purchases: Purchases, shop: str) -> Purchases:
    """The purchases that models learn from: those of all but the nonmembers of `examples.recommender`."""
    outside = nonmembers(shop)
    return purchases.of(visitor for visitor in purchases.visitors if visitor not in outside)


def nonmembers(shop: str) -> frozenset[str]:
    """The visitors who teach no model, so that attacks can set them beside those who did."""
    import pyarrow.compute as pc

    rows = warehouse(shop).read("examples", "recommender", columns=["visitor", "split"])
    return frozenset(rows.filter(pc.field("split") == "nonmember")["visitor"].to_pylist())


def data_names(shop: str) -> list[str]:
    """The partitions the recommender learns from: one name a mark; the days of a dated table as one span."""
    house = warehouse(shop)
    whole = [mark.name for name in ("recommender", "recommender_items") for mark in house.marks("examples", name)]
    days = house.marks("safe", "interactions")
    return [*whole, f"safe/interactions/{days[0].day}..{days[-1].day} ({len(days)} days)"] if days else whole


def read_questions(shop: str, split: str, *, must: bool = True) -> list[Question]:
    """The examples of one split, ordered by moment and visitor; `Problem` if there are none and there `must` be."""
    import pyarrow.compute as pc

    house = warehouse(shop)
    house.require("examples", "recommender", step="examples")
    rows = house.read("examples", "recommender").filter(pc.field("split") == split)
    rows = rows.sort_by([("event_time", "ascending"), ("visitor", "ascending")])
    if not rows.num_rows and not must:
        return []
    if not rows.num_rows:
        where = str(house.folder("examples", "recommender"))
        raise Problem(f"no examples of '{shop}' for {split}", where=where, do="import more days: each split needs 28")
    return list(_questions(rows.combine_chunks()))


def _questions(rows: "pa.Table") -> Iterator[Question]:
    """Rows as questions; lists are cut from flat columns, since a datetime object for each of a million is slow."""
    lists = {name: _flat(rows[name]) for name in (*HISTORY, "next_basket", "next_28d")}
    now, as_of = _seconds(rows["event_time"]), _seconds(rows["history_time"])
    plain = {name: rows[name].to_pylist() for name in ("visitor", "purchases_28d", "baskets_28d")}
    visits = rows.select(["session_items", "session_kinds", "session_times"]).to_pylist()
    for n, visitor in enumerate(plain["visitor"]):
        items, times, counts, decayed, basket, later = (
            values[offsets[n] : offsets[n + 1]] for values, offsets in lists.values()
        )
        history = History()
        if len(items):
            bought, baskets = (float(plain[name][n] or 0) for name in ("purchases_28d", "baskets_28d"))
            history = History(tuple(items), times, counts, decayed, float(as_of[n]), bought, baskets)
        history = history.with_session(session_of(visits[n]), float(now[n]), TRAINED.half_life)
        yield Question(visitor, float(now[n]), history, frozenset(basket), frozenset(later))


def _flat(column: "pa.ChunkedArray") -> tuple[Any, Indices]:
    """The values of a column of lists one after another, and where each list begins; a null list is empty."""
    import pyarrow as pa

    lists = pa.concat_arrays(column.chunks) if column.num_chunks != 1 else column.chunk(0)
    offsets = np.concatenate([[0], np.cumsum([length or 0 for length in lists.value_lengths().to_pylist()])])
    values = lists.flatten()  # leaves out what lies under a null
    if pa.types.is_string(values.type):
        return values.to_pylist(), offsets
    if pa.types.is_timestamp(values.type):
        return _seconds(pa.chunked_array([values])), offsets
    return values.to_numpy(zero_copy_only=False).astype(np.float64), offsets


def moments(questions: Iterable[Question]) -> list[float]:
    """The cutoffs of these questions, in order."""
    return sorted({question.now for question in questions})


def items_at(shop: str, moment: float, purchases: Purchases | None, settings: Settings, seed: int) -> Items:
    """What is known of every item at a cutoff: its statistics, repeats and factors. Nothing later is read.

    Without `purchases` there are no factors, and repeats are the same for all.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    cutoff = pa.scalar(datetime.fromtimestamp(moment, UTC), pa.timestamp("us", tz="UTC"))
    rows = warehouse(shop).read("examples", "recommender_items").filter(pc.field("event_time") == cutoff)
    rows = rows.sort_by("item_id")
    if not rows.num_rows:
        raise Problem(
            f"the examples of '{shop}' know no items at {cutoff}", do=f"run 'python -m jobs examples --shop {shop}'"
        )
    ids = tuple(rows["item_id"].to_pylist())
    numbers = {n: rows[n].to_numpy().astype(np.float64) for n in ("purchases_28d", "purchases_decayed", "price")}
    age = np.nan_to_num((moment - _seconds(rows["stats_time"])) / 86_400)  # no statistics: nothing to decay
    popularity = np.nan_to_num(numbers["purchases_decayed"]) * 0.5 ** (age / settings.half_life)
    repeats, gap, factors = np.ones(len(ids)), np.full(len(ids), 30.0), np.zeros((len(ids), 0), np.float32)
    if purchases is not None:
        past = purchases.before(moment)
        (repeats, gap), factors = repetition(past, ids), item_factors(past, ids, settings, seed)
    return Items(ids, popularity, np.nan_to_num(numbers["purchases_28d"]), np.nan_to_num(numbers["price"]),
                 repeats, gap, factors, moment)  # fmt: skip


def catalogue_at(shop: str, moment: float) -> tuple[str, ...]:
    """Ids of every item of the catalogue that the examples know at a cutoff, in order."""
    import pyarrow as pa
    import pyarrow.compute as pc

    cutoff = pa.scalar(datetime.fromtimestamp(moment, UTC), pa.timestamp("us", tz="UTC"))
    rows = warehouse(shop).read("examples", "recommender_items", columns=["item_id", "event_time"])
    return tuple(sorted(rows.filter(pc.field("event_time") == cutoff)["item_id"].to_pylist()))


def positions(names: tuple[str, ...], ids: tuple[str, ...]) -> Indices:
    """For each of `names` its place among `ids`, or -1."""
    index = {item: n for n, item in enumerate(ids)}
    return np.array([index.get(name, -1) for name in names], np.int64)


def repetition(past: Purchases, ids: tuple[str, ...]) -> tuple[Numbers, Numbers]:
    """Purchases a buyer, and days from one purchase to the buyer's next, of each item.

    Both are drawn to the shop's mean as if five buyers (or gaps) more had been average: an item seen
    twice says little (empirical Bayes).
    """
    pair, inverse, counts = np.unique(
        past.visitor * len(past.items) + past.item, return_inverse=True, return_counts=True
    )
    first, last = np.full(len(pair), np.inf), np.full(len(pair), -np.inf)
    np.minimum.at(first, inverse, past.time)
    np.maximum.at(last, inverse, past.time)
    item, size = pair % len(past.items), len(past.items)
    buyers, bought = np.bincount(item, minlength=size), np.bincount(item, counts, size)
    gaps, span = np.bincount(item, counts - 1, size), np.bincount(item, (last - first) / 86_400, size)
    usual, usual_gap = counts.mean() if len(counts) else 1.0, span.sum() / max(gaps.sum(), 1) or 30.0
    repeats, gap = (bought + 5 * usual) / (buyers + 5), (span + 5 * usual_gap) / (gaps + 5)
    place = positions(past.items, ids)
    out = np.full(len(ids), usual), np.full(len(ids), usual_gap)
    for target, values in zip(out, (repeats, gap), strict=True):
        target[place[place >= 0]] = values[place >= 0]
    return out


def item_factors(
    past: Purchases, ids: tuple[str, ...], settings: Settings, seed: int, least: int | None = None
) -> Floats:
    """Item factors by alternating least squares on counts (Hu 2008), for items with enough buyers; else zeros.

    Enough are LEAST_BUYERS and the crowd's share of those who bought anything, or `least` if it is given.
    """
    from implicit.cpu.als import AlternatingLeastSquares
    from scipy.sparse import csr_matrix

    out = np.zeros((len(ids), settings.factors), np.float32)
    if not len(past.visitor) or not settings.factors:
        return out
    counts = csr_matrix((np.ones(len(past.visitor)), (past.visitor, past.item)),
                        shape=(int(past.visitor.max()) + 1, len(past.items)))  # fmt: skip
    counts.sum_duplicates()
    buyers = int((np.diff(counts.indptr) > 0).sum())
    least = max(LEAST_BUYERS, math.ceil(settings.crowd * buyers)) if least is None else least
    place = positions(past.items, ids)
    kept = np.flatnonzero((np.bincount(counts.indices, minlength=len(past.items)) >= least) & (place >= 0))
    if not len(kept):
        return out
    counts = counts[:, kept].tocsr()
    counts.data = confidence(counts.data, settings.alpha)
    with threadpool_limits(1, "blas"):
        model = AlternatingLeastSquares(
            factors=settings.factors,
            regularization=settings.regularisation,
            alpha=1.0,
            iterations=10,
            random_state=seed,
        )
        model.fit(counts.astype(np.float32), show_progress=False)
    out[place[kept]] = model.item_factors
    return out


@dataclass(frozen=True)
class Scored:
    """A question's candidates as the scorer sees them.

    `wanted` is the share of the answer in each and sums to 1, or is all 0 where no candidate was
    bought; `counts` is the opinion of decayed counts.
    """

    features: Floats
    wanted: Floats
    counts: Numbers
    chosen: Indices


def similar_to(recommender: Recommender, questions: list[Question], at_once: int = 256) -> Iterator[Floats | None]:
    """The similarities of each question's history, a few hundred visitors at a time: 92 k items each are 94 MB."""
    for start in range(0, len(questions), at_once):
        chunk = questions[start : start + at_once]
        block = recommender.similarities([question.history for question in chunk])
        for n in range(len(chunk)):
            yield None if block is None else block[n]


def scored(question: Question, similar: Floats | None, items: Items, settings: Settings) -> Scored:
    """Features and labels of one question's candidates."""
    rows, known = known_items(question.history, items)
    chosen = candidates(known, similar, items, settings)
    seen = features(question.history, rows, known, chosen, similar, items, question.now, settings)
    counts = counted(chosen, decayed_at(question.history, question.now, settings.half_life)[rows], items)
    ids = [items.ids[i] for i in chosen]
    wanted = np.array([1.0 if i in question.next_basket else LATER if i in question.next_28d else 0.0 for i in ids])
    return Scored(seen, (wanted / max(wanted.sum(), 1e-9)).astype(np.float32), counts, chosen)


def rows_of(questions: list[Question], items: dict[float, Items], settings: Settings) -> Iterator[Scored]:
    """All questions, each with the items as of its own moment; ordered by moment."""
    for moment in moments(questions):
        now = [question for question in questions if question.now == moment]
        similar = similar_to(Recommender(items[moment], settings), now)
        for question, scores in zip(now, similar, strict=True):
            yield scored(question, scores, items[moment], settings)


def network(width: int, hidden: Sequence[int] = HIDDEN) -> Any:
    """The scorer in torch: hidden layers, two if not said otherwise, and one number."""
    import torch

    sizes = (width, *hidden, 1)
    layers: list[Any] = []
    for n, (a, b) in enumerate(itertools.pairwise(sizes)):
        layers += [torch.nn.Linear(a, b)] + ([torch.nn.ReLU()] if n < len(sizes) - 2 else [])
    return torch.nn.Sequential(*layers)


@dataclass(frozen=True)
class Lesson:
    """A question to learn from: its history and answer whole, of the other candidates a sample.

    `offset` adds to the logits of the sample what the others would have weighed (log of how many
    each stands for), so that the softmax is that of all candidates.
    """

    features: Floats
    wanted: Floats
    offset: Floats


def lesson(row: Scored, random: np.random.Generator, sample: int = SAMPLE) -> Lesson:
    """Thin out candidates that were neither bought before nor after: they are many and teach the same."""
    needed = (row.features[:, FEATURES.index("in_history")] > 0) | (row.wanted > 0)
    others = np.flatnonzero(~needed)
    drawn = random.choice(others, min(sample, len(others)), replace=False)
    kept = np.concatenate([np.flatnonzero(needed), np.sort(drawn)])
    offset = np.zeros(len(kept), np.float32)
    if len(drawn):
        offset[-len(drawn) :] = np.log(len(others) / len(drawn))
    return Lesson(row.features[kept], row.wanted[kept], offset)


def padded(rows: list[Lesson], mean: Floats, scale: Floats) -> tuple[Floats, Floats, Floats]:
    """A batch: scaled features, wanted shares, offsets of the logits (-1e9 where nothing stands); (rows, longest)."""
    longest = max(len(row.wanted) for row in rows)
    seen = np.zeros((len(rows), longest, len(mean)), np.float32)
    wanted, offset = np.zeros((len(rows), longest), np.float32), np.full((len(rows), longest), -1e9, np.float32)
    for n, row in enumerate(rows):
        size = len(row.wanted)
        seen[n, :size], wanted[n, :size], offset[n, :size] = (row.features - mean) / scale, row.wanted, row.offset
    return seen, wanted, offset


def shuffled(sizes: list[int], batch: int, seed: tuple[int, int]) -> list[Indices]:
    """Batches of rows of about equal size, in random order: less of each batch is padding."""
    random = np.random.default_rng(seed)
    order = random.permutation(len(sizes))
    groups = [order[n : n + 16 * batch] for n in range(0, len(order), 16 * batch)]
    by_size = [group[np.argsort(np.array(sizes)[group], kind="stable")] for group in groups]
    out = [group[n : n + batch] for group in by_size for n in range(0, len(group), batch)]
    return [out[n] for n in random.permutation(len(out))]


def scaling(rows: list[Lesson]) -> tuple[Floats, Floats]:
    """Mean and standard deviation of each feature; 1 where a feature never changes."""
    count = sum(len(row.features) for row in rows)
    mean = sum(row.features.sum(0, dtype=np.float64) for row in rows) / count
    spread = np.sqrt(sum(((row.features - mean) ** 2).sum(0) for row in rows) / count)
    return mean.astype(np.float32), np.where(spread > 1e-6, spread, 1).astype(np.float32)


def fit_scorer(
    rows: list[Lesson], validate: Callable[[Scorer], float], settings: loop.Settings, batch: int = 32,
    hidden: Sequence[int] = HIDDEN,
) -> tuple[Scorer, loop.History]:  # fmt: skip
    """Train the scorer: softmax over a question's candidates against the shares wanted."""
    import torch

    learnable = [row for row in rows if row.wanted.any()]
    if not learnable:
        raise Problem("no question of the training split has an answer among its candidates", do="import more days")
    mean, scale = scaling(learnable)
    loop.seed_everything(settings.seed)
    model = network(len(mean), hidden)
    device = loop.choose_device(settings.device)
    sizes = [len(row.wanted) for row in learnable]

    def batches(epoch: int) -> Iterator[Any]:
        for chosen in shuffled(sizes, batch, (settings.seed, epoch)):
            yield [torch.from_numpy(a).to(device) for a in padded([learnable[i] for i in chosen], mean, scale)]

    def loss(net: Any, arrays: Any) -> Any:
        seen, wanted, offset = arrays
        return -(wanted * torch.log_softmax(net(seen)[..., 0] + offset, 1)).sum(1).mean()

    steps = replace(settings, steps_per_epoch=len(shuffled(sizes, batch, (settings.seed, 0))))
    with threadpool_limits(1):  # a network this small gains nothing by a second thread, and holds up its neighbours
        history = loop.fit(model, batches, loss, steps, lambda net: validate(as_scorer(net, mean, scale)))
    return as_scorer(model, mean, scale), history


def early_scorer(
    rows: list[Lesson], validate: Callable[[Scorer], list[float]], settings: loop.Settings
) -> tuple[Scorer, int, loop.History]:
    """The scorer of the first epoch as good as the best, and which it was (from 0); `validate` tells by visitor."""
    kept: list[Scorer] = []
    told: list[list[float]] = []

    def watched(scorer: Scorer) -> float:
        kept.append(scorer)
        told.append(validate(scorer))
        return float(np.mean(told[-1]))

    _, history = fit_scorer(rows, watched, settings)
    epoch = first_as_good(told)
    return kept[epoch], epoch, history


def as_scorer(net: Any, mean: Floats, scale: Floats) -> Scorer:
    """The torch network as arrays."""
    linear = [layer for layer in net if hasattr(layer, "weight")]
    arrays = [(m.weight.detach().cpu().numpy().copy(), m.bias.detach().cpu().numpy().copy()) for m in linear]
    return Scorer(mean, scale, tuple(arrays))


def next_baskets(
    scorer: Scorer | None, mix: float, questions: list[Question], rows: list[Scored], items: Items
) -> list[float]:
    """NDCG@10 of each next basket, of prepared rows of one moment."""
    figures = []
    for question, row in zip(questions, rows, strict=True):
        best = row.chosen[top(mixed(scorer(row.features) if scorer else None, row.counts, mix), 10)]
        figures.append(ndcg([items.ids[i] for i in best], dict.fromkeys(question.next_basket, 1), 10))
    return figures


def first_as_good(epochs: Sequence[Sequence[float]]) -> int:
    """The first epoch (from 0) whose mean is within one standard error of the best's (Breiman 1984), by visitor.

    The error is that of the best's own mean. That of the difference would be far smaller, since two epochs answer
    nearly alike, and would keep the last: what later epochs gain does not pay for what they learn of visitors.

    >>> first_as_good([[0.1, 0.3, 0.2], [0.2, 0.1, 0.4], [0.2, 0.2, 0.3]]), first_as_good([[0.1, 0.1], [0.3, 0.2]])
    (0, 1)
    """
    figures = np.array(epochs, np.float64)
    means, best = figures.mean(1), figures[int(figures.mean(1).argmax())]
    error = best.std(ddof=1) / np.sqrt(len(best)) if len(best) > 1 else 0.0
    return int(np.argmax(means >= best.mean() - error))


def choose_mix(
    scorer: Scorer, questions: list[Question], rows: list[Scored], items: Items
) -> tuple[float, dict[str, float]]:
    """The weight of the scorer with the best validation figure, ties to the smaller; and all figures."""
    figures = {mix: float(np.mean(next_baskets(scorer, mix, questions, rows, items))) for mix in MIXES}
    return max(MIXES, key=lambda mix: (figures[mix], -mix)), {f"mix {m:g}": round(v, 5) for m, v in figures.items()}


def train(shop: str, seed: int) -> Path:
    """Train on the training cutoffs, choose on validation, seal with the items as of the test cutoff."""
    settings, training = TRAINED, replace(LOOP, seed=seed)
    teach, check = read_questions(shop, "train"), read_questions(shop, "validation")
    with narrate("purchases, and items at each moment"):
        purchases = members(read_purchases(shop), shop)
        items = {m: items_at(shop, m, purchases, settings, seed) for m in [*moments(teach), *moments(check)]}
    with narrate(f"candidates and features of {len(teach):,} + {len(check):,} questions"):
        random = np.random.default_rng(seed)
        lessons = [lesson(row, random) for row in rows_of(teach, items, settings)]
        held = list(rows_of(check, items, settings))
    last = items[moments(check)[-1]]
    with narrate("scorer"):
        scorer, epoch, history = early_scorer(lessons, lambda s: next_baskets(s, 1.0, check, held, last), training)
        training = replace(training, device=history.device)
    say(f"  kept: epoch {epoch + 1}, the first as good as the best on validation")
    mix, figures = choose_mix(scorer, check, held, last)
    say(f"  mix chosen on validation: {mix:g} of {figures}")
    with narrate("items as of the test cutoff"), building(shop, "recommend") as folder:
        final = items_at(shop, served_moment(shop), purchases, settings, seed)
        write_items(final, folder)
        write_scorer(scorer, folder)
        chosen = {**asdict(with_mix(settings, mix)), "as_of": final.as_of, "validation": figures,
                  "training": asdict(training), "epoch": epoch + 1, "features": list(FEATURES),
                  "losses": [round(value, 5) for value in history.losses]}  # fmt: skip
        seal(folder, shop=shop, name="recommend", kind="recommender", settings=chosen, data=data_names(shop))
    return folder


def served_moment(shop: str) -> float:
    """The cutoff a bundle is made for: the test's, so that what is judged is what is served."""
    return moments(read_questions(shop, "test"))[-1]
