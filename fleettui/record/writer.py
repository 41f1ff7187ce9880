"""The files of a record: segments in one directory, private, bounded, and whole after any death of the recorder.

Each segment is one gzip stream that begins with all that the registry held, so each can be read alone, and the
oldest can be deleted at any time. What was written is flushed to the end of a deflate block: after a kill all of it
can be read, only the trailer is missing, and nobody appends to that file again. `fsync` runs now and then, for the
machine's own death. Blocks while it writes: call it in a thread.
"""

from __future__ import annotations

import calendar
import fcntl
import os
import re
import threading
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from fleettui.record.format import Head, Moment
from registry.errors import UserError

NAME = re.compile(r"fleet-(\d{8,12})-(\d{8}T\d{6})Z\.jsonl\.gz")
STAMP = "%Y%m%dT%H%M%S"
LEVEL = 6
GZIP = 31  # zlib's window size that means a gzip header and trailer
SYNC_S = 5.0
AGED_AT_ONCE = 2  # segments that go for their age at a time: a clock that jumps ahead does not take all of them
PART = 16  # a segment is at most so much of the room: deleting one deletes little


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much a record may take, and how far back it goes."""

    size_bytes: int
    age_s: float


@dataclass(frozen=True, slots=True, order=True)
class Segment:
    """One file of a record."""

    number: int
    path: Path
    size_bytes: int
    begun: float  # seconds since 1970

    @classmethod
    def of(cls, path: Path) -> Segment | None:
        """The segment that a file is, by its name; None for any other file, and for one that is gone."""
        match = NAME.fullmatch(path.name)
        try:
            begun = calendar.timegm(time.strptime(match[2], STAMP)) if match else 0
            return cls(int(match[1]), path, path.stat().st_size, begun) if match else None
        except (FileNotFoundError, ValueError):
            return None


def segments(directory: Path) -> list[Segment]:
    """The segments of a record, oldest first. OSError where the directory cannot be read."""
    return sorted(each for path in directory.iterdir() if (each := Segment.of(path)) is not None)


class RecordWriter:
    """Writes one record. UserError where the directory cannot be written, or another one writes it."""

    def __init__(self, directory: Path, bounds: Bounds) -> None:
        self.directory, self.bounds = directory, bounds
        self.changes = 0  # records written to this segment since its beginning, besides those that began it
        self._file: int | None = None
        self._one = threading.Lock()  # a write that was given up may still be under way in its thread
        self._zip = zlib.compressobj()
        self._size = 0
        self._synced = 0.0
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(directory / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            known = segments(directory)
        except BlockingIOError:
            raise UserError(f"{directory} is being written by another fleettui record; stop that one") from None
        except OSError as error:
            raise UserError(
                f"cannot record into {directory}: {error.strerror}; choose another --directory"
            ) from None
        self._next = known[-1].number + 1 if known else 1

    @property
    def is_open(self) -> bool:
        """Whether a segment is being written."""
        return self._file is not None

    @property
    def is_full(self) -> bool:
        """Whether the segment has come to its share of the room."""
        return self._size >= self.bounds.size_bytes // PART

    def begin(self, head: Head, whole: Moment) -> None:
        """Begin the next segment, and end the one before once it stands. OSError."""
        with self._one:
            old = self._take()
            try:
                stamp = time.strftime(STAMP, time.gmtime(head.at))
                path = self.directory / f"fleet-{self._next:08}-{stamp}Z.jsonl.gz"
                self._next += 1
                self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
                self._zip, self._size = zlib.compressobj(LEVEL, zlib.DEFLATED, GZIP), 0
                self._put(head.line() + whole.line())
                self.changes = 0
                self._sync(force=True)
            finally:
                _close(*old)
            self.prune(head.at)

    def write(self, moment: Moment) -> None:
        """Add a line; it survives the end of this process, and a power cut after a few seconds. OSError."""
        with self._one:
            self._put(moment.line())
            self.changes += len(moment.values)
            self._sync(force=False)

    def close(self) -> None:
        """End the segment as gzip wants it. OSError."""
        with self._one:
            _close(*self._take())

    def abandon(self) -> None:
        """Leave the segment as it is: it could not be written."""
        file, _ = self._take()
        if file is not None:
            os.close(file)

    def prune(self, now: float) -> list[Path]:
        """Delete the oldest segments that are too many or too old, but never the last one; return which."""
        found, deleted = segments(self.directory), []
        total, aged = sum(each.size_bytes for each in found), 0
        for each, after in pairwise(found):
            if total <= self.bounds.size_bytes:
                if now - after.begun <= self.bounds.age_s or aged == AGED_AT_ONCE:
                    break
                aged += 1
            each.path.unlink(missing_ok=True)
            total -= each.size_bytes
            deleted.append(each.path)
        return deleted

    def _put(self, data: bytes) -> None:
        if self._file is None:
            raise OSError("no segment is open")
        packed = memoryview(self._zip.compress(data) + self._zip.flush(zlib.Z_SYNC_FLUSH))
        self._size += len(packed)
        while packed:
            packed = packed[os.write(self._file, packed) :]

    def _sync(self, *, force: bool) -> None:
        if self._file is not None and (force or time.monotonic() - self._synced >= SYNC_S):
            os.fsync(self._file)
            self._synced = time.monotonic()

    def _take(self) -> tuple[int | None, Callable[[], bytes]]:
        file, self._file = self._file, None
        return file, self._zip.flush


def _close(file: int | None, trailer: Callable[[], bytes]) -> None:
    if file is not None:
        try:
            os.write(file, trailer())
            os.fsync(file)
        finally:
            os.close(file)
