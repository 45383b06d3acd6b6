"""`python -m models list | show | compare`: the versions of a shop's bundles, for people and for programs.

Who serves is told by the signed records, who asks to by MLflow's alias; figures come from MLflow's tags and from the
last report in which a version was the candidate.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from typing import Any

from jobs.console import Problem, Usage, grid, say, suggest
from jobs.console import show as shown
from jobs.warehouse import home, warehouse
from models import promotions, registry, tracking
from models.bundle import Bundle, bundles, open_bundle
from models.evaluation.gates import number
from models.evidence import report_file
from models.promoting import BUNDLES, TAGGED, has_records

WIDTH = 76  # of a value that is shown to people


def rows(shop: str) -> list[dict[str, Any]]:
    """Every version of every bundle: who serves by the signed records, who asks to by the registry's alias."""
    out = []
    for name in BUNDLES:
        serving = promotions.find_champion(shop, name) if has_records(shop, name) else None
        for reason in serving.passed_over if serving else ():
            say(f"{shop}.{name}: passed over {reason}")
        for found in registry.versions(shop, name):
            tags, version = found["tags"], found["version"]
            champion = serving is not None and serving.bundle.version == version
            if ("champion" in found["aliases"]) is not champion:
                say(f"{shop}.{name} {version}: {'it serves, and' if champion else 'it does not serve, though'} the "
                    f"registry's alias says {'otherwise' if champion else 'so'}; the next promote or evaluate sets it "
                    "right")  # fmt: skip
            alias = "champion" if champion else "candidate" if "candidate" in found["aliases"] else None
            figures = {end: float(tags[end]) for end in TAGGED if end in tags}
            out.append({"bundle": f"{shop}.{name}", "version": version, "kind": tags.get("kind"), "alias": alias,
                        "metric": tags.get("metric"), **{end: number(figures, end) for end in TAGGED},
                        "verdict": tags.get("verdict"), "why": tags.get("why"),
                        "erased": promotions.due(shop, name, version)})  # fmt: skip
    return out


def listed(args: argparse.Namespace) -> None:
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
    for row in found:
        if row["erased"]:
            say(f"{row['bundle']} {row['version']}: a visitor it learnt from was erased; to do: {row['erased']}")
    print(f"lies in {home() / args.shop / 'bundles'}; runs in {tracking.tracking_uri()}")


def about(shop: str, name: str, version: int) -> dict[str, Any]:
    """All that is known of one version, in sections: identity, figures, decisions, lineage, settings."""
    known = {row["version"]: row for row in registry.versions(shop, name)}
    if version not in known:
        raise Usage(f"{shop}.{name} has no version {version}", do=suggest(str(version), map(str, known)))
    found, folder = known[version], bundles(shop, name) / str(version)
    try:
        bundle, broken = open_bundle(folder), None
    except Problem as problem:
        bundle, broken = None, problem.what
    tags: Mapping[str, str] = found["tags"]
    serving = promotions.find_champion(shop, name) if has_records(shop, name) else None
    by = serving.record.sequence if serving is not None and serving.bundle.version == version else None
    decisions = [record for record in promotions.records(shop, name)[0] if record.version == version]
    report = last_report(shop, name, version)
    return {
        "version": {
            "bundle": f"{shop}.{name}", "version": version, "kind": tags.get("kind"),
            "serves": f"yes, by record {by}" if by is not None else "no", "aliases": ", ".join(found["aliases"]),
            "registered": found["registered_at"].isoformat(timespec="seconds"),
            "files": "as they were sealed" if broken is None else broken,
            "sha256": bundle.sha256 if bundle else tags.get("sha256"), "bytes": size(bundle),
            "erased": promotions.due(shop, name, version),
        },
        "figures": figures(report),
        "decisions": {f"record {record.sequence}": told(record) for record in decisions},
        "lineage": {
            "run": found["run"], "code": bundle.code if bundle else tags.get("code"),
            "data": list(bundle.data) if bundle else None,
            "report": str(report_file(shop, name, version)) if report else None,
            **{key: value for key, value in sorted(tags.items()) if key.startswith(("privacy.", "endcap.", "review."))},
        },
        "settings": _flat(bundle.settings) if bundle else {},
        "checks": dict(_checks(decisions)),
        "hashes": dict(bundle.files) if bundle else {},
    }  # fmt: skip


