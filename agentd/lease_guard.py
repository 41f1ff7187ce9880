"""on_lost_registry = "stop": nothing of ours runs any more when this machine's lease can end.

By our own clock, from when the last successful renewal was sent, by us or by the agent before us: etcd cannot end
the lease earlier.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Protocol

from agentd.reconciler import Reconciler
from registry.errors import SystemdError

log = logging.getLogger("fleet.agent")

STOP_AT, KILL_AT = 0.5, 0.8  # of the lease
HANG_AT = 0.3  # of the lease: an agent that stands still so long is restarted, so that the next one can stop


class Lease(Protocol):
    """The lease that is held."""

    renewed_at: float  # when the last renewal that succeeded was sent (monotonic); 0: none yet
    ttl_s: float


class Killer(Protocol):
    """Who ends processes."""

    async def kill(self, unit: str) -> None:
        """SIGKILL to every process of the unit."""


class LeaseGuard:
    """Parks the units while the lease may end. `began` is when the agent before us renewed it, or when we began."""

    def __init__(
        self, lease: Lease, reconciler: Reconciler, systemd: Killer, began: float, on_change: Callable[[], None]
    ) -> None:
        self._lease, self._reconciler, self._systemd = lease, reconciler, systemd
        self._began, self._on_change = began, on_change

    async def run(self) -> None:
        """Watch the lease for ever."""
        while True:
            renewed, ttl_s = self._lease.renewed_at or self._began, self._lease.ttl_s
            await asyncio.sleep(max(renewed + STOP_AT * ttl_s - time.monotonic(), 0.05))
            if self._lease.renewed_at > renewed:
                self._reconciler.park(parked=False)
                self._on_change()
            elif time.monotonic() >= renewed + STOP_AT * ttl_s:
                await self._park(renewed + KILL_AT * ttl_s)

    async def _park(self, kill_at: float) -> None:
        """Stop everything in order, and what remains at `kill_at` without."""
        if not self._reconciler.table.parked:
            log.error("the registry is lost: stopping every unit before this machine's lease can end")
        self._reconciler.park(parked=True)
        self._on_change()
        if time.monotonic() < kill_at:
            return
        for name in await self._reconciler.living():
            try:
                await self._systemd.kill(name)
            except SystemdError as error:
                log.warning("%s", error)
