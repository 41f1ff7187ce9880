"""The question before something is stopped: what will happen, with Cancel focused."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import wrap
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widgets import Button, Input

from fleettui.console.cells import Cell, Line, Tone
from fleettui.console.widgets.band import Band
from fleettui.escape import escape


class ConfirmScreen(ModalScreen[bool]):
    """Asks; True when the operator means it. With `typed`, only after that word was typed."""

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
        self, question: str, verb: str, lines: Sequence[str], command: str, *, typed: tuple[str, ...] = ()
    ) -> None:
        super().__init__()
        self._typed = typed
        self._question, self._verb, self._told, self._command = question, verb, lines, command

    def compose(self) -> ComposeResult:
        """The question, what it means, and the two answers."""
        with Vertical():
            yield Band(id="confirm-text", padding=0)
            if self._typed:
                yield Input(placeholder=f"type {self._typed[0]} to go on", id="typed", compact=True)
            with Horizontal():
                yield Button("Cancel", id="cancel", compact=True)
                yield Button(self._verb.capitalize(), id="go", compact=True, disabled=bool(self._typed))

    def on_mount(self) -> None:
        """Cancel has the focus, or the line for the name."""
        lines: list[Line] = [(Cell(self._question, Tone.STRONG),), ()]
        for told in self._told:
            first, *rest = wrap(escape(told), min(66, self.app.size.width - 14))
            lines += [(Cell(f"· {first}"),), *((Cell(f"  {line}"),) for line in rest)]
        lines += [(), (Cell(self._command, Tone.QUIET),)]
        if self._typed:
            what = " or ".join(self._typed)
            lines += [(), (Cell(f"This cluster is protected: type {what} to go on.", Tone.BAD),)]
        self.query_one("#confirm-text", Band).put(*((line, ()) for line in lines))
        if self._typed:  # nothing happens by Enter here either, and a name may begin with any key
            self.query_one("#typed", Input).cursor_blink = False
            self.query_one("#typed", Input).focus()
        else:
            self.query_one("#cancel", Button).focus()

    @on(Input.Changed, "#typed")
    def _typed_more(self, event: Input.Changed) -> None:
        self.query_one("#go", Button).disabled = event.value.strip() not in self._typed

    @on(Input.Submitted, "#typed")
    def _typed_all(self, event: Input.Submitted) -> None:
        if event.value.strip() in self._typed:
            self.query_one("#go", Button).focus()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """The answer."""
        self.dismiss(event.button.id == "go")

    def action_answer(self, answer: bool) -> None:  # noqa: FBT001 - the binding's argument
        """The answer by key."""
        self.dismiss(answer)
