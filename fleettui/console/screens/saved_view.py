"""The main screen as it was left: restored when it is mounted, saved once a second while it changes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from textual.screen import Screen

from fleettui.console.screens.context import Context
from fleettui.console.screens.journal_dock import JournalDock
from fleettui.console.screens.navigator import Navigator, Views
from fleettui.console.sources.saved_state import SavedState, ViewState


class SavedView:
    """Restores the screen, and saves how it is.

    `theme` and `pace` return what was chosen here, `names` the last known ones of machines.
    """

    def __init__(
        self, screen: Screen[None], context: Context, views: Views, navigator: Navigator, dock: JournalDock,
        theme: Callable[[], str], pace: Callable[[], str], names: Callable[[], Mapping[str, str]],
    ) -> None:  # fmt: skip
        self._screen, self._context, self._views = screen, context, views
        self._navigator, self._dock, self._theme, self._pace = navigator, dock, theme, pace
        self._names = names
        self._saved: SavedState | None = None

    def restore(self) -> None:
        """Restore sorting, columns, journal and view of an earlier run; what is no longer there is left out.

        What hides rows is not brought back: what has failed since must be in sight.
        """
        saved = self._context.saved
        if saved is not None:
            for view in self._views.tables:
                if left := saved.views.get(view.name_):
                    listing = view.table.listing
                    known = {column.id: column for column in listing.columns}
                    listing.hidden = frozenset(left.hidden) & known.keys()
                    if left.sort in known:
                        listing.sort(known[left.sort], descending=left.descending)
            pane = self._dock.pane
            if saved.journal is not None:
                pane.display = saved.journal
            if saved.journal_lines:
                pane.styles.height = saved.journal_lines
            if saved.view != "units" and saved.view in {view.name_ for view in self._views.tables}:
                self._navigator.open_view(saved.view)
        self._saved = self.state()

    def state(self) -> SavedState:
        """Return how the console is now."""
        views = {}
        for view in self._views.tables:
            listing = view.table.listing
            hidden = tuple(sorted(listing.hidden))
            views[view.name_] = ViewState(sort=listing.sort_by.id, descending=listing.descending, hidden=hidden)
        in_detail = self._views.in_detail
        current = self._navigator.history.last_view() if in_detail else self._views.open.name_
        height = self._dock.pane.styles.height
        if height is not None and height.is_cells:
            lines = int(height.value)
        else:
            lines = self._saved.journal_lines if self._saved else 0  # the reader did not choose a height
        return SavedState(
            current, views, self._theme(), self._dock.shown_beside_tables, lines, self._pace(), dict(self._names())
        )

    def save(self) -> None:
        """Save how it is now, where that is another than before."""
        store, state = self._context.store, self.state()
        if store is None or state == self._saved:
            return
        self._saved = state
        self._screen.run_worker(asyncio.to_thread(store.keep, state), name="remember the view", exit_on_error=False)

    async def save_last(self) -> None:
        """Save how it is left."""
        if self._context.store is not None:
            await asyncio.to_thread(self._context.store.keep, self.state())
