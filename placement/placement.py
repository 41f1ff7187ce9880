"""Choosing machines: which homes on a board are kept, given up, and found.

Owns the order in which cases are looked at and the rules by which each is settled:

1. settle: what may not stay where it is gives up that home (target, eligibility, a leader that moved, a rival).
2. place: what has no home, or one on a lost or leaving machine, gets the preferred machine: those that replace
   others first, then by name. What runs and may stay is never looked at for a better machine.
3. drain: from each draining machine at most one running unit at a time leaves, if another machine takes it. It
   comes last and waits for rivals on their way, so that no unit stops for a place that another one then takes.

Whatever a step changes may concern other cases; they are looked at again at once, so that chains settle in one
decision. The outcome is in the board's homes; it must not read or write the registry.
"""

from __future__ import annotations

import heapq
from collections import Counter, deque
from enum import IntEnum

from placement.cluster_state import CLAIM, HOME, ClusterState
from placement.cycles import replacement_circle
from placement.eligibility import (
    Site,
    ambiguity,
    leader_objection,
    preference,
    rival_objection,
    rivalry,
    static_objections,
)
from placement.unit_entry import UnitEntry
from registry.units.name import matches

TRIES = 3  # placements of one case within one decision; a ring of displacements must not spin


class DecisionPhase(IntEnum):
    """The order of work within one decision."""

    SETTLE = 0
    PLACE = 1
    DRAIN = 2


Work = tuple[DecisionPhase, int, str]


class Queue:
    """Work in order, as a heap gives it; what comes in order already, as most does, waits in line at no cost."""

    def __init__(self) -> None:
        self._line: deque[Work] = deque()
        self._heap: list[Work] = []

    def push(self, work: Work) -> None:
        """Put work where it belongs."""
        if not self._line or work >= self._line[-1]:
            self._line.append(work)
        else:
            heapq.heappush(self._heap, work)

    def pop(self) -> Work | None:
        """The first of all work; None when there is none."""
        if self._heap and (not self._line or self._heap[0] < self._line[0]):
            return heapq.heappop(self._heap)
        return self._line.popleft() if self._line else None


