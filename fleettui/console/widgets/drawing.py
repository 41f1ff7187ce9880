"""What all widgets share: cells as strips of the screen, tones, widths, wrapping, selection, and bindings.

The one place where tones become styles and text is cut to its width. What makes cells escapes what is not ours;
what was forgotten there is escaped here, before it is drawn. Lines that are too long for their place are broken at
blanks, what follows indented. A scroll view grows without laying the whole screen out again.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any, ClassVar

from rich.cells import cell_len, chop_cells, set_cell_size
from rich.segment import Segment
from rich.style import Style
from textual._styles_cache import StylesCache
from textual.binding import Binding, BindingType
from textual.cache import LRUCache
from textual.color import Color
from textual.css.styles import StylesBase
from textual.events import Click
from textual.filter import ANSIToTruecolor, LineFilter
from textual.geometry import Region, Size, Spacing
from textual.reactive import Reactive
from textual.scroll_view import ScrollView
from textual.selection import Selection
from textual.strip import Strip
from textual.widget import Widget

from fleettui.console.text.cells import Cell, Line, Tone, line_text
from fleettui.console.text.keys import KEYS
from fleettui.console.widgets.theme import tone_style
from fleettui.escape import escape


def bound(where: str) -> list[BindingType]:
    """The bindings of one place (`where`) of the keys table."""
    return [Binding(key.keys, key.action, key.label, id=key.id) for key in KEYS if key.where == where]


def painted(strip: Strip, spans: Sequence[tuple[int, int]], style: Style) -> Strip:
    """The strip with a style over some of its cells (from, to); a `to` of -1 is the end."""
    length = strip.cell_length
    spans = [(first, length if last == -1 else min(last, length)) for first, last in spans]
    cuts = sorted({cut for span in spans for cut in span if 0 < cut < length} | {length})
    if not spans or not length:
        return strip
    parts, start = [], 0
    for part, cut in zip(strip.divide(cuts), cuts, strict=False):
        inside = any(first <= start < last for first, last in spans)
        parts.append(Strip(Segment.apply_style(part, post_style=style), part.cell_length) if inside else part)
        start = cut
    return Strip.join(parts)


class Scrolled(ScrollView):
    """A scroll view whose contents do not change the layout: it is as large as the screen gives it.

    Textual lays the screen out whenever a virtual size changes, which costs a redraw of everything: too much for
    lines that come twenty times a second.
    """

    virtual_size = Reactive(Size(0, 0), layout=False)

    def watch_virtual_size(self, size: Size) -> None:
        """Fit the scrollbars."""
        if self.is_attached:
            self._scroll_update(size)


ELLIPSIS = "…"
SHARE = 8  # lines of a screen for each row of what comes and goes above the footer


def rows_within(height: int, most: int) -> int:
    """How many rows something that comes and goes may take of a screen so high: one at least."""
    return max(1, min(most, height // SHARE))


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
        end = (width - 1) // 2 if middle and width >= 8 else 0  # as much of the end as of the beginning
        tail = set_cell_size(text[::-1], end)[::-1] if end else ""
        return set_cell_size(text, width - 1 - end) + ELLIPSIS + tail
    pad = " " * (width - actual)
    return pad + text if right else text + pad


class BareLines(StylesCache):
    """The lines that a widget has drawn. Where nothing but blanks is around them, they are taken as they are.

    Looking for borders, outlines and tints line by line, to find none, costs as much as drawing the lines. So does
    giving the terminal's own colours a value: those of tones have one.
    """

    def render(  # noqa: D102 - Textual's
        self, styles: StylesBase, size: Size, base_background: Color, background: Color,
        render_content_line: Callable[[int], Strip], filters: Sequence[LineFilter], *more: Any,  # noqa: ANN401
        **named: Any,  # noqa: ANN401
    ) -> list[Strip]:  # fmt: skip
        kept = [each for each in filters if not isinstance(each, ANSIToTruecolor)]
        return super().render(styles, size, base_background, background, render_content_line, kept, *more, **named)

    def render_line(  # noqa: D102 - Textual's, called by position
        self, styles: StylesBase, y: int, size: Size, content_size: Size, padding: Spacing, base_background: Color,
        background: Color, render_content_line: Callable[[int], Strip], *more: Any,  # noqa: ANN401 - of borders
    ) -> Strip:  # fmt: skip
        left, right = padding.left, padding.right
        if size == Size(content_size.width + left + right, content_size.height):
            line = render_content_line(y)
            if not left and not right:
                return line.adjust_cell_length(size.width)
            blank = self.get_inner_outer(base_background, background)[0].rich_style
            line = line.adjust_cell_length(content_size.width, blank)
            return Strip([Segment(" " * left, blank), *line, Segment(" " * right, blank)], size.width)
        return super().render_line(
            styles, y, size, content_size, padding, base_background, background, render_content_line, *more
        )


class Toned(Widget):
    """A widget that draws cells. Bars (the cursor's line) lie under the tones.

    Tones are no component classes: Textual would match all of its rules against each of them, for each widget.
    """

    _tone_styles: dict[tuple[str, str], Style] | None = None  # known until Textual says that they may differ

    def __init__(self, *, id: str) -> None:  # noqa: A002 - Textual's name for it
        super().__init__(id=id)
        self._styles_cache = BareLines()

    def style_of(self, tone: str, bar: str = "") -> Style:
        """The style of a tone, on a bar or on the widget's own background."""
        if self._tone_styles is None:
            self._tone_styles = {}
        style = self._tone_styles.get((tone, bar))
        if style is None:
            style = self.rich_style + tone_style(tone, self.app.theme_variables)
            if bar:
                style += tone_style(bar, self.app.theme_variables)
            self._tone_styles[tone, bar] = style
        return style

    def notify_style_update(self) -> None:
        """Drop the known styles: the theme changed."""
        super().notify_style_update()
        if self._tone_styles is not None:
            self._tone_styles = None
            self.refresh()

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


KEPT = 512  # strips: several screens


class Readable(Toned):
    """A widget with text to select; keeps the strips that it drew, by a key of its own."""

    ALLOW_SELECT: ClassVar[bool] = True

    def __init__(self, *, id: str) -> None:  # noqa: A002 - Textual's name for it
        super().__init__(id=id)
        self._drawn: LRUCache[Hashable, Strip] = LRUCache(KEPT)

    def notify_style_update(self) -> None:
        """Draw everything again: the theme changed."""
        super().notify_style_update()
        self._drawn.clear()

    def selection_updated(self, selection: Selection | None) -> None:  # noqa: ARG002 - Textual's signature
        """Draw everything again: other text is selected."""
        self.forget()

    def forget(self) -> None:
        """Draw everything again."""
        self._drawn.clear()
        self.refresh()


def with_selection(widget: Widget, strip: Strip, row: int) -> Strip:
    """The strip with what is selected of this row standing out."""
    selection = widget.text_selection
    span = selection.get_span(row) if selection is not None else None
    if span is None:
        return strip
    return painted(strip, [span], widget.screen.get_component_rich_style("screen--selection"))


HANG = 2
CODES = 8  # code points looked at for each cell: more than that in one are cut in between


def wrapped(line: Line, width: int) -> list[Line]:
    """The line in pieces of at most `width` cells; those after the first are indented like its last column."""
    if sum(width_of(cell.text) for cell in line) <= width:
        return [line]
    folding = _Folding(width, _indent(line, width))
    for cell in line:
        for word in _words(cell.text):
            folding.add(word, cell.tone)
    return folding.lines()


def first_cells(text: str, width: int) -> str:
    """The beginning of a text that fits into so many cells, and at least one of its characters."""
    if width_of(text) <= width:
        return text
    return next(iter(chop_cells(text, width)), "") or text[:1]


def _indent(line: Line, width: int) -> int:
    """Where the last column begins, or where the text does; leaving room for what follows."""
    before = sum(width_of(cell.text) for cell in line[:-1])
    text = line_text(line)
    own = len(text) - len(text.lstrip()) + HANG
    most = width * 3 // 5
    return before if 0 < before <= most else min(own, most)


def _words(text: str) -> Iterator[str]:
    """Words, each with the blanks that follow it."""
    start = 0
    for end in range(1, len(text)):
        if text[end - 1] == " " and text[end] != " ":
            yield text[start:end]
            start = end
    yield text[start:]


class _Folding:
    """Folds one line into several."""

    def __init__(self, width: int, indent: int) -> None:
        self._width, self._indent = width, indent
        self._done: list[Line] = []
        self._cells: list[Cell] = []
        self._room = width
        self._empty = True  # nothing but the indent on this piece

    def add(self, word: str, tone: Tone) -> None:
        """Put a word on this piece if it fits there, else on the next; one that fits on none is cut."""
        if width_of(word.rstrip()) > self._room and not self._empty:
            self._break()
        at = 0
        while len(word) - at > self._room * CODES or width_of(word[at:].rstrip()) > self._room:
            piece = first_cells(word[at : at + max(2, self._room) * CODES], max(2, self._room))
            self._put(piece, tone)
            self._break()
            at += len(piece)
        self._put(word[at:], tone)

    def _put(self, piece: str, tone: Tone) -> None:
        self._cells.append(Cell(piece, tone))
        self._room -= width_of(piece)
        self._empty = False

    def _break(self) -> None:
        self._done.append(tuple(self._cells))
        self._cells = [Cell(" " * self._indent)] if self._indent else []
        self._room, self._empty = self._width - self._indent, True

    def lines(self) -> list[Line]:
        """All pieces."""
        return [*self._done, tuple(self._cells)]


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
        """Call `pressed` with the cell that was clicked."""
        if self._pressed is None or event.y >= len(self._lines):
            return
        x = event.x - self._padding
        for number, cell in enumerate(self._lines[event.y][0]):
            x -= width_of(cell.text)
            if x < 0:
                self._pressed(event.y, number)
                return
