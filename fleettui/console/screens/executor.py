"""Executes the commands of the command line with the parts of the main screen, as keys do."""

from __future__ import annotations

import asyncio
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from textual.screen import Screen

from fleettui.actions.disk import Candidate, Disk, verify_path
from fleettui.actions.rollouts import Policy
from fleettui.cli.rollouts import policy_of, texts_of
from fleettui.console.commandline import commands
from fleettui.console.operations.commands_there import OwnCommand
from fleettui.console.operations.impact import ALL, is_pace
from fleettui.console.operations.verbs import RolloutVerb
from fleettui.console.screens.context import Context, StatusLine
from fleettui.console.screens.dialogs import Dialogs
from fleettui.console.screens.machine_operations import MachineOperations
from fleettui.console.screens.navigator import Navigator, Selection, Views
from fleettui.console.screens.rollout_operations import RolloutOperations
from fleettui.console.screens.run_there import CommandsThere
from fleettui.console.screens.text_screens import PageScreen
from fleettui.console.screens.unit_operations import UnitOperations
from fleettui.console.tables.fleet import FleetModel
from fleettui.console.text.cells import Cell, Line, Tone
from fleettui.console.text.keys import BY_ID
from fleettui.console.text.subject import Tab, rollout_subject, tab_of, unit_subject
from fleettui.escape import escape
from fleettui.verbs import Verb
from registry.errors import UserError
from registry.mirror import Snapshot
from registry.program.version import installed_version
from registry.units.name import parse


class CommandExecutor:
    """Executes commands. UserError for what cannot be done just now."""

    def __init__(
        self, screen: Screen[None], context: Context, fleet: FleetModel, views: Views, selection: Selection,
        navigator: Navigator, status: StatusLine, *, units: UnitOperations, machines: MachineOperations,
        rollouts: RolloutOperations, dialogs: Dialogs, there: CommandsThere,
    ) -> None:  # fmt: skip
        self._screen, self._context, self._fleet = screen, context, fleet
        self._views, self._selection, self._navigator, self._status = views, selection, navigator, status
        self._units, self._machines, self._dialogs = units, machines, dialogs
        self._rollouts, self._there = rollouts, there

    async def execute(self, command: commands.ConsoleCommand) -> None:  # noqa: C901, PLR0912, PLR0915 - a case each
        """Execute a command."""
        match command:
            case commands.VerbCommand(verb, names):
                self._units.perform(verb, names)
            case commands.SubmitFiles():
                await self._submit_files(command)
            case commands.MachineCommand(verb, machines):
                self._machines.perform(verb, machines)
            case commands.MetadataCommand(machines, changes):
                self._machines.set_metadata(machines, changes)
            case commands.Scale(template, count):
                self._units.scale(template, count)
            case commands.Rebalance(flags) if flags.dry_run:
                self._rollouts.show_rebalance()
            case commands.Rebalance(flags):
                self._rollouts.rebalance(_policy(flags), flags.at_a_time or "", flags.name or "")
            case commands.RollUnits(names, file, flags, renews):
                texts = await asyncio.to_thread(texts_of, file, names)
                self._units.roll(names, texts, _policy(flags), renews=renews)
            case commands.RestoreVersion(unit, back, flags):
                self._units.restore(unit, back, _policy(flags))
            case commands.ShowVersion(unit, back):
                self._navigator.show(unit_subject(unit), Tab.FILE)
                self._views.detail.choose_version(back)
            case commands.RolloutCommand(None, name):
                self._navigator.show(rollout_subject(name), Tab.PROGRESS)
            case commands.RolloutCommand(RolloutVerb() as verb, name):
                self._rollouts.perform(verb, name)
            case commands.Show(what, names):
                self._show(what, names)
            case commands.Open(view, words):
                if view:
                    self._navigator.open_view(view)
                if words is not None:
                    self._navigator.filter_by(words)
            case commands.Sort(column, descending):
                self._views.open.table.sort_by(column, descending=descending)
            case commands.Shell():
                await self._shell(command)
            case commands.Verify(paths):
                await self._verify(paths)
            case commands.Help(""):
                said = commands.summaries(read_only=self._context.read_only)
                width = max(len(usage) for usage, _ in said) + 2
                listed: list[Line] = [
                    (Cell(f"  {usage:<{width}}", Tone.STRONG), Cell(summary)) for usage, summary in said
                ]
                lead: Line = (Cell("help COMMAND explains one; ? lists the keys", Tone.QUIET),)
                self._screen.app.push_screen(PageScreen("commands", lambda: [lead, (), *listed]))
            case commands.Help(topic):
                lines: list[Line] = [(Cell(escape(line)),) for line in commands.usage(topic)]
                self._screen.app.push_screen(PageScreen(f"help: {topic}", lambda: lines))
            case commands.Run("version"):
                self._status.show(f"fleettui {installed_version()}")
            case commands.Run(action):
                await self._screen.run_action(action)
            case commands.RunThere(argv, ""):
                self._there.run(OwnCommand(argv[0], argv))
            case commands.RunThere(_, own):
                self._there.perform(own)
            case commands.OpenFleet(""):
                self._dialogs.choose_fleet()
            case commands.OpenFleet(name):
                await self._dialogs.switch_to(name)
            case commands.Theme(name):
                self._dialogs.use_theme(name)

    def _show(self, what: str, names: Sequence[str]) -> None:
        """Open the detail of one unit; of several, mark them and show their journals."""
        if len(names) == 1:
            subject = unit_subject(names[0])
            self._navigator.show(subject, tab_of(what, subject.kind))
            return
        if what != "journal":
            raise UserError(f"{what} is shown of one unit at a time here, not of {len(names)}; name one")
        self._navigator.go_to("units", names[0])
        self._selection.mark_only(names)
        self._navigator.show_journal()

    async def _shell(self, command: commands.Shell) -> None:
        if self._context.read_only:
            raise UserError(f"no shell: {self._context.barred}")
        if not self._context.has_terminal:
            raise UserError("there is no shell from here; use fleetctl ssh in a terminal")
        if command.unit:
            self._navigator.go_to("units", command.unit)
        elif command.machine:
            self._navigator.go_to("machines", command.machine)
        await self._screen.run_action(BY_ID["shell"].action)

    async def _submit_files(self, command: commands.SubmitFiles) -> None:
        """Give known units their new target; submit others, from disk or from their template."""
        snapshot = self._fleet.reading.snapshot
        disk = Disk()
        candidates = await asyncio.to_thread(lambda: [disk.candidate(each) for each in command.arguments])
        known: list[str] = []
        fresh: list[tuple[str, str]] = []
        for each in candidates:
            text = _text(each, snapshot, replace=command.replace)
            if text is not None:
                fresh.append((each.name, text))
            elif each.name in snapshot.units:
                known.append(each.name)
            else:
                raise UserError(f"{each.name} is neither in the registry nor on disk; give a path or a template")
        if known and command.verb is not Verb.SUBMIT:
            self._units.perform(command.verb, known)
        elif known and not fresh:
            raise UserError(f"{known[0]} is known already; --replace stores another text")
        if fresh:
            self._units.submit(dict(fresh), command.target, replacing=command.replace)

    async def _verify(self, paths: Sequence[str]) -> None:
        if self._context.read_only and not self._context.has_terminal:
            raise UserError("no file is read here for a read-only console in a browser; use fleetctl verify")
        lines = await asyncio.to_thread(_verify_files, paths)
        self._screen.app.push_screen(PageScreen("verify", lambda: lines))


