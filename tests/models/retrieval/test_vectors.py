"""Exact search by dot product."""

from pathlib import Path

import numpy as np
import pytest

from jobs.console import Problem
from models.retrieval.vectors import Vectors


def test_nearest_first_ties_by_row() -> None:
    matrix = np.array([[1, 0], [0, 1], [0.6, 0.8], [1, 0]], np.float32)
    assert Vectors(matrix).search(np.array([1, 0], np.float32), 3) == [(0, 1.0), (3, 1.0), (2, pytest.approx(0.6))]


def test_a_tie_at_the_end_is_cut_by_row() -> None:
    matrix = np.ones((50, 2), np.float32)
    assert [row for row, _ in Vectors(matrix).search(np.ones(2, np.float32), 4)] == [0, 1, 2, 3]


def test_same_as_sorting_everything(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    matrix = random.normal(size=(500, 16)).astype(np.float32)
    Vectors.save(matrix, tmp_path / "vectors.npy")
    mapped, query = Vectors.open(tmp_path / "vectors.npy"), random.normal(size=16).astype(np.float32)
    assert [row for row, _ in mapped.search(query, 25)] == np.argsort(-(matrix @ query), kind="stable")[:25].tolist()


@pytest.mark.parametrize(("k", "expected"), [(0, 0), (-1, 0), (2, 2), (9, 3)])
def test_k_is_bounded(k: int, expected: int) -> None:
    assert len(Vectors(np.eye(3, dtype=np.float32)).search(np.ones(3, np.float32), k)) == expected


def test_empty() -> None:
    assert Vectors(np.zeros((0, 4), np.float32)).search(np.ones(4, np.float32), 5) == []


def test_pickled_matrix_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "bad.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(Problem, match="cannot be read"):
        Vectors.open(tmp_path / "bad.npy")
