"""Personal data in free text, found and replaced in Spark's JVM, English and Chinese.

What counts as personal is declared in `jobs.recognisers`; Scrubber.java looks for it, as functions of Spark. The
visitor's own name, e-mail, phone and address are found, however the patterns fare, and what is found becomes a typed
placeholder: <EMAIL_kgsmboig>. Its eight letters are a keyed hash of visitor, kind and value: the same value of the same
visitor has the same placeholder wherever it stands, other values and other visitors have others, and without the key
nobody can say whose. 32 bits: among 1,000 values of one visitor two meet with probability 1e-4.
(`jobs.events.normalised` drops the letters: learning sees <email>.) `clean` removes markup before, so a placeholder in
a safe text was put there by this module, and can be counted.

Another recogniser can be plugged in behind ours: ENDCAP_RECOGNISER names a function as module:function that is given a
list of texts and returns, for each, a list of (start, end, kind). Where it ends: see `jobs.recognisers`.
"""

import importlib
import os
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from jobs.console import Problem
from jobs.recognisers import NAMES, Turn, labels, turns
from jobs.spark import SCRATCH

if TYPE_CHECKING:
    import pyarrow as pa

OWN = ("email", "phone", "address", "name")
"""The visitor's own identifiers, in the order in which they are looked for: an address may hold the name."""
SETTING = "ENDCAP_RECOGNISER"
SOURCE = Path(__file__).with_name("Scrubber.java")


# The functions in the JVM ---------------------------------------------------------------------


def _lines(turn: Turn) -> Iterator[list[str]]:
    yield ["turn", turn.behind, "labelled" if turn.labelled else ""]
    for k in turn.kinds:
        yield ["kind", k.name, k.first, k.words, *k.written, k.holds, str(k.digits), k.beside, k.checksum]


@cache
def declared() -> str:
    """What counts as personal, as Scrubber.java reads it: a line for each turn, kind, and word that a list knows."""
    before, after = turns()
    lines = [line for turn in before for line in _lines(turn)]
    lines.append(["own", *(own.upper() for own in OWN)])
    lines += [line for turn in after for line in _lines(turn)]
    for name, labelled in zip(("word", "ending"), labels(), strict=True):
        lines += [[name, word, label] for word, label in labelled.items()]
    return "".join("\t".join(line) + "\n" for line in lines)


FOUND, SCRUBBED, REPLACED = FUNCTIONS = "Found", "Scrubbed", "Replaced"
"""Scrubber.java's functions; in a session they are called endcap_Found and so on."""
_compiling = Lock()


def _jar(spark: SparkSession) -> tuple[Path, str]:
    """Scrubber.java, compiled by the compiler that Spark brings along, with what it looks for; and its package.

    Made once a session. A package of its own: a JVM that serves one session after the other finds the first's classes.
    """
    path = Path(spark.conf.get(SCRATCH), "scrubber.jar")
    package = "endcap." + re.sub(r"\W", "_", spark.sparkContext.applicationId)
    with _compiling:
        if not path.is_file():
            compiler = spark._jvm.org.codehaus.janino.SimpleCompiler()
            compiler.setParentClassLoader(spark._jsparkSession.getClass().getClassLoader())
            compiler.cook(SOURCE.read_text(encoding="utf-8").replace("package endcap;", f"package {package};"))
            with zipfile.ZipFile(path, "w") as jar:
                for name, code in sorted(compiler.getBytecodes().items()):
                    jar.writestr(f"{name.replace('.', '/')}.class", bytes(code))
                jar.writestr(f"{package.replace('.', '/')}/recognisers.txt", declared())
    return path, package


def functions(spark: SparkSession) -> None:
    """Scrubber.java's functions, made known to a session and to whoever works for it."""
    if not spark.catalog.functionExists(f"endcap_{FOUND}"):
        jar, package = _jar(spark)
        spark.sql(f"ADD JAR '{jar}'")
        text = spark._jvm.org.apache.spark.sql.types.DataTypes.StringType
        for name in FUNCTIONS:  # PySpark itself registers only what has type arguments
            function = getattr(spark._jvm, f"{package}.Scrubber${name}")()
            spark._jsparkSession.udf().register(f"endcap_{name}", function, text)


