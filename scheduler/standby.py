"""Following the registry as one that may have to lead: all of it while leading, else what being ready takes.

Owns when a scheduler that does not lead looks: at once when the leader's key changes, and now and then at the rest.
The registry sends each change to all who watch it, and each of them reads it: of three schedulers two did so for
nothing. What has changed meanwhile is read from the registry's history in one piece: nothing is missed, and nothing
is listed again, however large the fleet.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import aclosing

from registry.etcd import Etcd
from registry.etcd.backoff import jittered
from registry.keys import Keys
from registry.sync.follow import ConnectionState, Follower
from registry.sync.history import History

LULL_S = 10.0  # from one look at the registry to the next (plus up to a quarter), while another scheduler leads


class StandbyFollower(Follower):
    """A follower that is at rest while another scheduler leads. Set `leading` while it is we."""

    def __init__(self, etcd: Etcd, keys: Keys, history: History) -> None:
        super().__init__(etcd, keys, pinned=False, history=history)
        self.leading = asyncio.Event()

    @property
    def _rests(self) -> bool:
        """Whether another scheduler leads, as far as the mirror shows."""
        return not self.leading.is_set() and self.mirror.stamp(self._keys.leader) is not None

    async def _watch(self, enough: Callable[[], bool] = lambda: False) -> None:
        while not enough() and (self._history is None or self._epoch == self._history.epoch):
            if self._rests:
                await self._wait_for_leader()
            newest = (await self._etcd.range(self._keys.leader)).revision
            self._set_link(ConnectionState.LIVE)  # each watch tells of the losses that it has seen itself

            def caught_up(newest: int = newest) -> bool:
                return self._rests and self.revision >= newest

            if not caught_up():
                await super()._watch(caught_up)

    async def _wait_for_leader(self) -> None:
        """Wait until the leader's key changes or we lead, at most for a while."""
        tasks = [
            asyncio.create_task(self._leader_changes(), name="watch the leader"),
            asyncio.create_task(self.leading.wait(), name="lead"),
        ]
        try:
            done, _ = await asyncio.wait(
                tasks, timeout=jittered(LULL_S, 1, 1.25), return_when=asyncio.FIRST_COMPLETED
            )
            for each in done:
                each.result()
        finally:
            for each in tasks:
                each.cancel()

    async def _leader_changes(self) -> None:
        leader = self._keys.leader
        async with aclosing(
            self._etcd.watch(leader, self.revision + 1, self._on_state, self._on_connect)
        ) as stream:
            async for batch in stream:
                self.changed_at = time.monotonic()
                if batch.changes:
                    return
