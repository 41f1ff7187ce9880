"""The Pending table: every unit that waits or is under way, with the reason in one line."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from fleettui.console.tables.rows import Column, Delta
from fleettui.console.tables.units import in_words
from fleettui.console.text.cells import Cell, Tone
from fleettui.console.text.formatting import natural, since
from fleettui.escape import escape
from registry.keys import Address, Table
from registry.mirror import Snapshot
from registry.model import Pending


@dataclass(frozen=True, slots=True)
class PendingRow:
    """One unit that no machine runs as asked, and why."""

    key: str
    unit: str
    target: str
    reason: str
    rule: str
    passing: bool
    since: float
    parent: str = ""
    is_group: bool = False

    @property
    def search(self) -> str:
        """The text that a filter's words are looked for in."""
        return f"{self.unit} {self.target} {self.reason}".lower()

    def facet(self, name: str) -> str | float | None:
        """The facets of the filter."""
        values: dict[str, str | float] = {
            "unit": self.unit, "target": self.target, "state": "passing" if self.passing else "pending",
            "why": self.reason, "since": self.since, "for": self.rule,
        }  # fmt: skip
        return values.get(name)


class PendingRows:
    """The pending units as rows."""

    def __init__(self) -> None:
        self.rows: dict[str, PendingRow] = {}

    def update(self, snapshot: Snapshot, changed: Collection[Address] | None = None) -> Delta[PendingRow]:
        """Return the rows that differ from the last call. `changed` None: anything may have changed."""
        if changed is None:
            names = self.rows.keys() | snapshot.pending.keys()
        else:
            names = {each.first for each in changed if each.table in (Table.PENDING, Table.UNITS)}
        rows = {name: _row(snapshot, snapshot.pending[name]) for name in names if name in snapshot.pending}
        fresh = {name: row for name, row in rows.items() if self.rows.get(name) != row}
        gone = frozenset(name for name in names - rows.keys() if name in self.rows)
        self.rows.update(fresh)
        for name in gone:
            del self.rows[name]
        return Delta(fresh, gone)


def _row(snapshot: Snapshot, pending: Pending) -> PendingRow:
    unit = snapshot.units.get(pending.unit)
    return PendingRow(
        key=pending.unit,
        unit=pending.unit,
        target=unit.target if unit else "-",
        reason=in_words(snapshot, pending.summary),
        rule=escape(pending.rule).replace("_", " "),
        passing=pending.passing,
        since=unit.at if unit else 0.0,
    )


def _state(row: PendingRow, _now: float) -> Cell:
    return Cell("◐ passing", Tone.BUSY) if row.passing else Cell("◌ waiting", Tone.WAIT)


def _quiet(text: str) -> Cell:
    return Cell(text, Tone.QUIET)


COLUMNS: tuple[Column[PendingRow], ...] = (
    Column("unit", "UNIT", 44, lambda row, _: Cell(escape(row.unit)), lambda row: natural(row.unit),
           longest=lambda row: len(row.unit), middle=True),
    Column("state", "STATE", 10, _state, lambda row: row.passing),
    Column("target", "TARGET", 9, lambda row, _: _quiet(row.target), lambda row: row.target, drop=2),
    Column("asked", "ASKED", 7, lambda row, now: _quiet(since(row.since, now)), lambda row: -row.since, drop=1),
    Column("for", "FOR", 12, lambda row, _: _quiet(row.rule or "-"), lambda row: row.rule, drop=3),
    Column("why", "WHY", 0, lambda row, _: Cell(row.reason, Tone.WAIT), lambda row: row.reason),
)  # fmt: skip
