"""Who is here: the roll of machines, so that one that vanishes without a good-bye is told of once. Pure.

The registry forgets a dead machine with its lease; the event that the leader writes is what is left of it.
"""

from __future__ import annotations

from collections.abc import Collection


class Roll:
    """The machines as last seen, and whether each was leaving."""

    def __init__(self) -> None:
        self._leaving: dict[str, bool] = {}

    def see(self, machine: str, *, present: bool, leaving: bool = False) -> bool:
        """Take a machine's state in; True when it has just vanished without having said that it leaves."""
        if present:
            self._leaving[machine] = leaving
            return False
        return self._leaving.pop(machine, True) is False

    def missing(self, present: Collection[str]) -> list[str]:
        """The machines on the roll that a full listing does not have."""
        return [machine for machine in self._leaving if machine not in present]
