"""A small bilingual shop, whole: raw files to champions, on the real engines. Only its encoder is a toy: a real ONNX
graph over a real tokenizer, but of words' vectors drawn at random, so that no test waits for torch."""

import json
import os
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

SHOP = "corner"
VISITOR, STRANGER = "household-42", "household-nobody"
DAY = "2017-12-31"
END = datetime(2017, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)
KNOWN = END.isoformat()
ITEMS = [
    ("i01", "Frozen pizza margherita", "Nonna", "frozen", "4.99"),
    ("i02", "Frozen pizza salami", "Nonna", "frozen", "5.49"),
    ("i03", "Whole milk 1 l", "Meadow", "dairy", "1.19"),
    ("i04", "Oat drink", "Meadow", "dairy", "1.89"),
    ("i05", "Sourdough bread", "Crust & Co", "bakery", "3.20"),
    ("i06", "无线蓝牙耳机", "声浪", "音频", "199.00"),
    ("i07", "绿茶 250 克", "山间", "茶", "38.50"),
    ("i08", "Green tea, loose leaf", "Hillside", "tea", "6.75"),
    ("i09", "<b>Bold</b> crisps & \"dip\"", "Snack <script>", "snacks", "2.10"),
    ("i10", "Tomato soup", "Meadow", "tins", "1.45"),
    ("i11", "Dish soap", "Clear", "household", "2.35"),
    ("i12", "Bananas", None, "fruit", None),
]  # fmt: skip
BOUGHT = [("i03", 9, 4), ("i05", 2, 1), ("i07", 20, 2)]  # item, days ago, times


def put_rows(
    shop: str, zone: str, name: str, rows: Sequence[Mapping[str, Any]], day: str = "whole", *,
    inputs: Sequence[Any] = (), notes: Mapping[str, Any] | None = None,
) -> Any:  # fmt: skip
    """One published partition, with its inputs, as a step writes it."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from jobs.tables import table
    from jobs.warehouse import arrow_schema, warehouse

    house = warehouse(shop, must_exist=False)
    with house.attempt(zone, name) as attempt:
        attempt.folder(day).mkdir(parents=True)
        rows_table = pa.Table.from_pylist(list(rows), schema=arrow_schema(table(zone, name)))
        pq.write_table(rows_table, attempt.folder(day) / "part-0.parquet")
        return house.publish(house.propose(attempt, day, step="test", inputs=inputs, notes=notes))


def put_tables(shop: str) -> list[str]:
    """Items and one day of statistics, each with its line back to raw; returns the marks that bundles are made from."""
    from decimal import Decimal

    from jobs.pseudonyms import load_key, pseudonym

    items = [{"item_id": i, "title": t, "brand": b, "category": c, "price": p and Decimal(p), "currency": "EUR"}
             for i, t, b, c, p in ITEMS]  # fmt: skip
    raw = put_rows(
        shop, "raw", "items", [{"item_id": i["item_id"]} for i in items], notes={"files": {"items.csv": "a" * 64}}
    )
    clean = put_rows(shop, "clean", "items", items, inputs=[raw])
    safe = put_rows(shop, "safe", "items", items, inputs=[clean])
    sales = put_rows(shop, "raw", "interactions", [], DAY, notes={"files": {"sales-2017.parquet": "b" * 64}})
    cleaned = put_rows(shop, "clean", "interactions", [], DAY, inputs=[sales])
    sold = put_rows(shop, "safe", "interactions", [], DAY, inputs=[cleaned])
    base = {"event_time": END, "known_time": END, "day": END.date()}
    visitor = pseudonym(load_key(shop), VISITOR)
    seconds = END.timestamp()
    history = {
        **base, "visitor": visitor, "items": [i for i, _, _ in BOUGHT], "counts": [n for _, _, n in BOUGHT],
        "times": [datetime.fromtimestamp(int(seconds - days * 86400), UTC) for _, days, _ in BOUGHT],
        "decayed": [n * 0.5 ** (days / 60) for _, days, n in BOUGHT],
    }  # fmt: skip
    marks = [safe, put_rows(shop, "stats", "visitor_history", [history], DAY, inputs=[sold])]
    put_rows(shop, "stats", "visitor_stats", [{**base, "visitor": visitor, "purchases_28d": 7, "spend_28d": 21.5,
                                               "baskets_28d": 3, "searches_28d": 1}], DAY, inputs=[sold])  # fmt: skip
    put_rows(shop, "stats", "item_stats", [
        {**base, "item_id": item["item_id"], "purchases_28d": n, "clicks_28d": 2 * n, "purchases_decayed": float(n),
         "price": 2.0 + n} for n, item in enumerate(items)], DAY, inputs=[sold])  # fmt: skip
    put_rows(shop, "stats", "query_stats", [{**base, "query": "milk", "searches_28d": 12, "visitors_28d": 4,
                                             "clicks_28d": 6}], DAY, inputs=[sold])  # fmt: skip
    return [mark.name for mark in marks]


def toy_encoder(folder: Path, dimension: int = 16) -> None:
    """A real ONNX encoder: mean of random word vectors, normalised."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

    from models.encoder import MODEL, SETTINGS, TOKENIZER

    words = sorted({w.lower() for _, title, *_ in ITEMS for w in title.split()})
    vocabulary = {word: n for n, word in enumerate(["[PAD]", "[UNK]", *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.save(str(folder / TOKENIZER))
    table = np.random.default_rng(1).normal(size=(len(vocabulary), dimension)).astype(np.float32)
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["vectors"]),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "last"], ["wide"]),
        helper.make_node("Mul", ["vectors", "wide"], ["masked"]),
        helper.make_node("ReduceSum", ["masked", "one"], ["sum"], keepdims=0),
        helper.make_node("LpNormalization", ["sum"], ["vector"], axis=1, p=2),
    ]
    constants = [numpy_helper.from_array(table, "table"), numpy_helper.from_array(np.array([2]), "last"),
                 numpy_helper.from_array(np.array([1]), "one")]  # fmt: skip
    shape = [TensorProto.INT64, ["batch", "length"]]
    graph = helper.make_graph(
        nodes, "toy",
        [helper.make_tensor_value_info("input_ids", *shape), helper.make_tensor_value_info("attention_mask", *shape)],
        [helper.make_tensor_value_info("vector", TensorProto.FLOAT, ["batch", dimension])], constants,
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, str(folder / MODEL))
    settings = {"base": "toy", "dimension": dimension, "max_length": 64, "pad": 0, "precision": "float32"}
    (folder / SETTINGS).write_text(json.dumps(settings))


