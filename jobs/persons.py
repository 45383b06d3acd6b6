"""Who a visitor is in every zone: ids, accounts that were joined to them, pseudonyms; and which rows are theirs.

One function decides whose a row is (`theirs`), for `export` and `erase` alike. In the closed zone that is the shop's
own id, below it the pseudonym of every key that is kept. A line that could not be read into columns is a person's if
one of its words is their id, where that can be nothing else, or if it holds their e-mail, telephone or address.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.pseudonyms import DOMAINS, Key, held_epochs, linked, load_key, pseudonym
from jobs.tables import LINKS, ZONES, table, tables
from jobs.tombstones import specific
from jobs.warehouse import DAY_FOLDER, Warehouse, arrow_schema, in_threads

if TYPE_CHECKING:
    import pyarrow as pa

CLOSED = ("raw", "clean", "quarantine")
"""Zones in which visitors stand under the shop's own id."""
OWN = ("name", "email", "phone", "address")
TEXTS = {"searches": "query", "reviews": "text", "tickets": "text"}
LEAST_TEXT = 12
"""Characters from which a text can be told from others."""
_NAMED = r"(?i)(visitor|household|customer|user|client|member)[\w ]*[\"']?\s*[:=]\s*[\"']?{}(?![\w])"
_WORD = re.compile(r"[\w.@+-]+")


Rows = dict[tuple[str, str], list[dict[str, Any]]]
"""Rows by zone and table."""


@dataclass(frozen=True)
class Person:
    """`ids` are erased and exported; `beside` are accounts that were only listed as the same person's, and stay."""

    ids: tuple[str, ...] = field(repr=False)
    pseudonyms: tuple[str, ...] = field(repr=False, default=())
    beside: tuple[str, ...] = field(repr=False, default=())
    own: tuple[str, ...] = field(repr=False, default=())

    def named_in(self, line: str) -> bool:
        """Whether a line that is no row is theirs."""
        words = set(_WORD.findall(line))
        if any(id in words if specific(id) else re.search(_NAMED.format(re.escape(id)), line) for id in self.ids):
            return True
        low = line.casefold()
        return any(value.casefold() in low for value in self.own)


# Who -------------------------------------------------------------------------------------------------


def keys(shop: str) -> list[Key]:
    """Every pseudonym key that is kept, of this epoch and of earlier ones; none is made."""
    return [load_key(shop, epoch) for epoch in held_epochs(shop)]


def accounts(house: Warehouse, given: Iterable[str]) -> tuple[list[str], list[str]]:
    """The ids given with those merged with them; and those that `clean` only listed as the same person's."""
    ids, rows = {id.strip() for id in given}, house.read("clean", LINKS["visitors"]).to_pylist()
    pairs = [(row["visitor_id"], row["kept_id"], row["merged"]) for row in rows]
    for merged in (True, False):
        before, group = 0, set(ids)
        while len(group) != before:
            before = len(group)
            group |= {each for one, kept, is_one in pairs if is_one is merged and group & {one, kept}
                      for each in (one, kept)}  # fmt: skip
        if merged:
            ids = group
        else:
            beside = group - ids
    return sorted(ids), sorted(beside)


def alone(house: Warehouse, id: str) -> Person:
    """Who bears this one id, without accounts that were joined."""
    return Person((id,), tuple(pseudonym(key, id) for key in keys(house.shop)))


def person(house: Warehouse, given: Iterable[str]) -> Person:
    """Who these ids are."""
    ids, beside = accounts(house, given)
    names = tuple(pseudonym(key, id) for key in keys(house.shop) for id in ids)
    found = Person(tuple(ids), names, tuple(beside))
    told = {row[name].strip() for zone in ("raw", "clean")
            for row in rows(house, found, holding(house, found, [(zone, "visitors")])).get((zone, "visitors"), [])
            for name in OWN[1:] if row[name] and len(row[name].strip()) >= 6}  # fmt: skip
    return Person(found.ids, names, found.beside, tuple(sorted(told)))


# Which rows ------------------------------------------------------------------------------------------


def telling(zone: str, name: str) -> list[str]:
    """The columns that say whose a row is; none in a table that is about nobody."""
    if zone == "quarantine":
        return ["row"]
    columns = table(zone, name).columns
    own = [c.name for c in columns if c.personal == "visitor" and c.name not in DOMAINS]
    return [*own, *(["unreadable"] if zone == "raw" else [])]


def theirs(found: "pa.Table", zone: str, name: str, who: Person) -> "pa.ChunkedArray":
    """For each row whether it is this person's. Needs the columns of `telling`."""
    import pyarrow as pa
    import pyarrow.compute as pc

    is_one = pa.chunked_array([pa.repeat(pa.scalar(False), found.num_rows)])
    ids = pa.array(who.ids if zone in CLOSED else who.pseudonyms, pa.string())
    for column in telling(zone, name):
        values = found[column]
        if values.null_count == len(values):
            continue
        if column in ("row", "unreadable"):
            judge = _refused_is if column == "row" else Person.named_in
            told = [each for each in pc.unique(values).to_pylist() if each is not None and judge(who, each)]
            is_one = pc.or_(is_one, pc.is_in(values, pa.array(told, pa.string())))
        else:
            is_one = pc.or_(is_one, pc.is_in(pc.utf8_trim_whitespace(values), ids))
    return is_one


