"""How often intervals of off-policy estimates hold the truth: `python -m tests.bench.off_policy [LOGS]`. Not a test.

So many logs (1,000 if not said) are simulated of each of some worlds whose value is known exactly; every estimator
gives its interval of nominal 95 % for each. An honest interval holds the truth in about 950 of 1,000 (936 to 964 is
chance, at two standard errors); `difference` is the same of the difference to the log's own policy. `concluded` is the
share of logs from which a conclusion would be drawn, and the last column the coverage within these: what a reader of
the report relies on.
"""

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from jobs.console import grid, narrate
from jobs.simulator.ranking import ATTRACTION, EXAMINATION, SHOWN, SHUFFLED, click, show
from models.evaluation.off_policy import ESTIMATORS, Floats, Ints, Log, Target, estimated
from tests.bench.measure import machine

DRAWS = 1_000


@dataclass(frozen=True)
class World:
    """A shop of one log: how it is drawn, what the target shows, and what that and the log's own policy are worth."""

    name: str
    draw: Callable[[np.random.Generator], tuple[Log, Target]]
    value: float
    logged: float


def visits(rng: np.random.Generator, visitors: int, most: int = 5) -> Ints:
    """The visitor of each ranking: from one to `most` rankings each."""
    return np.repeat(np.arange(visitors), rng.integers(1, most + 1, visitors))


def bandit(
    name: str, visitors: int, items: int, rate: float, sharp: float, target_sharp: float, *, contexts: int = 20
) -> World:
    """Single impressions. Rewards of one visitor belong together: each is half as willing again as the mean, or half.

    The log shows by the softmax of `sharp` times a guess at the rates, the target of `target_sharp` times a better one.
    """
    world = np.random.default_rng([7, items, visitors])
    rates = np.minimum(rate * world.lognormal(0, 0.5, (contexts, items)), 0.6)
    score = np.log(rates) - np.log(rates).mean()
    shows = _softmax(sharp * (score + world.normal(0, 0.5, score.shape)))
    wants = _softmax(target_sharp * (score + world.normal(0, 0.2, score.shape)))

    def draw(rng: np.random.Generator) -> tuple[Log, Target]:
        visitor = visits(rng, visitors)
        n = len(visitor)
        context = rng.integers(0, contexts, n)
        item = (rng.random(n)[:, None] > shows[context].cumsum(axis=1)[:, :-1]).sum(axis=1)
        willing = rng.choice([0.5, 1.5], visitors)[visitor]
        reward = (rng.random(n) < rates[context, item] * willing).astype(float)
        log = Log(np.arange(n), np.zeros(n, np.int64), context, item, visitor, shows[context, item], reward)
        return log, Target(np.repeat(np.arange(n), items), np.tile(np.arange(items), n), wants[context].ravel())

    return World(name, draw, *(float((chances * rates).sum(axis=1).mean()) for chances in (wants, shows)))


def _softmax(score: Floats) -> Floats:
    raised = np.exp(score - score.max(axis=1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))


def rankings(name: str, visitors: int, wanted: str, *, queries: int = 40) -> World:
    """Rankings of ten by the generated shop's own policy and clicks; the target is `uniform`, or a fixed order."""
    world = np.random.default_rng([8, visitors])
    grades = world.integers(0, 4, (queries, SHOWN))
    attraction = np.array(ATTRACTION)[grades]
    order = np.argsort(-(grades + world.gumbel(0, 1.0, grades.shape)), axis=1)  # item at each position
    uniform = np.full((queries, SHOWN, SHOWN), 1 / SHOWN)
    chances = uniform if wanted == "uniform" else np.eye(SHOWN)[order]  # (query, position, item)

    def draw(rng: np.random.Generator) -> tuple[Log, Target]:
        visitor = visits(rng, visitors)
        n = len(visitor)
        query = rng.integers(0, queries, n)
        items, propensity = show(rng, np.tile(np.arange(SHOWN), (n, 1)))
        clicked = click(rng, np.take_along_axis(grades[query], items, 1))
        rows = n * SHOWN
        log = Log(np.repeat(np.arange(n), SHOWN), np.tile(np.arange(SHOWN), n), np.repeat(query, SHOWN), items.ravel(),
                  np.repeat(visitor, SHOWN), propensity.ravel(), clicked.ravel().astype(float))  # fmt: skip
        return log, Target(
            np.repeat(np.arange(rows), SHOWN), np.tile(np.arange(SHOWN), rows), chances[query].ravel().astype(float)
        )

    own = np.tile((1 - SHUFFLED) * np.eye(SHOWN) + SHUFFLED / SHOWN, (queries, 1, 1))
    worth = EXAMINATION[:, None] * attraction[:, None, :]
    return World(name, draw, *(float((each * worth).sum(axis=(1, 2)).mean()) for each in (chances, own)))


@cache
def worlds() -> tuple[World, ...]:
    """From easy to hopeless."""
    return (
        bandit("near", 400, 10, 0.1, 1.0, 1.5),
        bandit("far", 1000, 10, 0.1, -1.5, 3.0),
        bandit("rare rewards", 3000, 40, 0.004, 1.0, 0.0),
        bandit("hopeless", 100, 40, 0.02, -1.5, 4.0),
        rankings("shuffled", 300, "uniform"),
        rankings("reordered", 1200, "order"),
        rankings("reordered, few", 100, "order"),
    )


def covered(world: World, logs: int, *, seed: int = 1) -> list[dict[str, Any]]:
    """One line an estimator: bias, error, width and coverage over so many logs, all and those concluded from."""
    found = []
    for n in range(logs):
        log, target = world.draw(np.random.default_rng([seed, n]))
        found.append(estimated(log, target, draws=DRAWS, seed=n))
    concluded = np.array([one["concluded"] for one in found])
    about = {"world": world.name, "value": world.value, "ess": _median(found, "ess"),
             "rewards": _median(found, "rewards_ess")}  # fmt: skip
    lines = []
    for name in (*ESTIMATORS, "bernstein"):
        ends = [one["bernstein"] if name == "bernstein" else one["estimates"][name]["value"] for one in found]
        mean, low, high = (np.array([each[end] for each in ends]) for end in ("mean", "low", "high"))
        holds = (low <= world.value) & (world.value <= high)
        apart = [one["estimates"].get(name, {}).get("difference", {}) for one in found]
        lines.append({**about, "estimator": name, "bias": float(mean.mean() - world.value),
                      "rmse": float(np.sqrt(((mean - world.value) ** 2).mean())), "width": float((high - low).mean()),
                      "coverage": float(holds.mean()),
                      "difference": _share(apart, world.value - world.logged), "concluded": float(concluded.mean()),
                      "then": float(holds[concluded].mean()) if concluded.any() else None})  # fmt: skip
    return lines


def _share(intervals: Sequence[dict[str, Any]], true: float) -> float | None:
    """The share of intervals that hold the truth; None where there are none."""
    return float(np.mean([one["low"] <= true <= one["high"] for one in intervals])) if all(intervals) else None


def _median(found: Sequence[dict[str, Any]], name: str) -> float:
    return float(np.median([one[name] for one in found]))


def main(logs: int) -> None:
    """Print the table."""
    began = time.monotonic()
    lines = []
    for world in worlds():
        with narrate(f"{logs:,} logs of '{world.name}'"):
            lines += covered(world, logs)
    print(grid(list(lines[0]), [list(line.values()) for line in lines]))
    print(f"{logs:,} logs a world, {DRAWS:,} draws each, {time.monotonic() - began:.0f} s. {machine()}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000)
