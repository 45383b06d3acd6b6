"""Steps killed on purpose and run again: `python -m tests.kills --points 80 --spark 20 --seed 1` (`make kills`).

Two kinds. **Points**: `import`, which needs no Spark, ends at once just before its n-th act on the file system (a file
opened, a folder made, a name replaced or removed); the points are spread evenly over all there are. **Spark**: a real
step over a real shop is killed when a random share of what it writes is there: the whole process group, its JVM alone,
or one Python worker alone.

After each kill everything that is visible must be whole (the hash of its files is that of its mark), and be either
what stood there before or what an undisturbed run gives; after the step is run again, all of it the latter.
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.tables import ZONES
from jobs.warehouse import State, Warehouse, fingerprint
from tests.crashing import Crash, crashing

ROOT = Path(__file__).resolve().parents[1]
SHOP = "sample"
STATES: tuple[State, ...] = ("proposed", "published")
WEEK = ["--first=2017-08-14", "--last=2017-08-20"]
A_WEEK = ["import", SHOP, "--scale=0.2", "--tables=items,visitors,searches,rankings,interactions,reviews", *WEEK]
STEPS = ("clean", "anonymise", "validate", "aggregate")
VICTIMS = ("group", "jvm", "worker")
TRIES = 5
Hashes = dict[str, str]
Run = Callable[..., Any]
"""Runs `jobs WORDS` on a home (first argument) to its end, and fails if it fails."""


@dataclass(frozen=True)
class Outcome:
    """One kill: what was killed and when; the fault that it left, or ''."""

    what: str
    hit: bool
    fault: str = ""


def visible(home: Path) -> tuple[Hashes, list[str]]:
    """The hash of every partition that a mark points to, by its name; and the names of those whose files differ."""
    house, found, broken = Warehouse(SHOP, home / SHOP / "warehouse"), {}, []
    for zone in ZONES:
        for folder in sorted((house.root / zone).glob("*")):
            for state in STATES:
                for mark in house.marks(zone, folder.name, state=state):
                    name = f"{state} {zone}/{folder.name}/{mark.day}"
                    found[name] = mark.sha256
                    files = house.files([mark]) if mark.rows else []
                    if mark.rows and fingerprint(files) != mark.sha256:
                        broken.append(name)
    return found, broken


def judge(home: Path, before: Hashes, after: Hashes) -> str:
    """What is wrong with what a kill left, in words; '' if nothing is."""
    now, broken = visible(home)
    if broken:
        return f"visible and not whole: {broken[0]}"
    for name, sha in now.items():
        if sha not in (before.get(name), after.get(name)):
            return f"neither the old nor the new: {name}"
    lost = [name for name in before if name not in now]
    return f"gone: {lost[0]}" if lost else ""


def environ(home: Path, **more: str) -> dict[str, str]:
    return {**os.environ, "ENDCAP_HOME": str(home), **more}


def copied(home: Path, to: Path) -> Path:
    """A copy of a home; partitions are linked, since files of partitions are never changed."""
    shutil.rmtree(to, ignore_errors=True)
    subprocess.run(["cp", "-al", str(home), str(to)], check=True)
    return to


def finish(home: Path, *words: str) -> None:
    """A command run to its end, in a process of its own."""
    done = subprocess.run([sys.executable, "-m", "jobs", *words], env=environ(home), cwd=ROOT,
                          capture_output=True, text=True)  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]


def imported(home: Path, run: Run = finish) -> Path:
    """A home that holds the small shop's raw tables, and its key: without one each copy would make its own."""
    home.mkdir(parents=True)
    run(home, "import", SHOP, "--scale=0.05", "--tables=items,visitors,searches,interactions")
    make = f"from jobs.pseudonyms import load_key; load_key({SHOP!r})"
    subprocess.run([sys.executable, "-c", make], env=environ(home), cwd=ROOT, check=True)
    return home


@dataclass(frozen=True)
class Undisturbed:
    """Homes by step: as they were before it, and as it left them."""

    before: Mapping[str, Path]
    after: Mapping[str, Path]

    @classmethod
    def under(cls, folder: Path, steps: Sequence[str]) -> "Undisturbed":
        """Where a folder holds them."""
        homes = [folder / "imported", *(folder / f"after-{step}" for step in steps)]
        return cls(dict(zip(steps, homes, strict=False)), dict(zip(steps, homes[1:], strict=True)))


def undisturbed(folder: Path, steps: Sequence[str], run: Run = finish) -> Undisturbed:
    """The small shop imported, and these steps run one after another: a home for each, linked to the one before."""
    imported(folder / "imported", run)
    homes = Undisturbed.under(folder, steps)
    for step in steps:
        run(copied(homes.before[step], homes.after[step]), step, "--shop", SHOP)
    return homes


# Points of publishing -------------------------------------------------------------------------


LOAD = """
import jobs.importing, jobs.simulator
import openlineage.client.facet_v2, pandas, pyarrow.compute, pyarrow.parquet
"""


def points(folder: Path, count: int, tell: Callable[[Outcome], None]) -> None:
    """`count` crash points, spread over all acts of publishing a week of the generated shop over another one."""
    with crashing(LOAD, f"/{SHOP}/warehouse") as crash:
        _points(folder, count, tell, crash)


