"""Telling the registry now and then what this machine and its units use.

Owns the key `usage/<this machine>`: one small record under the agent's lease, written at most every EVERY_S and
only when it differs noticeably, since nothing is decided by it. It must never hold anything else up: it reads in a
thread of its own and a write that fails is simply left out.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Protocol

from agentd.cgroup_stats import CgroupStats, MachineStats, UnitStats
from agentd.dependencies import HeldLease
from registry.errors import RegistryError
from registry.etcd import Etcd
from registry.etcd.backoff import jittered
from registry.keys import Keys
from registry.model import UnitUsage, Usage
from registry.records import encode

log = logging.getLogger("fleet.agent")

FIRST_S = 3.0  # from the start to the first look, and from that to the second: a rate needs two
EVERY_S = 30.0
AGAIN_S = 600.0  # written anew after this long even if nothing changed, so that its age says something
STEP_BYTES = 1 << 20
STEP_PERCENT = 5.0
SHARE = 0.1  # of a figure; less is no change


class RunningUnits(Protocol):
    """The units of a machine."""

    machine: str

    def main_pids(self) -> dict[str, int]:
        """The main process of each unit of ours that has one."""


class Reporter:
    """Keeps `usage/` roughly current, while there is a lease."""

    def __init__(self, etcd: Etcd, keys: Keys, units: RunningUnits, lease: HeldLease) -> None:
        self._etcd, self._key, self._machine = etcd, keys.usage(units.machine), units.machine
        self._units, self._lease = units, lease
        self._accounts = CgroupStats()
        self._told: Usage | None = None
        self._told_lease = 0

    async def run(self) -> None:
        """Report for ever."""
        pause_s, before_at = FIRST_S, 0.0
        before: Mapping[str, UnitStats] = {}
        while True:
            await asyncio.sleep(jittered(pause_s, 0.9, 1.1))
            mains = self._units.main_pids()
            machine = await asyncio.to_thread(self._accounts.machine)
            units = await asyncio.to_thread(self._accounts.units, mains)
            now = time.monotonic()
            if machine is not None and before_at:  # a rate needs two looks, and a kernel that tells
                await self._tell(usage_of(self._machine, machine, units, before, now - before_at))
                pause_s = EVERY_S
            before_at, before = now, units

    async def _tell(self, usage: Usage) -> None:
        lease, now = self._lease.id, time.time()
        if not lease:
            return
        told = self._told if lease == self._told_lease else None
        if told is not None and now - told.at < AGAIN_S and not differs(told, usage):
            return
        usage = stamped(usage, now)
        try:
            await self._etcd.put(self._key, encode(usage), lease)
        except RegistryError as error:
            log.debug("cannot tell what is used: %s", error)
            return
        self._told, self._told_lease = usage, lease


def usage_of(
    machine: str,
    account: MachineStats,
    units: Mapping[str, UnitStats],
    before: Mapping[str, UnitStats],
    seconds: float,
) -> Usage:
    """The record after a look, `seconds` after the one `before`; rounded, so that it stays equal while idle."""
    one, five, fifteen = (round(each, 2) for each in account.load)
    used: list[UnitUsage] = []
    for name, now in sorted(units.items()):
        old, rate = before.get(name), None
        if old is not None and old.cpu_us is not None and now.cpu_us is not None and now.cpu_us >= old.cpu_us:
            rate = round((now.cpu_us - old.cpu_us) / (seconds * 1e6), 3)
        used.append((name, None if now.memory_bytes is None else now.memory_bytes >> 12 << 12, rate))
    return Usage(
        machine=machine,
        load=(one, five, fifteen),
        memory_bytes=account.memory_bytes,
        available_bytes=account.available_bytes >> 20 << 20,
        units=tuple(used),
        estimated=any(each.estimated for each in units.values()),
        pressure=tuple(round(each, 1) for each in account.pressure),
        disk_bytes=account.disk_bytes,
        disk_free_bytes=account.disk_free_bytes >> 20 << 20,
    )


def stamped(usage: Usage, at: float) -> Usage:
    """The record as of a moment."""
    return replace(usage, at=round(at, 1))


def differs(old: Usage, new: Usage) -> bool:
    """Whether somebody who looks at the old record would be misled."""
    if (old.memory_bytes, len(old.units)) != (new.memory_bytes, len(new.units)):
        return True
    if (old.disk_bytes, len(old.pressure)) != (new.disk_bytes, len(new.pressure)):
        return True
    if _apart(old.disk_free_bytes, new.disk_free_bytes, max(1 << 30, old.disk_bytes // 100)):
        return True
    if any(_apart(one, other, STEP_PERCENT) for one, other in zip(old.pressure, new.pressure, strict=True)):
        return True
    if _apart(old.load[0], new.load[0], 0.5) or _apart(old.available_bytes, new.available_bytes, 64 * STEP_BYTES):
        return True
    return any(
        one[0] != other[0]
        or (one[1] is None) != (other[1] is None)
        or (one[2] is None) != (other[2] is None)
        or _apart(one[1] or 0, other[1] or 0, STEP_BYTES)
        or _apart(one[2] or 0.0, other[2] or 0.0, 0.02)
        for one, other in zip(old.units, new.units, strict=True)
    )


def _apart(old: float, new: float, least: float) -> bool:
    return abs(new - old) >= max(least, SHARE * abs(old))
