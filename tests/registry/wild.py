"""Records as odd as the grammar allows, and values that no grammar allows: for Hypothesis.

The strategies are made from the annotations of `registry.model`, so a new field or record is in them at once.
"""

# ruff: noqa: E501 - values as they lie in a registry are not broken

from __future__ import annotations

import json
from dataclasses import fields as dataclass_fields
from enum import StrEnum
from hashlib import sha256
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from hypothesis import strategies as st

from registry import grammar
from registry.grammar import PLAIN, AtMost, Range, Words
from registry.keys import Address, Keys, Table
from registry.mirror import Mirror, RawChange, Snapshot
from registry.model import Content, UnitText
from registry.records import KEY_FIELDS, LAYOUT, encode

KEYS = Keys()
DOUBLE = (Table.SCHEDULE, Table.STATES, Table.DUPLICATES, Table.CRASHES)  # tables whose keys have two parts
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
    grammar.writer: st.sampled_from(["ann", "root@laptop", "agent-m1", "scheduler-core-1", "_"]),
    grammar.sha256_hex: st.sampled_from(HASHES),
    grammar.crash_id: st.sampled_from(NAMES).map(lambda name: f"1790000000000-{name}"),
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
    if table is Table.CONTENTS:
        return st.sampled_from(TEXTS).map(lambda text: Content(sha256(text.encode()).hexdigest(), text))
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
    texts = (Table.FILES, Table.CONTENTS)
    parts = [record.hash] if table in texts else [getattr(record, name) for name in KEY_FIELDS[type(record)]]
    return KEYS.at(Address(table, *parts))


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
    below = KEYS.events_of("m") if table is Table.EVENTS else KEYS.table(table)
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


def odd(keys: Keys, machine: str, unit: str, sha256_hex: str) -> list[tuple[bytes, bytes]]:
    """Keys and values that whoever may write to a registry may leave in it: several for each table.

    `machine`, `unit` and `sha256_hex` are some that are in it; their own records stay as they are, except that
    things refer to them.
    """
    found: list[tuple[str, str]] = []
    for table in Table:
        if table not in (Table.CLUSTER, Table.LEADER):
            found += [
                (f"{keys.table(table)}{rest}", "{}")
                for rest in ("\udcff\udcfe", "a b/\x1b[31m", "../../x", "\u202e")
            ]
            found += [(f"{keys.table(table)}odd/odd/odd", "{"), (f"{keys.table(table)}odd", "\\ud800")]
    hostile = f'"hash":"{sha256_hex}","generation":1,"target":"launched"'
    big = 2**63 - 1
    values = {
        keys.file("0" * 64): "[Service]\x00",
        keys.unit("odd-hash.service"): '{"hash":"no hash","target":"launched"}',
        keys.unit("odd-target.service"): f'{{"hash":"{sha256_hex}","target":"paused"}}',
        keys.unit("odd-future.service"): f'{{{hostile},"colour":{{"a":[1]}}}}',
        keys.unit("odd-huge.service"): f'{{"hash":"{sha256_hex}","target":"launched","generation":{big},"at":{10**400}}}',
        keys.unit("odd-max.service"): f'{{"hash":"{sha256_hex}","target":"launched","generation":{big},"attempt":{big}}}',
        keys.unit("odd-none.service"): f'{{"hash":"{"e" * 64}","target":"launched","by":"\\u001b[31m\\ud800"}}',
        keys.schedule(machine, "odd-future.service"): f'{{{hostile},"later":1}}',
        keys.schedule("odd-nowhere", "odd-stray.service"): f"{{{hostile}}}",
        keys.schedule(machine, "odd-line.service"): '{"hash":"\\ud800","target":"launched","generation":1}',
        keys.schedule(machine, "odd-lines.service"): f'{{"hash":"{sha256_hex}","target":"flying","generation":1}}',
        keys.pending("odd-future.service"): f'{{"hash":"{sha256_hex}","generation":1,"summary":"\\ud800\\u001b[2J"}}',
        keys.pending("odd-nothing.service"): f'{{"hash":"{sha256_hex}","generation":-1,"summary":"{"x" * 100_000}"}}',
        keys.machine("odd-zone"): '{"hostname":"h","address":"1.2.3.4","boot_id":"b","metadata":[["zone","\\ud800"]]}',
        keys.machine("odd-shell"): '{"hostname":"$(id)","address":"-oProxyCommand=id","boot_id":"b"}',
        keys.machine("odd-port"): f'{{"hostname":"h","address":"::1","boot_id":"b","ssh_port":{10**30},"since":1e999}}',
        keys.machine("odd-lease"): '{"hostname":"odd","address":"::1","boot_id":"b","leaving":true,"ttl_s":1e-300}',
        keys.override("odd-nowhere"): '{"availability":"draining","metadata":[["a","b"],["a","c"]],"at":253370764800}',
        keys.override("odd-zone"): '{"availability":"hibernating"}',
        keys.state(machine, "odd-since.service"): f'{{"hash":"{sha256_hex}","generation":1,"since":{10**400}}}',
        keys.state(machine, "odd-state.service"): f'{{{hostile},"since":253370764800,"restarts":{big},"error":"\\u001b]0;x\\u0007"}}',
        keys.state("odd-nowhere", unit): f'{{{hostile},"exit_code":-{big},"active":"\\u202e","main_pid":{big}}}',
        keys.duplicate(machine, "odd"): '{"hostname":"odd","address":"10.0.0.9","since":1e308}',
        keys.usage(machine): '{"load":[1e308,NaN,0],"units":[["../x",1,2]]}',
        keys.usage("odd-nowhere"): f'{{"at":0,"memory_bytes":{big},"available_bytes":{big},"units":[["{unit}",{big},1e15]]}}',
        keys.event("odd", "0000000000001-odd"): '{"at":1e308,"verb":"v"}',
        keys.event("odd", "9999999999999-odd"): '{"at":253370764800,"verb":"\\n","unit":"*[","machine":"/"}',
        keys.event("odd", "9999999999998-odd"): f'{{"at":{10**400},"verb":"v"}}',
        keys.event("odd", "9999999999997-odd"): '{"at":1,"verb":"","reason":"' + "y" * 200_000 + '"}',
        keys.crash(machine, f"9999999999999-{unit}"): '{"hostname":"h","lines":[[1e308,0,0,"",""]]}',
        keys.crash(machine, f"1790000000000-{unit}"): '{"hostname":"h","reason":"\\u001b[2J","lines":[[1,9,0,"\\u202e","\\u001b]0;x\\u0007"]]}',
        f"{keys.prefix}rollouts/r": '{"later":true}',
        f"{keys.prefix}odd": "\\ud800",
    }  # fmt: skip
    found += values.items()
    pairs = [(key.encode("utf-8", "surrogateescape"), value.encode()) for key, value in found]
    return [
        *pairs,
        (keys.unit("odd-bytes.service").encode(), b"\xff\xfe\x00"),
        (keys.pending("odd-deep.service").encode(), b"[" * 100_000),
    ]
