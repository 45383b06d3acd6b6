"""One name, one schema: what the tables promise of themselves."""

import pytest

from jobs.console import Usage
from jobs.tables import ADDED, DELIVERED, ZONES, table, tables, text_column

ALL = [(zone, declared) for zone in ZONES for declared in tables(zone)]


@pytest.mark.parametrize(("zone", "declared"), ALL, ids=[f"{z}/{t.name}" for z, t in ALL])
def test_a_table_is_sound(zone: str, declared: object) -> None:
    names = declared.names  # type: ignore[attr-defined]
    assert len(set(names)) == len(names)
    assert set(declared.key) <= set(names)  # type: ignore[attr-defined]
    assert all(column.doc for column in declared.columns)  # type: ignore[attr-defined]
    assert declared.dated == ("day" in names) or zone == "quarantine"  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", DELIVERED)
def test_below_safe_nothing_tells_directly_who_a_visitor_is(name: str) -> None:
    safe = table("safe", name)
    assert "visitor_id" not in safe.names
    assert not [c.name for c in safe.columns if c.personal == "direct"]
    assert not {"source_file", "source_row", "unreadable"} & set(safe.names)
    assert ("visitor" in safe.names) == ("visitor_id" in table("clean", name).names)


@pytest.mark.parametrize("name", DELIVERED)
def test_raw_holds_every_declared_column_as_text(name: str) -> None:
    raw, clean = table("raw", name), table("clean", name)
    declared = [c.name for c in clean.columns if c.name not in ADDED]
    assert all(raw[column].kind == "string" for column in declared)
    assert "unreadable" in raw.names


def test_an_unknown_table_or_zone_is_suggested() -> None:
    with pytest.raises(Usage, match="did you mean 'items'"):
        table("raw", "item")
    with pytest.raises(Usage, match="did you mean 'safe'"):
        table("save", "items")


def test_texts_have_a_language() -> None:
    for name in DELIVERED:
        column = text_column(name)
        assert ("language" in table("clean", name).names) == (column is not None)
        assert column is None or column in table("clean", name).names
