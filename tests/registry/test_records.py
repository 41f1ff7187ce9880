"""Records survive the way to etcd and back; anything else is a corrupt record that names its key."""

from __future__ import annotations

import json
from dataclasses import replace
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import CorruptRecord, InvalidRecord
from registry.keys import Address, Keys, Table
from registry.model import Event, Machine, Override, Pending, Target, Unit, UnitState, UnitText, Usage
from registry.records import decode, encode
from tests.registry import wild

KEYS = Keys()
HASH = "0" * 64
UNIT = Address(Table.UNITS, "a.service")
UNIT_KEY = "/fleet/units/a.service"


def address_of(table: Table, record: Any) -> Address:
    address = KEYS.parse(wild.key_of(table, record))
    assert address is not None
    return address


@given(st.sampled_from(sorted(Table)).flatmap(lambda table: st.tuples(st.just(table), wild.records(table))))
def test_every_record_survives_the_round_trip(case: tuple[Table, Any]) -> None:
    table, record = case
    assert decode(address_of(table, record), encode(record)) == record


@given(st.text())
def test_a_file_is_stored_as_its_text(text: str) -> None:
    sha = sha256(text.encode()).hexdigest()
    assert encode(UnitText(sha, text)) == text.encode()
    assert decode(Address(Table.FILES, sha), text.encode()) == UnitText(sha, text)


def test_a_file_that_is_not_what_its_hash_says_is_corrupt() -> None:
    with pytest.raises(CorruptRecord, match="not what its hash says"):
        decode(Address(Table.FILES, HASH), b"[Service]")


@given(st.binary())
def test_any_bytes_are_a_record_or_a_corrupt_record(value: bytes) -> None:
    try:
        assert isinstance(decode(Address(Table.UNITS, "a.service"), value, "/fleet/units/a.service"), Unit)
    except CorruptRecord as error:
        assert error.key == "/fleet/units/a.service"  # noqa: PT017 - either outcome is right


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("[]", "not a JSON object"),
        ("{", "Expecting"),
        ('{"hash": "HASH"}', "'target' is missing"),
        ('{"hash": 1, "target": "loaded"}', "'hash' is not of type str"),
        ('{"hash": "HASH", "target": "flying"}', "target 'flying' is not known to this version"),
        ('{"hash": "HASH", "target": "loaded", "name": "b.service"}', "belongs to the key"),
        ('{"hash": "HASH", "target": "loaded", "generation": true}', "'generation' is not of type int"),
        ('{"hash": "HASH", "target": "loaded", "history": "x"}', "'history' is not a list"),
        ("[" * 100_000, "recursion"),
    ],
)
def test_a_value_that_does_not_fit_says_why(value: str, reason: str) -> None:
    with pytest.raises(CorruptRecord, match=reason):
        decode(Address(Table.UNITS, "a.service"), value.replace("HASH", HASH).encode(), "/fleet/units/a.service")


def test_defaults_and_what_the_key_says_are_not_stored() -> None:
    unit = Unit("a.service", HASH, Target.LAUNCHED)
    assert json.loads(encode(unit)) == {"hash": HASH, "target": "launched"}


def test_nested_records_and_pairs_are_parsed_strictly() -> None:
    pending = Pending("a.service", HASH, 2, "no", passing=True)
    assert decode(Address(Table.PENDING, "a.service"), encode(pending)) == pending
    machine = Machine("m", "host", "10.0.0.1", "boot", metadata=(("region", "eu"),))
    assert decode(Address(Table.MACHINES, "m"), encode(machine)) == machine
    with pytest.raises(CorruptRecord, match="right length"):
        decode(Address(Table.MACHINES, "m"), encode(machine).replace(b'["region","eu"]', b'["region"]'))


def test_an_absent_exit_code_is_none() -> None:
    state = UnitState("a.service", "m", HASH, 1)
    assert decode(Address(Table.STATES, "m", "a.service"), encode(state)) == state


GOOD: dict[Table, dict[str, object]] = {
    Table.CLUSTER: {"id": "c"},
    Table.UNITS: {"hash": HASH, "target": "loaded"},
    Table.SCHEDULE: {"hash": HASH, "target": "loaded", "generation": 1},
    Table.PENDING: {"hash": HASH, "generation": 1, "summary": "no"},
    Table.MACHINES: {"hostname": "h", "address": "10.0.0.1", "boot_id": "b"},
    Table.OVERRIDES: {},
    Table.STATES: {"hash": HASH, "generation": 1},
    Table.DUPLICATES: {"hostname": "h", "address": "::1"},
    Table.LEADER: {"id": "l", "hostname": "h"},
    Table.EVENTS: {"at": 1, "verb": "v"},
    Table.USAGE: {},
    Table.CRASHES: {"hostname": "h", "lines": [[1.5, 6, 42, "web", "gone"]]},
}
ADDRESSES = {
    Table.CLUSTER: Address(Table.CLUSTER),
    Table.UNITS: UNIT,
    Table.SCHEDULE: Address(Table.SCHEDULE, "m", "a.service"),
    Table.PENDING: Address(Table.PENDING, "a.service"),
    Table.MACHINES: Address(Table.MACHINES, "m"),
    Table.OVERRIDES: Address(Table.OVERRIDES, "m"),
    Table.STATES: Address(Table.STATES, "m", "a.service"),
    Table.DUPLICATES: Address(Table.DUPLICATES, "m", "b"),
    Table.LEADER: Address(Table.LEADER),
    Table.EVENTS: Address(Table.EVENTS, "e", "ann"),
    Table.USAGE: Address(Table.USAGE, "m"),
    Table.CRASHES: Address(Table.CRASHES, "m", "1790000000000-a.service"),
}


