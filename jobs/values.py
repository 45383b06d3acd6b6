"""Values, as `clean` understands them: text, types, units, prices and languages. Pure functions of Spark's columns.

What cannot be understood is null, never a guess; `clean` then refuses the row with a reason.
"""

from itertools import chain
from typing import TYPE_CHECKING

from pyspark.sql import Column
from pyspark.sql import functions as F

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def composed(text: Column) -> Column:
    """NFKC, full-width forms included: by ICU, in the JVM; only text beyond ASCII pays for it."""
    ascii_only = ~text.rlike(r"[^\x00-\x7f]")
    return F.when(text.isNull() | ascii_only, text).otherwise(
        F.reflect(F.lit("com.ibm.icu.text.Normalizer"), F.lit("compose"), text, F.lit(True))
    )


def without_markup(text: Column) -> Column:
    """Tags, comments, scripts, common entities and control characters out; white space single; empty is null.

    A script or a comment ends within 10,000 characters: looked for without end, a text full of beginnings takes hours.
    """
    bare = F.regexp_replace(text, r"(?is)<(script|style)\b.{0,10000}?</\1\s*>|<!--.{0,10000}?-->", " ")
    bare = F.regexp_replace(bare, r"</?[A-Za-z][^<>]*>", " ")
    for entity, character in (("nbsp", " "), ("lt", "<"), ("gt", ">"), ("quot", '"'), ("#39", "'"), ("amp", "&")):
        bare = F.regexp_replace(bare, f"(?i)&{entity};", character)
    bare = F.regexp_replace(bare, r"</?[A-Za-z][^<>]*>", " ")  # a tag that was written with entities
    bare = F.when(text.rlike("[<&]"), bare).otherwise(text)  # most texts have none
    spaced = F.regexp_replace(F.regexp_replace(bare, r"\p{Cf}+", ""), r"[\s\p{Z}\p{Cc}]+", " ")
    return tidy(F.when(bare.rlike(r"[^\x21-\x7e ]|  "), spaced).otherwise(bare))


def tidy(text: Column) -> Column:
    """Trimmed; null if nothing is left."""
    return F.nullif(F.trim(text), F.lit(""))


def typed(text: Column, kind: str) -> Column:
    """`text` as `kind`, or null where it is not one. No time of day without a date, no NaN, no part of an integer."""
    if kind == "string":
        return text
    if kind in ("date", "timestamp"):
        # Spark would read '12:30' as today, and '2017' as a day.
        return F.when(text.rlike(r"^\d{4}-\d{2}-\d{2}"), text.try_cast(kind))
    if kind == "double":
        number = text.try_cast("double")
        return F.when(~F.isnan(number) & (F.abs(number) != float("inf")), number)
    if kind == "long":
        number = text.try_cast("decimal(38,6)")
        return F.when(number == F.floor(number), number.try_cast("bigint"))
    return text.try_cast(kind)


def language(text: Column) -> Column:
    """en, zh or other, by the share of scripts: honest for shops that are English, Chinese or both.

    zh if Han characters are at least a third as many as Latin letters (one carries about three
    letters' worth) and there is no kana; en if Latin letters lead; other scripts and none are other.
    """

    def count(outside: str) -> Column:
        return F.length(F.regexp_replace(text, outside, ""))

    han, latin, letters = count(r"[^\p{IsHan}]"), count(r"[^\p{IsLatin}]"), count(r"[^\p{L}]")
    kana = text.rlike(r"[\p{IsHiragana}\p{IsKatakana}]")
    foreign = letters - han - latin
    return (
        F.when(text.isNull() | (letters == 0) | kana | (foreign > han + latin), "other")
        .when(han * 3 >= latin, "zh")
        .otherwise("en")
    )


# Prices and sizes -----------------------------------------------------------------------------

SYMBOLS = {"$": "USD", "€": "EUR", "£": "GBP", "¥": "CNY", "元": "CNY", "₹": "INR", "₩": "KRW"}
"""What a shop most often means by a sign; a currency that is delivered goes before it."""

_CODES = (
    "AED|ARS|AUD|BGN|BRL|CAD|CHF|CLP|CNY|COP|CZK|DKK|EGP|EUR|GBP|HKD|HUF|IDR|ILS|INR|ISK|JPY|KRW|MAD|MXN|MYR|NOK|NZD|"
    "PEN|PHP|PKR|PLN|QAR|RON|RUB|SAR|SEK|SGD|THB|TRY|TWD|UAH|USD|VND|ZAR"
)
_CODE = rf"(?i)(?<![A-Za-z])({_CODES})(?![A-Za-z])"
"""A code of ISO 4217; of currencies that few shops use, none."""


def _map(values: dict[str, str] | dict[str, float]) -> Column:
    return F.create_map(*chain.from_iterable((F.lit(key), F.lit(value)) for key, value in values.items()))


