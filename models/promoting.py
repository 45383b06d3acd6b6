"""`python -m models baseline | evaluate | promote | rollback`: from a candidate to a champion, or not.

The gate decides anew from the report alone; what the report may be, models/evidence.py says. A refusal is a good end:
it is recorded, says why, and the champion goes on serving. A decision is one signed record (models/promotions.py).
All that comes after it, MLflow's aliases and tags and the line of the models' book, is made good by the next command
if a kill, or an MLflow that is down, comes between.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from jobs.console import Problem, Refused, grid, narrate, say
from jobs.warehouse import home, warehouse, write_atomically
from models import audit, promotions, registry, reviewing, tracking
from models.bundle import Bundle, bundles, open_bundle
from models.evaluation.gates import Verdict, gates, level
from models.evaluation.policy import load
from models.evidence import current, finished, keep, report_file, tries

__all__ = ["BUNDLES", "TAGGED", "baseline", "evaluate", "promote", "rollback", "tries"]

BUNDLES = ("search", "recommend")
TAGGED = ("mean", "low", "high")
MODEL: Mapping[str, str] = {"search": "encoder", "recommend": "recommender"}
"""What is trained for each bundle."""
WOULD: Mapping[str, str] = {
    "accept": "would be accepted", "ask": "a person would be asked", "refuse": "would be refused",
}  # fmt: skip
FEATURES: Mapping[str, list[str]] = {"search": [], "recommend": ["recommender", "items"]}
"""Which services of features a bundle looks up when it answers."""


def _evaluation(name: str) -> Any:
    """The module that judges a bundle: both have `baseline(shop)` and `evaluate(shop, candidate, champion)`."""
    if name == "search":
        from models.evaluation import searching

        return searching
    from models.evaluation import recommending

    return recommending


def prepare(args: argparse.Namespace) -> None:
    """What the first baseline would wait for, and no data is needed for: MLflow's tables, and the untrained encoder."""
    from models.evaluation.searching import untrained

    tracking.client()
    untrained(args.shop)


def baseline(args: argparse.Namespace) -> None:
    """Register the untrained baseline. It serves if nothing does, or if an older baseline does."""
    shop, name = args.shop, args.bundle
    warehouse(shop)
    now = promotions.find_champion(shop, name) if has_records(shop, name) else None
    with narrate(f"baseline of {name}"), tracking.run(shop, name, {"model": "baseline"}, step="baseline") as run:
        folder = _evaluation(name).baseline(shop)
        sealed = open_bundle(folder)
        run.artifact(folder / "bundle.json")
        run.tags({"endcap.data": ", ".join(sealed.data), "endcap.bundle": sealed.sha256})
        version = registry.register(shop, name, folder, run.id, {"model": "baseline"}, alias=None)
    kept = open_bundle(bundles(shop, name) / str(version))
    if now is None or _action(shop, name, now.bundle.version) == "baseline":
        verdict = {"accepted": True, "why": "the baseline serves first"}
        with promotions.deciding(shop, name):
            record = registry.promote(kept, verdict=verdict, action="baseline", audit=audit.read(shop).head)
        settle(shop, name)
        state = f"champion, by record {record.sequence}"
    else:
        registry.tag(shop, name, version, {"verdict": "kept", "why": "a promoted champion serves"})
        state = f"registered; version {now.bundle.version} goes on serving"
    print(grid(["bundle", "version", "kind", "state"], [[f"{shop}.{name}", version, kept.kind, state]]))
    print(f"lies in {kept.folder}")
    print(f"next: python -m models train {MODEL[name]} --shop {shop}")


def has_records(shop: str, name: str) -> bool:
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
    settle(shop, name)
    candidate, champion = registry.candidate(shop, name), registry.champion(shop, name)
    if candidate is None and champion is None:
        raise Problem(f"{shop}.{name} has no candidate and no champion", where=str(bundles(shop, name)),
                      do=f"run 'python -m models baseline {name} --shop {shop}'")  # fmt: skip
    roles = {"candidate": candidate.version if candidate else "", "champion": champion.version if champion else ""}
    with narrate(f"evaluate {name}"), tracking.run(shop, name, roles, step="evaluate") as run:
        began, policy = time.monotonic(), load(shop)
        wanted = level(tries(shop, name, candidate, champion), policy)
        found = {
            **_evaluation(name).evaluate(shop, candidate, champion, level=wanted),
            "features": FEATURES[name],
            "skew": skew(shop),
        }
        report = finished(shop, name, found, candidate, champion)
        verdict = gates(report, policy) if candidate and champion else None
        path, sha256 = report_file(shop, name), keep(shop, name, report, verdict)
        write_atomically(path.with_suffix(".html"), pages.page(report, verdict, digest=sha256))
        plots = [pages.plot_png(report, path.with_suffix(".png"))]
        plots += pages.attacks_png(report, path.with_name(f"{path.stem}-attacks.png"))
        plots += pages.segments_png(report, path.with_name(f"{path.stem}-segments.png"))
        for file in (path, path.with_suffix(".html"), *plots, *privacy_page(shop)):
            run.artifact(file)
        _log(run, report, verdict)
        run.metrics(pages.figures(report))  # what the page shows beside the systems, for the comparison of runs
        say(f"  judged in {time.monotonic() - began:.0f} s")
        if candidate is not None:
            lies = {"report": sha256, "report.page": f"runs:/{run.id}/{name}.html"}
            registry.tag(shop, name, candidate.version, _figures(report, "candidate") | lies)
        if champion is not None and "champion" in report["systems"]:
            registry.tag(shop, name, champion.version, _figures(report, "champion"))
    print(systems(report))
    if verdict is not None:
        print(f"{WOULD[verdict.answer]}: {verdict.why}")
    print(f"report: {path.with_suffix('.html')}")
    print(f"next: python -m models {f'promote {name}' if candidate else f'train {MODEL[name]}'} --shop {shop}")


