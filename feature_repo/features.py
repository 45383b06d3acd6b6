"""What is known of an item, a visitor and a query: Feast's definitions, in one file without siblings.

Every value is true at its `event_time`, the end of a day (UTC), and was known from `known_time` on; one of a session
at the second of its newest touch.
A source's path names a table of the warehouse; jobs.feast_store resolves it to published partitions.
A value older than its `ttl` is expired: null in training and in look-ups alike.
"""

from datetime import timedelta

from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType
from feast.data_format import ParquetFormat
from feast.types import Array, Float64, Int64, String, UnixTimestamp

OWNER = "endcap"
YEAR = timedelta(days=365)

visitor = Entity(
    name="visitor", join_keys=["visitor"], value_type=ValueType.STRING, description="A visitor, by pseudonym."
)
item = Entity(name="item", join_keys=["item_id"], value_type=ValueType.STRING, description="A thing the shop sells.")
query = Entity(name="query", join_keys=["query"], value_type=ValueType.STRING, description="A query, normalised.")
category = Entity(
    name="category", join_keys=["category"], value_type=ValueType.STRING, description="A category of the catalogue."
)


def _source(table: str) -> FileSource:
    return FileSource(
        name=table,
        path=f"stats/{table}",
        file_format=ParquetFormat(),
        timestamp_field="event_time",
        created_timestamp_column="known_time",
        description=f"Published partitions of stats/{table}.",
        owner=OWNER,
    )


def _view(
    name: str,
    entities: list[Entity],
    ttl: timedelta,
    description: str,
    personal: str,
    features: list[Field],
    table: str | None = None,
) -> FeatureView:
    """A view of some columns of the table of its name, or of another `table`."""
    keys = [Field(name=entity.join_key, dtype=String) for entity in entities]
    return FeatureView(
        name=name,
        entities=entities,
        schema=[*keys, *features],
        source=_source(table or name),
        ttl=ttl,
        online=True,
        description=description,
        owner=OWNER,
        tags={"zone": "stats", "table": table or name, "personal": personal},
    )


def _feature(name: str, dtype: object, description: str, deprecated: str = "") -> Field:
    """`deprecated`: since when, and what to use. A feature goes a version after it was tagged so, never before."""
    return Field(name=name, dtype=dtype, description=description, tags={"deprecated": deprecated} if deprecated else {})


item_stats = _view(
    "item_stats",
    [item],
    YEAR,
    "An item, at the end of the last day on which something happened to it.",
    "no",
    [
        _feature("purchases_28d", Int64, "purchases in the 28 days up to its event time"),
        _feature("clicks_28d", Int64, "clicks in the 28 days up to its event time"),
        _feature("shown_28d", Float64, "expected views in these 28 days: impressions weighted by 1/position"),
        _feature("purchases_decayed", Float64, "purchases, each halved every 60 days, as of its event time"),
        _feature("price", Float64, "what one cost on average that day, else the catalogue's price"),
        _feature("rating", Float64, "mean stars so far"),
    ],
)

visitor_stats = _view(
    "visitor_stats",
    [visitor],
    YEAR,
    "A visitor, at the end of the last day on which they did something.",
    "visitor",
    [
        _feature("purchases_28d", Int64, "purchases in the 28 days up to its event time"),
        _feature("spend_28d", Float64, "money spent in these 28 days"),
        _feature("baskets_28d", Int64, "baskets in these 28 days"),
        _feature("searches_28d", Int64, "searches in these 28 days"),
        _feature("days_since_purchase", Float64, "days since the purchase before that day; none if it was the first"),
    ],
)

visitor_history = _view(
    "visitor_history",
    [visitor],
    YEAR,
    "What a visitor bought: the last 200 distinct items, newest first.",
    "visitor",
    [
        _feature("items", Array(String), "item ids, newest first, ties by id"),
        _feature("times", Array(UnixTimestamp), "when each was last bought, in whole seconds"),
        _feature("counts", Array(Int64), "how often each was bought"),
        _feature("decayed", Array(Float64), "purchases of each, each halved every 60 days, as of its event time"),
    ],
)

visitor_session = _view(
    "visitor_session",
    [visitor],
    timedelta(minutes=30),
    "What a visitor touches now: written as it happens, by the API alone; the past is told by the same fold.",
    "visitor",
    [
        _feature("session_items", Array(String), "item ids of the last 50 touches of two hours, newest first"),
        _feature("session_kinds", Array(String), "what was done with each: view, click, cart, purchase, dwell"),
        _feature("session_times", Array(UnixTimestamp), "when each was touched, to the whole second"),
        _feature("session_started", UnixTimestamp, "when the run of touches began that no gap of 30 minutes parts"),
    ],
)

visitor_activity = _view(
    "visitor_activity",
    [visitor],
    YEAR,
    "How often a visitor comes and what a basket of theirs costs.",
    "visitor",
    [
        _feature("days_since_active", Float64, "days since the day before on which they did something"),
        _feature("active_days_28d", Int64, "days of the 28 up to its event time on which they did something"),
        _feature("spend_per_basket_28d", Float64, "money spent in these 28 days over baskets; none without a basket"),
    ],
    table="visitor_stats",
)

