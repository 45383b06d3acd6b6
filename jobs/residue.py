"""scan: what of a person is left below the closed zone. The attack of somebody who holds everything but that zone.

Everything that a shop's home, the tracking store and the services' own folders hold is searched: for each visitor's own
identifiers and id (`jobs.scanning`), and for what has the shape of an identifier, whosever it is. It shares nothing
with the scrubbing, so that what the one overlooks the other does not overlook for the same reason: shapes are told by
their digits and checksums, not by patterns. Before anything is searched, a canary in each format must be found.

Left out is the closed zone, where identifiers belong: raw, clean, quarantine, the feedback log, keys, the shop's files.
"""

import argparse
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jobs.canaries import prove
from jobs.console import Refused, Usage, grid, narrate, say
from jobs.opening import Piece, Words
from jobs.scanning import Finding, Found, Hit, Needles, buffer_of, find, search
from jobs.tables import tables
from jobs.warehouse import Warehouse, code_version, home, states, warehouse, write_atomically

STEP = "scan"
LIMIT = 0  # findings
SHOWN = 20  # findings that are printed; all of them stand in the report
KEPT = 5_000  # findings that the report holds
OPEN_ZONES = ("safe", "stats", "examples")
CLOSED = ("keys", "feedback", "source", "truth", "landed", "deliveries.json", "exports", "erasures/pending",
          "erasures/requests")  # fmt: skip
"""What else of a shop's home belongs to the closed zone: what it sent us, what is being handed out or erased."""
BESIDE = ("mlflow", "airflow", "run", "docs")
"""What all shops of a home share."""
SHIPPED = ("airflow/airflow.cfg",)  # its comments hold addresses, by way of example
REGIONS = ("CN", "US")  # whose telephone numbers are read without a country's prefix


# Needles ----------------------------------------------------------------------------------------------


def own(rows: Iterable[Mapping[str, str | None]]) -> dict[str, str]:
    """The needles of visitors: kind and number -> what would tell who it is. What several share stands once.

    A name counts from two words, or two Chinese characters, on: one word is many people's. Telephone numbers come as
    they stand, and as their digits with and without the country's prefix.
    """
    texts: dict[str, str] = {}
    for row in rows:
        for kind, text in _told(row):
            texts.setdefault(text, kind)
    return {f"{kind} {number}": text for number, (text, kind) in enumerate(texts.items(), 1)}


def _told(row: Mapping[str, str | None]) -> Iterator[tuple[str, str]]:
    """(kind, text) of what tells who a visitor is."""
    if text := (row.get("visitor_id") or "").strip():
        yield "visitor_id", text
    if "@" in (text := (row.get("email") or "").strip()):
        yield "email", text
    if (text := (row.get("name") or "").strip()) and (len(text.split()) > 1 or (not text.isascii() and len(text) > 1)):
        yield "name", text
    if len(text := (row.get("address") or "").strip()) >= 6:
        yield "address", text
    if text := (row.get("phone") or "").strip():
        yield from (("phone", each) for each in numbers(text))


def numbers(text: str) -> list[str]:
    """A telephone number as it stands, and as digits with and without the country's prefix; at least seven digits.

    >>> numbers("+1 423 235 1224")
    ['+1 423 235 1224', '14232351224', '4232351224']
    """
    import phonenumbers

    digits = "".join(ch for ch in text if ch.isdigit())
    found = [text, digits]
    for region in (None, *REGIONS):
        try:
            read = phonenumbers.parse(text, region)
        except phonenumbers.NumberParseException:
            continue
        if phonenumbers.is_valid_number(read):
            national = phonenumbers.national_significant_number(read)
            found += [f"{read.country_code}{national}", national]
            break
    return [each for each in dict.fromkeys(found) if sum(ch.isdigit() for ch in each) >= 7]


