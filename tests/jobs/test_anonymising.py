"""Anonymisation, end to end on a small shop: who the visitors are is gone, and the key is nowhere."""

import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from jobs.pseudonyms import linked, load_key, pseudonym, rotate
from jobs.warehouse import Warehouse, warehouse

KNOWN = datetime(2020, 1, 3, tzinfo=UTC)
DAY = "2020-01-01"


def origin(row: int) -> dict[str, Any]:
    return {"source_file": "f.csv", "source_row": row, "known_time": KNOWN, "simulated": False}


def shop(put: Callable[..., Any]) -> Warehouse:
    """100 visitors in three large groups, and one who fits no group."""
    people = [
        {
            "visitor_id": f"u{n}",
            "name": f"Ann Smith{n}",
            "email": f"ann{n}@x.example",
            "phone": f"+1 415 555 {n:04d}",
            "age": ("19-24", "45-54", None)[n % 3] if n < 99 else "65+",
            "kids": "0" if n < 99 else "3+",
            **origin(n),
        }
        for n in range(100)
    ]
    put("toy", "clean", "visitors", people)
    put("toy", "clean", "items", [{"item_id": "i1", "title": "tea", "language": "en", **origin(1)}])
    event = {"event_time": datetime(2020, 1, 1, 10, tzinfo=UTC), "day": date(2020, 1, 1)}
    texts = ["hi, ann{n}@x.example here", "Smith{n}, 415-555-{n:04d}", "good tea", None]
    tickets = [
        {"ticket_id": f"t{n:03d}", "visitor_id": f"u{n}", "text": t and t.format(n=n), "language": "en", **event}
        | origin(n)
        for n in range(100)
        for t in [texts[n % 4]]
    ]
    put("toy", "clean", "tickets", tickets, DAY)
    bought = {"item_id": "i1", "kind": "purchase", "basket_id": "u1"}
    put(
        "toy",
        "clean",
        "interactions",
        [{"interaction_id": "n1", "visitor_id": "u1", **bought, **event, **origin(1)}],
        DAY,
    )
    return warehouse("toy")


