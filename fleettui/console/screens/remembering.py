"""The main screen as it was left: restored when it is mounted, noted once a second while it changes."""

from __future__ import annotations

import asyncio
from typing import Any

from fleettui.console.screens.asking_keys import AskingKeys
from fleettui.console.sources.saved_state import SavedState, ViewMemory
from fleettui.console.tables.listing import Listing
from fleettui.console.widgets.journal_pane import JournalPane

DETAIL = "detail"  # a place, not a table that is left in some way


class Remembering(AskingKeys):
    """Takes notes, and opens where they end."""

    def __init__(self, *arguments: Any) -> None:  # noqa: ANN401 - the frame's
        super().__init__(*arguments)
        self._noted: SavedState | None = None

    def recall(self) -> None:
        """Open as it was left."""
        if self.desk.memory is not None:
            self.restore(self.desk.memory)
        self._noted = self.memory()
        if self.desk.remark:
            self.refuse(self.desk.remark)
            self._remark = self.desk.remark

    def restore(self, memory: SavedState) -> None:
        """Sorting, columns, journal and view of an earlier run; what is no longer there is left out.

        What hides rows is not brought back: what has failed since must be in sight.
        """
        for view in self.tables:
            left = memory.views.get(view.name_)
            if left is not None:
                _restore(view.table.listing, left)
        pane = self.query_one(JournalPane)
        if memory.journal is not None:
            pane.display = memory.journal
        if memory.journal_lines:
            pane.styles.height = memory.journal_lines
        if memory.view != "units" and memory.view in {view.name_ for view in self.tables}:
            self.run_view(memory.view)
        self.refresh_all()

    def memory(self) -> SavedState:
        """How the console is now."""
        views = {view.name_: _left(view.table.listing) for view in self.tables}
        current = (self.trail.last_view(DETAIL) or "units") if self.in_detail else self.view.name_
        pane = self.query_one(JournalPane)
        journal = pane.display if self._docked is None else self._docked
        return SavedState(current, views, self.chosen_theme, journal, self._journal_lines(pane))

    def _journal_lines(self, pane: JournalPane) -> int:
        """How high the reader made the journal; 0 where they did not."""
        height = pane.styles.height
        if height is not None and height.is_cells:
            return int(height.value)
        return self._noted.journal_lines if self._noted else 0

    def _tick(self) -> None:
        super()._tick()
        self.note()

    def note(self) -> None:
        """Keep how it is now, where that is another than before."""
        notebook, memory = self.desk.notebook, self.memory()
        if notebook is None or memory == self._noted:
            return
        self._noted = memory
        self.run_worker(asyncio.to_thread(notebook.keep, memory), name="remember the view", exit_on_error=False)

    async def note_last(self) -> None:
        """Keep how it is left."""
        if self.desk.notebook is not None:
            await asyncio.to_thread(self.desk.notebook.keep, self.memory())


def _left(listing: Listing[Any]) -> ViewMemory:
    return ViewMemory(sort=listing.sort_by.id, descending=listing.descending, hidden=tuple(sorted(listing.hidden)))


def _restore(listing: Listing[Any], left: ViewMemory) -> None:
    known = {column.id: column for column in listing.columns}
    listing.hidden = frozenset(left.hidden) & known.keys()
    if left.sort in known:
        listing.sort(known[left.sort], descending=left.descending)
