"""The keys of entities, byte for byte as Feast writes them, and read again."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs import entity_keys

pytestmark = [
    pytest.mark.usefixtures("feast"),
    pytest.mark.filterwarnings("ignore"),
]  # of Feast and what it imports, none of them ours
NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=12)
ENTITIES = st.dictionaries(NAMES, st.text(st.characters(codec="utf-8"), max_size=30), min_size=1, max_size=4)


@settings(deadline=None)
@given(ENTITIES, st.binary(max_size=12))
def test_an_entity_is_written_as_feast_does_and_read_again(entity: dict[str, str], after: bytes) -> None:
    from feast.infra.key_encoding_utils import serialize_entity_key
    from feast.protos.feast.types.EntityKey_pb2 import EntityKey
    from feast.protos.feast.types.Value_pb2 import Value

    values = [Value(string_val=value) for value in entity.values()]
    theirs = serialize_entity_key(
        EntityKey(join_keys=list(entity), entity_values=values), entity_key_serialization_version=3
    )
    ours = entity_keys.writer(list(entity))({**entity, "no such\0key": "x"})
    assert ours == theirs
    assert ours.startswith(entity_keys.names(entity))
    assert entity_keys.read(ours + after) == (entity, after)


@pytest.mark.parametrize("key", [b"", b"abc", b"\1\0\0\0", b"\1\0\0\0\2\0\0\0\xff\0\0\0a", b"endcap:lock:sample",
                                 b"\1\0\0\0\3\0\0\0\1\0\0\0a"])  # fmt: skip
def test_what_is_no_key_is_said_to_be_none(key: bytes) -> None:
    with pytest.raises(ValueError, match=r"cut short|no text|so many|utf-8"):
        entity_keys.read(key)