def read(table: Table, **fields: object) -> Any:
    return decode(ADDRESSES[table], json.dumps({**GOOD[table], **fields}).encode())


@pytest.mark.parametrize(
    ("table", "field", "value"),
    [
        (Table.UNITS, "hash", "h"),
        (Table.UNITS, "hash", HASH.replace("0", "A")),
        (Table.UNITS, "hash", HASH + "\n"),
        (Table.UNITS, "history", ["h"]),
        (Table.UNITS, "history", [HASH] * 1001),
        (Table.UNITS, "generation", -1),
        (Table.UNITS, "generation", 2**63),
        (Table.UNITS, "generation", 1.0),
        (Table.UNITS, "at", 10**400),
        (Table.UNITS, "at", -1),
        (Table.SCHEDULE, "target", "\ud800"),
        (Table.MACHINES, "metadata", [["zone", "\ud800"]]),
        (Table.MACHINES, "metadata", [["zone\n", "eu"]]),
        (Table.MACHINES, "metadata", [["zone", "\u202eeu"]]),
        (Table.MACHINES, "metadata", [["zone", "e" * 257]]),
        (Table.MACHINES, "metadata", [["zone"]]),
        (Table.MACHINES, "hostname", "-oProxyCommand=x"),
        (Table.MACHINES, "hostname", "a;b"),
        (Table.MACHINES, "hostname", ""),
        (Table.MACHINES, "address", "$(id)"),
        (Table.MACHINES, "address", "1.2.3.4 "),
        (Table.MACHINES, "address", "::1%a;b"),
        (Table.MACHINES, "address", "é"),
        (Table.MACHINES, "boot_id", "a/b"),
        (Table.MACHINES, "ssh_port", 0),
        (Table.MACHINES, "ssh_port", 65536),
        (Table.MACHINES, "ssh_port", -22),
        (Table.MACHINES, "host_keys", ["ssh-ed25519 AAAA\nevil"]),
        (Table.MACHINES, "host_keys", ["* ssh-ed25519 " + "A" * 68]),
        (Table.MACHINES, "memory_bytes", 10**30),
        (Table.MACHINES, "ttl_s", 1e308),
        (Table.STATES, "since", 10**400),
        (Table.STATES, "since", 253_402_300_800),
        (Table.STATES, "exit_code", 2**63),
        (Table.STATES, "main_pid", -1),
        (Table.EVENTS, "at", 1e308),
        (Table.LEADER, "id", "\x1b[31m"),
        (Table.LEADER, "hostname", "a\nb"),
        (Table.USAGE, "load", [0, 0, 1e308]),
        (Table.USAGE, "units", [["a", 1, None]]),
        (Table.USAGE, "units", [["a.service", -1, None]]),
        (Table.CLUSTER, "id", ""),
    ],
)
def test_what_is_no_name_and_no_number_of_its_kind_is_refused(table: Table, field: str, value: object) -> None:
    with pytest.raises(CorruptRecord, match=r"field|target") as caught:
        read(table, **{field: value})
    assert str(caught.value).isprintable()
    assert len(caught.value.reason) <= 300


@pytest.mark.parametrize("table", sorted(GOOD))
@pytest.mark.parametrize("number", wild.NUMBERS)
def test_no_number_however_odd_makes_anything_but_a_record_or_a_corrupt_one(table: Table, number: str) -> None:
    names = [*GOOD[table], "at", "since", "generation", "cpus", "exit_code", "schema", "colour"]
    for name in names:
        value = json.dumps({**GOOD[table], name: "NUMBER"}).replace('"NUMBER"', number).encode()
        try:
            record = decode(ADDRESSES[table], value, "/fleet/x")
        except CorruptRecord:
            continue
        assert decode(ADDRESSES[table], encode(record)) == record


@pytest.mark.parametrize("value", wild.HOSTILE)
@pytest.mark.parametrize("table", sorted(Table))
def test_no_bytes_however_odd_make_anything_but_a_record_or_a_corrupt_one(table: Table, value: bytes) -> None:
    try:
        decode(ADDRESSES.get(table, Address(Table.FILES, HASH)), value, "/fleet/x")
    except CorruptRecord as error:
        assert str(error).isprintable()  # noqa: PT017 - either outcome is right


