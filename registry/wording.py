"""Lists and numbers as people read them: the first few, how many more, one of something or several. Pure."""

from __future__ import annotations

from collections.abc import Iterable


def listed(names: Iterable[str], most: int, what: str = "") -> str:
    """`a, b, c and 4 more`: the first `most` of the names, and how many more there are, of `what` (its plural)."""
    names = list(names)
    rest = and_more(len(names) - most, what)
    return f"{', '.join(names[:most])} {rest}" if rest else ", ".join(names)


def and_more(left: int, what: str = "") -> str:
    """`and 4 more` or, of something, `and 4 more machines`; "" when none is left."""
    if left <= 0:
        return ""
    return f"and {left} more {what}".rstrip()


def counted(count: int, noun: str) -> str:
    """`1 unit`, `2 units`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"
