"""Which units a change may concern: deciding looks at those alone.

Owns the marks, and what is remembered of the units that wait. Invariant: a unit that is not marked would be decided
exactly as it stands in the registry. It must not change the cluster state whose entries and indexes it reads.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import TypeVar

from placement.conflicts import ConflictIndex, exclude_each_other
from placement.eligibility import conflict_pattern
from placement.unit_entry import UnitEntry
from registry.units.options import NOTHING

T = TypeVar("T")
Occupants = Mapping[str, Mapping[str, int]]  # by machine, the units there, and why


class Marks:
    """The units, and the drains, that the next decision looks at."""

    def __init__(
        self,
        entries: Mapping[str, UnitEntry],
        occupants: Occupants,
        conflicts: ConflictIndex,
        followers: Mapping[str, set[str]],
    ) -> None:
        self.units: set[str] = set()
        self.reworded: set[str] = set()  # units that have less room now: nothing but what is said of them changes
        self.drains = True  # whether the machines that are drained are to be looked at
        self._entries, self._occupants, self._conflicts, self._followers = entries, occupants, conflicts, followers
        self._waiting: set[str] = set()
        self._chained: set[str] = set()  # waiting units with MachineOf or Replaces
        self._contested: set[str] = set()  # waiting units that some pattern concerns
        self._hungry: set[str] = set()  # waiting units that need room on a machine
        self._seekers: dict[str, set[str]] = defaultdict(set)  # pattern to units that waited and hold it

    def take(self) -> set[str]:
        """Return the marked units; none is marked then."""
        taken, self.units = self.units, set()
        return taken

    def take_drains(self) -> bool:
        """Return whether the drains are to be looked at; they are not to be then."""
        due, self.drains = self.drains, False
        return due

    def add(self, name: str) -> None:
        """Mark one unit."""
        self.units.add(name)

    def add_with_drains(self, name: str) -> None:
        """Mark one unit, and the drains, which its place matters to."""
        self.units.add(name)
        self.drains = True

    def add_followers(self, name: str) -> None:
        """Mark the units that follow this one, those that follow them, and so on."""
        if name not in self._followers:
            return
        reached, ahead = {name}, [name]
        while ahead:
            new = self._followers.get(ahead.pop(), set()) - reached
            reached |= new
            ahead += new
            self.units |= new

    def add_waiting_for(self, entry: UnitEntry, *, new_patterns: bool = False) -> None:
        """Mark the waiting units that the presence of this one on a machine matters to."""
        if not self._waiting:
            return
        for pattern in self._conflicts.matching(entry.name):
            self.units |= self._seekers.get(pattern, set()) & self._waiting
        if entry.against:
            self.units.update(
                name
                for name in (self._waiting if new_patterns else self._contested)
                if conflict_pattern(name, self._entries[name].options, entry.name, entry.options)
            )

    def add_for_room(self, *, freed: bool) -> None:
        """Mark the waiting units that need room on a machine, of which there is more now, or less."""
        if freed:
            self.units |= self._hungry
        else:
            self.reworded |= self._hungry

    def take_reworded(self) -> set[str]:
        """Return the units that have less room now; there are none then."""
        taken, self.reworded = self.reworded, set()
        return taken

    def add_related(self, entry: UnitEntry) -> None:
        """Mark the waiting units that this one matters to, and those that it may not share its machines with."""
        if not (self._waiting or entry.assigned or entry.reported):
            return
        self.add_waiting_for(entry, new_patterns=True)
        if not self._conflicts.may_concern(entry):
            return
        for machine in entry.assigned | entry.reported.keys():
            if self._conflicts.may_oppose(entry.name, entry.options, machine):
                there = self._occupants[machine]
                self.units.update(name for name in there if exclude_each_other(entry, self._entries[name]))

    def add_chained(self) -> None:
        """Mark the waiting units that follow or replace others: what follows or replaces what has changed."""
        self.units |= self._chained

    def add_for_machine(self, machine: str, everywhere: Iterable[str]) -> None:
        """Mark what a change of a machine concerns: what is on it, what waits, what is to be `everywhere`."""
        self.units |= self._occupants.get(machine, {}).keys()
        self.units |= self._waiting
        self.units.update(everywhere)
        self.drains = True

    def waits(self, name: str) -> bool:
        """Whether a unit waits for the fleet to change."""
        return name in self._waiting

    def set_waiting(self, entry: UnitEntry, *, waiting: bool) -> None:
        """Remember whether a unit waits for the fleet to change."""
        name, options = entry.name, entry.options
        if not waiting and name not in self._waiting:
            return
        put(self._waiting, name, present=waiting)
        put(self._chained, name, present=waiting and bool(options.machine_of or options.replaces))
        put(self._contested, name, present=waiting and self._conflicts.may_concern(entry))
        put(self._hungry, name, present=waiting and options.reserve != NOTHING)
        if waiting:
            for pattern in entry.against:
                self._seekers[pattern].add(name)


def put(names: set[T], name: T, *, present: bool) -> None:
    """Add a name to a set, or take it out."""
    if present:
        names.add(name)
    else:
        names.discard(name)
