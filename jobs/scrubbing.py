"""Personal data in free text, found and replaced in Spark's JVM, English and Chinese.

What counts as personal is declared in `jobs.recognisers`. Each turn tags what it finds where it stands: a character
in front, one behind, controls that no text needs; later turns look only between the tags. The visitor's own
name, e-mail, phone and address are tagged, however the patterns fare, and what is tagged becomes a typed placeholder:
<EMAIL_kgsmboig>. Its eight letters are a keyed hash of visitor, kind and value: the same value of the same visitor
has the same placeholder wherever it stands, other values and other visitors have others, and without the key nobody
can say whose. (`jobs.events.normalised` drops the letters: learning sees <email>.) `clean` removes markup before, so
a placeholder in a safe text was put there by this module, and can be counted.

Another recogniser can be plugged in behind ours: ENDCAP_RECOGNISER names a function as module:function that is given a
list of texts and returns, for each, a list of (start, end, kind). Where it ends: see `jobs.recognisers`.
"""

import importlib
import os
import re
from collections.abc import Callable, Iterable, Sequence
from functools import reduce
from typing import TYPE_CHECKING, Any

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from jobs.console import Problem
from jobs.recognisers import HAN, KEPT, LABELLED, LABELS, NAMES, Kind, Turn, beginnings, labels, turns

if TYPE_CHECKING:
    import pyarrow as pa

OPEN, PART, CLOSE = "\x0e", "\x0f", "\x10"
"""Tags around what was found, and between its fields: controls of ASCII, taken out of texts before. Others would make
each tagged text one that may hold Chinese: its bytes would be more than its characters."""
PIECE = "\x1e"
"""What parts a text into the words that lists may know and the rest; it lives for one expression."""
UNTAGGED = f"(?![^{OPEN}{CLOSE}]*{CLOSE})"  # not inside of what another turn has found
SETTING = "ENDCAP_RECOGNISER"


def luhn(number: Column) -> Column:
    """True if the digits of `number` pass ISO/IEC 7812's checksum."""
    digits = F.reverse(F.regexp_replace(number, r"\D", ""))

    def weighed(position: Column) -> Column:
        digit = F.substr(digits, position, F.lit(1)).cast("int")
        twice = digit * 2
        return F.when(position % 2 == 1, digit).otherwise(F.when(twice > 9, twice - 9).otherwise(twice))

    places = F.transform(F.sequence(F.lit(1), F.length(digits)), weighed)
    return F.aggregate(places, F.lit(0), lambda total, part: total + part) % 10 == 0


def iban(number: Column) -> Column:
    """True if `number` passes ISO 13616's checksum: rearranged, letters as 10 to 35, modulo 97 is 1."""
    bare = F.upper(F.regexp_replace(number, r"\s", ""))
    turned = F.concat(F.substr(bare, F.lit(5)), F.substr(bare, F.lit(1), F.lit(4)))

    def step(left: Column, character: Column) -> Column:
        digit = character.rlike("[0-9]")
        value = F.when(digit, character.try_cast("int")).otherwise(F.ascii(character) - 55)
        return (left * F.when(digit, 10).otherwise(100) + value) % 97

    return F.aggregate(F.split(turned, ""), F.lit(0), step) == 1


def resident_id(number: Column) -> Column:
    """True if a mainland resident id holds a date and passes GB 11643's checksum (ISO 7064, MOD 11-2)."""
    weights = F.array(*[F.lit(2**place % 11) for place in range(17, -1, -1)])
    values = F.transform(
        F.split(F.upper(number), ""),
        lambda character: F.when(character == "X", 10).otherwise(character.try_cast("int")),
    )
    total = F.aggregate(F.zip_with(values, weights, lambda value, weight: value * weight), F.lit(0), lambda a, b: a + b)
    born = F.try_to_date(F.substr(number, F.lit(7), F.lit(8)), "yyyyMMdd")
    return (total % 11 == 1) & born.isNotNull()


def ean(number: Column) -> Column:
    """True if 13 digits are a GTIN-13: the weights of 1 and 3 give a multiple of 10. Not a card, then."""
    values = F.transform(F.split(F.regexp_replace(number, r"\D", ""), ""), lambda digit: digit.try_cast("int"))
    weighed = F.transform(values, lambda value, place: F.when(place % 2 == 1, value * 3).otherwise(value))
    return (F.size(values) == 13) & (F.aggregate(weighed, F.lit(0), lambda total, part: total + part) % 10 == 0)


