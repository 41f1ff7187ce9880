"""A console's screen as a picture: SVG as Textual draws it, PNG with a font that has every glyph of ours."""

from __future__ import annotations

import io
import re
from pathlib import Path

import resvg_py
from PIL import Image

COLOURS = 96  # a screen has few; with those between letters and ground, this many look the same
FONTS = Path("/usr/share/fonts/truetype/dejavu")


def readable(svg: str) -> str:
    """The SVG with a font that is on every system, instead of one from the network."""
    svg = re.sub(r"@font-face\s*\{[^}]*\}", "", svg).replace("Fira Code", "DejaVu Sans Mono")
    svg = re.sub(r'<clipPath id="terminal-\d+-line-\d+">.*?</clipPath>', "", svg, flags=re.DOTALL)
    svg = re.sub(r' clip-path="url\(#terminal-\d+-line-\d+\)"', "", svg)  # no line is longer than the screen
    return re.sub(r"terminal-\d+-", "t-", svg)


def png(svg: str) -> bytes:
    """The SVG drawn."""
    fonts = [str(FONTS / name) for name in ("DejaVuSansMono.ttf", "DejaVuSansMono-Bold.ttf")]
    drawn = bytes(resvg_py.svg_to_bytes(svg_string=svg, font_files=fonts))
    small = io.BytesIO()
    Image.open(io.BytesIO(drawn)).convert("RGBA").quantize(COLOURS).save(small, "PNG", optimize=True)
    return small.getvalue()
