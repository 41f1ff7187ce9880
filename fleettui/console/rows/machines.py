"""The Machines table: every machine that is here, and every one that should be and is not."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from fleettui.console.cells import Cell, Tone
from fleettui.console.phrases import since, size
from fleettui.console.rows.row import Column, Delta
from fleettui.escape import escape
from registry.mirror import Snapshot
from registry.model import Availability, Machine, effective_metadata

STATE_CELLS = {
    "ready": Cell("● ready", Tone.GOOD),
    "cordoned": Cell("◌ cordoned", Tone.WAIT),
    "draining": Cell("◐ draining", Tone.BUSY),
    "leaving": Cell("◐ leaving", Tone.BUSY),
    "lost": Cell("✖ lost", Tone.BAD),
}


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
    agent: str = "-"
    systemd: str = "-"
    since: float = 0.0
    note: str = ""
    parent: str = ""
    is_group: bool = False

    @property
    def search(self) -> str:
        """Where a filter's words are looked for."""
        return f"{self.hostname} {self.key} {self.address} {self.metadata} {self.state} {self.note}".lower()

    def facet(self, name: str) -> str | None:
        """The facets of the filter: state, machine, metadata."""
        values = {"state": self.state, "machine": f"{self.hostname} {self.key}", "metadata": self.metadata}
        return values.get(name)


class MachineRows:
    """Folds snapshots into machine rows."""

    def __init__(self) -> None:
        self._rows: dict[str, MachineRow] = {}

    def fold(self, snapshot: Snapshot) -> Delta[MachineRow]:
        """The rows that differ from the last call."""
        rows = machine_rows(snapshot)
        delta = Delta(
            {key: row for key, row in rows.items() if self._rows.get(key) != row},
            frozenset(self._rows.keys() - rows.keys()),
        )
        self._rows = rows
        return delta


def machine_rows(snapshot: Snapshot) -> dict[str, MachineRow]:
    """Every machine that registered, is scheduled on, or is overridden."""
    scheduled = Counter(machine for machine, _ in snapshot.schedule)
    running = Counter(machine for (machine, _), state in snapshot.states.items() if state.active == "active")
    known = {*snapshot.machines, *scheduled, *snapshot.overrides, *(machine for machine, _ in snapshot.states)}
    return {each: _row(snapshot, each, running[each], scheduled[each]) for each in sorted(known)}


def _row(snapshot: Snapshot, machine: str, running: int, scheduled: int) -> MachineRow:
    record = snapshot.machines.get(machine)
    state, note = _state(snapshot, machine, record)
    if record is None:
        return MachineRow(machine, "-", "-", state, running, scheduled, "", note=note)
    metadata = effective_metadata(record, snapshot.overrides.get(machine))
    return MachineRow(
        key=machine,
        hostname=escape(record.hostname),
        address=escape(record.address),
        state=state,
        running=running,
        scheduled=scheduled,
        metadata=escape(",".join(f"{key}={value}" for key, value in sorted(metadata.items()))),
        cpus=record.cpus,
        memory_bytes=record.memory_bytes,
        agent=escape(record.agent_version) or "-",
        systemd=escape(record.systemd_version.partition("-")[0]) or "-",
        since=record.since,
        note=note,
    )


def _state(snapshot: Snapshot, machine: str, record: Machine | None) -> tuple[str, str]:
    """Its state, and what else is to be said of it."""
    if record is None:
        return "lost", "not registered: its agent is down or cut off"
    twins = [twin for (each, _), twin in snapshot.duplicates.items() if each == machine]
    if twins:
        return "ready", f"another machine came with the same id: {escape(twins[0].hostname)}"
    if record.leaving:
        return "leaving", "its agent hands its units over"
    override = snapshot.overrides.get(machine)
    availability = override.availability if override else Availability.READY
    note = f"by {escape(override.by)}" if override and override.by and availability != Availability.READY else ""
    return availability.value, note


def _plain(text: str) -> Cell:
    return Cell(text)


def _quiet(text: str) -> Cell:
    return Cell(text, Tone.QUIET)


def _units(row: MachineRow, _now: float) -> Cell:
    short = row.running < row.scheduled
    return Cell(f"{row.running} of {row.scheduled}", Tone.BUSY if short else Tone.PLAIN)


COLUMNS: tuple[Column[MachineRow], ...] = (
    Column("machine", "MACHINE", 24, lambda row, _: _plain(row.hostname), lambda row: (row.hostname, row.key),
           longest=lambda row: len(row.hostname)),
    Column("id", "ID", 11, lambda row, _: _quiet(f"{row.key[:8]}..."), lambda row: row.key, drop=3),
    Column("state", "STATE", 11, lambda row, _: STATE_CELLS[row.state], lambda row: row.state),
    Column("address", "ADDRESS", 39, lambda row, _: _plain(row.address), lambda row: row.address,
           longest=lambda row: len(row.address)),
    Column("units", "UNITS", 11, _units, lambda row: -row.scheduled, right=True,
           longest=lambda row: len(f"{row.running} of {row.scheduled}")),
    Column("cpus", "CPUS", 4, lambda row, _: _quiet(str(row.cpus or "-")), lambda row: -row.cpus, drop=6,
           right=True),
    Column("memory", "MEMORY", 6, lambda row, _: _quiet(size(row.memory_bytes)), lambda row: -row.memory_bytes,
           drop=5, right=True),
    Column("agent", "AGENT", 10, lambda row, _: _quiet(row.agent), lambda row: row.agent, drop=4,
           longest=lambda row: len(row.agent)),
    Column("systemd", "SYSTEMD", 8, lambda row, _: _quiet(row.systemd), lambda row: row.systemd, drop=7,
           longest=lambda row: len(row.systemd)),
    Column("since", "SINCE", 7, lambda row, now: _quiet(since(row.since, now)), lambda row: -row.since, drop=2),
    Column("metadata", "METADATA", 0, lambda row, _: _note(row), lambda row: row.metadata),
)  # fmt: skip


def _note(row: MachineRow) -> Cell:
    if not row.note:
        return _quiet(row.metadata)
    return Cell(f"{row.metadata}  {row.note}".strip(), Tone.BAD if row.state == "lost" else Tone.WAIT)
