"""What is asked before something is stopped: the one door that every act of the main screen goes through.

The question is about the fleet as it was when it was put. If the act would reach further by the time of the answer,
nothing is done, and it is asked again with what is so now.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from fleettui.console.operations.impact import Care, Survey, impact_of_texts, needs_answer, words_to_type
from fleettui.console.operations.radius import impact_lines, short
from fleettui.console.operations.verbs import NO_LINK, READ_ONLY, command
from fleettui.console.screens.confirm import PROTECTED, ConfirmScreen
from fleettui.console.screens.frame import Frame
from fleettui.verbs import REPLACING, Verb
from registry.model import Target
from registry.sync.follow import ConnectionState

CHANGED = "This changed while you were asked; read it again."


class Guarding(Frame):
    """Asks first where more than one running unit stops."""

    @property
    def care(self) -> Care:
        """How sure an operator must be here."""
        return Care(self.desk.place.cluster, self.desk.place.protected, self.desk.confirm_from)

    def why_no_change(self) -> str:
        """Why nothing can be changed now; "" when it can be."""
        if self.desk.read_only:
            return READ_ONLY
        return "" if self.reading.link is ConnectionState.LIVE else NO_LINK

    def survey_texts(
        self, texts: Mapping[str, str], target: Target, *, replacing: bool, shown: bool = False
    ) -> Survey:
        """What submitting these texts would do now; `shown`: the operator has read that already."""
        if why := self.why_no_change():
            return Survey(refusal=f"cannot submit: {why}")
        snapshot, names = self.reading.snapshot, tuple(texts)
        impact = impact_of_texts(texts, target, snapshot, self.desk.keys, replacing=replacing)
        what = short(names[0]) if len(names) == 1 else f"{len(names)} units"
        verb = "replace" if replacing else "submit"
        lines = tuple(impact_lines(impact, snapshot, verb=REPLACING))
        same = command(Verb.SUBMIT, names, shown=3).replace("submit", f"submit{' --replace' * replacing}", 1)
        return Survey(f"{verb.capitalize()} {what}?", verb, lines, same, impact, names, shown=shown)

    def ask_first(
        self,
        survey: Callable[[], Survey],
        act: Callable[[Survey], object],
        otherwise: Callable[[], object] = lambda: None,
    ) -> None:
        """Act, at once or after the operator said yes; `otherwise` when it is refused or given up."""
        found = survey()
        if found.refusal:
            self.refuse(found.refusal)
            otherwise()
        elif needs_answer(found, self.care):
            self._ask(found, survey, act, otherwise)
        else:
            act(found)

    def _ask(
        self,
        asked: Survey,
        survey: Callable[[], Survey],
        act: Callable[[Survey], object],
        otherwise: Callable[[], object],
        *,
        again: bool = False,
    ) -> None:
        def answered(yes: bool | None) -> None:  # noqa: FBT001 - the screen's answer
            now = survey() if yes else asked
            if yes and not now.refusal and now.exceeds(asked):
                self._ask(now, survey, act, otherwise, again=True)
            elif yes and not now.refusal:
                act(now)
            else:
                if now.refusal:
                    self.refuse(now.refusal)
                otherwise()

        typed = words_to_type(asked, self.care)
        why = PROTECTED if self.care.protected else asked.told_weight
        lines = (CHANGED, *asked.lines) if again else asked.lines
        question = ConfirmScreen(
            asked.question, asked.verb, lines, asked.command, typed=typed, why=why, cluster=self.care.cluster
        )
        self.app.push_screen(question, answered)

    async def assured(self, survey: Callable[[], Survey]) -> bool:
        """`ask_first` for a task that waits for the answer: whether it may go on."""
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

        def answered(yes: bool) -> None:  # noqa: FBT001 - what the future is to hold
            if not answer.done():
                answer.set_result(yes)

        self.ask_first(survey, lambda _: answered(True), lambda: answered(False))  # noqa: FBT003 - the same
        return await answer
