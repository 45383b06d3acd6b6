"""Who serves: an append-only row of signed records. Serving follows the highest valid one, and nothing else.

    SHOP/promotions/NAME/000001.json   {"shop", "name", "sequence", "action", "version", "bundle", "report",
                                        "verdict", "before", "written_at", "approval", "policy", "audit", "signature"}
    SHOP/keys/promotion.ed25519        the private key, 0600; only the process that promotes reads it
    SHOP/keys/promotion.pub            the public key; readers need this one alone

An action is `baseline`, `promote` or `rollback`, after which the version serves, or `refuse`, which
is kept for the record and changes nothing. Standard library and `cryptography` only: serving needs no
registry. What it does not guard against: someone who may write the public key, and someone who
deletes the highest records (an older champion serves then, of processes that start anew; the audit log of
models/audit.py shows it).
"""

import fcntl
import json
import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from jobs.console import Problem, Refused, say
from jobs.signing import canonical, is_signed, public_key
from jobs.signing import signing_key as key_of
from jobs.warehouse import home, write_atomically
from models.bundle import Bundle, bundles, open_bundle

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

Action = Literal["baseline", "promote", "rollback", "refuse"]
SERVING: tuple[Action, ...] = ("baseline", "promote", "rollback")


@dataclass(frozen=True)
class Record:
    """One decision. `before` is the sequence of the decision that a rollback returns to, if there is one; `report` the
    SHA-256 of the report, `policy` what the gate demanded, `approval` a person's word, `audit` the hash of the line of
    the audit log that it rests on: whoever cuts that line away shows it."""

    shop: str
    name: str
    sequence: int
    action: Action
    version: int
    bundle: str
    report: str
    verdict: Mapping[str, Any]
    before: int | None
    written_at: str
    approval: Mapping[str, Any] | None = None
    policy: Mapping[str, Any] = field(default_factory=dict)
    audit: str = ""
    signature: str = ""

    def signed_bytes(self) -> bytes:
        """What the signature is made over: all but itself, as canonical JSON."""
        return canonical(asdict(self))


@dataclass(frozen=True)
class Champion:
    """Who serves, by which record, and why higher records were passed over."""

    bundle: Bundle
    record: Record
    passed_over: tuple[str, ...] = ()


def _folder(shop: str, name: str) -> Path:
    return home() / shop / "promotions" / name


def signing_key(shop: str) -> "Ed25519PrivateKey":
    """The shop's private key of promotions; made at the first use, 0600, together with its public half."""
    return key_of(shop, "promotion")


def _files(shop: str, name: str) -> list[Path]:
    return sorted(path for path in _folder(shop, name).glob("*.json") if path.stem.isdecimal())


