"""`fleetctl restore`: what going by a restored registry, or by a backup, would change; and going by it.

Owns the order of what an operator sees: what changes, the question, and only then the change. Both forms end in the
same acceptance; a backup is written into the registry before it.
"""

from __future__ import annotations

import asyncio
import os
import sys
from argparse import Namespace
from collections.abc import Iterable, Mapping
from pathlib import Path

from fleettui.actions.backup import read_file
from fleettui.actions.operator import Operator
from fleettui.actions.restore import Restoration, accept, held, read_restoration
from fleettui.actions.restore_file import FileRestoration, add_rest, begin, read_file_restoration
from fleettui.actions.restore_file import restore as write_backup
from fleettui.cli.backup import RETURN_S, kinds_of, tell_odd
from fleettui.cli.connection import open_operator, read_settings
from fleettui.cli.failures import FAILED, OK, UsageError
from fleettui.cli.output import agreed, complain, say
from fleettui.cli.waiting import following
from fleettui.cli.words import local_time, place, short_id
from registry.errors import UserError
from registry.keys import Table
from registry.model import Machine
from registry.wording import counted

NAMED = 10  # so many machines are called by their names
PATIENCE_S = 20.0  # for machines to say that they hold, and after that for them to go on


async def restore(flags: Namespace) -> int:
    """Show what accepting the registry's history, or going by a backup, changes; and do it."""
    if flags.file is not None:
        return await _restore_file(flags)
    if flags.yes and not flags.accept:
        raise UsageError("--yes says yes to --accept", "see: fleetctl restore --help")
    async with open_operator(read_settings(flags, os.environ), warn=False) as operator:
        found = await read_restoration(operator)
        if not found.held:
            say("The registry's history is not in doubt; there is nothing to accept")
            if flags.accept:
                say("If etcd was restored a moment ago, machines may not have read it yet: look again soon")
            return OK
        if found.silent:
            silent = ", ".join(place(each, found.snapshot.machines) for each in found.silent)
            complain(f"Waiting for {silent} to say what runs there")
            await _all_hold(operator, (), PATIENCE_S)
            found = await read_restoration(operator)
        for line in story(found):
            say(line)
        if found.unfinished and not flags.force:
            raise UserError(
                f"a backup ({found.unfinished[:12]}) is only partly there: run fleetctl restore FILE with it"
                " again, and it goes on; or go by what is there with --accept --force"
            )
        if not flags.accept:
            force = " --force" if found.silent else ""
            say(f"Everything is held until somebody accepts this: fleetctl restore --accept{force}")
            return OK
        _refuse_silent(found.silent, {}, found, force=flags.force)
        if not flags.yes and not agreed("Accept?"):
            complain("Nothing was accepted")
            return FAILED
        epoch = await accept(operator, found)
        say(f"Accepted, epoch {epoch}")
        return await _goes_on(operator)


async def _restore_file(flags: Namespace) -> int:
    backup = read_file(Path(flags.file))
    writes = flags.accept or flags.yes or sys.stdin.isatty()
    async with open_operator(read_settings(flags, os.environ), warn=False) as operator:
        found = await read_file_restoration(operator, backup, force=flags.force)
        say(
            f"Backup of cluster {backup.cluster} from {local_time(backup.at)}, revision {backup.revision}:"
            f" {kinds_of(backup.counts)}"
        )
        tell_odd(backup)
        if found.begins:
            if found.replaces:
                complain(f"In its place another cluster was begun since, {found.replaces}, which has no unit")
            if not writes:
                say("The registry is empty, and no machine has said what runs; see what changes, and be asked:")
                say(f"  fleetctl restore --accept {flags.file}")
                return OK
            complain("The registry is empty: it is told which cluster it is, and that everything is held")
            await begin(operator, found)
            found = await read_file_restoration(operator, backup, force=flags.force)
        if found.awaited or found.after.silent:
            silent = (*found.awaited, *found.after.silent)
            names = _named(silent, backup.machines, found.after.snapshot.machines)
            complain(f"Waiting for {names} to say what runs there")
            await _all_hold(operator, found.awaited, RETURN_S)
            found = await read_file_restoration(operator, backup, force=flags.force)
        for line in file_story(found):
            say(line)
        if not writes:
            say(f"Nothing was written. To restore it: fleetctl restore --accept {flags.file}")
            return OK
        _refuse_silent((*found.awaited, *found.after.silent), backup.machines, found.after, force=flags.force)
        if not flags.yes and not agreed("Restore this?"):
            complain(
                "Nothing was restored; everything is held as it is" if found.after.held else "Nothing was restored"
            )
            return FAILED
        epoch = await write_backup(operator, found)
        say(f"Restored and accepted, epoch {epoch}")
        for kind, reason in (await add_rest(operator, found)).items():
            complain(f"Without its {kind}: {reason}")
        return await _goes_on(operator)


