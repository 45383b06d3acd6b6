"""A receipt for every answer: with what it was made, so that each score can be traced to the raw files.

SHOP/receipts/DAY.jsonl; pseudonyms, no texts (no query, no reason in words). A receipt's id holds the day
and the byte where it lies, so that it is found at once in a file of any length, and 64 random bits, so
that nobody finds another by guessing. Receipts survive a crash of the process; the last seconds of them
may be lost in a power cut (an answer does not wait for the disk).
"""

import hashlib
import json
import re
import secrets
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

from jobs.warehouse import Ancestry, home, warehouse
from models.bundle import SEAL, bundles
from models.serving.faults import Fault
from models.serving.feedback import utc_now
from models.serving.journal import Journal, Row, line_of

_ID = re.compile(r"(\d{4}-\d{2}-\d{2})-([0-9a-f]{1,12})-[0-9a-f]{16}")
MOST_MARKS = 20_000  # partitions that one trace follows


class Receipts:
    """The receipts of one shop."""

    def __init__(self, shop: str, clock: Callable[[], datetime] = utc_now) -> None:
        self.shop = shop
        self.journal = Journal(home() / shop / "receipts")
        self._clock = clock

    def write(self, body: Mapping[str, Any]) -> str:
        """Write a receipt down; returns its id."""
        now = self._clock()
        day, nonce, ids = now.date().isoformat(), secrets.token_hex(8), [""]

        def lines(start: int) -> list[bytes]:
            ids[0] = f"{day}-{start:x}-{nonce}"
            return [line_of({"receipt_id": ids[0], "at": now.isoformat(), "shop": self.shop, **body})]

        with self.journal.turn():
            self.journal.append(day, lines, durable=False)
        return ids[0]

    def read(self, receipt_id: str) -> Row:
        """The receipt with this id, or a `Fault` (404)."""
        parts = _ID.fullmatch(receipt_id)
        row = self.journal.line_at(parts[1], int(parts[2], 16)) if parts else None
        if row is None or not secrets.compare_digest(str(row.get("receipt_id")).encode(), receipt_id.encode()):
            raise Fault(
                404,
                "there is no receipt with this id",
                where="receipt",
                do="use the receipt_id of an answer of this shop",
            )
        return row


def with_training_data(row: Row) -> Row:
    """A receipt whose `data` also names the partitions that its bundle was made from.

    They lie in the bundle's seal, not on each receipt: a year of them is as long as a page. A bundle that is gone, or
    not the one that answered, adds none, and `bundle.found` says so.
    """
    about = row["bundle"]
    seal = bundles(row["shop"], about["name"]) / str(about["version"]) / SEAL
    text = seal.read_bytes() if seal.is_file() else b""
    found = hashlib.sha256(text).hexdigest() == about["sha256"]
    made_from = json.loads(text)["data"] if found else []
    return {**row, "bundle": {**about, "found": found}, "data": sorted({*row["data"], *made_from})}


def trace(shop: str, names: Iterable[str]) -> dict[str, Any]:
    """From partitions (mark names, zone/table/day@hash) down to the raw files they were made from.

    Gives the partitions met (with their inputs), the raw files with their SHA-256, and what is missing: a
    partition that was replaced since by another attempt, or a file without a hash. At most `MOST_MARKS`
    partitions are followed; `whole` says whether that was enough.
    """
    ancestry = Ancestry(warehouse(shop))
    met: dict[str, tuple[str, ...]] = {}
    files: dict[str, str] = {}
    missing: set[str] = set()
    ahead = sorted(set(names), reverse=True)
    while ahead and len(met) < MOST_MARKS:
        name = ahead.pop()
        if name in met:
            continue
        behind = ancestry.behind(name)
        if not behind:
            missing.add(name)
            continue
        if behind[0].name != name:  # one name for many
            met[name] = tuple(mark.name for mark in behind)
        else:
            met[name] = behind[0].inputs
            files.update({str(file): str(digest) for file, digest in dict(behind[0].notes.get("files", {})).items()})
        ahead.extend(each for each in met[name] if each not in met)
    return {
        "partitions": [{"name": name, "inputs": list(inputs)} for name, inputs in sorted(met.items())],
        "files": [{"file": file, "sha256": digest} for file, digest in sorted(files.items())],
        "missing": sorted(missing),
        "whole": not ahead,
    }
