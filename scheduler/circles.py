"""Circles among units: following in a ring, replacing in a ring.

Owns their detection and the words for them. A unit in such a ring waits with that reason: it could never settle.
"""

from __future__ import annotations

from registry.unitname import is_literal, matches
from scheduler.board import Board
from scheduler.cases import Case


def following_circle(board: Board, case: Case) -> str:
    """The ring of MachineOf that a case is part of, as text; "" when there is none."""
    path = _path_back(board, case.name)
    return f"MachineOf goes in a circle: {' -> '.join(path)}; remove one of them" if path else ""


def _path_back(board: Board, start: str) -> list[str]:
    """The way along MachineOf from a unit back to itself."""
    came_from: dict[str, str] = {}
    ahead = [start]
    while ahead:
        name = ahead.pop(0)
        case = board.cases.get(name)
        for leader in case.options.machine_of if case and case.placeable else ():
            if leader == start:
                return [start, *_backwards(came_from, name, start), start]
            if leader not in came_from:
                came_from[leader] = name
                ahead.append(leader)
    return []


def _backwards(came_from: dict[str, str], name: str, start: str) -> list[str]:
    path: list[str] = []
    while name != start:
        path.append(name)
        name = came_from[name]
    return path[::-1]


def replacement_circle(board: Board, case: Case) -> str:
    """Why a case may not replace what it names, "" when it may.

    Displacing a unit disturbs those that follow it and lets it displace others in turn: where that leads back to
    the case, replacing would never come to rest.
    """
    if not case.options.replaces:
        return ""
    if case.name not in board.circles:
        board.circles[case.name] = _find_circle(board, case)
    return board.circles[case.name]


def _find_circle(board: Board, case: Case) -> str:
    for replaced in _replaced(board, case):
        if case.name in _replaced(board, board.cases[replaced]):
            return f"{case.name} and {replaced} replace each other; remove Replaces from one of them"
        if _disturbs(board, replaced, case.name):
            return f"replacing {replaced} would displace {case.name} itself in the end; remove one Replaces"
    return ""


def _disturbs(board: Board, start: str, goal: str) -> bool:
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


def _replaced(board: Board, case: Case) -> list[str]:
    """Units that are wanted somewhere and that the case names in Replaces, sorted."""
    found: set[str] = set()
    for pattern in case.options.replaces:
        names = [pattern] if is_literal(pattern) else [name for name in board.cases if matches(pattern, name)]
        found.update(name for name in names if name in board.cases and board.cases[name].placeable)
    found.discard(case.name)
    return sorted(found)
