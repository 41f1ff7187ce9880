"""The Machines table: every machine that is here, and every one that was and should be; how far drains are. Pure.

A machine that vanished stays on the table as lost, with its age and what it held, until it is back or is forgotten:
an empty place would hide that something is missing. What is shown of it comes from what this console saw itself,
or from the registry's events; where neither knows, no age is shown.

What stands on a draining machine is counted with each snapshot; why a unit is stuck is worked out at most every
LOOK_S in a large fleet, since that looks at every unit.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from fleettui.actions.drain import Remaining, left_on
from fleettui.console.tables.rows import Column, CorruptNames, Delta
from fleettui.console.text.cells import Cell, Tone
from fleettui.console.text.formatting import age, counted, natural, since, size
from fleettui.escape import escape
from placement.options_cache import OptionsError, UnitOptionsCache
from placement.room import Room, memory_of
from registry.keys import Address, Keys, Table
from registry.mirror import Pair, Snapshot, event_key
from registry.model import Availability, Corrupt, Event, Machine, Override, effective_metadata
from registry.units.options import NOTHING, Reserve
from registry.wording import listed

LOOK_S = 1.0
SMALL = 2000  # schedule lines and states that can be looked at whenever they change


@dataclass(frozen=True, slots=True)
class Drain:
    """One machine's drain: what is left of `total` units; `total` counts from when it was first seen."""

    left: Remaining
    total: int
    whole: bool  # whether it was seen from its beginning

    @property
    def progress(self) -> str:
        """ "12 of 30 to move", "12 to move", "" when nothing is."""
        moving = len(self.left.moving)
        if not moving:
            return ""
        return f"{moving} of {self.total} to move" if self.whole else f"{moving} to move"

    @property
    def blocked(self) -> str:
        """What blocks it: "mars.service stays: …"; "" when nothing does."""
        if not self.left.stuck:
            return ""
        unit, reason = self.left.stuck[0]
        if len(self.left.stuck) == 1:
            return f"{unit} stays: {reason}"
        return f"{counted(len(self.left.stuck), 'unit')} stay; {unit}: {reason}"


class Drains:
    """The drains under way."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._known: dict[str, tuple[float, Drain]] = {}  # the override's time, and what was last seen
        self._looked: dict[str, tuple[object, float]] = {}

    def update(self, snapshot: Snapshot, now: float, *, fresh: bool = False) -> dict[str, Drain]:
        """All draining machines. `fresh`: those that begin now were seen from their beginning."""
        wanted = {
            machine: override.at
            for machine, override in snapshot.overrides.items()
            if override.availability is Availability.DRAINING and machine in snapshot.machines
        }
        for gone in self._known.keys() - wanted.keys():
            del self._known[gone], self._looked[gone]
        basis = (snapshot.schedule, snapshot.states, snapshot.machines, snapshot.overrides, snapshot.files)
        same = {machine for machine, at in wanted.items() if self._known.get(machine, (None,))[0] == at}
        due = [machine for machine in wanted if machine not in same or self._due(machine, basis, now)]
        for machine, left in left_on(snapshot, due, self._keys).items():
            self._looked[machine] = (basis, now)
            total, whole = len(left.moving), fresh
            if machine in same:
                known = self._known[machine][1]
                total, whole = max(known.total, total), known.whole
            self._known[machine] = (wanted[machine], Drain(left, total, whole))
        return {machine: drain for machine, (_, drain) in self._known.items()}

    def _due(self, machine: str, basis: tuple[object, ...], now: float) -> bool:
        before, at = self._looked[machine]
        changed = not isinstance(before, tuple) or any(a is not b for a, b in zip(before, basis, strict=True))
        small = len(basis[0]) + len(basis[1]) <= SMALL  # type: ignore[arg-type]
        return changed and (small or now - at >= LOOK_S)


STATE_CELLS = {
    "ready": Cell("● ready", Tone.GOOD),
    "cordoned": Cell("◌ cordoned", Tone.WAIT),
    "draining": Cell("◐ draining", Tone.BUSY),
    "leaving": Cell("◐ leaving", Tone.BUSY),
    "duplicate": Cell("✖ duplicate id", Tone.BAD),
    "held": Cell("◌ held", Tone.WAIT),
    "corrupt": Cell("✖ corrupt", Tone.BAD),
    "lost": Cell("✖ lost", Tone.BAD),
    "left": Cell("○ left", Tone.QUIET),
}
ORDER = {state: number for number, state in enumerate(
    ("lost", "corrupt", "duplicate", "held", "draining", "leaving", "cordoned", "ready", "left"))}  # fmt: skip
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
    reserved: Reserve = NOTHING  # by the units that are scheduled there
    pressure: tuple[float, ...] = ()  # percent of a minute waited for cpu, memory, disk
    disk_bytes: int = 0
    disk_free_bytes: int = 0
    blocked: bool = False  # a drain that does not go on
    parent: str = ""
    is_group: bool = False

    @property
    def troubled(self) -> bool:
        """Whether it needs attention."""
        return self.blocked or self.state in TROUBLE

    @property
    def present(self) -> bool:
        """Whether it is registered."""
        return self.state not in ABSENT

    @property
    def search(self) -> str:
        """The text that a filter's words are looked for in."""
        return f"{self.hostname} {self.key} {self.address} {self.metadata} {self.state} {self.note}".lower()

    def facet(self, name: str) -> str | float | None:
        """The facets of the filter."""
        values: dict[str, str | float] = {
            "state": self.state, "machine": f"{self.hostname} {self.key}", "metadata": self.metadata,
            "address": self.address, "agent": self.agent, "why": self.note, "since": self.gone_at or self.since,
            "units": self.scheduled, "cpus": self.cpus, "load": self.load[0] if self.load else math.nan,
            "mem": math.nan if self.used_bytes is None else self.used_bytes,
        }  # fmt: skip
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


