"""A table of any size that one moves in, folds, marks and sorts, by keys and by mouse; drawn on the line API.

Rows, order, cursor, marks and folds are the listing's, by key; a painter turns them into lines. Twenty thousand
rows cost what the screen shows, and only lines that changed are drawn again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, ClassVar, Generic, Protocol, TypeAlias, TypeVar

from rich.segment import Segment
from textual.binding import BindingType
from textual.events import Click, Resize
from textual.geometry import Region, Size
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from fleettui.console.tables.listing import Listing
from fleettui.console.tables.query import Query
from fleettui.console.tables.rows import Column, Delta, Row
from fleettui.console.tables.units import UnitRow
from fleettui.console.text.cells import Cell, Line, Tone
from fleettui.console.text.keys import TABLE
from fleettui.console.widgets.drawing import Scrolled, Toned, bound, fitted
from fleettui.console.widgets.page import Page

R = TypeVar("R", bound=Row)
GAP = 2
LEAST_FLEX = 30  # what the last column, the reason, should have before others go
LEAST_COLUMNS, LEAST_NAME = 2, 14  # the name and its state, and how much of the name, before others are cut
INDENT = 2
HEAD = 1  # the line of the titles
MARGIN = 2  # cursor and mark
KEPT = 4000  # drawn lines


# The widths of columns


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
    """The columns that are shown with their widths; together with the gaps they fill `available`.

    Where there is too little room, the least important columns go, as far as any may; then the widest are cut.
    """

    def width(column: Column[R]) -> int:
        if column.longest is None:
            return column.width
        lead = indent if column.id in ("unit", "machine") and column.drop == 0 else 0
        return min(column.width, max(len(column.title), longest.get(column.id, 0) + lead))

    shown = list(columns)
    while (room := available - sum(map(width, shown)) - GAP * (len(shown) - 1)) < LEAST_FLEX and len(shown) > 1:
        least = max(shown, key=lambda column: column.drop)
        if not least.drop:
            break
        shown.remove(least)
    if room >= 0:
        return [(column, width(column) or room) for column in shown]
    fixed = {column.id: width(column) for column in shown if width(column)}  # what says why has no place
    first = next(iter(fixed), "")
    while (over := sum(fixed.values()) + GAP * (len(fixed) - 1) - available) > 0:
        if len(fixed) > LEAST_COLUMNS and fixed[first] - over < LEAST_NAME:
            fixed.popitem()
        elif fixed[widest := max(fixed, key=lambda name: fixed[name])] > 1:
            fixed[widest] -= 1
        else:
            break
    return [(column, fixed[column.id]) for column in shown if column.id in fixed]


# Drawing


class Painter(Protocol):
    """Turns a listing into lines; the head is one of its own. Lines are counted below the head."""

    notice: tuple[Line, ...]  # shown where there are no rows
    stale: bool  # what is shown may no longer be so: drawn without colours
    stale_text: str

    @property
    def lines(self) -> int:
        """How many lines there are."""

    @property
    def line_of_cursor(self) -> int:
        """The line that the cursor is on, or was when its row went."""

    def grow(self, delta: Delta[Any]) -> bool:
        """Take the widths of changed rows in; True when everything is to be measured again."""

    def measure(self) -> None:
        """Fit everything to the width and the height that there is."""

    def arrange(self) -> None:
        """Take the listing's new order in."""

    def lines_of(self, keys: Collection[str]) -> Iterable[int]:
        """The lines of the widget, its head too, on which these rows are seen."""

    def aged(self) -> Iterable[int]:
        """The lines of the widget whose cells changed with the time."""

    @property
    def fitting(self) -> frozenset[str]:
        """The ids of the columns that the screen has room for."""

    def head(self) -> Strip:
        """The line above all others, which stands still."""

    def line(self, number: int) -> Strip:
        """One line."""

    def clear(self) -> None:
        """Forget what was drawn: the colours changed."""


Look: TypeAlias = tuple[tuple[Cell, ...], bool, bool, bool, str]
"""A row's cells; whether the cursor is on it, it is marked, and the table has the keys; its fold."""


