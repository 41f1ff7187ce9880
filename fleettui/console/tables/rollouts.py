"""The Rollouts table: what is done, what is on its way and what failed, of every rollout that is kept. Pure.

Rollouts that are not over come first, then the newest. How far one is, is counted from its record and those of its
units, so that a look costs little also where it has thousands; unit by unit it is told on its page.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

from fleettui.console.tables.rows import Column, Delta
from fleettui.console.text.cells import Cell, Tone
from fleettui.console.text.formatting import since
from fleettui.escape import escape
from placement.rollout import WellSince, advance, failures, survey
from registry.keys import Address, Table
from registry.lifecycle import Whereabouts
from registry.mirror import Snapshot
from registry.model import Event, Rollout, RolloutState, RolloutStep
from registry.wording import listed

BAR = 10  # cells
SURVEYED = 200  # units, up to which it is worked out why nothing goes on
WORDS = {  # by state and whether it gives the old files back
    (RolloutState.RUNNING, False): ("↻", "running", Tone.BUSY),
    (RolloutState.RUNNING, True): ("↺", "going back", Tone.BUSY),
    (RolloutState.PAUSED, False): ("‖", "paused", Tone.WAIT),
    (RolloutState.PAUSED, True): ("‖", "paused", Tone.WAIT),
    (RolloutState.ABORTED, False): ("✖", "aborted", Tone.BAD),
    (RolloutState.ABORTED, True): ("✖", "aborted", Tone.BAD),
    (RolloutState.FINISHED, False): ("✓", "finished", Tone.GOOD),
    (RolloutState.FINISHED, True): ("↺", "went back", Tone.WAIT),
}


@dataclass(frozen=True, slots=True)
class RolloutRow:
    """One rollout. `settled`, `under_way` and `failed` are about the way back, once it gives the old files back."""

    key: str  # its name
    state: RolloutState
    back: bool
    units: int
    settled: int
    under_way: int
    failed: int
    what: str
    by: str
    at: float
    reason: str
    parent: str = ""
    is_group: bool = False

    @property
    def unit(self) -> str:
        """What the line below the table calls it."""
        return self.key

    @property
    def word(self) -> str:
        """Its state in one word or two."""
        return WORDS[self.state, self.back][1]

    @property
    def troubled(self) -> bool:
        """Whether an operator has to look at it: something failed, or it waits for a word."""
        return not self.state.over and (bool(self.failed) or self.state is RolloutState.PAUSED)

    @property
    def search(self) -> str:
        """The text that a filter's words are looked for in."""
        return f"{self.key} {self.word} {self.what} {self.by} {self.reason}".lower()

    def facet(self, name: str) -> str | float | None:
        """The facets of the filter."""
        values: dict[str, str | float] = {
            "name": self.key, "state": self.word, "unit": self.what, "actor": self.by, "why": self.reason,
            "since": self.at,
        }  # fmt: skip
        return values.get(name)


class RolloutRows:
    """The rollouts as rows. `where` finds the lines and states of a unit."""

    def __init__(self, where: Callable[[Snapshot, str], Whereabouts]) -> None:
        self.rows: dict[str, RolloutRow] = {}
        self._where = where
        self._of_unit: dict[str, set[str]] = defaultdict(set)  # to the rollouts under way that have it

    def update(self, snapshot: Snapshot, changed: Collection[Address] | None = None) -> Delta[RolloutRow]:
        """Return the rows that differ from the last call. `changed` None: anything may have changed."""
        if changed is None:
            names = self.rows.keys() | snapshot.rollouts.keys()
        elif not self._of_unit and not any(each.table is Table.ROLLOUTS for each in changed):
            return Delta({})
        else:
            names = self._concerned(changed)
        found = {
            name: rollout_row(snapshot, snapshot.rollouts[name], self._where)
            for name in names
            if name in snapshot.rollouts
        }
        fresh = {name: row for name, row in found.items() if self.rows.get(name) != row}
        gone = frozenset(name for name in names - found.keys() if name in self.rows)
        self.rows.update(fresh)
        for name in gone:
            del self.rows[name]
        if changed is None or any(each.table is Table.ROLLOUTS for each in changed):
            self._index(snapshot)
        return Delta(fresh, gone)

    def _concerned(self, changed: Iterable[Address]) -> set[str]:
        """The rollouts that a change may be about."""
        names: set[str] = set()
        for address in changed:
            if address.table is Table.ROLLOUTS:
                names.add(address.first)
            elif address.table in (Table.STATES, Table.SCHEDULE):
                names |= self._of_unit.get(address.second, set())
            elif address.table in (Table.UNITS, Table.PENDING):
                names |= self._of_unit.get(address.first, set())
        return names

    def _index(self, snapshot: Snapshot) -> None:
        self._of_unit = defaultdict(set)
        for rollout in snapshot.rollouts.values():
            for step in rollout.steps if not rollout.state.over else ():
                self._of_unit[step.unit].add(rollout.name)

    def under_way(self) -> list[RolloutRow]:
        """The rollouts that are not over, oldest first."""
        return sorted((row for row in self.rows.values() if not row.state.over), key=lambda row: (row.at, row.key))


