"""What a day is compared with: profiles of the days before it, kept in their marks, so that no row is read again.

Pure. A profile is a few hundred bytes: rows, shares of the values of some columns, and how often a column is empty.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from statistics import median
from typing import Any

from jobs.expectations import SHARES, emptiable
from jobs.tables import Table

WEEKS = 8  # the same weekday of so many weeks is what a day's rows are compared with
LEAST_WEEKS = 4
MANY = 20  # rows, or clusters of them, from which a day without any is no accident
CLUSTERS = {"rankings": 10, "interactions": 5}
"""Rows that come together: a ranking's positions, a basket's items. Chance moves so many at a time."""
WINDOW = 28  # earlier published days whose shares are added up
LEAST_DAYS = 7
PRIOR = 100
"""Rows of the days before that are mixed into a day: the shares of a few rows say little, and move little."""

Row = dict[str, Any]
Counts = Mapping[str, float]


@dataclass(frozen=True)
class Profile:
    """What is kept of one published day. `shares`: rows by value of a column; `empty`: rows without a value."""

    day: str
    rows: int
    shares: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    empty: Mapping[str, int] = field(default_factory=dict)

    def note(self) -> dict[str, Any]:
        """As it stands in a mark."""
        shares = {column: {v: n for v, n in counts.items() if n} for column, counts in self.shares.items()}
        return {"rows": self.rows, "shares": shares, "empty": {c: n for c, n in self.empty.items() if n}}

    @classmethod
    def of(cls, day: str, rows: int, notes: Mapping[str, Any]) -> "Profile":
        """Of a mark with these notes. One that was published before profiles were kept tells its rows only."""
        kept = notes.get("validation", {}).get("profile", {})
        return cls(day, rows, kept.get("shares", {}), kept.get("empty", {}))


def counted(declared: Table, row: Row) -> Profile:
    """The profile of a day, from the row that the scan made of it."""
    shares = {}
    for column, values in SHARES.get(declared.name, {}).items():
        told = {value: int(row[f"share:{column}={value}"]) for value in values}
        empty = int(row.get(f"no {column}", 0))
        shares[column] = {**told, "(other)": int(row["rows"]) - empty - sum(told.values())}
    return Profile(row["day"], int(row["rows"]), shares, {c: int(row[f"no {c}"]) for c in emptiable(declared)})


def spreads(rows: int, before: Sequence[int], cluster: int = 1) -> float | None:
    """How many spreads `rows` lies from the median of `before`; None with fewer than 4 to compare with.

    A spread is the median absolute deviation, scaled to a standard deviation, and at least what chance gives
    (the root of the median, for rows that come one by one) and a tenth of the median: eight days may agree by luck.

    >>> spreads(160, [100, 100, 100, 100]), spreads(5, [100])
    (6.0, None)
    """
    if len(before) < LEAST_WEEKS:
        return None
    middle = median(before)
    deviation = 1.4826 * median(abs(each - middle) for each in before)
    return round((rows - middle) / max(deviation, math.sqrt(middle * cluster), middle / 10, 1.0), 2)


def divergence(day: Counts, before: Counts) -> float | None:
    """Jensen-Shannon divergence in bits, 0 (the same shares) to 1 (nothing in common); None without rows.

    `PRIOR` rows of the days before are mixed into the day: by chance alone 100 rows differ by 0.1, and a shop with
    30 rows a day would be warned of every week.

    >>> divergence({"a": 5000}, {"b": 900}), divergence({"a": 10, "b": 30}, {"a": 100, "b": 300})
    (0.9301, 0.0)
    """
    here, there = sum(day.values()), sum(before.values())
    if not here or not there:
        return None
    total = 0.0
    for value in {*day, *before}:
        q = before.get(value, 0) / there
        p = (day.get(value, 0) + PRIOR * q) / (here + PRIOR)
        middle = (p + q) / 2
        total += sum(x * math.log2(x / middle) / 2 for x in (p, q) if x)
    return round(max(total, 0.0), 4)


def same_weekday(day: str, history: Mapping[str, Profile]) -> list[int]:
    """Rows of the same weekday of the last 8 weeks, as far as those days are published."""
    at = date.fromisoformat(day)
    weeks = ((at - timedelta(weeks=n)).isoformat() for n in range(1, WEEKS + 1))
    return [history[each].rows for each in weeks if each in history]


def days_before(day: str, history: Mapping[str, Profile]) -> Profile | None:
    """The last 28 published days before `day` that have rows, added up to one; None with fewer than 7."""
    days = [history[d] for d in sorted(history) if d < day and history[d].rows and history[d].shares][-WINDOW:]
    if len(days) < LEAST_DAYS:
        return None
    shares: dict[str, Counter[str]] = {}
    empty: Counter[str] = Counter()
    for profile in days:
        for column, counts in profile.shares.items():
            shares.setdefault(column, Counter()).update(counts)
        empty.update(profile.empty)
    return Profile(day, sum(profile.rows for profile in days), shares, empty)


def likeness(declared: Table, own: Profile, history: Mapping[str, Profile], sisters: int) -> Row:
    """What a day's profile says beside the days before it: `volume`, `empty`, and a `drift:` for each column.

    `sisters` is how many of the shop's other tables of every day have rows on it. None is what cannot be told.
    """
    before, cluster = same_weekday(own.day, history), CLUSTERS.get(declared.name, 1)
    usual = len(before) >= LEAST_WEEKS and min(before) > 0 and median(before) >= MANY * cluster
    row: Row = {
        "volume": spreads(own.rows, before, cluster),
        "empty": int(usual and not own.rows and sisters > 0),
    }
    there = days_before(own.day, history)
    for column, counts in own.shares.items():
        row[f"drift:{column}"] = divergence(counts, there.shares.get(column, {})) if there else None
    for column in emptiable(declared):
        row[f"drift:no {column}"] = divergence(filled(own, column), filled(there, column)) if there else None
    return row


def filled(profile: Profile, column: str) -> dict[str, int]:
    """Rows with and without a value of a column."""
    none = profile.empty.get(column, 0)
    return {"with": profile.rows - none, "without": none}


def compared(
    declared: Table,
    rows: Iterable[Row],
    history: Mapping[str, Profile],
    sisters: Callable[[str], int],
    refused: Callable[[Row], bool],
) -> list[Row]:
    """Each day's row with what it is like, in order of days; a day that is `refused` is nothing to compare with."""
    known, out = dict(history), []
    for row in sorted(rows, key=lambda each: str(each["day"])):
        own = counted(declared, row)
        known.pop(own.day, None)
        full = {**row, **likeness(declared, own, known, sisters(own.day))}
        if not refused(full):
            known[own.day] = own
        out.append(full)
    return out
