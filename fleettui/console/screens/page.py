"""A page of text over the main screen: why, a unit file, events, help."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar, TypeVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen

from fleettui.console.text.cells import Cell, Line, Tone
from fleettui.console.widgets.drawing import Band, wrapped
from fleettui.console.widgets.page import Lines

Result = TypeVar("Result")


class Renewing(ModalScreen[Result]):
    """A screen over the main one that shows something of the cluster, so that it changes with it."""

    def renew(self) -> None:
        """The cluster changed."""
        raise NotImplementedError


class PageScreen(Renewing[None]):
    """Lines to read. `write` makes them anew whenever the cluster changes."""

    DEFAULT_CSS = """
    PageScreen { align: center middle; background: $background 60%; }
    PageScreen > Vertical {
        width: 92%; max-width: 120; height: 86%; padding: 0 1;
        background: $panel; border: round $primary;
    }
    PageScreen Band, PageScreen Lines { background: $panel; }
    PageScreen Lines { height: 1fr; margin-top: 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q,enter", "close", "close")]

    def __init__(self, title: str, write: Callable[[], Sequence[Line]], hint: str = "Esc closes") -> None:
        super().__init__()
        self._heading, self._write, self._hint = title, write, hint
        self._shown: list[Line] = []

    def compose(self) -> ComposeResult:
        """Title and lines."""
        with Vertical():
            yield Band(id="page-title", padding=0)
            yield Lines(id="page-lines")

    def on_mount(self) -> None:
        """Write it for the first time."""
        self.query_one("#page-title", Band).put(
            ((Cell(self._heading, Tone.HEAD),), (Cell(self._hint, Tone.QUIET),))
        )
        self.query_one("#page-lines", Lines).focus()
        self.renew()

    def renew(self) -> None:
        """Write it again, staying where the reader is."""
        page = self.query_one("#page-lines", Lines)
        width = page.scrollable_content_region.width
        lines = [part for line in self._write() for part in (wrapped(line, width) if width else [line])]
        if lines == self._shown:
            return
        self._shown = lines
        place = page.scroll_offset.y
        page.show(lines)
        page.scroll_to(y=place, animate=False)

    def on_resize(self) -> None:
        """Other widths wrap elsewhere."""
        self.call_after_refresh(self.renew)

    def action_close(self) -> None:
        """Back."""
        self.dismiss(None)
