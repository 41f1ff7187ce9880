"""Text that is read: `Lines` scrolls both ways, `Page` wraps and has a cursor on the lines that lead somewhere."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from rich.segment import Segment
from textual.binding import Binding, BindingType
from textual.events import Click, Resize
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.selection import Selection
from textual.strip import Strip

from fleettui.console.pages.rich_text import RichText
from fleettui.console.text.cells import Line, Tone, line_text
from fleettui.console.text.keys import TABLE
from fleettui.console.text.subject import Subject
from fleettui.console.widgets.drawing import Readable, Scrolled, bound, width_of, with_selection, wrapped
from fleettui.escape import escape


class Lines(Readable, Scrolled, can_focus=True):
    """A page: all its lines are in `lines`."""

    DEFAULT_CSS = """
    Lines {
        width: 1fr; height: 1fr; background: $surface;
        overflow-x: auto; overflow-y: scroll; scrollbar-size-vertical: 1; scrollbar-size-horizontal: 0;
        padding: 0 1;
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "go(-1)", "up", id="up"),
        Binding("down,j", "go(1)", "down", id="down"),
        Binding("pageup,ctrl+b", "page(-1)", "page up", id="page_up"),
        Binding("pagedown,ctrl+f", "page(1)", "page down", id="page_down"),
        Binding("g,home", "top", "first", id="first"),
        Binding("G,end", "bottom", "last", id="last"),
        Binding("left", "sideways(-16)", "left", id="fold"),
        Binding("right", "sideways(16)", "right", id="unfold"),
    ]

    def __init__(self, *, id: str) -> None:  # noqa: A002
        super().__init__(id=id)
        self.lines: list[Line] = []

    def show(self, lines: Iterable[Line]) -> None:
        """Replace everything, and begin at the top."""
        self.lines = list(lines)
        self._drawn.clear()
        widest = max((sum(width_of(cell.text) for cell in line) for line in self.lines), default=0)
        self.virtual_size = Size(widest, len(self.lines))
        self.scroll_to(0, 0, animate=False)
        self.refresh()

    # Moving

    def action_go(self, lines: int) -> None:
        """Scroll by lines."""
        self.scroll_to(y=self.scroll_offset.y + lines, animate=False)

    def action_page(self, pages: int) -> None:
        """Scroll by screens."""
        self.action_go(pages * max(1, self.size.height - 1))

    def action_top(self) -> None:
        """To the first line."""
        self.scroll_to(y=0, animate=False)

    def action_bottom(self) -> None:
        """To the last line."""
        self.scroll_to(y=max(0, len(self.lines) - self.size.height), animate=False, force=True)

    def action_sideways(self, cells: int) -> None:
        """Scroll to the side."""
        self.scroll_to(x=self.scroll_offset.x + cells, animate=False)

    # Drawing

    def get_selection(self, selection: Selection) -> tuple[str, str] | None:
        """The selected text, for copying."""
        return selection.extract("\n".join(line_text(line) for line in self.lines)), "\n"

    def render_line(self, y: int) -> Strip:
        """The line at this place."""
        left, top = self.scroll_offset
        width, index = self.size.width, top + y
        plain = self.style_of(Tone.PLAIN)
        if index >= len(self.lines):
            return Strip.blank(width, plain)
        strip = self._drawn.get(index)
        if strip is None:
            strip = self._drawn[index] = self._strip(index)
        return strip.crop_extend(left, left + width, plain).apply_offsets(left, index)

    def _strip(self, index: int) -> Strip:
        strip = Strip([Segment(escape(cell.text), self.style_of(cell.tone)) for cell in self.lines[index]])
        return with_selection(self, strip, index)


PAGE_MARGIN = 2  # the cursor's mark
MIN_WIDTH = 20


