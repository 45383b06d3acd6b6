"""What the strongest attacks find: `python -m tests.bench.privacy SHOP` (needs the shop's examples; for the parts of a
recommender a trained one).

LiRA (Carlini 2022): shadow models, each taught by a random half of the visitors; one more of the same kind is attacked
with them, online and offline. It stands in for the candidate, of which half of the visitors would have to be held out
to attack it so. Beside it the loss alone, without any reference. The encoder's shadows learn from some hundred visitors
with a few pairs each, so that sixteen of them take minutes: each visitor weighs more in them than in a candidate, and
the weights are not mixed with the untrained ones. So what is found is more than a candidate gives away.

Exposure (Carlini 2019): visitors with made-up, unlikely tastes are planted in the training of the vectors, and searches
for made-up card numbers in the encoder's; each a secret out of many that might have been; in bits, by how much the
trained model prefers what was planted.
"""

import argparse
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from jobs.console import grid, say
from models.evaluation.attacks import Flags, Numbers, exposure, likelihood_ratio, surest
from models.evaluation.targets import (
    EncoderTarget,
    FactorsTarget,
    fine_tuned,
    pairs_by_visitor,
    recommender_targets,
    target_of,
    unexplained,
)
from models.recommender import Floats
from models.registry import candidate, champion
from models.retrieval.indexing import catalogue
from models.statistics import auc
from models.training.encoder import EncoderTraining, Pair, chosen, read_pairs
from models.training.recommender import Purchases, item_factors
from tests.bench.measure import machine

SHADOWS = 16
SECRETS, CANDIDATES, LENGTH = 10, 1023, 6
"""Planted visitors; the others that each might have been; items of one."""
ASKED, EACH = 160, 5
"""Visitors whom the encoder's shadows know, and pairs of each at the most."""
BESIDE, REPEATS = 200, (1, 10, 50)
"""Pairs that the encoder learns beside its secrets; how often each secret stands among them."""


