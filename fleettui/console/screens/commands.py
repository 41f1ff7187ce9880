"""Carrying the command line's orders out, with the screen's own keys: it can do nothing that a key cannot."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from fleettui.actions.disk import Candidate, Disk, read_bytes
from fleettui.console.commandline import commands
from fleettui.console.operations.verbs import NO_SHELL
from fleettui.console.screens.page import PageScreen
from fleettui.console.text.cells import Cell, Line, Tone
from fleettui.console.text.keys import BY_ID
from fleettui.console.text.subject import tab_of, unit_subject
from fleettui.escape import escape
from fleettui.verbs import Verb
from registry.errors import UserError
from registry.mirror import Snapshot
from registry.program.version import installed_version
from registry.units.check import verify
from registry.units.hostreach import warnings
from registry.units.name import normalise, parse

if TYPE_CHECKING:
    from pathlib import Path

    from fleettui.console.screens.main import MainScreen

TABS = {"why": "why", "file": "file", "status": "status", "journal": "journal"}  # by the keys that open them


async def carry_out(main: MainScreen, order: commands.ConsoleCommand) -> None:
    """Do it. UserError for what cannot be done just now."""
    match order:
        case commands.VerbCommand(verb, names):
            main.act_on(verb, names)
        case commands.SubmitFiles():
            await _introduce(main, order)
        case commands.MachineCommand(verb, machines):
            main.machine_verb(verb, machines)
        case commands.MetadataCommand(machines, changes):
            main.machine_metadata(machines, changes)
        case commands.Show(what, names):
            _show(main, what, names)
        case commands.Shell():
            await _shell(main, order)
        case commands.Verify(paths):
            await _verify(main, paths)
        case _:
            await _arrange(main, order)


async def _arrange(main: MainScreen, order: commands.ConsoleCommand) -> None:
    """What concerns the screen alone."""
    match order:
        case commands.Open(view, words):
            if view:
                main.action_view(view)
            if words is not None:
                main.filter_by(words)
        case commands.Sort(column, descending):
            main.view.table.sort_by(column, descending=descending)
        case commands.Theme(name):
            main.use_theme(name)
        case commands.Help(topic):
            _help(main, topic)
        case commands.Run("version"):
            main.refuse(f"fleettui {installed_version()}")
        case commands.Run(action):
            await main.run_action("quit" if action == "quit" else action)
        case _:
            raise UserError("that cannot be done from here; use fleetctl")


def _help(main: MainScreen, topic: str) -> None:
    if not topic:
        main.action_help()
        return
    lines: list[Line] = [(Cell(line),) for line in commands.usage(topic)]
    main.app.push_screen(PageScreen(f"help: {topic}", lambda: lines))


# Units


def _show(main: MainScreen, what: str, names: Sequence[str]) -> None:
    """Open the detail of one unit; of several, mark them and read their journals."""
    if len(names) == 1:
        subject = unit_subject(names[0])
        main.show(subject, tab_of(TABS[what], subject.kind))
        return
    if what != "journal":
        raise UserError(f"{what} is shown of one unit at a time here, not of {len(names)}; name one")
    main.go_to("units", names[0])
    main.mark_only(names)
    main.show_journal()


async def _shell(main: MainScreen, order: commands.Shell) -> None:
    if main.desk.read_only:
        raise UserError(NO_SHELL)
    if not main.desk.has_terminal or "shell" not in BY_ID:
        raise UserError("there is no shell from here; use fleetctl ssh in a terminal")
    if order.unit:
        main.go_to("units", order.unit)
    elif order.machine:
        main.go_to("machines", order.machine)
    await main.run_action(BY_ID["shell"].action)


async def _introduce(main: MainScreen, order: commands.SubmitFiles) -> None:
    """Known units get their new target; others are submitted, from disk or from their template."""
    snapshot = main.reading.snapshot
    candidates = await asyncio.to_thread(_on_disk, order.arguments)
    known: list[str] = []
    fresh: list[tuple[str, str]] = []
    for each in candidates:
        text = _text(each, snapshot, replace=order.replace)
        if text is not None:
            fresh.append((each.name, text))
        elif each.name in snapshot.units:
            known.append(each.name)
        else:
            raise UserError(f"{each.name} is neither in the registry nor on disk; give a path or a template")
    if known and order.verb is not Verb.SUBMIT:
        main.act_on(order.verb, known)
    elif known and not fresh:
        raise UserError(f"{known[0]} is known already; --replace stores another text")
    if fresh:
        main.introduce(dict(fresh), order.target, replace=order.replace)


def _on_disk(arguments: Sequence[str]) -> list[Candidate]:
    """What the arguments name. Blocks."""
    disk = Disk()
    return [disk.candidate(argument) for argument in arguments]


def _text(candidate: Candidate, snapshot: Snapshot, *, replace: bool) -> str | None:
    """The text to submit; None when the unit is there and may stay as it is, or nobody knows a text."""
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


# Files


async def _verify(main: MainScreen, paths: Sequence[str]) -> None:
    if main.desk.read_only and not main.desk.has_terminal:
        raise UserError("no file is read here for a read-only console in a browser; use fleetctl verify")
    lines = await asyncio.to_thread(_verdicts, paths)
    main.app.push_screen(PageScreen("verify", lambda: lines))


def _verdicts(paths: Sequence[str]) -> list[Line]:
    """What is wrong with these files. Blocks."""
    from pathlib import Path  # noqa: PLC0415 - beside its only use

    lines: list[Line] = []
    for path in map(Path, paths):
        try:
            lines += _verdict(path)
        except UserError as error:
            lines.append((Cell(f"✖ {escape(str(error))}", Tone.BAD),))
    return lines


def _verdict(path: Path) -> list[Line]:
    data = read_bytes(path)
    if data is None:
        raise UserError(f"there is no file {path}")
    name = normalise(path.name)
    problems = verify(name, data, str(path))
    if not problems:
        told = [
            (Cell("! ", Tone.WAIT), Cell(escape(str(each)))) for each in warnings(name, data.decode(), str(path))
        ]
        return [(Cell("✓ ", Tone.GOOD), Cell(escape(str(path)))), *told]
    return [(Cell("✖ ", Tone.BAD), Cell(escape(str(each)))) for each in problems]
