"""Mutations of bytes, protobuf messages and JSON values, by a `random.Random`."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

MAX_BYTES = 4 << 20  # of a mutated input

_INTEGERS = (0, 1, 2, 3, 7, 8, 16, 48, 127, 128, 255, 256, 1023, 4096, 32767, 32768, 65535, 65536)
_INTEGERS += (10**8, 2**31 - 1, 2**31, 2**32 - 1, 2**62, 2**63 - 1, 2**63, 2**64 - 1)
TEXTS = (
    "",
    " ",
    ".",
    "..",
    "../../escape/happy",
    "/etc/passwd",
    "a\\b",
    "a\0b",
    "\x1b]0;title\x07",
    "\x9b31m",
    "\ud800",
    "\u202egnp",
    "愤怒",
    "x" * 100_000,
    "path",
    "Happy",
    "nan",
    "1e999",
    "=1+1",
)


def mutate_bytes(
    random: Random, data: bytes, others: Sequence[bytes] = (), tokens: Sequence[bytes] = ()
) -> bytes:
    """Change some bytes; sometimes insert a part of another file or a token of the format."""
    changed = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 4, 8))):
        operation = random.choice(_BYTE_OPERATIONS)
        operation(random, changed, others, tokens)
    return bytes(changed[:MAX_BYTES])


def _choose_position(random: Random, data: bytearray) -> int:
    """Return a position; positions in the header are more frequent."""
    if not data:
        return 0
    within = min(len(data), random.choice((32, 256, 4096, len(data))))
    if random.random() < 0.2:  # what is written last: directories, indices, metadata
        return len(data) - 1 - random.randrange(within)
    return random.randrange(within)


def _flip(random: Random, data: bytearray, *_: Any) -> None:
    if data:
        data[_choose_position(random, data)] ^= 1 << random.randrange(8)


def _set(random: Random, data: bytearray, *_: Any) -> None:
    if data:
        data[_choose_position(random, data)] = random.choice(
            (0, 1, 127, 128, 255, random.randrange(256))
        )


def _integer(random: Random, data: bytearray, *_: Any) -> None:
    width = random.choice((2, 4, 8))
    value = random.choice(_INTEGERS) % (1 << 8 * width)
    place = _choose_position(random, data)
    data[place : place + width] = value.to_bytes(width, random.choice(("little", "big")))


def _add(random: Random, data: bytearray, *_: Any) -> None:
    width, order = random.choice((1, 2, 4)), random.choice(("little", "big"))
    place = _choose_position(random, data)
    value = int.from_bytes(data[place : place + width], order) + random.randint(-16, 16)
    data[place : place + width] = (value % (1 << 8 * width)).to_bytes(width, order)


def _cut(random: Random, data: bytearray, *_: Any) -> None:
    del data[_choose_position(random, data) :]


def _delete(random: Random, data: bytearray, *_: Any) -> None:
    place = _choose_position(random, data)
    del data[place : place + random.choice((1, 2, 8, 100))]


def _insert(random: Random, data: bytearray, *_: Any) -> None:
    place = _choose_position(random, data)
    data[place:place] = random.randbytes(random.choice((1, 2, 8, 100)))


def _repeat(random: Random, data: bytearray, *_: Any) -> None:
    place = _choose_position(random, data)
    piece = bytes(data[place : place + random.choice((1, 4, 12, 64, 1000))])
    times = random.choice((1, 2, 10, 1000, 20_000))
    data[place:place] = piece * min(times, MAX_BYTES // 4 // max(1, len(piece)))


def _copy(random: Random, data: bytearray, *_: Any) -> None:
    source, place = _choose_position(random, data), _choose_position(random, data)
    piece = bytes(data[source : source + random.choice((2, 4, 8, 64))])
    data[place : place + len(piece)] = piece


def _splice(random: Random, data: bytearray, others: Sequence[bytes], _: Any) -> None:
    if others:
        other = random.choice(others)
        source, place = random.randrange(len(other) + 1), _choose_position(random, data)
        if random.random() < 0.5:
            data[place:] = other[source:]
        else:
            data[place:place] = other[source : source + random.choice((8, 64, 1000))]


def _token(random: Random, data: bytearray, _: Any, tokens: Sequence[bytes]) -> None:
    if tokens:
        place, token = _choose_position(random, data), random.choice(tokens)
        data[place : place + random.choice((0, len(token)))] = token


_BYTE_OPERATIONS: tuple[Callable[..., None], ...] = (
    _flip,
    _set,
    _set,
    _integer,
    _integer,
    _add,
    _cut,
    _delete,
    _insert,
    _repeat,
    _copy,
    _splice,
    _token,
)


def varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 127:
        encoded.append(value % 128 + 128)
        value //= 128
    return bytes([*encoded, value])


def field(number: int, value: bytes) -> bytes:
    """Encode a length-delimited field of protobuf."""
    return varint(number * 8 + 2) + varint(len(value)) + value


def mutate_protobuf(
    random: Random, data: bytes, others: Sequence[bytes] = (), depth: int = 0
) -> bytes:
    """Change a message in one place, at any depth, and update all lengths.

    Fields are removed, repeated, swapped, renumbered or get another value.
    """
    fields = _parse_message(data)
    if not fields or depth > 8:
        return mutate_bytes(random, data, others)
    place = random.randrange(len(fields))
    number, kind, value = fields[place]
    chance = random.random()
    if isinstance(value, bytes) and chance < 0.75:
        inner = (
            mutate_protobuf(random, value, others, depth + 1)
            if _parse_message(value)
            else random.choice((mutate_bytes(random, value), _text(random), b"", value * 2))
        )
        fields[place] = number, kind, inner
    elif chance < 0.80:
        del fields[place]
    elif chance < 0.85:
        fields[place:place] = [fields[place]] * random.choice((1, 2, 1000))
    elif chance < 0.90:
        fields[place] = random.choice((number + 1, random.randrange(1, 30), 10**8)), kind, value
    elif isinstance(value, int):
        fields[place] = number, kind, random.choice(_INTEGERS)
    else:
        other = random.randrange(len(fields))
        fields[place], fields[other] = fields[other], fields[place]
    return b"".join(_encode_field(*one) for one in fields)[:MAX_BYTES]


def _text(random: Random) -> bytes:
    return random.choice(TEXTS).encode("utf-8", "surrogatepass")


Field = tuple[int, int, "int | bytes"]


def _parse_message(data: bytes) -> list[Field]:
    """Return number, wire type and value of each field; nothing if it is not a message."""
    fields: list[Field] = []
    position = 0
    try:
        while position < len(data):
            key, position = _read_varint(data, position)
            number, kind = key >> 3, key & 7
            value: int | bytes
            if kind == 0:
                value, position = _read_varint(data, position)
            else:
                size = {1: 8, 5: 4}.get(kind, -1)
                if kind == 2:
                    size, position = _read_varint(data, position)
                if not 0 <= size <= len(data) - position:
                    return []
                value = data[position : position + size]
                position += size
            if not 0 < number < 1000 or len(fields) > 5000:
                return []
            fields.append((number, kind, value))
    except IndexError:
        return []
    return fields


def _read_varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, position
        if shift > 63:
            raise IndexError


def _encode_field(number: int, kind: int, value: int | bytes) -> bytes:
    key = varint(number * 8 + kind)
    if isinstance(value, int):
        return key + varint(value)
    return key + (varint(len(value)) if kind == 2 else b"") + value


def mutate_json(random: Random, value: Any) -> Any:
    """Return a JSON value with one to three places changed."""
    for _ in range(random.choice((1, 1, 2, 3))):
        value = _change(random, value)
    return value


def _change(random: Random, value: Any) -> Any:
    deeper = random.random() < 0.85
    if isinstance(value, dict) and value and deeper:
        name = random.choice(list(value))
        changed = dict(value)
        chance = random.random()
        if chance < 0.1:
            del changed[name]
        elif chance < 0.2:
            changed[random.choice((*TEXTS[:16], "surprise"))] = changed.pop(name)
        else:
            changed[name] = _change(random, value[name])
        return changed
    if isinstance(value, list) and value and deeper:
        place, listed = random.randrange(len(value)), list(value)
        chance = random.random()
        if chance < 0.1:
            del listed[place]
        elif chance < 0.2:
            listed[place:place] = [listed[place]] * random.choice((1, 50))
        else:
            listed[place] = _change(random, value[place])
        return listed
    return random.choice(_JSON_VALUES)() if random.random() < 0.8 else random.choice(TEXTS)


def _deep(depth: int) -> Any:
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


_JSON_VALUES: tuple[Callable[[], Any], ...] = (
    lambda: None,
    lambda: True,
    lambda: 0,
    lambda: -1,
    lambda: 1,
    lambda: 47,
    lambda: 10**6,
    lambda: 2**63,
    lambda: 10**400,
    lambda: 1.5,
    lambda: -0.0,
    lambda: 1e308,
    lambda: float("nan"),
    lambda: float("inf"),
    lambda: [],
    lambda: {},
    lambda: [[1, 2], [3]],
    lambda: {"a": {"b": [None]}},
    lambda: _deep(30),
    lambda: _deep(300),
    lambda: ["happy", "sad"],
)


def json_text(random: Random, value: Any) -> str:
    """Return a JSON value as text, sometimes slightly damaged."""
    text = json.dumps(value, ensure_ascii=random.random() < 0.5)
    if random.random() < 0.1:
        data = mutate_bytes(random, text.encode("utf-8", "surrogatepass"))
        return data.decode("utf-8", "surrogateescape")
    return text


def to_bytes(text: str) -> bytes:
    """Encode text that may contain lone surrogates or bytes that are not UTF-8."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")
