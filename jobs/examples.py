"""examples: training sets. Labels lie after a moment, features before it, splits one after another in time.

With E the end of the last day: the test's questions are asked at E - 28 days, validation's at E - 56,
training's at E - 84 and up to three times 28 days before. A label reaches 28 days, so no split's
labels lie before another's end.
"""

import argparse
import hashlib
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from jobs.console import Problem, Refused, grid, narrate, say
from jobs.events import normalised
from jobs.features import end_of_day, training_rows
from jobs.tables import WHOLE, table
from jobs.warehouse import Mark, Warehouse, arrow_schema, up_to, warehouse

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

HORIZON = timedelta(days=28)
TRAIN_CUTOFFS = 4
LEAST_VISITORS = 3
HEAVIEST = 10.0
"""Weights are clipped here: a click at a place that was hardly ever seen must not outweigh ten others."""
CATALOGUE_PAIRS = 20_000
HELD_OUT = 10
"""One catalogue item of this many is validation, by a hash of its id."""


@dataclass(frozen=True)
class Cutoff:
    """A moment of questions, and the split they belong to."""

    split: str
    time: datetime


def cutoffs(last: date, first: date) -> list[Cutoff]:
    """The moments of all splits for data from `first` to `last`, test first.

    Every moment has at least 28 days of data before it; `Problem` if even validation's has not.

    >>> [(c.split, c.time.date().isoformat()) for c in cutoffs(date(2017, 12, 31), date(2017, 8, 1))]
    [('test', '2017-12-03'), ('validation', '2017-11-05'), ('train', '2017-10-08'), ('train', '2017-09-10')]
    """
    names = ["test", "validation", *["train"] * TRAIN_CUTOFFS]
    found = [Cutoff(name, end_of_day(last) - HORIZON * (n + 1)) for n, name in enumerate(names)]
    found = [cutoff for cutoff in found if cutoff.time.date() - HORIZON >= first - timedelta(days=1)]
    if len(found) < 3:
        raise Problem(
            f"{(last - first).days + 1} days of data are too few for a split by time",
            where=f"{first} to {last}",
            do="bring at least 112 days: 28 to learn from, and 28 for the labels of each of three splits",
        )
    return found


# ---- recommender ----------------------------------------------------------------------------------

LABELS = """
WITH bought AS (
    SELECT visitor, item_id, event_time, coalesce('b' || basket_id, 'd' || strftime(event_time, '%Y-%m-%d')) AS basket
    FROM interactions
    WHERE kind = 'purchase' AND event_time > $cutoff AND event_time <= $until
), firsts AS (
    SELECT visitor, arg_min(basket, (event_time, basket)) AS basket FROM bought GROUP BY visitor
)
SELECT visitor,
       list_sort(list_distinct(list(item_id) FILTER (bought.basket = firsts.basket))) AS next_basket,
       list_sort(list_distinct(list(item_id))) AS next_28d
FROM bought JOIN firsts USING (visitor) GROUP BY visitor ORDER BY visitor
"""


def labels(live: "duckdb.DuckDBPyConnection", cutoff: datetime) -> "pa.Table":
    """Visitors who bought in the 28 days after `cutoff` (itself excluded): the items of their first basket, and
    of all. A purchase without a basket's id belongs to the basket of its day (UTC). Items in order of id."""
    from jobs.duck import arrow

    return arrow(live, LABELS, cutoff=cutoff, until=cutoff + HORIZON)


def _asked(rows: "pa.Table", cutoff: Cutoff) -> "pa.Table":
    """`rows` with the moment and the split of their question."""
    import pyarrow as pa

    moment = pa.array([cutoff.time] * rows.num_rows, pa.timestamp("us", tz="UTC"))
    return rows.append_column("event_time", moment).append_column("split", pa.array([cutoff.split] * rows.num_rows))


