"""`fleetctl journal`: the journals of units from every machine where they ran and that answers, as one stream.

What agents kept of failures stands in for machines that do not answer, marked, each line where its time is.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from argparse import Namespace
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace

from fleettui.actions.crashes import entries, failure_of, newest_crashes, read_crashes, what_is_kept
from fleettui.actions.reading import events_of
from fleettui.cli.connection import open_operator, read_settings
from fleettui.cli.failures import FAILED, OK, UsageError
from fleettui.cli.hosts import complain_of, find_places, remote_of
from fleettui.cli.output import complain
from fleettui.cli.places import PLACES, MoveTracker, UnitPlaces, host_names, places, present, with_past
from fleettui.cli.words import local_time
from fleettui.escape import clause, escape
from fleettui.remote import (
    CommandTimeout,
    JournalEntry,
    JournalQuery,
    JournalStream,
    LinkState,
    Remote,
    format_short,
)
from registry.errors import FleetError, first_cause
from registry.keys import Address
from registry.mirror import Pair
from registry.model import Machine
from registry.program.config import Settings
from registry.sync.follow import ConnectionState, Follower

KEPT = "(kept)"
PAST_S = 3.0  # how long a machine where units were before may take to answer
MOST_LINES = 2**31 - 1  # that journalctl takes
MERGED = ("short", "cat", "json")  # formats that lines of several machines can be told apart and ordered in


async def journal(flags: Namespace) -> int:
    """Print the journals of units, merged by time."""
    if flags.lines > MOST_LINES:
        raise UsageError(f"--lines: expected {MOST_LINES} at most; use --since for all from a time on")
    settings = read_settings(flags, os.environ)
    async with open_operator(settings) as operator:
        found = await find_places(operator, flags.names)
        crashes = await newest_crashes(operator, found.names)
        found = with_past(found, await events_of(operator, found.names), reversed(crashes))
    code = complain_of(found)
    async with remote_of(settings, found.snapshot) as remote:
        if flags.output not in MERGED:
            return (await _as_is(remote, found, flags) if found.sources else OK) or code
        found, silent = await _answering(remote, found)
        kept = await _kept(settings, found, crashes, flags.lines)
        if not found.sources and not (flags.follow and not found.complaints):
            _print_entries(kept, flags.output, {})
            return silent or code
        return await _merged(remote, found, flags, settings, kept) or silent or code


async def _kept(
    settings: Settings, found: UnitPlaces, crashes: Mapping[Pair, Address], lines: int
) -> list[JournalEntry]:
    """What was kept of failures on machines that do not answer, marked, by time."""
    asked = {(source.machine.id, source.unit) for source in found.sources}
    lost = [address for pair, address in crashes.items() if pair not in asked]
    if not lost:
        return []
    async with open_operator(settings, warn=False) as operator:
        records = await read_crashes(operator, lost)
    for each in records:
        mark = f"; they are marked {KEPT}" if each.lines else ""
        complain(f"{each.unit} {failure_of(each)} at {local_time(each.failed_at)}; {what_is_kept(each)}{mark}")
    marked = [
        replace(entry, hostname=f"{entry.hostname}{KEPT}", fields=_fields(entry))
        for each in records
        for entry in entries(each)[max(0, len(each.lines) - lines) :]
    ]
    return sorted(marked, key=lambda entry: entry.at)


def _fields(entry: JournalEntry) -> dict[str, str]:
    """What journalctl would print, as far as it is kept; for programs."""
    known = {"MESSAGE": entry.message, "PRIORITY": str(entry.priority), "SYSLOG_IDENTIFIER": entry.identifier}
    known |= {"_HOSTNAME": entry.hostname, "UNIT": entry.unit, "__REALTIME_TIMESTAMP": str(entry.at)}
    return {**known, "FLEET_KEPT": "1"} | ({"_PID": str(entry.pid)} if entry.pid else {})


def _print_entries(batch: Iterable[JournalEntry], output: str, hosts: Mapping[str, str]) -> None:
    for entry in batch:
        kept = not entry.cursor
        print(_FORMS[output](entry if kept else replace(entry, hostname=hosts.get(entry.machine, entry.hostname))))


async def _answering(remote: Remote, found: UnitPlaces) -> tuple[UnitPlaces, int]:
    """Leave out the machines where units were before and that do not answer soon; FAILED when lines are missing."""

    async def why_silent(machine: Machine) -> str:
        """Why it does not answer; "" when it does. The connection is kept for what follows."""
        try:
            await remote.run(machine, ["true"], timeout_s=PAST_S)
        except CommandTimeout:
            return f"cannot reach {machine.hostname} ({machine.address}): no answer within {PAST_S:g} s"
        except FleetError as error:
            return clause(str(error))
        return ""

    now = {source.machine.id for source in present(found)}
    before = {source.machine.id: source.machine for source in found.sources if source.machine.id not in now}
    errors = await asyncio.gather(*(why_silent(machine) for machine in before.values()))
    silent = {id_: error for id_, error in zip(before, errors, strict=True) if error}
    code = OK
    for id_, error in silent.items():
        if id_ in found.guesses:
            complain(f"{error}; whether a unit ran there is not known")
        else:
            complain(f"Error: {error}; what was written there is missing")
            code = FAILED
    return replace(found, sources=tuple(each for each in found.sources if each.machine.id not in silent)), code


def _query(flags: Namespace) -> JournalQuery:
    return JournalQuery(
        lines=flags.lines,
        follow=flags.follow,
        since=flags.since or "",
        sudo=flags.sudo,
        all_fields=flags.output == "json",
    )


async def _merged(
    remote: Remote, found: UnitPlaces, flags: Namespace, settings: Settings, kept: list[JournalEntry]
) -> int:
    """Print the journals as they come; what was `kept` stands where its time is."""
    lost: set[str] = set()
    old = deque(kept)

    def tell(machine: Machine, state: LinkState, reason: str) -> None:
        if state is LinkState.LOST:
            lost.add(machine.id)
            complain(f"Error: {reason or f'lost {machine.hostname}'}")
        elif state is LinkState.UP and machine.id in lost:
            lost.discard(machine.id)
            complain(f"{machine.hostname} is back")
        elif state is LinkState.LEFT:
            lost.discard(machine.id)

    hosts = host_names(found.sources)
    stream = remote.journal_stream(found.sources, _query(flags), tell)
    async with _moving(settings, found, stream, follow=flags.follow), aclosing(stream.batches()) as batches:
        async for batch in batches:
            for entry in batch:
                while old and old[0].at <= entry.at:
                    _print_entries([old.popleft()], flags.output, hosts)
                _print_entries([entry], flags.output, hosts)
            if flags.follow:
                _print_entries(old, flags.output, hosts)  # what comes now is newer
                old.clear()
                sys.stdout.flush()
    _print_entries(old, flags.output, hosts)
    return FAILED if lost else OK


@asynccontextmanager
async def _moving(
    settings: Settings, found: UnitPlaces, stream: JournalStream, *, follow: bool
) -> AsyncIterator[None]:
    """While following, let the stream go where the units go."""
    if not follow:
        yield
        return
    task = asyncio.create_task(_keep_up(settings, found, stream), name="follow moves")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _keep_up(settings: Settings, found: UnitPlaces, stream: JournalStream) -> None:
    sources, moves = found.sources, MoveTracker(found.snapshot, found.names)
    try:
        async with open_operator(settings) as operator:
            follower = Follower(operator.etcd, operator.keys, tables=PLACES, pinned=False)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(follower.run(), name="follow the registry")
                while True:
                    update = await follower.next()
                    if update.link is not ConnectionState.LIVE:
                        continue  # what is not known changes nothing
                    snapshot = follower.mirror.snapshot()
                    for line in moves.news(snapshot):
                        complain(line)
                    now = places(snapshot, found.names).sources
                    if now != sources:
                        sources = now
                        stream.retarget(now)
    except* FleetError as errors:
        complain(f"Error: units that move are no longer followed: {first_cause(errors)}")


def _as_json(entry: JournalEntry) -> str:
    return json.dumps({**(entry.fields or {}), "FLEET_MACHINE": entry.machine})


_FORMS = {"short": format_short, "cat": lambda entry: escape(entry.message, lines=True), "json": _as_json}


async def _as_is(remote: Remote, found: UnitPlaces, flags: Namespace) -> int:
    sources = present(found) or found.sources
    machines = {source.machine.id: source.machine for source in sources}
    others = sorted({source.machine.hostname for source in found.sources if source.machine.id not in machines})
    if others and not found.guesses:
        complain(f"not shown, as --output={flags.output} cannot be merged: what was written on {', '.join(others)}")
    if len(machines) > 1:
        formats = ", ".join(MERGED)
        raise UsageError(f"--output={flags.output} cannot be merged from {len(machines)} machines; use {formats}")
    machine = next(iter(machines.values()))
    lines: AsyncGenerator[str, None] = remote.journal_text(
        machine, [source.unit for source in sources], _query(flags), flags.output
    )
    async with aclosing(lines):
        async for line in lines:
            print(escape(line) if sys.stdout.isatty() else line, flush=flags.follow)
    return OK
