"""What is known now: one behaviour, on SQLite and on a real Redis; and what Feast's own stores would do instead."""

import asyncio
import math
import random
from argparse import Namespace
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from jobs import feature_store, features, materialising, metrics
from jobs.console import Problem, Usage
from jobs.online import Down, View
from tests.jobs.test_features import put_items, stat

pytestmark = [
    pytest.mark.usefixtures("applied_once"),
    pytest.mark.filterwarnings("ignore"),
]  # of Feast and what it imports, none of them ours
DAY0 = date(2017, 3, 1)
US = pa.timestamp("us", tz="UTC")


def end(day: int) -> datetime:
    return features.end_of_day(DAY0 + timedelta(days=day))


# ---- one store, and a view of two keys and of every type -------------------------------------------


class Bench:
    """An opened store with a view of visitors and categories, which holds a value of every type."""

    def __init__(self, shop: str) -> None:
        from feast import Entity, FeatureView, Field, FileSource, ValueType
        from feast.types import Array, Bool, Float64, Int64, String, UnixTimestamp
        from feast.types import Decimal as Money

        kinds = {"count": Int64, "share": Float64, "word": String, "flag": Bool, "at": UnixTimestamp, "price": Money,
                 "shares": Array(Float64), "words": Array(String), "counts": Array(Int64),
                 "times": Array(UnixTimestamp)}  # fmt: skip
        entities = [
            Entity(name=name, join_keys=[name], value_type=ValueType.STRING) for name in ("visitor", "category")
        ]
        self.feast = FeatureView(
            name="cycles", entities=entities, ttl=timedelta(days=30), source=FileSource(name="none", path="none"),
            schema=[Field(name=name, dtype=String) for name in ("visitor", "category")]
            + [Field(name=name, dtype=kind) for name, kind in kinds.items()],
        )  # fmt: skip
        self.live = feature_store.store(shop)
        self.config, self.store = self.live.config, self.live._get_provider().online_store
        self.store.update(self.config, [], [self.feast], [], [], False)
        self.view = View.of(self.feast)

    def write(self, rows: Sequence[dict[str, Any]]) -> int:
        """Through our writer."""
        arrow = {"count": pa.int64(), "share": pa.float64(), "word": pa.string(), "flag": pa.bool_(), "at": US,
                 "price": pa.decimal128(12, 2), "shares": pa.list_(pa.float64()), "words": pa.list_(pa.string()),
                 "counts": pa.list_(pa.int64()), "times": pa.list_(US)}  # fmt: skip
        schema = pa.schema([("visitor", pa.string()), ("category", pa.string()), *arrow.items(), ("event_time", US),
                            ("known_time", US)])  # fmt: skip
        table = pa.Table.from_pylist([{"known_time": row["event_time"], **row} for row in rows], schema=schema)
        batch = materialising.rows_of(table, self.view.keys, self.view.names)
        return int(self.store.write_rows(self.config, self.feast, self.view.names, batch))

    def keys(self, entities: Sequence[tuple[str, str]]) -> list[bytes]:
        return [self.view.key_of({"category": category, "visitor": visitor}) for visitor, category in entities]

    def read(self, *entities: tuple[str, str]) -> list[tuple[datetime | None, dict[str, Any]]]:
        """Through our reader: event time, and what is not empty."""
        (rows,) = self.store.read_rows(self.config, [(self.view, self.keys(entities))])
        named = [dict(zip(self.view.names, stored, strict=False)) for _, stored in rows]
        readers = dict(zip(self.view.names, self.view.decoders, strict=True))
        return [
            (at, {name: readers[name](value) for name, value in each.items() if value})
            for (at, _), each in zip(rows, named, strict=True)
        ]

    def protos(self, entities: Sequence[tuple[str, str]]) -> list[Any]:
        from feast.protos.feast.types.EntityKey_pb2 import EntityKey
        from feast.protos.feast.types.Value_pb2 import Value

        return [
            EntityKey(join_keys=["visitor", "category"], entity_values=[Value(string_val=v), Value(string_val=c)])
            for v, c in entities
        ]

    def stock(self) -> Any:
        """Feast's own store over the same file or server."""
        from feast.infra.online_stores.redis import RedisOnlineStore
        from feast.infra.online_stores.sqlite import SqliteOnlineStore

        return SqliteOnlineStore() if isinstance(self.store, SqliteOnlineStore) else RedisOnlineStore()


