"""The way back: a machine's units move away, its programs stop, what let it in is taken back, and it is forgotten.

The same in every run: what is done already is seen in the host and in the registry, and left out. A machine that is
gone for good cannot be stopped, so its leave is what the registry and this laptop can do.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from fleettui.access.grants import Grants
from fleettui.actions.drain import left_on
from fleettui.actions.drain import plan as drain_plans
from fleettui.actions.machines import drain
from fleettui.actions.operator import Operator
from fleettui.actions.reading import find_machine, read_machines
from fleettui.install import steps
from fleettui.install.archive import cache_directory
from fleettui.install.carry_out import DRAIN_S, SETTLED, Worksite
from fleettui.install.etcd_member import Members
from fleettui.install.facts import ETC, OPT, OWN_DIRECTORY, UNITS, HostFacts
from fleettui.install.fleet_files import FleetFiles, chosen
from fleettui.install.join import settings_of
from fleettui.install.plan import (
    AGAIN,
    MEMBER,
    FleetFacts,
    client_url,
    endpoints_of,
    members_told,
    own_list,
    peer_url,
    tolerance,
)
from fleettui.install.reach import (
    KnownHost,
    OtherMachines,
    all_facts,
    known_host,
    opened,
    other_machines,
    target_of,
)
from fleettui.install.steps import Stage, Step
from registry.errors import FleetError, RegistryUnavailable, UserError
from registry.etcd import Etcd, Op
from registry.etcd.admin import ROOT
from registry.keys import Keys, Table
from registry.model import Machine
from registry.roles import agent_of, scheduler_of
from registry.sync.follow import Follower

READ_S = 30.0
SERVICES = ("fleet-agentd.service", "fleet-scheduler.service")
# All that a join has put there.
PURGE = f"""{SETTLED}
for each in {UNITS}/fleet-agentd.service {UNITS}/fleet-scheduler.service {UNITS}/fleet-etcd.service; do
    systemctl stop "${{each##*/}}" 2>/dev/null || true
    systemctl disable --quiet "${{each##*/}}" 2>/dev/null || true
    rm -rf "$each" "$each.d"
done
systemctl daemon-reload
units=$({OWN_DIRECTORY})
units=${{units%/}}
if [ -n "$units" ]; then
    rm -rf "$units" "${{units%/*}}/applied" "${{units%/*}}/agent.json" "${{units%/*}}/agent.lock"
    rmdir "${{units%/*}}" 2>/dev/null || true