def room_bar(used: int, reserved: int, total: int, cells: int = 10) -> str:
    """What is used, what is reserved beyond that, and what is free; "" where it is not known how much there is."""
    if not total:
        return ""
    filled = min(cells, round(cells * used / total))
    both = max(filled, min(cells, round(cells * reserved / total)))
    return "█" * filled + "▒" * (both - filled) + "·" * (cells - both)


def fullness(row: MachineRow) -> float:
    """The largest part of what it has that is taken: used or reserved memory, reserved cpus, or the disk."""
    memory, cpus, disk = row.memory_bytes, row.cpus * 1000, row.disk_bytes
    parts = [max(row.used_bytes or 0, memory_of(row.reserved, memory)) / memory] if memory else []
    parts += [row.reserved.cpu_millis / cpus] if cpus else []
    parts += [1 - row.disk_free_bytes / disk] if disk else []
    return max(parts, default=0.0)


FULL, TIGHT = 0.9, 0.75  # of a machine


def _room(row: MachineRow, _now: float) -> Cell:
    used, reserved, total = row.used_bytes or 0, memory_of(row.reserved, row.memory_bytes), row.memory_bytes
    if not total:
        return _quiet("-")
    taken = max(used, reserved) / total
    return Cell(f"{room_bar(used, reserved, total)} {taken:>4.0%}", Tone.BUSY if taken >= FULL else Tone.PLAIN)


def _disk(row: MachineRow, _now: float) -> Cell:
    if not row.disk_bytes:
        return _quiet("-")
    used = 1 - row.disk_free_bytes / row.disk_bytes
    return Cell(f"{used:.0%}", Tone.BUSY if used >= FULL else Tone.PLAIN)


PRESSED = 10.0  # percent: programs wait noticeably
WAITED_FOR = ("cpu", "memory", "disk")


def _pressure(row: MachineRow, _now: float) -> Cell:
    if not row.pressure:
        return _quiet("-")
    most, what = max(zip(row.pressure, WAITED_FOR, strict=False))
    return Cell(f"{what} {most:.0f} %", Tone.BUSY) if most >= PRESSED else _quiet(f"{most:.0f} %")


def _note(row: MachineRow, _now: float) -> Cell:
    bad = row.state in TROUBLE or row.blocked
    return Cell(row.note, Tone.BAD if bad else Tone.QUIET if row.state == "left" else Tone.WAIT)


