"""This machine's lease: granted, renewed, and remembered, so that a restarted agent goes on under the same one.

Owns when it was renewed last, by the clock of this boot, and what becomes of a lease of another length than is
configured now: what hangs on it is moved first.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time

from agentd.ledger import Ledger
from registry.errors import LeaseLost, RegistryError
from registry.etcd import Etcd
from registry.etcd.backoff import grown, jittered
from registry.messages import LEASE_LOST
from registry.sync.history import History

log = logging.getLogger("fleet.agent")

MARGIN_S = 2.0  # etcd ends a lease up to this much late
STOP_AT = 0.5  # of the lease: with "stop" units are stopped once it was not renewed for so long
STEADY = 6  # times its length, for which a lease has to last: a loss before that is one more in a row
LONGEST = 8  # times its length, which the pause after many such losses may reach


async def keep_alive(etcd: Etcd, lease: int, ttl_s: float) -> None:
    """Renew the lease of the agent before us (0: none) until it is gone, or until this is cancelled.

    It does not count as renewed by that: nothing is begun or gone on with before it is known whose registry it is.
    """
    while lease:
        try:
            await etcd.lease_keepalive(lease)
        except LeaseLost:
            return
        except RegistryError as error:
            log.debug("cannot renew lease %x: %s", lease, error)
        await asyncio.sleep(max(ttl_s, 1.0) / 3)


class MachineLease:
    """The lease that is held: `id` 0 for none. `renewed_at` is when the last successful renewal was sent."""

    def __init__(self, etcd: Etcd, ledger: Ledger, history: History, wanted_s: float) -> None:
        self._etcd, self._ledger, self._history, self._wanted_s = etcd, ledger, history, wanted_s
        self.id = 0
        self.renewed_at = 0.0  # monotonic; 0: not by us yet
        self.renewed = asyncio.Event()  # set at each renewal
        self.ttl_s = min(ledger.facts.lease_ttl_s or wanted_s, wanted_s)
        self.losses = 0  # of leases that did not last, in a row
        self.away_until = 0.0  # monotonic: no lease is asked for before, since the last ones did not last
        self._held_since = 0.0  # monotonic: when this one was first renewed, or asked for
        self._outgrown: set[int] = set()  # leases of another length, to be ended once nothing hangs on them

    def may_be_saved(self) -> bool:
        """Whether etcd may still hold it, or that of the agent before us, so that every moment counts."""
        renewed_at = self.renewed_at or self._ledger.facts.renewed_at
        return 0 < time.monotonic() - renewed_at < self.ttl_s + MARGIN_S

    async def acquire(self, found: int) -> int:
        """Hold the lease of our key (0: none) or the remembered one, if it lives and lasts as long as configured.

        Else a new one. What the others carry is to be moved to it before they end: they are renewed here once.
        """
        sent = time.monotonic()
        for lease in dict.fromkeys((found, self.id, self._ledger.facts.lease_id)):
            if lease and await self._fits(lease):
                break
        else:
            lease = await self._etcd.lease_grant(math.ceil(self._wanted_s))
        if lease != self.id:
            self._held_since = sent
        self.id = lease
        self.ttl_s = min(self.ttl_s, self._wanted_s)
        self._ledger.remember(lease_id=lease, lease_ttl_s=self._wanted_s)
        await self._history.look(self._etcd)
        self._renewed(sent)
        return lease

    async def _fits(self, lease: int) -> bool:
        """Renew a lease; whether it lives and is as long as ours should be."""
        try:
            granted_s = await self._etcd.lease_keepalive(lease)
        except LeaseLost:
            return False
        facts, wanted_s = self._ledger.facts, self._wanted_s
        if granted_s == math.ceil(wanted_s) or (facts.lease_id, facts.lease_ttl_s) == (lease, wanted_s):
            return True
        self._outgrown.add(lease)
        return False

    async def settle(self) -> None:
        """Everything hangs on this lease by now: end those that it has replaced."""
        self.ttl_s = self._wanted_s
        outgrown, self._outgrown = self._outgrown - {self.id}, set()
        for each in outgrown:
            await self._etcd.lease_revoke(each)

    async def renew(self, lease: int) -> None:
        """Renew it. Raises LeaseLost, or what the registry raises.

        One that comes late may have ended, and be there again with a restored backup: it counts, and units start
        by it, once it is known whether the history went back.
        """
        sent = time.monotonic()
        await self._etcd.lease_keepalive(lease)
        if time.monotonic() - self.renewed_at >= STOP_AT * self.ttl_s:
            await self._history.look(self._etcd)
        self._renewed(sent)

    def _renewed(self, sent: float) -> None:
        """Also for the agent after us, should we be killed: our lease goes on meanwhile."""
        self.renewed_at = sent
        self.renewed.set()
        self._ledger.remember(renewed_at=sent, seen=self._history.seen)

    def forget(self) -> None:
        """It is gone. The next is asked for at once, or after a pause where the one before did not last, either.

        A registry that has more to do than it can loses the leases of many machines. If all of them came back at
        once, over and over, it would have no less to do for ever.
        """
        if self.id:
            log.warning("lease %x is gone; registering again", self.id, extra=LEASE_LOST.of())
            now = time.monotonic()
            self.losses = self.losses + 1 if now - self._held_since < STEADY * self.ttl_s else 0
            if self.losses > 1:
                longest_s = LONGEST * self.ttl_s
                self.away_until = now + jittered(grown(self.ttl_s, self.losses - 2, longest_s), 0.0, 1.0)
        self.id = 0
        self._ledger.remember(lease_id=0)

    async def revoke(self) -> None:
        """Give it up: everything vanishes that hangs on it."""
        lease, self.id = self.id, 0
        self._ledger.remember(lease_id=0)
        if lease:
            await self._etcd.lease_revoke(lease)
