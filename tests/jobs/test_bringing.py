"""materialise, over both stores: what is new and no more, on from where it was cut off, and what if it cannot."""

import fcntl
import resource
import signal
import sqlite3
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from jobs import feature_store, features, materialising
from jobs.console import Problem
from jobs.online import Brought, Down
from jobs.warehouse import Mark, warehouse

pytestmark = [pytest.mark.usefixtures("applied_once"), pytest.mark.filterwarnings("ignore")]  # of Feast, none is ours
DAY0 = date(2017, 3, 1)


def put_day(put: Callable[..., Any], shop: str, day: int, bought: dict[str, int], **more: Any) -> None:
    """A day of item statistics."""
    at = {"event_time": features.end_of_day(DAY0 + timedelta(days=day)), "day": DAY0 + timedelta(days=day)}
    rows = [
        {**at, "known_time": at["event_time"], "item_id": item, "purchases_28d": n, **more}
        for item, n in bought.items()
    ]
    put(shop, "stats", "item_stats", rows, str(at["day"]))


def run(shop: str, capsys: pytest.CaptureFixture[str], **words: Any) -> list[str]:
    """Materialise; the words of the line about items."""
    capsys.readouterr()
    materialising.run(Namespace(**{"shop": shop, "first": None, "last": None, "compact": False, **words}))
    return next(line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("item_stats"))


def look(shop: str, *items: str) -> list[Any]:
    return [each.values["purchases_28d"] for each in features.look_up(shop, "items", [{"item_id": i} for i in items])]


def stale(shop: str) -> bool:
    return bool(features.look_up(shop, "items", [{"item_id": "a"}])[0].stale)


def mark(day: str, digest: str) -> Mark:
    """A mark as the warehouse has it, for what is decided by names alone."""
    return Mark("stats", "item_stats", day, "attempt", "test", 1, 1, digest, "schema", "code")


def test_what_is_to_be_brought() -> None:
    a, b, c, other = mark("2017-03-01", "1"), mark("2017-03-02", "2"), mark("2017-03-03", "3"), mark("2017-03-01", "9")
    done = Brought({m.day: m.name for m in (a, b)}, b.name)

    def days(before: Brought, *marks: Mark, first: date | None = None, last: date | None = None) -> tuple[str, bool]:
        asked = materialising.work(before, marks, first, last)
        return "".join(m.sha256 for m in asked.marks), asked.whole

    assert days(Brought(), a, b) == ("12", True)
    assert days(done, a, b) == ("", False)
    assert days(done, a, b, c) == ("3", False)
    assert days(done, other, b, c) == ("923", True)  # a day is another now
    assert days(done, b, c) == ("23", True)  # a day is gone
    assert days(done, a, b, c, first=date(2017, 3, 2), last=date(2017, 3, 2)) == ("2", False)
    after = materialising.work(done, (a, b, c), date(2017, 3, 3), None).after
    assert set(after.days) == {"2017-03-01", "2017-03-02", "2017-03-03"} and after.newest == c.name
    assert materialising.work(Brought(), (a, b, c), None, date(2017, 3, 1)).after.newest == ""
    assert materialising.work(done, (), None, None).marks == ()
    assert (
        materialising.work(Brought(), (a,), None, None).digest != materialising.work(Brought(), (b,), None, None).digest
    )


def test_only_new_days_are_brought(online: str, put: Callable[..., Any], capsys: pytest.CaptureFixture[str]) -> None:
    put_day(put, online, 0, {"a": 1, "b": 2})
    put_day(put, online, 1, {"a": 3})
    assert run(online, capsys) == ["item_stats", "3", "2", "all", "days"]
    assert run(online, capsys) == ["item_stats", "0", "0", "nothing", "new"]
    put_day(put, online, 2, {"c": 5})
    assert run(online, capsys) == ["item_stats", "1", "1", "1", "day"]
    assert look(online, "a", "b", "c") == [3, 2, 5]