COLUMNS: tuple[Column[MachineRow], ...] = (
    Column("machine", "MACHINE", 24, lambda row, _: _plain(row.hostname),
           lambda row: (natural(row.hostname), row.key), longest=lambda row: len(row.hostname)),
    Column("state", "STATE", 15, _state_cell, lambda row: (ORDER[row.state], natural(row.hostname)),
           longest=lambda row: 15 if row.gone_at else len(STATE_CELLS[row.state].text)),
    Column("units", "UNITS", 13, _units, lambda row: -row.scheduled, right=True,
           longest=lambda row: len(_units_text(row)), falls=True),
    Column("load", "LOAD", 6, _load, lambda row: -(row.load[0] if row.load else -1.0), drop=2, right=True,
           falls=True),
    Column("memory", "MEMORY", 16, _memory, lambda row: -(row.used_bytes or -1), drop=2, right=True,
           longest=lambda row: len(_memory_text(row)), falls=True),
    Column("room", "ROOM", 15, _room, lambda row: -fullness(row), drop=1, falls=True),
    Column("disk", "DISK", 4, _disk, lambda row: row.disk_free_bytes / (row.disk_bytes or 1), drop=4, right=True),
    Column("pressure", "PRESSURE", 11, _pressure, lambda row: -max(row.pressure, default=-1.0), drop=5, right=True,
           falls=True),
    Column("address", "ADDRESS", 39, lambda row, _: _plain(row.address), lambda row: row.address, drop=4,
           longest=lambda row: len(row.address)),
    Column("id", "ID", 11, lambda row, _: _quiet(f"{row.key[:8]}..."), lambda row: row.key, drop=6),
    Column("cpus", "CPUS", 4, lambda row, _: _quiet(str(row.cpus or "-")), lambda row: -row.cpus, drop=8,
           right=True, falls=True),
    Column("agent", "AGENT", 10, lambda row, _: _quiet(row.agent), lambda row: row.agent, drop=7,
           longest=lambda row: len(row.agent)),
    Column("systemd", "SYSTEMD", 8, lambda row, _: _quiet(row.systemd), lambda row: row.systemd, drop=9,
           longest=lambda row: len(row.systemd)),
    Column("since", "JOINED", 7, lambda row, now: _quiet(since(row.since, now)), lambda row: -row.since, drop=5),
    Column("metadata", "METADATA", 40, lambda row, _: _quiet(row.metadata), lambda row: row.metadata, drop=3,
           longest=lambda row: len(row.metadata)),
    Column("why", "WHY", 0, _note, lambda row: (not row.note, row.note)),
)  # fmt: skip


LEFT_S, LOST_S = 3600.0, 24 * 3600.0  # how long the registry's events alone keep an absent machine on the table
OF_MACHINES = frozenset(
    {Table.MACHINES, Table.OVERRIDES, Table.USAGE, Table.SCHEDULE, Table.STATES, Table.DUPLICATES}
)
IN_USE = frozenset({Table.USAGE, Table.SCHEDULE, Table.STATES})
MEMBERSHIP = frozenset({"join", "leave", "lost"})
NAMES = 2000  # machines whose names are remembered
NAMED = 3  # units named of those that a lost machine held


@dataclass(frozen=True, slots=True)
class AbsentMachine:
    """A machine that was here: its record (None: never seen), when it vanished (0: not known), what it held."""

    record: Machine | None
    at: float = 0.0
    orderly: bool = False  # it left in order
    held: tuple[str, ...] = ()
    joined_as: str = ""  # "core-1 at 10.91.0.11", as its join event has it

    def is_shown(self, now: float) -> bool:
        """Whether it stays on the table when nothing else in the registry names it."""
        if self.orderly:
            return now - self.at < LEFT_S
        return self.record is not None or (self.at > 0 and now - self.at < LOST_S)

    def names(self, machine: str) -> tuple[str, str]:
        """Its host name and its address, as far as they are known."""
        if self.record is not None:
            return escape(self.record.hostname), escape(self.record.address)
        hostname, at, address = self.joined_as.partition(" at ")
        return (escape(hostname), escape(address)) if at else (_nameless(machine), "-")

    def note(self, scheduled: int) -> str:
        """Why it is gone and what that means for its units, so many of which are still scheduled there."""
        if self.orderly and not scheduled:
            return "its agent was stopped and handed its units over"
        held = f"it held {escape(listed(self.held, NAMED))}" if self.held else ""
        waiting = f"{counted(scheduled, 'unit')} still scheduled there" if scheduled else ""
        kept = self.held and self.record is not None and self.record.on_lost == "keep"
        cut = "its agent is down or cut off" + (": they may still run (keep)" if kept else "")
        return "; ".join(each for each in (held, waiting, cut) if each)


UNCOUNTED = ("", NOTHING)


