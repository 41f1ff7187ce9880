"""Which units a change may concern: deciding looks at those alone.

Owns the marks, and what is remembered of the units that wait. Invariant: a unit that is not marked would be decided
exactly as it stands in the registry. Units that wait alike, with equal options and nothing else that matters, are a
crowd: one of them speaks for all, and the others are looked at only where it finds a place, or waits for another
reason. It must not change the cluster state whose entries and indexes it reads.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import TypeVar

from placement.conflicts import ConflictIndex
from placement.eligibility import Site, matters
from placement.unit_entry import UnitEntry
from registry.units.options import NOTHING, FleetOptions

T = TypeVar("T")
Occupants = Mapping[str, Mapping[str, int]]  # by machine, the units there, and why
Crowd = FleetOptions | str  # the options of all of it; the name of a unit that waits like no other


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
        self._speakers: set[str] = set()  # of the units that were taken, those that speak for their crowds
        self.drains = True  # whether the machines that are drained are to be looked at
        self._entries, self._occupants, self._conflicts, self._followers = entries, occupants, conflicts, followers
        self._waiting: dict[str, Crowd] = {}
        self._crowds: dict[Crowd, set[str]] = {}
        self._due: set[Crowd] = set()  # one of each is to be looked at
        self._reworded: set[Crowd] = set()  # the same, once all is placed: there is less room, for which they wait
        self._crowded: set[str] = set()  # patterns that match units that have come to a machine, likewise
        self._crowding: set[str] = set()  # and patterns that these units hold
        self._stopping: set[str] = set()  # waiting units that are on a machine still
        self._chained: set[str] = set()  # waiting units with MachineOf or Replaces
        self._sought: dict[str, set[str]] = {}  # pattern to the waiting units that it matches
        self._sought_by: dict[str, Collection[str]] = {}  # and the patterns, by unit
        self._hungry: set[Crowd] = set()  # those that need room on a machine
        self._seekers: dict[str, set[str]] = defaultdict(set)  # pattern to units that waited and hold it

    def take(self) -> set[str]:
        """Return the marked units, and those that speak for the marked crowds; none is marked then."""
        taken, self.units = self.units, set()
        for crowd in self._due:
            if unmarked := self._crowds.get(crowd, set()) - taken:  # one that is marked may have changed itself
                taken.add(speaker := min(unmarked))
                self._speakers.add(speaker)
        self._due.clear()
        return taken

    def __bool__(self) -> bool:
        """Whether any unit or crowd is marked."""
        return bool(self.units or self._due)

    def take_speakers(self) -> set[str]:
        """Return the units that have been looked at in the place of those that wait alike."""
        taken, self._speakers = self._speakers, set()
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

    def add_waiting_for(self, entry: UnitEntry, *, freed: bool) -> None:
        """Mark the waiting units that it matters to whether this one is on a machine.

        Where it has come, and not gone, no place is free that was not: what is said of them may be another thing,
        and those that are still being stopped somewhere may choose again.
        """
        if not self._waiting:
            return
        matching = self._conflicts.matching(entry.name)
        if freed:
            self.units |= self._concerned(matching, entry.against)
        elif matching or entry.against:
            self._crowded |= {*matching}
            self._crowding.update(entry.against)
            if self._stopping:
                self.units |= self._concerned(matching, entry.against) & self._stopping

    def _concerned(self, matching: Iterable[str], against: Iterable[str]) -> set[str]:
        """The waiting units that hold some of the patterns that match a unit, or that its own patterns match."""
        found: set[str] = set()
        for pattern in matching:
            found |= self._seekers.get(pattern, set()) & self._waiting.keys()
        for pattern in against if self._sought else ():
            found |= self._sought.get(pattern, set())
        return found

    def add_for_room(self, *, freed: bool) -> None:
        """Mark the waiting units that need room on a machine, of which there is more now, or less."""
        if freed:
            self._due |= self._hungry
        else:
            self._reworded |= self._hungry

    def add_reworded(self) -> bool:
        """Mark those that have less room now, or more company: nothing but what is said of them changes.

        False: there are none.
        """
        self._due |= self._reworded
        self.units |= self._concerned(self._crowded, self._crowding)
        self._reworded, self._crowded, self._crowding = set(), set(), set()
        return bool(self)

    def add_alike(self, name: str) -> None:
        """Mark the units that wait as this one does."""
        if name in self._waiting:
            self.units |= self.alike(name)

    def alike(self, name: str) -> set[str]:
        """Return the units that wait as this one does, itself included; none where it does not wait."""
        return self._crowds.get(self._waiting.get(name, ""), set())

    def add_related(self, entry: UnitEntry) -> None:
        """Mark the waiting units that this one matters to, and those that it may not share its machines with."""
        if not (self._waiting or entry.assigned or entry.reported):
            return
        self.add_waiting_for(entry, freed=True)
        if entry.against:  # which may be new
            others = map(self._entries.__getitem__, self._waiting)
            self.units.update(each.name for each in others if self._conflicts.keeps_out(each, entry))
        if not self._conflicts.may_concern(entry):
            return
        for machine in entry.assigned | entry.reported.keys():
            if self._conflicts.may_oppose(entry.name, entry.options, machine):
                there = self._occupants[machine]
                others = map(self._entries.__getitem__, there)
                self.units.update(each.name for each in others if self._conflicts.exclude_each_other(entry, each))

    def add_chained(self) -> None:
        """Mark the waiting units that follow or replace others: what follows or replaces what has changed."""
        self.units |= self._chained

    def add_for_machine(self, machine: str, states: Iterable[Site], everywhere: Iterable[str]) -> None:
        """Mark what a change of a machine concerns: what is on it, what waits for one like it, what is to be
        `everywhere`. `states`: what it was and is, as far as it was and is there.
        """
        self.units |= self._occupants.get(machine, {}).keys()
        self.units |= self._chained
        for crowd in self._crowds:
            options = self._entries[crowd].options if isinstance(crowd, str) else crowd
            if any(matters(options, each) for each in states):
                self._due.add(crowd)
        self.units.update(everywhere)
        self.drains = True

    def add_all_waiting(self) -> None:
        """Mark all units that wait: there is a first machine, or none is left."""
        self.units |= self._waiting.keys()

    def waits(self, name: str) -> bool:
        """Whether a unit waits for the fleet to change."""
        return name in self._waiting

    def set_waiting(self, entry: UnitEntry, *, waiting: bool) -> None:
        """Remember whether a unit waits for the fleet to change."""
        name, options = entry.name, entry.options
        if not waiting and name not in self._waiting:
            return
        contested = waiting and self._conflicts.may_concern(entry)
        alone = contested or options.is_global or bool(options.machine_of or entry.reported or entry.assigned)
        alone = alone or entry.past_exists or bool(entry.ordered)
        crowd: Crowd | None = None if not waiting else name if alone else options
        self._note_waiting(name, crowd)
        put(self._chained, name, present=waiting and bool(options.machine_of or options.replaces))
        put(self._stopping, name, present=waiting and bool(entry.reported or entry.assigned))
        self._note_sought(entry, present=contested)
        if crowd is not None and options.reserve is not NOTHING:
            self._hungry.add(crowd)
        if waiting:
            for pattern in entry.against:
                self._seekers[pattern].add(name)

    def _note_sought(self, entry: UnitEntry, *, present: bool) -> None:
        """Remember which patterns match a unit that waits."""
        new = self._conflicts.matching(entry.name) if present else ()
        old = self._sought_by.pop(entry.name, ())
        if new:
            self._sought_by[entry.name] = new
        if new is old:
            return
        for pattern in old:
            self._sought[pattern].discard(entry.name)
            if not self._sought[pattern]:
                del self._sought[pattern]
        for pattern in new:
            self._sought.setdefault(pattern, set()).add(entry.name)

    def _note_waiting(self, name: str, new: Crowd | None) -> None:
        old = self._waiting.get(name)
        if old is new or old == new:
            return
        if old is not None:
            del self._waiting[name]
            self._crowds[old].discard(name)
            if not self._crowds[old]:
                del self._crowds[old]
                self._hungry.discard(old)
        if new is not None:
            self._waiting[name] = new
            self._crowds.setdefault(new, set()).add(name)


def put(names: set[T], name: T, *, present: bool) -> None:
    """Add a name to a set, or take it out."""
    if present:
        names.add(name)
    else:
        names.discard(name)
