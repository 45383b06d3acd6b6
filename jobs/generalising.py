"""k-anonymity of the visitors' quasi-identifiers: which level of detail every column may keep.

Works on group counts, so a million visitors cost as much as their distinct
combinations. Full-domain generalisation (Sweeney 2002) by a search of the lattice of levels
(LeFevre 2005; Kohlmayer 2012): the least loss of information whose small groups, suppressed, are at
most a share of all visitors. Levels are fitted once into a policy file: fitting them again every day
would let an attacker intersect the days.

Where it ends: k-anonymity bounds who a row may be, not what a group of ten have in common
(`distinct_l` tells that), and says nothing about a visitor's history.
"""

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from jobs.console import Problem

UNKNOWN, ANY = "unknown", "*"
Group = tuple[str, ...]
Counts = Mapping[Group, int]
SENSITIVE = "income"
"""Also reported: how many distinct values of this column a group of the others has (distinct l-diversity)."""


def _number(value: str) -> float | None:
    """The first number of a bracket: 45 of '45-54', 75 of '75-99K', 0 of 'Under 15K'."""
    if value.lower().startswith(("under", "below", "<", "less")):
        return 0.0
    found = re.search(r"\d+", value)
    return float(found[0]) if found else None


def _bands(*bounds: float) -> Callable[[str], str]:
    """A coarser bracket by its lower end: _bands(35, 55)('45-54') == '35-54'."""

    def band(value: str) -> str:
        number = _number(value)
        if number is None:
            return UNKNOWN
        above = [b for b in bounds if b <= number]
        beyond = [b for b in bounds if b > number]
        if not above:
            return f"under {bounds[0]:g}"
        return f"{above[-1]:g}+" if not beyond else f"{above[-1]:g}-{beyond[0] - 1:g}"

    return band


def _home(value: str) -> str:
    lower = value.lower()
    return "owner" if "owner" in lower else "renter" if "rent" in lower else UNKNOWN


def _kids(value: str) -> str:
    number = _number(value)
    return UNKNOWN if number is None and "no" not in value.lower() else "some" if number else "none"


def _prefix(length: int) -> Callable[[str], str]:
    return lambda value: value[:length] + ANY * (len(value) - length) if len(value) > length else value


# From finest to coarsest. Level 0 is the value itself; the last level, not listed, is '*'.
HIERARCHIES: dict[str, tuple[Callable[[str], str], ...]] = {
    "postcode": (_prefix(3), _prefix(2), _prefix(1)),
    "age": (_bands(35, 55), _bands(55)),
    "income": (_bands(35, 75, 125), _bands(75)),
    "home_ownership": (_home,),
    "marital_status": (),
    "household_size": (_bands(2, 3), _bands(3)),
    "kids": (_kids,),
}


def top(column: str) -> int:
    """The coarsest level of a column, at which every value is '*'."""
    return len(HIERARCHIES.get(column, ())) + 1


def generalise(column: str, value: str | None, level: int) -> str:
    """`value` at `level`; a missing value is 'unknown', which is a value like any other.

    >>> generalise("age", "45-54", 1), generalise("age", None, 1), generalise("age", "45-54", 3)
    ('35-54', 'unknown', '*')
    """
    if level >= top(column):
        return ANY
    text = (value or "").strip() or UNKNOWN
    return text if level == 0 or text == UNKNOWN else HIERARCHIES[column][level - 1](text)


@dataclass(frozen=True)
class Policy:
    """What was fitted: the level of every column, and for which k. `version` names it in marks and reports."""

    levels: Mapping[str, int]
    k: int = 10
    max_suppressed: float = 0.05
    version: int = 1
    fitted_on: tuple[str, ...] = ()
    reached: bool = True
    loss: float = field(default=0.0, compare=False)

    def apply(self, columns: Sequence[str], group: Sequence[str | None]) -> Group:
        """One combination of values, generalised."""
        return tuple(generalise(c, v, self.levels[c]) for c, v in zip(columns, group, strict=True))


def merged(columns: Sequence[str], counts: Mapping[Group, int], levels: Mapping[str, int]) -> Counter[Group]:
    """Group counts after generalisation."""
    added: Counter[Group] = Counter()
    tables = [
        {value: generalise(c, value, levels[c]) for value in {g[i] for g in counts}} for i, c in enumerate(columns)
    ]
    for group, rows in counts.items():
        added[tuple(tables[i][value] for i, value in enumerate(group))] += rows
    return added


def small(counts: Mapping[Group, int], k: int) -> int:
    """Rows in groups of fewer than `k`."""
    return sum(rows for rows in counts.values() if rows < k)


