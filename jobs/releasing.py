"""release: counts for outside the platform, with differentially private noise, paid from a budget that is written down.

The unit is the visitor: what is released would be about as likely without any one of them, by a factor of at most
e^epsilon (Dwork 2006; and up to delta, where the names of the counts are themselves visitors' words). So a visitor's
rows are bounded first: at most `rows` purchases, at most `queries` queries, chosen by a hash of their own rows alone.
Noise comes from OpenDP (discrete Laplace, exact arithmetic, the machine's secure randomness: no seed, on purpose).

The same release asked again gives the stored answer and costs nothing, so nobody averages the noise away; any other is
paid for, before it is drawn. Where the guarantee ends: what was released in one period and in the next adds up, as all
private releases do; the period says how fast, not how much in the end.

    $ENDCAP_HOME/SHOP/policy/release.json         what may be spent, written with the defaults at the first release
    $ENDCAP_HOME/SHOP/privacy/budget.jsonl        one line for each release that was paid, only ever added to
    $ENDCAP_HOME/SHOP/privacy/releases/ID.csv     what was released; ID.json says how
"""

import argparse
import csv
import fcntl
import hashlib
import io
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from jobs.console import Problem, Refused, Usage, grid, one_of, say
from jobs.events import normalised
from jobs.tables import LEAST_VISITORS
from jobs.warehouse import Mark, Warehouse, home, sync, warehouse, write_atomically

TABLES: Mapping[str, tuple[str, ...]] = {
    "purchases": ("month", "category", "purchases"),
    "searches": ("query", "visitors"),
}
"""What may be released, and the columns of it: purchases by month and category; visitors by query."""
PERIODS = {"year": 12, "quarter": 3, "month": 1}
SHOWN = 10
ROUNDING = 1e-9
"""The scale is so much larger than sensitivity / epsilon, that the loss never rounds to above epsilon."""


@dataclass(frozen=True)
class Policy:
    """What a shop may release. `epsilon` and `delta` are totals for each `period`; `rows` purchases and `queries`
    queries are the most that one visitor counts for in one release."""

    epsilon: str = "2"
    delta: str = "0.000001"
    period: str = "year"
    rows: int = 20
    queries: int = 5


def policy_file(shop: str) -> Path:
    """Where the policy lies."""
    return home() / shop / "policy" / "release.json"


def policy_of(shop: str) -> Policy:
    """The shop's policy; the defaults, written down, if there is none."""
    path = policy_file(shop)
    if not path.is_file():
        write_atomically(path, json.dumps(asdict(Policy()), indent=1) + "\n")
    try:
        found = Policy(**json.loads(path.read_text(encoding="utf-8")))
        one_of("period", found.period, PERIODS)
        if min(Decimal(found.epsilon), Decimal(found.delta)) < 0 or min(found.rows, found.queries) < 1:
            raise ValueError
    except (ValueError, TypeError, InvalidOperation):
        do = f"it holds {', '.join(asdict(Policy()))}; move it away to get the defaults"
        raise Problem("the policy of releases cannot be read", where=str(path), do=do) from None
    return found


# ---- the budget -----------------------------------------------------------------------------------

Row = dict[str, Any]


def period_of(policy: Policy, now: datetime) -> tuple[str, date]:
    """The name of the period of `now` (UTC), and the day on which the next one begins.

    >>> period_of(Policy(period="quarter"), datetime(2026, 11, 22, tzinfo=UTC))
    ('2026-10', datetime.date(2027, 1, 1))
    """
    months = PERIODS[policy.period]
    first = (now.month - 1) // months * months + 1
    after = first + months
    return f"{now.year}-{first:02d}", date(now.year + (after > 12), after - 12 * (after > 12), 1)


def spent(rows: Iterable[Row], period: str) -> tuple[Decimal, Decimal]:
    """Epsilon and delta that were paid in a period: basic composition, they add up (Dwork 2006)."""
    paid = [row for row in rows if row["period"] == period]
    return sum((Decimal(r["epsilon"]) for r in paid), Decimal()), sum((Decimal(r["delta"]) for r in paid), Decimal())


