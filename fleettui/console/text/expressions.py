r"""Regular expressions over lines that anybody may have written, in time that grows with the line alone. Pure.

Python's `re` tries one way after another, and of some expressions there are more ways through a line than anyone
can wait for. Here all ways are followed at once: the expression becomes a machine whose states are sets of places
in it, worked out as lines need them and kept. `re` is still asked what a single character, class or escape means,
and does all the work for expressions that leave it no choice.

What looks around or back (`(?=…)`, `\1`) cannot be followed so and is refused.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

from registry.errors import UserError

MAX_PLACES = 2_000  # of an expression, with its repetitions written out
MAX_STATES = 1_000  # that are kept at once
FEW_WAYS = 64  # so many ways through an expression do no harm
SPAN_WORK = 16  # characters looked at for each of the line's, to find where matches begin and end
_REPEAT = re.compile(r"\{(\d*)(?:(,)(\d*))?\}")
_CODED = {"x": 2, "u": 4, "U": 8}
_ZERO_WIDTH = frozenset("AbBZ")


@dataclass(frozen=True, slots=True)
class One:
    """One character; `text` is the expression for it."""

    text: str


@dataclass(frozen=True, slots=True)
class Anchor:
    """A place between two characters: `^`, `$`, `\\b` and the like."""

    kind: str


@dataclass(frozen=True, slots=True)
class Concatenation:
    """One after the other."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Either:
    """Any of them."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Repeat:
    """As often as that; `most` None: without end."""

    part: Node
    least: int
    most: int | None


Node: TypeAlias = One | Anchor | Concatenation | Either | Repeat


# Reading an expression


def read(text: str) -> Node:
    """The expression's parts. `text` must be one that `re` takes. UserError for what cannot be followed."""
    reader = _ExpressionParser(text)
    found = reader.either()
    if reader.at < len(text):
        raise UserError(f"not an expression that can be searched for: it ends at {reader.at + 1}")
    return found


class _ExpressionParser:
    """Goes through an expression once."""

    def __init__(self, text: str) -> None:
        self.text, self.at, self.depth = text, 0, 0

    def either(self) -> Node:
        parts = [self.row()]
        while self.text[self.at : self.at + 1] == "|":
            self.at += 1
            parts.append(self.row())
        return parts[0] if len(parts) == 1 else Either(tuple(parts))

    def row(self) -> Node:
        parts: list[Node] = []
        while self.at < len(self.text) and self.text[self.at] not in "|)":
            parts.append(self.repeated(self.single()))
        return parts[0] if len(parts) == 1 else Concatenation(tuple(parts))

    def single(self) -> Node:
        letter, start = self.text[self.at], self.at
        self.at += 1
        if letter == "(":
            return self.group()
        if letter == "[":
            self.skip_class()
        elif letter == "\\":
            return self.escape(start)
        elif letter in "^$":
            return Anchor(letter)
        return One(re.escape(letter) if self.at == start + 1 and letter not in ".[" else self.text[start : self.at])

    def group(self) -> Node:
        if self.text[self.at : self.at + 1] == "?":
            named = re.compile(r"\?(?::|P<\w+>)").match(self.text, self.at)
            if named is None:
                raise UserError(
                    f"an expression that looks around or back (at {self.at}) is not searched for; "
                    "write it without (?…)"
                )
            self.at = named.end()
        self.depth += 1
        if self.depth > 100:
            raise UserError("the expression is nested too deeply")
        inner = self.either()
        self.depth -= 1
        self.at += 1  # its closing bracket
        return inner

    def skip_class(self) -> None:
        if self.text[self.at : self.at + 1] == "^":
            self.at += 1
        first = self.at
        while self.at < len(self.text) and (self.text[self.at] != "]" or self.at == first):
            self.at += 2 if self.text[self.at] == "\\" else 1
        self.at += 1

    def escape(self, start: int) -> Node:
        letter = self.text[self.at]
        self.at += 1
        if letter in _ZERO_WIDTH:
            return Anchor(letter)
        if letter in "123456789":
            octal = re.compile(r"[0-3][0-7]{2}").match(self.text, start + 1)
            if octal is None:
                raise UserError(f"an expression that looks back (\\{letter}) is not searched for; write it out")
            self.at = octal.end()
        elif letter in _CODED:
            self.at += _CODED[letter]
        elif letter == "N":
            self.at = self.text.index("}", self.at) + 1
        elif letter == "0":
            while self.at < min(start + 4, len(self.text)) and self.text[self.at] in "01234567":
                self.at += 1
        return One(self.text[start : self.at])

    def repeated(self, part: Node) -> Node:
        letter = self.text[self.at : self.at + 1]
        counted = _REPEAT.match(self.text, self.at) if letter == "{" else None
        if letter and letter in "*+?":
            least, most = int(letter == "+"), 1 if letter == "?" else None
            self.at += 1
        elif counted and counted[0] != "{}":
            least = int(counted[1] or 0)
            most = (int(counted[3]) if counted[3] else None) if counted[2] else least
            self.at = counted.end()
        else:
            return part
        if self.text[self.at : self.at + 1] == "?":  # as few as can be: the same lines
            self.at += 1
        elif self.text[self.at : self.at + 1] == "+":
            raise UserError(
                "an expression that gives nothing back (*+, ++, ?+) is not searched for; leave out the +"
            )
        return Repeat(part, least, most)