def _points(folder: Path, count: int, tell: Callable[[Outcome], None], crash: Crash) -> None:
    old, new, seed = folder / "old", folder / "new", ["import", SHOP, "--scale=0.05", *WEEK, "--seed"]
    old.mkdir(parents=True)
    code, *_ = crash(old, 0, *seed, "1")
    assert code == 0, code
    code, acts, _ = crash(copied(old, new), 0, *seed, "2")
    assert code == 0 and acts, (code, acts)
    before, after = visible(old)[0], visible(new)[0]
    assert before != after
    for n in range(count):
        at = 1 + n * acts // count
        home = copied(old, folder / "now")
        code, *_ = crash(home, at, *seed, "2")
        fault = judge(home, before, after) if code == 137 else f"exit code {code} at a crash point"
        if not fault and (crash(home, 0, *seed, "2")[0] or visible(home) != (after, [])):
            fault = "other bytes than an undisturbed run"
        tell(Outcome(f"act {at} of {acts}", code == 137, fault))


# Steps of Spark -------------------------------------------------------------------------------


def family(pid: int) -> list[tuple[int, str]]:
    """All that a process started: (pid, command line)."""
    told = subprocess.run(["ps", "-eo", "pid=,ppid=,args="], capture_output=True, text=True, check=True).stdout
    rows = [line.split(None, 2) for line in told.splitlines()]
    below, found = {pid}, []
    for _ in range(6):
        for at, parent, *args in rows:
            if int(parent) in below and int(at) not in below:
                below.add(int(at))
                found.append((int(at), " ".join(args)))
    return found


def kill(running: "subprocess.Popen[bytes]", victim: str) -> bool:
    """SIGKILL to the whole group, the JVM, or one Python worker; False if there is none (yet)."""
    if running.poll() is not None:
        return False
    if victim == "group":
        os.killpg(running.pid, signal.SIGKILL)
        return True
    sign = "bin/java" if victim == "jvm" else "pyspark.daemon"
    chosen = [pid for pid, args in family(running.pid) if sign in args]
    if not chosen:
        return False
    try:
        os.kill(chosen[-1], signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def written(home: Path) -> int:
    """How many files and folders the shop's tables are."""
    return sum(len(folders) + len(files) for _, folders, files in os.walk(home / SHOP / "warehouse"))


def spark(folder: Path, whole: Undisturbed, count: int, seed: int, tell: Callable[[Outcome], None],
          run: Run = finish) -> None:  # fmt: skip
    """`count` kills of real steps at random moments of `seed`: when so much of what a step writes is there."""
    rng, steps = random.Random(seed), list(whole.before)
    plan = [(steps[n % len(steps)], VICTIMS[n % len(VICTIMS)], rng.uniform(0.05, 0.95)) for n in range(count)]
    for step, victim, share in plan:
        before, after = visible(whole.before[step])[0], visible(whole.after[step])[0]
        least, most = written(whole.before[step]), written(whole.after[step])
        for _ in range(TRIES):
            now = copied(whole.before[step], folder / "now")
            hit, code = struck(now, step, victim, least + share * (most - least))
            if hit:
                break
            # It was over by then, or had no such process: sooner, and whatever runs it.
            share, victim = share * 0.7, "jvm" if victim == "worker" else victim
        fault = judge(now, before, after)
        if not fault:
            run(now, step, "--shop", SHOP)
            if visible(now) != (after, []):
                fault = "other bytes than an undisturbed run"
        tell(Outcome(f"{step}, {victim} at {share:.0%}, exit {code}", hit, fault))


def struck(home: Path, step: str, victim: str, at: float) -> tuple[bool, int]:
    """A step begun, and killed once `at` files and folders are there: whether there was something to kill, and its
    exit code."""
    running = subprocess.Popen(
        [sys.executable, "-m", "jobs", step, "--shop", SHOP], env=environ(home), cwd=ROOT, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    while running.poll() is None and written(home) < at:
        time.sleep(0.05)
    hit = kill(running, victim)
    return hit, running.wait(timeout=300)


def at_once(folder: Path, whole: Undisturbed, run: Run = finish) -> str:
    """A step begun while another process is in the middle of it: the fault that the two left, or ''."""
    home = copied(whole.before["clean"], folder / "both")
    words, least = [sys.executable, "-m", "jobs", "clean", "--shop", SHOP], written(home)
    with subprocess.Popen(words, env=environ(home), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                          text=True) as other:  # fmt: skip
        while other.poll() is None and written(home) == least:
            time.sleep(0.05)
        if other.poll() is not None:
            return f"not at once: the other ended with {other.returncode}"
        run(home, "clean", "--shop", SHOP)
        told = other.communicate()[1]
    if other.returncode:
        return f"a run failed: {told[-300:]}"
    return "" if visible(home) == visible(whole.after["clean"]) else "other bytes than one run alone"


def main(argv: list[str]) -> int:
    """Exit code 0 if no kill left a fault."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=80)
    parser.add_argument("--spark", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args(argv)
    outcomes: list[Outcome] = []

    def tell(outcome: Outcome) -> None:
        outcomes.append(outcome)
        print(
            f"{outcome.what}: {'killed' if outcome.hit else 'not hit'}, {outcome.fault or 'the same bytes'}", flush=True
        )

    folder = Path(tempfile.mkdtemp(prefix="endcap-kills-"))
    try:
        points(folder / "points", args.points, tell)
        whole = undisturbed(folder / "whole", STEPS)
        spark(folder, whole, args.spark, args.seed, tell)
        tell(Outcome("two attempts at once", False, at_once(folder, whole)))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    bad = [outcome for outcome in outcomes if outcome.fault]
    print(f"{sum(o.hit for o in outcomes)} kills, {len(bad)} faults")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
