"""BM25 in English and Chinese, and input that must not raise."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.console import Problem
from models.retrieval.lexical import Lexical, LexicalSettings, segment

ITEMS = [
    {"title": "无线蓝牙耳机", "brand": "Nova", "category": "音频"},
    {"title": "Wireless headphones", "brand": "Nova", "description": "over ear, 40 hours"},
    {"title": "Café crème coffee", "brand": "Müller"},
    {"title": "Running shoe", "description": "nothing like headphones"},
    {"title": "Running shoe", "description": None},
]
INDEX = Lexical.build(ITEMS)


def rows(query: str, k: int = 10) -> list[int]:
    return [row for row, _ in INDEX.search(query, k)]


@pytest.mark.parametrize(
    ("query", "first"),
    [("耳机", 0), ("蓝牙耳机", 0), ("headphone", 1), ("HEADPHONES", 1), ("cafe creme", 2), ("muller", 2), ("shoes", 3)],
)
def test_finds(query: str, first: int) -> None:
    assert rows(query)[0] == first


def test_title_counts_more_than_description() -> None:
    assert rows("headphones") == [1, 3]
    turned = Lexical.build(ITEMS, settings=LexicalSettings({"title": 0.1, "description": 5.0}))
    assert [row for row, _ in turned.search("headphones", 5)] == [3, 1]


def test_field_of_boost_zero_is_not_searched() -> None:
    assert Lexical.build(ITEMS, settings=LexicalSettings({"title": 1.0})).search("nova", 5) == []


def test_equal_documents_tie_by_row() -> None:
    same = Lexical.build([{"title": "apple"}, {"title": "apple"}, {"title": "apple"}])
    assert [row for row, _ in same.search("apple", 3)] == [0, 1, 2]


def test_no_word_no_hit() -> None:
    assert rows("zebra") == [] and rows("") == [] and rows("headphones", 0) == []


@given(st.text(max_size=80))
@settings(max_examples=150, deadline=None)
def test_no_input_raises(query: str) -> None:
    INDEX.search(query, 3)


@pytest.mark.parametrize("query", ['title:"a', "AND OR NOT (", "a^9 ~2 [x TO", "\x00", "(" * 5000, "word " * 5000, "*"])
def test_no_query_language(query: str) -> None:
    INDEX.search(query, 3)


def test_segments_chinese_only() -> None:
    assert segment("iPhone手机壳 red") == "iPhone 手机 壳 red"
    assert segment("ＵＳＢ cable") == "USB cable"


def test_on_disk_as_in_memory(tmp_path: Path) -> None:
    Lexical.build(ITEMS, tmp_path / "lexical")
    opened = Lexical.open(tmp_path / "lexical")
    assert opened.rows == len(ITEMS)
    for query in ("耳机", "headphones", "nova"):
        assert opened.search(query, 5) == INDEX.search(query, 5)


def test_missing_index_is_a_problem(tmp_path: Path) -> None:
    with pytest.raises(Problem, match="python -m models index"):
        Lexical.open(tmp_path)
