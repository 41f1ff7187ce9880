"""D-Bus messages as they come in: cut out of the stream, and read only as far as somebody wants to know. Pure.

Owns the decoding (the D-Bus specification, "Message Protocol"); knows no socket and no systemd. A change of one
unit's state comes as some ten messages with a hundred values of which the agent needs five: dbus-next decodes them
all, at 0.4 ms a message, and that was half of what the agent used. Here a header costs little, and a value that
nobody asked for is stepped over. Variants are their value, structures tuples, dictionaries dicts.

What comes in is not trusted. Every reader moves forward through the bytes, takes at least one of them for each
value, stays inside the message and the array that it is in, and goes at most MAX_DEPTH values deep: the work is
linear in the message, and whatever is wrong with it raises Malformed and nothing else.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType
from typing import Any, NoReturn

CALL, RETURN, ERROR, SIGNAL = 1, 2, 3, 4
_FIELDS = {  # of a header, by number: ours, its type, and that as a variant's signature
    number: (name, code, b"\1" + code.encode() + b"\0")
    for number, name, code in (
        (1, "path", "o"), (2, "interface", "s"), (3, "member", "s"), (4, "error_name", "s"),
        (5, "reply_serial", "u"), (7, "sender", "s"), (8, "signature", "g"),
    )
}  # fmt: skip
_VERSION = 1
_FIXED_HEADER = 16
_LARGEST = 1 << 27  # of any message, by the specification
_LARGEST_ARRAY = 1 << 26
_LONGEST_SIGNATURE = 255
MAX_DEPTH = 64  # of values in values; the specification allows 32 arrays and 32 structures
_DEEPEST_TYPE = 32  # arrays, or structures, in each other in one signature

_FIXED = {"y": "B", "b": "I", "n": "h", "q": "H", "i": "i", "u": "I", "x": "q", "t": "Q", "d": "d", "h": "I"}
_ALIGN = {"s": 4, "o": 4, "g": 1, "v": 1, "a": 4, "(": 8, "{": 8} | {
    code: struct.calcsize(form) for code, form in _FIXED.items()
}
_STRUCTS = {order: {code: struct.Struct(order + form) for code, form in _FIXED.items()} for order in "<>"}

_BASIC = frozenset("ybnqiuxtdhsog")
_SIZES = {ord(code): struct.calcsize(form) for code, form in _FIXED.items()}


NO_TYPES: Mapping[bytes, bytes] = MappingProxyType({})


class Malformed(ValueError):
    """What came in is no D-Bus message."""


@dataclass(slots=True)
class Message:
    """One message; the arguments are read when they are asked for."""

    kind: int
    order: str = field(repr=False)  # "<" or ">", as struct has it
    data: bytes = field(repr=False)
    body: int = field(repr=False)  # where the arguments begin
    path: str = ""
    interface: str = ""
    member: str = ""
    error_name: str = ""
    sender: str = ""
    signature: str = ""
    reply_serial: int = 0

    def arguments(self) -> list[Any]:
        """Return all arguments. Raises Malformed."""
        found, at = [], self.body
        try:
            for code in complete_types(self.signature):
                value, at = _read(code, self.data, at, self.order)
                found.append(value)
        except _BEYOND as error:
            raise Malformed(f"a message that ends too soon ({error})") from None
        if at != len(self.data):
            raise Malformed(f"{len(self.data) - at} bytes after the last argument")
        return found

    def first(self) -> Any:  # noqa: ANN401 - any D-Bus value
        """Return the first argument. Raises Malformed, also where there is none."""
        try:
            return _read(complete_types(self.signature)[0], self.data, self.body, self.order)[0]
        except _BEYOND as error:
            raise Malformed(f"a message without what it should hold ({error})") from None

    def changes(self, wanted: Mapping[bytes, str], types: Mapping[bytes, bytes] = NO_TYPES) -> dict[str, Any]:
        """Of a PropertiesChanged signal (signature sa{sv}as): the new values of these properties. Raises Malformed.

        `wanted` is by the names as they are written. A value of another signature than `types` has for it is passed
        over. The agent's busiest loop: hence without calls where it can.
        """
        try:
            return self._changes(wanted, types)
        except _BEYOND as error:
            raise Malformed(f"a list of changes that ends too soon ({error})") from None

    def _changes(self, wanted: Mapping[bytes, str], types: Mapping[bytes, bytes]) -> dict[str, Any]:
        data, order = self.data, self.order
        at = _skip("s", data, self.body, order)
        at, end = _array("{sv}", data, at, order)
        found: dict[str, Any] = {}
        word = _STRUCTS[order]["u"].unpack_from
        while at < end:
            at += 4 + (-at & 7)
            past = at + word(data, at - 4)[0]
            name, at = data[at:past], past + 1
            if name in wanted:
                right = types.get(name)
                if right is None or data[at + 1 : at + 1 + data[at]] == right:
                    found[wanted[name]], at = _read("v", data, at, order)
                    continue
            if data[at] == 1 and (size := _SIZES.get(data[at + 1])):  # nearly always: a number of a fixed size
                at += 3 + (-(at + 3) & (size - 1)) + size
            else:
                at = _skip("v", data, at, order)
        if at != end:
            _beyond()
        return found


class MessageStream:
    """Bytes in, messages out."""

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, data: bytes) -> Iterator[Message]:
        """The messages that these bytes complete. Raises Malformed: then nothing more can be made of the stream."""
        held, at = self._held, 0
        held += data
        try:
            while (size := _size(held, at)) and at + size <= len(held):
                try:
                    message = _message(bytes(memoryview(held)[at : at + size]))
                except _BEYOND as error:
                    raise Malformed(f"a header that ends too soon ({error})") from None
                at += size
                yield message
        finally:
            del held[:at]


def _size(data: bytearray, at: int) -> int:
    """The length of the message that begins here; 0 while that cannot be told yet."""
    if len(data) - at < _FIXED_HEADER:
        return 0
    order = _order(data[at])
    if data[at + 3] != _VERSION:
        raise Malformed(f"a message of version {data[at + 3]}")
    body, fields = struct.unpack_from(order + "I4xI", data, at + 4)
    size = _FIXED_HEADER + fields + (-fields & 7) + body
    if size > _LARGEST:
        raise Malformed(f"a message of {size} bytes")
    return int(size)


def _order(mark: int) -> str:
    if mark not in b"lB":
        raise Malformed(f"a message that begins with {mark:#x}")
    return "<" if mark == ord("l") else ">"


def _message(data: bytes) -> Message:
    order = _order(data[0])
    end: int = _FIXED_HEADER + _STRUCTS[order]["u"].unpack_from(data, 12)[0]
    message = Message(data[1], order, data, end + (-end & 7))
    at = _FIXED_HEADER
    while at < end:
        at += -at & 7
        known = _FIELDS.get(data[at])
        if known is None:  # of a version to come: to be ignored
            at = _skip("v", data, at + 1, order)
            continue
        name, code, signature = known
        if data[at + 1 : at + 4] != signature:
            raise Malformed(f"a {name} that is not of type {code}")
        value, at = _read(code, data, at + 4, order)
        setattr(message, name, value)
    if at != end:
        _beyond()
    return message


@lru_cache(maxsize=512)
def complete_types(signature: str) -> tuple[str, ...]:
    """A signature's single complete types: `sa{sv}` is `s` and `a{sv}`. Raises Malformed."""
    if len(signature) > _LONGEST_SIGNATURE:
        raise Malformed(f"a signature of {len(signature)} characters")
    found, at = [], 0
    while at < len(signature):
        end = _type_end(signature, at)
        found.append(signature[at:end])
        at = end
    return tuple(found)


