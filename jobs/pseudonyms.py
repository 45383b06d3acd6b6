"""Pseudonyms: who a visitor is outside the closed zone. No engine is imported.

HMAC-SHA-256 (RFC 2104) under a secret of 256 random bits, cut to 128 bits: without the key a
pseudonym can neither be computed nor guessed; with it, the same visitor always gets the same one.
Another epoch (a new key) unlinks everything; the epoch stands in front, so that a stale pseudonym
is seen at once. The guarantee ends where the key is: keys/ is 0600 and never leaves the machine.
"""

import hashlib
import hmac
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from jobs.console import Problem
from jobs.warehouse import home, make_secret

DIGITS = 32
"""Hexadecimal digits of a pseudonym: 128 bits, so 10^9 visitors collide with probability 1.5e-21."""

DOMAINS = {"session_id": "session", "basket_id": "basket"}
"""Other columns that point at a visitor: each has its own domain, so that equal ids stay unlinked."""


@dataclass(frozen=True)
class Key:
    """The secret (32 bytes; not printed by repr) and its epoch."""

    secret: bytes = field(repr=False)
    epoch: int = 1


def key_file(shop: str) -> Path:
    """Where the key of a shop lies: 64 hexadecimal digits, mode 0600."""
    return home() / shop / "keys" / "pseudonym.key"


def load_key(shop: str) -> Key:
    """The shop's key; made on first use. Two processes that make it at once agree on one.

    A `Problem` if the file is not 64 hexadecimal digits: a key that is silently replaced would
    part every visitor from their history.
    """
    path = key_file(shop)
    if not path.exists():
        make_secret(path, secrets.token_hex(32))
    text = path.read_text(encoding="ascii", errors="replace").strip()
    try:
        secret = bytes.fromhex(text)
    except ValueError:
        secret = b""
    if len(secret) != 32:
        raise Problem(
            "the pseudonym key is damaged", where=str(path), do="restore it from a backup: it must hold 64 hex digits"
        )
    epoch = path.with_suffix(".epoch")
    return Key(secret, int(epoch.read_text(encoding="ascii")) if epoch.exists() else 1)


def pseudonym(key: Key, visitor_id: str) -> str:
    """`v1_` and 32 hexadecimal digits. `jobs.anonymising` computes the same in Spark (a test compares)."""
    return f"v{key.epoch}_{_digest(key, visitor_id)}"


def linked(key: Key, domain: str, value: str) -> str:
    """The stand-in for an id that points at a visitor (a session, a basket): `session1_` and 32 digits."""
    return f"{domain}{key.epoch}_{_digest(key, f'{domain}:{value}')}"


def _digest(key: Key, message: str) -> str:
    return hmac.new(key.secret, message.encode("utf-8"), hashlib.sha256).hexdigest()[:DIGITS]
