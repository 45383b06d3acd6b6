"""What is known of an item, a visitor and a query: Feast's definitions, in one file without siblings.

Every value is true at its `event_time`, the end of a day (UTC), and was known from `known_time` on.
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
    name: str, entity: Entity, ttl: timedelta, description: str, personal: str, features: list[Field]
) -> FeatureView:
    key = Field(name=entity.join_key, dtype=String)
    return FeatureView(
        name=name,
        entities=[entity],
        schema=[key, *features],
        source=_source(name),
        ttl=ttl,
        online=True,
        description=description,
        owner=OWNER,
        tags={"zone": "stats", "personal": personal},
    )


def _feature(name: str, dtype: object, description: str) -> Field:
    return Field(name=name, dtype=dtype, description=description)


item_stats = _view(
    "item_stats",
    item,
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
    visitor,
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
    visitor,
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

query_stats = _view(
    "query_stats",
    query,
    timedelta(days=90),
    "A query that at least 3 visitors made, at the end of the last day on which it was made.",
    "no",
    [
        _feature("searches_28d", Int64, "searches in the 28 days up to its event time"),
        _feature("visitors_28d", Int64, "distinct visitors in these 28 days"),
        _feature("clicks_28d", Int64, "clicks on its rankings in these 28 days"),
    ],
)

recommender = FeatureService(
    name="recommender",
    features=[visitor_history, visitor_stats],
    description="What the recommender knows of a visitor.",
    owner=OWNER,
)
items = FeatureService(
    name="items", features=[item_stats], description="What ranking and recommending know of an item.", owner=OWNER
)
queries = FeatureService(name="queries", features=[query_stats], description="What is known of a query.", owner=OWNER)
