"""The door of every command: rights on what it makes, and a line in the audit log before and after it.

Standard library only; `python -m jobs` and `python -m models` enter by it, and no step knows of it.
"""

import argparse
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from jobs import rights
from jobs.audit import audited


@contextmanager
def entered(args: argparse.Namespace) -> Iterator[Callable[[int], None]]:
    """What a command makes is its owner's (and, in production, a group's); what it did to the closed zone is told."""
    before = os.umask(rights.umask())
    shop = getattr(args, "shop", None)
    if shop:
        rights.settle(shop)
    try:
        with audited(args) as ended:
            yield ended
    finally:
        if shop:
            rights.settle(shop)
        os.umask(before)