def _called(name: str, *arguments: Column) -> Column:
    return F.call_function(f"endcap_{name}", *arguments)


def _with_own(rows: DataFrame, column: str, patterns: DataFrame | None) -> tuple[DataFrame, list[Column]]:
    """`rows` with the functions known to their session, and the patterns of each row's visitor."""
    functions(rows.sparkSession)
    if patterns is None:
        return rows, [F.lit(None).cast("string")] * len(OWN)
    own = [F.col(f"_own_{each}") for each in OWN]
    # A pattern of each row's own is compiled for each row: not where it cannot be.
    phone = OWN.index("phone")
    own[phone] = F.when(F.col(column).rlike(r"\d"), own[phone])
    return rows.join(F.broadcast(patterns), "visitor_id", "left"), own


def found(rows: DataFrame, column: str, patterns: DataFrame | None = None) -> tuple[DataFrame, Column]:
    """`rows`, and what is personal in `column`: of every kind, and with `patterns` (`own_patterns`) the visitor's own.

    "start end KIND;" for each span, in characters of the text without controls; null of null. `patterns` is small: it
    is broadcast.
    """
    rows, own = _with_own(rows, column, patterns)
    return rows, _called(FOUND, F.col(column), *own)


def spans(found: str) -> list[tuple[int, int, str]]:
    """What `found` says of one text.

    >>> spans("2 10 URL;")
    [(2, 10, 'URL')]
    """
    fields = (span.split(" ") for span in found.split(";") if span)
    return sorted((int(start), int(end), kind) for start, end, kind in fields)


# Placeholders ---------------------------------------------------------------------------------

PLACEHOLDER = "<[A-Z_]+?(?:_[g-v]{8})?>"
"""What stands for a value in a safe text, as a pattern."""


def counted(name: str) -> str:
    """A Java pattern of the placeholders of one kind."""
    return f"<{name}(?:_[g-v]{{8}})?>"


def scrubbed(rows: DataFrame, column: str, patterns: DataFrame | None = None, visitor: str | None = None) -> DataFrame:
    """`rows` with what is personal in `column` replaced: of our kinds, the visitor's own, by the plugged recogniser.

    A placeholder is tied to `visitor` under the key in `_secret` if that is given.
    """
    tied = (F.col(visitor), F.col("_secret")) if visitor else (F.lit(None).cast("string"), F.lit(None).cast("binary"))
    rows, own = _with_own(rows, column, patterns)
    rows = rows.withColumn(column, _called(SCRUBBED, F.col(column), *own, *tied))
    if os.environ.get(SETTING):
        held = plugged(os.environ[SETTING])(F.col(column))
        rows = rows.withColumn(column, _called(REPLACED, F.col(column), held, *tied))
    return rows.drop(*[f"_own_{own}" for own in OWN])


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


def noted(text: str, spans: Iterable[tuple[int, int, str]]) -> str:
    """The spans of a plugged recogniser, as `found` writes them; what touches a placeholder or another is left out.

    >>> noted("Ann <EMAIL_gggggggg>", [(0, 3, "NAME"), (4, 6, "NAME")])
    '0 3 NAME;'
    """
    taken = [m.span() for m in re.finditer(PLACEHOLDER, text)]
    out, last = "", 0
    for start, end, kind in sorted(spans):
        if kind not in NAMES:
            raise ValueError(
                f"a plugged recogniser found a kind that is none of ours: {kind}; map it to one of {NAMES}"
            )
        if not 0 <= start < end <= len(text):
            raise ValueError(f"a plugged recogniser found a span {start} to {end} in a text of {len(text)} characters")
        if start >= last and not any(a < end and start < b for a, b in taken):
            out += f"{start} {end} {kind};"
            last = end
    return out


def plugged(path: str) -> Callable[[Column], Column]:
    """What the recogniser at `path` finds in a column, as `found` writes it: by batches, in Spark's Python workers."""
    recogniser(path)

    def batch(texts: "pa.Array") -> "pa.Array":
        import pyarrow as pa

        from jobs.scrubbing import noted, recogniser

        known = texts.to_pylist()
        given = [text for text in known if text]
        told = iter(zip(given, recogniser(path)(given), strict=True))
        return pa.array([noted(*next(told)) if text else text for text in known], pa.string())

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
