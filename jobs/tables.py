"""The tables: one name, one schema, one meaning for each, in every zone.

Standard library only. Steps declare what they take and give by these names; schemas for Arrow
and Spark, the data dictionary and the checks are all derived from here.
"""

from dataclasses import dataclass, replace
from typing import Literal

from jobs.console import one_of

WHOLE = "whole"  # the one partition of a table that has no days
LEAST_VISITORS = 3
"""A query that fewer visitors made is rare: its text can tell who typed it. No training set, feature, index or report
holds it; the one setting of this, and `aggregate` and `examples` count what it leaves out."""
Zone = Literal["raw", "clean", "safe", "stats", "examples", "quarantine"]
Personal = Literal["no", "visitor", "direct", "quasi", "text"]
"""What a column tells of a person: nothing; who the visitor is; a direct identifier; a quasi-identifier; free text."""

Kind = Literal[
    "string",
    "long",
    "double",
    "boolean",
    "date",
    "timestamp",
    "decimal(12,2)",
    "array<string>",
    "array<long>",
    "array<double>",
    "array<timestamp>",
]


@dataclass(frozen=True)
class Column:
    """A column: its name, its type in Spark's words, what it means, and what it tells of a person."""

    name: str
    kind: Kind
    doc: str
    personal: Personal = "no"
    required: bool = False


@dataclass(frozen=True)
class Table:
    """A table of one zone. `key` is unique within a day (within the whole, if `dated` is false)."""

    name: str
    doc: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    dated: bool = True

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)

    def __getitem__(self, name: str) -> Column:
        return next(column for column in self.columns if column.name == name)


def _c(name: str, kind: Kind, doc: str, personal: Personal = "no", required: bool = False) -> Column:
    return Column(name, kind, doc, personal, required)


_VISITOR = _c("visitor_id", "string", "the shop's own id of the visitor", "visitor", required=True)
_EVENT = _c("event_time", "timestamp", "when it happened (UTC)", required=True)
_ITEM = _c("item_id", "string", "the shop's id of the item", required=True)

