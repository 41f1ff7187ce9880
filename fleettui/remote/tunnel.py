"""Connections to places that the jump host sees: how `--tunnel` gets at etcd.

Each connection is one end of a socket pair, and a task carries its bytes through a channel of the jump host's
connection. Nothing listens anywhere: no other user of this host can get in. The jump host's connection is shared
and made again when it broke, so the tunnel outlives it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Protocol

from fleettui.escape import escape
from fleettui.remote.process import CHUNK_BYTES, ByteStream
from registry.errors import FleetError, first_cause

if TYPE_CHECKING:
    from fleettui.remote.connection import Connector

log = logging.getLogger(__name__)

OPEN_TIMEOUT_S = 5.0  # how long the jump host may take to reach the far end


class _Sink(Protocol):
    """What the writers of asyncio and asyncssh have in common."""

    def write(self, data: bytes, /) -> None: ...

    async def drain(self) -> None: ...

    def write_eof(self) -> None: ...


class Tunnel:
    """Connections through the last jump host of a chain. `trouble`: why the last one failed, "" after a success."""

    def __init__(self, connector: Connector, chain: str) -> None:
        self.trouble = ""
        self._connector = connector
        self._chain = chain
        self._tasks: set[asyncio.Task[None]] = set()

    def dial(self, host: str, port: int) -> socket.socket:
        """A socket to `host`:`port` as the jump host sees it; it ends when the jump host cannot get there."""
        near, far = socket.socketpair()
        far.settimeout(0)
        task = asyncio.create_task(self._carry(far, host, port), name=f"tunnel {host}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return near

    async def close(self) -> None:
        """End every connection."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _carry(self, near: socket.socket, host: str, port: int) -> None:
        """Bytes both ways between one local connection and the far end, until either side ends."""
        import asyncssh  # noqa: PLC0415 - loaded by now

        reader, writer = await asyncio.open_connection(sock=near)
        try:
            async with asyncio.timeout(OPEN_TIMEOUT_S):
                jump = await self._connector.jump(self._chain)
                far_reader, far_writer = await jump.open_connection(host, port)
            self.trouble = ""
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(_copy(reader, far_writer), name="tunnel out")
                    group.create_task(_copy(far_reader, writer), name="tunnel in")
            finally:
                far_writer.close()
        except* TimeoutError:
            self._failed(host, port, f"no answer within {OPEN_TIMEOUT_S:g} s")
        except* asyncssh.ChannelOpenError as errors:
            self._failed(host, port, str(first_cause(errors)))
        except* (FleetError, asyncssh.Error, OSError) as errors:
            self._failed(host, port, str(first_cause(errors)), lost=True)
        finally:
            writer.close()

    def _failed(self, host: str, port: int, why: str, *, lost: bool = False) -> None:
        why = escape(" ".join(why.split()))
        self.trouble = why if lost else f"the jump host cannot reach {escape(host)}:{port}: {why}"
        log.debug("tunnel to %s:%d: %s", host, port, why)


@contextlib.asynccontextmanager
async def through(connector: Connector, chain: str) -> AsyncIterator[Tunnel]:
    """A tunnel through the last jump host of `chain`.

    The jump host is reached before this returns, so its errors come here. Raises RemoteError or UserError.
    """
    await connector.jump(chain)
    tunnel = Tunnel(connector, chain)
    try:
        yield tunnel
    finally:
        await tunnel.close()


async def _copy(source: ByteStream, sink: _Sink) -> None:
    while data := await source.read(CHUNK_BYTES):
        sink.write(data)
        await sink.drain()
    sink.write_eof()