visitor_habits = _view(
    "visitor_habits",
    [visitor],
    YEAR,
    "How a visitor shops: shares of what they viewed, clicked, put into a cart and bought in 84 days, the 10 largest.",
    "visitor",
    [
        _feature("categories", Array(String), "categories of these items, the most frequent first"),
        _feature("category_shares", Array(Float64), "the share of each"),
        _feature("brands", Array(String), "brands of these items, the most frequent first"),
        _feature("brand_shares", Array(Float64), "the share of each"),
        _feature("price_bands", Array(Int64), "bands of what they bought; band b is below 2^b cents"),
        _feature("price_band_shares", Array(Float64), "the share of each"),
        _feature("dayparts", Array(String), "night, morning, afternoon, evening: quarters of the day, UTC"),
        _feature("daypart_shares", Array(Float64), "the share of each"),
        _feature("channels", Array(String), "web, app, store, social"),
        _feature("channel_shares", Array(Float64), "the share of each"),
    ],
)

visitor_cycles = _view(
    "visitor_cycles",
    [visitor, category],
    YEAR,
    "How regularly a visitor buys of a category, at the end of the last day on which they did.",
    "visitor",
    [
        _feature("purchase_days", Int64, "days so far on which they bought of it"),
        _feature("cycle_days", Float64, "days from one of these to the next, on average; none if there was one"),
        _feature("cycle_spread", Float64, "standard deviation of these days"),
    ],
)

item_popularity = _view(
    "item_popularity",
    [item],
    timedelta(days=28),
    "How much is made of an item: counts over 1, 7 and 28 days, and rates. Expired when the longest of them is empty.",
    "no",
    [
        *[
            _feature(f"{what}_{days}d", Int64, f"{meaning} in the {days} days up to its event time")
            for what, meaning in (
                ("views", "views"),
                ("clicks", "clicks"),
                ("carts", "times put into a cart"),
                ("purchases", "purchases, less what came back,"),
            )
            for days in (1, 7, 28)
            if (what, days) not in {("clicks", 28), ("purchases", 28)}  # item_stats has them
        ],
        _feature("click_rate_28d", Float64, "clicks over expected views of 28 days, posterior mean of a Beta(1, 19)"),
        _feature("purchase_rate_28d", Float64, "purchases over expected views of 28 days, of a Beta(1, 99)"),
    ],
    table="item_stats",
)

item_facts = _view(
    "item_facts",
    [item],
    YEAR,
    "What an item is, what it costs and how new it is.",
    "no",
    [
        _feature("category", String, "the catalogue's category"),
        _feature("brand", String, "the catalogue's brand"),
        _feature("language", String, "the language of its title: en, zh or other"),
        _feature("title_length", Int64, "characters of its title"),
        _feature("description_length", Int64, "characters of its description, 0 without one"),
        _feature("price_28d", Float64, "what one cost on average in the 28 days up to its event time"),
        _feature("price_change_28d", Float64, "price over price_28d, less 1"),
        _feature("days_since_first_seen", Float64, "days since something happened to it for the first time"),
        _feature("days_since_sold", Float64, "days since it was last sold"),
        _feature("ratings", Int64, "how many stars its rating is the mean of"),
    ],
    table="item_stats",
)

query_stats = _view(
    "query_stats",
    [query],
    timedelta(days=90),
    "A query that at least 3 visitors made, at the end of the last day on which it was made.",
    "no",
    [
        _feature("searches_28d", Int64, "searches in the 28 days up to its event time"),
        _feature("visitors_28d", Int64, "distinct visitors in these 28 days"),
        _feature("clicks_28d", Int64, "clicks on its rankings in these 28 days"),
    ],
)

query_intent = _view(
    "query_intent",
    [query],
    timedelta(days=90),
    "What the visitors who make a query are after, and whether they find it.",
    "no",
    [
        _feature("searches_1d", Int64, "searches on the day of its event time"),
        _feature("searches_7d", Int64, "searches in the 7 days up to its event time"),
        _feature("reformulation_rate_28d", Float64, "share of searches of 28 days with another one within 10 minutes"),
        _feature("click_entropy_28d", Float64, "bits: how widely its clicks of 28 days are spread over items"),
        _feature("categories", Array(String), "categories of the items clicked in 28 days, the most frequent first"),
        _feature("category_shares", Array(Float64), "the share of each"),
    ],
    table="query_stats",
)


def _service(name: str, description: str, features: list[object], **tags: str) -> FeatureService:
    return FeatureService(name=name, features=features, description=description, owner=OWNER, tags=tags)


# What is looked up together, by one key or several.
recommender = _service("recommender", "What the recommender knows of a visitor.", [visitor_history, visitor_stats])
session = _service("session", "What the recommender knows of a visit that goes on.", [visitor_session])
items = _service("items", "What ranking and recommending know of an item.", [item_stats])
queries = _service("queries", "What is known of a query.", [query_stats, query_intent])
habits = _service("habits", "How a visitor shops.", [visitor_habits, visitor_activity])
facts = _service("facts", "What an item is, and how much is made of it.", [item_facts, item_popularity])
cycles = _service("cycles", "How regularly a visitor buys of a category.", [visitor_cycles])

# What a version of a model reads, feature by feature. One that a bundle names stays as it is.
recommender_v1 = _service(
    "recommender_v1",
    "What bundles of the first recommender read.",
    [
        visitor_history,
        visitor_stats[["purchases_28d", "baskets_28d"]],
        item_stats[["purchases_28d", "purchases_decayed", "price"]],
    ],
    model="recommend",
    version="1",
)
