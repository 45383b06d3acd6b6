"""`--from`: a folder, or the address of one in object storage (s3://, gs://, file://), through one door.

Guarantees. A local path is read where it lies. What lies elsewhere is landed first: streamed into the shop's home, only
where it changed (size, time of change, ETag), each file under its name only when it is whole, and gone when it is gone
there. A store that changes while it is landed stops the import. No address is ever printed with a key in it.
"""

import hashlib
import json
import os
import re
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from jobs.console import Problem, Usage, narrate
from jobs.finding import check_room
from jobs.warehouse import home, write_atomically

if TYPE_CHECKING:
    import pyarrow.fs

_PIECE = 1 << 23  # bytes that are held of a file on its way
_SCHEMES = ("s3", "gs", "gcs", "file")


def is_address(given: str) -> bool:
    """Whether `--from` names a store and not a path.

    >>> is_address("s3://shop/raw"), is_address("/data/shop"), is_address("C:/data")
    (True, False, False)
    """
    return "://" in given


def shown(address: str) -> str:
    """An address as it may be printed: without user, key and settings. A key may hold any sign, a slash say.

    >>> shown("s3://key:secret@shop/raw?endpoint_override=x"), shown("s3://key:se/c?r#et@shop/raw")
    ('s3://shop/raw', 's3://shop/raw')
    """
    scheme, _, rest = address.partition("://")
    return f"{scheme}://{re.split('[?#]', rest.removeprefix(f'{keys_of(address)}@'))[0]}"


def keys_of(address: str) -> str:
    """User and key of an address; '' if it has none, as that of a folder never has."""
    scheme, _, rest = address.partition("://")
    return "" if scheme.lower() == "file" else rest.rpartition("@")[0]


def without_keys(text: str, address: str) -> str:
    """What a store says of itself, as it may be printed: it quotes the address, or pieces of it.

    >>> without_keys("no host 'key:sec'", "s3://key:sec/ret@shop/raw")
    "no host '...:...'"
    """
    text = text.replace(address, shown(address))
    keys = keys_of(address)
    pieces = {piece for told in (keys, unquote(keys)) for piece in (told, *re.split("[:/?#@]", told)) if len(piece) > 2}
    for piece in sorted(pieces, key=len, reverse=True):
        text = text.replace(piece, "...")
    return text


@dataclass(frozen=True)
class Remote:
    """A file of a store: its name below the address, where it lies there, and what tells that it changed."""

    name: str
    path: str
    size: int
    changed: str


def landed(shop: str, address: str) -> Path:
    """The folder in the shop's home that holds what lies at `address` now."""
    scheme = address.partition("://")[0].lower()
    if scheme not in _SCHEMES:
        raise Usage(f"no store is called '{scheme}://'", do="give a path, or an address of s3://, gs:// or file://")
    folder = home() / shop / "landed" / hashlib.sha256(shown(address).encode()).hexdigest()[:16]
    with told(address):
        store, root = opened(address)
        there = files_of(store, root)
        if not there:
            raise Problem("there are no files", where=shown(address), do="check the address given by --from")
        check_room(sum(file.size for file in there))
        with narrate(f"land {len(there)} files"):
            land(store, there, folder)
        if files_of(store, root) != there:
            raise Problem(
                "the store changed while it was read; nothing was imported",
                where=shown(address),
                do="import again when its files are written whole",
            )
    return folder


@contextmanager
def told(address: str) -> Iterator[None]:
    """What a store says when it fails, as one line without keys."""
    import pyarrow as pa

    try:
        yield
    except (OSError, ValueError, pa.ArrowException) as fault:
        first = (without_keys(str(fault), address).splitlines() or [""])[0][:200]
        raise Problem(
            f"the store cannot be read: {first}",
            where=shown(address),
            do="check the address, the credentials (for s3: AWS_ACCESS_KEY_ID and so on) and the region",
        ) from None  # what the store says may hold the key, and --verbose prints causes


@contextmanager
def told_of_there(folder: Path, address: str) -> Iterator[None]:
    """A fault of a landed file is told as one of its address: what is mended in the copy is lost when it is landed
    again."""
    try:
        yield
    except Problem as problem:
        told = (problem.what, problem.where, problem.do)
        problem.what, problem.where, problem.do = (text.replace(str(folder), shown(address)) for text in told)
        raise


def opened(address: str) -> "tuple[pyarrow.fs.FileSystem, str]":
    """The store of an address, and the path in it."""
    import pyarrow.fs

    store, root = pyarrow.fs.FileSystem.from_uri(address)
    return store, root


def files_of(store: "pyarrow.fs.FileSystem", root: str) -> list[Remote]:
    """All files below a path of a store, by name. Names that would lead out of a folder are refused."""
    import pyarrow.fs

    found = []
    for info in store.get_file_info(pyarrow.fs.FileSelector(root, recursive=True)):
        name = info.path[len(root.rstrip("/")) + 1 :]
        if info.type != pyarrow.fs.FileType.File or any(part.startswith(".") for part in name.split("/")):
            continue
        if "\\" in name or "" in name.split("/"):
            raise Problem(f"the store has a file called '{name}'", do="give it a name that can be one of a file")
        tag = {} if isinstance(store, pyarrow.fs.LocalFileSystem) else tags(store, info.path)
        found.append(Remote(name, info.path, info.size, f"{info.mtime_ns} {tag.get('ETag', '')}".strip()))
    return sorted(found, key=lambda file: file.name)


def tags(store: "pyarrow.fs.FileSystem", path: str) -> dict[str, str]:
    """What a store says of a file: S3's times are whole seconds, so its ETag is asked for too."""
    with store.open_input_file(path) as file:
        meta: Mapping[Any, Any] = file.metadata() or {}
        return {_text(key): _text(value) for key, value in meta.items()}


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def land(store: "pyarrow.fs.FileSystem", there: list[Remote], folder: Path) -> None:
    """Make `folder` hold what is there. What is known to be the same is not read again."""
    known_path = folder.with_suffix(".json")
    known: dict[str, str] = json.loads(known_path.read_text(encoding="utf-8")) if known_path.is_file() else {}
    folder.mkdir(parents=True, exist_ok=True)
    here = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    for name in here.keys() - {file.name for file in there}:  # gone there, or half a file of a run that was killed
        here[name].unlink()
    remove_empty(folder)
    for file in there:
        same = file.name in here and here[file.name].stat().st_size == file.size
        if not same or known.get(file.name) != file.changed:
            fetch(store, file, folder / file.name)
    told_now = {file.name: file.changed for file in there}
    if told_now != known:
        write_atomically(known_path, json.dumps(told_now, indent=1, sort_keys=True, ensure_ascii=False) + "\n")


def remove_empty(folder: Path) -> None:
    """Folders without files are not in a store: each could be taken for a delivery, or bear the name of a file."""
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()


def fetch(store: "pyarrow.fs.FileSystem", file: Remote, target: Path) -> None:
    """Stream one file; it bears its name only once it is whole."""
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    try:
        with store.open_input_stream(file.path) as source, unfinished.open("wb") as out:
            while piece := source.read(_PIECE):
                out.write(piece)
            out.flush()
            os.fsync(out.fileno())
        if unfinished.stat().st_size != file.size:
            raise Problem(f"{file.name} changed while it was read", do="import again when it is written whole")
        unfinished.replace(target)
    finally:
        unfinished.unlink(missing_ok=True)
