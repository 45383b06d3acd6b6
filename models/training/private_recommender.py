"""The recommender, learnt privately: everything in its bundle that was learnt of visitors went through noise.

What training touches of visitors beside the gradients, and what becomes of it here:

- item statistics (popularity, purchases of the last 28 days) are one noisy sum over windows of time, from which those
  of every cutoff follow; what noise alone could have made is taken as nothing (Donoho and Johnstone 1994);
- item factors, repeats, gaps and prices paid are left out: no factors, and the same for every item;
- features are scaled by what they mean, not by their mean and spread among visitors;
- the mixing weight is chosen on noisy sums; epochs, rate and network are fixed; no loss and no exact figure is kept;
- the sample of candidates is drawn for each visitor by themselves, so that no other visitor changes it.

Not covered: `evaluate` and its report, the shop's own tables, how many visitors there are.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from jobs.console import narrate, say
from models.bundle import building, seal
from models.evaluation.metrics import ndcg
from models.recommender import (
    DAY,
    FEATURES,
    Floats,
    Items,
    Numbers,
    Scorer,
    Settings,
    mixed,
    top,
    with_mix,
    write_items,
    write_scorer,
)
from models.training import loop
from models.training.privacy import Budget, Spending, fit_privately, noise_for, promise, sealed
from models.training.recommender import (
    MIXES,
    Lesson,
    Purchases,
    Question,
    Scored,
    as_scorer,
    catalogue_at,
    data_names,
    lesson,
    members,
    moments,
    network,
    padded,
    positions,
    read_purchases,
    read_questions,
    rows_of,
    served_moment,
)

COVERS = ("scorer.safetensors", "items.parquet", "the mixing weight and its figures")
KNOWN = ("how many visitors there are", "the catalogue", "the days of the data")
NOT_COVERED = ("the report and figures of 'evaluate'", "tables and features of the shop", "what serving logs")
WINDOWS_BEFORE = 3
"""Windows of 28 days before the first question; what is older counts as nothing."""
FEW = 1_000
"""Below so many visitors noise covers the statistics of nearly every item."""
MEANT = {
    "in_history": (0.5, 0.5), "count": (1, 1), "decayed": (3.5, 3.5), "decayed_share": (0, 0.1), "decayed_rank": (2, 2),
    "days_since": (3, 2), "mean_age": (3, 2), "gap": (2, 2), "lateness": (0, 2), "item_lateness": (0, 2),
    "in_last_trip": (0.5, 0.5), "count_share": (0, 0.1), "baskets_28d": (2, 1), "purchases_28d": (4, 2),
    "visitor_days_since": (2, 2), "history_length": (0.5, 0.5), "popularity": (-9, 3), "item_28d": (3, 2),
    "trend": (0, 1), "item_gap": (3.4, 1),
}  # fmt: skip
"""Middle and reach of each feature by its definition (a share lies from 0 to 1, a logarithm of days from 0 to 5.9)."""


@dataclass(frozen=True)
class PrivateTraining:
    """How a recommender is learnt privately; saved with it. Chosen on the generated shop, whose visitors are nobody.

    Norms: to which a visitor's row of (window, item), gradient, and figures of mixes are cut. Shares: of epsilon, for
    the item statistics and the choice of the mix, if they stood alone; gradients get what the accountant leaves.
    """

    hidden: tuple[int, ...] = (16,)
    expected: float = 256.0
    epochs: int = 10
    steps_an_epoch: int = 30
    rate: float = 0.03
    statistics_norm: float = 16.0
    statistics_share: float = 0.5
    mix_norm: float = 0.1
    mix_share: float = 0.2


@dataclass(frozen=True)
class Noises:
    """Noise multipliers of the three things that are learnt of visitors."""

    statistics: float
    mix: float
    gradients: float


def plan(epsilon: float, delta: float, visitors: int, how: PrivateTraining) -> Noises:
    """The least noises with which all three together stay within `epsilon`."""
    statistics = noise_for(how.statistics_share * epsilon, delta)
    mix = noise_for(how.mix_share * epsilon, delta)
    beside: list[Spending] = [(statistics, 1.0, 1), (mix, 1.0, 1)]
    steps = how.epochs * how.steps_an_epoch
    rate = min(1.0, how.expected / visitors)
    return Noises(statistics, mix, noise_for(epsilon, delta, sample_rate=rate, steps=steps, beside=beside))


# --- Item statistics ---


def windows(cutoffs: Sequence[float]) -> Numbers:
    """Edges of the windows: the cutoffs in order, and before the first some windows of 28 days."""
    first = min(cutoffs)
    return np.array([*(first - 28 * DAY * n for n in range(WINDOWS_BEFORE, 0, -1)), *sorted(cutoffs)])


def bought_in(purchases: Purchases, edges: Numbers, ids: tuple[str, ...], norm: float) -> Numbers:
    """How many visitors bought each item in each window, shape (windows, items); each visitor's row cut to `norm`.

    A visitor's row has a 1 where they bought the item in the window once or more often. A purchase belongs to the
    window in which it had happened and was known, as `Purchases.before` has it.
    """
    place = positions(purchases.items, ids)[purchases.item]
    window = np.searchsorted(edges, np.maximum(purchases.time, purchases.known), side="right") - 1
    inside = (place >= 0) & (window >= 0) & (window < len(edges) - 1)
    cells = (len(edges) - 1) * len(ids)
    pairs = np.unique(purchases.visitor[inside] * cells + window[inside] * len(ids) + place[inside])
    visitor, cell = pairs // cells, pairs % cells
    counts = np.bincount(visitor) if len(visitor) else np.zeros(1)
    weights = np.minimum(1, norm / np.sqrt(np.maximum(counts, 1)))[visitor]
    summed: Numbers = np.bincount(cell, weights, cells).astype(np.float64).reshape(len(edges) - 1, len(ids))
    return summed


def surely(values: Numbers, spread: float) -> Numbers:
    """`values` above what noise of this spread makes among so many at the most, and 0 for the others."""
    return np.where(values > spread * np.sqrt(2 * np.log(max(len(values), 2))), values, 0.0)


def items_of(
    noisy: Numbers, edges: Numbers, moment: float, ids: tuple[str, ...], spread: float, settings: Settings
) -> Items:
    """What is known of every item at a cutoff, from noisy windows alone; `spread` is the noise of one number."""
    past = edges[1:] <= moment
    decay = 0.5 ** ((moment - (edges[1:] + edges[:-1])[past] / 2) / (settings.half_life * DAY))
    popularity = surely(decay @ noisy[past], spread * float(np.sqrt((decay**2).sum())))
    recent = surely(noisy[past][-1], spread)
    none, one = np.zeros(len(ids)), np.ones(len(ids))
    return Items(ids, popularity, recent, none, one, 30 * one, np.zeros((len(ids), 0), np.float32), moment)


# --- The scorer ---


def meant() -> tuple[Floats, Floats]:
    """Middle and reach of every feature, in the order of FEATURES; of those left out 0 and 1."""
    pairs = [MEANT.get(name, (0, 1)) for name in FEATURES]
    return np.array([a for a, _ in pairs], np.float32), np.array([b for _, b in pairs], np.float32)


def own_random(seed: int, question: Question) -> np.random.Generator:
    """Random numbers of one question, whatever other questions there are."""
    words = f"{seed}\x1f{question.visitor}\x1f{question.now}".encode()
    return np.random.default_rng(int.from_bytes(hashlib.sha256(words).digest()[:16], "big"))


def by_visitor(questions: Sequence[Question], rows: Iterable[Scored], seed: int) -> list[list[Lesson]]:
    """All lessons of each visitor who has one with an answer; `rows` belong to `questions`, in their order."""
    found: dict[str, list[Lesson]] = {}
    for question, row in zip(questions, rows, strict=True):
        if row.wanted.any():
            found.setdefault(question.visitor, []).append(lesson(row, own_random(seed, question)))
    return [found[visitor] for visitor in sorted(found)]


def together(visitors: Sequence[Sequence[Lesson]], mean: Floats, scale: Floats) -> tuple[Floats, Floats, Floats]:
    """A part of a batch: features, wanted shares and offsets; (visitors, most lessons, most candidates, ...).

    A visitor's lessons weigh 1 together, however many they are; a place without a lesson weighs nothing.
    """
    flat, most = [one for lessons in visitors for one in lessons], max(len(lessons) for lessons in visitors)
    seen, wanted, offset = padded(flat, mean, scale)
    place = np.array([n * most + k for n, lessons in enumerate(visitors) for k in range(len(lessons))])
    share = np.array([1 / len(lessons) for lessons in visitors for _ in lessons], np.float32)
    out = []
    for values, empty in ((seen, 0.0), (wanted * share[:, None], 0.0), (offset, 0.0)):
        whole = np.full((len(visitors) * most, *values.shape[1:]), empty, np.float32)
        whole[place] = values
        out.append(whole.reshape(len(visitors), most, *values.shape[1:]))
    return out[0], out[1], out[2]


def losses(net: Any, arrays: Any) -> Any:
    """The loss of each visitor: the mean over their lessons of the softmax's cross-entropy."""
    import torch

    seen, wanted, offset = arrays
    return -(wanted * torch.log_softmax(net(seen)[..., 0] + offset, 2)).sum((1, 2))


