"""The model gate: a pure function of a report and a policy. No clock, no files, no randomness.

Every check is made, also after one has failed, so that an answer says all its reasons. What a report does not say
counts against it: a figure that is missing or not a number fails its check. A check that fails refuses, or, where
figures cannot decide, asks a person. What the gate promises, and with which sizes, is measured by `make bench-gate`.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import date, datetime
from typing import Any, Literal

Answer = Literal["accept", "refuse", "ask"]
NOTICED_MS = 1.0
"""A smaller difference of time is noise, whatever its share."""
LATER = 0.15
"""The share of alpha that all tries but the first have together."""
SHOWN, ESTIMATED = ("intra_list", "coverage"), ("novelty", "serendipity")
"""Figures of diversity: those of what is shown refuse, those that need a model of what is expected only ask."""


@dataclass(frozen=True)
class Policy:
    """What a candidate must show; a shop's own stands in a small file of its home (models/evaluation/policy.py).

    Better: `alpha` is the chance that one champion is ever replaced by a candidate that is not better, however often
    it is tried, up to `tries` times without a person; `least` the number of queries or visitors; `worse` the margin
    of a cheaper candidate, as a share of the champion's mean; `cheaper` the share of time or size that it must save.
    Segments: below `segment_least` visitors or queries none is judged; one that is worse than its margin with a p of
    at most `segment_alpha` after Holm's correction refuses, with a p of at most `segment_doubt` before it asks.
    Limits: `p99_ms` of one answer, `size_bytes` of the bundle, `ece` of calibrated scores, `diversity` as the least
    share of the champion's, `age_days` between the shop's newest day and the newest that was judged.
    Attacks: `membership_auc` is how well an attacker may tell members from others (0.5 is not at all), `lift` how
    many times as often a member as a nonmember may be named, `strangers` how many nonmembers there must be to say so;
    `attribute_gain` of how many more visitors, as a share, training may surely give an attribute away. Skew: `draws`
    is how many draws must have been compared, `skew` how many values may differ.
    For `promote`, which has a clock and asks people: `review` says whether a person approves each promotion or only
    those that the gate asks about, `report_days` how old a report may be.
    """

    alpha: float = 0.05
    tries: int = 52
    least: int = 30
    worse: float = 0.02
    cheaper: float = 0.2
    segment_least: int = 30
    segment_alpha: float = 0.05
    segment_doubt: float = 0.05
    p99_ms: float = 500.0
    size_bytes: int = 2**30
    ece: float = 0.1
    diversity: float = 0.8
    age_days: int = 90
    membership_auc: float = 0.6
    lift: float = 3.0
    strangers: int = 30
    attribute_gain: float = 0.05
    draws: int = 1000
    skew: int = 0
    review: Literal["auto", "human"] = "auto"
    report_days: float = 7.0


@dataclass(frozen=True)
class Check:
    """One reason: its figure, the limit it was held against, what that means, and whether a failure asks a person."""

    name: str
    passed: bool
    figure: float | None
    limit: float
    why: str
    asks: bool = False


@dataclass(frozen=True)
class Verdict:
    """The answer, every reason, and the policy it was given by, so that whoever signs the one signs the other."""

    answer: Answer
    reasons: tuple[Check, ...]
    policy: Policy = Policy()

    @property
    def accepted(self) -> bool:
        """Whether the candidate may serve without a person's word."""
        return self.answer == "accept"

    @property
    def why(self) -> str:
        """One line: what refuses or asks, or the deciding reason of an acceptance."""
        failed = [check for check in self.reasons if not check.passed]
        told = [check for check in failed if not check.asks] or failed or list(self.reasons[:1])
        return "; ".join(check.why for check in told)

    def as_dict(self) -> dict[str, Any]:
        """As reports and promotion records hold it."""
        return {"answer": self.answer, "accepted": self.accepted, "why": self.why,
                "checks": [asdict(check) for check in self.reasons], "policy": asdict(self.policy)}  # fmt: skip


def number(values: Any, name: str) -> float | None:
    """A figure of a report; None where it is missing or not a finite number, or where there are no figures."""
    value = values.get(name) if isinstance(values, Mapping) else None
    fine = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if fine and value is not None else None


