"""The drawing of a table of any size, on the line API: the lines on the screen, and only those that changed.

Rows, order, cursor, marks and folds are the listing's, by key; this widget turns them into lines. Twenty thousand
rows cost what the screen shows. How the reader moves in it is in `table`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from rich.segment import Segment
from textual.events import Resize
from textual.geometry import Region, Size
from textual.message import Message
from textual.strip import Strip

from fleettui.console.tables.listing import Listing
from fleettui.console.tables.rows import Column, Delta, Row
from fleettui.console.text.cells import Cell, Line, Tone
from fleettui.console.widgets.columns import GAP, INDENT, grown, widths
from fleettui.console.widgets.drawing import Scrolled, Toned, fitted

R = TypeVar("R", bound=Row)
HEAD = 1  # the line of the titles
MARGIN = 2  # cursor and mark


class Sheet(Toned, Scrolled, Generic[R], can_focus=True):
    """The lines of one table. `clock` gives the time that ages are counted to."""

    DEFAULT_CSS = """
    Sheet {
        width: 1fr; height: 1fr; background: $surface;
        overflow-x: hidden; overflow-y: scroll; scrollbar-size-vertical: 1;
    }
    """

    class Moved(Message):
        """The row under the cursor is another one, or changed."""

        def __init__(self, table: Sheet[Any]) -> None:
            self.table = table
            super().__init__()

    def __init__(self, columns: tuple[Column[R], ...], clock: Callable[[], float], *, id: str) -> None:  # noqa: A002
        super().__init__(id=id)
        self.listing: Listing[R] = Listing(columns)
        self._clock = clock
        self._longest: dict[str, int] = {}
        self._layout: list[tuple[Column[R], int]] = []
        self._strips: dict[str, tuple[object, Strip]] = {}
        self._indent = 0
        self._range_from: str | None = None
        self._notice: tuple[Line, ...] = ()
        self._stale = False
        self._stale_told = ""

    # What is shown

    def apply(self, delta: Delta[R]) -> None:
        """Take changed rows in and draw what differs on the screen."""
        if not delta:
            return
        anchor = self.listing.index - self.scroll_offset.y
        before = self.listing.cursor
        if delta.reset:
            self._longest = {}
        if grown(self._longest, self.listing.columns, delta.changed.values()):
            self._measure()
        if self.listing.apply(delta):
            self._rearranged(anchor)
        else:
            self._redraw(delta.changed.keys())
        if self.listing.cursor != before or before in delta.changed:
            self.post_message(self.Moved(self))

    def put_notice(self, notice: tuple[Line, ...]) -> None:
        """What to say where there are no rows."""
        if notice != self._notice:
            self._notice = notice
            if not self.listing.order:
                self.refresh()

    def put_stale(self, stale: bool, told: str = "") -> None:  # noqa: FBT001 - a state, not a switch
        """Whether what is shown may no longer be so: drawn without colours then, `told` beside the titles."""
        if stale is not self._stale:
            self._stale = stale
            self.restyle()
        if told != self._stale_told:
            self._stale_told = told
            self.refresh(Region(0, 0, self.size.width, HEAD))  # it stands still while the rows scroll

    def rearrange(self) -> None:
        """Draw everything anew, after the listing was sorted, filtered or folded."""
        self._rearranged(self.listing.index - self.scroll_offset.y)
        self.post_message(self.Moved(self))

    def tick(self) -> None:
        """Draw the lines again whose cells changed with the time."""
        if not self.display or not self.is_attached:
            return
        for y in self._visible():
            key = self.listing.order[y]
            if key in self._strips and self._strips[key][0] != self._look(key):
                self.refresh_line(y + HEAD)

    @property
    def fitting(self) -> tuple[Column[R], ...]:
        """The columns that the screen has room for."""
        return tuple(column for column, _ in self._layout)

    def choose_columns(self, hidden: frozenset[str]) -> None:
        """Show all columns but these."""
        self.listing.hidden = hidden
        self._measure()

    def restyle(self) -> None:
        """Forget drawn lines: the colours changed."""
        self._strips.clear()
        self.refresh()

    def notify_style_update(self) -> None:
        """Textual's word that the theme changed."""
        super().notify_style_update()
        self._strips.clear()

    def _rearranged(self, anchor: int) -> None:
        indent = INDENT if any(self.listing.folds(key) for key in self.listing.order) else 0
        if indent != self._indent:
            self._indent = indent
            self._measure()
        if len(self._strips) > 4000:
            self._strips.clear()
        self.virtual_size = Size(self.size.width, len(self.listing.order) + HEAD)
        if 0 <= anchor < self._height():
            self.scroll_to(y=self.listing.index - anchor, animate=False)
        self.refresh()

    def _redraw(self, keys: Any) -> None:  # noqa: ANN401 - any container of keys
        for y in self._visible():
            if self.listing.order[y] in keys:
                self.refresh_line(y + HEAD)

    def _visible(self) -> range:
        top = self.scroll_offset.y
        return range(top, min(len(self.listing.order), top + self._height()))

    def _height(self) -> int:
        return max(1, self.size.height - HEAD)

    def _measure(self) -> None:
        self._layout = widths(self.listing.shown, self._longest, self.size.width - MARGIN - 1, self._indent)
        self._strips.clear()
        self.refresh()

    def on_resize(self, _: Resize) -> None:
        """Fit the columns, and keep the cursor on the screen."""
        self._measure()
        self.call_after_refresh(self.show_cursor)

    def show_cursor(self) -> None:
        """Scroll as little as brings the cursor's line on the screen."""
        top, height, index = self.scroll_offset.y, self._height(), self.listing.index
        if index < top:
            self.scroll_to(y=index, animate=False)
        elif index >= top + height:
            self.scroll_to(y=index - height + 1, animate=False)

    # Drawing

    def render_line(self, y: int) -> Strip:
        """The titles, or the row on this line."""
        if y < HEAD:
            return self._title_strip()
        index = self.scroll_offset.y + y - HEAD
        if index >= len(self.listing.order):
            return self._notice_strip(y - HEAD - 1)
        key = self.listing.order[index]
        look = self._look(key)
        known = self._strips.get(key)
        if known is None or known[0] != look:
            known = self._strips[key] = (look, self._row_strip(key))
        return known[1]

    def _notice_strip(self, number: int) -> Strip:
        shown = not self.listing.order and 0 <= number < len(self._notice)
        line = (Cell(" " * (MARGIN + 2)), *self._notice[number]) if shown else ()
        return self.strip_of(line, self.size.width)

    def _look(self, key: str) -> object:
        """All that a row's line depends on, beside the layout."""
        now = self._clock()
        row = self.listing.rows[key]
        cells = tuple(column.cell(row, now) for column, _ in self._layout)
        listing = self.listing
        return cells, key == listing.cursor, key in listing.marks, self.has_focus, self._fold_glyph(key)

    def _fold_glyph(self, key: str) -> str:
        if not self._indent:
            return ""
        own = ("▾ " if self.listing.unfolded(key) else "▸ ") if self.listing.folds(key) else "  "
        return "  " * self.listing.depth(key) + own

    def _row_strip(self, key: str) -> Strip:
        now, row = self._clock(), self.listing.rows[key]
        on_cursor = key == self.listing.cursor
        bar = ("bar" if self.has_focus else "bar-idle") if on_cursor else ""
        marked = key in self.listing.marks
        plain = self.style_of(Tone.PLAIN, bar)
        segments = [
            Segment("▌" if on_cursor else " ", self.style_of(Tone.HEAD, bar)),
            Segment("✓" if marked else " ", self.style_of(Tone.HEAD, bar)),
        ]
        for number, (column, width) in enumerate(self._layout):
            cell = column.cell(row, now)
            lead = self._fold_glyph(key) if number == 0 else ""
            tone = Tone.HEAD if marked and number == 0 else Tone.QUIET if self._stale else cell.tone
            text = fitted(lead + cell.text, width, right=column.right, middle=column.middle)
            segments.append(Segment(text, self.style_of(tone, bar)))
            segments.append(Segment(" " * GAP, plain))
        return Strip(segments).adjust_cell_length(self.size.width, plain)

    def _title_strip(self) -> Strip:
        style = self.style_of(Tone.QUIET)
        pieces = [Segment(" " * MARGIN, style)]
        for number, (column, width) in enumerate(self._layout):
            sorted_by = column.id == self.listing.sort_by.id
            arrow = (
                (" ▾" if self.listing.descending else " ▴") if sorted_by and len(column.title) + 2 <= width else ""
            )
            lead = "  " if number == 0 and self._indent else ""
            tone = Tone.PLAIN if sorted_by else Tone.QUIET
            pieces.append(
                Segment(fitted(f"{lead}{column.title}{arrow}", width, right=column.right), self.style_of(tone))
            )
            pieces.append(Segment(" " * GAP, style))
        if not self._stale_told:
            return Strip(pieces).adjust_cell_length(self.size.width, style)
        told = f" {self._stale_told} "
        head = Strip(pieces).adjust_cell_length(max(0, self.size.width - len(told)), style)
        return Strip.join([head, Strip([Segment(told, self.style_of(Tone.BAD))])])
