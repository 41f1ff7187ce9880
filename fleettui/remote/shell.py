"""A terminal on a machine: the user's keys there, its screen here, and this terminal as it was afterwards.

With a terminal on both our ends the far command gets one too; otherwise plain pipes. The command line is the user's
own and is read by the far shell, as with ssh. The local terminal is put back whatever happens.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fleettui.escape import escape
from fleettui.remote import own_terminal
from fleettui.remote.own_terminal import STDERR, STDIN, STDOUT
from fleettui.remote.process import CHUNK_BYTES, exit_status

if TYPE_CHECKING:
    import asyncssh


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
        term_size=own_terminal.size() if terminal else None,
    )
    session = asyncio.create_task(_session(process, host), name=f"shell {host}")
    with contextlib.ExitStack() as restore:
        if terminal:
            restore.enter_context(own_terminal.raw(STDIN))
            restore.enter_context(own_terminal.on_signal(signal.SIGWINCH, lambda _: _tell_size(process)))
            ended = restore.enter_context(own_terminal.ending_signals())
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
        process.change_terminal_size(*own_terminal.size())


async def _feed(process: asyncssh.SSHClientProcess[bytes]) -> None:
    """What comes in here goes there, no faster than it is taken; then the end of it."""
    with contextlib.suppress(OSError):
        async for data in own_terminal.read(STDIN):
            process.stdin.write(data)
            await process.stdin.drain()
        process.stdin.write_eof()


async def _show(source: asyncssh.SSHReader[bytes], fd: int) -> None:
    """What comes from there is written here, however slow this terminal is."""
    while data := await source.read(CHUNK_BYTES):
        try:
            await asyncio.to_thread(own_terminal.write_all, fd, data)
        except OSError as error:
            raise OutputGone from error


def complain(text: str) -> None:
    """One line on stderr that also reads well while a terminal is raw."""
    text = escape(text)
    sys.stderr.write(f"{text}\r\n" if os.isatty(STDERR) else f"{text}\n")
    sys.stderr.flush()
