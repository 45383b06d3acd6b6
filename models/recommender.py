"""What a visitor may buy next: candidates, features, scorer. One code path for training, evaluation and serving.

numpy alone; torch trains the scorer (models/training/recommender.py), which runs here as three matrix
products. Candidates are what the visitor bought, the items nearest to that by alternating least
squares (Hu 2008; the visitor's vector is folded in from the history, so a new visitor has one), and
what is popular. The scorer is mixed with decayed counts, the strong and simple answer to repeated
consumption (TIFU-KNN, 2006.00556; Li 2021); the mixing weight was chosen on validation data.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jobs.console import Problem
from jobs.events import Session
from models.bundle import Bundle

Floats = NDArray[np.float32]
Numbers = NDArray[np.float64]
Indices = NDArray[np.int64]
Stats = Mapping[str, Mapping[str, Any]]
ItemStats = Stats | Callable[[list[str]], Stats]

DAY = 86_400.0
FEATURES = (
    "in_history", "count", "decayed", "decayed_share", "decayed_rank", "days_since", "mean_age", "gap", "lateness",
    "item_lateness", "in_last_trip", "count_share", "baskets_28d", "purchases_28d", "visitor_days_since",
    "history_length", "popularity", "item_28d", "trend", "price", "item_repeats", "item_gap", "als", "als_rank",
)  # fmt: skip

SERVICE = "recommender_v1"
"""The feature service of this version of the recommender: what it reads of a visitor and of items, and nothing else."""


@dataclass(frozen=True)
class Settings:
    """What a bundle's numbers mean; saved with it. Days for times; `mix` 0 is decayed counts alone, 1 the scorer.

    An item has a vector if at least the share `crowd` of the visitors bought it. `service` names the features it reads.
    """

    kind: str = "scorer"
    half_life: float = 60.0
    similar: int = 200
    popular: int = 200
    factors: int = 16
    alpha: float = 4.0
    regularisation: float = 0.05
    mix: float = 1.0
    crowd: float = 0.0
    service: str = SERVICE


@dataclass(frozen=True)
class History:
    """What is known of a visitor: `decayed` is true at `as_of`; times are seconds since 1970, UTC."""

    items: tuple[str, ...] = ()
    times: Numbers = field(default_factory=lambda: np.zeros(0))
    counts: Numbers = field(default_factory=lambda: np.zeros(0))
    decayed: Numbers = field(default_factory=lambda: np.zeros(0))
    as_of: float = 0.0
    purchases_28d: float = 0.0
    baskets_28d: float = 0.0
    touched: Mapping[str, str] = field(default_factory=dict)
    """What else was done just now, by item: its strongest act."""

    @staticmethod
    def of(values: Mapping[str, Any], as_of: datetime | None) -> "History":
        """From the values of visitor_history and visitor_stats, as features give them; None is nothing known."""
        items = values.get("items")
        if items is None or not len(items) or as_of is None:
            return History()
        return History(
            tuple(str(item) for item in items),
            np.array([_seconds(time) for time in values["times"]]),
            np.array(values["counts"], dtype=np.float64),
            np.array(values["decayed"], dtype=np.float64),
            _seconds(as_of),
            float(values.get("purchases_28d") or 0),
            float(values.get("baskets_28d") or 0),
        )

    def with_session(self, session: Session, now: float, half_life: float) -> "History":
        """The history with what the visitor touches now, each item once, by its strongest act, as the part of a
        purchase that WORTH says. Training, evaluation and serving all enter a session here and nowhere else.

        `now` is the moment of the question; by a clock that is ahead of it (a shop's data end last night, a visitor
        clicks today) a touch happened now. A purchase that the history holds already is not counted again. As of `now`
        after it; a session that is over, or adds nothing, changes nothing.
        """
        acts: dict[str, str] = {}
        for touch in session.touches:
            if touch.at < session.started or (touch.kind == "purchase" and touch.at <= self.as_of):
                continue
            acts[touch.item_id] = max(acts.get(touch.item_id, touch.kind), touch.kind, key=WORTH.__getitem__)
        if not acts:
            return self
        newest = {touch.item_id: float(min(touch.at, now)) for touch in reversed(session.touches)}
        places = {item: n for n, item in enumerate(self.items)}
        fresh = [item for item in acts if item not in places]
        more = np.zeros(len(fresh))
        times, counts = np.concatenate([self.times, more]), np.concatenate([self.counts, more])
        decayed = np.concatenate([decayed_at(self, now, half_life), more])
        places |= {item: len(places) + n for n, item in enumerate(fresh)}
        for item, act in acts.items():
            counts[places[item]] += WORTH[act]
            decayed[places[item]] += WORTH[act]
            times[places[item]] = max(times[places[item]], newest[item])
        touched = {item: act for item, act in acts.items() if act != "purchase"}
        return replace(self, items=(*self.items, *fresh), times=times, counts=counts, decayed=decayed, as_of=now,
                       touched=touched)  # fmt: skip


WORTH: Mapping[str, float] = {"view": 0.1, "dwell": 0.1, "click": 0.2, "cart": 0.5, "purchase": 1.0}
"""How much of a purchase an act is, as a sign of what the visitor wants now. Chosen, not learnt: see decisions/0022."""
JUST_NOW: Mapping[str, str] = {
    "view": "seen just now", "dwell": "looked at just now", "click": "clicked just now",
    "cart": "put in the cart just now",
}  # fmt: skip


@dataclass(frozen=True)
class Hit:
    """An item, its score (comparable within one answer only) and why it is there."""

    item_id: str
    score: float
    why: Mapping[str, Any]


@dataclass(frozen=True)
class Items:
    """What is known of every item at one moment (seconds since 1970).

    `popularity` is decayed purchases; `repeats` purchases a buyer, `gap` days between two purchases of
    one buyer. An item whose factors are zeros has no neighbours.
    """

    ids: tuple[str, ...]
    popularity: Numbers
    purchases_28d: Numbers
    price: Numbers
    repeats: Numbers
    gap: Numbers
    factors: Floats
    as_of: float
    index: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.index:
            object.__setattr__(self, "index", {item: n for n, item in enumerate(self.ids)})
        object.__setattr__(self, "gram", (self.factors.T @ self.factors).astype(np.float64))
        object.__setattr__(self, "total", max(float(self.popularity.sum()), 1e-9))
        object.__setattr__(self, "by_popularity", np.lexsort((np.arange(len(self.ids)), -self.popularity)))

    gram: Numbers = field(init=False, repr=False)
    total: float = field(init=False, repr=False)
    by_popularity: Indices = field(init=False, repr=False)


@dataclass(frozen=True)
class Scorer:
    """Weights of a small network with ReLU between layers, and how its inputs were scaled."""

    mean: Floats
    scale: Floats
    layers: tuple[tuple[Floats, Floats], ...]

    def __call__(self, features: Floats) -> Floats:
        """One number a row; more is better."""
        values = (features - self.mean) / self.scale
        for n, (weight, bias) in enumerate(self.layers):
            values = values @ weight.T + bias
            if n < len(self.layers) - 1:
                values = np.maximum(values, 0)
        return values[:, 0]


def _seconds(time: Any) -> float:
    """Seconds since 1970 of a datetime; one without a zone is UTC."""
    stamp: datetime = time
    return (stamp if stamp.tzinfo else stamp.replace(tzinfo=UTC)).timestamp()


def confidence(counts: Numbers, alpha: float) -> Numbers:
    """How sure a purchase makes us, for alternating least squares: 1 and a bit for one, slowly more for many."""
    return 1 + alpha * np.log1p(counts)


def fold_in(known: Indices, counts: Numbers, items: Items, settings: Settings) -> Floats:
    """The visitor's vector from their counts: the same least-squares step that made the factors (Hu 2008, eq. 4)."""
    size = items.factors.shape[1]
    if not len(known):
        return np.zeros(size, np.float32)
    bought = items.factors[known].astype(np.float64)
    sure = confidence(counts, settings.alpha)
    left = items.gram + (bought.T * (sure - 1)) @ bought + settings.regularisation * np.eye(size)
    return np.linalg.solve(left, bought.T @ sure).astype(np.float32)


