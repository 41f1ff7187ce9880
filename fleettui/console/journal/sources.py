"""What a journal is read from and what comes: sources, what is asked of them, and the door to them. Pure."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Protocol, TypeAlias

from fleettui.escape import escape
from fleettui.journal_entry import JournalEntry
from registry.mirror import Pair, Snapshot
from registry.model import Crash, Machine
from registry.units.name import TYPES
from registry.wording import listed

MAX_SOURCES = 24  # units followed at once: more cannot be read anyway
FIRST_LINES = 500


@dataclass(frozen=True, slots=True)
class Wanted:
    """One unit's journal on one machine; `unit` "" is everything on it."""

    machine: Machine
    unit: str

    @property
    def key(self) -> tuple[str, str]:
        """Machine and unit."""
        return self.machine.id, self.unit


@dataclass(frozen=True, slots=True)
class Remark:
    """What the reader says about the stream itself: a connection lost or found again, lines that were dropped."""

    text: str
    good: bool = False
    dropped: int = 0


@dataclass(frozen=True, slots=True)
class LinkNews:
    """How the way to a machine is now: "" is well, anything else is why not. Shown in the title, kept nowhere."""

    hostname: str
    trouble: str = ""


Item: TypeAlias = JournalEntry | Remark
News: TypeAlias = JournalEntry | Remark | LinkNews


@dataclass(frozen=True, slots=True)
class Ask:
    """Which part of the journals: the newest `lines`, since a moment (seconds since the epoch), of one boot.

    `boot` is journalctl's own word: "" all boots, "0" this one, "-1" the one before.
    """

    lines: int = FIRST_LINES
    since: float | None = None
    boot: str = ""


class FollowedJournal(Protocol):
    """A journal being followed."""

    def batches(self) -> AsyncGenerator[Sequence[News], None]:
        """The newest lines of all sources together, then those that come, by time; resumes without a gap."""

    def retarget(self, wanted: Sequence[Wanted]) -> None:
        """Read these from now on, without a gap where a unit moved from one machine to another."""


class Journals(Protocol):
    """What follows journals. Ends only with an error (a FleetError)."""

    def open(self, wanted: Sequence[Wanted], ask: Ask) -> FollowedJournal:
        """Begin to read."""

    async def kept(self, units: Collection[str]) -> Sequence[Crash]:
        """What agents kept of these units' newest failures, oldest first. Raises FleetError."""

    async def fields(self, machine: Machine, cursor: str) -> Mapping[str, str]:
        """Every field of one entry. Raises FleetError."""


def wanted_journals(snapshot: Snapshot, places: Iterable[Pair]) -> tuple[Wanted, ...]:
    """The sources at these places (machine, unit), as far as the unit is scheduled or still held there."""
    found = (
        Wanted(snapshot.machines[machine], unit)
        for machine, unit in places
        if machine in snapshot.machines
        and ((machine, unit) in snapshot.schedule or (machine, unit) in snapshot.states)
    )
    return tuple(islice(found, MAX_SOURCES))


def stem(unit: str) -> str:
    """A unit's name without its type."""
    name, _, kind = unit.rpartition(".")
    return name if kind in TYPES else unit


def hosts_of(wanted: Sequence[Wanted]) -> str:
    """The machines' names: "core-1, core-2, core-3 and 4 more"."""
    hosts = sorted({each.machine.hostname for each in wanted})
    return escape(listed(hosts, 3))
