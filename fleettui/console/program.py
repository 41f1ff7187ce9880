"""The console's real parts put together: registry, SSH, screen. One event loop, everything ended at its end."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import TypeAlias

from fleettui.actions.operator import Operator, actor
from fleettui.actions.outcome import Done, Outcome
from fleettui.actions.units import Source as Submitted
from fleettui.actions.units import destroy, load, restart, restore, start, stop, submit, unload
from fleettui.cli.connection import open_operator
from fleettui.console.app import Console
from fleettui.console.feed import Live
from fleettui.console.header import Place
from fleettui.console.journal import Remark, Wanted
from fleettui.console.keys import checked_keymap
from fleettui.console.screens.frame import Desk
from fleettui.console.verbs import Verb
from fleettui.remote import JournalEntry, JournalQuery, LinkState, OnLink, Remote, Source
from registry.config import Settings
from registry.errors import RegistryUnavailable
from registry.keys import Keys
from registry.model import Machine, Target

NOT_YET_S = 5.0
Queue: TypeAlias = asyncio.Queue[Sequence[JournalEntry | Remark]]
ACTS = {
    Verb.START: start,
    Verb.LOAD: load,
    Verb.STOP: stop,
    Verb.UNLOAD: unload,
    Verb.RESTART: restart,
    Verb.DESTROY: destroy,
}


class LiveHands:
    """Acts on the registry that the feed opened."""

    def __init__(self, feed: Live) -> None:
        self._feed = feed

    async def act(self, verb: Verb, names: Sequence[str]) -> Done:
        """Carry the verb out."""
        return await ACTS[verb](await self._operator(), names)

    async def submit(self, name: str, text: str, target: Target, *, replace: bool) -> Done:
        """Make a unit known."""
        source = Submitted(name, text, name)
        return await submit(await self._operator(), [source], replace=replace, target=target)

    async def restore(self, outcomes: Sequence[Outcome]) -> Done:
        """Take an act back."""
        return await restore(await self._operator(), outcomes)

    async def _operator(self) -> Operator:
        try:
            async with asyncio.timeout(NOT_YET_S):
                return await asyncio.shield(self._feed.operator)
        except TimeoutError:
            raise RegistryUnavailable("not connected to the registry yet; try again in a moment") from None


class LiveJournals:
    """Journals over SSH."""

    def __init__(self, remote: Remote) -> None:
        self._remote = remote

    async def follow(
        self, wanted: Sequence[Wanted], lines: int
    ) -> AsyncGenerator[Sequence[JournalEntry | Remark], None]:
        """Entries and what becomes of the links, in the order in which they come."""
        queue: Queue = asyncio.Queue(8)
        lost: set[str] = set()

        def on_link(machine: Machine, state: LinkState, reason: str) -> None:
            remarks = _remarks(machine, state, reason, lost)
            if remarks is not None and not queue.full():
                queue.put_nowait(remarks)

        task = asyncio.create_task(self._pump(wanted, lines, queue, on_link), name="follow journals")
        try:
            while True:
                yield await queue.get()
        finally:
            task.cancel()

    async def _pump(self, wanted: Sequence[Wanted], lines: int, queue: Queue, on_link: OnLink) -> None:
        sources = [Source(each.machine, each.unit) for each in wanted]
        query = JournalQuery(lines=lines, follow=True)
        async with aclosing(self._remote.journal_batches(sources, query, on_link)) as batches:
            async for batch in batches:
                await queue.put(batch)


def _remarks(machine: Machine, state: LinkState, reason: str, lost: set[str]) -> list[Remark] | None:
    """What is worth a line: a link that broke (once), and one that is back. [] says: connected. None: nothing."""
    if state is LinkState.LOST and machine.id not in lost:
        lost.add(machine.id)
        return [Remark(f"{machine.hostname}: {reason}; trying again")]
    if state is not LinkState.UP:
        return None
    if machine.id not in lost:
        return []
    lost.discard(machine.id)
    return [Remark(f"{machine.hostname}: connected again, resuming where it broke off", good=True)]


def run(settings: Settings, *, cluster: str, theme: str, read_only: bool) -> None:
    """Show the console until the user leaves it. UserError for a keymap that cannot be."""
    keymap = checked_keymap(settings.console.keymap, settings.source or "configuration")
    asyncio.run(_run(settings, cluster, theme, keymap, read_only=read_only))


async def _run(settings: Settings, cluster: str, theme: str, keymap: dict[str, str], *, read_only: bool) -> None:
    endpoint = settings.etcd.endpoints[0]
    feed = Live(lambda: open_operator(settings), endpoint)
    user = settings.etcd.username or actor().partition("@")[0]
    async with Remote(settings.ssh) as remote:
        desk = Desk(feed, LiveHands(feed), LiveJournals(remote), Place(cluster, user, endpoint), time.time, keymap,
                    read_only, Keys.under(settings.etcd.prefix))  # fmt: skip
        console = Console(desk, theme=theme)
        for number in (signal.SIGTERM, signal.SIGHUP):  # leave the terminal as it was found
            asyncio.get_running_loop().add_signal_handler(number, console.exit)
        await console.run_async()
