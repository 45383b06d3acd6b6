"""Which rows are about the same thing: near-duplicate items, and accounts of one person.

Found in clean rows by DuckDB, in a few seconds for a hundred thousand items; the fullest of a group stays, the others
are listed beside it with the evidence. Identifiers that served as evidence are kept as salted SHA-256, never as they
were.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.duck import arrow, engine
from jobs.pseudonyms import Key
from jobs.tables import ADDED, Table

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

BANDS, ROWS_A_BAND = 8, 4
"""MinHash: 8 bands of 4 hashes. Titles of likeness 0.9 meet in a band with probability 0.9998, of 0.5 with 0.4."""
NGRAM = 3
PRICES_APART = 0.05

ITEMS = f"""
WITH base AS (
  SELECT item_id, price,
         trim(regexp_replace(lower(title), '[^\\p{{L}}\\p{{N}}]+', ' ', 'g')) AS bare,
         [lower(coalesce(brand, '')), lower(coalesce(category, '')), coalesce(currency, '')] || list_sort(
           regexp_extract_all(lower(concat_ws(' ', title, size)), '\\d+(?:[.,]\\d+)?')) AS block
  FROM items),
grams AS (
  SELECT item_id, price, block,
         list_distinct(list_transform(range(1, greatest(length(bare) - {NGRAM - 2}, 2)),
                                      lambda i: bare[i : i + {NGRAM - 1}])) AS grams
  FROM base),
keyed AS (
  SELECT *, unnest(list_transform(range({BANDS}), lambda band: hash(band, list_transform(
           range(band * {ROWS_A_BAND}, (band + 1) * {ROWS_A_BAND}),
           lambda n: list_min(list_transform(grams, lambda gram: hash(gram, n))))))) AS band
  FROM grams),
near AS (
  SELECT item_id, price, grams, first_value(item_id) OVER star AS other, first_value(price) OVER star AS other_price,
         first_value(grams) OVER star AS other_grams
  FROM keyed WINDOW star AS (PARTITION BY block, band ORDER BY item_id)
  UNION ALL
  SELECT item_id, price, grams, lag(item_id) OVER dear, lag(price) OVER dear, lag(grams) OVER dear
  FROM keyed WINDOW dear AS (PARTITION BY block, band ORDER BY price, item_id)),
alike AS (
  SELECT item_id, other, len(list_intersect(grams, other_grams))
         / len(list_distinct(list_concat(grams, other_grams))) AS likeness
  FROM near
  WHERE item_id <> other
    AND NOT coalesce(abs(price - other_price) > {PRICES_APART} * greatest(price, other_price), false))
SELECT item_id AS id, other, 'title ' || round(max(likeness), 3) AS evidence
FROM alike WHERE likeness >= $least GROUP BY ALL
"""  # noqa: S608  numbers of ours
"""Items that are the same but for wording: linear in items, by stars around the smallest id of each band (Broder 1997),
and by neighbours in price, as the star itself may be too cheap or too dear for all others.

Blocked: same brand, category and currency, the same numbers in title and size ('500 g' is not '1 kg'), and prices at
most 5 % apart. Then the Jaccard similarity of the titles' groups of three characters decides.
"""

VISITORS = """
WITH told AS (
  SELECT visitor_id, 'e-mail' AS kind, lower(trim(email)) AS value FROM visitors WHERE email LIKE '%@%'
  UNION ALL
  SELECT visitor_id, 'telephone and name',
         regexp_replace(phone, '\\D', '', 'g')[-9:] || ' ' || regexp_replace(lower(name), '[^\\p{L}]+', '', 'g')
  FROM visitors
  WHERE length(regexp_replace(phone, '\\D', '', 'g')) >= 7 AND regexp_matches(name, '\\p{L}')),
