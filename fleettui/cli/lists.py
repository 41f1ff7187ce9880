"""`fleetctl list-machines`, `list-units` and `list-unit-files`: read the tables needed, once, and print them."""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Iterable, Sequence

from fleettui.cli import fields
from fleettui.cli.connection import open_operator, read_settings
from fleettui.cli.failures import OK
from fleettui.cli.output import ListFormat, choose_fields, complain, print_rows
from fleettui.cli.rows import (
    ListRow,
    duplicate_lines,
    file_rows,
    machine_rows,
    machine_usual,
    unit_rows,
    unit_usual,
)
from registry.errors import CorruptRecord
from registry.keys import Table
from registry.mirror import Snapshot
from registry.sync.listing import read_snapshot

CORRUPT_TOLD = 50  # records named on stderr
RUNNING = (Table.SCHEDULE, Table.STATES, Table.MACHINES)


async def list_machines(flags: Namespace) -> int:
    """Print the live machines."""
    form = _form(flags, fields.MACHINES)
    tables = [Table.MACHINES, Table.OVERRIDES, Table.DUPLICATES]
    if "units" in form.fields:
        tables.append(Table.SCHEDULE)
    snapshot = await read_tables(flags, tables)
    for line in duplicate_lines(snapshot):
        complain(line)
    form = _form(flags, fields.MACHINES, machine_usual(snapshot))
    return _print(machine_rows(snapshot, full=form.full), form)


async def list_units(flags: Namespace) -> int:
    """Print what runs, and what waits for a machine."""
    form = _form(flags, fields.UNITS)
    snapshot = await read_tables(flags, (*RUNNING, Table.UNITS, Table.PENDING, Table.LEADER))
    form = _form(flags, fields.UNITS, unit_usual(snapshot))
    return _print(unit_rows(snapshot, full=form.full), form)


async def list_unit_files(flags: Namespace) -> int:
    """Print every unit of the registry."""
    form = _form(flags, fields.UNIT_FILES)
    texts = (Table.FILES,) if {"global", "desc"} & set(form.fields) else ()
    snapshot = await read_tables(flags, (*RUNNING, Table.UNITS, *texts))
    return _print(file_rows(snapshot, full=form.full), form)


async def read_tables(flags: Namespace, tables: Iterable[Table]) -> Snapshot:
    """These tables now; records that do not parse are named on stderr."""
    async with open_operator(read_settings(flags, os.environ)) as operator:
        snapshot = await read_snapshot(operator.etcd, operator.keys, tables)
    tell_corrupt(snapshot)
    return snapshot


def tell_corrupt(snapshot: Snapshot) -> None:
    """Name the records that do not parse, the first of very many."""
    found = list(snapshot.corrupt.values())
    for corrupt in found[:CORRUPT_TOLD]:
        complain(f"WARNING: {CorruptRecord(corrupt.key, corrupt.reason)}")
    if len(found) > CORRUPT_TOLD:
        complain(f"WARNING: {len(found) - CORRUPT_TOLD} more registry records are corrupt")


def _form(flags: Namespace, of: fields.ListFields, usual: Sequence[str] = ()) -> ListFormat:
    chosen = choose_fields(flags.fields, of.known, of.known if flags.json else usual or of.usual)
    return ListFormat(chosen, full=flags.full, legend=not flags.no_legend, json=flags.json)


def _print(rows: Iterable[ListRow], form: ListFormat) -> int:
    listed = list(rows)
    print_rows([row.cells for row in listed], form, [row.record for row in listed])
    return OK
