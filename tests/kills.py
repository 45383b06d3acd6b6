"""Steps killed on purpose and run again: `python -m tests.kills --points 80 --spark 20 --seed 1` (`make kills`).

Two kinds. **Points**: `import`, which needs no Spark, ends at once just before its n-th act on the file system (a file
opened, a folder made, a name replaced or removed); the points are spread evenly over all there are. **Spark**: a real
step over a real shop is killed at a random moment: the whole process group, its JVM alone, or one Python worker alone.

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
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from jobs.tables import ZONES
from jobs.warehouse import State, Warehouse, fingerprint

ROOT = Path(__file__).resolve().parents[1]
SHOP = "sample"
STATES: tuple[State, ...] = ("proposed", "published")
WEEK = ["--first=2017-08-14", "--last=2017-08-20"]
AT = "ENDCAP_CRASH_AT"  # number of the act before which to end; 0 counts only
ACTS = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "shutil.rmtree")
STEPS = (["clean"], ["anonymise"], ["validate"], ["aggregate"])
VICTIMS = ("group", "jvm", "worker")
TRIES = 5
Hashes = dict[str, str]

CHILD = f"""
import os, sys
import jobs.warehouse as w
from concurrent.futures import ThreadPoolExecutor
w.ThreadPoolExecutor = lambda threads: ThreadPoolExecutor(1)  # so that the n-th act is the same in every run
home, at, seen = os.environ["ENDCAP_HOME"], int(os.environ["{AT}"]), 0
def watch(event, args):
    global seen
    if event in {ACTS!r} and str(args[0]).startswith(home + "/{SHOP}/warehouse"):
        if event == "open" and not (isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR)):
            return
        seen += 1
        if seen == at:
            os._exit(137)
sys.addaudithook(watch)
from jobs.__main__ import parser
from jobs.console import run_command
code = run_command(parser(), sys.argv[1:])
print("acts", seen)
sys.exit(code)
"""


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


def imported(home: Path) -> Path:
    """A home that holds the small shop's raw tables, and its key: without one each copy would make its own."""
    home.mkdir(parents=True)
    finish(home, "import", SHOP, "--scale=0.05", "--tables=items,visitors,searches,interactions")
    make = f"from jobs.pseudonyms import load_key; load_key({SHOP!r})"
    subprocess.run([sys.executable, "-c", make], env=environ(home), cwd=ROOT, check=True)
    return home


def finish(home: Path, *words: str) -> float:
    """A command run to its end; seconds."""
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-m", "jobs", *words], env=environ(home), cwd=ROOT,
                          capture_output=True, text=True)  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return time.monotonic() - began


# Points of publishing -------------------------------------------------------------------------


def crash(home: Path, at: int) -> tuple[int, int]:
    """`import` of another seed, ended before its act number `at` (0: never): exit code, acts."""
    words = ["import", SHOP, "--scale=0.1", "--seed=2", *WEEK]
    done = subprocess.run([sys.executable, "-c", CHILD, *words], env=environ(home, **{AT: str(at)}), cwd=ROOT,
                          capture_output=True, text=True)  # fmt: skip
    told = [line for line in done.stdout.splitlines() if line.startswith("acts ")]
    return done.returncode, int(told[-1].split()[1]) if told else 0


def points(folder: Path, count: int, tell: Callable[[Outcome], None]) -> None:
    """`count` crash points, spread over all acts of publishing a week of the generated shop over another one."""
    old, new = folder / "old", folder / "new"
    old.mkdir(parents=True)
    finish(old, "import", SHOP, "--scale=0.1", "--seed=1", *WEEK)
    code, acts = crash(copied(old, new), 0)
    assert code == 0 and acts, (code, acts)
    before, after = visible(old)[0], visible(new)[0]
    assert before != after
    for n in range(count):
        at = 1 + n * acts // count
        home = copied(old, folder / "now")
        code, _ = crash(home, at)
        fault = judge(home, before, after) if code == 137 else f"exit code {code} at a crash point"
        if not fault and (crash(home, 0)[0] or visible(home) != (after, [])):
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


def spark(folder: Path, count: int, seed: int, tell: Callable[[Outcome], None]) -> None:
    """`count` kills of real steps at random moments of `seed`."""
    rng, home = random.Random(seed), imported(folder / "whole")
    steps = [words[0] for words in STEPS]
    plan = [(steps[n % len(steps)], VICTIMS[n % len(VICTIMS)], rng.uniform(0.25, 0.95)) for n in range(count)]
    homes, seconds, after = dict[str, Path](), dict[str, float](), dict[str, Hashes]()
    for step in steps[:count]:
        homes[step] = copied(home, folder / f"before-{step}")
        seconds[step] = finish(home, step, "--shop", SHOP)
        after[step] = visible(home)[0]
    for step, victim, share in plan:
        before = visible(homes[step])[0]
        for _ in range(TRIES):
            now = copied(homes[step], folder / "now")
            hit, code = struck(now, step, victim, share * seconds[step])
            if hit:
                break
            # It was over by then, or had no such process: sooner, and whatever runs it.
            share, victim = share * 0.7, "jvm" if victim == "worker" else victim
        fault = judge(now, before, after[step])
        if not fault:
            finish(now, step, "--shop", SHOP)
            if visible(now) != (after[step], []):
                fault = "other bytes than an undisturbed run"
        tell(Outcome(f"{step}, {victim} at {share:.0%}, exit {code}", hit, fault))


def struck(home: Path, step: str, victim: str, wait: float) -> tuple[bool, int]:
    """A step begun, and killed after `wait` seconds: whether there was something to kill, and its exit code."""
    running = subprocess.Popen(
        [sys.executable, "-m", "jobs", step, "--shop", SHOP], env=environ(home), cwd=ROOT, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    time.sleep(wait)
    hit = kill(running, victim)
    return hit, running.wait(timeout=300)


def at_once(folder: Path) -> str:
    """Two attempts of one step at the same time: the fault they left, or ''."""
    home = imported(folder / "both")
    alone = copied(home, folder / "alone")
    finish(alone, "clean", "--shop", SHOP)
    words = [sys.executable, "-m", "jobs", "clean", "--shop", SHOP]
    both = [subprocess.Popen(words, env=environ(home), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                             text=True) for _ in range(2)]  # fmt: skip
    told = [(running.communicate()[1], running.returncode) for running in both]
    if any(code for _, code in told):
        return "a run failed: " + "; ".join(text[-300:] for text, code in told if code)
    return "" if visible(home) == visible(alone) else "other bytes than one run alone"


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
        spark(folder / "spark", args.spark, args.seed, tell)
        tell(Outcome("two attempts at once", False, at_once(folder / "both")))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    bad = [outcome for outcome in outcomes if outcome.fault]
    print(f"{sum(o.hit for o in outcomes)} kills, {len(bad)} faults")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
