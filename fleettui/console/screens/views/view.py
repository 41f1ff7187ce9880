"""What all views share: a table, the rows that go into it, and what they are about."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import ClassVar, Generic, TypeVar

from textual.app import ComposeResult
from textual.containers import Vertical

from fleettui.console.journal import Wanted
from fleettui.console.sources.feed import Reading
from fleettui.console.tables.row import Column, Delta, Row
from fleettui.console.text.cells import Cell, Line, Tone
from fleettui.console.widgets.table import RowTable
from fleettui.escape import escape

R = TypeVar("R", bound=Row)


class View(Vertical, Generic[R]):
    """One table over the whole middle of the screen."""

    name_: ClassVar[str]  # as in the keys table
    title: ClassVar[str]
    empty: ClassVar[tuple[str, ...]] = ()
    columns: ClassVar[tuple[Column, ...]]  # type: ignore[type-arg] # of this view's rows

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__(id=self.name_)
        self._clock = clock
        self._behind = True  # changes went by unfolded

    def compose(self) -> ComposeResult:
        """The table."""
        yield RowTable(self.columns, self._clock, id=f"{self.name_}-table")

    @property
    def table(self) -> RowTable[R]:
        """The table."""
        return self.query_one(f"#{self.name_}-table", RowTable)

    def see(self, reading: Reading) -> None:
        """Take a reading in, when on the screen."""
        if not self.display:
            self._behind = True
            return
        self.table.apply(self.fold(reading, everything=self._behind))
        self._behind = False

    def fold(self, reading: Reading, *, everything: bool) -> Delta[R]:
        """The rows that changed."""
        raise NotImplementedError

    def units(self, rows: list[R]) -> list[str]:
        """The units that an action on these rows is about."""
        raise NotImplementedError

    def wanted(self, reading: Reading, rows: list[R]) -> tuple[Wanted, ...]:  # noqa: ARG002 - for views without
        """The journals to read for these rows."""
        return ()

    def about(self, rows: list[R]) -> tuple[Hashable, ...]:
        """What these rows stand for, and stay the same for while they change."""
        return (self.name_, *(row.key for row in rows))

    def told(self, row: R, now: float) -> Line:  # noqa: ARG002 - for views that count time
        """What is to be said of the row under the cursor, below the table."""
        reason = getattr(row, "reason", "")
        return (
            (Cell(f"{escape(getattr(row, 'unit', ''))}: ", Tone.STRONG), Cell(reason, Tone.QUIET)) if reason else ()
        )

    def notice(self) -> tuple[Line, ...]:
        """What to say where the table is empty."""
        if self.table.listing.order:
            return ()
        shown, total = self.table.listing.counts()
        if total and not shown:
            what = self.table.listing.query.text or "what is failed, pending or drifting"
            return (
                (Cell(f"nothing matches {what}", Tone.PLAIN),),
                (Cell(f"{total} hidden; Esc shows all", Tone.QUIET),),
            )
        return tuple((Cell(line, Tone.QUIET if number else Tone.PLAIN),) for number, line in enumerate(self.empty))
