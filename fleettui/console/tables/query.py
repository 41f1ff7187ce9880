"""The filter's language: words, `facet:value`, `facet=value`, `!` in front of any. Pure.

Every term must hold. A word is looked for anywhere in the row's text, then as letters in order ("wb1" finds
web@1). After a colon a value is the beginning of a word ("machine:core-1" means core-10 too) or, in a name, any
part of it; after an equals sign it is the whole ("machine=core-1"); `*` and `?` are a glob's. A facet that the
table does not have matches nothing, and `complaint` says so.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from fleettui.console.tables.rows import Row
from fleettui.console.text.finding import in_order

FACETS = ("state", "machine", "target", "name", "sub", "unit", "is", "version", "metadata", "actor", "verb")
VALUES = {  # what a facet's value may be, for completion
    "state": ("failed", "pending", "busy", "active", "inactive", "ready", "cordoned", "draining", "lost"),
    "target": ("inactive", "loaded", "launched"),
    "is": ("drifting", "settled", "old", "new"),
}
SAME = {"name": ("name", "unit", "machine"), "unit": ("unit", "name")}  # a table may call it otherwise
GAP = 12  # characters between two letters that are looked for in order
IN_NAMES = frozenset({"name", "unit", "metadata", "actor"})
_FACET = re.compile(r"(!*)([a-z]+)([:=])(.*)")


@dataclass(frozen=True, slots=True)
class Term:
    """One condition of a filter."""

    word: str
    facet: str = ""
    negated: bool = False
    whole: bool = False
    fuzzy: bool = False  # its letters in order do, too

    def holds(self, row: Row) -> bool:
        """Whether the row meets the condition."""
        if self.facet:
            value = facet_of(row, self.facet)
            found = value is not None and self._fits(value.lower())
        else:
            text = row.search
            found = self.word in text or (self.fuzzy and in_order(self.word, text.partition(" ")[0], GAP))
        return found is not self.negated

    def _fits(self, value: str) -> bool:
        if "*" in self.word or "?" in self.word:
            return any(fnmatchcase(each, self.word) for each in value.split())
        if self.whole:
            return self.word in value.split()
        if self.facet in IN_NAMES:
            return self.word in value
        return any(each.startswith(self.word) for each in value.split())


@dataclass(frozen=True, slots=True)
class Query:
    """A parsed filter; the empty one lets every row through. `doubt` says what in it may be a mistake."""

    text: str = ""
    terms: tuple[Term, ...] = ()
    doubt: str = ""

    def admits(self, row: Row) -> bool:
        """Whether the row is to be shown."""
        return all(term.holds(row) for term in self.terms)

    def complaint(self, rows: Iterable[Row]) -> str:
        """What is wrong with the filter for these rows; "" when nothing is."""
        sample = next((row for row in rows if not row.is_group), None)
        if self.doubt or sample is None:
            return self.doubt
        for term in self.terms:
            if term.facet and facet_of(sample, term.facet) is None:
                known = " ".join(f"{facet}:" for facet in facets_of(sample))
                return f"this table has no {term.facet}: to filter by; it has {known}"
        return ""

    def __bool__(self) -> bool:
        return bool(self.terms)


def facet_of(row: Row, facet: str) -> str | None:
    """A row's value for a facet, by whichever name the table has for it."""
    return next((value for name in SAME.get(facet, (facet,)) if (value := row.facet(name)) is not None), None)


def facets_of(row: Row) -> list[str]:
    """The facets that a table of such rows has."""
    return [facet for facet in FACETS if facet_of(row, facet) is not None]


def parse_query(text: str) -> Query:
    """Parse a filter. Any text is one; an unknown facet is a word (unit names may hold colons) and a doubt."""
    words = [word for word in text.lower().split() if word.strip("!")]
    doubts = filter(None, map(_doubt, words))
    return Query(text.strip(), tuple(map(_term, words)), next(doubts, ""))


def _term(word: str) -> Term:
    found = _FACET.fullmatch(word)
    if found and found[2] in FACETS:
        return Term(found[4], found[2], bool(found[1]), whole=found[3] == "=" and bool(found[4]))
    negated = word.startswith("!")
    bare = word.lstrip("!")
    return Term(bare, "", negated, fuzzy=not negated and len(bare) > 1)


def _doubt(word: str) -> str:
    found = _FACET.fullmatch(word)
    if not found or found[2] in FACETS:
        return ""
    near = difflib.get_close_matches(found[2], FACETS, n=1)
    hint = f"did you mean {near[0]}{found[3]}?" if near else f"known: {' '.join(FACETS)}"
    return f"{found[2]}{found[3]} is nothing to filter by and is taken as a word; {hint}"


def completed(text: str, names: Iterable[str]) -> list[str]:
    """What the last word of a filter may become: facets, then their values. `names` are of machines."""
    lead, space, word = text.rpartition(" ")
    lead, word = lead + space, word.lower()
    bangs = word[: len(word) - len(word.lstrip("!"))]
    found = _FACET.fullmatch(word)
    if found is None or found[2] not in FACETS:
        bare = word.lstrip("!")
        return [f"{lead}{bangs}{facet}:" for facet in FACETS if bare and facet.startswith(bare)]
    values = tuple(names) if found[2] in ("machine", "name") else VALUES.get(found[2], ())
    head = f"{lead}{found[1]}{found[2]}{found[3]}"
    return [
        f"{head}{value}" for value in values if value.lower().startswith(found[4]) and value.lower() != found[4]
    ]