def rollout_row(snapshot: Snapshot, rollout: Rollout, where: Callable[[Snapshot, str], Whereabouts]) -> RolloutRow:
    """The row of a rollout."""
    under_way = len(units_under_way(snapshot, rollout))
    reason = rollout.note
    if rollout.state is RolloutState.RUNNING and not under_way and len(rollout.steps) <= SURVEYED:
        views = survey(rollout, snapshot, lambda unit: where(snapshot, unit), WellSince(), 0.0)
        waits = advance(rollout, views).waits
        reason = f"waits: {waits}" if waits else reason
    return RolloutRow(
        rollout.name, rollout.state, rollout.back, len(rollout.steps), settled_count(rollout), under_way,
        len(rollout.failed), what_rolls(rollout), escape(rollout.by), rollout.at, escape(reason.partition("\n")[0]),
    )  # fmt: skip


def settled_count(rollout: Rollout) -> int:
    """How many of its steps have settled."""
    return len(rollout.settled) + len(rollout.settled_on)


def units_under_way(snapshot: Snapshot, rollout: Rollout) -> list[str]:
    """The units that have had their turn and have not settled or failed since; a global one for each machine."""
    if rollout.state.over:
        return []
    over = {*((unit, "") for unit in rollout.settled), *rollout.settled_on, *failures(rollout)}
    turned = (step for step in rollout.steps if step.key not in over)
    return [step.unit for step in turned if _has_had_its_turn(snapshot, rollout, step)]


def _has_had_its_turn(snapshot: Snapshot, rollout: Rollout, step: RolloutStep) -> bool:
    unit = snapshot.units.get(step.unit)
    if unit is None:
        return False
    if step.leaves:
        return unit.leaves == rollout.name
    return unit.version_on(step.machine)[1] == step.generation + (2 if rollout.back else 1)


def telling_units(snapshot: Snapshot, name: str) -> list[str]:
    """The units whose journals tell how a rollout goes: what failed, else what is on its way, else all of it."""
    rollout = snapshot.rollouts.get(name)
    if rollout is None:
        return []
    failed = [each.unit for each in rollout.failed]
    return failed or units_under_way(snapshot, rollout) or [step.unit for step in rollout.steps]


_NAMED = re.compile(r"(?:^|; )rollout ([A-Za-z0-9._-]+)")


def rollout_told(event: Event) -> str:
    """The rollout that an event is about, by its words; "" for none."""
    found = _NAMED.search(event.reason) if event.verb in ("rollout", "replace") else None
    return found[1] if found else ""


def what_rolls(rollout: Rollout) -> str:
    """What it is about in a few words: "web@.service (12)", or the names."""
    stems: dict[str, list[str]] = defaultdict(list)
    for step in rollout.steps:
        prefix, at, instance = step.unit.partition("@")
        stems[f"{prefix}@.{instance.rpartition('.')[2]}" if at else step.unit].append(step.unit)
    shown = [f"{stem} ({len(units)})" if len(units) > 1 else units[0] for stem, units in stems.items()]
    return escape(listed(shown, 2))


def state_cell(row: RolloutRow) -> Cell:
    """The glyph and the word of its state."""
    glyph, word, tone = WORDS[row.state, row.back]
    return Cell(f"{glyph} {word}", tone)


def progress_text(row: RolloutRow) -> str:
    """ "█████▒░░░░  5/12": what has settled, what is on its way or failed, and what waits."""
    total = max(row.units, 1)
    done = row.settled * BAR // total
    begun = min(BAR, -(-(row.settled + row.under_way + row.failed) * BAR // total))
    return f"{'█' * done}{'▒' * (begun - done)}{'░' * (BAR - max(begun, done))} {row.settled}/{row.units}"


def _number(number: int, tone: Tone) -> Cell:
    return Cell(str(number) if number else "-", tone if number else Tone.QUIET)


def _reason(row: RolloutRow, _now: float) -> Cell:
    return Cell(row.reason, Tone.BAD if row.troubled and row.failed else Tone.WAIT if row.troubled else Tone.QUIET)


COLUMNS: tuple[Column[RolloutRow], ...] = (
    Column("rollout", "ROLLOUT", 30, lambda row, _: Cell(escape(row.key)),
           lambda row: (row.state.over, -row.at, row.key), longest=lambda row: len(row.key), middle=True),
    Column("state", "STATE", 12, lambda row, _: state_cell(row), lambda row: (row.state.over, row.word)),
    Column("progress", "DONE", BAR + 10, lambda row, _: Cell(progress_text(row), WORDS[row.state, row.back][2]),
           lambda row: -row.settled / max(row.units, 1), longest=lambda row: len(progress_text(row))),
    Column("under_way", "ON ITS WAY", 10, lambda row, _: _number(row.under_way, Tone.BUSY),
           lambda row: -row.under_way, drop=3, right=True),
    Column("failed", "FAILED", 6, lambda row, _: _number(row.failed, Tone.BAD), lambda row: -row.failed,
           right=True),
    Column("began", "BEGAN", 7, lambda row, now: Cell(since(row.at, now), Tone.QUIET), lambda row: -row.at, drop=2),
    Column("by", "WHO", 20, lambda row, _: Cell(row.by, Tone.QUIET), lambda row: row.by, drop=4,
           longest=lambda row: len(row.by)),
    Column("what", "UNITS", 28, lambda row, _: Cell(row.what), lambda row: row.what, drop=1,
           longest=lambda row: len(row.what), middle=True),
    Column("why", "WHY", 0, _reason, lambda row: (not row.reason, row.reason)),
)  # fmt: skip
