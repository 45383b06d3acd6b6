"""Keeping the warehouse: what nobody points to is collected, what is too old is retired, small files become one.

Marks decide. Collecting never touches what a mark points to; retiring takes the marks away first and the files
after them; compacting writes a new attempt and then moves the pointer. So each may be killed at any instruction and
run again, and no mark ever points to nothing.
"""

import argparse
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from jobs.console import Usage, grid, say
from jobs.showing import size
from jobs.tables import ZONES, tables
from jobs.warehouse import DAY_FOLDER, STATES, Warehouse, warehouse


@dataclass(frozen=True)
class Loose:
    """A folder of an attempt that no mark points to: of one day, or of the whole attempt (`day` is empty)."""

    zone: str
    table: str
    day: str
    path: Path

    @property
    def files(self) -> list[Path]:
        return [path for path in self.path.rglob("*") if path.is_file()]


def held(house: Warehouse, zone: str, name: str) -> set[tuple[str, str]]:
    """(attempt, day) of every mark of a table, proposed or published."""
    return {(mark.attempt, mark.day) for state in STATES for mark in house.marks(zone, name, state=state)}


def loose(house: Warehouse, zone: str, name: str) -> list[Loose]:
    """What no mark of a table points to: whole attempts, and days of attempts that are held by other days."""
    attempts = house.folder(zone, name) / "attempts"
    if not attempts.is_dir():
        return []
    pointed = held(house, zone, name)
    kept = {attempt for attempt, _ in pointed}
    found = []
    for path in sorted(attempts.iterdir()):
        if path.name not in kept:
            found.append(Loose(zone, name, "", path))
            continue
        for folder in sorted(path.glob(f"{DAY_FOLDER}=*")):
            day = folder.name.partition("=")[2]
            if (path.name, day) not in pointed:
                found.append(Loose(zone, name, day, folder))
    return found


def let_go(house: Warehouse, thing: Loose) -> float:
    """When a reader can last have been told of it, in seconds since the epoch.

    The newest of its files, or of the marks that took its place: a step that began before them may still read it.
    """
    days = [thing.day] if thing.day else [p.name.partition("=")[2] for p in thing.path.glob(f"{DAY_FOLDER}=*")]
    marks = [house.folder(thing.zone, thing.table) / state / f"{day}.json" for state in STATES for day in days]
    return max(map(modified, (thing.path, *thing.path.rglob("*"), *marks)))


def modified(path: Path) -> float:
    """When a path was last written; 0 if it is gone, which another collection may have seen to."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def collectable(house: Warehouse, keep_hours: float) -> Iterator[Loose]:
    """All that no mark has pointed to for `keep_hours`, table by table. What is being written is newer than that."""
    until = datetime.now(UTC).timestamp() - keep_hours * 3600
    for zone in ZONES:
        for declared in tables(zone):
            yield from (thing for thing in loose(house, zone, declared.name) if let_go(house, thing) < until)


def remove(path: Path) -> None:
    """A folder and all in it; no error if it is gone already, an error for whatever cannot be removed."""
    with suppress(FileNotFoundError):
        shutil.rmtree(path)


def collect(args: argparse.Namespace) -> int:
    """`python -m jobs collect`: remove attempts, and days of attempts, that no mark points to any more."""
    if args.keep_hours < 0:
        raise Usage(f"--keep-hours {args.keep_hours:g} is below 0", do="give how many hours readers may still need")
    house = warehouse(args.shop)
    going: dict[tuple[str, str], list[int]] = {}
    for thing in collectable(house, args.keep_hours):
        sizes = [path.stat().st_size for path in thing.files]
        if not args.dry_run:
            remove(thing.path)
        counted = going.setdefault((thing.zone, thing.table), [0, 0, 0, 0])
        for place, add in enumerate((not thing.day, bool(thing.day), len(sizes), sum(sizes))):
            counted[place] += add
    if not going:
        print(f"nothing to collect: every attempt has a mark, or is younger than {args.keep_hours:g} hours")
        return 0
    rows = [[zone, name, a, d, files, size(weight)] for (zone, name), (a, d, files, weight) in going.items()]
    print(grid(["zone", "table", "attempts", "days of attempts", "files", "size"], rows))
    total = size(sum(counted[3] for counted in going.values()))
    if args.dry_run:
        print(f"{total} would go. Nothing was removed. Next: the same without --dry-run.")
    else:
        print(f"removed {total}")
    say(f"Where: {house.root}")
    return 0
