"""The table of a detail: the units of a machine, or, out of sight, the one unit that a page is about."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

from textual.widget import Widget

from fleettui.console.tables.rows import Column
from fleettui.console.tables.units import UnitRow
from fleettui.console.widgets.page import Page
from fleettui.console.widgets.table import RowTable


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
