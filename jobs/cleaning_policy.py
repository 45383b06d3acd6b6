"""What a shop wants of `clean`: a small file in its home, written with the defaults at the first run, read ever after.

    $ENDCAP_HOME/SHOP/policy/cleaning.json

A source may declare other defaults (`jobs.sources.Source.cleaning`). Every clean mark bears the hash of the policy.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from jobs.console import Problem, suggest
from jobs.sources import declared
from jobs.warehouse import home, write_atomically

Twins = Literal["off", "report", "merge"]


@dataclass(frozen=True)
class Policy:
    """Limits and choices of `clean`.

    `refused` is the share of a table's rows, by reason, above which the step stops ('any' for a reason not named);
    it is looked at from `refused_from` rows on, so that a small table does not stop for one bad row.
    """

    simplify: bool = False  # traditional Chinese -> simplified, in titles, queries and texts
    internal: str = r"(?i)^(test|internal|staff|monitor)[-_:@]"  # ids of visitors who are the shop's own people
    robot_rows: int = 1_000  # searches and clicks of a visitor on one day, from which they are a robot's
    robot_burst: int = 100  # ... and from so many on, if they follow each other
    robot_pace: float = 1.0  # ... within so many seconds on average
    session_gap: int = 30  # minutes without a search, after which another visit begins, where the shop does not say
    return_days: int = 400  # within which what was bought can come back
    grace_days: int = 7  # during which an event may name an item or a visitor that the shop delivers later
    items: Twins = "report"  # near duplicates: not looked for, listed, or merged into the fullest of them
    visitors: Twins = "merge"  # accounts with the same e-mail, or the same telephone number and name
    likeness: float = 0.9  # Jaccard similarity of titles, in groups of three characters, from which items are twins
    refused: Mapping[str, float] = field(default_factory=lambda: {"any": 0.5})
    refused_from: int = 1_000

    @property
    def sha256(self) -> str:
        """Changes with any value."""
        return hashlib.sha256(dump(self).encode()).hexdigest()[:16]

    def most(self, reason: str) -> float:
        """The share of rows that may be refused for this reason."""
        return self.refused.get(reason, self.refused.get("any", 1.0))


def dump(policy: Policy) -> str:
    """The policy as the text of its file."""
    return json.dumps(asdict(policy), indent=1, sort_keys=True) + "\n"


def path_of(shop: str) -> Path:
    """Where the policy of a shop lies."""
    return home() / shop / "policy" / "cleaning.json"


def load(shop: str) -> Policy:
    """The policy of a shop; written with its source's defaults if there is none yet. A `Problem` if it is no policy."""
    path = path_of(shop)
    if path.is_file():
        return _parsed(path)
    policy = Policy(**dict(declared(shop)))
    write_atomically(path, dump(policy))
    return policy


def _parsed(path: Path) -> Policy:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        assert isinstance(values, dict)
    except (ValueError, AssertionError):
        raise Problem("the cleaning policy is no JSON object", where=str(path), do="mend it, or move it away") from None
    known = {f.name: f for f in fields(Policy)}
    for name in values:
        if name not in known:
            raise Problem(f"the cleaning policy has an unknown setting '{name}'", where=str(path),
                          do=suggest(name, known))  # fmt: skip
    policy = Policy(**values)
    if fault := wrong(policy):
        raise Problem(f"the cleaning policy: {fault}", where=str(path), do="mend it, or move it away for the defaults")
    return policy


def wrong(policy: Policy) -> str | None:
    """The first setting that cannot be meant, in words; None if all can.

    >>> wrong(Policy(likeness=2))
    'likeness must be above 0, at most 1, and is 2'
    """
    plain = {f.name: getattr(policy, f.name) for f in fields(Policy)}
    kinds: dict[str, type | tuple[type, ...]] = {"simplify": bool, "internal": str, "refused": dict}
    kinds |= dict.fromkeys(
        ("robot_rows", "robot_burst", "session_gap", "return_days", "grace_days", "refused_from"), int
    )
    kinds |= dict.fromkeys(("robot_pace", "likeness"), (int, float))
    for name, kind in kinds.items():
        value: Any = plain[name]
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            return f"{name} is of the wrong type: {value!r}"
        if isinstance(value, int | float) and not isinstance(value, bool) and value < 0:
            return f"{name} must not be below 0, and is {value}"
    for name in ("items", "visitors"):
        if plain[name] not in ("off", "report", "merge"):
            return f"{name} must be off, report or merge, and is {plain[name]!r}"
    if not 0 < policy.likeness <= 1:
        return f"likeness must be above 0, at most 1, and is {policy.likeness}"
    for reason, share in policy.refused.items():
        if not isinstance(share, int | float) or not 0 <= share <= 1:
            return f"refused.{reason} must be a share from 0 to 1, and is {share!r}"
    try:
        re.compile(policy.internal)
    except re.error as fault:
        return f"internal is no regular expression: {fault}"
    return None
