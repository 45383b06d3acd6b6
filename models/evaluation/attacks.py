"""Attacks on models: what somebody with the model and a visitor's data could learn of the visitor. numpy alone.

Membership (Shokri 2017): did this visitor teach the model? For each visitor the loss of the model is set beside the
loss of a reference that never saw them, since some visitors are easy for any model (Carlini 2022). Whoever is better
known to the model than to the reference was probably learnt from. Nonmembers are visitors who teach no model by design
(`jobs.examples`), so that they differ from members in nothing else; a split by time would measure drift.

An attack proves itself each time: the same code attacks a canary, a model that was made to learn a few visitors by
heart. If it is not caught, the attack has shown nothing and the gate refuses.

What an attack does not find is not proven absent: the figures hold for an attacker with this loss and this reference.
The statistics of items in a bundle (how often bought, by how many) count all visitors and are not attacked here.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from jobs.console import narrate
from models.evaluation.gates import Policy, unproven
from models.statistics import auc, bootstrap_mean

Numbers = NDArray[np.float64]
Flags = NDArray[np.bool_]

FALSE_POSITIVES = 10
"""A rate of false positives is looked at where so many are expected: of fewer one could say nothing."""
CANARY = 40
"""Visitors that the canary learns by heart; as many others stand beside them."""
DRAWS = 1_000
COMPONENTS = 32
"""Directions of a long vector that a probe of attributes looks at."""


class Target(Protocol):
    """A part of a bundle that learnt from visitors, as an attack sees it. Each model that does so brings one.

    A model is whatever `losses` understands.
    """

    @property
    def part(self) -> str:
        """Name of the part."""

    @property
    def visitors(self) -> Sequence[str]:
        """All of whom there is something to ask."""

    @property
    def nonmember(self) -> Flags:
        """Which of them taught no model."""

    @property
    def reference_is(self) -> str:
        """What the reference is, in words."""

    def served(self) -> Any:
        """The candidate's own."""

    def reference(self, without: Flags, seed: int) -> Any:
        """A model that saw none of these visitors."""

    def by_heart(self, chosen: Flags, seed: int) -> Any:
        """A model that learnt these visitors alone, and by heart."""

    def losses(self, model: Any) -> Numbers:
        """Loss of each visitor's data, in their order; more is worse known."""


# --- The figures ---


@dataclass(frozen=True)
class Rate:
    """At one threshold: the share of members that an attack names, and of nonmembers; `n` nonmembers."""

    tpr: float
    fpr: float
    n: int


def surest(members: Numbers, others: Numbers, false_positives: int = FALSE_POSITIVES) -> Rate:
    """The rates where at most so many nonmembers are named; scores more are more like a member.

    >>> surest(np.array([9.0, 5.0, 1.0]), np.array([8.0, 4.0, 3.0, 0.0]), 1)
    Rate(tpr=0.6666666666666666, fpr=0.25, n=1)
    """
    order = -np.sort(-others)
    limit = order[false_positives] if len(order) > false_positives else -np.inf
    named = int((others > limit).sum())
    return Rate(float((members > limit).mean()), named / len(others), named)


def curve(members: Numbers, others: Numbers, points: int = 60) -> list[list[float]]:
    """[false, true] positive rates of the attack at about `points` thresholds, from few named to all."""
    limits = np.unique(np.concatenate([members, others]))[::-1]
    pairs = np.array([[(others >= limit).mean(), (members >= limit).mean()] for limit in limits])
    kept = np.unique(np.geomspace(1, len(pairs), points).astype(int)) - 1
    return [[round(float(a), 5), round(float(b), 5)] for a, b in pairs[kept]]


def scores(losses: Numbers, reference: Numbers) -> Numbers:
    """How much better a visitor is known to the model than to the reference: more is more like a member."""
    better: Numbers = reference - losses
    return better


