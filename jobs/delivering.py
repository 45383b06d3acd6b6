"""`import files` with deliveries: late rows and corrections, each known from the time of its delivery, and none lost.

A delivery is a sub-folder named by its date or time. Guarantees. The known time of a row is its delivery's time, never
the clock of the import. A row goes to the day of its event, however late it comes; the days that a delivery touches are
written anew, with their earlier files unchanged, and no other day's mark is touched. The same delivery twice changes no
byte and publishes nothing. Whatever order deliveries are imported in, a day ends up with the same bytes: a partition is
a set of files, one for each delivered file that has rows in it, each made of that file and its delivery's time alone.

The same content under two names is read once, as of the earlier delivery. A delivered file that was changed afterwards
is refused: a correction is a delivery of its own, and stands beside what it corrects. What was imported stands in a
ledger, `deliveries.json` in the shop's home; a run that was killed before it was written is simply repeated.
"""

import fcntl
import filecmp
import hashlib
import json
import os
import re
import shutil
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from jobs import tombstones
from jobs.console import Problem, Refused, Usage, grid, narrate, say
from jobs.filing import Clock, Days, Delivered, Filed, Filing, Plan, names_its_file
from jobs.finding import MOST_DAYS, check_once, check_readable, check_room, groups_of, matching, state_of, unchanged
from jobs.mapping import NAME
from jobs.sources import RowFile, Source
from jobs.sources.text import Reading, moment
from jobs.tables import WHOLE, table
from jobs.warehouse import Attempt, Mark, Warehouse, days, home, sha256, write_atomically

STEP = "import"
_NAME = re.compile(r"(\d{4}-\d{2}-\d{2})(?:T(\d{2})(\d{2})(\d{2})?Z)?")


@dataclass(frozen=True)
class Delivery:
    """A sub-folder: its name, the moment at which it was recorded (UTC), and where it lies."""

    name: str
    time: datetime
    folder: Path

    @property
    def day(self) -> date:
        """The last day that it can tell of."""
        return (self.time - timedelta(microseconds=1)).date()


def delivery(folder: Path) -> Delivery:
    """The delivery that a folder's name tells: 2024-01-05 (known when that day ended, UTC) or 2024-01-05T0300Z.

    >>> delivery(Path("2024-01-05")).time.isoformat(), delivery(Path("2024-01-05T0300Z")).time.isoformat()
    ('2024-01-06T00:00:00+00:00', '2024-01-05T03:00:00+00:00')
    """
    told = _NAME.fullmatch(folder.name)
    try:
        if told is None:
            raise ValueError(folder.name)
        day = datetime.fromisoformat(told[1]).replace(tzinfo=UTC)
        if told[2] is None:
            return Delivery(folder.name, day + timedelta(days=1), folder)
        return Delivery(
            folder.name, day.replace(hour=int(told[2]), minute=int(told[3]), second=int(told[4] or 0)), folder
        )
    except (ValueError, OverflowError):
        raise Usage(
            f"'{folder.name}' names no delivery",
            where=str(folder),
            do="call it by its date or time (UTC), like 2024-01-05 or 2024-01-05T0300Z",
        ) from None


def deliveries(shop: Source, folder: Path, first: date | None, last: date | None) -> list[Delivery]:
    """The deliveries of a folder that were recorded in the range, the earliest first."""
    found = [delivery(path) for path in sorted(folder.iterdir()) if path.is_dir() and not path.name.startswith(".")]
    early = next((one for one in found if one.day < shop.first), None)
    if early is not None:
        raise Usage(
            f"delivery {early.name} was recorded before the shop's first day, {shop.first}",
            where=str(folder / NAME),
            do="give an earlier day as 'first'",
        )
    late = next((one for one in found if (one.day - shop.first).days > MOST_DAYS), None)
    if late is not None and any(table("raw", rows.table).dated for rows in shop.rows):
        raise Usage(
            f"delivery {late.name} was recorded more than {MOST_DAYS:,} days after the shop's first day, {shop.first}",
            where=str(folder / NAME),
            do="give a later day as 'first', or mend the delivery's name",
        )
    chosen = [one for one in found if (first is None or one.day >= first) and (last is None or one.day <= last)]
    if not chosen:
        raise Problem(
            "there is no delivery to import",
            where=str(folder),
            do="put files into a sub-folder like 2024-01-05, and check --first and --last, the days of deliveries",
        )
    return sorted(chosen, key=lambda one: (one.time, one.name))


# The ledger -----------------------------------------------------------------------------------


