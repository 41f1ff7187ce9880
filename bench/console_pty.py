"""A program in a pseudo-terminal of 140x40, and what it writes there, with the time: no screen is emulated."""

from __future__ import annotations

import codecs
import fcntl
import os
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Self

COLUMNS, LINES = 140, 40
CONTROL = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[()][0-9A-B]|[=>78])")
BROKEN = re.compile(r"\x1b(?:\[[0-?]*[ -/]*|\][^\x07\x1b]*|[()]?)?\Z")
BLANKS = re.compile(r" +")


class Pty:
    """One program. `text` is what it has written since the last `forget`, in the order of writing.

    Control sequences are left out and blanks in a row are one. Output is taken piece by piece and looked at once,
    since a terminal that is slow makes every program look slow.
    """

    def __init__(self, argv: Sequence[str], environment: Mapping[str, str], *, controlling: bool = True) -> None:
        self.near, far = os.openpty()
        fcntl.ioctl(far, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
        self.began = time.monotonic()
        self.process = subprocess.Popen(
            ["setsid", *(["--ctty"] if controlling else []), *argv],
            stdin=far,
            stdout=far,
            stderr=far,
            env=dict(environment),
        )
        os.close(far)
        self.text = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._rest = ""  # the beginning of a control sequence whose end has not come yet

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.process.terminate()
        try:
            self.pump(lambda: self.process.poll() is not None, 5)
        finally:
            self.process.kill()
            self.process.wait()
            os.close(self.near)

    def forget(self) -> None:
        """Begin a new `text`."""
        self.text = ""

    def send(self, keys: bytes) -> None:
        """Press keys."""
        os.write(self.near, keys)

    def pump(self, enough: Callable[[], object], timeout_s: float) -> bool:
        """Take output until `enough`, which is asked after each piece of it; False when the time is over."""
        deadline = time.monotonic() + timeout_s
        while not enough():
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                return False
            if select.select([self.near], [], [], min(left_s, 0.2))[0] and not self._take():
                return bool(enough())
        return True

    def rest(self, seconds: float) -> None:
        """Only take output, and forget it."""
        until = time.monotonic() + seconds

        def over() -> bool:
            self.forget()
            return time.monotonic() >= until

        self.pump(over, seconds)
        self.forget()

    def until(self, *words: str, timeout_s: float = 30) -> float:
        """Take output until all words were written; the time of that. SystemExit with the output's end if not."""
        if not self.pump(lambda: all(word in self.text for word in words), timeout_s):
            raise SystemExit(f"the console did not write {words}; it wrote:\n{self.text[-3000:]}")
        return time.monotonic()

    def ended(self, timeout_s: float) -> int:
        """The status that it ends with. What it still writes is taken: nobody ends while a terminal is full."""
        deadline = time.monotonic() + timeout_s
        self.pump(lambda: self.process.poll() is not None, timeout_s)
        return self.process.wait(max(1.0, deadline - time.monotonic()))

    def cpu_s(self) -> float:
        """Processor time of the program so far, with its children."""
        with open(f"/proc/{self.process.pid}/stat", encoding="ascii") as stat:  # noqa: PTH123 - a plain read
            fields = stat.read().rpartition(")")[2].split()
        return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")

    def resident_mib(self) -> float:
        """Resident memory."""
        with open(f"/proc/{self.process.pid}/statm", encoding="ascii") as statm:  # noqa: PTH123 - a plain read
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / (1 << 20)

    def _take(self) -> bool:
        try:
            data = os.read(self.near, 1 << 16)
        except OSError:  # the program has closed its end
            data = b""
        raw = self._rest + self._decoder.decode(data)
        whole = BROKEN.sub("", raw)
        self._rest = raw[len(whole) :]
        self.text += BLANKS.sub(" ", CONTROL.sub("", whole))
        return bool(data)
