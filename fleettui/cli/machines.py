"""`fleetctl cordon`, `drain`, `uncordon`, `set-metadata`: what may be placed on machines; waiting for a drain."""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Mapping, Sequence

from fleettui.actions import machines as acts
from fleettui.actions import metadata, rollouts
from fleettui.actions.drain import is_global
from fleettui.actions.drain import plan as drain_plan
from fleettui.actions.operator import Operator
from fleettui.actions.reading import find_machine, read_machines, unread_machines
from fleettui.cli.connection import duration, open_operator, read_settings
from fleettui.cli.failures import CHANGES, FAILED, INTERRUPTED, OK, refuse_policy
from fleettui.cli.output import complain, say
from fleettui.cli.rollouts import policy_of, show_begun
from fleettui.cli.waiting import WATCHED, following
from fleettui.cli.words import place
from placement.preview import preview_drain
from registry.errors import UserError
from registry.keys import Keys, Table
from registry.mirror import Pair, Snapshot
from registry.model import Availability, Machine, effective_metadata
from registry.runtime import waits
from registry.sync.listing import read_snapshot
from registry.wording import counted

PLANNING = (*WATCHED, Table.FILES, Table.OVERRIDES, Table.PLACEMENTS)


async def cordon(flags: Namespace) -> int:
    """Place nothing new on machines."""
    return await _set(flags, Availability.CORDONED)


async def uncordon(flags: Namespace) -> int:
    """Use machines again."""
    return await _set(flags, Availability.READY)


async def drain(flags: Namespace) -> int:
    """Move away what can move, and wait for it unless --no-block."""
    seconds = duration(flags.timeout, "--timeout")
    refuse_policy(flags)
    async with open_operator(read_settings(flags, os.environ)) as operator:
        if flags.dry_run:
            return await _show_drain(operator, flags.names)
        if flags.at_a_time:
            return await drain_slowly(operator, flags)
        code, changed = await _set_all(operator, flags.names, Availability.DRAINING)
        if flags.no_block or not changed:
            return code
        revision = max(changed.values())
        try:
            async with waits.timeout(seconds):
                return await _drained(operator, list(changed), revision) or code
        except TimeoutError:
            complain(f"Error draining: not done after {seconds:g}s; it goes on by itself")
            return FAILED
        except waits.interruption():
            complain("Interrupted; the drain goes on. fleetctl uncordon ends it")
            return INTERRUPTED


async def _show_drain(operator: Operator, names: Sequence[str]) -> int:
    """Say what a drain of these machines together would move, and what stays; nothing is written."""
    snapshot = await read_snapshot(operator.etcd, operator.keys, PLANNING)
    machines, unread = snapshot.machines, unread_machines(operator.keys.parse(key) for key in snapshot.corrupt)
    chosen = [find_machine(name, machines, {*snapshot.overrides, *unread}, unread) for name in dict.fromkeys(names)]
    found = drain_plan(snapshot, chosen, operator.keys)
    for each in found:
        where = place(each.machine, machines)
        for move in each.moves:
            there = ", ".join(place(to, machines) for to in move.machines)
            say(f"Unit {move.unit} would go from {where} to {there}")
        for stuck in each.stuck:
            say(f"Unit {stuck.unit} stays on {where}, no other takes it: {stuck.summary}")
        for unit in each.stays:
            say(f"Unit {unit} stays on {where}: it is global")
    if not any(each.moves for each in found):
        say("Nothing would move")
        return OK
    return CHANGES


async def drain_slowly(operator: Operator, flags: Namespace) -> int:
    """Move units away a few at a time, each few once those before are well elsewhere: a rollout."""
    machines, overrides, unread = await read_machines(operator)
    chosen = [find_machine(each, machines, {*overrides, *unread}, unread) for each in dict.fromkeys(flags.names)]
    begun = await rollouts.begin_drain(operator, chosen, policy_of(flags), flags.name or "")
    for machine in chosen:
        say(f"Machine {place(machine, machines)} {Availability.DRAINING}")
    code = await show_begun(operator, begun, flags) if begun else OK
    return code if code or flags.no_block else await _drained(operator, chosen, 1)


async def set_metadata(flags: Namespace) -> int:
    """Set metadata of machines at run time, over their own."""
    return await _change_metadata(flags, *metadata.to_set(flags.names))


async def unset_metadata(flags: Namespace) -> int:
    """Leave metadata to a machine's own configuration again."""
    return await _change_metadata(flags, *metadata.to_unset(flags.names))


