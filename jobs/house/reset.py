"""`reset`: empty a shop's home, and what it has on servers that it shares, after listing exactly what goes."""

import argparse
import re
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

from jobs import feature_store
from jobs.console import OK, Problem, Usage, grid, suggest
from jobs.house.services import running
from jobs.warehouse import home, shops

NOT_SHOPS = {"airflow", "docs", "mlflow", "run"}


def contents(folder: Path) -> list[tuple[str, int, int]]:
    """(path, files, bytes) of everything directly in a shop's home. Links are counted, never followed."""
    found = []
    for path in sorted(folder.iterdir()):
        files = [path] if path.is_file() or path.is_symlink() else [f for f in path.rglob("*") if f.is_file()]
        found.append((str(path), len(files), sum(f.lstat().st_size for f in files)))
    return found


def shop_home(shop: str, known: Iterable[str]) -> Path:
    """The home of a shop; `Usage` for a name that is no shop of this home, so that nothing else can be emptied."""
    folder = home() / shop
    plain = bool(re.fullmatch(r"\w[\w-]*", shop)) and folder.resolve().parent == home()
    if shop in NOT_SHOPS or not plain or not folder.is_dir():
        raise Usage(f"shop '{shop}' has no home in {home()}", do=suggest(shop, known))
    return folder


def _agreed(shop: str) -> bool:
    """Ask a person; a program must say --yes."""
    if not sys.stdin.isatty():
        raise Usage("nobody is there to be asked", do=f"'python -m jobs reset --shop {shop} --yes'")
    return input(f"Delete all this? Type the shop's name to agree ({shop}): ").strip() == shop


def run(args: argparse.Namespace) -> int:
    """List, ask, delete. Refuses while services of the shop run."""
    folder = shop_home(args.shop, shops())
    goes = contents(folder)
    print(grid(["path", "files", "bytes"], goes))
    for place in feature_store.elsewhere(args.shop):
        print(f"and of '{args.shop}' {place}")
    if args.dry_run:
        print(f"\n{len(goes)} paths would go. Nothing was deleted. Next: the same without --dry-run.")
        return OK
    busy = [name for name, record in running().items() if record.shop == args.shop and name in ("api", "feast")]
    if busy:
        raise Problem(f"{', '.join(busy)} still serve '{args.shop}'", where=str(folder), do="'make down' first")
    if not args.yes and not _agreed(args.shop):
        print("Nothing was deleted.")
        return OK
    feature_store.take_down(args.shop)  # first: it needs the home to know what there is
    shutil.rmtree(folder)
    print(f"\ndeleted {folder}: {sum(g[1] for g in goes):,} files. Runs in MLflow and Airflow stay on record.")
    print(f"Next: make run SHOP={args.shop}")
    return OK
