"""Personal data in free text, found and replaced in Spark's JVM, English and Chinese.

Each kind is a pattern for candidates and, where its standard has one, a checksum: a card number is
one only if Luhn agrees. Then the visitor's own name, e-mail, phone and address, however the pattern
fares. What is replaced leaves a typed placeholder such as <EMAIL>. `clean` removes markup before,
so a placeholder in a safe text was put there by this module, and can be counted.

Where it ends: names of other people, and identifiers with a wrong checksum, are not found.
"""

from collections.abc import Callable
from dataclasses import dataclass

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

IBAN_LENGTHS = {
    15: "NO",
    16: "BE",
    18: "DK FI FO GL NL",
    19: "MK SI",
    20: "AT BA EE KZ LT LU XK",
    21: "CH HR LI LV",
    22: "BG BH CR DE GB GE IE ME RS VA",
    23: "AE GI IL IQ TL",
    24: "AD CZ ES MD PK RO SA SE SK TN VG",
    25: "PT",
    26: "IS TR",
    27: "FR GR IT MC MR SM",
    28: "AL AZ BY CY DO GT HU LB PL SV",
    29: "BR EG PS QA UA",
    30: "JO KW MU",
    31: "MT SC",
    32: "LC",
}
"""ISO 13616: how long the account number of each country is, so that a candidate ends where it must."""


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


@dataclass(frozen=True)
class Kind:
    """One kind of personal data: its placeholder, a Java pattern for candidates, and its checksum."""

    name: str
    pattern: str
    checksum: Callable[[Column], Column] | None = None

    @property
    def placeholder(self) -> str:
        return f"<{self.name}>"


_NO_WORD_BEFORE, _NO_WORD_AFTER = r"(?<![0-9A-Za-z])", r"(?![0-9A-Za-z])"
_IBAN = "|".join(
    rf"(?:{'|'.join(countries.split())})\d{{2}}(?: ?[A-Z0-9]){{{length - 4}}}"
    for length, countries in IBAN_LENGTHS.items()
)
_OCTET = r"(?:25[0-5]|2[0-4]\d|1?\d?\d)"
_PHONE = "|".join(
    (
        r"\+\d{1,3}[ .\-]?(?:\(\d{1,4}\)[ .\-]?)?\d{1,4}(?:[ .\-]?\d{2,4}){2,4}",  # E.164, with separators
        r"(?:\(\d{3}\) ?|\d{3}[.\- ])\d{3}[.\-]\d{4}",  # North America
        r"(?:86[ \-]?)?1[3-9]\d[ \-]?\d{4}[ \-]?\d{4}",  # mainland mobiles
        r"0\d{2,3}-\d{7,8}",  # mainland land lines
    )
)

KINDS: tuple[Kind, ...] = (
    # Longest first: an address of the web may hold an e-mail address, a resident id looks like a card.
    Kind("URL", r"(?i)(?:(?:https?|ftp)://|(?<![a-z0-9])www\.)[^\s<>\"'，。；！？（）]+"),
    Kind("EMAIL", r"(?i)[a-z0-9._%+\-]+@[a-z0-9\-]+(?:\.[a-z0-9\-]+)*\.[a-z]{2,}"),
    Kind("IBAN", rf"{_NO_WORD_BEFORE}(?:{_IBAN}){_NO_WORD_AFTER}", iban),
    Kind("RESIDENT_ID", rf"{_NO_WORD_BEFORE}\d{{17}}[0-9Xx]{_NO_WORD_AFTER}", resident_id),
    Kind("CARD", r"(?<![0-9])\d(?:[ \-]?\d){12,18}(?![0-9])", luhn),
    Kind("SSN", r"(?<![0-9\-])(?!000|666|9\d\d)\d{3}-(?!00)\d{2}-(?!0000)\d{4}(?![0-9\-])"),
    Kind("IP", rf"(?<![0-9.])(?:{_OCTET}\.){{3}}{_OCTET}(?![0-9]|\.[0-9])"),
    Kind("IP", r"(?<![0-9A-Fa-f:])(?:[0-9A-Fa-f]{1,4}:){7}[0-9A-Fa-f]{1,4}(?![0-9A-Fa-f:])"),
    Kind("PHONE", rf"{_NO_WORD_BEFORE}(?:{_PHONE}){_NO_WORD_AFTER}"),
)
OWN = ("email", "phone", "address", "name")
"""The visitor's own identifiers, in the order in which they are replaced: an address may hold the name."""
NAMES: tuple[str, ...] = tuple(dict.fromkeys([*(kind.name for kind in KINDS), *(own.upper() for own in OWN)]))


def scrubbed(rows: DataFrame, column: str) -> DataFrame:
    """`rows` with every kind in `column` replaced by its placeholder. Null stays null."""
    for kind in KINDS:
        text = F.col(column)
        if kind.checksum is None:
            rows = rows.withColumn(column, F.regexp_replace(text, kind.pattern, kind.placeholder))
            continue
        candidates = F.array_distinct(F.regexp_extract_all(text, F.lit(kind.pattern), F.lit(0)))
        rows = rows.withColumn("_true", F.when(text.rlike(r"\d{2}"), F.filter(candidates, kind.checksum)))
        replaced = F.aggregate(F.col("_true"), text, _replacing(kind.placeholder))
        rows = rows.withColumn(column, F.when(F.size("_true") > 0, replaced).otherwise(text)).drop("_true")
    return rows


def _replacing(placeholder: str) -> Callable[[Column, Column], Column]:
    return lambda left, found: F.replace(left, found, F.lit(placeholder))


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


def without_own(rows: DataFrame, column: str, patterns: DataFrame) -> DataFrame:
    """`rows` with the visitor's own identifiers in `column` replaced. `patterns` is small: it is broadcast."""
    rows = rows.join(F.broadcast(patterns), "visitor_id", "left")
    for own in OWN:
        found = F.regexp_replace(F.col(column), F.col(f"_own_{own}"), F.lit(f"<{own.upper()}>"))
        rows = rows.withColumn(column, F.coalesce(found, F.col(column)))
    return rows.drop(*[f"_own_{own}" for own in OWN])


def residue(text: Column, people: dict[str, Column]) -> dict[str, Column]:
    """Does a safe text still hold an identifier? Plain containment, on purpose not the patterns that scrubbed it.

    Letters are compared in lower case, with everything else a space; phones by digits alone.
    """

    def words(value: Column) -> Column:
        return F.concat(F.lit(" "), F.trim(F.regexp_replace(F.lower(value), r"[^\p{L}\p{N}]+", " ")), F.lit(" "))

    def bare(value: Column) -> Column:
        return F.regexp_replace(F.lower(value), r"[^\p{L}\p{N}]+", "")

    kept = F.regexp_replace(text, "<[A-Z_]+>", " ")
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
