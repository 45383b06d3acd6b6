"""`export`: all that a home holds of a person, as JSON that a person can read: rows by zone and table, with meanings.

The file is its owner's alone (0600), whole or not there, and bears no id in its name. The same home gives the same
bytes. Who asks is not checked here: it is the shop that knows whom it hands the file to.
"""

import argparse
import hashlib
import json
import os
import uuid
from base64 import b64encode
from collections.abc import Iterator
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from jobs import feature_store, features, persons
from jobs.console import Usage, grid, narrate, say
from jobs.features import look_up
from jobs.persons import Person
from jobs.tables import ZONES, table, tables
from jobs.warehouse import Warehouse, home, sync, warehouse

JOURNALS = {
    "feedback": ("visitor_id", "what was shown and done, as received"),
    "receipts": ("visitor", "what answers were made of"),
}


def folder(shop: str) -> Path:
    """Where exports are kept, until the person is erased or they are removed by hand."""
    return home() / shop / "exports"


def file_of(who: Person, shop: str) -> Path:
    """A name that tells nobody's id and is the same for the same accounts: a digest of the pseudonyms."""
    digest = hashlib.sha256("\n".join(sorted(who.pseudonyms) or sorted(who.ids)).encode()).hexdigest()
    return folder(shop) / f"{digest[:24]}.json"


def exports(shop: str, who: Person) -> list[Path]:
    """What was exported of this person and lies there still: also under another name, or of one account alone."""
    found = []
    for path in sorted(folder(shop).glob("*.json")):
        if {*json.loads(path.read_text(encoding="utf-8"))["accounts"]} & {*who.ids}:
            found.append(path)
    return found


def told(house: Warehouse, who: Person) -> dict[str, Any]:
    """Everything, by where it lies. Tables without a row of theirs are left out."""
    found = persons.rows(house, who, persons.holding(house, who))
    zones: dict[str, Any] = {}
    for zone in ZONES:
        for declared in tables(zone):
            rows = found.get((zone, declared.name))
            if rows:
                zones.setdefault(zone, {})[declared.name] = {
                    "meaning": declared.doc,
                    "columns": {column.name: column.doc for column in table(zone, declared.name).columns},
                    "rows": sorted(rows, key=lambda row: json.dumps(row, sort_keys=True, default=plain)),
                }
    beside = {name: {"meaning": doc, "lines": list(_lines(house.shop, name, field, who))}
              for name, (field, doc) in JOURNALS.items()}  # fmt: skip
    return {
        "shop": house.shop,
        "accounts": list(who.ids),
        "accounts only listed as the same person's": list(who.beside),
        "pseudonyms": list(who.pseudonyms),
        "tables": zones,
        "online store": _online(house.shop, who),
        **{name: each for name, each in beside.items() if each["lines"]},
    }


def _lines(shop: str, name: str, field: str, who: Person) -> Iterator[Any]:
    mine = {*who.ids, *who.pseudonyms}
    for path in sorted((home() / shop / name).glob("*.jsonl")):
        for line in path.read_bytes().splitlines():
            try:
                row = json.loads(line)
            except ValueError:
                continue
            if isinstance(row, dict) and str(row.get(field, "")).strip() in mine:
                yield row


def _online(shop: str, who: Person) -> dict[str, Any]:
    """What look-ups know of them now; nothing where there is no online store yet."""
    if not (feature_store.folder(shop) / "feature_store.yaml").is_file() or not who.pseudonyms:
        return {}
    found: dict[str, Any] = {}
    for service, keys in feature_store.KEYS.items():
        if "visitor" not in keys:
            continue
        for looked in look_up(shop, service, features.entities(shop, service, {"visitor": {*who.pseudonyms}})):
            if any(value is not None for value in looked.values.values()):
                told = found.setdefault(", ".join(looked.entity[key] for key in keys), {"values": {}, "true at": {}})
                told["values"].update(looked.values)
                told["true at"].update(looked.event_times)
    return found


def plain(value: Any) -> Any:
    """A value as JSON holds it."""
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, bytes):
        return b64encode(value).decode()
    raise TypeError(f"no JSON for {type(value).__name__}")


def write(path: Path, values: dict[str, Any]) -> None:
    """A file of its owner's alone, whole or not there."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            json.dump(values, stream, indent=1, ensure_ascii=False, default=plain)
            stream.write("\n")
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync(path.parent)


def run(args: argparse.Namespace) -> None:
    """`python -m jobs export`: one file; what it holds is told in rows, never in values."""
    from jobs.erasing import given_ids

    house = warehouse(args.shop)
    given = given_ids(args)
    with narrate("find what is held of them"):
        who = persons.person(house, given)
        values = told(house, who)
    if not values["tables"] and len(values) <= 6 and not values["online store"]:
        raise Usage(f"nothing is known of this visitor in shop '{args.shop}'", do="check the id: nothing was written")
    path = (args.out or file_of(who, args.shop)).absolute()
    write(path, values)
    rows = [[zone, name, len(each["rows"])] for zone, of in values["tables"].items() for name, each in of.items()]
    rows += [["", name, len(values[name]["lines"])] for name in JOURNALS if name in values]
    print(grid(["zone", "table", "rows"], rows))
    print(f"in {path}")
    say("It is a person's whole history: hand it to them, then remove it; an erasure removes what lies in the home.")
