"""The page that a reviewer reads: whole from a whole report, honest from half a one, no word of data as HTML."""

import copy
import re
from pathlib import Path
from typing import Any

import pytest

from models.evaluation import report as pages
from models.evaluation.gates import Check, Policy, Verdict

FIGURE = {"mean": 0.4, "low": 0.3, "high": 0.5, "n": 100}
BINS = [[0.0, 0.5, 0.2, 0.25, 60], [0.5, 1.0, 0.8, 0.7, 40]]
SIDE = {"ece": 0.03, "brier": 0.1, "log_loss": 0.3, "auc": 0.8, "n": 100, "bins": BINS}
REPORT: dict[str, Any] = {
    "shop": "sample", "bundle": "search", "primary": "ndcg@10",
    "test": {"what": "judged queries; all of them", "n": 100},
    "systems": {"candidate": {"ndcg@10": FIGURE}, "champion": {"ndcg@10": FIGURE}, "bm25": {"ndcg@10": FIGURE}},
    "paired": {"metric": "ndcg@10", "mean": 0.02, "low": 0.01, "high": 0.03, "n": 100, "p": 0.002, "level": 0.985},
    "candidate": {"version": 3, "name": "new words", "sha256": "a" * 64},
    "champion": {"version": 2, "name": "old words", "sha256": "b" * 64},
    "power": {"detectable": 0.0123, "power": 0.8}, "tries": {"number": 4},
    "segments": [
        {"kind": "language", "name": "zh", "n": 40, "candidate": 0.3, "champion": 0.4, "mean": -0.1, "low": -0.15,
         "high": -0.05, "p_holm": 0.004, "margin": 0.02, "protected": True},
        {"kind": "language", "name": "en", "n": 60, "candidate": 0.5, "champion": 0.4, "mean": 0.1, "low": 0.05,
         "high": 0.15, "p_holm": 1.0, "margin": 0.02},
        {"kind": "channel", "name": "phone", "n": 3, "small": True},
        {"kind": "channel", "name": "web", "n": 90, "candidate": float("nan"), "champion": 0.1, "mean": float("nan"),
         "low": 0.0, "high": 0.1},
    ],
    "examples": [
        {"query": "warm hat", "champion": ["red hat", "sun hat", "cap"], "candidate": ["sun hat", "scarf", "cap"]}],
    "losses": {"won": 50, "lost": 7, "same": 43, "hidden": 5, "shown": [
        {"query": "warm hat", "candidate": 0.1, "champion": 0.6, "difference": -0.5}]},
    "calibration": {"candidate": SIDE, "champion": SIDE},
    "diversity": {"candidate": {"intra_list": 0.6, "coverage": 0.2}, "champion": {"intra_list": 0.5, "coverage": 0.1}},
    "latency_ms": {"p50": 1.0, "p99": 20.0}, "latency_champion_ms": {"p50": 2.0, "p99": 30.0},
    "size_bytes": {"candidate": 2_000_000, "champion": 1_000_000}, "learnt_from_visitors": [], "privacy": {},
    "features": ["items"], "skew": {"mismatches": 0, "draws": 1000}, "reproduced": {"same": True},
    "written_at": "2026-11-22T20:00:00+00:00", "newest": "2026-11-21", "data": ["safe/items/whole@1"], "code": "0.1.0",
}  # fmt: skip
CHECKS = (Check("better", True, 0.01, 0.0, "surely better"), Check("quick", False, 700.0, 500.0, "too slow <b>"))


def plain(page: str) -> str:
    """The words of the page, without its plots and tags."""
    return " ".join(re.sub(r"<[^>]+>", " ", re.sub(r"<svg.*?</svg>|<style>.*?</style>", " ", page, flags=re.S)).split())


@pytest.fixture(scope="module")
def page() -> str:
    return pages.page(REPORT, Verdict("refuse", CHECKS, Policy()), digest="c" * 64)


def test_every_figure_that_a_reviewer_asks_for_stands_there(page: str) -> None:
    text = plain(page)
    for words in (
        "Refused: the champion goes on serving",
        "✗ quick too slow &lt;b&gt; 700 500",
        "✓ better surely better 0.01 0",
        "+0.0200 ndcg@10 against the champion, 98.5% interval +0.0100 to +0.0300",
        "0.002 p:",
        "0.0123 the smallest",
        "4 candidates were judged",
        "version 2 3",
        "old words new words",
        "2.0 / 30.0 ms 1.0 / 20.0 ms",
        "1.0 MB 2.0 MB",
        "language: zh * 40 0.400 0.300 -0.100 -0.150 to -0.050 0.020 0.004",
        "Too small to be judged: channel: phone (3)",
        "50 better, 7 worse, 43 the same",
        "warm hat 0.600 0.100 -0.500",
        "5 more are worse",
        "candidate 0.03 0.1 0.3 0.8",
        "0 mismatches in 1000 draws",
        "judged twice, the same yes",
        "newest day of data 2026-11-21",
        "report cccccccccccccccc",
        "ranks the items of the shop for the words of a search",
    ):
        assert words in text, words
    assert text.index("✗ quick") < text.index("✓ better"), "what failed comes first"
    assert page.count("<svg") == 3 and "Not in this report" not in text


