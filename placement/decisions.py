"""What the scheduler can decide about one unit, as frozen values with their reasons.

Owns the vocabulary between deciding and committing. Each value is one intent: it is carried out whole, in one
transaction, or not at all.
"""

from __future__ import annotations

from dataclasses import dataclass

from registry.model import Assignment, Pending


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
    """Schedule a unit on a machine; in the same breath it leaves `sources`, if there are any: then it moves."""

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

    `displaced_by`: the unit that takes its place, in the same transaction.
    """

    unit: str
    machine: str
    reason: str
    displaced_by: str = ""


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