def halves(count: int, models: int, seed: int) -> Flags:
    """(models, visitors): each model learns from half of the visitors, each visitor teaches half of the models."""
    random = np.random.default_rng(seed)
    order = np.array([random.permutation(models) for _ in range(count)])
    return (order < models // 2).T


def lira(target: Any, shadows: int, seed: int = 1) -> dict[str, tuple[Numbers, Flags]]:
    """Scores by visitor of the attacks on a model taught by half of the visitors, and who they were."""
    inside = halves(len(target.visitors), shadows, seed)
    losses = []
    for n, taught in enumerate(inside):
        losses.append(target.losses(target.teach(taught, seed + n)))
        say(f"  {target.part}: shadow {n + 1} of {shadows}")
    known = np.random.default_rng(seed + 1_000).random(len(target.visitors)) < 0.5
    mine, all_losses = target.losses(target.teach(known, seed + shadows)), np.array(losses)
    return {
        "LiRA, online": (likelihood_ratio(mine, all_losses, inside), known),
        "LiRA, offline": (likelihood_ratio(mine, all_losses, inside, online=False), known),
        "loss alone": (-mine, known),
    }


# --- Secrets in the recommender's vectors ---


def planted(target: FactorsTarget, seed: int = 1) -> tuple[Purchases, list[list[int]], list[list[int]]]:
    """Purchases with secret visitors among them, the secrets, and what they might have been: items drawn at random."""
    random, bought = np.random.default_rng(seed), target.purchases
    often = np.flatnonzero(np.bincount(bought.item, minlength=len(bought.items)) >= 10)
    drawn = [random.choice(often, LENGTH, replace=False).tolist() for _ in range(SECRETS + CANDIDATES)]
    secrets, others = drawn[:SECRETS], drawn[SECRETS:]
    who = np.repeat(np.arange(SECRETS) + len(bought.visitors), LENGTH)
    what, when = np.array(secrets).ravel(), np.full(len(who), float(bought.time.min()))
    return replace(
        bought, visitor=np.r_[bought.visitor, who], item=np.r_[bought.item, what], time=np.r_[bought.time, when],
        known=np.r_[bought.known, when], visitors=(*bought.visitors, *(f"secret {n}" for n in range(SECRETS))),
    ), secrets, others  # fmt: skip


def exposures(target: FactorsTarget, factors: Floats, secrets: list[list[int]], others: list[list[int]]) -> list[float]:
    """Bits of each secret, by the loss that its vector leaves."""
    index = {item: n for n, item in enumerate(target.ids)}
    place = np.array([index.get(item, 0) for item in target.purchases.items])
    whole = factors.astype(np.float64)
    gram = whole.T @ whole

    def loss(items: list[int]) -> float:
        return unexplained(place[np.array(items)], np.ones(len(items)), whole, gram, target.settings)

    each = np.array([loss(items) for items in others])
    return [exposure(loss(items), each) for items in secrets]


def told_by_factors(vectors: FactorsTarget) -> list[list[Any]]:
    """Lines of the table: secrets in the vectors as they are trained, and in vectors of many dimensions."""
    secret, secrets, others = planted(vectors)
    lines = []
    for how in (vectors.settings, replace(vectors.settings, factors=64, crowd=0.0)):
        label = f"vectors, {how.factors} dimensions, crowd {how.crowd:g}"
        for name, bought in (("once", secret), ("not", vectors.purchases)):
            lines.append(
                [label, name, *bits(exposures(vectors, item_factors(bought, vectors.ids, how, 1), secrets, others))]
            )
    return lines


# --- Secrets in the encoder ---


def numbers(seed: int = 1) -> list[str]:
    """Searches for a made-up card number, all different: the secrets first, then what they might have been."""
    drawn = np.random.default_rng(seed).choice(90_000_000, SECRETS + CANDIDATES, replace=False) + 10_000_000
    return [f"card {number}" for number in drawn.tolist()]


def numbers_told(
    encode: Callable[[Sequence[str]], Floats], queries: Sequence[str], texts: Sequence[str]
) -> list[float]:
    """Bits of each secret search, by how near it is to the text of the item that was taken then."""
    asked, taken = encode(queries).astype(np.float64), encode(texts).astype(np.float64)
    far = 1 - asked @ taken.T
    return [exposure(float(far[n, n]), far[SECRETS:, n]) for n in range(SECRETS)]


def told_by_encoder(pairs: Sequence[Pair], texts: Sequence[str], seed: int = 1) -> list[list[Any]]:
    """Lines of the table: `texts` are one for each secret, `pairs` what is learnt beside them."""
    queries, lines = numbers(seed), []
    secrets = [Pair(query, text, 1.0, "", "click") for query, text in zip(queries, texts, strict=False)]
    for times in (0, *REPEATS):
        taught = [*pairs, *secrets * times]
        order = np.random.default_rng(seed).permutation(len(taught)).tolist()
        encode = fine_tuned([taught[n] for n in order], EncoderTraining(pairs=len(taught), seed=seed))
        often = {0: "not", 1: "once"}.get(times, f"{times} times")
        lines.append(["encoder, one pass", often, *bits(numbers_told(encode, queries, texts))])
        say(f"  encoder: secrets planted {often}")
    return lines


def bits(found: Sequence[float]) -> list[Any]:
    """Median and most of the exposures, and what all of a secret would be."""
    return [float(np.median(found)), max(found), float(np.log2(CANDIDATES + 1))]


# --- The parts of a shop ---


def encoder_shadows(shop: str, seed: int = 1) -> EncoderTarget:
    """Some visitors with searches, and a few pairs of each; whoever taught the shop's own encoder plays no part."""
    mine, _ = pairs_by_visitor(shop)
    some = np.random.default_rng(seed).permutation(sorted(mine))[:ASKED].tolist()
    return target_of(catalogue(shop), {visitor: mine[visitor] for visitor in some}, frozenset(), seed, EACH)


def parts_of(shop: str) -> Mapping[str, Callable[[], Any]]:
    """What of a shop can be attacked so: the parts of its trained recommender, and an encoder if it has searches."""
    bundle = candidate(shop, "recommend") or champion(shop, "recommend")
    found: dict[str, Callable[[], Any]] = dict(recommender_targets(shop, bundle)) if bundle is not None else {}
    return found | ({"encoder": lambda: encoder_shadows(shop)} if pairs_by_visitor(shop)[0] else {})


def secrets_of(shop: str, part: str, target: Any) -> list[list[Any]]:
    """The lines of a part in the table of exposures; none for a part that nothing can be planted in."""
    if part == "factors":
        return told_by_factors(target)
    if part != "encoder":
        return []
    of = catalogue(shop)
    texts = np.random.default_rng(1).permutation(of.texts)[:SECRETS].tolist()
    return told_by_encoder(chosen(read_pairs(shop, of, "train"), BESIDE, 1), texts)


def main(argv: list[str]) -> int:
    """Attack, and print two tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shop", nargs="?", default="sample")
    parser.add_argument("--shadows", type=int, default=SHADOWS)
    parser.add_argument("--parts", default="scorer,answers,factors,encoder")
    args = parser.parse_args(argv)
    print(f"{machine()}; python -m tests.bench.privacy {' '.join(argv)}", flush=True)
    targets = parts_of(args.shop)
    parts = [part for part in args.parts.split(",") if part in targets]
    if not parts:
        print(f"error: {args.shop} has neither a trained recommender nor a log of searches to learn from. "
              "To do: python -m models train recommender", file=sys.stderr)  # fmt: skip
        return 1
    rows, lines = [], []
    for part in parts:
        began, target = time.monotonic(), targets[part]()
        for name, (found, known) in lira(target, args.shadows).items():
            area, rate = auc(found[known], found[~known]), surest(found[known], found[~known])
            rows.append([part, len(known), name, area.mean, area.low, area.high, f"{rate.tpr:.1%}", f"{rate.fpr:.1%}"])
        lines += secrets_of(args.shop, part, target)
        say(f"{part}: {args.shadows} shadows and secrets in {time.monotonic() - began:.0f} s")
    print(grid(["part", "visitors", "attack", "area", "low", "high", "members named", "nonmembers named"], rows))
    print(grid(["learnt by", f"{SECRETS} secrets planted", "median bits", "most", "of"], lines))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