def amount(text: Column) -> Column:
    """The number in a printed price, as text: '$1,299.00' and '1.299,00 €' are 1299.00; other words stay as they are.

    One separator before three digits parts thousands only if another part proves it: '1.299' is a little over one.
    """
    bare = F.trim(F.regexp_replace(F.regexp_replace(text, _CODE, ""), r"[\p{Sc}元]", ""))
    return (
        F.when(bare.rlike(r"^-?\d{1,3}(,\d{3})+(\.\d+)?$"), F.regexp_replace(bare, ",", ""))
        .when(bare.rlike(r"^-?\d{1,3}(\.\d{3})+,\d+$"), F.translate(bare, ",.", "."))
        .when(bare.rlike(r"^-?\d+,\d{1,2}$"), F.translate(bare, ",", "."))
        .when(bare.rlike(r"^-?\d*\.?\d+$"), bare)
        .otherwise(text)
    )


def currency(text: Column, given: Column) -> Column:
    """ISO 4217: what is delivered, else the code in a printed price, else the currency of its sign, else null."""
    code = F.nullif(F.upper(F.regexp_extract(text, _CODE, 1)), F.lit(""))
    sign = F.nullif(F.regexp_extract(text, r"([\p{Sc}元])", 1), F.lit(""))
    return F.coalesce(F.upper(given), code, F.element_at(_map(SYMBOLS), sign))


UNITS: dict[str, tuple[str, float]] = {
    **dict.fromkeys(("g", "gr", "gram", "grams", "克"), ("g", 1.0)),
    **dict.fromkeys(("kg", "公斤", "千克"), ("g", 1000.0)),
    "mg": ("g", 0.001),
    **dict.fromkeys(("oz", "ounce", "ounces"), ("g", 28.349523125)),
    **dict.fromkeys(("lb", "lbs", "pound", "pounds"), ("g", 453.59237)),
    **dict.fromkeys(("ml", "毫升"), ("ml", 1.0)),
    "cl": ("ml", 10.0),
    **dict.fromkeys(("l", "lt", "liter", "litre", "liters", "litres", "升"), ("ml", 1000.0)),
    **dict.fromkeys(("fl oz", "floz"), ("ml", 29.5735295625)),
    "pt": ("ml", 473.176473),
    "qt": ("ml", 946.352946),
    **dict.fromkeys(("gal", "ga", "gallon"), ("ml", 3785.411784)),
    **dict.fromkeys(
        ("ct", "count", "pk", "pack", "pc", "pcs", "piece", "pieces", "个", "片", "包", "支", "瓶", "袋", "盒"),
        ("piece", 1.0),
    ),
}
"""A printed unit -> (g, ml or piece, how many). US customary units by NIST Handbook 44; 'oz' alone is of weight."""

_SIZE = (
    r"(?i)(?:(\d+)\s*[x×*]\s*)?(\d+(?:\.\d+)?)\s*-?\s*("
    + "|".join(sorted((u.replace(" ", r"\.?\s?") for u in UNITS), key=len, reverse=True))
    + r")(?![A-Za-z])"
)


def sized(text: Column) -> tuple[Column, Column]:
    """A printed package size as (how much, of 'g', 'ml' or 'piece'); nulls if it is none: '6 x 330 ml' is 1980 ml."""
    unit = F.regexp_replace(F.lower(F.regexp_extract(text, _SIZE, 3)), r"[.\s]", "")
    names = {name.replace(" ", ""): found for name, found in UNITS.items()}
    kind = F.element_at(_map({name: found for name, (found, _) in names.items()}), F.nullif(unit, F.lit("")))
    factor = F.element_at(_map({name: worth for name, (_, worth) in names.items()}), F.nullif(unit, F.lit("")))
    times = F.coalesce(F.regexp_extract(text, _SIZE, 1).try_cast("double"), F.lit(1.0))
    return F.round(times * F.regexp_extract(text, _SIZE, 2).try_cast("double") * factor, 3), kind


# Chinese --------------------------------------------------------------------------------------


def simplified_pairs(spark: "SparkSession") -> tuple[str, str]:
    """Traditional characters and, in the same order, the simplified one that ICU gives for each by itself."""
    every = "".join(map(chr, range(0x4E00, 0xA000)))
    icu = spark._jvm.com.ibm.icu.text.Transliterator.getInstance("Traditional-Simplified")
    # Apart by newlines, so that no rule for words applies; a character that becomes two is left alone.
    after = str(icu.transliterate("\n".join(every))).split("\n")
    pairs = [(old, new) for old, new in zip(every, after, strict=True) if old != new and len(new) == 1]
    return "".join(old for old, _ in pairs), "".join(new for _, new in pairs)


def simplified(text: Column, pairs: tuple[str, str]) -> Column:
    """Traditional Chinese in simplified characters, one by one. Words that differ by region stay as they are."""
    return F.translate(text, *pairs)