def needles_of(house: Warehouse) -> dict[str, str]:
    """The needles of all visitors of the clean zone, of whom nothing but the id may be known; none in a shop without
    visitors, a catalogue alone. A `Problem` if nothing was cleaned yet."""
    cleaned = [each for each in tables("clean") if house.days("clean", each.name)]
    if not cleaned:
        house.require("clean", "visitors", step="clean")
    asked = ("visitor_id", "name", "email", "phone", "address")
    rows: list[dict[str, str | None]] = []
    for each in cleaned:
        wanted = [column for column in asked if column in each.names]
        if each.name == "visitors":
            rows += house.read("clean", each.name, columns=wanted).to_pylist()
        elif "visitor_id" in wanted:
            ids = house.read("clean", each.name, columns=["visitor_id"])["visitor_id"].unique().to_pylist()
            rows += [{"visitor_id": id} for id in ids]
    if not rows:
        say("note: this shop has no visitors: only what has the shape of an identifier is sought")
    return own(rows)


# Shapes -----------------------------------------------------------------------------------------------


class Shapes:
    """What has the shape of an identifier, whosever it is, told by digits and checksums: e-mail addresses, cards
    (ISO/IEC 7812), mainland resident ids (GB 11643), telephone numbers (by `phonenumbers`), IBANs (ISO 13616)."""

    def __init__(self) -> None:
        self.ours = True

    def begin(self, path: str) -> None:
        """A new file: what a tool ships of its own holds examples, and no person."""
        self.ours = path not in SHIPPED

    def hits(self, piece: Piece) -> Iterator[Hit]:
        """Shapes in texts and in columns of texts; bytes as they lie hold numbers by chance, and are left out."""
        if not self.ours or isinstance(piece.data, Words) or not piece.decoded or piece.format in ("name", "place"):
            return
        data, ends = _texts(
            _DRAWN.sub(b"", piece.data) if piece.format == "html" and isinstance(piece.data, bytes) else piece.data
        )
        if not data:
            return
        counted = Counter(kind for kind in (*emails(data, ends), *in_digits(data, ends), *ibans(data, ends)))
        for kind, count in sorted(counted.items()):
            yield Hit(f"any {kind}", "shape", count)


def _texts(data: Any) -> tuple[bytes, Any]:
    """The bytes of a piece, and where one value ends and the next begins."""
    import numpy as np
    import pyarrow as pa

    if isinstance(data, bytes):
        return data, np.array([0, len(data)])
    return buffer_of(data) if not pa.types.is_integer(data.type) else (b"", np.zeros(1, np.int64))


_DRAWN = re.compile(rb"""\s(?:d|points|transform|viewBox)=(?:"[^"]*"|'[^']*')""")
"""The lines of a drawing (SVG): numbers side by side, and none of a person."""
LEFT = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._%+-")
RIGHT = LEFT - frozenset(b"_%+")
FILES = {b"png", b"svg", b"gif", b"jpg", b"webp", b"js", b"css", b"mjs"}  # icon@2x.png is no address


def emails(data: bytes, ends: Any) -> Iterator[str]:
    """'email' for each token with a local part, an @ and a domain of two labels, whose last is letters."""
    import numpy as np

    at = data.find(b"@")
    while at >= 0:
        which = int(np.searchsorted(ends, at, "right"))
        low, high = int(ends[which - 1]), int(ends[which]) if which < len(ends) else len(data)
        start, end = at, at + 1
        while start > low and data[start - 1] in LEFT:
            start -= 1
        while end < high and data[end] in RIGHT:
            end += 1
        labels = data[at + 1 : end].strip(b".-").split(b".")
        last = labels[-1].lower()
        if start < at and len(labels) > 1 and all(labels) and last.isalpha() and len(last) > 1 and last not in FILES:
            yield "email"
        at = data.find(b"@", at + 1)


def in_digits(data: bytes, ends: Any) -> Iterator[str]:
    """'card', 'resident id' or 'phone' for each run of digits that is one; spaces and hyphens may part it."""
    for run, before, after in runs(data, ends):
        kind = told_by_digits(run, before, after)
        if kind:
            yield kind


