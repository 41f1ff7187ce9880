"""`fleetctl reboot`: machine by machine: drained, booted again, used again.

How far it is stands in the registry: a machine's override says which boot it is drained to end. So what was
interrupted goes on when the same is said again, and a machine that has booted meanwhile is only used again.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from argparse import Namespace
from collections.abc import Collection, Sequence
from urllib.parse import urlsplit

from fleettui.actions import machines as acts
from fleettui.actions.drain import is_global
from fleettui.actions.operator import Operator
from fleettui.actions.reading import find_machine, read_machines
from fleettui.actions.rollouts import begin_drain, read_rollouts
from fleettui.cli.connection import duration, open_operator, read_settings
from fleettui.cli.failures import FAILED, INTERRUPTED, OK
from fleettui.cli.hosts import remote_of
from fleettui.cli.output import complain, say
from fleettui.cli.rollouts import policy_of, show_begun, watch
from fleettui.cli.waiting import WATCHED, following
from fleettui.cli.words import place
from fleettui.remote.errors import RemoteError
from registry.errors import FleetError, UserError
from registry.etcd import Member
from registry.etcd.wire import EtcdError, EtcdUnreachable, decode_status
from registry.frozen import dataclass
from registry.keys import Table
from registry.lifecycle import Progress, standing_here
from registry.mirror import Snapshot
from registry.model import Availability, Machine, Override, Target
from registry.program.config import Settings
from registry.sync.listing import read_snapshot
from registry.wording import counted

BOOT_S = 600.0  # until a machine is given up that does not come back
QUORUM_S = 60.0  # until a boot is refused that would leave the registry without a quorum
MEMBER_S = 0.5  # between two looks whether a member of the registry is back
TABLES = (Table.CLUSTER, Table.UNITS, Table.FILES, Table.SCHEDULE, Table.MACHINES)
# Debian's mark, or what dnf's plugin says.
NEEDED = """[ -e /run/reboot-required ] && exit 0
command -v needs-restarting >/dev/null 2>&1 || exit 3
needs-restarting -r >/dev/null 2>&1
[ $? -eq 1 ] && exit 0
exit 3
"""
NOT_NEEDED = 3


@dataclass(frozen=True, slots=True)
class BootingMachine:
    """One machine to be booted again, as it was when its turn came. `boot` is the boot that is to end."""

    machine: Machine
    boot: str

    @property
    def booted(self) -> bool:
        """Whether it has booted since."""
        return self.machine.boot_id != self.boot


async def reboot(flags: Namespace) -> int:
    """Boot machines again, so many at a time; the exit code."""
    settings = read_settings(flags, os.environ)
    try:
        async with open_operator(settings) as operator:
            machines, overrides, unread = await read_machines(operator)
            known = {*overrides, *unread}
            chosen = [find_machine(each, machines, known, unread) for each in dict.fromkeys(flags.names)]
            check_rest(machines, chosen, flags.at_a_time)
            chosen.sort(key=lambda each: not (each in overrides and overrides[each].reboot))  # what was begun first
            for start in range(0, len(chosen), flags.at_a_time):
                if code := await _some(operator, settings, chosen[start : start + flags.at_a_time], flags):
                    return code
    except asyncio.CancelledError:
        complain("Interrupted; say the same again to go on, or uncordon the machine that is being emptied")
        return INTERRUPTED
    return OK


async def _some(operator: Operator, settings: Settings, chosen: Sequence[str], flags: Namespace) -> int:
    """Empty these machines, boot them again, and use them again; the exit code."""
    sites = await _sites(operator, settings, chosen, flags)
    waiting = [site for site in sites if not site.booted]
    check_members(await operator.etcd.member_list(), [site.machine for site in waiting])
    await quorum_without(operator, [site.machine for site in waiting])
    if waiting and (code := await _empty(operator, waiting, flags)):
        how = "Say the same again" if code == INTERRUPTED else "Nothing was booted. Mend it and say the same again"
        complain(f"{how}, or uncordon what is being emptied")
        return code
    snapshot = await read_snapshot(operator.etcd, operator.keys, TABLES)
    await quorum_without(operator, [site.machine for site in waiting])  # moving away may have taken long
    async with remote_of(settings, snapshot) as remote:
        for site in waiting:
            here = sorted(unit for machine, unit in snapshot.schedule if machine == site.machine.id)
            for unit in [each for each in here if not is_global(snapshot, each)]:
                say(f"Unit {unit} goes down with {site.machine.hostname}: no other machine takes it")
            say(f"Machine {site.machine.hostname} reboots")
            try:
                done = await remote.run(site.machine, ["systemctl", "reboot"], sudo=True)
            except RemoteError as error:  # it may have gone down under the answer
                complain(f"{error}; waiting whether it boots all the same")
            else:
                if done.status:
                    said = done.stderr.decode("utf-8", "replace").strip().partition("\n")[0]
                    raise UserError(f"{site.machine.hostname} does not reboot: {said or f'status {done.status}'}")
    seconds = duration(flags.timeout, "--timeout") or BOOT_S
    try:
        async with asyncio.timeout(seconds):
            await _booted(operator, waiting)
            for site in sites:
                await acts.uncordon(operator, site.machine.id)
                say(f"Machine {site.machine.hostname} is used again")
            await _well(operator, [site.machine.id for site in sites])
            await members_back(operator, [site.machine for site in sites])
    except TimeoutError:
        names = ", ".join(site.machine.hostname for site in sites)
        complain(f"Error: {names} not back and well after {seconds:g}s; see to it, and say the same again")
        return FAILED
    return OK


def check_rest(live: Collection[str], chosen: Collection[str], at_a_time: int) -> None:
    """Refuse to take every machine of the fleet down at once. UserError."""
    if 1 < len(live) <= at_a_time and set(live) <= set(chosen):
        most = len(live) - 1
        raise UserError(
            f"all {len(live)} machines would be down at once; boot them with --at-a-time {most}, or fewer"
        )


def check_members(members: Sequence[Member], machines: Sequence[Machine]) -> None:
    """Refuse to boot more members of the registry at once than it can do without. UserError.

    One alone may always: a registry of one or two is back with it.
    """
    at = {urlsplit(url).hostname for each in members for url in each.client_urls}
    names = [each.hostname for each in machines if each.address in at]
    most = max(1, (len(members) - 1) // 2)
    if len(names) > most:
        raise UserError(
            f"{', '.join(names)} are {len(names)} of the registry's {counted(len(members), 'member')}, which can do"
            f" without {most}; boot fewer at a time: --at-a-time {most}"
        )


async def quorum_without(operator: Operator, machines: Sequence[Machine], seconds: float = QUORUM_S) -> None:
    """Wait until the registry can do without its members on these machines. UserError when it cannot.

    One that was booted before, or by somebody else, may not be back yet. A registry of one or two members goes down
    in any case, and is back with the machine.
    """
    voters = [each for each in await operator.etcd.member_list() if not each.learner]
    leaving = [each for each in voters if _is_on(each, machines)]
    if not leaving or len(voters) <= 2:
        return
    others, needed = [each for each in voters if each not in leaving], len(voters) // 2 + 1
    silent: list[str] = []
    try:
        async with asyncio.timeout(seconds):
            while True:
                answers = await asyncio.gather(*(_has_leader(operator, each) for each in others))
                silent = [each.name for each, answered in zip(others, answers, strict=True) if not answered]
                if len(others) - len(silent) >= needed:
                    return
                await asyncio.sleep(MEMBER_S)
    except TimeoutError:
        names = ", ".join(
            machine.hostname for machine in machines if any(_is_on(each, [machine]) for each in leaving)
        )
        raise UserError(
            f"the registry would be without a quorum while {names} boots: of its {len(voters)} members"
            f" {' and '.join(silent) or 'others'} cannot be reached; see to it first: fleetctl doctor"
        ) from None


async def members_back(operator: Operator, machines: Sequence[Machine]) -> None:
    """Wait until the registry's members on these machines have a leader again, before another one is taken."""
    for member in [each for each in await operator.etcd.member_list() if _is_on(each, machines)]:
        while not await _has_leader(operator, member):  # noqa: ASYNC110 - it is asked
            await asyncio.sleep(MEMBER_S)