def ways(node: Node) -> float:
    """How many ways `re` may have to try from one place of a line; infinite where they grow with the line."""
    match node:
        case Concatenation(parts):
            found = 1.0
            for part in parts:
                found *= ways(part)
            return found
        case Either(parts):
            return sum(map(ways, parts))
        case Repeat(part, 0, 1):
            return 1 + ways(part)
        case Repeat(part, least, most) if least == most and least is not None:
            return float(ways(part) ** min(least, 100)) if least <= MAX_PLACES else float("inf")
        case Repeat():
            return float("inf")
    return 1.0


# The same for journalctl

HIGH = r"(?:[\xc0-\xff][\x80-\xbf]*+|[\x80-\xbf])"  # one character beyond ASCII, to a library that sees bytes
_CODE = re.compile(r"\\(?:x..|u....|U.{8}|N\{[^}]*\}|[0-7]{1,3}|[afnrtv])")


def pcre(node: Node) -> str:
    """An expression for PCRE2 without UTF (as journalctl has it) that finds at least all lines that this one finds.

    What the two understand differently is taken widely: whoever asks looks again at what is found.
    """
    match node:
        case One(text):
            return _one(text)
        case Anchor(kind):
            return kind if kind in "^$" else "\\A" if kind == "A" else ""
        case Concatenation(parts):
            return "".join(map(pcre, parts))
        case Either(parts):
            return f"(?:{'|'.join(map(pcre, parts))})"
        case Repeat(part, least, most):
            return f"(?:{pcre(part)}){{{least},{'' if most is None else most}}}"


def _one(text: str) -> str:
    letter = text[1:] if len(text) == 2 and text[0] == "\\" and not text[1].isalnum() else text
    if _CODE.fullmatch(text):
        letter = str(ast.literal_eval(f"'{text}'"))
    if len(letter) == 1 and letter == text and letter == ".":
        return rf"(?:[^\n\x80-\xff]|{HIGH})"
    if len(letter) == 1 and (letter != text or letter not in ".["):
        if letter.isascii():
            return letter if letter.isalnum() else f"\\x{ord(letter):02x}"
        cases = dict.fromkeys((letter, letter.lower(), letter.upper(), letter.casefold()))
        return f"(?:{'|'.join(cases)})"
    if text.isascii() and "[:" not in text and not _CODE.search(text):
        return rf"(?:(?=[\x00-\x7f]){text}|{HIGH})"
    return rf"(?:[\x00-\x7f]|{HIGH})"


# Following it


@dataclass(slots=True)
class NfaNode:
    """A place in the expression: what to read there, or where to go on without reading."""

    one: int = -1  # which of the characters, and then on to `onward[0]`
    edge: str = ""
    onward: tuple[int, ...] = ()


@dataclass(slots=True)
class State:
    """Places where the machine may be, after a character of this kind; `steps` are those worked out so far.

    `steps` lead to a state, or to None where the expression is found before that character is read.
    """

    places: frozenset[int]
    before: int
    steps: dict[str, State | None] = field(default_factory=dict)
    found_at_end: bool | None = None


BEGIN, LINE_END, WORD, OTHER, END = range(5)


def _kind(letter: str) -> int:
    return LINE_END if letter == "\n" else WORD if letter.isalnum() or letter == "_" else OTHER


