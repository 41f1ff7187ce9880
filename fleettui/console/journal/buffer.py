"""The journal that is kept, what of it is shown and where, and what the search found. Pure.

A ring holds the newest items in the order in which they came; items and rows are counted from the beginning of the
stream, so that a place remains the same place when lines come and when lines go. `terms` say how items are shown;
other terms are applied by `redo`, in pieces, so that 100,000 items are gone through without keeping anybody
waiting, and take effect at once when it has ended."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Generic, TypeVar

from fleettui.console.journal.filters import EVERYTHING, Narrowing, Pattern, Test, compiled, finds, searched
from fleettui.console.journal.formatter import DEFAULT_FORMAT, WARNING, LineFormat, LineFormatter
from fleettui.console.journal.messages import levelled
from fleettui.console.journal.sources import Item, Remark, Wanted
from fleettui.console.text.cells import Line
from fleettui.console.text.formatting import counted
from fleettui.journal_entry import JournalEntry

T = TypeVar("T")


class Ring(Generic[T]):
    """Keeps the newest `capacity` items. `first` is the number of the oldest kept, counted from the beginning."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.first = 0
        self._items: list[T] = []
        self._start = 0

    def __len__(self) -> int:
        return len(self._items) - self._start

    def __getitem__(self, index: int) -> T:
        if not 0 <= index < len(self):
            raise IndexError(index)
        return self._items[self._start + index]

    def __iter__(self) -> Iterator[T]:
        return islice(self._items, self._start, None)

    def slice(self, start: int, end: int) -> list[T]:
        """The items of some places."""
        return self._items[self._start + start : self._start + end]

    def extend(self, items: Iterable[T]) -> int:
        """Add items; return how many of the oldest were dropped."""
        self._items.extend(items)
        surplus = max(0, len(self) - self.capacity)
        self._start += surplus
        self.first += surplus
        if self._start > self.capacity // 4:
            del self._items[: self._start]
            self._start = 0
        return surplus

    def prepend(self, items: Sequence[T]) -> None:
        """Add items before the first; `capacity` is the caller's to keep."""
        self._items[: self._start] = items
        self._start = 0
        self.first -= len(items)

    def cut(self, count: int) -> None:
        """Drop the newest."""
        del self._items[len(self._items) - count :]

    def clear(self) -> None:
        """Begin again."""
        self._items, self._start, self.first = [], 0, 0


SLACK = 4096  # how much of an array may lie unused at its front


class Numbers:
    """Growing numbers, of which the smallest are dropped."""

    def __init__(self) -> None:
        self._all = array("q")
        self._start = 0

    def __len__(self) -> int:
        return len(self._all) - self._start

    def __getitem__(self, index: int) -> int:
        return self._all[self._start + index]

    def append(self, number: int) -> None:
        """Add one, larger than those before."""
        self._all.append(number)

    def prepend(self, numbers: Iterable[int]) -> None:
        """Add some before the first, smaller than those there are."""
        self._all[: self._start] = array("q", numbers)
        self._start = 0

    def cut(self, count: int) -> None:
        """Keep only so many, the smallest."""
        del self._all[self._start + count :]

    def below(self, number: int) -> int:
        """How many are smaller."""
        return bisect_left(self._all, number, self._start) - self._start

    def up_to(self, number: int) -> int:
        """How many are not larger."""
        return bisect_right(self._all, number, self._start) - self._start

    def drop(self, count: int) -> None:
        """Forget the first ones."""
        self._start += count
        if self._start > SLACK and self._start > len(self):
            del self._all[: self._start]
            self._start = 0