# What a shop delivers, as it is after cleaning. The raw zone holds the same columns as text.
_DELIVERED = (
    Table(
        "items",
        "What the shop sells.",
        (
            _ITEM,
            _c("title", "string", "the name a visitor reads", required=True),
            _c("description", "string", "longer text, without markup"),
            _c("brand", "string", "who makes it"),
            _c("category", "string", "the shelf"),
            _c("department", "string", "the floor"),
            _c("size", "string", "package size as printed"),
            _c("price", "decimal(12,2)", "price of one, in `currency`"),
            _c("currency", "string", "ISO 4217 code"),
        ),
        key=("item_id",),
        dated=False,
    ),
    Table(
        "visitors",
        "People or households known to the shop.",
        (
            _VISITOR,
            _c("name", "string", "name of the person", "direct"),
            _c("email", "string", "e-mail address", "direct"),
            _c("phone", "string", "telephone number", "direct"),
            _c("address", "string", "street address", "direct"),
            _c("postcode", "string", "postal code", "quasi"),
            _c("age", "string", "age bracket", "quasi"),
            _c("income", "string", "income bracket", "quasi"),
            _c("home_ownership", "string", "owner, renter", "quasi"),
            _c("marital_status", "string", "marital status", "quasi"),
            _c("household_size", "string", "people in the household", "quasi"),
            _c("kids", "string", "children in the household", "quasi"),
        ),
        key=("visitor_id",),
        dated=False,
    ),
    Table(
        "offers",
        "Coupons and campaigns, one row for each item they are about.",
        (
            _c("offer_id", "string", "the coupon or advertisement", required=True),
            _ITEM,
            _c("campaign_id", "string", "the campaign it belongs to", required=True),
            _c("kind", "string", "coupon, advertisement"),
            _c("first_day", "date", "valid from"),
            _c("last_day", "date", "valid until"),
        ),
        key=("offer_id", "item_id", "campaign_id"),
        dated=False,
    ),
    Table(
        "judgements",
        "Human grades of how well an item answers a query.",
        (
            _c("query", "string", "what was searched for", required=True),
            _ITEM,
            _c("rater", "string", "who graded", required=True),
            _c("grade", "long", "0 not at all to 3 exactly", required=True),
        ),
        key=("query", "item_id", "rater"),
        dated=False,
    ),
    Table(
        "searches",
        "What visitors asked for.",
        (
            _c("search_id", "string", "id of the search", required=True),
            _EVENT,
            _VISITOR,
            _c("session_id", "string", "id of the visit", "visitor"),
            _c("channel", "string", "web, app, store, social"),
            _c("query", "string", "the words typed", "text", required=True),
        ),
        key=("search_id",),
    ),
    Table(
        "rankings",
        "What we showed, one row for each position.",
        (
            _c("ranking_id", "string", "id of the ranking", required=True),
            _EVENT,
            _VISITOR,
            _c("search_id", "string", "the search it answers, if it answers one"),
            _c("surface", "string", "search, recommend"),
            _ITEM,
            _c("position", "long", "1 is the top", required=True),
            _c("propensity", "double", "probability with which this item was shown here", required=True),
        ),
        key=("ranking_id", "position"),
    ),
    Table(
        "interactions",
        "What visitors did with a ranking or an item.",
        (
            _c("interaction_id", "string", "id of the interaction", required=True),
            _EVENT,
            _VISITOR,
            _ITEM,
            _c("kind", "string", "view, click, cart, purchase, dwell, return, cancel", required=True),
            _c("ranking_id", "string", "the ranking it answers, if any"),
            _c("quantity", "long", "how many were bought"),
            _c("amount", "decimal(12,2)", "what was paid for them"),
            _c("dwell_seconds", "double", "how long the item was looked at"),
            _c("channel", "string", "web, app, store, social"),
            _c("store_id", "string", "which store, in the store channel"),
            _c("basket_id", "string", "the basket of a purchase", "visitor"),
        ),
        key=("interaction_id",),
    ),
    Table(
        "reviews",
        "What visitors wrote about items.",
        (
            _c("review_id", "string", "id of the review", required=True),
            _EVENT,
            _VISITOR,
            _ITEM,
            _c("rating", "long", "1 to 5 stars"),
            _c("text", "string", "the words", "text"),
        ),
        key=("review_id",),
    ),
    Table(
        "tickets",
        "What visitors wrote to support.",
        (
            _c("ticket_id", "string", "id of the ticket", required=True),
            _EVENT,
            _VISITOR,
            _c("topic", "string", "what it is about, as support filed it"),
            _c("text", "string", "the words", "text"),
        ),
        key=("ticket_id",),
    ),
    Table(
        "offer_events",
        "What visitors did with offers, and which they were sent.",
        (
            _c("offer_event_id", "string", "id of the event", required=True),
            _EVENT,
            _VISITOR,
            _c("offer_id", "string", "the coupon or advertisement; none for a whole campaign"),
            _c("campaign_id", "string", "the campaign", required=True),
            _c("kind", "string", "sent, redeemed", required=True),
        ),
        key=("offer_event_id",),
    ),
    Table(
        "promotions",
        "Where items were placed: displays in stores, pages of mailers; the day is the week's first.",
        (
            _EVENT,
            _ITEM,
            _c("store_id", "string", "which store", required=True),
            _c("display", "string", "place of the display in the store"),
            _c("mailer", "string", "place in the weekly mailer"),
        ),
        key=("event_time", "item_id", "store_id", "display", "mailer"),
    ),
)

