"""Records to JSON and back: the one place where registry values are parsed, strictly.

A value that does not fit its dataclass (a missing or unknown field, a wrong type, a name that disagrees with
its key) raises `CorruptRecord` naming the key. What the key says (unit, machine, id) is not repeated in the
value: it is taken from the key.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import MISSING, fields
from enum import StrEnum
from functools import cache
from typing import Any, get_args, get_origin, get_type_hints

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
        data = json.loads(value)
        if not isinstance(data, dict):
            raise TypeError("not a JSON object")
        known = dict(zip(key_fields, (address.first, address.second), strict=False))
        record: Record = _build(cls, data, known)
    except (ValueError, TypeError, RecursionError) as error:
        raise CorruptRecord(key or f"{address.table}/{address.first}", str(error)) from error
    return record


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


@cache
def _parsers(cls: Any) -> dict[str, tuple[Parser, bool]]:  # noqa: ANN401 - a record's class
    """For each field, how to parse it and whether it must be there."""
    hints = get_type_hints(cls)
    return {f.name: (_parser(hints[f.name], f.name), f.default is MISSING) for f in fields(cls)}


def _build(cls: Any, data: dict[str, Any], known: dict[str, str]) -> Any:  # noqa: ANN401 - any record
    parsers = _parsers(cls)
    values: dict[str, Any] = dict(known)
    for name, item in data.items():
        if name not in parsers:
            raise ValueError(f"unknown field {name!r}")
        if name in known:
            raise ValueError(f"field {name!r} belongs to the key")
        values[name] = parsers[name][0](item)
    for name, (_, required) in parsers.items():
        if required and name not in values:
            raise ValueError(f"field {name!r} is missing")
    return cls(**values)


def _parser(hint: Any, name: str) -> Parser:  # noqa: ANN401 - a type hint
    if hint in (str, int, float, bool):
        return _scalar(hint, name)
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return hint
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


def _nested(cls: type[Any], name: str) -> Parser:
    def parse(item: object) -> object:
        if not isinstance(item, dict):
            raise TypeError(f"field {name!r} is not an object")
        return _build(cls, item, {})

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
