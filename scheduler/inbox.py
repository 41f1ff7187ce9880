"""What comes from the registry, as the leader takes it in: the next change, or a whole piece of bulk work.

Owns when a change has waited long enough for others. It must not look at what a change says.
"""

from __future__ import annotations

import asyncio
import time

from registry.keys import Table
from registry.sync.follow import Follower, FollowUpdate

MANY = 64  # changes in one turn that make it bulk work
LARGE = 500  # units to look at from which on deciding would hold up the loop: about 20 ms
PAUSE_S = (0.05, 0.25)  # bulk work waits until no order has come for so long; the longer one while it is large,
GATHER_S = 2.0  # and never longer than this
ORDERS = frozenset({Table.UNITS, Table.MACHINES})


class Inbox:
    """The changes that a follower brings."""

    def __init__(self, follower: Follower) -> None:
        self._follower = follower
        self._bulk = 0  # turns of bulk work in a row

    async def gather(self, wait_s: float) -> FollowUpdate:
        """Return the next change; of bulk work all orders that come without a pause, and what else comes.

        When nothing has come within `wait_s`, the answer is empty. One command of an operator is many transactions.
        Decided on together, the lines for one machine are written together, and its agent is woken once. The first
        of them is decided on at once. What agents answer to our own lines is no order: nobody gains by waiting for
        more of it.
        """
        try:
            async with asyncio.timeout(wait_s):
                update = await self._follower.next()
        except TimeoutError:
            update = FollowUpdate(link=self._follower.link)
        self._bulk = self._bulk + 1 if len(update.changed) >= MANY else 0
        began = newest = time.monotonic()
        orders = _orders(update)
        while self._bulk > 1:
            pause_s = PAUSE_S[orders >= LARGE]
            try:
                async with asyncio.timeout(min(began + GATHER_S, newest + pause_s) - time.monotonic()):
                    more = await self._follower.next()
            except TimeoutError:
                break
            if fresh := _orders(more):
                orders, newest = orders + fresh, time.monotonic()
            changed = tuple(dict.fromkeys((*update.changed, *more.changed)))
            update = FollowUpdate(changed, update.reset or more.reset, more.link, more.reason)
        return update


def _orders(update: FollowUpdate) -> int:
    """Count the changes that are orders: desired states of an operator, machines that come and go."""
    return sum(each.table in ORDERS for each in update.changed)
