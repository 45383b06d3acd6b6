"""`python -m jobs features check`: how fresh the features are, and how far they drifted; exit 3 if there is an alarm.

Feast's own monitor counts (`jobs.feast_monitor`); it keeps figures of windows and compares none, so drift is said here:
the last week beside the four weeks before it, as the divergence of their shares between the earlier window's quantiles
(`jobs.profiles`). Bins of equal width, which Feast keeps too, would put a shop's many small counts into one.
"""

import argparse
import json
import logging
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

from jobs.console import Problem, Refused, grid, say
from jobs.expectations import DRIFT
from jobs.feature_store import REAL_TIME, SERVICES, alone, folder, store
from jobs.features import end_of_day, shop_now
from jobs.profiles import MANY, divergence
from jobs.warehouse import Warehouse, rows_of, warehouse, write_atomically

LATELY = 7
BEFORE = 28
LAG = timedelta(days=2)
"""A table whose newest value is so much older than the newest of all has stopped."""
LEVELS = (("min_val", 0.0), ("p50", 0.5), ("p75", 0.75), ("p90", 0.9), ("p95", 0.95), ("p99", 0.99), ("max_val", 1.0))
Metric = Mapping[str, Any]


@dataclass(frozen=True)
class Watched:
    """What is known of one feature: rows and empty values of the last week, drift against the weeks before."""

    view: str
    feature: str
    rows: int
    empty: int
    drift: float | None


@dataclass(frozen=True)
class Freshness:
    """Of one view: its newest value, how old it may be, and up to when the online store was brought."""

    view: str
    newest: str | None
    ttl: float
    online: str | None


def file_of(shop: str) -> Path:
    """What the last check found."""
    return folder(shop) / "watched.json"


# ---- drift ----------------------------------------------------------------------------------------


def below(metric: Metric, value: float) -> float:
    """The share of a feature's values that are at most `value`, from Feast's quantiles, straight between two of them.

    >>> of = {"min_val": 0, "p50": 0, "p75": 2, "p90": 4, "p95": 4, "p99": 8, "max_val": 10}
    >>> [below(of, value) for value in (-1, 0, 1, 4, 20)]
    [0.0, 0.5, 0.625, 0.95, 1.0]
    """
    points = [(float(metric[name]), level) for name, level in LEVELS if metric[name] is not None]
    left = [point for point in points if point[0] <= value]
    right = [point for point in points if point[0] > value]
    if not left or not right:
        return 1.0 if left else 0.0
    (low, share), (high, more) = left[-1], right[0]
    return share + (more - share) * (value - low) / (high - low)


def counts(metric: Metric, cuts: Sequence[float]) -> dict[str, float]:
    """Rows by interval between the cuts, and those without a value; by value for a feature of texts."""
    told, empty = metric["row_count"] - metric["null_count"], float(metric["null_count"])
    if metric["feature_type"] == "categorical":
        seen = metric["histogram"] or {"values": [], "other_count": 0}
        values = {f"={each['value']}": float(each["count"]) for each in seen["values"]}
        return {**values, "other": float(seen["other_count"]), "none": empty}
    shares = [0.0, *(below(metric, cut) for cut in cuts), 1.0]
    steps = {str(n): (b - a) * told for n, (a, b) in enumerate(pairwise(shares))}
    return {**steps, "none": empty}


def drift(now: Metric, before: Metric) -> float | None:
    """How far a feature's values of one window lie from those of an earlier one: 0 to 1, as `jobs.profiles` says it;
    None where either has fewer than 20 rows."""
    if min(now["row_count"], before["row_count"]) < MANY:
        return None
    cuts = sorted({float(before[name]) for name, _ in LEVELS if before.get(name) is not None})
    return divergence(counts(now, cuts), counts(before, cuts))


# ---- Feast's monitor ------------------------------------------------------------------------------


def monitored(live: Any, view: str, first: date, last: date, granularity: str) -> dict[str, Metric]:
    """Feast's figures of every feature of a view in a window of days; computed, kept and read by its own monitor.

    It logs what fails and calls itself completed; here that is a `Problem`.
    """
    from feast.monitoring.monitoring_service import MonitoringService

    monitor, faults = MonitoringService(live), list[logging.LogRecord]()
    logger, hears = logging.getLogger("feast.monitoring.monitoring_service"), _Heard(faults)
    logger.addHandler(hears)
    logger.propagate, passed = False, logger.propagate
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # pandas, of how the monitor adds rows to an empty file
            monitor.compute_metrics(live.project, view, start_date=first, end_date=last, granularity=granularity)
    finally:
        logger.removeHandler(hears)
        logger.propagate = passed
    if faults:
        kind = faults[0].exc_info[0] if faults[0].exc_info else None
        raise Problem(f"Feast's monitor failed on '{view}' ({kind.__name__ if kind else faults[0].msg})", where=view)
    told = monitor.get_feature_metrics(
        live.project, feature_view_name=view, granularity=granularity, start_date=first, end_date=first
    )
    return {metric["feature_name"]: metric for metric in told}


class _Heard(logging.Handler):
    """Keeps what is an error; that a kind of value is not counted is known."""

    def __init__(self, kept: list[logging.LogRecord]) -> None:
        super().__init__(logging.ERROR)
        self._kept = kept

    def emit(self, record: logging.LogRecord) -> None:
        self._kept.append(record)


