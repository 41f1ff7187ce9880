"""The question before something is stopped, and when it is asked.

`Confirmer` is the one way to every operation of the main screen. Its question is about the fleet as it was when it
was put. If the operation would reach further by the time of the answer, nothing is done, and it is asked again
about the fleet as it is now.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.events import DescendantFocus, Key
from textual.screen import Screen
from textual.widgets import Button, Input

from fleettui.console.operations.impact import ALL, Care, Survey, is_pace, needs_answer, words_to_type
from fleettui.console.pages.detail import is_large
from fleettui.console.screens.text_screens import Renewing
from fleettui.console.tables.fleet import FleetModel, Reading
from fleettui.console.text.cells import Cell, Line, Tone, line_text
from fleettui.console.widgets.drawing import Band, wrapped
from fleettui.console.widgets.prompt import OrderedInput, pass_on
from fleettui.escape import escape

EACH = 4  # rows of one line of the text; what is longer ends in an ellipsis
AROUND = 6  # rows of the dialog that are not text: border, padding, the buttons
PROTECTED = "This cluster is protected"
CHANGED = "This changed while you were asked; read it again."


class PaceInput(Input):
    """The line for how many at a time: y and n, which are in no pace, answer the question."""

    async def _on_key(self, event: Key) -> None:
        if event.key in ("y", "n"):
            event.prevent_default()
            event.stop()
            await self.screen.run_action("agree" if event.key == "y" else "cancel")
        else:
            await super()._on_key(event)


class ConfirmScreen(Renewing[Survey | None]):
    """Asks about a survey; returns it when the operator means it, with how many at a time, if that was asked.

    Where many stop at once, a word must be typed first: `care` says which. `again`: it was asked before, and has
    changed. `survey` says what it would do by now, wherever that is quickly said. Whatever the lines hold, question
    and answers stay on the screen.
    """

    DEFAULT_CSS = """
    ConfirmScreen { align: center middle; background: $background 60%; }
    ConfirmScreen > Vertical {
        width: 76; max-width: 94%; height: auto; max-height: 90%; padding: 1 2;
        background: $panel; border: round $error;
    }
    ConfirmScreen Band { background: $panel; }
    ConfirmScreen Input { background: $bar-idle; }
    ConfirmScreen #typed { margin-top: 1; }
    ConfirmScreen #at-a-time { width: 8; padding: 0 1; }
    ConfirmScreen #at-a-time:focus { background: $bar; }
    ConfirmScreen #pace { width: 1fr; }
    ConfirmScreen Horizontal { height: auto; align-horizontal: right; margin-top: 1; }
    ConfirmScreen #paces { align-horizontal: left; }
    ConfirmScreen Button { margin-left: 2; min-width: 14; background: $bar-idle; }
    ConfirmScreen Button:focus { background: $primary; color: $background; text-style: $button-focus-text-style; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "cancel", "cancel"),
        Binding("y", "agree", "yes"),
        Binding("n", "cancel", "no"),
        Binding("left,up,shift+tab", "app.focus_previous", "previous"),
        Binding("right,down,tab", "app.focus_next", "next"),
    ]

    def __init__(
        self, asked: Survey, care: Care, *, again: bool = False, survey: Callable[[], Survey] | None = None
    ) -> None:
        super().__init__()
        self._asked, self._care, self._by_key = asked, care, False
        self._lead, self._survey = (CHANGED,) if again else (), survey
        self._lines = (*self._lead, *asked.lines)

    @property
    def _words(self) -> tuple[str, ...]:
        """The words of which one must be typed, at the pace that is chosen now."""
        return words_to_type(self._asked, self._care)

    def compose(self) -> ComposeResult:
        """The question, what it means, how many at a time, and the two answers."""
        asked = self._asked
        with Vertical():
            yield Band(id="confirm-text", padding=0)
            yield OrderedInput(id="typed")
            with Horizontal(id="paces"):
                yield PaceInput(asked.at_a_time, id="at-a-time", compact=True, max_length=5, select_on_focus=False)
                yield Band(id="pace", padding=1)
            with Horizontal():
                yield Button("Cancel (n)", id="cancel", compact=True)
                yield Button(f"{(asked.answer or asked.verb).capitalize()} (y)", id="go", compact=True)

    def on_mount(self) -> None:
        """Give the focus to Cancel, or to the line for the word."""
        cluster = escape(self._care.cluster)
        self.query_one(Vertical).border_title = Content(f"cluster {cluster}" if cluster else "")
        self.query_one("#paces").display = bool(self._asked.at_a_time)
        for field in self.query(Input):
            field.cursor_blink = False
        self._judge()
        # Nothing happens by Enter here either, and a name may begin with any key.
        self.set_focus(self.query_one("#typed" if self._words and not self._asked.at_a_time else "#cancel"))

    def renew(self) -> None:
        """Show what it would do by now. What is answered is judged by what was asked first."""
        found = self._survey() if self._survey is not None else None
        if found is None or (not found.refusal and (*self._lead, *found.lines) == self._lines):
            return
        self._lines = (*self._lead, *((found.refusal,) if found.refusal else found.lines))
        self._write()

    def on_resize(self) -> None:
        """Wrap for the other width."""
        self._write()

    def _write(self) -> None:
        width = max(10, min(70, self.app.size.width - 12))
        head: list[Line] = [*_rows(self._asked.question, width, "", Tone.STRONG, 2), ()]
        tail: list[Line] = [(), *_rows(self._asked.same, width, "", Tone.QUIET, 3)]
        if words := self._words:
            why = PROTECTED if self._care.protected else self._asked.weight_text
            tail += [(), *_rows(f"{why}: type {' or '.join(words)} to go on.", width, "", Tone.BAD, 3)]
        rows = [line for each in self._lines for line in _rows(each, width - 2, "· ", Tone.PLAIN, EACH)]
        room = (
            int(self.app.size.height * 0.9)
            - AROUND
            - 2 * bool(words)
            - 2 * bool(self._asked.at_a_time)
            - len(head)
            - len(tail)
        )
        if len(rows) > max(1, room):
            rows = [*rows[: max(0, room - 1)], (Cell("  …", Tone.QUIET),)]
        self.query_one("#confirm-text", Band).put(*((line, ()) for line in (*head, *rows, *tail)))

    def _judge(self) -> None:
        """Bring the lines in accord with what was typed."""
        pace, words = self.query_one("#at-a-time", Input).value.strip().lower(), self._words
        fine = not self._asked.at_a_time or is_pace(pace)
        if fine and self._asked.at_a_time:
            self._asked = self._asked.paced(pace)
            words = self._words
        typed = self.query_one("#typed", Input)
        typed.display = bool(words)
        typed.placeholder = escape(f"type {words[0]} to go on") if words else ""
        self.query_one("#go", Button).disabled = not fine or (bool(words) and typed.value.strip() not in words)
        told = Cell("at a time: a number, 25%, or all", Tone.QUIET)
        if not fine:
            told = Cell("that is no number from 1, no share such as 25%, and not all", Tone.BAD)
        self.query_one("#pace", Band).put(((told,), ()))
        self._write()

    @on(Input.Changed)
    def _typed_more(self) -> None:
        self._judge()

    @on(Input.Submitted)
    def _typed_all(self, event: Input.Submitted) -> None:
        typed, go = self.query_one("#typed", Input), self.query_one("#go", Button)
        if not go.disabled:
            go.focus()
        elif event.input is not typed and typed.display:
            typed.focus()
        pass_on(event)

    def on_key(self, event: Key) -> None:
        """Let a digit say how many at a time, and `a` all, without going to the line first."""
        pace = self.query_one("#at-a-time", Input)
        character = event.character or "-"
        if not self._asked.at_a_time or isinstance(self.focused, Input) or character not in "123456789a":
            return
        event.stop()
        pace.value = ALL if character == "a" else character
        pace.cursor_position, self._by_key = len(pace.value), True
        pace.focus()

    def on_descendant_focus(self, event: DescendantFocus) -> None:
        """Let what is typed next replace the number, unless it has just been begun."""
        if event.widget.id == "at-a-time" and not self._by_key:
            self.query_one("#at-a-time", Input).select_all()
        self._by_key = False

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """Answer."""
        self.dismiss(self._asked if event.button.id == "go" else None)

    def action_agree(self) -> None:
        """Answer yes, where nothing has to be typed first."""
        if not self.query_one("#go", Button).disabled:
            self.dismiss(self._asked)

    def action_cancel(self) -> None:
        """Answer no."""
        self.dismiss(None)


