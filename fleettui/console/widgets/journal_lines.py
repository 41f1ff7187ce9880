"""The journal's lines on the screen: follow, pause, a cursor, hits of the search. Draws what a `Book` keeps.

While it follows, the newest line stays on the screen and there is no cursor of its own. Whatever goes up pauses it:
then neither the place under the eye nor the cursor moves, whatever comes and whatever goes. Reaching the end again
resumes. Rows are counted from the beginning of the stream.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual.binding import Binding, BindingType
from textual.events import MouseDown
from textual.geometry import Offset, Size
from textual.message import Message
from textual.selection import Selection
from textual.strip import Strip

from fleettui.console.journal.buffer import PIECE, Book, Terms
from fleettui.console.journal.sources import Item, Remark
from fleettui.console.text.cells import Line, Tone, line_text
from fleettui.console.text.formatting import counted
from fleettui.console.widgets.drawing import Readable, Scrolled, painted
from fleettui.escape import escape

FLUSH_S = 0.05  # at most twenty times a second,
FLUSH_BUSY_S = 0.1  # and ten times where so much comes that nobody reads each line
BUSY = 200  # lines a flush
CONTEXT = 3  # rows around a hit
TURN_S = 0.01  # how long other terms are applied before keys have their turn


class JournalLines(Readable, Scrolled, can_focus=True):
    """One journal."""

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
        Binding("g,home", "top", "first", id="first"),
        Binding("G,end", "resume", "last", id="last"),
        Binding("left", "sideways(-16)", "left", id="fold"),
        Binding("right", "sideways(16)", "right", id="unfold"),
    ]

    class Changed(Message):
        """New lines, or another place: the title may differ."""

    def __init__(self, *, id: str, book: Book | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self.book = book or Book()
        self.following = True
        self.cursor = -1  # the number of the item under it; none while following
        self.left = 0
        self.working = False  # other terms are being applied
        self._notice: tuple[Line, ...] = ()
        self.missed = 0  # while paused: items that came and could not be kept
        self._seen = 0  # while paused: the first item that came since
        self._waiting: list[Item] = []
        self._flushing = False
        self._moving = False  # we scroll, not the reader
        self._kept_place = (0, 0)  # the item at the top, and which of its rows
        self._redoing: Iterator[None] | None = None

    # What is in it

    @property
    def unseen(self) -> int:
        """How many shown items came since it paused."""
        layout = self.book.view.layout
        return 0 if self.following else len(layout) - layout.index(self._seen)

    @property
    def current(self) -> Item | None:
        """The item under the cursor; while following, the newest."""
        layout = self.book.view.layout
        if not len(layout):
            return None
        index = len(layout) - 1 if self.following else min(layout.index(self.cursor), len(layout) - 1)
        return self.book.item(layout.item(index))

    def put_notice(self, lines: Sequence[Line]) -> None:
        """What to say while there are no lines to show."""
        if self._notice != tuple(lines):
            self._notice = tuple(lines)
            self.refresh()

    def wipe(self) -> None:
        """Begin empty, and follow."""
        self.book.begin()
        self._redoing, self.working = None, False
        self._waiting.clear()
        self.following, self.cursor, self.left, self.missed = True, -1, 0, 0
        self._laid_out(0)

    def add(self, items: Iterable[Item]) -> None:
        """Take items in; they are drawn together."""
        self._waiting.extend(items)
        if not self._flushing:
            self._flushing = True
            self.set_timer(FLUSH_BUSY_S if len(self._waiting) > BUSY else FLUSH_S, self._flush)

    def _flush(self) -> None:
        self._flushing = False
        waiting, self._waiting = self._waiting, []
        if waiting:
            top = self._top
            if not self.following:
                waiting = self._what_fits(waiting)
            for at in range(0, len(waiting), PIECE):
                self.book.take(waiting[at : at + PIECE])
            self._laid_out(top)

    def _what_fits(self, waiting: list[Item]) -> list[Item]:
        """While somebody reads: what can be kept without taking away what is under the eye."""
        room = self.book.room_above(self._place()[0])
        self.missed += max(0, len(waiting) - room)
        return waiting[:room]

    # Other terms

    def apply(self, terms: Terms) -> None:
        """Show by other terms, at once if there is little to go through. UserError for terms that cannot be."""
        redoing = self._redoing = self.book.redo(terms)
        if next(redoing, self) is self:
            self._applied()
            return
        self.working = True
        self.run_worker(self._go_on(redoing), name="narrow the journal", exit_on_error=False)
        self.post_message(self.Changed())

    async def _go_on(self, redoing: Iterator[None]) -> None:
        """Piece by piece, with a turn for everybody else in between, until done or overtaken by other terms."""
        while redoing is self._redoing:
            before, until = self._place(), time.monotonic() + TURN_S
            while time.monotonic() < until:
                if next(redoing, self) is self:
                    self._applied(before)
                    return
            await asyncio.sleep(0)

    def _applied(self, before: tuple[int, int] | None = None) -> None:
        """The terms hold: stay at the line at the top, or near it."""
        self._redoing, self.working = None, False
        layout = self.book.view.layout
        item, offset = before or self._kept_place
        index = min(layout.index(item), len(layout) - 1)
        top = layout.start(index) + min(offset, layout.height(index) - 1) if index >= 0 else layout.first_row
        if not self.following and len(layout):
            self.cursor = layout.item(min(layout.index(self.cursor), len(layout) - 1))
        self._drawn.clear()
        self._laid_out(top)

    # Where it is

    @property
    def _top(self) -> int:
        """The row at the top of the screen."""
        return self.book.view.layout.first_row + self.scroll_offset.y

    def _place(self) -> tuple[int, int]:
        """The item at the top, and which of its rows."""
        layout = self.book.view.layout
        if self._top >= layout.end_row:
            return self.book.end, 0
        index, part = layout.at(self._top)
        return layout.item(index), part

    def _laid_out(self, top: int) -> None:
        """The rows are others: keep the newest on the screen, or the row that was at the top."""
        layout = self.book.view.layout
        self._moving = True
        self.virtual_size = Size(self.size.width, layout.rows)
        wanted = layout.rows if self.following else max(0, top - layout.first_row)
        self.scroll_to(y=min(wanted, self._last_top()), animate=False, force=True)
        self._moving = False
        self._kept_place = self._place()
        self.refresh()
        self.post_message(self.Changed())

    def _last_top(self) -> int:
        return max(0, self.book.view.layout.rows - self.size.height)

    def _see(self, row: int) -> None:
        """Scroll no further than needed to have the row on the screen."""
        y = row - self.book.view.layout.first_row
        top = self.scroll_offset.y
        if y < top:
            self._scroll(y)
        elif y >= top + self.size.height:
            self._scroll(y - self.size.height + 1)

    def _scroll(self, y: int) -> None:
        self._moving = True
        self.scroll_to(y=max(0, min(y, self._last_top())), animate=False, force=True)
        self._moving = False
        self._kept_place = self._place()
        self.refresh()

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """The wheel or the bar: above the end it pauses, at the end it follows."""
        super().watch_scroll_y(old_value, new_value)
        if self._moving or round(old_value) == round(new_value):
            return
        if round(new_value) >= self._last_top():  # less than before: the pane grew
            if new_value > old_value:
                self.action_resume()
            if self.following:
                return
        self.pause()
        self._kept_place = self._place()
        layout = self.book.view.layout
        first, _ = layout.at(self._top)
        last, _ = layout.at(min(layout.end_row, self._top + self.size.height) - 1)
        self._point(layout.item(max(first, min(layout.index(self.cursor), last))))

    def on_resize(self) -> None:
        """Keep the newest line, or the place, on the screen."""
        self._laid_out(self._top)

    # Pausing

    def pause(self) -> None:
        """Stay here. The cursor is on the line that is the newest now."""
        layout = self.book.view.layout
        if not self.following or not len(layout):
            return
        self.following = False
        self._seen = self.book.end
        self.book.stretch(reading=True)
        self.cursor = layout.item(len(layout) - 1)
        self._moved()

    def action_resume(self) -> None:
        """To the newest line, and follow."""
        if self.missed:
            lines = counted(self.missed, "line")
            said = f"{lines} came while you read and could not be kept; t reads since a moment"
            self.book.take([Remark(said, dropped=self.missed)])
            self.missed = 0
        self.book.stretch(reading=False)
        self.following, self.cursor = True, -1
        self._laid_out(0)

    def _point(self, item: int) -> None:
        self.cursor = item
        self._moved()

    def _moved(self) -> None:
        self.refresh()
        self.post_message(self.Changed())

    def go_to(self, item: int, *, middle: bool = False) -> None:
        """Put the cursor on a shown item, with some lines around it."""
        self.pause()
        layout = self.book.view.layout
        index = min(layout.index(item), len(layout) - 1)
        if index < 0:
            return
        start, end = layout.start(index), layout.start(index) + layout.height(index) - 1
        top, height = self._top, self.size.height
        if middle and not top + CONTEXT <= start <= end < top + height - CONTEXT:
            self._scroll(start - layout.first_row - height // 2)
        else:
            self._see(end)
            self._see(start)
        self._point(layout.item(index))

    # Keys

    def action_go(self, lines: int) -> None:
        """The cursor up or down; down from the last line follows."""
        layout = self.book.view.layout
        if self.following and lines > 0:
            return
        self.pause()
        index = layout.index(self.cursor) + lines
        if index >= len(layout) - 1 and lines > 0:
            self.action_resume()
        elif len(layout):
            self.go_to(layout.item(max(0, index)))

    def action_page(self, pages: int) -> None:
        """A screen up or down, the cursor along."""
        layout = self.book.view.layout
        if (self.following and pages > 0) or not len(layout):
            return
        self.pause()
        step = pages * max(1, self.size.height - 1)
        row = layout.start(layout.index(self.cursor)) + step
        if row >= layout.end_row - 1 and pages > 0:
            self.action_resume()
            return
        self._scroll(self.scroll_offset.y + step)
        self.go_to(layout.item(layout.at(max(layout.first_row, row))[0]))

    def action_top(self) -> None:
        """To the oldest line that is kept."""
        if len(self.book.view.layout):
            self.go_to(self.book.view.layout.item(0))

    def action_sideways(self, cells: int) -> None:
        """Scroll to the side, no further than the lines on the screen go."""
        if self.book.view.terms.look.wrap:
            return
        widest = max((len(line_text(line)) for line in self._on_screen()), default=0)
        self.left = max(0, min(self.left + cells, widest - self.size.width + 1))
        self._drawn.clear()
        self.refresh()

    def _on_screen(self) -> list[Line]:
        layout = self.book.view.layout
        return [
            self.book.line(row)[1] for row in range(self._top, min(layout.end_row, self._top + self.size.height))
        ]

    def on_mouse_down(self, event: MouseDown) -> None:
        """A click puts the cursor there; what moves cannot be selected, so it pauses."""
        layout = self.book.view.layout
        row = self._top + event.y
        if row < layout.end_row:
            self.pause()
            self._point(layout.item(layout.at(row)[0]))

    def on_focus(self) -> None:
        """The cursor is seen with the focus only."""
        self.refresh()

    def on_blur(self) -> None:
        """The cursor is seen with the focus only."""
        self.refresh()

    # Hits

    def next_hit(self, step: int) -> bool:
        """To the next line that the search found (-1: the one before), around the end; False when there is none."""
        hits = self.book.view.hits
        if not len(hits):
            return False
        here = self.cursor if not self.following else self.book.end
        index = hits.up_to(here) if step > 0 else hits.below(here) - 1
        self.go_to(hits[index % len(hits)], middle=True)
        return True

    def nearest_hit(self) -> None:
        """To the newest hit at or above the cursor; with none above, the first below."""
        hits = self.book.view.hits
        if len(hits):
            here = self.cursor if not self.following else self.book.end
            self.go_to(hits[max(0, hits.up_to(here) - 1)], middle=True)

    @property
    def hit(self) -> int:
        """The place of the cursor's line among the hits, from 1; 0 when it is none."""
        hits = self.book.view.hits
        at = hits.up_to(self.cursor)
        return at if at and hits[at - 1] == self.cursor and not self.following else 0

    # Drawing

    def get_selection(self, selection: Selection) -> tuple[str, str] | None:
        """The selected text, for copying. Places are rows counted from the beginning."""
        layout = self.book.view.layout
        start, end = selection.start or Offset(0, layout.first_row), selection.end or Offset(-1, layout.end_row - 1)
        rows = range(max(start.y, layout.first_row), min(end.y + 1, layout.end_row))
        texts = []
        for row in rows:
            text = line_text(self.book.line(row)[1])
            last = end.x if row == end.y and end.x >= 0 else len(text)
            texts.append(text[start.x if row == start.y else 0 : last])
        return "\n".join(texts), "\n"

    def render_line(self, y: int) -> Strip:
        """The line at this place of the screen."""
        layout, width = self.book.view.layout, self.size.width
        row = self._top + y
        if row >= layout.end_row:
            notice = self._notice if not layout.rows else ()
            return (
                self.strip_of(notice[y], width)
                if y < len(notice)
                else Strip.blank(width, self.style_of(Tone.PLAIN))
            )
        bar = not self.following and self.has_focus and layout.item(layout.at(row)[0]) == self.cursor
        strip = self._drawn.get((row, bar))
        if strip is None:
            strip = self._drawn[row, bar] = self._strip(row, bar=bar)
        return strip

    def _match_style(self) -> Style:
        """The ground's colour on a bright one: readable whatever the line's own colour is."""
        return Style(color=self.rich_style.bgcolor, bgcolor=self.style_of(Tone.BUSY).color, bold=True)

    def _strip(self, row: int, *, bar: bool) -> Strip:
        _, line = self.book.line(row)
        width, under = self.size.width, "bar" if bar else ""
        room = self.left + width  # no more of a very long line than can be seen
        segments = [Segment(escape(cell.text[:room]), self.style_of(cell.tone, under)) for cell in line]
        strip = Strip(segments)
        pattern = self.book.view.pattern
        if pattern is not None:
            spans = pattern.spans(strip.text)
            strip = painted(strip, spans, self._match_style())
        plain = self.style_of(Tone.PLAIN, under)
        return (
            self._selected(strip, row)
            .crop_extend(self.left, self.left + width, plain)
            .apply_offsets(self.left, row)
        )
