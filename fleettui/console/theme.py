"""How tones look: one dark and one light theme. The only place that knows colours.

Body text stands at a contrast of at least 7 to 1 and quiet text at 4.5 to 1 on its background; every state also has
a glyph and a word, so that nothing is lost without colour.
"""

from __future__ import annotations

from textual.theme import Theme

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
    },
)
THEMES = {"dark": DARK, "light": LIGHT}
