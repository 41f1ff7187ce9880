"""Reading a record: what the registry held at a moment, from one change to the next, and how one value went.

A segment stands for itself: what was at a moment is the whole that it begins with, and what changed until then.
Values are decoded once the moment is found, not on the way to it. A segment that a dying recorder left, or that is
damaged, is read as far as it goes. Blocks while it reads: call it in a thread.
"""

from __future__ import annotations

import json
import re
import time
import zlib
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from fleettui.record.format import DamagedLine, Head, Moment, Values, read_head, read_line, time_of
from fleettui.record.writer import GZIP, Segment, segments
from registry.errors import CorruptRecord, UserError
from registry.keys import Address, Keys, Table
from registry.mirror import Mirror, RawChange, Snapshot
from registry.model import Machine
from registry.records import decode
from registry.sync.follow import ConnectionState

MACHINES = f"{Table.MACHINES}/"
GAP_S = 90.0  # without a line of the recorder, it did not run
LARGEST = 1 << 30  # bytes of a segment that are read: no recorder makes one so large
PIECE = 1 << 16
QUIET = ("usage/",)  # what changes all the time: not worth a step


@dataclass(frozen=True, slots=True)
class PastView:
    """What was at a moment. `changed` None: anything may differ from the view before; `back`: it was later.

    `names` are the host names of machines that were not there, as far as the record has seen them before.
    """

    at: float
    snapshot: Snapshot
    changed: frozenset[Address] | None
    link: ConnectionState
    reason: str
    note: str  # what the record does not know of this moment, "" for nothing
    head: Head
    back: bool = False
    names: Mapping[str, str] = field(default_factory=dict)


class OpenSegment:
    """A segment that was read: its head, and its lines with their times."""

    def __init__(self, segment: Segment) -> None:
        self.segment = segment
        lines = list(_lines(segment.path))
        try:
            self.head = read_head(lines[0] if lines else b"")
            self.times: list[float] = []
            for line in lines[1:]:
                self.times.append(time_of(line))
        except DamagedLine as error:
            if not hasattr(self, "times"):
                raise UserError(f"{segment.path}: {error}") from None
        if not self.times:
            raise UserError(f"{segment.path}: it ends after its first line")
        self.lines = lines[1 : 1 + len(self.times)]

    def moment(self, number: int) -> Moment:
        """What a line says; a damaged one says nothing."""
        try:
            return read_line(self.lines[number])
        except DamagedLine:
            return Moment(self.times[number])

    def before(self, at: float) -> int:
        """The last line that is not later than `at`; -1 for none."""
        return bisect_right(self.times, at) - 1


class Record:
    """A directory that a recorder wrote. UserError where there is none, or nothing in it that can be read."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        try:
            self.segments = segments(directory)
        except OSError as error:
            raise UserError(f"cannot read the record in {directory}: {error.strerror}; {REMEDY}") from None
        if not self.segments:
            raise UserError(f"there is no record in {directory}; {REMEDY}")

    def covering(self, at: float) -> int:
        """The number in `segments` of the newest that was begun by then. UserError for a moment before all."""
        found = [number for number, each in enumerate(self.segments) if each.begun <= at]
        if not found:
            begun = self.segments[0].begun
            raise UserError(f"the record in {self.directory} begins at {written(begun)}")
        return found[-1]


REMEDY = "fleettui record keeps one; --record names its directory"


def written(at: float) -> str:
    """A moment with its day, in the reader's zone."""
    return time.strftime("%Y-%m-%d %H:%M:%S %Z", time.localtime(at))


