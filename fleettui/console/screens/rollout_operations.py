"""The operations on rollouts: pause, go on, abort, undo, redo; each asks first where it cannot be taken back."""

from __future__ import annotations

from dataclasses import replace

from textual.screen import Screen

from fleettui.actions.rollouts import ACTS, Policy, plan_moves, texts_again_in
from fleettui.console.operations.impact import (
    Survey,
    impact_of_moves,
    impact_of_rolling_back,
    impact_of_texts,
    usual_pace,
)
from fleettui.console.operations.impact_text import MACHINES_NAMED, impact_lines, move_lines
from fleettui.console.operations.runner import OperationRunner
from fleettui.console.operations.verbs import NO_LINK, RolloutVerb, rollout_command
from fleettui.console.screens.confirm import Confirmer
from fleettui.console.screens.context import Context, StatusLine
from fleettui.console.screens.navigator import Selection
from fleettui.console.screens.text_screens import PageScreen
from fleettui.console.tables.fleet import FleetModel, Reading
from fleettui.console.tables.rollouts import settled_count
from fleettui.console.text.cells import Cell
from fleettui.console.text.formatting import counted
from fleettui.console.text.keys import Key
from fleettui.verbs import REPLACING
from placement.rebalance import MOST, tied_units
from registry.errors import UserError
from registry.model import RolloutState, Target
from registry.sync.follow import ConnectionState


