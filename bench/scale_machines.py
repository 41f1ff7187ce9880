"""Simulated machines: the registry's half of fleet-agentd as it is, over a systemd that does everything at once.

    python -m bench.scale_machines --endpoint http://127.0.0.1:2379 --first 0 --count 100

Each machine has its own client, lease, watch, claims and states, by agentd's own `Registration`, `Schedule`,
`Publisher` and `FileCache`; what is simulated is the `Executor`: a unit is active the moment its text is there. One
process speaks for many machines; killing it is the loss of all of them at once. For each line on standard input it
prints one line of JSON: what it has done and cost so far.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import random
import resource
import sys
import tempfile
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from agentd.agent import TICK_S
from agentd.file_cache import FileCache
from agentd.ledger import Facts, Ledger
from agentd.publisher import Publisher
from agentd.pure.plan import DesiredState
from agentd.registration import Registration
from agentd.schedule import Schedule
from registry.errors import FleetError
from registry.etcd import Etcd, EtcdSettings
from registry.keys import Keys
from registry.model import Event, Machine, Target, UnitState

AGAIN_S = 0.5
JOINING = 128  # machines that register at once: a fleet does not boot in one instant


class Memory(Ledger):
    """The ledger of a machine that does not outlive the process."""

    def __init__(self) -> None:
        self.facts = Facts()
        self.facts_path = Path(tempfile.gettempdir())
        self._entries = {}

    def remember(self, **changes: Any) -> None:  # noqa: ANN401 - fields of Facts
        """Change facts."""
        self.facts = replace(self.facts, **changes)


@dataclass(slots=True)
class Counts:
    """What all machines of this process did."""

    joined: int = 0
    wakes: int = 0  # desired_states handed to an agent
    woken: set[str] = field(default_factory=set)  # machines that were, since the last "forget"
    active: int = 0


class SimulatedMachine:
    """One machine: desired_states in, claims and states out."""

    def __init__(self, endpoint: str, keys: Keys, number: int, counts: Counts, ttl_s: float) -> None:
        self.id = f"{number:032x}"
        self.units: dict[str, UnitState] = {}
        self._desired_states: dict[str, DesiredState | None] = {}
        self._counts = counts
        self._etcd = Etcd(EtcdSettings((endpoint,), request_timeout_s=max(1.0, ttl_s / 5)))
        self._texts = FileCache(self._etcd, keys.file)
        self._publisher = Publisher(self._etcd, keys, self.id, self.units.get)
        metadata = (("disk", "ssd" if number % 4 == 0 else "hdd"), ("region", f"r{number % 5}"))
        record = Machine(self.id, f"node{number}", "127.0.0.1", f"boot{number}", metadata, ttl_s=ttl_s)
        ledger = Memory()
        self._registration = Registration(self._etcd, keys, ledger, record, self)
        self._schedule = Schedule(self._etcd, keys, self.id, ledger, self)
        self._present = asyncio.Event()
        self._group: asyncio.TaskGroup | None = None

    async def run(self, gate: asyncio.Semaphore) -> None:
        """Be a machine until cancelled."""
        async with self._etcd, asyncio.TaskGroup() as group:
            self._group = group
            async with gate:
                group.create_task(self._registration.run(), name=f"registration {self.id}")
                await self._present.wait()
            for work in (self._publisher.run(), self._schedule.run(), self._tick()):
                group.create_task(work)

    async def joining(self, lease: int) -> None:
        """Show what runs here."""
        await self._publisher.resume(lease, self.held)

    def lost(self) -> None:
        """Write nothing."""
        self._publisher.suspend()

    def returned(self) -> None:
        """Nothing more than what the tick does."""

    def status_changed(self) -> None:
        """Nobody reads it."""

    def event(self, verb: str, *, unit: str = "", reason: str = "") -> Event:
        """An event of this machine, now."""
        return self._publisher.event(verb, unit=unit, reason=reason)

    def joined(self) -> None:
        """Follow the schedule."""
        self._counts.joined += 1
        self._schedule.list_again()
        self._present.set()

    async def _tick(self) -> None:
        """As the agent's own: look at everything again."""
        await asyncio.sleep(random.uniform(0, TICK_S))
        while True:
            await asyncio.sleep(TICK_S * random.uniform(0.9, 1.1))
            try:
                await self._registration.verify()
                self._publisher.recheck()
            except FleetError as error:
                logging.getLogger("bench").debug("tick: %s", error)

    # -- the reconciler's part

    @property
    def held(self) -> tuple[str, ...]:
        """The units of which something is here."""
        return tuple(self.units)

    def set_desired(self, name: str, desired: DesiredState | None, *, corrupt: bool = False) -> None:
        """What the schedule says of one unit now."""
        nothing_new = self._desired_states.get(name) == desired if desired else name not in self.units
        if corrupt or nothing_new or self._group is None:
            return
        self._counts.wakes += 1
        self._counts.woken.add(self.id)
        self._desired_states[name] = desired
        self._group.create_task(self._start(name, desired) if desired else self._stop(name))

    async def _start(self, name: str, desired: DesiredState) -> None:
        state = UnitState(name, self.id, desired.hash, desired.generation, attempt=desired.attempt)
        if not await self._publisher.claim(desired, state, lambda _lease: None):
            self._desired_states.pop(name, None)
            return
        await self._fetch(desired.hash)
        running = replace(
            state, target=desired.target, load="loaded", active="active", sub="running", result="success"
        )
        started = desired.target is Target.LAUNCHED
        self.units[name] = replace(running, main_pid=4242, since=time.time()) if started else state
        self._counts.active += started
        self._publisher.mark_dirty([name])

    async def _fetch(self, sha256: str) -> None:
        """As the reconciler does: an etcd that is too busy is asked again."""
        while True:
            try:
                await self._texts.get(sha256)
            except FleetError:
                await asyncio.sleep(AGAIN_S * random.uniform(0.5, 1.5))
            else:
                return

    async def _stop(self, name: str) -> None:
        if self.units.pop(name, None):
            self._counts.active -= 1
            await self._publisher.forget(name)
        self._desired_states.pop(name, None)


