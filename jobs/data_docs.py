"""Data Docs: one front page of what became of every day, and Great Expectations' own pages behind it.

The front page is a pure function of the marks, whichever run judged a day. Great Expectations' pages tell of the last
run; they come with scripts, styles and pictures from elsewhere, and are stripped of them here: no page of ours asks
another host for anything, and all are readable where there is none.
"""

import re
from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path

from jobs import expectations
from jobs.console import show
from jobs.dictionary import STYLE
from jobs.tables import DELIVERED, WHOLE, table
from jobs.warehouse import Mark, Refusal, Warehouse, write_atomically

FOLDER = "great_expectations"
"""Where Great Expectations' pages lie, below the shop's docs."""
SHOWN = 20  # days with something to say, of each table, the last ones
STRIP = 92  # days whose rows are drawn
OUTSIDE = re.compile(
    r"<script\b.*?</script\s*>|<link\b[^>]*https?://[^>]*>|<img\b[^>]*>|<footer\b.*?</footer\s*>", re.I | re.S
)
HOME = re.compile(r'href="((?:\.\./)*)index\.html"')
OWN = """
.bars{display:block;width:100%;height:3.2rem}.good{fill:#5b8c6a}.warned{fill:#c99a2e}.refused{fill:#b8473a}
.said{color:#9a2b1f}.sum td:nth-child(n+2),.sum th:nth-child(n+2){text-align:right}
@media (prefers-color-scheme:dark){.said{color:#f08a7d}}
"""
PLAIN = """
.card{border:1px solid #d5dae3;border-radius:4px;padding:.4rem .8rem;margin:.6rem 0}ul,ol{padding-left:1.2rem}
.btn-group,.modal,.popover,.navbar-brand{display:none}
"""


def stripped(html: str) -> str:
    """A page of Great Expectations without anything from elsewhere, and with the look of ours.

    >>> stripped('<head></head><script src="https://x/y.js"></script><p>seen</p>').endswith("</head><p>seen</p>")
    True
    """
    bare = HOME.sub(r'href="../\1index.html"', OUTSIDE.sub("", html))  # its own front page is made by a script
    return bare.replace("</head>", f"<style>{STYLE}{PLAIN}</style></head>", 1)


def strip(folder: Path) -> None:
    """Every page below a folder, in place; but its front page, which ours takes the place of."""
    (folder / "index.html").unlink(missing_ok=True)
    for path in sorted(folder.rglob("*.html")):
        write_atomically(path, stripped(path.read_text(encoding="utf-8")))


def front(house: Warehouse, docs: Path) -> str:
    """The front page of a shop's Data Docs."""
    judged = {name: house.marks("safe", name) for name in DELIVERED}
    refusals = {name: house.refusals("safe", name, "validate") for name in DELIVERED}
    told = [name for name in DELIVERED if judged[name] or refusals[name]]
    title = f"Data Docs of {escape(house.shop)}"
    heads = ("table", "days", "rows", "last day", "expectations", "warned", "refused")
    rows = "".join(_line(name, judged[name], refusals[name]) for name in told)
    body = [
        f"<h1>{title}</h1><p>What was expected of every table and day below the anonymisation, and what became of it. "
        "A refused day is not read by anything behind it. <a href='dictionary.html'>What the columns mean</a>. "
        "<a href='features.html'>What the features are</a>.</p>",
        f"<div class='scroll'><table class='sum'><thead><tr>{''.join(f'<th scope=col>{h}</th>' for h in heads)}</tr>"
        f"</thead><tbody>{rows}</tbody></table></div>",
        *(_section(name, judged[name], refusals[name], docs) for name in told),
    ]
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title>'
    page = f'<!doctype html><html lang="en"><head>{head}<style>{STYLE}{OWN}</style></head><body><main>'
    return page + "\n".join(body) + "</main></body></html>\n"


def _warnings(mark: Mark) -> list[str]:
    return list(mark.notes.get("validation", {}).get("warnings", []))


def _line(name: str, marks: list[Mark], refused: Mapping[str, Refusal]) -> str:
    last = max((mark.day for mark in marks), default="-")
    cells = (len(marks), sum(mark.rows for mark in marks), last, len(expectations.suite(name)),
             sum(bool(_warnings(mark)) for mark in marks), len(refused))  # fmt: skip
    told = "".join(f"<td>{escape(show(cell))}</td>" for cell in cells)
    return f"<tr><td><a href='#{name}'>{name}</a></td>{told}</tr>"


def _section(name: str, marks: list[Mark], refused: Mapping[str, Refusal], docs: Path) -> str:
    """One table: its days as bars, what was said of them, and what is expected."""
    said = [(mark.day, "warned", _warnings(mark)) for mark in marks if _warnings(mark)]
    said += [(day, "refused", list(refusal.why)) for day, refusal in refused.items()]
    rows = "".join(
        f"<tr><td>{day}</td><td>{what}</td><td class='said'>{escape('; '.join(why))}</td></tr>"
        for day, what, why in sorted(said, reverse=True)[:SHOWN]
    )
    more = f"<p>and {len(said) - SHOWN} days before them</p>" if len(said) > SHOWN else ""
    expected = "".join(
        f"<li>{escape(one.words)}{'' if one.severity == 'stop' else ' (else a warning)'}</li>"
        for one in expectations.suite(name)
    )
    pages = sorted((docs / FOLDER).glob(f"validations/{name}/**/*.html"))
    links = [f"<a href='{page.relative_to(docs).as_posix()}'>by Great Expectations</a>" for page in pages[-1:]]
    return (
        f"<section id='{name}'><h2>{name}</h2><p>{escape(table('safe', name).doc)}</p>{bars(marks, refused)}"
        + (f"<div class='scroll'><table><tbody>{rows}</tbody></table></div>{more}" if rows else "<p>All is well.</p>")
        + f"<details><summary>{len(expectations.suite(name))} expectations of each day</summary><ul>{expected}</ul>"
        f"</details><p>{''.join(f'The last run, {link}' for link in links)}</p></section>"
    )


def bars(marks: Iterable[Mark], refused: Mapping[str, Refusal]) -> str:
    """Rows of the last days as bars, coloured by what became of them; nothing for a table without days."""
    drawn = {mark.day: (mark.rows, "warned" if _warnings(mark) else "good") for mark in marks if mark.day != WHOLE}
    drawn |= {day: (drawn.get(day, (0, ""))[0], "refused") for day in refused if day != WHOLE}
    days = sorted(drawn)[-STRIP:]
    if not days:
        return ""
    most = max(max(drawn[day][0] for day in days), 1)
    shapes = "".join(
        f"<rect x='{n * 10}' y='{100 - height}' width='8' height='{height}' class='{kind}'>"
        f"<title>{day}: {rows:,} rows, {kind}</title></rect>"
        for n, day in enumerate(days)
        for rows, kind in [drawn[day]]
        for height in [max(4 if kind != "refused" else 100, round(100 * rows / most))]
    )
    label = f"rows of {days[0]} to {days[-1]}, at most {most:,} a day"
    return (
        f"<svg class='bars' viewBox='0 0 {len(days) * 10} 100' preserveAspectRatio='none' role='img' "
        f"aria-label='{label}'>{shapes}</svg><p>{label}; green passed, yellow warned, red refused</p>"
    )


def write(house: Warehouse, docs: Path) -> None:
    """Strip Great Expectations' pages, and write the front page beside the dictionary."""
    strip(docs / FOLDER)
    write_atomically(docs / "index.html", front(house, docs))
