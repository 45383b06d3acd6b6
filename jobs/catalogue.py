"""`python -m jobs features catalogue`: every feature on one page of the shop's docs.

What it means, whose it is, how fresh, how far it drifted, who uses it, and a look-up as an example. Made from Feast's
registry, the marks, the last `features check` and the seals of the bundles. No script, nothing from elsewhere. The
example is an item or a query, never a visitor.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from html import escape
from pathlib import Path
from shlex import quote
from typing import Any

from jobs import watching
from jobs.console import say, show
from jobs.dictionary import STYLE
from jobs.expectations import DRIFT
from jobs.feature_registry import TAG
from jobs.feature_store import REAL_TIME, SERVICES, views
from jobs.features import look_up
from jobs.showing_features import OPTIONS, in_words, lasts, meaning, services_of
from jobs.tables import made_of, table
from jobs.warehouse import Warehouse, home, warehouse, write_atomically

COLUMNS = ("feature", "type", "meaning", "rows last week", "empty", "drift", "example")
OWN = """
td:nth-child(n+4):nth-child(-n+6),th:nth-child(n+4):nth-child(-n+6){text-align:right;white-space:nowrap}
td:nth-child(3){min-width:16rem}td:last-child{overflow-wrap:anywhere;max-width:14rem}
.alarm,.gone{color:#9a2b1f}
code{font-size:.9em;overflow-wrap:anywhere}dl{grid-template-columns:9rem minmax(0,1fr)}
@media (prefers-color-scheme:dark){.alarm,.gone{color:#f08a7d}}
"""


def path_of(shop: str) -> Path:
    """Where the page lies: beside the data dictionary."""
    return home() / shop / "docs" / "features.html"


def used_by(house: Warehouse) -> dict[str, list[str]]:
    """The versions of bundles that learnt from each table of statistics, by the partitions that their seals name."""
    found: dict[str, dict[str, None]] = {}
    for seal in sorted((home() / house.shop / "bundles").glob("*/*/bundle.json")):
        if seal.parent.name.isdecimal():
            data = json.loads(seal.read_text(encoding="utf-8"))["data"]
            for name in {table for each in data for table in sources(house, each)}:
                found.setdefault(name, {})[f"{seal.parent.parent.name} {seal.parent.name}"] = None
    return {name: list(bundles) for name, bundles in found.items()}


def sources(house: Warehouse, name: str) -> set[str]:
    """The tables of statistics that a partition is of, or rests on: by its mark, or, where it was replaced since, by
    what such a table is made of."""
    zone, _, rest = name.partition("/")
    mark = house.find(name) if zone == "examples" else None
    held = mark.inputs if mark else made_of(zone, rest.partition("/")[0]) if zone == "examples" else (name,)
    parts = [each.split("/") for each in held]
    return {table for part in parts if part[0] == "stats" for table in part[1].split("+")}


def example(house: Warehouse, service: str) -> dict[str, Any]:
    """What is known of the first item or query of the newest day: values by feature, and `of`, its name. Nothing for a
    view of visitors, or where there is none."""
    view = views(house.shop, service)[0]
    name, keys = watching.table_of(view), [column.name for column in view.entity_columns]
    marks = [mark for mark in house.marks("stats", name) if mark.rows]
    if not marks or any(column.personal != "no" for column in table("stats", name).columns):
        return {}
    first = house.read("stats", name, marks[-1].day, marks[-1].day, columns=keys).slice(0, 1).to_pylist()[0]
    (looked,) = look_up(house.shop, service, [first])
    return {"of": " ".join(map(str, first.values())), **looked.values}


# The page ----------------------------------------------------------------------------------------------


def html(shop: str) -> str:
    """The catalogue as one page."""
    house, last = warehouse(shop), watching.last(shop)
    bundles = used_by(house)
    fresh = {each["view"]: each for each in last["views"]}
    drift = {(each["view"], each["feature"]): each for each in last["features"]}
    held: dict[str, tuple[Any, str]] = {}
    for service in SERVICES:
        for view in views(shop, service):
            held.setdefault(view.name, (view, service))
    examples = {service: example(house, service) for _, service in held.values()}
    links = " ".join(f'<a href="#{name}">{name}</a>' for name in held)
    total = sum(len(view.features) for view, _ in held.values())
    said = "".join(f"<li class='alarm'>{escape(reason)}</li>" for reason in last["reasons"])
    checked = f"as of {last['as_of'][:10]}" if "as_of" in last else "never: run <code>features check</code>"
    body = [
        f"<h1>The features of {escape(shop)}</h1>",
        f"<p>{total} features in {len(held)} views; freshness and drift were looked at {checked}. Drift is 0 where the "
        f"last week's values are spread as in the four weeks before, 1 where they have nothing in common; above "
        f"{DRIFT['warn']} it is red, above {DRIFT['stop']} it is an alarm. <a href='dictionary.html'>What the "
        "tables mean</a>.</p>",
        f"<ul>{said}</ul>" if said else "",
        f"<nav aria-label='views'>{links}</nav>",
        *(
            section(
                shop,
                view,
                examples[service],
                fresh.get(name),
                drift,
                bundles.get(watching.table_of(view), []),
                last.get("as_of", ""),
            )
            for name, (view, service) in held.items()
        ),
    ]
    title = f"Features of {escape(shop)}"
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title>'
    page = f'<!doctype html><html lang="en"><head>{head}<style>{STYLE}{OWN}</style></head><body><main>'
    return page + "\n".join(body) + "</main></body></html>\n"


def section(
    shop: str, view: Any, shown: Mapping[str, Any], fresh: Mapping[str, Any] | None,
    drift: Mapping[tuple[str, str], Mapping[str, Any]], bundles: Sequence[str], as_of: str,
) -> str:  # fmt: skip
    """One view: what is said of it, and its features."""
    lines = [
        ("owner", view.owner),
        ("about", " and ".join(column.name for column in view.entity_columns)),
        ("of a person", "no" if view.tags.get("personal") == "no" else f"yes, of the {view.tags.get('personal')}"),
        ("expires after", lasts(view)),
        ("newest value", age(fresh, as_of)),
        ("online", "as it happens, by POST /events" if view.name in REAL_TIME else up_to(fresh)),
        ("services", ", ".join(services_of(view.name))),
        ("learnt by", ", ".join(bundles) or "no bundle"),
    ]
    said = "".join(f"<dt>{escape(what)}</dt><dd>{escape(words)}</dd>" for what, words in lines)
    keys = " ".join(
        f"{OPTIONS.get(c.name, c.name)} {quote(str(shown.get('of', c.name.partition('_')[0].upper())))}"
        for c in view.entity_columns
    )
    look = f"python -m jobs features get --shop {shop} {keys}"
    rows = "".join(_row(view.name, feature, drift.get((view.name, feature.name)), shown) for feature in view.features)
    heads = "".join(f'<th scope="col">{head}</th>' for head in COLUMNS)
    return (
        f'<section id="{view.name}"><h2>{view.name}</h2><p>{escape(view.description)}</p><dl>{said}'
        f"<dt>look up</dt><dd><code>{escape(look)}</code></dd></dl>"
        f"<div class='scroll'><table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div></section>"
    )


def age(fresh: Mapping[str, Any] | None, as_of: str) -> str:
    """The newest value of a view, beside how long it lasts."""
    if fresh is None or not fresh["newest"]:
        return "none" if fresh else "not looked at yet"
    old = (datetime.fromisoformat(as_of) - datetime.fromisoformat(fresh["newest"])).days
    return f"{fresh['newest'][:10]}, {old} days old of the {fresh['ttl']:.4g} that it lasts"


def up_to(fresh: Mapping[str, Any] | None) -> str:
    """Up to when the online store knows a view."""
    return f"up to {fresh['online'][:10]}" if fresh and fresh["online"] else "not materialised yet"


def _row(view: str, feature: Any, seen: Mapping[str, Any] | None, shown: Mapping[str, Any]) -> str:
    far = seen["drift"] if seen else None
    gone = " class='gone'" if feature.tags.get(TAG) else ""
    red = " class='alarm'" if (far or 0) > DRIFT["warn"] else ""
    share = f"{seen['empty'] / seen['rows']:.0%}" if seen and seen["rows"] else "-"
    example_of = in_words(shown[feature.name]) if feature.name in shown else "-"
    rows = show(seen["rows"]) if seen else "-"
    told = "-" if far is None else f"{far:.2f}"
    return (
        f'<tr id="{view}.{feature.name}"><td{gone}>{feature.name}</td><td>{escape(str(feature.dtype))}</td>'
        f"<td>{escape(meaning(feature))}</td><td>{rows}</td><td>{share}</td><td{red}>{told}</td>"
        f"<td>{escape(example_of)}</td></tr>"
    )


def write(shop: str) -> Path:
    """Make the page anew; returns where it lies."""
    path = path_of(shop)
    write_atomically(path, html(shop))
    return path


def run(args: argparse.Namespace) -> None:
    """Write the page, and print where it lies."""
    path = write(args.shop)
    say(f"{sum(len(held) for held in SERVICES.values())} views of {len(SERVICES)} services")
    print(path)
