"""The operations on units: what a key or a command does to them, surveyed first, asked about, then carried out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from textual.screen import Screen

from fleettui.console.operations.impact import (
    Survey,
    impact_of,
    impact_of_restoring,
    impact_of_texts,
    impact_of_undoing,
)
from fleettui.console.operations.impact_text import impact_lines, short, stopping_lines, units_line
from fleettui.console.operations.operation import Operation, undo_command
from fleettui.console.operations.runner import OperationRunner
from fleettui.console.operations.verbs import NO_LINK, READ_ONLY, Permit, command, permit
from fleettui.console.screens.confirm import Confirmer
from fleettui.console.screens.context import Context
from fleettui.console.screens.navigator import Selection
from fleettui.console.screens.status_line import StatusLine
from fleettui.console.tables.fleet import FleetModel, Reading
from fleettui.console.text.formatting import counted
from fleettui.verbs import REPLACING, Verb
from registry.errors import UserError
from registry.model import Target
from registry.sync.follow import ConnectionState


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
                self._runner.on_units(verb, found.names), name=f"{verb}", exit_on_error=False
            ),
        )

    def permit(self, verb: Verb, names: Sequence[str], reading: Reading | None = None) -> Permit:
        """Return which of these units the verb can be carried out on, now or by a reading, or why on none."""
        reading = reading or self._fleet.reading
        return permit(verb, names, reading.snapshot, link=reading.link, read_only=self._context.read_only)

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
        )  # fmt: skip

    # Texts

    def submit(self, texts: Mapping[str, str], target: Target, *, replace: bool) -> None:
        """Submit units and raise their target, as one operation, after asking where that stops what runs."""
        if why := self._why_no_change(self._fleet.reading):
            raise UserError(f"cannot submit: {why}")
        self._confirmer.ask_first(
            lambda reading: self.survey_texts(reading, texts, target, replacing=replace),
            lambda _: self._screen.run_worker(
                self._runner.submit(texts, target, replace=replace), name="submit", exit_on_error=False
            ),
        )

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
        return Survey(question, verb, lines, same, impact, names, shown=shown)

    def _why_no_change(self, reading: Reading) -> str:
        """Say why nothing can be changed; "" when it can be."""
        if self._context.read_only:
            return READ_ONLY
        return "" if reading.link is ConnectionState.LIVE else NO_LINK

    # Undo

    def undo(self) -> None:
        """Take the last operation back, after asking where that stops something or starts much."""
        last = self._runner.can_undo
        if last is None or self._context.read_only:
            self._status.show(READ_ONLY if self._context.read_only else "nothing to undo")
            return
        self._confirmer.ask_first(
            lambda reading: self._survey_undo(reading, last),
            lambda _: self._screen.run_worker(self._runner.undo(last), name="undo", exit_on_error=False),
        )

    def _survey_undo(self, reading: Reading, last: Operation) -> Survey:
        """Say what taking this operation back would do."""
        snapshot, keys = reading.snapshot, self._context.keys
        if why := self._why_no_change(reading):
            return Survey(refusal=f"cannot undo: {why}")
        if last.changes:
            impact = impact_of_restoring(last.changes, snapshot, keys)
        else:
            impact = impact_of_undoing(last.verb, last.written, snapshot, keys)
        what = counted(len(last.changes), "machine") if last.changes else counted(len(last.written), "unit")
        lines = tuple(impact_lines(impact, snapshot))
        return Survey(f"Undo: {last.verb} of {what}?", Verb.UNDO, lines, undo_command(last), impact)


def _named(names: Sequence[str]) -> str:
    return short(names[0]) if len(names) == 1 else f"{len(names)} units"
