"""What reports say of candidate and champion, on figures that can be checked by hand."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from models.evaluation.comparing import apart, beyond_right, latencies, paired, reproduced, sizes


def test_the_pair_says_by_which_level_and_what_it_could_have_shown() -> None:
    theirs = np.random.default_rng(4).random(200)
    ours = theirs + np.tile([0.1, -0.06], 100)
    found = paired("ndcg@10", list(ours), list(theirs), level=0.95)
    assert found["paired"]["metric"] == "ndcg@10" and found["paired"]["n"] == 200
    assert found["paired"]["mean"] == pytest.approx(0.02) and found["paired"]["deltas_sd"] == pytest.approx(
        0.0802, abs=1e-4
    )
    assert found["paired"]["low"] > 0 and found["paired"]["p"] < 0.01
    # sd of the differences 0.0802, n = 200: (1.96 + 0.84) * 0.0802 / sqrt(200)
    assert found["power"] == {"detectable": pytest.approx(0.01589, abs=1e-5), "level": 0.95, "power": 0.8, "n": 200}
    strict = paired("ndcg@10", list(ours), list(theirs), level=0.9999)
    assert strict["paired"]["low"] < 0 < strict["paired"]["high"] and strict["paired"]["level"] == 0.9999
    assert strict["power"]["detectable"] > found["power"]["detectable"]


def test_a_test_of_one_question_says_that_it_can_say_nothing() -> None:
    found = paired("ndcg@10", [1.0], [0.0])
    assert (found["paired"]["low"], found["paired"]["high"], found["paired"]["deltas_sd"]) == (None, None, None)
    assert found["power"]["detectable"] is None and found["paired"]["p"] == 1.0


def test_visitors_who_are_asked_often_do_not_count_as_many() -> None:
    random = np.random.default_rng(5)
    ours = np.repeat(random.normal(0.02, 0.1, 40), 25)
    naive = paired("m", list(ours), [0.0] * 1000)
    honest = paired("m", list(ours), [0.0] * 1000, clusters=np.repeat(range(40), 25).tolist())
    assert honest["power"]["detectable"] > 4 * naive["power"]["detectable"]
    assert honest["paired"]["p"] > naive["paired"]["p"]


def test_diversity_by_hand() -> None:
    shelf = {"tea": ("food", "drinks"), "rice": ("food", "staples"), "lamp": ("home", "light"), "odd": (None, None)}
    found = beyond_right(
        {"q1": ["tea", "rice"], "q2": ["tea", "lamp"]}, {"q1": {"tea": 1, "rice": 2}, "q2": {"lamp": 0}},
        {"q1": ["tea", "odd"], "q2": []}, share=lambda item: {"tea": 0.5, "rice": 0.25, "lamp": 0.25}[item],
        shelf=shelf.__getitem__, items=4, k=2,
    )  # fmt: skip
    assert found == {"intra_list": 0.75, "coverage": 0.75, "novelty": 1.5, "serendipity": 0.25}  # rice of q1
    assert apart(shelf["odd"], shelf["odd"]) == 1.0  # what nobody knows is like nothing


def test_systems_are_timed_in_turns_and_warmed_up() -> None:
    asked: list[tuple[str, str]] = []
    quick = latencies({"candidate": lambda q: asked.append(("a", q)), "champion": lambda q: asked.append(("b", q))},
                      ["x", "y"])  # fmt: skip
    assert asked == [("a", "x"), ("b", "x")] * 2 + [("a", "y"), ("b", "y")]
    assert {role: found["n"] for role, found in quick.items()} == {"candidate": 2, "champion": 2}
    assert 0 <= quick["candidate"]["p50"] <= quick["candidate"]["p99"]


def test_the_last_digit_of_one_question_is_seen() -> None:
    first = {"ndcg@10": [0.5, 0.25, 1.0], "mrr@10": [1.0, 0.5, 1.0]}
    assert reproduced("ndcg@10", first, {name: values[:2] for name, values in first.items()}) == {
        "same": True, "first": 0.375, "again": 0.375, "n": 2}  # fmt: skip
    moved: dict[str, Any] = first | {"mrr@10": [1.0, np.nextafter(0.5, 1), 1.0]}
    assert not reproduced("ndcg@10", first, moved)["same"]
    swapped = first | {"ndcg@10": [0.25, 0.5, 1.0]}  # the same mean
    assert not reproduced("ndcg@10", first, swapped)["same"]


def test_sizes_count_every_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"123")
    (tmp_path / "b").write_bytes(b"45")
    bundle: Any = SimpleNamespace(folder=tmp_path)
    assert sizes({"candidate": bundle}) == {"candidate": 5}
