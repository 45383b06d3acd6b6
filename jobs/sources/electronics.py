"""`electronics`: a real catalogue with human judgements of search results, in the layout of querqy/chorus.

The folder (`--from DIR`) holds `1.json.zip` to `4.json.zip`, each a JSON list of products, and
`Broad_Query_Set_rated.csv` (query, docid, rating). The ratings file holds the final grade of up to three
raters; their single grades, in a file of their own, are the same judgements again and are not imported.
The thousands of attributes that products have besides are kept in `extra`.
Judgements of products that the catalogue lacks are kept: `clean` quarantines them as orphans.

Nothing in it has a time, so the span is the catalogue's own date, one day.
"""

from datetime import date, timedelta
from decimal import Decimal, InvalidOperation

from jobs.sources import Made, Row, RowFile, Source, always


def _price(row: Row) -> str | None:
    """The publisher's whole number is in cents; anything that is no number stays as it came."""
    text = row.get("price")
    try:
        return None if text is None else str(Decimal(text) / 100)
    except InvalidOperation:
        return str(text)


SOURCE = Source(
    name="electronics",
    doc="19,406 products with 2,367 human judgements of 93 queries",
    licence="querqy/chorus, Apache-2.0; product data under the Icecat Open Content License",
    first=date(2023, 2, 21),
    last=date(2023, 2, 21),
    delay=timedelta(0),
    needs_folder=True,
    rows=(
        RowFile(
            table="items",
            pattern="*.json.zip",
            format="json.zip",
            columns={
                "item_id": "id",
                "title": "title",
                "description": "short_description",
                "brand": "supplier",
                "category": "attr_t_product_type",
                "price": Made(_price, ("price",)),
                "currency": Made(lambda row: "USD" if row.get("price") is not None else None, ("price",)),
            },
            optional=frozenset(("short_description", "supplier", "attr_t_product_type", "price")),
        ),
        RowFile(
            table="judgements",
            pattern="Broad_Query_Set_rated.csv",
            format="csv",
            columns={"query": "query", "item_id": "docid", "grade": "rating", "rater": always("final")},
        ),
    ),
)
