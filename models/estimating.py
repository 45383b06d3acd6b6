"""`python -m models off-policy`: what other policies would have earned, from the published log and its propensities.

Which policies: every item equally often (`uniform`), and for searches the order of the champion and of the candidate,
each on the items that were at hand. A bundle that has learnt is estimated on what was shown after it learnt, for it has
seen the clicks before. Written to SHOP/reports/off-policy.json and .html; nothing but the page and figures is kept.
"""

import argparse
import json
from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any

from jobs.console import Problem, Refused, grid, narrate, say
from jobs.warehouse import Warehouse, code_version, home, up_to, warehouse, write_atomically
from models import promotions, registry
from models.evaluation import off_policy_page as pages
from models.evaluation.logged import Order, Shown, known, ordered, read, uniform
from models.evaluation.off_policy import ESTIMATORS, Target, beside, estimated
from models.statistics import Interval, bootstrap_mean

if TYPE_CHECKING:
    from models.bundle import Bundle

LEVEL = 0.95
TABLES = ("rankings", "searches", "interactions")
DEEP = 100


def run(args: argparse.Namespace) -> None:
    """Estimate every policy on every surface of the log; `Refused` where the log's own numbers are wrong."""
    report = evaluated(args.shop, args.log, args.beside)
    path = home() / args.shop / "reports" / "off-policy.json"
    write_atomically(path, json.dumps(report, indent=1, sort_keys=True, ensure_ascii=False) + "\n")
    write_atomically(path.with_suffix(".html"), pages.page(report))
    print(told(report))
    found = [(surface, name, one) for surface, about in report["surfaces"].items()
             for name, one in about["policies"].items()]  # fmt: skip
    for surface, name, one in found:
        for why in one["why"]:
            print(f"nothing is concluded of {name} on {surface}: {why}")
    print(f"report: {path.with_suffix('.html')}")
    if found and not any(one["estimates"] for _, _, one in found):
        raise Refused("the log's numbers are wrong, so nothing was estimated", where=str(path),
                      do="see what writes 'propensity' into the rankings")  # fmt: skip
    print(f"next: python -m models list --shop {args.shop}")


def evaluated(shop: str, log: str | None = None, own: str | None = None) -> dict[str, Any]:
    """The report: estimates by surface and policy. `log` and `own` begin the ids of rankings (before the first `-`):
    which log is read, and which one `uniform` itself made, to be compared with its estimate."""
    house = warehouse(shop)
    with narrate("the log"):
        found = read(house, log)
        truth = read(house, own) if own else {}
    if not found or (own and not truth):
        raise Problem(f"shop '{shop}' has no rankings whose id begins with '{log if not found else own}-'",
                      where=str(house.folder("safe", "rankings")), do="say another log, or none")  # fmt: skip
    surfaces = {}
    for surface, of in found.items():
        skipped: dict[str, str] = {}
        policies = {}
        for name, part, target, since in _targets(shop, surface, of, skipped):
            with narrate(f"{name} on {surface}, {len(part.log):,} rows"):
                policies[name] = {
                    **estimated(part.log, target, level=LEVEL),
                    "known": known(home() / shop, part, target),
                    "since": since.date().isoformat() if since else None,
                }
            if name == "uniform" and surface in truth and policies[name]["estimates"]:
                policies[name] |= _beside(policies[name], truth[surface], str(own))
        surfaces[surface] = {"left_out": dict(of.left_out), "policies": policies, "not_estimated": skipped}
    return {"shop": shop, "log": log, "level": LEVEL, "surfaces": surfaces, "data": _data(house),
            "code": code_version()}  # fmt: skip


def _beside(found: dict[str, Any], of: Shown, name: str) -> dict[str, Any]:
    """The mean of the policy's own log, and how far each estimate is from it."""
    own = mean_of(of)
    return {"own": {"log": name, **own.as_dict()}, "beside": beside(found["estimates"], own)}


