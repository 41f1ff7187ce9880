"""One thing that the doctor has found. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum


class Level(IntEnum):
    """How bad it is; the number is the exit status of `fleetctl doctor` when nothing is worse."""

    OK = 0
    WARNING = 1  # it works, and will not for ever
    BROKEN = 2

    @property
    def word(self) -> str:
        """The level in a word."""
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found of a subject; `remedy` says what to do, "" where nothing is to be done."""

    level: Level
    subject: str
    text: str
    remedy: str = ""


def ok(subject: str, text: str) -> Finding:
    """Something is as it should be."""
    return Finding(Level.OK, subject, text)


def warning(subject: str, text: str, remedy: str) -> Finding:
    """Something works, and should be mended."""
    return Finding(Level.WARNING, subject, text, remedy)


def broken(subject: str, text: str, remedy: str) -> Finding:
    """Something does not work."""
    return Finding(Level.BROKEN, subject, text, remedy)


def worst(findings: Iterable[Finding]) -> Level:
    """The worst level that was found."""
    return max((each.level for each in findings), default=Level.OK)
