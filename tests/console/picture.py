"""A console's screen as a picture: SVG as Textual draws it, PNG with a font that has every glyph of ours."""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import resvg_py
from PIL import Image

FONTS = Path("/usr/share/fonts/truetype/dejavu")
GROUND = (41, 41, 41)  # behind the round corners: the window's own colour
STEP = 20  # colours whose parts fall into the same of such steps are nearly alike


def readable(svg: str) -> str:
    """The SVG with a font that is on every system, instead of one from the network, and no larger than need be."""
    svg = re.sub(r"@font-face\s*\{[^}]*\}", "", svg).replace("Fira Code", "DejaVu Sans Mono")
    svg = re.sub(r'<clipPath id="terminal-\d+-line-\d+">.*?</clipPath>', "", svg, flags=re.DOTALL)
    svg = re.sub(r' clip-path="url\(#terminal-\d+-line-\d+\)"', "", svg)  # no line is longer than the screen
    return re.sub(r"terminal-\d+-", "t-", svg)


def image(svg: str) -> Image.Image:
    """The SVG drawn."""
    fonts = [str(FONTS / name) for name in ("DejaVuSansMono.ttf", "DejaVuSansMono-Bold.ttf")]
    drawn = Image.open(io.BytesIO(bytes(resvg_py.svg_to_bytes(svg_string=svg, font_files=fonts)))).convert("RGBA")
    ground = Image.new("RGBA", drawn.size, (*GROUND, 255))
    return Image.alpha_composite(ground, drawn).convert("RGB")


def reduced(images: Sequence[Image.Image], colours: int = 256) -> list[Image.Image]:
    """The images with one palette: of colours that are nearly alike the commonest, so that no ground is tinted."""
    counted: Counter[tuple[int, ...]] = Counter()
    for each in images:
        for count, colour in each.getcolors(1 << 24) or []:
            counted[colour] += count  # type: ignore[index] # RGB, as above
    alike: dict[tuple[int, ...], tuple[int, ...]] = {}
    for colour, _ in counted.most_common():
        alike.setdefault(tuple(part // STEP for part in colour), colour)
    chosen = [part for colour in list(alike.values())[:colours] for part in colour]
    palette = Image.new("P", (1, 1))
    palette.putpalette(chosen + chosen[:3] * (256 - len(chosen) // 3))
    return [each.quantize(palette=palette, dither=Image.Dither.NONE) for each in images]


def png(svg: str) -> bytes:
    """The SVG drawn, as a small PNG."""
    small = io.BytesIO()
    reduced([image(svg)], 64)[0].save(small, "PNG", optimize=True)
    return small.getvalue()
