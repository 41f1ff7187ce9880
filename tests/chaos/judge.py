"""Judging what was seen against the invariants of ARCHITECTURE.md. Pure.

Times are seconds of the monotonic clock that this host shares with its machines. What a cut-off machine is excused
for (invariant 10, "keep") is a spell of time on one machine.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from tests.chaos import crowd

BLUR_S = 0.03  # uptimes are noted in hundredths of a second
NEAR_S = 2.0  # an order to stop and what it stops
JOIN_S = 0.5  # two looks at the same two copies
BACK_S = 5.0  # a machine that was cut off has so long to stop what moved meanwhile


@dataclass(frozen=True, slots=True)
class Overlap:
    """One unit alive on two machines, for certain from `since_s` to `until_s`."""

    unit: str
    nodes: tuple[str, str]
    since_s: float
    until_s: float


@dataclass(frozen=True, slots=True)
class Spell:
    """A machine out of touch with the registry: its copies are excused."""

    node: str
    since_s: float
    until_s: float


@dataclass(frozen=True, slots=True)
class Life:
    """One run of a unit on a machine, by its own notes; `until_s` is its end, its machine's, or now."""

    unit: str
    node: str
    version: int
    since_s: float
    until_s: float
    boot: int
    ended: bool  # it noted its end itself


def excused(overlap: Overlap, spells: Iterable[Spell]) -> bool:
    """Whether one of the two machines was out of touch during the whole overlap."""
    extra_s = crowd.KINDS[overlap.unit].stop_s
    return any(
        spell.node in overlap.nodes
        and spell.since_s <= overlap.since_s + BLUR_S
        and overlap.until_s <= spell.until_s + BACK_S + extra_s + BLUR_S
        for spell in spells
    )


def doubles(lives: Sequence[Life]) -> Iterator[Overlap]:
    """Two lives of one unit on two machines at once (invariant 1)."""
    by_unit: dict[str, list[Life]] = defaultdict(list)
    for life in lives:
        kind = crowd.KINDS.get(life.unit)
        if kind and kind is not crowd.GLOBAL and life.unit != crowd.HOST_UNIT:
            by_unit[life.unit].append(life)
    for unit, own in by_unit.items():
        own.sort(key=lambda each: each.since_s)
        for index, one in enumerate(own):
            for other in own[index + 1 :]:
                since_s, until_s = other.since_s, min(one.until_s, other.until_s)
                if one.node != other.node and until_s - since_s > BLUR_S:
                    yield Overlap(unit, (one.node, other.node), since_s, until_s)


def joined(overlaps: Iterable[Overlap]) -> list[Overlap]:
    """Overlaps of the same unit on the same machines that follow upon each other, as one."""
    found: list[Overlap] = []
    for each in sorted(overlaps, key=lambda each: (each.unit, sorted(each.nodes), each.since_s)):
        last = found[-1] if found else None
        same = last and (last.unit, sorted(last.nodes)) == (each.unit, sorted(each.nodes))
        if last and same and each.since_s <= last.until_s + JOIN_S:
            found[-1] = Overlap(last.unit, last.nodes, last.since_s, max(last.until_s, each.until_s))
        else:
            found.append(each)
    return found


def read_lives(
    node: str,
    notes: Iterable[tuple[float, str, str, int]],
    ends: Sequence[float],
    now_s: float,
    killed: Mapping[str, Sequence[float]] = MappingProxyType({}),
) -> tuple[list[Life], list[str]]:
    """The lives that a machine's notes tell, and the places where a unit began before its last life was over.

    `ends` are the moments at which the machine crashed: whatever lived then ended without a note. So did a unit
    whose last command was `killed`, as systemd told at those moments (invariant 5).
    """
    lives: list[Life] = []
    wrong: list[str] = []
    open_: dict[str, tuple[float, int, int]] = {}

    def close(unit: str, before_s: float) -> bool:
        """End a life that had no time to note its end; False when it should have had."""
        since_s, version, boot = open_[unit]
        found = [at_s for at_s in killed.get(unit, ()) if since_s < at_s < before_s]
        crash = [ends[boot]] if boot < len(ends) and ends[boot] < before_s else []
        until_s = min(found + crash, default=before_s)
        lives.append(Life(unit, node, version, since_s, until_s, boot, ended=False))
        del open_[unit]
        return bool(found or crash)

    for at_s, word, unit, version in notes:
        boot = sum(end_s < at_s for end_s in ends)
        if word == "start":
            since_s = open_.get(unit, (at_s,))[0]
            if unit in open_ and not close(unit, at_s):
                wrong.append(f"5: {unit} on {node} began at {at_s:.2f} before its run of {since_s:.2f} had ended")
            open_[unit] = (at_s, version, boot)
        elif unit in open_:
            since_s, old, before = open_.pop(unit)
            lives.append(Life(unit, node, old, since_s, at_s, before, ended=True))
    for unit in list(open_):
        close(unit, now_s)
    return lives, wrong


def repeated(
    lives: Iterable[Life],
    allowed: Mapping[tuple[str, str, int], int],
    handovers: Mapping[tuple[str, int], int],
    losses: Mapping[tuple[str, int], Sequence[float]],
) -> list[str]:
    """Units that were started more often than they were told to (invariants 4 and 12).

    `allowed` counts the launches that the schedule asked for by (machine, unit, boot); `handovers` the times that
    the machine gave its units up in order; `losses` are the moments at which it stopped them for want of the
    registry, which pardons nothing that had ended before.
    """
    begun: dict[tuple[str, str, int], list[Life]] = defaultdict(list)
    for life in lives:
        if life.unit in crowd.KINDS and life.unit != crowd.HOST_UNIT and not crowd.KINDS[life.unit].restarts:
            begun[life.node, life.unit, life.boot].append(life)
    wrong = []
    for (node, unit, boot), own in sorted(begun.items()):
        ordered = allowed.get((node, unit, boot), 0)
        stopped = sum(_hit(own, at_s) for at_s in losses.get((node, boot), ()))
        if len(own) > ordered + handovers.get((node, boot), 0) + stopped:
            times = ", ".join(f"{life.since_s:.2f}" for life in own)
            wrong.append(
                f"12: {unit} on {node} (boot {boot}) began {len(own)} times, {ordered} ordered, at {times}"
            )
    return wrong


def _hit(lives: Sequence[Life], at_s: float) -> bool:
    """Whether one of these lives was not over for certain when the registry was lost."""
    return any(life.since_s - NEAR_S < at_s < life.until_s + NEAR_S for life in lives)
