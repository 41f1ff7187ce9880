"""Following a large registry: how long the first listing takes, what it occupies, and what steady change costs.

    python -m bench.scale_follow --endpoint URL     (the follower alone: a line of JSON for each line it is sent)

Each unit stands as three records (wish, schedule line, state), as in a fleet that runs. The follower is a process
of its own with the registry's `Follower` over all its tables and nothing else; the references are the same listing
and the same watch without folding anything.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import aclosing

from bench.report import Figure
from bench.scale_etcd import BenchEtcd, process_cpu_s, resident_mib
from registry.etcd import MAX_OPS, Etcd, EtcdSettings, Op
from registry.keys import Keys
from registry.model import Assignment, Machine, Sentinel, Target, Unit, UnitState, UnitText
from registry.program import collector
from registry.records import encode
from registry.sync.follow import FOLLOWED, Follower
from registry.sync.listing import read_tables
from registry.units.file import file_hash

KEYS = Keys()
TEXTS = [
    f"[Unit]\nDescription=Service {number}\n[Service]\nExecStart=/bin/sleep infinity\n" for number in range(50)
]
WRITERS = 8
BATCH = 10  # changes in one transaction while change is steady: agents write what happened together
PROGRAM = "bench.scale_follow"


def records(units: int, machines: int) -> Iterator[Op]:
    """A fleet of so many units, all running."""
    yield Op.put(KEYS.cluster, encode(Sentinel("bench")))
    for text in TEXTS:
        yield Op.put(KEYS.file(file_hash(text)), encode(UnitText("", text)))
    for number in range(machines):
        machine = f"{number:032x}"
        yield Op.put(KEYS.machine(machine), encode(Machine(machine, f"node{number}", "10.0.0.1", f"boot{number}")))
    for number in range(units):
        name, machine = f"shop-{number % 50}@{number}.service", f"{number % machines:032x}"
        sha = file_hash(TEXTS[number % 50])
        unit = Unit(name, sha, Target.LAUNCHED, by="root@laptop", at=1.7e9 + number / 7)
        line = Assignment(name, machine, sha, Target.LAUNCHED, 1)
        yield Op.put(KEYS.unit(name), encode(unit))
        yield Op.put(KEYS.schedule(machine, name), encode(line))
        yield Op.put(KEYS.state(machine, name), encode(state(name, machine, sha, number)))


def state(name: str, machine: str, sha: str, number: int) -> UnitState:
    """A running unit's state."""
    return UnitState(
        name, machine, sha, 1, Target.LAUNCHED, "loaded", "active", "running", "success",
        main_pid=1000 + number, since=1.7e9 + number / 3,
    )  # fmt: skip


async def seed(etcd: Etcd, units: int, machines: int) -> None:
    """Fill the registry, several transactions at a time."""
    source = iter(list(records(units, machines)))

    async def write() -> None:
        while batch := [op for _, op in zip(range(MAX_OPS), source, strict=False)]:
            await etcd.txn([], batch)

    await asyncio.gather(*(write() for _ in range(WRITERS)))


async def churn(etcd: Etcd, units: int, machines: int, rate: float, seconds: float) -> float:
    """Change states steadily; the rate that it came to."""
    sha, began, written = file_hash(TEXTS[0]), time.monotonic(), 0
    while (elapsed := time.monotonic() - began) < seconds:
        ops = []
        for number in range(written, written + BATCH):
            name, machine = (
                f"shop-{number % units % 50}@{number % units}.service",
                f"{number % units % machines:032x}",
            )
            ops.append(Op.put(KEYS.state(machine, name), encode(state(name, machine, sha, number + int(elapsed)))))
        await etcd.txn([], ops)
        written += BATCH
        await asyncio.sleep(max(0.0, began + written / rate - time.monotonic()))
    return written / (time.monotonic() - began)


