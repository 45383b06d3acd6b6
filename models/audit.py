"""The models' book: each evaluation, verdict, review, promotion, refusal and rollback, one signed line each.

    SHOP/promotions/audit.jsonl   {"at", "what", "user", ..., "before": hash of the line before it, "signature"}
    SHOP/keys/audit.head          the hash of the last line

A line names versions and hashes, never a visitor or a query. It is chained (jobs/audit.py) and signed by the key
`audit`: nobody without that key adds a line or writes the chain anew. Lines cut off the end show by the head, which
lies beside the key, and by each promotion, which holds the hash of its line (`Record.audit`). Where the guarantee ends:
who may write in SHOP/keys; a head that was noted elsewhere (`--head`) tells of them too.
"""

import argparse
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from jobs import audit as books
from jobs.console import Problem, Refused, grid, show
from jobs.signing import is_signed, key_file, public_key, signed
from jobs.warehouse import home, warehouse
from models import promotions

What = Literal["evaluation", "verdict", "review", "promotion", "refusal", "rollback", "baseline"]
KEY = "audit"
DECIDES: Mapping[str, What] = {
    "promote": "promotion", "refuse": "refusal", "rollback": "rollback", "baseline": "baseline",
}  # fmt: skip
"""What a signed record's action is called here."""


def log_file(shop: str) -> Path:
    """Where the book of a shop lies."""
    return home() / shop / "promotions" / "audit.jsonl"


def head_file(shop: str) -> Path:
    """Where the hash of the book's last line is kept: not beside the book, but where only its writer may write."""
    return key_file(shop, KEY).with_suffix(".head")


def note(shop: str, what: What, **fields: Any) -> str:
    """Add a line; returns its hash. `name` is the bundle's, `version` the version's, of whatever it is about."""
    line = {"at": datetime.now(UTC).isoformat(timespec="seconds"), "what": what, **books.who(), **fields}
    return books.add(log_file(shop), line, lambda whole: signed(shop, KEY, whole), head_file(shop))


@dataclass(frozen=True)
class Book:
    """The lines whose signature is right, oldest first; the hash of the last line; and what is wrong, in words."""

    lines: tuple[Mapping[str, Any], ...]
    head: str
    size: int
    faults: tuple[str, ...] = ()


def read(shop: str, head: str | None = None) -> Book:
    """The whole book, checked: the chain, its end, each signature, each promotion's own line, and `head` if given."""
    found = books.chain(log_file(shop))
    try:
        key = public_key(shop, KEY) if found.lines else None
    except Problem:
        key = None  # no line counts then; and whoever must roll back can
    right = [line for line in found.lines if key is not None and is_signed(key, line)]
    faults = [f"line {place} does not hold the hash of the line before it" for place in found.broken]
    if forged := len(found.lines) - len(right):
        faults.append(f"{forged} lines are not signed by the key of this shop")
    if head and head not in (*found.hashes, books.FIRST):
        faults.append(f"no line has the hash {head[:16]}: a line was changed, or the end was cut off")
    faults += _missing(shop, right, set(found.hashes))
    if (last := books.kept(head_file(shop))) and last not in found.hashes:
        faults.append(f"the line with the hash {last[:16]} was the last, and is not here: the end was cut off")
    return Book(tuple(right), found.head, len(found.hashes), tuple(faults))


def _missing(shop: str, lines: list[dict[str, Any]], hashes: set[str]) -> list[str]:
    """What the signed records know and the book does not, and the other way round."""
    out = []
    decided: dict[str, set[int]] = {}
    for line in lines:
        if line["what"] in DECIDES.values():
            decided.setdefault(str(line.get("name")), set()).add(int(line.get("record", 0)))
    names = {path.name for path in log_file(shop).parent.glob("*") if path.is_dir()}
    for name in sorted(names | set(decided)):
        valid = {record.sequence: record for record in promotions.records(shop, name)[0]}
        out += [f"record {one.sequence} of {name} rests on a line that is not here"
                for one in valid.values() if one.audit and one.audit not in {*hashes, books.FIRST}]  # fmt: skip
        out += [f"record {sequence} of {name} is told of here, and there is no valid one"
                for sequence in sorted(decided.get(name, set()) - set(valid))]  # fmt: skip
    return out


def untold(shop: str, name: str) -> list[promotions.Record]:
    """Signed records that the book does not tell of yet, oldest first: a command was killed after it signed them, or
    they are older than the book."""
    told = {line.get("record") for line in read(shop).lines
            if line.get("name") == name and line["what"] in DECIDES.values()}  # fmt: skip
    return [record for record in promotions.records(shop, name)[0] if record.sequence not in told]


def decided(record: promotions.Record, **more: Any) -> str:
    """The line of a signed record."""
    by = {"responder": record.approval["responder"]} if record.approval else {}
    return note(
        record.shop, DECIDES[record.action], name=record.name, version=record.version, bundle=record.bundle,
        report=record.report, record=record.sequence, why=record.verdict.get("why", ""), **by, **more,
    )  # fmt: skip


def run(args: argparse.Namespace) -> None:
    """`python -m models audit`: the last lines; with `--verify`, whether any was changed or taken out."""
    shop = args.shop
    warehouse(shop)
    if not log_file(shop).exists():
        raise Problem(f"nothing was decided about models of shop '{shop}' yet", where=str(log_file(shop)),
                      do=f"run 'python -m models baseline recommend --shop {shop}'")  # fmt: skip
    book = read(shop, args.head)
    shown = book.lines[-args.last_lines :]
    if args.json:
        print("\n".join(json.dumps(dict(line), sort_keys=True, ensure_ascii=False) for line in shown))
    else:
        rows = [(line["at"], line["user"], line["what"], line.get("name"), str(line.get("version") or ""),
                 str(line.get("record") or ""), _cut(line.get("why", ""))) for line in shown]  # fmt: skip
        print(grid(("at (UTC)", "who", "what", "bundle", "version", "record", "why"), rows))
        print(f"{show(book.size)} lines in {log_file(shop)}; head {book.head}")
    if not args.verify:
        if not args.json:
            print(f"next: python -m models audit --shop {shop} --verify")
        return
    if book.faults:
        raise Refused(f"the models' book was changed: {'; '.join(book.faults[:3])}", where=str(log_file(shop)),
                      do=f"compare it and SHOP/promotions with a backup; once it is whole, or a person took "
                      f"what is gone for known, remove {head_file(shop)}")  # fmt: skip
    if not args.json:
        print("every line is signed and holds the hash of the one before it; every record has its line")


def _cut(text: Any, width: int = 60) -> str:
    return text if len(text := str(text)) <= width else f"{text[: width - 3]}..."