def story(found: Restoration) -> Iterable[str]:
    """Why everything is held, and what accepting changes, a line for each unit."""
    yield f"{found.held[:1].upper()}{found.held[1:]}"
    machines = found.snapshot.machines
    names = ", ".join(sorted(each.hostname for each in machines.values())) if len(machines) <= NAMED else ""
    are = "is" if len(machines) == 1 else "are"
    yield (
        f"{counted(len(machines), 'machine')} {are} there{f' ({names})' if names else ''};"
        " what runs on any other one is not known, and would run twice"
    )
    yield from _effects(found, "Accepting it")


def file_story(found: FileRestoration) -> Iterable[str]:
    """What restoring a backup writes, and what that changes, a line for each unit."""
    gone = sum(value is None for value in found.writes.values())
    removed = f", and removes {gone}" if gone else ""
    yield f"Restoring it writes {counted(len(found.writes) + len(found.rest) - gone, 'record')}{removed}"
    if found.kept:
        kinds = ", ".join(f"{kind} ({count})" for kind, count in found.kept.items())
        yield f"Left alone, as the backup does not have them and this version does not know them: {kinds}"
    yield from _effects(found.after, "Restoring it")


def _effects(found: Restoration, doing: str) -> Iterable[str]:
    machines = found.snapshot.machines
    if found.changes:
        yield f"{doing} changes {counted(len(found.changes), 'unit')}; everything else stays as it is:"
    else:
        yield f"{doing} changes nothing that runs"
    for each in found.changes:
        from_ = f" from {place(each.source, machines)} to" if each.source else " on"
        yield f"  {each.verb} {each.unit}{from_} {place(each.machine, machines)} ({each.reason})"
    for rollout in found.rollouts:
        yield f"Rollout {rollout.name} is paused"
    if found.waiting:
        yield f"{counted(len(found.waiting), 'unit')} will be on no machine:"
    for name, reason in found.waiting.items():
        yield f"  {name} ({reason})"


def _refuse_silent(silent: Iterable[str], names: Mapping[str, str], found: Restoration, *, force: bool) -> None:
    told = _named(silent, names, found.snapshot.machines)
    if told and not force:
        raise UserError(
            f"{told} did not say what runs there, so it could run twice: start or upgrade the agent there, or"
            " accept all the same with --force"
        )


def _named(machines: Iterable[str], names: Mapping[str, str], live: Mapping[str, Machine]) -> str:
    return ", ".join(
        place(each, live) if each in live or each not in names else f"{names[each]} ({short_id(each)})"
        for each in machines
    )


async def _all_hold(operator: Operator, awaited: Iterable[str], within_s: float) -> None:
    """Wait until every live machine says that it holds, those that are awaited too; or for some time."""
    try:
        async with asyncio.timeout(within_s), following(operator, (Table.CLUSTER, Table.MACHINES)) as follower:
            while True:
                snapshot = follower.mirror.snapshot()
                there = {*awaited} <= snapshot.machines.keys()
                if snapshot.revision and there and all(each.held for each in snapshot.machines.values()):
                    return
                await follower.next()
    except TimeoutError:
        return


async def _goes_on(operator: Operator) -> int:
    """Wait until no machine holds any more."""
    try:
        async with asyncio.timeout(PATIENCE_S), following(operator, (Table.CLUSTER, Table.MACHINES)) as follower:
            while not follower.mirror.snapshot().revision or held(follower.mirror.snapshot()):
                await follower.next()
    except TimeoutError:
        complain("Some machines still hold everything; see: fleetctl list-machines --fields machine,hostname,state")
        return FAILED
    say("Every machine goes by it")
    return OK
