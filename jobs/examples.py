"""examples: training sets. Labels lie after a moment, features before it, splits one after another in time.

With E the end of the last day: the test's questions are asked at E - 28 days, validation's at E - 56,
training's at E - 84 and up to three times 28 days before. A label reaches 28 days, so no split's
labels lie before another's end.

Some visitors teach no model: what they did is split `nonmember`, and attacks set it beside what models learnt
from (docs/decisions/0014). The test's questions ask about every visitor.
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
from jobs.pseudonyms import require_one_epoch
from jobs.tables import LEAST_VISITORS, WHOLE, table
from jobs.warehouse import Mark, Warehouse, arrow_schema, up_to, warehouse

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

HORIZON = timedelta(days=28)
TRAIN_CUTOFFS = 4
ORDER = ("train", "validation", "test")
"""Splits as they follow each other in time."""
HEAVIEST = 10.0
"""Weights are clipped here: a click at a place that was hardly ever seen must not outweigh ten others."""
CATALOGUE_PAIRS = 20_000
HELD_OUT = 10
"""One catalogue item of this many is validation, by a hash of its id."""
NONMEMBERS = 1_000
"""As many visitors teach no model where there are many; no attack needs more to see a rate of 1 in 100."""
NONMEMBER_SHARE = 0.2
"""At most this share of the visitors: in a small shop each of them is missed in training."""
LEAST_NONMEMBERS = 30
"""With fewer no attack could tell anything, so that none are held out, and the model gate says so."""


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


# ---- who teaches no model -------------------------------------------------------------------------


def nonmember_share(visitors: int) -> float:
    """The share of visitors that teaches no model, of so many.

    >>> nonmember_share(300), nonmember_share(100_000), nonmember_share(40)
    (0.2, 0.01, 0.0)
    """
    share = min(NONMEMBER_SHARE, NONMEMBERS / max(visitors, 1))
    return share if share * visitors >= LEAST_NONMEMBERS else 0.0


def nonmembers(visitors: Iterable[str]) -> list[str]:
    """Those that teach no model, in order: by a hash of the pseudonym, which is itself keyed.

    The same visitors for both models and in every training, until the key is rotated; when the share shrinks with a
    growing shop, those left are a part of those before.
    """
    known = sorted(set(visitors))
    share = nonmember_share(len(known))
    return [visitor for visitor in known if _draw("nonmember", visitor) < share * 2**64]


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
       list_sort(list_distinct(list(item_id))) AS next_28d,
       min(event_time) AS labelled
FROM bought JOIN firsts USING (visitor) GROUP BY visitor ORDER BY visitor
"""


def labels(live: "duckdb.DuckDBPyConnection", cutoff: datetime) -> "pa.Table":
    """Visitors who bought in the 28 days after `cutoff` (itself excluded): the items of their first basket, and
    of all, and the moment of the first purchase among them. A purchase without a basket's id belongs to the basket of
    its day (UTC). Items in order of id."""
    from jobs.duck import arrow

    return arrow(live, LABELS, cutoff=cutoff, until=cutoff + HORIZON)


def _asked(rows: "pa.Table", cutoff: Cutoff) -> "pa.Table":
    """`rows` with the moment and the split of their question."""
    import pyarrow as pa

    moment = pa.array([cutoff.time] * rows.num_rows, pa.timestamp("us", tz="UTC"))
    return rows.append_column("event_time", moment).append_column("split", pa.array([cutoff.split] * rows.num_rows))


