"""One row of the Machines table, and its columns."""

from __future__ import annotations

from dataclasses import dataclass

from fleettui.console.tables.row import Column
from fleettui.console.text.cells import Cell, Tone
from fleettui.console.text.formatting import age, since, size

STATE_CELLS = {
    "ready": Cell("● ready", Tone.GOOD),
    "cordoned": Cell("◌ cordoned", Tone.WAIT),
    "draining": Cell("◐ draining", Tone.BUSY),
    "leaving": Cell("◐ leaving", Tone.BUSY),
    "duplicate": Cell("✖ duplicate id", Tone.BAD),
    "corrupt": Cell("✖ corrupt", Tone.BAD),
    "lost": Cell("✖ lost", Tone.BAD),
    "left": Cell("○ left", Tone.QUIET),
}
ORDER = {state: number for number, state in enumerate(
    ("lost", "corrupt", "duplicate", "draining", "leaving", "cordoned", "ready", "left"))}  # fmt: skip
ABSENT = frozenset({"lost", "left"})
TROUBLE = frozenset({"lost", "corrupt", "duplicate"})


@dataclass(frozen=True, slots=True)
class MachineRow:
    """One machine."""

    key: str  # its id
    hostname: str
    address: str
    state: str
    running: int
    scheduled: int
    metadata: str
    cpus: int = 0
    memory_bytes: int = 0
    used_bytes: int | None = None
    load: tuple[float, float, float] | None = None
    agent: str = "-"
    systemd: str = "-"
    since: float = 0.0
    gone_at: float = 0.0
    ttl_s: float = 0.0
    note: str = ""
    blocked: bool = False  # a drain that does not go on
    parent: str = ""
    is_group: bool = False

    @property
    def troubled(self) -> bool:
        """Whether somebody should look at it."""
        return self.blocked or self.state in TROUBLE

    @property
    def present(self) -> bool:
        """Whether it is registered."""
        return self.state not in ABSENT

    @property
    def search(self) -> str:
        """Where a filter's words are looked for."""
        return f"{self.hostname} {self.key} {self.address} {self.metadata} {self.state} {self.note}".lower()

    def facet(self, name: str) -> str | None:
        """The facets of the filter: state, machine, metadata."""
        values = {"state": self.state, "machine": f"{self.hostname} {self.key}", "metadata": self.metadata}
        return values.get(name)


def _plain(text: str) -> Cell:
    return Cell(text)


def _quiet(text: str) -> Cell:
    return Cell(text, Tone.QUIET)


def _state_cell(row: MachineRow, now: float) -> Cell:
    cell = STATE_CELLS[row.state]
    return Cell(f"{cell.text} {age(now - row.gone_at)}", cell.tone) if row.gone_at else cell


def _units_text(row: MachineRow) -> str:
    return f"{row.running} of {row.scheduled}"


def _units(row: MachineRow, _now: float) -> Cell:
    if not row.present and not row.scheduled:
        return _quiet("-")
    return Cell(_units_text(row), Tone.BUSY if row.running < row.scheduled else Tone.PLAIN)


def _load(row: MachineRow, _now: float) -> Cell:
    if row.load is None:
        return _quiet("-")
    busy = bool(row.cpus) and row.load[0] > row.cpus
    return Cell(f"{row.load[0]:.2f}", Tone.BUSY if busy else Tone.PLAIN)


def _memory_text(row: MachineRow) -> str:
    if row.used_bytes is None:
        return f"- of {size(row.memory_bytes)}" if row.memory_bytes else "-"
    return f"{size(row.used_bytes)} of {size(row.memory_bytes)}"


def _memory(row: MachineRow, _now: float) -> Cell:
    tight = row.used_bytes is not None and row.used_bytes > 0.9 * row.memory_bytes
    return Cell(_memory_text(row), Tone.BUSY if tight else Tone.PLAIN if row.used_bytes is not None else Tone.QUIET)


def _note(row: MachineRow, _now: float) -> Cell:
    bad = row.state in TROUBLE or row.blocked
    return Cell(row.note, Tone.BAD if bad else Tone.QUIET if row.state == "left" else Tone.WAIT)


COLUMNS: tuple[Column[MachineRow], ...] = (
    Column("machine", "MACHINE", 24, lambda row, _: _plain(row.hostname), lambda row: (row.hostname, row.key),
           longest=lambda row: len(row.hostname)),
    Column("state", "STATE", 15, _state_cell, lambda row: (ORDER[row.state], row.hostname),
           longest=lambda row: 15 if row.gone_at else len(STATE_CELLS[row.state].text)),
    Column("units", "UNITS", 13, _units, lambda row: -row.scheduled, right=True,
           longest=lambda row: len(_units_text(row))),
    Column("load", "LOAD", 6, _load, lambda row: -(row.load[0] if row.load else -1.0), drop=1, right=True),
    Column("memory", "MEMORY", 16, _memory, lambda row: -(row.used_bytes or -1), drop=2, right=True,
           longest=lambda row: len(_memory_text(row))),
    Column("address", "ADDRESS", 39, lambda row, _: _plain(row.address), lambda row: row.address, drop=4,
           longest=lambda row: len(row.address)),
    Column("id", "ID", 11, lambda row, _: _quiet(f"{row.key[:8]}..."), lambda row: row.key, drop=6),
    Column("cpus", "CPUS", 4, lambda row, _: _quiet(str(row.cpus or "-")), lambda row: -row.cpus, drop=8,
           right=True),
    Column("agent", "AGENT", 10, lambda row, _: _quiet(row.agent), lambda row: row.agent, drop=7,
           longest=lambda row: len(row.agent)),
    Column("systemd", "SYSTEMD", 8, lambda row, _: _quiet(row.systemd), lambda row: row.systemd, drop=9,
           longest=lambda row: len(row.systemd)),
    Column("since", "JOINED", 7, lambda row, now: _quiet(since(row.since, now)), lambda row: -row.since, drop=5),
    Column("metadata", "METADATA", 40, lambda row, _: _quiet(row.metadata), lambda row: row.metadata, drop=3,
           longest=lambda row: len(row.metadata)),
    Column("why", "WHY", 0, _note, lambda row: (not row.note, row.note)),
)  # fmt: skip
