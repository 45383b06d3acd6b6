"""What counts as personal, as data: patterns that keep their own rules, and lists that know names and no words."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs import recognisers
from jobs.recognisers import KEPT, NAMES, Turn, trie, turns

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
    """The fields of a tag are told apart by their number."""
    for kind in turn.kinds:
        for part in (kind.pattern, kind.before, turn.guard):
            plain = re.sub(r"\\.|\[(?:\\.|[^\]\\])*\]", "", part)
            assert not re.search(r"\((?!\?)", plain), part


def test_every_kind_is_a_placeholder_that_is_counted() -> None:
    assert {kind.name for turn in TURNS for kind in turn.kinds} == {*NAMES, KEPT}


def test_the_lists_hold_names_and_not_words_or_makers() -> None:
    first, last = recognisers.listed("first"), recognisers.listed("last")
    assert {"Krisztián", "Olivia", "Katrine", "Marcela"} <= first
    assert {"Müller", "Hernandez", "Nielsen"} <= last
    assert not {"Will", "Can", "Canon", "Date", "France", "Rose"} & (first | last)
    assert len(first) > 5_000 and len(last) > 5_000


def test_a_word_bears_a_label_of_its_own_for_each_way_of_being_listed() -> None:
    labels = recognisers.labels()
    used = set(labels.values())
    assert re.fullmatch(f"[{recognisers.LABELS}]+", "".join(used))
    assert len({labels[word] for word in ("Olivia", "Hernandez", "Rose", "Please")}) == 4
    assert labels["Krisztián"] == labels["Olivia"]
    assert all(re.fullmatch(r"[^\W\d_]+", word) for word in labels)  # a run of letters is looked up, and no more


def test_no_pattern_holds_a_list() -> None:
    """Spark compares a pattern with itself at every row: lists are looked up (`labels`), patterns are short."""
    assert max(len(turn.pattern) for turn in TURNS) < 10_000
