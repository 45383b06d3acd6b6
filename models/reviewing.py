"""`python -m models review`: a person's word on a candidate, signed, and kept whatever it was.

    SHOP/reviews/NAME/VERSION/000001.json   {"shop", "name", "version", "bundle", "report", "decision", "responder",
                                             "reason", "source", "at", "signature"}
    SHOP/keys/review.ed25519                the private key, 0600; only the process that takes an answer down reads it
    SHOP/docs/review-NAME-VERSION.html      the page that the reviewer was shown, drawn from the very report

A decision is about one report (by its SHA-256), and so about one candidate against one champion on one state of the
data: judged anew, a candidate is asked for anew. The last decision on a report counts; earlier ones are kept beside it.
Who may decide is named in ENDCAP_REVIEWERS (accounts of Airflow, commas between them), whether a person must is said by
ENDCAP_REVIEW=human, which no word of a command line or of a form takes back.

Where the guarantee ends: who may run commands as the owner of the home may answer as themselves (`source: command`),
and who may delete files in it may delete the last decision, so that the one before it counts.
"""

import argparse
import getpass
import hashlib
import json
import os
import urllib.error
import urllib.request
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from jobs.console import Problem, Refused, Usage, grid, say
from jobs.signing import is_signed, public_key, signed
from jobs.warehouse import home, warehouse, write_atomically
from models import audit
from models.bundle import bundles, open_bundle
from models.evaluation.gates import Verdict, gates
from models.evaluation.policy import load
from models.evidence import report_file

Decision = Literal["approve", "reject"]
Source = Literal["airflow", "mlflow", "command"]
KEY = "review"
HUMAN, AUTO, LATER = "human", "auto", "later"
"""Whom a promotion waits for: always a person; a person where the gate asks for one; nobody, it stays a candidate."""
DONE = {"approve": "approved", "reject": "rejected"}
ONE_OF = "one of "
"""Before the names of several reviewers, where a tag of MLflow does not say which of them answered."""
SHORT = 16
"""Digits of a report's SHA-256 by which people and forms name it."""


@dataclass(frozen=True)
class Approval:
    """One decision. `bundle` and `report` are SHA-256; `responder` is empty where nobody answered in time."""

    shop: str
    name: str
    version: int
    bundle: str
    report: str
    decision: Decision
    responder: str
    reason: str
    source: Source
    at: str
    signature: str = ""

    @property
    def approved(self) -> bool:
        """Whether the candidate may serve, as far as the reviewer is concerned."""
        return self.decision == "approve"

    def as_dict(self) -> dict[str, Any]:
        """As its file and the record of a promotion hold it."""
        return asdict(self)

    @property
    def told(self) -> str:
        """'approved by ann (airflow): reads well'."""
        by = f"by {self.responder} ({self.source})" if self.responder else "because nobody answered in time"
        return f"{DONE[self.decision]} {by}{f': {self.reason}' if self.reason else ''}"

    @property
    def tags(self) -> dict[str, str]:
        """What stands on the version in MLflow."""
        return {"review": DONE[self.decision], "review.by": self.responder or "(nobody)", "review.reason": self.reason,
                "review.source": self.source, "review.at": self.at, "review.report": self.report[:SHORT]}  # fmt: skip


# ---- who, and whether -------------------------------------------------------------------------------


def reviewers(environ: Mapping[str, str] = os.environ) -> list[str]:
    """The accounts that may decide: ENDCAP_REVIEWERS, else `reviewer`.

    >>> reviewers({"ENDCAP_REVIEWERS": "ann, bob"}), reviewers({})
    (['ann', 'bob'], ['reviewer'])
    """
    named = [name.strip() for name in environ.get("ENDCAP_REVIEWERS", "").split(",")]
    return [name for name in named if name] or ["reviewer"]


