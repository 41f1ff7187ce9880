"""A line to type in at the bottom of the screen, with completion: the filter's and the command line's.

It knows neither: what a line may become is asked of `complete`, what was typed before of `history`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any, ClassVar, Protocol

from rich.segment import Segment
from rich.style import Style
from textual import on
from textual.binding import Binding, BindingType
from textual.events import Key, Paste
from textual.geometry import Region
from textual.message import Message
from textual.strip import Strip
from textual.suggester import Suggester
from textual.widgets import Input

from fleettui.console.text.cells import Cell, Line, Tone
from fleettui.console.widgets.drawing import Band, rows_within, width_of
from fleettui.escape import escape

LINES = 3  # of candidates, at most
LOW = 12  # lines of a screen below which the line and a journal beside a table have no room together
BAND = "#candidates"  # where they are shown


class Offer(Protocol):
    """What the line may become: `candidates` for what stands from `start` on."""

    @property
    def start(self) -> int:
        """Where the word begins that is completed."""

    @property
    def candidates(self) -> tuple[str, ...]:
        """What may stand there."""

    @property
    def common(self) -> str:
        """What all candidates begin with."""

    @property
    def more(self) -> int:
        """How many candidates were left out."""


class Past(Protocol):
    """Lines that were typed before."""

    def back(self, typed: str) -> str:
        """The line before."""

    def forth(self, typed: str) -> str:
        """The line after."""

    def suggestion(self, typed: str) -> str:
        """A line that begins so, or ""."""


class _Inline(Suggester):
    """The rest of the line, shown where it would stand."""

    def __init__(self, prompt: Prompt) -> None:
        super().__init__(use_cache=False, case_sensitive=True)
        self._prompt = prompt

    async def get_suggestion(self, value: str) -> str | None:
        """From what was typed before, else the first candidate."""
        return self._prompt.suggested(value)


class OrderedInput(Input):
    """A line whose keys count in the order in which they were typed.

    Textual has Enter go round by all that the line is in before it counts; a letter that is typed meanwhile would
    be in the line by then. Here Enter counts at once, and what follows it is kept until it was carried out.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401 - Textual's own
        super().__init__(*arguments, compact=True, **options)
        self._ahead: list[Key] | None = None  # typed since the line was entered or left, for what has the keys then

    async def on_key(self, event: Key) -> None:
        """Enter the line at once."""
        if self._ahead is None and event.key != "enter":
            return
        event.stop()
        event.prevent_default()
        if self._ahead is not None:
            self._ahead.append(event)
            return
        self._ahead = []
        await self.action_submit()

    def pass_on(self) -> None:
        """Give the keys since Enter to what has the keys now; this line takes its own again."""
        for key in self._typed_ahead():
            self.app.post_message(key)

    def take_back(self) -> None:
        """Take the keys since Enter as a part of the line: it could not be carried out."""
        for key in self._typed_ahead():
            self._forward_event(key)

    def _typed_ahead(self) -> list[Key]:
        ahead, self._ahead = self._ahead or [], None
        return [Key(each.key, each.character) for each in ahead]


def pass_on(event: Input.Submitted) -> None:
    """Give the keys since Enter to what has the keys now, where the line that was entered has kept them."""
    if isinstance(event.input, OrderedInput):
        event.input.pass_on()


