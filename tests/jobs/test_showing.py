"""Showing: figures from marks, masked examples, and no Spark."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from jobs import counting
from jobs.warehouse import warehouse

KNOWN = {"known_time": datetime(2020, 1, 1, tzinfo=UTC), "simulated": False}


def show(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "jobs", *words], capture_output=True, text=True, check=False)


def counted(put: Callable[..., Any], counts: dict[str, int]) -> None:
    mark = put("toy", "clean", "items", [{"item_id": "i1", "title": "tea", "language": "en", **KNOWN}])
    path = warehouse("toy").pointers("clean", "items") / "whole.json"
    path.write_text(json.dumps({**asdict(mark), "counts": counts}))


def test_tables_quarantine_and_law(put: Callable[..., Any], home: Path) -> None:
    counted(put, counting.terms(2, out=1, reasons={"missing": 1}))
    row = {"item_id": "i2", "title": "Ann 42 北京"}
    refused = {"step": "clean", "reason": "missing", "detail": "title: required, and empty", "row": json.dumps(row)}
    put(
        "toy",
        "quarantine",
        "clean.items",
        [{**refused, "source_file": "f.csv", "source_row": 7, "day": date(2020, 1, 1), **KNOWN}],
    )
    began = time.monotonic()
    tables = show("tables", "--shop", "toy")
    assert time.monotonic() - began < 20  # a session of Spark costs more, on a busy machine
    assert [line.split()[:5] for line in tables.stdout.splitlines()[2:]] == [
        ["clean", "items", "published", "1", "1"],
        ["quarantine", "clean.items", "published", "1", "1"],
    ]

    quarantine = show("quarantine", "--shop", "toy", "--examples", "1")
    assert "title: required, and empty" in quarantine.stdout
    assert 'f.csv row 7: {"item_id": "a9", "title": "aaa 99 文文"}' in quarantine.stdout
    assert "Ann" not in quarantine.stdout
    assert "nothing" in show("quarantine", "--shop", "toy", "--reason", "orphan").stdout

    law = show("law", "--shop", "toy")
    assert law.returncode == 0, law.stderr
    assert "1 missing" in law.stdout
    report = json.loads((home / "toy" / "reports" / "law.json").read_text())
    assert report["ok"]
    assert report["reasons"] == {"missing": 1}


def test_a_broken_law_is_shown_and_refused(put: Callable[..., Any], home: Path) -> None:
    counted(put, counting.terms(3, out=1, reasons={"missing": 1}))
    law = show("law", "--shop", "toy")
    assert law.returncode == 3
    assert not json.loads((home / "toy" / "reports" / "law.json").read_text())["ok"]


def test_an_empty_shop_says_what_to_run(home: Path) -> None:
    (home / "toy" / "warehouse").mkdir(parents=True)
    for words in (("tables",), ("law",)):
        done = show(*words, "--shop", "toy")
        assert (done.returncode, "python -m jobs import toy" in done.stderr) == (1, True)


def test_no_spark_is_imported() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import jobs.showing, sys; print('pyspark' in sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "False"