def _shaped(rows: "pa.Table", name: str, renamed: Mapping[str, str]) -> "pa.Table":
    """Exactly the declared columns of an examples table, in the order of its key."""
    declared = table("examples", name)
    rows = rows.rename_columns([renamed.get(column, column) for column in rows.column_names])
    ordered = rows.sort_by([(column, "ascending") for column in declared.key])
    return ordered.select(list(declared.names)).cast(arrow_schema(declared))


def recommender_rows(shop: str, live: "duckdb.DuckDBPyConnection", moments: Sequence[Cutoff]) -> "pa.Table":
    """`examples.recommender`: what was known of each visitor who bought, at each moment."""
    import pyarrow as pa

    questions = pa.concat_tables([_asked(labels(live, cutoff.time), cutoff) for cutoff in moments])
    if not questions.num_rows:
        raise Problem(f"{shop} has no purchases after {moments[-1].time.date()}", do="import a shop with purchases")
    joined = training_rows(shop, questions, "recommender")
    history = {name: f"history_{name}" for name in ("items", "times", "counts", "decayed")}
    return _shaped(joined, "recommender", {**history, "visitor_history__event_time": "history_time"})


def item_rows(shop: str, ids: "pa.Array", moments: Sequence[Cutoff]) -> "pa.Table":
    """`examples.recommender_items`: every item of the catalogue at each moment; nulls where nothing was known."""
    import pyarrow as pa

    catalogue = pa.table({"item_id": ids})
    questions = pa.concat_tables([_asked(catalogue, cutoff) for cutoff in moments])
    joined = training_rows(shop, questions, "items")
    return _shaped(joined, "recommender_items", {"item_stats__event_time": "stats_time"})


# ---- encoder --------------------------------------------------------------------------------------

PAIRS = """
WITH asked AS (SELECT search_id, q AS query, visitor, language FROM searches JOIN normal USING (query)
               WHERE event_time <= $test),
     often AS (SELECT query FROM asked GROUP BY query HAVING count(DISTINCT visitor) >= $least),
     events AS (
    SELECT asked.query, asked.language, i.item_id, i.kind AS source, i.event_time <= $validation AS learnt,
           least($heaviest, r.position / greatest(r.propensity, 1e-9)) AS weight
    FROM interactions i
    JOIN rankings r ON i.ranking_id = r.ranking_id AND i.item_id = r.item_id
    JOIN asked ON r.search_id = asked.search_id
    WHERE i.kind IN ('click', 'purchase') AND i.event_time <= $test AND asked.query IN (SELECT query FROM often)
)
SELECT query, min(language) AS language, item_id, CASE WHEN bool_or(learnt) THEN 'train' ELSE 'validation' END AS split,
       source, round(avg(weight), 9) AS weight
FROM (SELECT *, bool_or(learnt) OVER (PARTITION BY query, item_id) AS any_learnt FROM events)
WHERE learnt OR NOT any_learnt
GROUP BY query, item_id, source ORDER BY query, item_id, source
"""
"""A pair that was clicked both before and after the validation's beginning is for training only, and by its
events before it: else validation would ask for what was learnt. Weight: 1 / (propensity x examination), with
position k examined with probability 1/k, clipped, and averaged over the pair's events."""


def logged_pairs(live: "duckdb.DuckDBPyConnection", validation: datetime, test: datetime) -> "pa.Table":
    """Pairs from clicks and purchases that answer a search's ranking, up to the test's beginning; none after."""
    import pyarrow as pa

    from jobs.duck import arrow

    texts = arrow(live, "SELECT DISTINCT query FROM searches WHERE query IS NOT NULL")["query"]
    normal = pa.array([normalised(text.as_py()) for text in texts], pa.string())
    live.register("normal", pa.table({"query": texts, "q": normal}))
    return arrow(live, PAIRS, validation=validation, test=test, least=LEAST_VISITORS, heaviest=HEAVIEST)


def _draw(*words: str) -> int:
    """A number that depends on nothing but the words."""
    return int.from_bytes(hashlib.sha256("\x1f".join(words).encode()).digest()[:8], "big")


