"""k-anonymity: levels, the search, and its guarantees, on tables that a person can count."""

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs import generalising as g
from jobs.console import Problem


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
    assert g.small(g.merged(("marital_status", "kids"), counts, policy.levels), 10) == 1
    strict = g.fit(("marital_status", "kids"), counts, k=10, max_suppressed=0.0)
    assert g.small(g.merged(("marital_status", "kids"), counts, strict.levels), 10) == 0


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


@settings(max_examples=60, deadline=None)
@given(GROUPS)
def test_what_is_fitted_keeps_its_promise_and_nothing_cheaper_does(counts: dict[tuple[str, ...], int]) -> None:
    columns = ("age", "income", "kids")
    policy = g.fit(columns, counts, k=10)
    total = sum(counts.values())
    after = g.merged(columns, counts, policy.levels)
    assert sum(after.values()) == total
    if not policy.reached:
        assert total < 10
        return
    out = g.small(after, 10)
    assert out <= 0.05 * total
    # The whole lattice, without pruning, has nothing better.
    lost = g.losses(columns, counts)
    everything = sum(column[-1] for column in lost)
    best = min(
        bits + (everything - bits) * few / total
        for bits, levels in g.nodes(lost)
        if (few := g.small(g.merged(columns, counts, dict(zip(columns, levels, strict=True))), 10)) <= 0.05 * total
    )
    assert policy.loss == pytest.approx(best)


def test_l_is_the_fewest_incomes_in_a_group_of_the_others() -> None:
    counts = Counter({("35-54", "low"): 10, ("35-54", "high"): 10, ("55+", "low"): 10})
    assert g.distinct_l(("age", "income"), counts) == 1
    del counts["55+", "low"]
    assert g.distinct_l(("age", "income"), counts) == 2
    assert g.distinct_l(("age",), {("35-54",): 10}) is None


def test_a_policy_is_written_and_read_again(tmp_path: Path) -> None:
    path = tmp_path / "policy.json"
    assert g.load(path) is None
    policy = g.fit(("kids",), {("0",): 10, ("1",): 10}, k=10)
    path.write_text(g.dump(policy))
    assert g.load(path) == policy
    path.write_text("{}")
    with pytest.raises(Problem, match="policy"):
        g.load(path)
