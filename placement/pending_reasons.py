"""Why a unit waits, in words: the `pending` records.

Owns the text and grouping of what stands between a unit and its machine, for the board as it is after a
decision. It must not decide; it tells what `placement` found.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from placement.cluster_state import HOME, ClusterState
from placement.cycles import following_circle, replacement_circle
from placement.eligibility import (
    Objection,
    ambiguity,
    availability_objection,
    group,
    leader_objection,
    rival_objection,
    summarise,
)
from placement.placement import Placement, stranded
from placement.unit_entry import UnitEntry
from registry.grammar import prose
from registry.model import Pending, Reason, Unit
from registry.units.options import FleetOptions

MAX_REASON = 1000  # characters of one reason
MAX_REFUSALS = 200  # reasons told of one unit


class _Refused(NamedTuple):
    summary: str
    refusals: tuple[Reason, ...] = ()
    passing: bool = False


class PendingReasons:
    """Tells the pending records after a placement. Make one for each decision: it remembers within it."""

    def __init__(self, board: ClusterState, placement: Placement) -> None:
        self._board = board
        self._placement = placement
        self._known: dict[FleetOptions, _Refused] = {}

    def of(self, case: UnitEntry) -> Pending | None:
        """Why the case is not where it should be; None when it is."""
        if case.held:
            return case.pending
        if not case.wanted or case.unit is None:
            return None
        found = self._judge(case)
        if found is None:
            return None
        return _pending(case, case.unit, _bounded(found))

    def of_fault(self, case: UnitEntry, fault: Exception) -> Pending | None:
        """That the scheduler itself failed over this unit."""
        if case.held or case.unit is None or not case.wanted:
            return case.pending
        said = f"internal error of the scheduler, {type(fault).__name__}: {fault}; the unit stays as it is"
        return _pending(case, case.unit, _Refused(_cut(said)))

    def _judge(self, case: UnitEntry) -> _Refused | None:
        if case.template:
            example = case.name.replace("@.", "@1.", 1)
            return _Refused(f"a template runs nowhere itself; start an instance such as {example}")
        if case.trouble:
            return _Refused(case.trouble.reason)
        if case.options.is_global:
            return self._judge_global(case)
        lost = stranded(self._board, case)
        if case.homes and not lost:
            return None
        if awaited := self._placement.awaited.get(case.name):
            return _Refused(f"waits for {_short(awaited)} to stop it", passing=True)
        refused = self._refused(case)
        return refused._replace(summary=f"{self._where_it_was(case)}{refused.summary}") if lost else refused

    def _where_it_was(self, case: UnitEntry) -> str:
        home = min(case.homes)
        return f"machine {_short((home,))} is {'leaving' if home in self._board.sites else 'lost'}; "

    def _judge_global(self, case: UnitEntry) -> _Refused | None:
        sites = self._board.sites
        if not case.homes & sites.keys():
            return self._refused(case)
        fits = self._board.pools.pool(case.options).fits - case.homes
        found = {machine: self._objection_of_rivals(case, machine) for machine in fits if sites[machine].open}
        objections = {machine: each for machine, each in found.items() if each is not None}
        if not objections:
            return None
        passing = all(each.passing for each in objections.values())
        return _Refused(f"{len(objections)} of {len(sites)} machines refuse", group(objections), passing)

    def _refused(self, case: UnitEntry) -> _Refused:
        if circle := replacement_circle(self._board, case) or following_circle(self._board, case):
            return _Refused(circle)
        if self._board.may_have_rivals(case):
            return self._tell(case)
        if case.options not in self._known:
            self._known[case.options] = self._tell(case)
        return self._known[case.options]

    def _tell(self, case: UnitEntry) -> _Refused:
        objections = self._objections(case)
        refusals = group(objections)
        passing = any(each.passing for each in objections.values()) or self._leader_is_moving(case)
        return _Refused(self._absent_leader(case) or summarise(objections, refusals), refusals, passing)

    def _objections(self, case: UnitEntry) -> dict[str, Objection]:
        """What each machine has against the case: the first thing."""
        pool, sites = self._board.pools.pool(case.options), self._board.sites
        found = pool.objections(sites)
        common = ambiguity(case.options, sites)
        for machine in pool.fits:
            objection = (
                common
                or self._objection_of_leaders(case, machine)
                or availability_objection(sites[machine])
                or self._objection_of_rivals(case, machine)
            )
            if objection:
                found[machine] = objection
        return found

    def _objection_of_leaders(self, case: UnitEntry, machine: str) -> Objection | None:
        for name in case.options.machine_of:
            leader = self._board.cases.get(name)
            if leader is None or machine not in leader.homes:
                return leader_objection(name)
        return None

    def _objection_of_rivals(self, case: UnitEntry, machine: str) -> Objection | None:
        if not self._board.may_have_rivals(case):
            return None
        occupants = self._board.occupants.get(machine, {})
        for name in sorted(
            self._board.rivals_at(case, machine), key=lambda each: (not occupants[each] & HOME, each)
        ):
            other, stopping = self._board.cases[name], not occupants[name] & HOME
            if not self._placement.wins(case, other):
                return rival_objection(case.name, case.options, name, other.options, stopping=stopping)
        return None

    def _absent_leader(self, case: UnitEntry) -> str:
        if not self._board.sites:
            return ""
        for name in case.options.machine_of:
            leader = self._board.cases.get(name)
            if leader is None or not leader.homes:
                return f"waits for {name}, which is scheduled nowhere (MachineOf)"
        return ""

    def _leader_is_moving(self, case: UnitEntry) -> bool:
        """Whether a unit that it follows, however far ahead, is only just being stopped somewhere."""
        reached, ahead = {case.name}, [case.name]
        while ahead:
            follower = self._board.cases.get(ahead.pop())
            for name in follower.options.machine_of if follower else ():
                leader = self._board.cases.get(name)
                if (
                    leader
                    and leader.placeable
                    and not leader.homes
                    and leader.claims.keys() & self._board.sites.keys()
                ):
                    return True
                if name not in reached:
                    reached.add(name)
                    ahead.append(name)
        return False


def _pending(case: UnitEntry, unit: Unit, found: _Refused) -> Pending:
    return Pending(case.name, unit.hash, unit.generation, *found, attempt=unit.attempt)


def _bounded(found: _Refused) -> _Refused:
    """What a reader gets to see of it: a unit file may have made it as long as it liked."""
    if len(found.refusals) <= MAX_REFUSALS and all(len(each.reason) <= MAX_REASON for each in found.refusals):
        return found._replace(summary=_cut(found.summary)) if len(found.summary) > MAX_REASON else found
    kept = tuple(replace(each, reason=_cut(each.reason)) for each in found.refusals[:MAX_REFUSALS])
    rest = sorted({machine for each in found.refusals[MAX_REFUSALS:] for machine in each.machines})
    kept += (Reason(f"{len(found.refusals) - MAX_REFUSALS} other reasons", tuple(rest)),) if rest else ()
    return _Refused(_cut(found.summary), kept, found.passing)


def _cut(text: str) -> str:
    return prose(text if len(text) <= MAX_REASON else f"{text[: MAX_REASON - 3]}...")


def _short(machines: tuple[str, ...]) -> str:
    return ", ".join(f"{machine[:8]}..." for machine in machines)
