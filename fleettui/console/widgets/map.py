"""The map's drawing and its keys: squares on the line API. Where they are is for `tables.map` to say.

It is a table whose rows are squares: cursor, marks and filter are the listing's, by key. What the filter leaves out
keeps its square, dimmed, so that nothing moves.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from rich.segment import Segment
from rich.style import Style
from textual.events import Click
from textual.geometry import Size
from textual.strip import Strip

from fleettui.console.tables.listing import Listing
from fleettui.console.tables.map import MapLayout, blocks, nearest, order, plan
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


class SquarePainter:
    """Draws the fleet as squares by machine, below a legend that counts them."""

    def __init__(self, table: Map) -> None:
        self._table = table
        self.notice: tuple[Line, ...] = ()
        self.stale, self.stale_text = False, ""
        self.labels: Mapping[str, Cell] = {}  # the machines by name, those without units too
        self.plan = MapLayout()
        self._styles: dict[str, Style] = {}

    @property
    def lines(self) -> int:
        """How many lines there are."""
        return len(self.plan.lines)

    @property
    def place_of_cursor(self) -> tuple[int, int]:
        """The line and the cell of the cursor's square."""
        return self.plan.places.get(self._table.listing.cursor or "", (0, 0))

    @property
    def line_of_cursor(self) -> int:
        """The line of the cursor's square."""
        return self.place_of_cursor[0]

    @property
    def fitting(self) -> frozenset[str]:
        """The map has no columns."""
        return frozenset()

    def grow(self, delta: Delta[UnitRow]) -> bool:  # noqa: ARG002 - squares are measured together
        """Squares are as large as they are."""
        return False

    def measure(self) -> None:
        """Find a place for every square."""
        listing, table = self._table.listing, self._table
        fleet = blocks((listing.rows[key] for key in listing.everything), self.labels) if listing.rows else []
        self.plan = plan(fleet, max(10, table.size.width - LEFT - 1), table.height)

    arrange = measure

    def lines_of(self, keys: Collection[str]) -> Iterable[int]:
        """The lines of the widget on which these squares are seen, and the legend."""
        lines = {self.plan.places[key][0] for key in keys if key in self.plan.places}
        top = int(self._table.scroll_offset.y)
        return [*(line + HEAD for line in lines.intersection(range(top, top + self._table.height))), top]

    def aged(self) -> Iterable[int]:
        """No age is on the map."""
        return ()

    def clear(self) -> None:
        """Forget the styles: the colours changed."""
        self._styles.clear()

    def key_at(self, x: int, line: int) -> str | None:
        """The square at this place."""
        if not 0 <= line < len(self.plan.lines):
            return None
        places, pitch = self.plan.places, self.plan.pitch
        keys = (key for piece in self.plan.lines[line] for key in piece.keys)
        return next((key for key in keys if places[key][1] <= x < places[key][1] + pitch), None)

    def head(self) -> Strip:
        """The legend: how many of each, in words too."""
        cells = [Cell("  ")]
        for health in Health:
            number = self._table.listing.tally[health]
            tone = TONES[health] if number else Tone.QUIET
            cells.append(Cell(f"{GLYPHS[health]} {number:,} {LEGEND.get(health, health)}    ", tone))
        return self._table.strip_of(tuple(cells), self._table.size.width)

    def line(self, number: int) -> Strip:
        """A line of squares, or what is said where there are none."""
        table, layout = self._table, self.plan
        if not table.listing.order and number <= len(self.notice):
            told = (Cell(" " * 4), *self.notice[number - 1]) if number else ()
            return table.strip_of(told, table.size.width)
        plain = table.style_of(Tone.PLAIN)
        segments, x = [Segment(" " * LEFT, plain)], 0
        for piece in layout.lines[number] if number < len(layout.lines) else ():
            segments.append(Segment(" " * (piece.x - x), plain))
            if piece.label is None:
                segments.append(Segment(" " * layout.lead, plain))
            else:
                count = f"{piece.count:,}".rjust(layout.lead - layout.label_width - 1) + " "
                tone = table.style_of(Tone.QUIET if self.stale else piece.label.tone)
                segments.append(Segment(fitted(piece.label.text, layout.label_width, middle=True), tone))
                segments.append(Segment(count, table.style_of(Tone.QUIET)))
            segments += self._squares(piece.keys)
            x = piece.x + layout.lead + len(piece.keys) * layout.pitch
        return Strip(segments).adjust_cell_length(table.size.width, plain)

    def _squares(self, keys: Sequence[str]) -> list[Segment]:
        """Squares in a row; those that look the same make one piece of text."""
        pitch, plain, listing = self.plan.pitch, self._table.style_of(Tone.PLAIN), self._table.listing
        segments: list[Segment] = []
        text, style = "", plain
        for key in keys:
            row, marked = listing.rows[key], key in listing.marks
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
        listing = self._table.listing
        if key == listing.cursor:
            name = "cursor" if self._table.has_focus else "idle"
        elif key not in listing.passing():
            name = "dim"
        else:
            name = "inactive" if self.stale else str(row.condition)
        known = f"{name} marked" if marked else name
        if known not in self._styles:
            own = self._table.style_of(f"square-{name}")
            self._styles[known] = own + Style(underline=True, bold=True) if marked else own
        return self._styles[known]


class Map(RowTable[UnitRow]):
    """Squares by machine, moved in as in a table."""

    listing: Squares
    painter: SquarePainter

    def __init__(self, clock: Callable[[], float], *, id: str) -> None:  # noqa: A002 - Textual's name for it
        super().__init__(COLUMNS, clock, id=id)
        self.listing = Squares()
        self.painter = SquarePainter(self)
        self._column = 0  # where up and down keep to

    def put_machines(self, labels: Mapping[str, Cell]) -> None:
        """The machines by name, those without units too."""
        if labels != self.painter.labels:
            self.painter.labels = labels
            self.painter.measure()
            self.virtual_size = Size(self.size.width, self.painter.lines + HEAD)
            self.refresh()

    def choose_columns(self, hidden: frozenset[str]) -> None:
        """The map has none."""

    def move_to(self, index: int) -> None:
        """Put the cursor on a square and keep it on the screen."""
        super().move_to(index)
        self._column = self.painter.place_of_cursor[1]

    def action_move(self, lines: int, times: int = 1) -> None:
        """Lines up or down, to the nearest square; `times` as far, past lines without one."""
        layout, passing = self.painter.plan, self.listing.passing()
        found, line, column = None, self.painter.line_of_cursor, self._column
        while times > 0 and 0 <= line + lines < len(layout.lines):
            line += lines
            key = nearest(layout, line, column, passing)
            found, times = (key, times - 1) if key else (found, times - 1 if found else times)
        if found is not None:
            self.move_to(self.listing.order.index(found))
            self._column = column

    def action_page(self, pages: int) -> None:
        """A screen up or down."""
        self.action_move(pages, max(1, self.height - 1))

    def action_fold(self, unfold: bool) -> None:  # noqa: FBT001 - the binding's argument
        """To the next square, or the one before."""
        self.move_to(self.listing.index + (1 if unfold else -1))

    def on_click(self, event: Click) -> None:
        """A click moves the cursor, two open."""
        event.prevent_default()  # a table would take the line for a row
        if event.y < HEAD:
            return
        key = self.painter.key_at(event.x - LEFT, int(self.scroll_offset.y) + event.y - HEAD)
        if key is None or key not in self.listing.passing():
            return
        self.move_to(self.listing.order.index(key))
        if event.chain == 2:
            self.action_open()
