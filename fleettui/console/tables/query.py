r"""The language of filters: of the line that `/` opens, and of `:units`, `:filter` and the like. Pure.

    web core-2          words: anywhere in the row, or as letters in order ("wb1" finds web@1)
    "being stopped"     exactly this, blanks and all; \" and \\ stand for a quote and a backslash
    web@* core-?        a glob, of a whole name
    /web@[0-9]+/        a regular expression, anywhere in the row
    state:failed        a facet: its beginning, or in a name any part; machine=core-1 is the whole
    mem>100M since<5m   a comparison: > >= < <= = with a number, K M G T, %, or s m h d w
    !state:active       what does not hold; machine!=core-1 is the same as !machine=core-1

Every term must hold. Any text is a filter: of one that is not well formed `error` says what is wrong, and where.
A facet that a table does not have matches nothing, and `complaint` says so. Names are hostile: what a term costs
grows with the text that it is looked for in, and no faster.
"""

from __future__ import annotations

import difflib
import operator
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import translate
from typing import TypeAlias

from fleettui.console.tables.rows import Row
from fleettui.console.text.expressions import expression
from fleettui.console.text.finding import in_order, spread
from registry.errors import UserError
from registry.units.name import TYPES

Facet: TypeAlias = str | float | None
Test: TypeAlias = Callable[[Row], bool]


class ValueKind(StrEnum):
    """What a facet's values are."""

    TEXT = "text"
    COUNT = "a number"
    BYTES = "a size such as 100M"
    SHARE = "a percentage such as 50%"
    AGE = "an age such as 5m or 2h"


KINDS = {
    **dict.fromkeys(("state", "machine", "target", "name", "sub", "unit", "is", "version", "metadata", "actor",
                     "verb", "why", "for", "address", "agent", "kind"), ValueKind.TEXT),
    **dict.fromkeys(("restarts", "load", "units", "cpus"), ValueKind.COUNT),
    "mem": ValueKind.BYTES, "cpu": ValueKind.SHARE, "since": ValueKind.AGE,
}  # fmt: skip
FACETS = tuple(KINDS)
VALUES = {  # what a facet's value may be, for completion
    "state": ("failed", "pending", "busy", "active", "inactive", "ready", "cordoned", "draining", "lost"),
    "target": ("inactive", "loaded", "launched"),
    "is": ("drifting", "settled", "old", "new"),
    "kind": ("config", "secret"),
}
SAME = {"name": ("name", "unit", "machine"), "unit": ("unit", "name")}  # a table may call it otherwise
GAP = 12  # characters between two letters that are looked for in order
IN_NAMES = frozenset({"name", "unit", "metadata", "actor", "why", "address"})
OF_UNITS = frozenset({"", "name", "unit"})  # where a glob may leave out ".service" and the like
SIGNS: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "=": operator.eq, ":": operator.eq,
}  # fmt: skip
SCALES = {
    ValueKind.COUNT: {"": 1.0},
    ValueKind.SHARE: {"": 0.01, "%": 0.01},
    ValueKind.BYTES: {"": 1.0, "b": 1.0, **{unit: 1024.0**power for power, unit in enumerate("kmgt", 1)}},
    ValueKind.AGE: {"": 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0},
}
_NUMBER = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,6})?)(%|[a-z]{0,3})")
_FACET = re.compile(r"([a-z]+)(!=|<=|>=|[:=<>])", re.IGNORECASE | re.ASCII)
_SUFFIX = re.compile(rf"\.(?:{'|'.join(sorted(TYPES))})$")


class Form(StrEnum):
    """How a value is written."""

    WORD = "word"  # with * or ? a glob
    QUOTED = "quoted"
    EXPRESSION = "expression"


