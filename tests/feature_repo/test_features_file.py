"""The definitions against the tables they speak of, and that they can be applied from any folder."""

import re
from pathlib import Path
from typing import Any

import pytest

from jobs.features import _definitions, definitions_file
from jobs.tables import table, tables

pytestmark = pytest.mark.filterwarnings("ignore")  # of Feast and what it imports, none of them ours
KINDS = {
    "long": "Int64",
    "double": "Float64",
    "string": "String",
    "array<string>": "Array(String)",
    "array<long>": "Array(Int64)",
    "array<double>": "Array(Float64)",
    "array<timestamp>": "Array(UnixTimestamp)",
}


def views() -> list[Any]:
    from feast import FeatureView

    return [found for found in _definitions() if isinstance(found, FeatureView)]


def test_every_statistic_is_a_feature_of_the_same_type_and_nothing_else_is() -> None:
    assert {view.name for view in views()} == {declared.name for declared in tables("stats")}
    for view in views():
        declared = table("stats", view.name)
        around = {*declared.key, "event_time", "known_time", "day"}
        expected = {column.name: KINDS[column.kind] for column in declared.columns if column.name not in around}
        assert {feature.name: str(feature.dtype) for feature in view.features} == expected


def test_every_view_says_what_it_is_when_it_was_true_and_when_it_expires() -> None:
    for view in views():
        source = view.batch_source
        assert (source.timestamp_field, source.created_timestamp_column) == ("event_time", "known_time")
        assert source.path == f"stats/{view.name}"
        assert view.ttl and view.description and view.owner and view.tags["personal"]
        assert all(feature.description for feature in view.features)


def test_no_sibling_is_imported() -> None:
    imported = set(re.findall(r"^(?:from|import) (\w+)", definitions_file().read_text(), re.M))
    assert imported <= {"datetime", "feast"}


def test_there_is_one_file() -> None:
    assert [path.name for path in Path(definitions_file()).parent.glob("*.py")] == ["features.py"]
