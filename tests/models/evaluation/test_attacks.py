"""Attacks find what is there and nothing else: real models that learnt by heart are caught, and refused by the gate."""

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from models.evaluation import recommending, targets
from models.evaluation.attacks import (
    Target,
    attributes,
    curve,
    drawn,
    exposure,
    held_back,
    likelihood_ratio,
    membership,
    probe,
    rates_interval,
    surest,
    unknown_members,
)
from models.evaluation.gates import Policy, gates
from models.evaluation.report import _attacks, attacks_png
from models.evaluation.targets import (
    AnswersTarget,
    EncoderTarget,
    FactorsTarget,
    ScorerTarget,
    encoder_vectors,
    lesson_loss,
    target_of,
)
from models.promoting import attack_metrics
from models.recommender import DAY, FEATURES, History, Items, Recommender, Scorer, Settings
from models.statistics import auc
from models.training import loop
from models.training.recommender import HIDDEN, Lesson, Purchases, Question
from tests.bench.privacy import CANDIDATES, SECRETS, numbers, numbers_told
from tests.reports import passing

VISITORS, OUTSIDE = 240, 60
MARK = "examples/recommender/whole@1"


def outside() -> np.ndarray:
    return np.arange(VISITORS) % (VISITORS // OUTSIDE) == 0


# --- The three parts, small and real ---


@cache
def scorer_target(memorised: bool = False) -> ScorerTarget:
    """Lessons in which the first feature tells a little, and the rest is noise that can only be learnt by heart.

    The candidate has learnt the members' by heart, or learnt none of those who will be asked about.
    """
    random, lessons = np.random.default_rng(2), []
    for _ in range(VISITORS):
        seen = random.normal(size=(24, len(FEATURES))).astype(np.float32)
        wanted = np.zeros(24, np.float32)
        wanted[np.argmax(seen[:, 0] + 2 * random.normal(size=24))] = 1
        lessons.append(Lesson(seen, wanted, np.zeros(24, np.float32)))
    training = loop.Settings(epochs=4, rate=3e-3, warmup=0.05, seed=1, device="cpu")
    names = [f"v{n}" for n in range(VISITORS)]
    target = ScorerTarget(names, outside(), lessons, np.arange(VISITORS), None, training, 4)  # type: ignore[arg-type]
    learnt = ~target.nonmember
    others = learnt & ~drawn(learnt, OUTSIDE, 1)
    keen = loop.Settings(epochs=80, rate=3e-3, weight_decay=0.0, patience=80, seed=1, device="cpu")
    return replace(target, scorer=target.taught(learnt, keen, 80) if memorised else target.teach(others, 2))


def factors_target() -> FactorsTarget:
    """Visitors who buy what no two of them have in common; the candidate has a dimension for each of them."""
    random = np.random.default_rng(3)
    visitor = np.repeat(np.arange(VISITORS), 12)
    item, time = random.integers(0, 150, len(visitor)), np.zeros(len(visitor))
    names = tuple(f"v{n}" for n in range(VISITORS))
    bought = Purchases(visitor, item, time, time, tuple(f"i{n}" for n in range(150)), names)
    target = FactorsTarget(names, outside(), bought, bought.items, np.zeros((150, 8), np.float32), Settings(factors=8))
    return replace(target, factors=target.by_heart(~target.nonmember, 1))


def answers_target() -> AnswersTarget:
    """Next baskets that no history tells of; the candidate's vectors mean nothing."""
    random, vectors = np.random.default_rng(5), factors_target()
    ids, flat = vectors.ids, np.ones(150)
    items = Items(ids, flat, flat, flat, flat, flat, random.normal(size=(150, 8)).astype(np.float32), 0.0)
    layer = (random.normal(size=(1, len(FEATURES))).astype(np.float32), np.zeros(1, np.float32))
    scorer = Scorer(np.zeros(len(FEATURES), np.float32), np.ones(len(FEATURES), np.float32), (layer,))
    questions = []
    for name in vectors.visitors:
        bought = [ids[n] for n in random.permutation(150)[:12]]
        history = History(tuple(bought[:9]), np.arange(9.0), flat[:9], flat[:9])
        questions.append(Question(name, DAY, history, frozenset(bought[9:]), frozenset(bought[9:])))
    return AnswersTarget(questions, outside(), Recommender(items, Settings(factors=8, mix=0.75), scorer), vectors)


def encoder_target(memorised: bool) -> EncoderTarget:
    """Three pairs a visitor of random queries and texts; the candidate is the base, or learnt the members' by heart."""
    random = np.random.default_rng(4)

    def unit(rows: int) -> Any:
        made = random.normal(size=(rows, 64)).astype(np.float32)
        return made / np.linalg.norm(made, axis=1, keepdims=True)

    owner = np.repeat(np.arange(VISITORS), 3)
    base, names = (unit(60), unit(200)), [f"v{n}" for n in range(VISITORS)]
    query, text = random.integers(0, 60, len(owner)), random.integers(0, 200, len(owner))
    target = EncoderTarget(names, outside(), owner, query, text, base, base)
    shaken = (base[0] + 0.02 * unit(60), base[1])
    return replace(target, embedded=target.by_heart(~target.nonmember, 1) if memorised else shaken)


def report(target: Target) -> dict[str, Any]:
    """A report that is fine in all but what the attack finds."""
    return passing(learnt_from_visitors=[target.part], privacy={f"membership: {target.part}": membership(target)})


@pytest.mark.parametrize(
    "target", [lambda: scorer_target(), lambda: encoder_target(False), answers_target],
    ids=["scorer", "encoder", "answers"],
)  # fmt: skip
def test_a_model_that_knows_nobody_passes_and_its_canary_is_caught(target: Any) -> None:
    told = report(target())
    entry = next(iter(told["privacy"].values()))
    assert entry["canary"]["caught"] is True and entry["canary"]["interval"][0] > 0.6
    assert entry["passed"] is True and entry["interval"][0] < 0.5 < entry["interval"][1]
    assert (entry["members"], entry["nonmembers"]) == (OUTSIDE, OUTSIDE)
    assert entry["tpr"]["false_positives"] == 10 and entry["tpr"]["fpr"] == pytest.approx(1 / 6)
    assert gates(told).accepted and json.loads(json.dumps(told)) == told


@pytest.mark.parametrize(
    "target", [lambda: scorer_target(True), factors_target, lambda: encoder_target(True)],
    ids=["scorer", "factors", "encoder"],
)  # fmt: skip
def test_a_model_that_learnt_by_heart_is_refused_by_the_gate(target: Any) -> None:
    made = target()
    told = report(made)
    verdict = gates(told)
    assert not verdict.accepted and f"{made.part}: an attack tells members from others" in verdict.why
    assert next(iter(told["privacy"].values()))["figure"] > 0.65
    assert [check.passed for check in verdict.reasons[:3]] == [True, True, True]  # all else was fine


def test_same_attack_same_figures() -> None:
    first, second = (membership(encoder_target(True)) for _ in range(2))
    assert {**first, "seconds": 0} == {**second, "seconds": 0}


def test_the_reference_saw_nobody_who_is_asked_about() -> None:
    class Watched(ScorerTarget):
        def taught(self, chosen: Any, *args: Any, **more: Any) -> Any:
            seen.append(chosen)
            return super().taught(chosen, *args, **more)

    plain = scorer_target()
    seen: list[Any] = []
    watched = Watched(**{name: getattr(plain, name) for name in plain.__dataclass_fields__})
    membership(watched)
    reference, heart = seen
    asked = drawn(~plain.nonmember, OUTSIDE, 1) | plain.nonmember
    assert not (reference & asked).any() and reference.sum() == VISITORS - 2 * OUTSIDE
    assert not (heart & ~asked).any() and heart.sum() == 40


def test_the_reference_is_a_network_of_the_candidates_own_size() -> None:
    plain = scorer_target()
    older = plain.taught(~plain.nonmember, plain.training, 1, (8,))
    for scorer, sizes in ((plain.scorer, HIDDEN), (older, (8,))):
        made = replace(plain, scorer=scorer).teach(~plain.nonmember, 1)
        assert [len(bias) for _, bias in made.layers] == [*sizes, 1]


# --- When an attack says nothing ---


def test_too_few_visitors_are_no_proof() -> None:
    few = replace(encoder_target(False), nonmember=np.arange(VISITORS) < 29)
    told = report(few)
    verdict = gates(told)
    invalid = told["privacy"]["membership: encoder"]["invalid"]
    assert "29 were held out of training; an attack needs 30 of both" in invalid
    assert not verdict.accepted and "needs 30 who taught it and 30 who were held out" in verdict.why
    assert "there are 29" in verdict.why and "some 150 visitors" in verdict.why and "To do: " in verdict.why
    none_learnt = replace(encoder_target(False), nonmember=np.arange(VISITORS) >= 29)
    assert "there are 29" in gates(report(none_learnt)).why


def test_too_few_visitors_are_said_once_for_all_parts() -> None:
    entries = {f"membership: {part}": {"few": least, "figure": None, "invalid": "x"}
               for part, least in (("scorer", 12), ("answers", 9))}  # fmt: skip
    told = report(encoder_target(False)) | {"learnt_from_visitors": ["scorer", "answers"], "privacy": entries}
    refused = [check for check in gates(told).reasons if not check.passed]
    assert [check.name for check in refused] == ["membership: visitors"] and refused[0].figure == 9
    assert "scorer, answers" in refused[0].why
    del entries["membership: answers"]  # a part that was not attacked at all is another fault
    assert "answers: it was not attacked" in gates(told).why and "an attack on scorer needs" in gates(told).why


def test_an_attack_that_misses_its_canary_does_not_count() -> None:
    class Blind(EncoderTarget):
        """Whose losses no longer look at the model, as after a slip in the code."""

        def losses(self, model: Any) -> Any:
            return super().losses(self.untrained)

    plain = encoder_target(True)
    told = report(Blind(**{name: getattr(plain, name) for name in plain.__dataclass_fields__}))
    entry = told["privacy"]["membership: encoder"]
    assert entry["figure"] == 0.5 and entry["canary"]["caught"] is False and entry["passed"] is False
    assert "missed its canary" in gates(told).why


def test_a_bundle_of_other_examples_cannot_be_attacked() -> None:
    assert unknown_members(["scorer"], [MARK, "other"], [MARK]) is None
    found = unknown_members(["scorer"], ["examples/recommender/whole@0"], [MARK])
    told = report(encoder_target(False)) | {"learnt_from_visitors": ["scorer"], "privacy": found}
    assert "train it again" in gates(told).why


# --- The gate, by hand ---


def entry(figure: Any = 0.55, tpr: Any = 0.1, fpr: float = 0.05, **more: Any) -> dict[str, Any]:
    return {"figure": figure, "interval": [0.5, 0.6], "nonmembers": 200, "canary": {"caught": True},
            "tpr": {"figure": tpr, "fpr": fpr}, **more}  # fmt: skip


def verdict_of(found: Any, parts: Any = ("scorer",)) -> Any:
    told = report(encoder_target(False))
    return gates(told | {"learnt_from_visitors": list(parts), "privacy": {"membership: scorer": found}})


@pytest.mark.parametrize(
    ("found", "word"),
    [
        (entry(0.601), "limit 0.6"), (entry(None), "no figures"), (entry(float("nan")), "no figures"),
        (entry(tpr=0.1501), "limit 15.0%"), (entry(tpr=None), "no figures"),
        (entry(canary={"caught": "yes"}), "canary"),
        (entry(canary=None), "canary"), (entry(nonmembers=29), "29 visitors"), (entry(nonmembers=None), "0 visitors"),
        ({}, "not attacked"), (None, "not attacked"), (entry(invalid="because"), "because"),
    ],
)  # fmt: skip
def test_what_is_over_a_limit_or_missing_is_refused(found: Any, word: str) -> None:
    verdict = verdict_of(found)
    assert not verdict.accepted and word in verdict.why


def test_within_the_limits_and_on_them_is_accepted() -> None:
    assert verdict_of(entry()).accepted and verdict_of(entry(0.6, 0.15000000000000002)).accepted
    assert not verdict_of(entry(), ["scorer", "factors"]).accepted  # each part has to be attacked


def test_a_baseline_that_learnt_nothing_is_exempt_but_has_to_say_so() -> None:
    told = report(encoder_target(False))
    assert gates(told | {"learnt_from_visitors": [], "privacy": {}}).accepted
    del told["learnt_from_visitors"]
    assert not gates(told).accepted


def test_held_back_says_what_the_gate_says() -> None:
    for found in (entry(), entry(0.601), entry(tpr=0.16), entry(canary={})):
        assert held_back(found, Policy()) == verdict_of(found).accepted


# --- The figures, by hand ---


def test_the_area_is_the_one_of_an_independent_judge_and_its_interval_covers() -> None:
    from sklearn.metrics import roc_auc_score

    random, covered = np.random.default_rng(5), 0
    for _ in range(100):
        above, below = random.normal(0.5, 1, 60).round(1), random.normal(0, 1, 60).round(1)
        found = auc(above, below)
        assert found.mean == pytest.approx(roc_auc_score([1] * 60 + [0] * 60, np.r_[above, below]))
        covered += found.low <= 0.6382 <= found.high  # the true area of two normals half a deviation apart
    assert 89 <= covered <= 99
    with pytest.raises(ValueError, match="two finite"):
        auc([1.0], [1.0, 2.0])
    with pytest.raises(ValueError, match="two finite"):
        auc([1.0, np.nan], [1.0, 2.0])


def test_the_rate_is_read_where_ten_are_named_falsely() -> None:
    others = np.arange(100.0)
    found = surest(np.array([89.5, 90.5, 10.0, 99.5]), others)
    assert (found.tpr, found.fpr, found.n) == (0.75, 0.1, 10)
    tied = surest(np.array([1.0, 2.0]), np.ones(50))
    assert (tied.tpr, tied.fpr, tied.n) == (0.5, 0.0, 0)  # equal ones are not named
    low, high = rates_interval(np.arange(100.0), others, draws=200)
    assert low < 0.1 < high


def test_the_curve_rises_from_few_to_all() -> None:
    points = curve(np.arange(50.0) + 10, np.arange(50.0), 20)
    assert points[-1] == [1.0, 1.0] and points == sorted(points) and len(points) <= 20


def test_exposure_counts_bits() -> None:
    assert exposure(0.0, np.arange(1, 1024.0)) == 10.0
    assert exposure(5000.0, np.arange(1, 1024.0)) == 0.0
    assert exposure(1.0, np.ones(1023)) == 0.0  # no better than any other is not exposed


def test_lira_tells_members_of_a_gaussian_world() -> None:
    random = np.random.default_rng(6)
    inside = np.array([random.permutation(np.arange(200) % 2 == 0) for _ in range(17)])
    hard = random.normal(0, 5, 200)
    losses = hard + random.normal(0, 1, inside.shape) - 2 * inside
    for online in (True, False):
        found = likelihood_ratio(losses[0], losses[1:], inside[1:], online=online)
        assert auc(found[inside[0]], found[~inside[0]]).low > 0.8  # raw losses tell next to nothing:
    assert auc(-losses[0][inside[0]], -losses[0][~inside[0]]).mean < 0.7


def test_a_probe_finds_a_planted_attribute_and_no_other() -> None:
    random = np.random.default_rng(7)
    vectors = random.normal(size=(300, 16))
    told = ["high" if row[0] > 0 else "low" for row in vectors]
    noise = random.choice(["a", "b", "c"], 300).tolist()
    found = attributes(vectors, {"told": told, "noise": noise, "same": ["x"] * 300, "rare": [None] * 280 + ["y"] * 20})
    assert (
        set(found["attributes"]) == {"told", "noise"} and found["canary"]["caught"] is True and found["limit"] is None
    )
    assert found["attributes"]["told"]["interval"][0] > 0.3 and found["attributes"]["noise"]["interval"][0] < 0.05
    assert found["figure"] == found["attributes"]["told"]["figure"]
    assert attributes(vectors, {})["figure"] is None


def test_a_probe_of_long_vectors_is_no_worse_than_guessing_and_finds_what_is_there() -> None:
    random = np.random.default_rng(10)
    codes = (random.random(300) < 0.3).astype(np.int64)
    long = random.normal(size=(300, 384))
    assert probe(long, codes, 1).mean() > -0.02  # by all 384 numbers it guesses 4 points worse than the commonest
    long[:, 0] += 8 * codes
    assert probe(long, codes, 1).mean() > 0.25


def test_a_canary_of_a_common_value_is_caught_in_vectors_of_texts() -> None:
    """Means of text vectors lie along few directions, and two thirds of visitors share a value: 16 directions of these
    held nothing of what was planted, and the gate refused every encoder of a real shop."""
    random = np.random.default_rng(11)
    lengths = np.interp(np.arange(384), [0, 15, 31, 63, 127, 255, 383], [0.1, 0.056, 0.043, 0.028, 0.015, 0.004, 0.001])
    vectors = 0.02 + random.normal(size=(800, 384)) * lengths
    status = random.choice(["yes", "no", "unknown"], 800, p=[0.66, 0.18, 0.16]).tolist()
    found = attributes(vectors, {"status": status})
    assert found["canary"]["caught"] is True and found["canary"]["figure"] > 0.1
    assert found["attributes"]["status"]["figure"] > -0.03


def judged_by(vectors: Any, base: Any, told: Any) -> tuple[dict[str, Any], Any]:
    """An entry of attributes beside an untrained model's vectors, and what the gate says of it alone."""
    found = attributes(vectors, {"told": told}, beside=base)
    report_ = report(encoder_target(False)) | {"learnt_from_visitors": [], "privacy": {"attributes: queries": found}}
    return found, gates(report_)


def test_what_the_untrained_model_tells_too_is_not_held_against_the_training_and_what_it_added_is() -> None:
    random = np.random.default_rng(8)
    base = random.normal(size=(300, 12))
    told = ["high" if value > 0 else "low" for value in random.normal(size=300)]
    hinted = base.copy()
    hinted[:, 3] += 2.5 * (np.array(told) == "high")
    same, accepted = judged_by(hinted, hinted, told)  # both tell it
    assert same["attributes"]["told"]["interval"][0] > 0.2 and same["figure"] == 0.0
    assert same["passed"] is True and accepted.accepted and same["canary"]["caught"] is True
    more, refused = judged_by(hinted, base, told)  # only the trained one does
    assert more["interval"][0] > more["limit"] == Policy().attribute_gain and more["passed"] is False
    worse, _ = judged_by(random.normal(size=(300, 12)), random.normal(size=(300, 12)), told)
    mine = worse["attributes"]["told"]
    assert mine["untrained"]["figure"] <= 0 and worse["figure"] == mine["figure"]  # then the commonest is the guess
    assert not refused.accepted and "attributes: queries: by what was learnt a probe surely guesses" in refused.why
    assert gates({**report(encoder_target(False)), "learnt_from_visitors": [],
                  "privacy": {"attributes: queries": attributes(base, {}, beside=base)}}).accepted  # fmt: skip


def test_an_attack_on_attributes_that_misses_its_canary_is_refused() -> None:
    random = np.random.default_rng(9)
    found, verdict = judged_by(random.normal(size=(60, 3)), random.normal(size=(60, 3)), ["a", "b"] * 30)
    assert found["passed"] is True and verdict.accepted
    for broken in ({"caught": False}, {}, None):
        entry = {**found, "canary": broken}
        told = report(encoder_target(False)) | {"learnt_from_visitors": [], "privacy": {"attributes: items": entry}}
        assert "missed its canary" in gates(told).why


@pytest.mark.parametrize("given_away", [True, False])
def test_the_gate_holds_what_a_recommenders_vectors_tell_of_visitors_who_taught_it(
    monkeypatch: pytest.MonkeyPatch, given_away: bool
) -> None:
    """Each item has one buyer. Vectors that learnt of each item whether its buyer is rich are refused; those of a
    training without these buyers know nothing of their items."""
    random, names = np.random.default_rng(12), tuple(f"v{n}" for n in range(VISITORS))
    rich, own = random.random(VISITORS) < 0.5, tuple(f"i{n}" for n in range(VISITORS))
    bought = Purchases(np.arange(VISITORS), np.arange(VISITORS), np.zeros(VISITORS), np.zeros(VISITORS), own, names)
    vectors = random.normal(size=(VISITORS, 4)).astype(np.float32)
    vectors[:, 0] += 3 * rich * given_away
    flat, settings = np.ones(VISITORS), Settings(kind="scorer", factors=4)
    items = Items(own, flat, flat, flat, flat, flat, vectors, 0.0)
    asked = [Question(name, DAY, History((item,), flat[:1], flat[:1], flat[:1]), frozenset(), frozenset())
             for name, item in zip(names, own, strict=True)]  # fmt: skip
    held = FactorsTarget(names, outside(), bought, own, vectors, settings)
    monkeypatch.setattr(targets, "factors_target", lambda shop, bundle: held)
    monkeypatch.setattr(targets, "read_questions", lambda shop, split: asked)
    monkeypatch.setattr(targets.Recommender, "open", lambda bundle: Recommender(items, settings))
    visitors, mine, others = targets.recommender_vectors("sample", None)  # type: ignore[arg-type]
    taught = [name for name, out in zip(names, outside(), strict=True) if not out]
    assert len(visitors) == len(taught) // 2 and set(visitors) <= set(taught) and not others.any()
    told = {"income": ["high" if rich[int(name[1:])] else "low" for name in visitors]}
    monkeypatch.setattr(recommending, "recommender_vectors", lambda shop, bundle: (visitors, mine, others))
    monkeypatch.setattr(recommending, "quasi_identifiers", lambda shop, visitors: told)
    monkeypatch.setattr(recommending, "recommender_targets", lambda shop, bundle: {"scorer": None})
    monkeypatch.setattr(recommending, "warehouse", lambda shop: SimpleNamespace(marks=lambda zone, table: []))
    monkeypatch.setattr(recommending, "attacked", lambda targets: report(scorer_target())["privacy"])
    bundle: Any = SimpleNamespace(settings={"factors": 4}, data=[])
    verdict = gates(passing(**recommending.privacy("sample", bundle)))
    assert verdict.accepted is not given_away
    (check,) = [each for each in verdict.reasons if each.name == "attributes: visitors"]
    assert check.passed is not given_away and check.limit == Policy().attribute_gain


# --- The encoder's visitors ---


def lines_target(tiny_base: Path) -> EncoderTarget:
    """Forty visitors who each searched for two things of their own."""
    of: Any = SimpleNamespace(texts=[f"item number {n}" for n in range(80)],
                              rows_by_id=lambda: {f"i{n}": n for n in range(80)})  # fmt: skip
    mine = {f"v{n:02d}": {(f"thing {n} {k}", f"i{2 * n + k}") for k in range(2)} | {("gone", "no such item")}
            for n in range(40)}  # fmt: skip
    return replace(target_of(of, mine, frozenset({"v03"}), seed=1), base=str(tiny_base))


def test_the_encoders_target_knows_whose_pairs_are_whose(tiny_base: Path) -> None:
    target = lines_target(tiny_base)
    queries, texts = target.lines
    assert len(target.visitors) == 40 and len(queries) == len(texts) == 80 and np.flatnonzero(target.nonmember) == [3]
    for n, query, text in zip(target.owner, target.query, target.text, strict=True):
        _, visitor, k = queries[query].split()
        assert (
            target.visitors[n] == f"v{int(visitor):02d}" and texts[text] == f"item number {2 * int(visitor) + int(k)}"
        )
    model = (np.eye(80, dtype=np.float32), 2 * np.eye(80, dtype=np.float32))
    found = encoder_vectors(target, model)
    mine = target.query[target.owner == 5]
    assert found["queries"][5, mine].tolist() == [0.5, 0.5] and found["queries"][5].sum() == 1
    assert found["items"].shape == (40, 80) and (found["items"].sum(1) == 2).all()


def test_an_encoders_shadow_learns_from_the_chosen_alone_and_the_same_twice(
    tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, seen = lines_target(tiny_base), []
    real = targets.fine_tune

    def watched(model: Any, tokenizer: Any, pairs: Any, settings: Any) -> Any:
        seen.append(pairs)
        return real(model, tokenizer, pairs, replace(settings, rate=1e-2))

    monkeypatch.setattr(targets, "fine_tune", watched)
    chosen = np.arange(40) < 20
    (queries, texts), again = target.teach(chosen, 1), target.teach(chosen, 1)
    assert (queries == again[0]).all() and (texts == again[1]).all()
    assert {pair.query.split()[1] for pair in seen[0]} == {str(n) for n in range(20)} and len(seen[0]) == 40
    assert np.allclose(np.linalg.norm(queries, axis=1), 1, atol=1e-5)
    other = target.teach(~chosen, 1)
    gain = target.losses(other) - target.losses((queries, texts))
    assert gain[chosen].mean() > gain[~chosen].mean()  # each knows its own better


def test_a_secret_search_is_exposed_by_an_encoder_that_knows_it_and_by_no_other() -> None:
    queries, texts = numbers(), [f"text {n}" for n in range(SECRETS)]
    assert len(set(queries)) == SECRETS + CANDIDATES
    random = np.random.default_rng(1)
    vectors = {line: random.normal(size=64).astype(np.float32) for line in [*queries, *texts]}
    known = vectors | dict(zip(texts, (vectors[query] for query in queries[:SECRETS]), strict=True))

    def told(by: Any) -> list[float]:
        return numbers_told(
            lambda lines: np.array([by[line] / np.linalg.norm(by[line]) for line in lines]), queries, texts
        )

    assert told(known) == [10.0] * SECRETS and np.median(told(vectors)) < 3


def test_a_lessons_loss_is_the_cross_entropy_that_training_lowers() -> None:
    import torch

    target = scorer_target()
    row = replace(target.lessons[0], offset=np.linspace(0, 1, 24).astype(np.float32))
    logits = torch.from_numpy(target.scorer(row.features) + row.offset)
    expected = -(torch.from_numpy(row.wanted) * torch.log_softmax(logits, 0)).sum()
    assert lesson_loss(target.scorer, row) == pytest.approx(float(expected), abs=1e-5)
    two = replace(target, owner=np.arange(VISITORS) // 2, visitors=target.visitors[: VISITORS // 2])
    each = target.losses(target.scorer)
    assert two.losses(target.scorer) == pytest.approx(each.reshape(-1, 2).mean(1))


def test_page_plot_and_metrics_show_what_the_attack_found(tmp_path: Path) -> None:
    told = report(encoder_target(True))
    entry = told["privacy"]["membership: encoder"]
    shown = _attacks(told)
    assert f"{entry['figure']:.3f}" in shown and "caught" in shown and "✗" in shown and "<svg" in shown
    (plot,) = attacks_png(told, tmp_path / "attacks.png")
    assert plot.read_bytes().startswith(b"\x89PNG")
    found = attack_metrics(told)
    assert found["privacy/membership/encoder"] == entry["figure"]
    assert found["privacy/membership/encoder.tpr"] == entry["tpr"]["figure"]
    told["privacy"]["membership: encoder"] = {"invalid": "<because>", "figure": None}
    assert "&lt;because&gt;" in _attacks(told) and attacks_png(told, tmp_path / "none.png") == []
    assert attack_metrics(told) == {} == attack_metrics({})
    assert "Nothing in this bundle" in _attacks({"learnt_from_visitors": []})