class Ledger:
    """The budget of one shop. Only ever added to; whoever pays holds the lock."""

    def __init__(self, shop: str) -> None:
        self.path = home() / shop / "privacy" / "budget.jsonl"

    @contextmanager
    def turn(self) -> Iterator[None]:
        """One payer at a time."""
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with (self.path.parent / ".lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def rows(self) -> list[Row]:
        """All that was paid, oldest first; a `Problem` for a line that cannot be read: nothing is taken to be free."""
        try:
            lines = self.path.read_text(encoding="utf-8").splitlines()
            return [json.loads(line) for line in lines]
        except FileNotFoundError:
            return []
        except ValueError:
            do = "restore it from a backup: what was spent must be known before more is released"
            raise Problem("the budget's ledger is damaged", where=str(self.path), do=do) from None

    def pay(self, policy: Policy, row: Row, now: datetime) -> Row:
        """Write down that a release is paid; `Refused` if it would exceed the period's budget. Holds `turn`."""
        period, renews = period_of(policy, now)
        epsilon, delta = spent(self.rows(), period)
        left = Decimal(policy.epsilon) - epsilon, Decimal(policy.delta) - delta
        if Decimal(row["epsilon"]) > left[0] or Decimal(row["delta"]) > left[1]:
            raise Refused(
                f"the budget does not reach: the release needs epsilon {row['epsilon']} and delta {row['delta']}, "
                f"left are {left[0]} and {left[1]} of {policy.epsilon} and {policy.delta} for this {policy.period}",
                where=str(self.path),
                do=f"ask for a smaller epsilon, or wait: the budget renews on {renews} (UTC)",
            )
        paid = {**row, "period": period, "at": now.isoformat(timespec="seconds")}
        handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(handle, (json.dumps(paid, sort_keys=True) + "\n").encode())
            os.fsync(handle)
        finally:
            os.close(handle)
        sync(self.path.parent)
        return paid


# ---- what is counted ------------------------------------------------------------------------------

PURCHASES = """
WITH bounded AS (
    SELECT visitor, item_id, event_time FROM interactions WHERE kind = 'purchase'
    QUALIFY row_number() OVER (PARTITION BY visitor ORDER BY md5(interaction_id), interaction_id) <= $most
)
SELECT strftime(event_time, '%Y-%m') AS month, coalesce(category, '(none)') AS category, count(*) AS n
FROM bounded LEFT JOIN (SELECT item_id, any_value(category) AS category FROM items GROUP BY item_id) USING (item_id)
GROUP BY ALL
"""
SEARCHES = """
WITH made AS (SELECT DISTINCT visitor, q FROM searches JOIN normal USING (query) WHERE q <> ''),
bounded AS (
    SELECT q FROM made QUALIFY row_number() OVER (PARTITION BY visitor ORDER BY md5(visitor || ' ' || q), q) <= $most
)
SELECT q, count(*) AS n FROM bounded GROUP BY q
"""


def months(first: date, last: date) -> list[str]:
    """The months from `first` to `last`, both included.

    >>> months(date(2016, 12, 31), date(2017, 2, 1))
    ['2016-12', '2017-01', '2017-02']
    """
    span = range(first.year * 12 + first.month - 1, last.year * 12 + last.month)
    return [f"{each // 12}-{each % 12 + 1:02d}" for each in span]


def cells(live: Any, span: Sequence[str], most: int) -> dict[tuple[str, str], int]:
    """Purchases of at most `most` rows a visitor, for every month asked for and every category of the catalogue.

    The cells are the catalogue's and the calendar's, never the visitors': one in which nothing was bought is a cell,
    too, and gets its noise. A purchase outside of them (of an item that is not in the catalogue) is none's.
    """
    named = [name for (name,) in live.execute("SELECT DISTINCT coalesce(category, '(none)') FROM items").fetchall()]
    counted = {(month, name): 0 for month in span for name in sorted({*named, "(none)"})}
    for month, category, count in live.execute(PURCHASES, {"most": most}).fetchall():
        if (month, category) in counted:
            counted[month, category] = count
    return counted


def queries(live: Any, most: int) -> dict[str, int]:
    """Visitors by query, of at most `most` queries a visitor. The names are visitors' words: for `noisy_names` only."""
    import pyarrow as pa

    texts = [text for (text,) in live.execute("SELECT DISTINCT query FROM searches WHERE query IS NOT NULL").fetchall()]
    live.register("normal", pa.table({"query": pa.array(texts, pa.string()),
                                      "q": pa.array([normalised(text) for text in texts], pa.string())}))  # fmt: skip
    return {query: int(count) for query, count in live.execute(SEARCHES, {"most": most}).fetchall()}


# ---- the noise ------------------------------------------------------------------------------------


def noisy(counts: Sequence[int], epsilon: float, most: int) -> list[int]:
    """Counts of a fixed list of cells with discrete Laplace noise of scale `most` / epsilon, below none cut to none.

    A visitor has at most `most` rows in all cells together: that is the sensitivity (L1).
    """
    import opendp.prelude as dp

    dp.enable_features("contrib")
    space = dp.vector_domain(dp.atom_domain(T=int)), dp.l1_distance(T=int)
    mechanism = dp.m.make_laplace(*space, scale=most / epsilon * (1 + ROUNDING))
    _holds(mechanism.map(most) <= epsilon)
    return [max(0, int(count)) for count in mechanism(list(counts))]


def noisy_names(counts: Mapping[str, int], epsilon: float, delta: float, most: int) -> tuple[dict[str, int], int]:
    """Those of the counts that are above a threshold with their noise, and the threshold.

    That a name is there at all tells of its visitors. One visitor's name passes the threshold with a probability below
    `delta` (Korolova 2009; Rogers 2023), and never below `LEAST_VISITORS`. A visitor adds 1 to at most `most` names.
    """
    import opendp.prelude as dp

    dp.enable_features("contrib")
    space = (dp.map_domain(dp.atom_domain(T=str), dp.atom_domain(T=int)),
             dp.l01inf_distance(dp.absolute_distance(T=int)))  # fmt: skip
    scale = most / epsilon * (1 + ROUNDING)

    def losses(threshold: int) -> tuple[float, float]:
        made = dp.m.make_laplace_threshold(*space, scale=scale, threshold=threshold).map((most, most, 1))
        return float(made[0]), float(made[1])

    low, high = LEAST_VISITORS - 1, LEAST_VISITORS
    while losses(high)[1] > delta:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if losses(middle)[1] <= delta else (middle, high)
    found = losses(high)
    _holds(found[0] <= epsilon and found[1] <= delta)
    mechanism = dp.m.make_laplace_threshold(*space, scale=scale, threshold=high)
    return {str(name): int(count) for name, count in mechanism(dict(counts)).items()}, high


def _holds(fine: bool) -> None:
    if not fine:
        raise Problem("the noise would not give the privacy that was paid for", do="report this: it is a fault")


# ---- the step -------------------------------------------------------------------------------------


def asked_of(words: str, name: str) -> Decimal:
    """A number above 0 of the command line."""
    try:
        value = Decimal(words)
    except InvalidOperation:
        value = Decimal(0)
    if not value.is_finite() or value <= 0:
        raise Usage(f"{name} '{words}' is not a number above 0", do=f"write it like {name} 0.5")
    return value


def text_of(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Rows as CSV."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([columns, *rows])
    return out.getvalue()


def drawn(house: Warehouse, marks: Mapping[str, list[Mark]], about: Row, span: Sequence[str]) -> tuple[str, Row]:
    """The released CSV, and what is told of how it was made."""
    from jobs.duck import engine_over

    epsilon, delta, most = float(about["epsilon"]), float(about["delta"]), int(about["most"])
    with engine_over(house, marks) as live:
        if about["table"] == "purchases":
            counted = cells(live, span, most)
            values = noisy(list(counted.values()), epsilon, most)
            rows: list[tuple[Any, ...]] = [(*cell, n) for cell, n in zip(counted, values, strict=True)]
            return text_of(TABLES["purchases"], rows), {"rows": len(rows), "noise_scale": most / epsilon}
        told, threshold = noisy_names(queries(live, most), epsilon, delta, most)
    rows = sorted(told.items(), key=lambda row: (-row[1], row[0]))
    return text_of(TABLES["searches"], rows), {
        "rows": len(rows), "noise_scale": most / epsilon, "threshold": threshold}  # fmt: skip


def released(
    house: Warehouse, name: str, first: date, last: date, epsilon: Decimal, now: datetime
) -> tuple[Path, Row, bool]:
    """The release's CSV file, what it cost and how it was made, and whether it was there already.

    Paid first, then drawn, then stored, all under the ledger's lock. Killed after paying, the next call draws what is
    paid for; nothing was seen of it.
    """
    policy, ledger = policy_of(house.shop), Ledger(house.shop)
    sources = {"purchases": ("interactions", "items"), "searches": ("searches",)}[name]
    span = first.isoformat(), last.isoformat()
    marks = {each: house.require("safe", each, *span, step="validate") for each in sources}
    about: Row = {
        "table": name, "first": first.isoformat(), "last": last.isoformat(), "epsilon": str(epsilon.normalize()),
        "delta": str(Decimal(policy.delta) / 10) if name == "searches" else "0",
        "most": policy.rows if name == "purchases" else policy.queries,
        "data": hashlib.sha256("\n".join(m.name for found in marks.values() for m in found).encode()).hexdigest()[:16],
    }  # fmt: skip
    about["release"] = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]
    path = ledger.path.parent / "releases" / f"{about['release']}.csv"
    with ledger.turn():
        paid = next((row for row in ledger.rows() if row["release"] == about["release"]), None)
        if paid is not None and path.is_file():
            return path, {**paid, **json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))}, True
        paid = paid or ledger.pay(policy, about, now)
        text, how = drawn(house, marks, about, months(first, last))
        write_atomically(path.with_suffix(".json"), json.dumps({**paid, **how}, indent=1, sort_keys=True) + "\n")
        write_atomically(path, text)
    return path, {**paid, **how}, False


