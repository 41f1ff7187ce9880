"""What the pages of one thing show besides the registry's records: read in the background, never waited for.

How the use of a machine or a unit went, by the record; and the last lines of what failed in a rollout.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from fleettui.console.journal import Journals
from fleettui.console.sources.hosts import Spawn
from fleettui.record.reader import history
from registry.errors import CorruptRecord, FleetError
from registry.keys import Address, Table
from registry.model import Content, Crash, Record, Rollout, StepFailure, UnitState, UnitText, Usage
from registry.records import decode

WINDOW_S = 6 * 3600.0
AGAIN_S = 60.0
MOST_FAILURES = 20  # of a rollout, whose lines are asked for
Points = tuple[tuple[float, float], ...]  # seconds since 1970, and the value from then on


@dataclass(frozen=True, slots=True)
class Trend:
    """How one figure went."""

    name: str  # memory, cpu, load, restarts
    points: Points


class Trends:
    """Knows the trends of one machine, or of one unit on a machine. `changed` is called when they were read.

    `directory` None: there is no record, and nothing is known.
    """

    def __init__(
        self, directory: Path | None, clock: Callable[[], float], spawn: Spawn, changed: Callable[[], None]
    ) -> None:
        self._directory, self._clock, self._spawn, self._changed = directory, clock, spawn, changed
        self._about: tuple[str, str, str] = ("", "", "")
        self._read_at = 0.0
        self._found: tuple[Trend, ...] = ()

    def of(self, cluster: str, machine: str, unit: str = "") -> tuple[Trend, ...]:
        """What is known by now; what is not, or is older than a minute, is read."""
        about, now = (cluster, machine, unit), self._clock()
        if about != self._about:
            self._found, self._read_at = (), 0.0
        if self._directory is not None and machine and abs(now - self._read_at) >= AGAIN_S:
            self._about, self._read_at = about, now
            self._spawn(self._read(self._directory, about, now))
        return self._found if about == self._about else ()

    async def _read(self, directory: Path, about: tuple[str, str, str], now: float) -> None:
        found = await asyncio.to_thread(read_trends, directory, *about, now)
        if about == self._about:
            self._found = found
            self._changed()


def read_trends(directory: Path, cluster: str, machine: str, unit: str, now: float) -> tuple[Trend, ...]:
    """The trends until `now`: of a machine its load and memory, of a unit what it used and its restarts. Blocks."""

    def values(table: Table, *parts: str) -> Iterable[tuple[float, Record | UnitText | Content]]:
        address = Address(table, *parts)
        key = "/".join(part for part in address if part)
        for at, value in history(directory, key, now - WINDOW_S, now, cluster=cluster):
            with suppress(CorruptRecord):
                yield at, decode(address, value)

    used = [(at, each) for at, each in values(Table.USAGE, machine) if isinstance(each, Usage)]
    if not unit:
        memory = tuple((at, float(each.memory_bytes - each.available_bytes)) for at, each in used)
        return Trend("load", tuple((at, each.load[0]) for at, each in used)), Trend("memory", memory)
    figures = [(at, figure) for at, each in used for figure in each.units if figure[0] == unit]
    states = [(at, each) for at, each in values(Table.STATES, machine, unit) if isinstance(each, UnitState)]
    return (
        Trend("memory", tuple((at, float(figure[1])) for at, figure in figures if figure[1] is not None)),
        Trend("cpu", tuple((at, figure[2]) for at, figure in figures if figure[2] is not None)),
        Trend("restarts", tuple((at, float(each.restarts)) for at, each in states)),
    )


class LastLines:
    """The last lines that agents kept of what failed in one rollout, asked for once a failure.

    `changed` is called when they were read.
    """

    def __init__(self, journals: Journals, spawn: Spawn, changed: Callable[[], None]) -> None:
        self._journals, self._spawn, self._changed = journals, spawn, changed
        self._asked: tuple[StepFailure, ...] = ()
        self._found: Mapping[str, Crash] = {}

    def of(self, rollout: Rollout) -> Mapping[str, Crash]:
        """What is known by now, by unit; what is not, is asked for."""
        failures = rollout.failed[:MOST_FAILURES]
        if failures != self._asked:
            self._asked = failures
            if failures:
                self._spawn(self._read(failures))
            else:
                self._found = {}
        return self._found

    async def _read(self, failures: tuple[StepFailure, ...]) -> None:
        machines = {each.unit: each.machine for each in failures}
        try:
            kept = await self._journals.kept(machines.keys())
        except FleetError:
            return  # the reason is told in any case, and the journal says why it cannot be read
        if failures == self._asked:
            self._found = {each.unit: each for each in kept if machines.get(each.unit) in ("", each.machine)}
            self._changed()
