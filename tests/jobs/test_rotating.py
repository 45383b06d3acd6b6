"""Rotation: another key, serving that goes on, no old pseudonym left, and a key that is gone for good."""

import json
import shutil
import sqlite3
import stat
from argparse import Namespace
from collections import Counter
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from jobs import materialising, rotating
from jobs.console import Problem, Refused
from jobs.features import end_of_day, look_up
from jobs.pseudonyms import (
    current_epoch,
    held_epochs,
    key_file,
    linked,
    load_key,
    pseudonym,
    require_one_epoch,
    rotate,
    serving_key,
)
from jobs.warehouse import Mark, warehouse

pytestmark = pytest.mark.filterwarnings("ignore")  # of Feast and what it imports, none of them ours
DAY = date(2020, 1, 1)
AT = datetime(2020, 1, 1, 10, tzinfo=UTC)
ANN = "household-7"


def words(**more: Any) -> Namespace:
    return Namespace(**{"shop": "toy", "destroy": False, "dry_run": False, "yes": True, **more})


def published(put: Callable[..., Any]) -> None:
    """What the steps would leave below safe under the current key: one visitor's purchase, history and figures."""
    key = load_key("toy")
    end = {"event_time": end_of_day(DAY), "known_time": end_of_day(DAY), "day": DAY}
    who = pseudonym(key, ANN)
    bought = {"interaction_id": "n1", "item_id": "i1", "kind": "purchase", "basket_id": linked(key, "basket", "b1")}
    row = {**bought, "visitor": who, "event_time": AT, "known_time": AT, "simulated": False, "day": DAY}
    put("toy", "safe", "interactions", [row], str(DAY))
    history = {"items": ["i1"], "times": [AT], "counts": [1], "decayed": [1.0]}
    put("toy", "stats", "visitor_history", [{**end, "visitor": who, **history}], str(DAY))
    put("toy", "stats", "visitor_stats", [{**end, "visitor": who, "purchases_28d": 1}], str(DAY))
    put("toy", "stats", "item_stats", [{**end, "item_id": "i1", "purchases_28d": 1}], str(DAY))
    put("toy", "stats", "query_stats", [{**end, "query": "tea", "searches_28d": 3}], str(DAY))


