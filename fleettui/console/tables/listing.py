"""What a table shows of its rows, and where the reader is in it: order, folds, filter, marks, cursor. Pure.

Everything here follows the row's key, never its position: a table that changes under the hand must not make a key
hit another row. When the row under the cursor goes, the cursor is on nothing until it moves or the row is back.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any, Generic, TypeVar

from fleettui.console.tables.query import Query, Test
from fleettui.console.tables.rows import Column, Delta, Row
from fleettui.console.text.formatting import natural

R = TypeVar("R", bound=Row)
FOLD_ABOVE = 20  # a group with more rows than this starts folded


class Listing(Generic[R]):
    """The rows of one table in the order they are shown."""

    def __init__(self, columns: tuple[Column[R], ...]) -> None:
        self.columns = columns
        self.sort_by = columns[0]
        self.descending = False
        self.query = Query()
        self._admits: Test = Query().test(0.0)
        self.trouble_only = False
        self.hidden = frozenset(column.id for column in columns if column.off)
        self.rows: dict[str, R] = {}
        self.order: list[str] = []
        self.marks: set[str] = set()
        self.cursor: str | None = None
        self.index = 0  # where the cursor is, or was when its row went
        self._lost: str | None = None  # the row that went from under the cursor
        self._placed = False  # whether the cursor was ever on a row
        self._ranks: dict[str, Any] = {}
        self._unfolded: dict[str, bool] = {}  # what the reader chose
        self._children: dict[str, list[str]] = {}
        self._in_order: list[str] | None = None  # all keys as they are sorted; None: to be sorted again
        self._passing: dict[str, None] = {}  # rows that the filter lets through; groups left out
        self._total = 0

    @property
    def shown(self) -> tuple[Column[R], ...]:
        """The columns that are not hidden. The first always is shown."""
        return tuple(each for each in self.columns if each.id not in self.hidden or each is self.columns[0])

    @property
    def falls(self) -> bool:
        """Whether what is largest comes first."""
        return self.descending is not self.sort_by.falls

    # Changes of the rows

    def apply(self, delta: Delta[R]) -> bool:
        """Take changed rows in; return whether the order of the lines may have changed."""
        moved = delta.reset or bool(delta.removed)
        if delta.reset:
            gone = self.rows.keys() - delta.changed.keys()
            self._drop(gone)
        self._drop(delta.removed)
        for key, row in delta.changed.items():
            old = self.rows.get(key)
            rank = self.sort_by.order(row)
            if old is None or self._ranks[key] != rank:
                self._in_order, moved = None, True
            moved = moved or old is None or old.parent != row.parent
            moved = moved or (
                self.narrowed and not row.is_group and self._passes(row) is not (key in self._passing)
            )
            self.rows[key], self._ranks[key] = row, rank
        if moved:
            self.arrange()
        return moved

    def _drop(self, keys: Iterable[str]) -> None:
        for key in list(keys):
            self.rows.pop(key, None)
            self._ranks.pop(key, None)
            self.marks.discard(key)
            self._in_order = None

    # Order and folds

    def arrange(self) -> None:
        """Put all lines in order again, and find the cursor's row."""
        tops: list[str] = []
        self._children = {}
        if self._in_order is None:
            self._in_order = self._sorted(list(self.rows))
        shown = self._admitted()
        for key in self._in_order:
            if key not in shown:
                continue
            parent = self.rows[key].parent
            if parent and parent in self.rows:
                self._children.setdefault(parent, []).append(key)
            else:
                tops.append(key)
        self.order = []
        for key in tops:
            self._add(key)
        self._find_cursor()

    def _admitted(self) -> Collection[str]:
        """Keys of the rows that the filter lets through, with the groups above them."""
        leaves = [(key, row) for key, row in self.rows.items() if not row.is_group]
        self._total = len(leaves)
        if not self.narrowed:
            self._passing = dict.fromkeys(key for key, _ in leaves)
            return self.rows
        self._passing = {key: None for key, row in leaves if self._passes(row)}
        shown: dict[str, None] = {}
        for leaf in self._passing:
            key = leaf
            while key and key in self.rows and key not in shown:
                shown[key] = None
                key = self.rows[key].parent
        return shown

    def _passes(self, row: R) -> bool:
        """Whether the row is shown. What was in trouble stays until it is well: a fix is watched to its end."""
        if self.trouble_only and not getattr(row, "troubled", True):
            before = row.key in self._passing and not getattr(row, "well", True)
            return before and self._admits(row)
        return self._admits(row)

    def _sorted(self, keys: list[str]) -> list[str]:
        by_name = sorted(keys, key=natural)  # rows of one rank keep this order in both directions
        return sorted(by_name, key=self._ranks.__getitem__, reverse=self.descending)

    def _add(self, key: str) -> None:
        self.order.append(key)
        if key in self._children and self.unfolded(key):
            for child in self._children[key]:
                self._add(child)

    def unfolded(self, key: str) -> bool:
        """Whether the rows of a group are shown: as the reader chose, else when they are few or searched for."""
        default = bool(self.query) or len(self._children.get(key, ())) <= FOLD_ABOVE
        return self._unfolded.get(key, default)

    def folds(self, key: str) -> bool:
        """Whether the row has rows below it."""
        return key in self._children

    def depth(self, key: str) -> int:
        """How many groups the row is in."""
        depth, parent = 0, self.rows[key].parent
        while parent and parent in self.rows:
            depth, parent = depth + 1, self.rows[parent].parent
        return depth

    def toggle_fold(self, key: str) -> None:
        """Fold or unfold a group."""
        self._unfolded[key] = not self.unfolded(key)
        self.arrange()

    def sort(self, column: Column[R], *, descending: bool = False) -> None:
        """Sort by another column."""
        self.sort_by, self.descending = column, descending
        self._ranks = {key: column.order(row) for key, row in self.rows.items()}
        self._in_order = None
        self.arrange()

    def filter(self, query: Query, *, now: float = 0.0, trouble_only: bool | None = None) -> None:
        """Show only what the query admits now; `trouble_only` leaves out what is as it should be."""
        self.query, self._admits = query, query.test(now)
        if trouble_only and not self.trouble_only:
            self._passing = {}
        self.trouble_only = self.trouble_only if trouble_only is None else trouble_only
        self.arrange()
        if self.cursor is None:  # the reader's own doing, so the cursor may go to what was looked for
            self.move_to(next((n for n, key in enumerate(self.order) if not self.rows[key].is_group), 0))

    def age(self, now: float) -> bool:
        """Let time pass for a filter that asks for ages; return whether other rows pass it now."""
        if not self.query.ages:
            return False
        self._admits = self.query.test(now)
        passing = {key for key, row in self.rows.items() if not row.is_group and self._passes(row)}
        if passing == self._passing.keys():
            return False
        self.arrange()
        return True

    @property
    def narrowed(self) -> bool:
        """Whether the filter leaves rows out."""
        return bool(self.query) or self.trouble_only

    def counts(self) -> tuple[int, int]:
        """How many rows pass the filter, folded or not, and how many there are; groups are not counted."""
        return len(self._passing), self._total

    # Cursor

    def _find_cursor(self) -> None:
        wanted = self.cursor or self._lost
        if wanted in self.rows and wanted in self.order:
            self.cursor, self.index = wanted, self.order.index(wanted)
        elif not self._placed:
            self.move_to(0)
        else:
            self.cursor, self._lost = None, wanted
            self.index = max(0, min(self.index, len(self.order) - 1))

    def move_to(self, index: int) -> None:
        """Put the cursor on a line."""
        if self.order:
            self.index = max(0, min(index, len(self.order) - 1))
            self.cursor, self._lost, self._placed = self.order[self.index], None, True

    def current(self) -> R | None:
        """The row under the cursor; None when it went away or the table is empty."""
        return self.rows.get(self.cursor) if self.cursor else None

    # Marks

    def mark(self, keys: Iterable[str]) -> None:
        """Mark the rows, or take their marks away when all of them have one."""
        keys = [key for key in keys if key in self.rows]
        if self.marks.issuperset(keys):
            self.marks.difference_update(keys)
        else:
            self.marks.update(keys)

    def chosen(self) -> list[R]:
        """What an action is about: the marked rows in their order, else the row under the cursor."""
        if self.marks:
            return [self.rows[key] for key in self._sorted(list(self.marks))]
        row = self.current()
        return [] if row is None else [row]

    def members(self, key: str) -> list[str]:
        """The row itself, or all rows in the group."""
        if key not in self._children:
            return [key]
        return [leaf for child in self._children[key] for leaf in self.members(child)]

    def leaves(self) -> list[str]:
        """All rows that pass the filter, folded or not; groups left out."""
        return list(self._passing)

    def hidden_marks(self) -> int:
        """How many marked rows the filter or a fold hides."""
        return len(self.marks.difference(self.order)) if self.marks else 0
