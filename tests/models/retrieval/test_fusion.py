"""Fusion: sums of weight / (k + rank), checkable by hand."""

import pytest

from models.retrieval.fusion import FusionSettings, fuse

BOTH = {"lexical": 1.0, "vector": 1.0}


def test_found_by_both_ways_beats_first_in_one() -> None:
    fused = fuse({"lexical": [1, 2], "vector": [3, 2]}, BOTH, k=60)
    assert [row for row, _ in fused] == [2, 1, 3]
    assert fused[0][1] == pytest.approx(2 / 62)
    assert fused[1][1] == pytest.approx(1 / 61)


def test_weights_decide() -> None:
    fused = fuse({"lexical": [1], "vector": [2]}, {"lexical": 1.0, "vector": 2.0}, k=60)
    assert [row for row, _ in fused] == [2, 1]


def test_weight_zero_is_not_heard() -> None:
    assert fuse({"lexical": [1], "vector": [2]}, {"lexical": 1.0, "vector": 0.0}) == [(1, 1 / 61)]


def test_ties_do_not_depend_on_the_order_of_rankings() -> None:
    one = fuse({"lexical": [5, 1], "vector": [4, 2]}, BOTH)
    other = fuse({"vector": [4, 2], "lexical": [5, 1]}, BOTH)
    assert one == other
    assert [row for row, _ in one] == [4, 5, 1, 2]  # equal scores: the smaller id first


def test_nothing_found_is_nothing() -> None:
    assert fuse({"lexical": [], "vector": []}, BOTH) == []


def test_settings_name_their_ways() -> None:
    assert FusionSettings(lexical=0.5, vector=2.0).weights == {"lexical": 0.5, "vector": 2.0}
