"""What a private recommender learns of visitors, piece by piece: bounded, noised, and of nothing else."""

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from jobs.console import Problem, Usage
from models.bundle import open_bundle
from models.evaluation.targets import scorer_target
from models.recommender import FEATURES, History, Recommender, Settings
from models.training import private_recommender, steps
from models.training.privacy import Budget, Privacy, spent
from models.training.private_recommender import (
    MEANT,
    PrivateTraining,
    bought_in,
    by_visitor,
    choose_mix,
    filled,
    items_of,
    losses,
    plan,
    surely,
    together,
    train,
    windows,
)
from models.training.recommender import Lesson, Purchases, Question, Scored, network, read_questions
from tests.models.test_promoting import fill

DAY = 86_400.0
QUICK = PrivateTraining(epochs=2, steps_an_epoch=8)


# --- Item statistics ---


def purchases(*rows: tuple[int, int, float, float]) -> Purchases:
    """Of (visitor, item, day it happened, day it was known), items a and b."""
    visitor, item, time, known = (np.array(column) for column in zip(*rows, strict=True))
    return Purchases(visitor, item, time * DAY, known * DAY, ("a", "b"))


def test_a_visitor_counts_once_an_item_and_window_and_only_when_it_was_known() -> None:
    edges = np.array([0.0, 28.0, 56.0]) * DAY
    rows = [(0, 0, 1, 1), (0, 0, 2, 2), (1, 0, 27, 30), (1, 1, 28, 28), (1, 1, 55, 57), (0, 1, -1, -1)]
    assert bought_in(purchases(*rows), edges, ("b", "a", "new"), 9.0).tolist() == [[0, 1, 0], [1, 1, 0]]


def test_one_visitor_more_moves_the_counts_at_most_by_the_norm() -> None:
    edges, rows = np.array([0.0, 28.0, 56.0]) * DAY, [(0, 0, 1.0, 1.0), (1, 1, 3.0, 3.0)]
    greedy = [(2, item, day, day) for item in (0, 1) for day in (1.0, 30.0)] * 50
    for norm in (0.5, 1.0):
        one, other = (bought_in(purchases(*some), edges, ("a", "b"), norm) for some in (rows, [*rows, *greedy]))
        assert float(np.linalg.norm(other - one)) == pytest.approx(norm)
    other = bought_in(purchases(*rows, *greedy), edges, ("a", "b"), 100.0)
    assert other.tolist() == [[2, 2], [1, 1]]


def test_windows_end_at_the_cutoffs() -> None:
    edges = windows([200 * DAY, 144 * DAY, 172 * DAY])
    assert (edges / DAY).tolist() == [60, 88, 116, 144, 172, 200]


def test_statistics_of_a_cutoff_know_nothing_later_and_drop_what_noise_could_be() -> None:
    edges, noisy = np.array([0.0, 28.0, 56.0]) * DAY, np.array([[100.0, 5.0, 0.0], [0.0, 0.0, 1e6]])
    early = items_of(noisy, edges, edges[1], ("a", "b", "c"), 10.0, Settings(factors=0))
    assert early.popularity == pytest.approx([100 * 0.5 ** (14 / 60), 0, 0])
    assert early.purchases_28d.tolist() == [100, 0, 0]
    late = items_of(noisy, edges, edges[2], ("a", "b", "c"), 10.0, Settings(factors=0))
    assert late.popularity == pytest.approx([100 * 0.5 ** (42 / 60), 0, 1e6 * 0.5 ** (14 / 60)])
    assert late.factors.shape == (3, 0) and late.purchases_28d.tolist() == [0, 0, 1e6]


def test_noise_alone_makes_hardly_any_item_popular() -> None:
    noise = 7.0 * np.random.default_rng(1).standard_normal(100_000)
    assert (surely(noise, 7.0) > 0).sum() <= 3
    assert (surely(np.append(noise, 70.0), 7.0) > 0).sum() >= 1


