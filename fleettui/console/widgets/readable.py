"""Text that is drawn line by line, kept as drawn, and selected with the mouse: what all readers of text share."""

from __future__ import annotations

from collections.abc import Hashable
from typing import ClassVar

from textual.cache import LRUCache
from textual.selection import Selection
from textual.strip import Strip

from fleettui.console.widgets.painting import painted
from fleettui.console.widgets.toned import Toned

KEPT = 512  # strips: several screens


class Readable(Toned):
    """Owns the strips that were drawn, by whatever key the widget draws them, and lays the selection over them."""

    ALLOW_SELECT: ClassVar[bool] = True

    def __init__(self, *, id: str) -> None:  # noqa: A002 - Textual's name for it
        super().__init__(id=id)
        self._drawn: LRUCache[Hashable, Strip] = LRUCache(KEPT)

    def notify_style_update(self) -> None:
        """Textual's word that the theme changed."""
        super().notify_style_update()
        self._drawn.clear()

    def selection_updated(self, selection: Selection | None) -> None:  # noqa: ARG002 - Textual's signature
        """Textual's word that other text is selected."""
        self._forget()

    def _forget(self) -> None:
        self._drawn.clear()
        self.refresh()

    def _selected(self, strip: Strip, row: int) -> Strip:
        """The strip with what is selected of this row standing out."""
        selection = self.text_selection
        span = selection.get_span(row) if selection is not None else None
        if span is None:
            return strip
        return painted(strip, [span], self.screen.get_component_rich_style("screen--selection"))
