"""Machines by key: what would happen is told first, an act is pending until the watch confirms it, then undone."""

from __future__ import annotations

from dataclasses import replace

import pytest
from textual.widgets import Button, Input

from fleettui.console.pages.bands import FleetIdentity, footer_keys, footer_line
from fleettui.console.screens.confirm import ConfirmScreen
from fleettui.console.screens.text_screens import PageScreen
from fleettui.console.text.cells import line_text
from fleettui.console.text.keys import Key
from fleettui.console.widgets.drawing import Band
from registry.mirror import Snapshot
from registry.model import Availability, Override
from registry.sync.follow import ConnectionState
from tests.console.fleetshow import CORES, NOW, scene
from tests.console.test_machine_rows import without
from tests.console.test_screen import Play, playing


def closed(snapshot: Snapshot, number: int, availability: Availability) -> Snapshot:
    override = Override(CORES[number], availability, by="root@laptop", at=NOW)
    return replace(snapshot, revision=101, overrides={**snapshot.overrides, CORES[number]: override})


def asked(play: Play) -> str:
    screen = play.stage.app.screen
    assert isinstance(screen, ConfirmScreen)
    return "\n".join(screen.query_one("#confirm-text", Band).texts)


async def confirm(play: Play) -> None:
    await play.press("right", "enter")


@pytest.mark.parametrize("width", range(30, 140, 3))
def test_the_footer_has_room_for_the_words_that_it_shows_of_its_keys(width: int) -> None:
    def label(key: Key) -> str:
        return "uncordon" if key.id == "cordon" else key.label

    keys = footer_keys(width, {}, hide_changes=False, view="machines", label=label)
    assert len(line_text(footer_line(keys, {}, lambda _: True, label)).rstrip()) <= width


async def test_the_footer_names_machine_keys_in_the_machines_view_only() -> None:
    async with playing() as play:
        assert "drain" not in play.text("footer")
        await play.press("2")
        assert "C cordon  D drain" in play.text("footer")
        assert "start" not in play.text("footer")


async def test_a_drain_of_several_machines_says_nothing_twice() -> None:
    async with playing() as play:
        await play.press("2", "*", "D")
        told = [line for line in asked(play).splitlines() if line.startswith("·")]
        assert len(told) == len({*told})
        assert sum("global unit" in line for line in told) == 1


async def test_a_drain_says_first_which_units_move_where_and_which_cannot() -> None:
    async with playing() as play:
        await play.press("2", "D")
        told = asked(play)
        assert "2 units leave core-1 one by one" in told
        assert "cache.service to core-" in told
        assert "web@1.service stays and blocks the drain" in told
        assert "1 global unit stays there: exporter.service" in told
        assert "fleetctl drain core-1" in told
        await play.press("enter")
        assert play.stage.port.calls == [], "Enter means Cancel"


async def test_a_drain_tells_its_progress_until_it_is_blocked_and_can_be_taken_back() -> None:
    async with playing() as play:
        await play.press("2", "D")
        await confirm(play)
        assert play.stage.port.calls == [("drain", (CORES[1],))]
        assert "fleetctl drain core-1   under way" in play.text("operations")
        await play.show(closed(scene(), 1, Availability.DRAINING))
        assert "2 of 2 to move · under way" in play.text("operations")
        left = {pair: each for pair, each in scene().schedule.items()
                if pair[0] != CORES[1] or pair[1] in ("web@1.service", "exporter.service")}  # fmt: skip
        states = {pair: each for pair, each in scene().states.items() if pair in left}
        await play.show(closed(replace(scene(), schedule=left, states=states), 1, Availability.DRAINING))
        assert "◌ fleetctl drain core-1   web@1.service stays and blocks the drain" in play.text("operations")
        await play.press("u")
        assert play.stage.port.calls[-1] == ("restore machines", (CORES[1],))
        assert "undo: fleetctl uncordon core-1" in play.text("operations")


