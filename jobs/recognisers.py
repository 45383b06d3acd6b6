"""What counts as personal in a text, as data: kinds with a Java pattern, the context it needs, and its checksum.

`jobs.scrubbing` runs them on Spark, turn by turn. A turn is one alternation behind a gate (is there an "@", a digit, a
Han character at all?) and a guard (where may it begin?): most texts pass most turns at the cost of the gate. Within a
turn the earlier kind wins where two begin at the same character. A pattern holds no capturing group. `before` is
context that must stand in front, and stays. Lists of thousands of names are in no pattern: their words are looked up
(`labels`), and the pattern sees the label before the word.

Made for a shop: order numbers, article numbers, sizes, prices and years are no persons' data. A number that says of
itself that it is an order's is shielded (kind `KEPT`). Nationality, religion and the days of events stay.
Where it ends: a name that no list holds and no context announces, an address without a number, anything misspelt.
"""

import importlib
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

KEPT = "KEPT"
"""The kind of what looks personal and is the shop's own: it is matched so that nothing else matches it."""

LABELS = "\x11-\x1d"
"""Characters that stand before words which lists know, as a range of a class (`labels`): controls of ASCII, which are
taken out of texts before."""

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


@dataclass(frozen=True)
class Kind:
    """One way in which personal data is written: the kind it is of, a Java pattern, what stands before, a checksum."""

    name: str
    pattern: str
    before: str = ""
    checksum: str = ""


def trie(words: Iterable[str]) -> str:
    """A pattern of exactly these words, common beginnings written once: matched in the length of a word, not of a list.

    >>> trie(["Ann", "Anna", "Bo"])
    '(?:Anna?|Bo)'
    """
    root: dict[str, dict] = {}  # type: ignore[type-arg]
    for word in sorted(set(words)):
        node = root
        for letter in word:
            node = node.setdefault(letter, {})
        node[""] = {}

    def shared(branches: list[tuple[str, str]]) -> str:
        """One alternation; of many branches by the first letters, as Java tries one branch after the other."""
        if len(branches) <= 4:
            return "|".join(pattern for _, pattern in branches)
        size = math.isqrt(len(branches) - 1) + 1
        parts = [branches[at : at + size] for at in range(0, len(branches), size)]
        return "|".join(f"(?=[{''.join(first for first, _ in p)}])(?:{'|'.join(w for _, w in p)})" for p in parts)

    def written(node: dict[str, dict]) -> str:  # type: ignore[type-arg]
        leaves = "".join(re.escape(letter) for letter, after in node.items() if letter and after.keys() == {""})
        branches = [
            (re.escape(letter), re.escape(letter) + written(after))
            for letter, after in node.items()
            if after.keys() - {""}
        ]
        alone = [pattern for _, pattern in branches]
        if leaves:
            alone.insert(
                0,
                f"[{leaves}]" if sum(after.keys() == {""} for letter, after in node.items() if letter) > 1 else leaves,
            )
        if not alone:
            return ""
        if len(alone) == 1 and "" not in node:
            return alone[0]
        if len(alone) == 1 and leaves:
            return f"{alone[0]}?"
        every = [*alone[:1], shared(branches)] if leaves and branches else [shared(branches)] if branches else alone
        return f"(?:{'|'.join(every)})" + ("?" if "" in node else "")

    return written(root)


@dataclass(frozen=True)
class Turn:
    """Kinds that are looked for together: where the text holds one of `needs` and matches `gate` (what is empty asks
    for nothing), from each place that `guard` allows."""

    gate: str
    guard: str
    kinds: tuple[Kind, ...]
    needs: tuple[str, ...] = ()
    labelled: bool = False
    """The words that lists know bear their label (`labels`) while this turn looks; it does not look where no list says
    of a word that it may begin a name, unless the text matches `beside`."""
    beside: str = ""

    @property
    def pattern(self) -> str:
        """One alternation; its capturing groups are, kind by kind, `before` where there is one, and what is found."""
        each = "|".join((f"({k.before})" if k.before else "") + f"({k.pattern})" for k in self.kinds)
        return f"{self.guard}(?:{each})"


def _any(words: str) -> str:
    """The words, separated by '|', in any case."""
    return f"(?i:{trie(w.lower() for w in words.split('|'))})"


def _words(*lines: str) -> frozenset[str]:
    return frozenset(word for line in lines for word in line.split())


# What a standard defines ----------------------------------------------------------------------

_A, _Z = r"(?<![0-9A-Za-z])", r"(?![0-9A-Za-z])"  # no letter or digit of ASCII in front, behind
_IBAN = "|".join(
    rf"(?:{'|'.join(countries.split())})\d{{2}}(?: ?[A-Z0-9]){{{length - 4}}}"
    for length, countries in IBAN_LENGTHS.items()
)
_WEB_END = r"[^\s<>\"'，。；！？（）\x0e-\x10]"
_TOKEN = r"(?:[a-z_\-]*(?:token|key|sig|auth|code|session|password)=)"  # noqa: S105 - a name, not a secret
_CARD = "|".join(  # ISO/IEC 7812: the ranges that are issued, and their lengths
    (
        r"4\d{3}[ \-]?\d{4}[ \-]?\d{4}[ \-]?\d{4}(?:\d{3})?",
        r"4\d{12}",
        r"(?:5[1-5]\d\d|2[2-7]\d\d|6(?:011|5\d\d|4[4-9]\d|2\d\d)|35[2-8]\d|81\d\d)[ \-]?\d{4}[ \-]?\d{4}[ \-]?\d{4}",
        r"3[47]\d\d[ \-]?\d{6}[ \-]?\d{5}",
        r"3(?:0[0-5]|[68]\d|09)\d[ \-]?\d{6}[ \-]?\d{4}",
        r"62\d{15,17}",
        r"(?:5[0678]|6\d)\d{2}[ \-]?\d{4}[ \-]?\d{4}[ \-]?\d{4}",
    )
)

