"""Commands ended just before their n-th act on the file system, or in the middle of their work: a process that has
loaded them forks for each."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Protocol

ROOT = Path(__file__).resolve().parents[1]
ACTS = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "shutil.rmtree")

PARENT = f"""
import json, os, signal, sys
import jobs.warehouse as w
from concurrent.futures import ThreadPoolExecutor
from jobs.__main__ import parser
from jobs.console import run_command
w.ThreadPoolExecutor = lambda threads: ThreadPoolExecutor(1)  # so that the n-th act is the same in every run
exec(sys.argv[1])

def run(home, at, words, told):
    seen = 0
    def watch(event, args):
        nonlocal seen
        if event in {ACTS!r} and str(args[0]).startswith(home + sys.argv[2]):
            if event == "open" and not (isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR)):
                return
            seen += 1
            if seen == at:
                os._exit(137)
    os.dup2(2, 1)  # answers alone go to standard output
    os.environ["ENDCAP_HOME"] = home
    sys.addaudithook(watch)
    if isinstance(at, float):
        signal.setitimer(signal.ITIMER_PROF, at)
    code = run_command(parser(), words)
    os.write(told, str(seen).encode())
    os._exit(code)

for line in sys.stdin:
    read, write = os.pipe()
    child = os.fork()
    if not child:
        try:
            run(*json.loads(line), write)
        finally:
            os._exit(70)
    os.close(write)
    _, status, used = os.wait4(child, 0)
    told = int(os.read(read, 20) or 0), used.ru_utime + used.ru_stime
    print(json.dumps([os.waitstatus_to_exitcode(status), *told]), flush=True)
    os.close(read)
"""
STRUCK = -signal.SIGPROF
"""The exit code of a command that was ended after so many seconds."""


class Ended(NamedTuple):
    """How a command ended: its exit code, its acts, the seconds that it took of processors."""

    code: int
    acts: int
    seconds: float


class Crash(Protocol):
    def __call__(self, home: Path, at: float, *words: str) -> Ended:
        """`jobs WORDS` on a home, ended before its act number `at` (an int; 0: never; it exits with 137), or once it
        took `at` seconds (a float) of processors."""


@contextmanager
def crashing(load: str, under: str = "") -> Iterator[Crash]:
    """Ends commands. `load` is Python that is run once, before it forks: imports, which cost more than the commands;
    they must start no thread. `under` is the part of the home in which acts are counted."""
    words = [sys.executable, "-c", PARENT, load, under]
    with subprocess.Popen(words, cwd=ROOT, env=os.environ, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL) as parent:  # fmt: skip
        assert parent.stdin and parent.stdout

        def crash(home: Path, at: float, *words: str) -> Ended:
            assert parent.stdin and parent.stdout
            print(json.dumps([str(home), at, words]), file=parent.stdin, flush=True)
            told = parent.stdout.readline()
            assert told, f"the process that forks ended: does what it loads still exist? {load}"
            return Ended(*json.loads(told))

        yield crash
        parent.stdin.close()
