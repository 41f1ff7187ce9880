"""The filter's language: words, `facet:word`, `!` in front of either. Pure.

Every term must hold. A word is looked for anywhere in the row's text, then as letters in order ("wb1" finds
web@1). A facet that the table does not have matches nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from fleettui.console.rows.row import Row

FACETS = ("state", "machine", "target", "sub", "unit", "is", "metadata", "actor", "verb")


@dataclass(frozen=True, slots=True)
class Term:
    """One condition of a filter."""

    word: str
    facet: str = ""
    negated: bool = False
    fuzzy: re.Pattern[str] | None = None

    def holds(self, row: Row) -> bool:
        """Whether the row meets the condition."""
        return self._found(row) is not self.negated

    def _found(self, row: Row) -> bool:
        if not self.facet:
            text = row.search
            return self.word in text or bool(self.fuzzy and self.fuzzy.search(text.partition(" ")[0]))
        value = row.facet(self.facet)
        return value is not None and self.word in value.lower()


@dataclass(frozen=True, slots=True)
class Query:
    """A parsed filter; the empty one lets every row through."""

    text: str = ""
    terms: tuple[Term, ...] = ()

    def admits(self, row: Row) -> bool:
        """Whether the row is to be shown."""
        return all(term.holds(row) for term in self.terms)

    def __bool__(self) -> bool:
        return bool(self.terms)


def parse_query(text: str) -> Query:
    """Any text is a filter; an unknown facet is taken as a word (unit names may hold colons)."""
    return Query(text.strip(), tuple(_term(word) for word in text.lower().split() if word.strip("!")))


def _term(word: str) -> Term:
    negated = word.startswith("!")
    bare = word.lstrip("!")
    facet, colon, value = bare.partition(":")
    if colon and facet in FACETS:
        return Term(value, facet, negated)
    fuzzy = None if negated or len(bare) < 2 else re.compile(".{0,12}?".join(map(re.escape, bare)))
    return Term(bare, "", negated, fuzzy)
