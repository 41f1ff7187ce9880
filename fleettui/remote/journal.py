"""The journals of many machines as one stream, live: no gap, no repeat, and no machine stops the others.

Each machine has a feed: one journalctl for all its units. A feed first reads the backlog and then follows from the
cursor of the last entry that was handed on, again and again when the connection breaks. Backlogs are merged
exactly; a machine that is slow to answer loses its place in that and comes in as it arrives. How each machine's
link does is told to a callback, never raised. Every queue is bounded: a slow reader slows journalctl down.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from enum import StrEnum

from fleettui.escape import escape
from fleettui.remote.errors import RemoteError
from fleettui.remote.journal_entry import JournalEntry, Lines, parse
from fleettui.remote.journal_merge import Backlog, Window
from fleettui.remote.journal_query import JournalQuery, Position, Source, by_machine, journal_argv
from fleettui.remote.running import CHUNK_BYTES, Running
from fleettui.remote.running import Source as ByteSource
from registry.errors import FleetError
from registry.model import Machine

PATIENCE_S = 0.5  # how long the first machine's backlog waits for the others'
HOLD_S = 0.12  # how long a live entry waits for earlier ones of other machines
BACKOFF_S = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0)
STEADY_S = 10.0  # a link that held this long starts over with short waits
STDERR_BYTES = 2_000

Batch = list[JournalEntry]
Start = Callable[[Machine, list[str]], AbstractAsyncContextManager[Running]]


class LinkState(StrEnum):
    """How the way to one machine's journal is."""

    CONNECTING = "connecting"
    UP = "up"
    LOST = "lost"


OnLink = Callable[[Machine, LinkState, str], None]


def ignore_links(machine: Machine, state: LinkState, reason: str) -> None:
    """An OnLink for those who do not care."""


class Feed:
    """One machine's part of the stream. Hands batches to `backlog` until `settle`, then to the shared `live`."""

    def __init__(
        self,
        start: Start,
        target: tuple[Machine, tuple[str, ...]],
        query: JournalQuery,
        live: asyncio.Queue[Batch],
        on_link: OnLink,
    ) -> None:
        self.machine, self.units = target
        self.backlog: asyncio.Queue[Batch | None] = asyncio.Queue(4)
        self._start = start
        self._query = query
        self._live = live
        self._on_link = on_link
        self._settled = False
        self._begun = False
        self._cursor = ""

    async def run(self) -> None:
        """Read; with follow for ever, otherwise to the end of what is there."""
        if self._query.follow:
            await self._keep_following()
        else:
            await self._attempt(self._read_backlog)
            await self.settle()

    async def settle(self) -> None:
        """The backlog is at its end, or nobody waits for it any longer."""
        if not self._settled:
            self._settled = True
            await self.backlog.put(None)

    def overtake(self) -> None:
        """Do not wait for this machine: what it has goes to the live stream."""
        self._settled = True

    async def _keep_following(self) -> None:
        clock = asyncio.get_running_loop().time
        failures = 0
        while True:
            began = clock()
            await self._attempt(self._backlog_then_follow)
            await self.settle()
            failures = 0 if clock() - began > STEADY_S else failures + 1
            wait_s = BACKOFF_S[min(max(failures - 1, 0), len(BACKOFF_S) - 1)]
            await asyncio.sleep(wait_s * random.uniform(0.8, 1.2))

    async def _attempt(self, work: Callable[[], object]) -> None:
        """Do `work`, and tell how it ended if not well."""
        self._on_link(self.machine, LinkState.CONNECTING, "")
        try:
            await work()  # type: ignore[misc]
            if not self._query.follow:
                return
            reason = "journalctl ended"
        except FleetError as error:
            reason = str(error)
        self._on_link(self.machine, LinkState.LOST, reason)

    async def _backlog_then_follow(self) -> None:
        if not self._begun:
            await self._read_backlog()
            self._begun = True
        await self.settle()
        await self._read(Position(None, self._cursor), follow=True)

    async def _read_backlog(self) -> None:
        """The newest lines. When none are wanted, one is read all the same: its cursor is where we begin."""
        if self._query.lines == 0:
            await self._read(Position(1), follow=False, hand_on=False)
        else:
            await self._read(Position(self._query.lines), follow=False)

    async def _read(self, position: Position, *, follow: bool, hand_on: bool = True) -> None:
        argv = journal_argv(self.machine, self.units, self._query, position, follow=follow)
        async with self._start(self.machine, argv) as running:
            self._on_link(self.machine, LinkState.UP, "")
            complaints = asyncio.create_task(
                self._complaints(running.stderr), name=f"stderr {self.machine.hostname}"
            )
            try:
                await self._entries(running.stdout, hand_on=hand_on)
                await self._check(await running.wait(), await complaints)
            finally:
                complaints.cancel()

    async def _entries(self, stdout: ByteSource, *, hand_on: bool) -> None:
        lines = Lines()
        while data := await stdout.read(CHUNK_BYTES):
            parsed = (self._parse(line) for line in lines.feed(data))
            batch = [entry for entry in parsed if entry is not None]
            if batch:
                await self._hand_on(batch if hand_on else [])
                self._cursor = batch[-1].cursor
                self._begun = True

    def _parse(self, line: bytes) -> JournalEntry | None:
        return parse(line, self.machine.id, self.units, all_fields=self._query.all_fields)

    async def _hand_on(self, batch: Batch) -> None:
        if batch:
            await (self._live if self._settled else self.backlog).put(batch)

    async def _complaints(self, stderr: ByteSource) -> str:
        """What journalctl says on the side; its start is told at once (rights that are missing, above all)."""
        said = b""
        while data := await stderr.read(CHUNK_BYTES):
            if not said:
                self._on_link(self.machine, LinkState.UP, first_line(data))
            said = (said + data)[:STDERR_BYTES]
        return first_line(said)

    async def _check(self, status: int, complaint: str) -> None:
        if status and complaint:  # status 1 without a word is "nothing matched"
            raise RemoteError(self.machine.hostname, f"journalctl failed: {complaint}", "try it there by hand")


