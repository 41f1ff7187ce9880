"""Whom we mean to reach: a machine or a jump host, as a value. Pure.

What a machine says of itself is untrusted: its host name, address and port reach the user's ssh configuration
(a ProxyCommand's %h and %p, `Host` patterns), known_hosts and the terminal. Nothing becomes an `Endpoint` that is
not a host name or an address, and a port.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from fleettui.escape import escape
from fleettui.remote.errors import MachineUnreachable
from registry.errors import UserError
from registry.model import Machine

MAX_PORT = 65535
MAX_NAME = 253
_HOST = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_.])?")  # never an option: no hyphen in front
_ZONE = re.compile(r"[A-Za-z0-9_.-]+")
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_SPEC = re.compile(
    r"(?:(?P<user>[^@\s\x00-\x1f\x7f]+)@)?(?:\[(?P<v6>[^\]]+)\]|(?P<host>[^:@\[\]]+))(?::(?P<port>[0-9]{1,5}))?"
)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A host that speaks SSH.

    `name` is for people and for `Host` lines of the ssh configuration; `address` is where to connect unless that
    configuration says `Hostname`. `port` was asked for (0: not); `registered_port` is what the machine says of
    itself. `host_keys` are the registry's, "ssh-ed25519 AAAA…". `machine` is a machine's id, "" for a jump host.
    """

    name: str
    address: str
    port: int = 0
    registered_port: int = 22
    user: str = ""
    host_keys: tuple[str, ...] = ()
    machine: str = ""

    @property
    def shown(self) -> str:
        """The name, with the address where that says more."""
        return self.name if self.name == self.address else f"{self.name} ({self.address})"


def is_host_name(text: str) -> bool:
    """Whether the text is a host name: letters, digits, dots, hyphens and underscores, no hyphen in front."""
    return len(text) <= MAX_NAME and _HOST.fullmatch(text) is not None


def is_address(text: str) -> bool:
    """Whether the text is an IP address; a zone (fe80::1%eth0) has no other characters than a host name."""
    address, percent, zone = text.partition("%")
    try:
        version = ipaddress.ip_address(address).version
    except ValueError:
        return False
    return not percent or (version == 6 and _ZONE.fullmatch(zone) is not None)


def of_machine(machine: Machine, port: int = 0) -> Endpoint:
    """The endpoint of a machine; `port` of the configuration wins over the registered one.

    Raises Unreachable for a record whose host name, address or port is none.
    """
    if wrong := _wrong(machine):
        name = machine.hostname if is_host_name(machine.hostname) else f"machine {machine.id[:8]}"
        raise MachineUnreachable(
            name, f"its record in the registry is wrong: {wrong}", "see: fleetctl list-machines --full"
        )
    name = machine.hostname or machine.id[:8]
    return Endpoint(name, machine.address, port, machine.ssh_port or 22, "", machine.host_keys, machine.id)


def _wrong(machine: Machine) -> str:
    if not _ID.fullmatch(machine.id):
        return f"{_short(machine.id)} is no machine id"
    if machine.hostname and not is_host_name(machine.hostname):
        return f"{_short(machine.hostname)} is no host name"
    if not is_address(machine.address) and not is_host_name(machine.address):
        return f"{_short(machine.address)} is neither an address nor a host name"
    if not 0 <= machine.ssh_port <= MAX_PORT:
        return f"the SSH port is not between 1 and {MAX_PORT}"
    return ""


def _short(text: str) -> str:
    return repr(escape(text if len(text) <= 40 else f"{text[:40]}…"))


def of_jump(spec: str) -> Endpoint:
    """One jump host from [USER@]HOST[:PORT]; IPv6 addresses stand in brackets. Raises UserError."""
    match = _SPEC.fullmatch(spec.strip())
    port = int(match["port"] or 0) if match else 0
    v6, host = (match["v6"], match["host"]) if match else ("", "")
    known = is_address(v6) if v6 else is_host_name(host or "")
    user = (match["user"] or "") if match else ""
    if not match or not known or port > MAX_PORT or escape(user) != user:
        wrong = escape(spec if len(spec) <= 60 else f"{spec[:60]}…")
        raise UserError(f"jump host {wrong!r} is not [USER@]HOST[:PORT]: write it like core@bastion:22")
    return Endpoint(v6 or host, v6 or host, port, 22, user)


def of_jumps(specs: str) -> tuple[Endpoint, ...]:
    """A chain of jump hosts, outermost first, from a comma-separated list. Raises UserError."""
    return tuple(of_jump(spec) for spec in specs.split(",") if spec.strip())