# --- Lessons ---


def question(visitor: str, now: float = 0.0) -> Question:
    return Question(visitor, now, History(), frozenset("a"), frozenset("a"))


def row(seed: int, wanted: bool = True) -> Scored:
    random = np.random.default_rng(seed)
    share = np.zeros(300, np.float32)
    share[random.integers(300)] = float(wanted)
    seen = random.random((300, len(FEATURES)), np.float32)
    seen[:, FEATURES.index("in_history")] = 0  # so that a sample of them is drawn
    return Scored(seen, share, np.zeros(300), np.arange(300))


def test_a_visitors_lessons_do_not_depend_on_other_visitors() -> None:
    asked, rows = [question(v, now) for now in (0.0, 1.0) for v in "xyz"], [row(n) for n in range(6)]
    kept = [n for n, q in enumerate(asked) if q.visitor != "y"]
    whole = by_visitor(asked, rows, 1)
    without = by_visitor([asked[n] for n in kept], [rows[n] for n in kept], 1)
    assert [len(lessons) for lessons in whole] == [2, 2, 2]
    for mine, same in ((whole[0], without[0]), (whole[2], without[1])):
        assert all((a.features == b.features).all() for a, b in zip(mine, same, strict=True))


def test_visitors_without_an_answer_are_drawn_but_teach_nothing() -> None:
    lessons = filled(by_visitor([question("x"), question("y")], [row(1), row(2, wanted=False)], 1), 2)
    mean = np.zeros(len(FEATURES), np.float32)
    arrays = [torch.from_numpy(a) for a in together(lessons, mean, mean + 1)]
    got = losses(network(len(FEATURES), (4,)), arrays)
    assert got.shape == (2,) and got[0] > 0 and got[1] == 0


def test_the_loss_of_a_visitor_is_the_mean_over_their_lessons() -> None:
    one, two = (by_visitor([question("x")], [row(n)], 1)[0][0] for n in (1, 2))
    short = Lesson(two.features[:40], two.wanted[:40] + 0.025, two.offset[:40])
    net, mean = network(len(FEATURES), (4,)), np.zeros(len(FEATURES), np.float32)

    def of(*visitors: list[Lesson]) -> list[float]:
        found: list[float] = losses(net, [torch.from_numpy(a) for a in together(visitors, mean, mean + 1)]).tolist()
        return found

    (first,), (second,) = of([one]), of([short])
    assert of([one, short], [short]) == pytest.approx([(first + second) / 2, second], rel=1e-4)


def test_scaling_is_by_what_features_mean() -> None:
    assert set(MEANT) <= set(FEATURES) and all(reach > 0 for _, reach in MEANT.values())
    assert {"als", "als_rank", "price", "item_repeats"} == set(FEATURES) - set(MEANT)  # left out of a private model


# --- The mix ---


def test_the_mix_is_chosen_on_a_bounded_noisy_sum() -> None:
    figures = np.tile([-0.02, 0.0, 0.04, 0.0, -0.02], (500, 1))
    loud = np.vstack([figures, [[1e6, 0, 0, 0, 0]]])  # one visitor cannot decide
    for rows in (figures, loud):
        budget = Budget(Privacy(3, 1e-5, seed=1))
        assert choose_mix(rows, budget, 2.0, 0.3)[0] == 0.5 and budget.history == [(2.0, 1.0, 1)]
    chosen = {choose_mix(figures * 1e-6, Budget(Privacy(3, 1e-5, seed=n)), 2.0, 0.3)[0] for n in range(20)}
    assert len(chosen) > 1  # the noise is there


# --- The whole ---


def test_the_plan_keeps_all_three_within_epsilon() -> None:
    noises = plan(1.0, 1e-5, 2_000, QUICK)
    whole = [(noises.statistics, 1.0, 1), (noises.mix, 1.0, 1), (noises.gradients, 0.128, 16)]
    assert 0.97 < spent(whole, 1e-5) <= 1.0
    assert noises.mix > noises.statistics > plan(8.0, 1e-5, 2_000, QUICK).statistics


