"""A console's screen as a picture: SVG as Textual draws it, PNG with a font that has every glyph of ours."""

from __future__ import annotations

import re
from pathlib import Path

import resvg_py

FONTS = Path("/usr/share/fonts/truetype/dejavu")


def readable(svg: str) -> str:
    """The SVG with a font that is on every system, instead of one from the network."""
    return re.sub(r"@font-face\s*\{[^}]*\}", "", svg).replace("Fira Code", "DejaVu Sans Mono")


def png(svg: str) -> bytes:
    """The SVG drawn."""
    fonts = [str(FONTS / name) for name in ("DejaVuSansMono.ttf", "DejaVuSansMono-Bold.ttf")]
    return bytes(resvg_py.svg_to_bytes(svg_string=svg, font_files=fonts))
