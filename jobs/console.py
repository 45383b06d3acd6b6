"""How every command speaks: errors that help, exit codes that are honest, tables people can read.

Standard library only; part of the language that every room shares (docs/decisions/0002).
Exit codes: 0 done, 1 failed, 2 wrong usage, 3 a check refused.
"""

import argparse
import difflib
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, NoReturn

OK, FAILED, USAGE, REFUSED = 0, 1, 2, 3


class Problem(Exception):
    """Something a person can mend. `what` went wrong, `where`, and what to `do` about it."""

    exit_code = FAILED

    def __init__(self, what: str, *, where: str = "", do: str = "") -> None:
        super().__init__(what)
        self.what, self.where, self.do = what, where, do

    def __str__(self) -> str:
        parts = [self.what]
        if self.where:
            parts.append(f"Where: {self.where}")
        if self.do:
            parts.append(f"To do: {self.do}")
        return " ".join(part if part[-1:] in ".?!" else f"{part}." for part in parts)


class Usage(Problem):
    """The words of the command line are wrong; nothing was started."""

    exit_code = USAGE


class Refused(Problem):
    """A check said no: a law of counting, an expectation, a gate. What was published before still stands."""

    exit_code = REFUSED


def suggest(name: str, choices: Iterable[str]) -> str:
    """' Did you mean ...?' for the nearest of `choices`, else the list of them."""
    known = sorted(choices)
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean '{near[0]}'?" if near else f"choose one of: {', '.join(known) or '(none)'}"


def one_of(kind: str, name: str, choices: Iterable[str]) -> str:
    """`name` if it is one of `choices`; else `Usage` with the nearest of them."""
    known = list(choices)
    if name not in known:
        raise Usage(f"unknown {kind} '{name}'", do=suggest(name, known))
    return name


def say(line: str) -> None:
    """One line of progress, on standard error, so that standard output holds results alone."""
    print(line, file=sys.stderr, flush=True)


@contextmanager
def narrate(step: str) -> Iterator[None]:
    """Say that `step` starts, and when it ends how long it took (seconds)."""
    say(f"{step} ...")
    began = time.monotonic()
    yield
    say(f"{step}: {time.monotonic() - began:.1f} s")


def show(value: Any) -> str:
    """A cell of a table: thousands apart, floats to four digits, nothing as a dash."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value)


def grid(headers: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A plain table: text to the left, numbers to the right."""
    body = [list(row) for row in rows]
    cells = [[show(value) for value in row] for row in body]
    widths = [max(len(line[i]) for line in [list(headers), *cells]) for i in range(len(headers))]
    right = [bool(body) and all(isinstance(row[i], int | float | None) for row in body) for i in range(len(headers))]

    def line(row: Sequence[str]) -> str:
        return "  ".join(c.rjust(w) if r else c.ljust(w) for c, w, r in zip(row, widths, right, strict=True)).rstrip()

    return "\n".join([line(headers), line(["-" * w for w in widths]), *map(line, cells)])


class Parser(argparse.ArgumentParser):
    """argparse, but a wrong word gets a suggestion and one line instead of a page."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("allow_abbrev", False)
        super().__init__(*args, **kwargs)

    def error(self, message: str) -> NoReturn:
        raise Usage(f"{self.prog}: {message}", do=f"see '{self.prog} --help'")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            name = action.metavar or action.dest
            raise Usage(f"{self.prog}: unknown {name} '{value}'", do=suggest(str(value), map(str, action.choices)))


Around = Callable[[argparse.Namespace], AbstractContextManager[Callable[[int], None]]]
"""What happens before a command and after it: gives a function that is told its exit code, if it comes to its end."""


@contextmanager
def _plainly(args: argparse.Namespace) -> Iterator[Callable[[int], None]]:
    yield lambda code: None


def run_command(parser: argparse.ArgumentParser, argv: Sequence[str] | None = None, around: Around = _plainly) -> int:
    """Parse, load the step that the command names, run it, and turn its end into an exit code.

    A command sets `step` to "module:function"; the module is imported only when the command runs,
    so that `--help` answers at once. The function takes the parsed arguments and returns an exit
    code or None. A `Problem` becomes its one line; anything else becomes one line too, with a
    traceback only under `--verbose`.
    """
    verbose = "--verbose" in (sys.argv[1:] if argv is None else argv)
    try:
        args = parser.parse_args(argv)
        module, function = args.step.split(":")
        step = getattr(__import__(module, fromlist=[function]), function)
        with around(args) as ended:
            code = int(step(args) or OK)
            ended(code)
        return code
    except Problem as problem:
        if verbose:
            traceback.print_exc()
        say(f"error: {problem}")
        return problem.exit_code
    except KeyboardInterrupt:
        say("error: interrupted. What was published before still stands. To do: run the same command again.")
        return 130
    except Exception as fault:
        if verbose:
            traceback.print_exc()
        first = (str(fault).strip().splitlines() or [""])[0][:300]
        again = "" if verbose else " To do: run again with --verbose for the traceback."
        say(f"error: {type(fault).__name__}: {first}.{again}")
        return FAILED