def weights(folder: Path) -> bytes:
    return (folder / "scorer.safetensors").read_bytes() + (folder / "items.parquet").read_bytes()


def test_a_private_bundle_keeps_nothing_but_what_is_covered(home: Path, put: Callable[..., Any]) -> None:
    fill(put)
    bundle = open_bundle(train("tiny", 1, 8.0, how=QUICK))
    said = bundle.settings["privacy"]
    assert [entry[1:] for entry in said["spent"]] == [[1.0, 1], [1.0, 16], [1.0, 1]]  # statistics, steps, the mix
    assert said["epsilon"] == pytest.approx(spent([tuple(e) for e in said["spent"]], said["delta"]), abs=1e-4)
    assert said["epsilon"] <= 8 and said["visitors"] == 40 and said["delta"] == 0.001
    assert set(bundle.files) == {"scorer.safetensors", "items.parquet", "factors.npy"}
    assert "losses" not in bundle.settings
    opened = Recommender.open(bundle)
    assert opened.items.factors.shape[1] == 0 and opened.own_statistics
    assert set(opened.items.repeats) == {1.0} and set(opened.items.gap) == {30.0} and not opened.items.price.any()

    asked = read_questions("tiny", "test")[0]
    fresh = {item: {"purchases_decayed": 1e9, "purchases_28d": 1e9} for item in opened.items.ids}
    now = private_now(asked)
    assert opened.recommend(asked.history, now) == opened.recommend(asked.history, now, item_stats=fresh)
    plain = replace(opened, own_statistics=False)
    assert opened.recommend(asked.history, now) != plain.recommend(asked.history, now, item_stats=fresh)

    # The attack of the gate shows it what it has learnt from: features without exact statistics.
    target = scorer_target("tiny", bundle)
    left_out = [FEATURES.index(name) for name in ("price", "item_repeats", "als", "als_rank")]
    assert len(target.lessons) > 30 and not any(one.features[:, left_out].any() for one in target.lessons)


def private_now(asked: Question) -> Any:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(asked.now, UTC)


def test_a_known_seed_gives_the_same_bytes_and_says_that_it_promises_nothing(
    home: Path, put: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    fill(put)
    one, two, three = (train("tiny", 1, 8.0, noise_seed=n, how=QUICK) for n in (1, 1, 2))
    assert weights(one) == weights(two) != weights(three)
    assert open_bundle(one).settings["privacy"]["randomness"] == "a known seed: nothing is promised"
    assert "40 visitors are few" in capsys.readouterr().err
    with pytest.raises(Usage, match=r"--delta 0\.05 is not between 0 and 1/40"):
        train("tiny", 1, 8.0, 0.05)


# --- The command ---


def asked(**more: Any) -> argparse.Namespace:
    return argparse.Namespace(**({"model": "recommender", "private": True, "epsilon": None, "delta": None} | more))


def test_the_command_refuses_what_cannot_be_promised() -> None:
    args = asked()
    steps._check_privacy(args)
    assert args.epsilon == 3.0
    for more, told in (
        ({"private": False, "epsilon": 1.0}, "add --private"),
        ({"private": False, "delta": 1e-5}, "add --private"),
        ({"model": "encoder"}, "name none"),
        ({"epsilon": 0.0}, "above 0 and up to 20"),
        ({"epsilon": 21.0}, "above 0 and up to 20"),
    ):
        with pytest.raises(Usage, match=told):
            steps._check_privacy(asked(**more))


def test_without_opacus_the_command_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "find_spec", lambda name: None)
    with pytest.raises(Problem, match=r"pip install -c constraints\.txt opacus"):
        steps._check_privacy(asked())
    assert private_recommender.words({"randomness": "a known seed"}).endswith("nothing is promised")
