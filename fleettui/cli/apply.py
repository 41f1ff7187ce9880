"""`fleetctl apply`: make a part of the registry equal to a folder of unit files and configs."""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from fleettui.actions.apply import ChangeKind, UnitDifference, compare, rolls, write
from fleettui.actions.apply_configs import ConfigDifference, coming, compare_configs, held_back, write_configs
from fleettui.actions.folder import UnitFolder, read_folder
from fleettui.actions.operator import Operator
from fleettui.actions.outcome import Did
from fleettui.actions.pins import pin_texts, uses
from fleettui.cli.configs import tell_older
from fleettui.cli.connection import open_operator, read_settings
from fleettui.cli.failures import CHANGES, FAILED, OK, UsageError, refuse_policy
from fleettui.cli.output import agreed, complain, print_json, say
from fleettui.cli.patience import patience
from fleettui.cli.rollouts import roll
from fleettui.cli.waiting import wait
from fleettui.verbs import Verb
from registry.frozen import replace
from registry.keys import Table
from registry.sync.listing import read_snapshot
from registry.units.pins import NeedKind
from registry.wording import counted

TABLES = (Table.UNITS, Table.ROLLOUTS, Table.CONFIG)
MARKS = {ChangeKind.CREATE: "+", ChangeKind.DESTROY: "-", ChangeKind.KEEP: "!", ChangeKind.LACKS: "!"}


async def apply(flags: Namespace) -> int:
    """Show what differs, and change it; with --dry-run only show it, and exit with 2 if something would change."""
    if not flags.folder:
        raise UsageError("'' is no folder; for this one, say .")
    refuse_policy(flags)
    folder = read_folder(Path(flags.folder))
    async with open_operator(read_settings(flags, os.environ)) as operator:
        configs, units = await _differences(operator, folder, flags)
        found: list[ConfigDifference | UnitDifference] = [*configs, *units]
        _show(found, json=flags.json)
        if any(each.kind is ChangeKind.LACKS for each in units):
            complain("Nothing was changed")
            return FAILED
        changes = [each for each in found if each.kind is not ChangeKind.KEEP]
        if flags.dry_run:
            return CHANGES if changes else OK
        gone = [each for each in changes if each.kind is ChangeKind.DESTROY]
        if gone and not flags.yes and not agreed(f"Destroy {_counted(gone)}?"):
            complain("Nothing was changed")
            return FAILED
        code = await _change(operator, folder.owner, configs, units, flags)
        return code or (FAILED if len(changes) < len(found) else OK)


async def _differences(
    operator: Operator, folder: UnitFolder, flags: Namespace
) -> tuple[list[ConfigDifference], list[UnitDifference]]:
    """What differs: configs, and units, which get the versions of configs that the folder has."""
    snapshot = await read_snapshot(operator.etcd, operator.keys, TABLES)
    configs = compare_configs(folder, snapshot.config, prune=flags.prune, adopt=flags.adopt)
    texts, lacking = await pin_texts(
        operator,
        {name: each.text for name, each in folder.units.items()},
        keep=True,
        coming=coming(folder, configs),
        renew=bool(flags.at_a_time),
    )
    named = {name: replace(each, text=texts[name]) for name, each in folder.units.items() if name not in lacking}
    units = [
        each
        for each in compare(replace(folder, units=named), snapshot, prune=flags.prune, adopt=flags.adopt)
        if each.name not in lacking
    ]
    units += [UnitDifference(name, ChangeKind.LACKS, reason) for name, reason in lacking.items()]
    if any(each.kind is ChangeKind.DESTROY for each in configs):
        configs = held_back(configs, units, await uses(operator))
    return configs, sorted(units, key=lambda each: each.name)


def _show(found: Sequence[ConfigDifference | UnitDifference], *, json: bool) -> None:
    """Print what differs."""
    if json:
        print_json([{_word(each): each.name, "change": each.kind, "note": each.note} for each in found])
        return
    for each in found:
        tell = complain if each.kind in (ChangeKind.KEEP, ChangeKind.LACKS) else say
        what = f"config {each.name}" if isinstance(each, ConfigDifference) else each.name
        tell(f"{MARKS.get(each.kind, '~')} {each.kind:7}  {what}  ({each.note})")


def _word(change: ConfigDifference | UnitDifference) -> str:
    return "config" if isinstance(change, ConfigDifference) else "unit"


def _counted(changes: Sequence[ConfigDifference | UnitDifference]) -> str:
    """How many units and configs they are: "2 units and 1 config"."""
    numbers = ((sum(_word(each) == word for each in changes), word) for word in ("unit", "config"))
    return " and ".join(counted(number, word) for number, word in numbers if number)


async def _change(
    operator: Operator,
    owner: str,
    configs: Sequence[ConfigDifference],
    units: Sequence[UnitDifference],
    flags: Namespace,
) -> int:
    """Write configs before the units that name their versions, and destroy after them; return the exit code."""
    kept = (ChangeKind.KEEP, ChangeKind.DESTROY)
    setting = [each for each in configs if each.kind not in kept]
    ending = [each for each in configs if each.kind is ChangeKind.DESTROY]
    if refused := await write_configs(operator, owner, setting):
        for name, reason in refused.items():
            complain(f"Error applying config {name}: {reason}")
        complain("No unit was changed")
        return FAILED
    changes = [each for each in units if each.kind is not ChangeKind.KEEP]
    code = await _carry_out(operator, owner, changes, flags) if changes else OK
    for name, reason in (await write_configs(operator, owner, ending)).items():
        complain(f"Error applying config {name}: {reason}")
        code = FAILED
    for change in setting:
        if change.kind is ChangeKind.REPLACE:
            await tell_older(operator, NeedKind.CONFIG, change.name)
    return code


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
