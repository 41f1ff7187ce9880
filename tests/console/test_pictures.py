"""The screens as pictures: what changes in them is looked at before it is accepted (--snapshot-update)."""

from __future__ import annotations

from typing import Any

import pytest
from textual.pilot import Pilot

from tests.console.fleetshow import Stage, scene

SIZES = [(80, 24), (140, 40)]
SCREENS = {
    "units": "end up",
    "machines": "2",
    "pending": "3",
    "events": "4",
    "why": "3 enter",
    "destroy": "end D",
    "marked": "j space space",
    "help": "question_mark",
}


@pytest.mark.parametrize("size", SIZES, ids=["80x24", "140x40"])
@pytest.mark.parametrize("name", SCREENS)
def test_picture(snap_compare: Any, name: str, size: tuple[int, int]) -> None:
    stage = Stage(scene())

    async def play(pilot: Pilot[None]) -> None:
        await pilot.pause(0.2)
        await pilot.press(*SCREENS[name].split())
        await pilot.pause(0.5)

    assert snap_compare(stage.app, terminal_size=size, run_before=play)


def test_picture_light(snap_compare: Any) -> None:
    stage = Stage(scene(), theme="light")

    async def play(pilot: Pilot[None]) -> None:
        await pilot.pause(0.7)

    assert snap_compare(stage.app, terminal_size=(140, 40), run_before=play)
