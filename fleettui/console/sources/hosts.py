"""What the console asks of the machines themselves: a unit's status, a shell. Done over SSH, or scripted.

`StatusReader` asks for a unit's status whenever that may have changed: one question at a time, the newest counts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from typing import Any, Protocol

from fleettui.console.operations.verbs import NO_SHELL, READ_ONLY
from fleettui.escape import escape
from fleettui.remote import Completed, Remote, RemoteError
from registry.errors import FleetError, UserError
from registry.model import Machine

Session = Callable[[], Awaitable[int]]


class UnitSays(Protocol):
    """What says something of a unit on a machine. Errors are FleetErrors that say what to do."""

    async def status(self, machine: Machine, unit: str) -> str:
        """What `systemctl status` prints there for the unit, colours and all; also when the unit is not active."""


class Hosts(UnitSays, Protocol):
    """What can be asked of machines."""

    async def look(self, machine: Machine, unit: str) -> str:
        """What else it says of the unit, under headings: processes, times, sockets, files, exposure."""

    async def signal(self, machine: Machine, unit: str, signal: str) -> None:
        """Send a signal to all processes of the unit."""

    async def start(self, machine: Machine, unit: str) -> None:
        """Have its systemd start the unit, without waiting for it."""

    async def run(self, machine: Machine | None, argv: Sequence[str], take: Callable[[bytes], object]) -> int:
        """Run a command there (None: here), without input; `take` gets what it prints. Its exit status.

        Cancelling ends it. Raises OSError for a program that is not here.
        """

    def shell(self, machine: Machine) -> AbstractAsyncContextManager[Session]:
        """A shell there: entering connects; calling the session runs it on our terminal, to its exit status."""


class NoHosts:
    """A console that can reach no machine."""

    async def status(self, machine: Machine, unit: str) -> str:  # noqa: ARG002 - the protocol's
        """Never."""
        raise UserError(f"cannot ask {escape(machine.hostname)}: this console has no SSH")

    async def look(self, machine: Machine, unit: str) -> str:
        """Never."""
        return await self.status(machine, unit)

    async def signal(self, machine: Machine, unit: str, signal: str) -> None:  # noqa: ARG002 - the protocol's
        """Never."""
        await self.status(machine, unit)

    async def start(self, machine: Machine, unit: str) -> None:
        """Never."""
        await self.status(machine, unit)

    async def run(self, machine: Machine | None, argv: Sequence[str], take: Callable[[bytes], object]) -> int:  # noqa: ARG002
        """Never."""
        raise UserError("cannot run a command: this console has no SSH")

    def shell(self, machine: Machine) -> AbstractAsyncContextManager[Session]:
        """Never."""
        raise UserError(f"cannot open a shell on {escape(machine.hostname)}: this console has no SSH")


NO_HOSTS = NoHosts()


UNKNOWN_UNIT = 4  # systemctl's exit status


class LiveHosts:
    """Asks over SSH, through one pool of connections."""

    def __init__(self, remote: Remote, *, read_only: bool = False) -> None:
        self._remote, self._read_only = remote, read_only

    async def status(self, machine: Machine, unit: str) -> str:
        """What systemctl prints, of a timer after its times; its error where it prints nothing else."""
        if unit.endswith(".timer"):
            done, times = await asyncio.gather(
                self._remote.unit_status(machine, unit, colour=True), self._remote.timer_times(machine, unit)
            )
        else:
            done, times = await self._remote.unit_status(machine, unit, colour=True), None
        text = done.stdout.decode("utf-8", "replace")
        complaint = done.stderr.decode("utf-8", "replace").strip()
        if not text.strip() and done.status != UNKNOWN_UNIT:
            why = complaint or f"systemctl ended with {done.status}"
            raise RemoteError(machine.hostname, why, "try it there by hand")
        table = times.stdout.decode("utf-8", "replace").partition("\n\n")[0] if times else ""
        return (f"{table}\n\n" if table else "") + text + (f"\n{complaint}\n" if complaint else "")

    async def look(self, machine: Machine, unit: str) -> str:
        """What the machine's own tools print, and their complaints."""
        parts = []
        for title, done in await self._remote.unit_look(machine, unit):
            text = (done.stdout + done.stderr).decode("utf-8", "replace").strip("\n")
            parts.append(f"\x1b[1m{title}\x1b[0m\n{text}\n")
        return "\n".join(parts)

    async def signal(self, machine: Machine, unit: str, signal: str) -> None:
        """Send it by systemctl kill. UserError where nothing may be changed."""
        if self._read_only:
            raise UserError(f"no signal: {READ_ONLY}")
        self._check(machine, await self._remote.unit_kill(machine, unit, signal))

    async def start(self, machine: Machine, unit: str) -> None:
        """Start it by systemctl. UserError where nothing may be changed."""
        if self._read_only:
            raise UserError(f"nothing is started: {READ_ONLY}")
        self._check(machine, await self._remote.unit_start(machine, unit))

    @staticmethod
    def _check(machine: Machine, done: Completed) -> None:
        if done.status:
            why = done.stderr.decode("utf-8", "replace").strip() or f"systemctl ended with {done.status}"
            raise RemoteError(machine.hostname, why, "try it there by hand")

    async def run(self, machine: Machine | None, argv: Sequence[str], take: Callable[[bytes], object]) -> int:
        """Run it over SSH, or here. UserError where nothing may be changed."""
        if self._read_only:
            raise UserError(f"cannot run {argv[0]}: {READ_ONLY}")
        if machine is None:
            return await self._remote.run_here(argv, take)
        return await self._remote.stream(machine, argv, take)

    def shell(self, machine: Machine) -> AbstractAsyncContextManager[Session]:
        """A login shell. UserError where nothing may be changed."""
        if self._read_only:
            raise UserError(NO_SHELL)
        return self._remote.session(machine)


