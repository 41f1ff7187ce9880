"""Which Quadlets a Quadlet needs beside it, with those that they need, and which file each of them has.

Owns the answer to whom a change of one of them concerns. Pure.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from placement.options_cache import OptionsError, UnitOptionsCache
from placement.unit_entry import UnitEntry
from registry.units.options import FleetOptions
from registry.units.quadlet import MOST


class NeededBeside:
    """What lies beside the units of one cluster state."""

    def __init__(self, entries: Mapping[str, UnitEntry], cache: UnitOptionsCache) -> None:
        self._entries, self._cache = entries, cache
        self._users: dict[str, set[str]] = defaultdict(set)

    def users(self, name: str) -> list[str]:
        """Return the units that need this one beside them, sorted."""
        return sorted(self._users.get(name, ()))

    def resolve(self, entry: UnitEntry, options: FleetOptions) -> OptionsError | None:
        """Note what a unit with these options needs; the error where one of them is not known or not readable."""
        for name, _ in entry.beside:
            self._users[name].discard(entry.name)
        found: dict[str, str] = {}
        error: OptionsError | None = None
        ahead = [*options.beside]
        while ahead and len(found) < MOST:
            name = ahead.pop(0)
            if name in found or name == entry.name:
                continue
            self._users[name].add(entry.name)
            found[name] = self._entries[name].hash if name in self._entries else ""
            if not found[name]:
                error = error or OptionsError(f"it needs {name} beside it, which nobody has submitted")
                continue
            read = self._cache.options(name, found[name])
            if isinstance(read, FleetOptions):
                ahead += read.beside
            else:
                error = error or OptionsError(f"{name}, which it needs beside it: {read.reason}")
        entry.beside = tuple(sorted(found.items()))
        return error
