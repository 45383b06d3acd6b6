"""The definitions against the tables they speak of, and that they can be applied from any folder."""

import re
from pathlib import Path
from typing import Any

import pytest

from jobs.feature_store import KEYS, MODELS, SERVICES, _definitions, definitions_file, table_of
from jobs.tables import tables

pytestmark = pytest.mark.filterwarnings("ignore")  # of Feast and what it imports, none of them ours
TIMES = {"event_time", "known_time"}
KINDS = {
    "long": "Int64",
    "double": "Float64",
    "string": "String",
    "array<string>": "Array(String)",
    "array<long>": "Array(Int64)",
    "array<double>": "Array(Float64)",
    "timestamp": "UnixTimestamp",
    "array<timestamp>": "Array(UnixTimestamp)",
}


def views() -> list[Any]:
    from feast import FeatureView

    return [found for found in _definitions() if isinstance(found, FeatureView)]


def test_every_statistic_is_a_feature_of_the_same_type_once_and_nothing_else_is() -> None:
    assert {table_of(view.name) for view in views()} == {declared.name for declared in tables("stats")}
    for declared in tables("stats"):
        of_table = [view for view in views() if table_of(view.name) == declared.name]
        around = {*declared.key, *TIMES, "day"}
        expected = [(column.name, KINDS[column.kind]) for column in declared.columns if column.name not in around]
        told = [(feature.name, str(feature.dtype)) for view in of_table for feature in view.features]
        assert sorted(told) == sorted(expected)
        assert all({column.name for column in view.entity_columns} == {*declared.key} - TIMES for view in of_table)


def test_every_view_says_what_it_is_when_it_was_true_and_when_it_expires() -> None:
    for view in views():
        source = view.batch_source
        assert (source.timestamp_field, source.created_timestamp_column) == ("event_time", "known_time")
        assert source.path == f"stats/{table_of(view.name)}"
        assert view.ttl and view.description and view.owner
        told_of = "visitor" if "visitor" in view.join_keys else "no"
        assert view.tags == {"zone": "stats", "table": table_of(view.name), "personal": told_of}
        assert all(feature.description for feature in view.features)


def test_services_are_what_look_ups_ask_for_and_one_for_each_version_of_a_model() -> None:
    from feast import FeatureService

    made = {found.name: found for found in _definitions() if isinstance(found, FeatureService)}
    assert set(made) == {*SERVICES, *MODELS} and KEYS.keys() == SERVICES.keys()
    by_name = {view.name: view for view in views()}
    for name, service in made.items():
        chosen = {p.name: tuple(f.name for f in p.features) for p in service.feature_view_projections}
        whole = {view: tuple(f.name for f in by_name[view].features) for view in SERVICES.get(name, ())}
        assert chosen == (whole or dict(MODELS[name])), name
        assert service.description and service.owner
        if name in SERVICES:
            assert {key for view in chosen for key in by_name[view].join_keys} == set(KEYS[name])
            features = [feature for listed in chosen.values() for feature in listed]
            assert len(features) == len(set(features))  # an answer has one value for a name
        else:
            assert name == f"{name.split('_v')[0]}_v{service.tags['version']}" and service.tags["model"]
    assert {view for listed in SERVICES.values() for view in listed} == set(by_name)


def test_no_sibling_is_imported() -> None:
    imported = set(re.findall(r"^(?:from|import) (\w+)", definitions_file().read_text(), re.M))
    assert imported <= {"datetime", "feast"}


def test_there_is_one_file() -> None:
    assert [path.name for path in Path(definitions_file()).parent.glob("*.py")] == ["features.py"]
