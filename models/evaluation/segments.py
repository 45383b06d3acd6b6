"""Segments: parts of the test in which a candidate may not be worse than the champion, though it is better on average.

What they are is declared here as data. A segment is judged if it holds enough queries or visitors; of a smaller one
the report says how many, and no figures: they would tell of few, and to few. Whether a candidate is worse in one by
more than its margin is tested by flipped signs, and p is corrected over all segments that are judged (Holm 1979): of
thirty segments one looks bad by luck alone. A protected group (what safe/visitors tells of a person, as generalised)
has half the margin: fairness is that no group pays for the others' gain.

Groups are told by what was known before the question, or by the truth, never by what a system answered.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from jobs.events import normalised
from jobs.tables import table
from jobs.warehouse import warehouse
from models.evaluation.comparing import LEVEL, POWER, finite
from models.recommender import DAY, Items
from models.retrieval.lexical import HAN
from models.statistics import detectable, holm, paired_bootstrap, surely_worse

if TYPE_CHECKING:
    import pyarrow as pa

    from models.retrieval.indexing import Catalogue
    from models.training.recommender import Question

LEAST = 30  # clusters of a segment that is judged
MARGIN = 0.02  # of the primary metric
DRAWS = 4_000  # of a segment: p goes down to 1 in 4,001, so that corrected over a hundred segments it still decides
NEW = 28.0  # days
LATELY = 84  # days in which a visitor's channel is looked for, as habits are
UNTOLD = frozenset({"*", "unknown", ""})
"""Values of safe/visitors that say nothing of a person: suppressed for all, or never known."""

Groups = Mapping[str, Sequence[str | None]]
"""Kind -> the group of each query or visitor, in their order; None for one that is in no group."""


@dataclass(frozen=True)
class Kind:
    """A way to part the test. `margin` is how much worse a group may be, in units of the primary metric."""

    name: str
    doc: str
    order: tuple[str, ...] = ()
    margin: float = MARGIN
    protected: bool = False


KINDS: tuple[Kind, ...] = (
    Kind("language", "of a query, as its searches say, else by its script; of a visitor, of most of their searches",
         ("en", "zh", "other")),
    Kind("frequency", "of a query: the most frequent, a third of all searches together; the next third; the rest",
         ("head", "torso", "tail")),
    Kind("visitor", "new: nothing known of before the last 28 days; else returning", ("new", "returning")),
    Kind("category", "department (else category) of a query's answers, by grade; of what a visitor bought most"),
    Kind("price", "thirds of the test, by the mean price of a query's answers, or of what a visitor bought",
         ("low", "middle", "high")),
    Kind("channel", "where most searches of a query came from; where a visitor did most in the 84 days before"),
    *(Kind(column.name, column.doc, margin=MARGIN / 2, protected=True)
      for column in table("safe", "visitors").columns if column.personal == "quasi"),
)  # fmt: skip


# --- The judgement: pure ---


def judged(
    groups: Groups,
    candidate: Sequence[float],
    champion: Sequence[float],
    *,
    clusters: Sequence[Any] | None = None,
    least: int = LEAST,
    level: float = LEVEL,
) -> list[dict[str, Any]]:
    """Every segment, in the order of KINDS: its size, means, paired difference, and whether it is surely worse.

    `candidate` and `champion` are the primary metric of each query or visitor; `clusters` one label each. `p_worse` is
    the one-sided p of "not worse by more than the margin", `p_holm` the same corrected over all segments that are
    judged. `detectable` is the difference that the segment would have shown. A kind of one group is no segment: the
    whole test is judged already.
    """
    ours, theirs = np.asarray(candidate, np.float64), np.asarray(champion, np.float64)
    labels = np.arange(len(ours)) if clusters is None else np.unique(np.asarray(clusters), return_inverse=True)[1]
    found = []
    for kind in KINDS:
        given = groups.get(kind.name, ())
        for name in names(kind, given):
            inside = np.array([group == name for group in given], bool)
            found.append(_segment(kind, name, ours[inside], theirs[inside], labels[inside], least, level))
    told = [segment for segment in found if not segment["small"]]
    for segment, p in zip(told, holm([segment["p_worse"] for segment in told]), strict=True):
        segment["p_holm"] = p
    return found


def names(kind: Kind, groups: Iterable[str | None]) -> list[str]:
    """The groups of a kind, in its order and then by name; none where all are in one."""
    there = {group for group in groups if group is not None}
    place = {name: n for n, name in enumerate(kind.order)}
    return sorted(there, key=lambda name: (place.get(name, len(place)), name)) if len(there) > 1 else []


def missing(groups: Groups) -> dict[str, str]:
    """The kinds of which this test has no segments, each with the reason: a report says what it did not look at."""
    return {
        kind.name: "not told of what this test asks" if kind.name not in groups
        else "told of none" if not any(groups[kind.name]) else "the same for all of whom it is told"
        for kind in KINDS if not names(kind, groups.get(kind.name, ()))
    }  # fmt: skip


def _segment(kind: Kind, name: str, ours: Any, theirs: Any, clusters: Any, least: int, level: float) -> dict[str, Any]:
    count = len(np.unique(clusters))
    found: dict[str, Any] = {
        "kind": kind.name, "name": name, "n": len(ours), "clusters": count, "protected": kind.protected,
        "margin": kind.margin, "small": count < least,
    }  # fmt: skip
    if found["small"]:
        return found
    told = paired_bootstrap(ours, theirs, level=level, draws=DRAWS, clusters=clusters)
    p = surely_worse(ours, theirs, kind.margin, draws=DRAWS, clusters=clusters)
    return found | {
        "candidate": float(ours.mean()), "champion": float(theirs.mean()), "mean": told.mean, "low": told.low,
        "high": told.high, "p_worse": p, "p_holm": p,
        "detectable": finite(detectable(ours, theirs, level=level, power=POWER, clusters=clusters)),
    }  # fmt: skip


# --- The groups: pure ---


def thirds(values: Sequence[float | None]) -> list[str | None]:
    """The lower, the middle and the upper third of the values that are known; equal values are in one.

    >>> thirds([5.0, 1.0, None, 3.0])
    ['high', 'low', None, 'middle']
    """
    known = [value for value in values if value is not None]
    if not known:
        return [None] * len(values)
    first, second = np.quantile(known, [1 / 3, 2 / 3])
    return [None if value is None else "low" if value <= first else "middle" if value <= second else "high"
            for value in values]  # fmt: skip


def frequencies(asked: Sequence[str], counts: Mapping[str, int]) -> list[str | None]:
    """Head, torso or tail of each query, by how often each query of the log was made; None without a log.

    The most frequent queries that together make up a third of all searches are the head; queries as frequent as its
    last belong to it, too. What nobody made is tail.

    >>> frequencies(["tv", "hat", "owl", "new"], {"tv": 5, "hat": 4, "owl": 1, "fox": 1})
    ['head', 'torso', 'tail', 'tail']
    """
    if not counts:
        return [None] * len(asked)
    ordered = sorted(counts.values(), reverse=True)
    running, total = np.cumsum(ordered), sum(ordered)
    head, torso = (ordered[int(np.searchsorted(running, total * part))] for part in (1 / 3, 2 / 3))
    return ["head" if n >= head else "torso" if n >= torso else "tail" for n in (counts.get(one, 0) for one in asked)]


def most(votes: Iterable[tuple[Any, str | None, float]]) -> dict[Any, str]:
    """Of (who, what, weight) the heaviest `what` of each; equals by name. None is no vote.

    >>> most([("v1", "web", 2), ("v1", "app", 1), ("v1", None, 9), ("v2", "b", 1), ("v2", "a", 1)])
    {'v1': 'web', 'v2': 'a'}
    """
    sums: dict[Any, Counter[str]] = {}
    for who, what, weight in votes:
        if what is not None:
            sums.setdefault(who, Counter())[what] += weight  # type: ignore[assignment]
    return {who: min(of, key=lambda what: (-of[what], what)) for who, of in sums.items()}


def _mean(values: Iterable[tuple[float, float]]) -> float | None:
    """The weighted mean of (value, weight), of those whose value is known and above 0."""
    known = [(value, weight) for value, weight in values if value > 0]
    weights = sum(weight for _, weight in known)
    return sum(value * weight for value, weight in known) / weights if weights else None


# --- The groups: from a shop's tables ---


def shelves(items: "pa.Table") -> dict[str, tuple[str | None, str | None]]:
    """(department, category) of each item by id."""
    columns = (items[name].to_pylist() for name in ("item_id", "department", "category"))
    return {item: (floor, shelf) for item, floor, shelf in zip(*columns, strict=True)}


def searches(shop: str, before: datetime | None = None) -> "pa.Table":
    """How often each (visitor, query, language, channel) was searched for, before a moment if one is given."""
    import pyarrow.compute as pc

    columns = ["visitor", "query", "language", "channel", "event_time"]
    rows = warehouse(shop).read("safe", "searches", columns=columns)
    if before is not None:
        rows = rows.filter(pc.field("event_time") < before)
    return rows.group_by(columns[:4]).aggregate([([], "count_all")])


def of_queries(shop: str, of: "Catalogue", asked: Mapping[str, Mapping[int, float]]) -> dict[str, list[str | None]]:
    """The groups of judged queries, which are nobody's: there is no visitor, and no protected group, to tell."""
    log = searches(shop).to_pylist()
    keys = [normalised(query) for query in asked]
    made = [(normalised(row["query"] or ""), row) for row in log]
    counts: Counter[str] = Counter()
    for query, row in made:
        counts[query] += row["count_all"]
    language = most((query, row["language"], row["count_all"]) for query, row in made)
    channel = most((query, row["channel"], row["count_all"]) for query, row in made)
    floors, prices = _by_text(of)
    good = [[(row, grade) for row, grade in judged.items() if grade > 0] for judged in asked.values()]
    shelf = most((n, floors.get(row), grade) for n, rows in enumerate(good) for row, grade in rows)
    return {
        "language": [language.get(key) or ("zh" if HAN.search(key) else "other") for key in keys],
        "frequency": frequencies(keys, counts),
        "category": [shelf.get(n) for n in range(len(keys))],
        "price": thirds([_mean((prices.get(row, 0.0), grade) for row, grade in rows) for rows in good]),
        "channel": [channel.get(key) for key in keys],
    }


