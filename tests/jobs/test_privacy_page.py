"""The privacy page: what is there is told with its source, what was not run is said to be so, and nobody is on it."""

import json
import re
import shutil
import subprocess
from argparse import Namespace
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from jobs import audit, privacy_page
from jobs.privacy_page import NO, NOT_RUN, OK, TOLD, Check, attacked, checks, gather, html, residue
from jobs.pseudonyms import load_key, pseudonym, rotate
from jobs.releasing import Ledger, Policy
from jobs.warehouse import Warehouse, warehouse

NOW = datetime(2026, 11, 22, 14, tzinfo=UTC)
DAY = date(2020, 1, 1)
CAUGHT = {"figure": 1.0, "caught": True}
LINKAGE = {"figure": 0.08, "limit": 0.1, "passed": True, "prosecutor": 0.02, "targets": 900, "canary": CAUGHT}
SECRETS = ("household-7", "my secret query", "ann@x.example")


def report(home: Path, name: str, values: Any) -> None:
    path = home / "toy" / "reports" / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values))


@pytest.fixture
def house(put: Callable[..., Any], home: Path) -> Warehouse:
    """A shop with two days below safe, as its steps leave them."""
    key, made = load_key("toy"), warehouse("toy", must_exist=False)
    who = pseudonym(key, SECRETS[0])
    at = {"event_time": datetime(2020, 1, 1, 10, tzinfo=UTC), "known_time": datetime(2020, 1, 1, 10, tzinfo=UTC),
          "simulated": False, "day": DAY}  # fmt: skip
    put("toy", "safe", "searches", [{"search_id": "s", "visitor": who, "query": SECRETS[1], **at}], str(DAY))
    (mark,) = made.marks("safe", "searches")
    made.publish(mark, {"scrubbed": {"EMAIL": 3}, "residue": {"email": 0}})
    people = {"known_time": at["known_time"], "simulated": False}
    put("toy", "safe", "visitors", [{"visitor": who, "age": "19-24", **people}])
    (mark,) = made.marks("safe", "visitors")
    levels = {"age": {"level": 1, "of": 3}}
    made.publish(mark, {"k": 12, "k_wanted": 10, "l": 2, "l_wanted": 2, "l_of": "income", "policy_version": 3,
                        "columns_generalised": levels, "attacks": {"linkage": LINKAGE}})  # fmt: skip
    put("toy", "stats", "query_stats", [], str(DAY))
    made.publish(made.marks("stats", "query_stats")[0], {"rare": {"queries": 4, "searches": 5}})
    dropped = {"visitors": ["name", "email"]}
    report(home, "privacy", {"columns_dropped": dropped, "suppressed_share": 0.013,
                             "scrubbed": {"searches": {"EMAIL": 3}},
                             "residue": {"searches": {"email": 0}}})  # fmt: skip
    return made


def by_name(house: Warehouse) -> dict[str, Check]:
    return {check.what: check for check in checks(gather(house, NOW))}


def test_what_was_not_run_is_said_to_be_so(home: Path) -> None:
    (home / "toy" / "warehouse").mkdir(parents=True)
    load_key("toy")
    found = by_name(warehouse("toy"))
    states = {check.state for name, check in found.items() if not name.startswith(("epsilon", "one epoch"))}
    assert states == {NOT_RUN}
    for check in found.values():
        assert check.where, check.what
    text = html(gather(warehouse("toy"), NOW))
    assert "? not run" in text and "python -m jobs scan --shop toy" in text
    assert not (home / "toy" / "policy").exists()  # looking writes nothing


def test_every_figure_stands_beside_its_limit_and_its_source(house: Warehouse, home: Path) -> None:
    found = by_name(house)
    k = found["k: visitors who look the same, at least"]
    assert (k.state, k.figure, k.limit) == (OK, "12", "at least 10") and "mark of safe/visitors" in k.where
    assert found["linkage"].state == OK and found["linkage"].figure == "0.08; canary caught"
    assert found["uniqueness"].state == NOT_RUN
    shares = {"rows": 9, "shares": [{"points": 2, "figure": 0.5}], "canary": CAUGHT}
    report(home, "attacks", {"shop": "toy", "linkage": {**LINKAGE, "figure": 0.09}, "uniqueness": {"purchase": shares}})
    found = by_name(house)
    assert found["linkage"].figure.startswith("0.09") and "uniqueness" not in found
    unique = found["uniqueness: purchase"]
    assert (unique.state, unique.limit) == (TOLD, "none here; 5% for what is exported")
    text = html(gather(house, NOW))
    for told in ("name, email", "EMAIL", "1.30 % of visitors suppressed", "age", "5", "2020-01-01"):
        assert told in text
    assert house.marks("safe", "visitors")[0].name in text