WEB = Turn(
    "",
    r"(?<![A-Za-z0-9._%+\-@])(?=[A-Za-z0-9._%+\-])",
    (
        # An address of the web may hold an e-mail address, so it comes first.
        Kind("URL", rf"(?i:(?:(?:https?|ftp)://|www\.){_WEB_END}++)"),
        Kind("EMAIL", r"(?i:[a-z0-9._%+\-]++@[a-z0-9\-]+(?:\.[a-z0-9\-]+)*\.[a-z]{2,})"),
        # A link without a scheme that carries a token.
        Kind(
            "URL", rf"(?i:[a-z0-9\-]++(?:\.[a-z0-9\-]++)++/(?:(?![?&#]{_TOKEN}){_WEB_END})*+[?&#]{_TOKEN}{_WEB_END}++)"
        ),
    ),
    needs=("@", "://", "www.", "WWW.", "="),
)
LONG = Turn(  # twelve digits, or as many letters and digits as the shortest account number has
    r"\d(?:(?:[ \-]?\d){11}|\d(?<=[A-Za-z]{2}\d\d)(?: ?[A-Za-z0-9]){11})",
    r"(?<![0-9A-Za-z])(?=\d|[A-Za-z]{2}\d\d)",
    (
        Kind("IBAN", rf"(?i:(?=[A-Z]{{2}})(?:{_IBAN}){_Z})", checksum="iban"),
        Kind("RESIDENT_ID", rf"\d{{17}}[0-9Xx]{_Z}", checksum="resident_id"),
        Kind(  # where the text says that it is a card, any length that ISO/IEC 7812 allows
            "CARD",
            r"(?=\d(?:[ \-]?\d){11,18}(?!\d))(?<=(?i:card|卡|visa|amex|\bcc)[^\d<]{0,24})\d(?:[ \-]?\d){11,18}(?!\d)",
            checksum="luhn",
        ),
        Kind("CARD", rf"(?<![.\-])(?:{_CARD})(?![0-9A-Za-z]|[.\-]\d)", checksum="card"),
    ),
)

# What holds digits ----------------------------------------------------------------------------

_OCTET = r"(?:25[0-5]|2[0-4]\d|1?\d?\d)"
_HEX = r"[0-9A-Fa-f]{1,4}"
_PHONE = "|".join(
    (
        r"\+\d{1,3}[ .\-]?(?:\(\d{1,4}\)[ .\-]?)?\d{1,4}(?:[ .\-]?\d{2,4}){2,4}",  # E.164, with separators
        r"(?:\(\d{3}\) ?|\d{3}[.\- ])\d{3}[.\-]\d{4}",  # North America
        r"001-\d{3}-\d{3}-\d{4}",
        r"(?:(?:00)?86[ \-]?)?1[3-9]\d[ \-]?\d{4}[ \-]?\d{4}",  # mainland mobiles
        r"0\d{2,3}-\d{7,8}",  # mainland land lines
        r"\(0\d{1,4}\) ?\d{3,4}[ \-]?\d{3,4}",
        r"\(\d{2,4}\) ?\d{3}[ \-]\d{3,4}",
        r"0\d{2,4} \d{2,4} \d{2,4}(?: \d{2,4})?",
        r"0\d(?:[.\- ]\d{2}){4}",  # France
    )
)
_EXTENSION = r"(?:(?: ?x| ext\.? ?)\d{1,5})?"
_MONTH = _any(
    "January|Jan|February|Feb|March|Mar|April|Apr|May|June|Jun|July|Jul|August|Aug|September|Sept|Sep|October|Oct|"
    "November|Nov|December|Dec"
)
_DATE = (
    r"(?:\d{4}\s?[\-/.年]\s?\d{1,2}\s?[\-/.月]\s?\d{1,2}日?|\d{1,2}[\-/.]\d{1,2}[\-/.](?:\d{4}|\d\d)|"
    rf"\d{{1,2}}(?i:st|nd|rd|th)?(?: of)? {_MONTH}\.?,? \d{{4}}|{_MONTH}\.? \d{{1,2}}(?i:st|nd|rd|th)?,? \d{{4}}|"
    r"(?:19|20)\d{6}|(?:19|20)\d\d年(?:\d{1,2}月)?)(?!\d)"
)
_RIPE = _any("whisky|whiskey|scotch|malt|rum|single|port|cheese")
_ADULT = r"(?:1[89]|[2-9]\d|1[01]\d)"  # toys are for ages 3 and up