def _policy(flags: Namespace) -> Policy:
    """The policy that the flags say. UserError for a pace that is none."""
    policy = policy_of(flags)
    if not is_pace(policy.at_a_time) or policy.at_a_time == ALL:
        raise UserError(f"--at-a-time {policy.at_a_time[:20]!r} is no number from 1 and no share such as 25%")
    return policy


def _text(candidate: Candidate, snapshot: Snapshot, *, replace: bool) -> str | None:
    """Return the text to submit; None when the unit is there and may stay as it is, or there is no text."""
    if candidate.name in snapshot.units and not replace:
        return None
    if candidate.file:
        return candidate.file.text
    name = parse(candidate.name)
    stored = snapshot.units.get(name.template or "") if name.is_instance else None
    file = snapshot.files.get(stored.hash) if stored else None
    if file:
        return file.text
    return candidate.template.text if candidate.template else None


def _verify_files(paths: Sequence[str]) -> list[Line]:
    """Return what is wrong with these files, in lines. Blocks."""
    lines: list[Line] = []
    for path in map(Path, paths):
        try:
            problems, found = verify_path(path)
        except UserError as error:
            lines.append((Cell(f"✖ {escape(str(error))}", Tone.BAD),))
            continue
        lines += [(Cell("✖ ", Tone.BAD), Cell(escape(str(each)))) for each in problems]
        if not problems:
            lines.append((Cell("✓ ", Tone.GOOD), Cell(escape(str(path)))))
        lines += [(Cell("! ", Tone.WAIT), Cell(escape(str(each)))) for each in found]
    return lines
