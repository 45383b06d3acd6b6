"""Shops in their publishers' layouts: examples by hand, and the real files where they lie on this machine."""

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.console import Problem
from jobs.sources.text import unescape
from jobs.warehouse import warehouse
from tests import imports

DATA = Path(__file__).resolve().parents[4] / "shared" / "data"


def real_data(name: str) -> Path:
    """The folder of a public data set; skips the test where it is absent."""
    if not (DATA / name).is_dir():
        pytest.skip(f"needs the public data set '{name}' in {DATA / name}")
    return DATA / name


def load(shop: str, folder: Path) -> None:
    """`python -m jobs import SHOP --from FOLDER`."""
    imports.load(folder, shop)


def raw(shop: str, table: str) -> list[dict[str, Any]]:
    return warehouse(shop).read("raw", table).to_pylist()


def law(shop: str, table: str) -> tuple[int, int]:
    """Rows in and rows out, by the marks."""
    marks = warehouse(shop).marks("raw", table)
    return sum(m.counts["in"] for m in marks), sum(m.counts["out"] for m in marks)


# wands ----------------------------------------------------------------------------------------


@pytest.fixture
def wands(tmp_path: Path) -> Path:
    folder = tmp_path / "wands"
    folder.mkdir()
    (folder / "product.csv").write_text(
        "product_id\tproduct_name\tproduct_class\tcategory hierarchy\tproduct_description\trating_count\n"
        "0\tsolid wood bed\tBeds\tFurniture / Bedroom Furniture / Beds\tgood, deep sleep\t15.0\n"
        '1\t7" slow cooker\t\t\t\t\n'
    )
    (folder / "query.csv").write_text("query_id\tquery\tquery_class\n0\tsalon chair\tMassage Chairs\n1\tbed\tBeds\n")
    (folder / "label.csv").write_text(
        "id\tquery_id\tproduct_id\tlabel\n0\t0\t1\tExact\n1\t0\t0\tIrrelevant\n2\t1\t0\tPartial\n3\t9\t0\tPerhaps\n"
    )
    return folder


def test_wands_labels_become_grades_and_ids_of_queries_become_words(home: Path, wands: Path) -> None:
    load("wands", wands)
    assert [(r["query"], r["item_id"], r["grade"], r["rater"]) for r in raw("wands", "judgements")] == [
        ("salon chair", "1", "3", "wands"),
        ("salon chair", "0", "0", "wands"),
        ("bed", "0", "1", "wands"),
        (None, "0", "Perhaps", "wands"),  # kept as it came: `clean` gives the reason
    ]
    bed, cooker = raw("wands", "items")
    assert (bed["title"], bed["category"], bed["department"]) == ("solid wood bed", "Beds", "Furniture")
    assert bed["description"] == "good, deep sleep"
    assert json.loads(bed["extra"]) == {
        "category hierarchy": "Furniture / Bedroom Furniture / Beds",
        "rating_count": "15.0",
    }
    assert (cooker["title"], cooker["extra"]) == ('7" slow cooker', None)
    assert law("wands", "judgements") == (4, 4)


def test_a_query_id_with_two_meanings_and_a_missing_file_stop_the_import(home: Path, wands: Path) -> None:
    (wands / "query.csv").write_text("query_id\tquery\n0\tchair\n0\ttable\n")
    with pytest.raises(Problem, match="second meaning"):
        load("wands", wands)
    (wands / "query.csv").unlink()
    with pytest.raises(Problem, match=r"lacks query\.csv"):
        load("wands", wands)
    assert not warehouse("wands", must_exist=False).days("raw", "items")


# esci -----------------------------------------------------------------------------------------