CHECKSUMS: dict[str, Callable[[Column], Column]] = {
    "luhn": luhn,
    "card": lambda number: luhn(number) & ~ean(number),
    "iban": iban,
    "resident_id": resident_id,
}


# Tagging --------------------------------------------------------------------------------------

_BEFORE, _AFTER = turns()
OWN = ("email", "phone", "address", "name")
"""The visitor's own identifiers, in the order in which they are replaced: an address may hold the name."""
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_KINDS: dict[str, tuple[Kind, ...]] = {
    **dict(zip(_LETTERS, (turn.kinds for turn in (*_BEFORE, *_AFTER)), strict=False)),
    "A": tuple(Kind(own.upper(), "") for own in OWN),
    "B": tuple(Kind(name, "") for name in NAMES),
}
"""What a tagged field is, by the letter of the turn that found it and its place."""
_FIRST = {letter: sum(len(_KINDS[k]) for k in list(_KINDS)[:n]) for n, letter in enumerate(_KINDS)}
_ALL = tuple(kind for kinds in _KINDS.values() for kind in kinds)


def _replacement(letter: str, kinds: Sequence[Kind]) -> str:
    """What a match is replaced by: the context, then its tag: the turn, a field for each kind, all but one empty."""
    groups, before, fields = 0, "", ""
    for kind in kinds:
        if kind.before:
            groups += 1
            before += f"${groups}"
        groups += 1
        fields += f"{PART}${groups}"
    return f"{before}{OPEN}{letter}{fields}{CLOSE}"


def _turned(text: Column, letter: str, turn: Turn) -> Column:
    """`text` with what one turn finds tagged."""
    looked = _labelled(text) if turn.labelled else text
    found = F.regexp_replace(looked, turn.pattern + UNTAGGED, _replacement(letter, turn.kinds))
    if turn.labelled:
        found = F.regexp_replace(found, f"[{LABELS}]", "")
    asked = F.lit(True)
    if turn.needs:
        asked = reduce(Column.__or__, [text.contains(needed) for needed in turn.needs])
    if turn.gate == HAN:  # far cheaper than the pattern, which still decides
        asked = asked & (F.octet_length(text) > F.length(text))
    if turn.gate:
        asked = asked & text.rlike(turn.gate)
    if turn.labelled:
        asked = asked & (text.rlike(turn.beside) | _may_name(text))
    return F.when(asked, found).otherwise(text)


def _without(text: Column, unwanted: str) -> Column:
    """`text` less the characters of a pattern."""
    return F.when(text.rlike(unwanted), F.regexp_replace(text, unwanted, "")).otherwise(text)


def _known() -> Column:
    """The label of each word that a list knows: a hash of all words, as a pattern of some 29,000 words is compared
    with itself at every row (Spark asks whether it is still the same) and walked at every word."""
    return F.str_to_map(F.lit(",".join(f"{word}:{label}" for word, label in labels().items())), F.lit(","), F.lit(":"))


def _may_name(text: Column) -> Column:
    """True if a word of `text` is on a list of those that may begin a name."""
    known, begin = _known(), beginnings()
    words = F.regexp_extract_all(text, F.lit(LABELLED), F.lit(0))
    return F.exists(words, lambda word: F.coalesce(F.try_element_at(known, word).isin(begin), F.lit(False)))


def _labelled(text: Column) -> Column:
    """`text` with a label before each word that a list knows."""
    known = _known()

    def one(piece: Column, place: Column) -> Column:
        label = F.when(place % 2 == 1, F.try_element_at(known, piece))
        return F.coalesce(F.concat(label, piece), piece)

    pieces = F.split(F.regexp_replace(text, LABELLED, f"{PIECE}$0{PIECE}"), PIECE)
    return F.array_join(F.transform(pieces, one), "")