def make_search(shop: str, version: int, data: Sequence[str], weight: float = 1.0) -> Any:
    """Register a search bundle by hand, with its index."""
    from models.bundle import building, keep, seal
    from models.retrieval.indexing import build, catalogue

    with building(shop, "search") as folder:
        toy_encoder(folder)
        seal(folder, shop=shop, name="search", kind="fused", data=data, settings={
            "fusion": {"lexical": weight, "vector": 0.5, "k": 60, "depth": 50},
            "lexical": {"boosts": {"title": 1.0, "brand": 1.0, "category": 1.0, "description": 1.0}}})  # fmt: skip
        bundle = keep(folder, version)
    build(bundle, catalogue(shop))
    return bundle


def new_recommend(shop: str, version: int, data: Sequence[str]) -> Any:
    """Register a recommender of decayed counts by hand."""
    from models.bundle import building, keep, seal
    from models.recommender import Items, write_items

    count = len(ITEMS)
    numbers = [np.arange(count, dtype=np.float64) + 1.0 for _ in range(5)]
    items = Items(tuple(i[0] for i in ITEMS), *numbers, np.zeros((count, 0), np.float32), END.timestamp())
    with building(shop, "recommend") as folder:
        write_items(items, folder)
        settings = {"kind": "counts", "half_life": 60.0, "popular": 10, "mix": 0.0, "as_of": END.timestamp()}
        seal(folder, shop=shop, name="recommend", kind="counts", data=data, settings=settings)
        return keep(folder, version)


def materialise(shop: str) -> None:
    """The statistics, in Feast's online store."""
    import argparse

    from jobs.materialising import run

    run(argparse.Namespace(shop=shop, first=None, last=None))


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with the whole shop, made once. Tests that change it take a copy (`shop`)."""
    from models.promotions import append

    folder = tmp_path_factory.mktemp("served") / "home"
    before = os.environ.get("ENDCAP_HOME")
    os.environ["ENDCAP_HOME"] = str(folder)
    try:
        data = put_tables(SHOP)
        with warnings.catch_warnings():  # of the feature store's engines; their own tests hold them to account
            warnings.simplefilter("ignore")
            materialise(SHOP)
        append(SHOP, make_search(SHOP, 1, data), "baseline")
        append(SHOP, new_recommend(SHOP, 1, data), "baseline")
    finally:
        if before is None:
            del os.environ["ENDCAP_HOME"]
        else:
            os.environ["ENDCAP_HOME"] = before
    return folder


@pytest.fixture
def shop(built: Path, home: Path) -> str:
    """A fresh copy of the shop in a home of its own."""
    shutil.copytree(built, home, ignore=shutil.ignore_patterns("feedback", "receipts"))
    return SHOP


@pytest.fixture
def new_search() -> Callable[..., Any]:
    """Makes another search bundle, with its index."""
    return make_search


@pytest.fixture
def client(shop: str) -> Iterator[TestClient]:
    """The API of the shop, with its key."""
    from models.serving.app import create_app
    from models.serving.keys import load_or_create

    with TestClient(create_app(shop), headers={"X-API-Key": load_or_create(shop)}) as live:
        yield live


@pytest.fixture
def log(home: Path) -> Callable[[], list[dict[str, Any]]]:
    """What the feedback log of the shop holds."""

    def read() -> list[dict[str, Any]]:
        files = sorted((home / SHOP / "feedback").glob("*.jsonl"))
        return [json.loads(line) for file in files for line in file.read_text().splitlines()]

    return read
