"""Entries of many machines in the order of their time. Pure: the clock is an argument.

A machine's own order is kept always, also when its clock jumped back: an entry sorts by the latest time that its
machine has shown so far. Two mergers: `Backlog` is exact, for streams that end; `Window` holds live entries for a
moment, so that those which arrive nearly together come out in order.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Sequence

from fleettui.journal_entry import JournalEntry

_Key = tuple[int, str, int]


class _Order:
    """Sort keys that respect each machine's own order."""

    def __init__(self) -> None:
        self._latest: dict[str, int] = {}
        self._count = 0

    def key(self, entry: JournalEntry) -> _Key:
        at = max(entry.at, self._latest.get(entry.machine, 0))
        self._latest[entry.machine] = at
        self._count += 1
        return at, entry.machine, self._count


class Backlog:
    """Merges streams that each come in order and end: nothing is given out before its turn is certain."""

    def __init__(self, machines: Iterable[str]) -> None:
        self._order = _Order()
        self._open: dict[str, int] = dict.fromkeys(machines, -1)  # machine -> time of its newest entry so far
        self._heap: list[tuple[_Key, JournalEntry]] = []

    @property
    def waiting(self) -> frozenset[str]:
        """Machines whose next entries decide what may go out."""
        if not self._open:
            return frozenset()
        least = min(self._open.values())
        return frozenset(machine for machine, at in self._open.items() if at == least)

    @property
    def silent(self) -> frozenset[str]:
        """Machines that have neither shown an entry nor ended."""
        return frozenset(machine for machine, at in self._open.items() if at < 0)

    def add(self, entries: Sequence[JournalEntry]) -> None:
        """Take entries, in the order in which their machine gave them."""
        for entry in entries:
            key = self._order.key(entry)
            heapq.heappush(self._heap, (key, entry))
            if entry.machine in self._open:
                self._open[entry.machine] = key[0]

    def end(self, machine: str) -> None:
        """This machine has no more."""
        self._open.pop(machine, None)

    def ready(self) -> list[JournalEntry]:
        """Entries whose turn is certain, in order."""
        bound = min(self._open.values(), default=None)
        out = []
        while self._heap and (bound is None or self._heap[0][0][0] < bound):
            out.append(heapq.heappop(self._heap)[1])
        return out


class Window:
    """Reorders live entries within `hold_s` seconds, and never holds more than `limit` of them.

    An entry goes out when it was held long enough, and everything older goes out before it: a machine whose clock
    is ahead makes the window shorter for the others, and is never held back by them.
    """

    def __init__(self, hold_s: float = 0.12, limit: int = 20_000) -> None:
        self._hold_s = hold_s
        self._limit = limit
        self._order = _Order()
        self._heap: list[tuple[_Key, JournalEntry]] = []
        self._arrivals: deque[tuple[float, _Key]] = deque()  # when a batch came, and its newest key

    def add(self, entries: Sequence[JournalEntry], now: float) -> None:
        """Take entries that arrived at `now` (seconds of any steady clock)."""
        newest: _Key = (0, "", 0)
        for entry in entries:
            key = self._order.key(entry)
            heapq.heappush(self._heap, (key, entry))
            newest = max(newest, key)
        if entries:
            self._arrivals.append((now, newest))

    def due_in(self, now: float) -> float | None:
        """Seconds until entries are due; None when there are none."""
        if not self._heap:
            return None
        if len(self._heap) > self._limit:
            return 0.0
        return max(0.0, self._arrivals[0][0] + self._hold_s - now)

    def ready(self, now: float) -> list[JournalEntry]:
        """Entries that were held long enough, or are too many, in order."""
        bound: _Key = (-1, "", 0)
        while self._arrivals and self._arrivals[0][0] + self._hold_s <= now:
            bound = max(bound, self._arrivals.popleft()[1])
        out = []
        while self._heap and (self._heap[0][0] <= bound or len(self._heap) > self._limit):
            out.append(heapq.heappop(self._heap)[1])
        if not self._heap:
            self._arrivals.clear()
        return out
