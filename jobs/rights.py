"""Who may read which folder of a shop's home: the closed zone its owner alone, what lies below `safe` also one group.

Every file that a command of ours makes is its owner's alone (umask 077). Where the environment names a group in
ENDCAP_GROUP (production: the rooms that may read safe and below, each as a user of its own) the folders below `safe`
are opened to that group, and what is made in them belongs to it; the closed zone stays shut, whatever lies in it: a
folder that may not be entered hides all below it. Nobody else reads anything, ever.
"""

import os
import shutil
import stat
from collections.abc import Iterable
from pathlib import Path

from jobs.console import say
from jobs.warehouse import home

CLOSED = ("warehouse/raw", "warehouse/clean", "warehouse/quarantine", "feedback", "receipts", "keys", "policy", "audit",
          "privacy", "erasures")  # fmt: skip
"""Where the shop's own ids and people's own words stand, the answers to visitors, the keys, the books on all. 0700."""
OPENED = ("warehouse/safe", "warehouse/stats", "warehouse/examples", "feast", "docs", "reports", "lineage", "bundles",
          "indexes", "promotions", "reviews")  # fmt: skip
"""What a group may read in production: pseudonyms, features, training sets, reports, models. 0700, or 2750."""
WAY = ("", "warehouse")
"""Folders that are passed through on the way to both: to be entered by the group, not to be listed. 0700, or 0710."""


def group() -> str | None:
    """The group that may read what is not closed."""
    return os.environ.get("ENDCAP_GROUP") or None


def umask() -> int:
    """What is taken from the rights of every new file: all from others; writing, or all, from the group."""
    return 0o027 if group() else 0o077


def wanted(place: str) -> int:
    """The most that a folder of a shop's home may allow.

    >>> oct(wanted("warehouse/raw")), oct(wanted("warehouse"))
    ('0o700', '0o700')
    """
    if group() is None or place in CLOSED:
        return 0o700
    return 0o710 if place in WAY else 0o2750


def settle(shop: str) -> None:
    """Give the folders of a shop's home their rights, those that are there and ours; the rest `doctor` tells of."""
    root = home() / shop
    if not (root / "warehouse").is_dir():
        return
    for place in (*WAY, *CLOSED, *OPENED):
        path, mode = root / place, wanted(place)
        try:
            about = path.stat()
        except FileNotFoundError:
            continue
        if about.st_uid != os.geteuid() or stat.S_IMODE(about.st_mode) == mode:
            continue
        if mode != 0o700 and (readers := group()):
            try:
                shutil.chown(path, group=readers)
            except (LookupError, PermissionError) as fault:
                say(f"note: {path} is not opened to the group '{group()}': {fault}")
                mode = 0o700
        path.chmod(mode)


def too_open(root: Path) -> list[tuple[Path, int, int]]:
    """Folders of a shop's home that allow more than they may: (path, its mode, the mode that it should have)."""
    found = []
    for place in (*WAY, *CLOSED, *OPENED):
        path = root / place
        if path.is_dir() and (mode := stat.S_IMODE(path.stat().st_mode)) & 0o777 & ~wanted(place):
            found.append((path, mode, wanted(place)))
    return found


def encrypted(path: Path, mounts: Path = Path("/proc/self/mountinfo"), blocks: Path = Path("/sys/dev/block")) -> bool:
    """Whether a folder lies on a volume that this machine itself encrypts (dm-crypt, as LUKS makes it).

    False says nothing of what lies beneath: a cloud's volume is encrypted where this machine cannot see it.
    """
    best, number = "", ""
    for line in mounts.read_text(encoding="utf-8", errors="replace").splitlines() if mounts.exists() else []:
        parts = line.split()
        point = parts[4].replace("\\040", " ")
        if (path == Path(point) or Path(point) in path.parents) and len(point) >= len(best):
            best, number = point, parts[2]
    return any(_crypt(folder) for folder in _stack(blocks / number)) if number else False


def _stack(device: Path) -> Iterable[Path]:
    """A block device and those that it lies on."""
    yield device
    for below in sorted((device / "slaves").glob("*")):
        yield from _stack(below)


def _crypt(device: Path) -> bool:
    uuid = device / "dm" / "uuid"
    return uuid.is_file() and uuid.read_text(encoding="ascii", errors="replace").startswith("CRYPT-")
