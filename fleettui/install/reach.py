"""Hosts, reached: connections to those that a user names and to the fleet's other machines, and what they are.

Each machine's configuration lists where the registry is. When a member comes or goes, every machine is told, over
SSH like all else; this laptop's own list is written last, so that one which is behind says that others may be, too.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from fleettui.install import facts
from fleettui.install.facts import HostFacts
from fleettui.remote.bare_host import BareHost, of_target, reached
from fleettui.remote.errors import LoginRefused, one_line
from registry.errors import FleetError, UserError
from registry.model import Machine
from registry.program.config import Settings, SshTable

FACTS_S = 30.0
Accept = Callable[[Sequence[tuple[str, str]]], bool]


@dataclass(frozen=True, slots=True)
class KnownHost:
    """A machine as its pinned host key names it. `id` is "" for a key that was pinned by hand."""

    id: str
    hostname: str
    address: str
    port: int = 0


@dataclass(slots=True)
class OtherMachines:
    """Those that were reached, by host name, and why the rest was not, a line each."""

    hosts: dict[str, BareHost] = field(default_factory=dict)
    facts: tuple[HostFacts, ...] = ()
    away: tuple[str, ...] = ()


def known_host(line: str) -> KnownHost:
    """The machine that a line of known_hosts is of: its host name, its address, and its id as the comment."""
    words = [*line.split(" "), "", "", "", ""]
    names = [re.fullmatch(r"\[(.+)\]:(\d+)|(.*)", each) for each in words[0].split(",")]
    spelled = [(found[1] or found[3], int(found[2] or 0)) for found in names if found]
    return KnownHost(words[3], spelled[0][0], *spelled[-1])


def target_of(machine: Machine | KnownHost, user: str) -> str:
    """How a machine is reached: [USER@]ADDRESS[:PORT]."""
    address = f"[{machine.address}]" if ":" in machine.address else machine.address
    port = machine.ssh_port if isinstance(machine, Machine) else machine.port
    return (f"{user}@" if user else "") + address + (f":{port}" if port else "")


@contextlib.asynccontextmanager
async def opened(
    targets: Sequence[str], settings: Settings, accept: Accept = lambda _: False
) -> AsyncIterator[dict[str, BareHost]]:
    """Connections to all hosts, by name. Raises UserError with all errors, after all were tried.

    Host keys that no known_hosts has are `accept`'s to take, as (host, key); the usual is to refuse them.
    """
    names = [of_target(each).name for each in targets]
    if len(set(names)) < len(names):
        raise UserError("a host is named twice")
    async with contextlib.AsyncExitStack() as stack:
        opening = (stack.enter_async_context(reached(each, settings.ssh)) for each in targets)
        found = await asyncio.gather(*opening, return_exceptions=True)
        failed = [each for each in found if isinstance(each, BaseException)]
        if failed:
            texts = [str(each) for each in failed if isinstance(each, FleetError)]
            raise UserError("\n".join(texts)) if len(texts) == len(failed) else failed[0]
        hosts = [each for each in found if isinstance(each, BareHost)]
        fresh = [(each.endpoint.shown, each.key.fingerprint) for each in hosts if not each.key.known]
        if fresh and not accept(fresh):
            told = "\n".join(f"{host}: no known_hosts has its key {key}" for host, key in fresh)
            way = "compare them on the hosts, then log in once with ssh; a join takes --accept-host-keys, too"
            raise UserError(f"{told}\n{way}")
        yield {each.name: each for each in hosts}


async def all_facts(hosts: Mapping[str, BareHost]) -> tuple[HostFacts, ...]:
    """What the hosts are, in the order in which they were named. Raises RemoteError."""
    return tuple(await asyncio.gather(*(read_facts(host) for host in hosts.values())))


async def read_facts(host: BareHost) -> HostFacts:
    """What a host is. Raises RemoteError."""
    began = time.time()
    done = await host.run(facts.SCRIPT, timeout_s=FACTS_S)
    if done.status:
        why, user = done.stderr.decode("utf-8", "replace")[-300:], host.user
        raise LoginRefused(
            host.name,
            f"its commands do not run as root: {why.strip()}",
            f"log in as root, or let sudo ask for no password: {user} ALL=(ALL) NOPASSWD: ALL in /etc/sudoers.d",
        )
    return facts.parse(host.name, done.stdout.decode("utf-8", "replace"), began, time.time())


@contextlib.asynccontextmanager
async def other_machines(
    machines: Iterable[Machine], known: Iterable[KnownHost], but: Iterable[str], ssh: SshTable
) -> AsyncIterator[OtherMachines]:
    """Reach every machine of the fleet `but` some ids, as far as it can be. Nobody is asked about a host key."""
    left = {each.id: each for each in machines if each.id not in {*but}}
    gone = {each.id: each.hostname for each in known if each.id and each.id not in {*left, *but}}
    found = OtherMachines()
    away = [f"{name} is away" for name in gone.values()]

    async def one(machine: Machine) -> None:
        try:
            host = await stack.enter_async_context(reached(target_of(machine, ssh.user), ssh))
            if not host.key.known:
                raise FleetError("no known_hosts has its key")
            read = await read_facts(host)
            if read.machine != machine.id:
                raise FleetError(f"machine {read.machine} answers at {machine.address}")
        except FleetError as error:
            away.append(f"{machine.hostname} cannot be reached: {one_line(str(error))}")
        else:
            name = machine.hostname if machine.hostname not in found.hosts else machine.address
            found.hosts[name] = host
            found.facts = (*found.facts, replace(read, name=name))

    async with contextlib.AsyncExitStack() as stack:
        await asyncio.gather(*map(one, left.values()))
        found.away = tuple(away)
        yield found
