"""How far a drain is, and what it would do: pure readings of a snapshot, shared by the console and `fleetctl`.

Owns what counts: global units belong to their machine and are never counted; a unit that no other machine takes is
stuck, keeps running and blocks the drain. Which unit moves, and when, is the scheduler's to decide.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache

from placement.explain import Prediction, departures, drain_blockers
from registry.errors import UserError
from registry.keys import Keys
from registry.mirror import Snapshot
from registry.model import Availability, Override
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


def left_on(snapshot: Snapshot, machine: str, keys: Keys) -> Remaining:
    """How far the drain of a machine is."""
    there = present(snapshot, machine)
    blockers = drain_blockers(snapshot, machine, keys) if there and machine in snapshot.machines else ()
    stuck = tuple((each.unit, each.reason) for each in blockers if each.unit in there)
    return Remaining(there - {unit for unit, _ in stuck}, stuck)


def plan(snapshot: Snapshot, machines: Iterable[str], keys: Keys) -> tuple[DrainPlan, ...]:
    """What draining these machines together would do, as far as can be told for each unit by itself."""
    machines = tuple(machines)
    overrides = dict(snapshot.overrides)
    for machine in machines:
        overrides[machine] = replace(overrides.get(machine, Override(machine)), availability=Availability.DRAINING)
    drained = replace(snapshot, overrides=overrides)
    return tuple(_plan(drained, machine, keys) for machine in machines)


def _plan(snapshot: Snapshot, machine: str, keys: Keys) -> DrainPlan:
    found = departures(snapshot, machine, keys)
    stays = sorted(unit for each, unit in snapshot.schedule if each == machine and is_global(snapshot, unit))
    return DrainPlan(
        machine,
        tuple(each for each in found if each.machines),
        tuple(each for each in found if not each.machines),
        tuple(stays),
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