@dataclass(frozen=True, slots=True)
class Term:
    """One condition. `value` is in lower case, but for an expression's; `sign` is "" without a facet."""

    value: str
    facet: str = ""
    sign: str = ""
    form: Form = Form.WORD
    negated: bool = False

    @property
    def is_glob(self) -> bool:
        """Whether `*` and `?` in it stand for other characters."""
        return self.form is Form.WORD and ("*" in self.value or "?" in self.value)

    def __str__(self) -> str:
        """As it is typed."""
        value = self.value
        if self.form is Form.QUOTED:
            value = '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
        elif self.form is Form.EXPRESSION:
            value = f"/{value}/"
        return f"{'!' if self.negated else ''}{self.facet}{self.sign}{value}"

    def meant(self, rows: Iterable[Row]) -> str:
        """The word that may be misspelt in it, where a facet has few and none of them begins so; "" for none."""
        if self.negated or self.facet not in VALUES or self.form is not Form.WORD or self.is_glob or not self.value:
            return ""
        words = {*VALUES[self.facet]}
        words.update(word for row in rows for word in str(facet_of(row, self.facet)).lower().split())
        if any(word.startswith(self.value) for word in words):
            return ""
        return next(iter(difflib.get_close_matches(self.value, sorted(words), n=1)), "")

    def explained(self) -> str:
        """What it asks for, in words."""
        value = self.value
        if KINDS.get(self.facet, ValueKind.TEXT) is not ValueKind.TEXT:
            how = "is" if self.sign in ":=" else self.sign
        elif self.form is Form.EXPRESSION:
            how, value = "matches", f"/{value}/"
        elif self.is_glob:
            how = "is like"
        elif self.form is Form.QUOTED:
            how, value = "is" if self.sign == "=" else "has", f'"{value}"'
        else:
            how = "is" if self.sign == "=" else "has" if not self.facet or self.facet in IN_NAMES else "begins"
        said = " ".join(each for each in (self.facet, how if self.facet or how != "has" else "", value) if each)
        return f"not {said}" if self.negated else said

    def test(self, now: float) -> Test:
        """The test whether a row meets the condition. UserError for a value that cannot be."""
        kind = KINDS.get(self.facet, ValueKind.TEXT)
        found = self.by_number(kind, now) if kind is not ValueKind.TEXT else self.by_text()
        return (lambda row: not found(row)) if self.negated else found

    def by_number(self, kind: ValueKind, now: float) -> Test:
        """The test of a number."""
        wanted, compare, facet = number(self.value, kind), SIGNS[self.sign], self.facet
        if kind is ValueKind.AGE:
            return lambda row: bool(at := facet_of(row, facet)) and compare(now - at, wanted)  # type: ignore[operator]
        return lambda row: (value := facet_of(row, facet)) is not None and compare(value, wanted)  # type: ignore[arg-type]

    def by_text(self) -> Test:
        """The test of words, or of a facet's text."""
        facet, fits = self.facet, self.fits()
        if facet:
            return lambda row: (value := facet_of(row, facet)) is not None and fits(str(value).lower())
        word = self.value
        if self.form is Form.WORD and not self.is_glob and not self.negated and len(word) > 1:

            def fuzzy(row: Row) -> bool:
                text = row.search
                if word in text:
                    return True
                name = text.partition(" ")[0]
                found = spread(word, name)
                return 0 <= found <= GAP or (found > GAP and in_order(word, name, GAP))

            return fuzzy
        return lambda row: fits(row.search)

    def fits(self) -> Callable[[str], bool]:
        """The test of a text in lower case."""
        value = self.value
        if self.form is Form.EXPRESSION:
            search = compiled(value)
            return lambda text: search(text) is not None
        if not value:  # not typed yet
            return lambda _: True
        if self.is_glob:
            match, piece = re.compile(translate(value)).match, max(re.split(r"[*?\[\]]", value), key=len)
            short = self.facet in OF_UNITS
            return lambda text: (
                piece in text
                and any(match(each) or (short and match(_SUFFIX.sub("", each))) for each in text.split())
            )
        if self.sign == "=":
            return lambda text: text == value or value in text.split()
        if not self.facet or self.facet in IN_NAMES or self.form is Form.QUOTED:
            return lambda text: value in text
        return lambda text: any(each.startswith(value) for each in text.split())