def runs(data: bytes, ends: Any) -> Iterator[tuple[bytes, bytes, bytes]]:
    """Runs of 10 to 19 digits, parted at most by a space, a hyphen or a bracket, and the bytes before and after each.

    Where several numbers stand side by side, each part of the run that begins and ends at a border is a run as well.
    """
    import numpy as np

    array = np.frombuffer(data, np.uint8)
    at = np.flatnonzero((array >= 48) & (array <= 57))
    if at.size < 10:
        return
    gap = np.diff(at)
    one, two = (array[np.minimum(at[:-1] + step, array.size - 1)] for step in (1, 2))
    joined = (gap == 1) | ((gap == 2) & np.isin(one, BORDERS)) | ((gap == 3) & (one == 41) & np.isin(two, BORDERS))
    value = np.searchsorted(ends, at, "right")
    joined &= value[1:] == value[:-1]
    starts = np.concatenate(([0], np.flatnonzero(~joined) + 1))
    stops = np.concatenate((starts[1:], [at.size]))
    long = (stops - starts >= 10) & (stops - starts <= 400)  # longer ones are no person's
    for first, last in zip(starts[long], stops[long], strict=True):
        low, high = int(ends[value[first] - 1]), int(ends[value[first]]) if value[first] < len(ends) else len(data)
        parts = _parts(data, int(at[first]), int(at[last - 1]) + 1)
        for left, (begin, _) in enumerate(parts):
            for _, stop in parts[left : left + 6]:
                if 10 <= sum(48 <= byte <= 57 for byte in data[begin:stop]) <= 19:
                    yield data[begin:stop], data[max(low, begin - 1) : begin], data[stop : min(high, stop + 1)]


BORDERS = tuple(b" -)")


def _parts(data: bytes, start: int, end: int) -> list[tuple[int, int]]:
    """Where the groups of digits of a run begin and end."""
    found, begin = [], start
    for n in range(start, end + 1):
        if n == end or data[n] in BORDERS:
            if n > begin:
                found.append((begin, n))
            begin = n + 1
    return found


def told_by_digits(run: bytes, before: bytes, after: bytes) -> str:
    """What a run of digits is, by its length, its prefix and its checksum; nothing if it is an ordinary number.

    >>> told_by_digits(b"4111 1111 1111 1111", b" ", b"."), told_by_digits(b"4111111111111112", b"", b"")
    ('card', '')
    """
    if _beside(before) or (_beside(after) and after not in (b"X", b"x")):
        return ""
    digits = bytes(byte for byte in run if 48 <= byte <= 57).decode()
    whole = digits.encode() == run
    if whole and len(digits) == 17 and after in (b"X", b"x") and resident(digits + "X"):
        return "resident id"
    if _beside(after) or before in (b".", b"_") or (before == b"-" and whole):
        return ""
    if whole and len(digits) == 18 and resident(digits):
        return "resident id"
    if _issued(digits) and luhn(digits) and (whole or _grouped(run)):
        return "card"
    return "phone" if _phone(run.decode(), digits, before == b"+", whole) else ""


def _beside(byte: bytes) -> bool:
    return byte.isalnum() or byte == b"_"


def luhn(digits: str) -> bool:
    """The checksum of ISO/IEC 7812-1.

    >>> luhn("79927398713"), luhn("79927398710")
    (True, False)
    """
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (1 + place % 2)
        total += value - 9 * (value > 9)
    return total % 10 == 0


def _issued(digits: str) -> bool:
    """Whether length and prefix are those of a scheme that issues cards."""
    n, two, three, four = len(digits), int(digits[:2]), int(digits[:3]), int(digits[:4])
    return (
        (digits[0] == "4" and n in (13, 16, 19))
        or (n == 16 and (51 <= two <= 55 or 2221 <= four <= 2720 or four == 6011 or two == 65 or 644 <= three <= 649))
        or (n == 15 and two in (34, 37))
        or (n >= 16 and two == 62)
        or (n == 16 and 3528 <= four <= 3589)
        or (n == 14 and (two in (36, 38) or 300 <= three <= 305))
    )


def _grouped(run: bytes) -> bool:
    """Whether a number is written in groups as cards are: of four, or 4-6-5, 4-6-4."""
    sizes = [len(part) for part in run.replace(b"-", b" ").split()]
    return sizes in ([4, 6, 5], [4, 6, 4]) or (all(size == 4 for size in sizes[:-1]) and sizes[-1] <= 4)


