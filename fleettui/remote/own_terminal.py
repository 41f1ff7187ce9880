"""The terminal that we run on, or whatever our streams are: raw, its size, what is typed, what is shown.

All of it is shared with the shell that started us, and put back or left as it was.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import stat
import termios
import tty
from collections.abc import AsyncIterator, Callable, Iterator

from fleettui.remote.process import CHUNK_BYTES

STDIN, STDOUT, STDERR = 0, 1, 2


@contextlib.contextmanager
def raw(fd: int) -> Iterator[None]:
    """The terminal passes every key through; put back as it was on the way out."""
    before = termios.tcgetattr(fd)
    try:
        tty.setraw(fd, termios.TCSADRAIN)  # and keep what was typed ahead
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)


@contextlib.contextmanager
def ending_signals() -> Iterator[asyncio.Future[int]]:
    """A future that is done, with its number, when a signal would have ended us: the terminal comes first."""
    ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def end(number: int) -> None:
        if not ended.done():
            ended.set_result(number)

    with contextlib.ExitStack() as restore:
        for number in (signal.SIGTERM, signal.SIGHUP):
            restore.enter_context(on_signal(number, end))
        yield ended


@contextlib.contextmanager
def on_signal(number: signal.Signals, act: Callable[[int], None]) -> Iterator[None]:
    """Call `act` in the event loop at a signal; the handler before is put back afterwards."""
    loop = asyncio.get_running_loop()
    before = signal.signal(number, lambda got, _: loop.call_soon_threadsafe(act, got))
    try:
        yield
    finally:
        signal.signal(number, before)


def size() -> tuple[int, int]:
    """Columns and rows; those of a terminal of old where it is none."""
    try:
        return tuple(os.get_terminal_size(STDIN))  # type: ignore[return-value]
    except OSError:
        return 80, 24


async def read(fd: int) -> AsyncIterator[bytes]:
    """Read a descriptor without changing it: it is shared with the shell that started us.

    Files are always ready and cannot be polled; everything else is waited for.
    """
    polled = not stat.S_ISREG(os.fstat(fd).st_mode) and _pollable(fd)
    while True:
        if polled:
            await _readable(fd)
        data = await asyncio.to_thread(os.read, fd, CHUNK_BYTES)
        if not data:
            return
        yield data


def _pollable(fd: int) -> bool:
    """Whether the event loop can wait for it (/dev/null, for one, it cannot)."""
    loop = asyncio.get_running_loop()
    try:
        loop.add_reader(fd, lambda: None)
    except PermissionError:
        return False
    loop.remove_reader(fd)
    return True


async def _readable(fd: int) -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(fd, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(fd)


def write_all(fd: int, data: bytes) -> None:
    """Write all of it, however slow the reader is. Blocks."""
    while data:
        data = data[os.write(fd, data) :]
