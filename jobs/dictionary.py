"""The data dictionary: every table and column in words, made from the declarations that the steps themselves follow.

One page without script or outside resources for people, and docs/dictionary.md from the same data. Standard library
only, but for a shop's figures, which come from its marks.
"""

import argparse
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path

from jobs import expectations
from jobs.console import say, show
from jobs.tables import GATED, STEPS, WHOLE, ZONES, Column, Table, made_of, tables
from jobs.warehouse import Warehouse, home, rows_of, warehouse, write_atomically

ZONE_DOCS: Mapping[str, str] = {
    "raw": "Every row as it came, in text, with its file, its place in it, and when it became known. Closed.",
    "clean": "Typed, normalised, without repeats; what is refused lies in quarantine. Closed.",
    "safe": "Without direct identifiers, visitors by pseudonym, texts scrubbed. Histories remain personal data.",
    "stats": "What was true of items, visitors and queries at the end of a day.",
    "examples": "Training sets: features known before a moment, labels after it.",
    "quarantine": "Refused rows, whole, with the reason. Closed.",
}
PERSONAL: Mapping[str, str] = {
    "no": "",
    "visitor": "who the visitor is",
    "direct": "direct identifier",
    "quasi": "quasi-identifier",
    "text": "free text",
}
COLUMNS = ("column", "type", "empty", "of a person", "meaning")


@dataclass(frozen=True)
class Figures:
    """What a shop has of a table."""

    days: int
    rows: int
    first: str
    last: str

    def __str__(self) -> str:
        if self.first == WHOLE:
            return f"{show(self.rows)} rows"
        return f"{show(self.days)} days from {self.first} to {self.last}, {show(self.rows)} rows"


def shown(zone: str) -> list[Table]:
    """The tables of a zone; those of quarantine have the same columns, and are shown once."""
    declared = tables(zone)
    return list(declared if zone != "quarantine" else declared[:1])


def name_of(zone: str, declared: Table) -> str:
    """How a table is headed."""
    return "quarantine/STEP.TABLE" if zone == "quarantine" else f"{zone}/{declared.name}"


def about(zone: str, declared: Table) -> list[tuple[str, str]]:
    """What there is to say of a table beside its columns: (what, words)."""
    key = ", ".join(declared.key) + (" within a day" if declared.dated else "")
    if zone == "quarantine":
        names = ", ".join(f"{each.name}" for each in tables(zone))
        return [
            ("key", key),
            ("written by", "the step in its name"),
            ("made of", "what that step reads"),
            ("tables", names),
        ]
    published = " and published by validate" if zone in GATED else ""
    sources = ", ".join(made_of(zone, declared.name)) or "the shop's files"
    lines = [
        ("key", key),
        ("partitions", "one a day (UTC)" if declared.dated else "one, the whole"),
        ("written by", STEPS[zone] + published),
        ("made of", sources),
    ]
    return [*lines, ("expected", "; ".join(expected(declared.name)))] if zone in GATED else lines


def expected(name: str) -> Iterator[str]:
    """The expectations on a table in words; those that only warn say so. One that warns and stops is said once."""
    suite = expectations.suite(name)
    stops = [one.column for one in suite if one.severity == "stop"]
    for one in suite:
        if one.severity == "stop":
            yield one.words
        elif one.column not in stops:
            yield f"{one.words} (warns)"


def cells(column: Column) -> tuple[str, ...]:
    """A column as a line of the table."""
    return (column.name, column.kind, "never" if column.required else "may be", PERSONAL[column.personal], column.doc)


def figures(house: Warehouse, zone: str, declared: Table) -> Figures | None:
    """A shop's days and rows of a table: of what is published."""
    marks = house.marks(zone, declared.name)
    return Figures(len(marks), rows_of(marks), marks[0].day, marks[-1].day) if marks else None


# Markdown ----------------------------------------------------------------------------------------------


def markdown() -> str:
    """The dictionary as Markdown: docs/dictionary.md."""
    lines = [
        "# The data dictionary",
        "",
        "Made from `jobs/tables.py` and `jobs/expectations.py` (renew it with `python tests/jobs/test_dictionary.py`).",
        "`python -m jobs dictionary --shop SHOP` writes the same as a page, with the shop's days and rows.",
    ]
    for zone in ZONES:
        lines += ["", f"## {zone}", "", ZONE_DOCS[zone]]
        for declared in shown(zone):
            lines += ["", f"### {name_of(zone, declared)}", "", declared.doc, ""]
            lines += [f"- {what}: {words}" for what, words in about(zone, declared)]
            lines += ["", *_grid(COLUMNS, map(cells, declared.columns))]
    return "\n".join(lines) + "\n"


