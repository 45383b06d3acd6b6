"""`python -m jobs features list|describe|get|history|compare`: what features there are, and what they hold of someone.

For people: tables that can be read, names with suggestions, and of a visitor nothing but values: the shop's own id is
replaced by the pseudonym here and is told nowhere.
"""

import argparse
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any

from jobs.console import Problem, Usage, grid, suggest
from jobs.crossing import CROSSES, crosses_now
from jobs.events import moment, normalised
from jobs.feature_registry import TAG
from jobs.feature_store import KEYS, REAL_TIME, SERVICES, views
from jobs.features import Looked, end_of_day, look_up, shop_now, training_rows
from jobs.warehouse import warehouse

_SHOWN = 3
"""Entries of a list that are shown; the rest are counted."""
_LINES = 20
"""Lines of a history that are shown, the last ones."""
OPTIONS: Mapping[str, str] = {"visitor": "--visitor", "item_id": "--item", "query": "--query", "category": "--category"}
"""How each key of an entity is given."""


def run(args: argparse.Namespace) -> None:
    """List and describe the features, or look an entity up: now, over time, at two moments."""
    warehouse(args.shop)
    {"list": _list, "describe": _describe, "get": _get, "history": _history, "compare": _compare}[args.what](args)


# ---- what there is --------------------------------------------------------------------------------


def known(shop: str) -> dict[str, tuple[Any, Any]]:
    """Every feature as VIEW:FEATURE, with its view and its definition."""
    found = (view for service in SERVICES for view in views(shop, service))
    return {f"{view.name}:{feature.name}": (view, feature) for view in found for feature in view.features}


def named(shop: str, name: str) -> list[str]:
    """The features that a word means: VIEW:FEATURE, a view with all it has, or a feature wherever it stands; `Usage`
    with a suggestion if it means none."""
    every = known(shop)
    found = [each for each in every if name in (each, *each.split(":"))]
    if not found:
        words = {word for each in every for word in (each, *each.split(":"))}
        raise Usage(f"unknown feature '{name}'", do=suggest(name, sorted(words)))
    return found


def services_of(view: str) -> list[str]:
    """The services that hold a view."""
    return [service for service, held in SERVICES.items() if view in held]


def lasts(view: Any) -> str:
    """How long a value of a view may be used.

    >>> from types import SimpleNamespace; from datetime import timedelta
    >>> lasts(SimpleNamespace(ttl=timedelta(days=90))), lasts(SimpleNamespace(ttl=timedelta(minutes=30)))
    ('90 days', '30 minutes')
    """
    seconds = view.ttl.total_seconds()
    return f"{seconds / 86_400:g} days" if seconds >= 86_400 else f"{seconds / 60:g} minutes"


def meaning(feature: Any) -> str:
    """What a feature means, and that it will go."""
    going = feature.tags.get(TAG)
    return f"{feature.description} (deprecated since {going})" if going else str(feature.description)


def _list(args: argparse.Namespace) -> None:
    rows = [
        (", ".join(services_of(view.name)), view.name, feature.name, str(feature.dtype), meaning(feature), lasts(view))
        for view, feature in known(args.shop).values()
    ]
    print(grid(("service", "view", "feature", "type", "meaning", "expires after"), rows))
    print(
        f"{len(rows)} features; values are true at their event time: the end of a day (UTC), of a session its last act"
    )
    print(f"next: python -m jobs features get --shop {args.shop} --item ITEM")


def _describe(args: argparse.Namespace) -> None:
    every = known(args.shop)
    for name in named(args.shop, args.name):
        view, feature = every[name]
        print(name)
        print(grid(("", ""), about(view, feature)).partition("\n")[2].partition("\n")[2])
        print()
    keys = [column.name for column in view.entity_columns]
    given = " ".join(f"{OPTIONS[key]} {key.partition('_')[0].upper()}" for key in keys)
    print(f"next: python -m jobs features history {name} --shop {args.shop} {given}")