# Columns that every row of a shop carries through the zones.
KNOWN_TIME = _c("known_time", "timestamp", "when the shop could know the row (UTC)", required=True)
SIMULATED = _c("simulated", "boolean", "made by the simulator, not by people", required=True)
DAY = _c("day", "date", "the UTC date under which the row is filed", required=True)
ORIGIN = (
    _c(
        "source_file",
        "string",
        "the shop's file: its name in the delivered folder, never a path of a machine",
        required=True,
    ),
    _c("source_row", "long", "position in that file, from 1 (a line; a row of Parquet)", required=True),
    KNOWN_TIME,
    SIMULATED,
)
UNREADABLE = _c("unreadable", "string", "the line as it came, where it could not be read into columns", "text")
EXTRA = _c(
    "extra", "string", "the publisher's fields that no mapping declares, as JSON; empty if there are none", "text"
)
LANGUAGE = _c("language", "string", "language of the text: en, zh or other")
SIZE = (
    _c("size_amount", "double", "package size as a number of `size_unit`"),
    _c("size_unit", "string", "g, ml or piece"),
)
ADDED = tuple(c.name for c in (*SIZE, LANGUAGE, *ORIGIN, DAY))
"""Columns that `import` or `clean` gives, and no shop delivers."""
_TEXT_COLUMN = {"items": "title", "searches": "query", "reviews": "text", "tickets": "text"}

PSEUDONYM = _c("visitor", "string", "the visitor's pseudonym (HMAC-SHA-256 with a key epoch)", "visitor", required=True)


def _raw(table: Table) -> Table:
    columns = tuple(replace(column, kind="string", required=False) for column in table.columns)
    return replace(
        table,
        columns=(*columns, *ORIGIN, UNREADABLE, EXTRA, *([DAY] if table.dated else [])),
        key=("source_file", "source_row"),
    )


def _clean(table: Table) -> Table:
    return replace(table, columns=(*table.columns, *_understood(table), *ORIGIN, *([DAY] if table.dated else [])))


def _understood(table: Table) -> tuple[Column, ...]:
    """Columns that `clean` adds."""
    size = SIZE if table.name == "items" else ()
    return (*size, LANGUAGE) if table.name in _TEXT_COLUMN else size


def _safe(table: Table) -> Table:
    """Direct identifiers and places in files are gone, the visitor is a pseudonym; texts are scrubbed."""
    kept = [PSEUDONYM if c.name == "visitor_id" else c for c in table.columns if c.personal != "direct"]
    key = tuple("visitor" if name == "visitor_id" else name for name in table.key)
    return replace(
        table, key=key, columns=(*kept, *_understood(table), KNOWN_TIME, SIMULATED, *([DAY] if table.dated else []))
    )


LINKS = {"items": "item_links", "visitors": "visitor_links"}
"""Tables whose rows may be about the same thing, and the table of the clean zone that says which are."""
_EVIDENCE = (
    _c("kept_id", "string", "the fullest of them", required=True),
    _c("evidence", "string", "what shows that they are the same; identifiers as salted hashes", required=True),
    _c("merged", "boolean", "whether the row was merged into the kept one, or only listed", required=True),
    KNOWN_TIME,
    SIMULATED,
)
_LINKS = (
    Table(
        "item_links",
        "Items that are the same but for their wording.",
        (_ITEM, *_EVIDENCE),
        key=("item_id",),
        dated=False,
    ),
    Table(
        "visitor_links",
        "Accounts of one person.",
        (_VISITOR, replace(_EVIDENCE[0], personal="visitor"), *_EVIDENCE[1:]),
        key=("visitor_id",),
        dated=False,
    ),
)

_AS_OF = _c("event_time", "timestamp", "the moment this value is true at: the end of the day (UTC)", required=True)

_TOP = "at most 10, the most frequent first, ties in order"
_CATALOGUED = "none before the catalogue was known"

