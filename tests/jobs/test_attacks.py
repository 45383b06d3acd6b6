"""Attacks on tables: each finds whom it must find, does not find whom it cannot, and says so when it is blind."""

from collections import Counter
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from jobs import attacks
from jobs import generalising as g
from jobs.console import Refused
from jobs.duck import engine
from jobs.pseudonyms import load_key, pseudonym
from jobs.warehouse import warehouse

COLUMNS = ("age", "kids")
LEVELS = {"age": 1, "kids": 1}
PEOPLE = [("25-34", "0")] * 12 + [("45-54", "1")] * 6 + [("35-44", "2")] * 6 + [(None, None)] * 20
Target = tuple[tuple[str | None, ...], g.Group | None]


def published(people: list[tuple[str | None, ...]] = PEOPLE) -> tuple[list[Target], Counter[g.Group]]:
    """Everybody as the attacker knows them and where they stand; and the groups, in which ten are alike at least."""
    policy = g.Policy(LEVELS)
    groups = Counter(policy.apply(COLUMNS, one) for one in people)
    return [(one, policy.apply(COLUMNS, one)) for one in people], groups


def test_a_row_is_found_with_one_in_the_size_of_its_group() -> None:
    targets, groups = published()
    assert groups == {("under 35", "none"): 12, ("35-54", "some"): 12, ("unknown", "unknown"): 20}
    found = attacks.linkage(COLUMNS, targets, groups, k=10)
    assert found.figure == pytest.approx(1 / 12) and found.passed and found.exceeding == 0
    assert found.prosecutor == found.journalist == pytest.approx(3 / 44)
    assert found.canary == {"figure": 1.0, "caught": True}
    assert not attacks.linkage(COLUMNS, targets, groups, k=13).passed


def test_who_was_suppressed_is_looked_for_in_vain() -> None:
    targets, groups = published()
    gone = [*targets, (("65+", "3+"), None), (("25-34", "0"), None)]
    found = attacks.linkage(COLUMNS, gone, groups, k=10)
    assert (found.targets, found.published) == (46, 44)
    assert found.prosecutor == pytest.approx(3 / 44) and found.journalist == pytest.approx(3 / 46)


def test_a_visitor_left_as_they_are_is_found_among_all_who_resemble_them() -> None:
    """The levels are not given to the attacker: the finest row that fits is the likeliest."""
    targets, groups = published()
    groups["45-54", "1"] = 1
    groups["35-54", "some"] -= 1
    targets[12] = (("45-54", "1"), ("45-54", "1"))
    found = attacks.linkage(COLUMNS, targets, groups, k=10)
    assert found.figure == 1.0 and found.exceeding == 1 and not found.passed
    with pytest.raises(Refused, match="1 of 44 visitors attacked are found"):
        attacks.demand(found, "here")


def test_a_group_of_one_is_found() -> None:
    targets, groups = published()
    groups["55+", "some"] = 1
    found = attacks.linkage(COLUMNS, [*targets, (("65+", "3+"), ("55+", "some"))], groups, k=10)
    assert found.figure == 1.0 and not found.passed


def test_nothing_published_is_nothing_found_and_the_canary_all_the_same() -> None:
    found = attacks.linkage(COLUMNS, [(("65+", "3+"), None)], {}, k=10)
    assert found.passed and found.figure == 0.0 and found.canary["caught"]
    assert attacks.linkage(COLUMNS, [], {}, k=10).passed


@pytest.mark.parametrize("levels", [{"age": 0, "kids": 0}, {"age": 3, "kids": 2}, {"age": 3, "kids": 0}])
def test_the_canary_is_caught_at_every_level(levels: dict[str, int]) -> None:
    policy = g.Policy(levels)
    groups = Counter(policy.apply(COLUMNS, one) for one in PEOPLE)
    targets: list[Target] = [(one, policy.apply(COLUMNS, one)) for one in PEOPLE]
    assert attacks.linkage(COLUMNS, targets, groups, k=2).canary["figure"] == 1.0


def test_a_blind_attack_proves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    targets, groups = published()
    monkeypatch.setattr(attacks, "successes", lambda columns, targets, groups: [0.0] * len(targets))
    with pytest.raises(Refused, match="did not catch its canary"):
        attacks.linkage(COLUMNS, targets, groups, k=10)


