"""Partitions without the rows of one person: written again by Arrow, and pointed to in place of what was there.

Only partitions that hold a row of theirs are written. The mark that comes keeps the name of the one that goes
(`same_as`), so that nothing which rests on it is stale and every lineage holds: what is made of those rows is written
again here too, partition by partition. The law keeps balance: what was out, or in quarantine, is `erased` now. The old
files are removed at once, unlike those of other replacements, and with them whatever no mark points to and holds the
person. Statistics over many visitors are not counted anew here: their marks are made stale (`aged`), and `aggregate
--stale` makes them again (docs/decisions/0013).
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from jobs import counting, generalising, persons
from jobs.delivering import link
from jobs.keeping import loose, remove
from jobs.persons import Holding, Person, telling
from jobs.tables import STEPS, WHOLE, ZONES, table, tables
from jobs.tombstones import rewrite
from jobs.warehouse import Ancestry, Attempt, Mark, Name, Warehouse, arrow_schema, fingerprint, in_threads, states, sync

if TYPE_CHECKING:
    pass

OF_MANY = ("item_stats", "query_stats")
"""Statistics in which a visitor is one of many, and none is named."""


def live(house: Warehouse, each: Holding) -> Mark | None:
    """The mark, proposed or published, that points to where this file lies."""
    found = (house.mark(each.zone, each.table, each.day, state) for state in reversed(states(each.zone)))
    return next((mark for mark in found if mark is not None and mark.attempt == each.attempt), None)


def without(house: Warehouse, who: Person, held: Iterable[Holding]) -> int:
    """Write every partition again that holds the person, and remove what it was; returns how many.

    Quarantine comes first: the law of a clean partition counts what lies there.
    """
    by_partition: dict[tuple[str, str, str, str], Holding] = {}
    for each in held:
        by_partition.setdefault((each.zone, each.table, each.day, each.attempt), each)

    def one(each: Holding) -> bool:
        mark = live(house, each)
        return mark is not None and _written(house, who, mark)

    refused = [each for each in by_partition.values() if each.zone == "quarantine"]
    others = [each for each in by_partition.values() if each.zone != "quarantine"]
    return sum(in_threads(one, refused)) + sum(in_threads(one, others))


def _written(house: Warehouse, who: Person, mark: Mark) -> bool:
    """One partition without the person's rows; false if it was replaced meanwhile, by a step that saw the ledger."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    schema = arrow_schema(table(mark.zone, mark.table))
    gone = 0
    with house.attempt(mark.zone, mark.table) as attempt:
        folder = attempt.folder(mark.day)
        folder.mkdir()
        for file in house.files([mark]):
            told = pq.ParquetFile(file).read(columns=telling(mark.zone, mark.table))
            is_one = persons.theirs(told, mark.zone, mark.table, who)
            if not pc.any(is_one).as_py():
                link(file, folder / file.name)
                continue
            rows: pa.Table = pq.ParquetFile(file).read()
            gone += pc.sum(is_one).as_py()
            rewrite(folder / file.name, rows.filter(pc.invert(is_one)), schema)
        suppressed = _too_few(folder, mark) if (mark.zone, mark.table) == ("safe", "visitors") else 0
        made = _renewed(mark, attempt, gone, suppressed)
        for path in [*folder.glob("*.parquet"), folder, attempt.path, attempt.path.parent]:
            sync(path)
        if not house.replace(mark, made):
            remove(attempt.path)
            return False
    if mark.zone == "quarantine":
        settled(house, mark.table, mark.day)
    _drop(house, mark)
    return True


