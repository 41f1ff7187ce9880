"""Details by key: tabs, places, what is asked of the machines, what acts on the subject."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fleettui.console.pages import detail
from fleettui.console.screens.confirm import ConfirmScreen
from fleettui.console.text.subject import Tab
from fleettui.console.widgets.drawing import Band
from fleettui.console.widgets.journal_pane import JournalPane
from fleettui.remote.errors import MachineUnreachable
from registry.model import Event
from registry.sync.follow import ConnectionState
from tests.console.fleetshow import CORES, NOW, scene, state
from tests.console.test_detail_pages import replaced, shop
from tests.console.test_screen import Play, playing

SIZES = [(80, 24), (140, 40)]


def page(play: Play) -> str:
    """What the page shows, all of it."""
    return play.main.views.detail.page.text


async def page_says(play: Play, text: str) -> None:
    for _ in range(200):
        if text in page(play):
            return
        await play.pilot.pause(0.02)
    raise AssertionError(f"{text!r} not in {page(play)!r}")


def tab_of(play: Play) -> Tab:
    """The open tab."""
    return play.main.views.detail.tab


async def open_unit(play: Play, name: str) -> None:
    """Put the cursor on a unit and press Enter."""
    assert play.main.views.open.table.select(name)
    await play.press("enter")


def shown(play: Play) -> str:
    """The page as it is on the screen."""
    found = play.main.views.detail.page
    return "\n".join(found.render_line(y).text.rstrip() for y in range(found.size.height))


@pytest.mark.parametrize("size", SIZES)
async def test_enter_opens_what_systemctl_says(size: tuple[int, int]) -> None:
    async with playing(size=size) as play:
        await open_unit(play, "db.service")
        await page_says(play, "active (running)")
        assert play.stage.hosts.asked == [("core-3", "db.service")]
        assert "Units > db.service  ● active running · core-3" in play.text("tabs")
        assert "systemctl status on core-3" in shown(play)
        assert play.text("header")
        assert play.text("footer")


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("key", "tab", "told"),
    [
        ("d", Tab.STATUS, "active (running)"),
        ("f", Tab.FILE, "ExecStart=/usr/bin/web"),
        ("w", Tab.PLACEMENT, "machine by machine"),
        ("v", Tab.EVENTS, "fewest units among 3 machines"),
        ("r", Tab.DEPENDENCIES, "network.target"),
    ],
)
async def test_each_key_opens_its_tab_from_the_table(key: str, tab: Tab, told: str, size: tuple[int, int]) -> None:
    async with playing(size=size) as play:
        play.main.views.open.table.select("web@3.service")
        await play.press(key)
        assert tab_of(play) is tab
        await page_says(play, told)
        assert play.main.views.detail.page.has_focus
        await play.press("escape")
        assert play.main.views.open.name_ == "units"
        assert play.cursor == "web@3.service"
        assert play.main.views.open.table.has_focus


async def test_left_and_right_go_round_the_tabs() -> None:
    async with playing() as play:
        await open_unit(play, "db.service")
        await play.press("left")
        assert tab_of(play) is Tab.DEPENDENCIES
        await play.press("right", "right")
        assert tab_of(play) is Tab.JOURNAL


@pytest.mark.parametrize("size", SIZES)
async def test_the_journal_tab_is_the_docked_pane_made_large(size: tuple[int, int]) -> None:
    async with playing(size=size) as play:
        pane = play.main.query_one(JournalPane)
        docked = pane.size.height
        await open_unit(play, "db.service")
        assert pane.display is (size[1] >= 30)
        await play.press("l")
        assert pane.display
        assert pane.size.height > docked
        await play.until("db", "journal-title")
        await play.press("escape", "escape")
        assert play.main.views.open.name_ == "units"
        assert pane.size.height == docked


async def test_a_pending_unit_opens_at_the_reason() -> None:
    async with playing() as play:
        await open_unit(play, "mars.service")
        assert tab_of(play) is Tab.PLACEMENT
        assert "no machine has region=mars" in page(play)


async def test_the_status_is_asked_again_when_the_state_changes_and_by_key_and_not_else() -> None:
    async with playing() as play:
        await open_unit(play, "db.service")
        await page_says(play, "active (running)")
        await play.show(replace(scene(), revision=101))
        play.stage.now += 5
        await page_says(play, "5 s old") if "5 s old" in page(play) else play.main.views.detail.renew()
        assert "5 s old" in page(play)
        assert len(play.stage.hosts.asked) == 1
        play.stage.hosts.text = "● {unit}\n     Active: failed (Result: exit-code)\n"
        pair = (CORES[3], "db.service")
        failed = {**scene().states, pair: replace(scene().states[pair], active="failed")}
        await play.show(replace(scene(), revision=102, states=failed))
        await page_says(play, "failed (Result: exit-code)")
        assert len(play.stage.hosts.asked) == 2
        play.stage.hosts.text = "asked by key\n"
        await play.press("d")
        await page_says(play, "asked by key")


async def test_a_machine_that_cannot_be_asked_is_told_with_what_the_registry_knows() -> None:
    async with playing() as play:
        play.stage.hosts.error = MachineUnreachable("core-2", "connection refused", "is sshd running there?")
        await open_unit(play, "sync.service")
        await page_says(play, "cannot reach core-2: connection refused; is sshd running there?")
        assert "what follows is from the registry" in page(play)
        assert "exit status 203" in page(play)


async def test_a_global_unit_is_asked_about_on_the_machine_that_is_chosen() -> None:
    async with playing() as play:
        play.main.views.open.table.select("exporter.service")
        await play.press("d")
        await page_says(play, "on machines")
        assert play.stage.hosts.asked == []
        await play.press("j", "j", "enter")
        await page_says(play, "active (running)")
        assert play.stage.hosts.asked == [("core-2", "exporter.service")]


async def test_unit_keys_act_on_the_subject() -> None:
    async with playing() as play:
        await open_unit(play, "backup.service")
        await play.press("S")
        assert play.stage.port.calls == [("start", ("backup.service",))]
        await play.press("escape", "escape")
        await open_unit(play, "db.service")
        await play.press("space", "asterisk", "D")
        assert isinstance(play.stage.app.screen, ConfirmScreen)
        await play.press("right", "enter")
        assert play.stage.port.calls[-1] == ("destroy", ("db.service",))


async def test_a_page_is_neither_filtered_nor_marked() -> None:
    async with playing() as play:
        await open_unit(play, "db.service")
        await play.press("slash")
        assert "nothing to filter" in play.text("hint")
        await play.press("space")
        assert play.main.views.open.table.listing.marks == set()


async def test_a_unit_that_is_destroyed_meanwhile_says_so_and_takes_no_orders() -> None:
    async with playing() as play:
        await open_unit(play, "db.service")
        units = {name: unit for name, unit in scene().units.items() if name != "db.service"}
        gone = {"x": Event("x", NOW - 3, "ann@desk", "destroy", "db.service")}
        where = {pair: line for pair, line in scene().schedule.items() if pair[1] != "db.service"}
        states = {pair: each for pair, each in scene().states.items() if pair[1] != "db.service"}
        await play.show(replace(scene(), revision=103, units=units, events=gone, schedule=where, states=states))
        assert "destroyed by ann@desk 3 s ago" in page(play)
        assert "not in the registry" in play.text("tabs")
        await play.press("S")
        assert play.stage.port.calls == []


async def test_back_and_forward_go_through_views_filters_subjects_and_tabs() -> None:
    async with playing() as play:
        await play.press("slash", *"web@", "enter")
        await play.press("enter", "f", "2")
        assert play.main.views.open.name_ == "machines"
        await play.press("left_square_bracket")
        assert tab_of(play) is Tab.FILE
        await play.press("left_square_bracket")
        assert tab_of(play) is Tab.STATUS
        await play.press("left_square_bracket")
        assert play.main.views.open.name_ == "units"
        assert play.main.views.open.table.listing.query.text == "web@"
        await play.press("left_square_bracket", "left_square_bracket")
        assert "where you began" in play.text("hint")
        await play.press(*["right_square_bracket"] * 5)
        assert play.main.views.open.name_ == "machines"


async def test_a_machine_by_key_and_by_arrows() -> None:
    async with playing() as play:
        await play.press("2", "enter")
        assert "Machines > core-1  ● ready  10.91.0.11" in play.text("tabs")
        assert play.main.views.open.table.has_focus
        for tab, told in (
            (Tab.METADATA, "region"),
            (Tab.JOURNAL, ""),
            (Tab.FACTS, "10.91.0.11"),
            (Tab.EVENTS, "nothing is known"),
            (Tab.DRAIN, "would stay and block it"),
        ):
            play.main.views.detail.page.post_message(play.main.views.detail.page.Turned(1))
            await play.settle()
            assert tab_of(play) is tab
            assert told in page(play)
        for key, tab in zip("dfvwr", (Tab.FACTS, Tab.METADATA, Tab.EVENTS, Tab.DRAIN, Tab.UNITS), strict=True):
            await play.press(key)
            assert tab_of(play) is tab


async def test_verbs_act_on_the_chosen_unit_of_a_machine_and_enter_opens_it() -> None:
    async with playing() as play:
        await play.press("2", "enter", "X")
        assert play.stage.port.calls == [("stop", ("cache.service",))]
        await play.press("enter")
        await page_says(play, "active (running)")
        assert "cache.service" in play.text("tabs")
        await play.press("escape")
        assert tab_of(play) is Tab.UNITS
        await play.press("escape")
        assert play.main.views.open.name_ == "machines"


async def test_what_blocks_a_drain_leads_to_the_unit_and_back() -> None:
    async with playing() as play:
        await play.press("2", "w", "j", "enter")
        assert "web@1.service" in play.text("tabs")
        await play.press("escape")
        assert tab_of(play) is Tab.DRAIN


async def test_a_machine_is_drained_from_the_page_that_tells_what_that_meets() -> None:
    async with playing() as play:
        await play.press("2", "j", "w")
        assert "a drain of core-2" in page(play)
        assert "drain" in play.text("footer")
        await play.press("D")
        question = play.stage.app.screen
        assert isinstance(question, ConfirmScreen)
        assert "Drain core-2?" in "".join(question.query_one("#confirm-text", Band).texts)


async def test_dependencies_are_followed_from_unit_to_unit() -> None:
    async with playing(shop()) as play:
        play.main.views.open.table.select("app.service")
        await play.press("r", "j", "enter")
        assert "db.service" in play.text("tabs")
        assert "stops too          app.service" in page(play)
        await play.press("escape")
        assert "app.service" in play.text("tabs")


async def test_older_versions_are_compared_by_key() -> None:
    async with playing(replaced()) as play:
        await play.press("f", "less_than_sign")
        await page_says(play, "+ Restart=no")
        await play.press("greater_than_sign")
        assert "+ Restart=no" not in page(play)
        await play.press("d", "less_than_sign")
        assert "on the file's page (f)" in play.text("hint")


async def test_copy_takes_the_file_as_it_is_and_other_pages_as_shown() -> None:
    async with playing() as play:
        play.main.views.open.table.select("db.service")
        await play.press("f", "c")
        assert play.stage.app.clipboard == scene().files[scene().units["db.service"].hash].text
        await play.press("w", "c")
        assert "machine by machine" in play.stage.app.clipboard
        assert "copied" in play.text("hint")


async def test_a_lost_link_dims_the_page_and_keeps_it() -> None:
    async with playing() as play:
        play.main.views.open.table.select("db.service")
        await play.press("w")
        await play.show(scene(), ConnectionState.LOST, "timed out")
        assert "machine by machine" in page(play)
        found = play.main.views.detail.page
        (text,) = (segment for segment in found.render_line(0) if segment.text.startswith("launched"))
        assert text.style is not None
        assert text.style.color == found.style_of("quiet").color
        assert "connection lost" in play.text("banner")


async def test_a_large_fleet_is_written_beside_the_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detail, "LARGE", 0)
    async with playing() as play:
        play.main.views.open.table.select("db.service")
        await play.press("w")
        await page_says(play, "machine by machine")


async def test_the_subject_stays_the_same_while_rows_come_and_go() -> None:
    async with playing() as play:
        await open_unit(play, "db.service")
        moved = {pair: each for pair, each in scene().states.items() if pair[1] != "db.service"}
        moved[CORES[1], "db.service"] = state("db.service", 1, "x")
        await play.show(replace(scene(), revision=104, states=moved))
        assert play.main.selection.units() == ["db.service"]


@pytest.mark.parametrize("size", [(40, 12), (60, 16), (200, 60)])
async def test_every_tab_fits_any_screen(size: tuple[int, int]) -> None:
    async with playing(size=size) as play:
        await open_unit(play, "web@1.service")
        await play.press(*"dlfwvr", "2", "enter", *"dlfwvr")
        await play.press("escape")
