"""Where a shop's tables lie, and how a partition becomes visible: whole, or not at all.

A partition is an immutable folder of Parquet named by its attempt. A small JSON file, its mark,
points to it; publishing is one atomic replace of that file. So two attempts at once, a step run
twice or one killed at any instruction leave the old partition or the new one, never a mixture.

    $ENDCAP_HOME/SHOP/warehouse/ZONE/TABLE/
        attempts/ATTEMPT/_day=2017-01-01/part-*.parquet
        proposed/2017-01-01.json        written whole
        published/2017-01-01.json       may be read downstream
"""

import fcntl
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import cache, lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from jobs.console import Problem, Usage, suggest
from jobs.tables import GATED, LINKS, WHOLE, ZONES, Table, table, tables

if TYPE_CHECKING:
    import pyarrow as pa

T = TypeVar("T")
R = TypeVar("R")
State = Literal["proposed", "published"]
DAY_FOLDER = "_day"


def states(zone: str) -> tuple[State, ...]:
    """The kinds of pointers that a zone has, in the order in which a partition gets them."""
    return ("proposed", "published") if zone in GATED else ("published",)


def home() -> Path:
    """`$ENDCAP_HOME`, else ~/.endcap: the one folder that holds all state, wherever a command is run."""
    return Path(os.environ.get("ENDCAP_HOME") or Path.home() / ".endcap").expanduser().resolve()


def sqlite(path: Path) -> str:
    """The address of a database of ours in a file, for SQLAlchemy. Who would write waits for a minute while another
    does: SQLite's own five seconds pass where a disk is slow, and what was asked for is then refused (docs/stack.md).

    >>> sqlite(Path("/home/ann/.endcap/airflow/airflow.db"))
    'sqlite:////home/ann/.endcap/airflow/airflow.db?timeout=60'
    """
    return f"sqlite:///{path}?timeout=60"


def shops() -> list[str]:
    """Names of the shops that have a home."""
    return sorted(path.parent.name for path in home().glob("*/warehouse"))


def days(first: date, last: date) -> list[str]:
    """Every UTC date from `first` to `last`, both included, as ISO text."""
    return [(first + timedelta(days=n)).isoformat() for n in range((last - first).days + 1)]


@cache
def code_version() -> str:
    """Version of the wheel, and the git commit where the code lies in a checkout."""
    import subprocess

    try:
        wheel = version("endcap")
    except PackageNotFoundError:
        wheel = "0"
    git = subprocess.run(
        ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short=12", "HEAD"],
        capture_output=True,
        text=True,
        check=False,
    )
    return f"{wheel}+{git.stdout.strip()}" if git.returncode == 0 and git.stdout.strip() else wheel


@dataclass(frozen=True)
class Mark:
    """What is known of one partition. `counts` holds the counting law's terms; `inputs` names marks by hash."""

    zone: str
    table: str
    day: str
    attempt: str
    step: str
    rows: int
    bytes: int
    sha256: str
    schema: str
    code: str
    counts: Mapping[str, int] = field(default_factory=dict)
    inputs: tuple[str, ...] = ()
    notes: Mapping[str, Any] = field(default_factory=dict)
    written_at: str = ""

    @property
    def name(self) -> str:
        """How another mark names this one among its inputs: zone/table/day@hash.

        A partition whose files were put together (`jobs.keeping.compact`) keeps the name that it had: its rows are the
        same, and nothing that rests on it is stale.
        """
        return f"{self.zone}/{self.table}/{self.day}@{str(self.notes.get('same_as', self.sha256))[:16]}"


POINTED: list[tuple[State, Mark]] = []
"""Every pointer that this process has moved, in order: what `jobs.tracing` tells of a run."""


@dataclass(frozen=True)
class Refusal:
    """What a step refused of one day: `of` names it (inputs, code, suite), `why` says it in words, no row's values."""

    step: str
    day: str
    of: tuple[str, ...]
    why: tuple[str, ...]
    refused_at: str = ""


@dataclass(frozen=True)
class Name:
    """A mark's name in its parts: zone/table/day@hash. Or zone/table+table/..DAY@hash, of all up to a day (`up_to`)."""

    zone: str
    table: str
    day: str
    hash: str

    @classmethod
    def of(cls, text: str) -> "Name":
        """The parts of a name as it stands among a mark's inputs.

        >>> Name.of("safe/items/whole@0123").table
        'items'
        """
        path, _, digest = text.partition("@")
        zone, _, rest = path.partition("/")
        name, _, day = rest.rpartition("/")
        return cls(zone, name, day, digest)


