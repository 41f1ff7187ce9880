"""`fleetctl cat`, and what the names on a command line mean."""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Iterable
from pathlib import PurePath

from fleettui.actions.operator import Operator
from fleettui.actions.reading import expand, read_texts, read_units
from fleettui.cli.connection import open_operator, read_settings
from fleettui.cli.failures import FAILED, OK
from fleettui.cli.output import complain, print_verbatim
from registry.units.name import check, is_glob, normalise


def unit_name(argument: str) -> str:
    """The unit that a name, with or without its type, or a path stands for. UserError when it is none."""
    name = normalise(PurePath(argument).name)
    check(name)
    return name


async def unit_names(operator: Operator, arguments: Iterable[str], *, running: bool = False) -> tuple[str, ...]:
    """Names, paths and globs of the command line as unit names. UserError for one that is none.

    `running`: the verb is about what runs, so that globs leave templates out.
    """
    names = [each if is_glob(each) else unit_name(each) for each in arguments]
    return await expand(operator, names, running=running)


async def cat(flags: Namespace) -> int:
    """Print unit files as submitted."""
    async with open_operator(read_settings(flags, os.environ)) as operator:
        names = await unit_names(operator, flags.names)
        found = await read_units(operator, names)
        hashes = {name: each.unit.hash for name, each in found.items() if each.unit}
        texts = await read_texts(operator, hashes.values())
    for name in names:
        if name not in hashes:
            complain(f"Unit {name} not found; see: fleetctl list-unit-files")
        elif hashes[name] not in texts:
            complain(
                f"The text of unit {name} ({hashes[name][:7]}) is not in the registry; submit it with --replace"
            )
        else:
            print_verbatim(texts[hashes[name]])
    return OK if all(hashes.get(name) in texts for name in names) else FAILED
