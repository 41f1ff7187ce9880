"""A terminal without UTF-8, and a terminal of 30 columns and 8 rows: what matters is there, and nothing breaks."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from fleettui.console.terminal.driver import ALIKE, has_utf8, plain
from tests.console.fleetshow import NOW
from tests.console.pastshow import past, recorded
from tests.console.scenes import lively
from tests.console.test_screen import Play, playing

SIZES = [(30, 8), (40, 10)]


@given(st.text())
def test_what_is_drawn_in_ascii_is_ascii_and_as_wide(text: str) -> None:
    assert plain(text).isascii()
    assert cell_len(plain(text)) == cell_len(text)


def test_states_differ_in_ascii() -> None:
    assert len({*plain("●○◌◐✖")}) == 5
    assert plain("café … größer") == "cafe ~ groBer".replace("B", "?")
    assert all(chr(code).isascii() for code in ALIKE.values())


@pytest.mark.parametrize(
    ("environ", "wanted"),
    [({}, True), ({"LANG": "C"}, False), ({"LC_ALL": "POSIX", "LANG": "de_DE.UTF-8"}, False),
     ({"LC_CTYPE": "en_US.utf8", "LANG": "C"}, True), ({"LC_ALL": "", "LANG": "C.UTF-8"}, True),
     ({"LANG": "de_DE.ISO-8859-1"}, False)],
)  # fmt: skip
def test_the_locale_says_whether_there_is_utf8(environ: dict[str, str], wanted: bool) -> None:
    assert has_utf8(environ) is wanted


def screen(play: Play) -> list[str]:
    return [strip.text for strip in play.stage.app.screen._compositor.render_strips()]


@pytest.mark.parametrize("size", SIZES)
async def test_every_view_fits_a_small_terminal(size: tuple[int, int]) -> None:
    async with playing(lively(), size=size) as play:
        for keys in ("1", "2", "3", "4", "5", "6", "1 d", "w", "f", "escape", "l", "l", "question_mark", "escape",
                     "ctrl+p", "escape", "o", "escape", "slash d b enter", "escape", "R"):  # fmt: skip
            await play.press(*keys.split())
            shown = screen(play)
            assert len(shown) == size[1], keys
            assert {cell_len(line) for line in shown} == {size[0]}, keys
        assert "ancel" in "".join(screen(play)) or "db.service" in "".join(screen(play)), "the question can be read"


@pytest.mark.parametrize("size", SIZES)
async def test_what_matters_is_in_sight(size: tuple[int, int], tmp_path: Path) -> None:
    async with playing(lively(), size=size) as play:
        assert "✖ 1" in play.text("header"), "what failed"
        play.main.views.open.table.select("sync.service")
        await play.settle()
        assert "✖ failed" in play.table(), "the state beside the name"
        assert "sync…rvice" in play.table() or "sync.service" in play.table()
        assert "/usr/bin/syncd" in play.text("hint")
        await play.press("w")
        assert " Placement " in "".join(screen(play)), "which tab is open"
    recorded(tmp_path, lively())
    async with playing(**past(tmp_path, NOW)) as play:
        await play.pilot.resize_terminal(*size)
        await play.settle()
        assert "◀ 2026-09-21" in play.text("header"), "that it is not now"


@pytest.mark.skipif(not Path("/usr/bin/tmux").exists(), reason="tmux is not installed")
@pytest.mark.parametrize("keys", ["J tab", "J tab z", "l", "d", "2"])
async def test_the_line_that_is_typed_is_in_sight_and_the_rows_that_it_is_about(keys: str) -> None:
    async with playing(lively(), size=(30, 8)) as play:
        await play.press("down", "down", *keys.split())
        before = screen(play)
        await play.press("colon", "s", "t", "a")
        shown = screen(play)
        assert shown[-2].startswith(" : start")
        assert shown[-3].split() == ["start", "status"]
        assert {len(line) for line in shown} == {30}, "nothing scrolls"
        if keys == "J tab":
            assert "▌   db.service" in "\n".join(shown)
        await play.press("escape")
        if keys != "2":
            await play.press("tab")
        assert {*screen(play)[:-2]} >= {line for line in before[3:5] if "db" in line}


def test_a_terminal_without_utf8_shows_the_fleet(tmp_path: Path) -> None:
    def tmux(*words: str) -> str:
        environ = {"PATH": os.environ["PATH"], "LC_ALL": "C", "TERM": "xterm", "HOME": str(tmp_path)}
        command = ["tmux", "-S", str(tmp_path / "socket"), *words]
        return subprocess.run(command, env=environ, check=True, capture_output=True).stdout.decode("ascii")

    tmux("new-session", "-d", "-x", "30", "-y", "8", f"{sys.executable} -m tests.console.closing rest")
    try:
        until = time.monotonic() + 60
        while "x 1" not in (shown := tmux("capture-pane", "-p")) and time.monotonic() < until:
            time.sleep(0.2)
        assert "* 8" in shown or "x 1" in shown, shown
        assert "_" not in shown.replace("node_exporter", ""), "tmux writes one for what is no ASCII"
        assert "UNIT ^" in shown
    finally:
        tmux("kill-server")


async def test_a_screen_that_becomes_low_gives_the_table_the_room_of_the_journal_and_takes_it_back() -> None:
    async with playing(size=(80, 24)) as play:
        shown = [play.main.dock.pane.display]
        for size in ((30, 8), (80, 24)):
            await play.pilot.resize_terminal(*size)
            await play.settle()
            shown.append(play.main.dock.pane.display)
        assert shown == [True, False, True]
        await play.press("d")
        await play.pilot.resize_terminal(30, 8)
        await play.press("escape")
        await play.settle()
        assert not play.main.dock.pane.display, "it was made low beside a page"
        await play.pilot.resize_terminal(80, 24)
        await play.settle()
        await play.press("J")
        await play.pilot.resize_terminal(80, 8)
        await play.pilot.resize_terminal(80, 24)
        await play.settle()
        assert not play.main.dock.pane.display, "it was hidden by the user"