def up_to(zone: str, names: Iterable[str], marks: Iterable[Mark]) -> dict[str, str]:
    """For each day with marks of these tables one name for all of them up to it: a year of days that each named a year
    of marks would take 100 MB. `Ancestry` says which marks such a name stands for."""
    by_day: dict[str, list[str]] = {}
    for mark in marks:
        by_day.setdefault(mark.day, []).append(mark.name)
    digest, found = hashlib.sha256(), dict[str, str]()
    for day in sorted(by_day):
        digest.update("\n".join([day, *sorted(by_day[day])]).encode())
        found[day] = f"{zone}/{'+'.join(names)}/..{day}@{digest.hexdigest()[:16]}"
    return found


class Ancestry:
    """What the names among a mark's inputs stand for, as long as none of it was replaced."""

    def __init__(self, house: "Warehouse") -> None:
        self.house = house
        self._known: dict[tuple[str, str], tuple[list[Mark], dict[str, str]]] = {}

    def behind(self, name: str) -> list[Mark]:
        """The marks that bear this name, or that it stands for; none if one of them was replaced since."""
        asked = Name.of(name)
        if not asked.day.startswith("..") or asked.zone not in ZONES:
            mark = self.house.find(name)
            return [] if mark is None else [mark]
        key, names = (asked.zone, asked.table), asked.table.split("+")
        if not set(names) <= {t.name for t in tables(asked.zone)}:
            return []
        if key not in self._known:
            marks = [mark for each in names for mark in self.house.marks(asked.zone, each)]
            self._known[key] = marks, up_to(asked.zone, names, marks)
        marks, known = self._known[key]
        last = max((day for day in known if day <= asked.day[2:]), default=None)
        if last is None or Name.of(known[last]).hash != asked.hash:
            return []
        return [mark for mark in marks if mark.day <= last]


def stale(outputs: Iterable[Mark], inputs: Mapping[str, Iterable[Mark | str]]) -> dict[str, str]:
    """Days of `inputs` whose output has to be written again, each with the reason in words.

    `inputs` says by day what a writing of it now would name as its inputs; `outputs` are the marks that there are.
    A day is stale if it has no output, if the output names other inputs (one changed, one more, one fewer), or if
    the table's schema was changed since. Pure. Where it ends: it does not see that the code of the step changed.

    >>> stale([], {"2017-01-01": ["raw/items/whole@0123"]})
    {'2017-01-01': 'missing'}
    """
    have = {mark.day: mark for mark in outputs}
    found: dict[str, str] = {}
    for day in sorted(inputs):
        mark = have.get(day)
        if mark is None:
            found[day] = "missing"
            continue
        now = {i if isinstance(i, str) else i.name for i in inputs[day]}
        changed = sorted({name.partition("@")[0] for name in now.symmetric_difference(mark.inputs)})
        if changed:
            found[day] = f"changed: {', '.join(changed)}"
        elif mark.schema != schema_fingerprint(table(mark.zone, mark.table)):
            found[day] = "its schema is not the declared one"
    return found


def write_atomically(path: Path, text: str) -> None:
    """Replace `path` by `text`: readers see the old file or the new one, also after a power cut."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    with temporary.open("w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(path)
    sync(path.parent)


def make_secret(path: Path, text: str) -> None:
    """A new file that its owner alone can read. Whoever is first makes it: a file that is there stays, and no reader
    ever sees half of one."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as stream:
        stream.write(f"{text}\n")
        stream.flush()
        os.fsync(stream.fileno())
    try:
        with suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        temporary.unlink()
    sync(path.parent)


def sync(path: Path) -> None:
    """Make a file, or what was renamed or removed in a folder, last through a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def rows_of(marks: Iterable[Mark]) -> int:
    """Rows of these partitions together."""
    return sum(mark.rows for mark in marks)


def in_threads(work: Callable[[T], R], things: Iterable[T]) -> list[R]:
    """`work` of each thing, in order; for what waits for the disk, and not for the processor."""
    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(work, things))


def sha256(path: Path) -> str:
    """SHA-256 of a file, as hex, read by pieces."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def fingerprint(files: Iterable[Path]) -> str:
    """SHA-256 over the hashes of `files` in the order of those: names, which engines make up, do not count."""
    hashes = sorted(sha256(path) for path in files)
    return hashlib.sha256("".join(hashes).encode()).hexdigest()


