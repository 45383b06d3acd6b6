"""What the model gate promises, measured: `python -m tests.bench.gate` (`make bench-gate`). Not a test; one is
tests/models/evaluation/test_gate_simulated.py.

The gate is the real one, over whole reports; intervals and p values are those of models.statistics, of many trials at
once. What is made up are differences by query, in the shape that real reports have them (`GROCER`, `SAMPLE`): how many
visitors, how wide, how many exactly zero, how heavy the tails. A model is what it is in truth, which the simulation
decides, plus what its training's chance did to it at each visitor, which is new for each model and has no mean. So a
copy is the same training with another seed; its difference from the champion holds the chance of both, and two copies
tried against one champion have the champion's chance in common, as they have in a shop.

A line of the table counts how often something happened, with its Wilson interval, beside what was promised.
"""

import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jobs.attacks import wilson
from jobs.console import grid, narrate
from models.evaluation.gates import Policy, Verdict, gates, level
from models.statistics import DRAWS, draws_for, expanded, holm, paired_bootstrap, paired_randomisation
from tests.bench.measure import machine
from tests.reports import passing

Floats = NDArray[np.float64]
TRIALS, WEEKS, CHUNK = 1_000, 52, 500
KINDS: dict[str, tuple[tuple[float, ...], bool]] = {
    "frequency": ((0.2, 0.3, 0.5), False), "visitor": ((0.15, 0.85), False), "category": ((0.1,) * 10, False),
    "price band": ((0.25,) * 4, False), "channel": ((0.4, 0.6), False),
    "age": ((0.1, 0.15, 0.25, 0.25, 0.15, 0.1), True), "income": ((0.3, 0.4, 0.3), True),
}  # fmt: skip
"""Kinds of segments, the share of each of them, and whether they are protected groups: thirty segments in all."""


@dataclass(frozen=True)
class Shape:
    """How the differences of a real report lie: visitors, standard deviation, share of exact zeros, degrees of freedom
    of the tails, and the champion's mean. `effect` is what a better model gains on average, `harm` what one that is
    worse in a tenth of the visitors loses there, both in the metric's own unit."""

    name: str
    n: int
    spread: float
    zeros: float
    tails: float
    champion: float
    effect: float
    harm: float


GROCER = Shape("recommendations of the grocer", 2003, 0.0318, 0.70, 5.0, 0.2176, 0.0022, 0.033)
SAMPLE = Shape("recommendations of the sample", 300, 0.2185, 0.36, 30.0, 0.6444, 0.0387, 0.25)
MARGIN = 0.02
"""Of a segment, in the metric's own unit; of a protected group half of it."""


# --- Models, as the simulation has them ---


def chance(random: np.random.Generator, shape: Shape, trials: int) -> Floats:
    """What chance in training did to a model at each visitor (visitors x trials): often nothing, on average nothing."""
    size = (shape.n, trials)
    moved = random.random(size) >= np.sqrt(shape.zeros)  # a difference is zero where neither model was moved
    scale = shape.spread / np.sqrt(2 * (1 - np.sqrt(shape.zeros)) * shape.tails / (shape.tails - 2))
    made: Floats = np.where(moved, random.standard_t(shape.tails, size) * scale, 0.0)
    return made


def gain(random: np.random.Generator, size: tuple[int, int], effect: float, share: float = 0.3) -> Floats:
    """A true gain of `effect` on average, at a share of the visitors and nothing at the others."""
    made: Floats = np.where(random.random(size) < share, effect / share, 0.0)
    return made


def segmented(n: int) -> dict[tuple[str, str], NDArray[np.intp]]:
    """Which visitors are in which segment: every kind divides all of them, independently of the other kinds."""
    random, found = np.random.default_rng(11), {}
    for kind, (shares, _) in KINDS.items():
        ends = np.round(np.cumsum(shares) * n).astype(int)[:-1]
        for place, rows in enumerate(np.split(random.permutation(n), ends)):
            found[kind, str(place)] = rows
    return found


# --- The statistics of many trials at once ---


