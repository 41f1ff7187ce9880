"""A host that is no machine of the fleet yet: scripts as root over one connection, and the key that it showed.

A key that known_hosts does not have is let in for the login alone (we offer public keys, never a password), and is
for the caller to accept before anything is sent. One that is another than known_hosts has is refused.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

import asyncssh

from fleettui.escape import escape
from fleettui.remote import hostkeys
from fleettui.remote.command import Completed, as_root, collect, quoted
from fleettui.remote.connection import Connector, in_use, shut
from fleettui.remote.endpoint import Endpoint, of_jump
from fleettui.remote.errors import CommandTimeout, HostKeyRefused, RemoteError
from fleettui.remote.process import SshRunning
from registry.errors import UserError
from registry.program.config import SshTable

SESSIONS = 8


@dataclass(frozen=True, slots=True)
class ShownKey:
    """A host's key, "ssh-ed25519 AAAA…", with its fingerprint; `known` when known_hosts had it already."""

    text: str
    fingerprint: str
    known: bool


class BareHost:
    """One open connection."""

    def __init__(self, endpoint: Endpoint, connection: asyncssh.SSHClientConnection, key: ShownKey) -> None:
        self.endpoint, self.key = endpoint, key
        self._connection = connection
        self._sessions = asyncio.Semaphore(SESSIONS)

    @property
    def name(self) -> str:
        """The host's name, or its address, as the user wrote it."""
        return self.endpoint.name

    @property
    def user(self) -> str:
        """Who is logged in there."""
        return str(self._connection.get_extra_info("username"))

    @property
    def port(self) -> int:
        """The port of its sshd."""
        peer = self._connection.get_extra_info("peername")
        return self.endpoint.port or (int(peer[1]) if peer else hostkeys.DEFAULT_PORT)

    async def run(self, script: str, *arguments: str, data: bytes = b"", timeout_s: float = 60) -> Completed:
        """Run a script of the host's own sh as root, with `data` as its input. Its exit status is no error.

        The first positional parameter is the address that we reached, as the host knows it. Raises RemoteError.
        """
        inner = as_root(["sh", "-c", script, "sh"])
        start = f'exec {quoted(inner)} "${{SSH_CONNECTION:-- - - -}}" {quoted(arguments)}'
        try:
            async with self._sessions, asyncio.timeout(timeout_s):
                return await self._run(quoted(["sh", "-c", start]), data)
        except TimeoutError:
            why = f"a command did not end within {timeout_s:g} s"
            raise CommandTimeout(self.name, why, "look there with ps, then run the same again") from None

    async def _run(self, command: str, data: bytes) -> Completed:
        with in_use(self.endpoint.shown):
            process = await self._connection.create_process(command, encoding=None)
            running = SshRunning(process, self.name)
            try:
                completed, _ = await asyncio.gather(collect(running), _feed(process, data))
            finally:
                process.close()
        return completed


@contextlib.asynccontextmanager
async def reached(target: str, ssh: SshTable) -> AsyncIterator[BareHost]:
    """A connection to [USER@]HOST[:PORT]. Raises RemoteError, UserError.

    A host that the known_hosts of `ssh` does not have is looked for in the user's own, too.
    """
    endpoint = of_target(target)
    lenient = replace(ssh, known_hosts="", strict_host_key_checking=False)
    tables = [*([ssh] if ssh.known_hosts else []), replace(ssh, known_hosts=""), lenient]
    for table in tables:
        connector = Connector(table)
        try:
            connection = await connector.open(endpoint)
        except HostKeyRefused as error:
            await connector.close()
            if error.changed or table is lenient:
                raise
            continue
        except BaseException:
            await connector.close()
            raise
        break
    try:
        key = connection.get_server_host_key()
        if not isinstance(key, asyncssh.SSHKey):
            raise RemoteError(endpoint.shown, "it shows no plain host key", "host certificates cannot be pinned")
        known = table is not lenient
        yield BareHost(endpoint, connection, ShownKey(hostkeys.written(key), hostkeys.fingerprint(key), known))
    finally:
        await shut(connection)
        await connector.close()


def of_target(target: str) -> Endpoint:
    """The host from [USER@]HOST[:PORT]. UserError."""
    try:
        return of_jump(target)
    except UserError:
        raise UserError(f"host {escape(target[:60])!r} is not [USER@]HOST[:PORT]: write it like root@a") from None


async def _feed(process: asyncssh.SSHClientProcess[bytes], data: bytes) -> None:
    """The whole input; a command that reads none of it has said why on stderr."""
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        view = memoryview(data)
        for start in range(0, len(view), 1 << 18):
            process.stdin.write(bytes(view[start : start + (1 << 18)]))
            await process.stdin.drain()
        process.stdin.write_eof()