@pytest.fixture
def bench(online: str, put: Callable[..., Any]) -> Bench:
    put(online, "safe", "items", [{"item_id": "a", "title": "A"}])
    return Bench(online)


WHOLE: dict[str, Any] = {
    "count": -(2**63), "share": 0.1 + 0.2, "word": "无线 \0 é", "flag": False,
    "at": datetime(2017, 3, 1, 12, tzinfo=UTC),
    "price": Decimal("-1234.50"), "shares": [1e-300, math.inf], "words": ["", "茶"], "counts": [0, -1, 2**40],
    "times": [datetime(1969, 12, 31, tzinfo=UTC)],
}  # fmt: skip
EMPTY: dict[str, Any] = {"count": 0, "share": -0.0, "word": "", "shares": [], "words": [], "counts": [], "times": []}


def test_values_keep_their_meaning_and_feast_reads_the_same(bench: Bench) -> None:
    from feast.type_map import feast_value_type_to_python_type

    bench.write(
        [
            {"visitor": "v", "category": "whole", "event_time": end(0), **WHOLE},
            {"visitor": "v", "category": "empty", "event_time": end(0), **EMPTY},
            {"visitor": "v", "category": "nan", "event_time": end(0), "share": math.nan, "shares": [math.nan]},
        ]
    )
    whole, empty, nan, nobody = bench.read(("v", "whole"), ("v", "empty"), ("v", "nan"), ("whole", "v"))
    assert whole == (end(0), WHOLE)
    assert empty == (end(0), EMPTY) and math.copysign(1, empty[1]["share"]) == -1
    assert set(nan[1]) == {"share", "shares"} and math.isnan(nan[1]["share"]) and math.isnan(nan[1]["shares"][0])
    assert nobody == (None, {})
    asked = bench.protos([("v", "whole"), ("v", "empty")])
    for reader in (bench.store, bench.stock()):
        for (at, values), ours in zip(
            reader.online_read(bench.config, bench.feast, asked), (WHOLE, EMPTY), strict=True
        ):
            assert abs(at - end(0)) < timedelta(seconds=1)
            plain = {name: feast_value_type_to_python_type(value) for name, value in values.items() if value.ByteSize()}
            plain = {name: value for name, value in plain.items() if name not in ("at", "times")}
            assert plain == {name: value for name, value in ours.items() if name not in ("at", "times")}


def test_what_feast_writes_is_read(bench: Bench) -> None:
    from feast.protos.feast.types.Value_pb2 import Int64List, Value

    values = {"count": Value(int64_val=300), "counts": Value(int64_list_val=Int64List(val=[1, 2])), "share": Value()}
    (key,) = bench.protos([("v", "tea")])
    for writer in (bench.stock(), bench.store):
        writer.online_write_batch(bench.config, bench.feast, [(key, values, end(3), end(3))], None)
        assert bench.read(("v", "tea")) == [(end(3), {"count": 300, "counts": [1, 2]})]


def test_an_older_write_never_replaces_a_newer_one_and_an_equal_one_corrects(bench: Bench) -> None:
    def put(day: int, count: int) -> int:
        return bench.write(
            [{"visitor": "v", "category": "tea", "event_time": end(day), "count": count, "word": f"{day}"}]
        )

    assert [put(5, 1), put(4, 2), put(5, 3), put(0, 4)] == [1, 0, 1, 0]
    assert bench.read(("v", "tea")) == [(end(5), {"count": 3, "word": "5"})]
    mixed = [{"visitor": "v", "category": c, "event_time": end(d), "count": d} for c, d in (("tea", 1), ("milk", 1))]
    assert bench.write(mixed) == 1
    assert [each[1]["count"] for each in bench.read(("v", "tea"), ("v", "milk"))] == [3, 1]


