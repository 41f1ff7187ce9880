"""What is typed and pasted on the terminal, read so that no byte of it ends the reading.

Textual's own reader takes bytes that are no UTF-8 (a meta key of 8 bits, a paste of another encoding) for the end,
and so it does a sequence with a number that no key has; and what follows an escape in a pasted text it takes for
keys that were pressed. Here a paste is text and nothing else.

An escape that is followed at once by a character may be two keys, or one with alt. It is two here: no key of ours
has alt, and Textual would take some of them for what a Mac would write. Alt with b, f and backspace goes by words.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Iterator

from textual import events
from textual._xterm_parser import BRACKETED_PASTE_END, BRACKETED_PASTE_START, XTermParser
from textual.keys import Keys
from textual.message import Message

ESCAPE, SHOWN_ESCAPE = "\x1b", "␛"
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")  # all but tab and the ends of lines
BY_WORDS = frozenset(("\x1bb", "\x1bf", "\x1b\x7f", "\x1b\t"))  # and back through what takes keys
BEGINNINGS = "[OP]X^_"  # of longer sequences, after an escape
CARET = "circumflex_accent"
LARGEST = 5000  # columns or lines that a terminal may say it has


class Decoder:
    """Decodes bytes of a terminal: what is no UTF-8 is replaced, and pastes have no control characters."""

    def __init__(self) -> None:
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._pasting = False
        self._tail = ""  # outside a paste what was passed on last, in one what may be the beginning of its end

    def decode(self, data: bytes, *, final: bool = False) -> str:
        """The next piece of text."""
        text, passed = self._decode(data, final), []
        while text:
            piece, text = self._pasted(text) if self._pasting else self._typed(text)
            passed.append(piece)
        return "".join(passed)

    def _typed(self, text: str) -> tuple[str, str]:
        """What is passed on of the text up to a paste, and what is left: an escape that was pressed never waits."""
        whole = self._tail + text
        at = whole.find(BRACKETED_PASTE_START)
        if at < 0:
            self._tail = whole[1 - len(BRACKETED_PASTE_START) :]
            return text, ""
        end = at + len(BRACKETED_PASTE_START)
        piece = whole[len(self._tail) : end]
        self._pasting, self._tail = True, ""
        return piece, whole[end:]

    def _pasted(self, text: str) -> tuple[str, str]:
        body, mark, rest = (self._tail + text).partition(BRACKETED_PASTE_END)
        self._pasting, self._tail = not mark, ""
        if not mark:
            lengths = range(len(BRACKETED_PASTE_END) - 1, 0, -1)  # of what may be the beginning of the mark
            self._tail = next((body[-n:] for n in lengths if body.endswith(BRACKETED_PASTE_END[:n])), "")
            body = body[: len(body) - len(self._tail)]
        return CONTROL.sub("\ufffd", body.replace(ESCAPE, SHOWN_ESCAPE)) + mark, rest


class KeyParser(XTermParser):
    """Sequences to keys; one that has impossible numbers is none."""

    def __init__(self, debug: bool = False) -> None:  # noqa: FBT001, FBT002 - Textual's
        super().__init__(debug)
        self._carets: list[events.Key] = []  # that were typed; Textual has them stand for an escape, too

    def feed(self, data: str) -> Iterator[Message]:
        """The keys, and what else there is, in a text."""
        return self._typed(super().feed(data))

    def tick(self) -> Iterator[Message]:
        """What is whole, now that nothing has followed for a while."""
        return self._typed(super().tick())

    def _typed(self, messages: Iterable[Message]) -> Iterator[Message]:
        for message in messages:
            if isinstance(message, events.Key) and message.key == CARET:
                known = any(each is message for each in self._carets)
                self._carets = [each for each in self._carets if each is not message]
                yield message if known else _escape()
            else:
                yield message

    def _sequence_to_key_events(self, sequence: str, alt: bool = False) -> Iterator[events.Key]:  # noqa: FBT001, FBT002
        lead, character = sequence[:1], sequence[1:]
        if alt:
            yield _escape()
        elif lead == ESCAPE and len(character) == 1 and sequence not in BY_WORDS and character not in BEGINNINGS:
            yield _escape()
            sequence = character
        for event in super()._sequence_to_key_events(sequence):
            if event.key == CARET:
                self._carets.append(event)
            yield event

    def parse_mouse_code(self, code: str) -> Message | None:
        """A movement or click, if it is one."""
        try:
            return super().parse_mouse_code(code)
        except (ValueError, ArithmeticError):
            return None

    def _parse_extended_key(self, sequence: str) -> list[events.Key] | None:  # type: ignore[override] # it caches
        try:
            return super()._parse_extended_key(sequence)
        except (ValueError, ArithmeticError):
            return [events.Key(Keys.Ignore, None)]  # read to its end, and no key


def _escape() -> events.Key:
    return events.Key("escape", ESCAPE)


def is_possible(message: Message) -> bool:
    """Whether a terminal may mean this; a size that none has would be drawn."""
    if isinstance(message, events.Resize):
        return 0 < message.size.width <= LARGEST and 0 < message.size.height <= LARGEST
    return True