class RolloutOperations:
    """What is done to rollouts."""

    def __init__(
        self, screen: Screen[None], context: Context, fleet: FleetModel, selection: Selection,
        runner: OperationRunner, confirmer: Confirmer, status: StatusLine,
    ) -> None:  # fmt: skip
        self._screen, self._context, self._fleet, self._selection = screen, context, fleet, selection
        self._runner, self._confirmer, self._status = runner, confirmer, status

    def perform_on_selection(self, name: str) -> None:
        """Pause or go on with the chosen rollout, abort it, or undo it; begin one again that went back."""
        chosen = self._selection.rollout()
        if chosen:
            self.perform(self._meant(RolloutVerb(name), chosen), chosen)
        else:
            self._status.show("no rollout is selected")

    def perform(self, verb: RolloutVerb, name: str) -> None:
        """Carry a verb out on a rollout, after asking where that cannot be taken back."""
        self._confirmer.ask_first(
            lambda reading: self._survey(reading, verb, name),
            lambda _: self._screen.run_worker(
                self._runner.on_rollout(verb, self._fleet.reading.snapshot.rollouts[name]),
                name=f"{verb} a rollout",
                exit_on_error=False,
            ),
        )

    def _survey(self, reading: Reading, verb: RolloutVerb, name: str) -> Survey:
        """Say what the verb would do to this rollout."""
        if why := self._refusal(reading, verb, name):
            return Survey(refusal=why)
        rollout, snapshot = reading.snapshot.rollouts[name], reading.snapshot
        same = rollout_command(verb, name)
        question = f"{verb.capitalize()} rollout {name}?"
        if verb is RolloutVerb.UNDO:
            impact = impact_of_rolling_back(rollout, snapshot)
            lines = (
                f"Every unit that has its new file gets the old one again, {rollout.at_a_time} at a time.",
                *impact_lines(impact, snapshot, verb=REPLACING),
            )
            return Survey(question, verb, lines, same, impact, always=True, at_once=rollout.at_a_time)
        if verb is RolloutVerb.REDO:
            texts = texts_again_in(rollout, snapshot)
            impact = impact_of_texts(texts, Target.INACTIVE, snapshot, self._context.keys, replacing=True)
            lines = (
                f"{counted(len(texts), 'unit')} get their new files again by another rollout,"
                f" {rollout.at_a_time} at a time.",
                *impact_lines(impact, snapshot, verb=REPLACING),
            )
            return Survey(question, verb, lines, same, impact, always=True, at_once=rollout.at_a_time)
        if verb is RolloutVerb.ABORT:
            settled = settled_count(rollout)
            rest = len(rollout.steps) - settled - len(rollout.failed)
            return Survey(question, verb, (
                f"{counted(settled, 'unit')} of {len(rollout.steps)} have settled and stay so.",
                f"{counted(rest, 'unit')} have no further turn. It cannot go on after that, only be undone.",
            ), same, always=True)  # fmt: skip
        lines = tuple(f"{each.unit} failed, and is passed by: {each.reason}" for each in rollout.failed[:4])
        passes = verb is RolloutVerb.RESUME and bool(rollout.failed)
        return Survey(question, verb, lines, same, always=passes)

    # Even machines

    def rebalance(self, policy: Policy, pace: str = "", name: str = "") -> None:
        """Move units to where they would be placed today, as a rollout, after showing what moves and what stays.

        `pace`: how many at a time are offered; "": as usual.
        """
        self._confirmer.ask_first(
            lambda reading: replace(self._survey_moves(reading, pace), policy=policy.flags),
            lambda found: self._screen.run_worker(
                self._runner.move(
                    found.snapshot, found.moves, replace(policy, at_a_time=found.at_a_time or "1"), found.same, name
                ),
                name="rebalance",
                exit_on_error=False,
            ),
            in_thread=True,
        )

    def show_rebalance(self) -> None:
        """Show every move that a rebalance would make, and what stays."""

        def show(found: Survey) -> None:
            lines = [(Cell(line),) for line in found.lines]
            self._screen.app.push_screen(PageScreen("rebalance: what would move", lambda: lines))

        self._confirmer.ask_first(self._plan_moves, show, in_thread=True)

    def _survey_moves(self, reading: Reading, pace: str) -> Survey:
        """Say what would move and what would stay, to be asked about."""
        if self._context.read_only or reading.link is not ConnectionState.LIVE:
            return Survey(refusal=f"cannot rebalance: {self._context.barred or NO_LINK}")
        found = self._plan_moves(reading, MACHINES_NAMED)
        if found.refusal:
            return found
        count, impact = len(found.moves), impact_of_moves(found.moves, reading.snapshot)
        asked = replace(found, impact=impact, names=tuple(each.unit for each in found.moves), always=True)
        if count > 1 or pace:
            asked = asked.paced(pace or usual_pace(count, self._confirmer.pace))
        return asked

    def _plan_moves(self, reading: Reading, most: int = MOST) -> Survey:
        """Say what would move and what would stay, naming so many of the moves."""
        snapshot, keys = reading.snapshot, self._context.keys
        try:
            moves = plan_moves(snapshot, keys)
        except UserError as error:
            return Survey(refusal=f"cannot rebalance: {error}")
        if not moves:
            return Survey(refusal="nothing is to be moved: every unit is where it would be placed today, or tied")
        lines = move_lines(moves, tied_units(snapshot, keys), snapshot, most=most)
        question = f"Move {counted(len(moves), 'unit')}?"
        return Survey(question, "move", tuple(lines), "fleetctl rebalance", moves=moves, snapshot=snapshot)

    def _refusal(self, reading: Reading, verb: RolloutVerb, name: str) -> str:
        """Say why it cannot be done; "" when it can be."""
        if self._context.read_only:
            return f"cannot {verb}: {self._context.barred}"
        if reading.link is not ConnectionState.LIVE:
            return f"cannot {verb}: {NO_LINK}"
        rollout = reading.snapshot.rollouts.get(name)
        if rollout is None:
            return f"there is no rollout {name}"
        try:
            if verb is RolloutVerb.REDO:
                texts_again_in(rollout, reading.snapshot)
            else:
                ACTS[verb](rollout, "")
        except UserError as error:
            return f"cannot {verb}: {error}"
        return ""

    def _meant(self, verb: RolloutVerb, name: str) -> RolloutVerb:
        """What a key means for this rollout: one pauses it and goes on, another undoes it and does it again."""
        known = self._fleet.reading.snapshot.rollouts.get(name)
        if known is not None and verb is RolloutVerb.PAUSE and known.state is RolloutState.PAUSED:
            return RolloutVerb.RESUME
        return RolloutVerb.REDO if known is not None and verb is RolloutVerb.UNDO and known.back else verb

    # What the footer says

    def label_of(self, key: Key) -> str:
        """Return what the key would do to the chosen rollout."""
        return LABELS.get(self._verb_of(key), key.label) if key.id in VERBS else key.label

    def can_use(self, key: Key) -> bool:
        """Whether the key would do something to the chosen rollout now."""
        chosen = self._selection.rollout()
        return bool(chosen) and not self._refusal(self._fleet.reading, self._verb_of(key), chosen)

    def _verb_of(self, key: Key) -> RolloutVerb:
        return self._meant(VERBS[key.id], self._selection.rollout())


LABELS = {RolloutVerb.RESUME: "go on", RolloutVerb.REDO: "do again"}  # where a key means another verb than its own
VERBS = {"pause": RolloutVerb.PAUSE, "abort": RolloutVerb.ABORT, "roll_back": RolloutVerb.UNDO}
