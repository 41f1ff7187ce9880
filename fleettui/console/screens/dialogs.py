"""What opens over the main screen to look or to choose: help, all operations, palette, columns; and the theme."""

from __future__ import annotations

from collections.abc import Callable

from textual.screen import Screen

from fleettui.console.operations.operation import history_lines
from fleettui.console.operations.runner import OperationRunner
from fleettui.console.pages.help import help_lines
from fleettui.console.screens.context import Context
from fleettui.console.screens.journal_dock import JournalDock
from fleettui.console.screens.navigator import Navigator, Selection, Views
from fleettui.console.screens.status_line import StatusLine
from fleettui.console.screens.text_screens import HelpScreen, PageScreen
from fleettui.console.tables.fleet import FleetModel
from fleettui.console.text.finding import Find, sources
from fleettui.console.text.keys import JOURNAL, KEYS, MAIN, Key
from fleettui.console.widgets.theme import THEMES


class Dialogs:
    """Opens dialogs and does what was found in them. `can_use` says whether a key would do something to units."""

    def __init__(
        self, screen: Screen[None], context: Context, fleet: FleetModel, views: Views, selection: Selection,
        navigator: Navigator, dock: JournalDock, runner: OperationRunner, status: StatusLine, *,
        can_use: Callable[[Key, list[str]], bool], refresh: Callable[[], None],
    ) -> None:  # fmt: skip
        self._screen, self._context, self._fleet = screen, context, fleet
        self._views, self._selection, self._navigator, self._dock = views, selection, navigator, dock
        self._runner, self._status = runner, status
        self._can_use, self._refresh = can_use, refresh
        self.theme = ""  # chosen in this console, not by configuration

    def open_help(self) -> None:
        """Show all keys, those of this place first."""
        view, context = self._views.open.name_, self._context
        where = JOURNAL if self._dock.pane.has_focus_within else MAIN
        self._screen.app.push_screen(HelpScreen(lambda search: help_lines(
            context.keymap, read_only=context.read_only, view=view, where=where, search=search
        )))  # fmt: skip

    def open_operations(self) -> None:
        """Show every operation of this console."""
        history, clock = self._runner.history, self._context.clock
        self._screen.app.push_screen(PageScreen("actions", lambda: history_lines(list(history.values()), clock())))

    def open_palette(self) -> None:
        """Find an action, a unit, a machine, a theme."""
        from fleettui.console.screens.choosers import PaletteScreen  # noqa: PLC0415 - seldom opened

        context, names = self._context, self._selection.units()
        found = sources(
            self._fleet.reading.snapshot, context.keymap, THEMES,
            read_only=context.read_only, view=self._views.open.name_,
        )  # fmt: skip
        by_action = {key.action: key for key in KEYS}
        usable: Callable[[Find], bool] = lambda find: self._can_use(by_action[find.what], names)  # noqa: E731
        self._screen.app.push_screen(PaletteScreen(found, usable), self._found)

    async def _found(self, find: Find | None) -> None:
        if find is None:
            return
        if find.kind == "action":
            await self._screen.run_action(find.what)
        elif find.kind == "theme":
            self.use_theme(find.what)
        elif not self._navigator.go_to(f"{find.kind}s", find.what):
            self._status.show(f"{find.label} is gone")

    def open_columns(self) -> None:
        """Choose columns and order."""
        if not self._views.sortable_columns:
            self._status.show("there are no columns to choose here")
            return
        from fleettui.console.screens.choosers import ColumnsScreen  # noqa: PLC0415 - seldom opened

        view = self._views.open
        self._screen.app.push_screen(ColumnsScreen(view.table, view.title or "units"), lambda _: self._refresh())

    def use_theme(self, name: str) -> None:
        """Use other colours, at once."""
        self._screen.app.theme = THEMES[name].name
        self.theme = name
        self._status.show(f'theme {name}; to keep it everywhere: [console] theme = "{name}" in fleet.toml')
