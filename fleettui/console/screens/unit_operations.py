"""The operations on units: what a key or a command does to them, surveyed first, asked about, then carried out."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace

from textual.screen import Screen

from fleettui.actions.drain import is_global
from fleettui.actions.outcome import Did
from fleettui.actions.pins import renewed_in
from fleettui.actions.reading import FoundUnit
from fleettui.actions.rollouts import Policy, texts_again_in
from fleettui.actions.scale import ScaleSteps, plan_scale, preview_scale
from fleettui.actions.versions import SHORT, versions
from fleettui.console.operations.impact import (
    PREDICTED,
    RANK,
    STOPPING,
    Impact,
    Survey,
    impact_of,
    impact_of_restoring,
    impact_of_rolling_back,
    impact_of_texts,
    impact_of_undoing,
    text_of,
    usual_pace,
)
from fleettui.console.operations.impact_text import (
    arriving_lines,
    impact_lines,
    short,
    stopping_lines,
    units_line,
)
from fleettui.console.operations.operation import Operation, undo_command
from fleettui.console.operations.runner import OperationRunner, Undone
from fleettui.console.operations.verbs import NO_LINK, Permit, RolloutVerb, command, permit
from fleettui.console.pages.file import sharing
from fleettui.console.screens.confirm import Confirmer
from fleettui.console.screens.context import Context, StatusLine
from fleettui.console.screens.navigator import Selection
from fleettui.console.tables.fleet import FleetModel, Reading
from fleettui.console.text.formatting import counted
from fleettui.verbs import REPLACING, Verb
from placement.rollout import MAX_STEPS
from registry.errors import UserError
from registry.keys import Keys
from registry.mirror import Snapshot
from registry.model import Target
from registry.sync.follow import ConnectionState
from registry.units.name import parse


class UnitOperations:
    """What is done to units, and taken back."""

    def __init__(
        self, screen: Screen[None], context: Context, fleet: FleetModel, selection: Selection,
        runner: OperationRunner, confirmer: Confirmer, status: StatusLine,
    ) -> None:  # fmt: skip
        self._screen, self._context, self._fleet, self._selection = screen, context, fleet, selection
        self._runner, self._confirmer, self._status = runner, confirmer, status

    # A verb on units of the registry

    def perform_on_selection(self, verb: str) -> None:
        """Carry a verb out on the chosen units."""
        self.perform(Verb(verb), self._selection.units())

    def perform(self, verb: Verb, names: Sequence[str]) -> None:
        """Carry a verb out on units, after asking where that stops something: the one way for keys and commands."""
        self._confirmer.ask_first(
            lambda reading: self._survey(reading, verb, names),
            lambda found: self._screen.run_worker(
                self._roll(found, {}) if found.rolls else self._runner.on_units(verb, found.names),
                name=f"{verb}",
                exit_on_error=False,
            ),
        )

    def roll(self, names: Sequence[str], texts: Mapping[str, str], policy: Policy, *, renews: bool = False) -> None:
        """Begin a rollout as it was asked for in full, after asking; with `renews` to newer configs, if any."""
        if renews and not texts:
            texts = renewed_in(self._fleet.reading.snapshot, names)
        if texts:
            self._replace("Roll out to", texts, policy=policy)
            return

        def survey(reading: Reading) -> Survey:
            found = self._survey(reading, REPLACING, names)
            asked = replace(found, always=True, policy=policy.flags)
            return found if found.refusal else asked.paced(policy.at_a_time)

        def carry_out(found: Survey) -> None:
            self._screen.run_worker(self._roll(found, {}, "", policy), name="rollout", exit_on_error=False)

        self._confirmer.ask_first(survey, carry_out)

    async def _roll(
        self, found: Survey, texts: Mapping[str, str], based_on: str = "", policy: Policy | None = None
    ) -> Operation:
        """Carry out what was surveyed as a rollout, as many at a time as the operator chose."""
        chosen = replace(policy or Policy(), at_a_time=found.at_a_time)
        return await self._runner.roll(found.names, texts, chosen, found.same, based_on)

    def _pace(self, names: Sequence[str], snapshot: Snapshot) -> str:
        """How many places of these running units to offer at a time; "" where nothing is to be asked."""
        places = len(names)
        if any(is_global(snapshot, name) for name in names):
            places = sum(1 for _ in self._fleet.units.places(names))
        if not 1 < places <= MAX_STEPS:
            return ""
        return usual_pace(places, self._confirmer.pace)

    def permit(self, verb: Verb, names: Sequence[str], reading: Reading | None = None) -> Permit:
        """Return which of these units the verb can be carried out on, now or by a reading, or why on none."""
        reading = reading or self._fleet.reading
        places = self._fleet.units.places(names)
        return permit(verb, names, reading.snapshot, link=reading.link, barred=self._context.barred, places=places)

    def _survey(self, reading: Reading, verb: Verb, names: Sequence[str]) -> Survey:
        """Say what the verb would do to these units."""
        allowed, snapshot = self.permit(verb, names, reading), reading.snapshot
        if allowed.refusal:
            return Survey(refusal=allowed.refusal)
        impact = impact_of(verb, allowed.names, snapshot, self._context.keys)
        stops = verb.rules.stops
        lines = stopping_lines(verb, allowed.names, snapshot) if stops else impact_lines(impact, snapshot)
        if stops and len(allowed.names) > 1:
            lines.insert(0, units_line(allowed.names))
        return Survey(
            f"{verb.capitalize()} {_named(allowed.names)}?", verb, tuple(lines),
            command(verb, allowed.names, shown=3), impact, allowed.names,
            always=0 < verb.rules.asks_from <= len(allowed.names),
            at_a_time=self._pace(allowed.names, snapshot) if verb is REPLACING else "",
        )  # fmt: skip

    # Texts

    def submit(self, texts: Mapping[str, str], target: Target, *, replacing: bool) -> None:
        """Submit units and raise their target, as one operation, after asking where that stops what runs."""
        if why := self._why_no_change(self._fleet.reading):
            raise UserError(f"cannot submit: {why}")
        self._confirmer.ask_first(
            lambda reading: self.survey_texts(reading, texts, target, replacing=replacing),
            lambda found: self._screen.run_worker(
                self.carry_out(found, texts, target, replacing=replacing), name="submit", exit_on_error=False
            ),
        )

    async def carry_out(
        self, found: Survey, texts: Mapping[str, str], target: Target, *, replacing: bool, based_on: str = ""
    ) -> Operation:
        """Submit the texts, at once or as a rollout, as the survey of them says; return it as it was written."""
        if found.rolls:
            return await self._roll(found, texts, based_on)
        return await self._runner.submit(texts, target, replace=replacing, based_on=based_on)

    def survey_texts(
        self,
        reading: Reading,
        texts: Mapping[str, str],
        target: Target,
        *,
        replacing: bool,
        shown: bool = False,
    ) -> Survey:
        """Say what submitting these texts would do; `shown`: the operator has read that already."""
        if why := self._why_no_change(reading):
            return Survey(refusal=f"cannot submit: {why}")
        snapshot, names = reading.snapshot, tuple(texts)
        impact = impact_of_texts(texts, target, snapshot, self._context.keys, replacing=replacing)
        verb = "replace" if replacing else "submit"
        lines = tuple(impact_lines(impact, snapshot, verb=REPLACING))
        same = command(Verb.SUBMIT, names, shown=3).replace("submit", f"submit{' --replace' * replacing}", 1)
        question = f"{verb.capitalize()} {_named(names)}?"
        file = parse(names[0]).template or names[0]
        return Survey(
            question, verb, lines, same, impact, names, shown=shown,
            at_a_time=self._pace_of(texts, target, snapshot, replacing=replacing),
            rolled=command(RolloutVerb.BEGIN, names, ("--file", file), shown=3),
        )  # fmt: skip

    def _pace_of(self, texts: Mapping[str, str], target: Target, snapshot: Snapshot, *, replacing: bool) -> str:
        """How many of these to offer at a time: where several that run get another text, and that is all of it."""
        known = [snapshot.units[name] for name in texts if name in snapshot.units]
        launched = [unit.name for unit in known if unit.target is Target.LAUNCHED]
        if not replacing or len(known) < len(texts) or not launched:
            return ""
        if any(RANK[target] > RANK[unit.target] for unit in known):
            return ""  # a rollout leaves targets as they are
        return self._pace(launched, snapshot)

    # How many instances

    def scale_by(self, step: int) -> None:
        """Start one instance more, or destroy the last, of the chosen template."""
        template = self._selection.template()
        if not template:
            self._status.show("cannot scale: no template and no instance of one is selected")
            return
        running = launched_instances(self._fleet.units.instances(template), self._fleet.reading.snapshot)
        self.scale(template, max(0, running + step))

    def scale(self, template: str, count: int) -> None:
        """Have the instances 1 to `count` of a template run, after asking where that destroys some."""
        self._confirmer.ask_first(
            lambda reading: self._survey_scale(reading, template, count),
            lambda _: self._screen.run_worker(
                self._carry_out_scale(template, count), name="scale", exit_on_error=False
            ),
        )

    def _steps(self, template: str, count: int, snapshot: Snapshot) -> ScaleSteps:
        names = [name for name in snapshot.units if parse(name).template == template]
        return plan_scale(template, count, {name: FoundUnit(snapshot.units[name]) for name in names}, names)

    def _survey_scale(self, reading: Reading, template: str, count: int) -> Survey:
        """Say what starts and what is destroyed."""
        snapshot = reading.snapshot
        if why := self._why_no_change(reading):
            return Survey(refusal=f"cannot scale: {why}")
        try:
            steps = self._steps(template, count, snapshot)
        except UserError as error:
            return Survey(refusal=f"cannot scale: {error}")
        if not (steps.start or steps.destroy):
            return Survey(refusal=f"{template} has {counted(count, 'instance')} already")
        record = snapshot.units.get(template)
        if steps.create and (record is None or record.hash not in snapshot.files):
            return Survey(refusal=f"cannot scale: the registry has no template {template}; submit it first (n)")
        lines = (
            [f"{units_line(steps.start)}: {'starts' if len(steps.start) == 1 else 'start'}."] if steps.start else []
        )
        keys = self._context.keys
        arriving = preview_scale(template, steps, snapshot, keys) if len(steps.start) <= PREDICTED else None
        lines += arriving_lines(arriving, snapshot)
        found = {each: text_of(template if each in steps.create else each, snapshot) for each in steps.start}
        texts = {name: text for name, text in found.items() if text is not None}
        displaced = impact_of_texts(texts, Target.LAUNCHED, snapshot, keys, replacing=False).stops
        if displaced:
            lines += impact_lines(Impact(displaced), snapshot)
        impact = Impact(displaced, frozenset(steps.start))
        if steps.destroy:
            destroyed = impact_of(Verb.DESTROY, steps.destroy, snapshot, keys).stops
            impact = Impact(displaced | destroyed, impact.starts)
            lines += [units_line(steps.destroy), *stopping_lines(Verb.DESTROY, steps.destroy, snapshot)]
        return Survey(
            f"Scale {short(template)} to {count}?", Verb.DESTROY if steps.destroy else Verb.START, tuple(lines),
            f"fleetctl scale {shlex.quote(template)} {count}", impact, (*steps.start, *steps.destroy),
            always=bool(steps.destroy) or len(steps.start) > 1 or not all(each.machines for each in arriving or ()),
        )  # fmt: skip

    async def _carry_out_scale(self, template: str, count: int) -> None:
        snapshot = self._fleet.reading.snapshot
        steps = self._steps(template, count, snapshot)
        if steps.create:
            text = snapshot.files[snapshot.units[template].hash].text
            await self._runner.submit(dict.fromkeys(steps.create, text), Target.LAUNCHED)
        if known := [name for name in steps.start if name not in steps.create]:
            await self._runner.on_units(Verb.START, known)
        if steps.destroy:
            await self._runner.on_units(Verb.DESTROY, steps.destroy)

    # Versions

    def roll_out(self) -> None:
        """Give the chosen instances that are old their template's file, a few at a time; of configs, the newest."""
        if (lagging := self._selection.lagging()) is not None:
            self._renew(lagging)
            return
        names = self._selection.units()
        if texts := newest_texts(names, self._fleet.reading.snapshot):
            self._replace("Roll out the template's file to", texts)
        else:
            told = "nothing chosen has an old file of its template" if names else "no unit is selected"
            self._status.show(f"cannot roll out: {told}")

    def _renew(self, names: Sequence[str]) -> None:
        """Give these units the newest versions of their configs and secrets, a few at a time."""
        if texts := renewed_in(self._fleet.reading.snapshot, names):
            self._replace("Roll out the newest configs to", texts, command(RolloutVerb.BEGIN, [*texts], shown=3))
        else:
            self._status.show("cannot roll out: every unit that has it has its newest version")

    def restore(self, name: str, back: int = 1, policy: Policy | None = None) -> None:
        """Bring back an earlier file of a unit; of a template, for all instances that have its present one, too."""
        snapshot = self._fleet.reading.snapshot
        found = versions(snapshot, name)
        if len(found) <= back:
            self._status.show(f"cannot bring back: {name} has had no other file" if found else "it is gone")
            return
        text = found[back].text
        if text is None:
            self._status.show(
                f"cannot bring back {found[back].hash[:SHORT]}: its text is not in the registry any more"
            )
            return
        others = sharing(snapshot, name, found[0].hash) if parse(name).is_template else []
        what = f"Bring back {found[back].hash[:SHORT]} for"
        self._replace(what, dict.fromkeys([name, *others], text), policy=policy, answer="bring back")

    def _replace(
        self, what: str, texts: Mapping[str, str], rolled: str = "", policy: Policy | None = None,
        *, answer: str = "roll out",
    ) -> None:  # fmt: skip
        """Give units of the registry other texts, after asking; `rolled`: how a command line says it, if not so."""
        target = Target.INACTIVE

        def survey(reading: Reading) -> Survey:
            found = self.survey_texts(reading, texts, target, replacing=True)
            pace = policy.at_a_time if policy else found.at_a_time
            asked = replace(
                found, question=f"{what} {_named([*texts])}?", always=True, at_a_time=pace, answer=answer
            )
            asked = replace(asked, rolled=rolled or found.rolled)
            asked = replace(asked, policy=policy.flags if policy else "")
            return asked.paced(pace) if pace else asked

        def carry_out(found: Survey) -> None:
            work = self._roll(found, texts, "", policy) if found.rolls else self._runner.submit(
                texts, target, replace=True
            )  # fmt: skip
            self._screen.run_worker(work, name="replace", exit_on_error=False)

        self._confirmer.ask_first(survey, carry_out)

    def has_version(self, key: str, names: Sequence[str]) -> bool:
        """Whether a key that is about versions has one to give to one of these units."""
        snapshot = self._fleet.reading.snapshot
        if key == "roll_out":
            return bool(newest_texts(names[:LOOKED_AT], snapshot))
        return any((unit := snapshot.units.get(name)) and unit.history for name in names[:1])

    def _why_no_change(self, reading: Reading) -> str:
        """Say why nothing can be changed; "" when it can be."""
        if self._context.read_only:
            return self._context.barred
        return "" if reading.link is ConnectionState.LIVE else NO_LINK

    # Undo

    def undo(self) -> None:
        """Take the last operation back, after asking where that stops something or starts much."""
        last = self._runner.can_undo
        if last is None or self._context.read_only:
            self._status.show(self._context.barred or "nothing to undo")
            return
        self._confirmer.ask_first(
            lambda reading: self._survey_undo(reading, last),
            lambda found: self._screen.run_worker(
                self._runner.undo(last, Policy(at_a_time=found.at_a_time) if found.rolls else None),
                name="undo",
                exit_on_error=False,
            ),
        )

    def _survey_undo(self, reading: Reading, last: Operation) -> Survey:
        """Say what taking this operation back would do."""
        snapshot, keys = reading.snapshot, self._context.keys
        if why := self._why_no_change(reading):
            return Survey(refusal=f"cannot undo: {why}")
        pace, told = "", ""
        names = tuple(each.name for each in last.written)
        if last.rollout:
            try:
                number, impact = impact_on_files(last, snapshot, keys)
            except UserError as error:
                return Survey(refusal=f"cannot undo: {error}")
            names = ()
            told = f"Units get their {'new' if last.back else 'old'} files again, {number} at a time."
        elif last.changes:
            impact = impact_of_restoring(last.changes, snapshot, keys)
        else:
            impact = impact_of_undoing(last.verb, last.written, snapshot, keys)
            if last.written and all(each.did is Did.REPLACED for each in last.written):
                told = "Each gets the file again that it had before."
                texts = {each.name: each.text or "" for each in last.written}
                pace = self._pace_of(texts, Target.INACTIVE, snapshot, replacing=True)
        what = changed_by(last)
        lines = impact_lines(impact, snapshot, verb=REPLACING if told else Verb.STOP)
        done = "replace" if told and not last.rollout else last.verb
        return Survey(
            f"Undo: {done} of {what}?", Verb.UNDO, (*([told] if told else ()), *lines), undo_command(last), impact,
            names, at_a_time=pace,
        )  # fmt: skip

    def redo(self) -> None:
        """Do again what was taken back last, after asking where that stops something or starts much."""
        undone = self._runner.can_redo
        if undone is None or self._context.read_only:
            self._status.show(self._context.barred or "nothing to redo")
            return
        self._confirmer.ask_first(
            lambda reading: self._survey_redo(reading, undone),
            lambda _: self._screen.run_worker(self._runner.redo(undone), name="redo", exit_on_error=False),
        )

    def _survey_redo(self, reading: Reading, undone: Undone) -> Survey:
        """Say what doing it again would do."""
        snapshot, keys = reading.snapshot, self._context.keys
        last, undo = undone
        if why := self._why_no_change(reading):
            return Survey(refusal=f"cannot redo: {why}")
        told, names = "", tuple(each.name for each in undo.written)
        if undo.rollout:
            try:
                pace, impact = impact_on_files(undo, snapshot, keys)
            except UserError as error:
                return Survey(refusal=f"cannot redo: {error}")
            told = f"Units get their {'old' if last.back else 'new'} files again, {pace} at a time."
        elif undo.changes:
            impact = impact_of_restoring(undo.changes, snapshot, keys)
        else:
            done_by_undo = Verb.START if last.verb in STOPPING else Verb.STOP
            impact = impact_of_undoing(done_by_undo, undo.written, snapshot, keys)
            told = "Each gets its new file again." if all(each.did is Did.REPLACED for each in undo.written) else ""
        what = changed_by(last)
        lines = impact_lines(impact, snapshot, verb=REPLACING if told else Verb.STOP)
        done = "replace" if told and not last.rollout else last.verb
        return Survey(
            f"Redo: {done} of {what}?", Verb.REDO, (*([told] if told else ()), *lines), last.command, impact, names
        )


