"""Running a command on machines side by side: what is asked first, and the pane with all that they print."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen, Screen

from fleettui.console.operations.commands_there import MergedOutput, OwnCommand, There
from fleettui.console.operations.impact import Survey
from fleettui.console.screens.confirm import Confirmer
from fleettui.console.screens.context import Context, StatusLine
from fleettui.console.screens.navigator import Selection, Views
from fleettui.console.sources.hosts import Hosts
from fleettui.console.tables.fleet import FleetModel, Reading
from fleettui.console.text.cells import Cell, Tone
from fleettui.console.text.formatting import counted
from fleettui.console.widgets.drawing import Band
from fleettui.console.widgets.page import Lines
from fleettui.escape import escape
from registry.errors import FleetError, UserError

AT_ONCE = 32  # machines
DRAW_S = 0.1


class OutputScreen(ModalScreen[None]):
    """The merged output of a command while it runs and afterwards. Leaving ends what still runs."""

    DEFAULT_CSS = """
    OutputScreen { align: center middle; background: $background 60%; }
    OutputScreen > Vertical {
        width: 96%; height: 92%; padding: 0 1; background: $panel; border: round $primary;
    }
    OutputScreen Band, OutputScreen Lines { background: $panel; }
    OutputScreen Lines { height: 1fr; margin: 1 0; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "close", "cancel, or close"),
        Binding("ctrl+c", "stop", "cancel", priority=True),
        Binding("c", "copy", "copy"),
    ]

    def __init__(
        self, title: str, targets: Sequence[There], argv: Sequence[str], hosts: Hosts, *, here: bool
    ) -> None:
        super().__init__()
        self._heading, self._targets, self._argv = title, list(targets), list(argv)
        self._hosts, self._here = hosts, here
        self.output = MergedOutput(targets)
        self._room = asyncio.Semaphore(AT_ONCE)
        self._shown = -1

    def compose(self) -> ComposeResult:
        """Title, lines, how many have ended."""
        with Vertical():
            yield Band(id="run-title", padding=0)
            yield Lines(id="run-lines")
            yield Band(id="run-summary", padding=0)

    def on_mount(self) -> None:
        """Begin."""
        self.query_one("#run-lines", Lines).focus()
        for target in self._targets:
            self.run_worker(self._run(target), name="run a command", group="run", exit_on_error=False)
        self.set_interval(DRAW_S, self._draw)
        self._draw()

    async def _run(self, target: There) -> None:
        output = self.output
        try:
            async with self._room:
                argv = target.filled(self._argv)
                machine = None if self._here else target.machine
                status = await self._hosts.run(machine, argv, lambda data: output.take(target, data))
        except FleetError as error:
            output.end(target, str(error).partition("\n")[0], failed=True)
        except OSError as error:
            output.end(target, f"{argv[0]}: {error.strerror}", failed=True)
        except asyncio.CancelledError:
            output.end(target, "cancelled", failed=True)
            raise
        else:
            output.end(target, f"ended with status {status}", failed=status != 0)

    def _draw(self) -> None:
        output, page = self.output, self.query_one("#run-lines", Lines)
        hint = "Esc cancels" if output.running else "c copies · Esc closes"
        self.query_one("#run-title", Band).put(((Cell(self._heading, Tone.HEAD),), (Cell(hint, Tone.QUIET),)))
        self.query_one("#run-summary", Band).put((output.summary(), ()))
        seen = len(output.lines) + output.dropped
        if seen != self._shown:
            self._shown = seen
            place = page.scroll_offset.y
            follows = place >= len(page.lines) - page.size.height
            page.show(output.lines)
            page.scroll_to(y=len(output.lines) if follows else place, animate=False, force=True)

    def action_stop(self) -> None:
        """End what still runs."""
        self.workers.cancel_group(self, "run")

    def action_close(self) -> None:
        """End what still runs; then close."""
        if self.output.running:
            self.action_stop()
        else:
            self.dismiss(None)

    def action_copy(self) -> None:
        """Copy all lines."""
        self.app.copy_to_clipboard(self.output.text())


class CommandsThere:
    """Runs commands on the chosen machines, or on those where the chosen units are."""

    def __init__(
        self, screen: Screen[None], context: Context, fleet: FleetModel, views: Views, selection: Selection,
        confirmer: Confirmer, status: StatusLine,
    ) -> None:  # fmt: skip
        self._screen, self._context, self._fleet = screen, context, fleet
        self._views, self._selection, self._confirmer, self._status = views, selection, confirmer, status

    def perform(self, name: str) -> None:
        """Run one of the operator's own commands."""
        self.run(next(each for each in self._context.commands if each.name == name))

    def run(self, command: OwnCommand) -> None:
        """Run it, after asking unless it needs no question."""
        targets = self._targets(command)
        if barred := self._context.barred:
            self._status.show(f"cannot run {command.name}: {barred}")
            return
        if not targets:
            what = "unit on a machine that is here" if command.per_unit else "machine that is here"
            self._status.show(f"cannot run {command.name}: no {what} is chosen")
            return
        try:
            filled = [each.filled(command.argv) for each in targets]
        except UserError as error:
            self._status.show(f"cannot run {command.name}: {escape(str(error))}")
            return
        names = tuple(f"{each.machine.id} {each.unit}" for each in targets)
        shown = escape(shlex.join(filled[0] if len(targets) == 1 else command.argv))
        where = "here, for" if command.on == "here" else "on"
        many = escape(targets[0].machine.hostname) if len(targets) == 1 else counted(len(targets), "machine")
        if command.per_unit and len(targets) > 1:
            many = counted(len(targets), "unit")

        def survey(_: Reading) -> Survey:
            hosts = ", ".join(dict.fromkeys(escape(each.machine.hostname) for each in targets[:20]))
            lines = (f"{where} {hosts}{' …' if len(targets) > 20 else ''}", "What it does there is not looked at.")
            first = f"fleetctl ssh {shlex.quote(targets[0].machine.hostname)} {escape(shlex.join(filled[0]))}"
            more = f"   … and on {len(targets) - 1} more" if len(targets) > 1 else ""
            same = f"{first}{more}" if command.on != "here" else ""
            return Survey(f"Run {shown} {where} {many}?", "run", lines, same, names=names, always=command.confirm)

        def begin(_: Survey) -> None:
            title, here = f"{shown} {where} {many}", command.on == "here"
            self._screen.app.push_screen(OutputScreen(title, targets, command.argv, self._context.hosts, here=here))

        self._confirmer.ask_first(survey, begin)

    def _targets(self, command: OwnCommand) -> list[There]:
        """What the selection stands for: machines, or the places of units; those that are here."""
        known = self._fleet.reading.snapshot.machines
        if self._views.key_scope == "machines" and not command.per_unit:
            return [There(known[each]) for each in self._selection.machines() if each in known]
        view = self._views.open
        rows, units = view.table.listing.chosen(), self._selection.units()
        pairs = [*self._fleet.units.places(units)]
        if len(rows) == 1 and getattr(rows[0], "is_global", False) and getattr(rows[0], "machine", ""):
            pairs = [(rows[0].machine, rows[0].unit)]
        if command.per_unit or len(units) == 1:
            return [There(known[machine], unit) for machine, unit in pairs if machine in known]
        return [There(known[machine]) for machine in dict.fromkeys(each for each, _ in pairs) if machine in known]