def _known(shop: str, questions: "pa.Table", service: str, labels_from: str | None = None) -> "pa.Table":
    """Questions of a training set with what was known at the moment of each. Refused if one could see its label or
    another split's, or asks about days that the shop does not have (`jobs.leaks`)."""
    import pyarrow as pa

    from jobs import leaks

    asked = questions.group_by("split").aggregate([("event_time", "min"), ("event_time", "max")]).to_pylist()
    spans = {each["split"]: (each["event_time_min"], each["event_time_max"]) for each in asked}
    leaks.refuse(leaks.of_splits(spans, ORDER, HORIZON), "training and test")
    days = warehouse(shop).days("safe", "interactions")
    present = end_of_day(date.fromisoformat(days[-1])) if days else None
    rows: pa.Table = training_rows(shop, questions, service, labels_from=labels_from, present=present)
    return rows


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
    joined = training_rows(shop, _known(shop, questions, "recommender", labels_from="labelled"), "session")
    history = {name: f"history_{name}" for name in ("items", "times", "counts", "decayed")}
    named = {**history, "visitor_history__event_time": "history_time"}
    return _shaped(_without(joined, outside(live)), "recommender", named)


def outside(live: "duckdb.DuckDBPyConnection") -> "pa.Array":
    """The shop's visitors that teach no model, of all who did something."""
    import pyarrow as pa

    from jobs.duck import arrow

    everyone = arrow(live, "SELECT DISTINCT visitor FROM interactions")["visitor"].to_pylist()
    out = nonmembers(everyone)
    if len(out) < LEAST_NONMEMBERS:
        say(few(len(everyone), len(out)))
    return pa.array(out, pa.string())


def few(visitors: int, held_out: int) -> str:
    """What a shop of few visitors can expect of its training: said before it costs anything."""
    enough = round(LEAST_NONMEMBERS / NONMEMBER_SHARE)
    return (f"note: of {visitors:,} visitors {held_out} are held out of training, and attacks on models need "
            f"{LEAST_NONMEMBERS}: the gate will promote no trained model, and the baseline goes on serving. To do: "
            f"import more visitors, some {enough} or more")  # fmt: skip


def _without(questions: "pa.Table", outsiders: "pa.Array") -> "pa.Table":
    """The questions, with those of outsiders taken from training and validation into a split of their own."""
    import pyarrow.compute as pc

    out = pc.and_(pc.is_in(questions["visitor"], outsiders), pc.not_equal(questions["split"], "test"))
    split = pc.if_else(out, "nonmember", questions["split"])
    return questions.set_column(questions.column_names.index("split"), "split", split)


def item_rows(shop: str, ids: "pa.Array", moments: Sequence[Cutoff]) -> "pa.Table":
    """`examples.recommender_items`: every item of the catalogue at each moment; nulls where nothing was known."""
    import pyarrow as pa

    catalogue = pa.table({"item_id": ids})
    questions = pa.concat_tables([_asked(catalogue, cutoff) for cutoff in moments])
    joined = _known(shop, questions, "items")
    return _shaped(joined, "recommender_items", {"item_stats__event_time": "stats_time"})


# ---- encoder --------------------------------------------------------------------------------------

EVENTS = """
CREATE OR REPLACE TABLE everyone AS
WITH asked AS (SELECT search_id, q AS query, visitor, language, greatest(event_time, known_time) AS seen
               FROM searches JOIN normal USING (query) WHERE event_time <= $test),
     firsts AS (SELECT query, visitor, min(seen) AS seen FROM asked GROUP BY query, visitor),
     often AS (SELECT query, seen AS since FROM firsts
               QUALIFY row_number() OVER (PARTITION BY query ORDER BY seen) = $least)
SELECT asked.query, asked.language, i.item_id, i.kind AS source, i.event_time <= $validation AS learnt,
       least($heaviest, r.position / greatest(r.propensity, 1e-9)) AS weight, asked.visitor,
       asked.visitor IN (SELECT visitor FROM outsiders) AS outside
FROM interactions i
JOIN rankings r ON i.ranking_id = r.ranking_id AND i.item_id = r.item_id
JOIN asked ON r.search_id = asked.search_id
JOIN often ON asked.query = often.query
WHERE i.kind IN ('click', 'purchase') AND i.event_time <= $test
  AND often.since <= CASE WHEN i.event_time <= $validation THEN $validation ELSE $test END
"""
"""What answered a search's ranking, by whom, and whether they teach. A query counts as made by `$least` visitors from
the moment when so many searches for it were known: what is learnt before the validation's beginning is of queries that
were not rare at that beginning, and who searches later changes nothing of it."""

