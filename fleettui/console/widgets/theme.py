"""How tones look: dark, light, high contrast, and the terminal's own colours. The only place that knows colours.

Body text stands at a contrast of at least 7 to 1 and quiet text at 4.5 to 1 on its background; every state also has
a glyph and a word, so that nothing is lost without colour.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from rich.style import Style
from textual.color import Color
from textual.theme import Theme

from fleettui.console.text.cells import SOURCE_TONES, Tone

DARK = Theme(
    name="fleet-dark",
    primary="#5fafff",
    secondary="#87afd7",
    accent="#5fafff",
    foreground="#d7dae0",
    background="#11141a",
    surface="#11141a",
    panel="#1a1f28",
    success="#6fd08c",
    warning="#f0c05a",
    error="#ff6b6b",
    dark=True,
    variables={
        "quiet": "#8b94a3",
        "button-focus-text-style": "bold",
        "strong": "#ffffff",
        "wait": "#d79bf5",
        "bar": "#24405f",
        "bar-idle": "#20262f",
        "rule": "#333b47",
        "scrollbar": "#333b47",
        "scrollbar-hover": "#4a5563",
        "scrollbar-active": "#5fafff",
        "scrollbar-background": "#11141a",
        "scrollbar-background-hover": "#11141a",
        "scrollbar-background-active": "#11141a",
        "off": "#565f6d",
        "one": "#7fc8f8",
        "two": "#f2b880",
        "three": "#a5d6a7",
        "four": "#e1a6e8",
        "five": "#7fd8d0",
        "six": "#f2a6a6",
        "seven": "#d9cf7e",
        "eight": "#a9b4f5",
    },
)
LIGHT = Theme(
    name="fleet-light",
    primary="#0b5cad",
    secondary="#35618f",
    accent="#0b5cad",
    foreground="#1f2530",
    background="#fbfbf9",
    surface="#fbfbf9",
    panel="#eeeeea",
    success="#176b35",
    warning="#855400",
    error="#b3161b",
    dark=False,
    variables={
        "quiet": "#5b6472",
        "button-focus-text-style": "bold",
        "strong": "#000000",
        "wait": "#7a2ba3",
        "bar": "#cfe3f8",
        "bar-idle": "#e6e8ea",
        "rule": "#c9ccd0",
        "scrollbar": "#c9ccd0",
        "scrollbar-hover": "#a2a8b0",
        "scrollbar-active": "#0b5cad",
        "scrollbar-background": "#fbfbf9",
        "scrollbar-background-hover": "#fbfbf9",
        "scrollbar-background-active": "#fbfbf9",
        "off": "#a2a8b0",
        "one": "#0b5cad",
        "two": "#8f4a00",
        "three": "#1d6b34",
        "four": "#7b2d86",
        "five": "#0b6360",
        "six": "#99313f",
        "seven": "#675800",
        "eight": "#4541a6",
    },
)
CONTRAST = Theme(
    name="fleet-contrast",
    primary="#00d7ff",
    secondary="#ffffff",
    accent="#00d7ff",
    foreground="#ffffff",
    background="#000000",
    surface="#000000",
    panel="#000000",
    success="#00ff5f",
    warning="#ffd700",
    error="#ff5f5f",
    dark=True,
    variables={
        "quiet": "#d0d0d0",
        "button-focus-text-style": "bold reverse",
        "strong": "#ffffff",
        "wait": "#ff87ff",
        "bar": "#005f87",
        "bar-idle": "#3a3a3a",
        "rule": "#ffffff",
        "scrollbar": "#9e9e9e",
        "scrollbar-hover": "#ffffff",
        "scrollbar-active": "#00d7ff",
        "scrollbar-background": "#000000",
        "scrollbar-background-hover": "#000000",
        "scrollbar-background-active": "#000000",
        "off": "#9e9e9e",
        "one": "#00d7ff",
        "two": "#ffaf5f",
        "three": "#87ff87",
        "four": "#ffafff",
        "five": "#ffff5f",
        "six": "#5fffd7",
        "seven": "#ff8787",
        "eight": "#afafff",
    },
)
TERMINAL = Theme(  # no colour of ours at all: the sixteen that the reader chose, on the background that they chose
    name="fleet-terminal",
    ansi=True,
    primary="ansi_blue",
    secondary="ansi_cyan",
    accent="ansi_blue",
    foreground="ansi_default",
    background="ansi_default",
    surface="ansi_default",
    panel="ansi_default",
    boost="ansi_default",
    success="ansi_green",
    warning="ansi_yellow",
    error="ansi_red",
    dark=True,
    variables={
        "ansi-background": "ansi_default",  # Textual asks for these of such a theme
        "ansi-foreground": "ansi_default",
        "border-blurred": "ansi_default",
        "block-cursor-foreground": "ansi_black",
        "block-cursor-background": "ansi_white",
        "input-cursor-background": "ansi_default",
        "input-cursor-foreground": "ansi_default",
        "input-cursor-text-style": "reverse",
        "input-selection-background": "ansi_cyan",
        "input-selection-foreground": "ansi_black",
        "screen-selection-background": "ansi_cyan",
        "screen-selection-foreground": "ansi_black",
        "quiet": "ansi_default",
        "button-focus-text-style": "bold reverse",
        "strong": "ansi_default",
        "wait": "ansi_magenta",
        "bar": "ansi_default",
        "bar-idle": "ansi_default",
        "rule": "ansi_default",
        "scrollbar": "ansi_bright_black",
        "scrollbar-hover": "ansi_white",
        "scrollbar-active": "ansi_blue",
        "scrollbar-background": "ansi_default",
        "scrollbar-background-hover": "ansi_default",
        "scrollbar-background-active": "ansi_default",
        "off": "ansi_bright_black",
        "one": "ansi_cyan",
        "two": "ansi_yellow",
        "three": "ansi_green",
        "four": "ansi_magenta",
        "five": "ansi_bright_cyan",
        "six": "ansi_bright_yellow",
        "seven": "ansi_bright_green",
        "eight": "ansi_bright_magenta",
    },
)
TILES = {
    "active": ("success", 0.16),
    "busy": ("warning", 0.28),
    "pending": ("wait", 0.28),
    "inactive": ("quiet", 0.12),
}


def _tiled(theme: Theme) -> Theme:
    """The theme with the grounds of the map's squares: a share of the state's colour, all of it where it failed."""
    ground = Color.parse(theme.background or "#000000")
    for name, (tone, share) in TILES.items():
        colour = getattr(theme, tone, None) or theme.variables[tone]
        mixed = ground.blend(Color.parse(colour), share).hex
        theme.variables[f"tile-{name}"] = "ansi_default" if theme.ansi else mixed  # the sixteen cannot be mixed
    return theme


THEMES = {
    "dark": _tiled(DARK), "light": _tiled(LIGHT), "contrast": _tiled(CONTRAST), "terminal": _tiled(TERMINAL),
}  # fmt: skip


class Look(NamedTuple):
    """Colours by the names of a theme's variables, and how text is written; what is "" stays as it is below."""

    colour: str = ""
    ground: str = ""
    text: str = ""