hashed AS (SELECT visitor_id, kind || ' ' || sha256($salt || kind || value)[:32] AS evidence FROM told)
SELECT visitor_id AS id, min(visitor_id) OVER (PARTITION BY evidence) AS other, evidence
FROM hashed QUALIFY id <> other AND count(*) OVER (PARTITION BY evidence) <= $most
"""
"""Accounts that share an e-mail, or a telephone number and a name. Of a number the last nine digits count: with or
without country code and trunk zero it is the same. What more than `MOST_ACCOUNTS` share tells of nobody."""
MOST_ACCOUNTS = 5


@dataclass(frozen=True)
class Pair:
    """Two ids of one thing, and what shows it."""

    id: str
    other: str
    evidence: str


def salt(key: Key) -> str:
    """The salt of evidence: made from the shop's key by a one-way function."""
    return hashlib.sha256(b"endcap links" + key.secret).hexdigest()


def pairs(live: "duckdb.DuckDBPyConnection", name: str, *, likeness: float, salt: str) -> list[Pair]:
    """The pairs among the rows of the view `name` (items or visitors), in order."""
    asked = {"least": likeness} if name == "items" else {"salt": salt, "most": MOST_ACCOUNTS}
    found = live.execute(ITEMS if name == "items" else VISITORS, asked).fetchall()
    return [Pair(*row) for row in sorted(found)]


def groups(linked: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Each id of a pair -> the smallest id it is connected with.

    >>> groups([("c", "b"), ("b", "a"), ("y", "x")])
    {'a': 'a', 'b': 'a', 'c': 'a', 'x': 'x', 'y': 'x'}
    """
    leader: dict[str, str] = {}

    def root(id: str) -> str:
        while (up := leader.setdefault(id, id)) != id:
            leader[id] = leader[up]
            id = leader[id]
        return id

    for one, other in linked:
        low, high = sorted((root(one), root(other)))
        leader[high] = low
    return {id: root(id) for id in sorted(leader)}


def links(files: Sequence[Path], declared: Table, *, likeness: float, salt: str) -> "pa.Table":
    """(id, kept_id, evidence, known_time, simulated) of a clean table's files: every row of a group but its fullest.

    Fullest: most columns filled, then the longest content, then the smallest id. Sorted by id.
    """
    import pyarrow as pa

    id = declared.key[0]
    own = [c.name for c in declared.columns if c.name not in (id, *ADDED)]
    with engine() as live:
        live.read_parquet([str(file) for file in files]).create_view(declared.name)
        found = pairs(live, declared.name, likeness=likeness, salt=salt)
        led = groups((pair.id, pair.other) for pair in found)
        told: dict[str, set[str]] = {}
        for pair in found:
            told.setdefault(pair.id, set()).add(pair.evidence)
            told.setdefault(pair.other, set()).add(pair.evidence)
        live.register("led", pa.table({"id": list(led), "leader": list(led.values()),
                                       "evidence": ["; ".join(sorted(told[id])) for id in led]},
                                      pa.schema([(c, pa.string()) for c in ("id", "leader", "evidence")])))  # fmt: skip
        filled = " + ".join(f"({column} IS NOT NULL)::INT" for column in own)
        return arrow(
            live,
            f"""
            SELECT {id}, kept_id, evidence, known_time, simulated FROM (
              SELECT *, first_value({id}) OVER (PARTITION BY leader ORDER BY {filled} DESC,
                length(concat_ws('', {", ".join(own)})) DESC, {id}) AS kept_id
              FROM {declared.name} JOIN led ON {declared.name}.{id} = led.id)
            WHERE {id} <> kept_id ORDER BY {id}""",  # noqa: S608  names of declared columns
        )


def without(files: Sequence[Path], id: str, gone: Iterable[str]) -> "Iterator[pa.RecordBatch]":
    """The rows of these files whose `id` is not among `gone`, in their order."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    left_out = pa.array(sorted(gone), pa.string())
    for file in files:
        for batch in pq.ParquetFile(file).iter_batches():
            yield batch.filter(pc.invert(pc.is_in(batch.column(id), left_out)))
