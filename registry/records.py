"""Records to JSON and back: the one place where registry values are parsed, strictly.

A value that does not fit its dataclass (a missing field, a wrong type, a text or number that `grammar` does not
allow there, a field that belongs to the key) raises `CorruptRecord` naming the key. A field that this version does
not know is kept with the record, so that what a newer version wrote survives being changed by this one. A choice
that this version does not know (a new target, say) cannot be ignored: the record does not parse, so every program
leaves what it is about as it is, and says so.

What the key says (unit, machine, id) is not repeated in the value: it is taken from the key. Writing goes by the
same rules: what could not be read again raises `InvalidRecord`. A large fleet has hundreds of thousands of records
that say the same few things, so parsing is quick where a value is as it should be, and words that many records
share are read and kept once.
"""

from __future__ import annotations

import json
from functools import cache
from typing import Any, NamedTuple, NoReturn, get_type_hints

from registry.errors import CorruptRecord, InvalidRecord
from registry.field_rules import FieldRule, out_of_range
from registry.frozen import MISSING, fields
from registry.grammar import MAX_TEXT, json_value, line
from registry.keys import Address, Keys, Table
from registry.model import (
    Assignment,
    Config,
    Content,
    Crash,
    Duplicate,
    Event,
    Leader,
    Machine,
    Override,
    PastPlacement,
    Pending,
    Record,
    Rollout,
    Secret,
    Sentinel,
    Unit,
    UnitState,
    UnitText,
    Usage,
)
from registry.units.name import shown

# Which dataclass a table holds, and which of its fields the key's parts carry, in order.
LAYOUT: dict[Table, tuple[type[Any], tuple[str, ...]]] = {
    Table.CLUSTER: (Sentinel, ()),
    Table.UNITS: (Unit, ("name",)),
    Table.SCHEDULE: (Assignment, ("machine", "unit")),
    Table.PENDING: (Pending, ("unit",)),
    Table.MACHINES: (Machine, ("id",)),
    Table.OVERRIDES: (Override, ("machine",)),
    Table.STATES: (UnitState, ("machine", "unit")),
    Table.DUPLICATES: (Duplicate, ("machine", "boot_id")),
    Table.LEADER: (Leader, ()),
    Table.EVENTS: (Event, ("id", "writer")),
    Table.USAGE: (Usage, ("machine",)),
    Table.CRASHES: (Crash, ("machine", "id")),
    Table.ROLLOUTS: (Rollout, ("name",)),
    Table.PLACEMENTS: (PastPlacement, ("unit",)),
    Table.CONFIG: (Config, ("name",)),
    Table.SECRETS: (Secret, ("name",)),
}
KEY_FIELDS = dict(LAYOUT.values())
UNKNOWN = "unknown"  # the dataclasses' field for the fields that they do not have
MAX_REASON = 300  # characters of why a record does not parse


def encode(record: Record | UnitText | Content) -> bytes:
    """The record's value in etcd: compact JSON, defaults left out; a unit file is its text itself.

    Raises InvalidRecord for a record that no reader would take.
    """
    try:
        if isinstance(record, UnitText | Content):
            return record.text.encode()
        return json.dumps(_encode_fields(record), **COMPACT).encode()
    except (ValueError, TypeError, RecursionError) as error:
        parts = [str(getattr(record, name)) for name in KEY_FIELDS.get(type(record), ())]
        name = shown(" ".join(parts)) if parts else ""
        raise InvalidRecord(f"cannot write the {type(record).__name__} record {name}: {_reason(error)}") from error


def event_entry(keys: Keys, event: Event) -> tuple[str, bytes]:
    """The key and the value of an event."""
    return keys.event(event.writer, event.id), encode(event)


def decode(address: Address, value: bytes, key: str = "") -> Record | UnitText | Content:
    """The record that `value` holds under a key taken apart as `address`.

    Raises CorruptRecord (naming `key`) when the value is not exactly such a record.
    """
    try:
        text = value.decode()
        if address.table in (Table.FILES, Table.CONTENTS):
            from hashlib import sha256  # noqa: PLC0415 - what reads no files does without OpenSSL

            again = "submit it again with --replace" if address.table is Table.FILES else "set it again"
            if sha256(value).hexdigest() != address.first:
                raise ValueError(f"the text is not what its hash says; {again}")
            return UnitText(address.first, text) if address.table is Table.FILES else Content(address.first, text)
        cls, key_fields = LAYOUT[address.table]
        plain = text.isascii() and "\\" not in text and "\x7f" not in text and len(text) <= MAX_TEXT
        data = _read_fields(cls, _parse(text), plain=plain)
        for name, part in zip(key_fields, address[1:], strict=False):
            if name in data:
                raise ValueError(f"field {name!r} belongs to the key")
            data[name] = part
        record: Record = _make(cls, data)
    except (ValueError, TypeError, RecursionError) as error:
        raise CorruptRecord(key or f"{address.table}/{address.first}", _reason(error)) from error
    return record