def anonymise() -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, with a log of its own."""
    words = [sys.executable, "-m", "jobs", "anonymise", "--shop", "toy", "--verbose"]
    return subprocess.run(words, capture_output=True, text=True, check=False)


def test_the_safe_zone_holds_no_visitor_and_the_key_is_in_no_log(
    put: Callable[..., Any],
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    jobs: Callable[..., "subprocess.CompletedProcess[str]"],
) -> None:
    house = shop(put)
    logs = tmp_path / "events"
    logs.mkdir()
    monkeypatch.setenv(
        "ENDCAP_SPARK_CONF",
        f"spark.driver.memory=1g;spark.sql.shuffle.partitions=2;spark.eventLog.enabled=true;spark.eventLog.dir={logs};"
        "spark.eventLog.compress=false",
    )
    done = anonymise()
    assert done.returncode == 0, done.stderr
    key = load_key("toy")

    log = "".join(p.read_text() for p in logs.rglob("*") if p.is_file())
    assert "hmac" in log.lower()  # the log does hold the plan
    for form in (key.secret.hex(), key.secret.hex().upper(), str(list(key.secret))[1:-1]):
        assert form not in log + done.stdout + done.stderr

    visitors = house.read("safe", "visitors", state="proposed").to_pylist()
    assert {v["visitor"] for v in visitors} == {pseudonym(key, f"u{n}") for n in range(99)}
    assert set(Counter((v["age"], v["kids"]) for v in visitors).values()) == {33}
    assert {v["age"] for v in visitors} == {"19-24", "45-54", "unknown"}
    mark = house.marks("safe", "visitors", state="proposed")[0]
    assert (mark.counts["in"], mark.counts["out"], mark.counts["suppressed"]) == (100, 99, 1)
    assert house.marks("safe", "visitors") == []  # only the data gate publishes
    assert (mark.notes["k"], mark.notes["l"], mark.notes["l_wanted"], mark.notes["t"]) == (33, None, 2, None)
    linkage = mark.notes["attacks"]["linkage"]
    assert linkage["figure"] == pytest.approx(1 / 33) and linkage["limit"] == 0.1 and linkage["passed"]
    assert (linkage["targets"], linkage["published"], linkage["canary"]["caught"]) == (100, 99, True)

    bought = house.read("safe", "interactions", state="proposed").to_pylist()[0]
    assert bought["visitor"] == pseudonym(key, "u1")
    assert bought["basket_id"] == linked(key, "basket", "u1")

    tickets = {t["ticket_id"]: t["text"] for t in house.read("safe", "tickets", state="proposed").to_pylist()}
    tie = "_[g-v]{8}"
    assert re.fullmatch(f"hi, <EMAIL{tie}> here", tickets["t000"])
    assert re.fullmatch(f"<NAME{tie}>, <PHONE{tie}>", tickets["t001"])
    assert tickets["t000"] != tickets["t004"]  # another visitor's address
    assert (tickets["t002"], tickets["t003"]) == ("good tea", None)

    report = json.loads((home / "toy" / "reports" / "privacy.json").read_text())
    assert (report["k"], report["suppressed"], report["key_epoch"]) == (33, 1, 1)
    assert report["columns_dropped"]["visitors"] == ["name", "email", "phone", "address"]
    assert report["scrubbed"]["tickets"] == {"EMAIL": 25, "NAME": 25, "PHONE": 25}
    assert set(report["residue"]["tickets"].values()) == {0}

    later = {"event_time": datetime(2020, 1, 2, 10, tzinfo=UTC), "day": date(2020, 1, 2)}
    mine = {"ticket_id": "t100", "visitor_id": "u1", "text": "ann1@x.example", "language": "en"}
    put("toy", "clean", "tickets", [{**mine, **later, **origin(100)}], "2020-01-02")
    assert jobs("anonymise", "--shop", "toy", "--first=2020-01-02").returncode == 0
    assert house.marks("safe", "visitors", state="proposed")[0].sha256 == mark.sha256  # the same input, the same bytes
    again = json.loads((home / "toy" / "reports" / "privacy.json").read_text())
    assert again["scrubbed"]["tickets"] == {"EMAIL": 26, "NAME": 25, "PHONE": 25}  # a run of one day hides no other
    assert (again["first"], again["last"], again["k"]) == (DAY, "2020-01-02", 33)


@pytest.fixture
def run(spark: Any) -> Callable[..., None]:
    """The step, in the tests' own session; a refusal is raised."""
    from argparse import Namespace

    from jobs import anonymising

    def _run(**more: Any) -> None:
        assert anonymising.run(Namespace(**{"shop": "toy", "first": None, "last": None, "stale": False, **more})) == 0

    return _run


def test_levels_are_fitted_once(put: Callable[..., Any], home: Path, run: Callable[..., None]) -> None:
    """A policy that is there is used, not fitted again; who does not fit it is suppressed."""
    from jobs import generalising as g
    from jobs import generalising_policy as gp

    house = shop(put)
    path = home / "toy" / "policy" / "generalisation.json"
    path.parent.mkdir(parents=True)
    levels = {c: g.top(c) for c in g.HIERARCHIES} | {"kids": 0}
    path.write_text(gp.dump(g.Policy(levels, version=7)))
    before = path.read_text()
    run()
    assert path.read_text() == before
    visitors = house.read("safe", "visitors", state="proposed").to_pylist()
    assert {(v["age"], v["kids"]) for v in visitors} == {("*", "0")}
    assert len(visitors) == 99
    assert house.marks("safe", "visitors", state="proposed")[0].notes["policy_version"] == 7


# ---- limits of the visitors, each broken on purpose ---------------------------------------------------


def crowd(put: Callable[..., Any], *groups: tuple[int, str, str | None]) -> None:
    """Clean visitors: so many of each age and income."""
    rows = [(age, income) for count, age, income in groups for _ in range(count)]
    people = [
        {"visitor_id": f"u{n}", "age": age, "income": income, **origin(n)} for n, (age, income) in enumerate(rows)
    ]
    put("toy", "clean", "visitors", people)


