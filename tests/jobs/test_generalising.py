"""k and l: levels, the search, and its guarantees, on tables that a person can count; pycanon is a second judge."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from jobs import generalising as g
from jobs.tables import table


@pytest.mark.parametrize(
    ("column", "value", "levels"),
    [
        ("age", "45-54", ["45-54", "35-54", "under 55", "*"]),
        ("age", "65+", ["65+", "55+", "55+", "*"]),
        ("age", None, ["unknown", "unknown", "unknown", "*"]),
        ("income", "Under 15K", ["Under 15K", "under 35", "under 75", "*"]),
        ("income", "75-99K", ["75-99K", "75-124", "75+", "*"]),
        ("income", "250K+", ["250K+", "125+", "75+", "*"]),
        ("home_ownership", "Probable Homeowner", ["Probable Homeowner", "owner", "*"]),
        ("home_ownership", "Renter", ["Renter", "renter", "*"]),
        ("household_size", "5+", ["5+", "3+", "3+", "*"]),
        ("household_size", "1", ["1", "under 2", "under 3", "*"]),
        ("kids", "0", ["0", "none", "*"]),
        ("kids", "3+", ["3+", "some", "*"]),
        ("postcode", "94110", ["94110", "941**", "94***", "9****", "*"]),
        ("marital_status", "Married", ["Married", "*"]),
    ],
)
def test_every_level_of_a_value(column: str, value: str | None, levels: list[str]) -> None:
    assert [g.generalise(column, value, level) for level in range(g.top(column) + 1)] == levels


def hidden(columns: Sequence[str], counts: Mapping[g.Group, int], policy: g.Policy) -> int:
    """Rows that the policy suppresses."""
    after = g.merged(columns, counts, policy.levels)
    return sum(counts.values()) - sum(g.shown(columns, after, policy.k, policy.l).values())


def test_every_quasi_identifier_of_the_visitors_has_a_hierarchy() -> None:
    assert {c.name for c in table("clean", "visitors").columns if c.personal == "quasi"} == set(g.HIERARCHIES)


def test_nothing_is_given_up_if_every_group_is_large() -> None:
    counts = {("Married", "0"): 10, ("Unmarried", "2"): 12}
    policy = g.fit(("marital_status", "kids"), counts, k=10)
    assert policy.levels == {"marital_status": 0, "kids": 0}
    assert policy.reached


def test_the_cheapest_column_is_given_up() -> None:
    """Kids in detail makes groups of 5; some or none makes groups of 10. Marital status may stay."""
    counts = {("Married", "1"): 5, ("Married", "2"): 5, ("Unmarried", "0"): 10}
    policy = g.fit(("marital_status", "kids"), counts, k=10)
    assert policy.levels == {"marital_status": 0, "kids": 1}


def test_a_few_are_suppressed_rather_than_all_blurred() -> None:
    counts = {("Married", "0"): 60, ("Unmarried", "0"): 39, ("Unmarried", "2"): 1}
    policy = g.fit(("marital_status", "kids"), counts, k=10)
    assert policy.levels == {"marital_status": 0, "kids": 0}
    assert hidden(("marital_status", "kids"), counts, policy) == 1
    strict = g.fit(("marital_status", "kids"), counts, k=10, max_suppressed=0.0)
    assert hidden(("marital_status", "kids"), counts, strict) == 0


def test_fewer_people_than_k_cannot_be_hidden() -> None:
    policy = g.fit(("kids",), {("0",): 9}, k=10)
    assert not policy.reached
    assert policy.levels == {"kids": g.top("kids")}


def test_no_visitors_is_no_error() -> None:
    assert not g.fit(("kids",), {}, k=10).reached


GROUPS = st.dictionaries(
    st.tuples(
        st.sampled_from(["19-24", "25-34", "45-54", "65+", "unknown"]),
        st.sampled_from(["Under 15K", "35-49K", "250K+", "unknown"]),
        st.sampled_from(["0", "1", "3+", "unknown"]),
    ),
    st.integers(1, 30),
    min_size=1,
    max_size=20,
)


@settings(max_examples=80, deadline=None)
@given(GROUPS, st.sampled_from([1, 2, 3]))
def test_what_is_fitted_keeps_its_promise_and_nothing_cheaper_does(counts: dict[g.Group, int], l: int) -> None:
    columns = ("age", "income", "kids")
    policy = g.fit(columns, counts, k=10, l=l)
    total = sum(counts.values())
    after = g.merged(columns, counts, policy.levels)
    assert sum(after.values()) == total
    if not policy.reached:
        assert total < 10
        return
    shown = g.shown(columns, after, 10, l)
    assert total - sum(shown.values()) <= 0.05 * total
    assert min(shown.values()) >= 10
    assert (g.distinct_l(columns, shown) or l) >= l
    # The whole lattice, without pruning and by the plain definition, has nothing better.
    lost = g.losses(columns, counts)
    everything = sum(column[-1] for column in lost)
    best = min(
        bits + (everything - bits) * out / total
        for bits, levels in g.nodes(lost)
        if (out := hidden(columns, counts, g.Policy(dict(zip(columns, levels, strict=True)), 10, l))) <= 0.05 * total
    )
    assert policy.loss == pytest.approx(best)


@settings(max_examples=60, deadline=None)
@given(GROUPS, st.tuples(*[st.integers(0, 3)] * 3), st.integers(2, 4))
def test_the_search_counts_as_the_definition_does(counts: dict[g.Group, int], levels: g.Levels, l: int) -> None:
    columns = ("age", "income", "kids")
    assume(all(level <= g.top(column) for column, level in zip(columns, levels, strict=True)))
    named = dict(zip(columns, levels, strict=True))
    assert g._Cells(columns, counts, 10, l).suppressed(levels) == (
        hidden(columns, counts, g.Policy(named, 10, 1)),
        hidden(columns, counts, g.Policy(named, 10, l)),
    )


def test_a_block_that_gives_the_income_away_costs_a_level() -> None:
    """All who are old earn little: k is no help. The cheapest of what hides it is one group of all ages."""
    counts = {("25-34", "75-99K"): 40, ("25-34", "Under 15K"): 40, ("65+", "Under 15K"): 20}
    columns = ("age", "income")
    assert g.fit(columns, counts, k=10, l=1).levels == {"age": 0, "income": 0}
    policy = g.fit(columns, counts, k=10, l=2)
    assert policy.levels == {"age": 3, "income": 0}
    assert g.distinct_l(columns, g.merged(columns, counts, policy.levels)) == 2


def test_a_few_who_give_their_income_away_are_suppressed_and_their_silent_neighbours_stay() -> None:
    columns = ("age", "income")
    groups = {("65+", "low"): 11, ("65+", "unknown"): 12, ("19-24", "low"): 10, ("19-24", "high"): 10, ("*", "*"): 30}
    assert set(g.shown(columns, groups, 10, 2)) == set(groups) - {("65+", "low")}
    assert set(g.shown(columns, groups, 10, 1)) == set(groups)
    # A group below k is not shown, so what it tells is no company for another's income.
    groups[("19-24", "high")] = 9
    assert set(g.shown(columns, groups, 10, 2)) == {("65+", "unknown"), ("*", "*")}


def test_l_counts_only_incomes_that_tell_something() -> None:
    counts = Counter({("35-54", "low"): 10, ("35-54", "high"): 10, ("55+", "low"): 10, ("19-24", "unknown"): 10})
    assert g.distinct_l(("age", "income"), counts) == 1
    counts["55+", "unknown"] = 10  # an unknown income hides a known one from nobody who knows that it was given
    assert g.distinct_l(("age", "income"), counts) == 1
    del counts["55+", "low"]
    assert g.distinct_l(("age", "income"), counts) == 2
    assert g.distinct_l(("age",), {("35-54",): 10}) is None  # absent
    assert g.distinct_l(("age", "income"), {("35-54", "*"): 10}) is None  # wholly generalised: nothing is told


def test_without_a_sensitive_column_l_asks_nothing() -> None:
    counts = {("Married", "0"): 10, ("Unmarried", "2"): 12}
    assert g.fit(("marital_status", "kids"), counts, k=10, l=5).levels == {"marital_status": 0, "kids": 0}


def test_entropy_and_closeness_by_hand() -> None:
    columns = ("age", "income")
    even = {("19-24", "Under 15K"): 10, ("19-24", "75-99K"): 10, ("65+", "Under 15K"): 10, ("65+", "75-99K"): 10}
    assert g.entropy_l(columns, even) == pytest.approx(2.0)
    assert g.t_closeness(columns, even) == (0.0, "ordered")
    apart = {("19-24", "Under 15K"): 20, ("65+", "75-99K"): 20}
    assert g.entropy_l(columns, apart) == pytest.approx(1.0)
    assert g.t_closeness(columns, apart) == (0.5, "ordered")
    named = {("19-24", "red"): 20, ("65+", "blue"): 20, ("65+", "unknown"): 9}
    assert g.t_closeness(columns, named) == (0.5, "equal")
    # All three brackets of the table are equally likely; a block of the lowest alone has 1/3 + 2/3 of the way to go.
    three = {("19-24", "Under 15K"): 10, ("65+", "35-49K"): 10, ("45-54", "75-99K"): 10}
    assert g.t_closeness(columns, three) == (pytest.approx(0.5), "ordered")
    assert g.t_closeness(columns, {("65+", "*"): 10}) is g.entropy_l(columns, {}) is None


def frame(columns: Sequence[str], counts: Mapping[g.Group, int]) -> Any:
    import pandas as pd

    return pd.DataFrame([group for group, rows in counts.items() for _ in range(rows)], columns=list(columns))


@settings(max_examples=20, deadline=None)
@given(GROUPS)
def test_pycanon_judges_k_l_and_t_alike(tens: dict[g.Group, int]) -> None:
    from pycanon import anonymity

    columns = ("age", "income", "kids")
    counts = {group: -(-rows // 5) for group, rows in tens.items()}  # 1 to 6 a group: pycanon looks at every row
    policy = g.fit(columns, counts, k=3, l=2)
    shown = g.shown(columns, g.merged(columns, counts, policy.levels), policy.k, policy.l)
    assume(shown)
    rows = frame(columns, shown)
    assert anonymity.k_anonymity(rows, list(columns)) == min(shown.values()) >= 3
    told = rows[~rows["income"].isin([g.UNKNOWN, g.ANY])].reset_index(drop=True)
    if told.empty:
        assert g.distinct_l(columns, shown) is None
        return
    others = ["age", "kids"]
    assert anonymity.l_diversity(told, others, ["income"]) == g.distinct_l(columns, shown) >= 2
    assert anonymity.entropy_l_diversity(told, others, ["income"]) <= (g.entropy_l(columns, shown) or 0) + 1e-9
    apart, distance = g.t_closeness(columns, shown) or (0.0, "")
    assert distance == "ordered"
    ranks = {value: n for n, value in enumerate(sorted(set(told["income"]), key=lambda v: g._number(v) or 0.0))}
    ranked = told.assign(income=told["income"].map(ranks))
    assert anonymity.t_closeness(ranked, others, ["income"]) == pytest.approx(apart)


def test_pycanon_agrees_on_the_sample_shops_people() -> None:
    import numpy as np
    from pycanon import anonymity

    from jobs.simulator import people, shop

    columns = tuple(g.HIERARCHIES)
    rng = np.random.default_rng(1)
    rows = shop.visitors(rng, [f"u{n}" for n in range(300)], [people.person(rng, "en") for _ in range(300)], [])
    counts = Counter(tuple(str(row[c]) for c in columns) for row in rows)
    policy = g.fit(columns, counts)
    shown = g.shown(columns, g.merged(columns, counts, policy.levels), policy.k, policy.l)
    found = frame(columns, shown)
    assert len(found) >= 0.95 * 300
    assert anonymity.k_anonymity(found, list(columns)) == min(shown.values()) >= 10
    told = found[found["income"] != g.ANY].reset_index(drop=True)
    assert told.empty or anonymity.l_diversity(told, [c for c in columns if c != "income"], ["income"]) >= 2


def test_equal_distance_is_judged_alike() -> None:
    from pycanon import anonymity

    counts = {("19-24", "red"): 3, ("19-24", "blue"): 9, ("65+", "blue"): 4, ("65+", "green"): 1}
    rows = frame(("age", "income"), counts)
    apart, distance = g.t_closeness(("age", "income"), counts) or (0.0, "")
    assert distance == "equal"
    assert anonymity.t_closeness(rows, ["age"], ["income"]) == pytest.approx(apart)


def test_the_search_is_on_counts_and_looks_at_few_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand times the visitors cost the same; and most of the lattice's 5,760 nodes are never counted."""
    counts = {
        (f"{10000 + n % 97}", ("19-24", "45-54", "65+")[n % 3], ("15-24K", "50-74K", "250K+")[n % 5 % 3], "Renter",
         ("Married", "Unmarried")[n % 2], str(n % 4), str(n % 7 % 4)): n % 9 + 1 for n in range(3000)
    }  # fmt: skip
    looked: list[g.Levels] = []
    real = g._Cells._suppressed
    monkeypatch.setattr(g._Cells, "_suppressed", lambda self, levels: looked.append(levels) or real(self, levels))
    small = g.fit(tuple(g.HIERARCHIES), counts, k=10, l=2)
    first = len(looked)
    assert first < 1500
    large = g.fit(tuple(g.HIERARCHIES), {group: rows * 1000 for group, rows in counts.items()}, k=10_000, l=2)
    assert large.levels == small.levels and len(looked) == 2 * first
