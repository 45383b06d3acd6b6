"""The search: where in a shop's files given secrets stand, whatever the format, and however they are written.

It shares nothing with the scrubbing: no pattern, no code. Each needle is sought as it is, and as UTF-16, GB 18030,
JSON with escapes, percent-encoded, base64 (in all three alignments) and hexadecimal, without regard to the case of
ASCII letters, in what every file holds when it is opened (`jobs.opening`) and in its bytes as they lie. In opened text
a needle counts where it stands alone, so that ann@shop.org is not found in joann@shop.org; in bytes as they lie, where
no border can be told, anywhere. A needle that would stand everywhere (fewer than four characters, or a number below
seven digits, as ids are) counts as a whole value of a column or a key that names a person, and there only.

A finding never holds the secret: it says which needle, where and how often. What could not be opened is told.
"""

import base64
import html
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote, quote_plus, unquote_to_bytes

from jobs.console import Usage
from jobs.opening import Piece, Unread, Words, contents, opened

if TYPE_CHECKING:
    import pyarrow as pa

SHORT = 4  # characters below which a needle is an id that only counts as a whole value
SHORT_NUMBER = 7  # ... and digits, of a needle of digits only
READABLE = ("as it is", "escaped", "percent-encoded")
"""Forms in which words still have borders: in these a needle must stand alone."""
FLOOR = 8  # bytes from which a needle is sought in compressed bytes, or in another spelling: 2^-64 by chance
FLOOR_WIDE = 6  # ... of which none is ASCII, so that case does not widen it
_ONE = (
    r"(?:visitor|household|customer|shopper|buyer)(?:[_ .-]?(?:id|key))?|(?:user|client|member|person)[_ .-]?(?:id|key)"
)
_SOME = rf"(?:{_ONE})s?|(?:visitor|household|customer|shopper|buyer)s[_ .-]?(?:ids?|keys?)"
PERSON, PERSONS = re.compile(rf"(?i){_ONE}"), re.compile(rf"(?i){_SOME}")
"""Columns and keys whose values are ids of persons. What software calls its own users counts with `id` behind it; a
number under the plural (`visitors`: 12) counts persons, and is none's id."""
_WORDS = (b"visitor", b"household", b"customer", b"shopper", b"buyer", b"user", b"client", b"member", b"person")
_NAMED = re.compile(rb"(?<![a-z])(?:%b)([^a-z0-9\n,{}\[\]]{1,8})([a-z0-9]{1,6})(?!\.?[a-z0-9])" % _ONE.encode())
_MANY = re.compile(rb'(?i)"(?:%b)"\s*:\s*[\[{]' % _SOME.encode())
_PACKED_BASE64 = re.compile(
    rb"(?:H4sI|UEsDB|iVBORw0KGgo|UEFSMQ|KLUv/|U1FMaXRl|QVJST1cx|QlpoO|eJ[wyz]|eN[oq]|/Td6WFo)[A-Za-z0-9+/_-]{12,}={0,2}"
)


@dataclass(frozen=True, order=True)
class Finding:
    """Where a needle stands: never the needle itself. `form` is how it is written, `decoded` false for bytes as they
    lie; `count` is how often (of a dictionary's values: how many hold it, not how many rows)."""

    name: str
    path: str
    format: str
    place: str
    form: str
    decoded: bool
    count: int


@dataclass(eq=False, repr=False)
class Found(list[Finding]):
    """What was found, as a list, and what of everything could not be opened; files and bytes by format."""

    unread: list[Unread] = field(default_factory=list)
    files: Counter[str] = field(default_factory=Counter)
    bytes: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Hit:
    """Something of a piece: what it is called, how it is written, how often, and a nearer place if there is one."""

    name: str
    form: str
    count: int = 1
    place: str = ""


class Look(Protocol):
    """What can be sought in pieces. `begin` is called before the pieces of each file."""

    def begin(self, path: str) -> None: ...

    def hits(self, piece: Piece) -> Iterable[Hit]: ...


# Needles ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Spelling:
    """One way in which a needle may stand: bytes in lower case, and what the bytes beside it may not be."""

    name: str
    form: str
    text: bytes
    wide: bool

    def sought_in(self, piece: Piece) -> bool:
        """Whether finding it there would tell anything: not by chance, that is."""
        if piece.decoded and self.form in READABLE:
            return True
        floor = FLOOR_WIDE if self.wide else FLOOR
        return len(self.text) >= floor if piece.noisy or self.form != "as it is" else True


