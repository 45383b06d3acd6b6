"""The line that decides: every example can be checked by hand."""

import copy
import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import pytest

from models.evaluation.gates import Policy, Verdict, gates, level, spent
from tests.reports import ENOUGH, paired, passing, segment


def report(low: Any = 0.01, high: Any = 0.03, mean: Any = 0.02, **more: Any) -> dict[str, Any]:
    return passing(**{"paired": paired(mean, low, high), **more})


def failed(verdict: Verdict) -> list[str]:
    return [check.name for check in verdict.reasons if not check.passed]


# --- Better than the champion ---


def test_a_whole_interval_above_zero_is_accepted() -> None:
    verdict = gates(report())
    assert verdict.accepted and verdict.why.startswith("better: ndcg@10 +0.0200")


@pytest.mark.parametrize(
    ("low", "mean", "high", "word"),
    [(-0.001, 0.02, 0.04, "not proven"), (0.0, 0.02, 0.04, "not proven"), (0.0, 0.0, 0.0, "not proven"),
     (-0.04, -0.02, -0.001, "worse")],
)  # fmt: skip
def test_an_interval_that_holds_or_touches_zero_or_lies_below_is_refused(
    low: float, mean: float, high: float, word: str
) -> None:
    verdict = gates(report(low, high, mean))
    assert not verdict.accepted and word in verdict.why


@pytest.mark.parametrize("bad", [None, float("nan"), float("inf"), "0.5", True])
def test_a_figure_that_is_no_number_is_refused(bad: Any) -> None:
    assert not gates(report(low=bad)).accepted
    assert not gates(report(latency_ms={"p99": bad})).accepted


def test_ends_in_the_wrong_order_are_refused() -> None:
    assert not gates(report(low=0.03, high=0.01)).accepted


DECIDES = {"primary": "better", "test": "enough", "paired": "better", "latency_ms": "quick", "tries": "tries",
           "segments": "segments", "size_bytes": "size", "calibration": "calibration",
           "diversity": "diversity: coverage", "written_at": "freshness", "newest": "freshness", "seen": "freshness",
           "reproduced": "reproduced", "learnt_from_visitors": "membership", "features": "skew"}  # fmt: skip
"""Key of a report -> a check that fails without it."""


@pytest.mark.parametrize("missing", DECIDES)
def test_what_the_report_does_not_say_counts_against_it(missing: str) -> None:
    values = report()
    del values[missing]
    verdict = gates(values)
    assert verdict.answer == "refuse" and DECIDES[missing] in failed(verdict)
    assert all(check.why for check in verdict.reasons)


JUNK = {"none": None, "nan": float("nan"), "infinite": float("inf"), "word": "x", "true": True, "negative": -1,
        "list": [], "dict": {}, "list of none": [None], "no candidate": {"candidate": None}}  # fmt: skip


@pytest.mark.parametrize("junk", JUNK.values(), ids=list(JUNK))
@pytest.mark.parametrize("key", DECIDES)
def test_junk_in_the_place_of_figures_is_refused_and_never_raises(key: str, junk: Any) -> None:
    if key in ("learnt_from_visitors", "features") and junk == []:
        return  # nothing learnt, nothing asked for: that is said
    verdict = gates(report(**{key: junk}))
    if key == "segments" and junk == []:
        assert verdict.answer == "ask"  # looked, and found none to judge
    else:
        assert verdict.answer == "refuse" and verdict.why


def leaves(values: Any, *path: Any) -> Iterator[tuple[Any, ...]]:
    """Every way to a figure in a report."""
    if isinstance(values, dict | list):
        for name, value in values.items() if isinstance(values, dict) else enumerate(values):
            yield from leaves(value, *path, name)
    else:
        yield path


SAID = ("shop", "bundle", "power", "due", "privacy", "skew")  # words; or judged by tests of their own


