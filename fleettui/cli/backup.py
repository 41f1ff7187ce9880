"""`fleetctl backup`: what of the registry is not leased, into a file that `fleetctl restore` takes.

With --rebuild the file is made of what the machines hold, over SSH, where the registry and its backups are lost.
"""

from __future__ import annotations

import asyncio
import os
import sys
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path

from fleettui.actions.backup import Backup, lines_of, read_registry, write_file
from fleettui.actions.operator import Operator
from fleettui.actions.rebuild import backup_of, begin_again, is_text_of, lost_units, read_running, sources_of
from fleettui.cli.connection import open_operator, read_settings
from fleettui.cli.failures import OK
from fleettui.cli.hosts import remote_of
from fleettui.cli.output import complain
from fleettui.cli.waiting import following
from fleettui.remote import Remote
from registry.errors import FleetError, UserError
from registry.keys import Table
from registry.mirror import Pair
from registry.model import Machine
from registry.program.config import Settings
from registry.units.name import is_quadlet, service_of
from registry.wording import counted, listed

STDOUT = "-"
SHOWN = 5
SIDE_BY_SIDE = 8
RETURN_S = 45.0  # for machines to come back to a registry that was empty: they look every half a minute
KINDS = {"files": "unit file", "units": "unit", "events": "event", "overrides": "override", "crashes": "crash"}


async def backup(flags: Namespace) -> int:
    """Write a backup to a file, or to standard output."""
    if flags.file == STDOUT and sys.stdout.isatty():
        raise UserError("standard output is a terminal; give a file, or send it through a pipe")
    settings = read_settings(flags, os.environ)
    async with open_operator(settings, warn=not flags.rebuild) as operator:
        if flags.rebuild:
            found = await _rebuilt(operator, settings, flags)
        else:
            found = await read_registry(operator)
    if flags.file == STDOUT:
        sys.stdout.buffer.writelines(lines_of(found))
        sys.stdout.buffer.flush()
    else:
        write_file(Path(flags.file), lines_of(found))
    where = "" if flags.file == STDOUT else f" to {flags.file}"
    complain(f"Backed up cluster {found.cluster} at revision {found.revision}{where}: {kinds_of(found.counts)}")
    tell_odd(found)
    return OK


async def _rebuilt(operator: Operator, settings: Settings, flags: Namespace) -> Backup:
    await begin_again(operator, flags.rebuild)
    complain("The registry is empty: it is told which cluster it is, and that everything is held")
    wanted = f"{flags.machines} machines" if flags.machines else f"{RETURN_S:g} s"
    complain(f"Waiting {wanted} for machines to come back")
    await _come_back(operator, flags.machines)
    snapshot = await read_running(operator)
    complain(f"Back: {', '.join(sorted(each.hostname for each in snapshot.machines.values())) or 'no machine'}")
    texts: dict[str, bytes] = {}
    gate = asyncio.Semaphore(SIDE_BY_SIDE)

    async def read(hash_: str, sources: Sequence[Pair]) -> None:
        for machine, unit in sources:
            text, trouble = await _text(remote, snapshot.machines[machine], unit, gate, sudo=flags.sudo)
            if is_text_of(text, hash_):
                texts[hash_] = text
                return
            complain(trouble or f"{unit} on {snapshot.machines[machine].hostname} is not the file that was applied")

    sources = sources_of(snapshot)
    async with remote_of(settings, snapshot) as remote:
        await asyncio.gather(*(read(*each) for each in sources.items()))
    if missing := lost_units(snapshot, sources.keys() - texts.keys()):
        complain(f"Without the units whose text was found nowhere: {listed(missing, SHOWN)}")
    return backup_of(snapshot, texts, operator.now())


async def _come_back(operator: Operator, count: int) -> None:
    """Wait until so many machines hold what they run (0: for as long as they may take)."""
    try:
        async with asyncio.timeout(RETURN_S), following(operator, (Table.CLUSTER, Table.MACHINES)) as follower:
            while True:
                machines = follower.mirror.snapshot().machines.values()
                if count and sum(bool(each.held) for each in machines) >= count:
                    return
                await follower.next()
    except TimeoutError:
        return


async def _text(
    remote: Remote, machine: Machine, unit: str, gate: asyncio.Semaphore, *, sudo: bool
) -> tuple[bytes, str]:
    """The unit's file there, or why it cannot be read."""
    user = "--user" if machine.bus == "user" else "--system"
    script = 'cat -- "$(systemctl "$1" show -P "$3" -- "$2")"'
    path = "SourcePath" if is_quadlet(unit) else "FragmentPath"
    try:
        async with gate:
            done = await remote.run(machine, ["sh", "-c", script, "sh", user, service_of(unit), path], sudo=sudo)
    except FleetError as error:
        return b"", str(error)
    return done.stdout, done.stderr.decode("utf-8", "replace").strip() if done.status else ""


def kinds_of(counts: Mapping[str, int]) -> str:
    """How many records of each kind, in words; what belongs to the registry itself is not told."""
    told = [counted(count, KINDS[kind]) for kind, count in counts.items() if kind in KINDS]
    return ", ".join(told) or "no unit"


def tell_odd(found: Backup) -> None:
    """Name what this version does not know or cannot read: it is kept as it lies."""
    if found.unknown:
        kinds = ", ".join(f"{kind} ({count})" for kind, count in found.unknown.items())
        complain(f"Kept as they are, as this version does not know them: {kinds}")
    if found.corrupt:
        complain(f"Kept as they are, though they do not parse: {listed(sorted(found.corrupt), SHOWN)}")
