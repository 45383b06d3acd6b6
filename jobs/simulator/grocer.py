"""Searches, rankings, clicks, reviews, tickets and judgements on top of the grocer's real catalogue and purchases.

A household searches for what it then buys: each search is drawn from a real purchase, some minutes before it, in
plain words for the product's type; one in five is for a type bought by somebody else. What is made is a function of
the publisher's files, the seed and the scale; it is made again only when one of these, or the simulator, changes.
"""

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jobs.console import narrate, say
from jobs.simulator import people
from jobs.simulator.grocer_words import ABBREVIATIONS, JUDGED
from jobs.simulator.ranking import SHOWN, Floats, Ints, click, show, stamp, truth
from jobs.warehouse import write_atomically

SEARCHES, REVIEWS, TICKETS = 30_000, 4_000, 1_500
_POOL, _WEEKS = 24, 53  # products that may be ranked for a query; a base ranking is fixed for a week


@dataclass(frozen=True)
class Catalogue:
    """The products, as arrays in the publisher's order."""

    item: list[str]
    kind: Ints  # product type, as a number; -1 for none
    category: Ints
    text: Ints  # groups of equal texts
    words: list[str]  # "category | type" of each kind
    kind_category: Ints
    popularity: Floats  # purchases


@dataclass(frozen=True)
class Trade:
    """The purchases, as arrays: household, product (place in the catalogue), time in microseconds."""

    household: Ints
    product: Ints
    micros: Ints


@dataclass(frozen=True)
class Queries:
    """Every query, the kinds that answer it exactly, and whether it is judged."""

    words: list[str]
    exact: list[Ints]
    judged: int  # the first so many


def simulate(home: Path, real: Path, *, scale: float, seed: int) -> None:
    """Write the simulated Parquet files of `home`/source and the truth of `home`/truth, unless they are there."""
    out, mark = home / "source", home / "source" / "simulated.json"
    key = {
        "seed": seed,
        "scale": scale,
        "simulator": _version(),
        "files": {
            n: hashlib.sha256((real / n).read_bytes()).hexdigest() for n in ("products.parquet", "transactions.parquet")
        },
    }
    if mark.is_file() and json.loads(mark.read_text()) == key:
        say("simulated files are there already, made from the same files, seed and scale")
        return
    mark.unlink(missing_ok=True)
    out.mkdir(parents=True, exist_ok=True)
    with narrate("simulate searches, rankings, clicks, reviews, tickets and judgements"):
        catalogue, trade = read(real)
        rng = np.random.default_rng([seed, 2017])
        queries = make_queries(catalogue)
        known = {"seed": seed, **truth(), "queries": len(queries.words), "judged": queries.judged}
        rows = events(rng, catalogue, trade, queries, int(SEARCHES * scale))
        planted: list[dict[str, Any]] = []
        rows["reviews"] = reviews(rng, catalogue, trade, int(REVIEWS * scale), planted)
        rows["tickets"] = tickets(rng, trade, int(TICKETS * scale), planted)
        rows["judgements"] = judgements(rng, catalogue, queries)
        for name, columns in rows.items():
            _write(out / f"simulated-{name}.parquet", columns)
        _write(
            home / "truth" / "planted.parquet", {k: [p[k] for p in planted] for k in (planted[0] if planted else {})}
        )
        write_atomically(home / "truth" / "truth.json", json.dumps(known, indent=1) + "\n")
    write_atomically(mark, json.dumps(key, sort_keys=True) + "\n")


def _version() -> str:
    """A hash of the simulator's own text: changed code makes the files again."""
    return hashlib.sha256(b"".join(p.read_bytes() for p in sorted(Path(__file__).parent.glob("*.py")))).hexdigest()[:16]