class Automaton:
    """One expression as a machine. `steps` counts the characters read and the states worked out."""

    def __init__(self, node: Node, flags: re.RegexFlag | int) -> None:
        self._flags = flags
        self._places: list[NfaNode] = [NfaNode()]  # the first is the end
        self._ones: list[Callable[[str], object]] = []
        self._known: dict[str, int] = {}
        self._start = self._build(node, 0)
        self.steps = 0
        self._states: dict[tuple[frozenset[int], int], State] = {}

    def _add(self, place: NfaNode) -> int:
        if len(self._places) >= MAX_PLACES:
            raise UserError("not an expression: too large; repeat less")
        self._places.append(place)
        return len(self._places) - 1

    def _build(self, node: Node, then: int) -> int:
        """The place where the node begins; after it comes `then`."""
        match node:
            case One(text):
                if text not in self._known:
                    self._known[text] = len(self._ones)
                    self._ones.append(_quietly(text, self._flags).fullmatch)
                return self._add(NfaNode(one=self._known[text], onward=(then,)))
            case Anchor(kind):
                return self._add(NfaNode(edge=kind, onward=(then,)))
            case Concatenation(parts):
                for part in reversed(parts):
                    then = self._build(part, then)
                return then
            case Either(parts):
                return self._add(NfaNode(onward=tuple(self._build(part, then) for part in parts)))
            case Repeat(part, least, most):
                return self._repeat(part, least, most, then)

    def _repeat(self, part: Node, least: int, most: int | None, then: int) -> int:
        if max(least, most or 0) > MAX_PLACES:
            raise UserError("not an expression: too large; repeat less")
        if most is None:
            loop = self._add(NfaNode())
            self._places[loop].onward = (self._build(part, loop), then)
            then = loop
        else:
            last = then
            for _ in range(most - least):
                then = self._add(NfaNode(onward=(self._build(part, then), last)))
        for _ in range(least):
            then = self._build(part, then)
        return then

    # Lines

    def search(self, text: str) -> bool | None:
        """True when it is found anywhere in the text, else None: as `re` has it, to be asked for truth."""
        state = self._state(frozenset((self._start,)), BEGIN)
        for letter in text:
            onward = state.steps[letter] if letter in state.steps else self._step(state, letter)
            if onward is None:
                self.steps += 1
                return True
            state = onward
        self.steps += len(text)
        if state.found_at_end is None:
            state.found_at_end = 0 in self._closure(state.places, state.before, END)
        return state.found_at_end or None

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Where it is found, from the left, each as long as it can be; not all of them in a very tangled line."""
        found, at, work = [], 0, SPAN_WORK * len(text) + 1000
        while at < len(text) and work > 0:
            end, work = self._longest(text, at, work)
            if end > at:
                found.append((at, end))
            at = max(at + 1, end)
        return found

    def _longest(self, text: str, start: int, work: int) -> tuple[int, int]:
        """The end of the longest match that begins here; -1 for none."""
        places, before, end = frozenset((self._start,)), _kind(text[start - 1]) if start else BEGIN, -1
        for at in range(start, len(text) + 1):
            work -= 1
            letter = text[at] if at < len(text) else ""
            reached = self._closure(places, before, _kind(letter) if letter else END)
            if 0 in reached:
                end = at
            places = self._read(reached, letter) if letter else frozenset()
            if not places or work <= 0:
                break
            before = _kind(letter)
        return end, work

    def _state(self, places: frozenset[int], before: int) -> State:
        found = self._states.get((places, before))
        if found is None:
            if len(self._states) >= MAX_STATES:
                for state in self._states.values():
                    state.steps.clear()  # the states that are in use find their way again
                self._states.clear()
            found = self._states[places, before] = State(places, before)
        return found

    def _step(self, state: State, letter: str) -> State | None:
        self.steps += 1
        kind = _kind(letter)
        reached = self._closure(state.places, state.before, kind)
        onward: State | None = None
        if 0 not in reached:
            places = self._read(reached, letter)
            onward = self._state(places | {self._start}, kind)
        state.steps[letter] = onward
        return onward

    def _read(self, reached: set[int], letter: str) -> frozenset[int]:
        takes: dict[int, bool] = {}
        found = set()
        for number in reached:
            place = self._places[number]
            if place.one >= 0:
                if place.one not in takes:
                    takes[place.one] = self._ones[place.one](letter) is not None
                if takes[place.one]:
                    found.add(place.onward[0])
        return frozenset(found)

    def _closure(self, places: frozenset[int], before: int, after: int) -> set[int]:
        """All places that are reached from these without reading, between two characters of these kinds."""
        found, ahead = set(places), list(places)
        while ahead:
            place = self._places[ahead.pop()]
            if place.one < 0 and (not place.edge or _holds(place.edge, before, after)):
                for number in place.onward:
                    if number not in found:
                        found.add(number)
                        ahead.append(number)
        return found


def _holds(edge: str, before: int, after: int) -> bool:
    match edge:
        case "^":
            return before in (BEGIN, LINE_END)
        case "$":
            return after in (END, LINE_END)
        case "A":
            return before == BEGIN
        case "Z":
            return after == END
    return ((before == WORD) != (after == WORD)) is (edge == "b")


def _quietly(text: str, flags: re.RegexFlag | int) -> re.Pattern[str]:
    """`re.compile` without its warnings of what may mean something else one day: they would go to the screen."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return re.compile(text, flags)


class Plain:
    """An expression, or words, that leave `re` no choice."""

    def __init__(self, pattern: re.Pattern[str]) -> None:
        self.search = pattern.search
        self._each: Callable[[str], Iterator[re.Match[str]]] = pattern.finditer

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Where it is found."""
        return [match.span() for match in self._each(text) if match.end() > match.start()]


Expression: TypeAlias = Plain | Automaton


def expression(text: str, flags: re.RegexFlag | int) -> Expression:
    """The expression of this text. `re.error` for one that is none; UserError for one that cannot be followed."""
    pattern = _quietly(text, flags)
    node = read(text)
    return Plain(pattern) if ways(node) <= FEW_WAYS else Automaton(node, flags)
