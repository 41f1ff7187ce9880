"""`fleetctl backup`: what of the registry is not leased, into a file that `fleetctl restore` takes."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from collections.abc import Iterable, Mapping
from pathlib import Path

from fleettui.actions.backup import Backup, lines_of, read_registry, write_file
from fleettui.cli.connection import open_operator, read_settings
from fleettui.cli.failures import OK
from fleettui.cli.output import complain
from registry.errors import UserError
from registry.wording import counted, listed

STDOUT = "-"
SHOWN = 5
KINDS = {"files": "unit file", "units": "unit", "events": "event", "overrides": "override", "crashes": "crash"}


async def backup(flags: Namespace) -> int:
    """Write a backup to a file, or to standard output."""
    if flags.file == STDOUT and sys.stdout.isatty():
        raise UserError("standard output is a terminal; give a file, or send it through a pipe")
    async with open_operator(read_settings(flags, os.environ)) as operator:
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
        complain(f"Kept as they are, though they do not parse: {_named(found.corrupt)}")


def _named(keys: Iterable[str]) -> str:
    return listed(sorted(keys), SHOWN)
