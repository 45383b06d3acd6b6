"""Ed25519 signatures (RFC 8032) of what is decided once and checked by others: promotions, certificates of erasure.

The private key lies in SHOP/keys/NAME.ed25519 (0600) and is read by whoever signs; its public half in
SHOP/keys/NAME.pub is all that a reader needs. What it does not guard against: someone who may write the public key.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from jobs.console import Problem
from jobs.warehouse import home, make_secret, write_atomically


def key_file(shop: str, name: str) -> Path:
    """Where the private key for one purpose lies."""
    return home() / shop / "keys" / f"{name}.ed25519"


def signing_key(shop: str, name: str) -> Ed25519PrivateKey:
    """The shop's private key for one purpose; made at the first use, 0600, together with its public half."""
    path = key_file(shop, name)
    if not path.exists():
        make_secret(path, Ed25519PrivateKey.generate().private_bytes_raw().hex())
    if path.stat().st_mode & 0o077:
        raise Problem(f"the {name} key can be read by others", where=str(path), do=f"chmod 600 {path}")
    key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(path.read_text().strip()))
    public = path.with_suffix(".pub")
    if not public.exists():
        write_atomically(public, key.public_key().public_bytes_raw().hex() + "\n")
    return key


def public_key(shop: str, name: str) -> Ed25519PublicKey:
    """The public half; a `Problem` if it cannot be read."""
    path = key_file(shop, name).with_suffix(".pub")
    try:
        return Ed25519PublicKey.from_public_bytes(bytes.fromhex(path.read_text().strip()))
    except (OSError, ValueError):
        raise Problem(f"the public key of {name} cannot be read", where=str(path)) from None


def canonical(values: Mapping[str, Any]) -> bytes:
    """What a signature is made over: all but itself, as JSON with one spelling."""
    told = {key: value for key, value in values.items() if key != "signature"}
    return json.dumps(told, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def signed(shop: str, name: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values with their signature (hexadecimal)."""
    return {**values, "signature": signing_key(shop, name).sign(canonical(values)).hex()}


def is_signed(key: Ed25519PublicKey, values: Mapping[str, Any]) -> bool:
    """Whether the signature is over these very values."""
    try:
        key.verify(bytes.fromhex(str(values.get("signature", ""))), canonical(values))
    except (InvalidSignature, ValueError):
        return False
    return True
