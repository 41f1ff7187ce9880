"""D-Bus messages as they come in: cut out of the stream, and read only as far as somebody wants to know. Pure.

Owns the decoding (the D-Bus specification, "Message Protocol"); knows no socket and no systemd. A change of one
unit's state comes as some ten messages with a hundred values of which the agent needs five: dbus-next decodes them
all, at 0.4 ms a message, and that was half of what the agent used. Here a header costs little, and a value that
nobody asked for is stepped over. Variants are their value, structures tuples, dictionaries dicts.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

CALL, RETURN, ERROR, SIGNAL = 1, 2, 3, 4
_FIELDS = {1: "path", 2: "interface", 3: "member", 4: "error_name", 5: "reply_serial", 7: "sender", 8: "signature"}
_FIXED_HEADER = 16
_LARGEST = 1 << 27  # of any message, by the specification

_FIXED = {"y": "B", "b": "I", "n": "h", "q": "H", "i": "i", "u": "I", "x": "q", "t": "Q", "d": "d", "h": "I"}
_ALIGN = {"s": 4, "o": 4, "g": 1, "v": 1, "a": 4, "(": 8, "{": 8} | {
    code: struct.calcsize(form) for code, form in _FIXED.items()
}
_STRUCTS = {order: {code: struct.Struct(order + form) for code, form in _FIXED.items()} for order in "<>"}

_SIZES = {ord(code): struct.calcsize(form) for code, form in _FIXED.items()}


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
        """All arguments."""
        found, at = [], self.body
        for code in complete_types(self.signature):
            value, at = _read(code, self.data, at, self.order)
            found.append(value)
        return found

    def first(self) -> Any:  # noqa: ANN401 - any D-Bus value
        """The first argument."""
        return _read(complete_types(self.signature)[0], self.data, self.body, self.order)[0]

    def changes(self, wanted: Mapping[bytes, str]) -> dict[str, Any]:
        """Of a PropertiesChanged signal (signature sa{sv}as): the new values of these properties.

        `wanted` is by the names as they are written. The agent's busiest loop: hence without calls where it can.
        """
        data, order = self.data, self.order
        _, at = _read("s", data, self.body, order)
        length, at = _read("u", data, at, order)
        at += -at & 7
        end, found = at + length, {}
        word = _STRUCTS[order]["u"].unpack_from
        while at < end:
            at += 4 + (-at & 7)
            past = at + word(data, at - 4)[0]
            name, at = data[at:past], past + 1
            if name in wanted:
                found[wanted[name]], at = _read("v", data, at, order)
            elif data[at] == 1 and (size := _SIZES.get(data[at + 1])):  # nearly always: a number of a fixed size
                at += 3 + (-(at + 3) & (size - 1)) + size
            else:
                at = _skip("v", data, at, order)
        return found


class Stream:
    """Bytes in, messages out."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[Message]:
        """The messages that these bytes complete. Raises Malformed: then nothing more can be made of the stream."""
        data = self._rest + data
        at = 0
        while (size := _size(data, at)) and at + size <= len(data):
            yield _message(data[at : at + size])
            at += size
        self._rest = data[at:]


def _size(data: bytes, at: int) -> int:
    """The length of the message that begins here; 0 while that cannot be told yet."""
    if len(data) - at < _FIXED_HEADER:
        return 0
    order = _order(data[at])
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
    word = _STRUCTS[order]["u"]
    end: int = _FIXED_HEADER + word.unpack_from(data, 12)[0]
    message = Message(data[1], order, data, end + (-end & 7))
    at = _FIXED_HEADER
    while at < end:
        at += -at & 7
        number = data[at]
        value, at = _read("v", data, at + 1, order)
        if number in _FIELDS:
            setattr(message, _FIELDS[number], value)
    return message


@lru_cache(maxsize=512)
def complete_types(signature: str) -> tuple[str, ...]:
    """A signature's single complete types: `sa{sv}` is `s` and `a{sv}`. Raises Malformed."""
    found, at = [], 0
    while at < len(signature):
        end = _type_end(signature, at)
        found.append(signature[at:end])
        at = end
    return tuple(found)


def _type_end(signature: str, at: int) -> int:
    code = signature[at : at + 1]
    if code == "a":
        return _type_end(signature, at + 1)
    if code in ("(", "{"):
        closing, at = {"(": ")", "{": "}"}[code], at + 1
        while signature[at : at + 1] != closing:
            at = _type_end(signature, at)
        return at + 1
    if code not in _ALIGN:
        raise Malformed(f"signature {signature!r}")
    return at + 1


def _read(code: str, data: bytes, at: int, order: str) -> tuple[Any, int]:
    """The value of this type and where the next one begins."""
    kind = code[0]
    if kind in "so":
        at += -at & 3
        length: int = _STRUCTS[order]["u"].unpack_from(data, at)[0]
        return data[at + 4 : at + 4 + length].decode("utf-8", "replace"), at + 5 + length
    if kind == "v":
        length = data[at]
        inner = data[at + 1 : at + 1 + length].decode("ascii", "replace")
        return _read(inner, data, at + 2 + length, order)
    if kind in _FIXED:
        form = _STRUCTS[order][kind]
        at += -at & (form.size - 1)
        value = form.unpack_from(data, at)[0]
        return bool(value) if kind == "b" else value, at + form.size
    return _READERS[kind](code, data, at, order)


def _read_signature(_code: str, data: bytes, at: int, _order: str) -> tuple[Any, int]:
    return data[at + 1 : at + 1 + data[at]].decode("ascii", "replace"), at + 2 + data[at]


def _read_struct(code: str, data: bytes, at: int, order: str) -> tuple[Any, int]:
    at += -at & 7
    values = []
    for each in complete_types(code[1:-1]):
        value, at = _read(each, data, at, order)
        values.append(value)
    return tuple(values), at


def _read_array(code: str, data: bytes, at: int, order: str) -> tuple[Any, int]:
    element = code[1:]
    at, end = _array(element, data, at, order)
    if element == "y":
        return data[at:end], end
    values = []
    while at < end:
        value, at = _read(element, data, at, order)
        values.append(value)
    return (dict(values) if element[0] == "{" else values), end


def _array(element: str, data: bytes, at: int, order: str) -> tuple[int, int]:
    """Where the elements begin and end. The padding before the first one is not counted in the length."""
    at += -at & 3
    length: int = _STRUCTS[order]["u"].unpack_from(data, at)[0]
    at += 4
    at += -at & (_ALIGN[element[0]] - 1)
    return at, at + length


def _skip(code: str, data: bytes, at: int, order: str) -> int:
    """Where the value after this one begins. An array says how long it is, whatever it holds."""
    kind = code[0]
    if kind == "v":
        length = data[at]
        return _skip(data[at + 1 : at + 1 + length].decode("ascii", "replace"), data, at + 2 + length, order)
    if kind == "a":
        return _array(code[1:], data, at, order)[1]
    if kind in _FIXED:
        size = _STRUCTS[order][kind].size
        return at + (-at & (size - 1)) + size
    if kind in "so":
        at += -at & 3
        return at + 5 + int(_STRUCTS[order]["u"].unpack_from(data, at)[0])
    return _read(code, data, at, order)[1]


_READERS: dict[str, Callable[[str, bytes, int, str], tuple[Any, int]]] = {
    "g": _read_signature,
    "(": _read_struct,
    "{": _read_struct,
    "a": _read_array,
}