_STATS = (
    Table(
        "item_stats",
        "An item, at the end of each day on which something happened to it.",
        (
            _ITEM,
            _AS_OF,
            KNOWN_TIME,
            _c("purchases_28d", "long", "purchases in the last 28 days, less what came back in them"),
            _c("clicks_28d", "long", "clicks in the last 28 days"),
            _c(
                "shown_28d",
                "double",
                "expected views in the last 28 days: impressions weighted by examination of position",
            ),
            _c("purchases_decayed", "double", "purchases, each halved every 60 days, as of event_time"),
            _c("price", "double", "what one cost on average that day, else the catalogue's price"),
            _c("rating", "double", "mean stars so far"),
            _c("purchases_1d", "long", "purchases on that day, less what came back on it"),
            _c("purchases_7d", "long", "purchases in the last 7 days, less what came back in them"),
            _c("views_1d", "long", "views on that day"),
            _c("views_7d", "long", "views in the last 7 days"),
            _c("views_28d", "long", "views in the last 28 days"),
            _c("clicks_1d", "long", "clicks on that day"),
            _c("clicks_7d", "long", "clicks in the last 7 days"),
            _c("carts_1d", "long", "times put into a cart on that day"),
            _c("carts_7d", "long", "times put into a cart in the last 7 days"),
            _c("carts_28d", "long", "times put into a cart in the last 28 days"),
            _c("click_rate_28d", "double", "clicks on rankings over shown_28d, drawn to 5 % as by 20 expected views"),
            _c("purchase_rate_28d", "double", "purchases from rankings over shown_28d, drawn to 1 % as by 100 of them"),
            _c("price_28d", "double", "what one cost on average in the last 28 days; none if it was not sold"),
            _c("price_change_28d", "double", "price over price_28d, less 1"),
            _c("days_since_first_seen", "double", "days since something happened to it for the first time"),
            _c("days_since_sold", "double", "days since it was last sold; 0 if on that day, none if never"),
            _c("ratings", "long", "how many stars so far"),
            _c("category", "string", f"the catalogue's category; {_CATALOGUED}"),
            _c("brand", "string", f"the catalogue's brand; {_CATALOGUED}"),
            _c("language", "string", f"the language of its title: en, zh or other; {_CATALOGUED}"),
            _c("title_length", "long", f"characters of its title; {_CATALOGUED}"),
            _c("description_length", "long", f"characters of its description, 0 without one; {_CATALOGUED}"),
            DAY,
        ),
        key=("item_id",),
    ),
    Table(
        "visitor_stats",
        "A visitor, at the end of each day on which they did something.",
        (
            PSEUDONYM,
            _AS_OF,
            KNOWN_TIME,
            _c("purchases_28d", "long", "purchases in the last 28 days, less what came back in them"),
            _c("spend_28d", "double", "money spent in the last 28 days, less what was given back"),
            _c("baskets_28d", "long", "baskets in the last 28 days"),
            _c("searches_28d", "long", "searches in the last 28 days"),
            _c("days_since_purchase", "double", "days since the purchase before this day; none if it is the first"),
            _c("days_since_active", "double", "days since the day before on which they did something; none if first"),
            _c("active_days_28d", "long", "days of the last 28 on which they did something"),
            _c("spend_per_basket_28d", "double", "spend_28d over baskets_28d; none without a basket"),
            DAY,
        ),
        key=("visitor",),
    ),
    Table(
        "visitor_history",
        "What a visitor bought: the last 200 distinct items, newest first.",
        (
            PSEUDONYM,
            _AS_OF,
            KNOWN_TIME,
            _c("items", "array<string>", "item ids, newest first, ties by id"),
            _c("times", "array<timestamp>", "when each was last bought"),
            _c("counts", "array<long>", "how often each was bought"),
            _c("decayed", "array<double>", "purchases of each, each halved every 60 days, as of event_time"),
            DAY,
        ),
        key=("visitor",),
    ),
    Table(
        "visitor_session",
        "What a visitor touched lately, each time that something of it became known.",
        (
            PSEUDONYM,
            _c("event_time", "timestamp", "when the newest touch happened, to the whole second (UTC)", required=True),
            KNOWN_TIME,
            _c("session_items", "array<string>", "item ids of the last 50 touches of two hours, newest first"),
            _c("session_kinds", "array<string>", "what was done with each: view, click, cart, purchase, dwell"),
            _c("session_times", "array<timestamp>", "when each was touched, to the whole second"),
            _c("session_started", "timestamp", "when the run of touches began that no gap of 30 minutes parts"),
            DAY,
        ),
        key=("visitor", "event_time", "known_time"),
    ),
    Table(
        "visitor_habits",
        "How a visitor shops, at the end of each day on which they viewed, clicked, put into a cart or bought: shares "
        "of these acts in the last 84 days.",
        (
            PSEUDONYM,
            _AS_OF,
            KNOWN_TIME,
            _c("categories", "array<string>", f"categories of the items; {_TOP}"),
            _c("category_shares", "array<double>", "the share of each of all acts whose item has a category"),
            _c("brands", "array<string>", f"brands of the items; {_TOP}"),
            _c("brand_shares", "array<double>", "the share of each of all acts whose item has a brand"),
            _c("price_bands", "array<long>", f"bands of what one cost, band b below 2^b cents; {_TOP}"),
            _c("price_band_shares", "array<double>", "the share of each of all purchases with a price"),
            _c("dayparts", "array<string>", f"night, morning, afternoon, evening: quarters of the day (UTC); {_TOP}"),
            _c("daypart_shares", "array<double>", "the share of each of all acts"),
            _c("channels", "array<string>", f"channels; {_TOP}"),
            _c("channel_shares", "array<double>", "the share of each of all acts whose channel is known"),
            DAY,
        ),
        key=("visitor",),
    ),
    Table(
        "visitor_cycles",
        "How regularly a visitor buys of a category, at the end of each day on which they did.",
        (
            PSEUDONYM,
            _c("category", "string", "the catalogue's category", required=True),
            _AS_OF,
            KNOWN_TIME,
            _c("purchase_days", "long", "days so far on which they bought of it"),
            _c("cycle_days", "double", "days from one of these to the next, on average; none if there was one"),
            _c("cycle_spread", "double", "standard deviation of these days; none if there was one"),
            DAY,
        ),
        key=("visitor", "category"),
    ),
    Table(
        "query_stats",
        f"A query that at least {LEAST_VISITORS} visitors made, at the end of each day on which it was made.",
        (
            _c("query", "string", "the query, normalised", required=True),
            _AS_OF,
            KNOWN_TIME,
            _c("searches_28d", "long", "searches in the last 28 days"),
            _c("visitors_28d", "long", "distinct visitors in the last 28 days"),
            _c("clicks_28d", "long", "clicks on its rankings in the last 28 days"),
            _c("searches_1d", "long", "searches on that day"),
            _c("searches_7d", "long", "searches in the last 7 days"),
            _c(
                "reformulation_rate_28d",
                "double",
                "share of its searches of the last 28 days after which the visitor searched for something else within "
                "10 minutes of the same day",
            ),
            _c("click_entropy_28d", "double", "bits: how widely its clicks of 28 days are spread over items"),
            _c("categories", "array<string>", f"categories of the items clicked in the last 28 days; {_TOP}"),
            _c("category_shares", "array<double>", "the share of each of all these clicks whose item has a category"),
            DAY,
        ),
        key=("query",),
    ),
)

