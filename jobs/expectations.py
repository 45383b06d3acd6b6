"""Suites as data: what a published table of the safe zone must fulfil, table by table, day by day.

Standard library only. A suite speaks of a profile: one row a day with `rows` and counts of faults
(`null:title`, `outside:rating`, ...), made by one group-by. So a failing expectation names its days.
"""

from dataclasses import dataclass
from typing import Literal

from jobs.tables import Table, table

VERSION = 1
Severity = Literal["stop", "warn"]
BIG = ("promotions",)
"""Tables of tens of millions of rows: their keys are not counted again after `clean` has made them unique."""

KINDS = {
    "interactions": ("view", "click", "cart", "purchase", "dwell", "return", "cancel"),
    "offer_events": ("sent", "redeemed"),
}


@dataclass(frozen=True)
class Limit:
    """What a column may hold, in words (for quarantine and reports) and as a test in SQL."""

    words: str
    test: str


LIMITS: dict[tuple[str, str], Limit] = {
    ("items", "price"): Limit("at least 0", "price >= 0"),
    ("judgements", "grade"): Limit("0 to 3", "grade between 0 and 3"),
    ("rankings", "position"): Limit("at least 1", "position >= 1"),
    ("rankings", "propensity"): Limit("above 0, at most 1", "propensity > 0 and propensity <= 1"),
    ("interactions", "quantity"): Limit("at least 0", "quantity >= 0"),
    ("interactions", "amount"): Limit("at least 0", "amount >= 0"),
    ("interactions", "dwell_seconds"): Limit("at least 0", "dwell_seconds >= 0"),
    ("reviews", "rating"): Limit("1 to 5", "rating between 1 and 5"),
    **{(name, "kind"): Limit(f"one of {', '.join(kinds)}", f"kind in {kinds}") for name, kinds in KINDS.items()},
}
"""`clean` refuses what is outside; `validate` looks again."""

PSEUDONYM = r"^v[0-9]+_[0-9a-f]{32}$"
VOLUME: dict[str, Severity] = {"items": "stop", "interactions": "warn"}
"""Tables that matter: without items nothing can be sold; a day without interactions is odd, but shops close."""


@dataclass(frozen=True)
class Expectation:
    """A column of the profile, the numbers it may hold, and what happens if it does not."""

    column: str
    words: str
    least: int | None = 0
    most: int | None = 0
    severity: Severity = "stop"


@dataclass(frozen=True)
class Fault:
    """What the profile counts: rows for which `test`, in Spark's SQL, is true."""

    column: str
    test: str
    words: str


def faults(declared: Table) -> list[Fault]:
    """The faults that the profile of a table counts."""
    found = [
        Fault(f"null:{c.name}", f"`{c.name}` is null", f"{c.name} is never empty")
        for c in declared.columns
        if c.required
    ]
    found += [
        Fault(f"outside:{column}", f"not coalesce({limit.test}, true)", f"{column} is {limit.words}")
        for (name, column), limit in LIMITS.items()
        if name == declared.name
    ]
    if "visitor" in declared.names:
        found.append(Fault("open:visitor", f"not visitor rlike '{PSEUDONYM}'", "visitor is a pseudonym"))
    if declared.dated:
        found.append(Fault("misfiled", "to_date(event_time) <> day", "a row lies under the date of its event"))
        found.append(Fault("early", "known_time < event_time", "nothing is known before it happens"))
    return found


def suite(name: str) -> list[Expectation]:
    """What table `name` of the safe zone must fulfil on every day."""
    declared = table("safe", name)
    expected = [Expectation("off_mark", "as many rows as its mark says")]
    if name in VOLUME:
        expected.append(Expectation("rows", "has rows", 1, None, VOLUME[name]))
    if name not in BIG:
        expected.append(Expectation("repeated", f"unique by {', '.join(declared.key)}"))
    return expected + [Expectation(fault.column, fault.words) for fault in faults(declared)]
