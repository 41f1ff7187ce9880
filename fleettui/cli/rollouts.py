"""`fleetctl rollout`: begin one and watch it, list them, show one, pause, resume, abort, undo and redo."""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from fleettui.actions import rollouts
from fleettui.actions.crashes import entries, failure_of, newest_crashes, read_crashes, what_is_kept
from fleettui.actions.disk import is_pipe, read_unit_file
from fleettui.actions.operator import Operator
from fleettui.actions.pins import renewed
from fleettui.actions.progress import FollowedPlaces
from fleettui.actions.reading import expand
from fleettui.cli.connection import duration, open_operator, read_settings
from fleettui.cli.failures import FAILED, INTERRUPTED, OK, UsageError
from fleettui.cli.output import ListFormat, complain, print_json, print_rows, say
from fleettui.cli.waiting import WATCHED, following
from fleettui.cli.words import place
from fleettui.escape import escape
from placement.rollout import StepState, StepView, WellSince, advance, survey
from registry.errors import UserError
from registry.keys import Table
from registry.lifecycle import Whereabouts, whereabouts
from registry.mirror import Snapshot
from registry.model import OnFailure, Rollout, RolloutState, Unit
from registry.runtime import waits
from registry.sync.listing import read_snapshot
from registry.units.name import normalise, parse
from registry.wording import counted

TABLES = (*WATCHED, Table.FILES, Table.OVERRIDES, Table.ROLLOUTS)
FAILURES, LINES = 3, 8  # units that failed of which more is told, and of each so many lines
FIELDS = ("name", "state", "units", "settled", "failed", "by", "note")


async def rollout(flags: Namespace) -> int:
    """Carry out what the first word says: an act on a rollout, or the beginning of one."""
    if not flags.names:
        raise UsageError("no unit is named, and no act", "see: fleetctl rollout --help")
    act, names = flags.names[0], flags.names[1:]
    async with open_operator(read_settings(flags, os.environ)) as operator:
        if act == "list":
            return await _list(operator, flags)
        if act == "status":
            return await _status(operator, _one(act, names), flags)
        if act == "redo":
            return await show_begun(operator, await rollouts.redo(operator, _one(act, names)), flags)
        if act in rollouts.ACTS:
            name = _one(act, names)
            changed = await rollouts.act(operator, act, name)
            say(f"Rollout {name} is {_state(changed)}")
            watched = changed.state is RolloutState.RUNNING and not flags.no_block
            return await watch(operator, name, undone=act == "undo") if watched else OK
        return await _begin(operator, flags)


def _one(act: str, names: Sequence[str]) -> str:
    if len(names) != 1:
        raise UsageError(f"rollout {act} takes the name of one rollout", "see: fleetctl rollout list")
    return names[0]


async def _begin(operator: Operator, flags: Namespace) -> int:
    names = await expand(operator, flags.names)
    if any(parse(each).is_template for each in names):
        units = (await read_snapshot(operator.etcd, operator.keys, [Table.UNITS])).units
        names = tuple(dict.fromkeys(each for name in names for each in with_instances(units, name)))
    texts = texts_of(flags.file, names) or await renewed(operator, names)
    return await roll(operator, names, texts, flags)


def with_instances(units: Mapping[str, Unit], name: str) -> list[str]:
    """A unit; of a template also all instances that have its present file."""
    record = units.get(name)
    if record is None or not parse(name).is_template:
        return [name]
    others = (each.name for each in units.values() if each.hash == record.hash and each.name != name)
    return [name, *sorted(each for each in others if parse(each).template == name)]


async def roll(operator: Operator, names: Sequence[str], texts: Mapping[str, str], flags: Namespace) -> int:
    """Begin a rollout by the policy that the flags say, watch it unless they forbid it; the exit code."""
    begun = await rollouts.begin(operator, names, texts, policy_of(flags), flags.name or "")
    return await show_begun(operator, begun, flags)


async def show_begun(operator: Operator, begun: Rollout, flags: Namespace) -> int:
    """Tell what has begun, and watch it unless the flags forbid it; the exit code."""
    what = "step" if any(step.machine for step in begun.steps) else "unit"
    say(f"Rollout {begun.name} begins: {counted(len(begun.steps), what)}, {begun.at_a_time} at a time")
    if getattr(flags, "no_block", False):
        return OK
    seconds = duration(getattr(flags, "timeout", None), "--timeout")
    try:
        async with waits.timeout(seconds):
            return await watch(operator, begun.name)
    except TimeoutError:
        complain(f"Error: rollout {begun.name} is not over after {seconds:g}s; it goes on by itself")
        return FAILED


def policy_of(flags: Namespace) -> rollouts.Policy:
    """How the flags say that a rollout goes about it."""
    return rollouts.Policy(
        str(flags.at_a_time or 1),
        flags.canary,
        duration(flags.healthy_for, "--healthy-for") or 0.0,
        flags.max_failures,
        OnFailure(flags.on_failure),
    )


def texts_of(path: str | None, names: Iterable[str]) -> dict[str, str]:
    """The text of the file for each unit. UserError for a file that is none of theirs.

    What comes through a pipe is taken for the file of the unit, or of the template, that is named.
    """
    if not path:
        return {}
    several, name = [*names], normalise(Path(path).name)
    if several and is_pipe(Path(path)):
        name = several[0] if len(several) == 1 else parse(several[0]).template or several[0]
    file = read_unit_file(Path(path), name, pipes=True)
    if file is None:
        raise UserError(f"there is no file {path}")
    for each in several:
        if name not in (each, parse(each).template):
            raise UserError(f"{path} is a file of {name}, not of {each}; a template serves its instances alone")
    return dict.fromkeys(several, file.text)


