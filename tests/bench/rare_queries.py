"""What leaving rare queries out costs the search: `python -m tests.bench.rare_queries SHOP [PAIRS]`. Not a test.

The encoder is trained twice on the same budget of pairs, once from every query that anybody made and once without those
of fewer visitors than `LEAST_VISITORS`, in a home of its own that is gone at the end; the shop's is read only. Both are
judged on the same human judgements, query by query, rare queries and the others apart. A loss that is no loss has an
interval around zero.
"""

import os
import shutil
import sys
import tempfile
from argparse import Namespace
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from jobs import examples
from jobs.console import grid
from jobs.tables import LEAST_VISITORS
from jobs.warehouse import home, warehouse
from models.bundle import Bundle, keep
from models.evaluation.metrics import measured
from models.retrieval.fusion import FusionSettings
from models.retrieval.indexing import catalogue
from models.statistics import paired_bootstrap, paired_randomisation
from tests.bench.measure import machine

READ = ("safe/items", "safe/judgements", "safe/searches", "safe/rankings", "safe/interactions", "stats/query_stats")


def borrowed(shop: str, to: Path) -> None:
    """What the training reads of a shop, in another home: links to the same files, which are never changed in place."""
    for table in READ:
        source = home() / shop / "warehouse" / table
        if source.is_dir():
            shutil.copytree(source, to / shop / "warehouse" / table, copy_function=_link)


def _link(source: str, target: str) -> None:
    if source.endswith(".parquet"):
        os.link(source, target)
    else:
        shutil.copyfile(source, target)


def trained(shop: str, least: int, pairs: int, version: int) -> tuple[Bundle, Counter[str]]:
    """The encoder's bundle from queries of at least so many visitors, and its training pairs by source."""
    from models.training import encoder

    examples.LEAST_VISITORS = least  # the one setting, as `jobs.examples` knows it
    examples.run(Namespace(shop=shop, model="encoder", as_of=None))
    rows = warehouse(shop).read("examples", "encoder").to_pylist()
    counted = Counter(row["source"] for row in rows if row["split"] == "train")
    return keep(encoder.train(shop, "minilm", pairs, 1), version), counted


def rare(shop: str, queries: Iterable[str]) -> list[bool]:
    """Which of the judged queries visitors made, but too few of them."""
    from models.evaluation.searching import tellable

    told = set(tellable(shop, asked := list(queries)))
    return [query not in told for query in asked]


def lost(name: str, whole: Sequence[float], kept: Sequence[float], within: Sequence[bool]) -> tuple[Any, ...]:
    """A line of the table: both means, and what is lost by query (every query less without rare ones)."""
    ours, theirs = ([value for value, inside in zip(each, within, strict=True) if inside] for each in (whole, kept))
    if not ours:
        return (name, 0, *[None] * 6)
    gap = paired_bootstrap(ours, theirs)
    means = (sum(each) / len(each) for each in (ours, theirs))
    return (name, len(ours), *means, gap.mean, gap.low, gap.high, paired_randomisation(ours, theirs))


def compared(shop: str, whole: Bundle, kept: Bundle) -> list[tuple[Any, ...]]:
    """What is lost of the primary metric, by the search as it is served and by its encoder alone."""
    from models.evaluation import searching

    of = catalogue(shop)
    asked = searching.grades(shop, of)
    found = searching.systems(shop, of, candidate=kept, champion=whole)
    sides = [found[searching.CHAMPION], found[searching.CANDIDATE]]
    few, rows = rare(shop, asked), []
    for what, fusion in (("search", None), ("encoder alone", FusionSettings(lexical=0.0))):
        finders = [side if fusion is None else replace(side, fusion=fusion) for side in sides]
        answers = [searching.rankings(finder, asked) for finder in finders]
        values = [measured([searching.PRIMARY], each, asked)[searching.PRIMARY] for each in answers]
        for group, within in (
            ("all queries", [True] * len(few)),
            ("rare ones", few),
            ("the others", [not f for f in few]),
        ):
            rows.append(lost(f"{what}, {group}", values[0], values[1], within))
    return rows


def main(shop: str, pairs: int) -> None:
    """Train twice, judge both, print what is lost."""
    real = home()
    with tempfile.TemporaryDirectory(dir=real.parent) as folder:
        borrowed(shop, Path(folder))
        os.environ["ENDCAP_HOME"] = folder
        whole, all_pairs = trained(shop, 1, pairs, 1)
        kept, fewer_pairs = trained(shop, LEAST_VISITORS, pairs, 2)
        left = warehouse(shop).marks("examples", "encoder")[0].notes.get("rare") or {}
        rows = compared(shop, whole, kept)
    sources = sorted({*all_pairs, *fewer_pairs})
    print(f"{machine()}; python -m tests.bench.rare_queries {shop} {pairs}")
    print(f"left out: {left.get('queries', 0):,} queries with {left.get('searches', 0):,} searches")
    print(grid(("training pairs", "every query", f"at least {LEAST_VISITORS} visitors"),
               [*((source, all_pairs[source], fewer_pairs[source]) for source in sources),
                ("share of the fine-tuned weights", whole.settings["share"], kept.settings["share"])]))  # fmt: skip
    print(grid(("ndcg@10", "judged", "every query", "without rare", "lost", "low", "high", "p"), rows))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 2000)
