"""`up`, `down`, `status`: Airflow, MLflow, Feast's UI and the API on this machine, on loopback.

Each runs in a session of its own, with its process id, start time, port and log in `$ENDCAP_HOME/run`. `up`
may be repeated: what runs is kept, what died is started again. `down` ends each and whatever it left behind.
"""

import argparse
import base64
import contextlib
import json
import os
import secrets
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from jobs.console import FAILED, OK, Problem, grid, narrate, one_of, say
from jobs.house import processes
from jobs.house.environment import airflow, java, quiet, run_folder, script
from jobs.sources import names
from jobs.tables import ZONES
from jobs.warehouse import home, shops, write_atomically

MARK = "ENDCAP_SERVICE"
AIRFLOW = ("airflow-api", "airflow-scheduler", "airflow-dags")
SERVICES = (*AIRFLOW, "mlflow", "feast", "api")
PORTS = {"airflow-api": 8080, "mlflow": 5000, "feast": 8888, "api": 8200}
USERS = ("admin", "reviewer", "viewer")
_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # loopback never goes through a proxy


@dataclass(frozen=True)
class Service:
    """One program to start: its words, its environment, and how to tell that it answers."""

    name: str
    words: tuple[str, ...]
    environ: Mapping[str, str]
    port: int
    health: str
    shop: str = ""


@dataclass(frozen=True)
class Record:
    """What is kept of a started service."""

    name: str
    pid: int
    started: int
    port: int
    health: str
    shop: str
    log: str
    fresh: bool = field(default=False, compare=False)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def alive(self) -> bool:
        return processes.alive(self.pid, self.started)


def free_port(wanted: int) -> int:
    """`wanted` if it can be bound on loopback, else the next port that can."""
    for port in range(wanted, min(wanted + 200, 65536)):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise Problem(f"no free port from {wanted} to {wanted + 199}", do="end what holds them: 'ss -ltnp' lists it")


def record_of(name: str) -> Record | None:
    """What is kept of a service, dead or alive."""
    try:
        values = json.loads((home() / "run" / f"{name}.json").read_text(encoding="utf-8"))
        return Record(**{**values, "fresh": False})
    except (FileNotFoundError, ValueError, TypeError):
        return None


def running() -> dict[str, Record]:
    """The services that live, by name."""
    return {name: record for name in SERVICES if (record := record_of(name)) is not None and record.alive}


def orphans() -> list[int]:
    """Marked processes of this home whose service is no longer on record: an earlier start left them."""
    live = set(running())
    return [pid for pid in processes.marked(MARK, None, home()) if processes.environment(pid).get(MARK) not in live]


def _passwords() -> dict[str, str]:
    """The users of Airflow and MLflow and their passwords; made once, readable by their owner only."""
    path = run_folder() / "passwords.json"
    if not path.is_file():
        _accounts().unlink(missing_ok=True)  # MLflow's own copy, of passwords that are no more
        write_atomically(path, json.dumps({user: secrets.token_urlsafe(12) for user in USERS}, indent=1) + "\n")
    path.chmod(0o600)
    return dict(json.loads(path.read_text(encoding="utf-8")))


def _fetch(url: str) -> bytes:
    with _direct.open(url, timeout=5) as answer:
        return bytes(answer.read(1_000_000))


def _healthy(part: str) -> Callable[[bytes], bool]:
    """Whether Airflow says of its `part` that it is healthy."""
    return lambda body: bool(json.loads(body).get(part, {}).get("status") == "healthy")


def _says(word: bytes) -> Callable[[bytes], bool]:
    return lambda body: word.lower() in body.lower()


def _airflow(shop: str, port: int) -> list[Service]:
    environ = airflow(os.environ, port=port, shop=shop)
    health = f"http://127.0.0.1:{port}/api/v2/monitor/health"
    parts = (
        ("airflow-api", ("api-server",)),
        ("airflow-scheduler", ("scheduler", "--skip-serve-logs")),
        ("airflow-dags", ("dag-processor",)),
    )
    return [
        Service(name, (sys.executable, "-m", "airflow", *words), environ, port, health, shop) for name, words in parts
    ]


