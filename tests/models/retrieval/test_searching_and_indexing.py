"""From a bundle to its index and to answers: published whole, reused when nothing is new, safe from threads."""

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from jobs.console import Problem
from models import promotions
from models.bundle import Bundle, seal
from models.encoder import Encoder
from models.retrieval import indexing
from models.retrieval.fusion import FusionSettings
from models.retrieval.indexing import build, catalogue, standing
from models.retrieval.searching import Searcher, cleaned, index_pointer
from models.training.encoder import KIND, settings_of

KNOWN = datetime(2020, 1, 1, tzinfo=UTC)
TITLES = ["red shoe", "red shoe", "green shoe", "tea kettle", "无线蓝牙耳机", "lamp"]


def stock(put: Callable[..., Any], titles: list[str]) -> None:
    put(
        "toy",
        "safe",
        "items",
        [
            {
                "item_id": f"i{n}",
                "title": title,
                "price": Decimal("9.50"),
                "currency": "EUR",
                "known_time": KNOWN,
                "simulated": False,
            }
            for n, title in enumerate(titles)
        ],
    )


@pytest.fixture
def bundle(home: Path, put: Callable[..., Any], tiny_encoder: Path) -> Bundle:
    """A shop with six items and a search bundle, version 1."""
    stock(put, TITLES)
    folder = home / "toy" / "bundles" / "search" / "1"
    shutil.copytree(tiny_encoder, folder)
    settings = settings_of("tiny", Encoder.open(folder), FusionSettings(), None)
    return seal(folder, shop="toy", name="search", kind=KIND, settings=settings)


def test_catalogue_knows_equal_texts(bundle: Bundle) -> None:
    of = catalogue("toy")
    assert of.item_ids == [f"i{n}" for n in range(6)] and len(of.texts) == 5
    assert of.text_row.tolist() == [0, 0, 1, 2, 3, 4]
    assert of.documents()[1]["title"] == "green shoe"


def test_search_and_item(bundle: Bundle) -> None:
    build(bundle, catalogue("toy"))
    searcher = Searcher.of(bundle)
    hit = searcher.search("red shoe", 3)[0]
    assert hit.item_id == "i0" and hit.why["same_text"] == 2
    assert hit.why["lexical_rank"] == 1 and hit.why["vector_rank"] == 1
    assert hit.score == pytest.approx(2 / 61)
    assert searcher.search("耳机", 1)[0].item_id == "i4" or searcher.search("耳机", 1)[0].why["vector_rank"] == 1
    assert searcher.item("i0")["title"] == "red shoe" and searcher.item("i0")["price"] == Decimal("9.50")
    assert searcher.item("no such") == {} and "text_row" not in searcher.item("i0")


@pytest.mark.parametrize("query", ["", "   ", "\ud800", "\x00", "title:(", "🙂", "很" * 4000, "word " * 9000])
def test_no_query_raises(bundle: Bundle, query: str) -> None:
    build(bundle, catalogue("toy"))
    assert len(Searcher.of(bundle).search(query, 4)) <= 4


def test_empty_queries_find_nothing(bundle: Bundle) -> None:
    build(bundle, catalogue("toy"))
    searcher = Searcher.of(bundle)
    assert searcher.search(" ", 5) == [] and searcher.search("shoe", 0) == [] and cleaned("\ud800 a") == "a"


def test_threads_get_the_same_answers(bundle: Bundle) -> None:
    build(bundle, catalogue("toy"))
    searcher = Searcher.of(bundle)
    alone = [searcher.search(title, 5) for title in TITLES]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda title: searcher.search(title, 5), TITLES * 8))
    assert [[hit.item_id for hit in hits] for hits in together] == [[hit.item_id for hit in hits] for hits in alone * 8]


def test_without_index_the_step_is_named(bundle: Bundle) -> None:
    with pytest.raises(Problem, match="python -m models index --shop toy"):
        Searcher.of(bundle)


def test_without_champion_the_step_is_named(bundle: Bundle) -> None:
    with pytest.raises(Problem, match="python -m models baseline search"):
        Searcher.open("toy")


def test_stands_only_for_the_same_items(bundle: Bundle, put: Callable[..., Any]) -> None:
    made = build(bundle, catalogue("toy"))
    assert standing(bundle, made["items"]) == made
    stock(put, [*TITLES, "clock"])
    assert standing(bundle, catalogue("toy").mark) is None


def test_a_build_that_fails_leaves_the_old_index(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    made = build(bundle, catalogue("toy"))

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("disk")

    monkeypatch.setattr(indexing.Vectors, "save", broken)
    with pytest.raises(RuntimeError):
        build(bundle, catalogue("toy"))
    pointer = index_pointer("toy", 1)
    assert json.loads(pointer.read_text()) == made
    assert [path.name for path in (pointer.parent / "attempts").iterdir()] == [made["attempt"]]
    assert Searcher.of(bundle).search("lamp", 1)


def test_command_builds_then_reuses(bundle: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    promotions.serve("toy", bundle, "promote", report="", verdict={"accepted": True})
    indexing.run(argparse.Namespace(shop="toy"))
    first = json.loads(index_pointer("toy", 1).read_text())
    out = capsys.readouterr()
    assert "6 items in safe/items/whole, 6 in the index" in out.out and "python -m models search" in out.out
    indexing.run(argparse.Namespace(shop="toy"))
    assert json.loads(index_pointer("toy", 1).read_text()) == first
    assert "stands already" in capsys.readouterr().err
    assert Searcher.open("toy").search("tea kettle", 1)[0].item_id == "i3"


def test_searching_is_light() -> None:
    """The way of a query needs neither torch nor transformers, MLflow, pandas or Spark."""
    heavy = "{'torch', 'transformers', 'mlflow', 'pandas', 'pyspark', 'models.training'}"
    code = (
        "import sys, models.retrieval.searching, models.encoder, onnxruntime, tokenizers, tantivy, rjieba;"
        f"print(sorted({heavy} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
