"""After the editor: what the new text changes and would do, before anything is done. Cancel has the focus."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.widgets import Button

from fleettui.console.pages.detail import is_large
from fleettui.console.pages.review import Review
from fleettui.console.screens.text_screens import Background, Renewing
from fleettui.console.text.cells import Cell, Tone
from fleettui.console.widgets.drawing import Band
from fleettui.console.widgets.page import Page
from registry.mirror import Snapshot


class Choice(StrEnum):
    """What the operator wants done with the draft."""

    KEEP = "keep"  # nothing, and the text is kept
    AGAIN = "again"
    REPLACE = "replace"


class EditScreen(Renewing[tuple[Choice, tuple[str, ...]]]):
    """Shows the review and asks. `judge` reviews for the given units, again whenever the fleet changes."""

    DEFAULT_CSS = """
    EditScreen { align: center middle; background: $background 60%; }
    EditScreen > Vertical {
        width: 120; max-width: 96%; height: 92%; padding: 0 1;
        background: $panel; border: round $primary;
    }
    EditScreen Band, EditScreen Page { background: $panel; }
    EditScreen Page { height: 1fr; margin-top: 1; }
    EditScreen Horizontal { height: 1; align-horizontal: right; margin-top: 1; }
    EditScreen Button { margin-left: 2; min-width: 12; background: $bar-idle; }
    EditScreen Button:focus { background: $primary; color: $background; text-style: $button-focus-text-style; }
    EditScreen Button:disabled { color: $off; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "choose('keep')", "cancel"),
        Binding("n", "choose('keep')", "no"),
        Binding("y", "agree", "yes"),
        Binding("e", "choose('again')", "edit again"),
        Binding("a", "scope", "scope"),
        Binding("left,shift+tab", "app.focus_previous", "previous", priority=True),
        Binding("right,tab", "app.focus_next", "next", priority=True),
        Binding("up,k", "read('move', -1)", "up", priority=True),
        Binding("down,j", "read('move', 1)", "down", priority=True),
        Binding("pageup,ctrl+b", "read('page', -1)", "page up", priority=True),
        Binding("pagedown,ctrl+f", "read('page', 1)", "page down", priority=True),
    ]

    def __init__(
        self, name: str, others: Sequence[str], judge: Callable[[Sequence[str], Snapshot], Review],
        snapshot: Callable[[], Snapshot],
    ) -> None:  # fmt: skip
        super().__init__()
        self._unit, self._others, self._judge, self._snapshot = name, tuple(others), judge, snapshot
        self._background = Background(self)
        self._together = False

    @property
    def _names(self) -> tuple[str, ...]:
        return (self._unit, *self._others) if self._together else (self._unit,)

    def compose(self) -> ComposeResult:
        """What it does, and the answers."""
        with Vertical():
            yield Band(id="edit-title", padding=0)
            yield Page(id="edit-page")
            with Horizontal():
                yield Button("Cancel (n)", id="keep", compact=True)
                yield Button("Edit again (e)", id="again", compact=True)
                if self._others:
                    yield Button(f"All {len(self._others) + 1} (a)", id="scope", compact=True)
                yield Button("Replace (y)", id="replace", compact=True, disabled=True)

    def on_mount(self) -> None:
        """Cancel has the focus."""
        self.query_one("#edit-page", Page).can_focus = False
        self.query_one("#keep", Button).focus()
        self.renew()

    def renew(self) -> None:
        """Review it again: the fleet changed, or other units are meant."""
        names, snapshot = self._names, self._snapshot()
        what = f"{len(self._others) + 1} units of the same text" if self._together else self._unit
        hint = "j k PgUp PgDn read · Esc keeps the text for later"
        self.query_one("#edit-title", Band).put(((Cell(f"replace {what}?", Tone.HEAD),), (Cell(hint, Tone.QUIET),)))
        if self._others:
            label = "This one (a)" if self._together else f"All {len(self._others) + 1} (a)"
            self.query_one("#scope", Button).label = label

        def show(found: Review) -> None:
            self.query_one("#edit-page", Page).put(found.page)
            self.query_one("#replace", Button).disabled = not found.fine

        self._background.write(names, lambda: self._judge(names, snapshot), show, heavy=is_large(snapshot))

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """The answer."""
        if event.button.id == "scope":
            self.action_scope()
        else:
            self.action_choose(str(event.button.id))

    def action_scope(self) -> None:
        """For this unit alone, or for all of its template that have the same text."""
        self._together = bool(self._others) and not self._together
        self.query_one("#replace", Button).disabled = True  # until it is reviewed for these
        self.renew()

    def action_agree(self) -> None:
        """Replace, once the review allows it."""
        if not self.query_one("#replace", Button).disabled:
            self.action_choose(Choice.REPLACE)

    def action_choose(self, choice: str) -> None:
        """The answer by key."""
        self.dismiss((Choice(choice), self._names))

    def action_read(self, action: str, steps: int) -> None:
        """Read on while the buttons have the focus."""
        page = self.query_one("#edit-page", Page)
        (page.action_page if action == "page" else page.scroll_lines)(steps)