def run(args: argparse.Namespace) -> int:
    """`python -m jobs release`: noisy counts for outside, paid from the budget."""
    house, now = warehouse(args.shop), datetime.now(UTC)
    epsilon = asked_of(args.epsilon, "--epsilon")
    source = "interactions" if args.table == "purchases" else "searches"
    have = house.days("safe", source)
    if not have:
        house.require("safe", source, step="validate")
    first, last = args.first or date.fromisoformat(have[0]), args.last or date.fromisoformat(have[-1])
    if first > last:
        raise Usage(f"--first {first} is after --last {last}", do="exchange them")
    path, about, again = released(house, args.table, first, last, epsilon, now)
    rows = list(csv.reader(path.read_text(encoding="utf-8").splitlines()))
    print(grid(rows[0], [(*row[:-1], int(row[-1])) for row in rows[1 : SHOWN + 1]]))
    more = f"{len(rows) - 1 - SHOWN:,} more rows. " if len(rows) > SHOWN + 1 else ""
    print(f"{more}A visitor counts for at most {about['most']}; noise of scale {about['noise_scale']:g}"
          + (f"; only what reaches {about['threshold']}" if "threshold" in about else ""))  # fmt: skip
    policy = policy_of(args.shop)
    period, renews = period_of(policy, now)
    used, _ = spent(Ledger(args.shop).rows(), period)
    cost = "asked before, so it cost nothing" if again else f"it cost epsilon {epsilon}, delta {about['delta']}"
    print(f"{cost}; left are {Decimal(policy.epsilon) - used} of {policy.epsilon} until {renews}")
    print(path)
    say(f"Next: python -m jobs privacy --shop {args.shop}   shows what was spent on what")
    return 0
