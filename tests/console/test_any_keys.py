"""Whatever is pressed, in any order: nothing raises, no row of the screen is left empty, and Esc leads back."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from fleettui.console.screens.main import MainScreen
from fleettui.console.text.keys import KEYS
from tests.console.fleetshow import build, scene
from tests.console.test_screen import Play, playing

SEEDS = range(int(os.environ.get("FLEET_KEYS_FIRST", "1")), 1 + int(os.environ.get("FLEET_KEYS_LAST", "5")))
LENGTH = 30
LEAVES = {"quit", "suspend", "shell", "edit", "journal_pager"}  # what ends the console or lends its terminal
TYPED = (
    "w",
    "b",
    "colon",
    "at",
    "1",
    "asterisk",
    "backspace",
    "left_parenthesis",
    "exclamation_mark",
    "space",
)
SIZES = ((80, 24), (140, 40), (100, 30))
STEPS_BACK = 16  # more than can lie on one another


def every_key() -> list[str]:
    """All keys of the console but those that leave it."""
    keys = [part for key in KEYS if key.id not in LEAVES for part in key.keys.split(",")]
    return [*keys, *TYPED, *["escape", "enter", "tab", "down", "up"] * 4]


def drawn(main: MainScreen) -> int:
    """The rows of the screen that its parts take."""
    return sum(child.outer_size.height for child in main.children if child.display)


def complaint(play: Play) -> str:
    """What is wrong with what is shown now; "" when nothing is."""
    app = play.stage.app
    screen, height = app.screen, app.size.height
    if isinstance(screen, MainScreen) and drawn(screen) != height:
        return f"{drawn(screen)} of {height} rows are drawn"
    if app.focused is None:
        return f"nothing has the focus on {type(screen).__name__}" if screen.focus_chain else ""
    return "" if app.focused.size.height else f"{app.focused!r} has the focus and no row"


@pytest.mark.parametrize("seed", SEEDS)
async def test_any_keys_leave_a_whole_screen_and_escape_leads_back(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # what is saved by chance
    dice = random.Random(seed)
    keys, pressed = every_key(), list[str]()
    async with playing(size=dice.choice(SIZES)) as play:
        for _ in range(LENGTH):
            key = dice.choice(keys)
            pressed.append(key)
            await play.press(key)
            if dice.random() < 0.05:
                size = dice.choice(SIZES)
                pressed.append(f"{size[0]}x{size[1]}")
                await play.pilot.resize_terminal(*size)
                await play.settle()
            if dice.random() < 0.05:
                pressed.append("news")
                await play.show(dice.choice((scene(), build({}, [], []))))
            assert not (found := complaint(play)), f"{found} after {' '.join(pressed)}"
        await play.show(scene())
        await play.pilot.resize_terminal(100, 30)
        await play.settle()
        await play.press(*["escape"] * STEPS_BACK)
        told = " ".join(pressed)
        assert play.stage.app.screen is play.main, told
        assert not play.main.views.in_detail, told
        assert play.main.views.open.table.has_focus, told
        assert not complaint(play), f"{complaint(play)} at last, after {told}"
