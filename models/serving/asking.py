"""`python -m models search` and `recommend`: the champion asked from the command line, by the API's own functions."""

import argparse
import json
from collections.abc import Callable, Sequence

from jobs.console import grid, narrate
from models.serving.answering import Answer, Answering
from models.serving.app import checked_k, checked_query
from models.serving.champions import OPENERS, Champions
from models.serving.edge import Edge
from models.serving.receipts import Receipts


def search(args: argparse.Namespace) -> int:
    """The items that answer each query."""
    queries, k = [checked_query(query) for query in args.query], checked_k(args.k)
    return _ask(args, "search", queries, lambda answering, query: answering.search(query, k))


def recommend(args: argparse.Namespace) -> int:
    """The items for each visitor, named by the shop's own id."""
    k, edge = checked_k(args.k), Edge(args.shop)
    return _ask(args, "recommend", args.visitor, lambda answering, visitor: answering.recommend(edge(visitor), k))


def _ask(args: argparse.Namespace, name: str, asked: Sequence[str], ask: Callable[[Answering, str], Answer]) -> int:
    champions = Champions(args.shop, {name: OPENERS[name]})
    with narrate(f"open the champion of {name}"):
        champions.refresh()
    answering = Answering(args.shop, champions, Receipts(args.shop))
    for what in asked:
        answer = ask(answering, what)
        print(json.dumps(answer.told(), ensure_ascii=False) if args.json else told(args.shop, answer), flush=True)
    return 0


def told(shop: str, answer: Answer) -> str:
    """An answer for people: the items with their reasons, what answered, and where its receipt is."""
    rows = [(item["position"], item["id"], _short(item["title"]), _short(item["brand"], 18), item["price"], item["why"])
            for item in answer.items]  # fmt: skip
    lines = [grid(("", "item", "title", "brand", "price", "why"), rows)] if rows else ["nothing was found"]
    known = {True: "", False: "; nothing is known of this visitor", None: ""}[answer.known]
    as_of = f", as of {answer.as_of:%Y-%m-%d}" if answer.as_of else ""
    by = f"{answer.bundle['name']} {answer.bundle['version']}"
    lines += [
        f"{len(rows)} items in {answer.took_ms:.1f} ms by {by}{as_of}{known}",
        f"receipt: {answer.receipt_id}",
        f"Next: python -m models serve --shop {shop}",
    ]
    return "\n".join(lines)


def _short(text: str | None, most: int = 44) -> str | None:
    return text if text is None or len(text) <= most else text[: most - 1] + "…"