def _is_on(member: Member, machines: Sequence[Machine]) -> bool:
    addresses = {each.address for each in machines}
    return any(urlsplit(url).hostname in addresses for url in member.client_urls)


async def _has_leader(operator: Operator, member: Member) -> bool:
    """Whether a member answers and is part of a quorum."""
    for base in member.client_urls:
        with contextlib.suppress(EtcdUnreachable, EtcdError, FleetError):
            answer, _ = await operator.etcd.link.glimpse(base)
            if decode_status(answer, base).leader:
                return True
    return False


async def _sites(
    operator: Operator, settings: Settings, chosen: Sequence[str], flags: Namespace
) -> list[BootingMachine]:
    """The machines that are to be booted, or were and are not used again yet."""
    machines, overrides, _ = await read_machines(operator)
    snapshot = await read_snapshot(operator.etcd, operator.keys, TABLES)
    found = []
    async with remote_of(settings, snapshot) as remote:
        for each in chosen:
            override = overrides.get(each, Override(each))
            if each not in machines:
                raise UserError(f"machine {each[:8]}... is not there; boot it by hand, then uncordon it")
            machine = machines[each]
            if override.reboot:
                found.append(BootingMachine(machine, override.reboot))
                continue
            if override.availability is not Availability.READY:
                raise UserError(f"{machine.hostname} is {override.availability}; uncordon it first")
            if flags.needed:
                done = await remote.run(machine, ["sh", "-c", NEEDED])
                if done.status == NOT_NEEDED:
                    say(f"Machine {machine.hostname} needs no reboot")
                    continue
                if done.status:
                    raise UserError(
                        f"cannot find out whether {machine.hostname} needs a reboot; leave --needed out"
                    )
            found.append(BootingMachine(machine, machine.boot_id))
    return found


