"""Lines across the screen: header, tabs, outcomes, footer are bands of cells."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from textual.events import Click
from textual.geometry import Region
from textual.strip import Strip

from fleettui.console.text.cells import Line
from fleettui.console.widgets.drawing import Toned, width_of


class Band(Toned):
    """A few lines, each with a left and a right part; only lines that differ are drawn again.

    `pressed` is called with the line's number and the cell's number that was clicked.
    """

    DEFAULT_CSS = """
    Band { height: auto; width: 1fr; background: $surface; }
    """

    def __init__(
        self,
        *,
        id: str,  # noqa: A002 - Textual's name for it
        lines: int = 1,
        pressed: Callable[[int, int], None] | None = None,
        padding: int = 1,
    ) -> None:
        super().__init__(id=id)
        self._lines: list[tuple[Line, Line]] = [((), ())] * lines
        self._pressed, self._padding = pressed, padding
        self.styles.height = lines

    def put(self, *lines: tuple[Line, Line]) -> None:
        """Show these lines, each (left, right)."""
        if len(lines) != len(self._lines):
            self.styles.height = len(lines)
            self._lines = list(lines)
            self.display = bool(lines)
            self.refresh()
            return
        self.display = bool(lines)
        for y, (old, new) in enumerate(zip(self._lines, lines, strict=True)):
            if old != new:
                self._lines[y] = new
                self.refresh(Region(0, y, self.size.width, 1))

    @property
    def texts(self) -> Sequence[str]:
        """What is shown, as plain text."""
        return ["".join(cell.text for cell in (*left, *right)) for left, right in self._lines]

    def render_line(self, y: int) -> Strip:
        """One line."""
        width = self.size.width
        if y >= len(self._lines):
            return Strip.blank(width, self.rich_style)
        left, right = self._lines[y]
        pad = Strip.blank(self._padding, self.style_of("plain"))
        return Strip.join([pad, self.strip_of(left, width - 2 * self._padding, right), pad])

    def on_click(self, event: Click) -> None:
        """Tell which cell was clicked."""
        if self._pressed is None or event.y >= len(self._lines):
            return
        x = event.x - self._padding
        for number, cell in enumerate(self._lines[event.y][0]):
            x -= width_of(cell.text)
            if x < 0:
                self._pressed(event.y, number)
                return
