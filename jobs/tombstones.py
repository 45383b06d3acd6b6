"""The ledger of who was erased, so that no later import brings a person back. It holds no id, and gives none away.

One JSON line a visitor in SHOP/erasures/tombstones.jsonl: HMAC-SHA-256 (RFC 2104) of the shop's own id under a key of
its own, which never rotates: with another key every tombstone would be forgotten. The ledger only grows. A tombstone is
about an id: who comes back as a new customer, under a new id, is a new visitor. Where it ends: a line that could not be
read into columns belongs to nobody; it is dropped if one of its words is an erased id long enough to be no number of
something else (`specific`).
"""

import hashlib
import hmac
import json
import os
import re
import secrets
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.console import Problem, say
from jobs.tables import table
from jobs.warehouse import DAY_FOLDER, Attempt, Warehouse, arrow_schema, home, make_secret, sync

if TYPE_CHECKING:
    import pyarrow as pa

    from jobs.filing import Filed

_WORD = re.compile(r"[\w.@+-]+")
LEAST = 4
"""Characters from which an id that is no plain number is told from other words of a line."""


def key_file(shop: str) -> Path:
    """Where the key of the tombstones lies: 64 hexadecimal digits, mode 0600."""
    return home() / shop / "keys" / "tombstone.key"


def specific(id: str) -> bool:
    """Whether an id, met as a word of some text, can hardly be anything else.

    >>> [specific(id) for id in ("v00017", "2017", "123456789", "me")]
    [True, False, True, False]
    """
    return len(id) >= (9 if id.isdecimal() else LEAST)


@dataclass(frozen=True)
class Tombstones:
    """Who was erased: `numbers` has the number of the erasure by tombstone."""

    key: bytes = field(repr=False, default=b"")
    numbers: Mapping[str, int] = field(default_factory=dict)

    def of(self, id: str) -> str:
        """The tombstone of an id, blanks at its ends aside."""
        return hmac.new(self.key, id.strip().encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()

    def number(self, id: str) -> int | None:
        """The number of the erasure of an id; None if it was not erased."""
        return self.numbers.get(self.of(id)) if self.numbers else None

    def among(self, ids: Iterable[str | None]) -> set[str]:
        """Which of these ids were erased; each distinct one is hashed once."""
        return {id for id in set(ids) if id is not None and self.number(id) is not None} if self.numbers else set()

    def names(self, line: str) -> bool:
        """Whether a line that is no row names an erased id by one of its words."""
        return any(specific(word) and self.number(word) is not None for word in set(_WORD.findall(line)))


def load(house: Warehouse) -> Tombstones:
    """The ledger of a shop; empty if nobody was erased. A ledger without its key is a `Problem`: it would keep
    nobody out."""
    if not house.erasures.is_file():
        return Tombstones()
    lines = house.erasures.read_bytes().splitlines()
    told = [json.loads(line) for line in lines if line.strip().endswith(b"}")]  # one that a power cut tore is no line
    return Tombstones(_key(house.shop, make=False), {each["visitor"]: each["erasure"] for each in told})


def _key(shop: str, *, make: bool) -> bytes:
    path = key_file(shop)
    if make and not path.exists():
        make_secret(path, secrets.token_hex(32))
    try:
        key = bytes.fromhex(path.read_text(encoding="ascii").strip())
    except (OSError, ValueError):
        key = b""
    if len(key) != 32:
        do = "restore it from a backup: without it the erased would be imported again"
        raise Problem("the key of the tombstones is lost or damaged", where=str(path), do=do)
    return key


def ready(house: Warehouse) -> Tombstones:
    """The ledger with its key, which is made with the first erasure."""
    return Tombstones(_key(house.shop, make=not house.erasures.is_file()), load(house).numbers)


def bury(house: Warehouse, ids: Iterable[str], erasure: int) -> Tombstones:
    """Enter ids into the ledger, durably; those that stand in it stay as they are. The caller holds the shop's turn."""
    known = ready(house)
    new = sorted({known.of(id) for id in ids} - set(known.numbers))
    house.erasures.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle = os.open(house.erasures, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        size = os.fstat(handle).st_size
        torn = b"\n" if size and os.pread(handle, 1, size - 1) != b"\n" else b""
        lines = [json.dumps({"erasure": erasure, "visitor": each}, sort_keys=True) for each in new]
        if new:
            os.write(handle, torn + "".join(f"{line}\n" for line in lines).encode())
            os.fsync(handle)
    finally:
        os.close(handle)
    sync(house.erasures.parent)
    return Tombstones(known.key, {**known.numbers, **dict.fromkeys(new, erasure)})


# At an import ------------------------------------------------------------------------------------------


def keep_out(house: Warehouse, attempt: Attempt) -> Counter[str]:
    """Take the rows of erased visitors out of a raw table that was just written; returns how many, by day.

    Files are written again only where they hold one. Nothing is read if nobody was erased.
    """
    found: Counter[str] = Counter()
    known = load(house)
    if not known.numbers:
        return found
    for file in sorted(attempt.path.glob(f"{DAY_FOLDER}=*/*.parquet")):
        if gone := _without(file, attempt, known):
            found[file.parent.name.partition("=")[2]] += gone
    return found


def tell(filed: "Iterable[Filed]") -> None:
    """Say how many rows of erased visitors an import kept out, by table."""
    found = {one.table: gone for one in filed if (gone := sum(one.erased.values()))}
    if found:
        say(f"note: rows of erased visitors, kept out: {', '.join(f'{n:,} {name}' for name, n in found.items())}")


def drop_copies(house: Warehouse) -> None:
    """Remove what an import copied or made of the shop's files, in a shop where somebody was erased: it may hold them
    still, and can be had again."""
    if house.erased_until():
        for name in ("landed", "source"):
            shutil.rmtree(house.root.parent / name, ignore_errors=True)


def _without(file: Path, attempt: Attempt, known: Tombstones) -> int:
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    asked = [name for name in ("visitor_id", "unreadable") if name in table(attempt.zone, attempt.table).names]
    seen = pq.ParquetFile(file).read(columns=asked)
    erased = _is_erased(seen, known)
    gone = int(pc.sum(erased).as_py() or 0)
    if gone:
        rows = pq.ParquetFile(file).read().filter(pc.invert(erased))
        rewrite(file, rows, arrow_schema(table(attempt.zone, attempt.table)))
    return gone


def _is_erased(rows: "pa.Table", known: Tombstones) -> "pa.ChunkedArray":
    """For each row whether it is an erased visitor's."""
    import pyarrow as pa
    import pyarrow.compute as pc

    is_one = pa.chunked_array([pa.repeat(pa.scalar(False), rows.num_rows)])
    if "visitor_id" in rows.column_names:
        ids = known.among(pc.unique(rows["visitor_id"]).to_pylist())
        is_one = pc.or_(is_one, pc.is_in(rows["visitor_id"], pa.array(sorted(ids), pa.string())))
    lines = rows["unreadable"]
    if lines.null_count < len(lines):
        told = {line for line in pc.unique(lines).to_pylist() if line is not None and known.names(line)}
        is_one = pc.or_(is_one, pc.is_in(lines, pa.array(sorted(told), pa.string())))
    return is_one


def rewrite(file: Path, rows: "pa.Table", schema: "pa.Schema") -> None:
    """Replace a file by these rows; it is removed if there are none."""
    from jobs.spark import write_file

    if rows.num_rows:
        write_file(file, schema, iter(rows.to_batches()))
    else:
        file.unlink(missing_ok=True)
