"""`fleetctl restore`: what a registry whose history went back would change, and accepting it."""

from __future__ import annotations

import asyncio
import os
import sys
from argparse import Namespace
from collections.abc import Iterable

from fleettui.actions.operator import Operator
from fleettui.actions.restore import Restoration, accept, held, read_restoration
from fleettui.cli.connection import open_operator, read_settings
from fleettui.cli.failures import FAILED, OK, UsageError
from fleettui.cli.output import complain, say
from fleettui.cli.waiting import following
from fleettui.cli.words import counted, place
from registry.errors import UserError
from registry.keys import Table
from registry.mirror import Snapshot

PATIENCE_S = 20.0  # for machines to say that they hold, and after that for them to go on


async def restore(flags: Namespace) -> int:
    """Show what accepting the registry's history changes; with --accept do it."""
    if flags.yes and not flags.accept:
        raise UsageError("--yes says yes to --accept", "see: fleetctl restore --help")
    async with open_operator(read_settings(flags, os.environ), warn=False) as operator:
        found = await read_restoration(operator)
        if not found.held:
            say("The registry's history is not in doubt; there is nothing to accept")
            return OK
        if found.silent:
            complain(f"Waiting for {_places(found.silent, found.snapshot)} to say what runs there")
            found = await _all_hold(operator)
        for line in story(found):
            say(line)
        if not flags.accept:
            force = " --force" if found.silent else ""
            say(f"Everything is held until somebody accepts this: fleetctl restore --accept{force}")
            return OK
        if found.silent and not flags.force:
            raise UserError(
                f"{_places(found.silent, found.snapshot)} did not say what runs there, so it could run twice: start"
                " or upgrade the agent there, or accept all the same with --force"
            )
        if not flags.yes and not _agreed():
            complain("Nothing was accepted")
            return FAILED
        epoch = await accept(operator, found)
        say(f"Accepted, epoch {epoch}")
        return await _goes_on(operator)


def story(found: Restoration) -> Iterable[str]:
    """Why everything is held, and what accepting changes, a line for each unit."""
    yield f"{found.held[:1].upper()}{found.held[1:]}"
    if not found.changes:
        yield "Accepting it changes nothing that runs"
        return
    yield f"Accepting it changes {counted(len(found.changes), 'unit')}; everything else stays as it is:"
    for each in found.changes:
        where = (
            place(each.machine, found.snapshot.machines) if each.machine else "a machine of the scheduler's choice"
        )
        yield f"  {each.verb} {each.unit} on {where} ({each.reason})"


def _agreed() -> bool:
    if not sys.stdin.isatty():
        raise UserError("accepting wants a yes, and there is no terminal to ask at: add --yes")
    sys.stderr.write("Accept? Type yes: ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() == "yes"


async def _all_hold(operator: Operator) -> Restoration:
    """What the registry holds once every live machine says that it holds, or after some time."""
    try:
        async with asyncio.timeout(PATIENCE_S), following(operator, (Table.CLUSTER, Table.MACHINES)) as follower:
            while True:
                snapshot = follower.mirror.snapshot()
                if snapshot.revision and all(each.held for each in snapshot.machines.values()):
                    break
                await follower.next()
    except TimeoutError:
        pass
    return await read_restoration(operator)


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


def _places(machines: Iterable[str], snapshot: Snapshot) -> str:
    return ", ".join(place(each, snapshot.machines) for each in machines)
