"""What a machine says of a unit beyond its status, as a page; and any page or table in a file or a pager."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Sequence
from pathlib import Path
from signal import Signals
from typing import Any

from textual.screen import Screen

from fleettui.console.operations.impact import Survey
from fleettui.console.operations.relations import run_by
from fleettui.console.pages.detail import places
from fleettui.console.screens.confirm import Confirmer
from fleettui.console.screens.context import Context, StatusLine
from fleettui.console.screens.navigator import Navigator, Selection, Views
from fleettui.console.screens.outside import Outside
from fleettui.console.screens.text_screens import PageScreen
from fleettui.console.sources.hosts import StatusReader
from fleettui.console.sources.journal_saving import save
from fleettui.console.tables.fleet import FleetModel
from fleettui.console.text.cells import Cell, Line, Tone, ansi_lines
from fleettui.console.text.subject import SubjectKind
from fleettui.console.widgets.drawing import fitted
from fleettui.escape import escape
from registry.errors import FleetError
from registry.model import Machine


class OnHost:
    """Asks a unit's machine, and shows what it says; writes out what is shown."""

    def __init__(
        self, screen: Screen[None], context: Context, fleet: FleetModel, views: Views, selection: Selection,
        navigator: Navigator, outside: Outside, status: StatusLine, confirmer: Confirmer,
    ) -> None:  # fmt: skip
        self._screen, self._context, self._fleet, self._views = screen, context, fleet, views
        self._selection, self._navigator, self._outside, self._status = selection, navigator, outside, status
        self._confirmer = confirmer

    async def status(self, machine: Machine, unit: str) -> str:
        """What the machine says, as a status reader asks for it."""
        return await self._context.hosts.look(machine, unit)

    def signal(self, name: str) -> None:
        """Send a signal to the processes of the selected unit, once the operator said yes."""
        wanted = name.upper() if name.upper().startswith("SIG") else f"SIG{name.upper()}"
        if wanted not in Signals.__members__:
            self._status.show(f"no signal: {escape(name)[:20]}; write for example SIGHUP or USR1")
            return
        found = self._place()
        if found is None:
            return
        machine, unit = found
        host = escape(machine.hostname)
        command = ["systemctl", "kill", f"--signal={wanted}", "--", unit]
        asked = Survey(
            f"Send {wanted} to {escape(unit)}?",
            "signal",
            (f"to all of its processes on {host}, by systemctl kill",),
            shlex.join(["fleetctl", "ssh", machine.hostname, *command]),
            names=(unit,),
            always=True,
            refusal=self._context.barred and f"no signal: {self._context.barred}",
        )

        async def send() -> None:
            try:
                await self._context.hosts.signal(machine, unit, wanted)
            except FleetError as error:
                self._status.show(escape(str(error)), lasting=True)
            else:
                self._status.show(f"sent {wanted} to {unit} on {machine.hostname}", lasting=True)

        self._confirmer.ask_first(
            lambda _: asked, lambda _: self._screen.run_worker(send(), name="send a signal", exit_on_error=False)
        )

    def run_now(self) -> None:
        """Start what the selected timer starts, on its machine, as if its time had come: no target is changed."""
        found = self._place()
        if found is None:
            return
        machine, timer = found
        unit = run_by(self._fleet.reading.snapshot, timer)
        if not unit or self._context.barred:
            why = self._context.barred or f"{timer} is no timer; this key starts what a timer starts"
            self._status.show(f"nothing is started: {escape(why)}")
            return

        async def start() -> None:
            try:
                await self._context.hosts.start(machine, unit)
            except FleetError as error:
                self._status.show(escape(str(error)), lasting=True)
            else:
                self._status.show(f"started {unit} on {machine.hostname}, as {timer} does", lasting=True)

        self._screen.run_worker(start(), name="start what a timer starts", exit_on_error=False)

    def _place(self) -> tuple[Machine, str] | None:
        """The selected unit and the one machine that has it; None, and said why, where there is no such."""
        subject, snapshot = self._selection.subject_here(), self._fleet.reading.snapshot
        if subject is None or subject.kind is not SubjectKind.UNIT:
            self._status.show("no unit is selected")
            return None
        homes = [each for each in places(snapshot, subject.name, subject.machine) if each in snapshot.machines]
        if len(homes) != 1:
            where = f"on {len(homes)} machines; select one of them" if homes else "on no machine that is here"
            self._status.show(f"{subject.name} is {where}")
            return None
        return snapshot.machines[homes[0]], subject.name

    def open(self) -> None:
        """Show what the machine of the selected unit says of it: processes, times, sockets, files, exposure."""
        found = self._place()
        if found is None:
            return
        machine, unit = found

        def changed() -> None:
            page.renew()

        reader = StatusReader(
            self, self._context.clock,
            lambda work: page.run_worker(work, name="ask the machine", exit_on_error=False), changed,
        )  # fmt: skip

        def write() -> Sequence[Line]:
            asked = reader.asked
            if asked.error:
                return [(Cell(f"✖ {escape(asked.error)}", Tone.BAD),)]
            if asked.text is None:
                return [(Cell(f"◐ asking {escape(machine.hostname)} …", Tone.BUSY),)]
            return ansi_lines(asked.text)

        page = PageScreen(f"{escape(unit)} on {escape(machine.hostname)}", write)
        self._screen.app.push_screen(page)
        page.call_after_refresh(lambda: reader.want(machine, unit, None, force=True))

    def shown(self) -> tuple[str, str]:
        """The open page, or the whole table as it is filtered and sorted, and what it is called."""
        if found := self._navigator.copyable():
            return found
        view = self._views.open
        listing: Any = view.table.listing
        rows = [[column.title for column in listing.shown]]
        now = self._context.clock()
        for key in listing.order:
            lead = "  " * listing.depth(key)
            cells = [column.cell(listing.rows[key], now).text for column in listing.shown]
            rows.append([lead + cells[0], *cells[1:]] if cells else [])
        wide = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ("  ".join(fitted(text, width) for text, width in zip(row, wide, strict=True)) for row in rows)
        return "\n".join(line.rstrip() for line in lines), view.title.lower()

    def pager(self) -> None:
        """Open what is shown in the user's pager."""
        text, name = self.shown()
        self._outside.open_pager(f"{name.split()[0].rstrip(':')}.txt", f"{text}\n")

    async def save(self, path: str) -> None:
        """Write what is shown to a file that is not there yet, readable for its owner alone."""
        text, name = self.shown()
        if not self._context.has_terminal:
            self._status.show("no file is written from a browser")
            return
        try:
            written = await asyncio.to_thread(save, Path(path), text.splitlines())
        except FleetError as error:
            self._status.show(f"{str(error).partition(';')[0]}; give another path")
        else:
            self._status.show(f"wrote {written}: {name}")
