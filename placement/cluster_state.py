"""The cluster as decisions see it: an entry for every unit, the machines, and indexes over both.

Owns the applying of registry records: each keeps entries and indexes true, and marks the units that it concerns
(`marks`). The state is changed by its own methods alone. It must not choose machines (`placement` does) or write
anything.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from placement.beside import NeededBeside
from placement.candidate_pools import CandidatePools
from placement.conflicts import ConflictIndex
from placement.cycles import Cycles
from placement.eligibility import Site, site_of
from placement.marks import Marks, put
from placement.options_cache import OptionsError, UnitOptionsCache
from placement.room import Room
from placement.unit_entry import UnitEntry, entries_of
from registry.keys import Address, Keys, Table
from registry.mirror import Snapshot
from registry.model import Availability, Machine, Override, Pending, Unit
from registry.units.options import ANYWHERE, NOTHING, FleetOptions

Faults = dict[str, Exception]  # unforeseen errors, by the unit whose decision they ended; "": a drain's
ASSIGNED, REPORTED = 1, 2  # why a unit occupies a machine: it shall be scheduled there, it reports a state there


class ClusterState:
    """An index of one snapshot, kept current by `apply`."""

    def __init__(self) -> None:
        self.entries: dict[str, UnitEntry] = {}
        self.candidates = CandidatePools()
        self.conflicts = ConflictIndex()
        self.room = Room()
        self.occupants: dict[str, dict[str, int]] = defaultdict(dict)  # by machine, its units, and why
        self.unconfirmed: set[tuple[str, str]] = set()  # (machine, unit): assigned or reported, but not both
        self.instances: dict[str, set[str]] = defaultdict(set)  # by template
        self.picky: set[str] = set()  # units that rather have one machine than another
        self.draining: set[str] = set()
        self.faults: Faults = {}
        self.followers: dict[str, set[str]] = defaultdict(set)
        self.marks = Marks(self.entries, self.occupants, self.conflicts, self.followers)
        self._globals: set[str] = set()
        self._issued: set[str] = set()  # units with decisions that the registry may not hold yet
        self._replacing: set[str] = set()  # units with Replaces
        self.cycles = Cycles(self.entries, self.followers, self._replacing, self.conflicts)
        self._options_cache = UnitOptionsCache()
        self._by_hash: dict[str, set[str]] = defaultdict(set)
        self._beside = NeededBeside(self.entries, self._options_cache)
        self._machines: dict[str, Machine | None] = {}
        self._overrides: dict[str, Override | None] = {}

    @classmethod
    def from_snapshot(cls, snapshot: Snapshot, keys: Keys, faults: Faults | None = None) -> ClusterState:
        """Index a snapshot, with every unit marked that does not evidently rest; those with `faults` stay."""
        state = cls()
        state.faults = dict(faults or {})
        for sha256, file in snapshot.files.items():
            state._options_cache.put(sha256, file.text)
        state._machines.update(snapshot.machines)
        state._overrides.update(snapshot.overrides)
        for machine in snapshot.machines:
            state._refresh_site(machine)
        state.entries.update(entries_of(snapshot))
        state._index_options()
        state.candidates.counts.update(machine for machine, _ in snapshot.schedule)
        state.occupants.update(occupants_of(snapshot))
        for machine, there in state.occupants.items():
            state.unconfirmed.update((machine, name) for name, why in there.items() if why != ASSIGNED | REPORTED)
        state.room.count_all(state.entries.values())
        crowded = state.conflicts.occupy_all(state.entries.values())
        for key in snapshot.corrupt:
            if (address := keys.parse(key)) is not None:
                state.apply(address, None, exists=True)
        for name, entry in state.entries.items():
            site = entry.resting_place(state.sites)
            if site is None or site.id in crowded or faults or snapshot.corrupt:
                state.marks.add(name)
        return state

    def _index_options(self) -> None:
        """Read the options of all units, of which the indexes know nothing yet: once for those with one file."""
        by_hash: dict[str, list[UnitEntry]] = defaultdict(list)
        for entry in self.entries.values():
            by_hash[entry.hash].append(entry)
            if family := entry.family:
                self.instances[family].add(entry.name)
        for sha256, group in by_hash.items():
            options = self._read_options(group[0], sha256)
            if not self._options_cache.shared(sha256):
                self._set_options(group[:1], options)
                for entry in group[1:]:
                    self._set_options((entry,), self._read_options(entry, sha256))
                continue
            for entry in group:
                entry.read_hash = sha256
            self._by_hash[sha256].update([each.name for each in group])
            self._set_options(group, options)

    @property
    def sites(self) -> dict[str, Site]:
        """The live machines, by id."""
        return self.candidates.sites

    def absent(self) -> list[str]:
        """The machines that units are scheduled on and that are not there."""
        return [machine for machine, units in self.occupants.items() if units and machine not in self.sites]

    # -- applying records

    def apply(self, address: Address, record: Any, *, exists: bool) -> None:  # noqa: ANN401 - any record
        """Take in what is at an address now. `record` None with `exists`: a value that does not parse."""
        first, second = address.first, address.second
        match address.table:
            case Table.UNITS:
                self._apply_unit(first, record, exists=exists)
            case Table.SCHEDULE:
                self._apply_schedule(first, second, record, exists=exists)
            case Table.STATES:
                self._apply_report(first, second, record.hash if record else "", exists=exists)
            case Table.PENDING:
                entry = self._entry(first)
                entry.pending, entry.pending_exists = record, exists
                if not entry.recorded:
                    self.marks.add(first)
                self._forget_if_empty(entry)
            case Table.PLACEMENTS:
                entry = self._entry(first)
                entry.past, entry.past_exists = record, exists
                self.marks.add_with_drains(first)
                self._forget_if_empty(entry)
            case Table.FILES:
                self._apply_file(first, record.text if record else None, exists=exists)
            case Table.MACHINES:
                _put_record(self._machines, first, record, exists=exists)
                self._refresh_site(first)
            case Table.OVERRIDES:
                _put_record(self._overrides, first, record, exists=exists)
                self._refresh_site(first)
            case _:
                return

    def _apply_unit(self, name: str, record: Unit | None, *, exists: bool) -> None:
        entry = self._entry(name)
        was_wanted = entry.wanted
        entry.unit, entry.held = record, exists and record is None
        self._reread(entry)
        if entry.wanted != was_wanted:
            self._relations_changed(entry)
        self.marks.add_with_drains(name)

    def _apply_schedule(self, machine: str, name: str, record: Any, *, exists: bool) -> None:  # noqa: ANN401
        entry = self._entry(name)
        _put_record(entry.scheduled, machine, record, exists=exists)
        if exists != (machine in entry.assigned):
            self.assign(entry, machine, present=exists)
            self.marks.add_related(entry)
            self.marks.add_with_drains(name)
        elif exists and entry.stale(machine):
            self.marks.add_with_drains(name)
        self._reread(entry)
        self._forget_if_empty(entry)

    def _apply_report(self, machine: str, name: str, sha256: str, *, exists: bool) -> None:
        entry = self._entry(name)
        known = machine in entry.reported
        _put_record(entry.reported, machine, sha256, exists=exists)
        if exists != known:
            self._occupy(entry, machine, REPORTED, present=exists)
            self.marks.add_with_drains(name)
            self.marks.add_followers(name)
        if entry.unit is None:
            self._reread(entry)
        self._forget_if_empty(entry)

    def _apply_file(self, sha256: str, text: str | None, *, exists: bool) -> None:
        if exists:
            self._options_cache.put(sha256, text)
        else:
            self._options_cache.drop(sha256)
        for name in sorted(self._by_hash.get(sha256, ())):
            self._reread(self.entries[name], again=True)
            self.marks.add_with_drains(name)

    def _refresh_site(self, machine: str) -> None:
        old, new = self.sites.get(machine), self._read_site(machine)
        if old == new:
            return
        if new is None:
            self.candidates.remove(machine)
        else:
            self.candidates.put(new)
        put(self.draining, machine, present=new is not None and new.availability is Availability.DRAINING)
        self.marks.add_for_machine(machine, [each for each in (old, new) if each is not None], self._globals)
        if len(self.sites) <= 1 and (old is None or new is None):
            self.marks.add_all_waiting()

    def _read_site(self, machine: str) -> Site | None:
        if machine not in self._machines:
            return None
        record, override = self._machines[machine], self._overrides.get(machine)
        if record is None:
            return Site(machine, {}, trouble="its machine record is corrupt; restart fleet-agentd there")
        site = site_of(record, override)
        if override is None and machine in self._overrides:
            return Site(machine, site.metadata, trouble="its override is corrupt; cordon or uncordon it again")
        return site

    # -- entries

    def _entry(self, name: str) -> UnitEntry:
        entry = self.entries.get(name)
        if entry is None:
            entry = self.entries[name] = UnitEntry(name)
            if family := entry.family:
                self.instances[family].add(name)
        return entry

    def _forget_if_empty(self, entry: UnitEntry) -> None:
        if entry.empty:
            self._change_options(entry, self._read_options(entry, ""))
            self.entries.pop(entry.name, None)
            if family := entry.family:
                self.instances[family].discard(entry.name)
                if not self.instances[family]:
                    del self.instances[family]
            self.conflicts.forget(entry.name)
            self.marks.set_waiting(entry, waiting=False)
            self.marks.add_followers(entry.name)

    def _reread(self, entry: UnitEntry, *, again: bool = False) -> None:
        """Find out which options speak for the unit now, and keep the indexes true."""
        if again or entry.hash != entry.read_hash:
            self._change_options(entry, self._read_options(entry, entry.hash))
            for other in map(self.entries.__getitem__, self._beside.users(entry.name)):
                self._change_options(other, self._read_options(other, other.hash))
                self.marks.add_with_drains(other.name)

    def _read_options(self, entry: UnitEntry, sha256: str) -> FleetOptions:
        """Return the options of a unit with this file, which speaks for it from now on; "": none does."""
        if entry.read_hash:
            self._by_hash[entry.read_hash].discard(entry.name)
        if sha256:
            self._by_hash[sha256].add(entry.name)
        found = self._options_cache.options(entry.name, sha256) if sha256 else ANYWHERE
        if isinstance(found, FleetOptions) and (found.beside or entry.beside):
            found = self._beside.resolve(entry, found) or found
        entry.read_hash, entry.options_error = sha256, found if isinstance(found, OptionsError) else None
        return ANYWHERE if isinstance(found, OptionsError) else found

    def _change_options(self, entry: UnitEntry, options: FleetOptions) -> None:
        if options == entry.options:
            return
        self.marks.add_related(entry)
        machines = entry.assigned | entry.reported.keys()
        for machine in machines:
            self.conflicts.hold(machine, entry.against, -1)
        self.conflicts.unregister(entry.against)
        for leader in entry.options.machine_of:
            self.followers[leader].discard(entry.name)
            if not self.followers[leader]:
                del self.followers[leader]
        if options.reserve != entry.options.reserve:
            for machine in machines:
                self.room.count(machine, entry.options.reserve, -1)
                self.room.count(machine, options.reserve, 1)
            self.marks.add_for_room(freed=bool(machines))
        for names in (self._globals, self._replacing, self.picky):
            names.discard(entry.name)
        self._set_options((entry,), options)
        for machine in machines:
            self.conflicts.hold(machine, entry.against, 1)
        self.marks.add_related(entry)
        self._relations_changed(entry)

    def _set_options(self, group: Sequence[UnitEntry], options: FleetOptions) -> None:
        """Give units the same options, where the indexes know none of theirs."""
        for entry in group:
            entry.options = options
        self.conflicts.register(group[0].against, len(group))
        if not (options.machine_of or options.replaces or options.is_global or options.spread or options.prefer):
            return
        names = [each.name for each in group]
        if options.replaces:
            self._replacing.update(names)
        for leader in options.machine_of:
            self.followers[leader].update(names)
        if options.is_global:
            self._globals.update(names)
        if options.spread or options.prefer:
            self.picky.update(names)

    def _relations_changed(self, entry: UnitEntry) -> None:
        """Mark the units that a change of what follows or replaces what concerns."""
        self.marks.add_followers(entry.name)
        self.marks.add_chained()
        self.cycles.forget()

    # -- deciding

    def begin(self) -> None:
        """Begin a decision: what was decided before and never came to be is decided again."""
        for name in sorted(self._issued):
            entry = self.entries.get(name)
            if entry is None or entry.reflected:
                continue
            for machine in entry.assigned - entry.scheduled.keys():
                self.assign(entry, machine, present=False)
            for machine in entry.scheduled.keys() - entry.assigned:
                self.assign(entry, machine, present=True)
            self.marks.add_related(entry)
            self.marks.add(name)
        self._issued.clear()

    def note_fault(self, name: str, error: Exception) -> None:
        """Note an unforeseen error in the decision on a unit; "" is that on a drain."""
        self.faults[name] = error

    def set_due(self, entry: UnitEntry, due: Pending | None) -> None:
        """Note what the unit's pending record shall say."""
        entry.due = due

    def end(self, looked_at: Iterable[str], issued: Collection[str]) -> None:
        """End a decision that looked at these units and issued decisions on some of them."""
        self.candidates.end_decision()
        self._issued.update(issued)
        self.marks.drains = bool(issued)
        for name in looked_at:
            if name in self.entries:
                self._forget_if_empty(self.entries[name])

    def assign(self, entry: UnitEntry, machine: str, *, present: bool) -> None:
        """Assign a unit to a machine, or take it away; the units that it may concern are marked."""
        if present == (machine in entry.assigned):
            return
        put(entry.assigned, machine, present=present)
        self.candidates.count(machine, 1 if present else -1)
        self._occupy(entry, machine, ASSIGNED, present=present)
        self.marks.add_followers(entry.name)

    def _occupy(self, entry: UnitEntry, machine: str, bit: int, *, present: bool) -> None:
        old = self.occupants[machine].get(entry.name, 0)
        self._set_occupant(entry, machine, old | bit if present else old & ~bit)
        self.marks.add_waiting_for(entry, freed=not present)

    def _set_occupant(self, entry: UnitEntry, machine: str, why: int) -> None:
        occupants, name = self.occupants[machine], entry.name
        known = name in occupants
        if why:
            occupants[name] = why
            if not known:
                self.conflicts.occupy(name, machine, entry.against)
        elif known:
            del occupants[name]
            self.conflicts.vacate(name, machine, entry.against)
        if entry.options.reserve is not NOTHING:
            if known != bool(why):
                self.room.count(machine, entry.options.reserve, 1 if why else -1)
            self.marks.add_for_room(freed=not why)
        put(self.unconfirmed, (machine, name), present=why in (ASSIGNED, REPORTED))

    # -- relations

    def is_assigned(self, name: str, machine: str) -> bool:
        """Whether the unit of that name is assigned to the machine."""
        entry = self.entries.get(name)
        return entry is not None and machine in entry.assigned

    def opponents_at(self, entry: UnitEntry, machine: str) -> list[str]:
        """The units on a machine that keep this one from it, sorted."""
        if not self.conflicts.may_oppose(entry.name, entry.options, machine):
            return []
        others = map(self.entries.__getitem__, sorted(self.occupants.get(machine, ())))
        return [other.name for other in others if self.conflicts.keeps_out(entry, other)]

    def wins(self, one: UnitEntry, other: UnitEntry) -> bool:
        """Whether `one` replaces `other`."""
        if one.name == other.name or not self.conflicts.first_match(one.options.replaces, other.name):
            return False
        return not self.cycles.of_replacing(one)


def occupants_of(snapshot: Snapshot) -> dict[str, dict[str, int]]:
    """Return, by machine, its units, and why: what is scheduled there, what is reported there."""
    found: dict[str, dict[str, int]] = defaultdict(dict)
    for machine, name in snapshot.schedule:
        found[machine][name] = ASSIGNED
    for machine, name in snapshot.states:
        found[machine][name] = found[machine].get(name, 0) | REPORTED
    return found


def _put_record(records: dict[str, Any], key: str, record: Any, *, exists: bool) -> None:  # noqa: ANN401 - any record
    if exists:
        records[key] = record
    else:
        records.pop(key, None)
