"""`erase`: a person goes from everything that a home holds, and a signed certificate says what went from where.

The way: a tombstone first, so that no import brings them back (`jobs.tombstones`); every partition that holds them
written again (`jobs.rewriting`); the online store, journals, copies and exports (`jobs.forgetting`); the models that
learnt from them listed; then everything is searched for their ids, pseudonyms, identifiers and texts, decoded and raw
(`jobs.scanning`), and only if nothing is found the certificate is written. What is to be done is written down before it
is done (SHOP/erasures/pending, owner-only, removed at the end), so that a run that was killed goes on where it was.

Whoever has it started elsewhere, as by the DAG `erase_visitor`, asks first (`--later`) and hands on the name of the
request alone (`jobs.requesting`).

Where it ends, and the certificate says so: backups, and the shop's own files at their source. Statistics over many
visitors, which name nobody, are made again by `aggregate --stale`.
"""

import argparse
import fcntl
import getpass
import hashlib
import json
import os
import secrets
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jobs import canaries, forgetting, persons, requesting, rewriting, scanning, tombstones
from jobs.console import OK, Problem, Refused, Usage, grid, narrate, say
from jobs.exporting import exports
from jobs.keeping import remove
from jobs.persons import Holding, Person
from jobs.signing import is_signed, public_key, signed
from jobs.tables import WHOLE
from jobs.tombstones import Tombstones
from jobs.warehouse import Name, Warehouse, code_version, home, sha256, warehouse, write_atomically

KEY = "erasure"
Values = dict[str, Any]


class Stranger(Usage):
    """Nothing is known of somebody who is to be erased; nothing was written."""


# What is to be done, and what is ---------------------------------------------------------------------


