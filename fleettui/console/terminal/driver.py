"""The terminal that the console draws on, and what becomes of it once the terminal is gone.

Textual's own driver waits without end for room to write once its writer thread has died, and reads an ended input
over and over. Here what cannot be written is dropped, and `give_up` stops reading and writing for good. `leaving`
watches for the terminal's end. What is typed is read by `typing`, and nothing that is typed ends the reading.

A frame goes to the terminal at once, as far as there is room. Only the rest waits for the writer thread, which has
to get a processor, and Python's lock, before it can write.

Where the terminal's locale has no UTF-8, every character is drawn as one of ASCII, of as many cells: done here, to
all that is written, so that no view has to know of it. A locale that nobody set counts as UTF-8, as systemd has it;
C and POSIX do not when they are set.
"""

from __future__ import annotations

import os
import select
import threading
import unicodedata
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, TextIO, cast

from rich.cells import get_character_cell_size
from textual.app import App
from textual.drivers._writer_thread import WriterThread
from textual.drivers.linux_driver import LinuxDriver
from textual.events import Key
from textual.message import Message

from fleettui.console.terminal.typing import Decoder, KeyParser, is_possible

READ = 4096
TICK_S = 0.1  # an escape alone is the key once nothing has followed it

VARIABLES = ("LC_ALL", "LC_CTYPE", "LANG")  # the first that is set counts: locale(7)
ALIKE = str.maketrans(
    "●○◌◐✖✓▾▸▴◀▶─━═│┃┌┐└┘├┤┬┴┼╭╮╰╯…·→←↑↓▁▂▃▄▅▆▇█▌▐▏▎▍▋▊▉▔■□▪⌕—–“”‘’✗⚠◆▲▼░▒▓╸╺⇧‖•↺↻",  # noqa: RUF001 - drawn by others
    "*o.~xvv>^<>---||+++++++++++++~-><^v_.-=+*%#||||||||^#o./--\"\"''x!*^v:%#--^|*@@",
)


def has_utf8(environ: Mapping[str, str]) -> bool:
    """Whether text may be written in UTF-8."""
    locale = next((found for name in VARIABLES if (found := environ.get(name))), "UTF-8")
    return "utf-8" in locale.lower() or "utf8" in locale.lower()


class _Plain(dict[int, str]):
    """What each character becomes; made when first asked for."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        base = unicodedata.normalize("NFKD", character)[:1]
        cells = get_character_cell_size(character)
        self[code] = base if cells == 1 and base.isascii() else "?" * cells
        return self[code]


_PLAIN = _Plain({code: chr(code) for code in range(128)})
_PLAIN.update({code: chr(plain) for code, plain in ALIKE.items()})


def plain(text: str) -> str:
    """The text in ASCII, as wide as it was."""
    return text if text.isascii() else text.translate(_PLAIN)


class TerminalDriver(LinuxDriver):
    """Draws on a terminal as long as there is one."""

    def __init__(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401 - Textual's
        super().__init__(*arguments, **options)
        self._as_ascii = not has_utf8(os.environ)
        self.gone = threading.Event()
        self.key_read: Callable[[], None] = lambda: None
        self._output = Output(cast("TextIO", self._file), self.gone)
        self._file = cast("Any", self._output)

    def give_up(self) -> None:
        """Read and write nothing more. From any thread."""
        self.gone.set()
        self.exit_event.set()  # the thread that reads keys ends

    def write(self, data: str) -> None:
        """Write, unless the terminal is gone."""
        writer = self._writer_thread
        if not self.gone.is_set() and writer is not None and writer.is_alive():
            self._output.write_now(plain(data) if self._as_ascii else data, writer)

    def start_application_mode(self) -> None:
        """Take the terminal, if it is still there."""
        if not self.gone.is_set():
            self._output.open()
            super().start_application_mode()  # type: ignore[no-untyped-call]

    def close(self) -> None:
        """Write what is left, and end the writer thread."""
        super().close()
        self._output.close()

    def _run_input_thread(self) -> None:
        try:
            self.run_input_thread()
        except (OSError, EOFError):  # EIO, or nothing more: the terminal is not ours to read any more
            self.give_up()
            self._app.call_later(self._app.exit)

    def run_input_thread(self) -> None:
        """Read what is typed until the driver stops."""
        decoder, parser = Decoder(), KeyParser(self._debug)
        poll = select.poll()
        poll.register(self.fileno, select.POLLIN)
        while not self.exit_event.is_set():
            if poll.poll(TICK_S * 1000):
                data = os.read(self.fileno, READ)
                if not data:
                    raise EOFError
                for message in parser.feed(text) if (text := decoder.decode(data)) else ():
                    self.process_message(message)
            for message in parser.tick():
                self.process_message(message)

    def process_message(self, message: Message) -> None:
        """Pass on what was typed, if a terminal may mean it."""
        if is_possible(message):
            if isinstance(message, Key):
                self.key_read()
            super().process_message(message)


class Output:
    """The terminal's file, whose reader may go away: what cannot be written is dropped, and the writing goes on.

    Two threads write, never at the same time: the app's, until there is no room, then the writer thread until it
    has written all that it was given. Without room the app's must not wait, so it has a descriptor of its own: what
    is set for a descriptor holds for all that share it, the shell's too.
    """

    def __init__(self, file: TextIO, gone: threading.Event) -> None:
        self._file, self._gone = file, gone
        self._direct: int | None = None
        self._given = self._taken = 0  # pieces that the writer thread got, and has written

    def open(self) -> None:
        """Open the terminal once more, to write without waiting; where there is none, the thread writes all."""
        with suppress(OSError):
            terminal = os.ttyname(self._file.fileno())
            self._direct = os.open(terminal, os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK)

    def close(self) -> None:
        """Write no more at once."""
        if self._direct is not None:
            os.close(self._direct)
            self._direct = None

    def write_now(self, text: str, writer: WriterThread) -> None:
        """Write as much as there is room for, and let the writer thread write the rest."""
        left: str | bytes = text
        if self._direct is not None and self._given == self._taken:
            data = text.encode(self._file.encoding, self._file.errors or "strict")
            try:
                left = data[os.write(self._direct, data) :]
            except BlockingIOError:
                left = data
            except OSError:
                self._gone.set()
                return
        if left:
            self._given += 1
            writer.write(cast("str", left))

    def write(self, piece: str | bytes) -> int:
        """Write a piece, or drop it. For the writer thread, which waits for room."""
        if not self._gone.is_set():
            try:
                if isinstance(piece, str):
                    self._file.write(piece)
                else:
                    self._file.buffer.write(piece)
                self._file.flush()
            except (OSError, ValueError):
                self._gone.set()
        self._taken += 1
        return len(piece)

    def flush(self) -> None:
        """Do nothing: each piece was flushed."""

    def fileno(self) -> int:
        """The descriptor."""
        return self._file.fileno()

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return self._file.isatty()


def give_up(app: App[Any]) -> None:
    """Treat the app's terminal as gone. From any thread."""
    driver = app._driver  # noqa: SLF001 - Textual has no other name for it
    if isinstance(driver, TerminalDriver):
        driver.give_up()


def notice_keys(app: App[Any], read: Callable[[], None]) -> None:
    """Have `read` called, in the thread that reads, for each key before the app gets it."""
    driver = app._driver  # noqa: SLF001 - the same
    if isinstance(driver, TerminalDriver):
        driver.key_read = read


def is_gone(app: App[Any]) -> bool:
    """Whether the app's terminal is gone."""
    driver = app._driver  # noqa: SLF001 - the same
    return isinstance(driver, TerminalDriver) and driver.gone.is_set()
