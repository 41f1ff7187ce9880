"""One SSH connection: reached (directly or over jump hosts), checked, logged in; or one clear error.

The only place where errors of asyncssh and the operating system become RemoteErrors. Connections through the same
chain of jump hosts share it. Pools and commands are built on top of this.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import asyncssh

from fleettui.escape import escape
from fleettui.remote import hostkeys, identities, login
from fleettui.remote.endpoint import Endpoint, of_jumps
from fleettui.remote.errors import LinkLost, LoginRefused, MachineUnreachable, RemoteError, one_line
from fleettui.remote.pins import Pins
from registry.errors import UserError
from registry.etcd.backoff import grown, jittered
from registry.program.config import SshTable

KEEPALIVE_S = 3.0  # a dead peer is noticed after (count + 1) intervals
KEEPALIVE_COUNT = 2
HUNG_UP = (asyncssh.ConnectionLost, ConnectionResetError, BrokenPipeError)
ATTEMPTS = 5  # sshd drops connections at random when many come at once (MaxStartups)
CLOSE_TIMEOUT_S = 2.0


asyncssh.set_log_level("ERROR")  # what matters of it reaches the user as our errors


class Connector:
    """Opens connections to endpoints by one configuration; keeps the jump hosts that they share."""

    def __init__(self, ssh: SshTable, memory: HostKeyMemory | None = None) -> None:
        self.ssh = ssh
        self._memory = memory
        self._jumps: dict[str, asyncio.Task[asyncssh.SSHClientConnection]] = {}

    async def open(self, endpoint: Endpoint, *, forward_agent: bool = False) -> asyncssh.SSHClientConnection:
        """A connection that is logged in, within [ssh] timeout. Raises RemoteError or UserError."""
        try:
            async with asyncio.timeout(self.ssh.timeout):
                return await self._open(endpoint, forward_agent=forward_agent)
        except TimeoutError:
            through = f" through {self.ssh.tunnel}" if self.ssh.tunnel else ""
            why = f"no answer within {self.ssh.timeout:g} s{through}"
            raise MachineUnreachable(
                endpoint.shown, why, "is the machine up and its SSH port open to you?"
            ) from None

    async def jump(self, chain: str) -> asyncssh.SSHClientConnection:
        """The shared connection to the last of a chain of jump hosts. Raises RemoteError or UserError."""
        task = self._jumps.get(chain)
        ended = task is not None and task.done()
        if task is None or (ended and (task.cancelled() or task.exception() or task.result().is_closed())):
            task = asyncio.create_task(self._open_chain(chain), name=f"ssh jump {chain}")
            self._jumps[chain] = task
        return await asyncio.shield(task)

    async def close(self) -> None:
        """Close the jump hosts' connections."""
        tasks, self._jumps = list(self._jumps.values()), {}
        for task in tasks:
            task.cancel()
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            if not isinstance(result, BaseException):
                await shut(result)

    async def _open_chain(self, chain: str) -> asyncssh.SSHClientConnection:
        via = None
        for endpoint in of_jumps(chain):
            entry = await asyncio.to_thread(login.read, endpoint, self.ssh)
            via = await self._attempt(_Attempt(endpoint, entry, via))
        if via is None:
            raise UserError("the tunnel names no host: write --tunnel HOST[:PORT]")
        return via

    async def _open(self, endpoint: Endpoint, *, forward_agent: bool) -> asyncssh.SSHClientConnection:
        pins = self._memory.pins if self._memory else None
        entry = await asyncio.to_thread(login.read, endpoint, self.ssh, pins)
        chain = self.ssh.tunnel or entry.jump
        via = await self.jump(chain) if chain else None
        connection = await self._attempt(_Attempt(endpoint, entry, via, forward_agent))
        try:
            await self._remember(endpoint, entry, connection)
        except BaseException:
            connection.abort()
            raise
        return connection

    async def _remember(
        self, endpoint: Endpoint, entry: login.SshLogin, connection: asyncssh.SSHClientConnection
    ) -> None:
        """Pin the key that the machine showed; the next connection expects it. Raises HostKeyRefused, UserError."""
        key, expected = connection.get_server_host_key(), entry.expected
        if self._memory is None or not endpoint.machine or key is None or isinstance(key, asyncssh.SSHCertificate):
            return
        shown, before = hostkeys.written(key), expected.pin.key if expected.pin else ""
        if shown == before:
            return
        pins = self._memory.pins
        silent = expected.voucher is hostkeys.Voucher.KNOWN
        try:
            held = await asyncio.to_thread(pins.keep, endpoint.machine, shown, expected.names, instead=before)
        except UserError as error:
            if not silent:
                self._memory.on_first(str(error), True)  # noqa: FBT003 - a callback's
            return
        if held.key != shown:  # another connection was first, and saw another host
            raise hostkeys.refusal(endpoint, hostkeys.with_pin(expected, held), key, entry.port)
        if not silent:
            other = await asyncio.to_thread(pins.elsewhere, endpoint.machine, shown)
            self._memory.on_first(hostkeys.first_sight(endpoint, expected, key, other), bool(other))

    async def _attempt(self, attempt: _Attempt) -> asyncssh.SSHClientConnection:
        """Connect, again where the server hung up before it even spoke."""
        for count in range(ATTEMPTS - 1):
            try:
                return await self._connect(attempt)
            except HUNG_UP:
                await asyncio.sleep(jittered(grown(0.1, count), 0.5, 1.5))
        try:
            return await self._connect(attempt)
        except HUNG_UP as error:
            raise translate(error, attempt.endpoint, attempt.entry.port) from error

    async def _connect(self, attempt: _Attempt) -> asyncssh.SSHClientConnection:
        endpoint, entry = attempt.endpoint, attempt.entry
        who = await identities.gather(entry.named, entry.present, entry.agent_path, only_files=entry.only_files)
        guard = _Guard(entry.expected, strict=self.ssh.strict_host_key_checking)
        try:
            return await asyncssh.connect(
                entry.host,
                entry.port,
                options=entry.options,
                tunnel=attempt.via,
                client_factory=lambda: guard,
                known_hosts=lambda *_: entry.expected.as_known_hosts(),
                host_key_alias=entry.called,
                server_host_key_algs=entry.algorithms or (),
                client_keys=who.keys or None,
                agent_path=None,
                agent_identities=None,
                agent_forwarding=entry.agent_path if attempt.forward_agent else False,
                keepalive_interval=KEEPALIVE_S,
                keepalive_count_max=KEEPALIVE_COUNT,
                login_timeout=self.ssh.timeout,
                connect_timeout=self.ssh.timeout,
            )
        except asyncssh.HostKeyNotVerifiable as error:
            raise hostkeys.refusal(endpoint, entry.expected, guard.presented, entry.port) from error
        except asyncssh.KeyExchangeFailed as error:
            raise _kex_failed(error, attempt) from error
        except asyncssh.PermissionDenied as error:
            why = f"permission denied for user {escape(entry.user)}; {who.explain()}"
            remedy = "set identity_files or user in [ssh], or run ssh-copy-id"
            raise LoginRefused(endpoint.shown, why, remedy) from error
        except HUNG_UP:
            raise
        except (asyncssh.Error, OSError, ValueError) as error:
            raise translate(error, endpoint, entry.port) from error
        finally:
            who.close()


