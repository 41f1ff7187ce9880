"""The shape that all tables share: rows with keys, columns that make cells of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from fleettui.console.text.cells import Cell


class Row(Protocol):
    """One row. `key` never changes and is never given to another thing; `parent` is the key it folds under."""

    @property
    def key(self) -> str:
        """What the row stands for."""

    @property
    def parent(self) -> str:
        """The key of the row it belongs below, or ""."""

    @property
    def is_group(self) -> bool:
        """Whether it only gathers the rows below it, so that it counts for nothing itself."""

    @property
    def search(self) -> str:
        """Lower-case text that a filter's words look into."""

    def facet(self, name: str) -> str | None:
        """What a filter such as `state:failed` compares; None for a facet that this table does not have."""


R = TypeVar("R", bound=Row)


@dataclass(frozen=True, slots=True)
class Column(Generic[R]):
    """One column: its cell for a row at a time, and what it sorts by.

    `width` is in cells; 0 takes what the others leave. Where the screen is too narrow, columns go in descending
    order of `drop` (0: stays). `longest` measures a row's text when the width follows the content, up to `width`.
    A text that `middle` says so of is cut in its middle: names differ at their ends. `off`: shown when asked for.
    """

    id: str
    title: str
    width: int
    cell: Callable[[R, float], Cell]
    order: Callable[[R], Any]
    drop: int = 0
    right: bool = False
    longest: Callable[[R], int] | None = None
    middle: bool = False
    off: bool = False


@dataclass(frozen=True, slots=True)
class Delta(Generic[R]):
    """What changed in a table: rows that are new or differ, and keys that are gone. `reset`: forget the rest."""

    changed: dict[str, R]
    removed: frozenset[str] = frozenset()
    reset: bool = False

    def __bool__(self) -> bool:
        return bool(self.changed or self.removed or self.reset)
