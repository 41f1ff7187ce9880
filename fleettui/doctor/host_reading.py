"""Reading what can be seen on the machines themselves, over SSH: clock, agent, disks.

A machine that does not answer costs a bounded time, and its answer is then why.
"""

from __future__ import annotations

import asyncio
import time

from fleettui.doctor.facts import HostExamination
from fleettui.remote import Remote
from registry.errors import FleetError
from registry.mirror import Snapshot
from registry.model import Machine

HOST_S = 8.0  # for one machine
HOSTS_AT_ONCE = 16
STATE = "/var/lib /var/lib/fleet-etcd /var/lib/fleet-scheduler"
PLACES = f"/ /run /opt /var /var/log /var/log/journal /run/log/journal {STATE}"
LOOK = f"date +%s.%N; systemctl is-active fleet-agentd.service; df -Pk {PLACES} 2>/dev/null | tail -n +2"


async def examine_hosts(remote: Remote, snapshot: Snapshot) -> tuple[HostExamination, ...]:
    """Examine every machine of a snapshot, by host name."""
    turns = asyncio.Semaphore(HOSTS_AT_ONCE)

    async def look(machine: Machine) -> HostExamination:
        async with turns:
            return await _host(remote, machine)

    async with remote:
        machines = sorted(snapshot.machines.values(), key=lambda each: each.hostname)
        return tuple(await asyncio.gather(*map(look, machines)))


async def _host(remote: Remote, machine: Machine) -> HostExamination:
    began = time.time()
    try:
        async with asyncio.timeout(HOST_S + 1):
            done = await remote.run(machine, ["sh", "-c", LOOK], timeout_s=HOST_S)
    except (FleetError, TimeoutError) as error:
        return HostExamination(machine.id, machine.hostname, str(error) or f"no answer within {HOST_S:g} s")
    lines = done.stdout.decode("utf-8", "replace").splitlines()
    try:
        ahead_s = float(lines[0]) - (began + time.time()) / 2
        agent = "active" if machine.bus == "user" else lines[1]
        rows = [row for line in lines[2:] if len(row := line.split(maxsplit=5)) == 6 and row[5].startswith("/")]
        disks = {row[5]: (int(row[3]) << 10, int(row[1]) << 10) for row in rows}  # free and all bytes
        return HostExamination(machine.id, machine.hostname, "", ahead_s, agent, disks)
    except (IndexError, ValueError):
        return HostExamination(machine.id, machine.hostname, "its answer cannot be understood")