class Prompt(OrderedInput):
    """One line. Tab completes, Right takes the suggestion, Up and Down go through what was typed before."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("tab", "complete(1)", "complete"),
        Binding("shift+tab", "complete(-1)", "complete backwards"),
        Binding("up", "past('back')", "before"),
        Binding("down", "past('forth')", "after"),
        Binding("escape", "leave", "leave"),
    ]

    class Dismissed(Message):
        """Escape was pressed in the line."""

        def __init__(self, prompt: Prompt) -> None:
            self.prompt = prompt
            super().__init__()

        @property
        def control(self) -> Prompt:
            """The line."""
            return self.prompt

    def __init__(self, sign: str, *, id: str, placeholder: str) -> None:  # noqa: A002 - Textual's name for it
        super().__init__(id=id, placeholder=placeholder, suggester=_Inline(self), select_on_focus=False)
        self._sign = sign
        self.complete: Callable[[str], Offer] | None = None
        self.history: Past | None = None
        self._offer: Offer | None = None
        self._chosen = -1  # of the candidates, while Tab goes through them
        self._lead = ""  # what stands before them
        self._has_error = False  # an error stands where candidates would
        self.pasted = False  # whether something of the line was
        self.passed: Key | None = None  # the last key that came by here

    async def on_paste(self, event: Paste) -> None:
        """Take one line; of several none, since what they are was not meant for here."""
        lines = [line for line in event.text.splitlines() if line.strip()]
        self.pasted = True
        if len(lines) > 1:
            event.prevent_default()
            event.stop()
            self.show_error(f"{len(lines)} lines were pasted, so none is taken; one at a time goes in here")

    async def on_key(self, event: Key) -> None:
        """Enter or leave the line at once; what is typed before that is carried out belongs to what comes after."""
        self.passed = event
        if self.display and self._ahead is None and event.key not in ("enter", "escape"):
            return
        event.stop()
        event.prevent_default()
        if not self.display:  # it was on its way here
            self.app.post_message(Key(event.key, event.character))
            return
        if self._ahead is not None:
            self._ahead.append(event)
            return
        self._ahead = []
        if event.key == "enter":
            await self.action_submit()
        else:
            self.action_leave()

    def open(self, value: str = "") -> None:
        """Show it and put the cursor at its end."""
        self.display = True
        self.make_room()
        self.cursor_blink = False
        self._has_error = self.pasted = False
        self._ahead = None
        self.value = value
        self.cursor_position = len(value)
        self.screen.set_focus(self)  # at once: what is typed next must not reach the table's keys
        self._renew()

    def close(self) -> None:
        """Take it away."""
        self.display = False
        self.make_room()
        self.screen.query_one(BAND, Band).put()
        self.pass_on()

    def make_room(self) -> None:
        """Mark a low screen while the line is open, for what else is on it."""
        self.screen.set_class(self.display and self.screen.size.height < LOW, "crowded")

    def show_error(self, error: str) -> None:
        """Say what is wrong with the line, and leave it as it is."""
        self._has_error = True
        self.take_back()
        self.screen.query_one(BAND, Band).put(((Cell(f"✖ {escape(error)}", Tone.BAD),), ()))

    # Completion

    def suggested(self, value: str) -> str | None:
        """The line in full, where something begins so."""
        past = self.history.suggestion(value) if self.history else ""
        if past or self._offer is None or not value or value[-1:] == " ":
            return past or None
        first = next(iter(self._offer.candidates), "")
        return f"{value[: self._offer.start]}{first}" if first else None

    @on(Input.Changed)
    def _typed(self) -> None:
        if self._chosen >= 0 and self._offer and self.value == self._with(self._chosen):
            return  # Tab's own doing
        self._has_error = False
        self._renew()

    def _renew(self) -> None:
        if self.complete is None or not self.display:
            return
        self._offer, self._chosen = self.complete(self.value), -1
        self._lead = self.value[: self._offer.start]
        self.show_candidates()

    def _with(self, number: int) -> str:
        return f"{self._lead}{self._offer.candidates[number]}" if self._offer else self.value

    def action_complete(self, step: int) -> None:
        """Complete as far as all candidates agree; then one after the other."""
        offer = self._offer
        if offer is None or not offer.candidates:
            return
        if len(offer.candidates) == 1:
            end = "" if offer.candidates[0].endswith((":", "=", ">", "/")) else " "
            self._put(f"{self._with(0)}{end}")
        elif self._chosen < 0 and len(self._lead + offer.common) > len(self.value):
            self._put(self._lead + offer.common)
        else:
            self._chosen = (self._chosen + step) % len(offer.candidates) if self._chosen >= 0 or step > 0 else -2
            self._chosen %= len(offer.candidates)
            self._put(self._with(self._chosen))
            self.show_candidates()

    def _put(self, value: str) -> None:
        self.value = value
        self.cursor_position = len(value)

    def show_candidates(self) -> None:
        """The candidates, as many as have room."""
        if self._has_error or self._offer is None:
            return
        width, height = self.screen.size
        rows = rows_within(height, LINES)
        lines = laid_out(self._offer.candidates, self._chosen, self._offer.more, width - 2, rows)
        self.screen.query_one(BAND, Band).put(*((line, ()) for line in lines))

    # The rest

    def render_lines(self, crop: Region) -> list[Strip]:
        """The line, with its sign where the padding leaves room for it."""
        strips = super().render_lines(crop)
        if crop.x or crop.y or not strips:
            return strips
        sign = Strip([Segment(f" {self._sign} ", self.rich_style + Style(bold=True))])
        return [Strip.join([sign, strips[0].crop(sign.cell_length)]), *strips[1:]]

    def action_past(self, way: str) -> None:
        """Through what was typed before."""
        if self.history is not None:
            self._put(self.history.back(self.value) if way == "back" else self.history.forth(self.value))

    def action_leave(self) -> None:
        """Leave the line."""
        self.post_message(self.Dismissed(self))


def laid_out(candidates: Sequence[str], chosen: int, more: int, width: int, rows: int = LINES) -> list[Line]:
    """Candidates in columns: so many rows around the chosen one, and how many are left, if there are two rows."""
    if not candidates:
        return []
    column = min(width, max(map(width_of, candidates)) + 2)
    across = max(1, width // column)
    room = rows * across
    first = max(0, chosen // across - max(rows - 2, 0)) * across
    left = len(candidates) - first + more
    shown = candidates[first : first + (room if left <= room or rows == 1 else room - 1)]
    pairs = [
        (text, Tone.CHOSEN if first + n == chosen else Tone.QUIET) for n, text in enumerate(map(escape, shown))
    ]
    if left > len(shown) and rows > 1:
        pairs.append((f"… {left - len(shown):,} more", Tone.QUIET))
    cells = [(Cell(text, tone), Cell(" " * max(1, column - width_of(text)))) for text, tone in pairs]
    return [tuple(chain(*cells[start : start + across])) for start in range(0, len(cells), across)]
