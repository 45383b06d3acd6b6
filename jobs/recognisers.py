"""What counts as personal in a text, as data: kinds with a Java pattern, where it may begin, its context and checksum.

`jobs.scrubbing` has them sought, turn by turn. A pattern is tried where one of its words stands, or one of the
characters that it may begin with, in texts that hold what it needs: most texts pass most kinds at the cost of a look at
each character. Within a turn the earlier kind wins where two begin at the same character; what an earlier turn has
found is no longer there for the later ones. A pattern holds no capturing group. Lists of thousands of names are in no
pattern: their words are looked up (`labels`), and the pattern sees the label before the word.

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

LABELS = "\x0f-\x1e"
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
    """One way in which personal data is written: what kind of data it is, and a Java pattern of it."""

    name: str
    pattern: str
    words: str = ""
    """Words, separated by '|', in any case, with one of which it begins: before `before` if there is one, else before
    `pattern`."""
    first: str = ""
    """Without `words`: the class of characters that it may begin with."""
    before: str = ""
    """A pattern of what stands in front, and stays."""
    holds: str = ""
    """A class of characters of which the text must hold one, or it is not looked for."""
    digits: int = 0
    """... and so many digits in a row, with at most two of " .-/()" between one and the next."""
    beside: str = ""
    """... and one of these words, separated by '|', in any case; of one with "-" in front, a word that ends so."""
    checksum: str = ""

    @property
    def written(self) -> tuple[str, str]:
        """What stands in front, and what is found, as Java patterns."""
        words = _any(self.words) if self.words else ""
        announced = bool(self.before)
        return (words + self.before if announced else "", self.pattern if announced else words + self.pattern)


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
    """Kinds that are looked for together, nowhere behind a letter or digit of ASCII, unless they begin beyond Latin-1;
    nor behind a character of the class `behind`."""

    behind: str
    kinds: tuple[Kind, ...]
    labelled: bool = False
    """Words that lists know bear their label (`labels`) while this turn looks."""


def _any(words: str) -> str:
    """The words, separated by '|', in any case."""
    return f"(?i:{trie(w.lower() for w in words.split('|'))})"


def _words(*lines: str) -> frozenset[str]:
    return frozenset(word for line in lines for word in line.split())


def _behind(words: Iterable[str]) -> str:
    """A look back at one of these endings: one of each length costs a step, one of many lengths a step for each."""
    lengths: dict[int, list[str]] = {}
    for word in sorted(words):
        lengths.setdefault(len(word), []).append(word)
    return f"(?:{'|'.join(f'(?<={trie(same)})' for _, same in sorted(lengths.items()))})"


# What a standard defines ----------------------------------------------------------------------

_Z = r"(?![0-9A-Za-z])"  # no letter or digit of ASCII behind
_WEB_END = r"[^\s<>\"'，。；！？（）\x0e]"
_TOKEN = r"(?:[a-z_\-]*(?:token|key|sig|auth|code|session|password)=)"  # noqa: S105 - a name, not a secret
_RESIDENT_ID = rf"\d{{17}}[0-9Xx]{_Z}"
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
    r"[._%+\-@]",
    (
        # An address of the web may hold an e-mail address, so it comes first.
        Kind("URL", rf"{_WEB_END}++", words="http://|https://|ftp://|www."),
        Kind(
            "EMAIL",
            r"(?i:[a-z0-9._%+\-]++@[a-z0-9\-]+(?:\.[a-z0-9\-]+)*\.[a-z]{2,})",
            first=r"[A-Za-z0-9._%+\-]",
            holds="@",
        ),
        Kind(  # a link without a scheme that carries a token
            "URL",
            rf"(?i:[a-z0-9\-]++(?:\.[a-z0-9\-]++)++/(?:(?![?&#]{_TOKEN}){_WEB_END})*+[?&#]{_TOKEN}{_WEB_END}++)",
            first=r"[A-Za-z0-9\-]",
            holds="=",
        ),
    ),
)
LONG = Turn(
    "",
    (
        *(
            Kind(
                "IBAN",
                rf"\d{{2}}(?: ?[A-Za-z0-9]){{{length - 4}}}{_Z}",
                words="|".join(countries.split()),
                digits=5,
                checksum="iban",
            )
            for length, countries in IBAN_LENGTHS.items()
        ),
        Kind("RESIDENT_ID", _RESIDENT_ID, first=r"\d", digits=17, checksum="resident_id"),
        Kind(  # where the text says that it is a card, any length that ISO/IEC 7812 allows
            "CARD",
            rf"(?!{_RESIDENT_ID})\d(?:[ \-]?\d){{11,18}}(?!\d)",
            words="card|mastercard|卡|visa|amex|cc",
            before=r"[^\d<]{0,24}(?<![0-9A-Za-z])",
            digits=12,
            checksum="luhn",
        ),
        Kind("CARD", rf"(?<![.\-])(?:{_CARD})(?![0-9A-Za-z]|[.\-]\d)", first=r"\d", digits=12, checksum="card"),
    ),
)

# What holds digits ----------------------------------------------------------------------------

_OCTET = r"(?:25[0-5]|2[0-4]\d|1?\d?\d)"
_HEX, _PAIR = r"[0-9A-Fa-f]{1,4}", "[0-9A-Fa-f]{2}"
_PAIRS = [f"{byte:02x}" for byte in range(256)]
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
_JOIN = trie(
    _words(
        "of de la del della dei degli delle des du da do dos das van von im am an auf der den zum zur op het na nad",
        "and the le les el los las et e y u. ul.",
    )
)
_HOUSE = r"\d{1,6}(?:[A-Za-z]|/\d{1,4}|-\d{1,4})?"
_SURE_TYPES = "street|road|avenue|boulevard|blvd|lane|terrace|crescent"
_SUFFIXES = importlib.import_module("faker.providers.address.en_US").Provider.street_suffixes
_TYPES = "|".join(
    sorted(
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
_GOES = (  # who goes somewhere, and where to
    "live|lives|living|lived|located|reside|resides|send|sent|ship|shipped|deliver|delivered|moved|meet|drops|drop|return"
)
_AT_ONCE = r"(?i:(?: it| one| you| me| us)?(?: off)? (?:at|to)) "
"""... and where to at once: then even a street in small letters is one."""
_GOODS = (  # what stands between a number and a word that could be a street, where goods are spoken of
    "(?!"
    + _any(
        "gb|tb|mb|kb|usb|port|pack|inch|way|bay|watt|volt|mm|cm|hdd|ssd|ft|pin|pcs|piece|x|flash|hard|disk|disc|dvd|"
        "cd|color|colour|black|page|sheet|slot|speed|ohm|channel|bit|mbit|mp|megapixel"
    )
    + r"\b)"
)
_STREET_ENDS = _words(
    "straße strasse straat gata gatan gade veien vegen vei vej vägen weg laan plein platz utca útja katu tie kuja",
    "gasse allee ring damm ufer kade gracht singel dreef hof backen gränd stien ulice ská ého nbd",
)
_ENDS = _behind(_STREET_ENDS)
_ENDING = "|".join(f"-{end}" for end in sorted(_STREET_ENDS))
_STREETS = (
    "rue|av|avda|avenue|avenida|calle|via|viale|corso|piazza|rua|rúa|plaza|strada|boulevard|bd|chemin|allée|impasse|"
    "quai|carrer|paseo|camino|travessa|largo|c/|ul|ulica|postbox|postboks|pl|trg|πλατεία|οδός|λεωφόρος"
)
_STARTS = _any(_STREETS)
_UNITS = "apt|apartment|suite|unit|flat|room|floor|box|ste"
_UNIT = rf"{_any(_UNITS)}\.?\s?#?\s?\d{{1,5}}[A-Za-z]?(?!\w)"
_PLACE = rf"[,\s?]{{1,6}}+(?:{_CAP}|{_JOIN}|nan|\d{{1,4}}|\(\p{{Lu}}\p{{L}}+\))"
_POST = r"(?:[A-Z]{1,2}\d[A-Z\d]? ?\d[A-Z]{2}|[A-Z]\d[A-Z] ?\d[A-Z]\d)(?![\p{L}\d])"  # British, Canadian
_TAIL = (
    rf"(?:[,\s?]{{1,7}}{_UNIT})?"
    rf"(?:(?:{_PLACE}){{0,9}}?[,\s]{{1,4}}(?:\d{{4,6}}(?:-\d{{3,4}})?(?!\d)|{_POST})|"
    rf"(?:,\s?{_CAP}(?!\d)(?: {_CAP}(?!\d))?){{1,3}}(?: [A-Z]{{2}}\b)?)?"
)
_PLACES = r"(?:, ?\p{L}{2,20}(?: \p{L}{2,20})?(?=[,.\n]|$)){0,3}"  # small letters, so only up to a mark
_WORDS = rf"(?:(?:{_CAP}|{_JOIN}) ){{0,3}}{_CAP}"
_ANY_WORDS = r"(?:[\p{L}.’'\-]{1,20} ){1,4}"
_STAYS = f"{_GOES}|is|are|was|taxi|enter|side|corner|home|user"
_AT = r"(?i:(?: it| one| you| me| us)?(?: off)? (?:at|on|in|to|of)(?: user:| the)?)[:?]{0,2}\s{1,2}"
_ADDRESS_IS = r"(?i: is| to|es, here they are)?[:?]{0,2}\s{1,2}"

HEX = Turn(
    "",
    (
        Kind("MAC", rf"(?:{_PAIR}:){{4}}{_PAIR}{_Z}", words="|".join(f"{pair}:" for pair in _PAIRS), digits=1),
        Kind(  # with a letter: twelve digits in pairs are something else
            "MAC",
            rf"(?:{_PAIR}-){{4}}{_PAIR}(?<=[A-Fa-f][0-9A-Fa-f\-]{{0,16}}){_Z}",
            words="|".join(f"{pair}-" for pair in _PAIRS),
            digits=1,
        ),
        Kind(  # RFC 5952: eight groups, or a run of zeros is left out and at least two groups remain
            "IP",
            rf"(?<!:){_HEX}:(?:(?:{_HEX}:){{6}}{_HEX}|"
            rf"(?:{_HEX}:){{0,5}}:(?:{_HEX}(?::{_HEX}){{0,5}})?(?<=\d[0-9A-Fa-f:]{{0,39}}))(?![0-9A-Za-z:])",
            first="[0-9A-Fa-f]",
            holds=":",
            digits=1,
        ),
    ),
)
TOLD = Turn(  # numbers that the words before them explain
    "",
    (
        Kind(
            KEPT,
            r"(?=[A-Za-z0-9\-_/]*\d)[A-Za-z0-9][A-Za-z0-9\-_/]{3,29}(?![0-9A-Za-z@])",
            words="order|invoice|tracking|waybill|parcel|shipment|item|article|art|sku|part|model|serial|isbn|ean|upc|"
            "gtin|mpn|product|batch|lot|ref|reference|ticket|case|version",
            before=rf"(?:\s?{_any('number|no|num|nr|id|code')}\.?){{0,2}}[\s:#]{{1,3}}",
            digits=1,
        ),
        Kind(
            "ADDRESS",
            r"\d{1,5},? (?i:box \d{1,5}(?:\s+[adf]po a[aep] \d{5}(?:-\d{4})?)?)",
            words="psc |unit |cmr ",
            digits=2,
        ),
        Kind(
            "ADDRESS",
            rf" (?:(?:{_CAP}|{_JOIN}|\d{{1,6}}) ){{1,6}}and "
            rf"(?:(?:{_CAP}|\d{{1,6}}|{_JOIN}) ){{0,4}}(?:{_CAP}(?: \d{{1,4}}(?!\d))?)",
            words="the corner of",
            digits=1,
        ),
        Kind(
            "SSN",
            r"(?!000|666)\d{3}[ \-]?(?!00)\d{2}[ \-]?(?!0000)\d{4}(?!\d)",
            words="ssn|social security|my social|his social|her social|social number",
            before=r"[^\d<\n]{0,24}",
            digits=9,
        ),
        Kind(
            "LICENCE",
            r"(?=[A-Z]{0,3}\d)[A-Z]{0,3}[0-9][0-9A-Z\-]{4,17}(?![0-9A-Za-z])",
            words="driver|drivers|driver's|driver'|driving",
            before=r"(?i: licen[cs]e)[^\d<\n]{0,20}?(?<![A-Za-z0-9])",
            digits=1,
        ),
        Kind(
            "PASSPORT",
            rf"[A-Z]{{0,2}}\d{{6,9}}{_Z}",
            words="passport",
            before=r"[^\d<\n]{0,20}?(?<![A-Za-z0-9])",
            digits=6,
        ),
        Kind(
            "PLATE",
            rf"(?=[A-Z \-]{{0,6}}\d)[A-ZÄÖÜ0-9]{{1,4}}(?:[ \-][A-Z0-9]{{1,4}}){{0,3}}{_Z}",
            words="license plate|licence plate|license plates|licence plates|number plate|car plate|plate number|"
            "plate no|registration number|registration plate|car registration|car reg|kennzeichen",
            before=r"\.?(?: number)?(?: is| was)?[\s:#]{0,3}",
            digits=1,
        ),
        Kind(
            "BIRTHDATE",
            rf"(?:{_DATE}|(?:19|20)\d\d(?!\d))",
            words="born|born on|born in|birthdate|birth date|date of birth|birthday|dob|d.o.b|d.o.b.",
            before=r"(?: is| was)?[\s:,]{0,3}(?:the |on )?",
            digits=1,
        ),
        Kind(
            "AGE",
            rf"{_ADULT}\b(?!\.\d|%)(?=\s?(?:[.,;!?\n]|$|(?:and|but|years?)\b))",
            words="turns|turned|turning|i am now|i'm now|he was|she was|i was|i am|i'm|he is|she is|he's|she's|age|"
            "aged|age:|age of|age is",
            before=" ",
            digits=1,
        ),
        Kind(
            "ADDRESS",
            r"(?=[A-Za-z \-]{0,4}\d)[A-Za-z0-9]{2,6}(?:[ \-][A-Za-z0-9]{2,4})?(?![A-Za-z0-9])",
            words="zip|zip code|zipcode|post code|postcode|postal code",
            before=r"(?: is)?+[\s:#]{1,3}",
            digits=1,
        ),
        *(
            Kind(
                "PHONE",
                rf"\+?(?:\(\+?\d{{1,4}}\)[ .\-]?)?\d(?:[ .\-/]?\(?\d\)?){{5,11}}{_EXTENSION}(?!\d)",
                words=words,
                before=r"(?![A-Za-z])" + before,
                digits=6,
            )
            for words, before in (
                ("phone|telephone|mobile|cell|tel|desk|fax|whatsapp|sms", r"(?i:[\s:.#]|number|no\.|is|nr){0,5}"),
                (
                    "call|calling|ring|text|contact|reach|answering|messages|registered|dial|number",
                    r"(?i: (?:me|us|him|her|back|is|at|on|to|under|the|my|number|mobile|phone|cell)){0,4}[\s:]{1,2}",
                ),
            )
        ),
    ),
)
_BORN = "(?:出生|生人|生日)"
_OLD = r"[ \-]?(?i:years?[ \-]old|years of age|y/?o\b|y\.o\.|yrs?[ \-]?old)"
_WHICH = r"\s(?i:office|mobile|fax|cell|home)\b"
NUMBERED = Turn(  # what begins with a digit, and says by its form what it is
    "",
    (
        Kind(
            "SSN",
            r"(?<!-)(?!000|666|9\d\d)\d{3}-(?!00)\d{2}-(?!0000)\d{4}(?![0-9\-])",
            first=r"\d",
            holds=r"\-",
            digits=9,
        ),
        Kind("IP", rf"(?<!\.)(?:{_OCTET}\.){{3}}{_OCTET}(?![0-9]|\.[0-9])", first=r"\d", holds=r"\.", digits=4),
        Kind("BIRTHDATE", rf"{_DATE}(?=\s?{_BORN})", first=r"\d", holds="生"),
        Kind("AGE", rf"(?<!\.){_ADULT}(?={_OLD}(?! {_RIPE}))", first="[1-9]", beside="year|years|y|yo|yr|yrs"),
        Kind(
            "PHONE",
            rf"(?<![.\-])(?:{_PHONE}){_EXTENSION}(?![0-9A-Za-z]|[.\-]\d)",
            first="[0-9+(]",
            digits=6,
        ),
        Kind(
            "PHONE",
            rf"\d{{2,4}}(?:[ .\-]\d{{2,4}}){{2,4}}{_EXTENSION}(?={_WHICH})",
            first=r"\d",
            digits=6,
            beside="office|mobile|fax|cell|home",
        ),
        Kind("ADDRESS", rf"{_HOUSE} (?i:p\.? ?o\.? ?box) \d{{1,6}}{_TAIL}", first=r"\d", holds="[xX]", digits=1),
        *(
            Kind(
                "ADDRESS",
                rf"(?={_HOUSE}(?:, | )[\p{{L}}\d])(?:{_HOUSE},? ){{1,2}}{street}{_TAIL}",
                first=r"\d",
                holds=holds,
                beside=beside,
            )
            for street, holds, beside in (
                (rf"{_STARTS}\.? {_WORDS}(?: \d{{1,4}}\.?(?!\d))?", "", _STREETS),
                (
                    rf"{_GOODS}(?:(?:{_CAP}|{_JOIN}) ){{1,4}}{_any(_TYPES)}\b\.?(?: \d{{1,4}}(?!\d))?",
                    r"\p{Lu}",
                    _TYPES,
                ),
                (rf"(?:\p{{L}}{{3,20}} ){{1,2}}{_any(_SURE_TYPES)}\b", "", _SURE_TYPES),
                (rf"{_GOODS}{_ANY_WORDS}?(?:\d{{1,5}}\.?)?[,\s?]{{1,7}}{_UNIT}", "", _UNITS),
                (
                    rf"(?:(?:{_CAP}|{_JOIN}) ){{0,3}}\p{{Lu}}\p{{L}}++(?= \d){_ENDS} \d{{1,4}}[a-z]?(?!\d)",
                    "",
                    _ENDING,
                ),
                (rf"{_WORDS} \d{{1,4}}\.?(?=\s*\n[\s?]*(?:{_UNIT}|\p{{Lu}}))", r"\n", ""),
            )
        ),
    ),
)
STREET = Turn(  # addresses that begin with a word
    r"[\p{L}\p{N}]",
    (
        Kind(
            "ADDRESS",
            r"(?:US[A-Z]{2} \p{Lu}\p{L}+\s+)?(?i:[adf]po a[aep]) \d{5}(?:-\d{4})?",
            first="[UADFadf]",
            digits=5,
            beside="apo|dpo|fpo",
        ),
        Kind("ADDRESS", rf"(?i:p\.? ?o\.? ?box) \d{{1,6}}{_TAIL}", first="[Pp]", holds="[xX]", digits=1),
        Kind(
            "ADDRESS",
            rf"{_HOUSE} {_GOODS}(?!{_MONTH}\b){_ANY_WORDS}\d{{1,4}}(?![\d%])\.?"
            rf"(?=\s?(?:[.,;!?\n]|$)|\s(?i:st|street|apt|suite)\b){_TAIL}",
            words=_GOES,
            before=_AT_ONCE,
            digits=1,
        ),
        *(
            Kind(
                "ADDRESS",
                rf"(?:(?:{_HOUSE}) ){{1,3}}{_GOODS}{_WORDS}(?: \d{{1,5}}\.?(?!\d))?{_TAIL}",
                words=words,
                before=before,
                digits=1,
            )
            for words, before in ((_STAYS, _AT), ("address|adresse", _ADDRESS_IS))
        ),
        Kind(
            "ADDRESS",
            rf"(?:{_HOUSE} )?{_ANY_WORDS}\d{{1,5}}\.?(?![\d%]){_TAIL}{_PLACES}",
            words="address",
            before=r"(?: to| is)?:?\s{1,2}",
            digits=1,
        ),
        *(
            Kind("ADDRESS", rf"{_WORDS} \d{{1,5}}\.?(?![\d%]){_TAIL}", words=words, before=before, digits=1)
            for words, before in ((_STAYS, _AT), ("address|adresse", _ADDRESS_IS))
        ),
        Kind("ADDRESS", rf"\.? {_WORDS},? \d{{1,4}}(?!\d){_TAIL}", words=_STREETS, digits=1),
        Kind(
            "ADDRESS",
            rf"(?:{_CAP} (?:{_JOIN} )?){{0,2}}\p{{Lu}}\p{{L}}++(?= \d){_ENDS} \d{{1,4}}[a-z]?(?!\d){_TAIL}",
            first=r"\p{Lu}",
            digits=1,
            beside=_ENDING,
        ),
        Kind("ADDRESS", r"\.? #?\d{1,4}[A-Za-z]?(?!\w)", words="apt|apartment|suite", digits=1),
        Kind(
            "ADDRESS",
            r"\d{4,6}(?=\s*(?:$|\n))",
            first=r"\p{Lu}",
            before=rf"(?<=\n[\s?]{{0,5}}){_CAP}(?: {_CAP}){{0,2}}(?: \(\p{{L}}+\))?\s",
            holds=r"\n",
            digits=4,
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
    "",
    (
        Kind(
            KEPT,
            r"(?=[A-Za-z0-9\-_/]*\d)[A-Za-z0-9][A-Za-z0-9\-_/]{3,29}",
            words="订单|单号|运单|快递|货号|型号|商品|条码|编号|发票",
            before=rf"(?:号码|编号|单号|号)?{_IS}",
        ),
        Kind("LICENCE", rf"[0-9A-Z]{{6,18}}{_Z}", words="驾驶证|驾照", before=rf"(?:号码?)?{_IS}"),
        Kind("PASSPORT", rf"[A-Z]{{0,2}}\d{{6,9}}{_Z}", words="护照", before=rf"(?:号码?)?{_IS}"),
        Kind(
            "PLATE",
            rf"[{_PROVINCE}][A-HJ-NP-Z][ ·•]?(?=[A-Z]{{0,5}}\d)"
            rf"[A-HJ-NP-Z0-9]{{4}}(?:[A-HJ-NP-Z0-9]{{1,2}}|[挂学警港澳]){_Z}",
            first=f"[{_PROVINCE}]",
        ),
        Kind("PLATE", rf"(?=[A-Z]{{0,4}}\d)[A-Z0-9]{{4,8}}{_Z}", words="车牌", before=rf"号?码?{_IS}"),
        Kind(
            "BIRTHDATE",
            rf"(?:{_DATE}|(?:19|20)\d\d(?!\d))",
            words="出生日期|出生年月|出生年月日|出生|出生于|生日|生于",
            before=_IS,
        ),
        Kind("AGE", rf"{_ADULT}(?=岁)", words="我|今年|年龄|本人", before=_IS),
        Kind("ADDRESS", r"\d{6}(?!\d)", words="邮编|邮政编码", before=_IS),
        Kind(
            "PHONE",
            rf"\+?\d(?:[ .\-/]?\(?\d\)?){{6,14}}{_EXTENSION}(?!\d)",
            words="电话|手机|手机号|手机码|手机号码|联系方式|座机|致电",
            before=_IS,
            digits=6,
        ),
        Kind(
            "ADDRESS",
            rf"{_HAN}{{1,24}}?(?:路|街|大街|大道|巷|胡同|弄)(?:{_HAN}{{0,4}})?\d{{1,5}}(?:弄\d{{1,4}})?号{_ROOM}"
            rf"(?:{_HAN}{{2,12}}\d{{1,4}}(?:室|号楼))?",
            first=HAN,
            holds="号",
            digits=1,
        ),
        Kind(
            "ADDRESS",
            rf"{_HAN}{{2,24}}?(?:小区|花园|家园|公寓|新村|新苑|苑|里|村|广场|大厦|庄园)[A-Za-z]?\d{{1,4}}(?:号楼|栋|幢|座|号){_ROOM}",
            first=HAN,
            holds="[区园寓村苑里场厦]",
            digits=1,
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
_FAMILY_ENDS = _words(
    "ova eva ová ská ski sky cki cka vić vič ffy kov nov mov rov lov sov tov zov dov bov yev nev",
    "ssen sson czyk czak enko chuk escu eanu gren ström ényi shev chev",
    "evich ovich quist kvist dóttir shvili lainen sdottir opoulos",
)
"""Endings of surnames."""
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


_FOREIGN = r"(?:\p{Lu}[a-z]*+[\u00df-\u024f]\p{L}*+|[\u00c0-\u00de\u0100-\u024f]\p{Ll}\p{L}*+)"
_OF_PEOPLE = (
    "address|account|birthday|mother|father|house|home|phone|email|wife|husband|son|daughter|family|friend|name|"
    "kid|kids|child|children|sister|brother|parents|partner|boss|boyfriend|girlfriend|wedding|order|parcel"
)

_WORD = _NOT + _name()
_MORE = _more(_WORD)

_KIN = _any(
    "kid|child|son|daughter|wife|husband|brother|sister|mother|father|friend|boss|colleague|partner|"
    "boyfriend|girlfriend|neighbour|neighbor|uncle|aunt|cousin"
)
# What goes on behind a name in small letters:
_THEN = r"(?i:and|but|from|i|i'm|my|calling)\b"
ANNOUNCED = Turn(  # names after a title, a greeting, in a signature
    r"[\p{L}\p{N}]",
    (
        Kind(
            "NAME",
            rf"{_WORD}{_MORE}{{0,2}}{_end()}",
            words="mr|mrs|ms|miss|mx|dr|prof|professor|herr|frau|madame|monsieur|señor|señora",
            before=r"\.?[ ]",
            holds=r"\p{Lu}",
        ),
        Kind(
            "NAME",
            rf"[\p{{L}}'’]{{3,}}(?: (?!{_THEN})[\p{{L}}'’]{{2,}})?(?=\s?(?:[.,;!?\n]|$)| {_THEN})",
            words="my name is|my name's|maiden name is|last name is|first name is|full name is",
            before=" ",
        ),
        Kind(
            "NAME",
            rf"{_WORD}{_MORE}{{0,2}}{_end()}",
            words="my|his|her|our|your",
            before=f" {_KIN},? ",
            holds=r"\p{Lu}",
        ),
        Kind(
            "NAME",
            rf"{_WORD}{_MORE}{{0,3}}{_end()}",
            words="name is|name:|name|called|named|named him|named her|signed|signed by|attn:|attn|attention:|regards|"
            "regards,|sincerely|sincerely,|cheers|cheers,|yours|yours,|contact|contact:|recipient:|speak to|"
            "speak with|dear|hi|hi,|hello|hello,|hey|hey,|it's under|said|i'm|i am|by|name?|calls me|call me|"
            "starring",
            before=r"\s{1,2}",
            holds=r"\p{Lu}",
        ),
    ),
)


_ASKS = "can|could|may|would|will"
_DOES = (
    "lives|lived|said|says|told|asked|wrote|spent|thinks|wants|loves|is from|is very|moved to|just has to|had given|"
    "shouted|replied|answered|married|was born|began writing"
)


Held = tuple[str, ...]


@cache
def _held() -> dict[str, Held]:
    """Which lists hold each word; "end" is that of words that end as surnames do, "loud" are words all in capitals."""
    lists = {
        "given": listed("first"),
        "family": listed("last"),
        "first": listed("first", words_too=True),
        "last": listed("last", words_too=True),
        "none": frozenset(word for word in _NO_NAMES if word.isalpha()),
    }
    ends = tuple(_FAMILY_ENDS)
    loud = {word.upper(): ("loud family",) for word in sorted(lists["family"] | lists["last"])}
    loud |= {word.upper(): ("loud given",) for word in sorted(lists["given"])}
    return loud | {
        word: tuple([name for name, words in lists.items() if word in words] + ["end"] * word.endswith(ends))
        for word in sorted(set().union(*lists.values()))
    }


@cache
def _labels() -> dict[Held, str]:
    """The character that says of a word which lists hold it."""
    first, last = (ord(c) for c in LABELS.split("-"))
    kinds = sorted({*_held().values(), ("end",)})
    return dict(zip(kinds, map(chr, range(first, last + 1)), strict=False))


def labels() -> tuple[dict[str, str], dict[str, str]]:
    """The label of each word that a list holds, and of others by their ending; characters from `LABELS`."""
    return (
        {word: _labels()[held] for word, held in _held().items()},
        {end: _labels()["end",] for end in sorted(_FAMILY_ENDS)},
    )


def _on(*names: str) -> str:
    """The class of labels that say: one of these lists holds the word."""
    return f"[{''.join(label for held, label in _labels().items() if set(names) & set(held))}]"


@cache
def known() -> Turn:
    """Names that lists know, with what is capitalised behind; endings that surnames have; who does as people do."""
    given, first, last = (rf"{_on(name)}\p{{L}}++" for name in ("given", "first", "last"))
    family = rf"{_on('family', 'end')}\p{{L}}++"
    loud, louder = rf"{_on('loud given')}\p{{Lu}}++(?:-\p{{Lu}}++)?", rf"{_on('loud given', 'loud family')}\p{{Lu}}++"
    none = rf"(?!{_on('none')})"
    word, foreign = none + _name(_LABEL), _LABEL + _FOREIGN
    more, middle = _more(word, _LABEL), r"(?: \p{Lu}\.)?"
    # In a row of many words with capitals, a title, a name is none.
    last_of = rf"{_end(_LABEL)}(?![ \-]{_LABEL}\p{{Lu}}\p{{Ll}}|[ \-]?\d)"
    begins, end = rf"[{LABELS}\p{{Lu}}]", _end(_LABEL)
    return Turn(
        rf"[{_START}{LABELS}]",
        (
            Kind("NAME", rf"{given}(?:-{_name(_LABEL)})?+{more}{{0,3}}+{last_of}", first=_on("given")),
            Kind("NAME", rf"(?:{word}{middle} )?{family}{last_of}", first=begins, holds=_on("family", "end")),
            Kind("NAME", rf"{first}{middle} {last}{last_of}", first=_on("first"), holds=_on("last")),
            Kind("NAME", rf"{loud}{middle} (?:O['’])?{louder}{end}", first=_on("loud given")),
            Kind(  # letters that English lacks, in one of two words
                "NAME",
                rf"{none}(?:{foreign}{more}{{1,2}}+|{word}{middle} {foreign}){last_of}",
                first=begins,
                holds=r"[\u00c0-\u024f]",
            ),
            # Who does what people do; who asks; whose something is; a line of its own.
            Kind("NAME", rf"{word}{more}{{0,2}}{end}(?= {_LABEL}{_any(_DOES)} )", first=begins, beside=_DOES),
            Kind("NAME", rf"{word}{more}{{0,2}}{end}(?=, {_any(_ASKS)} (?:I|you)\b)", first=begins, beside=_ASKS),
            Kind("NAME", rf"{word}(?='s {_LABEL}{_any(_OF_PEOPLE)})", first=begins, holds="'", beside=_OF_PEOPLE),
            Kind("NAME", rf"{word}{more}{{1,3}}+(?=\s{{0,2}}\n)", first=begins, holds=r"\n"),
        ),
        labelled=True,
    )


_NO_CHINESE_NAMES = (
    "马上|高兴|何时|任何|方便|方式|方法|白天|金额|万一|曾经|于是|程序|夏天|周[一二三四五六日天末]|严重|许多|余额|毛病"
)
"""Words that begin as names do."""


@cache
def chinese_names() -> Turn:
    """Chinese names: a surname of the list and one or two characters, announced, or before a title."""
    provider = importlib.import_module("faker.providers.person.zh_CN").Provider
    surnames = [
        *provider.last_names,
        *("欧阳", "司马", "诸葛", "上官", "皇甫", "尉迟", "公孙", "慕容", "令狐", "司徒", "端木", "东方"),
    ]
    common = trie(list(provider.last_names)[:100])  # the commonest first; the rare ones begin other words too
    surname, titles = trie(surnames), "(?:先生|女士|小姐|太太|师傅|老师|经理)"
    behind = r"(?=$|[\s,，。.!！?？;；:：、）)(（\"”<]|\d|电话|手机|住|的(?:电话|手机|地址|订单|快递)|先生|女士|小姐)"
    name = rf"{surname}{HAN}{{1,2}}"
    return Turn(
        "",
        (
            Kind(
                "NAME",
                rf"{name}{behind}",
                words="我叫|我是|本人|姓名|名字|收件人|收货人|寄件人|联系人|签名|署名|此致|尊敬的|亲爱的|您好|你好|"
                "抬头|户名|持卡人|收款人|付款人|经办人|监护人|业主|乘客|患者",
                before=r"(?:是|叫|为)?[\s:：,，]{0,2}",
            ),
            Kind(
                "NAME",
                rf"(?!{_NO_CHINESE_NAMES}){common}{HAN}{{1,2}}(?:{behind}|(?=[把被说给让送打今是没]))",
                words="妈妈|爸爸|母亲|父亲|儿子|女儿|老公|老婆|丈夫|妻子|哥哥|姐姐|弟弟|妹妹|爷爷|奶奶|朋友|同事|同学|室友|"
                "邻居|男友|女友|快递员|快递小哥|外卖员|配送员|送货员|司机|客服|店员|店长|业务员|护士|医生|律师",
                before="(?:是|叫)?",
            ),
            Kind(
                "NAME",
                rf"{HAN}{{0,2}}(?={titles})",
                words="|".join(surnames),
            ),
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
