"""`fleetctl apply`: make a part of the registry equal to a folder of unit files."""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from fleettui.actions.apply import ChangeKind, UnitDifference, compare, rolls, write
from fleettui.actions.folder import read_folder
from fleettui.actions.operator import Operator
from fleettui.actions.outcome import Did
from fleettui.actions.pins import pin_texts
from fleettui.cli.connection import open_operator, read_settings
from fleettui.cli.failures import CHANGES, FAILED, OK
from fleettui.cli.output import agreed, complain, print_json, say
from fleettui.cli.patience import patience
from fleettui.cli.rollouts import roll
from fleettui.cli.waiting import wait
from fleettui.verbs import Verb
from registry.errors import UserError
from registry.frozen import replace
from registry.keys import Table
from registry.sync.listing import read_snapshot
from registry.wording import counted

TABLES = (Table.UNITS, Table.ROLLOUTS)
MARKS = {ChangeKind.CREATE: "+", ChangeKind.DESTROY: "-", ChangeKind.KEEP: "!"}


async def apply(flags: Namespace) -> int:
    """Show what differs, and change it; with --dry-run only show it, and exit with 2 if something would change."""
    folder = read_folder(Path(flags.folder))
    async with open_operator(read_settings(flags, os.environ)) as operator:
        texts, lacking = await pin_texts(
            operator, {name: each.text for name, each in folder.units.items()}, keep=True
        )
        if lacking:
            raise UserError("\n".join(f"{name}: {reason}" for name, reason in lacking.items()))
        units = {name: replace(each, text=texts[name]) for name, each in folder.units.items()}
        folder = replace(folder, units=units)
        snapshot = await read_snapshot(operator.etcd, operator.keys, TABLES)
        found = compare(folder, snapshot, prune=flags.prune, adopt=flags.adopt)
        changes = [each for each in found if each.kind is not ChangeKind.KEEP]
        if flags.json:
            print_json([{"unit": each.name, "change": each.kind, "note": each.note} for each in found])
        else:
            for each in found:
                tell = complain if each.kind is ChangeKind.KEEP else say
                tell(f"{MARKS.get(each.kind, '~')} {each.kind:7}  {each.name}  ({each.note})")
        if flags.dry_run:
            return CHANGES if changes else OK
        gone = [each for each in changes if each.kind is ChangeKind.DESTROY]
        if gone and not flags.yes and not agreed(f"Destroy {counted(len(gone), 'unit')}?"):
            complain("Nothing was changed")
            return FAILED
        code = await _carry_out(operator, folder.owner, changes, flags) if changes else OK
        return code or (FAILED if len(changes) < len(found) else OK)


async def _carry_out(operator: Operator, owner: str, changes: Sequence[UnitDifference], flags: Namespace) -> int:
    """Write the changes, begin a rollout where one is asked for, wait, and return the exit code."""
    texts = {each.name: each.wanted.text for each in changes if each.wanted and flags.at_a_time and rolls(each)}
    done = await write(operator, owner, changes, roll=bool(flags.at_a_time))
    code = OK
    for outcome in done.outcomes:
        if outcome.did is Did.REFUSED:
            complain(f"Error applying unit {outcome.name}: {outcome.note}")
            code = FAILED
    names = [outcome.name for outcome in done.written if outcome.name not in texts]
    gone = [outcome.name for outcome in done.written if outcome.after is None]
    if not flags.no_block:
        for verb, waited in ((Verb.DESTROY, gone), (Verb.START, [each for each in names if each not in gone])):
            if waited:
                code = max(code, await wait(operator, verb, waited, done.revision, patience(flags)))
    rolling = {outcome.name: texts[outcome.name] for outcome in done.written if outcome.name in texts}
    if rolling:
        code = max(code, await roll(operator, list(rolling), rolling, flags))
    return code
