"""What can be decided about one unit, as frozen values with their reasons, and what each means for the registry.

Owns the vocabulary between deciding and committing. Each value is one intent: it is carried out whole, in one
transaction, or not at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from registry.keys import Address, Table
from registry.model import Assignment, PastPlacement, Pending


@dataclass(frozen=True, slots=True, order=True)
class MoveSource:
    """A machine that a unit leaves in the moment it is scheduled elsewhere.

    `lost`: the machine is gone, which is checked again when writing. Otherwise the unit never started there: its
    agent has not claimed it, which is checked again as well.
    """

    machine: str
    lost: bool


@dataclass(frozen=True, slots=True)
class Assign:
    """Schedule a unit on a machine; at the same time it leaves `sources`, if there are any: then it moves."""

    line: Assignment
    sources: tuple[MoveSource, ...] = ()
    reason: str = ""

    @property
    def unit(self) -> str:
        """The unit that this is about."""
        return self.line.unit

    @property
    def machine(self) -> str:
        """Where it goes."""
        return self.line.machine


@dataclass(frozen=True, slots=True)
class UpdateLine:
    """Give the machine that runs a unit its new file, generation, attempt or target."""

    line: Assignment

    @property
    def unit(self) -> str:
        """The unit that this is about."""
        return self.line.unit

    @property
    def machine(self) -> str:
        """Whose schedule says so."""
        return self.line.machine


@dataclass(frozen=True, slots=True)
class Withdraw:
    """Take a unit off a machine; where it goes next is decided once it has stopped there.

    `displaced_by`: the unit that takes its place, in the same transaction. `past`: what is to be remembered of it.
    """

    unit: str
    machine: str
    reason: str
    displaced_by: str = ""
    past: PastPlacement | None = None


@dataclass(frozen=True, slots=True)
class Wait:
    """Say why a unit is not where it should be. `news`: worth an entry in the audit trail."""

    pending: Pending
    news: bool = False

    @property
    def unit(self) -> str:
        """The unit that this is about."""
        return self.pending.unit


@dataclass(frozen=True, slots=True)
class Clear:
    """The unit waits no longer."""

    unit: str


Decision = Assign | UpdateLine | Withdraw | Wait | Clear


def records_after(decision: Decision) -> Iterator[tuple[Address, Assignment | Pending | PastPlacement | None]]:
    """Yield the records that a decision changes, as they are once it is carried out; None: deleted."""
    match decision:
        case Assign(line, sources):
            for source in sources:
                yield Address(Table.SCHEDULE, source.machine, line.unit), None
            yield Address(Table.SCHEDULE, line.machine, line.unit), line
        case UpdateLine(line):
            yield Address(Table.SCHEDULE, line.machine, line.unit), line
        case Withdraw(unit, machine, past=past):
            yield Address(Table.SCHEDULE, machine, unit), None
            if past is not None:
                yield Address(Table.PLACEMENTS, unit), past
        case Wait(pending):
            yield Address(Table.PENDING, pending.unit), pending
        case Clear(unit):
            yield Address(Table.PENDING, unit), None


def summary_of(decisions: Sequence[Decision]) -> str:
    """Return decisions as one line for a log."""
    if len(decisions) > 5:
        kinds = sorted({type(each).__name__.lower() for each in decisions})
        return f"{len(decisions)} decisions ({', '.join(kinds)})"
    places = [getattr(each, "machine", "") for each in decisions]
    return "; ".join(
        f"{type(each).__name__.lower()} {each.unit}" + (f" on {place}" if place else "")
        for each, place in zip(decisions, places, strict=True)
    )
