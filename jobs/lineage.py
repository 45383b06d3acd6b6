"""The way of one partition back to the shop's files: marks name their inputs, raw marks the files and their hashes."""

from collections.abc import Iterator
from dataclasses import dataclass

from jobs.console import Problem, Usage, suggest
from jobs.tables import WHOLE, ZONES, tables
from jobs.warehouse import Ancestry, Mark, Name, Warehouse


@dataclass(frozen=True)
class Step:
    """One line of the tree: how deep, what it is, and what is known of it."""

    depth: int
    name: str
    said: str

    def __str__(self) -> str:
        return f"{'  ' * self.depth}{'<- ' if self.depth else ''}{self.name}  {self.said}".rstrip()


def whose(house: Warehouse, given: str, zone: str | None) -> tuple[str, str]:
    """Zone and table of `TABLE` or `ZONE/TABLE`; of several zones the one furthest on the way that has it."""
    if "/" in given and zone is None:
        zone, _, given = given.partition("/")
    zones = [zone] if zone else [z for z in reversed(ZONES) if z != "quarantine"]
    known = {t.name for z in zones if z in ZONES for t in tables(z)}
    if given not in known:
        raise Usage(f"unknown table '{given}'{f' in zone {zone}' if zone else ''}", do=suggest(given, known))
    having = [z for z in zones if given in {t.name for t in tables(z)} and house.days(z, given, "proposed")]
    if not having:
        raise Problem(
            f"shop '{house.shop}' has no partition of '{given}'",
            where=str(house.root),
            do="see 'python -m jobs tables'",
        )
    return having[0], given


def start(house: Warehouse, zone: str, name: str, day: str | None) -> Mark:
    """The mark to begin with: of `day`, or of the last day; the published one if there is one."""
    days = house.days(zone, name, "proposed")
    chosen = days[-1] if day is None or days == [WHOLE] else day
    mark = house.mark(zone, name, chosen) or house.mark(zone, name, chosen, "proposed")
    if mark is None:
        raise Problem(
            f"{zone}/{name} has no partition of {chosen}",
            where=str(house.folder(zone, name)),
            do=f"give a day from {days[0]} to {days[-1]}",
        )
    return mark


def tree(house: Warehouse, mark: Mark) -> Iterator[Step]:
    """The partition, its inputs, theirs, down to the shop's files. Each is followed once; what was replaced is said."""
    met: set[str] = set()

    def down(found: Mark, depth: int) -> Iterator[Step]:
        again = found.name in met
        met.add(found.name)
        yield Step(depth, found.name, f"{said(house, found)}{'; see above' if again else ''}")
        if again:
            return
        for file, digest in sorted(dict(found.notes.get("files", {})).items()):
            yield Step(depth + 1, f"file {file}", f"sha256 {str(digest)[:16]}")
        for name in found.inputs:
            below = house.find(name)
            if below is not None:
                yield from down(below, depth + 1)
            else:
                yield Step(depth + 1, name, unresolved(house, name))

    yield from down(mark, 0)


def said(house: Warehouse, mark: Mark) -> str:
    """Rows, who wrote them with which code, and the state."""
    live = house.mark(mark.zone, mark.table, mark.day)
    state = "published" if live is not None and live.attempt == mark.attempt else "proposed"
    return f"{mark.rows:,} rows, {mark.step} {mark.code}, {state}"


def unresolved(house: Warehouse, name: str) -> str:
    """Why a name is no mark: it stands for many, for a setting, or for a partition that was replaced since."""
    asked = Name.of(name)
    if asked.zone not in ZONES:
        return "a setting"
    if asked.day.startswith(".."):
        behind = Ancestry(house).behind(name)
        return (
            f"all {len(behind)} partitions up to this day" if behind else "all up to this day; one was replaced since"
        )
    now = house.mark(asked.zone, asked.table, asked.day)
    return f"replaced since, now @{Name.of(now.name).hash}" if now else "gone"
