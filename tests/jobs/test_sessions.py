"""Sessions: one fold, whatever the order; the past and the present told by it are the same."""

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs import feature_store, features, forgetting
from jobs.events import KINDS, SESSION_TOUCHES, Session, Touch, fold
from jobs.persons import Person
from jobs.sessions import COLUMNS, day_before, sessions
from jobs.tables import table
from jobs.warehouse import arrow_schema

pytestmark = pytest.mark.filterwarnings("ignore")  # of Feast and what it imports, none of them ours
FIRST = date(2017, 3, 1)
NOON = datetime(2017, 3, 1, 12, tzinfo=UTC)
TOUCHES = st.builds(Touch, st.integers(0, 20_000), st.sampled_from("abcdefgh"), st.sampled_from(KINDS))


@settings(max_examples=60, deadline=None)
@given(st.lists(TOUCHES, max_size=80), st.randoms(use_true_random=False), st.integers(1, 7))
def test_neither_order_nor_repetition_nor_grouping_changes_a_session(
    touches: list[Touch], chance: random.Random, size: int
) -> None:
    mixed = touches + touches[::3]
    chance.shuffle(mixed)
    session = Session()
    for start in range(0, len(mixed), size):
        session = fold(session, mixed[start : start + size])
    newest = sorted({*touches}, key=lambda touch: (-touch.at, touch.item_id, touch.kind))
    near = [touch for touch in newest if touch.at > newest[0].at - 7_200]  # said again, without the fold
    assert list(session.touches) == near[:SESSION_TOUCHES]


def test_a_session_begins_where_a_gap_of_more_than_30_minutes_ends() -> None:
    session = fold(Session(), [Touch(0, "a", "view"), Touch(1_800, "b", "view"), Touch(3_601, "c", "cart")])
    assert (session.started, session.last) == (3_601, 3_601)
    assert fold(session, [Touch(2_000, "late", "view")]).started == 0  # what comes late closes the gap


def did(visitor: str, item: str, minute: float, kind: str = "click", known: float = 0.0) -> dict[str, Any]:
    at = NOON + timedelta(minutes=minute)
    return {"visitor": visitor, "item_id": item, "kind": kind, "event_time": at,
            "known_time": at + timedelta(minutes=known), "day": at.date()}  # fmt: skip


def events(rows: list[dict[str, Any]]) -> pa.Table:
    schema = arrow_schema(table("safe", "interactions"))
    return pa.Table.from_pylist(rows, schema=pa.schema([schema.field(name) for name in COLUMNS]))


def drawn(seed: int, visitor: str, count: int = 40) -> list[dict[str, Any]]:
    """Events around midnight, some known later than they happened, some too late for any session."""
    draw = random.Random(f"{seed}{visitor}")
    kinds = [*KINDS, "return"]
    return [
        did(visitor, f"i{draw.randrange(9)}", 480 + draw.randrange(480), draw.choice(kinds),
            draw.choice([0, 0, 7, 29, 45]))
        for _ in range(count)
    ]  # fmt: skip


@pytest.mark.parametrize("seed", range(3))
def test_days_one_by_one_give_the_rows_of_the_range(seed: int) -> None:
    rows = drawn(seed, "v1_a", 120)
    whole = sessions(events(rows), FIRST, FIRST + timedelta(days=1))
    parts = []
    for day in (FIRST, FIRST + timedelta(days=1)):
        near = [row for row in rows if day_before(str(day)) <= str(row["day"]) <= str(day)]
        parts.append(sessions(events(near), day, day))
    assert pa.concat_tables(parts).equals(whole) and whole.num_rows > 40
    keys = [(row["event_time"], row["known_time"]) for row in whole.to_pylist()]
    assert len(set(keys)) == len(keys) and sorted(at for at, _ in keys) == [at for at, _ in keys]


def test_what_came_back_or_became_known_too_late_touches_nothing() -> None:
    rows = [did("v", "a", 0), did("v", "b", 1, "return"), did("v", "c", 2, known=31)]
    (row,) = sessions(events(rows), FIRST, FIRST).to_pylist()
    assert row["session_items"] == ["a"] and row["session_started"] == NOON


def put_sessions(put: Callable[..., Any], shop: str, rows: list[dict[str, Any]]) -> None:
    for day in (FIRST, FIRST + timedelta(days=1)):
        of_day = [
            found
            for visitor in sorted({row["visitor"] for row in rows})
            for found in sessions(events([row for row in rows if row["visitor"] == visitor]), day, day).to_pylist()
        ]
        put(shop, "stats", "visitor_session", of_day, str(day))