async def _change_metadata(flags: Namespace, names: Sequence[str], changes: Mapping[str, str | None]) -> int:
    code = OK
    async with open_operator(read_settings(flags, os.environ)) as operator:
        machines, overrides, unread = await read_machines(operator)
        for name in names:
            try:
                machine = find_machine(name, machines, {*overrides, *unread}, unread)
            except UserError as error:
                complain(f"Error: {error}")
                code = FAILED
                continue
            change = await acts.set_metadata(operator, machine, changes)
            known = machines.get(machine)
            now = effective_metadata(known, change.after) if known else dict(change.after.metadata)
            told = ",".join(f"{key}={value}" for key, value in sorted(now.items())) or "has no metadata"
            say(f"Machine {place(machine, machines)} {told}")
    return code


async def _set(flags: Namespace, availability: Availability) -> int:
    async with open_operator(read_settings(flags, os.environ)) as operator:
        return (await _set_all(operator, flags.names, availability))[0]


async def _set_all(operator: Operator, names: list[str], availability: Availability) -> tuple[int, dict[str, int]]:
    """Change every machine named; the exit code, and the revision of each change by machine id."""
    machines, overrides, unread = await read_machines(operator)
    code, changed = OK, {}
    for name in names:
        try:
            machine = find_machine(name, machines, {*overrides, *unread}, unread)
        except UserError as error:
            complain(f"Error: {error}")
            code = FAILED
            continue
        changed[machine] = (await acts.set_availability(operator, machine, availability)).revision
        say(f"Machine {place(machine, machines)} {availability}")
    return code, changed


async def _drained(operator: Operator, machines: list[str], revision: int) -> int:
    """Wait until only what cannot move is left on the machines; say what goes and what stays."""
    drain = DrainProgress(frozenset(machines), operator.keys)
    async with following(operator, (*WATCHED, Table.FILES, Table.OVERRIDES)) as follower:
        while not drain.done:
            await follower.next()
            snapshot = follower.mirror.snapshot()
            if snapshot.revision >= max(revision, 1):
                for line in drain.update(snapshot):
                    say(line)
    for line in drain.stays():
        complain(line)
    return FAILED if drain.stuck or drain.lost else OK


class DrainProgress:
    """What is left on draining machines, snapshot by snapshot. Pure.

    Global units belong to their machine and are not counted; a unit that no other machine takes is stuck.
    """

    def __init__(self, machines: frozenset[str], keys: Keys) -> None:
        self.done = False
        self.stuck: dict[Pair, str] = {}
        self.lost: dict[str, int] = {}  # machines that vanished, with the number of units that had not left
        self._machines, self._keys = machines, keys
        self._left: set[Pair] = set()
        self._known: dict[str, Machine] = {}

    def update(self, snapshot: Snapshot) -> list[str]:
        """Take a snapshot in; the lines that tell what left since the one before."""
        for machine in self._machines:  # one that vanishes takes its states along: nothing says that units stopped
            if machine in snapshot.machines:
                self.lost.pop(machine, None)
            elif machine not in self._known or not self._known[machine].leaving:
                self.lost.setdefault(machine, sum(each == machine for each, _ in self._left))
        self._known.update(snapshot.machines)
        left = {
            (machine, unit)
            for machine, unit in (*snapshot.schedule, *snapshot.states)
            if machine in self._machines and not is_global(snapshot, unit)
        }
        gone = sorted(pair for pair in self._left - left if pair[0] not in self.lost)
        self._left = left
        predicted = preview_drain(snapshot, self._machines & snapshot.machines.keys(), self._keys)
        self.stuck = {
            (machine, each.unit): each.summary
            for machine, found in predicted.items()
            for each in found
            if not each.machines
        }
        self.done = left <= self.stuck.keys()
        lines = [f"Unit {unit} left {place(machine, self._known)}" for machine, unit in gone]
        if self.done:
            busy = {machine for machine, _ in self.stuck} | self.lost.keys()
            lines += [f"Machine {place(each, self._known)} drained" for each in sorted(self._machines - busy)]
        return lines

    def stays(self) -> list[str]:
        """The lines that tell what cannot move, and why."""
        lines = []
        for machine, number in sorted(self.lost.items()):
            where = place(machine, self._known)
            told = "is lost; what it still runs is not known"
            if number:
                told = f"was lost; {counted(number, 'unit')} had not left and may run there until it is back"
            lines.append(f"Error draining: {where} {told}")
        return lines + [
            f"Error draining: unit {unit} stays on {place(machine, self._known)}, no other takes it: {reason}"
            for (machine, unit), reason in sorted(self.stuck.items())
        ]
