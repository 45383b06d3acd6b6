"""The audit log: who read or changed what of the closed zone, and when; each line holds the hash of the one before it.

Standard library only; part of the language that every room shares. One hook at the entry of `python -m jobs` and
`python -m models` writes a line when such a command begins and one when it ends; a step knows nothing of it. No line
holds a row, a visitor's id or a query: of a command line only the words that are known to be harmless.

Where the guarantee ends: the chain shows that a line was changed or taken out, to whoever knows a later hash (the
*head*). Who may write the file may also write a new chain from some line on, and cut its end: a head that was noted
elsewhere (each privacy page and MLflow's copy of it show the head of their moment) shows that, by `--head`.
The API's requests are not commands: what it writes of visitors is the feedback log.
"""

import argparse
import fcntl
import getpass
import hashlib
import json
import os
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jobs.console import FAILED, Refused, grid, show
from jobs.warehouse import POINTED, home, sync, warehouse, write_atomically

OPEN = frozenset({
    "aggregate", "audit", "baseline", "compare", "demo", "dictionary", "doctor", "down", "evaluate", "examples",
    "features list", "index", "law", "list", "materialise", "prepare", "privacy", "promote", "review", "rollback",
    "search", "show", "status", "tables", "train", "up", "validate", "warm",
})  # fmt: skip
"""Commands that do not touch the closed zone. Every other one is written down, also one that is not thought of here."""
TOUCHES: Mapping[str, tuple[str, ...]] = {
    "import": ("raw",),
    "clean": ("raw", "clean", "quarantine", "keys"),
    "anonymise": ("clean", "keys", "safe"),
    "quarantine": ("quarantine",),
    "features get": ("keys",),
    "recommend": ("keys",),
    "serve": ("keys", "feedback"),
    "rotate": ("keys",),
    "release": ("safe",),
}
"""What each touches; `every zone` of those that are not named."""
TOLD = ("zone", "table", "first", "last", "before", "day", "model", "bundle", "stale", "dry_run", "replay", "destroy")
"""Arguments whose values are days, names of ours or yes. Ids, queries and folders are not told."""
FIRST = "0" * 64
INTERRUPTED = 130


def log_file(shop: str) -> Path:
    """Where the audit log of a shop lies: 0600 in 0700."""
    return home() / shop / "audit" / "audit.jsonl"


def who() -> dict[str, str]:
    """The user of this machine, and the run and task of Airflow that asked, if one did."""
    names = {"dag": "AIRFLOW_CTX_DAG_ID", "run": "AIRFLOW_CTX_DAG_RUN_ID", "task": "AIRFLOW_CTX_TASK_ID"}
    asked = {name: os.environ[variable] for name, variable in names.items() if os.environ.get(variable)}
    return {"user": user(), **asked}