@dataclass
class Task:
    """One erasure. `path` holds it all until it is done; the values are what its certificate will say."""

    path: Path
    number: int
    ids: list[str] = field(repr=False)
    pseudonyms: list[str] = field(repr=False)
    beside: list[str] = field(repr=False)
    own: list[str] = field(repr=False)
    needles: dict[str, str] = field(repr=False)
    by: str
    policy: str
    began: str
    requests: list[str] = field(default_factory=list)
    """The requests that it answers."""
    tables: list[Values] = field(default_factory=list)
    found: Values = field(default_factory=dict)
    done: list[str] = field(default_factory=list)
    fresh: list[Holding] | None = field(default=None, repr=False)
    """What was found before the first step, so that it need not be sought twice."""

    @property
    def who(self) -> Person:
        return Person(tuple(self.ids), tuple(self.pseudonyms), tuple(self.beside), tuple(self.own))

    @property
    def temporary(self) -> Path:
        """Where it is written before it takes its place."""
        return self.path.with_name(f".{self.path.name}")

    def save(self) -> None:
        """Whole, or as it was; readable by its owner alone."""
        values = {name: value for name, value in vars(self).items() if name not in ("path", "fresh")}
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = os.open(self.temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            json.dump(values, stream, ensure_ascii=False)
            stream.flush()
            os.fsync(stream.fileno())
        self.temporary.replace(self.path)


def folder(house: Warehouse) -> Path:
    """Where a shop's erasures are kept."""
    return house.erasures.parent


def certificates(house: Warehouse) -> list[Path]:
    """The certificates of a shop, in order."""
    return sorted((folder(house) / "certificates").glob("[0-9]*.json"))


def pending(house: Warehouse) -> list[Task]:
    """The erasures that were begun and not ended."""
    paths = sorted((folder(house) / "pending").glob("[0-9]*.json"))
    return [Task(path, **json.loads(path.read_text(encoding="utf-8"))) for path in paths]


@contextmanager
def turn(house: Warehouse) -> Iterator[None]:
    """One erasure of a shop at a time; the next waits for its turn. The lock is the warehouse's folder: no file."""
    handle = os.open(house.root, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            say("another erasure of this shop runs: waiting for its end")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def beginning(house: Warehouse, given: Sequence[str], by: str, policy: str) -> Task | Path:
    """What is to be done for these ids: the task that was begun before, or a new one; or the certificate of an earlier
    erasure after which nothing was left. `Stranger` for an id of which nothing is known; nothing is written then."""
    for task in pending(house):
        if set(task.ids) & set(given):
            if not set(given) <= set(task.ids):
                raise Usage("an erasure of some of these was begun", do="name those alone to end it, then the others")
            say(f"erasure {task.number} goes on: {', '.join(task.done) or 'nothing'} was done")
            return task
    with narrate("find the partitions that hold them"):
        who = persons.person(house, given)
        held = persons.holding(house, who)
    known, beside = tombstones.load(house), any(_beside(house.shop, who).values())
    if not held and not beside:
        return _earlier(house, given, known)
    rows = persons.rows(house, who, held)
    met = {str(row.get("visitor_id", "")).strip() for told in rows.values() for row in told} | {*known.among(given)}
    strangers = [
        id for id in given if id not in met and not any(_beside(house.shop, persons.alone(house, id)).values())
    ]
    if strangers:
        raise Stranger(f"nothing is known of {len(strangers)} of these {len(given)} visitors", do="check each id")
    return _new(house, who, held, rows, known, by, policy)


def _earlier(house: Warehouse, given: Sequence[str], known: Tombstones) -> Path:
    if all(known.number(id) is not None for id in given):
        stones = {known.of(id) for id in given}
        for path in reversed(certificates(house)):
            if stones & set(json.loads(path.read_text(encoding="utf-8"))["tombstones"]):
                return path
        raise Problem(
            "they were erased, but the certificate is gone", where=str(folder(house)), do="look for it in a backup"
        )
    raise Stranger(
        f"nothing is known of {'this visitor' if len(given) == 1 else 'these visitors'} in shop '{house.shop}'",
        do="check the id: it is the shop's own, as in its files; nothing was written",
    )


def _beside(shop: str, who: Person) -> Values:
    """What there is of a person beside the tables: by place, how much."""
    return {
        "online": forgetting.online(shop, who, forget=False),
        **{name: forgetting.journal(shop, name, who, forget=False) for name in forgetting.JOURNALS},
    }


def _new(
    house: Warehouse, who: Person, held: list[Holding], rows: persons.Rows, known: Tombstones, by: str, policy: str
) -> Task:
    """The tombstones, then the task."""
    sought = persons.needles(house, who, rows)
    numbers = [*known.numbers.values(), *(int(path.stem) for path in certificates(house)),
               *(task.number for task in pending(house)), 0]  # fmt: skip
    number = max(numbers) + 1
    tombstones.bury(house, who.ids, number)
    task = Task(
        folder(house) / "pending" / f"{number:06d}.json", number, [*who.ids], [*who.pseudonyms], [*who.beside],
        [*who.own], sought, by, policy, datetime.now(UTC).isoformat(timespec="seconds"),
    )  # fmt: skip
    task.fresh, task.requests = held, requesting.about(house, who.ids)
    plan(house, task, held)
    task.save()
    return task


def plan(house: Warehouse, task: Task, held: Iterable[Holding]) -> None:
    """Write down which partitions hold the person, before one is touched."""
    rows: Counter[tuple[str, str, str, str]] = Counter()
    for each in held:
        rows[each.zone, each.table, each.day, each.attempt] += each.rows
    have = {(one["partition"], one["before"]) for one in task.tables}
    for each in held:
        key = (each.zone, each.table, each.day, each.attempt)
        mark = rewriting.live(house, each)
        if mark is not None and key in rows and (mark.name, mark.sha256) not in have:
            have.add((mark.name, mark.sha256))
            task.tables.append({"partition": mark.name, "before": mark.sha256, "rows": rows.pop(key)})


# The steps -------------------------------------------------------------------------------------------


def tables(house: Warehouse, task: Task) -> None:
    """Every partition that holds the person is written again, until none does; what no mark points to goes too."""
    for _ in range(5):
        held, task.fresh = task.fresh or persons.holding(house, task.who), None
        live = list(persons.pointed(house, held))
        if not live:
            break
        plan(house, task, live)
        task.save()
        rewriting.without(house, task.who, live)
    else:
        raise Problem("partitions with this visitor come back", do="stop the steps that run, and erase again")
    for name in (Name.of(one["partition"]) for one in task.tables):
        if name.zone == "quarantine":
            rewriting.settled(house, name.table, name.day)
    for path in rewriting.loosened(house, held):
        remove(path)
    days = [name.day for one in task.tables if (name := Name.of(one["partition"])).zone == "safe" and name.day != WHOLE]
    task.found["made again by others"] = rewriting.aged(house, min(days, default=None), sha256(house.erasures)[:16])


def stores(house: Warehouse, task: Task) -> None:
    """The online store and the journals."""
    before = _beside(house.shop, task.who)
    task.found = {**{name: there for name, there in before.items() if there}, **task.found}
    task.save()
    forgetting.online(house.shop, task.who, forget=True)
    for name in forgetting.JOURNALS:
        forgetting.journal(house.shop, name, task.who, forget=True)


def files(house: Warehouse, task: Task) -> None:
    """Copies of the shop's files, and what was exported of this person."""
    there = {
        "copies removed": forgetting.copies(house.shop, task.who),
        "exports removed": exports(house.shop, task.who),
    }
    for name, paths in there.items():
        names = [path.relative_to(house.root.parent).as_posix() for path in paths]
        task.found[name] = sorted({*task.found.get(name, []), *names})
    task.save()
    for paths in there.values():
        forgetting.drop(house.shop, paths)


def models(house: Warehouse, task: Task) -> None:
    """Which models learnt from the person, and what is to become of them."""
    held = {one["partition"] for one in task.tables}
    found = forgetting.bundles(house.shop, lambda names: rewriting.made_of(house, names, held))
    forgetting.remember_models(house.shop, found, task.policy, task.number)
    task.found["models"] = found


def search(house: Warehouse, task: Task) -> None:
    """Look for them everywhere, with a search that first shows that it finds; `Refused` if anything is left."""
    answer(house, task)
    common = persons.shared(house, task.needles)
    sought = {name: value for name, value in task.needles.items() if name not in common}
    with narrate("search everything for what is left of them"):
        proven = canaries.prove()
        asked = [folder(house) / "pending", requesting.folder(house)]  # of others, who are to be erased with them
        mine = scanning.find([house.root.parent], sought, without=asked)
        # There other shops stand too, whose visitor 12 is somebody else: ids that short are sought in the home alone.
        long = {name: value for name, value in sought.items() if not scanning.short(value)}
        others = scanning.find(beside_home(), long)
    found = [*mine, *others]
    if found:
        places = sorted({f"{each.path} ({each.format}, {each.place}: {each.name})" for each in found})
        more = f", and {len(places) - 5} more" if len(places) > 5 else ""
        raise Refused(
            f"the erasure is not certified: {sum(each.count for each in found):,} traces are left",
            where="; ".join(places[:5]) + more,
            do="remove what is named, and run the same command again: it goes on with the search",
        )
    task.found["search"] = {
        "sought": dict(sorted(Counter(name.rpartition(" ")[0] for name in sought).items())),
        "others have too, not sought": dict(sorted(Counter(name.rpartition(" ")[0] for name in common).items())),
        "found": 0,
        "beside the home": [path.relative_to(home()).as_posix() for path in beside_home()],
        "files": sum(each.files.total() for each in (mine, others)),
        "bytes": sum(each.bytes.total() for each in (mine, others)),
        "canaries found": len(proven),
        "could not be opened": [f"{each.path}: {each.reason}" for each in (*mine.unread, *others.unread)],
    }


def answer(house: Warehouse, task: Task) -> None:
    """Remove the requests for this erasure, those included that came while it ran."""
    task.requests = sorted({*task.requests, *(names := requesting.about(house, task.ids))})
    task.save()
    requesting.drop(house, names)


def beside_home() -> list[Path]:
    """What is searched beside the shop's home: the tracking store, the services' logs, Airflow's database and logs."""
    return [path for name in ("mlflow", "run", "airflow") if (path := home() / name).is_dir()]


STEPS: Mapping[str, Callable[[Warehouse, Task], None]] = {
    "tables": tables, "stores": stores, "files": files, "models": models, "search": search,
}  # fmt: skip


# The certificate -------------------------------------------------------------------------------------


def salted(salt: str, id: str) -> str:
    """scrypt (RFC 7914) of an id: who knows the id can check it, who does not pays for every guess."""
    return hashlib.scrypt(id.strip().encode(), salt=bytes.fromhex(salt), n=1 << 14, r=8, p=1, dklen=32).hex()


def certified(house: Warehouse, task: Task) -> Path:
    """Write the certificate, once; the ids stand in it as salted hashes."""
    path = folder(house) / "certificates" / f"{task.number:06d}.json"
    if path.is_file():
        return path
    known, salt = tombstones.ready(house), secrets.token_hex(16)
    values = {
        "shop": house.shop,
        "erasure": task.number,
        "requests": task.requests,
        "began": task.began,
        "ended": datetime.now(UTC).isoformat(timespec="seconds"),
        "by": task.by,
        "code": code_version(),
        "salt": salt,
        "visitors": [salted(salt, id) for id in task.ids],
        "accounts only listed as theirs, not erased": len(task.beside),
        "tombstones": [known.of(id) for id in task.ids],
        "partitions": [{**one, "after": _now(house, one)} for one in task.tables],
        **task.found,
        "models are to be": {"list": "looked at", "retrain": "trained again", "retire": "retired"}[task.policy],
        "not covered": [
            "backups and copies made outside this home",
            "the shop's own files at their source: rows in them are refused by every later import",
        ],
    }
    write_atomically(path, json.dumps(signed(house.shop, KEY, values), indent=1, sort_keys=True) + "\n")
    path.parent.chmod(0o700)
    return path


def _now(house: Warehouse, one: Mapping[str, Any]) -> str | None:
    """The hash of a partition as it is now."""
    mark = house.find(one["partition"])
    return None if mark is None else mark.sha256


def verify(args: argparse.Namespace) -> int:
    """`--verify FILE`: whether a certificate is whole and ours, and whether it is about the visitors given."""
    try:
        told = json.loads(args.verify.read_text(encoding="utf-8"))
    except (OSError, ValueError) as fault:
        raise Problem("the certificate cannot be read", where=str(args.verify), do="give the file as it was") from fault
    if not isinstance(told, dict) or told.get("shop") != args.shop or not is_signed(public_key(args.shop, KEY), told):
        raise Refused(
            "the certificate is not as it was signed", where=str(args.verify), do=f"compare it with {_place(args.shop)}"
        )
    for id in given_ids(args, needed=False):
        if salted(told["salt"], id) not in told["visitors"]:
            raise Refused("the certificate is about somebody else", where=str(args.verify), do="give the id erased")
    print(f"whole: erasure {told['erasure']} of shop '{told['shop']}', {told['ended']}, by {told['by']}")
    return OK


def _place(shop: str) -> Path:
    return home() / shop / "erasures" / "certificates"


# The command -----------------------------------------------------------------------------------------


def given_ids(args: argparse.Namespace, *, needed: bool = True) -> list[str]:
    """The ids of the command line, or of a file, or of standard input, one a line: those stand in no list of
    processes and in no log."""
    ids = list(args.visitor or [])
    if args.visitors:
        text = sys.stdin.read() if args.visitors == "-" else Path(args.visitors).read_text(encoding="utf-8")
        ids += text.splitlines()
    found = list(dict.fromkeys(id.strip() for id in ids if id.strip()))
    if needed and not found:
        raise Usage("nobody is named", do="give --visitor ID, or --visitors FILE (- for standard input)")
    return found


def ask(house: Warehouse, args: argparse.Namespace) -> int:
    """`--later`: write down who is to be erased, and print the name of the request."""
    if args.request:
        raise Usage("a request cannot be asked for again", do="leave --later or --request out")
    print(requesting.ask(house, given_ids(args), args.by or getpass.getuser()))
    say(f"Next: trigger erase_visitor in Airflow with this request, or: python -m jobs erase --shop {house.shop} "
        "--request NAME")  # fmt: skip
    return OK


def begun(house: Warehouse, args: argparse.Namespace) -> Task | Path:
    """What is to be done for the ids of the command line or of a request; see `beginning`. A request of which nobody
    is known is removed: it can never be answered, and holds an id."""
    by = args.by or getpass.getuser()
    if args.request is None:
        return beginning(house, given_ids(args), by, args.models)
    if given_ids(args, needed=False):
        raise Usage("a request says itself who is to be erased", do="give --request alone, or the ids alone")
    told = requesting.read(house, args.request)
    if told is None:
        return answered(house, args.request)
    try:
        task = beginning(house, told[0], args.by or told[1], args.models)
    except Stranger as unknown:
        requesting.drop(house, [args.request])
        raise Stranger(unknown.what, do=f"{unknown.do}; the request is removed: ask again") from None
    if isinstance(task, Path):
        requesting.drop(house, [args.request])
    return task


def answered(house: Warehouse, name: str) -> Task | Path:
    """The erasure that a request led to, which waits no more: one that goes on, or its certificate."""
    for task in pending(house):
        if name in task.requests:
            return task
    for path in reversed(certificates(house)):
        if name in json.loads(path.read_text(encoding="utf-8")).get("requests", ()):
            return path
    raise Usage(
        "there is no such request, or it was answered before",
        where=str(requesting.folder(house)),
        do="look into the certificates, or ask again with --later",
    )


def run(args: argparse.Namespace) -> int:
    """`python -m jobs erase`: everything of a person, or go on with it; ends with the certificate."""
    began = time.monotonic()
    house = warehouse(args.shop)
    if args.verify:
        return verify(args)
    if args.later:
        return ask(house, args)
    with turn(house):
        task = begun(house, args)
        if isinstance(task, Path):
            print(f"erased before, and nothing was left since; certificate: {task}")
            return OK
        for name, step in STEPS.items():
            if name not in task.done:
                with narrate(f"erase: {name}"):
                    step(house, task)
                task.done.append(name)
                task.save()
        path = certified(house, task)
        for path_of_task in (task.path, task.temporary):
            path_of_task.unlink(missing_ok=True)
    tell(house, task, path, time.monotonic() - began)
    return OK


def tell(house: Warehouse, task: Task, path: Path, seconds: float) -> None:
    """What went, in a few lines without an id."""
    by_table: dict[tuple[str, str], list[int]] = {}
    for one in task.tables:
        name = Name.of(one["partition"])
        by_table.setdefault((name.zone, name.table), []).append(one["rows"])
    print(grid(["zone", "table", "partitions", "rows erased"],
               [[*key, len(rows), sum(rows)] for key, rows in by_table.items()]))  # fmt: skip
    searched = task.found["search"]["files"]
    print(f"{len(task.ids)} accounts; {searched:,} files searched, nothing left; {seconds:.0f} s")
    if task.beside:
        say(f"note: {len(task.beside)} more accounts are only listed as the same person's: erase them by name")
    if task.found.get("models"):
        say(f"note: {len(task.found['models'])} models learnt from them, see {forgetting.models_file(house.shop)}")
    print(f"certificate: {path}")
    say(f"Next: python -m jobs anonymise --shop {house.shop} --stale   (then validate and aggregate --stale: what is "
        "counted over many is made again)")  # fmt: skip