def test_esci_ids_are_unique_by_locale_and_labels_become_grades(home: Path, tmp_path: Path) -> None:
    products = {
        "product_id": ["B1", "B1", "B2"],
        "product_title": ["Kettle", "Hervidor", None],
        "product_description": [None, "de agua", None],
        "product_bullet_point": ["1.7 l", None, None],
        "product_brand": ["Acme", "Acme", None],
        "product_color": ["red", None, None],
        "product_locale": ["us", "es", "jp"],
    }
    pairs = {
        "example_id": [1, 2, 3, 4, 5],
        "query": ["kettle", "hervidor", "kettle", "やかん", "kettle"],
        "query_id": [7, 8, 7, 9, 7],
        "product_id": ["B1", "B1", "B2", "B2", "B1"],
        "product_locale": ["us", "es", "us", "jp", "us"],
        "esci_label": ["E", "S", "C", "I", "?"],
        "small_version": [1] * 5,
        "large_version": [1] * 5,
        "split": ["train"] * 5,
    }
    pq.write_table(pa.table(products), tmp_path / "shopping_queries_dataset_products.parquet")
    pq.write_table(pa.table(pairs), tmp_path / "shopping_queries_dataset_examples.parquet", row_group_size=2)
    load("esci", tmp_path)
    items = raw("esci", "items")
    assert [row["item_id"] for row in items] == ["us:B1", "es:B1", "jp:B2"]
    assert json.loads(items[0]["extra"]) == {"product_bullet_point": "1.7 l", "product_color": "red"}
    judged = raw("esci", "judgements")
    assert [(r["query"], r["item_id"], r["grade"]) for r in judged] == [
        ("kettle", "us:B1", "3"),
        ("hervidor", "es:B1", "2"),
        ("kettle", "us:B2", "1"),
        ("やかん", "jp:B2", "0"),
        ("kettle", "us:B1", "?"),
    ]
    assert [row["source_row"] for row in judged] == [1, 2, 3, 4, 5]
    assert json.loads(judged[0]["extra"])["split"] == "train"


# open_bandit ----------------------------------------------------------------------------------

_HEAD = ",timestamp,item_id,position,click,propensity_score,user_feature_0,user_feature_1,user_feature_2,user_feature_3"


def test_open_bandit_gives_an_impression_its_propensity_and_a_click_its_ranking(home: Path, tmp_path: Path) -> None:
    for policy in ("random", "bts"):
        folder = tmp_path / policy / "all"
        folder.mkdir(parents=True)
        (folder / "item_context.csv").write_text(f",item_id,item_feature_0,item_feature_1\n0,14,-0.5,{policy}\n")
        (folder / "all.csv").write_text(
            f"{_HEAD},user-item_affinity_0\n"
            "0,2019-11-24 00:00:34.762830+00:00,14,3,0,0.0125,81ce123cbb,03a5648a76,7bc94a2da4,c39b0c7dd5,0.0\n"
            "1,2019-11-25 08:00:00+09:00,14,1,1,0.05,81ce123cbb,03a5648a76,7bc94a2da4,c39b0c7dd5,1.0\n"
        )
    load("open_bandit", tmp_path)
    shown, done = raw("open_bandit", "rankings"), raw("open_bandit", "interactions")
    assert [
        (r["ranking_id"], r["position"], r["propensity"]) for r in shown if r["source_file"] == "bts/all/all.csv"
    ] == [
        ("bts-0", "3", "0.0125"),
        ("bts-1", "1", "0.05"),
    ]
    assert {row["visitor_id"] for row in shown} == {"81ce123c-03a5648a-7bc94a2d-c39b0c7d"}
    assert sorted((row["interaction_id"], row["kind"], row["ranking_id"]) for row in done) == [
        ("bts-1-click", "click", "bts-1"),
        ("random-1-click", "click", "random-1"),
    ]
    assert {str(row["day"]) for row in shown} == {"2019-11-24"}  # a zone is part of the time
    assert json.loads(shown[0]["extra"])["user_feature_1"] == "03a5648a76"
    assert [(row["title"], json.loads(row["extra"])["item_feature_1"]) for row in raw("open_bandit", "items")] == [
        ("fashion item 14", "bts"),
        ("fashion item 14", "random"),
    ]
    assert (law("open_bandit", "rankings"), law("open_bandit", "interactions")) == ((4, 4), (2, 2))


def test_open_bandit_as_its_publisher_lays_it_out(home: Path) -> None:
    load("open_bandit", real_data("open_bandit"))
    shown, done = raw("open_bandit", "rankings"), raw("open_bandit", "interactions")
    assert (len(shown), len(done), len(raw("open_bandit", "items"))) == (20_000, 80, 160)
    assert len({row["ranking_id"] for row in shown}) == 20_000
    assert {row["ranking_id"] for row in done} <= {row["ranking_id"] for row in shown}
    assert not [row for row in shown if row["unreadable"]]


# ubi ------------------------------------------------------------------------------------------