def _refused_is(who: Person, told: str) -> bool:
    """Whether a row in quarantine, as JSON, is theirs."""
    row = json.loads(told)
    return str(row.get("visitor_id", "")).strip() in who.ids or who.named_in(str(row.get("unreadable", "")))


@dataclass(frozen=True)
class Holding:
    """A file of an attempt, pointed to or not, with rows of the person."""

    zone: str
    table: str
    day: str
    attempt: str
    path: Path
    rows: int


def places(house: Warehouse, wanted: Sequence[tuple[str, str]] = ()) -> Iterator[tuple[str, str, Path]]:
    """Every Parquet file of every attempt, of all tables in which there can be persons, or of those wanted."""
    for zone, name in wanted or [(each, of.name) for each in ZONES for of in tables(each)]:
        if telling(zone, name):
            for path in sorted(house.folder(zone, name).glob(f"attempts/*/{DAY_FOLDER}=*/*.parquet")):
                yield zone, name, path


def holding(house: Warehouse, who: Person, wanted: Sequence[tuple[str, str]] = ()) -> list[Holding]:
    """The files that hold rows of a person, found by reading the columns of `telling` alone."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    def one(place: tuple[str, str, Path]) -> Holding | None:
        zone, name, path = place
        try:
            found = pq.ParquetFile(path)
            if not _may_hold(found, zone, name):
                return None
            count = pc.sum(theirs(found.read(columns=telling(zone, name)), zone, name, who)).as_py() or 0
        except FileNotFoundError:  # collected meanwhile
            return None
        day = path.parent.name.partition("=")[2]
        return Holding(zone, name, day, path.parent.parent.name, path, count) if count else None

    return [found for found in in_threads(one, places(house, wanted)) if found is not None]


def _may_hold(file: Any, zone: str, name: str) -> bool:
    """Whether one of the columns has a value at all, by the footer: of tables about nobody only lines that were no rows
    matter, and there are hardly any."""
    about = file.metadata
    wanted = set(telling(zone, name))
    for group in range(about.num_row_groups):
        for column in range(about.num_columns):
            chunk = about.row_group(group).column(column)
            if chunk.path_in_schema in wanted:
                told = chunk.statistics
                if told is None or not told.has_null_count or told.null_count < chunk.num_values:
                    return True
    return False


def pointed(house: Warehouse, held: Iterable[Holding]) -> Iterator[Holding]:
    """Those that a mark points to, proposed or published."""
    from jobs.keeping import held as marked

    known: dict[tuple[str, str], set[tuple[str, str]]] = {}
    for each in held:
        place = (each.zone, each.table)
        if place not in known:
            known[place] = marked(house, *place)
        if (each.attempt, each.day) in known[place]:
            yield each


def rows(house: Warehouse, who: Person, held: Iterable[Holding]) -> Rows:
    """The rows of a person by zone and table, of what marks point to."""
    import pyarrow.parquet as pq

    found: Rows = {}
    for each in pointed(house, held):
        whole = pq.ParquetFile(each.path).read()
        mine = whole.filter(theirs(whole, each.zone, each.table, who))
        told = mine.cast(arrow_schema(table(each.zone, each.table))).to_pylist()
        found.setdefault((each.zone, each.table), []).extend(told)
    return found


# What to look for ------------------------------------------------------------------------------------


def needles(house: Warehouse, who: Person, found: Rows) -> dict[str, str]:
    """Everything by which the person could be met again: ids, pseudonyms, what points at them, identifiers, texts."""
    sought: dict[str, dict[str, None]] = {
        "visitor_id": dict.fromkeys(who.ids),
        "pseudonym": dict.fromkeys(who.pseudonyms),
    }

    def add(kind: str, value: Any, least: int = 1) -> None:
        if isinstance(value, str) and len(value.strip()) >= least:
            sought.setdefault(kind, {})[value.strip()] = None

    for (zone, name), told in found.items():
        for row in told:
            for column, domain in DOMAINS.items():
                if zone == "clean" and row.get(column):
                    for key in keys(house.shop):
                        add(f"stand-in of {column}", linked(key, domain, row[column]))
            if zone in ("raw", "clean") and name == "visitors":
                for column in OWN:
                    add(column, row[column], 6)
            if zone in ("raw", "clean", "safe") and name in ("reviews", "tickets"):
                add(f"text of {name}", row[TEXTS[name]], LEAST_TEXT)
    return {f"{kind} {n}": value for kind, values in sought.items() for n, value in enumerate(values, 1)}


def shared(house: Warehouse, sought: Mapping[str, str]) -> set[str]:
    """Names of needles that others have too, now that the person's rows are gone: two of one name, one telephone in a
    family, a review of three common words. They would be found with the others, rightly."""
    import pyarrow.compute as pc

    common: set[str] = set()
    columns = {name: ("visitors", name) for name in OWN} | {
        f"text of {name}": (name, TEXTS[name]) for name in ("reviews", "tickets")
    }
    by_kind: dict[str, dict[str, list[str]]] = {}
    for needle, value in sought.items():
        by_kind.setdefault(needle.rpartition(" ")[0], {}).setdefault(value.casefold(), []).append(needle)
    for kind, values in by_kind.items():
        if kind not in columns:
            continue
        source, column = columns[kind]
        for zone in ("raw", "clean", "safe"):
            if column in table(zone, source).names:
                for told in pc.unique(house.read(zone, source, columns=[column])[column]).to_pylist():
                    common.update(values.get((told or "").strip().casefold(), ()))
    return common
