"""Suites as data: what a published table of the safe zone must fulfil, table by table, day by day.

Standard library only. A suite speaks of a profile: one row a day with `rows` and counts of faults
(`null:title`, `outside:rating`, ...), made by one group-by. So a failing expectation names its days.

What a row must be stops a day. What a day must be like is told from the days before it, which shops do not promise:
there the near limit warns and only the far one, which no ordinary week comes near, stops (decisions/0007).
"""

from dataclasses import dataclass
from typing import Literal

from jobs.tables import Table, table

VERSION = 2
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
    least: float | None = 0
    most: float | None = 0
    severity: Severity = "stop"

    def holds(self, value: float | None) -> bool:
        """Whether `value` is in the limits; what could not be told (None) breaks nothing.

        >>> Expectation("rows", "has rows", 1, None).holds(0)
        False
        """
        if value is None:
            return True
        return (self.least is None or value >= self.least) and (self.most is None or value <= self.most)


@dataclass(frozen=True)
class Fault:
    """What the profile counts: rows for which `test`, in Spark's SQL, is true."""

    column: str
    test: str
    words: str


CHANNELS = ("web", "app", "store", "social")
LANGUAGES = ("en", "zh", "other")
SHARES: dict[str, dict[str, tuple[str, ...]]] = {
    "searches": {"channel": CHANNELS, "language": LANGUAGES},
    "rankings": {"surface": ("search", "recommend")},
    "interactions": {"kind": KINDS["interactions"], "channel": CHANNELS},
    "reviews": {"language": LANGUAGES},
    "tickets": {"language": LANGUAGES},
}
"""Columns whose shares are compared with the days before, and the values that are told apart; the rest is `other`.
Offers are sent in campaigns: their days are like no other, and are not compared."""

EVERY_DAY = ("searches", "rankings", "interactions")
"""What an open shop has every day. If one of them is silent and another is not, a feed is broken."""
SPREADS = 6
"""A day may be so many spreads (see `jobs.profiles.spreads`) from the median of its weekday. In the grocer's year 12
partitions of five days are further out: holidays, an eve, and the delivery's last two days. In the sample none."""
DRIFT = {"warn": 0.1, "stop": 0.5}
"""Divergence, in bits from 0 to 1. The sample's largest is 0.031, the grocer's 0.005; half of a column gone is 0.3."""
LOST = {"warn": 0.02, "stop": 0.5}
"""Share of rows that refer to something that is not there. `clean` may have refused what they refer to."""
REFERS = {"interactions": ("ranking_id", "rankings", 7), "rankings": ("search_id", "searches", 1)}
"""Which column refers to which table, on the same day or so many days before."""
FRESH = {"searches": 2, "rankings": 2, "interactions": 2, "reviews": 14, "tickets": 14, "promotions": 14}
"""How many days before the run's last day the newest rows may lie."""
LEFT = 0.5
"""A table without days keeps at least this share of the rows that are published."""
UNLIKE = ("volume", "empty", "drift:", "lost:")
"""Columns that compare a day with others: a person may say that it is right all the same (`validate --accept`)."""


def emptiable(declared: Table) -> list[str]:
    """Columns that may be empty, of a table whose shares are compared."""
    return [c.name for c in declared.columns if not c.required] if declared.name in SHARES else []


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
    expected += [Expectation(fault.column, fault.words) for fault in faults(declared)]
    return expected + across(name) + unlike(declared)


def across(name: str) -> list[Expectation]:
    """What table `name` must have in common with other tables."""
    expected = []
    if name in REFERS:
        column, other, _ = REFERS[name]
        words = f"{column} is among the {other}"
        expected += [_up_to(f"lost:{column}", words, LOST, severity) for severity in ("warn", "stop")]
    if name == "interactions":
        expected.append(Expectation("off_clean", "purchases come to the amount that they had in clean"))
    return expected


def unlike(declared: Table) -> list[Expectation]:
    """How much a day of a table may differ from the days before it."""
    name = declared.name
    if not declared.dated:
        return [Expectation("left", "at least half as many rows as are published", LEFT, None, "warn")]
    expected = []
    if name in FRESH:
        expected.append(Expectation("age", f"has rows of the last {FRESH[name]} days", None, FRESH[name], "warn"))
        words = "about as many rows as on this weekday in the weeks before"
        expected.append(Expectation("volume", words, -SPREADS, SPREADS, "warn"))
    if name in EVERY_DAY:
        expected.append(Expectation("empty", "not without rows while the rest of the shop is open"))
    compared = {f"drift:{column}": f"{column} is spread as in the weeks before" for column in SHARES.get(name, ())}
    compared |= {f"drift:no {column}": f"{column} is empty as often as before" for column in emptiable(declared)}
    return expected + [
        _up_to(column, words, DRIFT, severity) for column, words in compared.items() for severity in ("warn", "stop")
    ]


def _up_to(column: str, words: str, limits: dict[str, float], severity: Severity) -> Expectation:
    most = limits[severity]
    return Expectation(column, f"{words} (at most {most:g})", 0, most, severity)


def may_be_accepted(broken: Expectation) -> bool:
    """Whether a person may publish a day in spite of this: never what a row must be."""
    return broken.column.startswith(UNLIKE)