def inside(values: Any, *names: str) -> Mapping[str, Any]:
    """What stands in a report under these names, one inside the other; empty where there is nothing of the kind."""
    for name in names:
        values = values.get(name) if isinstance(values, Mapping) else None
    return values if isinstance(values, Mapping) else {}


# --- Better than the champion ---


def spent(tries: int, policy: Policy) -> float:
    """The chance that the `tries`-th candidate against one champion may pass without being better.

    Alpha is spent over the tries (online alpha spending: Foster and Stine 2008; Tian and Ramdas 2021). Half of it goes
    to the first, so that this is judged by the usual 95 % interval, one end of which may err in 2.5 %; `LATER` of it to
    the others, in proportion to 1 / k, up to `policy.tries`. The rest is kept: far out, the ends of a
    bootstrap are of few draws, and a candidate may seem cheaper by luck. By the union bound all together err in no
    more, however the tries hang together. Later ones cost as much as the last; by then the gate asks a person.

    >>> spent(1, Policy()), round(sum(spent(k, Policy()) for k in range(1, 53)), 12)
    (0.025, 0.0325)
    """
    if tries <= 1:
        return policy.alpha / 2
    shares = sum(1 / k for k in range(2, policy.tries + 1))
    return policy.alpha * LATER / min(tries, policy.tries) / shares


def level(tries: int, policy: Policy) -> float:
    """The level of the two-sided interval by which the `tries`-th candidate against one champion is judged.

    >>> level(1, Policy()), round(level(2, Policy()), 4), round(level(52, Policy()), 5)
    (0.95, 0.9979, 0.99992)
    """
    return 1 - 2 * spent(tries, policy)


def better(report: Mapping[str, Any], policy: Policy) -> Check:
    """The whole paired interval of candidate less champion lies above zero. Touching zero is not above it.

    Or it lies above minus the margin, and the candidate is cheaper; if it is cheaper and only not proven worse, a
    person is asked. A champion that learnt from somebody who was erased, and is to be trained again, is replaced by
    whatever is not proven worse: it has to go for another reason than its merit.
    """
    paired, metric = inside(report, "paired"), report.get("primary", "")
    low, mean, high = (number(paired, name) for name in ("low", "mean", "high"))
    if low is None or mean is None or high is None or not low <= mean <= high or paired.get("metric") != metric:
        return Check(
            "better", False, None, 0.0, f"the report holds no paired interval of {metric or 'its primary metric'}"
        )
    span = f"{metric} {mean:+.4f} against the champion, interval {low:+.4f} to {high:+.4f}"
    if low > 0:
        return Check("better", True, low, 0.0, f"better: {span}")
    if due(report, "champion") == "retrain" and high >= 0:
        why = f"not proven worse: {span}; that one learnt from somebody who was erased, and is to be replaced"
        return Check("better", True, high, 0.0, why)
    saving, theirs = cheaper(report, policy), number(inside(report, "systems", "champion", str(metric)), "mean")
    if saving is None or theirs is None or high < 0:
        return Check("better", False, low, 0.0,
                     f"{'worse' if high < 0 else 'not proven better'}: {span}{detectable(report)}")  # fmt: skip
    margin = policy.worse * abs(theirs)
    told = f"{saving}: {span}, margin {margin:.4f} ({policy.worse:.0%} of the champion's {theirs:.4f})"
    if low > -margin:
        return Check("better", True, low, -margin, f"not worse, and {told}")
    return Check("better", False, low, -margin, f"undecided, but {told}", asks=True)


def detectable(report: Mapping[str, Any]) -> str:
    """What the test could have shown, for the reason of a refusal."""
    least, power = (number(inside(report, "power"), name) for name in ("detectable", "power"))
    return "" if least is None or power is None else f"; of {least:+.4f} the test shows {power:.0%}"


