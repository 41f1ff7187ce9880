"""How far drains are, as seen from snapshot to snapshot. Pure; the time is an argument.

What stands on a machine is counted with each snapshot; why a unit is stuck is worked out anew at most every LOOK_S
in a large fleet, since that looks at every unit.
"""

from __future__ import annotations

from dataclasses import dataclass

from fleettui.actions.drain import Remaining, left_on
from fleettui.console.text.formatting import counted
from registry.keys import Keys
from registry.mirror import Snapshot
from registry.model import Availability

LOOK_S = 1.0
SMALL = 2000  # schedule lines and states that can be looked at whenever they change


@dataclass(frozen=True, slots=True)
class Drain:
    """One machine's drain: what is left of `total` units; `total` counts from when it was first seen."""

    left: Remaining
    total: int
    whole: bool  # whether it was seen from its beginning

    @property
    def progress(self) -> str:
        """ "12 of 30 to move", "12 to move", "" when nothing is."""
        moving = len(self.left.moving)
        if not moving:
            return ""
        return f"{moving} of {self.total} to move" if self.whole else f"{moving} to move"

    @property
    def blocked(self) -> str:
        """What keeps it from an end: "mars.service stays: …", "" when nothing does."""
        if not self.left.stuck:
            return ""
        unit, reason = self.left.stuck[0]
        if len(self.left.stuck) == 1:
            return f"{unit} stays: {reason}"
        return f"{counted(len(self.left.stuck), 'unit')} stay; {unit}: {reason}"


class Drains:
    """The drains under way."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._known: dict[str, tuple[float, Drain]] = {}  # the override's time, and what was last seen
        self._looked: dict[str, tuple[object, float]] = {}

    def see(self, snapshot: Snapshot, now: float, *, fresh: bool = False) -> dict[str, Drain]:
        """All draining machines. `fresh`: those that begin now were seen from their beginning."""
        wanted = {
            machine: override.at
            for machine, override in snapshot.overrides.items()
            if override.availability is Availability.DRAINING and machine in snapshot.machines
        }
        for gone in self._known.keys() - wanted.keys():
            del self._known[gone], self._looked[gone]
        for machine, at in wanted.items():
            self._look(snapshot, machine, at, now, fresh=fresh)
        return {machine: drain for machine, (_, drain) in self._known.items()}

    def _look(self, snapshot: Snapshot, machine: str, at: float, now: float, *, fresh: bool) -> None:
        known = self._known.get(machine)
        same = known is not None and known[0] == at
        basis = (snapshot.schedule, snapshot.states, snapshot.machines, snapshot.overrides, snapshot.files)
        if same and not self._due(machine, basis, now):
            return
        self._looked[machine] = (basis, now)
        left = left_on(snapshot, machine, self._keys)
        total, whole = len(left.moving), fresh
        if same and known is not None:
            total, whole = max(known[1].total, total), known[1].whole
        self._known[machine] = (at, Drain(left, total, whole))

    def _due(self, machine: str, basis: tuple[object, ...], now: float) -> bool:
        before, at = self._looked[machine]
        changed = not isinstance(before, tuple) or any(a is not b for a, b in zip(before, basis, strict=True))
        small = len(basis[0]) + len(basis[1]) <= SMALL  # type: ignore[arg-type]
        return changed and (small or now - at >= LOOK_S)
