"""The key of a shop's API: made once, readable by its owner only, compared in constant time."""

import hmac
import secrets
from pathlib import Path

from jobs.console import Problem
from jobs.warehouse import home, make_secret

LEAST = 20  # characters; a shorter key is a slip of the hand


def key_path(shop: str) -> Path:
    """Where the key of `shop` lies."""
    return home() / shop / "keys" / "api.key"


def load_or_create(shop: str) -> str:
    """The API key of `shop`; made from 32 random bytes if there is none. Two processes at once get the same one.

    Refuses a key that others may read, and one too short to be one.
    """
    path = key_path(shop)
    if not path.exists():
        make_secret(path, secrets.token_urlsafe(32))
    if path.stat().st_mode & 0o077:
        raise Problem("the API key can be read by others", where=str(path), do=f"run 'chmod 600 {path}'")
    key = path.read_text(encoding="ascii").strip()
    if len(key) < LEAST:
        raise Problem("the API key is too short to be one", where=str(path), do="remove the file: a new key is made")
    return key


def same(given: str, key: str) -> bool:
    """Whether `given` is the key, in a time that does not tell how much of it is right."""
    return hmac.compare_digest(given.encode("utf-8", "replace"), key.encode("utf-8"))
