"""The question before something is stopped, and when it is asked.

`Confirmer` is the one way to every operation of the main screen. Its question is about the fleet as it was when it
was put. If the operation would reach further by the time of the answer, nothing is done, and it is asked again
about the fleet as it is now.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.screen import ModalScreen, Screen
from textual.widgets import Button, Input

from fleettui.console.operations.impact import Care, Survey, needs_answer, words_to_type
from fleettui.console.pages.detail import is_large
from fleettui.console.tables.fleet import FleetModel, Reading
from fleettui.console.text.cells import Cell, Line, Tone, line_text
from fleettui.console.widgets.drawing import Band, wrapped
from fleettui.escape import escape

EACH = 4  # rows of one line of the text; what is longer ends in an ellipsis
AROUND = 6  # rows of the dialog that are not text: border, padding, the buttons
PROTECTED = "This cluster is protected"
CHANGED = "This changed while you were asked; read it again."


class ConfirmScreen(ModalScreen[bool]):
    """Asks; True when the operator means it. With `typed`, only after one of those words was typed.

    `why` says why a word must be typed, `cluster` where all this is. Whatever the lines hold, question and answers
    stay on the screen.
    """

    DEFAULT_CSS = """
    ConfirmScreen { align: center middle; background: $background 60%; }
    ConfirmScreen > Vertical {
        width: 76; max-width: 94%; height: auto; max-height: 90%; padding: 1 2;
        background: $panel; border: round $error;
    }
    ConfirmScreen Band { background: $panel; }
    ConfirmScreen Input { margin-top: 1; background: $bar-idle; }
    ConfirmScreen Horizontal { height: auto; align-horizontal: right; margin-top: 1; }
    ConfirmScreen Button { margin-left: 2; min-width: 14; background: $bar-idle; }
    ConfirmScreen Button:focus { background: $primary; color: $background; text-style: $button-focus-text-style; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "answer(False)", "cancel"),
        Binding("n", "answer(False)", "no"),
        Binding("left,up,shift+tab", "app.focus_previous", "previous"),
        Binding("right,down,tab", "app.focus_next", "next"),
    ]

    def __init__(
        self,
        question: str,
        verb: str,
        lines: Sequence[str],
        command: str,
        *,
        typed: tuple[str, ...] = (),
        why: str = PROTECTED,
        cluster: str = "",
    ) -> None:
        super().__init__()
        self._cluster = cluster
        self._typed, self._why = typed, why
        self._question, self._verb, self._lines, self._command = question, verb, lines, command

    def compose(self) -> ComposeResult:
        """The question, what it means, and the two answers."""
        with Vertical():
            yield Band(id="confirm-text", padding=0)
            if self._typed:
                yield Input(placeholder=escape(f"type {self._typed[0]} to go on"), id="typed", compact=True)
            with Horizontal():
                yield Button("Cancel", id="cancel", compact=True)
                yield Button(self._verb.capitalize(), id="go", compact=True, disabled=bool(self._typed))

    def on_mount(self) -> None:
        """Give the focus to Cancel, or to the line for the word."""
        self.query_one(Vertical).border_title = Content(f"cluster {escape(self._cluster)}" if self._cluster else "")
        self._write()
        if self._typed:  # nothing happens by Enter here either, and a name may begin with any key
            self.query_one("#typed", Input).cursor_blink = False
            self.query_one("#typed", Input).focus()
        else:
            self.query_one("#cancel", Button).focus()

    def on_resize(self) -> None:
        """Wrap for the other width."""
        self._write()

    def _write(self) -> None:
        width = max(10, min(70, self.app.size.width - 12))
        head: list[Line] = [*_rows(self._question, width, "", Tone.STRONG, 2), ()]
        tail: list[Line] = [(), *_rows(self._command, width, "", Tone.QUIET, 3)]
        if self._typed:
            what = f"{self._why}: type {' or '.join(self._typed)} to go on."
            tail += [(), *_rows(what, width, "", Tone.BAD, 3)]
        rows = [line for each in self._lines for line in _rows(each, width - 2, "· ", Tone.PLAIN, EACH)]
        room = int(self.app.size.height * 0.9) - AROUND - 2 * bool(self._typed) - len(head) - len(tail)
        if len(rows) > max(1, room):
            rows = [*rows[: max(0, room - 1)], (Cell("  …", Tone.QUIET),)]
        self.query_one("#confirm-text", Band).put(*((line, ()) for line in (*head, *rows, *tail)))

    @on(Input.Changed, "#typed")
    def _typed_more(self, event: Input.Changed) -> None:
        self.query_one("#go", Button).disabled = event.value.strip() not in self._typed

    @on(Input.Submitted, "#typed")
    def _typed_all(self, event: Input.Submitted) -> None:
        if event.value.strip() in self._typed:
            self.query_one("#go", Button).focus()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """Answer."""
        self.dismiss(event.button.id == "go")

    def action_answer(self, answer: bool) -> None:  # noqa: FBT001 - the binding's argument
        """Answer by key."""
        self.dismiss(answer)