def _reason(error: Exception) -> str:
    """Why, in one line of bounded length."""
    if isinstance(error, UnicodeError):
        return "not UTF-8" if isinstance(error, UnicodeDecodeError) else "it holds half of a character"
    return line(str(error)[:MAX_REASON])


def _parse(text: str) -> dict[str, Any]:
    """The object that the text is. As `json.loads`, without its price for looking at what the text is like."""
    try:
        data, end = DECODER.raw_decode(text)
    except ValueError:
        data, end = DECODER.decode(text), len(text)  # white space before it, or a good description of the error
    if end != len(text):
        data = DECODER.decode(text)
    if not isinstance(data, dict):
        raise TypeError("not a JSON object")
    # A colon follows each name; where there are more, texts or inner objects have them, or a name stands twice.
    return data if text.count(":") == len(data) else STRICT.decode(text)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    data: dict[str, Any] = {}
    for name, value in pairs:
        if name in data:
            raise ValueError(f"field {shown(name)} stands twice")
        data[name] = value
    return data


DECODER = json.JSONDecoder(parse_constant=_refuse_constant)
STRICT = json.JSONDecoder(parse_constant=_refuse_constant, object_pairs_hook=_unique)
COMPACT: dict[str, Any] = {"separators": (",", ":"), "ensure_ascii": False, "allow_nan": False}


# -- writing


def _encode_fields(record: Any) -> dict[str, object]:  # noqa: ANN401 - any record
    cls: Any = type(record)
    skipped = KEY_FIELDS.get(cls, ())
    rules = (SHAPES.get(cls) or _shape(cls)).rules
    result: dict[str, object] = {}
    for name, default in _defaults(cls):
        item = getattr(record, name)
        if item == default:
            continue
        checked = _checked(rules[name], item, name)
        if name not in skipped:
            result[name] = checked
    if record.unknown:
        result |= {name: item for name, item in json.loads(record.unknown).items() if name not in rules}
    return result


def _checked(rule: FieldRule, item: Any, name: str) -> object:  # noqa: ANN401 - any field
    """The field as JSON, by the rule that it will be read by."""
    kind, low, high, known, read = rule
    if known is not None:
        return known(item) or read(item)
    if type(item) is kind and low is not None:
        if not low <= item <= high:
            raise out_of_range(name, item, low, high)
        return item
    return _json(read(_json(item)))


def _json(item: Any) -> Any:  # noqa: ANN401 - any field
    if isinstance(item, tuple):
        return [_json(each) for each in item]
    return _encode_fields(item) if hasattr(item, "__frozen__") else item


@cache
def _defaults(cls: Any) -> tuple[tuple[str, object], ...]:  # noqa: ANN401 - a record's class
    return tuple((each.name, each.default) for each in fields(cls) if each.name != UNKNOWN)


# -- reading


class Shape(NamedTuple):
    """How a class is read: the rule of each field, and which fields must be there."""

    rules: dict[str, FieldRule]
    required: tuple[str, ...]


SHAPES: dict[Any, Shape] = {}  # made when first asked for


def _shape(cls: Any) -> Shape:  # noqa: ANN401 - a record's class
    hints = get_type_hints(cls, include_extras=True)
    known = [each for each in fields(cls) if each.name != UNKNOWN]
    rules = {each.name: FieldRule.of(hints[each.name], each.name, _read_record) for each in known}
    required = (each.name for each in known if each.default is MISSING)
    return SHAPES.setdefault(cls, Shape(rules, tuple(required)))


def _read_fields(cls: Any, data: dict[str, Any], *, plain: bool = False) -> dict[str, Any]:  # noqa: ANN401
    """The fields of JSON as those of the record; `plain`: no text among them holds anything but printable ASCII."""
    rules = (SHAPES.get(cls) or _shape(cls)).rules
    foreign: list[str] = []
    for name, item in data.items():
        try:
            kind, low, high, known, read = rules[name]
        except KeyError:
            foreign.append(name)
            continue
        if type(item) is not kind:
            data[name] = read(item)
        elif known is not None:
            data[name] = known(item) or read(item)
        elif low is not None:
            if not low <= item <= high:
                raise out_of_range(name, item, low, high)
        elif kind is str and not plain:
            data[name] = read(item)
    if foreign:
        data[UNKNOWN] = _keep({name: data.pop(name) for name in foreign})
    return data


def _read_record(cls: Any, data: dict[str, Any]) -> Any:  # noqa: ANN401 - any record
    return _make(cls, _read_fields(cls, data))


def _make(cls: Any, data: dict[str, Any]) -> Any:  # noqa: ANN401 - any record
    try:
        return cls(**data)
    except TypeError:
        missing = next((name for name in SHAPES[cls].required if name not in data), None)
        if missing is None:
            raise
        raise ValueError(f"field {missing!r} is missing") from None


def _keep(foreign: dict[str, Any]) -> str:
    """Fields of another version as one text."""
    for name, item in foreign.items():
        try:
            json_value([name, item])
        except ValueError as error:
            raise ValueError(f"field {shown(name)}: {error}") from error
    return json.dumps(foreign, **COMPACT)
