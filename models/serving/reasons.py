"""Why an item stands where it stands, in one sentence that a person can read. Pure."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

MOST_WORDS_SHOWN = 4
_EDGES = " \t.,;:!?\"'()[]{}<>|/\\-_，。；：！？、（）“”‘’《》"


def matched(query: Sequence[str], fields: Sequence[str | None], terms: Callable[[str], Sequence[str]]) -> list[str]:
    """The words of a query (already segmented), as typed, that an item's fields hold after both are put to `terms`.

    >>> stems = lambda text: [word.strip(",").rstrip("s").lower() for word in text.split()]
    >>> matched(["Frozen", "pizzas"], ["Pizza, frozen"], stems)
    ['Frozen', 'pizzas']
    """
    held = {term for field in fields if field for term in terms(field)}
    words = (word.strip(_EDGES) for word in query)
    return list(dict.fromkeys(word for word in words if word and any(term in held for term in terms(word))))


def of_search(why: Mapping[str, Any], words: Sequence[str]) -> str:
    """A hit of search: which words match, whether its meaning is near, how many items bear the same text.

    >>> of_search({"lexical_rank": 1, "vector_rank": 3}, ["frozen", "pizza"])
    "matches the words 'frozen pizza'; similar meaning"
    """
    found = why.get("lexical_rank") is not None
    parts = []
    if found and words:
        shown = " ".join(words[:MOST_WORDS_SHOWN]) + (" …" if len(words) > MOST_WORDS_SHOWN else "")
        parts.append(f"matches the word{'s' if len(words) > 1 else ''} '{shown}'")
    elif found:
        parts.append("matches the words")
    if why.get("vector_rank") is not None:
        parts.append("similar meaning")
    same = why.get("same_text") or 1
    if same > 1:
        parts.append(f"one of {same:,} items with this text")
    return "; ".join(parts) or "in the index"


def of_recommendation(why: Mapping[str, Any], known: bool) -> str:
    """A recommendation: what the visitor did with it, or whose taste it follows, or that nothing is known.

    >>> of_recommendation({"source": "history", "bought": 4, "days_since": 9.2}, True)
    'bought 4 times, last 9 days ago'
    >>> of_recommendation({"source": "popular", "says": "popular in this shop"}, False)
    'popular in this shop; nothing is known of this visitor yet'
    """
    if why.get("source") == "history":
        return bought(int(why["bought"]), float(why["days_since"]))
    says = str(why.get("says") or "chosen for this visitor")
    return says if known else f"{says}; nothing is known of this visitor yet"


def bought(count: int, days: float) -> str:
    """How often, and how long ago.

    >>> bought(1, 0.2), bought(2, 1.0)
    ('bought once, today', 'bought twice, last 1 day ago')
    """
    often = {1: "once", 2: "twice"}.get(count, f"{count} times")
    whole = round(days)
    when = "today" if whole < 1 else f"{whole} day{'s' if whole > 1 else ''} ago"
    return f"bought {often}, {when if count == 1 or whole < 1 else f'last {when}'}"