def test_the_sample_is_the_same_for_the_same_seed() -> None:
    ids = [f"u{n}" for n in range(100)]
    one = attacks.sample(ids, 10, 1)
    assert one == attacks.sample(ids[::-1], 10, 1) and len(set(one)) == 10
    assert one != attacks.sample(ids, 10, 2)
    assert attacks.sample(ids, 100, 1) == sorted(ids)


# Histories ------------------------------------------------------------------------------------


def shares(histories: dict[str, list[tuple[str, int]]], **more: Any) -> dict[int, tuple[int, float]]:
    """By number of points: how many visitors were attacked, and the share singled out."""
    rows = [{"visitor": v, "item_id": i, "day": date(2020, 1, d)} for v, points in histories.items() for i, d in points]
    with engine() as live:
        live.register("events", pa.Table.from_pylist(rows, schema=pa.schema(
            [("visitor", pa.string()), ("item_id", pa.string()), ("day", pa.date32())])))  # fmt: skip
        found = attacks.uniqueness(live, "events", **more)
        assert found.canary["caught"]
        return {share.points: (share.visitors, share.figure) for share in found.shares}


def test_own_items_single_out_and_twins_hide_each_other() -> None:
    own = {"a": [("tea", 1), ("jam", 2)], "b": [("oil", 1), ("jam", 3)]}
    assert shares(own) == {1: (2, 1.0), 2: (2, 1.0), 3: (0, 0.0), 4: (0, 0.0)}
    twins = {"a": [("tea", 1), ("jam", 2), ("oil", 3), ("tea", 4)]}
    assert shares(twins | {"b": twins["a"]}) == dict.fromkeys(attacks.POINTS, (2, 0.0))
    assert shares({"a": [("tea", 1)] * 5, "b": [("tea", 2)]}) == {1: (2, 1.0), 2: (0, 0.0), 3: (0, 0.0), 4: (0, 0.0)}


def test_more_points_single_out_whom_one_does_not() -> None:
    """Every point is shared with somebody, every pair with nobody."""
    triangle = {"a": [("tea", 1), ("jam", 1)], "b": [("jam", 1), ("oil", 1)], "c": [("oil", 1), ("tea", 1)]}
    assert shares(triangle)[1] == (3, 0.0)
    assert shares(triangle)[2] == (3, 1.0)


def test_a_subset_is_never_singled_out_from_its_superset() -> None:
    """b did all that a did, and more: a is hidden behind b."""
    nested = {"a": [("tea", d) for d in range(1, 5)], "b": [("tea", d) for d in range(1, 9)]}
    for seed in range(5):
        rows = shares(nested, seed=seed)
        assert rows[4][1] <= 0.5


def test_the_same_seed_draws_the_same_points() -> None:
    import random

    draw = random.Random(1)
    histories = {f"v{n}": [(f"i{draw.randrange(12)}", draw.randrange(1, 4)) for _ in range(6)] for n in range(60)}
    assert shares(histories, seed=3) == shares(dict(reversed(histories.items())), seed=3)
    assert {shares(histories, seed=n)[2] for n in range(6)} != {shares(histories, seed=3)[2]}
    assert shares(histories, visitors=10)[1][0] == 10


