"""Journals over SSH for the pane: entries, and what becomes of the links, in the order in which they come.

Keeps the console calm: no more is taken in than can be shown; what a unit writes beyond that is dropped where it
arrives, and said.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace

from fleettui.console.journal import Ask, JournalPlace, LinkNews, News, Remark, Wanted
from fleettui.console.journal.filters import for_journalctl
from fleettui.escape import clause, escape
from fleettui.journal_entry import JournalEntry
from fleettui.remote import JournalHistory, JournalQuery, JournalSource, LinkState, Place, Remote
from registry.model import Crash, Machine

RATE = 10_000  # lines a second that are shown, for long
BURST = 20_000  # and more for a moment: a link that is back, a unit that started
FIRST_BURST = 120_000  # what is asked for at the beginning comes at once
HELD = 8  # batches between the stream and the screen
STEADY_S = 1.0  # what has held for this long is told


ReadKept = Callable[[Collection[str], Collection[str]], Awaitable[Sequence[Crash]]]


class LiveJournals:
    """Journals over SSH. `read_kept` reads what agents kept of units that failed."""

    def __init__(self, remote: Remote, read_kept: ReadKept | None = None) -> None:
        self._remote, self._read_kept = remote, read_kept

    def open(self, wanted: Sequence[Wanted], ask: Ask) -> LiveStream:
        """Begin to read."""
        return LiveStream(self._remote, wanted, ask)

    def history(
        self, wanted: Sequence[Wanted], ask: Ask, edges: Mapping[str, JournalPlace], *, backwards: bool
    ) -> JournalHistory:
        """What lies before or after these places, by machine id."""
        places = {id_: Place(each.at, each.cursor, each.inclusive) for id_, each in edges.items()}
        return self._remote.journal_history(_sources(wanted), _query(ask), places, backwards=backwards)

    def search(
        self, wanted: Sequence[Wanted], ask: Ask, text: str, troubles: dict[str, str]
    ) -> AsyncGenerator[Sequence[JournalEntry], None]:
        """Every entry that may hold the text, each machine's newest first."""
        grep, exact = for_journalctl(text)
        query = replace(_query(ask), lines=None, grep=grep, exact=exact)
        return self._remote.journal_search(_sources(wanted), query, troubles)

    async def kept(self, units: Collection[str], machines: Collection[str] = ()) -> Sequence[Crash]:
        """What agents kept of the newest failures of units, and of all on machines. Raises FleetError."""
        return await self._read_kept(units, machines) if self._read_kept else ()

    async def fields(self, machine: Machine, cursor: str) -> Mapping[str, str]:
        """Every field of one entry. Raises FleetError."""
        return await self._remote.journal_fields(machine, cursor)


