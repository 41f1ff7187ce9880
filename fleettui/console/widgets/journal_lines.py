"""The journal's lines on the screen: follow, pause, a cursor, hits of the search. Draws what a buffer keeps.

While it follows, the newest line stays on the screen and there is no cursor of its own. Whatever goes up pauses it:
then neither the place under the eye nor the cursor moves, whatever comes and whatever goes. Reaching the end again
resumes. Rows are counted from the beginning of the stream.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual.binding import Binding, BindingType
from textual.events import MouseDown
from textual.geometry import Offset, Size
from textual.message import Message
from textual.selection import Selection
from textual.strip import Strip

from fleettui.console.journal.buffer import CAPACITY, PIECE, JournalBuffer, ReadingPlace, Terms
from fleettui.console.journal.sources import Item
from fleettui.console.text.cells import Line, Tone, line_text
from fleettui.console.widgets.drawing import Readable, Scrolled, painted, with_selection
from fleettui.escape import escape

FLUSH_S = 0.05  # at most twenty times a second,
FLUSH_BUSY_S = 0.1  # and ten times where more comes than can be read
BUSY = 200  # lines a flush
CONTEXT = 3  # rows around a hit
TURN_S = 0.01  # how long other terms are applied before keys have their turn


class JournalLines(Readable, Scrolled, can_focus=True):
    """The lines of one journal, with a cursor."""

    DEFAULT_CSS = """
    JournalLines {
        width: 1fr; height: 1fr; background: $surface; padding: 0 1;
        overflow-x: hidden; overflow-y: scroll; scrollbar-size-vertical: 1; scrollbar-size-horizontal: 0;
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "go(-1)", "up", id="up"),
        Binding("down,j", "go(1)", "down", id="down"),
        Binding("pageup,ctrl+b", "page(-1)", "page up", id="page_up"),
        Binding("pagedown,ctrl+f", "page(1)", "page down", id="page_down"),
        Binding("g,home", f"go({-2 * CAPACITY})", "first", id="first"),
        Binding("G,end", "resume", "last", id="last"),
        Binding("left", "sideways(-16)", "left", id="fold"),
        Binding("right", "sideways(16)", "right", id="unfold"),
    ]

    class Changed(Message):
        """New lines, or another place: the title may differ."""

    def __init__(self, *, id: str, buffer: JournalBuffer | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self.buffer = buffer or JournalBuffer()
        self.place = ReadingPlace(self.buffer)
        self.left = 0
        self.reach: Callable[[str], None] = lambda _way: None  # told where the reader goes: "up", "first", "live"
        self.working = False  # other terms are being applied
        self._notice: tuple[Line, ...] = ()
        self._waiting: list[Item] = []
        self._flushing = False
        self._moving = False  # we scroll, not the reader
        self._kept_place = (0, 0)  # the item at the top, and which of its rows
        self._redoing: Iterator[None] | None = None
        self._hit_step: int | None = None  # to which hit to go once other terms are applied

    # What is in it

    def put_notice(self, lines: Sequence[Line]) -> None:
        """What to say while there are no lines to show."""
        if self._notice != tuple(lines):
            self._notice = tuple(lines)
            self.refresh()

    def wipe(self) -> None:
        """Begin empty, and follow."""
        self.buffer.begin()
        self.place.reset()
        self._redoing, self.working, self._hit_step = None, False, None
        self._waiting.clear()
        self.left = 0
        self.lay_out(0)

    def add(self, items: Iterable[Item]) -> None:
        """Take items in; they are drawn together."""
        self._waiting.extend(items)
        if not self._flushing:
            self._flushing = True
            self.set_timer(FLUSH_BUSY_S if len(self._waiting) > BUSY else FLUSH_S, self.flush)

    def flush(self) -> None:
        """Take in at once what waits."""
        self._flushing = False
        waiting, self._waiting = self._waiting, []
        if waiting:
            top = self.top
            waiting = self.place.admit(waiting, self.buffer.place(top)[0])
            for at in range(0, len(waiting), PIECE):
                self.buffer.take(waiting[at : at + PIECE])
            self.lay_out(top)

    def apply(self, terms: Terms) -> None:
        """Show by other terms, at once if there are few lines. UserError for terms that are not valid."""
        redoing = self._redoing = self.buffer.redo(terms)
        if next(redoing, self) is self:
            self._applied(self._kept_place)
            return

        async def go_on() -> None:
            """Apply piece by piece, with other tasks in between, until done or overtaken by other terms."""
            while redoing is self._redoing:
                before, until = self.buffer.place(self.top), time.monotonic() + TURN_S
                while time.monotonic() < until:
                    if next(redoing, self) is self:
                        self._applied(before)
                        return
                await asyncio.sleep(0)

        self.working = True
        self.run_worker(go_on(), name="filter the journal", exit_on_error=False)
        self.post_message(self.Changed())

    def _applied(self, before: tuple[int, int]) -> None:
        """Stay at the line at the top, or near it, once other terms are applied."""
        self._redoing, self.working = None, False
        layout, place = self.buffer.view.layout, self.place
        item, offset = before
        index = min(layout.index(item), len(layout) - 1)
        top = layout.start(index) + min(offset, layout.height(index) - 1) if index >= 0 else layout.first_row
        if not place.following and len(layout):
            place.cursor = layout.item(min(layout.index(place.cursor), len(layout) - 1))
        self._drawn.clear()
        self.lay_out(top)
        step, self._hit_step = self._hit_step, None
        if step is not None:
            self.go_to_hit(step)

    # Where it is

    @property
    def top(self) -> int:
        """The row at the top of the screen."""
        return self.buffer.view.layout.first_row + int(self.scroll_offset.y)

    @property
    def _last_top(self) -> int:
        """How far it can be scrolled."""
        return max(0, self.buffer.view.layout.rows - self.size.height)

    def lay_out(self, top: int) -> None:
        """Lay changed rows out: keep the newest on the screen, or the row that was at the top."""
        layout = self.buffer.view.layout
        self._moving = True
        self.virtual_size = Size(self.size.width, layout.rows)
        self._scroll(layout.rows if self.place.following else top - layout.first_row)
        self.post_message(self.Changed())

    def _scroll(self, y: int) -> None:
        self._moving = True
        self.scroll_to(y=max(0, min(y, self._last_top)), animate=False, force=True)
        self._moving = False
        self._kept_place = self.buffer.place(self.top)
        self.refresh()

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """The wheel or the bar: above the end it pauses, at the end it follows."""
        super().watch_scroll_y(old_value, new_value)
        if self._moving or round(old_value) == round(new_value):
            return
        if round(new_value) >= self._last_top and not self.place.detached:  # less than before: the pane grew
            if new_value > old_value:
                self.action_resume()
            if self.place.following:
                return
        self.pause()
        self._kept_place = self.buffer.place(self.top)
        self.reach("up" if new_value < old_value else "down")
        layout = self.buffer.view.layout
        first, _ = layout.at(self.top)
        last, _ = layout.at(min(layout.end_row, self.top + self.size.height) - 1)
        self._point(layout.item(max(first, min(layout.index(self.place.cursor), last))))

    def on_resize(self) -> None:
        """Keep the newest line, or the place, on the screen."""
        self.lay_out(self.top)

    def pause(self) -> None:
        """Stay here. The cursor is on the line that is the newest now."""
        if self.place.pause():
            self._point(self.place.cursor)

    def action_resume(self) -> None:
        """To the newest line, and follow."""
        if self.place.detached:
            self.reach("live")
            return
        self.place.resume()
        self.lay_out(0)

    def _point(self, item: int) -> None:
        self.place.cursor = item
        self.refresh()
        self.post_message(self.Changed())

    def go_to(self, item: int, *, middle: bool = False) -> None:
        """Put the cursor on a shown item, with some lines around it; scroll no further than needed."""
        self.pause()
        layout = self.buffer.view.layout
        index = min(layout.index(item), len(layout) - 1)
        if index < 0:
            return
        start, end = layout.start(index), layout.start(index) + layout.height(index) - 1
        top, height = self.top, self.size.height
        if middle and not top + CONTEXT <= start <= end < top + height - CONTEXT:
            self._scroll(start - layout.first_row - height // 2)
        else:
            for row in (end, start):
                if row < self.top:
                    self._scroll(row - layout.first_row)
                elif row >= self.top + height:
                    self._scroll(row - layout.first_row - height + 1)
        self._point(layout.item(index))

    def go_to_hit(self, step: int) -> bool:
        """To a hit of the search: the next (1), the one before (-1), the nearest (0); False when there is none.

        While other terms are being applied, which may find others, it goes there as soon as they are.
        """
        if self.working:
            self._hit_step = step
            return True
        hit = self.place.hit_from(step)
        if hit is not None:
            self.go_to(hit, middle=True)
        return hit is not None

    # Keys

    def action_go(self, lines: int) -> None:
        """The cursor up or down; down from the last line follows."""
        layout = self.buffer.view.layout
        if self.place.following and lines > 0:
            return
        self.pause()
        index = layout.index(self.place.cursor) + lines
        if index >= len(layout) - 1 and lines > 0 and not self.place.detached:
            self.action_resume()
        elif len(layout):
            self.go_to(layout.item(max(0, min(index, len(layout) - 1))))
            if lines < -CAPACITY:
                self.reach("first")
            else:
                self.reach("up" if lines < 0 else "down")

    def action_page(self, pages: int) -> None:
        """A screen up or down, the cursor along."""
        layout = self.buffer.view.layout
        if (self.place.following and pages > 0) or not len(layout):
            return
        self.pause()
        step = pages * max(1, self.size.height - 1)
        row = layout.start(layout.index(self.place.cursor)) + step
        if row >= layout.end_row - 1 and pages > 0 and not self.place.detached:
            self.action_resume()
            return
        row = min(row, layout.end_row - 1)
        self._scroll(int(self.scroll_offset.y) + step)
        self.go_to(layout.item(layout.at(max(layout.first_row, row))[0]))
        self.reach("up" if pages < 0 else "down")

    def action_sideways(self, cells: int) -> None:
        """Scroll to the side, no further than the lines on the screen go."""
        if self.buffer.view.terms.line_format.wrap:
            return
        rows = range(self.top, min(self.buffer.view.layout.end_row, self.top + self.size.height))
        widest = max((len(line_text(self.buffer.line(row)[1])) for row in rows), default=0)
        self.left = max(0, min(self.left + cells, widest - self.size.width + 1))
        self._drawn.clear()
        self.refresh()

    def on_mouse_down(self, event: MouseDown) -> None:
        """A click puts the cursor there; what moves cannot be selected, so it pauses."""
        layout = self.buffer.view.layout
        row = self.top + event.y
        if row < layout.end_row:
            self.pause()
            self._point(layout.item(layout.at(row)[0]))

    # Drawing

    def get_selection(self, selection: Selection) -> tuple[str, str] | None:
        """The selected text, for copying. Places are rows counted from the beginning."""
        layout = self.buffer.view.layout
        start, end = selection.start or Offset(0, layout.first_row), selection.end or Offset(-1, layout.end_row - 1)
        rows = range(max(start.y, layout.first_row), min(end.y + 1, layout.end_row))
        texts = []
        for row in rows:
            text = line_text(self.buffer.line(row)[1])
            last = end.x if row == end.y and end.x >= 0 else len(text)
            texts.append(text[start.x if row == start.y else 0 : last])
        return "\n".join(texts), "\n"

    def render_line(self, y: int) -> Strip:
        """The line at this place of the screen."""
        layout, width = self.buffer.view.layout, self.size.width
        row = self.top + y
        if row >= layout.end_row:
            told = not layout.rows and y < len(self._notice)
            return self.strip_of(self._notice[y], width) if told else Strip.blank(width, self.style_of(Tone.PLAIN))
        place = self.place
        bar = "bar" * (not place.following and self.has_focus and layout.item(layout.at(row)[0]) == place.cursor)
        strip = self._drawn.get((row, bar))
        if strip is None:
            room = self.left + width  # no more of a very long line than can be seen
            cells = self.buffer.line(row)[1]
            strip = Strip([Segment(escape(cell.text[:room]), self.style_of(cell.tone, bar)) for cell in cells])
            pattern = self.buffer.view.pattern
            if (
                pattern is not None
            ):  # the ground's colour on a bright one: readable whatever the line's own colour is
                marked = Style(color=self.rich_style.bgcolor, bgcolor=self.style_of(Tone.BUSY).color, bold=True)
                strip = painted(strip, pattern.spans(strip.text), marked)
            strip = with_selection(self, strip, row).crop_extend(self.left, room, self.style_of(Tone.PLAIN, bar))
            strip = self._drawn[row, bar] = strip.apply_offsets(self.left, row)
        return strip
