"""Draws screenshots/demo.gif: the console on three real machines, as a hand plays it in a real terminal.

    sudo .venv/bin/python -m tests.cluster.animation

Boots a cluster of its own with the demo's examples, plays the story below through tmux, and takes it away again.
"""

from __future__ import annotations

import io
import sys
import time
from pathlib import Path

from PIL import Image
from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

from fleettui.demo import images, showcase
from fleettui.demo.cluster import Cluster
from tests.cluster.terminal import CONFIRMED, Terminal
from tests.console.picture import image, readable, reduced

TARGET = Path(__file__).parents[2] / "screenshots" / "demo.gif"
COLUMNS, LINES = 120, 32
LOOK_S = 0.3
WIDTH = 1100  # pixels
GROUND = (17, 20, 26)
THEME = TerminalTheme(GROUND, (215, 218, 224), [(0, 0, 0)] * 8)


class Film:
    """What a terminal shows, with how long it shows it."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self.frames: list[tuple[str, float]] = []

    def roll(self, seconds: float) -> None:
        """Look on for a while."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            began = time.monotonic()
            shown = self._terminal.picture
            time.sleep(LOOK_S)
            took = time.monotonic() - began
            if self.frames and self.frames[-1][0] == shown:
                self.frames[-1] = (shown, self.frames[-1][1] + took)
            else:
                self.frames.append((shown, took))

    def press(self, *keys: str, look_s: float = 1.5) -> None:
        """Press keys, then look on."""
        self._terminal.keys(*keys)
        self.roll(look_s)

    def save(self, path: Path) -> None:
        """Write it as a GIF that begins again at its end."""
        drawn = [_image(text) for text, _ in self.frames]
        frames = reduced(drawn)
        durations = [min(3000, max(300, int(1000 * seconds))) for _, seconds in self.frames]
        frames[0].save(path, save_all=True, append_images=frames[1:], duration=durations, loop=0, optimize=True)


def _image(text: str) -> Image.Image:
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    console.print(Text.from_ansi(text), end="")
    picture = image(readable(console.export_svg(title="fleettui", theme=THEME)))
    return picture.resize((WIDTH, picture.height * WIDTH // picture.width), Image.Resampling.LANCZOS)


def play(cluster: Cluster, film: Film) -> None:
    """The story: what is wrong, why, a drain, a machine that dies."""
    film.roll(3)
    film.press("!", look_s=2)
    film.press("w", look_s=3)
    film.press("Escape", look_s=0.6)
    film.press("!", look_s=1)
    film.press("2", look_s=2)
    film.press("D", look_s=3)
    film.press(*CONFIRMED, look_s=3)
    film.press("1", look_s=2)
    film.press("5", look_s=2)
    cluster.node("core-3").crash()
    film.roll(7)
    film.press("2", look_s=3)


def main() -> int:
    """Boot, play, draw, take away."""
    cluster = Cluster("film", 3, ttl="4s")
    try:
        cluster.up()
        for node in cluster.nodes.values():
            images.load_image(node)
        showcase.start(cluster.fleetctl, containers=True)
        terminal = Terminal.console(cluster, columns=COLUMNS, lines=LINES)
        try:
            terminal.shows("3/3 machines", "✖ 1 failed")
            film = Film(terminal)
            play(cluster, film)
        finally:
            terminal.close()
    finally:
        cluster.down()
    film.save(TARGET)
    print(f"{TARGET}: {len(film.frames)} frames, {TARGET.stat().st_size >> 10} KiB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
