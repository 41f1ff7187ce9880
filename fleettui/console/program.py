"""The console's real parts put together: registry, SSH, screen. One event loop, everything ended at its end."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, MutableMapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar
from zlib import crc32

from fleettui.actions import configs, machines, rollouts
from fleettui.actions.crashes import newest_crashes, read_crashes
from fleettui.actions.operator import Operator, actor
from fleettui.actions.outcome import Done, Outcome
from fleettui.actions.units import ACTS, restore, submit
from fleettui.actions.units import UnitSource as Submitted
from fleettui.cli.connection import open_operator
from fleettui.console.app import Console
from fleettui.console.operations.commands_there import OwnCommand, own_commands
from fleettui.console.operations.runner import Changes
from fleettui.console.operations.verbs import AVAILABILITY, MachineVerb, RolloutVerb
from fleettui.console.pages.bands import FleetIdentity
from fleettui.console.screens.context import Context
from fleettui.console.sources.feed import Live
from fleettui.console.sources.fleets import SwitchTo, known_fleets
from fleettui.console.sources.hosts import LiveHosts
from fleettui.console.sources.journal_live import LiveJournals
from fleettui.console.sources.losses import LossWatch
from fleettui.console.sources.replay import NoPastHosts, NoPastJournals, NoPastPort, Replay, moment
from fleettui.console.sources.saved_state import SavedState, StateStore, place
from fleettui.console.terminal.driver import give_up
from fleettui.console.terminal.handover import leave_when_gone, leave_when_told
from fleettui.console.text.cells import FLEET_TONES, Tone
from fleettui.console.text.keys import checked_keymap
from fleettui.console.widgets.theme import THEMES
from fleettui.doctor.expiry import Expiry
from fleettui.record.places import found_directory
from fleettui.remote import Pins, Remote, own_machine
from fleettui.remote.pins import directory as host_keys
from fleettui.verbs import Verb
from placement.rebalance import Move
from registry.errors import FleetError, RegistryUnavailable, UserError
from registry.keys import Keys
from registry.mirror import Snapshot
from registry.model import ConfigVersion, Crash, Rollout, Target
from registry.program import collector
from registry.program.config import Settings
from registry.units.pins import NeedKind

NOT_YET_S = 5.0
NO_JOURNAL = SavedState(journal=False)
T = TypeVar("T")


class LivePort:
    """Writes to the registry that the feed opened."""

    def __init__(self, feed: Live) -> None:
        self._feed = feed

    async def on_units(self, verb: Verb, names: Sequence[str]) -> Done:
        """Carry the verb out."""
        return await ACTS[verb](await self._operator(), names)

    async def submit(
        self, texts: Mapping[str, str], target: Target, *, replace: bool = False, based_on: str = ""
    ) -> Done:
        """Store texts by unit name and raise the target."""
        sources = [Submitted(name, text, name, based_on) for name, text in texts.items()]
        return await submit(await self._operator(), sources, replace=replace, target=target)

    async def restore(self, outcomes: Sequence[Outcome], *, redo: bool = False) -> Done:
        """Take an operation on units back."""
        return await restore(await self._operator(), outcomes, redo=redo)

    async def on_machines(self, verb: MachineVerb, ids: Sequence[str]) -> Changes:
        """Cordon, drain or uncordon machines."""
        operator = await self._operator()
        return await _each(ids, lambda machine: machines.set_availability(operator, machine, AVAILABILITY[verb]))

    async def set_metadata(self, ids: Sequence[str], changes: Mapping[str, str | None]) -> Changes:
        """Set metadata over the machines' own."""
        operator = await self._operator()
        return await _each(ids, lambda machine: machines.set_metadata(operator, machine, changes))

    async def restore_machines(self, changes: Sequence[machines.MachineChange]) -> Changes:
        """Take an operation on machines back."""
        operator = await self._operator()
        return await _each(changes, lambda change: machines.restore_machine(operator, change))

    async def roll(
        self, names: Sequence[str], texts: Mapping[str, str], policy: rollouts.Policy, based_on: str = ""
    ) -> Rollout:
        """Begin a rollout."""
        return await rollouts.begin(await self._operator(), names, texts, policy, based_on=based_on)

    async def move(
        self, snapshot: Snapshot, moves: Sequence[Move], policy: rollouts.Policy, name: str = ""
    ) -> Rollout:
        """Begin to move units."""
        return await rollouts.begin_moves(await self._operator(), snapshot, moves, policy, name)

    async def on_rollout(self, verb: RolloutVerb, name: str) -> Rollout:
        """Pause, resume, abort or undo a rollout; with `redo` begin another that does again what was undone."""
        operator = await self._operator()
        if verb is RolloutVerb.REDO:
            return await rollouts.redo(operator, name)
        return await rollouts.act(operator, verb, name)

    async def crashes(self, units: Collection[str], machines: Collection[str] = ()) -> Sequence[Crash]:
        """What agents kept of the newest failures of these units, and of all units on these machines."""
        operator = await self._operator()
        return await read_crashes(operator, (await newest_crashes(operator, units, machines)).values())

    async def content(self, kind: NeedKind, name: str, version: ConfigVersion) -> str:
        """What a version of a config or a secret holds, as stored."""
        return await configs.read_content(await self._operator(), kind, name, version)

    async def _operator(self) -> Operator:
        try:
            async with asyncio.timeout(NOT_YET_S):
                return await asyncio.shield(self._feed.operator)
        except TimeoutError:
            raise RegistryUnavailable("not connected to the registry yet; try again in a moment") from None


