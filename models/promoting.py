"""`python -m models baseline | evaluate | promote | rollback | list`: from a candidate to a champion, or not.

The gate decides from the report alone. A refusal is a good end: it is recorded, says why, and the
champion goes on serving.
"""

import argparse
import hashlib
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jobs.console import Problem, grid, narrate, say
from jobs.warehouse import home, warehouse, write_atomically
from models import promotions, registry, tracking
from models.bundle import Bundle, bundles, open_bundle
from models.evaluation.gates import Verdict, gates, number

BUNDLES = ("search", "recommend")
TAGGED = ("mean", "low", "high")


def _evaluation(name: str) -> Any:
    """The module that judges a bundle: both have `baseline(shop)` and `evaluate(shop, candidate, champion)`."""
    if name == "search":
        from models.evaluation import searching

        return searching
    from models.evaluation import recommending

    return recommending


def report_file(shop: str, name: str) -> Path:
    """Where the last report of a bundle lies."""
    return home() / shop / "reports" / f"{name}.json"


def baseline(args: argparse.Namespace) -> None:
    """Register the untrained baseline. It serves if nothing does, or if an older baseline does."""
    shop, name = args.shop, args.bundle
    warehouse(shop)
    now = promotions.find_champion(shop, name) if _has_records(shop, name) else None
    with narrate(f"baseline of {name}"), tracking.run(shop, name, {"model": "baseline"}, step="baseline") as run:
        folder = _evaluation(name).baseline(shop)
        sealed = open_bundle(folder)
        run.artifact(folder / "bundle.json")
        run.tags({"endcap.data": ", ".join(sealed.data), "endcap.bundle": sealed.sha256})
        version = registry.register(shop, name, folder, run.id, {"model": "baseline"}, alias=None)
    kept = open_bundle(bundles(shop, name) / str(version))
    if now is None or _action(shop, name, now.bundle.version) == "baseline":
        verdict = {"accepted": True, "why": "the baseline serves first"}
        record = registry.promote(kept, verdict=verdict, action="baseline")
        state = f"champion, by record {record.sequence}"
    else:
        registry.tag(shop, name, version, {"verdict": "kept", "why": "a promoted champion serves"})
        state = f"registered; version {now.bundle.version} goes on serving"
    print(grid(["bundle", "version", "kind", "state"], [[f"{shop}.{name}", version, kept.kind, state]]))
    print(f"lies in {kept.folder}")
    print(f"next: python -m models train {'encoder' if name == 'search' else 'recommender'} --shop {shop}")


def _has_records(shop: str, name: str) -> bool:
    return (home() / shop / "promotions" / name).is_dir()


def _action(shop: str, name: str, version: int) -> str:
    """By which action a version first came to serve."""
    served = (r for r in promotions.records(shop, name)[0] if r.version == version and r.action in promotions.SERVING)
    return next((record.action for record in served), "")


def evaluate(args: argparse.Namespace) -> None:
    """Judge candidate and champion on the same data; write the report, its page and plot, and log them."""
    from models.evaluation import report as pages

    shop, name = args.shop, args.bundle
    warehouse(shop)
    candidate, champion = registry.candidate(shop, name), registry.champion(shop, name)
    if candidate is None and champion is None:
        raise Problem(f"{shop}.{name} has no candidate and no champion", where=str(bundles(shop, name)),
                      do=f"run 'python -m models baseline {name} --shop {shop}'")  # fmt: skip
    roles = {"candidate": candidate.version if candidate else "", "champion": champion.version if champion else ""}
    with narrate(f"evaluate {name}"), tracking.run(shop, name, roles, step="evaluate") as run:
        began = time.monotonic()
        report = _evaluation(name).evaluate(shop, candidate, champion)
        verdict = gates(report) if candidate and champion else None
        path = report_file(shop, name)
        write_atomically(path, json.dumps(report, indent=1, sort_keys=True, ensure_ascii=False, default=float) + "\n")
        write_atomically(path.with_suffix(".html"), pages.page(report, verdict))
        plot = pages.plot_png(report, path.with_suffix(".png"))
        for file in (path, path.with_suffix(".html"), plot):
            run.artifact(file)
        _log(run, report, verdict)
        say(f"  judged in {time.monotonic() - began:.0f} s")
        if candidate is not None:
            registry.tag(shop, name, candidate.version, _figures(report, "candidate"))
        if champion is not None and "champion" in report["systems"]:
            registry.tag(shop, name, champion.version, _figures(report, "champion"))
    print(systems(report))
    if verdict is not None:
        print(f"{'would be accepted' if verdict.accepted else 'would be refused'}: {verdict.why}")
    print(f"report: {path.with_suffix('.html')}")
    print(f"next: python -m models {'promote' if candidate else 'train'} {name if candidate else ''} --shop {shop}")


def systems(report: Mapping[str, Any]) -> str:
    """The table of systems, best first: the primary metric with its interval, then the other means."""
    primary, found = report["primary"], report["systems"]
    others = [m for m in dict.fromkeys(m for values in found.values() for m in values) if m != primary][:4]
    names = sorted(found, key=lambda system: (-found[system][primary]["mean"], system))
    rows = []
    for system in names:
        means = [(found[system].get(metric) or {}).get("mean") for metric in others]
        rows.append([system, *(found[system][primary][end] for end in TAGGED), *means])
    return grid(["system", primary, "low", "high", *others], rows)


def _figures(report: Mapping[str, Any], role: str) -> dict[str, Any]:
    """The primary metric of a version, as tags: numbers as text, since the registry knows no others."""
    values = report["systems"].get(role, {}).get(report["primary"], {})
    return {"metric": report["primary"], **{end: f"{values[end]:.5f}" for end in TAGGED if end in values}}


