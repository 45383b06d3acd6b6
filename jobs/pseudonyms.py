"""Pseudonyms: who a visitor is outside the closed zone. No engine is imported.

HMAC-SHA-256 (RFC 2104) under a secret of 256 random bits, cut to 128 bits: without the key a
pseudonym can neither be computed nor guessed; with it, the same visitor always gets the same one.
Another epoch (a new key) unlinks everything; the epoch stands in front, so that a stale pseudonym
is seen at once. The guarantee ends where the key is: keys/ is 0600 and never leaves the machine.

Each epoch's key is a file of its own, and one small file says which epoch is written by now: to rotate is to replace
that file. What was published before still bears the epoch before, so whoever looks something up by a pseudonym asks
for the key of what is published (`serving_key`), which `materialise` moves on.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from jobs.console import Problem, Refused
from jobs.tables import WHOLE
from jobs.warehouse import Mark, Name, home, make_secret, write_atomically

DIGITS = 32
"""Hexadecimal digits of a pseudonym: 128 bits, so 10^9 visitors collide with probability 1.5e-21."""

DOMAINS = {"session_id": "session", "basket_id": "basket"}
"""Other columns that point at a visitor: each has its own domain, so that equal ids stay unlinked."""


@dataclass(frozen=True)
class Key:
    """The secret (32 bytes; not printed by repr) and its epoch."""

    secret: bytes = field(repr=False)
    epoch: int = 1


def key_file(shop: str, epoch: int | None = None) -> Path:
    """Where the key of an epoch lies, of the current one if none is given: 64 hexadecimal digits, mode 0600."""
    epoch = current_epoch(shop) if epoch is None else epoch
    return home() / shop / "keys" / ("pseudonym.key" if epoch == 1 else f"pseudonym.{epoch}.key")


def epoch_file(shop: str) -> Path:
    """Where it is written which epoch is the current one."""
    return home() / shop / "keys" / "pseudonym.epoch"


def current_epoch(shop: str) -> int:
    """The epoch that `anonymise` writes; 1 until the key is rotated."""
    path = epoch_file(shop)
    return int(path.read_text(encoding="ascii")) if path.exists() else 1


def load_key(shop: str, epoch: int | None = None) -> Key:
    """The shop's key of an epoch, of the current one if none is given; the first is made on first use.

    Two processes that make it at once agree on one. A `Problem` if the file is not 64 hexadecimal digits, or is gone:
    a key that is silently replaced would part every visitor from their history.
    """
    epoch = current_epoch(shop) if epoch is None else epoch
    path = key_file(shop, epoch)
    if not path.exists() and epoch == 1 and current_epoch(shop) == 1:
        make_secret(path, secrets.token_hex(32))
    if not path.exists():
        raise Problem(
            f"the pseudonym key of epoch {epoch} is gone",
            where=str(path),
            do=f"restore it from a backup; if it was destroyed, what bears its pseudonyms is made again by "
            f"'python -m jobs anonymise --shop {shop} --stale' and the steps after it",
        )
    text = path.read_text(encoding="ascii", errors="replace").strip()
    try:
        secret = bytes.fromhex(text)
    except ValueError:
        secret = b""
    if len(secret) != 32:
        raise Problem(
            "the pseudonym key is damaged", where=str(path), do="restore it from a backup: it must hold 64 hex digits"
        )
    return Key(secret, epoch)


def held_epochs(shop: str) -> list[int]:
    """The epochs whose keys lie here, oldest first."""
    names = (re.fullmatch(r"pseudonym(?:\.(\d+))?\.key", path.name) for path in epoch_file(shop).parent.glob("*.key"))
    return sorted(int(name[1] or 1) for name in names if name)


def rotate(shop: str) -> Key:
    """A new key of the next epoch, which is the current one from now on. Killed at any instruction, the epoch before is
    current still, and the next call goes on with the key that was made."""
    epoch = load_key(shop).epoch + 1
    make_secret(key_file(shop, epoch), secrets.token_hex(32))
    write_atomically(epoch_file(shop), f"{epoch}\n")
    return load_key(shop, epoch)


def serving_file(shop: str) -> Path:
    """Where `materialise` writes the epoch of the pseudonyms in the online store."""
    return home() / shop / "feast" / "epoch"


def serving_key(shop: str) -> Key:
    """The key of the pseudonyms that can be looked up now: of the online store's epoch, else the current one."""
    path = serving_file(shop)
    return load_key(shop, int(path.read_text(encoding="ascii")) if path.exists() else None)


def epochs(marks: Iterable[Mark]) -> dict[int, list[str]]:
    """The epochs of the pseudonyms in partitions of the safe zone, as their inputs name them, each with its days."""
    found: dict[int, list[str]] = {}
    for mark in marks:
        for name in map(Name.of, mark.inputs):
            if (name.zone, name.table, name.day) == ("policy", "key_epoch", WHOLE):
                found.setdefault(int(name.hash), []).append(mark.day)
    return found


def require_one_epoch(shop: str, marks: Iterable[Mark]) -> None:
    """`Refused` if partitions bear pseudonyms of several epochs: a visitor of two would be taken for two visitors."""
    found = epochs(marks)
    if len(found) > 1:
        old = sorted(day for epoch in sorted(found)[:-1] for day in found[epoch])
        raise Refused(
            f"safe holds pseudonyms of the epochs {', '.join(map(str, sorted(found)))}: a visitor would be two",
            where=f"{len(old)} partitions of an older epoch, first {old[0]}, last {old[-1]}",
            do=f"run 'python -m jobs anonymise --shop {shop} --stale' and 'validate --stale'; days whose clean rows "
            f"are gone can only be retired: 'python -m jobs retire --shop {shop} --zone safe --before DAY'",
        )


def pseudonym(key: Key, visitor_id: str) -> str:
    """`v1_` and 32 hexadecimal digits. `jobs.anonymising` computes the same in Spark (a test compares)."""
    return f"v{key.epoch}_{_digest(key, visitor_id)}"


def linked(key: Key, domain: str, value: str) -> str:
    """The stand-in for an id that points at a visitor (a session, a basket): `session1_` and 32 digits."""
    return f"{domain}{key.epoch}_{_digest(key, f'{domain}:{value}')}"


def _digest(key: Key, message: str) -> str:
    return hmac.new(key.secret, message.encode("utf-8"), hashlib.sha256).hexdigest()[:DIGITS]
