"""The journals of many machines from a place on, backwards or forwards, in pieces; and a search through all.

Nothing is followed. A machine that cannot be read is left out and told in `troubles`; the others go on.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import re
from collections import deque
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from fleettui.journal_entry import JournalEntry, LineSplitter, parse
from fleettui.remote.command import within
from fleettui.remote.errors import RemoteError
from fleettui.remote.journal_feed import Batch, Start, first_line, remedy
from fleettui.remote.journal_query import (
    JournalQuery,
    JournalSource,
    Position,
    by_machine,
    by_service,
    journal_argv,
    moment,
)
from fleettui.remote.process import CHUNK_BYTES, Running
from registry.errors import FleetError
from registry.model import Machine

LEAST = 100  # entries asked of a machine at once
SEARCH_S = 300  # how long one search may keep a machine's journalctl busy
NO_PATTERNS = re.compile("pcre2|pattern matching support", re.IGNORECASE)  # in what journalctl says without them
MOST_NAMED = 8  # units that journalctl is given to search; 65,000 entries take 0.15 s without any, 0.4 s with 20


@dataclass(frozen=True, slots=True)
class Place:
    """A place in a machine's journal: at an entry (`cursor`), or at a moment (µs since the epoch).

    What stands at a moment is part of what is read from there; an entry is, where `inclusive`.
    """

    at: int
    cursor: str = ""
    inclusive: bool = False


@dataclass(slots=True)
class _Part:
    """One machine's part of a history."""

    machine: Machine
    units: tuple[str, ...]
    place: Place
    read: deque[JournalEntry] = field(default_factory=deque)
    ended: bool = False


class JournalHistory:
    """Reads on from places, by machine id; `troubles` are the machines that could not be read, and why."""

    def __init__(
        self, start: Start, sources: Sequence[JournalSource], query: JournalQuery, places: Mapping[str, Place], *,
        backwards: bool,
    ) -> None:  # fmt: skip
        self._start, self._query, self._backwards = start, query, backwards
        self._parts = [_Part(machine, units, places[machine.id]) for machine, units in by_machine(sources)]
        self.troubles: dict[str, str] = {}

    async def read(self, count: int) -> list[JournalEntry]:
        """The next entries in the direction of reading; fewer than `count` at the end of all journals."""
        sign = -1 if self._backwards else 1
        piece = max(LEAST, 2 * count // max(1, len(self._parts)))
        latest: dict[int, int] = {}  # a machine's own order is kept, also where its clock jumped
        heads: list[tuple[int, int]] = []
        waiting = list(range(len(self._parts)))
        found: list[JournalEntry] = []
        while len(found) < count:
            await asyncio.gather(*(self._fill(self._parts[number], piece) for number in waiting))
            for number in waiting:
                if read := self._parts[number].read:
                    latest[number] = max(sign * read[0].at, latest.get(number, sign * read[0].at))
                    heapq.heappush(heads, (latest[number], number))
            if not heads:
                break
            _, number = heapq.heappop(heads)
            found.append(self._parts[number].read.popleft())
            waiting = [number]
        return found

    async def _fill(self, part: _Part, count: int) -> None:
        """Read more of a machine where nothing is left of what was read."""
        if part.read or part.ended:
            return
        place, query = part.place, self._query
        if self._backwards:
            position = Position(count, place.cursor, backwards=True)
            query = query if place.cursor else replace(query, until=moment(place.at))
        else:
            position = Position(None, place.cursor, inclusive=place.inclusive)
            query = query if place.cursor else replace(query, since=moment(place.at))
        argv = journal_argv(part.machine, part.units, query, position, follow=False)
        taken = 0
        try:
            async with (
                self._start(part.machine, argv) as running,
                contextlib.aclosing(entries(running, part.machine, part.units)) as batches,
            ):
                async for batch in batches:
                    part.read += batch[: count - taken]
                    taken += len(batch)
                    if taken >= count:
                        break
        except FleetError as error:
            self.troubles[part.machine.hostname] = str(error)
            part.ended = True
        if part.read:
            part.place = Place(part.read[-1].at, part.read[-1].cursor)
        part.ended = part.ended or taken < count


async def search(
    start: Start, sources: Sequence[JournalSource], query: JournalQuery, troubles: dict[str, str]
) -> AsyncGenerator[Batch, None]:
    """What matches `query.grep` on each machine, the newest first, in the batches in which it comes.

    `troubles` is filled with the machines that could not be searched, and why. Of many units the whole journal is
    searched, and what is of others is left out here: journalctl looks every entry up for each unit. A machine whose
    journalctl has no PCRE2 gives all entries, slowly: the caller has to look into them.
    """
    targets = by_machine(sources)
    found: asyncio.Queue[Batch | None] = asyncio.Queue(16)

    async def one(machine: Machine, units: tuple[str, ...]) -> None:
        asked = [query]
        try:
            for each in asked:
                try:
                    async with contextlib.aclosing(_newest_first(start, machine, units, each)) as batches:
                        async for batch in batches:
                            await found.put(batch)
                except FleetError as error:
                    if each.grep and NO_PATTERNS.search(str(error)):
                        asked.append(replace(each, grep=""))
                    else:
                        troubles[machine.hostname] = str(error)
        finally:
            await found.put(None)

    tasks = [asyncio.create_task(one(*target), name=f"search {target[0].hostname}") for target in targets]
    left = len(tasks)
    try:
        while left:
            batch = await found.get()
            if batch is None:
                left -= 1
            else:
                yield batch
    finally:
        for task in tasks:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks, return_exceptions=True)


async def _newest_first(
    start: Start, machine: Machine, units: tuple[str, ...], query: JournalQuery
) -> AsyncGenerator[Batch, None]:
    named, wanted = units if len(units) <= MOST_NAMED else (), {*units}
    argv = journal_argv(machine, named, query, Position(None, backwards=True), follow=False)
    async with start(machine, within(SEARCH_S, ["nice", "-n", "10", *argv])) as running:
        async for batch in entries(running, machine, units):
            if theirs := batch if named == units else [each for each in batch if each.unit in wanted]:
                yield theirs


async def entries(running: Running, machine: Machine, units: tuple[str, ...]) -> AsyncGenerator[Batch, None]:
    """What a journalctl that ends prints. Raises RemoteError when it fails, or was told to end."""
    lines, names = LineSplitter(), by_service(units)
    while data := await running.stdout.read(CHUNK_BYTES):
        batch = [entry for line in lines.feed(data) if (entry := parse(line, machine.id, names)) is not None]
        if batch:
            yield batch
        await asyncio.sleep(0)
    complaint = first_line(await running.stderr.read(CHUNK_BYTES))
    status = await running.wait()
    if status == TIMED_OUT:
        raise RemoteError(machine.hostname, f"not searched to its beginning within {SEARCH_S} s", "t narrows it")
    if status and complaint:  # status 1 without a word is "nothing matched"
        raise RemoteError(machine.hostname, f"journalctl failed: {complaint}", remedy(complaint))


TIMED_OUT = 124  # what timeout(1) exits with