def schema_fingerprint(declared: Table) -> str:
    """Changes when a column of the table changes its name or type."""
    return hashlib.sha256(repr([(c.name, c.kind) for c in declared.columns]).encode()).hexdigest()[:16]


def arrow_type(kind: str) -> "pa.DataType":
    """The Arrow type of a column kind of `jobs.tables`. Timestamps are microseconds, UTC."""
    import pyarrow as pa

    plain: dict[str, pa.DataType] = {
        "string": pa.string(),
        "long": pa.int64(),
        "double": pa.float64(),
        "boolean": pa.bool_(),
        "date": pa.date32(),
        "timestamp": pa.timestamp("us", tz="UTC"),
        "decimal(12,2)": pa.decimal128(12, 2),
    }
    if kind.startswith("array<"):
        return pa.list_(plain[kind[len("array<") : -1]])
    return plain[kind]


def arrow_schema(declared: Table) -> "pa.Schema":
    """The Arrow schema of a table."""
    import pyarrow as pa

    return pa.schema([(column.name, arrow_type(column.kind)) for column in declared.columns])


@dataclass(frozen=True)
class Attempt:
    """A folder of its own for one writing of one table; nobody reads it until a mark points to it."""

    zone: str
    table: str
    id: str
    path: Path
    erasures: int = 0
    """How far the ledger of erasures had come when it was begun: what was read before may hold who was erased since."""

    def folder(self, day: str) -> Path:
        """Where the files of one partition lie."""
        return self.path / f"{DAY_FOLDER}={day}"


