"""What leaves the terminal for a while: a shell, an editor; and the texts that come back from there.

The console is suspended for them and is afterwards just as it was. What was written in the editor is kept on disk
until it is in the registry, or given up.
"""

from __future__ import annotations

import asyncio
import os
import shlex
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from textual.screen import Screen

from fleettui.console.operations.operation import OperationPhase
from fleettui.console.operations.runner import OperationRunner
from fleettui.console.operations.verbs import machine_name
from fleettui.console.pages.detail import places
from fleettui.console.pages.file import sharing
from fleettui.console.screens.confirm import Confirmer
from fleettui.console.screens.context import Context, StatusLine
from fleettui.console.screens.navigator import Selection
from fleettui.console.screens.unit_operations import UnitOperations
from fleettui.console.tables.fleet import FleetModel
from fleettui.console.text.formatting import counted
from fleettui.console.text.subject import SubjectKind
from fleettui.escape import escape
from registry.errors import FleetError, UserError
from registry.model import Machine, Target, Unit
from registry.sync.follow import ConnectionState

if TYPE_CHECKING:
    from fleettui.console.pages.review import Submission, Unsubmitted
    from fleettui.console.screens.edit import Choice

T = TypeVar("T")


class Outside:
    """Lends the terminal to another program, and opens shells on machines."""

    def __init__(
        self, screen: Screen[None], context: Context, fleet: FleetModel, selection: Selection,
        runner: OperationRunner, status: StatusLine,
    ) -> None:  # fmt: skip
        self._screen, self._context, self._fleet, self._selection = screen, context, fleet, selection
        self._runner, self._status = runner, status

    @property
    def has_terminal(self) -> bool:
        """Whether there is a terminal to lend: in a browser there is none."""
        return self._context.has_terminal and not self._screen.app.is_web

    def can_lend(self, what: str, instead: str) -> bool:
        """Whether the terminal can be handed over; says why not."""
        if not self.has_terminal:
            self._status.show(f"there is no {what} in a browser; in a terminal: {instead}")
        return self.has_terminal

    async def hand_over(self, work: Callable[[], Awaitable[T]], greeting: str = "") -> T:
        """Run a program that has the terminal until it ends. UserError in a read-only console."""
        from fleettui.console.terminal.handover import hand_over  # noqa: PLC0415 - when it is needed

        if self._context.read_only:  # whichever way led here
            raise UserError(f"the terminal is not handed over: {self._context.barred}")
        return await hand_over(self._screen.app, work, greeting)

    def open_pager(self, name: str, text: str) -> None:
        """Open a text in the user's pager; the file that it reads is private, and gone afterwards."""
        if self._context.read_only:
            self._status.show(f"no pager: {self._context.barred}")
        elif self.can_lend("pager", "it is saved with its own key"):
            self._screen.run_worker(self._page(name, text), name="pager", group="outside", exit_on_error=False)

    async def _page(self, name: str, text: str) -> None:
        from fleettui.console.sources import editor  # noqa: PLC0415 - when it is needed

        try:
            argv = editor.pager_argv(os.environ)
            path = await asyncio.to_thread(editor.create_draft, name, text)
            try:
                await self.hand_over(lambda: editor.run_editor(argv, path))
            finally:
                await asyncio.to_thread(editor.discard_draft, path)
        except FleetError as error:
            self._status.show(escape(str(error)))

    def suspend(self) -> None:
        """Give the terminal back to the shell that the console was started from, until that goes on with it."""
        if self.can_lend("shell to go back to", "ctrl+z"):
            self._screen.app.action_suspend_process()

    def open_shell(self) -> None:
        """Open a shell on the machine of the selection."""
        if self._context.read_only:
            self._status.show(f"no shell: {self._context.barred}")
            return
        machine, why = self._machine_meant()
        if machine is None:
            self._status.show(why)
            return
        name = machine_name(self._fleet.reading.snapshot, machine.id)
        if self.can_lend("shell", f"fleetctl ssh {shlex.quote(name)}"):
            self._screen.run_worker(self._run_shell(machine), name="shell", group="outside", exit_on_error=False)

    def _machine_meant(self) -> tuple[Machine | None, str]:
        """Return the one machine that the selection is, or is on; None with the reason."""
        subject, snapshot = self._selection.subject_here(), self._fleet.reading.snapshot
        if subject is None:
            return None, "nothing is selected"
        name = subject.name
        if subject.kind is SubjectKind.MACHINE:
            why = f"no shell: {name[:8]}... is not registered; its agent is down or cut off"
            return snapshot.machines.get(name), why
        machines = places(snapshot, name, subject.machine)
        if len(machines) == 1:
            return snapshot.machines.get(machines[0]), f"no shell: the machine of {name} is lost"
        where = f"on {len(machines)} machines; select one of them" if machines else "on no machine"
        return None, f"no shell: {name} is {where}"

    async def _run_shell(self, machine: Machine) -> None:
        name = escape(machine.hostname)
        self._status.show(f"connecting to {name} …")
        try:
            async with self._context.hosts.shell(machine) as session:
                greeting = f"shell on {name} ({escape(machine.address)}); exit comes back to the console"
                status = await self.hand_over(session, greeting)
        except FleetError as error:
            self._status.show("")
            self._runner.report(f"fleetctl ssh {shlex.quote(name)}", escape(str(error)))
        else:
            self._status.show(f"the shell on {name} ended" + (f" with status {status}" if status else ""))


