"""The main screen's keys that ask for words: filter, command line, palette, columns. They do nothing themselves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, cast

from textual import on
from textual.widgets import Input

from fleettui.console.screens.place_keys import PlaceKeys
from fleettui.console.tables.query import completed, parse_query
from fleettui.console.text.keys import KEYS
from fleettui.console.widgets.prompt import Prompt
from fleettui.console.widgets.theme import THEMES
from registry.errors import FleetError

if TYPE_CHECKING:
    from fleettui.console.commandline.commands import CommandContext
    from fleettui.console.commandline.completion import Completion
    from fleettui.console.screens.main import MainScreen
    from fleettui.console.text.finding import Find


class AskingKeys(PlaceKeys):
    """Words that narrow, and words that command."""

    chosen_theme = ""  # in this console, not by configuration

    # The filter

    def action_filter(self) -> None:
        """Open the filter's line."""
        if self.on_page:
            self.refuse("a page has nothing to filter; Esc goes back to the table")
            return
        prompt = self.query_one("#filter", Prompt)
        prompt.complete = self._filter_words
        prompt.open(self.view.table.listing.query.text)

    def _filter_words(self, text: str) -> Completion:
        from fleettui.console.commandline.completion import offered  # noqa: PLC0415 - when asked for

        hosts = sorted(machine.hostname for machine in self.reading.snapshot.machines.values())
        return offered(completed(text, hosts), 0)

    @on(Input.Changed, "#filter")
    def _filter_typed(self, event: Input.Changed) -> None:
        if event.input.display and event.value != self.view.table.listing.query.text:
            self.filter_by(event.value)

    @on(Input.Submitted, "#filter")
    def _filter_kept(self) -> None:
        self._close_prompts()

    def filter_by(self, text: str, *, trouble: bool | None = None) -> None:
        """Show only the rows of the open view that match, and say what may be wrong with the words."""
        listing = self.view.table.listing
        listing.filter(parse_query(text), trouble_only=trouble)
        self.view.table.rearrange()
        self.refresh_all()
        self.refuse(listing.query.complaint(listing.rows.values()))

    def action_trouble(self) -> None:
        """Only what is failed, pending or drifting, or all again."""
        listing = self.view.table.listing
        self.filter_by(listing.query.text, trouble=not listing.trouble_only)

    # Lines to type in

    @property
    def asking(self) -> Prompt | None:
        """The line that is open."""
        return next((prompt for prompt in self.query(Prompt) if prompt.display), None)

    @on(Prompt.Dismissed)
    def _left(self, event: Prompt.Dismissed) -> None:
        if event.prompt.id == "filter":
            self.filter_by("")
        self._close_prompts()

    def _close_prompts(self) -> None:
        for prompt in self.query(Prompt):
            if prompt.display:
                prompt.close()
        self.focus_view()

    def focus_view(self) -> None:
        """The keys go to what is open."""
        self._focus_place() if self.in_detail else self.view.table.focus()

    # The command line

    def action_command(self) -> None:
        """Open the command line."""
        from fleettui.console.commandline.completion import complete  # noqa: PLC0415 - loads fleetctl's grammar

        prompt = self.query_one("#command", Prompt)
        prompt.complete = lambda text: complete(text, self.world())
        prompt.history = self.desk.history
        self.desk.history.leave()
        self.refuse("")
        prompt.open()

    def world(self) -> CommandContext:
        """What a line is read against."""
        from fleettui.console.commandline.commands import CommandContext  # noqa: PLC0415 - loads fleetctl's grammar

        columns = () if self.view.name_ == "map" or self.on_page else tuple(
            column.id for column in self.view.table.listing.columns
        )  # fmt: skip
        return CommandContext(self.reading.snapshot, columns, tuple(THEMES), self.desk.read_only)

    @on(Input.Submitted, "#command")
    async def _commanded(self, event: Input.Submitted) -> None:
        prompt = self.query_one("#command", Prompt)
        line = event.value.strip()
        self.desk.history.add(line)
        if self.desk.notebook is not None:
            work = asyncio.to_thread(self.desk.notebook.keep_history, self.desk.history)
            self.run_worker(work, name="remember the line", exit_on_error=False)
        try:
            await self.command(line)
        except FleetError as error:
            prompt.show_error(str(error).partition("\n")[0])

    async def command(self, line: str) -> None:
        """Carry a line out. UserError, with the remedy, for one that cannot be."""
        from fleettui.console.commandline.commands import parse_command  # noqa: PLC0415 - loads fleetctl's grammar
        from fleettui.console.screens.commands import carry_out  # noqa: PLC0415 - the same

        order = parse_command(line, self.world())
        if order is not None:
            await carry_out(cast("MainScreen", self), order)
        self._close_prompts()

    # The palette

    def action_palette(self) -> None:
        """Find an action, a unit, a machine, a theme."""
        from fleettui.console.screens.palette import PaletteScreen  # noqa: PLC0415 - the same
        from fleettui.console.text.finding import sources  # noqa: PLC0415 - when asked for

        snapshot, desk, names = self.reading.snapshot, self.desk, self.chosen_units()
        found = sources(snapshot, desk.keymap, THEMES, read_only=desk.read_only, view=self.view.name_)
        by_action = {key.action: key for key in KEYS}
        usable: Callable[[Find], bool] = lambda find: self.usable(by_action[find.what], names)  # noqa: E731
        self.app.push_screen(PaletteScreen(found, usable), self._found)

    async def _found(self, find: Find | None) -> None:
        if find is None:
            return
        if find.kind == "action":
            await self.run_action(find.what)
        elif find.kind == "theme":
            self.use_theme(find.what)
        elif not self.go_to(f"{find.kind}s", find.what):
            self.refuse(f"{find.label} is gone")

    # The columns

    def action_columns(self) -> None:
        """Choose columns and order."""
        if not self.world().columns:
            self.refuse("there are no columns to choose here")
            return
        from fleettui.console.screens.columns import ColumnsScreen  # noqa: PLC0415 - seldom opened

        self.app.push_screen(
            ColumnsScreen(self.view.table, self.view.title or "units"), lambda _: self.refresh_all()
        )

    # Going and marking

    def go_to(self, view: str, key: str) -> bool:
        """Put the cursor on a row of a view, whatever hides it; False when there is none."""
        self.run_view(view)
        table = self.view.table
        if key in table.listing.rows and key not in table.listing.order and table.listing.narrowed:
            self.filter_by("", trouble=False)
        return table.select(key)

    def mark_only(self, names: Sequence[str]) -> None:
        """Mark the rows of these units and no others."""
        listing = self.view.table.listing
        wanted = {*names}
        listing.marks = {key for key, row in listing.rows.items() if not row.is_group and row.unit in wanted}
        self.view.table.restyle()
        self.refresh_all()
        self.follow_selection()

    def use_theme(self, name: str) -> None:
        """Other colours, at once."""
        self.app.theme = THEMES[name].name
        self.chosen_theme = name
        self.refuse(f'theme {name}; to keep it everywhere: [console] theme = "{name}" in fleet.toml')
