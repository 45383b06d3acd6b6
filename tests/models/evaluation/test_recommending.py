"""Where a recommender loses: whole answers of the worst, and neither a name nor an item that points at a person."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from models.evaluation import recommending
from models.evaluation.recommending import RARE, WORST, common, lost
from models.recommender import History
from models.training.recommender import LEAST_BUYERS, Purchases, Question

ITEMS = ("bread", "cake", "secret", "tea")


def purchases() -> Purchases:
    """Ten visitors bought bread, cake and tea; nine the secret, one of them often."""
    pairs = [(v, i) for v in range(LEAST_BUYERS) for i in range(4) if (v, i) != (9, 2)] + [(0, 2)] * 20
    visitor, item = (np.array(column, np.int64) for column in zip(*pairs, strict=True))
    time = np.zeros(len(pairs))
    return Purchases(visitor, item, time, time, ITEMS, tuple(f"pseudonym{n}" for n in range(LEAST_BUYERS)))


def test_an_item_is_common_by_its_buyers_and_not_by_their_purchases() -> None:
    assert common(purchases()) == {"bread", "cake", "tea"}


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Eight visitors: the first is better off, of the others the fourth loses most."""
    titles = pa.table({"item_id": list(ITEMS), "title": ["Bread", "Cake", "Secret", "Cake"]})
    monkeypatch.setattr(recommending, "warehouse", lambda shop: SimpleNamespace(read=lambda *where, **which: titles))
    monkeypatch.setattr(recommending, "read_purchases", lambda shop: purchases())
    basket = frozenset({"secret", "tea"})
    questions = [Question(f"pseudonym{n}", 0.0, History(), basket, basket) for n in range(8)]
    ranked = {"champion": [["tea", "secret", "cake"]] * 8, "candidate": [["bread", "cake", "secret"]] * 8,
              "popularity": [["bread"]] * 8}  # fmt: skip
    candidate = [0.9, 0.3, 0.2, 0.0, 0.4, 0.4, 0.4, 0.4]
    return lost("sample", questions, ranked, candidate, [0.5] * 8)


def test_the_worst_come_first_and_only_some_of_them(found: dict[str, Any]) -> None:
    assert (found["won"], found["lost"], found["same"], found["hidden"]) == (1, 7, 0, 0)
    assert [row["visitor"] for row in found["shown"]] == [1, 2, 3, 4, 5] and len(found["shown"]) == WORST
    assert [row["candidate"] for row in found["shown"]] == [0.0, 0.2, 0.3, 0.4, 0.4]


def test_titles_of_what_enough_bought_and_nothing_of_a_person(found: dict[str, Any]) -> None:
    row = found["shown"][0]
    assert row["answers"]["champion"] == ["Cake", RARE, "Cake (2)"], "two items of one title are two"
    assert row["answers"]["candidate"] == ["Bread", "Cake (2)", RARE]
    assert row["bought"] == ["Cake", RARE]
    assert "pseudonym" not in str(found) and "Secret" not in str(found) and "secret" not in str(found)
