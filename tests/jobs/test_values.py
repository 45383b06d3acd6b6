"""Values by hand: what each text is understood as, and what is left alone. A question of Spark for each table of them:
it costs more than all its rows.
"""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any


def asked(spark: Any, given: Sequence[Sequence[str | None]], schema: str, *columns: Any) -> list[tuple[Any, ...]]:
    """These columns of each row given, in their order."""
    return [tuple(row) for row in spark.createDataFrame(given, schema).select(*columns).collect()]


def test_typed(spark: Any) -> None:
    from pyspark.sql import functions as F

    from jobs.values import typed

    cases = [
        ("7", "long", 7),
        ("7.0", "long", 7),
        ("7.5", "long", None),
        ("0.25", "double", 0.25),
        ("inf", "double", None),
        ("1e3", "double", 1000.0),
        ("1.005", "decimal(12,2)", Decimal("1.01")),
        ("x", "decimal(12,2)", None),
        ("2020-01-31", "date", datetime(2020, 1, 31).date()),  # noqa: DTZ001
        ("2020-02-31", "date", None),
        ("12:30", "timestamp", None),
        ("2020-01-01T10:00:00+02:00", "timestamp", "2020-01-01 08:00"),
    ]
    kinds = sorted({kind for _, kind, _ in cases})
    understood = {kind: typed(F.col("t"), kind) for kind in kinds}
    # The session's zone is UTC, whatever the machine's is.
    understood["timestamp"] = F.date_format(understood["timestamp"], "yyyy-MM-dd HH:mm")
    found = asked(spark, [(text,) for text, _, _ in cases], "t string", *understood.values())
    told = [row[kinds.index(kind)] for row, (_, kind, _) in zip(found, cases, strict=True)]
    assert list(zip(cases, told, strict=True)) == [(case, case[2]) for case in cases]


def test_text_and_language(spark: Any) -> None:
    from pyspark.sql import functions as F

    from jobs.values import composed, language, without_markup

    cases = [
        ("plain text", "plain text", "en"),
        ("ＡＢＣ　１２３", "ABC 123", "en"),
        ("<p>Good<br/>tea</p><script>x()</script>", "Good tea", "en"),
        ("&lt;b&gt;bold&lt;/b&gt; &amp; more", "bold & more", "en"),
        ("3 < 5 and <3 you", "3 < 5 and <3 you", "en"),
        ("zero\u200bwidth\tand\u00a0space", "zerowidth and space", "en"),
        ("Sony 无线耳机", "Sony 无线耳机", "zh"),
        ("ｶﾞ ひらがな", "ガ ひらがな", "other"),
        ("12345", "12345", "other"),
        ("   ", None, "other"),
        (None, None, "other"),
    ]
    plain = without_markup(composed(F.col("t")))
    found = asked(spark, [case[:1] for case in cases], "t string", "t", plain, language(plain))
    assert found == cases


def test_prices(spark: Any) -> None:
    from pyspark.sql import functions as F

    from jobs.values import amount, currency

    cases = [
        ("3.50", "USD", "3.50", "USD"),
        ("$1,299.00", None, "1299.00", "USD"),
        ("$1,299.00", "cad", "1299.00", "CAD"),  # what is delivered goes before the sign
        ("1.299,00 €", None, "1299.00", "EUR"),
        ("12,99 €", None, "12.99", "EUR"),
        ("EUR 12", None, "12", "EUR"),
        ("¥199", None, "199", "CNY"),
        ("199元", None, "199", "CNY"),
        ("1,299", None, "1299", None),
        ("1.299", None, "1.299", None),  # nothing proves that the point parts thousands
        ("-5.00", None, "-5.00", None),
        ("cheap", None, "cheap", None),
        ("12 for 3", None, "12 for 3", None),
        ("", None, "", None),
    ]
    columns = (amount(F.col("p")), currency(F.col("p"), F.col("c")))
    assert asked(spark, [case[:2] for case in cases], "p string, c string", "p", "c", *columns) == cases


def test_sizes(spark: Any) -> None:
    from pyspark.sql import functions as F

    from jobs.values import sized

    cases = [
        ("500 g", 500.0, "g"),
        ("1.5KG", 1500.0, "g"),
        ("22 LB", 9979.032, "g"),
        ("16 OZ", 453.592, "g"),
        ("12 FL OZ", 354.882, "ml"),
        ("6 x 330 ml", 1980.0, "ml"),
        ("2 LITER BTL", 2000.0, "ml"),
        ("24 CT", 24.0, "piece"),
        ("500克", 500.0, "g"),
        ("1.5升", 1500.0, "ml"),
        ("10片", 10.0, "piece"),
        ("large", None, None),
        ("3 longs", None, None),
        (None, None, None),
    ]
    assert asked(spark, [case[:1] for case in cases], "s string", "s", *sized(F.col("s"))) == cases


def test_traditional_characters_become_simplified_ones(spark: Any) -> None:
    from pyspark.sql import functions as F

    from jobs.values import simplified, simplified_pairs

    pairs = simplified_pairs(spark)
    assert len(pairs[0]) == len(pairs[1]) > 2_000
    row = spark.createDataFrame([("無線藍牙耳機 green 绿茶",)], "t string").select(
        simplified(F.col("t"), pairs).alias("t")
    )
    assert row.first()["t"] == "无线蓝牙耳机 green 绿茶"
