"""Another version of agent and scheduler on every machine, one machine after the other, and back: no unit notices.

It is unpacked beside the version that runs, on all machines at once. Then, machine by machine, `current` is made to
lead to it and the agent is started over; the next machine comes when this one is registered again and every unit of
it runs as it ran, by systemd's invocation ids. Schedulers are last. What one run has done the next one leaves.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from fleettui.access.grants import Grants
from fleettui.actions.operator import Operator
from fleettui.actions.reading import read_machines
from fleettui.install import steps
from fleettui.install.archive import cache_directory, of_wheel, running
from fleettui.install.carry_out import REGISTER_S, SETTLED, Worksite
from fleettui.install.facts import OPT, OWN_DIRECTORY, UNITS, HostFacts
from fleettui.install.fleet_files import chosen
from fleettui.install.join import settings_of
from fleettui.install.reach import all_facts, known_host, opened, target_of
from fleettui.install.steps import Stage, Step
from registry.errors import RegistryUnavailable, UserError
from registry.etcd import Etcd
from registry.keys import Keys
from registry.roles import User

AGENT, SCHEDULER = "fleet-agentd.service", "fleet-scheduler.service"
BACK = "mend it and run the same again, or go back: fleetctl upgrade --rollback"
# Unit files of the version come with it; what runs is listed before and after, to be compared. Of other versions
# than these two nothing is kept.
SWITCH = f"""{SETTLED}
to={OPT}/versions/$2; unit=$3
[ -e "$to/complete" ] || {{ echo "$to is not there" >&2; exit 1; }}
units=$({OWN_DIRECTORY})
running() {{
    for each in "${{units:-/run/fleet/units}}"/*; do
        [ -e "$each" ] || continue
        systemctl show --property=Id,InvocationID,ActiveState "${{each##*/}}" | tr '\\n' ' '
    done
    true
}}
before=$(running)
if [ "$(readlink {OPT}/current)" != "versions/$2" ]; then
    [ "$4" = back ] || ln -sfn "$(readlink {OPT}/current)" {OPT}/previous
    ln -sfn "versions/$2" {OPT}/current.new
    mv -T {OPT}/current.new {OPT}/current
fi
[ "$4" != back ] || rm -f {OPT}/previous
for each in "$to"/units/*.service; do
    own={UNITS}/${{each##*/}}
    if [ -e "$own" ] && ! cmp -s "$each" "$own"; then cp "$each" "$own.fleet-new"; mv "$own.fleet-new" "$own"; fi
done
systemctl daemon-reload
systemctl restart "$unit"
after=$(running)
for each in {OPT}/versions/*; do
    [ "$5" = tidy ] || break
    case "versions/${{each##*/}}" in
        "$(readlink {OPT}/current)" | "$(readlink {OPT}/previous)") ;;
        *) rm -rf "$each" ;;
    esac
done
if [ "$before" != "$after" ]; then
    printf 'units changed: %s\\nbefore: %s\\n' "$after" "$before" >&2
    exit 1