_SPLIT = _c(
    "split",
    "string",
    "train, validation or test: by time, with no row's label before another's end; or nonmember: of a visitor who "
    "teaches no model, for attacks on models",
    required=True,
)
_CUTOFF = _c("event_time", "timestamp", "the moment of the question: nothing later was known (UTC)", required=True)

_EXAMPLES = (
    Table(
        "recommender",
        "What a visitor bought after a moment, and what was known of them at that moment.",
        (
            PSEUDONYM,
            _CUTOFF,
            _SPLIT,
            _c("history_time", "timestamp", "the moment the history is true at"),
            _c("history_items", "array<string>", "visitor_history.items"),
            _c("history_times", "array<timestamp>", "visitor_history.times"),
            _c("history_counts", "array<long>", "visitor_history.counts"),
            _c("history_decayed", "array<double>", "visitor_history.decayed, as of history_time"),
            _c("purchases_28d", "long", "visitor_stats.purchases_28d"),
            _c("spend_28d", "double", "visitor_stats.spend_28d"),
            _c("baskets_28d", "long", "visitor_stats.baskets_28d"),
            _c("session_items", "array<string>", "visitor_session.session_items"),
            _c("session_kinds", "array<string>", "visitor_session.session_kinds"),
            _c("session_times", "array<timestamp>", "visitor_session.session_times"),
            _c(
                "next_basket",
                "array<string>",
                "label: the items of the first basket in the 28 days after",
                required=True,
            ),
            _c("next_28d", "array<string>", "label: all items bought in the 28 days after", required=True),
        ),
        key=("visitor", "event_time"),
        dated=False,
    ),
    Table(
        "recommender_items",
        "What was known of every item at each moment of the questions.",
        (
            _ITEM,
            _CUTOFF,
            _SPLIT,
            _c("stats_time", "timestamp", "the moment the statistics are true at"),
            _c("purchases_28d", "long", "item_stats.purchases_28d"),
            _c("purchases_decayed", "double", "item_stats.purchases_decayed, as of stats_time"),
            _c("price", "double", "item_stats.price"),
        ),
        key=("item_id", "event_time"),
        dated=False,
    ),
    Table(
        "encoder",
        "A query and an item that answers it, to learn from.",
        (
            _c(
                "query",
                "string",
                f"the query, normalised; made by at least {LEAST_VISITORS} visitors, or made from the catalogue",
                required=True,
            ),
            LANGUAGE,
            _ITEM,
            _SPLIT,
            _c("source", "string", "click, purchase, catalogue", required=True),
            _c(
                "weight",
                "double",
                "inverse of the propensity with which it was shown, clipped; 1 from the catalogue",
                required=True,
            ),
        ),
        key=("query", "item_id", "source"),
        dated=False,
    ),
    Table(
        "encoder_visitors",
        "Whose clicks and purchases made the encoder's pairs: for attacks; no model learns from it.",
        (
            PSEUDONYM,
            _c("query", "string", "the query, normalised; made by at least 3 visitors", required=True),
            _ITEM,
            _c("split", "string", "train, or nonmember: of a visitor who teaches no model", required=True),
        ),
        key=("visitor", "query", "item_id"),
        dated=False,
    ),
)

