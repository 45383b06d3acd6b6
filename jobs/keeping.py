"""Keeping the warehouse: what nobody points to is collected, what is too old is retired, small files become one.

Marks decide. Collecting never touches what a mark points to; retiring remembers the day first, then takes the marks
away, and the files after them; compacting writes a new attempt and then moves the pointer. So each may be killed at any
instruction and run again, and no mark ever points to nothing.
"""

import argparse
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.console import Refused, Usage, grid, say
from jobs.showing import size
from jobs.tables import WHOLE, ZONES, table, tables
from jobs.warehouse import (
    DAY_FOLDER,
    Mark,
    Name,
    State,
    Warehouse,
    arrow_schema,
    fingerprint,
    rows_of,
    states,
    warehouse,
)

if TYPE_CHECKING:
    import pyarrow as pa

HOUR = 3600.0
SMALL_FILE = 32 << 20
"""Bytes below which a file costs a reader more to open than to read."""
ROWS = 1 << 18  # rows of a row group, as steps write them


# Collecting --------------------------------------------------------------------------------------------


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
    return {(mark.attempt, mark.day) for state in states(zone) for mark in house.marks(zone, name, state=state)}


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


def let_go(thing: Loose) -> float:
    """When a reader can last have been told of it, in seconds since the epoch: it was touched when a mark left it."""
    return max(map(modified, (thing.path, *thing.path.rglob("*"))))


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
            yield from (thing for thing in loose(house, zone, declared.name) if let_go(thing) < until)


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


# Retiring ----------------------------------------------------------------------------------------------


def too_old(house: Warehouse, before: str, zones: Sequence[str]) -> list[tuple[State, Mark]]:
    """The marks, proposed and published, of days before `before`. Tables without days have no age, and stay."""
    return [
        (state, mark)
        for zone in zones
        for declared in tables(zone)
        if declared.dated
        for state in states(zone)
        for mark in house.marks(zone, declared.name, state=state)
        if mark.day < before and mark.day != WHOLE
    ]


def leavings(house: Warehouse, before: str, zones: Sequence[str], gone: Iterable[Mark] = ()) -> list[Path]:
    """The folders of days before `before` that no mark points to; but those of `gone`, not what is being written:
    what was touched within the last hour."""
    known = {house.attempt_of(mark).folder(mark.day) for mark in gone}
    until = datetime.now(UTC).timestamp() - HOUR
    found = []
    for zone, declared in ((each, dated) for each in zones for dated in tables(each) if dated.dated):
        pointed = held(house, zone, declared.name)
        for thing in sorted((house.folder(zone, declared.name) / "attempts").glob(f"*/{DAY_FOLDER}=*")):
            day = thing.name.partition("=")[2]
            free = day < before and (thing.parent.name, day) not in pointed
            if free and (thing in known or modified(thing) < until):
                found.append(thing)
    return found


def retire(args: argparse.Namespace) -> int:
    """`python -m jobs retire --before DAY`: remove days that are too old, after listing exactly what goes.

    That they are retired is remembered: no later refresh makes them again of what the other zones still hold.
    """
    house, before = warehouse(args.shop), args.before.isoformat()
    zones = [args.zone] if args.zone else list(ZONES)
    old = too_old(house, before, zones)
    marks = [mark for _, mark in old]
    left = leavings(house, before, zones)
    if not marks and not left:
        print(f"nothing is older than {before}" + (f" in zone {args.zone}" if args.zone else ""))
        return 0
    print(grid(["zone", "table", "days", "first", "last", "rows", "size"], listing(marks)))
    if left:
        say(f"{len(left)} folders of days before {before} go as well, to which nothing points any more")
    if args.dry_run:
        print("Nothing was removed. Next: the same without --dry-run.")
        return 0
    if not args.yes and not agreed(args.shop):
        print("Nothing was removed.")
        return 0
    house.retire(zones, before)
    for state, mark in reversed(old):  # those that readers follow first
        house.unmark(mark, state)
    for refusal in {path for mark in marks for path in refused(house, mark)}:
        refusal.unlink(missing_ok=True)
    for folder in leavings(house, before, zones, marks):
        remove(folder)
        with suppress(OSError):  # other days still lie in it
            folder.parent.rmdir()
    print(f"removed {len({(m.zone, m.table, m.day) for m in marks})} days of tables before {before}; "
          "tables without days stay")  # fmt: skip
    if any(mark.zone == "safe" for mark in marks):
        say("Statistics of later days rested on some of these.")
        say(f"Next: python -m jobs aggregate --shop {args.shop} --stale")
    return 0


def refused(house: Warehouse, mark: Mark) -> list[Path]:
    """What was remembered of a day's refusals."""
    return list(house.folder(mark.zone, mark.table).glob(f"refused/*/{mark.day}.json"))