def _accounts() -> Path:
    """Where MLflow keeps its accounts: hashes of passwords, and who may edit what."""
    return home() / "mlflow" / "accounts.db"


def _mlflow(port: int, passwords: Mapping[str, str]) -> Service:
    """MLflow for whoever logs in: `admin` may edit, the others read what `admin` did not give them more of."""
    folder = home() / "mlflow"
    folder.mkdir(parents=True, exist_ok=True)
    kept = {
        "admin_username": USERS[0],
        "auth_cache_ttl_seconds": "600",  # else each request hashes its password anew, which is most of its time
        "authorization_function": "mlflow.server.auth:authenticate_request_basic_auth",
        "database_uri": f"sqlite:///{_accounts()}",
        "default_permission": "READ",
    }
    settings = folder / "accounts.ini"
    write_atomically(settings, "\n".join(["[mlflow]", *(f"{name} = {value}" for name, value in kept.items())]) + "\n")
    environ = quiet(os.environ) | {
        "MLFLOW_AUTH_CONFIG_PATH": str(settings),
        "MLFLOW_AUTH_ADMIN_PASSWORD": passwords[USERS[0]],
        "MLFLOW_FLASK_SERVER_SECRET_KEY": secrets.token_hex(),  # of forms that are open: a restart asks for them anew
    }
    words = (
        sys.executable,
        "-m",
        "mlflow",
        "server",
        "--app-name",
        "basic-auth",
        "--backend-store-uri",
        f"sqlite:///{folder / 'mlflow.db'}",
        "--artifacts-destination",
        str(folder / "artifacts"),
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--workers",
        "1",
    )
    return Service("mlflow", words, environ, port, f"http://127.0.0.1:{port}/health")


def _acquaint(record: Record, passwords: Mapping[str, str]) -> None:
    """Make the users other than the administrator known to a running MLflow; those it knows stay as they are."""
    known = base64.b64encode(f"{USERS[0]}:{passwords[USERS[0]]}".encode()).decode()
    for user in USERS[1:]:
        request = urllib.request.Request(  # noqa: S310  # our own address
            f"{record.address}/api/2.0/mlflow/users/create",
            json.dumps({"username": user, "password": passwords[user]}).encode(),
            {"Content-Type": "application/json", "Authorization": f"Basic {known}"},
        )
        try:
            _direct.open(request, timeout=30).close()
        except urllib.error.HTTPError as refusal:
            if b"RESOURCE_ALREADY_EXISTS" not in refusal.read():
                raise Problem(
                    f"MLflow does not take the user '{user}' (HTTP {refusal.code})",
                    where=record.log,
                    do=f"'make down', remove {_accounts()}, and 'make up' again: accounts are made anew",
                ) from refusal


def _feast(shop: str, port: int) -> Service:
    words = (script("feast"), "-c", str(home() / shop / "feast"), "ui", "--host", "127.0.0.1", "--port", str(port))
    page = f"http://127.0.0.1:{port}/"
    return Service("feast", words, quiet(os.environ), port, page, shop)


def _api(shop: str, port: int) -> Service:
    words = (sys.executable, "-m", "models", "serve", "--shop", shop, "--port", str(port))
    return Service("api", words, quiet(os.environ), port, f"http://127.0.0.1:{port}/health", shop)


def start(service: Service) -> Record:
    """Start a service in a session of its own; its record is written before this returns."""
    log = run_folder() / "logs" / f"{service.name}.log"
    with log.open("ab") as stream:
        stream.write(f"\n==== {time.strftime('%Y-%m-%d %H:%M:%S')} {' '.join(service.words)}\n".encode())
        stream.flush()
        child = subprocess.Popen(
            service.words,
            env={**service.environ, MARK: service.name},
            cwd=home(),
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            umask=0o077,
        )
    record = Record(
        service.name,
        child.pid,
        processes.started(child.pid) or 0,
        service.port,
        service.health,
        service.shop,
        str(log),
        fresh=True,
    )
    kept = {key: value for key, value in asdict(record).items() if key != "fresh"}
    write_atomically(run_folder() / f"{service.name}.json", json.dumps(kept, indent=1) + "\n")
    return record


