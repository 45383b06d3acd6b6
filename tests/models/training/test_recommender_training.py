"""No row sees its future; what is learnt from is what was asked."""

from dataclasses import replace

import numpy as np
import pytest

from models.recommender import FEATURES, Scorer, Settings
from models.training.recommender import (
    HIDDEN,
    LOOP,
    Lesson,
    Purchases,
    Scored,
    early_scorer,
    first_as_good,
    item_factors,
    lesson,
    padded,
    repetition,
    shuffled,
)

DAY = 86_400.0


def purchases() -> Purchases:
    """Visitor 0 buys x on days 0, 10, 20; visitors 1 and 2 buy x and y once; day 20's was known on day 30."""
    rows = [(0, 0, 0, 0), (0, 0, 10, 10), (0, 0, 20, 30), (1, 0, 5, 5), (2, 0, 5, 5), (1, 1, 6, 6)]
    visitor, item, time, known = (np.array(column) for column in zip(*rows, strict=True))
    return Purchases(visitor, item, time * DAY, known * DAY, ("x", "y"))


def test_only_what_had_happened_and_was_known_is_before_a_moment() -> None:
    assert len(purchases().before(25 * DAY).time) == 5  # the one of day 20 was not known yet
    assert len(purchases().before(30 * DAY).time) == 5  # and on the moment itself is not before it
    assert len(purchases().before(30 * DAY + 1).time) == 6
    assert len(purchases().before(0).time) == 0


def test_repetition_by_hand() -> None:
    # x: 5 purchases of 3 buyers, 2 gaps of 20 days together; shop: 6 purchases of 4 pairs, 10 days a gap.
    repeats, gap = repetition(purchases(), ("x", "y", "unseen"))
    assert repeats == pytest.approx([(5 + 5 * 1.5) / 8, (1 + 5 * 1.5) / 6, 1.5])
    assert gap == pytest.approx([(20 + 50) / 7, 50 / 5, 10])


def test_an_item_of_fewer_than_the_least_buyers_has_no_neighbours() -> None:
    factors = item_factors(purchases(), ("unseen", "x", "y"), Settings(factors=4), seed=1, least=3)
    assert np.abs(factors[1]).sum() > 0 and not factors[[0, 2]].any()
    assert (factors == item_factors(purchases(), ("unseen", "x", "y"), Settings(factors=4), seed=1, least=3)).all()
    assert not item_factors(purchases(), ("unseen", "x", "y"), Settings(factors=4), seed=1).any()  # ten by default


def test_an_item_needs_its_share_of_the_visitors_to_have_a_vector() -> None:
    visitor = np.repeat(np.arange(40), 2)  # all 40 buy x; the second item is y for 20 of them, z for 12, w for 8
    item = np.ravel([(0, 1 if n < 20 else 2 if n < 32 else 3) for n in range(40)])
    bought = Purchases(visitor, item, np.zeros(80), np.zeros(80), ("x", "y", "z", "w"))

    def known(crowd: float) -> list[bool]:
        return item_factors(bought, bought.items, Settings(factors=2, crowd=crowd), seed=1).any(1).tolist()

    assert known(0.0) == [True, True, True, False]  # ten buyers at least
    assert known(0.3) == [True, True, True, False] and known(0.31) == [True, True, False, False]
    assert known(0.51) == [True, False, False, False]


def row(history: int, others: int, wanted: tuple[int, ...]) -> Scored:
    seen = np.zeros((history + others, len(FEATURES)), np.float32)
    seen[:history, FEATURES.index("in_history")] = 1
    share = np.zeros(history + others, np.float32)
    share[list(wanted)] = 1 / len(wanted)
    return Scored(seen, share, np.zeros(history + others), np.arange(history + others))


def test_a_lesson_keeps_history_and_answer_and_weighs_the_sample_as_all() -> None:
    taken = lesson(row(3, 97, (1, 50)), np.random.default_rng(0), sample=12)
    assert len(taken.wanted) == 3 + 1 + 12 and taken.wanted.sum() == pytest.approx(1)
    assert np.exp(taken.offset).sum() == pytest.approx(100)  # 96 others are weighed by 12
    whole = lesson(row(2, 3, (0,)), np.random.default_rng(0), sample=12)
    assert len(whole.wanted) == 5 and not whole.offset.any()


def test_padding_weighs_nothing() -> None:
    short = Lesson(np.ones((1, 2), np.float32), np.ones(1, np.float32), np.zeros(1, np.float32))
    long = Lesson(np.ones((3, 2), np.float32), np.ones(3, np.float32) / 3, np.zeros(3, np.float32))
    seen, wanted, offset = padded([short, long], np.ones(2, np.float32), np.ones(2, np.float32))
    assert seen.shape == (2, 3, 2) and not wanted[0, 1:].any() and (offset[0, 1:] < -1e8).all()


def test_every_row_is_in_one_batch() -> None:
    found = shuffled(list(range(70)), 8, (1, 0))
    assert sorted(np.concatenate(found).tolist()) == list(range(70))
    assert [b.tolist() for b in found] == [b.tolist() for b in shuffled(list(range(70)), 8, (1, 0))]
    assert [b.tolist() for b in found] != [b.tolist() for b in shuffled(list(range(70)), 8, (1, 1))]


def test_the_first_epoch_as_good_as_the_best_is_kept_and_no_later_one() -> None:
    plain = np.tile([0.0, 1.0], 200)  # a standard error of 0.025
    assert first_as_good([plain, plain + 0.02]) == 0 and first_as_good([plain, plain + 0.03]) == 1
    assert first_as_good([plain - 0.1, plain, plain + 0.02, plain]) == 1
    assert first_as_good([plain]) == 0 == first_as_good([[0.2], [0.2]]) and first_as_good([[0.1], [0.2]]) == 1


def test_training_keeps_the_early_scorer_though_a_later_one_is_a_little_better() -> None:
    random, rows, wide = np.random.default_rng(2), [], len(FEATURES) + 2  # a scorer is as wide as its lessons
    for _ in range(24):
        seen = random.normal(size=(12, wide)).astype(np.float32)
        wanted = np.zeros(12, np.float32)
        wanted[np.argmax(seen[:, 0])] = 1
        rows.append(Lesson(seen, wanted, np.zeros(12, np.float32)))
    settings, scorers = replace(LOOP, epochs=3, device="cpu"), list[Scorer]()
    figures = iter([[0.1] * 24, [0.5, 0.6] * 12, [0.4, 0.72] * 12])  # bad; good; better, but within the noise of it

    def validate(scorer: Scorer) -> list[float]:
        scorers.append(scorer)
        return next(figures)

    kept, epoch, history = early_scorer(rows, validate, settings)
    assert epoch == 1 and kept is scorers[1] and len(history.losses) == 3
    assert [len(bias) for _, bias in kept.layers] == [*HIDDEN, 1] and kept.layers[0][0].shape[1] == wide
    assert any((a != b).any() for (a, _), (b, _) in zip(kept.layers, scorers[2].layers, strict=True))
