"""Deciding: from a cluster state to decisions with reasons.

Owns the comparison of what the registry schedules with what `placement` found, unit by unit. Deciding twice
without carrying anything out gives the same decisions; carrying them out and deciding again gives none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace

from placement.cluster_state import ClusterState, Faults
from placement.decisions import Assign, Clear, Decision, MoveSource, UpdateLine, Wait, Withdraw
from placement.pending_reasons import PendingReasons
from placement.placement import Placement
from placement.unit_entry import UnitEntry
from registry.model import Assignment

ATTEMPTS = 5  # each finds units whose decision fails that did not fail before


def decide(state: ClusterState) -> tuple[Decision, ...]:
    """Decide on everything that has changed in the state since the last time.

    An unforeseen error in one unit's decision is noted in `state.faults`; what was decided is worth nothing then.
    Decided again on a new state that has these faults from the beginning, the units that have them stay as they
    are and wait with that reason, and the rest goes on (`decide_around` does so).
    """
    state.begin()
    placement = Placement(state)
    placement.run()
    pending_reasons = PendingReasons(state, placement.awaited)
    for speaker in state.marks.take_speakers():
        with suppress(Exception):  # it is looked at below, and the error noted
            if pending_reasons.of(state.entries[speaker]) != state.entries[speaker].due:
                placement.looked_at |= state.marks.alike(speaker)
    decisions: list[Decision] = []
    issued: list[str] = []
    for name in sorted(placement.looked_at):
        entry = state.entries.get(name)
        if entry is None:
            continue
        before = len(decisions)
        try:
            decisions += [*_decide_unit(state, entry, placement, pending_reasons)]
        except Exception as error:  # noqa: BLE001 - see above
            state.note_fault(name, error)
        if len(decisions) > before:
            issued.append(name)
    state.end(placement.looked_at, issued)
    return tuple(decisions)


def decide_around(state: ClusterState, again: Callable[[Faults], ClusterState]) -> tuple[Decision, ...]:
    """As `decide`; units whose decision fails are left as they are. `again` makes the state from scratch.

    The state to go on with is the one that `again` made last, as long as its faults last.
    """
    decisions = decide(state)
    known: Faults = {}
    for _ in range(ATTEMPTS):
        if state.faults.keys() == known.keys():
            return decisions
        known = dict(state.faults)
        state = again(known)
        decisions = decide(state)
    return ()


def _decide_unit(
    state: ClusterState, entry: UnitEntry, placement: Placement, pending_reasons: PendingReasons
) -> Iterator[Decision]:
    fault = state.faults.get(entry.name)
    if fault is not None:
        state.set_due(entry, pending_reasons.of_fault(entry, fault))
    else:
        state.set_due(entry, pending_reasons.of(entry))
        waits = entry.placeable and (not entry.assigned or entry.due is not None or entry.stranded(state.sites))
        waits = waits or (entry.past is not None and not entry.failed_on.keys().isdisjoint(entry.assigned))
        state.marks.set_waiting(entry, waiting=waits)
        if entry.assigned != entry.scheduled.keys():
            yield from _moves(state, entry, placement)
        for machine in sorted(entry.assigned & entry.scheduled.keys()):
            if entry.stale(machine):
                yield UpdateLine(_line(entry, machine))
    if entry.held or entry.recorded:
        return
    if entry.due is None:
        yield Clear(entry.name)
    else:
        yield Wait(entry.due, news=not entry.due.passing and (entry.pending is None or entry.pending.passing))


def _moves(state: ClusterState, entry: UnitEntry, placement: Placement) -> Iterator[Decision]:
    left, new = entry.scheduled.keys() - entry.assigned, entry.assigned - entry.scheduled.keys()
    reasons = {machine: placement.reasons.get((entry.name, machine), "") for machine in left}
    sources: tuple[MoveSource, ...] = ()
    if left and new and not entry.options.is_global:
        sources = tuple(MoveSource(machine, machine not in state.sites) for machine in sorted(left))
        left = set()
    for machine in sorted(left):
        displaced_by = placement.displaced.get((entry.name, machine), "")
        yield Withdraw(entry.name, machine, reasons[machine], displaced_by, entry.past_after(machine))
    for machine in sorted(new):
        yield Assign(_line(entry, machine), sources, next(iter(sorted(reasons.values())), "") if sources else "")


def _line(entry: UnitEntry, machine: str) -> Assignment:
    """What the machine's schedule shall say of the unit; what another version put into the line stays there."""
    desired = entry.desired(machine)
    if desired is None:
        raise AssertionError(f"{entry.name} is placed, and nothing says with which file")
    sha256, generation, target, attempt = desired
    line = Assignment(entry.name, machine, sha256, target, generation, attempt, entry.beside)
    old = entry.scheduled.get(machine)
    return replace(line, unknown=old.unknown) if old is not None and old.unknown else line