def _pieces(text: Column, change: Callable[[Column, Column], Column]) -> Column:
    """`text` with every tagged piece changed: `change` is given the kind's number (from 1) and the value."""

    def one(piece: Column, place: Column) -> Column:
        fields = F.substr(piece, F.lit(2))
        number = F.length(fields) - F.length(F.ltrim(fields, F.lit(PART)))
        first = F.create_map(*[F.lit(x) for pair in _FIRST.items() for x in pair])[F.substr(piece, F.lit(1), F.lit(1))]
        return F.when(place % 2 == 0, piece).otherwise(change(first + number, F.btrim(fields, F.lit(PART))))

    # At one character, and no class of two, Java splits without compiling a pattern for each row.
    changed = F.array_join(F.transform(F.split(F.replace(text, F.lit(CLOSE), F.lit(OPEN)), OPEN), one), "")
    return F.when(text.contains(OPEN), changed).otherwise(text)


def _retagged(number: Column, value: Column) -> Column:
    """A tag that says the kind by number alone, whichever turn found it: as the plugged recogniser writes it."""
    return F.concat(F.lit(OPEN), F.lit("a"), F.repeat(F.lit(PART), number), value, F.lit(CLOSE))


def _checked(text: Column) -> Column:
    """`text` without the tags of what fails the checksum of its kind."""

    def kept(number: Column, value: Column) -> Column:
        good = F.lit(True)
        for name, check in CHECKSUMS.items():
            of_it = [n for n, kind in enumerate(_ALL, 1) if kind.checksum == name]
            good = F.when(number.isin(of_it), F.coalesce(check(value), F.lit(False))).otherwise(good)
        return F.when(good, _retagged(number, value)).otherwise(value)

    return _pieces(text, kept)


def tagged(rows: DataFrame, column: str, patterns: DataFrame | None = None) -> DataFrame:
    """`rows` with every kind in `column` tagged, and with `patterns` (`own_patterns`) the visitor's own.

    Null stays null. `patterns` is small: it is broadcast.
    """
    rows = rows.withColumn(column, _without(F.col(column), f"[{OPEN}-{PIECE}]"))
    letters = iter(_LETTERS)
    for turn in _BEFORE:
        rows = rows.withColumn(column, _turned(F.col(column), next(letters), turn))
    rows = rows.withColumn(column, _checked(F.col(column)))
    if patterns is not None:
        rows = _own_tagged(rows, column, patterns)
    for turn in _AFTER:
        rows = rows.withColumn(column, _turned(F.col(column), next(letters), turn))
    return rows


def spans(text: str) -> tuple[str, list[tuple[int, int, str]]]:
    """A tagged text as it was, and what was found in it: start, end (in characters) and kind.

    >>> spans(f"a {OPEN}a{PART}http://x{PART}{PART}{CLOSE} b")
    ('a http://x b', [(2, 10, 'URL')])
    """
    plain, found = "", []
    for place, piece in enumerate(re.split(f"[{OPEN}{CLOSE}]", text)):
        if place % 2 == 0:
            plain += piece
            continue
        fields = piece[1:]
        number = _FIRST[piece[0]] + len(fields) - len(fields.lstrip(PART))
        value = fields.strip(PART)
        if (kind := _ALL[number - 1].name) != KEPT:
            found.append((len(plain), len(plain) + len(value), kind))
        plain += value
    return plain, found


# Placeholders ---------------------------------------------------------------------------------

PLACEHOLDER = "<[A-Z_]+?(?:_[g-v]{8})?>"
"""What stands for a value in a safe text, as a pattern."""


def counted(name: str) -> str:
    """A Java pattern of the placeholders of one kind."""
    return f"<{name}(?:_[g-v]{{8}})?>"


def _tied(visitor: Column | None, name: Column, value: Column) -> Column:
    """The placeholder of a value: typed, and tied to the visitor by eight letters under the key in `_secret`.

    Of a value only letters and digits count, in lower case: 138-1234 and 1381234 are one. Letters stand for the hash's
    digits, so that no placeholder looks like a number. 32 bits: among 1,000 values of one visitor two meet with
    probability 1e-4.
    """
    if visitor is None:
        return F.concat(F.lit("<"), name, F.lit(">"))
    bare = F.regexp_replace(F.lower(value), r"[^\p{L}\p{N}]+", "")
    message = F.concat_ws("\x00", F.lit("text"), visitor, name, bare).cast("binary")
    digest = F.lower(F.hex(F.hmac(F.col("_secret"), message, F.lit("SHA-256"))))
    letters = F.translate(F.substr(digest, F.lit(1), F.lit(8)), "0123456789abcdef", "ghijklmnopqrstuv")
    return F.concat(F.lit("<"), name, F.lit("_"), letters, F.lit(">"))