def changed_by(operation: Operation) -> str:
    """What an operation was about, in a few words: "3 units", "rollout web-2"."""
    if operation.changes:
        return counted(len(operation.changes), "machine")
    return counted(len(operation.names), "unit") if operation.names else f"rollout {operation.rollout}"


def impact_on_files(operation: Operation, snapshot: Snapshot, keys: Keys) -> tuple[int, Impact]:
    """How many at a time, and what stops, where what an operation on a rollout did to files is taken back.

    UserError where that cannot be done.
    """
    rollout = snapshot.rollouts.get(operation.rollout)
    if rollout is None:
        raise UserError(f"there is no rollout {operation.rollout} any more")
    if not operation.back:
        return rollout.at_a_time, impact_of_rolling_back(rollout, snapshot)
    texts = texts_again_in(rollout, snapshot)
    return rollout.at_a_time, impact_of_texts(texts, Target.INACTIVE, snapshot, keys, replacing=True)


def launched_instances(names: Sequence[str], snapshot: Snapshot) -> int:
    """How many of these instances are launched and have a number."""
    return sum(
        (unit := snapshot.units.get(name)) is not None
        and unit.target is Target.LAUNCHED
        and (parse(name).instance or "").isdecimal()
        for name in names
    )


LOOKED_AT = 200  # units, for what the footer says of a key


def newest_texts(names: Sequence[str], snapshot: Snapshot) -> dict[str, str]:
    """The text of its template, for each of these units that has an earlier one of it; else with newer configs."""
    found = renewed_in(snapshot, names)
    for name in names:
        unit = snapshot.units.get(name)
        template = snapshot.units.get(parse(name).template or "") if unit else None
        if unit is None or template is None or unit.hash not in template.history or unit.hash == template.hash:
            continue
        if file := snapshot.files.get(template.hash):
            found[name] = file.text
    return found


def _named(names: Sequence[str]) -> str:
    return short(names[0]) if len(names) == 1 else f"{len(names)} units"