QUARANTINE_COLUMNS = (
    _c("step", "string", "the step that refused the row", required=True),
    _c("reason", "string", "reason code", required=True),
    _c("detail", "string", "which column, which limit"),
    _c("row", "string", "the whole row as it came to the step, as JSON", "text", required=True),
    *ORIGIN,
    DAY,
)

_BY_ZONE: dict[str, dict[str, Table]] = {
    "raw": {t.name: _raw(t) for t in _DELIVERED},
    "clean": {t.name: t for t in (*map(_clean, _DELIVERED), *_LINKS)},
    "safe": {t.name: _safe(t) for t in _DELIVERED},
    "stats": {t.name: t for t in _STATS},
    "examples": {t.name: t for t in _EXAMPLES},
    "quarantine": {
        f"{step}.{t.name}": replace(
            t,
            name=f"{step}.{t.name}",
            doc=f"Rows of {t.name} that {step} refused.",
            columns=QUARANTINE_COLUMNS,
            key=("source_file", "source_row"),
        )
        for step in ("clean", "anonymise")
        for t in _DELIVERED
    },
}
_STATS_FROM = {
    "item_stats": ("interactions", "rankings", "reviews"),
    "visitor_stats": ("interactions", "searches", "reviews"),
    "visitor_history": ("interactions",),
    "visitor_session": ("interactions",),
    "visitor_habits": ("interactions",),
    "visitor_cycles": ("interactions",),
    "query_stats": ("interactions", "rankings", "searches"),
}
WITH_CATALOGUE: tuple[str, ...] = ("item_stats", "visitor_habits", "visitor_cycles", "query_stats")
"""Statistics that read the catalogue, too."""
_EXAMPLES_FROM = {
    "recommender": (
        "safe/interactions",
        "stats/visitor_history",
        "stats/visitor_stats",
        "stats/visitor_session",
        "stats/item_stats",
    ),
    "recommender_items": ("safe/items", "stats/visitor_history", "stats/visitor_stats", "stats/item_stats"),
    "encoder": ("safe/items", "safe/searches", "safe/rankings", "safe/interactions"),
    "encoder_visitors": ("safe/searches", "safe/rankings", "safe/interactions"),
}
STEPS = {
    "raw": "import",
    "clean": "clean",
    "safe": "anonymise",
    "stats": "aggregate",
    "examples": "examples",
}
"""Which step writes a zone. Quarantine is written by the step that its tables name."""
ZONES: tuple[Zone, ...] = ("raw", "clean", "safe", "stats", "examples", "quarantine")
GATED: tuple[Zone, ...] = ("safe",)
"""Zones where `validate` publishes. Elsewhere a step's own checks do (docs/decisions/0003)."""
DELIVERED: tuple[str, ...] = tuple(table.name for table in _DELIVERED)


