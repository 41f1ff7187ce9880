"""What the console asks of the machines themselves: a unit's status, a shell. Done over SSH, or scripted."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from fleettui.escape import escape
from registry.errors import UserError
from registry.model import Machine

Session = Callable[[], Awaitable[int]]


class Hosts(Protocol):
    """The machines; errors are FleetErrors that say what to do."""

    async def status(self, machine: Machine, unit: str) -> str:
        """What `systemctl status` prints there for the unit, colours and all; also when the unit is not active."""

    def shell(self, machine: Machine) -> AbstractAsyncContextManager[Session]:
        """A shell there: entering connects; calling the session runs it on our terminal, to its exit status."""


class NoHosts:
    """Where no machine can be reached from."""

    async def status(self, machine: Machine, unit: str) -> str:  # noqa: ARG002 - the protocol's
        """Never."""
        raise UserError(f"cannot ask {escape(machine.hostname)}: this console has no SSH")

    def shell(self, machine: Machine) -> AbstractAsyncContextManager[Session]:
        """Never."""
        raise UserError(f"cannot open a shell on {escape(machine.hostname)}: this console has no SSH")


NO_HOSTS = NoHosts()
