"""The Events table: who did what to which unit or machine, and why; newest first."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from heapq import nsmallest

from fleettui.console.tables.rows import Column, Delta
from fleettui.console.tables.units import host, in_words, writer_name
from fleettui.console.text.cells import Cell, Tone
from fleettui.console.text.formatting import clock, natural, since
from fleettui.escape import escape
from registry.keys import Address, Table
from registry.mirror import Snapshot, event_key
from registry.model import Event

SHOWN = 2000  # the newest; the registry keeps more
ONE_ACT_S = 1.0  # between the first and the last event that an operator's act writes, one for each unit
ACTS = 20  # that more may come of
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
    units: tuple[str, ...] = ()  # all that one act of an operator was about, as the registry has them
    parent: str = ""
    is_group: bool = False

    @property
    def search(self) -> str:
        """The text that a filter's words are looked for in."""
        return f"{self.actor} {self.verb} {' '.join(self.units) or self.unit} {self.host} {self.reason}".lower()

    def facet(self, name: str) -> str | float | None:
        """The facets of the filter."""
        values: dict[str, str | float] = {
            "unit": " ".join(self.units) or self.unit, "machine": self.host, "actor": self.actor,
            "verb": self.verb, "why": self.reason, "since": self.at,
        }  # fmt: skip
        return values.get(name)


class EventRows:
    """The newest events as rows: one for an operator's act, one for any other event. An event never changes."""

    def __init__(self) -> None:
        self.rows: dict[str, EventRow] = {}
        self._row_of: dict[str, str] = {}  # of each event
        self._acts: dict[tuple[str, str, str], str] = {}  # the last row of who did what, why

    def update(self, snapshot: Snapshot, changed: Collection[Address] | None = None) -> Delta[EventRow]:
        """Return the rows that differ from the last call. `changed` None: anything may have changed."""
        known = self._row_of
        if changed is None:
            keys = set(sorted(snapshot.events)[-SHOWN:])
        else:
            oldest = min(known) if len(known) >= SHOWN else ""
            touched = {key for each in changed if each.table is Table.EVENTS and (key := event_key(each)) >= oldest}
            if not touched:
                return Delta({})
            keys = (known.keys() | touched) & snapshot.events.keys()
            if len(keys) < min(SHOWN, len(snapshot.events)):  # older ones are among the newest now
                keys = set(sorted(snapshot.events)[-SHOWN:])
            keys -= set(nsmallest(len(keys) - SHOWN, keys))
        fresh: dict[str, EventRow] = {}
        for key in sorted(keys - known.keys()):
            row = self._told(_row(snapshot, key, snapshot.events[key]))
            self.rows[row.key] = fresh[row.key] = row
            known[key] = row.key
        for key in known.keys() - keys:
            del known[key]
        gone = frozenset(self.rows.keys() - {*known.values()})
        for key in gone:
            del self.rows[key]
            fresh.pop(key, None)
        return Delta(fresh, gone)

    def _told(self, row: EventRow) -> EventRow:
        """The row of an event, joined to that of the same act, where there is one: an act on units is one line."""
        if row.host != "-" or not row.units:
            return row
        act = (row.actor, row.verb, row.reason)
        before = self.rows.get(self._acts.get(act, ""))
        apart_s = abs(row.at - before.at) if before else ONE_ACT_S  # those of one millisecond are in any order
        if before is None or apart_s >= ONE_ACT_S or row.units[0] in before.units:
            self._acts = {**dict(list(self._acts.items())[-ACTS:]), act: row.key}
            return row
        units = (*before.units, *row.units)
        return replace(before, units=units, unit=f"{escape(units[0])} and {len(units) - 1} more")


def _row(snapshot: Snapshot, key: str, event: Event) -> EventRow:
    return EventRow(
        key=key,
        at=event.at,
        actor=writer_name(snapshot, event.actor),
        verb=escape(event.verb),
        unit=escape(event.unit) or "-",
        host=host(snapshot, event.machine),
        reason=in_words(snapshot, event.reason),
        units=(event.unit,) if event.unit else (),
    )


def _verb(row: EventRow, _now: float) -> Cell:
    return Cell(row.verb, Tone.BAD if row.verb in GRAVE else Tone.STRONG)


def _quiet(text: str) -> Cell:
    return Cell(text, Tone.QUIET)


COLUMNS: tuple[Column[EventRow], ...] = (
    Column("time", "TIME", 8, lambda row, _: _quiet(clock(row.at)), lambda row: (-row.at, row.key), falls=True),
    Column("age", "AGE", 6, lambda row, now: _quiet(since(row.at, now)), lambda row: -row.at, drop=2),
    Column("actor", "WHO", 24, lambda row, _: Cell(row.actor), lambda row: row.actor, drop=1,
           longest=lambda row: len(row.actor)),
    Column("verb", "DID", 10, _verb, lambda row: row.verb, longest=lambda row: len(row.verb)),
    Column("unit", "UNIT", 36, lambda row, _: Cell(row.unit), lambda row: natural(row.unit),
           longest=lambda row: len(row.unit)),
    Column("machine", "MACHINE", 20, lambda row, _: Cell(row.host), lambda row: natural(row.host),
           longest=lambda row: len(row.host)),
    Column("why", "WHY", 0, lambda row, _: _quiet(row.reason), lambda row: row.reason),
)  # fmt: skip
