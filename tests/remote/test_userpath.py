"""Paths with a home directory in them, also one that is not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleettui.userpath import expanded


def test_a_home_directory_is_put_in_and_an_unknown_user_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert expanded("~/.ssh/id") == Path("/home/me/.ssh/id")
    assert expanded(Path("~nobody-of-that-name/id")) == Path.cwd() / "~nobody-of-that-name/id"
    assert expanded("/etc/~x") == Path("/etc/~x")
