"""The lines to type in at the bottom of the main screen: the filter's and the command line's."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from textual import on
from textual.app import ComposeResult
from textual.containers import VerticalGroup
from textual.widgets import Input

from fleettui.console.screens.context import Context, StatusLine
from fleettui.console.screens.navigator import Navigator, Views
from fleettui.console.tables.fleet import FleetModel
from fleettui.console.tables.query import completed, facet_of
from fleettui.console.text.cells import Cell, Line, Tone
from fleettui.console.text.formatting import counted
from fleettui.console.widgets.drawing import Band
from fleettui.console.widgets.prompt import Prompt
from fleettui.console.widgets.theme import THEMES
from fleettui.escape import escape
from registry.errors import FleetError

if TYPE_CHECKING:
    from fleettui.console.commandline.commands import CommandContext, ConsoleCommand
    from fleettui.console.commandline.completion import Completion


class Prompts(VerticalGroup):
    """Both lines, and what they may become. `execute` carries a parsed command out."""

    def __init__(
        self, context: Context, fleet: FleetModel, views: Views, navigator: Navigator, status: StatusLine,
        execute: Callable[[ConsoleCommand], Awaitable[None]],
    ) -> None:  # fmt: skip
        super().__init__()
        self.context, self._fleet, self._views, self._navigator = context, fleet, views, navigator
        self._status, self._execute = status, execute
        self._fleets: tuple[str, ...] = ()  # as they were when the line was opened
        words = "words, web@*, state:failed, mem>100M, since<5m, /expression/, !word"
        self.filter_line = Prompt("/", id="filter", placeholder=f"filter: {words}")
        help_ = "what fleetctl understands; help explains"
        self.command_line = Prompt(":", id="command", placeholder=f"command: {help_}")

    def compose(self) -> ComposeResult:
        """Candidates above the lines."""
        yield Band(id="candidates")
        yield self.filter_line
        yield self.command_line

    @property
    def asking(self) -> Prompt | None:
        """The line that is open."""
        return next((prompt for prompt in (self.filter_line, self.command_line) if prompt.display), None)

    def close(self) -> None:
        """Close the line that is open, and give the keys to the view."""
        if prompt := self.asking:
            prompt.close()
        self._status.renew()
        self._navigator.focus()

    @on(Prompt.Dismissed)
    def _left(self, event: Prompt.Dismissed) -> None:
        if event.prompt is self.filter_line:
            self._navigator.filter_by("")
        self.close()

    # The filter

    def open_filter(self) -> None:
        """Open the filter's line."""
        if self._views.on_page:
            self._status.show("a page has nothing to filter; Esc goes back to the table")
            return
        self.filter_line.complete = self._complete_filter
        self.filter_line.open(self._views.open.table.listing.query.text)

    def _complete_filter(self, text: str) -> Completion:
        from fleettui.console.commandline.completion import offered  # noqa: PLC0415 - when asked for

        return offered(completed(text, lambda facet: self._values("filter", facet)), 0)

    def _values(self, view: str, facet: str) -> set[str]:
        """The values of a facet that the rows of a view have now; of "" their names."""
        rows = (self._views.open if view == "filter" else self._views.by_name[view]).rows().values()
        values = (value for row in rows if isinstance(value := facet_of(row, facet or "name"), str))
        if facet == "why":
            return set()
        if facet in ("state", "is"):
            return {each for value in values for each in value.split()}
        return {word for value in values if (word := value.partition(" ")[0]) not in ("", "-")}

    @on(Input.Changed, "#filter")
    def _filter_typed(self, event: Input.Changed) -> None:
        if event.input.display and event.value.strip() != self._views.open.table.listing.query.text:
            self._navigator.filter_by(event.value)
            self._status.show("")  # the hint says it, and goes on doing so
        self._status.renew()

    @on(Input.Submitted, "#filter")
    def _filter_kept(self) -> None:
        if error := self._views.open.table.listing.query.error:
            self.filter_line.show_error(error)
        else:
            self.close()

    def hint(self) -> Line | None:
        """What is understood of the line that is open, and what is wrong with it; None while none is open."""
        if self.asking is self.filter_line:
            listing = self._views.open.table.listing
            query = listing.query
            if wrong := query.complaint(listing.rows.values()):
                return (Cell(f"✖ {escape(wrong)}", Tone.BAD),)
            if not query:
                return (Cell("web@* state:failed machine=core-2 mem>100M since<5m !word /expression/", Tone.QUIET),)
            shown, total = listing.counts()
            return (
                Cell(f"{shown:,} of {counted(total, 'row')}", Tone.STRONG if shown else Tone.BUSY),
                Cell(f"  {escape(query.explained())}", Tone.QUIET),
            )
        if self.asking is self.command_line and self.command_line.value.strip():
            from fleettui.console.commandline.commands import hint  # noqa: PLC0415 - loads fleetctl's grammar

            said, wrong_line = hint(self.command_line.value, self.command_context())
            return (Cell(escape(said), Tone.BAD if wrong_line else Tone.QUIET),)
        return None

    # The command line

    def open_command_line(self) -> None:
        """Open the command line."""
        from fleettui.console.commandline.completion import complete  # noqa: PLC0415 - loads fleetctl's grammar

        self.command_line.complete = lambda text: complete(text, self.command_context())
        self.command_line.history = self.context.history
        self.context.history.leave()
        self._fleets = tuple(self.context.fleets())
        self._status.show("")
        self.command_line.open()

    def command_context(self) -> CommandContext:
        """Return what a line is parsed against."""
        from fleettui.console.commandline.commands import CommandContext  # noqa: PLC0415 - the same

        columns = tuple(column.id for column in self._views.sortable_columns)
        snapshot, read_only = self._fleet.reading.snapshot, self.context.read_only
        return CommandContext(
            snapshot, columns, tuple(THEMES), read_only, self._fleets or tuple(self.context.fleets()),
            tuple(each.name for each in self.context.commands), self._values,
        )  # fmt: skip

    @on(Input.Changed, "#command")
    def _command_typed(self) -> None:
        self._status.renew()

    @on(Input.Submitted, "#command")
    async def _submitted(self, event: Input.Submitted) -> None:
        line, pasted = event.value.strip(), self.command_line.pasted
        try:
            await self.execute(line)
        except FleetError as error:
            self.command_line.show_error(str(error).partition("\n")[0])
            if pasted:  # what makes no sense and was not typed is not what will be looked for
                return
        self.context.history.add(line)
        if self.context.store is not None:
            work = asyncio.to_thread(self.context.store.keep_history, self.context.history)
            self.screen.run_worker(work, name="remember the line", exit_on_error=False)

    async def execute(self, line: str) -> None:
        """Carry a line out. UserError, with the remedy, for one that cannot be."""
        from fleettui.console.commandline.commands import parse_command  # noqa: PLC0415 - loads fleetctl's grammar

        command = parse_command(line, self.command_context())
        if command is not None:
            await self._execute(command)
        self.close()
