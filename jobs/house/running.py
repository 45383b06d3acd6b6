"""`run`: the whole way of one shop, through both DAGs, with progress, ending in a page of results."""

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from types import FrameType
from typing import Any

from jobs.console import OK, Problem, Usage, grid, narrate, say
from jobs.fetching import is_address, keys_of, landed, told_of_there
from jobs.house import doctor, page, processes
from jobs.house.environment import airflow, run_folder
from jobs.house.services import PORTS, migrate, running
from jobs.mapping import shop_of
from jobs.sources import source
from jobs.tables import WHOLE
from jobs.warehouse import home, in_threads, warehouse, write_atomically

MARK = "ENDCAP_RUN"
TEACHES = {"encoder": {"items", "judgements"}, "recommender": {"items", "visitors", "interactions"}}
"""The tables without which a model can neither be taught nor judged."""
STEP = 1.03  # memory is measured again when it has grown so much: the peak is true to 3 %
ASKED = 3  # examples of each kind at the end


@dataclass
class Task:
    """One task of a run: what became of it, and when (seconds since the epoch)."""

    dag: str
    name: str
    began: float
    ended: float = 0.0
    state: str = "running"
    why: str = ""
    peak: int = 0  # bytes, of all processes together

    @property
    def seconds(self) -> float:
        return max(0.0, (self.ended or time.time()) - self.began)


@dataclass
class Told:
    """All that the runner has told so far."""

    tasks: list[Task] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def hear(self, line: str) -> None:
        """Take in one line of progress, and say it on screen."""
        heard = json.loads(line)
        if heard["event"] == "start":
            self.tasks.append(Task(heard["dag"], heard["task"], heard["at"]))
            say(f"{heard['task']} ...")
        elif heard["event"] == "end" and self.tasks:
            task = next((t for t in reversed(self.tasks) if t.name == heard["task"] and not t.ended), None)
            if task is None:
                task = Task(heard["dag"], heard["task"], heard["at"])
                self.tasks.append(task)
            task.ended, task.state, task.why = heard["at"], heard["state"], heard["why"]
            say(f"{task.name}: {task.seconds:.1f} s{'' if task.state == 'success' else f', {task.state}'}")
            if task.state == "failed":
                self.faults.append(f"{task.name}: {task.why}")
        elif heard["event"] == "refused":
            self.faults.append(heard["why"])


@dataclass
class Meter:
    """Peak memory (PSS, bytes) of all processes that bear a mark, looked at twice a second.

    PSS slows down whom it measures, so it is taken only when there is more memory than when the tasks began.
    """

    mark: str
    told: Told
    peak: int = 0
    taken: tuple[list[str], int] = ([], 0)  # tasks, and memory of their own, when PSS was last taken
    stop: threading.Event = field(default_factory=threading.Event)

    def sample(self) -> None:
        """Measure once."""
        pids = [os.getpid(), *processes.marked(MARK, self.mark, home())]
        tasks = [task for task in self.told.tasks if not task.ended]
        names, own = [task.name for task in tasks], processes.own_memory(pids)
        if names == self.taken[0] and own < STEP * self.taken[1]:
            return
        self.taken, now = (names, own), processes.proportional_memory(pids)
        self.peak = max(self.peak, now)
        for task in tasks:
            task.peak = max(task.peak, now)

    def run(self) -> None:
        """Measure until told to stop."""
        while not self.stop.wait(0.5):
            self.sample()


def runners_left() -> list[int]:
    """Processes of runs whose first process is gone."""
    live = [r for r in _runs() if processes.alive(r["pid"], r["started"])]
    kept = {r["mark"] for r in live}
    return [pid for pid in processes.marked(MARK, None, home()) if processes.environment(pid).get(MARK) not in kept]


def _runs() -> list[dict[str, Any]]:
    """Runs on record, dead or alive."""
    found = []
    for path in (home() / "run").glob("run-*.json"):
        with contextlib.suppress(OSError, ValueError):
            found.append({**json.loads(path.read_text()), "path": path})
    return found