async def _each(things: Iterable[T], work: Callable[[T], Awaitable[machines.MachineChange]]) -> Changes:
    """One after the other, since each is a transaction of its own; what goes wrong with one stops no other."""
    changes, complaints = [], []
    for each in things:
        try:
            changes.append(await work(each))
        except FleetError as error:
            complaints.append(str(error))
    return changes, complaints


def run_record(settings: Settings, *, cluster: str, theme: str, at: str, directory: Path) -> None:
    """Show the console as it was at a moment of a record. UserError where nothing is known of that."""
    keymap = checked_keymap(settings.console.keymap, settings.source or "configuration")
    when = moment(at)
    collector.relax()
    if not in_browser(os.environ):
        ask_the_terminal(os.environ)

    async def play() -> None:
        replay = Replay.opened(directory, when)
        shown = FleetIdentity(cluster, replay.head.host, str(directory))
        context = Context(
            replay, NoPastPort(), NoPastJournals(), shown, replay.clock, keymap, read_only=True,
            keys=Keys(replay.head.prefix), hosts=NoPastHosts(), replay=replay,
            saved=NO_JOURNAL, trends=directory,
        )  # fmt: skip
        await show(Console(context, theme=choose_theme(theme, None, settings)))

    asyncio.run(play())


def run(settings: Settings, *, cluster: str, theme: str, read_only: bool, fresh: bool = False,
        stays_read_only: bool = False) -> None:  # fmt: skip
    """Show the console, of one fleet after the other, until it is left. UserError for a keymap that cannot be.

    `theme` "" is the one that was last chosen here, or configured. `fresh`: nothing is restored.
    `stays_read_only`: no fleet is changed, whatever its configuration says.
    """
    collector.relax()
    if not in_browser(os.environ):
        ask_the_terminal(os.environ)
    came_from, unit = "", ""
    while True:  # each fleet has a loop, a connection and a screen of its own: nothing of one is left for the next
        keymap = checked_keymap(settings.console.keymap, settings.source or "configuration")
        where = settings.source or "configuration"
        own: tuple[OwnCommand, ...] = ()
        if settings.console.commands:
            from fleettui.console.commandline import commands  # noqa: PLC0415 - loads fleetctl's grammar

            own = own_commands(settings.console.commands, keymap, commands.names_of_commands(), where)
        given = Opening(cluster, theme, keymap, read_only, fresh, stays_read_only, came_from, unit, own)
        following = asyncio.run(_run(settings, given))
        if following is None:
            return
        came_from, cluster, unit = cluster, following.name, following.unit
        settings, read_only = following.settings, following.settings.console.read_only


