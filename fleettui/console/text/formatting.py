"""Numbers as people say them: ages, sizes, counts. Pure; the time is an argument."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from functools import lru_cache

STEPS = ((86400 * 2, 86400, "d"), (3600 * 2, 3600, "h"), (120, 60, "min"), (0, 1, "s"))


def age(seconds: float) -> str:
    """How long ago: "4 s", "3 min", "2 h", "12 d"; never negative, since clocks differ."""
    seconds = max(0.0, seconds)
    for least, unit, word in STEPS:
        if seconds >= least:
            return f"{int(seconds // unit)} {word}"
    return "0 s"


def since(at: float, now: float) -> str:
    """The age of a moment, "-" where it is not known."""
    return age(now - at) if at else "-"


def took(seconds: float) -> str:
    """A duration that was waited for: "0.4 s", "12 s"."""
    return f"{seconds:.1f} s" if seconds < 10 else age(seconds)


def size(count_bytes: int) -> str:
    """Bytes in binary steps, of three digits at most: "512 B", "18 M", "1.5 G"; "-" for none."""
    if count_bytes <= 0:
        return "-"
    amount = float(count_bytes)
    for word in ("B", "K", "M", "G"):
        if amount < 999.5:  # else it would be read as 1000
            return f"{amount:.0f} {word}" if amount >= 9.95 or word == "B" else f"{amount:.1f} {word}"
        amount /= 1024
    return f"{amount:.1f} T"


def share(part: float | None) -> str:
    """A part of one cpu: "0.3 %", "12 %", "210 %"; "-" where it is not known."""
    if part is None:
        return "-"
    percent = part * 100
    return f"{percent:.1f} %" if 0.05 <= percent < 9.95 else f"{percent:.0f} %"


BLOCKS = "▁▂▃▄▅▆▇█"


def sparkline(points: Sequence[tuple[float, float]], since_: float, until: float, cells: int) -> str:
    """How a value went, a cell for each part of the time; blank where it is not known. `points` are by time.

    A cell shows the largest value of its part; a value holds until the next one.
    """
    top, shown, at, last = max((value for _, value in points), default=0.0), [], 0, None
    for cell in range(cells):
        end = since_ + (until - since_) * (cell + 1) / cells
        most = last
        while at < len(points) and points[at][0] <= end:
            last = points[at][1]
            most, at = last if most is None else max(most, last), at + 1
        level = 0 if most is None or top <= 0 else min(len(BLOCKS) - 1, int(most / top * (len(BLOCKS) - 1) + 0.5))
        shown.append(" " if most is None else BLOCKS[level])
    return "".join(shown)


def clock(at: float) -> str:
    """The time of day, in the reader's zone."""
    return time.strftime("%H:%M:%S", time.localtime(at))


def when(at: float, now: float) -> str:
    """The time of day, with the day where that is not today's; always the same width."""
    today = time.localtime(at)[:3] == time.localtime(now)[:3]
    return time.strftime("       %H:%M:%S" if today else "%d %b %H:%M:%S", time.localtime(at))


def counted(number: int, noun: str) -> str:
    """ "1 unit", "1,204 lines"."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


_DIGITS = re.compile("[0-9]+")


@lru_cache(maxsize=1 << 16)
def natural(text: str) -> str:
    """What to sort names by, so that job@2 comes before job@10: longer numbers are larger."""

    def sized(found: re.Match[str]) -> str:
        digits = found[0].lstrip("0")
        return f"{chr(48 + min(len(digits), 60))}{digits}"

    return f"{_DIGITS.sub(sized, text)}\0{text}"
