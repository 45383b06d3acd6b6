"""The join by time, against a plain search and against Feast's own join, on inputs that were drawn."""

import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from types import ModuleType
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobs.duck import engine

pytestmark = pytest.mark.filterwarnings("ignore")  # of Feast and what it imports, none of them ours
ZERO = datetime(2017, 3, 1, tzinfo=UTC)
MOMENT = pa.timestamp("us", tz="UTC")
Row = dict[str, Any]


def hours(least: int, most: int) -> st.SearchStrategy[datetime]:
    return st.integers(least, most).map(lambda n: ZERO + timedelta(hours=n))


def rarely_none(most: int) -> st.SearchStrategy[datetime | None]:
    return st.integers(-1, most).map(lambda n: None if n < 0 else ZERO + timedelta(hours=n))


# Most rows and questions are of one entity: only rows of the same one can stand in each other's way.
keys = st.sampled_from([("a", "x")] * 4 + [("a", "y"), ("b", "x")])
stored = st.builds(
    lambda key, event, known, value, items: {"v": key[0], "w": key[1], "e": event, "c": known, "f": value, "l": items},
    keys,
    rarely_none(9),
    rarely_none(12),
    st.none() | st.integers(0, 99),
    st.none() | st.lists(st.none() | st.sampled_from(["tea", "茶"]), max_size=2),
)
asked = st.tuples(keys | st.sampled_from([("none", "x"), (None, "y")]), hours(-1, 14))
lives = st.sampled_from([None, timedelta(hours=1), timedelta(hours=4), timedelta(days=9)])


def unlike(rows: Sequence[Row]) -> list[Row]:
    """Without rows that nothing but their values tells apart: of those, Feast may answer any."""
    found: dict[Any, Row] = {}
    for row in rows:
        found.setdefault((row["v"], row["w"], row["e"], row["c"]), row)
    return list(found.values())


def table_of(rows: Sequence[Row]) -> pa.Table:
    kinds = {"v": pa.string(), "w": pa.string(), "e": MOMENT, "c": MOMENT, "f": pa.int64(), "l": pa.list_(pa.string())}
    return pa.table({name: pa.array([row[name] for row in rows], kind) for name, kind in kinds.items()})


def joined(rows: Sequence[Row], questions: Sequence[Any], ttl: timedelta | None, names: Sequence[str]) -> list[Row]:
    """What our join answers, by the key columns `names`."""
    from jobs.feast_store import join_view, numbered

    place = range(len(rows))
    columns = [[key["vw".index(name)] for key, _ in questions] for name in names]
    numbers, entities = numbered([pa.chunked_array([pa.array(values, pa.string())]) for values in columns])
    times = pa.array([when for _, when in questions], MOMENT)
    with engine() as live:
        source = table_of(rows).append_column("at_file", pa.array([0] * len(rows), pa.uint64()))
        live.register("source", source.append_column("at_row", pa.array(place, pa.int64())))
        live.register("names", entities)
        count = pa.array(range(len(questions)), pa.int64())
        live.register("question", pa.table({"n": count, "k": numbers, "t": times}))
        found = join_view(live, keys=names, event="e", created="c", features=[("f", "number"), ("l", "list")],
                          event_as="at", ttl=ttl)  # fmt: skip
    return found.to_pylist()


def plain(rows: Sequence[Row], key: Any, when: datetime, ttl: timedelta | None, names: Sequence[str]) -> Row:
    """A search through all rows, as the rule reads."""
    seen = [
        row
        for row in rows
        if all(row[name] == key["vw".index(name)] for name in names)
        and row["e"] is not None
        and row["c"] is not None
        and row["e"] <= when
        and row["c"] <= when
    ]
    best = max(seen, key=lambda row: (row["e"], row["c"]), default=None)
    if best is None or (ttl is not None and best["e"] + ttl < when):
        return {"number": None, "list": None, "at": None}
    return {"number": best["f"], "list": best["l"], "at": best["e"]}


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(stored, max_size=16).map(unlike), st.lists(asked, max_size=12), lives)
def test_the_join_is_what_a_plain_search_finds(rows: list[Row], questions: list[Any], ttl: timedelta | None) -> None:
    found = joined(rows, questions, ttl, ["v", "w"])
    assert found == [plain(rows, key, when, ttl, ["v", "w"]) for key, when in questions]


def test_rows_that_are_alike_in_all_but_their_values_answer_the_same_every_time() -> None:
    row = {"v": "a", "w": "x", "e": ZERO, "c": ZERO, "l": None}
    rows = [{**row, "f": n} for n in range(50)]
    found = {joined(rows, [(("a", "x"), ZERO)] * 3, None, ["v"])[0]["number"] for _ in range(5)}
    assert found == {49}  # the last as they lie


def feasts_own(rows: Sequence[Row], questions: Sequence[Any], ttl: timedelta | None) -> list[Row]:
    """Feast's inequality join, as its DuckDB store calls it."""
    # ibis asks for it; it mends a fault of pyarrow before 14.0.1 and has nothing to do for ours.
    sys.modules.setdefault("pyarrow_hotfix", ModuleType("pyarrow_hotfix"))
    import ibis
    from feast.infra.offline_stores.ibis import point_in_time_join

    times = pa.array([when for _, when in questions], MOMENT)
    entities = {name: pa.array([key[n] for key, _ in questions], pa.string()) for n, name in enumerate("vw")}
    place = pa.array(range(len(questions)), pa.int64())
    table = ibis.memtable(pa.table({**entities, "event_timestamp": times, "place": place}))
    of = (ibis.memtable(table_of(rows)), "e", "c", {"v": "v", "w": "w"}, ["f", "l", "e"], ttl)
    found = point_in_time_join(table, [of], filter_by_created_timestamp=True).to_pyarrow().sort_by("place")
    return [{"number": row["f"], "list": row["l"], "at": row["e"]} for row in found.to_pylist()]


@settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(stored, min_size=1, max_size=12).map(unlike),
    st.lists(asked, min_size=1, max_size=10, unique=True),
    lives,
)
def test_the_join_is_what_feasts_own_finds(rows: list[Row], questions: list[Any], ttl: timedelta | None) -> None:
    assert joined(rows, questions, ttl, ["v", "w"]) == feasts_own(rows, questions, ttl)


def test_a_lost_or_doubled_row_is_an_error() -> None:
    from types import SimpleNamespace

    from jobs.console import Problem
    from jobs.feast_store import joined as with_views

    of = SimpleNamespace(join_key_map={"v": "v"}, name_to_use=lambda: "view")
    rows = pa.table({"v": ["a", "b"], "event_time": pa.array([ZERO, ZERO], MOMENT)})
    for lost in (0, 1, 3):
        with pytest.raises(Problem, match=f"of view made {lost} rows of 2"):
            with_views(rows, [SimpleNamespace(projection=of)], "event_time",
                       lambda view, question, names, lost=lost: pa.table({"f": list(range(lost))}))  # fmt: skip


def test_a_question_between_two_microseconds_is_cut_and_never_rounded_up() -> None:
    from types import SimpleNamespace

    from jobs.feast_store import joined as with_views

    of = SimpleNamespace(join_key_map={"v": "v"}, name_to_use=lambda: "view")
    times = pa.array([1_999], pa.timestamp("ns", tz="UTC"))
    seen = []
    with_views(pa.table({"v": ["a"], "event_time": times}), [SimpleNamespace(projection=of)], "event_time",
               lambda view, question, names: seen.append(question["t"][0].value) or pa.table({"f": [0]}))  # fmt: skip
    assert seen == [1]
