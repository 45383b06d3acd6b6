"""The data gate: good days are published, a bad day stays proposed and is named, and the exit code is 3."""

import json
import re
from argparse import Namespace
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from jobs import expectations, profiles, validating
from jobs.tables import DELIVERED
from jobs.warehouse import warehouse

V = "v1_" + "0" * 32


def event(n: int, day: int = 1, **changed: Any) -> dict[str, Any]:
    when = datetime(2020, 1, day, 10, tzinfo=UTC)
    row = {"interaction_id": f"n{n}", "event_time": when, "visitor": V, "item_id": "i1", "kind": "purchase"}
    return {**row, "known_time": when, "simulated": False, "day": date(2020, 1, day), **changed}


def propose(put: Callable[..., Any], name: str, rows: list[dict[str, Any]], day: str = "whole") -> None:
    """Proposed, not published: what `put` published is taken back."""
    mark = put("toy", "safe", name, rows, day)
    (warehouse("toy").folder("safe", name) / "published" / f"{mark.day}.json").unlink()


def test_good_days_pass_and_bad_days_are_named(put: Callable[..., Any], home: Path, jobs: Callable[..., Any]) -> None:
    known = {"known_time": datetime(2020, 1, 1, tzinfo=UTC), "simulated": False}
    propose(put, "items", [{"item_id": "i1", "title": "tea", **known}])
    propose(put, "interactions", [event(1), event(2)], "2020-01-01")
    propose(put, "interactions", [event(1, 2), event(1, 2, quantity=2), event(3, 2, visitor="ann")], "2020-01-02")
    propose(put, "interactions", [], "2020-01-03")
    done = jobs("validate", "--shop", "toy")
    assert done.returncode == 3, done.stderr
    house = warehouse("toy")
    assert house.days("safe", "items") == ["whole"]
    assert house.days("safe", "interactions") == ["2020-01-01", "2020-01-03"]
    assert "interactions 2020-01-02" in done.stderr
    assert "unique by interaction_id" in done.stderr
    assert "visitor is a pseudonym" in done.stderr
    empty = house.mark("safe", "interactions", "2020-01-03")
    assert empty is not None
    assert empty.notes["validation"]["warnings"] == ["has rows: 0"]  # a shop may be closed
    docs = home / "toy" / "docs"
    front = (docs / "index.html").read_text()
    assert "<td>2020-01-02</td><td>refused</td>" in front and "unique by interaction_id" in front
    pages = list((docs / "great_expectations").rglob("*.html"))
    assert {page.parts[-5] for page in pages if "validations" in page.parts} == {"validations"} and len(pages) >= 4
    for page in pages:  # nothing of it is asked of another host
        assert not re.search(r"<script|<img|<link[^>]*https?:", page.read_text())


@pytest.mark.parametrize("name", DELIVERED)
def test_every_expectation_is_over_a_column_that_the_profile_has(name: str) -> None:
    from jobs.tables import table

    declared = table("safe", name)
    counted = {"rows", "off_mark", "repeated", *[fault.column for fault in expectations.faults(declared)]}
    like = {"left", "age", "off_clean", *(f"lost:{column}" for column, _, _ in expectations.REFERS.values())}
    own = profiles.Profile("2020-01-01", 0, {column: {} for column in expectations.SHARES.get(name, {})})
    suite = expectations.suite(name)
    assert {one.column for one in suite} <= counted | like | set(profiles.likeness(declared, own, {}, 0))
    assert all(one.words for one in suite)
    assert [one.column for one in suite].count("off_mark") == 1
    # Judge tells expectations apart by column and limits.
    assert len({(one.column, one.least, one.most) for one in suite}) == len(suite)


def test_a_person_may_accept_what_is_unlike_others_and_nothing_else() -> None:
    suite = {one.column for one in expectations.suite("interactions") if expectations.may_be_accepted(one)}
    assert suite == {"volume", "empty", "lost:ranking_id", *(c for c in suite if c.startswith("drift:"))}