def report(counts: Counts) -> str:
    """What was done and what it cost, as one line."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    told = {
        "joined": counts.joined,
        "active": counts.active,
        "wakes": counts.wakes,
        "woken": len(counts.woken),
        "cpu_s": used.ru_utime + used.ru_stime,
        "peak_mib": used.ru_maxrss / 1024,
    }
    return json.dumps(told)


async def answer(counts: Counts) -> None:
    """Report for each line that comes in; "forget" also starts the count of woken machines anew."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        if line.strip() == b"forget":
            counts.woken.clear()
        sys.stdout.write(report(counts) + "\n")
        sys.stdout.flush()


async def simulate(options: argparse.Namespace) -> None:
    """All machines of this process, until standard input ends."""
    keys, counts, gate = Keys.under(options.prefix), Counts(), asyncio.Semaphore(JOINING)
    numbers = range(options.first, options.first + options.count)
    machines = [SimulatedMachine(options.endpoint, keys, each, counts, options.ttl) for each in numbers]
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(machine.run(gate), name=machine.id) for machine in machines]
        await answer(counts)
        for task in tasks:
            task.cancel()


def main() -> int:
    """Simulate until standard input ends."""
    parser = argparse.ArgumentParser(prog="python -m bench.scale_machines", description=__doc__)
    parser.add_argument("--endpoint", required=True)
    parser.add_argument("--prefix", default="/fleet/")
    parser.add_argument("--first", type=int, default=0, help="number of the first machine")
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--ttl", type=float, default=10.0, help="seconds of each machine's lease")
    logging.basicConfig(level=logging.ERROR)
    asyncio.run(simulate(parser.parse_args()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
