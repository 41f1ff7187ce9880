"""A table that one moves in, folds, marks and sorts: by keys and by mouse. What it shows is drawn by `sheet`."""

from __future__ import annotations

from typing import Any, ClassVar, TypeVar

from textual.binding import BindingType
from textual.events import Click
from textual.message import Message

from fleettui.console.tables.rows import Column, Row
from fleettui.console.text.keys import TABLE
from fleettui.console.widgets.bindings import bound
from fleettui.console.widgets.columns import GAP
from fleettui.console.widgets.sheet import HEAD, MARGIN, Sheet

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
