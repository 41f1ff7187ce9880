"""Whom we mean to reach: a machine or a jump host, as a value. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from registry.errors import UserError
from registry.model import Machine

_SPEC = re.compile(
    r"(?:(?P<user>[^@\s]+)@)?(?:\[(?P<v6>[0-9A-Fa-f:.%\w]+)\]|(?P<host>[^\s:@\[\]]+))(?::(?P<port>\d+))?"
)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A host that speaks SSH.

    `name` is for people and for `Host` lines of the ssh configuration; `address` is where to connect unless that
    configuration says `Hostname`. `port` was asked for (0: not); `registered_port` is what the machine says of
    itself. `host_keys` are the registry's, "ssh-ed25519 AAAA…".
    """

    name: str
    address: str
    port: int = 0
    registered_port: int = 22
    user: str = ""
    host_keys: tuple[str, ...] = ()

    @property
    def shown(self) -> str:
        """The name, with the address where that says more."""
        return self.name if self.name == self.address else f"{self.name} ({self.address})"


def of_machine(machine: Machine, port: int = 0) -> Endpoint:
    """The endpoint of a machine; `port` of the configuration wins over the registered one."""
    name = machine.hostname or machine.id[:8]
    return Endpoint(name, machine.address, port, machine.ssh_port or 22, "", machine.host_keys)


def of_jump(spec: str) -> Endpoint:
    """One jump host from [USER@]HOST[:PORT]; IPv6 addresses stand in brackets. Raises UserError."""
    match = _SPEC.fullmatch(spec.strip())
    port = int(match["port"] or 0) if match else 0
    if not match or port > 65535:
        raise UserError(f"jump host {spec!r} is not [USER@]HOST[:PORT]: write it like core@bastion:22")
    host = match["v6"] or match["host"]
    return Endpoint(host, host, port, 22, match["user"] or "")


def of_jumps(specs: str) -> tuple[Endpoint, ...]:
    """A chain of jump hosts, outermost first, from a comma-separated list. Raises UserError."""
    return tuple(of_jump(spec) for spec in specs.split(",") if spec.strip())
