"""A table of any size that one moves in, folds, marks and sorts, by keys and by mouse; drawn on the line API.

Rows, order, cursor, marks and folds are the listing's, by key; the table turns them into lines. Twenty thousand rows
cost what the screen shows, and only lines that changed are drawn again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, Generic, Self, TypeVar

from rich.segment import Segment
from textual.binding import BindingType
from textual.events import Click, Resize
from textual.geometry import Region, Size
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from fleettui.console.tables.listing import Listing
from fleettui.console.tables.rows import Column, Delta, Row
from fleettui.console.tables.units import UnitRow
from fleettui.console.text.cells import Cell, Line, Tone
from fleettui.console.text.keys import TABLE
from fleettui.console.widgets.drawing import Scrolled, Toned, bound, fitted
from fleettui.console.widgets.page import Page

R = TypeVar("R", bound=Row)
GAP = 2
LEAST_FLEX = 30  # what the last column, the reason, should have before others go
INDENT = 2


def grown(longest: dict[str, int], columns: Iterable[Column[R]], rows: Iterable[R]) -> bool:
    """Take the rows' text widths into `longest` (by column id); True when one grew."""
    before = dict(longest)
    rows = list(rows)
    for column in columns:
        if column.longest is not None and rows:
            longest[column.id] = max(longest.get(column.id, 0), *map(column.longest, rows))
    return longest != before


def widths(
    columns: tuple[Column[R], ...], longest: Mapping[str, int], available: int, indent: int
) -> list[tuple[Column[R], int]]:
    """The columns that are shown with their widths; together with the gaps they fill `available`."""
    shown = list(columns)
    while len(shown) > 1 and _needed(shown, longest, indent) > available and _dropped(shown):
        pass
    room = available - _fixed(shown, longest, indent)
    return [(column, _width(column, longest, indent) or max(0, room)) for column in shown]


def _dropped(shown: list[Column[R]]) -> bool:
    """Take the least important column away; False when all that are left must stay."""
    least = max(shown, key=lambda column: column.drop)
    if not least.drop:
        return False
    shown.remove(least)
    return True


def _needed(shown: list[Column[R]], longest: Mapping[str, int], indent: int) -> int:
    return _fixed(shown, longest, indent) + LEAST_FLEX


def _fixed(shown: list[Column[R]], longest: Mapping[str, int], indent: int) -> int:
    return sum(_width(column, longest, indent) for column in shown) + GAP * (len(shown) - 1)


def _width(column: Column[R], longest: Mapping[str, int], indent: int) -> int:
    first = indent if column.id in ("unit", "machine") and column.longest and column.drop == 0 and indent else 0
    if column.longest is None:
        return column.width
    return min(column.width, max(len(column.title), longest.get(column.id, 0) + first))


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


R = TypeVar("R", bound=Row)