def replaced(rows: DataFrame, column: str, visitor: str | None = None) -> DataFrame:
    """`rows`, tagged, with a placeholder for each tag; tied to `visitor` under the key in `_secret` if it is given."""
    names = F.array(*[F.lit(kind.name) for kind in _ALL])
    owner = F.col(visitor) if visitor else None

    def placeholder(number: Column, value: Column) -> Column:
        name = F.element_at(names, number.cast("int"))
        return F.when(name == KEPT, value).otherwise(_tied(owner, name, value))

    return rows.withColumn(column, _pieces(F.col(column), placeholder))


def scrubbed(rows: DataFrame, column: str, patterns: DataFrame | None = None, visitor: str | None = None) -> DataFrame:
    """`rows` with what is personal in `column` replaced: of our kinds, the visitor's own, by the plugged recogniser."""
    rows = replaced(tagged(rows, column, patterns), column, visitor)
    if os.environ.get(SETTING):
        rows = replaced(rows.withColumn(column, plugged(os.environ[SETTING])(F.col(column))), column, visitor)
    return rows


# A recogniser from outside --------------------------------------------------------------------

Recogniser = Callable[[list[str]], Iterable[Iterable[tuple[int, int, str]]]]


def recogniser(path: str) -> Recogniser:
    """The function that `path` (module:function) names; a `Problem` if there is none."""
    module, _, name = path.partition(":")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as fault:
        raise Problem(
            f"the recogniser '{path}' cannot be imported: {fault}",
            where=SETTING,
            do="set it to module:function, in a module that Python finds here and on Spark's workers, or unset it",
        ) from fault
    if not callable(found):
        raise Problem(f"the recogniser '{path}' is no function", where=SETTING, do="set it to module:function")
    return found  # type: ignore[no-any-return]


def noted(text: str, found: Iterable[tuple[int, int, str]]) -> str:
    """A text with the spans of a plugged recogniser tagged: kinds of ours only, what touches a placeholder left out.

    >>> noted("Ann <EMAIL_gggggggg>", [(0, 3, "NAME"), (4, 6, "NAME")]).count(OPEN)
    1
    """
    taken = [m.span() for m in re.finditer(PLACEHOLDER, text)]
    out, last = "", 0
    for start, end, kind in sorted(found):
        if kind not in NAMES:
            raise ValueError(
                f"a plugged recogniser found a kind that is none of ours: {kind}; map it to one of {NAMES}"
            )
        if not 0 <= start < end <= len(text):
            raise ValueError(f"a plugged recogniser found a span {start} to {end} in a text of {len(text)} characters")
        if start < last or any(a < end and start < b for a, b in taken):
            continue
        field = PART * (NAMES.index(kind) + 1)
        out += f"{text[last:start]}{OPEN}B{field}{text[start:end]}{CLOSE}"
        last = end
    return out + text[last:]


def plugged(path: str) -> Callable[[Column], Column]:
    """A function on columns that tags what the recogniser at `path` finds, by batches, in Spark's Python workers."""
    recogniser(path)

    def batch(texts: "pa.Array") -> "pa.Array":
        import pyarrow as pa

        from jobs.scrubbing import noted, recogniser

        known = texts.to_pylist()
        given = [text for text in known if text]
        found = iter(zip(given, recogniser(path)(given), strict=True))
        return pa.array([noted(*next(found)) if text else text for text in known], pa.string())

    batch.__annotations__ = {"texts": _arrow_array(), "return": _arrow_array()}
    made: Any = F.arrow_udf(batch, "string")
    return made  # type: ignore[no-any-return]


def _arrow_array() -> Any:
    import pyarrow as pa

    return pa.Array


# The visitor's own ----------------------------------------------------------------------------


def _quoted(text: Column) -> Column:
    return F.concat(F.lit(r"\Q"), F.replace(text, F.lit(r"\E"), F.lit("")), F.lit(r"\E"))