def stop(name: str) -> None:
    """End a service and every process that bears its mark; its record goes last."""
    record = record_of(name)
    if record is not None and record.alive:
        processes.end([record.pid])
    processes.end(processes.marked(MARK, name, home()))
    (home() / "run" / f"{name}.json").unlink(missing_ok=True)


def wait(record: Record, answers: Callable[[bytes], bool], seconds: float) -> str:
    """'' once the service answers; else why it does not."""
    until = time.monotonic() + seconds
    why = "no answer"
    while time.monotonic() < until:
        _bury(record.pid)
        if not record.alive:
            return f"ended by itself: {_last_line(Path(record.log))}"
        try:
            if answers(_fetch(record.health)):
                return ""
            why = "answers, but is not ready"
        except (OSError, ValueError) as fault:
            why = str(fault)[:80]
        time.sleep(0.5)
    return f"not ready after {seconds:.0f} s: {why}"


def _bury(pid: int) -> None:
    """Let a child of ours that ended go; its id counts as alive until then."""
    with contextlib.suppress(OSError):
        os.waitpid(pid, os.WNOHANG)


def _last_line(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines[-40:] if "rror" in line]
    return (errors or lines or ["(empty log)"])[-1][:200]


def migrate(shop: str, port: int = PORTS["airflow-api"]) -> None:
    """Airflow's database, at its version: about ten seconds, once for each version of Airflow."""
    done = home() / "airflow" / "migrated"
    wanted = version("apache-airflow-core")
    if done.is_file() and done.read_text().strip() == wanted and (home() / "airflow" / "airflow.db").is_file():
        return
    log = run_folder() / "logs" / "airflow-migrate.log"
    words = [sys.executable, "-m", "airflow", "db", "migrate"]
    environ = airflow(os.environ, port=port, shop=shop)
    with narrate("Airflow's database"), log.open("ab") as stream:
        ended = subprocess.run(words, env=environ, cwd=home(), stdout=stream, stderr=subprocess.STDOUT, umask=0o077)
    if ended.returncode:
        raise Problem(
            "Airflow's database could not be brought up to date",
            where=str(log),
            do=f"read it; 'rm -r {home() / 'airflow'}' starts afresh and forgets past runs",
        )
    write_atomically(done, wanted + "\n")


def _port(name: str) -> int:
    """Where a service will listen: its old port or its usual one, or the next free one, said so."""
    before = record_of(name)
    wanted = before.port if before else PORTS[name]
    port = free_port(wanted)
    if port != wanted:
        say(f"port {wanted} is taken: {name} will listen on {port}")
    return port


def _plan(shop: str, live: Mapping[str, Record], passwords: Mapping[str, str]) -> tuple[list[Service], dict[str, str]]:
    """What to start, and what cannot be started yet and why."""
    plan: list[Service] = []
    missing: dict[str, str] = {}
    if not all(name in live for name in AIRFLOW):
        for name in AIRFLOW:
            stop(name)
        plan += _airflow(shop, _port("airflow-api"))
    if "mlflow" not in live:
        plan.append(_mlflow(_port("mlflow"), passwords))
    if not (home() / shop / "feast" / "feature_store.yaml").is_file():
        missing["feast"] = f"no features of '{shop}' yet"
    elif "feast" not in live:
        plan.append(_feast(shop, _port("feast")))
    if not any((home() / shop / "promotions").glob("*/*.json")):
        missing["api"] = f"no champion of '{shop}' yet"
    elif "api" not in live:
        plan.append(_api(shop, _port("api")))
    return plan, missing


def _of_another_shop(shop: str, live: Mapping[str, Record]) -> list[str]:
    """Services that serve one shop, and serve another one now."""
    return [name for name in ("feast", "api") if name in live and live[name].shop != shop]


def _answers(name: str) -> Callable[[bytes], bool]:
    """How each service shows that it is there."""
    parts = {"airflow-api": "metadatabase", "airflow-scheduler": "scheduler", "airflow-dags": "dag_processor"}
    words = {"mlflow": b"ok", "feast": b"<html", "api": b"{"}
    return _healthy(parts[name]) if name in parts else _says(words[name])


