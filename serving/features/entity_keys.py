"""Entity keys as Feast's online stores spell them (its serialization version 3), for one join key.

Number of join keys, then type, length and bytes of the join key's name, then those of the value;
all numbers are 32 bits, little-endian.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

_TWO = struct.Struct("<II")
_LONG = struct.Struct("<q")
_INT = struct.Struct("<i")

# Feast's value type → its number there, a value's bytes, and back
_TYPES: dict[str, tuple[int, Callable[[Any], bytes], Callable[[bytes], Any]]] = {
    "BYTES": (1, bytes, bytes),
    "STRING": (2, str.encode, bytes.decode),
    "INT32": (3, _INT.pack, lambda b: _INT.unpack(b)[0]),
    "INT64": (4, _LONG.pack, lambda b: _LONG.unpack(b)[0]),
    "UNIX_TIMESTAMP": (8, _LONG.pack, lambda b: _LONG.unpack(b)[0]),
}
KEY_TYPES = frozenset(_TYPES)


class EntityKeys:
    """Spells the keys of one join key.

    Args:
        name: of the join key.
        key_type: Feast's value type of its values.
    """

    def __init__(self, name: str, key_type: str) -> None:
        self.number, self._bytes, self._value = _TYPES[key_type]
        encoded = name.encode()
        self.prefix = struct.pack("<III", 1, 2, len(encoded)) + encoded

    def encode(self, value: Any) -> bytes:
        data = self._bytes(value)
        return self.prefix + _TWO.pack(self.number, len(data)) + data

    def decode(self, key: bytes) -> Any:
        """The value in a key, which something may follow."""
        start = len(self.prefix) + _TWO.size
        _, length = _TWO.unpack_from(key, len(self.prefix))
        return self._value(key[start : start + length])
