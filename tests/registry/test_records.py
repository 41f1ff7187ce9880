"""Records survive the way to etcd and back; anything else is a corrupt record that names its key."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import CorruptRecord
from registry.keys import Address, Keys, Table
from registry.model import Machine, Pending, Refusal, Target, Unit, UnitState, UnitText
from registry.records import KEY_FIELDS, LAYOUT, decode, encode

KEYS = Keys()
names = st.from_regex(r"[A-Za-z0-9:_.@\\-]{1,30}", fullmatch=True)


def records(table: Table) -> st.SearchStrategy[Any]:
    cls, key_fields = LAYOUT[table]
    return st.builds(cls, **dict.fromkeys(key_fields, names), **floats(cls))


def floats(cls: type[Any]) -> dict[str, st.SearchStrategy[float]]:
    numbers = st.floats(allow_nan=False, allow_infinity=False)
    return {field.name: numbers for field in fields(cls) if field.type == "float"}


def address_of(table: Table, record: Any) -> Address:
    return Address(table, *(getattr(record, name) for name in KEY_FIELDS[type(record)]))


@given(st.sampled_from(sorted(LAYOUT)).flatmap(lambda table: st.tuples(st.just(table), records(table))))
def test_every_record_survives_the_round_trip(case: tuple[Table, Any]) -> None:
    table, record = case
    assert decode(address_of(table, record), encode(record)) == record


@given(st.text())
def test_a_file_is_stored_as_its_text(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        return
    assert encode(UnitText("h", text)) == text.encode()
    assert decode(Address(Table.FILES, "h"), text.encode()) == UnitText("h", text)


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
        ('{"hash": "a"}', "'target' is missing"),
        ('{"hash": 1, "target": "loaded"}', "'hash' is not of type str"),
        ('{"hash": "a", "target": "flying"}', "'flying' is not a valid Target"),
        ('{"hash": "a", "target": "loaded", "colour": 1}', "unknown field 'colour'"),
        ('{"hash": "a", "target": "loaded", "name": "b.service"}', "belongs to the key"),
        ('{"hash": "a", "target": "loaded", "generation": true}', "'generation' is not of type int"),
        ('{"hash": "a", "target": "loaded", "history": "x"}', "'history' is not a list"),
        ("[" * 100_000, "recursion"),
    ],
)
def test_a_value_that_does_not_fit_says_why(value: str, reason: str) -> None:
    with pytest.raises(CorruptRecord, match=reason):
        decode(Address(Table.UNITS, "a.service"), value.encode(), "/fleet/units/a.service")


def test_defaults_and_what_the_key_says_are_not_stored() -> None:
    unit = Unit("a.service", "abc", Target.LAUNCHED)
    assert json.loads(encode(unit)) == {"hash": "abc", "target": "launched"}


def test_nested_records_and_pairs_are_parsed_strictly() -> None:
    pending = Pending("a.service", "h", 2, "no", (Refusal("cordoned", ("m1", "m2")),), passing=True)
    assert decode(Address(Table.PENDING, "a.service"), encode(pending)) == pending
    machine = Machine("m", "host", "10.0.0.1", "boot", metadata=(("region", "eu"),))
    assert decode(Address(Table.MACHINES, "m"), encode(machine)) == machine
    with pytest.raises(CorruptRecord, match="right length"):
        decode(Address(Table.MACHINES, "m"), encode(machine).replace(b'["region","eu"]', b'["region"]'))


def test_an_absent_exit_code_is_none() -> None:
    state = UnitState("a.service", "m", "h", 1)
    assert decode(Address(Table.STATES, "m", "a.service"), encode(state)) == state
