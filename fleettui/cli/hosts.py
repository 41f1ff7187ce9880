"""`fleetctl status` and `ssh`: what is seen and done on the machines themselves, over SSH.

Owns the choice of the machine; how machines are reached lies in `fleettui.remote`. What a machine prints reaches a
terminal only with its control characters made visible, colours apart.
"""

from __future__ import annotations

import os
import re
import sys
from argparse import Namespace
from collections.abc import Iterable

from fleettui.actions.crashes import failure_of, newest_crashes, read_crashes, what_is_kept
from fleettui.actions.operator import Operator
from fleettui.actions.reading import find_machine, unread_machines
from fleettui.cli.cat import unit_name, unit_names
from fleettui.cli.connection import open_operator, read_settings
from fleettui.cli.failures import FAILED, OK, UsageError
from fleettui.cli.output import complain, say
from fleettui.cli.places import PLACES, UnitPlaces, places
from fleettui.cli.words import place
from fleettui.escape import escape_keeping_colours
from fleettui.remote import (
    Pins,
    Remote,
    RemoteError,
    own_machine,
    pins,
)
from registry.errors import UserError
from registry.keys import Keys
from registry.mirror import Snapshot
from registry.model import Machine
from registry.program.config import Settings
from registry.sync.listing import read_snapshot

_LINK = re.compile(r"\x1b\]8;[^\x07\x1b]*(?:\x07|\x1b\\)")


async def status(flags: Namespace) -> int:
    """Print `systemctl status` of each unit from each of its machines; the highest exit status of them."""
    settings = read_settings(flags, os.environ)
    async with open_operator(settings) as operator:
        found = await find_places(operator, flags.names)
        kept = await read_crashes(operator, (await newest_crashes(operator, found.complaints)).values())
    code = complain_of(found)
    for each in kept:
        complain(f"{each.unit} {failure_of(each)}; {what_is_kept(each)}: fleetctl journal {each.unit}")
    async with remote_of(settings, found.snapshot) as remote:
        for number, source in enumerate(found.sources):
            if number:
                print()
            if len(found.sources) > 1:
                say(f"{source.unit} on {place(source.machine.id, found.snapshot.machines)}")
            state = found.snapshot.states.get((source.machine.id, source.unit))
            if state is not None and state.health:
                say(f"Health check: {state.health}" + (f" ({state.sickness})" if state.sickness else ""))
            try:
                done = await remote.unit_status(source.machine, source.unit, colour=sys.stdout.isatty())
            except RemoteError as error:
                complain(f"Error: {error}")
                code = max(code, FAILED)
                continue
            print_from_machine(done.stdout.decode("utf-8", "replace"))
            complain_from_machine(done.stderr)
            code = max(code, done.status)
    return code


async def ssh(flags: Namespace) -> int:
    """A shell or a command on a machine; its exit status."""
    if flags.forget_key is not None:
        forgotten = pins.forget(pins.directory(os.environ), flags.forget_key.removesuffix("..."))
        if not forgotten:
            name = repr(flags.forget_key)
            raise UserError(f"no host key is pinned for {name}; give the machine's id, or the name it had")
        for pin in forgotten:
            say(f"Forgot the host key of {pin.names[0] if pin.names else 'machine'} ({pin.machine}): {pin.key}")
        return OK
    settings = read_settings(flags, os.environ)
    if flags.machine and flags.unit:
        raise UsageError("--machine and --unit exclude each other; give one of them")
    words = flags.rest[1:] if flags.rest[:1] == ["--"] else flags.rest
    wanted, command = (None, words) if flags.machine or flags.unit else (words[:1], words[1:])
    if wanted == []:
        raise UsageError("no machine is given; name a machine or a unit", "see: fleetctl ssh --help")
    async with open_operator(settings) as operator:
        snapshot = await read_snapshot(operator.etcd, operator.keys, PLACES)
    unread = unread_machines(map(Keys.under(settings.etcd.prefix).parse, snapshot.corrupt))
    machine = _chosen(snapshot, flags, wanted[0] if wanted else "", unread)
    command = command[1:] if command[:1] == ["--"] else command
    async with remote_of(settings, snapshot, tell=True) as remote:
        return await remote.interactive(machine, command, forward_agent=flags.forward_agent)


def remote_of(settings: Settings, snapshot: Snapshot, *, tell: bool = False) -> Remote:
    """The machines, as this operator reaches them. `tell`: also of host keys that are pinned as they should be."""

    def on_first(line: str, warning: bool) -> None:  # noqa: FBT001 - a callback's
        if warning or tell:
            complain(f"Warning: {line}" if warning else line)

    cluster = snapshot.cluster.id if snapshot.cluster else ""
    here = None if settings.ssh.tunnel else own_machine(settings.etcd, os.environ)
    kept = Pins(pins.directory(os.environ), lambda: cluster)
    return Remote(settings.ssh, here=here, pins=kept, on_first=on_first)


def _chosen(snapshot: Snapshot, flags: Namespace, word: str, unread: set[str]) -> Machine:
    """The machine that a flag or a word names. UserError where the word could be a machine and a unit."""
    if flags.machine:
        return snapshot.machines[find_machine(flags.machine, snapshot.machines, unread=unread)]
    if flags.unit:
        return _machine_of(snapshot, unit_name(flags.unit))
    try:
        name = unit_name(word)
    except UserError:
        name = ""
    try:
        machine = snapshot.machines[find_machine(word, snapshot.machines, unread=unread)]
    except UserError:
        if name in snapshot.units:
            return _machine_of(snapshot, name)
        raise
    if name in snapshot.units:
        raise UserError(f"{word!r} is a machine and a unit; say --machine={word} or --unit={name}")
    return machine


def _machine_of(snapshot: Snapshot, name: str) -> Machine:
    found = places(snapshot, [name])
    if found.complaints:
        raise UserError("; ".join(found.complaints.values()))
    if len(found.sources) > 1:
        names = ", ".join(source.machine.hostname for source in found.sources[:5])
        raise UserError(f"unit {name} runs on {len(found.sources)} machines ({names}); say --machine=ID")
    return found.sources[0].machine


async def find_places(operator: Operator, arguments: Iterable[str]) -> UnitPlaces:
    """Where the units are that the command line names. UserError for a name that is none."""
    names = await unit_names(operator, arguments, running=True)
    return places(await read_snapshot(operator.etcd, operator.keys, PLACES), names)


def complain_of(found: UnitPlaces) -> int:
    """Print what is to be said of units that are nowhere; FAILED if there is anything wrong with them."""
    for complaint in found.complaints.values():
        complain(complaint)
    for note in found.notes:
        complain(note)
    return FAILED if found.complaints else OK


def print_from_machine(text: str) -> None:
    """Text of a machine: as it is when piped, with nothing but colours left to act on a terminal."""
    if not sys.stdout.isatty():
        print(text, end="")
        return
    print(escape_keeping_colours(_LINK.sub("", text)), end="")


def complain_from_machine(data: bytes) -> None:
    """A machine's standard error on ours."""
    if data.strip():
        complain(data.decode("utf-8", "replace").rstrip())
