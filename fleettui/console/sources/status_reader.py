"""Asks a machine for a unit's status whenever that may have changed: one question at a time, the newest counts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from typing import Any, Protocol

from fleettui.console.sources.hosts import Hosts
from registry.errors import FleetError
from registry.model import Machine

SETTLE_S = 0.15  # a unit that starts changes its state several times at once
PAUSE_S = 1.0  # between questions about a unit that never settles


@dataclass(frozen=True, slots=True)
class Asked:
    """What came of asking one machine: its newest answer and when, and what stands against a newer one."""

    machine: str = ""
    text: str | None = None
    at: float = 0.0
    asking: bool = False
    error: str = ""

    def begun(self, machine: str) -> Asked:
        """The machine is being asked; an older answer of the same machine stays until then."""
        return replace(self, asking=True) if machine == self.machine else Asked(machine, asking=True)

    def answered(self, text: str, at: float) -> Asked:
        """It answered."""
        return Asked(self.machine, text, at)

    def refused(self, error: str) -> Asked:
        """It did not."""
        return replace(self, asking=False, error=error)


class RunningQuery(Protocol):
    """A running question."""

    def cancel(self) -> None:
        """End it."""


Spawn = Callable[[Coroutine[Any, Any, None]], RunningQuery]


class StatusReader:
    """Owns what is known of one unit on one machine. `changed` is called when that differs."""

    def __init__(self, hosts: Hosts, clock: Callable[[], float], spawn: Spawn, changed: Callable[[], None]) -> None:
        self.asked = Asked()
        self._hosts, self._clock, self._spawn, self._changed = hosts, clock, spawn, changed
        self._about: tuple[str, str, str] | None = None  # machine, its address, unit
        self._mark: object = None
        self._due = False
        self._task: RunningQuery | None = None

    def want(self, machine: Machine, unit: str, mark: object, *, anew: bool = False) -> None:
        """Know the unit's status as of `mark` (its state in the registry); `anew` asks in any case."""
        about = (machine.id, machine.address, unit)
        if about != self._about:
            self.stop()
            self.asked = Asked()
        elif mark == self._mark and not anew:
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
                self.asked = self.asked.refused(str(error))
            else:
                self.asked = self.asked.answered(text, self._clock())
            self._changed()
            if self._due:
                await asyncio.sleep(PAUSE_S)
        self._task = None