def test_a_figure_that_is_not_a_number_never_helps_wherever_it_stands() -> None:
    whole = passing(calibration={"candidate": {"ece": 0.02}, "champion": {"ece": 0.03}})
    assert gates(whole).accepted
    still = set()
    for path in (path for path in leaves(whole) if path[0] not in SAID):
        broken = copy.deepcopy(whole)
        at = broken
        for name in path[:-1]:
            at = at[name]
        at[path[-1]] = float("nan")
        if gates(broken).accepted:
            still.add(".".join(map(str, path)))
    assert still == {  # what the gate does not ask for, or asks for only where the candidate is not better by itself
        *(f"systems.{role}.ndcg@10.mean" for role in ("candidate", "champion")), "size_bytes.champion",
        "latency_ms.p50", "latency_champion_ms.p50", "latency_champion_ms.p99", "calibration.champion.ece",
        *(f"segments.{n}.{name}" for n in range(3) for name in ("kind", "name", "n", "candidate", "champion")),
        *(f"segments.2.{name}" for name in ("protected", "mean", "low", "high", "p_worse", "p_holm", "margin")),
    }  # fmt: skip


def test_an_interval_of_another_metric_does_not_count() -> None:
    values = report()
    values["paired"]["metric"] = "recall@10"
    assert not gates(values).accepted


def test_too_few_pairs_or_not_all_of_the_test_are_refused() -> None:
    few = report(test={"n": 29})
    few["paired"]["n"] = 29
    assert not gates(few).accepted and gates(few, Policy(least=29)).accepted
    assert not gates(report(test={"n": 101})).accepted


def test_a_slow_answer_is_refused_and_all_reasons_are_told() -> None:
    verdict = gates(report(low=-1.0, latency_ms={"p99": 501.0}))
    assert failed(verdict) == ["better", "quick"] and verdict.answer == "refuse"
    assert "not proven" in verdict.why and "501.0 ms" in verdict.why


def test_a_champion_that_must_forget_is_replaced_by_whatever_is_not_proven_worse() -> None:
    due = {"due": {"candidate": None, "champion": "retrain"}}
    verdict = gates(report(-0.01, 0.03, 0.01, **due))
    assert verdict.accepted and "not proven worse" in verdict.why and "is to be replaced" in verdict.why
    assert gates(report(-0.02, 0.0, -0.01, **due)).accepted
    refused = gates(report(-0.03, -0.001, -0.01, **due))
    assert not refused.accepted and "worse" in refused.why
    assert not gates(report(-0.01, 0.03, 0.01, **due, latency_ms={"p99": 501.0})).accepted
    for word in (None, "list"):  # and otherwise only by what is better
        assert not gates(report(-0.01, 0.03, 0.01, due={"candidate": None, "champion": word})).accepted


@pytest.mark.parametrize(("word", "accepted"), [(None, True), ("list", True), ("retrain", False), ("retire", False)])
def test_a_candidate_that_learnt_from_the_erased_cannot_serve(word: str | None, accepted: bool) -> None:
    verdict = gates(report(due={"candidate": word, "champion": None}))
    assert verdict.accepted is accepted and (accepted or "somebody who was erased" in verdict.why)


def asking(**skew: Any) -> Any:
    return gates(report(shop="tiny", features=["items"], skew=skew))


def test_whoever_asks_for_features_shows_that_they_are_not_skewed() -> None:
    assert asking(draws=1000, mismatches=0).accepted
    assert "1 mismatches between training and serving in 1000 draws" in asking(draws=1000, mismatches=1).why
    assert "999 draws were compared" in asking(draws=999, mismatches=0).why
    assert "run 'python -m jobs skew --shop tiny'" in asking().why
    assert not asking(draws=1000).accepted and not asking(draws=1000, mismatches=float("nan")).accepted
    assert gates(report(features=[], skew={})).accepted  # nothing is looked up, so that nothing can differ


def test_one_query_alone_proves_nothing() -> None:
    one = report(paired={**paired(low=float("-inf"), high=float("inf")), "n": 1}, test={"n": 1})
    assert failed(gates(one)) == ["better", "enough"]
    assert failed(gates(report(paired=paired(n=1), test={"n": 1}))) == ["enough"]  # whatever its interval