def wanted(asked: str = AUTO, held: str = AUTO, environ: Mapping[str, str] = os.environ) -> str:
    """What was asked for, but `human` where the shop's policy (`held`) or the environment says so.

    >>> wanted("auto", "auto", {"ENDCAP_REVIEW": "human"}), wanted("later", "human", {}), wanted("later", "auto", {})
    ('human', 'human', 'later')
    """
    said = environ.get("ENDCAP_REVIEW", AUTO)
    if said not in (HUMAN, AUTO):
        raise Problem(f"ENDCAP_REVIEW is '{said}'", do=f"set it to {HUMAN} or {AUTO}")
    return HUMAN if HUMAN in (said, held, asked) else asked


# ---- decisions --------------------------------------------------------------------------------------


def _folder(shop: str, name: str, version: int) -> Path:
    return home() / shop / "reviews" / name / str(version)


def _files(shop: str, name: str, version: int) -> list[Path]:
    return sorted(path for path in _folder(shop, name, version).glob("*.json") if path.stem.isdecimal())


def decisions(shop: str, name: str, version: int) -> list[Approval]:
    """All decisions on a version, first one first; `Problem` if one was not signed by us, or for another version."""
    found = []
    for path in _files(shop, name, version):
        try:
            approval = Approval(**json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as fault:
            raise Problem(f"a review cannot be read ({type(fault).__name__})", where=str(path),
                          do="move it away; the reviewer has to be asked again") from fault  # fmt: skip
        if not is_signed(public_key(shop, KEY), asdict(approval)):
            raise Problem("the signature of a review is wrong", where=str(path),
                          do="find out who wrote it, and move it away; the reviewer has to be asked again")  # fmt: skip
        if (approval.shop, approval.name, approval.version) != (shop, name, version):
            raise Problem(
                f"a review of {approval.shop}.{approval.name} {approval.version} lies at another place",
                where=str(path), do="move it back",
            )  # fmt: skip
        found.append(approval)
    return found


def decision(shop: str, name: str, version: int, bundle: str, report: str) -> Approval | None:
    """The last decision on exactly this bundle and report (both by SHA-256), or None.

    `Problem` if any review of the version was not signed by us, or if the approval is of somebody who is no reviewer.
    """
    about = [each for each in decisions(shop, name, version) if (each.bundle, each.report) == (bundle, report)]
    if not about:
        return None
    if about[-1].approved:
        _entitled(about[-1].responder, about[-1].source)
    return about[-1]


def _entitled(responder: str, source: Source) -> None:
    """`Refused` if an approval is nobody's, or that of an account of Airflow or MLflow that is no reviewer's."""
    if not responder:
        raise Refused("an approval without a name is none", do="approve it with the reviewer's own account")
    if source == "command":
        return
    for who in responder.removeprefix(ONE_OF).split(", "):
        if who not in reviewers():
            raise Refused(f"'{who}' is no reviewer", do=f"ask {', '.join(reviewers())}, or set ENDCAP_REVIEWERS")


def record(
    shop: str, name: str, version: int, bundle: str, report: str, decision: Decision, *, responder: str, reason: str,
    source: Source = "command", now: datetime | None = None,
) -> Approval:  # fmt: skip
    """Sign a decision and keep it; two at once are both kept. `Refused`: an approval of somebody who is no reviewer."""
    if decision == "approve":
        _entitled(responder, source)
    at = (now or datetime.now(UTC)).isoformat(timespec="seconds")
    made = Approval(shop, name, version, bundle, report, decision, responder, reason, source, at)
    values = signed(shop, KEY, asdict(made))
    folder = _folder(shop, name, version)
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".{uuid.uuid4().hex}"
    write_atomically(temporary, json.dumps(values, indent=1, sort_keys=True, ensure_ascii=False) + "\n")
    try:
        while True:
            place = max((int(path.stem) for path in _files(shop, name, version)), default=0) + 1
            try:
                os.link(temporary, folder / f"{place:06d}.json")  # never replaces a decision
            except FileExistsError:
                continue
            return Approval(**values)
    finally:
        temporary.unlink()


# ---- what is asked ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Asked:
    """What a reviewer is asked about: the last report of a bundle, whose bytes have this SHA-256, and its verdict."""

    shop: str
    name: str
    version: int
    bundle: str
    digest: str
    report: Mapping[str, Any]
    verdict: Verdict | None

    @property
    def answer(self) -> str:
        """accept, ask or refuse; refuse where there is nothing to decide."""
        return "refuse" if self.verdict is None else self.verdict.answer


def asked(shop: str, name: str) -> Asked:
    """The last report, and what the gate says of it; `Problem` if there is none, or none about a candidate."""
    path, again = report_file(shop, name), f"run 'python -m models evaluate {name} --shop {shop}'"
    try:
        text = path.read_bytes()
        report = json.loads(text)
        version = int((report.get("candidate") or {}).get("version") or 0)
    except FileNotFoundError:
        raise Problem(f"{shop}.{name} was not judged yet", where=str(path), do=again) from None
    except (ValueError, AttributeError, TypeError):
        raise Problem("the report cannot be read", where=str(path), do=again) from None
    if not version:
        raise Problem(f"the last report of {shop}.{name} judged no candidate", where=str(path),
                      do=f"train one, then {again}")  # fmt: skip
    bundle = open_bundle(bundles(shop, name) / str(version)).sha256
    if report["candidate"].get("sha256", bundle) != bundle:
        raise Problem(f"the report judged another bundle than version {version} is now", where=str(path), do=again)
    verdict = gates(report, load(shop)) if report.get("champion") else None
    return Asked(shop, name, version, bundle, hashlib.sha256(text).hexdigest(), report, verdict)


def page_of(about: Asked) -> Path:
    """Draw the page that the reviewer is shown, from the report that is asked about, where Airflow serves it."""
    from models.evaluation import report as pages

    path = home() / about.shop / "docs" / f"review-{about.name}-{about.version}.html"
    write_atomically(path, pages.page(about.report, about.verdict, digest=about.digest))
    return path


def question(about: Asked, review: str = AUTO) -> dict[str, Any]:
    """What a form shows: `asks`, `why`, and if it asks: `subject`, `body` (Markdown), `report`, `page`, `version`.

    Nobody is asked about what the gate refuses, nor about what it accepts where `review` leaves that to it, nor twice
    about what was approved.
    """
    told = {"version": about.version, "report": about.digest[:SHORT]}
    before = decision(about.shop, about.name, about.version, about.bundle, about.digest)
    if about.answer == "refuse":
        why = about.verdict.why if about.verdict else "there is no champion to compare it with"
        return {**told, "asks": False, "why": f"nobody is asked: the gate refuses. {why}"}
    if before is not None and before.approved:
        return {**told, "asks": False, "why": f"nobody is asked again: it was {before.told}"}
    if about.answer == "accept" and review != HUMAN:
        return {**told, "asks": False, "why": "nobody is asked: the gate accepts, and it decides alone"}
    return {
        **told, "asks": True, "why": f"the gate says: {about.answer}", "page": page_of(about).name,
        "subject": f"{about.shop}.{about.name}: may version {about.version} serve?", "body": body(about),
    }  # fmt: skip


def body(about: Asked) -> str:
    """The verdict and its checks as Markdown; what failed comes first."""
    assert about.verdict is not None
    said = {"accept": "The gate would accept it", "ask": "The gate asks you to decide"}[about.answer]
    checks = sorted(about.verdict.reasons, key=lambda check: check.passed)
    sides = [f"{role} {(about.report.get(role) or {}).get('version')}" for role in ("candidate", "champion")]
    rows = [f"| {'yes' if c.passed else '**no**'} | {c.name} | {_cell(c.why)} |" for c in checks]
    return "\n".join([
        f"**{said}**: {_cell(about.verdict.why)}", "", f"Judged: {' against '.join(sides)}.", "",
        "| held | check | figure and limit |", "|---|---|---|", *rows,
    ])  # fmt: skip


def _cell(text: str) -> str:
    """A word of a table of Markdown: whatever came from data is text there and nothing else."""
    for sign in ("\\", "|", "<", "[", "]", "`", "*", "_"):
        text = text.replace(sign, f"\\{sign}")
    return " ".join(text.split())


# ---- asked in MLflow --------------------------------------------------------------------------------

WORDS: Mapping[str, Decision] = {"approve": "approve", "reject": "reject"}


def knows_its_writers(uri: str) -> bool:
    """Whether the tracking server turns away whoever does not say who they are: asked without an account, it says 401.

    MLflow does not say who wrote a tag. Where it authenticates, it was somebody who may edit the model; where it does
    not, anyone who reaches it, and the tag is worth nothing.
    """
    if not uri.startswith(("http://", "https://")):
        return False
    asked_for = f"{uri.rstrip('/')}/api/2.0/mlflow/registered-models/search?max_results=1"
    try:
        with urllib.request.urlopen(asked_for, timeout=10):  # noqa: S310  http or https, as was just seen
            return False
    except urllib.error.HTTPError as answer:
        return answer.code == 401
    except OSError as fault:
        raise Problem("the tracking server does not answer", where=uri, do="start it, and ask again") from fault


def answerers(about: Asked) -> list[str]:
    """The reviewers of whom one wrote the tag, if there is one. `Refused` where anybody else may have written it.

    Our own account may write it as well: whoever holds that one runs our commands, and can approve by them.
    """
    from models import registry, tracking

    uri = tracking.tracking_uri()
    instead = "answer in Airflow or by 'python -m models review'"
    if not knows_its_writers(uri):
        raise Refused("MLflow here takes a tag from anyone, and does not say from whom: it is no signature",
                      where=uri.partition("@")[2] or uri,
                      do=f"{instead}, or start MLflow with '--app-name basic-auth'")  # fmt: skip
    may, model = registry.editors(about.shop, about.name), f"{about.shop}.{about.name}"
    if others := [who for who in may if who not in reviewers()]:
        raise Refused(f"MLflow does not say who wrote a tag, and {', '.join(others[:3])} may edit {model} too",
                      do=f"{instead}, or let nobody but ENDCAP_REVIEWERS edit it")  # fmt: skip
    if not may:
        raise Refused(f"no reviewer may edit {model} in MLflow", do=f"{instead}, or give them EDIT of it")
    return may


def watch(about: Asked, hours: float, now: datetime | None = None) -> dict[str, Any]:
    """One look at the tag `review` of the version: {"decided", "why"}. The first look puts the question there; an
    answer to an older question, or one after `hours`, counts for nothing: it is rejected.

    `Refused` where the server would take the tag from anyone but a reviewer.
    """
    from models import registry

    may = answerers(about)
    moment, found = now or datetime.now(UTC), registry.tags(about.shop, about.name, about.version)
    asked_of = f"asked about {about.digest[:SHORT]}"
    if found.get("review.asked") != asked_of:
        page_of(about)
        registry.tag(about.shop, about.name, about.version, {
            "review": "waits: write approve or reject here, and why in review.reason", "review.asked": asked_of,
            "review.asked_at": moment.isoformat(timespec="seconds"), "review.reason": ""})  # fmt: skip
        return {"decided": False, "why": "the question stands on the version in MLflow"}
    word = WORDS.get(found.get("review", "").strip().lower())
    late = moment - datetime.fromisoformat(found["review.asked_at"]) > timedelta(hours=hours)
    if late or word is not None:
        by, why = (f"{ONE_OF if may[1:] else ''}{', '.join(may)}", found.get("review.reason", "")) if (
            word and not late) else ("", f"nobody answered in {hours:g} hours")  # fmt: skip
        made = record(about.shop, about.name, about.version, about.bundle, about.digest,
                      word if word and not late else "reject", responder=by, reason=" ".join(why.split())[:1000],
                      source="mlflow", now=now)  # fmt: skip
        _tell(made)
        return {"decided": True, "why": made.told}
    return {"decided": False, "why": "nobody has answered yet"}


# ---- for people -------------------------------------------------------------------------------------


def run(args: argparse.Namespace) -> None:
    """Take a decision down, or say what there is to decide and what was decided."""
    warehouse(args.shop)
    about = asked(args.shop, args.bundle)
    if args.report is not None and (len(args.report) < SHORT or not about.digest.startswith(args.report)):
        raise Refused(
            f"the answer is about report {args.report[:SHORT] or '(none)'}, but it is {about.digest[:SHORT]} now",
            where=str(report_file(args.shop, args.bundle)), do="ask the reviewer again: it was judged anew since",
        )  # fmt: skip
    if args.watch is not None:
        shown = question(about, wanted(args.review, load(args.shop).review))
        print(json.dumps(watch(about, args.watch) if shown["asks"] else {"decided": True, "why": shown["why"]}))
    elif args.json:
        print(json.dumps(question(about, wanted(args.review, load(args.shop).review))))
    elif args.decision is None:
        _show(about)
    else:
        _decide(about, args)


def _decide(about: Asked, args: argparse.Namespace) -> None:
    responder = args.responder if args.source != "command" else _user()
    if args.source == "command" and args.responder is not None:
        raise Usage("--responder is told by the place that asked", do="leave it out: your account is written down")
    if args.decision == "approve" and about.answer == "refuse":
        raise Refused(f"the gate refuses version {about.version} of {about.shop}.{about.name}: nobody can approve it",
                      do=f"see {report_file(about.shop, about.name).with_suffix('.html')}")  # fmt: skip
    reason = " ".join(args.reason.split())[:1000]
    made = record(about.shop, about.name, about.version, about.bundle, about.digest, args.decision,
                  responder=responder or "", reason=reason, source=args.source)  # fmt: skip
    _tell(made)
    print(grid(["bundle", "version", "report", "decision", "by", "source"],
               [[f"{made.shop}.{made.name}", str(made.version), made.report[:SHORT], DONE[made.decision],
                 made.responder or "(nobody)", made.source]]))  # fmt: skip
    print(f"signed; lies in {_folder(made.shop, made.name, made.version)}")
    print(f"next: python -m models promote {made.name} --shop {made.shop}")


def _user() -> str:
    """The account of this machine; its number where it has no name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def _tell(made: Approval) -> None:
    """Into the audit log, and onto the version in MLflow; the signed file counts, so that MLflow may be down."""
    from models import registry

    audit.note(made.shop, "review", name=made.name, version=made.version, report=made.report, decision=made.decision,
               responder=made.responder, source=made.source, reason=made.reason)  # fmt: skip
    try:
        registry.tag(made.shop, made.name, made.version, made.tags)
    except Exception as fault:
        why = type(fault).__name__
        say(f"note: the decision is kept, but MLflow could not be told ({why}); 'promote' will tell it")


def _show(about: Asked) -> None:
    """The candidate's verdict, what was decided about it so far, and its page."""
    found = decisions(about.shop, about.name, about.version)
    rows = [[made.at, DONE[made.decision], made.responder or "(nobody)", made.source,
             "this report" if made.report == about.digest else "an earlier report", made.reason]
            for made in found]  # fmt: skip
    if rows:
        print(grid(["at (UTC)", "decision", "by", "source", "about", "reason"], rows))
    print(f"version {about.version} of {about.shop}.{about.name}, report {about.digest[:SHORT]}: "
          f"the gate says {about.answer}; review: {wanted(held=load(about.shop).review)}")  # fmt: skip
    print(f"page: {page_of(about)}")
    print(f"next: python -m models review {about.name} --shop {about.shop} --approve --reason '...'   (or --reject)")
