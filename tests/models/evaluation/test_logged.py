"""A shop's log as arrays, and the command: the generated shop's known value, a real log's two policies, bad numbers."""

import json
import re
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.console import run_command
from jobs.simulator import shop as simulated
from jobs.sources.text import parsed
from jobs.tables import table
from jobs.warehouse import arrow_schema, warehouse
from models.__main__ import parser
from models.bundle import Bundle
from models.estimating import learnt_until, mean_of
from models.evaluation.logged import known, ordered, read, shown, uniform
from models.evaluation.off_policy import Limits, Target, estimated, weights_amiss
from tests import imports
from tests.conftest import real_data

DAY = "2020-01-01"
NOON = datetime(2020, 1, 1, 12, tzinfo=UTC)
_RANKINGS = pa.schema([("ranking_id", pa.string()), ("event_time", pa.timestamp("us", tz="UTC")),
                       ("visitor", pa.string()), ("search_id", pa.string()), ("surface", pa.string()),
                       ("item_id", pa.string()), ("position", pa.int64()), ("propensity", pa.float64())])  # fmt: skip
_SEARCHES = pa.schema([("search_id", pa.string()), ("query", pa.string())])
_INTERACTIONS = pa.schema([("ranking_id", pa.string()), ("item_id", pa.string()), ("kind", pa.string())])


def rows(ranking: str, items: str, *, search: str | None = None, visitor: str = "v", p: float = 0.5, first: int = 1,
         surface: str = "search", time: datetime = NOON) -> list[dict[str, Any]]:  # fmt: skip
    """A ranking of one-letter items."""
    common = {"ranking_id": ranking, "event_time": time, "visitor": visitor, "search_id": search, "surface": surface}
    return [common | {"item_id": item, "position": place, "propensity": p} for place, item in enumerate(items, first)]


def tables(
    rankings: Iterable[Mapping[str, Any]], searches: Mapping[str, str], clicks: Iterable[tuple[str, str]]
) -> tuple[pa.Table, pa.Table, pa.Table]:
    """The three tables that a log is read from."""
    return (
        pa.Table.from_pylist(list(rankings), schema=_RANKINGS),
        pa.Table.from_pylist([{"search_id": s, "query": q} for s, q in searches.items()], schema=_SEARCHES),
        pa.Table.from_pylist(
            [{"ranking_id": r, "item_id": i, "kind": "click"} for r, i in clicks], schema=_INTERACTIONS),
    )  # fmt: skip


# --- Tables to arrays ---


def test_a_click_is_the_reward_of_the_row_that_it_answers() -> None:
    found = shown(*tables(
        [*rows("r2", "ba", search="s2"), *rows("r1", "ab", search="s1")],
        {"s1": "Red  SHOE", "s2": "red shoe"}, [("r1", "b"), ("r1", "b"), ("r2", "z"), ("gone", "a")]))  # fmt: skip
    log = found.log
    assert [found.items[i] for i in log.item] == ["a", "b", "b", "a"]  # by ranking and position
    assert (log.ranking.tolist(), log.position.tolist()) == ([0, 0, 1, 1], [0, 1, 0, 1])
    assert log.reward.tolist() == [0, 1, 0, 0]  # a second click is none, and one of another log is not ours
    assert [found.queries[c] for c in log.context] == ["red shoe"] * 4


def test_a_ranking_with_a_gap_or_an_item_twice_is_left_out_and_counted() -> None:
    gap = [row for row in rows("r2", "abc") if row["position"] != 2]
    found = shown(*tables([*rows("r1", "abc"), *gap, *rows("r3", "aba"), *rows("r4", "ab", visitor="w")], {}, []))
    assert found.left_out == {"a position is missing": 1, "an item stands twice": 1}
    assert (found.log.ranking.tolist(), found.log.visitor.tolist()) == ([0, 0, 0, 1, 1], [0, 0, 0, 1, 1])


def test_a_missing_propensity_stays_missing() -> None:
    rankings, searches, interactions = tables(rows("r1", "ab"), {}, [])
    none = pa.array([None, 0.5], pa.float64())
    found = shown(rankings.set_column(rankings.column_names.index("propensity"), "propensity", none), searches,
                  interactions)  # fmt: skip
    assert np.isnan(found.log.propensity[0])
    assert "missing" in estimated(found.log, uniform(found))["why"][0]


def test_what_was_shown_since() -> None:
    late = NOON.replace(day=2)
    found = shown(*tables([*rows("r1", "ab"), *rows("r2", "ab", time=late)], {}, []))
    part = found.since(NOON)
    assert (len(part.log), part.log.ranking.tolist()) == (2, [0, 0])
    assert found.since(None) is found


