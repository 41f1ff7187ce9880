"""The machines over SSH, for the console."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

from fleettui.console.operations.verbs import NO_SHELL
from fleettui.console.sources.hosts import Session
from fleettui.remote import Remote, RemoteError
from registry.errors import UserError
from registry.model import Machine

UNKNOWN_UNIT = 4  # systemctl's exit status


class LiveHosts:
    """Asks through one pool of connections."""

    def __init__(self, remote: Remote, *, read_only: bool = False) -> None:
        self._remote, self._read_only = remote, read_only

    async def status(self, machine: Machine, unit: str) -> str:
        """What systemctl prints; its complaint where it prints nothing else."""
        done = await self._remote.unit_status(machine, unit, colour=True)
        text = done.stdout.decode("utf-8", "replace")
        complaint = done.stderr.decode("utf-8", "replace").strip()
        if not text.strip() and done.status != UNKNOWN_UNIT:
            why = complaint or f"systemctl ended with {done.status}"
            raise RemoteError(machine.hostname, why, "try it there by hand")
        return text + (f"\n{complaint}\n" if complaint else "")

    def shell(self, machine: Machine) -> AbstractAsyncContextManager[Session]:
        """A login shell. UserError where nothing may be changed."""
        if self._read_only:
            raise UserError(NO_SHELL)
        return self._remote.session(machine)
