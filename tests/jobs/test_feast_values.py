"""Values to bytes and back: the bytes are Feast's, and what is read is what was written."""

import math
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs import feast_values

pytestmark = [
    pytest.mark.usefixtures("feast"),
    pytest.mark.filterwarnings("ignore"),
]  # of Feast and what it imports, none of them ours
LONG, MOMENT = st.integers(-(2**63), 2**63 - 1), st.integers(-(10**9), 4 * 10**9)
TEXT = st.text(st.characters(codec="utf-8"), max_size=200)
NUMBER = st.floats(width=64)
KINDS: dict[str, tuple[Any, Any]] = {
    "Int64": (pa.int64(), st.one_of(st.integers(-2, 300), LONG)),
    "Float64": (pa.float64(), NUMBER),
    "String": (pa.string(), TEXT),
    "Bool": (pa.bool_(), st.booleans()),
    "UnixTimestamp": (pa.timestamp("us", tz="UTC"), MOMENT.map(lambda s: datetime.fromtimestamp(s, UTC))),
    "Decimal": (pa.decimal128(12, 2), st.decimals(-9_999_999, 9_999_999, places=2)),
    "Array(Int64)": (pa.list_(pa.int64()), st.lists(LONG, max_size=5)),
    "Array(Float64)": (pa.list_(pa.float64()), st.lists(NUMBER, max_size=5)),
    "Array(String)": (pa.list_(pa.string()), st.lists(TEXT, max_size=5)),
    "Array(UnixTimestamp)": (
        pa.list_(pa.timestamp("us", tz="UTC")),
        st.lists(MOMENT.map(lambda s: datetime.fromtimestamp(s, UTC)), max_size=5),
    ),
}


def same(a: Any, b: Any) -> bool:
    """Equal to the type and the bit: NaN is NaN, and minus zero is not zero."""
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, float) and isinstance(b, float):
        return (math.isnan(a) and math.isnan(b)) or (a == b and math.copysign(1, a) == math.copysign(1, b))
    return type(a) is type(b) and bool(a == b)


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None)
@given(data=st.data())
def test_bytes_are_feasts_and_come_back_as_they_were(kind: str, data: st.DataObject) -> None:
    arrow, values = KINDS[kind]
    given = data.draw(st.lists(st.none() | values, max_size=6))
    column = pa.chunked_array([pa.array(given[:2], arrow), pa.array(given[2:], arrow)])
    stored = feast_values.encoded(column)
    assert stored == [value.SerializeToString() for value in feast_values.protos(column)]
    read, slow = feast_values.decoder(kind), feast_values.any_value
    expected = column.to_pylist()
    assert all(same(read(b) if b else None, value) for b, value in zip(stored, expected, strict=True))
    assert all(same(slow(b) if b else None, value) for b, value in zip(stored, expected, strict=True))


def test_a_value_of_another_type_than_was_declared_is_itself() -> None:
    """A feature that changed its type: what was stored before is read as what it is, not as noise."""
    (text,) = feast_values.encoded(pa.chunked_array([pa.array(["9 letters"])]))
    for kind in ("Float64", "Int64", "UnixTimestamp", "String"):
        assert feast_values.decoder(kind)(text) == "9 letters"
    (number,) = feast_values.encoded(pa.chunked_array([pa.array([7])]))
    assert feast_values.decoder("String")(number) == 7 and feast_values.decoder("Float64")(number) == 7


def test_nothing_is_kept_of_what_feast_has_no_place_for() -> None:
    with pytest.raises(TypeError, match="no online value for a column of date32"):
        feast_values.encoded(pa.chunked_array([pa.array([None], pa.date32())]))
    assert feast_values.encoded(pa.chunked_array([pa.array([Decimal("1.50"), None])]))[1] == b""
