"""Deciding: from what a board holds to decisions with reasons.

Owns the comparison of what the registry schedules with what `placement` found, case by case. Deciding twice
without carrying anything out gives the same decisions; carrying them out and deciding again gives none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from placement.cluster_state import ClusterState, Faults
from placement.decisions import Assign, Clear, Decision, MoveSource, UpdateLine, Wait, Withdraw
from placement.pending_reasons import PendingReasons
from placement.placement import Placement, stranded
from placement.unit_entry import UnitEntry
from registry.keys import Keys
from registry.mirror import Snapshot
from registry.model import Assignment

ATTEMPTS = 5  # each finds units whose decision fails that did not fail before


def decide_snapshot(snapshot: Snapshot, keys: Keys | None = None) -> tuple[Decision, ...]:
    """What is to be done about a snapshot, from scratch. Without a sentinel: nothing, whatever it says."""
    if snapshot.cluster is None:
        return ()
    return decide(ClusterState.of(snapshot, keys or Keys()))


def decide(board: ClusterState) -> tuple[Decision, ...]:
    """What is to be done about everything that changed on the board since the last time.

    An error that nobody foresaw in one unit's decision is put into `board.faults`; what was decided is worth
    nothing then. Decided again on a new board that has these faults from the beginning, the units that have them
    stay as they are and wait with that reason, and the rest goes on (`decide_around` does so).
    """
    _take_back(board)
    placement = Placement(board)
    placement.run()
    verdicts = PendingReasons(board, placement)
    decisions: list[Decision] = []
    for name in sorted(placement.touched):
        case = board.cases.get(name)
        if case is None:
            continue
        before = len(decisions)
        try:
            decisions += _decide_case(board, case, placement, verdicts)
        except Exception as error:  # noqa: BLE001 - see above
            board.faults[name] = error
        if len(decisions) > before:
            board.issued.add(name)
    board.drains_dirty = bool(decisions)
    board.forget(placement.touched)
    return tuple(decisions)


def decide_around(board: ClusterState, again: Callable[[Faults], ClusterState]) -> tuple[Decision, ...]:
    """As `decide`; units whose decision fails are left as they are. `again` makes the board from scratch.

    The board to go on with is the one that `again` made last, as long as its faults last.
    """
    decisions = decide(board)
    known: Faults = {}
    for _ in range(ATTEMPTS):
        if board.faults.keys() == known.keys():
            return decisions
        known = dict(board.faults)
        board = again(known)
        decisions = decide(board)
    return ()


def _decide_case(
    board: ClusterState, case: UnitEntry, placement: Placement, verdicts: PendingReasons
) -> list[Decision]:
    fault = board.faults.get(case.name)
    if fault is not None:
        case.verdict = verdicts.of_fault(case, fault)
        return list(_words(case))
    case.verdict = verdicts.of(case)
    waits = case.placeable and (not case.homes or case.verdict is not None or stranded(board, case))
    board.set_waiting(case, waiting=waits)
    moves = list(_moves(board, case, placement)) if case.homes or case.lines else []
    return [*moves, *_words(case)]


def _take_back(board: ClusterState) -> None:
    """What was decided and never came to be is decided again."""
    for name in sorted(board.issued):
        case = board.cases.get(name)
        if case is None or case.reflected:
            continue
        for machine in case.homes - case.lines.keys():
            board.set_home(case, machine, present=False)
        for machine in case.lines.keys() - case.homes:
            board.set_home(case, machine, present=True)
        board.dirty.add(name)
    board.issued.clear()


def _moves(board: ClusterState, case: UnitEntry, placement: Placement) -> Iterator[Decision]:
    left, new = case.lines.keys() - case.homes, case.homes - case.lines.keys()
    if not left:
        for machine in sorted(new):
            yield Assign(_line(case, machine))
        yield from _updates(case)
        return
    reasons = {machine: placement.reasons.get((case.name, machine), "") for machine in left}
    sources: tuple[MoveSource, ...] = ()
    if new and not case.options.is_global:
        sources = tuple(MoveSource(machine, machine not in board.sites) for machine in sorted(left))
        left = set()
    for machine in sorted(left):
        yield Withdraw(case.name, machine, reasons[machine], placement.displaced.get((case.name, machine), ""))
    for machine in sorted(new):
        yield Assign(_line(case, machine), sources, next(iter(sorted(reasons.values())), "") if sources else "")
    yield from _updates(case)


def _updates(case: UnitEntry) -> Iterator[Decision]:
    for machine in sorted(case.homes & case.lines.keys()):
        if case.stale(machine):
            yield UpdateLine(_line(case, machine))


def _line(case: UnitEntry, machine: str) -> Assignment:
    """What the machine's schedule shall say of the unit; what another version put into the line stays there."""
    if case.wish is None:
        raise AssertionError(f"{case.name} is placed without anybody wanting it")
    sha256, generation, target, attempt = case.wish
    line, old = Assignment(case.name, machine, sha256, target, generation, attempt), case.lines.get(machine)
    return replace(line, unknown=old.unknown) if old is not None and old.unknown else line


def _words(case: UnitEntry) -> Iterator[Decision]:
    verdict = case.verdict
    if case.held or (case.pending == verdict and case.pending_exists == (verdict is not None)):
        return
    if verdict is None:
        yield Clear(case.name)
    else:
        told = case.pending is not None and not case.pending.passing
        yield Wait(verdict, news=not verdict.passing and not told)
