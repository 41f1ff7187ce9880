"""The command line: what lines mean, what they become, and what they do on the screen."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.events import Key
from textual.widgets import Input

from fleettui.cli.commands import SHOWN
from fleettui.console.commandline import commands
from fleettui.console.commandline.commands import ELSEWHERE, CommandContext, expand_braces, parse_command, split
from fleettui.console.commandline.completion import complete
from fleettui.console.screens.confirm import ConfirmScreen
from fleettui.console.screens.detail import DetailView
from fleettui.console.screens.text_screens import PageScreen
from fleettui.console.sources.saved_state import LineHistory, load, save
from fleettui.console.text.cells import line_text
from fleettui.console.text.subject import Tab
from fleettui.console.widgets.journal_pane import JournalPane
from fleettui.console.widgets.page import Lines
from fleettui.console.widgets.prompt import Prompt, laid_out
from fleettui.console.widgets.theme import THEMES
from fleettui.verbs import Verb
from registry.errors import UserError
from registry.model import Target
from registry.sync.follow import ConnectionState
from tests.console.fleetshow import CORES, PLAIN, scene
from tests.console.scenes import storied
from tests.console.test_screen import Play, playing

WORLD = CommandContext(scene(), ("unit", "active", "since"), tuple(THEMES))


@pytest.mark.parametrize(
    ("word", "names"),
    [
        ("web@{1..3}", ["web@1", "web@2", "web@3"]),
        ("{db,mail}.service", ["db.service", "mail.service"]),
        ("web@{08..10}", ["web@08", "web@09", "web@10"]),
        ("web@{3..1}", ["web@3", "web@2", "web@1"]),
        ("{a,b}@{1..2}", ["a@1", "a@2", "b@1", "b@2"]),
        ("web@{}", ["web@{}"]),
        ("plain", ["plain"]),
    ],
)
def test_braces_are_what_a_shell_makes_of_them(word: str, names: list[str]) -> None:
    assert expand_braces(word) == names


def test_quotes_hold_words_together_and_must_be_closed() -> None:
    assert split("journal --since '1 hour ago' web@1") == ["journal", "--since", "1 hour ago", "web@1"]
    with pytest.raises(UserError, match="close it"):
        split("stop 'web@*")
    with pytest.raises(UserError, match="narrow the braces"):
        split("start web@{1..999999999}")


@pytest.mark.parametrize(
    ("line", "command"),
    [
        ("stop cache", commands.VerbCommand(Verb.STOP, ("cache.service",))),
        ("fleetctl stop cache.service", commands.VerbCommand(Verb.STOP, ("cache.service",))),
        ("destroy 'web@[12]*'", commands.VerbCommand(Verb.DESTROY, ("web@1.service", "web@2.service"))),
        ("restart --no-block web@{1..2}", commands.VerbCommand(Verb.RESTART, ("web@1.service", "web@2.service"))),
        ("unload web@1 web@1", commands.VerbCommand(Verb.UNLOAD, ("web@1.service",))),
        ("start web@9", commands.SubmitFiles(Verb.START, Target.LAUNCHED, ("web@9",))),
        (
            "load --replace ./x.service",
            commands.SubmitFiles(Verb.LOAD, Target.LOADED, ("./x.service",), replace=True),
        ),
        ("submit a.service", commands.SubmitFiles(Verb.SUBMIT, Target.INACTIVE, ("a.service",))),
        ("why mars", commands.Show("why", ("mars.service",))),
        ("cat db", commands.Show("file", ("db.service",))),
        ("status db", commands.Show("status", ("db.service",))),
        ("journal -f 'web@[12]*'", commands.Show("journal", ("web@1.service", "web@2.service"))),
        ("list-units", commands.Open("units", "")),
        ("list-unit-files --json", commands.Open("units", "")),
        ("list-machines", commands.Open("machines", "")),
        ("events", commands.Open("events")),
        ("events --unit sync", commands.Open("events", "unit=sync.service")),
        ("events --machine core-2", commands.Open("events", "machine=core-2")),
        ("drain core-1 core-1", commands.MachineCommand("drain", (CORES[1],))),
        ("cordon 2aea", commands.MachineCommand("cordon", (CORES[2],))),
        ("uncordon 10.91.0.13", commands.MachineCommand("uncordon", (CORES[3],))),
        ("set-metadata core-1 region=eu", commands.MetadataCommand((CORES[1],), {"region": "eu"})),
        ("unset-metadata core-1 region", commands.MetadataCommand((CORES[1],), {"region": None})),
        ("ssh core-2", commands.Shell(machine=CORES[2])),
        ("ssh web@1", commands.Shell(unit="web@1.service")),
        ("ssh --unit db", commands.Shell(unit="db.service")),
        ("ssh --machine core-3", commands.Shell(machine=CORES[3])),
        ("verify units/a.service", commands.Verify(("units/a.service",))),
        ("version", commands.Run("version")),
        ("help start", commands.Help("start")),
        ("start --help", commands.Help("start")),
        ("help", commands.Help()),
        ("q", commands.Run("quit")),
        ("quit", commands.Run("quit")),
        ("undo", commands.Run("undo")),
        ("theme light", commands.Theme("light")),
        ("sort active desc", commands.Sort("active", descending=True)),
        ("filter state:failed web", commands.Open("", "state:failed web")),
        ("filter", commands.Open("", "")),
        ("machines lost", commands.Open("machines", "lost")),
        ("map", commands.Open("map")),
    ],
)  # fmt: skip
def test_a_line_means_what_fleetctl_means_by_it(line: str, command: commands.ConsoleCommand) -> None:
    assert parse_command(line, WORLD) == command


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("strat cache", "did you mean start"),
        ("stop cach", "did you mean cache.service"),
        ("stop", "UNIT is missing; name one"),
        ("scale web@ x", "whole number from 0, not 'x'"),
        ("stop --wrong cache", "unknown flag --wrong"),
        ("stop 'nothing@*'", "no unit matches"),
        ("drain core-9", "did you mean core-"),
        ("drain nowhere-else", "see :list-machines"),
        ("--endpoint http://x stop cache", "unknown command"),
        ("stop --endpoint http://x cache", "leave it out"),
        ("theme pink", "dark, light"),
        ("sort wrong", "unit, active, since"),
        ("sort", "unit, active, since"),
        ("q now", "leave it out"),
        ("completion bash", "run it there"),
        ("__complete x", "unknown command"),
        ("help nothing", "see :help"),
        ("ssh core-1 uptime", "fleetctl ssh"),
        ("rebalance --on-failure rollback", "leave --on-failure rollback out"),
        ("stop 'web", "close it"),
    ],
)
def test_what_makes_no_sense_is_told_in_one_line_with_a_remedy(line: str, told: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_command(line, WORLD)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_fleetctl_verb_is_understood() -> None:
    arguments = {"drain": "core-1", "cordon": "core-1", "uncordon": "core-1", "completion": "bash",
                 "set-metadata": "core-1 region=eu", "unset-metadata": "core-1 region",
                 "scale": "web@.service 2"}  # fmt: skip
    context = CommandContext(storied())  # with an earlier version to compare with and to bring back
    plain = {"access", "doctor", "events", "help", "list-machines", "list-unit-files", "list-units", "rebalance",
             "restore", "ssh", "upgrade", "version"}  # fmt: skip
    for command in SHOWN:
        line = (
            command.name if command.name in plain else f"{command.name} {arguments.get(command.name, 'db.service')}"
        )
        if command.name in {*ELSEWHERE, "doctor"}:
            with pytest.raises(UserError):
                parse_command(line, context)
        else:
            assert parse_command(line, context) is not None


@pytest.mark.parametrize("verb", ["start", "stop", "submit", "drain", "uncordon", "undo"])
def test_read_only_refuses_what_changes_and_does_not_offer_it(verb: str) -> None:
    world = CommandContext(scene(), read_only=True)
    with pytest.raises(UserError, match="read-only"):
        parse_command(f"{verb} core-1", world)
    assert verb not in complete("", world).candidates


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("des", ("destroy",)),
        ("stop mar", ("mars.service",)),
        ("stop web@1.service web@", ("web@.service", "web@2.service", "web@3.service")),
        ("fleetctl stop mar", ("mars.service",)),
        ("stop --no", ("--no-block",)),
        ("reb", ("rebalance", "reboot")),
        ("rebalance --at", ("--at-a-time",)),
        ("drain core-", ("core-1", "core-2", "core-3")),
        ("ssh --unit sy", ("sync.service",)),
        ("events --machine core-2", ("core-2",)),
        ("scale ", ("web@.service",)),
        ("restart web@1 --on-failure r", ("rollback",)),
        ("rollout pa", ("pause",)),
        ("journal web@1 --output json-p", ("json-pretty",)),
        ("config show ", ()),
        ("theme l", ("light",)),
        ("help dr", ("drain",)),
        ("sort a", ("active",)),
        ("sort active d", ("desc",)),
        ("filter sta", ("state:",)),
        ("filter web state:fa", ("web state:failed",)),
        ("machines machine:core-2", ()),
        ("version x", ()),
    ],
)
def test_the_last_word_is_completed_by_what_it_may_be(line: str, found: tuple[str, ...]) -> None:
    assert complete(line, WORLD).candidates == found


def test_completion_says_how_far_all_agree() -> None:
    offer = complete("stop we", WORLD)
    assert offer.common == "web@"
    assert offer.start == len("stop ")


def test_candidates_have_three_lines_and_the_rest_is_counted() -> None:
    lines = laid_out([f"unit-{n:03}.service" for n in range(100)], -1, 900, 80)
    assert len(lines) == 3
    assert line_text(lines[-1]).rstrip().endswith("… 989 more")
    far = laid_out([f"unit-{n:03}.service" for n in range(100)], 70, 0, 80)
    assert any("unit-070.service" in line_text(line) for line in far)


def test_history_goes_back_by_what_was_typed_and_knows_no_line_twice(tmp_path: Path) -> None:
    history = LineHistory(["stop a", "start b", "stop c"])
    history.add("stop a")
    assert history.lines == ["start b", "stop c", "stop a"]
    assert history.back("st") == "stop a"
    assert history.back("stop a") == "stop c"
    assert history.forth("stop c") == "stop a"
    assert history.forth("stop a") == "st"
    assert history.suggestion("sto") == "stop a"
    save(tmp_path / "deep" / "history", history)
    assert load(tmp_path / "deep" / "history").lines == history.lines
    assert (tmp_path / "deep" / "history").stat().st_mode & 0o777 == 0o600


# On the screen


async def typed(play: Play, line: str, *keys: str) -> None:
    """The line in the command line, then these keys."""
    await play.press("colon")
    play.main.query_one("#command", Prompt).value = line
    await play.press(*keys)


async def test_a_verb_that_changes_goes_the_way_of_its_key() -> None:
    async with playing() as play:
        await typed(play, "stop cache", "enter")
        await play.until("fleetctl stop cache.service", "operations")
        assert play.stage.port.calls == [("stop", ("cache.service",))]
        assert not play.main.query_one("#command").display
        assert play.main.views.open.table.has_focus


async def test_destroy_asks_as_its_key_does() -> None:
    async with playing() as play:
        await typed(play, "destroy 'web@*'", "enter")
        assert isinstance(play.stage.app.screen, ConfirmScreen)
        await play.press("escape")
        assert play.stage.port.calls == []


async def test_an_error_stays_below_with_the_line_to_mend() -> None:
    async with playing() as play:
        await typed(play, "stop cach", "enter")
        prompt = play.main.query_one("#command", Prompt)
        assert prompt.display
        assert prompt.value == "stop cach"
        assert "did you mean cache.service" in play.text("candidates")
        await play.press("e")
        assert "✖" not in play.text("candidates")
        await play.press("enter")
        await play.until("fleetctl stop cache.service", "operations")


async def test_tab_completes_then_goes_through_the_candidates() -> None:
    async with playing() as play:
        await play.press("colon", *"des", "tab")
        prompt = play.main.query_one("#command", Prompt)
        assert prompt.value == "destroy "
        await play.press(*"we", "tab")
        assert prompt.value == "destroy web@"
        assert "web@2.service" in play.text("candidates")
        await play.press("tab", "tab")
        assert prompt.value == "destroy web@1.service"
        await play.press("shift+tab")
        assert prompt.value == "destroy web@.service"


async def test_up_brings_the_line_before_and_right_takes_the_suggestion() -> None:
    async with playing() as play:
        await typed(play, "theme light", "enter")
        assert play.stage.app.theme == THEMES["light"].name
        await play.press("colon", "up")
        prompt = play.main.query_one("#command", Prompt)
        assert prompt.value == "theme light"
        await play.press("ctrl+u", "t", "right")
        assert prompt.value == "theme light"
        await play.press("escape")
        assert not prompt.display


@pytest.mark.parametrize(
    ("line", "tab"), [("why mars", Tab.PLACEMENT), ("cat db", Tab.FILE), ("status sync", Tab.STATUS)]
)
async def test_verbs_that_show_open_the_detail(line: str, tab: Tab) -> None:
    async with playing() as play:
        await typed(play, line, "enter")
        view = play.main.views.open
        assert isinstance(view, DetailView)
        assert view.tab is tab


async def test_the_journal_of_several_units_marks_them() -> None:
    async with playing(size=(80, 24)) as play:
        await play.press("J")
        assert not play.main.query_one(JournalPane).display
        await typed(play, "journal 'web@[13]*'", "enter")
        assert play.main.views.open.table.listing.marks == {"web@1.service", "web@3.service"}
        assert play.main.query_one(JournalPane).display


async def test_views_filters_and_sorting_by_word() -> None:
    async with playing() as play:
        await typed(play, "events --unit sync", "enter")
        assert play.main.views.open.name_ == "events"
        assert "filter: unit=sync.service" in play.text("tabs")
        await typed(play, "units state:failed", "enter")
        assert play.main.views.open.table.listing.order == ["sync.service"]
        await typed(play, "filter", "enter")
        await typed(play, "sort since desc", "enter")
        listing = play.main.views.open.table.listing
        assert (listing.sort_by.id, listing.descending) == ("since", True)


async def test_start_makes_instances_of_a_template_in_one_act() -> None:
    async with playing() as play:
        await typed(play, "start web@{7..8}", "enter")
        await play.until("web@7.service", "operations")
        assert play.stage.port.calls == [("submit launched", ("web@7.service", "web@8.service"))]


async def test_start_takes_a_file_from_disk(tmp_path: Path) -> None:
    (tmp_path / "fresh.service").write_text(PLAIN)
    (tmp_path / "bad.service").write_text("[Wrong\n")
    async with playing() as play:
        await typed(play, f"start {tmp_path}/fresh.service", "enter")
        await play.until("fresh.service", "operations")
        assert play.stage.port.calls == [("submit launched", ("fresh.service",))]
        await typed(play, f"start {tmp_path}/bad.service", "enter")
        await play.until("bad.service", "candidates")
        assert len(play.stage.port.calls) == 1
        await play.press("escape")
        await typed(play, "start nowhere.service", "enter")
        await play.until("neither in the registry nor on disk", "candidates")


async def test_verify_tells_line_by_line(tmp_path: Path) -> None:
    (tmp_path / "bad.service").write_text("[Service]\nExecStart=\n[Wrong]\nx=1\n")
    async with playing() as play:
        await typed(play, f"verify {tmp_path}/bad.service {tmp_path}/none.service", "enter")
        for _ in range(100):
            if isinstance(play.stage.app.screen, PageScreen):
                break
            await play.pilot.pause(0.02)
        told = "\n".join(line_text(line) for line in play.stage.app.screen.query_one(Lines).lines)
        assert "bad.service:3" in told
        assert "does not exist" in told


async def test_machines_are_drained_by_word_as_by_key() -> None:
    async with playing() as play:
        await typed(play, "drain core-2", "enter")
        assert isinstance(play.stage.app.screen, ConfirmScreen)


async def test_help_of_a_command_and_of_everything() -> None:
    async with playing() as play:
        await typed(play, "help start", "enter")
        page = play.stage.app.screen
        assert isinstance(page, PageScreen)
        assert any("--replace" in line_text(line) for line in page.query_one(Lines).lines)
        await play.press("escape")
        await typed(play, "help", "enter")
        assert isinstance(play.stage.app.screen, PageScreen)


async def test_without_a_registry_nothing_is_written_and_it_is_said() -> None:
    async with playing() as play:
        await play.show(scene(), ConnectionState.LOST, "timed out")
        await typed(play, "stop cache", "enter")
        assert "no connection to the registry" in play.text("hint")
        await typed(play, "start web@8", "enter")
        await play.until("no connection to the registry", "candidates")
        assert play.stage.port.calls == []


async def test_read_only_says_so_everywhere() -> None:
    async with playing(read_only=True) as play:
        assert "READ-ONLY" in play.text("header")
        await typed(play, "stop cache", "enter")
        assert "read-only" in play.text("candidates")
        await play.press("escape", "question_mark")
        await play.press(*"destroy")
        told = "\n".join(line_text(line) for line in play.stage.app.screen.query_one(Lines).lines)
        assert "nothing in the help" in told


async def test_the_shell_is_off_in_a_browser() -> None:
    async with playing(has_terminal=False) as play:
        await typed(play, "ssh core-1", "enter")
        assert "fleetctl ssh" in play.text("candidates")


async def test_quit_leaves() -> None:
    async with playing() as play:
        await typed(play, "q")
        assert isinstance(play.stage.app.focused, Input)
        await play.pilot.press("enter")
        await play.pilot.pause(0.1)
        assert not play.stage.app.is_running


async def test_what_is_typed_right_after_the_colon_reaches_no_other_key() -> None:
    async with playing() as play:
        for key, character in [("colon", ":"), *zip("Destroy", "Destroy", strict=True), ("space", " "), ("x", "x")]:
            play.stage.app.post_message(Key(key, character))
        for _ in range(100):
            if play.main.query_one("#command", Prompt).value == "Destroy x":
                break
            await play.pilot.pause(0.02)
        assert play.main.query_one("#command", Prompt).value == "Destroy x"
        assert play.main.views.open.name_ == "units"
        assert play.stage.app.screen is play.main


async def test_a_line_keeps_the_keys_whatever_takes_the_focus_meanwhile() -> None:
    async with playing() as play:
        main = play.main
        main.navigator.open_view("machines")
        main.prompts.open_filter()
        await play.settle()
        assert main.prompts.filter_line.has_focus
        main.set_focus(main.views.open.table)
        await play.press("c", "enter")
        assert main.prompts.asking is None
        assert main.views.open.table.listing.query.text == "c"
        main.prompts.open_filter()
        main.set_focus(main.views.open.table)
        await play.press("escape")
        assert main.prompts.asking is None
        assert not main.views.open.table.listing.query.text


async def test_what_is_typed_right_after_enter_is_for_the_table() -> None:
    async with playing() as play:
        main = play.main
        main.prompts.open_filter()
        for key, character in (*((each, each) for each in "cache"), ("enter", "\r"), ("d", "d")):
            play.stage.app.post_message(Key(key, character))
        await play.settle()
        assert main.prompts.asking is None
        assert main.views.in_detail
        await play.press("escape")
        assert main.views.open.table.listing.query.text == "cache"
        main.prompts.close()
        main.prompts.filter_line.post_message(Key("d", "d"))
        await play.settle()
        assert main.views.in_detail, "a key on its way to the line when that was closed"
        main.prompts.open_command_line()
        for key, character in (*((each, each) for each in "zz"), ("enter", "\r"), ("d", "d")):
            play.stage.app.post_message(Key(key, character))
        await play.settle()
        assert main.prompts.command_line.value == "zzd", "the line stays, and so does what was typed on"


async def test_the_journals_line_keeps_the_keys_when_it_is_opened_again_at_once() -> None:
    async with playing() as play:
        pane = play.main.dock.pane
        pane.prompt.ask("search")
        pane.prompt.cancel()
        pane.prompt.ask("include")
        await play.settle()
        await play.press("x", "enter")
        assert pane.terms.narrowing.include == "x"