def spellings(name: str, needle: str) -> Iterator[Spelling]:
    """All the ways in which a needle is sought, each once.

    >>> [s.text for s in spellings("e", "a@b.org") if s.form in ("as it is", "percent-encoded", "hexadecimal")]
    [b'a@b.org', b'a%40b.org', b'6140622e6f7267', b'4140422e4f5247']
    """
    seen = set()
    for text in dict.fromkeys(
        f for kind in ("NFC", "NFD", "NFKC") for f in _cases(unicodedata.normalize(kind, needle))
    ):
        plain = text.encode("utf-8", "surrogatepass")
        escaped = json.dumps(text)[1:-1]
        ways = [
            ("as it is", plain),
            ("escaped", escaped.encode()),
            ("escaped", json.dumps(escaped)[1:-1].encode()),
            ("escaped", html.escape(text).encode()),
            ("percent-encoded", quote(text, safe="", errors="replace").encode()),
            ("percent-encoded", quote(text, errors="replace").encode()),
            ("percent-encoded", quote_plus(text, errors="replace").encode()),
            ("UTF-16", text.encode("utf-16-le", "surrogatepass")),
            ("UTF-16", text.encode("utf-16-be", "surrogatepass")),
            ("GB 18030", text.encode("gb18030", "replace")),
            ("hexadecimal", plain.hex().encode()),
            *(("base64", each) for each in aligned(plain)),
        ]
        for form, way in ways:
            low = way.lower()
            if low and low not in seen:
                seen.add(low)
                yield Spelling(name, form, low, not any(byte < 0x80 for byte in low))


def _cases(text: str) -> tuple[str, ...]:
    return text, text.lower(), text.upper()


