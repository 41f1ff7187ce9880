"""Our reading of D-Bus against dbus-next's writing of it: whatever is sent is read as it was meant."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from dbus_next import Message, MessageType, Variant
from hypothesis import given
from hypothesis import strategies as st

from agentd.pure import wire

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
BASIC: dict[str, st.SearchStrategy[Any]] = {
    "y": st.integers(0, 2**8 - 1),
    "b": st.booleans(),
    "n": st.integers(-(2**15), 2**15 - 1),
    "q": st.integers(0, 2**16 - 1),
    "i": st.integers(-(2**31), 2**31 - 1),
    "u": st.integers(0, 2**32 - 1),
    "x": st.integers(-(2**63), 2**63 - 1),
    "t": st.integers(0, 2**64 - 1),
    "d": st.floats(allow_nan=False),
    "s": texts,
    "o": st.sampled_from(["/", "/org/freedesktop/systemd1/unit/a_2eservice"]),
    "g": st.sampled_from(["", "s", "a{sv}", "a(sasbttttuii)"]),
}
signatures = st.recursive(
    st.sampled_from(sorted(BASIC)),
    lambda inner: st.one_of(
        inner.map("a{}".format),
        st.lists(inner, min_size=1, max_size=4).map(lambda types: f"({''.join(types)})"),
        st.tuples(st.sampled_from("sut"), inner).map(lambda pair: f"a{{{pair[0]}{pair[1]}}}"),
        st.just("v"),
    ),
    max_leaves=6,
)


@st.composite
def values(draw: st.DrawFn, code: str) -> Any:
    """A value of this type as dbus-next wants it."""
    if code in BASIC:
        return draw(BASIC[code])
    if code == "v":
        inner = draw(st.sampled_from([*sorted(BASIC), "as", "(uo)", "a{sv}", "a(ss)"]))
        return Variant(inner, draw(values(inner)))
    if code.startswith("a{"):
        key, value = wire.complete_types(code[2:-1])
        return draw(st.dictionaries(values(key), values(value), max_size=3))
    if code == "ay":
        return draw(st.binary(max_size=5))
    if code.startswith("a"):
        return draw(st.lists(values(code[1:]), max_size=3))
    return [draw(values(each)) for each in wire.complete_types(code[1:-1])]


def plain(value: Any) -> Any:
    """What we make of such a value: variants open, structures as tuples are compared as lists."""
    if isinstance(value, Variant):
        return plain(value.value)
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    return [plain(each) for each in value] if isinstance(value, (list, tuple)) else value


def signal(signature: str, body: list[Any], serial: int = 7) -> bytes:
    """A signal as dbus-next writes it."""
    message = Message(
        message_type=MessageType.SIGNAL, path="/org/freedesktop/systemd1", interface="a.b", member="Told",
        signature=signature, body=body, serial=serial,
    )  # fmt: skip
    return bytes(message._marshall())


@given(st.data(), st.lists(signatures, min_size=1, max_size=4))
def test_what_is_written_is_read(data: st.DataObject, types: list[str]) -> None:
    body = [data.draw(values(each)) for each in types]
    (message,) = wire.MessageStream().feed(signal("".join(types), body))
    assert plain(message.arguments()) == plain(body)
    assert (message.kind, message.path, message.member) == (wire.SIGNAL, "/org/freedesktop/systemd1", "Told")
    assert plain([message.first()]) == plain(body[:1])


@given(st.data(), st.sets(st.sampled_from("abcdef")))
def test_only_what_is_wanted_is_read_and_rightly(data: st.DataObject, wanted: set[str]) -> None:
    told = data.draw(st.dictionaries(st.sampled_from("abcdefgh"), values("v"), max_size=6))
    (message,) = wire.MessageStream().feed(signal("sa{sv}as", ["an.Interface", told, ["gone"]]))
    assert plain(message.changes({name.encode(): name for name in wanted})) == plain(
        {name: told[name] for name in told if name in wanted}
    )


@given(values("v"), st.sampled_from(["s", "t", "b", "(uo)", "i"]))
def test_a_value_of_another_type_than_wanted_is_passed_over(told: Variant, wanted: str) -> None:
    body = ["an.Interface", {"a": told, "z": Variant("u", 7)}, []]
    (message,) = wire.MessageStream().feed(signal("sa{sv}as", body))
    found = message.changes({b"a": "a", b"z": "z"}, {b"a": wanted.encode(), b"z": b"u"})
    assert found["z"] == 7
    assert ("a" in found) == (told.signature == wanted)


@given(st.lists(st.lists(texts, max_size=3), min_size=1, max_size=5), st.lists(st.integers(1, 60), max_size=20))
def test_the_stream_may_be_cut_anywhere(bodies: list[list[str]], cuts: list[int]) -> None:
    whole = b"".join(signal("s" * len(body), body, serial) for serial, body in enumerate(bodies, 1))
    ends = [0, *(end for end in itertools.accumulate(cuts) if end < len(whole)), len(whole)]
    stream = wire.MessageStream()
    found = [message for start, end in itertools.pairwise(ends) for message in stream.feed(whole[start:end])]
    assert [message.arguments() for message in found] == bodies


def test_a_reply_and_an_error_name_their_call() -> None:
    call = Message(destination="a.b", path="/", interface="a.b", member="Do", serial=9, sender=":1.2")
    (reply,) = wire.MessageStream().feed(bytes(_with_serial(Message.new_method_return(call, "u", [5]))._marshall()))
    (error,) = wire.MessageStream().feed(bytes(_with_serial(Message.new_error(call, "a.b.No", "why"))._marshall()))
    assert (reply.kind, reply.reply_serial, reply.arguments()) == (wire.RETURN, 9, [5])
    assert (error.kind, error.reply_serial, error.error_name, error.arguments()) == (
        wire.ERROR,
        9,
        "a.b.No",
        ["why"],
    )


def test_the_other_byte_order_is_read_too() -> None:
    header = (
        b"B\x04\x00\x01" + (4).to_bytes(4) + (1).to_bytes(4) + (7).to_bytes(4) + b"\x08\x01g\x00\x01u\x00" + b"\0"
    )
    (message,) = wire.MessageStream().feed(header + (258).to_bytes(4))
    assert message.arguments() == [258]


@pytest.mark.parametrize(
    "rubbish",
    [
        b"HTTP/1.1 400 Bad Request",
        b"l\x04\x00\x01" + b"\xff" * 12,
        b"l\x04\x00\x02" + b"\x00" * 12,
        b"l\x04\x00\x01"
        + (0).to_bytes(4, "little") * 2
        + (8).to_bytes(4, "little")
        + b"\x01\x01s\0\xff\xff\xff\xff",
        b"l\x04\x00\x01" + (0).to_bytes(4, "little") * 2 + (8).to_bytes(4, "little") + b"\x05\x01y\0\x07\0\0\0",
    ],
)
def test_rubbish_is_told(rubbish: bytes) -> None:
    with pytest.raises(wire.Malformed):
        list(wire.MessageStream().feed(rubbish))


@pytest.mark.parametrize(
    "signature",
    [
        "a()", "()", "a", "(", "a{sv", "{sv}", "a{vs}", "a{s}", "a{sss}", "a{(s)s}", "z", ")",
        "a" * 40 + "y", "(" * 99, "s" * 256,
    ],
)  # fmt: skip
def test_a_signature_that_is_none_is_told(signature: str) -> None:
    with pytest.raises(wire.Malformed):
        wire.complete_types(signature)


def test_elements_that_take_no_bytes_end() -> None:
    message = wire.Message(wire.SIGNAL, "<", (64).to_bytes(4, "little") + bytes(64), 0, signature="a()")
    with pytest.raises(wire.Malformed):
        message.arguments()


def test_a_value_that_leaves_its_array_is_told() -> None:
    inner = (60).to_bytes(4, "little") + b"x" * 60 + b"\0"  # a text of 60 bytes, in an array of 4
    message = wire.Message(wire.SIGNAL, "<", (4).to_bytes(4, "little") + inner, 0, signature="as")
    with pytest.raises(wire.Malformed):
        message.arguments()


def test_variants_in_variants_have_a_bottom() -> None:
    deep = b"\x01v\0" * 5000 + b"\x01y\0\x07"
    for read in (wire.Message.arguments, wire.Message.first):
        with pytest.raises(wire.Malformed):
            read(wire.Message(wire.SIGNAL, "<", deep, 0, signature="v"))
    shallow = b"\x01v\0" * 60 + b"\x01y\0\x07"
    assert wire.Message(wire.SIGNAL, "<", shallow, 0, signature="v").arguments() == [7]


def _with_serial(message: Message) -> Message:
    message.serial = 3
    return message
