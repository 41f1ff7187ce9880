"""`fleetctl rebalance`: move running units to where they would be placed today, a few at a time, shown before."""

from __future__ import annotations

import os
from argparse import Namespace

from fleettui.actions import rollouts
from fleettui.cli.connection import open_operator, read_settings
from fleettui.cli.failures import CHANGES, FAILED, OK
from fleettui.cli.output import agreed, complain, print_json, say
from fleettui.cli.rollouts import TABLES, policy_of, show_begun
from fleettui.cli.words import place
from placement.rebalance import staying, tied_units
from registry.keys import Table
from registry.sync.listing import read_snapshot
from registry.wording import counted

READ = tuple(dict.fromkeys((*TABLES, Table.OVERRIDES, Table.PLACEMENTS)))


async def rebalance(flags: Namespace) -> int:
    """Show the moves that make the fleet even, ask, and carry them out as a rollout."""
    async with open_operator(read_settings(flags, os.environ)) as operator:
        snapshot = await read_snapshot(operator.etcd, operator.keys, READ)
        moves = rollouts.plan_moves(snapshot, operator.keys)
        if flags.json:
            fields = ("unit", "source", "target", "reason")
            print_json([{field: getattr(each, field) for field in fields} for each in moves])
        for each in () if flags.json else moves:
            source, target = (place(machine, snapshot.machines) for machine in (each.source, each.target))
            say(f"Unit {each.unit} goes from {source} to {target}: {each.reason}")
        if not flags.json and (rest := staying(moves, tied_units(snapshot, operator.keys), snapshot)):
            say(rest)
        if not moves:
            if not flags.json:
                say("Nothing is to be moved: every unit is where it would be placed today, or may not be moved")
            return OK
        if flags.dry_run:
            return CHANGES
        if not flags.yes and not agreed(f"Move {counted(len(moves), 'unit')}?"):
            complain("Nothing was changed")
            return FAILED
        begun = await rollouts.begin_moves(operator, snapshot, moves, policy_of(flags), flags.name or "")
        return await show_begun(operator, begun, flags)
