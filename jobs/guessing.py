"""A mapping to begin with, guessed from the names of a folder's files and fields: `import files --check` without one.

A guess is no mapping: it is printed for a person to look at, never used by itself.
"""

import codecs
import glob
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

from jobs.console import Problem
from jobs.finding import check_name, hidden, legible
from jobs.mapping import ENDINGS, NAME, fields_of, ours, required
from jobs.sources.text import Reading, header, lines_of, opened, whole
from jobs.tables import DELIVERED

HINTS = {
    "items": ("item", "product", "catalog", "article", "artikel"),
    "visitors": ("visitor", "customer", "user", "member", "household", "kunde"),
    "offers": ("offer", "coupon", "campaign"),
    "judgements": ("judg", "label", "grade", "relevance"),
    "searches": ("search", "quer"),
    "rankings": ("ranking", "impression", "shown"),
    "interactions": ("interaction", "order", "purchase", "transaction", "sale", "click", "event", "cart", "basket"),
    "reviews": ("review", "comment"),
    "tickets": ("ticket", "support", "complaint"),
    "offer_events": ("redemption", "redeem", "sent"),
    "promotions": ("promotion", "display", "mailer"),
}
"""Pieces of a file's name that tell which table it may be."""
SYNONYMS = {
    "item_id": ("sku", "product_id", "productid", "product", "asin", "article", "article_id", "ean", "gtin", "itemid"),
    "visitor_id": ("customer_id", "customer", "user_id", "user", "client_id", "member_id", "household_id", "visitorid"),
    "event_time": ("time", "timestamp", "date", "datetime", "created_at", "ordered_at", "at", "when", "event_date"),
    "title": ("name", "product_name", "product_title", "label"),
    "description": ("text", "details", "product_description", "long_description"),
    "brand": ("maker", "manufacturer", "vendor", "supplier"),
    "category": ("class", "product_class", "type", "group", "shelf"),
    "price": ("unit_price", "cost", "list_price"),
    "currency": ("currency_code",),
    "query": ("words", "search_term", "term", "keywords", "user_query", "q"),
    "search_id": ("query_id", "id"),
    "interaction_id": ("event_id", "order_id", "transaction_id", "id"),
    "ranking_id": ("impression_id", "list_id", "id"),
    "review_id": ("id",),
    "ticket_id": ("id", "case_id"),
    "kind": ("action", "event", "event_type", "action_name", "type"),
    "position": ("rank", "place", "slot"),
    "propensity": ("propensity_score", "probability"),
    "quantity": ("qty", "count", "units", "amount_of_items"),
    "amount": ("total", "revenue", "sales_value", "paid", "sum"),
    "basket_id": ("basket", "order_id", "order", "transaction_id"),
    "store_id": ("store", "branch"),
    "session_id": ("session", "visit_id"),
    "rating": ("stars", "score"),
    "text": ("body", "comment", "review", "message", "content"),
    "grade": ("label", "relevance", "rating"),
    "rater": ("judge", "annotator", "assessor"),
    "name": ("full_name", "customer_name"),
    "email": ("mail", "e_mail", "email_address"),
    "phone": ("telephone", "mobile", "tel"),
    "postcode": ("zip", "zip_code", "postal_code", "plz"),
}
"""Other words for our columns, in the spelling of `_plain`."""

DELIMITERS, ENCODINGS = (",", ";", "\t", "|"), ("utf-8", "cp1252")
"""What separated values are tried with, in this order; a mark of byte order tells UTF-16."""
_LINES = 1_000  # that an encoding has to fit


def _plain(name: str) -> str:
    """A field's name in small letters and underscores."""
    spaced = "".join(f"_{c}" if c.isupper() and n and name[n - 1].islower() else c for n, c in enumerate(name))
    return "_".join("".join(c if c.isalnum() else " " for c in spaced.lower()).split())


def guess(file: str, fields: Sequence[str]) -> tuple[str, dict[str, str]]:
    """The table that a file may be, and which of its fields may fill which of our columns.

    >>> guess("orders.csv", ["OrderID", "SKU", "customer", "created_at"])[0]
    'interactions'
    """
    hits = {name: sum(hint in file.lower() for hint in HINTS[name]) for name in DELIVERED}
    matched = {name: _matched(name, fields) for name in DELIVERED}

    def score(name: str) -> float:
        needed = [column.name in matched[name] for column in required(name)]
        return 3 * min(hits[name], 1) + 2 * sum(needed) / len(needed) + 0.1 * len(matched[name])

    best = max(DELIVERED, key=score)
    return best, matched[best]


