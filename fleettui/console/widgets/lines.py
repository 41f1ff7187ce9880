"""Lines that scroll: the journal's ring, and pages of text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar

from rich.segment import Segment
from textual.binding import Binding, BindingType
from textual.cache import LRUCache
from textual.geometry import Size
from textual.message import Message
from textual.selection import Selection
from textual.strip import Strip

from fleettui.console.cells import Line, Tone, line_text
from fleettui.console.tail import Tail
from fleettui.console.widgets.scrolled import Scrolled
from fleettui.console.widgets.toned import Toned, width_of

CAPACITY = 100_000
FLUSH_S = 0.05  # at most twenty times a second


class Lines(Toned, Scrolled, can_focus=True):
    """A ring of lines. While it follows, the newest line is kept on the screen; scrolling up pauses that."""

    ALLOW_SELECT = True
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

    class Flushed(Message):
        """New lines, or another place: the title may differ."""

        def __init__(self, lines: Lines) -> None:
            self.lines = lines
            super().__init__()

    def __init__(self, *, id: str, follows: bool = False, capacity: int = CAPACITY) -> None:  # noqa: A002
        super().__init__(id=id)
        self.ring: Tail[Line] = Tail(capacity)
        self.follows = follows  # whether it is a stream at all
        self.following = follows
        self.unseen = 0
        self._waiting: list[Line] = []
        self._flushing = False
        self._widest = 0
        self._drawn: LRUCache[int, Strip] = LRUCache(512)

    # Content

    def show(self, lines: Iterable[Line]) -> None:
        """Replace everything."""
        self.wipe()
        self._take(list(lines))

    def wipe(self) -> None:
        """Begin empty."""
        self.ring.clear()
        self._waiting.clear()
        self._drawn.clear()
        self.unseen, self._widest, self.following = 0, 0, self.follows
        self.virtual_size = Size(0, 0)
        self.scroll_to(0, 0, animate=False)
        self.refresh()
        self.post_message(self.Flushed(self))

    def add(self, lines: Sequence[Line]) -> None:
        """Take new lines in; they are drawn together, at most twenty times a second."""
        self._waiting.extend(lines)
        if not self._flushing:
            self._flushing = True
            self.set_timer(FLUSH_S, self._flush)

    def _flush(self) -> None:
        self._flushing = False
        waiting, self._waiting = self._waiting, []
        if waiting:
            self._take(waiting)

    def _take(self, lines: list[Line]) -> None:
        lines = lines[-self.ring.capacity :]
        dropped = self.ring.extend(lines)
        self._widest = max([self._widest, *(sum(width_of(cell.text) for cell in line) for line in lines)])
        self.virtual_size = Size(self._widest, len(self.ring))
        if self.following:
            self.scroll_to(y=self._last_top(), animate=False, force=True)
        else:
            self.unseen += len(lines) if self.follows else 0
            if dropped:
                self.scroll_to(y=max(0, self.scroll_offset.y - dropped), animate=False)
        self.refresh()
        self.post_message(self.Flushed(self))

    def _last_top(self) -> int:
        return max(0, len(self.ring) - self.size.height)

    # Moving

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Follow again at the bottom, pause above it."""
        super().watch_scroll_y(old_value, new_value)
        if not self.follows:
            return
        at_bottom = round(new_value) >= self._last_top()
        if at_bottom is not self.following:
            self.following = at_bottom
            self.unseen = 0
            self.post_message(self.Flushed(self))

    def on_resize(self) -> None:
        """Keep the newest line on the screen."""
        if self.following:
            self.call_after_refresh(self.action_bottom)

    def action_go(self, lines: int) -> None:
        """Scroll by lines."""
        self.scroll_to(y=self.scroll_offset.y + lines, animate=False)

    def action_page(self, pages: int) -> None:
        """Scroll by screens."""
        self.action_go(pages * max(1, self.size.height - 1))

    def action_top(self) -> None:
        """To the oldest line."""
        self.scroll_to(y=0, animate=False)

    def action_bottom(self) -> None:
        """To the newest line."""
        self.scroll_to(y=self._last_top(), animate=False, force=True)

    def action_sideways(self, cells: int) -> None:
        """Scroll to the side."""
        self.scroll_to(x=self.scroll_offset.x + cells, animate=False)

    # Drawing

    def notify_style_update(self) -> None:
        """Textual's word that the theme changed."""
        super().notify_style_update()
        self._drawn.clear()

    def selection_updated(self, selection: Selection | None) -> None:  # noqa: ARG002 - Textual's signature
        """Textual's word that other text is selected."""
        self._drawn.clear()
        self.refresh()

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
        number = self.ring.first + index
        strip = self._drawn.get(number)
        if strip is None:
            strip = self._drawn[number] = self._strip(index)
        return strip.crop_extend(left, left + width, plain).apply_offsets(left, index)

    def _strip(self, index: int) -> Strip:
        segments = [Segment(cell.text, self.style_of(cell.tone)) for cell in self.ring[index]]
        strip = Strip(segments)
        selection = self.text_selection
        span = selection.get_span(index) if selection is not None else None
        if span is None:
            return strip
        start, end = span
        length = strip.cell_length
        end = length if end == -1 else end
        style = self.screen.get_component_rich_style("screen--selection")
        parts = strip.divide([start, end, length])
        return Strip.join([parts[0], parts[1].apply_style(style), *parts[2:]]) if len(parts) > 1 else strip