class EditSession:
    """Takes texts of units through the editor or the form into the registry. Owns what is unfinished."""

    def __init__(
        self, screen: Screen[None], context: Context, fleet: FleetModel, selection: Selection,
        runner: OperationRunner, confirmer: Confirmer, status: StatusLine, *, units: UnitOperations,
        outside: Outside,
    ) -> None:  # fmt: skip
        self._screen, self._context, self._fleet, self._selection = screen, context, fleet, selection
        self._runner, self._confirmer, self._status = runner, confirmer, status
        self._units, self._outside = units, outside
        self._drafts: dict[str, Path] = {}  # texts that were written and not submitted
        self._left: Unsubmitted | None = None  # a submission that was begun

    # Another text for a unit

    def edit(self) -> None:
        """Open the unit's file in the user's own editor."""
        subject = self._selection.subject_here()
        name = subject.name if subject and subject.kind is SubjectKind.UNIT else ""
        if why := self._why_no_edit(name):
            self._status.show(why)
        elif self._outside.can_lend("editor", f"edit the file and fleetctl submit --replace {name}"):
            self._screen.run_worker(self._edit(name), name="edit", group="outside", exit_on_error=False)

    def _why_no_edit(self, name: str) -> str:
        reading = self._fleet.reading
        record = reading.snapshot.units.get(name)
        if self._context.read_only:
            return f"cannot edit: {self._context.barred}"
        if not name or record is None:
            return f"cannot edit {name}: it is not in the registry" if name else "cannot edit: no unit is selected"
        if reading.link is not ConnectionState.LIVE:
            return f"cannot edit {name}: no connection to the registry"
        if record.hash not in reading.snapshot.files:
            return f"cannot edit {name}: the registry lacks its file; submit it again (n)"
        return ""

    async def _edit(self, name: str) -> None:
        from fleettui.console.sources import editor  # noqa: PLC0415 - when it is needed

        try:
            argv = editor.editor_argv(os.environ)
            snapshot = self._fleet.reading.snapshot
            text = snapshot.files[snapshot.units[name].hash].text
            if name not in self._drafts:
                self._drafts[name] = await asyncio.to_thread(editor.create_draft, name, text)
            path = self._drafts[name]
            if await self._edit_until_done(argv, name, path):
                await asyncio.to_thread(editor.discard_draft, path)
                del self._drafts[name]
        except FleetError as error:
            kept = f"; your text is in {self._drafts[name]}" if name in self._drafts else ""
            self._runner.report(f"edit {escape(name)}", escape(f"{error}{kept}"))

    async def _edit_until_done(self, argv: list[str], name: str, path: Path) -> bool:
        """Edit, review, submit, as often as it takes; return whether the draft has served its purpose."""
        from fleettui.console.screens.edit import Choice  # noqa: PLC0415
        from fleettui.console.sources.editor import read_draft, run_editor  # noqa: PLC0415 - when it is needed

        while True:
            snapshot = self._fleet.reading.snapshot
            base = snapshot.units.get(name)
            if base is None:
                raise UserError(f"{name} was destroyed meanwhile; submit it as a new unit (n)")
            before = snapshot.files[base.hash].text if base.hash in snapshot.files else ""
            status = await self._outside.hand_over(lambda: run_editor(argv, path))
            text = await asyncio.to_thread(read_draft, path)
            if status:
                raise UserError(f"{argv[0]} ended with status {status}, so nothing is submitted")
            if text == before:
                self._status.show(f"{name} is unchanged")
                return True
            if not text.strip():
                self._status.show(f"the file was emptied, so {name} stays as it is")
                return True
            choice, names = await self._review(name, base, path, text)
            if choice is Choice.KEEP:
                self._status.show(f"{name} stays as it is; your text is kept in {path}, and e goes on with it")
                return False
            if choice is Choice.REPLACE:
                await self._replace(dict.fromkeys(names, text), base)
                return True

    async def _review(self, name: str, base: Unit, path: Path, text: str) -> tuple[Choice, tuple[str, ...]]:
        """Show what the text changes; return what the operator wants, and for which units."""
        from fleettui.console.pages.review import Draft, review  # noqa: PLC0415 - loads difflib
        from fleettui.console.screens.edit import EditScreen  # noqa: PLC0415

        draft = Draft(name, text, base.hash, str(path))
        fleet, clock, keys = self._fleet, self._context.clock, self._context.keys
        others = sharing(fleet.reading.snapshot, name, base.hash)
        screen = EditScreen(
            name, others, lambda names, snapshot: review(snapshot, draft, names, clock(), keys),
            lambda: fleet.reading.snapshot,
        )  # fmt: skip
        return await self._screen.app.push_screen_wait(screen)

    async def _replace(self, texts: dict[str, str], base: Unit) -> None:
        """Submit the texts. UserError when it is given up, refused, or somebody was faster."""
        target = Target.INACTIVE
        found = await self._confirmer.confirmed(
            lambda reading: self._units.survey_texts(reading, texts, target, replacing=True, shown=True)
        )
        if found is None:
            raise UserError("nothing was replaced; e edits it again")
        done = await self._units.carry_out(found, texts, target, replacing=True, based_on=base.hash)
        if not done.written and not done.rollout and done.phase is OperationPhase.FAILED:
            raise UserError(f"{done.complaints[0] if done.complaints else 'nothing was written'}; e edits it again")

    # New units

    def submit(self) -> None:
        """Open the form for a new unit."""
        if self._context.read_only:
            self._status.show(f"cannot submit: {self._context.barred}")
            return
        from fleettui.console.screens.submit import SubmitScreen  # noqa: PLC0415 - loads the text field

        edit = self._edit_text if self._outside.has_terminal else None
        fleet, context = self._fleet, self._context
        screen = SubmitScreen(lambda: fleet.reading.snapshot, context.clock, context.keys, edit, self._left)
        self._screen.app.push_screen(screen, self._filled_in)  # at once: what is typed next is for the form

    def _filled_in(self, what: Submission | Unsubmitted | None) -> None:
        """Take the form's text to the registry, or keep it for the next time."""
        from fleettui.console.pages.review import Submission, Unsubmitted  # noqa: PLC0415 - loads difflib

        if isinstance(what, Submission):
            self._left = Unsubmitted(what.name, "", what.text)
            self._screen.run_worker(self._submit(what), name="submit", group="outside", exit_on_error=False)
        elif what is not None and what.text.strip():
            self._left = what
            lines = counted(len(what.text.splitlines()), "line")
            self._status.show(f"nothing was submitted; n goes on with your text ({lines})")

    async def _submit(self, what: Submission) -> None:
        texts, replaces = dict.fromkeys(what.instances or (what.name,), what.text), what.replace
        if found := await self._confirmer.confirmed(
            lambda reading: self._units.survey_texts(
                reading, texts, what.target, replacing=replaces, shown=replaces
            )
        ):
            self._left = None
            if what.instances:  # their template stays behind them
                await self._runner.submit({what.name: what.text}, Target.INACTIVE, replace=replaces)
            await self._units.carry_out(found, texts, what.target, replacing=replaces)

    async def _edit_text(self, name: str, text: str) -> str:
        """Take a text through the user's editor. UserError; the text stays in the field then."""
        from fleettui.console.sources import editor  # noqa: PLC0415 - when it is needed

        argv = editor.editor_argv(os.environ)
        path = await asyncio.to_thread(editor.create_draft, name or "new.service", text)
        status = await self._outside.hand_over(lambda: editor.run_editor(argv, path))
        if status:
            raise UserError(f"{argv[0]} ended with status {status}; what it wrote is in {path}")
        edited = await asyncio.to_thread(editor.read_draft, path)
        await asyncio.to_thread(editor.discard_draft, path)
        return edited
