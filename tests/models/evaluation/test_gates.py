"""The line that decides: every example can be checked by hand."""

from typing import Any

import pytest

from models.evaluation.gates import Policy, gates


def report(low: Any = 0.01, high: Any = 0.03, mean: Any = 0.02, **more: Any) -> dict[str, Any]:
    return {"primary": "ndcg@10", "test": {"n": 100}, "latency_ms": {"p50": 1.0, "p99": 20.0},
            "paired": {"metric": "ndcg@10", "mean": mean, "low": low, "high": high, "n": 100}, **more}  # fmt: skip


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


@pytest.mark.parametrize("missing", ["paired", "test", "latency_ms", "primary"])
def test_what_the_report_does_not_say_counts_against_it(missing: str) -> None:
    values = report()
    del values[missing]
    assert not gates(values).accepted


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
    assert [check.passed for check in verdict.reasons] == [False, True, False]
    assert "not proven" in verdict.why and "501.0 ms" in verdict.why