def top(scores: Floats | Numbers, count: int) -> Indices:
    """Indices of the `count` highest scores, best first, ties by index."""
    if count >= len(scores):
        return np.lexsort((np.arange(len(scores)), -scores))
    limit = -np.partition(-scores, count - 1)[count - 1]
    chosen = np.flatnonzero(scores >= limit)
    return chosen[np.lexsort((chosen, -scores[chosen]))][:count]


def known_items(history: History, items: Items) -> tuple[Indices, Indices]:
    """Rows of the history whose item is known, and their indices among the items."""
    pairs = [(n, items.index[item]) for n, item in enumerate(history.items) if item in items.index]
    return np.array([n for n, _ in pairs], np.int64), np.array([i for _, i in pairs], np.int64)


def decayed_at(history: History, now: float, half_life: float) -> Numbers:
    """The decayed counts as of `now` (seconds): one decay for all, since decay is exponential."""
    left: float = 0.5 ** (max(0.0, now - history.as_of) / (half_life * DAY))
    return history.decayed * left


def candidates(known: Indices, similar: Floats | None, items: Items, settings: Settings) -> Indices:
    """What is scored: the history first, then the most similar, then the popular, each once.

    Nothing speaks for an item whose similarity is not positive: for none where no item of the history has factors.
    """
    parts = [known]
    if similar is not None and len(known):
        nearest = top(similar, settings.similar)
        parts.append(nearest[similar[nearest] > 0])
    parts.append(items.by_popularity[: settings.popular])
    joined = np.concatenate(parts)
    _, first = np.unique(joined, return_index=True)
    return joined[np.sort(first)]


