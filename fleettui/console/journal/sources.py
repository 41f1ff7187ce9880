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

MAX_SOURCES = 2_000  # units read at once,
MAX_MACHINES = 100  # on so many machines: each costs a connection,
NAMES_BYTES = 96_000  # and on one machine as many as fit into one command line
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

    With an end (`until`) nothing is followed.

    `boot` is journalctl's own word: "" all boots, "0" this one, "-1" the one before.
    """

    lines: int = FIRST_LINES
    since: float | None = None
    until: float | None = None
    boot: str = ""


@dataclass(frozen=True, slots=True)
class JournalPlace:
    """A place in a machine's journal: at an entry (`inclusive`: that one too), or at a moment (µs), inclusive."""

    at: int
    cursor: str = ""
    inclusive: bool = False


class PastJournal(Protocol):
    """Journals read in pieces; `troubles` says which machines cannot be read, and why."""

    @property
    def troubles(self) -> Mapping[str, str]:
        """The machines that cannot be read, by host name."""

    async def read(self, count: int) -> Sequence[JournalEntry]:
        """The next entries of all sources together, in the direction of reading; fewer than asked at the end."""


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

    def history(
        self, wanted: Sequence[Wanted], ask: Ask, edges: Mapping[str, JournalPlace], *, backwards: bool
    ) -> PastJournal:
        """What lies before or after these places, by machine id."""

    def search(
        self, wanted: Sequence[Wanted], ask: Ask, text: str, troubles: dict[str, str]
    ) -> AsyncGenerator[Sequence[JournalEntry], None]:
        """Every entry that `finds` might find, each machine's newest first; more may come than it finds.

        `troubles` is filled with machines that were not searched, and why. UserError for a text that is none.
        """

    async def kept(self, units: Collection[str], machines: Collection[str] = ()) -> Sequence[Crash]:
        """What agents kept of the newest failures of these units, and of all units on these machines (by id).

        Oldest first. Raises FleetError.
        """

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
    return tuple(islice(found, MAX_SOURCES + 1))


def readable(wanted: Sequence[Wanted]) -> tuple[tuple[Wanted, ...], str]:
    """Those that can be read at once, in their order, and in words what is not; "" when all are."""
    room: dict[str, int] = {}
    found: list[Wanted] = []
    for each in wanted[:MAX_SOURCES]:
        if each.machine.id not in room and len(room) >= MAX_MACHINES:
            continue
        left = room.get(each.machine.id, NAMES_BYTES) - len(each.unit) - len("'--unit=' ")
        room[each.machine.id] = max(0, left)
        if left >= 0:
            found.append(each)
    more = len(wanted) - len(found)
    if not more:
        return tuple(found), ""
    of = f"more than {MAX_SOURCES:,}" if len(wanted) > MAX_SOURCES else f"{len(wanted):,}"
    return tuple(found), f"only {len(found):,} of {of} are read; mark fewer"


def stem(unit: str) -> str:
    """A unit's name without its type."""
    name, _, kind = unit.rpartition(".")
    return name if kind in TYPES else unit


def hosts_of(wanted: Sequence[Wanted]) -> str:
    """The machines' names: "core-1, core-2, core-3 and 4 more"."""
    hosts = sorted({each.machine.hostname for each in wanted})
    return escape(listed(hosts, 3))
