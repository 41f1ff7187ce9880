"""How wide a table's columns are on a screen of a given width. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar

from fleettui.console.tables.rows import Column, Row

R = TypeVar("R", bound=Row)
GAP = 2
LEAST_FLEX = 30  # what the last column, the reason, should have before others go
INDENT = 2


def grown(longest: dict[str, int], columns: Iterable[Column[R]], rows: Iterable[R]) -> bool:
    """Take the rows' text widths into `longest` (by column id); True when one grew."""
    before = dict(longest)
    rows = list(rows)
    for column in columns:
        if column.longest is not None and rows:
            longest[column.id] = max(longest.get(column.id, 0), *map(column.longest, rows))
    return longest != before


def widths(
    columns: tuple[Column[R], ...], longest: Mapping[str, int], available: int, indent: int
) -> list[tuple[Column[R], int]]:
    """The columns that are shown with their widths; together with the gaps they fill `available`."""
    shown = list(columns)
    while len(shown) > 1 and _needed(shown, longest, indent) > available and _dropped(shown):
        pass
    room = available - _fixed(shown, longest, indent)
    return [(column, _width(column, longest, indent) or max(0, room)) for column in shown]


def _dropped(shown: list[Column[R]]) -> bool:
    """Take the least important column away; False when all that are left must stay."""
    least = max(shown, key=lambda column: column.drop)
    if not least.drop:
        return False
    shown.remove(least)
    return True


def _needed(shown: list[Column[R]], longest: Mapping[str, int], indent: int) -> int:
    return _fixed(shown, longest, indent) + LEAST_FLEX


def _fixed(shown: list[Column[R]], longest: Mapping[str, int], indent: int) -> int:
    return sum(_width(column, longest, indent) for column in shown) + GAP * (len(shown) - 1)


def _width(column: Column[R], longest: Mapping[str, int], indent: int) -> int:
    first = indent if column.id in ("unit", "machine") and column.longest and column.drop == 0 and indent else 0
    if column.longest is None:
        return column.width
    return min(column.width, max(len(column.title), longest.get(column.id, 0) + first))
