"""A visitor's interest and how far items lie from it: by hand, by the index, and each item as if asked alone."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.console import Problem
from models.retrieval.interest import ItemVectors, distances, interest
from models.retrieval.searching import index_pointer
from models.retrieval.vectors import Vectors

PLANE = np.array([[1, 0], [0, 1], [-1, 0], [0.6, 0.8]], np.float32)


def test_an_interest_by_hand() -> None:
    got = interest(PLANE, [0, 1], [3.0, 4.0])
    assert got is not None and got.tolist() == pytest.approx([0.6, 0.8])
    assert distances(PLANE, got, [3, 0, 2, -1]).tolist() == pytest.approx(
        [0.0, 0.4, 1.6, np.nan], abs=1e-6, nan_ok=True
    )


def test_all_counts_fading_alike_turn_nothing() -> None:
    random = np.random.default_rng(3)
    matrix = random.normal(size=(50, 8)).astype(np.float32)
    rows, weights = random.integers(0, 50, 9), random.random(9)
    early, late = interest(matrix, rows, weights), interest(matrix, rows, weights * 0.5)
    assert early is not None and late is not None and np.array_equal(early, late)


def test_nothing_known_is_no_interest_and_no_distance() -> None:
    assert interest(PLANE, [], []) is None
    assert interest(PLANE, [0], [0.0]) is None
    assert interest(PLANE, [0, 2], [1.0, 1.0]) is None  # they cancel out
    assert np.isnan(distances(PLANE, None, [0, 1])).all()


def test_an_item_is_as_far_alone_as_among_others() -> None:
    random = np.random.default_rng(5)
    matrix = random.normal(size=(400, 384)).astype(np.float32)
    wanted = interest(matrix, range(20), np.ones(20))
    together = distances(matrix, wanted, np.arange(400))
    assert [distances(matrix, wanted, [n])[0] for n in range(400)] == together.tolist()


def test_the_matrix_of_an_index_with_items_that_share_a_text(home: Path) -> None:
    pointer = index_pointer("toy", 2)
    folder = pointer.parent / "attempts" / "a"
    folder.mkdir(parents=True)
    Vectors.save(PLANE, folder / "vectors.npy")
    pq.write_table(
        pa.table({"item_id": ["a", "b", "c"], "text_row": pa.array([3, 0, 3], pa.int32())}), folder / "items.parquet"
    )
    pointer.write_text(json.dumps({"attempt": "a", "encoder": "hash"}))
    found = ItemVectors.open("toy", 2)
    assert found.encoder == "hash" and found.rows(["c", "x", "b"]).tolist() == [3, -1, 0]
    wanted = found.interest(["x", "b"], [9.0, 1.0])  # what the index lacks has no say
    assert wanted is not None and wanted.tolist() == [1, 0]
    assert found.distances(wanted, ["a", "c", "x"]).tolist() == pytest.approx([0.4, 0.4, np.nan], nan_ok=True)
    with pytest.raises(Problem, match="no index of this version"):
        ItemVectors.open("toy", 3)
