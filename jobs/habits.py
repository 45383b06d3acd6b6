"""Shares of what was done: of a visitor's acts by category, brand, price, part of the day and channel; of a query's
clicks by category and item.

Pure functions of one visitor, or one query. Counts are whole numbers and sums of them have no order, so that a range
of days gives the bytes of its days one by one; a share is one division of two of them.

A row may need more than itself to be counted: the catalogue says the category of an item. It counts from the day on
by whose end both are known, and no value becomes known late because of the catalogue.
"""

from collections.abc import Iterator
from datetime import date
from typing import TYPE_CHECKING

from jobs.tables import table
from jobs.warehouse import arrow_schema

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    Integers = NDArray[np.int64]

HABIT_DAYS = 84
"""Three times four weeks: whole weeks, for a day of the week has habits of its own."""
QUERY_DAYS = 28
TOP = 10
"""Of categories, brands and bands the most frequent are kept; beyond them a share is a few percent at most."""
DAYPARTS = ("night", "morning", "afternoon", "evening")
"""Quarters of the day, UTC: 0 to 6, 6 to 12, 12 to 18, 18 to 24."""
_EPOCH = date(1970, 1, 1)
_DAY_US = 86_400_000_000
CELLS = 1 << 22
"""Counts held at a time: 32 MB, however many days and items a query has."""
_EXACT = 1 << 30
"""Terms of an entropy are whole multiples of 1/_EXACT: their sum has no order."""


def band_of(cents: int) -> int | None:
    """The band of a price in hundredths: the b with 2^(b-1) <= cents < 2^b; none for a price of nothing.

    >>> [band_of(cents) for cents in (0, 1, 2, 3, 4, 127, 128)]
    [None, 1, 2, 2, 3, 7, 8]
    """
    return cents.bit_length() if cents > 0 else None


def counted(
    days: "Integers", acts: "Integers", known: "Integers", keys: "Integers", width: int, length: int
) -> "Integers":
    """How often each key stands in the last `length` days of each of `days` (ascending); shape (days, width).

    `acts` are the days of the acts, `known` the days from which on they count, `keys` numbers below `width`.
    """
    import numpy as np

    enter = np.searchsorted(days, np.maximum(acts, known))
    leave = np.searchsorted(days, acts + length)
    kept = enter < leave
    steps = np.zeros((len(days) + 1, width), np.int64)
    np.add.at(steps, (enter[kept], keys[kept]), 1)
    np.add.at(steps, (leave[kept], keys[kept]), -1)
    return np.cumsum(steps[:-1], axis=0)


def shares(counts: "Integers", names: "pa.Array") -> "tuple[pa.Array, pa.Array]":
    """Of each row of counts the most frequent of `names` (ascending) and their shares of the row's sum, as lists; null
    where nothing was counted."""
    import numpy as np
    import pyarrow as pa

    order = np.argsort(-counts, axis=1, kind="stable")[:, :TOP]
    best = np.take_along_axis(counts, order, axis=1)
    there = best > 0
    offsets = pa.array(np.concatenate([[0], np.cumsum(there.sum(axis=1))]), pa.int32())
    parts = best / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    lists = (names.take(pa.array(order[there], pa.int64())), pa.array(parts[there], pa.float64()))
    nothing = pa.array(~there.any(axis=1))
    made = [pa.ListArray.from_arrays(offsets, values, mask=nothing) for values in lists]
    return made[0], made[1]


def entropy(counts: "Integers") -> "NDArray[np.float64]":
    """Bits of each row of counts, NaN where nothing was counted; click entropy of Dou, Song and Wen (WWW 2007).

    H = log2 N - sum(c log2 c) / N, the sum in whole multiples of 2^-30.
    """
    import numpy as np

    terms = np.rint(counts * np.log2(np.maximum(counts, 1)) * _EXACT).astype(np.int64).sum(axis=1) / _EXACT
    total = counts.sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        bits = np.log2(total.astype(np.float64)) - terms / total
    return np.where(total > 0, np.maximum(np.rint(bits * _EXACT) / _EXACT, 0.0), np.nan)


def _days(column: "pa.ChunkedArray") -> "Integers":
    """Days since 1970 of dates."""
    import numpy as np
    import pyarrow as pa

    days: Integers = column.cast(pa.int32()).to_numpy().astype(np.int64)
    return days


