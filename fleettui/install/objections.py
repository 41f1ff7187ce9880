"""Why a host cannot be a machine of this fleet, with what to do about each. Pure.

Everything that can be known beforehand is told before anything is done, for all hosts at once.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from fleettui.install import etcd_program
from fleettui.install.archive import ARCHITECTURES
from fleettui.install.facts import ETC, HostFacts

LEAST_SYSTEMD = 252  # Debian 12's
CLOCK_S = 10
ROOM_KB = {"/opt": 250_000, "/var/lib": 100_000, "/etc": 1_000}
MEMBER_ROOM_KB = 1_000_000
PORTS = {2379: "clients", 2380: "the other members"}


@dataclass(frozen=True, slots=True)
class HostObjection:
    """One reason against one host."""

    host: str
    what: str
    remedy: str


def objections(
    hosts: Sequence[HostFacts],
    *,
    members: Sequence[str],
    authority: bytes,
    machines: Mapping[str, str],
    etcd_architecture: str,
) -> list[HostObjection]:
    """All reasons against these hosts.

    `members` are the hosts that hold the registry, `authority` is what the fleet trusts (b"" for a new fleet),
    `machines` the host name of each registered machine by its id.
    """
    ids, names = Counter(each.machine for each in hosts), Counter(each.hostname for each in hosts)
    found = []
    for host in hosts:
        reasons = [
            *_system(host),
            *_room(host, member=host.name in members),
            *_taken(host, authority, member=host.name in members),
            *_doubled(host, ids, names, machines),
        ]
        if host.name in members and etcd_architecture and host.architecture != etcd_architecture:
            reasons.append(
                (f"it is {host.architecture} and --etcd is for {etcd_architecture}", etcd_program.ADVICE)
            )
        found += [HostObjection(host.name, *reason) for reason in reasons]
    return found


def _system(host: HostFacts) -> Iterator[tuple[str, str]]:
    if not host.root:
        yield "its commands do not run as root", "log in as root, or let sudo work without a password (NOPASSWD)"
    if host.init != "systemd" or not host.systemd:
        yield f"its process 1 is {host.init or 'unknown'}, not systemd", "use a host that systemd has booted"
    elif host.systemd < LEAST_SYSTEMD:
        yield f"its systemd is {host.systemd}, and {LEAST_SYSTEMD} is needed", "upgrade the host, to Debian 12 say"
    if host.architecture not in ARCHITECTURES:
        yield f"its architecture is {host.architecture or 'unknown'}", f"use one of {', '.join(ARCHITECTURES)}"
    elif host.build and host.build.partition("-")[0] != host.architecture:
        built = f"its kernel is {host.architecture}, and its Python is built for {host.build}"
        yield built, "use a system that is of its kernel's architecture altogether"
    if host.libc == "musl":
        yield "its C library is musl", "use a distribution with glibc"
    if not host.python:
        has = f"its python3 is {host.python3}" if host.python3 else "it has no Python"
        yield f"{has}, and 3.11 or newer is needed", "apt-get install python3 there, on Debian 12 or Ubuntu 24.04"
    if host.clock_off_s > CLOCK_S:
        yield f"its clock is off by {host.clock_off_s:.0f} s", "let systemd-timesyncd or chrony set it"
    if not host.machine:
        yield "it has no machine id", "run systemd-machine-id-setup there"


def _room(host: HostFacts, *, member: bool) -> Iterator[tuple[str, str]]:
    for place, least in ROOM_KB.items():
        needed = MEMBER_ROOM_KB if member and place == "/var/lib" else least
        room = host.room_kb.get(place, 0)
        if room < needed:
            yield f"{place} has {room // 1024} MiB left, and {needed // 1024} are needed", "make room there"


def _taken(host: HostFacts, authority: bytes, *, member: bool) -> Iterator[tuple[str, str]]:
    held = host.pems.get(f"{ETC}/ca.pem", b"")
    if held and not of_fleet(host, authority):
        yield "it belongs to another fleet", "let it leave that one (fleettui leave --purge), or use that authority"
    elif not held and host.unit("fleet-agentd.service").active == "active":
        yield (
            "an agent that was installed by hand runs there",
            "stop it and move /etc/fleet away: systemctl disable --now fleet-agentd",
        )
    if member and host.unit("fleet-etcd.service").active in ("", "inactive", "failed"):
        by = " (etcd.service)" if host.unit("etcd.service").active == "active" else ""
        for port in sorted(PORTS.keys() & host.listens):
            remedy = "stop it: systemctl disable --now etcd" if by else "see who it is with ss -ltnp, and stop it"
            yield f"port {port}, for {PORTS[port]} of the registry, is taken{by}", remedy


def of_fleet(host: HostFacts, authority: bytes) -> bool:
    """Whether a host trusts an authority of this fleet: while one is replaced there are two."""
    return bool(_certificates(host.pems.get(f"{ETC}/ca.pem", b"")) & _certificates(authority))


def _certificates(pem: bytes) -> set[bytes]:
    return set(re.findall(rb"-----BEGIN CERTIFICATE-----[^-]+", pem))


def _doubled(
    host: HostFacts, ids: Mapping[str, int], names: Mapping[str, int], machines: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    fresh = "make it a new one: rm /etc/machine-id && systemd-machine-id-setup, then reboot"
    other = machines.get(host.machine, host.hostname)
    if host.machine and (ids[host.machine] > 1 or other != host.hostname):
        whose = f"machine {other}" if other != host.hostname else "another of these hosts"
        yield f"its machine id is that of {whose}: a cloned disk", fresh
    twins = [machine for machine, name in machines.items() if name == host.hostname and machine != host.machine]
    if host.hostname and (names[host.hostname] > 1 or twins):
        yield f"its host name {host.hostname} is that of another machine", "set one: hostnamectl set-hostname NAME"
