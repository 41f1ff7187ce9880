"""`fleetctl scale`: how many instances of a template there are."""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Iterable

from fleettui.actions import units
from fleettui.actions.operator import Operator
from fleettui.actions.reading import read_texts, read_units, unit_names
from fleettui.actions.scale import ScaleSteps, plan_scale, preview_scale
from fleettui.cli.cat import unit_name
from fleettui.cli.connection import open_operator, read_settings
from fleettui.cli.failures import CHANGES, FAILED, OK, UsageError
from fleettui.cli.output import agreed, complain, say
from fleettui.cli.patience import patience
from fleettui.cli.waiting import wait
from fleettui.verbs import Verb
from placement.preview import TABLES, Prediction
from registry.errors import UserError
from registry.model import Target
from registry.sync.listing import read_snapshot
from registry.units.name import parse
from registry.wording import counted, listed

SHOWN = 5  # units named of those that would wait for one reason


async def scale(flags: Namespace) -> int:
    """Have the instances 1 to N of a template run, and no other numbered one; what is destroyed is asked first."""
    name = parse(unit_name(flags.unit))
    if not name.is_template:
        raise UsageError(f"{name.full} is no template such as web@.service", "see: fleetctl scale --help")
    async with open_operator(read_settings(flags, os.environ)) as operator:
        known = await unit_names(operator)
        steps = plan_scale(name.full, flags.count, await read_units(operator, known), known)
        has_instances = any(parse(each).template == name.full for each in known)
        if name.full not in known and (steps.create or not has_instances):
            raise _without_template(name.full)
        for verb, names in ((Verb.START, steps.start), (Verb.DESTROY, steps.destroy)):
            for each in names:
                say(f"{verb} {each}")
        if steps.start:
            snapshot = await read_snapshot(operator.etcd, operator.keys, TABLES)
            for why, waiting in _waits(preview_scale(name.full, steps, snapshot, operator.keys)).items():
                say(f"By what is known now, {listed(waiting, SHOWN)} would wait: {why}")
        if not (steps.start or steps.destroy):
            say(f"{name.full} has {counted(flags.count, 'instance')} already")
            return OK
        if flags.dry_run:
            return CHANGES
        if steps.destroy and not flags.yes and not agreed(f"Destroy {counted(len(steps.destroy), 'unit')}?"):
            complain("Nothing was changed")
            return FAILED
        return await _carry_out(operator, name.full, steps, flags)


def _without_template(template: str) -> UserError:
    return UserError(f"the registry has no template {template} to make instances of; see: fleetctl submit")


def _waits(found: Iterable[Prediction]) -> dict[str, list[str]]:
    """The units that would wait, by the reason."""
    waits: dict[str, list[str]] = {}
    for each in found:
        if not each.machines:
            waits.setdefault(each.summary, []).append(each.unit)
    return waits


async def _carry_out(operator: Operator, template: str, steps: ScaleSteps, flags: Namespace) -> int:
    """Start and destroy, wait for both, and return the exit code."""
    waits = []
    if steps.start:
        record = (await read_units(operator, [template]))[template].unit
        text = (await read_texts(operator, [record.hash])).get(record.hash) if record else None
        if steps.create and text is None:
            raise _without_template(template)
        sources = [units.UnitSource(each, text) for each in steps.create]
        created = await units.submit(operator, sources, target=Target.LAUNCHED)
        started = await units.start(operator, [each for each in steps.start if each not in steps.create])
        waits.append((Verb.START, steps.start, max(created.revision, started.revision)))
    if steps.destroy:
        waits.append((Verb.DESTROY, steps.destroy, (await units.destroy(operator, steps.destroy)).revision))
    if flags.no_block:
        return OK
    limit = patience(flags)
    return max([await wait(operator, verb, names, revision, limit) for verb, names, revision in waits], default=OK)
