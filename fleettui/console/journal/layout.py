"""Which items are shown and which rows of the screen each takes: numbers that stay, while the oldest go. Pure.

Items and rows are counted from the beginning of the stream, so that a place remains the same place when lines come
and when lines go. Finding the item of a row, or the rows of an item, is a binary search.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right

SLACK = 4096  # how much of an array may lie unused at its front


class Numbers:
    """Growing numbers from which the smallest go."""

    def __init__(self) -> None:
        self._all = array("q")
        self._start = 0

    def __len__(self) -> int:
        return len(self._all) - self._start

    def __getitem__(self, index: int) -> int:
        return self._all[self._start + index]

    def append(self, number: int) -> None:
        """Add one, larger than those before."""
        self._all.append(number)

    def below(self, number: int) -> int:
        """How many are smaller."""
        return bisect_left(self._all, number, self._start) - self._start

    def up_to(self, number: int) -> int:
        """How many are not larger."""
        return bisect_right(self._all, number, self._start) - self._start

    def drop(self, count: int) -> None:
        """Forget the first ones."""
        self._start += count
        if self._start > SLACK and self._start > len(self):
            del self._all[: self._start]
            self._start = 0


class Layout:
    """The shown items in their order, each with one row or more."""

    def __init__(self) -> None:
        self._items = Numbers()
        self._ends = Numbers()  # of each item, the row after its last
        self.first_row = 0
        self.end_row = 0

    def __len__(self) -> int:
        return len(self._items)

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return self.end_row - self.first_row

    def append(self, item: int, rows: int) -> None:
        """Show one more item at the end."""
        self._items.append(item)
        self.end_row += rows
        self._ends.append(self.end_row)

    def drop_below(self, item: int) -> None:
        """Forget the items before this one."""
        gone = self._items.below(item)
        if gone:
            self.first_row = self._ends[gone - 1]
            self._items.drop(gone)
            self._ends.drop(gone)

    def item(self, index: int) -> int:
        """The number of a shown item."""
        return self._items[index]

    def index(self, item: int) -> int:
        """The place of an item among the shown ones; of one that is not shown, that of the next."""
        return self._items.below(item)

    def at(self, row: int) -> tuple[int, int]:
        """The place of the item in a row, and which of its rows it is."""
        index = self._ends.up_to(row)
        return index, row - self.start(index)

    def start(self, index: int) -> int:
        """The first row of a shown item; past the last one, the end."""
        return self._ends[index - 1] if index else self.first_row

    def height(self, index: int) -> int:
        """How many rows a shown item takes."""
        return self._ends[index] - self.start(index)
