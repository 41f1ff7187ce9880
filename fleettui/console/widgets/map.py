"""The map's drawing and its keys: squares on the line API. Where they are is for `rows.map` to say.

It is a table whose rows are squares: cursor, marks and filter are the listing's, by key. What the filter leaves out
keeps its square, dimmed, so that nothing moves.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual.events import Click
from textual.geometry import Size
from textual.strip import Strip

from fleettui.console.tables.listing import Listing
from fleettui.console.tables.map import MapLayout, Piece, blocks, nearest, order, plan
from fleettui.console.tables.rows import GLYPHS, TONES, Column, Delta, Health
from fleettui.console.tables.units import UnitRow
from fleettui.console.text.cells import Cell, Line, Tone
from fleettui.console.widgets.drawing import fitted
from fleettui.console.widgets.table import HEAD, RowTable

LEFT = 1  # cells before the labels
COLUMNS: tuple[Column[UnitRow], ...] = (Column("unit", "UNIT", 44, lambda row, _: Cell(row.label), order),)
LEGEND = {Health.BUSY: "under way"}


class Squares(Listing[UnitRow]):
    """The units in the order of the map. `everything` holds also what the filter leaves out."""

    def __init__(self) -> None:
        super().__init__(COLUMNS)
        self.everything: list[str] = []
        self.tally: Counter[Health] = Counter()  # of what the filter lets through

    def apply(self, delta: Delta[UnitRow]) -> bool:
        """Take changed rows in, and count what became of them."""
        counted = [key for key in delta.changed if key in self._passing and key in self.rows]
        before = [self.rows[key].condition for key in counted]
        moved = super().apply(delta)
        if not moved:
            self.tally.subtract(before)
            self.tally.update(self.rows[key].condition for key in counted)
        return moved

    def arrange(self) -> None:
        """Put all squares in order again, and find the cursor's."""
        self._admitted()
        self.everything = sorted(self.rows, key=self._ranks.__getitem__)
        self.order = [key for key in self.everything if key in self._passing]
        self.tally = Counter(self.rows[key].condition for key in self.order)
        self._find_cursor()

    def passing(self) -> Mapping[str, None]:
        """What the filter lets through."""
        return self._passing