def entropy(counts: Mapping[str, int]) -> float:
    """Bits."""
    total = sum(counts.values())
    return -sum(n / total * math.log2(n / total) for n in counts.values() if n) if total else 0.0


def losses(columns: Sequence[str], counts: Counts) -> list[list[float]]:
    """Bits of each column that each of its levels gives up."""
    lost = []
    for i, column in enumerate(columns):
        bits = []
        for level in range(top(column) + 1):
            values: Counter[str] = Counter()
            for group, rows in counts.items():
                values[generalise(column, group[i], level)] += rows
            bits.append(entropy(values))
        lost.append([bits[0] - b for b in bits])
    return lost


def nodes(lost: Sequence[Sequence[float]]) -> Iterator[tuple[float, tuple[int, ...]]]:
    """The lattice, by loss; equal losses by levels, so that the search is deterministic."""
    grid = (
        (sum(lost[i][v] for i, v in enumerate(levels)), levels) for levels in product(*[range(len(c)) for c in lost])
    )
    yield from sorted(grid)


def _coded(column: str, values: Sequence[str], level: int) -> "np.ndarray[Any, Any]":
    """The generalised values as small integers."""
    table = {value: generalise(column, value, level) for value in set(values)}
    numbers = {text: n for n, text in enumerate(sorted(set(table.values())))}
    return np.array([numbers[table[value]] for value in values], dtype=np.int64)


def _small(columns: Sequence["np.ndarray[Any, Any]"], sizes: "np.ndarray[Any, Any]", k: int) -> int:
    """Rows in groups below `k`, groups being equal codes in all `columns`."""
    at = np.zeros(len(sizes), dtype=np.int64)
    for column in columns:  # renumbered at each step, so that the product of domains never overflows
        at = np.unique(at * (int(column.max(initial=0)) + 1) + column, return_inverse=True)[1]
    rows = np.bincount(at, weights=sizes) if len(sizes) else np.zeros(0)
    return int(rows[rows < k].sum())


def fit(columns: Sequence[str], counts: Counts, *, k: int = 10, max_suppressed: float = 0.05) -> Policy:
    """The levels of least loss whose groups below `k` hold at most `max_suppressed` of all rows.

    Loss: bits of the columns given up, and all of them for a suppressed row. Small groups only
    shrink on the way up, so a node above one that does is one, too; and losses come in order, so
    the search ends when no later node can be better. With fewer than `k` rows nothing is
    k-anonymous: then everything is '*' and `reached` is False.
    """
    total = sum(counts.values())
    lost = losses(columns, counts)
    everything = sum(column[-1] for column in lost)
    sizes = np.fromiter(counts.values(), dtype=np.int64, count=len(counts))
    codes = [[_coded(c, [g[i] for g in counts], v) for v in range(top(c) + 1)] for i, c in enumerate(columns)]
    failed = np.empty((0, len(columns)), dtype=np.int64)
    best: tuple[float, tuple[int, ...]] | None = None
    for bits, levels in nodes(lost):
        if best is not None and bits >= best[0]:
            break
        if (failed >= np.array(levels)).all(axis=1).any():
            continue  # finer than one that failed
        out = _small([codes[i][v] for i, v in enumerate(levels)], sizes, k)
        if out > max_suppressed * total:
            failed = np.vstack([failed, levels])
            continue
        loss = bits + (everything - bits) * out / total if total else bits
        if best is None or (loss, levels) < best:
            best = (loss, levels)
    if best is None or total < k:
        return Policy({c: top(c) for c in columns}, k, max_suppressed, reached=False, loss=everything)
    return Policy(dict(zip(columns, best[1], strict=True)), k, max_suppressed, loss=best[0])


def distinct_l(columns: Sequence[str], counts: Counts, sensitive: str = SENSITIVE) -> int | None:
    """The fewest distinct values of `sensitive` in a group of the other columns; None if there is no group."""
    if sensitive not in columns or not counts:
        return None
    at = list(columns).index(sensitive)
    held: dict[Group, set[str]] = {}
    for group in counts:
        held.setdefault((*group[:at], *group[at + 1 :]), set()).add(group[at])
    return min(len(values) for values in held.values())


def load(path: Path) -> Policy | None:
    """The policy of a shop, or None if none was fitted yet."""
    if not path.exists():
        return None
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        policy = Policy(**{**values, "fitted_on": tuple(values["fitted_on"])})
    except (ValueError, TypeError, KeyError):
        raise Problem(
            "the generalisation policy cannot be read",
            where=str(path),
            do="restore it; or move it away, so that the next run fits levels anew (days can then be compared)",
        ) from None
    return policy


def dump(policy: Policy) -> str:
    """The policy as the text of its file."""
    return json.dumps(asdict(policy), indent=1, sort_keys=True) + "\n"