def about(view: Any, feature: Any) -> list[tuple[str, str]]:
    """What there is to say of a feature, line by line."""
    source = view.batch_source
    return [
        ("meaning", meaning(feature)),
        ("type", str(feature.dtype)),
        ("of", " and ".join(column.name for column in view.entity_columns)),
        ("of a person", "no" if view.tags.get("personal") == "no" else f"yes: {view.tags.get('personal')}"),
        ("owner", view.owner),
        ("expires after", lasts(view)),
        ("services", ", ".join(services_of(view.name))),
        ("from", f"{source.path}, true at {source.timestamp_field}, known from {source.created_timestamp_column} on"),
        ("written online", "as it happens, by POST /events" if view.name in REAL_TIME else "by materialise"),
    ]


# ---- who is asked about ---------------------------------------------------------------------------


def given_keys(args: argparse.Namespace) -> dict[str, str]:
    """The keys that the words of the command line give. The shop's own id of a visitor is replaced by the pseudonym
    here, and by that alone it is looked up."""
    found = {}
    if args.visitor:
        from jobs.pseudonyms import pseudonym, serving_key

        found["visitor"] = pseudonym(serving_key(args.shop), warehouse(args.shop).kept("visitors", args.visitor))
    if args.item:
        found["item_id"] = args.item
    if args.query:
        found["query"] = normalised(args.query)
    if getattr(args, "category", None):
        found["category"] = args.category
    if not found:
        raise Usage("nothing to look up", do="name one or more: --visitor, --item, --query")
    return found


def asked(given: Mapping[str, str]) -> list[tuple[str, dict[str, str]]]:
    """The services whose entity these keys name, each with it; `Usage` if they name none."""
    found = [(service, {key: given[key] for key in keys}) for service, keys in KEYS.items() if {*keys} <= {*given}]
    if not found:
        wanted = {" and ".join(OPTIONS[key] for key in keys) for keys in KEYS.values()}
        raise Usage("these name no entity", do=f"give {', or '.join(sorted(wanted))}")
    return found


def asked_of(view: Any, given: Mapping[str, str]) -> dict[str, str]:
    """The entity of a view that these keys name; `Usage` if one is missing."""
    keys = [column.name for column in view.entity_columns]
    if missing := [key for key in keys if key not in given]:
        raise Usage(
            f"{view.name} is about {' and '.join(keys)}", do=f"give {', '.join(OPTIONS[key] for key in missing)}"
        )
    return {key: given[key] for key in keys}


# ---- values in words ------------------------------------------------------------------------------


def in_words(value: Any) -> str:
    """A value as a person reads it: numbers rounded, lists by their first entries and their length."""
    if value is None:
        return "-"
    if isinstance(value, list):
        more = f", ... ({len(value)} in all)" if len(value) > _SHOWN else ""
        return ", ".join(in_words(each) for each in value[:_SHOWN]) + more if value else "(none)"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M}"
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def stamp(at: datetime | None) -> str:
    """A moment as a person reads it."""
    return "-" if at is None else f"{at:%Y-%m-%d %H:%M:%S}"


def lines(looked: Looked) -> list[tuple[str, str, str, str]]:
    """Feature, value, event time and state of all that was looked up for one entity."""
    return [
        (name, in_words(value), stamp(looked.event_times[name]), looked.states[name])
        for name, value in looked.values.items()
    ]


def crossed_lines(shop: str, given: Mapping[str, str], now: datetime) -> list[tuple[str, str, str]]:
    """Each cross of a visitor and an item, its value and its meaning; nothing unless both are given."""
    if not {"visitor", "item_id"} <= {*given}:
        return []
    (crosses,) = crosses_now(shop, given["visitor"], [given["item_id"]], now=now)
    return [(name, in_words(value), CROSSES[name]) for name, value in crosses.items()]


def _get(args: argparse.Namespace) -> None:
    now, given = shop_now(args.shop), given_keys(args)
    for service, entity in asked(given):
        live = set(SERVICES[service]) <= set(REAL_TIME)
        (looked,) = look_up(args.shop, service, [entity], now=datetime.now(UTC) if live else now)
        print(f"{service}: {', '.join(f'{key} {name}' for key, name in entity.items())}")
        print(grid(("feature", "value", "true at (UTC)", "state"), lines(looked)))
        states = set(looked.states.values())
        if states == {"absent"}:
            print("Nothing is known: never seen, or not since the last 'python -m jobs materialise'."
                  if not live else "Nothing was touched.")  # fmt: skip
        elif "expired" in states:
            print("Expired values are older than they may be used; they count as unknown.")
        print()
    if crosses := crossed_lines(args.shop, given, now):
        print("crosses: the visitor with the item, made now of what is above and stored nowhere")
        print(grid(("cross", "value", "meaning"), crosses))
        print()
    print(f"as of {now:%Y-%m-%d %H:%M:%S} UTC, the end of the shop's last day; a session as of now")