def features(
    history: History, rows: Indices, known: Indices, chosen: Indices, similar: Floats | None, items: Items, now: float,
    settings: Settings,
) -> Floats:  # fmt: skip
    """What the scorer sees of each chosen item, in the order of FEATURES; shape (chosen, features).

    `chosen` starts with `known`, which are the history's `rows`. Times are in days and, like counts,
    in logarithms; all are clipped to a year, so that a moment long after training stays in range.
    """
    out = np.zeros((len(chosen), len(FEATURES)), np.float32)
    put = {name: out[:, n] for n, name in enumerate(FEATURES)}
    mine = slice(0, len(known))
    if len(known):
        count, decayed = history.counts[rows], decayed_at(history, now, settings.half_life)[rows]
        since = np.clip((now - history.times[rows]) / DAY, 0, 365)
        age = np.clip(-settings.half_life * np.log2(np.maximum(decayed / count, 1e-9)), since, 365)
        gap = 2 * (age - since) / np.maximum(count - 1, 1)
        again = count > 1
        put["in_history"][mine] = 1
        put["count"][mine] = np.log1p(count)
        put["decayed"][mine] = np.log(np.maximum(decayed, 1e-3)) - np.log(1e-3)
        put["decayed_share"][mine] = decayed / max(float(decayed.sum()), 1e-9)
        put["decayed_rank"][mine] = 6 - np.log1p(np.argsort(np.lexsort((known, -decayed))))
        put["days_since"][mine] = np.log1p(since)
        put["mean_age"][mine] = np.log1p(age)
        put["gap"][mine] = np.where(again, np.log1p(gap), 0)
        put["lateness"][mine] = np.where(again, np.log1p(since) - np.log1p(gap), 0)
        put["item_lateness"][mine] = np.log1p(since) - np.log1p(items.gap[known])
        put["in_last_trip"][mine] = history.times[rows] >= history.times.max() - 3600
        put["count_share"][mine] = count / history.counts.sum()
        put["visitor_days_since"][:] = np.log1p(np.clip((now - history.times.max()) / DAY, 0, 365))
    put["baskets_28d"][:] = np.log1p(history.baskets_28d)
    put["purchases_28d"][:] = np.log1p(history.purchases_28d)
    put["history_length"][:] = len(history.items) / 200
    put["popularity"][:] = np.log(items.popularity[chosen] / items.total + 1e-6)
    put["item_28d"][:] = np.log1p(items.purchases_28d[chosen])
    put["trend"][:] = np.log1p(items.purchases_28d[chosen]) - np.log1p(items.popularity[chosen])
    put["price"][:] = np.log1p(np.clip(np.nan_to_num(items.price[chosen]), 0, None))
    put["item_repeats"][:] = np.log(items.repeats[chosen])
    put["item_gap"][:] = np.log1p(items.gap[chosen])
    if similar is not None:
        put["als"][:] = similar[chosen]
        put["als_rank"][:] = -np.log1p(np.argsort(np.lexsort((chosen, -similar[chosen]))))
    return out


def _standard(values: NDArray[Any]) -> Numbers:
    spread = float(values.std())
    return (values.astype(np.float64) - float(values.mean())) / (spread if spread > 0 else 1.0)


def counted(chosen: Indices, decayed: Numbers, items: Items) -> Numbers:
    """Decayed counts with popularity as the fill: a bought item is above every other, ties by popularity.

    `decayed` belongs to the first of `chosen`. Popularity enters as a fraction below the least count.
    """
    least = float(decayed.min()) if len(decayed) else 1.0
    fill = items.popularity[chosen] / (float(items.popularity.max()) + 1e-9) * least * 1e-3
    fill[: len(decayed)] += decayed
    return fill