class RowPainter(Generic[R]):
    """Draws a row a line, below the columns' titles. `clock` gives the time that ages are counted to."""

    def __init__(self, table: RowTable[R], clock: Callable[[], float]) -> None:
        self._table, self._clock = table, clock
        self.notice: tuple[Line, ...] = ()
        self.stale, self.stale_text = False, ""
        self.layout: list[tuple[Column[R], int]] = []
        self.indent = 0
        self._longest: dict[str, int] = {}
        self._strips: dict[str, tuple[object, Strip]] = {}

    @property
    def lines(self) -> int:
        """How many lines there are."""
        return len(self._table.listing.order)

    @property
    def line_of_cursor(self) -> int:
        """The line that the cursor is on, or was when its row went."""
        return self._table.listing.index

    def grow(self, delta: Delta[R]) -> bool:
        """Take the widths of changed rows in; True when the columns are to be measured again."""
        if delta.reset:
            self._longest = {}
        return grown(self._longest, self._table.listing.columns, delta.changed.values())

    @property
    def fitting(self) -> frozenset[str]:
        """The ids of the columns that the screen has room for."""
        return frozenset(column.id for column, _ in self.layout)

    def measure(self) -> None:
        """Fit the columns to the width."""
        listing, width = self._table.listing, self._table.size.width
        self.layout = widths(listing.shown, self._longest, width - MARGIN - 1, self.indent)
        self._strips.clear()

    def arrange(self) -> None:
        """Make room for folds where there are any."""
        listing = self._table.listing
        indent = INDENT if any(listing.folds(key) for key in listing.order) else 0
        if indent != self.indent:
            self.indent = indent
            self.measure()
        if len(self._strips) > KEPT:
            self._strips.clear()

    def lines_of(self, keys: Collection[str]) -> Iterable[int]:
        """The lines of the widget on which these rows are seen."""
        return [y + HEAD for y, key in self._seen() if key in keys]

    def aged(self) -> Iterable[int]:
        """The lines of the widget whose cells changed with the time."""
        strips = self._strips
        return [y + HEAD for y, key in self._seen() if key in strips and strips[key][0] != self._look(key)]

    def _seen(self) -> Iterable[tuple[int, str]]:
        top = int(self._table.scroll_offset.y)
        return enumerate(self._table.listing.order[top : top + self._table.height], top)

    def clear(self) -> None:
        """Forget what was drawn."""
        self._strips.clear()

    def line(self, number: int) -> Strip:
        """The row on this line, or what is said where there are none."""
        order = self._table.listing.order
        if number >= len(order):
            shown = not order and 0 < number <= len(self.notice)
            told = (Cell(" " * (MARGIN + 2)), *self.notice[number - 1]) if shown else ()
            return self._table.strip_of(told, self._table.size.width)
        key = order[number]
        look = self._look(key)
        known = self._strips.get(key)
        if known is None or known[0] != look:
            known = self._strips[key] = (look, self._row(look))
        return known[1]

    def _look(self, key: str) -> Look:
        """All that a row's line depends on, beside the layout."""
        now, listing = self._clock(), self._table.listing
        row = listing.rows[key]
        cells = tuple([column.cell(row, now) for column, _ in self.layout])
        return cells, key == listing.cursor, key in listing.marks, self._table.has_focus, self._fold_glyph(key)

    def _fold_glyph(self, key: str) -> str:
        if not self.indent:
            return ""
        listing = self._table.listing
        own = ("▾ " if listing.unfolded(key) else "▸ ") if listing.folds(key) else "  "
        return "  " * listing.depth(key) + own

    def _row(self, look: Look) -> Strip:
        table, (cells, on_cursor, marked, focused, glyph) = self._table, look
        bar = ("bar" if focused else "bar-idle") if on_cursor else ""
        plain = table.style_of(Tone.PLAIN, bar)
        segments = [
            Segment("▌" if on_cursor else " ", table.style_of(Tone.HEAD, bar)),
            Segment("✓" if marked else " ", table.style_of(Tone.HEAD, bar)),
        ]
        for number, (cell, (column, width)) in enumerate(zip(cells, self.layout, strict=True)):
            lead = glyph if number == 0 else ""
            tone = Tone.HEAD if marked and number == 0 else Tone.QUIET if self.stale else cell.tone
            text = fitted(lead + cell.text, width, right=column.right, middle=column.middle)
            segments.append(Segment(text, table.style_of(tone, bar)))
            segments.append(Segment(" " * GAP, plain))
        return Strip(segments).adjust_cell_length(table.size.width, plain)

    def head(self) -> Strip:
        """The titles; while what is shown is stale, since when."""
        listing, width, style = self._table.listing, self._table.size.width, self._table.style_of(Tone.QUIET)
        pieces = [Segment(" " * MARGIN, style)]
        for number, (column, room) in enumerate(self.layout):
            sorted_by = column.id == listing.sort_by.id
            arrow = " ▾" if listing.falls else " ▴"
            arrow = arrow if sorted_by and len(column.title) + 2 <= room else ""
            lead = "  " if number == 0 and self.indent else ""
            tone = self._table.style_of(Tone.PLAIN if sorted_by else Tone.QUIET)
            pieces.append(Segment(fitted(f"{lead}{column.title}{arrow}", room, right=column.right), tone))
            pieces.append(Segment(" " * GAP, style))
        if not self.stale_text:
            return Strip(pieces).adjust_cell_length(width, style)
        told = f" {self.stale_text} "
        titles = Strip(pieces).adjust_cell_length(max(0, width - len(told)), style)
        return Strip.join([titles, Strip([Segment(told, self._table.style_of(Tone.BAD))])])


