"""Metrics by hand, and on random inputs against ir-measures and scikit-learn."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from models.evaluation.metrics import (
    MEASURES,
    accuracy,
    auc,
    average_precision,
    brier,
    calibration,
    calibration_error,
    class_recall,
    coverage,
    f1,
    hit,
    intra_list,
    log_loss,
    measured,
    mrr,
    ndcg,
    novelty,
    precision,
    recall,
    reliability,
    serendipity,
)

often = settings(max_examples=40, deadline=None, derandomize=True, database=None)


def test_by_hand() -> None:
    # relevant a (2) and b (1); ranked x a b: dcg = 2/log2(3) + 1/log2(4), best = 2/1 + 1/log2(3)
    expected = (2 / math.log2(3) + 0.5) / (2 + 1 / math.log2(3))
    assert ndcg(["x", "a", "b"], {"a": 2, "b": 1}, 10) == pytest.approx(expected)
    assert recall(["x", "a", "b"], {"a", "c"}, 2) == 0.5
    assert precision(["a"], {"a"}, 10) == 0.1
    assert mrr(["x", "a"], {"a"}, 10) == 0.5
    assert average_precision(["x", "a", "b"], {"a", "b", "c"}, 10) == pytest.approx((1 / 2 + 2 / 3) / 3)
    assert hit(["x", "a"], {"a"}, 2) == 1.0 and hit(["x", "a"], {"a"}, 1) == 0.0
    assert coverage([["a", "b"], ["a"]], 4, 1) == 0.25


def test_nothing_relevant_is_zero_and_not_a_fault() -> None:
    assert ndcg(["a"], {}, 10) == recall(["a"], set(), 10) == mrr([], {"a"}, 10) == coverage([], 0, 10) == 0.0
    assert average_precision(["a"], set(), 10) == hit([], {"a"}, 10) == novelty([], lambda _: 1.0, 10) == 0.0
    assert intra_list(["a"], lambda a, b: 1.0, 10) == serendipity(["a"], {"a"}, {"a"}, 10) == 0.0


def test_an_id_that_stands_twice_counts_once() -> None:
    assert ndcg(["a", "a"], {"a": 1, "b": 1}, 10) == ndcg(["a"], {"a": 1, "b": 1}, 10)
    assert recall(["a", "a", "b"], {"b"}, 2) == 1.0
    assert average_precision(["a", "a"], {"a", "b"}, 10) == 0.5


def test_what_an_answer_is_beyond_right() -> None:
    assert intra_list("abc", lambda a, b: 0.0 if {a, b} == {"a", "b"} else 1.0, 10) == pytest.approx(2 / 3)
    assert intra_list("abc", lambda a, b: 0.0 if {a, b} == {"a", "b"} else 1.0, 2) == 0.0
    assert novelty("ab", {"a": 1 / 2, "b": 1 / 8}.__getitem__, 10) == 2.0
    assert serendipity("abcd", {"a", "b", "x"}, {"a"}, 4) == 0.25  # b: relevant, and nobody would have thought of it


def test_a_table_is_measured_question_by_question_and_silence_scores_nothing() -> None:
    truths = {"q1": {"a": 2, "b": 0}, "silent": {"a": 1}}
    found = measured(["ndcg@10", "hit@1", "recall@2"], {"q1": ["b", "a"], "unasked": ["a"]}, truths)
    assert found == {"ndcg@10": [1 / math.log2(3), 0.0], "hit@1": [0.0, 0.0], "recall@2": [1.0, 0.0]}


@pytest.mark.parametrize("bad", ["ndgc@10", "ndcg", "ndcg@", "ndcg@0", "ndcg@-1", "ndcg@x"])
def test_an_unknown_measure_is_refused(bad: str) -> None:
    with pytest.raises(ValueError, match="no measure"):
        measured([bad], {}, {})


ITEMS = [f"i{n}" for n in range(25)]
tables = some.dictionaries(
    some.sampled_from([f"q{n}" for n in range(6)]),
    some.tuples(
        some.permutations(ITEMS).map(lambda order: order[: 1 + len(order[0]) * 5]),
        some.dictionaries(some.sampled_from(ITEMS), some.integers(0, 3), min_size=1),
    ),
    min_size=1,
)


@often
@given(tables)
def test_rankings_agree_with_ir_measures(table: dict[str, tuple[list[str], dict[str, int]]]) -> None:
    import ir_measures
    from ir_measures import AP, RR, P, R, Success, nDCG

    names = {"ndcg": nDCG, "recall": R, "precision": P, "mrr": RR, "map": AP, "hit": Success}
    assert names.keys() == MEASURES.keys()
    run = [ir_measures.ScoredDoc(query, item, -place)
           for query, (ranked, _) in table.items() for place, item in enumerate(ranked)]  # fmt: skip
    judged = [ir_measures.Qrel(query, item, grade)
              for query, (_, grades) in table.items() for item, grade in grades.items()]  # fmt: skip
    asked = [measure @ depth for measure in names.values() for depth in (3, 10)]
    theirs: dict[str, dict[str, float]] = {}
    for one in ir_measures.iter_calc(asked, judged, run):
        theirs.setdefault(str(one.measure), {})[one.query_id] = one.value
    ours = measured([f"{name}@{depth}" for name in names for depth in (3, 10)],
                    {query: ranked for query, (ranked, _) in table.items()},
                    {query: grades for query, (_, grades) in table.items()})  # fmt: skip
    for name, measure in names.items():
        for depth in (3, 10):
            assert ours[f"{name}@{depth}"] == pytest.approx([theirs[str(measure @ depth)][query] for query in table])


pairs = some.lists(some.tuples(some.floats(0, 1), some.booleans()), min_size=1, max_size=60)


@often
@given(pairs)
def test_probabilities_agree_with_scikit_learn(given_pairs: list[tuple[float, bool]]) -> None:
    from sklearn.calibration import calibration_curve
    from sklearn.metrics import brier_score_loss, roc_auc_score
    from sklearn.metrics import log_loss as their_loss

    scores, truths = np.array([score for score, _ in given_pairs]), np.array([true for _, true in given_pairs])
    assert brier(scores, truths) == pytest.approx(brier_score_loss(truths, scores, labels=[False, True]))
    assert log_loss(scores, truths) == pytest.approx(their_loss(truths, scores, labels=[False, True]), abs=1e-9)
    if truths.any() and not truths.all():
        assert auc(scores, truths) == pytest.approx(roc_auc_score(truths, scores))
        rates, means = calibration_curve(truths, scores, n_bins=10)
        bins = reliability(scores, truths)
        assert [mean for _, _, mean, _, _ in bins] == pytest.approx(list(means))
        assert [rate for _, _, _, rate, _ in bins] == pytest.approx(list(rates))
        told = np.array([n for *_, n in bins]) / len(scores)
        assert calibration_error(scores, truths) == pytest.approx(float((told * np.abs(rates - means)).sum()))


words = some.sampled_from(["cancel", "track", "oos"])


@often
@given(some.lists(some.tuples(words, words), min_size=1, max_size=40))
def test_classes_agree_with_scikit_learn(rows: list[tuple[str, str]]) -> None:
    from sklearn.metrics import accuracy_score, f1_score, recall_score

    said, truths = [a for a, _ in rows], [b for _, b in rows]
    assert accuracy(said, truths) == pytest.approx(accuracy_score(truths, said))
    assert f1(said, truths) == pytest.approx(f1_score(truths, said, average="macro", zero_division=0))
    theirs = recall_score(truths, said, labels=["oos"], average="macro", zero_division=0)
    assert class_recall(said, truths, "oos") == pytest.approx(theirs)


def test_calibration_tells_the_sure_from_the_right() -> None:
    truths = [True, False, True, False] * 25
    found = calibration([0.5] * 100, truths)
    assert (found["ece"], found["brier"], found["auc"], found["n"]) == (0.0, 0.25, 0.5, 100)
    assert found["bins"] == [[0.4, 0.5, 0.5, 0.5, 100]]
    assert calibration([0.9] * 100, truths)["ece"] == pytest.approx(0.4)
    assert calibration([0.9], [True])["auc"] is None


@pytest.mark.parametrize("scores", [[], [float("nan"), 0.5], [1.2, 0.5], [-0.1, 0.5], [0.5]])
def test_what_is_no_probability_is_refused(scores: list[float]) -> None:
    for metric in (brier, log_loss, calibration_error, calibration):
        refused: Any = metric
        with pytest.raises(ValueError, match="probabilit"):
            refused(scores, [True, False])


def test_nothing_to_tell_apart_is_said() -> None:
    with pytest.raises(ValueError, match="area under the curve"):
        auc([0.1, 0.2], [True, True])
    with pytest.raises(ValueError, match="pairs"):
        accuracy(["a"], [])