def test_of_writers_at_once_the_newest_stays(bench: Bench) -> None:
    days = list(range(40))
    random.Random(1).shuffle(days)

    def put(day: int) -> None:
        bench.write([{"visitor": "v", "category": "tea", "event_time": end(day), "count": day, "word": str(day)}])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(put, days))
    assert bench.read(("v", "tea")) == [(end(39), {"count": 39, "word": "39"})]


def test_an_entity_of_several_keys_is_all_of_them(bench: Bench) -> None:
    rows = [("v1_a", "tea"), ("v1_a", "milk"), ("v1_b", "tea"), ("tea", "v1_a")]
    bench.write([{"visitor": v, "category": c, "event_time": end(0), "word": f"{v} {c}"} for v, c in rows])
    assert [each[1]["word"] for each in bench.read(*rows)] == [f"{v} {c}" for v, c in rows]
    held = {
        (entity["visitor"], entity["category"]): at for _, entity, at in bench.store.held(bench.config, bench.feast)
    }
    assert held == dict.fromkeys(rows, end(0))
    bench.store.forget(bench.config, bench.feast, bench.keys([("v1_a", "tea"), ("no", "body")]))
    assert [bool(values) for _, values in bench.read(*rows)] == [False, True, True, True]
    # A rotation goes by the name of the visitor, not by letters that happen to stand in the key.
    assert bench.store.forget_others(bench.config, bench.feast, "visitor", "v1_") == 1
    assert [bool(values) for _, values in bench.read(*rows)] == [False, True, True, False]


def test_an_erasure_takes_every_entity_that_a_visitor_is_part_of(bench: Bench, home: Path) -> None:
    from jobs import forgetting
    from jobs.persons import Person

    shop, gone, stays = bench.config.project, "v1_" + "a" * 32, "v1_" + "b" * 32
    bench.write([{"visitor": v, "category": c, "event_time": end(0), "word": c}
                 for v in (gone, stays) for c in ("tea", "milk")])  # fmt: skip
    who = Person(ids=("ann",), pseudonyms=(gone,))
    assert sum(forgetting.online(shop, who, forget=False).values()) == 2
    forgetting.online(shop, who, forget=True)
    assert [bool(values) for _, values in bench.read((gone, "tea"), (gone, "milk"), (stays, "tea"))] == [
        False, False, True,
    ]  # fmt: skip
    assert forgetting.online(shop, who, forget=False) == {}
    kept = [
        path for path in (home / shop / "feast").rglob("*") if path.is_file() and gone.encode() in path.read_bytes()
    ]
    assert kept == []


# ---- what Feast's own stores would do --------------------------------------------------------------