def _rows(text: str, width: int, mark: str, tone: Tone, most: int) -> list[Line]:
    """Return a text in rows of this width, the mark before the first; at most `most` of them."""
    text = escape(text[: width * (most + 1)])
    lead = (Cell(mark, tone),) if mark else ()
    rows = wrapped((*lead, Cell(text, tone)), width)
    if len(rows) > most:
        rows = [*rows[: most - 1], (*rows[most - 1], Cell("…", tone))]
    return [(Cell(line_text(row).rstrip(), tone),) for row in rows]


class Confirmer:
    """Asks first where more than one running unit stops. `care` says how sure the operator must be here.

    `pace` is how many at a time were chosen last; "" before that.
    """

    def __init__(
        self,
        screen: Screen[None],
        fleet: FleetModel,
        care: Care,
        show_status: Callable[[str], None],
        pace: str = "",
    ) -> None:
        self.care, self.pace = care, pace
        self._screen, self._fleet, self._show_status = screen, fleet, show_status
        self._surveying = False

    def ask_first(
        self,
        survey: Callable[[Reading], Survey],
        perform: Callable[[Survey], object],
        otherwise: Callable[[], object] = lambda: None,
        *,
        in_thread: bool = False,
    ) -> None:
        """Perform it, at once or after the operator said yes; `otherwise` when it is refused or given up.

        `survey` says what it would do by a reading. On a large fleet or `in_thread` it is called in a thread.
        """

        def surveyed(found: Survey) -> None:
            if found.refusal:
                self._show_status(found.refusal)
                otherwise()
            elif needs_answer(found, self.care):
                self._ask(found, survey, perform, otherwise, in_thread=in_thread)
            else:
                perform(found)

        self._survey(survey, surveyed, otherwise, in_thread=in_thread)

    def _survey(
        self,
        survey: Callable[[Reading], Survey],
        then: Callable[[Survey], None],
        otherwise: Callable[[], object],
        *,
        in_thread: bool,
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

        if not (in_thread or is_large(reading.snapshot)):
            then(survey(reading))
        elif self._surveying:
            self._show_status("one thing at a time: still looking at what the last one would stop")
            otherwise()
        else:
            self._surveying = True
            self._show_status("looking at what that would stop …")
            self._screen.run_worker(survey_beside(), name="survey", exit_on_error=False)

    async def confirmed(self, survey: Callable[[Reading], Survey]) -> Survey | None:
        """Do the same for a task that waits for the answer; return what may be carried out, None for nothing."""
        answer: asyncio.Future[Survey | None] = asyncio.get_running_loop().create_future()

        def answered(found: Survey | None) -> None:
            if not answer.done():
                answer.set_result(found)

        self.ask_first(survey, answered, lambda: answered(None))
        return await answer

    def _ask(
        self,
        asked: Survey,
        survey: Callable[[Reading], Survey],
        perform: Callable[[Survey], object],
        otherwise: Callable[[], object],
        *,
        in_thread: bool,
        again: bool = False,
    ) -> None:
        def answered(answer: Survey | None) -> None:
            if answer is None:
                otherwise()
                return

            def surveyed(now: Survey) -> None:
                now = now.paced(answer.at_a_time) if now.at_a_time else now
                if now.refusal:
                    self._show_status(now.refusal)
                    otherwise()
                elif now.exceeds(asked):
                    self._ask(now, survey, perform, otherwise, in_thread=in_thread, again=True)
                else:
                    perform(now)

            if answer.rolls:
                self.pace = answer.at_a_time
            self._survey(survey, surveyed, otherwise, in_thread=in_thread)

        quick = not (in_thread or is_large(self._fleet.reading.snapshot))
        now = (lambda: survey(self._fleet.reading)) if quick else None
        self._screen.app.push_screen(ConfirmScreen(asked, self.care, again=again, survey=now), answered)