@contextlib.contextmanager
def registered(shop: str) -> Iterator[str]:
    """A mark for all processes of this run. Whatever happens, none of them outlives it.

    A run of the same shop that still lives is a `Problem`; what a dead one left behind is ended first.
    """
    for old in _runs():
        if processes.alive(old["pid"], old["started"]):
            if old["shop"] == shop:
                raise Problem(f"a run of '{shop}' is going on (process {old['pid']})", do="wait for it, or end it")
        else:
            old["path"].unlink(missing_ok=True)
    left = runners_left()
    if left:
        say(f"ending {len(left)} processes that an earlier run left behind")
        processes.end(left)
    mark = uuid.uuid4().hex[:12]
    path = run_folder() / f"run-{mark}.json"
    own = {"mark": mark, "shop": shop, "pid": os.getpid(), "started": processes.started(os.getpid())}
    write_atomically(path, json.dumps(own) + "\n")
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield mark
    finally:
        processes.end(processes.marked(MARK, mark, home()), patience=5.0)
        path.unlink(missing_ok=True)
        signal.signal(signal.SIGTERM, before)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def learnable(args: argparse.Namespace) -> list[str]:
    """The models that the shop's tables can teach. What a folder's own mapping says is looked up in the folder."""
    shop = source(args.shop)
    if shop.mapped and args.folder:
        address = is_address(args.folder)
        folder = landed(shop.name, args.folder) if address else Path(args.folder).expanduser().resolve()
        with told_of_there(folder, args.folder) if address else contextlib.nullcontext():
            shop = shop_of(shop, folder)
    return [model for model, needed in TEACHES.items() if needed <= shop.fed]


def confs(args: argparse.Namespace, models: list[str]) -> list[list[tuple[str, dict[str, Any]]]]:
    """What each DAG is triggered with, in stages: data first, then each model, side by side.

    A Param that was not given is left to the DAG.
    """
    refresh: dict[str, Any] = {"shop": args.shop, "examples": models}
    train: dict[str, Any] = {"shop": args.shop, "review": "later"}  # nobody can answer a run without a scheduler
    if args.folder:
        address = is_address(args.folder)
        refresh["folder"] = args.folder if address else str(Path(args.folder).expanduser().resolve())
    for name in ("first", "last"):
        if getattr(args, name):
            refresh[name] = getattr(args, name).isoformat()
    if args.pairs is not None:
        train["pairs"] = args.pairs
    learning = [("train_models", train | {"models": [model]}) for model in models]
    return [[("refresh_data", refresh)], *([learning] if learning else [])]


