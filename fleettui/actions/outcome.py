"""What came of an act, unit by unit: enough to tell the operator and to take it back. Pure values."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from registry.frozen import dataclass
from registry.model import Unit


class Did(StrEnum):
    """What an act did to one unit."""

    CREATED = "created"
    REPLACED = "replaced"  # another text
    CHANGED = "changed"  # another target or generation
    DESTROYED = "destroyed"
    UNCHANGED = "unchanged"  # it was as wanted already
    UNKNOWN = "unknown"  # the registry has no such unit
    REFUSED = "refused"  # see `note`


@dataclass(frozen=True, slots=True)
class Outcome:
    """One unit's part of an act.

    `before` and `after` are its records (None: there was or is none). `text` is the file that `before` names, kept
    where the act replaced or destroyed it. `note` is a warning or, when refused, the reason with its remedy.
    """

    name: str
    did: Did
    before: Unit | None = None
    after: Unit | None = None
    text: str | None = None
    note: str = ""

    @property
    def wrote(self) -> bool:
        """Whether the act changed the registry."""
        return self.did not in (Did.UNCHANGED, Did.UNKNOWN, Did.REFUSED)

    @property
    def reversible(self) -> bool:
        """Whether taking it back brings anything back: not where a unit was only started or restarted again."""
        before, after = self.before, self.after
        return before is None or after is None or (before.target, before.hash) != (after.target, after.hash)


@dataclass(frozen=True, slots=True)
class Done:
    """All outcomes in the order of the names; `revision` is the registry's after the last transaction.

    Who watches for the effect must not judge by a snapshot older than `revision`.
    """

    outcomes: tuple[Outcome, ...] = ()
    revision: int = 0

    @property
    def written(self) -> tuple[Outcome, ...]:
        """The outcomes that changed something: what `restore` takes back."""
        return tuple(outcome for outcome in self.outcomes if outcome.wrote)


def joined(parts: Iterable[Done]) -> Done:
    """Several acts as one."""
    parts = tuple(parts)
    outcomes = tuple(outcome for part in parts for outcome in part.outcomes)
    return Done(outcomes, max((part.revision for part in parts), default=0))
