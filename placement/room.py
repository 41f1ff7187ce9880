"""How much of each machine its units reserve, and whether there is room for another one.

Owns the sums, kept unit by unit, and the words of a machine that is full. A machine that does not say what it
has is never full. It must not know units by name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from placement.eligibility import Objection, Requirement, Site
from placement.unit_entry import UnitEntry
from registry.units.amounts import shown_cpus, shown_size
from registry.units.options import NOTHING, Reserve


class Room:
    """What is reserved on each machine, by the units that are on it or shall be."""

    def __init__(self) -> None:
        self.freed = 0  # how often there came to be more room
        self._used: dict[str, Reserve] = {}

    def count(self, machine: str, reserve: Reserve, change: int) -> None:
        """Count a unit with this reserve on the machine (1), or count it no longer (-1)."""
        if change < 0:
            self.freed += 1
        memory, share, cpu = self._used.get(machine, NOTHING)
        used = Reserve(
            memory + change * reserve.memory_bytes,
            round(share + change * reserve.memory_share, 9),
            cpu + change * reserve.cpu_millis,
        )
        if used == NOTHING:
            self._used.pop(machine, None)
        else:
            self._used[machine] = used

    def count_all(self, entries: Iterable[UnitEntry]) -> None:
        """Count units where they are."""
        for entry in entries:
            if entry.options.reserve is not NOTHING:
                for machine in entry.assigned | entry.reported.keys():
                    self.count(machine, entry.options.reserve, 1)

    def used(self, machine: str, but: Reserve = NOTHING) -> Reserve:
        """Return what is reserved on the machine; `but`: a part of it that does not count."""
        used = self._used.get(machine, NOTHING)
        return used if but is NOTHING else minus(used, but)

    def lacks(self, reserve: Reserve, site: Site, but: Reserve = NOTHING) -> bool:
        """Whether a unit that is not there has no room on the machine."""
        used = self._used.get(site.id, NOTHING) if but is NOTHING else self.used(site.id, but)
        memory, cpu = site.memory_bytes, site.cpus * 1000
        wanted = memory_of(reserve, memory)
        return bool(
            (memory and wanted and memory_of(used, memory) + wanted > memory)
            or (cpu and reserve.cpu_millis and used.cpu_millis + reserve.cpu_millis > cpu)
        )

    def free(self, reserve: Reserve, site: Site) -> str:
        """Return in words what is free of what a unit needs; "" where nothing of that is counted."""
        used, parts = self.used(site.id), []
        memory, cpu = site.memory_bytes, site.cpus * 1000
        if memory and memory_of(reserve, memory):
            parts.append(f"{_of(memory - memory_of(used, memory), memory, shown_size)} of memory")
        if cpu and reserve.cpu_millis:
            parts.append(f"{_of(cpu - used.cpu_millis, cpu, shown_cpus)} CPUs")
        return f"{', '.join(parts)} free" if parts else ""

    def objection(
        self, reserve: Reserve, site: Site, but: Reserve = NOTHING, stopping: Reserve = NOTHING
    ) -> Objection | None:
        """Return what a machine that is full says; None where there is room.

        `stopping`: what is reserved by units that are being stopped there.
        """
        if not self.lacks(reserve, site, but):
            return None
        used, parts, brief = self.used(site.id, but), [], []
        memory, cpu = site.memory_bytes, site.cpus * 1000
        wanted = memory_of(reserve, memory)
        if memory and wanted and (free := memory - memory_of(used, memory)) < wanted:
            need = f"{shown_size(wanted)} of memory"
            parts.append(f"needs {need}, {_of(free, memory, shown_size)} is free")
            brief.append(need)
        if cpu and reserve.cpu_millis and (free := cpu - used.cpu_millis) < reserve.cpu_millis:
            need = f"{shown_cpus(reserve.cpu_millis)} CPUs"
            parts.append(f"needs {need}, {_of(free, cpu, shown_cpus)} is free")
            brief.append(need)
        passing = stopping != NOTHING and not self.lacks(reserve, site, plus(but, stopping))
        return Objection(
            Requirement.ROOM, f"full: {'; '.join(parts)}", f"full: needs {' and '.join(brief)}", passing
        )


def needs(reserve: Reserve) -> str:
    """Return in words what a unit reserves; "" for nothing."""
    parts = [f"{shown_size(reserve.memory_bytes)} of memory"] if reserve.memory_bytes else []
    parts += [f"{100 * reserve.memory_share:g}% of the memory"] if reserve.memory_share else []
    parts += [f"{shown_cpus(reserve.cpu_millis)} CPUs"] if reserve.cpu_millis else []
    return " and ".join(parts)


def _of(free: int, total: int, shown: Callable[[int], str]) -> str:
    return f"{shown(max(free, 0))} of {shown(total)}"


def memory_of(reserve: Reserve, memory_bytes: int) -> int:
    """Return the bytes that are reserved of a machine with so much memory."""
    return reserve.memory_bytes + round(reserve.memory_share * memory_bytes)


def plus(one: Reserve, other: Reserve) -> Reserve:
    """Return both reserves together."""
    return Reserve(
        one.memory_bytes + other.memory_bytes,
        one.memory_share + other.memory_share,
        one.cpu_millis + other.cpu_millis,
    )


def minus(one: Reserve, other: Reserve) -> Reserve:
    """Return what is left of a reserve without another."""
    return plus(one, Reserve(-other.memory_bytes, -other.memory_share, -other.cpu_millis))
