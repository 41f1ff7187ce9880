"""Amounts in unit files: sizes of memory, shares of processors, spans of time; reading and showing them.

Owns the spellings, which are systemd's (systemd.syntax(7), systemd.time(7), systemd.resource-control(5)). UserError
names what is wrong and what to write.
"""

from __future__ import annotations

import re

from registry.errors import UserError
from registry.units.name import shown

MAX_BYTES = 1 << 60
MAX_MILLIS = 1_000_000_000  # thousandths of a processor: a million of them
MAX_SPAN_S = 31 * 24 * 3600.0

_SUFFIXES = "KMGTPE"
_SIZE = re.compile(rf"([0-9]{{1,19}}(?:\.[0-9]{{1,9}})?) ?([{_SUFFIXES}]?)B?")
_PERCENT = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,4})?)%")
_NUMBER = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,4})?")
_SPAN = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?) ?(ms|s|sec|m|min|h|hr|d|)")
_SECONDS = {"": 1, "ms": 0.001, "s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600, "hr": 3600, "d": 86_400}


def size_bytes(text: str) -> int:
    """The bytes that `512M`, `1.5G` or `4096` are; powers of 1024."""
    found = _SIZE.fullmatch(text)
    size = int(float(found[1]) * 1024 ** (1 + _SUFFIXES.index(found[2]) if found[2] else 0)) if found else -1
    if not 0 <= size <= MAX_BYTES:
        raise UserError(f"{shown(text)} is no size; write for example 512M or 2G")
    return size


def share(text: str) -> float:
    """The part that a percentage is: 0.25 for `25%`."""
    if not (found := _PERCENT.fullmatch(text)):
        raise UserError(f"{shown(text)} is no percentage; write for example 25%")
    return float(found[1]) / 100


def cpu_millis(text: str) -> int:
    """Thousandths of a processor: 500 for `50%` and for `0.5`."""
    number = float(text) if _NUMBER.fullmatch(text) else share(text) if _PERCENT.fullmatch(text) else -1.0
    if not 0 <= number * 1000 <= MAX_MILLIS:
        raise UserError(f"{shown(text)} is no number of processors; write for example 50% or 1.5")
    return round(number * 1000)


def span_s(text: str) -> float:
    """The seconds that `500ms`, `30s`, `10min` or `1h` are; without a unit they are seconds."""
    found = _SPAN.fullmatch(text)
    seconds = float(found[1]) * _SECONDS[found[2]] if found else 0.0
    if not 0 < seconds <= MAX_SPAN_S:
        raise UserError(f"{shown(text)} is no span of time up to {MAX_SPAN_S / 86_400:g}d; write for example 10min")
    return seconds


def shown_size(size: int) -> str:
    """A size for people, with up to three digits that count: 512M, 1.5G."""
    power = max((size.bit_length() - 1) // 10, 0)
    return f"{size / 1024**power:.3g}{('', *_SUFFIXES)[power]}" if power else f"{size}B"


def shown_cpus(millis: int) -> str:
    """Thousandths of a processor for people: 1.5 for 1500."""
    return f"{millis / 1000:g}"


def shown_span(seconds: float) -> str:
    """A span of time in its largest whole unit: 10min."""
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= length and seconds % length == 0:
            return f"{seconds / length:g}{unit}"
    return f"{seconds:g}s"