PAIRS = """
SELECT query, min(language) AS language, item_id, CASE WHEN bool_or(learnt) THEN 'train' ELSE 'validation' END AS split,
       source, round(avg(weight), 9) AS weight
FROM (SELECT *, bool_or(learnt) OVER (PARTITION BY query, item_id) AS any_learnt FROM everyone
      WHERE NOT outside)
WHERE learnt OR NOT any_learnt
GROUP BY query, item_id, source ORDER BY query, item_id, source
"""
"""A pair that was clicked both before and after the validation's beginning is for training only, and by its
events before it: else validation would ask for what was learnt. Weight: 1 / (propensity x examination), with
position k examined with probability 1/k, clipped, and averaged over the pair's events."""

RARE = """
WITH asked AS (SELECT q AS query, visitor, greatest(event_time, known_time) AS seen
               FROM searches JOIN normal USING (query) WHERE q <> '' AND event_time <= $test),
     left_out AS (SELECT count(*) AS searches FROM asked GROUP BY query
                  HAVING count(DISTINCT visitor) FILTER (seen <= $test) < $least)
SELECT count(*) AS queries, coalesce(sum(searches), 0)::BIGINT AS searches FROM left_out
"""

BY_VISITOR = """
SELECT DISTINCT visitor, query, item_id, CASE WHEN outside THEN 'nonmember' ELSE 'train' END AS split
FROM everyone WHERE learnt ORDER BY visitor, query, item_id
"""
"""Whose pairs are learnt from, and whose would be if they taught."""


def rare_queries(live: "duckdb.DuckDBPyConnection", test: datetime) -> dict[str, int]:
    """How many distinct queries, and searches with them, are left out because too few visitors made them. Needs the
    view `normal` of `log_of_searches`."""
    from jobs.duck import arrow

    return {name: int(n) for name, n in arrow(live, RARE, test=test, least=LEAST_VISITORS).to_pylist()[0].items()}


def log_of_searches(live: "duckdb.DuckDBPyConnection", validation: datetime, test: datetime) -> None:
    """Makes `everyone`: clicks and purchases that answer a search's ranking, up to the test's beginning; none after.
    And the view `normal(query, q)`: each distinct text of a search, and how it reads normalised."""
    import pyarrow as pa

    from jobs.duck import arrow

    texts = arrow(live, "SELECT DISTINCT query FROM searches WHERE query IS NOT NULL")["query"]
    normal = pa.array([normalised(text.as_py()) for text in texts], pa.string())
    live.register("normal", pa.table({"query": texts, "q": normal}))
    live.register("outsiders", pa.table({"visitor": outside(live)}))
    live.execute(EVENTS, {"validation": validation, "test": test, "least": LEAST_VISITORS, "heaviest": HEAVIEST})


def _draw(*words: str) -> int:
    """A number that depends on nothing but the words."""
    return int.from_bytes(hashlib.sha256("\x1f".join(words).encode()).digest()[:8], "big")