# --- Not worse, and cheaper ---

SMALLER = {"size_bytes": {"candidate": 16, "champion": 20}}
FASTER = {"latency_ms": {"p50": 0.8, "p99": 16.0}}


@pytest.mark.parametrize(
    ("low", "mean", "high", "saved", "answer", "word"),
    [
        (-0.0079, 0.0, 0.008, SMALLER, "accept", "not worse, and smaller"),  # 2 % of the champion's 0.4 is 0.008
        (-0.0079, 0.0, 0.008, FASTER, "accept", "not worse, and faster: p99 16.0 ms in place of 20.0"),
        (-0.008, 0.0, 0.008, SMALLER, "ask", "undecided, but smaller"),
        (-0.02, -0.01, 0.0, FASTER, "ask", "undecided, but faster"),
        (-0.0079, -0.004, -0.001, SMALLER, "refuse", "worse"),
        (-0.0079, 0.0, 0.008, {"size_bytes": {"candidate": 17, "champion": 20}}, "refuse", "not proven better"),
        (-0.0079, 0.0, 0.008, {"latency_ms": {"p50": 0.9, "p99": 16.0}}, "refuse", "not proven better"),
        (-0.0079, 0.0, 0.008, {"latency_ms": {"p50": 0.8, "p99": 16.5}}, "refuse", "not proven better"),
        (-0.0079, 0.0, 0.008, SMALLER | {"latency_ms": {"p50": 1.0, "p99": 25.0}}, "refuse", "not proven better"),
        (-0.0079, 0.0, 0.008, FASTER | {"size_bytes": {"candidate": 25, "champion": 20}}, "refuse", "not proven"),
        (-0.0079, 0.0, 0.008, SMALLER | {"latency_champion_ms": None}, "refuse", "not proven better"),
        (-0.0079, 0.0, 0.008, SMALLER | {"systems": {}}, "refuse", "not proven better"),
        (-0.0079, 0.0, 0.008, {"latency_ms": {"p50": 0.1, "p99": 0.2}, "latency_champion_ms": {"p50": 0.5, "p99": 1.1}},
         "refuse", "not proven better"),  # nobody notices nine tenths of a millisecond
    ],
)  # fmt: skip
def test_what_is_not_better_may_be_cheaper(
    low: float, mean: float, high: float, saved: dict[str, Any], answer: str, word: str
) -> None:
    verdict = gates(report(low, high, mean, **saved))
    assert (verdict.answer, failed(verdict)) == (answer, [] if answer == "accept" else ["better"])
    assert word in verdict.why


def test_a_refusal_says_what_could_have_been_seen() -> None:
    assert "of +0.0140 the test shows 80%" in gates(report(-0.001, 0.02, 0.01)).why


# --- Many tries ---


def test_alpha_is_spent_over_the_tries_and_never_more_of_it() -> None:
    policy = Policy()
    shares = [spent(k, policy) for k in range(1, policy.tries + 1)]
    assert shares[0] == 0.025 and shares == sorted(shares, reverse=True) and sum(shares) < policy.alpha
    assert shares[1] / shares[3] == pytest.approx(2) and spent(500, policy) == shares[-1]
    assert level(1, policy) == 0.95 and level(1, Policy(alpha=0.01)) == 0.99


def test_a_later_try_needs_a_higher_level() -> None:
    second = report(tries={"number": 2})
    assert failed(gates(second)) == ["tries"] and "candidate 2" in gates(second).why  # judged as if it were the first
    assert "evaluate again" in gates(second).why
    assert gates(report(tries={"number": 2}, paired=paired(tries=2))).accepted
    assert gates(report(tries={"number": 1}, paired=paired(tries=2))).accepted  # stricter than it had to be
    for bad in (0, -1, 1.5, True, "1", None, float("nan")):
        assert gates(report(tries={"number": bad})).answer == "refuse"
    for bad in (1.0, 1.5, "0.95", None):  # an interval of the whole line, or of no known level
        assert failed(gates(report(paired={**paired(), "level": bad}))) == ["tries"]


