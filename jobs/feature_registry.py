"""Where the definitions of features are registered, who may change them, and how a feature goes.

The registry is SQLite in the shop's home, or the database that ENDCAP_REGISTRY addresses
("postgresql://user:password@host/database"), which several machines share. One process at a time applies: on one
machine by the shop's lock, in a shared database by an advisory lock of it, which ends with its connection. Feast's
settings name the variable, not what it holds: no file and no message of ours has the password.

A feature goes in two steps: a version in which it is tagged `deprecated`, whose look-ups and training sets warn once a
process; and one without it. Definitions that leave out what was never deprecated are refused.
"""

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jobs.console import Problem, say
from jobs.warehouse import sqlite

VARIABLE = "ENDCAP_REGISTRY"
TAG = "deprecated"
"""The tag of a feature that will go: since when, and what to use, such as "2026-11, use item_stats:views_28d"."""


def settings(folder: Path) -> dict[str, Any]:
    """The registry's part of feature_store.yaml, for the Feast folder of a shop."""
    path = f"${{{VARIABLE}}}" if os.environ.get(VARIABLE) else sqlite(folder / "registry.db")
    return {"registry_type": "sql", "path": path, "cache_ttl_seconds": 60}


def shown(address: str) -> str:
    """A database's address as it may be shown: without its password.

    >>> shown("postgresql://endcap:hidden@db.example/features")
    'postgresql://endcap:***@db.example/features'
    """
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        return make_url(address).render_as_string(hide_password=True)
    except ArgumentError:
        return f"what ${VARIABLE} holds"


def place() -> str:
    """Which registry is meant, for a stamp: empty for the home's own."""
    address = os.environ.get(VARIABLE)
    return shown(address) if address else ""


@contextmanager
def turn(shop: str) -> Iterator[None]:
    """Nobody else applies definitions of this shop to a shared registry meanwhile; nothing to wait for in the home's
    own, which the caller has locked. A `Problem` if the database does not answer."""
    address = os.environ.get(VARIABLE)
    if not address:
        yield
        return
    from sqlalchemy import create_engine, text
    from sqlalchemy.exc import ArgumentError, SQLAlchemyError
    from sqlalchemy.pool import NullPool

    number = int.from_bytes(hashlib.sha256(shop.encode()).digest()[:8], "big", signed=True)
    try:
        engine = create_engine(_with_driver(address), poolclass=NullPool)
        if engine.dialect.name != "postgresql":
            raise Problem(
                "the registry must be a PostgreSQL database", where=shown(address), do=f"mend {VARIABLE}, or unset it"
            )
        live = engine.connect()
        live.execute(text("SELECT pg_advisory_lock(:number)"), {"number": number})
    except (SQLAlchemyError, ArgumentError, ImportError) as fault:
        raise Problem(
            f"the feature registry does not answer ({type(fault).__name__})",
            where=shown(address),
            do=f"start it, or mend {VARIABLE}",
        ) from None  # what a driver says may hold the address
    try:
        yield
    finally:
        live.close()  # a session's locks end with it


def _with_driver(address: str) -> str:
    """With the driver that is installed, as Feast does it.

    >>> _with_driver("postgres://a/b"), _with_driver("postgresql+psycopg://a/b")
    ('postgresql+psycopg://a/b', 'postgresql+psycopg://a/b')
    """
    scheme, _, rest = address.partition("://")
    return f"postgresql+psycopg://{rest}" if scheme in ("postgres", "postgresql") else address


def apply(live: Any, definitions: list[Any]) -> None:
    """Register the definitions, and take out the views that they leave out; a `Problem`, and nothing is changed, if a
    feature would go that was not deprecated before. The caller has the turn."""
    from feast import FeatureView

    live.refresh_registry()
    before = live.list_feature_views()
    want = {each.name: each for each in definitions if isinstance(each, FeatureView)}
    if sudden := [f"{view}:{feature}" for view, feature, tag in gone(before, want) if not tag]:
        raise Problem(
            f"{len(sudden)} features would go without a warning: {', '.join(sudden[:5])}",
            where="feature_repo/features.py",
            do=f'bring them back with the tag {TAG}="SINCE, use X", and take them out a version later',
        )
    left = [view for view in before if view.name not in want]
    live.apply(definitions, objects_to_delete=left, partial=not left)


def gone(before: Iterable[Any], want: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """What is registered and not wanted any more: view, feature, and its tag of deprecation (empty if none)."""
    for view in before:
        kept = {feature.name for feature in want[view.name].features} if view.name in want else set()
        for feature in view.features:
            if feature.name not in kept:
                yield view.name, feature.name, feature.tags.get(TAG, "")


def deprecated(views: Iterable[Any]) -> dict[str, str]:
    """The features of these views that will go, as VIEW:FEATURE, each with what its tag says."""
    return {f"{v.name}:{f.name}": f.tags[TAG] for v in views for f in v.features if f.tags.get(TAG)}


def warn(views: Iterable[Any]) -> None:
    """Say once in this process which of the features that somebody reads will go."""
    for name, what in deprecated(views).items():
        if name not in _warned:
            _warned.add(name)
            say(f"warning: {name} is deprecated since {what}; it will go")


_warned: set[str] = set()
