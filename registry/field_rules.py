"""How a field of a record is read, made from its type: `FieldRule.of`.

A rule is made once for each field and asked hundreds of thousands of times, so what it needs for a value that is as
it should be is in plain sight (`kind`, `low`, `high`, `known`), and only the rest goes through `read`. Texts that
many records share are read and kept once.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from sys import intern
from typing import Annotated, Any, NamedTuple, get_args, get_origin

from registry.grammar import MAX_ENTRIES, PLAIN, AtMost, Range, Words
from registry.units.name import shown

Read = Callable[[Any], Any]
ReadRecord = Callable[[Any, dict[str, Any]], Any]  # a class and its fields as JSON has them

KNOWN: dict[Callable[[str], str], dict[str, str]] = {}  # texts that were read by a rule, as they are to be kept
MAX_KNOWN, MAX_KNOWN_LENGTH = 1 << 18, 1024  # how many for each rule, and how long


class FieldRule(NamedTuple):
    """How a field is read. A value of type `kind` within `low` and `high`, or that is `known`, needs no `read`."""

    kind: type[Any] | None
    low: Any
    high: Any
    known: Callable[[Any], Any] | None
    read: Read

    @classmethod
    def of(cls, hint: Any, name: str, read_record: ReadRecord) -> FieldRule:  # noqa: ANN401 - a type hint
        """The rule of a field of this type; `read_record` reads what is a record itself."""
        plain, notes = (get_args(hint)[0], get_args(hint)[1:]) if get_origin(hint) is Annotated else (hint, ())
        rule = next((each for each in notes if isinstance(each, Words | Range | AtMost)), PLAIN.get(plain))
        if isinstance(rule, Words):
            return cls.words(rule, name)
        if isinstance(rule, Range):
            return cls.number(plain, rule, name)
        if plain is bool:
            return cls.boolean(name)
        if get_origin(plain) is tuple:
            args = get_args(plain)
            inner = [cls.of(each, name, read_record).read for each in args if each is not Ellipsis]
            most = rule.entries if isinstance(rule, AtMost) else MAX_ENTRIES
            return cls.entries(inner, name, most, variadic=args[-1] is Ellipsis)
        if isinstance(plain, type):
            return cls.choice(plain, name) if issubclass(plain, StrEnum) else cls.record(plain, name, read_record)
        inner_hint = next(each for each in get_args(plain) if each is not type(None))
        present = cls.of(inner_hint, name, read_record)
        return present._replace(read=lambda item: None if item is None else present.read(item))

    @classmethod
    def boolean(cls, name: str) -> FieldRule:
        """True or false."""

        def read(item: object) -> object:
            if type(item) is not bool:
                raise TypeError(f"field {name!r} is not of type bool")
            return item

        return cls(bool, None, None, None, read)

    @classmethod
    def words(cls, rule: Words, name: str) -> FieldRule:
        """A text that its rule of the grammar reads."""
        known = KNOWN.setdefault(rule.read, {}) if rule.shared else None

        def read(item: object) -> str:
            if type(item) is not str:
                raise TypeError(f"field {name!r} is not of type str")
            try:
                text = rule.read(item)
            except ValueError as error:
                raise ValueError(f"field {name!r}: {error}") from error
            if known is not None and len(item) <= MAX_KNOWN_LENGTH:
                if len(known) >= MAX_KNOWN:
                    known.clear()
                known[item] = text = intern(text)
            return text

        return cls(str, None, None, known.get if known is not None else None, read)

    @classmethod
    def number(cls, kind: type[Any], bounds: Range, name: str) -> FieldRule:
        """A number within bounds; a whole one is a float, too."""
        low, high = bounds

        def read(item: object) -> object:
            if type(item) is not kind and not (kind is float and type(item) is int):
                raise TypeError(f"field {name!r} is not of type {kind.__name__}")
            if not low <= item <= high:  # type: ignore[operator]
                raise out_of_range(name, item, low, high)
            return kind(item)

        return cls(kind, low, high, None, read)

    @classmethod
    def choice(cls, wanted: type[StrEnum], name: str) -> FieldRule:
        """One of the words that this version knows."""
        members = {member.value: member for member in wanted}

        def read(item: object) -> object:
            if type(item) is not str:
                raise TypeError(f"field {name!r} is not one of {', '.join(members)}")
            raise ValueError(f"{name} {shown(item)} is not known to this version, which knows {', '.join(members)}")

        return cls(str, None, None, members.get, read)

    @classmethod
    def record(cls, wanted: type[Any], name: str, read_record: ReadRecord) -> FieldRule:
        """A record within the record."""

        def read(item: object) -> object:
            if not isinstance(item, dict):
                raise TypeError(f"field {name!r} is not an object")
            return read_record(wanted, item)

        return cls(None, None, None, None, read)

    @classmethod
    def entries(cls, inner: list[Read], name: str, most: int, *, variadic: bool) -> FieldRule:
        """A list of entries, all of one kind where it is `variadic`, else one of each kind."""

        def read(item: object) -> object:
            if not isinstance(item, list) or (not variadic and len(item) != len(inner)):
                raise TypeError(f"field {name!r} is not a list of the right length")
            if len(item) > most:
                raise ValueError(f"field {name!r} has {len(item)} entries, more than {most}")
            if variadic:
                only = inner[0]
                return tuple([only(each) for each in item])
            return tuple([read_one(each) for read_one, each in zip(inner, item, strict=True)])

        return cls(None, None, None, None, read)


def out_of_range(name: str, item: object, low: object, high: object) -> ValueError:
    """The error of a number that is too small or too large."""
    number = repr(item) if isinstance(item, float) or abs(item) < 10**20 else "a huge number"  # type: ignore[arg-type]
    return ValueError(f"field {name!r} is {number}, not between {low} and {high}")
