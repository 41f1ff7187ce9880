"""What stands between one unit and one machine, in a cluster state: the rules of eligibility among many units.

Deciding, pending reasons and explanations all ask here, so that no two of them can disagree. Each function yields
objections in the order in which they are shown, the first being the one that decides. It must not change the state.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from placement.cluster_state import ASSIGNED, ClusterState
from placement.eligibility import (
    Objection,
    Requirement,
    ambiguity,
    availability_objection,
    conflict_objection,
    leader_objection,
    static_objections,
)
from placement.room import plus
from placement.unit_entry import UnitEntry
from registry.units.options import NOTHING, Reserve


def first_to_going(state: ClusterState, entry: UnitEntry) -> dict[str, Objection]:
    """Return the first thing that each machine has against a unit; machines without objection are left out."""
    found = state.candidates.pool(entry.options).objections(state.sites)  # what does not fit is remembered there
    return {**found, **first_where_fit(state, entry)}


def first_where_fit(state: ClusterState, entry: UnitEntry) -> dict[str, Objection]:
    """Return the first thing that each machine which has what a unit asks for has against it all the same."""
    several = ambiguity(entry.options, state.sites)
    pool = state.candidates.pool(entry.options)
    found = {each: several or next(_where_fit(state, entry, each), None) for each in pool.fits}
    return {machine: objection for machine, objection in found.items() if objection}


def all_to_going(state: ClusterState, entry: UnitEntry, machine: str) -> Iterator[Objection]:
    """Yield everything that a machine has against a unit that is not assigned to it."""
    static = static_objections(entry.options, state.sites[machine])
    yield from static
    if not static and (several := ambiguity(entry.options, state.sites)):
        yield several
    yield from _where_fit(state, entry, machine)


def _where_fit(state: ClusterState, entry: UnitEntry, machine: str) -> Iterator[Objection]:
    yield from _of_leaders(state, entry, machine)
    if closed := availability_objection(state.sites[machine]):
        yield closed
    yield from of_neighbours(state, entry, machine)


def of_neighbours(state: ClusterState, entry: UnitEntry, machine: str) -> Iterator[Objection]:
    """Yield what the units on a machine have against another: that they conflict, or leave no room."""
    yield from _of_conflicts(state, entry, machine)
    if entry.options.reserve is not NOTHING and lacks_room(state, entry, machine):
        there = state.occupants.get(machine, {})
        makes_room = _makes_room(state, entry, machine)
        stopping = [name for name, bits in there.items() if not bits & ASSIGNED and name not in makes_room]
        found = state.room.objection(
            entry.options.reserve,
            state.sites[machine],
            _reserved(state, machine, makes_room),
            _reserved(state, machine, stopping),
        )
        if found is not None:
            yield found


def lacks_room(state: ClusterState, entry: UnitEntry, machine: str) -> bool:
    """Whether there is no room on a live machine for what a unit reserves."""
    but = NOTHING
    if entry.options.replaces or machine in entry.reported or machine in entry.assigned:
        but = _reserved(state, machine, _makes_room(state, entry, machine))
    return state.room.lacks(entry.options.reserve, state.sites[machine], but)


def _reserved(state: ClusterState, machine: str, names: Iterable[str]) -> Reserve:
    """What these units reserve on a machine, as far as they are on it."""
    found, there = NOTHING, state.occupants.get(machine, {})
    for name in names:
        if name in there:
            found = plus(found, state.entries[name].options.reserve)
    return found


def _makes_room(state: ClusterState, entry: UnitEntry, machine: str) -> list[str]:
    """The unit itself, which needs no room beside itself, and the units on a machine that it replaces."""
    there = state.occupants.get(machine, ()) if entry.options.replaces else ()
    return [entry.name, *(name for name in there if state.wins(entry, state.entries[name]))]


def _of_conflicts(state: ClusterState, entry: UnitEntry, machine: str) -> Iterator[Objection]:
    """Yield which units on a machine conflict with another; those that it replaces there have nothing."""
    opponents, occupants = state.opponents_at(entry, machine), state.occupants.get(machine, {})
    for name in sorted(opponents, key=lambda each: (not occupants[each] & ASSIGNED, each)):
        other = state.entries[name]
        if not state.wins(entry, other):
            stopping = not occupants[name] & ASSIGNED
            found = _conflict(state, entry, other, stopping=stopping)
            if found:
                yield found


def _conflict(
    state: ClusterState, entry: UnitEntry, other: UnitEntry, *, stopping: bool = False
) -> Objection | None:
    return conflict_objection(
        entry.name,
        entry.options,
        other.name,
        other.options,
        stopping=stopping,
        first_match=state.conflicts.first_match,
    )


def to_staying(state: ClusterState, entry: UnitEntry, machine: str) -> Iterator[Objection]:
    """Yield why a unit that is assigned to the machine may not stay; nothing is known of one lost or unreadable.

    Of two units that conflict there, the one that replaces has the better right to it, or else the earlier name.
    """
    site = state.sites.get(machine)
    if site is None or site.trouble:
        return
    if machine not in state.candidates.pool(entry.options).fits:
        yield from static_objections(entry.options, site)
    yield from _of_leaders(state, entry, machine)
    if not state.conflicts.may_oppose(entry.name, entry.options, machine):
        return
    for name, bits in sorted(state.occupants[machine].items()):
        other = state.entries[name]
        if not bits & ASSIGNED or not state.conflicts.exclude_each_other(entry, other):
            continue
        if state.wins(other, entry) or (not state.wins(entry, other) and name < entry.name):
            beside = f"{name} is scheduled there"
            yield _conflict(state, entry, other) or Objection(Requirement.CONFLICT, beside, beside)


def _of_leaders(state: ClusterState, entry: UnitEntry, machine: str) -> Iterator[Objection]:
    return (leader_objection(each) for each in entry.options.machine_of if not state.is_assigned(each, machine))
