"""Records as odd as the grammar allows, and values that no grammar allows: for Hypothesis.

The strategies are made from the annotations of `registry.model`, so a new field or record is in them at once.
"""

from __future__ import annotations

import json
from dataclasses import fields as dataclass_fields
from enum import StrEnum
from hashlib import sha256
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from hypothesis import strategies as st

from registry import grammar
from registry.grammar import PLAIN, AtMost, Range, Words
from registry.keys import Keys, Table
from registry.mirror import Mirror, RawChange, Snapshot
from registry.model import UnitText
from registry.records import KEY_FIELDS, LAYOUT, encode

KEYS = Keys()
DOUBLE = (Table.SCHEDULE, Table.STATES, Table.DUPLICATES)  # tables whose keys have two parts
NAMES = ("a.service", "b@1.service", "b@2.service", "b@.service", "c.timer", "\\x2d.service", "z-1.service")
IDS = ("m1", "m2", "0" * 32, "a..")
TEXTS = (
    "[Service]\nExecStart=/bin/true\n",
    "[Service]\nExecStart=/bin/true\n[X-Fleet]\nGlobal=true\n",
    "[Service]\nExecStart=/bin/true\n[X-Fleet]\nConflicts=*\n",
    "[Service]\nExecStart=/bin/true\n[X-Fleet]\nReplaces=b@*.service\nConflicts=%p@*.service\n",
    "[Service]\nExecStart=/bin/true\n[X-Fleet]\nMachineOf=a.service\n",
    "[Service]\nExecStart=/bin/true\n[X-Fleet]\nMachineMetadata=zone=\u202e%i\n",
    "[Service]\nExecStart=/bin/true\n[X-Fleet]\nMachineID=m\n",
    "\x00[\n=\n[X-Fleet\nConflicts=[\n",
    f"[Service]\nExecStart=/bin/true\n[X-Fleet]\nMachineMetadata=zone={'x' * 70_000}\n",
    f"[Service]\nExecStart=/bin/true\n[X-Fleet]\nConflicts={' '.join(f'u{n}*' for n in range(500))}\n",
    "",
)
HASHES = (*(sha256(text.encode()).hexdigest() for text in TEXTS), "f" * 64)

words = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
printable = words.map(lambda text: grammar.UNPRINTABLE.sub("", text))
WORDS: dict[Any, st.SearchStrategy[str]] = {
    grammar.unit_name: st.sampled_from(NAMES),
    grammar.token: st.sampled_from(IDS),
    grammar.sha256_hex: st.sampled_from(HASHES),
    grammar.host: st.sampled_from(["a", "core-1", "10.0.0.1", "::1", "fe80::1%eth0", "x" * 253]),
    grammar.host_key: st.just("ssh-ed25519 " + "A" * 68),
    grammar.label: printable,
    grammar.line: st.sampled_from(["", "loaded", "active", "failed", "not-found"]) | printable,
    grammar.prose: st.sampled_from(["", "x" * 3000, "a\nb\x1b[31m\u202e"]) | words,
}
COMMON = {"metadata": st.lists(st.tuples(st.sampled_from(["zone", "", "a b"]), printable), max_size=3).map(tuple)}


def records(table: Table) -> st.SearchStrategy[Any]:
    """Any record of a table that may be written."""
    if table is Table.FILES:
        return st.sampled_from(TEXTS).map(lambda text: UnitText(sha256(text.encode()).hexdigest(), text))
    return of_class(LAYOUT[table][0])


def of_class(cls: type[Any]) -> st.SearchStrategy[Any]:
    """Any instance of a record's class, also with fields of another version."""
    hints = get_type_hints(cls, include_extras=True)
    names = [each.name for each in dataclass_fields(cls)]
    named = {name: COMMON[name] if name in COMMON else of_hint(hints[name]) for name in names}
    named["unknown"] = st.sampled_from(["", '{"later":{"a":[1,null,"é"]}}'])
    return st.builds(cls, **named)


def of_hint(hint: Any) -> st.SearchStrategy[Any]:
    plain, notes = (get_args(hint)[0], get_args(hint)[1:]) if get_origin(hint) is Annotated else (hint, ())
    rule = next((each for each in notes if isinstance(each, Words | Range | AtMost)), PLAIN.get(plain))
    if isinstance(rule, Words):
        return WORDS[rule.read]
    if isinstance(rule, Range):
        return _numbers(plain, rule)
    if get_origin(plain) is tuple:
        return _tuples(get_args(plain))
    if isinstance(plain, type):
        return st.sampled_from(plain) if issubclass(plain, StrEnum) else _plain(plain)
    return st.none() | of_hint(next(arg for arg in get_args(plain) if arg is not type(None)))