class RowTable(Toned, Scrolled, Generic[R], can_focus=True):
    """One table: what is moved in, and when its lines are drawn again."""

    DEFAULT_CSS = """
    RowTable {
        width: 1fr; height: 1fr; background: $surface;
        overflow-x: hidden; overflow-y: scroll; scrollbar-size-vertical: 1;
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = bound(TABLE)

    class Moved(Message):
        """The row under the cursor is another one, or (`stays`) the same that changed."""

        def __init__(self, table: RowTable[Any], *, stays: bool = False) -> None:
            self.table, self.stays = table, stays
            super().__init__()

    class Opened(Message):
        """Enter was pressed on a row."""

        def __init__(self, table: RowTable[Any], key: str) -> None:
            self.table, self.key = table, key
            super().__init__()

    def __init__(self, columns: tuple[Column[R], ...], clock: Callable[[], float], *, id: str) -> None:  # noqa: A002
        super().__init__(id=id)
        self.listing: Listing[R] = Listing(columns)
        self.painter: Painter = RowPainter(self, clock)
        self._clock = clock
        self._range_from: str | None = None

    # What is shown

    def apply(self, delta: Delta[R]) -> None:
        """Take changed rows in and draw what differs on the screen."""
        if not delta:
            return
        anchor = self.painter.line_of_cursor - int(self.scroll_offset.y)
        before = self.listing.cursor
        if self.painter.grow(delta):
            self.painter.measure()
            self.refresh()
        if self.listing.apply(delta):
            self._rearranged(anchor)
        else:
            for line in self.painter.lines_of(delta.changed.keys()):
                self.refresh_line(line)
        if self.listing.cursor != before or before in delta.changed:
            self.post_message(self.Moved(self, stays=self.listing.cursor == before))

    def filter(self, query: Query, *, trouble_only: bool | None = None) -> None:
        """Show only what the query admits, from now on."""
        self.listing.filter(query, now=self._clock(), trouble_only=trouble_only)
        self.rearrange()

    def rearrange(self) -> None:
        """Draw everything, after the listing was sorted, filtered or folded."""
        self._rearranged(self.painter.line_of_cursor - int(self.scroll_offset.y))
        self.post_message(self.Moved(self))

    def _rearranged(self, anchor: int) -> None:
        """Draw everything; the cursor stays on its line of the screen, if it was on one."""
        self.painter.arrange()
        self.virtual_size = Size(self.size.width, self.painter.lines + HEAD)
        if 0 <= anchor < self.height:
            self.scroll_to(y=self.painter.line_of_cursor - anchor, animate=False)
        self.refresh()

    def put_state(self, notice: tuple[Line, ...], *, stale: bool, text: str = "") -> None:
        """What to say where there are no rows, and whether what is shown may no longer be so, with since when."""
        painter = self.painter
        if notice != painter.notice:
            painter.notice = notice
            if not self.listing.order:
                self.refresh()
        if stale is not painter.stale:
            painter.stale = stale
            self.restyle()
        if text != painter.stale_text:
            painter.stale_text = text
            self.refresh(Region(0, 0, self.size.width, HEAD))  # it stands still while the rows scroll

    def tick(self) -> None:
        """Draw the lines again whose cells changed with the time."""
        if self.display and self.is_attached:
            if self.listing.age(self._clock()):
                self.rearrange()
            for line in self.painter.aged():
                self.refresh_line(line)

    def choose_columns(self, hidden: frozenset[str]) -> None:
        """Show all columns but these."""
        self.listing.hidden = hidden
        self.painter.measure()
        self.refresh()

    def restyle(self) -> None:
        """Forget drawn lines: the colours changed."""
        self.painter.clear()
        self.refresh()

    def notify_style_update(self) -> None:
        """Textual's word that the theme changed."""
        super().notify_style_update()
        self.painter.clear()

    @property
    def in_sight(self) -> Widget:
        """What is to have the keys."""
        return self

    def on_resize(self, _: Resize) -> None:
        """Fit to the new size, and keep the cursor on the screen."""
        self.painter.measure()
        self.virtual_size = Size(self.size.width, self.painter.lines + HEAD)
        self.refresh()
        self.call_after_refresh(self.show_cursor)

    @property
    def height(self) -> int:
        """How many lines there is room for, the head left out."""
        return max(1, self.size.height - HEAD)

    def show_cursor(self) -> None:
        """Scroll as little as brings the cursor's line on the screen."""
        top, line = int(self.scroll_offset.y), self.painter.line_of_cursor
        if line < top:
            self.scroll_to(y=line, animate=False)
        elif line >= top + self.height:
            self.scroll_to(y=line - self.height + 1, animate=False)

    def render_line(self, y: int) -> Strip:
        """The head, or the line at this place."""
        return self.painter.head() if y < HEAD else self.painter.line(int(self.scroll_offset.y) + y - HEAD)

    # Moving

    def move_to(self, index: int) -> None:
        """Put the cursor on a row and keep it on the screen."""
        old = self.painter.line_of_cursor
        self.listing.move_to(index)
        self.refresh_line(old + HEAD)
        self.refresh_line(self.painter.line_of_cursor + HEAD)
        self.show_cursor()
        self.post_message(self.Moved(self))

    def action_move(self, lines: int) -> None:
        """Up or down."""
        self.move_to(self.listing.index + (lines if self.listing.cursor else min(lines, 0)))

    def action_page(self, pages: int) -> None:
        """A screen up or down."""
        self.move_to(self.listing.index + pages * max(1, self.height - 1))

    def action_go(self, where: str) -> None:
        """To the first or the last row."""
        self.move_to(0 if where == "first" else len(self.listing.order) - 1)

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

    def mark(self, span: str = "row") -> None:
        """Mark the row under the cursor (a group: all in it) and go to the next; or a `span`.

        "range" is from the last mark to the cursor, "all" all that is shown; all these marks go when all are set.
        """
        listing, row, start = self.listing, self.listing.current(), self._range_from
        if span == "all":
            listing.mark(listing.leaves())
        elif row is None:
            return
        elif span == "range" and start is not None and start in listing.order:
            first, last = sorted((listing.order.index(start), listing.index))
            listing.marks.update(key for key in listing.order[first : last + 1] if not listing.rows[key].is_group)
        else:
            listing.mark(listing.members(row.key))
            self._range_from = row.key
            self.restyle()
            self.move_to(listing.index + 1)
            return
        self.restyle()
        self.post_message(self.Moved(self))

    def sort_by(self, name: str, *, descending: bool | None = None) -> None:
        """Sort by the column of this id, largest or latest names first if `descending`.

        Without that the column's usual order is taken, and the same column again turns it round.
        """
        column = next(column for column in self.listing.columns if column.id == name)
        again = column.id == self.listing.sort_by.id and not self.listing.descending
        self.listing.sort(column, descending=again if descending is None else descending is not column.falls)
        self.rearrange()

    def on_click(self, event: Click) -> None:
        """A click moves the cursor, two open; on a title it sorts."""
        painter = self.painter
        assert isinstance(painter, RowPainter)  # noqa: S101 - the map has clicks of its own
        if event.y >= HEAD:
            index = int(self.scroll_offset.y) + event.y - HEAD
            if index < len(self.listing.order):
                self.move_to(index)
                if event.chain == 2 or event.x < MARGIN + painter.indent:
                    self.action_open()
            return
        left = MARGIN
        for column, width in painter.layout:
            if left <= event.x < left + width:
                self.sort_by(column.id)
                return
            left += width + GAP


class Roster(RowTable[UnitRow]):
    """The table of a detail: the units of a machine, or, out of sight, the one unit that a page is about.

    Left and right turn to other tabs. Out of sight it hands the focus on and lets nothing be marked.
    """

    def __init__(
        self, columns: tuple[Column[UnitRow], ...], clock: Callable[[], float], *, id: str,  # noqa: A002
        stand_in: Callable[[], Widget],
    ) -> None:  # fmt: skip
        super().__init__(columns, clock, id=id)
        self._stand_in = stand_in

    @property
    def in_sight(self) -> Widget:
        """The page, where that is shown instead."""
        return self if self.display else self._stand_in()

    def action_fold(self, unfold: bool) -> None:  # noqa: FBT001 - the binding's argument
        """To another tab."""
        self.post_message(Page.Turned(1 if unfold else -1))

    def mark(self, span: str = "row") -> None:
        """Mark rows, where they can be seen."""
        if self.display:
            super().mark(span)