@dataclass(frozen=True, slots=True)
class Query:
    """A parsed filter; the empty one lets every row through.

    `error` says what in its text is not well formed, and at which character; `doubt` what may be a mistake.
    """

    text: str = field(default="", compare=False)
    terms: tuple[Term, ...] = ()
    error: str = field(default="", compare=False)
    doubt: str = field(default="", compare=False)

    def test(self, now: float) -> Test:
        """The test whether a row is to be shown at this time. Make it once for many rows."""
        tests = [term.test(now) for term in self.terms]
        if not tests:
            return lambda _: True
        first, rest = tests[0], tests[1:]
        return (lambda row: first(row) and all(test(row) for test in rest)) if rest else first

    @property
    def ages(self) -> bool:
        """Whether what it admits changes as time passes."""
        return any(KINDS.get(term.facet) is ValueKind.AGE for term in self.terms)

    def complaint(self, rows: Iterable[Row]) -> str:
        """What is wrong with the filter for these rows; "" when nothing is."""
        if self.error:
            return self.error
        found = [row for row in rows if not row.is_group]
        sample = found[0] if found else None
        if self.doubt or sample is None:
            return self.doubt
        for term in self.terms:
            if term.facet and facet_of(sample, term.facet) is None:
                known = " ".join(f"{facet}:" for facet in facets_of(sample))
                return f"this table has no {term.facet}: to filter by; it has {known}"
            if meant := term.meant(found):
                return f"no row has {term}; did you mean {term.facet}{term.sign}{meant}?"
        return ""

    def explained(self) -> str:
        """What is understood: "state begins failed, not machine is core-1"."""
        return ", ".join(term.explained() for term in self.terms)

    def __str__(self) -> str:
        """As it is typed: parsed, it is the same filter."""
        return " ".join(map(str, self.terms))

    def __bool__(self) -> bool:
        return bool(self.terms)


def facet_of(row: Row, facet: str) -> Facet:
    """A row's value for a facet, by whichever name the table has for it."""
    value = row.facet(facet)
    if value is None and facet in SAME:
        return next((found for name in SAME[facet] if (found := row.facet(name)) is not None), None)
    return value


def facets_of(row: Row) -> list[str]:
    """The facets that a table of such rows has."""
    return [facet for facet in FACETS if facet_of(row, facet) is not None]


def number(text: str, kind: ValueKind) -> float:
    """A number with its unit. UserError, with an example, for what is none."""
    found = _NUMBER.fullmatch(text)
    unit = (
        found[2].removesuffix("ib")
        if found and len(found[2]) == 3 and kind is ValueKind.BYTES
        else found and found[2]
    )
    if found is None or unit not in SCALES[kind]:
        raise UserError(f"{text[:20] or 'nothing'} is not {kind}")
    return float(found[1]) * SCALES[kind][unit]


def compiled(text: str) -> Callable[[str], object]:
    """The search of a regular expression; either case is found. UserError for what is none."""
    try:
        return expression(text, re.IGNORECASE).search
    except re.error as error:
        raise UserError(f"not an expression: {error.msg.partition(',')[0]}") from None
    except (OverflowError, RecursionError):
        raise UserError("not an expression: too large") from None


# Reading


