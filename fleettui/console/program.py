"""The console's real parts put together: registry, SSH, screen. One event loop, everything ended at its end."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Mapping, Sequence

from fleettui.actions.operator import Operator, actor
from fleettui.actions.outcome import Done, Outcome
from fleettui.actions.units import Source as Submitted
from fleettui.actions.units import destroy, load, restart, restore, start, stop, submit, unload
from fleettui.cli.connection import open_operator
from fleettui.console.app import Console
from fleettui.console.feed import Live
from fleettui.console.header import Place
from fleettui.console.journal_live import LiveJournals
from fleettui.console.keys import checked_keymap
from fleettui.console.screens.frame import Desk
from fleettui.console.verbs import Verb
from fleettui.remote import Remote
from registry.config import Settings
from registry.errors import RegistryUnavailable
from registry.keys import Keys
from registry.model import Target

NOT_YET_S = 5.0
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

    async def introduce(self, texts: Mapping[str, str], target: Target, *, replace: bool) -> Done:
        """Make several units known."""
        sources = [Submitted(name, text, name) for name, text in texts.items()]
        return await submit(await self._operator(), sources, replace=replace, target=target)

    async def restore(self, outcomes: Sequence[Outcome]) -> Done:
        """Take an act back."""
        return await restore(await self._operator(), outcomes)

    async def _operator(self) -> Operator:
        try:
            async with asyncio.timeout(NOT_YET_S):
                return await asyncio.shield(self._feed.operator)
        except TimeoutError:
            raise RegistryUnavailable("not connected to the registry yet; try again in a moment") from None


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
