"""What units use, looked up by machine and unit in the agents' reports. Pure.

A figure stands for a process that lives: who shows one asks for the unit's state first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from fleettui.console.text.cells import Cell, Tone
from fleettui.console.text.formatting import share, size
from registry.mirror import Snapshot
from registry.model import Usage

N = TypeVar("N", int, float)


@dataclass(frozen=True, slots=True)
class Meter:
    """A unit's memory in bytes and its part of one cpu; None where not reported."""

    memory: int | None = None
    cpu: float | None = None
    estimated: bool = False

    def __add__(self, other: Meter) -> Meter:
        memory, cpu = _sum(self.memory, other.memory), _sum(self.cpu, other.cpu)
        return Meter(memory, cpu, self.estimated or other.estimated)

    @property
    def memory_text(self) -> str:
        """ "18 M", "~18 M" where it was summed over processes, "-" where not known."""
        if self.memory is None:
            return "-"
        return f"{'~' if self.estimated else ''}{size(self.memory)}"

    @property
    def texts(self) -> tuple[str, str]:
        """All that a reader sees of it."""
        return self.memory_text, share(self.cpu)


UNKNOWN = Meter()


class Meters:
    """The reports, indexed by unit as long as they stay the same."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[Usage, dict[str, Meter]]] = {}

    def of(self, snapshot: Snapshot, machine: str, unit: str) -> Meter:
        """What the unit uses there."""
        usage = snapshot.usage.get(machine)
        return self._index(usage).get(unit, UNKNOWN) if usage else UNKNOWN

    def changed(self, snapshot: Snapshot, machine: str) -> set[str]:
        """The units whose figures read differently since the machine was last asked about."""
        _, before = self._known.pop(machine, (None, {}))
        usage = snapshot.usage.get(machine)
        now = self._index(usage) if usage else {}
        return {
            unit
            for unit in before.keys() | now.keys()
            if before.get(unit, UNKNOWN).texts != now.get(unit, UNKNOWN).texts
        }

    def _index(self, usage: Usage) -> dict[str, Meter]:
        known = self._known.get(usage.machine)
        if known is None or known[0] is not usage:
            index = {unit: Meter(memory, cpu, usage.estimated) for unit, memory, cpu in usage.units}
            known = self._known[usage.machine] = (usage, index)
        return known[1]


def memory_cell(meter: Meter) -> Cell:
    """The memory, for a column."""
    return Cell(meter.memory_text, Tone.QUIET)


def cpu_cell(meter: Meter) -> Cell:
    """The part of a cpu, for a column; more than half of one is worth a look."""
    return Cell(share(meter.cpu), Tone.PLAIN if (meter.cpu or 0) >= 0.5 else Tone.QUIET)


def _sum(one: N | None, other: N | None) -> N | None:
    return other if one is None else one if other is None else one + other