async def _empty(operator: Operator, sites: Sequence[BootingMachine], flags: Namespace) -> int:
    """Move away what can move; the exit code. A drain that is under way is followed."""
    _, overrides, _ = await read_machines(operator)
    running = {each.name for each in await read_rollouts(operator) if not each.state.over}
    drains = {overrides[site.machine.id].drained_by for site in sites if site.machine.id in overrides}
    for name in sorted(drains & running):
        if code := await watch(operator, name):
            return code
    boots = {site.machine.id: site.boot for site in sites}
    begun = await begin_drain(operator, list(boots), policy_of(flags), boots=boots)
    for site in sites:
        say(f"Machine {place(site.machine.id, {site.machine.id: site.machine})} {Availability.DRAINING}")
    return await show_begun(operator, begun, flags) if begun else OK


async def _booted(operator: Operator, sites: Sequence[BootingMachine]) -> None:
    """Wait until the machines have registered under another boot."""
    async with following(operator, (Table.CLUSTER, Table.MACHINES)) as follower:
        waiting = list(sites)
        while waiting:
            await follower.next()
            machines = follower.mirror.snapshot().machines
            for site in [each for each in waiting if each.machine.id in machines]:
                if machines[site.machine.id].boot_id != site.boot:
                    say(f"Machine {site.machine.hostname} has booted")
                    waiting.remove(site)


async def _well(operator: Operator, machines: Sequence[str]) -> None:
    """Wait until what the machines have to run runs there."""
    async with following(operator, WATCHED) as follower:
        while True:
            await follower.next()
            snapshot = follower.mirror.snapshot()
            if snapshot.revision and all(
                _runs(snapshot, *pair) for pair in snapshot.schedule if pair[0] in machines
            ):
                return


def _runs(snapshot: Snapshot, machine: str, name: str) -> bool:
    """Whether a unit has come to its end on the machine, well or not: a reboot mends nothing that fails."""
    unit, pair = snapshot.units.get(name), (machine, name)
    if unit is None or unit.target is not Target.LAUNCHED:
        return True
    found = standing_here(snapshot, name, snapshot.schedule[pair], snapshot.states.get(pair), strict=True)
    return found.progress is not Progress.UNDER_WAY