fi
rm -rf {ETC} {OPT} /run/fleet /run/fleet-etcd /var/lib/fleet/artifacts
rmdir /var/lib/fleet 2>/dev/null || true
for each in fleet-etcd fleet-scheduler; do rm -rf /var/lib/private/$each /var/lib/$each; done
rm -f /run/fleet-join.lock
"""


@dataclass(slots=True)
class Leaving:
    """A leave that is ready to be carried out."""

    machine: KnownHost
    stages: tuple[Stage, ...]
    site: LeaveSite
    units: tuple[str, ...] = ()  # what becomes of each unit there, a line each
    notes: tuple[str, ...] = ()  # what it costs, a line each


@dataclass(frozen=True, slots=True)
class Manner:
    """How it leaves. `gone`: it cannot be reached; `last`: the fleet ends with it."""

    purge: bool = False
    gone: bool = False
    force: bool = False
    last: bool = False


class LeaveSite(Worksite):
    """A worksite that knows the acts of a leave as well."""

    async def do(self, step: Step) -> None:
        """Do one step. Raises FleetError."""
        match step.act:
            case steps.DrainMachine(machine, force):
                await self._drain(machine, force=force)
            case steps.RemoveMember(address):
                async with self.registry() as etcd:
                    await Members(etcd, self.at).remove(peer_url(address))
                self.endpoints = tuple(each for each in self.endpoints if each != client_url(address))
            case steps.Revoke(machine):
                await self._revoke(machine)
            case steps.Purge():
                await self.script(step.host, PURGE)
            case steps.Forget(names):
                await asyncio.to_thread(self.files.forget, names)
            case steps.ForgetFleet():
                await asyncio.to_thread(self.files.remove)
            case _:
                await super().do(step)

    async def foretold(self, machine: str) -> list[str]:
        """What would become of each unit of a machine that leaves, in words."""
        async with Etcd(self.files.settings(self.endpoints, self.files.operator)) as etcd:
            follower = Follower(etcd, self.keys, pinned=False)
            async with _running(follower), asyncio.timeout(READ_S):
                await follower.next()
                snapshot = follower.mirror.snapshot()
        lines = []
        for found in drain_plans(snapshot, [machine], self.keys):
            for each in found.moves:
                names = [snapshot.machines[there].hostname for there in each.machines if there in snapshot.machines]
                lines.append(f"{each.unit} moves to {' or '.join(names) or 'another machine'}")
            lines += [f"{each.unit} can run nowhere else: {each.summary}" for each in found.stuck]
            lines += [f"{unit} ends here: it is one on every machine" for unit in found.stays]
        return lines

    async def _drain(self, machine: str, *, force: bool) -> None:
        """Let the scheduler move everything that another machine takes, and wait. UserError for what none takes."""
        async with Etcd(self.files.settings(self.endpoints, self.files.operator)) as etcd:
            operator = Operator(etcd, self.keys, self.files.operator)
            change = await drain(operator, machine)
            follower = Follower(etcd, self.keys, pinned=False)
            async with _running(follower), asyncio.timeout(DRAIN_S):
                while True:
                    await follower.next()
                    snapshot = follower.mirror.snapshot()
                    if snapshot.revision < change.revision:
                        continue
                    left = left_on(snapshot, [machine], self.keys)[machine]
                    if left.done and (force or not left.stuck):
                        return
                    if left.done:
                        told = "; ".join(f"{unit}: {why}" for unit, why in left.stuck[:5])
                        raise UserError(f"no other machine takes {told}; destroy them, or --force stops them")

    async def _revoke(self, machine: str) -> None:
        async with self.registry() as etcd:
            for user in (agent_of(machine), scheduler_of(machine)):
                await Grants(etcd, self.keys).revoke(user.name)
            left = [self.keys.machine(machine), self.keys.override(machine), self.keys.usage(machine)]
            prefixes = [self.keys.extent(table, machine)[0] for table in (Table.SCHEDULE, Table.STATES)]
            await etcd.txn([], [*map(Op.delete, left), *map(Op.delete_prefix, prefixes)])


@contextlib.asynccontextmanager
async def prepared_leave(
    name: str, environ: Mapping[str, str], fleet: str | None, manner: Manner
) -> AsyncIterator[Leaving]:
    """Find the machine, reach it unless it is gone, and plan. Changes nothing. Raises FleetError."""
    files = await asyncio.to_thread(chosen, environ, fleet)
    if not files.complete() or not files.config.exists():
        raise UserError(f"this laptop knows no fleet: {files.directory} is missing")
    settings = await asyncio.to_thread(settings_of, files, environ)
    keys = Keys.under(settings.etcd.prefix)
    machine, others = await _find(name, files, settings.etcd.endpoints, keys, manner)
    _check_manner(machine, others, manner)
    async with contextlib.AsyncExitStack() as stack:
        target = target_of(machine, settings.ssh.user)
        hosts = {} if manner.gone else await stack.enter_async_context(opened([target], settings))
        facts = (await all_facts(hosts))[0] if hosts else HostFacts(machine.address, machine.address)
        if hosts and machine.id and facts.machine != machine.id:
            raise UserError(f"{machine.address} is machine {facts.machine}, not {machine.id}; nothing was done")
        machine = replace(machine, id=machine.id or facts.machine, hostname=machine.hostname or facts.hostname)
        site = LeaveSite(
            files,
            hosts,
            {facts.name: facts},
            settings.etcd.endpoints,
            keys,
            cache_directory(environ),
            users_on=True,
        )
        if manner.last:
            yield Leaving(machine, plan_leave(machine, facts, manner, member=False), site)
            return
        async with site.registry() as etcd:
            members = Members(etcd, site.at)
            leaving = await members.check_removal(peer_url(machine.address))
            left = tuple(each for each in await members.all() if leaving is None or each.id != leaving.id)
        told = own_list(
            FleetFacts(members=left, configured=await asyncio.to_thread(files.endpoints)), endpoints_of(left, ())
        )
        reached = OtherMachines()
        if told:
            known = map(known_host, await asyncio.to_thread(files.host_keys))
            reached = await stack.enter_async_context(other_machines(others, known, [machine.id], settings.ssh))
        site.hosts = {**reached.hosts, **hosts}
        units = () if manner.gone or not machine.id else tuple(await site.foretold(machine.id))
        stages = plan_leave(
            machine, facts, manner, member=leaving is not None, told=members_told(reached.facts, told)
        )
        notes = [
            f"{why}: once it is back, tell it where the registry is: fleettui join there" for why in reached.away
        ]
        if leaving is not None:
            at = {url for each in left for url in each.peer_urls}
            notes += _cost(len(left), [each.hostname for each in others if peer_url(each.address) not in at])
        yield Leaving(machine, stages, site, units, tuple(notes))


def _check_manner(machine: KnownHost, others: Sequence[Machine], manner: Manner) -> None:
    """Refuse what would end more than was meant. UserError."""
    names = sorted(each.hostname for each in others)
    if manner.last and others:
        raise UserError(f"{', '.join(names)} are in the fleet, too; --last is for the last machine alone")
    if not (manner.last or others):
        raise UserError(f"{machine.hostname} is the last machine: --last --purge ends the fleet with it")
    if manner.last and not (manner.purge or manner.gone):
        raise UserError("the last machine takes the fleet with it: say --purge, too")


def _cost(left: int, others: Sequence[str]) -> Iterator[str]:
    """What the registry bears without the member that leaves, and what would mend it."""
    if left % 2 == 0 or left == 1:
        lacking = 1 if left % 2 == 0 else 2
        names = " ".join([*(f"root@{name}" for name in others[:lacking]), *["HOST"] * (lacking - len(others))])
        yield (
            f"the registry is left with {tolerance(left)}; to have {left + lacking}, make others members:"
            f" fleettui join --members {left + lacking} {names}"
        )


def plan_leave(
    machine: KnownHost, facts: HostFacts, manner: Manner, *, member: bool, told: Sequence[Stage] = ()
) -> tuple[Stage, ...]:
    """The stages of a leave that have something to do; `told`: those that tell others of the members left. Pure."""
    gone, last = manner.gone, manner.last
    host, logs = facts.name, "see journalctl there, then run the same again"
    away, stop, revoke, end = [], [], [], []
    if not (gone or last) and facts.unit(SERVICES[0]).active == "active":
        away.append(Step("", f"drain {machine.hostname}", steps.DrainMachine(machine.id, manner.force), AGAIN))
    if not gone:
        needy = [unit for unit in SERVICES if facts.lives(unit)]
        stop += [Step(host, f"stop and disable {unit}", steps.StopService(unit), logs) for unit in needy]
    if member:
        revoke.append(Step("", "take its member out of the registry", steps.RemoveMember(machine.address), AGAIN))
    if not last:
        revoke.append(Step("", "revoke its users, forget what was set on it", steps.Revoke(machine.id), AGAIN))
    if not gone and facts.lives(MEMBER):
        end.append(Step(host, f"stop and disable {MEMBER}", steps.StopService(MEMBER), logs))
    if not gone and manner.purge:
        end.append(Step(host, "delete everything of the fleet's", steps.Purge(), AGAIN))
    names = tuple(filter(None, (machine.hostname, machine.address)))
    forget = (
        Step("", "forget the fleet", steps.ForgetFleet(), AGAIN)
        if last
        else Step("", "forget its host key", steps.Forget(names), AGAIN)
    )
    found = [
        Stage("move its units away", tuple(away)),
        Stage("stop", tuple(stop)),
        *told,
        Stage("revoke", tuple(revoke), together=False),
        Stage("host", tuple(end)),
        Stage("this laptop", (forget,)),
    ]
    return tuple(stage for stage in found if stage.steps)


async def _find(
    name: str, files: FleetFiles, endpoints: tuple[str, ...], keys: Keys, manner: Manner
) -> tuple[KnownHost, list[Machine]]:
    """The machine meant, and the others; one that is away is known by its host key. UserError for none."""
    try:
        async with Etcd(files.settings(endpoints, ROOT)) as etcd:
            machines, overrides, unread = await read_machines(Operator(etcd, keys))
    except RegistryUnavailable as error:
        if not manner.last:
            raise UserError(
                f"{error}; without a majority of its members the registry takes no change: bring one back, or get"
                " the fleet's records back as docs/backup.md says"
            ) from error
        machines, overrides, unread = {}, {}, set()
    pinned = [known_host(line) for line in await asyncio.to_thread(files.host_keys)]
    away = [each for each in pinned if each.id and each.id not in machines]
    fitting = [each for each in away if name in (each.hostname, each.address) or each.id.startswith(name)]
    if len(fitting) == 1:
        return fitting[0], list(machines.values())
    found = machines.get(find_machine(name, machines, {*overrides}, unread))
    if found is None:
        raise UserError(f"{name} is away and this laptop has no host key of it; give its host name or address")
    if manner.gone and not manner.force:
        raise UserError(
            f"{found.hostname} is not gone: its agent answers for it in the registry, and what it runs would run on"
            " beside what others start; without --gone it leaves as it should. One that was lost just now counts as"
            f" away after {found.ttl_s:g} s. One that SSH does not reach: systemctl disable --now fleet-agentd"
            " fleet-scheduler fleet-etcd there, then the same again; --force puts it out as it is"
        )
    others = [each for each in machines.values() if each.id != found.id]
    return KnownHost(found.id, found.hostname, found.address, found.ssh_port), others


@contextlib.asynccontextmanager
async def _running(follower: Follower) -> AsyncIterator[None]:
    task = asyncio.create_task(follower.run(), name="follow")
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError, FleetError):
            await task
