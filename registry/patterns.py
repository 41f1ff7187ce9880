"""Regular expressions that are compiled when they are first used.

A command knows dozens of them and uses a handful; compiling them all takes as long as reading the records of
hundreds of units. Pure.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from re import compile as pattern
else:

    def pattern(text: str, flags: int = 0) -> Any:  # noqa: ANN401 - as a compiled one
        """As `re.compile`."""
        return _Pattern(text, flags)


__all__ = ["pattern"]


class _Pattern:
    """Has every method of the compiled expression, from the first time that one of them is asked for."""

    def __init__(self, text: str, flags: int) -> None:
        self._text, self._flags = text, flags

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - any of them
        found = getattr(re.compile(self._text, self._flags), name)
        setattr(self, name, found)  # so that it is not looked for again
        return found
