"""Untrusted text on a terminal."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleettui.escape import escape, escape_keeping_colours


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain text, naïve 日本語 🙂", "plain text, naïve 日本語 🙂"),
        ("\x1b]0;title\x07", "␛]0;title␇"),
        ("a\rb\nc", "a␍b␊c"),
        ("a\tb", "a       b"),
        ("\x9b31m", "\\x9b31m"),
        ("\x7f", "␡"),
        ("exe\u202egpj.", "exe\\u202egpj."),
        ("\ud800", "\\ud800"),
        ("", ""),
    ],
)
def test_dangerous_characters_are_shown(text: str, shown: str) -> None:
    assert escape(text) == shown


def test_lines_can_be_kept() -> None:
    assert escape("a\nb\x1b", lines=True) == "a\nb␛"


@given(st.text(st.characters()))
def test_result_can_be_printed_and_has_no_controls(text: str) -> None:
    shown = escape(text)
    shown.encode("utf-8")
    assert not re.search("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", shown)
    assert escape(shown) == shown


def test_colours_are_kept_and_nothing_else_is() -> None:
    text = "\x1b[0;1;32m●\x1b[0m web\x1b[2J\x1b]0;x\x07\n"
    assert escape_keeping_colours(text) == "\x1b[0;1;32m●\x1b[0m web␛[2J␛]0;x␇\n"
