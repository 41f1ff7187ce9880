"""What would happen before it happens: a start, a drain, a loss, tried on the state of a snapshot and taken back.

Owns the trial: records are changed, then `decide` decides, its decisions are carried out, and the agents do as they
are told, until nothing is left to do. So a preview is what happens if nothing else does. What the leading
scheduler alone knows is not foreseen: it gives a machine that vanished some time to come back (`OutageGrace`), and
it leaves a unit alone whose decision fails. It must not change a record anywhere. Pure.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from placement.cluster_state import REPORTED, ClusterState
from placement.decide import decide
from placement.decisions import records_after
from placement.eligibility import Reason, group, summarise
from placement.objections import first_to_going
from placement.pending_reasons import PendingRule
from placement.unit_entry import UnitEntry
from registry.keys import DEFAULT_KEYS, Address, Keys, Table
from registry.mirror import Snapshot
from registry.model import (
    Assignment,
    Availability,
    Override,
    Pending,
    Target,
    Unit,
    UnitState,
    UnitText,
)
from registry.units.file import file_hash

TABLES = (
    Table.FILES,
    Table.MACHINES,
    Table.OVERRIDES,
    Table.UNITS,
    Table.SCHEDULE,
    Table.STATES,
    Table.PENDING,
    Table.PLACEMENTS,
)
ROUNDS = 10_000  # of deciding and carrying out; a drain takes two for each unit


@dataclass(frozen=True, slots=True)
class Prediction:
    """Where a unit will be: `machines` (several for a global unit), or nowhere new, and why; with the refusals."""

    unit: str
    machines: tuple[str, ...]
    summary: str
    refusals: tuple[Reason, ...] = ()


def preview_starts(
    snapshot: Snapshot, texts: Mapping[str, str], keys: Keys = DEFAULT_KEYS, destroyed: Iterable[str] = ()
) -> dict[str, Prediction]:
    """Predict where units with these texts go once they are started together; what may stay where it is stays.

    `destroyed` are units that make room meanwhile.
    """
    with trial(snapshot, keys) as tried:
        for name in destroyed:
            tried.delete(Address(Table.UNITS, name))
        for name, text in texts.items():
            tried.start(name, text)
        tried.settle()
        return {name: tried.refusing(tried.predict(name)) for name in texts}


def preview_drain(
    snapshot: Snapshot, machines: Iterable[str], keys: Keys = DEFAULT_KEYS
) -> dict[str, tuple[Prediction, ...]]:
    """Predict, by machine, where each of its units goes if these machines are drained together; by name.

    A unit without machines stays. Global units are left out: they belong to their machine. So are units that are
    only just being stopped.
    """
    machines = tuple(machines)
    with trial(snapshot, keys) as tried:
        occupants, entries = tried.state.occupants, tried.state.entries
        scheduled = {
            machine: [name for name in sorted(occupants.get(machine, ())) if machine in entries[name].scheduled]
            for machine in machines
        }
        for machine in machines:
            override = replace(
                snapshot.overrides.get(machine, Override(machine)),
                availability=Availability.DRAINING,
                drained_by="",
            )
            tried.put(Address(Table.OVERRIDES, machine), override)
        tried.settle()
        return {machine: tuple(tried.departures(machine, names)) for machine, names in scheduled.items()}


def preview_loss(snapshot: Snapshot, machine: str, unit: str, keys: Keys = DEFAULT_KEYS) -> Prediction:
    """Predict where a unit goes if a machine is lost for good, with everything on it."""
    with trial(snapshot, keys) as tried:
        tried.lose(machine)
        tried.settle()
        return tried.predict(unit)


@dataclass(frozen=True, slots=True)
class Loss:
    """What becomes of units if machines are lost together: those that go elsewhere, and those that would wait.

    Global units are left out, since they belong to their machine; so is what waits already. Both are by name.
    """

    machines: tuple[str, ...]
    moves: tuple[Prediction, ...]
    waits: tuple[Prediction, ...]


def preview_without(snapshot: Snapshot, machines: Iterable[str], keys: Keys = DEFAULT_KEYS) -> Loss:
    """Predict what becomes of every unit if these machines are lost for good, with everything on them."""
    machines = tuple(machines)
    with trial(snapshot, keys) as tried:
        entries = tried.state.entries
        before = {machine: set(tried.state.occupants.get(machine, ())) for machine in machines}
        for machine in machines:
            tried.lose(machine)
        tried.settle()
        touched: dict[str, set[str]] = {name: {*machines} for names in before.values() for name in names}
        for each in tried.changed:
            if each.table is Table.SCHEDULE:
                touched.setdefault(each.second, {*machines}).add(each.first)
        moves, waits = [], []
        for name in sorted(touched):
            entry = entries.get(name)
            there = touched[name] | (entry.scheduled.keys() if entry else set())
            was = {each for each in there if each in snapshot.machines and (each, name) in snapshot.schedule}
            if entry is None or not was or entry.options.is_global or not entry.wanted:
                continue
            found = tried.predict(name)
            if not found.machines:
                waits.append(found)
            elif not was.issuperset(found.machines):
                moves.append(found)
        return Loss(machines, tuple(moves), tuple(waits))


def preview_overrides(
    snapshot: Snapshot, overrides: Iterable[Override], keys: Keys = DEFAULT_KEYS
) -> frozenset[tuple[str, str]]:
    """Return the (machine, unit) pairs that are scheduled now and will not be under these overrides."""
    with trial(snapshot, keys) as tried:
        for override in overrides:
            tried.put(Address(Table.OVERRIDES, override.machine), override)
        tried.settle()
        entries = tried.state.entries
        return frozenset(
            (machine, name)
            for machine, name in snapshot.schedule
            if (entry := entries.get(name)) is None or machine not in entry.assigned
        )


@dataclass(frozen=True, slots=True)
class Settled:
    """What a cluster comes to: every schedule line by (machine, unit), and why units wait."""

    lines: Mapping[tuple[str, str], Assignment | None]  # None: one that does not parse
    waits: Mapping[str, Pending]


def preview_all(snapshot: Snapshot, keys: Keys = DEFAULT_KEYS) -> Settled:
    """Predict what is scheduled where, and what waits, once scheduler and agents have nothing left to do."""
    with trial(snapshot, keys) as tried:
        tried.settle()
        entries = tried.state.entries
        lines = {
            (machine, name): line for name, entry in entries.items() for machine, line in entry.scheduled.items()
        }
        return Settled(lines, {name: entry.due for name, entry in entries.items() if entry.due is not None})


class Trial:
    """Changes that are tried on a cluster state. Every one of them is remembered, and taken back in the end."""

    def __init__(self, state: ClusterState) -> None:
        self.state = state
        self.changed: set[Address] = set()

    def put(self, address: Address, record: Any) -> None:  # noqa: ANN401 - any record
        """Suppose that a record is written."""
        self.changed.add(address)
        self.state.apply(address, record, exists=True)

    def delete(self, address: Address) -> None:
        """Suppose that a record is deleted."""
        self.changed.add(address)
        self.state.apply(address, None, exists=False)

    def lose(self, machine: str) -> None:
        """Suppose that a machine is lost, with all states on it."""
        for name, why in sorted(self.state.occupants.get(machine, {}).items()):
            if why & REPORTED:
                self.delete(Address(Table.STATES, machine, name))
        self.delete(Address(Table.MACHINES, machine))

    def start(self, name: str, text: str) -> None:
        """Suppose that a unit is submitted with this text, in the place of another, and started."""
        sha256, entry = file_hash(text), self.state.entries.get(name)
        old = entry.unit if entry else None
        generation = old.generation + (old.hash != sha256) if old else 1
        self.put(Address(Table.FILES, sha256), UnitText(sha256, text))
        self.put(Address(Table.UNITS, name), Unit(name, sha256, Target.LAUNCHED, generation))

    def settle(self) -> None:
        """Decide and carry out, as the scheduler and the agents do, until nothing is left to do."""
        for _ in range(ROUNDS):
            decisions = decide(self.state)
            for decision in decisions:
                for address, record in records_after(decision):
                    self.changed.add(address)
                    self.state.apply(address, record, exists=record is not None)
            if not self._agents_follow() and not decisions:
                return

    def _agents_follow(self) -> bool:
        """Have live machines report what is scheduled there, and nothing else; False when they do so already."""
        sites, occupants = self.state.sites, self.state.occupants
        pairs = {pair for pair in self.state.unconfirmed if pair[0] in sites}
        pairs |= {(each.id, name) for each in sites.values() if each.leaving for name in occupants[each.id]}
        done = False
        for machine, name in sorted(pairs):
            entry, leaving = self.state.entries[name], sites[machine].leaving
            line, reported = entry.scheduled.get(machine), machine in entry.reported
            address = Address(Table.STATES, machine, name)
            if reported and (leaving or machine not in entry.scheduled):
                self.delete(address)
            elif line is not None and not (reported or leaving):
                self.put(address, UnitState(name, machine, line.hash, line.generation, line.target))
            else:
                continue
            done = True
        return done

    # -- reading what came of it

    def predict(self, name: str) -> Prediction:
        """Return where the unit is now, or why nowhere."""
        entry = self.state.entries.get(name)
        if entry is None:
            return Prediction(name, (), f"{name} is not in the registry")
        machines = tuple(sorted(entry.assigned & self.state.sites.keys()))
        if not machines:
            return Prediction(name, (), entry.due.summary if entry.due else "")
        return Prediction(name, machines, f"would go to {', '.join(machines)}")

    def refusing(self, found: Prediction) -> Prediction:
        """Add what the machines that a unit does not go to have against it."""
        entry = self.state.entries[found.unit]
        if entry.due is not None and entry.due.rule in {*PendingRule}:
            return found
        refused = first_to_going(self.state, entry)
        return replace(found, refusals=group({each: refused[each] for each in refused.keys() - {*found.machines}}))

    def departures(self, machine: str, names: Iterable[str]) -> Iterator[Prediction]:
        """Yield where each of these units, which were on the machine, is now, or why it is still there."""
        for name in names:
            entry = self.state.entries.get(name)
            if entry is None or entry.options.is_global:
                continue
            if machine in entry.assigned:
                yield self._staying(entry, machine)
            elif entry.wanted:
                yield self.predict(name)

    def _staying(self, entry: UnitEntry, machine: str) -> Prediction:
        state, site = self.state, self.state.sites.get(machine)
        ready = ""
        if entry.held:
            ready = "its record is corrupt, so it is left as it is; submit it again"
        elif entry.options_error:
            ready = entry.options_error.reason
        elif site is not None and site.trouble:
            ready = site.trouble
        elif not state.sites.keys() - {machine}:
            ready = "there is no other machine"
        ready = ready or state.cycles.of_replacing(entry) or state.cycles.of_following(entry)
        if ready:
            return Prediction(entry.name, (), ready)
        objections = first_to_going(state, entry)
        objections.pop(machine, None)
        refusals = group(objections)
        return Prediction(entry.name, (), summarise(objections, refusals), refusals)


@contextmanager
def trial(snapshot: Snapshot, keys: Keys) -> Iterator[Trial]:
    """Try changes on the state of a snapshot; they are taken back in the end."""
    with latest.lock:
        tried = Trial(latest.state_of(snapshot, keys))
        try:
            yield tried
        except BaseException:
            latest.forget()
            raise
        latest.take_back(tried.changed)


class StateCache:
    """The cluster state of the snapshot that was asked about last.

    A question about a later snapshot applies what differs: that costs a look at the tables that changed, and work
    for each record that did. Tables and records of two snapshots of one mirror are the same objects. The `lock` is
    held while the state is used: questions come from several threads.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._snapshot = Snapshot()
        self._keys = DEFAULT_KEYS
        self._corrupt: set[Address] = set()
        self._state = ClusterState()

    def state_of(self, snapshot: Snapshot, keys: Keys) -> ClusterState:
        """Return the state of a snapshot; what is changed in it must be taken back."""
        if self._state.faults or keys != self._keys:
            self.forget()
        if snapshot is not self._snapshot:
            before, self._snapshot, self._keys = self._snapshot, snapshot, keys
            corrupt = {found for key in snapshot.corrupt if (found := keys.parse(key)) is not None}
            changed, self._corrupt = corrupt ^ self._corrupt, corrupt
            known = len(self._state.entries)
            if known:
                changed.update(address for table in TABLES for address in _differing(before, snapshot, table))
            if known and len(changed) <= known:
                self.take_back(changed)
            else:
                self._state = ClusterState.from_snapshot(snapshot, keys)
        return self._state

    def forget(self) -> None:
        """Begin from scratch with the next question."""
        self._snapshot, self._corrupt, self._state = Snapshot(), set(), ClusterState()

    def take_back(self, addresses: Iterable[Address]) -> None:
        """Apply what the snapshot has at these addresses; what was decided since is void."""
        for address in addresses:
            record = getattr(self._snapshot, address.table.value).get(
                (address.first, address.second) if address.second else address.first
            )
            self._state.apply(address, record, exists=record is not None or address in self._corrupt)
        self._state.begin()


def _differing(before: Snapshot, after: Snapshot, table: Table) -> Iterator[Address]:
    old, new = getattr(before, table.value), getattr(after, table.value)
    if old is new:
        return
    for key in [key for key, record in new.items() if old.get(key) is not record] + [*(old.keys() - new.keys())]:
        yield Address(table, *key) if isinstance(key, tuple) else Address(table, key)


latest = StateCache()
