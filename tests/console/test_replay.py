"""The console as it was: what a record shows, the way through it, and that nothing can be pressed by mistake."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from fleettui.console.text.cells import Tone
from fleettui.console.text.formatting import sparkline
from fleettui.console.text.keys import KEYS
from fleettui.console.text.subject import Tab, machine_subject, unit_subject
from tests.console.fleetshow import CORES, NOW, scene
from tests.console.pastshow import bereaved, past, recorded
from tests.console.scenes import lively
from tests.console.test_screen import playing


async def test_pages_show_how_load_memory_and_restarts_went(tmp_path: Path) -> None:
    world = lively()
    core = CORES[2]
    usage, state = world.usage[core], world.states[core, "web@2.service"]
    worse = [
        replace(
            world,
            usage={
                **world.usage,
                core: replace(usage, load=(number, 0.0, 0.0), available_bytes=(5 - number) << 30),
            },
            states={**world.states, (core, "web@2.service"): replace(state, restarts=number)},
        )
        for number in (1, 2, 4)
    ]
    recorded(tmp_path, world, *worse)
    async with playing(**past(tmp_path, NOW + 240), trends=tmp_path) as play:
        for subject, tab, wanted in (
            (unit_subject("web@2.service"), Tab.STATUS, "restarts ▁▁▁▁▁▁▁▁▁▃▃"),
            (machine_subject(core), Tab.FACTS, "load ▂▂▂▂▂▂▂▂▂▃▃"),
        ):
            play.main.navigator.show(subject, tab)
            for _ in range(200):
                if wanted in (text := play.main.views.detail.page.text):
                    break
                await play.pilot.pause(0.02)
            assert wanted in text, text
        assert "7.0 G, at most 7.0 G" in text, "memory"


def test_a_sparkline_is_as_wide_as_it_has_to_be_whatever_it_shows() -> None:
    assert sparkline([], 0, 10, 4) == "    "
    assert sparkline([(5, 0.0)], 0, 10, 4) == " ▁▁▁"
    assert sparkline([(0, 1.0), (5, 7.0), (6, 0.0)], 0, 10, 4) == "▂███"[:3] + "▁"


@pytest.fixture
def record(tmp_path: Path) -> Path:
    web = {name: unit for name, unit in scene().units.items() if name != "cache.service"}
    recorded(tmp_path, scene(), bereaved(), replace(bereaved(), units=web))
    return tmp_path


async def test_a_record_says_loudly_which_moment_it_is(record: Path) -> None:
    async with playing(**past(record)) as play:
        header = play.text("header")
        assert "◀ 2026-09-2" in header
        assert "live" not in header
        assert "not now: as it was 6 h ago" in play.text("banner")
        assert "3/3 machines" in header
        assert "sync.service" in play.table()


async def test_brackets_walk_from_change_to_change_and_back(record: Path) -> None:
    async with playing(**past(record)) as play:
        await play.press("right_square_bracket")
        await play.until("2/3 machines", "header")  # core-3 is lost
        await play.press("right_square_bracket")
        await play.until(":15:20", "header")
        assert "destroyed" in play.table()
        await play.press("right_square_bracket")
        await play.until("the record ends here", "hint")
        await play.press("2", "left_square_bracket", "left_square_bracket")
        await play.until("3/3 machines", "header")
        assert "lost" not in play.table(), "it is lost later"
        await play.press("right_curly_bracket")
        await play.until("2/3 machines", "header")
        assert "✖ lost" in play.table()
        await play.press("left_curly_bracket", "left_curly_bracket")
        await play.until("the record in", "hint")  # begins later


async def test_a_machine_that_was_lost_before_that_moment_has_its_name(record: Path) -> None:
    async with playing(**past(record, NOW + 90)) as play:
        await play.until("2/3 machines", "header")
        assert "core-3" in play.table()
        assert CORES[3][:8] not in play.table()
        await play.press("2")
        assert "core-3" in play.table()


async def test_a_moment_is_gone_to_by_its_name(record: Path) -> None:
    async with playing(**past(record)) as play:
        await play.press("colon", *"at 10 seconds ago", "enter")
        await play.until("nothing was recorded from", "banner")


async def test_nothing_can_be_pressed_by_mistake(record: Path) -> None:
    async with playing(**past(record)) as play:
        play.main.views.open.table.select("db.service")
        footer = play.main.footer.footer._lines[0][0]
        tones = {cell.text: cell.tone for cell in footer}
        assert {tones[key] for key in ("S", "X", "R", "l", "s")} == {Tone.OFF}, "dim"
        assert tones["w"] is Tone.HEAD
        for key in KEYS:
            if key.changes and "units" in (key.views or ("units",)):
                await play.press(key.keys.split(",")[0].replace("slash", "/"))
                assert len(play.stage.app.screen_stack) == 2, key.id
                assert "record" in play.text("hint") or "cannot" in play.text("hint"), key.id
        await play.press("s")
        assert "no shell: this is a record" in play.text("hint")


async def test_what_is_of_now_is_not_asked(record: Path) -> None:
    async with playing(**past(record)) as play:
        play.main.views.open.table.select("db.service")
        await play.press("d")
        for _ in range(100):
            if "is of now" in play.main.views.detail.page.text:
                break
            await play.pilot.pause(0.02)
        assert "this is the record of a moment" in play.main.views.detail.page.text
