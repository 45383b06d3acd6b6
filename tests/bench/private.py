"""What private training costs: `python -m tests.bench.private SHOP` (`make bench-privacy`); needs the shop's examples.

The recommender trained plainly, and privately at epsilon 1, 3 and 8, by the functions that `models train` calls, each
judged by the code that `models evaluate` uses: NDCG@10 of every test visitor's next basket, whole catalogue ranked.
Noise is drawn anew in every run, so each epsilon is trained several times; a visitor's figure is the mean over the runs
(for the interval of what is lost: paired by visitor), and the spread of the runs stands beside it. The baseline that
needs no training is in the table, since a private model below it is not worth its noise.
"""

import argparse
import math
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jobs.console import grid, say
from models.bundle import open_bundle
from models.evaluation.attacks import membership
from models.evaluation.recommending import baseline, bundle_ranker, figures, rankings
from models.evaluation.targets import recommender_targets
from models.recommender import Recommender
from models.statistics import Interval, bootstrap_mean, paired_bootstrap
from models.training import private_recommender
from models.training.recommender import read_questions, train
from tests.bench.measure import machine

EPSILONS = (1.0, 3.0, 8.0)
PARTS = ("statistics", "mix", "gradients")


@dataclass(frozen=True)
class Judged:
    """One training: NDCG@10 of each test visitor, seconds, settings, and what the attack on its scorer found."""

    ndcg: list[float]
    seconds: float
    settings: dict[str, Any]
    attack: dict[str, Any] | None


def judged(shop: str, made: Callable[[], Path]) -> Judged:
    """Train, judge and attack a bundle, which is removed again."""
    began = time.monotonic()
    folder = made()
    took = time.monotonic() - began
    bundle, questions = open_bundle(folder), read_questions(shop, "test")
    opened = Recommender.open(bundle)
    ranked = rankings({"it": bundle_ranker(opened)}, opened.items, questions)["it"]
    targets = recommender_targets(shop, bundle)
    attack = membership(targets["scorer"]()) if targets else None
    shutil.rmtree(folder)
    return Judged(figures(ranked, questions)["ndcg@10"], took, dict(bundle.settings), attack)


def utility(name: str, runs: Sequence[Judged], plain: Judged) -> tuple[str, ...]:
    """A line of the first table: the mean over runs, their spread, what is lost, and the mixes chosen."""
    by_visitor = np.mean([run.ndcg for run in runs], axis=0)
    means = [float(np.mean(run.ndcg)) for run in runs]
    lost = said_of(paired_bootstrap(by_visitor, plain.ndcg), "+") if runs[0] is not plain else ""
    return (name, said_of(bootstrap_mean(by_visitor)), f"{min(means):.4f} to {max(means):.4f}", lost,
            " ".join(f"{run.settings['mix']:g}" for run in runs),
            f"{np.mean([run.seconds for run in runs]):.0f}")  # fmt: skip


def secrecy(name: str, runs: Sequence[Judged]) -> tuple[str, ...]:
    """A line of the second table: what was spent, and how well an attack tells who was learnt from."""
    said = runs[0].settings.get("privacy")
    spent = (f"{said['epsilon']:.3f}", f"{said['delta']:g}", " ".join(f"{said['noise'][part]:.3g}" for part in PARTS)) \
        if said else ("", "", "")  # fmt: skip
    most = f"{1 / (1 + math.exp(-said['epsilon'])):.3f}" if said else ""
    entries = [run.attack for run in runs if run.attack and run.attack["figure"] is not None]
    if not entries:
        why = (runs[0].attack or {}).get("invalid", "learnt from nobody")
        return (name, *spent, why, "", most, "", "")
    area, low, high = np.mean([[entry["figure"], *entry["interval"]] for entry in entries], axis=0)
    areas = [entry["figure"] for entry in entries]
    sure = np.mean([[entry["tpr"]["figure"], entry["tpr"]["fpr"]] for entry in entries], axis=0)
    return (name, *spent, f"{area:.3f} {low:.3f} {high:.3f}", f"{min(areas):.3f} to {max(areas):.3f}", most,
            f"{sure[0]:.1%} at {sure[1]:.1%}",
            f"{sum(entry['canary']['caught'] for entry in entries)} of {len(entries)}")  # fmt: skip


def said_of(interval: Interval, sign: str = "") -> str:
    """A mean with its interval of 95 %; a sign where it is a difference."""
    return " ".join(f"{value:{sign}.4f}" for value in (interval.mean, interval.low, interval.high))


def main(argv: list[str]) -> int:
    """Train, judge and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shop")
    parser.add_argument("--runs", type=int, default=3)
    args = parser.parse_args(argv)
    print(f"{machine()}; python -m tests.bench.private {' '.join(argv)}", flush=True)
    plain = judged(args.shop, lambda: train(args.shop, 1))
    found = {"plain": [plain], "decayed counts": [judged(args.shop, lambda: baseline(args.shop))]}
    for epsilon in EPSILONS:
        one = lambda e=epsilon: private_recommender.train(args.shop, 1, e)  # noqa: E731
        name = f"epsilon {epsilon:g}"
        found[name] = [judged(args.shop, one) for _ in range(args.runs)]
        say("  ".join((*utility(name, found[name], plain), *secrecy(name, found[name])[1:])))
    names = ("trained", "NDCG@10, low, high", "runs", "against plain, low, high", "mix", "s")
    print(grid(names, [utility(name, runs, plain) for name, runs in found.items()]))
    names = ("trained", "epsilon spent", "delta", f"noise of {', '.join(PARTS)}", "attack: area, low, high", "runs",
             "promised at most", "members named at nonmembers", "canaries caught")  # fmt: skip
    print(grid(names, [secrecy(name, runs) for name, runs in found.items()]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