def watched(live: Any, view: str, today: date) -> list[Watched]:
    """Every feature of a view that can be counted, by name."""
    split = today - timedelta(days=LATELY)
    now = monitored(live, view, split + timedelta(days=1), today, "weekly")
    before = monitored(live, view, split - timedelta(days=BEFORE - 1), split, "monthly")
    return [
        Watched(view, name, int(now[name]["row_count"]), int(now[name]["null_count"]), drift(now[name], before[name]))
        for name in sorted(now.keys() & before.keys())
    ]


# ---- freshness ------------------------------------------------------------------------------------


def table_of(view: Any) -> str:
    """The table of the stats zone that a view shows; several views may show columns of one."""
    return str(view.batch_source.path.partition("/")[2])


def freshness(house: Warehouse, view: Any) -> Freshness:
    """Of a view, from the marks of its table and the registry: no row is read."""
    newest = max((mark.day for mark in house.marks("stats", table_of(view)) if mark.rows), default=None)
    online = max((until for _, until in view.materialization_intervals), default=None)
    return Freshness(
        view.name,
        newest and end_of_day(date.fromisoformat(newest)).isoformat(),
        view.ttl / timedelta(days=1),
        online and online.astimezone(UTC).isoformat(),
    )


def late(fresh: Freshness, now: datetime) -> list[str]:
    """What is wrong with the age of a view's values, in words. A table without any says nothing of its age."""
    if fresh.newest is None or fresh.view in REAL_TIME:
        return []
    newest, reasons = datetime.fromisoformat(fresh.newest), []
    if now - newest > min(LAG, timedelta(days=fresh.ttl)):
        reasons.append(f"{fresh.view}: its newest value is {(now - newest).days} days older than the shop's data")
    if fresh.online is None or datetime.fromisoformat(fresh.online) < newest:
        until = f"knows it up to {fresh.online[:10]} only" if fresh.online else "does not know it"
        reasons.append(f"{fresh.view}: the online store {until}; run 'materialise'")
    return reasons


def drifted(each: Watched) -> str | None:
    """What is wrong with a feature's values, in words."""
    if each.drift is None or each.drift <= DRIFT["stop"]:
        return None
    return f"{each.view}:{each.feature}: its last week drifted {each.drift:.2f} from the four weeks before"


# ---- the command ----------------------------------------------------------------------------------


def check(shop: str, progress: Callable[[str], None] = say) -> dict[str, Any]:
    """Look at every view; what was found is kept for the catalogue, with the reasons for an alarm."""
    house, live, now = warehouse(shop), store(shop), shop_now(shop)
    names = dict.fromkeys(name for service in SERVICES.values() for name in service)
    views, features, reasons = [], list[Watched](), list[str]()
    with alone(shop):
        for name in names:
            began, view = time.monotonic(), live.get_feature_view(name)
            views.append(freshness(house, view))
            reasons += late(views[-1], now)
            if rows_of(house.marks("stats", table_of(view))):
                features += watched(live, name, now.date())
                progress(f"watched {name} in {time.monotonic() - began:.1f} s")
    reasons += [said for each in features if (said := drifted(each))]
    found = {
        "as_of": now.isoformat(),
        "views": [asdict(each) for each in views],
        "features": [asdict(each) for each in features],
        "reasons": reasons,
    }
    write_atomically(file_of(shop), json.dumps(found, indent=1) + "\n")
    return found


def last(shop: str) -> dict[str, Any]:
    """What the last check found; nothing if there was none."""
    try:
        found: dict[str, Any] = json.loads(file_of(shop).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {"views": [], "features": [], "reasons": []}
    return found


def run(args: argparse.Namespace) -> None:
    """Check, tell, and refuse if there is a reason to."""
    began, found = time.monotonic(), check(args.shop)
    worst: dict[str, tuple[float, str]] = {}
    for each in found["features"]:
        worst[each["view"]] = max(worst.get(each["view"], (-1.0, "-")), (each["drift"] or 0.0, each["feature"]))
    rows = [
        (v["view"], (v["newest"] or "-")[:10], (v["online"] or "-")[:10], f"{v['ttl']:g}", *reversed(worst[v["view"]]))
        if v["view"] in worst
        else (v["view"], (v["newest"] or "-")[:10], (v["online"] or "-")[:10], f"{v['ttl']:g}", "-", None)
        for v in found["views"]
    ]
    print(grid(("view", "newest", "online up to", "ttl (days)", "drifted most", "by"), rows))
    warned = [each for each in found["features"] if (each["drift"] or 0) > DRIFT["warn"]]
    from jobs.catalogue import write

    page = write(args.shop)
    print(f"{len(found['features'])} features in {time.monotonic() - began:.1f} s; {len(warned)} drifted above "
          f"{DRIFT['warn']}, the limit is {DRIFT['stop']}")  # fmt: skip
    print(f"the features' page: {page}")
    if found["reasons"]:
        raise Refused(
            "; ".join(found["reasons"][:5]),
            where=str(page),
            do=f"look at the page, and at 'python -m jobs features history FEATURE --shop {args.shop} ...'",
        )
    print(f"next: python -m jobs features describe FEATURE --shop {args.shop}")