def rates_interval(members: Numbers, others: Numbers, *, seed: int = 1, draws: int = DRAWS) -> tuple[float, float]:
    """95 % interval of the true-positive rate at its false-positive rate: visitors of both kinds are drawn again."""
    random, found = np.random.default_rng(seed), np.empty(draws)
    for n in range(draws):
        drawn = (random.choice(members, len(members)), random.choice(others, len(others)))
        found[n] = surest(*drawn).tpr
    low, high = np.quantile(found, [0.025, 0.975])
    return float(low), float(high)


def exposure(secret: float, others: Numbers) -> float:
    """Bits by which a planted secret stands out among the others it might have been (Carlini 2019, eq. 2).

    log2 of the number of candidates less log2 of the secret's rank among them by loss, ties in its favour last.

    >>> exposure(0.5, np.array([1.0, 2.0, 3.0])), round(exposure(2.5, np.array([1.0, 2.0, 3.0])), 3)
    (2.0, 0.415)
    """
    rank = 1 + int((others <= secret).sum())
    return float(np.log2(len(others) + 1) - np.log2(rank))


def likelihood_ratio(losses: Numbers, shadows: Numbers, inside: Flags, *, online: bool = True) -> Numbers:
    """LiRA's score of each visitor (Carlini 2022): how much likelier the model's loss is if they were learnt from.

    `shadows` (models, visitors) are the losses of shadow models, `inside` says which learnt from whom. Losses are
    taken as normal, with one spread for all visitors, since few shadows tell little of each one's. Offline knows only
    models without the visitor: how unlikely is so small a loss? A visitor needs two shadows of each kind asked for.
    """
    within, without = (np.where(flags, shadows, np.nan) for flags in (inside, ~inside))
    outer = np.nanmean(without, 0)
    wide = max(float(np.nanstd(without - outer)), 1e-12)
    if not online:
        unlikely: Numbers = (outer - losses) / wide
        return unlikely
    inner = np.nanmean(within, 0)
    narrow = max(float(np.nanstd(within - inner)), 1e-12)
    ratio: Numbers = ((losses - outer) / wide) ** 2 / 2 - ((losses - inner) / narrow) ** 2 / 2 + np.log(wide / narrow)
    return ratio


# --- The attacks ---


def told_apart(members: Numbers, others: Numbers, policy: Policy, seed: int) -> dict[str, Any]:
    """The figures of an attack on membership: the area with its interval, and the rates where it is surest."""
    area, rate = auc(members, others), surest(members, others)
    low, high = rates_interval(members, others, seed=seed)
    return {
        "figure": area.mean, "interval": [area.low, area.high], "limit": policy.membership_auc,
        "members": len(members), "nonmembers": len(others),
        "tpr": {"figure": rate.tpr, "interval": [low, high], "fpr": rate.fpr, "false_positives": rate.n,
                "limit": policy.lift * rate.fpr},
        "curve": curve(members, others),
    }  # fmt: skip


def drawn(among: Flags, count: int, seed: int) -> Flags:
    """`count` of these visitors, or all if there are fewer, at random."""
    places = np.flatnonzero(among)
    chosen = np.zeros(len(among), bool)
    chosen[np.random.default_rng(seed).permutation(places)[:count]] = True
    return chosen


def membership(target: Target, policy: Policy | None = None, seed: int = 1) -> dict[str, Any]:
    """Attack one part of a candidate, and its canary by the same code and the same reference.

    As many members are attacked as there are nonmembers; the reference is made without either, so that it treats both
    alike. The report's entry: figure, interval, limit, passed, canary and the rest.
    """
    began, held = time.monotonic(), policy or Policy()
    strangers = int(target.nonmember.sum())
    said = {"attack": "membership", "part": target.part, "reference": target.reference_is,
            "what": "area under the curve: members against nonmembers, by loss less the reference's"}  # fmt: skip
    if min(strangers, len(target.visitors) - strangers) < held.strangers:
        why = (f"it learnt from {len(target.visitors) - strangers} visitors, {strangers} were held out of training; "
               f"an attack needs {held.strangers} of both")  # fmt: skip
        return {**said, "figure": None, "interval": None, "limit": held.membership_auc, "passed": False, "invalid": why,
                "few": min(strangers, len(target.visitors) - strangers), "nonmembers": strangers,
                "members": len(target.visitors) - strangers,
                "canary": {"caught": None}, "seconds": round(time.monotonic() - began, 1)}  # fmt: skip
    members = drawn(~target.nonmember, strangers, seed)
    asked = members | target.nonmember
    base = target.losses(target.reference(asked, seed))
    found = scores(target.losses(target.served()), base)
    entry = {**said, **told_apart(found[members], found[target.nonmember], held, seed)}
    entry["canary"] = canary(target, asked, base, held, seed)
    entry["passed"] = held_back(entry, held)
    entry["seconds"] = round(time.monotonic() - began, 1)
    return entry