# --- Policies ---


def listed(target: Target) -> list[tuple[int, int, float]]:
    return sorted(zip(target.row.tolist(), target.item.tolist(), target.probability.tolist(), strict=True))


def test_uniform_shows_a_rankings_own_items_everywhere() -> None:
    found = shown(*tables([*rows("r1", "ab"), *rows("r2", "cab")], {}, []))
    a, b, c = (found.items.index(item) for item in "abc")
    expected = [(row, item, 1 / 2) for row in (0, 1) for item in (a, b)]
    expected += [(row, item, 1 / 3) for row in (2, 3, 4) for item in (a, b, c)]
    assert listed(uniform(found)) == sorted(expected)


def test_uniform_shows_of_impressions_every_item_of_the_surface() -> None:
    found = shown(*tables([*rows("r1", "a", first=3), *rows("r2", "b"), *rows("r3", "c", first=2)], {}, []))
    assert found.impressions and found.left_out == {}
    assert listed(uniform(found)) == [(row, item, 1 / 3) for row in range(3) for item in range(3)]


def test_an_order_rests_on_the_query_and_never_on_what_stood_where() -> None:
    found = shown(*tables(
        [*rows("r1", "abcd", search="s1"), *rows("r2", "dcab", search="s1"), *rows("r3", "cba", search="s2")],
        {"s1": "shoe", "s2": "lamp"}, []))  # fmt: skip
    target = ordered(found, lambda query: {"shoe": {"c": 0, "b": 1}, "lamp": {"a": 7}}[query])
    assert "".join(found.items[i] for i in target.item) == "cbad" + "cbad" + "abc"  # unfound last, by id
    assert target.row.tolist() == list(range(11)) and set(target.probability) == {1.0}


def test_a_bundle_that_has_learnt_is_judged_on_what_came_after(home: Path, put: Callable[..., Any]) -> None:
    house = warehouse("toy", must_exist=False)
    cutoffs = [["test", "2017-12-03T23:59:59+00:00"], ["train", "2017-09-01T00:00:00+00:00"]]
    with house.attempt("examples", "encoder") as attempt:
        folder = attempt.folder("whole")
        folder.mkdir(parents=True)
        pq.write_table(arrow_schema(table("examples", "encoder")).empty_table(), folder / "part-0.parquet")
        mark = house.propose(attempt, "whole", step="examples", notes={"cutoffs": cutoffs})

    def bundle(training: dict[str, Any] | None, data: tuple[str, ...]) -> Bundle:
        return Bundle("toy", "search", 1, Path(), {"training": training}, data=data)

    assert learnt_until(house, bundle(None, (mark.name,))) == (None, False)
    assert learnt_until(house, bundle({}, (mark.name,))) == (datetime(2017, 12, 3, 23, 59, 59, tzinfo=UTC), True)
    assert learnt_until(house, bundle({}, ("examples/encoder/whole@0000",))) == (None, True)


