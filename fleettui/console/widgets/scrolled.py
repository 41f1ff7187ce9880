"""A scroll view whose content grows without laying the whole screen out again: only its scrollbar differs."""

from __future__ import annotations

from textual.geometry import Size
from textual.reactive import Reactive
from textual.scroll_view import ScrollView


class Scrolled(ScrollView):
    """For contents whose size is no business of the layout's: the widget is as large as the screen gives it.

    Textual lays the screen out whenever a virtual size changes, which costs a redraw of everything: too much for
    lines that come twenty times a second.
    """

    virtual_size = Reactive(Size(0, 0), layout=False)

    def watch_virtual_size(self, size: Size) -> None:
        """Fit the scrollbars."""
        if self.is_attached:
            self._scroll_update(size)