def skew(shop: str) -> dict[str, Any]:
    """What `python -m jobs skew` found last, as far as the gate asks; nothing if it was not measured."""
    try:
        found = json.loads(report_file(shop, "skew").read_text(encoding="utf-8"))
        return {name: found[name] for name in ("draws", "compared", "mismatches", "limit", "moments", "data")}
    except (FileNotFoundError, ValueError, KeyError):
        return {}


def privacy_page(shop: str) -> list[Path]:
    """The privacy page, made anew with what was just judged; by its command line, for this room knows no other way."""
    made = subprocess.run(
        [sys.executable, "-m", "jobs", "privacy", "--shop", shop], capture_output=True, text=True, check=False
    )
    if made.returncode:
        say(f"no privacy page: {(made.stderr.strip().splitlines() or ['no word'])[-1][:200]}")
        return []
    return [report_file(shop, "privacy").with_suffix(".html")]


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
    run.metrics(attack_metrics(report))
    run.tags({"endcap.data": ", ".join(report.get("data", []))})
    if verdict is not None:
        run.tags({"verdict": verdict.answer, "why": verdict.why})


def attack_metrics(report: Mapping[str, Any]) -> dict[str, float]:
    """What attacks found, as flat figures: `privacy/ATTACK`, its interval, its canary and its seconds."""
    found: dict[str, float] = {}
    for attack, entry in (report.get("privacy") or {}).items():
        name, (low, high) = f"privacy/{attack.replace(': ', '/')}", entry.get("interval") or (None, None)
        canary, rate = entry.get("canary") or {}, entry.get("tpr") or {}
        figures = {"": entry.get("figure"), ".low": low, ".high": high, ".canary": canary.get("figure"),
                   ".tpr": rate.get("figure"), ".fpr": rate.get("fpr"), ".seconds": entry.get("seconds")}  # fmt: skip
        found |= {f"{name}{end}": float(value) for end, value in figures.items() if value is not None}
    return found


def settle(shop: str, name: str) -> list[promotions.Record]:
    """Make good what comes after signed records: MLflow shows them, and the book tells of them; returns those it did
    not tell of. Never fails for MLflow's sake: the records stand, and the next command does the rest."""
    waiting = audit.untold(shop, name) if has_records(shop, name) else []
    last = promotions.records(shop, name)[0][-1:]
    shown = True
    try:
        registry.follow(shop, name, {record.sequence: record for record in (*waiting, *last)}.values())
    except Problem as problem:
        shown = False
        say(f"note: {problem} What is signed stands; the next command shows it in the registry.")
    if waiting:
        with promotions.deciding(shop, name):
            for record in audit.untold(shop, name):
                audit.decided(record, shown=shown)
    return waiting


def promote(args: argparse.Namespace) -> None:
    """Let the gate decide from the last report, which must be about this candidate and this champion."""
    shop, name = args.shop, args.bundle
    warehouse(shop)
    settle(shop, name)
    with promotions.deciding(shop, name):
        candidate, champion = registry.candidate(shop, name), registry.champion(shop, name)
        if candidate is None or (champion is not None and candidate.sha256 == champion.sha256):
            print(f"{shop}.{name} has no candidate: nothing to decide")
            print(f"next: python -m models train {MODEL[name]} --shop {shop}")
            return
        try:
            record, verdict = decide(shop, name, candidate, champion, args.review)
        except Waits as waiting:
            if reviewing.wanted(args.review) != reviewing.LATER:
                raise
            print(waiting.what)
            print(f"next: {waiting.do}")
            return
    settle(shop, name)
    if verdict is not None:
        checks = [[check.name, check.passed, check.figure, check.limit] for check in verdict.reasons]
        print(grid(["check", "passed", "figure", "limit"], checks))
    why = record.verdict["why"]
    if record.action == "promote":
        print(f"promoted: version {candidate.version} of {shop}.{name} serves. {why}")
    else:
        serving = f"version {champion.version}" if champion else "nothing"
        print(f"refused: version {candidate.version} of {shop}.{name}; {serving} goes on serving. {why}")
    print(f"record {record.sequence}, signed; report {report_file(shop, name).with_suffix('.html')}")
    print(f"next: python -m models {'index' if name == 'search' else 'list'} --shop {shop}")