async def journal_batches(
    start: Start, sources: Sequence[Source], query: JournalQuery, on_link: OnLink
) -> AsyncGenerator[Batch, None]:
    """Entries in order, in batches as they come. Close the generator (aclosing) to stop its feeds."""
    live: asyncio.Queue[Batch] = asyncio.Queue(64)
    feeds = [Feed(start, target, query, live, on_link) for target in by_machine(sources)]
    tasks = [_spawn(feed, live) for feed in feeds]
    try:
        async with contextlib.aclosing(_backlog(feeds, query)) as backlog:
            async for batch in backlog:
                yield batch
        if query.follow:
            async with contextlib.aclosing(_live(live, tasks)) as stream:
                async for batch in stream:
                    yield batch
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def first_line(data: bytes) -> str:
    """The first line of foreign output, safe on a terminal."""
    return escape(data.decode("utf-8", "replace").strip().partition("\n")[0][:300])


def _spawn(feed: Feed, live: asyncio.Queue[Batch]) -> asyncio.Task[None]:
    task = asyncio.create_task(feed.run(), name=f"journal {feed.machine.hostname}")

    def wake(_: asyncio.Task[None]) -> None:
        """A feed that ends must not leave the readers waiting; whoever reads on finds its exception."""
        with contextlib.suppress(asyncio.QueueFull):
            live.put_nowait([])
        with contextlib.suppress(asyncio.QueueFull):
            feed.backlog.put_nowait(None)

    task.add_done_callback(wake)
    return task


async def _backlog(feeds: Sequence[Feed], query: JournalQuery) -> AsyncGenerator[Batch, None]:
    merged = _merged(feeds, patient=not query.follow)
    if query.lines is None:
        async for batch in merged:
            yield batch
        return
    newest: deque[JournalEntry] = deque(maxlen=query.lines)
    async for batch in merged:
        newest.extend(batch)
    if newest:
        yield list(newest)


async def _merged(feeds: Sequence[Feed], *, patient: bool) -> AsyncGenerator[Batch, None]:
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
                _take(merge, id_, pending.pop(id_).result())
            if not done:
                _overtake(merge, by_id)
            if not patient and deadline is None:
                deadline = clock() + PATIENCE_S
            if batch := merge.ready():
                yield batch
    finally:
        for task in pending.values():
            task.cancel()
    if batch := merge.ready():
        yield batch


def _take(merge: Backlog, machine: str, batch: Batch | None) -> None:
    if batch is None:
        merge.end(machine)
    else:
        merge.add(batch)


def _overtake(merge: Backlog, feeds: dict[str, Feed]) -> None:
    for machine in merge.silent or merge.waiting:
        feeds[machine].overtake()
        merge.end(machine)


async def _live(live: asyncio.Queue[Batch], tasks: Sequence[asyncio.Task[None]]) -> AsyncGenerator[Batch, None]:
    clock = asyncio.get_running_loop().time
    window = Window(HOLD_S if len(tasks) > 1 else 0.0)
    while True:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(window.due_in(clock())):
                window.add(await live.get(), clock())
        for task in tasks:
            if task.done():
                task.result()
        if batch := window.ready(clock()):
            yield batch