def fit_scorer(
    visitors: Sequence[Sequence[Lesson]], budget: Budget, noise: float, how: PrivateTraining, settings: loop.Settings
) -> tuple[Scorer, loop.History]:
    """Train the scorer by DP-SGD: one example is one visitor with all their lessons."""
    import torch

    mean, scale = meant()
    loop.seed_everything(settings.seed)
    model = network(len(FEATURES), how.hidden)
    device = loop.choose_device(settings.device)

    def part(some: list[int]) -> Any:
        return [torch.from_numpy(a).to(device) for a in together([visitors[n] for n in some], mean, scale)]

    sizes = [max(len(one.wanted) for one in lessons) for lessons in visitors]
    with threadpool_limits(1):  # as the plain training has it
        history = fit_privately(model, sizes, part, losses, settings, budget, noise=noise, expected=how.expected)
    return as_scorer(model, mean, scale), history


# --- The mix ---


def mix_figures(scorer: Scorer, questions: Sequence[Question], rows: Sequence[Scored], items: Items) -> Numbers:
    """NDCG@10 of each visitor's next basket by each mix, less the visitor's mean; shape (visitors, mixes)."""
    found: dict[str, list[list[float]]] = {}
    for question, row in zip(questions, rows, strict=True):
        scores, wanted = scorer(row.features), dict.fromkeys(question.next_basket, 1)
        best = [row.chosen[top(mixed(scores, row.counts, mix), 10)] for mix in MIXES]
        found.setdefault(question.visitor, []).append([ndcg([items.ids[i] for i in b], wanted, 10) for b in best])
    figures = np.array([np.mean(found[visitor], axis=0) for visitor in sorted(found)])
    centred: Numbers = figures - figures.mean(1, keepdims=True)
    return centred


