"""`python -m jobs features list|get`: what features there are, and what is known of someone or something."""

import argparse
from datetime import datetime
from typing import Any

from jobs.console import Usage, grid
from jobs.events import normalised
from jobs.features import SERVICES, Looked, look_up, shop_now, views
from jobs.warehouse import warehouse

_SHOWN = 3
"""Entries of a list that are shown; the rest are counted."""


def run(args: argparse.Namespace) -> None:
    """List the features, or look one entity of each kind up."""
    warehouse(args.shop)
    (_list if args.what == "list" else _get)(args)


def _list(args: argparse.Namespace) -> None:
    rows = [
        (service, view.name, feature.name, str(feature.dtype), feature.description, f"{view.ttl.days} days")
        for service in SERVICES
        for view in views(args.shop, service)
        for feature in view.features
    ]
    print(grid(("service", "view", "feature", "type", "meaning", "expires after"), rows))
    print(f"{len(rows)} features; values are true at their event time, the end of a day (UTC)")
    print(f"next: python -m jobs features get --shop {args.shop} --item ITEM")


def asked(shop: str, visitor: str | None, item: str | None, query: str | None) -> list[tuple[str, dict[str, str]]]:
    """What the words of the command line ask for: services and entities. The shop's own id of a visitor is
    replaced by the pseudonym here, and by that alone it is looked up."""
    wanted: list[tuple[str, dict[str, str]]] = []
    if visitor:
        from jobs.pseudonyms import load_key, pseudonym

        kept = warehouse(shop).kept("visitors", visitor)
        wanted.append(("recommender", {"visitor": pseudonym(load_key(shop), kept)}))
    if item:
        wanted.append(("items", {"item_id": item}))
    if query:
        wanted.append(("queries", {"query": normalised(query)}))
    if not wanted:
        raise Usage("nothing to look up", do="name one or more: --visitor, --item, --query")
    return wanted


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
    return f"{value:,}" if isinstance(value, int) else str(value)


def lines(looked: Looked) -> list[tuple[str, str, str, str]]:
    """Feature, value, event time and state of all that was looked up for one entity."""
    return [
        (
            name,
            in_words(value),
            f"{at:%Y-%m-%d %H:%M:%S}" if (at := looked.event_times[name]) else "-",
            looked.states[name],
        )
        for name, value in looked.values.items()
    ]


def _get(args: argparse.Namespace) -> None:
    now = shop_now(args.shop)
    for service, entity in asked(args.shop, args.visitor, args.item, args.query):
        ((key, name),) = entity.items()
        (looked,) = look_up(args.shop, service, [entity], now=now)
        print(f"{key} {name}")
        print(grid(("feature", "value", "true at (UTC)", "state"), lines(looked)))
        states = set(looked.states.values())
        if states == {"absent"}:
            print("Nothing is known: never seen, or not since the last 'python -m jobs materialise'.")
        elif "expired" in states:
            print("Expired values are older than they may be used; they count as unknown.")
        print()
    print(f"as of {now:%Y-%m-%d %H:%M:%S} UTC, the end of the shop's last day")