def _renewed(mark: Mark, attempt: Attempt, erased: int, suppressed: int) -> Mark:
    """The mark of the new files: the same name, the law's terms moved."""
    import pyarrow.parquet as pq

    files = sorted(attempt.folder(mark.day).glob("*.parquet"))
    rows = sum(pq.read_metadata(file).num_rows for file in files)
    counts = dict(mark.counts)
    if "in" in counts:
        counts |= {"out": counts["out"] - erased - suppressed, "erased": counts.get("erased", 0) + erased}
        if suppressed:
            counts["suppressed"] = counts.get("suppressed", 0) + suppressed
        assert counts["out"] == rows, (counts["out"], rows)
    elif "out" in counts:
        counts["out"] = rows
    values = {
        **asdict(mark),
        "attempt": attempt.id,
        "rows": rows,
        "bytes": sum(file.stat().st_size for file in files),
        "sha256": fingerprint(files),
        "counts": counts,
        "notes": {"same_as": Name.of(mark.name).hash},
        "written_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    return Mark(**values)


def settled(house: Warehouse, name: str, day: str) -> None:
    """Let the clean partition of a quarantine's day count as erased what was taken out of quarantine since.

    What is there now is counted, so that this can be done again after a kill.
    """
    step, _, of = name.partition(".")
    zone = next(zone for zone, each in STEPS.items() if each == step)
    now: Counter[str] = Counter(house.read("quarantine", name, day, day, columns=["reason"])["reason"].to_pylist())
    for state in states(zone):
        mark = house.mark(zone, of, day, state)
        if mark is not None and (counts := moved(mark.counts, now)) != dict(mark.counts):
            house.replace(mark, replace(mark, counts=counts))


def moved(counts: Mapping[str, int], now: Mapping[str, int]) -> dict[str, int]:
    """The law's terms, where of each reason only `now` rows are left in quarantine; the others were erased.

    >>> moved({"in": 3, "out": 1, "quarantined": 2, "quarantined:missing": 2, "erased": 0}, {"missing": 1})
    {'in': 3, 'out': 1, 'quarantined': 1, 'erased': 1, 'quarantined:missing': 1}
    """
    before = counting.reasons(counts)
    after = {reason: min(rows, now.get(reason, 0)) for reason, rows in before.items()}
    gone = sum(before.values()) - sum(after.values())
    if not gone:
        return dict(counts)
    terms = {key: rows for key, rows in counts.items() if not key.startswith(counting.REASON)}
    terms |= {"quarantined": counts["quarantined"] - gone, "erased": counts.get("erased", 0) + gone}
    return {**terms, **{f"{counting.REASON}{reason}": rows for reason, rows in after.items() if rows}}


def _drop(house: Warehouse, mark: Mark) -> None:
    """Remove the files that a mark has left, unless another one points to them."""
    now = [house.mark(mark.zone, mark.table, mark.day, state) for state in states(mark.zone)]
    if not any(each is not None and each.attempt == mark.attempt for each in now):
        old = house.attempt_of(mark)
        remove(old.folder(mark.day))
        with suppress(OSError):  # other days lie in it
            old.path.rmdir()
        sync(old.path.parent)


def loosened(house: Warehouse, held: Iterable[Holding]) -> list[Path]:
    """Folders that no mark points to and that hold the person, or what is no Parquet: half of a killed writing."""
    theirs, found = {each.path for each in held}, list[Path]()
    for zone in ZONES:
        for declared in tables(zone):
            for thing in loose(house, zone, declared.name):
                if any(file in theirs or file.suffix != ".parquet" for file in thing.files):
                    found.append(thing.path)
    return found


# What an erasure does to others ---------------------------------------------------------------------


def _too_few(folder: Path, mark: Mark) -> int:
    """Take out of the safe visitors whoever stands in a group that is smaller, or tells more, than was promised; how
    many."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    columns = [c.name for c in table(mark.zone, mark.table).columns if c.personal == "quasi"]
    wanted, files = mark.notes.get("k_wanted"), sorted(folder.glob("*.parquet"))
    if not wanted or not files:
        return 0
    sizes: Counter[tuple[str, ...]] = Counter()
    for file in files:
        sizes.update(
            tuple(row.values()) for row in pq.ParquetFile(file).read(columns=columns).select(columns).to_pylist()
        )
    few = sizes.keys() - generalising.shown(columns, sizes, wanted, mark.notes.get("l_wanted") or 1)
    gone = sum(sizes[group] for group in few)
    for file in files if few else ():
        rows = pq.ParquetFile(file).read()
        keep = pa.array([tuple(row.values()) not in few for row in rows.select(columns).to_pylist()], pa.bool_())
        if not pc.all(keep).as_py():
            rewrite(file, rows.filter(keep), arrow_schema(table(mark.zone, mark.table)))
    return gone


def aged(house: Warehouse, first: str | None, ledger: str) -> dict[str, list[str]]:
    """Make stale what is counted over many: the safe visitors, whose groups are smaller, and the statistics that name
    nobody, from the first day on that the person had a part in them.

    Their marks name the ledger of erasures as an input; `--stale` finds that they should not, and makes them again.
    Returns the days by table.
    """
    found: dict[str, list[str]] = {}
    marks = [] if first is None else [mark for name in OF_MANY for mark in house.marks("stats", name, first)]
    marks += [mark for state in states("safe") for mark in house.marks("safe", "visitors", state=state)]
    for mark in marks:
        named = replace(mark, inputs=tuple(sorted({*mark.inputs, f"erasures/tombstones/{WHOLE}@{ledger}"})))
        if house.replace(mark, named) and mark.day not in found.setdefault(f"{mark.zone}/{mark.table}", []):
            found[f"{mark.zone}/{mark.table}"].append(mark.day)
    return found


def made_of(house: Warehouse, names: Iterable[str], held: set[str]) -> bool:
    """Whether any of these partitions, or what they were made of, is among `held`, or cannot be told any more."""
    ancestry, met, ahead = Ancestry(house), set[str](), list(names)
    while ahead:
        name = ahead.pop()
        if name in met:
            continue
        met.add(name)
        behind = ancestry.behind(name)
        if name in held or (not behind and Name.of(name).zone in STEPS):
            return True
        for mark in behind:
            if mark.name in held:
                return True
            ahead.extend(mark.inputs)
    return False