def bootstrap_ends(values: Floats, levels: float | Sequence[float], draws: int = DRAWS) -> tuple[Floats, Floats]:
    """Ends of `paired_bootstrap` for each column, at one level or its own: the same draws, as counts, and products."""
    n, columns = values.shape
    random, step, means = np.random.default_rng(1), max(1, 2_000_000 // n), []
    for start in range(0, draws, step):
        drawn = random.integers(0, n, size=(min(step, draws - start), n))
        rows = np.arange(len(drawn))[:, None] * n
        counts = np.bincount((rows + drawn).ravel(), minlength=drawn.size).reshape(drawn.shape)
        means.append(counts.astype(np.float64) @ values / n)
    each = np.concatenate(means).T.copy()
    wanted = np.broadcast_to(np.asarray(levels), columns)
    low, high = np.array([np.quantile(one, expanded(float(at), n)) for one, at in zip(each, wanted, strict=True)]).T
    return low, high


def p_worse(values: Floats, margin: float) -> Floats:
    """One-sided p that the mean of each column is not below -margin: signs flipped as in `paired_randomisation`."""
    moved, n = values + margin, len(values)
    observed, random, step = -moved.sum(axis=0), np.random.default_rng(1), max(1, 2_000_000 // n)
    hits = np.zeros(values.shape[1])
    for start in range(0, DRAWS, step):
        signs = random.integers(0, 2, size=(min(step, DRAWS - start), n), dtype=np.int8) * 2.0 - 1.0
        hits += (-(signs @ moved) >= observed - 1e-12).sum(axis=0)
    return (hits + 1) / (DRAWS + 1)


# --- Reports and the gate ---


def judged_segments(deltas: Floats, shape: Shape) -> list[list[dict[str, Any]]]:
    """The report's segments of every trial (column): means, p of being worse than the margin, corrected by Holm."""
    entries: list[list[dict[str, Any]]] = [[] for _ in range(deltas.shape[1])]
    for (kind, name), rows in segmented(shape.n).items():
        values, protected = deltas[rows], KINDS[kind][1]
        margin = MARGIN / 2 if protected else MARGIN
        mean, p = values.mean(axis=0), p_worse(values, margin)
        reach = 1.96 * values.std(axis=0, ddof=1) / np.sqrt(len(rows))  # the gate looks at a protected group's only
        low, high = bootstrap_ends(values, 0.95) if protected else (mean - reach, mean + reach)
        low, high = np.minimum(low, mean), np.maximum(high, mean)
        for trial, found in enumerate(entries):
            found.append({"kind": kind, "name": name, "n": len(rows), "clusters": len(rows), "protected": protected,
                          "mean": mean[trial], "low": low[trial], "high": high[trial], "p_worse": p[trial],
                          "margin": margin, "champion": shape.champion,
                          "candidate": shape.champion + mean[trial]})  # fmt: skip
    for found in entries:
        for entry, held in zip(found, holm([entry["p_worse"] for entry in found]), strict=True):
            entry["p_holm"] = max(held, entry["p_worse"])
    return entries


def timed(random: np.random.Generator) -> dict[str, float]:
    """p50 and p99 of one model in ms, as two copies measured in turns differed on two cores with a load of ten."""
    return {"p50": 15.0 * np.exp(0.17 * random.normal()), "p99": 100.0 * np.exp(0.09 * random.normal())}


def report(shape: Shape, random: np.random.Generator, ends: Sequence[float], tries: int, **more: Any) -> dict[str, Any]:
    """A whole report: mean and ends of the pairs, and whatever else of it the trial is about; the rest is fine."""
    mean, low, high = ends
    made = passing(latency_ms=timed(random), latency_champion_ms=timed(random), test={"n": shape.n},
                   tries={"number": tries}, **more)  # fmt: skip
    made["paired"] = {"metric": made["primary"], "mean": mean, "low": min(low, mean), "high": max(high, mean),
                      "n": shape.n, "level": level(tries, Policy())}  # fmt: skip
    made["systems"]["champion"]["ndcg@10"]["mean"] = shape.champion
    return made


Maker = Callable[[np.random.Generator, int], Floats]


def verdicts(make: Maker, shape: Shape, trials: int, seed: int) -> list[Verdict]:
    """The gate's verdict on each of so many first candidates, as dear as the champion."""
    random, found = np.random.default_rng(seed), []
    for start in range(0, trials, CHUNK):
        deltas = make(random, min(CHUNK, trials - start))
        ends = (deltas.mean(axis=0), *bootstrap_ends(deltas, level(1, Policy())))
        for segments, *each in zip(judged_segments(deltas, shape), *ends, strict=True):
            found.append(gates(report(shape, random, each, 1, segments=segments)))
    return found


def halved(make: Maker, shape: Shape, trials: int, seed: int) -> list[Verdict]:
    """The same of candidates of half the champion's size, with segments that say nothing against them."""
    random, sizes = np.random.default_rng(seed), {"candidate": 1e7, "champion": 2e7}
    deltas = make(random, trials)
    ends = (deltas.mean(axis=0), *bootstrap_ends(deltas, level(1, Policy())))
    return [gates(report(shape, random, each, 1, size_bytes=sizes)) for each in zip(*ends, strict=True)]


def copies(shape: Shape) -> Maker:
    """The champion's training with another seed: what chance did to each, one less the other."""
    return lambda random, trials: chance(random, shape, trials) - chance(random, shape, trials)


def better_by(shape: Shape, effect: float) -> Maker:
    """A model that is better by `effect` on average, and in no segment worse."""
    return lambda random, trials: copies(shape)(random, trials) + gain(random, (shape.n, trials), effect)


def worse_within(shape: Shape) -> Maker:
    """Better by twice the effect on average, and worse by the harm in a tenth of the visitors."""
    rows = segmented(shape.n)["category", "0"]

    def _made(random: np.random.Generator, trials: int) -> Floats:
        share = len(rows) / shape.n
        made = better_by(shape, (2 * shape.effect + share * shape.harm) / (1 - share))(random, trials)
        made[rows] = copies(shape)(random, trials)[rows] - shape.harm
        return made

    return _made


# --- Weeks of tries against one champion ---


@dataclass(frozen=True)
class Spending:
    """How the chance of error is divided over tries: the one-sided share of the k-th."""

    name: str
    share: Callable[[int], float]


RULES = (
    Spending("the gate's", lambda k: (1 - level(k, Policy())) / 2),
    Spending("every try at 95 %", lambda k: 0.025),
    Spending("counted anew every 4 weeks", lambda k: (1 - level((k - 1) % 4 + 1, Policy())) / 2),
)


def weeks(random: np.random.Generator, shape: Shape, renewed: float, same: bool = False) -> Iterable[Floats]:
    """Each week's differences (visitors): a new copy, or the `same` one again, against one champion.

    `renewed` is the share of the test's visitors that each week replaces: at 0 the test stays, at 1 it is all new.
    """
    champion, candidate = (chance(random, shape, 1)[:, 0] for _ in range(2))
    for _ in range(WEEKS):
        yield candidate - champion
        fresh = random.random(shape.n) < renewed
        champion = np.where(fresh, chance(random, shape, 1)[:, 0], champion)
        new = chance(random, shape, 1)[:, 0]
        candidate = np.where(fresh, new, candidate) if same else new


def promoted_ever(shape: Shape, trials: int, renewed: float, seed: int, same: bool = False) -> dict[str, int]:
    """In how many trials each rule would have promoted one of the copies within a year, by its interval alone.

    Only what may pass is drawn in full: an interval's end is computed where the mean lies within 0.8 standard errors of
    what the normal law asks for, or above.
    """
    random, hit = np.random.default_rng(seed), {rule.name: np.zeros(trials, bool) for rule in RULES}
    asked = {rule.name: [NormalDist().inv_cdf(1 - rule.share(week)) for week in range(1, WEEKS + 1)] for rule in RULES}
    waiting: dict[int, list[tuple[Spending, int, Floats, int]]] = {}
    for trial in range(trials):
        for week, deltas in enumerate(weeks(random, shape, renewed, same), 1):
            z = deltas.mean() / (deltas.std(ddof=1) / np.sqrt(shape.n))
            for rule in RULES:
                if z > asked[rule.name][week - 1] - 0.8:
                    waiting.setdefault(draws_for(1 - 2 * rule.share(week)), []).append((rule, trial, deltas, week))
    for draws, cases in waiting.items():
        for start in range(0, len(cases), CHUNK):
            some = cases[start : start + CHUNK]
            values = np.stack([deltas for _, _, deltas, _ in some], axis=1)
            ends = bootstrap_ends(values, [1 - 2 * rule.share(week) for rule, _, _, week in some], draws)
            for (rule, trial, deltas, week), low, high in zip(some, *ends, strict=True):
                told = report(shape, random, (deltas.mean(), low, high), week)
                hit[rule.name][trial] |= gates(told).accepted if rule is RULES[0] else low > 0
    return {name: int(found.sum()) for name, found in hit.items()}


# --- The table ---


@dataclass(frozen=True)
class Line:
    """One count of the table."""

    what: str
    hits: int
    trials: int
    promise: str = ""

    def cells(self) -> list[str]:
        low, high = wilson(self.hits, self.trials)
        share = self.hits / self.trials
        return [self.what, f"{share:.1%}", f"{low:.1%} to {high:.1%}", str(self.trials), self.promise, self.word(share)]

    def word(self, share: float) -> str:
        """Whether the promise was kept, by the share that was seen."""
        if not self.promise:
            return ""
        limit = float(self.promise.split()[2]) / 100
        return "kept" if (share <= limit if "most" in self.promise else share >= limit) else "BROKEN"


def answered(found: Iterable[Verdict], answer: str) -> int:
    """How many verdicts were this answer."""
    return sum(verdict.answer == answer for verdict in found)


def by_segments(found: Iterable[Verdict], asks: bool) -> int:
    """How many verdicts had a segment refuse, or ask."""
    return sum(any(c.name.startswith("segment") and not c.passed and c.asks is asks for c in v.reasons) for v in found)


def first_tries(shape: Shape, trials: int) -> list[Line]:
    """What becomes of first candidates: copies, better ones, those that are worse somewhere, and cheaper ones."""
    lines = [Line(f"{shape.name}: {shape.n} visitors, spread {shape.spread:g}", 0, 0)]
    random = np.random.default_rng(0)
    exact = [gates(report(shape, random, (0.0, 0.0, 0.0), 1)) for _ in range(trials)]
    found = verdicts(copies(shape), shape, trials, 1)
    lines += [Line("a copy, another seed: promoted", answered(found, "accept"), trials, "at most 5 %"),
              Line("  asked about", answered(found, "ask"), trials),
              Line("the very same champion: promoted", answered(exact, "accept"), trials, "at most 5 %")]  # fmt: skip
    found = verdicts(better_by(shape, shape.effect), shape, trials, 2)
    lines += [Line(f"better by {shape.effect:g}, {shape.effect / shape.champion:.0%}: promoted",
                   answered(found, "accept"), trials, "at least 80 %"),
              Line("  refused by a segment", by_segments(found, False), trials),
              Line("  asked about for a segment", by_segments(found, True), trials)]  # fmt: skip
    found = verdicts(worse_within(shape), shape, trials, 3)
    lines += [Line(f"better by {2 * shape.effect:g}, but by {shape.harm:g} worse in a tenth: refused",
                   answered(found, "refuse"), trials, "at least 95 %"),
              Line("  promoted", answered(found, "accept"), trials)]  # fmt: skip
    found = halved(copies(shape), shape, trials, 4)
    lines += [Line("a copy of half the size: promoted", answered(found, "accept"), trials),
              Line("  asked about", answered(found, "ask"), trials)]  # fmt: skip
    worse = -2 * Policy().worse * shape.champion
    found = halved(better_by(shape, worse), shape, trials, 5)
    lines += [Line(f"of half the size, worse by twice the margin ({worse:.4f}): promoted",
                   answered(found, "accept"), trials, "at most 5 %")]  # fmt: skip
    return lines


def many_tries(shape: Shape, trials: int) -> list[Line]:
    """A year of weekly copies against one champion: the gate's rule beside others.

    Of more trials than the rest: what is promised and what is expected lie within a hundredth here, and a thousand
    trials tell hardly more.
    """
    lines = []
    for what, renewed, same in (
        ("one test for ever", 0.0, False), ("a new test each week", 1.0, False),
        ("the same copy again, a quarter new each week", 0.25, True),
    ):  # fmt: skip
        found = promoted_ever(shape, trials, renewed, 16, same)
        lines += [Line(f"{WEEKS} weekly tries, {what}: {rule.name}", found[rule.name], trials,
                       "at most 5 %" if rule is RULES[0] else "") for rule in RULES]  # fmt: skip
    return lines


def table(lines: Iterable[Line]) -> str:
    """The lines as text."""
    cells = [line.cells() if line.trials else [line.what, "", "", "", "", ""] for line in lines]
    return grid(["what", "share", "95 % interval", "trials", "promised", ""], cells)


def agree() -> None:
    """The statistics of many trials at once are those of models.statistics; an error if they are not."""
    deltas = copies(SAMPLE)(np.random.default_rng(9), 3)
    low, high = bootstrap_ends(deltas, 0.95)
    for trial, values in enumerate(deltas.T):
        real = paired_bootstrap(values, 0 * values)
        assert abs(real.low - low[trial]) < 1e-12 and abs(real.high - high[trial]) < 1e-12
        both = p_worse(deltas, 0.0)[trial]  # one side of the two-sided test: half of it, but for the draws' own chance
        two = paired_randomisation(values, 0 * values)
        assert abs(min(both, 1 - both) - two / 2) < 0.02


def main(trials: int = TRIALS) -> None:
    """Print the table, the machine and the time; exit 1 if a promise was broken."""
    began = time.monotonic()
    agree()
    lines = []
    for what, made in (("first tries, grocer", lambda: first_tries(GROCER, trials)),
                       ("first tries, sample", lambda: first_tries(SAMPLE, trials)),
                       ("a year of tries", lambda: many_tries(SAMPLE, 3 * trials))):  # fmt: skip
        with narrate(what):
            lines += made()
    print(table(lines))
    print(f"{machine()}; {time.monotonic() - began:.0f} s")
    if any(line.cells()[-1] == "BROKEN" for line in lines if line.trials):
        sys.exit("error: the gate does not keep what it promises")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