def canary(target: Target, asked: Flags, base: Numbers, policy: Policy, seed: int) -> dict[str, Any]:
    """A model that learnt some of the asked visitors by heart; caught if the attack would have refused it."""
    picked = np.flatnonzero(drawn(asked, min(2 * CANARY, int(asked.sum()) // 2 * 2), seed + 1))
    learnt, others = np.zeros(len(asked), bool), np.zeros(len(asked), bool)
    learnt[picked[::2]], others[picked[1::2]] = True, True
    found = scores(target.losses(target.by_heart(learnt, seed)), base)
    area = auc(found[learnt], found[others])
    return {"figure": area.mean, "interval": [area.low, area.high], "limit": policy.membership_auc,
            "visitors": len(picked), "caught": bool(area.low > policy.membership_auc),
            "what": f"the same attack on a model that learnt {int(learnt.sum())} visitors by heart"}  # fmt: skip


def held_back(entry: Mapping[str, Any], policy: Policy) -> bool:
    """Whether an entry is within its limits, and its attack proven."""
    rate = entry["tpr"]
    return bool(unproven(entry, policy) is None and entry["figure"] <= policy.membership_auc
                and rate["figure"] <= policy.lift * rate["fpr"])  # fmt: skip


def attributes(
    vectors: Numbers, values: Mapping[str, Sequence[str | None]], *, beside: Numbers | None = None,
    policy: Policy | None = None, seed: int = 1, least: int = 50,
) -> dict[str, Any]:  # fmt: skip
    """Can a probe read a visitor's quasi-identifiers from a vector? By attribute: its gain on guessing the commonest.

    Logistic regression, cross-validated five times; the gain is the share of visitors guessed right less that of the
    majority's value, with an interval by visitor. The canary: the same vectors with the attribute planted in them.
    An attribute known of fewer than `least` visitors, or with one value only, is left out.

    What a visitor did tells something of them in any vectors. `beside` are those of a model that learnt from nobody:
    then the entry's figure is what the probe gains on those (or on the commonest value, where they tell less), which
    is what the training gave away, and the gate refuses it if it surely (by the interval's low end) exceeds the
    limit. Without them there is no limit, since nothing tells what is the visitor's own doing.
    """
    began, held, found, planted = time.monotonic(), policy or Policy(), dict[str, Any](), dict[str, float]()
    for name, column in values.items():
        known = np.array([value is not None for value in column], bool)
        labels = np.array([str(value) for value in column])[known]
        kinds, counts = np.unique(labels, return_counts=True)
        if known.sum() < least or len(kinds) < 2 or np.sort(counts)[-2] < 5:
            continue
        codes = np.searchsorted(kinds, labels)
        gains = probe(vectors[known], codes, seed)
        found[name] = {**_interval(gains, seed), "values": len(kinds), "visitors": int(known.sum()),
                       "majority": float(counts.max() / counts.sum())}  # fmt: skip
        if beside is not None:
            others = probe(beside[known], codes, seed)
            best = others if others.mean() > 0 else np.zeros_like(others)  # else one would guess the commonest
            found[name] |= {"untrained": _interval(others, seed), "learnt": _interval(gains - best, seed)}
        marked = np.hstack([vectors[known], 3 * np.eye(len(kinds))[codes] * _scale(vectors)])
        planted[name] = _interval(probe(marked, codes, seed), seed)["interval"][0]
    told = [each if beside is None else each["learnt"] for each in found.values()]
    worst: dict[str, Any] = max(told, key=lambda each: each["interval"][0], default={"figure": None, "interval": None})
    caught = all(low > 0 for low in planted.values()) if planted else None
    limit = None if beside is None else held.attribute_gain
    return {"attack": "attributes", "what": "visitors whose attribute a probe guesses right, less " +
            ("the majority's share" if beside is None else "those it guesses by the untrained model"),
            "figure": worst["figure"], "interval": worst["interval"], "limit": limit,
            "passed": caught if limit is None or not caught else bool(worst["interval"][0] <= limit),
            "attributes": found,
            "canary": {"caught": caught, "figure": min(planted.values(), default=None),
                       "what": "the attribute planted in the vectors"},
            "seconds": round(time.monotonic() - began, 1)}  # fmt: skip


def _interval(values: Numbers, seed: int) -> dict[str, Any]:
    found = bootstrap_mean(values, seed=seed, draws=2_000)
    return {"figure": found.mean, "interval": [found.low, found.high]}


def _scale(vectors: Numbers) -> float:
    return float(np.sqrt((vectors**2).mean()) + 1e-9)


def probe(vectors: Numbers, codes: NDArray[np.int64], seed: int) -> Numbers:
    """By visitor: 1 if a cross-validated logistic regression guesses right, less 1 if the commonest value would."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold

    right = np.zeros(len(codes))
    folds = StratifiedKFold(min(5, int(np.bincount(codes).min())) if np.bincount(codes).min() > 1 else 2,
                            shuffle=True, random_state=seed)  # fmt: skip
    for teach, ask in folds.split(vectors, codes):
        told = leading(vectors, teach)
        mean, spread = told[teach].mean(0), told[teach].std(0) + 1e-9
        model = LogisticRegression(C=0.03, max_iter=500)
        model.fit((told[teach] - mean) / spread, codes[teach])
        commonest = np.bincount(codes[teach]).argmax()
        guessed = model.predict((told[ask] - mean) / spread)
        right[ask] = (guessed == codes[ask]).astype(float) - (commonest == codes[ask]).astype(float)
    return right


def leading(vectors: Numbers, teach: NDArray[np.int64]) -> Numbers:
    """The vectors by their `COMPONENTS` leading directions among those taught from; shorter ones as they are.

    With hundreds of numbers for each of some hundred visitors a probe learns its own by heart and guesses worse than
    the commonest value: too weak an attack.
    """
    if vectors.shape[1] <= COMPONENTS:
        return vectors
    centred = vectors - vectors[teach].mean(0)
    _, _, directions = np.linalg.svd(centred[teach], full_matrices=False)
    found: Numbers = centred @ directions[:COMPONENTS].T
    return found


def attacked(
    targets: Mapping[str, Callable[[], Target]], policy: Policy | None = None, seed: int = 1
) -> dict[str, Any]:
    """Entries of the report: an attack on membership for each part that learnt from visitors."""
    found = {}
    for part, make in targets.items():
        with narrate(f"attack on membership: {part}"):
            found[f"membership: {part}"] = membership(make(), policy, seed)
    return found


def unknown_members(targets: Mapping[str, Any], was: Sequence[str], now: Sequence[str]) -> dict[str, Any] | None:
    """Entries that say why nothing can be told, if the bundle learnt from other examples than there are; else None."""
    if set(now) <= set(was):
        return None
    why = "the examples were made anew since it was trained, so that nobody knows whom it learnt from: train it again"
    said = {"attack": "membership", "figure": None, "limit": Policy().membership_auc, "passed": False, "invalid": why,
            "canary": {"caught": None}}  # fmt: skip
    return {f"membership: {part}": {**said, "part": part} for part in targets}
