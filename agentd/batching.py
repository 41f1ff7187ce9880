"""One question about many units, asked once for all who ask it in the same turn of the loop.

Owns the gathering and what a refusal means: a name that systemd refuses spoils no answer but its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Generic, TypeVar

from registry.errors import SystemdError

T = TypeVar("T")


class Batch(Generic[T]):
    """`ask` answers for many units, or raises SystemdError.

    `lost` is the kind of error that no smaller question mends.
    """

    def __init__(self, ask: Callable[[list[str]], Awaitable[Mapping[str, T]]], lost: type[SystemdError]) -> None:
        self._ask, self._lost = ask, lost
        self._units: set[str] = set()
        self._next: asyncio.Task[dict[str, T | SystemdError]] | None = None

    async def about(self, unit: str) -> T:
        """The answer for one unit. Raises the SystemdError that it got."""
        self._units.add(unit)
        if self._next is None:
            self._next = asyncio.create_task(self._gather(), name="question about units")
        found = (await asyncio.shield(self._next))[unit]
        if isinstance(found, SystemdError):
            raise found
        return found

    async def _gather(self) -> dict[str, T | SystemdError]:
        await asyncio.sleep(0)
        units, self._units, self._next = sorted(self._units), set(), None
        return await self._answers(units)

    async def _answers(self, units: list[str]) -> dict[str, T | SystemdError]:
        try:
            return {**await self._ask(units)}
        except self._lost as error:
            return dict.fromkeys(units, error)
        except SystemdError as error:
            if len(units) == 1:
                return {units[0]: error}
        apart = [await self._answers([unit]) for unit in units]
        return {unit: found for each in apart for unit, found in each.items()}
