"""What a home holds of a person beside its tables, and how it is taken out: online store, logs, copies, exports.

Journals (feedback, receipts) are written over with blanks of the same length, so that the place of every other line,
which is in the ids of receipts, stays. Copies of the shop's own files (landed, made by a simulator) are removed where
they hold the person: the next import has them again. Each function finds what there is before it takes it, and may be
run again after a kill.
"""

import fcntl
import json
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from jobs import feature_store, scanning
from jobs.persons import Person
from jobs.warehouse import home, sync, write_atomically

JOURNALS = {"feedback": "visitor_id", "receipts": "visitor"}
"""Folders of a home whose files only grow, and the field that says whose a line is."""
COPIES = ("landed", "source", "truth")
"""Folders of a home that hold the shop's files again: fetched from a store, or made."""
POLICIES = ("list", "retrain", "retire")
"""What is to become of models that learnt from a person who was erased, from the least on."""
MADE = "simulated.json"
"""What a simulator leaves beside its files: from which seed they were made."""


# The online store ------------------------------------------------------------------------------------


def online(shop: str, who: Person, *, forget: bool) -> dict[str, int]:
    """Entities of the online store that name the person, alone or beside others in a composite key, by table; with
    `forget` they are deleted, and the pages that were freed are overwritten."""
    told = feature_store.settings(shop)["online_store"]
    if "path" not in told:
        return _redis(shop, who, forget=forget)
    path = Path(told["path"])
    if not path.is_file():
        return {}
    with (
        feature_store.alone(shop) if forget else nullcontext(),
        closing(sqlite3.connect(path, timeout=60, isolation_level=None)) as live,
    ):
        found = dict(_sqlite(live, who, forget=forget))
        if forget:  # whether or not a row was there: free pages may hold what was written over long ago
            live.execute("VACUUM")  # the new file goes through the log, where the old pages' bytes stand too
            live.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return found