def test_a_proven_loss_stands_out_and_others_do_not(page: str) -> None:
    assert "<span class=failed>0.004</span>" in page and "<span class=held>1.000</span>" in page


def test_what_came_what_went_and_what_moved(page: str) -> None:
    assert "<li class=gone>red hat <em>gone</em></li>" in page and "<li class=new>scarf <em>new</em></li>" in page
    assert "<li>sun hat <em>↑1</em></li>" in page and "<li>cap</li>" in page
    assert plain(page).count("sun hat") == 2


def test_a_visitor_who_loses_is_a_number_with_both_answers_and_what_was_bought_marked() -> None:
    answers = {"champion": ["tea & milk", "bread"], "candidate": ["bread", "rice"]}
    row = {"visitor": 1, "candidate": 0.0, "champion": 0.63, "difference": -0.63, "answers": answers,
           "bought": ["jam", "tea & milk"]}  # fmt: skip
    made = pages.page({**REPORT, "losses": {**REPORT["losses"], "hidden": 0, "shown": [row]}}, None)
    text = plain(made)
    assert "1. ndcg@10 0.630 to 0.000 (-0.630); bought then: jam, tea &amp; milk" in text
    assert "<li class=gone><b class=held>tea &amp; milk ✓</b> <em>gone</em></li>" in made
    assert "<li>bread <em>↑1</em></li>" in made and "<li class=new>rice <em>new</em></li>" in made


@pytest.mark.parametrize("name", ["segments", "examples", "losses", "calibration", "diversity"])
def test_what_the_report_does_not_hold_is_named_and_left_out(page: str, name: str) -> None:
    half = {key: value for key, value in REPORT.items() if key != name}
    made = pages.page(half, Verdict("accept", CHECKS[:1], Policy()))
    word = "worst losses" if name == "losses" else name
    assert f"Not in this report: {word}." in made and f"<section id={name}" not in made
    assert f"<section id={name}" in page and "<b>Accepted</b>" in made


def test_the_least_report_still_makes_a_page() -> None:
    least = {key: REPORT[key] for key in ("shop", "bundle", "primary", "test", "systems")}
    assert "No comparison" in pages.page(least, None)
    assert pages.figures(least) == {}


def test_the_answers_of_the_gate_are_three() -> None:
    asks = Check("segments", False, 0.04, 0.05, "looks worse", asks=True)
    made = pages.page(REPORT, Verdict("ask", (CHECKS[0], asks), Policy()))
    assert "A person is asked" in made and "<span class=asks>? segments</span>" in made


def test_calibration_may_be_exempt_for_a_reason() -> None:
    exempt = {"exempt": "ranks, no probabilities"}
    for told in (exempt, {"candidate": exempt, "champion": exempt}):
        text = plain(pages.page({**REPORT, "calibration": told}, None))
        assert "ranks, no probabilities" in text


def test_no_word_of_data_is_html_and_nothing_comes_from_elsewhere() -> None:
    evil = "<script>alert(1)</script>'\""
    bad = copy.deepcopy(REPORT)
    bad["examples"] = [{"query": evil, "champion": [evil, f"old {evil}"], "candidate": [f"new {evil}", evil]}]
    bad["losses"]["shown"][0]["query"] = bad["segments"][0]["name"] = bad["candidate"]["name"] = evil
    bad["data"], bad["code"], bad["weights"] = [evil], evil, {evil: evil}
    bad["systems"][evil] = bad["systems"].pop("bm25")
    made = pages.page(bad, Verdict("refuse", (Check(evil, False, 1.0, 2.0, evil),), Policy()), digest=evil)
    assert "<script" not in made and "alert(1)" in made
    namespaces = re.sub(r"http://(www\.w3\.org|purl\.org|creativecommons\.org)[^\s\"'<]*", "", made)
    assert "http" not in namespaces and "src=" not in made and "@import" not in made


def test_the_same_report_gives_the_same_bytes(page: str) -> None:
    assert page == pages.page(copy.deepcopy(REPORT), Verdict("refuse", CHECKS, Policy()), digest="c" * 64)


def test_the_same_figures_for_where_runs_are_compared(tmp_path: Path) -> None:
    found = pages.figures(REPORT)
    assert found["segments/language/zh"] == -0.1 and found["segments/language/zh.high"] == -0.05
    assert (found["calibration/candidate/ece"], found["diversity/champion/coverage"]) == (0.03, 0.1)
    assert (found["power/detectable"], found["tries/number"], found["losses/lost"]) == (0.0123, 4.0, 7.0)
    assert (found["size_bytes/champion"], found["latency_champion_ms/p99"]) == (1_000_000.0, 30.0)
    assert not [name for name in found if "phone" in name or "web" in name], "what is no number is no figure"
    assert pages.segments_png(REPORT, tmp_path / "segments.png")[0].stat().st_size > 1000
    assert pages.segments_png({}, tmp_path / "none.png") == []
