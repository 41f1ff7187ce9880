"""Leader election: one scheduler at a time, known by its term.

Owns the lease and the leader key. Whoever creates the key leads; its create revision is the term, which etcd never
repeats. The leader's own clock counts from the moment when the last renewal that succeeded was sent, so it knows
that it has lost before anybody else can have won (invariant 2). It must not decide who is eligible: any is.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from dataclasses import dataclass, field

from registry.errors import LeaseLost, RegistryError
from registry.etcd import Compare, Etcd, Op
from registry.keys import Address, Keys, Table
from registry.messages import LEADING, NOT_LEADING
from registry.model import Leader
from registry.records import encode
from registry.sync.follow import Follower

log = logging.getLogger("fleet.election")

MARGIN = 0.1  # part of the lease that the leader does not use, for clocks that do not run alike
RENEWALS = 4  # renewals within one lease
RESIGN_TIMEOUT_S = 1.0


@dataclass(slots=True)
class Lead:
    """A term of leadership, while it lasts. `until` is on our own monotonic clock."""

    term: int
    lease: int
    ttl_s: float
    until: float
    lost: bool = field(default=False)
    renewed_at: float = 0.0  # when the last renewal that succeeded was sent

    def holds(self, now: float) -> bool:
        """Whether we lead for certain at `now` (monotonic seconds)."""
        return not self.lost and now < self.until

    def renew(self, sent_at: float, ttl_s: float) -> None:
        """Note that a renewal sent at `sent_at` succeeded."""
        self.renewed_at, self.until = sent_at, sent_at + ttl_s * (1 - MARGIN)


class Election:
    """One candidate. `leader` is what it writes into the key."""

    def __init__(self, etcd: Etcd, keys: Keys, leader: Leader, ttl_s: float) -> None:
        self._etcd, self._keys, self._leader = etcd, keys, leader
        self._ttl_s = math.ceil(ttl_s)
        self._left_behind: set[int] = set()  # leases given up without etcd having heard of it

    async def campaign(self) -> Lead | None:
        """Try to become the leader; None when another one is. RegistryError when etcd cannot tell."""
        await self._clear_up()
        sent_at = time.monotonic()
        lease = await self._etcd.lease_grant(self._ttl_s)
        self._left_behind.add(lease)
        result = await self._etcd.txn(
            [Compare.absent(self._keys.leader)], [Op.put(self._keys.leader, encode(self._leader), lease)]
        )
        if not result.succeeded:
            await self._clear_up()
            return None
        self._left_behind.discard(lease)
        lead = Lead(result.revision, lease, self._ttl_s, 0.0)
        lead.renew(sent_at, self._ttl_s)
        log.info("leading, term %d", lead.term, extra=LEADING.of())
        return lead

    def is_over(self, lead: Lead, follower: Follower) -> bool:
        """Whether a term has ended: by our clock, or because the leader key says so. The follower must be still."""
        if not lead.holds(time.monotonic()):
            return True
        if follower.revision < lead.term:
            return False
        stamp = follower.mirror.stamp(self._keys.leader)
        if stamp is None or (stamp.create_revision, stamp.lease) != (lead.term, lead.lease):
            return True
        return follower.mirror.row(Table.LEADER, Address(Table.LEADER)) is None  # garbled: nobody sees who leads

    async def keep(self, lead: Lead) -> None:
        """Renew until it is lost. Ends by itself then, and never raises."""
        logged = ""
        while lead.holds(time.monotonic()):
            await asyncio.sleep(self._ttl_s / RENEWALS)
            sent_at = time.monotonic()
            try:
                async with asyncio.timeout(max(lead.until - sent_at, 0.0)):
                    lead.renew(sent_at, min(await self._etcd.lease_keepalive(lead.lease), self._ttl_s))
            except LeaseLost:
                break
            except (RegistryError, TimeoutError) as error:
                if (reason := str(error) or "etcd did not answer in time") != logged:
                    log.warning("cannot renew the leadership: %s", reason)
                    logged = reason
        lead.lost = True

    async def resign(self, lead: Lead) -> None:
        """Give the leadership up, so that another scheduler need not wait for the lease to end."""
        lead.lost = True
        self._left_behind.add(lead.lease)
        log.info("no longer leading, term %d", lead.term, extra=NOT_LEADING.of())
        key = self._keys.leader
        try:
            async with asyncio.timeout(RESIGN_TIMEOUT_S):
                # By name too: somebody may have taken it off the lease.
                await self._etcd.txn([Compare.created(key, lead.term)], [Op.delete(key)])
                await self._clear_up()
        except (RegistryError, TimeoutError) as error:
            log.warning(
                "the leader key stays until its lease ends: %s", str(error) or "etcd did not answer in time"
            )

    async def depose(self, revision: int) -> None:
        """Delete a leader key that no lease will ever end, if it was last written at `revision`."""
        key = self._keys.leader
        guards = [Compare.mod(key, revision), Compare.lease(key, 0)]
        if (await self._etcd.txn(guards, [Op.delete(key)])).succeeded:
            log.warning("removed the leader key: it had no lease, and nobody took it over")

    async def _clear_up(self) -> None:
        for lease in sorted(self._left_behind):
            await self._etcd.lease_revoke(lease)
            self._left_behind.discard(lease)
