"""Faults that the fleet once had, to be put back: the simulation has to find each of them."""

from __future__ import annotations

from collections.abc import Callable

MUTANTS: dict[str, Callable[[], None]] = {}


def put_back(name: str | None) -> None:
    """Put one fault back, in this process."""
    if name:
        MUTANTS[name]()