def fragment(title: str, seed: int) -> str:
    """Some neighbouring words of a title, at least two; of a text without spaces, neighbouring characters.

    >>> fragment("wireless over ear headphones black", 256)
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


def encoder_rows(house: Warehouse, live: "duckdb.DuckDBPyConnection", log: bool) -> "pa.Table":
    """`examples.encoder`: pairs from the `log`, where there is one, and from the catalogue."""
    import pyarrow as pa

    from jobs.duck import arrow

    columns = ["item_id", "title", "brand", "category", "language"]
    made = catalogue_pairs(house.read("safe", "items", columns=columns).to_pylist())
    parts = [pa.Table.from_pylist(made, schema=arrow_schema(table("examples", "encoder")))] if made else []
    if log:
        parts.append(arrow(live, PAIRS))
    names = list(table("examples", "encoder").names)
    if not parts:
        return arrow_schema(table("examples", "encoder")).empty_table()
    return _shaped(pa.concat_tables([part.select(names).cast(parts[0].schema) for part in parts]), "encoder", {})


# ---- the step -------------------------------------------------------------------------------------


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


Made = tuple[str, "pa.Table", list[Mark], dict[str, Any]]
"""A table of examples: its name, its rows, what they rest on, and what its mark notes."""


def _recommender(house: Warehouse, span: tuple[date, date] | None) -> list[Made]:
    import pyarrow.compute as pc

    from jobs.duck import engine_over

    if span is None:
        house.require("safe", "items", step="validate")
        raise Problem(f"{house.shop} has no interactions to learn from", do="train its encoder instead")
    moments = cutoffs(span[1], span[0])
    purchases = house.marks("safe", "interactions", None, span[1].isoformat())
    require_one_epoch(house.shop, purchases)
    stats = [
        mark
        for name in ("visitor_history", "visitor_stats", "item_stats")
        for mark in house.require("stats", name, step="aggregate")
    ] + house.marks("stats", "visitor_session")
    with engine_over(house, {"interactions": purchases}) as live, narrate("examples: visitors at each moment"):
        visitors = recommender_rows(house.shop, live, moments)
    with narrate("examples: items at each moment"):
        ids = pc.unique(house.read("safe", "items", columns=["item_id"])["item_id"])
        items = item_rows(house.shop, ids, moments)
    catalogue = house.require("safe", "items", step="validate")
    return [("recommender", visitors, [*purchases, *stats], {}),
            ("recommender_items", items, [*catalogue, *stats], {})]  # fmt: skip


def _encoder(house: Warehouse, span: tuple[date, date] | None) -> list[Made]:
    from jobs.duck import arrow, engine_over

    catalogue = house.require("safe", "items", step="validate")
    last = span[1].isoformat() if span else None
    marks = {name: house.marks("safe", name, None, last) for name in ("searches", "rankings", "interactions")}
    moments = cutoffs(span[1], span[0]) if span and all(marks.values()) else []
    log = [mark for found in marks.values() for mark in found]
    with engine_over(house, marks) as live, narrate("examples: pairs of query and item"):
        if moments:
            log_of_searches(live, moments[1].time, moments[0].time)
        pairs = encoder_rows(house, live, bool(moments))
        teachers = arrow(live, BY_VISITOR) if moments else None
        left = rare_queries(live, moments[0].time) if moments else {}
    made: list[Made] = [("encoder", pairs, [*catalogue, *log], {"rare": left})]
    if left:
        say(f"rare queries (fewer than {LEAST_VISITORS} visitors) left out: {left['queries']:,}, "
            f"with {left['searches']:,} searches")  # fmt: skip
    if teachers is not None and teachers.num_rows:
        made.append(("encoder_visitors", _shaped(teachers, "encoder_visitors", {}), log, {}))
    return made


def run(args: argparse.Namespace) -> None:
    """Write the training set of one model."""
    house, began = warehouse(args.shop), time.monotonic()
    span = _span(house, args.as_of)
    made = (_recommender if args.model == "recommender" else _encoder)(house, span)
    notes: dict[str, Any] = {}
    if span:
        notes = {"cutoffs": [[c.split, c.time.isoformat()] for c in cutoffs(span[1], span[0])]}
    report = []
    for name, rows, inputs, noted in made:
        mark = _write(house, name, rows, inputs, {**notes, **noted})
        report += [(name, split, count) for split, count in _by_split(rows)]
        say(f"examples: {mark.name}: {mark.rows:,} rows, {mark.bytes / 1e6:.1f} MB")
    print(grid(("table", "split", "rows"), report))
    print(f"in {time.monotonic() - began:.1f} s, in {house.root / 'examples'}")
    print(f"next: python -m models train {args.model} --shop {args.shop}")