def mixed(scores: Floats | None, counts: Numbers, mix: float) -> Numbers:
    """The scorer's and the counts' opinions on one scale, `mix` parts of the first; the counts as logarithms."""
    if scores is None or mix == 0:
        return counts
    if mix == 1:
        return scores.astype(np.float64)
    return mix * _standard(scores) + (1 - mix) * _standard(np.log(counts + 1e-6 * float(counts.max()) + 1e-30))


@dataclass(frozen=True)
class Recommender:
    """A bundle, ready to answer. `open` it once, `recommend` from any thread."""

    items: Items
    settings: Settings
    scorer: Scorer | None = None
    own_statistics: bool = False
    """Answer from the bundle's items alone: those of a private bundle are noisy, and fresher ones are not."""

    @staticmethod
    def open(bundle: Bundle) -> "Recommender":
        """Read a bundle's arrays; never a pickle."""
        if bundle.settings.get("kind") not in ("scorer", "counts"):
            raise Problem(f"bundle {bundle.shop}.{bundle.name} {bundle.version} is no recommender",
                          where=str(bundle.folder))  # fmt: skip
        settings = Settings(**{k: v for k, v in bundle.settings.items() if k in Settings.__dataclass_fields__})
        if settings.service != SERVICE:
            raise Problem(
                f"bundle {bundle.shop}.{bundle.name} {bundle.version} reads the features '{settings.service}'",
                where=str(bundle.folder),
                do=f"serve it with the code that made it: this code reads '{SERVICE}'",
            )
        scorer = read_scorer(bundle) if settings.kind == "scorer" else None
        return Recommender(read_items(bundle), settings, scorer, own_statistics="privacy" in bundle.settings)

    def recommend(self, history: History, now: datetime, k: int = 10, item_stats: ItemStats | None = None) -> list[Hit]:
        """The `k` best items for a visitor with this history, best first, each with its reason.

        `item_stats` are fresher values of item_stats by item id (or a function of the ids); what it
        lacks is taken as it was when the bundle was made; a private bundle takes none. A visitor without history gets
        what is popular.
        """
        moment = _seconds(now)
        rows, known = known_items(history, self.items)
        similar = self._similar(history, rows, known)
        chosen = candidates(known, similar, self.items, self.settings)
        items = self._fresh(chosen, item_stats, moment)
        scores = self.scores(history, moment, rows, known, chosen, similar, items)
        best = top(scores, k)
        return [self._hit(history, moment, rows, known, chosen, similar, int(n), float(scores[n])) for n in best]

    def ranking(self, history: History, now: float, similar: Floats | None, k: int) -> list[str]:
        """As `recommend`, for evaluation: ids alone, with the similarities already computed for many visitors."""
        rows, known = known_items(history, self.items)
        chosen = candidates(known, similar, self.items, self.settings)
        best = top(self.scores(history, now, rows, known, chosen, similar, self.items), k)
        return [self.items.ids[i] for i in chosen[best]]

    def scores(
        self, history: History, now: float, rows: Indices, known: Indices, chosen: Indices, similar: Floats | None,
        items: Items,
    ) -> Numbers:  # fmt: skip
        """One score for each chosen item."""
        counts = counted(chosen, decayed_at(history, now, self.settings.half_life)[rows], items)
        if self.scorer is None or self.settings.mix == 0:
            return counts
        seen = features(history, rows, known, chosen, similar, items, now, self.settings)
        return mixed(self.scorer(seen), counts, self.settings.mix)

    def similarities(self, histories: Sequence[History]) -> Floats | None:
        """Scores of all items for many visitors at once, shape (visitors, items); None without factors."""
        if not self.items.factors.shape[1]:
            return None
        vectors = []
        for history in histories:
            rows, known = known_items(history, self.items)
            vectors.append(fold_in(known, history.counts[rows], self.items, self.settings))
        return np.array(vectors, np.float32) @ self.items.factors.T

    def _similar(self, history: History, rows: Indices, known: Indices) -> Floats | None:
        if not self.items.factors.shape[1]:
            return None
        vector = fold_in(known, history.counts[rows], self.items, self.settings)
        scores: Floats = self.items.factors @ vector
        return scores

    def _fresh(self, chosen: Indices, given: ItemStats | None, now: float) -> Items:
        """The items with fresher statistics where they are given; decayed to the moment of the rest."""
        if not given or self.own_statistics:
            return self.items
        ids = [self.items.ids[i] for i in chosen]
        stats = given(ids) if callable(given) else given
        fresh = {name: getattr(self.items, name).copy() for name in ("popularity", "purchases_28d", "price")}
        for index, item in zip(chosen, ids, strict=True):
            values = stats.get(item) or {}
            if values.get("purchases_decayed") is not None:
                at = values.get("event_time")
                back = (_seconds(at) if at is not None else now) - self.items.as_of
                fresh["popularity"][index] = values["purchases_decayed"] * 0.5 ** (
                    back / -(self.settings.half_life * DAY)
                )
            for name in ("purchases_28d", "price"):
                if values.get(name) is not None:
                    fresh[name][index] = values[name]
        return _replace_statistics(self.items, fresh)

    def _hit(
        self, history: History, now: float, rows: Indices, known: Indices, chosen: Indices, similar: Floats | None,
        n: int, score: float,
    ) -> Hit:  # fmt: skip
        item = self.items.ids[chosen[n]]
        if n < len(known) and item in history.touched:
            return Hit(item, score, {"source": "session", "worth": WORTH[history.touched[item]],
                                     "says": JUST_NOW[history.touched[item]]})  # fmt: skip
        if n < len(known):
            row = int(rows[n])
            count, days = int(history.counts[row]), max(0.0, (now - float(history.times[row])) / DAY)
            times = "once" if count == 1 else f"{count} times"
            return Hit(item, score, {"source": "history", "bought": count, "days_since": round(days, 1),
                                     "says": f"bought {times}, last {days:.0f} days ago"})  # fmt: skip
        if similar is not None and len(known) and chosen[n] not in self.items.by_popularity[: self.settings.popular]:
            return Hit(item, score, {"source": "similar", "similarity": round(float(similar[chosen[n]]), 4),
                                     "says": "bought by visitors with a similar history"})  # fmt: skip
        return Hit(item, score, {"source": "popular", "says": "popular in this shop"})


