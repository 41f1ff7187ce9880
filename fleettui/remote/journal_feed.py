"""One machine's part of a journal stream: its backlog, then what comes, resumed at its cursor for ever.

A feed hands batches to `backlog` until it is settled, then to the shared `live` queue. How the way to its machine
is, it tells to a callback and never raises. A full `live` queue slows journalctl down; with `on_dropped` the feed
drops instead, cheaply (lines are counted, not parsed), and tells how many: a reader that cannot keep up stays
near the present and knows what it missed.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from enum import StrEnum

from fleettui.escape import escape
from fleettui.journal_entry import JournalEntry, LineSplitter, parse
from fleettui.remote.errors import RemoteError
from fleettui.remote.journal_query import JournalQuery, Position, by_service, journal_argv, moment
from fleettui.remote.process import CHUNK_BYTES, Running
from fleettui.remote.process import ByteStream as ByteSource
from registry.errors import FleetError
from registry.etcd.backoff import jittered
from registry.model import Machine

BACKOFF_S = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0)
STEADY_S = 10.0  # a link that held this long starts over with short waits
STDERR_BYTES = 2_000
TELL_DROPPED_S = 1.0  # how long lines that were dropped are added up before they are told
REMEMBERED = 20_000  # entries handed on last, so that what is read over again is not repeated,
REMEMBERED_US = 4_000_000  # and no older ones than that
JOIN_S = 0.2  # how long units that join are gathered before journalctl is started again for them
LINGER_S = 5.0  # how long a unit that is no longer asked for is listened to: its last words may be under way

Batch = list[JournalEntry]
Start = Callable[[Machine, list[str]], AbstractAsyncContextManager[Running]]


class LinkState(StrEnum):
    """How the way to one machine's journal is. LEFT: nobody asks for it any longer."""

    CONNECTING = "connecting"
    UP = "up"
    LOST = "lost"
    LEFT = "left"


OnLink = Callable[[Machine, LinkState, str], None]
OnDropped = Callable[[Machine, int], None]


def ignore_links(machine: Machine, state: LinkState, reason: str) -> None:
    """An OnLink for those who do not care."""


@dataclass(frozen=True, slots=True)
class JournalCallbacks:
    """Who is told what becomes of a feed. Without `on_dropped` it never drops: it waits for its reader."""

    on_link: OnLink
    on_dropped: OnDropped | None = None