LOOKS: Mapping[str, Look] = {
    Tone.PLAIN: Look("foreground"),
    Tone.QUIET: Look("quiet"),
    Tone.STRONG: Look("strong", text="bold"),
    Tone.GOOD: Look("success"),
    Tone.BUSY: Look("warning"),
    Tone.BAD: Look("error", text="bold"),
    Tone.WAIT: Look("wait"),
    Tone.HEAD: Look("primary", text="bold"),
    Tone.CHOSEN: Look("primary", "background", "bold reverse"),
    Tone.OFF: Look("off"),
    **{tone: Look(tone) for tone in SOURCE_TONES},
    **{f"loud-{tone}": Look(tone, "background", "bold reverse") for tone in SOURCE_TONES},
    "bar": Look(ground="bar"),
    "bar-idle": Look(ground="bar-idle"),
    "rule": Look("rule"),
    "match": Look(ground="warning"),
    "square-failed": Look("background", "error", "bold"),  # the map's
    "square-pending": Look("wait", "tile-pending"),
    "square-busy": Look("warning", "tile-busy"),
    "square-active": Look("success", "tile-active"),
    "square-inactive": Look("quiet", "tile-inactive"),
    "square-dim": Look("off"),
    "square-cursor": Look("primary", "background", "bold reverse"),
    "square-idle": Look("primary", "background", "bold underline"),
}


def tone_style(name: str, variables: Mapping[str, str]) -> Style:
    """What a tone adds to what is below it, by a theme's variables."""
    look = LOOKS[name]
    colour, ground = (Color.parse(variables[each]).rich_color if each else None for each in look[:2])
    return Style(color=colour, bgcolor=ground) + Style.parse(look.text)
