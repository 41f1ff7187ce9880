"""The newest lines of something endless: a ring with numbers that stay. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Generic, TypeVar

T = TypeVar("T")


class Tail(Generic[T]):
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
        """Add items; returns how many of the oldest went."""
        self._items.extend(items)
        surplus = max(0, len(self) - self.capacity)
        self._start += surplus
        self.first += surplus
        if self._start > self.capacity // 4:
            del self._items[: self._start]
            self._start = 0
        return surplus

    def clear(self) -> None:
        """Begin again."""
        self._items, self._start, self.first = [], 0, 0
