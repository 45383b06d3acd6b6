"""The counting law: rows in = rows out + quarantined + duplicates + suppressed + erased + merged.

Standard library only. Every term is counted on its own (from input marks, from written files, from
groups), never by subtraction: so a lost row, or one written twice, breaks the law and stops the step.
"""

from collections.abc import Iterable, Mapping

from jobs.console import Refused

TERMS = ("out", "quarantined", "duplicates", "suppressed", "erased", "merged")
REASON = "quarantined:"


def terms(rows_in: int, *, reasons: Mapping[str, int] | None = None, **counted: int) -> dict[str, int]:
    """All terms of one table and day as a mark keeps them; a term that is not named is 0.

    >>> terms(3, out=2, reasons={"missing": 1})["quarantined"]
    1
    """
    unknown = set(counted) - set(TERMS)
    assert not unknown, f"not terms of the law: {sorted(unknown)}"
    by_reason = {f"{REASON}{reason}": rows for reason, rows in sorted((reasons or {}).items()) if rows}
    counted.setdefault("quarantined", sum(by_reason.values()))
    return {"in": rows_in, **{term: counted.get(term, 0) for term in TERMS}, **by_reason}


def surplus(counts: Mapping[str, int]) -> int:
    """Rows that went missing (above 0) or came from nowhere (below 0); 0 where the law holds.

    >>> surplus({"in": 5, "out": 3, "quarantined": 1, "duplicates": 1})
    0
    """
    return counts.get("in", 0) - sum(counts.get(term, 0) for term in TERMS)


def reasons(counts: Mapping[str, int]) -> dict[str, int]:
    """Quarantined rows by reason code."""
    return {key.removeprefix(REASON): rows for key, rows in counts.items() if key.startswith(REASON)}


def holds(counts: Mapping[str, int]) -> bool:
    """True if the terms add up, and the reasons add up to what was quarantined."""
    by_reason = reasons(counts)
    return surplus(counts) == 0 and (not by_reason or sum(by_reason.values()) == counts.get("quarantined", 0))


def total(many: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """The terms of many days added up."""
    added: dict[str, int] = {}
    for counts in many:
        for key, rows in counts.items():
            added[key] = added.get(key, 0) + rows
    return added


def check(step: str, name: str, by_day: Mapping[str, Mapping[str, int]]) -> None:
    """Refuse to publish table `name` if the law is broken on any day; the refusal names the days."""
    broken = [day for day, counts in sorted(by_day.items()) if not holds(counts)]
    if broken:
        first = by_day[broken[0]]
        raise Refused(
            f"{step} broke the counting law for {name}: {first.get('in', 0)} rows in, "
            f"{sum(first.get(term, 0) for term in TERMS)} accounted for on {broken[0]}",
            where=f"{len(broken)} of {len(by_day)} days: {', '.join(broken[:5])}",
            do="nothing was published; run the step again, and report it if it happens again",
        )
