"""The connections to one machine, shared by everything that talks to it.

A connection carries at most SESSIONS sessions (sshd allows 10, and counts some of its own; a server that allows
fewer is believed when it refuses one). For more, another connection is opened, at most CONNECTS at a time. One that
nobody uses is closed after a while. A session that cannot be closed keeps its place: the server still counts it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import asyncssh

from fleettui.remote.connection import Connector, broken, in_use, shut, translate
from fleettui.remote.endpoint import Endpoint
from fleettui.remote.errors import MachineUnreachable, one_line
from fleettui.remote.process import SshRunning

SESSIONS = 8
CONNECTS = 8
IDLE_S = 120.0

Spawn = Callable[[Coroutine[Any, Any, None], str], None]  # runs a coroutine as a named task of the owner


@dataclass(slots=True, eq=False)
class PooledConnection:
    """One connection, made or being made. `used` counts sessions that are open or on their way."""

    task: asyncio.Task[asyncssh.SSHClientConnection]
    used: int = 0
    opened: int = 0
    limit: int = SESSIONS
    idle: asyncio.TimerHandle | None = field(default=None, repr=False)

    @property
    def usable(self) -> bool:
        """Whether a session may be asked of it; one that is still being made may."""
        if self.used >= self.limit:
            return False
        if not self.task.done():
            return True
        failed = self.task.cancelled() or self.task.exception() is not None
        return not failed and not self.task.result().is_closed()


class SessionPool:
    """Sessions on one machine. `spawn` runs what may outlast a session: its orderly end."""

    def __init__(self, connector: Connector, endpoint: Endpoint, spawn: Spawn) -> None:
        self.endpoint = endpoint
        self._connector = connector
        self._spawn = spawn
        self._links: list[PooledConnection] = []
        self._connecting = asyncio.Semaphore(CONNECTS)

    @contextlib.asynccontextmanager
    async def run(self, command: str, stdin: BinaryIO | None = None) -> AsyncIterator[SshRunning]:
        """A command on a session of its own, with what is left of a file as its input. RemoteError or UserError."""
        link, process = await self._start(command, stdin)
        running = SshRunning(process, self.endpoint.shown)
        try:
            with in_use(self.endpoint.shown):
                yield running
        finally:
            self._spawn(self._end(link, running), f"ssh end {self.endpoint.name}")

    async def close(self) -> None:
        """Close every connection."""
        links, self._links = self._links, []
        for link in links:
            if link.idle:
                link.idle.cancel()
            link.task.cancel()
        made = await asyncio.gather(*(link.task for link in links), return_exceptions=True)
        await asyncio.gather(*(shut(each) for each in made if not isinstance(each, BaseException)))

    async def _start(
        self, command: str, stdin: BinaryIO | None
    ) -> tuple[PooledConnection, asyncssh.SSHClientProcess[bytes]]:
        """Open a session; on another connection where this one takes no more, or has died."""
        while True:
            link = self._reserve()
            fresh = not link.task.done()
            try:
                process = await self._open(link, command, stdin)
            except (asyncssh.Error, ConnectionError) as error:
                self._refused(link, error, fresh=fresh)
            except BaseException:
                self._release(link)
                raise
            else:
                link.opened += 1
                link.limit = max(link.limit, link.opened)
                return link, process

    async def _open(
        self, link: PooledConnection, command: str, stdin: BinaryIO | None
    ) -> asyncssh.SSHClientProcess[bytes]:
        connection = await asyncio.shield(link.task)
        try:
            async with asyncio.timeout(self._connector.ssh.timeout):
                return await connection.create_process(command, encoding=None, stdin=stdin or asyncssh.DEVNULL)
        except TimeoutError as error:
            raise translate(error, self.endpoint) from error

    def _refused(self, link: PooledConnection, error: Exception, *, fresh: bool) -> None:
        """Learn from a session that was not opened; returns if another connection may serve it."""
        self._release(link)
        host = self.endpoint.shown
        if isinstance(error, asyncssh.ChannelOpenError) and not link.task.result().is_closed():
            if not link.used:
                why = f"it refuses every session: {one_line(error.reason)}"
                raise MachineUnreachable(host, why, "does MaxSessions or a ForceCommand forbid it?") from error
            link.limit = max(link.opened, 1)  # it took that many, and no more
            return
        link.limit = 0  # it died
        if fresh:
            raise broken(error, host) from error

    def _reserve(self) -> PooledConnection:
        self._links = [each for each in self._links if each.used or each.usable]
        link = next((each for each in self._links if each.usable), None)
        if link is None:
            link = PooledConnection(asyncio.create_task(self._connect(), name=f"ssh connect {self.endpoint.name}"))
            # A connection attempt may fail after everyone who waited for it has gone.
            link.task.add_done_callback(lambda task: None if task.cancelled() else task.exception())
            self._links.append(link)
        if link.idle:
            link.idle.cancel()
        link.used += 1
        return link

    def _release(self, link: PooledConnection) -> None:
        link.used -= 1
        if not link.used:
            link.idle = asyncio.get_running_loop().call_later(IDLE_S, self._retire, link)

    def _retire(self, link: PooledConnection) -> None:
        if link.used or link not in self._links:
            return
        self._links.remove(link)
        if link.task.done() and not link.task.cancelled() and not link.task.exception():
            self._spawn(shut(link.task.result()), f"ssh idle {self.endpoint.name}")

    async def _connect(self) -> asyncssh.SSHClientConnection:
        async with self._connecting:
            return await self._connector.open(self.endpoint)

    async def _end(self, link: PooledConnection, running: SshRunning) -> None:
        ended = await running.close()
        link.opened -= 1
        if not ended:
            link.limit -= 1
        self._release(link)