def _rows(text: str, width: int, mark: str, tone: Tone, most: int) -> list[Line]:
    """Return a text in rows of this width, the mark before the first; at most `most` of them."""
    text = escape(text[: width * (most + 1)])
    lead = (Cell(mark, tone),) if mark else ()
    rows = wrapped((*lead, Cell(text, tone)), width)
    if len(rows) > most:
        rows = [*rows[: most - 1], (*rows[most - 1], Cell("…", tone))]
    return [(Cell(line_text(row).rstrip(), tone),) for row in rows]


class Confirmer:
    """Asks first where more than one running unit stops. `care` says how sure the operator must be here."""

    def __init__(
        self, screen: Screen[None], fleet: FleetModel, care: Care, show_status: Callable[[str], None]
    ) -> None:
        self.care = care
        self._screen, self._fleet, self._show_status = screen, fleet, show_status
        self._surveying = False

    def ask_first(
        self,
        survey: Callable[[Reading], Survey],
        perform: Callable[[Survey], object],
        otherwise: Callable[[], object] = lambda: None,
    ) -> None:
        """Perform it, at once or after the operator said yes; `otherwise` when it is refused or given up.

        `survey` says what it would do by a reading. On a large fleet it is called in a thread.
        """

        def surveyed(found: Survey) -> None:
            if found.refusal:
                self._show_status(found.refusal)
                otherwise()
            elif needs_answer(found, self.care):
                self._ask(found, survey, perform, otherwise)
            else:
                perform(found)

        self._survey(survey, surveyed, otherwise)

    def _survey(
        self,
        survey: Callable[[Reading], Survey],
        then: Callable[[Survey], None],
        otherwise: Callable[[], object],
    ) -> None:
        """Survey the fleet as it is now, one operation at a time."""
        reading = self._fleet.reading

        async def survey_beside() -> None:
            try:
                found = await asyncio.to_thread(survey, reading)
            except BaseException:
                otherwise()
                raise
            finally:
                self._surveying = False
            self._show_status("")
            then(found)

        if not is_large(reading.snapshot):
            then(survey(reading))
        elif self._surveying:
            self._show_status("one thing at a time: still looking at what the last one would stop")
            otherwise()
        else:
            self._surveying = True
            self._show_status("looking at what that would stop …")
            self._screen.run_worker(survey_beside(), name="survey", exit_on_error=False)

    async def confirmed(self, survey: Callable[[Reading], Survey]) -> bool:
        """Do the same for a task that waits for the answer; return whether it may go on."""
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

        def answered(yes: bool) -> None:  # noqa: FBT001 - what the future is to hold
            if not answer.done():
                answer.set_result(yes)

        self.ask_first(survey, lambda _: answered(True), lambda: answered(False))  # noqa: FBT003 - the same
        return await answer

    def _ask(
        self,
        asked: Survey,
        survey: Callable[[Reading], Survey],
        perform: Callable[[Survey], object],
        otherwise: Callable[[], object],
        *,
        again: bool = False,
    ) -> None:
        def surveyed(now: Survey) -> None:
            if now.refusal:
                self._show_status(now.refusal)
                otherwise()
            elif now.exceeds(asked):
                self._ask(now, survey, perform, otherwise, again=True)
            else:
                perform(now)

        def answered(yes: bool | None) -> None:  # noqa: FBT001 - the screen's answer
            if yes:
                self._survey(survey, surveyed, otherwise)
            else:
                otherwise()

        typed = words_to_type(asked, self.care)
        why = PROTECTED if self.care.protected else asked.weight_text
        lines = (CHANGED, *asked.lines) if again else asked.lines
        question = ConfirmScreen(
            asked.question, asked.verb, lines, asked.command, typed=typed, why=why, cluster=self.care.cluster
        )
        self._screen.app.push_screen(question, answered)
