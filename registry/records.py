"""Records to JSON and back: the one place where registry values are parsed, strictly.

A value that does not fit its dataclass (a missing or unknown field, a wrong type, a name that disagrees with
its key) raises `CorruptRecord` naming the key. What the key says (unit, machine, id) is not repeated in the
value: it is taken from the key. A large fleet has hundreds of thousands of records that say the same few things, so
parsing is quick where a value is as it should be, and words that many records share are kept once.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import MISSING, fields
from enum import StrEnum
from functools import cache
from sys import intern
from typing import Any, NamedTuple, get_args, get_origin, get_type_hints

from registry.errors import CorruptRecord
from registry.keys import Address, Table
from registry.model import (
    Assignment,
    Cluster,
    Duplicate,
    Event,
    Leader,
    Machine,
    Override,
    Pending,
    Record,
    Unit,
    UnitState,
    UnitText,
    Usage,
)

# Which dataclass a table holds, and which of its fields the key's parts carry, in order.
LAYOUT: dict[Table, tuple[type[Any], tuple[str, ...]]] = {
    Table.CLUSTER: (Cluster, ()),
    Table.UNITS: (Unit, ("name",)),
    Table.SCHEDULE: (Assignment, ("machine", "unit")),
    Table.PENDING: (Pending, ("unit",)),
    Table.MACHINES: (Machine, ("id",)),
    Table.OVERRIDES: (Override, ("machine",)),
    Table.STATES: (UnitState, ("machine", "unit")),
    Table.DUPLICATES: (Duplicate, ("machine", "boot_id")),
    Table.LEADER: (Leader, ()),
    Table.EVENTS: (Event, ("id",)),
    Table.USAGE: (Usage, ("machine",)),
}
KEY_FIELDS = dict(LAYOUT.values())
SHARED = frozenset({"hash", "load", "active", "sub", "result", "by"})  # texts that many records have in common
_read = json.JSONDecoder().raw_decode


def encode(record: Record | UnitText) -> bytes:
    """The record's value in etcd: compact JSON, defaults left out; a unit file is its text itself."""
    if isinstance(record, UnitText):
        return record.text.encode()
    return json.dumps(_encode_fields(record), separators=(",", ":"), ensure_ascii=False).encode()


def decode(address: Address, value: bytes, key: str = "") -> Record | UnitText:
    """The record that `value` holds under a key taken apart as `address`.

    Raises CorruptRecord (naming `key`) when the value is not exactly such a record.
    """
    try:
        if address.table is Table.FILES:
            return UnitText(address.first, value.decode())
        cls, key_fields = LAYOUT[address.table]
        data = _parse(value)
        if not isinstance(data, dict):
            raise TypeError("not a JSON object")
        for name, part in zip(key_fields, address[1:], strict=False):
            if name in data:
                raise ValueError(f"field {name!r} belongs to the key")
            data[name] = part
        record: Record = _build(cls, data)
    except (ValueError, TypeError, RecursionError) as error:
        raise CorruptRecord(key or f"{address.table}/{address.first}", str(error)) from error
    return record


def _parse(value: bytes) -> Any:  # noqa: ANN401 - JSON
    """As `json.loads`, without its price for looking at what the text is like."""
    try:
        text = value.decode()
        data, end = _read(text)
    except ValueError:
        return json.loads(value)  # white space before it, another encoding, or a good description of the error
    return data if end == len(text) else json.loads(value)


def _encode_fields(value: Any) -> dict[str, object]:  # noqa: ANN401 - any record
    cls: Any = type(value)
    skipped = KEY_FIELDS.get(cls, ())
    result: dict[str, object] = {}
    for name, default in _defaults(cls):
        item = getattr(value, name)
        if name in skipped or item == default:
            continue
        result[name] = _encode_item(item)
    return result


def _encode_item(item: Any) -> object:  # noqa: ANN401 - any field
    if isinstance(item, tuple):
        return [_encode_item(each) for each in item]
    if hasattr(item, "__dataclass_fields__"):
        return _encode_fields(item)
    return item


@cache
def _defaults(cls: Any) -> tuple[tuple[str, object], ...]:  # noqa: ANN401 - a record's class
    return tuple((f.name, f.default) for f in fields(cls))


Parser = Callable[[Any], Any]


class Shape(NamedTuple):
    """How a class is read: the types of fields that are JSON's values unchanged, what parses any, which must be."""

    plain: dict[str, type[Any]]
    parsers: dict[str, Parser]
    required: tuple[str, ...]


SHAPES: dict[Any, Shape] = {}  # made when first asked for


def _shape(cls: Any) -> Shape:  # noqa: ANN401 - a record's class
    hints = get_type_hints(cls)
    plain = {name: hint for name, hint in hints.items() if hint in (str, int, float, bool)}
    parsers = {f.name: _parser(hints[f.name], f.name) for f in fields(cls)}
    required = (f.name for f in fields(cls) if f.default is MISSING)
    return SHAPES.setdefault(cls, Shape(plain, parsers, tuple(required)))


def _build(cls: Any, data: dict[str, Any]) -> Any:  # noqa: ANN401 - any record
    """The record of these fields; `data` is used up."""
    plain, parsers, required = SHAPES.get(cls) or _shape(cls)
    for name, item in data.items():
        if type(item) is not plain.get(name):
            parse = parsers.get(name)
            if parse is None:
                raise ValueError(f"unknown field {name!r}")
            data[name] = parse(item)
        elif name in SHARED:
            data[name] = intern(item)
    for name in required:
        if name not in data:
            raise ValueError(f"field {name!r} is missing")
    return cls(**data)


def _parser(hint: Any, name: str) -> Parser:  # noqa: ANN401 - a type hint
    if hint in (str, int, float, bool):
        return _scalar(hint, name)
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return _choice(hint)
    if isinstance(hint, type):
        return _nested(hint, name)
    if get_origin(hint) is tuple:
        return _tuple(get_args(hint), name)
    inner = _parser(next(arg for arg in get_args(hint) if arg is not type(None)), name)
    return lambda item: None if item is None else inner(item)


def _scalar(wanted: type[Any], name: str) -> Parser:
    def parse(item: object) -> object:
        if wanted is float and type(item) is int:
            return float(item)
        if type(item) is not wanted:
            raise TypeError(f"field {name!r} is not of type {wanted.__name__}")
        return item

    return parse


def _choice(wanted: type[StrEnum]) -> Parser:
    members = {member.value: member for member in wanted}

    def parse(item: object) -> object:
        if type(item) is not str:
            raise TypeError(f"{item!r} is not one of {', '.join(members)}")
        return members.get(item) or wanted(item)

    return parse


def _nested(cls: type[Any], name: str) -> Parser:
    def parse(item: object) -> object:
        if not isinstance(item, dict):
            raise TypeError(f"field {name!r} is not an object")
        return _build(cls, item)

    return parse


def _tuple(args: tuple[Any, ...], name: str) -> Parser:
    variadic = args[-1] is Ellipsis
    inner = [_parser(arg, name) for arg in args if arg is not Ellipsis]

    def parse(item: object) -> object:
        if not isinstance(item, list) or (not variadic and len(item) != len(inner)):
            raise TypeError(f"field {name!r} is not a list of the right length")
        parsers = inner * len(item) if variadic else inner
        return tuple(parser(each) for parser, each in zip(parsers, item, strict=True))

    return parse
