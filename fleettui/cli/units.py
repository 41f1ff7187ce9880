"""`fleetctl` and a verb on units (`fleettui/verbs.py`): an act on the registry, then a wait.

One bad name harms no other: its error is printed, the rest is done, and the exit code is 1.
"""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Callable, Iterable
from contextlib import closing
from typing import TypeVar

from fleettui.actions import units
from fleettui.actions.disk import Candidate, Disk
from fleettui.actions.operator import Operator
from fleettui.actions.outcome import Did, Done, Outcome
from fleettui.actions.reading import matching, read_texts, read_units, unit_names
from fleettui.actions.resolve import resolve
from fleettui.cli.cat import unit_name
from fleettui.cli.connection import open_operator, read_settings
from fleettui.cli.failures import FAILED, OK, UsageError, refuse_policy
from fleettui.cli.output import ProgressLine, complain, say
from fleettui.cli.patience import WaitLimit, patience
from fleettui.escape import clause
from fleettui.verbs import Verb, gerund
from registry.errors import UserError
from registry.frozen import replace
from registry.model import Target
from registry.units.file import file_hash
from registry.units.hostreach import warnings
from registry.units.name import is_glob

T = TypeVar("T")


async def introduce(flags: Namespace) -> int:
    """Carry out a verb that takes files: what the registry does not know yet is looked for on disk."""
    refuse_policy(flags)
    verb = Verb(flags.command)
    patient, errors, line = patience(flags), Errors(verb), ProgressLine("units written")
    settings = read_settings(flags, os.environ)  # before anything is said: the verb may begin again, with a loop
    candidates = errors.parse_each(Disk().candidate, (each for each in flags.names if not is_glob(each)))
    async with open_operator(settings) as operator:
        known = await errors.expand(operator, flags.names)
        found = await resolve(operator, [*candidates, *map(Candidate, known)])
        for name in found.missing:
            errors.add(f"Error creating units: unable to find Unit({name}) in Registry or on filesystem")
        target = verb.rules.target or Target.INACTIVE
        rolled = await _rolled(operator, found.sources, flags) if getattr(flags, "at_a_time", None) else {}
        at_once = [source for source in found.sources if source.name not in rolled]
        with closing(line):
            telling = replace(operator, progress=line.show)
            done = await units.submit(telling, at_once, replace=flags.replace, target=target)
        await _warn(operator, found.sources, done)
        code = await _finish(operator, verb, done, errors, patient) if at_once or not rolled else errors.code
        if not rolled:
            return code
        from fleettui.cli.rollouts import roll  # noqa: PLC0415 - loads what follows

        return await roll(operator, list(rolled), rolled, flags) or code


async def _rolled(operator: Operator, sources: Iterable[units.UnitSource], flags: Namespace) -> dict[str, str]:
    """The texts of the running units that a rollout is to give their new file."""
    if not flags.replace:
        raise UsageError("--at-a-time is about units that run already", "add --replace")
    texts = {source.name: source.text for source in sources if source.text is not None}
    found = await read_units(operator, list(texts))
    running = {name: each.unit for name, each in found.items() if each.unit}
    return {
        name: texts[name]
        for name, unit in running.items()
        if unit.target is Target.LAUNCHED and (unit.on or unit.hash != file_hash(texts[name]))
    }


async def change(flags: Namespace) -> int:
    """Carry out a verb on units that the registry knows."""
    refuse_policy(flags)
    verb = Verb(flags.command)
    patient, errors, line = patience(flags), Errors(verb), ProgressLine("units written")
    settings = read_settings(flags, os.environ)  # as above
    named = errors.parse_each(unit_name, (each for each in flags.names if not is_glob(each)))
    async with open_operator(settings) as operator:
        names = [*named, *await errors.expand(operator, flags.names)]
        if names and getattr(flags, "at_a_time", None):
            from fleettui.cli.rollouts import roll  # noqa: PLC0415 - loads what follows

            return await roll(operator, names, {}, flags) or errors.code
        with closing(line):
            done = await units.ACTS[verb](replace(operator, progress=line.show), names) if names else Done()
        return await _finish(operator, verb, done, errors, patient)


async def _warn(operator: Operator, sources: Iterable[units.UnitSource], done: Done) -> None:
    """Say what the files, given or in the registry, do beyond their own units; once for the instances of one."""
    given = {source.name: source for source in sources}
    used = {outcome.after.hash: outcome.name for outcome in done.outcomes if outcome.after}
    for sha, text in (await read_texts(operator, used)).items():
        name = used[sha]
        for warning in warnings(name, text, given[name].origin or name):
            complain(f"WARNING: {warning}")


class Errors:
    """Prints errors as they come and remembers that there were some."""

    def __init__(self, verb: Verb) -> None:
        self.code = OK
        self._verb = verb

    def add(self, text: str) -> None:
        """Print an error."""
        self.code = FAILED
        complain(text)

    def parse_each(self, parse: Callable[[str], T], arguments: Iterable[str]) -> list[T]:
        """What the arguments mean; those that mean nothing are told and left out."""
        parsed = []
        for argument in arguments:
            try:
                parsed.append(parse(argument))
            except UserError as error:
                self.add(f"Error {gerund(self._verb)} units: {error}")
        return parsed

    async def expand(self, operator: Operator, arguments: Iterable[str]) -> list[str]:
        """The registry's names that the globs among the arguments match: for a verb that runs units no template."""
        patterns = [each for each in arguments if is_glob(each)]
        known = await unit_names(operator) if patterns else ()
        runs = self._verb not in (Verb.SUBMIT, Verb.DESTROY)
        found = self.parse_each(lambda each: matching(each, known, running=runs), patterns)
        return [name for names in found for name in names]


async def _finish(operator: Operator, verb: Verb, done: Done, errors: Errors, patient: WaitLimit) -> int:
    """Tell what came of the act, then wait for its effect."""
    for outcome in done.outcomes:
        if outcome.did in (Did.REFUSED, Did.UNKNOWN):
            errors.add(f"Error {gerund(verb)} unit {outcome.name}: {outcome.note}")
        elif outcome.note:
            way = "the registry's version is used. Add --replace to store the new one"
            complain(f"WARNING: {clause(outcome.note)}; {way}")
    went_through = [outcome for outcome in done.outcomes if outcome.did not in (Did.REFUSED, Did.UNKNOWN)]
    if not patient.blocks:
        for outcome in went_through:
            say(f"Triggered unit {outcome.name} {verb}")
        return errors.code
    names = [outcome.name for outcome in went_through if not _settled(outcome)]
    for outcome in went_through:
        if _settled(outcome):
            say(f"Unit {outcome.name} inactive")
    if not names:
        return errors.code
    from fleettui.cli.waiting import wait  # noqa: PLC0415 - loads what follows

    return await wait(operator, verb, names, done.revision, patient) or errors.code


def _settled(outcome: Outcome) -> bool:
    """Whether there is nothing to wait for: a unit that is new and not wanted anywhere."""
    return outcome.did is Did.CREATED and outcome.after is not None and outcome.after.target is Target.INACTIVE
