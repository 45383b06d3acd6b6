"""How well the scrubber finds: F2 on texts of others, recall on values by the standards, and what it spares.

One pass of Spark over all texts. No pattern was written for a sentence of the kept half of `pii_texts`: see
`tests.personal`.
"""

from collections.abc import Sequence
from typing import Any

import pytest

from tests import personal
from tests.conftest import DATA, real_data
from tests.personal import Score, Span, Text

VALUES = 5_500  # in each language: more than 10,000 in all


def found(spark: Any, texts: Sequence[Text]) -> list[list[Span]]:
    from jobs import scrubbing

    rows = spark.createDataFrame([(n, t.text) for n, t in enumerate(texts)], "n int, text string").repartition(2)
    rows, held = scrubbing.found(rows, "text")
    told = {row["n"]: row["held"] for row in rows.select("n", held.alias("held")).collect()}
    return [scrubbing.spans(told[n]) for n in range(len(texts))]


@pytest.fixture(scope="module")
def sets() -> dict[str, list[Text]]:
    made = {
        "values en": personal.generated(VALUES, "en"),
        "values zh": personal.generated(VALUES, "zh"),
        "orders en": personal.orders(2_000, "en"),
        "orders zh": personal.orders(2_000, "zh"),
        "chinese": personal.chinese(600),
    }
    if (DATA / "pii_texts").is_dir():
        made |= personal.read(DATA / "pii_texts")
    if (DATA / "electronics").is_dir():
        made["catalogue"] = personal.catalogue(DATA / "electronics")
    return made


@pytest.fixture(scope="module")
def spans(spark: Any, sets: dict[str, list[Text]]) -> dict[str, list[list[Span]]]:
    every = iter(found(spark, [text for texts in sets.values() for text in texts]))
    return {name: [next(every) for _ in texts] for name, texts in sets.items()}


@pytest.fixture(scope="module")
def scores(sets: dict[str, list[Text]], spans: dict[str, list[list[Span]]]) -> dict[str, Score]:
    return {name: personal.score(texts, spans[name]) for name, texts in sets.items()}


def test_f2_on_texts_that_others_marked(sets: dict[str, list[Text]], spans: dict[str, list[list[Span]]]) -> None:
    real_data("pii_texts")
    both = personal.score([*sets["tuned"], *sets["kept"]], [*spans["tuned"], *spans["kept"]])
    assert both.of()[3] >= 0.85


def test_f2_on_the_half_for_which_no_pattern_was_written(scores: dict[str, Score]) -> None:
    """Apart, as it tells what other texts will meet; it stood at 0.863 when this was written."""
    real_data("pii_texts")
    assert scores["kept"].of()[3] >= 0.85


def test_chinese_texts(scores: dict[str, Score]) -> None:
    assert scores["chinese"].of()[3] >= 0.85
    assert {
        kind for kind, lost in scores["chinese"].missed.items() if lost > 0.1 * scores["chinese"].of(kind)[0]
    } == set()


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("kind", personal.VALUES)
def test_recall_on_values_by_the_standards(scores: dict[str, Score], language: str, kind: str) -> None:
    assert scores[f"values {language}"].of(kind)[1] >= 0.98


@pytest.mark.parametrize("name", ["orders en", "orders zh", "catalogue"])
def test_what_a_shop_numbers_itself_is_spared(
    sets: dict[str, list[Text]], spans: dict[str, list[list[Span]]], name: str
) -> None:
    if name == "catalogue":
        real_data("electronics")
    touched = sum(1 for each in spans[name] if each)
    assert touched <= 0.05 * len(sets[name])


def test_precision_among_values_and_a_shops_numbers(scores: dict[str, Score]) -> None:
    real_data("electronics")
    for language, names in {"en": ("values en", "orders en", "catalogue"), "zh": ("values zh", "orders zh")}.items():
        found = sum(sum(scores[name].found.values()) for name in names)
        false = sum(sum(scores[name].false.values()) for name in names)
        assert found / (found + false) >= 0.95, language
