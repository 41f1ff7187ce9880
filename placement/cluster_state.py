"""The cluster as the scheduler keeps it in mind: every unit's case, the machines, and indexes over both.

Owns the folding of registry records into cases and indexes, and the bookkeeping of which cases a change may
concern (`dirty`): deciding looks at those alone. Invariant: a case that is not dirty would be decided exactly as
it stands in the registry. Pure and in memory; it must not choose machines (`placement` does) or write anything.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from placement.candidate_pools import Pools
from placement.conflicts import ConflictIndex
from placement.eligibility import Site, rivalry, site_of
from placement.options_cache import OptionsError, UnitOptionsCache
from placement.unit_entry import UnitEntry
from registry.keys import Address, Keys, Table
from registry.mirror import Snapshot
from registry.model import Availability, Machine, Override
from registry.units.options import ANYWHERE, FleetOptions

Faults = dict[str, Exception]  # errors that nobody foresaw, by the unit whose decision they ended; "": a drain's
HOME, CLAIM = 1, 2  # why a unit occupies a machine: it is scheduled there, it reports a state there


class ClusterState:
    """An index of one snapshot, kept current by `fold`."""

    def __init__(self) -> None:
        self.cases: dict[str, UnitEntry] = {}
        self.pools = Pools()
        self.rivals = ConflictIndex()
        self.occupants: dict[str, dict[str, int]] = defaultdict(dict)
        self.followers: dict[str, set[str]] = defaultdict(set)
        self.globals: set[str] = set()
        self.replacers: set[str] = set()
        self.draining: set[str] = set()
        self.waiting: set[str] = set()
        self.dirty: set[str] = set()
        self.issued: set[str] = set()  # cases with decisions that the registry may not hold yet
        self.faults: Faults = {}
        self.drains_dirty = True
        self.circles: dict[str, str] = {}  # replacing case to the reason why it may not; kept while true
        self._chained: set[str] = set()  # waiting cases with MachineOf or Replaces
        self._contested: set[str] = set()  # waiting cases that some pattern concerns
        self._seekers: dict[str, set[str]] = defaultdict(set)  # pattern to cases that waited and hold it
        self._library = UnitOptionsCache()
        self._by_hash: dict[str, set[str]] = defaultdict(set)
        self._machines: dict[str, Machine | None] = {}
        self._overrides: dict[str, Override | None] = {}

    @property
    def sites(self) -> dict[str, Site]:
        """The live machines, by id."""
        return self.pools.sites

    def absent(self) -> list[str]:
        """The machines that units are scheduled on and that are not there."""
        return [machine for machine, units in self.occupants.items() if units and machine not in self.sites]

    # -- folding records in

    @classmethod
    def of(cls, snapshot: Snapshot, keys: Keys, faults: Faults | None = None) -> ClusterState:
        """The board of a snapshot, with every case dirty; units with `faults` are left as they are."""
        board = cls()
        board.faults = dict(faults or {})
        for table in (Table.FILES, Table.MACHINES, Table.OVERRIDES, Table.UNITS, Table.SCHEDULE):
            board._fold_table(snapshot, table)
        corrupt = [address for key in snapshot.corrupt if (address := keys.parse(key)) is not None]
        for address in corrupt:
            board.fold(address, None, exists=True)
        for table in (Table.STATES, Table.PENDING):
            board._fold_table(snapshot, table)
        board.dirty.update(board.cases)
        return board

    def _fold_table(self, snapshot: Snapshot, table: Table) -> None:
        for key, record in getattr(snapshot, table.value).items():
            first, second = key if isinstance(key, tuple) else (key, "")
            self.fold(Address(table, first, second), record, exists=True)

    def fold(self, address: Address, record: Any, *, exists: bool) -> None:  # noqa: ANN401 - any record
        """Take in what is at an address now. `record` None with `exists`: a value that does not parse."""
        first, second = address.first, address.second
        match address.table:
            case Table.UNITS:
                self._fold_unit(first, record, exists=exists)
            case Table.SCHEDULE:
                self._fold_line(first, second, record, exists=exists)
            case Table.STATES:
                self._fold_claim(first, second, record.hash if record else "", exists=exists)
            case Table.PENDING:
                self._fold_pending(first, record, exists=exists)
            case Table.FILES:
                self._fold_file(first, record.text if record else None, exists=exists)
            case Table.MACHINES:
                self._fold_machine(self._machines, first, record, exists=exists)
            case Table.OVERRIDES:
                self._fold_machine(self._overrides, first, record, exists=exists)
            case _:
                return

    def _fold_unit(self, name: str, record: Any, *, exists: bool) -> None:  # noqa: ANN401 - a Unit or None
        case = self._case(name)
        was_wanted = case.wanted
        case.unit, case.held = record, exists and record is None
        self._reread(case)
        if case.wanted != was_wanted:
            self._relations_changed(case)
        self._touch(name)

    def _fold_line(self, machine: str, name: str, record: Any, *, exists: bool) -> None:  # noqa: ANN401
        case = self._case(name)
        if exists:
            case.lines[machine] = record
        else:
            case.lines.pop(machine, None)
        if exists != (machine in case.homes):
            self.set_home(case, machine, present=exists)
            self._stir_all(case)
            self._touch(name)
        elif exists and case.stale(machine):
            self._touch(name)
        self._reread(case)
        self._forget_if_empty(case)

    def _fold_claim(self, machine: str, name: str, sha256: str, *, exists: bool) -> None:
        case = self._case(name)
        known = machine in case.claims
        if exists:
            case.claims[machine] = sha256
        else:
            case.claims.pop(machine, None)
        if exists != known:
            self._set_bit(case, machine, CLAIM, present=exists)
            self._touch(name)
            self._touch_followers(name)
        if case.unit is None:
            self._reread(case)
        self._forget_if_empty(case)

    def _fold_pending(self, name: str, record: Any, *, exists: bool) -> None:  # noqa: ANN401 - a Pending or None
        case = self._case(name)
        case.pending, case.pending_exists = record, exists
        if case.pending != case.verdict or exists != (case.verdict is not None):
            self.dirty.add(name)
        self._forget_if_empty(case)

    def _fold_file(self, sha256: str, text: str | None, *, exists: bool) -> None:
        if exists:
            self._library.put(sha256, text)
        else:
            self._library.drop(sha256)
        for name in sorted(self._by_hash.get(sha256, ())):
            self._reread(self.cases[name], again=True)
            self._touch(name)

    def _fold_machine(self, records: dict[str, Any], machine: str, record: Any, *, exists: bool) -> None:  # noqa: ANN401
        if exists:
            records[machine] = record
        else:
            records.pop(machine, None)
        self._refresh_site(machine)

    def _refresh_site(self, machine: str) -> None:
        old, new = self.sites.get(machine), self._read_site(machine)
        if old == new:
            return
        if new is None:
            self.pools.remove(machine)
        else:
            self.pools.put(new)
        if new is not None and new.availability is Availability.DRAINING:
            self.draining.add(machine)
        else:
            self.draining.discard(machine)
        self.drains_dirty = True
        self.dirty |= self.occupants[machine].keys()
        self.dirty |= self.waiting
        self.dirty |= self.globals

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

    # -- cases

    def _case(self, name: str) -> UnitEntry:
        case = self.cases.get(name)
        if case is None:
            case = self.cases[name] = UnitEntry(name)
        return case

    def _forget_if_empty(self, case: UnitEntry) -> None:
        if case.empty:
            self._index(case, "", ANYWHERE, None)
            self.cases.pop(case.name, None)
            self.rivals.forget(case.name)
            self.set_waiting(case, waiting=False)
            self._touch_followers(case.name)

    def forget(self, names: Iterable[str]) -> None:
        """Drop the cases among `names` of which the registry no longer speaks."""
        for name in names:
            if name in self.cases:
                self._forget_if_empty(self.cases[name])

    def _reread(self, case: UnitEntry, *, again: bool = False) -> None:
        """Find out which options speak for the case now, and keep the indexes true."""
        sha256 = case.hash
        if not again and sha256 == case.read_hash:
            return
        found = self._library.options(case.name, sha256) if sha256 else ANYWHERE
        trouble = found if isinstance(found, OptionsError) else None
        options = found if isinstance(found, FleetOptions) else ANYWHERE
        self._index(case, sha256, options, trouble)

    def _index(self, case: UnitEntry, sha256: str, options: FleetOptions, trouble: OptionsError | None) -> None:
        if case.read_hash:
            self._by_hash[case.read_hash].discard(case.name)
        if sha256:
            self._by_hash[sha256].add(case.name)
        case.read_hash, case.trouble = sha256, trouble
        if options != case.options:
            self._reindex(case, options)

    def _reindex(self, case: UnitEntry, options: FleetOptions) -> None:
        self._stir_all(case)
        machines = case.homes | case.claims.keys()
        for machine in machines:
            self.rivals.hold(machine, case.against, -1)
        self.rivals.unregister(case.against)
        for leader in case.options.machine_of:
            self.followers[leader].discard(case.name)
            if not self.followers[leader]:
                del self.followers[leader]
        case.options = options
        self.rivals.register(case.against)
        for machine in machines:
            self.rivals.hold(machine, case.against, 1)
        for leader in options.machine_of:
            self.followers[leader].add(case.name)
        _put(self.globals, case.name, present=options.is_global)
        _put(self.replacers, case.name, present=bool(options.replaces))
        self._stir_all(case)
        self._relations_changed(case)

    # -- occupancy

    def set_home(self, case: UnitEntry, machine: str, *, present: bool) -> None:
        """Schedule a case on a machine, or no longer; whom that may concern becomes dirty."""
        if present == (machine in case.homes):
            return
        _put(case.homes, machine, present=present)
        self.pools.count(machine, 1 if present else -1)
        self._set_bit(case, machine, HOME, present=present)
        self._touch_followers(case.name)

    def set_waiting(self, case: UnitEntry, *, waiting: bool) -> None:
        """Remember whether a case waits for the fleet to change."""
        if not waiting and case.name not in self.waiting:
            return
        _put(self.waiting, case.name, present=waiting)
        _put(self._chained, case.name, present=waiting and bool(case.options.machine_of or case.options.replaces))
        _put(self._contested, case.name, present=waiting and self.may_have_rivals(case))
        if waiting:
            for pattern in case.against:
                self._seekers[pattern].add(case.name)

    def rivals_at(self, case: UnitEntry, machine: str) -> list[str]:
        """Occupants of a machine that stand against the case there, sorted."""
        others = ((name, self.cases[name]) for name in sorted(self.occupants.get(machine, ())))
        return [name for name, other in others if rivalry(case.name, case.options, name, other.options)]

    def may_have_rivals(self, case: UnitEntry) -> bool:
        """Whether anything at all could stand against the case."""
        return bool(case.against) or bool(self.rivals.matching(case.name))

    def _set_bit(self, case: UnitEntry, machine: str, bit: int, *, present: bool) -> None:
        occupants = self.occupants[machine]
        old = occupants.get(case.name, 0)
        new = old | bit if present else old & ~bit
        if new:
            occupants[case.name] = new
        else:
            occupants.pop(case.name, None)
        if new and not old:
            self.rivals.occupy(case.name, machine, case.against)
        elif old and not new:
            self.rivals.vacate(case.name, machine, case.against)
        self._stir_waiting(case)

    # -- whom a change concerns

    def _touch(self, name: str) -> None:
        self.dirty.add(name)
        self.drains_dirty = True

    def _touch_followers(self, name: str) -> None:
        if name not in self.followers:
            return
        reached, ahead = {name}, [name]
        while ahead:
            new = self.followers.get(ahead.pop(), set()) - reached
            reached |= new
            ahead += new
            self.dirty |= new

    def _stir_waiting(self, case: UnitEntry, *, new_patterns: bool = False) -> None:
        """Waiting cases that the presence of `case` on a machine matters to."""
        if not self.waiting:
            return
        for pattern in self.rivals.matching(case.name):
            self.dirty |= self._seekers.get(pattern, set()) & self.waiting
        if case.against:
            self.dirty.update(
                name
                for name in (self.waiting if new_patterns else self._contested)
                if rivalry(name, self.cases[name].options, case.name, case.options)
            )

    def _stir_all(self, case: UnitEntry) -> None:
        """As `_stir_waiting`, and the cases that share a machine with it now."""
        if not (self.waiting or case.homes or case.claims):
            return
        self._stir_waiting(case, new_patterns=True)
        if not self.may_have_rivals(case):
            return
        for machine in case.homes | case.claims.keys():
            self.dirty.update(self.rivals_at(case, machine))
            self.dirty.update(
                name
                for name in self.occupants[machine]
                if rivalry(name, self.cases[name].options, case.name, case.options)
            )

    def _relations_changed(self, case: UnitEntry) -> None:
        """Who follows or replaces whom has changed: circles may have closed or opened."""
        self._touch_followers(case.name)
        if self._chained:
            self.dirty |= self._chained & self.waiting
        self.circles.clear()


def _put(names: set[str], name: str, *, present: bool) -> None:
    if present:
        names.add(name)
    else:
        names.discard(name)