def _type_end(signature: str, at: int, arrays: int = 0, structures: int = 0) -> int:
    code = signature[at : at + 1]
    if max(arrays, structures) > _DEEPEST_TYPE:
        raise Malformed(f"signature {signature!r} is too deep")
    if code == "a":
        inside = _dict_entry_end if signature[at + 1 : at + 2] == "{" else _type_end
        return inside(signature, at + 1, arrays + 1, structures)
    if code == "(":
        at += 1
        if signature[at : at + 1] == ")":
            raise Malformed(f"signature {signature!r} has an empty structure")
        while signature[at : at + 1] != ")":
            at = _type_end(signature, at, arrays, structures + 1)
        return at + 1
    if not code or code not in _ALIGN or code == "{":
        raise Malformed(f"signature {signature!r}")
    return at + 1


def _dict_entry_end(signature: str, at: int, arrays: int, structures: int) -> int:
    """A dictionary's entry: a basic key and one value, and nowhere else than in an array."""
    if signature[at + 1 : at + 2] not in _BASIC:
        raise Malformed(f"signature {signature!r} has a dictionary without a basic key")
    at = _type_end(signature, at + 2, arrays, structures + 1)
    if signature[at : at + 1] != "}":
        raise Malformed(f"signature {signature!r} has a dictionary entry that is not of two types")
    return at + 1