# Streets: a kind of street in front, behind or at the end of the word; a house number; a place and its postal code.
_CAP = r"\p{Lu}[\p{L}\p{M}’'.\-]*+"
_JOIN = (
    r"(?:of|de|la|del|della|dei|degli|delle|des|du|da|do|dos|das|van|von|im|am|an|auf|der|den|zum|zur|op|het|na|nad|"
    r"and|the|le|les|el|los|las|et|e|y|u\.|ul\.)"
)
_HOUSE = r"\d{1,6}(?:[A-Za-z]|/\d{1,4}|-\d{1,4})?"
_SURE_TYPE = _any("street|road|avenue|boulevard|blvd|lane|terrace|crescent")
_SUFFIXES = importlib.import_module("faker.providers.address.en_US").Provider.street_suffixes
_TYPE = _any(
    "|".join(
        {suffix.lower() for suffix in _SUFFIXES}
        - _words(
            "port ports key keys light lights line point points station stations mill mills mount cape center",
            "green greens centers drives extension extensions loop track tracks trace motorway union unions ranch",
            "club gateway field fields spring springs crest ford fork forks flat flats glen island isle lock",
            "locks plain plains prairie radial ramp rest shore shores",
        )
        | _words(
            "street str st road rd avenue ave boulevard blvd lane ln drive dr court ct place pl square sq terrace",
            "crescent close parkway pkwy highway hwy grove gardens mews row circle trail way walk hill quay",
            "straße strasse",
        )
    )
)
_AT_ONCE = (  # who goes somewhere, and where to: behind these words even a street in small letters is one
    _any(
        "live|lives|living|lived|located|reside|resides|send|sent|ship|shipped|deliver|delivered|moved|meet|drops|drop|return"
    )
    + r"(?i:(?: it| one| you| me| us)?(?: off)? (?:at|to)) "
)
_GOODS = (  # what stands between a number and a word that could be a street, where goods are spoken of
    "(?!"
    + _any(
        "gb|tb|mb|kb|usb|port|pack|inch|way|bay|watt|volt|mm|cm|hdd|ssd|ft|pin|pcs|piece|x|flash|hard|disk|disc|dvd|"
        "cd|color|colour|black|page|sheet|slot|speed|ohm|channel|bit|mbit|mp|megapixel"
    )
    + r"\b)"
)
_ENDS = (
    r"(?<=straße|strasse|str\.|straat|gata|gatan|gade|veien|vegen|vei|vej|vägen|weg|laan|plein|platz|utca|útja|katu|tie|kuja|"
    r"gasse|allee|ring|damm|ufer|kade|gracht|singel|dreef|hof|backen|gränd|stien|ulice|ská|ého|nbd)"
)
_STARTS = _any(
    "rue|av|avda|avenue|avenida|calle|via|viale|corso|piazza|rua|rúa|plaza|strada|boulevard|bd|chemin|allée|impasse|"
    "quai|carrer|paseo|camino|travessa|largo|c/|ul|ulica|postbox|postboks|pl|trg|πλατεία|οδός|λεωφόρος"
)
_UNIT = rf"{_any('apt|apartment|suite|unit|flat|room|floor|box|ste')}\.?\s?#?\s?\d{{1,5}}[A-Za-z]?(?!\w)"
_PLACE = rf"[,\s?]{{1,6}}+(?:{_CAP}|{_JOIN}|nan|\d{{1,4}}|\(\p{{Lu}}\p{{L}}+\))"
_TAIL = (
    rf"(?:[,\s?]{{1,7}}{_UNIT})?"
    rf"(?:(?:{_PLACE}){{0,9}}?[,\s]{{1,4}}\d{{4,6}}(?:-\d{{3,4}})?(?!\d)|"
    rf"(?:,\s?{_CAP}(?: {_CAP})?){{1,3}}(?: [A-Z]{{2}}\b)?)?"
)
_PLACES = r"(?:, ?\p{L}{2,20}(?: \p{L}{2,20})?(?=[,.\n]|$)){0,3}"  # small letters, so only up to a mark
_WORDS = rf"(?:(?:{_CAP}|{_JOIN}) ){{0,3}}{_CAP}"
_ANY_WORDS = r"(?:[\p{L}.’'\-]{1,20} ){1,4}"
_AT = (
    r"(?:(?i:address|adresse)(?i: is| to|es, here they are)?|"
    + _any(
        "live|lives|living|lived|located|reside|resides|is|are|was|send|sent|ship|shipped|deliver|delivered|moved|meet|drops|"
        "drop|return|taxi|enter|side|corner|home|user"
    )
    + r"(?i:(?: it| one| you| me| us)?(?: off)? (?:at|on|in|to|of)(?: user:| the)?))[:?]{0,2}\s{1,2}"
)

