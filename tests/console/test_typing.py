"""What is typed and pasted: bytes of a terminal to text and keys."""

from __future__ import annotations

import pytest
from textual import events
from textual.message import Message

from fleettui.console.terminal.typing import Decoder, KeyParser, is_possible

PASTED = b"\x1b[200~%s\x1b[201~"


def read(data: bytes, size: int = 4096) -> list[Message]:
    decoder, parser = Decoder(), KeyParser()
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    return [message for each in pieces if (text := decoder.decode(each)) for message in parser.feed(text)]


def keys(messages: list[Message]) -> list[str]:
    return [each.key for each in messages if isinstance(each, events.Key)]


def pastes(messages: list[Message]) -> list[str]:
    return [each.text for each in messages if isinstance(each, events.Paste)]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 4096])
def test_what_follows_an_escape_in_a_paste_is_text_and_no_key(size: int) -> None:
    messages = read(b"a" + PASTED % b"\x1b[31m*X\x1b\x1bD\x1b[200~u\xc2\x9b\a\t\r\n\x1b[20" + b"b", size)
    assert keys(messages) == ["a", "b"]
    assert pastes(messages) == ["␛[31m*X␛␛D␛[200~u\ufffd\ufffd\t\r\n␛[20"]


@pytest.mark.parametrize("size", [1, 3, 4096])
def test_what_is_no_utf_8_is_replaced_and_a_paste_goes_on_to_its_end(size: int) -> None:
    messages = read(b"\xff" + PASTED % b"caf\xe9 *X \xed\xb2\x80" + PASTED % b"more", size)
    assert keys(messages) == ["replacement_character"]
    assert pastes(messages) == ["caf\ufffd *X \ufffd\ufffd\ufffd", "more"]


def test_an_escape_that_is_pressed_does_not_wait_for_the_beginning_of_a_paste() -> None:
    decoder = Decoder()
    assert decoder.decode(b"\x1b") == "\x1b"
    assert decoder.decode(b"[200~") == "[200~"
    assert decoder.decode(b"\x1b") == ""  # in the paste, which may end here
    assert decoder.decode(b"[201~\x1b") == "\x1b[201~\x1b"


def typed(data: str, size: int = 4096) -> list[str]:
    """The keys of a burst, and those that nothing has followed."""
    parser = KeyParser()
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    messages = [message for each in pieces for message in parser.feed(each)]
    parser._timeout_time = 0.0 if parser._timeout_time is not None else None
    return keys([*messages, *parser.tick()])


@pytest.mark.parametrize("size", [1, 4096])
@pytest.mark.parametrize(
    "character", [chr(code) for code in range(32, 127) if chr(code) not in "bf"] + ["§", "é", "€"]
)
def test_an_escape_and_a_character_in_one_burst_are_two_keys(character: str, size: int) -> None:
    (alone,) = typed(character)
    assert typed(f"\x1b{character}", size) == ["escape", alone]
    assert typed(f"\x1b{character}\x1b", size) == ["escape", alone, "escape"]
    if character not in "[OP]X^_":
        assert typed(f"\x1b{character}{character}", size) == ["escape", alone, alone]


def test_a_long_burst_that_begins_like_a_sequence_has_no_character_that_nobody_typed() -> None:
    assert typed("\x1b[" + "x^" * 20) == ["escape", "left_square_bracket", *["x", "circumflex_accent"] * 20]


def test_sequences_of_keys_stay_keys() -> None:
    assert typed("\x1b[A\x1bOP\x1bb\x1bf\x1b\x7f\x1b[1;3D") == [
        "up", "f1", "ctrl+left", "ctrl+right", "ctrl+w", "alt+left"
    ]  # fmt: skip


def test_a_size_that_no_terminal_has_is_passed_over() -> None:
    sizes = [b"\x1b[48;24;80;0;0t", b"\x1b[48;0;0;0;0t", b"\x1b[48;99999999;80;1;1t"]
    assert [is_possible(message) for each in sizes for message in read(each)] == [True, False, False]