class Playback:
    """One place in a record, and the ways from it. Use it from one thread at a time."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._record = Record(directory)
        self._part: OpenSegment | None = None
        self._number = 0  # of the part's segment
        self._at = -1  # the last line that counts
        self._values: dict[str, bytes] = {}
        self._undo: list[dict[str, bytes | None]] = []  # for each line until `_at`, what it replaced
        self._links: list[tuple[str, str]] = []  # for each line until `_at`, the link and its reason
        self._machines: dict[str, bytes] = {}  # the last record of each that was passed on the way, by id
        self._mirror = Mirror(Keys())
        self._shown = 0.0

    def seek(self, at: float) -> PastView:
        """What was at a moment. UserError where nothing is known of it."""
        self._record = Record(self.directory)  # it may have grown, and lost what was oldest
        back = bool(self._shown) and at < self._shown
        number = self._record.covering(at)
        while not self._open(number):
            if number == 0:
                raise UserError(f"nothing in {self.directory} can be read")
            number -= 1
        part = self._opened
        self._forward(part.before(at))
        self._reset()
        return self._view(at, None, back=back)

    def step(self, way: int) -> PastView | None:
        """What was at the next change (1), or at the one before (-1); None where the record ends."""
        return self._ahead() if way > 0 else self._back()

    @property
    def _opened(self) -> OpenSegment:
        if self._part is None:
            raise UserError("no moment of the record was opened")
        return self._part

    def _open(self, number: int) -> bool:
        """Begin at the start of a segment; whether it can be read."""
        try:
            part = OpenSegment(self._record.segments[number])
        except (UserError, OSError):
            return False
        has_whole = any(b'"all":' in line[:200] for line in part.lines[:1])
        self._values, self._undo, self._links = {}, [], []
        if (
            not has_whole and number > 0 and self._open(number - 1)
        ):  # it was begun in an outage: it goes on from there
            self._forward(len(self._opened.lines) - 1)
            self._undo, self._links = [], []
        self._part, self._number, self._at = part, number, -1
        return True

    def _forward(self, to: int) -> Values:
        """Let all lines count until `to`; return what that changed."""
        part, changed = self._opened, dict[str, bytes | None]()
        for number in range(self._at + 1, to + 1):
            moment = part.moment(number)
            replaced: dict[str, bytes | None] = {}
            if moment.whole:
                replaced = {key: value for key, value in self._values.items() if key not in moment.values}
                changed |= dict.fromkeys(replaced)
                for key in replaced:
                    del self._values[key]
            for key, value in moment.values.items():
                replaced[key] = self._values.get(key)
                if value is None:
                    self._values.pop(key, None)
                else:
                    self._values[key] = value
                    if key.startswith(MACHINES):
                        self._machines[key.removeprefix(MACHINES)] = value
            changed |= moment.values
            self._undo.append(replaced)
            before = self._links[-1] if self._links else (ConnectionState.LIVE.value, "")
            self._links.append((moment.link, moment.reason) if moment.link else before)
            self._at = number
        return changed

    def _backward(self, to: int) -> Values:
        """Let no line count after `to`; return what that changed."""
        changed: dict[str, bytes | None] = {}
        while self._at > to:
            replaced = self._undo.pop()
            self._links.pop()
            for key, value in replaced.items():
                changed[key] = value
                if value is None:
                    self._values.pop(key, None)
                else:
                    self._values[key] = value
            self._at -= 1
        return changed

    def _ahead(self) -> PastView | None:
        part = self._opened
        for number in range(self._at + 1, len(part.lines)):
            if _is_worth_a_step(part.moment(number)):
                return self._view(part.times[number], self._fold(self._forward(number)))
        self._record = Record(self.directory)
        following = [n for n, each in enumerate(self._record.segments) if each.number > part.segment.number]
        for number in following:
            if self._open(number):
                self._forward(0)
                self._reset()
                return self._view(self._opened.times[0], None)
        return None

    def _back(self) -> PastView | None:
        part = self._opened
        worth = [number for number in range(self._at + 1) if number == 0 or _is_worth_a_step(part.moment(number))]
        if len(worth) > 1:  # the newest of them is undone
            view = self._fold(self._backward(worth[-2]))
            return self._view(part.times[worth[-2]], view, back=True)
        earlier = [n for n, each in enumerate(self._record.segments) if each.number < part.segment.number]
        for number in reversed(earlier):
            if self._open(number):
                self._forward(len(self._opened.lines) - 1)
                self._reset()
                return self._view(self._opened.times[-1], None, back=True)
        return None

    def _reset(self) -> None:
        keys = Keys(self._opened.head.prefix or "/")
        self._mirror = Mirror(keys)
        self._mirror.reset(RawChange(keys.prefix + key, value) for key, value in self._values.items())

    def _fold(self, values: Values) -> frozenset[Address]:
        prefix = self._opened.head.prefix or "/"
        return frozenset(self._mirror.apply(RawChange(prefix + key, value) for key, value in values.items()))

    def _view(self, at: float, changed: frozenset[Address] | None, *, back: bool = False) -> PastView:
        self._shown = at
        link, reason = self._links[-1] if self._links else (ConnectionState.CONNECTING.value, "")
        known = ConnectionState(link) if link in [*ConnectionState] else ConnectionState.LOST
        self._mirror.apply((), max(1, int(at)))  # a revision: something was read
        snapshot = self._mirror.snapshot()
        return PastView(
            at, snapshot, changed, known, reason, self._note(at), self._opened.head, back, self._names(snapshot)
        )

    def _names(self, snapshot: Snapshot) -> dict[str, str]:
        """The host names of machines that are not in a snapshot."""
        found = dict[str, str]()
        for machine, value in self._machines.items():
            if machine not in snapshot.machines:
                with suppress(CorruptRecord):
                    record = decode(Address(Table.MACHINES, machine), value)
                    found |= {machine: record.hostname} if isinstance(record, Machine) else {}
        return found

    def _note(self, at: float) -> str:
        """What is to be said of the place where `at` lies, between the lines."""
        part, number = self._opened, self._at
        last = part.times[number] if number >= 0 else part.segment.begun
        if number + 1 < len(part.times):
            after: float | None = part.times[number + 1]
        else:
            later = [each.begun for each in self._record.segments if each.number > part.segment.number]
            after = later[0] if later else None
        if at - last > GAP_S:
            until = f"to {written(after)}" if after is not None else "on"
            return f"nothing was recorded from {written(last)} {until}"
        if number <= 0 and part.head.why not in ("", "the next part"):
            return f"recorded anew: {part.head.why}"
        return part.moment(number).end if number >= 0 else ""


def _is_worth_a_step(moment: Moment) -> bool:
    if moment.link or moment.end or moment.whole:
        return True
    return any(not key.startswith(QUIET) for key in moment.values)


def _lines(path: Path) -> Iterator[bytes]:
    """The whole lines of a segment, as far as it goes. OSError."""
    unzip, rest, size = zlib.decompressobj(GZIP), b"", 0
    with path.open("rb") as file:
        while size < LARGEST and (packed := file.read(PIECE)):
            before, damaged = unzip.copy(), False
            try:
                data = unzip.decompress(packed)
            except zlib.error:
                data, damaged = b"".join(_until_damage(before, packed)), True
            size += len(data)
            *whole, rest = (rest + data).split(b"\n")
            yield from whole
            if damaged:
                return


def _until_damage(unzip: zlib._Decompress, packed: bytes) -> Iterator[bytes]:
    """What a damaged piece holds before the damage."""
    with suppress(zlib.error):
        for number in range(len(packed)):
            yield unzip.decompress(packed[number : number + 1])


def history(
    directory: Path, key: str, since: float, until: float, *, cluster: str = "", budget_s: float = 1.0
) -> list[tuple[float, bytes]]:
    """How the value of one key went, with its times; the first may be what it was at `since` already.

    Without what is too old to be read within the budget, and what is of another cluster where one is named.
    """
    found: list[tuple[float, bytes]] = []
    wanted = re.compile(re.escape(json.dumps(key, ensure_ascii=False).encode()) + rb':("(?:[^"\\]|\\.)*")')
    deadline = time.monotonic() + budget_s
    try:
        known = segments(directory)
    except OSError:
        return []
    ends = [*(after.begun for _, after in pairwise(known)), until]
    for segment, end in reversed(list(zip(known, ends, strict=False))):
        if segment.begun > until:
            continue
        if end < since or time.monotonic() > deadline:
            break
        here: list[tuple[float, bytes]] = []
        with suppress(OSError, DamagedLine, ValueError):
            lines = _lines(segment.path)
            if cluster not in ("", read_head(next(lines, b"")).cluster):
                continue
            for line in lines:
                if (match := wanted.search(line)) and (at := time_of(line)) <= until:
                    here = here if at > since else []
                    here.append((max(at, since), json.loads(match[1]).encode()))
        found = here + found
    return found
