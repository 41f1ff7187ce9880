"""What all tables share: rows with keys, columns that make cells of them, health, and records that do not parse.

Health is one word for how a unit is, with its glyph and tone, as tables, counts and filters read it. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Generic, Protocol, TypeVar

from fleettui.console.text.cells import Cell, Tone
from registry.grammar import token, unit_name
from registry.keys import Table
from registry.lifecycle import Progress, UnitProgress
from registry.mirror import Snapshot
from registry.model import Corrupt, UnitState


class Row(Protocol):
    """One row. `key` never changes and is never given to another thing; `parent` is the key it folds under."""

    @property
    def key(self) -> str:
        """What the row stands for."""

    @property
    def parent(self) -> str:
        """The key of the row it belongs below, or ""."""

    @property
    def is_group(self) -> bool:
        """Whether it only gathers the rows below it, so that it counts for nothing itself."""

    @property
    def search(self) -> str:
        """Lower-case text that a filter's words look into."""

    def facet(self, name: str) -> str | float | None:
        """What a filter such as `state:failed` or `mem>100M` compares; None for what this table does not have.

        Which are numbers says `query.KINDS`; one that is not known is `math.nan`, a moment that is not, 0.
        """


R = TypeVar("R", bound=Row)


@dataclass(frozen=True, slots=True)
class Column(Generic[R]):
    """One column: its cell for a row at a time, and what it sorts by.

    `width` is in cells; 0 takes what the others leave. Where the screen is too narrow, columns go in descending
    order of `drop` (0: stays). `longest` measures a row's text when the width follows the content, up to `width`.
    A text that `middle` says so of is cut in its middle: names differ at their ends. `off`: shown when asked for.
    `falls`: what is largest comes first by `order`, as its title's arrow says.
    """

    id: str
    title: str
    width: int
    cell: Callable[[R, float], Cell]
    order: Callable[[R], Any]
    drop: int = 0
    right: bool = False
    longest: Callable[[R], int] | None = None
    middle: bool = False
    off: bool = False
    falls: bool = False


@dataclass(frozen=True, slots=True)
class Delta(Generic[R]):
    """What changed in a table: rows that are new or differ, and keys that are gone. `reset`: forget the rest."""

    changed: dict[str, R]
    removed: frozenset[str] = frozenset()
    reset: bool = False

    def __bool__(self) -> bool:
        return bool(self.changed or self.removed or self.reset)

    def then(self, later: Delta[R]) -> Delta[R]:
        """Both as one: this, and what came after it."""
        if later.reset or not self:
            return later
        if not later:
            return self
        changed = {key: row for key, row in self.changed.items() if key not in later.removed}
        return Delta(changed | later.changed, (self.removed | later.removed) - later.changed.keys(), self.reset)


class Health(StrEnum):
    """How a unit is, worst first."""

    FAILED = "failed"
    PENDING = "pending"
    BUSY = "busy"
    ACTIVE = "active"
    INACTIVE = "inactive"


GLYPHS = {Health.FAILED: "✖", Health.PENDING: "◌", Health.BUSY: "◐", Health.ACTIVE: "●", Health.INACTIVE: "○"}
TONES = {
    Health.FAILED: Tone.BAD,
    Health.PENDING: Tone.WAIT,
    Health.BUSY: Tone.BUSY,
    Health.ACTIVE: Tone.GOOD,
    Health.INACTIVE: Tone.QUIET,
}
SEVERITY = {health: number for number, health in enumerate(Health)}
TRANSIENT = frozenset({"activating", "deactivating", "reloading", "refreshing", "maintenance"})


def health(standing: UnitProgress, state: UnitState | None) -> Health:
    """How one unit is on one machine (or nowhere)."""
    active = state.active if state else ""
    if standing.progress is Progress.FAILED or active == "failed":
        return Health.FAILED
    if standing.progress is Progress.WAITING:
        return Health.PENDING
    if standing.progress is Progress.UNDER_WAY or active in TRANSIENT:
        return Health.BUSY
    return Health.ACTIVE if active == "active" else Health.INACTIVE


def health_cell(condition: Health, word: str) -> Cell:
    """The glyph and the word: no state is told by colour alone."""
    return Cell(f"{GLYPHS[condition]} {word or condition}", TONES[condition])


RULES: dict[Table, Callable[[str], str]] = {Table.UNITS: unit_name, Table.MACHINES: token}


class CorruptNames:
    """Why the records of one table do not parse, by name. Keys that name nothing are left to the banner."""

    def __init__(self, table: Table) -> None:
        self._marker, self._rule = f"/{table}/", RULES[table]
        self._corrupt: Mapping[str, Corrupt] = {}
        self._found: dict[str, str] = {}

    def of(self, snapshot: Snapshot) -> Mapping[str, str]:
        """The names in a snapshot, with what is wrong with their records."""
        if snapshot.corrupt is not self._corrupt:
            self._corrupt = snapshot.corrupt
            pairs = ((key.rpartition(self._marker), bad.reason) for key, bad in snapshot.corrupt.items())
            self._found = {}
            for (_, marker, name), reason in pairs:
                with suppress(ValueError):  # of a key that names nothing
                    if marker and self._rule(name):
                        self._found[name] = reason
        return self._found
