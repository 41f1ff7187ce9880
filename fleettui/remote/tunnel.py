"""Local ports whose far end is reached from the jump host: how `--tunnel` gets at etcd.

The listener is ours and outlives the jump host's connection: each new connection takes the shared one, which is
made anew when it broke. Bound to the loopback address only.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Protocol

from fleettui.remote.running import CHUNK_BYTES, Source
from registry.errors import FleetError

if TYPE_CHECKING:
    from fleettui.remote.connection import Connector

log = logging.getLogger(__name__)


class _Sink(Protocol):
    """What the writers of asyncio and asyncssh have in common."""

    def write(self, data: bytes, /) -> None: ...

    async def drain(self) -> None: ...

    def write_eof(self) -> None: ...


@contextlib.asynccontextmanager
async def listen(connector: Connector, chain: str, host: str, port: int) -> AsyncIterator[int]:
    """A port of this host that leads to `host`:`port` as the last jump host of `chain` sees it.

    The jump host is reached before this returns, so its errors come here. Raises RemoteError or UserError.
    """
    await connector.jump(chain)
    open_now: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(_carry(connector, chain, (host, port), (reader, writer)), name=f"tunnel {host}")
        open_now.add(task)
        task.add_done_callback(open_now.discard)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in open_now:
            task.cancel()
        await asyncio.gather(*open_now, return_exceptions=True)


async def _carry(
    connector: Connector,
    chain: str,
    place: tuple[str, int],
    local: tuple[asyncio.StreamReader, asyncio.StreamWriter],
) -> None:
    """Bytes both ways between one local connection and the far end, until either side ends."""
    import asyncssh  # noqa: PLC0415 - loaded by now

    reader, writer = local
    try:
        jump = await connector.jump(chain)
        far_reader, far_writer = await jump.open_connection(*place)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_copy(reader, far_writer), name="tunnel out")
                group.create_task(_copy(far_reader, writer), name="tunnel in")
        finally:
            far_writer.close()
    except* (FleetError, asyncssh.Error, OSError) as errors:
        log.debug("tunnel to %s:%d: %s", *place, errors.exceptions[0])
    finally:
        writer.close()


async def _copy(source: Source, sink: _Sink) -> None:
    while data := await source.read(CHUNK_BYTES):
        sink.write(data)
        await sink.drain()
    sink.write_eof()