def table(zone: str, name: str) -> Table:
    """The table `name` of `zone`; `Usage` with a suggestion if there is none."""
    one_of("zone", zone, ZONES)
    return _BY_ZONE[zone][one_of("table", name, _BY_ZONE[zone])]


def tables(zone: str) -> tuple[Table, ...]:
    """All tables of `zone`."""
    return tuple(_BY_ZONE[one_of("zone", zone, ZONES)].values())


def text_column(name: str) -> str | None:
    """The column whose language is told, of a delivered table."""
    return _TEXT_COLUMN.get(name)


def rests_on(name: str) -> tuple[str, ...]:
    """The dated tables of the safe zone that a table of statistics is made of."""
    return _STATS_FROM[one_of("table", name, _STATS_FROM)]


def made_of(zone: str, name: str) -> tuple[str, ...]:
    """The tables, as ZONE/TABLE, that a table is made of; none for raw tables, which are made of files.

    >>> made_of("clean", "judgements")
    ('raw/judgements', 'clean/items', 'clean/item_links')
    """
    declared = table(zone, name)
    if zone == "raw":
        return ()
    if zone == "quarantine":
        step, _, of = name.partition(".")
        return (f"{'raw' if step == 'clean' else 'clean'}/{of}",)
    if zone == "stats":
        whole = ("safe/items",) if name in WITH_CATALOGUE else ()
        return (*(f"safe/{source}" for source in rests_on(name)), *whole)
    if zone == "examples":
        return _EXAMPLES_FROM[name]
    if zone == "clean":
        return _cleaned_from(declared)
    return (f"clean/{name}", *(["clean/visitors"] if name in ("searches", "reviews", "tickets") else []))


def _cleaned_from(declared: Table) -> tuple[str, ...]:
    """What `clean` reads for a table: its raw rows, whose ids the shop's are, and how people behaved that day."""
    if declared.name in LINKS.values():
        return (f"raw/{next(owner for owner, name in LINKS.items() if name == declared.name)}",)
    sources = [f"raw/{declared.name}"]
    for column, owner in (("visitor_id", "visitors"), ("item_id", "items")):
        if column in declared.names and declared.name != owner:
            sources += [f"clean/{owner}", f"clean/{LINKS[owner]}"]
    if declared.dated and "visitor_id" in declared.names:  # robots are known by what they do
        sources += [f"raw/{name}" for name in ("searches", "interactions") if name != declared.name]
    return tuple(sources)
