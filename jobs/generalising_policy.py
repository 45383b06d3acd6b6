"""How much detail a shop's visitors keep: a small file in its home, fitted at the first run, used every day after.

    $ENDCAP_HOME/SHOP/policy/generalisation.json        the policy of now
    $ENDCAP_HOME/SHOP/policy/generalisation.1.json      earlier ones by version, so that a report can name them

`python -m jobs policy` shows it; `--refit` fits a new one on the visitors of now, for the k, l and bounds that the
file says. What was fitted for an older form of the file has the defaults of today for what it does not say.

Where it ends: whoever kept a table of the earlier policy can lay it beside the new one, and has the finer of the two of
each column. `--refit` counts who would then stand in a group below k; a rotated key parts the two tables.
"""

import argparse
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from jobs import generalising
from jobs.console import Problem, grid, say, suggest
from jobs.generalising import Policy
from jobs.tables import WHOLE, Table, table
from jobs.warehouse import Mark, Warehouse, home, warehouse, write_atomically

SETTINGS = ("k", "l", "max_suppressed", "refit_above")
"""What a person may set in the file; a refit keeps it."""


def quasi(declared: Table) -> list[str]:
    """The columns that together could single a visitor out."""
    return [c.name for c in declared.columns if c.personal == "quasi"]


def path_of(shop: str) -> Path:
    """Where the policy of a shop lies."""
    return home() / shop / "policy" / "generalisation.json"


def kept_at(shop: str, version: int) -> Path:
    """Where an earlier policy lies."""
    return path_of(shop).with_suffix(f".{version}.json")


def dump(policy: Policy) -> str:
    """The policy as the text of its file."""
    return json.dumps(asdict(policy), indent=1, sort_keys=True) + "\n"


def setting(policy: Policy) -> str:
    """How the policy stands among the inputs of a mark."""
    return f"policy/generalisation/{WHOLE}@{hashlib.sha256(dump(policy).encode()).hexdigest()[:16]}"


def load(path: Path) -> Policy | None:
    """The policy of a shop, or None if none was fitted yet. A `Problem` if the file is no policy."""
    if not path.exists():
        return None

    def unreadable(fault: str) -> Problem:
        return Problem(
            f"the generalisation policy cannot be read: {fault}",
            where=str(path),
            do="mend or restore it; or move it away, so that the next run fits levels anew (days can then be compared)",
        )

    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        raise unreadable("it is no JSON") from None
    known = [f.name for f in fields(Policy)]
    if not isinstance(values, dict) or not isinstance(values.get("levels"), dict):
        raise unreadable("it has no levels")
    for name in values:
        if name not in known:
            raise unreadable(f"unknown setting '{name}'; {suggest(name, known)}")
    if fault := wrong(values):
        raise unreadable(fault)
    return Policy(**{**values, "fitted_on": tuple(values.get("fitted_on", ()))})


def wrong(values: Mapping[str, Any]) -> str | None:
    """The first value that cannot be meant, in words; None if all can.

    >>> wrong({"levels": {"age": 9}})
    'age has no level 9; 0 to 3'
    >>> wrong({"levels": {}, "k": 0})
    'k must be a whole number from 1, and is 0'
    """
    for column, level in values["levels"].items():
        if type(level) is not int or not 0 <= level <= generalising.top(column):
            return f"{column} has no level {level}; 0 to {generalising.top(column)}"
    for name in ("k", "l", "version"):
        if type(value := values.get(name, 1)) is not int or value < 1:
            return f"{name} must be a whole number from 1, and is {value!r}"
    for name in ("max_suppressed", "refit_above"):
        value = values.get(name, 0)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            return f"{name} must be a share from 0 to 1, and is {value!r}"
    return None


def counted(files: Sequence[Path], columns: Sequence[str]) -> dict[generalising.Group, int]:
    """Rows of clean visitors by combination of quasi-identifiers; a missing value is 'unknown'."""
    from jobs.duck import engine

    known = ", ".join(f"coalesce(trim({c}, ' '), '{generalising.UNKNOWN}')" for c in columns)
    with engine() as live:
        if not files:
            return {}
        rows = live.read_parquet([str(file) for file in files], hive_partitioning=False)
        found = live.sql(f"SELECT {known}, count(*) FROM rows GROUP BY ALL ORDER BY ALL").fetchall()  # noqa: S608
        del rows
    return {tuple(row[:-1]): row[-1] for row in found}


def fitted(counts: generalising.Counts, marks: Sequence[Mark], before: Policy | None = None) -> Policy:
    """A policy for these visitors: the first of the shop, or the next after `before`, for what that one asks."""
    columns, was = quasi(table("clean", "visitors")), before or Policy({})
    found = generalising.fit(columns, counts, k=was.k, l=was.l, max_suppressed=was.max_suppressed)
    return replace(
        found,
        refit_above=was.refit_above,
        version=before.version + 1 if before else 1,
        fitted_on=tuple(mark.name for mark in marks),
    )


