"""`endcap.toml`: a shop's own words for our raw tables, read and checked against the files.

Guarantees. All that is wrong is told at once, each finding with what, where and what to do, before the import: unknown
settings, tables and columns, theirs and ours, with suggestions; files that are missing; required columns that nothing
fills. A mapping without findings is a `Source` like those of `jobs.sources`. The words are in docs/mapping.md.
"""

import codecs
import hashlib
import json
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from jobs.console import Problem, Refused, Usage, say, suggest
from jobs.filing import OURS, Delivered
from jobs.finding import MOST_DAYS, check_readable, hidden, is_pattern, legible, matching
from jobs.sources import Cell, Format, Made, Row, RowFile, Source, always, field, named, text_of
from jobs.sources.text import Reading, header, nearest, records
from jobs.tables import DELIVERED, WHOLE, Column, table, tables
from jobs.warehouse import Warehouse, write_atomically

NAME = "endcap.toml"
FOR_PEOPLE = ("doc", "licence")
SETTINGS = (*FOR_PEOPLE, "first", "last", "delay_minutes", "zone", "deliveries")
ENTRY = ("files", "format", "delimiter", "encoding", "columns", "optional", "left_out", "where", "unless", "simulated")
TURNS = ("words", "divide", "time")
BESIDE = {"value": (), "from": TURNS, "join": ("with", "time")}
"""What a column may come from, and the words that may stand beside."""
CELL = (*BESIDE, *TURNS, "with")
Turn = Callable[[str], str]
"""What is done to the text of a field."""
ENDINGS: dict[str, tuple[Format, str]] = {
    "csv": ("csv", ","),
    "tsv": ("csv", "\t"),
    "jsonl": ("jsonl", ","),
    "ndjson": ("jsonl", ","),
    "parquet": ("parquet", ","),
}
"""What a file's name says of its format and delimiter."""
FORMATS: dict[str, tuple[Format, str]] = {**ENDINGS, "bulk": ("bulk", ",")}
_LOOK = 1_000  # rows of JSON lines that a check reads


@dataclass(frozen=True)
class Finding:
    """Something that is wrong with a mapping."""

    what: str
    where: str
    do: str

    def __str__(self) -> str:
        return str(Problem(self.what, where=self.where, do=self.do))


class _Findings(list[Finding]):
    """Findings as they are collected, each at a place of the mapping."""

    def add(self, what: str, where: str, do: str) -> None:
        self.append(Finding(what, where, do))

    def words(self, given: Iterable[str], known: Sequence[str], kind: str, where: str) -> None:
        """One finding for each word that is none of `known`."""
        for word in given:
            if word not in known:
                self.add(f"unknown {kind} '{word}'", where, suggest(word, known))


# Reading --------------------------------------------------------------------------------------


def shop_of(shop: Source, folder: Path) -> Source:
    """The shop as its folder's mapping says; `Usage` after all findings were told.

    A file that is spoiled is a `Problem`, not a finding. Those of deliveries are not looked at here: one that is
    spoiled stops its own delivery, and no other.
    """
    found, findings, _ = check(shop, folder, to_import=True)
    if findings or found is None:
        for finding in findings:
            say(f"finding: {finding}")
        raise Usage(
            f"findings in the mapping: {len(findings)}; nothing was imported",
            where=str(folder / NAME),
            do=f"mend them, and look again with 'python -m jobs import {shop.name} --from {folder} --check'",
        )
    return found