# ---- over time ------------------------------------------------------------------------------------


def history(shop: str, view: Any, entity: Mapping[str, str]) -> list[dict[str, Any]]:
    """Every published value of one entity, by event time and then by known time: a later line of the same event time
    is a correction."""
    from jobs.duck import arrow, engine
    from jobs.feast_store import attach
    from jobs.feature_store import store

    where = " AND ".join(f'"{key}" = ${key}' for key in entity)
    with engine() as live:
        attach(live, store(shop).config, view.batch_source)
        columns = ", ".join(f'"{feature.name}"' for feature in view.features)
        sql = f"SELECT event_time, known_time, {columns} FROM source WHERE {where} ORDER BY 1, 2"  # noqa: S608
        rows: list[dict[str, Any]] = arrow(live, sql, **entity).to_pylist()
    return rows


def _history(args: argparse.Namespace) -> None:
    every, given = known(args.shop), given_keys(args)
    by_view: dict[str, list[str]] = {}
    for name in named(args.shop, args.name):
        by_view.setdefault(name.split(":")[0], []).append(name)
    wanted = {view: every[names[0]][0] for view, names in by_view.items()}
    told = [view for view, of in wanted.items() if {column.name for column in of.entity_columns} <= {*given}]
    for view in told or [*wanted][:1]:  # of a feature in several views those that the entity is of
        definition, features = wanted[view], [name.split(":")[1] for name in by_view[view]]
        rows = history(args.shop, definition, asked_of(definition, given))
        shown = [(stamp(r["event_time"]), stamp(r["known_time"]), *(in_words(r[f]) for f in features)) for r in rows]
        print(view)
        print(grid(("true at (UTC)", "known from", *features), shown[-_LINES:]))
        print(f"{len(rows)} values{f', the last {_LINES} of them' if len(rows) > _LINES else ''}; "
              "one that is known later with the same time is a correction")  # fmt: skip
    print(f"next: python -m jobs features compare DAY DAY --shop {args.shop} ...")


def at(text: str) -> datetime:
    """A moment of a command line: a day means its end. `Usage` for anything else, or a time without a zone."""
    try:
        return end_of_day(date.fromisoformat(text)) if len(text) == 10 else moment(text)
    except ValueError:
        raise Usage(
            f"'{text}' is no moment", do="write a day like 2017-01-31, or a time like 2017-01-31T12:00:00Z"
        ) from None


def compared(shop: str, service: str, entity: Mapping[str, str], moments: Sequence[datetime]) -> list[dict[str, Any]]:
    """What was known of one entity at each moment, by the join that makes training sets."""
    import pyarrow as pa

    stamps = pa.array(moments, pa.timestamp("us", tz="UTC"))
    columns = {key: [value] * len(moments) for key, value in entity.items()}
    rows: list[dict[str, Any]] = training_rows(shop, pa.table({**columns, "event_time": stamps}), service).to_pylist()
    return rows


def _compare(args: argparse.Namespace) -> None:
    moments = [at(args.earlier), at(args.later)]
    latest, changed = max(shop_now(args.shop), datetime.now(UTC)), 0
    if max(moments) > latest:
        raise Problem("nobody knows the future", where=max(args.earlier, args.later), do="give moments of the past")
    for service, entity in asked(given_keys(args)):
        first, second = compared(args.shop, service, entity, moments)
        rows = []
        for view in views(args.shop, service):
            for feature in view.features:
                a, b = first[feature.name], second[feature.name]
                changed += a != b
                rows.append((feature.name, in_words(a), in_words(b), "changed" if a != b else ""))
        print(f"{service}: {', '.join(f'{key} {name}' for key, name in entity.items())}")
        print(grid(("feature", f"at {args.earlier}", f"at {args.later}", ""), rows))
        print()
    print(f"{changed} values differ; each is what was known at its moment, as a training set would have it")