def cheaper(report: Mapping[str, Any], policy: Policy) -> str | None:
    """What the candidate saves, in words, if it is enough and costs nothing else; None if not, or if it is not known.

    Of time both p50 and p99 have to be saved: two measurements of one model in turns, on a busy machine, differ in one
    of them by more than a fifth now and then, in both hardly ever.
    """
    sizes = [number(inside(report, "size_bytes"), role) for role in ("candidate", "champion")]
    times = [number(inside(report, role), name) for name in ("p50", "p99")
             for role in ("latency_ms", "latency_champion_ms")]  # fmt: skip
    known = [value for value in (*sizes, *times) if value is not None]
    if len(known) < len(sizes) + len(times):
        return None
    size, size_theirs, low, low_theirs, high, high_theirs = known
    less, more = 1 - policy.cheaper, 1 + policy.cheaper
    if size <= less * size_theirs and high <= max(more * high_theirs, high_theirs + NOTICED_MS):
        return f"smaller: {size / 1e6:.1f} MB in place of {size_theirs / 1e6:.1f}"
    if low > less * low_theirs or high > less * high_theirs or high_theirs - high < NOTICED_MS:
        return None
    return f"faster: p99 {high:.1f} ms in place of {high_theirs:.1f}" if size <= more * size_theirs else None


def tried(report: Mapping[str, Any], policy: Policy) -> Check:
    """The interval was made at the level that so many tries ask for."""
    count, made = number(inside(report, "tries"), "number"), number(inside(report, "paired"), "level")
    if count is None or count < 1 or count != int(count):
        return Check("tries", False, None, level(1, policy),
                     "the report does not say how many candidates were tried against this champion")  # fmt: skip
    needed = level(int(count), policy)
    if made is None or not needed - 1e-9 <= made < 1:
        return Check("tries", False, made, needed,
                     f"candidate {count:.0f} against this champion needs an interval of {needed:.3%}, "
                     f"not of {'no known level' if made is None else format(made, '.3%')}: evaluate again")  # fmt: skip
    if count > policy.tries:
        why = (f"candidate {count:.0f} against this champion: what may be spent on chance is spent after "
               f"{policy.tries}, so that figures alone decide no more")  # fmt: skip
        return Check("tries", False, count, float(policy.tries), why, asks=True)
    return Check("tries", True, made, needed,
                 f"candidate {count:.0f} against this champion, judged by an interval of {made:.3%}")  # fmt: skip


def due(report: Mapping[str, Any], role: str) -> str | None:
    """What is to become of a role's bundle since somebody it learnt from was erased; None if nobody was."""
    return inside(report, "due").get(role)


def forgotten(report: Mapping[str, Any]) -> list[Check]:
    """A candidate cannot serve that learnt from somebody who was erased since, if it is to be retrained or retired."""
    if (word := due(report, "candidate")) not in ("retrain", "retire"):
        return []
    return [Check("forgotten", False, 1.0, 0.0, f"it learnt from somebody who was erased since; to do: {word}")]


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


def private(report: Mapping[str, Any], policy: Policy) -> list[Check]:
    """Every part of the candidate that learnt from visitors was attacked, and gave none of them away.

    `learnt_from_visitors` names the parts; an empty list (a baseline) exempts. An attack that misses its canary has
    shown nothing, so that what it found does not count.
    """
    parts = report.get("learnt_from_visitors")
    if not isinstance(parts, list):
        return [Check("membership", False, None, policy.membership_auc,
                      "the report does not say what of the candidate learnt from visitors")]  # fmt: skip
    found = inside(report, "privacy")
    entries = {str(part): inside(found, f"membership: {part}") for part in parts}
    few = {part: least for part, entry in entries.items() if (least := number(entry, "few")) is not None}
    return [
        *([crowd(few, policy)] if few else []),
        *(check for part, entry in entries.items() if part not in few for check in membership(part, entry, policy)),
        *(attribute(str(name), entry, policy) for name, entry in found.items()
          if str(name).startswith("attributes: ") and inside(found, name).get("attributes")),
    ]  # fmt: skip


def crowd(few: Mapping[str, float], policy: Policy) -> Check:
    """One refusal for all parts that too few visitors taught, or were held out of; `few` says how many."""
    least, needed = min(few.values()), policy.strangers
    return Check(
        "membership: visitors", False, least, float(needed),
        f"too few visitors to prove what a model learnt of them: an attack on {', '.join(few)} needs {needed} who "
        f"taught it and {needed} who were held out of training (the split 'nonmember' of the examples, a fifth of the "
        f"visitors), and there are {least:.0f}; below some {5 * needed} visitors no trained model can be promoted. "
        "To do: let the champion serve; import more visitors, then make the examples, train and evaluate again",
    )  # fmt: skip