class JournalFeed:
    """One journalctl on one machine for some of its units, started again whenever it ends."""

    def __init__(
        self,
        start: Start,
        target: tuple[Machine, tuple[str, ...]],
        query: JournalQuery,
        live: asyncio.Queue[Batch],
        callbacks: JournalCallbacks,
    ) -> None:
        self.machine, self.units = target
        self._names = by_service(self.units)
        self.backlog: asyncio.Queue[Batch | None] = asyncio.Queue(4)
        self.cursor = ""
        self._start = start
        self._query = query
        self._live = live
        self._callbacks = callbacks
        self._settled = False
        self._begun = False
        self._dropping = False
        self._missed = 0  # lines dropped and not told yet
        self._handed_on: deque[JournalEntry] = deque()
        self._dropped_at = 0  # when the newest line that was dropped was written
        self._forgotten_at = 0  # when the newest entry was written that was handed on and is not remembered
        self._joined: dict[str, int] = {}  # units that joined, and since when (µs) they are read
        self._joining_read = False  # what joined is being read
        self._known: Collection[str] = ()  # while lines are read over again: cursors of those handed on before
        self._passed_at = 0  # then: when the newest of those was written
        self._left: dict[str, float] = {}  # units that are no longer asked for, and since when
        self._turn: asyncio.Timeout | None = None  # runs out when other units are to be read
        self._joining: asyncio.TimerHandle | None = None

    def join(self, units: Sequence[str], since: int) -> None:
        """Read these units from now on, those that are new since a moment (µs since the epoch; 0: their backlog).

        A stream that runs goes on where it is, without gap or repeat; units that left cost nothing and are
        forgotten the next time that journalctl is started.
        """
        loop = asyncio.get_running_loop()
        self._left = {unit: self._left.get(unit, loop.time()) for unit in self.units if unit not in units}
        fresh = [unit for unit in units or ("",) if unit not in (self.units or ("",))]
        if not fresh:
            return
        late = [unit for unit, at in self._left.items() if loop.time() - at < LINGER_S]
        self.units = (*units, *late) if units else ()
        self._names = by_service(self.units)
        if since and self._begun:
            self._joined |= dict.fromkeys(fresh, max(since, self._dropped_at))
            self._joining_read = False
        if self._turn and not self._joining:
            self._joining = loop.call_later(JOIN_S, self._start_again)

    def begin_at(self, since: int) -> None:
        """Join a stream that runs: no backlog, but all since a moment (µs since the epoch)."""
        self._joined = dict.fromkeys(self.units or ("",), since)
        self._begun = self._settled = True

    def _start_again(self) -> None:
        self._joining = None
        if self._turn:
            self._turn.reschedule(asyncio.get_running_loop().time())

    async def run(self) -> None:
        """Read; with follow for ever, otherwise to the end of what is there."""
        clock, failures = asyncio.get_running_loop().time, 0
        while self._query.follow:
            began = clock()
            try:
                async with asyncio.timeout(None) as self._turn:
                    await self._attempt(self._backlog_then_follow)
                    await self.settle()
                    failures = 0 if clock() - began > STEADY_S else failures + 1
                    wait_s = BACKOFF_S[min(max(failures - 1, 0), len(BACKOFF_S) - 1)]
                    await asyncio.sleep(jittered(wait_s, 0.8, 1.2))
            except TimeoutError:
                if not self._turn or not self._turn.expired():
                    raise
            finally:
                self._turn = None
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

    async def _attempt(self, work: Callable[[], object]) -> None:
        """Do `work`, and tell how it ended if not well."""
        self._tell(LinkState.CONNECTING)
        try:
            await work()  # type: ignore[misc]
            if not self._query.follow:
                return
            reason = "journalctl ended"
        except FleetError as error:
            reason = str(error)
        self._tell_missed()
        self._tell(LinkState.LOST, reason)

    def _tell(self, state: LinkState, reason: str = "") -> None:
        self._callbacks.on_link(self.machine, state, reason)

    async def _backlog_then_follow(self) -> None:
        if not self._begun:
            await self._read_backlog()
            self._begun = True
        await self.settle()
        since, self._joining_read = min(self._joined.values(), default=0), True
        newest = max([self._dropped_at, *(entry.at for entry in self._handed_on)])
        if not since or (self.cursor and newest < since):
            self._known = ()
            await self._read(Position(None, self.cursor), follow=True)
            return
        # What joins is read from a moment on that the others have passed: theirs is read over, and left out.
        since = max(since, self._forgotten_at + 1)
        self._known = {entry.cursor for entry in self._handed_on}
        self._passed_at = newest
        await self._read(Position(None), follow=True, since=moment(since))

    async def _read_backlog(self) -> None:
        """The newest lines. When none are wanted, one is read all the same: its cursor is where we begin."""
        if self._query.lines == 0:
            await self._read(Position(1), follow=False, hand_on=False)
        elif self._query.since and self._query.lines is not None:
            found: list[Batch] = []  # journalctl would count from that moment on, so it is asked backwards
            await self._read(Position(self._query.lines, backwards=True), follow=False, into=found)
            for batch in reversed(found):
                batch.reverse()
                await self._hand_on(batch)
                self._remember(batch)
                self.cursor = batch[-1].cursor
                self._begun = True
        else:
            await self._read(Position(self._query.lines), follow=False)

    async def _read(
        self, position: Position, *, follow: bool, hand_on: bool = True, into: list[Batch] | None = None,
        since: str = "",
    ) -> None:  # fmt: skip
        query = replace(self._query, since=since) if since else self._query
        argv = journal_argv(self.machine, self.units, query, position, follow=follow)
        async with self._start(self.machine, argv) as running:
            self._tell(LinkState.UP)
            complaints = asyncio.create_task(
                self._complaints(running.stderr), name=f"stderr {self.machine.hostname}"
            )
            try:
                await (self._entries(running.stdout, hand_on=hand_on) if into is None
                       else self._collect(running.stdout, into))  # fmt: skip
                status, complaint = await running.wait(), await complaints
                if status and complaint:  # status 1 without a word is "nothing matched"
                    raise RemoteError(self.machine.hostname, f"journalctl failed: {complaint}", remedy(complaint))
            finally:
                complaints.cancel()

    async def _entries(self, stdout: ByteSource, *, hand_on: bool) -> None:
        lines = LineSplitter()
        while data := await stdout.read(CHUNK_BYTES):
            found = lines.feed(data)
            if found and self._overrun():
                last = self._parse(found[-1])
                self.cursor, self._dropped_at = (last.cursor, last.at) if last else (self.cursor, self._dropped_at)
                if not self._missed:
                    asyncio.get_running_loop().call_later(TELL_DROPPED_S, self._tell_missed)
                self._missed += len(found)
            elif batch := self._unread(self._parsed(found)):
                await self._hand_on(batch if hand_on else [])
                self._remember(batch)
                self.cursor = batch[-1].cursor
                self._begun = True
            await asyncio.sleep(0)  # a full buffer is read without a pause: the others have their turn too

    async def _collect(self, stdout: ByteSource, into: list[Batch]) -> None:
        lines = LineSplitter()
        while data := await stdout.read(CHUNK_BYTES):
            if batch := self._parsed(lines.feed(data)):
                into.append(batch)
            await asyncio.sleep(0)

    def _remember(self, batch: Batch) -> None:
        kept, needed = self._handed_on, min([batch[-1].at - REMEMBERED_US, *self._joined.values()])
        kept.extend(batch)
        while len(kept) > REMEMBERED or kept[0].at < needed:
            self._forgotten_at = max(self._forgotten_at, kept.popleft().at)

    def _unread(self, batch: Batch) -> Batch:
        """Without what was handed on before, and without what units said before they joined."""
        if not self._joined or not batch:
            return batch
        known, joined, last = self._known, self._joined, batch[-1]
        batch = [each for each in batch if each.cursor not in known and each.at >= joined.get(each.unit, 0)]
        if self._joining_read and last.at > max(self._passed_at, *joined.values()):
            self._known, self._joined = (), {}
        return batch

    def _parsed(self, lines: Sequence[bytes]) -> Batch:
        parsed = (self._parse(line) for line in lines)
        return [entry for entry in parsed if entry is not None]

    def _parse(self, line: bytes) -> JournalEntry | None:
        return parse(line, self.machine.id, self._names, all_fields=self._query.all_fields)

    async def _hand_on(self, batch: Batch) -> None:
        if batch:
            await (self._live if self._settled else self.backlog).put(batch)

    # What the reader cannot take

    def _overrun(self) -> bool:
        """Whether to drop now: from a full queue on until half of it is read."""
        if self._callbacks.on_dropped is None or not self._settled:
            return False
        limit = self._live.maxsize // 2 if self._dropping else self._live.maxsize
        self._dropping = self._live.qsize() >= limit
        return self._dropping

    def _tell_missed(self) -> None:
        count, self._missed = self._missed, 0
        if count and self._callbacks.on_dropped:
            self._callbacks.on_dropped(self.machine, count)

    # How it ends

    async def _complaints(self, stderr: ByteSource) -> str:
        """What journalctl says on the side; its start is told at once (rights that are missing, above all)."""
        said = b""
        while data := await stderr.read(CHUNK_BYTES):
            if not said:
                self._tell(LinkState.UP, first_line(data))
            said = (said + data)[:STDERR_BYTES]
        return first_line(said)


def first_line(data: bytes) -> str:
    """The first line of foreign output, safe on a terminal."""
    return escape(data.decode("utf-8", "replace").strip().partition("\n")[0][:300])


def remedy(complaint: str) -> str:
    """What to do about a complaint of journalctl's."""
    if "permission" in complaint.lower():
        return "give the login user the group systemd-journal there, or log in as one who may read ([ssh] user)"
    if "boot" in complaint.lower():
        return "ask for another boot"
    return "try it there by hand"
