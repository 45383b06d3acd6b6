"""Values as Feast's online stores keep them (its protobuf `Value`), to and from their bytes, a column at a time.

The bytes are Feast's own, so that its readers and ours may be used on one store; tests compare both directions. What is
read most often is read without an object for each value: numbers, texts and moments; lists go by Feast's classes.
None is no bytes at all; NaN, zero, the empty text and the empty list are themselves. Times are whole seconds, which is
all that Feast keeps. Source: Feast 0.67, `protos/feast/types/Value.proto`; the wire format of protobuf 3.
"""

import struct
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

Decoder = Callable[[bytes], Any]
_STRING, _INT64, _DOUBLE, _MOMENT = 0x12, 0x20, 0x29, 0x40
"""First bytes of string_val, int64_val, double_val, unix_timestamp_val: number of the field, and how it is written."""
_double = struct.Struct("<d").unpack_from


# From bytes ------------------------------------------------------------------------------------------


def plain(value: Any) -> Any:
    """The Python value of Feast's `Value`; None if it is empty. Times are UTC."""
    kind = value.WhichOneof("val") if value is not None else None
    if kind is None or kind == "null_val":
        return None
    inner = getattr(value, kind)
    if kind == "unix_timestamp_val":
        return datetime.fromtimestamp(inner, UTC)
    if kind == "unix_timestamp_list_val":
        return [datetime.fromtimestamp(each, UTC) for each in inner.val]
    if kind == "decimal_val":
        return Decimal(inner)
    if kind == "decimal_list_val":
        return [Decimal(each) for each in inner.val]
    return list(inner.val) if kind.endswith("_list_val") else inner


def any_value(stored: bytes) -> Any:
    """Whatever the bytes hold: the slow way, which is right for every type."""
    return plain(_value_class().FromString(stored))


@lru_cache(maxsize=1)
def _value_class() -> Any:
    from feast.protos.feast.types.Value_pb2 import Value

    return Value


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """The number written at a place (base 128, lowest first; 64 bits, two's complement) and the place after it."""
    number = shift = 0
    while True:
        byte = data[at]
        number |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return (number - (1 << 64) if number >> 63 else number), at
        shift += 7


def _double_of(stored: bytes) -> Any:
    return _double(stored, 1)[0] if len(stored) == 9 and stored[0] == _DOUBLE else any_value(stored)


def _long_of(stored: bytes) -> Any:
    if stored[0] != _INT64:
        return any_value(stored)
    return stored[1] if len(stored) == 2 else _varint(stored, 1)[0]


def _text_of(stored: bytes) -> Any:
    length = len(stored) - 2  # up to 127 bytes, the length is one byte
    return stored[2:].decode() if stored[0] == _STRING and stored[1] == length < 128 else any_value(stored)


def _moment_of(stored: bytes) -> Any:
    return datetime.fromtimestamp(_varint(stored, 1)[0], UTC) if stored[0] == _MOMENT else any_value(stored)


_DECODERS: dict[str, Decoder] = {
    "Float64": _double_of, "Int64": _long_of, "String": _text_of, "UnixTimestamp": _moment_of,
}  # fmt: skip


def decoder(kind: str) -> Decoder:
    """A function from the bytes of a value to the value, for a feature of this type ('Int64', 'Array(String)')."""
    return _DECODERS.get(kind, any_value)


# To bytes --------------------------------------------------------------------------------------------


def _scalar(name: str) -> Callable[[Any], Any]:
    from feast.protos.feast.types.Value_pb2 import Value

    return lambda value: Value() if value is None else Value(**{name: value})


def _list(name: str, kind: str) -> Callable[[Any], Any]:
    from feast.protos.feast.types import Value_pb2

    make = getattr(Value_pb2, kind)
    return lambda value: Value_pb2.Value() if value is None else Value_pb2.Value(**{name: make(val=value)})


def protos(column: "pa.ChunkedArray") -> Iterator[Any]:
    """Feast's values of an Arrow column; times as whole seconds, decimals as texts; `TypeError` for other types."""
    import pyarrow as pa

    seconds = pa.timestamp("s", tz="UTC")
    kind = column.type
    if kind == pa.string():
        make = _scalar("string_val")
    elif kind == pa.int64():
        make = _scalar("int64_val")
    elif kind == pa.float64():
        make = _scalar("double_val")
    elif kind == pa.bool_():
        make = _scalar("bool_val")
    elif pa.types.is_decimal(kind):
        column, make = column.cast(pa.string()), _scalar("decimal_val")
    elif pa.types.is_timestamp(kind):
        column, make = column.cast(seconds, safe=False).cast(pa.int64()), _scalar("unix_timestamp_val")
    elif pa.types.is_list(kind) and pa.types.is_timestamp(kind.value_type):
        column = column.cast(pa.list_(seconds), safe=False).cast(pa.list_(pa.int64()))
        make = _list("unix_timestamp_list_val", "Int64List")
    elif pa.types.is_list(kind) and kind.value_type in (pa.string(), pa.int64(), pa.float64()):
        name, of = {
            pa.string(): ("string_list_val", "StringList"),
            pa.int64(): ("int64_list_val", "Int64List"),
            pa.float64(): ("double_list_val", "DoubleList"),
        }[kind.value_type]
        make = _list(name, of)
    else:
        raise TypeError(f"no online value for a column of {kind}")
    return (make(value) for value in column.to_pylist())


def _number(number: int) -> bytes:
    """A whole number as protobuf writes it: seven bits a byte, lowest first, of its 64 bits.

    >>> _number(1), _number(300), len(_number(-1))
    (b'\\x01', b'\\xac\\x02', 10)
    """
    number &= (1 << 64) - 1
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    found.append(number)
    return bytes(found)


def encoded(column: "pa.ChunkedArray") -> list[bytes]:
    """The bytes of each value of an Arrow column; no bytes for null. The same as those of `protos`, sooner."""
    import pyarrow as pa

    if column.type == pa.float64():
        return _doubles(column)
    if column.type == pa.int64():
        known: dict[int, bytes] = {}  # counts are few and small
        return [b"" if n is None else known.get(n) or known.setdefault(n, b"\x20" + _number(n))
                for n in column.to_pylist()]  # fmt: skip
    if column.type == pa.string():
        texts = (None if text is None else text.encode() for text in column.to_pylist())
        return [b"" if text is None else b"\x12" + _number(len(text)) + text for text in texts]
    return [value.SerializeToString() for value in protos(column)]


def _doubles(column: "pa.ChunkedArray") -> list[bytes]:
    import numpy as np

    count = len(column)
    cells = np.empty((count, 9), dtype=np.uint8)
    cells[:, 0] = _DOUBLE
    numbers = column.combine_chunks().fill_null(0.0).to_numpy(zero_copy_only=False)
    cells[:, 1:] = np.ascontiguousarray(numbers, dtype="<f8").view(np.uint8).reshape(count, 8)
    data = cells.tobytes()
    found = [data[at : at + 9] for at in range(0, 9 * count, 9)]
    if column.null_count:
        for n in np.flatnonzero(column.is_null().to_numpy()):
            found[n] = b""
    return found
