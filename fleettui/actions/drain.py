"""How far a drain is, and what it would do: pure readings of a snapshot, shared by the console and `fleetctl`.

Owns what counts: global units belong to their machine and are never counted; a unit that no other machine takes is
stuck, keeps running and blocks the drain. Which unit moves, and when, is the scheduler's to decide.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from functools import lru_cache

from placement.preview import Prediction, preview_drain
from registry.errors import UserError
from registry.frozen import dataclass
from registry.keys import Keys
from registry.mirror import Snapshot
from registry.units.file import parse
from registry.units.options import parse_options


@dataclass(frozen=True, slots=True)
class Remaining:
    """What a draining machine still has: units that are to move, and those that cannot, with the reason."""

    moving: frozenset[str]
    stuck: tuple[tuple[str, str], ...]  # sorted by unit

    @property
    def done(self) -> bool:
        """Whether nothing more will move as the fleet is now."""
        return not self.moving


@dataclass(frozen=True, slots=True)
class DrainPlan:
    """What draining a machine would do: where each unit goes, what stays and why, and its global units."""

    machine: str
    moves: tuple[Prediction, ...]
    stuck: tuple[Prediction, ...]
    stays: tuple[str, ...]  # global units


def present(snapshot: Snapshot, machine: str) -> frozenset[str]:
    """The units that are scheduled on the machine or that it still holds; global ones left out."""
    found = {unit for each, unit in (*snapshot.schedule, *snapshot.states) if each == machine}
    return frozenset(unit for unit in found if not is_global(snapshot, unit))


def left_on(snapshot: Snapshot, machines: Iterable[str], keys: Keys) -> dict[str, Remaining]:
    """How far the drain of each machine is."""
    there = {machine: present(snapshot, machine) for machine in machines}
    busy = [machine for machine, units in there.items() if units and machine in snapshot.machines]
    found = preview_drain(snapshot, busy, keys) if busy else {}
    remaining = {}
    for machine, units in there.items():
        stays = (each for each in found.get(machine, ()) if not each.machines and each.unit in units)
        stuck = tuple((each.unit, each.summary) for each in stays)
        remaining[machine] = Remaining(units - {unit for unit, _ in stuck}, stuck)
    return remaining


def plan(snapshot: Snapshot, machines: Iterable[str], keys: Keys) -> tuple[DrainPlan, ...]:
    """What draining these machines together would do."""
    machines = tuple(machines)
    wanted, stays = set(machines), defaultdict(list)
    for machine, unit in snapshot.schedule:
        if machine in wanted and is_global(snapshot, unit):
            stays[machine].append(unit)
    return tuple(
        DrainPlan(
            machine,
            tuple(each for each in found if each.machines),
            tuple(each for each in found if not each.machines),
            tuple(sorted(stays[machine])),
        )
        for machine, found in preview_drain(snapshot, machines, keys).items()
    )


def is_global(snapshot: Snapshot, name: str) -> bool:
    """Whether the unit is one on every machine; False where its file is not known or does not parse."""
    unit = snapshot.units.get(name)
    stored = snapshot.files.get(unit.hash) if unit else None
    return stored is not None and "Global" in stored.text and _says_global(stored.text, name)


@lru_cache(maxsize=4096)
def _says_global(text: str, name: str) -> bool:
    try:
        return parse_options(parse(text), name).is_global
    except UserError:
        return False
