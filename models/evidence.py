"""What a decision rests on: one report, of exactly these bundles, the last that was made, unaltered and not stale.

    SHOP/reports/NAME.json           the last report of a bundle; its SHA-256 stands in the models' book
    SHOP/reports/NAME/VERSION.json   the last one in which that version was the candidate

`evaluate` keeps a report (`keep`), `promote` asks for it (`current`). The report is bytes to both: what is hashed,
signed and judged by the gate is one reading of the file.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from jobs.console import Problem
from jobs.warehouse import home, warehouse, write_atomically
from models import audit, promotions
from models.bundle import Bundle
from models.evaluation.gates import Policy, Verdict

ROLES = ("candidate", "champion")
AHEAD = timedelta(minutes=5)  # how far another machine's clock may be ahead


def report_file(shop: str, name: str, version: int | None = None) -> Path:
    """Where the last report of a bundle lies, or the last one about one version as the candidate."""
    folder = home() / shop / "reports"
    return folder / f"{name}.json" if version is None else folder / name / f"{version}.json"


def due_of(shop: str, name: str, candidate: Bundle | None, champion: Bundle | None) -> dict[str, str | None]:
    """What is to become of each, since somebody it learnt from was erased; None if nobody was."""
    roles = {"candidate": candidate, "champion": champion}
    return {role: promotions.due(shop, name, bundle.version) if bundle else None for role, bundle in roles.items()}


def newest(shop: str) -> str | None:
    """The newest day of what people did in the shop (ISO); None where it has no days."""
    days = warehouse(shop).days("safe", "interactions")
    return max(days) if days else None


def finished(
    shop: str, name: str, report: Mapping[str, Any], candidate: Bundle | None, champion: Bundle | None
) -> dict[str, Any]:
    """The report with what a decision asks of it: when it was made, what the shop knew then, of which bundles."""
    done = {
        **report,
        "written_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "seen": newest(shop),
        "due": due_of(shop, name, candidate, champion),
    }
    for role, bundle in zip(ROLES, (candidate, champion), strict=True):
        if bundle is not None:
            done[role] = {**done.get(role, {}), "version": bundle.version, "sha256": bundle.sha256}
    if candidate is not None and champion is not None:
        done["tries"] = {**done.get("tries", {}), "number": tries(shop, name, candidate, champion)}
    return done


def keep(shop: str, name: str, report: Mapping[str, Any], verdict: Verdict | None = None) -> str:
    """Write the report, note it in the book, and return its SHA-256. The book comes last: a report that it does not
    know of decides nothing."""
    text = json.dumps(report, indent=1, sort_keys=True, ensure_ascii=False, default=float) + "\n"
    sides = {role: report[role]["sha256"] for role in ROLES if role in report}
    version = report.get("candidate", {}).get("version")
    for path in (report_file(shop, name), *([report_file(shop, name, version)] if version else [])):
        write_atomically(path, text)
    sha256 = hashlib.sha256(text.encode()).hexdigest()
    paired = report.get("paired") or {}
    audit.note(
        shop, "evaluation", name=name, version=version, against=report.get("champion", {}).get("version"),
        report=sha256, **sides, test={end: (report.get("test") or {}).get(end) for end in ("n", "first", "last")},
        paired={end: _told(paired.get(end)) for end in ("mean", "low", "high")}, seen=report.get("seen"),
        why=verdict.why if verdict else "",
    )  # fmt: skip
    return sha256


def _told(figure: Any) -> Any:
    """A figure as JSON has it: not a number is null."""
    return None if isinstance(figure, float) and not math.isfinite(figure) else figure


def evaluations(shop: str, name: str) -> list[Mapping[str, Any]]:
    """The book's lines about reports of one bundle, oldest first."""
    return [line for line in audit.read(shop).lines if line["what"] == "evaluation" and line.get("name") == name]