def fragment(title: str, seed: int) -> str:
    """Some neighbouring words of a title, at least two; of a text without spaces, neighbouring characters.

    >>> fragment("wireless over ear headphones black", 1)
    'over ear headphones'
    """
    spaced = " " in title
    parts: Sequence[str] = title.split() if spaced else title
    if len(parts) <= 2:
        return title
    length = 2 + seed % min(3, len(parts) - 1)
    start = (seed >> 8) % (len(parts) - length + 1)
    return (" " if spaced else "").join(parts[start : start + length])


def catalogue_queries(item: Mapping[str, Any]) -> list[str]:
    """What a visitor might type to find an item, from its own fields: a part of its title; brand and category."""
    title = normalised(item["title"] or "")
    brand, category = (normalised(item[name] or "") for name in ("brand", "category"))
    made = [fragment(title, _draw("title", item["item_id"]))]
    if category and category != title:
        made.append(category if not brand or brand in category.split() else f"{brand} {category}")
    return [query for query in dict.fromkeys(made) if query]


def catalogue_pairs(items: Iterable[Mapping[str, Any]], limit: int = CATALOGUE_PAIRS) -> list[dict[str, Any]]:
    """Pairs made from the catalogue, at most `limit`, chosen by hash; one item in ten is validation.

    The choice does not depend on the order of items, and an item is whole in one split.
    """
    pairs = [
        (
            _draw("pair", item["item_id"], query),
            {
                "query": query,
                "language": item["language"],
                "item_id": item["item_id"],
                "split": "validation" if _draw("split", item["item_id"]) % HELD_OUT == 0 else "train",
                "source": "catalogue",
                "weight": 1.0,
            },
        )
        for item in items
        for query in catalogue_queries(item)
    ]
    return [pair for _, pair in sorted(pairs, key=lambda drawn: (drawn[0], drawn[1]["item_id"]))[:limit]]


def encoder_rows(
    house: Warehouse, live: "duckdb.DuckDBPyConnection", moments: Sequence[Cutoff], marks: Mapping[str, list[Mark]]
) -> "pa.Table":
    """`examples.encoder`: pairs from the log, where there is one, and from the catalogue."""
    import pyarrow as pa

    columns = ["item_id", "title", "brand", "category", "language"]
    made = catalogue_pairs(house.read("safe", "items", columns=columns).to_pylist())
    parts = [pa.Table.from_pylist(made, schema=arrow_schema(table("examples", "encoder")))] if made else []
    if moments and all(marks[name] for name in ("searches", "rankings", "interactions")):
        parts.append(logged_pairs(live, moments[1].time, moments[0].time))
    names = list(table("examples", "encoder").names)
    if not parts:
        return arrow_schema(table("examples", "encoder")).empty_table()
    return _shaped(pa.concat_tables([part.select(names).cast(parts[0].schema) for part in parts]), "encoder", {})


# ---- the step -------------------------------------------------------------------------------------


def _engine(house: Warehouse, marks: Mapping[str, list[Mark]]) -> "duckdb.DuckDBPyConnection":
    """DuckDB with one view for each table, over the files of these marks and no others."""
    from jobs.duck import engine

    live = engine()
    for name, found in marks.items():
        files = ", ".join("'" + str(file).replace("'", "''") + "'" for file in house.files(found))
        if files:
            live.execute(f"CREATE VIEW {name} AS SELECT * FROM read_parquet([{files}], hive_partitioning=false)")  # noqa: S608
        else:
            live.register(name, arrow_schema(table("safe", name)).empty_table())
    return live


