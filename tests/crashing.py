"""Commands ended just before their n-th act on the file system: a process that has loaded them forks for each."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

ROOT = Path(__file__).resolve().parents[1]
ACTS = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "shutil.rmtree")

PARENT = f"""
import json, os, sys
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
    _, status = os.waitpid(child, 0)
    print(json.dumps([os.waitstatus_to_exitcode(status), int(os.read(read, 20) or 0)]), flush=True)
    os.close(read)
"""


class Crash(Protocol):
    def __call__(self, home: Path, at: int, *words: str) -> tuple[int, int]:
        """`jobs WORDS` on a home, ended before its act number `at` (0: never): exit code (137: ended), acts."""


@contextmanager
def crashing(load: str, under: str = "") -> Iterator[Crash]:
    """Ends commands. `load` is Python that is run once, before it forks: imports, which cost more than the commands;
    they must start no thread. `under` is the part of the home in which acts are counted."""
    words = [sys.executable, "-c", PARENT, load, under]
    with subprocess.Popen(words, cwd=ROOT, env=os.environ, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL) as parent:  # fmt: skip
        assert parent.stdin and parent.stdout

        def crash(home: Path, at: int, *words: str) -> tuple[int, int]:
            assert parent.stdin and parent.stdout
            print(json.dumps([str(home), at, words]), file=parent.stdin, flush=True)
            code, acts = json.loads(parent.stdout.readline())
            return code, acts

        yield crash
        parent.stdin.close()