@dataclass
class Ledger:
    """What was imported: `names` has the hash of every delivered file, `contents` (by key) where each was read."""

    path: Path
    names: dict[str, str] = field(default_factory=dict)
    contents: dict[str, dict[str, str]] = field(default_factory=dict)

    def save(self) -> None:
        """Replace the ledger: whole, or not at all."""
        told = {"names": self.names, "contents": self.contents}
        write_atomically(self.path, json.dumps(told, indent=1, sort_keys=True, ensure_ascii=False) + "\n")


def ledger_of(house: Warehouse) -> Ledger:
    """The shop's ledger; an empty one before the first delivery."""
    if not house.ledger.is_file():
        return Ledger(house.ledger)
    told = json.loads(house.ledger.read_text(encoding="utf-8"))
    return Ledger(house.ledger, told["names"], told["contents"])


@contextmanager
def alone(shop: Source) -> Iterator[None]:
    """One import of deliveries at a time: two would each write a day without the other's rows."""
    path = home() / shop.name / "deliveries.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as fault:
            raise Problem(
                f"another import of '{shop.name}' runs", where=str(path), do="wait for its end, then import again"
            ) from fault
        yield


# One delivery ---------------------------------------------------------------------------------


Group = tuple[RowFile, ...]


@dataclass(frozen=True)
class Pending:
    """A file that is to be read by a group of declarations; the key of its content, and its part of a partition."""

    file: Delivered
    group: Group
    key: str
    sha: str
    part: str


@dataclass
class Held:
    """What a delivery holds: its files by group, their hashes, and their state before they were hashed."""

    groups: list[tuple[Group, tuple[Delivered, ...]]]
    paths: dict[str, Path] = field(default_factory=dict)
    before: dict[str, tuple[int, int]] = field(default_factory=dict)
    hashes: dict[str, str] = field(default_factory=dict)

    @property
    def tables(self) -> list[str]:
        """The tables that its files feed."""
        return list(dict.fromkeys(rows.table for group, files in self.groups if files for rows in group))


@dataclass
class Told:
    """What became of a delivery."""

    name: str
    files: int = 0
    rows: int = 0
    late: int = 0
    days: set[str] = field(default_factory=set)  # that were published anew


def held_by(shop: Source, one: Delivery) -> Held:
    """The files of a delivery; a `Problem` if it has none, or one that is spoiled."""
    held = Held([(group, files_of(one, group)) for group in groups_of(shop.rows)])
    check_once(held.groups)
    held.paths = {file.name: file.path for _, files in held.groups for file in files}
    if not held.paths:
        do = "check the names of its files against the mapping"
        raise Problem(f"delivery {one.name} holds no file of the mapping", where=str(one.folder), do=do)
    for name, path in held.paths.items():
        check_readable(path)
        held.before[name] = state_of(path)
        held.hashes[name] = sha256(path)
    return held


def files_of(one: Delivery, group: Group) -> tuple[Delivered, ...]:
    """A delivery's files of one pattern, named with their delivery."""
    return tuple(Delivered(f"{one.name}/{file.name}", file.path) for file in matching([one.folder], group[0].pattern))


def key_of(group: Group, file: Delivered, sha: str) -> str:
    """What makes two files the same: their bytes and how they are read; their name too, where rows are made of it."""
    name = file.name if any(map(names_its_file, group)) else ""
    return hashlib.sha256(f"{sha} {group[0].pattern} {Reading.of(group[0])} {name}".encode()).hexdigest()


def pending_of(one: Delivery, held: Held, ledger: Ledger) -> list[Pending]:
    """The files of a delivery that were not read yet, or only as of a later delivery."""
    found: dict[str, Pending] = {}
    for group, files in held.groups:
        for file in files:
            sha = held.hashes[file.name]
            if ledger.names.get(file.name, sha) != sha:
                raise Refused(
                    f"{file.name} was changed after it was imported",
                    where=str(file.path),
                    do="put it back, and give the correction as a delivery of its own",
                )
            key = key_of(group, file, sha)
            read = ledger.contents.get(key)
            if read and (read["known_time"], read["file"]) <= (one.time.isoformat(), file.name):
                first = read["file"]
            else:
                first = found.setdefault(key, Pending(file, group, key, sha, f"part-{one.name}-{key[:24]}")).file.name
            if first != file.name:
                say(f"note: {file.name} is the same file as {first}: read once")
    return list(found.values())


