"""What of the journal is shown: include, exclude, priority. Pure.

An include needs all its words, an exclude any of them. What the reader says about the stream is always shown.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fleettui.console.journal.patterns import words
from fleettui.console.journal.sources import Item, Remark

if TYPE_CHECKING:
    from fleettui.remote.journal_entry import JournalEntry

ALL_PRIORITIES = 7
PRIORITIES = ("emergencies", "alerts", "critical", "errors", "warnings", "notices", "info", "everything")
STEPS = (ALL_PRIORITIES, 5, 4, 3, 2)  # what the priority key goes through


@dataclass(frozen=True, slots=True)
class Narrowing:
    """What is shown. `priority` is the least urgent that is (0 emergencies to 7 debug)."""

    include: str = ""
    exclude: str = ""
    priority: int = ALL_PRIORITIES

    def admits(self) -> Callable[[Item], bool]:
        """Whether an item is shown. UserError for an expression that is none."""
        wanted = [each.search for each in words(self.include)]
        unwanted = [each.search for each in words(self.exclude)]
        most = self.priority

        def by_text(entry: JournalEntry) -> bool:
            text = f"{entry.message}\n{entry.hostname} {entry.unit} {entry.identifier}"
            return all(search(text) for search in wanted) and not any(search(text) for search in unwanted)

        if not wanted and not unwanted:
            if most >= ALL_PRIORITIES:
                return lambda item: True  # noqa: ARG005
            return lambda item: type(item) is Remark or item.priority <= most  # type: ignore[union-attr]
        return lambda item: type(item) is Remark or (item.priority <= most and by_text(item))  # type: ignore[union-attr,arg-type]

    def __bool__(self) -> bool:
        return bool(self.include or self.exclude or self.priority < ALL_PRIORITIES)


EVERYTHING = Narrowing()


def next_priority(current: int) -> int:
    """The next step: everything, notices, warnings, errors, critical, everything."""
    return STEPS[(STEPS.index(current) + 1) % len(STEPS)] if current in STEPS else ALL_PRIORITIES


def told_priority(priority: int) -> str:
    """ "errors and worse"."""
    return PRIORITIES[priority] + (" and worse" if 0 < priority < ALL_PRIORITIES else "")
