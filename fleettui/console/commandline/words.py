"""Lines as words: quotes and braces as a shell has them, since lines are pasted from one. Pure."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

from registry.errors import UserError

LIMIT = 10_000  # names that braces may make
MOST_BRACES = 64  # in a word
_BRACES = re.compile(r"^(.*?)\{([^{}]*)\}(.*)$")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")


def split(line: str) -> list[str]:
    """The line's words. UserError for a quote that is not closed."""
    try:
        words = shlex.split(line)
    except ValueError:
        raise UserError("a quote is not closed; close it") from None
    return [name for word in words for name in expand(word)]


def expand(word: str) -> list[str]:
    """`web@{1..3}` and `{db,mail}.service` as a shell expands them. UserError for more than `LIMIT`."""
    if word.count("{") > MOST_BRACES:
        raise UserError(f"{word[:40]} … has more than {MOST_BRACES} braces; use fewer")
    names: list[str] = []
    for name in _expanded(word):
        names.append(name)
        if len(names) > LIMIT:
            raise UserError(f"{word} makes more than {LIMIT:,} names; narrow the braces")
    return names


def _expanded(word: str) -> Iterator[str]:
    found = _BRACES.match(word)
    parts = _parts(found[2]) if found else None
    if found is None or parts is None:
        yield word
        return
    for part in parts:
        yield from _expanded(f"{found[1]}{part}{found[3]}")


def _parts(inside: str) -> Iterator[str] | None:
    """What stands for the braces; None when they are no more than text."""
    ends = _RANGE.fullmatch(inside)
    if ends:
        return _numbers(ends[1], ends[2])
    return iter(inside.split(",")) if "," in inside else None


def _numbers(first: str, last: str) -> Iterator[str]:
    width = max(len(first), len(last)) if first.startswith("0") or last.startswith("0") else 0
    low, high = int(first[:12]), int(last[:12])
    numbers = range(low, high + 1) if low <= high else range(low, high - 1, -1)
    return (str(number).zfill(width) for number in numbers)