@pytest.mark.parametrize(
    ("found", "state", "told"),
    [
        (LINKAGE, OK, "0.08; canary caught"),
        ({**LINKAGE, "passed": False}, NO, "0.08; canary caught"),
        ({**LINKAGE, "canary": {"caught": False}}, NO, "0.08; CANARY MISSED, so this proves nothing"),
        ({k: v for k, v in LINKAGE.items() if k != "canary"}, NO, "0.08; no canary"),
        ({"figure": 0.52, "interval": [0.5, 0.54], "limit": 0.6, "passed": True, "canary": CAUGHT}, OK,
         "0.52 [0.5, 0.54]; canary caught"),
        ({"figure": {"mean": 0.5, "low": 0.4, "high": 0.6}, "passed": True, "canary": CAUGHT}, OK,
         "0.500 [0.400, 0.600]; canary caught"),
        ({"shares": [{"points": 2, "figure": 0.988}], "canary": CAUGHT}, TOLD, "by points, 2: 98.8 %; canary caught"),
        ({}, NOT_RUN, "-; no canary"),
        ({"figure": None, "passed": False, "invalid": "unknown members", "canary": {"caught": None}}, NO,
         "-; no canary; unknown members"),
    ],
)  # fmt: skip
def test_an_attack_counts_only_with_the_canary_that_it_caught(found: dict[str, Any], state: str, told: str) -> None:
    made = attacked("an attack", found, "here")
    assert (made.state, made.figure) == (state, told)


@pytest.mark.parametrize(
    ("notes", "state", "figure"),
    [({"k": 12, "l": 2, "l_wanted": 2}, OK, "2"), ({"k": 12, "l": 1, "l_wanted": 2}, NO, "1"),
     ({"k": 12, "l": None, "l_wanted": 2, "l_of": "income"}, OK, "income is told of nobody"),
     ({"k": None, "l": None, "l_wanted": 2}, NOT_RUN, "-"), ({"k": 12, "l_wanted": 2}, NOT_RUN, "-"),
     ({}, NOT_RUN, "-")],
)  # fmt: skip
def test_what_is_hidden_whole_needs_no_diversity(notes: dict[str, Any], state: str, figure: str) -> None:
    made = privacy_page.diverse(notes, "here")
    assert (made.state, made.figure) == (state, figure)


def test_what_no_caller_meets_of_a_model_is_told_and_not_limited() -> None:
    found = {"figure": 0.7, "limit": 0.6, "passed": False, "canary": CAUGHT}
    made = privacy_page.judged("recommend", "membership: factors", found, ["scorer"], "here")
    assert (made.what, made.state, made.limit) == ("recommend: membership: factors, in its files alone", TOLD, "none")
    for served in (["factors"], None):  # a report that does not say so exempts nothing
        assert privacy_page.judged("recommend", "membership: factors", found, served, "here").state == NO
    assert privacy_page.judged("recommend", "attributes", {**found, "passed": True}, [], "here").state == OK
    unlimited = {**found, "limit": None, "passed": True}
    assert privacy_page.judged("recommend", "attributes", unlimited, [], "here").state == TOLD
    missed = {**unlimited, "canary": {"caught": False}}
    assert privacy_page.judged("recommend", "attributes", missed, [], "here").state == NO


CLEAN = {"total": 0, "limit": 0, "passed": True, "canaries": {"planted": ["zip", "sqlite"], "found": 2}}


@pytest.mark.parametrize(
    ("found", "state"),
    [({}, NOT_RUN), (CLEAN, OK), ({**CLEAN, "total": 2, "passed": False}, NO), ({"odd": 1}, NO),
     ({**CLEAN, "canaries": {"planted": ["zip", "sqlite"], "found": 1}}, NO), ({**CLEAN, "canaries": {}}, NO)],
)  # fmt: skip
def test_residue_of_any_shape_is_never_taken_for_none(found: dict[str, Any], state: str) -> None:
    assert residue(found, "here").state == state