def _matched(name: str, fields: Sequence[str]) -> dict[str, str]:
    """Our columns with their fields: the same word first, then another word for it; no field twice."""
    free = {_plain(field): field for field in reversed(fields)}
    found: dict[str, str] = {}
    for words in (lambda column: (column,), lambda column: SYNONYMS.get(column, ())):
        for column in ours(name):
            word = next((word for word in words(column) if word in free), None)
            if column not in found and word is not None:
                found[column] = free.pop(word)
    return found


def propose(folder: Path) -> str:
    """A mapping to begin with, guessed from the names of files and fields. Every guess is to be looked at."""
    files = [path for path in sorted(folder.iterdir()) if path.is_file() and _ending(path) in ENDINGS]
    files = [path for path in files if not hidden(path.relative_to(folder))]
    if not files:
        raise Problem(
            f"no file of {', '.join(ENDINGS)} lies in the folder",
            where=str(folder),
            do=f"put the shop's files there, or write {NAME} by hand (docs/mapping.md)",
        )
    entries = [_proposed(path) for path in files]
    head = [
        "# Guessed from the names of files and fields: look at every line, then check again.",
        "first = 2024-01-01  # the first day of the shop's events (UTC)",
        "last = 2024-12-31   # the last day, included",
        'zone = "UTC"        # of times without one',
    ]
    return "\n".join([*head, *entries]) + "\n"


def _ending(path: Path) -> str:
    return path.name.removesuffix(".gz").rpartition(".")[2].lower()


def _quoted(text: str) -> str:
    """A string of TOML, on one line."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _remark(text: str) -> str:
    """A comment of TOML: on one line, whatever a header holds."""
    return "# " + "".join(sign if sign.isprintable() else _quoted(sign)[1:-1] for sign in text)


def _proposed(path: Path) -> str:
    """The entry of one file."""
    try:
        check_name(path)
        how = _reading(path)
        head = header(path, how)
        fields = head if head is not None else sorted(fields_of(path, how)[0])
    except Problem as problem:
        return "\n" + _remark(f"{legible(path.name)}: {problem.what}; {problem.do}")
    name, matched = guess(path.name, fields)
    default = Reading(*ENDINGS[_ending(path)])
    told = [f"files = {_quoted(glob.escape(path.name))}"]
    told += [f"delimiter = {_quoted(how.delimiter)}"] if how.delimiter != default.delimiter else []
    told += [f"encoding = {_quoted(how.encoding)}"] if how.encoding != default.encoding else []
    lines = [f"{column} = {_quoted(theirs)}" for column, theirs in matched.items()]
    lines += [f'# {c.name} = ""  # required: {c.doc}' for c in required(name) if c.name not in matched]
    others = [other for other in fields if other not in matched.values()]
    lines += [_remark(f"not mapped, kept in 'extra': {', '.join(others)}")] if others else []
    return "\n".join(["", f"[[{name}]]", *told, f"[{name}.columns]", *lines])


def _reading(path: Path) -> Reading:
    """By the first encoding that fits its first lines, the delimiter that parts its header most."""
    how = Reading(*ENDINGS[_ending(path)])
    if how.format == "parquet":
        return how
    with whole(path), opened(path) as stream:
        start = b"".join(line for _, line in islice(lines_of(stream), _LINES))
    marked = start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    encodings = ("utf-16",) if marked else tuple(each for each in ENCODINGS if _fits(start, each))
    how = replace(how, encoding=(*encodings, how.encoding)[0])
    if how.format != "csv":
        return how
    first = re.sub('"[^"]*"?', "", start.decode(how.encoding, "replace").partition("\n")[0])
    return replace(how, delimiter=max([how.delimiter, *DELIMITERS], key=first.count))


def _fits(start: bytes, encoding: str) -> bool:
    try:
        start.decode(encoding)
    except UnicodeError:
        return False
    return True