HEX = Turn(
    r"[:\-](?<=[0-9A-Fa-f][:\-])(?:(?<=:)[0-9A-Fa-f:]|(?<=-)[0-9A-Fa-f]{2}-[0-9A-Fa-f]{2}-)",
    r"(?=[0-9A-Fa-f])(?<![0-9A-Za-z])",
    (
        Kind("MAC", rf"(?:[0-9A-Fa-f]{{2}}:){{5}}[0-9A-Fa-f]{{2}}{_Z}"),
        Kind("MAC", rf"(?=[0-9\-]*[A-Fa-f])(?:[0-9A-Fa-f]{{2}}-){{5}}[0-9A-Fa-f]{{2}}{_Z}"),
        Kind("IP", rf"(?<!:)(?:{_HEX}:){{7}}{_HEX}(?![0-9A-Za-z:])"),
        Kind(  # RFC 5952: a run of zeros is left out; at least two groups remain
            "IP",
            rf"(?<!:)(?=[0-9A-Fa-f:]{{0,39}}\d){_HEX}(?::{_HEX}){{0,5}}::(?:{_HEX}(?::{_HEX}){{0,5}})?(?![0-9A-Za-z:])",
        ),
    ),
    needs=(":", "-"),
)
_TOLD: tuple[Kind, ...] = (
    Kind(
        KEPT,
        r"(?=[A-Za-z0-9\-_/]*\d)[A-Za-z0-9][A-Za-z0-9\-_/]{3,29}(?![0-9A-Za-z@])",
        before=_any(
            "order|invoice|tracking|waybill|parcel|shipment|item|article|art|sku|part|model|serial|isbn|ean|upc|"
            "gtin|mpn|product|batch|lot|ref|reference|ticket|case|version"
        )
        + rf"(?:\s?{_any('number|no|num|nr|id|code')}\.?){{0,2}}[\s:#]{{1,3}}",
    ),
    Kind("ADDRESS", r"(?i:(?:psc|unit|cmr) \d{1,5},? box \d{1,5}(?:\s+[adf]po a[aep] \d{5}(?:-\d{4})?)?)"),
    Kind(
        "ADDRESS",
        rf"(?i:the corner of) (?:(?:{_CAP}|{_JOIN}|\d{{1,6}}) ){{1,6}}and "
        rf"(?:(?:{_CAP}|\d{{1,6}}|{_JOIN}) ){{0,4}}(?:{_CAP}(?: \d{{1,4}}(?!\d))?)",
    ),
    Kind(
        "SSN",
        r"(?!000|666)\d{3}[ \-]?(?!00)\d{2}[ \-]?(?!0000)\d{4}(?!\d)",
        before=_any("ssn|social security") + r"[^\d<\n]{0,24}",
    ),
    Kind(
        "LICENCE",
        r"(?=[A-Z]{0,3}\d)[A-Z]{0,3}[0-9][0-9A-Z\-]{4,17}(?![0-9A-Za-z])",
        before=r"(?i:driv(?:er'?s?|ing) licen[cs]e)[^\d<\n]{0,20}?(?<![A-Za-z0-9])",
    ),
    Kind("PASSPORT", rf"[A-Z]{{0,2}}\d{{6,9}}{_Z}", before=r"(?i:passport)[^\d<\n]{0,20}?(?<![A-Za-z0-9])"),
    Kind(
        "PLATE",
        rf"(?=[A-Z \-]{{0,6}}\d)[A-ZÄÖÜ0-9]{{1,4}}(?:[ \-][A-Z0-9]{{1,4}}){{0,3}}{_Z}",
        before=_any(
            "license plate|licence plate|license plates|licence plates|number plate|car plate|plate number|plate no|"
            "registration number|registration plate|car registration|car reg|kennzeichen"
        )
        + r"\.?(?: number)?(?: is| was)?[\s:#]{0,3}",
    ),
    Kind(
        "BIRTHDATE",
        rf"(?:{_DATE}|(?:19|20)\d\d(?!\d))",
        before=_any("born|born on|born in|birthdate|birth date|date of birth|birthday|dob|d.o.b|d.o.b.")
        + r"(?: is| was)?[\s:,]{0,3}(?:the |on )?",
    ),
    Kind(
        "AGE",
        rf"{_ADULT}\b(?!\.\d|%)(?=\s?(?:[.,;!?\n]|$|(?:and|but|years?)\b))",
        before=_any(
            "turns|turned|turning|i am now|i'm now|he was|she was|i was|i am|i'm|he is|she is|he's|she's|age|aged|age:|"
            "age of|age is"
        )
        + " ",
    ),
    Kind(
        "ADDRESS",
        r"(?=[A-Za-z \-]{0,4}\d)[A-Za-z0-9]{2,6}(?:[ \-][A-Za-z0-9]{2,4})?(?![A-Za-z0-9])",
        before=_any("zip|zip code|zipcode|post code|postcode|postal code") + r"(?: is)?[\s:#]{1,3}",
    ),
    Kind(
        "PHONE",
        rf"\+?(?:\(\+?\d{{1,4}}\)[ .\-]?)?\d(?:[ .\-/]?\(?\d\)?){{5,11}}{_EXTENSION}(?!\d)",
        before=r"(?:"
        + _any("phone|telephone|mobile|cell|tel|desk|fax|whatsapp|sms")
        + r"(?![A-Za-z])(?i:[\s:.#]|number|no\.|is|nr){0,5}|"
        + _any("call|calling|ring|text|contact|reach|answering|messages|registered|dial|number")
        + r"(?![A-Za-z])(?i: (?:me|us|him|her|back|is|at|on|to|under|the|my|number|mobile|phone|cell)){0,4}[\s:]{1,2})",
    ),
)
TOLD = Turn(  # numbers that the words before them explain
    r"\d[\dA-Z \-./()]",
    "(?<![A-Za-z])(?="
    + _any(
        "order|invoice|tracking|waybill|parcel|shipment|item|article|art|sku|part|model|serial|isbn|ean|upc|gtin|"
        "mpn|product|batch|lot|ref|ticket|case|version|ssn|social|driv|passport|licen|number|car|plate|registration|"
        "kennzeichen|born|birth|date|dob|d.o.b|just|i am|i'm|he was|she was|i was|aged|zip|post|phone|tele|tel|"
        "mobile|cell|desk|fax|call|ring|text|whatsapp|contact|reach|answering|messages|registered|"
        "dial|sms|turn|age|he is|she is|he's|she's|psc|unit|cmr|the corner"
    )
    + ")",
    _TOLD,
)
NUMBERED = Turn(  # what begins with a digit, and says by its form what it is
    r"\d",
    r"(?=[0-9+(])(?<![0-9A-Za-z])",
    (
        Kind("SSN", r"(?<!-)(?!000|666|9\d\d)\d{3}-(?!00)\d{2}-(?!0000)\d{4}(?![0-9\-])"),
        Kind("IP", rf"(?<!\.)(?:{_OCTET}\.){{3}}{_OCTET}(?![0-9]|\.[0-9])"),
        Kind("BIRTHDATE", rf"{_DATE}(?=\s?(?:出生|生人|生日))"),
        Kind(
            "AGE",
            rf"(?<!\.){_ADULT}(?=[ \-]?(?i:years?[ \-]old|years of age|y/?o\b|y\.o\.|yrs?[ \-]?old)(?! {_RIPE}))",
        ),
        Kind("PHONE", rf"(?<![.\-])(?:{_PHONE}){_EXTENSION}(?![0-9A-Za-z]|[.\-]\d)"),
        Kind("PHONE", rf"\d{{2,4}}(?:[ .\-]\d{{2,4}}){{2,4}}{_EXTENSION}(?=\s(?i:office|mobile|fax|cell|home)\b)"),
        Kind(
            "ADDRESS",
            rf"(?={_HOUSE}(?:, | )[\p{{L}}\d])(?:"
            + "|".join(
                (
                    rf"{_HOUSE} (?i:p\.? ?o\.? ?box) \d{{1,6}}{_TAIL}",
                    rf"(?:{_HOUSE},? ){{1,2}}(?:"
                    + "|".join(
                        (
                            rf"{_STARTS}\.? {_WORDS}(?: \d{{1,4}}\.?(?!\d))?",
                            rf"{_GOODS}(?:(?:{_CAP}|{_JOIN}) ){{1,4}}{_TYPE}\b\.?(?: \d{{1,4}}(?!\d))?",
                            rf"(?:\p{{L}}{{3,20}} ){{1,2}}{_SURE_TYPE}\b",
                            rf"{_GOODS}{_ANY_WORDS}?(?:\d{{1,5}}\.?)?[,\s?]{{1,7}}{_UNIT}",
                            rf"(?:(?:{_CAP}|{_JOIN}) ){{0,3}}\p{{Lu}}\p{{L}}++(?= \d){_ENDS} \d{{1,4}}[a-z]?(?!\d)",
                            rf"{_WORDS} \d{{1,4}}\.?(?=\s*\n[\s?]*(?:{_UNIT}|\p{{Lu}}))",
                        )
                    )
                    + rf"){_TAIL}",
                )
            )
            + ")",
        ),
    ),
)
STREET = Turn(  # addresses that begin with a word
    r"\d",
    r"(?<![\p{L}\p{N}])(?=\p{Lu}|"
    + _any(
        "psc|unit|cmr|apo|dpo|fpo|po box|p.o|p o|the corner|address|adresse|live|living|located|reside|is|are|was|"
        "send|sent|ship|deliver|moved|meet|drop|return|taxi|enter|side|corner|home|street|user|with|rue|av|calle|"
        "via|corso|piazza|rua|rúa|plaza|ul|trg|apt|apartment|suite"
    )
    + ")",
    (
        Kind("ADDRESS", r"(?:US[A-Z]{2} \p{Lu}\p{L}+\s+)?(?i:[adf]po a[aep]) \d{5}(?:-\d{4})?"),
        Kind("ADDRESS", rf"(?i:p\.? ?o\.? ?box) \d{{1,6}}{_TAIL}"),
        Kind(
            "ADDRESS",
            rf"{_HOUSE} {_GOODS}(?!{_MONTH}\b){_ANY_WORDS}\d{{1,4}}(?![\d%])\.?"
            rf"(?=\s?(?:[.,;!?\n]|$)|\s(?i:st|street|apt|suite)\b){_TAIL}",
            before=_AT_ONCE,
        ),
        Kind("ADDRESS", rf"(?:(?:{_HOUSE}) ){{1,3}}{_GOODS}{_WORDS}(?: \d{{1,5}}\.?(?!\d))?{_TAIL}", before=_AT),
        Kind(
            "ADDRESS",
            rf"(?:{_HOUSE} )?{_ANY_WORDS}\d{{1,5}}\.?(?![\d%]){_TAIL}{_PLACES}",
            before=r"(?i:address)(?: to| is)?:?\s{1,2}",
        ),
        Kind("ADDRESS", rf"{_WORDS} \d{{1,5}}\.?(?![\d%]){_TAIL}", before=_AT),
        Kind("ADDRESS", rf"{_STARTS}\.? {_WORDS},? \d{{1,4}}(?!\d){_TAIL}"),
        Kind(
            "ADDRESS",
            rf"(?:{_CAP} (?:{_JOIN} )?){{0,2}}\p{{Lu}}\p{{L}}++(?= \d){_ENDS} \d{{1,4}}[a-z]?(?!\d){_TAIL}",
        ),
        Kind("ADDRESS", r"(?i:apt|apartment|suite)\.? #?\d{1,4}[A-Za-z]?(?!\w)"),
        Kind(
            "ADDRESS",
            r"\d{4,6}(?=\s*(?:$|\n))",
            before=rf"(?<=\n[\s?]{{0,5}}){_CAP}(?: {_CAP}){{0,2}}(?: \(\p{{L}}+\))?\s",
        ),
    ),
)

