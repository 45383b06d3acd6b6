"""Files that only grow, one JSON object a line, written by many threads and processes at once.

The feedback log and the receipts are kept so. A line is whole or not there: writers take turns by a
lock, a line cut short by a full disk is taken back, and one cut short by a power cut is closed by the
next writer, so that readers lose that one line and no other.
"""

import fcntl
import json
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jobs.warehouse import sync
from models.serving.faults import Fault

Row = dict[str, Any]


def line_of(row: Row) -> bytes:
    """A row as one line of UTF-8 JSON; refuses what is no JSON (NaN)."""
    return json.dumps(row, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode("utf-8") + b"\n"


class Journal:
    """The files DAY.jsonl of one folder, owner-only (0600 in 0700)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._turn = threading.Lock()

    def path(self, day: str) -> Path:
        """The file of one UTC day."""
        return self.folder / f"{day}.jsonl"

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Nobody else, in this process or another, writes while this is held."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with self._turn, open(self.folder / ".lock", "a", opener=_owner_only) as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def append(self, day: str, make: Callable[[int], Sequence[bytes]], *, durable: bool) -> int:
        """Append the lines that `make` gives for the offset they will start at; returns that offset.

        The caller holds `turn`. `durable`: on return the lines survive a power cut (fsync of the file, and
        of the folder if the file is new). If the disk is full nothing is added, and a `Fault` says so.
        """
        path = self.path(day)
        fresh = not path.exists()
        handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            size = os.fstat(handle).st_size
            start = size + (1 if size and os.pread(handle, 1, size - 1) != b"\n" else 0)
            whole = b"\n" * (start - size) + b"".join(make(start))
            try:
                if os.write(handle, whole) != len(whole):
                    raise OSError("written in part")
                if durable:
                    os.fsync(handle)
            except OSError as fault:
                os.ftruncate(handle, size)
                raise Fault(
                    503,
                    "the answer could not be written down",
                    where=self.folder.name,
                    do="free some disk, then send it again",
                ) from fault
        finally:
            os.close(handle)
        if durable and fresh:
            sync(self.folder)
        return start

    def lines(self, day: str, start: int = 0) -> tuple[list[Row], int]:
        """The whole lines of a day from byte `start` on, and where the next one will start. Torn lines are left out."""
        try:
            with self.path(day).open("rb") as stream:
                stream.seek(start)
                data = stream.read()
        except FileNotFoundError:
            return [], 0
        whole = data[: data.rfind(b"\n") + 1]
        return [row for line in whole.splitlines() if (row := _read(line)) is not None], start + len(whole)

    def line_at(self, day: str, offset: int) -> Row | None:
        """The row that starts at byte `offset` of a day, or None."""
        try:
            with self.path(day).open("rb") as stream:
                stream.seek(offset)
                return _read(stream.readline())
        except (FileNotFoundError, OSError, OverflowError):
            return None


def _read(line: bytes) -> Row | None:
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) else None


def _owner_only(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
