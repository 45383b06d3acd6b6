"""A shop's files: where they lie, which of them are read for what, and whether they are whole. Nothing is written here.

Everything that can be told before work starts is told here: a missing file, an empty one, half a Parquet file, a file
that two patterns of one table meet, too little disk.
"""

import importlib.util
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from functools import partial
from importlib import import_module
from pathlib import Path, PurePath

from jobs.console import Problem, Usage, narrate
from jobs.filing import Delivered, Filing, Looked, Plan, look_ups
from jobs.sources import RowFile, Side, Source
from jobs.sources.text import Reading, moment, records, whole_parquet
from jobs.warehouse import home

_ROOM = 20  # bytes of free disk wanted for each byte of source: text columns, the shuffle, the old partition


def folder_of(shop: Source, given: str | None) -> Path | None:
    """The folder given by `--from`, if it can be read."""
    if given is None:
        if shop.needs_folder:
            raise Usage(
                f"'{shop.name}' needs its publisher's files",
                do=f"say where they are: 'python -m jobs import {shop.name} --from DIR'",
            )
        return None
    folder = Path(given).expanduser().resolve()
    if not folder.is_dir():
        raise Problem(
            f"there is no folder '{given}'", where=str(folder), do=f"give --from the folder with the {shop.name} files"
        )
    return folder


def prepare(shop: Source, given: Path | None, scale: float, seed: int) -> list[Path]:
    """The folders that hold the shop's files, after its maker has made what no publisher gives."""
    maker = shop.maker
    if maker is None or (given is not None and not maker.on_top):
        assert given is not None
        return [given]
    module, function = maker.function.split(":")
    check_room(int(maker.room * max(scale, 1.0)))
    make = partial(getattr(import_module(module), function), home() / shop.name, scale=scale, seed=seed)
    made = home() / shop.name / "source"
    if not maker.on_top:
        make()
        return [made]
    real = given or wheel(shop.wheel)
    patterns = [view.pattern for view in (shop.views or {}).values()]
    require_files(shop, real, [pattern for pattern in patterns if not pattern.startswith("simulated-")])
    make(real=real)
    return [real, made]


def wheel(path: str) -> Path:
    """The folder "package/folder" of an installed package of data; it is not imported."""
    package, _, folder = path.partition("/")
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise Problem(
            f"the package '{package}' is not installed",
            do="install the extra: pip install 'endcap[data]', or use --from",
        )
    return Path(spec.submodule_search_locations[0]) / folder


def require_files(shop: Source, folder: Path, names: Sequence[str]) -> None:
    """A `Problem` that names every file that is missing."""
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise Problem(
            f"'{shop.name}' lacks {', '.join(missing)}",
            where=str(folder),
            do="give --from a folder that holds them all",
        )


@dataclass(frozen=True)
class Files:
    """A shop's files: those of each group of declarations that are read together, those of each view, all by name."""

    groups: tuple[tuple[tuple[RowFile, ...], tuple[Delivered, ...]], ...] = ()
    views: Mapping[str, list[Path]] = field(default_factory=dict)
    all: Mapping[str, Path] = field(default_factory=dict)
    sides: Mapping[str, tuple[Delivered, ...]] = field(default_factory=dict)

    def beside(self, group: Sequence[RowFile]) -> list[tuple[Side, tuple[Delivered, ...]]]:
        """The files beside those of a group."""
        return [(side, self.sides[side.pattern]) for side in dict.fromkeys(s for one in group for s in one.sides)]