def aligned(plain: bytes) -> Iterator[bytes]:
    """What of the base64 of `plain` is the same whatever stands before and after it, in all three alignments; both
    alphabets (RFC 4648)."""
    for before in range(3):
        whole = base64.b64encode(b"\x00" * before + plain)
        sure = whole[(0, 2, 3)[before] : (before + len(plain)) * 8 // 6]
        if len(sure) >= FLOOR:
            yield sure
            yield sure.replace(b"+", b"-").replace(b"/", b"_")


def short(needle: str) -> bool:
    """Whether a needle would be found everywhere, so that it only counts as a whole value that names a person."""
    return needle.isascii() and (len(needle) < SHORT or (needle.isdigit() and len(needle) < SHORT_NUMBER))


class Needles:
    """Given secrets, sought together (Aho and Corasick, 1975). `Usage` for a needle that is nothing or one character.

    The cost is that of reading, whether there are ten needles or ten thousand.
    """

    def __init__(self, needles: Mapping[str, str]) -> None:
        import ahocorasick_rs

        cut = {name: text.strip() for name, text in needles.items()}
        for name, text in cut.items():
            if not text or (len(text) == 1 and not text.isascii()):
                raise Usage(f"the needle '{name}' is too short to be searched", do="leave it out, or give a longer one")
        self.long = {name: text for name, text in cut.items() if not short(text)}
        self.ids: dict[str, list[str]] = {}
        for name, text in cut.items():
            if short(text):
                self.ids.setdefault(text.lower(), []).append(name)
        self.numbers: dict[int, list[str]] = {}
        for name, text in cut.items():
            if text.isascii() and text.isdigit() and len(text) < 19 and str(int(text)) == text:
                self.numbers.setdefault(int(text), []).append(name)
        self.spellings = [s for name, text in self.long.items() for s in spellings(name, text)]
        by_text: dict[bytes, list[Spelling]] = {}
        for spelling in self.spellings:
            by_text.setdefault(spelling.text, []).append(spelling)
        self.patterns = list(by_text.values())
        self.machine = (
            ahocorasick_rs.BytesAhoCorasick(list(by_text), implementation=ahocorasick_rs.Implementation.ContiguousNFA)
            if by_text
            else None
        )
        self.near: set[str] = set()

    def begin(self, path: str) -> None:
        """A new file: nothing near a needle is known of it."""
        self.near = set()

    def hits(self, piece: Piece) -> Iterator[Hit]:
        """What of the needles stands in a piece."""
        if isinstance(piece.data, Words):
            for name, text in self.long.items():
                if count := piece.data.documents(text):
                    yield Hit(name, "words", count)
        elif isinstance(piece.data, bytes):
            yield from self._of_text(piece, piece.data)
        else:
            yield from self._of_array(piece, piece.data)

    def _of_text(self, piece: Piece, data: bytes) -> Iterator[Hit]:
        counted: Counter[tuple[str, str]] = Counter()
        where: dict[tuple[str, str], str] = {}
        for view in views(data) if piece.decoded else (data,):
            here: Counter[tuple[str, str]] = Counter()
            low = view.lower()
            for spelling, start, _ in self._matches(low, piece):
                key = (spelling.name, spelling.form)
                here[key] += 1
                if key not in where:
                    where[key] = _line(view, start) if piece.decoded else f"byte {start:,}"
            if not piece.noisy:
                for name in self._named(view, low, piece):
                    here[name, "as it is"] += 1
            for key, count in here.items():
                counted[key] = max(counted[key], count)
        for (name, form), count in sorted(counted.items()):
            yield Hit(name, form, count, where.get((name, form), ""))

    def _matches(self, low: bytes, piece: Piece) -> Iterator[tuple[Spelling, int, int]]:
        """(spelling, start, end) of all that counts in bytes in lower case."""
        if self.machine is None:
            return
        for number, start, end in self.machine.find_matches_as_indexes(low, overlapping=True):
            for spelling in self.patterns[number]:
                if not spelling.sought_in(piece):
                    continue
                if spelling.form not in READABLE or alone(low, start, end):
                    yield spelling, start, end
                elif piece.decoded:
                    self.near.add(spelling.name)
                elif spelling.name not in self.near and not _in_number(low, start, end):
                    yield spelling, start, end

    def _named(self, view: bytes, low: bytes, piece: Piece) -> Iterator[str]:
        """Short ids behind a word that names a person, and in lists and columns under such a word."""
        if not self.ids or not any(word in low for word in _WORDS):
            return
        for word in _WORDS:
            at = low.find(word)  # a thousand times as fast as the expression, which is asked only there
            while at >= 0:
                if (match := _NAMED.match(low, at)) and (low[max(0, at - 2) : at] == b"--" or _parted(*match.groups())):
                    yield from self.ids.get(match[2].decode(), ())
                at = low.find(word, at + 1)
        if piece.format == "json":
            for value in _listed(view):
                yield from self.ids.get(value.lower(), ())
        elif piece.format == "csv":
            for value in _columned(view):
                yield from self.ids.get(value.lower(), ())

    def _of_array(self, piece: Piece, array: "pa.Array") -> Iterator[Hit]:
        import pyarrow as pa
        import pyarrow.compute as pc

        if pa.types.is_integer(array.type):
            person = PERSON.fullmatch(piece.field) is not None
            wanted = {n: names for n, names in self.numbers.items() if person or n >= 10 ** (SHORT_NUMBER - 1)}
            yield from _equal(array.cast(pa.int64(), safe=False), pa.array(list(wanted), pa.int64()), wanted)
            return
        if self.ids and PERSONS.fullmatch(piece.field):
            texts = (
                pc.utf8_lower(pc.utf8_trim_whitespace(array.cast(pa.string(), safe=False))) if _is_text(array) else None
            )
            if texts is not None:
                yield from _equal(texts, pa.array(list(self.ids), pa.string()), self.ids)
        data, offsets = buffer_of(array)
        if not data:
            return
        if any(mark in data for mark in (b"\\", b"&", b"%")) or (self.ids and pa.types.is_binary(array.type)):
            whole = b"\n".join(v.encode() if isinstance(v, str) else v for v in array.to_pylist() if v is not None)
            yield from self._of_text(Piece(piece.format, piece.place, whole), whole)
            return
        counted: Counter[tuple[str, str]] = Counter()
        for spelling in self._within(data.lower(), offsets, piece):
            counted[spelling.name, spelling.form] += 1
        for (name, form), count in sorted(counted.items()):
            yield Hit(name, form, count)

    def _within(self, low: bytes, offsets: Any, piece: Piece) -> Iterator[Spelling]:
        """As `_matches`, of values that lie one behind the other: what begins in one and ends in another is none."""
        import numpy as np

        if self.machine is None:
            return
        for number, start, end in self.machine.find_matches_as_indexes(low, overlapping=True):
            first = int(np.searchsorted(offsets, start, "right")) - 1
            left, right = int(offsets[first]), int(offsets[first + 1])
            if end > right:
                continue
            for spelling in self.patterns[number]:
                if not spelling.sought_in(piece):
                    continue
                if spelling.form not in READABLE or alone(low[left:right], start - left, end - left):
                    yield spelling
                else:
                    self.near.add(spelling.name)


def _parted(gap: bytes, token: bytes) -> bool:
    """Whether `gap` parts a name from its value: a sign of texts, or the value's length as protocol buffers (one byte)
    and Feast's keys of entities (four bytes) write it. A space alone parts two words."""
    size = len(token)
    return any(sign in gap for sign in b":=\"'") or gap.endswith((bytes([size]), size.to_bytes(4, "little")))


def _is_text(array: "pa.Array") -> bool:
    """Whether binaries are all texts, so that they can be compared as such."""
    import pyarrow as pa

    try:
        array.cast(pa.string())
    except pa.ArrowInvalid:
        return False
    return True


def _equal(array: "pa.Array", wanted: "pa.Array", names: Mapping[Any, Sequence[str]]) -> Iterator[Hit]:
    """Values that are one of `wanted`, whole."""
    import pyarrow.compute as pc

    if not len(wanted) or not len(array):
        return
    same = array.filter(pc.is_in(array, value_set=wanted))
    for row in pc.value_counts(same).to_pylist():
        for name in names[row["values"]]:
            yield Hit(name, "whole value", row["counts"])


def buffer_of(array: "pa.Array") -> tuple[bytes, Any]:
    """The values of an Arrow array of strings or binaries one behind the other, and where each begins and ends."""
    import numpy as np

    _, ends, data = array.buffers()
    if data is None or not len(array):
        return b"", np.zeros(1, np.int64)
    offsets = np.frombuffer(ends, np.int32, len(array) + 1, array.offset * 4).astype(np.int64)
    return data.slice(int(offsets[0]), int(offsets[-1] - offsets[0])).to_pybytes(), offsets - offsets[0]


def alone(low: bytes, start: int, end: int) -> bool:
    """Whether what stands there is a word of its own: no letter or digit of ASCII touches one.

    >>> alone(b"joann@shop.org", 2, 14), alone(b"<ann@shop.org>", 1, 13)
    (False, True)
    """
    before = start > 0 and _plain(low[start]) and _plain(low[start - 1])
    after = end < len(low) and _plain(low[end - 1]) and _plain(low[end])
    return not before and not after


def _plain(byte: int) -> bool:
    return 48 <= byte <= 57 or 97 <= byte <= 122 or 65 <= byte <= 90


def _in_number(low: bytes, start: int, end: int) -> bool:
    """Whether what is all digits at an edge goes on there: then it is a part of another number."""
    text = low[start:end]
    digit = text.isdigit()
    return digit and ((start > 0 and low[start - 1 : start].isdigit()) or low[end : end + 1].isdigit())


# Views ------------------------------------------------------------------------------------------------

_ESCAPE = re.compile(rb'\\(u[0-9a-fA-F]{4}(?:\\u[dD][c-fC-F][0-9a-fA-F]{2})?|["\\/bfnrt])')
_SIMPLE = {b'"': b'"', b"\\": b"\\", b"/": b"/", b"b": b" ", b"f": b" ", b"n": b"\n", b"r": b"\r", b"t": b"\t"}


def views(data: bytes) -> Iterator[bytes]:
    """A text as it stands; with the escapes of JSON undone, as often as they were put on; entities and percent signs
    undone; and what is packed into it as base64, opened."""
    yield data
    yield from _undone(data, unescaped, b"\\")
    if b"&" in data:
        plain = html.unescape(data.decode("utf-8", "replace")).encode("utf-8", "replace")
        if plain != data:
            yield plain
            yield from _undone(plain, unescaped, b"\\")
    if b"%" in data:
        plain = unquote_to_bytes(data)
        if plain != data:
            yield plain
            if b"%" in plain:
                yield unquote_to_bytes(plain)
    for match in _PACKED_BASE64.finditer(data):
        packed = match.group().replace(b"-", b"+").replace(b"_", b"/").rstrip(b"=")
        inside = base64.b64decode(packed + b"=" * (-len(packed) % 4))
        for piece in contents(inside, "base64"):
            if isinstance(piece, Piece) and isinstance(piece.data, bytes) and piece.decoded:
                yield piece.data


def _undone(data: bytes, undo: Callable[[bytes], bytes], mark: bytes) -> Iterator[bytes]:
    for _ in range(4):
        if mark not in data:
            return
        plain = undo(data)
        if plain == data:
            return
        yield plain
        data = plain


def unescaped(data: bytes) -> bytes:
    r"""One layer of JSON's escapes undone, wherever they stand, in valid JSON or not.

    >>> unescaped(rb'a\u0041\\n')
    b'aA\\n'
    """

    def one(match: re.Match[bytes]) -> bytes:
        what = match.group(1)
        if what[:1] != b"u" or len(what) == 1:
            return _SIMPLE[what]
        units = what.replace(b"\\u", b"").removeprefix(b"u")
        return bytes.fromhex(units.decode()).decode("utf-16-be", "replace").encode("utf-8", "replace")

    return _ESCAPE.sub(one, data)


def _listed(view: bytes) -> Iterator[str]:
    """Scalars of lists, and keys of objects, under keys that name persons, of JSON or of lines of JSON."""
    if not _MANY.search(view):
        return
    try:
        values = [json.loads(view)]
    except ValueError:
        values = [made for line in view.splitlines() if (made := _parsed(line)) is not None]
    todo = values
    while todo:
        value = todo.pop()
        if isinstance(value, dict):
            for key, inner in value.items():
                if PERSONS.fullmatch(key) and isinstance(inner, list | dict):
                    yield from (str(each) for each in inner if isinstance(each, str | int))
                todo.append(inner)
        elif isinstance(value, list):
            todo += value


def _parsed(line: bytes) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return None


def _columned(view: bytes) -> Iterator[str]:
    """Values of columns that name persons, of separated values with a header."""
    import csv

    lines = view.decode("utf-8", "replace").splitlines()
    delimiter = max(",\t;|", key=lines[0].count) if lines else ","
    rows = csv.reader(lines, delimiter=delimiter)
    try:
        header = next(rows, [])
        wanted = [n for n, name in enumerate(header) if PERSON.fullmatch(name.strip())]
        if wanted:
            for row in rows:
                yield from (row[n].strip() for n in wanted if n < len(row))
    except csv.Error:
        return


def _line(view: bytes, start: int) -> str:
    return f"line {view.count(10, 0, start) + 1:,}"


# The search -------------------------------------------------------------------------------------------


def find(roots: Iterable[Path], needles: Mapping[str, str], *, without: Iterable[Path] = ()) -> Found:
    """Where the needles (name -> secret) stand in all files under `roots`, but for what lies under `without`.

    Names of files are searched as well. Links are told and not followed.
    """
    return search(roots, [Needles(needles)], without=without)


def search(roots: Iterable[Path], looks: Sequence[Look], *, without: Iterable[Path] = ()) -> Found:
    """What any of `looks` finds in all files under `roots`; files that two roots share are searched once."""
    found = Found()
    left = [path.resolve() for path in without]
    seen: set[Path] = set()
    for root in map(Path, roots):
        top = root.resolve().name
        for path in files(root, left):
            if path not in seen:
                seen.add(path)
                _one(found, path, Path(top, path.relative_to(root)).as_posix() if path != root else path.name, looks)
    found.sort()
    return found


def files(root: Path, without: Sequence[Path] = ()) -> Iterator[Path]:
    """Every file under a folder in order of names, or the file itself; a link as such; `Usage` if there is neither.

    `without` holds resolved paths, whose files are left out.
    """
    if not root.exists() and not root.is_symlink():
        raise Usage(f"there is nothing to search at {root}", do="give a folder or a file that is there")
    inside = root.resolve()
    if any(inside == each or each in inside.parents for each in without):
        return
    yield from _files(root, {root / each.relative_to(inside) for each in without if inside in each.parents})


def _files(path: Path, without: Collection[Path]) -> Iterator[Path]:
    if path.is_symlink() or not path.is_dir():
        yield path
        return
    for inner in sorted(path.iterdir()):
        if inner not in without:
            yield from _files(inner, without)


def _one(found: Found, path: Path, name: str, looks: Sequence[Look]) -> None:
    """Search one file, and add what was found to `found`."""
    counted: Counter[tuple[str, str, str, str, bool]] = Counter()
    named = Piece("name", "the file's own name", name.encode("utf-8", "surrogateescape"))
    for look in looks:
        look.begin(name)
    told, first = name, ""
    unread = []
    for look in looks:
        for hit in look.hits(named):
            told = f"({len(Path(name).parts)} levels deep, a name that holds {hit.name})"
            counted[hit.name, "name", named.place, hit.form, True] += hit.count
    for piece in opened(path, told):
        if isinstance(piece, Unread):
            unread.append(piece)
            continue
        first = first or piece.format
        for look in looks:
            for hit in look.hits(piece):
                place = ", ".join(part for part in (piece.place, hit.place) if part)
                counted[hit.name, piece.format, _safe(place, looks), hit.form, piece.decoded] += hit.count
    found.unread += dict.fromkeys(unread)
    form = first or (unread[0].format if unread else "empty")
    found.files[form] += 1
    found.bytes[form] += path.lstat().st_size if path.exists() else 0
    found += [Finding(n, told, f, p, how, d, count) for (n, f, p, how, d), count in counted.items()]


def _safe(place: str, looks: Sequence[Look]) -> str:
    """A place (a member's, a column's name) that holds no needle itself."""
    piece = Piece("place", "", place.encode("utf-8", "surrogateescape"))
    return "a place whose name holds one" if any(True for look in looks for _ in look.hits(piece)) else place
