"""Errors that help: what, where, what to do; exit codes; suggestions; tables."""

import argparse

import pytest

from jobs.console import OK, Parser, Problem, Refused, Usage, grid, one_of, run_command, suggest


def test_a_problem_says_what_where_and_what_to_do() -> None:
    problem = Problem("the file is empty", where="items.csv", do="deliver it again")
    assert str(problem) == "the file is empty. Where: items.csv. To do: deliver it again."


def test_a_question_keeps_its_mark() -> None:
    assert str(Usage("unknown shop 'x'", do="did you mean 'y'?")) == "unknown shop 'x'. To do: did you mean 'y'?"


def test_a_misspelt_name_is_suggested_and_a_strange_one_gets_the_list() -> None:
    assert suggest("smaple", ["sample", "grocer"]) == "did you mean 'sample'?"
    assert suggest("zzz", ["b", "a"]) == "choose one of: a, b"
    with pytest.raises(Usage, match=r"unknown table 'itmes'.*did you mean 'items'"):
        one_of("table", "itmes", ["items"])


def test_a_grid_aligns_words_left_and_numbers_right() -> None:
    assert grid(["name", "rows"], [["a", 1200], ["bcd", 3]]).splitlines() == [
        "name   rows",
        "----  -----",
        "a     1,200",
        "bcd       3",
    ]


def failing(args: argparse.Namespace) -> int:
    """A step that ends as its argument says."""
    raise {"refused": Refused("no"), "problem": Problem("no"), "bug": ValueError("a\nb"), "stop": KeyboardInterrupt()}[
        args.how
    ]


def fine(args: argparse.Namespace) -> None:
    """A step that ends well."""


def _parser(step: str) -> Parser:
    parser = Parser(prog="x")
    parser.add_argument("how", choices=["refused", "problem", "bug", "stop", "ok"])
    parser.add_argument("--verbose", action="store_true")
    parser.set_defaults(step=step)
    return parser


@pytest.mark.parametrize(("how", "code"), [("refused", 3), ("problem", 1), ("bug", 1), ("stop", 130), ("refusd", 2)])
def test_exit_codes_are_honest(
    how: str, code: int, capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest
) -> None:
    import sys

    sys.modules["steps_under_test"] = sys.modules[__name__]
    assert run_command(_parser("steps_under_test:failing"), [how]) == code
    shown = capsys.readouterr().err
    assert shown.startswith("error: ")
    assert len(shown.splitlines()) == 1  # one line, never a traceback


def test_verbose_shows_the_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    import sys

    sys.modules["steps_under_test"] = sys.modules[__name__]
    assert run_command(_parser("steps_under_test:failing"), ["bug", "--verbose"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_a_step_that_ends_well_is_zero() -> None:
    import sys

    sys.modules["steps_under_test"] = sys.modules[__name__]
    assert run_command(_parser("steps_under_test:fine"), ["ok"]) == OK
