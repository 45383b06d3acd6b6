"""What a shop's log of rankings says, and what other policies would have shown: tables -> arrays of `off_policy`.

Two kinds of surfaces. Where rankings have several rows, the items of a ranking are what its policy had to order, and a
target orders the same ones. Where every ranking is one row (an impression), a target may show any item that the surface
ever showed. The reward is a click. What cannot be judged is left out and counted: a ranking with a gap in its positions
or with an item twice.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jobs.events import normalised
from jobs.warehouse import Warehouse
from models.evaluation.off_policy import Ints, Log, Target

if TYPE_CHECKING:
    import pyarrow as pa

RANKINGS = ("ranking_id", "event_time", "visitor", "search_id", "surface", "item_id", "position", "propensity")
Order = Callable[[str], Mapping[str, int]]
"""The places of items in a policy's answer to a query; an item that it does not find has none."""


@dataclass(frozen=True)
class Shown:
    """The log of one surface: its rows by ranking and position, the words of its codes, and what was left out."""

    log: Log
    items: tuple[str, ...]
    queries: tuple[str, ...]  # of contexts; "" where nothing was asked
    impressions: bool
    times: "np.typing.NDArray[np.datetime64]"
    left_out: Mapping[str, int]

    def since(self, moment: datetime | None) -> "Shown":
        """The rankings shown after `moment`; all if there is none."""
        if moment is None:
            return self
        return self.of(self.times > np.datetime64(moment.replace(tzinfo=None), "us"))

    def of(self, wanted: "np.typing.NDArray[np.bool_]") -> "Shown":
        """Some of the rows, with codes of rankings and visitors that count from 0 again."""
        columns = {name: getattr(self.log, name)[wanted] for name in Log.__dataclass_fields__}
        for name in ("ranking", "visitor"):
            columns[name] = np.unique(columns[name], return_inverse=True)[1].astype(np.int64)
        return replace(self, log=Log(**columns), times=self.times[wanted])


# --- Reading ---


def read(house: Warehouse, log: str | None = None) -> dict[str, Shown]:
    """The published log of each surface, or of the rankings whose id begins with `log`-."""
    import pyarrow.compute as pc

    house.require("safe", "rankings", step="validate")
    rankings = house.read("safe", "rankings", columns=RANKINGS)
    if log is not None:
        rankings = rankings.filter(pc.starts_with(rankings["ranking_id"], f"{log}-"))
    searches = house.read("safe", "searches", columns=["search_id", "query"])
    interactions = house.read("safe", "interactions", columns=["ranking_id", "item_id", "kind"])
    surfaces = pc.fill_null(rankings["surface"], "unnamed")
    return {
        surface: shown(rankings.filter(pc.equal(surfaces, surface)), searches, interactions)
        for surface in sorted(pc.unique(surfaces).to_pylist())
    }


def shown(rankings: "pa.Table", searches: "pa.Table", interactions: "pa.Table") -> Shown:
    """The log of one surface from its rankings, the searches that they answer, and what visitors did."""
    import pyarrow.compute as pc

    rankings = rankings.sort_by([("ranking_id", "ascending"), ("position", "ascending")]).combine_chunks()
    ranking, _ = _codes(rankings["ranking_id"])
    item, items = _codes(rankings["item_id"])
    visitor, _ = _codes(rankings["visitor"])
    query = pc.take(searches["query"].combine_chunks(),
                    pc.index_in(rankings["search_id"], searches["search_id"].combine_chunks()))  # fmt: skip
    texts, words = _codes(pc.fill_null(query, ""))
    context, queries = _merged([normalised(text) for text in words], texts)
    position = rankings["position"].to_numpy().astype(np.int64)
    clicked = interactions.filter(pc.equal(interactions["kind"], "click"))
    pair = ranking * len(items) + item
    reward = np.isin(pair, _pairs(clicked, rankings, items)).astype(np.float64)
    propensity = rankings["propensity"].cast("float64").to_numpy(zero_copy_only=False)
    log = Log(ranking, position - 1, context, item, visitor, propensity, reward)
    times = rankings["event_time"].cast("timestamp[us]").to_numpy()
    impressions = len(log) == int(ranking.max(initial=-1)) + 1
    found = Shown(log, items, queries, impressions, times, {})
    if impressions:
        return found
    gap, twice = _gaps(ranking, position), _twice(ranking, pair)
    left_out = {"a position is missing": int(gap.sum()), "an item stands twice": int((twice & ~gap).sum())}
    return replace(found.of(~(gap | twice)[ranking]), left_out={why: n for why, n in left_out.items() if n})


def _codes(column: "pa.ChunkedArray") -> tuple[Ints, tuple[str, ...]]:
    """A number for each distinct value, in the order in which they come, and the values."""
    import pyarrow as pa

    found = pa.chunked_array(column).combine_chunks() if not isinstance(column, pa.Array) else column
    if isinstance(found, pa.ChunkedArray):
        found = pa.concat_arrays(found.chunks)
    coded = found.dictionary_encode()
    return coded.indices.to_numpy(zero_copy_only=False).astype(np.int64), tuple(coded.dictionary.to_pylist())