def test_when_alpha_is_spent_a_person_is_asked() -> None:
    last = Policy().tries
    assert gates(report(tries={"number": last}, paired=paired(tries=last))).accepted
    verdict = gates(report(tries={"number": last + 1}, paired=paired(tries=last + 1)))
    assert (verdict.answer, failed(verdict)) == ("ask", ["tries"])


# --- Segments ---


@pytest.mark.parametrize(
    ("more", "answer", "word"),
    [
        ({"p_worse": 0.001, "p_holm": 0.05, "mean": -0.04, "low": -0.07}, "refuse", "worse than its margin"),
        ({"p_worse": 0.05, "p_holm": 0.051, "mean": -0.04, "low": -0.07}, "ask", "not proven"),
        ({"p_worse": 0.051, "p_holm": 1.0, "mean": -0.03, "low": -0.07}, "accept", "better"),
        ({"high": -0.001, "mean": -0.005, "protected": True}, "ask", "a protected group: worse within its margin"),
        ({"high": 0.0, "mean": -0.005, "protected": True}, "accept", "better"),
        ({"high": -0.001, "mean": -0.005}, "accept", "better"),  # within its margin, and nobody is to be protected
        ({"p_worse": 0.5, "p_holm": 0.4}, "refuse", "do not fit"),  # a correction makes no p smaller
        ({"low": 0.03}, "refuse", "do not fit"),
        ({"margin": -0.01}, "refuse", "do not fit"),
        ({"protected": None}, "refuse", "figures are missing"),
        ({"small": None}, "refuse", "and yet judged; at least 30"),
        ({"p_holm": None}, "refuse", "figures are missing"),
        ({"p_worse": float("nan")}, "refuse", "figures are missing"),
        ({"n": 29, "clusters": 29}, "refuse", "and yet judged; at least 30"),
        ({"small": True}, "refuse", "50, and yet left out as too small"),
        ({"clusters": None, "n": None}, "refuse", "no count"),
        ({"n": 0, "clusters": 0}, "refuse", "0, and yet judged"),
        ({"n": 0, "clusters": 0, "small": True}, "accept", "better"),  # an empty segment says nothing, and says so
        ({"n": 500, "clusters": 12}, "refuse", "12, and yet judged"),  # many questions of a few visitors
    ],
)  # fmt: skip
def test_no_segment_may_be_worse_beyond_its_margin(more: dict[str, Any], answer: str, word: str) -> None:
    verdict = gates(report(segments=[segment(), segment("visitor", "new", **more)]))
    assert verdict.answer == answer and word in verdict.why
    assert failed(verdict) == ([] if answer == "accept" else ["segment: visitor, new"])
    assert len([check for check in verdict.reasons if check.name.startswith("segment")]) == 1


def test_every_segment_that_is_worse_is_told() -> None:
    worse = {"p_worse": 0.001, "p_holm": 0.01, "mean": -0.04, "low": -0.07}
    verdict = gates(report(segments=[segment(**worse), segment(name="chinese", **worse), segment(name="other")]))
    assert failed(verdict) == ["segment: language, english", "segment: language, chinese"]
    assert "english" in verdict.why and "chinese" in verdict.why


def test_where_no_segment_can_be_judged_a_person_is_asked() -> None:
    few = {"n": 3, "clusters": 3, "small": True}
    for found in ([], [segment(**few), segment(name="chinese", **few)]):
        verdict = gates(report(segments=found))
        assert (verdict.answer, failed(verdict)) == ("ask", ["segments"])
    assert gates(report(segments=[None])).answer == "refuse" == gates(report(segments=[[]])).answer


# --- Limits ---


