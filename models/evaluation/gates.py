"""The model gate: a pure function of a report and a policy. No clock, no files, no randomness.

Every check is made, also after one has failed, so that a refusal says all its reasons. What a report
does not say counts against it: a figure that is missing or not a number fails its check.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Policy:
    """What a candidate must show. `least` is the number of queries or visitors, `p99_ms` of one answer."""

    least: int = 30
    p99_ms: float = 500.0


@dataclass(frozen=True)
class Check:
    """One reason: its figure, the limit it was held against, and what that means."""

    name: str
    passed: bool
    figure: float | None
    limit: float
    why: str


@dataclass(frozen=True)
class Verdict:
    """Accepted only if every check passed."""

    accepted: bool
    reasons: tuple[Check, ...]

    @property
    def why(self) -> str:
        """One line: the reasons for a refusal, or the deciding one of an acceptance."""
        told = [check for check in self.reasons if not check.passed] or list(self.reasons[:1])
        return "; ".join(check.why for check in told)

    def as_dict(self) -> dict[str, Any]:
        """As reports and promotion records hold it."""
        return {"accepted": self.accepted, "why": self.why, "checks": [asdict(check) for check in self.reasons]}


def number(values: Mapping[str, Any] | None, name: str) -> float | None:
    """A figure of a report; None where it is missing or not a finite number."""
    value = (values or {}).get(name)
    fine = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if fine and value is not None else None


def better(report: Mapping[str, Any]) -> Check:
    """The whole paired interval of candidate less champion lies above zero. Touching zero is not above it."""
    paired, metric = report.get("paired") or {}, report.get("primary", "")
    low, mean, high = (number(paired, name) for name in ("low", "mean", "high"))
    if low is None or mean is None or high is None or not low <= mean <= high or paired.get("metric") != metric:
        return Check(
            "better", False, None, 0.0, f"the report holds no paired interval of {metric or 'its primary metric'}"
        )
    span = f"{metric} {mean:+.4f} against the champion, interval {low:+.4f} to {high:+.4f}"
    if low > 0:
        return Check("better", True, low, 0.0, f"better: {span}")
    return Check("better", False, low, 0.0, f"{'worse' if high < 0 else 'not proven better'}: {span}")


def enough(report: Mapping[str, Any], policy: Policy) -> Check:
    """The pairs are as many as the test has, and as many as the policy asks for."""
    pairs, judged = number(report.get("paired"), "n"), number(report.get("test"), "n")
    passed = pairs is not None and pairs == judged and pairs >= policy.least
    said = (
        "no count of pairs"
        if pairs is None
        else f"{pairs:.0f} pairs of {judged or 0:.0f}, at least {policy.least} needed"
    )
    return Check("enough", passed, pairs, float(policy.least), said)


def quick(report: Mapping[str, Any], policy: Policy) -> Check:
    """One answer in a hundred may take longer than the limit."""
    slow = number(report.get("latency_ms"), "p99")
    said = "the latency was not measured" if slow is None else f"p99 {slow:.1f} ms, limit {policy.p99_ms:g} ms"
    return Check("quick", slow is not None and slow <= policy.p99_ms, slow, policy.p99_ms, said)


def gates(report: Mapping[str, Any], policy: Policy | None = None) -> Verdict:
    """Whether the report's candidate may serve. The proof against the champion is the first gate."""
    held = policy or Policy()
    checks = (better(report), enough(report, held), quick(report, held))
    return Verdict(all(check.passed for check in checks), checks)
