r"""What is searched for and filtered by: words, or a regular expression where the text holds signs of one. Pure.

Lower case finds either case; a capital letter makes it exact. "." and "-" alone make no expression, so that
addresses and names are what they look like. `^` and `$` mean a line's ends. Lines are hostile: see `expressions`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from fleettui.console.journal.expressions import Expression, Plain, expression
from registry.errors import UserError

if TYPE_CHECKING:
    from fleettui.remote.journal_entry import JournalEntry

_SIGNS = frozenset("\\*+?()[]{}|^$")
Pattern = Expression


def is_expression(text: str) -> bool:
    """Whether the text is taken as a regular expression."""
    return not _SIGNS.isdisjoint(text)


def compiled(text: str) -> Pattern:
    """The text as one pattern. UserError for an expression that is none."""
    flags = re.MULTILINE | (0 if any(letter.isupper() for letter in text) else re.IGNORECASE)
    try:
        return expression(text, flags) if is_expression(text) else Plain(re.compile(re.escape(text), flags))
    except (re.error, OverflowError, RecursionError) as error:
        raise UserError(f"not an expression: {_fault(error)}; write \\ before plain signs") from None


def _fault(error: Exception) -> str:
    if not isinstance(error, re.error):
        return "too large"
    where = f" at {error.pos + 1}" if error.pos is not None else ""
    return error.msg.partition(",")[0] + where


def words(text: str) -> tuple[Pattern, ...]:
    """A pattern for each word; a regular expression is one, spaces and all. UserError as `compiled`."""
    return tuple(compiled(word) for word in ([text] if is_expression(text) else text.split()))


def finds(pattern: Pattern) -> Callable[[JournalEntry], bool]:
    """Whether an entry holds the pattern: in the message, or in who said it where."""
    search = pattern.search
    return lambda entry: search(f"{entry.message}\n{entry.hostname} {entry.unit} {entry.identifier}") is not None