def own_patterns(people: DataFrame) -> DataFrame:
    """visitor_id and, for each of `OWN`, a Java pattern that finds it however it is spaced; null if there is none.

    A name of Latin letters is found whole and by each of its words of three letters or more (a
    customer signs with one of them); a Chinese name whole. A phone is found by its last nine digits,
    with or without country code and separators. Shorter than two, six or seven characters (name,
    address, digits of a phone) is no identifier.
    """
    name, words = (
        F.trim("name"),
        F.filter(F.split(F.trim("name"), r"\s+"), lambda w: w.rlike(r"^\p{IsLatin}[\p{IsLatin}\p{N}'’.\-]{2,}$")),
    )
    whole = F.array_join(F.transform(F.split(name, r"\s+"), _quoted), r"\s*")
    named = F.concat(
        F.lit(r"(?iu)(?<![\p{IsLatin}\p{N}])(?:"),
        F.array_join(F.concat(F.array(whole), F.transform(words, _quoted)), "|"),
        F.lit(r")(?![\p{IsLatin}\p{N}])"),
    )
    digits = F.right(F.regexp_replace("phone", r"\D", ""), F.lit(9))
    dialled = F.concat(
        F.lit(r"[+(]*(?:\d{1,4}[\s().\-]*)?"), F.array_join(F.split(digits, ""), r"[\s().\-]*"), F.lit(r"(?!\d)")
    )
    lived = F.concat(
        F.lit("(?iu)"), F.array_join(F.transform(F.split(F.trim("address"), r"[\s,，]+"), _quoted), r"[\s,，]*")
    )
    return people.select(
        "visitor_id",
        F.when(F.length("email") >= 3, F.concat(F.lit("(?iu)"), _quoted(F.trim("email")))).alias("_own_email"),
        F.when(F.length(digits) >= 7, dialled).alias("_own_phone"),
        F.when(F.length("address") >= 6, lived).alias("_own_address"),
        F.when(F.length(name) >= 2, named).alias("_own_name"),
    )


def _own_tagged(rows: DataFrame, column: str, patterns: DataFrame) -> DataFrame:
    """`rows` with the visitor's own identifiers in `column` tagged."""
    rows = rows.join(F.broadcast(patterns), "visitor_id", "left")
    for place, own in enumerate(OWN):
        text, pattern = F.col(column), F.col(f"_own_{own}")
        fields = PART * (place + 1)
        found = F.regexp_replace(text, F.concat(pattern, F.lit(UNTAGGED)), F.lit(f"{OPEN}A{fields}$0{CLOSE}"))
        if own == "phone":  # a pattern of each row's own is compiled for each row: not where it cannot be
            found = F.when(text.rlike(r"\d"), found)
        rows = rows.withColumn(column, F.coalesce(found, text))
    return rows.drop(*[f"_own_{own}" for own in OWN])


def residue(text: Column, people: dict[str, Column]) -> dict[str, Column]:
    """Does a safe text still hold an identifier? Plain containment, on purpose not the patterns that scrubbed it.

    Letters are compared in lower case, with everything else a space; phones by digits alone.
    """

    def words(value: Column) -> Column:
        return F.concat(F.lit(" "), F.trim(F.regexp_replace(F.lower(value), r"[^\p{L}\p{N}]+", " ")), F.lit(" "))

    def bare(value: Column) -> Column:
        return F.regexp_replace(F.lower(value), r"[^\p{L}\p{N}]+", "")

    kept = F.regexp_replace(text, PLACEHOLDER, " ")
    han = people["name"].rlike(r"\p{IsHan}")
    phone = F.regexp_replace(people["phone"], r"\D", "")
    held = {
        "email": F.lower(kept).contains(F.lower(people["email"])),
        "phone": (F.length(phone) >= 8) & F.regexp_replace(kept, r"[\s().\-]", "").contains(phone),
        "address": (F.length(people["address"]) >= 6) & bare(kept).contains(bare(people["address"])),
        "name": (F.length(people["name"]) >= 2)
        & F.when(han, kept.contains(people["name"])).otherwise(words(kept).contains(words(people["name"]))),
        "any e-mail": kept.rlike(r"[^\s@]@[^\s@.]+\.[^\s@]"),
    }
    return {kind: F.coalesce(found, F.lit(False)) for kind, found in held.items()}