@dataclass(frozen=True, slots=True)
class HostKeyMemory:
    """Where host keys are pinned, and who is told of a new one: the line, and whether it is a warning."""

    pins: Pins
    on_first: Callable[[str, bool], None]


@dataclass(frozen=True, slots=True)
class _Attempt:
    """One host, how to get in, and the connection to go through."""

    endpoint: Endpoint
    entry: login.SshLogin
    via: asyncssh.SSHClientConnection | None = None
    forward_agent: bool = False


class _Guard(asyncssh.SSHClient):
    """Accepts or refuses a key that no trusted source has, and remembers what was shown."""

    def __init__(self, expected: hostkeys.Expected, *, strict: bool) -> None:
        self.presented: asyncssh.SSHKey | None = None
        self._lenient = not strict and expected.voucher is hostkeys.Voucher.NOBODY

    def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:  # noqa: ARG002
        self.presented = key
        return self._lenient


def translate(error: Exception, endpoint: Endpoint, port: int = 0) -> RemoteError:
    """A RemoteError that says what happened and what to do."""
    where = f" on port {port}" if port else ""
    open_to_you = "is the machine up and its SSH port open to you?"
    match error:
        case asyncssh.ChannelOpenError():
            reading = (
                f"the jump host cannot: {one_line(error.reason)}",
                "check the address as the jump host sees it",
            )
        case ConnectionRefusedError():
            reading = f"connection refused{where}", "is sshd running there on that port?"
        case socket.gaierror():
            reading = f"{escape(endpoint.address)} does not resolve", "check the name"
        case TimeoutError():
            reading = f"no answer{where}", open_to_you
        case asyncssh.ConnectionLost() | ConnectionResetError() | BrokenPipeError():
            reading = (
                f"it hangs up{where} before the login",
                "is that port sshd's, and is it overloaded (MaxStartups)?",
            )
        case FileNotFoundError() | PermissionError() if error.filename:
            reading = (
                f"ProxyCommand {error.filename} cannot be started: {error.strerror}",
                "mend it in the ssh configuration",
            )
        case OSError():
            why = os.strerror(error.errno).lower() if error.errno else str(error)  # asyncio's own is no reason
            reading = one_line(why) + where, open_to_you
        case _:
            reading = one_line(str(error)), "compare with ssh -v"
    return MachineUnreachable(endpoint.shown, *reading)


@contextlib.contextmanager
def in_use(host: str) -> Iterator[None]:
    """What breaks while a connection is in use comes out as LinkLost."""
    try:
        yield
    except (asyncssh.Error, ConnectionError) as error:
        raise broken(error, host) from error


def broken(error: Exception, host: str) -> LinkLost:
    """The error for a connection that ended while in use."""
    why = one_line(str(error)) or "the connection closed"
    return LinkLost(host, why, "the machine or the network went away; try again")


async def shut(connection: asyncssh.SSHClientConnection) -> None:
    """Close a connection, for good after a moment."""
    connection.close()
    try:
        async with asyncio.timeout(CLOSE_TIMEOUT_S):
            await connection.wait_closed()
    except TimeoutError:
        connection.abort()


def _kex_failed(error: asyncssh.KeyExchangeFailed, attempt: _Attempt) -> RemoteError:
    if "host key" in error.reason and attempt.entry.expected.voucher is not hostkeys.Voucher.NOBODY:
        return hostkeys.refusal(attempt.endpoint, attempt.entry.expected, None, attempt.entry.port)
    return MachineUnreachable(attempt.endpoint.shown, one_line(error.reason), "its sshd and we share no algorithm")