class LiveStream:
    """The journals of one selection, as one stream."""

    def __init__(self, remote: Remote, wanted: Sequence[Wanted], ask: Ask) -> None:
        self._follows = ask.until is None
        query = replace(_query(ask), follow=self._follows)
        self._stream = remote.journal_stream(_sources(wanted), query, self._on_link, self._on_dropped)
        self._news: asyncio.Queue[Sequence[News]] = asyncio.Queue()  # entries in it are bounded by `_room`
        self._room = asyncio.Semaphore(HELD)
        self._lost: dict[str, str] = {}
        self._said: dict[str, str] = {}  # what journalctl said on the side, by machine
        self._waiting: dict[str, list[asyncio.TimerHandle]] = {}

    def retarget(self, wanted: Sequence[Wanted]) -> None:
        """Read these from now on."""
        self._stream.retarget(_sources(wanted))

    async def batches(self) -> AsyncGenerator[Sequence[News], None]:
        """Entries, remarks and news of the links. Raises what breaks the stream."""
        clock = asyncio.get_running_loop().time
        limit = RateLimit(clock())
        task = asyncio.create_task(self._pump(), name="follow journals")
        task.add_done_callback(lambda _: self._news.put_nowait(()))
        try:
            while not task.done() or not self._news.empty():
                batch = await self._news.get()
                yield batch
                if isinstance(batch, Held):
                    await asyncio.sleep(limit.spend(len(batch), clock()))
                    self._room.release()
            task.result()
        finally:
            task.cancel()
            for id_ in list(self._waiting):
                self._stop_waiting(id_)

    async def _pump(self) -> None:
        async with aclosing(self._stream.batches()) as batches:
            async for batch in batches:
                await self._room.acquire()
                self._news.put_nowait(Held(batch))

    def _on_dropped(self, machine: Machine, count: int) -> None:
        lines = "1 line" if count == 1 else f"{count:,} lines"
        why = "written faster than they can be shown"
        self._news.put_nowait([Remark(f"{escape(machine.hostname)}: {lines} dropped: {why}", dropped=count)])

    def _on_link(self, machine: Machine, state: LinkState, reason: str) -> None:
        host = escape(machine.hostname)
        if state is LinkState.LOST:
            self._broke(machine.id, host, reason)
        elif state is LinkState.UP and reason:
            self._if_it_holds(machine.id, self._says, machine.id, host, reason)
        elif state is LinkState.UP and machine.id in self._lost:
            self._if_it_holds(machine.id, self._back, machine.id, host)
        elif state is LinkState.UP:
            self._news.put_nowait([LinkNews(host)])
        elif state is LinkState.LEFT:
            self._forget(machine.id)
            self._news.put_nowait([LinkNews(host)])

    def _broke(self, id_: str, host: str, reason: str) -> None:
        self._stop_waiting(id_)
        news: list[News] = [LinkNews(host, reason)]
        if self._lost.get(id_) != reason:
            self._lost[id_] = reason
            news.append(Remark(f"{host}: {clause(reason)}; {'trying again' if self._follows else 'not read'}"))
        self._news.put_nowait(news)

    def _if_it_holds(self, id_: str, then: Callable[..., None], *arguments: str) -> None:
        """Call `then` if the state lasts: a journalctl that fails at once is no connection."""
        handle = asyncio.get_running_loop().call_later(STEADY_S, then, *arguments)
        self._waiting.setdefault(id_, []).append(handle)

    def _says(self, id_: str, host: str, reason: str) -> None:
        if self._said.get(id_) != reason:
            self._said[id_] = reason
            self._news.put_nowait([Remark(f"{host}: journalctl says: {reason}")])

    def _back(self, id_: str, host: str) -> None:
        self._forget(id_)
        said = Remark(f"{host}: connected again, resuming where it broke off", good=True)
        self._news.put_nowait([LinkNews(host), said])

    def _forget(self, id_: str) -> None:
        self._lost.pop(id_, None)
        self._stop_waiting(id_)

    def _stop_waiting(self, id_: str) -> None:
        for handle in self._waiting.pop(id_, ()):
            handle.cancel()


class Held(list[News]):
    """A batch of entries, which takes one of the places between the stream and the screen."""


class RateLimit:
    """A token bucket of lines that may be shown: RATE are added in a second, up to BURST are kept."""

    def __init__(self, now: float) -> None:
        self._lines, self._at = float(FIRST_BURST), now

    def spend(self, lines: int, now: float) -> float:
        """Take lines; return the seconds to wait before the next."""
        most = max(BURST, self._lines)
        self._lines = min(self._lines + (now - self._at) * RATE, most) - lines
        self._at = now
        return max(0.0, -self._lines / RATE)


def _query(ask: Ask) -> JournalQuery:
    since = f"@{ask.since:.0f}" if ask.since is not None else ""
    until = f"@{ask.until:.0f}" if ask.until is not None else ""
    return JournalQuery(lines=ask.lines, since=since, until=until, boot=ask.boot)


def _sources(wanted: Sequence[Wanted]) -> list[JournalSource]:
    return [JournalSource(each.machine, each.unit) for each in wanted]
