"""What happened, when: every fault, act and finding with its time, on disk at once and counted for the table."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

KEPT = 40  # lines shown after a violation


class Diary:
    """The log of one campaign. May be written from any thread."""

    def __init__(self, file: TextIO) -> None:
        self.faults: Counter[str] = Counter()
        self.acts: Counter[str] = Counter()
        self.failed_faults = 0
        self.violations: list[str] = []
        self.began_s = time.monotonic()
        self._file = file
        self._lines: list[str] = []
        self._lock = threading.Lock()

    def say(self, what: str, text: str) -> None:
        """Write a line."""
        line = f"{time.monotonic() - self.began_s:9.3f}  {what:<9} {text}"
        with self._lock:
            self._lines.append(line)
            self._file.write(line + "\n")
            self._file.flush()

    def violated(self, text: str) -> None:
        """Write down what should not have happened, once."""
        if text not in self.violations:
            self.violations.append(text)
            self.say("VIOLATION", text)

    def last(self) -> str:
        """The newest lines."""
        with self._lock:
            return "\n".join(self._lines[-KEPT:])


@contextmanager
def diary_in(directory: Path) -> Iterator[Diary]:
    """A diary in a directory that is made for it."""
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "diary.log").open("w", errors="backslashreplace") as file:
        yield Diary(file)