def filed_by(shop: Source, one: Delivery) -> Clock:
    """The clock of a delivery: an event's own day, if it lies between the shop's first and the delivery's; else the
    delivery's. Known at the delivery's time."""

    def clock(event_time: str | None) -> tuple[date, datetime]:
        happened = moment(event_time)
        inside = happened is not None and shop.first <= happened.date() <= one.day
        return (happened.date() if happened is not None and inside else one.day), one.time

    return clock


def import_one(house: Warehouse, shop: Source, one: Delivery, ledger: Ledger) -> Told:
    """Read what a delivery brings, publish the days that it touches, and enter it into the ledger."""
    held = held_by(shop, one)
    pending = pending_of(one, held, ledger)
    if pending:
        check_room(sum(path.stat().st_size for path in {each.file.path for each in pending}))
    told = Told(one.name, files=len(pending))
    unmarked = {name: empty_days(house, shop, one, name) for name in held.tables}
    if not pending and not any(unmarked.values()):
        enter(ledger, one, pending, held.hashes)
        return told
    with ExitStack() as stack:
        attempts = {name: stack.enter_context(house.attempt("raw", name)) for name in held.tables}
        found = {name: Filed(name) for name in attempts}
        for each in pending:
            read_file(shop, one, each, attempts, found)
        unchanged(held.paths, held.before)
        for name, attempt in attempts.items():
            found[name].erased = tombstones.keep_out(house, attempt)
        tombstones.tell(found.values())
        ready = {name: merged(house, attempts[name], found[name], pending, ledger) for name in attempts}
        for name in attempts:
            check_law(attempts[name], ready[name])
        for name in attempts:
            publish(house, attempts[name], ready[name], unmarked[name])
    enter(ledger, one, pending, held.hashes)
    told.days = {day for touched in ready.values() for day in touched}
    for filed in found.values():
        told.rows += filed.seen
        told.late += filed.late
        if filed.extra:
            say(f"note: {filed.table}: kept in 'extra', as nothing maps them: {', '.join(sorted(filed.extra)[:8])}")
    return told


def enter(ledger: Ledger, one: Delivery, pending: Sequence[Pending], hashes: Mapping[str, str]) -> None:
    """Write into the ledger what was imported, if it is not there."""
    new = {**ledger.names, **hashes}
    if not pending and new == ledger.names:
        return
    ledger.names = new
    for each in pending:
        known = one.time.isoformat()
        ledger.contents[each.key] = {"file": each.file.name, "known_time": known, "part": each.part, "sha256": each.sha}
    ledger.save()


def read_file(
    shop: Source, one: Delivery, each: Pending, attempts: Mapping[str, Attempt], found: Mapping[str, Filed]
) -> None:
    """Write a file's rows, in Parquet files of its own, so that they depend on nothing else."""
    with narrate(f"{STEP} {each.file.name}"):
        outs = {rows.table: Days(attempts[rows.table], each.part) for rows in each.group}
        plans = [Plan(rows) for rows in each.group]
        Filing(plans, [], outs, found, filed_by(shop, one), one.time, lambda day: True).file(each.file)
        for out in outs.values():
            out.close()


@dataclass(frozen=True)
class Touched:
    """A day of an attempt that is ready to be published: the law's terms, and the delivered files that it holds."""

    rows_in: int
    files: Mapping[str, str]
    erased: int = 0


def merged(
    house: Warehouse, attempt: Attempt, filed: Filed, pending: Sequence[Pending], ledger: Ledger
) -> dict[str, Touched]:
    """Put the earlier files of each touched day beside the new ones; returns the days that differ from what stands.

    What was read as of a later delivery gives way to the same content as of this one.
    """
    gone = {ledger.contents[p.key]["part"]: ledger.contents[p.key]["file"] for p in pending if p.key in ledger.contents}
    marks = {mark.day: mark for mark in house.marks("raw", attempt.table)}
    names = {p.part: (p.file.name, p.sha) for p in pending}
    ready: dict[str, Touched] = {}
    for day in sorted({*filed.read, *(d for d, mark in marks.items() if _holds(house, mark, gone))}):
        mark = marks.get(day)
        earlier = _parts(house, mark) if mark else {}
        fresh = {path.stem: path for path in attempt.folder(day).glob("*.parquet")}
        stay = {name: path for name, path in earlier.items() if name not in gone and name not in fresh}
        same = all(name in earlier and filecmp.cmp(path, earlier[name], shallow=False) for name, path in fresh.items())
        if same and len(stay) + len(fresh) == len(earlier) and not filed.erased[day]:
            shutil.rmtree(attempt.folder(day), ignore_errors=True)  # a run that was killed had published it already
            continue
        attempt.folder(day).mkdir(parents=True, exist_ok=True)
        for path in stay.values():
            link(path, attempt.folder(day) / path.name)
        dropped = sum(_rows(path) for name, path in earlier.items() if name not in stay)
        before = {name: sha for name, sha in (mark.notes["files"] if mark else {}).items() if name not in gone.values()}
        stood, gone_before = (mark.rows, mark.counts.get("erased", 0)) if mark else (0, 0)
        rows_in = stood + gone_before - dropped + filed.read[day]
        of_files = {**before, **{names[name][0]: names[name][1] for name in fresh}}
        ready[day] = Touched(rows_in, of_files, gone_before + filed.erased[day])
    return ready


