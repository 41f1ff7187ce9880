"""The journals of many machines as one stream, live: no gap, no repeat, and no machine stops the others.

Each machine has a feed (`journal_feed`): one journalctl for all its units. Backlogs are merged exactly; a machine
that is slow to answer loses its place in that and comes in as it arrives. The sources may change while the stream
runs: a unit that moved is read on at its new machine from the moment that the old one has reached, and its old
machine is listened to a little longer. Every queue is bounded.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace

from fleettui.journal_entry import JournalEntry
from fleettui.remote.journal_feed import (
    Batch,
    JournalCallbacks,
    JournalFeed,
    LinkState,
    OnDropped,
    OnLink,
    Start,
    first_line,
    ignore_links,
)
from fleettui.remote.journal_merge import Backlog, Window
from fleettui.remote.journal_query import JournalQuery, JournalSource, by_machine
from registry.model import Machine

__all__ = ["Batch", "JournalStream", "LinkState", "OnDropped", "OnLink", "first_line", "ignore_links"]

PATIENCE_S = 0.5  # how long the first machine's backlog waits for the others'
HOLD_S = 0.12  # how long a live entry waits for earlier ones of other machines
LINGER_S = 5.0  # how long a source that is no longer asked for is listened to: its last words may be under way
OVERLAP_S = 2  # by how much clocks of two machines may differ before a move loses lines
PIECE = 2_000  # entries of a long backlog handed over at once
QUEUED = 256  # batches (of some hundred lines) between the feeds and the reader: a busy moment loses nothing


class JournalStream:
    """Entries of changing sources, in order, in batches as they come.

    An empty batch ends the backlog of a stream that follows. Iterate `batches` once, in an aclosing; `retarget`
    may be called at any time from the same event loop.
    """

    def __init__(
        self, start: Start, sources: Sequence[JournalSource], query: JournalQuery, on_link: OnLink = ignore_links,
        on_dropped: OnDropped | None = None,
    ) -> None:  # fmt: skip
        self._start, self._query = start, query
        self._callbacks = JournalCallbacks(on_link, on_dropped)
        self._live: asyncio.Queue[Batch] = asyncio.Queue(QUEUED)
        self._sources = tuple(sources)
        self._tasks: dict[JournalFeed, asyncio.Task[None]] = {}
        self._leaving: dict[JournalFeed, asyncio.TimerHandle] = {}
        self._cursors: dict[tuple[str, str], str] = {}  # of sources that were left: machine, unit
        self._newest = 0
        self._running = False
        self._left_behind: set[asyncio.Task[None]] = set()

    async def batches(self) -> AsyncGenerator[Batch, None]:
        """The stream. Close the generator to stop its feeds."""
        feeds = [
            JournalFeed(self._start, each, self._query, self._live, self._callbacks)
            for each in by_machine(self._sources)
        ]
        self._running = True
        for feed in feeds:
            self._spawn(feed)
        try:
            async with contextlib.aclosing(self._all(feeds)) as stream:
                async for batch in stream:
                    self._newest = max([self._newest, *(entry.at for entry in batch[-1:])])
                    yield batch
            await asyncio.gather(*self._tasks.values())
        finally:
            self._running = False
            for handle in self._leaving.values():
                handle.cancel()
            for task in self._tasks.values():
                task.cancel()
            await asyncio.gather(*self._tasks.values(), *self._left_behind, return_exceptions=True)

    async def _all(self, feeds: Sequence[JournalFeed]) -> AsyncGenerator[Batch, None]:
        async with contextlib.aclosing(_backlog(feeds, self._query)) as backlog:
            async for batch in backlog:
                yield batch
        if self._query.follow:
            yield []  # the backlog is at its end
            async with contextlib.aclosing(self._follow()) as live:
                async for batch in live:
                    yield batch

    # Other sources

    def retarget(self, sources: Sequence[JournalSource]) -> None:
        """Read these from now on. What is new is read from the moment that the stream has reached."""
        self._sources = tuple(sources)
        if not self._running:
            return
        wanted = {(each.machine.id, each.unit): each.machine for each in sources}
        for feed in list(self._tasks):
            mine = wanted.keys() & _keys(feed)
            if mine:
                feed.machine = wanted[next(iter(mine))]  # it may have a new address
                if handle := self._leaving.pop(feed, None):
                    handle.cancel()
            elif feed not in self._leaving:
                loop = asyncio.get_running_loop()
                self._leaving[feed] = loop.call_later(LINGER_S, self._left, feed)
        heard = {key for feed in self._tasks for key in _keys(feed)}
        self._join({key: machine for key, machine in wanted.items() if key not in heard})

    def _join(self, new: dict[tuple[str, str], Machine]) -> None:
        by_cursor: dict[tuple[str, str], list[JournalSource]] = {}
        for (id_, unit), machine in new.items():
            by_cursor.setdefault((id_, self._cursors.get((id_, unit), "")), []).append(JournalSource(machine, unit))
        query = self._query
        if self._newest:  # all since the moment that the stream has reached, by its own clocks
            query = replace(query, since=f"@{self._newest // 1_000_000 - OVERLAP_S}")
        for (_, cursor), sources in by_cursor.items():
            (target,) = by_machine(sources)
            feed = JournalFeed(self._start, target, query, self._live, self._callbacks)
            if cursor or self._newest:
                feed.resume(cursor)
            else:
                feed.overtake()
            self._spawn(feed)

    def _left(self, feed: JournalFeed) -> None:
        self._leaving.pop(feed, None)
        if task := self._tasks.pop(feed, None):
            task.cancel()
            self._left_behind.add(task)
            self._cursors |= dict.fromkeys(_keys(feed), feed.cursor) if feed.cursor else {}
            self._callbacks.on_link(feed.machine, LinkState.LEFT, "")

    # What comes

    async def _follow(self) -> AsyncGenerator[Batch, None]:
        clock = asyncio.get_running_loop().time
        window = Window(HOLD_S)
        while True:
            batch: Batch = []
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(window.due_in(clock())):
                    batch = await self._live.get()
            for task in self._tasks.values():
                if task.done():
                    task.result()
            if batch and len(self._tasks) == 1 and window.due_in(clock()) is None:
                yield batch  # a machine's own order needs no window
                continue
            window.add(batch, clock())
            if ready := window.ready(clock()):
                yield ready

    def _spawn(self, feed: JournalFeed) -> None:
        task = self._tasks[feed] = asyncio.create_task(feed.run(), name=f"journal {feed.machine.hostname}")

        def wake(_: asyncio.Task[None]) -> None:
            """Wake the readers when a feed ends; they find its exception."""
            with contextlib.suppress(asyncio.QueueFull):
                self._live.put_nowait([])
            with contextlib.suppress(asyncio.QueueFull):
                feed.backlog.put_nowait(None)

        task.add_done_callback(wake)


def _keys(feed: JournalFeed) -> set[tuple[str, str]]:
    return {(feed.machine.id, unit) for unit in feed.units or ("",)}


async def _backlog(feeds: Sequence[JournalFeed], query: JournalQuery) -> AsyncGenerator[Batch, None]:
    merged = _merged(feeds, patient=not query.follow)
    if query.lines is None:
        async for batch in merged:
            yield batch
        return
    newest: deque[JournalEntry] = deque(maxlen=query.lines)
    async for batch in merged:
        newest.extend(batch)
    entries = list(newest)
    for begin in range(0, len(entries), PIECE):
        yield entries[begin : begin + PIECE]


async def _merged(feeds: Sequence[JournalFeed], *, patient: bool) -> AsyncGenerator[Batch, None]:
    """The feeds' backlogs in exact order; without patience, without those that keep the first one waiting."""
    clock = asyncio.get_running_loop().time
    by_id = {feed.machine.id: feed for feed in feeds}
    merge = Backlog(by_id)
    pending: dict[str, asyncio.Task[Batch | None]] = {}
    deadline: float | None = None
    try:
        while wanted := merge.waiting:
            for id_ in wanted - pending.keys():
                pending[id_] = asyncio.create_task(by_id[id_].backlog.get(), name=f"backlog {id_}")
            left = None if deadline is None else max(0.0, deadline - clock())
            done, _ = await asyncio.wait(pending.values(), timeout=left, return_when=asyncio.FIRST_COMPLETED)
            for id_ in [each for each, task in pending.items() if task in done]:
                if (batch := pending.pop(id_).result()) is None:
                    merge.end(id_)
                else:
                    merge.add(batch)
            for id_ in () if done else (merge.silent or merge.waiting):
                by_id[id_].overtake()
                merge.end(id_)
            if not patient and deadline is None:
                deadline = clock() + PATIENCE_S
            if ready := merge.ready():
                yield ready
    finally:
        for task in pending.values():
            task.cancel()
    if ready := merge.ready():
        yield ready
