"""The standard streams of a program: open even where its caller has closed them, and what becomes of lost output.

What standard error does not take is dropped: there is nobody left to tell. Output that cannot be written ends a
program that does nothing but show something. One that has more to do goes on without it (`keep_going`), so that
what it does never depends on who reads, and says so at its end (`ended`).
"""

from __future__ import annotations

import os
import sys
from io import BufferedWriter, FileIO, TextIOWrapper
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

FAILED = 1
BROKEN_PIPE = 141  # what a shell reports for SIGPIPE


class OutputFile(FileIO):
    """A descriptor to write to. `lost`: why something could not be written; `drops`: such a thing is dropped."""

    drops = False
    lost: OSError | None = None

    def write(self, data: ReadableBuffer, /) -> int:
        """Write some of it, or drop all of it."""
        try:
            if self.lost is None or not self.drops:
                return super().write(data)
        except OSError as error:
            self.lost = error
            if not self.drops:
                raise
        return memoryview(data).nbytes


def prepare() -> None:
    """Open the standard streams that are closed, and watch what is written."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # closed by who called us
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode, closefd=False))
    sys.stdout, sys.stderr = _watched(sys.stdout), _watched(sys.stderr)
    _drop(sys.stderr)


def keep_going() -> None:
    """From now on, output that cannot be written stops nothing."""
    _drop(sys.stdout)


def lost() -> OSError | None:
    """Why output could not be written; None when all was."""
    raw = _raw(sys.stdout)
    return raw.lost if raw else None


def ended(code: int) -> tuple[int, str]:
    """The exit code of a program that ends with this one, and what it has to say of lost output, or ""."""
    error = lost()
    if error is None:
        return code, ""
    done = "" if code else "; all else that was asked for was done"
    code = BROKEN_PIPE if isinstance(error, BrokenPipeError) else code or FAILED
    return code, f"the output could not be written: {error.strerror}{done}"


def _watched(stream: TextIO) -> TextIO:
    raw = OutputFile(stream.fileno(), "w", closefd=False)
    lines = bool(stream.line_buffering)
    return TextIOWrapper(BufferedWriter(raw), stream.encoding, "backslashreplace", line_buffering=lines)


def _drop(stream: object) -> None:
    if raw := _raw(stream):
        raw.drops = True


def _raw(stream: object) -> OutputFile | None:
    raw = getattr(getattr(stream, "buffer", None), "raw", None)
    return raw if isinstance(raw, OutputFile) else None