@dataclass(frozen=True)
class Warehouse:
    """All tables of one shop."""

    shop: str
    root: Path

    @property
    def mapping(self) -> Path:
        """Where it is written by which mapping of a shop of one's own its raw rows were made (`jobs.mapping`)."""
        return self.root.parent / "mapping.sha256"

    @property
    def ledger(self) -> Path:
        """Where it is written which deliveries were imported."""
        return self.root.parent / "deliveries.json"

    @property
    def erasures(self) -> Path:
        """Where it is written, one line a visitor, who was erased (`jobs.tombstones`)."""
        return self.root.parent / "erasures" / "tombstones.jsonl"

    def erased_until(self) -> int:
        """How far the ledger of erasures has come: its length, since it only grows."""
        try:
            return self.erasures.stat().st_size
        except FileNotFoundError:
            return 0

    @property
    def delivered(self) -> bool:
        """Whether raw rows came in deliveries, so that a later row of a key corrects an earlier one."""
        return self.ledger.is_file()

    def folder(self, zone: str, name: str) -> Path:
        """The folder of one table."""
        return self.root / zone / table(zone, name).name

    def pointers(self, zone: str, name: str, state: State = "published") -> Path:
        """The folder of a table's marks in `state`. What needs no gate is published as soon as it is proposed."""
        return self.folder(zone, name) / (state if zone in GATED else "published")

    def days(self, zone: str, name: str, state: State = "published") -> list[str]:
        """Days (or `whole`) of a table that have a mark in `state`, in order."""
        folder = self.pointers(zone, name, state)
        return sorted(path.stem for path in folder.glob("[!.]*.json")) if folder.is_dir() else []

    def mark(self, zone: str, name: str, day: str, state: State = "published") -> Mark | None:
        """The mark of one partition, or None."""
        path = self.pointers(zone, name, state) / f"{day}.json"
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        return Mark(**{**values, "inputs": tuple(values["inputs"])})

    def marks(
        self, zone: str, name: str, first: str | None = None, last: str | None = None, state: State = "published"
    ) -> list[Mark]:
        """Marks of a range of days, both ends included; the one mark of a table without days."""
        chosen = [
            day
            for day in self.days(zone, name, state)
            if day == WHOLE or ((first is None or day >= first) and (last is None or day <= last))
        ]
        return [mark for day in chosen if (mark := self.mark(zone, name, day, state)) is not None]

    def find(self, name: str) -> Mark | None:
        """The mark that bears this name (zone/table/day@hash), published or proposed; None if it was replaced."""
        asked = Name.of(name)
        if asked.zone not in ZONES or asked.table not in {t.name for t in tables(asked.zone)}:
            return None
        if "/" in asked.day or asked.day.startswith("."):
            return None
        found = (self.mark(asked.zone, asked.table, asked.day, state) for state in reversed(states(asked.zone)))
        return next((mark for mark in found if mark is not None and mark.name == name), None)

    def stale(self, zone: str, name: str, inputs: Mapping[str, Iterable[Mark | str]]) -> dict[str, str]:
        """The days of `inputs` that a step must write again, with the reason: see `stale`.

        In a gated zone the proposal counts. A day that was retired stays so: it is not missing.
        """
        retired = self.retired(zone)
        asked = {day: named for day, named in inputs.items() if day >= retired}
        return stale(self.marks(zone, name, state="proposed"), asked)

    def retired(self, zone: str) -> str:
        """The day before which everything dated of a zone was retired; an empty text if nothing was."""
        return str(self._floors().get(zone, ""))

    def retire(self, zones: Iterable[str], before: str) -> None:
        """Remember that these zones hold nothing dated before the day `before`; never an earlier day than it was."""
        floors = self._floors()
        floors |= {zone: max(before, floors.get(zone, "")) for zone in zones}
        write_atomically(self.root / "retired.json", json.dumps(floors, indent=1, sort_keys=True) + "\n")

    def _floors(self) -> dict[str, str]:
        try:
            return dict(json.loads((self.root / "retired.json").read_text(encoding="utf-8")))
        except FileNotFoundError:
            return {}

    def folders(self, marks: Iterable[Mark]) -> list[Path]:
        """The folders that hold rows, for the readers of Spark, DuckDB and Arrow. Empty partitions are left out."""
        return [self.attempt_of(mark).folder(mark.day) for mark in marks if mark.rows]

    def files(self, marks: Iterable[Mark]) -> list[Path]:
        """The Parquet files of these partitions, in order; a `Problem` if those of one are gone, never fewer rows."""
        found = []
        for folder in self.folders(marks):
            files = sorted(folder.glob("*.parquet"))
            if not files:
                raise Problem("files of a partition are gone", where=str(folder), do="run the same command again")
            found += files
        return found

    def attempt_of(self, mark: Mark) -> Attempt:
        """The attempt that a mark points to."""
        return Attempt(
            mark.zone, mark.table, mark.attempt, self.folder(mark.zone, mark.table) / "attempts" / mark.attempt
        )

    def read(
        self,
        zone: str,
        name: str,
        first: str | None = None,
        last: str | None = None,
        *,
        columns: Sequence[str] | None = None,
        state: State = "published",
    ) -> "pa.Table":
        """Rows of a range of days as an Arrow table with the declared schema; refuses an unknown column."""
        import pyarrow.dataset as ds

        declared = table(zone, name)
        for column in columns or ():
            if column not in declared.names:
                raise Usage(f"table {zone}/{name} has no column '{column}'", do=suggest(column, declared.names))
        files = [str(file) for file in self.files(self.marks(zone, name, first, last, state))]
        schema = arrow_schema(declared)
        rows = ds.dataset(files, schema=schema, format="parquet") if files else ds.dataset(schema.empty_table())
        return rows.to_table(columns=list(columns) if columns is not None else list(declared.names))

    def kept(self, name: str, id: str) -> str:
        """The id under which an item or a visitor is kept: its own, or that of the one it was merged into."""
        mark = self.mark("clean", LINKS[name], WHOLE)
        return _merged(tuple(self.files([mark]))).get(id, id) if mark and mark.rows else id

    def require(
        self,
        zone: str,
        name: str,
        first: str | None = None,
        last: str | None = None,
        state: State = "published",
        *,
        step: str,
    ) -> list[Mark]:
        """Marks of the range, or a `Problem` that names the step to run first."""
        found = self.marks(zone, name, first, last, state)
        if not found:
            span = f" for {first} to {last}" if first else ""
            raise Problem(
                f"{zone}/{name} has no {state} partition{span}",
                where=str(self.folder(zone, name)),
                do=f"run 'python -m jobs {step} --shop {self.shop}' for these days first",
            )
        return found

    @contextmanager
    def attempt(self, zone: str, name: str) -> Iterator[Attempt]:
        """A fresh attempt folder; removed if the writing fails and nothing points to it yet."""
        attempt = Attempt(zone, name, uuid.uuid4().hex[:16], Path())
        path = self.folder(zone, name) / "attempts" / attempt.id
        path.mkdir(parents=True)
        attempt = Attempt(zone, name, attempt.id, path, self.erased_until())
        try:
            yield attempt
        except BaseException:
            if not any(m.attempt == attempt.id for state in states(zone) for m in self.marks(zone, name, state=state)):
                shutil.rmtree(path, ignore_errors=True)
            raise

    def propose(
        self,
        attempt: Attempt,
        day: str,
        *,
        step: str,
        counts: Mapping[str, int] | None = None,
        inputs: Iterable[Mark | str] = (),
        notes: Mapping[str, Any] | None = None,
        keep: bool = False,
    ) -> Mark:
        """Point to one day of an attempt, after checking that its files have the declared schema.

        In a gated zone the mark becomes `proposed`, elsewhere `published`. Rows and hash are read from the files,
        never taken on trust, and the files last through a power cut before a mark names them. With `keep` a published
        partition of the same bytes stays where it is: only its mark is renewed, and names the new inputs.
        """
        import pyarrow.parquet as pq

        declared = table(attempt.zone, attempt.table)
        files = sorted(attempt.folder(day).glob("*.parquet"))
        expected = arrow_schema(declared)
        rows = 0
        for file in files:
            footer = pq.ParquetFile(file)
            rows += footer.metadata.num_rows
            found = footer.schema_arrow
            if found.names != expected.names or [str(f.type).replace("element", "item") for f in found] != [
                str(f.type).replace("element", "item") for f in expected
            ]:
                raise Problem(
                    f"{attempt.zone}/{attempt.table} was written with another schema than declared",
                    where=str(file),
                    do="compare the step with jobs/tables.py",
                )
        if rows != (told := (counts or {}).get("out", rows)):
            raise Problem(
                f"{attempt.zone}/{attempt.table} of {day} has {rows} rows on disk, but {told} were written",
                where=str(attempt.folder(day)),
                do="run the same command again; leave the attempts of a running step alone",
            )
        if attempt.erasures != self.erased_until():
            raise Problem(
                f"a visitor was erased while {attempt.zone}/{attempt.table} was written: it may hold them still",
                where=str(attempt.path),
                do="run the same command again: it reads what is left of them, which is nothing",
            )
        digest, schema = fingerprint(files), schema_fingerprint(declared)
        for path in [*files, attempt.folder(day), attempt.path, attempt.path.parent] if files else []:
            sync(path)
        before = self.mark(attempt.zone, attempt.table, day) if keep else None
        same = before is not None and (before.sha256, before.schema, before.rows) == (digest, schema, rows)
        mark = Mark(
            attempt.zone,
            attempt.table,
            day,
            before.attempt if before is not None and same else attempt.id,
            step,
            rows,
            sum(f.stat().st_size for f in files),
            digest,
            schema,
            code_version(),
            dict(counts or {}),
            tuple(sorted(i if isinstance(i, str) else i.name for i in inputs)),
            dict(notes or {}),
            datetime.now(UTC).isoformat(timespec="seconds"),
        )
        self._point(mark, "proposed")
        return mark

    def propose_days(
        self,
        attempt: Attempt,
        days: Iterable[str],
        *,
        step: str,
        counts: Mapping[str, Mapping[str, int]] | None = None,
        inputs: Mapping[str, Iterable[Mark | str]] | None = None,
        notes: Mapping[str, Mapping[str, Any]] | None = None,
        keep: bool = False,
    ) -> list[Mark]:
        """Point to every day of `days`, those without rows too: empty is known, not missing. All else is by day.

        With `keep` (see `propose`) what was written again with the same bytes is removed from the attempt.
        """

        def one(day: str) -> Mark:
            return self.propose(
                attempt,
                day,
                step=step,
                counts=(counts or {}).get(day),
                inputs=(inputs or {}).get(day, ()),
                notes=(notes or {}).get(day),
                keep=keep,
            )

        marks = in_threads(one, days)
        if keep:
            for mark in marks:
                if mark.attempt != attempt.id:
                    shutil.rmtree(attempt.folder(mark.day), ignore_errors=True)
            if all(mark.attempt != attempt.id for mark in marks):
                shutil.rmtree(attempt.path, ignore_errors=True)
        return marks

    def publish(self, mark: Mark, notes: Mapping[str, Any] | None = None) -> Mark:
        """Let a proposed partition be read downstream. `notes` are added: the suites' result, say.

        A `Problem` if its files are gone, which can only be where it was replaced long ago and collected since.
        """
        if mark.rows and not self.attempt_of(mark).folder(mark.day).is_dir():
            raise Problem(
                f"the files of {mark.name} are gone",
                where=str(self.attempt_of(mark).path),
                do=f"run the step '{mark.step}' for {mark.day} again",
            )
        published = Mark(**{**asdict(mark), "notes": {**mark.notes, **(notes or {})}})
        self._point(published, "published")
        return published

    def replace(self, old: Mark, new: Mark) -> bool:
        """Let the pointers that point to `old` point to `new`; false if none did any more, since it was replaced."""
        moved = False
        with self._turn(old.zone, old.table, fcntl.LOCK_EX):
            for state in states(old.zone):
                live = self.mark(old.zone, old.table, old.day, state)
                if live is not None and live.attempt == old.attempt:
                    self._moved(Mark(**{**asdict(new), "notes": {**live.notes, **new.notes}}), state)
                    moved = True
        return moved

    def unmark(self, old: Mark, state: State) -> None:
        """Take a mark away; one that was replaced meanwhile stays."""
        with self._turn(old.zone, old.table, fcntl.LOCK_EX):
            live = self.mark(old.zone, old.table, old.day, state)
            if live is not None and live.attempt == old.attempt:
                folder = self.pointers(old.zone, old.table, state)
                (folder / f"{old.day}.json").unlink(missing_ok=True)
                sync(folder)

    def refuse(self, zone: str, name: str, refusal: Refusal) -> None:
        """Remember what a step refused, so that `--stale` does not ask it the same again, night after night."""
        path = self.folder(zone, name) / "refused" / refusal.step / f"{refusal.day}.json"
        values = {**asdict(refusal), "refused_at": datetime.now(UTC).isoformat(timespec="seconds")}
        write_atomically(path, json.dumps(values, indent=1, sort_keys=True) + "\n")

    def refusals(self, zone: str, name: str, step: str) -> dict[str, Refusal]:
        """What a step refused of a table, by day."""
        found = {}
        for path in sorted((self.folder(zone, name) / "refused" / step).glob("[!.]*.json")):
            values = json.loads(path.read_text(encoding="utf-8"))
            found[path.stem] = Refusal(**{**values, "of": tuple(values["of"]), "why": tuple(values["why"])})
        return found

    def forgive(self, zone: str, name: str, step: str, day: str) -> None:
        """Forget a refusal: the day has passed since."""
        (self.folder(zone, name) / "refused" / step / f"{day}.json").unlink(missing_ok=True)

    def _point(self, mark: Mark, state: State) -> None:
        with self._turn(mark.zone, mark.table, fcntl.LOCK_SH):
            self._moved(mark, state)

    def _moved(self, mark: Mark, state: State) -> None:
        """Move a pointer. What it pointed to is touched first: from then on nobody new is told of it."""
        old = self.mark(mark.zone, mark.table, mark.day, state)
        if old is not None and old.attempt != mark.attempt:
            left = self.attempt_of(old)
            for path in (left.folder(old.day), left.path):
                with suppress(FileNotFoundError):
                    os.utime(path)
        path = self.pointers(mark.zone, mark.table, state) / f"{mark.day}.json"
        write_atomically(path, json.dumps(asdict(mark), indent=1, sort_keys=True) + "\n")
        POINTED.append((state if mark.zone in GATED else "published", mark))

    @contextmanager
    def _turn(self, zone: str, name: str, kind: int) -> Iterator[None]:
        """Pointers of one table are moved side by side, but nobody moves one between another's look and move."""
        folder = self.folder(zone, name)
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / ".turn").open("a") as lock:
            fcntl.flock(lock, kind)
            yield


@lru_cache(maxsize=8)
def _merged(files: tuple[Path, ...]) -> dict[str, str]:
    """Of a table of links, id -> kept id of what was merged. Files never change, so it is read once."""
    import pyarrow.parquet as pq

    rows = [row for file in files for row in pq.read_table(file).to_pylist() if row["merged"]]
    return {next(iter(row.values())): row["kept_id"] for row in rows}


def warehouse(shop: str, *, must_exist: bool = True) -> Warehouse:
    """The warehouse of `shop`; a `Usage` with a suggestion if it has no home yet."""
    root = home() / shop / "warehouse"
    if must_exist and not root.is_dir():
        raise Usage(
            f"shop '{shop}' has no home in {home()}",
            do=f"{suggest(shop, shops())} Or import it: 'python -m jobs import {shop}'",
        )
    return Warehouse(shop, root)