def test_models_the_budget_the_keys_and_the_audit_log_are_on_it(house: Warehouse, home: Path) -> None:
    member = {"figure": 0.7, "low": 0.66, "high": 0.74, "limit": 0.6, "passed": False, "canary": CAUGHT}
    report(home, "recommend", {"privacy": {"membership: scorer": member}})
    ledger = Ledger("toy")
    with ledger.turn():
        ledger.pay(Policy(), {"release": "r1", "table": "purchases", "epsilon": "0.5", "delta": "0"}, NOW)
    head = audit.append("toy", {"command": "clean"})
    found = by_name(house)
    assert found["recommend: membership: scorer"].state == NO
    assert found["recommend: membership: scorer"].figure == "0.7 [0.66, 0.74]; canary caught"
    assert found["search: membership, canaries, attributes"].state == NOT_RUN
    assert found["epsilon spent on released counts"].figure == "0.5"
    assert found["one epoch of pseudonyms, and one key"].state == OK
    assert found["audit log unbroken"].state == OK
    text = html(gather(house, NOW))
    assert head in text and "1.5 are left until 2027-01-01" in text

    rotate("toy")
    path = audit.log_file("toy")
    path.write_bytes(path.read_bytes() + b'{"before": "0"}\n')
    found = by_name(house)
    assert found["one epoch of pseudonyms, and one key"].state == NO  # until the older key is destroyed
    assert found["audit log unbroken"].state == NO
    with ledger.turn():  # a policy that was lowered after the fact
        ledger.pay(Policy(), {"release": "r2", "epsilon": "1", "delta": "0"}, NOW)
    policy = home / "toy" / "policy" / "release.json"
    policy.parent.mkdir(parents=True)
    policy.write_text('{"epsilon": "1"}')
    assert by_name(house)["epsilon spent on released counts"].state == NO
    assert Decimal(gather(house, NOW)["budget"]["left"]) == Decimal("-0.5")


def test_the_page_is_whole_names_nobody_and_asks_nobody(
    house: Warehouse, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report(home, "residue", {**CLEAN, "passed": False, "found": [{"path": "<script>alert(1)</script>"}]})
    assert privacy_page.run(Namespace(shop="toy")) == 0
    out = capsys.readouterr().out
    assert "✗ does not hold" in out and "reports/privacy.html" in out
    text = (home / "toy" / "reports" / "privacy.html").read_text()
    assert text == (home / "toy" / "docs" / "privacy.html").read_text()  # what Airflow's API server gives out
    assert "<script" not in text and not re.search(r"""(src|href)=["']?https?:|@import|url\(""", text)
    key = load_key("toy")
    for secret in (*SECRETS, pseudonym(key, SECRETS[0]), key.secret.hex()):
        assert secret not in text + out


@pytest.mark.skipif(not shutil.which("chromium"), reason="no Chromium on this machine")
def test_a_browser_shows_it(house: Warehouse, tmp_path: Path) -> None:
    page = tmp_path / "privacy.html"
    page.write_text(html(gather(house, NOW)))
    words = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
             "--no-first-run", "--dump-dom", f"file://{page}"]  # fmt: skip
    shown = subprocess.run(words, capture_output=True, text=True, check=True, timeout=120).stdout
    assert "Every claim" in shown and shown.count("<section") >= 8


def test_erasures_are_told_with_what_their_certificates_say(house: Warehouse, home: Path) -> None:
    assert "0 signed certificates" in html(gather(house, NOW))
    for folder in ("certificates", "pending", "requests"):
        (home / "toy" / "erasures" / folder).mkdir(parents=True)
    told = {"erasure": 7, "ended": "2026-03-01T10:00:00+00:00", "by": "<the office>", "visitors": ["aa", "bb"],
            "partitions": [{"rows": 40}, {"rows": 2}], "search": {"files": 1234}, "models": [],
            "models are to be": "retired"}  # fmt: skip
    (home / "toy" / "erasures" / "certificates" / "000007.json").write_text(json.dumps(told))
    (home / "toy" / "erasures" / "requests" / "r0123456789ab.json").write_text("{}")
    text = html(gather(house, NOW))
    assert "1 signed certificates; 0 erasures begun and not ended; 1 requests wait" in text
    for shown in ("2026-03-01T10:00:00", "&lt;the office&gt;", "42", "1,234", "retired"):
        assert shown in text
    assert "aa" not in re.findall(r"<td[^>]*>([^<]*)</td>", text)