class Layout:
    """The shown items in their order, each with one row or more."""

    def __init__(self) -> None:
        self._items = Numbers()
        self._ends = Numbers()  # of each item, the row after its last
        self.first_row = 0
        self.end_row = 0

    def __len__(self) -> int:
        return len(self._items)

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return self.end_row - self.first_row

    def append(self, item: int, rows: int) -> None:
        """Show one more item at the end."""
        self._items.append(item)
        self.end_row += rows
        self._ends.append(self.end_row)

    def prepend(self, items: Sequence[tuple[int, int]]) -> None:
        """Show more items before the first, each with its rows; these rows have numbers below those there are."""
        ends, row = [], self.first_row
        for _, rows in reversed(items):
            ends.append(row)
            row -= rows
        self._ends.prepend(reversed(ends))
        self._items.prepend(item for item, _ in items)
        self.first_row = row

    def cut_from(self, item: int) -> None:
        """Forget this item and those after it."""
        kept = self._items.below(item)
        self._items.cut(kept)
        self._ends.cut(kept)
        self.end_row = self._ends[kept - 1] if kept else self.first_row

    def drop_below(self, item: int) -> None:
        """Forget the items before this one."""
        gone = self._items.below(item)
        if gone:
            self.first_row = self._ends[gone - 1]
            self._items.drop(gone)
            self._ends.drop(gone)

    def item(self, index: int) -> int:
        """The number of a shown item."""
        return self._items[index]

    def index(self, item: int) -> int:
        """The place of an item among the shown ones; of one that is not shown, that of the next."""
        return self._items.below(item)

    def at(self, row: int) -> tuple[int, int]:
        """The place of the item in a row, and which of its rows it is."""
        index = self._ends.up_to(row)
        return index, row - self.start(index)

    def start(self, index: int) -> int:
        """The first row of a shown item; past the last one, the end."""
        return self._ends[index - 1] if index else self.first_row

    def height(self, index: int) -> int:
        """How many rows a shown item takes."""
        return self._ends[index] - self.start(index)


CAPACITY = 100_000
PIECE = 1_000  # items gone through at once: a few milliseconds


@dataclass(frozen=True, slots=True)
class Terms:
    """How the journal is shown: whose it is, how it is laid out, what is left out, what is searched for."""

    wanted: tuple[Wanted, ...] = ()
    line_format: LineFormat = DEFAULT_FORMAT
    narrowing: Narrowing = EVERYTHING
    search: str = ""


class BufferView:
    """The items that certain terms show. UserError for a filter or a search that is no expression."""

    def __init__(self, terms: Terms) -> None:
        self.terms = terms
        self.layout = Layout()
        self.hits = Numbers()
        self.formatter = LineFormatter(terms.wanted, terms.line_format)
        self.pattern: Pattern | None = compiled(terms.search) if terms.search else None
        self._admits = terms.narrowing.admits()
        self._finds: Test | None = finds(terms.search) if terms.search else None

    def take(self, items: Sequence[Item], number: int) -> None:
        """Show more items, the first of them with this number."""
        admits, rows, found = self._admits, self.formatter.rows, self._finds
        append = self.layout.append
        for item in items:
            if admits(item):
                append(number, rows(item))
                if found and type(item) is not Remark and found(searched(item)):  # type: ignore[arg-type]
                    self.hits.append(number)
            number += 1

    def prepend(self, items: Sequence[Item], number: int) -> None:
        """Show more items before the first, the first of them with this number."""
        shown = [(at, item) for at, item in enumerate(items, number) if self._admits(item)]
        self.layout.prepend([(at, self.formatter.rows(item)) for at, item in shown])
        if found := self._finds:
            self.hits.prepend([at for at, item in shown if type(item) is not Remark and found(searched(item))])  # type: ignore[arg-type]

    def cut_from(self, number: int) -> None:
        """Forget this item and those after it."""
        self.layout.cut_from(number)
        self.hits.cut(self.hits.below(number))

    def drop_below(self, number: int) -> None:
        """Forget items that are no longer kept."""
        self.layout.drop_below(number)
        self.hits.drop(self.hits.below(number))


