"""A bundle: what is served together, sealed. A folder of files without code, and bundle.json with their hashes.

SHOP/bundles/NAME/VERSION/bundle.json
    {"shop", "name", "kind", "settings", "files": {name: sha256}, "data": [names of marks], "code"}
"""

import hashlib
import json
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jobs.console import Problem
from jobs.warehouse import code_version, home, write_atomically

SEAL = "bundle.json"
FORMATS = (".json", ".npy", ".safetensors", ".onnx", ".onnx.data", ".parquet", ".txt")
"""Formats that hold data and never run when they are read. A pickle is not among them."""


@dataclass(frozen=True)
class Bundle:
    """An opened bundle: its hashes were right when it was opened. `version` is 0 before it is registered."""

    shop: str
    name: str
    version: int
    folder: Path
    settings: Mapping[str, Any]
    kind: str = ""
    data: tuple[str, ...] = ()
    code: str = ""
    files: Mapping[str, str] = field(default_factory=dict)
    sha256: str = ""

    def file(self, name: str) -> Path:
        """Path of one of its files; `Problem` if it has none of that name."""
        if name not in self.files:
            raise Problem(f"bundle {self.shop}.{self.name} {self.version} has no file '{name}'", where=str(self.folder))
        return self.folder / name


def bundles(shop: str, name: str) -> Path:
    """Where the versions of one bundle lie."""
    return home() / shop / "bundles" / name


@contextmanager
def building(shop: str, name: str) -> Iterator[Path]:
    """A fresh folder to build a bundle in; it stays if all went well, and is removed if not."""
    folder = bundles(shop, name) / f".building-{uuid.uuid4().hex[:16]}"
    folder.mkdir(parents=True)
    try:
        yield folder
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def file_hash(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _contents(folder: Path) -> list[str]:
    """Names of all files in `folder`, below it too, without the seal; refuses links and unknown formats."""
    names = []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            raise Problem(f"a bundle holds files, not links: '{name}'", where=str(folder))
        if path.is_dir() or name == SEAL:
            continue
        if not name.endswith(FORMATS):
            raise Problem(
                f"a bundle may not hold '{name}'", where=str(folder), do=f"use one of the formats {', '.join(FORMATS)}"
            )
        names.append(name)
    return names


STARTS: Mapping[str, tuple[bytes, ...]] = {
    ".npy": (b"\x93NUMPY",),
    ".parquet": (b"PAR1",),
    ".onnx": (b"\x08",),  # the first field of a ModelProto is its ir_version
}
"""By which bytes a file of a format begins."""


def right_format(path: Path) -> bool:
    """Whether a file is what its name says, as far as its first bytes tell: data of one of `FORMATS`, no archive and no
    pickle under another name. The hashes say that it is unchanged, this that it was data when it was sealed."""
    with path.open("rb") as stream:
        head = stream.read(256)
    if starts := STARTS.get(path.suffix):
        # numpy's header is a literal that names the type of the values; objects would be a pickle.
        return head.startswith(starts) and not (path.suffix == ".npy" and b"'descr': '|O'" in head)
    if path.suffix == ".safetensors":  # eight bytes of length, then that much JSON
        return head[8:9] == b"{" and int.from_bytes(head[:8], "little") < path.stat().st_size
    if path.suffix == ".json":
        return head.lstrip()[:1] in {bytes([sign]) for sign in b'{["-0123456789tfn'}
    return path.suffix != ".txt" or b"\0" not in head  # .onnx.data are bare numbers


def seal(
    folder: Path, *, shop: str, name: str, kind: str, settings: Mapping[str, Any], data: Iterable[str] = ()
) -> Bundle:
    """Write bundle.json over the files that lie in `folder`, and open it. Same files, same settings: same bytes."""
    values = {
        "shop": shop,
        "name": name,
        "kind": kind,
        "settings": dict(settings),
        "files": {file: file_hash(folder / file) for file in _contents(folder)},
        "data": sorted(data),
        "code": code_version(),
    }
    write_atomically(folder / SEAL, json.dumps(values, indent=1, sort_keys=True, ensure_ascii=False) + "\n")
    return open_bundle(folder)


def open_bundle(folder: Path) -> Bundle:
    """The bundle in `folder`, after every hash was compared; `Problem` for anything missing, changed or added."""
    try:
        text = (folder / SEAL).read_bytes()
        values = json.loads(text)
        sealed: dict[str, str] = values["files"]
        bundle = Bundle(
            values["shop"],
            values["name"],
            int(folder.name) if folder.name.isdecimal() else 0,
            folder,
            values["settings"],
            values["kind"],
            tuple(values["data"]),
            values["code"],
            sealed,
            hashlib.sha256(text).hexdigest(),
        )
    except FileNotFoundError:
        raise Problem("no bundle here", where=str(folder), do="train or register it again") from None
    except (ValueError, KeyError, TypeError) as fault:
        raise Problem(f"the seal cannot be read ({type(fault).__name__})", where=str(folder / SEAL)) from fault
    found = _contents(folder)
    wrong = sorted(set(sealed) ^ set(found)) or [n for n in found if file_hash(folder / n) != sealed[n]]
    if wrong:
        raise Problem(f"'{wrong[0]}' is not as it was sealed", where=str(folder), do="train or register it again")
    if odd := [name for name in found if not right_format(folder / name)]:
        raise Problem(f"'{odd[0]}' is not what its name says", where=str(folder), do="train or register it again")
    return bundle


def keep(built: Path, version: int) -> Bundle:
    """Move a built bundle to the folder of its version; `Problem` if that version is already there."""
    sealed = open_bundle(built)
    target = bundles(sealed.shop, sealed.name) / str(version)
    if target.exists():
        raise Problem(f"version {version} of {sealed.shop}.{sealed.name} is already there", where=str(target))
    target.parent.mkdir(parents=True, exist_ok=True)
    staged = target.with_name(f".keeping-{uuid.uuid4().hex[:16]}")
    shutil.copytree(built, staged)
    staged.rename(target)
    if built.name.startswith(".building-"):
        shutil.rmtree(built)
    return open_bundle(target)