class RowTable(Sheet[R]):
    """One table."""

    BINDINGS: ClassVar[list[BindingType]] = bound(TABLE)

    class Opened(Message):
        """Enter was pressed on a row."""

        def __init__(self, table: RowTable[Any], key: str) -> None:
            self.table, self.key = table, key
            super().__init__()

    # Moving

    def action_move(self, lines: int) -> None:
        """Up or down."""
        self.move_to(self.listing.index + (lines if self.listing.cursor else min(lines, 0)))

    def action_page(self, pages: int) -> None:
        """A screen up or down."""
        self.move_to(self.listing.index + pages * max(1, self._height() - 1))

    def action_go(self, where: str) -> None:
        """To the first or the last row."""
        self.move_to(0 if where == "first" else len(self.listing.order) - 1)

    def move_to(self, index: int) -> None:
        """Put the cursor on a line and keep it on the screen."""
        old = self.listing.index
        self.listing.move_to(index)
        self.refresh_line(old + HEAD)
        self.refresh_line(self.listing.index + HEAD)
        self.show_cursor()
        self.post_message(self.Moved(self))

    def select(self, key: str) -> bool:
        """Put the cursor on a row, unfolding what hides it; False when there is no such row."""
        if key not in self.listing.rows:
            return False
        if key not in self.listing.order:
            parent = self.listing.rows[key].parent
            if parent in self.listing.order and not self.listing.unfolded(parent):
                self.listing.toggle_fold(parent)
                self.rearrange()
        if key not in self.listing.order:
            return False
        self.move_to(self.listing.order.index(key))
        return True

    def action_fold(self, unfold: bool) -> None:  # noqa: FBT001 - the binding's argument
        """Fold or unfold the group under the cursor; folding from within goes to the group."""
        row = self.listing.current()
        if row is None:
            return
        if self.listing.folds(row.key):
            if self.listing.unfolded(row.key) is not unfold:
                self.listing.toggle_fold(row.key)
                self.rearrange()
        elif not unfold and row.parent:
            self.select(row.parent)

    def action_open(self) -> None:
        """Fold or unfold a group, open anything else."""
        row = self.listing.current()
        if row is None:
            return
        if self.listing.folds(row.key):
            self.listing.toggle_fold(row.key)
            self.rearrange()
        else:
            self.post_message(self.Opened(self, row.key))

    # Marking

    def mark(self) -> None:
        """Mark the row under the cursor (a group: all in it) and go to the next."""
        row = self.listing.current()
        if row is None:
            return
        self.listing.mark(self.listing.members(row.key))
        self._range_from = row.key
        self.restyle()
        self.move_to(self.listing.index + 1)

    def mark_range(self) -> None:
        """Mark from the last mark to the cursor."""
        order, start = self.listing.order, self._range_from
        if start not in order or self.listing.cursor is None:
            self.mark()
            return
        first, last = sorted((order.index(start), self.listing.index))
        self.listing.marks.update(key for key in order[first : last + 1] if not self.listing.rows[key].is_group)
        self.restyle()
        self.post_message(self.Moved(self))

    def mark_all(self) -> None:
        """Mark all that is shown, or take all these marks away."""
        self.listing.mark(self.listing.leaves())
        self.restyle()
        self.post_message(self.Moved(self))

    def on_focus(self) -> None:
        """The cursor's bar is brighter with the focus."""
        self.refresh_line(self.listing.index + HEAD)

    def on_blur(self) -> None:
        """The cursor's bar is dimmer without the focus."""
        self.refresh_line(self.listing.index + HEAD)

    def on_click(self, event: Click) -> None:
        """A click moves the cursor, two open; on a title it sorts."""
        if event.y < HEAD:
            self._click_title(event.x)
            return
        index = self.scroll_offset.y + event.y - HEAD
        if index < len(self.listing.order):
            self.move_to(index)
            if event.chain == 2 or event.x < MARGIN + self._indent:
                self.action_open()

    def _click_title(self, x: int) -> None:
        left = MARGIN
        for column, width in self._layout:
            if left <= x < left + width:
                self.sort(column)
                return
            left += width + GAP

    def sort(self, column: Column[R]) -> None:
        """Sort by a column; the same again turns the order round."""
        again = column.id == self.listing.sort_by.id and not self.listing.descending
        self.listing.sort(column, descending=again)
        self.rearrange()

    def sort_by(self, name: str, *, descending: bool = False) -> None:
        """Sort by the column of this id."""
        column = next(column for column in self.listing.columns if column.id == name)
        self.listing.sort(column, descending=descending)
        self.rearrange()


class Roster(RowTable[UnitRow]):
    """Left and right turn to other tabs. Out of sight it hands the focus on and lets nothing be marked."""

    def __init__(
        self, columns: tuple[Column[UnitRow], ...], clock: Callable[[], float], *, id: str,  # noqa: A002
        stand_in: Callable[[], Widget],
    ) -> None:  # fmt: skip
        super().__init__(columns, clock, id=id)
        self._stand_in = stand_in

    def focus(self, scroll_visible: bool = True, **more: Any) -> Self:  # noqa: FBT001, FBT002, ANN401 - Textual's
        """The focus for what is in sight."""
        if self.display:
            return super().focus(scroll_visible, **more)
        self._stand_in().focus(scroll_visible, **more)
        return self

    def action_fold(self, unfold: bool) -> None:  # noqa: FBT001 - the binding's argument
        """To another tab."""
        self.post_message(Page.Turned(1 if unfold else -1))

    def mark(self) -> None:
        """Mark the row, where it can be seen."""
        if self.display:
            super().mark()

    def mark_range(self) -> None:
        """Mark to here, where it can be seen."""
        if self.display:
            super().mark_range()

    def mark_all(self) -> None:
        """Mark all, where they can be seen."""
        if self.display:
            super().mark_all()