def _read(path: Path, shop: str, name: str, key: "Ed25519PublicKey") -> Record:
    """The record in `path` if its signature is right and it says its own place; `Problem` with the reason if not."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        record = Record(**values)
        right = is_signed(key, values)  # as they were written: an older record has fewer
    except (OSError, ValueError, TypeError) as fault:
        raise Problem(f"it cannot be read ({type(fault).__name__})", where=str(path)) from fault
    if not right:
        raise Problem("its signature is wrong", where=str(path))
    if (record.shop, record.name, record.sequence) != (shop, name, int(path.stem)):
        raise Problem("it was written for another place", where=str(path))
    return record


def records(shop: str, name: str) -> tuple[list[Record], list[str]]:
    """All valid records, lowest sequence first, and why the others are not valid."""
    files = _files(shop, name)
    key = public_key(shop, "promotion") if files else None
    valid, faults = [], []
    for path in files:
        assert key is not None
        try:
            valid.append(_read(path, shop, name, key))
        except Problem as problem:
            faults.append(f"record {int(path.stem)}: {problem.what}")
    return valid, faults


def append(
    shop: str,
    bundle: Bundle,
    action: Action,
    *,
    report: str = "",
    verdict: Mapping[str, Any] | None = None,
    before: int | None = None,
    approval: Mapping[str, Any] | None = None,
    policy: Mapping[str, Any] | None = None,
    audit: str = "",
) -> Record:
    """Sign and write the next record; two writers at once get two numbers. `report` is the SHA-256 of the report."""
    key, folder = signing_key(shop), _folder(shop, bundle.name)
    folder.mkdir(parents=True, exist_ok=True)
    while True:
        sequence = max((int(path.stem) for path in _files(shop, bundle.name)), default=0) + 1
        record = Record(
            shop, bundle.name, sequence, action, bundle.version, bundle.sha256, report, _plain(verdict) or {}, before,
            datetime.now(UTC).isoformat(timespec="seconds"), _plain(approval), _plain(policy) or {}, audit,
        )  # fmt: skip
        signed = {**asdict(record), "signature": key.sign(record.signed_bytes()).hex()}
        path = folder / f"{sequence:06d}.json"
        temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
        write_atomically(temporary, json.dumps(signed, indent=1, sort_keys=True, ensure_ascii=False) + "\n")
        try:
            os.link(temporary, path)  # never replaces a record
        except FileExistsError:
            continue
        finally:
            temporary.unlink()
        return Record(**signed)


def _plain(values: Mapping[str, Any] | None) -> Any:
    """As JSON gives it back, so that what is signed is what is read."""
    return None if values is None else json.loads(json.dumps(dict(values)))


@contextmanager
def deciding(shop: str, name: str) -> Iterator[None]:
    """One decision about a bundle at a time: whoever comes second sees what the first one decided."""
    path = _folder(shop, name) / ".lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _bundle_of(record: Record) -> Bundle:
    """The bundle that a record names, hashes compared."""
    bundle = open_bundle(bundles(record.shop, record.name) / str(record.version))
    if bundle.sha256 != record.bundle:
        raise Problem("its bundle is not the one that was signed")
    if due(record.shop, record.name, record.version) == "retire":
        raise Problem("it is retired: somebody it learnt from was erased")
    return bundle


def due(shop: str, name: str, version: int) -> str | None:
    """What is to become of a version since somebody it learnt from was erased: list, retrain, retire; None if nobody
    was. The data room writes the file (`python -m jobs erase --models`)."""
    try:
        told = json.loads(bundles(shop, "erased.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    policy = told.get(f"{name}/{version}", {}).get("policy")
    return None if policy is None else str(policy)


def find_champion(shop: str, name: str) -> Champion | None:
    """The bundle of the highest valid record that serves; None if there is none at all.

    A record whose signature or bundle is wrong is passed over, with the reason. If there are records
    but not one is valid, that is a `Refused`: better no answer than an unsigned one.
    """
    valid, faults = records(shop, name)
    passed = list(faults)
    for record in reversed(valid):
        if record.action not in SERVING:
            continue
        try:
            return Champion(_bundle_of(record), record, tuple(passed))
        except Problem as problem:
            passed.append(f"record {record.sequence}: {problem.what}")
    if passed:
        raise Refused(
            f"no valid promotion of {shop}.{name}: {'; '.join(passed)}",
            where=str(_folder(shop, name)),
            do=f"run 'python -m models baseline {name} --shop {shop}'",
        )
    return None


def champion(shop: str, name: str) -> Bundle | None:
    """The bundle that serves, or None; says which records were passed over and why."""
    found = find_champion(shop, name)
    for reason in found.passed_over if found else ():
        say(f"{shop}.{name}: passed over {reason}")
    return found.bundle if found else None


def serve(
    shop: str,
    bundle: Bundle,
    action: Action,
    *,
    report: str = "",
    verdict: Mapping[str, Any] | None = None,
    **more: Any,
) -> Record:
    """Let `bundle` serve from now on; the one that serves now becomes the one before it."""
    try:
        now = find_champion(shop, bundle.name)
    except Refused as broken:
        if action != "baseline":
            raise
        say(str(broken))
        now = None
    before = now.record.sequence if now else None
    return append(shop, bundle, action, report=report, verdict=verdict, before=before, **more)


def roll_back(shop: str, name: str, *, audit: str = "") -> tuple[Record, Record]:
    """Let the champion before this one serve again; returns the new record and the one that it ends.

    Two in a row go two champions back, not to and fro. `Refused` if there is none before, or if that one was to be
    trained again, and was: whom it learnt from was erased.
    """
    now = find_champion(shop, name)
    valid = {record.sequence: record for record in records(shop, name)[0]}
    earlier = valid.get(now.record.before) if now and now.record.before is not None else None
    if now is None or earlier is None:
        raise Refused(f"{shop}.{name} has no champion before this one", do=f"see 'python -m models list --shop {shop}'")
    if "retrain" == due(shop, name, earlier.version) != due(shop, name, now.bundle.version):
        raise Refused(
            f"version {earlier.version} of {shop}.{name} is not gone back to: somebody it learnt from was erased, and "
            "it was trained again since",
            do=f"run 'python -m models baseline {name} --shop {shop}', or train another",
        )
    made = append(shop, _bundle_of(earlier), "rollback", report=earlier.report, before=earlier.before, audit=audit,
                  verdict={"accepted": True, "why": f"rolled back from version {now.record.version}",
                           "ended": now.record.sequence})  # fmt: skip
    return made, now.record