def resident(text: str) -> bool:
    """Whether 18 characters are a mainland resident id: region, date of birth, checksum (GB 11643-1999).

    >>> resident("11010519491231002X"), resident("110105194912310020")
    (True, False)
    """
    from datetime import date

    if text[0] == "0" or not 1850 <= int(text[6:10]) <= 2100:
        return False
    try:
        date(int(text[6:10]), int(text[10:12]), int(text[12:14]))
    except ValueError:
        return False
    total = sum(int(digit) * pow(2, 17 - place, 11) for place, digit in enumerate(text[:17]))
    return text[17] == "10X98765432"[total % 11]


@cache
def _phone(run: str, digits: str, plus: bool, whole: bool) -> bool:
    """Whether a run is a telephone number that can be called: with a country's prefix, a mainland mobile, or three,
    three and four digits as in North America."""
    import phonenumbers

    sizes = [len(part) for part in run.replace("-", " ").replace(")", " ").split()]
    if plus:
        region, text = None, f"+{digits}"
    elif len(digits) == 11 and digits[0] == "1" and (whole or sizes in ([3, 4, 4], [3, 3, 5])):
        region, text = "CN", digits
    elif sizes in ([3, 3, 4], [1, 3, 3, 4]):
        region, text = "US", digits
    else:
        return False
    try:
        read = phonenumbers.parse(text, region)
    except phonenumbers.NumberParseException:
        return False
    mobile = phonenumbers.number_type(read) == phonenumbers.PhoneNumberType.MOBILE
    return phonenumbers.is_valid_number(read) and (region != "CN" or mobile)


def ibans(data: bytes, ends: Any) -> Iterator[str]:
    """'iban' for each token of two capitals, two digits and 11 to 30 more that leaves 1 modulo 97 (ISO 13616)."""
    import numpy as np

    array = np.frombuffer(data, np.uint8)
    capital, digit = (array >= 65) & (array <= 90), (array >= 48) & (array <= 57)
    if array.size < 15 or not capital.any():
        return
    begins = np.flatnonzero(capital[:-3] & capital[1:-2] & digit[2:-1] & digit[3:])
    for start in begins.tolist():
        which = int(np.searchsorted(ends, start, "right"))
        low, high = int(ends[which - 1]), int(ends[which]) if which < len(ends) else len(data)
        if start > low and (data[start - 1 : start].isalnum() or data[start - 1] in b"+/_-"):
            continue
        end = start
        while end < min(high, start + 35) and data[end : end + 1].isalnum():
            end += 1
        token = data[start:end].decode("ascii")
        if 15 <= len(token) <= 34 and token == token.upper():
            turned = "".join(str(int(ch, 36)) for ch in token[4:] + token[:4])
            if int(turned) % 97 == 1:
                yield "iban"


# What is searched --------------------------------------------------------------------------------------


def roots(house: Warehouse, first: str | None = None, last: str | None = None) -> list[Path]:
    """What is searched: with days, of the warehouse only what marks of these days point to; the rest always."""
    folder = house.root.parent
    found = [path for path in sorted(folder.iterdir()) if path.name not in (*CLOSED, house.root.name)]
    for zone in OPEN_ZONES:
        if first is None and last is None:
            found += [house.root / zone] if (house.root / zone).is_dir() else []
        else:
            found += partitions(house, zone, first, last)
    return found + [path for name in BESIDE if (path := folder.parent / name).is_dir()]


def partitions(house: Warehouse, zone: str, first: str | None, last: str | None) -> list[Path]:
    """Folders and marks of the days of a zone, proposed and published."""
    found: dict[Path, None] = {}
    for declared in tables(zone):
        for state in states(zone):
            for mark in house.marks(zone, declared.name, first, last, state):
                for path in (house.attempt_of(mark).folder(mark.day), house.pointers(zone, declared.name, state)):
                    place = path if path.name.startswith("_day=") else path / f"{mark.day}.json"
                    if place.exists():
                        found[place] = None
    return list(found)


def attack(house: Warehouse, needles: Mapping[str, str], first: str | None = None, last: str | None = None) -> Found:
    """What is found of `needles`, and of shapes, below the closed zone."""
    without = [house.root.parent / name for name in CLOSED]
    return search(roots(house, first, last), [Needles(needles), Shapes()], without=without)


# The command ------------------------------------------------------------------------------------------


def report_file(shop: str) -> Path:
    """Where the result lies, for the privacy page."""
    return home() / shop / "reports" / "residue.json"


