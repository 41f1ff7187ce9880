"""A terminal on a machine: the user's keys there, its screen here, and this terminal as it was afterwards.

With a terminal on both our ends the far command gets one too; otherwise plain pipes. The command line is the user's
own and is read by the far shell, as with ssh. The local terminal is put back whatever happens.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import stat
import sys
import termios
import tty
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from fleettui.escape import escape
from fleettui.remote.process import CHUNK_BYTES, exit_status

if TYPE_CHECKING:
    import asyncssh

STDIN, STDOUT, STDERR = 0, 1, 2


class OutputGone(Exception):
    """Nobody reads our own output any more (`… | head`, a closed terminal)."""


async def attach(connection: asyncssh.SSHClientConnection, host: str, argv: Sequence[str]) -> int:
    """Run a shell, or `argv` joined by spaces, on our own terminal; its exit status. Raises LinkLost."""
    terminal = os.isatty(STDIN) and os.isatty(STDOUT)
    process = await connection.create_process(
        " ".join(argv) or None,
        encoding=None,
        request_pty="force" if terminal else False,
        term_type=os.environ.get("TERM", "xterm") if terminal else None,
        term_size=_size() if terminal else None,
    )
    session = asyncio.create_task(_session(process, host), name=f"shell {host}")
    with contextlib.ExitStack() as restore:
        if terminal:
            restore.enter_context(_raw(STDIN))
            restore.enter_context(_on_signal(signal.SIGWINCH, lambda _: _tell_size(process)))
            ended = restore.enter_context(_ending_signals())
            await asyncio.wait({session, ended}, return_when=asyncio.FIRST_COMPLETED)
            if ended.done():
                await _stop(session)
                return 128 + ended.result()
        return await session


async def attach_here(argv: Sequence[str]) -> int:
    """The same on this host: a shell, or the command line, with our own streams."""
    shell = os.environ.get("SHELL") or "/bin/sh"
    command = [shell, "-c", " ".join(argv)] if argv else [shell]
    process = await asyncio.create_subprocess_exec(*command)
    status = await process.wait()
    return status if status >= 0 else 128 - status


@contextlib.contextmanager
def _raw(fd: int) -> Iterator[None]:
    """The terminal passes every key through; put back as it was on the way out."""
    before = termios.tcgetattr(fd)
    try:
        tty.setraw(fd, termios.TCSADRAIN)  # and keep what was typed ahead
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)


@contextlib.contextmanager
def _ending_signals() -> Iterator[asyncio.Future[int]]:
    """A future that is done, with its number, when a signal would have ended us: the terminal comes first."""
    ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def end(number: int) -> None:
        if not ended.done():
            ended.set_result(number)

    with contextlib.ExitStack() as restore:
        for number in (signal.SIGTERM, signal.SIGHUP):
            restore.enter_context(_on_signal(number, end))
        yield ended


@contextlib.contextmanager
def _on_signal(number: signal.Signals, act: Callable[[int], None]) -> Iterator[None]:
    """Call `act` in the event loop at a signal; the handler before is put back afterwards."""
    loop = asyncio.get_running_loop()
    before = signal.signal(number, lambda got, _: loop.call_soon_threadsafe(act, got))
    try:
        yield
    finally:
        signal.signal(number, before)


async def _session(process: asyncssh.SSHClientProcess[bytes], host: str) -> int:
    """Carry everything until the far command ends; its exit status."""
    feeder = asyncio.create_task(_feed(process), name=f"stdin {host}")
    try:
        await asyncio.gather(_show(process.stdout, STDOUT), _show(process.stderr, STDERR))
        await process.wait_closed()
    except OutputGone:
        return 128 + signal.SIGPIPE
    finally:
        await _stop(feeder)
        process.close()
    return exit_status(process, host)


async def _stop(task: asyncio.Task[Any]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def _tell_size(process: asyncssh.SSHClientProcess[bytes]) -> None:
    """The far terminal changes its size as ours did."""
    with contextlib.suppress(OSError):
        process.change_terminal_size(*_size())


def _size() -> tuple[int, int]:
    try:
        return tuple(os.get_terminal_size(STDIN))  # type: ignore[return-value]
    except OSError:
        return 80, 24


async def _feed(process: asyncssh.SSHClientProcess[bytes]) -> None:
    """What comes in here goes there, no faster than it is taken; then the end of it."""
    with contextlib.suppress(OSError):
        async for data in _input(STDIN):
            process.stdin.write(data)
            await process.stdin.drain()
        process.stdin.write_eof()


async def _input(fd: int) -> AsyncIterator[bytes]:
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


async def _show(source: asyncssh.SSHReader[bytes], fd: int) -> None:
    """What comes from there is written here, however slow this terminal is."""
    while data := await source.read(CHUNK_BYTES):
        try:
            await asyncio.to_thread(_write_all, fd, data)
        except OSError as error:
            raise OutputGone from error


def _write_all(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


def complain(text: str) -> None:
    """One line on stderr that also reads well while a terminal is raw."""
    text = escape(text)
    sys.stderr.write(f"{text}\r\n" if os.isatty(STDERR) else f"{text}\n")
    sys.stderr.flush()
