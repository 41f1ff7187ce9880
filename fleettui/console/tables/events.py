"""The Events table: who did what to which unit or machine, and why; newest first."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from heapq import nsmallest

from fleettui.console.tables.rows import Column, Delta
from fleettui.console.tables.units import host
from fleettui.console.text.cells import Cell, Tone
from fleettui.console.text.formatting import clock, since
from fleettui.escape import escape
from registry.keys import Address, Table
from registry.mirror import Snapshot, event_key
from registry.model import Event

SHOWN = 2000  # the newest; the registry keeps more
GRAVE = frozenset({"fail", "lost", "refuse", "duplicate", "corrupt"})


@dataclass(frozen=True, slots=True)
class EventRow:
    """One event."""

    key: str
    at: float
    actor: str
    verb: str
    unit: str
    host: str
    reason: str
    parent: str = ""
    is_group: bool = False

    @property
    def search(self) -> str:
        """The text that a filter's words are looked for in."""
        return f"{self.actor} {self.verb} {self.unit} {self.host} {self.reason}".lower()

    def facet(self, name: str) -> str | float | None:
        """The facets of the filter."""
        values: dict[str, str | float] = {
            "unit": self.unit, "machine": self.host, "actor": self.actor, "verb": self.verb, "why": self.reason,
            "since": self.at,
        }  # fmt: skip
        return values.get(name)


class EventRows:
    """The newest events as rows. An event never changes."""

    def __init__(self) -> None:
        self.rows: dict[str, EventRow] = {}

    def update(self, snapshot: Snapshot, changed: Collection[Address] | None = None) -> Delta[EventRow]:
        """Return the rows that differ from the last call. `changed` None: anything may have changed."""
        if changed is None:
            keys = set(sorted(snapshot.events)[-SHOWN:])
        else:
            oldest = min(self.rows) if len(self.rows) >= SHOWN else ""
            touched = {key for each in changed if each.table is Table.EVENTS and (key := event_key(each)) >= oldest}
            if not touched:
                return Delta({})
            keys = (self.rows.keys() | touched) & snapshot.events.keys()
            if len(keys) < min(SHOWN, len(snapshot.events)):  # older ones are among the newest now
                keys = set(sorted(snapshot.events)[-SHOWN:])
            keys -= set(nsmallest(len(keys) - SHOWN, keys))
        fresh = {key: _row(snapshot, key, snapshot.events[key]) for key in keys - self.rows.keys()}
        gone = frozenset(self.rows.keys() - keys)
        self.rows.update(fresh)
        for key in gone:
            del self.rows[key]
        return Delta(fresh, gone)


def _row(snapshot: Snapshot, key: str, event: Event) -> EventRow:
    return EventRow(
        key=key,
        at=event.at,
        actor=escape(event.actor),
        verb=escape(event.verb),
        unit=escape(event.unit) or "-",
        host=host(snapshot, event.machine),
        reason=escape(event.reason),
    )


def _verb(row: EventRow, _now: float) -> Cell:
    return Cell(row.verb, Tone.BAD if row.verb in GRAVE else Tone.STRONG)


def _quiet(text: str) -> Cell:
    return Cell(text, Tone.QUIET)


COLUMNS: tuple[Column[EventRow], ...] = (
    Column("time", "TIME", 8, lambda row, _: _quiet(clock(row.at)), lambda row: (-row.at, row.key)),
    Column("age", "AGE", 6, lambda row, now: _quiet(since(row.at, now)), lambda row: -row.at, drop=2),
    Column("actor", "WHO", 24, lambda row, _: Cell(row.actor), lambda row: row.actor, drop=1,
           longest=lambda row: len(row.actor)),
    Column("verb", "DID", 10, _verb, lambda row: row.verb, longest=lambda row: len(row.verb)),
    Column("unit", "UNIT", 36, lambda row, _: Cell(row.unit), lambda row: row.unit,
           longest=lambda row: len(row.unit)),
    Column("machine", "MACHINE", 20, lambda row, _: Cell(row.host), lambda row: row.host,
           longest=lambda row: len(row.host)),
    Column("why", "WHY", 0, lambda row, _: _quiet(row.reason), lambda row: row.reason),
)  # fmt: skip
