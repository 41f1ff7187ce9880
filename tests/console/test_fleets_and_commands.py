"""Another fleet, with nothing of this one; commands on machines, whose arguments no shell reads."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleettui.console.commandline.commands import CommandContext, RunThere, complete_names, parse_command
from fleettui.console.operations.commands_there import (
    LONGEST,
    MOST_LINES,
    MergedOutput,
    OwnCommand,
    There,
    own_commands,
)
from fleettui.console.program import tone_of_fleet
from fleettui.console.screens.choosers import PaletteScreen
from fleettui.console.screens.confirm import ConfirmScreen
from fleettui.console.screens.run_there import OutputScreen
from fleettui.console.sources.fleets import SwitchTo, known_fleets, open_fleet
from fleettui.console.text.cells import line_text
from fleettui.console.widgets.drawing import Band
from fleettui.remote import Remote
from registry.errors import UserError
from registry.program.config import Settings, load, put
from tests.console.fleetshow import machine, scene
from tests.console.test_screen import Play, playing

HERE = There(machine(1), "web@1.service")


# Fleets


def configured(home: Path, *names: str) -> dict[str, str]:
    for name in names:
        path = home / "fleet" / "clusters" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix != ".toml":
            path.mkdir()
            path /= "fleet.toml"
        path.write_text(f'[etcd]\nendpoints = ["http://{path.stem}.example:2379"]\n')
    return {"XDG_CONFIG_HOME": str(home)}


def test_fleets_are_files_and_folders_and_the_usual_one_once(tmp_path: Path) -> None:
    environ = configured(tmp_path, "paris.toml", "rome", "..toml")
    (tmp_path / "fleet" / "fleet.toml").symlink_to("clusters/rome/fleet.toml")
    ours = {name: path for name, path in known_fleets(environ).items() if path.is_relative_to(tmp_path)}
    assert [*ours] == ["paris", "rome"]
    assert open_fleet("paris", ours, read_only=True, unit="a.service").settings.console.read_only
    with pytest.raises(UserError, match="known: paris, rome"):
        open_fleet("milan", ours, read_only=False)


def test_each_fleet_has_a_colour_of_its_own() -> None:
    names = [f"fleet-{number}" for number in range(8)]
    assert len({tone_of_fleet(name, names) for name in names}) == 8
    assert tone_of_fleet("elsewhere", names) == tone_of_fleet("elsewhere", [])


async def test_two_keys_open_the_same_unit_in_the_fleet_before(tmp_path: Path) -> None:
    environ, opened = configured(tmp_path, "paris.toml", "rome.toml"), list[SwitchTo]()
    fleets = {name: path for name, path in known_fleets(environ).items() if path.is_relative_to(tmp_path)}
    async with playing(fleets=lambda: fleets, came_from="rome", open_next=opened.append) as play:
        await play.press("j", "ctrl+k")
        assert isinstance(play.stage.app.screen, PaletteScreen)
        unit = play.cursor
        await play.press("enter")
    assert [(each.name, each.unit) for each in opened] == [("rome", unit)]


async def test_a_fleet_opens_where_the_last_one_was_left() -> None:
    async with playing(unit="sync.service") as play:
        assert play.cursor == "sync.service"
        await play.main.leave()


async def test_a_unit_that_the_other_fleet_lacks_is_told() -> None:
    async with playing(unit="elsewhere.service") as play:
        assert "elsewhere.service is not in this fleet" in play.text("hint")


async def test_a_fleet_that_cannot_be_opened_leaves_this_one_open(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text("[console]\nkeymap = { stop = 'j' }\n")
    async with playing(fleets=lambda: {"bad": tmp_path / "bad.toml"}) as play:
        await play.press("colon", *"cluster bad", "enter")
        assert "j does both" in play.text("hint")
        await play.press("colon", *"cluster worse", "enter")
        assert "which fleet? known: bad" in play.text("candidates")


# Commands


@pytest.mark.parametrize(
    ("argument", "becomes"),
    [
        ("$UNIT", "web@1.service"),
        ("--unit=${UNIT}.d", "--unit=web@1.service.d"),
        ("$HOST:$HOST", "core-1:core-1"),
        ("$MACHINE", machine(1).id),
        ("$OTHER $$ $", "$OTHER $$ $"),
    ],
)
def test_what_the_words_stand_for(argument: str, becomes: str) -> None:
    assert HERE.filled([argument]) == [becomes]


@given(st.text(max_size=20), st.lists(st.text(max_size=10), max_size=4))
def test_whatever_a_name_holds_it_stays_one_argument(name: str, argv: list[str]) -> None:
    filled = There(machine(1), name).filled(["--", *argv, "$UNIT", "x$UNIT"])
    assert len(filled) == len(argv) + 3
    assert filled[-2:] == [name, f"x{name}"]


def test_a_name_never_becomes_an_option() -> None:
    there = There(machine(1), "-Hroot.service")
    with pytest.raises(UserError, match=r"-Hroot\.service would be read as an option; put -- before \$UNIT"):
        there.filled(["systemctl", "status", "$UNIT"])
    assert there.filled(["systemctl", "--", "$UNIT"]) == ["systemctl", "--", "-Hroot.service"]
    assert there.filled(["journalctl", "--unit=$UNIT"]) == ["journalctl", "--unit=-Hroot.service"]


HOSTILE = "a b; touch ${X} `touch y` $(touch z) '\"\\ -x"


async def test_no_shell_reads_an_argument() -> None:
    printed = bytearray()
    argv = There(machine(1), HOSTILE).filled(["printf", "%s|", "$UNIT", "$HOST"])
    async with Remote(Settings().ssh) as remote:
        assert await remote.run_here(argv, printed.extend) == 0
    assert printed.decode() == f"{HOSTILE}|core-1|"


def test_own_commands_have_names_and_keys_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "fleet.toml"
    path.write_text('[console.commands.deploy]\nrun = "deploy --to $HOST"\nkey = "ctrl+g"\nconfirm = false\n')
    table = load(path, {}).console.commands
    (made,) = own_commands(table, {}, ["stop"], "fleet.toml")
    assert made == OwnCommand("deploy", ("deploy", "--to", "$HOST"), "ctrl+g", confirm=False)
    with pytest.raises(UserError, match="deploy is a command already"):
        own_commands(table, {}, ["deploy"], "fleet.toml")
    with pytest.raises(UserError, match="ctrl\\+g is the key of quit already"):
        own_commands(table, {"quit": "ctrl+g"}, [], "fleet.toml")


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ({"Deploy": {"run": "x"}}, "a name is up to 32"),
        ({"deploy": "x"}, "expected a table for each command"),
        ({"deploy": {}}, "run is missing"),
        ({"deploy": {"run": "a 'b"}}, "a quote of run is not closed"),
        ({"deploy": {"run": "x", "keys": "y"}}, "unknown 'keys'; it takes run, key, confirm, on"),
        ({"deploy": {"run": "x", "confirm": "no"}}, "confirm is a true or false"),
        ({"deploy": {"run": "x", "on": "moon"}}, "on is"),
        ({"deploy": {"run": "x\x1b[2J"}}, "run is no printable line"),
    ],
)
def test_a_command_that_cannot_be_is_told(value: object, told: str) -> None:
    with pytest.raises(UserError, match=r"fleet.toml: \[console\] commands: ") as caught:
        put(Settings(), "console", "commands", value, "fleet.toml")
    assert told in str(caught.value)


def test_run_takes_words_as_they_are_quoted_and_nothing_else() -> None:
    world = CommandContext(scene(), own=("deploy",))
    assert parse_command("run ls --help {a,b} 'x y'", world) == RunThere(("ls", "--help", "{a,b}", "x y"))
    assert parse_command("deploy", world) == RunThere(own="deploy")
    for line in ("run", "run 'a", "deploy now"):
        with pytest.raises(UserError):
            parse_command(line, world)
    calm = CommandContext(scene(), own=("deploy",), read_only=True)
    for line in ("run uptime", "deploy"):
        with pytest.raises(UserError, match="read-only"):
            parse_command(line, calm)
    assert not {"run", "deploy"} & {*complete_names(calm)}
    assert {"run", "deploy"} <= {*complete_names(world)}


# Output


def test_output_is_merged_escaped_cut_and_bounded() -> None:
    one, two = There(machine(1)), There(machine(2))
    output = MergedOutput([two, one])
    output.take(one, b"half")
    output.take(two, b"\x1b[31mred\x1b[0m\x1b]0;title\x07\r\n")
    output.take(one, b" and whole\n\xff\n" + b"x" * (LONGEST + 5) + b"\nrest")
    output.end(one, "ended with status 0", failed=False)
    output.end(two, "ended with status 3", failed=True)
    told = [line_text(line) for line in output.lines]
    assert told[0].startswith("core-2 red")
    assert "\x1b" not in "".join(told)
    assert told[1:3] == ["core-1 half and whole", "core-1 �"]
    assert told[3].endswith("x…")
    assert told[4:] == ["core-1 rest", "core-2 ✖ ended with status 3"]
    assert line_text(output.summary()) == "2 machines, 1 done, 1 failed: core-2"
    output.take(one, b"line\n" * (2 * MOST_LINES))
    assert len(output.lines) <= MOST_LINES * 11 // 10
    assert output.dropped > 0
    assert "older lines are gone" in line_text(output.summary())


async def ran(play: Play) -> OutputScreen:
    screen = play.stage.app.screen
    assert isinstance(screen, ConfirmScreen)
    await play.press("y")
    screen = play.stage.app.screen
    assert isinstance(screen, OutputScreen)
    return screen


async def test_a_command_runs_on_all_marked_machines_side_by_side() -> None:
    async with playing() as play:
        play.stage.hosts.prints = [b"up 3 days\n"]
        await play.press("2", "asterisk", "colon", *"run uptime -p", "enter")
        screen = await ran(play)
        await play.pilot.pause(0.3)
        assert sorted(play.stage.hosts.ran) == [(f"core-{number}", ["uptime", "-p"]) for number in (1, 2, 3)]
        assert line_text(screen.output.lines[0]) == "core-1 up 3 days"
        assert "3 machines, 3 done" in "".join(screen.query_one("#run-summary", Band).texts)
        await play.press("escape")
        assert len(play.stage.app.screen_stack) == 2


async def test_escape_cancels_what_runs_before_it_closes() -> None:
    async with playing() as play:
        play.stage.hosts.endless = True
        await play.press("2", "j", "colon", *"run sleep 9", "enter")
        screen = await ran(play)
        assert screen.output.running == 1
        await play.press("escape")
        await play.pilot.pause(0.2)
        assert screen.output.running == 0
        assert "cancelled" in line_text(screen.output.lines[-1])
        await play.press("escape")
        assert len(play.stage.app.screen_stack) == 2


async def test_a_key_runs_ones_own_command_for_each_chosen_unit() -> None:
    own = OwnCommand("logs", ("logs", "$UNIT", "$HOST"), "ctrl+g")
    async with playing(commands=(own,)) as play:
        await play.press("G", "left", "ctrl+g")  # the template's row: its instances
        await ran(play)
        await play.pilot.pause(0.2)
        assert sorted(play.stage.hosts.ran) == [
            (f"core-{number}", ["logs", f"web@{number}.service", f"core-{number}"]) for number in (1, 2, 3)
        ]


async def test_a_read_only_console_has_no_commands() -> None:
    own = OwnCommand("logs", ("logs",), "ctrl+g", confirm=False)
    async with playing(commands=(own,), read_only=True) as play:
        await play.press("2", "ctrl+g")
        assert len(play.stage.app.screen_stack) == 2
        play.main.there.run(own)
        assert "read-only" in play.text("hint")
        assert not play.stage.hosts.ran
