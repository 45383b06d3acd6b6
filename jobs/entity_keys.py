"""How an entity is written as one key in Feast's online stores (its serialisation, version 3), without Feast.

The number of join keys; each name as its type and length (little-endian, 4 bytes each) and its bytes, in the order of
the names; each value the same way. Ours are texts alone. On Redis the project's name follows. Source: Feast 0.67,
`feast.infra.key_encoding_utils`; a test compares.
"""

import struct
from collections.abc import Callable, Iterable, Mapping, Sequence

_COUNT = struct.Struct("<I")
_ABOUT = struct.Struct("<II")
_STRING = 2
"""Feast's ValueType.STRING."""


def _part(text: str) -> bytes:
    data = text.encode()
    return _ABOUT.pack(_STRING, len(data)) + data


def names(keys: Iterable[str]) -> bytes:
    """What every entity that is named by these join keys begins with."""
    ordered = sorted(keys)
    return _COUNT.pack(len(ordered)) + b"".join(map(_part, ordered))


def writer(keys: Sequence[str]) -> Callable[[Mapping[str, str]], bytes]:
    """A function from {join key: value} to the bytes of the entity; other names in the mapping are passed over.

    >>> writer(["b", "a"])({"a": "x", "b": "y", "c": "z"}) == writer(["a", "b"])({"b": "y", "a": "x"})
    True
    """
    before, ordered = names(keys), sorted(keys)
    if len(ordered) == 1:
        (only,) = ordered
        return lambda entity: before + _part(entity[only])
    return lambda entity: before + b"".join([_part(entity[name]) for name in ordered])


def read(key: bytes) -> tuple[dict[str, str], bytes]:
    """The entity that a key names, and what follows it (on Redis the project); `ValueError` if it is no such key.

    >>> read(writer(["visitor", "category"])({"visitor": "v1_a", "category": "tea"}) + b"shop")
    ({'category': 'tea', 'visitor': 'v1_a'}, b'shop')
    """
    try:
        (count,) = _COUNT.unpack_from(key)
        at, texts = _COUNT.size, list[str]()
        if count > 16:
            raise ValueError("no entity has so many keys")
        for _ in range(2 * count):
            kind, length = _ABOUT.unpack_from(key, at)
            at += _ABOUT.size
            if kind != _STRING or at + length > len(key):
                raise ValueError("a part of the key is no text, or cut short")
            texts.append(key[at : at + length].decode())
            at += length
    except struct.error as fault:
        raise ValueError("the key is cut short") from fault
    return dict(zip(texts[:count], texts[count:], strict=True)), key[at:]