def check(args: argparse.Namespace) -> None:
    """Words first, then the machine; nothing is started before both are right."""
    shop = source(args.shop)
    if args.folder and not is_address(args.folder) and not Path(args.folder).expanduser().is_dir():
        raise Usage(f"no folder '{args.folder}'", do="give the folder that holds the shop's files")
    if args.folder and is_address(args.folder) and keys_of(args.folder):
        raise Usage(
            "the address has a key in it, which would stand in Airflow's records",
            do="leave it out, and set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        )
    if shop.needs_folder and not args.folder:
        raise Usage(f"the shop '{shop.name}' is files of yours", do=f"make run SHOP={shop.name} FROM=DIR")
    if args.first and args.last and args.first > args.last:
        raise Usage(f"first day {args.first} is after last day {args.last}", do="exchange them")
    for name, value in (("first", args.first), ("last", args.last)):
        if value and value > date.today():  # noqa: DTZ011  a day yet to come in every zone but one
            raise Usage(f"--{name} {value} is yet to come", do="give a day of the shop's data")
    if args.pairs is not None and args.pairs < 1:
        raise Usage(f"--pairs {args.pairs} is below 1", do="give how many training pairs the encoder may see")
    if os.environ.get("ENDCAP_REVIEW") == "human":
        raise Problem(
            "ENDCAP_REVIEW=human: a reviewer is asked, and only a scheduler can wait for the answer",
            do="'make up', and trigger refresh_data, then train_models in its page",
        )
    findings = doctor.machine()
    doctor.require(findings)
    for finding in findings:
        if finding.verdict == doctor.WARN:
            say(f"warning: {finding.what}: {finding.found}; {finding.mend}")
    if "airflow-scheduler" in running():
        raise Problem(
            "Airflow's scheduler is running, and would work on the same runs",
            do="trigger refresh_data, then train_models in its page, or 'make down' first",
        )


def _environment(args: argparse.Namespace, mark: str) -> dict[str, str]:
    """What the runner and all its tasks are started with."""
    environ = airflow(os.environ, port=PORTS["airflow-api"], shop=args.shop) | {MARK: mark}
    environ["AIRFLOW__LOGGING__LOGGING_LEVEL"] = "INFO"
    return environ


@contextlib.contextmanager
def prepared(args: argparse.Namespace, models: list[str], mark: str) -> Iterator[None]:
    """While Airflow starts a core is idle: what the first baseline needs and no data goes into is made by then.

    Whatever becomes of it: the baseline waits for it, and makes what is missing.
    """
    child = None
    if "encoder" in models:
        child = subprocess.Popen(
            [sys.executable, "-m", "models", "prepare", "--shop", args.shop],
            env=_environment(args, mark),
            cwd=home(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            umask=0o077,
        )
    yield
    if child is not None:
        child.wait()


def execute(args: argparse.Namespace, models: list[str], mark: str) -> tuple[int, Told, int, Path]:
    """Run both DAGs in one process of ours: exit code, what was told, peak memory in bytes, and the log."""
    folder = run_folder() / "logs"
    log, progress = folder / f"run-{args.shop}-{mark}.log", folder / f"run-{args.shop}-{mark}.jsonl"
    progress.touch()
    told = Told()
    meter = Meter(mark, told)
    words = [sys.executable, "-m", "jobs.house.runner", str(progress), json.dumps(confs(args, models))]
    with log.open("wb") as stream, progress.open(encoding="utf-8") as heard:
        child = subprocess.Popen(
            words,
            env=_environment(args, mark),
            cwd=home(),
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            umask=0o077,
        )
        thread = threading.Thread(target=meter.run, daemon=True)
        thread.start()
        try:
            while child.poll() is None:
                _listen(heard, told)
                time.sleep(0.2)
            _listen(heard, told)
        finally:
            meter.stop.set()
            thread.join()
    return child.returncode, told, meter.peak, log


def _listen(heard: Any, told: Told) -> None:
    """Take in the whole lines that have come."""
    while True:
        place = heard.tell()
        line = heard.readline()
        if not line.endswith("\n"):
            heard.seek(place)
            return
        told.hear(line)


def _ask(*words: str) -> list[Any]:
    """What a command of ours answers, line by line of JSON; nothing where it has no answer, said so."""
    done = subprocess.run([sys.executable, "-m", *words], capture_output=True, text=True, check=False, cwd=home())
    if done.returncode:
        say(f"no answer from '{' '.join(words[:3])}': {(done.stderr.strip().splitlines() or ['no word'])[-1][:200]}")
        return []
    return [json.loads(line) for line in done.stdout.splitlines()]


def _some(shop: str, zone: str, name: str, column: str) -> list[str]:
    """A few values to ask for: the most frequent of the last days, so that a person knows them."""
    house = warehouse(shop)
    days = house.days(zone, name)
    if not days:
        return []
    first = days[0] if days[-1] == WHOLE else days[-28:][0]
    values = house.read(zone, name, first if first != WHOLE else None, columns=[column])[column].to_pylist()
    counted: dict[str, int] = {}
    for value in values:
        if value:
            counted[value] = counted.get(value, 0) + 1
    return sorted(counted, key=lambda value: (-counted[value], value))[:ASKED]


def examples(shop: str, models: list[str]) -> list[dict[str, Any]]:
    """Three searches and three recommendations, answered by the champions."""
    asked: dict[str, list[str]] = {}
    if "encoder" in models:
        # The page leaves the platform: of what visitors typed, only what enough of them did (`jobs.tables`).
        logged = warehouse(shop).days("safe", "searches")
        asked["search"] = _some(shop, "stats", "query_stats", "query") if logged else _some(
            shop, "safe", "judgements", "query")  # fmt: skip
    if "recommender" in models:
        asked["recommend"] = _some(shop, "clean", "interactions", "visitor_id")

    def ask(kind: str) -> list[dict[str, Any]]:
        answers = _ask("models", kind, "--shop", shop, "--k", "3", "--json", "--", *asked[kind]) if asked[kind] else []
        # The page leaves the closed zone: it says what was searched for, and nobody's id.
        shown = asked[kind] if kind == "search" else [f"frequent buyer {n}" for n, _ in enumerate(asked[kind], 1)]
        return [{"kind": kind, "asked": what, "answer": a} for what, a in zip(shown, answers, strict=False)]

    return [answer for answers in in_threads(ask, asked) for answer in answers]


def _report(shop: str, name: str) -> Any:
    """A report that a step wrote, or None."""
    try:
        return json.loads((home() / shop / "reports" / f"{name}.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None


def gather(shop: str, models: list[str], told: Told, peak: int, seconds: float) -> dict[str, Any]:
    """Everything that the page shows."""

    def law() -> Any:
        words = [sys.executable, "-m", "jobs", "law", "--shop", shop]
        subprocess.run(words, capture_output=True, check=False, cwd=home())
        return _report(shop, "law")

    def listed() -> Any:
        return next(iter(_ask("models", "list", "--shop", shop, "--json")), None)

    with ThreadPoolExecutor(3) as pool:
        asked = pool.submit(law), pool.submit(listed), pool.submit(examples, shop, models)
        told_law, versions, answers = [each.result() for each in asked]
    return {
        "shop": shop,
        "seconds": seconds,
        "peak": peak,
        "tasks": [
            {"dag": t.dag, "task": t.name, "state": t.state, "seconds": round(t.seconds, 1), "peak": t.peak}
            for t in told.tasks
        ],
        "law": told_law,
        "privacy": _report(shop, "privacy"),
        "search": _report(shop, "search"),
        "recommend": _report(shop, "recommend"),
        "models": versions,
        "examples": answers,
    }


def timings(told: Told) -> str:
    """Time by step."""
    return grid(
        ["task", "state", "seconds", "peak MiB"],
        [(t.name, t.state, round(t.seconds, 1), t.peak >> 20) for t in told.tasks if t.state != "skipped"],
    )


def run(args: argparse.Namespace) -> int:
    """The whole way. Exit code 0 only if every task of both DAGs succeeded (a gate's refusal is a success)."""
    check(args)
    os.umask(0o077)
    began = time.monotonic()
    with registered(args.shop) as mark:
        models = learnable(args)
        with prepared(args, models, mark):
            migrate(args.shop)
            code, told, peak, log = execute(args, models, mark)
        if code != OK:
            print(timings(told))
            why = told.faults[-1] if told.faults else "Airflow ended before a task did"
            raise Problem(why, where=str(log), do="mend it and run the same again: what is published stays")
        with narrate("the page of results"):
            results = gather(args.shop, models, told, peak, time.monotonic() - began)
        path = home() / args.shop / "reports" / "run.html"
        write_atomically(path, page.html(results))
        write_atomically(path.with_suffix(".json"), json.dumps(results, indent=1, default=str) + "\n")
    print(page.summary(results))
    print(f"\nThe whole page: {path}   log: {log}")
    print(f"Next: make up SHOP={args.shop}   then search, and see the runs in Airflow and MLflow.")
    return OK