# Chinese --------------------------------------------------------------------------------------

_PROVINCE = "京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼"
_IS = r"(?:是|为|叫)?[\s:：,，#]{0,3}"
_HAN = r"(?:(?![我你他她您请寄送到住是址于给的了])[\u4e00-\u9fff])"
_ROOM = (
    r"(?:[ ,，]?[A-Za-z]?\d{1,4}(?:号楼|号院|栋|幢|座|楼|层|单元))*(?:[A-Za-z]座)?(?:[ ,，]?\d{1,5}(?:室|房|户|号))?"
)

HAN = r"[\u4e00-\u9fff]"

CHINESE = Turn(
    HAN,
    r"(?=[\u4e00-\u9fff])",
    (
        Kind(
            KEPT,
            r"(?=[A-Za-z0-9\-_/]*\d)[A-Za-z0-9][A-Za-z0-9\-_/]{3,29}",
            before=rf"(?:订单|单号|运单|快递|货号|型号|商品|条码|编号|发票)(?:号码|编号|单号|号)?{_IS}",
        ),
        Kind("LICENCE", rf"[0-9A-Z]{{6,18}}{_Z}", before=rf"(?:驾驶证|驾照)(?:号码?)?{_IS}"),
        Kind("PASSPORT", rf"[A-Z]{{0,2}}\d{{6,9}}{_Z}", before=rf"护照(?:号码?)?{_IS}"),
        Kind(
            "PLATE",
            rf"[{_PROVINCE}][A-HJ-NP-Z][ ·•]?(?=[A-Z]{{0,5}}\d)"
            rf"[A-HJ-NP-Z0-9]{{4}}(?:[A-HJ-NP-Z0-9]{{1,2}}|[挂学警港澳]){_Z}",
        ),
        Kind("PLATE", rf"(?=[A-Z]{{0,4}}\d)[A-Z0-9]{{4,8}}{_Z}", before=rf"车牌号?码?{_IS}"),
        Kind(
            "BIRTHDATE",
            rf"(?:{_DATE}|(?:19|20)\d\d(?!\d))",
            before=rf"(?:出生日期|出生年月日?|出生于?|生日|生于){_IS}",
        ),
        Kind("AGE", rf"{_ADULT}(?=岁)", before=rf"(?:我|今年|年龄|本人){_IS}"),
        Kind("ADDRESS", r"\d{6}(?!\d)", before=rf"(?:邮编|邮政编码){_IS}"),
        Kind(
            "PHONE",
            rf"\+?\d(?:[ .\-/]?\(?\d\)?){{6,14}}{_EXTENSION}(?!\d)",
            before=rf"(?:电话|手机号?码?|联系方式|座机|致电){_IS}",
        ),
        Kind(
            "ADDRESS",
            rf"{_HAN}{{1,24}}?(?:路|街|大街|大道|巷|胡同|弄)(?:{_HAN}{{0,4}})?\d{{1,5}}(?:弄\d{{1,4}})?号{_ROOM}"
            rf"(?:{_HAN}{{2,12}}\d{{1,4}}(?:室|号楼))?",
        ),
        Kind(
            "ADDRESS",
            rf"{_HAN}{{2,24}}?(?:小区|花园|家园|公寓|新村|新苑|苑|里|村|广场|大厦|庄园)[A-Za-z]?\d{{1,4}}(?:号楼|栋|幢|座|号){_ROOM}",
        ),
    ),
)

