"""`python -m jobs import` within the tests' own process: the real parser's defaults, and what differs from them."""

import argparse
from pathlib import Path
from typing import Any

from jobs import importing
from jobs.__main__ import parser


def asked(shop: str, folder: Path | str | None = None, **more: Any) -> argparse.Namespace:
    """The arguments of `import SHOP --from FOLDER`, with some by name."""
    given = vars(parser().parse_args(["import", shop]))
    return argparse.Namespace(**{**given, "folder": None if folder is None else str(folder), **more})


def load(folder: Path | str, shop: str = "files", **more: Any) -> int:
    """Import a folder; returns the exit code, and lets faults pass."""
    return importing.run(asked(shop, folder, **more))
