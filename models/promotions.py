"""Who serves: an append-only row of signed records. Serving follows the highest valid one, and nothing else.

    SHOP/promotions/NAME/000001.json   {"shop", "name", "sequence", "action", "version", "bundle", "report",
                                        "verdict", "before", "written_at", "signature"}
    SHOP/keys/promotion.ed25519        the private key, 0600; only the process that promotes reads it
    SHOP/keys/promotion.pub            the public key; readers need this one alone

An action is `baseline`, `promote` or `rollback`, after which the version serves, or `refuse`, which
is kept for the record and changes nothing. Standard library and `cryptography` only: serving needs no
registry. What it does not guard against: someone who may write the public key, and someone who
deletes the highest records (an older champion serves then).
"""

import json
import os
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from jobs.console import Problem, Refused, say
from jobs.warehouse import home, make_secret, write_atomically
from models.bundle import Bundle, bundles, open_bundle

Action = Literal["baseline", "promote", "rollback", "refuse"]
SERVING: tuple[Action, ...] = ("baseline", "promote", "rollback")


@dataclass(frozen=True)
class Record:
    """One decision. `before` is the sequence of the decision that a rollback returns to, if there is one."""

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
    signature: str = ""

    def signed_bytes(self) -> bytes:
        """What the signature is made over: all but itself, as canonical JSON."""
        values = {key: value for key, value in asdict(self).items() if key != "signature"}
        return json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


@dataclass(frozen=True)
class Champion:
    """Who serves, by which record, and why higher records were passed over."""

    bundle: Bundle
    record: Record
    passed_over: tuple[str, ...] = ()


def _folder(shop: str, name: str) -> Path:
    return home() / shop / "promotions" / name


def _key_file(shop: str) -> Path:
    return home() / shop / "keys" / "promotion.ed25519"


def signing_key(shop: str) -> Ed25519PrivateKey:
    """The shop's private key; made at the first use, 0600, together with its public half."""
    path = _key_file(shop)
    if not path.exists():
        make_secret(path, Ed25519PrivateKey.generate().private_bytes_raw().hex())
    if path.stat().st_mode & 0o077:
        raise Problem("the promotion key can be read by others", where=str(path), do=f"chmod 600 {path}")
    key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(path.read_text().strip()))
    public = path.with_suffix(".pub")
    if not public.exists():
        write_atomically(public, key.public_key().public_bytes_raw().hex() + "\n")
    return key


def _public_key(shop: str) -> Ed25519PublicKey:
    path = _key_file(shop).with_suffix(".pub")
    try:
        return Ed25519PublicKey.from_public_bytes(bytes.fromhex(path.read_text().strip()))
    except (OSError, ValueError):
        raise Problem("the public key of promotions cannot be read", where=str(path)) from None


def _files(shop: str, name: str) -> list[Path]:
    return sorted(path for path in _folder(shop, name).glob("*.json") if path.stem.isdecimal())


def _read(path: Path, shop: str, name: str, key: Ed25519PublicKey) -> Record:
    """The record in `path` if its signature is right and it says its own place; `Problem` with the reason if not."""
    try:
        record = Record(**json.loads(path.read_text(encoding="utf-8")))
        key.verify(bytes.fromhex(record.signature), record.signed_bytes())
    except InvalidSignature:
        raise Problem("its signature is wrong", where=str(path)) from None
    except (OSError, ValueError, TypeError) as fault:
        raise Problem(f"it cannot be read ({type(fault).__name__})", where=str(path)) from fault
    if (record.shop, record.name, record.sequence) != (shop, name, int(path.stem)):
        raise Problem("it was written for another place", where=str(path))
    return record


def records(shop: str, name: str) -> tuple[list[Record], list[str]]:
    """All valid records, lowest sequence first, and why the others are not valid."""
    files = _files(shop, name)
    key = _public_key(shop) if files else None
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
) -> Record:
    """Sign and write the next record; two writers at once get two numbers. `report` is the SHA-256 of the report."""
    key, folder = signing_key(shop), _folder(shop, bundle.name)
    folder.mkdir(parents=True, exist_ok=True)
    while True:
        sequence = max((int(path.stem) for path in _files(shop, bundle.name)), default=0) + 1
        record = Record(
            shop, bundle.name, sequence, action, bundle.version, bundle.sha256, report, json.loads(
                json.dumps(dict(verdict or {}))), before, datetime.now(UTC).isoformat(timespec="seconds"),
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


def _bundle_of(record: Record) -> Bundle:
    """The bundle that a record names, hashes compared."""
    bundle = open_bundle(bundles(record.shop, record.name) / str(record.version))
    if bundle.sha256 != record.bundle:
        raise Problem("its bundle is not the one that was signed")
    return bundle


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
    shop: str, bundle: Bundle, action: Action, *, report: str = "", verdict: Mapping[str, Any] | None = None
) -> Record:
    """Let `bundle` serve from now on; the one that serves now becomes the one before it."""
    try:
        now = find_champion(shop, bundle.name)
    except Refused as broken:
        if action != "baseline":
            raise
        say(str(broken))
        now = None
    return append(shop, bundle, action, report=report, verdict=verdict, before=now.record.sequence if now else None)


def roll_back(shop: str, name: str) -> tuple[Record, Record]:
    """Let the champion before this one serve again; returns the new record and the one that it ends.

    Two in a row go two champions back, not to and fro. `Refused` if there is none before.
    """
    now = find_champion(shop, name)
    valid = {record.sequence: record for record in records(shop, name)[0]}
    earlier = valid.get(now.record.before) if now and now.record.before is not None else None
    if now is None or earlier is None:
        raise Refused(f"{shop}.{name} has no champion before this one", do=f"see 'python -m models list --shop {shop}'")
    made = append(shop, _bundle_of(earlier), "rollback", report=earlier.report, before=earlier.before,
                  verdict={"accepted": True, "why": f"rolled back from version {now.record.version}"})  # fmt: skip
    return made, now.record