def change(shop: str, policy: Policy, before: Policy | None) -> None:
    """Put a policy in its place; the one before it stays beside it. Killed in between, the old one stands."""
    if before:
        write_atomically(kept_at(shop, before.version), path_of(shop).read_text(encoding="utf-8"))
    write_atomically(path_of(shop), dump(policy))


def policy_for(shop: str, counts: generalising.Counts, marks: Sequence[Mark]) -> Policy:
    """The shop's policy; fitted now, and written, if there is none.

    One that was fitted when the shop had fewer than k visitors, so that nothing was shown, is fitted again as soon as
    there are enough: there is no earlier table to lay beside it.
    """
    before = load(path_of(shop))
    if before is not None and (before.reached or sum(counts.values()) < before.k):
        missing = set(quasi(table("clean", "visitors"))) - set(before.levels)
        if missing:
            raise Problem(
                f"the generalisation policy has no level for {', '.join(sorted(missing))}",
                where=str(path_of(shop)),
                do=f"add the level, or fit all levels anew: 'python -m jobs policy --shop {shop} --refit'",
            )
        return before
    policy = fitted(counts, marks, before)
    change(shop, policy, before)
    return policy


# The command ----------------------------------------------------------------------------------


def exposed(counts: generalising.Counts, one: Policy, other: Policy) -> int:
    """Visitors in groups below k for whoever holds the tables of both policies, and of each column takes the finer."""
    columns = quasi(table("clean", "visitors"))
    if not (one.reached and other.reached):
        return 0
    both = {c: min(one.levels.get(c, generalising.top(c)), other.levels.get(c, generalising.top(c))) for c in columns}
    k = min(one.k, other.k)
    return sum(rows for rows in generalising.merged(columns, counts, both).values() if rows < k)


def described(policy: Policy, counts: generalising.Counts) -> str:
    """The policy for people: what was asked, what it costs, who fits it now, and the level of each column."""
    columns = quasi(table("clean", "visitors"))
    after = generalising.merged(columns, counts, policy.levels)
    total, out = (
        sum(counts.values()),
        sum(counts.values()) - sum(generalising.shown(columns, after, policy.k, policy.l).values()),
    )
    facts = [
        ("version", policy.version),
        ("fitted on", ", ".join(policy.fitted_on) or "-"),
        ("k, l wanted", f"{policy.k}, {policy.l} (distinct {generalising.SENSITIVE})"),
        ("loss", f"{policy.loss:.2f} bits a visitor" + (f" of {policy.bits:.2f}" if policy.bits else "")),
        ("visitors now", total),
        ("suppressed now", f"{out} ({out / max(1, total):.1%}); fitted for {policy.max_suppressed:.0%} at most, "
                           f"stops above {policy.refit_above:.0%} and a group of {policy.k - 1}"),
    ]  # fmt: skip
    if not policy.reached:
        facts.append(("reached", f"no: fewer than {policy.k} visitors, so none is shown"))
    shown = [
        [c, policy.levels[c], generalising.top(c), ", ".join(sorted({g[i] for g in after})[:6])]
        for i, c in enumerate(columns)
    ]
    return grid(["policy", "is"], facts) + "\n\n" + grid(["column", "level", "of", "values, at most six"], shown)


def run(args: argparse.Namespace) -> int:
    """`python -m jobs policy`: show the policy of the visitors, or fit a new one on the visitors of now."""
    house: Warehouse = warehouse(args.shop)
    marks = house.require("clean", "visitors", step="clean")
    counts = counted(house.files(marks), quasi(table("clean", "visitors")))
    before = load(path_of(args.shop))
    policy = before
    if args.refit or before is None:
        policy = fitted(counts, marks, before)
        if args.refit:
            change(args.shop, policy, before)
    assert policy is not None
    print(described(policy, counts))
    if before is None and not args.refit:
        say("No policy yet: this is what the next 'anonymise' would fit. Nothing was written.")
    elif args.refit and before is not None:
        alone = exposed(counts, before, policy)
        say(f"Version {before.version} stays in {kept_at(args.shop, before.version)}.")
        say(
            f"Whoever kept the visitors of version {before.version} could set {alone} visitors in groups below "
            f"{policy.k} by laying both side by side."
            + (" A rotated pseudonym key parts the two tables." if alone else "")
        )
    say(f"Where: {path_of(args.shop)}")
    say(f"Next: python -m jobs anonymise --shop {args.shop} --stale" if args.refit or before is None else
        f"Next, if too many are suppressed: python -m jobs policy --shop {args.shop} --refit")  # fmt: skip
    return 0