class QueryParser:
    """Goes through a text once. The first thing wrong is kept, with its place; what can be read on is read."""

    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0
        self.terms: list[Term] = []
        self.error = self.doubt = ""

    def query(self) -> Query:
        """All of it."""
        while self.skip_blanks():
            start, negated = self.at, False
            while self.text[self.at : self.at + 1] == "!":
                negated, self.at = not negated, self.at + 1
            if self.at < len(self.text) and not self.text[self.at].isspace():
                self.term(start, negated=negated)
        return Query(self.text.strip(), tuple(self.terms), self.error, self.doubt)

    def skip_blanks(self) -> bool:
        """Go to the next term; False when there is none."""
        while self.at < len(self.text) and self.text[self.at].isspace():
            self.at += 1
        return self.at < len(self.text)

    def term(self, start: int, *, negated: bool) -> None:
        """Take one condition."""
        facet, sign = "", ""
        if found := _FACET.match(self.text, self.at, self.at + 20):
            if found[1].lower() in KINDS:
                facet, sign = found[1].lower(), found[2]
                self.at = found.end()
            else:
                self.suspect(found[1].lower(), found[2])
        if sign == "!=":
            sign, negated = "=", not negated
        opened = self.at
        form, value = self.value()
        kind = KINDS.get(facet, ValueKind.TEXT)
        if kind is ValueKind.TEXT and sign in ("<", "<=", ">", ">="):
            numbers = " ".join(name for name, each in KINDS.items() if each is not ValueKind.TEXT)
            self.wrong(opened, f"{sign} compares numbers: {numbers}; {facet} takes : or =")
            return
        term = Term(value if form is Form.EXPRESSION else value.lower(), facet, sign, form, negated)
        try:
            if kind is not ValueKind.TEXT and form is not Form.WORD:
                raise UserError(f"{facet} is {kind}")
            term.test(0.0)
        except UserError as error:
            self.wrong(opened if facet else start, str(error))
        else:
            self.terms.append(term)

    def value(self) -> tuple[Form, str]:
        """The value from here on, and how it is written."""
        begin = self.text[self.at : self.at + 1]
        if begin not in ('"', "/") or not begin:
            start = self.at
            while self.at < len(self.text) and not self.text[self.at].isspace():
                self.at += 1
            return Form.WORD, self.text[start : self.at]
        start, value = self.at, []
        self.at += 1
        while self.at < len(self.text) and self.text[self.at] != begin:
            letter = self.text[self.at]
            if letter == "\\" and self.at + 1 < len(self.text):
                self.at += 1
                letter = self.text[self.at] if begin == '"' else letter + self.text[self.at]
            value.append(letter)
            self.at += 1
        if self.at >= len(self.text):
            what = "quote" if begin == '"' else "expression"
            self.wrong(start, f"the {what} has no {begin} at its end")
        else:
            self.at += 1
            if self.at < len(self.text) and not self.text[self.at].isspace():
                hint = '; a plain / is looked for with quotes: "/usr/bin"' if begin == "/" else ""
                self.wrong(self.at, f"a blank has to stand behind {begin}{hint}")
        return (Form.QUOTED if begin == '"' else Form.EXPRESSION), "".join(value)

    def wrong(self, at: int, what: str) -> None:
        """Keep what is wrong, and where."""
        self.error = self.error or f"at {at + 1}: {what}"

    def suspect(self, name: str, sign: str) -> None:
        """Doubt what looks like a facet and is none."""
        near = difflib.get_close_matches(name, FACETS, n=1)
        hint = f"did you mean {near[0]}{sign}?" if near else f"known: {' '.join(FACETS)}"
        self.doubt = self.doubt or f"{name}{sign} is nothing to filter by and is taken as a word; {hint}"


def parse_query(text: str) -> Query:
    """Parse a filter. Any text is one; an unknown facet is a word (unit names may hold colons) and a doubt."""
    return QueryParser(text).query()


# Completion


def completed(text: str, values: Callable[[str], Iterable[str]]) -> list[str]:
    """What the last word of a filter may become: facets, names, a facet's values.

    `values` returns those of a facet that there are now; of "" the names that a bare word may begin.
    """
    lead, space, word = text.rpartition(" ")
    lead, word = lead + space, word.lower()
    bare = word.lstrip("!")
    bangs = word[: len(word) - len(bare)]
    found = _FACET.match(bare)
    if found is None or found[1] not in KINDS:
        names = sorted({each for each in values("") if each.lower().startswith(bare)} if bare else ())
        return [f"{lead}{bangs}{each}" for each in
                (*(f"{facet}{':' if KINDS[facet] is ValueKind.TEXT else '>'}" for facet in FACETS
                   if bare and facet.startswith(bare)), *names)
                if each.lower() != bare]  # fmt: skip
    typed = bare[len(found[0]) :]
    known = dict.fromkeys((*VALUES.get(found[1], ()), *sorted({*values(found[1])})))
    return [
        f"{lead}{bangs}{found[0]}{value}" for value in known
        if value.lower().startswith(typed) and value.lower() != typed and " " not in value
    ]  # fmt: skip
