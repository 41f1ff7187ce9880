"""Where the views' snapshots come from: one follower, read at most ten times a second and only when it changed.

`Feed` is what the console needs of it. Nothing is connected before
the feed runs, so that the first frame is painted before etcd answers.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, suppress
from typing import Protocol

from fleettui.actions.operator import Operator
from fleettui.console.tables.fleet import Reading
from registry.etcd import Etcd
from registry.etcd.health import keep_watch
from registry.keys import Table
from registry.program import collector
from registry.sync.follow import ConnectionState, Follower, FollowUpdate

UNREAD = (Table.CRASHES, Table.CONTENTS)  # what was kept of crashes is read when it is shown
FOLLOWED = tuple(table for table in Table if table not in UNREAD)
INTERVAL_S = 0.1
SLICE = 16  # changes that are taken in before keys get a turn: about 2 ms
WRITTEN_S = 0.005  # what was drawn has reached the terminal after that
TYPING_S = 0.05  # a key is seen after that, or does nothing that is seen
AWAY_S = 5.0  # an operator is watching: a registry that is back is shown soon
Connect = Callable[[], AbstractAsyncContextManager[Operator]]


class Feed(Protocol):
    """A stream of readings."""

    def readings(self) -> AsyncIterator[Reading]:
        """Yield readings as they come, without end; never two within `INTERVAL_S`."""

    def quiet_s(self) -> float:
        """Seconds since the registry last proved itself alive."""

    async def lease_left_s(self, machine: str) -> float | None:
        """Seconds that a machine's lease has left; None when that is not known. Asks the registry: not for many."""

    def retry_s(self) -> float | None:
        """Seconds until the lost registry is tried again; None while it is being tried, or not lost."""

    @property
    def endpoint(self) -> str:
        """Where the registry is, for people."""


class Turns:
    """Whose turn it is, when there are keys and changes of the fleet: keys go first.

    A key is `typed`, then what it does is `done`, then the screen is `shown`.
    """

    def __init__(self) -> None:
        self._seen = asyncio.Event()  # what was typed is on the screen
        self._seen.set()
        self.due = False  # what was typed is done, and not on the screen yet

    def typed(self) -> None:
        """Note that a key was pressed. From any thread."""
        self._seen.clear()

    def done(self) -> None:
        """Note that what the key does was done: the screen is to be drawn at once."""
        self.due = True

    def shown(self) -> None:
        """Note that the screen was drawn."""
        if self.due:  # else it was drawn for something else
            self.due = False
            self._seen.set()
            asyncio.get_running_loop().call_later(WRITTEN_S, self._tidy)

    def _tidy(self) -> None:
        """Look for garbage now: just after one key is the longest time until the next."""
        if self._seen.is_set():
            collector.collect_young()

    async def give_way(self) -> None:
        """Let the others have a turn; while a key has not reached the screen yet, until it has."""
        await asyncio.sleep(0)
        if not self._seen.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._seen.wait(), TYPING_S)
            self._seen.set()


class Live:
    """The feed of a real registry. `connect` opens it, once the feed runs; then `operator` is there.

    Make it in the event loop that it runs in. `endpoint` is where the registry should be.
    """

    def __init__(self, connect: Connect, endpoint: str) -> None:
        self.endpoint = endpoint
        self.operator: asyncio.Future[Operator] = asyncio.get_running_loop().create_future()
        self.cluster_id = ""  # as the registry says, once it was read
        self._connect = connect
        self._follower: Follower | None = None
        self._endpoints = ""
        self._news = asyncio.Event()  # of the endpoints

    def quiet_s(self) -> float:
        """Seconds since a change or a proof of life."""
        return time.monotonic() - self._follower.changed_at if self._follower else 0.0

    async def lease_left_s(self, machine: str) -> float | None:
        """The time to live that etcd has for the lease of the machine's key."""
        if self._follower is None:
            return None
        operator = self.operator.result()
        stamp = self._follower.mirror.stamp(operator.keys.machine(machine))
        return await operator.etcd.lease_time_to_live(stamp.lease) if stamp and stamp.lease else None

    def retry_s(self) -> float | None:
        """What is left of the follower's pause."""
        if self._follower is None or self._follower.link is ConnectionState.LIVE:
            return None
        left_s = self._follower.retry_at - time.monotonic()
        return left_s if left_s > 0 else None

    async def readings(self) -> AsyncIterator[Reading]:
        """Follow the whole registry and read the mirror when it changed."""
        async with self._connect() as operator:
            self.operator.set_result(operator)
            self._follower = Follower(
                operator.etcd, operator.keys, tables=FOLLOWED, pinned=False, longest_away_s=AWAY_S
            )
            running = asyncio.create_task(self._follower.run(), name="follow the registry")
            watching = asyncio.create_task(self._watch_endpoints(operator.etcd), name="watch the endpoints")
            try:
                while True:
                    update = await self._update(self._follower, running)
                    self.endpoint = operator.etcd.endpoint
                    changed = None if update.reset else frozenset(update.changed)
                    snapshot = self._follower.mirror.snapshot()
                    yield Reading(snapshot, changed, update.link, update.reason, self._endpoints)
                    await asyncio.sleep(INTERVAL_S)
            finally:
                watching.cancel()
                running.cancel()

    async def _watch_endpoints(self, etcd: Etcd) -> None:
        def note() -> None:
            if etcd.health.endpoints != self._endpoints:
                self._endpoints = etcd.health.endpoints
                self._news.set()

        await keep_watch(etcd.health, etcd.ask_quiet, note)

    async def _update(self, follower: Follower, running: asyncio.Task[None]) -> FollowUpdate:
        """The next change of the registry, or an empty one when its endpoints changed."""
        waiting = asyncio.create_task(follower.next(), name="await a change")
        news = asyncio.create_task(self._news.wait(), name="await news of the endpoints")
        try:
            await asyncio.wait({waiting, news, running}, return_when=asyncio.FIRST_COMPLETED)
            if waiting.done():
                return waiting.result()
            if running.done():
                running.result()  # it never ends but by an error
            self._news.clear()
            return FollowUpdate(link=follower.link, reason=follower.reason)
        finally:
            waiting.cancel()
            news.cancel()
