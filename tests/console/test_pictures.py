"""The scenes as they were last looked at: a picture that differs is drawn beside, to be looked at and accepted.

`make screenshots` draws all of them anew; what changed in screenshots/ then shows what changed for the eye.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.console.scenes import SCENES, SIZES, drawn
from tests.console.screenshots import picture

ARTIFACTS = Path(__file__).parents[1] / "artifacts" / "pictures"
LIGHT = ("units", "detail-placement", "destroy", "journal-search", "lost")  # themes differ in colours alone


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", SCENES)
async def test_scene(name: str, size: str) -> None:
    await compare(name, "dark", size)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", LIGHT)
async def test_light_scene(name: str, size: str) -> None:
    await compare(name, "light", size)


async def compare(name: str, theme: str, size: str) -> None:
    now = await drawn(SCENES[name], SIZES[size], theme)
    path = picture(name, theme, size)
    if now != path.read_text(encoding="utf-8"):
        ARTIFACTS.mkdir(parents=True, exist_ok=True)
        beside = ARTIFACTS / f"{name}-{theme}-{size}.svg"
        beside.write_text(now, encoding="utf-8")
        pytest.fail(f"{beside} differs from {path}; look at both, then accept it: make screenshots ARGS={name}")