def test_an_epoch_has_a_key_of_its_own(home: Path) -> None:
    first = load_key("toy")
    second = rotate("toy")
    assert (first.epoch, second.epoch, current_epoch("toy")) == (1, 2, 2)
    assert first.secret != second.secret and load_key("toy", 1) == first and load_key("toy") == second
    assert pseudonym(second, ANN).startswith("v2_") and pseudonym(first, ANN)[3:] != pseudonym(second, ANN)[3:]
    assert held_epochs("toy") == [1, 2]
    for path in (home / "toy" / "keys").glob("*.key"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_rotation_killed_in_the_middle_goes_on_with_the_key_that_was_made(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = load_key("toy")
    with monkeypatch.context() as killed:
        killed.setattr("jobs.pseudonyms.write_atomically", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            rotate("toy")
    assert load_key("toy") == before  # the epoch before is current still
    made = key_file("toy", 2).read_text()
    assert rotate("toy").secret.hex() == made.strip()


def test_a_key_that_is_gone_is_never_made_again(home: Path) -> None:
    load_key("toy")
    rotate("toy")
    for epoch in (1, 2):
        key_file("toy", epoch).unlink()
        with pytest.raises(Problem, match=f"key of epoch {epoch} is gone"):
            load_key("toy", epoch)


def test_two_epochs_side_by_side_would_make_two_visitors_of_one() -> None:
    def mark(day: str, epoch: int) -> Mark:
        inputs = (f"clean/interactions/{day}@00", f"policy/key_epoch/whole@{epoch}")
        return Mark("safe", "interactions", day, "a", "anonymise", 1, 1, "", "", "", inputs=inputs)

    one = [mark("2020-01-01", 1), mark("2020-01-02", 1)]
    require_one_epoch("toy", one)
    require_one_epoch("toy", [])
    with pytest.raises(Refused, match=r"epochs 1, 2.*2 partitions of an older epoch, first 2020-01-01"):
        require_one_epoch("toy", [*one, mark("2020-01-03", 2)])


def test_serving_uses_the_key_of_what_is_published_until_the_new_pseudonyms_are_there(
    put: Callable[..., Any], home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from models.serving.edge import Edge

    def known() -> Any:
        return look_up("toy", "recommender", [{"visitor": edge(ANN)}])[0].values["purchases_28d"]

    published(put)
    materialising.run(Namespace(shop="toy", first=None, last=None))
    edge = Edge("toy")
    old = edge(ANN)
    assert old.startswith("v1_") and known() == 1

    rotating.run(words())
    assert "next: python -m jobs anonymise --shop toy --stale" in capsys.readouterr().out
    assert edge(ANN) == old and known() == 1  # nothing below safe bears the new pseudonyms yet
    with pytest.raises(Problem, match="not at its end"):
        rotating.run(words())
    with pytest.raises(Refused, match=r"epoch 1 are still below safe, in 4 columns"):
        rotating.run(words(destroy=True))
    assert held_epochs("toy") == [1, 2]

    receipts = home / "toy" / "receipts"
    receipts.mkdir()
    line = json.dumps({"receipt_id": "r", "visitor": old, "data": []}) + "\n"
    (receipts / "2020-01-02.jsonl").write_text(line * 2)
    published(put)  # as anonymise, validate and aggregate leave it under the new key
    materialising.run(Namespace(shop="toy", first=None, last=None))
    assert "1 entities under pseudonyms of an older key are gone" in capsys.readouterr().out
    new = edge(ANN)  # the same edge, without a restart
    assert new.startswith("v2_") and known() == 1 and serving_key("toy").epoch == 2
    with pytest.raises(Refused, match="still below safe"):  # files that nobody points to can be read as well
        rotating.run(words(destroy=True))

    house = warehouse("toy")
    for zone, name in (("safe", "interactions"), ("stats", "visitor_history"), ("stats", "visitor_stats")):
        kept = {m.attempt for m in house.marks(zone, name)}
        for attempt in (house.folder(zone, name) / "attempts").iterdir():
            if attempt.name not in kept:
                shutil.rmtree(attempt)
    secret = key_file("toy", 1).read_text().strip()
    rotating.run(words(destroy=True, dry_run=True))
    assert held_epochs("toy") == [1, 2]
    rotating.run(words(destroy=True))
    out = capsys.readouterr()
    assert held_epochs("toy") == [2] and "2 receipts name nobody now" in out.out
    assert secret not in out.out + out.err

    below = [p for p in (home / "toy").rglob("*") if p.is_file()]
    assert len(below) > 10
    for path in below:  # the old pseudonym, and the old key, in no file, in no free page of the online store
        data = path.read_bytes()
        assert old.encode() not in data and secret.encode() not in data, path
    shown = [json.loads(each) for each in (receipts / "2020-01-02.jsonl").read_text().splitlines()]
    assert [each["visitor"] for each in shown] == ["v0_" + "0" * 32] * 2
    assert len((receipts / "2020-01-02.jsonl").read_text()) == 2 * len(line)  # each lies where its id says
    with sqlite3.connect(home / "toy" / "feast" / "online.db") as live:
        names = [
            n for (n,) in live.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name LIKE 'toy_%'")
        ]
        keys = {k for n in names for (k,) in live.execute(f'SELECT entity_key FROM "{n}"')}
    assert sum(b"v2_" in key for key in keys) == 1 and any(b"tea" in key for key in keys)  # other entities stay
    rotating.run(words())  # and from here the next one may begin
    assert current_epoch("toy") == 3


def test_a_shop_with_one_key_has_nothing_to_destroy(
    put: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    published(put)
    assert rotating.run(words(destroy=True)) == 0
    assert "epoch 1 is the only one" in capsys.readouterr().out
    assert held_epochs("toy") == [1]


@pytest.mark.long
def test_after_a_rotation_from_end_to_end_everybody_has_another_name_and_nothing_else_is_changed(
    week: Path, jobs: Callable[..., Any], home: Path
) -> None:
    """By the real commands, in the order that `rotate` tells."""
    shutil.copytree(week, home)  # no links: a key that goes is overwritten in place

    def done(*words: str) -> None:
        told = jobs(*words, "--shop", "sample")
        assert told.returncode == 0, told.stderr

    def counted() -> Counter[tuple[str, ...]]:
        """What visitors did, by what they did it to: their names left out."""
        rows = warehouse("sample").read("safe", "interactions").drop_columns(["visitor", "basket_id"]).to_pylist()
        return Counter(tuple(str(value) for value in row.values()) for row in rows)

    def names() -> set[str]:
        house = warehouse("sample")
        return {
            name
            for zone, table in (("safe", "interactions"), ("safe", "searches"), ("stats", "visitor_stats"))
            for name in house.read(zone, table, columns=["visitor"])["visitor"].to_pylist()
        }

    before, old, key = counted(), names(), load_key("sample")
    done("rotate")
    assert jobs("rotate", "--shop", "sample", "--destroy", "--yes").returncode == 3
    for step in ("anonymise", "validate", "aggregate"):
        done(step, "--stale")
    done("materialise")
    done("collect", "--keep-hours", "0")
    done("rotate", "--destroy", "--yes")
    new = names()
    assert counted() == before and len(new) == len(old) > 10 and not new & old
    ids = set(warehouse("sample").read("clean", "interactions", columns=["visitor_id"])["visitor_id"].to_pylist())
    assert {pseudonym(load_key("sample"), each) for each in ids} <= new and held_epochs("sample") == [2]
    written = [path.read_bytes() for path in (home / "sample").rglob("*") if path.is_file()]
    told = [pseudonym(key, each).encode() for each in sorted(ids)][:5]
    assert not [name for name in told if any(name in file for file in written)]
