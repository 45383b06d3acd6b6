"""Released counts: what one visitor can change is bounded, the noise is as large as was paid for, and nothing is free
but what was paid before."""

import json
import stat
import statistics
from argparse import Namespace
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobs import releasing
from jobs.console import Problem, Refused, Usage
from jobs.releasing import Ledger, Policy, asked_of, cells, noisy, noisy_names, period_of, queries, released, spent
from jobs.warehouse import warehouse

NOW = datetime(2026, 11, 22, 14, tzinfo=UTC)
ANY = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
MOMENT = pa.timestamp("us", tz="UTC")


# ---- the budget -----------------------------------------------------------------------------------


def asks(epsilon: str, delta: str = "0", release: str = "r") -> dict[str, Any]:
    return {"release": release, "epsilon": epsilon, "delta": delta, "table": "purchases"}


amounts = st.decimals("0.01", "1", places=2).map(str)


@ANY
@given(st.lists(st.tuples(amounts, st.integers(1, 12)), max_size=25))
def test_no_period_ever_spends_more_than_its_budget(
    home: Path, tmp_path_factory: pytest.TempPathFactory, drawn: list[tuple[str, int]]
) -> None:
    ledger, policy = Ledger("toy"), Policy(epsilon="1.5", period="quarter")
    ledger.path = tmp_path_factory.mktemp("books") / "budget.jsonl"
    expected: dict[str, Decimal] = {}
    for n, (epsilon, month) in enumerate(drawn):
        now = NOW.replace(month=month)
        period, _ = period_of(policy, now)
        before = expected.get(period, Decimal())
        fits = before + Decimal(epsilon) <= Decimal("1.5")
        with ledger.turn():
            if fits:
                ledger.pay(policy, asks(epsilon, release=str(n)), now)
                expected[period] = before + Decimal(epsilon)
            else:
                lines = len(ledger.rows())
                with pytest.raises(Refused):
                    ledger.pay(policy, asks(epsilon, release=str(n)), now)
                assert len(ledger.rows()) == lines  # a refusal costs nothing
        assert spent(ledger.rows(), period)[0] == expected.get(period, Decimal()) <= Decimal("1.5")


def test_a_tenth_ten_times_is_one_and_not_more(home: Path) -> None:
    ledger, policy = Ledger("toy"), Policy(epsilon="1")
    with ledger.turn():
        for n in range(10):
            ledger.pay(policy, asks("0.1", release=str(n)), NOW)
        with pytest.raises(Refused) as refused:
            ledger.pay(policy, asks("0.0001"), NOW)
    assert refused.value.exit_code == 3
    assert "left are 0.0 and 0.000001 of 1" in str(refused.value) and "renews on 2027-01-01" in str(refused.value)
    assert stat.S_IMODE(ledger.path.stat().st_mode) == 0o600


def test_delta_is_a_budget_of_its_own(home: Path) -> None:
    ledger, policy = Ledger("toy"), Policy(delta="0.000001")
    with ledger.turn():
        ledger.pay(policy, asks("0.1", "0.0000009"), NOW)
        with pytest.raises(Refused, match=r"left are 1\.9 and 1E-7"):
            ledger.pay(policy, asks("0.1", "0.0000002"), NOW)


@pytest.mark.parametrize(
    ("period", "month", "name", "renews"),
    [("year", 5, "2026-01", "2027-01-01"), ("quarter", 5, "2026-04", "2026-07-01"),
     ("month", 12, "2026-12", "2027-01-01"), ("month", 1, "2026-01", "2026-02-01")],
)  # fmt: skip
def test_periods_are_the_calendars(period: str, month: int, name: str, renews: str) -> None:
    found = period_of(Policy(period=period), NOW.replace(month=month))
    assert found == (name, date.fromisoformat(renews))


def test_a_damaged_ledger_is_not_taken_for_an_empty_one(home: Path) -> None:
    ledger = Ledger("toy")
    with ledger.turn():
        ledger.pay(Policy(), asks("1"), NOW)
    ledger.path.write_text(ledger.path.read_text()[:-9])
    with pytest.raises(Problem, match="ledger is damaged"):
        ledger.rows()


@pytest.mark.parametrize("text", ["{", '{"epsilon": "x"}', '{"period": "week"}', '{"rows": 0}', '{"eps": "1"}'])
def test_a_policy_that_cannot_be_read_is_a_problem(home: Path, text: str) -> None:
    path = releasing.policy_file("toy")
    path.parent.mkdir(parents=True)
    path.write_text(text)
    with pytest.raises(Problem):
        releasing.policy_of("toy")


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "much", ""])
def test_an_epsilon_is_a_number_above_zero(text: str) -> None:
    with pytest.raises(Usage):
        asked_of(text, "--epsilon")