# ---- several days, with the step itself in the tests' own session -------------------------------------


@pytest.fixture
def judge(spark: Any) -> Callable[..., int]:
    def run(**more: Any) -> int:
        given = {"shop": "toy", "first": None, "last": None, "stale": False, "accept": False, **more}
        return validating.run(Namespace(**given))

    return run


def searched(day: date, rows: int, channel: str | None = "web") -> list[dict[str, Any]]:
    when = datetime(day.year, day.month, day.day, 10, tzinfo=UTC)
    common = {"event_time": when, "known_time": when, "day": day, "simulated": False, "visitor": V, "language": "en"}
    return [{"search_id": f"{day}-{n}", "query": "tea", "channel": channel, **common} for n in range(rows)]


def shown(day: date, rankings: int, search: str = "{day}-{n}") -> list[dict[str, Any]]:
    when = datetime(day.year, day.month, day.day, 11, tzinfo=UTC)
    common = {"event_time": when, "known_time": when, "day": day, "simulated": False, "visitor": V}
    return [
        {"ranking_id": f"r{day}-{n}", "search_id": search.format(day=day, n=n), "surface": "search", "item_id": "i1",
         "position": p, "propensity": 1.0, **common}
        for n in range(rankings) for p in (1, 2)
    ]  # fmt: skip


FIRST = date(2020, 1, 6)


def weeks(put: Callable[..., Any], days: int) -> list[date]:
    """So many days of 300 searches, each answered by a ranking; proposed."""
    span = [FIRST + timedelta(days=n) for n in range(days)]
    for day in span:
        propose(put, "searches", searched(day, 300), day.isoformat())
        propose(put, "rankings", shown(day, 300), day.isoformat())
    return span