# Names ----------------------------------------------------------------------------------------

_LOCALES = _words(
    "en_US en_GB en_IE en_IN en_NZ en_NG de_DE de_AT de_CH fr_FR fr_CH fr_BE it_IT es_ES es_MX es_AR es_CO pt_PT",
    "pt_BR nl_NL nl_BE sv_SE no_NO da_DK fi_FI is_IS pl_PL cs_CZ sk_SK hu_HU ro_RO hr_HR sl_SI et_EE lv_LV lt_LT",
    "tr_TR id_ID vi_VN zu_ZA ga_IE",
)
_WORDS_TOO = _words(
    "Comfort Tri Cord Tank Olive Ivory Pages Marshall Vogel",
    "Toner Reader Smart Master Drum Cradle Line Printer Tower Cable Laser Color Card Case Cover Server Switch Canvas",
    "Router Monitor Battery Charger Adapter Camera Screen Paper Ink Sound Audio Speaker Driver Player Holder Filter",
    "Roller Bracket Mount Frame Plate Cartridge Projector Lens Tripod Tray Stand Cooler Heater Blender Mixer Grill",
    "Oven Toaster Kettle Iron Drive Disk Port Panel Rack Tape Wire Net Web Media Studio Office Home Sport Classic",
    "Premium Ultra Super Turbo Magic Flash Will May Mark Rose Grace Art Bill Hope Joy Dawn June April August Summer",
    "Autumn Faith Iris Ivy Holly Lily Daisy Violet Ruby Pearl Amber Crystal Jade Ginger Sandy Rusty Rocky Misty Sunny",
    "Angel Precious Royal Prince King Queen Star Sky River Forest Brook Brooks Lane Dale Glen Cliff Heath Reed Ray",
    "Rich Frank Grant Chase Hunter Mason Carter Cooper Taylor Parker Porter Baker Miller Smith Cook Fisher Page Price",
    "Long Short Young Old Brown Green White Black Gray Grey Gold Silver Day Moon Winter Snow Rain Frost Bell Ball",
    "Banks Barber Bass Best Bird Bishop Blue Bond Booth Bowl Box Branch Bright Burns Bush Cannon Chance Church Clean",
    "Close Coffey Cole Combs Cross Curry Dean Drew Duke Early East Field Fields Flowers Flynn Ford Foster Fox Freed",
    "French Gates Glass Golden Good Guy Hall Hand Hardy Head High Hill Hills Horn House Hunt Key Kit Knight Lake Lamb",
    "Law Light Little Lock Love Low Major Marsh Max Mill Mills Moss North Pace Park Parks Pike Pool Pope Post Power",
    "Powers Pratt Rice Ring Rivers Rock Rowe Rush Sharp Shaw Shepherd Small South Spears Spring Steel Stone Stout",
    "Strong Sweet Swift Terry Trade Underwood Van Wade Walker Wall Walls Ward Ware Warm Waters Watts Way Weeks Wells",
    "West Wise Wolf Wood Woods Wright Yard Christian Jewel Mercy Justice Trinity Destiny Harmony Melody Genesis",
    "Nevada Paris London Sydney Florence Victoria Georgia Virginia Carolina Dakota Savannah Austin Dallas Houston",
    "Jackson Madison Lincoln Washington Chelsea Brooklyn Israel Jordan India China Asia America Kenya Mercedes Dell",
    "Philips Canon Kent Lance Miles Nick Pat Peg Rob Sue Tab Tad Tim Tom Vance Wren Ace Happy Lucky Baby Don Dot Gene",
    "Jack Jean Jimmy Pierce Randy Red Sage Skip Sterling Storm True Unique Willow Buddy Honor Noble Mini Nova Aurora",
    "Viola Flora Maxim Marina Sierra Sienna Malta Sol Lux Vita Siri Alexa Cortana Fritz Roman Latin German Germany",
    "Alpha Delta An Do Ha Hoa My Le La Vu To Vo Mo Ho Hu Ma Li Lu Lo Ly Mai Mi Nam Ng Thu Thi Tu Vi Yen Ty Tam Tan",
    "Tin Tien Thanh Can Date France Poland Holland England Ireland Scotland Spain Portugal Italy English Welsh Irish",
    "Dutch Russian Street Credit Travel Doc Bar Bay Ken Sony Nikon Garmin Asus Acer Intel Apple Benz Martin Samson",
    "Seagate Belkin Norton Kingston Logitech Toshiba Epson Lexmark Oki Trust Hama Bosch Braun Siemens Miele Maxwell",
    "Franklin Oxford Cambridge Windsor Chester Lancaster York Boston Denver Memphis Charlotte Alexandria Adelaide",
    "Orlando",
)
"""Given names and surnames that are words, places or makers too: alone they say nothing."""
_NEVER = _words(
    "Gold Silver Black White Green Gray Grey Blue Red Brown Pearl Jade Ruby Amber Crystal Golden Sky North South"
)
"""... and those that say nothing in pairs, either: Rose Gold is a colour."""


@cache
def listed(part: str, *, words_too: bool = False) -> frozenset[str]:
    """Given ("first") or family ("last") names of the locales that write Latin letters, from Faker's lists; those that
    are no English words, or with `words_too` those that are."""
    found: set[str] = set()
    for locale in sorted(_LOCALES):
        provider = importlib.import_module(f"faker.providers.person.{locale}").Provider
        for attribute in dir(provider):
            values = getattr(provider, attribute)
            if attribute.startswith(f"{part}_name") and not callable(values) and not isinstance(values, str):
                found.update(v for v in values if isinstance(v, str))
    least = 3 if part == "first" else 4
    words = _WORDS_TOO | {
        word.title() for word in importlib.import_module("faker.providers.lorem.en_US").Provider.word_list
    }
    whole = {n for n in found if n.isalpha() and len(n) >= least and n.istitle()}
    return frozenset(whole & words - _NEVER if words_too else whole - words)


