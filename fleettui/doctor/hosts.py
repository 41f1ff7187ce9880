"""What is wrong with the machines themselves, as SSH found them. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from fleettui.doctor.facts import Examination
from fleettui.doctor.finding import Finding, broken, ok, warning

SKEW_S = 2.0
FREE = (0.05, 100 << 20)  # less than this part and less than so many bytes
LOST = (  # what a full file system costs, by where it is mounted; the first that fits
    ("/var/log", "what units and programs say is kept no longer: journalctl --vacuum-size=100M"),
    ("/run/log", "what units and programs say is kept no longer: journalctl --vacuum-size=100M"),
    ("/run", "an agent begins no start that it cannot remember"),
    ("/opt", "no other version can be unpacked"),
    ("/var/lib/private/fleet-etcd", "this member of the registry stops when it cannot write"),
    ("/var/lib/private/fleet-scheduler", "a scheduler does not remember how far it has acted"),
    ("", "units, the journal and a member of the registry stop when they cannot write"),
)


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
                lost = next(told for mounted, told in LOST if f"{place}/".startswith(f"{mounted}/"))
                text = f"{place} on {host.hostname} has {free >> 20} MiB free of {size >> 20} MiB"
                yield warning("host", text, f"make room there: {lost}")
                fine = False
        if fine:
            yield ok("host", f"{host.hostname}: reached, agent active, clock and disks fine")