class Map(RowTable[UnitRow]):
    """Squares by machine, with a legend that counts them."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        *(f"square--{health}" for health in Health), "square--cursor", "square--idle", "square--dim",
    }  # fmt: skip
    DEFAULT_CSS = """
    Map > .square--failed { color: $background; background: $error; text-style: bold; }
    Map > .square--pending { color: $wait; background: $tile-pending; }
    Map > .square--busy { color: $warning; background: $tile-busy; }
    Map > .square--active { color: $success; background: $tile-active; }
    Map > .square--inactive { color: $quiet; background: $tile-inactive; }
    Map > .square--dim { color: $off; text-style: none; }
    Map > .square--cursor { color: $primary; background: $background; text-style: bold reverse; }
    Map > .square--idle { color: $primary; background: $background; text-style: bold underline; }
    """

    def __init__(self, clock: Callable[[], float], *, id: str) -> None:  # noqa: A002 - Textual's name for it
        super().__init__(COLUMNS, clock, id=id)
        self.listing: Squares = Squares()
        self._labels: Mapping[str, Cell] = {}
        self._plan = MapLayout()
        self._column = 0  # where up and down keep to
        self._looks: dict[str, Style] = {}

    # What is shown

    def put_machines(self, labels: Mapping[str, Cell]) -> None:
        """The machines by name, those without units too."""
        if labels != self._labels:
            self._labels = labels
            self._replan()

    def tick(self) -> None:
        """No age is on the map."""

    def choose_columns(self, hidden: frozenset[str]) -> None:
        """The map has none."""

    def restyle(self) -> None:
        """Forget the styles: the colours changed, or what they tell."""
        self._looks.clear()
        super().restyle()

    def notify_style_update(self) -> None:
        """Textual's word that the theme changed."""
        super().notify_style_update()
        self._looks.clear()

    def _rearranged(self, anchor: int) -> None:  # noqa: ARG002 - squares are kept in place by their line
        before = self._line_of_cursor() - int(self.scroll_offset.y)
        self._replan()
        if 0 <= before < self._height():
            self.scroll_to(y=self._line_of_cursor() - before, animate=False)

    def _measure(self) -> None:
        self._replan()

    def _replan(self) -> None:
        rows = self.listing.rows
        fleet = blocks((rows[key] for key in self.listing.everything), self._labels) if rows else []
        self._plan = plan(fleet, max(10, self.size.width - LEFT - 1), self._height())
        self.virtual_size = Size(self.size.width, len(self._plan.lines) + HEAD)
        self.refresh()

    def _redraw(self, keys: Collection[str]) -> None:
        lines = {self._plan.places[key][0] for key in keys if key in self._plan.places}
        top = int(self.scroll_offset.y)
        for line in lines.intersection(range(top, top + self._height())):
            self.refresh_line(line + HEAD)
        self.refresh_line(top)

    def _line_of_cursor(self) -> int:
        return self._plan.places.get(self.listing.cursor or "", (0, 0))[0]

    def show_cursor(self) -> None:
        """Scroll as little as brings the cursor's square on the screen."""
        line, top, height = self._line_of_cursor(), int(self.scroll_offset.y), self._height()
        if line < top:
            self.scroll_to(y=line, animate=False)
        elif line >= top + height:
            self.scroll_to(y=line - height + 1, animate=False)

    # Moving

    def move_to(self, index: int) -> None:
        """Put the cursor on a square and keep it on the screen."""
        self._go(index)
        self._column = self._plan.places.get(self.listing.cursor or "", (0, 0))[1]

    def _go(self, index: int) -> None:
        old = self._line_of_cursor()
        self.listing.move_to(index)
        self.refresh_line(old + HEAD)
        self.refresh_line(self._line_of_cursor() + HEAD)
        self.show_cursor()
        self.post_message(self.Moved(self))

    def action_move(self, lines: int) -> None:
        """A line up or down, to the nearest square."""
        self._vertically(lines, 1)

    def action_page(self, pages: int) -> None:
        """A screen up or down."""
        self._vertically(pages, max(1, self._height() - 1))

    def _vertically(self, step: int, times: int) -> None:
        found, line = None, self._line_of_cursor()
        passing = self.listing.passing()
        while times > 0 and 0 <= line + step < len(self._plan.lines):
            line += step
            key = nearest(self._plan, line, self._column, passing)
            found, times = (key, times - 1) if key else (found, times - 1 if found else times)
        if found is not None:
            self._go(self.listing.order.index(found))

    def action_fold(self, unfold: bool) -> None:  # noqa: FBT001 - the binding's argument
        """To the next square, or the one before."""
        self.move_to(self.listing.index + (1 if unfold else -1))

    def on_focus(self) -> None:
        """The cursor is filled with the focus."""
        self.refresh_line(self._line_of_cursor() + HEAD)

    def on_blur(self) -> None:
        """The cursor is underlined without the focus."""
        self.refresh_line(self._line_of_cursor() + HEAD)

    def on_click(self, event: Click) -> None:
        """A click moves the cursor, two open."""
        event.prevent_default()  # a table would take the line for a row
        key = self._key_at(event.x - LEFT, int(self.scroll_offset.y) + event.y - HEAD) if event.y >= HEAD else None
        if key is None or key not in self.listing.passing():
            return
        self.move_to(self.listing.order.index(key))
        if event.chain == 2:
            self.action_open()

    def _key_at(self, x: int, line: int) -> str | None:
        if not 0 <= line < len(self._plan.lines):
            return None
        places, pitch = self._plan.places, self._plan.pitch
        keys = (key for piece in self._plan.lines[line] for key in piece.keys)
        return next((key for key in keys if places[key][1] <= x < places[key][1] + pitch), None)

    # Drawing

    def render_line(self, y: int) -> Strip:
        """The legend, or a line of squares."""
        if y < HEAD:
            return self.strip_of(self._legend(), self.size.width)
        number = int(self.scroll_offset.y) + y - HEAD
        if not self.listing.order and number <= len(self._notice):
            return self._notice_strip(y - HEAD - 1)
        plain = self.style_of(Tone.PLAIN)
        segments, x = [Segment(" " * LEFT, plain)], 0
        for piece in self._plan.lines[number] if number < len(self._plan.lines) else ():
            segments.append(Segment(" " * (piece.x - x), plain))
            segments += [*self._label(piece), *self._squares(piece.keys)]
            x = piece.x + self._plan.lead + len(piece.keys) * self._plan.pitch
        return Strip(segments).adjust_cell_length(self.size.width, plain)

    def _label(self, piece: Piece) -> list[Segment]:
        if piece.label is None:
            return [Segment(" " * self._plan.lead, self.style_of(Tone.PLAIN))]
        width = self._plan.label_width
        count = f"{piece.count:,}".rjust(self._plan.lead - width - 1) + " "
        tone = Tone.QUIET if self._stale else piece.label.tone
        return [
            Segment(fitted(piece.label.text, width, middle=True), self.style_of(tone)),
            Segment(count, self.style_of(Tone.QUIET)),
        ]

    def _squares(self, keys: Sequence[str]) -> list[Segment]:
        """Squares in a row; those that look the same make one piece of text."""
        pitch, plain = self._plan.pitch, self.style_of(Tone.PLAIN)
        segments: list[Segment] = []
        text, style = "", plain
        for key in keys:
            row, marked = self.listing.rows[key], key in self.listing.marks
            own = self._style(key, row, marked=marked and pitch == 1)
            square = GLYPHS[row.condition] + ("" if pitch == 1 else "✓" if marked else " ")
            if own is not style or pitch > 2:
                segments.append(Segment(text, style))
                text, style = "", own
            text += square
            if pitch > 2:
                segments += [Segment(text, style), Segment(" ", plain)]
                text = ""
        return [*segments, Segment(text, style)]

    def _style(self, key: str, row: UnitRow, *, marked: bool) -> Style:
        if key == self.listing.cursor:
            name = "cursor" if self.has_focus else "idle"
        elif key not in self.listing.passing():
            name = "dim"
        else:
            name = "inactive" if self._stale else str(row.condition)
        return self._look_of(f"{name} marked" if marked else name)

    def _look_of(self, name: str) -> Style:
        if name not in self._looks:
            own = self.get_component_rich_style(f"square--{name.partition(' ')[0]}")
            self._looks[name] = own + Style(underline=True, bold=True) if name.endswith(" marked") else own
        return self._looks[name]

    def _legend(self) -> Line:
        """How many of each, in words too."""
        cells = [Cell("  ")]
        for health in Health:
            number = self.listing.tally[health]
            tone = TONES[health] if number else Tone.QUIET
            cells.append(Cell(f"{GLYPHS[health]} {number:,} {LEGEND.get(health, health)}    ", tone))
        return tuple(cells)
