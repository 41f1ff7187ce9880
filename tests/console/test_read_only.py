"""A read-only console changes nothing and runs nothing on a machine, whichever way it is asked to."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.events import Paste

from fleettui.cli.commands import SHOWN
from fleettui.console.commandline.commands import CHANGING, OWN, names_of_commands
from fleettui.console.operations.runner import OperationRunner
from fleettui.console.sources.hosts import LiveHosts
from fleettui.console.text.cells import Tone
from fleettui.console.text.keys import KEYS, TABLE
from fleettui.console.widgets.drawing import Band
from fleettui.console.widgets.journal_pane import JournalPane
from fleettui.remote import Remote
from fleettui.verbs import Verb
from registry.errors import UserError
from registry.model import Target
from registry.program.config import SshTable
from tests.console.fleetshow import CORES, PLAIN, ScriptedPort, machine
from tests.console.test_screen import Play, playing

ARGUMENTS = {
    "drain": "core-1", "cordon": "core-1", "uncordon": "core-1", "set-metadata": "core-1 a=b",
    "unset-metadata": "core-1 a", "restore": "--accept", "backup": "x.backup", "submit": "x.service", "undo": "",
    "rollout": "pause r1", "rollback": "web@1", "apply": "x", "scale": "web@.service 2", "access": "rotate",
    "upgrade": "", "reboot": "core-1", "rebalance": "", "config": "set web A=1", "secret": "list", "push": "x",
}  # fmt: skip


def done(play: Play) -> object:
    """What was written, and which shells were opened."""
    return play.stage.port.calls, play.stage.hosts.shells


@pytest.mark.parametrize("view", "123456")
async def test_no_key_of_any_view_changes_anything(view: str) -> None:
    async with playing(read_only=True) as play:
        await play.press(view, "j")
        for key in KEYS:
            if key.where != TABLE and key.id != "quit":
                await play.main.run_action(key.action)
                await play.settle()
                while len(play.stage.app.screen_stack) > 2:
                    await play.press("escape")
        assert done(play) == ([], [])


@pytest.mark.parametrize("name", sorted(CHANGING | {"ssh"}))
async def test_no_command_changes_anything_and_each_says_why(name: str) -> None:
    async with playing(read_only=True) as play:
        with pytest.raises(UserError, match="read-only"):
            await play.main.prompts.execute(f"{name} {ARGUMENTS.get(name, 'db.service')}".strip())
        with pytest.raises(UserError, match="read-only"):
            await play.main.prompts.execute(f"fleetctl {name} {ARGUMENTS.get(name, 'db.service')}".strip())
        assert done(play) == ([], [])


def test_every_command_is_either_barred_or_known_to_change_nothing() -> None:
    lists = {"list-units", "list-unit-files", "list-machines", "events"}
    looks = lists | {
        "cat",
        "status",
        "journal",
        "why",
        "doctor",
        "history",
        "diff",
        "plan",
        "verify",
        "version",
        "completion",
        "help",
    }
    own = {name for name, each in OWN.items() if not each.changes}
    assert {each.name for each in SHOWN} - CHANGING - {"ssh"} <= looks
    assert {*names_of_commands(read_only=True)} <= looks | own


async def test_the_shell_is_dim_and_says_why() -> None:
    async with playing(read_only=True) as play:
        footer = play.main.query_one("#footer", Band)
        (cell,) = [cell for cell in footer._lines[0][0] if cell.text.strip() == "shell"]
        assert cell.tone is Tone.OFF
        await play.press("j", "s")
        assert "no shell: this console is read-only" in play.text("hint")
        await play.press("ctrl+p", *"shell")
        finds = play.stage.app.screen.query_one("#finds", Band)._lines
        assert any("shell" in cell.text and cell.tone is Tone.OFF for left, _ in finds for cell in left)
        await play.press("enter")
        assert done(play) == ([], [])


async def test_a_click_and_a_paste_open_no_shell() -> None:
    async with playing(read_only=True) as play:
        footer = play.main.query_one("#footer", Band)
        number = next(at for at, cell in enumerate(footer._lines[0][0]) if cell.text.strip() == "shell")
        play.main.footer.press(0, number)
        await play.press("colon")
        play.stage.app.post_message(Paste("ssh core-1"))
        await play.press("enter")
        assert done(play) == ([], [])


async def test_what_slips_through_is_held_back_at_the_last_door() -> None:
    async with playing(read_only=True) as play:
        with pytest.raises(UserError, match="read-only"):
            play.main.units.submit({"a.service": PLAIN}, Target.LAUNCHED, replacing=True)
        with pytest.raises(UserError, match="read-only"):
            await play.main.outside.hand_over(lambda: pytest.fail("handed over"))
        play.main.machines.perform("drain", [CORES[1]])
        play.main.machines.set_metadata([CORES[1]], {"a": "b"})
        await play.main.runner.on_units(Verb.STOP, ["db.service"])
        await play.main.runner.on_machines(Verb.STOP, {CORES[1]: "core-1"})  # type: ignore[arg-type]
        assert done(play) == ([], [])


async def test_a_runner_that_is_barred_says_why() -> None:
    port = ScriptedPort()
    runner = OperationRunner(port, lambda: 0.0, lambda: None, None, "this console is read-only")
    await runner.submit({"a.service": PLAIN}, Target.LAUNCHED)
    assert port.calls == []
    assert runner.operations[-1].complaints == ("nothing is changed: this console is read-only",)


def test_no_shell_is_opened_on_any_machine() -> None:
    with pytest.raises(UserError, match="read-only"):
        LiveHosts(Remote(SshTable()), read_only=True).shell(machine(1))


async def test_in_a_browser_a_read_only_console_touches_no_file(tmp_path: Path) -> None:
    async with playing(read_only=True, has_terminal=False) as play:
        with pytest.raises(UserError, match="browser"):
            await play.main.prompts.execute(f"verify {tmp_path}/x.service")
        pane = play.main.query_one(JournalPane)
        assert not pane.saves
        with pytest.raises(UserError, match="writes no file"):
            await pane.prompt.save(tmp_path / "journal.log")
