"""What a key waits for: changes of the fleet a few at a time, and lines drawn without looking for borders."""

from __future__ import annotations

import asyncio

import pytest
from textual._styles_cache import StylesCache
from textual.events import Key
from textual.strip import Strip
from textual.timer import Timer
from textual.widget import Widget

from fleettui.console.sources.feed import SLICE, WRITTEN_S, Turns
from fleettui.console.tables.fleet import Changes, Reading
from registry.keys import Address, Table
from registry.mirror import Snapshot
from registry.model import Target
from registry.program import collector
from tests.console.fleetshow import PLAIN, build, scene, state
from tests.console.test_screen import playing

UNITS = {f"u{number:03}.service": (PLAIN, Target.LAUNCHED) for number in range(100)}


def many(active: str) -> Snapshot:
    return build(UNITS, [(name, 1) for name in UNITS], [state(name, 1, PLAIN, active=active) for name in UNITS])


async def test_a_large_reading_is_taken_in_a_few_changes_at_a_time_with_the_loop_free_in_between(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with playing(many("active")) as play:
        model, taken, turns = play.main.fleet, list[int](), list[int]()
        apply, give_way = model.apply, play.main.context.turns.give_way

        def noted(reading: Reading, now: float) -> Changes:
            taken.append(len(reading.changed or ()))
            return apply(reading, now)

        async def turn(_: Turns) -> None:
            turns.append(len(taken))
            await give_way()

        monkeypatch.setattr(model, "apply", noted)
        monkeypatch.setattr(Turns, "give_way", turn)
        failed = many("failed")
        changed = frozenset(Address(Table.STATES, machine, unit) for machine, unit in failed.states)
        play.stage.feed.put(failed, changed=changed)
        await play.until("✖ 100 failed", "header")
        assert sum(taken) == 100
        assert max(taken) <= SLICE
        assert turns == list(range(1, len(taken) + 1))  # also before it is shown


async def test_while_a_key_is_on_its_way_to_the_screen_changes_wait() -> None:
    turns = Turns()
    await asyncio.wait_for(turns.give_way(), 5)  # nobody types
    turns.typed()
    waiting = asyncio.create_task(turns.give_way())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not waiting.done()
    turns.shown()  # of something else
    await asyncio.sleep(0)
    assert not waiting.done()
    turns.done()
    turns.shown()
    await asyncio.wait_for(waiting, 5)


@pytest.mark.parametrize("key", ["down", "pagedown", "2"])
async def test_what_a_key_does_is_drawn_without_a_wait_for_the_next_frame(
    key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with playing(scene()) as play:
        drawn = asyncio.Event()
        await play.press("up")
        monkeypatch.setattr(play.main.context.turns, "shown", drawn.set)
        monkeypatch.setattr(Timer, "resume", lambda _: None)  # no frame comes by itself
        play.main.app.post_message(Key(key, key if len(key) == 1 else None))
        await asyncio.wait_for(drawn.wait(), 5)


async def test_garbage_is_looked_for_after_a_key_was_shown_and_not_while_another_is_on_its_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks: list[None] = []
    monkeypatch.setattr(collector, "collect_young", lambda: looks.append(None))
    turns = Turns()
    for expected in (1, 1):
        turns.typed()
        turns.done()
        turns.shown()
        if looks:
            turns.typed()  # the next one
        await asyncio.sleep(4 * WRITTEN_S)
        assert len(looks) == expected


async def test_changes_do_not_wait_for_ever_for_a_key_that_draws_nothing() -> None:
    turns = Turns()
    turns.typed()
    await asyncio.wait_for(turns.give_way(), 5)


def drawn(strips: list[Strip]) -> list[list[tuple[str, str]]]:
    """Text and style of each cell."""
    return [[(cell, str(each.style)) for each in strip for cell in each.text] for strip in strips]


@pytest.mark.parametrize("keys", ["", "2", "4", "5", "d", "f", "?", "D", "l"])
async def test_lines_are_those_that_textual_draws_with_a_look_for_borders_and_colours(keys: str) -> None:
    async with playing(scene()) as play:
        await play.press(*keys)
        seen: list[Widget] = [
            each for each in play.stage.app.screen.query("*") if each.size and not each.is_scrolling
        ]
        ours = {each: drawn(each.render_lines(each.region.reset_offset)) for each in seen}
        for each in seen:
            assert ours[each] == drawn(StylesCache().render_widget(each, each.region.reset_offset)), each