def test_what_is_no_longer_published_goes_out_of_the_store(
    online: str, put: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    put_day(put, online, 0, {"a": 1, "b": 2})
    put_day(put, online, 1, {"a": 3, "c": 4, "d": 6})
    run(online, capsys)
    put_day(put, online, 1, {"c": 5})  # the day again: without a and d, and with another value of c
    assert run(online, capsys) == ["item_stats", "3", "3", "all", "days"]
    assert look(online, "a", "b", "c", "d") == [1, 2, 5, None]
    (warehouse(online).pointers("stats", "item_stats") / f"{DAY0}.json").unlink()  # retired
    run(online, capsys)
    assert look(online, "a", "b", "c", "d") == [None, None, 5, None]


def test_cut_off_in_the_middle_it_goes_on_there(
    online: str, put: Callable[..., Any], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after the third of seven batches; what had arrived is served, and not brought again."""
    monkeypatch.setattr(materialising, "BATCH", 3)
    monkeypatch.setattr(materialising, "EVERY", 0.0)
    put_day(put, online, 0, {f"i{n:02}": n for n in range(20)})
    real, calls = materialising.rows_of, list[int]()

    def third(rows: Any, keys: Any, names: Any) -> Any:
        if "purchases_28d" in names:  # of `item_stats`, whatever other views show its table
            calls.append(rows.num_rows)
            if len(calls) == 4:
                raise KeyboardInterrupt
        return real(rows, keys, names)

    monkeypatch.setattr(materialising, "rows_of", third)
    with pytest.raises(KeyboardInterrupt):
        run(online, capsys)
    assert look(online, "i00", "i08", "i09") == [0, 8, None] and stale(online)
    calls[:] = [0] * 10
    capsys.readouterr()
    materialising.run(Namespace(shop=online, first=None, last=None, compact=False))
    told = capsys.readouterr()
    assert "goes on after 9 of 20" in told.err and "of 20" in told.err
    assert sum(calls) == 11 and look(online, *(f"i{n:02}" for n in range(20))) == list(range(20))
    assert not stale(online)


def test_what_is_expired_is_removed_on_request(
    online: str, put: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    put_day(put, online, 0, {"old": 1, "both": 1})
    put_day(put, online, 300, {"both": 2})
    put_day(put, online, 365, {"new": 3})
    run(online, capsys)
    run(online, capsys, compact=True)
    assert look(online, "old", "both", "new") == [1, 2, 3]  # exactly as old as the ttl: kept
    put_day(put, online, 366, {"newest": 4})
    run(online, capsys)
    (looked,) = features.look_up(online, "items", [{"item_id": "old"}])
    assert looked.states["purchases_28d"] == "expired"
    capsys.readouterr()
    materialising.run(Namespace(shop=online, first=None, last=None, compact=True))
    assert ["item_stats", "1"] in [line.split() for line in capsys.readouterr().out.splitlines()]
    (looked,) = features.look_up(online, "items", [{"item_id": "old"}])
    assert looked.states["purchases_28d"] == "absent" and look(online, "both", "new", "newest") == [2, 3, 4]
    assert (
        not list(feature_store.folder(online).glob("online.db-wal"))
        or b"old" not in (feature_store.folder(online) / "online.db-wal").read_bytes()
    )


@contextmanager
def full(shop: str, server: Any) -> Iterator[None]:
    """No more room: the server may use no more memory than it does, or no file may grow beyond the store's size."""
    if server is not None:
        server.config_set("maxmemory", server.info("memory")["used_memory"])
        try:
            yield
        finally:
            server.config_set("maxmemory", 0)
        return
    size = max(path.stat().st_size for path in feature_store.folder(shop).glob("online.db*"))
    before, heard = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 50_000, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, heard)


def test_without_room_nothing_is_half_written_and_the_last_values_are_served_as_stale(
    online: str, put: Callable[..., Any], capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest
) -> None:
    put_day(put, online, 0, {"a": 1, "b": 2})
    run(online, capsys)
    put_day(put, online, 1, {"a": 10, **{f"{n:05}" * 20: n for n in range(2_000)}})
    server = request.getfixturevalue("redis_server")[0] if online == "on_redis" else None
    with full(online, server):
        with pytest.raises(Down, match="cannot be written") as wrong:
            run(online, capsys)
        assert look(online, "b") == [2] and look(online, "a") in ([1], [10]) and stale(online)
    assert "make room for it" in str(wrong.value)
    for looked in features.look_up(online, "items", [{"item_id": f"{n:05}" * 20} for n in range(2_000)]):
        assert set(looked.states.values()) in ({"present"}, {"absent"})
        assert looked.values["purchases_28d"] is not None or set(looked.states.values()) == {"absent"}
    run(online, capsys)
    assert look(online, "a", "b", "00007" * 20) == [10, 2, 7] and not stale(online)


def test_a_locked_registry_is_told_and_what_was_brought_is_served(
    put: Callable[..., Any], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ENDCAP_REDIS", raising=False)
    put_day(put, "locked", 0, {"a": 1})
    run("locked", capsys)
    assert look("locked", "a") == [1] and not stale("locked")
    put_day(put, "locked", 1, {"a": 2})
    with closing(sqlite3.connect(feature_store.folder("locked") / "registry.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(Problem, match="registry of features does not answer: database is locked"):
            run("locked", capsys)
        assert look("locked", "a") == [1] and stale("locked")
    assert run("locked", capsys) == ["item_stats", "1", "1", "1", "day"]
    assert look("locked", "a") == [2] and not stale("locked")


def test_who_writes_is_alone_and_who_waits_in_vain_is_told(home: Path) -> None:
    folder = feature_store.folder("alone")
    folder.mkdir(parents=True)
    with (folder / ".lock").open("a") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with (
            pytest.raises(Problem, match="another process has been writing"),
            feature_store.alone("alone", patience=0.1),
        ):
            raise AssertionError("two at once")
    with feature_store.alone("alone", patience=0.1):
        pass