class Child:
    """The follower's process, or the reference's."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def next(self) -> dict[str, float]:
        """Its next line."""
        if self.process.stdout is None:
            raise AssertionError("the process was started with pipes")
        found: dict[str, float] = json.loads(await self.process.stdout.readline())
        return found

    async def end(self) -> None:
        """End it."""
        self.process.kill()
        await self.process.wait()


async def spawn(endpoint: str, *flags: str) -> Child:
    """Start the follower."""
    arguments = ["-m", PROGRAM, f"--endpoint={endpoint}", *flags]
    return Child(await asyncio.create_subprocess_exec(sys.executable, *arguments, stdout=asyncio.subprocess.PIPE))


async def measure(
    units: int, machines: int, seconds: float, rate: float, tell: Callable[[str], None]
) -> list[Figure]:
    """Cold, then steady; each beside the same without folding."""
    with BenchEtcd() as server:
        async with server.client() as etcd:
            tell("filling the registry")
            await seed(etcd, units, machines)
            tell("following it")
            bare = await spawn(server.url, "--bare")
            listed = await bare.next()
            follower = await spawn(server.url)
            cold = await follower.next()
            tell("steady change")
            before = [process_cpu_s(each.process.pid) for each in (follower, bare)]
            began = time.monotonic()
            reached = await churn(etcd, units, machines, rate, seconds)
            await asyncio.sleep(0.5)
            took = time.monotonic() - began
            after = [process_cpu_s(each.process.pid) for each in (follower, bare)]
            used, bare_used = ((b - a) / took * 100 for a, b in zip(before, after, strict=True))
            for child in (follower, bare):
                await child.end()
    keys = f"{cold['records']:,.0f} records"
    return [
        Figure(f"registry follow, {units:,} units, cold", cold["wall_s"], "s", 6, listed["wall_s"],
               f"the same pages without parsing or keeping them; {keys}, CPU {cold['cpu_s']:.1f} s"),
        Figure("the same: longest pause of its event loop", cold["pause_ms"], "ms"),
        Figure("the same: memory at the peak", cold["peak_mib"], "MiB", 600, listed["peak_mib"], "the bare one"),
        Figure(f"the same: {reached:,.0f} changes a second", used, "%", 50, bare_used,
               "of a core; the watch alone without folding"),
    ]  # fmt: skip


# -- the follower's process


async def follow(endpoint: str) -> None:
    """Follow, tell when the listing is there, and go on."""
    collector.relax()  # as the scheduler does
    began, before = time.monotonic(), time.process_time()
    async with Etcd(EtcdSettings((endpoint,))) as etcd:
        follower = Follower(etcd, KEYS)
        pauses = Pauses()
        tasks = [
            asyncio.create_task(work, name=name) for name, work in (("f", follower.run()), ("p", pauses.run()))
        ]
        while not (await follower.next()).reset:
            pass
        await asyncio.sleep(0.01)  # let a pause that just ended be seen
        snapshot = follower.mirror.snapshot()
        wall_s = time.monotonic() - began
        count = len(snapshot.units) + len(snapshot.schedule) + len(snapshot.states)
        tell_parent(wall_s, before, records=count, pause_ms=1000 * pauses.longest_s)
        tasks.pop().cancel()
        while True:
            await follower.next()


async def list_bare(endpoint: str) -> None:
    """The same pages and the same watch, each thrown away as it comes."""
    began, before = time.monotonic(), time.process_time()
    async with Etcd(EtcdSettings((endpoint,))) as etcd:
        revision = (await etcd.status()).revision
        await read_tables(etcd, KEYS, FOLLOWED, lambda _: None)
        tell_parent(time.monotonic() - began, before)
        async with aclosing(etcd.watch(KEYS.prefix, revision + 1)) as stream:
            async for _ in stream:
                pass


class Pauses:
    """How long the event loop was held up at most."""

    def __init__(self) -> None:
        self.longest_s = 0.0

    async def run(self) -> None:
        """Look every few milliseconds."""
        while True:
            began = time.monotonic()
            await asyncio.sleep(0.005)
            self.longest_s = max(self.longest_s, time.monotonic() - began - 0.005)


def tell_parent(wall_s: float, before_s: float, **more: float) -> None:
    """One line of JSON."""
    peak = resident_mib(os.getpid(), "VmHWM")
    told = {"wall_s": wall_s, "cpu_s": time.process_time() - before_s, "peak_mib": peak, **more}
    sys.stdout.write(json.dumps(told) + "\n")
    sys.stdout.flush()


def main() -> int:
    """Follow, or only list and watch, until killed."""
    parser = argparse.ArgumentParser(prog=f"python -m {PROGRAM}", description=__doc__)
    parser.add_argument("--endpoint", required=True)
    parser.add_argument("--bare", action="store_true", help="fold nothing: the reference")
    options = parser.parse_args()
    asyncio.run(list_bare(options.endpoint) if options.bare else follow(options.endpoint))
    return 0


if __name__ == "__main__":
    sys.exit(main())