_LABEL = f"[{LABELS}]?+"
_NO_NAMES = _words(  # words with a capital that begin a sentence or a line
    "The This That These Those There Team Customer Sir Madam All Everyone Support Service Sales Seller",
    "Shop Store What When Where Which Who Why How And But For From Your You We It Its Is Are My Our Please",
    "Thanks Thank Hello Dear Not No Yes If In On At To Just Mr Mrs Ms Dr Street Road Avenue St Rd Apt",
    "Suite Phone Mobile Email Address Order Date Name Inc Ltd Llc Company Corporation Group Monday Tuesday",
    "Wednesday Thursday Friday Saturday Sunday January February March April May June July August September",
    "October November December He She They Someone Somebody Everybody Nobody Anyone Originally Can Could",
    "Would Will Do Does Did Have Has I'm Here Then Now So As An A One After Before Because Of By With Good",
    "Great Very Nice Sorry However Also Otherwise Alternatively Unfortunately Ok Okay Well Today Tomorrow",
)
_NOT = f"(?!{trie(_NO_NAMES)}" + r"\b)"
_PARTICLE = trie(_words("van von de da del della di du dos la le bin ibn al el ter ten den der zu av af y"))
_FAMILY_END = (  # a look back of one length each costs a step; one of many lengths, a step for each
    "(?:"
    + "|".join(
        f"(?<={trie(endings.split())})"
        for endings in (
            "ova eva ová ská ski sky cki cka vić vič ffy kov nov mov rov lov sov tov zov dov bov yev nev",
            "ssen sson czyk czak enko chuk escu eanu gren ström ényi shev chev",
            "evich ovich quist kvist",
            "dóttir shvili lainen",
            "sdottir opoulos",
        )
    )
    + ")"
)
_FIRM = trie(
    _words(
        "Inc Ltd LLC Llc Corp Corporation Company Co Group Investments Orchestra Insights Street Road Avenue",
        "St Rd Holdings Partners Software Systems Bank University Hospital School College Park Bridge Hotel",
        "Restaurant Museum Airport",
    )
)
_START = r"\p{L}\p{N}&@#/_.\-"  # what a name does not stand behind


def _name(label: str = "") -> str:
    """A word written as names are; `label` may stand where a word begins."""
    return (
        rf"{label}(?:\p{{Lu}}['’]{label}|Mc|Mac|De|La|Van|Di)?\p{{Lu}}\p{{Ll}}\p{{L}}*+(?:-\p{{Lu}}\p{{Ll}}\p{{L}}*+)*"
    )


def _more(word: str, label: str = "") -> str:
    """What follows a first word: a letter, or another `word` after at most two particles."""
    return rf"(?:[ \u00a0]{{1,2}}(?:{label}\p{{Lu}}\.?(?!\p{{L}})|(?:{_PARTICLE}[ \u00a0]){{0,2}}{word}))"


def _end(label: str = "") -> str:
    """Where a name may end: no firm's or street's."""
    return rf"(?![\p{{L}}\p{{N}}@_])(?! {label}{_FIRM}\b)"


_CAPITAL = r"\p{Lu}\p{Ll}"
_FOREIGN = r"(?:\p{Lu}[a-z]*+[\u00df-\u024f]\p{L}*+|[\u00c0-\u00de\u0100-\u024f]\p{Ll}\p{L}*+)"
_OF_PEOPLE = _any(
    "address|account|birthday|mother|father|house|home|phone|email|wife|husband|son|daughter|family|friend|name|"
    "kid|kids|child|children|sister|brother|parents|partner|boss|boyfriend|girlfriend|wedding|order|parcel"
)

_WORD = _NOT + _name()
_MORE = _more(_WORD)

ANNOUNCED = Turn(  # names after a title, a greeting, in a signature
    _CAPITAL + "|name",
    r"(?<![\p{L}\p{N}])(?="
    + _any(
        "mr|ms|miss|mx|dr|prof|herr|frau|madame|monsieur|señor|my name|name|called|signed|attn|attention|regards|"
        "sincerely|cheers|yours|contact|recipient|speak|dear|hi|hello|hey|it's under|said|i'm|i am|by|call me|calls me|"
        "starring|my|his|her|our|your|maiden|last|first|full"
    )
    + ")",
    (
        Kind(
            "NAME",
            rf"{_WORD}{_MORE}{{0,2}}{_end()}",
            before=_any("mr|mrs|ms|miss|mx|dr|prof|professor|herr|frau|madame|monsieur|señor|señora") + r"\.?[ ]",
        ),
        Kind(
            "NAME",
            r"\p{L}{3,}(?: \p{L}{2,})?(?=\s?(?:[.,;!?\n]|$))",
            before=r"(?i:my name is|my name's|(?:maiden|last|first|full) name is) ",
        ),
        Kind(
            "NAME",
            rf"{_WORD}{_MORE}{{0,2}}{_end()}",
            before=r"(?i:my|his|her|our|your) "
            + _any(
                "kid|child|son|daughter|wife|husband|brother|sister|mother|father|friend|boss|colleague|partner|"
                "boyfriend|girlfriend|neighbour|neighbor|uncle|aunt|cousin"
            )
            + ",? ",
        ),
        Kind(
            "NAME",
            rf"{_WORD}{_MORE}{{0,3}}{_end()}",
            before=_any(
                "name is|name:|name|called|named|named him|named her|signed|signed by|attn:|attn|attention:|regards|"
                "regards,|sincerely|sincerely,|cheers|cheers,|yours|yours,|contact|contact:|recipient:|speak to|"
                "speak with|dear|hi|hi,|hello|hello,|hey|hey,|it's under|said|i'm|i am|by|name?|calls me|call me|"
                "starring"
            )
            + r"\s{1,2}",
        ),
    ),
)


