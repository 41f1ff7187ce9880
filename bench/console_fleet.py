"""A fleet in a registry alone, as large as wanted: to fill an etcd with, and to change a thousand times a second.

python -m bench.console_fleet ENDPOINT PREFIX UNITS MACHINES RATE    # writes changes until it is killed
"""

from __future__ import annotations

import asyncio
import itertools
import random
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from registry.etcd import MAX_OPS, Etcd, EtcdSettings, Op
from registry.keys import Keys
from registry.model import (
    Assignment,
    Event,
    Leader,
    Machine,
    Pending,
    Sentinel,
    Target,
    Unit,
    UnitState,
    UnitText,
)
from registry.records import encode
from registry.units.file import file_hash

PLAIN = "[Unit]\nDescription=A service\n[Service]\nExecStart=/usr/bin/service\nRestart=always\n"
GLOBAL = "[Service]\nExecStart=/usr/bin/exporter\n[X-Fleet]\nGlobal=true\n"
MARS = "[Service]\nExecStart=/usr/bin/rover\n[X-Fleet]\nMachineMetadata=region=mars\n"
SHOWN = 24  # so many rows at the top get half of all changes, so that the screen has to be drawn
BATCH = 10  # changes in one transaction: an agent reports together what changed together


@dataclass(frozen=True, slots=True)
class Size:
    """How large a fleet: one unit in fifty has no place, one is global, a third are instances of templates."""

    units: int
    machines: int


def machine_id(number: int) -> str:
    """A machine's id."""
    return f"{number:08x}" + "f1ee7" * 4 + "0000"


def units(size: Size) -> Iterator[tuple[str, str]]:
    """Names and texts; sorted, the plain ones come first."""
    yield "zglobal.service", GLOBAL
    for number in range(size.units - 1):
        if number % 50 == 49:
            yield f"mars-{number:05}.service", MARS
        elif number % 3 == 2:
            yield f"web{number % 40:02}@{number:05}.service", PLAIN
        else:
            yield f"a{number:05}.service", PLAIN


def records(size: Size, keys: Keys, *, ssh_port: int = 9, host_key: str = "") -> Iterator[Op]:
    """Every record of the fleet."""
    now = time.time()
    yield Op.put(keys.cluster, encode(Sentinel("bench")))
    yield Op.put(keys.leader, encode(Leader("bench", "node00001", now)))
    for text in (PLAIN, GLOBAL, MARS):
        yield Op.put(keys.file(file_hash(text)), encode(UnitText(file_hash(text), text)))
    for number in range(size.machines):
        yield _machine(number, keys, now, ssh_port, host_key)
    for number, (name, text) in enumerate(units(size)):
        yield from _unit(number, name, text, size, keys, now)
    for number in range(2000):
        at = now - number
        event = Event(f"{int(at * 1000):013d}-{number:08x}", at, "root@bench", "start", f"a{number:05}.service")
        yield Op.put(keys.event(event.writer, event.id), encode(event))


def _machine(number: int, keys: Keys, now: float, ssh_port: int, host_key: str) -> Op:
    record = Machine(
        machine_id(number), f"node{number:05}", "127.0.0.1", f"boot{number}",
        metadata=(("disk", "ssd" if number % 4 else "hdd"), ("region", f"r{number % 5}")), ssh_port=ssh_port,
        host_keys=(host_key,) if host_key else (), cpus=8, memory_bytes=16 << 30, agent_version="0.1.0",
        systemd_version="252", since=now,
    )  # fmt: skip
    return Op.put(keys.machine(record.id), encode(record))


def _unit(number: int, name: str, text: str, size: Size, keys: Keys, now: float) -> Iterator[Op]:
    unit = Unit(name, file_hash(text), Target.LAUNCHED, by="root@bench", at=now)
    yield Op.put(keys.unit(name), encode(unit))
    if text == MARS:
        pending = Pending(name, unit.hash, 1, "no machine has region=mars", rule="metadata")
        yield Op.put(keys.pending(name), encode(pending))
        return
    for place in range(size.machines) if text == GLOBAL else (number % size.machines,):
        line = Assignment(name, machine_id(place), unit.hash, unit.target, 1)
        yield Op.put(keys.schedule(line.machine, name), encode(line))
        yield state_op(name, place, unit.hash, keys, now - number)


def state_op(name: str, place: int, sha256: str, keys: Keys, since: float, **more: object) -> Op:
    """What a machine says of a unit that runs, unless told otherwise."""
    state = UnitState(
        name, machine_id(place), sha256, 1, Target.LAUNCHED, "loaded", "active", "running", "success",
        main_pid=1000 + place, since=since,
    )  # fmt: skip
    return Op.put(keys.state(state.machine, name), encode(replace(state, **more)))  # type: ignore[arg-type]


async def fill(endpoints: Sequence[str], ops: Iterator[Op]) -> None:
    """Write everything, a few transactions at a time."""
    async with Etcd(EtcdSettings(tuple(endpoints), request_timeout_s=30)) as etcd:
        while batches := [part for _ in range(4) if (part := list(itertools.islice(ops, MAX_OPS)))]:
            await asyncio.gather(*(etcd.txn([], batch) for batch in batches))


async def change(endpoint: str, keys: Keys, size: Size, rate: float) -> None:
    """Let units change their states, `rate` of them a second, until the process ends. Says when it falls behind."""
    lot = random.Random(7)
    placed = [(number, name) for number, (name, text) in enumerate(units(size)) if text == PLAIN]
    top = sorted(placed, key=lambda each: each[1])[:SHOWN]
    sha256 = file_hash(PLAIN)
    async with Etcd(EtcdSettings((endpoint,), request_timeout_s=30)) as etcd:
        began, done = time.monotonic(), 0
        while True:
            chosen = [lot.choice(top if turn % 2 else placed) for turn in range(BATCH)]
            ops = {name: _changed(number, name, sha256, size, keys, lot) for number, name in chosen}
            await etcd.txn([], list(ops.values()))
            done += len(ops)
            await asyncio.sleep(max(0.0, began + done / rate - time.monotonic()))
            if done % 1000 < BATCH:
                print(f"{done / (time.monotonic() - began):.0f}", flush=True)


def _changed(number: int, name: str, sha256: str, size: Size, keys: Keys, lot: random.Random) -> Op:
    active, sub = lot.choice((("active", "running"), ("activating", "start-pre"), ("failed", "failed")))
    return state_op(
        name, number % size.machines, sha256, keys, time.time(), active=active, sub=sub, restarts=lot.randrange(9)
    )  # fmt: skip


if __name__ == "__main__":
    asyncio.run(
        change(sys.argv[1], Keys.under(sys.argv[2]), Size(int(sys.argv[3]), int(sys.argv[4])), float(sys.argv[5]))
    )
