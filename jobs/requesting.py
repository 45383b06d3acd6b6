"""A request: who is to be erased, written down in the closed zone under a name that tells nothing of them.

Airflow keeps what is typed into its forms: with the run, and in its audit log, where it stays when the run is deleted.
So its form takes the name of a request, and the ids stay here: SHOP/erasures/requests/NAME.json, owner-only, until the
erasure is searched for what is left, or until it was refused because nothing is known of whom it names.
"""

import json
import re
import secrets
from collections.abc import Iterable, Sequence
from pathlib import Path

from jobs.console import Usage
from jobs.warehouse import Warehouse, make_secret, sync

NAME = re.compile(r"r[0-9a-f]{12}")
"""What a request is called; drawn by chance. The DAG `erase_visitor` takes no other word."""


def folder(house: Warehouse) -> Path:
    """Where the requests of a shop wait."""
    return house.erasures.parent / "requests"


def waiting(house: Warehouse) -> list[str]:
    """The names of the requests that nobody has answered."""
    return sorted(path.stem for path in folder(house).glob("r*.json"))


def ask(house: Warehouse, ids: Sequence[str], by: str) -> str:
    """Write a request down, durably; returns its name. Whether these visitors are known is looked at later."""
    name = f"r{secrets.token_hex(6)}"
    house.erasures.parent.mkdir(exist_ok=True, mode=0o700)
    make_secret(_file(house, name), json.dumps({"ids": list(ids), "by": by}))
    return name


def read(house: Warehouse, name: str) -> tuple[list[str], str] | None:
    """The ids of a request and who asked; None if it does not wait (any more). `Usage` for what is no request's name,
    which is not repeated: it may be an id that was typed here."""
    if not NAME.fullmatch(name):
        raise Usage("this is not the name of a request", do="give the name that 'erase --later' printed, such as "
                    "r0123456789ab; whatever was typed instead stands now where it was typed")  # fmt: skip
    try:
        told = json.loads(_file(house, name).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return list(told["ids"]), str(told["by"])


def about(house: Warehouse, ids: Iterable[str]) -> list[str]:
    """The requests that name nobody else than these visitors."""
    mine = set(ids)
    asked = ((name, read(house, name)) for name in waiting(house))
    return [name for name, told in asked if told is not None and set(told[0]) <= mine]


def drop(house: Warehouse, names: Iterable[str]) -> None:
    """Remove requests: they are answered, or can never be."""
    for name in names:
        _file(house, name).unlink(missing_ok=True)
    if folder(house).is_dir():
        sync(folder(house))


def _file(house: Warehouse, name: str) -> Path:
    return folder(house) / f"{name}.json"
