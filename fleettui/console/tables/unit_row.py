"""One row of the Units table, and its columns."""

from __future__ import annotations

from dataclasses import dataclass

from fleettui.console.tables.health import ORDER, Health, health_cell
from fleettui.console.tables.meters import UNKNOWN, Meter, cpu_cell, memory_cell
from fleettui.console.tables.row import Column
from fleettui.console.text.cells import Cell, Tone
from fleettui.console.text.formatting import since
from fleettui.escape import escape


@dataclass(frozen=True, slots=True)
class UnitRow:
    """A unit on one machine, a unit on none, or a group (template, global unit) that gathers such rows."""

    key: str
    unit: str  # as the registry has it: not escaped
    parent: str = ""
    is_group: bool = False
    is_global: bool = False
    target: str = "-"
    condition: Health = Health.INACTIVE
    word: str = ""  # systemd's active state, or what is going on
    sub: str = "-"
    machine: str = ""  # id
    host: str = "-"
    since: float = 0.0
    restarts: int | None = None
    reason: str = ""
    drifting: bool = False
    running: int = 0  # of a group: how many rows are active
    members: int = 0
    meter: Meter = UNKNOWN

    @property
    def label(self) -> str:
        """What stands in the first column."""
        return self.host if self.key != self.unit else escape(self.unit)

    @property
    def troubled(self) -> bool:
        """Whether it is not as it should be: failed, pending or drifting."""
        return self.drifting or self.condition in (Health.FAILED, Health.PENDING)

    @property
    def search(self) -> str:
        """Where a filter's words are looked for."""
        return f"{self.unit} {self.condition} {self.word} {self.host} {self.reason}".lower()

    def facet(self, name: str) -> str | None:
        """The facets of the filter: state, machine, target, sub, unit, is."""
        values = {
            "state": f"{self.condition} {self.word}",
            "machine": f"{self.host} {self.machine}",
            "target": self.target,
            "sub": self.sub,
            "unit": self.unit,
            "is": "drifting" if self.drifting else "settled",
        }
        return values.get(name)


def _tally(row: UnitRow) -> str:
    return f"  {row.running} of {row.members}" if row.members else ""


def _unit_cell(row: UnitRow, _now: float) -> Cell:
    if row.is_group:
        return Cell(row.label + _tally(row), Tone.STRONG)
    return Cell(row.label)


def _restarts(row: UnitRow, _now: float) -> Cell:
    if row.restarts is None:
        return Cell("-", Tone.QUIET)
    return Cell(str(row.restarts), Tone.BUSY if row.restarts else Tone.QUIET)


def _reason(row: UnitRow, _now: float) -> Cell:
    tones = {Health.FAILED: Tone.BAD, Health.PENDING: Tone.WAIT}
    return Cell(row.reason, tones.get(row.condition, Tone.QUIET))


def _severity(row: UnitRow) -> int:
    return ORDER[row.condition]


def _length(row: UnitRow) -> int:
    return len(row.label) + len(_tally(row))


def _quiet(text: str) -> Cell:
    return Cell(text, Tone.QUIET)


COLUMNS: tuple[Column[UnitRow], ...] = (
    Column("unit", "UNIT", 44, _unit_cell, lambda row: (row.unit, row.host), longest=_length,
           middle=True),
    Column("target", "TARGET", 9, lambda row, _: _quiet(row.target), lambda row: row.target, drop=3),
    Column("active", "ACTIVE", 14, lambda row, _: health_cell(row.condition, row.word), _severity),
    Column("sub", "SUB", 11, lambda row, _: _quiet(row.sub), lambda row: row.sub, drop=5),
    Column(
        "machine", "MACHINE", 20,
        lambda row, _: Cell(row.host, Tone.QUIET if row.host == "-" else Tone.PLAIN),
        lambda row: row.host, longest=lambda row: len(row.host), middle=True,
    ),
    Column("since", "SINCE", 7, lambda row, now: _quiet(since(row.since, now)), lambda row: -row.since, drop=2),
    Column("restarts", "RESTARTS", 8, _restarts, lambda row: -(row.restarts or 0), drop=4, right=True),
    Column("mem", "MEM", 6, lambda row, _: memory_cell(row.meter), lambda row: -(row.meter.memory or -1), drop=6,
           right=True),
    Column("cpu", "CPU", 6, lambda row, _: cpu_cell(row.meter), lambda row: -(row.meter.cpu or -1.0), drop=7,
           right=True),
    Column("why", "WHY", 0, _reason, lambda row: (not row.reason, row.reason)),
)  # fmt: skip
