"""No row sees its future; what is learnt from is what was asked."""

import numpy as np
import pytest

from models.recommender import FEATURES, Settings
from models.training.recommender import (
    Lesson,
    Purchases,
    Scored,
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


def test_an_item_of_fewer_than_three_buyers_has_no_neighbours() -> None:
    factors = item_factors(purchases(), ("unseen", "x", "y"), Settings(factors=4), seed=1)
    assert np.abs(factors[1]).sum() > 0 and not factors[[0, 2]].any()
    assert (factors == item_factors(purchases(), ("unseen", "x", "y"), Settings(factors=4), seed=1)).all()


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