class JournalBuffer:
    """One journal: the lines that are kept, and which of them are shown."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self.capacity = capacity
        self.ring: Ring[Item] = Ring(capacity)
        self.view = BufferView(Terms())
        self.warnings = 0  # kept, and worse than a notice
        self.dropped = 0  # that never came here, as far as we were told

    def begin(self) -> None:
        """Empty it, on the same terms; a `redo` that is under way ends without effect."""
        self.ring = Ring(self.capacity)
        self.view = BufferView(self.view.terms)
        self.warnings = self.dropped = 0

    @property
    def end(self) -> int:
        """The number that the next item will have."""
        return self.ring.first + len(self.ring)

    @property
    def hidden(self) -> int:
        """How many items are kept and not shown."""
        return len(self.ring) - len(self.view.layout)

    def stretch(self, *, reading: bool) -> None:
        """While the reader is paused, the ring holds a quarter more before anything goes."""
        self.ring.capacity = self.capacity + (self.capacity // 4 if reading else 0)

    def room_above(self, number: int) -> int:
        """How many more items can be kept before this one is dropped."""
        return max(0, self.ring.capacity - (self.end - max(number, self.ring.first)))

    def take(self, items: Sequence[Item]) -> None:
        """Keep more items; the oldest go when there are too many."""
        items = [levelled(item) if type(item) is JournalEntry else item for item in items]
        surplus = max(0, len(self.ring) + len(items) - self.ring.capacity)
        for number in range(min(surplus, len(self.ring))):
            self.warnings -= _warns(self.ring[number])
        number = self.end
        self.ring.extend(items)
        late = max(0, self.ring.first - number)  # more at once than can be kept
        kept = items[late:] if late else items
        self.warnings += sum(map(_warns, kept))
        self.dropped += sum(item.dropped for item in items if type(item) is Remark)
        self.view.take(kept, number + late)
        if surplus:
            self.view.drop_below(self.ring.first)

    def prepend(self, items: Sequence[Item]) -> int:
        """Keep older items before the first; return how many of the newest are dropped for them.

        Not while a `redo` is under way.
        """
        items = [levelled(item) if type(item) is JournalEntry else item for item in items[-self.capacity :]]
        surplus = max(0, len(self.ring) + len(items) - self.ring.capacity)
        for number in range(len(self.ring) - surplus, len(self.ring)):
            self.warnings -= _warns(self.ring[number])
        if surplus:
            self.view.cut_from(self.end - surplus)
            self.ring.cut(surplus)
        self.ring.prepend(items)
        self.view.prepend(items, self.ring.first)
        self.warnings += sum(map(_warns, items))
        return surplus

    def edges(self, machines: Iterable[str], *, newest: bool) -> dict[str, JournalEntry]:
        """The oldest entry that is kept of each of these machines, or the newest; of some there may be none."""
        missing, found = set(machines), dict[str, JournalEntry]()
        for number in range(len(self.ring)):
            item = self.ring[len(self.ring) - 1 - number if newest else number]
            if type(item) is JournalEntry and item.cursor and item.machine in missing:
                found[item.machine] = item
                missing.discard(item.machine)
                if not missing:
                    break
        return found

    def redo(self, terms: Terms) -> Iterator[None]:
        """Show by other terms; yields between pieces. UserError at once for terms that are not valid."""
        return self._redo(BufferView(terms))

    def _redo(self, view: BufferView) -> Iterator[None]:
        ring, number = self.ring, self.ring.first
        while number < self.end:
            number = max(number, self.ring.first)  # what went meanwhile
            at = number - self.ring.first
            items = self.ring.slice(at, at + PIECE)
            view.take(items, number)
            number += len(items)
            if number < self.end:
                yield
                if self.ring is not ring:
                    return
        view.drop_below(self.ring.first)
        self.view = view

    # Reading

    def place(self, row: int) -> tuple[int, int]:
        """The item in a row, and which of its rows that is; past the last row, the next item."""
        layout = self.view.layout
        if row >= layout.end_row:
            return self.end, 0
        index, part = layout.at(row)
        return layout.item(index), part

    def item(self, number: int) -> Item:
        """A kept item."""
        return self.ring[number - self.ring.first]

    def line(self, row: int) -> tuple[int, Line]:
        """What stands in a row: the item's number, and the cells."""
        layout = self.view.layout
        index, part = layout.at(row)
        number = layout.item(index)
        before = self.item(layout.item(index - 1)) if index else None
        return number, self.view.formatter.line(self.item(number), part, before)

    def plain(self) -> list[str]:
        """All shown items as text."""
        layout, formatter = self.view.layout, self.view.formatter
        return [formatter.plain(self.item(layout.item(index))) for index in range(len(layout))]