_ASKS = r", (?:can|could|may|would|will) (?:I|you)\b"
_DOES = _any(
    "lives|lived|said|says|told|asked|wrote|spent|thinks|wants|loves|is from|is very|moved to|just has to|had given|"
    "shouted|replied|answered|married|was born|began writing"
)


@cache
def labels() -> dict[str, str]:
    """The label of each word that a list holds: which lists those are, as one of the characters from `LABELS`."""
    lists = _lists()
    held = {
        word: tuple(name for name, words in lists.items() if word in words) for word in set().union(*lists.values())
    }
    kinds = {kind: chr(ord(LABELS[0]) + place) for place, kind in enumerate(sorted(set(held.values())))}
    return {word: kinds[kind] for word, kind in sorted(held.items())}


@cache
def _lists() -> dict[str, frozenset[str]]:
    return {
        "given": listed("first"),
        "family": listed("last"),
        "first": listed("first", words_too=True),
        "last": listed("last", words_too=True),
        "none": frozenset(word for word in _NO_NAMES if word.isalpha()),
    }


def _told(*names: str) -> list[str]:
    """The labels that say: one of these lists holds the word."""
    held = frozenset().union(*(_lists()[name] for name in names))
    return sorted({label for word, label in labels().items() if word in held})


def beginnings() -> list[str]:
    """The labels of words that may begin a name."""
    return _told("given", "family", "first")


def _on(name: str) -> str:
    return f"[{''.join(_told(name))}]"


@cache
def known() -> Turn:
    """Names that lists know, with what is capitalised behind; endings that surnames have; who does as people do."""
    given, family, first, last = (rf"{_on(name)}\p{{L}}++" for name in ("given", "family", "first", "last"))
    none = rf"(?!{_on('none')})"
    word, foreign = none + _name(_LABEL), _LABEL + _FOREIGN
    more, middle = _more(word, _LABEL), r"(?: \p{Lu}\.)?"
    # In a row of many words with capitals, a title, a name is none.
    last_of = rf"{_end(_LABEL)}(?![ \-]{_LABEL}\p{{Lu}}\p{{Ll}}|[ \-]?\d)"
    return Turn(
        _CAPITAL,
        rf"(?=[{LABELS}\p{{Lu}}])(?<![{_START}{LABELS}])",
        (
            Kind("NAME", rf"{given}(?:-{_name(_LABEL)})?+{more}{{0,3}}+{last_of}"),
            Kind(
                "NAME",
                rf"(?:{word}{middle} )?(?:{family}|{_LABEL}\p{{Lu}}\p{{L}}{{2,}}+{_FAMILY_END}){last_of}",
            ),
            Kind("NAME", rf"{first}{middle} {last}{last_of}"),
            Kind(  # letters that English lacks, in one of two words
                "NAME", rf"{none}(?:{foreign}{more}{{1,2}}+|{word}{middle} {foreign}){last_of}"
            ),
            Kind(  # a line of its own; who does what people do; whose something is
                "NAME",
                rf"{word}(?:{more}{{0,2}}{_end(_LABEL)}(?= {_LABEL}{_DOES} |{_ASKS})|(?='s {_LABEL}{_OF_PEOPLE})|"
                rf"{more}{{1,3}}+(?=\s{{0,2}}\n))",
            ),
        ),
        labelled=True,
        beside=rf"\p{{Lu}}\p{{L}}{{2,}}+{_FAMILY_END}|[\u00c0-\u024f]| {_DOES} |{_ASKS}|'s {_OF_PEOPLE}|"
        r"[\p{L}.]\s{0,2}\n",
    )


LABELLED = rf"\p{{Lu}}(?<![{_START}]\p{{Lu}})\p{{L}}++"
"""A word that a list may know. What stands before is looked at behind a capital letter, not at every place."""


@cache
def chinese_names() -> Turn:
    """Chinese names: a surname of the list and one or two characters, announced, or before a title."""
    provider = importlib.import_module("faker.providers.person.zh_CN").Provider
    surname = trie(
        [
            *provider.last_names,
            "欧阳",
            "司马",
            "诸葛",
            "上官",
            "皇甫",
            "尉迟",
            "公孙",
            "慕容",
            "令狐",
            "司徒",
            "端木",
            "东方",
        ]
    )
    behind = r"(?=$|[\s,，。.!！?？;；:：、）)(（\"”<]|\d|电话|手机|住|的(?:电话|手机|地址|订单|快递)|先生|女士|小姐)"
    name = rf"{surname}[\u4e00-\u9fff]{{1,2}}"
    return Turn(
        HAN,
        r"(?=[\u4e00-\u9fff])",
        (
            Kind(
                "NAME",
                rf"{name}{behind}",
                before=r"(?:我叫|我是|本人|姓名|名字|收件人|收货人|寄件人|联系人|签名|署名|此致|尊敬的|亲爱的|您好|你好)(?:是|叫|为)?[\s:：,，]{0,2}",
            ),
            Kind("NAME", rf"{surname}[\u4e00-\u9fff]{{0,2}}(?=先生|女士|小姐|太太|师傅|老师|经理)"),
        ),
    )


def turns() -> tuple[tuple[Turn, ...], tuple[Turn, ...]]:
    """The turns before the visitor's own identifiers are looked for, and those after."""
    return (WEB, LONG), (TOLD, CHINESE, HEX, NUMBERED, STREET, ANNOUNCED, known(), chinese_names())


NAMES = (
    *(
        "URL",
        "EMAIL",
        "IBAN",
        "RESIDENT_ID",
        "CARD",
        "SSN",
        "LICENCE",
        "PASSPORT",
        "PLATE",
        "BIRTHDATE",
        "AGE",
        "MAC",
        "IP",
    ),
    *("PHONE", "ADDRESS", "NAME"),
)
"""Every kind of placeholder that this module can lead to."""
