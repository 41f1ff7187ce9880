"""What opens over the main screen to look or to choose: help, all operations, palette, columns; and the theme."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from textual.screen import Screen

from fleettui.console.operations.commands_there import own_commands
from fleettui.console.operations.operation import history_lines
from fleettui.console.operations.runner import OperationRunner
from fleettui.console.pages.help import help_lines
from fleettui.console.screens.context import Context, StatusLine
from fleettui.console.screens.journal_dock import JournalDock
from fleettui.console.screens.navigator import Navigator, Selection, Views
from fleettui.console.screens.text_screens import HelpScreen, PageScreen
from fleettui.console.tables.fleet import FleetModel
from fleettui.console.text.finding import Find, FinderSource, sources
from fleettui.console.text.formatting import natural
from fleettui.console.text.keys import JOURNAL, KEYS, MAIN, Key
from fleettui.console.text.subject import SubjectKind
from fleettui.console.widgets.theme import THEMES
from registry.errors import FleetError, UserError


class Dialogs:
    """Opens dialogs and does what was found in them. `can_use` says whether a key would do something to units."""

    def __init__(
        self, screen: Screen[None], context: Context, fleet: FleetModel, views: Views, selection: Selection,
        navigator: Navigator, dock: JournalDock, runner: OperationRunner, status: StatusLine, *,
        can_use: Callable[[Key, list[str]], bool], refresh: Callable[[], None],
        execute: Callable[[str], Awaitable[None]],
    ) -> None:  # fmt: skip
        self._screen, self._context, self._fleet = screen, context, fleet
        self._views, self._selection, self._navigator, self._dock = views, selection, navigator, dock
        self._runner, self._status = runner, status
        self._can_use, self._refresh, self._execute = can_use, refresh, execute
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
        """Find an action, a unit, a machine, a theme, or what to do to one: "drain core-2"."""
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
        elif find.kind == "command":
            try:
                await self._execute(find.what)
            except FleetError as error:
                self._status.show(str(error).partition("\n")[0])
        elif find.kind == "theme":
            self.use_theme(find.what)
        elif not self._navigator.go_to(f"{find.kind}s", find.what):
            self._status.show(f"{find.label} is gone")

    # Other fleets

    def choose_fleet(self) -> None:
        """Choose another fleet; the one that was open before comes first."""
        from fleettui.console.screens.choosers import PaletteScreen  # noqa: PLC0415 - seldom opened

        context = self._context
        names = [name for name in context.fleets() if name != context.identity.cluster]
        names.sort(key=lambda name: (name != context.came_from, natural(name)))
        if not names:
            self._status.show("no other fleet is known; put fleet.toml files into ~/.config/fleet/clusters")
            return
        found = (FinderSource("fleet", names),)

        async def chosen(find: Find | None) -> None:
            if find is not None:
                await self.switch_to(find.what)

        screen = PaletteScreen(
            found, lambda _: True, "another fleet; nothing of this one is taken along but the unit"
        )
        self._screen.app.push_screen(screen, chosen)

    async def switch_to(self, name: str) -> None:
        """Leave this fleet and open another one, with the same unit selected."""
        from fleettui.console.sources.fleets import open_fleet  # noqa: PLC0415 - the same

        context, subject = self._context, self._selection.subject_here()
        unit = subject.name if subject is not None and subject.kind is SubjectKind.UNIT else ""
        try:
            if not context.has_terminal:
                raise UserError("a console in a browser has one fleet; open another one with fleettui serve")
            chosen = await asyncio.to_thread(
                lambda: open_fleet(name, context.fleets(), read_only=context.stays_read_only, unit=unit)
            )
            told = chosen.settings.console
            own_commands(told.commands, told.keymap, (), chosen.settings.source)
        except FleetError as error:
            self._status.show(str(error).partition("\n")[0])
            return
        context.open_next(chosen)
        await self._screen.app.run_action("quit")

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