def membership(part: str, found: Mapping[str, Any], policy: Policy) -> tuple[Check, Check]:
    """Whether an attack told members of a part's training from others: by the whole curve, and where it is surest."""
    name, whole, surest = f"membership: {part}", found, inside(found, "tpr")
    reason = unproven(found, policy)
    area, rate, chance = number(whole, "figure"), number(surest, "figure"), number(surest, "fpr")
    allowed = policy.lift * chance if chance is not None else 0.0
    fault = f"{part}: {reason or 'the attack has no figures'}"
    if reason is not None or area is None:
        first = Check(name, False, area, policy.membership_auc, fault)
    else:
        first = Check(name, area <= policy.membership_auc, area, policy.membership_auc,
                      f"{part}: an attack tells members from others with an area of {area:.3f} under the curve"
                      f"{_span(whole)}, limit {policy.membership_auc:g}")  # fmt: skip
    if reason is not None or rate is None or chance is None:
        second = Check(f"{name}, surest", False, rate, allowed, fault)
    else:
        second = Check(
            f"{name}, surest",
            rate <= allowed,
            rate,
            allowed,
            f"{part}: it names {rate:.1%} of members where it names {chance:.1%} of others, limit {allowed:.1%}",
        )
    return first, second


def attribute(name: str, found: Mapping[str, Any], policy: Policy) -> Check:
    """Whether training gave visitors' attributes away; a shop that knows no attributes has none to give."""
    limit, ends = policy.attribute_gain, found.get("interval")
    low = number({"low": ends[0]}, "low") if isinstance(ends, list) and ends else None
    if inside(found, "canary").get("caught") is not True or low is None:
        return Check(name, False, None, limit, f"{name}: the attack missed its canary, so that it has shown nothing")
    return Check(name, low <= limit, low, limit,
                 f"{name}: by what was learnt a probe surely guesses an attribute of {low:+.1%} of visitors"
                 f"{_span(found)}, limit {limit:+.1%}")  # fmt: skip


def unproven(found: Mapping[str, Any], policy: Policy) -> str | None:
    """Why the figures of an attack on membership mean nothing; None if they do."""
    if not found:
        return "it was not attacked"
    if found.get("invalid"):
        return str(found["invalid"])
    if inside(found, "canary").get("caught") is not True:
        return "the attack missed its canary, so that what it found does not count"
    strangers = number(found, "nonmembers")
    if strangers is None or strangers < policy.strangers:
        return f"{strangers or 0:.0f} visitors were held out of training, at least {policy.strangers} needed"
    return None


def _span(values: Mapping[str, Any]) -> str:
    ends = values.get("interval")
    low, high = (
        (number({"end": end}, "end") for end in ends) if isinstance(ends, list) and len(ends) == 2 else (None,) * 2
    )
    return "" if low is None or high is None else f" (interval {low:.3f} to {high:.3f})"


def unskewed(report: Mapping[str, Any], policy: Policy) -> list[Check]:
    """What the candidate will look up is what it learnt from. `features` names the services it asks; none exempts."""
    asked = report.get("features")
    if not isinstance(asked, list):
        return [
            Check("skew", False, None, policy.skew, "the report does not say which features the candidate asks for")
        ]
    if not asked:
        return []
    found = inside(report, "skew")
    wrong, draws = number(found, "mismatches"), number(found, "draws")
    again = f"run 'python -m jobs skew --shop {report.get('shop', 'SHOP')}', then evaluate again"
    if wrong is None or draws is None:
        why = f"whether look-ups equal what training was told was not measured: {again}"
        return [Check("skew", False, None, policy.skew, why)]
    if draws < policy.draws:
        why = f"{draws:.0f} draws were compared for skew, at least {policy.draws} needed: {again}"
        return [Check("skew", False, wrong, policy.skew, why)]
    told = f"{wrong:.0f} mismatches between training and serving in {draws:.0f} draws, limit {policy.skew}"
    return [Check("skew", wrong <= policy.skew, wrong, policy.skew, told)]


