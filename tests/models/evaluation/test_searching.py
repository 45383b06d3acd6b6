"""Judging a search: grades, figures, and candidate against champion on a small shop, engines real."""

import json
import shutil
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jobs.console import Problem
from models.bundle import Bundle, open_bundle, seal
from models.encoder import FILES, Encoder
from models.evaluation import searching
from models.evaluation.gates import gates
from models.evaluation.metrics import measured
from models.evaluation.searching import FIGURES, again, baseline, bought, evaluate, grades, newest, summary, tellable
from models.retrieval.fusion import FusionSettings
from models.retrieval.indexing import catalogue
from models.tracking import Run
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


def test_a_report_shows_no_query_that_few_visitors_made(judged: str, put: Callable[..., Any]) -> None:
    """Raters' own queries may be shown, and those that enough visitors made; not what one or two of them typed."""
    day, at = "2020-01-02", {"event_time": KNOWN, "known_time": KNOWN, "day": KNOWN.date()}
    assert tellable(judged, ["shoe", "绿茶"]) == ["shoe", "绿茶"]
    made = [("v1", "Shoe"), ("v1", "red  lamp"), ("v2", "red lamp"), ("v3", "red lamp")]
    put(judged, "safe", "searches", [{"search_id": f"s{n}", "visitor": v, "query": q, "simulated": False, **at}
                                     for n, (v, q) in enumerate(made)], day)  # fmt: skip
    put(judged, "stats", "query_stats", [{"query": "red lamp", "searches_28d": 3, **at}], day)
    assert tellable(judged, ["shoe", "绿茶", "red lamp"]) == ["绿茶", "red lamp"]


def test_figures_by_hand() -> None:
    found = measured(FIGURES, {"q": [7, 3, 9]}, {"q": {3: 3.0, 9: 1.0, 4: 0.0}})
    best = 3 + 1 / np.log2(3)
    assert found["ndcg@10"] == [pytest.approx((3 / np.log2(3) + 1 / 2) / best)]
    assert found["recall@100"] == [1.0] and found["mrr@10"] == [0.5] and found["hit@10"] == [1.0]
    assert set(measured(FIGURES, {}, {"q": {3: 1.0}})) == set(FIGURES)
    assert all(values == [0.0] for values in measured(FIGURES, {}, {"q": {3: 1.0}}).values())


def test_summary_has_intervals() -> None:
    made = summary({"ndcg@10": [0.0, 1.0, 1.0, 0.0]})
    assert made["ndcg@10"]["mean"] == 0.5 and made["ndcg@10"]["n"] == 4
    assert made["ndcg@10"]["low"] < 0.5 < made["ndcg@10"]["high"]


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
    assert [(one["kind"], one["name"], one["n"], one["small"]) for one in report["segments"]] == [
        ("language", "zh", 1, True), ("language", "other", 1, True)]  # fmt: skip
    assert report["segments_missing"]["visitor"] and report["segments_missing"]["frequency"] == "told of none"
    assert report["power"]["n"] == 2 and report["paired"]["level"] == 0.95
    assert report["reproduced"] == {"same": True, "first": ours, "again": ours, "n": 2}
    assert report["size_bytes"]["candidate"] == sum(file.stat().st_size for file in candidate.folder.iterdir())
    assert (
        set(report["diversity"]) == {"candidate", "champion"} and report["diversity"]["candidate"]["serendipity"] == 0
    )
    assert "exempt" in report["calibration"] and report["newest"] == "2020-01-01"
    assert report["latency_champion_ms"]["n"] == report["latency_ms"]["n"] == 4
    assert json.loads(json.dumps(report)) == report
    assert [check.name for check in gates(report).reasons]


