"""The loss of all of etcd in the simulated world, and a backup restored with real agents and schedulers around it.

    python -m tests.simulation.backup SEED

prints as JSON what was told and what happened to the units. The restore is broken off once in the middle;
everything waits then, and the same restore goes on.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any

from fleettui.actions.backup import Backup, lines_of, parse, read_registry
from fleettui.actions.operator import Operator
from fleettui.actions.restore_file import FileRestoration, begin, read_file_restoration, restore
from registry.errors import RegistryUnavailable
from registry.etcd import Etcd, EtcdSettings, Op, TxnResult
from tests.simulation import crowd, outside
from tests.simulation import run as simulation
from tests.simulation.checks import SILENCE
from tests.simulation.fleet import KEYS
from tests.simulation.script import Script
from tests.simulation.store import Store

Processes = dict[str, int]  # the pid by machine and unit
PASSING = ("crash", "fail", "once", "brief", "hang", "missing")  # units that end by themselves


class CutEtcd(Etcd):
    """A client that breaks after so many writes."""

    left = 1 << 30

    async def txn(self, compares: Sequence[Any], then: Sequence[Op], orelse: Sequence[Op] = ()) -> TxnResult:
        self.left -= 1
        if self.left < 0:
            raise RegistryUnavailable("cut")
        return await super().txn(compares, then, orelse)


class Loss(simulation.Play):
    """A fleet that loses its registry, gets a backup back, and then once more over the live registry."""

    def run_on_desk(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        return self.loop.spawn(self.fleet.desk, work, "operator")

    def processes(self) -> Processes:
        units = ((host.name, unit) for host in self.fleet.hosts for unit in host.systemd.units.values())
        return {
            f"{host} {unit.name}": unit.pid
            for host, unit in units
            if unit.pid and unit.name != crowd.HOST_UNIT and not unit.name.startswith(PASSING)
        }

    async def run(self) -> None:
        fleet = self.fleet
        fleet.start()
        self.judge.elsewhere(SILENCE)  # it knows no backup of this kind
        await asyncio.sleep(3.0)
        fleet.act("submit", tuple(name for name, kind in crowd.KINDS.items() if kind.starts))
        await asyncio.sleep(20.0)
        self.etcd = CutEtcd(EtcdSettings(fleet.etcd.endpoints, leased=()))
        self.operator = Operator(self.etcd, KEYS, "operator@desk")
        backup = parse(b"".join(lines_of(await self.run_on_desk(read_registry(self.operator)))))
        fleet.act("restart", ("web@1.service", "web@2.service", "all.service"))
        fleet.act("destroy", ("sleep1.service", "web@3.service"))
        fleet.act("stop", ("sleep4.service",))
        await asyncio.sleep(15.0)
        before = self.processes()
        self._swap(Store())
        await asyncio.sleep(40.0)
        told: dict[str, Any] = {"after the loss": changes(before, self.processes())}
        await self.run_on_desk(begin(self.operator, await self.found(backup)))
        found = await self.found(backup)
        while found.awaited or found.after.silent:
            await asyncio.sleep(1.0)
            found = await self.found(backup)
        told["while held"] = changes(before, self.processes())
        self.etcd.left = 1 + self.script.seed % 4
        try:
            await self.run_on_desk(restore(self.operator, found))
        except RegistryUnavailable:
            await asyncio.sleep(30.0)
        told["broken off"] = changes(before, self.processes())
        self.etcd.left = 1 << 30
        found = await self.found(backup)
        told["told"] = spoken(found)
        await self.run_on_desk(restore(self.operator, found))
        await asyncio.sleep(20.0)
        told["done"] = changes(before, self.processes())
        fleet.act("destroy", ("sleep3.service",))
        await asyncio.sleep(8.0)
        before = self.processes()
        found = await self.found(backup)
        told["told over a live one"] = spoken(found)
        await self.run_on_desk(restore(self.operator, found))
        await asyncio.sleep(20.0)
        told["done over a live one"] = changes(before, self.processes())
        print(json.dumps(told))
        await self.etcd.close()

    async def found(self, backup: Backup) -> FileRestoration:
        found: FileRestoration = await self.run_on_desk(read_file_restoration(self.operator, backup))
        return found


def changes(before: Processes, now: Processes) -> list[str]:
    """What was started, stopped and restarted."""
    found = [f"start {key}" for key in now.keys() - before.keys()]
    found += [f"stop {key}" for key in before.keys() - now.keys()]
    found += [f"restart {key}" for key in now.keys() & before.keys() if now[key] != before[key]]
    return sorted(found)


def spoken(found: FileRestoration) -> list[str]:
    """What was told, in the same words."""
    hosts = {each.id: each.hostname for each in found.after.snapshot.machines.values()}
    shown = [each for each in found.after.changes if not each.unit.startswith(PASSING)]
    return sorted(f"{each.verb} {hosts[each.machine]} {each.unit}" for each in shown)


def main(seed: int) -> None:
    """Play one seed."""
    vars(simulation)["Play"] = Loss
    with tempfile.TemporaryDirectory() as root:
        simulation.play(Script(seed=seed, policy="keep", shuffle=True, rounds=()), Path(root))


if __name__ == "__main__":
    outside.same_in_each_run(["-m", "tests.simulation.backup", *sys.argv[1:]])
    main(int(sys.argv[1]))
