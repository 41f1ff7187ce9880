"""What is wrong with the machines themselves, as SSH found them. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from fleettui.doctor.facts import Examination
from fleettui.doctor.finding import Finding, broken, ok, warning

SKEW_S = 2.0
FREE = (0.05, 100 << 20)  # less than this part and less than so many bytes


def hosts(facts: Examination) -> Iterator[Finding]:
    """Whether each machine can be reached, and its clock, disks and agent are as they should be."""
    for host in facts.hosts:
        if host.problem:
            text = f"{host.hostname} cannot be reached by SSH: {host.problem}"
            yield warning("host", text, f"fleetctl ssh {host.hostname}")
            continue
        fine = True
        if abs(host.clock_ahead_s) > SKEW_S:
            how = "ahead of" if host.clock_ahead_s > 0 else "behind"
            text = f"the clock of {host.hostname} is {abs(host.clock_ahead_s):.0f} s {how} this host's"
            yield warning("host", text, "set the wrong one of the two: timedatectl set-ntp true")
            fine = False
        if host.agent != "active":
            text = f"fleet-agentd on {host.hostname} is {host.agent or 'unknown to systemd'}"
            yield broken("host", text, f"fleetctl ssh {host.hostname} systemctl status fleet-agentd")
            fine = False
        for place, (free, size) in sorted(host.disks.items()):
            if free < FREE[0] * size or free < min(FREE[1], size // 2):
                text = f"{place} on {host.hostname} has {free >> 20} MiB free of {size >> 20} MiB"
                yield warning("host", text, "make room there: an agent begins no start that it cannot remember")
                fine = False
        if fine:
            yield ok("host", f"{host.hostname}: reached, agent active, clock and disks fine")