def pushed(shop: str, rows: list[dict[str, Any]], known: datetime) -> None:
    """As the API does it: what a session can still hold."""
    by_visitor: dict[str, list[Touch]] = {}
    for row in rows:
        if row["kind"] in KINDS and row["known_time"] - row["event_time"] <= timedelta(minutes=30):
            by_visitor.setdefault(row["visitor"], []).append(Touch.of(row["item_id"], row["kind"], row["event_time"]))
    features.push(shop, by_visitor, known=known)


def test_the_api_writes_as_events_come_what_training_is_told_of_the_past(online: str, put: Callable[..., Any]) -> None:
    rows = drawn(1, "v1_a") + drawn(2, "v1_b")
    put_sessions(put, online, rows)
    moments = sorted({row["known_time"] for row in rows})[::3]
    asked = [(visitor, moment) for moment in moments for visitor in ("v1_a", "v1_b")]
    stamps = pa.array([moment for _, moment in asked], pa.timestamp("us", "UTC"))
    questions = pa.table({"visitor": [visitor for visitor, _ in asked], "event_time": stamps})
    past = features.training_rows(online, questions, "session").to_pylist()
    names = [feature.name for feature in feature_store.views(online, "session")[0].features]
    now, before = [], datetime(2017, 1, 1, tzinfo=UTC)
    for moment in moments:
        came = [row for row in rows if before < row["known_time"] <= moment]
        for row in reversed(came):  # out of order, and each twice
            pushed(online, [row], moment)
        pushed(online, came, moment)
        before = moment
        now += features.look_up(online, "session", [{"visitor": "v1_a"}, {"visitor": "v1_b"}], now=moment)
    assert [{name: row[name] for name in names} for row in past] == [dict(each.values) for each in now]
    assert {each.states["session_items"] for each in now} >= {"present", "expired"}


def test_no_touch_is_lost_between_threads(online: str, put: Callable[..., Any]) -> None:
    put(online, "safe", "items", [{"item_id": "a", "title": "A"}])
    feature_store.store(online)

    def touch(n: int) -> None:
        features.push(online, {"v1_a": [Touch(1_000 + n, f"i{n}", "view")]}, known=NOON)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(touch, range(16)))
    (looked,) = features.look_up(online, "session", [{"visitor": "v1_a"}], now=datetime(1970, 1, 1, tzinfo=UTC))
    assert looked.values["session_items"] == [f"i{n}" for n in reversed(range(16))]


def test_erasure_takes_a_session_out_and_materialise_never_writes_one(
    online: str, put: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    from argparse import Namespace

    from jobs import materialising

    put_sessions(put, online, [did("v1_a", "x", 0), did("v1_b", "y", 0)])
    put(online, "stats", "item_stats", [{"item_id": "x", "event_time": features.end_of_day(FIRST),
        "known_time": features.end_of_day(FIRST), "day": FIRST}], str(FIRST))  # fmt: skip
    materialising.run(Namespace(shop=online, first=None, last=None))
    assert "visitor_session" not in capsys.readouterr().out

    def state(visitor: str) -> str:
        return features.look_up(online, "session", [{"visitor": visitor}], now=NOON)[0].states["session_items"]

    assert state("v1_a") == "absent"
    features.push(online, {v: [Touch.of("z", "cart", NOON)] for v in ("v1_a", "v1_b")}, known=NOON)
    assert (state("v1_a"), state("v1_b")) == ("present", "present")
    forgetting.online(online, Person(("household-1",), ("v1_a",)), forget=True)
    assert (state("v1_a"), state("v1_b")) == ("absent", "present")


def test_spark_writes_what_the_fold_says(spark: Any) -> None:
    from jobs import aggregating

    rows = drawn(5, "v1_a", 60) + drawn(6, "v1_b", 60)
    days = [str(FIRST), str(FIRST + timedelta(days=1))]
    told = aggregating.visitor_session(spark.createDataFrame(events(rows)), *days).toArrow()
    expected = pa.concat_tables(
        [sessions(events([row for row in rows if row["visitor"] == v]), FIRST, FIRST + timedelta(days=1))
         for v in ("v1_a", "v1_b")]
    )  # fmt: skip
    order = [("visitor", "ascending"), ("known_time", "ascending"), ("event_time", "ascending")]
    assert told.sort_by(order).to_pylist() == expected.sort_by(order).to_pylist() and told.num_rows > 50