class Reserved:
    """What the scheduled units of each machine reserve, kept line by line."""

    WORDS = ("MemoryReserve", "CPUReserve", "MemoryMax", "CPUQuota")  # a file without any of them reserves nothing

    def __init__(self) -> None:
        self._room, self._cache = Room(), UnitOptionsCache()
        self._counted: dict[Pair, tuple[str, Reserve]] = {}
        self._known: set[str] = set()  # files that the cache has

    def update(self, snapshot: Snapshot, pair: Pair) -> None:
        """Take in one line of a machine's schedule, as it is now."""
        machine, unit = pair
        line = snapshot.schedule.get(pair)
        file = snapshot.files.get(line.hash) if line else None
        sha256, before = self._counted.get(pair, UNCOUNTED)
        if (file.hash if file else "") == sha256:
            return
        reserve = NOTHING
        if file is not None and any(word in file.text for word in self.WORDS):
            if file.hash not in self._known:
                self._known.add(file.hash)
                self._cache.put(file.hash, file.text)
            options = self._cache.options(unit, file.hash)
            reserve = NOTHING if isinstance(options, OptionsError) else options.reserve
        if before != NOTHING:
            self._room.count(machine, before, -1)
        if reserve != NOTHING:
            self._room.count(machine, reserve, 1)
        self._counted.pop(pair, None)
        if file is not None:
            self._counted[pair] = (file.hash, reserve)

    def on(self, machine: str) -> Reserve:
        """What is reserved there."""
        return self._room.used(machine)