@pytest.mark.parametrize("text", ["UTF-16", "byte order mark"])
def test_another_encoding_than_utf_8_is_refused(text: str) -> None:
    value = json.dumps(GOOD[Table.UNITS])
    with pytest.raises(CorruptRecord):
        decode(UNIT, value.encode("utf-16" if text == "UTF-16" else "utf-8-sig"))


@pytest.mark.parametrize(
    "value", ['{"target":"loaded","target":"launched"}', '{"a":{"b":1,"b":2}}', '{"a" :1,"a":2}']
)
def test_a_field_that_stands_twice_is_refused(value: str) -> None:
    with pytest.raises(CorruptRecord, match="stands twice"):
        decode(UNIT, value.replace("{", f'{{"hash":"{HASH}",', 1).encode())


def test_text_that_says_something_is_mended_and_bounded_instead() -> None:
    state = read(Table.STATES, error="a\ud800b\x1b[31m\n", sub="run\nning\u202e")
    assert (state.error, state.sub) == ("a\ufffdb\x1b[31m\n", "run\ufffdning\ufffd")
    assert len(read(Table.STATES, error="x" * 10**6).error) == 65536
    assert len(read(Table.UNITS, by="x" * 10**6).by) == 256
    assert read(Table.EVENTS, verb="a\nb").verb == "a\ufffdb"
    assert read(Table.PENDING, summary="\udfff").summary == "\ufffd"


@pytest.mark.parametrize("table", sorted(GOOD))
def test_a_field_of_another_version_is_kept_when_the_record_is_rewritten(table: Table) -> None:
    later = {"colour": "ré d", "deep": {"a": [1, None, {"b": 2.5}]}, "unknown": "x"}
    record = read(table, **later)
    changed = {each: value for each, value in (("at", 5.0), ("generation", 7)) if hasattr(record, each)}
    written = json.loads(encode(replace(record, **changed)))
    assert {name: written.get(name) for name in later} == later
    assert decode(ADDRESSES[table], encode(record)) == record
    assert replace(record, unknown="") == read(table)


def test_a_field_of_another_version_inside_a_record_is_kept_as_well() -> None:
    later = {"hash": HASH, "since": 1, "generation": 2, "machines": ["m"]}
    assert json.loads(encode(read(Table.UNITS, on=[later])))["on"] == [later]


@pytest.mark.parametrize("value", ['"\\ud800"', "1e999", "NaN", "[" * 30 + "]" * 30, '{"\\ud800":1}', "9" * 5000])
def test_a_field_of_another_version_that_could_not_be_written_back_makes_the_record_corrupt(value: str) -> None:
    with pytest.raises(CorruptRecord):
        decode(UNIT, f'{{"hash":"{HASH}","target":"loaded","colour":{value}}}'.encode())


@pytest.mark.parametrize(
    "record",
    [
        Unit("a.service", "h", Target.LOADED),
        Unit("a", HASH, Target.LOADED),
        Unit("a.service", HASH, Target.LOADED, generation=2**63),
        Unit("a.service", HASH, Target.LOADED, at=float("nan")),
        Machine("m", "h", "1.2.3.4", "b", metadata=(("zone", "\ud800"),)),
        Machine("m\n", "h", "1.2.3.4", "b"),
        Machine("m", "two words", "1.2.3.4", "b"),
        Override("m", metadata=(("zone", "\n"),)),
        UnitState("a.service", "m", HASH, 1, since=float("inf")),
        Usage("m", units=(("a.service", 10**30, None),)),
        UnitText(HASH, "\ud800"),
    ],
)
def test_what_no_reader_would_take_is_not_written(record: Any) -> None:
    with pytest.raises(InvalidRecord) as caught:
        encode(record)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("writer", "shown"),
    [
        ("ann", "ann"),
        ("root@laptop", "root@laptop"),
        ("agent-7aea1bb43c8d4b0e9d2f6f1a5a0c9e11", "agent 7aea1bb4"),
        ("scheduler-core-1", "scheduler core-1"),
        ("agents-r-us", "agents-r-us"),
    ],
)
def test_the_writer_of_an_event_is_its_actor(writer: str, shown: str) -> None:
    event = decode(Address(Table.EVENTS, "e", writer), b'{"at":1.0,"verb":"start","actor":"somebody else"}')
    assert isinstance(event, Event)
    assert event.actor == shown


def test_what_can_be_mended_is_written_mended() -> None:
    event = Event("e", 1.0, "ann", "a\n", reason="no \ud800")
    assert decode(ADDRESSES[Table.EVENTS], encode(event)) == replace(event, verb="a\ufffd", reason="no \ufffd")


@pytest.mark.parametrize("last", ['"0":0', '"x":0'])
def test_a_record_of_a_hundred_thousand_fields_is_read_once(last: str) -> None:
    text = "{" + ",".join(f'"{number:x}":0' for number in range(100_000)) + f",{last}}}"
    with pytest.raises(CorruptRecord):  # in a moment: in minutes where each field is compared with all others
        decode(Address(Table.UNITS, "a.service"), text.encode())
