"""The way through the console: places in the order of their visits, with back and forward as in a browser. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from fleettui.console.text.subject import Subject, Tab

KEPT = 100


@dataclass(frozen=True, slots=True)
class Location:
    """One place: a view with its filter and the row under the cursor, or a detail with its tab."""

    view: str
    query: str = ""
    trouble: bool = False
    row: str = ""
    subject: Subject | None = None
    tab: Tab | None = None

    def same_place(self, other: Location) -> bool:
        """Whether it is the same place but for the row under the cursor."""
        return (self.view, self.query, self.trouble, self.subject, self.tab) == (
            other.view, other.query, other.trouble, other.subject, other.tab)  # fmt: skip


class Navigation:
    """Visited places. `here` is where the reader is."""

    def __init__(self, start: Location) -> None:
        self._spots = [start]
        self._at = 0

    @property
    def here(self) -> Location:
        """The present place as it was last seen."""
        return self._spots[self._at]

    def visit(self, spot: Location) -> None:
        """Be at a place. The same one again only brings its row up to date; another one cuts off what was ahead."""
        if spot.same_place(self.here):
            self._spots[self._at] = spot
            return
        self._spots = [*self._spots[: self._at + 1], spot][-KEPT:]
        self._at = len(self._spots) - 1

    def step(self, steps: int) -> Location | None:
        """Go back (negative) or forward; None when there is nothing there."""
        at = self._at + steps
        if not 0 <= at < len(self._spots):
            return None
        self._at = at
        return self.here

    def leave(self) -> Location | None:
        """Go back to the last place that is not about this one's subject; None when there is none."""
        subject = self.here.subject
        for at in range(self._at - 1, -1, -1):
            if self._spots[at].subject != subject:
                self._at = at
                return self.here
        return None

    def last_view(self, detail: str) -> str:
        """The last view visited that is not the `detail`; "" when there was none."""
        return next((spot.view for spot in self._spots[self._at :: -1] if spot.view != detail), "")

    def room(self) -> tuple[int, int]:
        """How many places lie behind, and ahead."""
        return self._at, len(self._spots) - 1 - self._at
