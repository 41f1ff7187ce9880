"""Lines of a page that scroll: help, a diff, an entry's fields."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from rich.segment import Segment
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.selection import Selection
from textual.strip import Strip

from fleettui.console.text.cells import Line, Tone, line_text
from fleettui.console.widgets.drawing import Readable, Scrolled, width_of
from fleettui.escape import escape


class Lines(Readable, Scrolled, can_focus=True):
    """A page: all its lines are in `ring`."""

    DEFAULT_CSS = """
    Lines {
        width: 1fr; height: 1fr; background: $surface;
        overflow-x: auto; overflow-y: scroll; scrollbar-size-vertical: 1; scrollbar-size-horizontal: 0;
        padding: 0 1;
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "go(-1)", "up", id="up"),
        Binding("down,j", "go(1)", "down", id="down"),
        Binding("pageup,ctrl+b", "page(-1)", "page up", id="page_up"),
        Binding("pagedown,ctrl+f", "page(1)", "page down", id="page_down"),
        Binding("g,home", "top", "first", id="first"),
        Binding("G,end", "bottom", "last", id="last"),
        Binding("left", "sideways(-16)", "left", id="fold"),
        Binding("right", "sideways(16)", "right", id="unfold"),
    ]

    def __init__(self, *, id: str) -> None:  # noqa: A002
        super().__init__(id=id)
        self.ring: list[Line] = []

    def show(self, lines: Iterable[Line]) -> None:
        """Replace everything, and begin at the top."""
        self.ring = list(lines)
        self._drawn.clear()
        widest = max((sum(width_of(cell.text) for cell in line) for line in self.ring), default=0)
        self.virtual_size = Size(widest, len(self.ring))
        self.scroll_to(0, 0, animate=False)
        self.refresh()

    # Moving

    def action_go(self, lines: int) -> None:
        """Scroll by lines."""
        self.scroll_to(y=self.scroll_offset.y + lines, animate=False)

    def action_page(self, pages: int) -> None:
        """Scroll by screens."""
        self.action_go(pages * max(1, self.size.height - 1))

    def action_top(self) -> None:
        """To the first line."""
        self.scroll_to(y=0, animate=False)

    def action_bottom(self) -> None:
        """To the last line."""
        self.scroll_to(y=max(0, len(self.ring) - self.size.height), animate=False, force=True)

    def action_sideways(self, cells: int) -> None:
        """Scroll to the side."""
        self.scroll_to(x=self.scroll_offset.x + cells, animate=False)

    # Drawing

    def get_selection(self, selection: Selection) -> tuple[str, str] | None:
        """The selected text, for copying."""
        return selection.extract("\n".join(line_text(line) for line in self.ring)), "\n"

    def render_line(self, y: int) -> Strip:
        """The line at this place."""
        left, top = self.scroll_offset
        width, index = self.size.width, top + y
        plain = self.style_of(Tone.PLAIN)
        if index >= len(self.ring):
            return Strip.blank(width, plain)
        strip = self._drawn.get(index)
        if strip is None:
            strip = self._drawn[index] = self._strip(index)
        return strip.crop_extend(left, left + width, plain).apply_offsets(left, index)

    def _strip(self, index: int) -> Strip:
        strip = Strip([Segment(escape(cell.text), self.style_of(cell.tone)) for cell in self.ring[index]])
        return self._selected(strip, index)
