"""Metrics by hand, and against ir-measures."""

import math
import random

import pytest

from models.evaluation.metrics import coverage, mrr, ndcg, precision, recall


def test_by_hand() -> None:
    # relevant a (2) and b (1); ranked x a b: dcg = 2/log2(3) + 1/log2(4), best = 2/1 + 1/log2(3)
    expected = (2 / math.log2(3) + 0.5) / (2 + 1 / math.log2(3))
    assert ndcg(["x", "a", "b"], {"a": 2, "b": 1}, 10) == pytest.approx(expected)
    assert recall(["x", "a", "b"], {"a", "c"}, 2) == 0.5
    assert precision(["a"], {"a"}, 10) == 0.1
    assert mrr(["x", "a"], {"a"}, 10) == 0.5
    assert coverage([["a", "b"], ["a"]], 4, 1) == 0.25


def test_nothing_relevant_is_zero_and_not_a_fault() -> None:
    assert ndcg(["a"], {}, 10) == recall(["a"], set(), 10) == mrr([], {"a"}, 10) == coverage([], 0, 10) == 0.0


def test_an_id_that_stands_twice_counts_once() -> None:
    assert ndcg(["a", "a"], {"a": 1, "b": 1}, 10) == ndcg(["a"], {"a": 1, "b": 1}, 10)
    assert recall(["a", "a", "b"], {"b"}, 2) == 1.0


def test_agrees_with_ir_measures() -> None:
    import ir_measures
    from ir_measures import RR, P, R, nDCG

    dice = random.Random(5)
    items = [f"i{n}" for n in range(40)]
    for _ in range(20):
        ranked = dice.sample(items, 15)
        grades = {item: dice.randint(0, 3) for item in dice.sample(items, 12)}
        relevant = {item for item, grade in grades.items() if grade > 0}
        run = [ir_measures.ScoredDoc("q", item, -place) for place, item in enumerate(ranked)]
        judged = [ir_measures.Qrel("q", item, grade) for item, grade in grades.items()]
        theirs = ir_measures.calc_aggregate([nDCG @ 10, R @ 10, P @ 10, RR @ 10], judged, run)
        assert ndcg(ranked, grades, 10) == pytest.approx(theirs[nDCG @ 10])
        assert recall(ranked, relevant, 10) == pytest.approx(theirs[R @ 10])
        assert precision(ranked, relevant, 10) == pytest.approx(theirs[P @ 10])
        assert mrr(ranked, relevant, 10) == pytest.approx(theirs[RR @ 10])
