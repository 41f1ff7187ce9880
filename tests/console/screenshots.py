"""Draws the console's pictures in screenshots/ as SVG and PNG: `python -m tests.console.screenshots [NAME…]`."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path
from typing import NamedTuple

from registry.follow import Link
from tests.console.fleetshow import Stage, scene
from tests.console.picture import png, readable

TARGET = Path(__file__).parents[2] / "screenshots"


class Shot(NamedTuple):
    """One picture: its size, the keys pressed before it, and the theme."""

    size: tuple[int, int]
    keys: str = ""
    theme: str = "dark"
    lost: bool = False


SMALL, WIDE = (80, 24), (140, 40)
SHOTS = {
    "units": Shot(WIDE, "end up"),
    "units-small": Shot(SMALL, "end up"),
    "units-light": Shot(WIDE, "end up", "light"),
    "machines": Shot(WIDE, "2"),
    "pending-why": Shot(WIDE, "3 enter"),
    "events": Shot(WIDE, "4"),
    "destroy": Shot(SMALL, "end D"),
    "marked": Shot(WIDE, "end space up up space up space"),
    "filter": Shot(SMALL, "slash w e b"),
    "submit": Shot(WIDE, "n"),
    "help": Shot(SMALL, "question_mark"),
    "lost": Shot(SMALL, "", "light", lost=True),
}


async def drawn(shot: Shot) -> str:
    """The screen as SVG."""
    stage = Stage(scene(), theme=shot.theme)
    async with stage.app.run_test(size=shot.size) as pilot:
        await pilot.pause(0.3)
        for key in shot.keys.split():
            await pilot.press(key)
        if shot.lost:
            stage.feed.put(scene(), Link.LOST, "http://10.91.0.1:2379: timed out")
            await pilot.pause(0.1)
            stage.now += 12
            stage.main.refresh_all()
        await pilot.pause(0.5)
        return readable(stage.app.export_screenshot(title="fleettui"))


def main(names: list[str]) -> int:
    """Draw the named pictures, or all."""
    os.environ |= {"TEXTUAL_ANIMATIONS": "none", "TZ": "UTC"}
    time.tzset()
    TARGET.mkdir(exist_ok=True)
    for name in names or SHOTS:
        svg = asyncio.run(drawn(SHOTS[name]))
        (TARGET / f"{name}.svg").write_text(svg, encoding="utf-8")
        (TARGET / f"{name}.png").write_bytes(png(svg))
        print(f"screenshots/{name}.svg and .png")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
