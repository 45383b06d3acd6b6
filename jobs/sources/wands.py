"""`wands`: Wayfair's WANDS, a catalogue of furniture with human labels of search results, as its publisher lays it out.

The folder (`--from DIR`) holds `product.csv`, `query.csv` and `label.csv`, separated by tabs. Labels name queries by
id; the words come from `query.csv`. Exact, Partial and Irrelevant become the grades 3, 1 and 0: Exact is our "exactly",
Irrelevant our "not at all"; Partial means that the item misses some of what was asked for, which is nearer to a miss
than to a hit, and WANDS has no step between it and Exact. A label of another name is kept as it came: `clean`
refuses it as no number.

Nothing in it has a time; the span is the opening day of ECIR 2022, where it was published. Left out: ids of labels and
the class of a query, for which no table has a word. The whole path of the category, ratings, counts of reviews and
features are kept in `extra`.
"""

from datetime import date, timedelta

from jobs.sources import Made, Row, RowFile, Side, Source, always

GRADES = {"Exact": "3", "Partial": "1", "Irrelevant": "0"}


def grade(row: Row) -> str | None:
    """The grade of a label; another word stays as it is."""
    label = row.get("label")
    return None if label is None else GRADES.get(label, str(label))


def _department(row: Row) -> str | None:
    """The top of "Furniture / Bedroom Furniture / Beds"."""
    path = row.get("category hierarchy")
    return None if path is None else str(path).split(" / ")[0].strip() or None


SOURCE = Source(
    name="wands",
    doc="42,994 products of a furniture shop with 233,448 human labels of 480 queries",
    licence="wayfair/WANDS, MIT",
    first=date(2022, 4, 10),
    last=date(2022, 4, 10),
    delay=timedelta(0),
    needs_folder=True,
    rows=(
        RowFile(
            table="items",
            pattern="product.csv",
            format="csv",
            delimiter="\t",
            columns={
                "item_id": "product_id",
                "title": "product_name",
                "description": "product_description",
                "category": "product_class",
                "department": Made(_department, ("category hierarchy",)),
            },
            kept=("category hierarchy",),
        ),
        RowFile(
            table="judgements",
            pattern="label.csv",
            format="csv",
            delimiter="\t",
            columns={
                "query": "query",
                "item_id": "product_id",
                "rater": always("wands"),
                "grade": Made(grade, ("label",)),
            },
            left_out=("id",),
            sides=(Side("query.csv", on="query_id", key="query_id", columns=("query",), delimiter="\t"),),
        ),
    ),
)
