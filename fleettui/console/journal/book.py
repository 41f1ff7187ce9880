"""The journal that is kept, what of it is shown, and where the search found something. Pure.

The ring holds items in the order in which they came. `terms` say how they are shown; other terms are applied by
`redo`, in pieces, so that 100,000 items are gone through without keeping anybody waiting, and take effect at once
when it has ended.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from fleettui.console.journal.layout import Layout, Numbers
from fleettui.console.journal.narrowing import EVERYTHING, Narrowing
from fleettui.console.journal.patterns import Pattern, compiled, finds
from fleettui.console.journal.ring import Tail
from fleettui.console.journal.scribe import PLAIN_LOOK, WARNING, Look, Scribe
from fleettui.console.journal.sources import Item, Remark, Wanted
from fleettui.console.text.cells import Line

CAPACITY = 100_000
PIECE = 1_000  # items gone through at once: a few milliseconds


@dataclass(frozen=True, slots=True)
class Terms:
    """How the journal is shown: whose it is, how it is laid out, what is left out, what is searched for."""

    wanted: tuple[Wanted, ...] = ()
    look: Look = PLAIN_LOOK
    narrowing: Narrowing = EVERYTHING
    search: str = ""


class View:
    """Items shown on certain terms. UserError for a narrowing or a search that is no expression."""

    def __init__(self, terms: Terms) -> None:
        self.terms = terms
        self.layout = Layout()
        self.hits = Numbers()
        self.scribe = Scribe(terms.wanted, terms.look)
        self.pattern: Pattern | None = compiled(terms.search) if terms.search else None
        self._admits = terms.narrowing.admits()
        self._finds: Callable[..., bool] | None = finds(self.pattern) if self.pattern else None

    def take(self, items: Sequence[Item], number: int) -> None:
        """Show more items, the first of them with this number."""
        admits, rows, found = self._admits, self.scribe.rows, self._finds
        append = self.layout.append
        for item in items:
            if admits(item):
                append(number, rows(item))
                if found and type(item) is not Remark and found(item):
                    self.hits.append(number)
            number += 1

    def drop_below(self, number: int) -> None:
        """Forget items that are no longer kept."""
        self.layout.drop_below(number)
        self.hits.drop(self.hits.below(number))


class Book:
    """One journal."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self.capacity = capacity
        self.ring: Tail[Item] = Tail(capacity)
        self.view = View(Terms())
        self.warnings = 0  # kept, and worse than a notice
        self.dropped = 0  # that never came here, as far as we were told

    def begin(self) -> None:
        """Empty, on the same terms; a `redo` that is under way comes to nothing."""
        self.ring = Tail(self.capacity)
        self.view = View(self.view.terms)
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
        """While somebody reads in it, the ring holds a quarter more before anything goes."""
        self.ring.capacity = self.capacity + (self.capacity // 4 if reading else 0)

    def room_above(self, number: int) -> int:
        """How many more items can be kept before this one goes."""
        return max(0, self.ring.capacity - (self.end - max(number, self.ring.first)))

    def take(self, items: Sequence[Item]) -> None:
        """Keep more items; the oldest go when there are too many."""
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

    def redo(self, terms: Terms) -> Iterator[None]:
        """Show by other terms; pauses between pieces. UserError at once for terms that cannot be."""
        return self._redo(View(terms))

    def _redo(self, view: View) -> Iterator[None]:
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

    def item(self, number: int) -> Item:
        """A kept item."""
        return self.ring[number - self.ring.first]

    def line(self, row: int) -> tuple[int, Line]:
        """What stands in a row: the item's number, and the cells."""
        layout = self.view.layout
        index, part = layout.at(row)
        number = layout.item(index)
        before = self.item(layout.item(index - 1)) if index else None
        return number, self.view.scribe.line(self.item(number), part, before)

    def plain(self) -> list[str]:
        """All shown items as text."""
        layout, scribe = self.view.layout, self.view.scribe
        return [scribe.plain(self.item(layout.item(index))) for index in range(len(layout))]


def _warns(item: Item) -> bool:
    return type(item) is not Remark and item.priority <= WARNING  # type: ignore[union-attr]
