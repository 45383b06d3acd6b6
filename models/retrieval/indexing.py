"""`python -m models index`: the items' vectors by the champion's encoder, and their indexes.

An index belongs to one (version of the search bundle, mark of the items). It is an immutable folder; a pointer,
replaced atomically, names it, so that a server sees the old index or the new one. Run again with nothing new, it
finds the index standing and builds nothing.

    $ENDCAP_HOME/SHOP/indexes/search/VERSION.json              the pointer
    $ENDCAP_HOME/SHOP/indexes/search/attempts/ID/              lexical/  vectors.npy  items.parquet
    $ENDCAP_HOME/SHOP/indexes/vectors/                         vectors made before, by encoder
"""

import argparse
import json
import shutil
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.console import Problem, grid, narrate, say
from jobs.tables import WHOLE
from jobs.warehouse import code_version, home, warehouse, write_atomically
from models.encoder import Encoder, cached_vectors, item_text
from models.retrieval.lexical import FIELDS, Lexical
from models.retrieval.searching import fusion_settings, index_pointer, lexical_settings
from models.retrieval.vectors import Vectors

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from models.bundle import Bundle

SHOWN = ("item_id", "title", "description", "brand", "category", "department", "size", "price", "currency", "language")
KEEP_HOURS = 24.0  # an attempt that no pointer names lives so long: a server may still read it


@dataclass(frozen=True)
class Catalogue:
    """The items of a shop by id, and their distinct texts. `text_row[i]` is the text of item i, in `texts`."""

    items: "pa.Table"
    text_row: "NDArray[np.int32]"
    texts: tuple[str, ...]
    mark: str

    @property
    def item_ids(self) -> list[str]:
        """Ids, in order."""
        ids: list[str] = self.items["item_id"].to_pylist()
        return ids

    def documents(self) -> list[Mapping[str, str | None]]:
        """The fields of each distinct text: those of the first item that bears it."""
        first: dict[int, int] = {}
        for item, row in enumerate(self.text_row.tolist()):
            first.setdefault(row, item)
        columns = {name: self.items[name].to_pylist() for name in FIELDS}
        return [{name: columns[name][first[row]] for name in FIELDS} for row in range(len(self.texts))]

    def rows_by_id(self) -> dict[str, int]:
        """The row of the text of each item."""
        return dict(zip(self.item_ids, self.text_row.tolist(), strict=True))


def catalogue(shop: str) -> Catalogue:
    """The published items of `shop`; a `Problem` if there are none. Rows of texts follow the order of the ids."""
    import numpy as np

    house = warehouse(shop)
    mark = house.require("safe", "items", step="validate")[0]
    items = house.read("safe", "items", columns=SHOWN).sort_by("item_id")
    if not items.num_rows:
        raise Problem(f"shop '{shop}' has no items", do=f"run 'python -m jobs import {shop}' again")
    columns = [items[name].to_pylist() for name in FIELDS]
    place: dict[str, int] = {}
    text_row = [place.setdefault(item_text(*parts), len(place)) for parts in zip(*columns, strict=True)]
    return Catalogue(items, np.asarray(text_row, np.int32), tuple(place), mark.name)


def vector_cache(shop: str) -> Path:
    """Where vectors made before lie."""
    return home() / shop / "indexes" / "vectors"


def vectors_of(shop: str, encoder: Encoder, texts: tuple[str, ...] | list[str]) -> "NDArray[np.float32]":
    """Vectors of `texts`, made once for each encoder; says on the way how far it is."""
    return cached_vectors(vector_cache(shop), encoder, list(texts), progress=_progress())


def _progress(every: float = 15.0) -> Callable[[int, int], None]:
    """A line every 15 seconds, for those who wait."""
    last = time.monotonic()

    def tell(done: int, of: int) -> None:
        nonlocal last
        if time.monotonic() - last >= every:
            last = time.monotonic()
            say(f"  {done:,} of {of:,} texts")

    return tell


def build(bundle: "Bundle", of: Catalogue) -> dict[str, Any]:
    """Build the index of `bundle` over the catalogue and point to it; returns what the pointer says."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    began = time.monotonic()
    pointer = index_pointer(bundle.shop, bundle.version)
    attempt = uuid.uuid4().hex[:16]
    folder = pointer.parent / "attempts" / attempt
    folder.mkdir(parents=True)
    try:
        encoder = Encoder.open(bundle.folder)
        Lexical.build(of.documents(), folder / "lexical", lexical_settings(bundle.settings))
        Vectors.save(vectors_of(bundle.shop, encoder, of.texts), folder / "vectors.npy")
        items = of.items.append_column("text_row", pa.array(of.text_row, pa.int32()))
        pq.write_table(items, folder / "items.parquet")
        made = {
            "version": bundle.version, "encoder": encoder.hash, "items": of.mark, "attempt": attempt,
            "rows": of.items.num_rows, "texts": len(of.texts), "code": code_version(),
            "seconds": round(time.monotonic() - began, 1),
            "built_at": datetime.now(UTC).isoformat(timespec="seconds"),
        }  # fmt: skip
        write_atomically(pointer, json.dumps(made, indent=1, sort_keys=True) + "\n")
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return made


def standing(bundle: "Bundle", items: str) -> dict[str, Any] | None:
    """What the pointer says, if it points to a whole index of this very encoder and these very items."""
    pointer = index_pointer(bundle.shop, bundle.version)
    if not pointer.is_file():
        return None
    made: dict[str, Any] = json.loads(pointer.read_text(encoding="utf-8"))
    folder = pointer.parent / "attempts" / made["attempt"]
    whole = (folder / "items.parquet").is_file()
    return made if whole and (made["items"], made["encoder"]) == (items, Encoder.open(bundle.folder).hash) else None


def collect(shop: str) -> int:
    """Remove index folders that no pointer names and that are older than a day; returns how many."""
    root, now = index_pointer(shop, 0).parent, time.time()
    held = {json.loads(pointer.read_text(encoding="utf-8"))["attempt"] for pointer in root.glob("[!.]*.json")}
    old = [
        path
        for path in (root / "attempts").glob("*")
        if path.name not in held and now - path.stat().st_mtime > KEEP_HOURS * 3600
    ]
    for path in old:
        shutil.rmtree(path, ignore_errors=True)
    return len(old)


def run(args: argparse.Namespace) -> None:
    """The command. Ends with rows, seconds and where the index lies."""
    from models.promotions import champion

    shop = args.shop
    house = warehouse(shop)
    bundle = champion(shop, "search")
    if bundle is None:
        raise Problem(
            f"shop '{shop}' has no champion for search yet",
            do=f"run 'python -m models baseline search --shop {shop}' first",
        )
    mark = house.require("safe", "items", step="validate")[0]
    made = standing(bundle, mark.name)
    if made is not None:
        say("the index of this version and these items stands already")
    else:
        with narrate(f"index of search version {bundle.version}"):
            made = build(bundle, catalogue(shop))
        collect(shop)
    weights = fusion_settings(bundle.settings)
    print(
        grid(
            ("shop", "search version", "items", "distinct texts", "lexical weight", "vector weight", "seconds"),
            [
                (
                    shop,
                    str(bundle.version),
                    made["rows"],
                    made["texts"],
                    weights.lexical,
                    weights.vector,
                    made["seconds"],
                )
            ],
        )
    )
    print(
        f"{mark.rows:,} items in {mark.zone}/{mark.table}/{WHOLE}, {made['rows']:,} in the index "
        f"{index_pointer(shop, bundle.version)}"
    )
    print(f"Next: python -m models search 'words' --shop {shop}")