def _merged(words: list[str], codes: Ints) -> tuple[Ints, tuple[str, ...]]:
    """Codes of texts as codes of what they read normalised."""
    place: dict[str, int] = {}
    of = np.array([place.setdefault(word, len(place)) for word in words], dtype=np.int64)
    return of[codes], tuple(place)


def _pairs(clicked: "pa.Table", rankings: "pa.Table", items: tuple[str, ...]) -> Ints:
    """(ranking, item) of the clicks, coded as the log's rows are; clicks on other surfaces have none."""
    import pyarrow as pa
    import pyarrow.compute as pc

    of = pc.unique(rankings["ranking_id"])
    ranking = pc.fill_null(pc.index_in(clicked["ranking_id"], of), -1).to_numpy().astype(np.int64)
    item = pc.fill_null(pc.index_in(clicked["item_id"], pa.array(items)), -1).to_numpy().astype(np.int64)
    known = (ranking >= 0) & (item >= 0)
    return np.asarray(ranking[known] * len(items) + item[known])


def _gaps(ranking: Ints, position: Ints) -> "np.typing.NDArray[np.bool_]":
    """Rankings whose positions are not 1, 2, 3, ..."""
    sizes = np.bincount(ranking)
    place = np.arange(len(ranking)) - np.repeat(sizes.cumsum() - sizes, sizes) + 1
    return np.asarray(np.bincount(ranking, position != place) > 0)


def _twice(ranking: Ints, pair: Ints) -> "np.typing.NDArray[np.bool_]":
    """Rankings that hold an item more than once."""
    _, code, count = np.unique(pair, return_inverse=True, return_counts=True)
    return np.asarray(np.bincount(ranking, count[code] > 1) > 0)


# --- Target policies ---


def uniform(of: Shown) -> Target:
    """Every item equally often at every position: of the ranking's own, or of all that the surface ever showed."""
    log = of.log
    rows = np.arange(len(log))
    if of.impressions:
        return _of_items(log, np.arange(len(of.items)))
    sizes = np.bincount(log.ranking)
    size, start = sizes[log.ranking], (sizes.cumsum() - sizes)[log.ranking]
    row = np.repeat(rows, size)
    within = np.arange(len(row)) - np.repeat(size.cumsum() - size, size)
    return Target(row, log.item[start[row] + within], 1 / size[row])


def _of_items(log: Log, items: Ints) -> Target:
    row = np.repeat(np.arange(len(log)), len(items))
    return Target(row, np.tile(items, len(log)), np.full(len(row), 1 / len(items)))


def ordered(of: Shown, order: Order) -> Target:
    """The ranking's own items in the order of `order` for its query; what it does not find stands last, by id.

    Rests on who asked what and on which items were at hand, never on the order in which they were shown.
    """
    log = of.log
    by_id = np.argsort(np.argsort(np.array(of.items)))
    _, first, code = np.unique(log.context * len(of.items) + log.item, return_index=True, return_inverse=True)
    places = {context: order(of.queries[context]) for context in np.unique(log.context).tolist()}
    last = np.iinfo(np.int64).max
    place = [places[int(log.context[at])].get(of.items[int(log.item[at])], last) for at in first]
    best = np.lexsort((by_id[log.item], np.array(place, dtype=np.int64)[code], log.ranking))
    return Target(np.arange(len(log)), log.item[best], np.ones(len(log)))


# --- What is true of a generated shop ---


def known(home: Path, of: Shown, target: Target) -> dict[str, float] | None:
    """The target's true value in the generated shop, from the folder `truth` of its home, and the share of rankings
    whose query the truth knows (the value is theirs); None where a shop has no such truth."""
    import pyarrow.parquet as pq

    files = home / "truth" / "truth.json", home / "truth" / "relevance.parquet"
    if of.impressions or not all(file.is_file() for file in files):
        return None
    about = json.loads(files[0].read_text(encoding="utf-8"))
    look, attraction = np.array(about["examination"]), np.array(about["attraction"])
    grade: dict[str, dict[str, int]] = {}
    for row in pq.read_table(files[1]).to_pylist():
        grade.setdefault(normalised(row["query"]), {})[row["item_id"]] = row["grade"]
    meant = [_meant(query, grade) for query in of.queries]
    pair, code = np.unique(of.log.context[target.row] * len(of.items) + target.item, return_inverse=True)
    grades = [grade.get(meant[at // len(of.items)], {}).get(of.items[at % len(of.items)], 0) for at in pair.tolist()]
    told = np.array([word != "" for word in meant])[of.log.context]
    worth = target.probability * look[of.log.position[target.row]] * attraction[np.array(grades)[code]]
    rankings = len(np.unique(of.log.ranking[told]))
    value = float(worth[told[target.row]].sum()) / max(rankings, 1)
    return {"value": value, "share": rankings / max(len(np.unique(of.log.ranking)), 1)}


def _meant(query: str, grade: Mapping[str, Any]) -> str:
    """The query of the truth that this one is, or that it only adds words to; "" if there is none."""
    return max((word for word in grade if query == word or query.startswith(f"{word} ")), key=len, default="")
