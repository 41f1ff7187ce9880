"""What reads untrusted text takes steps in proportion to it: the text is doubled, and the steps are counted."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType

import pytest

from fleettui.console.journal.filters import compiled
from fleettui.console.journal.formatter import wrapped as pieces
from fleettui.console.pages.file import change_counts, diff_lines
from fleettui.console.tables.query import GAP, parse_query
from fleettui.console.text.cells import Cell, ansi_lines, line_text
from fleettui.console.text.expressions import Automaton, Plain
from fleettui.console.text.finding import FinderSource, in_order, letters, ranked
from fleettui.console.widgets.drawing import wrapped
from registry.errors import UserError
from tests.console.test_listing import row

GROWS = 2.6  # of what is doubled, with room for what does not grow


def steps(work: Callable[[], object], most: int = 3_000_000) -> int:
    """The lines of Python that run, in all functions; AssertionError once there are too many to wait for."""
    count = 0

    def trace(frame: FrameType, event: str, argument: object) -> object:  # noqa: ARG001
        nonlocal count
        count += 1
        assert count < most, "the work does not end"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)  # type: ignore[arg-type]
    try:
        work()
    finally:
        sys.settrace(before)
    return count


def grows_with_the_text(work: Callable[[str], object], text: Callable[[int], str], size: int = 300) -> None:
    few, many = (steps(lambda at=at: work(text(at))) for at in (size, 2 * size))  # type: ignore[misc]
    assert many <= GROWS * few + 50, (few, many)


@pytest.mark.parametrize("word", ["hello-web", "aaaaaaaab", "ab" * 20])
def test_letters_in_order_are_found_in_one_pass(word: str) -> None:
    letters_of = lambda size: "".join(sorted({*word})) * size  # noqa: E731
    grows_with_the_text(lambda text: in_order(word, text, GAP), letters_of)
    grows_with_the_text(lambda text: in_order(word + "~", text, GAP), letters_of)
    grows_with_the_text(lambda text: letters(word + "~", text), letters_of)


def test_the_issues_filter_ends() -> None:
    name = "".join(letter * 40 for letter in "hello-we") * 4
    query = parse_query("hello-web")
    assert steps(lambda: query.test(0.0)(row(name))) < 100_000
    assert steps(lambda: ranked("hello-web", [FinderSource("unit", [name])], 5)) < 100_000


@pytest.mark.parametrize(
    ("word", "name", "found"),
    [("wb1", "web@1", True), ("wb1", "w" + "x" * 12 + "b1", True), ("wb1", "w" + "x" * 13 + "b1", False),
     ("ab", "a" + "x" * 20 + "a" + "xb", True), ("abc", "ab" + "x" * 20 + "abc", True), ("aa", "a", False)],
)  # fmt: skip
def test_letters_in_order_mean_what_they_meant(word: str, name: str, *, found: bool) -> None:
    assert in_order(word, name, GAP) is found


EXPLOSIVE = ["(a+)+$", "(a|a)*b", "(a|aa)+$", "(.*)*x", "a*a*a*a*a*b", "(a?){20}a{20}b", r"(\w+\s?)+:$", "(a*)*b"]


@pytest.mark.parametrize("text", EXPLOSIVE)
def test_an_expression_with_too_many_ways_is_followed_in_one_pass(text: str) -> None:
    machine = compiled(text)
    assert isinstance(machine, Automaton)
    counts = []
    for size in (2_000, 4_000):
        before = machine.steps
        assert not machine.search("a" * size + "!")
        counts.append(machine.steps - before)
    assert counts[1] <= 2 * counts[0] + 50
    grows_with_the_text(machine.spans, lambda size: "a" * size + "!", 100)


def test_words_and_simple_expressions_are_left_to_the_library() -> None:
    for text in ("slow", "10.0.0.1", "error|warn", "^GET /$", "colou?r", "[45]0[0-9]", "a{3}"):
        assert isinstance(compiled(text), Plain), text


@pytest.mark.parametrize("text", ["(?=a)b", r"(a)\1", "(?<!a)b", "(?i)a", "a*+", "(?>a)*", "((a{900}){900})*"])
def test_what_cannot_be_followed_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(UserError) as refused:
        compiled(text)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("letter", ["a", "語", "e\u0301", "\u200b", " ", "ab ", "\u0301"])
def test_wrapping_grows_with_the_text(letter: str) -> None:
    grows_with_the_text(lambda text: wrapped((Cell(text),), 40), lambda size: letter * size, 2_000)
    grows_with_the_text(lambda text: pieces(text, 40, words=True), lambda size: letter * size, 2_000)


def test_wrapping_loses_nothing() -> None:
    text = "語e\u0301 x" * 200 + "\u0301" * 500 + "a" * 300
    found = "".join(line_text(line) for line in wrapped((Cell(text),), 30))
    assert found.replace(" ", "") == text.replace(" ", "")


@pytest.mark.parametrize("distinct", [1, 2, 40, 100, 1000])
def test_two_files_are_compared_in_time_to_be_waited_for(distinct: int) -> None:
    old = "\n".join(f"A={number % distinct}" for number in range(4000))
    new = "\n".join(f"A={number * 7919 % distinct}" for number in range(4001))
    assert steps(lambda: (diff_lines(old, new), change_counts(old, new))) < 1_000_000


@pytest.mark.parametrize("part", ["\x1b[", "\x1b]8;", "\x1b[31m", "\x1b[38;5;", "\x1b]8;;x\x07", "\x1b[1;"])
def test_colours_grow_with_the_text(part: str) -> None:
    grows_with_the_text(ansi_lines, lambda size: part * size)


def test_a_colour_of_too_many_digits_is_none() -> None:
    assert line_text(ansi_lines(f"\x1b[{'9' * 5000}mx")[0]) == "x"
