"""An operator's acts on units: submit, load, start, stop, unload, restart, destroy, and taking one back.

Owns what each act makes of a unit's record. Every act is a few guarded transactions, however many units it names,
each with the events that record it. It never touches the schedule, pending reasons or states: the scheduler and
the agents follow from the wish that is written here.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

from fleettui.actions.operator import EVENTS_EACH, Operator, batches, commit, persist
from fleettui.actions.outcome import Did, Done, Outcome, joined
from fleettui.actions.pins import pin_texts
from fleettui.actions.reading import Ended, FoundUnit, read_texts, read_units
from fleettui.verbs import Verb, verb_between
from registry import frozen
from registry.errors import InvalidRecord
from registry.etcd import Compare, Op
from registry.frozen import dataclass, replace
from registry.model import Target, Unit, UnitText
from registry.records import encode
from registry.runtime import waits
from registry.sync.sentinel import ensure_cluster
from registry.units.check import verify
from registry.units.file import file_hash
from registry.units.name import is_quadlet, parse, rivals, service_of

AT_ONCE = 4  # transactions: etcd takes several in the time of one, since it waits for the disk once for all
RANK = {Target.INACTIVE: 0, Target.LOADED: 1, Target.LAUNCHED: 2}


@dataclass(frozen=True, slots=True)
class UnitSource:
    """A unit to submit. `text` None: whatever the registry has under the name. `origin` is named in messages.

    `based_on` is the hash of the text that this one was made from; where the registry has another by now, it is
    refused. "" asks for no such thing.
    """

    name: str
    text: str | None = None
    origin: str = ""
    based_on: str = ""


@dataclass(frozen=True, slots=True)
class UnitStep:
    """What an act decided for one unit: the outcome, and what to write for it."""

    outcome: Outcome
    verb: str = ""
    reason: str = ""
    text: str | None = None  # to be stored as the new file


Act = Callable[[Operator, Iterable[str]], Awaitable[Done]]
Decide = Callable[[str, FoundUnit], UnitStep]


async def submit(
    operator: Operator,
    sources: Iterable[UnitSource],
    *,
    replace: bool = False,
    target: Target = Target.INACTIVE,
) -> Done:
    """Make the units known, and raise their target to `target`; a target that is higher already stays.

    A text that differs from the registry's is stored only with `replace`; else the outcome's note warns. A text
    that would not load is refused, with every problem in the note; so is one that asks for a config or a secret
    that is not there. The newest versions of those are stored with a text that names none. To launch is to start,
    also what is launched: see `start`.
    """
    wanted = {source.name: source for source in sources}
    await ensure_cluster(operator.etcd, operator.keys, os.urandom(8).hex())
    given = {name: each.text for name, each in wanted.items() if each.text is not None}
    stored, lacking = await pin_texts(operator, given, keep=not replace)
    wanted |= {name: frozen.replace(wanted[name], text=text) for name, text in stored.items()}

    def decide(name: str, found: FoundUnit) -> UnitStep:
        if name in lacking:
            return _refused(name, lacking[name])
        return _submitted(wanted[name], found, replace=replace, target=target)

    texts = {name: each.text or "" for name, each in wanted.items()}
    return await act(operator, list(wanted), decide, texts, starting=target is Target.LAUNCHED)


async def set_target(operator: Operator, names: Iterable[str], target: Target) -> Done:
    """Give units of the registry this target, whatever they had."""
    return await act(operator, names, lambda name, found: _targeted(name, found, lambda _: target))


async def load(operator: Operator, names: Iterable[str]) -> Done:
    """Place and load units of the registry; a launched one stays so."""
    return await act(operator, names, lambda name, found: _targeted(name, found, _at_least(Target.LOADED)))


async def start(operator: Operator, names: Iterable[str]) -> Done:
    """Launch units of the registry. One that is launched already is tried again where nothing of it runs."""
    return await act(
        operator, names, lambda name, found: _targeted(name, found, _at_least(Target.LAUNCHED)), starting=True
    )


async def stop(operator: Operator, names: Iterable[str]) -> Done:
    """Stop launched units where they are; they stay loaded."""

    def lower(now: Target) -> Target:
        return min(now, Target.LOADED, key=RANK.__getitem__)

    return await act(operator, names, lambda name, found: _targeted(name, found, lower))


async def unload(operator: Operator, names: Iterable[str]) -> Done:
    """Stop units and take them off their machines; the registry keeps them."""
    return await set_target(operator, names, Target.INACTIVE)


async def restart(operator: Operator, names: Iterable[str]) -> Done:
    """Stop and start launched units again on their machines."""

    def decide(name: str, found: FoundUnit) -> UnitStep:
        unit = found.unit
        if unit is None:
            return _absent(name, found)
        if unit.target is not Target.LAUNCHED:
            return _refused(name, f"unit {name} is {unit.target}, not launched; see: fleetctl start {name}")
        after = unit.started_anew()
        return UnitStep(Outcome(name, Did.CHANGED, unit, after), Verb.RESTART)

    return await act(operator, names, decide)


async def destroy(operator: Operator, names: Iterable[str]) -> Done:
    """Forget units: they are stopped and taken off their machines. The outcomes keep their texts."""

    def decide(name: str, found: FoundUnit) -> UnitStep:
        if not found.exists:
            return _absent(name, found)
        return UnitStep(Outcome(name, Did.DESTROYED, found.unit), Verb.DESTROY)

    return await act(operator, names, decide)


async def restore(operator: Operator, previous: Iterable[Outcome], *, redo: bool = False) -> Done:
    """Take an act back: every unit that is still as the act left it becomes what it was before.

    A unit changed since is refused. A text that comes back counts as a replacement. With `redo` the act was itself
    one that took something back, which is done again by that: the events say so.
    """
    wanted = {outcome.name: outcome for outcome in previous if outcome.wrote}
    texts = {name: outcome.text or "" for name, outcome in wanted.items()}
    return await act(operator, list(wanted), lambda name, found: _restored(wanted[name], found, redo=redo), texts)


ACTS: Mapping[Verb, Act] = {
    Verb.START: start,
    Verb.LOAD: load,
    Verb.STOP: stop,
    Verb.UNLOAD: unload,
    Verb.RESTART: restart,
    Verb.DESTROY: destroy,
}


async def act(
    operator: Operator,
    names: Iterable[str],
    decide: Decide,
    texts: Mapping[str, str] | None = None,
    *,
    starting: bool = False,
) -> Done:
    """Read, decide and write in batches, some at once. `texts` are the files that may be stored, for their size.

    With `starting`, what is decided on says which units have ended.
    """
    names = list(dict.fromkeys(names))
    ended = Ended(operator, len(names)) if starting else None
    each = len(names) <= EVENTS_EACH
    given = [(texts or {}).get(name, "") for name in names]  # what may be created has rivals to be guarded against
    guards_each = [1 + len(_far_rivals(name)) if text else 1 for name, text in zip(names, given, strict=True)]
    parts = batches(given, 1 + each, guards_each)
    turns, written = waits.slots(AT_ONCE), 0
    operator.progress(written, len(names))

    async def carry_out(some: Sequence[str]) -> Done:
        nonlocal written
        async with turns:
            done = await persist(lambda: _attempt(operator, some, decide, ended, each=each))
        written += len(some)
        operator.progress(written, len(names))
        return done

    return joined(await waits.all_or_none(*(carry_out(names[part]) for part in parts)))


async def _attempt(
    operator: Operator, names: Sequence[str], decide: Decide, ended: Ended | None, *, each: bool
) -> Done:
    found = await read_units(operator, names)
    if ended is not None:
        launched = [name for name in names if (unit := found[name].unit) and unit.target is Target.LAUNCHED]
        down = await ended.among(launched) | (set(names) - set(launched))
        found |= {name: replace(found[name], ended=True) for name in down}
    steps = await _without_rivals(operator, [decide(name, found[name]) for name in names])
    steps = await _with_lost_texts(operator, await _with_old_texts(operator, steps))
    steps = [_signed(operator, step) if step.outcome.wrote else step for step in steps]
    writing = [step for step in steps if step.outcome.wrote]
    outcomes = tuple(step.outcome for step in steps)
    if not writing:
        return Done(outcomes)
    guards = [guard for step in writing for guard in _guards(operator, step.outcome, found[step.outcome.name])]
    if each:
        events = [operator.event(str(step.verb), unit=step.outcome.name, reason=step.reason) for step in writing]
    else:
        listed = ", ".join(step.outcome.name for step in writing)
        events = [operator.event(str(writing[0].verb), reason=f"{len(writing)} units: {listed}")]
    ops: dict[str, Op] = {}  # by key: etcd takes no key twice in a transaction
    for step in writing:
        after, key = step.outcome.after, operator.keys.unit(step.outcome.name)
        ops[key] = Op.put(key, encode(after)) if after else Op.delete(key)
        if after and step.text is not None:
            # Put again even if it is there: garbage collection is guarded by the file's revision.
            file_key = operator.keys.file(after.hash)
            ops[file_key] = Op.put(file_key, encode(UnitText(after.hash, step.text)))
    return Done(outcomes, await commit(operator, guards, list(ops.values()), events))


def _guards(operator: Operator, outcome: Outcome, found: FoundUnit) -> list[Compare]:
    """What holds as long as the unit is as it was found, and nobody has created a rival of one that is created."""
    key = operator.keys.unit
    if outcome.did is not Did.CREATED:
        return [found.guard(key(outcome.name))]
    rivals_there = [found.guard_of_all(key(_stem(outcome.name)))]
    return rivals_there + [Compare.absent(key(each)) for each in _far_rivals(outcome.name)]


def _stem(name: str) -> str:
    """What the name has in common with those of its rivals, but for a few: the name without its type."""
    return name[: name.rindex(".") + 1]


def _far_rivals(name: str) -> list[str]:
    return [each for each in rivals(name) if not each.startswith(_stem(name))]


async def _without_rivals(operator: Operator, steps: list[UnitStep]) -> list[UnitStep]:
    """Refuse to create a unit that systemd would have under the same name as another one."""
    names = [step.outcome.name for step in steps if step.outcome.did is Did.CREATED]
    others = {name: rivals(name) for name in names}
    found = await read_units(operator, sorted({each for some in others.values() for each in some}))
    made = set(names)

    def judged(step: UnitStep) -> UnitStep:
        name = step.outcome.name
        for each in others.get(name, ()):
            if found[each].exists or (each in made and is_quadlet(name)):
                where = "is in the registry; destroy that first" if found[each].exists else "is asked for as well"
                reason = f"systemd has {name} and {each} under one name, {service_of(name)}, and {each} {where}"
                return _refused(name, f"{reason}, or give one of them another name")
        return step

    return [judged(step) for step in steps]


async def _with_old_texts(operator: Operator, steps: list[UnitStep]) -> list[UnitStep]:
    """Remember the texts that go out of use, so that the act can be taken back."""
    losing = [before.hash for step in steps if (before := _loses(step.outcome))]
    if not losing:
        return steps
    texts = await read_texts(operator, losing)
    return [
        replace(step, outcome=replace(step.outcome, text=texts.get(before.hash)))
        if (before := _loses(step.outcome))
        else step
        for step in steps
    ]


async def _with_lost_texts(operator: Operator, steps: list[UnitStep]) -> list[UnitStep]:
    """Store a text again that the registry has lost or garbled, though the unit that names it stays as it is."""
    idle = [file_hash(step.text) for step in steps if step.text and not step.outcome.wrote]
    texts = await read_texts(operator, idle)
    return [
        replace(step, outcome=replace(step.outcome, did=Did.CHANGED), verb="replace", reason="its file was lost")
        if step.text and not step.outcome.wrote and texts.get(file_hash(step.text)) != step.text
        else step
        for step in steps
    ]


def _loses(outcome: Outcome) -> Unit | None:
    """The record whose text the outcome puts out of use."""
    return outcome.before if outcome.did in (Did.REPLACED, Did.DESTROYED) else None


def _signed(operator: Operator, step: UnitStep) -> UnitStep:
    """The step with who and when on the record to be written; a refusal when nobody could read that record."""
    after = step.outcome.after
    if after is None:
        return step
    signed = replace(after, by=operator.actor, at=operator.now())
    try:
        encode(signed)
    except InvalidRecord as error:
        return _refused(step.outcome.name, f"{error}; destroy it and submit it again")
    return replace(step, outcome=replace(step.outcome, after=signed))


def _submitted(source: UnitSource, found: FoundUnit, *, replace: bool, target: Target) -> UnitStep:
    if found.corrupt and not replace:
        return _absent(source.name, found)
    if source.text is None:
        return _targeted(source.name, found, _at_least(target))
    if refusal := _refusal(source, target) or _overtaken(source, found):
        return _refused(source.name, refusal)
    sha = file_hash(source.text)
    if found.unit is None:
        outcome = Outcome(source.name, Did.CREATED, None, Unit(source.name, sha, target))
        return UnitStep(outcome, verb_between(None, target), text=source.text)
    if replace and not found.unit.has_file(sha):
        after = frozen.replace(found.unit.with_file(sha), target=_at_least(target)(found.unit.target))
        outcome = Outcome(source.name, Did.REPLACED, found.unit, after)
        return UnitStep(outcome, "replace", f"was {found.unit.hash[:7]}", source.text)
    step = _targeted(source.name, found, _at_least(target))
    if not found.unit.has_file(sha):
        note = f"unit {source.name} in the registry differs from {source.origin or 'the given file'}"
        step = frozen.replace(step, outcome=frozen.replace(step.outcome, note=note))
    elif replace:
        step = frozen.replace(step, text=source.text)  # the registry may have lost it
    return step


def _overtaken(source: UnitSource, found: FoundUnit) -> str:
    """What is wrong when somebody else wrote the unit since its text was read."""
    if not source.based_on or (found.unit and found.unit.hash == source.based_on):
        return ""
    if found.unit is None:
        return f"unit {source.name} was destroyed meanwhile; submit it as a new one"
    return f"unit {source.name} was changed meanwhile by {found.unit.by or 'somebody'}; edit again on top of that"


def _refusal(source: UnitSource, target: Target) -> str:
    problems = verify(source.name, source.text or "", source.origin or source.name)
    if problems:
        return "\n".join(map(str, problems))
    name = parse(source.name)
    if name.is_template and target.scheduled:
        return _template_note(name.full, name.with_instance("1").full)
    return ""


def _template_note(name: str, example: str) -> str:
    return f"{name} is a template, which runs nowhere; name an instance such as {example}"


def _at_least(target: Target) -> Callable[[Target], Target]:
    return lambda now: max(now, target, key=RANK.__getitem__)


def _targeted(name: str, found: FoundUnit, choose: Callable[[Target], Target]) -> UnitStep:
    unit = found.unit
    if unit is None:
        return _absent(name, found)
    target, attempt = choose(unit.target), unit.attempt + found.ended
    if (target, attempt) == (unit.target, unit.attempt):
        return UnitStep(Outcome(name, Did.UNCHANGED, unit, unit))
    if target is unit.target:
        again = replace(unit, attempt=attempt)
        return UnitStep(Outcome(name, Did.CHANGED, unit, again), Verb.START, "what has ended is started again")
    if target.scheduled and parse(name).is_template:
        return _refused(name, _template_note(name, parse(name).with_instance("1").full))
    outcome = Outcome(name, Did.CHANGED, unit, replace(unit, target=target, attempt=attempt))
    return UnitStep(outcome, verb_between(unit.target, target))


def _restored(outcome: Outcome, found: FoundUnit, *, redo: bool) -> UnitStep:
    verb = Verb.REDO if redo else Verb.UNDO
    if found.unit != outcome.after:
        who = f" by {found.unit.by}" if found.unit else ""
        return _refused(outcome.name, f"unit {outcome.name} was changed since{who}; it is left as it is")
    before, after = outcome.before, outcome.after
    if before is None:
        reason = "it is destroyed again" if redo else "it was created by mistake"
        return UnitStep(Outcome(outcome.name, Did.DESTROYED, after), verb, reason)
    if after is None and outcome.text is None:
        return _refused(outcome.name, f"the text of {outcome.name} was not kept; submit it again")
    generation = (after or before).generation + (after is None or after.hash != before.hash)
    history = after.history_with(before.hash) if after else before.history  # what is undone can be brought back
    back = replace(before, generation=generation, attempt=(after or before).attempt, on=(), history=history)
    did = Did.CREATED if after is None else Did.REPLACED if after.hash != before.hash else Did.CHANGED
    return UnitStep(Outcome(outcome.name, did, after, back), verb, f"{back.target} again", outcome.text)


def _absent(name: str, found: FoundUnit) -> UnitStep:
    if found.corrupt:
        remedy = f"fleetctl destroy {name} removes it"
        return _refused(name, f"the registry's record of {name} is corrupt ({found.corrupt}); {remedy}")
    return UnitStep(
        Outcome(name, Did.UNKNOWN, note=f"unit {name} is not in the registry; see: fleetctl list-unit-files")
    )


def _refused(name: str, note: str) -> UnitStep:
    return UnitStep(Outcome(name, Did.REFUSED, note=note))
