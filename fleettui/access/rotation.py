"""Renewing what lets programs in: passwords, certificates, the authority; on this host and on the machines.

Owns the order, so that nobody is ever without: a password is in its file before etcd knows it, since a program
reads the file only when etcd refuses its token; and a new authority is trusted everywhere before the first
certificate of it is shown, and the old one until the last of its own is gone. Whatever is interrupted is run again.
Programs take changed files up by themselves, but for two: a scheduler has copies that systemd made for it, and etcd
reads whom it trusts when it starts. They are restarted, etcd one member at a time; no unit notices.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

from fleettui.access.authority import Authority, Leaf, write_private
from fleettui.access.grants import Grants, new_password
from fleettui.remote.bare_host import BareHost, reached
from registry.errors import FleetError, UserError
from registry.etcd.admin import ROOT
from registry.model import Machine
from registry.program.config import SshTable
from registry.roles import agent_of, scheduler_of

ETC = "/etc/fleet"
AT_ONCE = 8
PUT = """set -eu; umask 077; cat >"$2.new"
[ ! -e "$2" ] || { chmod --reference="$2" "$2.new"; chown --reference="$2" "$2.new"; }
mv -f "$2.new" "$2"
"""
HELD = (
    'cd "$2" && ls -1 client.pem agent.password scheduler.password etcd/server.pem etcd/peer.pem 2>/dev/null; true'
)
RELOAD = "systemctl reload fleet-etcd.service"
RESTART = "systemctl restart fleet-etcd.service"
SCHEDULER = "systemctl try-restart fleet-scheduler.service"

Say = Callable[[str], None]


class Rotation:
    """Renews on the machines given, reached by SSH. `own` are the files of this host's operator by user."""

    def __init__(
        self, grants: Grants, ssh: SshTable, machines: Iterable[Machine], own: dict[str, Path], say: Say
    ) -> None:
        self._grants, self._ssh, self._own, self._say = grants, ssh, own, say
        self._machines = {each.id: each for each in machines}
        self._programs = {
            user.name: (machine, f"{ETC}/{kind}.password")
            for machine in self._machines.values()
            for kind, user in (("agent", agent_of(machine.id)), ("scheduler", scheduler_of(machine.id)))
        }

    def knows(self, user: str) -> bool:
        """Whether it is known where the user's password lies, so that it can be replaced there."""
        return user in self._own or user in self._programs

    async def password(self, user: str) -> None:
        """Give a user another password. UserError for one whose file lies elsewhere."""
        if not self.knows(user):
            raise UserError(
                f"where {user} keeps its password is not known here, or its machine is away; give it another one,"
                f" to be handed over: fleetctl access grant {user} ROLE --renew"
            )
        password = new_password()
        if user in self._own:
            before = self._own[user].read_bytes()
            write_private(self._own[user], f"{password}\n".encode())
            try:
                await self._grants.admin.set_password(user, password)
            except BaseException:
                write_private(self._own[user], before)
                raise
            self._say(f"{user}: another password in {self._own[user]}")
            return
        machine, path = self._programs[user]
        async with self._host(machine) as host:
            await self._put(host, path, f"{password}\n".encode())
            await self._grants.admin.set_password(user, password)
            if "scheduler" in path:
                await self._run(host, SCHEDULER)
        self._say(f"{user}: another password in {path} on {machine.hostname}")

    async def check_members(self) -> None:
        """UserError unless some machine has a member of etcd whose trust can be renewed."""
        found: list[str] = []

        async def look(machine: Machine, _: BareHost, held: frozenset[str]) -> None:
            found.extend([machine.hostname] if "etcd/server.pem" in held else [])

        await self._on_all(look)
        if not found:
            raise UserError(
                "no machine of the fleet has an etcd that fleettui join made; renew the authority where etcd runs"
            )

    async def leaves(self, authority: Authority, directory: Path) -> None:
        """Give every machine, every member of etcd and this host a new certificate."""
        own = authority.issue_client()
        for name, content in (("client.key", own.key), ("client.pem", own.certificate)):
            write_private(directory / name, content)
        self._say(f"this host: another certificate, until {own.not_after:%Y-%m-%d}")

        async def renew(machine: Machine, host: BareHost, held: frozenset[str]) -> None:
            await self._put_leaf(host, f"{ETC}/client", authority.issue_client())
            members = [each for each in ("server", "peer") if f"etcd/{each}.pem" in held]
            for kind in members:
                old = await self._run(host, f"cat {ETC}/etcd/{kind}.pem")
                try:
                    leaf = authority.renew_server(old, machine.address)
                except ValueError as error:
                    raise UserError(f"{machine.hostname}: cannot renew {ETC}/etcd/{kind}.pem: {error}") from None
                await self._put_leaf(host, f"{ETC}/etcd/{kind}", leaf)
            if members:
                await self._run(host, RELOAD)
            await self._run(host, SCHEDULER)
            self._say(f"{machine.hostname}: other certificates{' of its etcd, too' if members else ''}")

        await self._on_all(renew)

    async def secrets_key(self, private: str) -> None:
        """Have every machine open secrets by these keys. Agents read the file when they open one."""

        async def put(machine: Machine, host: BareHost, held: frozenset[str]) -> None:  # noqa: ARG001 - as the others
            await self._put(host, f"{ETC}/secrets.key", private.encode())

        await self._on_all(put)

    async def trust(self, authority: Authority) -> None:
        """Have everybody trust what the authority says is to be trusted."""
        members: list[Machine] = []

        async def spread(machine: Machine, host: BareHost, held: frozenset[str]) -> None:
            await self._put(host, f"{ETC}/ca.pem", authority.certificate_pem)
            if "etcd/server.pem" in held:
                await self._put(host, f"{ETC}/etcd/ca.pem", authority.certificate_pem)
                members.append(machine)
            await self._run(host, SCHEDULER)

        await self._on_all(spread)
        for machine in members:  # one at a time: there is always a quorum
            async with self._host(machine) as host:
                await self._run(host, RESTART)
            await self._grants.admin.users()  # answered by a quorum
        self._say(
            f"{len(self._machines)} machines trust {'both authorities' if authority.replaced else 'it alone'}"
        )

    async def _on_all(self, work: Callable[[Machine, BareHost, frozenset[str]], Awaitable[None]]) -> None:
        """Do the work on every machine, several at once; in the end UserError that names where it failed."""
        slots = asyncio.Semaphore(AT_ONCE)

        async def one(machine: Machine) -> str:
            try:
                async with slots, self._host(machine) as host:
                    held = frozenset((await self._run(host, HELD, ETC)).decode().split())
                    await work(machine, host, held)
            except FleetError as error:
                return str(error)
            return ""

        failures = [each for each in await asyncio.gather(*map(one, self._machines.values())) if each]
        if failures:
            raise UserError(
                f"{'; '.join(failures)}; mend it, then run the same again, or leave out what no SSH reaches:"
                " --without MACHINE"
            )

    @asynccontextmanager
    async def _host(self, found: Machine) -> AsyncIterator[BareHost]:
        user = f"{self._ssh.user}@" if self._ssh.user else ""
        address = f"[{found.address}]" if ":" in found.address else found.address
        async with reached(f"{user}{address}:{self._ssh.port or found.ssh_port}", self._ssh) as host:
            if not host.key.known and host.key.text not in found.host_keys:
                raise UserError(f"{found.hostname} shows another host key than it registered; nothing was sent")
            yield host

    async def _put_leaf(self, host: BareHost, stem: str, leaf: Leaf) -> None:
        await self._put(host, f"{stem}.key", leaf.key)
        await self._put(host, f"{stem}.pem", leaf.certificate)

    async def _put(self, host: BareHost, path: str, content: bytes) -> None:
        await self._run(host, PUT, path, data=content)

    async def _run(self, host: BareHost, script: str, *arguments: str, data: bytes = b"") -> bytes:
        done = await host.run(script, *arguments, data=data)
        if done.status:
            said = done.stderr.decode("utf-8", "replace").strip().splitlines() or ["no message"]
            raise UserError(f"{host.name}: {said[-1][:200]}")
        return done.stdout


def own_files(directory: Path, user: str, password: str) -> dict[str, Path]:
    """The password files of this host, by user: etcd's root's and the operator's."""
    found = {ROOT: directory / f"{ROOT}.password", user: Path(password)}
    return {name: path for name, path in found.items() if name and path.is_file()}
