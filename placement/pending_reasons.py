"""Why a unit waits, in words: the `pending` records.

Owns the line that says what stands between a unit and its machines, for the state as it is after a decision. A
machine that does not have what the unit asks for changes nothing in it (ADR 45). It must not decide; it tells what
`placement` found.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple

from placement.cluster_state import ClusterState
from placement.eligibility import NO_MACHINE, Objection, Requirement, in_short, nowhere
from placement.objections import first_where_fit, of_neighbours
from placement.unit_entry import UnitEntry
from registry.grammar import prose
from registry.model import Pending, Unit
from registry.units.options import NOTHING, FleetOptions
from registry.wording import counted

MAX_SUMMARY = 1000  # characters: a unit file may have made it as long as it liked


class PendingRule(StrEnum):
    """What a unit that waits waits for, in a word, beside the requirements of `eligibility`."""

    NO_MACHINE = "no_machine"  # none is registered
    STOPPING = "stopping"  # it is being stopped where it was
    CYCLE = "cycle"  # MachineOf or Replaces goes in a circle
    FILE = "file"  # its file cannot be read, or is a template
    FAULT = "fault"  # deciding failed


RULES = (*(each.name.lower() for each in Requirement), *PendingRule)


class _Refused(NamedTuple):
    summary: str
    rule: str
    passing: bool = False


class PendingReasons:
    """Makes the pending records after a placement. Make one for each decision: it remembers within it.

    `awaited` names, by unit, the machines that must stop it before it goes elsewhere.
    """

    def __init__(self, state: ClusterState, awaited: Mapping[str, tuple[str, ...]]) -> None:
        self._state = state
        self._awaited = awaited
        self._known: dict[tuple[FleetOptions, frozenset[str]], _Refused] = {}

    def of(self, entry: UnitEntry) -> Pending | None:
        """Return why the unit is not where it should be; None when it is."""
        if entry.held:
            return entry.pending
        if not entry.wanted or entry.unit is None:
            return None
        found = self._find(entry)
        return None if found is None else _pending(entry, entry.unit, found)

    def of_fault(self, entry: UnitEntry, fault: Exception) -> Pending | None:
        """Return the record that says that deciding itself failed over this unit."""
        if entry.held or entry.unit is None or not entry.wanted:
            return entry.pending
        said = f"internal error of the scheduler, {type(fault).__name__}: {fault}; the unit stays as it is"
        return _pending(entry, entry.unit, _Refused(said, PendingRule.FAULT))

    def _find(self, entry: UnitEntry) -> _Refused | None:
        if entry.template:
            example = entry.name.replace("@.", "@1.", 1)
            return _Refused(
                f"a template runs nowhere itself; start an instance such as {example}", PendingRule.FILE
            )
        if entry.options_error:
            return _Refused(entry.options_error.reason, PendingRule.FILE)
        if entry.options.is_global:
            return self._find_global(entry)
        stranded = entry.stranded(self._state.sites)
        if entry.assigned and not stranded:
            return None
        if awaited := self._awaited.get(entry.name):
            return _Refused(f"waits for {_short(awaited)} to stop it", PendingRule.STOPPING, passing=True)
        refused = self._refused(entry)
        if stranded:
            machine = min(entry.assigned)
            how = "leaving" if machine in self._state.sites else "lost"
            refused = refused._replace(summary=f"machine {_short((machine,))} is {how}; {refused.summary}")
        return refused

    def _find_global(self, entry: UnitEntry) -> _Refused | None:
        state = self._state
        if not entry.assigned & state.sites.keys():
            return self._refused(entry)
        if not state.conflicts.may_concern(entry) and entry.options.reserve == NOTHING:
            return None
        fits = state.candidates.pool(entry.options).fits - entry.assigned
        found = {each: next(of_neighbours(state, entry, each), None) for each in fits if state.sites[each].open}
        objections = {machine: each for machine, each in found.items() if each is not None}
        if not objections:
            return None
        passing = all(each.passing for each in objections.values())
        refusing = counted(len(objections), "machine")
        return _Refused(f"not on {refusing}: {in_short(objections)}", _main_rule(objections), passing)

    def _refused(self, entry: UnitEntry) -> _Refused:
        state = self._state
        if cycle := state.cycles.of_replacing(entry) or state.cycles.of_following(entry):
            return _Refused(cycle, PendingRule.CYCLE)
        # Units with equal options that the same patterns match are told the same, unless they are in their own way.
        matching = frozenset(state.conflicts.matching(entry.name))
        concerned = bool(matching or entry.against) or entry.options.reserve != NOTHING
        shared = not (concerned and (entry.reported or entry.assigned))
        if shared and (known := self._known.get((entry.options, matching))) is not None:
            return known
        objections = first_where_fit(state, entry)
        passing = any(each.passing for each in objections.values()) or self._leader_is_moving(entry)
        if not state.sites:
            refused = _Refused(NO_MACHINE, PendingRule.NO_MACHINE, passing)
        elif leader := absent_leader(state, entry.options):
            refused = _Refused(leader, Requirement.MACHINE_OF.name.lower(), passing)
        else:
            rule = _main_rule(objections) if objections else _first_requirement(entry.options)
            refused = _Refused(nowhere(entry.options, objections), rule, passing)
        if shared:
            self._known[entry.options, matching] = refused
        return refused

    def _leader_is_moving(self, entry: UnitEntry) -> bool:
        """Whether a unit that it follows, however far ahead, is only just being stopped somewhere."""
        entries, sites = self._state.entries, self._state.sites
        reached, ahead = {entry.name}, [entry.name]
        while ahead:
            follower = entries.get(ahead.pop())
            for name in follower.options.machine_of if follower else ():
                leader = entries.get(name)
                if leader and leader.placeable and not leader.assigned and leader.reported.keys() & sites.keys():
                    return True
                if name not in reached:
                    reached.add(name)
                    ahead.append(name)
        return False


def absent_leader(state: ClusterState, options: FleetOptions) -> str:
    """Return the unit to follow that is assigned nowhere, in one line; "" when there is none."""
    for name in options.machine_of:
        leader = state.entries.get(name)
        if leader is None or not leader.assigned:
            return f"waits for {name}, which is scheduled nowhere (MachineOf)"
    return ""


def _pending(entry: UnitEntry, unit: Unit, found: _Refused) -> Pending:
    summary = prose(
        found.summary if len(found.summary) <= MAX_SUMMARY else f"{found.summary[: MAX_SUMMARY - 3]}..."
    )
    return Pending(entry.name, unit.hash, unit.generation, summary, found.passing, unit.attempt, str(found.rule))


def _main_rule(objections: Mapping[str, Objection]) -> str:
    """Return the requirement that most machines refuse for, the first of equals."""
    counts = Counter(each.rule for each in objections.values())
    return min(counts, key=lambda rule: (-counts[rule], rule.value)).name.lower()


def _first_requirement(options: FleetOptions) -> str:
    """Return what is asked of machines, where none has it."""
    if options.machine_id is not None:
        return Requirement.MACHINE_ID.name.lower()
    return (Requirement.METADATA if options.metadata else Requirement.PODMAN).name.lower()


def _short(machines: tuple[str, ...]) -> str:
    return ", ".join(f"{machine[:8]}..." for machine in machines)