@pytest.mark.parametrize("alike", ["own", "twins"])
def test_an_attack_that_misses_its_canary_is_refused(alike: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if what tells visitors apart were lost: the visitor of own items has company, or a twin has none."""
    rows = attacks.canaries().to_pylist()
    spoilt = [
        {**row, "item_id": "canary-both-0" if alike == "own" else f"{row['item_id']}-{row['visitor']}"} for row in rows
    ]
    monkeypatch.setattr(attacks, "canaries", lambda: pa.Table.from_pylist(spoilt))
    with pytest.raises(Refused, match="their own was not singled out" if alike == "own" else "was singled out"):
        shares({"a": [("tea", 1)]})


def test_what_leaves_the_house_may_single_out_few() -> None:
    def found(alone: int, of: int) -> attacks.Uniqueness:
        low, high = attacks.wilson(alone, of)
        return attacks.Uniqueness((attacks.Share(4, of, alone / of, low, high),), {"caught": True})

    assert attacks.gate_export(found(0, 1000)).figure == 0.0
    assert attacks.gate_export(found(30, 1000)).figure == 0.03
    with pytest.raises(Refused, match=r"4 points single out 98\.0%"):
        attacks.gate_export(found(980, 1000))
    with pytest.raises(Refused, match=r"more than 5\.0%"):
        attacks.gate_export(found(0, 10))  # ten visitors are no evidence


def test_intervals_are_wilsons() -> None:
    from scipy.stats import binomtest

    for hits, of in ((0, 7), (3, 7), (980, 1000), (1000, 1000)):
        known = binomtest(hits, of).proportion_ci(0.95, "wilson")
        assert attacks.wilson(hits, of) == pytest.approx((known.low, known.high), abs=1e-9)
    assert attacks.wilson(0, 0) == (0.0, 1.0)


# The command ----------------------------------------------------------------------------------

KNOWN = {"known_time": datetime(2020, 1, 3, tzinfo=UTC), "simulated": False}


def shop(put: Callable[..., Any], *, careless: bool = False) -> None:
    """Forty visitors in groups of twenty, each with three purchases; one of them published as they are, if careless."""
    key = load_key("toy")
    clean = [
        {"visitor_id": f"u{n}", "age": "25-34" if n % 2 else "65+", "source_file": "f", "source_row": n, **KNOWN}
        for n in range(40)
    ]
    put("toy", "clean", "visitors", clean)
    quasi = dict.fromkeys(g.HIERARCHIES, "*")
    safe = [
        {"visitor": pseudonym(key, str(row["visitor_id"])), **quasi, "age": "under 35" if n % 2 else "55+", **KNOWN}
        for n, row in enumerate(clean)
    ]
    if careless:
        safe[7]["age"] = "25-34"
    put("toy", "safe", "visitors", safe)
    when = datetime(2020, 1, 1, 10, tzinfo=UTC)
    bought = [
        {"interaction_id": f"{n}-{m}", "event_time": when, "visitor": row["visitor"], "item_id": f"i{(n + m) % 9}",
         "kind": "purchase", "day": date(2020, 1, 1), **KNOWN} for n, row in enumerate(safe) for m in range(3)
    ]  # fmt: skip
    put("toy", "safe", "interactions", bought, "2020-01-01")


def command() -> int:
    from jobs.__main__ import parser
    from jobs.console import run_command

    return run_command(parser(), ["attack", "--shop", "toy"])


def test_the_command_attacks_what_is_published(put: Callable[..., Any], home: Path, capsys: Any) -> None:
    import json

    shop(put)
    assert command() == 0
    told = capsys.readouterr()
    assert "easiest person, of 40 visitors" in told.out and "3 points of purchase, 40 visitors" in told.out
    report = json.loads((home / "toy" / "reports" / "attacks.json").read_text())
    assert report["linkage"]["figure"] == pytest.approx(1 / 20) and report["linkage"]["passed"]
    assert report["linkage"]["of"] == [warehouse("toy").marks("safe", "visitors")[0].name]
    unique = report["uniqueness"]["purchase"]
    assert [share["points"] for share in unique["shares"]] == [1, 2, 3, 4] and unique["canary"]["caught"]
    assert not any(f"u{n}" in json.dumps(report) + told.out + told.err for n in range(10, 40))


def test_the_command_ends_with_3_if_somebody_is_found(put: Callable[..., Any], home: Path, capsys: Any) -> None:
    shop(put, careless=True)
    assert command() == 3
    told = capsys.readouterr()
    assert "1 of 40 visitors attacked are found" in told.err and "1.000" in told.err


def test_pseudonyms_of_another_key_are_no_safety(put: Callable[..., Any], home: Path, capsys: Any) -> None:
    """With a key that is not the table's no link can be judged: nobody found would mean nothing."""
    shop(put)
    (home / "toy" / "keys" / "pseudonym.key").write_text("ab" * 32)
    assert command() == 3
    assert "stands in the table" in capsys.readouterr().err


def test_a_shop_without_anything_safe_is_told_what_to_run(put: Callable[..., Any], capsys: Any) -> None:
    put("toy", "clean", "visitors", [{"visitor_id": "u1", "source_file": "f", "source_row": 1, **KNOWN}])
    assert command() == 1
    assert "validate --shop toy" in capsys.readouterr().err


def test_in_a_catalogue_alone_there_is_nobody_to_be_found(put: Callable[..., Any], capsys: Any) -> None:
    put("toy", "safe", "items", [{"item_id": "i1"}])
    assert command() == 0 and "nobody visits this shop" in capsys.readouterr().out