def _grid(headers: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    def line(row: Iterable[str]) -> str:
        return f"| {' | '.join(each.replace('|', '&#124;') for each in row)} |"

    names = list(headers)
    return [line(names), line("---" for _ in names), *map(line, rows)]


# HTML --------------------------------------------------------------------------------------------------

STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:64rem;margin:2rem auto;padding:0 1rem;color:#1c2330;background:#fff}
h1{font-size:1.5rem}h2{font-size:1.2rem;margin-top:2.5rem;border-bottom:1px solid #d5dae3;padding-bottom:.2rem}
h3{font-size:1rem;margin:1.8rem 0 .2rem;font-family:ui-monospace,monospace}
table{border-collapse:collapse;margin:.6rem 0;width:100%}
th,td{padding:.2rem .6rem;text-align:left;border-bottom:1px solid #e8ebf0;vertical-align:top}
td:first-child,td:nth-child(2){font-family:ui-monospace,monospace;font-size:.9em}
dl{display:grid;grid-template-columns:7rem minmax(0,1fr);gap:.1rem .6rem;margin:.4rem 0}
dt{color:#5b6578}dd{margin:0;overflow-wrap:anywhere}
nav a{margin-right:.8rem;white-space:nowrap}a{color:#2456b8}.scroll{overflow-x:auto}.person{color:#9a2b1f}
@media (prefers-color-scheme:dark){body{background:#141820;color:#e3e7ee}th,td,h2{border-color:#2a3140}
a{color:#8fb3f5}dt{color:#9aa4b5}.person{color:#f08a7d}}
"""


def html(house: Warehouse | None) -> str:
    """The dictionary as one page; with a shop's figures, if there is one."""
    of = f" of {escape(house.shop)}" if house else ""
    links = [f'<a href="#{zone}">{zone}</a>' for zone in ZONES]
    links += ['<a href="features.html">features</a>'] if house else []
    body = [f"<h1>The data dictionary{of}</h1>", f"<nav aria-label='zones'>{' '.join(links)}</nav>"]
    for zone in ZONES:
        body.append(f'<h2 id="{zone}">{zone}</h2><p>{escape(ZONE_DOCS[zone])}</p>')
        if zone != "quarantine":
            body.append(f"<nav aria-label='tables of {zone}'>{' '.join(_link(zone, t) for t in shown(zone))}</nav>")
        body += [_section(house, zone, declared) for declared in shown(zone)]
    head = (
        f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Data dictionary{of}</title>'
    )
    page = f'<!doctype html><html lang="en"><head>{head}<style>{STYLE}</style></head><body><main>'
    return page + "\n".join(body) + "</main></body></html>\n"


def _link(zone: str, declared: Table) -> str:
    return f'<a href="#{zone}.{declared.name}">{declared.name}</a>'


def _section(house: Warehouse | None, zone: str, declared: Table) -> str:
    """One table: what it is, what is said of it, its columns."""
    lines = about(zone, declared)
    if house:
        found = figures(house, zone, declared) if zone != "quarantine" else None
        lines += [(house.shop, str(found) if found else "nothing")] if zone != "quarantine" else _refused(house)
    said = "".join(f"<dt>{escape(what)}</dt><dd>{escape(words)}</dd>" for what, words in lines)
    rows = "".join(_row(column) for column in declared.columns)
    heads = "".join(f'<th scope="col">{head}</th>' for head in COLUMNS)
    return (
        f'<section id="{zone}.{declared.name}"><h3>{escape(name_of(zone, declared))}</h3><p>{escape(declared.doc)}</p>'
        f"<dl>{said}</dl><div class='scroll'><table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>"
        "</section>"
    )


def _row(column: Column) -> str:
    name, kind, empty, person, meaning = map(escape, cells(column))
    return f"<tr><td>{name}</td><td>{kind}</td><td>{empty}</td><td class='person'>{person}</td><td>{meaning}</td></tr>"


def _refused(house: Warehouse) -> list[tuple[str, str]]:
    """A shop's refused rows by table."""
    counted = {declared.name: rows_of(house.marks("quarantine", declared.name)) for declared in tables("quarantine")}
    return [(house.shop, ", ".join(f"{rows:,} {name}" for name, rows in counted.items() if rows) or "nothing")]


def path_of(shop: str | None) -> Path:
    """Where the page lies: beside the shop's Data Docs; without a shop, in the home's own docs."""
    return (home() / shop if shop else home()) / "docs" / "dictionary.html"


def run(args: argparse.Namespace) -> int:
    """`python -m jobs dictionary`: write the page, and print where it lies."""
    house = warehouse(args.shop) if args.shop else None
    path = path_of(args.shop)
    write_atomically(path, html(house))
    say(f"{sum(len(tables(zone)) for zone in ZONES)} tables in {len(ZONES)} zones")
    print(path)
    return 0
