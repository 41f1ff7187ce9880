"""A record instead of the live registry: the feed that `fleettui --at` shows, and what cannot be asked of the past.

The time on the screen is the record's, and stands still. Everything is read in a thread, one way after the other.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime, tzinfo
from pathlib import Path
from types import MappingProxyType
from typing import NoReturn, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from fleettui.console.journal import Ask, JournalPlace, Wanted
from fleettui.console.journal.filters import parse_since
from fleettui.console.sources.hosts import Session
from fleettui.console.tables.fleet import PastMoment, Reading
from fleettui.journal_entry import JournalEntry
from fleettui.record.reader import PastView, Playback, written
from registry.errors import UserError
from registry.model import Crash, Machine

T = TypeVar("T")
LOCALTIME = Path("/etc/localtime")


class Replay:
    """A feed of one record. Make it with `opened`; then `head` says whose record it is."""

    def __init__(self, playback: Playback, first: PastView, now: Callable[[], float]) -> None:
        self._playback, self._view, self._now, self.head = playback, first, now, first.head
        self.endpoint = str(playback.directory)
        self._readings: asyncio.Queue[Reading] = asyncio.Queue()
        self._one = asyncio.Lock()
        self._show(first)

    @classmethod
    def opened(cls, directory: Path, at: float, now: Callable[[], float] = time.time) -> Replay:
        """The record in a directory, as of a moment. UserError for none. Blocks; call it in the event loop."""
        playback = Playback(directory)
        return cls(playback, playback.seek(at), now)

    def clock(self) -> float:
        """The moment that is shown, in seconds since 1970."""
        return self._view.at

    def quiet_s(self) -> float:
        """Nothing is waited for."""
        return 0.0

    async def lease_left_s(self, machine: str) -> float | None:  # noqa: ARG002 - the protocol's
        """Not known of the past."""
        return None

    def retry_s(self) -> float | None:
        """Nothing is tried again."""
        return None

    async def readings(self) -> AsyncIterator[Reading]:
        """What is shown, and what comes of each way through the record."""
        while True:
            yield await self._readings.get()

    async def step(self, way: int) -> None:
        """Show the next change (1), or the one before (-1). UserError where the record ends."""
        if not await self._go(lambda: self._playback.step(way)):
            raise UserError("the record ends here" if way > 0 else "the record begins here")

    async def leap(self, seconds: float) -> None:
        """Show how it was so much later, or earlier. UserError where nothing is known of it."""
        await self._go(lambda: self._playback.seek(min(self._view.at + seconds, self._now())))

    async def seek(self, text: str) -> None:
        """Show a moment as people write it. UserError for none, and where nothing is known of it."""
        at = moment(text)
        await self._go(lambda: self._playback.seek(at))

    async def _go(self, way: Callable[[], PastView | None]) -> bool:
        async with self._one:
            view = await asyncio.to_thread(way)
            if view is not None:
                self._show(view)
        return view is not None

    def _show(self, view: PastView) -> None:
        self._view = view
        past = PastMoment(
            view.at, written(view.at), self._now() - view.at, view.note, view.head.host, view.back, view.names
        )
        self._readings.put_nowait(Reading(view.snapshot, view.changed, view.link, view.reason, past=past))


def moment(text: str) -> float:
    """A moment of the past as people write it, in this user's zone. UserError for none, and for the future."""
    return parse_since(text, datetime.now(zone()))


def zone() -> tzinfo:
    """This user's time zone, with its rules, so that 02:10 of a day before clocks were put is that day's 02:10."""
    name = os.environ.get("TZ", "").removeprefix(":")
    try:
        if name:
            return ZoneInfo(name)
        with LOCALTIME.open("rb") as file:
            return ZoneInfo.from_file(file)
    except (OSError, ValueError, ZoneInfoNotFoundError):
        found = datetime.now().astimezone().tzinfo
        assert found is not None  # noqa: S101 - astimezone sets one
        return found


NO_PAST = "this is the record of a moment, and {} is of now; leave --at to ask"


class NoPastJournals:
    """Journals are on the machines, as they are now."""

    def open(self, wanted: Sequence[Wanted], ask: Ask) -> NoPastJournal:  # noqa: ARG002 - the protocol's
        """A journal that says so."""
        return NoPastJournal()

    async def kept(self, units: Collection[str], machines: Collection[str] = ()) -> Sequence[Crash]:  # noqa: ARG002
        """Nothing: the record holds no lines."""
        return ()

    def history(
        self,
        wanted: Sequence[Wanted],  # noqa: ARG002 - the protocol's
        ask: Ask,  # noqa: ARG002
        edges: Mapping[str, JournalPlace],  # noqa: ARG002
        *,
        backwards: bool,  # noqa: ARG002
    ) -> NoPastJournal:
        """Nothing."""
        return NoPastJournal()

    def search(
        self,
        wanted: Sequence[Wanted],  # noqa: ARG002 - the protocol's
        ask: Ask,  # noqa: ARG002
        text: str,  # noqa: ARG002
        troubles: dict[str, str],  # noqa: ARG002
    ) -> AsyncGenerator[Sequence[JournalEntry], None]:
        """Nothing. UserError when it is read."""
        return NoPastJournal().batches()

    async def fields(self, machine: Machine, cursor: str) -> Mapping[str, str]:  # noqa: ARG002 - the protocol's
        """Never."""
        raise UserError(NO_PAST.format("the journal"))


class NoPastJournal:
    """Says that there is none."""

    kept: tuple[Sequence[JournalEntry], ...] = ()
    troubles: Mapping[str, str] = MappingProxyType({})

    async def read(self, count: int) -> Sequence[JournalEntry]:  # noqa: ARG002 - the protocol's
        """Never. UserError."""
        raise UserError(NO_PAST.format("the journal"))

    def retarget(self, wanted: Sequence[Wanted]) -> None:
        """Do nothing."""

    async def batches(self) -> AsyncGenerator[Sequence[JournalEntry], None]:
        """What is kept of it, which is nothing. Then UserError."""
        for batch in self.kept:
            yield batch
        raise UserError(NO_PAST.format("the journal"))


class NoPastHosts:
    """Machines answer of now."""

    async def status(self, machine: Machine, unit: str) -> str:  # noqa: ARG002 - the protocol's
        """Never."""
        raise UserError(NO_PAST.format("systemctl status"))

    async def look(self, machine: Machine, unit: str) -> str:  # noqa: ARG002 - the protocol's
        """Never."""
        raise UserError(NO_PAST.format("what its machine says"))

    async def signal(self, machine: Machine, unit: str, signal: str) -> None:  # noqa: ARG002 - the protocol's
        """Never."""
        raise UserError("nothing can be changed in a record")

    async def start(self, machine: Machine, unit: str) -> None:  # noqa: ARG002 - the protocol's
        """Never."""
        raise UserError("nothing can be changed in a record")

    async def run(self, machine: Machine | None, argv: Sequence[str], take: Callable[[bytes], object]) -> int:  # noqa: ARG002
        """Never."""
        raise UserError(NO_PAST.format("a command"))

    def shell(self, machine: Machine) -> AbstractAsyncContextManager[Session]:  # noqa: ARG002 - the protocol's
        """Never."""
        raise UserError(NO_PAST.format("a shell"))


class NoPastPort:
    """Writes nothing: a record is not the registry."""

    def __getattr__(self, name: str) -> NoReturn:
        raise UserError("nothing can be changed in a record")
