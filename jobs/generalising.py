"""k-anonymity and l-diversity of the visitors' quasi-identifiers: which level of detail every column may keep.

Works on group counts, so a million visitors cost as much as their distinct
combinations. Full-domain generalisation (Sweeney 2002) by a search of the lattice of levels
(LeFevre 2005; Kohlmayer 2012): the least loss of information whose groups that must be suppressed are at
most a share of all visitors. Levels are fitted once into a policy (`jobs.generalising_policy`): fitting them again
every day would let an attacker intersect the days.

Two attackers are bounded, one by each number. One knows every column of a person, the income too, and looks for
their row: a group, rows equal in all columns, has at least k. Another knows all but the income, and wants that: a
block, rows equal in all other columns (Machanavajjhala 2007), holds at least l distinct incomes, or none. An income
that is '*' or unknown tells nothing: it neither needs company nor is any. So a block in which nobody's income is known
is well as it is, and an 'unknown' beside one income does not hide it from who knows that the person gave theirs.

Where it ends: k and l bound what one table tells, not what a visitor's history does, nor two tables fitted at two
times. Distinct l-diversity bounds certainty, not odds: `entropy_l` and `t_closeness` tell those, and bound nothing.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, product

import numpy as np
from numpy.typing import NDArray

UNKNOWN, ANY = "unknown", "*"
K, L = 10, 2
Group = tuple[str, ...]
Counts = Mapping[Group, int]
Levels = tuple[int, ...]
Ints = NDArray[np.int64]
SENSITIVE = "income"
"""The column that a group of the others must not give away. It is a quasi-identifier as well."""


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
    """What was fitted: the level of every column, and for which k and l. `version` names it in marks and reports.

    `max_suppressed` is the share of visitors that the fit may leave out. A fit uses it up, so a later snapshot
    stops the run only above `refit_above`: else three new visitors would stop the night after every fit.
    `loss` of `bits`: what the columns told, in bits a visitor, and how much of it was given up.
    """

    levels: Mapping[str, int]
    k: int = K
    l: int = L
    max_suppressed: float = 0.05
    refit_above: float = 0.10
    version: int = 1
    fitted_on: tuple[str, ...] = ()
    reached: bool = True
    loss: float = field(default=0.0, compare=False)
    bits: float = field(default=0.0, compare=False)

    def apply(self, columns: Sequence[str], group: Sequence[str | None]) -> Group:
        """One combination of values, generalised."""
        return tuple(generalise(c, v, self.levels[c]) for c, v in zip(columns, group, strict=True))


def merged(columns: Sequence[str], counts: Counts, levels: Mapping[str, int]) -> Counter[Group]:
    """Group counts after generalisation."""
    added: Counter[Group] = Counter()
    tables = [
        {value: generalise(c, value, levels[c]) for value in {g[i] for g in counts}} for i, c in enumerate(columns)
    ]
    for group, rows in counts.items():
        added[tuple(tables[i][value] for i, value in enumerate(group))] += rows
    return added


# What groups tell -----------------------------------------------------------------------------


def blocks(columns: Sequence[str], counts: Counts, sensitive: str = SENSITIVE) -> dict[Group, Counter[str]]:
    """What the sensitive column tells, by block: rows by its value, in every combination of the other columns.

    Values that tell nothing ('*', 'unknown') are left out, and blocks that hold nothing else.

    >>> blocks(("age", "income"), {("65+", "low"): 3, ("65+", "unknown"): 9, ("19-24", "unknown"): 4})
    {('65+',): Counter({'low': 3})}
    """
    if sensitive not in columns:
        return {}
    at = list(columns).index(sensitive)
    found: dict[Group, Counter[str]] = {}
    for group, rows in counts.items():
        if group[at] not in (UNKNOWN, ANY):
            found.setdefault((*group[:at], *group[at + 1 :]), Counter())[group[at]] += rows
    return found


def shown(columns: Sequence[str], counts: Counts, k: int, l: int, sensitive: str = SENSITIVE) -> dict[Group, int]:
    """The groups that may be shown: of at least `k` rows, in blocks that tell at least `l` distinct values or none.

    Small groups go first, since what they tell is not shown. Of a block that tells too little only the groups that
    tell go: the others tell nothing without them. So what is left has k and l, and nothing need be looked at again.
    """
    large = {group: rows for group, rows in counts.items() if rows >= k}
    if l < 2 or sensitive not in columns:
        return large
    at = list(columns).index(sensitive)
    thin = {block for block, told in blocks(columns, large, sensitive).items() if len(told) < l}
    return {
        group: rows
        for group, rows in large.items()
        if group[at] in (UNKNOWN, ANY) or (*group[:at], *group[at + 1 :]) not in thin
    }


def distinct_l(columns: Sequence[str], counts: Counts, sensitive: str = SENSITIVE) -> int | None:
    """The fewest distinct values of `sensitive` in a block; None if none tells any: distinct l-diversity."""
    return min((len(told) for told in blocks(columns, counts, sensitive).values()), default=None)


def entropy_l(columns: Sequence[str], counts: Counts, sensitive: str = SENSITIVE) -> float | None:
    """The least 2 ** (bits of `sensitive` in a block), so at most `distinct_l`: entropy l-diversity
    (Machanavajjhala 2007). None if no block tells any."""
    return min((2 ** entropy(told) for told in blocks(columns, counts, sensitive).values()), default=None)


def t_closeness(columns: Sequence[str], counts: Counts, sensitive: str = SENSITIVE) -> tuple[float, str] | None:
    """How far the values of `sensitive` in a block lie from those of the whole table at most, 0 to 1; and by which
    distance (Li 2007): "ordered" if every value is a bracket of numbers, else "equal". None if no block tells any."""
    found = blocks(columns, counts, sensitive)
    if not found:
        return None
    overall: Counter[str] = sum(found.values(), Counter())
    numbers = {value: _number(value) for value in overall}
    ordered = all(number is not None for number in numbers.values())
    values = sorted(overall, key=lambda value: (numbers[value] or 0.0, value))
    apart = _ordered_distance if ordered else _equal_distance
    whole = _shares(overall, values)
    return max(apart(_shares(told, values), whole) for told in found.values()), "ordered" if ordered else "equal"


def _shares(counts: Mapping[str, int], values: Sequence[str]) -> list[float]:
    total = sum(counts.values())
    return [counts.get(value, 0) / total for value in values]


def _ordered_distance(a: Sequence[float], b: Sequence[float]) -> float:
    """Earth to be moved along the order, the whole way being 1."""
    moved = accumulate(p - q for p, q in zip(a, b, strict=True))
    return sum(map(abs, moved)) / max(1, len(a) - 1)


def _equal_distance(a: Sequence[float], b: Sequence[float]) -> float:
    """Earth to be moved, every way being 1: total variation."""
    return sum(abs(p - q) for p, q in zip(a, b, strict=True)) / 2


# The search -----------------------------------------------------------------------------------


def entropy(counts: Mapping[str, int]) -> float:
    """Bits."""
    total = sum(counts.values())
    return -sum(n / total * math.log2(n / total) for n in counts.values() if n) if total else 0.0


def losses(columns: Sequence[str], counts: Counts) -> list[list[float]]:
    """Bits of each column that each of its levels gives up."""
    lost = []
    for i, column in enumerate(columns):
        exact: Counter[str] = Counter()
        for group, rows in counts.items():
            exact[group[i]] += rows
        bits = []
        for level in range(top(column) + 1):
            values: Counter[str] = Counter()
            for value, rows in exact.items():
                values[generalise(column, value, level)] += rows
            bits.append(entropy(values))
        lost.append([bits[0] - b for b in bits])
    return lost


def nodes(lost: Sequence[Sequence[float]]) -> Iterator[tuple[float, Levels]]:
    """The lattice, by loss; equal losses by levels, so that the search is deterministic."""
    grid = (
        (sum(lost[i][v] for i, v in enumerate(levels)), levels) for levels in product(*[range(len(c)) for c in lost])
    )
    yield from sorted(grid)


class _Cells:
    """The groups as numbers: how many rows must be suppressed at given levels, for k alone and for k and l.

    As `shown`, but on arrays: a sort a node, whatever the values are.
    """

    def __init__(self, columns: Sequence[str], counts: Counts, k: int, l: int, sensitive: str = SENSITIVE) -> None:
        self.k, self.l = k, l
        self.sizes: Ints = np.fromiter(counts.values(), dtype=np.int64, count=len(counts))
        self.at = list(columns).index(sensitive) if sensitive in columns and l > 1 else None
        self.codes: list[list[tuple[Ints, list[str]]]] = []
        for i, column in enumerate(columns):
            values, where = np.unique(np.array([g[i] for g in counts], dtype=object), return_inverse=True)
            self.codes.append([self._coded(column, list(values), where, v) for v in range(top(column) + 1)])
        self._known: dict[Levels, tuple[int, int]] = {}

    @staticmethod
    def _coded(column: str, values: list[str], where: Ints, level: int) -> tuple[Ints, list[str]]:
        """The generalised values as small integers; and which value each stands for."""
        made = [generalise(column, value, level) for value in values]
        texts = sorted(set(made))
        number = {text: n for n, text in enumerate(texts)}
        return np.array([number[text] for text in made], dtype=np.int64)[where], texts

    def _keys(self, levels: Levels) -> tuple[Ints, int]:
        """One integer for each row's group, the sensitive column in its last digit; and that digit's base."""
        order = [i for i in range(len(levels)) if i != self.at] + ([] if self.at is None else [self.at])
        key, span = np.zeros(len(self.sizes), dtype=np.int64), 1
        for i in order:
            code, texts = self.codes[i][levels[i]]
            span *= len(texts)
            if span >= 2**62:  # renumbered, so that the product of domains never overflows
                found, key = np.unique(key, return_inverse=True)
                span = len(found) * len(texts)
            key = key * len(texts) + code
        return key, 1 if self.at is None else len(self.codes[self.at][levels[self.at]][1])

    def suppressed(self, levels: Levels) -> tuple[int, int]:
        """Rows in groups below k; and rows in those, or in blocks that tell less than l."""
        if levels not in self._known:
            self._known[levels] = self._suppressed(levels)
        return self._known[levels]

    def _suppressed(self, levels: Levels) -> tuple[int, int]:
        if not len(self.sizes):
            return 0, 0
        keys, base = self._keys(levels)
        order = np.argsort(keys)
        keys = keys[order]
        starts = np.flatnonzero(np.diff(keys, prepend=keys[0] - 1))
        groups, rows = keys[starts], np.add.reduceat(self.sizes[order], starts)
        few = int(rows[rows < self.k].sum())
        if self.at is None:
            return few, few
        texts = self.codes[self.at][levels[self.at]][1]
        telling = np.array([text not in (UNKNOWN, ANY) for text in texts])
        told = (rows >= self.k) & telling[groups % base]
        _, block, values = np.unique(groups[told] // base, return_inverse=True, return_counts=True)
        return few, few + int(rows[told][values[block] < self.l].sum())


class _Failed:
    """Nodes that are known to suppress too much, and with them all finer ones.

    Groups below k only shrink on the way up, in every column. Blocks tell more on the way up, but in the sensitive
    column itself, whose values become fewer: so a failure by l speaks for finer nodes of its own sensitive level alone.
    """

    def __init__(self, width: int, at: int | None) -> None:
        self.width, self.at = width, at
        self.by_k: Ints = np.empty((0, width), dtype=np.int64)
        self.by_l: Ints = np.empty((0, width), dtype=np.int64)

    def holds(self, levels: Levels) -> bool:
        """Whether a node is one of them."""
        node = np.array(levels)
        if (self.by_k >= node).all(axis=1).any():
            return True
        above = (self.by_l >= node).all(axis=1)
        return bool((above if self.at is None else above & (self.by_l[:, self.at] == node[self.at])).any())

    def climb(self, levels: Levels, lost: Sequence[Sequence[float]], cells: _Cells, most: float) -> None:
        """Remember the last node that fails on a way up from one that does: a binary search, as in Flash."""
        by_k = cells.suppressed(levels)[0] > most
        way = list(_way_up(levels, lost, fixed=None if by_k else self.at))
        low, high = 0, len(way)  # way[low] fails; way[high], if there is one, does not
        while high - low > 1:
            middle = (low + high) // 2
            fails = cells.suppressed(way[middle])[0 if by_k else 1] > most
            low, high = (middle, high) if fails else (low, middle)
        if by_k:
            self.by_k = np.vstack([self.by_k, way[low]])
        else:
            self.by_l = np.vstack([self.by_l, way[low]])


def _way_up(levels: Levels, lost: Sequence[Sequence[float]], fixed: int | None) -> Iterator[Levels]:
    """From a node to the top, the cheapest step first; the column `fixed` keeps its level."""
    at = list(levels)
    yield levels
    while steps := [(lost[i][v + 1] - lost[i][v], i) for i, v in enumerate(at) if i != fixed and v + 1 < len(lost[i])]:
        at[min(steps)[1]] += 1
        yield tuple(at)


def fit(columns: Sequence[str], counts: Counts, *, k: int = K, l: int = L, max_suppressed: float = 0.05) -> Policy:
    """The levels of least loss at which groups below `k` or `l`, suppressed, hold at most `max_suppressed` of all rows.

    Loss: bits of the columns given up, and all of them for a suppressed row. Losses come in order, so
    the search ends when no later node can be better. With fewer than `k` rows nothing is
    k-anonymous: then everything is '*' and `reached` is False.
    """
    total = sum(counts.values())
    lost = losses(columns, counts)
    everything = sum(column[-1] for column in lost)
    cells = _Cells(columns, counts, k, l)
    failed = _Failed(len(columns), cells.at)
    best: tuple[float, Levels] | None = None
    for bits, levels in nodes(lost):
        if best is not None and bits >= best[0]:
            break
        if failed.holds(levels):
            continue  # finer than one that failed
        out = cells.suppressed(levels)[1]
        if out > max_suppressed * total:
            failed.climb(levels, lost, cells, max_suppressed * total)
            continue
        loss = bits + (everything - bits) * out / total if total else bits
        if best is None or (loss, levels) < best:
            best = (loss, levels)
    if best is None or total < k:
        hidden = {c: top(c) for c in columns}
        return Policy(hidden, k, l, max_suppressed, reached=False, loss=everything, bits=everything)
    return Policy(dict(zip(columns, best[1], strict=True)), k, l, max_suppressed, loss=best[0], bits=everything)
