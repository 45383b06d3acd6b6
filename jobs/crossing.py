"""Crosses: how an item suits a visitor, made on demand from what is known of each.

`crossed` is the one function for it, of plain values: training rows (`crosses_then`) and look-ups (`crosses_now`) call
it with what the past knew, and with what is known now. Nothing is stored: pairs of visitors and items are too many.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from jobs.console import Problem
from jobs.features import look_up, shop_now, training_rows
from jobs.habits import band_of

if TYPE_CHECKING:
    import pyarrow as pa

CROSSES: Mapping[str, str] = {
    "category_affinity": "the share of the item's category in what the visitor did in 84 days",
    "brand_affinity": "the share of the item's brand in what the visitor did in 84 days",
    "price_affinity": "the share of the item's band of prices in what the visitor bought in 84 days",
    "category_lateness": "days since the visitor bought of the item's category, over the days from one such day to the "
    "next: above 1 they are late",
}
"""Each cross and what it means. Beyond the 10 most frequent categories, brands and bands a share counts as 0; what is
unknown of the visitor or of the item makes it none."""


@dataclass(frozen=True)
class Tastes:
    """A visitor's shares by key, to be asked about many items; None where nothing is known."""

    categories: Mapping[str, float] | None = None
    brands: Mapping[str, float] | None = None
    price_bands: Mapping[int, float] | None = None

    @staticmethod
    def of(values: Mapping[str, Any]) -> "Tastes":
        """From the values of visitor_habits."""

        def by_key(keys: str, parts: str) -> dict[Any, float] | None:
            known = values.get(keys)
            return dict(zip(known, values[parts], strict=True)) if known else None

        return Tastes(
            by_key("categories", "category_shares"),
            by_key("brands", "brand_shares"),
            by_key("price_bands", "price_band_shares"),
        )


@dataclass(frozen=True)
class Cycle:
    """When a visitor last bought of a category, and the days from one such day to the next; see visitor_cycles."""

    last: datetime
    days: float


def _share(parts: Mapping[Any, float] | None, key: Any) -> float | None:
    return None if parts is None or key is None else parts.get(key, 0.0)


def crossed(tastes: Tastes, item: Mapping[str, Any], cycle: Cycle | None, moment: datetime) -> dict[str, float | None]:
    """The crosses of one visitor and one item at `moment`. `item` has category, brand and price; `cycle` is that of the
    visitor and the item's category."""
    price = item.get("price")
    late = None if cycle is None else (moment - cycle.last) / timedelta(days=1) / cycle.days
    return {
        "category_affinity": _share(tastes.categories, item.get("category")),
        "brand_affinity": _share(tastes.brands, item.get("brand")),
        "price_affinity": _share(tastes.price_bands, band_of(round(price * 100)) if price is not None else None),
        "category_lateness": late,
    }


def _cycle(days: float | None, last: datetime | None) -> Cycle | None:
    return Cycle(last, days) if days is not None and last is not None else None


# ---- the past -------------------------------------------------------------------------------------


def crosses_then(shop: str, pairs: "pa.Table") -> "pa.Table":
    """Pairs (`visitor`, `item_id`, `event_time`) with their crosses as known at their event time; rows out are rows in,
    in their order. Each visitor, item and category of a moment is joined once."""
    import pyarrow as pa

    for column in ("visitor", "item_id", "event_time"):
        if column not in pairs.column_names:
            raise Problem(f"pairs need the column '{column}'")
    visitors, items, moments = (pairs[name].to_pylist() for name in ("visitor", "item_id", "event_time"))
    tastes = {
        key: Tastes.of(row)
        for key, row in _known(shop, "habits", ("visitor",), list(zip(visitors, moments, strict=True))).items()
    }
    asked = list(zip(items, moments, strict=True))
    facts, prices = _known(shop, "facts", ("item_id",), asked), _known(shop, "items", ("item_id",), asked)
    of_item = {key: {**facts[key], "price": prices[key]["price"]} for key in facts}
    shelves = [of_item[key]["category"] for key in asked]
    wanted = [each for each in zip(visitors, shelves, moments, strict=True) if each[1] is not None]
    bought = {
        key: _cycle(row["cycle_days"], row["visitor_cycles__event_time"])
        for key, row in _known(shop, "cycles", ("visitor", "category"), wanted).items()
    }
    made = [
        crossed(tastes[visitor, moment], of_item[item, moment], bought.get((visitor, shelf, moment)), moment)
        for visitor, item, shelf, moment in zip(visitors, items, shelves, moments, strict=True)
    ]
    for name in CROSSES:
        pairs = pairs.append_column(name, pa.array([row[name] for row in made], pa.float64()))
    return pairs


def _known(
    shop: str, service: str, keys: Sequence[str], asked: Sequence[tuple[Any, ...]]
) -> dict[tuple[Any, ...], dict[str, Any]]:
    """What a service knew of each distinct entity at its moment, the last of the tuple."""
    import pyarrow as pa

    distinct = list(dict.fromkeys(asked))
    if not distinct:
        return {}
    columns = list(zip(*distinct, strict=True))
    question = pa.table(
        {
            **{key: pa.array(values, pa.string()) for key, values in zip(keys, columns[:-1], strict=True)},
            "event_time": pa.array(columns[-1], pa.timestamp("us", tz="UTC")),
        }
    )
    return dict(zip(distinct, training_rows(shop, question, service).to_pylist(), strict=True))


# ---- now ------------------------------------------------------------------------------------------


def crosses_now(
    shop: str, visitor: str, item_ids: Sequence[str], *, now: datetime | None = None
) -> list[dict[str, float | None]]:
    """The crosses of a visitor with each of these items, in order, by what is known now."""
    if not item_ids:
        return []
    moment = now or shop_now(shop)
    (habits,) = look_up(shop, "habits", [{"visitor": visitor}], now=moment)
    entities = [{"item_id": item} for item in item_ids]
    facts, prices = look_up(shop, "facts", entities, now=moment), look_up(shop, "items", entities, now=moment)
    items = [{**f.values, "price": p.values["price"]} for f, p in zip(facts, prices, strict=True)]
    shelves = list(dict.fromkeys(item["category"] for item in items if item["category"] is not None))
    looked = look_up(shop, "cycles", [{"visitor": visitor, "category": shelf} for shelf in shelves], now=moment)
    bought = {
        shelf: _cycle(each.values["cycle_days"], each.event_times["cycle_days"])
        for shelf, each in zip(shelves, looked, strict=True)
    }
    tastes = Tastes.of(habits.values)
    return [crossed(tastes, item, bought.get(item["category"]), moment) for item in items]