def _numbers(kind: type[Any], rule: Range) -> st.SearchStrategy[Any]:
    low, high = rule
    if kind is int:
        return st.sampled_from([int(low), int(high), 1]) | st.integers(int(low), int(high))
    return st.sampled_from([low, high]) | st.floats(low, high)


def _tuples(inner: tuple[Any, ...]) -> st.SearchStrategy[Any]:
    if inner[-1] is Ellipsis:
        return st.lists(of_hint(inner[0]), max_size=3).map(tuple)
    return st.tuples(*map(of_hint, inner))


def _plain(kind: type[Any]) -> st.SearchStrategy[Any]:
    return st.booleans() if kind is bool else of_class(kind)


def fields(table: Table) -> st.SearchStrategy[bytes]:
    """JSON with a table's fields, each of them right or anything."""
    names = [each.name for each in dataclass_fields(LAYOUT[table][0])] if table in LAYOUT else []
    value = st.sampled_from(
        [*map(str, range(3)), *NUMBERS, '"loaded"', '"\\ud800"', f'"{HASHES[0]}"', "[]", "{}", '[["a"]]']
    )
    pairs = st.lists(st.tuples(st.sampled_from([*names, "colour"]), value), max_size=12)
    return pairs.map(lambda found: ("{" + ",".join(f'"{name}":{text}' for name, text in found) + "}").encode())


def key_of(table: Table, record: Any) -> str:
    """The key that a record is written under."""
    if table in (Table.CLUSTER, Table.LEADER):
        return f"{KEYS.prefix}{table}"
    parts = [record.hash] if table is Table.FILES else [getattr(record, name) for name in KEY_FIELDS[type(record)]]
    return KEYS.table(table) + "/".join(parts)


def changes(tables: tuple[Table, ...] = tuple(Table)) -> st.SearchStrategy[RawChange]:
    """A record of any table as etcd brings it: right, wrong, under a key that is none, or deleted."""
    return st.sampled_from(tables).flatmap(_change)


def _change(table: Table) -> st.SearchStrategy[RawChange]:
    right = records(table).map(lambda record: RawChange(key_of(table, record), encode(record), 1, 2, 3))
    value = st.sampled_from(HOSTILE) | st.binary(max_size=30)
    wrong = st.builds(lambda change, value: change._replace(value=value), right, value)
    stray = st.builds(lambda key, value: RawChange(key, value, 1, 2), st.sampled_from(strays(table)), value)
    gone = right.map(lambda change: change._replace(value=None))
    return st.one_of(right, right, right, right, wrong, stray, gone)


def strays(table: Table) -> list[str]:
    """Keys below a table that no record of it can have."""
    below = KEYS.table(table)
    return [below + rest for rest in ("\udcff", "a b", "../x", "m/\udcff", "m/", "\x1b[31m/a.service", "")]


def snapshots(max_size: int = 25) -> st.SearchStrategy[Snapshot]:
    """Everything that a registry of odd records may show."""
    return st.lists(changes(), max_size=max_size).map(_snapshot)


def _snapshot(found: list[RawChange]) -> Snapshot:
    mirror = Mirror(KEYS)
    files = (RawChange(KEYS.file(sha256(text.encode()).hexdigest()), text.encode(), 1, 1) for text in TEXTS)
    mirror.apply([*files, *found], 9)
    return mirror.snapshot()


NUMBERS = (
    "NaN",
    "Infinity",
    "-Infinity",
    "1e999",
    "-1",
    "1e308",
    "1" + "0" * 400,
    "9" * 5000,
    "true",
    '"1"',
    "null",
)
HOSTILE = (
    b"",
    b"{",
    b"null",
    b"[]",
    b"\xff\xfe",
    b"\xef\xbb\xbf{}",
    b"{}",
    "{}".encode("utf-16"),
    b"[" * 100_000,
    b'{"a":' * 100_000,
    b'{"metadata":[["zone","\\ud800"]]}',
    json.dumps({"x": "y" * 100_000}).encode(),
)