fi
"""


@dataclass(slots=True)
class Upgrading:
    """An upgrade that is ready to be carried out. `away`: machines that a join has made and that are not there."""

    version: str
    stages: tuple[Stage, ...]
    site: UpgradeSite
    away: tuple[str, ...] = ()


class UpgradeSite(Worksite):
    """A worksite that can switch versions."""

    async def do(self, step: Step) -> None:
        """Do one step. Raises FleetError."""
        match step.act:
            case steps.SwitchVersion(version, unit, machine, back, last):
                before = await self._registered(machine)
                await self.script(
                    step.host, SWITCH, version, unit, "back" if back else "on", "tidy" if last else ""
                )
                if unit == AGENT:
                    await self._back(machine, before)
            case steps.RenewRole(user):
                async with self.registry() as etcd:
                    await Grants(etcd, self.keys).grant(user)
            case _:
                await super().do(step)

    async def _back(self, machine: str, before: int) -> None:
        """Wait until the machine has registered anew."""
        deadline = time.monotonic() + REGISTER_S
        while await self._registered(machine) in (0, before):
            if time.monotonic() > deadline:
                raise RegistryUnavailable(f"its agent did not register within {REGISTER_S:g} s")
            await asyncio.sleep(0.1)

    async def _registered(self, machine: str) -> int:
        """The revision at which the machine has registered; 0 when it has not."""
        async with Etcd(self.files.settings(self.endpoints, self.files.operator)) as etcd:
            kv = await etcd.get(self.keys.machine(machine))
        return kv.mod_revision if kv else 0


@contextlib.asynccontextmanager
async def prepared_upgrade(
    environ: Mapping[str, str], *, fleet: str | None = None, wheel: Path | None = None, rollback: bool = False
) -> AsyncIterator[Upgrading]:
    """Reach every registered machine and plan. Changes nothing. Raises FleetError."""
    files = await asyncio.to_thread(chosen, environ, fleet)
    settings = await asyncio.to_thread(settings_of, files, environ)
    keys = Keys.under(settings.etcd.prefix)
    if not files.config.exists():
        raise UserError("this laptop knows no fleet that a join has made; upgrade its packages on each machine")
    async with Etcd(files.settings(settings.etcd.endpoints, files.operator)) as etcd:
        machines, _, _ = await read_machines(Operator(etcd, keys, files.operator))
    targets = [target_of(each, settings.ssh.user) for each in machines.values()]
    async with opened(targets, settings) as hosts:
        found = await all_facts(hosts)
        read = partial(of_wheel, wheel) if wheel else running
        programs = None if rollback else await asyncio.to_thread(read)
        version = programs.version if programs else common_previous(found)
        strange = [each.hostname for each in found if not each.current]
        if strange:
            raise UserError(f"{', '.join(strange)} was not made by a join: upgrade its package there")
        site = UpgradeSite(
            files, hosts, {each.name: each for each in found}, settings.etcd.endpoints, keys,
            cache_directory(environ), users_on=True, programs=programs,
        )  # fmt: skip
        pinned = [known_host(line) for line in await asyncio.to_thread(files.host_keys)]
        away = tuple(each.hostname for each in pinned if each.id and each.id not in machines)
        lacking: list[User] = []
        if not rollback and await asyncio.to_thread(files.complete):
            async with site.registry() as etcd:
                users = await Grants(etcd, keys).users()
            lacking = [
                each.user for each in users if each.user and any(it.startswith("lacks") for it in each.faults)
            ]
        yield Upgrading(version, plan_upgrade(found, version, lacking, back=rollback), site, away)


def plan_upgrade(
    hosts: Sequence[HostFacts], version: str, lacking: Sequence[User] = (), *, back: bool = False
) -> tuple[Stage, ...]:
    """The stages of an upgrade that have something to do. Pure.

    `lacking`: users whose role does not have all that this version needs.
    """
    unpack: list[Step] = []
    agents: list[Step] = []
    schedulers: list[Step] = []
    for host in hosts:
        behind = host.current != version
        if f"{OPT}/versions/{version}" not in host.complete:
            act = steps.Unpack(version, host.python, host.architecture)
            unpack.append(Step(host.name, f"unpack {version}", act, BACK))
        lanes = [(AGENT, agents), (SCHEDULER, schedulers)]
        lanes = [(unit, lane) for unit, lane in lanes if f"{UNITS}/{unit}" in host.files]
        for unit, lane in lanes:
            if behind or unit in host.older:
                switch = steps.SwitchVersion(version, unit, host.machine, back, last=unit == lanes[-1][0])
                lane.append(Step(host.name, f"{unit.removesuffix('.service')} to {version}", switch, BACK))
    stages = (
        Stage("beside what runs", tuple(unpack)),
        Stage(
            "roles", tuple(Step("etcd", f"role of {each.name}", steps.RenewRole(each), BACK) for each in lacking)
        ),
        Stage("agents, one after the other", tuple(agents), together=False),
        Stage("schedulers, one after the other", tuple(schedulers), together=False),
    )
    return tuple(stage for stage in stages if stage.steps)


def common_previous(hosts: Sequence[HostFacts]) -> str:
    """The version that all machines had before, or have still or again. UserError when there is none.

    A machine that has it already was not upgraded yet, or was taken back by a run that was interrupted; where all
    have it, one may still have to start its programs over.
    """
    had = [{each.current, each.previous} - {""} for each in hosts]
    found = set.intersection(*had) if had else set()
    now = {each.current for each in hosts}
    if len(now) == 1:
        unfinished = any(each.older for each in hosts)
        found = found - now or (now if unfinished else set())
    if len(found) != 1:
        told = ", ".join(f"{each.hostname}: {each.previous or 'none'}" for each in hosts)
        raise UserError(f"there is no version that all machines had before ({told}); give one with --to FILE")
    return found.pop()