def _sqlite(live: sqlite3.Connection, who: Person, *, forget: bool) -> Iterator[tuple[str, int]]:
    """(table, entities) of what names the person in its key or in a value."""
    live.execute("PRAGMA secure_delete = ON")
    names = [name for (name,) in live.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    for name in names:
        quoted = '"' + name.replace('"', '""') + '"'
        columns = {row[1] for row in live.execute(f"PRAGMA table_info({quoted})")}
        if not {"entity_key", "value"} <= columns:
            continue
        parts = [f"instr({column}, ?) > 0" for column in ("entity_key", "value") for _ in who.pseudonyms]
        given = [name.encode() for name in who.pseudonyms] * 2
        where = f"entity_key IN (SELECT entity_key FROM {quoted} WHERE {' OR '.join(parts)})"  # noqa: S608  our names
        (count,) = live.execute(f"SELECT count(DISTINCT entity_key) FROM {quoted} WHERE {where}", given).fetchone()  # noqa: S608
        if count and forget:
            live.execute(f"DELETE FROM {quoted} WHERE {where}", given)  # noqa: S608
        if count:
            yield name, count


def _redis(shop: str, who: Person, *, forget: bool) -> dict[str, int]:
    """On Redis an entity of all views is one key: its serialised parts, then the project's name."""
    live = feature_store.store(shop)
    client = live._get_provider().online_store._get_client(live.config.online_store)
    with feature_store.alone(shop) if forget else nullcontext():
        keys = {
            key for name in who.pseudonyms for key in client.scan_iter(match=b"*" + name.encode() + b"*", count=10_000)
        }
        mine = [key for key in keys if key.endswith(shop.encode())]
        if forget and mine:
            client.unlink(*mine)
    return {"redis": len(mine)} if mine else {}


# Journals --------------------------------------------------------------------------------------------


def journal(shop: str, name: str, who: Person, *, forget: bool) -> dict[str, int]:
    """Lines of a journal that are the person's, by file; with `forget` they are blank afterwards."""
    folder, found = home() / shop / name, dict[str, int]()
    if not folder.is_dir():
        return found
    mine = set(who.ids if name == "feedback" else who.pseudonyms)
    with _turn(folder) if forget else nullcontext():
        for path in folder.glob(".*.blanked") if forget else ():  # of a run that was killed
            path.unlink()
        for path in sorted(folder.glob("*.jsonl")):
            lines = path.read_bytes().splitlines(keepends=True)
            blank = [_blank(line) if _is_of(line, JOURNALS[name], mine, who) else line for line in lines]
            if count := sum(a is not b for a, b in zip(lines, blank, strict=True)):
                found[path.name] = count
                if forget:
                    _replace(path, b"".join(blank))
    return found


@contextmanager
def _turn(folder: Path) -> Iterator[None]:
    """Nobody writes the journal meanwhile: the lock that its writers take."""
    with open(folder / ".lock", "a", opener=lambda path, flags: os.open(path, flags, 0o600)) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _is_of(line: bytes, field: str, mine: set[str], who: Person) -> bool:
    try:
        row = json.loads(line)
    except ValueError:
        return bool(line.strip()) and who.named_in(line.decode("utf-8", "replace"))
    return isinstance(row, dict) and str(row.get(field, "")).strip() in mine


def _blank(line: bytes) -> bytes:
    """As long as the line was, without a word.

    >>> _blank(b"{1}\\n")
    b'   \\n'
    """
    bare = line.rstrip(b"\r\n")
    return b" " * len(bare) + line[len(bare) :]


def _replace(path: Path, data: bytes) -> None:
    """The file anew, owner-only, whole or not at all; its length is what it was."""
    temporary = path.with_name(f".{path.name}.blanked")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(path)
    sync(path.parent)


# Copies and exports ----------------------------------------------------------------------------------


def copies(shop: str, who: Person) -> list[Path]:
    """Copies of the shop's files, in its home, that hold the person."""
    root = home() / shop
    sought = {f"{n}": value for n, value in enumerate((*who.ids, *who.own))}
    paths = [path for name in COPIES for path in sorted((root / name).rglob("*")) if path.is_file()]
    return [path for path in paths if path.name != MADE and scanning.find([path], sought)]


def drop(shop: str, found: Iterable[Path]) -> None:
    """Remove these files, and with those of a simulator what says that they need not be made again."""
    source = home() / shop / "source"
    for path in found:
        path.unlink(missing_ok=True)
        if path.is_relative_to(source):
            (source / MADE).unlink(missing_ok=True)


# Models ----------------------------------------------------------------------------------------------


def bundles(shop: str, learnt: Callable[[Iterable[str]], bool]) -> list[dict[str, Any]]:
    """The versions of bundles that were made of partitions which held the person, by `learnt` of their names."""
    found = []
    for seal in sorted((home() / shop / "bundles").glob("*/*/bundle.json")):
        if seal.parent.name.isdecimal() and learnt(json.loads(seal.read_text(encoding="utf-8"))["data"]):
            found.append({"bundle": seal.parent.parent.name, "version": int(seal.parent.name)})
    return found


def models_file(shop: str) -> Path:
    """Which versions saw a person who was erased since, and what is to become of them: a file that both rooms read."""
    return home() / shop / "bundles" / "erased.json"


def remember_models(shop: str, found: Iterable[Mapping[str, Any]], policy: str, erasure: int) -> None:
    """Enter versions into that file. What is to become of one never becomes less by a later erasure."""
    path = models_file(shop)
    known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    for each in found:
        name = f"{each['bundle']}/{each['version']}"
        before = known.get(name, {"policy": policy})
        worst = max(policy, before["policy"], key=POLICIES.index)
        known[name] = {"policy": worst, "erasures": sorted({*before.get("erasures", []), erasure})}
    if known:
        write_atomically(path, json.dumps(known, indent=1, sort_keys=True) + "\n")
