"""`fleetctl plan`: which units would wait if machines were lost, by the rules that decide."""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Mapping

from fleettui.actions.reading import find_machine, unread_machines
from fleettui.cli.connection import open_operator, read_settings
from fleettui.cli.failures import CHANGES, OK
from fleettui.cli.output import print_json, say
from fleettui.cli.waiting import WATCHED
from fleettui.cli.words import place
from placement.preview import Loss, preview_without
from registry.errors import UserError
from registry.keys import Table
from registry.model import Machine
from registry.sync.listing import read_snapshot
from registry.wording import counted, listed

TABLES = (*WATCHED, Table.FILES, Table.OVERRIDES, Table.PLACEMENTS)
SHOWN = 5  # units named of each machine where all are tried


async def plan(flags: Namespace) -> int:
    """Say what becomes of the units if the machines named are lost together, or each machine of all in turn."""
    async with open_operator(read_settings(flags, os.environ)) as operator:
        snapshot = await read_snapshot(operator.etcd, operator.keys, TABLES)
    machines = snapshot.machines
    unread = unread_machines(operator.keys.parse(key) for key in snapshot.corrupt)
    chosen = [find_machine(name, machines, {*snapshot.overrides, *unread}, unread) for name in flags.without]
    for each in chosen:
        if each not in machines:
            raise UserError(f"machine {each} is not there, so that nothing is lost with it; see: list-machines")
    tried = [tuple(dict.fromkeys(chosen))] if chosen else [(each,) for each in sorted(machines)]
    losses = [preview_without(snapshot, each, operator.keys) for each in tried]
    if flags.json:
        print_json([_record(each) for each in losses])
    elif chosen:
        _tell(losses[0], machines)
    else:
        _tell_each(losses, machines)
    return CHANGES if any(each.waits for each in losses) else OK


def _record(loss: Loss) -> dict[str, object]:
    return {
        "machines": loss.machines,
        "moves": [{"unit": each.unit, "machines": each.machines} for each in loss.moves],
        "waits": [{"unit": each.unit, "reason": each.summary} for each in loss.waits],
    }


def _tell(loss: Loss, machines: Mapping[str, Machine]) -> None:
    where = ", ".join(place(each, machines) for each in loss.machines)
    for each in loss.moves:
        say(f"Unit {each.unit} would go to {', '.join(place(machine, machines) for machine in each.machines)}")
    for each in loss.waits:
        say(f"Unit {each.unit} would wait: {each.summary}")
    waits = f"{counted(len(loss.waits), 'unit')} would wait" if loss.waits else "none would wait"
    say(f"Without {where}: {counted(len(loss.moves), 'unit')} would move, {waits}")


def _tell_each(losses: list[Loss], machines: Mapping[str, Machine]) -> None:
    hard = [each for each in losses if each.waits]
    for each in hard:
        names = listed((wait.unit for wait in each.waits), SHOWN)
        say(f"Without {place(each.machines[0], machines)} {counted(len(each.waits), 'unit')} would wait: {names}")
    if hard:
        say(f"See: fleetctl plan --without {hard[0].machines[0][:8]}")
    else:
        say(f"Any one of {counted(len(losses), 'machine')} may be lost: no unit would wait")