# ---- what one visitor can change ------------------------------------------------------------------

bought = st.lists(st.tuples(st.sampled_from("uvw"), st.sampled_from("abcx"), st.integers(1, 3)), max_size=40)
typed = ["tea", "Tea ", "milk", "rice", "soap"]
made = st.lists(st.tuples(st.sampled_from("uvw"), st.sampled_from(typed)), max_size=40)


def sales(rows: list[tuple[str, str, int]]) -> Any:
    live = duckdb.connect()
    live.execute("SET TimeZone='UTC'")
    schema = pa.schema([("interaction_id", pa.string()), ("visitor", pa.string()), ("item_id", pa.string()),
                        ("kind", pa.string()), ("event_time", MOMENT)])  # fmt: skip
    listed = [{"interaction_id": f"n{n}", "visitor": v, "item_id": i, "kind": "purchase",
               "event_time": datetime(2026, month, 1, tzinfo=UTC)} for n, (v, i, month) in enumerate(rows)]  # fmt: skip
    live.register("interactions", pa.Table.from_pylist(listed, schema=schema))
    items = [{"item_id": i, "category": c} for i, c in (("a", "Tea"), ("b", "Tea"), ("c", None))]
    live.register("items", pa.Table.from_pylist(items))
    return live


@ANY
@given(bought, st.integers(1, 6))
def test_without_one_visitor_the_purchases_differ_by_no_more_than_was_assumed(
    drawn: list[tuple[str, str, int]], most: int
) -> None:
    span = ["2026-01", "2026-02"]  # the third month is not asked for
    whole = cells(sales(drawn), span, most)
    assert set(whole) == {(month, name) for month in span for name in ("Tea", "(none)")}
    with sales(drawn) as live:
        live.execute("CREATE TABLE kept AS SELECT * FROM interactions WHERE visitor <> 'u'")
        live.unregister("interactions")
        live.execute("CREATE VIEW interactions AS SELECT * FROM kept")
        without = cells(live, span, most)
    assert sum(abs(whole[cell] - without[cell]) for cell in whole) <= most


@ANY
@given(made, st.integers(1, 3))
def test_without_one_visitor_few_queries_differ_and_each_by_one(drawn: list[tuple[str, str]], most: int) -> None:
    def counted(rows: list[tuple[str, str]]) -> dict[str, int]:
        with duckdb.connect() as live:
            live.register("searches", pa.table({"visitor": pa.array([v for v, _ in rows], pa.string()),
                                                "query": pa.array([q for _, q in rows], pa.string())}))  # fmt: skip
            return queries(live, most)

    whole, without = counted(drawn), counted([row for row in drawn if row[0] != "u"])
    changes = [abs(whole.get(name, 0) - without.get(name, 0)) for name in {*whole, *without}]
    assert sum(changes) <= most and max(changes, default=0) <= 1
    assert "Tea " not in whole


def test_a_great_buyer_counts_for_the_most_and_no_more() -> None:
    rows = [("u", "a", 1)] * 100 + [("v", "a", 1)] * 3 + [("w", "x", 1)]
    assert cells(sales(rows), ["2026-01"], 20) == {("2026-01", "(none)"): 1, ("2026-01", "Tea"): 23}


# ---- the noise ------------------------------------------------------------------------------------


@pytest.mark.parametrize("epsilon", [0.5, 2.0])
def test_the_noise_is_as_large_as_it_must_be(epsilon: float) -> None:
    """Mean distance of a Laplace of scale b is b; of 4,000 draws its error is b / 63. A tenth is six of them."""
    scale = 10 / epsilon
    drawn = [value - 1_000_000 for value in noisy([1_000_000] * 4000, epsilon, 10)]
    assert statistics.fmean(map(abs, drawn)) == pytest.approx(scale, rel=0.1)
    assert abs(statistics.fmean(drawn)) < scale * 0.15  # six errors of the mean
    assert drawn != [value - 1_000_000 for value in noisy([1_000_000] * 4000, epsilon, 10)]


def test_no_count_is_below_none() -> None:
    drawn = noisy([0] * 400, 0.1, 10)
    assert min(drawn) == 0 and max(drawn) > 0  # empty cells get their noise, too


