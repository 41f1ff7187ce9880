"""A daemon under systemd that cannot start, for its configuration say: told once, then tried again at leisure.

The first time it ends at once, so that `systemctl start` says that it failed. Started again by `Restart=` it says
the same only in its status, and waits before it ends: until a file of the configuration has changed, at most
PAUSE_S. So what is mended is taken up at once, and nobody's journal fills with one line. Works with every version
of systemd (RestartSteps= needs 254).
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType

PAUSE_S = 30.0  # below systemd's TimeoutStartSec=
LOOK_S = 0.5
FILE = "cannot-start"


class StartFailures:
    """What the start before this one came to. `files` are those of the configuration."""

    def __init__(self, environ: Mapping[str, str], files: Sequence[str | Path]) -> None:
        directory = environ.get("RUNTIME_DIRECTORY") or environ.get("STATE_DIRECTORY") or ""
        self._note = Path(directory.partition(":")[0]) / FILE if directory else None
        self._files = files

    def is_news(self, text: str) -> bool:
        """Whether this error is another one than just before, and remember it. Always so without systemd."""
        if self._note is None:
            return True
        try:
            known = time.time() - self._note.stat().st_mtime < 2 * PAUSE_S and self._note.read_text() == text
        except (OSError, ValueError):
            known = False
        if not known:
            self._remember(text)
        return not known

    def wait(self, text: str) -> None:
        """Wait until a file has changed; an end that somebody asks for counts as a new beginning."""
        before, deadline = self._seen(), time.monotonic() + PAUSE_S

        def end(_number: int, _frame: FrameType | None) -> None:
            if self._note is not None:
                self._note.unlink(missing_ok=True)
            os._exit(1)

        signal.signal(signal.SIGTERM, end)
        while self._seen() == before and time.monotonic() < deadline:
            time.sleep(LOOK_S)
        if self._seen() == before:
            self._remember(text)

    def _remember(self, text: str) -> None:
        if self._note is not None:
            try:
                self._note.write_text(text)
            except OSError:
                return  # a full disk: then it is told each time

    def _seen(self) -> list[tuple[int, int, int] | None]:
        found: list[tuple[int, int, int] | None] = []
        for path in self._files:
            try:
                status = Path(path).stat()
                found.append((status.st_ino, status.st_mtime_ns, status.st_size))
            except OSError:
                found.append(None)
        return found
