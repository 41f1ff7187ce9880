"""A command that runs somewhere: the same two streams and one ending, here or at the end of a connection.

`Running` is what commands and journals are written against. Streams are bytes; `read` gives b"" at the end. A
command killed by signal n ends with 128 + n, as in a shell.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from typing import TYPE_CHECKING, BinaryIO, Protocol

from fleettui.remote.errors import LinkLost

if TYPE_CHECKING:
    import asyncssh

CHUNK_BYTES = 65_536
CLOSE_TIMEOUT_S = 1.0


class ByteStream(Protocol):
    """A stream to read from."""

    async def read(self, n: int = -1, /) -> bytes:
        """Up to `n` bytes; b"" at the end."""


class Running(Protocol):
    """A started command."""

    @property
    def stdout(self) -> ByteStream:
        """Its standard output."""

    @property
    def stderr(self) -> ByteStream:
        """Its standard error."""

    async def wait(self) -> int:
        """Its exit status, once its output has ended. Raises LinkLost if it will never be known."""

    async def close(self) -> bool:
        """End it; False if it did not confirm its end in time."""


class LocalRunning:
    """A command on this host."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None  # noqa: S101 - both are pipes, by `start_here`
        assert process.stderr is not None  # noqa: S101
        self._process = process
        self.stdout: ByteStream = process.stdout
        self.stderr: ByteStream = process.stderr

    async def wait(self) -> int:
        """See Running."""
        status = await self._process.wait()
        return status if status >= 0 else 128 - status

    async def close(self) -> bool:
        """See Running."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):  # with all that it started: they hold its output open
                os.killpg(self._process.pid, signal.SIGKILL)
            await self._process.wait()
        return True


class SshRunning:
    """A command at the other end of a connection."""

    def __init__(self, process: asyncssh.SSHClientProcess[bytes], host: str) -> None:
        self._process = process
        self._host = host
        self.stdout: ByteStream = process.stdout
        self.stderr: ByteStream = process.stderr

    async def wait(self) -> int:
        """See Running. Leave no output unread, or it waits for ever."""
        await self._process.wait_closed()
        return exit_status(self._process, self._host)

    async def close(self) -> bool:
        """See Running. Most commands outlive their channel: ask sshd to end it as well."""
        with contextlib.suppress(OSError):
            if self._process.exit_status is None and not self._process.is_closing():
                self._process.send_signal("TERM")
        self._process.close()
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self._process.wait_closed()
        except TimeoutError:
            return False
        return True


def exit_status(process: asyncssh.SSHClientProcess[bytes], host: str) -> int:
    """How a closed process ended. Raises LinkLost if the connection went first: that looks like an end of file."""
    ended = process.exit_signal
    if ended:
        known = signal.Signals.__members__.get(f"SIG{ended[0]}")
        return 128 + (known.value if known else 0)
    status = process.exit_status
    if status is None or status < 0:
        raise LinkLost(host, "it closed while the command ran", "the command may or may not have finished")
    return status


async def start_here(argv: list[str], stdin: BinaryIO | None = None) -> LocalRunning:
    """Start a command on this host, with what is left of a file as its input."""
    process = await asyncio.create_subprocess_exec(
        *argv,
        stdin=asyncio.subprocess.DEVNULL if stdin is None else stdin,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        limit=CHUNK_BYTES,
        start_new_session=True,
    )
    return LocalRunning(process)