@dataclass(frozen=True, slots=True)
class Opening:
    """How a fleet is opened: what was asked for on the command line, and where the operator comes from."""

    cluster: str
    theme: str
    keymap: dict[str, str]
    read_only: bool
    fresh: bool
    stays_read_only: bool
    came_from: str
    unit: str
    commands: tuple[OwnCommand, ...]


def tone_of_fleet(cluster: str, known: Collection[str]) -> Tone:
    """The colour of a fleet's name: of those that are known, each has its own as far as there are colours."""
    names = sorted(known)
    number = names.index(cluster) if cluster in names else crc32(cluster.encode("utf-8", "replace"))
    return FLEET_TONES[number % len(FLEET_TONES)]


async def _run(settings: Settings, given: Opening) -> SwitchTo | None:
    cluster, read_only = given.cluster, given.read_only
    fleets: Callable[[], Mapping[str, Path]] = dict
    if not in_browser(os.environ):
        fleets = partial(known_fleets, os.environ)
    endpoint = settings.etcd.endpoints[0]
    feed = Live(lambda: open_operator(settings, warn=False), endpoint)
    user = settings.etcd.username or actor().partition("@")[0]
    tone = tone_of_fleet(cluster, fleets())
    shown = FleetIdentity(cluster, user, endpoint, settings.console.protected, tone=tone)
    store = StateStore(place(os.environ, cluster, endpoint, settings.etcd.prefix))
    saved, remark = (None, "") if given.fresh else store.recall()
    here = None if settings.ssh.tunnel else own_machine(settings.etcd, os.environ)
    pins = Pins(host_keys(os.environ), lambda: feed.cluster_id)
    trends: Path | None = None
    with suppress(UserError):  # the fleet is recorded elsewhere, or not at all
        trends = found_directory(None, os.environ)
    chosen: list[SwitchTo] = []  # the fleet to open next
    warned: list[Callable[[str], None]] = []  # who shows a warning, once there is a screen

    def on_first(line: str, warning: bool) -> None:  # noqa: FBT001 - a callback's
        for show in warned if warning else ():
            show(line)

    async with Remote(settings.ssh, here=here, pins=pins, on_first=on_first) as remote:
        port = LivePort(feed)
        context = Context(
            feed, port, LiveJournals(remote, port.crashes), shown, time.time, given.keymap, read_only,
            Keys.under(settings.etcd.prefix), history=store.history(), saved=saved, store=store,
            remark=remark, has_terminal=not in_browser(os.environ), hosts=LiveHosts(remote, read_only=read_only),
            expiring=Expiry(settings.etcd.cert_file, settings.etcd.ca_file),
            confirm_from=settings.console.confirm_from, losses=LossWatch(Keys.under(settings.etcd.prefix)),
            trends=trends, contents=port.content,
            fleets=fleets, came_from=given.came_from, unit=given.unit,
            commands=given.commands, stays_read_only=given.stays_read_only, open_next=chosen.append,
        )  # fmt: skip
        console = Console(context, theme=choose_theme(given.theme, saved, settings))
        warned.append(lambda line: console.warn("fleetctl ssh", line))
        await show(console)
    return chosen[-1] if chosen else None


async def show(console: Console) -> None:
    """Run it until it is left, told to leave, or without a terminal."""
    leave_when_told(console.exit)  # and leave the terminal as it was found
    leave_when_gone(console.exit, lambda: give_up(console))
    await console.run_async()


def choose_theme(asked: str, saved: SavedState | None, settings: Settings) -> str:
    """Asked for now, chosen in the console before, configured, dark: in this order."""
    chosen = saved.theme if saved and saved.theme in THEMES else ""
    return asked or chosen or settings.console.theme or "dark"


def ask_the_terminal(environ: MutableMapping[str, str]) -> None:
    """Let the terminal alone say how large it is: a size that some shell exported would overrule it for ever."""
    for name in ("COLUMNS", "LINES"):
        environ.pop(name, None)


def in_browser(environ: Mapping[str, str]) -> bool:
    """Whether a web server draws the screen, as `fleettui serve` and `textual serve` have it."""
    return "WebDriver" in environ.get("TEXTUAL_DRIVER", "")
