"""Circles among units: following in a ring, replacing in a ring.

Owns their detection and the words for them. A unit in such a ring waits with that reason: it could never settle.
"""

from __future__ import annotations

from placement.cluster_state import ClusterState
from placement.eligibility import circle, replace_each_other
from placement.unit_entry import UnitEntry
from registry.units.name import is_literal, matches


def following_circle(board: ClusterState, case: UnitEntry) -> str:
    """The ring of MachineOf that a case is part of, as text; "" when there is none."""

    def leaders_of(name: str) -> tuple[str, ...]:
        found = board.cases.get(name)
        return found.options.machine_of if found and found.placeable else ()

    return circle(case.name, leaders_of)


def replacement_circle(board: ClusterState, case: UnitEntry) -> str:
    """Why a case may not replace what it names, "" when it may.

    Displacing a unit disturbs those that follow it and lets it displace others in turn: where that leads back to
    the case, replacing would never come to rest.
    """
    if not case.options.replaces:
        return ""
    if case.name not in board.circles:
        board.circles[case.name] = _find_circle(board, case)
    return board.circles[case.name]


def _find_circle(board: ClusterState, case: UnitEntry) -> str:
    for replaced in _replaced(board, case):
        if case.name in _replaced(board, board.cases[replaced]):
            return replace_each_other(case.name, replaced)
        if _disturbs(board, replaced, case.name):
            return f"replacing {replaced} would displace {case.name} itself in the end; remove one Replaces"
    return ""


def _disturbs(board: ClusterState, start: str, goal: str) -> bool:
    reached, ahead = {start}, [start]
    while ahead:
        name = ahead.pop()
        case = board.cases.get(name)
        if case is None or not case.placeable:
            continue
        following = {each for each in board.followers.get(name, ()) if board.cases[each].placeable}
        new = (following | set(_replaced(board, case))) - reached
        if goal in new:
            return True
        reached |= new
        ahead += new
    return False


def _replaced(board: ClusterState, case: UnitEntry) -> list[str]:
    """Units that are wanted somewhere and that the case names in Replaces, sorted."""
    found: set[str] = set()
    for pattern in case.options.replaces:
        names = [pattern] if is_literal(pattern) else [name for name in board.cases if matches(pattern, name)]
        found.update(name for name in names if name in board.cases and board.cases[name].placeable)
    found.discard(case.name)
    return sorted(found)
