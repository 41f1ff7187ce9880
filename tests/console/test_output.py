"""What is written to a terminal: at once where there is room, in order where there is none, never waited for."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator

import pytest
from textual.drivers._writer_thread import WriterThread

from fleettui.console.terminal.driver import Output

LARGE = "".join(f"{number:07}…" for number in range(40_000))  # more than a terminal takes unread


@pytest.fixture
def terminal() -> Iterator[tuple[int, Output, WriterThread]]:
    """What a terminal reads from, what writes to it, and a writer thread that has not begun."""
    near, far = os.openpty()
    with open(far, "w", encoding="utf-8", errors="backslashreplace") as file:  # noqa: PTH123 - a descriptor
        output = Output(file, threading.Event())
        output.open()
        writer = WriterThread(output)  # type: ignore[arg-type] # as the driver does
        yield near, output, writer
        output.close()
        os.close(near)


def read(near: int, count: int) -> bytes:
    """So many bytes, as the terminal shows them."""
    got = b""
    while len(got) < count:
        got += os.read(near, 1 << 16)
    return got


def test_a_piece_is_written_before_any_other_thread_runs(terminal: tuple[int, Output, WriterThread]) -> None:
    near, output, writer = terminal
    output.write_now("a frame … \udcff", writer)
    assert os.read(near, 100) == "a frame … \\udcff".encode()


def test_nothing_waits_for_room_and_all_comes_in_its_order(terminal: tuple[int, Output, WriterThread]) -> None:
    near, output, writer = terminal
    output.write_now(LARGE, writer)  # returns, though nobody reads
    output.write_now("then this", writer)
    writer.start()
    whole = (LARGE + "then this").encode()
    assert read(near, len(whole)) == whole
    writer.stop()
    output.write_now(" and at once again", writer)
    assert os.read(near, 100) == b" and at once again"


def test_without_a_terminal_the_thread_writes_all() -> None:
    near, far = os.pipe()
    with open(far, "w", encoding="utf-8") as file:  # noqa: PTH123 - a descriptor
        output = Output(file, threading.Event())
        output.open()
        writer = WriterThread(output)  # type: ignore[arg-type] # as the driver does
        writer.start()
        output.write_now("a frame …", writer)
        writer.stop()
        assert os.read(near, 100) == "a frame …".encode()
        output.close()
    os.close(near)


def test_what_a_terminal_that_is_gone_cannot_take_is_dropped() -> None:
    near, far = os.openpty()
    gone = threading.Event()
    with open(far, "w", encoding="utf-8") as file:  # noqa: PTH123 - a descriptor
        output = Output(file, gone)
        output.open()
        os.close(near)
        writer = WriterThread(output)  # type: ignore[arg-type] # as the driver does
        writer.start()
        output.write_now("nobody reads", writer)
        assert gone.is_set()
        output.write_now(LARGE, writer)
        writer.stop()
        output.close()
