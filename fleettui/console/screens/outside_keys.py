"""The main screen's keys that leave it for a while: an editor, a shell; and what comes back from there.

The console is suspended for them and is afterwards just as it was. What was written in the editor is kept on disk
until it is in the registry, or given up.
"""

from __future__ import annotations

import asyncio
import os
import shlex
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from fleettui.console.operations.machine_verbs import machine_name
from fleettui.console.operations.operation import OperationPhase
from fleettui.console.operations.verbs import NO_SHELL, READ_ONLY
from fleettui.console.pages.detail import places
from fleettui.console.pages.file import sharing
from fleettui.console.screens.guarding import Guarding
from fleettui.console.screens.place_keys import PlaceKeys
from fleettui.console.text.formatting import counted
from fleettui.console.text.subject import Subject, SubjectKind, Tab
from fleettui.escape import escape
from registry.errors import FleetError, UserError
from registry.model import Machine, Target, Unit
from registry.sync.follow import ConnectionState

T = TypeVar("T")


class OutsideKeys(PlaceKeys, Guarding):
    """Editor, shell, and new units."""

    def __init__(self, *arguments: Any) -> None:  # noqa: ANN401 - the frame's
        super().__init__(*arguments)
        self._drafts: dict[str, Path] = {}  # texts that were written and not submitted
        self._unsubmitted = ("", "", "")  # name, path and text of a submission that was left

    def _outside(self, what: str, instead: str) -> bool:
        """Whether the terminal can be handed over; says why not."""
        if self.desk.has_terminal and not self.app.is_web:
            return True
        self.refuse(f"there is no {what} in a browser; in a terminal: {instead}")
        return False

    async def _hand_over(self, work: Callable[[], Awaitable[T]], greeting: str = "") -> T:
        from fleettui.console.terminal.handover import hand_over  # noqa: PLC0415 - when it is needed

        if self.desk.read_only:  # whichever way led here
            raise UserError(f"the terminal is not handed over: {READ_ONLY}")
        return await hand_over(self.app, work, greeting)

    # Shell

    def action_shell(self) -> None:
        """A shell on the machine of the selection."""
        if self.desk.read_only:
            self.refuse(NO_SHELL)
            return
        machine, why = self._machine_meant()
        if machine is None:
            self.refuse(why)
        elif self._outside("shell", f"fleetctl ssh {shlex.quote(machine_name(self.reading.snapshot, machine.id))}"):
            self.run_worker(self._shell(machine), name="shell", group="outside", exit_on_error=False)

    def _machine_meant(self) -> tuple[Machine | None, str]:
        """The one machine that the selection is, or is on; None with the reason."""
        subject, machines = self.selected_here(), self.reading.snapshot.machines
        if subject is None:
            return None, "nothing is selected"
        if subject.kind is SubjectKind.MACHINE:
            found = machines.get(subject.name)
            return (
                found,
                f"no shell: {subject.name[:8]}... is not registered; its agent is down or cut off",
            )
        homes = places(self.reading.snapshot, subject.name, subject.machine)
        if len(homes) == 1:
            return machines.get(homes[0]), f"no shell: the machine of {subject.name} is lost"
        where = f"on {len(homes)} machines; select one of them" if homes else "on no machine"
        return None, f"no shell: {subject.name} is {where}"

    async def _shell(self, machine: Machine) -> None:
        name = escape(machine.hostname)
        self.refuse(f"connecting to {name} …")
        try:
            async with self.desk.hosts.shell(machine) as session:
                greeting = f"shell on {name} ({escape(machine.address)}); exit comes back to the console"
                status = await self._hand_over(session, greeting)
        except FleetError as error:
            self.refuse("")
            self.conductor.report(f"fleetctl ssh {shlex.quote(name)}", escape(str(error)))
        else:
            self.refuse(f"the shell on {name} ended" + (f" with status {status}" if status else ""))

    # Edit

    def action_edit(self) -> None:
        """The unit's file in the user's own editor."""
        subject = self.selected_here()
        name = subject.name if subject and subject.kind is SubjectKind.UNIT else ""
        if why := self._why_no_edit(name):
            self.refuse(why)
        elif self._outside("editor", f"edit the file and fleetctl submit --replace {name}"):
            self.run_worker(self._edit(name), name="edit", group="outside", exit_on_error=False)

    def _why_no_edit(self, name: str) -> str:
        snapshot, record = self.reading.snapshot, self.reading.snapshot.units.get(name)
        if self.desk.read_only:
            return f"cannot edit: {READ_ONLY}"
        if not name or record is None:
            return f"cannot edit {name}: it is not in the registry" if name else "cannot edit: no unit is selected"
        if self.reading.link is not ConnectionState.LIVE:
            return f"cannot edit {name}: no connection to the registry"
        if record.hash not in snapshot.files:
            return f"cannot edit {name}: the registry lacks its file; submit it again (n)"
        return ""

    async def _edit(self, name: str) -> None:
        from fleettui.console.sources import editor  # noqa: PLC0415 - when it is needed

        try:
            argv = editor.editor_argv(os.environ)
            record = self.reading.snapshot.units[name]
            text = self.reading.snapshot.files[record.hash].text
            if name not in self._drafts:
                self._drafts[name] = await asyncio.to_thread(editor.create_draft, name, text)
            path = self._drafts[name]
            if await self._edited(argv, name, path):
                await asyncio.to_thread(editor.discard_draft, path)
                del self._drafts[name]
        except FleetError as error:
            self.conductor.report(f"edit {escape(name)}", escape(str(error) + self._kept(name)))

    def _kept(self, name: str) -> str:
        return f"; your text is in {self._drafts[name]}" if name in self._drafts else ""

    async def _edited(self, argv: list[str], name: str, path: Path) -> bool:
        """Edit, review, submit, as often as it takes; whether the draft has served its purpose."""
        from fleettui.console.screens.edit import Choice  # noqa: PLC0415
        from fleettui.console.sources.editor import read_draft, run_editor  # noqa: PLC0415 - when it is needed

        while True:
            base = self._record(name)
            before = self.reading.snapshot.files[base.hash].text if base.hash in self.reading.snapshot.files else ""
            status = await self._hand_over(lambda: run_editor(argv, path))
            text = await asyncio.to_thread(read_draft, path)
            if status:
                raise UserError(f"{argv[0]} ended with status {status}, so nothing is submitted")
            if text == before:
                self.refuse(f"{name} is unchanged")
                return True
            if not text.strip():
                self.refuse(f"the file was emptied, so {name} stays as it is")
                return True
            choice, names = await self._reviewed(name, base, path, text)
            if choice is Choice.KEEP:
                self.refuse(f"{name} stays as it is; your text is kept in {path}, and e goes on with it")
                return False
            if choice is Choice.REPLACE and await self._replaced(names, text, base):
                return True

    def _record(self, name: str) -> Unit:
        record = self.reading.snapshot.units.get(name)
        if record is None:
            raise UserError(f"{name} was destroyed meanwhile; submit it as a new unit (n)")
        return record

    async def _reviewed(self, name: str, base: Unit, path: Path, text: str) -> Any:  # noqa: ANN401 - EditScreen's
        from fleettui.console.pages.review import Draft, review  # noqa: PLC0415 - loads difflib
        from fleettui.console.screens.edit import EditScreen  # noqa: PLC0415

        draft = Draft(name, text, base.hash, str(path))
        others = sharing(self.reading.snapshot, name, base.hash)
        clock, keys = self.desk.clock, self.desk.keys
        screen = EditScreen(name, others, lambda names: review(self.reading.snapshot, draft, names, clock(), keys))
        return await self.app.push_screen_wait(screen)

    async def _replaced(self, names: Sequence[str], text: str, base: Unit) -> bool:
        """Submit it; False when somebody was faster, or it failed: then it is reviewed again after the editor."""
        texts = dict.fromkeys(names, text)
        survey = lambda: self.survey_texts(texts, Target.INACTIVE, replacing=True, shown=True)  # noqa: E731
        if not await self.assured(survey):
            raise UserError("nothing was replaced; e edits it again")
        act = await self.conductor.submit(texts, Target.INACTIVE, replace=True, based_on=base.hash)
        if act.written or act.phase is not OperationPhase.FAILED:
            return True
        raise UserError(f"{act.complaints[0] if act.complaints else 'nothing was written'}; e edits it again")

    # New units

    def action_submit(self) -> None:
        """Submit a unit file."""
        if self.desk.read_only:
            self.refuse(f"cannot submit: {READ_ONLY}")
            return
        self.run_worker(self._submit(), name="submit", group="outside", exit_on_error=False)

    async def _submit(self) -> None:
        from fleettui.console.pages.submission import Submission, Unsubmitted  # noqa: PLC0415
        from fleettui.console.screens.submit import SubmitScreen  # noqa: PLC0415 - loads the text field

        edit = self._edit_text if self.desk.has_terminal and not self.app.is_web else None
        screen = SubmitScreen(
            lambda: self.reading.snapshot, self.desk.clock, self.desk.keys, edit, Unsubmitted(*self._unsubmitted)
        )
        what = await self.app.push_screen_wait(screen)
        if isinstance(what, Submission):
            self._unsubmitted = (what.name, "", what.text)
            texts = {what.name: what.text}
            survey = lambda: self.survey_texts(  # noqa: E731
                texts, what.target, replacing=what.replace, shown=what.replace
            )
            if await self.assured(survey):
                self._unsubmitted = ("", "", "")
                await self.conductor.submit(texts, what.target, replace=what.replace)
        elif what is not None and what.text.strip():
            self._unsubmitted = (what.name, what.path, what.text)
            self.refuse(
                f"nothing was submitted; n goes on with your text ({counted(len(what.text.splitlines()), 'line')})"
            )

    async def _edit_text(self, name: str, text: str) -> str:
        """A text through the user's editor. UserError; the text stays in the field then."""
        from fleettui.console.sources import editor  # noqa: PLC0415 - when it is needed

        argv = editor.editor_argv(os.environ)
        path = await asyncio.to_thread(editor.create_draft, name or "new.service", text)
        status = await self._hand_over(lambda: editor.run_editor(argv, path))
        if status:
            raise UserError(f"{argv[0]} ended with status {status}; what it wrote is in {path}")
        edited = await asyncio.to_thread(editor.read_draft, path)
        await asyncio.to_thread(editor.discard_draft, path)
        return edited

    def selected_here(self) -> Subject | None:
        """The open detail's subject (of a machine's units: the selected one), else the selection."""
        if not self.in_detail:
            return self.selected()
        if self.detail.tab is Tab.UNITS:
            return self.selected() or self.detail.subject
        return self.detail.subject