def choose_mix(figures: Numbers, budget: Budget, noise: float, norm: float) -> tuple[float, dict[str, float]]:
    """The mix with the best noisy sum, ties to the smaller; and all of them, as a mean a visitor."""
    noisy = budget.noisy_sum(figures, norm, noise) / len(figures)
    return MIXES[int(np.argmax(noisy))], {f"mix {m:g}": round(float(v), 5) for m, v in zip(MIXES, noisy, strict=True)}


# --- The way to a bundle ---


def train(
    shop: str, seed: int, epsilon: float, delta: float | None = None, *, noise_seed: int | None = None,
    how: PrivateTraining | None = None,
) -> Path:  # fmt: skip
    """Train privately on the training cutoffs and seal, with the promise that was kept. `noise_seed` is for tests."""
    how, settings = how or PrivateTraining(), Settings(similar=0, factors=0)
    training = loop.Settings(epochs=how.epochs, steps_per_epoch=how.steps_an_epoch, rate=how.rate, weight_decay=0.0,
                             warmup=0.05, seed=seed)  # fmt: skip
    teach, check = read_questions(shop, "train"), read_questions(shop, "validation")
    count = len({question.visitor for question in teach})
    budget = Budget(promise(epsilon, delta, count, noise_seed))
    if count < FEW:
        say(f"  note: {count:,} visitors are few: noise covers nearly all that is learnt of items")
    with narrate(f"noise for epsilon {epsilon:g}, delta {budget.privacy.delta:g}"):
        noises = plan(epsilon, budget.privacy.delta, count, how)
    final = served_moment(shop)
    with narrate("item statistics, with noise"):
        items = items_privately(shop, [*moments(teach), *moments(check), final], budget, noises, how, settings)
    with narrate(f"candidates and features of {len(teach):,} + {len(check):,} questions"):
        lessons = by_visitor(teach, rows_of(teach, items, settings), seed)
        held = list(rows_of(check, items, settings))
    with narrate(f"scorer, by visitor, {how.epochs} epochs"):
        scorer, history = fit_scorer(filled(lessons, count), budget, noises.gradients, how, training)
        training = replace(training, device=history.device)
    mix, figures = choose_mix(
        mix_figures(scorer, check, held, items[moments(check)[-1]]), budget, noises.mix, how.mix_norm
    )
    say(f"  mix chosen on noisy sums: {mix:g} of {figures}")
    with building(shop, "recommend") as folder:
        write_items(items[final], folder)
        write_scorer(scorer, folder)
        more = {"covers": COVERS, "known": KNOWN, "not_covered": NOT_COVERED, "how": asdict(how)}
        kept = sealed(budget, count, asdict(noises), more)
        chosen = {**asdict(with_mix(settings, mix)), "as_of": final, "validation": figures, "privacy": kept,
                  "training": asdict(training), "epoch": how.epochs, "features": list(FEATURES)}  # fmt: skip
        seal(folder, shop=shop, name="recommend", kind="private recommender", settings=chosen, data=data_names(shop))
    return folder