def _replace_statistics(items: Items, values: Mapping[str, Numbers]) -> Items:
    """The same items with other statistics; the derived arrays are kept, since one answer changes few values."""
    fresh = object.__new__(Items)
    fresh.__dict__.update(items.__dict__)
    fresh.__dict__.update(values)
    return fresh


def read_items(bundle: Bundle) -> Items:
    """The items of a bundle, from items.parquet and factors.npy."""
    import pyarrow.parquet as pq

    table = pq.read_table(bundle.file("items.parquet"))
    numbers = {name: table[name].to_numpy().astype(np.float64) for name in
               ("popularity", "purchases_28d", "price", "repeats", "gap")}  # fmt: skip
    return Items(ids=tuple(table["item_id"].to_pylist()), as_of=float(bundle.settings["as_of"]), **numbers,
                 factors=np.load(bundle.file("factors.npy"), allow_pickle=False))  # fmt: skip


def write_items(items: Items, folder: Any) -> None:
    """What `read_items` reads."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = ("popularity", "purchases_28d", "price", "repeats", "gap")
    columns = {"item_id": pa.array(items.ids, pa.string())} | {name: pa.array(getattr(items, name)) for name in names}
    pq.write_table(pa.table(columns), folder / "items.parquet")
    np.save(folder / "factors.npy", items.factors, allow_pickle=False)


def read_scorer(bundle: Bundle) -> Scorer:
    """The scorer's weights, from scorer.safetensors."""
    from safetensors.numpy import load_file

    values = load_file(bundle.file("scorer.safetensors"))
    depth = len([name for name in values if name.startswith("weight")])
    return Scorer(
        values["mean"], values["scale"], tuple((values[f"weight{n}"], values[f"bias{n}"]) for n in range(depth))
    )


def write_scorer(scorer: Scorer, folder: Any) -> None:
    """What `read_scorer` reads."""
    from safetensors.numpy import save_file

    values = {"mean": scorer.mean, "scale": scorer.scale}
    for n, (weight, bias) in enumerate(scorer.layers):
        values |= {f"weight{n}": weight, f"bias{n}": bias}
    save_file({name: np.ascontiguousarray(value, np.float32) for name, value in values.items()},
              folder / "scorer.safetensors")  # fmt: skip


def with_mix(settings: Settings, mix: float) -> Settings:
    """The same settings with another weight of the scorer."""
    return replace(settings, mix=mix)