def stopped(house: Warehouse, run: Callable[..., None], why: str) -> None:
    """The run ends with a refusal, nothing is proposed, no file is left, and the refusal is remembered."""
    from jobs.console import Refused

    with pytest.raises(Refused, match=why):
        run()
    assert house.marks("safe", "visitors", state="proposed") == []
    assert list((house.folder("safe", "visitors") / "attempts").rglob("*.parquet")) == []
    assert house.refusals("safe", "visitors", "anonymise")["whole"].why
    run(stale=True)  # asked once is enough


def test_a_group_below_k_or_a_block_below_l_stops_the_run(
    put: Callable[..., Any], run: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    from jobs import generalising

    crowd(put, (200, "19-24", "Under 15K"), (200, "19-24", "75-99K"), (3, "65+", None))
    house = warehouse("toy")
    with monkeypatch.context() as broken:  # as if nobody had been suppressed
        broken.setattr(generalising, "shown", lambda columns, counts, k, l: dict(counts))
        stopped(house, run, "reaches only k = 3, not 10")
    run()
    mark = house.marks("safe", "visitors", state="proposed")[0]
    assert (mark.counts["suppressed"], mark.notes["k"], mark.notes["l"]) == (3, 200, 2)
    assert mark.notes["entropy_l"] == pytest.approx(2.0) and mark.notes["t_distance"] == "ordered"
    assert house.refusals("safe", "visitors", "anonymise") == {}

    crowd(put, (200, "19-24", "Under 15K"), (200, "19-24", "75-99K"), (20, "65+", "Under 15K"))  # all the old are poor
    before = mark.attempt
    with monkeypatch.context() as broken:
        real = generalising.shown
        broken.setattr(generalising, "shown", lambda columns, counts, k, l: real(columns, counts, k, 1))
        with pytest.raises(Exception, match="reaches only l = 1, not 2"):
            run()
    assert house.marks("safe", "visitors", state="proposed")[0].attempt == before  # what was there stands
    run()
    mark = house.marks("safe", "visitors", state="proposed")[0]
    assert (mark.counts["suppressed"], mark.notes["l"]) == (20, 2)


def test_a_visitor_who_is_found_stops_the_run(
    put: Callable[..., Any], run: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if everybody had been left as they are, and the count of groups had not looked: the attack does."""
    from jobs import anonymising

    crowd(put, *((20, age, None) for age in ("19-24", "25-34", "45-54", "55-64")), (1, "65+", "250K+"))
    house = warehouse("toy")
    monkeypatch.setattr(
        anonymising, "generalised", lambda rows, columns, counts, policy: (rows.fillna("unknown", columns), 0)
    )
    monkeypatch.setattr(anonymising, "groups_reached", lambda attempt, policy: {})
    stopped(house, run, "linkage: 1 of 81 visitors attacked are found with more than the 0.100 allowed, one with 1.000")


def test_misfits_beyond_the_policys_share_stop_the_run_until_it_is_fitted_anew(
    put: Callable[..., Any], run: Callable[..., None], jobs: Callable[..., Any]
) -> None:
    house = warehouse("toy", must_exist=False)
    crowd(put, (60, "19-24", None), (60, "45-54", None))
    run()
    first = house.marks("safe", "visitors", state="proposed")[0]
    crowd(put, (60, "19-24", None), (60, "45-54", None), (9, "65+", None))
    run(stale=True)  # 7 %: suppressed and counted, above what a fit may, below what stops
    second = house.marks("safe", "visitors", state="proposed")[0]
    assert (second.counts["suppressed"], second.notes["policy_version"]) == (9, 1)
    crowd(put, (60, "19-24", None), (60, "45-54", None), (9, "65+", None), (9, "55-64", None), (9, "25-34", None))
    refused = jobs("anonymise", "--shop", "toy", "--stale")
    assert refused.returncode == 3 and "27 of 147 visitors (18.4%)" in refused.stderr
    assert "python -m jobs policy --shop toy --refit" in refused.stderr
    assert house.marks("safe", "visitors", state="proposed")[0].attempt == second.attempt
    assert "nothing is stale" in jobs("anonymise", "--shop", "toy", "--stale").stdout
    assert jobs("policy", "--shop", "toy", "--refit").returncode == 0
    assert jobs("anonymise", "--shop", "toy", "--stale").returncode == 0
    third = house.marks("safe", "visitors", state="proposed")[0]
    assert (third.notes["policy_version"], third.counts["suppressed"]) == (2, 0)
    assert {name for name in third.inputs if "generalisation" in name} != {
        name for name in first.inputs if "generalisation" in name
    }
    assert house.refusals("safe", "visitors", "anonymise") == {}


# ---- what is stale, and what is refused ---------------------------------------------------------------


def ticket(put: Callable[..., Any], n: int, day: int, text: str) -> None:
    when = {"event_time": datetime(2020, 1, day, 10, tzinfo=UTC), "day": date(2020, 1, day)}
    row = {"ticket_id": f"t{n}", "visitor_id": "u1", "text": text, "language": "en", **when, **origin(n)}
    put("toy", "clean", "tickets", [row], f"2020-01-{day:02d}")


def proposals(house: Warehouse) -> dict[str, str]:
    """Attempts of everything proposed, by table and day."""
    return {
        f"{name} {mark.day}": mark.attempt
        for name in ("visitors", "items", "tickets", "interactions")
        for mark in house.marks("safe", name, state="proposed")
    }


def test_only_what_changed_is_written_again(
    put: Callable[..., Any], home: Path, run: Callable[..., None], capsys: Any
) -> None:
    house = shop(put)
    run(stale=True)
    before = proposals(house)
    assert set(before) == {"visitors whole", "items whole", f"tickets {DAY}", f"interactions {DAY}"}
    run(stale=True)
    assert "nothing is stale" in capsys.readouterr().out and proposals(house) == before

    ticket(put, 500, 2, "good tea")
    run(stale=True)
    assert {k: v for k, v in proposals(house).items() if k != "tickets 2020-01-02"} == before

    people = house.read("clean", "visitors").to_pylist()
    put("toy", "clean", "visitors", people[:-1])  # texts are scrubbed of what visitors are called: they hang on them
    middle = proposals(house)
    run(stale=True)
    changed = {key for key, attempt in proposals(house).items() if middle[key] != attempt}
    assert changed == {"visitors whole", f"tickets {DAY}", "tickets 2020-01-02"}

    rotate("toy")  # every pseudonym is another
    middle = proposals(house)
    run(stale=True)
    changed = {key for key, attempt in proposals(house).items() if middle[key] != attempt}
    assert changed == set(middle) - {"items whole"}
    key = load_key("toy")
    visitors = house.read("safe", "visitors", state="proposed")["visitor"].to_pylist()
    assert key.epoch == 2 and set(visitors) == {pseudonym(key, f"u{n}") for n in range(99)}
    assert not set(visitors) & {pseudonym(load_key("toy", 1), f"u{n}") for n in range(99)}


def test_a_day_in_which_a_person_is_left_holds_up_no_other_and_is_not_asked_again(
    put: Callable[..., Any], run: Callable[..., None], monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    from jobs import scrubbing
    from jobs.console import Refused

    house = shop(put)
    ticket(put, 500, 2, "good tea")
    with monkeypatch.context() as broken:  # as if people had found a way to write their names that we do not know
        broken.setattr(scrubbing, "scrubbed", lambda rows, column, patterns, visitor: rows)
        with pytest.raises(Refused, match=r"would still hold direct identifiers: .*1 days, first 2020-01-01"):
            run()
    assert house.days("safe", "tickets", "proposed") == ["2020-01-02"]
    assert house.days("safe", "visitors", "proposed") == ["whole"]
    attempts = house.folder("safe", "tickets") / "attempts"
    assert [p.parent.name for p in attempts.rglob("*.parquet")] == ["_day=2020-01-02"]  # the texts did not stay
    refusal = house.refusals("safe", "tickets", "anonymise")[DAY]
    assert refusal.why and not any("ann" in why.lower() for why in refusal.why)

    run(stale=True)  # the same rows and the same code: asked once is enough
    assert "nothing is stale" in capsys.readouterr().out
    run()  # by hand, and now the scrubber finds them
    assert house.days("safe", "tickets", "proposed") == [DAY, "2020-01-02"]
    assert house.refusals("safe", "tickets", "anonymise") == {}