def ubi_lines() -> list[dict[str, Any]]:
    """A query, what was shown, a click, a purchase with a time in milliseconds, and an event of no table."""
    shown = {"object": {"object_id": "B1", "object_id_field": "asin"}, "position": {"ordinal": 0}}
    common = {"client_id": "c1", "query_id": "q1", "session_id": "s1", "timestamp": "2024-12-10T00:01:29.378Z"}
    return [
        {"client_id": "c1", "query_id": "q1", "user_query": "futon", "timestamp": "2024-12-10T00:01:29.378Z"},
        {**common, "action_name": "impression", "user_query": "futon", "event_attributes": shown},
        {**common, "action_name": "click", "event_attributes": {**shown, "ip": "10.0.0.1"}},
        {
            **common,
            "action_name": "purchase",
            "timestamp": 1733875200000,
            "event_attributes": {**shown, "dwell_time": 1.5},
        },
        {**common, "action_name": "type_filter", "event_attributes": {}},
    ]


def test_ubi_documents_become_searches_rankings_and_interactions(home: Path, tmp_path: Path) -> None:
    lines = [json.dumps(line) for line in ubi_lines()]
    paired = [
        text for n, line in enumerate(lines) for text in (f'{{"index": {{"_index": "ubi", "_id": "id{n}"}}}}', line)
    ]
    (tmp_path / "ubi_events.ndjson.gz").write_bytes(gzip.compress("\n".join([*paired, '{"delete": {}}']).encode()))
    load("ubi", tmp_path)
    searches, shown, done = (raw("ubi", name) for name in ("searches", "rankings", "interactions"))
    asked = next(row for row in searches if row["query"])
    assert (asked["search_id"], asked["visitor_id"], asked["source_row"]) == ("q1", "c1", 2)
    assert [(r["ranking_id"], r["search_id"], r["item_id"], r["position"], r["propensity"]) for r in shown] == [
        ("q1", "q1", "B1", "1", "1")
    ]
    assert [(r["interaction_id"], r["kind"], str(r["day"]), r["dwell_seconds"]) for r in done] == [
        ("id2", "click", "2024-12-10", None),
        ("id3", "purchase", "2024-12-11", "1.5"),
    ]
    assert done[1]["event_time"] == "2024-12-11T00:00:00.000+00:00"
    assert json.loads(done[0]["extra"])["event_attributes"]["ip"] == "10.0.0.1"
    kept = {row["source_row"]: unescape(row["unreadable"]).decode() for row in searches if row["unreadable"]}
    assert kept == {10: "\n".join(paired[8:10]), 11: '{"delete": {}}'}
    assert sum(law("ubi", name)[1] for name in ("searches", "rankings", "interactions")) == 6


def test_ubi_without_action_lines_is_the_same_but_for_ids(home: Path, tmp_path: Path) -> None:
    (tmp_path / "ubi_plain.json").write_text("\n".join(json.dumps(line) for line in ubi_lines()))
    load("ubi", tmp_path)
    ids = [row["interaction_id"] for row in raw("ubi", "interactions")]
    assert [len(made) for made in ids] == [24, 24]
    assert ids[0] != ids[1]
    assert len(raw("ubi", "searches")) == 2


def test_ubi_with_a_wrong_clock_does_not_make_a_thousand_years_of_days(home: Path, tmp_path: Path) -> None:
    lines = ubi_lines()
    lines[1]["timestamp"] = "1024-12-10T00:00:00Z"
    (tmp_path / "ubi.json").write_text("\n".join(json.dumps(line) for line in lines))
    with pytest.raises(Problem, match="cannot be right"):
        load("ubi", tmp_path)


def test_ubi_as_its_publisher_lays_it_out(home: Path) -> None:
    load("ubi", real_data("ubi_events"))
    house = warehouse("ubi")
    rows = {name: house.read("raw", name) for name in ("searches", "rankings", "interactions")}
    assert rows["rankings"].num_rows == 1_999
    kinds = Counter(rows["interactions"]["kind"].to_pylist())
    assert kinds == {"click": 298, "cart": 234, "purchase": 6, "view": 11}
    unclaimed = sum(text is not None for text in rows["searches"]["unreadable"].to_pylist())
    assert rows["searches"].num_rows - unclaimed == 473
    assert sum(table.num_rows for table in rows.values()) == 473 + 3_448  # one row for each document, none twice