def test_one_query_decides_nothing_and_says_so(
    judged: str, bundle: Callable[..., Bundle], put: Callable[..., Any]
) -> None:
    put(judged, "safe", "judgements", [{"query": "shoe", "item_id": "i2", "rater": "a", "grade": 2, "known_time": KNOWN,
                                        "simulated": False}])  # fmt: skip
    report = evaluate(judged, bundle(2, vector=0.0), bundle(1))
    assert (report["paired"]["n"], report["paired"]["low"], report["power"]["detectable"]) == (1, None, None)
    verdict = gates(report)
    assert not verdict.accepted and "no paired interval" in verdict.why
    told: dict[str, float] = {}

    class Listening(Run):
        def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
            told.update(values)

    Listening("run", None).intervals({"paired/ndcg@10": report["paired"]})
    assert told == {"paired/ndcg@10": report["paired"]["mean"]}


def test_another_level_is_another_interval(judged: str, bundle: Callable[..., Bundle]) -> None:
    report = evaluate(judged, bundle(2, vector=0.0), bundle(1), level=0.99)
    assert report["paired"]["level"] == report["power"]["level"] == 0.99


def test_figures_that_do_not_come_back_are_told(
    judged: str, bundle: Callable[..., Bundle], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A candidate comes back the same, opened anew; one that is silent the second time does not."""
    candidate, of = bundle(2, vector=0.0), catalogue(judged)
    asked = grades(judged, of)
    assert again(judged, of, candidate, asked) == again(judged, of, candidate, asked)
    monkeypatch.setattr("models.evaluation.searching.again", lambda *_: measured(FIGURES, {}, asked))
    found = evaluate(judged, candidate, bundle(1))["reproduced"]
    assert found["same"] is False and found["first"] > found["again"] == 0.0


def test_the_log_tells_what_is_bought_what_is_new_and_which_queries_are_head(
    judged: str, bundle: Callable[..., Bundle], put: Callable[..., Any]
) -> None:
    day = "2020-01-02"
    at = {"event_time": KNOWN, "known_time": KNOWN, "day": KNOWN.date(), "simulated": False, "visitor": "v1"}
    put(judged, "safe", "interactions", [{"interaction_id": f"n{n}", "kind": kind, "item_id": item, **at}
                                         for n, (kind, item) in enumerate([("purchase", "i0"), ("purchase", "i1"),
                                                                           ("view", "i2"), ("purchase", "gone")])],
        day)  # fmt: skip
    made = enumerate([("Shoe", "en")] * 3 + [("绿茶", "zh")])
    put(judged, "safe", "searches", [{"search_id": f"s{n}", "query": query, "language": language, "channel": "web"} | at
                                     for n, (query, language) in made], day)  # fmt: skip
    counts, total = bought(judged, catalogue(judged))
    assert (counts[catalogue(judged).rows_by_id()["i0"]], total) == (2, 2)  # equal texts are one
    assert newest(judged) == day
    report = evaluate(judged, bundle(2, vector=0.0), bundle(1))
    assert [(one["kind"], one["name"]) for one in report["segments"]] == [
        ("language", "en"), ("language", "zh"), ("frequency", "head"), ("frequency", "tail")]  # fmt: skip


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


def test_two_that_want_the_untrained_encoder_make_it_once(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []

    def export(model: Any, base: str, folder: Path, precision: str) -> None:
        made.append(base)
        time.sleep(0.2)
        folder.mkdir(parents=True)
        for name in FILES:
            (folder / name).write_text(name)

    monkeypatch.setattr(searching, "load_base", lambda base: None)
    monkeypatch.setattr(searching, "export", export)
    with ThreadPoolExecutor(2) as pool:
        folders = list(pool.map(lambda shop: searching.untrained(shop), ["toy", "toy"]))
    assert (
        made == ["minilm"]
        and folders[0] == folders[1]
        and sorted(p.name for p in folders[0].iterdir()) == sorted(FILES)
    )


def test_a_trained_champion_is_compared_with_the_untrained_too(
    judged: str, bundle: Callable[..., Bundle], tiny_base: Path
) -> None:
    trained = bundle(3)
    trained = replace(
        trained, settings={**trained.settings, "base": str(tiny_base), "training": {"pairs": 1}, "learnt": 1}
    )
    report = evaluate(judged, None, trained)
    assert "fused untrained" in report["systems"]
