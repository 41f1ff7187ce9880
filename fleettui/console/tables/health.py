"""One word for how a unit is, with its glyph and tone: the reading that tables, counts and filters share."""

from __future__ import annotations

from enum import StrEnum

from fleettui.console.text.cells import Cell, Tone
from registry.lifecycle import Progress, UnitProgress
from registry.model import UnitState


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
ORDER = {health: number for number, health in enumerate(Health)}
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
