"""Screens of text over the main one: a page of lines, the help with its search, the fields of a journal line.

Owns how a text is written that takes long (`Background`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import suppress
from typing import Any, ClassVar, TypeVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widget import Widget
from textual.widgets import Input

from fleettui.console.journal.formatter import field_lines, field_text
from fleettui.console.text.cells import Cell, Line, Tone
from fleettui.console.widgets.drawing import Band, wrapped
from fleettui.console.widgets.page import Lines
from fleettui.console.widgets.prompt import OrderedInput, pass_on

Result = TypeVar("Result")
REST = 10.0  # a page that took a second to write is written again after ten at the earliest
LEAST_REST_S = 0.5


class Renewing(ModalScreen[Result]):
    """A screen over the main one that shows something of the cluster, so that it changes with it."""

    def renew(self) -> None:
        """The cluster changed."""
        raise NotImplementedError


class Background:
    """What looks at the whole fleet: written at once, or in a thread where it would hold up the keys.

    One piece of work at a time. Of what is asked for meanwhile only the newest is done, after a rest that grows
    with the work, unless it is about something else; what is not asked for any more is dropped.
    """

    def __init__(self, widget: Widget) -> None:
        self._widget = widget
        self._next: tuple[Callable[[], Any], Callable[[Any], None]] | None = None
        self._busy = False
        self._about: Hashable = None
        self._turned = asyncio.Event()  # to something else

    def write(
        self, about: Hashable, work: Callable[[], Result], show: Callable[[Result], None], *, heavy: bool
    ) -> None:
        """Do the work and show what it returns. Heavy work runs in a thread: it may read values alone."""
        if about != self._about:
            self._about = about
            self._turned.set()
        if not heavy:
            self._next = None
            show(work())
            return
        self._next = (work, show)
        if not self._busy:
            self._busy = True
            self._widget.run_worker(self._run(), name="write a page", exit_on_error=False)

    async def _run(self) -> None:
        try:
            while self._next is not None:
                (work, show), self._next = self._next, None
                about, began = self._about, time.monotonic()
                self._turned.clear()
                found = await asyncio.to_thread(work)
                if about == self._about:
                    show(found)
                with suppress(TimeoutError):
                    async with asyncio.timeout(max(LEAST_REST_S, REST * (time.monotonic() - began))):
                        await self._turned.wait()
        finally:
            self._busy = False


class PageScreen(Renewing[None]):
    """Lines to read. `write` makes them again whenever the cluster changes."""

    DEFAULT_CSS = """
    PageScreen { align: center middle; background: $background 60%; }
    PageScreen > Vertical {
        width: 92%; max-width: 120; height: 86%; padding: 0 1;
        background: $panel; border: round $primary;
    }
    PageScreen Band, PageScreen Lines { background: $panel; }
    PageScreen Lines { height: 1fr; margin-top: 1; }
    """
    AUTO_FOCUS = "#page-lines"
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


class HelpScreen(PageScreen):
    """Lines that a search narrows. `write` takes what is searched for."""

    DEFAULT_CSS = """
    HelpScreen Input { border: none; height: 1; padding: 0; background: $bar; }
    """
    AUTO_FOCUS = "#help-search"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "scroll_lines(-1)", "up"),
        Binding("down", "scroll_lines(1)", "down"),
        Binding("pageup", "scroll_lines(-15)", "page up"),
        Binding("pagedown", "scroll_lines(15)", "page down"),
        Binding("escape,f1", "close", "close"),
    ]

    def __init__(self, write: Callable[[str], Sequence[Line]]) -> None:
        super().__init__("help", lambda: write(self._search), "Esc closes · fleetctl verbs: : and help")
        self._search = ""

    def compose(self) -> ComposeResult:
        """Title, search, lines."""
        with Vertical():
            yield Band(id="page-title", padding=0)
            yield OrderedInput(id="help-search", placeholder="type to search")
            yield Lines(id="page-lines")

    def on_mount(self) -> None:
        """A search that does not blink."""
        self.query_one(Input).cursor_blink = False

    @on(Input.Changed)
    def _typed(self, event: Input.Changed) -> None:
        self._search = event.value
        self.renew()

    @on(Input.Submitted)
    def _entered(self, event: Input.Submitted) -> None:
        self.action_close()
        pass_on(event)

    def action_scroll_lines(self, lines: int) -> None:
        """Up or down in the lines."""
        self.query_one("#page-lines", Lines).scroll_relative(y=lines, animate=False)


class FieldsScreen(ModalScreen[None]):
    """An entry's fields, to read and to copy."""

    DEFAULT_CSS = """
    FieldsScreen { align: center middle; background: $background 60%; }
    FieldsScreen > Vertical {
        width: 94%; max-width: 130; height: 90%; padding: 0 1; background: $panel; border: round $primary;
    }
    FieldsScreen Band, FieldsScreen Lines { background: $panel; }
    FieldsScreen Lines { height: 1fr; margin-top: 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,enter", "close", "close"),
        Binding("c", "copy", "copy"),
    ]

    def __init__(self, fields: Mapping[str, str]) -> None:
        super().__init__()
        self._fields = fields

    def compose(self) -> ComposeResult:
        """Title and fields."""
        with Vertical():
            yield Band(id="fields-title", padding=0)
            yield Lines(id="fields-lines")

    def on_mount(self) -> None:
        """Begin at the top."""
        self._title("c copies all · Esc closes")
        self.query_one(Lines).focus()

    def on_resize(self) -> None:
        """Long values are broken where the page ends."""
        self.call_after_refresh(self._write)

    def _write(self) -> None:
        lines = self.query_one(Lines)
        lines.show(field_lines(self._fields, max(30, lines.size.width - 1)))

    def _title(self, hint: str) -> None:
        title = (Cell("fields of a journal line", Tone.HEAD),)
        self.query_one("#fields-title", Band).put((title, (Cell(hint, Tone.QUIET),)))

    def action_copy(self) -> None:
        """Copy what is selected, else every field."""
        text = self.get_selected_text() or field_text(self._fields)
        self.app.copy_to_clipboard(text)
        self._title(f"copied {text.count(chr(10)) + 1} lines · Esc closes")

    def action_close(self) -> None:
        """Back."""
        self.dismiss(None)
