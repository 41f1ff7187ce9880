"""The question before something is stopped: what will happen, with Cancel focused."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import wrap
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widgets import Button

from fleettui.console.cells import Cell, Line, Tone
from fleettui.console.widgets.band import Band


class ConfirmScreen(ModalScreen[bool]):
    """Asks; True when the operator means it."""

    DEFAULT_CSS = """
    ConfirmScreen { align: center middle; background: $background 60%; }
    ConfirmScreen > Vertical {
        width: 76; max-width: 94%; height: auto; max-height: 90%; padding: 1 2;
        background: $panel; border: round $error;
    }
    ConfirmScreen Band { background: $panel; }
    ConfirmScreen Horizontal { height: auto; align-horizontal: right; margin-top: 1; }
    ConfirmScreen Button { margin-left: 2; min-width: 14; background: $bar-idle; }
    ConfirmScreen Button:focus { background: $primary; color: $background; text-style: $button-focus-text-style; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,n", "answer(False)", "cancel"),
        Binding("left,up,shift+tab", "app.focus_previous", "previous"),
        Binding("right,down,tab", "app.focus_next", "next"),
    ]

    def __init__(self, question: str, verb: str, lines: Sequence[str], command: str) -> None:
        super().__init__()
        self._question, self._verb, self._told, self._command = question, verb, lines, command

    def compose(self) -> ComposeResult:
        """The question, what it means, and the two answers."""
        with Vertical():
            yield Band(id="confirm-text", padding=0)
            with Horizontal():
                yield Button("Cancel", id="cancel", compact=True)
                yield Button(self._verb.capitalize(), id="go", compact=True)

    def on_mount(self) -> None:
        """Cancel has the focus."""
        lines: list[Line] = [(Cell(self._question, Tone.STRONG),), ()]
        for told in self._told:
            first, *rest = wrap(told, min(68, self.app.size.width - 12))
            lines += [(Cell(f"· {first}"),), *((Cell(f"  {line}"),) for line in rest)]
        lines += [(), (Cell(self._command, Tone.QUIET),)]
        self.query_one("#confirm-text", Band).put(*((line, ()) for line in lines))
        self.query_one("#cancel", Button).focus()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """The answer."""
        self.dismiss(event.button.id == "go")

    def action_answer(self, answer: bool) -> None:  # noqa: FBT001 - the binding's argument
        """The answer by key."""
        self.dismiss(answer)
