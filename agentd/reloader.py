"""One daemon-reload for a batch of changed files. Owns when to reload; knows nothing of units' lives.

A reload costs systemd seconds when it has hundreds of units loaded. Whoever is on the way to changing a file
says so (`expect`), and whoever has changed one waits in `reload`. One reload serves all who wait; it is held
back for those who are expected while they keep arriving. When none has come for `QUIET_S`, or after `WINDOW_S`,
it goes ahead without the rest, so that a unit that stops slowly delays no other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

QUIET_S = 0.4
WINDOW_S = 5.0


class Reloader:
    """Coalesces reloads. `reload_now` is the costly call."""

    def __init__(self, reload_now: Callable[[], Awaitable[None]]) -> None:
        self.count = 0  # reloads done, for those who measure
        self._reload_now = reload_now
        self._expected: set[str] = set()
        self._arrived = asyncio.Event()
        self._next: asyncio.Task[None] | None = None
        self._running = asyncio.Lock()

    def expect(self, unit: str) -> None:
        """This unit may need a reload soon."""
        self._expected.add(unit)

    def dismiss(self, unit: str) -> None:
        """This unit needs none after all, or waits for it now."""
        self._expected.discard(unit)
        self._arrived.set()

    async def reload(self, unit: str) -> None:
        """Wait for a reload that begins after this call. Raises what the reload raised."""
        self.dismiss(unit)
        if self._next is None:
            self._next = asyncio.create_task(self._gather(), name="daemon-reload")
        await asyncio.shield(self._next)

    async def _gather(self) -> None:
        try:
            async with asyncio.timeout(WINDOW_S):
                while self._expected:
                    self._arrived.clear()
                    async with asyncio.timeout(QUIET_S):
                        await self._arrived.wait()
        except TimeoutError:
            pass
        async with self._running:
            self._next = None  # who comes from here on has changed its file too late for this one
            self.count += 1
            await self._reload_now()