def user() -> str:
    """The user's name on this machine; their number where it has none."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def append(shop: str, line: Mapping[str, Any]) -> str:
    """Add a line to the audit log of a shop; returns its hash."""
    return add(log_file(shop), line)


def add(
    path: Path, line: Mapping[str, Any], seal: Callable[[dict[str, Any]], dict[str, Any]] = dict,
    head: Path | None = None,
) -> str:  # fmt: skip
    """Add a line that holds the hash of the one before; returns its own. A line that a kill or a power cut left
    without its end is closed first, and stays: it is part of the chain. `seal` may sign the whole line.

    `head` is a file that keeps the hash of the last line, where who can cut the log cannot write. If it keeps one that
    the log no longer has, it is left as it is: a cut end does not grow together again.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (path.parent / ".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        follows = head is not None and kept(head) in ("", FIRST, *chain(path).hashes)
        handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            last, torn = last_line(handle)
            before = hashlib.sha256(last).hexdigest() if last else FIRST
            text = json.dumps(seal({**line, "before": before}), sort_keys=True, ensure_ascii=False).encode()
            os.write(handle, (b"\n" if torn else b"") + text + b"\n")
            os.fsync(handle)
        finally:
            os.close(handle)
        sync(path.parent)
        digest = hashlib.sha256(text).hexdigest()
        if head is not None and follows:
            write_atomically(head, f"{digest}\n")  # a kill before this leaves the one before, which the log still has
    return digest


def kept(head: Path) -> str:
    """The hash in a file of `add`; empty where nothing was kept yet."""
    return head.read_text(encoding="ascii").strip() if head.exists() else ""


def last_line(handle: int) -> tuple[bytes, bool]:
    """The last line of an open file, without its end, and whether that end is missing. Reads backwards by pieces."""
    size, text = os.fstat(handle).st_size, b""
    start = size
    while start and b"\n" not in text[:-1]:
        step = min(1 << 16, start)
        start -= step
        text = os.pread(handle, step, start) + text
    torn = bool(text) and not text.endswith(b"\n")
    return (text.splitlines() or [b""])[-1], torn


@dataclass(frozen=True)
class Chain:
    """What a look at the whole log found: its lines and their hashes, and the places (from 1) that are wrong."""

    lines: list[dict[str, Any]]
    hashes: list[str]
    broken: list[int]
    torn: list[int]

    @property
    def head(self) -> str:
        """The hash of the last line."""
        return self.hashes[-1] if self.hashes else FIRST


def chain(path: Path) -> Chain:
    """Read the log and check that each line holds the hash of the one before it."""
    raw = path.read_bytes().split(b"\n") if path.is_file() else []
    if raw and not raw[-1]:
        raw.pop()
    lines, hashes, broken, torn = [], [], [], []
    before = FIRST
    for place, text in enumerate(raw, 1):
        try:
            line = json.loads(text)
            if line["before"] != before:
                broken.append(place)
            lines.append(line)
        except (ValueError, TypeError, KeyError):
            torn.append(place)  # a line changed by somebody shows as well: the next one holds another hash
        before = hashlib.sha256(text).hexdigest()
        hashes.append(before)
    return Chain(lines, hashes, broken, torn)


# ---- the hook -------------------------------------------------------------------------------------


def name_of(args: argparse.Namespace) -> str:
    """The command, in the words of its line: `features get`, `import`."""
    name = str(getattr(args, "command", ""))
    return f"{name} {args.what}" if hasattr(args, "what") else name


def told(args: argparse.Namespace) -> dict[str, str]:
    """What the log says of the arguments."""
    given = {name: getattr(args, name, None) for name in TOLD}
    return {name: str(value) for name, value in given.items() if value not in (None, False)}


@contextmanager
def audited(args: argparse.Namespace, clock: Callable[[], datetime] | None = None) -> Iterator[Callable[[int], None]]:
    """A line before a command that touches the closed zone, and one after it: its exit code, and what it pointed to.

    Gives a function that takes the exit code. A shop without a home gets none by this: nothing is written then.
    """
    shop, name = getattr(args, "shop", None), name_of(args)
    if not shop or name in OPEN:
        yield lambda code: None
        return
    now = clock or (lambda: datetime.now(UTC))
    about = {"id": secrets.token_hex(6), "command": name, **who()}
    began, pointed, code = time.monotonic(), len(POINTED), FAILED

    def write(line: Mapping[str, Any]) -> None:
        if (home() / shop / "warehouse").is_dir():
            append(shop, {"at": now().isoformat(timespec="seconds"), **about, **line})

    def ended(with_code: int) -> None:
        nonlocal code
        code = with_code

    touches = list(TOUCHES.get(name, ("every zone",)))
    write({"what": "begins", "touches": touches, "words": told(args)})
    try:
        yield ended
    except BaseException as fault:
        code = INTERRUPTED if isinstance(fault, KeyboardInterrupt) else getattr(fault, "exit_code", FAILED)
        raise
    finally:
        seconds = round(time.monotonic() - began, 1)
        write({"what": "ends", "exit": code, "seconds": seconds, "wrote": wrote(pointed)})


def wrote(since: int) -> list[str]:
    """The partitions that were pointed to since, by table: how many days, the first and the last."""
    days: dict[str, list[str]] = {}
    for _, mark in POINTED[since:]:
        days.setdefault(f"{mark.zone}/{mark.table}", []).append(mark.day)
    return [f"{name}: {len(set(each))} days, {min(each)} to {max(each)}" for name, each in sorted(days.items())]


# ---- for people -----------------------------------------------------------------------------------


def run(args: argparse.Namespace) -> int:
    """`python -m jobs audit`: the last lines; with `--verify`, whether any was changed or taken out."""
    warehouse(args.shop)
    path = log_file(args.shop)
    found = chain(path)
    shown = found.lines[-args.last_lines :]
    rows = [(line.get("at"), line.get("user"), line.get("command"), line.get("what"),
             ", ".join(line.get("touches", [])), line.get("exit")) for line in shown]  # fmt: skip
    if rows:
        print(grid(("at (UTC)", "who", "command", "", "touches", "exit"), rows))
    print(f"{show(len(found.hashes))} lines in {path}; head {found.head}")
    if args.verify:
        wrong = [f"line {place} does not hold the hash of the line before it" for place in found.broken]
        if args.head and args.head not in (*found.hashes, FIRST):
            wrong.append(f"no line has the hash {args.head[:16]}...: a line was changed, or the end was cut off")
        if wrong:
            raise Refused(f"the audit log was changed: {'; '.join(wrong[:3])}", where=str(path),
                          do="compare it with a backup, and with the heads on earlier privacy pages")  # fmt: skip
        unread = f"; {len(found.torn)} lines were cut short by a kill, and are part of the chain" if found.torn else ""
        print(f"every line holds the hash of the one before it{unread}")
        if not args.head:
            print("next: --verify --head HASH, with the head of an earlier privacy page, shows a cut end as well")
    return 0