@pytest.mark.parametrize(
    ("key", "value", "answer", "name"),
    [
        ("size_bytes", {"candidate": 2**30, "champion": 2**30}, "accept", ""),
        ("size_bytes", {"candidate": 2**30 + 1, "champion": 2**30}, "refuse", "size"),
        ("size_bytes", {"candidate": 0, "champion": 5}, "refuse", "size"),
        ("calibration", {"candidate": {"ece": 0.1}, "champion": {"ece": 0.02}}, "accept", ""),
        ("calibration", {"candidate": {"ece": 0.101}, "champion": {"ece": 0.02}}, "refuse", "calibration"),
        ("calibration", {"candidate": {"ece": 0.2}, "champion": {"ece": 0.2}}, "accept", ""),  # no farther off than it
        ("calibration", {"candidate": {"ece": 0.101}}, "refuse", "calibration"),
        ("calibration", {"candidate": {"ece": 1.5}, "champion": {"ece": 1.6}}, "refuse", "calibration"),
        ("calibration", {"exempt": ""}, "refuse", "calibration"),
        ("calibration", {"exempt": True}, "refuse", "calibration"),
        ("newest", "2026-08-20", "accept", ""),
        ("newest", "2026-08-19", "refuse", "freshness"),  # 91 days
        ("newest", "yesterday", "refuse", "freshness"),
        ("written_at", "now", "refuse", "freshness"),
        ("reproduced", {"same": False, "first": 0.4, "again": 0.4}, "refuse", "reproduced"),
        ("reproduced", {"same": "yes"}, "refuse", "reproduced"),
        ("reproduced", {"same": True}, "refuse", "reproduced"),
        ("reproduced", {"same": True, "first": 0.41, "again": 0.42}, "refuse", "reproduced"),
    ],
)  # fmt: skip
def test_limits(key: str, value: Any, answer: str, name: str) -> None:
    verdict = gates(report(**{key: value}))
    assert (verdict.answer, failed(verdict)) == (answer, [name] if name else [])


@pytest.mark.parametrize(
    ("name", "value", "answer"),
    [("intra_list", 0.48, "accept"), ("intra_list", 0.47, "refuse"), ("coverage", 0.15, "refuse"),
     ("coverage", None, "refuse"), ("novelty", 7.2, "accept"), ("novelty", 7.1, "ask"),
     ("novelty", float("nan"), "refuse"), ("serendipity", 0.01, "ask")],
)  # fmt: skip
def test_answers_do_not_become_much_more_alike(name: str, value: Any, answer: str) -> None:
    verdict = gates(report(diversity={"candidate": {**ENOUGH, name: value}, "champion": dict(ENOUGH)}))
    assert verdict.answer == answer
    assert failed(verdict) == ([] if answer == "accept" else [f"diversity: {name.replace('_', '-')}"])


# --- The answer ---


def test_one_that_refuses_outweighs_all_that_ask() -> None:
    asks = {"tries": {"number": 60}, "segments": []}
    verdict = gates(report(**asks, paired=paired(tries=60)))
    assert (verdict.answer, verdict.accepted) == ("ask", False)
    both = gates(report(**asks, paired=paired(tries=60), reproduced={"same": False, "first": 1, "again": 2}))
    assert both.answer == "refuse" and both.why == "made again, the figures differ"
    assert failed(both) == ["tries", "segments", "reproduced"]


def test_the_verdict_holds_answer_reasons_and_policy_as_json() -> None:
    told = gates(report(), Policy(least=50)).as_dict()
    assert (told["answer"], told["accepted"]) == ("accept", True) and told["why"].startswith("better")
    assert told["policy"] == asdict(Policy(least=50))
    assert set(told["checks"][0]) == {"name", "passed", "figure", "limit", "why", "asks"}
    assert json.loads(json.dumps(told, allow_nan=False)) == told


def test_the_same_report_gives_the_same_answer_and_is_left_as_it_was() -> None:
    told = report()
    before = copy.deepcopy(told)
    assert gates(told) == gates(told) and told == before
