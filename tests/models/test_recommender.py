"""Candidates, features and answers, on a shop of a few items that a person can follow."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jobs.console import Problem
from jobs.events import Session, Touch, fold
from models.bundle import building, keep, seal
from models.recommender import (
    FEATURES,
    SERVICE,
    History,
    Items,
    Recommender,
    Scorer,
    Settings,
    candidates,
    confidence,
    counted,
    features,
    fold_in,
    known_items,
    mixed,
    read_scorer,
    top,
    write_items,
    write_scorer,
)

NOW = datetime(2024, 3, 1, tzinfo=UTC)
DAY = 86_400.0


def shop(factors: int = 2) -> Items:
    """a, b are bought together, c, d too; popularity falls from a to e."""
    vectors = np.array([[1, 0], [1, 0.1], [0, 1], [0.1, 1], [0, 0]], np.float32)[:, :factors]
    return Items(tuple("abcde"), np.array([50.0, 40, 30, 20, 10]), np.arange(5.0), np.full(5, 2.0), np.full(5, 1.5),
                 np.full(5, 14.0), vectors, NOW.timestamp())  # fmt: skip


def history(*bought: tuple[str, float, float]) -> History:
    """From (item, days ago, count); decayed as if all were bought on that day."""
    ids, days, counts = zip(*bought, strict=True) if bought else ((), (), ())
    ago, count = np.array(days, float), np.array(counts, float)
    return History(ids, NOW.timestamp() - ago * DAY, count, count * 0.5 ** (ago / 60), NOW.timestamp(), 4, 2)


def answer(recommender: Recommender, past: History, k: int = 5, **more: Any) -> list[str]:
    return [hit.item_id for hit in recommender.recommend(past, NOW, k, **more)]


def scorer(**weights: float) -> Scorer:
    """A single layer with these weights."""
    row = np.zeros((1, len(FEATURES)), np.float32)
    for name, value in weights.items():
        row[0, FEATURES.index(name)] = value
    return Scorer(
        np.zeros(len(FEATURES), np.float32), np.ones(len(FEATURES), np.float32), ((row, np.zeros(1, np.float32)),)
    )


COUNTS = Settings(kind="counts", similar=0, factors=0, mix=0.0)


def test_counts_first_then_what_is_popular() -> None:
    # d: 2 bought 60 days ago are 1 now; e: 3 bought 120 days ago are 0.75 now.
    champion = Recommender(shop(0), COUNTS)
    assert answer(champion, history(("e", 120, 3), ("d", 60, 2))) == ["d", "e", "a", "b", "c"]


def test_ties_of_counts_are_broken_by_popularity() -> None:
    assert answer(Recommender(shop(0), COUNTS), history(("e", 1, 1), ("c", 1, 1)), 3) == ["c", "e", "a"]


def test_a_new_visitor_gets_what_is_popular_from_any_recommender() -> None:
    for recommender in (Recommender(shop(0), COUNTS), Recommender(shop(), Settings(), scorer(popularity=1.0))):
        assert answer(recommender, History()) == list("abcde")


def test_an_item_the_bundle_does_not_know_is_left_out_and_breaks_nothing() -> None:
    past = history(("new", 0, 9), ("d", 1, 1))
    assert answer(Recommender(shop(), Settings(), scorer(in_history=1, popularity=0.1)), past)[0] == "d"
    rows, known = known_items(past, shop())
    assert rows.tolist() == [1] and known.tolist() == [3]


def test_an_item_that_nothing_speaks_for_is_not_similar() -> None:
    opened = Recommender(shop(), Settings(similar=3, popular=1))
    of_e, of_a = history(("e", 1, 2)), history(("a", 1, 2))  # e was bought by too few to have factors
    assert answer(opened, of_e) == ["e", "a"]
    assert answer(opened, of_a) == ["a", "b", "d"]
    assert [hit.why["source"] for hit in opened.recommend(of_a, NOW, 5)] == ["history", "similar", "similar"]


def test_candidates_stand_once_each_with_the_history_first() -> None:
    chosen = candidates(np.array([3, 0]), np.array([0, 5, 0, 9, 4], np.float32), shop(), Settings(similar=2, popular=2))
    assert chosen.tolist() == [3, 0, 1]


def test_the_folded_vector_solves_the_least_squares_of_als() -> None:
    # Hu 2008 eq. 4 with all items written out: (Y' C Y + λI) x = Y' C p
    items, settings = shop(), Settings(alpha=2.0, regularisation=0.1)
    counts = np.array([3.0, 1.0])
    sure = np.ones(5)
    sure[[0, 2]] = confidence(counts, 2.0)
    wanted = np.array([1, 0, 1, 0, 0.0])
    y = items.factors.astype(float)
    expected = np.linalg.solve(y.T @ np.diag(sure) @ y + 0.1 * np.eye(2), y.T @ (sure * wanted))
    assert fold_in(np.array([0, 2]), counts, items, settings) == pytest.approx(expected, abs=1e-5)


def test_who_bought_a_is_near_to_b() -> None:
    assert answer(Recommender(shop(), Settings(), scorer(als=1.0, in_history=-9)), history(("a", 1, 1)), 1) == ["b"]


def test_features_by_hand() -> None:
    # a bought 3 times, the last 10 days ago; its decayed count says the mean age is 20 days: gap 2*(20-10)/2 = 10.
    past = History(("a",), np.array([NOW.timestamp() - 10 * DAY]), np.array([3.0]), np.array([3 * 0.5 ** (20 / 60)]),
                   NOW.timestamp(), 6, 2)  # fmt: skip
    rows, known = known_items(past, shop())
    seen = features(past, rows, known, np.array([0, 4]), None, shop(), NOW.timestamp(), Settings())
    first, second = (dict(zip(FEATURES, row.tolist(), strict=True)) for row in seen)
    assert first["count"] == pytest.approx(np.log(4))
    assert first["days_since"] == pytest.approx(np.log(11)) == first["gap"]
    assert first["mean_age"] == pytest.approx(np.log(21), rel=1e-4)
    assert first["lateness"] == pytest.approx(0, abs=1e-4)
    assert first["in_history"] == first["in_last_trip"] == first["decayed_share"] == 1
    assert second["in_history"] == second["count"] == second["days_since"] == 0
    assert second["popularity"] == pytest.approx(np.log(10 / 150), abs=1e-4)
    assert first["baskets_28d"] == second["baskets_28d"] == pytest.approx(np.log(3))


def test_features_are_finite_years_later_and_with_times_in_the_future() -> None:
    for days in (-30, 0, 4000):
        past = history(("a", 1, 1), ("b", 40, 7))
        rows, known = known_items(past, shop())
        moment = NOW.timestamp() + days * DAY
        assert np.isfinite(
            features(past, rows, known, np.arange(5), np.ones(5, np.float32), shop(), moment, Settings())
        ).all()


def test_the_order_of_counts_does_not_depend_on_when_it_is_asked() -> None:
    champion, past = Recommender(shop(0), COUNTS), history(("e", 100, 5), ("d", 3, 2))
    later = [hit.item_id for hit in champion.recommend(past, NOW + timedelta(days=900), 5)]
    assert later == answer(champion, past)


def test_fresh_statistics_change_popularity_but_not_the_bundle() -> None:
    items = shop(0)
    fresh = {"e": {"purchases_decayed": 500.0, "event_time": NOW}}
    recommender = Recommender(items, COUNTS)
    assert answer(recommender, History(), item_stats=fresh)[0] == "e"
    assert answer(recommender, History(), item_stats=lambda ids: {i: fresh[i] for i in ids if i in fresh})[0] == "e"
    assert answer(recommender, History(), item_stats={"e": {"purchases_decayed": None}}) == list("abcde")
    assert items.popularity[4] == 10 and answer(recommender, History())[0] == "a"


def test_every_hit_says_why() -> None:
    hits = Recommender(shop(), Settings(popular=1), scorer(in_history=5, als=1)).recommend(history(("d", 3, 2)), NOW, 3)
    assert [hit.why["source"] for hit in hits] == ["history", "similar", "similar"]
    assert hits[0].why["says"] == "bought 2 times, last 3 days ago"


def test_the_mix_goes_from_counts_to_scorer() -> None:
    scores, counts = np.array([0.0, 1.0], np.float32), np.array([5.0, 1.0])
    assert np.argmax(mixed(scores, counts, 0)) == 0 and np.argmax(mixed(scores, counts, 1)) == 1
    assert np.argmax(mixed(scores, counts, 0.1)) == 0 and np.argmax(mixed(scores, counts, 0.9)) == 1


def test_the_fill_is_below_every_count() -> None:
    found = counted(np.array([4, 0, 1]), np.array([1e-6]), shop())
    assert found[0] > found[1] > found[2] > 0


def test_top_is_sorted_with_ties_by_index() -> None:
    assert top(np.array([1.0, 3, 3, 2]), 3).tolist() == [1, 2, 3]
    assert top(np.array([1.0, 1, 1]), 2).tolist() == [0, 1]
    assert top(np.array([1.0, 2]), 9).tolist() == [1, 0]


def test_a_bundle_comes_back_as_it_was_and_torch_agrees(home: Path) -> None:
    torch = pytest.importorskip("torch")
    from models.training.recommender import as_scorer, network

    torch.manual_seed(0)
    net = network(len(FEATURES))
    mean, scale = np.full(len(FEATURES), 0.5, np.float32), np.full(len(FEATURES), 2, np.float32)
    made = as_scorer(net, mean, scale)
    with building("shop", "recommend") as folder:
        write_items(shop(), folder)
        write_scorer(made, folder)
        settings = {"kind": "scorer", "as_of": NOW.timestamp(), "mix": 0.5, "similar": 3, "popular": 2, "factors": 2}
        seal(folder, shop="shop", name="recommend", kind="recommender", settings=settings)
    bundle = keep(folder, 1)
    x = np.random.default_rng(0).normal(size=(7, len(FEATURES))).astype(np.float32)
    theirs = net(torch.from_numpy((x - mean) / scale)).detach().numpy()[:, 0]
    assert read_scorer(bundle)(x) == pytest.approx(theirs, abs=1e-5)
    past = history(("a", 3, 2), ("d", 9, 1))
    opened, direct = Recommender.open(bundle), Recommender(shop(), Recommender.open(bundle).settings, made)
    assert opened.recommend(past, NOW, 5) == direct.recommend(past, NOW, 5)
    # offline ranking and online answer are the same
    similar = opened.similarities([past])
    assert similar is not None
    assert opened.ranking(past, NOW.timestamp(), similar[0], 5) == answer(opened, past)


class Read(dict[str, Any]):
    """Values that note which of them were asked for."""

    def __init__(self, values: dict[str, Any]) -> None:
        super().__init__(values)
        self.names: set[str] = set()

    def get(self, name: str, default: Any = None) -> Any:
        self.names.add(name)
        return super().get(name, default)

    def __getitem__(self, name: str) -> Any:
        self.names.add(name)
        return super().__getitem__(name)


def test_it_reads_the_features_of_its_service_and_no_others() -> None:
    from jobs.feature_store import MODELS

    views = MODELS[SERVICE]
    known = Read({"items": ["a"], "times": [NOW], "counts": [1], "decayed": [1.0], "purchases_28d": 2, "baskets_28d": 1,
                  "spend_28d": 9.0, "searches_28d": 3})  # fmt: skip
    past = History.of(known, NOW)
    assert known.names == {*views["visitor_history"], *views["visitor_stats"]}
    of_item = Read({"event_time": NOW, "purchases_28d": 1, "purchases_decayed": 1.0, "price": 2.0, "rating": 5.0})
    Recommender(shop(), COUNTS).recommend(past, NOW, 5, {"e": of_item})
    assert of_item.names - {"event_time"} == set(views["item_stats"])


def test_a_bundle_that_reads_other_features_is_not_opened(home: Path) -> None:
    with building("shop", "recommend") as folder:
        write_items(shop(), folder)
        settings = {"kind": "counts", "as_of": NOW.timestamp(), "service": "recommender_v9"}
        seal(folder, shop="shop", name="recommend", kind="recommender", settings=settings)
    with pytest.raises(Problem, match="reads the features 'recommender_v9'"):
        Recommender.open(keep(folder, 1))


def test_serving_needs_no_torch() -> None:
    import subprocess
    import sys

    heavy = "{'torch', 'mlflow', 'pyspark'}"
    code = f"import sys, models.recommender, models.promotions; assert not {heavy} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# ---- what is done now -----------------------------------------------------------------------------


def visit(*touches: tuple[str, str, float]) -> Session:
    """From (item, act, minutes before now)."""
    return fold(Session(), [Touch(int(NOW.timestamp() - 60 * ago), item, act) for item, act, ago in touches])


def entered(past: History, session: Session) -> History:
    return past.with_session(session, NOW.timestamp(), 60.0)


def test_a_session_enters_a_history_by_its_strongest_act() -> None:
    past = entered(
        history(("a", 10, 2)), visit(("e", "view", 9), ("e", "cart", 5), ("e", "view", 1), ("a", "click", 2))
    )
    assert past.items == ("a", "e") and past.counts.tolist() == [2.2, 0.5]
    assert past.decayed.tolist() == [2 * 0.5 ** (10 / 60) + 0.2, 0.5]
    assert past.times.tolist() == [NOW.timestamp() - 120, NOW.timestamp() - 60]
    assert dict(past.touched) == {"e": "cart", "a": "click"}


def test_a_session_that_is_over_or_empty_or_known_changes_nothing() -> None:
    past = history(("a", 10, 2))
    assert entered(past, Session()) is past
    assert entered(past, visit(("e", "purchase", 5))) is past  # bought before the history's own end: it has it
    both = entered(History(), visit(("d", "cart", 50), ("e", "cart", 5)))
    assert both.items == ("e",)  # d was before a gap of 45 minutes


def test_a_clock_ahead_of_the_data_touches_now_and_a_purchase_counts_until_the_night_counts_it() -> None:
    past = history(("a", 10, 2))
    tomorrow = fold(Session(), [Touch(int(NOW.timestamp()) + 50_000, "e", "purchase")])
    after = entered(past, tomorrow)
    assert after.counts.tolist() == [2, 1] and after.times[1] == NOW.timestamp() and not after.touched


def test_a_touched_item_is_recommended_with_its_reason_and_draws_what_is_like_it() -> None:
    recommender = Recommender(shop(), Settings(kind="counts", mix=0.0, similar=2, popular=5))
    past = entered(History(), visit(("d", "click", 1)))
    hits = recommender.recommend(past, NOW, 5)
    assert hits[0].item_id == "d" and hits[0].why["says"] == "clicked just now" and hits[0].why["source"] == "session"
    assert answer(recommender, History())[0] == "a"


def test_training_and_serving_enter_the_same_session_alike() -> None:
    """One visitor as a row of examples, and as look-ups tell of them."""
    import pyarrow as pa

    from jobs.features import session_of
    from jobs.tables import table
    from jobs.warehouse import arrow_schema
    from models.training.recommender import TRAINED, _questions

    at = [NOW - timedelta(days=9), NOW - timedelta(days=12)]
    touched = {"session_items": ["e", "a"], "session_kinds": ["cart", "view"],
               "session_times": [NOW - timedelta(minutes=3), NOW - timedelta(minutes=20)]}  # fmt: skip
    known = {"items": ["a", "b"], "times": at, "counts": [2, 1], "decayed": [1.5, 0.8]}
    numbers = {"purchases_28d": 3, "baskets_28d": 2}
    row = {"visitor": "v", "event_time": NOW, "split": "train", "history_time": NOW - timedelta(days=1), **touched,
           **{f"history_{name}": value for name, value in known.items()}, **numbers,
           "next_basket": ["a"], "next_28d": ["a"]}  # fmt: skip
    rows = pa.Table.from_pylist([row], schema=arrow_schema(table("examples", "recommender")))
    (question,) = _questions(rows.combine_chunks())
    served = History.of({**known, **numbers}, NOW - timedelta(days=1))
    served = served.with_session(session_of(touched), NOW.timestamp(), TRAINED.half_life)
    learnt = question.history
    assert learnt.items == served.items == ("a", "b", "e")
    for name in ("times", "counts", "decayed"):
        assert getattr(learnt, name).tolist() == getattr(served, name).tolist()
    assert (learnt.as_of, learnt.touched, learnt.purchases_28d) == (served.as_of, served.touched, served.purchases_28d)
