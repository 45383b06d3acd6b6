"""Which rows are about the same thing: near-duplicate items, and accounts of one person.

Found in clean rows; the fullest of a group stays, the others are listed beside it with the evidence. Identifiers that
served as evidence are kept as SHA-256 only, under the shop's own salt, never as they were.
"""

import hashlib
from collections.abc import Iterable
from functools import reduce

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from jobs.pseudonyms import Key

HASHES, ROWS_A_BAND = 32, 4
"""MinHash: 32 hashes in 8 bands of 4. Titles of likeness 0.9 meet in a band with probability 0.9998, of 0.5 with 0.4"""
NGRAM = 3
PRICES_APART = 0.05


def salt(key: Key) -> str:
    """The salt of evidence: made from the shop's key by a one-way function, so that it may stand in a plan."""
    return hashlib.sha256(b"endcap links" + key.secret).hexdigest()


def fullness(columns: Iterable[str]) -> Column:
    """How many of the columns hold something."""
    return reduce(lambda left, right: left + right, (F.col(c).isNotNull().cast("int") for c in columns))


def ngrams(text: Column) -> Column:
    """The distinct groups of three characters of a text; a shorter text is one group."""
    places = F.sequence(F.lit(1), F.greatest(F.length(text) - (NGRAM - 1), F.lit(1)))
    return F.array_distinct(F.transform(places, lambda place: F.substr(text, place, F.lit(NGRAM))))


def bands(grams: Column) -> Column:
    """One key for each band of MinHashes (Broder 1997); sets that share most of their members share some key."""
    least = [F.array_min(F.transform(grams, lambda gram, n=n: F.xxhash64(F.lit(n), gram))) for n in range(HASHES)]
    return F.array(*[F.xxhash64(F.lit(at), *least[at : at + ROWS_A_BAND]) for at in range(0, HASHES, ROWS_A_BAND)])


def likeness(one: Column, other: Column) -> Column:
    """Jaccard similarity of two sets."""
    return F.size(F.array_intersect(one, other)) / F.size(F.array_union(one, other))


def item_pairs(items: DataFrame, least: float) -> DataFrame:
    """(item_id, other, evidence) of items that are the same but for wording: linear in items, by stars around the
    smallest id of each band.

    Blocked: same brand, category and currency, the same numbers in title and size ('500 g' is not '1 kg'), and
    prices at most 5 % apart. Then the titles' likeness decides.
    """
    title = F.lower("title")
    numbers = F.array_sort(
        F.regexp_extract_all(F.concat_ws(" ", title, F.lower("size")), F.lit(r"(\d+(?:[.,]\d+)?)"), 1)
    )
    bare = F.trim(F.regexp_replace(title, r"[^\p{L}\p{N}]+", " "))
    block = F.xxhash64(*[F.coalesce(F.lower(c), F.lit("")) for c in ("brand", "category", "currency")], numbers)
    rows = items.select("item_id", "price", block.alias("_block"), ngrams(bare).alias("_grams"))
    keyed = rows.select("*", F.explode(bands(F.col("_grams"))).alias("_band"))
    star = Window.partitionBy("_block", "_band").orderBy("item_id")
    near = keyed.select(
        "item_id",
        F.first("item_id").over(star).alias("other"),
        "price",
        F.first("price").over(star).alias("_price"),
        "_grams",
        F.first("_grams").over(star).alias("_other_grams"),
    ).where("item_id <> other")
    alike = likeness(F.col("_grams"), F.col("_other_grams"))
    apart = F.abs(F.col("price") - F.col("_price")) > PRICES_APART * F.greatest("price", "_price")
    found = near.withColumn("_alike", alike).where((F.col("_alike") >= least) & ~F.coalesce(apart, F.lit(False)))
    told = F.concat(F.lit("title "), F.round(F.max("_alike"), 3).cast("string"))
    return found.groupBy("item_id", "other").agg(told.alias("evidence"))


def visitor_pairs(visitors: DataFrame, salt: str) -> DataFrame:
    """(visitor_id, other, evidence) of accounts that share an e-mail, or a telephone number and a name."""
    email = F.lower(F.trim("email"))
    name = F.regexp_replace(F.lower("name"), r"[^\p{L}]+", "")
    digits = F.regexp_replace("phone", r"\D", "")
    # The last nine digits: with or without country code and trunk zero a number is the same.
    phone = F.when(
        (F.length(digits) >= 7) & (F.length(name) > 0), F.concat(F.substr(digits, F.lit(-9)), F.lit(" "), name)
    )
    found = []
    for kind, value in (("e-mail", F.when(email.contains("@"), email)), ("telephone and name", phone)):
        hashed = F.substr(F.sha2(F.concat(F.lit(salt), F.lit(kind), value), 256), F.lit(1), F.lit(32))
        rows = visitors.select("visitor_id", hashed.alias("_h")).where("_h is not null")
        first = F.min("visitor_id").over(Window.partitionBy("_h"))
        stars = rows.withColumn("other", first).where("visitor_id <> other")
        found.append(stars.select("visitor_id", "other", F.concat(F.lit(f"{kind} "), "_h").alias("evidence")))
    return found[0].unionByName(found[1])


def groups(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
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

    for one, other in pairs:
        low, high = sorted((root(one), root(other)))
        leader[high] = low
    return {id: root(id) for id in sorted(leader)}


def linked(rows: DataFrame, pairs: DataFrame, id: str) -> DataFrame:
    """(id, kept_id, evidence): every row of a group but its fullest, and the fullest.

    Fullest: most columns filled, then the longest content, then the smallest id. The pairs pass through the driver:
    they are as many as duplicates, not as rows.
    """
    spark = rows.sparkSession
    edges = [(row[id], row["other"]) for row in pairs.select(id, "other").distinct().collect()]
    led = spark.createDataFrame(list(groups(edges).items()), f"{id} string, _group string")
    own = [c for c in rows.columns if c not in (id, "source_file", "source_row", "known_time", "simulated", "day")]
    content = F.length(F.concat_ws("", *[F.col(c).cast("string") for c in own]))
    best = Window.partitionBy("_group").orderBy(fullness(own).desc(), content.desc(), F.col(id))
    ranked = rows.join(F.broadcast(led), id).withColumn("kept_id", F.first(id).over(best))
    why = pairs.select(id, "evidence").unionByName(pairs.select(F.col("other").alias(id), "evidence"))
    told = why.groupBy(id).agg(F.concat_ws("; ", F.array_sort(F.collect_set("evidence"))).alias("evidence"))
    origin = [c for c in ("known_time", "simulated") if c in rows.columns]
    return ranked.where(F.col(id) != F.col("kept_id")).join(told, id).select(id, "kept_id", "evidence", *origin)