def _write(house: Warehouse, name: str, rows: "pa.Table", inputs: Iterable[Mark], notes: Mapping[str, Any]) -> Mark:
    """One whole table: written, pointed to, published. Marks of its inputs are named by one hash a table."""
    import pyarrow.parquet as pq

    if not rows.num_rows:
        raise Refused(f"examples/{name} would have no rows", do="see 'python -m jobs tables'")
    grouped: dict[tuple[str, str], list[Mark]] = {}
    for mark in inputs:
        grouped.setdefault((mark.zone, mark.table), []).append(mark)
    named = [
        marks[0].name if len(marks) == 1 else max(up_to(zone, [of], marks).items())[1]
        for (zone, of), marks in grouped.items()
    ]
    with house.attempt("examples", name) as attempt:
        attempt.folder(WHOLE).mkdir(parents=True)
        pq.write_table(rows, attempt.folder(WHOLE) / "part-0.parquet", compression="zstd")
        return house.propose(attempt, WHOLE, step="examples", counts={"out": rows.num_rows}, inputs=named, notes=notes)


def _by_split(rows: "pa.Table") -> list[tuple[str, int]]:
    counted = rows.group_by("split").aggregate([("split", "count")])
    return sorted(zip(counted["split"].to_pylist(), counted["split_count"].to_pylist(), strict=True))


def _span(house: Warehouse, as_of: date | None) -> tuple[date, date] | None:
    """First and last day that have published interactions, the last at most `as_of`; None without a log."""
    days = [day for day in house.days("safe", "interactions") if as_of is None or day <= as_of.isoformat()]
    return (date.fromisoformat(days[0]), date.fromisoformat(days[-1])) if days else None


def _recommender(house: Warehouse, span: tuple[date, date] | None) -> list[tuple[str, "pa.Table", list[Mark]]]:
    import pyarrow.compute as pc

    if span is None:
        house.require("safe", "items", step="validate")
        raise Problem(f"{house.shop} has no interactions to learn from", do="train its encoder instead")
    moments = cutoffs(span[1], span[0])
    purchases = house.marks("safe", "interactions", None, span[1].isoformat())
    stats = [
        mark
        for name in ("visitor_history", "visitor_stats", "item_stats")
        for mark in house.require("stats", name, step="aggregate")
    ]
    with _engine(house, {"interactions": purchases}) as live, narrate("examples: visitors at each moment"):
        visitors = recommender_rows(house.shop, live, moments)
    with narrate("examples: items at each moment"):
        ids = pc.unique(house.read("safe", "items", columns=["item_id"])["item_id"])
        items = item_rows(house.shop, ids, moments)
    catalogue = house.require("safe", "items", step="validate")
    return [("recommender", visitors, [*purchases, *stats]), ("recommender_items", items, [*catalogue, *stats])]


def _encoder(house: Warehouse, span: tuple[date, date] | None) -> list[tuple[str, "pa.Table", list[Mark]]]:
    catalogue = house.require("safe", "items", step="validate")
    last = span[1].isoformat() if span else None
    marks = {name: house.marks("safe", name, None, last) for name in ("searches", "rankings", "interactions")}
    moments = cutoffs(span[1], span[0]) if span else []
    with _engine(house, marks) as live, narrate("examples: pairs of query and item"):
        rows = encoder_rows(house, live, moments, marks)
    return [("encoder", rows, [*catalogue, *(mark for found in marks.values() for mark in found)])]


def run(args: argparse.Namespace) -> None:
    """Write the training set of one model."""
    house, began = warehouse(args.shop), time.monotonic()
    span = _span(house, args.as_of)
    made = (_recommender if args.model == "recommender" else _encoder)(house, span)
    notes: dict[str, Any] = {}
    if span:
        notes = {"cutoffs": [[c.split, c.time.isoformat()] for c in cutoffs(span[1], span[0])]}
    report = []
    for name, rows, inputs in made:
        mark = _write(house, name, rows, inputs, notes)
        report += [(name, split, count) for split, count in _by_split(rows)]
        say(f"examples: {mark.name}: {mark.rows:,} rows, {mark.bytes / 1e6:.1f} MB")
    print(grid(("table", "split", "rows"), report))
    print(f"in {time.monotonic() - began:.1f} s, in {house.root / 'examples'}")
    print(f"next: python -m models train {args.model} --shop {args.shop}")
