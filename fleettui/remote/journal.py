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

from fleettui.journal_entry import JournalEntry
from fleettui.remote.journal_feed import (
    LINGER_S,
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

__all__ = ["Batch", "JournalStream", "LinkState", "OnDropped", "OnLink", "first_line", "ignore_links"]

PATIENCE_S = 0.5  # how long the first machine's backlog waits for the others'
HOLD_S = 0.12  # how long a live entry waits for earlier ones of other machines
OVERLAP_US = 2_000_000  # by how much clocks of two machines may differ before a move loses lines
AT_ONCE = 16  # machines that are connected to together; each further one
STAGGER_S = 0.02  # so much later: a hundred handshakes at once would keep every key waiting
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
        self._resting: dict[str, JournalFeed] = {}  # of machines that were left, by id
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
        for number, feed in enumerate(feeds):
            self._spawn(feed, STAGGER_S * max(0, number - AT_ONCE))
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
        loop, wanted = asyncio.get_running_loop(), {target[0].id: target for target in by_machine(sources)}
        # What is new is read from the moment that the stream has reached, by its own clocks.
        since = max(1, self._newest - OVERLAP_US) if self._newest else 0
        for feed in list(self._tasks):
            if target := wanted.pop(feed.machine.id, None):
                feed.machine, units = target  # it may have a new address
                feed.join(units, since)
                if handle := self._leaving.pop(feed, None):
                    handle.cancel()
            elif feed not in self._leaving:
                self._leaving[feed] = loop.call_later(LINGER_S, self._rest, feed)
        for id_, (machine, units) in wanted.items():
            resting = self._resting.pop(id_, None)
            if resting:
                feed, resting.machine = resting, machine
                resting.join(units, since)
            else:
                feed = JournalFeed(self._start, (machine, units), self._query, self._live, self._callbacks)
                if since:
                    feed.begin_at(since)
            feed.overtake()
            self._spawn(feed)

    def _rest(self, feed: JournalFeed) -> None:
        self._leaving.pop(feed, None)
        if task := self._tasks.pop(feed, None):
            task.cancel()
            self._left_behind.add(task)
            self._resting[feed.machine.id] = feed
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

    def _spawn(self, feed: JournalFeed, after_s: float = 0.0) -> None:
        async def run() -> None:
            await asyncio.sleep(after_s)
            await feed.run()

        task = self._tasks[feed] = asyncio.create_task(run(), name=f"journal {feed.machine.hostname}")

        def wake(_: asyncio.Task[None]) -> None:
            """Wake the readers when a feed ends; they find its exception."""
            with contextlib.suppress(asyncio.QueueFull):
                self._live.put_nowait([])
            with contextlib.suppress(asyncio.QueueFull):
                feed.backlog.put_nowait(None)

        task.add_done_callback(wake)


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
