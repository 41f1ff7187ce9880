"""What the console knows of real machines: what they use, how far a drain is, who is missing and who is back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from fleettui.cli.connection import open_operator
from fleettui.console.sources.feed import Live
from fleettui.console.tables.fleet import Reading
from fleettui.console.tables.machines import MachineRow, MachineRows
from fleettui.console.tables.units import UnitRows
from fleettui.demo.cluster import Cluster
from registry.program.config import load
from tests.cluster.fleet import SLEEPER, Fleet

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]

PATIENCE_S = 90.0


class Watcher:
    """A console's feed of a real cluster, folded into rows as its views do."""

    def __init__(self, cluster: Cluster) -> None:
        settings = load(cluster.config, {})
        self.feed = Live(lambda: open_operator(settings), settings.etcd.endpoints[0])
        self.machines, self.units = MachineRows(), UnitRows()
        self.reading = Reading()

    async def run(self) -> None:
        """Fold for ever."""
        async for reading in self.feed.readings():
            self.reading = reading
            self.machines.update(reading.snapshot, reading.changed, time.time())
            self.units.update(reading.snapshot, reading.changed)

    async def until(self, what: str, holds: Callable[[], object]) -> None:
        """Wait until it holds."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not holds():  # noqa: ASYNC110 - rows tell nobody
                    await asyncio.sleep(0.05)
        except TimeoutError:
            pytest.fail(f"never came about: {what}")

    def row(self, machine: str) -> MachineRow:
        row = self.machines.rows.get(machine)
        assert row is not None
        return row


@asynccontextmanager
async def watching(cluster: Cluster) -> AsyncIterator[Watcher]:
    watcher = Watcher(cluster)
    task = asyncio.create_task(watcher.run(), name="watch")
    try:
        await watcher.until("three machines", lambda: watcher.machines.known() == 3)
        yield watcher
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
def fleet(cluster: Cluster, tmp_path: Path) -> Fleet:
    return Fleet(cluster, tmp_path)


async def test_machines_and_units_tell_what_they_use_while_they_run(fleet: Fleet) -> None:
    async with watching(fleet.cluster) as seen:
        await asyncio.to_thread(fleet.start, "used.service")
        machine = fleet.machine_id((await asyncio.to_thread(fleet.settled, "used.service", 1))["used.service"])

        def meter() -> int:
            (row,) = seen.units.rows_of("used.service")
            return row.meter.memory or 0

        await seen.until("the unit's memory", meter)
        assert 0 < (seen.row(machine).used_bytes or 0) < seen.row(machine).memory_bytes
        assert seen.row(machine).load is not None
        await asyncio.to_thread(fleet.ctl, "stop", "used.service")
        await seen.until("no memory of a unit that is stopped", lambda: not meter())


async def test_a_drain_with_a_pinned_unit_tells_its_progress_and_what_blocks_it(fleet: Fleet) -> None:
    core_1 = fleet.machine_id("core-1")
    async with watching(fleet.cluster) as seen:
        pinned = f"{SLEEPER}[X-Fleet]\nMachineID={core_1}\n"
        movable = f"{SLEEPER}[X-Fleet]\nMachineMetadata=node=n1 node=n2\n"
        await asyncio.to_thread(fleet.start, "pinned.service", text=pinned)
        for other in ("core-2", "core-3"):
            await asyncio.to_thread(fleet.ctl, "cordon", other)
        await asyncio.to_thread(fleet.start, "mover@1.service", "mover@2.service", text=movable)
        for other in ("core-2", "core-3"):
            await asyncio.to_thread(fleet.ctl, "uncordon", other)
        told = await asyncio.to_thread(fleet.fails, "drain", "core-1")
        assert "pinned.service stays" in told
        await seen.until("a blocked drain", lambda: seen.row(core_1).blocked)
        assert "nothing left to move, pinned.service stays: " in seen.row(core_1).note
        homes = await asyncio.to_thread(fleet.homes, "mover@*.service")
        assert {homes["mover@1.service"], homes["mover@2.service"]} == {"core-2"}
        await asyncio.to_thread(fleet.ctl, "uncordon", "core-1")
        await seen.until("a ready machine", lambda: seen.row(core_1).state == "ready")


async def test_a_machine_that_crashed_with_the_leader_stays_as_lost_until_it_is_back(fleet: Fleet) -> None:
    cluster, node = fleet.cluster, fleet.leader()
    crashed = fleet.machine_id(node)
    async with watching(cluster) as seen:
        pinned = f"{SLEEPER}[X-Fleet]\nMachineID={crashed}\n"
        await asyncio.to_thread(fleet.start, "held.service", text=pinned)
        await seen.until("its state", lambda: seen.row(crashed).running == 1)
        before = time.time()
        await asyncio.to_thread(cluster.node(node).crash)
        await seen.until("a lost machine", lambda: seen.row(crashed).state == "lost")
        row = seen.row(crashed)
        assert (row.hostname, before <= row.gone_at <= time.time()) == (node, True)
        assert "it held held.service" in row.note
        assert seen.machines.known() == 3

        def told() -> bool:
            return any(
                event.verb == "lost" and event.machine == crashed for event in seen.reading.snapshot.events.values()
            )

        await seen.until("the event that tells later consoles", told)
        late = MachineRows()
        late.update(seen.reading.snapshot, None, time.time())
        assert (found := late.rows.get(crashed)) is not None
        assert (found.state, found.gone_at >= before) == ("lost", True)
        await asyncio.to_thread(cluster.repair)
        await seen.until("the machine is back", lambda: seen.row(crashed).state == "ready")
        assert await seen.feed.lease_left_s(crashed) is not None