def tries(shop: str, name: str, candidate: Bundle | None, champion: Bundle | None) -> int:
    """The how-manieth try against this champion this is; 1 for the first.

    A try is a candidate judged on what the shop knew up to a day: judged again on the same it has no new chance to be
    lucky, on newer days it has. All tries ever made against the champion count, whether their tests overlap or not:
    counting too many only makes the gate stricter.
    """
    against = champion.sha256 if champion else None
    judged = [line for line in evaluations(shop, name) if line.get("champion") == against and line.get("candidate")]
    before = list(dict.fromkeys((line["candidate"], line.get("seen")) for line in judged))
    mine = (candidate.sha256 if candidate else None, newest(shop))
    return before.index(mine) + 1 if mine in before else len(before) + 1


def current(
    shop: str, name: str, candidate: Bundle, champion: Bundle | None, policy: Policy, now: datetime | None = None
) -> tuple[str, dict[str, Any]]:
    """SHA-256 and content of the report that may decide; `Problem` with the reason if there is none."""
    again = f"run 'python -m models evaluate {name} --shop {shop}'"
    path = report_file(shop, name)
    try:
        text = path.read_bytes()
        report = json.loads(text)
        sides = {role: dict(report.get(role) or {}) for role in ROLES}
    except FileNotFoundError:
        raise Problem(
            f"candidate {candidate.version} of {shop}.{name} was not judged yet", where=str(path), do=again
        ) from None
    except (ValueError, TypeError, AttributeError):
        raise Problem("the report cannot be read", where=str(path), do=again) from None
    if champion is None:
        raise Problem(f"{shop}.{name} has no champion to be compared with",
                      do=f"run 'python -m models baseline {name} --shop {shop}', then evaluate again")  # fmt: skip
    sha256 = hashlib.sha256(text).hexdigest()
    for why in (*_altered(evaluations(shop, name), sha256), *_others(sides, candidate, champion),
                *_stale(report, newest(shop), policy, now or datetime.now(UTC))):  # fmt: skip
        raise Problem(why, where=str(path), do=again)
    told, due = report.get("due") or {}, due_of(shop, name, candidate, champion)
    if any(told.get(role) != word for role, word in due.items()):
        raise Problem("somebody they learnt from was erased since the report was made", where=str(path), do=again)
    return sha256, report


def _altered(lines: list[Mapping[str, Any]], sha256: str) -> Iterable[str]:
    """The last report that the book knows of is this one, byte for byte."""
    if not lines:
        yield "the models' book knows of no report: it was not made by 'evaluate', or the book was lost"
    elif lines[-1].get("report") != sha256:
        older = next((line for line in lines if line.get("report") == sha256), None)
        yield ("the report was altered since it was made" if older is None
               else f"the report is an old one, of {older['at']}: another was made since")  # fmt: skip


def _others(sides: Mapping[str, Mapping[str, Any]], candidate: Bundle, champion: Bundle) -> Iterable[str]:
    """The report judged these very bundles."""
    for role, bundle in zip(ROLES, (candidate, champion), strict=True):
        judged = sides[role]
        if judged.get("version") != bundle.version:
            yield f"the report judged {role} {judged.get('version')}, but it is {bundle.version} now"
        elif judged.get("sha256") != bundle.sha256:
            yield f"the report judged other files as {role} {bundle.version} than lie there now"


def _stale(report: Mapping[str, Any], known: str | None, policy: Policy, now: datetime) -> Iterable[str]:
    """The report is not older than the policy allows: by the clock, and by the shop's own days."""
    limit = policy.report_days
    try:
        age = now - datetime.fromisoformat(report["written_at"])
        seen = report["seen"]
        behind = 0 if seen == known else (_day(known) - _day(seen)).days
    except (KeyError, TypeError, ValueError):
        yield "the report does not say when it was made, or what the shop knew then"
        return
    if age < -AHEAD:
        yield "the report was made in the future: one of the clocks is wrong"
    elif age > timedelta(days=limit):
        yield f"the report is stale: {age.days} days old, at most {limit:g} allowed"
    elif behind > limit:
        yield f"the report is stale: the shop has {behind} newer days than it saw, at most {limit:g} allowed"


def _day(text: str | None) -> datetime:
    return datetime.fromisoformat(str(text))
