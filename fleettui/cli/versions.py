"""`fleetctl history`, `diff` and `rollback`: the versions of units."""

from __future__ import annotations

import os
from argparse import Namespace

from fleettui.actions.operator import Operator
from fleettui.actions.versions import SHORT, Version, choose, unified, versions
from fleettui.cli.cat import unit_name
from fleettui.cli.connection import open_operator, read_settings
from fleettui.cli.failures import CHANGES, OK
from fleettui.cli.output import ListFormat, print_rows, print_verbatim
from fleettui.cli.rollouts import roll, with_instances
from fleettui.cli.words import local_time
from registry.errors import UserError
from registry.keys import Table
from registry.mirror import Snapshot
from registry.sync.listing import read_snapshot
from registry.units.file import description, parse

TABLES = (Table.UNITS, Table.FILES, Table.EVENTS)
FIELDS = ("version", "hash", "since", "by", "description")


async def history(flags: Namespace) -> int:
    """Print the versions of a unit, newest first."""
    name = unit_name(flags.unit)
    async with open_operator(read_settings(flags, os.environ)) as operator:
        _, known = await _known(operator, name)
    rows = [
        {
            "version": f"{back} back" if back else "present",
            "hash": each.hash if flags.json else each.hash[:SHORT],
            "since": local_time(each.at) if each.at else "",
            "by": each.by,
            "description": description(parse(each.text), name) if each.text is not None else "the text is gone",
        }
        for back, each in enumerate(known)
    ]
    print_rows(rows, ListFormat(FIELDS, json=flags.json), rows)
    return OK


async def diff(flags: Namespace) -> int:
    """Print what the present file of a unit has changed since another version; exit with 2 if they differ."""
    name = unit_name(flags.unit)
    async with open_operator(read_settings(flags, os.environ)) as operator:
        _, known = await _known(operator, name)
    old = choose(known, flags.version_hash, name)
    present = choose(known, known[0].hash, name)
    names = (f"{name} {old.hash[:SHORT]}", f"{name} {present.hash[:SHORT]}")
    lines = unified(old.text or "", present.text or "", *names)
    if lines:
        print_verbatim("\n".join(lines) + "\n")
    return CHANGES if old.hash != present.hash else OK


async def rollback(flags: Namespace) -> int:
    """Give a unit an earlier file again, as a rollout; of a template all instances that have its present file."""
    name = unit_name(flags.unit)
    async with open_operator(read_settings(flags, os.environ)) as operator:
        snapshot, known = await _known(operator, name)
        text = choose(known, flags.version_hash, name).text or ""
        names = with_instances(snapshot.units, name)
        return await roll(operator, names, dict.fromkeys(names, text), flags)


async def _known(operator: Operator, name: str) -> tuple[Snapshot, list[Version]]:
    """The registry, and the versions of a unit in it. UserError when it has no such unit."""
    snapshot = await read_snapshot(operator.etcd, operator.keys, TABLES)
    if not (known := versions(snapshot, name)):
        raise UserError(f"unit {name} is not in the registry; see: fleetctl list-unit-files")
    return snapshot, known
