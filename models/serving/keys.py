"""The keys of a shop's API: made once, readable by their owner only, compared in constant time.

`api.key` may ask for everything; `catalogue.key` for what is nobody's: searches, and features of items and queries.
"""

import hmac
import secrets
from pathlib import Path

from jobs.console import Problem
from jobs.warehouse import home, make_secret

LEAST = 20  # characters; a shorter key is a slip of the hand


VISITORS = "visitors"
"""The right to send visitors' ids, and to read what is known of them."""
RIGHTS: dict[str, frozenset[str]] = {"api": frozenset({VISITORS}), "catalogue": frozenset()}
"""Each key, by the name of its file, and its rights."""


def key_path(shop: str, name: str = "api") -> Path:
    """Where a key of `shop` lies."""
    return home() / shop / "keys" / f"{name}.key"


def rights_of(given: str, keys: dict[str, str]) -> frozenset[str] | None:
    """The rights of the key that was given, of these by name; None if it is none of them. Compares with all of them, so
    that the time taken tells nothing."""
    found = [RIGHTS[name] for name, key in keys.items() if same(given, key)]
    return found[0] if found else None


def load_or_create(shop: str, name: str = "api") -> str:
    """A key of `shop`'s API; made from 32 random bytes if there is none. Two processes at once get the same one.

    Refuses a key that others may read, and one too short to be one.
    """
    path = key_path(shop, name)
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
