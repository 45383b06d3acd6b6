"""Bad input, end to end: an import of whatever bytes counts every line, or says in one line why it stops."""

import gzip
import io
import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from jobs.__main__ import parser
from jobs.console import Problem, run_command
from jobs.warehouse import warehouse
from tests import imports

MAPPING = """
first = 2024-01-01
last = 2024-01-03

[items]
files = "items.{ending}"
format = "{format}"
columns = {{ item_id = "sku", title = "name" }}
"""
REAL = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def put(folder: Path, ending: str, content: bytes) -> Path:
    """A shop of one file, and a home without it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    format = {"gz": "jsonl"}.get(ending, ending)
    (folder / "endcap.toml").write_text(MAPPING.format(ending=ending, format=format))
    (folder / f"items.{ending}").write_bytes(content)
    return folder


def load(folder: Path) -> int | None:
    """Rows that an import wrote, or None if it stopped with one line that helps."""
    shutil.rmtree(folder.parent / "home", ignore_errors=True)
    try:
        imports.load(folder)
    except Problem as problem:
        assert problem.what and problem.do, problem
        assert "\n" not in str(problem)
        assert not warehouse("files", must_exist=False).days("raw", "items")
        return None
    mark = warehouse("files").mark("raw", "items", "whole")
    assert mark is not None
    assert mark.counts == {"in": mark.rows, "out": mark.rows}
    return mark.rows


GOOD = [{"sku": str(n), "name": f"item {n}"} for n in range(5)]
LINES = "\n".join(map(json.dumps, GOOD)).encode()
_SPOILED = st.tuples(st.integers(0, len(LINES)), st.binary(max_size=6), st.integers(0, 30)).map(
    lambda at: LINES[: at[0]] + at[1] + LINES[at[0] + at[2] :]
)


@REAL
@given(content=_SPOILED | st.binary(max_size=120))
@example(content=LINES.decode().encode("utf-16"))
@example(content=b"\xef\xbb\xbf" + LINES)
def test_every_line_of_json_is_counted(home: Path, tmp_path: Path, content: bytes) -> None:
    rows = load(put(tmp_path / "shop", "jsonl", content))
    if rows is not None:
        lines = content.removeprefix(b"\xef\xbb\xbf").split(b"\n")
        assert rows == sum(bool(line.strip()) for line in lines)


@REAL
@given(st.integers(0, 200), st.binary(max_size=3), st.booleans())
def test_a_spoiled_parquet_file_is_whole_or_told(
    home: Path, tmp_path: Path, place: int, junk: bytes, truncated: bool
) -> None:
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(GOOD), out, compression="none")
    whole = out.getvalue()
    content = whole[:-place] if truncated and place else whole[:place] + junk + whole[place + len(junk) :]
    assert load(put(tmp_path / "shop", "parquet", content)) in (None, len(GOOD))


@pytest.mark.parametrize(
    ("ending", "content"),
    [
        ("csv", b""),
        ("csv", b"sku,name"),
        ("csv", b"sku;name\n1;Tea\n"),
        ("csv", "sku,name\n1,Thé\n".encode("utf-16")),
        ("csv", "sku,name\n1,Thé\n".encode("utf-16-le")),
        ("csv", b"PK\x03\x04" + bytes(100)),
        ("csv", b"\x00" * 100),
        ("jsonl", b"[]\n[]\n"),
        ("jsonl", b'{"sku": 1}\n'),
        ("jsonl", b"[" * 100_000),
        ("jsonl", gzip.compress(LINES, mtime=0)[:-9]),
        ("jsonl", gzip.compress(b"", mtime=0)),
        ("parquet", b"PAR1"),
        ("parquet", LINES),
    ],
)
def test_the_command_ends_with_one_line_and_an_exit_code(
    home: Path, tmp_path: Path, ending: str, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = put(tmp_path / "shop", ending, content)
    assert run_command(parser(), ["import", "files", "--from", str(folder)]) in (1, 2)
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("error: ")
    assert "To do: " in last
    assert "Traceback" not in last and "Error:" not in last.removeprefix("error: ")


def test_rows_in_a_wrong_encoding_are_kept_whole_and_the_others_are_read(home: Path, tmp_path: Path) -> None:
    from jobs.sources.text import unescape

    assert load(put(tmp_path / "shop", "csv", "sku,name\n1,Thé\n2,Tea\n".encode("latin-1"))) == 2
    rows: list[dict[str, Any]] = warehouse("files").read("raw", "items").to_pylist()
    assert [(row["title"], row["unreadable"] and unescape(row["unreadable"])) for row in rows] == [
        (None, "1,Thé".encode("latin-1")),
        ("Tea", None),
    ]


def test_an_item_of_one_hundred_thousand_nested_lists_is_a_row(home: Path, tmp_path: Path) -> None:
    deep = b'{"sku": 1, "name": ' + b"[" * 100_000 + b"}"
    assert load(put(tmp_path / "shop", "jsonl", b'{"sku": 0, "name": "x"}\n' + deep)) == 2
