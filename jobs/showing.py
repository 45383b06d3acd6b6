"""What there is: tables, quarantine and the counting law, for people. Reads marks and Parquet; starts no Spark."""

import argparse
import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

from jobs import counting, lineage
from jobs.console import REFUSED, Problem, Usage, grid, say
from jobs.tables import DELIVERED, WHOLE, ZONES
from jobs.tables import tables as declared_tables
from jobs.warehouse import Mark, Refusal, Warehouse, home, warehouse, write_atomically

STEPS = (("import", "raw"), ("clean", "clean"), ("anonymise", "safe"))
"""Steps under the counting law, and the zone that each writes."""


def size(count: int) -> str:
    """Bytes for people: 1.5 MiB."""
    value = float(count)
    for unit in ("B", "KiB", "MiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} GiB"


def newest(house: Warehouse, zone: str, name: str) -> list[Mark]:
    """The mark of each day of a table: the proposed one, which is never older than the published one."""
    return house.marks(zone, name, state="proposed")


def state_of(marks: list[Mark], live: Mapping[str, str], refusals: Mapping[str, Refusal]) -> str:
    """published, or how many days wait to be judged and how many were refused. `live`: published attempts by day."""
    waiting = [m for m in marks if live.get(m.day) != m.attempt]
    refused = sum(m.day in refusals and m.attempt in refusals[m.day].of for m in waiting)
    parts = {"proposed": len(waiting) - refused, "refused": refused}
    return ", ".join(f"{n} {word}" for word, n in parts.items() if n) or "published"


def tables(args: argparse.Namespace) -> int:
    """`python -m jobs tables`: zone, table, state, days, rows, bytes, first and last day; or the way of one table."""
    house = warehouse(args.shop)
    if args.lineage:
        return way(house, args.lineage, args.zone, args.day and args.day.isoformat())
    if args.day:
        raise Usage("--day goes with --lineage", do="add --lineage TABLE")
    lines: list[list[Any]] = []
    for zone in [args.zone] if args.zone else ZONES:
        for declared in declared_tables(zone):
            marks = newest(house, zone, declared.name)
            if not marks or (zone == "quarantine" and not any(m.rows for m in marks)):
                continue
            live = {m.day: m.attempt for m in house.marks(zone, declared.name)}
            state = state_of(marks, live, house.refusals(zone, declared.name, "validate"))
            dated = [m.day for m in marks if m.day != WHOLE]
            span = [min(dated), max(dated)] if dated else [WHOLE, "-"]
            rows, weight = sum(m.rows for m in marks), sum(m.bytes for m in marks)
            lines.append([zone, declared.name, state, len(marks), rows, size(weight), *span])
    if not lines:
        raise Problem(
            f"shop '{args.shop}' has no tables{f' in zone {args.zone}' if args.zone else ''} yet",
            where=str(house.root),
            do=f"run 'python -m jobs import {args.shop}' first",
        )
    print(grid(["zone", "table", "state", "days", "rows", "size", "first", "last"], lines))
    say(f"Where: {house.root}")
    return 0


def way(house: Warehouse, name: str, zone: str | None, day: str | None) -> int:
    """The tree of inputs of one partition, down to the shop's files."""
    mark = lineage.start(house, *lineage.whose(house, name, zone), day)
    for step in lineage.tree(house, mark):
        print(step)
    say(f"Where: {house.attempt_of(mark).path}")
    return 0


def masked(value: Any) -> Any:
    """The shape of a value without the value: letters as a, digits as 9, Chinese characters as 文.

    >>> masked("Ann 42, 北京")
    'aaa 99, 文文'
    """
    if not isinstance(value, str):
        return value
    return "".join(
        "文" if "\u4e00" <= c <= "\u9fff" else "9" if c.isdigit() else "a" if c.isalpha() else c for c in value
    )


def quarantine(args: argparse.Namespace) -> int:
    """`python -m jobs quarantine`: refused rows by step, table, reason and detail; examples with values masked."""
    if args.replay:
        from jobs.cleaning import replay

        return replay(args)
    house = warehouse(args.shop)
    chosen = [d.name for d in declared_tables("quarantine") if args.table in (None, d.name.partition(".")[2])]
    counts: Counter[tuple[str, ...]] = Counter()
    days: dict[tuple[str, ...], set[str]] = {}
    examples: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for name in chosen:
        if not any(m.rows for m in house.marks("quarantine", name)):
            continue
        found = house.read(
            "quarantine", name, columns=["step", "reason", "detail", "row", "source_file", "source_row", "day"]
        )
        for batch in found.to_batches():
            for row in batch.to_pylist():
                if args.reason not in (None, row["reason"]):
                    continue
                key: tuple[str, ...] = (row["step"], name.partition(".")[2], row["reason"], row["detail"])
                counts[key] += 1
                days.setdefault(key, set()).add(str(row["day"]))
                if len(examples.setdefault(key, [])) < args.examples:
                    examples[key].append(row)
    if not counts:
        print("nothing is in quarantine" + (" for this table or reason" if args.table or args.reason else ""))
        return 0
    lines = [[*key, rows, len(days[key]), min(days[key])] for key, rows in sorted(counts.items())]
    print(grid(["step", "table", "reason", "detail", "rows", "days", "first"], lines))
    for group in sorted(examples):
        for row in examples[group]:
            values = {column: masked(value) for column, value in json.loads(row["row"]).items()}
            shown = json.dumps(values, ensure_ascii=False)
            print(f"{group[1]} {group[2]}: {row['source_file']} row {row['source_row']}: {shown}")
    say(f"Where: {house.root / 'quarantine'}" + ("" if args.examples else "; --examples 2 shows rows, values masked"))
    return 0


def balance(house: Warehouse) -> list[dict[str, Any]]:
    """The law by step and table: the terms added up over all days, and the days on which it does not hold."""
    found = []
    for step, zone in STEPS:
        for name in DELIVERED:
            marks = [m for m in newest(house, zone, name) if "in" in m.counts]
            if marks:
                broken = [m.day for m in marks if not counting.holds(m.counts) or m.counts.get("out") != m.rows]
                terms = counting.total(m.counts for m in marks)
                found.append(
                    {"step": step, "table": name, "days": len(marks), **terms, "ok": not broken, "broken": broken}
                )
    return found


def law(args: argparse.Namespace) -> int:
    """`python -m jobs law`: print it, write reports/law.json, and end with 3 if it is broken anywhere."""
    house = warehouse(args.shop)
    found = balance(house)
    if not found:
        raise Problem(
            f"shop '{args.shop}' has no counted step yet",
            where=str(house.root),
            do=f"run 'python -m jobs import {args.shop}' first",
        )
    shown = ["in", *[t for t in counting.TERMS if t == "out" or any(row.get(t) for row in found)]]
    lines = [[r["step"], r["table"], *[r.get(t, 0) for t in shown], counting.surplus(r), r["ok"]] for r in found]
    print(grid(["step", "table", *shown, "lost", "holds"], lines))
    path = home() / args.shop / "reports" / "law.json"
    reasons: Counter[str] = Counter()
    for row in found:
        reasons.update(counting.reasons(row))
    report = {
        "shop": args.shop,
        "ok": all(r["ok"] for r in found),
        "steps": found,
        "reasons": dict(sorted(reasons.items())),
    }
    write_atomically(path, json.dumps(report, indent=1, sort_keys=True) + "\n")
    if reasons:
        print("quarantined: " + ", ".join(f"{rows} {reason}" for reason, rows in sorted(reasons.items())))
    say(f"Where: {path}")
    if not report["ok"]:
        say(
            "error: the counting law is broken. To do: run the named step again for the days in 'broken' of the report."
        )
        return REFUSED
    return 0
