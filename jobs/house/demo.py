"""`demo`: a first useful result on a small generated shop, in its own temporary home, with the real steps.

The steps of the tables share one process here, and one session of Spark: apart from that it is the way of every run.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

from jobs.console import OK, Problem, grid, narrate
from jobs.house import doctor
from jobs.house.environment import QUIET

SCALE = "0.2"
SHOP = "sample"
FED = "items,visitors,searches,interactions"
TABLES = ("clean", "anonymise", "validate", "aggregate", "materialise")


def step(words: Sequence[str]) -> None:
    """One command of ours in this process; of its own words only its progress is shown."""
    from jobs.__main__ import parser

    args = parser().parse_args(list(words))
    module, function = args.step.split(":")
    with narrate(words[0]), redirect_stdout(StringIO()):
        if code := getattr(__import__(module, fromlist=[function]), function)(args):
            raise Problem(f"'{' '.join(words)}' ended with exit code {code}")


def steps(scale: str, names: Iterable[str], fed: str = "") -> None:
    """The generated shop at this scale through these steps of the tables, in one process; `fed`: only these tables."""
    step(["import", SHOP, "--scale", scale, *(["--tables", fed] if fed else [])])
    for name in names:
        step([name, "--shop", SHOP])


def models(*words: str) -> str:
    """One command of the learning room, in a process of its own; returns what it printed."""
    with narrate(" ".join(words[:2])):
        done = subprocess.run(
            [sys.executable, "-m", "models", *words, "--shop", SHOP], capture_output=True, text=True, check=False
        )
    if done.returncode:
        raise Problem(f"'models {' '.join(words)}' failed: {(done.stderr.strip().splitlines() or ['no word'])[-1]}")
    return done.stdout.strip()


def cleaned() -> str:
    """Three searches, and the name that each visitor has below the closed zone; how many rows were refused, and why."""
    from jobs.cleaning import refusals
    from jobs.pseudonyms import load_key, pseudonym
    from jobs.warehouse import warehouse

    house, key = warehouse(SHOP), load_key(SHOP)
    columns = ["event_time", "query", "language", "visitor_id"]
    rows = house.read("clean", "searches", columns=columns).slice(0, 3).to_pylist()
    shown = [
        (str(r["event_time"])[:16], r["query"][:40], r["language"], r["visitor_id"], pseudonym(key, r["visitor_id"]))
        for r in rows
    ]
    refused = Counter[str]()
    for (_, reason), days in refusals(house, FED.split(","), None).items():
        refused[reason] += sum(days.values())
    told = ", ".join(f"{reason} {count}" for reason, count in sorted(refused.items()))
    return (
        grid(["time", "search", "language", "visitor in the closed zone", "below it"], shown)
        + f"\nrefused, and kept with their reasons: {sum(refused.values())} rows ({told})"
    )


def a_visitor() -> str:
    """The visitor with the most purchases, so that there is a reason to give."""
    from jobs.warehouse import warehouse

    rows = warehouse(SHOP).read("clean", "interactions", columns=["visitor_id", "kind"]).to_pylist()
    bought = Counter(row["visitor_id"] for row in rows if row["kind"] == "purchase")
    return str(min(bought, key=lambda visitor: (-bought[visitor], visitor)))


def run(args: argparse.Namespace) -> int:
    """A cleaned table and a recommendation with its reason."""
    doctor.require(doctor.machine())
    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="endcap-demo-"))
    os.environ.update({**QUIET, "ENDCAP_HOME": str(folder), "ENDCAP_SPARK_CONF": "spark.driver.memory=1g"})
    try:
        _show()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(f"\n{time.monotonic() - began:.0f} s on a generated shop of {SCALE} of its usual size, in a home of its own,")
    print("which is gone again. Next: make run SHOP=sample (minutes), or make run (the grocer's year).")
    return OK


def _show() -> None:
    """Run the steps, and print what there is to see as soon as it is there."""
    from jobs.spark import session

    with ThreadPoolExecutor(2) as beside:
        # Raw rows are made while the JVM starts, and MLflow's tables while it works.
        imported = beside.submit(steps, SCALE, (), FED)
        with session("demo", rows=0):
            imported.result()
            beside.submit(subprocess.run, [sys.executable, "-m", "models", "list", "--shop", SHOP], capture_output=True)
            for name in TABLES:
                step([name, "--shop", SHOP])
                if name == "clean":
                    print(f"\nSearches, cleaned:\n{cleaned()}\n", flush=True)
    step(["examples", "recommender", "--shop", SHOP])
    models("baseline", "recommend")
    answer = models("recommend", a_visitor(), "--k", "3")
    print(f"\nRecommended to the visitor who bought most:\n{answer}", flush=True)