# --- A known value ---


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The generated shop at a third of its size, with its truth."""
    home = tmp_path_factory.mktemp("sample")
    simulated.generate(home, scale=1 / 3, seed=5)
    return home


def delivered(home: Path, name: str) -> list[dict[str, Any]]:
    """The rows of a table as the shop delivers them, without those that `clean` would refuse."""
    found, id = {}, {"rankings": "ranking_id", "searches": "search_id", "interactions": "interaction_id"}[name]
    for path in sorted((home / "source").glob(f"{name}-*.jsonl")):
        for _, row, _ in parsed(path, "jsonl"):
            if row is not None and all(row.get(key) for key in ("event_time", "visitor_id")):
                key = (row.get(id), row.get("position"))
                found.setdefault(key, dict(row))
    return list(found.values())


@pytest.fixture(scope="module")
def log_tables(generated: Path) -> tuple[pa.Table, pa.Table, pa.Table]:
    """Rankings, searches and clicks of the generated shop."""
    good = [
        {**row, "visitor": row["visitor_id"], "event_time": NOON, "position": int(row["position"]),
         "propensity": float(row["propensity"])}
        for row in delivered(generated, "rankings")
        if str(row.get("position", "")).isdigit() and row.get("item_id") and row.get("ranking_id")
        and _between(row.get("propensity"))
    ]  # fmt: skip
    asked = {row["search_id"]: str(row["query"]) for row in delivered(generated, "searches") if row.get("query")}
    done = [row for row in delivered(generated, "interactions") if row.get("kind") == "click"]
    return tables(
        good,
        asked,
        [(row["ranking_id"], row["item_id"]) for row in done if row.get("ranking_id") and row.get("item_id")],
    )


def _between(value: Any) -> bool:
    try:
        return 0 < float(value) <= 1
    except (TypeError, ValueError):
        return False


def test_the_generated_shops_known_value_is_within_the_intervals(
    generated: Path, log_tables: tuple[pa.Table, pa.Table, pa.Table]
) -> None:
    of = shown(*log_tables)
    target = uniform(of)
    found, true = estimated(of.log, target), known(generated, of, target)
    assert true is not None and true["share"] > 0.95
    assert found["concluded"], found["why"]
    for name in ("ips", "snips", "dr", "switch_dr"):
        value = found["estimates"][name]["value"]
        assert value["low"] < true["value"] < value["high"], name
    own = known(generated, of, Target(np.arange(len(of.log)), of.log.item, np.ones(len(of.log))))
    apart = estimated(of.log, target, level=0.999)["estimates"]["dr"]["difference"]
    assert own is not None and apart["low"] < true["value"] - own["value"] < apart["high"]


def test_the_generated_shops_own_value_is_what_its_clicks_say(
    generated: Path, log_tables: tuple[pa.Table, pa.Table, pa.Table]
) -> None:
    of = shown(*log_tables)
    true = known(generated, of, Target(np.arange(len(of.log)), of.log.item, np.ones(len(of.log))))
    own = mean_of(of)
    assert true is not None and own.low < true["value"] < own.high


def test_a_better_order_has_a_higher_known_value_and_too_few_rankings_show_it(
    generated: Path, log_tables: tuple[pa.Table, pa.Table, pa.Table]
) -> None:
    of = shown(*log_tables)
    best = ordered(of, lambda query: {item: -grade for item, grade in _grades(generated, query).items()})
    found, true = estimated(of.log, best), known(generated, of, best)
    assert true is not None and true["value"] > found["logged"]["high"]
    assert not found["concluded"] and any("effective rankings" in why for why in found["why"])


def _grades(home: Path, query: str) -> dict[str, int]:
    all_ = pq.read_table(home / "truth" / "relevance.parquet").to_pylist()
    return {row["item_id"]: row["grade"] for row in all_ if row["query"].lower() == query}


def test_logged_propensities_of_the_generated_shop_pass_and_broken_ones_do_not(
    log_tables: tuple[pa.Table, pa.Table, pa.Table],
) -> None:
    of = shown(*log_tables)
    target = uniform(of)
    assert estimated(of.log, target)["concluded"]
    wrong = replace(of.log, propensity=np.sqrt(of.log.propensity))
    assert "too high" in " ".join(estimated(wrong, target)["why"])


def test_a_shop_without_truth_has_no_known_value(tmp_path: Path) -> None:
    of = shown(*tables(rows("r1", "ab"), {}, []))
    assert known(tmp_path, of, uniform(of)) is None


# --- A real log of two policies ---


@pytest.fixture
def two_policies(home: Path, put: Callable[..., Any]) -> str:
    """The public log of two policies as it is in the safe zone; its importer made it, and `put` gave it its types."""
    imports.load(real_data("open_bandit"), "open_bandit")
    house = warehouse("open_bandit")
    for name, kinds in (("rankings", {"position": int, "propensity": float}), ("interactions", {})):
        rows = house.read("raw", name).to_pylist()
        declared = table("safe", name).names
        safe = [
            {column: kinds.get(column, str)(row[column]) for column in declared if row.get(column) is not None}
            | {"event_time": datetime.fromisoformat(row["event_time"]), "visitor": row["visitor_id"],
               "known_time": NOON, "simulated": False, "day": None}
            for row in rows
        ]  # fmt: skip
        put("open_bandit", "safe", name, [{k: v for k, v in row.items() if k in declared} for row in safe], DAY)
    return "open_bandit"


def test_what_random_earns_is_estimated_from_the_other_policys_log(two_policies: str, home: Path) -> None:
    words = ["off-policy", "--shop", two_policies, "--log", "bts", "--beside", "random"]
    assert run_command(parser(), words) == 0
    found = json.loads((home / two_policies / "reports" / "off-policy.json").read_text())
    found = found["surfaces"]["recommend"]["policies"]["uniform"]
    assert (found["rankings"], found["rewarded"]) == (10_000, 42)
    assert found["own"]["mean"] == pytest.approx(0.0038)  # 38 clicks of the other log
    of = read(warehouse(two_policies), "bts")["recommend"]
    weight = (1 / 80) / of.log.propensity
    assert of.impressions and weights_amiss(of.log, weight, Limits()) == []
    assert found["estimates"]["ips"]["value"]["mean"] == pytest.approx((weight * of.log.reward).mean())
    for name in ("ips", "snips", "dr", "switch_dr"):
        assert found["beside"][name]["within"], (name, found["beside"][name])
    assert not found["concluded"]  # of 42 clicks few carry the weight
    assert any("effective rewarded rows" in why for why in found["why"])


# --- The command ---


def put_log(put: Callable[..., Any], propensity: Callable[[int], float], surface: str = "recommend") -> None:
    """300 visitors were shown three items in a drawn order; the first is clicked at the top by a third of them."""
    rng = np.random.default_rng(1)
    rankings, interactions = [], []
    for n in range(300):
        items = "".join(rng.permutation(list("abc")))
        common = {"known_time": NOON, "simulated": True}
        rankings += [row | common | {"propensity": propensity(n)}
                     for row in rows(f"log-{n}", items, visitor=f"secret-visitor-{n}", surface=surface)]  # fmt: skip
        if items[0] == "a" and n % 3 == 0:
            interactions.append({"interaction_id": f"c{n}", "event_time": NOON, "visitor": f"secret-visitor-{n}",
                                 "item_id": "a", "kind": "click", "ranking_id": f"log-{n}", **common})  # fmt: skip
    put("toy", "safe", "rankings", rankings, DAY)
    put("toy", "safe", "interactions", interactions, DAY)


def off_policy(*words: str) -> int:
    return run_command(parser(), ["off-policy", "--shop", "toy", *words])


def test_the_command_writes_a_report_and_its_page(
    home: Path, put: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    put_log(put, lambda n: 1 / 3, surface="recommend <b>")
    assert off_policy() == 0
    told = capsys.readouterr()
    path = home / "toy" / "reports" / "off-policy.json"
    found = json.loads(path.read_text())["surfaces"]["recommend <b>"]["policies"]["uniform"]
    assert (found["rankings"], found["rewarded"], found["visitors"]) == (300, _clicks(home), 300)
    assert found["estimates"]["ips"]["value"]["mean"] == pytest.approx(found["logged"]["mean"])
    page = path.with_suffix(".html").read_text()
    assert "<svg" in page and "recommend &lt;b&gt;" in page and "<b>:" not in page
    assert not [word for word in ("http://", "https://", "<script", "src=") if word in _without_names(page)]
    assert "secret-visitor" not in page + path.read_text() + told.out + told.err
    assert "next: python -m models" in told.out
    before = path.read_bytes(), path.with_suffix(".html").read_bytes()
    assert off_policy() == 0
    assert before == (path.read_bytes(), path.with_suffix(".html").read_bytes())


def _clicks(home: Path) -> int:
    return int(warehouse("toy").read("safe", "interactions").num_rows)


def _without_names(page: str) -> str:
    """The page without the names of SVG's own vocabularies, which nothing fetches."""
    return re.sub(r'(xmlns(:\w+)?|rdf:resource)="[^"]*"|<!--.*?-->|<metadata>.*?</metadata>', "", page, flags=re.S)


def test_a_log_that_never_explored_is_estimated_of_nothing_else(
    home: Path, put: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    put_log(put, lambda n: 1.0)
    assert off_policy() == 0
    assert "nothing is concluded of uniform on recommend: weights are 0.333" in capsys.readouterr().out


def test_a_log_with_impossible_propensities_is_refused(
    home: Path, put: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    put_log(put, lambda n: 0.0 if n == 7 else 1 / 3)
    assert off_policy() == 3
    told = capsys.readouterr()
    assert "in 3 of 900 rows the propensity is zero" in told.out and "nothing was estimated" in told.err
    assert "Nothing can be concluded" in (home / "toy" / "reports" / "off-policy.html").read_text()


def test_a_log_that_is_not_there_and_a_shop_without_rankings(
    home: Path, put: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    put_log(put, lambda n: 1 / 3)
    assert off_policy("--log", "bts") == 1
    assert "no rankings whose id begins with 'bts-'" in capsys.readouterr().err
    assert off_policy("--log", "log", "--beside", "log") == 0
    shutil.rmtree(home / "toy" / "warehouse" / "safe" / "rankings")
    assert off_policy() == 1
    assert "python -m jobs validate" in capsys.readouterr().err
