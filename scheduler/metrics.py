"""What a scheduler measures: its decisions and what they came to, and for the whole fleet while it leads.

The fleet is counted only while somebody asks: the counts are dropped when nobody has for IDLE_S.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from placement.cluster_state import ClusterState
from registry.keys import Address
from registry.model import Rollout, RolloutState
from registry.program.measures import (
    CORRUPT,
    DECISION_SECONDS,
    LEADING,
    LEASE_REMAINING,
    PLACEMENTS,
    RENEWAL_AGE,
    ROLLOUTS,
    TERM,
    Histogram,
    RequestTimes,
    Sample,
)
from registry.sync.follow import Follower
from scheduler.census import Census, machine_samples
from scheduler.election import Lead

IDLE_S = 300.0
STILL_S = 2.0  # how long a scrape waits for a decision that is being made
ROLLOUT_STATES = ("running", "paused", "back", "over")  # each has a figure, also where none is so


class Measures:
    """What is gathered between two scrapes. Only for a scheduler that serves metrics."""

    def __init__(self) -> None:
        self.requests = RequestTimes()
        self.decisions = Histogram()
        self.written: Counter[str] = Counter()  # decisions, by kind
        self._census: Census | None = None
        self._asked_at = 0.0
        self._fleet: list[Sample] = []  # as last counted

    def changed(self, addresses: Iterable[Address]) -> None:
        """Note which records have changed."""
        if self._census is None:
            return
        if time.monotonic() - self._asked_at > IDLE_S:
            self._census = None
            return
        for address in addresses:
            self._census.mark(address)

    def own(self, lead: Lead | None) -> Iterator[Sample]:
        """Yield what this scheduler tells of itself; `lead` is its term, while it holds."""
        yield from self.requests.samples()
        yield Sample(LEADING, lead is not None)
        yield Sample(DECISION_SECONDS, self.decisions)
        for kind, number in self.written.items():
            yield Sample(PLACEMENTS, number, (kind,))
        if lead is not None:
            now = time.monotonic()
            yield Sample(TERM, lead.term)
            yield Sample(LEASE_REMAINING, max(lead.until - now, 0.0))
            yield Sample(RENEWAL_AGE, now - lead.renewed_at)

    async def fleet(self, follower: Follower, state_of: Callable[[], ClusterState | None]) -> list[Sample]:
        """Return what the leader tells of the fleet; as last counted while it is being decided on.

        `state_of` gives the state, None while there is none; it is asked once nothing changes.
        """
        self._asked_at = time.monotonic()
        try:
            async with asyncio.timeout(STILL_S):
                await follower.still.acquire()
        except TimeoutError:
            return self._fleet
        try:
            if (state := state_of()) is None:
                return self._fleet
            if self._census is None:
                self._census = Census()
            for _ in self._census.count(state, follower.mirror):
                await asyncio.sleep(0)
            corrupt = Sample(CORRUPT, len(follower.mirror.corrupt))
            rollouts = Counter(map(_state_of, follower.mirror.snapshot().rollouts.values()))
            stages = [Sample(ROLLOUTS, rollouts[stage], (stage,)) for stage in ROLLOUT_STATES]
            self._fleet = [*machine_samples(state), *self._census.samples(), *stages, corrupt]
        finally:
            follower.still.release()
        return self._fleet


def _state_of(rollout: Rollout) -> str:
    if rollout.state.over:
        return "over"
    return "back" if rollout.back and rollout.state is RolloutState.RUNNING else str(rollout.state)