def listing(marks: Iterable[Mark]) -> list[list[Any]]:
    """One line a table: days, first and last, rows, bytes; an attempt that two marks point to counts once."""
    found: dict[tuple[str, str], dict[tuple[str, str], Mark]] = {}
    for mark in marks:
        found.setdefault((mark.zone, mark.table), {})[mark.day, mark.attempt] = mark
    lines: list[list[Any]] = []
    for (zone, name), each in found.items():
        days = sorted({mark.day for mark in each.values()})
        weight = size(sum(mark.bytes for mark in each.values()))
        lines.append([zone, name, len(days), days[0], days[-1], rows_of(each.values()), weight])
    return lines


def agreed(shop: str) -> bool:
    """Ask a person; a program must say --yes."""
    if not sys.stdin.isatty():
        raise Usage("nobody is there to be asked", do="add --yes; --dry-run lists what would go")
    return input(f"Remove all this? Type the shop's name to agree ({shop}): ").strip() == shop


# Compacting --------------------------------------------------------------------------------------------


def pays(files: Sequence[Path]) -> bool:
    """Whether to put files together: more than one, and small on average."""
    return len(files) > 1 and sum(path.stat().st_size for path in files) / len(files) < SMALL_FILE


def batches(files: Iterable[Path]) -> Iterator["pa.Table"]:
    """The rows of files one after another, in tables of exactly `ROWS` rows; the last may be shorter."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    kept: list[pa.Table] = []
    for file in files:
        for batch in pq.ParquetFile(file).iter_batches(ROWS):
            kept.append(pa.Table.from_batches([batch]))
            while sum(each.num_rows for each in kept) >= ROWS:
                rows = pa.concat_tables(kept)
                yield rows.slice(0, ROWS).combine_chunks()
                kept = [rows.slice(ROWS)]
    rest = pa.concat_tables(kept) if kept else None
    if rest is not None and rest.num_rows:
        yield rest.combine_chunks()


def together(house: Warehouse, mark: Mark) -> Mark | None:
    """One partition in one file: the same rows in the same order, read back and compared before the pointer moves.

    The mark keeps its name, its counts and its verdicts. None if the partition was replaced meanwhile.
    """
    import pyarrow.parquet as pq

    files = house.files([mark])
    schema = arrow_schema(table(mark.zone, mark.table))
    with house.attempt(mark.zone, mark.table) as attempt:
        attempt.folder(mark.day).mkdir()
        path = attempt.folder(mark.day) / "part-00000.parquet"
        with pq.ParquetWriter(path, schema, compression="zstd") as writer:
            for rows in batches(files):
                writer.write_table(rows.cast(schema))
        pairs = zip_longest(batches(files), batches([path]))
        if not all(a is not None and b is not None and a.cast(schema).equals(b) for a, b in pairs):
            raise Refused(
                f"{mark.name} would not hold the same rows in one file",
                where=str(path),
                do="nothing was changed; report this: it is a fault",
            )
        made = Mark(
            **{
                **asdict(mark),
                "attempt": attempt.id,
                "bytes": path.stat().st_size,
                "sha256": fingerprint([path]),
                "notes": {"same_as": Name.of(mark.name).hash},
                "written_at": datetime.now(UTC).isoformat(timespec="seconds"),
            }
        )
        if house.replace(mark, made):
            return made
    remove(attempt.path)
    return None


def compact(args: argparse.Namespace) -> int:
    """`python -m jobs compact`: partitions of many small files become partitions of one, where that pays.

    Raw tables that came in deliveries stay as they are: each of their files is a delivered file's, by name, so that a
    later delivery can take its rows back.
    """
    house = warehouse(args.shop)
    zones = [args.zone] if args.zone else list(ZONES)
    if house.delivered and "raw" in zones:
        say("note: the raw tables stay as they are: each file in them is one of a delivery")
        zones.remove("raw")
    lines = []
    for zone in zones:
        for declared in tables(zone):
            marks = [mark for mark in house.marks(zone, declared.name) if pays(house.files([mark]))]
            if not marks:
                continue
            many = len(house.files(marks))
            done = [] if args.dry_run else [made for mark in marks if (made := together(house, mark)) is not None]
            after = len(marks) if args.dry_run else len(done)
            now = [mark.bytes for mark in (marks if args.dry_run else done)]
            lines.append([zone, declared.name, len(marks), many, after, size(bytes_of(marks)), size(sum(now))])
    if not lines:
        print("nothing to put together: every partition is one file, or of files that are large enough")
        return 0
    print(grid(["zone", "table", "days", "files", "files after", "size", "size after"], lines))
    if args.dry_run:
        print("Nothing was changed. Next: the same without --dry-run.")
    else:
        say(
            f"Next: python -m jobs collect --shop {args.shop}   (a day from now: readers may still be in the old files)"
        )
    return 0


def bytes_of(marks: Iterable[Mark]) -> int:
    """Bytes of these partitions together."""
    return sum(mark.bytes for mark in marks)