def test_a_day_unlike_the_weeks_before_is_told_refused_remembered_and_accepted(
    put: Callable[..., Any], home: Path, judge: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    span = weeks(put, 30)
    house = warehouse("toy")
    assert judge() == 0
    assert "warned" not in capsys.readouterr().err
    mark = house.mark("safe", "searches", span[-1].isoformat())
    assert mark is not None
    profile = {"rows": 300, "shares": {"channel": {"web": 300}, "language": {"en": 300}}, "empty": {"session_id": 300}}
    assert mark.notes["validation"]["profile"] == profile
    assert (mark.rows, bool(mark.sha256), bool(mark.schema), bool(mark.code)) == (300, True, True, True)
    assert mark.notes["validation"]["suite"] == expectations.VERSION

    twice, silent, moved, calm = (span[-1] + timedelta(days=n) for n in (1, 2, 3, 4))
    propose(put, "searches", searched(twice, 600), twice.isoformat())
    propose(put, "searches", [], silent.isoformat())
    propose(put, "rankings", shown(silent, 300), silent.isoformat())
    propose(put, "searches", searched(moved, 300, None), moved.isoformat())
    propose(put, "searches", searched(calm, 300), calm.isoformat())
    assert judge(stale=True) == 3  # only the new days are looked at
    err = capsys.readouterr().err
    published = house.days("safe", "searches")
    assert twice.isoformat() in published and calm.isoformat() in published
    assert silent.isoformat() not in published and moved.isoformat() not in published
    assert f"warned: searches {twice}: about as many rows as on this weekday in the weeks before: 10" in err
    assert f"refused: searches {silent}: not without rows while the rest of the shop is open" in err
    assert f"refused: searches {moved}: channel is empty as often as before (at most 0.5)" in err
    assert f"refused: rankings {silent}: search_id is among the searches (at most 0.5): 0.75" in err
    assert "python -m jobs validate --accept" in err

    assert judge(stale=True) == 0  # asked and answered
    err = capsys.readouterr().err
    assert f"note: searches stays refused for 2 days: {silent}, {moved}" in err
    assert judge(stale=False, accept=True, first=moved, last=moved) == 0
    accepted = house.mark("safe", "searches", moved.isoformat())
    assert accepted is not None and len(accepted.notes["validation"]["warnings"]) == 2
    assert sorted(house.refusals("safe", "searches", "validate")) == [silent.isoformat()]


def test_a_new_writing_of_a_day_is_judged_again(
    put: Callable[..., Any], home: Path, judge: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    day = FIRST.isoformat()
    propose(put, "searches", [*searched(FIRST, 2), *searched(FIRST, 1)], day)
    assert judge(stale=True) == 3
    propose(put, "searches", searched(FIRST, 2), day)
    assert judge(stale=True) == 0
    assert warehouse("toy").days("safe", "searches") == [day]
    capsys.readouterr()
    assert judge(stale=True) == 0
    assert "nothing is stale" in capsys.readouterr().out


def test_accepting_does_not_publish_what_no_row_may_be(
    put: Callable[..., Any], home: Path, judge: Callable[..., int]
) -> None:
    propose(put, "searches", [*searched(FIRST, 2), *searched(FIRST, 1)], FIRST.isoformat())
    assert judge(accept=True) == 3
    assert warehouse("toy").days("safe", "searches") == []


def test_clicks_purchases_and_ages_across_tables(
    put: Callable[..., Any], home: Path, judge: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    house = warehouse("toy", must_exist=False)
    second, old = FIRST + timedelta(days=1), FIRST - timedelta(days=20)
    propose(put, "rankings", shown(FIRST, 200), FIRST.isoformat())
    propose(put, "reviews", [{"review_id": "r", "event_time": datetime(2019, 12, 17, tzinfo=UTC), "visitor": V,
                              "item_id": "i1", "known_time": datetime(2019, 12, 17, tzinfo=UTC), "language": "en",
                              "day": old, "simulated": False}], old.isoformat())  # fmt: skip

    def bought(day: date, amounts: list[str], rankings: list[str]) -> list[dict[str, Any]]:
        when = datetime(day.year, day.month, day.day, 12, tzinfo=UTC)
        common = {"event_time": when, "known_time": when, "day": day, "simulated": False, "visitor": V, "item_id": "i1"}
        buys = [{"interaction_id": f"b{n}", "kind": "purchase", "amount": Decimal(a)} for n, a in enumerate(amounts)]
        clicks = [{"interaction_id": f"c{n}", "kind": "click", "ranking_id": r} for n, r in enumerate(rankings)]
        return [{**common, **each} for each in [*buys, *clicks]]

    # Day one: 10 of 210 clicks lead nowhere. Day two: clicks on the day before's rankings; a cent has gone.
    clean = bought(second, ["1.50", "2.50"], [])
    made_of = put("toy", "clean", "interactions", [{**row, "visitor_id": "u", "source_file": "f", "source_row": 1}
                                                   for row in clean], second.isoformat())  # fmt: skip
    one = [f"r{FIRST}-{n}" for n in range(200)] + [f"gone{n}" for n in range(10)]
    propose(put, "interactions", bought(FIRST, ["1.00"], one), FIRST.isoformat())
    two = bought(second, ["1.50", "2.49"], [f"r{FIRST}-{n}" for n in range(50)])
    mark = put("toy", "safe", "interactions", two, second.isoformat())
    (house.folder("safe", "interactions") / "published" / f"{second}.json").unlink()
    path = house.folder("safe", "interactions") / "proposed" / f"{second}.json"
    path.write_text(json.dumps({**asdict(mark), "inputs": [made_of.name]}))
    assert judge() == 3
    err = capsys.readouterr().err
    assert f"warned: interactions {FIRST}: ranking_id is among the rankings (at most 0.02): 0.0323" in err
    assert f"refused: interactions {second}: purchases come to the amount that they had in clean: -1" in err
    assert "warned: reviews 2019-12-17: has rows of the last 14 days: 21" in err