async def test_cordon_is_done_when_the_watch_says_so_and_the_key_then_opens() -> None:
    async with playing() as play:
        await play.press("2", "C")
        assert "Nothing new is placed there; 3 units stay" in asked(play)
        await confirm(play)
        assert "under way" in play.text("operations")
        await play.show(closed(scene(), 1, Availability.CORDONED))
        assert "✓ fleetctl cordon core-1" in play.text("operations")
        assert "u: fleetctl uncordon core-1" in play.text("operations")
        assert "◌ cordoned" in play.table()
        assert "C uncordon" in play.text("footer")
        await play.press("C")
        assert "Uncordon core-1?" in asked(play)


async def test_somebody_elses_change_ends_the_act_with_the_reason() -> None:
    async with playing() as play:
        await play.press("2", "C")
        await confirm(play)
        await play.show(closed(scene(), 1, Availability.DRAINING))
        assert "it was changed since by root@laptop" in play.text("operations")


async def test_a_lost_machine_is_forgotten_by_the_same_key_and_shown_again_when_back() -> None:
    async with playing() as play:
        await play.press("2")
        await play.show(without(scene(), 1))
        assert "✖ lost" in play.table()
        assert "2/3 machines" in play.text("header")
        await play.press("D")
        assert "forgotten: 1 machine" in play.text("hint")
        assert "✖ lost" not in play.table()
        await play.show(scene())
        assert "core-1" in play.table()


@pytest.mark.parametrize(("key", "told"), [("D", "cannot drain"), ("C", "cannot cordon")])
async def test_nothing_is_done_to_machines_without_a_link(key: str, told: str) -> None:
    async with playing() as play:
        await play.press("2")
        await play.show(scene(), ConnectionState.LOST, "timed out")
        await play.press(key)
        assert f"{told}: no connection to the registry" in play.text("hint")


async def test_unit_keys_are_off_in_the_machines_view_and_destroy_most_of_all() -> None:
    async with playing() as play:
        await play.press("2", "X")
        assert "no unit is selected" in play.text("hint")
        await play.press("D")
        assert "Drain core-1?" in asked(play)


async def test_several_machines_fail_one_by_one_and_the_page_of_actions_tells_all() -> None:
    async with playing() as play:
        play.stage.port.complaints = ("core-1: no", "core-2: neither")
        await play.press("2", "asterisk", "C")
        await confirm(play)
        cordoned = {each: Override(each, Availability.CORDONED) for each in CORES.values()}
        await play.show(replace(scene(), revision=101, overrides=cordoned))
        assert "core-1: no (and 1 more)" in play.text("operations")
        assert "a lists all 2" in play.text("operations")
        await play.press("escape", "a")
        page = play.stage.app.screen
        assert isinstance(page, PageScreen)


async def test_the_lease_of_the_selected_machine_is_told() -> None:
    async with playing() as play:
        play.stage.feed.lease_s = 7.0
        await play.press("2")
        await play.until("last sign of life", "hint")
        assert "lease 7 of 10 s left" in play.text("hint")


async def test_metadata_can_be_set_at_run_time() -> None:
    async with playing() as play:
        play.main.machines.set_metadata([CORES[1]], {"region": "mars"})
        await play.settle()
        assert "fleetctl set-metadata core-1 region=mars" in play.text("operations")
        await play.show(replace(scene(), revision=101))
        assert "✓ fleetctl set-metadata core-1 region=mars" in play.text("operations")


async def test_a_protected_cluster_wants_the_name_typed_before_it_destroys() -> None:
    identity = FleetIdentity("demo", "root", "10.91.0.1:2379", protected=True)
    async with playing(identity=identity) as play:
        await play.press("j", "D")
        assert "This cluster is protected: type cache.service or demo to go on." in asked(play)
        assert play.stage.app.screen.query_one("#go", Button).disabled
        await play.press("enter", *"dem")
        assert play.stage.app.screen.query_one("#go", Button).disabled
        await play.press("o", "enter")
        assert not play.stage.app.screen.query_one(Input).has_focus
        await play.press("enter")
        assert play.stage.port.calls == [("destroy", ("cache.service",))]
