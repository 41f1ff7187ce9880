"""What a machine says of a unit beyond its status; and what is shown, in a file."""

from __future__ import annotations

import shlex
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from fleettui.console.commandline.commands import CommandContext, parse_command
from fleettui.console.sources.hosts import LiveHosts
from fleettui.remote import Remote, RemoteError
from fleettui.remote.command import look_argvs, quoted
from registry.errors import UserError
from registry.model import Target
from registry.program.config import SshTable
from tests.console.fleetshow import PLAIN, build, machine, scene, state
from tests.console.test_screen import Play, playing

HOSTILE = "a;reboot $(id)@-x.service"


def page(play: Play) -> str:
    return "\n".join(strip.text for strip in play.stage.app.screen._compositor.render_strips())


async def shows(play: Play, text: str) -> str:
    for _ in range(200):
        if text in (found := page(play)):
            return found
        await play.pilot.pause(0.02)
    raise AssertionError(found)


async def test_h_shows_what_the_machine_says_of_the_unit() -> None:
    async with playing() as play:
        play.main.views.open.table.select("db.service")
        await play.press("h")
        await shows(play, "└─402 worker")
        assert "db.service on core-3" in page(play)
        assert ("core-3", "db.service") in play.stage.hosts.asked
        await play.press("escape")
        play.stage.hosts.error = RemoteError("core-3", "no route to host", "see ip route")
        await play.press("h")
        await shows(play, "no route to host")
        await play.press("escape")
        play.main.views.open.table.select("mars.service")
        await play.press("h")
        assert "mars.service is on no machine" in play.text("hint")


@pytest.mark.parametrize(
    ("unit", "wanted"),
    [("a.timer", "list-timers"), ("a.socket", "list-sockets"), ("a.service", "systemd-cgls"), ("a.path", "cat")],
)
def test_each_type_is_asked_what_it_has(unit: str, wanted: str) -> None:
    commands = [" ".join(argv) for _, argv in look_argvs(machine(1), unit)]
    assert any(wanted in command for command in commands)
    assert any(" cat -- " in command for command in commands)
    assert any("security" in command for command in commands) is unit.endswith((".service", ".socket"))


def test_a_name_never_becomes_a_word_of_a_shell() -> None:
    for _, argv in look_argvs(machine(1), HOSTILE):
        assert shlex.split(quoted(argv)) == argv
        assert HOSTILE in argv or f"--unit={HOSTILE}" in argv


async def test_a_table_and_a_page_are_saved_privately_and_over_nothing(tmp_path: Path) -> None:
    async with playing() as play:
        path = tmp_path / "units.txt"
        await play.press("colon", *f"save {path}", "enter")
        await play.until("wrote", "hint")
        lines = path.read_text().splitlines()
        assert lines[0].startswith("UNIT")
        assert any("sync.service" in line and "✖ failed" in line for line in lines)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        await play.press("colon", *f"save {path}", "enter")
        await play.until("exists; give another path", "hint")
        play.main.views.open.table.select("sync.service")
        await play.press("w", "colon", *f"save {tmp_path}/why.txt", "enter")
        await play.until("why.txt", "hint")
        assert "/usr/bin/syncd" in (tmp_path / "why.txt").read_text()


async def test_a_signal_is_sent_once_it_was_said_yes_to() -> None:
    async with playing() as play:
        play.main.views.open.table.select("db.service")
        await play.press("colon", *"signal hup", "enter")
        await shows(play, "Send SIGHUP to db.service?")
        await play.press("escape")
        assert play.stage.hosts.signals == []
        await play.press("colon", *"signal hup", "enter")
        await shows(play, "Send SIGHUP to db.service?")
        await play.press("right", "enter")
        await play.until("sent SIGHUP to db.service on core-3", "hint")
        assert play.stage.hosts.signals == [("core-3", "db.service", "SIGHUP")]
        await play.press("colon", *"signal $(reboot)", "enter")
        await play.until("no signal: $(reboot)", "hint")
    with pytest.raises(UserError, match="read-only"):
        parse_command("signal hup", CommandContext(scene(), read_only=True))
    with pytest.raises(UserError, match="read-only"):
        await LiveHosts(Remote(SshTable()), read_only=True).signal(machine(1), "db.service", "SIGHUP")


async def test_t_starts_what_a_timer_starts_and_its_status_says_so() -> None:
    timer = "[Timer]\nOnCalendar=daily\nUnit=job.service\n"
    names = {"night.timer": (timer, Target.LAUNCHED), "job.service": (PLAIN, Target.LOADED)}
    states = [state("night.timer", 1, timer), replace(state("job.service", 1, PLAIN), active="inactive")]
    world = build(names, [("night.timer", 1), ("job.service", 1)], states)
    async with playing(world) as play:
        play.main.views.open.table.select("night.timer")
        await play.press("d")
        await shows(play, "T starts job.service now")
        await play.press("T")
        await play.until("started job.service on core-1, as night.timer does", "hint")
        assert play.stage.hosts.started == [("core-1", "job.service")]
        assert play.stage.port.calls == [], "no target changes"
        await play.press("escape", "escape")
        play.main.views.open.table.select("job.service")
        await play.press("T")
        assert "job.service is no timer" in play.text("hint")
    with pytest.raises(UserError, match="read-only"):
        await LiveHosts(Remote(SshTable()), read_only=True).start(machine(1), "job.service")