def matching(folders: Sequence[Path], pattern: str) -> tuple[Delivered, ...]:
    """The files that a pattern meets, gzipped or not, by their names; of two with one name the last folder's.

    What is hidden is not the shop's: copies that an editor keeps, say. A `Problem` if a file lies there twice, gzipped
    and not, as its rows would count twice, or if its name is no text.
    """
    found: dict[str, Path] = {}
    for folder in folders:
        paths = {path.relative_to(folder): path for p in (pattern, f"{pattern}.gz") for path in folder.glob(p)}
        here = {name.as_posix(): path for name, path in paths.items() if not hidden(name) and path.is_file()}
        for name, path in here.items():
            check_name(path)
            if f"{name}.gz" in here:
                raise Problem(f"both {name} and {name}.gz are there", where=str(path.parent), do="leave one of them")
        found.update(here)
    return tuple(Delivered(name, path) for name, path in sorted(found.items()))


def is_pattern(pattern: str) -> bool:
    """Whether `matching` can look for it.

    >>> [is_pattern(told) for told in ("a-*.csv", "**/a.csv", "**a.csv", ".", "../a.csv", "/a.csv")]
    [True, True, False, False, False, False]
    """
    parts = PurePath(pattern).parts
    odd = any(part == ".." or ("**" in part and part != "**") for part in parts)
    return bool(parts) and not odd and parts[-1] != "**" and not pattern.startswith(("/", "~")) and "\0" not in pattern


def hidden(name: PurePath) -> bool:
    """Whether a file or a folder above it is hidden; `name` begins in the shop's folder."""
    return any(part.startswith(".") for part in name.parts)


def check_name(path: Path) -> None:
    """A `Problem` for a file whose name is not UTF-8: it could not be written down where its rows come from."""
    name = legible(path.name)
    if name != path.name:
        raise Problem(f"the name of the file '{name}' is not UTF-8", where=legible(str(path.parent)), do="rename it")


def legible(name: str) -> str:
    """A file's name as it can be printed, whatever its bytes."""
    return name.encode("utf-8", "backslashreplace").decode()


def find(shop: Source, folders: Sequence[Path]) -> Files:
    """The files that a shop declares. Rows win over Parquet, if a shop may come as either."""

    groups = tuple((group, matching(folders, group[0].pattern)) for group in groups_of(shop.rows))
    views = {name: matching(folders, view.pattern) for name, view in (shop.views or {}).items()}
    by_rows = bool(groups) and (any(found for _, found in groups) or not any(views.values()))
    sides = {side.pattern: matching(folders, side.pattern) for declared in shop.rows for side in declared.sides}
    chosen = (
        {group[0].pattern: found for group, found in groups} | sides
        if by_rows
        else {(shop.views or {})[name].pattern: found for name, found in views.items()}
    )
    lacking = [pattern for pattern, found in chosen.items() if not found]
    if lacking:
        raise Problem(
            f"'{shop.name}' lacks {', '.join(lacking)}",
            where=", ".join(map(str, folders)),
            do="check the folder given by --from"
            if shop.needs_folder
            else f"run 'python -m jobs reset --shop {shop.name}', then import again",
        )
    files = {file.name: file.path for found in chosen.values() for file in found}
    for path in files.values():
        check_readable(path)
    if by_rows:
        check_once(groups)
        return Files(groups=groups, all=files, sides=sides)
    return Files(views={name: [file.path for file in found] for name, found in views.items()}, all=files)


def groups_of(declared: Sequence[RowFile]) -> list[tuple[RowFile, ...]]:
    """Declarations that read the same files in the same way, together: such a file is read once."""
    found: dict[tuple[str, Reading], list[RowFile]] = {}
    for one in declared:
        found.setdefault((one.pattern, Reading.of(one)), []).append(one)
    return [tuple(group) for group in found.values()]


def check_once(groups: Sequence[tuple[tuple[RowFile, ...], tuple[Delivered, ...]]]) -> None:
    """A `Problem` if two patterns of one table meet the same file: its rows would count twice."""
    read: dict[tuple[str, str], int] = {}
    for place, (group, files) in enumerate(groups):
        for name in {one.table for one in group}:
            for file in files:
                other = read.setdefault((name, file.name), place)
                if other != place:
                    raise Problem(
                        f"{file.name} would be read twice for {name}: by '{groups[other][0][0].pattern}' "
                        f"and by '{group[0].pattern}'",
                        where=str(file.path),
                        do="let the patterns of one table meet different files",
                    )