def check(shop: Source, folder: Path, *, to_import: bool = False) -> tuple[Source | None, list[Finding], list[str]]:
    """The shop that a folder's mapping makes, what is wrong with it, and what is worth knowing."""
    findings = _Findings()
    try:
        told = tomllib.loads((folder / NAME).read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        findings.add("there is no mapping", NAME, "let --check propose one, and save it there")
        return None, findings, []
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as fault:
        findings.add(f"the mapping is no TOML: {fault}", NAME, "mend that line")
        return None, findings, []
    found = parse(shop, told, findings)
    notes: list[str] = []
    if found is not None and not (to_import and found.deliveries):
        notes = look(found, folder, findings, to_import=to_import)
    return found, list(findings), notes


def identity(folder: Path) -> str:
    """A hash of what a mapping says of rows; comments, order, words for people and where the span ends do not count."""
    told = tomllib.loads((folder / NAME).read_text(encoding="utf-8-sig"))
    meant = {key: value for key, value in told.items() if key not in (*FOR_PEOPLE, "last")}
    return hashlib.sha256(json.dumps(meant, sort_keys=True, default=str).encode()).hexdigest()


def keep_to(house: Warehouse, folder: Path, last: date | None = None) -> None:
    """Write down by which mapping a shop is imported; `Refused` if raw tables stand that another one made, or days
    after its `last`.

    An import replaces the days that its own mapping names, and the ledger knows files, not what they mean: rows of an
    earlier mapping would stand beside the new ones, or in their place, and nothing would tell them apart. A span that
    only ends later is the same shop's, grown.
    """
    mapping = identity(folder)
    before = house.mapping.read_text(encoding="utf-8").strip() if house.mapping.is_file() else ""
    days = [day for each in tables("raw") for day in house.days("raw", each.name)]
    beyond = [day for day in days if last is not None and day != WHOLE and day > last.isoformat()]
    if beyond or (mapping != before and (days or house.ledger.is_file())):
        why = f"as far as {max(beyond)}" if beyond else "its rows mean something else"
        raise Refused(
            f"an earlier import with another mapping stands in shop '{house.shop}': {why}",
            where=str(folder / NAME),
            do=f"run 'python -m jobs reset --shop {house.shop}', then import again; or put the mapping back",
        )
    if mapping != before:
        write_atomically(house.mapping, mapping + "\n")


def parse(shop: Source, told: Mapping[str, Any], findings: _Findings) -> Source | None:
    """A mapping's words as a source; None if no table can be made of them."""
    settings = {key: value for key, value in told.items() if not _entries(value)}
    tables = {key: _entries(value) for key, value in told.items() if _entries(value)}
    for name in settings:
        if name not in SETTINGS:
            findings.add(f"unknown setting or table '{name}'", name, suggest(name, (*SETTINGS, *DELIVERED)))
    for name in tables:
        if name not in DELIVERED:
            findings.add(f"unknown table '{name}'", name, suggest(name, DELIVERED))
    known = {name: entries for name, entries in tables.items() if name in DELIVERED}
    if not known:
        findings.add("the mapping names none of our tables", NAME, f"describe one of: {', '.join(DELIVERED)}")
        return None
    zone = _zone(settings, findings)
    rows = [
        made
        for name, entries in known.items()
        for n, entry in enumerate(entries)
        if (made := _row_file(name, entry, zone, f"{name}[{n}]" if len(entries) > 1 else name, findings)) is not None
    ]
    return _with_settings(replace(shop, rows=tuple(rows)), settings, findings)


def _entries(value: Any) -> list[dict[str, Any]]:
    """The entries of a table: `[items]` is one, `[[items]]` are many."""
    many = value if isinstance(value, list) else [value]
    return many if many and all(isinstance(one, dict) for one in many) else []


def _zone(settings: Mapping[str, Any], findings: _Findings) -> ZoneInfo | None:
    name = settings.get("zone", "UTC")
    try:
        return ZoneInfo(name)
    except (ValueError, TypeError, OSError, LookupError):
        findings.add(f"unknown zone '{name}'", "zone", "write it like Europe/Vienna or UTC")
        return None


def _with_settings(shop: Source, settings: Mapping[str, Any], findings: _Findings) -> Source:
    """The span and the clock of the mapping."""
    deliveries = settings.get("deliveries", False)
    if not isinstance(deliveries, bool):
        findings.add("deliveries is neither true nor false", "deliveries", "write deliveries = true, or leave it out")
    days: dict[str, date] = {}
    for name in ("first", "last"):
        value = settings.get(name)
        if isinstance(value, datetime) or (value is not None and not isinstance(value, date)):
            findings.add(f"{name} is no day", name, f"write it like {name} = 2024-01-31, without quotes")
        elif value is not None:
            days[name] = value
    dated = any(table("raw", rows.table).dated for rows in shop.rows)
    wanted = ("first",) if deliveries else ("first", "last")
    if dated:
        for name in wanted:
            if name not in settings:
                findings.add(
                    f"{name} is missing", NAME, f"say the {name} day of the shop's events: {name} = 2024-01-31"
                )
    for name in ("last", "delay_minutes"):
        if deliveries and name in settings:
            findings.add(f"{name} has no meaning with deliveries", name, "leave it out: their folders' names tell it")
    first = days.get("first", date(1970, 1, 1))
    last = days.get("last", first)
    if last < first:
        findings.add(f"the last day {last} is before the first, {first}", "last", "exchange them")
    if (last - first).days > MOST_DAYS:
        do = f"give the days of its events, at most {MOST_DAYS:,}"
        findings.add(f"{first} to {last} is too long a span", "last", do)
        last = first
    delay = settings.get("delay_minutes", 0)
    if isinstance(delay, bool) or not isinstance(delay, int | float) or not 0 <= delay <= 60 * 24 * 366:
        findings.add(f"delay_minutes '{delay}' is no number of minutes", "delay_minutes", "write it like 5")
        delay = 0
    told = {name: str(settings[name]) for name in FOR_PEOPLE if name in settings}
    delayed = timedelta(minutes=delay)
    return replace(shop, **told, first=first, last=last, delay=delayed, deliveries=bool(deliveries))  # type: ignore[arg-type]


def _row_file(
    name: str, entry: Mapping[str, Any], zone: ZoneInfo | None, where: str, findings: _Findings
) -> RowFile | None:
    """One entry of the mapping; None if its files are not told."""
    findings.words(entry, ENTRY, "word", where)
    pattern = entry.get("files")
    if not isinstance(pattern, str) or not is_pattern(pattern):
        findings.add(f"{where} names no files", where, 'give a pattern inside the folder: files = "orders-*.csv"')
        return None
    format, delimiter = _format(entry, pattern, where, findings)
    encoding = str(entry.get("encoding", "utf-8"))
    try:
        codecs.lookup(encoding)
        "".encode(encoding)
    except (LookupError, ValueError):
        findings.add(f"unknown encoding '{encoding}'", where, "write it like utf-8, latin-1, cp1252 or utf-16")
        encoding = "utf-8"
    columns = _columns(name, entry.get("columns"), zone, where, findings)
    lists = {key: _names(entry, key, where, findings) for key in ("optional", "left_out")}
    conditions = {key: _condition(entry, key, where, findings) for key in ("where", "unless")}
    reads = tuple(dict.fromkeys([*conditions["where"], *conditions["unless"]]))
    return RowFile(
        table=name,
        pattern=pattern,
        format=format,
        columns=columns,
        simulated=entry.get("simulated") is True,
        delimiter=delimiter,
        encoding=encoding,
        where=_claims(conditions["where"], conditions["unless"]) if reads else None,
        reads=reads,
        optional=frozenset(lists["optional"]),
        left_out=tuple(lists["left_out"]),
    )


def _format(entry: Mapping[str, Any], pattern: str, where: str, findings: _Findings) -> tuple[Format, str]:
    """Format and delimiter: as declared, else as the files' ending says."""
    ending = pattern.removesuffix(".gz").rpartition(".")[2].lower()
    told = str(entry.get("format", ending))
    if told not in FORMATS:
        findings.add(f"the format of '{pattern}' is not known", where, f'say it: format = "{next(iter(FORMATS))}"; '
                     f"{suggest(told, FORMATS)}")  # fmt: skip
    format, delimiter = FORMATS.get(told, ("csv", ","))
    delimiter = entry.get("delimiter", delimiter)
    if not isinstance(delimiter, str) or len(delimiter) != 1 or not delimiter.isascii() or delimiter in '\r\n"':
        findings.add(f"the delimiter {delimiter!r} is not one character", where, 'write it like delimiter = ";"')
        delimiter = ","
    return format, delimiter


def _names(entry: Mapping[str, Any], key: str, where: str, findings: _Findings) -> list[str]:
    given = entry.get(key, [])
    if not isinstance(given, list) or not all(isinstance(name, str) for name in given):
        findings.add(f"{key} is no list of names", where, f'write it like {key} = ["colour"]')
        return []
    return given


def _condition(entry: Mapping[str, Any], key: str, where: str, findings: _Findings) -> dict[str, frozenset[str]]:
    given = entry.get(key, {})
    told = {name: values if isinstance(values, list) else [values] for name, values in _table(given).items()}
    if not isinstance(given, dict) or any(isinstance(one, dict | list) for values in told.values() for one in values):
        findings.add(
            f"{key} names no fields with values", where, f'write it like {key} = {{ kind = ["click", "view"] }}'
        )
        return {}
    return {
        name: frozenset(text for one in values if (text := text_of(one)) is not None) for name, values in told.items()
    }


def _table(given: Any) -> dict[str, Any]:
    return given if isinstance(given, dict) else {}


def _claims(where: Mapping[str, frozenset[str]], unless: Mapping[str, frozenset[str]]) -> Any:
    """Whether a row is one of an entry's: every field of `where` has one of its values, none of `unless` has. A field
    without a value has none of them."""

    def holds(row: Row) -> bool:
        return all(text_of(field(row, name)) in values for name, values in where.items()) and not any(
            text_of(field(row, name)) in values for name, values in unless.items()
        )

    return holds


# Columns --------------------------------------------------------------------------------------


def _columns(name: str, given: Any, zone: ZoneInfo | None, where: str, findings: _Findings) -> dict[str, Cell]:
    """Our columns, each with where it comes from."""
    if not isinstance(given, dict) or not given:
        findings.add(f"{where} maps no columns", where, f'write [{name}.columns] and lines like {ours(name)[0]} = "id"')
        return {}
    findings.words(given, ours(name), f"column of {name}", f"{where}.columns")
    lacking = [
        c.name for c in table("clean", name).columns if c.required and c.name in ours(name) and c.name not in given
    ]
    for column in lacking:
        doc = table("raw", name)[column].doc
        findings.add(f"{name} needs '{column}' ({doc})", f"{where}.columns", f'add {column} = "their name for it"')
    made = {column: _cell(column, spec, zone, f"{where}.columns.{column}", findings) for column, spec in given.items()}
    return {column: cell for column, cell in made.items() if cell is not None and column in ours(name)}


def ours(name: str) -> list[str]:
    """The columns of a table that a publisher fills."""
    return [column for column in table("raw", name).names if column not in OURS]


def required(name: str) -> list[Column]:
    """Those of them without which no clean row can be."""
    return [c for c in table("clean", name).columns if c.required and c.name in ours(name)]


def _cell(column: str, spec: Any, zone: ZoneInfo | None, where: str, findings: _Findings) -> Cell | None:
    """One column: the name of a field, or a table of what to do with it."""
    if isinstance(spec, str):
        spec = {"from": spec}
    if not isinstance(spec, dict) or len(BESIDE.keys() & spec) != 1:
        findings.add(
            "a column is a field's name, or one of value, from, join", where, 'write it like { value = "EUR" }'
        )
        return None
    findings.words(spec, CELL, "word", where)
    kind = next(iter(BESIDE.keys() & spec))
    for word in [word for word in spec if word in CELL and word not in (kind, *BESIDE[kind])]:
        findings.add(f"'{word}' has no meaning beside '{kind}'", where, "leave one of them out")
    turn = _turn(column, spec, zone or ZoneInfo("UTC"), where, findings)
    if kind == "value":
        return _constant(spec["value"], turn, where, findings)
    parts = [spec["from"]] if kind == "from" else spec["join"]
    if not isinstance(parts, list) or not parts or not all(isinstance(part, str) for part in parts):
        example = '"price"' if kind == "from" else '["order", "line"]'
        findings.add(f"{kind} names no field", where, f"write it like {kind} = {example}")
        return None
    if kind == "from" and turn is None:
        return str(parts[0])
    return _made(parts, str(spec.get("with", "-")), turn)


def _constant(value: Any, turn: Turn | None, where: str, findings: _Findings) -> Cell | None:
    text = None if isinstance(value, dict | list) else text_of(value)
    if text is None:
        findings.add("value is no text, number or day", where, 'write it like value = "EUR"')
        return None
    return always(turn(text) if turn else text)


def _made(parts: Sequence[str], sign: str, turn: Turn | None) -> Made:
    """Fields put together, and then turned; nothing if one is missing."""

    def make(row: Row) -> str | None:
        texts = [text for part in parts if (text := text_of(field(row, part))) is not None]
        if len(texts) < len(parts):
            return None
        return turn(sign.join(texts)) if turn else sign.join(texts)

    return Made(make, tuple(parts))


def _turn(column: str, spec: Mapping[str, Any], zone: ZoneInfo, where: str, findings: _Findings) -> Turn | None:
    """What is done to a field's text, if anything: one of `TURNS`. An event's time is always read as one."""
    asked = [word for word in TURNS if word in spec or (word, column) == ("time", "event_time")]
    if len(asked) > 1:
        do = 'write time = "milliseconds", say' if column == "event_time" else "leave one of them out"
        findings.add(f"{' and '.join(asked)} cannot be done to one field", where, do)
        return None
    if asked == ["words"]:
        return _translated(spec["words"], where, findings)
    if asked == ["divide"]:
        return _divided(spec["divide"], where, findings)
    return _timed(spec.get("time", "iso"), zone, where, findings) if asked else None


def _translated(words: Any, where: str, findings: _Findings) -> Turn | None:
    if not isinstance(words, dict) or any(isinstance(meant, dict | list) for meant in words.values()):
        findings.add("words is no table of words", where, 'write it like words = { sale = "purchase" }')
        return None
    known = {word: text_of(meant) or "" for word, meant in words.items()}
    return lambda text: known.get(text, text)


def _divided(by: Any, where: str, findings: _Findings) -> Turn | None:
    from decimal import Decimal, InvalidOperation

    if isinstance(by, bool) or not isinstance(by, int) or by < 1:
        findings.add(f"divide '{by}' is no whole number above 0", where, "write it like divide = 100")
        return None

    def divided(text: str) -> str:
        try:
            return str(Decimal(text) / by)
        except InvalidOperation:
            return text

    return divided


def _timed(pattern: Any, zone: ZoneInfo, where: str, findings: _Findings) -> Turn | None:
    known = ("iso", "seconds", "milliseconds")
    if not isinstance(pattern, str) or (pattern not in known and not can_be_read(pattern)):
        findings.add(
            f"time '{pattern}' is no way to read a time",
            where,
            "write iso, seconds, milliseconds or what Python's strptime reads, with a year, like %d.%m.%Y %H:%M",
        )
        return None
    return lambda text: when(text, pattern, zone)


def can_be_read(pattern: str) -> bool:
    """Whether a pattern of strptime reads a time that it wrote itself, and knows its year.

    >>> can_be_read("%d.%m.%Y %H:%M"), can_be_read("%s"), can_be_read("%H:%M"), can_be_read("german")
    (True, False, False, False)
    """
    example = datetime(2024, 5, 17, 13, 45, 6, tzinfo=UTC)
    try:
        return datetime.strptime(example.strftime(pattern), pattern).year == example.year  # noqa: DTZ007
    except (ValueError, OverflowError, re.error):  # the last: one that names a piece twice
        return False


def when(text: str, pattern: str, zone: ZoneInfo) -> str:
    """A time in ISO 8601 with its zone; one without a zone is in `zone`. What is no such time stays as it came.

    Of an hour that comes twice, when clocks go back, the first is meant.

    >>> when("31.01.2024 08:30", "%d.%m.%Y %H:%M", ZoneInfo("Europe/Vienna"))
    '2024-01-31T08:30:00+01:00'
    >>> when("1706686200", "seconds", ZoneInfo("UTC")), when("soon", "iso", ZoneInfo("UTC"))
    ('2024-01-31T07:30:00+00:00', 'soon')
    """
    try:
        if pattern in ("seconds", "milliseconds"):
            number = float(text) / (1000 if pattern == "milliseconds" else 1)
            return datetime.fromtimestamp(number, UTC).isoformat()
        found = datetime.fromisoformat(text) if pattern == "iso" else datetime.strptime(text, pattern)  # noqa: DTZ007
        return (found if found.tzinfo else found.replace(tzinfo=zone)).isoformat()
    except (ValueError, OverflowError, OSError):
        return text


# Files ----------------------------------------------------------------------------------------


def look(shop: Source, folder: Path, findings: _Findings, *, to_import: bool = False) -> list[str]:
    """Compare the declarations with the files that are there; returns what is worth knowing."""
    notes: list[str] = []
    there = {path.relative_to(folder) for path in folder.glob("*/*" if shop.deliveries else "*") if path.is_file()}
    names = {legible(name.as_posix()) for name in there if name.name != NAME and not hidden(name)}
    read: set[str] = set()

    @contextmanager
    def found(where: str) -> Iterator[None]:
        try:
            yield
        except Problem as problem:
            if to_import:
                raise
            findings.add(problem.what, where, problem.do)

    for rows in shop.rows:
        files: tuple[Delivered, ...] | None = None
        with found(f"{rows.table}.files"):
            files = matching([folder], f"*/{rows.pattern}" if shop.deliveries else rows.pattern)
            read.update(file.name for file in files)
        if files == () and shop.deliveries:
            notes.append(f"no delivery so far has a file called '{rows.pattern}', mapped for {rows.table}")
        elif files == ():
            do = nearest(sorted(names), rows.pattern) or f"there are: {', '.join(sorted(names)[:12]) or '(no files)'}"
            findings.add(f"no file is called '{rows.pattern}'", f"{rows.table}.files", do)
        for file in files or ():
            with found(file.name):
                _look_at(rows, file, findings, notes)
    if shop.deliveries and not read:
        do = "put files into sub-folders like 2024-01-05, or correct the patterns"
        findings.add("no delivery has a file of the mapping", NAME, do)
    unread = sorted(names - read)
    if unread:
        notes.append(f"files that no entry reads: {', '.join(unread[:12])}")
    return notes


def _look_at(rows: RowFile, file: Delivered, findings: _Findings, notes: list[str]) -> None:
    check_readable(file.path)
    names, all_of_it = fields_of(file.path, Reading.of(rows))
    others = sorted(names - rows.declared)
    for lacking in sorted(rows.required - names):
        near = nearest(others, lacking) or f"it has: {', '.join(sorted(names)[:12]) or '(nothing)'}"
        if not all_of_it:
            notes.append(
                f"{file.name} has no '{lacking}', mapped for {rows.table}, in its first {_LOOK:,} lines; {near}"
            )
            continue
        findings.add(f"{file.name} has no field '{lacking}', mapped for {rows.table}", f"{rows.table}.columns", near)
    parents = {path[:n] for path in rows.declared for n, sign in enumerate(path) if sign == "."}
    extra = [name for name in others if name not in parents and not named(name, rows.left_out)]
    if extra:
        notes.append(f"{file.name}: kept in 'extra', as nothing maps them: {', '.join(extra[:12])}")


def fields_of(path: Path, how: Reading) -> tuple[set[str], bool]:
    """The fields that a file has, and whether those are all: its header's, its schema's, or of formats without either
    those of its first thousand rows, with dots."""
    head = header(path, how)
    if head is not None:
        return set(head), True
    first = list(islice(records(path, how), _LOOK + 1))
    rows = [row for _, row, _ in first[:_LOOK] if row is not None]
    if not rows:
        raise Problem(f"no line of {path.name} can be read", do="check its format and encoding")
    found = {name for row in rows for name in _paths(row, "")} | ({"_id", "_index"} if how.format == "bulk" else set())
    return found, len(first) <= _LOOK


def _paths(row: Mapping[str, Any], above: str) -> Iterable[str]:
    for name, value in row.items():
        yield above + name
        if isinstance(value, Mapping):
            yield from _paths(value, f"{above}{name}.")
