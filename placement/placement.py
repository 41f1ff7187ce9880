"""Choosing machines: which assignments of a cluster state are kept, given up, and found.

Owns the order in which units are looked at and the rules by which each is settled:

1. settle: what may not stay where it is gives that machine up (target, eligibility, a leader that moved, conflict).
2. place: what has no machine, or one that is lost or leaving, gets the preferred one: units that replace others
   first, then by name. What runs and may stay is never looked at for a better machine.
3. move: a unit leaves a machine on which it has failed too often, if another takes it on which it has not; one that
   is to be started anew on a machine of the operator's choice leaves for that, if it takes it.
4. drain: from each draining machine at most one running unit at a time leaves, if another machine takes it; where
   a rollout says which are to leave, all of those. Both come last, and a drain waits for conflicting units on their
   way, so that no unit stops for a place that another one then takes.

Whatever a step changes may concern other units; they are looked at again at once, so that chains settle in one
decision. The outcome is in the state's assignments; it must not read or write the registry.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict, deque
from collections.abc import Container, Mapping
from enum import IntEnum

from placement.candidate_pools import CandidatePool
from placement.cluster_state import ASSIGNED, REPORTED, ClusterState
from placement.eligibility import ambiguity, group_of, preference, rank
from placement.marks import put
from placement.objections import lacks_room, to_staying
from placement.preferences import load_of
from placement.unit_entry import UnitEntry
from registry.units.options import NOTHING, Reserve

TRIES = 3  # placements of one unit within one decision; a ring of displacements must not spin


class DecisionPhase(IntEnum):
    """The order of work within one decision."""

    SETTLE = 0
    PLACE = 1
    MOVE = 2
    DRAIN = 3


Work = tuple[DecisionPhase, int, str]


class Closed:
    """The machines that are closed to one unit: those where others stand against it, and those that are full."""

    def __init__(self, state: ClusterState, entry: UnitEntry, blocked: Container[str]) -> None:
        self._state, self._entry, self._blocked = state, entry, blocked

    def __contains__(self, machine: object) -> bool:
        """Whether the machine is closed; it must be live."""
        if machine in self._blocked:
            return True
        return isinstance(machine, str) and lacks_room(self._state, self._entry, machine)


class Queue:
    """Work in order, as a heap gives it; what comes in order already, as most does, waits in line at no cost."""

    def __init__(self) -> None:
        self._line: deque[Work] = deque()
        self._heap: list[Work] = []
        self._queued: set[Work] = set()

    def push(self, work: Work) -> None:
        """Put work where it belongs, unless it waits there already."""
        if work in self._queued:
            return
        self._queued.add(work)
        if not self._line or work >= self._line[-1]:
            self._line.append(work)
        else:
            heapq.heappush(self._heap, work)

    def pop(self) -> Work | None:
        """Return the first of all work; None when there is none."""
        if self._heap and (not self._line or self._heap[0] < self._line[0]):
            work = heapq.heappop(self._heap)
        elif self._line:
            work = self._line.popleft()
        else:
            return None
        self._queued.discard(work)
        return work


class Placement:
    """One decision's work on a cluster state. `run` it once; then read what came of it."""

    def __init__(self, state: ClusterState) -> None:
        self.looked_at: set[str] = set()
        self.reasons: dict[tuple[str, str], str] = {}  # (unit, machine) to why it left
        self.displaced: dict[tuple[str, str], str] = {}  # (unit, machine) to the unit that replaces it there
        self.awaited: dict[str, tuple[str, ...]] = {}  # unit to the machines that must stop it first
        self._state, self._marks = state, state.marks
        self._tries: Counter[str] = Counter()
        self._loads: dict[tuple[str, str], Counter[str]] = {}  # by template and metadata key
        self._replaced: dict[tuple[str, ...], dict[str, set[str]]] = {}  # what files say in Replaces, by machine
        self._full: dict[tuple[CandidatePool, Reserve], int] = {}  # no machine has room, as of `room.freed`
        self._work = Queue()

    def run(self) -> None:
        """Settle, place and drain until nothing is left to look at."""
        self._queue_marked()
        for machine in sorted(self._state.draining) if self._marks.take_drains() else ():
            self._work.push((DecisionPhase.DRAIN, 0, machine))
        while True:
            if work := self._work.pop():
                self._step(work[0], work[2])
            elif not self._marks.add_reworded():  # once, and not at each unit that takes room
                return
            if self._marks:
                self._queue_marked()

    def _queue_marked(self) -> None:
        for name in sorted(self._marks.take()):
            if name in self.looked_at or not self._rests(name):
                self.looked_at.add(name)
                self._work.push((DecisionPhase.SETTLE, 0, name))

    def _rests(self, name: str) -> bool:
        """Whether nothing is to be decided on a unit, as can be seen at a glance: most are marked for nothing."""
        state, entry = self._state, self._state.entries.get(name)
        if entry is None or (site := entry.resting_place(state.sites)) is None or entry.due is not None:
            return False
        return not (
            state.conflicts.may_oppose(name, entry.options, site.id) or self._marks.waits(name) or state.faults
        )

    def _step(self, phase: DecisionPhase, name: str) -> None:
        """Do one piece of work; an unforeseen error is noted, and the rest goes on."""
        fault = "" if phase is DecisionPhase.DRAIN else name
        entry = self._state.entries.get(name)
        if fault in self._state.faults or (phase is not DecisionPhase.DRAIN and (entry is None or entry.held)):
            return
        try:
            if entry is None or phase is DecisionPhase.DRAIN:
                self._drain(name)
            elif phase is DecisionPhase.SETTLE:
                self._settle(entry)
            elif phase is DecisionPhase.MOVE:
                self._move(entry)
            else:
                self._place(entry)
        except Exception as error:  # noqa: BLE001 - see above
            self._state.note_fault(fault, error)

    def _leave(self, entry: UnitEntry, machine: str, reason: str) -> None:
        self.reasons[entry.name, machine] = reason
        self._assign(entry, machine, present=False)

    def _assign(self, entry: UnitEntry, machine: str, *, present: bool) -> None:
        self._state.assign(entry, machine, present=present)
        for patterns, there in self._replaced.items():
            if self._state.conflicts.first_match(patterns, entry.name):
                put(there[machine], entry.name, present=present)
        site = self._state.sites.get(machine)
        if self._loads and site is not None and not site.leaving and (family := entry.family):
            for (template, key), load in self._loads.items():
                if template == family and (value := site.metadata.get(key)) is not None:
                    load[value] += 1 if present else -1

    # -- settle

    def _settle(self, entry: UnitEntry) -> None:
        if not entry.wanted or entry.template:
            reason = "destroyed" if entry.unit is None else f"target is {entry.unit.target}"
            for machine in sorted(entry.assigned):
                self._leave(entry, machine, reason)
            return
        if entry.options_error:
            return
        for machine in sorted(entry.assigned):
            if objection := next(to_staying(self._state, entry, machine), None):
                self._leave(entry, machine, objection.reason)
        if len(entry.assigned) > 1 and not entry.options.is_global:
            sites = self._state.sites  # one machine is kept: a live one that reports the unit, if there is one
            ranked = sorted(entry.assigned, key=lambda each: (each not in sites, each not in entry.reported, each))
            for machine in ranked[1:]:
                self._leave(entry, machine, "scheduled twice")
        if entry.options.is_global or not entry.assigned or entry.stranded(self._state.sites):
            rank = 0 if entry.options.replaces else 1
            self._work.push((DecisionPhase.PLACE, rank, entry.name))
        elif entry.may_leave_for(entry.ordered) or (
            entry.past is not None and not entry.failed_on.keys().isdisjoint(entry.assigned)
        ):
            self._work.push((DecisionPhase.MOVE, 0, entry.name))

    # -- move

    def _move(self, entry: UnitEntry) -> None:
        """Have a unit leave for the machine that it is to go to, or one on which it has failed too often."""
        failed, ordered = entry.failed_on, entry.ordered
        if entry.placeable and entry.may_leave_for(ordered) and self._pick_outside(entry, {}) == ordered:
            for machine in sorted(entry.assigned):
                self._leave(entry, machine, "moved by an operator")
            self._marks.add(entry.name)
        for machine in sorted(entry.assigned & failed.keys() & self._state.sites.keys()):
            if entry.placeable and not self._elsewhere(entry, machine) and self._pick_outside(entry, failed):
                self._leave(entry, machine, failed[machine].reason)
                self._marks.add(entry.name)

    # -- drain

    def _drain(self, machine: str) -> None:
        state, site = self._state, self._state.sites.get(machine)
        if site is None or site.leaving or site.trouble:
            return
        there = sorted(state.occupants[machine].items())
        stopping = (state.entries[name] for name, bits in there if bits == REPORTED)
        if not site.drained_by and any(entry.wanted and not entry.options.is_global for entry in stopping):
            return  # one at a time
        moving = [  # off their machines by a drain, and not stopped there yet
            state.entries[name]
            for each in state.draining
            for name, bits in state.occupants[each].items()
            if bits == REPORTED
        ]
        for name, bits in there:
            entry = state.entries[name]
            if site.drained_by and not (entry.unit and entry.unit.leaves == site.drained_by):
                continue
            if not bits & ASSIGNED or entry.options.is_global or not entry.placeable or entry.assigned != {machine}:
                continue
            if self._elsewhere(entry, machine) or self._may_lose_to(entry, moving) or self._pick(entry) is None:
                continue
            self._leave(entry, machine, "draining")
            self._marks.add(name)
            if bits & REPORTED and not site.drained_by:
                return

    def _may_lose_to(self, entry: UnitEntry, moving: list[UnitEntry]) -> bool:
        """Whether a unit on its way may take the last place that this one could go to: then it goes first."""
        needs_room, conflicts = entry.options.reserve is not NOTHING, self._state.conflicts
        if not (needs_room or conflicts.may_concern(entry)):
            return False
        return any(
            (needs_room and each.options.reserve is not NOTHING)
            or self._state.conflicts.exclude_each_other(entry, each)
            for each in moving
            if each.wanted and each is not entry
        )

    def _elsewhere(self, entry: UnitEntry, machine: str) -> tuple[str, ...]:
        """Return the live machines other than `machine` that have not stopped the unit yet."""
        if not entry.reported:
            return ()
        return tuple(sorted(each for each in entry.reported if each != machine and each in self._state.sites))

    # -- place

    def _place(self, entry: UnitEntry) -> None:
        self.awaited.pop(entry.name, None)
        if not entry.placeable:
            return
        if entry.options.is_global:
            self._marks.set_waiting(entry, waiting=True)  # what is placed after it may matter to it
            self._place_everywhere(entry)
            return
        machine = self._destination(entry)
        if machine is None:
            self._marks.set_waiting(entry, waiting=True)  # for the same reason
            return
        self._tries[entry.name] += 1
        for old in sorted(entry.assigned):
            self._leave(entry, old, "leaving" if old in self._state.sites else "machine lost")
        for name in self._replaced_on(entry, machine):
            self._leave(self._state.entries[name], machine, f"replaced by {entry.name}")
            self.displaced[name, machine] = entry.name
            self._marks.add(name)
        self._marks.add_alike(entry.name)
        self._marks.set_waiting(entry, waiting=False)
        self._assign(entry, machine, present=True)

    def _destination(self, entry: UnitEntry) -> str | None:
        """Return the machine that a unit goes to now; None when it stays, has to wait, or fits nowhere."""
        if entry.assigned and not entry.stranded(self._state.sites):
            return None
        machine = self._pick(entry)
        if machine is None or self._tries[entry.name] >= TRIES:
            return None
        if waits_for := self._elsewhere(entry, machine):
            self.awaited[entry.name] = waits_for
            return None
        return machine

    def _place_everywhere(self, entry: UnitEntry) -> None:
        state = self._state
        fits = state.candidates.pool(entry.options).fits - entry.assigned
        if fits:
            blocked = self._closed(entry, state.conflicts.machines_blocked(entry.name, entry.options))
            for machine in sorted(fits):
                if state.sites[machine].open and machine not in blocked:
                    self._assign(entry, machine, present=True)

    def _replaced_on(self, entry: UnitEntry, machine: str) -> list[str]:
        """Return the units assigned to the machine that this one replaces."""
        patterns = entry.options.replaces
        if not patterns or self._state.cycles.of_replacing(entry):
            return []
        if patterns not in self._replaced:
            self._replaced[patterns] = self._matched_by(patterns)
        return sorted(self._replaced[patterns].get(machine, set()) - {entry.name})

    def _matched_by(self, patterns: tuple[str, ...]) -> dict[str, set[str]]:
        """Find the units that patterns match, by the machines that they are assigned to."""
        found: dict[str, set[str]] = defaultdict(set)
        for machine, there in self._state.occupants.items():
            for name, bits in there.items():
                if bits & ASSIGNED and self._state.conflicts.first_match(patterns, name):
                    found[machine].add(name)
        return found

    def _pick(self, entry: UnitEntry) -> str | None:
        """Return the machine where a unit goes by the usual rule; those on which it failed too often come last."""
        failed = entry.failed_on if entry.past is not None else {}
        return (self._pick_outside(entry, failed) if failed else None) or self._pick_outside(entry, {})

    def better_than(self, entry: UnitEntry, machine: str) -> str | None:
        """Return the machine that is preferred, of all but this one; None when no other takes the unit."""
        return self._pick_outside(entry, {machine: None, **entry.failed_on})

    def _pick_outside(self, entry: UnitEntry, avoided: Mapping[str, object]) -> str | None:
        """Return the preferred machine that is not avoided.

        The one that an operator has it go to comes first, then one that has not stopped it yet, then the one that
        it was on and is to come back to.
        """
        state, options = self._state, entry.options
        if state.cycles.of_replacing(entry):
            return None
        against = state.conflicts.machines_blocked(entry.name, options)
        if options.replaces:
            against = {  # by others than those that it replaces
                machine
                for machine in against
                if any(not state.wins(entry, state.entries[each]) for each in state.opponents_at(entry, machine))
            }
        blocked = self._closed(entry, against | avoided.keys())
        known = (entry.ordered, *sorted(entry.reported), entry.home)
        for machine in known if any(known) else ():
            if self._takes(entry, machine, blocked):
                return machine
        pool = state.candidates.pool(options)
        if options.machine_of:
            leaders = [state.entries.get(name) for name in options.machine_of]
            shared = set.intersection(*(leader.assigned if leader else set() for leader in leaders))
            return self._preferred(entry, [each for each in shared if self._takes(entry, each, blocked)])
        if ambiguity(options, state.sites):
            return None
        if options.replaces:
            return self._preferred(entry, [each for each in pool.fits if self._takes(entry, each, blocked)])
        return self._first(
            entry, pool, blocked, remember=options.reserve is not NOTHING and not (against or avoided)
        )

    def _first(
        self, entry: UnitEntry, pool: CandidatePool, blocked: Container[str], *, remember: bool
    ) -> str | None:
        """Return the preferred machine of a pool outside `blocked`. `remember` where it is room alone that blocks.

        Where no machine has room, those that come after need not look at every full machine again.
        """
        candidates, options, freed = self._state.candidates, entry.options, self._state.room.freed
        if remember and self._full.get((pool, options.reserve)) == freed:
            return None
        if options.spread or options.prefer:
            machine = candidates.first_by_groups(options, blocked, self.load(entry))
        else:
            machine = candidates.first(pool, blocked)
        if remember and machine is None:
            self._full[pool, options.reserve] = freed
        return machine

    def _preferred(self, entry: UnitEntry, machines: list[str]) -> str | None:
        """Return the preferred machine, counted as if the units that this one replaces were not there."""
        counts, sites, load = self._state.candidates.counts, self._state.sites, self.load(entry)
        return min(
            machines,
            key=lambda machine: (
                rank(group_of(entry.options, sites[machine]), load),
                preference(counts[machine] - len(self._replaced_on(entry, machine)), machine),
            ),
            default=None,
        )

    def load(self, entry: UnitEntry) -> Counter[str]:
        """Count the instances of the unit's template by the value that they are to be spread over."""
        options = entry.options
        if not options.spread:
            return Counter()
        key = entry.family, options.spread
        if key not in self._loads:
            self._loads[key] = load_of(self._state, entry)
        return self._loads[key]

    def _closed(self, entry: UnitEntry, blocked: set[str]) -> Container[str]:
        """Return the machines that are closed to a unit, where these are blocked by other units."""
        return blocked if entry.options.reserve is NOTHING else Closed(self._state, entry, blocked)

    def _takes(self, entry: UnitEntry, machine: str, blocked: Container[str]) -> bool:
        site = self._state.sites.get(machine)
        return (
            site is not None
            and site.open
            and machine not in blocked
            and machine in self._state.candidates.pool(entry.options).fits
            and all(self._state.is_assigned(leader, machine) for leader in entry.options.machine_of)
        )