def test_stock_an_older_push_overwrites_on_sqlite(put: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    from feast.protos.feast.types.Value_pb2 import Value

    monkeypatch.delenv("ENDCAP_REDIS", raising=False)
    put("stock", "safe", "items", [{"item_id": "a", "title": "A"}])
    bench = Bench("stock")
    (key,) = bench.protos([("v", "tea")])

    def left_by(writer: Any) -> Any:
        for day in (5, 1):
            rows = [(key, {"count": Value(int64_val=day)}, end(day), end(day))]
            writer.online_write_batch(bench.config, bench.feast, rows, None)
        ((_, values),) = bench.read(("v", "tea"))
        bench.store.forget(bench.config, bench.feast, bench.keys([("v", "tea")]))
        return values["count"]

    assert (left_by(bench.stock()), left_by(bench.store)) == (1, 5)


def test_stock_an_unknown_entity_looks_different_on_each_store(bench: Bench) -> None:
    ((at, values),) = bench.stock().online_read(bench.config, bench.feast, bench.protos([("no", "body")]))
    on_redis = bench.config.project == "on_redis"
    assert (at is not None, values is not None) == (on_redis, on_redis)
    assert bench.read(("no", "body")) == [(None, {})]


def test_stock_what_expired_is_answered_as_present(online: str, put: Callable[..., Any]) -> None:
    put_items(put, online, [stat("a", 0, 7)])
    materialise(online)
    live = feature_store.store(online)
    put_items(put, online, [stat("b", 400, 1)])  # the shop's present is beyond a's ttl now
    answer = live.get_online_features(live.get_feature_service("items"), [{"item_id": "a"}], full_feature_names=False)
    assert answer.to_dict()["purchases_28d"] == [7]
    assert bought(online, "a") == (None, end(0), "expired")


# ---- look-ups over statistics ----------------------------------------------------------------------


def materialise(shop: str, first: date | None = None, last: date | None = None, *, compact: bool = False) -> None:
    materialising.run(Namespace(shop=shop, first=first, last=last, compact=compact))


def bought(shop: str, item: str, now: datetime | None = None) -> Any:
    (looked,) = features.look_up(shop, "items", [{"item_id": item}], now=now)
    return looked.values["purchases_28d"], looked.event_times["purchases_28d"], looked.states["purchases_28d"]


def test_online_life_of_a_value(online: str, put: Callable[..., Any], capsys: pytest.CaptureFixture[str]) -> None:
    put_items(put, online, [stat("a", 0, 1), stat("a", 5, 2), stat("b", 1, 7, price=2.5)])
    materialise(online)
    assert "item_stats" in capsys.readouterr().out
    assert bought(online, "a") == (2, end(5), "present")
    (b,) = features.look_up(online, "items", [{"item_id": "b"}])
    assert (b.values["price"], b.values["rating"], b.values["shown_28d"]) == (2.5, None, 0.5)
    # Unknown: the same answer as for an entity that Redis or SQLite never saw.
    assert bought(online, "never") == (None, None, "absent")
    # Expired: exactly as old as the ttl is present, older is not.
    assert bought(online, "a", end(5 + 365)) == (2, end(5), "present")
    assert bought(online, "a", end(5 + 365) + timedelta(seconds=1)) == (None, end(5), "expired")
    # An older day brought again does not replace a newer one; the same day computed again does.
    materialise(online, first=DAY0, last=DAY0)
    assert bought(online, "a") == (2, end(5), "present")
    put_items(put, online, [stat("a", 5, 3)])
    materialise(online)
    assert bought(online, "a") == (3, end(5), "present")


def test_online_lists_survive_and_equal_the_past(online: str, put: Callable[..., Any]) -> None:
    times = [end(3).replace(microsecond=0), end(1).replace(microsecond=0)]
    history = {
        "visitor": "v0_1",
        "event_time": end(3),
        "known_time": end(3),
        "items": ["苹果", "a"],
        "times": times,
        "counts": [1, 12],
        "decayed": [0.1 + 0.2, 1e-9],
        "day": DAY0 + timedelta(days=3),
    }
    empty = {**history, "visitor": "v0_2", "items": [], "times": [], "counts": [], "decayed": []}
    put(online, "stats", "visitor_history", [history, empty], history["day"].isoformat())
    materialise(online)
    known, nobody, none = features.look_up(
        online, "recommender", [{"visitor": "v0_1"}, {"visitor": "nobody"}, {"visitor": "v0_2"}]
    )
    for name in ("items", "times", "counts", "decayed"):
        assert known.values[name] == history[name]
    assert known.states["spend_28d"] == "absent" and known.states["items"] == "present"
    assert set(nobody.values.values()) == {None} and set(nobody.states.values()) == {"absent"}
    assert none.values["items"] in ([], None)
    asked = pa.table({"visitor": ["v0_1"], "event_time": pa.array([end(4)], pa.timestamp("us", tz="UTC"))})
    (past,) = features.training_rows(online, asked, "recommender").to_pylist()
    assert {name: past[name] for name in ("items", "times", "counts", "decayed")} == {
        name: known.values[name] for name in ("items", "times", "counts", "decayed")
    }
    assert past["visitor_history__event_time"] == known.event_times["items"]


def test_after_a_rotation_only_the_new_pseudonyms_are_there(
    online: str, put: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    def bring(day: int, *visitors: str) -> None:
        at = {"event_time": end(day), "known_time": end(day), "day": DAY0 + timedelta(days=day)}
        for name in ("visitor_stats", "visitor_history"):
            rows = [{"visitor": v, **at, "purchases_28d": 1} if name == "visitor_stats" else {"visitor": v, **at}
                    for v in visitors]  # fmt: skip
            put(online, "stats", name, rows, at["day"].isoformat())
        materialise(online)

    def state(visitor: str) -> str:
        (looked,) = features.look_up(online, "recommender", [{"visitor": visitor}])
        return looked.states["purchases_28d"]

    put_items(put, online, [stat("v1_", 0, 4)])  # an item of a strange name, which is no visitor
    bring(0, "v1_aa", "v1_bb")
    assert [state(v) for v in ("v1_aa", "v1_bb")] == ["present", "present"]
    capsys.readouterr()
    bring(1, "v2_cc", "v1_dd")  # a day of the older epoch that nobody could make again is not brought back
    assert [state(v) for v in ("v1_aa", "v1_bb", "v1_dd", "v2_cc")] == ["absent", "absent", "absent", "present"]
    assert "2 entities under pseudonyms of an older key are gone" in capsys.readouterr().out
    assert bought(online, "v1_")[0] == 4
    assert (feature_store.folder(online) / "epoch").read_text() == "2\n"


def test_visitors_are_known_by_their_old_pseudonyms_until_all_views_bear_the_new(
    online: str, put: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same days again under a new key: whoever asks while they are brought is not told that nobody is known."""

    def bring(epoch: int) -> None:
        at = {"event_time": end(0), "known_time": end(0), "day": DAY0, "visitor": f"v{epoch}_aa"}
        put(online, "stats", "visitor_stats", [{**at, "purchases_28d": 1}], str(DAY0))
        put(online, "stats", "visitor_history", [at], str(DAY0))
        materialise(online)

    def state(visitor: str) -> str:
        (looked,) = features.look_up(online, "recommender", [{"visitor": visitor}])
        return looked.states["purchases_28d"]

    bring(1)
    turn, seen = materialising.turn_epoch, list[str]()

    def watched(*given: Any) -> int:
        seen.extend([state("v1_aa"), state("v2_aa")])
        return turn(*given)

    monkeypatch.setattr(materialising, "turn_epoch", watched)
    bring(2)
    assert seen == ["present", "present"] and [state("v1_aa"), state("v2_aa")] == ["absent", "present"]


def test_many_are_answered_in_order(online: str, put: Callable[..., Any]) -> None:
    put_items(put, online, [stat(f"i{n}", 0, n) for n in range(0, 1200, 2)])
    materialise(online)
    looked = features.look_up(online, "items", [{"item_id": f"i{n}"} for n in range(1200)])
    assert [each.values["purchases_28d"] for each in looked] == [None if n % 2 else n for n in range(1200)]
    assert features.look_up(online, "items", []) == []


def test_the_file_keeps_one_index_and_finds_by_it(put: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ENDCAP_REDIS", raising=False)
    put("index", "safe", "items", [{"item_id": "a", "title": "A"}])
    bench = Bench("index")
    live, name = bench.store._reader(bench.config), bench.store._table(bench.config, bench.feast)
    of_ours = "SELECT name FROM sqlite_master WHERE type = 'index' AND tbl_name = ?"
    assert len(live.execute(of_ours, (name.strip('"'),)).fetchall()) == 1
    plan = live.execute(f"EXPLAIN QUERY PLAN SELECT value FROM {name} WHERE entity_key = ?", (b"",)).fetchall()
    assert "USING INDEX sqlite_autoindex" in plan[0][-1]


def test_threads_may_look_up_at_once(put: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    from concurrent.futures import ThreadPoolExecutor

    monkeypatch.delenv("ENDCAP_REDIS", raising=False)
    put_items(put, "threads", [stat(f"i{n}", 0, n) for n in range(50)])
    materialise("threads")
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda n: bought("threads", f"i{n % 50}")[0], range(200)))
    assert found == [n % 50 for n in range(200)]


def test_a_hundred_thousand_are_answered_in_order_some_asked_twice(online: str, put: Callable[..., Any]) -> None:
    put_items(put, online, [stat(f"i{n}", 0, n) for n in range(50)])
    materialise(online)
    asked = [{"item_id": f"i{n % 1000}"} for n in range(100_000)]
    looked = features.look_up(online, "items", asked, names=["purchases_28d"])
    expected = [n % 1000 if n % 1000 < 50 else None for n in range(100_000)]
    assert [each.values["purchases_28d"] for each in looked] == expected
    assert looked[0].entity == {"item_id": "i0"} and set(looked[0].values) == {"purchases_28d"}


def test_asking_while_others_go_on_gives_the_same(
    online: str, put: Callable[..., Any], request: pytest.FixtureRequest
) -> None:
    from jobs.feast_redis import CONNECTIONS

    before = 0
    if online == "on_redis":
        before = request.getfixturevalue("redis_server")[0].info("stats")["total_connections_received"]
    put_items(put, online, [stat(f"i{n}", 0, n, price=n / 7) for n in range(40)])
    materialise(online)
    groups = [[{"item_id": f"i{n + k}"} for k in range(5)] for n in range(50)]

    async def all_at_once() -> list[list[features.Looked]]:
        return await asyncio.gather(*(features.look_up_async(online, "items", group) for group in groups))

    expected = [features.look_up(online, "items", group) for group in groups]
    for _ in range(2):  # a second loop has connections of its own
        assert asyncio.run(all_at_once()) == expected
    if online == "on_redis":  # fifty at once did not open fifty
        server = request.getfixturevalue("redis_server")[0]
        assert server.info("stats")["total_connections_received"] - before <= 2 * CONNECTIONS + 2
    assert asyncio.run(features.look_up_async(online, "items", [])) == []


def test_the_store_says_when_it_is_behind_what_is_published(online: str, put: Callable[..., Any]) -> None:
    def stale() -> tuple[str, ...]:
        return features.look_up(online, "items", [{"item_id": "a"}])[0].stale

    put_items(put, online, [stat("a", 0, 1)])
    assert stale() == ("item_stats",)
    materialise(online)
    assert stale() == ()
    put_items(put, online, [stat("a", 1, 2)])
    assert stale() == ("item_stats",) and bought(online, "a")[0] == 1
    materialise(online)
    assert stale() == () and bought(online, "a")[0] == 2
    put_items(put, online, [stat("a", 1, 3)])  # the same day again, with another value
    assert stale() == ("item_stats",)


def test_look_ups_are_counted(online: str, put: Callable[..., Any]) -> None:
    pytest.importorskip("prometheus_client")

    def count(line: str) -> float:
        found = [row for row in metrics.text().decode().splitlines() if row.startswith(line)]
        return float(found[0].split()[-1]) if found else 0.0

    rows = 'endcap_feature_rows_total{service="items",state="%s",view="item_stats"}'
    times = 'endcap_feature_lookup_seconds_count{service="items"}'
    put_items(put, online, [stat("a", 0, 1)])
    materialise(online)
    before = count(rows % "present"), count(rows % "absent"), count(rows % "expired"), count(times)
    features.look_up(online, "items", [{"item_id": "a"}, {"item_id": "b"}])
    features.look_up(online, "items", [{"item_id": "a"}], now=end(0) + timedelta(days=366))
    after = count(rows % "present"), count(rows % "absent"), count(rows % "expired"), count(times)
    assert [b - a for a, b in zip(before, after, strict=True)] == [1, 1, 1, 2]


# ---- questions that make no sense ------------------------------------------------------------------


def test_a_question_that_makes_no_sense_says_what_and_what_to_do(online: str, put: Callable[..., Any]) -> None:
    put_items(put, online, [stat("a", 0)])

    def ask(service: str, entity: Any, **more: Any) -> Problem:
        with pytest.raises(Problem) as wrong:
            features.look_up(online, service, [entity], **more)
        return wrong.value

    assert "did you mean 'items'?" in str(ask("item", {"item_id": "a"}))
    feature = ask("items", {"item_id": "a"}, names=["purchase_28d"])
    assert isinstance(feature, Usage) and "did you mean 'purchases_28d'?" in str(feature)
    kind = str(ask("items", {"visitor": "a"}))
    assert "named by 'item_id' alone" in kind and "ask the service 'recommender'" in kind
    assert "keys given: none" in str(ask("items", {}))
    assert "named by 'item_id' alone" in str(ask("items", {"item_id": "a", "visitor": "b"}))
    for value, kind in ((1, "int"), (None, "NoneType"), (b"a", "bytes"), (["a"], "list")):
        assert f"a text, not {kind}" in str(ask("items", {"item_id": value}))
    assert "half a character" in str(ask("items", {"item_id": "\ud800"}))
    assert "has no zone" in str(ask("items", {"item_id": "a"}, now=datetime(2017, 3, 2)))  # noqa: DTZ001
    future = str(ask("items", {"item_id": "a"}, now=datetime.now(UTC) + timedelta(hours=1)))
    assert "has not come yet" in future and "2017-03-01 23:59 UTC" in future
    with pytest.raises(Usage, match="no home"):
        features.look_up("nobody", "items", [{"item_id": "a"}])
    assert features.look_up(online, "items", []) == []


def test_a_store_that_does_not_answer_is_told_without_its_password(
    put: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, own_redis: tuple[Any, str]
) -> None:
    server, address = own_redis
    server.config_set("requirepass", "s3cret-word")
    monkeypatch.setenv("ENDCAP_REDIS", f"{address},password=s3cret-word")
    put_items(put, "down", [stat("a", 0, 7)])
    materialise("down")
    assert bought("down", "a")[0] == 7
    server.shutdown()
    with pytest.raises(Down, match="cannot be read") as wrong:
        bought("down", "a")
    told = str(wrong.value)
    assert address.partition(",")[0] in told and "s3cret" not in told and "python -m jobs materialise" in told
    with pytest.raises(Down, match="cannot be written"):
        materialise("down", first=DAY0)
    with pytest.raises(Down):
        asyncio.run(features.look_up_async("down", "items", [{"item_id": "a"}]))
    written = [path for path in (feature_store.folder("down")).rglob("*") if path.is_file()]
    assert not [path for path in written if b"s3cret" in path.read_bytes()]


def test_a_file_that_is_gone_is_told_and_made_again(put: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ENDCAP_REDIS", raising=False)
    put_items(put, "gone", [stat("a", 0, 7)])
    materialise("gone")
    assert bought("gone", "a")[0] == 7
    for path in feature_store.folder("gone").glob("online.db*"):
        path.unlink()
    with pytest.raises(Down, match="cannot be read"):
        bought("gone", "a")
    feature_store._open.cache_clear()  # as in another process
    materialise("gone")
    assert bought("gone", "a")[0] == 7