class Waits(Refused):
    """A person has to approve, and did not yet."""


def decide(
    shop: str, name: str, candidate: Bundle, champion: Bundle | None, review: str = reviewing.AUTO
) -> tuple[promotions.Record, Verdict | None]:
    """The signed record about a candidate, and the gate's verdict (None where a record about this very report stands
    already). `Problem` if there is no report that may decide, `Waits` if a person has to approve and did not yet."""
    policy = load(shop)
    report, content = current(shop, name, candidate, champion, policy)
    about = [one for one in promotions.records(shop, name)[0] if one.bundle == candidate.sha256]
    for record in about:
        if record.action == "refuse" and record.report == report:
            say(f"this report was decided on already, by record {record.sequence}; evaluate again for another decision")
            return record, None
    verdict = gates(content, policy)
    approval = reviewing.decision(shop, name, candidate.version, candidate.sha256, report)
    wanted = reviewing.wanted(review, held=policy.review)
    asked = [] if verdict.answer == "refuse" else person_asked(shop, about, verdict, wanted)
    line = audit.note(shop, "verdict", name=name, version=candidate.version, bundle=candidate.sha256, report=report,
                      answer=verdict.answer, why=verdict.why, asks=asked)  # fmt: skip
    told, held = verdict.as_dict(), json.loads(json.dumps(asdict(policy)))
    signed = {"report": report, "policy": held, "audit": line, "approval": approval.as_dict() if approval else None}
    if approval is not None and not approval.approved:
        rejected = {**told, "accepted": False, "answer": "refuse", "why": approval.told}
        return promotions.append(shop, candidate, "refuse", verdict=rejected, **signed), verdict
    if verdict.answer == "refuse":
        return promotions.append(shop, candidate, "refuse", verdict=told, **signed), verdict
    if asked and approval is None:
        raise Waits(
            f"version {candidate.version} of {shop}.{name} waits for a person: {'; '.join(asked)}",
            where=str(report_file(shop, name).with_suffix(".html")),
            do=f"read the report, then run 'python -m models review {name} --shop {shop} --approve --reason ...' "
            "(or --reject), and promote again",
        )  # fmt: skip
    return registry.promote(candidate, verdict={**told, "accepted": True}, **signed), verdict


def person_asked(shop: str, about: list[promotions.Record], verdict: Verdict, wanted: str) -> list[str]:
    """Why a person has to approve what the gate did not refuse; empty where nobody has to. `about` are the records of
    this very bundle: what served before and was ended comes back by a person's word alone."""
    asked = [verdict.why] if verdict.answer == "ask" else []
    if wanted == reviewing.HUMAN:
        asked.append("a person approves each promotion of this shop")
    served = [record for record in about if record.action in promotions.SERVING]
    if served:
        asked.append(f"it served before, by record {served[-1].sequence}, and was replaced or rolled back since")
    return asked + [f"the models' book is not whole: {fault}" for fault in audit.read(shop).faults[:1]]


def rollback(args: argparse.Namespace) -> None:
    """Let the champion before this one serve again, by a new signed record. With `--from` the same command may be given
    again, after a kill or by two at once: what was left stays left, and it goes no further back. Without it only a
    rollback that the book does not tell of yet is finished; a whole one is followed by another."""
    shop, name = args.shop, args.bundle
    warehouse(shop)
    with promotions.deciding(shop, name):
        made, ended = _rolled_back(shop, name, args.leave) or promotions.roll_back(
            shop, name, audit=audit.read(shop).head
        )
    print(grid(["bundle", "from version", "to version", "record"],
               [[f"{shop}.{name}", ended.version, made.version, made.sequence]]), flush=True)  # fmt: skip
    settle(shop, name)
    print(f"next: python -m models {'index' if name == 'search' else 'list'} --shop {shop}")


def _rolled_back(shop: str, name: str, leave: int | None) -> tuple[promotions.Record, promotions.Record] | None:
    """The rollback that serves and the record it ended, if that is what was asked for; None if it is to be made.
    `Refused` if the version to leave neither serves nor was left by the last rollback."""
    now = promotions.find_champion(shop, name)
    earlier = {record.sequence: record for record in promotions.records(shop, name)[0]}
    ended = earlier.get(now.record.verdict.get("ended", 0)) if now and now.record.action == "rollback" else None
    untold = audit.untold(shop, name)[-1:] if audit.log_file(shop).exists() else []
    if now and ended and (now.record in untold if leave is None else leave == ended.version):
        say(f"the rollback to version {now.bundle.version} is signed already, as record {now.record.sequence}")
        return now.record, ended
    if now and leave not in (None, now.bundle.version):
        raise Refused(f"version {leave} of {shop}.{name} does not serve, but version {now.bundle.version}",
                      do=f"see 'python -m models list --shop {shop}'")  # fmt: skip
    return None