class Placement:
    """One decision's work on a board. `run` it once; then read what came of it."""

    def __init__(self, board: ClusterState) -> None:
        self.touched: set[str] = set()
        self.reasons: dict[tuple[str, str], str] = {}  # (unit, machine) to why it left
        self.displaced: dict[tuple[str, str], str] = {}  # (unit, machine) to the unit that replaces it there
        self.awaited: dict[str, tuple[str, ...]] = {}  # unit to the machines that must stop it first
        self._board = board
        self._tries: Counter[str] = Counter()
        self._work = Queue()

    def run(self) -> None:
        """Settle, drain and place until nothing is left to look at."""
        self._take_dirty()
        if self._board.drains_dirty:
            for machine in sorted(self._board.draining):
                self._work.push((DecisionPhase.DRAIN, 0, machine))
        self._board.drains_dirty = False
        while work := self._work.pop():
            self._step(work[0], work[2])
            if self._board.dirty:
                self._take_dirty()
        self._board.pools.end_decision()

    def _take_dirty(self) -> None:
        dirty = self._board.dirty
        self.touched |= dirty
        for name in sorted(dirty):
            self._work.push((DecisionPhase.SETTLE, 0, name))
        dirty.clear()

    def _step(self, phase: DecisionPhase, name: str) -> None:
        """One piece of work; an error that nobody foresaw is noted, and the rest goes on."""
        fault = "" if phase is DecisionPhase.DRAIN else name
        case = self._board.cases.get(name)
        if fault in self._board.faults or (phase is not DecisionPhase.DRAIN and (case is None or case.held)):
            return
        try:
            if case is None or phase is DecisionPhase.DRAIN:
                self._drain(name)
            elif phase is DecisionPhase.SETTLE:
                self._settle(case)
            else:
                self._place(case)
        except Exception as error:  # noqa: BLE001 - see above
            self._board.faults[fault] = error

    # -- settle

    def _settle(self, case: UnitEntry) -> None:
        if not case.wanted or case.template:
            self._leave_all(case)
            return
        if case.trouble:
            return
        for machine in sorted(case.homes):
            if reason := self._unfit(case, machine):
                self._leave(case, machine, reason)
        if not case.options.is_global:
            self._keep_one(case)
        if case.options.is_global or not case.homes or stranded(self._board, case):
            rank = 0 if case.options.replaces else 1
            self._work.push((DecisionPhase.PLACE, rank, case.name))

    def _leave_all(self, case: UnitEntry) -> None:
        reason = "destroyed" if case.unit is None else f"target is {case.unit.target}"
        for machine in sorted(case.homes):
            self._leave(case, machine, reason)

    def _leave(self, case: UnitEntry, machine: str, reason: str) -> None:
        self.reasons[case.name, machine] = reason
        self._board.set_home(case, machine, present=False)

    def _keep_one(self, case: UnitEntry) -> None:
        """A unit that is not global keeps one home: a live one where it is claimed, if it can."""
        sites = self._board.sites
        ranked = sorted(case.homes, key=lambda machine: (machine not in sites, machine not in case.claims, machine))
        for machine in ranked[1:]:
            self._leave(case, machine, "scheduled twice")

    def _unfit(self, case: UnitEntry, machine: str) -> str:
        """Why a case may not stay on a machine. Of a machine that is lost or unreadable nothing is known."""
        site = self._board.sites.get(machine)
        if site is None or site.trouble:
            return ""
        if machine not in self._board.pools.pool(case.options).fits:
            return static_objections(case.options, site)[0].reason
        for leader in case.options.machine_of:
            if not self._is_home(leader, machine):
                return leader_objection(leader).reason
        return self._defeat(case, machine) if self._board.may_have_rivals(case) else ""

    def _defeat(self, case: UnitEntry, machine: str) -> str:
        """The rival on the machine that has the better right to it: the one that replaces, or the earlier name."""
        for name, bits in sorted(self._board.occupants[machine].items()):
            other = self._board.cases[name]
            if not bits & HOME or not self._at_odds(case, other):
                continue
            if self.wins(other, case) or (not self.wins(case, other) and name < case.name):
                found = rival_objection(case.name, case.options, name, other.options)
                return found.reason if found else f"{name} is scheduled there"
        return ""

    def _at_odds(self, one: UnitEntry, other: UnitEntry) -> bool:
        return bool(
            rivalry(one.name, one.options, other.name, other.options)
            or rivalry(other.name, other.options, one.name, one.options)
        )

    def wins(self, one: UnitEntry, other: UnitEntry) -> bool:
        """Whether `one` replaces `other`."""
        if not any(matches(pattern, other.name) for pattern in one.options.replaces):
            return False
        return one.name != other.name and not replacement_circle(self._board, one)

    def _is_home(self, name: str, machine: str) -> bool:
        case = self._board.cases.get(name)
        return case is not None and machine in case.homes

    # -- drain

    def _drain(self, machine: str) -> None:
        site = self._board.sites.get(machine)
        if site is None or site.leaving or site.trouble or self._one_is_leaving(machine):
            return
        moving = self._moving()
        for name, bits in sorted(self._board.occupants[machine].items()):
            case = self._board.cases[name]
            if not bits & HOME or case.options.is_global or not case.placeable or case.homes != {machine}:
                continue
            if self._elsewhere(case, machine) or self._may_lose_to(case, moving) or self.pick(case) is None:
                continue
            self._leave(case, machine, "draining")
            self._board.dirty.add(name)
            if bits & CLAIM:
                return

    def _moving(self) -> list[UnitEntry]:
        """Units that a drain has taken off their machines and that have not stopped there yet."""
        board = self._board
        there = ((name, bits) for machine in board.draining for name, bits in board.occupants[machine].items())
        return [board.cases[name] for name, bits in there if bits == CLAIM]

    def _may_lose_to(self, case: UnitEntry, moving: list[UnitEntry]) -> bool:
        """Whether a unit on its way may take the last place that this one could go to: then it goes first."""
        if not self._board.may_have_rivals(case):
            return False
        return any(each.wanted and each is not case and self._at_odds(case, each) for each in moving)

    def _one_is_leaving(self, machine: str) -> bool:
        occupants = self._board.occupants[machine].items()
        moving = (self._board.cases[name] for name, bits in occupants if bits == CLAIM)
        return any(case.wanted and not case.options.is_global for case in moving)

    def _elsewhere(self, case: UnitEntry, machine: str) -> tuple[str, ...]:
        """Live machines other than `machine` that have not stopped the case yet."""
        if not case.claims:
            return ()
        return tuple(sorted(each for each in case.claims if each != machine and each in self._board.sites))

    # -- place

    def _place(self, case: UnitEntry) -> None:
        self.awaited.pop(case.name, None)
        if not case.placeable:
            return
        if case.options.is_global:
            self._board.set_waiting(case, waiting=True)  # who is placed after it may matter to it
            self._place_everywhere(case)
            return
        machine = self._destination(case)
        if machine is None:
            self._board.set_waiting(case, waiting=True)  # for the same reason
            return
        self._tries[case.name] += 1
        for home in sorted(case.homes):
            self._leave(case, home, "leaving" if home in self._board.sites else "machine lost")
        self._displace(case, machine)
        self._board.set_waiting(case, waiting=False)
        self._board.set_home(case, machine, present=True)

    def _destination(self, case: UnitEntry) -> str | None:
        """The machine that a case goes to now; None when it stays where it is, has to wait, or fits nowhere."""
        if case.homes and not stranded(self._board, case):
            return None
        machine = self.pick(case)
        if machine is None or self._tries[case.name] >= TRIES:
            return None
        if waits_for := self._elsewhere(case, machine):
            self.awaited[case.name] = waits_for
            return None
        return machine

    def _place_everywhere(self, case: UnitEntry) -> None:
        sites = self._board.sites
        fits = self._board.pools.pool(case.options).fits - case.homes
        if fits:
            blocked = self._board.rivals.machines_blocked(case.name, case.options)
            for machine in sorted(fits - blocked):
                if sites[machine].open:
                    self._board.set_home(case, machine, present=True)

    def _displace(self, case: UnitEntry, machine: str) -> None:
        for name in self._replaced_on(case, machine):
            self._leave(self._board.cases[name], machine, f"replaced by {case.name}")
            self.displaced[name, machine] = case.name
            self._board.dirty.add(name)

    def _replaced_on(self, case: UnitEntry, machine: str) -> list[str]:
        """Units scheduled on the machine that the case replaces."""
        if not case.options.replaces:
            return []
        occupants = sorted(self._board.occupants.get(machine, {}).items())
        return [name for name, bits in occupants if bits & HOME and self.wins(case, self._board.cases[name])]

    def pick(self, case: UnitEntry) -> str | None:
        """The machine where a case goes by the usual rule; one that has not stopped it yet comes first."""
        if case.options.replaces and replacement_circle(self._board, case):
            return None
        blocked = self._blocked(case)
        back = [machine for machine in case.claims if self._takes(case, machine, blocked)]
        if back:
            return min(back)
        if case.options.machine_of:
            return self._pick_with_leaders(case, blocked)
        if ambiguity(case.options, self._board.sites):
            return None
        pool = self._board.pools.pool(case.options)
        if case.options.replaces:
            return self._preferred(case, [each for each in pool.fits if self._takes(case, each, blocked)])
        return self._board.pools.first(pool, blocked)

    def _pick_with_leaders(self, case: UnitEntry, blocked: set[str]) -> str | None:
        leaders = [self._board.cases.get(name) for name in case.options.machine_of]
        homes = [leader.homes if leader else set() for leader in leaders]
        shared = set.intersection(*homes) if homes else set()
        return self._preferred(case, [each for each in shared if self._takes(case, each, blocked)])

    def _preferred(self, case: UnitEntry, machines: list[str]) -> str | None:
        """The preferred machine, counted as if the units that the case replaces were not there."""
        counts = self._board.pools.counts
        return min(
            machines,
            key=lambda machine: preference(counts[machine] - len(self._replaced_on(case, machine)), machine),
            default=None,
        )

    def _takes(self, case: UnitEntry, machine: str, blocked: set[str]) -> bool:
        site: Site | None = self._board.sites.get(machine)
        return (
            site is not None
            and site.open
            and machine not in blocked
            and machine in self._board.pools.pool(case.options).fits
            and all(self._is_home(leader, machine) for leader in case.options.machine_of)
        )

    def _blocked(self, case: UnitEntry) -> set[str]:
        blocked = self._board.rivals.machines_blocked(case.name, case.options)
        if not case.options.replaces:
            return blocked
        return {machine for machine in blocked if self._resisted(case, machine)}

    def _resisted(self, case: UnitEntry, machine: str) -> bool:
        cases = self._board.cases
        return any(not self.wins(case, cases[name]) for name in self._board.rivals_at(case, machine))


def stranded(board: ClusterState, case: UnitEntry) -> bool:
    """Whether a case's home is on a machine that is lost or leaving."""
    sites = board.pools.sites
    for machine in case.homes:  # asked for every unit several times: a loop costs half of what any() does
        site = sites.get(machine)
        if site is None or site.leaving:
            return True
    return False
