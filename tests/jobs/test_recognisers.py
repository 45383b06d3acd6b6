"""What counts as personal, as data: patterns that keep their own rules, and lists that know names and no words."""

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs import recognisers
from jobs.recognisers import KEPT, NAMES, Turn, trie, turns
from tests import personal
from tests.conftest import DATA
from tests.jobs.test_scrubbing import GONE, STAYS

BEFORE, AFTER = turns()
TURNS = [*BEFORE, *AFTER]


@settings(deadline=None)  # a busy machine is not a fault
@given(st.sets(st.text("ab'-é", min_size=1, max_size=6), min_size=1))
def test_a_trie_matches_its_words_and_no_others(words: set[str]) -> None:
    pattern = re.compile(trie(words))
    others = {word + "a" for word in words} | {word[:-1] for word in words}
    assert all(pattern.fullmatch(word) for word in words)
    assert not any(pattern.fullmatch(word) for word in others - words)


@pytest.mark.parametrize("turn", TURNS)
def test_a_pattern_holds_no_capturing_group(turn: Turn) -> None:
    """What is found is told by the number of its group."""
    for kind in turn.kinds:
        for part in kind.written:
            plain = re.sub(r"\\.|\[(?:\\.|[^\]\\])*\]", "", part)
            assert not re.search(r"\((?!\?)", plain), part


@pytest.mark.parametrize("turn", TURNS)
def test_a_kind_says_where_it_begins(turn: Turn) -> None:
    assert len(turn.kinds) <= 24  # as many bits as Scrubber.java has for them
    for kind in turn.kinds:
        assert bool(kind.words) != bool(kind.first), kind


def row_of_digits(text: str) -> int:
    return max((len(re.sub(r"\D", "", row)) for row in re.findall(r"\d(?:[ .\-/()]{0,2}\d)*", text)), default=0)


def test_what_a_kind_asks_of_a_text_hides_nothing_that_its_pattern_finds(spark: Any) -> None:
    """Every pattern at every place of many texts: where one is found, a look at the text must not have spared it."""
    from pyspark.sql import functions as F

    texts = [text for text, _ in GONE] + STAYS
    texts += [t.text for language in ("en", "zh") for t in personal.generated(400, language)]
    texts += [t.text for t in [*personal.chinese(100), *personal.orders(100, "en"), *personal.orders(100, "zh")]]
    if (DATA / "pii_texts").is_dir():
        texts += [t.text for each in personal.read(DATA / "pii_texts").values() for t in each]
    rows = spark.createDataFrame([(text, row_of_digits(text)) for text in texts], "text string, digits int")
    text, hidden = F.col("text"), {}
    for n, turn in enumerate(each for each in TURNS if not each.labelled):
        inside = f"[{turn.behind.strip('[]')}0-9A-Za-z]"
        for k, kind in enumerate(turn.kinds):
            here, asked = "".join(kind.written), F.lit(True)
            begins = rf"(?:(?<!{inside})|(?=[^\x00-\xff]))"
            if kind.holds:
                asked &= text.rlike(kind.holds)
            if kind.beside:
                asked &= text.rlike(
                    "|".join(
                        rf"(?i:{re.escape(word[1:])})(?!\p{{L}})"
                        if word[0] == "-"
                        else rf"(?<!\p{{L}})(?i:{re.escape(word)})"
                        for word in kind.beside.split("|")
                    )
                )
            found = text.rlike(begins + f"(?:{here})")
            hidden[f"{n} {k} {kind.name} asks"] = found & ~(asked & (F.col("digits") >= kind.digits))
            if kind.first:
                hidden[f"{n} {k} {kind.name} begins"] = text.rlike(begins + f"(?!{kind.first})(?:{here})")
    counted = rows.select(*[F.sum(wrong.cast("int")).alias(name) for name, wrong in hidden.items()]).collect()[0]
    assert {name: count for name, count in counted.asDict().items() if count} == {}


def test_every_kind_is_a_placeholder_that_is_counted() -> None:
    assert {kind.name for turn in TURNS for kind in turn.kinds} == {*NAMES, KEPT}


def test_the_lists_hold_names_and_not_words_or_makers() -> None:
    first, last = recognisers.listed("first"), recognisers.listed("last")
    assert {"Krisztián", "Olivia", "Katrine", "Marcela"} <= first
    assert {"Müller", "Hernandez", "Nielsen"} <= last
    assert not {"Will", "Can", "Canon", "Date", "France", "Rose"} & (first | last)
    assert len(first) > 5_000 and len(last) > 5_000


def test_a_word_bears_a_label_of_its_own_for_each_way_of_being_listed() -> None:
    words, endings = recognisers.labels()
    used = {*words.values(), *endings.values()}
    assert re.fullmatch(f"[{recognisers.LABELS}]+", "".join(used))
    assert len({words[word] for word in ("Olivia", "Hernandez", "Rose", "Please")}) == 4
    assert words["Krisztián"] == words["Olivia"]
    assert all(re.fullmatch(r"[^\W\d_]+", word) for word in words)  # a run of letters is looked up, and no more
    assert set(endings.values()).isdisjoint(words.values())  # who only ends as surnames do is on no list


def test_no_pattern_holds_a_list_of_names() -> None:
    """Of thousands of words: those are looked up (`labels`)."""
    assert max(len(part) for turn in TURNS for kind in turn.kinds for part in kind.written) < 10_000
