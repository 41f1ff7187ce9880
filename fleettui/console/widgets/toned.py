"""Cells to strips: the one place where tones become styles and text is cut to its width.

Whoever makes cells escapes what is not ours; what was forgotten there is escaped here, before it is drawn.
"""

from __future__ import annotations

from typing import ClassVar

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip
from textual.widget import Widget

from fleettui.console.text.cells import Line, Tone
from fleettui.escape import escape

ELLIPSIS = "…"


def width_of(text: str) -> int:
    """The cells that a text takes."""
    return len(text) if text.isascii() else cell_len(text)


def fitted(text: str, width: int, *, right: bool = False, middle: bool = False) -> str:
    """The text in exactly `width` cells; cut text ends in an ellipsis, or has it in its middle."""
    if width <= 0:
        return ""
    text = escape(text)
    actual = width_of(text)
    if actual > width:
        return _cut_middle(text, width) if middle and width >= 8 else set_cell_size(text, width - 1) + ELLIPSIS
    pad = " " * (width - actual)
    return pad + text if right else text + pad


def _cut_middle(text: str, width: int) -> str:
    """As much of the end as of the beginning: what tells names apart stands at either."""
    end = (width - 1) // 2
    return set_cell_size(text, width - 1 - end) + ELLIPSIS + set_cell_size(text[::-1], end)[::-1]


class Toned(Widget):
    """A widget that draws cells. Bars (the cursor's line) lie under the tones."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        *(f"tone--{tone}" for tone in Tone), "tone--bar", "tone--bar-idle", "tone--rule", "tone--match",
    }  # fmt: skip
    DEFAULT_CSS = """
    Toned > .tone--plain { color: $foreground; }
    Toned > .tone--quiet { color: $quiet; }
    Toned > .tone--strong { color: $strong; text-style: bold; }
    Toned > .tone--good { color: $success; }
    Toned > .tone--busy { color: $warning; }
    Toned > .tone--bad { color: $error; text-style: bold; }
    Toned > .tone--wait { color: $wait; }
    Toned > .tone--head { color: $primary; text-style: bold; }
    Toned > .tone--chosen { color: $primary; background: $background; text-style: bold reverse; }
    Toned > .tone--off { color: $off; }
    Toned > .tone--one { color: $one; }
    Toned > .tone--two { color: $two; }
    Toned > .tone--three { color: $three; }
    Toned > .tone--four { color: $four; }
    Toned > .tone--five { color: $five; }
    Toned > .tone--six { color: $six; }
    Toned > .tone--seven { color: $seven; }
    Toned > .tone--eight { color: $eight; }
    Toned > .tone--bar { background: $bar; }
    Toned > .tone--bar-idle { background: $bar-idle; }
    Toned > .tone--rule { color: $rule; }
    Toned > .tone--match { background: $warning 40%; }
    """

    _tone_styles: dict[tuple[str, str], Style] | None = None  # known until Textual says that they may differ

    def style_of(self, tone: str, bar: str = "") -> Style:
        """The style of a tone, on a bar or on the widget's own background."""
        if self._tone_styles is None:
            self._tone_styles = {}
        style = self._tone_styles.get((tone, bar))
        if style is None:
            style = self.rich_style + self.get_component_rich_style(f"tone--{tone}", partial=True)
            if bar:
                style += self.get_component_rich_style(f"tone--{bar}", partial=True)
            self._tone_styles[tone, bar] = style
        return style

    def notify_style_update(self) -> None:
        """Textual's word that the styles changed."""
        super().notify_style_update()
        self._tone_styles = None

    def strip_of(self, line: Line, width: int, right: Line = (), bar: str = "") -> Strip:
        """A line in exactly `width` cells, with `right` at its end; the left part gives way."""
        tail = [Segment(escape(cell.text), self.style_of(cell.tone, bar)) for cell in right]
        room = max(0, width - sum(width_of(segment.text) for segment in tail))
        head: list[Segment] = []
        for cell in line:
            text = escape(cell.text)
            text = text if width_of(text) <= room else fitted(text, room)
            room -= width_of(text)
            head.append(Segment(text, self.style_of(cell.tone, bar)))
            if room <= 0:
                break
        gap = Segment(" " * room, self.style_of(Tone.PLAIN, bar))
        return Strip([*head, gap, *tail]).adjust_cell_length(width, self.style_of(Tone.PLAIN, bar))