def last_report(shop: str, name: str, version: int) -> Mapping[str, Any]:
    """The last report in which this version was the candidate; empty if there was none."""
    try:
        return dict(json.loads(report_file(shop, name, version).read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError):
        return {}


def figures(report: Mapping[str, Any]) -> dict[str, Any]:
    """The figures of a report's candidate, flat: each metric with its interval, latency, size, attacks."""
    out: dict[str, Any] = {}
    if not report:
        return out
    out["judged"] = (
        f"{report.get('written_at', 'some time')} against version {(report.get('champion') or {}).get('version')}"
    )
    out["judged on"] = _cut(f"{report['test'].get('n')} {report['test'].get('what', '')}")
    for metric, value in (report.get("systems", {}).get("candidate") or {}).items():
        out[metric] = _interval(value)
    if paired := report.get("paired"):
        out[f"{paired.get('metric')} less the champion's"] = _interval(paired)
    for name in ("power", "latency_ms", "size_bytes", "tries"):
        if isinstance(report.get(name), Mapping):
            out |= {f"{name}.{key}": value for key, value in report[name].items() if not isinstance(value, Mapping)}
    for attack, entry in (report.get("privacy") or {}).items():
        if isinstance(entry, Mapping) and number(entry, "figure") is not None:
            out[f"privacy, {attack}"] = entry["figure"]
    return out


def told(record: promotions.Record) -> str:
    """A decision in one line."""
    approval = record.approval or {}
    by = f"; {approval.get('decision')} by {approval.get('responder')}: {approval.get('reason')}" if approval else ""
    return f"{record.action} at {record.written_at}{by}. {record.verdict.get('why', '')}".strip()


def _checks(decisions: Sequence[promotions.Record]) -> list[tuple[str, str]]:
    """The checks of the last decision that the gate made."""
    judged = [record for record in decisions if record.verdict.get("checks")]
    return [
        (str(check["name"]), f"{'passed' if check['passed'] else 'failed'}: {check['why']}")
        for check in (judged[-1].verdict["checks"] if judged else [])
    ]


def size(bundle: Bundle | None) -> int | None:
    """Bytes of all files of a bundle."""
    return sum((bundle.folder / file).stat().st_size for file in bundle.files) if bundle else None


def show(args: argparse.Namespace) -> None:
    """One version: the one that serves if none is named."""
    shop, name = args.shop, args.bundle
    warehouse(shop)
    version = args.version
    if version is None:
        serving = promotions.find_champion(shop, name) if has_records(shop, name) else None
        if serving is None:
            raise Problem(
                f"{shop}.{name} has no champion yet", do=f"run 'python -m models baseline {name} --shop {shop}'"
            )
        version = serving.bundle.version
    found = about(shop, name, version)
    if args.json:
        print(json.dumps(found, default=str))
        return
    for section, values in found.items():
        if values:
            print(f"{section}\n{_lines(values)}\n")
    print(f"next: python -m models compare {name} {version} VERSION --shop {shop}")


def compare(args: argparse.Namespace) -> None:
    """Two versions side by side, what differs marked; JSON for programs."""
    shop, name = args.shop, args.bundle
    warehouse(shop)
    one, two = (about(shop, name, version) for version in args.versions)
    if args.json:
        print(
            json.dumps(
                {str(version): side for version, side in zip(args.versions, (one, two), strict=True)}, default=str
            )
        )
        return
    lines = []
    for section in ("version", "figures", "lineage", "settings", "hashes"):
        for key in dict.fromkeys([*one[section], *two[section]]):
            sides = [_cut(_text(side[section].get(key)), 40) for side in (one, two)]
            same = one[section].get(key) == two[section].get(key)
            lines.append([section, key, *sides, "" if same else "differs"])
    print(grid(["", "", *(f"version {version}" for version in args.versions), ""], lines))
    first, second = args.versions
    for this, other in ((first, second), (second, first)):
        report = last_report(shop, name, this)
        if report.get("paired") and (report.get("champion") or {}).get("version") == other:
            metric = report["paired"].get("metric")
            print(f"on the same data: version {this} less version {other}: {metric} {_interval(report['paired'])}")
    print(f"next: python -m models show {name} {first} --shop {shop}")


def _lines(values: Mapping[str, Any]) -> str:
    width = max(len(key) for key in values)
    return "\n".join(f"  {key.ljust(width)}  {_text(value)}".rstrip() for key, value in values.items())


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value[:2])) + (f" and {len(value) - 2} more" if len(value) > 2 else "")
    return "-" if value is None or value == "" else shown(value)


def _cut(text: str, width: int = WIDTH) -> str:
    return text if len(text) <= width else f"{text[: width - 3]}..."


def _interval(value: Mapping[str, Any]) -> str:
    mean, low, high = (number(value, end) for end in TAGGED)
    if mean is None:
        return "-"
    return f"{mean:.4f}" if low is None or high is None else f"{mean:.4f} ({low:.4f} to {high:.4f})"


def _flat(values: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, value in values.items():
        out |= _flat(value, f"{before}{key}.") if isinstance(value, Mapping) else {f"{before}{key}": value}
    return out
