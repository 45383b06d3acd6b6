"""Attacks on the tables of the safe zone: who can be found again. Each is shown to work by a canary it must catch.

Two attacks, pure functions of tables, seeded:

`linkage`: an attacker holds the quasi-identifiers of people as the shop has them, and the hierarchies, and
looks for each person's row among the visitors. Gated wherever visitors are written: at most 1/k.

`uniqueness`: an attacker has seen a person m times (an item on a day each) and looks for the one
pseudonym whose history holds all m (de Montjoye 2013, 2015). A history is what the shop is for, so in the safe zone
this is reported; `gate_export` stands before histories that leave the house.

Where they end: linkage knows what the columns tell and no history; uniqueness has points that are true and exact,
and no one who knows more than four. Nothing here names a visitor: figures, counts and sizes only.
"""

import argparse
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from jobs.console import Problem, Refused, grid, narrate, say
from jobs.generalising import ANY, Counts, Group, K, generalise, top
from jobs.generalising_policy import quasi
from jobs.pseudonyms import Key, load_key, pseudonym
from jobs.tables import table
from jobs.warehouse import Warehouse, home, warehouse, write_atomically

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

Ints = NDArray[np.int64]
SAMPLE = 1_000
"""Visitors whose row a linkage attack looks for."""
HISTORIES = 10_000
"""Visitors whose history a uniqueness attack draws points from."""
POINTS = (1, 2, 3, 4)
EXPORT_LIMIT = 0.05
"""The share of visitors that four points may single out in histories that leave the house: the interval's upper end."""
CANARY = "canary"