def _parts(house: Warehouse, mark: Mark) -> dict[str, Path]:
    return {path.stem: path for path in house.attempt_of(mark).folder(mark.day).glob("*.parquet")}


def _holds(house: Warehouse, mark: Mark, parts: Mapping[str, str]) -> bool:
    return bool(parts) and any(name in parts for name in _parts(house, mark))


def _rows(path: Path) -> int:
    import pyarrow.parquet as pq

    return int(pq.read_metadata(path).num_rows)


def link(source: Path, target: Path) -> None:
    """The same bytes under another name: a hard link, or a copy where there can be none."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def check_law(attempt: Attempt, ready: Mapping[str, Touched]) -> None:
    """Rows that stood there and rows read = rows written and rows erased, by day."""
    for day, touched in ready.items():
        out = sum(map(_rows, attempt.folder(day).glob("*.parquet")))
        if out + touched.erased != touched.rows_in:
            raise Refused(
                f"the counting law is broken: {touched.rows_in} rows of {attempt.table} read, {out} written",
                where=day,
                do="run the import again with --verbose; nothing was published",
            )


def empty_days(house: Warehouse, shop: Source, one: Delivery, name: str) -> list[str]:
    """Days up to a delivery that have no mark yet: without rows they are known to be empty, not missing."""
    span = days(shop.first, one.day) if table("raw", name).dated else [WHOLE]
    return sorted(day for day in set(span) - set(house.days("raw", name)) if day >= house.retired("raw"))


def publish(house: Warehouse, attempt: Attempt, ready: Mapping[str, Touched], unmarked: Sequence[str]) -> None:
    """Point to the touched days, and to those that never had a mark."""
    empty = [day for day in unmarked if day not in ready]
    if not ready and not empty:
        shutil.rmtree(attempt.path)
        return
    files = {**{day: touched.files for day, touched in ready.items()}, **{day: {} for day in empty}}
    counts = {day: counted(ready[day]) if day in ready else {"in": 0, "out": 0} for day in files}
    house.propose_days(
        attempt,
        sorted(files),
        step=STEP,
        counts=counts,
        notes={day: {"files": dict(told)} for day, told in files.items()},
    )


def counted(touched: Touched) -> dict[str, int]:
    """The law's terms of a day, as its mark keeps them."""
    erased = {"erased": touched.erased} if touched.erased else {}
    return {"in": touched.rows_in, "out": touched.rows_in - touched.erased, **erased}


# The command ----------------------------------------------------------------------------------


def run(house: Warehouse, shop: Source, folder: Path, first: date | None, last: date | None) -> int:
    """Import the deliveries of a folder, one after another, each whole."""
    began = time.monotonic()
    chosen = deliveries(shop, folder, first, last)
    with alone(shop):
        ledger = ledger_of(house)
        told = [import_one(house, shop, one, ledger) for one in chosen]
    print(summary(house, shop, told, time.monotonic() - began))
    return 0


def summary(house: Warehouse, shop: Source, told: Sequence[Told], seconds: float) -> str:
    """What came, which days it touched, how much of it was late, and what to type next."""
    lines = [(one.name, one.files, one.rows, one.late, len(one.days - {WHOLE})) for one in told]
    touched: Counter[str] = Counter(day for one in told for day in one.days)
    dated = sorted(day for day in touched if day != WHOLE)
    shown = ", ".join(dated[:10]) + (f" and {len(dated) - 10} more" if len(dated) > 10 else "")
    after = f" --first {dated[0]} --last {dated[-1]}" if dated else ""
    return "\n".join(
        [
            grid(["delivery", "new files", "rows", "late rows", "days touched"], lines),
            f"days touched: {shown or 'none'}; {seconds:.1f} s; in {house.root / 'raw'}",
            f"next: python -m jobs clean --shop {shop.name}{after}" if touched else "nothing new: no byte was changed",
        ]
    )