def test_a_name_that_few_made_is_never_told() -> None:
    counts = {"milk": 5000, **{f"name of person {n}": 1 for n in range(500)}}
    told, threshold = noisy_names(counts, 1.0, 1e-7, 5)
    assert list(told) == ["milk"] and abs(told["milk"] - 5000) < 200
    # One visitor's own query passes with probability e^(-(threshold - 1) / scale) / 2, times 5 of them: below delta.
    assert 60 < threshold < 120
    assert noisy_names(counts, 1.0, 1e-9, 5)[1] > threshold


# ---- the step -------------------------------------------------------------------------------------


@pytest.fixture
def shop(put: Callable[..., Any]) -> str:
    day = date(2026, 3, 1)
    at = {"event_time": datetime(2026, 3, 1, 10, tzinfo=UTC), "known_time": datetime(2026, 3, 1, 10, tzinfo=UTC),
          "simulated": False, "day": day}  # fmt: skip
    sold = [{"interaction_id": f"n{n}", "visitor": f"v{n % 50}", "item_id": "a", "kind": "purchase", **at}
            for n in range(500)]  # fmt: skip
    put("toy", "safe", "interactions", sold, str(day))
    put("toy", "safe", "searches", [{"search_id": f"s{n}", "visitor": f"v{n}", "query": "Milk", **at}
                                    for n in range(900)], str(day))  # fmt: skip
    known = {"known_time": at["known_time"], "simulated": False}
    put("toy", "safe", "items", [{"item_id": i, "title": i, "category": c, **known}
                                 for i, c in (("a", "Tea"), ("b", "Soap"))])  # fmt: skip
    return "toy"


def ask(epsilon: str, table: str = "purchases", **more: Any) -> Namespace:
    return Namespace(**{"shop": "toy", "table": table, "epsilon": epsilon, "first": None, "last": None, **more})


def test_what_was_asked_before_is_the_same_and_free(shop: str, capsys: pytest.CaptureFixture[str]) -> None:
    releasing.run(ask("0.5"))
    first = capsys.readouterr().out
    assert "2026-03" in first and "Soap" in first and "left are 1.5 of 2 until" in first
    releasing.run(ask("0.50"))
    again = capsys.readouterr().out
    assert "asked before, so it cost nothing" in again and "left are 1.5 of 2" in again
    assert again.splitlines()[:5] == first.splitlines()[:5]
    assert len(Ledger(shop).rows()) == 1
    releasing.run(ask("0.25"))  # another question: other noise, and paid for
    assert "left are 1.25 of 2" in capsys.readouterr().out
    with pytest.raises(Refused, match="the budget does not reach"):
        releasing.run(ask("1.5"))
    assert len(list((Ledger(shop).path.parent / "releases").glob("*.csv"))) == 2  # nothing was drawn


def test_what_was_paid_and_never_seen_is_drawn_without_paying_twice(shop: str) -> None:
    days = date(2026, 3, 1), date(2026, 3, 1)
    path, about, again = released(warehouse(shop), "purchases", *days, Decimal("0.5"), NOW)
    assert not again and about["most"] == 20
    path.unlink()  # killed between paying and writing
    _, _, again = released(warehouse(shop), "purchases", *days, Decimal("0.5"), NOW)
    assert path.is_file() and not again and len(Ledger(shop).rows()) == 1


def test_changed_data_are_another_release(shop: str, put: Callable[..., Any]) -> None:
    days = date(2026, 3, 1), date(2026, 3, 1)
    released(warehouse(shop), "searches", *days, Decimal("0.5"), NOW)
    rows = warehouse(shop).read("safe", "searches").to_pylist()
    put(shop, "safe", "searches", rows[1:], "2026-03-01")
    released(warehouse(shop), "searches", *days, Decimal("0.5"), NOW)
    assert [row["epsilon"] for row in Ledger(shop).rows()] == ["0.5", "0.5"]


def test_names_are_told_above_their_threshold(shop: str, capsys: pytest.CaptureFixture[str]) -> None:
    releasing.run(ask("1", "searches"))
    out = capsys.readouterr().out
    assert "milk" in out and "only what reaches" in out
    (row,) = Ledger(shop).rows()
    assert (Decimal(row["delta"]), row["most"], row["period"][5:]) == (Decimal("1e-7"), 5, "01")
    (how,) = (Ledger(shop).path.parent / "releases").glob("*.json")
    assert json.loads(how.read_text())["threshold"] > 3
    with pytest.raises(Usage, match="is after --last"):
        releasing.run(ask("1", first=date(2026, 3, 2), last=date(2026, 3, 1)))