def up(args: argparse.Namespace) -> int:
    """Start what does not run, wait until all answer, and say where they are. Safe to repeat."""
    one_of("shop", args.shop, {*shops(), *names()})
    os.umask(0o077)
    java(os.environ)
    run_folder()
    left = orphans()
    if left:
        say(f"ending {len(left)} processes that an earlier start left behind")
        processes.end(left)
    for name in _of_another_shop(args.shop, running()):
        say(f"{name} serves '{running()[name].shop}': starting it again for '{args.shop}'")
        stop(name)
    live = running()
    passwords = _passwords()
    plan, missing = _plan(args.shop, live, passwords)
    airflow_port = next((s.port for s in plan if s.name == "airflow-api"), None)
    if airflow_port is not None:
        migrate(args.shop, airflow_port)
    for service in plan:
        start(service)
    faults = {}
    started = {service.name for service in plan}
    for name in SERVICES:
        record = record_of(name)
        if record is None or not (record.alive or name in started):
            continue
        with narrate(f"{name} at {record.address}"):
            if fault := wait(record, _answers(name), args.wait):
                faults[name] = fault
            elif name == "mlflow" and name in started:
                _acquaint(record, passwords)
    _show(missing, faults)
    print(f"\nUsers of Airflow and MLflow: {', '.join(f'{user} {password}' for user, password in passwords.items())}")
    print(f"Passwords: {run_folder() / 'passwords.json'}   API key: {home() / args.shop / 'keys' / 'api.key'}")
    if faults:
        raise Problem(
            f"{', '.join(faults)} did not come up: {next(iter(faults.values()))}",
            where=str(run_folder() / "logs"),
            do="read its log; then 'make up' again, or 'make down'",
        )
    print("Next: open Airflow and trigger refresh_data, or stop everything with 'make down'.")
    return OK


def _show(missing: Mapping[str, str], faults: Mapping[str, str]) -> None:
    """One line a service."""
    live = running()
    rows = [
        (name, _page(name, live[name]), str(live[name].pid), faults.get(name, "answers"), live[name].log)
        if name in live
        else (name, None, None, faults.get(name) or missing.get(name, "not running"), None)
        for name in SERVICES
    ]
    print(grid(["service", "address", "pid", "state", "log"], rows))


def _page(name: str, record: Record) -> str:
    """The address a person would open; the scheduler and the DAG processor have none."""
    return record.address if name in PORTS else f"(seen at {record.address})"


def down(args: argparse.Namespace) -> int:
    """End all services, and whatever an earlier start left: nothing that bears our mark is alive afterwards."""
    ended = list(running())
    for name in reversed(SERVICES):
        if record_of(name) is not None:
            with narrate(f"stopping {name}"):
                stop(name)
    left = processes.marked(MARK, None, home())
    if left:
        say(f"ending {len(left)} processes that an earlier start left behind")
        processes.end(left)
    still = processes.marked(MARK, None, home())
    if still:
        say(f"error: {len(still)} processes could not be ended: {still}. To do: kill -9 {' '.join(map(str, still))}.")
        return FAILED
    print(f"stopped: {', '.join(ended) or 'nothing ran'}; no process of {home()} is left.")
    return OK


def status(args: argparse.Namespace) -> int:
    """What runs where, and every folder of state."""
    faults = {}
    for name, record in running().items():
        if fault := wait(record, _answers(name), 2.0):
            faults[name] = fault
    _show({}, faults)
    left = orphans()
    if left:
        print(f"\norphans (end them with 'make down'): {', '.join(f'{pid} {processes.command(pid)}' for pid in left)}")
    print()
    print(grid(["what", "folder", "there"], _folders()))
    return OK


def _folders() -> list[tuple[Any, ...]]:
    """Every place that holds state."""
    root = home()
    own = [("home", root), ("Airflow", root / "airflow"), ("MLflow", root / "mlflow"), ("pids, logs", root / "run")]
    of_shops = [(f"shop {shop}", root / shop) for shop in shops()]
    zones = [(f"  {zone}", root / shop / "warehouse" / zone) for shop in shops() for zone in ZONES]
    return [(what, str(path), path.exists()) for what, path in [*own, *of_shops, *(z for z in zones if z[1].exists())]]