# Linkage --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Linkage:
    """What the attacker finds. Expected shares of right links, the attacker drawing one of the rows that fit best.

    `figure` is that of the person who is found most easily, and what is limited: at most `limit`, 1/k.
    `prosecutor` is the mean over `published` targets, who are known to be in the table; `journalist` over all
    `targets`, of whom some are not (El Emam 2008). `exceeding` targets are above the limit.
    """

    figure: float
    limit: float
    passed: bool
    prosecutor: float
    journalist: float
    targets: int
    published: int
    exceeding: int
    canary: Mapping[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """As marks and reports hold it."""
        return {**asdict(self), "canary": dict(self.canary)}


def coarseness(column: str, known: str | None, values: Sequence[str]) -> Ints:
    """For each published value the finest level at which it describes a person; -1 if it describes someone else.

    The attacker is not told the levels, so a row that was published in more detail than others stands out.

    >>> coarseness("age", "45-54", ["35-54", "45-54", "55+", "*"]).tolist()
    [1, 0, -1, 3]
    """
    finest = {generalise(column, known, level): level for level in range(top(column), -1, -1)}
    return np.array([finest.get(value, -1) for value in values], dtype=np.int64)


def successes(
    columns: Sequence[str], targets: Sequence[tuple[Sequence[str | None], Group | None]], groups: Counts
) -> list[float]:
    """For each target (what is known of them; the group in which their row really stands, or None) the probability
    that a row drawn from those that fit best, in the levels of all columns added up, is theirs."""
    listed = sorted(groups)
    place = {group: n for n, group in enumerate(listed)}
    sizes = np.array([groups[group] for group in listed], dtype=np.int64)
    coded = [
        np.unique(np.array([g[i] for g in listed], dtype=object), return_inverse=True) for i in range(len(columns))
    ]

    def best(known: Sequence[str | None]) -> Ints:
        fits = np.zeros(len(listed), dtype=np.int64)
        for column, value, (values, codes) in zip(columns, known, coded, strict=True):
            level = coarseness(column, value, list(values))[codes]
            fits = np.where((fits < 0) | (level < 0), -1, fits + level)
        possible = fits[fits >= 0]
        return np.flatnonzero(fits == possible.min()) if len(possible) else np.empty(0, dtype=np.int64)

    found = {known: best(known) for known in {tuple(known) for known, _ in targets}} if listed else {}
    return [
        1 / int(sizes[rows].sum()) if real is not None and place[real] in rows else 0.0
        for known, real in targets
        for rows in [found.get(tuple(known), ())]
    ]


def planted(
    columns: Sequence[str], known: Sequence[str | None], groups: Counts
) -> tuple[tuple[Group, Group], dict[Group, int]]:
    """The canary of `linkage`: a person like `known`, but for one value that nobody else has, published as they are.

    The value is of a column that the table shows least of, so that the canary's row lies among many that fit it.
    """
    hidden = [sum(rows for group, rows in groups.items() if group[i] == ANY) for i in range(len(columns))]
    at = max(range(len(columns)), key=hidden.__getitem__)
    own = tuple(CANARY if i == at else generalise(c, known[i], 0) for i, c in enumerate(columns))
    return (own, own), {**groups, own: 1}


def linkage(
    columns: Sequence[str],
    targets: Sequence[tuple[Sequence[str | None], Group | None]],
    groups: Counts,
    k: int,
) -> Linkage:
    """Look for every target among the rows of `groups` (rows by combination of published values).

    A target is what the attacker knows, and the group in which the person's row really stands: None if it was
    suppressed. A canary is planted and attacked in the same way; `Refused` if it is not found, since then the
    figures prove nothing.
    """
    hits = successes(columns, targets, groups)
    shown = [hit for hit, (_, real) in zip(hits, targets, strict=True) if real is not None]
    who, with_canary = planted(columns, targets[0][0] if targets else [None] * len(columns), groups)
    caught = successes(columns, [who], with_canary)[0]
    limit = 1 / k
    if caught <= limit:
        raise not_caught("linkage", f"found with probability {caught:.3f}")
    worst = max(hits, default=0.0)
    return Linkage(
        figure=worst,
        limit=limit,
        passed=worst <= limit + 1e-12,
        prosecutor=float(np.mean(shown)) if shown else 0.0,
        journalist=float(np.mean(hits)) if hits else 0.0,
        targets=len(targets),
        published=len(shown),
        exceeding=sum(hit > limit + 1e-12 for hit in hits),
        canary={"figure": caught, "caught": True},
    )


def not_caught(attack: str, why: str) -> Refused:
    """The refusal of an attack that is blind."""
    return Refused(
        f"the attack '{attack}' did not catch its canary ({why}), so its figures prove nothing",
        where="jobs/attacks.py",
        do="nothing was published on the strength of it; mend the attack first",
    )


def sample(ids: Sequence[str], count: int, seed: int) -> list[str]:
    """At most `count` of the ids, the same ones for the same seed."""
    ordered = sorted(ids)
    if len(ordered) <= count:
        return ordered
    return [ordered[n] for n in sorted(np.random.default_rng(seed).choice(len(ordered), count, replace=False))]


# Uniqueness of histories ----------------------------------------------------------------------


@dataclass(frozen=True)
class Share:
    """Of `visitors` with at least `points` points, the share that so many random ones of their own single out."""

    points: int
    visitors: int
    figure: float
    low: float
    high: float


@dataclass(frozen=True)
class Uniqueness:
    """Shares by number of points, and what the attack made of its canaries."""

    shares: tuple[Share, ...]
    canary: Mapping[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """As reports hold it."""
        return {"shares": [asdict(share) for share in self.shares], "canary": dict(self.canary)}


def wilson(hits: int, of: int, level: float = 0.95) -> tuple[float, float]:
    """The interval of a share (Wilson 1927).

    >>> tuple(round(end, 3) for end in wilson(0, 10))
    (0.0, 0.278)
    """
    if not of:
        return 0.0, 1.0
    z = NormalDist().inv_cdf((1 + level) / 2)
    share, spread = hits / of, z * z / of
    middle = share + spread / 2
    half = z * math.sqrt(share * (1 - share) / of + spread / of / 4)
    return max(0.0, (middle - half) / (1 + spread)), min(1.0, (middle + half) / (1 + spread))


def canaries() -> "pa.Table":
    """Three visitors to be planted: one with items of their own, whom one point finds, and two who did just the same
    with others, whom none does. Nobody else is touched."""
    import pyarrow as pa

    rows = [
        {"visitor": visitor, "item_id": f"{CANARY}-{items}-{n}", "day": f"{CANARY}-{n}"}
        for visitor, items in ((f"{CANARY}-own", "own"), (f"{CANARY}-one", "both"), (f"{CANARY}-other", "both"))
        for n in range(max(POINTS))
    ]
    return pa.Table.from_pylist(rows)


_ALIKE = f"""
WITH points AS (SELECT DISTINCT item_id, day FROM _drawn),
holders AS (SELECT DISTINCT item_id, day, visitor FROM _events SEMI JOIN points USING (item_id, day)),
alike AS (SELECT who, visitor, sum(1 << nth) AS has FROM _drawn JOIN holders USING (item_id, day) GROUP BY ALL),
drawn AS (SELECT who, count(*) AS points FROM _drawn GROUP BY who)
SELECT any_value(_chosen.visitor), any_value(points),
  {", ".join(f"count_if(has & {2**m - 1} = {2**m - 1})" for m in POINTS)}
FROM alike JOIN drawn USING (who) JOIN _chosen USING (who) GROUP BY who
"""  # noqa: S608
"""Who was attacked, how many points were drawn of them, and how many visitors have the first 1, 2, 3, 4 of these."""


def uniqueness(
    live: "duckdb.DuckDBPyConnection", events: str, *, seed: int = 1, visitors: int = HISTORIES
) -> Uniqueness:
    """How many visitors of the view `events` (visitor, item_id, day) are singled out by 1 to 4 points of their own.

    A point is an item on a day, drawn at random from a visitor's distinct ones; a visitor is singled out if no other's
    history holds them all. At most `visitors` visitors are attacked. Python holds their points; who else holds those
    that were drawn is DuckDB's, which spills. Intervals: Wilson, 95 %, over visitors. `Refused` if a canary is missed.
    """
    import pyarrow as pa

    live.register("_canaries", canaries())
    live.execute(
        f"CREATE OR REPLACE TEMP VIEW _events AS SELECT visitor, item_id, day::varchar AS day FROM {events} "  # noqa: S608
        "UNION ALL SELECT * FROM _canaries"
    )
    people = live.sql("SELECT DISTINCT visitor FROM _events ANTI JOIN _canaries USING (visitor)").fetchall()
    planted_ones = set(canaries()["visitor"].to_pylist())
    chosen = sample([visitor for (visitor,) in people], visitors, seed) + sorted(planted_ones)
    live.register("_chosen", pa.table({"visitor": chosen, "who": range(len(chosen))}))
    own = live.sql(
        "SELECT DISTINCT who, item_id, day FROM _events JOIN _chosen USING (visitor) ORDER BY who, item_id, day"
    ).to_arrow_table()
    at, nth = _draw(own["who"].to_numpy(), seed)
    live.register("_drawn", own.take(pa.array(at)).append_column("nth", pa.array(nth)))
    found = live.sql(_ALIKE).fetchall()
    for view in ("_canaries", "_chosen", "_drawn"):
        live.unregister(view)
    canary = _canaries_found({visitor: alike for visitor, _, *alike in found if visitor in planted_ones})
    real = [(points, alike) for visitor, points, *alike in found if visitor not in planted_ones]
    return Uniqueness(tuple(_share(m, [alike[m - 1] for points, alike in real if points >= m]) for m in POINTS), canary)


def _share(points: int, alike: Sequence[int]) -> Share:
    """Of visitors, each with the number of those who have the same points, those who are alone."""
    alone = sum(number == 1 for number in alike)
    return Share(points, len(alike), alone / len(alike) if alike else 0.0, *wilson(alone, len(alike)))


def _draw(owner: Ints, seed: int) -> tuple[Ints, Ints]:
    """Of rows grouped by owner, at most four random rows of each; and from 0 as the how many-th each was drawn."""
    starts = np.flatnonzero(np.diff(owner, prepend=-1))
    sizes = np.diff(np.append(starts, len(owner)))
    random = np.random.default_rng(seed)
    drawn = [
        start + random.choice(size, min(max(POINTS), size), replace=False)
        for start, size in zip(starts, sizes, strict=True)
    ]
    nth = [np.arange(len(rows)) for rows in drawn]
    return np.concatenate(drawn).astype(np.int64), np.concatenate(nth).astype(np.int64)


def _canaries_found(alike: Mapping[str, Sequence[int]]) -> dict[str, Any]:
    """What the attack says of the planted visitors, by number of points; `Refused` if it is not what is true."""
    own, one, other = (alike.get(f"{CANARY}-{name}", []) for name in ("own", "one", "other"))
    if list(own) != [1] * len(POINTS):
        raise not_caught("uniqueness", "a visitor with items of their own was not singled out")
    if list(one) != [2] * len(POINTS) or list(other) != [2] * len(POINTS):
        raise not_caught("uniqueness", "one of two visitors who did the same was singled out")
    return {"own_item_singled_out": True, "twins_singled_out": False, "caught": True}


def gate_export(found: Uniqueness, *, points: int = max(POINTS), limit: float = EXPORT_LIMIT) -> Share:
    """Let histories leave the house, or raise `Refused`: `points` points may single out at most `limit` of visitors.

    What is compared is the upper end of the interval: few visitors are no evidence of few singled out.
    """
    share = next(share for share in found.shares if share.points == points)
    if share.high > limit:
        raise Refused(
            f"{points} points single out {share.figure:.1%} of the visitors (up to {share.high:.1%}): "
            f"more than {limit:.1%}",
            where=f"histories of {share.visitors:,} visitors",
            do="nothing may leave the house as it is: coarsen days to months and items to categories, or export counts",
        )
    return share


# The command ----------------------------------------------------------------------------------


def published_groups(files: Sequence[Any], columns: Sequence[str]) -> dict[Group, int]:
    """Rows of safe visitors by combination of values, counted from the files."""
    import pyarrow.parquet as pq

    if not files:
        return {}
    found = pq.read_table([str(file) for file in files], columns=list(columns), partitioning=None)
    counted = found.group_by(list(columns)).aggregate([([], "count_all")]).to_pylist()
    return {tuple(row[c] for c in columns): row["count_all"] for row in counted}


def known_of(files: Sequence[Any], columns: Sequence[str], count: int, seed: int) -> dict[str, tuple[str | None, ...]]:
    """What an attacker knows of a seeded sample of the clean visitors: their quasi-identifiers, by the shop's id."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    if not files:
        return {}
    people = pq.read_table([str(file) for file in files], columns=["visitor_id", *columns], partitioning=None)
    chosen = sample(people["visitor_id"].to_pylist(), count, seed)
    rows = people.filter(pc.is_in(people["visitor_id"], pa.array(chosen, pa.string()))).to_pylist()
    return {
        row["visitor_id"]: tuple(row[c] for c in columns) for row in sorted(rows, key=lambda r: str(r["visitor_id"]))
    }


def linkage_of(
    clean: Sequence[Any], safe: Sequence[Any], columns: Sequence[str], k: int, key: Key, *, seed: int = 1
) -> Linkage:
    """The linkage attack on visitors as written: `clean` and `safe` are files, of which the attacker has the second and
    knows a sample of the first. The key serves to tell whether a link is right; the attacker has none."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    known = known_of(clean, columns, SAMPLE, seed)
    name = {pseudonym(key, id): id for id in known}
    real: dict[str, Group] = {}
    if safe:
        table = pq.read_table([str(file) for file in safe], columns=["visitor", *columns], partitioning=None)
        theirs = table.filter(pc.is_in(table["visitor"], pa.array(sorted(name), pa.string())))
        real = {name[row["visitor"]]: tuple(row[c] for c in columns) for row in theirs.to_pylist()}
    groups = published_groups(safe, columns)
    if known and groups and not real:
        raise Refused(
            f"linkage: none of the {len(known)} visitors attacked stands in the table, so no link can be judged",
            where=str(safe[0]),
            do="if the pseudonym key was rotated, run 'python -m jobs anonymise --stale' and 'validate' first",
        )
    return linkage(columns, [(values, real.get(id)) for id, values in known.items()], groups, k)


def demand(found: Linkage, where: str) -> Linkage:
    """The attack's result, or `Refused` if somebody is found more often than 1/k."""
    if not found.passed:
        raise Refused(
            f"linkage: {found.exceeding} of {found.targets} visitors attacked are found with more than the "
            f"{found.limit:.3f} allowed, one with {found.figure:.3f}",
            where=where,
            do="nothing was proposed; look at the levels with 'python -m jobs policy', and at rows written below k",
        )
    return found


def run(args: argparse.Namespace) -> int:
    """`python -m jobs attack`: both attacks on what safe has published, as a table and as reports/attacks.json."""
    from jobs.duck import engine

    house = warehouse(args.shop)
    report: dict[str, Any] = {"shop": args.shop}
    rows: list[list[Any]] = []
    people = house.marks("safe", "visitors")
    if people:
        columns, k = quasi(table("clean", "visitors")), int(people[0].notes.get("k_wanted", K))
        with narrate("linkage"):
            clean = house.files(house.require("clean", "visitors", step="clean"))
            found = linkage_of(clean, house.files(people), columns, k, load_key(args.shop))
        report["linkage"] = {"of": [mark.name for mark in people], **found.as_dict()}
        for name, what, figure in (
            ("easiest person", f"of {found.targets:,} visitors", found.figure),
            ("prosecutor", f"mean of {found.published:,} known to be there", found.prosecutor),
            ("journalist", f"mean of all {found.targets:,}", found.journalist),
        ):
            limit = found.limit if name == "easiest person" else None
            rows.append(["linkage", f"{name}, {what}", figure, "-", limit, found.canary["caught"]])
    for kind in kinds_of(house):
        marks = house.marks("safe", "interactions")
        listed = [str(file) for file in house.files(mark for mark in marks if mark.rows)]
        with narrate(f"uniqueness of histories ({kind})"), engine() as live:
            live.read_parquet(listed, hive_partitioning=False).filter(f"kind = '{kind}'").create_view("events")
            unique = uniqueness(live, "events")
        report.setdefault("uniqueness", {})[kind] = {"rows": sum(mark.rows for mark in marks), **unique.as_dict()}
        for share in unique.shares:
            told = f"{share.points} points of {kind}, {share.visitors:,} visitors"
            span = f"{share.low:.4f} to {share.high:.4f}"
            rows.append(["uniqueness", told, share.figure, span, None, unique.canary["caught"]])
    if not rows and house.marks("safe", "items"):
        print("nobody visits this shop, as far as safe says: there is nobody to be found")
        return 0
    if not rows:
        raise Problem(
            f"shop '{args.shop}' has nothing published in the safe zone to attack",
            where=str(house.root / "safe"),
            do=f"run 'python -m jobs validate --shop {args.shop}' first",
        )
    path = home() / args.shop / "reports" / "attacks.json"
    write_atomically(path, json.dumps(report, indent=1, sort_keys=True) + "\n")
    print(grid(["attack", "on", "found", "95 %", "limit", "canary caught"], rows))
    say(f"Histories in the safe zone are reported, not limited; what leaves the house may have {EXPORT_LIMIT:.0%}.")
    say(f"Where: {path}")
    if people:
        demand(found, str(house.folder("safe", "visitors")))
    say(f"Next: python -m jobs policy --shop {args.shop}")
    return 0


def kinds_of(house: Warehouse) -> list[str]:
    """Which points an attacker may have: purchases, or, in a shop that has none, whatever kind is the most frequent."""
    from jobs.duck import engine

    files = [str(f) for f in house.files(mark for mark in house.marks("safe", "interactions") if mark.rows)]
    if not files:
        return []
    with engine() as live:
        rows = live.read_parquet(files, hive_partitioning=False)
        counts = dict(rows.aggregate("kind, count(*)", "kind").fetchall())
        del rows
    return ["purchase"] if "purchase" in counts else [max(sorted(counts), key=counts.__getitem__)]