def _log(run: tracking.Run, report: Mapping[str, Any], verdict: Verdict | None) -> None:
    values = {
        f"{system.replace(' + ', '_').replace(' ', '_')}/{metric}": interval
        for system, metrics in report["systems"].items()
        for metric, interval in metrics.items()
    }
    if "paired" in report:
        values[f"paired/{report['paired']['metric']}"] = report["paired"]
    run.intervals(values)
    run.metrics({f"latency_ms/{name}": value for name, value in report.get("latency_ms", {}).items()})
    run.tags({"endcap.data": ", ".join(report.get("data", []))})
    if verdict is not None:
        run.tags({"verdict": "accepted" if verdict.accepted else "refused", "why": verdict.why})


def promote(args: argparse.Namespace) -> None:
    """Let the gate decide from the last report, which must be about this candidate and this champion."""
    shop, name = args.shop, args.bundle
    warehouse(shop)
    candidate = registry.candidate(shop, name)
    if candidate is None:
        print(f"{shop}.{name} has no candidate: nothing to decide")
        print(f"next: python -m models train {'encoder' if name == 'search' else 'recommender'} --shop {shop}")
        return
    champion = registry.champion(shop, name)
    text = _current_report(shop, name, candidate, champion)
    verdict, report = gates(json.loads(text)), hashlib.sha256(text).hexdigest()
    if verdict.accepted:
        record = registry.promote(candidate, report=report, verdict=verdict.as_dict())
    else:
        record = registry.refuse(candidate, report=report, verdict=verdict.as_dict())
    print(
        grid(["check", "passed", "figure", "limit"], [[c.name, c.passed, c.figure, c.limit] for c in verdict.reasons])
    )
    if verdict.accepted:
        print(f"promoted: version {candidate.version} of {shop}.{name} serves. {verdict.why}")
    else:
        serving = f"version {champion.version}" if champion else "nothing"
        print(f"refused: version {candidate.version} of {shop}.{name}; {serving} goes on serving. {verdict.why}")
    print(f"record {record.sequence}, signed; report {report_file(shop, name).with_suffix('.html')}")
    print(f"next: python -m models {'index' if name == 'search' else 'list'} --shop {shop}")


def _current_report(shop: str, name: str, candidate: Bundle, champion: Bundle | None) -> bytes:
    """The bytes of the report; `Problem` if there is none or it judged other bundles than stand now."""
    again = f"run 'python -m models evaluate {name} --shop {shop}'"
    path = report_file(shop, name)
    try:
        text = path.read_bytes()
        report = json.loads(text)
    except FileNotFoundError:
        raise Problem(
            f"candidate {candidate.version} of {shop}.{name} was not judged yet", where=str(path), do=again
        ) from None
    except ValueError:
        raise Problem("the report cannot be read", where=str(path), do=again) from None
    if champion is None:
        raise Problem(f"{shop}.{name} has no champion to be compared with",
                      do=f"run 'python -m models baseline {name} --shop {shop}', then evaluate again")  # fmt: skip
    for role, bundle in (("candidate", candidate), ("champion", champion)):
        judged = report.get(role) or {}
        if judged.get("version") != bundle.version or judged.get("sha256", bundle.sha256) != bundle.sha256:
            raise Problem(f"the report judged {role} {judged.get('version')}, but it is {bundle.version} now",
                          where=str(path), do=again)  # fmt: skip
    return text


def rollback(args: argparse.Namespace) -> None:
    """Let the champion before this one serve again, by a new signed record."""
    warehouse(args.shop)
    made, ended = registry.rollback(args.shop, args.bundle)
    print(grid(["bundle", "from version", "to version", "record"],
               [[f"{args.shop}.{args.bundle}", ended.version, made.version, made.sequence]]))  # fmt: skip
    print(f"next: python -m models {'index' if args.bundle == 'search' else 'list'} --shop {args.shop}")


def rows(shop: str) -> list[dict[str, Any]]:
    """Every version of every bundle: who serves by the signed records, who asks to by the registry's alias."""
    out = []
    for name in BUNDLES:
        serving = promotions.find_champion(shop, name) if _has_records(shop, name) else None
        for reason in serving.passed_over if serving else ():
            say(f"{shop}.{name}: passed over {reason}")
        for found in registry.versions(shop, name):
            tags, version = found["tags"], found["version"]
            champion = serving is not None and serving.bundle.version == version
            alias = "champion" if champion else "candidate" if "candidate" in found["aliases"] else None
            figures = {end: float(tags[end]) for end in TAGGED if end in tags}
            out.append({"bundle": f"{shop}.{name}", "version": version, "kind": tags.get("kind"), "alias": alias,
                        "metric": tags.get("metric"), **{end: number(figures, end) for end in TAGGED},
                        "verdict": tags.get("verdict"), "why": tags.get("why")})  # fmt: skip
    return out


def show(args: argparse.Namespace) -> None:
    """List the versions: as a table, or as JSON for programs."""
    warehouse(args.shop)
    found = rows(args.shop)
    if args.json:
        print(json.dumps(found))
        return
    if not found:
        raise Problem(
            f"shop '{args.shop}' has no models yet", do=f"run 'python -m models baseline recommend --shop {args.shop}'"
        )
    heads = ["bundle", "version", "kind", "alias", "metric", "mean", "low", "high", "verdict"]
    print(grid(heads, [[row[head] if head != "version" else str(row[head]) for head in heads] for row in found]))
    print(f"lies in {home() / args.shop / 'bundles'}; runs in {tracking.tracking_uri()}")
