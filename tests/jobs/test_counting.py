"""The counting law: small sums that a person can check."""

import pytest

from jobs import counting
from jobs.console import Refused


def test_terms_name_every_term_and_add_up_reasons() -> None:
    counts = counting.terms(10, out=6, duplicates=1, reasons={"missing": 2, "orphan": 1, "bad_type": 0})
    assert counts == {
        "in": 10,
        "out": 6,
        "quarantined": 3,
        "duplicates": 1,
        "suppressed": 0,
        "erased": 0,
        "merged": 0,
        "quarantined:missing": 2,
        "quarantined:orphan": 1,
    }
    assert counting.reasons(counts) == {"missing": 2, "orphan": 1}
    assert counting.holds(counts)


@pytest.mark.parametrize(("out", "missing"), [(5, 1), (7, -1)])
def test_a_lost_row_and_an_invented_row_both_break_it(out: int, missing: int) -> None:
    counts = counting.terms(7, out=out, duplicates=1)
    assert counting.surplus(counts) == missing
    with pytest.raises(Refused, match=r"2017-01-02") as refusal:
        counting.check("clean", "items", {"2017-01-01": counting.terms(1, out=1), "2017-01-02": counts})
    assert refusal.value.exit_code == 3


def test_reasons_that_do_not_add_up_break_it() -> None:
    assert not counting.holds(counting.terms(3, out=1, quarantined=2, reasons={"missing": 1}))


def test_a_term_that_is_none_is_an_error() -> None:
    with pytest.raises(AssertionError, match="lost"):
        counting.terms(1, lost=1)


def test_days_add_up() -> None:
    days = [counting.terms(2, out=1, reasons={"orphan": 1}), counting.terms(1, out=1)]
    assert counting.total(days)["in"] == 3
    assert counting.reasons(counting.total(days)) == {"orphan": 1}
