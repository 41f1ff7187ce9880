"""Draws the console's scenes in screenshots/ as SVG and PNG: `python -m tests.console.screenshots [NAME…]`.

What is drawn there is what the tests compare with: look at it before it is committed.
"""

from __future__ import annotations

import asyncio
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from tests.console.picture import png
from tests.console.scenes import SCENES, SIZES, THEMES, drawn, names

TARGET = Path(__file__).parents[2] / "screenshots"


def picture(name: str, theme: str, size: str) -> Path:
    """Where a scene's SVG is."""
    return TARGET / theme / size / f"{name}.svg"


def draw(name: str) -> str:
    """Draw one scene in both themes and sizes."""
    for theme in THEMES:
        for size, cells in SIZES.items():
            path = picture(name, theme, size)
            path.parent.mkdir(parents=True, exist_ok=True)
            svg = asyncio.run(drawn(SCENES[name], cells, theme))
            path.write_text(svg, encoding="utf-8")
            path.with_suffix(".png").write_bytes(png(svg))
    return name


def main(chosen: list[str]) -> int:
    """Draw the named scenes, or all, and take away pictures of scenes that are no more."""
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        for name in pool.map(draw, names(chosen)):
            print(name, flush=True)
    if not chosen:
        for path in [*TARGET.rglob("*.svg"), *TARGET.rglob("*.png")]:
            if path.stem not in SCENES and path.parent.name in SIZES:
                path.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