SETTLE_S = 0.15  # a unit that starts changes its state several times at once
PAUSE_S = 1.0  # between questions about a unit that never settles


@dataclass(frozen=True, slots=True)
class Asked:
    """What one machine answered: its newest answer and when that came, and why there is no newer one."""

    machine: str = ""
    text: str | None = None
    at: float = 0.0
    asking: bool = False
    error: str = ""

    def begun(self, machine: str) -> Asked:
        """The machine is being asked; an older answer of the same machine stays until then."""
        return replace(self, asking=True) if machine == self.machine else Asked(machine, asking=True)

    def answered(self, text: str, at: float) -> Asked:
        """The machine answered."""
        return Asked(self.machine, text, at)

    def failed(self, error: str) -> Asked:
        """The machine could not be asked."""
        return replace(self, asking=False, error=error)


class RunningQuery(Protocol):
    """A running question."""

    def cancel(self) -> None:
        """Cancel it."""


Spawn = Callable[[Coroutine[Any, Any, None]], RunningQuery]


class StatusReader:
    """Knows the status of one unit on one machine. `changed` is called when it differs."""

    def __init__(
        self, hosts: UnitSays, clock: Callable[[], float], spawn: Spawn, changed: Callable[[], None]
    ) -> None:
        self.asked = Asked()
        self._hosts, self._clock, self._spawn, self._changed = hosts, clock, spawn, changed
        self._about: tuple[str, str, str] | None = None  # machine, its address, unit
        self._mark: object = None
        self._due = False
        self._task: RunningQuery | None = None

    def want(self, machine: Machine, unit: str, mark: object, *, force: bool = False) -> None:
        """Keep the unit's status as of `mark` (its state in the registry); `force` asks in any case."""
        about = (machine.id, machine.address, unit)
        if about != self._about:
            self.stop()
            self.asked = Asked()
        elif mark == self._mark and not force:
            return
        self._about, self._mark, self._due = about, mark, True
        if self._task is None:
            self.asked = self.asked.begun(machine.id)
            self._task = self._spawn(self._ask(machine, unit))

    def stop(self) -> None:
        """Ask no more."""
        self._about, self._due = None, False
        if self._task is not None:
            self._task.cancel()
            self._task = None

    async def _ask(self, machine: Machine, unit: str) -> None:
        await asyncio.sleep(SETTLE_S)
        while self._due:
            self._due = False
            self.asked = self.asked.begun(machine.id)
            self._changed()
            try:
                text = await self._hosts.status(machine, unit)
            except FleetError as error:
                self.asked = self.asked.failed(str(error))
            else:
                self.asked = self.asked.answered(text, self._clock())
            self._changed()
            if self._due:
                await asyncio.sleep(PAUSE_S)
        self._task = None