def told(finding: Finding) -> dict[str, Any]:
    """A finding without the number of its needle, which would tell a reader whose it is."""
    return {
        "what": kind_of(finding.name),
        "path": finding.path,
        "format": finding.format,
        "place": finding.place,
        "form": finding.form,
        "decoded": finding.decoded,
        "count": finding.count,
    }


def kind_of(name: str) -> str:
    """'email' of 'email 17'.

    >>> kind_of("email 17"), kind_of("any card")
    ('email', 'any card')
    """
    kind, _, number = name.rpartition(" ")
    return kind if number.isdigit() else name


def result(found: Found, needles: Mapping[str, str], canaries: list[str], span: list[str | None]) -> dict[str, Any]:
    """What the report says: figures and places, no identifier."""
    total = sum(finding.count for finding in found)
    return {
        "first": span[0],
        "last": span[1],
        "code": code_version(),
        "needles": dict(sorted(Counter(map(kind_of, needles)).items())),
        "canaries": {"planted": canaries, "found": len(canaries)},
        "files": dict(sorted(found.files.items())),
        "bytes": dict(sorted(found.bytes.items())),
        "left_out": [*(f"warehouse/{zone}" for zone in ("raw", "clean", "quarantine")), *CLOSED],
        "total": total,
        "limit": LIMIT,
        "passed": total <= LIMIT,
        "found": [told(finding) for finding in found[:KEPT]],
        "unread": [
            {"path": u.path, "format": u.format, "why": u.reason, "bytes_searched": u.raw} for u in found.unread
        ],
    }


def run(args: argparse.Namespace) -> int:
    """`python -m jobs scan`: canaries, search, report; `Refused` if anything is found."""
    house = warehouse(args.shop)
    first, last = (day.isoformat() if day else None for day in (args.first, args.last))
    if first and last and first > last:
        raise Usage(f"--first {first} is after --last {last}", do="give the earlier day first")
    needles = needles_of(house)
    with narrate("canaries"):
        canaries = prove(find)
    with narrate(f"searching for {len(needles):,} identifiers"):
        found = attack(house, needles, first, last)
    report = result(found, needles, canaries, [first, last])
    write_atomically(report_file(args.shop), json.dumps(report, indent=1, sort_keys=True, ensure_ascii=False) + "\n")
    print(table(found))
    for unread in found.unread[:SHOWN]:
        say(f"not opened: {unread.path}: {unread.reason}" + ("; its bytes were searched" if unread.raw else ""))
    if len(found.unread) > SHOWN:
        say(f"... and {len(found.unread) - SHOWN:,} more, listed in the report")
    print(f"report: {report_file(args.shop)}")
    refuse(found)
    print(f"{len(canaries)} canaries found, no identifier below the closed zone")
    return 0


def table(found: Found) -> str:
    """Files, bytes and findings by format; then where the most was found."""
    by_format: Counter[str] = Counter()
    for finding in found:
        by_format[finding.format] += finding.count
    formats = sorted({*found.files, *by_format})
    lines = [
        grid(
            ["format", "files", "bytes", "found"], [[f, found.files[f], found.bytes[f], by_format[f]] for f in formats]
        )
    ]
    if found:
        worst = sorted(found, key=lambda f: (-f.count, f))[:SHOWN]
        rows = [[kind_of(f.name), f.count, f.path, f.place, f.form] for f in worst]
        lines.append(grid(["what", "count", "file", "place", "form"], rows))
    return "\n\n".join(lines)


def refuse(found: Found) -> None:
    """`Refused` if more was found than the limit allows: it names kinds, and the file that holds the most."""
    total = sum(finding.count for finding in found)
    if total <= LIMIT:
        return
    kinds, paths = Counter[str](), Counter[str]()
    for finding in found:
        kinds[kind_of(finding.name)] += finding.count
        paths[finding.path] += finding.count
    raise Refused(
        "identifiers stand below the closed zone: " + ", ".join(f"{n:,} x {kind}" for kind, n in sorted(kinds.items())),
        where=f"{paths.most_common(1)[0][0]}" + (f", and {len(paths) - 1:,} more files" if len(paths) > 1 else ""),
        do="read reports/residue.json for every place; mend the step that wrote them, and run it again for these days",
    )