class MachineRows:
    """The machines as rows. Give it every snapshot: what vanishes unseen has no age.

    `names` are the last known host names by id, of machines that are here and of those that were.
    """

    def __init__(self, keys: Keys | None = None, names: Mapping[str, str] | None = None) -> None:
        self.names: dict[str, str] = dict(names or {})
        self.rows: dict[str, MachineRow] = {}
        self._keys = keys or Keys()
        self.start_over()

    def start_over(self) -> None:
        """Forget what was seen; the rows stay until the next snapshot."""
        self._scheduled: dict[str, set[str]] = defaultdict(set)
        self._held: dict[str, set[str]] = defaultdict(set)
        self._running: dict[str, set[str]] = defaultdict(set)
        self._reserved = Reserved()
        self._present: dict[str, Machine] = {}
        self._gone: dict[str, AbsentMachine] = {}
        self._forgotten: set[str] = set()
        self._drains = Drains(self._keys)
        self._draining: dict[str, Drain] = {}
        self._corrupt: Mapping[str, Corrupt] = {}
        self._unreadable = CorruptNames(Table.MACHINES)
        self._begun = False
        self._basis: tuple[object, ...] = ()  # the tables that the rows stand on; () looks at everything

    def update(
        self, snapshot: Snapshot, changed: Collection[Address] | None = None, now: float = 0.0
    ) -> Delta[MachineRow]:
        """Return the rows that differ from the last call. `changed` None: anything may have changed."""
        if changed is not None and self._same_machines(snapshot, changed):
            self._index(snapshot, changed)
            stale = {each.first for each in changed if each.table in IN_USE and self._may_differ(each)}
            used = {machine: self._row(snapshot, machine) for machine in stale}
            fresh = {key: row for key, row in used.items() if self.rows.get(key) != row}
            self.rows.update(fresh)
            return Delta(fresh)
        before = {
            machine: tuple(sorted(self._held.get(machine, set()) | self._scheduled.get(machine, set())))
            for machine in self._present.keys() - snapshot.machines.keys()
        }
        self._index(snapshot, changed)
        self._note_absences(snapshot, before, now)
        self._read_events(snapshot, changed)
        self._draining = self._drains.update(snapshot, now, fresh=self._begun)
        self._begun = self._begun or bool(snapshot.revision)
        stale = self._stale_machines(snapshot, changed) | before.keys()
        rows = {
            machine: self._row(snapshot, machine) if machine in stale else self.rows[machine]
            for machine in self._known(snapshot, now)
        }
        delta = Delta(
            {key: row for key, row in rows.items() if self.rows.get(key) != row},
            frozenset(self.rows.keys() - rows.keys()),
        )
        self.rows = rows
        self._basis = _basis(snapshot)
        return delta

    def _may_differ(self, changed: Address) -> bool:
        """Whether a machine's row may be another one: of a unit's state it has whether the unit runs, no more."""
        row = self.rows.get(changed.first)
        return changed.table is not Table.STATES or row is None or row.running != len(self._running[changed.first])

    def _same_machines(self, snapshot: Snapshot, changed: Collection[Address]) -> bool:
        """Whether the same machines are here as at the last call, all of them well: only their use may differ."""
        return (
            bool(self._basis)
            and all(new is old for new, old in zip(_basis(snapshot), self._basis, strict=True))
            and not self._gone
            and not self._draining
            and all(each.table in IN_USE and each.first in snapshot.machines for each in changed
                    if each.table in OF_MACHINES or each.table is Table.EVENTS)
        )  # fmt: skip

    def known(self) -> int:
        """How many machines there should be: those here and those lost."""
        return sum(row.state != "left" for row in self.rows.values())

    def absent(self) -> dict[str, Machine]:
        """The machines that are not here, by id, as they were when they were last known."""
        if self.names.keys() <= self._present.keys():  # as nearly always
            return {}
        gone = ((machine, name) for machine, name in self.names.items() if machine not in self._present)
        unseen = AbsentMachine(None)
        return {machine: self._gone.get(machine, unseen).record or Machine(machine, name, "-", "")
                for machine, name in gone}  # fmt: skip

    def forget(self, machine: str) -> None:
        """Do not show an absent machine any more until it is back."""
        self._gone.pop(machine, None)
        self._forgotten.add(machine)
        self._basis = ()

    # What is known

    def _stale_machines(self, snapshot: Snapshot, changed: Collection[Address] | None) -> set[str]:
        """The machines to look at again."""
        known = self._known(snapshot, 0.0) | self._gone.keys()
        if changed is None or snapshot.corrupt != self._corrupt:
            self._corrupt = snapshot.corrupt
            return known
        events = (snapshot.events.get(event_key(each)) for each in changed if each.table is Table.EVENTS)
        stale = {event.machine for event in events if event is not None}
        stale |= {each.first for each in changed if each.table in OF_MACHINES}
        return stale | self._draining.keys() | (known - self.rows.keys())

    def _index(self, snapshot: Snapshot, changed: Collection[Address] | None) -> None:
        if changed is None:
            for table in (self._scheduled, self._held, self._running):
                table.clear()
            self._reserved = Reserved()
            pairs = {*snapshot.schedule, *snapshot.states}
        else:
            pairs = {(each.first, each.second) for each in changed if each.table in (Table.SCHEDULE, Table.STATES)}
        for pair in pairs:
            machine, unit = pair
            state = snapshot.states.get(pair)
            self._reserved.update(snapshot, pair)
            _put(self._scheduled[machine], unit, present=pair in snapshot.schedule)
            _put(self._held[machine], unit, present=state is not None)
            _put(self._running[machine], unit, present=state is not None and state.active == "active")

    def _note_absences(self, snapshot: Snapshot, before: dict[str, tuple[str, ...]], now: float) -> None:
        """Keep the machines that vanished as absent, and drop those that are back."""
        for machine, held in before.items():
            record = self._present[machine]
            if machine not in self._unreadable.of(snapshot):
                self._gone[machine] = AbsentMachine(record, now, record.leaving, () if record.leaving else held)
        for machine in snapshot.machines:
            self._gone.pop(machine, None)
            self._forgotten.discard(machine)
        self._present = dict(snapshot.machines)
        self.names |= {machine: record.hostname for machine, record in snapshot.machines.items()}
        if len(self.names) > NAMES:  # machines come and go for ever: those of the longest ago are dropped
            self.names = dict(list(self.names.items())[-NAMES:])

    def _read_events(self, snapshot: Snapshot, changed: Collection[Address] | None) -> None:
        """Learn from the events of machines that left before this console was started."""
        if changed is not None:
            fresh = [snapshot.events.get(event_key(each)) for each in changed if each.table is Table.EVENTS]
            events = [event for event in fresh if event is not None]
        else:
            events = [event for _, event in sorted(snapshot.events.items())]
        for event in events:
            if event.verb in MEMBERSHIP and event.machine and event.machine not in snapshot.machines:
                self._note(event)

    def _note(self, event: Event) -> None:
        known = self._gone.get(event.machine)
        joined_as = event.reason if event.verb == "join" else known.joined_as if known else ""
        hostname, at, _ = joined_as.partition(" at ")
        if at:
            self.names.setdefault(event.machine, hostname)
        if known is not None and known.record is not None:
            return  # seen by this console itself
        if event.verb == "join":
            self._gone[event.machine] = AbsentMachine(None, joined_as=joined_as)
        else:
            self._gone[event.machine] = AbsentMachine(None, event.at, event.verb == "leave", joined_as=joined_as)

    def _known(self, snapshot: Snapshot, now: float) -> set[str]:
        known = {*snapshot.machines, *snapshot.overrides, *self._unreadable.of(snapshot)}
        known |= {machine for machine, units in self._scheduled.items() if units}
        known |= {machine for machine, units in self._held.items() if units}
        known -= self._forgotten
        known |= {machine for machine in self._forgotten if self._scheduled.get(machine)}
        return known | {machine for machine, gone in self._gone.items() if gone.is_shown(now)}

    # Rows

    def _row(self, snapshot: Snapshot, machine: str) -> MachineRow:
        running, scheduled = len(self._running[machine]), len(self._scheduled[machine])
        record, override = snapshot.machines.get(machine), snapshot.overrides.get(machine)
        if record is None:
            return self._absent_row(snapshot, machine, running, scheduled)
        state, note = self._state(snapshot, record, override)
        drain = self._draining.get(machine)
        usage = snapshot.usage.get(machine)
        metadata = effective_metadata(record, override)
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
            used_bytes=usage.memory_bytes - usage.available_bytes if usage and usage.memory_bytes else None,
            load=usage.load if usage else None,
            agent=escape(record.agent_version) or "-",
            systemd=escape(record.systemd_version.partition("-")[0]) or "-",
            since=record.since,
            ttl_s=record.ttl_s,
            reserved=self._reserved.on(machine),
            pressure=usage.pressure if usage else (),
            disk_bytes=usage.disk_bytes if usage else 0,
            disk_free_bytes=usage.disk_free_bytes if usage else 0,
            note=note,
            blocked=bool(drain and drain.left.done and drain.left.stuck),
        )

    def _absent_row(self, snapshot: Snapshot, machine: str, running: int, scheduled: int) -> MachineRow:
        bad = self._unreadable.of(snapshot).get(machine)
        if bad is not None:
            note = f"its registry record does not parse: {escape(bad)}; restart fleet-agentd there"
            return MachineRow(machine, _nameless(machine), "-", "corrupt", running, scheduled, "", note=note)
        gone = self._gone.get(machine, AbsentMachine(None))
        hostname, address = gone.names(machine)
        if gone.record is None and machine in self.names:
            hostname = escape(self.names[machine])
        state = "left" if gone.orderly and not scheduled else "lost"
        note = gone.note(scheduled)
        return MachineRow(machine, hostname, address, state, running, scheduled, "", gone_at=gone.at, note=note)

    def _state(self, snapshot: Snapshot, record: Machine, override: Override | None) -> tuple[str, str]:
        """Its state, and a note on it."""
        twins = [twin for (each, _), twin in snapshot.duplicates.items() if each == record.id]
        if twins:
            who = f"{escape(twins[0].hostname)} at {escape(twins[0].address)}"
            return "duplicate", f"{who} came with the same id; it does nothing until this one is gone"
        if record.leaving:
            return "leaving", "its agent hands its units over"
        if record.held:
            return "held", f"it changes nothing: {escape(record.held)}; see fleetctl restore"
        availability = override.availability if override else Availability.READY
        if override is None or availability is Availability.READY:
            return "ready", ""
        who = f"by {escape(override.by)}" if override.by else ""
        drain = self._draining.get(record.id)
        if drain is None:
            return availability.value, who
        told = (drain.progress or "nothing left to move", escape(drain.blocked), who)
        return "draining", ", ".join(each for each in told if each)


def machine_rows(snapshot: Snapshot, now: float = 0.0) -> dict[str, MachineRow]:
    """Return the rows of one snapshot alone."""
    return MachineRows().update(snapshot, None, now).changed


def _basis(snapshot: Snapshot) -> tuple[object, ...]:
    """The tables where any change may concern any row."""
    return snapshot.machines, snapshot.overrides, snapshot.duplicates, snapshot.corrupt


def _put(units: set[str], unit: str, *, present: bool) -> None:
    if present:
        units.add(unit)
    else:
        units.discard(unit)


def _nameless(machine: str) -> str:
    """A machine whose name is not known, by its shortened id."""
    return escape(f"{machine[:8]}..." if len(machine) > 8 else machine)