def _write(path: Path, columns: dict[str, Any]) -> None:
    """One file of one row group, replaced whole."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True, exist_ok=True)
    made = pa.table(columns)
    pq.write_table(made, path.with_suffix(".new"), compression="zstd", row_group_size=max(1, made.num_rows))
    path.with_suffix(".new").replace(path)


def _codes(values: list[Any]) -> tuple[Ints, list[Any]]:
    """Numbers for values, in order of first appearance; -1 for None."""
    seen: dict[Any, int] = {}
    return np.array([-1 if v is None else seen.setdefault(v, len(seen)) for v in values], dtype=np.int64), list(seen)


def read(real: Path) -> tuple[Catalogue, Trade]:
    """The catalogue and the purchases of products that it holds."""
    import pyarrow.parquet as pq

    p = pq.read_table(real / "products.parquet").to_pydict()
    t = pq.read_table(real / "transactions.parquet", columns=["household_id", "product_id", "transaction_timestamp"])
    ids = np.array(p["product_id"], dtype=np.int64)
    order = np.argsort(ids)
    product = t["product_id"].to_numpy()
    place = order[np.minimum(np.searchsorted(ids[order], product), len(ids) - 1)]
    known = ids[place] == product
    micros = t["transaction_timestamp"].cast("timestamp[us]").to_numpy().astype(np.int64)
    trade = Trade(t["household_id"].to_numpy()[known], place[known], micros[known])
    pairs = [None if b is None else (a, b) for a, b in zip(p["product_category"], p["product_type"], strict=True)]
    kind, kinds = _codes(pairs)
    category, categories = _codes(p["product_category"])
    texts = list(
        zip(p["department"], p["brand"], p["product_category"], p["product_type"], p["package_size"], strict=True)
    )
    place_of = {name: n for n, name in enumerate(categories)}
    catalogue = Catalogue(
        [str(i) for i in p["product_id"]],
        kind,
        category,
        _codes(texts)[0],
        [f"{a} | {b}" for a, b in kinds],
        np.array([place_of.get(a, -1) for a, _ in kinds]),
        np.bincount(trade.product, minlength=len(ids)).astype(float),
    )
    return catalogue, trade


def plain(words: str) -> str:
    """The publisher's words for a product type, as a person would type them.

    >>> plain("FRZN BREADED PREPARED CHICK")
    'frozen breaded prepared chick'
    >>> plain("SFT DRNK 2 LITER BTL CARB INCL")
    'soft drink 2 liter bottle carbonated'
    """
    text = re.sub(r"\(.*$", "", words)
    for short, long in ABBREVIATIONS.items():
        text = re.sub(rf"\b{re.escape(short)}\b", long, text)
    text = re.sub(r"[^A-Za-z0-9& ]+", " ", text.lower())
    return " ".join(w for w in text.split() if w not in ("incl", "all", "misc", "and", "&"))


def make_queries(catalogue: Catalogue) -> Queries:
    """The judged queries first, then one in plain words for each type that is bought."""
    words, exact = [], []
    for query, pattern in JUDGED:
        found = np.array([n for n, text in enumerate(catalogue.words) if re.search(pattern, text)], dtype=np.int64)
        if len(found) and query not in words:
            words.append(query)
            exact.append(found)
    judged, taken = len(words), set(words)
    good = catalogue.kind >= 0
    bought = np.bincount(catalogue.kind[good], weights=catalogue.popularity[good], minlength=len(catalogue.words))
    for kind in np.flatnonzero(bought >= 300):
        text = plain(catalogue.words[kind].split(" | ")[1])
        if text and text not in taken:
            taken.add(text)
            words.append(text)
            exact.append(np.array([kind]))
    return Queries(words, exact, judged)


def pools(rng: np.random.Generator, catalogue: Catalogue, queries: Queries) -> tuple[Ints, Ints]:
    """Candidates of every query (n, pool) and their grades: the best sold of the right kinds, some of the same
    categories, a few of none."""
    by_popularity = np.argsort(-catalogue.popularity, kind="stable")
    by_popularity = by_popularity[catalogue.kind[by_popularity] >= 0]
    items = np.empty((len(queries.words), _POOL), dtype=np.int64)
    for n, exact in enumerate(queries.exact):
        right = by_popularity[np.isin(catalogue.kind[by_popularity], exact)][:14]
        shelf = np.isin(catalogue.category[by_popularity], catalogue.kind_category[exact])
        near = by_popularity[shelf & ~np.isin(catalogue.kind[by_popularity], exact)][:6]
        taken = np.concatenate([right, near])
        wrong = rng.choice(by_popularity[:8000], size=3 * _POOL, replace=False)
        items[n] = np.concatenate([taken, wrong[~np.isin(wrong, taken)]])[:_POOL]
    return items, np.stack([grade(catalogue, e, i) for e, i in zip(queries.exact, items, strict=True)])


def grade(catalogue: Catalogue, exact: Ints, items: Ints) -> Ints:
    """True relevance: 3 of the right kind, 1 of its category, else 0."""
    near = np.isin(catalogue.category[items], catalogue.kind_category[exact])
    return np.where(np.isin(catalogue.kind[items], exact), 3, np.where(near, 1, 0)).astype(np.int64)


def events(
    rng: np.random.Generator, catalogue: Catalogue, trade: Trade, queries: Queries, count: int
) -> dict[str, dict[str, Any]]:
    """Searches, rankings and clicks."""
    items, grades = pools(rng, catalogue, queries)
    # A week's base ranking: relevance, what sells, and a fixed noise for each week.
    score = grades[:, None, :] * 1.0 + np.log1p(catalogue.popularity[items])[:, None, :] * 0.15
    score = score + rng.gumbel(0, 0.7, (len(items), _WEEKS, _POOL))
    base = np.argsort(-score, axis=2, kind="stable")[:, :, :SHOWN]
    asked = [[] for _ in catalogue.words]  # type: list[list[int]]
    for n, exact in enumerate(queries.exact):
        for kind in exact:
            asked[kind] += [n] * (3 if n < queries.judged else 1)
    can = np.array([bool(a) for a in asked])
    kinds = catalogue.kind[trade.product]
    usable = np.flatnonzero((kinds >= 0) & can[kinds])
    drawn = rng.choice(usable, count, replace=False)
    topic = kinds[np.where(rng.random(count) < 0.2, rng.permutation(drawn), drawn)]
    query = np.array([asked[k][int(r * len(asked[k]))] for k, r in zip(topic, rng.random(count), strict=True)])
    start = np.datetime64("2017-01-01", "us").astype(np.int64)
    micros = np.maximum(trade.micros[drawn] - rng.integers(600, 4 * 3600, count) * 1_000_000, start)
    order = np.argsort(micros, kind="stable")
    drawn, query, micros = drawn[order], query[order], micros[order]
    week = np.minimum((micros - start) // (7 * 86_400_000_000), _WEEKS - 1)
    shown, propensity = show(rng, base[query, week])
    clicked = click(rng, np.take_along_axis(grades[query], shown, 1))
    shown = np.take_along_axis(items[query], shown, 1)
    item = np.array(catalogue.item)
    visitor = trade.household[drawn].astype(str)
    channel = np.where(rng.random(count) < 0.6, "web", "app")
    name = np.array([f"{n:06d}" for n in range(count)])
    search, ranking, time = np.char.add("s", name), np.char.add("r", name), np.array(stamp(micros))
    row, column = np.nonzero(clicked)
    after = micros[row] + (5 + 7 * column + rng.integers(0, 5, len(row))) * 1_000_000
    dwell = np.round(rng.lognormal(3, 0.8, len(row)), 1).astype(str)
    return {
        "searches": {
            "search_id": search,
            "event_time": time,
            "visitor_id": visitor,
            "session_id": np.char.add("v", name),
            "channel": channel,
            "query": np.array(queries.words)[query],
        },
        "rankings": {
            "ranking_id": np.repeat(ranking, SHOWN),
            "event_time": np.repeat(time, SHOWN),
            "visitor_id": np.repeat(visitor, SHOWN),
            "search_id": np.repeat(search, SHOWN),
            "surface": np.full(count * SHOWN, "search"),
            "item_id": item[shown.ravel()],
            "position": np.tile(np.arange(1, SHOWN + 1), count),
            "propensity": np.round(propensity.ravel(), 6),
        },
        "interactions": {
            "interaction_id": np.char.add(np.char.add("c", name[row]), (column + 1).astype(str)),
            "event_time": np.array(stamp(after)),
            "visitor_id": visitor[row],
            "item_id": item[shown[row, column]],
            "kind": np.full(len(row), "click"),
            "ranking_id": ranking[row],
            "dwell_seconds": dwell,
            "channel": channel[row],
        },
    }


def _texts(
    rng: np.random.Generator, table: str, ids: list[str], templates: list[str], planted: list[dict[str, Any]]
) -> list[str]:
    """Filled templates, each by somebody made up; what was planted is noted by row."""
    texts = []
    for row, (id, template) in enumerate(zip(ids, templates, strict=True), 1):
        text, found = people.fill(rng, template, people.person(rng, "en"))
        texts.append(text)
        planted += [
            {
                "table": table,
                "file": f"simulated-{table}.parquet",
                "row": row,
                "id": id,
                "column": "text",
                "kind": p.kind,
                "value": p.value,
                "start": p.start,
                "end": p.end,
            }
            for p in found
        ]
    return texts


def reviews(
    rng: np.random.Generator, catalogue: Catalogue, trade: Trade, count: int, planted: list[dict[str, Any]]
) -> dict[str, Any]:
    """Reviews of what was bought, some days later."""
    drawn = np.sort(rng.choice(len(trade.product), count, replace=False))
    last = np.datetime64("2017-12-31T23:59:59", "us").astype(np.int64)
    micros = np.minimum(trade.micros[drawn] + rng.integers(1, 10, count) * 86_400_000_000, last)
    rating = rng.choice([1, 2, 3, 4, 5], count, p=[0.08, 0.08, 0.16, 0.33, 0.35])
    ids = [f"review{n:06d}" for n in range(count)]
    chosen = [people.pick(rng, people.REVIEWS["en"][int(r)]) for r in rating]
    return {
        "review_id": ids,
        "event_time": stamp(micros),
        "visitor_id": trade.household[drawn].astype(str),
        "item_id": np.array(catalogue.item)[trade.product[drawn]],
        "rating": rating,
        "text": _texts(rng, "reviews", ids, chosen, planted),
    }


def tickets(rng: np.random.Generator, trade: Trade, count: int, planted: list[dict[str, Any]]) -> dict[str, Any]:
    """Tickets of households, on days when they shopped."""
    drawn = np.sort(rng.choice(len(trade.product), count, replace=False))
    ids = [f"ticket{n:06d}" for n in range(count)]
    chosen = [people.TICKETS["en"][int(n)] for n in rng.integers(0, len(people.TICKETS["en"]), count)]
    return {
        "ticket_id": ids,
        "event_time": stamp(trade.micros[drawn]),
        "visitor_id": trade.household[drawn].astype(str),
        "topic": [topic for topic, _ in chosen],
        "text": _texts(rng, "tickets", ids, [text for _, text in chosen], planted),
    }


def judgements(rng: np.random.Generator, catalogue: Catalogue, queries: Queries) -> dict[str, Any]:
    """Grades of one simulated rater, by groups of equal texts: every product of the right kinds, and groups of the
    same categories and of others. One group in twenty is graded one step off."""
    rows: dict[str, list[Any]] = {"query": [], "item_id": [], "rater": [], "grade": []}
    members: dict[int, list[int]] = {}
    for place, group in enumerate(catalogue.text):
        members.setdefault(int(group), []).append(place)
    first = np.array([places[0] for places in members.values()])
    for n in range(queries.judged):
        grades = grade(catalogue, queries.exact[n], first)
        for wanted, most in ((3, len(first)), (1, 12), (0, 12)):
            of = np.flatnonzero(grades == wanted)
            for group in np.sort(rng.choice(of, min(most, len(of)), replace=False)):
                slip = int(rng.choice([-1, 1])) if rng.random() < 0.05 else 0
                for place in members[int(group)]:
                    rows["query"].append(queries.words[n])
                    rows["item_id"].append(catalogue.item[place])
                    rows["rater"].append("simulated-1")
                    rows["grade"].append(min(3, max(0, wanted + slip)))
    return rows
