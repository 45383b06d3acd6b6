"""Where a candidate loses, one by one: how many got better and worse, the worst of those that may be told."""

from collections.abc import Collection, Sequence
from typing import Any


def losses(
    queries: Sequence[str], candidate: Sequence[float], champion: Sequence[float], tellable: Collection[str],
    most: int = 10,
) -> dict[str, Any]:  # fmt: skip
    """{won, lost, same, hidden, shown: [{query, candidate, champion, difference}]}.

    `shown` are the `most` worst of the lost ones that are in `tellable`, equal ones in the order of `queries`; `hidden`
    is how many were lost that are not in it.

    >>> found = losses(["a", "b", "c", "d"], [0.1, 0.2, 0.5, 0.9], [0.4, 0.9, 0.5, 0.1], {"a", "c", "d"})
    >>> {name: found[name] for name in ("won", "lost", "same", "hidden")}, [each["query"] for each in found["shown"]]
    ({'won': 1, 'lost': 2, 'same': 1, 'hidden': 1}, ['a'])
    """
    rows: list[dict[str, Any]] = [{"query": query, "candidate": ours, "champion": theirs, "difference": ours - theirs}
            for query, ours, theirs in zip(queries, candidate, champion, strict=True)]  # fmt: skip
    lost = sorted((row for row in rows if row["difference"] < 0), key=lambda row: row["difference"])
    shown = [row for row in lost if row["query"] in tellable]
    return {
        "won": sum(row["difference"] > 0 for row in rows), "lost": len(lost),
        "same": sum(row["difference"] == 0 for row in rows), "hidden": len(lost) - len(shown),
        "shown": shown[:most],
    }  # fmt: skip
