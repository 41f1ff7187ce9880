"""The reader of D-Bus against any bytes: messages or Malformed, and work that grows as the bytes do."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agentd.pure import wire
from agentd.pure.unit_status import FIELDS, SIGNATURES, UNKNOWN
from agentd.systemd_connection import TYPES, WANTED
from tests.agentd.test_wire import signal, signatures, values

types = st.one_of(signatures, st.text("ybnqiuxtdhsogva(){}", max_size=40))
lengths = st.sampled_from([0, 1, 2, 3, 7, 8, 64, 255, 1 << 16, 1 << 26, (1 << 26) + 1, (1 << 31), (1 << 32) - 1])
words = lengths.map(lambda length: length.to_bytes(4, "little"))
variants = st.sampled_from([b"\x01v\0", b"\x01s\0", b"\x03a()\0", b"\x05a{sv}\0", b"\0" * 8])
rubbish = st.lists(st.one_of(st.binary(max_size=16), words, variants), max_size=40).map(b"".join)
changed = st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)))


def header(signature: bytes, body: bytes, *, fields: bytes = b"") -> bytes:
    """A signal's fixed header and fields, whatever the body is."""
    told = b"\x08\x01g\0" + bytes([len(signature)]) + signature + b"\0" + fields
    return (
        b"l\x04\0\x01" + len(body).to_bytes(4, "little") + b"\x01\0\0\0" + len(told).to_bytes(4, "little")
        + told + bytes(-len(told) % 8) + body
    )  # fmt: skip


def read_all(data: bytes) -> None:
    """All that the agent ever does with what comes in."""
    for message in wire.MessageStream().feed(data):
        for read in (message.arguments, message.first, lambda message=message: message.changes(WANTED, TYPES)):
            with suppress(wire.Malformed):
                read()


def calls(work: Callable[[], Any]) -> int:
    """How many functions are called, ours and the interpreter's."""
    count = 0

    def count_call(_frame: object, event: str, _argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(count_call)
    try:
        work()
    finally:
        sys.setprofile(before)
    return count


CALLS_A_BYTE = 8  # an element of one byte may be a structure in a structure


@given(rubbish, st.sampled_from([b"", b"l\x04\0\x01", b"B\x02\0\x01"]))
def test_any_bytes_are_messages_or_malformed(data: bytes, start: bytes) -> None:
    with suppress(wire.Malformed):
        read_all(start + data)


@given(types, rubbish, rubbish)
@example("a()", b"\0\0\0\1" * 9, b"")
@example("a{}", b"\x08\0\0\0" + bytes(12), b"")
@example("a(())", b"\x08\0\0\0" + bytes(12), b"")
@example("v", b"\x01v\0" * 3000, b"")
@example("sa{sv}as", b"\0\0\0\0\0\0\0\0\xff\xff\xff\xff" * 4, b"\x01")
def test_any_body_and_any_fields_are_read_or_malformed(signature: str, body: bytes, fields: bytes) -> None:
    with suppress(wire.Malformed):
        read_all(header(signature.encode(), body, fields=fields))


@given(st.data(), st.lists(signatures, min_size=1, max_size=3), changed)
def test_a_message_with_changed_bytes_is_read_or_malformed(
    data: st.DataObject, types: list[str], changes: list[tuple[int, int]]
) -> None:
    whole = bytearray(signal("".join(types), [data.draw(values(each)) for each in types]))
    for at, byte in changes:
        whole[at % len(whole)] = byte
    with suppress(wire.Malformed):
        read_all(bytes(whole))


@given(types)
def test_any_signature_is_split_or_malformed(signature: str) -> None:
    with suppress(wire.Malformed):
        assert "".join(wire.complete_types(signature)) == signature


@given(types, rubbish.filter(bool), st.sampled_from([1, 20, 80]))
@example("gbbdandbxab", b">\x01" + bytes(9), 80)
def test_the_work_is_in_proportion_to_the_bytes(signature: str, piece: bytes, times: int) -> None:
    body = len(piece * times).to_bytes(4, "little") + piece * times
    data = header(signature.encode(), body)

    def read() -> None:
        with suppress(wire.Malformed):
            read_all(data)

    read()  # signatures are remembered
    assert calls(read) <= CALLS_A_BYTE * len(body) + 400


@pytest.mark.parametrize("size", [1 << 20])
def test_a_message_in_many_pieces_is_put_together_once(size: int) -> None:
    data = header(b"ay", size.to_bytes(4, "little") + bytes(size))

    def work(step: int) -> int:
        stream = wire.MessageStream()
        return calls(lambda: [list(stream.feed(data[at : at + step])) for at in range(0, len(data), step)])

    assert work(1024) <= 2.5 * work(2048) + 400


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.tuples(inner, inner),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from([*FIELDS, "Nonsense"]), anything))
def test_any_properties_leave_a_status_of_the_right_types(properties: dict[str, Any]) -> None:
    status = UNKNOWN.merged(properties)
    for name, field in FIELDS.items():
        kind = {"s": str, "b": bool, "ay": bytes}.get(SIGNATURES[name], int)
        assert type(getattr(status, field)) is kind