class ReadingPlace:
    """Where the reader is in a journal: following its newest line, or paused with a cursor on one.

    Items go by their numbers, so that nothing that comes or goes moves the cursor.
    """

    def __init__(self, buffer: JournalBuffer) -> None:
        self.buffer = buffer
        self.reset()

    def reset(self) -> None:
        """Follow an empty journal."""
        self.following = True
        self.cursor = -1  # none while following
        self.missed = 0  # while paused: items that came and could not be kept
        self.detached = False  # what is kept ends before the newest line: nothing that comes is kept
        self._seen = 0  # while paused: the first item that came since

    @property
    def unseen(self) -> int:
        """How many shown items came since it paused."""
        layout = self.buffer.view.layout
        if self.detached:
            return self.missed
        return 0 if self.following else len(layout) - layout.index(self._seen)

    @property
    def current(self) -> Item | None:
        """The item under the cursor; while following, the newest."""
        layout = self.buffer.view.layout
        if not len(layout):
            return None
        index = len(layout) - 1 if self.following else min(layout.index(self.cursor), len(layout) - 1)
        return self.buffer.item(layout.item(index))

    def pause(self) -> bool:
        """Stay here, the cursor on the line that is the newest now; False when it is paused, or empty."""
        layout = self.buffer.view.layout
        if not self.following or not len(layout):
            return False
        self.following = False
        self._seen = self.buffer.end
        self.buffer.stretch(reading=True)
        self.cursor = layout.item(len(layout) - 1)
        return True

    def resume(self) -> None:
        """Follow again; what could not be kept is remarked on."""
        if self.missed:
            said = (
                f"{counted(self.missed, 'line')} came while you read and could not be kept; t reads since a moment"
            )
            self.buffer.take([Remark(said, dropped=self.missed)])
            self.missed = 0
        self.buffer.stretch(reading=False)
        self.following, self.cursor = True, -1

    def admit(self, items: list[Item], top: int) -> list[Item]:
        """The items that can be kept without taking away `top`, which is under the eye while paused."""
        if self.detached:
            self.missed += len(items)
            return []
        if self.following:
            return items
        room = self.buffer.room_above(top)
        self.missed += max(0, len(items) - room)
        return items[:room]

    def detach(self, cursor: int, missed: int = 0) -> None:
        """Be at a line of the past, of which what is kept is a part that ends before the newest line."""
        self.following, self.detached, self.cursor = False, True, cursor
        self.missed += missed

    def has_hit(self, step: int) -> bool:
        """Whether there is a hit below (1) or above (-1) the cursor."""
        hits, here = self.buffer.view.hits, self.buffer.end if self.following else self.cursor
        return hits.up_to(here) < len(hits) if step > 0 else hits.below(here) > 0

    @property
    def hit(self) -> int:
        """The place of the cursor's line among the hits of the search, from 1; 0 when it is none."""
        hits = self.buffer.view.hits
        at = hits.up_to(self.cursor)
        return at if at and hits[at - 1] == self.cursor and not self.following else 0

    def hit_from(self, step: int) -> int | None:
        """The next hit (1), the one before (-1), around the end; 0: the newest at or above here, else the first."""
        hits = self.buffer.view.hits
        if not len(hits):
            return None
        here = self.cursor if not self.following else self.buffer.end
        if not step:
            return hits[max(0, hits.up_to(here) - 1)]
        index = hits.up_to(here) if step > 0 else hits.below(here) - 1
        return hits[index % len(hits)]


def _warns(item: Item) -> bool:
    return type(item) is not Remark and item.priority <= WARNING  # type: ignore[union-attr]