# --- No segment worse ---


def segments(report: Mapping[str, Any], policy: Policy) -> list[Check]:
    """A check for each segment that is worse, or that says too little; and one for all the others together."""
    found = report.get("segments")
    if not isinstance(found, list):
        return [
            Check("segments", False, None, policy.segment_alpha, "the report does not say which segments it judged")
        ]
    failed = [check for entry in found if (check := segment(entry, report, policy)) is not None]
    judged = [entry for entry in found if isinstance(entry, Mapping) and not entry.get("small")]
    if not judged:
        why = f"none of {len(found)} segments has the {policy.segment_least} needed to judge it"
        return [*failed, Check("segments", False, 0.0, 1.0, why, asks=True)]
    if failed:
        return failed
    least = min(number(entry, "p_holm") or 0.0 for entry in judged)
    why = (f"none of {len(judged)} segments is worse than its margin (smallest p {least:.3f} after Holm); "
           f"{len(found) - len(judged)} are too small to judge")  # fmt: skip
    return [Check("segments", True, least, policy.segment_alpha, why)]


def segment(entry: Any, report: Mapping[str, Any], policy: Policy) -> Check | None:
    """What is wrong with one segment; None if nothing is.

    A protected group may be worse within its margin too, but not without a person's word.
    """
    told = inside({"entry": entry}, "entry")
    kind, of = str(told.get("kind") or "?"), str(told.get("name") or "?")
    name = f"segment: {kind}, {of}"
    size, left_out = number(told, "clusters"), told.get("small", False)
    if size is None or size < 0 or left_out is not (size < policy.segment_least):
        fault = "left out as too small" if left_out else "judged"
        why = f"{kind} {of}: {'no count of clusters' if size is None else format(size, '.0f')}, and yet {fault}"
        why += f"; at least {policy.segment_least} are judged"
        return Check(name, False, size, float(policy.segment_least), why)
    if left_out:
        return None
    low, mean, high, margin = (number(told, word) for word in ("low", "mean", "high", "margin"))
    raw, held = number(told, "p_worse"), number(told, "p_holm")
    whole = None not in (low, mean, high, margin) and isinstance(told.get("protected"), bool)
    if not whole or raw is None or held is None or not 0 <= raw <= held <= 1 or not _fit(low, mean, high, margin):
        return Check(name, False, None, policy.segment_alpha, f"{kind} {of}: figures are missing, or do not fit")
    who = f"{kind} {of}{', a protected group' if told.get('protected') else ''}"
    span = (f"{report.get('primary', '')} {mean:+.4f}, interval {low:+.4f} to {high:+.4f}, margin {margin:.4f}, "
            f"{size:.0f} judged")  # fmt: skip
    if held <= policy.segment_alpha:
        return Check(name, False, held, policy.segment_alpha,
                     f"{who}: worse than its margin: {span}, p {held:.4f} after Holm")  # fmt: skip
    if raw <= policy.segment_doubt:
        return Check(name, False, raw, policy.segment_doubt,
                     f"{who}: looks worse than its margin, but that is not proven: {span}, p {raw:.4f}, "
                     f"{held:.4f} after Holm", asks=True)  # fmt: skip
    if told.get("protected") and high is not None and high < 0:
        return Check(name, False, high, 0.0, f"{who}: worse within its margin: {span}", asks=True)
    return None


def _fit(low: float | None, mean: float | None, high: float | None, margin: float | None) -> bool:
    return (low or 0.0) <= (mean or 0.0) <= (high or 0.0) and (margin or 0.0) >= 0


# --- Within limits ---


def small(report: Mapping[str, Any], policy: Policy) -> Check:
    """The bundle takes no more room than the limit."""
    size, limit = number(inside(report, "size_bytes"), "candidate"), policy.size_bytes
    said = "the size is not known" if size is None else f"{size / 1e6:.1f} MB, limit {limit / 1e6:.0f} MB"
    return Check("size", size is not None and 0 < size <= limit, size, float(limit), said)


