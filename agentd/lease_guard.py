"""on_lost_registry = "stop": nothing of ours runs any more when this machine's lease can end.

By our own clock, from when the last successful renewal was sent, by us or by the agent before us: etcd cannot end
the lease earlier. Where this agent cannot act in time the switch does (`lease_switch`).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Protocol

from agentd.lease_switch import LATE_AT, LeaseSwitch
from agentd.machine_lease import STOP_AT
from agentd.reconciler import Reconciler
from registry.errors import SystemdError
from registry.messages import UNITS_STOPPED

log = logging.getLogger("fleet.agent")

KILL_AT = 0.8  # of the lease
AGAIN_S = 0.05  # from one kill to the next, of what still lives
LOOK_EACH = 0.05  # of the lease: how often systemd is asked what lives once nothing does
HANG_AT = 0.3  # of the lease: an agent that stands still so long is restarted, so that the next one can stop


class Lease(Protocol):
    """The lease that is held."""

    renewed: asyncio.Event  # set at each renewal
    renewed_at: float  # when the last renewal that succeeded was sent (monotonic); 0: none yet
    ttl_s: float


class Killer(Protocol):
    """Who ends processes."""

    async def kill(self, unit: str) -> None:
        """SIGKILL to every process of the unit."""


class LeaseGuard:
    """Parks the units while the lease may end. `began` is when the agent before us renewed it, or when we began."""

    def __init__(
        self,
        lease: Lease,
        reconciler: Reconciler,
        systemd: Killer,
        switch: LeaseSwitch,
        began: float,
        on_change: Callable[[], None],
    ) -> None:
        self._lease, self._reconciler, self._systemd, self._switch = lease, reconciler, systemd, switch
        self._began, self._on_change = began, on_change
        self._complained = False
        self._look_at = 0.0  # when systemd is asked next (monotonic)

    async def run(self) -> None:
        """Watch the lease for ever."""
        while True:
            renewed, ttl_s = self._lease.renewed_at or self._began, self._lease.ttl_s
            stop_at, kill_at = renewed + STOP_AT * ttl_s, renewed + KILL_AT * ttl_s
            due = max(kill_at, self._look_at) if self._reconciler.table.parked else stop_at
            with suppress(TimeoutError):
                async with asyncio.timeout(max(due - time.monotonic(), AGAIN_S)):
                    await self._lease.renewed.wait()
            self._lease.renewed.clear()
            if self._lease.renewed_at > renewed:
                await self._hold_back()
                if self._age_s() < LATE_AT * self._lease.ttl_s:  # else they would be stopped again before long
                    self._reconciler.park(parked=False)
                    self._on_change()
            elif time.monotonic() >= stop_at:
                await self._park(kill_at)

    def _age_s(self) -> float:
        """How long ago the last renewal that succeeded was sent."""
        return time.monotonic() - self._lease.renewed_at

    async def _hold_back(self) -> None:
        """Keep the switch from firing as long as the renewal allows."""
        try:
            if stopped := await self._switch.fired():
                log.error(
                    "%d units were stopped since this machine's lease was not renewed in time",
                    len(stopped),
                    extra=UNITS_STOPPED.of(),
                )
                self._reconciler.stopped_by_switch(stopped)
            await self._switch.hold_back(self._lease.ttl_s, self._reconciler.table.exposed, self._age_s())
            self._complained = False
        except (SystemdError, OSError) as error:
            if not self._complained:
                log.warning("cannot see to the switch that guards the lease: %s", error)
            self._complained = True

    async def _park(self, kill_at: float) -> None:
        """Stop everything in order, and what remains at `kill_at` without."""
        if not self._reconciler.table.parked:
            log.error(
                "the registry is lost: stopping every unit before this machine's lease can end",
                extra=UNITS_STOPPED.of(),
            )
        self._reconciler.park(parked=True)
        self._on_change()
        if time.monotonic() < max(kill_at, self._look_at):
            return
        await self._kill(self._reconciler.table.alive)  # what systemd says may come too late
        living = await self._reconciler.living()
        self._look_at = 0.0 if living else time.monotonic() + LOOK_EACH * self._lease.ttl_s
        await self._kill(living)

    async def _kill(self, names: Sequence[str]) -> None:
        """Kill all of them at once: each answer may take a while."""

        async def kill(name: str) -> None:
            try:
                await self._systemd.kill(name)
            except SystemdError as error:
                log.warning("%s", error)

        for name in names:
            self._reconciler.note_stopping(name)
        await asyncio.gather(*map(kill, names))
