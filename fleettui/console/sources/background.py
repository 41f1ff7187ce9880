"""What the pages of one thing show besides the registry's records: read in the background, never waited for.

How the use of a machine or a unit went, by the record; the last lines of what failed in a rollout; what versions of
configs hold.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from fleettui.console.journal import Journals
from fleettui.console.sources.hosts import Spawn
from fleettui.record.reader import history
from registry.errors import CorruptRecord, FleetError, UserError
from registry.keys import Address, Table
from registry.model import ConfigVersion, Content, Crash, Record, Rollout, StepFailure, UnitState, UnitText, Usage
from registry.records import decode
from registry.units.pins import NeedKind

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


ReadContent = Callable[[NeedKind, str, ConfigVersion], Awaitable[str]]
KEPT_CONTENTS = 20


async def no_content(kind: NeedKind, name: str, version: ConfigVersion) -> str:  # noqa: ARG001 - as others read
    """Nothing: a record of a fleet has no contents."""
    raise UserError("what configs hold is not in a record")


@dataclass(frozen=True, slots=True)
class StoredContent:
    """What was read of a version: the text as stored, or why there is none."""

    text: str = field(default="", repr=False)
    error: str = ""


class Contents:
    """What versions of configs and secrets hold, as stored. A version never changes, so it is read once.

    `changed` is called when one was read. What could not be read is asked for again when another page was open.
    """

    def __init__(self, read: ReadContent, spawn: Spawn, changed: Callable[[], None]) -> None:
        self._read_one, self._spawn, self._changed = read, spawn, changed
        self._found: dict[str, StoredContent] = {}
        self._asked: set[str] = set()
        self._about: tuple[NeedKind, str] | None = None

    def of(self, kind: NeedKind, name: str, versions: Sequence[ConfigVersion]) -> Mapping[str, StoredContent]:
        """What is known by now, by hash; what is not, is read."""
        if (kind, name) != self._about:
            self._about = (kind, name)
            self._found = {sha: each for sha, each in list(self._found.items())[-KEPT_CONTENTS:] if not each.error}
        for version in versions:
            if version.hash not in self._found and version.hash not in self._asked:
                self._asked.add(version.hash)
                self._spawn(self._read(kind, name, version))
        return dict(self._found)

    async def _read(self, kind: NeedKind, name: str, version: ConfigVersion) -> None:
        try:
            self._found[version.hash] = StoredContent(await self._read_one(kind, name, version))
        except FleetError as error:
            self._found[version.hash] = StoredContent(error=str(error))
        finally:
            self._asked.discard(version.hash)
        self._changed()
