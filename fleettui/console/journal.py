"""The journal as the pane shows it: which sources are asked for, and entries as lines. Pure.

Entries are untrusted: what a terminal would act on is escaped here, once.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Protocol

from fleettui.console.cells import SOURCE_TONES, Cell, Line, Tone
from fleettui.console.phrases import clock
from fleettui.escape import escape
from registry.mirror import Snapshot
from registry.model import Machine
from registry.unitname import TYPES

if TYPE_CHECKING:  # at run time the SSH library waits until somebody reads a journal
    from fleettui.remote.journal_entry import JournalEntry

WARNING = 4
ERROR = 3
MAX_SOURCES = 24  # units followed at once: more cannot be read anyway


@dataclass(frozen=True, slots=True)
class Wanted:
    """One unit's journal on one machine."""

    machine: Machine
    unit: str


@dataclass(frozen=True, slots=True)
class Remark:
    """What the reader says about the stream itself: a connection lost, or found again."""

    text: str
    good: bool = False


class Journals(Protocol):
    """What follows journals. Ends only with an error (a FleetError)."""

    def follow(self, wanted: Sequence[Wanted], lines: int) -> AsyncGenerator[Sequence[JournalEntry | Remark], None]:
        """The newest lines of all sources together, then those that come, by time; resumes without a gap."""


def wanted_journals(snapshot: Snapshot, units: Iterable[str], machine: str = "") -> tuple[Wanted, ...]:
    """The sources for these units: wherever they are scheduled or still held; `machine` narrows it to one."""
    machines = [snapshot.machines[each] for each in sorted(snapshot.machines) if not machine or each == machine]
    found = (
        Wanted(each, unit)
        for unit in sorted(set(units))
        for each in machines
        if (each.id, unit) in snapshot.schedule or (each.id, unit) in snapshot.states
    )
    return tuple(islice(found, MAX_SOURCES))


class Scribe:
    """Turns entries into lines; knows which source has which colour and what there is to tell sources apart by."""

    def __init__(self, wanted: Sequence[Wanted]) -> None:
        self._hosts = {each.machine.id: escape(each.machine.hostname) for each in wanted}
        units = list(dict.fromkeys(each.unit for each in wanted))
        self._show_host = len(self._hosts) > 1
        self._show_unit = len(units) > 1
        keys = [(each.machine.id, each.unit) for each in wanted]
        self._tones = {key: SOURCE_TONES[number % len(SOURCE_TONES)] for number, key in enumerate(keys)}
        self._host_width = max(map(len, self._hosts.values()), default=0)
        self._unit_width = min(28, max((len(stem(unit)) for unit in units), default=0))

    def lines(self, entry: JournalEntry) -> list[Line]:
        """The entry's message, a line each; only the first says when and who."""
        tone = self._tones.get((entry.machine, entry.unit), Tone.ONE)
        head: list[Cell] = [Cell(clock(entry.at / 1_000_000) + " ", Tone.QUIET)]
        if self._show_host:
            head.append(Cell(self._hosts.get(entry.machine, "?").ljust(self._host_width) + " ", tone))
        if self._show_unit:
            name = escape(stem(entry.unit))[: self._unit_width]
            head.append(Cell(name.ljust(self._unit_width) + " ", tone))
        said, *more = escape(entry.message, lines=True).split("\n")
        body = _tone(entry.priority)
        indent = Cell(" " * sum(len(cell.text) for cell in head))
        whose = self._whose(entry)
        return [(*head, *whose, Cell(said, body)), *((indent, Cell(each, body)) for each in more)]

    def _whose(self, entry: JournalEntry) -> tuple[Cell, ...]:
        """Who speaks, where it is not the unit itself: systemd tells of starts and stops in the same journal."""
        return (Cell("systemd: ", Tone.QUIET),) if entry.identifier == "systemd" else ()


def stem(unit: str) -> str:
    """A unit's name without its type."""
    name, _, kind = unit.rpartition(".")
    return name if kind in TYPES else unit


def _tone(priority: int) -> Tone:
    if priority <= ERROR:
        return Tone.BAD
    if priority == WARNING:
        return Tone.BUSY
    return Tone.QUIET if priority > 6 else Tone.PLAIN


def remark_line(remark: Remark) -> Line:
    """A remark as it stands between the entries."""
    tone = Tone.GOOD if remark.good else Tone.BUSY
    return (Cell("── ", tone), Cell(escape(remark.text), tone))