async def _list(operator: Operator, flags: Namespace) -> int:
    found = await rollouts.read_rollouts(operator)
    rows = [
        {
            "name": each.name,
            "state": _state(each),
            "units": str(len(each.steps)),
            "settled": str(len(each.settled) + len(each.settled_on)),
            "failed": str(len(each.failed)),
            "by": each.by,
            "note": each.note.partition("\n")[0],
        }
        for each in reversed(found)
    ]
    print_rows(rows, ListFormat(FIELDS, json=flags.json), rows)
    return OK


def _state(found: Rollout) -> str:
    """A rollout's state in the words of `list` and `status`."""
    if not found.back:
        return found.state
    return {RolloutState.RUNNING: "going back", RolloutState.FINISHED: "went back"}.get(found.state, found.state)


async def _status(operator: Operator, name: str, flags: Namespace) -> int:
    if flags.follow:
        return await watch(operator, name)
    snapshot = await read_snapshot(operator.etcd, operator.keys, TABLES)
    found, views = _read(snapshot, name, whereabouts(snapshot))
    if flags.json:
        print_json(
            {
                "name": name,
                "state": _state(found),
                "note": found.note,
                "units": [
                    {"unit": each.step.unit, "state": each.state, "machine": each.machine, "reason": each.reason}
                    for each in views
                ],
            }
        )
        return OK
    note = f": {found.note}" if found.note else ""
    say(f"Rollout {name} is {_state(found)}{note}")
    if waits := advance(found, views).waits:
        say(f"It waits: {waits}")
    for each in views:
        where = f" on {place(each.machine, snapshot.machines)}" if each.machine else ""
        reason = f" ({each.reason})" if each.reason else ""
        say(f"  {each.state:9}  {each.step.unit}{where}{reason}")
    await _tell_failures(operator, [each.unit for each in found.failed[:FAILURES]])
    return OK


async def _tell_failures(operator: Operator, units: Sequence[str]) -> None:
    """Say what agents kept of the last lines of these units, and where there are more."""
    kept = {}
    if units:
        kept = {
            each.unit: each
            for each in await read_crashes(operator, (await newest_crashes(operator, units)).values())
        }
    for unit in units:
        if unit in kept:
            say(f"{unit} {failure_of(kept[unit])}; {what_is_kept(kept[unit])}")
            for each in entries(kept[unit])[-LINES:]:
                say(f"    {escape(each.message)}")
        say(f"See: fleetctl journal {unit}")


def _read(snapshot: Snapshot, name: str, where: Whereabouts) -> tuple[Rollout, tuple[StepView, ...]]:
    found = snapshot.rollouts.get(name)
    if found is None:
        raise UserError(f"there is no rollout {name}; see: fleetctl rollout list")
    return found, survey(found, snapshot, lambda _: where, WellSince(), 0.0)


async def watch(operator: Operator, name: str, *, undone: bool = False) -> int:
    """Show what happens until the rollout stops; the exit code. One that is `undone` is to go back."""
    try:
        async with following(operator, TABLES) as follower:
            shown: dict[tuple[str, str], StepState] = {}
            places, told = FollowedPlaces(), ""
            while True:
                update = await follower.next()
                snapshot = follower.mirror.snapshot()
                places.update(snapshot, update)
                if snapshot.revision:
                    found, views = _read(snapshot, name, places.where)
                    if found.back:  # of those that never had their turn there is nothing to tell
                        views = tuple(
                            each
                            for each in views
                            if each.unit and each.unit.version_on(each.step.machine)[1] > each.step.generation
                        )
                    _show(views, shown, snapshot)
                    if found.state is not RolloutState.RUNNING:
                        return _end(found, undone=undone)
                    if (reason := advance(found, views).waits or found.note) not in ("", told):
                        complain(f"Rollout {name}: {reason}")
                        told = reason
    except waits.interruption():
        complain(f"Interrupted; the rollout goes on. See: fleetctl rollout status {name}, or pause, abort, undo")
        return INTERRUPTED


def _show(views: Sequence[StepView], shown: dict[tuple[str, str], StepState], snapshot: Snapshot) -> None:
    """Print each unit whose step has come further since."""
    over = sum(each.state not in (StepState.WAITING, StepState.UNDER_WAY) for each in views)
    for each in views:
        before = shown.get(each.step.key, StepState.WAITING)
        shown[each.step.key] = each.state
        if each.state in (before, StepState.WAITING):
            continue
        where = f" on {place(each.machine, snapshot.machines)}" if each.machine else ""
        reason = f": {each.reason}" if each.reason and each.state is not StepState.UNDER_WAY else ""
        say(f"Unit {each.step.unit} {each.state}{where}{reason}  [{over} of {len(views)}]")


def _end(found: Rollout, *, undone: bool) -> int:
    note = f": {found.note}" if found.note else ""
    line = f"Rollout {found.name} {'is ' if found.state is not RolloutState.FINISHED else ''}{_state(found)}{note}"
    if found.state is RolloutState.FINISHED and found.back == undone:
        say(line)
        return OK
    complain(line)
    for failure in found.failed[:FAILURES]:
        complain(f"See: fleetctl journal {failure.unit}")
    if found.state is RolloutState.PAUSED:
        complain(f"Then: fleetctl rollout resume, undo or abort {found.name}")
    return FAILED