def mean_of(of: Shown) -> Interval:
    """Clicks a ranking of a log as it is, with an interval over visitors."""
    import numpy as np

    _, first = np.unique(of.log.ranking, return_index=True)
    return bootstrap_mean(
        np.bincount(of.log.ranking, of.log.reward), clusters=of.log.visitor[first].tolist(), level=LEVEL
    )


def _data(house: Warehouse) -> list[str]:
    """One name for all days of each table that was read."""
    names = (up_to("safe", [name], house.marks("safe", name)) for name in TABLES)
    return [named[max(named)] for named in names if named]


def _targets(
    shop: str, surface: str, of: Shown, skipped: dict[str, str]
) -> Iterator[tuple[str, Shown, Target, datetime | None]]:
    """Each policy: its name, the part of the log that it is estimated on, what it shows, and since when."""
    yield "uniform", of, uniform(of), None
    if surface != "search" or of.impressions:
        return
    bundles = {"champion": promotions.champion(shop, "search"), "candidate": registry.candidate(shop, "search")}
    orders = _orders(shop, bundles["candidate"], bundles["champion"]) if any(bundles.values()) else {}
    for role, bundle in bundles.items():
        if bundle is None:
            continue
        since, learnt = learnt_until(warehouse(shop), bundle)
        part = of.since(since)
        if learnt and since is None:
            skipped[role] = "what it learnt from was replaced, so nobody knows which clicks it has seen"
        elif not len(part.log):
            skipped[role] = "nothing was shown since it learnt"
        else:
            yield role, part, ordered(part, orders[role]), since


def learnt_until(house: Warehouse, bundle: "Bundle") -> tuple[datetime | None, bool]:
    """From when on a bundle knows no click, and whether it has learnt from any at all."""
    if bundle.settings.get("training") is None:
        return None, False
    marks = [house.find(name) for name in bundle.data if name.startswith("examples/encoder/")]
    cutoffs = [at for mark in marks if mark for split, at in mark.notes.get("cutoffs", ()) if split == "test"]
    return (datetime.fromisoformat(max(cutoffs)) if cutoffs else None), True


def _orders(shop: str, candidate: "Bundle | None", champion: "Bundle | None") -> dict[str, Order]:
    """The order of each bundle's answer to a query, as evaluation opens bundles."""
    from models.evaluation import searching
    from models.retrieval.indexing import catalogue

    of = catalogue(shop)
    items: dict[int, list[str]] = {}
    for item, row in of.rows_by_id().items():
        items.setdefault(row, []).append(item)

    def order(finder: Any) -> Order:
        return lambda query: {
            item: place for place, found in enumerate(finder.find(query, DEEP)) for item in items[found.row]
        }

    with narrate("the bundles"):
        systems = searching.systems(shop, of, candidate, champion)
    return {role: order(systems[role]) for role in ("champion", "candidate") if role in systems}


def told(report: dict[str, Any]) -> str:
    """The table of estimates, one line each."""
    rows = []
    for surface, about in report["surfaces"].items():
        for role, why in about["not_estimated"].items():
            say(f"{role} on {surface} is not estimated: {why}")
        for name, found in about["policies"].items():
            if not found["estimates"]:
                continue
            logged, true = found["logged"], (found["known"] or {}).get("value")
            rows.append(
                [surface, name, "logged", *(logged[end] for end in ("mean", "low", "high")), None, None, None, None]
            )
            for estimator in ESTIMATORS:
                value, apart = (found["estimates"][estimator][of] for of in ("value", "difference"))
                rows.append([surface, name, estimator, value["mean"], value["low"], value["high"], apart["low"],
                             apart["high"], found["ess"], true])  # fmt: skip
    heads = [
        "surface",
        "policy",
        "estimate",
        "clicks a ranking",
        "low",
        "high",
        "difference low",
        "high",
        "ess",
        "true",
    ]
    return grid(heads, rows)
