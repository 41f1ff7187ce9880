"""The whole way through a real etcd and the real scheduler, with simulated machines: placing, losing, resting.

Owns the order of the scenes and what is timed in each. The observer is a watch of this process on the schedule:
what counts is what stands in the registry. Units are started by `fleetctl`, as an operator does.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.report import Figure
from bench.scale_etcd import BenchEtcd, process_cpu_s, raw_transactions, resident_mib
from registry.etcd import Etcd, Op
from registry.keys import Keys, Table
from registry.model import Availability, Override
from registry.records import encode

KEYS = Keys()
TEXT = "[Service]\nExecStart=/bin/sleep infinity\n"
SCHEDULER_LEASE_S = 5
BATCH = 100
LATE_S = 3.0  # etcd ends leases up to so much late


@dataclass(frozen=True, slots=True)
class Size:
    """How large the fleet is: all machines, those that are lost at once, units started, units on the lost ones."""

    machines: int = 1000
    lost: int = 100
    units: int = 10_000
    raw_s: float = 3.0
    rest_s: float = 30.0
    patience_s: float = 300.0
    lease_s: float = 10.0


@dataclass(slots=True)
class Observer:
    """What the registry has shown so far, by this process's clock."""

    lines: dict[tuple[str, str], float] = field(default_factory=dict)
    machines: set[str] = field(default_factory=set)
    ended: dict[str, float] = field(default_factory=dict)  # machine to when its key vanished
    last_line: float = 0.0
    news: asyncio.Event = field(default_factory=asyncio.Event)

    async def follow(self, etcd: Etcd) -> None:
        """Watch the schedule and the machines for ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch(etcd, Table.SCHEDULE))
            group.create_task(self._watch(etcd, Table.MACHINES))

    async def _watch(self, etcd: Etcd, table: Table) -> None:
        async with aclosing(etcd.watch(KEYS.table(table), 1)) as stream:
            async for batch in stream:
                now = time.monotonic()
                for change in batch.changes:
                    self._take(change.key.removeprefix(KEYS.table(table)), now, exists=change.kv is not None)
                self.news.set()

    def _take(self, rest: str, now: float, *, exists: bool) -> None:
        machine, _, unit = rest.partition("/")
        if not unit:
            (self.machines.add if exists else self.machines.discard)(machine)
            self.ended.pop(machine, None)
            if not exists:
                self.ended[machine] = now
        elif exists:
            self.lines[machine, unit] = self.last_line = now
        else:
            self.lines.pop((machine, unit), None)

    async def until(self, fact: Callable[[], bool], within_s: float, what: str) -> None:
        """Wait for news until it is so; SystemExit when it does not come to be."""
        try:
            async with asyncio.timeout(within_s):
                while not fact():
                    self.news.clear()
                    await self.news.wait()
        except TimeoutError:
            raise SystemExit(f"within {within_s:g} s it was not so that {what}") from None


@dataclass(slots=True)
class Machines:
    """One process of simulated machines."""

    process: asyncio.subprocess.Process
    numbers: range

    @property
    def ids(self) -> set[str]:
        """The ids of its machines."""
        return {f"{number:032x}" for number in self.numbers}

    async def report(self, *, forget: bool = False) -> dict[str, float]:
        """What they have done and cost so far; `forget` counts the woken ones anew from here on."""
        if self.process.stdin is None or self.process.stdout is None:
            raise AssertionError("the process was started with pipes")
        self.process.stdin.write(b"forget\n" if forget else b"\n")
        found: dict[str, float] = json.loads(await self.process.stdout.readline())
        return found

    async def kill(self) -> None:
        """Lose all of them at once."""
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        await self.process.wait()


class Fleet:
    """A registry, a scheduler and machines, measured."""

    def __init__(self, server: BenchEtcd, etcd: Etcd, observer: Observer, size: Size) -> None:
        self._server, self._etcd, self._observer, self._size = server, etcd, observer, size
        self._scheduler: asyncio.subprocess.Process
        self._crowds: list[Machines] = []
        self._joined_s = 0.0
        self._directory = Path(tempfile.mkdtemp(prefix="bench-units-"))

    # -- programs

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """The scheduler and all machines."""
        environ = {"FLEET_ETCD_ENDPOINTS": self._server.url, "FLEET_SCHEDULER_LEASE_TTL": f"{SCHEDULER_LEASE_S}s"}
        self._scheduler = await self._spawn("scheduler", environ=environ, quiet=True)
        try:
            lost, machines = self._size.lost, self._size.machines
            middle = (lost + machines) // 2
            began = time.monotonic()
            crowds = (range(lost), range(lost, middle), range(middle, machines))
            self._crowds = [await self._join(numbers) for numbers in crowds]
            await self._observer.until(
                lambda: len(self._observer.machines) == machines, self._size.patience_s, "all machines had joined"
            )
            self._joined_s = time.monotonic() - began
            yield
        finally:
            for crowd in self._crowds:
                await crowd.kill()
            with contextlib.suppress(ProcessLookupError):
                self._scheduler.kill()
            await self._scheduler.wait()
            shutil.rmtree(self._directory, ignore_errors=True)

    async def _spawn(
        self, module: str, *arguments: str, environ: dict[str, str] | None = None, quiet: bool = False
    ) -> asyncio.subprocess.Process:
        pipe = asyncio.subprocess.PIPE
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            module,
            *arguments,
            stdin=asyncio.subprocess.DEVNULL if quiet else pipe,
            stdout=asyncio.subprocess.DEVNULL if quiet else pipe,
            stderr=None if "BENCH_LOUD" in os.environ or not quiet else asyncio.subprocess.DEVNULL,
            env={**os.environ, **(environ or {})},
        )

    async def _join(self, numbers: range) -> Machines:
        arguments = [f"--endpoint={self._server.url}", f"--first={numbers.start}", f"--count={len(numbers)}"]
        return Machines(
            await self._spawn("bench.scale_machines", *arguments, f"--ttl={self._size.lease_s}"), numbers
        )

    async def _fleetctl(self, *arguments: str) -> float:
        """Run a command; seconds. SystemExit when it fails."""
        began = time.monotonic()
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            "from fleettui.cli.__main__ import main; main()",
            f"--endpoint={self._server.url}",
            *arguments,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        _, complaint = await process.communicate()
        if process.returncode:
            raise SystemExit(f"fleetctl {arguments[0]}: {complaint.decode().strip()[-300:]}")
        return time.monotonic() - began

    # -- scenes

    async def place(self, raw: float) -> list[Figure]:
        """All units started in one command: how many placements a second."""
        names = self._names("scale", self._size.units)
        before = self._costs()
        crowd_before = await self._crowd_cpu()
        began = time.monotonic()
        command = asyncio.create_task(self._fleetctl("start", "--no-block", *names), name="fleetctl start")
        await self._placed(len(names))
        took = self._observer.last_line - began
        command_s = await command
        await self._all_active(len(names))
        active_s = time.monotonic() - began
        used = {name: value - before[name] for name, value in self._costs().items()}
        crowd = await self._crowd_cpu() - crowd_before
        costs = ", ".join(f"{name} {value:.1f} s" for name, value in used.items())
        return [
            Figure(
                f"{len(names):,} instances started in one command: placements", len(names) / took, "/s",
                min(2000, 0.6 * raw), raw, "raw transactions of one put", more=True,
            ),
            Figure(
                "the same, until all are active on the simulated machines", active_s, "s", None, command_s,
                f"fleetctl start --no-block; CPU: {costs}, all simulated machines {crowd:.1f} s",
            ),
        ]  # fmt: skip

    async def wake(self) -> Figure:
        """One more unit: how many agents hear of it."""
        count = len(self._observer.lines)
        for crowd in self._crowds:
            await crowd.report(forget=True)
        await self._fleetctl("start", "--no-block", *self._names("one", 1))
        await self._placed(count + 1)
        await self._all_active(count + 1)
        woken = sum(each["woken"] for each in await self._reports())
        return Figure("agents woken by one placement", woken, "", 1, self._size.machines, "machines")

    async def lose(self) -> list[Figure]:
        """The first crowd is killed with as many units on it as were started: how long a unit waits at most.

        It waits from the end of its own machine's lease until another machine's schedule has it.
        """
        size, lost = self._size, self._crowds[0]
        others = {machine for crowd in self._crowds[1:] for machine in crowd.ids}
        await self._cordon(others, Availability.CORDONED)
        names = self._names("loss", size.units)
        await self._fleetctl("start", "--no-block", *names)
        total = 2 * size.units + 1
        await self._placed(total)
        await self._all_active(total)
        await self._cordon(others, Availability.READY)
        homes = {unit: machine for machine, unit in self._observer.lines if machine in lost.ids}
        self._observer.ended.clear()
        await lost.kill()
        killed = time.monotonic()
        await self._observer.until(
            lambda: not self._observer.machines & lost.ids, size.patience_s, "the leases ended"
        )
        await self._observer.until(
            lambda: (
                not any(machine in lost.ids for machine, _ in self._observer.lines)
                and len(self._observer.lines) == total
            ),
            size.patience_s,
            "every unit was placed again",
        )
        ended = self._observer.ended
        waits = [at - ended[homes[unit]] for (_, unit), at in self._observer.lines.items() if unit in homes]
        first, last = min(ended.values()), max(ended.values())
        title = f"{len(lost.ids)} of {size.machines} machines lost with {len(homes):,} units: placed again"
        beside = f"from the first lease's end to the last, which began {first - killed:.1f} s after the kill"
        return [Figure(title, max(waits), "s", 6, last - first, beside)]

    async def rest(self, raw: float) -> list[Figure]:
        """Everybody is back and nothing changes: what etcd is asked a second."""
        size = self._size
        self._crowds[0] = await self._join(self._crowds[0].numbers)
        await self._observer.until(lambda: len(self._observer.machines) == size.machines, 60, "all had joined")
        await asyncio.sleep(min(5.0, size.rest_s))
        before, costs, crowd = self._server.requests(), self._costs(), await self._crowd_cpu()
        began = time.monotonic()
        await asyncio.sleep(size.rest_s)
        took = time.monotonic() - began
        asked = {kind: (count - before[kind]) / took for kind, count in self._server.requests().items()}
        used = {name: 100 * (value - costs[name]) / took for name, value in self._costs().items()}
        crowd = 100 * (await self._crowd_cpu() - crowd) / took
        leases, writes = asked.get("LeaseKeepAlive", 0.0), asked.get("Txn", 0.0) + asked.get("Put", 0.0)
        units = len(self._observer.lines)
        title = f"etcd at rest, {size.machines:,} machines, {units:,} units: writes and lease renewals"
        beside = (
            f"raw transactions; {leases:.0f} renewals, {writes:.1f} transactions, {asked.get('Range', 0):.0f} reads"
        )
        percents = ", ".join(f"{name} {value:.1f} %" for name, value in used.items())
        memory = resident_mib(self._scheduler.pid)
        return [
            Figure(title, leases + writes, "/s", 400, raw, beside),
            Figure("the same: CPU of the scheduler", used["scheduler"], "%", None, None,
                   f"of a core; {percents}, all simulated machines {crowd:.1f} %"),
            Figure(f"resident memory of the scheduler, {units:,} units", memory, "MiB"),
        ]  # fmt: skip

    async def hang(self) -> Figure:
        """etcd stands still until every lease has ended: how long until all machines are there to stay."""
        size, observer = self._size, self._observer
        still_s = 1.5 * size.lease_s + LATE_S
        self._server.process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(still_s)
        self._server.process.send_signal(signal.SIGCONT)
        began = time.monotonic()
        await observer.until(lambda: bool(observer.ended), size.patience_s, "leases ended")
        lasting = False
        while not lasting:
            await observer.until(
                lambda: len(observer.machines) == size.machines, size.patience_s, "all machines were back"
            )
            back = time.monotonic()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(size.lease_s + LATE_S):
                    while len(observer.machines) == size.machines:
                        observer.news.clear()
                        await observer.news.wait()
            lasting = len(observer.machines) == size.machines
        title = f"etcd stood still for {still_s:g} s, every lease ended: all {size.machines:,} machines back"
        return Figure(title, back - began, "s", None, self._joined_s, "their first joining, programs started")

    # -- hands

    def _names(self, stem: str, count: int) -> list[str]:
        template = self._directory / f"{stem}@.service"
        template.write_text(TEXT)
        return [str(template.with_name(f"{stem}@{number}.service")) for number in range(count)]

    async def _cordon(self, machines: Iterable[str], availability: Availability) -> None:
        ops = [Op.put(KEYS.override(each), encode(Override(each, availability))) for each in sorted(machines)]
        for start in range(0, len(ops), BATCH):
            await self._etcd.txn([], ops[start : start + BATCH])

    async def _placed(self, count: int) -> None:
        def placed() -> bool:
            return len(self._observer.lines) >= count

        await self._observer.until(placed, self._size.patience_s, f"{count} units were placed")

    async def _all_active(self, count: int) -> None:
        deadline = time.monotonic() + self._size.patience_s
        while (found := sum(each["active"] for each in await self._reports())) < count:
            if time.monotonic() > deadline:
                raise SystemExit(f"only {found:g} of {count} units became active")
            await asyncio.sleep(0.1)

    async def _reports(self) -> Sequence[dict[str, float]]:
        return [await crowd.report() for crowd in self._crowds]

    async def _crowd_cpu(self) -> float:
        return sum(each["cpu_s"] for each in await self._reports())

    def _costs(self) -> dict[str, float]:
        return {"scheduler": process_cpu_s(self._scheduler.pid), "etcd": self._server.cpu_s()}


async def measure(size: Size, tell: Callable[[str], None]) -> list[Figure]:
    """All scenes, in order."""
    with BenchEtcd() as server:
        async with server.client() as etcd:
            tell("raw transactions")
            raw = await raw_transactions(etcd, size.raw_s)
            observer = Observer()
            watching = asyncio.create_task(observer.follow(etcd), name="observe")
            try:
                return await _scenes(Fleet(server, etcd, observer, size), raw, tell)
            finally:
                watching.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await watching


async def _scenes(fleet: Fleet, raw: float, tell: Callable[[str], None]) -> list[Figure]:
    tell("machines join")
    figures: list[Figure] = []
    async with fleet.running():
        tell("placing")
        figures += await fleet.place(raw)
        figures.append(await fleet.wake())
        tell("losing machines")
        figures += await fleet.lose()
        tell("at rest")
        figures += await fleet.rest(raw)
        tell("losing every lease")
        figures.append(await fleet.hang())
    return figures
