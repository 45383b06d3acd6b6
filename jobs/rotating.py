"""rotate: a new pseudonym key. What is made from now on cannot be linked to what was published under the one before.

    rotate               a key of the next epoch; every safe partition that names visitors is stale by that
    anonymise --stale    ... and made again of clean; validate, aggregate and materialise follow
    rotate --destroy     once no pseudonym of an older epoch is left below safe: its key is overwritten and removed

Two steps, because serving must go on: until `materialise` has filled the online store under the new pseudonyms the
API uses the key of what is published there (`jobs.pseudonyms.serving_key`). Without its key nobody can compute a
pseudonym again. Where the guarantee ends: overwriting reaches the file's blocks on a disk that writes in place; an SSD,
a snapshot or a backup may keep a copy, so keep keys/ out of backups, and on an encrypted volume.
"""

import argparse
import fcntl
import os
import re
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from jobs.console import Problem, Refused, grid, say
from jobs.keeping import agreed
from jobs.pseudonyms import (
    DIGITS,
    DOMAINS,
    current_epoch,
    held_epochs,
    key_file,
    load_key,
    rotate,
    serving_file,
)
from jobs.tables import tables
from jobs.warehouse import Warehouse, home, sync, warehouse

BELOW = ("safe", "stats", "examples")
COLUMNS = ("visitor", *DOMAINS)
"""Columns whose values begin with a word, an epoch and an underscore: v1_, session1_, basket1_."""


def bearing(house: Warehouse, epochs: Iterable[int]) -> list[tuple[str, str, str, int, int]]:
    """(zone, table, column, files, rows) of every Parquet file below clean that bears pseudonyms of these epochs.

    Files to which no mark points any more are looked at, too: they can be read for as long as they lie there.
    """
    import duckdb

    old = "|".join(map(str, sorted(epochs)))
    found: list[tuple[str, str, str, int, int]] = []
    with duckdb.connect() as live:
        for zone, declared in ((below, each) for below in BELOW for each in tables(below)):
            files = sorted((house.folder(zone, declared.name) / "attempts").rglob("*.parquet"))
            for column in (name for name in COLUMNS if name in declared.names and files):
                count = live.execute(
                    f"SELECT count(DISTINCT filename), count(*) FROM read_parquet($files, filename=true, "  # noqa: S608
                    f"hive_partitioning=false, union_by_name=true) WHERE regexp_matches({column}, $old)",
                    {"files": [str(file) for file in files], "old": f"^[a-z]+({old})_"},
                ).fetchone()
                if count and count[1]:
                    found.append((zone, declared.name, column, int(count[0]), int(count[1])))
    return found


@contextmanager
def turn(folder: Path) -> Iterator[None]:
    """No answer is written down in this folder meanwhile: the lock that writers of its files take, too."""
    with (folder / ".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def hide_in_receipts(shop: str, epochs: Iterable[int]) -> int:
    """Let receipts name nobody where they named a pseudonym of these epochs; returns how many places.

    As many bytes as before, in the same place: a receipt is found by the byte where it lies.
    """
    folder, changed = home() / shop / "receipts", 0
    old = re.compile(rf"\bv({'|'.join(map(str, sorted(epochs)))})_[0-9a-f]{{{DIGITS}}}\b".encode())
    for path in sorted(folder.glob("*.jsonl")):
        with turn(folder), path.open("r+b") as stream:
            text, count = old.subn(lambda found: b"v" + b"0" * len(found[1]) + b"_" + b"0" * DIGITS, stream.read())
            if count:
                stream.seek(0)
                stream.write(text)
                stream.flush()
                os.fsync(stream.fileno())
            changed += count
    return changed


def destroy(path: Path) -> None:
    """Overwrite a key in place, make that last, and remove it."""
    with path.open("r+b") as stream:
        stream.write(secrets.token_bytes(path.stat().st_size))
        stream.flush()
        os.fsync(stream.fileno())
    path.unlink()
    sync(path.parent)


def run(args: argparse.Namespace) -> int:
    """`python -m jobs rotate [--destroy]`."""
    house = warehouse(args.shop)
    return _destroy(args, house) if args.destroy else _rotate(args, house)


def _rotate(args: argparse.Namespace, house: Warehouse) -> int:
    """A new epoch, if the last one has arrived everywhere."""
    before = load_key(args.shop)
    if older := [epoch for epoch in held_epochs(args.shop) if epoch < before.epoch]:
        raise Problem(
            f"the rotation to epoch {before.epoch} is not at its end: the key of epoch {older[-1]} is still here",
            where=str(key_file(args.shop, older[-1])),
            do=f"run the steps that it named, then 'python -m jobs rotate --shop {args.shop} --destroy'",
        )
    if args.dry_run:
        print(f"the next epoch would be {before.epoch + 1}. Nothing was changed.")
        return 0
    key = rotate(args.shop)
    named = [name for name in COLUMNS if any(name in declared.names for declared in tables("safe"))]
    print(grid(("epoch", "key", "used for"), [
        (before.epoch, key_file(args.shop, before.epoch).name, "look-ups, until materialise has run"),
        (key.epoch, key_file(args.shop, key.epoch).name, f"all that is anonymised from now on ({', '.join(named)})"),
    ]))  # fmt: skip
    if house.days("safe", "visitors", "proposed") or house.days("safe", "interactions", "proposed"):
        print(f"next: python -m jobs anonymise --shop {args.shop} --stale")
        say("then: validate --stale, aggregate --stale, materialise, examples recommender, collect --keep-hours 0,")
        say(f"and at last: python -m jobs rotate --shop {args.shop} --destroy")
    else:
        print(f"next: python -m jobs anonymise --shop {args.shop}")
    return 0


def _destroy(args: argparse.Namespace, house: Warehouse) -> int:
    """Remove the keys of older epochs; `Refused` as long as something below safe bears their pseudonyms."""
    now = current_epoch(args.shop)
    old = [epoch for epoch in held_epochs(args.shop) if epoch < now]
    if not old:
        print(f"there is no older key: epoch {now} is the only one")
        return 0
    if left := bearing(house, old):
        print(grid(("zone", "table", "column", "files", "rows"), left))
        raise Refused(
            f"pseudonyms of epoch {', '.join(map(str, old))} are still below safe, in {len(left)} columns",
            where=str(house.root),
            do=f"run 'python -m jobs anonymise --shop {args.shop} --stale', validate, aggregate, materialise and "
            f"examples; then 'python -m jobs collect --shop {args.shop} --keep-hours 0' for files without a mark",
        )
    served = serving_file(args.shop)
    if served.exists() and int(served.read_text(encoding="ascii")) != now:
        raise Refused(
            "the online store still bears the older pseudonyms",
            where=str(served),
            do=f"run 'python -m jobs materialise --shop {args.shop}'",
        )
    if args.dry_run:
        print(f"the keys of epoch {', '.join(map(str, old))} would be destroyed. Nothing was changed.")
        return 0
    if not args.yes and not agreed(args.shop):
        print("Nothing was changed.")
        return 0
    hidden = hide_in_receipts(args.shop, old)
    for epoch in old:
        destroy(key_file(args.shop, epoch))
    gone = ", ".join(map(str, old))
    print(f"the keys of epoch {gone} were overwritten and removed; {hidden:,} receipts name nobody now")
    print("their pseudonyms cannot be computed again, unless a backup, a snapshot or an SSD kept a copy of the key")
    say(f"Where: {key_file(args.shop).parent}")
    return 0