def _from(moments: "pa.ChunkedArray") -> "Integers":
    """The day by whose end each moment had come; a null never comes."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    filled = pc.fill_null(moments.cast(pa.int64()), np.iinfo(np.int64).max // 2)
    days: Integers = filled.to_numpy() // _DAY_US
    return days


def _in_parts(
    days: "Integers", acts: "Integers", known: "Integers", keys: "Integers", width: int, length: int
) -> "Iterator[Integers]":
    """`counted`, of some of the days at a time; at least once."""
    size = max(CELLS // width, 1)
    for start in range(0, max(len(days), 1), size):
        yield counted(days[start : start + size], acts, known, keys, width, length)


def _mix(
    days: "Integers", acts: "Integers", known: "Integers", keys: "pa.ChunkedArray", length: int
) -> "tuple[pa.Array, pa.Array]":
    """Keys and shares of each of `days`; acts without a key do not count."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    names = pc.unique(keys).drop_null().sort()
    places = pc.fill_null(pc.index_in(keys, names), -1).to_numpy().astype(np.int64)
    have = places >= 0
    parts = _in_parts(days, acts[have], known[have], places[have], max(len(names), 1), length)
    best, of_all = zip(*(shares(part, names) for part in parts), strict=True)
    return pa.concat_arrays(best), pa.concat_arrays(of_all)


def _asked(acts: "Integers", first: date, last: date) -> "Integers":
    """The distinct days from `first` to `last` on which something was done."""
    import numpy as np

    return np.unique(acts[(acts >= (first - _EPOCH).days) & (acts <= (last - _EPOCH).days)])


def habits(acts: "pa.Table", first: date, last: date) -> "pa.Table":
    """`stats.visitor_habits` of ONE visitor, of each day from `first` to `last` on which they did something.

    Takes visitor, day, known_time, hour (UTC), channel, cents (what one cost, of a purchase), category, brand and
    listed_known of all their acts, in any order.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    schema = arrow_schema(table("stats", "visitor_habits"))
    when = _days(acts["day"])
    days = _asked(when, first, last)
    if not len(days):
        return schema.empty_table()
    order = np.argsort(when, kind="stable")
    so_far = np.maximum.accumulate(acts["known_time"].cast(pa.int64()).to_numpy()[order])
    ends = (days + 1) * _DAY_US - 1
    known = np.maximum(ends, so_far[np.searchsorted(when[order], days, side="right") - 1])
    listed = _from(acts["listed_known"])
    parts = pa.array(acts["hour"].to_numpy() // 6, pa.int64())
    cents = pc.fill_null(acts["cents"], 0).to_numpy()
    bands = pa.array(np.frexp(cents)[1].astype(np.int64), mask=cents <= 0)  # as `band_of` has them
    mixes = {
        ("categories", "category_shares"): _mix(days, when, listed, acts["category"], HABIT_DAYS),
        ("brands", "brand_shares"): _mix(days, when, listed, acts["brand"], HABIT_DAYS),
        ("price_bands", "price_band_shares"): _mix(days, when, when, pa.chunked_array([bands]), HABIT_DAYS),
        ("dayparts", "daypart_shares"): _mix(
            days, when, when, pa.chunked_array([pa.array(DAYPARTS).take(parts)]), HABIT_DAYS
        ),
        ("channels", "channel_shares"): _mix(days, when, when, acts["channel"], HABIT_DAYS),
    }
    moment = pa.timestamp("us", tz="UTC")
    columns = {
        "visitor": pa.array([acts["visitor"][0].as_py()] * len(days), pa.string()),
        "event_time": pa.array(ends, pa.int64()).cast(moment),
        "known_time": pa.array(known, pa.int64()).cast(moment),
        **{name: values for names, lists in mixes.items() for name, values in zip(names, lists, strict=True)},
        "day": pa.array(days.astype(np.int32), pa.int32()).cast(pa.date32()),
    }
    return pa.table([columns[name].cast(schema.field(name).type) for name in schema.names], schema=schema)


INTENTS = "query string, day date, click_entropy_28d double, categories array<string>, category_shares array<double>"
"""What `intents` makes, in Spark's words."""


def intents(rows: "pa.Table", first: date, last: date) -> "pa.Table":
    """What the clicks of 28 days say of ONE query, of each day from `first` to `last` on which it was made.

    Takes query, day, item_id, category and listed_known: a row for each of its clicks, in any order, and at least one
    without an item for each day on which it was made.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    searched = rows.filter(pc.is_null(rows["item_id"]))
    clicks = rows.filter(pc.is_valid(rows["item_id"]))
    days, when = _asked(_days(searched["day"]), first, last), _days(clicks["day"])
    ids = pc.unique(clicks["item_id"])
    places = pc.index_in(clicks["item_id"], ids).to_numpy().astype(np.int64)
    parts = _in_parts(days, when, when, places, max(len(ids), 1), QUERY_DAYS)
    bits = np.concatenate([entropy(part) for part in parts])
    categories, of_all = _mix(days, when, _from(clicks["listed_known"]), clicks["category"], QUERY_DAYS)
    return pa.table(
        {
            "query": pa.array([rows["query"][0].as_py()] * len(days), pa.string()),
            "day": pa.array(days.astype(np.int32), pa.int32()).cast(pa.date32()),
            "click_entropy_28d": pa.array(bits, pa.float64(), from_pandas=True),
            "categories": categories,
            "category_shares": of_all,
        }
    )
