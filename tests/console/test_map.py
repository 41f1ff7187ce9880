"""The map: where squares are, what they tell, and what keys do on it."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleettui.console.screens.detail import DetailView
from fleettui.console.tables.map import Block, blocks, machine_labels, nearest, order, plan
from fleettui.console.tables.units import UnitRows
from fleettui.console.text.cells import Cell
from fleettui.console.widgets.drawing import Band
from fleettui.console.widgets.map import Map
from registry.model import Availability, Override, Target
from registry.sync.follow import ConnectionState
from tests.console.fleetshow import CORES, PLAIN, build, scene, state
from tests.console.test_screen import Play, playing

fleets = st.lists(st.integers(0, 60), min_size=1, max_size=30).map(
    lambda sizes: [
        Block(Cell(f"core-{n}"), tuple(f"u{n}-{number}" for number in range(size))) for n, size in enumerate(sizes)
    ]
)


@given(fleets, st.integers(20, 200), st.integers(3, 60))
def test_every_unit_has_one_square_on_the_screen_and_none_lies_over_another(
    fleet: list[Block], width: int, height: int
) -> None:
    found = plan(fleet, width, height)
    assert Counter(found.places.keys()) == Counter(key for block in fleet for key in block.keys)
    taken = Counter((line, x + n) for line, x in found.places.values() for n in range(found.pitch))
    assert all(count == 1 for count in taken.values())
    assert all(x + min(found.pitch, 2) <= max(width, found.lead + found.pitch) for _, x in found.places.values())


@given(fleets, st.integers(60, 200))
def test_squares_are_small_only_where_larger_ones_do_not_fit(fleet: list[Block], width: int) -> None:
    assert plan(fleet, width, 10_000).pitch == 3
    tight = plan(fleet, width, 1)
    assert tight.pitch == 1 or len(tight.lines) == 1


def test_every_machine_is_there_and_what_waits_comes_first() -> None:
    rows = UnitRows()
    rows.update(scene())
    snapshot = replace(scene(), overrides={CORES[3]: Override(CORES[3], Availability.CORDONED)})
    in_order = sorted(rows.every(), key=order)
    found = blocks(in_order, machine_labels(snapshot, {}))
    assert [block.label.text for block in found] == ["pending", "core-1", "core-2", "◌ core-3", "on no machine"]
    assert found[0].keys == ("mars.service",)
    empty = blocks([], machine_labels(snapshot, {}))
    assert [block.label.text for block in empty] == ["core-1", "core-2", "◌ core-3"]


def test_a_machine_that_is_gone_is_marked_and_numbers_are_in_order() -> None:
    rows = UnitRows()
    units = {f"web@{n}.service": (PLAIN, Target.LAUNCHED) for n in (1, 2, 10)}
    snapshot = build(units, [(name, 1) for name in units], [])
    rows.update(replace(snapshot, machines={}))
    found = blocks(sorted(rows.every(), key=order), {})
    assert found[0].label.text.startswith("✖ ")
    assert found[0].keys == ("web@1.service", "web@2.service", "web@10.service")


def test_up_and_down_keep_to_the_column() -> None:
    fleet = [Block(Cell("a"), tuple("abcdef")), Block(Cell("b"), tuple("gh")), Block(Cell("c"), tuple("ijklmn"))]
    found = plan(fleet, 80, 20)
    everything = dict.fromkeys(found.places)
    assert nearest(found, 1, found.places["e"][1], everything) == "h"
    assert nearest(found, 2, found.places["e"][1], everything) == "m"
    assert nearest(found, 1, 0, {}) is None


def table_of(play: Play) -> Map:
    table = play.main.views.open.table
    assert isinstance(table, Map)
    return table


@pytest.mark.parametrize("size", [(80, 24), (140, 40)])
async def test_the_map_shows_every_unit_by_machine_with_a_legend(size: tuple[int, int]) -> None:
    async with playing(size=size) as play:
        await play.press("5")
        shown = play.table()
        legend, pending, core1, core2, core3, nowhere = shown.splitlines()[:6]
        for text in ("✖ 1 failed", "◌ 1 pending", "◐ 1 under way", "● 8 active", "○ 2 inactive"):
            assert text in legend
        assert "pending" in pending
        assert "◌" in pending
        assert core1.split()[:2] == ["core-1", "4"]
        assert "✖" in core2
        assert "◐" in core3
        assert nowhere.split() == ["on", "no", "machine", "1", "○"]


async def test_the_cursor_goes_square_by_square_and_the_line_below_says_what_it_is() -> None:
    async with playing() as play:
        await play.press("5", "down")
        assert play.cursor == "cache.service"
        await play.press("right", "right")
        assert "report.timer" in play.text("hint")
        assert "● active" in play.text("hint")
        assert "on core-1" in play.text("hint")
        await play.press("left", "down")
        assert play.cursor == "mail.service"
        await play.press("down", "down", "down", "down")
        assert play.cursor == "backup.service"
        assert "on no machine" in play.text("hint")
        await play.press("g")
        assert play.cursor == "mars.service"
        assert "no machine has region=mars" in play.text("hint")
        await play.press("G")
        assert play.cursor == "backup.service"


async def test_enter_opens_the_square_and_escape_comes_back() -> None:
    async with playing() as play:
        await play.press("5", "down", "enter")
        detail = play.main.views.open
        assert isinstance(detail, DetailView)
        assert detail.subject.name == "cache.service"
        await play.press("escape")
        assert play.main.views.open.name_ == "map"


async def test_unit_keys_and_marks_work_on_squares() -> None:
    async with playing() as play:
        await play.press("5", "down", "space", "down", "space")
        marked = play.main.views.open.table.listing.marks
        assert marked == {"cache.service", "mail.service"}
        assert "2 marked" in play.text("tabs")
        assert "✓" in play.table()
        await play.press("X")
        assert play.stage.port.calls == [("stop", ("cache.service",))]


async def test_a_filter_dims_the_others_and_the_cursor_skips_them() -> None:
    async with playing() as play:
        await play.press("5")
        squares = len(table_of(play).listing.everything)
        await play.press("slash", *"web", "enter")
        table = table_of(play)
        assert table.listing.order == ["web@1.service", "web@2.service", "web@3.service"]
        assert len(table.listing.everything) == squares
        assert "● 2 active" in play.table()
        await play.press("g", "right")
        assert play.cursor == "web@2.service"
        await play.press("down")
        assert play.cursor == "web@3.service"
        await play.press("escape")
        assert len(table.listing.order) == squares


async def test_a_unit_that_fails_keeps_its_square_and_the_cursor_stays() -> None:
    async with playing() as play:
        await play.press("5", "down")
        table = table_of(play)
        before = table.painter.plan.places["cache.service"]
        failed = state("cache.service", 1, PLAIN, active="failed", sub="failed", result="exit-code", exit_code=1)
        await play.show(replace(scene(), states={**scene().states, (CORES[1], "cache.service"): failed}))
        assert table.painter.plan.places["cache.service"] == before
        assert play.cursor == "cache.service"
        assert "✖ 2 failed" in play.table()
        assert "✖ failed" in play.text("hint")


async def test_what_happened_while_another_view_was_open_is_on_the_map_when_it_opens() -> None:
    async with playing() as play:
        await play.press("5", "1")
        more = build(
            {"new.service": (PLAIN, Target.LAUNCHED)}, [("new.service", 1)], [state("new.service", 1, PLAIN)]
        )
        await play.show(replace(
            scene(), units={**scene().units, **more.units}, schedule={**scene().schedule, **more.schedule},
            states={**scene().states, **more.states},
        ))  # fmt: skip
        await play.press("5")
        assert "● 9 active" in play.table()


async def test_a_click_moves_two_open_and_the_wheel_scrolls() -> None:
    async with playing() as play:
        await play.press("5")
        table = table_of(play)
        line, x = table.painter.plan.places["report.timer"]
        await play.pilot.click(table, offset=(x + 1, line + 1))
        await play.settle()
        assert play.cursor == "report.timer"
        await play.pilot.click(table, offset=(x + 1, line + 1), times=2)
        await play.settle()
        assert isinstance(play.main.views.open, DetailView)


async def test_stale_squares_lose_their_colour_not_their_sign() -> None:
    async with playing() as play:
        await play.press("5")
        await play.show(scene(), ConnectionState.LOST, "timed out")
        table = table_of(play)
        assert "✖" in play.table()
        failed = table.painter._style("sync.service", table.listing.rows["sync.service"], marked=False)
        assert failed is table.style_of("square-inactive")


async def test_a_large_fleet_packs_machines_side_by_side_and_scrolls() -> None:
    units = {f"app@{n}.service": (PLAIN, Target.LAUNCHED) for n in range(1500)}
    snapshot = build(units, [(name, n % 3 + 1) for n, name in enumerate(units)], [])
    async with playing(snapshot, size=(80, 24)) as play:
        await play.press("5", "J")
        table = table_of(play)
        assert table.painter.plan.pitch == 1
        await play.press("G")
        line = table.painter.plan.places[play.cursor or ""][0]
        top = int(table.scroll_offset.y)
        assert top <= line < top + table.size.height
        await play.press("pageup", "pagedown")
        assert play.cursor is not None


async def test_an_empty_fleet_says_so_on_the_map() -> None:
    async with playing(build({}, [], [])) as play:
        await play.press("5", "right", "down", "enter")
        assert "no units yet" in play.table()


async def test_the_open_view_can_be_seen_beside_a_filter_on_a_small_screen() -> None:
    async with playing(size=(80, 24)) as play:
        await play.press("5", "slash", *"web", "enter")
        band = play.main.query_one("#tabs", Band)
        shown = band.render_line(0).text
        assert " 5 Map " in shown
        assert "filter: web" in shown
