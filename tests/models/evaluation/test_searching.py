"""Judging a search: grades, figures, and candidate against champion on a small shop, engines real."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jobs.console import Problem
from models.bundle import Bundle, open_bundle, seal
from models.encoder import Encoder
from models.evaluation.gates import gates
from models.evaluation.searching import baseline, evaluate, figures, grades, latency, summary
from models.retrieval.fusion import FusionSettings
from models.retrieval.indexing import catalogue
from models.training.encoder import KIND, settings_of

KNOWN = datetime(2020, 1, 1, tzinfo=UTC)
TITLES = ["red shoe", "red shoe", "green shoe", "tea kettle", "绿茶", "茶壶", "lamp"]


@pytest.fixture
def judged(put: Callable[..., Any]) -> str:
    """Seven items, two of one text; three queries, one of them without anything relevant."""
    put("toy", "safe", "items", [{"item_id": f"i{n}", "title": title, "known_time": KNOWN, "simulated": False}
                                 for n, title in enumerate(TITLES)])  # fmt: skip
    rows = [("shoe", "i0", "a", 1), ("shoe", "i0", "b", 3), ("shoe", "i0", "c", 3), ("shoe", "i1", "a", 1),
            ("shoe", "i2", "a", 1), ("shoe", "gone", "a", 3), ("绿茶", "i4", "a", 2), ("绿茶", "i5", "a", 0),
            ("zebra", "i6", "a", 0)]  # fmt: skip
    put("toy", "safe", "judgements", [{"query": q, "item_id": i, "rater": r, "grade": g, "known_time": KNOWN,
                                       "simulated": False} for q, i, r, g in rows])  # fmt: skip
    return "toy"


@pytest.fixture
def bundle(home: Path, judged: str, tiny_encoder: Path) -> Callable[..., Bundle]:
    """A sealed search bundle of the tiny encoder with these weights, as version `version`."""

    def _bundle(version: int, lexical: float = 1.0, vector: float = 1.0, share: float | None = 0.0) -> Bundle:
        folder = home / judged / "bundles" / "search" / str(version)
        shutil.copytree(tiny_encoder, folder)
        settings = settings_of("tiny", Encoder.open(folder), FusionSettings(lexical, vector), None, share=share)
        return seal(folder, shop=judged, name="search", kind=KIND, settings=settings)

    return _bundle


def test_grades_are_medians_and_equal_texts_are_one(judged: str) -> None:
    of = catalogue(judged)
    rows = of.rows_by_id()
    assert rows["i0"] == rows["i1"] != rows["i2"]
    assert grades(judged, of) == {
        "shoe": {rows["i0"]: 3.0, rows["i2"]: 1.0},
        "绿茶": {rows["i4"]: 2.0, rows["i5"]: 0.0},
    }


def test_figures_by_hand() -> None:
    found = figures([7, 3, 9], {3: 3.0, 9: 1.0, 4: 0.0})
    best = 3 + 1 / np.log2(3)
    assert found["ndcg@10"] == pytest.approx((3 / np.log2(3) + 1 / 2) / best)
    assert found["recall@100"] == 1.0 and found["mrr@10"] == 0.5
    assert figures([], {3: 1.0}) == {"ndcg@10": 0.0, "recall@100": 0.0, "mrr@10": 0.0}


def test_ndcg_agrees_with_an_independent_judge() -> None:
    ir_measures = pytest.importorskip("ir_measures")
    random = np.random.default_rng(3)
    for _ in range(20):
        judged = {int(row): float(random.integers(0, 4)) for row in random.choice(60, 25, replace=False)}
        judged[0] = 2.0
        ranked = random.permutation(60)[:40].tolist()
        qrels = [ir_measures.Qrel("q", str(row), int(grade)) for row, grade in judged.items()]
        run = [ir_measures.ScoredDoc("q", str(row), 100.0 - place) for place, row in enumerate(ranked)]
        expected = ir_measures.calc_aggregate([ir_measures.nDCG @ 10], qrels, run)[ir_measures.nDCG @ 10]
        assert figures(ranked, judged)["ndcg@10"] == pytest.approx(expected, abs=1e-9)


def test_summary_has_intervals() -> None:
    made = summary([{"ndcg@10": value} for value in (0.0, 1.0, 1.0, 0.0)])
    assert made["ndcg@10"]["mean"] == 0.5 and made["ndcg@10"]["n"] == 4
    assert made["ndcg@10"]["low"] < 0.5 < made["ndcg@10"]["high"]


def test_latency_counts_every_query() -> None:
    asked: list[str] = []
    assert latency(asked.append, ["a", "b"], rounds=2)["n"] == 4
    assert asked == ["a", "a", "b", "a", "b"]  # one to warm up


def test_report(judged: str, bundle: Callable[..., Bundle]) -> None:
    champion, candidate = bundle(1), bundle(2, vector=0.0)
    report = evaluate(judged, candidate, champion)
    assert set(report["systems"]) == {"bm25", "untrained", "fine-tuned", "champion", "candidate"}
    assert report["test"]["n"] == 2 and report["test"]["texts"] == 6
    assert report["systems"]["bm25"]["ndcg@10"] == report["systems"]["candidate"]["ndcg@10"]  # no weight on vectors
    ours, theirs = (report["systems"][name]["ndcg@10"]["mean"] for name in ("candidate", "champion"))
    assert report["paired"]["mean"] == pytest.approx(ours - theirs) and report["paired"]["n"] == 2
    assert (
        report["candidate"] == {"version": 2, "name": "BM25 and tiny, untrained"} and report["champion"]["version"] == 1
    )
    assert set(report["segments"]) == {"chinese", "other"}
    assert report["segments"]["chinese"]["bm25"]["mean"] == pytest.approx(1.0)  # 绿茶 before 茶壶
    assert json.loads(json.dumps(report)) == report
    assert [check.name for check in gates(report).reasons]


def test_same_bundle_is_never_better(judged: str, bundle: Callable[..., Bundle]) -> None:
    report = evaluate(judged, bundle(2), bundle(1))
    assert (report["paired"]["mean"], report["paired"]["low"], report["paired"]["high"]) == (0, 0, 0)
    assert not gates(report).accepted


def test_a_champion_alone_is_judged_without_a_pair(judged: str, bundle: Callable[..., Bundle]) -> None:
    report = evaluate(judged, None, bundle(1))
    assert "paired" not in report and "candidate" not in report
    assert set(report["systems"]) == {"bm25", "untrained", "champion"}


def test_nothing_to_judge(judged: str, bundle: Callable[..., Bundle], put: Callable[..., Any]) -> None:
    with pytest.raises(Problem, match="baseline search"):
        evaluate(judged, None, None)
    put(judged, "safe", "judgements", [{"query": "q", "item_id": "i0", "rater": "a", "grade": 0, "known_time": KNOWN,
                                        "simulated": False}])  # fmt: skip
    with pytest.raises(Problem, match="no judged query"):
        evaluate(judged, None, bundle(1))


@pytest.mark.filterwarnings("ignore")
def test_baseline_is_untrained_with_even_weights(judged: str, tiny_base: Path) -> None:
    made = open_bundle(baseline(judged, str(tiny_base)))
    assert made.settings["training"] is None and made.settings["share"] == 0.0
    fusion = FusionSettings(**made.settings["fusion"])
    assert (fusion.lexical, fusion.vector, fusion.k) == (1.0, 1.0, 60)
    assert open_bundle(baseline(judged, str(tiny_base))).sha256 == made.sha256


def test_a_trained_champion_is_compared_with_the_untrained_too(
    judged: str, bundle: Callable[..., Bundle], tiny_base: Path
) -> None:
    trained = bundle(3)
    trained = replace(
        trained, settings={**trained.settings, "base": str(tiny_base), "training": {"pairs": 1}, "learnt": 1}
    )
    report = evaluate(judged, None, trained)
    assert "fused untrained" in report["systems"]