class Page(Readable, ScrollView, can_focus=True):
    """Shows a content. Arrows read on; where lines lead somewhere, they go from one such line to the next."""

    DEFAULT_CSS = """
    Page {
        width: 1fr; height: 1fr; background: $surface;
        overflow-x: hidden; overflow-y: scroll; scrollbar-size-vertical: 1;
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = bound(TABLE)

    class Followed(Message):
        """Enter on a line that leads somewhere."""

        def __init__(self, subject: Subject) -> None:
            self.subject = subject
            super().__init__()

    class Turned(Message):
        """To the next tab (1) or the one before (-1)."""

        def __init__(self, step: int) -> None:
            self.step = step
            super().__init__()

    def __init__(self, *, id: str) -> None:  # noqa: A002 - Textual's name for it
        super().__init__(id=id)
        self._content: RichText = []
        self._lines: list[tuple[Line, int]] = []  # wrapped, each with the number of its line in the content
        self._cursor = -1  # a line of the content that leads somewhere
        self._stale = False

    # Content

    @property
    def text(self) -> str:
        """The whole page as plain text, not wrapped."""
        return "\n".join(line_text(line) for line, _ in self._content)

    def put(self, content: RichText, *, reset: bool = False) -> None:
        """Show a content; the reader stays where he is unless it is another one (`reset`)."""
        if content == self._content and not reset:
            return
        leading = None if reset else self._leads()
        place = 0 if reset else self.scroll_offset.y
        self._content = content
        links = [number for number, (_, to) in enumerate(content) if to is not None]
        kept = [number for number in links if content[number][1] == leading]
        nearest = min(kept, key=lambda number: abs(number - self._cursor)) if kept else -1
        self._cursor = nearest if leading is not None else -1
        self._wrap()
        self.scroll_to(y=place, animate=False)

    def put_stale(self, stale: bool) -> None:  # noqa: FBT001 - a state, not a switch
        """Whether what is shown may no longer be so: drawn without colours then."""
        if stale is not self._stale:
            self._stale = stale
            self.forget()

    def _leads(self) -> Subject | None:
        return self._content[self._cursor][1] if 0 <= self._cursor < len(self._content) else None

    def _wrap(self) -> None:
        width = max(MIN_WIDTH, self.scrollable_content_region.width - PAGE_MARGIN)
        self._lines = [
            (part, number) for number, (line, _) in enumerate(self._content) for part in wrapped(line, width)
        ]
        self.virtual_size = Size(self.size.width, len(self._lines))
        self.forget()

    def on_resize(self, _: Resize) -> None:
        """Wrap to the new width."""
        self._wrap()

    # Moving

    def action_move(self, lines: int) -> None:
        """To the next line that leads somewhere if it is in sight, else on by a line."""
        step = 1 if lines > 0 else -1
        found = self._next_link(step)
        if found is None:
            self.scroll_to(y=self.scroll_offset.y + lines, animate=False)
            return
        self._cursor = found
        self.forget()
        places = [y for y, (_, number) in enumerate(self._lines) if number == found]
        top, height = self.scroll_offset.y, max(1, self.size.height)
        if places and places[0] < top:
            self.scroll_to(y=places[0], animate=False)
        elif places and places[-1] >= top + height:
            self.scroll_to(y=places[-1] - height + 1, animate=False)

    def scroll_lines(self, lines: int) -> None:
        """On by lines, past lines that lead somewhere."""
        self.scroll_to(y=self.scroll_offset.y + lines, animate=False)

    def _next_link(self, step: int) -> int | None:
        """The next line that leads somewhere, when it is in sight or just out of it."""
        top, height = self.scroll_offset.y, max(1, self.size.height)
        in_sight = {number for _, number in self._lines[max(0, top - 1) : top + height + 1]}
        order = range(len(self._content)) if step > 0 else range(len(self._content) - 1, -1, -1)
        start = self._cursor if self._cursor in in_sight else None
        for number in order:
            past = start is None or (number - start) * step > 0
            if past and number in in_sight and self._content[number][1] is not None:
                return number
        return None

    def action_page(self, pages: int) -> None:
        """A screen up or down."""
        self.scroll_to(y=self.scroll_offset.y + pages * max(1, self.size.height - 1), animate=False)

    def action_go(self, where: str) -> None:
        """To the beginning or the end."""
        self.scroll_to(y=0 if where == "first" else len(self._lines), animate=False)

    def action_fold(self, unfold: bool) -> None:  # noqa: FBT001 - the binding's argument
        """To the next tab or the one before."""
        self.post_message(self.Turned(1 if unfold else -1))

    def action_open(self) -> None:
        """Go where the line leads."""
        subject = self._leads()
        if subject is not None:
            self.post_message(self.Followed(subject))

    def on_click(self, event: Click) -> None:
        """A click puts the cursor on a line that leads somewhere; two follow it."""
        y = self.scroll_offset.y + event.y
        if y < len(self._lines) and self._content[self._lines[y][1]][1] is not None:
            self._cursor = self._lines[y][1]
            self.forget()
            if event.chain == 2:
                self.action_open()

    # Drawing

    def on_focus(self) -> None:
        """The cursor's bar is brighter with the focus."""
        self.forget()

    def on_blur(self) -> None:
        """The cursor's bar is dimmer without the focus."""
        self.forget()

    def get_selection(self, selection: Selection) -> tuple[str, str] | None:
        """The selected text, for copying."""
        return selection.extract("\n".join(" " * PAGE_MARGIN + line_text(line) for line, _ in self._lines)), "\n"

    def render_line(self, y: int) -> Strip:
        """The line at this place."""
        index = self.scroll_offset.y + y
        if index >= len(self._lines):
            return Strip.blank(self.size.width, self.style_of(Tone.PLAIN))
        strip = self._drawn.get(index)
        if strip is None:
            strip = self._drawn[index] = self._strip(index)
        return strip.apply_offsets(0, index)

    def _strip(self, index: int) -> Strip:
        line, number = self._lines[index]
        chosen = number == self._cursor
        bar = ("bar" if self.has_focus else "bar-idle") if chosen else ""
        first = index == 0 or self._lines[index - 1][1] != number
        mark = Segment("▌ " if chosen and first else " " * PAGE_MARGIN, self.style_of(Tone.HEAD, bar))
        tones = (Tone.QUIET if self._stale else cell.tone for cell in line)
        cells = [
            Segment(escape(cell.text), self.style_of(tone, bar)) for cell, tone in zip(line, tones, strict=True)
        ]
        plain = self.style_of(Tone.PLAIN, bar)
        strip = Strip([mark, *cells]).adjust_cell_length(self.size.width, plain)
        return with_selection(self, strip, index)