@lru_cache(maxsize=512)
def _parts(code: str) -> tuple[str, ...]:
    """The types of a structure's or dictionary entry's values."""
    return complete_types(code[1:-1])


def _beyond() -> NoReturn:
    raise Malformed("a value that goes beyond its end")


_BEYOND = (struct.error, IndexError)  # what reading past the end raises


def _read(code: str, data: bytes, at: int, order: str, depth: int = 0) -> tuple[Any, int]:
    """The value of this type and where the next one begins."""
    kind = code[0]
    if kind in "so":
        at += -at & 3
        end: int = at + 4 + _STRUCTS[order]["u"].unpack_from(data, at)[0]
        if end >= len(data):
            _beyond()
        return data[at + 4 : end].decode("utf-8", "replace"), end + 1
    if kind == "v":
        inner, at = _variant(data, at)
        return _read(inner, data, at, order, _deeper(depth))
    if kind in _FIXED:
        form = _STRUCTS[order][kind]
        at += -at & (form.size - 1)
        value = form.unpack_from(data, at)[0]
        return bool(value) if kind == "b" else value, at + form.size
    return _READERS[kind](code, data, at, order, depth)


def _deeper(depth: int) -> int:
    if depth >= MAX_DEPTH:
        raise Malformed(f"values more than {MAX_DEPTH} deep")
    return depth + 1


def _variant(data: bytes, at: int) -> tuple[str, int]:
    """The type of a variant's value, and where that begins."""
    signature, at = _read_signature("g", data, at, "", 0)
    types = complete_types(signature)
    if len(types) != 1:
        raise Malformed(f"a variant of signature {signature!r}")
    return signature, at


def _read_signature(_code: str, data: bytes, at: int, _order: str, _depth: int) -> tuple[str, int]:
    end = at + 1 + data[at]
    if end >= len(data):
        _beyond()
    return data[at + 1 : end].decode("ascii", "replace"), end + 1


def _read_struct(code: str, data: bytes, at: int, order: str, depth: int) -> tuple[Any, int]:
    at += -at & 7
    values, depth = [], _deeper(depth)
    for each in _parts(code):
        value, at = _read(each, data, at, order, depth)
        values.append(value)
    return tuple(values), at


def _read_array(code: str, data: bytes, at: int, order: str, depth: int) -> tuple[Any, int]:
    element = code[1:]
    at, end = _array(element, data, at, order)
    if element == "y":
        return data[at:end], end
    values, depth = [], _deeper(depth)
    while at < end:
        value, at = _read(element, data, at, order, depth)
        values.append(value)
    if at != end:
        _beyond()
    return (dict(values) if element[0] == "{" else values), end  # its keys are basic, by the signature


def _array(element: str, data: bytes, at: int, order: str) -> tuple[int, int]:
    """Where the elements begin and end. The padding before the first one is not counted in the length."""
    at += -at & 3
    length: int = _STRUCTS[order]["u"].unpack_from(data, at)[0]
    at += 4
    at += -at & (_ALIGN[element[0]] - 1)
    if length > _LARGEST_ARRAY or at + length > len(data):
        _beyond()
    return at, at + length


def _skip(code: str, data: bytes, at: int, order: str, depth: int = 0) -> int:
    """Where the value after this one begins. An array says how long it is, whatever it holds."""
    kind = code[0]
    if kind == "v":
        inner, at = _variant(data, at)
        return _skip(inner, data, at, order, _deeper(depth))
    if kind == "a":
        return _array(code[1:], data, at, order)[1]
    if kind in _FIXED:
        size = _STRUCTS[order][kind].size
        at += (-at & (size - 1)) + size
    elif kind in "so":
        at += -at & 3
        at += 5 + int(_STRUCTS[order]["u"].unpack_from(data, at)[0])
    elif kind == "g":
        at += 2 + data[at]
    else:
        at += -at & 7
        for each in _parts(code):
            at = _skip(each, data, at, order, _deeper(depth))
    if at > len(data):
        _beyond()
    return at


_READERS: dict[str, Callable[[str, bytes, int, str, int], tuple[Any, int]]] = {
    "g": _read_signature,
    "(": _read_struct,
    "{": _read_struct,
    "a": _read_array,
}