def calibrated(report: Mapping[str, Any], policy: Policy) -> Check:
    """Scores that are given as probabilities come true: within the limit, or no farther off than the champion's."""
    found = report.get("calibration")
    if (why := exempt(found)) is not None:
        return Check("calibration", True, None, policy.ece, f"no calibration: {why}")
    error, theirs = (number(inside(found, role), "ece") for role in ("candidate", "champion"))
    if error is None or not 0 <= error <= 1:
        return Check("calibration", False, None, policy.ece, "calibration was not measured, nor is it said why")
    limit = max(policy.ece, theirs) if theirs is not None and 0 <= theirs <= 1 else policy.ece
    said = f"expected calibration error {error:.3f}, limit {limit:.3f}"
    said += " (the champion's)" if limit > policy.ece else ""
    return Check("calibration", error <= limit, error, limit, said)


def diverse(report: Mapping[str, Any], policy: Policy) -> list[Check]:
    """Answers are not much more alike, nor much narrower, than the champion's."""
    found = report.get("diversity")
    if (why := exempt(found)) is not None:
        return [Check("diversity", True, None, policy.diversity, f"no diversity: {why}")]
    return [_diverse(name, found, policy) for name in (*SHOWN, *ESTIMATED)]


def _diverse(name: str, found: Any, policy: Policy) -> Check:
    ours, theirs = (number(inside(found, role), name) for role in ("candidate", "champion"))
    word = name.replace("_", "-")
    if ours is None or theirs is None or min(ours, theirs) < 0:
        return Check(f"diversity: {word}", False, ours, 0.0, f"{word} of the answers was not measured for both")
    limit = policy.diversity * theirs
    said = f"{word} {ours:.4f}, the champion's {theirs:.4f}, limit {limit:.4f}"
    return Check(f"diversity: {word}", ours >= limit, ours, limit, said, asks=name in ESTIMATED)


def exempt(found: Any) -> str | None:
    """Why a figure does not apply; None where it does, or where nothing is said."""
    why = inside({"found": found}, "found").get("exempt")
    return why if isinstance(why, str) and why.strip() else None


def fresh(report: Mapping[str, Any], policy: Policy) -> Check:
    """What was judged is of the shop's own now: not of days long before the newest that it has published."""
    newest, seen = (_day(report.get(name)) for name in ("newest", "seen"))
    if newest is None or seen is None or _time(report.get("written_at")) is None:
        why = "the report does not say when it was written, how new what it judged is, or the shop's newest day"
        return Check("freshness", False, None, float(policy.age_days), why)
    age = float((seen - newest).days)
    said = f"judged up to {newest}, {age:.0f} days before the shop's newest, limit {policy.age_days}"
    return Check("freshness", age <= policy.age_days, age, float(policy.age_days), said)


def _time(value: Any) -> datetime | None:
    try:
        return datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None


def _day(value: Any) -> date | None:
    return moment.date() if (moment := _time(value)) is not None else None


def reproduced(report: Mapping[str, Any]) -> Check:
    """The candidate, opened anew with the same seed and data, gave the same figures again."""
    found = inside(report, "reproduced")
    same, first = found.get("same"), found.get("first")
    if not isinstance(same, bool) or first is None:
        return Check("reproduced", False, None, 1.0, "whether the figures can be made again was not tried")
    same = same and first == found.get("again")
    said = f"made again, the figures {'are the same' if same else 'differ'}"
    return Check("reproduced", same, float(same), 1.0, said)


# --- The answer ---


def gates(report: Mapping[str, Any], policy: Policy | None = None) -> Verdict:
    """Whether the report's candidate may serve. The proof against the champion is the first gate."""
    held = policy or Policy()
    checks = (
        better(report, held),
        enough(report, held),
        quick(report, held),
        tried(report, held),
        *segments(report, held),
        small(report, held),
        calibrated(report, held),
        *diverse(report, held),
        fresh(report, held),
        reproduced(report),
        *private(report, held),
        *unskewed(report, held),
        *forgotten(report),
    )
    return Verdict(answered(checks), checks, held)


def answered(checks: Iterable[Check]) -> Answer:
    """One check that refuses outweighs all that ask; one that asks outweighs all that passed."""
    failed = [check for check in checks if not check.passed]
    return "accept" if not failed else "ask" if all(check.asks for check in failed) else "refuse"