def tables_of(shop: Source, files: Files) -> list[str]:
    """The raw tables that these files feed, in the order of their declarations."""
    by_rows = [declared.table for group, _ in files.groups for declared in group]
    by_views = [*(made.table for made in shop.parquet), *(made.table for made in shop.streams)] if files.views else []
    return list(dict.fromkeys([*by_rows, *by_views]))


MOST_DAYS = 3_660
"""The longest span of a shop, some ten years: a wrong clock would stretch one that is found in a file."""


def with_span(shop: Source, files: Files) -> Source:
    """The shop with the span of the times in its files, if it declares none of its own."""
    if not shop.span_found:
        return shop
    found: set[date] = set()
    with narrate("find the days of the files"):
        for group, delivered in files.groups:
            plans = [Plan(declared) for declared in group]
            looked = look_ups(files.beside(group))
            for file in delivered:
                found |= dates_of(plans, file, looked)
    if not found:
        raise Problem(
            f"'{shop.name}': no row has a time that can be read",
            where=", ".join(files.all),
            do="check that these are the shop's files",
        )
    first, last = min(found), max(found)
    if (last - first).days > MOST_DAYS:
        raise Problem(
            f"the times of '{shop.name}' reach from {first} to {last}, which cannot be right",
            where=", ".join(files.all),
            do="take out the rows with a wrong clock, or import them by 'files' with a declared first and last day",
        )
    return replace(shop, first=first, last=last)


def dates_of(plans: Sequence[Plan], file: Delivered, looked: Looked) -> set[date]:
    """The UTC dates of the events of a file, as far as they can be read."""
    filing = Filing(plans, looked)
    found: set[date] = set()
    for number, row, _ in records(file.path, Reading.of(plans[0].declared)):
        if row is not None:
            full = filing.full(row, file, number)
            events = [plan.event_of(full) for plan in plans if plan.holds(full)]
            found |= {when.date() for event in events if (when := moment(event)) is not None}
    return found


State = tuple[int, int]


def state_of(path: Path) -> State:
    """Size and time of change: what shows that a file was changed while it was read."""
    told = path.stat()
    return told.st_size, told.st_mtime_ns


def unchanged(files: Mapping[str, Path], before: Mapping[str, State]) -> None:
    """A `Problem` if a file is not what it was when its hash was taken: what was read may be half of each."""
    for name, path in files.items():
        if not path.is_file() or state_of(path) != before[name]:
            raise Problem(
                f"{name} changed while it was read; nothing was published",
                where=str(path),
                do="import again when the files are written whole",
            )


def check_readable(path: Path) -> None:
    """A file that is empty, closed to us, or no Parquet though it is called so, is a `Problem` before work starts."""
    try:
        with path.open("rb") as stream:
            start = stream.read(4)
    except OSError as fault:
        raise Problem(
            f"{path.name} cannot be read: {fault.strerror}",
            where=str(path),
            do="mend its permissions, or fetch it again",
        ) from fault
    if not start:
        raise Problem(f"{path.name} is empty", where=str(path), do="fetch the file again")
    if path.suffix == ".parquet":
        import pyarrow.parquet as pq

        with whole_parquet(path):
            pq.read_metadata(path)


def check_room(size: int) -> None:
    """A `Problem` if the disk has too little room for an import of `size` bytes of source."""
    folder = home()
    while not folder.exists():
        folder = folder.parent
    free, wanted = shutil.disk_usage(folder).free, 200_000_000 + _ROOM * size
    if free < wanted:
        raise Problem(
            f"too little disk: {free / 1e9:.1f} GB free, {wanted / 1e9:.1f} GB wanted",
            where=str(folder),
            do="free some space, or set ENDCAP_HOME to a folder on a larger disk",
        )
