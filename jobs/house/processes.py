"""Processes of ours: known by id and start time, found again by a mark in their environment, ended whole.

A process id alone is not enough: it may belong to another program by now. The start time, in clock ticks
since boot, tells them apart. Linux only: everything is read from /proc.
"""

import contextlib
import os
import signal
import time
from collections.abc import Iterable
from pathlib import Path

PROC = Path("/proc")
PATIENCE = 15.0  # seconds between SIGTERM and SIGKILL: Airflow needs about six


def _stat(pid: int) -> list[str]:
    """Fields of /proc/PID/stat after the name, which may hold blanks; empty if the process is gone."""
    try:
        return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def started(pid: int) -> int | None:
    """When a living process started (ticks since boot); None if it is gone or waits to be buried."""
    fields = _stat(pid)
    return int(fields[19]) if fields and fields[0] not in "ZX" else None


def alive(pid: int, start: int) -> bool:
    """Whether that very process lives."""
    return started(pid) == start


def environment(pid: int) -> dict[str, str]:
    """The environment a process was started with; empty if it may not be read."""
    try:
        raw = (PROC / str(pid) / "environ").read_bytes()
    except OSError:
        return {}
    pairs = (entry.partition("=") for entry in raw.decode(errors="replace").split("\0"))
    return {name: value for name, _, value in pairs if name}


def pids() -> list[int]:
    """Ids of all processes."""
    return sorted(int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit())


def _family(pid: int) -> set[int]:
    """A process and its ancestors: never to be ended by their own child."""
    found: set[int] = set()
    while pid > 0 and pid not in found:
        found.add(pid)
        fields = _stat(pid)
        pid = int(fields[1]) if fields else 0
    return found


def marked(name: str, value: str | None, home: Path) -> list[int]:
    """Living processes of this home whose environment has `name` (with this `value`, if one is given)."""
    spared = _family(os.getpid())
    found = []
    for pid in pids():
        given = environment(pid) if pid not in spared else {}
        if given.get("ENDCAP_HOME") == str(home) and name in given and value in (None, given[name]) and started(pid):
            found.append(pid)
    return found


def command(pid: int) -> str:
    """What a process calls itself, for a table."""
    try:
        return (PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()[:60]
    except OSError:
        return "(gone)"


def own_memory(pids: Iterable[int]) -> int:
    """Bytes resident in these processes without files' pages: too many where forks share some, but cheap to read."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError, ValueError, IndexError):
            _, resident, shared, *_ = (PROC / str(pid) / "statm").read_text().split()
            total += (int(resident) - int(shared)) * os.sysconf("SC_PAGE_SIZE")
    return total


def proportional_memory(pids: Iterable[int]) -> int:
    """Bytes of memory held by these processes together; shared pages are counted once (PSS).

    Dear: the kernel walks all pages of a process and holds its map meanwhile, 0.1 s for 2 GB.
    """
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError, ValueError, IndexError):
            for line in (PROC / str(pid) / "smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) * 1024
    return total


def _signal(pid: int, number: int) -> None:
    """Signal the group of a process if it leads one, else the process."""
    with contextlib.suppress(OSError):
        if os.getpgid(pid) == pid:
            os.killpg(pid, number)
        else:
            os.kill(pid, number)


def _wait(starts: dict[int, int], seconds: float) -> dict[int, int]:
    """Those still alive after at most `seconds`."""
    until = time.monotonic() + seconds
    left = starts
    while left and time.monotonic() < until:
        for pid in left:
            with contextlib.suppress(OSError):
                os.waitpid(pid, os.WNOHANG)  # bury it, where it is a child of ours
        left = {pid: start for pid, start in left.items() if alive(pid, start)}
        if left:
            time.sleep(0.1)
    return left


def end(pids: Iterable[int], patience: float = PATIENCE) -> list[int]:
    """SIGTERM, wait, SIGKILL: returns those that had to be killed. The same process only: start times are compared."""
    starts = {pid: start for pid in pids if (start := started(pid)) is not None}
    for pid in starts:
        _signal(pid, signal.SIGTERM)
    stubborn = _wait(starts, patience)
    for pid, start in stubborn.items():
        if alive(pid, start):
            _signal(pid, signal.SIGKILL)
    _wait(stubborn, 5.0)
    return sorted(stubborn)
