"""`fleetctl history`, `diff` and `rollback`: the versions of units."""

from __future__ import annotations

import os
from argparse import Namespace

from fleettui.actions import rollouts
from fleettui.actions.reading import read_units, unit_names
from fleettui.actions.versions import choose, difference, text_of, versions
from fleettui.cli.connection import open_operator, read_settings
from fleettui.cli.failures import CHANGES, OK
from fleettui.cli.output import ListFormat, print_rows, print_verbatim, say
from fleettui.cli.rollouts import policy_of, watch
from fleettui.cli.units import unit_name
from fleettui.cli.words import local_time
from registry.units.file import description, parse
from registry.units.name import parse as parse_name
from registry.wording import counted

FIELDS = ("version", "hash", "since", "by", "description")


async def history(flags: Namespace) -> int:
    """Print the versions of a unit, newest first."""
    name = unit_name(flags.unit)
    async with open_operator(read_settings(flags, os.environ)) as operator:
        unit, known = await versions(operator, name)
    rows = [
        {
            "version": "present" if each.back == 0 else f"{each.back} back",
            "hash": each.hash if flags.json else each.hash[:7],
            "since": local_time(unit.at) if each.back == 0 and unit.at else "",
            "by": unit.by if each.back == 0 else "",
            "description": description(parse(each.text), name) if each.text is not None else "the text is gone",
        }
        for each in known
    ]
    print_rows(rows, ListFormat(FIELDS, json=flags.json), rows)
    return OK


async def diff(flags: Namespace) -> int:
    """Print what the present file of a unit has changed since another version; exit with 2 if they differ."""
    name = unit_name(flags.unit)
    async with open_operator(read_settings(flags, os.environ)) as operator:
        _, known = await versions(operator, name)
    old = choose(known, flags.version_hash, name)
    names = (f"{name} {old.hash[:7]}", f"{name} {known[0].hash[:7]}")
    lines = difference(text_of(old, name), text_of(known[0], name), *names)
    if lines:
        print_verbatim("\n".join(lines) + "\n")
    return CHANGES if lines else OK


async def rollback(flags: Namespace) -> int:
    """Give a unit an earlier file again, as a rollout; of a template all instances that have its present file."""
    name = unit_name(flags.unit)
    async with open_operator(read_settings(flags, os.environ)) as operator:
        unit, known = await versions(operator, name)
        text = text_of(choose(known, flags.version_hash, name), name)
        names = [name]
        if parse_name(name).is_template:
            instances = [
                each for each in await unit_names(operator) if each != name and parse_name(each).template == name
            ]
            found = await read_units(operator, instances)
            names += [each for each, record in found.items() if record.unit and record.unit.hash == unit.hash]
        begun = await rollouts.begin(
            operator, names, dict.fromkeys(names, text), policy_of(flags), flags.name or ""
        )
        say(f"Rollout {begun.name} begins: {counted(len(begun.steps), 'unit')}, {begun.at_a_time} at a time")
        return OK if flags.no_block else await watch(operator, begun.name)
