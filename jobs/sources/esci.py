"""`esci`: Amazon's Shopping Queries Data Set (ESCI), products and graded queries in three languages, as published.

The folder (`--from DIR`) holds `shopping_queries_dataset_products.parquet` and
`shopping_queries_dataset_examples.parquet`; they are streamed, a batch at a time. One product id may stand in several
locales, with a text for each: an item's id is the locale, a colon and the product's id (`us:B07CVR21VN`), in both files
alike, so ids are unique and a judgement meets the text that its rater saw.

Labels become grades as its publisher orders them: E (exact) 3, S (substitute) 2, C (complement) 1, I (irrelevant) 0.
Another label is kept as it came: `clean` refuses it as no number. Bullet points, colours, locales, splits and versions
are kept in `extra`. Nothing in it has a time; the span is the day of its paper. Left out: the publisher's row numbers.
"""

from datetime import date, timedelta

from jobs.sources import Made, Row, RowFile, Source, always

GRADES = {"E": "3", "S": "2", "C": "1", "I": "0"}


def item_id(row: Row) -> str | None:
    """LOCALE:PRODUCT; None if either is missing."""
    locale, product = row.get("product_locale"), row.get("product_id")
    return f"{locale}:{product}" if locale and product else None


def grade(row: Row) -> str | None:
    """The grade of a label; another word stays as it is."""
    label = row.get("esci_label")
    return None if label is None else GRADES.get(label, str(label))


_ITEM = Made(item_id, ("product_locale", "product_id"))

SOURCE = Source(
    name="esci",
    doc="1.8 M products and 2.6 M graded pairs of 130 k queries, in English, Spanish and Japanese",
    licence="amazon-science/esci-data, Apache-2.0",
    first=date(2022, 6, 14),
    last=date(2022, 6, 14),
    delay=timedelta(0),
    needs_folder=True,
    rows=(
        RowFile(
            table="items",
            pattern="shopping_queries_dataset_products.parquet",
            format="parquet",
            columns={
                "item_id": _ITEM,
                "title": "product_title",
                "description": "product_description",
                "brand": "product_brand",
            },
            left_out=("__index_level_0__",),
        ),
        RowFile(
            table="judgements",
            pattern="shopping_queries_dataset_examples.parquet",
            format="parquet",
            columns={
                "query": "query",
                "item_id": _ITEM,
                "rater": always("esci"),
                "grade": Made(grade, ("esci_label",)),
            },
            left_out=("__index_level_0__",),
        ),
    ),
)