def filled(lessons: list[list[Lesson]], count: int) -> list[list[Lesson]]:
    """`count` visitors: those without a lesson weigh nothing, but are drawn too; so nobody learns how many they are."""
    nothing = Lesson(np.zeros((1, len(FEATURES)), np.float32), np.zeros(1, np.float32), np.zeros(1, np.float32))
    return [*lessons, *[[nothing]] * (count - len(lessons))]


def items_privately(
    shop: str, cutoffs: Sequence[float], budget: Budget, noises: Noises, how: PrivateTraining, settings: Settings
) -> dict[float, Items]:
    """The items at every cutoff, from one noisy sum over all visitors and windows."""
    edges, ids = windows(cutoffs), catalogue_at(shop, cutoffs[-1])
    exact = bought_in(members(read_purchases(shop), shop), edges, ids, how.statistics_norm)
    noisy = budget.noisy(exact, how.statistics_norm, noises.statistics)
    spread = how.statistics_norm * noises.statistics
    found = {moment: items_of(noisy, edges, moment, ids, spread, settings) for moment in cutoffs}
    known = int((found[cutoffs[-1]].popularity > 0).sum())
    say(f"  {known:,} of {len(ids):,} items stand out of the noise")
    return found


def words(privacy: Mapping[str, Any]) -> str:
    """The promise in a sentence."""
    if privacy["randomness"] != "operating system":
        return "private training with a known seed: nothing is promised"
    return (f"epsilon {privacy['epsilon']:.2f} (of {privacy['asked']:g}) at delta {privacy['delta']:g}, by visitor, "
            f"of {privacy['visitors']:,}; covers {', '.join(privacy['covers'])}")  # fmt: skip