def _by_text(of: "Catalogue") -> tuple[dict[int, str | None], dict[int, float]]:
    """Department (else category) and price of each distinct text: those of the first item that bears it."""
    floors: dict[int, str | None] = {}
    prices: dict[int, float] = {}
    places = shelves(of.items)
    for item, row, price in zip(of.item_ids, of.text_row.tolist(), of.items["price"].to_pylist(), strict=True):
        floors.setdefault(row, next((name for name in places[item] if name), None))
        prices.setdefault(row, float(price or 0))
    return floors, prices


def of_visitors(
    shop: str, questions: Sequence["Question"], items: Items, told: Mapping[str, Sequence[str | None]]
) -> dict[str, list[str | None]]:
    """The groups of visitors, by what was known of them at the moment of the question; `told` are protected ones."""
    moment = datetime.fromtimestamp(min(question.now for question in questions), UTC)
    log = searches(shop, moment).to_pylist()
    language = most((row["visitor"], row["language"], row["count_all"]) for row in log)
    channel = most(_channels(shop, moment))
    places = shelves(warehouse(shop).read("safe", "items", columns=["item_id", "department", "category"]))
    floor = {item: next((name for name in place if name), None) for item, place in places.items()}
    price = dict(zip(items.ids, items.price.tolist(), strict=True))
    histories = [question.history for question in questions]
    bought = [list(zip(history.items, history.counts.tolist(), strict=True)) for history in histories]
    shelf = most((n, floor.get(item), count) for n, each in enumerate(bought) for item, count in each)
    return {
        "language": [language.get(question.visitor) for question in questions],
        "visitor": ["returning" if (question.now - question.history.times > NEW * DAY).any() else "new"
                    for question in questions],
        "category": [shelf.get(n) for n in range(len(questions))],
        "price": thirds([_mean((price.get(item, 0.0), count) for item, count in each) for each in bought]),
        "channel": [channel.get(question.visitor) for question in questions],
        **{name: [None if value in UNTOLD else value for value in column] for name, column in told.items()},
    }  # fmt: skip


def _channels(shop: str, moment: datetime) -> Iterable[tuple[str, str | None, float]]:
    """(visitor, channel, how often they did something there) of the days before a moment."""
    import pyarrow.compute as pc

    first = (moment - timedelta(days=LATELY)).date().isoformat()
    rows = warehouse(shop).read("safe", "interactions", first, moment.date().isoformat(),
                                columns=["visitor", "channel", "event_time"])  # fmt: skip
    rows = rows.filter(pc.field("event_time") < moment).group_by(["visitor", "channel"]).aggregate([([], "count_all")])
    columns = (rows[name].to_pylist() for name in ("visitor", "channel", "count_all"))
    yield from zip(*columns, strict=True)
