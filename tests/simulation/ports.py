"""The ports of a simulated machine, which its own agent asks: units of it that are up answer there.

Stands for `asyncio.open_connection`: the reader is asyncio's, the writer is `Caller`.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable

from tests.simulation.loop import PROGRAM
from tests.simulation.systemd import Behaviour, SimulatedSystemd

CONNECTED_S = 0.002  # at most
WELL, SICK = b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 503 Service Unavailable\r\n"


class Caller:
    """The writer of a connection, and its transport."""

    def __init__(self, answer: Callable[[bytes], None]) -> None:
        self.write, self.transport = answer, self

    async def drain(self) -> None:
        """All is sent already."""

    def abort(self) -> None:
        """Nobody waits any more."""


def simulate(ports_of: Callable[[], SimulatedSystemd]) -> None:
    """Have connections lead to the machine of whoever opens one, which `ports_of` finds."""

    async def open_connection(_host: str, port: int, *, limit: int) -> tuple[asyncio.StreamReader, Caller]:
        systemd = ports_of()
        loop, program, reader = systemd.loop, PROGRAM.get(), asyncio.StreamReader(limit)
        await asyncio.sleep(systemd.random.random() * CONNECTED_S)
        if systemd.jammed:
            await asyncio.Event().wait()
        found: Behaviour | None = systemd.listens(port)
        if found is None:
            raise ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))

        def answer(_: bytes) -> None:
            line = SICK if found.sick else WELL
            loop.after(systemd.random.random() * CONNECTED_S, loop.tell, program, reader.feed_data, line)

        return reader, Caller(answer)

    vars(asyncio)["open_connection"] = open_connection
